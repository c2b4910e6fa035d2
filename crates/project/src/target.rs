//! Where a project is built: the chosen output of `profiles.yml`, or the lake in `./lake`.

use serde_json::{Map, Value};

/// A database that runs the models itself: the output as it is written, secrets included. It is
/// never shown.
#[derive(Clone, PartialEq)]
pub struct TargetDatabase {
    /// `postgres`
    pub kind: String,
    /// The fields of the output, rendered.
    pub settings: Map<String, Value>,
}

impl std::fmt::Debug for TargetDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetDatabase").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Options of the object store that a lake is on, by name; secrets included. They are never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StorageOptions(pub Vec<(String, String)>);

impl std::fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

/// The resolved target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// The profile's name.
    pub profile_name: String,
    /// The output's name: `default` without a profile.
    pub name: String,
    /// The lake: a path (absolute, or relative to where the command runs) or a URL.
    pub lake: String,
    /// `storage_options` of the output: what the lake's object store needs beyond the environment.
    pub storage_options: StorageOptions,
    /// The lake's name in `database.schema.name`.
    pub database: String,
    /// The schema of models without a schema of their own.
    pub schema: String,
    /// How many nodes run at once.
    pub threads: usize,
    /// The memory limit in bytes, when one is set.
    pub memory: Option<u64>,
    /// Where models run, when that is not the lake.
    pub runs_in: Option<TargetDatabase>,
    /// The output's further keys that templates may read (`target.account`), without secrets.
    pub extra: Map<String, Value>,
}

impl Target {
    /// The adapter that templates and the manifest are told of.
    pub fn adapter_type(&self) -> &'static str {
        crate::world::adapter_type(self)
    }

    /// Whether the lake stands in for a DuckDB, whose meaning SQL and seeds have then.
    pub fn is_for_duckdb(&self) -> bool {
        self.runs_in.is_none() && crate::world::adapter_type(self) == "duckdb"
    }
}
