//! What `tidemill plan` prints and the executor does.

use serde::Serialize;
use tidemill_core::{CheckId, RelationName, UniqueId};

use crate::Decision;

/// One thing that a run does.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The node.
    pub node: UniqueId,
    /// A short name to show.
    pub name: String,
    /// `ingest`, `seed`, `view`, `table`, `incremental`, `test`, `export`.
    pub kind: String,
    /// Where its result is published, if it has one.
    pub relation: Option<RelationName>,
    /// What is done.
    pub action: StepAction,
    /// Checks that gate its publication.
    pub checks: Vec<CheckId>,
}

/// What is done with a node.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum StepAction {
    /// Files are loaded.
    Ingest {
        /// Files that are new or changed.
        files: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A node is built, increased or reused.
    Node(Decision),
    /// Checks alone are run, on what is published.
    Test,
    /// What is published goes out to another system.
    Export {
        /// Where to, and after what.
        reason: String,
    },
}
