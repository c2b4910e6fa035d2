//! The configuration of a node: merging layers as dbt does, then typing what Tidemill uses.

use std::sync::LazyLock;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_core::{SourcePosition, SqlDialect};

use crate::manifest::ResourceType;
use crate::microbatch::{self, MicrobatchConfig};
use crate::settings::Hook;
use crate::snapshot_config::{self, SnapshotConfig};
use crate::suggest::nearest;

/// How a model is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Materialization {
    /// A stored query.
    #[default]
    View,
    /// Built whole each time.
    Table,
    /// Built once, then added to.
    Incremental,
    /// Inlined where it is used.
    Ephemeral,
    /// A CSV file of the project.
    Seed,
    /// The history of a table.
    Snapshot,
    /// A table that is made anew when what it reads changes.
    MaterializedView,
    /// A data test.
    Test,
    /// A name that Tidemill does not know.
    Other(String),
}

/// What is said of a materialization that neither Tidemill nor the project has: the message, and what
/// to do.
pub fn unknown_materialization(name: &str) -> (String, String) {
    let known = ["view", "table", "incremental", "materialized_view", "ephemeral"];
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "use one of {}, or write `{{% materialization {name}, default %}}`",
            known.join(", ")
        ),
    };
    (format!("there is no materialization `{name}`"), hint)
}

impl Materialization {
    /// dbt's word.
    pub fn as_str(&self) -> &str {
        match self {
            Materialization::View => "view",
            Materialization::Table => "table",
            Materialization::Incremental => "incremental",
            Materialization::Ephemeral => "ephemeral",
            Materialization::Seed => "seed",
            Materialization::Snapshot => "snapshot",
            Materialization::MaterializedView => "materialized_view",
            Materialization::Test => "test",
            Materialization::Other(name) => name,
        }
    }

    /// Reads dbt's word.
    pub fn parse(text: &str) -> Self {
        match text {
            "view" => Materialization::View,
            "table" => Materialization::Table,
            "incremental" => Materialization::Incremental,
            "ephemeral" => Materialization::Ephemeral,
            "seed" => Materialization::Seed,
            "snapshot" => Materialization::Snapshot,
            "materialized_view" => Materialization::MaterializedView,
            "test" => Materialization::Test,
            other => Materialization::Other(other.to_owned()),
        }
    }

    /// Whether it is inlined.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Materialization::Ephemeral)
    }
}

/// What an incremental model does when its query has other columns than its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSchemaChange {
    /// Keeps the table's columns.
    #[default]
    Ignore,
    /// Stops.
    Fail,
    /// Adds the new ones.
    AppendNewColumns,
    /// Adds the new ones and takes those away that the query has no more.
    SyncAllColumns,
}

/// The effective configuration of a node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeConfig {
    /// Whether the node takes part.
    pub enabled: bool,
    /// How it is kept.
    pub materialized: Materialization,
    /// The custom schema, before `generate_schema_name`.
    pub schema: Option<String>,
    /// The custom database, before `generate_database_name`.
    pub database: Option<String>,
    /// The custom name, before `generate_alias_name`.
    pub alias: Option<String>,
    /// Labels, of all levels.
    pub tags: Vec<String>,
    /// Free data, of all levels.
    pub meta: Map<String, Value>,
    /// The group that owns the node.
    pub group: Option<String>,
    /// The key of an incremental model or snapshot; empty: none.
    pub unique_key: Vec<String>,
    /// `append`, `merge`, `delete+insert`, `insert_overwrite`, `microbatch` or another name.
    pub incremental_strategy: Option<String>,
    /// What a changed set of columns does to an incremental model.
    pub on_schema_change: OnSchemaChange,
    /// The only columns that a merge updates.
    pub merge_update_columns: Option<Vec<String>>,
    /// The columns that a merge does not update.
    pub merge_exclude_columns: Option<Vec<String>>,
    /// Further conditions on the rows that an increment may touch.
    pub incremental_predicates: Vec<String>,
    /// The columns that the table is partitioned by.
    pub partition_by: Vec<String>,
    /// `true`: always built anew; `false`: never, not even with `--full-refresh`.
    pub full_refresh: Option<bool>,
    /// Statements before the node is built, templates.
    pub pre_hooks: Vec<Hook>,
    /// Statements after the node is built, templates.
    pub post_hooks: Vec<Hook>,
    /// Declared types of a seed's columns.
    pub column_types: IndexMap<String, String>,
    /// Whether a seed's column names keep their case.
    pub quote_columns: Option<bool>,
    /// The delimiter of a seed.
    pub delimiter: Option<String>,
    /// Whether names and types of the columns must be those declared.
    pub contract_enforced: bool,
    /// Who may read it: privilege → roles, as written.
    pub grants: Map<String, Value>,
    /// The SQL that the node is written in; `None`: the engine's own.
    pub dialect: Option<SqlDialect>,
    /// The column that says when a row happened.
    pub event_time: Option<String>,
    /// The batches of a microbatch model; `None` for everything else.
    pub microbatch: Option<MicrobatchConfig>,
    /// How a snapshot is kept; `None` for everything else.
    pub snapshot: Option<SnapshotConfig>,
    /// The whole effective configuration under dbt's names, with defaults, keys in dbt's order.
    /// Canonical text of it: [`NodeConfig::canonical_json`].
    pub all: Map<String, Value>,
    /// Keys of `all` that dbt itself does not know.
    pub extra: Map<String, Value>,
}

