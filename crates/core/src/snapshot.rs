//! One published state of the whole lake.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::{EntryNumber, Position, RelationName, RunId, TableVersion, UniqueId};

/// Which published state is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum At {
    /// The newest.
    #[default]
    Now,
    /// After this catalog entry.
    Entry(EntryNumber),
    /// What a reader saw at this time (microseconds since 1970, UTC).
    Time(i64),
    /// After the last publish of this run.
    Run(RunId),
}

/// What a reader sees: every relation that is published, after catalog entry [`Snapshot::entry`].
/// It never changes; a later publish makes a new one.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The catalog entry that this is the state after; 0 for an empty lake.
    pub entry: EntryNumber,
    /// When that entry was written (microseconds since 1970, UTC; strictly increasing).
    pub time: i64,
    /// Every published relation.
    pub relations: Arc<BTreeMap<RelationName, Arc<PublishedRelation>>>,
}

impl Snapshot {
    /// The state of a lake in which nothing was published.
    pub fn empty() -> Self {
        Snapshot { entry: EntryNumber(0), time: 0, relations: Arc::default() }
    }

    /// One relation, if it is published.
    pub fn get(&self, name: &RelationName) -> Option<&Arc<PublishedRelation>> {
        self.relations.get(name)
    }
}

/// A table or a view, as the catalog log has it.
#[derive(Debug, Clone)]
pub struct PublishedRelation {
    /// Its name.
    pub name: RelationName,
    /// Table or view.
    pub kind: RelationKind,
    /// Its columns, as a reader sees them.
    pub schema: SchemaRef,
    /// The latest entry that named it.
    pub entry: EntryNumber,
    /// The latest entry that changed its data (or, for a view, its definition): its *data
    /// version*. Compaction and re-recording do not count.
    pub data_entry: EntryNumber,
    /// When `entry` was written (microseconds since 1970, UTC).
    pub time: i64,
    /// The node that made it, if one of the project did.
    pub unique_id: Option<UniqueId>,
    /// The run that published it last.
    pub run: RunId,
    /// Rows, where known.
    pub rows: Option<u64>,
    /// Bytes of its data files, where known.
    pub bytes: Option<u64>,
    /// The order-free 128-bit hash of its rows, where known (32 hex digits).
    pub hash: Option<String>,
    /// The source position that this data stands for.
    pub position: Option<Position>,
    /// What the executor needs to decide about reuse (fingerprint, reads, verdicts). The store does
    /// not look into it.
    pub record: Option<Arc<serde_json::Value>>,
}

impl PublishedRelation {
    /// The key of the record under which the relation's own description is kept.
    pub const DESCRIPTION: &str = "description";

    /// The relation's own description, if one was recorded.
    pub fn description(&self) -> Option<&str> {
        self.record.as_deref()?.get(Self::DESCRIPTION)?.as_str()
    }
}

/// What a relation is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RelationKind {
    /// A Delta table.
    Table {
        /// Its folder, relative to the lake: usually `<schema>/<name>`.
        location: String,
        /// The published Delta version.
        version: TableVersion,
    },
    /// A named query.
    View {
        /// The query, in the engine's SQL.
        sql: String,
    },
}
