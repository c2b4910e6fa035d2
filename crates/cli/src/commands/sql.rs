//! `tidemill sql`: one statement, or a prompt.

use std::io::{IsTerminal, Read, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tidemill_core::{
    At, BatchStream, Cancellation, Engine, QueryContext, RelationKind, RelationName, Snapshot,
    StatementOutcome,
};
use tidemill_run::{StatementSession, split_statements};

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
    if let Some(database) = crate::database::of(session)? {
        return crate::database::sql(session, database, args, statement).await;
    }
    let stores = session.stores().await?;
    match statement {
        Some(text) => {
            let snapshot = stores.snapshot(at.clone().unwrap_or_default()).await?;
            let format = session.global.format.unwrap_or(Format::Text);
            let statements = split_statements(&text);
            check_count(statements.len(), format)?;
            let mut out = open_output(args)?;
            let runner = Runner::new(session, &stores, snapshot, at.is_some());
            let mut outcome = Ok(());
            for statement in statements {
                let began = Instant::now();
                let ran = runner.run(statement, format, &mut out).await;
                let said = match ran {
                    Ok(said) => said,
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                };
                out.flush().context("cannot write the result")?;
                if matches!(format, Format::Text) || args.timing {
                    session.output.say(said.line(args.timing.then_some(began)));
                }
            }
            runner.session.close().await;
            stores.files.close().await;
            outcome.map(|()| 0)
        }
        None => {
            let outcome = prompt(session, &stores, at, args.timing).await;
            stores.files.close().await;
            outcome
        }
    }
}

fn exact(began: Instant) -> String {
    let time = began.elapsed();
    if time.as_secs() >= 60 { seconds(time) } else { format!("{:.3}s", time.as_secs_f64()) }
}

/// Whether so many statements can be answered in one text of this format.
pub(crate) fn check_count(statements: usize, format: Format) -> Result<()> {
    if statements == 0 {
        bail!("there is no statement");
    }
    if statements > 1 && !matches!(format, Format::Text | Format::Csv) {
        bail!("{statements} statements were given; with this --format there can be one only");
    }
    Ok(())
}

/// Where the rows go.
pub(crate) fn open_output(args: &Sql) -> Result<Box<dyn Write + Send>> {
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
    write_rows(rows, &context.cancel, format, out).await
}

/// Runs statements one after another: those that write too, unless an earlier state is looked at.
struct Runner {
    stores: Stores,
    session: StatementSession,
    read_only: bool,
}

/// What a statement came to.
enum Said {
    Rows(u64),
    Done { tag: String, rows: Option<u64> },
}

impl Said {
    fn line(&self, began: Option<Instant>) -> String {
        let time = began.map(|began| format!(" in {}", exact(began))).unwrap_or_default();
        match self {
            Said::Rows(rows) => format!("({}{time})", plural(*rows, "row", "rows")),
            Said::Done { tag, rows: Some(rows) } => {
                format!("{tag} ({}{time})", plural(*rows, "row", "rows"))
            }
            Said::Done { tag, rows: None } => format!("{tag}{time}"),
        }
    }
}

impl Runner {
    fn new(session: &Session, stores: &Stores, snapshot: Snapshot, read_only: bool) -> Runner {
        Runner {
            stores: stores.clone(),
            session: StatementSession::new(
                stores.engine.clone(),
                stores.lake.clone(),
                session.context(snapshot),
            ),
            read_only,
        }
    }

    async fn run(
        &self,
        statement: &str,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<Said> {
        let context = self.session.context();
        if self.read_only {
            return Ok(Said::Rows(query(&self.stores, statement, &context, format, out).await?));
        }
        match self.session.execute(statement).await? {
            StatementOutcome::Rows(rows) => {
                Ok(Said::Rows(write_rows(rows, &context.cancel, format, out).await?))
            }
            StatementOutcome::Done { tag, rows } => Ok(Said::Done { tag, rows }),
        }
    }
}

pub(crate) async fn write_rows(
    rows: BatchStream,
    cancel: &Cancellation,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    tokio::select! {
        written = table::write(rows, format, out) => written,
        () = cancel.cancelled() => bail!("cancelled"),
    }
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
    let runner = Runner::new(session, stores, snapshot, at.is_some());
    let mut editor = Prompt::new(words)?;
    loop {
        // The prompt blocks; nothing else has to run meanwhile.
        let request = tokio::task::block_in_place(|| editor.next())?;
        // What another process published meanwhile is seen by the next statement.
        let snapshot = stores.snapshot(at.clone().unwrap_or_default()).await?;
        match request {
            None | Some(Request::Quit) => {
                runner.session.close().await;
                return Ok(0);
            }
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
                let stop = Cancellation::new();
                runner.session.renew(snapshot, stop.clone());
                let interrupt = tokio::spawn(async move {
                    if tokio::signal::ctrl_c().await.is_ok() {
                        stop.cancel();
                    }
                });
                let mut out = std::io::BufWriter::new(std::io::stdout());
                let result = runner.run(&statement, Format::Text, &mut out).await;
                let _ = out.flush();
                drop(out);
                interrupt.abort();
                match result {
                    Ok(said) => session.output.say(said.line(timing.then_some(began))),
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
