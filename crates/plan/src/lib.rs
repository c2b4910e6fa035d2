//! Deciding what a run does, before and while it does it.
//!
//! **Takes** plain values: which nodes there are and how they depend on each other
//! ([`Graph`]), what is published ([`tidemill_core::Snapshot`]), what the publication of each node
//! recorded ([`Record`]). **Gives** plain values: the [`Decision`] for a node (reuse, increment,
//! build, and why), which check gates which node ([`gates::assign`]), and the [`Step`]s that
//! `tidemill plan` prints. **Promises** to be pure: the executor and the explanation call the same
//! functions, so a plan cannot drift from the run.
//!
//! ```
//! use tidemill_plan::{Decision, Fingerprint, NodeState, ReuseOptions, decide};
//! use tidemill_core::{RelationName, Snapshot};
//!
//! let relation = RelationName::new("main", "orders");
//! let fingerprint = Fingerprint::new().with("sql", "select 1");
//! let state = NodeState { relation: &relation, fingerprint: &fingerprint, snapshot: &Snapshot::empty(),
//!     incremental: false, never: None, pending_inputs: &[] };
//! let decision = decide(&state, &ReuseOptions::default());
//! assert!(matches!(decision, Decision::Build { .. }));
//! ```

mod cast;
mod decide;
mod fingerprint;
pub mod gates;
mod graph;
mod materialization;
mod record;
mod select;
mod snapshot;
mod step;
mod work;

pub use cast::cast;
pub use decide::{Decision, NodeState, ReuseOptions, decide};
pub use fingerprint::{Fingerprint, hash_text, schema_hash};
pub use graph::Graph;
pub use materialization::{
    Increment, MaterializationConfig, MergeExtras, OnConfigurationChange, OnSchemaChange, WritePlan,
};
pub use record::{CheckRecord, InputVersion, Inputs, Record};
pub use select::{Scope, work};
pub use snapshot::{ChangeQuery, change_query, first_query};
pub use step::{Step, StepAction};
pub use tidemill_project::{
    Batch, HardDeletes, MicrobatchConfig, SnapshotColumns, SnapshotConfig, SnapshotStrategy,
};
pub use work::{NodeHooks, Work, WorkCheck, WorkKind, WorkNode, WorkUnitTest};

/// Raised when a release of Tidemill can give another result for the same SQL. Part of every
/// fingerprint; raised only when results can differ, not with every release.
pub const SEMANTICS: u32 = 10;
