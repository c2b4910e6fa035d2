//! `tidemill sql`: one statement, or a prompt.

use std::io::{IsTerminal, Read, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tidemill_core::{At, Engine, QueryContext, RelationKind, RelationName, Snapshot};

use crate::args::{Format, Sql};
use crate::output::{Output, plural, seconds};
use crate::repl::{HELP, Prompt, Request};
use crate::session::{Session, Stores, parse_at};
use crate::table;

pub(crate) async fn run(session: &Session, args: &Sql) -> Result<i32> {
    let at = args.as_of.as_deref().map(parse_at).transpose()?;
    let statement = match (&args.statement, &args.file) {
        (Some(statement), _) if statement != "-" => Some(statement.clone()),
        (_, Some(file)) => Some(
            std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?,
        ),
        _ if !std::io::stdin().is_terminal() => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            Some(text)
        }
        _ => None,
    };
    let stores = session.stores().await?;
    match statement {
        Some(text) => {
            let snapshot = stores.snapshot(at.unwrap_or_default()).await?;
            let format = session.global.format.unwrap_or(Format::Text);
            let statements = split_statements(&text);
            if statements.is_empty() {
                bail!("there is no statement");
            }
            if statements.len() > 1 && !matches!(format, Format::Text | Format::Csv) {
                bail!(
                    "{} statements were given; with this --format there can be one only",
                    statements.len()
                );
            }
            let mut out = open_output(args)?;
            for statement in statements {
                let context = session.context(snapshot.clone());
                let began = Instant::now();
                let rows = query(&stores, statement, &context, format, &mut out).await?;
                out.flush().context("cannot write the result")?;
                if matches!(format, Format::Text) || args.timing {
                    let time =
                        if args.timing { format!(" in {}", exact(began)) } else { String::new() };
                    session.output.say(format!("({}{time})", plural(rows, "row", "rows")));
                }
            }
            Ok(0)
        }
        None => prompt(session, &stores, at, args.timing).await,
    }
}

fn exact(began: Instant) -> String {
    let time = began.elapsed();
    if time.as_secs() >= 60 { seconds(time) } else { format!("{:.3}s", time.as_secs_f64()) }
}

fn open_output(args: &Sql) -> Result<Box<dyn Write + Send>> {
    Ok(match &args.output {
        Some(path) => Box::new(std::io::BufWriter::new(
            std::fs::File::create(path)
                .with_context(|| format!("cannot write {}", path.display()))?,
        )),
        None => Box::new(std::io::BufWriter::new(std::io::stdout())),
    })
}

/// Runs one query and writes its rows.
pub(crate) async fn query(
    stores: &Stores,
    statement: &str,
    context: &QueryContext,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    let rows = stores.engine.query(statement, context).await?;
    tokio::select! {
        written = table::write(rows, format, out) => written,
        () = context.cancel.cancelled() => bail!("cancelled"),
    }
}

/// The statements of a text, split at semicolons outside of quotes and comments.
pub(crate) fn split_statements(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut start, mut at) = (0, 0);
    let mut found = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += 1;
                }
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += 2;
                while at < bytes.len() && !(bytes[at] == b'*' && bytes.get(at + 1) == Some(&b'/')) {
                    at += 1;
                }
                at += 1;
            }
            b';' => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.push(&text[start.min(text.len())..]);
    found.retain(|statement| !is_blank(statement));
    found.into_iter().map(str::trim).collect()
}

fn is_blank(statement: &str) -> bool {
    statement.lines().all(|line| line.trim().is_empty() || line.trim().starts_with("--"))
}

async fn prompt(session: &Session, stores: &Stores, at: Option<At>, timing: bool) -> Result<i32> {
    let mut timing = timing;
    let snapshot = stores.snapshot(at.clone().unwrap_or_default()).await?;
    session.output.say(format!(
        "tidemill {} · {} · {} · \\? for help",
        env!("CARGO_PKG_VERSION"),
        session.manifest().target.lake,
        plural(snapshot.relations.len() as u64, "relation", "relations")
    ));
    let words = words(&snapshot);
    let mut editor = Prompt::new(words)?;
    loop {
        // The prompt blocks; nothing else has to run meanwhile.
        let request = tokio::task::block_in_place(|| editor.next())?;
        // What another process published meanwhile is seen by the next statement.
        let snapshot = stores.snapshot(at.clone().unwrap_or_default()).await?;
        match request {
            None | Some(Request::Quit) => return Ok(0),
            Some(Request::Nothing) => {}
            Some(Request::Help) => session.output.data(HELP),
            Some(Request::Timing) => {
                timing = !timing;
                session.output.say(if timing { "timing is on" } else { "timing is off" });
            }
            Some(Request::Unknown(word)) => {
                session.output.err(format!("there is no command \\{word}; \\? lists them"));
            }
            Some(Request::Describe(None)) => {
                for line in crate::commands::lake::listing(&snapshot) {
                    session.output.data(line);
                }
            }
            Some(Request::Describe(Some(name))) => {
                describe(&session.output, &snapshot, &name, &session.manifest().target.schema);
            }
            Some(Request::Statement(statement)) => {
                let began = Instant::now();
                let mut context = session.context(snapshot);
                context.cancel = tidemill_core::Cancellation::new();
                let stop = context.cancel.clone();
                let interrupt = tokio::spawn(async move {
                    if tokio::signal::ctrl_c().await.is_ok() {
                        stop.cancel();
                    }
                });
                let mut out = std::io::BufWriter::new(std::io::stdout());
                let result = query(stores, &statement, &context, Format::Text, &mut out).await;
                let _ = out.flush();
                drop(out);
                interrupt.abort();
                match result {
                    Ok(rows) => {
                        let time =
                            if timing { format!(" in {}", exact(began)) } else { String::new() };
                        session.output.say(format!("({}{time})", plural(rows, "row", "rows")));
                    }
                    Err(error) => session.output.err(crate::failure::text(&error)),
                }
            }
        }
    }
}

/// Names that the prompt completes.
fn words(snapshot: &Snapshot) -> Vec<String> {
    let mut words: Vec<String> = snapshot
        .relations
        .values()
        .flat_map(|relation| {
            let columns = relation.schema.fields().iter().map(|field| field.name().clone());
            [relation.name.to_string(), relation.name.name().to_owned()]
                .into_iter()
                .chain(columns.collect::<Vec<_>>())
        })
        .collect();
    words.sort();
    words.dedup();
    words
}

fn describe(output: &Output, snapshot: &Snapshot, name: &str, default_schema: &str) {
    let relation =
        RelationName::parse(name).unwrap_or_else(|| RelationName::new(default_schema, name));
    let found = snapshot
        .get(&relation)
        .or_else(|| snapshot.relations.values().find(|relation| relation.name.name() == name));
    let Some(relation) = found else {
        output.err(format!("there is no relation `{name}`; \\d lists them"));
        return;
    };
    let rows: Vec<Vec<String>> = relation
        .schema
        .fields()
        .iter()
        .map(|field| vec![field.name().clone(), crate::types::name(field.data_type())])
        .collect();
    for line in table::aligned(&["column", "type"], &rows, &[]) {
        output.data(line);
    }
    if let RelationKind::View { sql } = &relation.kind {
        output.data(format!("\nview:\n{}", sql.trim()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_outside_of_quotes_and_comments() {
        let text = "select ';' as a; -- one; two\nselect /* ; */ \"b;\" from t;\n\n-- end\n";
        assert_eq!(
            split_statements(text),
            ["select ';' as a", "-- one; two\nselect /* ; */ \"b;\" from t"]
        );
    }
}
