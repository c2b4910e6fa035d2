//! What has changed about one resource, by the rules of dbt's `state:modified`.

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics};

use super::state::new_is_changed;
use crate::config::canonical_key;
use crate::manifest::ResourceType;

/// One thing that can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Body,
    Config,
    Descriptions,
    Relation,
}

/// A resource as it was and as it is, both as manifests have them.
pub(super) struct Change<'a> {
    pub(super) kind: ResourceType,
    pub(super) old: Option<&'a Value>,
    pub(super) new: &'a Value,
}

/// Keys of the configuration that are compared elsewhere or do not count.
const NOT_COMPARED: &[&str] = &["alias", "schema", "database", "tags", "group"];

/// What counts of a test's configuration.
const OF_TESTS: &[&str] = &[
    "severity",
    "where",
    "limit",
    "fail_calc",
    "warn_if",
    "error_if",
    "store_failures",
    "store_failures_as",
    "sql_header",
];

impl Change<'_> {
    /// Whether one thing is another, or the resource is new. Resources that have no such thing
    /// are never changed in it.
    pub(super) fn other(&self, what: Changed) -> bool {
        let has = match what {
            Changed::Body | Changed::Descriptions => self.is_node(),
            Changed::Config => self.kind != ResourceType::UnitTest,
            Changed::Relation => self.is_node() || self.kind == ResourceType::Source,
        };
        has && match self.old {
            None => true,
            Some(old) => !self.same(what, old),
        }
    }

    /// Whether the resource has changed in what decides about it.
    pub(super) fn contents(&self, name: &str, diagnostics: &mut Diagnostics) -> bool {
        let Some(old) = self.old else { return new_is_changed(self.kind) };
        let contract = self.contract(name, diagnostics);
        !self.same_contents(old) || contract
    }

    pub(super) fn is_node(&self) -> bool {
        new_is_changed(self.kind) && self.kind != ResourceType::UnitTest
    }

    fn is_generic_test(&self) -> bool {
        self.kind == ResourceType::Test && self.new.get("test_metadata").is_some()
    }

    fn same_contents(&self, old: &Value) -> bool {
        let all = |keys: &[&str]| keys.iter().all(|key| field(self.new, key) == field(old, key));
        match self.kind {
            // What their checksum is made of: dbt's and ours are not computed alike.
            ResourceType::UnitTest => all(&["model", "versions", "given", "expect", "overrides"]),
            ResourceType::Source => {
                let freshness = |value: &Value| without_nulls(field(value, "freshness"));
                self.same(Changed::Relation, old)
                    && all(&["fqn", "quoting", "loaded_at_field", "external"])
                    && freshness(self.new) == freshness(old)
                    && self.same(Changed::Config, old)
            }
            ResourceType::Exposure => {
                let nodes = |value: &Value| {
                    let mut nodes: Vec<String> = value
                        .get("depends_on")
                        .and_then(|depends_on| depends_on.get("nodes"))
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten()
                        .map(Value::to_string)
                        .collect();
                    nodes.sort();
                    nodes
                };
                all(&["fqn", "type", "maturity", "url", "description", "label"])
                    && same_owner(field(self.new, "owner"), field(old, "owner"))
                    && nodes(self.new) == nodes(old)
                    && self.same(Changed::Config, old)
            }
            ResourceType::Metric => {
                // As in dbt, its filter and parameters do not count.
                all(&["type", "description", "label"]) && self.same(Changed::Config, old)
            }
            ResourceType::SemanticModel => {
                all(&[
                    "model",
                    "description",
                    "defaults",
                    "entities",
                    "dimensions",
                    "measures",
                    "primary_entity",
                    "group",
                ]) && self.same(Changed::Config, old)
            }
            ResourceType::SavedQuery => {
                all(&["query_params", "description", "label", "group", "tags"])
                    && exports(self.new) == exports(old)
                    && self.same(Changed::Config, old)
            }
            _ if self.is_generic_test() => all(&["fqn"]) && self.same(Changed::Config, old),
            _ => {
                let model = self.kind != ResourceType::Model
                    || all(&["latest_version", "access", "deprecation_date"]);
                model
                    && all(&["fqn"])
                    && self.same(Changed::Body, old)
                    && self.same(Changed::Config, old)
                    && self.same(Changed::Descriptions, old)
                    && self.same(Changed::Relation, old)
            }
        }
    }

    fn same(&self, what: Changed, old: &Value) -> bool {
        let equal = |key: &str| field(self.new, key) == field(old, key);
        match what {
            Changed::Body if self.kind == ResourceType::Seed => equal("checksum"),
            Changed::Body => {
                let code = |value: &Value| {
                    field(value, "raw_code").as_str().unwrap_or_default().trim().to_owned()
                };
                code(self.new) == code(old)
            }
            Changed::Relation if self.kind == ResourceType::Source => self.same_place(old),
            Changed::Relation => ["database", "schema", "alias"]
                .into_iter()
                .all(|key| setting(self.new, key) == setting(old, key)),
            Changed::Config => self.same_config(old),
            Changed::Descriptions => {
                let persists = |key: &str| {
                    field(field(self.new, "config"), "persist_docs")
                        .get(key)
                        .and_then(Value::as_bool)
                        .unwrap_or(false)
                };
                let columns = |value: &Value| -> Map<String, Value> {
                    field(value, "columns")
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, column)| (name.clone(), field(column, "description").clone()))
                        .collect()
                };
                (!persists("relation") || equal("description"))
                    && (!persists("columns") || columns(self.new) == columns(old))
            }
        }
    }

    /// The place in the lake as it was written, so that another target is no change. Older manifests
    /// have only the place itself.
    fn same_place(&self, old: &Value) -> bool {
        let written = |key: &str| format!("unrendered_{key}");
        field(self.new, "identifier") == field(old, "identifier")
            && ["database", "schema"].into_iter().all(|key| match old.get(written(key)) {
                Some(before) => field(self.new, &written(key)) == before,
                None if key == "database" => true,
                None => field(self.new, key) == field(old, key),
            })
    }

    /// The configuration as it was written, so that another target does not count as a change.
    fn same_config(&self, old: &Value) -> bool {
        let (new, old) = (settings(self.new), settings(old));
        if self.kind == ResourceType::Test {
            return OF_TESTS.iter().all(|key| same_setting(new.get(*key), old.get(*key)));
        }
        let counts = |key: &&String| !NOT_COMPARED.contains(&key.as_str());
        new.keys()
            .chain(old.keys())
            .filter(counts)
            .all(|key| same_setting(new.get(key), old.get(key)))
    }

    /// Whether the contract has changed. What breaks it is a warning, for a versioned model an
    /// error.
    pub(super) fn contract(&self, name: &str, diagnostics: &mut Diagnostics) -> bool {
        if self.kind != ResourceType::Model {
            return false;
        }
        let Some(old) = self.old else { return true };
        let enforced =
            |value: &Value| field(field(value, "contract"), "enforced").as_bool().unwrap_or(false);
        match (enforced(old), enforced(self.new)) {
            (false, false) => return false,
            (false, true) => return true,
            (true, true) if promised(self.new) == promised(old) => return false,
            (true, _) => {}
        }
        let mut breaking = Vec::new();
        if !enforced(self.new) {
            breaking.push("the contract is not enforced any more".to_owned());
        }
        let none = Map::new();
        let columns = |value: &Value| {
            field(value, "columns").as_object().cloned().unwrap_or_else(|| none.clone())
        };
        let (old_columns, new_columns) = (columns(old), columns(self.new));
        let mut has_constraints = !constraints(old).is_empty();
        for (column, before) in &old_columns {
            has_constraints |= !constraints(before).is_empty();
            let Some(now) = new_columns.get(column) else {
                breaking.push(format!("the column `{column}` was removed"));
                continue;
            };
            if base_type(before) != base_type(now) {
                let kind = |column: &Value| {
                    field(column, "data_type").as_str().unwrap_or("none").to_owned()
                };
                breaking.push(format!(
                    "the type of `{column}` was {}, and is {}",
                    kind(before),
                    kind(now)
                ));
            }
            if enforces_constraints(old)
                && constraints(before)
                    .iter()
                    .any(|constraint| !constraints(now).contains(constraint))
            {
                breaking.push(format!("a constraint of `{column}` was removed"));
            }
        }
        if enforces_constraints(old)
            && constraints(old).iter().any(|constraint| !constraints(self.new).contains(constraint))
        {
            breaking.push("a constraint of the model was removed".to_owned());
        }
        if enforces_constraints(old) && !enforces_constraints(self.new) && has_constraints {
            breaking.push("the materialization does not enforce constraints any more".to_owned());
        }
        if !breaking.is_empty() {
            let versioned = !field(self.new, "version").is_null();
            report(name, versioned, &breaking, diagnostics);
        }
        true
    }
}

