//! The metadata of a table: its schemas, its snapshots, and what they are called.
//!
//! Source: "Iceberg Table Spec", section "Table Metadata".

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use super::schema::Schema;

/// The versions of the specification that are read.
const VERSIONS: std::ops::RangeInclusive<u64> = 1..=3;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    table_uuid: Option<String>,
    location: String,
    schema: Option<Value>,
    schemas: Option<Vec<Value>>,
    current_schema_id: Option<i32>,
    partition_spec: Option<Vec<PartitionField>>,
    partition_specs: Option<Vec<PartitionSpec>>,
    properties: Option<HashMap<String, String>>,
    current_snapshot_id: Option<i64>,
    snapshots: Option<Vec<Snapshot>>,
    snapshot_log: Option<Vec<Logged>>,
    refs: Option<HashMap<String, Reference>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PartitionSpec {
    spec_id: i32,
    fields: Vec<PartitionField>,
}

/// One value of a partition.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PartitionField {
    pub(super) source_id: Option<i32>,
    pub(super) field_id: Option<i32>,
    pub(super) transform: String,
}

/// The table as it was after a commit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Snapshot {
    pub(super) snapshot_id: i64,
    pub(super) parent_snapshot_id: Option<i64>,
    /// Milliseconds since 1970.
    timestamp_ms: i64,
    pub(super) manifest_list: Option<String>,
    /// In place of a list, in version 1.
    pub(super) manifests: Option<Vec<String>>,
    #[serde(default)]
    pub(super) summary: HashMap<String, String>,
    schema_id: Option<i32>,
}

impl Snapshot {
    /// What was done: `append`, `replace`, `overwrite`, `delete`.
    pub(super) fn operation(&self) -> &str {
        self.summary.get("operation").map_or("a change", String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Logged {
    timestamp_ms: i64,
    snapshot_id: i64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reference {
    snapshot_id: i64,
    #[serde(rename = "type")]
    kind: String,
}

/// How files without numbers call their columns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Mapped {
    pub(super) field_id: Option<i32>,
    #[serde(default)]
    pub(super) names: Vec<String>,
    #[serde(default)]
    pub(super) fields: Vec<Mapped>,
}

/// Which state of a table is meant.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Which {
    /// The one that it has now.
    #[default]
    Current,
    /// By its number.
    Snapshot(i64),
    /// The one that it had then, in microseconds since 1970.
    AsOf(i64),
    /// By the name of a branch or a tag.
    Named(String),
}

/// A table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// What tells it from another one at the same place.
    pub(super) uuid: String,
    /// Where it is, as it says itself.
    pub(super) location: String,
    schemas: BTreeMap<i32, Schema>,
    current_schema: i32,
    specs: HashMap<i32, Vec<PartitionField>>,
    pub(super) mapping: Option<Vec<Mapped>>,
    snapshots: HashMap<i64, Snapshot>,
    log: Vec<Logged>,
    refs: HashMap<String, Reference>,
    current: Option<i64>,
}

/// A state of a table.
pub(super) struct State<'a> {
    /// None of a table that never had a row.
    pub(super) snapshot: Option<&'a Snapshot>,
    pub(super) schema: &'a Schema,
}

impl Table {
    /// Reads a metadata file.
    ///
    /// # Errors
    /// Kind `Data` for what is none, `Unsupported` for a version or a type that is not read.
    pub(super) fn parse(text: &[u8]) -> Result<Table> {
        let value: Value = serde_json::from_slice(text).map_err(damaged)?;
        Table::of(value)
    }

