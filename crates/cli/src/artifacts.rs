//! dbt's artifacts: `run_results.json` (v6).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tidemill_core::{NodeOutcome, NodeStatus, UniqueId, VerdictStatus};
use tidemill_project::{Batch, DBT_VERSION, Manifest};
use tidemill_run::RunSummary;

use crate::session::Session;

/// What stands in the `metadata` of every artifact.
pub(crate) fn metadata(schema: &str, invocation: &str, started: &str) -> Value {
    json!({
        "dbt_schema_version": format!("https://schemas.getdbt.com/dbt/{schema}.json"),
        "dbt_version": DBT_VERSION,
        "generated_at": timestamp(chrono::Utc::now()),
        "invocation_id": invocation,
        "invocation_started_at": started,
        "env": custom_env(),
    })
}

/// `catalog.json` of these relations.
pub(crate) fn catalog(
    session: &Session,
    nodes: Map<String, Value>,
    sources: Map<String, Value>,
) -> Value {
    json!({
        "metadata": metadata("catalog/v1", &session.run.to_string(), &timestamp(session.started)),
        "nodes": nodes,
        "sources": sources,
        "errors": Value::Null,
    })
}

/// A time as dbt writes it.
pub(crate) fn timestamp(time: chrono::DateTime<chrono::Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// `DBT_ENV_CUSTOM_ENV_x` goes into artifacts under its own name.
pub(crate) fn custom_env() -> serde_json::Map<String, Value> {
    std::env::vars()
        .filter_map(|(name, value)| {
            Some((name.strip_prefix("DBT_ENV_CUSTOM_ENV_")?.to_owned(), Value::String(value)))
        })
        .collect()
}

/// dbt's word for a microbatch model of which some batches failed.
pub(crate) const PARTIAL: &str = "partial success";

fn status_of_node(outcome: &NodeOutcome) -> &'static str {
    match outcome.status {
        NodeStatus::Ok | NodeStatus::Unchanged | NodeStatus::Warn | NodeStatus::Pass => "success",
        NodeStatus::Reused => "reused",
        // dbt has built the model before its test fails; here it was not published.
        NodeStatus::Fail | NodeStatus::Error => "error",
        NodeStatus::Skipped | NodeStatus::Cancelled => "skipped",
    }
}

/// dbt's word for how a node ended.
pub(crate) fn status_of_outcome(outcome: &NodeOutcome) -> &'static str {
    match &outcome.batches {
        Some(batches) if !batches.failed.is_empty() && !batches.successful.is_empty() => PARTIAL,
        _ => status_of_node(outcome),
    }
}

fn status_of_check(status: VerdictStatus) -> &'static str {
    match status {
        VerdictStatus::Pass => "pass",
        VerdictStatus::Warn => "warn",
        VerdictStatus::Fail => "fail",
        VerdictStatus::Error => "error",
    }
}

/// What a statement of PostgreSQL that does the same would answer, which is what dbt tells of a node
/// that was built.
fn response(
    manifest: &Manifest,
    outcome: &NodeOutcome,
    full_refresh: bool,
) -> Option<(&'static str, String)> {
    let rows = outcome.rows;
    // Rows that change nothing make no version.
    let is_first = full_refresh
        || (outcome.status != NodeStatus::Unchanged
            && outcome.version.is_none_or(|version| version.0 == 0));
    let (code, tag) = match (outcome.kind.as_str(), is_first) {
        ("view", _) => return Some(("CREATE VIEW", "CREATE VIEW".to_owned())),
        ("seed", _) => ("INSERT", "INSERT"),
        ("incremental" | "snapshot", false) => {
            let node = manifest.node(&outcome.node);
            let strategy = node.and_then(|node| node.config.incremental_strategy.as_deref());
            match strategy {
                Some("merge") => ("MERGE", "MERGE"),
                _ => ("INSERT", "INSERT 0"),
            }
        }
        ("table" | "incremental" | "snapshot" | "materialized_view", _) => ("SELECT", "SELECT"),
        _ => return None,
    };
    Some((code, format!("{tag} {}", rows?)))
}