impl NodeConfig {
    /// The value of any key, known or not.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.all.get(key).filter(|value| !value.is_null())
    }

    /// The effective configuration as JSON with sorted keys: equal configurations give equal
    /// text.
    pub fn canonical_json(&self) -> String {
        canonical(&Value::Object(self.all.clone()))
    }

    /// `meta.reuse: true`: the node may be reused although it calls a function whose value
    /// changes.
    pub fn reuse_override(&self) -> Option<bool> {
        self.meta.get("reuse").and_then(Value::as_bool)
    }

    /// `meta.holds_back` of a test: whether the node that it stands on is published although it
    /// fails.
    pub fn holds_back(&self) -> Option<bool> {
        self.meta.get("holds_back").and_then(Value::as_bool)
    }

    /// `meta.null_keys`: what happens to rows of an increment with a NULL in their `unique_key`.
    pub fn null_keys(&self) -> Option<String> {
        let written = self.meta.get("null_keys").filter(|value| !value.is_null())?;
        Some(written.as_str().map_or_else(|| written.to_string(), str::to_owned))
    }
}

/// JSON text with sorted keys at every level.
pub fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                Value::Object(
                    keys.into_iter().map(|key| (key.clone(), sorted(&map[key]))).collect(),
                )
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

/// One level of configuration: what was written, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    /// Keys under dbt's names.
    pub(crate) values: Map<String, Value>,
    /// Where each stands, where known.
    pub(crate) positions: IndexMap<String, SourcePosition>,
}

impl Layer {
    /// Sets a key, under its one name.
    pub(crate) fn set(&mut self, key: &str, value: Value, position: Option<SourcePosition>) {
        let key = canonical_key(key);
        if let Some(position) = position {
            self.positions.insert(key.to_owned(), position);
        }
        self.values.insert(key.to_owned(), value);
    }

    /// Lays another level over this one.
    pub(crate) fn apply(&mut self, upper: &Layer) {
        for (key, value) in &upper.values {
            let merged = match (merge_rule(key), self.values.get_mut(key)) {
                (Merge::Append, Some(current)) => {
                    let mut items = as_list(std::mem::take(current));
                    items.extend(as_list(value.clone()));
                    Value::Array(items)
                }
                (Merge::Append, None) if !value.is_null() => Value::Array(as_list(value.clone())),
                (Merge::Update, Some(Value::Object(current))) => match value {
                    Value::Object(upper) => {
                        let mut merged = std::mem::take(current);
                        merged.extend(upper.clone());
                        Value::Object(merged)
                    }
                    other => other.clone(),
                },
                (Merge::Grants, current) => {
                    let current = match current {
                        Some(Value::Object(current)) => std::mem::take(current),
                        _ => Map::new(),
                    };
                    merge_grants(current, value)
                }
                _ => value.clone(),
            };
            self.values.insert(key.clone(), merged);
        }
        for (key, position) in &upper.positions {
            self.positions.insert(key.clone(), position.clone());
        }
    }
}

