//! In whose name, over which data and under which limits a query runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Cancellation, RelationName, RunId, Snapshot, Staged};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The person at the terminal who owns the files; sees everything.
    Owner,
    /// A named user of a server, with the roles that hold.
    User {
        /// The login.
        name: String,
        /// The roles.
        roles: Vec<String>,
    },
}

/// Relations that this query sees otherwise than they are published. Unit tests, `--empty`,
/// `--sample`, `--defer`, `--publish run` and checks before a publish are all overlays.
#[derive(Debug, Clone, Default)]
pub struct Overlay(pub Arc<BTreeMap<RelationName, OverlayEntry>>);

impl Overlay {
    /// No difference.
    pub fn none() -> Self {
        Self::default()
    }

    /// This overlay with one more entry.
    #[must_use]
    pub fn with(&self, relation: RelationName, entry: OverlayEntry) -> Self {
        let mut entries = (*self.0).clone();
        entries.insert(relation, entry);
        Overlay(Arc::new(entries))
    }
}

/// What stands in place of a published relation.
#[derive(Debug, Clone)]
pub enum OverlayEntry {
    /// The state that would be visible if this were published.
    Staged(Arc<Staged>),
    /// A candidate view.
    View(String),
    /// It does not exist.
    Absent,
}

/// The context of a query.
#[derive(Debug, Clone)]
pub struct QueryContext {
    /// The published state that is read.
    pub snapshot: Snapshot,
    /// What differs from it.
    pub overlay: Overlay,
    /// Who asks.
    pub principal: Principal,
    /// The run it belongs to.
    pub run: RunId,
    /// Stops it.
    pub cancel: Cancellation,
    /// The schema of a relation that is named without one.
    pub default_schema: String,
    /// The project's time zone (an IANA name), for `current_date` and casts.
    pub timezone: String,
    /// The time that `now()` and `current_timestamp` give (microseconds since 1970, UTC).
    pub now: i64,
}
