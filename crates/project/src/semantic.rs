//! Metrics, semantic models and saved queries as dbt's manifest has them: every field, written or
//! not, in its full form.

use serde_json::{Map, Value, json};
use tidemill_core::UniqueId;

use crate::artifact::ref_json;
use crate::manifest::{Manifest, ResourceType, SemanticNode};

/// A resource of the semantic layer as the manifest has it.
pub(crate) fn semantic_json(manifest: &Manifest, node: &SemanticNode) -> Value {
    let mut value = json!({
        "name": node.name,
        "resource_type": node.resource_type.as_str(),
        "package_name": node.package_name,
        "path": path(node),
        "original_file_path": node.original_file_path,
        "unique_id": node.unique_id,
        "fqn": node.fqn,
        "description": text(&node.values, "description"),
        "label": text(&node.values, "label"),
        "metadata": null,
        "config": config(node),
        "unrendered_config": node.unrendered_config,
        "depends_on": {"macros": [], "nodes": node.depends_on},
        "refs": node.refs.iter().map(ref_json).collect::<Value>(),
        "group": node.group,
    });
    let own = match node.resource_type {
        ResourceType::Metric => metric(manifest, node),
        ResourceType::SemanticModel => semantic_model(manifest, node),
        _ => saved_query(manifest, node),
    };
    if let (Value::Object(value), Value::Object(own)) = (&mut value, own) {
        value.extend(own);
    }
    value
}

fn path(node: &SemanticNode) -> &str {
    node.original_file_path.split_once('/').map_or(&node.original_file_path, |(_, rest)| rest)
}

fn config(node: &SemanticNode) -> Value {
    let mut config = Map::new();
    let get = |key: &str| node.config.get(key).cloned();
    config.insert("enabled".into(), get("enabled").unwrap_or(true.into()));
    config.insert("group".into(), node.group.clone().into());
    config.insert("meta".into(), Value::Object(node.meta.clone()));
    if node.resource_type == ResourceType::SavedQuery {
        config.insert("export_as".into(), get("export_as").unwrap_or_default());
        config.insert("schema".into(), get("schema").unwrap_or_default());
        let cache = get("cache").filter(|cache| !cache.is_null());
        config.insert("cache".into(), cache.unwrap_or_else(|| json!({"enabled": false})));
    }
    for (key, value) in &node.config {
        let nothing = key == "tags" && value.as_array().is_some_and(Vec::is_empty);
        if !nothing && !config.contains_key(key) {
            config.insert(key.clone(), value.clone());
        }
    }
    Value::Object(config)
}

fn metric(manifest: &Manifest, node: &SemanticNode) -> Value {
    let empty = Map::new();
    let written = node.values.get("type_params").and_then(Value::as_object).unwrap_or(&empty);
    let part = |key: &str| written.get(key).unwrap_or(&Value::Null);
    let window = window(part("window"));
    let grain = part("grain_to_date").clone();
    let kind = text(&node.values, "type");
    let conversion = match part("conversion_type_params") {
        Value::Object(map) => {
            let part = |key: &str| map.get(key).unwrap_or(&Value::Null);
            json!({
                "entity": part("entity"),
                "base_measure": input_measure(part("base_measure")),
                "conversion_measure": input_measure(part("conversion_measure")),
                "base_metric": input_metric(part("base_metric")),
                "conversion_metric": input_metric(part("conversion_metric")),
                "calculation": or(part("calculation"), "conversion_rate".into()),
                "window": self::window(part("window")),
                "constant_properties": part("constant_properties"),
            })
        }
        _ => Value::Null,
    };
    let cumulative = match part("cumulative_type_params") {
        Value::Object(map) => {
            let part = |key: &str| map.get(key).unwrap_or(&Value::Null);
            json!({
                "window": self::window(part("window")),
                "grain_to_date": part("grain_to_date"),
                "period_agg": or(part("period_agg"), "first".into()),
                "metric": input_metric(part("metric")),
            })
        }
        _ if kind == "cumulative" => json!({
            "window": window, "grain_to_date": grain, "period_agg": "first", "metric": null,
        }),
        _ => Value::Null,
    };
    let measure = input_measure(part("measure"));
    json!({
        "type": kind,
        "type_params": {
            "measure": measure,
            "input_measures": input_measures(manifest, node, 0),
            "numerator": input_metric(part("numerator")),
            "denominator": input_metric(part("denominator")),
            "expr": expression(written),
            "window": window,
            "grain_to_date": grain,
            "metrics": match part("metrics") {
                Value::Array(items) => items.iter().map(input_metric).collect(),
                _ => Value::Array(Vec::new()),
            },
            "conversion_type_params": conversion,
            "cumulative_type_params": cumulative,
            "metric_aggregation_params": part("metric_aggregation_params"),
            "fill_nulls_with": null,
            "join_to_timespine": or(part("join_to_timespine"), false.into()),
            "is_private": part("is_private"),
        },
        "filter": filter(node.values.get("filter")),
        "time_granularity": node.values.get("time_granularity"),
        // Of a metric in the form of 1.12 they stand in its `config` alone.
        "meta": match part("is_private").is_null() {
            true => json!(node.meta),
            false => json!({}),
        },
        "tags": node.tags,
        "sources": [],
        "metrics": [],
    })
}

