//! `build`, `run`, `test`, `seed`, `snapshot` and `retry` in a database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Map, Value};
use tidemill_core::{Database, DatabaseSession, NodeOutcome, NodeStatus, UniqueId, VerdictStatus};
use tidemill_plan::{Work, WorkKind, WorkNode};
use tidemill_run::{
    DatabaseDoers, DatabaseRenderer, DatabaseRequest, RunSummary, execute_in_database,
};

use super::{InDatabase, NoEngine, defer};
use crate::args::Publish;
use crate::artifacts;
use crate::commands::build::{self, Invocation};
use crate::renderer::ProjectRenderer;
use crate::run_hooks::{self, When};
use crate::session::Session;

/// Runs the work in a database.
pub(crate) async fn run_work(
    session: &Session,
    database: Arc<dyn Database>,
    invocation: &Invocation<'_>,
    work: Work,
) -> Result<RunSummary> {
    refuse(invocation, &work)?;
    let folder = session.target_path();
    let (progress, planned) = build::progress(session, invocation, &work, &[]);
    let first = database.session(&session.cancel).await?;
    let building: BTreeSet<UniqueId> = work.nodes.keys().cloned().collect();
    let deferred = defer::deferred(session, &first, &work.selected, &building).await?;
    let renderer = Arc::new(
        ProjectRenderer::new(session, Arc::new(NoEngine), folder.clone())
            .deferring(deferred)
            .selected(&work.selected)
            .empty(invocation.empty)
            .sampling(build::sample(session, invocation)?),
    );
    let in_database = InDatabase::new(session, renderer.clone());
    create_schemas(&first, &work).await?;
    let start = hooks(session, &first, &in_database, When::Start, Map::new()).await?;
    drop(first);
    let start_failed = start.iter().any(|hook| hook.status == NodeStatus::Error);
    let mut summary = if start_failed && build::skips_after_failed_start(session) {
        build::skipped(&work)
    } else {
        let doers = DatabaseDoers {
            database: database.clone(),
            renderer: in_database.clone(),
            events: progress.clone(),
        };
        let options = build::options(session, invocation, &folder);
        execute_in_database(work, doers, options, session.cancel.child()).await?
    };
    summary.compiling = renderer.compiling();
    if session.rules.is_error("test-warning") {
        for check in &mut summary.checks {
            if check.verdict.status == VerdictStatus::Warn {
                check.verdict.status = VerdictStatus::Fail;
            }
        }
    }
    let arguments = session.arguments(&invocation.to_json());
    let (run, started) = (session.run.to_string(), artifacts::timestamp(session.started));
    let results = |summary: &RunSummary| {
        artifacts::run_results(
            session.manifest(),
            summary,
            &planned,
            &renderer.compiled(),
            &arguments,
            &run,
            &started,
        )
    };
    progress.rest(|| results(&summary));
    progress.finish(summary.elapsed, summary.cancelled);
    let end = if session.manifest().on_run_end.is_empty() || summary.cancelled {
        Ok(Vec::new())
    } else {
        let names = run_hooks::end_names(session, &summary, &results(&summary));
        let last = database.session(&session.cancel).await?;
        hooks(session, &last, &in_database, When::End, names).await
    };
    let (end, broken) = run_hooks::of_the_end(end);
    summary.nodes.splice(0..0, start);
    summary.nodes.extend(end);
    if session.global.flags.on("write_json") {
        artifacts::write(&folder, "run_results.json", &results(&summary))?;
        session.write_manifest_after(&folder, renderer.compiled(), renderer.all_executed())?;
    }
    progress.end(|| results(&summary), summary.elapsed, summary.cancelled);
    broken.map_or(Ok(summary), Err)
}

/// What a database does not do.
fn refuse(invocation: &Invocation<'_>, work: &Work) -> Result<()> {
    if invocation.publish == Publish::Run {
        bail!("--publish run works on a lake; in a database each model is committed by itself");
    }
    let sources = work.nodes.values().filter(|node| matches!(node.kind, WorkKind::Source));
    if let Some(source) = sources.map(|source: &WorkNode| &source.name).next() {
        bail!(
            "the source `{source}` is loaded by Tidemill (`ingest:`), which works on a lake; leave it out \
             with --exclude source:*, or name a lake with --target-lake=./lake"
        );
    }
    Ok(())
}

/// Makes the schemas that the run needs, as dbt does before it begins.
async fn create_schemas(session: &Arc<dyn DatabaseSession>, work: &Work) -> Result<()> {
    let wanted: BTreeSet<&str> = work
        .nodes
        .values()
        .filter(|node| !matches!(node.kind, WorkKind::External | WorkKind::Source))
        .map(|node| node.relation.schema())
        .chain(
            work.checks.values().filter_map(|check| Some(check.store_failures.as_ref()?.schema())),
        )
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let there = session.schemas().await?;
    for schema in wanted {
        if !there.iter().any(|known| known == schema) {
            let name = schema.replace('"', "\"\"");
            session.run(&format!("create schema if not exists \"{name}\"")).await?;
        }
    }
    Ok(())
}

/// Runs the hooks of the whole run, one after the other; the first that fails keeps those after it
/// from running.
///
/// # Errors
/// When a hook cannot be rendered, or the database is gone.
pub(crate) async fn hooks(
    session: &Session,
    database: &Arc<dyn DatabaseSession>,
    renderer: &Arc<InDatabase>,
    when: When,
    names: Map<String, Value>,
) -> Result<Vec<NodeOutcome>> {
    let manifest = session.manifest();
    let hooks = when.hooks(manifest);
    let names = Arc::new(names);
    let request = DatabaseRequest::new(database.clone());
    let mut outcomes = Vec::new();
    let mut failed = false;
    for (index, hook) in hooks.iter().enumerate() {
        let began = Instant::now();
        let (id, name) = run_hooks::identity(hook, when);
        let number = (index + 1, hooks.len());
        run_hooks::begun(session, &id, &name, number, failed);
        let (comment, after) = renderer.comment(&id);
        database.comment(comment, after);
        let (status, message) = if failed {
            (NodeStatus::Skipped, Some(format!("{name} skipped")))
        } else {
            let (worker, id, hook) = (renderer.clone(), id.clone(), hook.clone());
            let (request, names) = (request.clone(), names.clone());
            let run = move || worker.run_hook((&id, &hook), &request, names);
            match tokio::task::spawn_blocking(run).await? {
                Ok(Ok(())) => (NodeStatus::Ok, Some(format!("{name} passed"))),
                Ok(Err(error)) => {
                    failed = true;
                    database.rollback().await?;
                    (NodeStatus::Error, Some(error.report()))
                }
                Err(error) => {
                    database.rollback().await?;
                    return Err(run_hooks::not_rendered(&name, &error));
                }
            }
        };
        let outcome = run_hooks::outcome(id, name, status, message, began.elapsed());
        run_hooks::tell(session, &outcome, number);
        outcomes.push(outcome);
    }
    // A hook may leave a transaction open, which nobody else would end.
    database.commit().await?;
    database.comment(None, false);
    Ok(outcomes)
}
