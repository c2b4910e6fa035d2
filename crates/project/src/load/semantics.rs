//! Metrics, semantic models and saved queries: who reads whom.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};
use tidemill_core::{Diagnostic, UniqueId};

use super::nodes::{Builder, Places, Said, tree_key};
use super::semantic_yaml;
use crate::config;
use crate::manifest::{Manifest, ResourceType, SemanticNode};
use crate::read::properties::SemanticDef;
use crate::read::walk::folders;

impl Builder<'_> {
    pub(super) fn semantic(&mut self, said: &Said, def: &SemanticDef) {
        let values = match def.kind {
            ResourceType::Metric => semantic_yaml::metric_values(&def.values, None),
            _ => def.values.clone(),
        };
        let package = &said.package;
        let mut fqn = vec![package.name.clone()];
        fqn.extend(folders(&said.relative).map(str::to_owned));
        fqn.push(def.name.clone());
        let key = tree_key(def.kind);
        let mut merged = self.tree_layer(key, package, &fqn);
        merged.apply(&def.config);
        merged.apply(&self.root_layer(key, package, &fqn));
        let (config, problems) = config::typed(def.kind, &merged);
        let what = format!("{} `{}`", def.kind.as_str().replace('_', " "), def.name);
        self.config_problems(&what, &problems, &merged, &def.position);
        if !config.enabled {
            return;
        }
        let unique_id = UniqueId::new(format!("{}.{}.{}", def.kind, package.name, def.name));
        let mut refs = Vec::new();
        if let Some((text, place)) = &def.model {
            match self.noted(&package.name, &unique_id, &def.name, text) {
                Ok((found, _)) => {
                    let places = found.iter().map(|_| Some(place.clone())).collect();
                    let places = Places { refs: places, sources: Vec::new() };
                    self.places.insert(unique_id.clone(), places);
                    refs = found;
                }
                Err(error) => self.diagnostics.push(
                    Diagnostic::error("jinja", error.message().to_owned())
                        .at(place.clone())
                        .hint("write `model: ref('name')`"),
                ),
            }
        }
        // As in dbt, the labels of a metric stand beside its `config`.
        let mut tags = match (def.kind, values.get("tags")) {
            (ResourceType::Metric, Some(Json::String(tag))) => vec![tag.clone()],
            (ResourceType::Metric, Some(Json::Array(tags))) => {
                tags.iter().filter_map(|tag| Some(tag.as_str()?.to_owned())).collect()
            }
            (ResourceType::SavedQuery, _) => config.tags.clone(),
            _ => Vec::new(),
        };
        tags.sort();
        tags.dedup();
        let node = SemanticNode {
            unique_id: unique_id.clone(),
            resource_type: def.kind,
            name: def.name.clone(),
            package_name: package.name.clone(),
            original_file_path: said.original.clone(),
            fqn: fqn.clone(),
            tags,
            meta: config.meta.clone(),
            group: config.group.clone(),
            config: config.all.clone(),
            unrendered_config: self.unrendered(key, package, &fqn, [&def.config.values]),
            refs,
            depends_on: Vec::new(),
            values,
            position: def.position.clone(),
        };
        if self.manifest.semantics.contains_key(&unique_id) {
            self.diagnostics.push(
                Diagnostic::error("duplicate-name", format!("{what} is declared twice"))
                    .at(def.position.clone()),
            );
            return;
        }
        self.manifest.semantics.insert(unique_id, node);
        if def.kind == ResourceType::SemanticModel {
            for measure in list(&def.values, "measures") {
                if measure.get("create_metric").and_then(Json::as_bool) == Some(true) {
                    self.metric_of(said, def, measure);
                }
            }
        }
    }

    /// The metric that a measure with `create_metric: true` asks for.
    fn metric_of(&mut self, said: &Said, model: &SemanticDef, measure: &Json) {
        let text = |key: &str| measure.get(key).and_then(Json::as_str);
        let Some(name) = text("name") else { return };
        let expression = match measure.get("expr") {
            None | Some(Json::Null) => name.to_owned(),
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let description = text("description").filter(|text| !text.is_empty());
        let description = description
            .map_or_else(|| format!("Metric created from measure {name}"), str::to_owned);
        let values = json!({
            "name": name,
            "label": text("label").unwrap_or(name),
            "description": description,
            "type": "simple",
            "type_params": {"measure": name, "expr": expression},
        });
        let Json::Object(values) = values else { return };
        let mut config = config::Layer::default();
        if let Some(meta) = model.config.values.get("meta") {
            config.set("meta", meta.clone(), None);
        }
        let metric = SemanticDef {
            kind: ResourceType::Metric,
            name: name.to_owned(),
            values,
            model: None,
            config,
            position: model.position.clone(),
        };
        self.semantic(said, &metric);
    }
}