    /// The same, of metadata that was read.
    pub(super) fn of(value: Value) -> Result<Table> {
        let version = value.get("format-version").and_then(Value::as_u64);
        let version = version.ok_or_else(|| missing("the version of its format"))?;
        if !VERSIONS.contains(&version) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the table has version {version} of Iceberg's format, which is not read"),
            ));
        }
        let written: Written = serde_json::from_value(value).map_err(damaged)?;
        let mut schemas = BTreeMap::new();
        for schema in written.schemas.iter().flatten().chain(&written.schema) {
            let schema = Schema::parse(schema)?;
            schemas.entry(schema.id).or_insert(schema);
        }
        let only = || schemas.keys().next_back().copied().unwrap_or_default();
        let current_schema = written.current_schema_id.unwrap_or_else(only);
        if !schemas.contains_key(&current_schema) {
            return Err(missing("its schema"));
        }
        let mut specs: HashMap<i32, Vec<PartitionField>> = written
            .partition_specs
            .into_iter()
            .flatten()
            .map(|spec| (spec.spec_id, spec.fields))
            .collect();
        if let Some(fields) = written.partition_spec {
            specs.entry(0).or_insert(fields);
        }
        let properties = written.properties.unwrap_or_default();
        let mapping = properties.get("schema.name-mapping.default");
        let mapping =
            mapping.map(|text| serde_json::from_str(text)).transpose().map_err(|error| {
                Error::new(
                    ErrorKind::Data,
                    "the table's property `schema.name-mapping.default` cannot be read",
                )
                .because(error)
            })?;
        if properties.contains_key("encryption.key-id") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the table is encrypted, and encrypted tables are not read",
            ));
        }
        let snapshots = written.snapshots.into_iter().flatten();
        let current = written.current_snapshot_id.filter(|id| *id != -1);
        Ok(Table {
            uuid: written.table_uuid.unwrap_or_else(|| written.location.clone()),
            location: written.location,
            schemas,
            current_schema,
            specs,
            mapping,
            snapshots: snapshots.map(|snapshot| (snapshot.snapshot_id, snapshot)).collect(),
            log: written.snapshot_log.unwrap_or_default(),
            refs: written.refs.unwrap_or_default(),
            current,
        })
    }

    /// The columns that it has now.
    pub(super) fn schema(&self) -> &Schema {
        &self.schemas[&self.current_schema]
    }

    /// The field with this number in the newest schema that has it: columns that are gone still say
    /// which rows were deleted.
    pub(super) fn field(&self, id: i32) -> Option<&super::schema::Field> {
        let older = self.schemas.values().rev().find_map(|schema| schema.find(id));
        self.schema().find(id).or(older)
    }

    /// The values of a partition.
    pub(super) fn spec(&self, id: i32) -> Result<&[PartitionField]> {
        self.specs.get(&id).map(Vec::as_slice).ok_or_else(|| missing("a partition spec"))
    }

    /// The snapshot with this number.
    pub(super) fn snapshot(&self, id: i64) -> Option<&Snapshot> {
        self.snapshots.get(&id)
    }

    /// The state that is meant. The columns are those of now for the table and its branches, else
    /// those of the snapshot.
    ///
    /// # Errors
    /// Kind `NotFound` with what there is.
    pub(super) fn state(&self, which: &Which) -> Result<State<'_>> {
        let gone = |message: String| Error::new(ErrorKind::NotFound, message);
        let (id, past) = match which {
            Which::Current => (self.current, false),
            Which::Snapshot(id) => (Some(*id), true),
            Which::AsOf(moment) => {
                let before = |logged: &&Logged| logged.timestamp_ms.saturating_mul(1000) <= *moment;
                let logged = self.log.iter().filter(before).max_by_key(|it| it.timestamp_ms);
                let logged = logged.ok_or_else(|| {
                    gone("the table's log of snapshots does not go back to `as_of`".to_owned())
                })?;
                (Some(logged.snapshot_id), true)
            }
            Which::Named(name) => match self.refs.get(name) {
                Some(reference) => (Some(reference.snapshot_id), reference.kind == "tag"),
                None if name == "main" => (self.current, false),
                None => {
                    let mut known: Vec<String> =
                        self.refs.keys().map(|name| format!("`{name}`")).collect();
                    known.sort();
                    return Err(gone(format!(
                        "the table has no branch and no tag `{name}`; there are: {}",
                        known.join(", ")
                    )));
                }
            },
        };
        let Some(id) = id else { return Ok(State { snapshot: None, schema: self.schema() }) };
        let snapshot = self
            .snapshot(id)
            .ok_or_else(|| gone(format!("the table has no snapshot {id}, or it has expired")))?;
        let schema = snapshot.schema_id.filter(|_| past).and_then(|id| self.schemas.get(&id));
        Ok(State { snapshot: Some(snapshot), schema: schema.unwrap_or_else(|| self.schema()) })
    }

    /// The snapshots from this one back to another, which is left out; the newest first. `None` when
    /// the other one is none of its ancestors that are known.
    pub(super) fn since(&self, latest: &Snapshot, before: i64) -> Option<Vec<&Snapshot>> {
        let mut since = Vec::new();
        let mut at = latest.snapshot_id;
        while at != before {
            // A parent that is its own ancestor would never end.
            let snapshot = self.snapshot(at).filter(|_| since.len() <= self.snapshots.len())?;
            since.push(snapshot);
            at = snapshot.parent_snapshot_id?;
        }
        Some(since)
    }

    /// When a snapshot was made, for messages.
    pub(super) fn made(snapshot: &Snapshot) -> String {
        chrono::DateTime::from_timestamp_millis(snapshot.timestamp_ms)
            .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
}

