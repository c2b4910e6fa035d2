//! Tells of a run: how each node and test began and ended, and how the run ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_core::{Event, NodeOutcome, NodeStatus, UniqueId, Verdict, VerdictStatus};
use tidemill_plan::Work;

use super::about::About;
use super::summary::{Counts, finished_running};
use super::{DbtEvent, Level, dotted, fancy, moment};
use crate::artifacts;
use crate::output::Output;
use crate::session::Session;

/// Listens to a run.
pub(crate) struct Follower {
    session: Session,
    output: Output,
    about: BTreeMap<UniqueId, About>,
    full_refresh: bool,
    state: Mutex<State>,
}

/// A node that is worked on.
struct Running {
    index: usize,
    worker: usize,
    began: String,
}

#[derive(Default)]
struct State {
    last: usize,
    running: BTreeMap<UniqueId, Running>,
    told: BTreeSet<UniqueId>,
}

impl State {
    /// The next node of the run, for the first worker that has nothing to do.
    fn begin(&mut self, began: String) -> Running {
        self.last += 1;
        let busy: BTreeSet<usize> = self.running.values().map(|node| node.worker).collect();
        let worker = (1..).find(|worker| !busy.contains(worker)).unwrap_or(1);
        Running { index: self.last, worker, began }
    }
}

impl Follower {
    /// For a run of this work, with what it only counts (`idle`).
    pub(crate) fn new(
        session: &Session,
        work: &Work,
        exports: impl Iterator<Item = (UniqueId, String)>,
        idle: &[UniqueId],
        full_refresh: bool,
    ) -> Self {
        let manifest = session.manifest();
        let nodes = work.nodes.values().map(|node| (node.id.clone(), node.name.clone()));
        let checks = work.checks.values().map(|check| (check.id.clone(), check.name.clone()));
        let units = work.unit_tests.values().map(|test| (test.id.clone(), test.name.clone()));
        let idle = idle.iter().map(|id| {
            let name = id.as_str().rsplit('.').next().unwrap_or_default();
            (id.clone(), name.to_owned())
        });
        let about: BTreeMap<UniqueId, About> = nodes
            .chain(checks)
            .chain(units)
            .chain(exports)
            .chain(idle)
            .map(|(id, name)| {
                let about = match manifest.node(&id) {
                    Some(node) => About::of(node),
                    None => About::other(manifest, &id, &name),
                };
                (id, about)
            })
            .collect();
        let output = session.output;
        Follower { session: session.clone(), output, about, full_refresh, state: Mutex::default() }
    }

    /// The run begins.
    pub(crate) fn begin(&self) {
        let target = &self.session.manifest().target;
        let (threads, name) = (target.threads, target.name.as_str());
        self.output.event(|| {
            DbtEvent::new(
                Level::Info,
                ("ConcurrencyLine", "Q027"),
                format!("Concurrency: {threads} threads (target='{name}')"),
                json!({"node_count": self.total(), "num_threads": threads, "target_name": name}),
            )
        });
    }

