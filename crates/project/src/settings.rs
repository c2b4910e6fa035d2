//! What `dbt_project.yml` says, resolved.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_core::SourcePosition;

/// The settings of the root project.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProjectSettings {
    /// The project's name.
    pub name: String,
    /// Its version, as written.
    pub version: Option<String>,
    /// The profile that it asks for.
    pub profile: Option<String>,
    /// The folder, absolute.
    pub root: std::path::PathBuf,
    /// Folders of models, relative to the project; so with the others.
    pub model_paths: Vec<String>,
    /// Folders of seeds.
    pub seed_paths: Vec<String>,
    /// Folders of tests.
    pub test_paths: Vec<String>,
    /// Folders of analyses.
    pub analysis_paths: Vec<String>,
    /// Folders of macros.
    pub macro_paths: Vec<String>,
    /// Folders of snapshots.
    pub snapshot_paths: Vec<String>,
    /// Folders of docs blocks; empty: all the others.
    pub docs_paths: Vec<String>,
    /// Where artifacts are written.
    pub target_path: String,
    /// What `clean` removes.
    pub clean_targets: Vec<String>,
    /// Where packages are installed.
    pub packages_install_path: String,
    /// The time zone of the project's days (IANA name; default `UTC`). Part of every fingerprint.
    pub timezone: String,
    /// Vars of the root project as written: global ones and a mapping for each package.
    pub vars: Map<String, Value>,
    /// Vars of the command line. They win.
    pub cli_vars: Map<String, Value>,
    /// Whether names are quoted in SQL: `database`, `schema`, `identifier`.
    pub quoting: Map<String, Value>,
    /// `query-comment` as written; `None` when it is not.
    pub query_comment: Option<Value>,
    /// Where `adapter.dispatch` looks: namespace → packages.
    pub dispatch: IndexMap<String, Vec<String>>,
    /// Flags of the project, as written.
    pub flags: Map<String, Value>,
    /// The version of dbt that the project asks for, as written.
    pub require_dbt_version: Option<Value>,
}

/// A statement that a project runs around its nodes: a template, rendered when it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// The template.
    pub sql: String,
    /// Whether it belongs to the node's transaction. Tidemill has none; kept for the manifest.
    pub transaction: bool,
    /// Its number among those of its place, for the manifest.
    pub index: Option<i64>,
    /// The package that declares it (hooks of the whole run only; else empty).
    pub package: String,
    /// Where it is declared, where known.
    pub position: Option<SourcePosition>,
}

impl ProjectSettings {
    /// Which parts of a relation's name the project quotes: database, schema, identifier.
    pub(crate) fn quoted_parts(&self) -> [bool; 3] {
        let quoted = |part: &str| self.quoting.get(part).and_then(Value::as_bool).unwrap_or(true);
        ["database", "schema", "identifier"].map(quoted)
    }
}

impl Hook {
    /// Reads a statement, `{sql: ...}`, or the latter as JSON text.
    pub(crate) fn from_value(value: &Value) -> Option<Hook> {
        match value {
            Value::String(text) => {
                if let Ok(Value::Object(map)) = serde_json::from_str::<Value>(text) {
                    return Hook::from_map(&map);
                }
                Some(Hook {
                    sql: text.clone(),
                    transaction: true,
                    index: None,
                    package: String::new(),
                    position: None,
                })
            }
            Value::Object(map) => Hook::from_map(map),
            _ => None,
        }
    }

    fn from_map(map: &Map<String, Value>) -> Option<Hook> {
        Some(Hook {
            sql: map.get("sql")?.as_str()?.to_owned(),
            transaction: map.get("transaction").and_then(Value::as_bool).unwrap_or(true),
            index: map.get("index").and_then(Value::as_i64),
            package: String::new(),
            position: None,
        })
    }

    /// dbt's full form.
    pub(crate) fn to_value(&self) -> Value {
        json!({"sql": self.sql, "transaction": self.transaction, "index": self.index})
    }
}