/// What metrics and saved queries are made of: semantic models by their measures, metrics by
/// their names. A name that leads nowhere is left out: the semantic layer itself reports it.
pub(super) fn edges(manifest: &Manifest) -> HashMap<UniqueId, Vec<UniqueId>> {
    let mut measures: HashMap<&str, &UniqueId> = HashMap::new();
    let mut metrics: HashMap<&str, &UniqueId> = HashMap::new();
    for node in manifest.semantics.values() {
        match node.resource_type {
            ResourceType::SemanticModel => {
                for measure in list(&node.values, "measures") {
                    if let Some(name) = name_of(measure) {
                        measures.insert(name, &node.unique_id);
                    }
                }
            }
            ResourceType::Metric => {
                metrics.insert(&node.name, &node.unique_id);
            }
            _ => {}
        }
    }
    let models: HashMap<&str, &UniqueId> = manifest
        .semantics
        .values()
        .filter(|node| node.resource_type == ResourceType::SemanticModel)
        .map(|node| (node.name.as_str(), &node.unique_id))
        .collect();
    let mut edges = HashMap::new();
    for node in manifest.semantics.values() {
        let mut found: Vec<UniqueId> = Vec::new();
        let mut add = |id: Option<&&UniqueId>| {
            if let Some(id) = id
                && !found.contains(id)
            {
                found.push((*id).clone());
            }
        };
        let empty = Map::new();
        match node.resource_type {
            ResourceType::Metric => {
                let parameters = object(&node.values, "type_params").unwrap_or(&empty);
                for key in ["measure", "base_measure", "conversion_measure"] {
                    add(parameters.get(key).and_then(name_of).and_then(|name| measures.get(name)));
                }
                if let Some(conversion) = object(parameters, "conversion_type_params") {
                    for key in ["base_measure", "conversion_measure"] {
                        add(conversion
                            .get(key)
                            .and_then(name_of)
                            .and_then(|name| measures.get(name)));
                    }
                }
                if let Some(aggregation) = object(parameters, "metric_aggregation_params") {
                    let model = aggregation.get("semantic_model").and_then(Json::as_str);
                    add(model.and_then(|model| models.get(model)));
                }
                if let Some(conversion) = object(parameters, "conversion_type_params") {
                    for key in ["base_metric", "conversion_metric"] {
                        let name = conversion.get(key).and_then(name_of);
                        add(name.and_then(|name| metrics.get(name)));
                    }
                }
                for key in ["numerator", "denominator"] {
                    add(parameters.get(key).and_then(name_of).and_then(|name| metrics.get(name)));
                }
                for metric in list(parameters, "metrics") {
                    add(name_of(metric).and_then(|name| metrics.get(name)));
                }
                if let Some(cumulative) = object(parameters, "cumulative_type_params") {
                    add(cumulative
                        .get("metric")
                        .and_then(name_of)
                        .and_then(|name| metrics.get(name)));
                }
            }
            ResourceType::SavedQuery => {
                let query = object(&node.values, "query_params").unwrap_or(&empty);
                for metric in list(query, "metrics") {
                    add(name_of(metric).and_then(|name| metrics.get(name)));
                }
            }
            _ => {}
        }
        edges.insert(node.unique_id.clone(), found);
    }
    edges
}

fn list<'a>(map: &'a Map<String, Json>, key: &str) -> &'a [Json] {
    map.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn object<'a>(map: &'a Map<String, Json>, key: &str) -> Option<&'a Map<String, Json>> {
    map.get(key).and_then(Json::as_object)
}

/// A name, or `{name: ...}`.
fn name_of(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value.get("name")?.as_str())
}
