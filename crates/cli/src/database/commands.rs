//! The commands that ask a database, or let a macro work in it.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tidemill_connect::postgres::split;
use tidemill_core::{Database, DatabaseSession, Error, NodeStatus, RelationName, UniqueId};
use tidemill_project::ResourceType;
use tidemill_run::{DatabaseRenderer, DatabaseRequest};

use super::{InDatabase, NoEngine, catalog, defer};
use crate::args::{Compile, DocsGenerate, Format, RunOperation, Show, Sql};
use crate::commands::compile::{Compiled, outcome};
use crate::commands::docs::write_results;
use crate::commands::preview::{self, Subject};
use crate::commands::sql::{check_count, open_output};
use crate::dbt_events;
use crate::output::{Mood, plural, seconds};
use crate::renderer::ProjectRenderer;
use crate::session::Session;
use crate::table;

/// A renderer over one session, for commands that build nothing.
async fn open(
    session: &Session,
    database: &Arc<dyn Database>,
    selected: &BTreeSet<UniqueId>,
    empty: bool,
    read_only: bool,
    introspect: bool,
) -> Result<(Arc<dyn DatabaseSession>, Arc<InDatabase>)> {
    let connection = database.session(&session.cancel).await?;
    let deferred = defer::deferred(session, &connection, selected, &BTreeSet::new()).await?;
    let renderer = ProjectRenderer::new(session, Arc::new(NoEngine), session.target_path())
        .deferring(deferred)
        .selected(selected)
        .introspecting(introspect)
        .empty(empty);
    let renderer = if read_only { renderer.read_only() } else { renderer };
    Ok((connection, InDatabase::new(session, Arc::new(renderer))))
}

/// A session and a renderer for a command that only asks.
pub(crate) async fn asking(
    session: &Session,
    database: &Arc<dyn Database>,
) -> Result<(Arc<dyn DatabaseSession>, Arc<InDatabase>)> {
    open(session, database, &BTreeSet::new(), false, true, true).await
}

/// Renders a query of the command line.
async fn inline(
    renderer: &Arc<InDatabase>,
    text: &str,
    request: &DatabaseRequest,
) -> Result<String> {
    let state = renderer.state(request);
    let (project, text) = (renderer.renderer.project.clone(), text.to_owned());
    let rendered =
        tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
    Ok(rendered.sql)
}

/// Renders one node.
async fn compiled(
    renderer: &Arc<InDatabase>,
    id: &UniqueId,
    kind: ResourceType,
    request: &DatabaseRequest,
) -> Result<tidemill_core::Result<Option<String>>> {
    let (worker, id, request) = (renderer.clone(), id.clone(), request.clone());
    Ok(tokio::task::spawn_blocking(move || match kind {
        ResourceType::Model | ResourceType::Analysis | ResourceType::Snapshot => {
            worker.compile(&id, &request).map(Some)
        }
        ResourceType::UnitTest => worker.unit_test(&id, &request).map(|_| None),
        ResourceType::Test => worker.check(&id, &request).map(|_| None),
        _ => Ok(None),
    })
    .await?)
}

/// Renders everything that is selected; the renderer keeps the SQL.
async fn all(
    session: &Session,
    renderer: &Arc<InDatabase>,
    request: &DatabaseRequest,
    selected: &BTreeSet<UniqueId>,
) -> Result<Compiled> {
    let manifest = session.manifest();
    let mut done = Compiled { compiled: Vec::new(), failed: 0, outcomes: Vec::new() };
    for id in manifest.topological() {
        let Some(node) = manifest.node(&id).filter(|_| selected.contains(&id)) else { continue };
        let begun = Instant::now();
        let made = compiled(renderer, &id, node.resource_type, request).await?;
        let message = made.as_ref().err().map(Error::report);
        let status = if made.is_ok() { NodeStatus::Ok } else { NodeStatus::Error };
        match &message {
            None => done.compiled.push(id),
            Some(message) => {
                done.failed += 1;
                session.output.err(format!("error: {}: {message}", node.name));
            }
        }
        done.outcomes.push(outcome(node, status, begun.elapsed(), message));
    }
    Ok(done)
}

