//! What a run tells, as lines, a progress bar or JSON.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tidemill_core::{Event, EventSink, NodeOutcome, NodeStatus, UniqueId, Verdict, VerdictStatus};

use crate::dbt_events::Follower;
use crate::output::{Mood, Output, count, plural, seconds};

/// Listens to a run.
pub(crate) struct Progress {
    output: Output,
    name_width: usize,
    check_names: BTreeMap<UniqueId, String>,
    names: BTreeMap<UniqueId, String>,
    /// Where the SQL of a model is written, for errors of the engine.
    compiled: BTreeMap<UniqueId, String>,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
    /// Tells of the run in dbt's events instead.
    follower: Option<Follower>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<UniqueId, u64>,
    counts: BTreeMap<&'static str, u64>,
    checks: BTreeMap<&'static str, u64>,
    reused_checks: u64,
    /// Files that are left for a later load.
    waiting: u64,
}

/// The form of JSON lines; raised when a key changes its meaning.
const JSON_VERSION: u32 = 1;

impl Progress {
    /// For a run of these nodes and checks (ids and short names).
    pub(crate) fn new(
        output: Output,
        nodes: BTreeMap<UniqueId, String>,
        check_names: BTreeMap<UniqueId, String>,
        compiled: BTreeMap<UniqueId, String>,
    ) -> Self {
        let bar = output.terminal.then(|| {
            let bar = ProgressBar::new(nodes.len() as u64);
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {pos}/{len}  {wide_msg}  {elapsed}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let name_width = nodes.values().map(|name| name.chars().count()).max().unwrap_or(0).min(48);
        Progress {
            output,
            name_width,
            check_names,
            names: nodes,
            compiled,
            bar,
            state: Mutex::default(),
            follower: None,
        }
    }

    /// With somebody who tells of the run in dbt's events.
    pub(crate) fn followed(self, follower: Option<Follower>) -> Self {
        if let Some(follower) = &follower {
            follower.begin();
        }
        Progress { follower, ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        if self.follower.is_some() {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.err(text)),
            None => self.output.err(text),
        }
    }

    fn node_line(&self, outcome: &NodeOutcome) {
        let (word, mood) = match outcome.status {
            NodeStatus::Ok | NodeStatus::Pass => ("ok", Mood::Good),
            NodeStatus::Unchanged => ("same", Mood::Good),
            NodeStatus::Reused => ("reuse", Mood::Quiet),
            NodeStatus::Warn => ("warn", Mood::Warning),
            NodeStatus::Fail => ("fail", Mood::Bad),
            NodeStatus::Error => ("error", Mood::Bad),
            NodeStatus::Skipped => ("skip", Mood::Quiet),
            NodeStatus::Cancelled => ("stop", Mood::Quiet),
        };
        let bad = mood == Mood::Bad;
        if self.output.quiet && !bad {
            return;
        }
        let mut line = format!(
            "  {}  {:width$}  {:<11}  {:>6}",
            self.output.paint(mood, &format!("{word:<5}")),
            outcome.name,
            outcome.kind,
            seconds(outcome.elapsed),
            width = self.name_width,
        );
        if let Some(rows) = outcome.rows {
            line.push_str(&format!("  {:>14}", plural(rows, "row", "rows")));
        }
        if let Some(version) = outcome.version {
            line.push_str(&format!("  {version}"));
        }
        if let Some(message) = &outcome.message
            // What a check said stands above already; what a load did is worth a word.
            && (!matches!(
                outcome.status,
                NodeStatus::Ok | NodeStatus::Unchanged | NodeStatus::Warn | NodeStatus::Reused
            ) || outcome.kind == "export"
                || message.contains(" inserted, "))
        {
            let message = message.replace('\n', "\n         ");
            line.push_str(&format!("  {message}"));
        }
        if outcome.status == NodeStatus::Error
            && let Some(path) = self.compiled.get(&outcome.node)
        {
            line.push_str(&format!("\n         compiled SQL: {path}"));
        }
        self.line(line.trim_end());
    }

    fn check_line(&self, verdict: &Verdict, reused: bool, sample: &[String]) {
        let (word, mood) = match verdict.status {
            VerdictStatus::Pass => return,
            VerdictStatus::Warn if self.output.quiet => return,
            VerdictStatus::Warn => ("warn", Mood::Warning),
            VerdictStatus::Fail => ("fail", Mood::Bad),
            VerdictStatus::Error => ("error", Mood::Bad),
        };
        let name = self
            .check_names
            .get(&verdict.check)
            .cloned()
            .unwrap_or_else(|| verdict.check.to_string());
        let message = verdict.message.as_deref().unwrap_or("").replace('\n', "\n           ");
        let known = if reused { " (as before, on unchanged data)" } else { "" };
        self.line(&format!(
            "    {}  {name}: {message}{known}",
            self.output.paint(mood, &format!("{word:<5}"))
        ));
        if verdict.status.gates() {
            for row in sample {
                self.line(&format!("             {row}"));
            }
        }
    }

    fn update_bar(&self, state: &State) {
        if let Some(bar) = &self.bar {
            let names: Vec<String> = state
                .running
                .iter()
                .map(|(node, rows)| {
                    let name = self.names.get(node).map_or(node.as_str(), String::as_str);
                    if *rows > 0 {
                        format!("{name} ({} rows)", count(*rows))
                    } else {
                        name.to_owned()
                    }
                })
                .collect();
            bar.set_message(names.join(", "));
        }
    }

    /// Whether nothing came of the run, as everything was there.
    pub(crate) fn was_idle(&self) -> bool {
        let state = self.state();
        state.counts.keys().all(|key| *key == "reused") && !state.counts.is_empty()
    }

    /// In dbt's events: what came of those nodes that nobody has told of. `results` is the content of
    /// `run_results.json`.
    pub(crate) fn rest(&self, results: impl FnOnce() -> serde_json::Value) {
        if let Some(follower) = &self.follower {
            follower.rest(&results());
        }
    }

    /// In dbt's events: how the command ended, hooks of the run included.
    pub(crate) fn end(
        &self,
        results: impl FnOnce() -> serde_json::Value,
        elapsed: Duration,
        cancelled: bool,
    ) {
        if let Some(follower) = &self.follower {
            follower.finish(&results(), elapsed, cancelled);
        }
    }

    /// Takes the bar away, and says nothing.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// One line that says how the run went.
    pub(crate) fn finish(&self, elapsed: Duration, cancelled: bool) {
        self.clear();
        if self.follower.is_some() || self.output.json || self.output.quiet {
            return;
        }
        let idle = self.was_idle();
        let state = self.state();
        let part = |counts: &BTreeMap<&'static str, u64>, names: &[(&str, &str)]| -> Vec<String> {
            names
                .iter()
                .filter_map(|(key, word)| {
                    let number = counts.get(key).copied().unwrap_or(0);
                    (number > 0).then(|| format!("{} {word}", count(number)))
                })
                .collect()
        };
        let nodes = part(
            &state.counts,
            &[
                ("built", "built"),
                ("same", "came out the same"),
                ("reused", "reused"),
                ("failed", "failed"),
                ("skipped", "skipped"),
                ("cancelled", "stopped"),
            ],
        );
        let checks = part(
            &state.checks,
            &[("pass", "passed"), ("warn", "warned"), ("fail", "failed"), ("error", "broken")],
        );
        let verb = if cancelled { "stopped after" } else { "done in" };
        let mut line = if idle && !cancelled {
            let all = state.counts.get("reused").copied().unwrap_or(0);
            let waiting = match state.waiting {
                0 => String::new(),
                files => {
                    format!(", but {} for a later load", plural(files, "file waits", "files wait"))
                }
            };
            format!(
                "nothing to do: {} up to date{waiting} ({})",
                plural(all, "node is", "nodes are"),
                seconds(elapsed)
            )
        } else {
            format!("{verb} {}: {}", seconds(elapsed), nodes.join(", "))
        };
        if nodes.is_empty() {
            line = format!("{verb} {}", seconds(elapsed));
        }
        if !checks.is_empty() {
            line.push_str(&format!("; checks: {}", checks.join(", ")));
            let total: u64 = state.checks.values().sum();
            if state.reused_checks == total {
                line.push_str(" (all known from unchanged data)");
            } else if state.reused_checks > 0 {
                line.push_str(&format!(
                    " ({} known from unchanged data)",
                    count(state.reused_checks)
                ));
            }
        }
        self.output.say(line);
    }
}

impl EventSink for Progress {
    fn emit(&self, event: Event) {
        if let Some(follower) = &self.follower {
            follower.emit(&event);
        }
        if self.output.json {
            let mut value = serde_json::to_value(&event).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                object.insert("format".to_owned(), json!(JSON_VERSION));
            }
            self.output.data(value);
            return;
        }
        match event {
            Event::RunStarted { .. } | Event::RunFinished { .. } => {}
            Event::NodeStarted { node, .. } => {
                let mut state = self.state();
                state.running.insert(node, 0);
                self.update_bar(&state);
            }
            Event::NodeProgress { node, rows } => {
                let mut state = self.state();
                if let Some(known) = state.running.get_mut(&node) {
                    *known = rows;
                }
                self.update_bar(&state);
            }
            Event::NodeFinished(outcome) => {
                let key = match outcome.status {
                    NodeStatus::Ok | NodeStatus::Pass | NodeStatus::Warn => "built",
                    NodeStatus::Unchanged => "same",
                    NodeStatus::Reused => "reused",
                    NodeStatus::Fail | NodeStatus::Error => "failed",
                    NodeStatus::Skipped => "skipped",
                    NodeStatus::Cancelled => "cancelled",
                };
                let mut state = self.state();
                state.running.remove(&outcome.node);
                *state.counts.entry(key).or_default() += 1;
                self.update_bar(&state);
                drop(state);
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                if key != "reused" {
                    self.node_line(&outcome);
                }
            }
            Event::Checked { verdict, reused, sample, .. } => {
                let key = match verdict.status {
                    VerdictStatus::Pass => "pass",
                    VerdictStatus::Warn => "warn",
                    VerdictStatus::Fail => "fail",
                    VerdictStatus::Error => "error",
                };
                let mut state = self.state();
                *state.checks.entry(key).or_default() += 1;
                state.reused_checks += u64::from(reused);
                drop(state);
                self.check_line(&verdict, reused, &sample);
            }
            Event::Notice { node, code, message } => {
                self.state().waiting += u64::from(code == "waiting-file");
                if self.output.quiet {
                    return;
                }
                let name = node
                    .as_ref()
                    .map(|node| self.names.get(node).map_or(node.as_str(), String::as_str))
                    .map(|name| format!("{name}: "))
                    .unwrap_or_default();
                self.line(&format!(
                    "    {}   {name}{message}",
                    self.output.paint(Mood::Warning, "note")
                ));
            }
        }
    }
}