/// Tells what breaks a contract, once.
pub(super) fn report(
    name: &str,
    versioned: bool,
    breaking: &[String],
    diagnostics: &mut Diagnostics,
) {
    let message =
        format!("the contract of `{name}` is broken since that state: {}", breaking.join("; "));
    let diagnostic = if versioned {
        Diagnostic::error("breaking-contract", message)
            .hint("make a new version of the model and keep this one as it was")
    } else {
        Diagnostic::warning("breaking-contract", message)
            .hint("give the model versions, so that others can move one after the other")
    };
    if !diagnostics.iter().any(|known| *known == diagnostic) {
        diagnostics.push(diagnostic);
    }
}

fn field<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// dbt keeps some values as the text of a Python literal, and fills in nulls.
fn same_setting(new: Option<&Value>, old: Option<&Value>) -> bool {
    let (new, old) = (new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null));
    match (new, old) {
        (Value::String(_), Value::String(_)) => new == old,
        (Value::String(text), other) | (other, Value::String(text)) => *text == literal(other),
        _ => without_nulls(new) == without_nulls(old),
    }
}

/// A value as Python writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.contains('\'') && !text.contains('"') => format!("\"{text}\""),
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let parts: Vec<String> = map
                .iter()
                .map(|(key, value)| {
                    format!("{}: {}", literal(&key.as_str().into()), literal(value))
                })
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
    }
}

