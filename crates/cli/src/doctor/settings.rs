//! Settings of a project that mean something else here, or nothing.

use serde_json::Value;
use tidemill_core::{DiagnosticLevel, Diagnostics};
use tidemill_plan::WorkKind;
use tidemill_project::{Node, ResourceType};

use super::{Level, Place, Report};
use crate::programs;
use crate::session::Session;

/// Settings of other adapters that change nothing about the rows.
const HARMLESS: &[&str] = &[
    "cluster_by",
    "clustered_by",
    "buckets",
    "liquid_clustered_by",
    "auto_liquid_cluster",
    "zorder",
    "dist",
    "diststyle",
    "sort",
    "sort_type",
    "bind",
    "backup",
    "auto_refresh",
    "transient",
    "copy_grants",
    "secure",
    "automatic_clustering",
    "snowflake_warehouse",
    "query_tag",
    "target_lag",
    "refresh_mode",
    "initialize",
    "external_volume",
    "base_location_subpath",
    "table_format",
    "labels",
    "resource_tags",
    "kms_key_name",
    "enable_refresh",
    "refresh_interval_minutes",
    "max_staleness",
    "require_partition_filter",
    "tblproperties",
    "location_root",
    "databricks_tags",
    "databricks_compute",
    "as_columnstore",
    "indexes",
    "unlogged",
    "engine",
    "order_by",
    "distribution",
    "table_type",
    "submission_method",
    "tmp_relation_type",
    "quote_columns_in_ddl",
];

/// Settings of other adapters that somebody may rely on.
const RELIED_ON: &[(&str, &str)] = &[
    ("sql_header", "what it sets or creates is not there: put it into a pre-hook or the query"),
    ("hours_to_expiration", "the table stays until it is dropped"),
    ("partition_expiration_days", "old partitions stay: delete them in a post-hook"),
    ("partitions", "the partitions that occur among the new rows are replaced"),
    ("row_access_policy", "rows are not filtered by who reads them"),
    ("column_mask", "columns are not masked"),
    ("policy_tags", "columns are not masked"),
];

/// What the loader has said about the project.
pub(crate) fn of_diagnostics(report: &mut Report, diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.iter() {
        let level = match (diagnostic.level, diagnostic.code) {
            (DiagnosticLevel::Error, _) => Level::Blocker,
            (_, "constraint-not-enforced" | "unsupported") => Level::Difference,
            _ => Level::Note,
        };
        let place = diagnostic.position.as_ref().map(|position| {
            let line = (!position.text.is_empty()).then(|| position.line_column().0);
            Place::new(position.file.to_string_lossy(), line)
        });
        report.add(
            level,
            diagnostic.code,
            diagnostic.message.clone(),
            diagnostic.hint.as_deref(),
            place,
        );
    }
}

/// The place of a node's file.
pub(super) fn place_of(node: &Node) -> Place {
    Place::new(node.position.file.to_string_lossy(), None)
}

/// What nodes are configured with.
pub(crate) fn of_nodes(report: &mut Report, session: &Session) {
    for line in session.unsupported_nodes() {
        let (file, what) = line.split_once(": ").unwrap_or(("", &line));
        let place = (!file.is_empty()).then(|| Place::new(file, None));
        let message = format!("not supported: {what}");
        report.add(Level::Blocker, "unsupported-config", message, None, place);
    }
    let manifest = session.manifest();
    // A database has its own settings.
    if manifest.target.runs_in.is_some() {
        return;
    }
    let mut pythons = std::collections::BTreeMap::new();
    for node in manifest.nodes.values() {
        let place = || Some(place_of(node));
        for key in HARMLESS.iter().filter(|key| is_set(node.config.get(key))) {
            let message = format!("`{key}` is left out: nothing about the rows depends on it");
            report.add(Level::Note, "other-adapters", message, None, place());
        }
        for (key, what) in RELIED_ON.iter().filter(|(key, _)| is_set(node.config.get(key))) {
            let message = format!("`{key}` does nothing here");
            report.add(Level::Difference, "other-adapters", message, Some(what), place());
        }
        if let Some(format) = node.config.get("file_format").and_then(Value::as_str)
            && !format.eq_ignore_ascii_case("delta")
        {
            let message = format!("`file_format: {format}`: tables are Delta tables");
            report.add(Level::Note, "other-adapters", message, None, place());
        }
        if node.resource_type == ResourceType::Model && node.language != "sql" {
            let interpreter = programs::interpreter(node, &session.root);
            pythons
                .entry(interpreter.program.clone())
                .or_insert((interpreter, Vec::new()))
                .1
                .push(node);
        }
    }
    for (interpreter, nodes) in pythons.into_values() {
        if let Err(error) = interpreter.check() {
            for node in nodes {
                report.add(
                    Level::Blocker,
                    "python",
                    format!("Python models cannot run: {}", error.message()),
                    error.context().iter().find(|(key, _)| *key == "hint").map(|(_, hint)| &**hint),
                    Some(place_of(node)),
                );
            }
        }
    }
    let all = manifest.nodes.keys().cloned().collect();
    let work = tidemill_plan::work(manifest, &all, tidemill_plan::Scope::BUILD, false);
    for node in work.nodes.values() {
        if let WorkKind::Model(config) = &node.kind
            && config.microbatch.is_none()
            && let Err(error) = config.write_plan(true, false)
            && let Some(node) = manifest.node(&node.id)
        {
            report.add(Level::Blocker, "config", error.message(), None, Some(place_of(node)));
        }
    }
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}

/// Keys of `dbt_project.yml` that are not looked at.
pub(crate) fn of_project_file(report: &mut Report, session: &Session) {
    let Ok(text) = std::fs::read_to_string(session.root.join("dbt_project.yml")) else { return };
    for (number, line) in text.lines().enumerate() {
        let place = || Some(Place::new("dbt_project.yml", Some(number + 1)));
        if line.starts_with("dbt-cloud:") {
            let message = "`dbt-cloud` is for dbt's hosted service and is left out";
            report.add(Level::Note, "project-key", message, None, place());
        }
        if line.starts_with("query-comment:") {
            let message =
                "`query-comment` is left out: there is no log of queries that it would mark";
            report.add(Level::Note, "project-key", message, None, place());
        }
    }
}

/// What a profile of another type means for the SQL, once it is known what is refused.
pub(crate) fn of_dialect(report: &mut Report, session: &Session) {
    let target = &session.manifest().target;
    let kind = target.extra.get("type").and_then(Value::as_str).unwrap_or_default();
    let dialect = match kind {
        "snowflake" | "bigquery" | "redshift" | "databricks" => kind,
        "spark" => "databricks",
        "duckdb" if report.has(&["sql", "function"]) => kind,
        _ => return,
    };
    let fix = format!(
        "set `+dialect: {dialect}` for models whose SQL is refused (for all: `models: \
         {{+dialect: {dialect}}}`)"
    );
    report.add(
        Level::Note,
        "dialect",
        format!(
            "the profile is of type {kind}: SQL is read as PostgreSQL's, with the spellings of other \
             systems"
        ),
        Some(&fix),
        None,
    );
}