/// How deep metrics may be made of metrics; a circle ends there.
const DEEPEST: usize = 32;

/// The measures of a metric and of the metrics that it is made of, each once.
fn input_measures(manifest: &Manifest, node: &SemanticNode, depth: usize) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut add = |measure: Value| {
        if !measure.is_null() && !found.contains(&measure) {
            found.push(measure);
        }
    };
    let parameters = node.values.get("type_params");
    let part = |key: &str| parameters.and_then(|map| map.get(key)).unwrap_or(&Value::Null);
    add(input_measure(part("measure")));
    if let Value::Object(map) = part("conversion_type_params") {
        for key in ["base_measure", "conversion_measure"] {
            add(input_measure(map.get(key).unwrap_or(&Value::Null)));
        }
    }
    if depth < DEEPEST {
        for id in &node.depends_on {
            if let Some(inner) = manifest.semantics.get(id)
                && inner.resource_type == ResourceType::Metric
            {
                input_measures(manifest, inner, depth + 1).into_iter().for_each(&mut add);
            }
        }
    }
    found
}

fn input_measure(value: &Value) -> Value {
    let Some(map) = named(value) else { return Value::Null };
    let part = |key: &str| map.get(key).cloned().unwrap_or_default();
    json!({
        "name": part("name"),
        "filter": filter(map.get("filter")),
        "alias": part("alias"),
        "join_to_timespine": or(&part("join_to_timespine"), false.into()),
        "fill_nulls_with": part("fill_nulls_with"),
    })
}

fn input_metric(value: &Value) -> Value {
    let Some(map) = named(value) else { return Value::Null };
    let part = |key: &str| map.get(key).cloned().unwrap_or_default();
    json!({
        "name": part("name"),
        "filter": filter(map.get("filter")),
        "alias": part("alias"),
        "offset_window": window(&part("offset_window")),
        "offset_to_grain": part("offset_to_grain"),
    })
}

/// `name`, or a mapping.
fn named(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::String(name) => Some(Map::from_iter([("name".to_owned(), name.as_str().into())])),
        Value::Object(map) => Some(map.clone()),
        _ => None,
    }
}

/// `7 days`
fn window(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    let mut words = text.split_whitespace();
    let (count, unit) = (words.next(), words.next());
    match (count.and_then(|count| count.parse::<i64>().ok()), unit) {
        (Some(count), Some(unit)) => {
            json!({"count": count, "granularity": unit.to_lowercase().trim_end_matches('s')})
        }
        _ => Value::Null,
    }
}

/// One condition or several.
fn filter(value: Option<&Value>) -> Value {
    let one = |text: &str| json!({"where_sql_template": text});
    match value {
        Some(Value::String(text)) => json!({"where_filters": [one(text)]}),
        Some(Value::Array(items)) => {
            let filters: Vec<Value> = items.iter().filter_map(Value::as_str).map(one).collect();
            json!({"where_filters": filters})
        }
        _ => Value::Null,
    }
}