/// dbt accepts both spellings of the hooks.
pub(crate) fn canonical_key(key: &str) -> &str {
    match key {
        "pre_hook" => "pre-hook",
        "post_hook" => "post-hook",
        other => other,
    }
}

enum Merge {
    Replace,
    Append,
    Update,
    Grants,
}

fn merge_rule(key: &str) -> Merge {
    match key {
        "tags" | "pre-hook" | "post-hook" | "packages" => Merge::Append,
        "meta" | "quoting" | "column_types" | "docs" | "contract" => Merge::Update,
        "grants" => Merge::Grants,
        _ => Merge::Replace,
    }
}

fn as_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

/// A privilege replaces the one below, `+privilege` adds to it.
fn merge_grants(mut current: Map<String, Value>, upper: &Value) -> Value {
    let Value::Object(upper) = upper else { return upper.clone() };
    for (key, value) in upper {
        let roles = as_list(value.clone());
        match key.strip_prefix('+') {
            Some(name) => {
                let mut all = as_list(current.remove(name).unwrap_or(Value::Null));
                all.extend(roles);
                current.insert(name.to_owned(), Value::Array(all));
            }
            None => {
                current.insert(key.clone(), Value::Array(roles));
            }
        }
    }
    Value::Object(current)
}

/// Keys that dbt knows, with their defaults, for each resource.
pub(crate) fn known(resource: ResourceType) -> &'static Map<String, Value> {
    use ResourceType::*;
    static KNOWN: LazyLock<[Map<String, Value>; 6]> =
        LazyLock::new(|| [Model, Test, Seed, Snapshot, Analysis, Source].map(defaults));
    &KNOWN[match resource {
        Model => 0,
        Test => 1,
        Seed => 2,
        Snapshot => 3,
        Analysis | Operation => 4,
        Source | Exposure | UnitTest | Metric | SemanticModel | SavedQuery => 5,
    }]
}

/// Those of [`known`].
fn defaults(resource: ResourceType) -> Map<String, Value> {
    let text = match resource {
        ResourceType::Test => {
            r#"{"enabled":true,"alias":null,"schema":"dbt_test__audit","database":null,"tags":[],
            "meta":{},"group":null,"static_analysis":null,"materialized":"test","severity":"ERROR",
            "store_failures":null,"store_failures_as":null,"sql_header":null,"where":null,
            "limit":null,"fail_calc":"count(*)","warn_if":"!= 0","error_if":"!= 0"}"#
        }
        ResourceType::Source
        | ResourceType::Exposure
        | ResourceType::UnitTest
        | ResourceType::Metric
        | ResourceType::SemanticModel
        | ResourceType::SavedQuery => r#"{"enabled":true,"tags":[],"meta":{}}"#,
        _ => {
            r#"{"enabled":true,"alias":null,"schema":null,"database":null,"tags":[],"meta":{},
            "group":null,"static_analysis":null,"materialized":"view","incremental_strategy":null,
            "batch_size":null,
            "lookback":1,"begin":null,"persist_docs":{},"post-hook":[],"pre-hook":[],"quoting":{},
            "column_types":{},"full_refresh":null,"unique_key":null,"on_schema_change":"ignore",
            "on_configuration_change":"apply","grants":{},"packages":[],
            "docs":{"show":true,"node_color":null},
            "contract":{"enforced":false,"alias_types":true},"event_time":null,
            "concurrent_batches":null}"#
        }
    };
    // A constant of this file.
    let mut map: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let further: &[(&str, Value)] = match resource {
        ResourceType::Seed => &[
            ("materialized", "seed".into()),
            ("delimiter", ",".into()),
            ("quote_columns", Value::Null),
        ],
        ResourceType::Snapshot => &[
            ("materialized", "snapshot".into()),
            ("strategy", Value::Null),
            ("target_schema", Value::Null),
            ("target_database", Value::Null),
            ("updated_at", Value::Null),
            ("check_cols", Value::Null),
            (
                "snapshot_meta_column_names",
                json!({
                    "dbt_valid_to": null, "dbt_valid_from": null, "dbt_scd_id": null,
                    "dbt_updated_at": null, "dbt_is_deleted": null,
                }),
            ),
            ("dbt_valid_to_current", Value::Null),
        ],
        ResourceType::Model => &[
            ("access", "protected".into()),
            ("freshness", Value::Null),
            ("on_error", Value::Null),
            ("latest_version_pointer", json!({"enabled": null, "alias": null})),
        ],
        _ => &[],
    };
    map.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    map
}

