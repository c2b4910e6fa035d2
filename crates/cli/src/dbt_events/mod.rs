//! dbt's events (`--log-format json`): one JSON object a line on standard output, with the names, the
//! codes and the fields that programs look for which follow dbt's log: how a command began, how each
//! node and test began and ended, what templates said, and how it all ended. What only dbt's own
//! engine does (connections, single queries, files that it parses) is not told.

mod about;
mod follower;
mod summary;

use std::time::Duration;

use serde_json::{Value, json};
use tidemill_core::{NodeOutcome, NodeStatus, UniqueId};
use tidemill_project::{DBT_VERSION, Manifest, ResourceType};
use uuid::Uuid;

use crate::artifacts::timestamp;
use crate::output::Output;
use crate::session::Session;
use about::About;
pub(crate) use follower::Follower;

/// The form of dbt's log.
const LOG_VERSION: u32 = 3;

/// As wide as dbt writes lines of results.
const WIDTH: usize = 80;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
    /// More than any event has.
    Nothing,
}

impl Level {
    /// By its name in `--log-level`.
    pub(crate) fn parse(name: &str) -> Level {
        match name {
            "debug" => Level::Debug,
            "warn" => Level::Warn,
            "error" => Level::Error,
            "none" => Level::Nothing,
            _ => Level::Info,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error | Level::Nothing => "error",
        }
    }
}

/// One event: name, code, level and sentence.
pub(crate) struct DbtEvent {
    name: String,
    code: &'static str,
    pub(crate) level: Level,
    message: String,
    data: Value,
    /// The thread that did it, by dbt's name.
    thread: Option<String>,
}

