//! `on-run-start` and `on-run-end`: statements around all nodes of a run, as dbt runs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value, json};
use tidemill_core::{NodeOutcome, NodeStatus, UniqueId};
use tidemill_project::{Hook, Manifest};
use tidemill_run::{RenderRequest, RunSummary};

use crate::dbt_events;
use crate::output::{Mood, seconds};
use crate::renderer::ProjectRenderer;
use crate::session::{Session, Stores};

/// Which ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Start,
    End,
}

impl When {
    fn as_str(self) -> &'static str {
        match self {
            When::Start => "on-run-start",
            When::End => "on-run-end",
        }
    }

    /// Those of a project and its packages, in their order.
    pub(crate) fn hooks(self, manifest: &Manifest) -> &[Hook] {
        match self {
            When::Start => &manifest.on_run_start,
            When::End => &manifest.on_run_end,
        }
    }
}

/// Runs the hooks of a project and its packages in order. The first that fails keeps those after it
/// from running; what came of each is a result of the run.
///
/// # Errors
/// When the lake cannot be read, or a hook cannot be rendered: as in dbt, that ends the command.
pub(crate) async fn run(
    session: &Session,
    stores: &Stores,
    renderer: &Arc<ProjectRenderer>,
    when: When,
    names: Map<String, Value>,
) -> Result<Vec<NodeOutcome>> {
    let manifest = session.manifest();
    let hooks = when.hooks(manifest);
    if hooks.is_empty() {
        return Ok(Vec::new());
    }
    let (statements, request) = session.writing(stores).await?;
    let names = Arc::new(names);
    let mut outcomes = Vec::new();
    let mut failed = false;
    for (index, hook) in hooks.iter().enumerate() {
        let (id, name) = identity(hook, when);
        let number = (index + 1, hooks.len());
        begun(session, &id, &name, number, failed);
        let began = Instant::now();
        let (status, message) = if failed {
            (NodeStatus::Skipped, Some(format!("{name} skipped")))
        } else {
            match perform(renderer, (&id, hook), &request, &names).await {
                Ok(Ok(())) => (NodeStatus::Ok, Some(format!("{name} passed"))),
                Ok(Err(error)) => {
                    failed = true;
                    (NodeStatus::Error, Some(error.report()))
                }
                Err(error) => {
                    statements.close().await;
                    return Err(not_rendered(&name, &error));
                }
            }
        };
        let outcome = outcome(id, name, status, message, began.elapsed());
        tell(session, &outcome, number);
        outcomes.push(outcome);
    }
    statements.close().await;
    Ok(outcomes)
}