/// What is told of a node that was built: dbt's message, and dbt's `adapter_response` with our own
/// keys beside its.
pub(crate) fn told(
    manifest: &Manifest,
    outcome: &NodeOutcome,
    full_refresh: bool,
) -> (Value, Value) {
    let mut answer = json!({"rows_affected": outcome.rows, "version": outcome.version});
    if manifest.target.runs_in.is_some() {
        // The database has said it itself.
        if let Some(message) = &outcome.message {
            answer["_message"] = message.as_str().into();
        }
        return (json!(outcome.message), answer);
    }
    // What a check warns of is the check's.
    let built = matches!(outcome.status, NodeStatus::Ok | NodeStatus::Unchanged | NodeStatus::Warn);
    let partial = outcome.batches.as_ref().is_some_and(|batches| !batches.failed.is_empty());
    let response = response(manifest, outcome, full_refresh).filter(|_| built && !partial);
    let Some((code, message)) = response else { return (json!(outcome.message), answer) };
    answer["_message"] = message.as_str().into();
    answer["code"] = code.into();
    if let Some(reason) = &outcome.message {
        answer["reason"] = reason.as_str().into();
    }
    (message.into(), answer)
}

/// Whether something that a resource is made from did not end well.
fn lacks_input(manifest: &Manifest, id: &UniqueId, summary: &RunSummary) -> bool {
    let failed: BTreeSet<&UniqueId> = summary
        .nodes
        .iter()
        .filter(|outcome| matches!(status_of_node(outcome), "error" | "skipped"))
        .map(|outcome| &outcome.node)
        .collect();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&UniqueId> = manifest.parents_of(id).iter().collect();
    while let Some(id) = open.pop() {
        if failed.contains(id) {
            return true;
        }
        if seen.insert(id) {
            open.extend(manifest.parents_of(id));
        }
    }
    false
}

/// The results of a run in dbt's form. `compiled` is the SQL of the nodes that were rendered,
/// `planned` the checks of the run, and what a build only looks at (saved queries, exposures): checks
/// that nothing is known of were skipped.
pub(crate) fn run_results(
    manifest: &Manifest,
    summary: &RunSummary,
    planned: &[UniqueId],
    compiled: &BTreeMap<UniqueId, String>,
    arguments: &Value,
    invocation: &str,
    started: &str,
) -> Value {
    let full_refresh = arguments.get("full_refresh").and_then(Value::as_bool).unwrap_or(false);
    let node_result = |outcome: &NodeOutcome| {
        let (message, answer) = told(manifest, outcome, full_refresh);
        let relation = manifest.node(&outcome.node).and_then(tidemill_project::Node::relation_name);
        json!({
            "status": status_of_outcome(outcome),
            "timing": match status_of_node(outcome) {
                "skipped" => json!([]),
                _ => timing(summary, &outcome.node, outcome.elapsed),
            },
            "thread_id": "Thread-1",
            "execution_time": outcome.elapsed.as_secs_f64(),
            "adapter_response": answer,
            "message": message,
            "failures": Value::Null,
            "unique_id": outcome.node,
            "compiled": compiled.contains_key(&outcome.node),
            "compiled_code": compiled.get(&outcome.node),
            "relation_name": relation,
            "batch_results": outcome.batches.as_ref().map(|batches| {
                json!({"successful": batches.successful, "failed": batches.failed})
            }),
            "overload_results": Value::Null,
        })
    };
    let checks = summary.checks.iter().map(|check| {
        let passed = check.verdict.status == VerdictStatus::Pass;
        json!({
            "status": if check.skipped { "skipped" } else { status_of_check(check.verdict.status) },
            "timing": match check.skipped {
                true => json!([]),
                false => timing(summary, &check.verdict.check, check.elapsed),
            },
            "thread_id": "Thread-1",
            "execution_time": check.elapsed.as_secs_f64(),
            "adapter_response": {"reused": check.reused},
            "message": check.verdict.message,
            "failures": if passed { json!(0) } else { number(check.verdict.failures) },
            "unique_id": check.verdict.check,
            "compiled": compiled.contains_key(&check.verdict.check),
            "compiled_code": compiled.get(&check.verdict.check),
            "relation_name": Value::Null,
            "batch_results": Value::Null,
            "overload_results": Value::Null,
        })
    });
    let known: BTreeSet<&UniqueId> =
        summary.checks.iter().map(|check| &check.verdict.check).collect();
    // The unit tests of a model that is reused are not run again, and that is no result of theirs.
    let is_told = |id: &UniqueId| {
        !known.contains(id)
            && (!id.as_str().starts_with("unit_test.") || lacks_input(manifest, id, summary))
    };
    let skipped = planned.iter().filter(|id| is_told(id)).map(|id| {
        let is_idle =
            ["saved_query.", "exposure."].iter().any(|kind| id.as_str().starts_with(kind));
        let no_op = is_idle && !lacks_input(manifest, id, summary);
        json!({
            "status": if no_op { "no-op" } else { "skipped" },
            "timing": [],
            "thread_id": "Thread-1",
            "execution_time": 0.0,
            "adapter_response": {},
            "message": no_op.then_some("NO-OP"),
            "failures": no_op.then_some(0),
            "unique_id": id,
            "compiled": compiled.contains_key(id),
            "compiled_code": compiled.get(id),
            "relation_name": Value::Null,
            "batch_results": Value::Null,
            "overload_results": Value::Null,
        })
    });
    let nodes = summary.nodes.iter().map(node_result);
    json!({
        "metadata": metadata("run-results/v6", invocation, started),
        "results": nodes.chain(checks).chain(skipped).collect::<Vec<_>>(),
        "elapsed_time": summary.elapsed.as_secs_f64(),
        "args": arguments,
    })
}