/// `tidemill compile`
pub(crate) async fn compile(
    session: &Session,
    database: Arc<dyn Database>,
    args: &Compile,
    only: Option<BTreeSet<UniqueId>>,
) -> Result<i32> {
    let started = Instant::now();
    let selected = if args.inline.is_some() {
        BTreeSet::new()
    } else {
        let mut selected = session.select(&args.selection)?;
        selected.retain(|id| only.as_ref().is_none_or(|only| only.contains(id)));
        selected
    };
    let empty = args.empty && !args.no_empty;
    let (connection, renderer) =
        open(session, &database, &selected, empty, false, args.introspection.resolve()?).await?;
    let request =
        DatabaseRequest { full_refresh: args.full_refresh, ..DatabaseRequest::new(connection) };
    if let Some(text) = &args.inline {
        let sql = inline(&renderer, text, &request).await?;
        preview::inline(session, args, &sql, started.elapsed())?;
        return Ok(0);
    }
    let done = all(session, &renderer, &request, &selected).await?;
    crate::commands::compile::report(session, args, &renderer.renderer, done, started)
}

/// `tidemill show`
pub(crate) async fn show(
    session: &Session,
    database: Arc<dyn Database>,
    args: &Show,
) -> Result<i32> {
    let introspect = args.introspection.resolve()?;
    let (connection, renderer) =
        open(session, &database, &BTreeSet::new(), false, false, introspect).await?;
    let request = DatabaseRequest {
        full_refresh: args.full_refresh,
        ..DatabaseRequest::new(connection.clone())
    };
    let began = Instant::now();
    let mut queries: Vec<(Subject, String)> = Vec::new();
    if let Some(text) = &args.inline_direct {
        queries.push((Subject::inline(session), text.clone()));
    } else if let Some(text) = &args.inline {
        queries.push((Subject::inline(session), inline(&renderer, text, &request).await?));
    } else {
        let Some(selected) = crate::commands::show::selected(session, args)? else {
            return Ok(0);
        };
        for id in selected {
            let Some(node) = session.manifest().node(&id) else { continue };
            let sql = match node.resource_type {
                ResourceType::Seed => Some(format!("select * from {}", node.relation().quoted())),
                ResourceType::Model
                | ResourceType::Snapshot
                | ResourceType::Analysis
                | ResourceType::Test => {
                    compiled(&renderer, &id, node.resource_type, &request).await??
                }
                _ => None,
            };
            queries.extend(sql.map(|sql| (Subject::node(node), sql)));
        }
        if queries.is_empty() {
            bail!("the selection names no model, seed, snapshot, test or analysis");
        }
    }
    let mut outcomes = Vec::new();
    let mut compiled = renderer.renderer.compiled();
    for (subject, sql) in queries {
        let trimmed = sql.trim().trim_end_matches(';');
        let is_query = split(trimmed).first().is_some_and(|statement| statement.is_query());
        let limited = match u64::try_from(args.limit) {
            Ok(limit) if is_query => {
                format!("select * from (\n{trimmed}\n) as shown limit {limit}")
            }
            _ => trimmed.to_owned(),
        };
        let rows = connection.query(&limited).await?;
        preview::rows(session, args, &subject, rows, &session.cancel).await?;
        outcomes.push(subject.outcome(session, began.elapsed()));
        if args.inline.is_some() || args.inline_direct.is_some() {
            compiled.insert(subject.id, sql);
        }
    }
    let arguments = preview::arguments_of_show(args);
    preview::write_results(session, outcomes, began.elapsed(), compiled, &arguments)?;
    Ok(0)
}

/// `--show`: the first rows of seeds.
pub(crate) async fn show_seeds(
    session: &Session,
    database: &Arc<dyn Database>,
    seeds: &[(String, RelationName)],
) -> Result<()> {
    use crate::commands::build::{SHOWN_ROWS, shown_format};
    if seeds.is_empty() {
        return Ok(());
    }
    let connection = database.session(&session.cancel).await?;
    for (name, relation) in seeds {
        session.output.say(format!("{name}:"));
        let sql = format!("select * from {} limit {SHOWN_ROWS}", relation.quoted());
        let rows = connection.query(&sql).await?;
        let mut out = std::io::BufWriter::new(std::io::stdout());
        table::write(rows, shown_format(session), &mut out).await?;
        out.flush()?;
    }
    Ok(())
}

/// `tidemill run-operation`: what came of the macro.
pub(crate) async fn operation(
    session: &Session,
    database: Arc<dyn Database>,
    args: &RunOperation,
    arguments: &serde_json::Map<String, Value>,
) -> Result<tidemill_core::Result<()>> {
    let (connection, renderer) =
        open(session, &database, &BTreeSet::new(), false, true, true).await?;
    let request = DatabaseRequest::new(connection.clone());
    let (name, given) = (args.macro_name.clone().unwrap_or_default(), arguments.clone());
    let outcome =
        tokio::task::spawn_blocking(move || renderer.run_macro(&name, &given, &request)).await?;
    // As in dbt, what a macro has begun and not committed does not stay.
    connection.rollback().await?;
    Ok(outcome)
}

