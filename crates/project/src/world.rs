//! What all renders of a project share.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use tidemill_core::SqlDialect;

use crate::base::Vars;
use crate::environment::Environment;
use crate::late::Late;
use crate::macros::Macros;
use crate::render::Warehouse;
use crate::settings::ProjectSettings;
use crate::target::Target;

/// Settings, target, environment, vars and macros of a loaded project.
pub(crate) struct World {
    pub(crate) settings: ProjectSettings,
    pub(crate) target: Target,
    pub(crate) environment: Environment,
    pub(crate) macros: Macros,
    /// The vars that templates of each package see.
    pub(crate) vars: IndexMap<String, Vars>,
    /// The version of each package, the root project's first.
    pub(crate) versions: IndexMap<String, Option<String>>,
    /// Whether a macro of the project decides about database, schema and alias.
    pub(crate) names_overridden: [bool; 3],
    /// What is known of the nodes that were rendered, and `graph` with it.
    pub(crate) late: Late,
}

impl World {
    /// The vars that templates of a package see.
    pub(crate) fn vars_of(&self, package: &str) -> Vars {
        match self.vars.get(package) {
            Some(vars) => vars.clone(),
            None => Vars::new(vec![
                Arc::new(self.settings.cli_vars.clone()),
                Arc::new(self.settings.vars.clone()),
            ]),
        }
    }

    /// The fields of `target`, as templates see them.
    pub(crate) fn target_map(&self) -> Map<String, Json> {
        target_map(&self.target)
    }
}

/// The fields of `target`, as templates see them.
pub(crate) fn target_map(target: &Target) -> Map<String, Json> {
    let mut map = target.extra.clone();
    map.insert("profile_name".into(), target.profile_name.as_str().into());
    map.insert("name".into(), target.name.as_str().into());
    map.insert("target_name".into(), target.name.as_str().into());
    map.insert("schema".into(), target.schema.as_str().into());
    map.insert("database".into(), target.database.as_str().into());
    map.insert("dbname".into(), target.database.as_str().into());
    map.insert("type".into(), adapter_type(target).into());
    map.insert("threads".into(), target.threads.into());
    map
}

/// How relations are written where models run: in a database as dbt's adapter for it writes them,
/// in the lake without the lake's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelationStyle {
    /// Which parts are written: database, schema, identifier.
    pub(crate) include: [bool; 3],
    /// Which parts are quoted.
    pub(crate) quote: [bool; 3],
    /// Models run in a database.
    pub(crate) in_database: bool,
}

impl RelationStyle {
    pub(crate) const LAKE: RelationStyle =
        RelationStyle { include: [false, true, true], quote: [true; 3], in_database: false };
}

impl World {
    /// Whether models run in a database, and not in the lake.
    pub(crate) fn in_database(&self) -> bool {
        self.target.runs_in.is_some()
    }

    /// What a node is taken to be written in that does not say it: the lake stands in for a DuckDB.
    pub(crate) fn presumed_dialect(&self) -> Option<SqlDialect> {
        self.target.is_for_duckdb().then_some(SqlDialect::DuckDb)
    }

    /// Statements of a template in the SQL that runs here.
    pub(crate) fn adapted(
        &self,
        sql: &str,
        warehouse: &dyn Warehouse,
    ) -> tidemill_core::Result<String> {
        match self.presumed_dialect() {
            Some(dialect) => warehouse.adapt(sql, dialect),
            None => Ok(sql.to_owned()),
        }
    }

    /// How relations are written.
    pub(crate) fn style(&self) -> RelationStyle {
        if !self.in_database() {
            return RelationStyle::LAKE;
        }
        RelationStyle { include: [true; 3], quote: self.settings.quoted_parts(), in_database: true }
    }
}

/// The adapter that templates are told of: a lake that stands in for another system keeps that
/// system's name where its branch of a template is SQL that runs here, so that a project takes the
/// branch it was written with. PostgreSQL's is the branch for everything else.
pub(crate) fn adapter_type(target: &Target) -> &'static str {
    match target.extra.get("type").and_then(Json::as_str) {
        None | Some("tidemill") => "tidemill",
        Some("duckdb") => "duckdb",
        Some(_) => "postgres",
    }
}
