//! `tidemill compile`: the SQL of models, without running it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tidemill_core::{At, NodeOutcome, NodeStatus, QueryContext, UniqueId};
use tidemill_project::ResourceType;
use tidemill_run::{RenderRequest, Renderer, RunSummary};

use crate::args::Compile;
use crate::artifacts;
use crate::commands::preview::{self, Subject};
use crate::output::plural;
use crate::renderer::ProjectRenderer;
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &Compile) -> Result<i32> {
    run_only(session, args, None).await
}

/// Only these of the selected nodes (`retry`).
pub(crate) async fn run_only(
    session: &Session,
    args: &Compile,
    only: Option<BTreeSet<UniqueId>>,
) -> Result<i32> {
    let introspect = args.introspection.resolve()?;
    if let Some(database) = crate::database::of(session)? {
        return crate::database::compile(session, database, args, only).await;
    }
    let started = Instant::now();
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let folder = session.target_path();
    let selected = if args.inline.is_some() {
        BTreeSet::new()
    } else {
        let mut selected = session.select(&args.selection)?;
        selected.retain(|id| only.as_ref().is_none_or(|only| only.contains(id)));
        selected
    };
    let is_here = |own: &_| snapshot.get(own).is_some();
    let deferred = crate::defer::deferred(session, &selected, &BTreeSet::new(), is_here)?;
    let renderer = Arc::new(
        ProjectRenderer::new(session, stores.engine.clone(), folder.clone())
            .deferring(deferred)
            .selected(&selected)
            .introspecting(introspect)
            .empty(args.empty && !args.no_empty),
    );
    let context = session.context(snapshot.clone());
    if let Some(text) = &args.inline {
        let request = RenderRequest {
            incremental: false,
            full_refresh: args.full_refresh,
            context,
            batch: None,
            statements: None,
        };
        let state = renderer.state(&request);
        let (project, text) = (session.project.clone(), text.clone());
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        preview::inline(session, args, &rendered.sql, started.elapsed())?;
        return Ok(0);
    }
    let done = all(session, &renderer, &context, &selected, args.full_refresh).await?;
    report(session, args, &renderer, done, started)
}

/// Says what was compiled, and writes the artifacts.
pub(crate) fn report(
    session: &Session,
    args: &Compile,
    renderer: &ProjectRenderer,
    done: Compiled,
    started: Instant,
) -> Result<i32> {
    let (manifest, folder) = (session.manifest(), session.target_path());
    let compiled = done.compiled;
    let summary =
        RunSummary { nodes: done.outcomes, elapsed: started.elapsed(), ..RunSummary::default() };
    let texts = renderer.compiled();
    // As in dbt, the SQL of nodes that the selection names is printed.
    let only = || (compiled.len() == 1).then(|| compiled.clone());
    let printed = preview::named(session, &args.selection, &compiled).or_else(only);
    for id in printed.iter().flatten() {
        if let (Some(node), Some(text)) = (manifest.node(id), texts.get(id)) {
            preview::sql(session, &Subject::node(node), text, args.output);
        }
    }
    if session.global.flags.on("write_json") {
        let arguments = json!({
            "which": "compile",
            "select": args.selection.all(),
            "exclude": args.selection.exclude,
            "selector": args.selection.selector,
            "full_refresh": args.full_refresh,
        });
        let results = artifacts::run_results(
            manifest,
            &summary,
            &[],
            &texts,
            &session.arguments(&arguments),
            &session.run.to_string(),
            &artifacts::timestamp(session.started),
        );
        artifacts::write(&folder, "run_results.json", &results)?;
        session.write_manifest(&folder, texts.clone())?;
    }
    if compiled.is_empty() && summary.nodes.is_empty() {
        session.nothing_to_do()?;
        return Ok(0);
    }
    session.output.say(format!(
        "compiled {} to {}",
        plural(texts.len() as u64, "node", "nodes"),
        folder.join("compiled").display()
    ));
    // As in dbt: what cannot be compiled is no result, it ends the command.
    Ok(if summary.failed() { 2 } else { 0 })
}

pub(crate) fn outcome(
    node: &tidemill_project::Node,
    status: NodeStatus,
    elapsed: Duration,
    message: Option<String>,
) -> NodeOutcome {
    NodeOutcome {
        node: node.unique_id.clone(),
        name: node.name.clone(),
        kind: node.resource_type.to_string(),
        status,
        elapsed,
        rows: None,
        version: None,
        message,
        batches: None,
    }
}

/// What [`all`] has done.
pub(crate) struct Compiled {
    /// The nodes that were rendered.
    pub(crate) compiled: Vec<UniqueId>,
    /// How many could not be; each was told.
    pub(crate) failed: usize,
    /// How each ended.
    pub(crate) outcomes: Vec<NodeOutcome>,
}

/// Renders every model, snapshot, analysis and test that is selected; the renderer keeps their SQL.
pub(crate) async fn all(
    session: &Session,
    renderer: &Arc<ProjectRenderer>,
    context: &QueryContext,
    selected: &BTreeSet<UniqueId>,
    full_refresh: bool,
) -> Result<Compiled> {
    let manifest = session.manifest();
    let mut done = Compiled { compiled: Vec::new(), failed: 0, outcomes: Vec::new() };
    for id in manifest.topological() {
        let Some(node) = manifest.node(&id).filter(|_| selected.contains(&id)) else { continue };
        let request = RenderRequest {
            statements: None,
            incremental: node.config.materialized.as_str() == "incremental"
                && !full_refresh
                && context.snapshot.get(&node.relation()).is_some(),
            full_refresh,
            context: context.clone(),
            batch: None,
        };
        let worker = renderer.clone();
        let (kind, id) = (node.resource_type, node.unique_id.clone());
        let begun = Instant::now();
        let result = tokio::task::spawn_blocking(move || match kind {
            ResourceType::Model | ResourceType::Analysis | ResourceType::Snapshot => {
                worker.render(&id, &request).map(drop)
            }
            ResourceType::UnitTest => worker.unit_test(&id, &request).map(drop),
            ResourceType::Test => worker.check(&id, &request).map(drop),
            _ => Ok(()),
        })
        .await?;
        let message = result.as_ref().err().map(tidemill_core::Error::report);
        let status = if result.is_ok() { NodeStatus::Ok } else { NodeStatus::Error };
        match &message {
            None => done.compiled.push(node.unique_id.clone()),
            Some(message) => {
                done.failed += 1;
                session.output.err(format!("error: {}: {message}", node.name));
            }
        }
        // As in dbt, these are compiled and are no results.
        let is_result =
            kind != ResourceType::UnitTest && node.config.materialized.as_str() != "ephemeral";
        if is_result || message.is_some() {
            done.outcomes.push(outcome(node, status, begun.elapsed(), message));
        }
    }
    Ok(done)
}
