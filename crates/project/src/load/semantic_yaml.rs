//! The semantic layer as dbt 1.12 has it written: semantic models and metrics at their model, and
//! metrics without `type_params`. They are brought to the form that has a block for each.

use serde_json::{Map, Value as Json, json};

use crate::config::Layer;
use crate::manifest::ResourceType;
use crate::read::properties::{Patch, SemanticDef};

/// What a model says of the semantic layer: its semantic model and its metrics.
pub(super) fn of_model(patch: &Patch) -> Vec<SemanticDef> {
    let Some(said) = &patch.semantic else { return Vec::new() };
    let part = |key: &str| said.get(key).filter(|value| !value.is_null());
    let declared = match part("semantic_model") {
        Some(Json::Bool(true)) => Some(Map::new()),
        Some(Json::Object(map)) => Some(map.clone()),
        _ => None,
    };
    let own_name = declared.as_ref().and_then(|map| map.get("name")?.as_str());
    let name = own_name.unwrap_or(&patch.name).to_owned();
    let time = part("agg_time_dimension").cloned().unwrap_or_default();
    let mut found = Vec::new();
    if let Some(declared) = declared {
        let mut config = Layer::default();
        for key in ["enabled", "group"] {
            if let Some(value) = declared.get(key).filter(|value| !value.is_null()) {
                config.set(key, value.clone(), None);
            }
        }
        if let Some(meta) = declared.get("config").and_then(|config| config.get("meta")) {
            config.set("meta", meta.clone(), None);
        }
        let reference = format!("ref('{}')", patch.name);
        let derived = part("derived_semantics");
        let of = |key: &str| derived.and_then(|derived| derived.get(key)?.as_array());
        let mut dimensions: Vec<Json> = columns(said).filter_map(dimension_of).collect();
        dimensions.extend(of("dimensions").into_iter().flatten().map(derived_dimension));
        let mut entities: Vec<Json> = columns(said).filter_map(entity_of).collect();
        entities.extend(of("entities").into_iter().flatten().map(derived_entity));
        let values = json!({
            "name": name,
            "model": reference,
            "description": patch.description,
            "defaults": {"agg_time_dimension": time},
            "primary_entity": part("primary_entity"),
            "entities": entities,
            "dimensions": dimensions,
        });
        found.push(SemanticDef {
            kind: ResourceType::SemanticModel,
            name: name.clone(),
            values: object(values),
            model: Some((reference, patch.position.clone())),
            config,
            position: patch.position.clone(),
        });
    }
    for metric in part("metrics").and_then(Json::as_array).into_iter().flatten() {
        let Some(written) = metric.as_object() else { continue };
        let Some(metric_name) = written.get("name").and_then(Json::as_str) else { continue };
        let mut config = Layer::default();
        for (key, value) in written.get("config").and_then(Json::as_object).into_iter().flatten() {
            config.set(key, value.clone(), None);
        }
        found.push(SemanticDef {
            kind: ResourceType::Metric,
            name: metric_name.to_owned(),
            values: metric_values(written, Some((&name, &time))),
            model: None,
            config,
            position: patch.position.clone(),
        });
    }
    found
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

/// A metric without `type_params`, with them. `model`: the semantic model at which it stands, and
/// that model's time.
pub(super) fn metric_values(
    written: &Map<String, Json>,
    model: Option<(&str, &Json)>,
) -> Map<String, Json> {
    if written.contains_key("type_params") {
        return written.clone();
    }
    let part = |key: &str| written.get(key).cloned().unwrap_or_default();
    let kind = part("type").as_str().unwrap_or_default().to_lowercase();
    let aggregation = match (written.get("agg").and_then(Json::as_str), model) {
        (Some(agg), Some((model, time))) => {
            let percentile = part("percentile_type").as_str().unwrap_or_default().to_lowercase();
            let own = part("agg_time_dimension");
            json!({
                "semantic_model": model,
                "agg": agg.to_lowercase(),
                "agg_params": {
                    "percentile": part("percentile"),
                    "use_discrete_percentile": percentile == "discrete",
                    "use_approximate_percentile": percentile == "continuous",
                },
                "agg_time_dimension": if own.is_null() { time.clone() } else { own },
                "non_additive_dimension": match written.get("non_additive_dimension") {
                    Some(Json::Object(map)) => json!({
                        "name": map.get("name"),
                        "window_choice": map.get("window_agg"),
                        "window_groupings": map.get("group_by").cloned().unwrap_or_else(|| json!([])),
                    }),
                    _ => Json::Null,
                },
            })
        }
        _ => Json::Null,
    };
    let conversion = (kind == "conversion").then(|| {
        json!({
            "entity": part("entity"),
            "base_metric": part("base_metric"),
            "conversion_metric": part("conversion_metric"),
            "calculation": part("calculation"),
            "window": part("window"),
            "constant_properties": part("constant_properties"),
        })
    });
    let cumulative = (kind == "cumulative").then(|| {
        json!({
            "window": part("window"),
            "grain_to_date": part("grain_to_date"),
            "period_agg": part("period_agg"),
            "metric": part("input_metric"),
        })
    });
    let label = match part("label") {
        Json::Null => part("name"),
        label => label,
    };
    object(json!({
        "name": part("name"),
        "description": part("description"),
        "label": label,
        "type": kind,
        "filter": part("filter"),
        "time_granularity": part("time_granularity"),
        "type_params": {
            "numerator": part("numerator"),
            "denominator": part("denominator"),
            "expr": part("expr"),
            "metrics": part("input_metrics"),
            "conversion_type_params": conversion,
            "cumulative_type_params": cumulative,
            "metric_aggregation_params": aggregation,
            "join_to_timespine": part("join_to_timespine"),
            "is_private": part("hidden").as_bool().unwrap_or(false),
        },
    }))
}

fn columns(said: &Map<String, Json>) -> impl Iterator<Item = &Json> {
    said.get("columns").and_then(Json::as_array).into_iter().flatten()
}

/// The free data of a column, and that of what it is.
fn meta(parts: &[&Json]) -> Json {
    let mut all = Map::new();
    for part in parts {
        let found = part.get("config").and_then(|config| config.get("meta"));
        all.extend(found.and_then(Json::as_object).cloned().unwrap_or_default());
    }
    json!({"meta": all})
}

fn dimension_of(column: &Json) -> Option<Json> {
    let name = column.get("name")?;
    Some(match column.get("dimension")? {
        Json::String(kind) => json!({
            "name": name, "type": kind, "description": text(column), "config": meta(&[column]),
        }),
        Json::Object(map) => {
            let said = Json::Object(map.clone());
            let own = map.get("name").filter(|own| !own.is_null()).unwrap_or(name);
            let granularity = column.get("granularity").filter(|value| !value.is_null());
            let description = map.get("description").filter(|text| !text.is_null());
            json!({
                "name": own,
                "type": map.get("type"),
                "description": description.cloned().unwrap_or_else(|| text(column)),
                "label": map.get("label"),
                "is_partition": map.get("is_partition"),
                "type_params": granularity.map(|granularity| json!({
                    "time_granularity": granularity, "validity_params": map.get("validity_params"),
                })),
                "expr": (own != name).then_some(name),
                "config": meta(&[column, &said]),
            })
        }
        _ => return None,
    })
}

fn derived_dimension(said: &Json) -> Json {
    let granularity = said.get("granularity").filter(|value| !value.is_null());
    json!({
        "name": said.get("name"),
        "type": said.get("type"),
        "description": said.get("description"),
        "label": said.get("label"),
        "is_partition": said.get("is_partition"),
        "type_params": granularity.map(|granularity| json!({
            "time_granularity": granularity, "validity_params": said.get("validity_params"),
        })),
        "expr": said.get("expr"),
        "config": meta(&[said]),
    })
}

fn entity_of(column: &Json) -> Option<Json> {
    let name = column.get("name")?;
    Some(match column.get("entity")? {
        Json::String(kind) => json!({
            "name": name, "type": kind, "description": text(column), "config": meta(&[column]),
        }),
        Json::Object(map) => {
            let said = Json::Object(map.clone());
            let own = map.get("name").filter(|own| !own.is_null()).unwrap_or(name);
            let has_meta = map.get("config").and_then(|config| config.get("meta")).is_some();
            json!({
                "name": own,
                "type": map.get("type"),
                "description": map.get("description"),
                "label": map.get("label"),
                "expr": (own != name).then_some(name),
                "config": meta(&[if has_meta { &said } else { column }]),
            })
        }
        _ => return None,
    })
}

fn derived_entity(said: &Json) -> Json {
    json!({
        "name": said.get("name"),
        "type": said.get("type"),
        "description": said.get("description"),
        "label": said.get("label"),
        "expr": said.get("expr"),
        "config": meta(&[said]),
    })
}

fn text(column: &Json) -> Json {
    column.get("description").cloned().unwrap_or_else(|| "".into())
}