/// `tidemill run-operation --sql`: statements with Jinja, in one transaction.
pub(crate) async fn operation_sql(
    session: &Session,
    database: Arc<dyn Database>,
    text: &str,
) -> Result<tidemill_core::Result<()>> {
    let (connection, renderer) =
        open(session, &database, &BTreeSet::new(), false, true, true).await?;
    let sql = inline(&renderer, text, &DatabaseRequest::new(connection.clone())).await?;
    let done = async {
        connection.begin().await?;
        for statement in split(&sql) {
            connection.run(statement.text).await?;
        }
        connection.commit().await
    };
    let outcome = done.await;
    if outcome.is_err() {
        connection.rollback().await?;
    }
    Ok(outcome)
}

/// `tidemill sql` with a statement.
pub(crate) async fn sql(
    session: &Session,
    database: Arc<dyn Database>,
    args: &Sql,
    statement: Option<String>,
) -> Result<i32> {
    if args.as_of.is_some() {
        bail!("--as-of looks at an earlier state of a lake; a database has none");
    }
    let Some(text) = statement else {
        bail!(
            "in a database `tidemill sql` takes a statement, a file or standard input; for a prompt use psql"
        );
    };
    let connection = database.session(&session.cancel).await?;
    let format = session.global.format.unwrap_or(Format::Text);
    let statements = split(&text);
    check_count(statements.len(), format)?;
    let mut out = open_output(args)?;
    for statement in statements {
        let began = Instant::now();
        let line = if statement.may_give_rows() && statement.is_query() {
            let rows = connection.query(statement.text).await?;
            let count = tokio::select! {
                written = table::write(rows, format, &mut out) => written?,
                () = session.cancel.cancelled() => bail!("cancelled"),
            };
            format!("({})", plural(count, "row", "rows"))
        } else {
            let answer = connection.run(statement.text).await?;
            match answer.batches.first() {
                Some(first) => {
                    let rows = tidemill_core::BatchStream::from_batches(
                        first.schema(),
                        answer.batches.clone(),
                    );
                    let count = table::write(rows, format, &mut out).await?;
                    format!("({})", plural(count, "row", "rows"))
                }
                None => match answer.rows {
                    Some(rows) => format!("{} ({})", answer.tag, plural(rows, "row", "rows")),
                    None => answer.tag,
                },
            }
        };
        out.flush().context("cannot write the result")?;
        if matches!(format, Format::Text) || args.timing {
            let time = if args.timing {
                format!(" in {}", seconds(began.elapsed()))
            } else {
                String::new()
            };
            session.output.say(format!("{line}{time}"));
        }
    }
    connection.commit().await?;
    Ok(0)
}

/// The last lines of `tidemill debug`: whether the database answers.
pub(crate) async fn debug(session: &Session, database: Arc<dyn Database>) -> Result<i32> {
    let say = |name: &str, value: String| session.output.data(format!("  {name:<12} {value}"));
    let answered: tidemill_core::Result<(String, String)> = async {
        let version = database.version().await?;
        let connection = database.session(&session.cancel).await?;
        let answer = connection.run("select current_user::text").await?;
        Ok((version, super::templates::first(&answer).unwrap_or_default()))
    }
    .await;
    match answered {
        Ok((version, user)) => {
            say("connection", format!("ok: {version}, as {user}"));
            session
                .output
                .data(format!("  {}", session.output.paint(Mood::Good, "all checks passed")));
            Ok(0)
        }
        Err(error) => {
            say("connection", "failed".to_owned());
            session.output.err(error.report());
            Ok(1)
        }
    }
}

/// `tidemill docs generate`: the catalog of the database; gives how many nodes did not compile.
pub(crate) async fn docs(
    session: &Session,
    database: Arc<dyn Database>,
    args: &DocsGenerate,
) -> Result<usize> {
    let folder = session.target_path();
    let selected = session.select(&args.selection)?;
    let (connection, renderer) = open(session, &database, &selected, false, false, true).await?;
    let request = DatabaseRequest::new(connection.clone());
    let (mut failed, began, compiled) = (0, Instant::now(), || renderer.renderer.compiled());
    if args.no_compile {
        session.write_manifest(&folder, compiled())?;
    } else {
        let done = all(session, &renderer, &request, &selected).await?;
        failed = done.failed;
        write_results(session, args, done.outcomes, began, compiled())?;
    }
    let described = match args.empty_catalog {
        true => catalog::empty(session),
        false => catalog::of(session, &connection, &selected).await?,
    };
    crate::artifacts::write(&folder, "catalog.json", &described)?;
    session.output.event(|| dbt_events::catalog_written(&folder.join("catalog.json")));
    Ok(failed)
}
