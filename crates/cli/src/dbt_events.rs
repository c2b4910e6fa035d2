//! dbt's events (`--log-format json`): one JSON object a line on standard output, with the names, the
//! codes and the fields that programs look for which follow dbt's log. Of what dbt tells, this is how a
//! run began, how each node and test began and ended, and how the run ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_core::{Event, NodeOutcome, NodeStatus, UniqueId, Verdict, VerdictStatus};
use tidemill_plan::Work;
use tidemill_project::{DBT_VERSION, Manifest, Node, ResourceType};
use uuid::Uuid;

use crate::artifacts::{relation_name, timestamp};
use crate::output::Output;
use crate::session::Session;

/// The form of dbt's log.
const LOG_VERSION: u32 = 3;

/// As wide as dbt writes lines of results.
const WIDTH: usize = 80;

/// One event: name, code, level and sentence.
pub(crate) struct DbtEvent<'a> {
    pub(crate) name: &'a str,
    pub(crate) code: &'a str,
    pub(crate) level: &'a str,
    pub(crate) message: String,
    pub(crate) data: Value,
}

impl DbtEvent<'_> {
    /// A sentence that dbt has no event of its own for.
    pub(crate) fn note(level: &'static str, message: String) -> Self {
        let data = json!({"msg": message});
        DbtEvent { name: "Note", code: "Z050", level, message, data }
    }

    /// The line.
    pub(crate) fn line(self, invocation: Uuid) -> String {
        let thread = std::thread::current().name().unwrap_or("MainThread").to_owned();
        json!({
            "data": self.data,
            "info": {
                "category": "",
                "code": self.code,
                "extra": {},
                "invocation_id": invocation,
                "level": self.level,
                "msg": self.message,
                "name": self.name,
                "pid": std::process::id(),
                "thread": if thread == "main" { "MainThread" } else { &thread },
                "ts": timestamp(chrono::Utc::now()),
            },
        })
        .to_string()
    }
}

/// The first event of every command that reads a project.
pub(crate) fn started(output: Output) {
    output.event(|| DbtEvent {
        name: "MainReportVersion",
        code: "A001",
        level: "info",
        message: format!("Running with dbt={DBT_VERSION}"),
        data: json!({"log_version": LOG_VERSION, "version": format!("={DBT_VERSION}")}),
    });
}

/// `3 of 12 OK created sql table model main.orders ......... [OK in 0.19s]`
fn fancy(index: usize, total: usize, message: &str, status: &str, elapsed: Duration) -> String {
    let begin = format!("{index} of {total} {message} ");
    format!("{begin:.<WIDTH$} [{status} in {:.2}s]", elapsed.as_secs_f64())
}

/// A hook of the run has ended.
pub(crate) fn hook_ended(outcome: &NodeOutcome) -> DbtEvent<'static> {
    let (status, level) = match outcome.status {
        NodeStatus::Ok => ("success", "info"),
        NodeStatus::Skipped => ("skipped", "info"),
        _ => ("error", "error"),
    };
    let said = outcome.message.clone().unwrap_or_default();
    DbtEvent {
        name: "LogHookEndLine",
        code: "Q033",
        level,
        message: format!(
            "{} {} [{status} in {:.2}s]{}",
            status.to_uppercase(),
            outcome.name,
            outcome.elapsed.as_secs_f64(),
            if level == "error" { format!(": {said}") } else { String::new() }
        ),
        data: json!({
            "statement": outcome.name,
            "status": status,
            "execution_time": outcome.elapsed.as_secs_f64(),
            "node_info": {
                "node_name": outcome.name, "node_status": status, "resource_type": "operation",
                "unique_id": outcome.node,
            },
        }),
    }
}

/// A source was looked at: its table, `pass`, `warn`, `error` or `runtime error`, and its number of how
/// many.
pub(crate) fn freshness(
    id: &UniqueId,
    name: &str,
    status: &'static str,
    (index, total): (usize, usize),
    elapsed: Duration,
) -> DbtEvent<'static> {
    let (source, table) = name.split_once('.').unwrap_or(("", name));
    let word = match status {
        "pass" => "PASS",
        "warn" => "WARN",
        "error" => "ERROR STALE",
        _ => "ERROR",
    };
    DbtEvent {
        name: "LogFreshnessResult",
        code: "Q018",
        level: match status {
            "pass" => "info",
            "warn" => "warn",
            _ => "error",
        },
        message: fancy(index, total, &format!("{word} freshness of {name}"), word, elapsed),
        data: json!({
            "status": status,
            "source_name": source,
            "table_name": table,
            "index": index,
            "total": total,
            "execution_time": elapsed.as_secs_f64(),
            "node_info": {
                "node_name": table, "node_status": status, "resource_type": "source",
                "node_finished_at": moment(Duration::ZERO), "node_started_at": moment(elapsed),
                "unique_id": id,
            },
        }),
    }
}

