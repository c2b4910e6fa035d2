//! What a publication records for the next run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_core::{CheckId, EntryNumber, RelationName, Snapshot, VerdictStatus};

use crate::{Fingerprint, schema_hash};

/// Everything that reuse is decided by, stored with the published relation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The form of this record; another one is as if there were no record.
    pub format: u32,
    /// Code, configuration and the values that rendering read.
    pub fingerprint: Fingerprint,
    /// Every relation that was read, and which state of it.
    pub inputs: Inputs,
    /// Functions in the query whose value changes from call to call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volatile: Vec<String>,
    /// The date that `current_date` had, if the query reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_date: Option<String>,
    /// The checks that gated this node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<CheckId, CheckRecord>,
    /// The data is another engine's, taken over: the node has to work on it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The rows came out as they were, and so the record was written again while the data version
    /// stayed. (For the reader of a catalog entry; decides nothing.)
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

impl Record {
    /// The form that this release writes.
    pub const FORMAT: u32 = 1;

    /// The record of a published relation, if this release can read it.
    pub fn of(snapshot: &Snapshot, relation: &RelationName) -> Option<Record> {
        let published = snapshot.get(relation)?;
        let record = Record::deserialize(&**published.record.as_ref()?).ok()?;
        (record.format == Record::FORMAT).then(|| record.settled(snapshot, published.entry))
    }

    /// A record of entry `recorded` with inputs that were published together with it named by their entry, so that
    /// it can be compared, and published again in another one.
    #[must_use]
    fn settled(mut self, snapshot: &Snapshot, recorded: EntryNumber) -> Record {
        let checks = self.checks.values_mut().flat_map(|check| check.inputs.iter_mut());
        for (relation, version) in self.inputs.iter_mut().chain(checks) {
            if *version == InputVersion::Together {
                let unchanged = snapshot
                    .get(relation)
                    .is_some_and(|published| published.data_entry == recorded);
                *version =
                    if unchanged { InputVersion::Data(recorded) } else { InputVersion::Unknown };
            }
        }
        self
    }

    /// The record as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
    }
}

/// Which state of each relation was read.
pub type Inputs = BTreeMap<RelationName, InputVersion>;

/// One state of one relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputVersion {
    /// Its data (for a view: its definition) as of the entry that last changed it.
    Data(EntryNumber),
    /// Its columns alone: what a view depends on.
    Columns(String),
    /// It was not there.
    Absent,
    /// The state that was published in the same entry as this record.
    Together,
    /// Not known: never equal to anything.
    Unknown,
}

impl InputVersion {
    /// The state of the relation in this snapshot. `columns_only` for the inputs of a view.
    pub fn of(snapshot: &Snapshot, relation: &RelationName, columns_only: bool) -> InputVersion {
        match snapshot.get(relation) {
            None => InputVersion::Absent,
            Some(published) if columns_only => InputVersion::Columns(schema_hash(
                published
                    .schema
                    .fields()
                    .iter()
                    .map(|field| (field.name().as_str(), field.data_type().to_string())),
            )),
            Some(published) => InputVersion::Data(published.data_entry),
        }
    }

    /// Whether the relation is still in this state.
    pub fn still_holds(&self, snapshot: &Snapshot, relation: &RelationName) -> bool {
        match self {
            InputVersion::Unknown | InputVersion::Together => false,
            known => {
                let columns_only = matches!(known, InputVersion::Columns(_));
                *known == InputVersion::of(snapshot, relation, columns_only)
            }
        }
    }
}

/// What is remembered of a check, so that it is not run again on the same data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Hash of the check's definition.
    pub definition: String,
    /// The state of every relation that it read, the checked one included. `None` stands for the
    /// data that was published together with this record.
    pub inputs: Inputs,
    /// What it came to.
    pub status: VerdictStatus,
    /// The failure count.
    pub failures: f64,
    /// The sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl CheckRecord {
    /// Whether the same check on the current data would come to the same.
    pub fn still_holds(&self, definition: &str, snapshot: &Snapshot) -> bool {
        self.definition == definition
            && self.inputs.iter().all(|(relation, version)| version.still_holds(snapshot, relation))
    }
}
