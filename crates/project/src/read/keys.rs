//! The keys that things in property files may have: those of dbt 1.12, and `ingest` of ours.

/// A property file.
pub(super) const TOP: &[&str] = &[
    "version",
    "models",
    "sources",
    "seeds",
    "snapshots",
    "analyses",
    "data_tests",
    "macros",
    "exposures",
    "groups",
    "unit_tests",
    "metrics",
    "semantic_models",
    "saved_queries",
    "functions",
    "anchors",
];

/// A model, seed, snapshot, analysis or singular test.
pub(super) const NODE: &[&str] = &[
    "name",
    "description",
    "columns",
    "config",
    "tests",
    "data_tests",
    "docs",
    "meta",
    "tags",
    "access",
    "group",
    "contract",
    "constraints",
    "latest_version",
    "versions",
    "deprecation_date",
    "time_spine",
    "freshness",
    "relation",
    "enabled",
    "quote_columns",
    "primary_key",
    "data_type",
    "semantic_model",
    "metrics",
    "agg_time_dimension",
    "derived_semantics",
];

/// A column.
pub(super) const COLUMN: &[&str] = &[
    "name",
    "description",
    "data_type",
    "tests",
    "data_tests",
    "tags",
    "meta",
    "quote",
    "constraints",
    "config",
    "granularity",
    "policy_tags",
    "docs",
    "dimension",
    "entity",
    "include",
    "exclude",
    "type",
];

/// A source.
pub(super) const SOURCE: &[&str] = &[
    "name",
    "description",
    "database",
    "schema",
    "loader",
    "loaded_at_field",
    "loaded_at_query",
    "freshness",
    "quoting",
    "tags",
    "meta",
    "config",
    "tables",
    "overrides",
    "ingest",
];

/// `freshness`.
pub(super) const FRESHNESS: &[&str] = &["warn_after", "error_after", "filter"];
/// `warn_after` and `error_after`.
pub(super) const PERIOD: &[&str] = &["count", "period"];
/// `quoting`.
pub(super) const QUOTING: &[&str] = &["database", "schema", "identifier", "column"];
/// `docs`.
pub(super) const DOCS: &[&str] = &["show", "node_color"];
/// An argument of a macro.
pub(super) const ARGUMENT: &[&str] = &["name", "type", "description"];
/// A group.
pub(super) const GROUP: &[&str] = &["name", "owner", "description", "config"];

/// A version of a model.
pub(super) const VERSION: &[&str] = &[
    "v",
    "defined_in",
    "description",
    "access",
    "config",
    "constraints",
    "docs",
    "data_tests",
    "tests",
    "columns",
    "deprecation_date",
];

/// An exposure.
pub(super) const EXPOSURE: &[&str] = &[
    "name",
    "type",
    "owner",
    "description",
    "label",
    "maturity",
    "meta",
    "tags",
    "url",
    "depends_on",
    "config",
    "enabled",
];

/// A table of a source.
pub(super) const TABLE: &[&str] = &[
    "name",
    "description",
    "identifier",
    "loader",
    "loaded_at_field",
    "loaded_at_query",
    "freshness",
    "quoting",
    "tags",
    "meta",
    "config",
    "columns",
    "tests",
    "data_tests",
    "external",
    "ingest",
    "docs",
];