fn semantic_model(manifest: &Manifest, node: &SemanticNode) -> Value {
    let described = node.depends_on.first().and_then(|id| manifest.nodes.get(id));
    let relation = described.map(node_relation);
    let defaults = match node.values.get("defaults") {
        Some(Value::Object(map)) => {
            json!({"agg_time_dimension": map.get("agg_time_dimension")})
        }
        _ => Value::Null,
    };
    // What is said of the whole counts for its parts.
    let config = |item: &Value| {
        let mut meta = node.meta.clone();
        let own = item.get("config").and_then(|config| config.get("meta"));
        meta.extend(own.and_then(Value::as_object).cloned().unwrap_or_default());
        json!({"meta": meta})
    };
    let entities: Vec<Value> = items(node, "entities")
        .map(|item| {
            json!({
                "name": item.get("name"), "type": item.get("type"),
                "description": item.get("description"), "label": item.get("label"),
                "role": item.get("role"), "expr": expression(item), "config": config(item),
            })
        })
        .collect();
    let dimensions: Vec<Value> = items(node, "dimensions")
        .map(|item| {
            let parameters = match item.get("type_params") {
                Some(Value::Object(map)) => json!({
                    "time_granularity": or(
                        map.get("time_granularity").unwrap_or(&Value::Null),
                        "day".into(),
                    ),
                    "validity_params": match map.get("validity_params") {
                        Some(Value::Object(validity)) => json!({
                            "is_start": or(
                                validity.get("is_start").unwrap_or(&Value::Null),
                                false.into(),
                            ),
                            "is_end": or(
                                validity.get("is_end").unwrap_or(&Value::Null),
                                false.into(),
                            ),
                        }),
                        _ => Value::Null,
                    },
                }),
                _ => Value::Null,
            };
            json!({
                "name": item.get("name"), "type": item.get("type"),
                "description": item.get("description"), "label": item.get("label"),
                "is_partition": or(item.get("is_partition").unwrap_or(&Value::Null), false.into()),
                "type_params": parameters, "expr": expression(item), "metadata": null,
                "config": config(item), "datatype": item.get("datatype"),
            })
        })
        .collect();
    let measures: Vec<Value> = items(node, "measures")
        .map(|item| {
            json!({
                "name": item.get("name"),
                "agg": item.get("agg").and_then(Value::as_str).map(str::to_lowercase),
                "description": item.get("description"), "label": item.get("label"),
                // The metric is there by itself.
                "create_metric": false,
                "expr": expression(item), "agg_params": item.get("agg_params"),
                "non_additive_dimension": item.get("non_additive_dimension"),
                "agg_time_dimension": item.get("agg_time_dimension"), "config": config(item),
            })
        })
        .collect();
    json!({
        "model": node.values.get("model"),
        "node_relation": relation,
        "description": node.values.get("description"),
        "label": node.values.get("label"),
        "defaults": defaults,
        "entities": entities,
        "measures": measures,
        "dimensions": dimensions,
        "primary_entity": node.values.get("primary_entity"),
    })
}

fn saved_query(manifest: &Manifest, node: &SemanticNode) -> Value {
    let schema = Value::from(manifest.target.schema.as_str());
    let database = Value::from(manifest.target.database.as_str());
    let query = node.values.get("query_params");
    let part = |key: &str| query.and_then(|query| query.get(key)).unwrap_or(&Value::Null);
    let exports: Vec<Value> = items(node, "exports")
        .map(|item| {
            let empty = Map::new();
            let config = item.get("config").and_then(Value::as_object).unwrap_or(&empty);
            let get = |key: &str| config.get(key);
            json!({
                "name": item.get("name"),
                "config": {
                    "export_as": get("export_as").or(node.config.get("export_as")).map_or_else(|| "table".into(), Clone::clone),
                    "schema_name": get("schema")
                        .or(get("schema_name"))
                        .or(node.config.get("schema"))
                        .filter(|schema| !schema.is_null())
                        .unwrap_or(&schema),
                    "alias": get("alias").or(item.get("name")),
                    "database": get("database")
                        .filter(|database| !database.is_null())
                        .unwrap_or(&database),
                },
                "unrendered_config": config,
            })
        })
        .collect();
    json!({
        "query_params": {
            "metrics": or(part("metrics"), json!([])),
            "group_by": or(part("group_by"), json!([])),
            "where": filter(Some(part("where"))),
            "order_by": or(part("order_by"), json!([])),
            "limit": part("limit"),
        },
        "exports": exports,
        "description": node.values.get("description"),
        "label": node.values.get("label"),
        "tags": node.tags,
    })
}