/// What a node is, for its events.
struct About {
    info: Value,
    resource: &'static str,
    /// `table`, `view`, …
    materialized: String,
    name: String,
    alias: String,
    schema: String,
}

impl About {
    fn of(node: &Node) -> Self {
        let relation = node.is_relational();
        let relation = relation.then(|| relation_name(&node.database, &node.schema, &node.alias));
        let materialized = match node.resource_type {
            ResourceType::Test => "test",
            ResourceType::UnitTest => "unit",
            _ => node.config.materialized.as_str(),
        };
        About {
            info: json!({
                "materialized": materialized,
                "meta": node.meta,
                "node_checksum": node.checksum,
                "node_name": node.name,
                "node_path": node.path,
                "node_relation": {
                    "alias": node.alias,
                    "database": node.database,
                    "relation_name": relation.unwrap_or_default(),
                    "schema": node.schema,
                },
                "resource_type": node.resource_type.as_str(),
                "unique_id": node.unique_id,
            }),
            resource: node.resource_type.as_str(),
            materialized: materialized.to_owned(),
            name: node.name.clone(),
            alias: node.alias.clone(),
            schema: node.schema.clone(),
        }
    }

    /// Something that is no node: a source that is loaded, an export.
    fn other(manifest: &Manifest, id: &UniqueId, name: &str) -> Self {
        let source = manifest.source(id);
        let schema = source.map(|source| source.schema.clone()).unwrap_or_default();
        let resource = if source.is_some() { "source" } else { "operation" };
        About {
            info: json!({
                "materialized": "", "meta": {}, "node_checksum": "", "node_name": name,
                "node_path": source.map(|source| source.original_file_path.as_str()).unwrap_or_default(),
                "node_relation": {"alias": "", "database": "", "relation_name": "", "schema": schema},
                "resource_type": resource,
                "unique_id": id,
            }),
            resource,
            materialized: String::new(),
            name: name.to_owned(),
            alias: name.to_owned(),
            schema,
        }
    }

    /// `sql table model main.orders`, as dbt describes it.
    fn described(&self) -> String {
        let relation = format!("{}.{}", self.schema, self.alias);
        match self.resource {
            "model" => format!("sql {} model {relation}", self.materialized),
            "seed" => format!("seed file {relation}"),
            "snapshot" => format!("snapshot {relation}"),
            resource => format!("{resource} {}", self.name),
        }
    }

    /// What it counts as in the end.
    fn counted(&self) -> String {
        match self.resource {
            "model" => format!("{} model", self.materialized),
            "test" => "data test".to_owned(),
            "unit_test" => "unit test".to_owned(),
            resource => resource.to_owned(),
        }
    }

    fn info(&self, status: &str, began: &str, ended: &str) -> Value {
        let mut info = self.info.clone();
        info["node_status"] = status.into();
        info["node_started_at"] = began.into();
        info["node_finished_at"] = ended.into();
        info
    }
}

