//! The same project read by dbt-core 1.11 (checksums: 1.12): names, ids, places, configuration, edges.
//! `shop.expected.json` is taken from dbt's own manifest of `tests/projects/shop`.

use serde_json::{Value, json};
use tidemill_project::{ManifestMeta, Project, write_manifest};

use crate::harness::{committed, options};

fn expected() -> Value {
    let text = std::fs::read_to_string(committed("shop.expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ours() -> Value {
    let (project, warnings) = Project::load(&committed("shop"), &options()).unwrap();
    let texts: Vec<String> = warnings.iter().map(|warning| warning.message.clone()).collect();
    assert_eq!(
        texts,
        [
            "there is no `profiles.yml` with the profile `shop` that dbt_project.yml names; the lake \
             is the folder `lake` of the project",
            "`tags` of model `stg_customers` stands outside of `config`"
        ]
    );
    written(&project, &ManifestMeta::default())
}

fn written(project: &Project, meta: &ManifestMeta) -> Value {
    let mut text = Vec::new();
    write_manifest(project.manifest(), meta, &mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn what_was_compiled_stands_in_the_manifest() {
    let (project, _) = Project::load(&committed("shop"), &options()).unwrap();
    let nodes = &project.manifest().nodes;
    let model = nodes.values().find(|node| node.name == "orders").unwrap().unique_id.clone();
    let meta = ManifestMeta {
        generated_at: "2026-01-01T00:00:00Z".to_owned(),
        compiled: [(model.clone(), "select 1".to_owned())].into_iter().collect(),
        ..ManifestMeta::default()
    };
    let written = written(&project, &meta);
    let written_nodes = written["nodes"].as_object().unwrap();
    let operations = |id: &&String| !id.starts_with("operation.");
    let idle = project.manifest().idle.iter().map(|node| node.unique_id.as_str());
    assert!(
        written_nodes.keys().filter(operations).eq(nodes.keys().map(|id| id.as_str()).chain(idle)),
        "each node once, in order"
    );
    assert_eq!(written["nodes"][model.as_str()]["compiled_code"], "select 1");
    assert_eq!(written["nodes"][model.as_str()]["created_at"], 1_767_225_600.0);
}

#[test]
fn every_node_is_what_dbt_makes_of_it() {
    let (expected, ours) = (expected(), ours());
    let nodes = expected["nodes"].as_object().unwrap();
    let mut differences = Vec::new();
    for (id, node) in nodes {
        let Some(found) = ours["nodes"].get(id) else {
            differences.push(format!("{id} is missing"));
            continue;
        };
        for (key, value) in node.as_object().unwrap() {
            match key.as_str() {
                "config" => {
                    for (key, value) in value.as_object().unwrap() {
                        compare(
                            id,
                            &format!("config.{key}"),
                            value,
                            &found["config"][key],
                            &mut differences,
                        );
                    }
                }
                "columns" => {
                    for (column, fields) in value.as_object().unwrap() {
                        for (key, value) in fields.as_object().unwrap() {
                            let path = format!("columns.{column}.{key}");
                            compare(
                                id,
                                &path,
                                value,
                                &found["columns"][column][key],
                                &mut differences,
                            );
                        }
                    }
                }
                "checksum" => {
                    let ours = &found["checksum"]["checksum"];
                    compare(id, key, value, ours, &mut differences);
                }
                _ => compare(id, key, value, &found[key], &mut differences),
            }
        }
    }
    for id in ours["nodes"].as_object().unwrap().keys() {
        // Those were left out of what was taken from dbt.
        if !nodes.contains_key(id) && !id.starts_with("operation.") {
            differences.push(format!("{id} is not dbt's"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn compare(id: &str, path: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    let expected = sorted(path, expected);
    let found = sorted(path, found);
    if expected != found {
        differences.push(format!("{id} {path}: dbt has {expected}, we have {found}"));
    }
}

/// Labels have no order.
fn sorted(path: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) if path.ends_with("tags") => {
            let mut items = items.clone();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}

#[test]
fn sources_exposures_and_edges_are_dbts() {
    let (expected, ours) = (expected(), ours());
    let mut differences = Vec::new();
    for group in ["sources", "exposures"] {
        for (id, fields) in expected[group].as_object().unwrap() {
            for (key, value) in fields.as_object().unwrap() {
                compare(id, key, value, &ours[group][id][key], &mut differences);
            }
        }
        assert_eq!(
            expected[group].as_object().unwrap().len(),
            ours[group].as_object().unwrap().len()
        );
    }
    for (id, parents) in expected["parents"].as_object().unwrap() {
        let mut found: Vec<Value> = ours["parent_map"][id].as_array().cloned().unwrap_or_default();
        found.sort_by_key(ToString::to_string);
        if *parents != Value::Array(found.clone()) {
            differences.push(format!("{id}: dbt reads {parents}, we read {}", json!(found)));
        }
    }
    let disabled: Vec<&String> = ours["disabled"].as_object().unwrap().keys().collect();
    assert_eq!(json!(disabled), expected["disabled"]);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_manifest_has_the_keys_of_version_12() {
    let ours = ours();
    let keys: Vec<&String> = ours.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "metadata",
            "nodes",
            "sources",
            "macros",
            "docs",
            "exposures",
            "metrics",
            "groups",
            "selectors",
            "disabled",
            "parent_map",
            "child_map",
            "group_map",
            "saved_queries",
            "semantic_models",
            "unit_tests",
            "functions"
        ]
    );
    assert_eq!(ours["macros"]["macro.shop.cents"]["description"], "Cents as currency.");
    assert_eq!(ours["macros"]["macro.shop.test_is_recent"]["name"], "test_is_recent");
    assert_eq!(
        ours["docs"]["doc.shop.orders"]["block_contents"],
        "One row for each *line* of an order."
    );
    assert_eq!(
        ours["nodes"]["model.shop.orders"]["relation_name"],
        "\"tidemill\".\"main\".\"order_facts\""
    );
    assert_eq!(ours["nodes"]["model.shop.stg_payments"]["relation_name"], Value::Null);
    assert_eq!(ours["groups"]["group.shop.finance"]["owner"]["name"], "Fin");
}
