//! The actions of a Delta commit, one JSON object a line.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

/// One line of a commit. Kinds that we do not know (`cdc`, `domainMetadata`, …) are kept out: what
/// a reader must know is announced by the protocol.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    Protocol(Protocol),
    MetaData(MetaData),
    Add(Add),
    Remove(Remove),
    Txn(Transaction),
    CommitInfo(CommitInfo),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

impl Protocol {
    /// The lowest that allows what the schema needs. A lower one is readable by more engines.
    pub(crate) fn for_schema(has_naive_timestamps: bool) -> Self {
        if has_naive_timestamps {
            let ntz = "timestampNtz".to_owned();
            Protocol {
                min_reader_version: 3,
                min_writer_version: 7,
                reader_features: Some(vec![ntz.clone()]),
                writer_features: Some(vec!["appendOnly".into(), "invariants".into(), ntz]),
            }
        } else {
            Protocol {
                min_reader_version: 1,
                min_writer_version: 2,
                reader_features: None,
                writer_features: None,
            }
        }
    }

    /// Refuses what we cannot read, by name.
    pub(crate) fn check_readable(
        &self,
        configuration: &BTreeMap<String, Option<String>>,
    ) -> Result<()> {
        let refuse = |feature: &str| {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("the Delta table uses `{feature}`, which Tidemill does not read"),
            )
            .with("hint", "turn the feature off or rewrite the table with the engine that made it"))
        };
        match self.min_reader_version {
            1 => {}
            2 => {
                let mode = configuration.get("delta.columnMapping.mode").cloned().flatten();
                if mode.is_some_and(|mode| mode != "none") {
                    return refuse("columnMapping");
                }
            }
            3 => {
                for feature in self.reader_features.iter().flatten() {
                    let known = match feature.as_str() {
                        "timestampNtz" => true,
                        // Enabled but unused is harmless; used ones show in the actions.
                        "columnMapping" => configuration
                            .get("delta.columnMapping.mode")
                            .cloned()
                            .flatten()
                            .is_none_or(|mode| mode == "none"),
                        "vacuumProtocolCheck" => true,
                        _ => false,
                    };
                    if !known {
                        return refuse(feature);
                    }
                }
            }
            version => return refuse(&format!("reader version {version}")),
        }
        Ok(())
    }

    /// Refuses what we cannot write, by name.
    pub(crate) fn check_writable(&self, metadata: &MetaData) -> Result<()> {
        let refuse = |feature: &str| {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("the Delta table uses `{feature}`, which Tidemill does not write"),
            )
            .with("hint", "replace the table as a whole, or turn the feature off"))
        };
        let set = |key: &str| {
            metadata.configuration.get(key).cloned().flatten().is_some_and(|value| value == "true")
        };
        if set("delta.enableChangeDataFeed") {
            return refuse("changeDataFeed");
        }
        if set("delta.appendOnly") {
            return refuse("appendOnly");
        }
        if metadata.configuration.keys().any(|key| key.starts_with("delta.constraints.")) {
            return refuse("checkConstraints");
        }
        for (text, feature) in [
            ("delta.invariants", "invariants"),
            ("delta.generationExpression", "generatedColumns"),
            ("delta.identity.", "identityColumns"),
        ] {
            if metadata.schema_string.contains(text) {
                return refuse(feature);
            }
        }
        if self.min_writer_version <= 6 {
            return Ok(());
        }
        if self.min_writer_version > 7 {
            return refuse(&format!("writer version {}", self.min_writer_version));
        }
        for feature in self.writer_features.iter().flatten() {
            // Those whose use was excluded above.
            let known = [
                "appendOnly",
                "invariants",
                "checkConstraints",
                "changeDataFeed",
                "generatedColumns",
                "identityColumns",
                "timestampNtz",
                "columnMapping",
                "vacuumProtocolCheck",
            ];
            if !known.contains(&feature.as_str()) {
                return refuse(feature);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetaData {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub format: FormatSpec,
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormatSpec {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, Option<String>>,
}

impl Default for FormatSpec {
    fn default() -> Self {
        FormatSpec { provider: "parquet".to_owned(), options: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// URL-encoded, relative to the table.
    pub path: String,
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    pub modification_time: i64,
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<Value>,
}

impl Add {
    /// Where the file is, relative to the lake.
    pub(crate) fn location(&self, table: &Path) -> Result<Path> {
        let bad = || {
            Error::new(ErrorKind::Unsupported, "a data file lies outside of the table's folder")
                .with("file", &self.path)
        };
        if self.path.contains("://") || self.path.starts_with('/') {
            return Err(bad());
        }
        let relative = Path::from_url_path(&self.path).map_err(|_| bad())?;
        let joined = format!("{table}/{relative}");
        Path::parse(joined).map_err(|_| bad())
    }

    /// The action that takes this file out of the table.
    pub(crate) fn removed(&self, time: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(time),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
            deletion_vector: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    #[serde(default)]
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transaction {
    pub app_id: String,
    pub version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// What we say about a commit of ours. Those of others have other fields, which are kept as they
/// are in `other`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommitInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_parameters: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_info: Option<String>,
    /// The commit id of the publish; nobody else writes this field.
    #[serde(default, rename = "tidemillCommit", skip_serializing_if = "Option::is_none")]
    pub tidemill_commit: Option<String>,
    /// The run.
    #[serde(default, rename = "tidemillRun", skip_serializing_if = "Option::is_none")]
    pub tidemill_run: Option<String>,
}

/// The actions of one commit file.
pub(crate) fn parse_commit(content: &[u8], path: &Path) -> Result<Vec<Action>> {
    let known = ["protocol", "metaData", "add", "remove", "txn", "commitInfo"];
    let mut actions = Vec::new();
    for line in content.split(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let broken =
            || Error::new(ErrorKind::Data, "a Delta commit cannot be read").with("path", path);
        // The kind is the first key; unknown kinds are skipped unread.
        let text = std::str::from_utf8(line).map_err(|error| broken().because(error))?;
        let key = text.trim_start().trim_start_matches('{').trim_start().trim_start_matches('"');
        let key = key.split('"').next().unwrap_or_default();
        if key == "commitInfo" {
            // Free text of whoever wrote it: what we cannot read of it does not matter.
            actions.push(
                serde_json::from_str(text)
                    .unwrap_or_else(|_| Action::CommitInfo(CommitInfo::default())),
            );
        } else if known.contains(&key) {
            actions.push(serde_json::from_str(text).map_err(|error| broken().because(error))?);
        } else {
            serde_json::from_str::<serde::de::IgnoredAny>(text)
                .map_err(|error| broken().because(error))?;
        }
    }
    Ok(actions)
}

/// The bytes of a commit file.
pub(crate) fn write_commit(actions: &[Action]) -> Result<Bytes> {
    let mut content = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut content, action)
            .or_error(ErrorKind::Internal, "a Delta commit cannot be written")?;
        content.push(b'\n');
    }
    Ok(content.into())
}
