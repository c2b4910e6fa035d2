//! SQL of other systems, put into the engine's.
//!
//! **Takes** the text of one query and the system whose SQL it is. **Gives** a query of the same
//! meaning in the SQL of this engine, on the same lines, so that an error of planning names the
//! line of the text that was given. **Promises** that what is not known to mean the same is refused,
//! with the construct's name, its place and what to write instead; that no text makes it panic or
//! work for ever.
//!
//! The text is read by `sqlparser`'s grammar of that system (`grammar`), and its tree is changed:
//! functions by tables of rules, one file a system (`rules/*.rules`), in which a function that is
//! not listed is refused; types (`types`), patterns of dates (`formats`), relations of `from`
//! (`relations`) and everything else (`translator`). Operators whose meaning hangs on the types of
//! their sides (a division, the difference of two dates) become operators of that system
//! (`operator(snowflake./)`), which are settled when the types are known (`operators`).

mod asof;
mod bigquery;
mod called;
mod duckdb;
mod formats;
mod functions;
mod grammar;
mod lambdas;
pub(crate) mod layout;
mod listed;
pub(crate) mod positional;
mod redshift;
mod relations;
mod rules;
mod spoken;
mod translator;
mod turned;
mod types;
mod unnamed;
mod warehouse;
mod weeks;

pub(crate) use rules::template;

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use tidemill_core::{Error, ErrorKind, Result, SqlDialect};

use crate::parse::first_word;

/// Deep trees need a deep stack; only what is used is real memory.
const STACK: usize = 128 * 1024 * 1024;
/// Longer than this no text of a person takes, by far.
const LONGEST: Duration = Duration::from_secs(20);

/// The query in the engine's SQL. `postgres` is that already and comes back as it is.
///
/// Errors have the `line` and `column` of the text that was given, where they are known.
///
/// ```
/// # use tidemill_core::SqlDialect;
/// # use tidemill_engine::translate;
/// let sql = translate("select iff(a > 1, 'x', 'y') from t", SqlDialect::Snowflake).unwrap();
/// assert_eq!(sql, "SELECT CASE WHEN (a > 1) THEN 'x' ELSE 'y' END FROM t");
/// ```
pub fn translate(sql: &str, dialect: SqlDialect) -> Result<String> {
    if dialect == SqlDialect::Postgres {
        return Ok(sql.to_owned());
    }
    apart(sql, dialect, translated)
}

/// The query of a project that was made for another system and does not say what it is written in.
///
/// What is known to mean something else there than here is put into the engine's SQL; everything else
/// stays as it is written, functions that nobody knows as well, so that a macro's PostgreSQL beside it
/// works. A text without such a thing comes back as it is, and so does one that neither that system's
/// grammar nor the engine's reads: the engine says what is wrong with it. What was read and cannot be put
/// into the engine's SQL is an error, with its `line` and `column` where they are known: it would mean
/// another thing otherwise.
///
/// ```
/// # use tidemill_core::SqlDialect;
/// # use tidemill_engine::adapt;
/// let adapted = |sql| adapt(sql, SqlDialect::DuckDb).unwrap();
/// assert_eq!(adapted("select a + 1 as b from t"), "select a + 1 as b from t");
/// assert_eq!(adapted("select a / 2 as b from t"), "SELECT (a OPERATOR(duckdb./) 2) AS b FROM t");
/// assert_eq!(adapted("select count(*) from t"), "SELECT count(*) AS \"count_star()\" FROM t");
/// assert!(adapt("from t asof join p on t.k = p.k", SqlDialect::DuckDb).is_err());
/// ```
pub fn adapt(sql: &str, dialect: SqlDialect) -> Result<String> {
    let known = match first_word(sql).as_str() {
        "select" | "with" | "from" | "values" | "pivot" | "unpivot" | "summarize" | "describe" => {
            true
        }
        "insert" | "update" | "delete" | "merge" | "create" => sql.len() <= LONGEST_WRITE,
        _ => false,
    };
    match known && dialect != SqlDialect::Postgres {
        true => apart(sql, dialect, adapted),
        false => Ok(sql.to_owned()),
    }
}

