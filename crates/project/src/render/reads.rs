//! What a render read: everything but its template that can change its text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::warehouse::{CatalogColumn, RelationType};

/// A query that a template ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRead {
    /// Its text.
    pub sql: String,
    /// The BLAKE3 hash of its result.
    pub result: String,
}

/// What a render read. Two renders of one template with equal reads give equal text, except where
/// [`Reads::is_volatile`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reads {
    /// Vars with their values; `null` for one that is not defined.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// Environment variables; `None` when not set. Secrets are hashed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// Fields of `target` with their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, Value>,
    /// Fields of `flags` with their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, Value>,
    /// What `is_incremental()` gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_incremental: Option<bool>,
    /// Relations whose existence or kind was asked; `None` when missing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relations: BTreeMap<String, Option<RelationType>>,
    /// Relations whose columns were asked; `None` when missing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, Option<Vec<CatalogColumn>>>,
    /// Schemas whose relations were listed, with the hash of the list.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<String, String>,
    /// Queries that were run, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryRead>,
    /// The hash of the project's graph, when `graph` was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    /// Whether `run_started_at` was read.
    #[serde(skip_serializing_if = "is_false")]
    pub run_started_at: bool,
    /// Whether `invocation_id` was read.
    #[serde(skip_serializing_if = "is_false")]
    pub invocation_id: bool,
    /// Whether the clock was read (`modules.datetime.datetime.now()`).
    #[serde(skip_serializing_if = "is_false")]
    pub clock: bool,
    /// Whether a random number was drawn.
    #[serde(skip_serializing_if = "is_false")]
    pub random: bool,
    /// Whether a statement of it wrote to the lake.
    #[serde(skip_serializing_if = "is_false")]
    pub writes: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Reads {
    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        *self == Reads::default()
    }

    /// Whether the text depends on something that is different each time.
    pub fn is_volatile(&self) -> bool {
        self.run_started_at || self.invocation_id || self.clock || self.random || self.writes
    }

    /// Adds what another render read (an inlined model's).
    pub fn merge(&mut self, other: Reads) {
        self.vars.extend(other.vars);
        self.env.extend(other.env);
        self.target.extend(other.target);
        self.flags.extend(other.flags);
        self.is_incremental = self.is_incremental.or(other.is_incremental);
        self.relations.extend(other.relations);
        self.columns.extend(other.columns);
        self.schemas.extend(other.schemas);
        self.queries.extend(other.queries);
        self.graph = self.graph.take().or(other.graph);
        self.run_started_at |= other.run_started_at;
        self.invocation_id |= other.invocation_id;
        self.clock |= other.clock;
        self.random |= other.random;
        self.writes |= other.writes;
    }

    /// The reads as JSON with sorted keys: equal reads give equal text.
    pub fn canonical_json(&self) -> String {
        match serde_json::to_value(self) {
            Ok(value) => crate::config::canonical(&value),
            // Plain data with text keys always serialises.
            Err(_) => String::new(),
        }
    }
}
