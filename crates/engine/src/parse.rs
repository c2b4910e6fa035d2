//! SQL text to a syntax tree.
//!
//! The grammar is PostgreSQL's with what analysts bring from other systems: `::`, `~`, `QUALIFY`,
//! `DISTINCT ON`, `GROUP BY ALL`, `* EXCEPT/EXCLUDE/REPLACE`, backticks, trailing commas. (It is
//! sqlparser's generic dialect, see `grammar`; its PostgreSQL dialect refuses the last three.) Unquoted names fold
//! to lower case.

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Statement};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};
use tidemill_core::{Error, ErrorKind, Result};

use crate::error::syntax;
use crate::grammar::Grammar;
use crate::statement::tag_of;

/// How deeply parentheses, subqueries and `case` may nest.
pub(crate) const NESTING: usize = 300;
/// How many operators may follow each other in one expression. A chain of n operators is a tree of
/// depth n, which every later step walks down, some of them again from every node.
const CHAIN: usize = 1_000;
/// The same for `and` and `or`, which are put into a shallow tree first (see `rewrite`), and for
/// `union`.
const LOGICAL_CHAIN: usize = 20_000;

const DIALECT: Grammar = Grammar::new();

/// Reads exactly one statement that gives rows.
pub(crate) fn parse_query(sql: &str) -> Result<Statement> {
    let statement = parse_one(sql)?;
    match &statement {
        Statement::Query(query) => refuse_writes_inside(query)?,
        Statement::Explain { .. } | Statement::ExplainTable { .. } => {}
        other => return Err(not_a_query(other)),
    }
    Ok(statement)
}

/// `alter view a rename to b`, which the parser does not know: the view, its new name, and whether
/// it need not be there.
pub(crate) fn parse_alter_view(sql: &str) -> Result<Option<(ObjectName, ObjectName, bool)>> {
    let mut parser = parser(sql)?;
    if !parser.parse_keyword(Keyword::ALTER) {
        return Ok(None);
    }
    let _ = parser.parse_keyword(Keyword::MATERIALIZED);
    if !parser.parse_keyword(Keyword::VIEW) {
        return Ok(None);
    }
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let fail = |error: ParserError| syntax(&error.to_string());
    let view = parser.parse_object_name(false).map_err(fail)?;
    if !parser.parse_keywords(&[Keyword::RENAME, Keyword::TO]) {
        return Ok(None);
    }
    let to = parser.parse_object_name(false).map_err(fail)?;
    Ok(Some((view, to, if_exists)))
}

/// Reads exactly one statement of any kind.
pub(crate) fn parse_one(sql: &str) -> Result<Statement> {
    let mut statements = parser(sql)?.parse_statements().map_err(|error| {
        let error = syntax(&error.to_string());
        known_elsewhere(sql, &error).unwrap_or(error)
    })?;
    let statement = statements
        .pop()
        .ok_or_else(|| Error::new(ErrorKind::Query, "there is no SQL statement in the text"))?;
    if !statements.is_empty() {
        return Err(Error::new(
            ErrorKind::Query,
            "the text holds more than one SQL statement; give them one at a time",
        ));
    }
    Ok(statement)
}

/// The word that a text begins with, behind comments and parentheses, in small letters.
pub(crate) fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        rest = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(comment), _) => comment.split_once('\n').map_or("", |(_, after)| after),
            (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, after)| after),
            _ => break,
        };
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    word.to_ascii_lowercase()
}

/// The words of a text, with their places.
pub(crate) fn words(sql: &str) -> Result<Vec<TokenWithSpan>> {
    Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| syntax(&error.to_string()))
}

fn parser(sql: &str) -> Result<Parser<'static>> {
    let mut tokens = words(sql)?;
    keys_asked(&mut tokens);
    columns_like_clauses(&mut tokens);
    bare_trims(&mut tokens);
    limit_chains(&tokens)?;
    refuse_glued(&tokens)?;
    let tokens = without_materialized(tokens);
    Ok(Parser::new(&DIALECT).with_recursion_limit(NESTING).with_tokens_with_locations(tokens))
}