/// When a node was compiled and executed, in dbt's form. What was not rendered, such as a test that is
/// known or a seed, took no time to compile.
fn timing(summary: &RunSummary, id: &UniqueId, elapsed: Duration) -> Value {
    let ended = summary.ended.get(id).copied().unwrap_or_else(SystemTime::now);
    let text = |time: SystemTime| {
        let time = chrono::DateTime::<chrono::Utc>::from(time);
        time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    };
    let began = ended.checked_sub(elapsed).unwrap_or(ended);
    let compiling = summary.compiling.get(id).copied().unwrap_or_default().min(elapsed);
    let compiled = began.checked_add(compiling).unwrap_or(began);
    json!([
        {"name": "compile", "started_at": text(began), "completed_at": text(compiled)},
        {"name": "execute", "started_at": text(compiled), "completed_at": text(ended)},
    ])
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// `"lake"."main"."orders"`
pub(crate) fn relation_name(database: &str, schema: &str, name: &str) -> String {
    format!("\"{database}\".\"{schema}\".\"{name}\"")
}

/// Writes an artifact whole or not at all.
pub(crate) fn write(folder: &Path, name: &str, value: &Value) -> Result<()> {
    write_with(folder, name, |out| Ok(serde_json::to_writer(out, value)?))
}

/// The same, for what is not one value.
pub(crate) fn write_with(
    folder: &Path,
    name: &str,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut out = BufWriter::with_capacity(1 << 18, std::fs::File::create(&temporary)?);
        content(&mut out)?;
        out.flush()?;
        drop(out);
        std::fs::rename(&temporary, folder.join(name))
    };
    write()
        .inspect_err(|_| {
            // A full disk is told; the half of a file is of no use to anybody.
            let _ = std::fs::remove_file(&temporary);
        })
        .with_context(|| format!("cannot write {}", folder.join(name).display()))
}

/// The results of commands.
const RESULTS: &str = "run_results.json";

/// The results of the last command that did work, where one that only looks has written its own.
const KEPT: &str = "kept_run_results.json";