/// What writes may hold many rows, and is not looked at when it is longer than this.
const LONGEST_WRITE: usize = 256 << 10;

/// Works on a thread with a deep stack, and not for ever.
fn apart(
    sql: &str,
    dialect: SqlDialect,
    work: fn(&str, SqlDialect) -> Result<String>,
) -> Result<String> {
    let (sender, receiver) = sync_channel(1);
    let text = sql.to_owned();
    let thread = std::thread::Builder::new()
        .name("tidemill-dialect".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // The other side may have stopped waiting.
            let _ = sender.send(work(&text, dialect));
        })
        .map_err(|error| {
            Error::new(ErrorKind::Resources, "a thread cannot be started").because(error)
        })?;
    match receiver.recv_timeout(LONGEST) {
        Ok(answer) => answer.map_err(|error| error.with("dialect", dialect)),
        Err(RecvTimeoutError::Timeout) => Err(Error::new(
            ErrorKind::Resources,
            format!(
                "the SQL could not be translated from {dialect} within {} seconds",
                LONGEST.as_secs()
            ),
        )),
        Err(RecvTimeoutError::Disconnected) => {
            let _ = thread.join();
            Err(Error::new(
                ErrorKind::Internal,
                format!("the SQL could not be translated from {dialect}: the translation failed"),
            ))
        }
    }
}

fn translated(sql: &str, dialect: SqlDialect) -> Result<String> {
    let (mut statement, tokens) = grammar::parse(sql, dialect)?;
    translator::translate(&mut statement, dialect)?;
    again(&statement, &tokens, dialect)
}

fn adapted(sql: &str, dialect: SqlDialect) -> Result<String> {
    let (mut statement, tokens) = match grammar::parse_any(sql, dialect) {
        Ok(read) => read,
        // What is known there and refused here.
        Err(error) if error.kind() != ErrorKind::Query => return Err(error),
        Err(error) => match grammar::parse_own(sql) {
            Ok(read) => read,
            Err(_) => {
                tracing::debug!(%error, dialect = dialect.as_str(), "left as it is written");
                return Ok(sql.to_owned());
            }
        },
    };
    let before = statement.to_string();
    translator::adapt(&mut statement, dialect)?;
    let changed = statement.to_string() != before;
    // What only the other system's grammar reads has to be written in another way, too.
    let marked = before.contains("tidemill_");
    if !changed && !marked && crate::parse::parse_one(sql).is_ok() {
        return Ok(sql.to_owned());
    }
    if matches!(statement, Statement::Query(_)) {
        return again(&statement, &tokens, dialect);
    }
    let text = statement.to_string();
    match crate::parse::parse_one(&text) {
        Ok(_) => Ok(text),
        // A statement that the engine's grammar does not know in any form, it says so itself.
        Err(_) if !changed => Ok(sql.to_owned()),
        Err(error) => Err(not_read_again(&error, dialect)),
    }
}

/// The changed tree as text on the lines of the given words.
fn again(statement: &Statement, tokens: &[TokenWithSpan], dialect: SqlDialect) -> Result<String> {
    let mut kept = statement.clone();
    crate::syntax::keep_quotes(&mut kept);
    let text = kept.to_string();
    let laid_out = layout::like(tokens, &text)?;
    // A tree that cannot be read again was not understood.
    crate::parse::parse_query(&laid_out).map_err(|error| not_read_again(&error, dialect))?;
    Ok(laid_out)
}

fn not_read_again(error: &Error, dialect: SqlDialect) -> Error {
    let again = Error::new(
        ErrorKind::Unsupported,
        format!(
            "this SQL cannot be translated from {dialect}: {}; write that part in PostgreSQL's SQL",
            error.message()
        ),
    );
    crate::error::with_place_of(again, error)
}

/// A construct that has no translation.
fn refused(what: &str, instead: &str) -> Error {
    let instead = if instead.is_empty() { String::new() } else { format!("; {instead}") };
    Error::new(ErrorKind::Unsupported, format!("{what} is not translated{instead}"))
}