/// Keys that are ours or an adapter's, used by Tidemill although dbt's core does not list them.
const FURTHER_KEYS: &[&str] = &[
    "dataframe",
    "merge_insert_condition",
    "merge_update_condition",
    "merge_update_set_expressions",
    "merge_update_columns",
    "merge_exclude_columns",
    "incremental_predicates",
    "predicates",
    "partition_by",
    "python",
    "timeout",
    "sql_header",
    "latest_version_pointer",
    "static_analysis",
    "on_error",
    "strategy",
    "updated_at",
    "check_cols",
    "target_schema",
    "target_database",
    "hard_deletes",
    "invalidate_hard_deletes",
    "snapshot_meta_column_names",
    "dbt_valid_to_current",
    "loaded_at_field",
    "loaded_at_query",
    "freshness",
    "ingest",
    "full_refresh",
    "quote_columns",
    "delimiter",
    "dialect",
];

/// A value that is not what its key needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigProblem {
    /// The key.
    pub(crate) key: String,
    /// The sentence.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Whether it stops the command.
    pub(crate) is_error: bool,
}

/// Types a merged configuration.
pub(crate) fn typed(resource: ResourceType, merged: &Layer) -> (NodeConfig, Vec<ConfigProblem>) {
    let known = known(resource);
    let mut all = known.clone();
    let mut extra = Map::new();
    let mut problems = Vec::new();
    for (key, value) in &merged.values {
        if !known.contains_key(key) && !FURTHER_KEYS.contains(&key.as_str()) {
            extra.insert(key.clone(), value.clone());
            if let Some(name) = misspelled(key, known) {
                problems.push(ConfigProblem {
                    key: key.clone(),
                    message: format!("the config key `{key}` is not known"),
                    hint: Some(format!("did you mean `{name}`?")),
                    is_error: false,
                });
            }
        }
        match (merge_rule(key), all.get_mut(key)) {
            (Merge::Update, Some(Value::Object(current))) if value.is_object() => {
                if let Value::Object(value) = value {
                    current.extend(value.clone());
                }
            }
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    let mut reader = Reader { all: &mut all, problems: &mut problems };
    let mut config = NodeConfig {
        enabled: reader.flag("enabled").unwrap_or(true),
        materialized: reader
            .text("materialized")
            .map(|text| Materialization::parse(&text))
            .unwrap_or_default(),
        schema: reader.text("schema"),
        database: reader.text("database"),
        alias: reader.text("alias"),
        tags: reader.texts("tags").unwrap_or_default(),
        meta: reader.map("meta"),
        group: reader.text("group"),
        unique_key: reader.texts("unique_key").unwrap_or_default(),
        incremental_strategy: reader.text("incremental_strategy"),
        on_schema_change: reader.on_schema_change(),
        merge_update_columns: reader.texts("merge_update_columns"),
        merge_exclude_columns: reader.texts("merge_exclude_columns"),
        incremental_predicates: reader
            .texts("incremental_predicates")
            .or_else(|| reader.texts("predicates"))
            .unwrap_or_default(),
        partition_by: reader.partition_by(),
        full_refresh: reader.flag("full_refresh"),
        pre_hooks: reader.hooks("pre-hook"),
        post_hooks: reader.hooks("post-hook"),
        column_types: reader.column_types(),
        quote_columns: reader.flag("quote_columns"),
        delimiter: reader.text("delimiter"),
        contract_enforced: reader
            .map("contract")
            .get("enforced")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        grants: reader.map("grants"),
        dialect: reader.dialect(),
        event_time: reader.text("event_time"),
        microbatch: None,
        snapshot: None,
        all: Map::new(),
        extra,
    };
    if resource == ResourceType::Model
        && config.enabled
        && config.materialized == Materialization::Incremental
        && config.incremental_strategy.as_deref() == Some("microbatch")
    {
        config.microbatch = microbatch::read(&all, &mut problems);
    }
    if resource == ResourceType::Snapshot && config.enabled {
        config.snapshot = snapshot_config::read(&all, &config.unique_key, &mut problems);
    }
    config.tags.dedup();
    config.all = all;
    (config, problems)
}

/// A known key that the unknown one is a slip of the pen away from.
fn misspelled<'a>(key: &str, known: &'a Map<String, Value>) -> Option<&'a str> {
    if key.len() < 5 {
        return None;
    }
    let name = nearest(key, known.keys().map(String::as_str))?;
    let same_start = name.chars().next() == key.chars().next();
    (same_start && name.len().abs_diff(key.len()) <= 2 && name.len() >= 5).then_some(name)
}