/// `x ? 'a'`, `x ?| …` and `x ?& …` of JSON: the tokenizer takes `?` for the place of a parameter, of which
/// there are none here.
pub(crate) fn keys_asked(tokens: &mut Vec<TokenWithSpan>) {
    let mut place = 0;
    while place < tokens.len() {
        if matches!(&tokens[place].token, Token::Placeholder(name) if name == "?") {
            let glued = |next: &&TokenWithSpan| next.span.start == tokens[place].span.end;
            let (asked, taken) = match tokens.get(place + 1).filter(glued).map(|next| &next.token) {
                Some(Token::Pipe) => (Token::QuestionPipe, true),
                Some(Token::Ampersand) => (Token::QuestionAnd, true),
                _ => (Token::Question, false),
            };
            tokens[place].token = asked;
            if taken {
                tokens.remove(place + 1);
            }
        }
        place += 1;
    }
}

/// `trim(both from x)` takes blanks away: the parser wants to be told so.
pub(crate) fn bare_trims(tokens: &mut Vec<TokenWithSpan>) {
    let mut words: Vec<Option<Keyword>> = Vec::new();
    let mut place = 0;
    while place < tokens.len() {
        let token = &tokens[place].token;
        let keyword = match token {
            Token::Whitespace(_) => {
                place += 1;
                continue;
            }
            Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
            Token::LParen => Some(Keyword::NoKeyword),
            _ => None,
        };
        words.push(keyword);
        let bare = keyword == Some(Keyword::FROM)
            && match words.as_slice() {
                [.., trim, open, side, _] => {
                    *trim == Some(Keyword::TRIM)
                        && *open == Some(Keyword::NoKeyword)
                        && matches!(
                            side,
                            Some(Keyword::BOTH | Keyword::LEADING | Keyword::TRAILING)
                        )
                }
                _ => false,
            };
        if bare {
            let blank = Token::SingleQuotedString(" ".to_owned());
            let (span, space) = (tokens[place].span, Token::Whitespace(Whitespace::Space));
            let inserted = [blank, space].map(|token| TokenWithSpan { token, span });
            tokens.splice(place..place, inserted);
            place += 2;
        }
        place += 1;
    }
}

