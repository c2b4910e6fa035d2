//! What a run tells while it runs: the terminal, the artifacts and later the server listen alike.

use std::time::Duration;

use serde::Serialize;

use crate::{RunId, TableVersion, UniqueId, Verdict};

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// Its id.
        run: RunId,
        /// How many nodes will be worked on.
        nodes: usize,
    },
    /// A node began.
    NodeStarted {
        /// The node.
        node: UniqueId,
        /// What it is: `view`, `table`, `incremental`, `seed`, `ingest`, `test`.
        kind: String,
    },
    /// A node makes progress.
    NodeProgress {
        /// The node.
        node: UniqueId,
        /// Rows written by now.
        rows: u64,
    },
    /// A node ended.
    NodeFinished(NodeOutcome),
    /// A check was judged.
    Checked {
        /// The node that it gates.
        node: Option<UniqueId>,
        /// The verdict.
        verdict: Verdict,
        /// Whether it was known from an earlier run on the same data.
        reused: bool,
        /// The first failing rows, one line each.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sample: Vec<String>,
        /// How long it took; checks that were measured in one scan share it.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// Something the user should read.
    Notice {
        /// The node it is about.
        node: Option<UniqueId>,
        /// A stable name in kebab case.
        code: String,
        /// The sentence.
        message: String,
    },
    /// A run ended.
    RunFinished {
        /// Its id.
        run: RunId,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
}

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// Built and published.
    Ok,
    /// Not built: code, inputs and output are what they were.
    Reused,
    /// Built, and its rows came out as they were: not published again.
    Unchanged,
    /// Passed (a test that stands alone).
    Pass,
    /// A check of severity warn failed; published.
    Warn,
    /// A check failed; the last good version stays.
    Fail,
    /// It could not be built.
    Error,
    /// Not tried, because something it needs failed.
    Skipped,
    /// Not finished, because the run was cancelled.
    Cancelled,
}

/// The result of one node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeOutcome {
    /// The node.
    pub node: UniqueId,
    /// A short name to show.
    pub name: String,
    /// `view`, `table`, `incremental`, `seed`, `ingest`, `test`.
    pub kind: String,
    /// How it ended.
    pub status: NodeStatus,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Rows written.
    pub rows: Option<u64>,
    /// The published version.
    pub version: Option<TableVersion>,
    /// What went wrong, or why it was reused or skipped.
    pub message: Option<String>,
    /// How the batches of a microbatch model ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<BatchResults>,
}

/// How the batches of a microbatch model ended. Each is given by its first moment and the first one
/// after it, as dbt's artifacts write times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BatchResults {
    /// Those whose rows are published with the model.
    pub successful: Vec<[String; 2]>,
    /// Those that could not be built; the table has in their spans what it had before.
    pub failed: Vec<[String; 2]>,
    /// What went wrong in the first that failed.
    #[serde(skip)]
    pub message: Option<String>,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Somebody who listens. Called from many tasks; must not block.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}