fn damaged(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Data, "the metadata of the table is damaged, or no metadata of Iceberg")
        .because(error)
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Data, format!("the metadata of the table does not have {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let schema = |id: i32, name: &str| json!({"schema-id": id, "fields": [{"id": 1, "name": name, "type": "int"}]});
        let snapshot = |id: i64, parent: Option<i64>, schema: i32| {
            json!({"snapshot-id": id, "parent-snapshot-id": parent, "timestamp-ms": id * 1000,
                   "manifest-list": "x", "schema-id": schema, "summary": {"operation": "append"}})
        };
        Table::of(json!({
            "format-version": 2, "table-uuid": "u", "location": "s3://b/t",
            "schemas": [schema(0, "old"), schema(1, "new")], "current-schema-id": 1,
            "partition-specs": [{"spec-id": 0, "fields": []}], "current-snapshot-id": 3,
            "snapshots": [snapshot(1, None, 0), snapshot(2, Some(1), 0), snapshot(3, Some(2), 1), snapshot(4, Some(1), 0)],
            "snapshot-log": [{"timestamp-ms": 1000, "snapshot-id": 1}, {"timestamp-ms": 3000, "snapshot-id": 3}],
            "refs": {"main": {"snapshot-id": 3, "type": "branch"}, "v1": {"snapshot-id": 1, "type": "tag"},
                     "side": {"snapshot-id": 4, "type": "branch"}},
        }))
        .unwrap()
    }

    #[test]
    fn a_state_is_named_in_several_ways() {
        let table = table();
        let found = |which: Which| {
            let state = table.state(&which).unwrap();
            (state.snapshot.unwrap().snapshot_id, state.schema.fields[0].name.clone())
        };
        assert_eq!(found(Which::Current), (3, "new".to_owned()));
        assert_eq!(found(Which::Snapshot(2)), (2, "old".to_owned()));
        assert_eq!(found(Which::AsOf(2_999_999)), (1, "old".to_owned()));
        assert_eq!(found(Which::AsOf(3_000_000)), (3, "new".to_owned()));
        assert_eq!(found(Which::Named("v1".into())), (1, "old".to_owned()));
        // A branch has the columns of the table.
        assert_eq!(found(Which::Named("side".into())), (4, "new".to_owned()));
        for (which, part) in [
            (Which::Snapshot(9), "no snapshot 9"),
            (Which::AsOf(1), "does not go back"),
            (Which::Named("x".into()), "`main`, `side`, `v1`"),
        ] {
            let error = table.state(&which).err().unwrap().report();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_came_since_is_a_line_of_ancestors() {
        let table = table();
        let ids = |latest: i64, before: i64| {
            let since = table.since(table.snapshot(latest).unwrap(), before)?;
            Some(since.iter().map(|it| it.snapshot_id).collect::<Vec<_>>())
        };
        assert_eq!(ids(3, 1), Some(vec![3, 2]));
        assert_eq!(ids(3, 3), Some(vec![]));
        assert_eq!(ids(4, 2), None);
        assert_eq!(ids(1, 3), None);
    }

    #[test]
    fn other_versions_are_refused() {
        let error = Table::of(json!({"format-version": 4})).unwrap_err().report();
        assert!(error.contains("version 4"), "{error}");
        assert!(Table::parse(b"{}").unwrap_err().report().contains("metadata"));
    }
}