    fn total(&self) -> usize {
        self.about.len()
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
                self.output.event(|| DbtEvent::note(Level::Warn, message.clone()));
            }
            Event::RunStarted { .. } | Event::NodeProgress { .. } | Event::RunFinished { .. } => {}
        }
    }

    fn node_started(&self, id: &UniqueId) {
        let Some(about) = self.about.get(id) else { return };
        let mut state = self.state();
        let running = state.begin(moment(Duration::ZERO));
        self.begun(about, &running);
        state.running.insert(id.clone(), running);
    }

    /// A node begins: this stands before all else that is said of it.
    fn begun(&self, about: &About, running: &Running) {
        let info = about.info("started", &running.began, "");
        self.step(about, running, "started", ("NodeStart", "Q024"), "Began running");
        let described = about.described();
        self.output.event(|| {
            DbtEvent::new(
                Level::Info,
                ("LogStartLine", "Q011"),
                format!(
                    "{} [RUN]",
                    dotted((running.index, self.total()), &format!("START {described}"))
                ),
                json!({
                    "description": described,
                    "index": running.index,
                    "total": self.total(),
                    "node_info": info,
                }),
            )
            .on(running.worker)
        });
        self.step(about, running, "compiling", ("NodeCompiling", "Q030"), "Began compiling");
    }

    /// A step of a node that only those see who ask for `--log-level debug`.
    fn step(
        &self,
        about: &About,
        running: &Running,
        status: &str,
        name: (&str, &'static str),
        doing: &str,
    ) {
        self.output.event(|| {
            let info = about.info(status, &running.began, "");
            let message = format!("{doing} node {}", text(&info, "unique_id"));
            DbtEvent::new(Level::Debug, name, message, json!({"node_info": info}))
                .on(running.worker)
        });
    }

    /// The node as it was begun, now when nobody said so before; whether somebody did.
    fn ended(&self, id: &UniqueId, elapsed: Duration) -> (Running, bool) {
        let mut state = self.state();
        state.told.insert(id.clone());
        match state.running.remove(id) {
            Some(running) => (running, true),
            None => (state.begin(moment(elapsed)), false),
        }
    }

    fn node_finished(&self, outcome: &NodeOutcome) {
        let Some(about) = self.about.get(&outcome.node) else { return };
        let (running, was_begun) = self.ended(&outcome.node, outcome.elapsed);
        if matches!(outcome.status, NodeStatus::Skipped | NodeStatus::Cancelled) {
            self.skipped(about, &running, was_begun);
            return;
        }
        if !was_begun {
            self.begun(about, &running);
        }
        self.step(about, &running, "executing", ("NodeExecuting", "Q031"), "Began executing");
        let (status, word, is_bad) = match artifacts::status_of_outcome(outcome) {
            "reused" => ("reused", "REUSED", false),
            "error" => ("error", "ERROR", true),
            artifacts::PARTIAL => (artifacts::PARTIAL, "PARTIAL SUCCESS", true),
            status => (status, "OK", false),
        };
        let manifest = self.session.manifest();
        let (message, answer) = artifacts::told(manifest, outcome, self.full_refresh);
        let message = message.as_str().unwrap_or_default().to_owned();
        let described = about.described();
        let elapsed = outcome.elapsed;
        let (done, doing, of) = match about.resource {
            "seed" => ("loaded", "loading", described.clone()),
            "snapshot" => ("snapshotted", "snapshotting", about.relation()),
            "model" => ("created", "creating", described.clone()),
            _ => ("done", "doing", described.clone()),
        };
        let line = match (status, is_bad) {
            ("reused", _) => format!("{word} {described}"),
            ("error", _) => format!("ERROR {doing} {of}"),
            _ => format!("{word} {done} {of}"),
        };
        // What the model was built with, as dbt repeats its database's answer.
        let shown = match word {
            "OK" if about.resource == "seed" && !message.is_empty() => message.clone(),
            _ => word.to_owned(),
        };
        let told = if is_bad || status == "reused" { status } else { word };
        let (name, mut data) = match about.resource {
            "seed" => (
                ("LogSeedResult", "Q016"),
                json!({
                    "status": status, "result_message": shown, "schema": about.schema,
                    "relation": about.alias,
                }),
            ),
            "snapshot" => (
                ("LogSnapshotResult", "Q015"),
                json!({
                    "status": status, "description": about.relation(), "cfg": about.config,
                    "result_message": told,
                }),
            ),
            "model" => {
                (("LogModelResult", "Q012"), json!({"status": told, "description": described}))
            }
            _ => (
                ("LogNodeResult", "Q008"),
                json!({"status": told, "description": described, "msg": message}),
            ),
        };
        // dbt Core itself reuses nothing: who waits for a node to end knows its other words alone.
        let ended = if status == "reused" { "success" } else { status };
        let info = about.info(ended, &running.began, &moment(Duration::ZERO));
        data["index"] = running.index.into();
        data["total"] = self.total().into();
        data["execution_time"] = json!(elapsed.as_secs_f64());
        data["node_info"] = info.clone();
        let number = (running.index, self.total());
        self.output.event(|| {
            let level = if is_bad { Level::Error } else { Level::Info };
            DbtEvent::new(level, name, fancy(number, &line, &shown, elapsed), data)
                .on(running.worker)
        });
        let result = json!({
            "adapter_response": answer, "execution_time": elapsed.as_secs_f64(),
            "message": message, "num_failures": 0, "status": status,
        });
        self.finished(&running, info, result);
    }

    /// The last word about a node.
    fn finished(&self, running: &Running, info: Value, mut result: Value) {
        self.output.event(|| {
            let message = format!("Finished running node {}", text(&info, "unique_id"));
            let zoned = |key: &str| format!("{}Z", text(&info, key));
            result["thread"] = super::thread_name(running.worker).into();
            result["timing_info"] = match text(&info, "node_finished_at") {
                "" => json!([]),
                _ => json!([{
                    "name": "execute", "started_at": zoned("node_started_at"),
                    "completed_at": zoned("node_finished_at"),
                }]),
            };
            let data = json!({"node_info": info, "run_result": result});
            DbtEvent::new(Level::Debug, ("NodeFinished", "Q025"), message, data).on(running.worker)
        });
    }

    fn skipped(&self, about: &About, running: &Running, was_begun: bool) {
        if !was_begun {
            self.step(about, running, "started", ("NodeStart", "Q024"), "Began running");
        }
        let info = about.info("skipped", &running.began, "");
        let number = (running.index, self.total());
        self.output.event(|| {
            let line = format!("SKIP {}", about.skipped());
            DbtEvent::new(
                Level::Info,
                ("SkippingDetails", "Q034"),
                format!("{} [SKIP]", dotted(number, &line)),
                json!({
                    "resource_type": about.resource, "schema": about.schema,
                    "node_name": match about.resource {
                        "model" | "seed" | "snapshot" => &about.alias,
                        _ => &about.name,
                    },
                    "index": running.index, "total": self.total(), "node_info": info,
                }),
            )
            .on(running.worker)
        });
        let result = json!({
            "adapter_response": {}, "execution_time": 0.0, "message": "", "num_failures": 0,
            "status": "skipped",
        });
        self.finished(running, info, result);
    }

    /// An exposure or a saved query, for which nothing is done.
    fn idle(&self, about: &About, running: &Running) {
        self.step(about, running, "started", ("NodeStart", "Q024"), "Began running");
        self.step(about, running, "compiling", ("NodeCompiling", "Q030"), "Began compiling");
        self.step(about, running, "executing", ("NodeExecuting", "Q031"), "Began executing");
        let described = about.described();
        let info = about.info("no-op", &running.began, &moment(Duration::ZERO));
        let number = (running.index, self.total());
        self.output.event(|| {
            let line = format!("NO-OP {described}");
            DbtEvent::new(
                Level::Info,
                ("LogNodeNoOpResult", "Q019"),
                fancy(number, &line, "NO-OP", Duration::ZERO),
                json!({
                    "description": described, "status": "", "index": running.index,
                    "total": self.total(), "execution_time": 0.0, "node_info": info,
                }),
            )
            .on(running.worker)
        });
        let result = json!({
            "adapter_response": {}, "execution_time": 0.0, "message": "NO-OP", "num_failures": 0,
            "status": "no-op",
        });
        self.finished(running, info, result);
    }

    fn checked(&self, verdict: &Verdict, elapsed: Duration) {
        let Some(about) = self.about.get(&verdict.check) else { return };
        let (running, was_begun) = self.ended(&verdict.check, elapsed);
        if !was_begun {
            self.begun(about, &running);
        }
        self.step(about, &running, "executing", ("NodeExecuting", "Q031"), "Began executing");
        let (status, level) = match verdict.status {
            VerdictStatus::Pass => ("pass", Level::Info),
            VerdictStatus::Warn => ("warn", Level::Warn),
            VerdictStatus::Fail => ("fail", Level::Error),
            VerdictStatus::Error => ("error", Level::Error),
        };
        let failures = verdict.failures.round() as i64;
        let word = match verdict.status {
            VerdictStatus::Warn | VerdictStatus::Fail => {
                format!("{} {failures}", status.to_uppercase())
            }
            _ => status.to_uppercase(),
        };
        let info = about.info(status, &running.began, &moment(Duration::ZERO));
        let number = (running.index, self.total());
        self.output.event(|| {
            DbtEvent::new(
                level,
                ("LogTestResult", "Q007"),
                fancy(number, &format!("{word} {}", about.name), &word, elapsed),
                json!({
                    "name": about.name,
                    "status": status,
                    "index": running.index,
                    "num_models": self.total(),
                    "num_failures": failures,
                    "execution_time": elapsed.as_secs_f64(),
                    "attached_node": about.attached,
                    "node_info": info,
                }),
            )
            .on(running.worker)
        });
        let result = json!({
            "adapter_response": {}, "execution_time": elapsed.as_secs_f64(),
            "message": verdict.message, "num_failures": failures, "status": status,
        });
        self.finished(&running, info, result);
    }

    /// What the results of the run name and nobody has told of yet: tests whose model failed, and what
    /// has nothing to do. `results` is the content of `run_results.json`.
    pub(crate) fn rest(&self, results: &Value) {
        for result in each(results) {
            let id = UniqueId::new(text(result, "unique_id"));
            let Some(about) = self.about.get(&id) else { continue };
            let running = {
                let mut state = self.state();
                if !state.told.insert(id) {
                    continue;
                }
                state.begin(moment(Duration::ZERO))
            };
            match text(result, "status") {
                "no-op" => self.idle(about, &running),
                _ => self.skipped(about, &running, false),
            }
        }
    }

    /// How the run ended: its results, hooks among them.
    pub(crate) fn finish(&self, results: &Value, elapsed: Duration, cancelled: bool) {
        let manifest = self.session.manifest();
        let of = |result: &Value| {
            let id = UniqueId::new(text(result, "unique_id"));
            let name = id.as_str().rsplit('.').next().unwrap_or_default().to_owned();
            About::find(manifest, &id).unwrap_or_else(|| About::other(manifest, &id, &name))
        };
        let all: Vec<(&Value, About)> = each(results).map(|result| (result, of(result))).collect();
        finished_running(self.output, all.iter().map(|(_, about)| about), elapsed);
        let counts = Counts::of(all.iter().map(|(result, _)| text(result, "status")));
        self.output.event(|| counts.summary(cancelled));
        let of_status = |bad: bool| {
            all.iter().filter(move |(result, _)| match text(result, "status") {
                "error" | "fail" | "runtime error" | artifacts::PARTIAL => bad,
                "warn" => !bad,
                _ => false,
            })
        };
        for (result, about) in of_status(true) {
            self.told_again(result, about, Level::Error);
        }
        for (result, about) in of_status(false) {
            self.told_again(result, about, Level::Warn);
        }
        self.output.event(|| counts.stats());
    }

    /// What went wrong, once more in the end.
    fn told_again(&self, result: &Value, about: &About, level: Level) {
        let info = || about.info("None", "", "");
        let own = info();
        let (word, first, second, indent) = match level {
            Level::Warn => (
                "WARNING",
                ("RunResultWarning", "Z021"),
                ("RunResultWarningMessage", "Z046"),
                "[WARNING]: ",
            ),
            _ => ("ERROR", ("RunResultFailure", "Z022"), ("RunResultError", "Z024"), "  "),
        };
        self.output.event(|| {
            let (resource, name) = (about.resource, text(&own, "node_name"));
            DbtEvent::new(
                level,
                first,
                format!("[{word}]: in {resource} {name} ({})", about.file),
                json!({
                    "node_info": info(), "node_name": name, "path": about.file,
                    "resource_type": resource,
                }),
            )
        });
        let said = text(result, "message");
        self.output.event(|| {
            let data = json!({"msg": said, "node_info": info()});
            DbtEvent::new(level, second, format!("{indent}{said}"), data)
        });
        let manifest = self.session.manifest();
        let node = manifest.node(&UniqueId::new(text(result, "unique_id")));
        let compiled = result.get("compiled").and_then(Value::as_bool).unwrap_or(false);
        if let Some(node) = node.filter(|_| compiled) {
            let path = crate::renderer::compiled_path(&self.session.target_path(), node);
            let path = path.strip_prefix(&self.session.root).unwrap_or(&path).display().to_string();
            self.output.event(|| {
                let message = format!("  compiled code at {path}");
                let data = json!({"path": path, "node_info": info()});
                DbtEvent::new(Level::Info, ("SQLCompiledPath", "Z026"), message, data)
            });
        }
    }
}

fn each(results: &Value) -> impl Iterator<Item = &Value> {
    results.get("results").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