/// Tells of a run.
pub(crate) struct Follower {
    output: Output,
    about: BTreeMap<UniqueId, About>,
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: usize,
    running: BTreeMap<UniqueId, (usize, String)>,
    counts: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<String, u64>,
    /// What to say again in the end: level, sentence, and what it is about.
    bad: Vec<(&'static str, String, Value)>,
}

impl Follower {
    /// For a run of this work.
    pub(crate) fn new(
        session: &Session,
        work: &Work,
        exports: impl Iterator<Item = (UniqueId, String)>,
    ) -> Self {
        let manifest = session.manifest();
        let nodes = work.nodes.values().map(|node| (node.id.clone(), node.name.clone()));
        let checks = work.checks.values().map(|check| (check.id.clone(), check.name.clone()));
        let units = work.unit_tests.values().map(|test| (test.id.clone(), test.name.clone()));
        let about: BTreeMap<UniqueId, About> = nodes
            .chain(checks)
            .chain(units)
            .chain(exports)
            .map(|(id, name)| {
                let about = match manifest.node(&id) {
                    Some(node) => About::of(node),
                    None => About::other(manifest, &id, &name),
                };
                (id, about)
            })
            .collect();
        Follower { output: session.output, total: about.len(), about, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of one thing that happened.
    pub(crate) fn emit(&self, event: &Event) {
        match event {
            Event::NodeStarted { node, .. } => self.node_started(node),
            Event::NodeFinished(outcome) => self.node_finished(outcome),
            Event::Checked { verdict, elapsed, .. } => self.checked(verdict, *elapsed),
            Event::Notice { message, .. } => {
                self.output.event(|| DbtEvent::note("warn", message.clone()));
            }
            Event::RunStarted { .. } | Event::NodeProgress { .. } | Event::RunFinished { .. } => {}
        }
    }

    /// The number of a node in the run and when it began, which is now when nobody said so before.
    fn begun(&self, id: &UniqueId, elapsed: Duration) -> (usize, String) {
        let mut state = self.state();
        if let Some(known) = state.running.remove(id) {
            return known;
        }
        state.last += 1;
        (state.last, moment(elapsed))
    }

    fn node_started(&self, id: &UniqueId) {
        let Some(about) = self.about.get(id) else { return };
        let began = moment(Duration::ZERO);
        let index = {
            let mut state = self.state();
            state.last += 1;
            let index = state.last;
            state.running.insert(id.clone(), (index, began.clone()));
            index
        };
        let described = about.described();
        let begin = format!("{index} of {} START {described} ", self.total);
        self.output.event(|| DbtEvent {
            name: "LogStartLine",
            code: "Q011",
            level: "info",
            message: format!("{begin:.<WIDTH$} [RUN]"),
            data: json!({
                "description": described,
                "index": index,
                "total": self.total,
                "node_info": about.info("started", &began, ""),
            }),
        });
    }

    fn node_finished(&self, outcome: &NodeOutcome) {
        let Some(about) = self.about.get(&outcome.node) else { return };
        let (index, began) = self.begun(&outcome.node, outcome.elapsed);
        let ended = moment(Duration::ZERO);
        let (status, key, word) = match outcome.status {
            NodeStatus::Reused => ("reused", "reused", "REUSED"),
            NodeStatus::Fail | NodeStatus::Error => ("error", "error", "ERROR"),
            NodeStatus::Skipped | NodeStatus::Cancelled => ("skipped", "skip", "SKIP"),
            _ => ("success", "pass", "OK"),
        };
        self.count(about, key);
        let is_bad = status == "error";
        let info = about.info(status, &began, &ended);
        let message = outcome.message.clone().unwrap_or_default();
        if is_bad {
            self.state().bad.push(("error", message.clone(), about.info("None", "", "")));
        }
        let total = self.total;
        let elapsed = outcome.elapsed;
        let seconds = elapsed.as_secs_f64();
        let described = about.described();
        let told = |done: &str, doing: &str| match (status, is_bad) {
            ("reused", _) => format!("{word} {described}"),
            (_, true) => format!("ERROR {doing} {described}"),
            (_, false) => format!("OK {done} {described}"),
        };
        if status == "skipped" {
            let relation = format!("{}.{}", about.schema, about.alias);
            let begin = format!("{index} of {total} SKIP relation {relation} ");
            self.output.event(|| DbtEvent {
                name: "SkippingDetails",
                code: "Q034",
                level: "info",
                message: format!("{begin:.<WIDTH$} [SKIP]"),
                data: json!({
                    "resource_type": about.resource, "schema": about.schema,
                    "node_name": about.name, "index": index, "total": total, "node_info": info,
                }),
            });
            return;
        }
        let (name, code, line, mut data) = match about.resource {
            "seed" => (
                "LogSeedResult",
                "Q016",
                told("loaded", "loading"),
                json!({
                    "status": status, "result_message": outcome.rows.map(|rows| format!("INSERT {rows}")),
                    "schema": about.schema, "relation": about.alias,
                }),
            ),
            "snapshot" => (
                "LogSnapshotResult",
                "Q015",
                told("snapshotted", "snapshotting"),
                json!({"status": word, "description": described, "cfg": {}}),
            ),
            "model" => (
                "LogModelResult",
                "Q012",
                told("created", "creating"),
                json!({"status": word, "description": described}),
            ),
            _ => (
                "LogNodeResult",
                "Q008",
                told("done", "doing"),
                json!({"status": word, "description": described, "msg": message}),
            ),
        };
        data["index"] = index.into();
        data["total"] = total.into();
        data["execution_time"] = json!(seconds);
        data["node_info"] = info;
        self.output.event(|| DbtEvent {
            name,
            code,
            level: if is_bad { "error" } else { "info" },
            message: fancy(index, total, &line, word, elapsed),
            data,
        });
    }

    fn checked(&self, verdict: &Verdict, elapsed: Duration) {
        let Some(about) = self.about.get(&verdict.check) else { return };
        let (index, began) = self.begun(&verdict.check, elapsed);
        let (status, key, level) = match verdict.status {
            VerdictStatus::Pass => ("pass", "pass", "info"),
            VerdictStatus::Warn => ("warn", "warn", "warn"),
            VerdictStatus::Fail => ("fail", "error", "error"),
            VerdictStatus::Error => ("error", "error", "error"),
        };
        self.count(about, key);
        let failures = verdict.failures.round() as i64;
        let word = match verdict.status {
            VerdictStatus::Warn | VerdictStatus::Fail => {
                format!("{} {failures}", status.to_uppercase())
            }
            _ => status.to_uppercase(),
        };
        if level != "info" {
            let message = verdict.message.clone().unwrap_or_default();
            self.state().bad.push((level, message, about.info("None", "", "")));
        }
        let info = about.info(status, &began, &moment(Duration::ZERO));
        self.output.event(|| DbtEvent {
            name: "LogTestResult",
            code: "Q007",
            level,
            message: fancy(index, self.total, &format!("{word} {}", about.name), &word, elapsed),
            data: json!({
                "name": about.name,
                "status": status,
                "index": index,
                "num_models": self.total,
                "num_failures": failures,
                "execution_time": elapsed.as_secs_f64(),
                "node_info": info,
            }),
        });
    }

    fn count(&self, about: &About, key: &'static str) {
        let mut state = self.state();
        *state.counts.entry(key).or_default() += 1;
        *state.kinds.entry(about.counted()).or_default() += 1;
    }

    /// How the run ended.
    pub(crate) fn finish(&self, elapsed: Duration, cancelled: bool) {
        let state = std::mem::take(&mut *self.state());
        let kinds: Vec<String> = state
            .kinds
            .iter()
            .map(|(kind, number)| format!("{number} {kind}{}", if *number == 1 { "" } else { "s" }))
            .collect();
        let line = kinds.join(", ");
        let seconds = elapsed.as_secs_f64();
        let whole = elapsed.as_secs();
        let spent = format!(
            " in {} hours {} minutes and {:.2} seconds",
            whole / 3600,
            whole % 3600 / 60,
            seconds % 60.0
        );
        self.output.event(|| DbtEvent {
            name: "FinishedRunningStats",
            code: "E047",
            level: "info",
            message: format!("Finished running {line}{spent} ({seconds:.2}s)."),
            data: json!({"stat_line": line, "execution": spent, "execution_time": seconds}),
        });
        let count = |key: &str| state.counts.get(key).copied().unwrap_or(0);
        let (errors, warnings) = (count("error"), count("warn"));
        self.output.event(|| DbtEvent {
            name: "EndOfRunSummary",
            code: "Z030",
            level: "info",
            message: match (cancelled, errors, warnings) {
                (true, ..) => "Exited because of keyboard interrupt".to_owned(),
                (_, 0, 0) => "Completed successfully".to_owned(),
                _ => format!(
                    "Completed with {errors} errors, 0 partial successes, and {warnings} warnings:"
                ),
            },
            data: json!({
                "keyboard_interrupt": cancelled, "num_errors": errors,
                "num_partial_success": 0, "num_warnings": warnings,
            }),
        });
        for (level, message, info) in state.bad {
            let (name, code) = match level {
                "warn" => ("RunResultWarningMessage", "Z046"),
                _ => ("RunResultError", "Z024"),
            };
            let data = json!({"msg": message, "node_info": info});
            self.output.event(|| DbtEvent { name, code, level, message, data });
        }
        let total: u64 = state.counts.values().sum();
        let (pass, skip, reused) = (count("pass"), count("skip"), count("reused"));
        self.output.event(|| DbtEvent {
            name: "StatsLine",
            code: "Z023",
            level: "info",
            message: format!(
                "Done. PASS={pass} WARN={warnings} ERROR={errors} SKIP={skip} NO-OP=0 REUSED={reused} TOTAL={total}"
            ),
            data: json!({"stats": {
                "error": errors, "noop": 0, "pass": pass, "reused": reused, "skip": skip,
                "total": total, "warn": warnings,
            }}),
        });
    }
}

/// A moment as dbt writes those of nodes: so long ago.
fn moment(ago: Duration) -> String {
    let now = chrono::Utc::now();
    let ago = chrono::Duration::from_std(ago).unwrap_or_default();
    now.checked_sub_signed(ago).unwrap_or(now).format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}