struct Reader<'a> {
    all: &'a mut Map<String, Value>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &str, needs: &str, hint: Option<&str>) {
        let value = self.all.get(key).map(Value::to_string).unwrap_or_default();
        self.problems.push(ConfigProblem {
            key: key.to_owned(),
            message: format!("the config key `{key}` needs {needs}, not `{value}`"),
            hint: hint.map(str::to_owned),
            is_error: true,
        });
    }

    fn value(&self, key: &str) -> Option<Value> {
        self.all.get(key).filter(|value| !value.is_null()).cloned()
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(flag),
            Value::String(_) => {
                self.wrong(key, "true or false", Some("in Jinja, add `| as_bool`"));
                None
            }
            _ => {
                self.wrong(key, "true or false", None);
                None
            }
        }
    }

    /// `dialect`, or `meta.dialect` where dbt itself is to stay quiet.
    fn dialect(&mut self) -> Option<SqlDialect> {
        let (key, written) = match self.value("dialect") {
            Some(written) => ("dialect", written),
            None => {
                let meta = self.value("meta")?;
                ("meta", meta.get("dialect").filter(|value| !value.is_null())?.clone())
            }
        };
        let known = written.as_str().and_then(SqlDialect::parse);
        if known.is_none() {
            let shown = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
            self.problems.push(ConfigProblem {
                key: key.to_owned(),
                message: format!("the dialect `{shown}` is not known"),
                hint: Some(format!("use one of {}", SqlDialect::NAMES)),
                is_error: true,
            });
        }
        known
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                self.wrong(key, "text", None);
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        match self.value(key)? {
            Value::String(text) => Some(vec![text]),
            Value::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match item {
                        Value::String(text) => texts.push(text),
                        Value::Number(number) => texts.push(number.to_string()),
                        _ => {
                            self.wrong(key, "text or a list of texts", None);
                            return None;
                        }
                    }
                }
                Some(texts)
            }
            _ => {
                self.wrong(key, "text or a list of texts", None);
                None
            }
        }
    }

    fn map(&mut self, key: &str) -> Map<String, Value> {
        match self.value(key) {
            Some(Value::Object(map)) => map,
            None => Map::new(),
            Some(_) => {
                self.wrong(key, "a mapping", None);
                Map::new()
            }
        }
    }

    fn on_schema_change(&mut self) -> OnSchemaChange {
        match self.text("on_schema_change").as_deref() {
            None | Some("ignore") => OnSchemaChange::Ignore,
            Some("fail") => OnSchemaChange::Fail,
            Some("append_new_columns") => OnSchemaChange::AppendNewColumns,
            Some("sync_all_columns") => OnSchemaChange::SyncAllColumns,
            Some(_) => {
                self.wrong(
                    "on_schema_change",
                    "`ignore`, `fail`, `append_new_columns` or `sync_all_columns`",
                    None,
                );
                OnSchemaChange::Ignore
            }
        }
    }

    /// A column, a list of columns, or BigQuery's `{field: column}`.
    fn partition_by(&mut self) -> Vec<String> {
        if let Some(Value::Object(map)) = self.value("partition_by") {
            return match map.get("field").and_then(Value::as_str) {
                Some(field) => vec![field.to_owned()],
                None => {
                    self.wrong("partition_by", "a column or a list of columns", None);
                    Vec::new()
                }
            };
        }
        // Projects for several databases leave it empty where a database has no partitions.
        let mut columns = self.texts("partition_by").unwrap_or_default();
        columns.retain(|column| !column.trim().is_empty());
        columns
    }

    fn column_types(&mut self) -> IndexMap<String, String> {
        let map = self.map("column_types");
        let mut types = IndexMap::new();
        for (column, kind) in map {
            match kind {
                Value::String(kind) => {
                    types.insert(column, kind);
                }
                // A template that is empty for this database: the column has the type that it looks like.
                Value::Null => {}
                _ => self.wrong("column_types", "a type for each column", None),
            }
        }
        types
    }

    /// Statements, or `{sql, transaction}`; the value is put in dbt's full form.
    fn hooks(&mut self, key: &str) -> Vec<Hook> {
        let items = as_list(self.value(key).unwrap_or(Value::Null));
        let mut hooks = Vec::with_capacity(items.len());
        for item in &items {
            match Hook::from_value(item) {
                Some(hook) => hooks.push(hook),
                None => self.wrong(key, "a statement or `{sql: ...}`", None),
            }
        }
        if self.all.contains_key(key) {
            let full = hooks.iter().map(Hook::to_value).collect();
            self.all.insert(key.to_owned(), Value::Array(full));
        }
        hooks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layer(value: Value) -> Layer {
        let mut layer = Layer::default();
        if let Value::Object(map) = value {
            for (key, value) in map {
                layer.set(&key, value, None);
            }
        }
        layer
    }

    #[test]
    fn layers_merge_by_dbts_rules() {
        let mut merged = layer(json!({
            "tags": "a", "meta": {"x": 1, "y": 1}, "materialized": "view",
            "pre_hook": "one", "grants": {"select": ["r1"], "insert": "r2"}
        }));
        merged.apply(&layer(json!({
            "tags": ["b", "c"], "meta": {"y": 2}, "materialized": "table",
            "pre-hook": {"sql": "two", "transaction": false},
            "grants": {"+select": "r3", "insert": ["r4"]}
        })));
        let (config, problems) = typed(ResourceType::Model, &merged);
        assert_eq!(problems, vec![]);
        assert_eq!(config.tags, ["a", "b", "c"]);
        assert_eq!(config.all["meta"], json!({"x": 1, "y": 2}));
        assert_eq!(config.materialized, Materialization::Table);
        assert_eq!(
            config.pre_hooks.iter().map(|hook| hook.sql.as_str()).collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(config.all["grants"], json!({"select": ["r1", "r3"], "insert": ["r4"]}));
    }

    #[test]
    fn wrong_values_and_slips_are_told() {
        let merged = layer(
            json!({"enabled": "yes", "materialised": "table", "unique_key": {}, "cluster_by": "x", "on_schema_change": "sync"}),
        );
        let (_, problems) = typed(ResourceType::Model, &merged);
        let told: Vec<(String, bool)> =
            problems.iter().map(|problem| (problem.message.clone(), problem.is_error)).collect();
        assert_eq!(
            told,
            [
                ("the config key `materialised` is not known".to_owned(), false),
                ("the config key `enabled` needs true or false, not `\"yes\"`".to_owned(), true),
                ("the config key `unique_key` needs text or a list of texts, not `{}`".to_owned(), true),
                ("the config key `on_schema_change` needs `ignore`, `fail`, `append_new_columns` or `sync_all_columns`, not `\"sync\"`".to_owned(), true),
            ]
        );
    }

    #[test]
    fn equal_configurations_have_equal_text() {
        let a = layer(json!({"meta": {"a": 1, "b": 2}, "zzz": 1, "materialized": "table"}));
        let b = layer(json!({"materialized": "table", "zzz": 1, "meta": {"b": 2, "a": 1}}));
        let text = |layer: &Layer| typed(ResourceType::Model, layer).0.canonical_json();
        assert_eq!(text(&a), text(&b));
    }
}