/// Mappings without keys that hold nothing; nothing when that leaves nothing.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .filter(|(_, value)| !value.is_null())
                .collect();
            if map.is_empty() { Value::Null } else { Value::Object(map) }
        }
        other => other.clone(),
    }
}

/// dbt has both fields of an owner, written or not.
fn same_owner(new: &Value, old: &Value) -> bool {
    ["name", "email"].into_iter().all(|key| field(new, key) == field(old, key))
}

/// What decides about the exports of a saved query, as they are written: where that is in dbt and
/// here, the target says.
fn exports(value: &Value) -> Vec<Vec<Value>> {
    let exports = field(value, "exports").as_array().map(Vec::as_slice).unwrap_or_default();
    let written =
        |export: &Value, key: &str| field(field(export, "unrendered_config"), key).clone();
    exports
        .iter()
        .map(|export| {
            let keys = ["export_as", "schema", "alias"].map(|key| written(export, key));
            std::iter::once(field(export, "name").clone()).chain(keys).collect()
        })
        .collect()
}

fn settings(value: &Value) -> Map<String, Value> {
    field(value, "unrendered_config")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (canonical_key(key).to_owned(), value.clone()))
        .collect()
}

fn setting<'a>(value: &'a Value, key: &str) -> &'a Value {
    field(field(value, "unrendered_config"), key)
}

fn constraints(value: &Value) -> Vec<Value> {
    field(value, "constraints").as_array().cloned().unwrap_or_default()
}

fn enforces_constraints(node: &Value) -> bool {
    matches!(field(field(node, "config"), "materialized").as_str(), Some("table" | "incremental"))
}

/// A type without length, precision and scale.
fn base_type(column: &Value) -> Option<String> {
    let text = field(column, "data_type").as_str()?;
    Some(text.split('(').next().unwrap_or(text).trim().to_lowercase())
}

/// What a contract promises: names, types and constraints of columns in any order, and, where they
/// are enforced, constraints of the model.
fn promised(node: &Value) -> (Vec<String>, Option<Vec<Value>>) {
    let mut columns: Vec<String> = field(node, "columns")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, column)| {
            let constraints = constraints(column);
            format!("{name}|{}|{}", field(column, "data_type"), Value::Array(constraints))
        })
        .collect();
    columns.sort();
    (columns, enforces_constraints(node).then(|| constraints(node)))
}
