//! What the user asked for, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tidemill_core::{NodeOutcome, NodeStatus, RunId, UniqueId, Verdict, VerdictStatus};
use tidemill_plan::Batch;

/// When the results of a run become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishMode {
    /// Each node when its own checks have passed.
    #[default]
    Model,
    /// All of the run at once, or nothing of it.
    Run,
}

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The run's id.
    pub run: RunId,
    /// How many nodes are worked on at once.
    pub threads: usize,
    /// Incremental models start again.
    pub full_refresh: bool,
    /// Everything selected is built.
    pub no_reuse: bool,
    /// The first failure cancels the rest.
    pub fail_fast: bool,
    /// When results become visible.
    pub publish: PublishMode,
    /// Another engine's commits are taken even if checks fail.
    pub adopt: bool,
    /// `--event-time-start`, in microseconds since 1970: microbatch models begin there.
    pub event_time_start: Option<i64>,
    /// `--event-time-end`: they end there.
    pub event_time_end: Option<i64>,
    /// Microbatch models of which only these batches are built (`retry`).
    pub batches: BTreeMap<UniqueId, Vec<Batch>>,
    /// Nodes whose last run failed: they are not reused.
    pub failed_before: BTreeSet<UniqueId>,
    /// Whether recorded verdicts stand for checks on unchanged data.
    pub reuse_verdicts: bool,
    /// How many failing rows are shown.
    pub sample_rows: usize,
    /// The schema of a relation that is named without one.
    pub default_schema: String,
    /// The project's time zone.
    pub timezone: String,
    /// The start of the run (microseconds since 1970, UTC): what `now()` gives.
    pub now: i64,
    /// The date of `current_date`: that of `now` in the time zone.
    pub current_date: String,
}

impl RunOptions {
    /// The defaults, for a run that starts now in UTC.
    pub fn new(run: RunId, threads: usize) -> Self {
        RunOptions {
            run,
            threads: threads.max(1),
            full_refresh: false,
            no_reuse: false,
            fail_fast: false,
            publish: PublishMode::Model,
            adopt: false,
            event_time_start: None,
            event_time_end: None,
            batches: BTreeMap::new(),
            failed_before: BTreeSet::new(),
            reuse_verdicts: true,
            sample_rows: 5,
            default_schema: "main".to_owned(),
            timezone: "UTC".to_owned(),
            now: 0,
            current_date: String::new(),
        }
    }
}

/// What a check came to in this run.
#[derive(Debug, Clone)]
pub struct CheckOutcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether it was known from an earlier run on the same data.
    pub reused: bool,
    /// Whether it was not tried, because what it reads failed.
    pub skipped: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct RunSummary {
    /// When each node and check ended that was worked on.
    pub ended: BTreeMap<UniqueId, SystemTime>,
    /// How long the templates of nodes took, as far as whoever renders them has told.
    pub compiling: BTreeMap<UniqueId, Duration>,
    /// Every node, in the order they ended.
    pub nodes: Vec<NodeOutcome>,
    /// Every check, in the order they ended.
    pub checks: Vec<CheckOutcome>,
    /// How long the run took.
    pub elapsed: Duration,
    /// Whether the user cancelled it.
    pub cancelled: bool,
}

impl RunSummary {
    /// Keeps what checks came to that have ended now.
    pub(crate) fn add_checks(&mut self, outcomes: Vec<CheckOutcome>) {
        let tried = outcomes.iter().filter(|outcome| !outcome.skipped);
        let now = SystemTime::now();
        self.ended.extend(tried.map(|outcome| (outcome.verdict.check.clone(), now)));
        self.checks.extend(outcomes);
    }

    /// Whether something in the user's project failed: dbt's exit code 1.
    pub fn failed(&self) -> bool {
        self.cancelled
            || self.nodes.iter().any(|node| {
                matches!(
                    node.status,
                    NodeStatus::Fail
                        | NodeStatus::Error
                        | NodeStatus::Skipped
                        | NodeStatus::Cancelled
                )
            })
            || self.checks.iter().any(|check| {
                !check.skipped
                    && matches!(check.verdict.status, VerdictStatus::Fail | VerdictStatus::Error)
            })
    }
}
