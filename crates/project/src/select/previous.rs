//! The artifacts of an earlier run, written by Tidemill or by dbt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, UniqueId};

/// The entry of a manifest's `metadata.env` that says which lake its relations are in.
pub const LAKE_OF_MANIFEST: &str = "TIDEMILL_LAKE";

/// When each source was last loaded, in microseconds since 1970; `None`: it could not be told.
type Loaded = BTreeMap<UniqueId, Option<i64>>;

/// What a folder of artifacts says: `manifest.json`, `run_results.json` and `sources.json`, each as
/// far as it is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PreviousState {
    folder: PathBuf,
    manifest: Option<Value>,
    results: Option<BTreeMap<UniqueId, String>>,
    sources: Option<Loaded>,
    current_sources: Option<Loaded>,
}

/// Where another environment has a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherRelation {
    /// Its database.
    pub database: Option<String>,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub alias: String,
}

impl PreviousState {
    /// Reads a folder; `target` is where the newest `sources.json` is.
    ///
    /// # Errors
    /// A diagnostic when a file is there and cannot be read, or is of a schema that is too old.
    pub fn read(folder: &Path, target: &Path) -> Result<Self, Box<Diagnostic>> {
        let manifest = json(&folder.join("manifest.json"))?;
        if let Some(manifest) = &manifest {
            check_schema(folder, manifest)?;
        }
        let results = json(&folder.join("run_results.json"))?.map(|results| {
            rows(&results)
                .filter_map(|row| Some((id(row)?, row.get("status")?.as_str()?.to_owned())))
                .collect()
        });
        let loaded = |folder: &Path| -> Result<Option<Loaded>, Box<Diagnostic>> {
            Ok(json(&folder.join("sources.json"))?.map(|sources| {
                rows(&sources)
                    .filter_map(|row| {
                        let time = row.get("max_loaded_at").and_then(Value::as_str);
                        Some((id(row)?, time.and_then(microseconds)))
                    })
                    .collect()
            }))
        };
        Ok(PreviousState {
            folder: folder.to_owned(),
            manifest,
            results,
            sources: loaded(folder)?,
            current_sources: loaded(target)?,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is a manifest.
    pub fn has_manifest(&self) -> bool {
        self.manifest.is_some()
    }

    /// Where the lake of that environment is, when Tidemill has written its manifest.
    pub fn lake(&self) -> Option<&str> {
        self.manifest.as_ref()?.get("metadata")?.get("env")?.get(LAKE_OF_MANIFEST)?.as_str()
    }

    /// The status of each node of the last command, by its id.
    pub fn results(&self) -> Option<&BTreeMap<UniqueId, String>> {
        self.results.as_ref()
    }

    pub(super) fn sources(&self) -> Option<&Loaded> {
        self.sources.as_ref()
    }

    pub(super) fn current_sources(&self) -> Option<&Loaded> {
        self.current_sources.as_ref()
    }

    /// A part of the manifest: `nodes`, `macros`.
    pub(super) fn part(&self, key: &str) -> Option<&Map<String, Value>> {
        self.manifest.as_ref()?.get(key)?.as_object()
    }

    /// What the manifest says about an id.
    pub(super) fn old(&self, id: &UniqueId) -> Option<&Value> {
        [
            "nodes",
            "sources",
            "exposures",
            "metrics",
            "semantic_models",
            "saved_queries",
            "unit_tests",
        ]
        .into_iter()
        .find_map(|key| self.part(key)?.get(id.as_str()))
    }

    /// Where that environment has a model, seed or snapshot. `None` for one that it does not have,
    /// or that is inlined there.
    pub fn relation(&self, id: &UniqueId) -> Option<OtherRelation> {
        let node = self.part("nodes")?.get(id.as_str())?;
        let text = |key: &str| node.get(key).and_then(Value::as_str).map(str::to_owned);
        let kind = text("resource_type")?;
        let materialized = node.get("config").and_then(|config| config.get("materialized"));
        if !matches!(kind.as_str(), "model" | "seed" | "snapshot")
            || materialized.and_then(Value::as_str) == Some("ephemeral")
        {
            return None;
        }
        Some(OtherRelation {
            database: text("database"),
            schema: text("schema")?,
            alias: text("alias")?,
        })
    }
}

fn json(path: &Path) -> Result<Option<Value>, Box<Diagnostic>> {
    let unreadable = |error: String| {
        Box::new(
            Diagnostic::error(
                "state",
                format!("the artifact `{}` cannot be read: {error}", path.display()),
            )
            .hint("run the command that writes it again"),
        )
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(error.to_string()))
}

/// The oldest schema whose nodes have `raw_code`.
const OLDEST: u32 = 7;

fn check_schema(folder: &Path, manifest: &Value) -> Result<(), Box<Diagnostic>> {
    let schema = manifest
        .get("metadata")
        .and_then(|metadata| metadata.get("dbt_schema_version"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let version = schema
        .rsplit_once("/v")
        .and_then(|(_, rest)| rest.strip_suffix(".json"))
        .and_then(|number| number.parse::<u32>().ok());
    match version {
        Some(version) if version >= OLDEST => Ok(()),
        _ => Err(Box::new(
            Diagnostic::error(
                "state",
                format!(
                    "`{}` is not a manifest of schema v{OLDEST} or newer",
                    folder.join("manifest.json").display()
                ),
            )
            .hint("write it again with this version"),
        )),
    }
}

fn rows(artifact: &Value) -> impl Iterator<Item = &Value> {
    artifact.get("results").and_then(Value::as_array).into_iter().flatten()
}

fn id(row: &Value) -> Option<UniqueId> {
    Some(UniqueId::new(row.get("unique_id")?.as_str()?))
}

fn microseconds(text: &str) -> Option<i64> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(time.and_utc().timestamp_micros())
}