/// Writes the results of a command that only looks (`docs generate`, `show`, `compile --inline`). Those
/// of the last one that did work are kept for `retry` and the documentation ([`last_results`]).
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_looking(folder: &Path, results: &Value) -> Result<()> {
    if read_results(folder, RESULTS).is_some_and(|known| !is_looking(&known)) {
        let kept = folder.join(KEPT);
        std::fs::rename(folder.join(RESULTS), &kept)
            .with_context(|| format!("cannot write {}", kept.display()))?;
    }
    write(folder, RESULTS, results)
}

/// The results of the last command that did work; `None` when there are none or they cannot be read.
pub(crate) fn last_results(folder: &Path) -> Option<Value> {
    let newest = read_results(folder, RESULTS)?;
    if is_looking(&newest) { read_results(folder, KEPT).or(Some(newest)) } else { Some(newest) }
}

fn read_results(folder: &Path, name: &str) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(folder.join(name)).ok()?).ok()
}

/// Whether these are the results of a command that only looks.
fn is_looking(results: &Value) -> bool {
    let argument = |key: &str| results.get("args").and_then(|args| args.get(key)?.as_str());
    matches!(argument("which"), Some("generate" | "show"))
        || (argument("which") == Some("compile") && argument("inline").is_some())
}

/// What the last command did, as its `run_results.json` has it.
#[derive(Debug, Default)]
pub(crate) struct LastRun {
    /// The arguments of the command.
    pub(crate) arguments: Value,
    /// The status of each node and check.
    pub(crate) statuses: BTreeMap<UniqueId, String>,
    /// What is said of each node that failed.
    pub(crate) messages: BTreeMap<UniqueId, String>,
    /// The batches that failed, of microbatch models of which others did not.
    pub(crate) failed_batches: BTreeMap<UniqueId, Vec<Batch>>,
}

impl LastRun {
    /// Reads it; `None` when there is none or it cannot be read.
    pub(crate) fn read(folder: &Path) -> Option<LastRun> {
        let value = last_results(folder)?;
        let statuses = value
            .get("results")?
            .as_array()?
            .iter()
            .filter_map(|result| {
                Some((
                    UniqueId::new(result.get("unique_id")?.as_str()?),
                    result.get("status")?.as_str()?.to_owned(),
                ))
            })
            .collect();
        let failed = |result: &&Value| {
            matches!(result.get("status").and_then(Value::as_str), Some("fail" | "error"))
        };
        let messages = value
            .get("results")?
            .as_array()?
            .iter()
            .filter(failed)
            .filter_map(|result| {
                let message = result.get("message")?.as_str()?.to_owned();
                Some((UniqueId::new(result.get("unique_id")?.as_str()?), message))
            })
            .collect();
        let failed_batches = value
            .get("results")?
            .as_array()?
            .iter()
            .filter(|result| result.get("status").and_then(Value::as_str) == Some(PARTIAL))
            .filter_map(|result| {
                let batches = result.get("batch_results")?.get("failed")?.as_array()?;
                let read = |batch: &Value| {
                    Batch::from_iso(batch.get(0)?.as_str()?, batch.get(1)?.as_str()?)
                };
                let batches = batches.iter().filter_map(read).collect();
                Some((UniqueId::new(result.get("unique_id")?.as_str()?), batches))
            })
            .collect();
        let arguments = value.get("args").cloned().unwrap_or_default();
        Some(LastRun { arguments, statuses, messages, failed_batches })
    }

    /// What was tried and failed.
    pub(crate) fn failed(&self) -> impl Iterator<Item = &UniqueId> {
        let failed = |status: &str| matches!(status, "error" | "fail" | "runtime error" | PARTIAL);
        self.statuses.iter().filter(move |(_, status)| failed(status)).map(|(id, _)| id)
    }

    /// Everything that did not succeed; with `warnings`, what warned as well.
    pub(crate) fn unfinished(&self, warnings: bool) -> impl Iterator<Item = &UniqueId> {
        self.statuses
            .iter()
            .filter(move |(_, status)| match status.as_str() {
                "error" | "fail" | "skipped" | "runtime error" | PARTIAL => true,
                "warn" => warnings,
                _ => false,
            })
            .map(|(id, _)| id)
    }
}