/// `select a, exclude, sort from t`: columns that are called like the beginning of a clause, which the
/// parser would take for that behind a comma that is one too many.
pub(crate) fn columns_like_clauses(tokens: &mut [TokenWithSpan]) {
    const WORDS: [Keyword; 9] = [
        Keyword::CLUSTER,
        Keyword::DISTRIBUTE,
        Keyword::EXCLUDE,
        Keyword::EXPLAIN,
        Keyword::MINUS,
        Keyword::SORT,
        Keyword::TOP,
        Keyword::VALUES,
        Keyword::VIEW,
    ];
    let places: Vec<usize> = (0..tokens.len())
        .filter(|place| !matches!(tokens[*place].token, Token::Whitespace(_)))
        .collect();
    for (index, place) in places.iter().enumerate() {
        let is = |place: Option<&usize>, keywords: &[Keyword]| {
            matches!(place.map(|place| &tokens[*place].token),
                Some(Token::Word(word)) if keywords.contains(&word.keyword))
        };
        if !is(Some(place), &WORDS) {
            continue;
        }
        let before = index.checked_sub(1).and_then(|index| places.get(index));
        let after = places.get(index + 1);
        let begins = is(before, &[Keyword::SELECT, Keyword::DISTINCT])
            || before.is_some_and(|place| tokens[*place].token == Token::Comma);
        let goes_on = match after.map(|place| &tokens[*place].token) {
            Some(Token::LParen | Token::Number(..) | Token::SingleQuotedString(_)) => true,
            _ => is(after, &[Keyword::ALL, Keyword::BY, Keyword::SELECT, Keyword::WITH]),
        };
        if begins
            && !goes_on
            && let Token::Word(word) = &mut tokens[*place].token
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// What to write for a frame that leaves rows out.
const FRAME: &str = "compute it over the whole frame and take the row's own value away, or join";

/// What cannot be read, by its name.
fn known_elsewhere(sql: &str, error: &Error) -> Option<Error> {
    const CONSTRUCTS: [(&[&str], &str, &str); 9] = [
        (&["exclude", "current"], "`exclude current row` of a window", FRAME),
        (&["exclude", "ties"], "`exclude ties` of a window", FRAME),
        (&["exclude", "group"], "`exclude group` of a window", FRAME),
        (
            &["asof"],
            "`asof join`",
            "join on both bounds of the time, or number the rows and take one",
        ),
        (&["positional", "join"], "`positional join`", "join on a `row_number()` of both sides"),
        (&["using", "sample"], "`using sample`", "take rows by a condition"),
        (&["pivot"], "`pivot … on` without `in`", "name the values: `on kind in ('a', 'b')`"),
        (&["summarize"], "`summarize`", "write the aggregates of the columns"),
        (&["describe"], "`describe` within a query", "read `information_schema.columns`"),
    ];
    let tokens = words(sql).ok()?;
    let words: Vec<(String, &TokenWithSpan)> = tokens
        .iter()
        .filter_map(|token| match &token.token {
            Token::Whitespace(_) => None,
            Token::Word(word) if word.quote_style.is_none() => {
                Some((word.value.to_lowercase(), token))
            }
            _ => Some((String::new(), token)),
        })
        .collect();
    let number = |wanted: &str| -> Option<u64> {
        let (_, value) = error.context().iter().find(|(name, _)| *name == wanted)?;
        value.to_string().parse().ok()
    };
    let (line, column) = (number("line")?, number("column")?);
    let wrong = words.iter().position(|(_, token)| {
        token.span.start.line == line && token.span.start.column == column
    })?;
    CONSTRUCTS.iter().find_map(|(said, what, instead)| {
        // The error is within the construct or right behind it.
        let nearest = if said[0] == "pivot" { 0 } else { wrong.saturating_sub(2) };
        let place = (nearest..=wrong).find(|place| {
            said.iter()
                .enumerate()
                .all(|(step, word)| words.get(place + step).is_some_and(|(known, _)| known == word))
                // `t pivot (…)` is known.
                && (said[0] != "pivot"
                    || *place == 0
                    || words[place - 1].1.token == Token::LParen)
        })?;
        let start = words[place].1.span.start;
        Some(
            Error::new(ErrorKind::Unsupported, format!("{what} is not supported; {instead}"))
                .with("line", start.line)
                .with("column", start.column),
        )
    })
}

/// `1_000` or `1x` would be a number with an alias.
fn refuse_glued(tokens: &[TokenWithSpan]) -> Result<()> {
    for pair in tokens.windows(2) {
        if let [number, word] = pair
            && matches!(number.token, Token::Number(..))
            && matches!(word.token, Token::Word(_))
            && number.span.end == word.span.start
        {
            let message = format!("trailing junk after the number `{}{}`", number, word);
            return Err(Error::new(ErrorKind::Query, message)
                .with("line", number.span.start.line)
                .with("column", number.span.start.column));
        }
    }
    Ok(())
}

/// `with a as materialized (…)`: how an expression is computed is ours to choose.
fn without_materialized(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is = |token: &Token, keyword: Keyword| matches!(token, Token::Word(word) if word.keyword == keyword);
    if !tokens.iter().any(|token| is(&token.token, Keyword::MATERIALIZED)) {
        return tokens;
    }
    // Places of the tokens that say something.
    let places: Vec<usize> = (0..tokens.len())
        .filter(|place| !matches!(tokens[*place].token, Token::Whitespace(_)))
        .collect();
    let at = |index: usize| places.get(index).map(|place| &tokens[*place].token);
    let mut dropped = std::collections::HashSet::new();
    for index in 0..places.len() {
        if !at(index).is_some_and(|token| is(token, Keyword::AS)) {
            continue;
        }
        let negated = at(index + 1).is_some_and(|token| is(token, Keyword::NOT));
        let word = index + 1 + usize::from(negated);
        if at(word).is_some_and(|token| is(token, Keyword::MATERIALIZED))
            && at(word + 1) == Some(&Token::LParen)
        {
            dropped.extend(places[index + 1..=word].iter().copied());
        }
    }
    let kept = tokens.into_iter().enumerate().filter(|(place, _)| !dropped.contains(place));
    kept.map(|(_, token)| token).collect()
}

fn not_a_query(statement: &Statement) -> Error {
    let verb = tag_of(statement);
    Error::new(
        ErrorKind::Denied,
        format!(
            "only queries can be run here, not `{verb}`; tables are changed by building models"
        ),
    )
}

/// `with x as (insert …)` and `select … into t` are queries to the parser.
pub(crate) fn refuse_writes_inside(query: &Query) -> Result<()> {
    use datafusion::sql::sqlparser::ast::SetExpr;
    match query.body.as_ref() {
        SetExpr::Insert(inner)
        | SetExpr::Update(inner)
        | SetExpr::Delete(inner)
        | SetExpr::Merge(inner) => Err(not_a_query(inner)),
        SetExpr::Select(select) if select.into.is_some() => Err(Error::new(
            ErrorKind::Denied,
            "only queries can be run here, not `SELECT INTO`; tables are changed by building models",
        )),
        _ => Ok(()),
    }
}

/// Operators in a row at one level of parentheses.
#[derive(Default, Clone, Copy)]
struct Run {
    operators: usize,
    logical: usize,
}

/// Refuses a run of operators that would be too deep a tree, before anything recurses over it.
pub(crate) fn limit_chains(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut levels = vec![Run::default()];
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.push(Run::default()),
            Token::RParen | Token::RBracket | Token::RBrace => {
                levels.pop();
                if levels.is_empty() {
                    levels.push(Run::default());
                }
            }
            other => {
                let Some(level) = levels.last_mut() else { continue };
                count(other, level);
                if level.operators > CHAIN || level.logical > LOGICAL_CHAIN {
                    return Err(too_long(token, level));
                }
            }
        }
    }
    Ok(())
}