fn items<'a>(node: &'a SemanticNode, key: &str) -> impl Iterator<Item = &'a Value> {
    node.values.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A mapping, whatever holds it.
trait Get {
    fn part(&self, key: &str) -> Option<&Value>;
}

impl Get for Value {
    fn part(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }
}

impl Get for Map<String, Value> {
    fn part(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }
}

/// An expression is text, although YAML may read `1` as a number.
fn expression(item: &impl Get) -> Value {
    match item.part("expr") {
        None | Some(Value::Null) => Value::Null,
        Some(Value::String(text)) => text.as_str().into(),
        Some(other) => other.to_string().into(),
    }
}

fn or(value: &Value, default: Value) -> Value {
    if value.is_null() { default } else { value.clone() }
}

fn text(values: &Map<String, Value>, key: &str) -> String {
    values.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The resources of one kind, by id.
pub(crate) fn all_of(manifest: &Manifest, kind: ResourceType, created_at: f64) -> Value {
    let map: Map<String, Value> = manifest
        .semantics
        .values()
        .filter(|node| node.resource_type == kind)
        .map(|node| {
            let mut value = semantic_json(manifest, node);
            if let Value::Object(map) = &mut value {
                map.insert("created_at".to_owned(), created_at.into());
            }
            (UniqueId::to_string(&node.unique_id), value)
        })
        .collect();
    Value::Object(map)
}

/// dbt's `semantic_manifest.json`: the semantic layer for the tools that query it.
pub fn semantic_manifest(manifest: &Manifest) -> Value {
    let of = |kind: ResourceType, keys: &'static [&'static str]| -> Value {
        manifest
            .semantics
            .values()
            .filter(|node| node.resource_type == kind)
            .map(|node| {
                let full = semantic_json(manifest, node);
                keys.iter()
                    .map(|key| {
                        let value = match *key {
                            "config" => json!({"meta": node.meta}),
                            key => full.get(key).cloned().unwrap_or_default(),
                        };
                        ((*key).to_owned(), value)
                    })
                    .collect::<Map<String, Value>>()
            })
            .map(Value::Object)
            .collect()
    };
    let time_spines: Vec<Value> = manifest
        .nodes
        .values()
        .filter_map(|node| {
            let spine = node.properties.get("time_spine")?.as_object()?;
            let column = spine.get("standard_granularity_column")?.as_str()?;
            let described = node.columns.get(column);
            let granularity = described.and_then(|column| column.granularity.as_deref());
            Some(json!({
                "node_relation": node_relation(node),
                "primary_column": {"name": column, "time_granularity": granularity},
                "custom_granularities": spine
                    .get("custom_granularities")
                    .filter(|value| !value.is_null())
                    .cloned()
                    .unwrap_or_else(|| json!([])),
            }))
        })
        .collect();
    json!({
        "semantic_models": of(ResourceType::SemanticModel, &[
            "name", "defaults", "description", "node_relation", "primary_entity", "entities",
            "measures", "dimensions", "label", "metadata", "config",
        ]),
        "metrics": of(ResourceType::Metric, &[
            "name", "description", "type", "datatype", "type_params", "filter", "metadata", "label",
            "config", "time_granularity",
        ]),
        "project_configuration": {
            "time_spine_table_configurations": [],
            "metadata": null,
            "dsi_package_version": {
                "major_version": "0", "minor_version": "213", "patch_version": "0",
            },
            "time_spines": time_spines,
        },
        "saved_queries": of(ResourceType::SavedQuery, &[
            "name", "query_params", "description", "metadata", "label", "exports", "tags",
        ]),
    })
}

fn node_relation(node: &crate::manifest::Node) -> Value {
    json!({
        "alias": node.alias, "schema_name": node.schema, "database": node.database,
        "relation_name": node.relation_name(),
    })
}
