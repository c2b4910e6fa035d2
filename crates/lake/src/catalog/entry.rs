//! What the files of the catalog log hold.

use serde::{Deserialize, Serialize};
use tidemill_core::{
    CommitId, EntryNumber, Error, ErrorKind, Position, PublishedRelation, RelationKind,
    RelationName, Result, ResultExt, RunId, UniqueId,
};

use crate::delta::recorded_to_arrow;

/// The format of entries, intents and checkpoints. A newer one is refused.
pub(crate) const ENTRY_FORMAT: u32 = 1;

/// A relation as the log has it. The whole record is written whenever anything of it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelationRecord {
    pub name: RelationName,
    #[serde(flatten)]
    pub kind: RelationKind,
    /// Delta's schema JSON.
    pub schema: String,
    pub entry: EntryNumber,
    pub data_entry: EntryNumber,
    pub time: i64,
    pub run: RunId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<UniqueId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// A large position is an object of its own, relative to the lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<serde_json::Value>,
    /// What was done, for the history: `replace`, `append`, `upsert`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

impl RelationRecord {
    /// The relation as readers get it. `position` is the content of the position file.
    pub(crate) fn published(&self, position: Option<Position>) -> Result<PublishedRelation> {
        Ok(PublishedRelation {
            name: self.name.clone(),
            kind: self.kind.clone(),
            schema: recorded_to_arrow(&self.schema)
                .map_err(|error| error.with("relation", &self.name))?,
            entry: self.entry,
            data_entry: self.data_entry,
            time: self.time,
            unique_id: self.unique_id.clone(),
            run: self.run.clone(),
            rows: self.rows,
            bytes: self.bytes,
            hash: self.hash.clone(),
            position: position.or_else(|| self.position.clone()),
            record: self.record.clone().map(std::sync::Arc::new),
        })
    }

    /// Folder and version, if it is a table.
    pub(crate) fn table(&self) -> Option<(&str, u64)> {
        match &self.kind {
            RelationKind::Table { location, version } => Some((location, version.0)),
            RelationKind::View { .. } => None,
        }
    }
}

/// How a change goes on when another engine took its target version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rebase {
    /// The same commit at the next free version.
    Append,
    /// The same, and what the other engine added is removed as well.
    Replace,
    /// It fails; the rest of the publish goes on.
    Never,
}

/// One relation of a publish that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct IntentChange {
    /// The record that the entry will have.
    pub record: RelationRecord,
    /// The published version that it builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<u64>,
    /// The exact bytes of the Delta commit at the record's version. Nothing for views, for records
    /// and for the adoption of a version that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub rebase: Rebase,
}

/// A relation that is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub name: RelationName,
    /// It lives on under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_to: Option<RelationName>,
}

/// `N.intent.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub format: u32,
    pub number: EntryNumber,
    pub commit: CommitId,
    pub run: RunId,
    pub time: i64,
    pub changes: Vec<IntentChange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<String>,
}

/// A writer that counts as dead: what it staged can no longer be published, so it can be deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fence {
    pub writer: String,
    pub time: i64,
}

/// `N.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub format: u32,
    pub number: EntryNumber,
    pub commit: CommitId,
    pub run: RunId,
    pub time: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<RelationRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Removed>,
    /// Relations of the publish that another engine came between, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<(RelationName, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<String>,
}

/// `N.checkpoint.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CatalogCheckpoint {
    pub format: u32,
    pub number: EntryNumber,
    pub time: i64,
    pub run: RunId,
    pub relations: Vec<RelationRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<Fence>,
}

/// Reads one of the files above; a newer format is refused before anything else of it is read.
pub(crate) fn parse<T: for<'a> Deserialize<'a>>(
    content: &[u8],
    path: &object_store::path::Path,
) -> Result<T> {
    if format_of(content).is_some_and(|format| format > ENTRY_FORMAT) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the lake was written by a newer version of Tidemill",
        )
        .with("path", path)
        .with("hint", "upgrade Tidemill"));
    }
    serde_json::from_slice(content).map_err(|error| {
        Error::new(ErrorKind::Data, "a file of the catalog log cannot be read")
            .with("path", path)
            .because(error)
    })
}

/// The format is the first thing in every file, so that reading it costs nothing.
fn format_of(content: &[u8]) -> Option<u32> {
    let rest = content.strip_prefix(br#"{"format":"#)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// The bytes of one of the files above.
pub(crate) fn write<T: Serialize>(file: &T) -> Result<bytes::Bytes> {
    serde_json::to_vec(file)
        .map(Into::into)
        .or_error(ErrorKind::Internal, "a file of the catalog log cannot be written")
}