impl DbtEvent {
    pub(crate) fn new(
        level: Level,
        (name, code): (&str, &'static str),
        message: impl Into<String>,
        data: Value,
    ) -> Self {
        let (name, message) = (name.to_owned(), message.into());
        DbtEvent { name, code, level, message, data, thread: None }
    }

    /// Done by the worker of this number, counted from 1.
    fn on(self, worker: usize) -> Self {
        DbtEvent { thread: Some(thread_name(worker)), ..self }
    }

    /// A sentence that dbt has no event of its own for.
    pub(crate) fn note(level: Level, message: String) -> Self {
        let data = json!({"msg": message});
        DbtEvent::new(level, ("Note", "Z050"), message, data)
    }

    /// A warning under dbt's name of it.
    pub(crate) fn warning(name: &str, message: String) -> Self {
        let code = match name {
            "NoNodesForSelectionCriteria" => "M030",
            "NothingToDo" => "Q035",
            _ => "",
        };
        let data = json!({"msg": message});
        DbtEvent::new(Level::Warn, (name, code), message, data)
    }

    /// Data, as `ls` and `print()` give it.
    pub(crate) fn print(message: String) -> Self {
        let data = json!({"msg": message});
        DbtEvent::new(Level::Info, ("PrintEvent", "Z052"), message, data)
    }

    /// Why the command ends.
    pub(crate) fn fatal(message: String) -> Self {
        let data = json!({"exc": message});
        DbtEvent::new(Level::Error, ("MainEncounteredError", "Z002"), message, data)
    }

    /// The line.
    pub(crate) fn line(self, invocation: Uuid) -> String {
        let thread = self.thread.unwrap_or_else(|| match std::thread::current().name() {
            None | Some("main") => "MainThread".to_owned(),
            Some(_) => thread_name(1),
        });
        json!({
            "data": self.data,
            "info": {
                "category": "",
                "code": self.code,
                "extra": {},
                "invocation_id": invocation,
                "level": self.level.name(),
                "msg": self.message,
                "name": self.name,
                "pid": std::process::id(),
                "thread": thread,
                "ts": timestamp(chrono::Utc::now()),
            },
        })
        .to_string()
    }
}

fn thread_name(worker: usize) -> String {
    format!("Thread-{worker} (worker)")
}

/// The first event of every command that reads a project.
pub(crate) fn started(output: Output) {
    output.event(|| {
        let data = json!({"log_version": LOG_VERSION, "version": format!("={DBT_VERSION}")});
        let message = format!("Running with dbt={DBT_VERSION}");
        DbtEvent::new(Level::Info, ("MainReportVersion", "A001"), message, data)
    });
}

/// The last event of every command.
pub(crate) fn completed(output: Output, command: &str, elapsed: Duration, success: bool) {
    output.event(|| {
        let (now, seconds) = (chrono::Utc::now(), elapsed.as_secs_f64());
        let ended = if success { "succeeded" } else { "failed" };
        let time = now.format("%H:%M:%S%.6f");
        DbtEvent::new(
            Level::Debug,
            ("CommandCompleted", "Q039"),
            format!("Command `tidemill {command}` {ended} at {time} after {seconds:.2} seconds"),
            json!({
                "command": format!("tidemill {command}"), "completed_at": timestamp(now),
                "elapsed": seconds, "success": success,
            }),
        )
    });
}

/// Commands of dbt that say what they found in the project.
const FINDING: [&str; 13] = [
    "build",
    "clone",
    "compile",
    "freshness",
    "generate",
    "list",
    "retry",
    "run",
    "run-operation",
    "seed",
    "show",
    "snapshot",
    "test",
];

/// What the project is for and what is in it.
pub(crate) fn found(session: &Session) {
    let (manifest, output) = (session.manifest(), session.output);
    output.event(|| {
        let (adapter, version) = (manifest.target.adapter_type(), env!("CARGO_PKG_VERSION"));
        let data = json!({"adapter_name": adapter, "adapter_version": format!("={version}")});
        let message = format!("Registered adapter: {adapter}={version}");
        DbtEvent::new(Level::Info, ("AdapterRegistered", "E034"), message, data)
    });
    if !FINDING.contains(&session.command.as_str()) {
        return;
    }
    output.event(|| {
        let line = stat_line(manifest);
        let data = json!({"stat_line": line});
        DbtEvent::new(Level::Info, ("FoundStats", "W006"), format!("Found {line}"), data)
    });
}

/// `8 models, 1 seed, 512 macros`, in dbt's order.
fn stat_line(manifest: &Manifest) -> String {
    let of = |kind: ResourceType| {
        manifest.nodes.values().filter(|node| node.resource_type == kind).count()
    };
    let semantic = |kind: &str| {
        manifest.semantics.keys().filter(|id| id.as_str().split('.').next() == Some(kind)).count()
    };
    let tests = of(ResourceType::Test);
    // Singular tests are read before seeds, and all are counted where the first one is.
    let is_singular = manifest.tests().any(|node| {
        let test = node.test.as_ref();
        test.is_some_and(|test| matches!(test.kind, tidemill_project::TestKind::Singular))
    });
    let (before, after) = if is_singular { (tests, 0) } else { (0, tests) };
    let counted = [
        (of(ResourceType::Model), "model", "models"),
        (of(ResourceType::Snapshot), "snapshot", "snapshots"),
        (of(ResourceType::Analysis), "analysis", "analyses"),
        (before, "data test", "data tests"),
        (of(ResourceType::Seed), "seed", "seeds"),
        (manifest.on_run_start.len() + manifest.on_run_end.len(), "operation", "operations"),
        (after, "data test", "data tests"),
        (manifest.sources.len(), "source", "sources"),
        (manifest.exposures.len(), "exposure", "exposures"),
        (semantic("metric"), "metric", "metrics"),
        (manifest.all_macros(), "macro", "macros"),
        (manifest.groups.len(), "group", "groups"),
        (semantic("semantic_model"), "semantic model", "semantic models"),
        (semantic("saved_query"), "saved query", "saved queries"),
        (of(ResourceType::UnitTest), "unit test", "unit tests"),
    ];
    let parts = counted.into_iter().filter(|(number, ..)| *number > 0);
    parts
        .map(|(number, one, many)| format!("{number} {}", if number == 1 { one } else { many }))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `3 of 12 OK created sql table model main.orders ......... [OK in 0.19s]`
fn fancy(number: (usize, usize), message: &str, status: &str, elapsed: Duration) -> String {
    format!("{} [{status} in {:.2}s]", dotted(number, message), elapsed.as_secs_f64())
}

/// `3 of 12 START seed file main.raw .........`
fn dotted((index, total): (usize, usize), message: &str) -> String {
    let begin = format!("{index} of {total} {message} ");
    format!("{begin:.<WIDTH$}")
}

/// What a template said: `log(text)`, and with `info` for everybody.
pub(crate) fn said(manifest: &Manifest, id: &str, text: &str, is_info: bool) -> DbtEvent {
    let mut data = json!({"msg": text});
    if let Some(about) = About::find(manifest, &UniqueId::new(id)) {
        data["node_info"] = about.info("compiling", "", "");
    }
    match is_info {
        true => DbtEvent::new(Level::Info, ("JinjaLogInfo", "I062"), text, data),
        false => DbtEvent::new(Level::Debug, ("JinjaLogDebug", "I063"), text, data),
    }
}

/// The SQL of a node that was compiled, or of a text when there is no node.
pub(crate) fn compiled_node(node: Option<(&str, &UniqueId)>, sql: &str, format: &str) -> DbtEvent {
    let message = match node {
        Some((name, _)) => format!("Compiled node '{name}' is:\n{sql}"),
        None => format!("Compiled inline node is:\n{sql}"),
    };
    let mut data = shown_as(node, format);
    data["compiled"] = sql.into();
    DbtEvent::new(Level::Info, ("CompiledNode", "Q042"), message, data)
}

/// The rows of a node that are shown, or of a text when there is no node.
pub(crate) fn shown_node(node: Option<(&str, &UniqueId)>, rows: &str, format: &str) -> DbtEvent {
    let message = match node {
        Some((name, _)) => format!("Previewing node '{name}':\n{rows}"),
        None => format!("Previewing inline node:\n{rows}"),
    };
    let mut data = shown_as(node, format);
    data["preview"] = rows.into();
    DbtEvent::new(Level::Info, ("ShowNode", "Q041"), message, data)
}

fn shown_as(node: Option<(&str, &UniqueId)>, format: &str) -> Value {
    json!({
        "is_inline": node.is_none(),
        "node_name": node.map_or("inline_query", |(name, _)| name),
        "output_format": format,
        "quiet": false,
        "unique_id": node.map_or("", |(_, id)| id.as_str()),
    })
}

/// A hook of the run begins: `shop.on-run-start.0`, its number and how many there are.
pub(crate) fn hook_started(
    manifest: &Manifest,
    id: &UniqueId,
    name: &str,
    (index, total): (usize, usize),
) -> DbtEvent {
    let about = About::operation(manifest, id, name);
    DbtEvent::new(
        Level::Info,
        ("LogHookStartLine", "Q032"),
        format!("{} [RUN]", dotted((index, total), &format!("START hook: {name}"))),
        json!({
            "statement": name, "index": index, "total": total,
            "node_info": about.info("started", &moment(Duration::ZERO), ""),
        }),
    )
}

/// A hook of the run has ended.
pub(crate) fn hook_ended(
    manifest: &Manifest,
    outcome: &NodeOutcome,
    (index, total): (usize, usize),
) -> DbtEvent {
    let (status, word, level) = match outcome.status {
        NodeStatus::Ok => ("success", "OK", Level::Info),
        NodeStatus::Skipped => ("skipped", "SKIP", Level::Info),
        _ => ("error", "ERROR", Level::Error),
    };
    let about = About::operation(manifest, &outcome.node, &outcome.name);
    let line = format!("{word} hook: {}", outcome.name);
    let mut message = fancy((index, total), &line, word, outcome.elapsed);
    if let (Level::Error, Some(said)) = (level, &outcome.message) {
        message.push_str(&format!(": {said}"));
    }
    let (began, ended) = (moment(outcome.elapsed), moment(Duration::ZERO));
    DbtEvent::new(
        level,
        ("LogHookEndLine", "Q033"),
        message,
        json!({
            "statement": outcome.name, "status": status, "index": index, "total": total,
            "execution_time": outcome.elapsed.as_secs_f64(),
            "node_info": about.info(status, &began, &ended),
        }),
    )
}

/// A source is looked at: its number and how many there are.
pub(crate) fn freshness_started(
    manifest: &Manifest,
    id: &UniqueId,
    name: &str,
    (index, total): (usize, usize),
) -> DbtEvent {
    let described = format!("freshness of {name}");
    DbtEvent::new(
        Level::Info,
        ("LogStartLine", "Q011"),
        format!("{} [RUN]", dotted((index, total), &format!("START {described}"))),
        json!({
            "description": described, "index": index, "total": total,
            "node_info": About::other(manifest, id, name).info("started", &moment(Duration::ZERO), ""),
        }),
    )
}

/// A source was looked at: its table, `pass`, `warn`, `error` or `runtime error`, and its number of how
/// many.
pub(crate) fn freshness(
    manifest: &Manifest,
    id: &UniqueId,
    name: &str,
    status: &'static str,
    (index, total): (usize, usize),
    elapsed: Duration,
) -> DbtEvent {
    let (source, table) = name.split_once('.').unwrap_or(("", name));
    let (word, level) = match status {
        "pass" => ("PASS", Level::Info),
        "warn" => ("WARN", Level::Warn),
        "error" => ("ERROR STALE", Level::Error),
        _ => ("ERROR", Level::Error),
    };
    let about = About::other(manifest, id, name);
    DbtEvent::new(
        level,
        ("LogFreshnessResult", "Q018"),
        fancy((index, total), &format!("{word} freshness of {name}"), word, elapsed),
        json!({
            "status": status,
            "source_name": source,
            "table_name": table,
            "index": index,
            "total": total,
            "execution_time": elapsed.as_secs_f64(),
            "node_info": about.info(status, &moment(elapsed), &moment(Duration::ZERO)),
        }),
    )
}

/// All sources were looked at.
pub(crate) fn freshness_completed() -> DbtEvent {
    DbtEvent::new(Level::Info, ("FreshnessCheckComplete", "Q003"), "Done.", json!({}))
}

/// The catalog was written to this file.
pub(crate) fn catalog_written(path: &std::path::Path) -> DbtEvent {
    let path = path.display().to_string();
    let data = json!({"path": path});
    let message = format!("Catalog written to {path}");
    DbtEvent::new(Level::Info, ("CatalogWritten", "E042"), message, data)
}

/// A moment as dbt writes those of nodes: so long ago.
fn moment(ago: Duration) -> String {
    let now = chrono::Utc::now();
    let ago = chrono::Duration::from_std(ago).unwrap_or_default();
    now.checked_sub_signed(ago).unwrap_or(now).format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}