/// What came of the hooks after a run, and what ends the command once everything else is written.
pub(crate) fn of_the_end(
    outcomes: Result<Vec<NodeOutcome>>,
) -> (Vec<NodeOutcome>, Option<anyhow::Error>) {
    match outcomes {
        Ok(outcomes) => (outcomes, None),
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// The id and the name of a hook of the run.
pub(crate) fn identity(hook: &Hook, when: When) -> (UniqueId, String) {
    let (package, when, index) = (&hook.package, when.as_str(), hook.index.unwrap_or(0));
    let id = UniqueId::new(format!("operation.{package}.{package}-{when}-{index}"));
    (id, format!("{package}.{when}.{index}"))
}

/// What came of a hook, as a result of the run.
pub(crate) fn outcome(
    node: UniqueId,
    name: String,
    status: NodeStatus,
    message: Option<String>,
    elapsed: Duration,
) -> NodeOutcome {
    NodeOutcome {
        node,
        name,
        kind: "hook".to_owned(),
        status,
        elapsed,
        rows: None,
        version: None,
        batches: None,
        message,
    }
}

/// A hook of which nothing came.
pub(crate) fn not_rendered(name: &str, error: &tidemill_core::Error) -> anyhow::Error {
    anyhow::anyhow!("{name}: {}", error.report())
}

async fn perform(
    renderer: &Arc<ProjectRenderer>,
    (id, hook): (&UniqueId, &Hook),
    request: &RenderRequest,
    names: &Arc<Map<String, Value>>,
) -> tidemill_core::Result<tidemill_core::Result<()>> {
    let (renderer, id, hook) = (renderer.clone(), id.clone(), hook.clone());
    let (request, names) = (request.clone(), names.clone());
    let run = move || renderer.run_hook((&id, &hook), &request, names);
    let done = tokio::task::spawn_blocking(run).await;
    done.unwrap_or_else(|panic| {
        Err(tidemill_core::Error::new(tidemill_core::ErrorKind::Internal, "a hook has panicked")
            .because(panic))
    })
}

/// Tells that a hook begins, unless it is skipped: its number and how many there are.
pub(crate) fn begun(
    session: &Session,
    id: &UniqueId,
    name: &str,
    number: (usize, usize),
    is_skipped: bool,
) {
    if !is_skipped {
        session.output.event(|| dbt_events::hook_started(session.manifest(), id, name, number));
    }
}

/// Tells how a hook ended.
pub(crate) fn tell(session: &Session, outcome: &NodeOutcome, number: (usize, usize)) {
    let output = &session.output;
    if output.events.is_some() {
        output.event(|| dbt_events::hook_ended(session.manifest(), outcome, number));
        return;
    }
    if output.json {
        output.data(json!({"event": "hook_finished", "name": outcome.name,
            "status": outcome.status, "message": outcome.message, "format": 1}));
        return;
    }
    let (word, mood) = match outcome.status {
        NodeStatus::Ok => ("ok", Mood::Good),
        NodeStatus::Skipped => ("skip", Mood::Quiet),
        _ => ("error", Mood::Bad),
    };
    let mut line = format!(
        "  {}  {}  {:>6}",
        output.paint(mood, &format!("{word:<5}")),
        outcome.name,
        seconds(outcome.elapsed)
    );
    if mood == Mood::Bad {
        let message = outcome.message.as_deref().unwrap_or_default();
        line.push_str(&format!("  {}", message.replace('\n', "\n         ")));
        output.err(line);
    } else {
        output.say(line);
    }
}

/// What `on-run-end` hooks know of the run: `results`, `schemas` and `database_schemas`. `results`
/// are those of `run_results.json`, each with its node.
pub(crate) fn end_names(
    session: &Session,
    summary: &RunSummary,
    run_results: &Value,
) -> Map<String, Value> {
    let manifest = session.manifest();
    let mut results = Vec::new();
    for result in run_results.get("results").and_then(Value::as_array).into_iter().flatten() {
        let id = result.get("unique_id").and_then(Value::as_str).unwrap_or_default();
        let Some(node) = tidemill_project::resource_json(manifest, &UniqueId::new(id)) else {
            continue;
        };
        let mut result = result.clone();
        result["node"] = node;
        for key in ["compiled", "compiled_code", "relation_name"] {
            result["node"][key] = result[key].clone();
        }
        results.push(result);
    }
    let mut places: Vec<(String, String)> = summary
        .nodes
        .iter()
        .filter(|outcome| {
            !matches!(
                outcome.status,
                NodeStatus::Error | NodeStatus::Fail | NodeStatus::Skipped | NodeStatus::Cancelled
            )
        })
        .filter_map(|outcome| manifest.node(&outcome.node))
        .filter(|node| node.is_relational())
        .map(|node| (node.database.clone(), node.schema.clone()))
        .collect();
    places.sort();
    places.dedup();
    let mut schemas: Vec<&String> = places.iter().map(|(_, schema)| schema).collect();
    schemas.dedup();
    Map::from_iter([
        ("schemas".to_owned(), json!(schemas)),
        ("database_schemas".to_owned(), json!(places)),
        ("results".to_owned(), Value::Array(results)),
    ])
}