fn count(token: &Token, run: &mut Run) {
    match token {
        Token::Comma | Token::SemiColon => *run = Run::default(),
        Token::Word(word) => match word.keyword {
            Keyword::AND
            | Keyword::OR
            | Keyword::UNION
            | Keyword::INTERSECT
            | Keyword::EXCEPT
            | Keyword::JOIN => {
                run.logical += 1;
                run.operators = 0;
            }
            Keyword::NOT
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::AT
            | Keyword::COLLATE => run.operators += 1,
            Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::WHERE
            | Keyword::HAVING
            | Keyword::QUALIFY => *run = Run::default(),
            _ => {}
        },
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::DoubleColon
        | Token::Period
        | Token::Tilde
        | Token::ExclamationMark
        | Token::Caret
        | Token::Pipe
        | Token::Ampersand
        | Token::Arrow
        | Token::LongArrow => run.operators += 1,
        _ => {}
    }
}

fn too_long(at: &TokenWithSpan, run: &Run) -> Error {
    let limit = if run.operators > CHAIN { CHAIN } else { LOGICAL_CHAIN };
    Error::new(
        ErrorKind::Query,
        format!(
            "an expression of more than {limit} operators in a row is too deep; \
             use `in (…)`, a join or an array instead"
        ),
    )
    .with("line", at.span.start.line)
    .with("column", at.span.start.column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_is_refused_by_name() {
        for (sql, verb) in [
            ("insert into t values (1)", "INSERT"),
            ("create table t as select 1", "CREATE TABLE"),
            ("drop table t", "DROP TABLE"),
            ("set x = 1", "SET"),
            ("copy t to 'x'", "COPY"),
            ("delete from t", "DELETE"),
            ("update t set a = 1", "UPDATE"),
            ("select 1 into t", "SELECT INTO"),
        ] {
            let error = parse_query(sql).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{sql}");
            assert!(error.message().contains(verb), "{sql}: {}", error.message());
        }
    }

    #[test]
    fn comments_stand_before_the_first_word() {
        for sql in ["vacuum t", "-- a\n /* b */ (VACUUM)", "/**/--\nvacuum;"] {
            assert_eq!(first_word(sql), "vacuum", "{sql}");
        }
        assert_eq!(first_word("-- only this"), "");
    }

    #[test]
    fn one_statement_at_a_time() {
        assert!(parse_query("").is_err());
        assert!(parse_query("-- nothing\n").is_err());
        assert!(parse_query("select 1; select 2").is_err());
        assert!(parse_query("select 1;").is_ok());
    }

    #[test]
    fn depth_is_an_error_and_not_a_crash() {
        let nested = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse_query(&nested).unwrap_err().message().contains("deep"));
        let chain = format!("select 1{}", " + 1".repeat(100_000));
        let error = parse_query(&chain).unwrap_err();
        assert!(error.message().contains("operators in a row"));
        let wide = format!("select {}", vec!["a + 1"; 10_000].join(", "));
        assert!(parse_query(&wide).is_ok(), "width is not depth");
    }
}
