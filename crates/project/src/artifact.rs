//! dbt's `manifest.json` (schema v12), and the same shapes for templates.

use std::collections::HashMap;
use std::io::Write;

use serde_json::{Map, Value, json};
use tidemill_core::UniqueId;

use crate::base::DBT_VERSION;
use crate::manifest::{
    Column, Exposure, GenericTest, Manifest, Node, RefCall, ResourceType, SourceTable, TestKind,
    TestTarget,
};
use crate::operation::operations;
use crate::render::relation::quoted;
use crate::semantic::{all_of, semantic_json};
use crate::unit_test::UnitTestSpec;

/// What the manifest's `metadata` and the nodes' compiled code come from.
#[derive(Debug, Clone, Default)]
pub struct ManifestMeta {
    /// When it is written, ISO 8601 in UTC.
    pub generated_at: String,
    /// The id of the run.
    pub invocation_id: String,
    /// When the run started, ISO 8601 in UTC.
    pub invocation_started_at: Option<String>,
    /// Compiled SQL of the nodes that were compiled.
    pub compiled: HashMap<UniqueId, String>,
    /// Custom metadata of the environment.
    pub env: Map<String, Value>,
}

/// Writes the manifest as dbt's tools read it, by several threads and without ever holding all of it
/// as values: a project of thousands of models is tens of megabytes.
///
/// # Errors
/// Those of `out`.
pub fn write_manifest(
    manifest: &Manifest,
    meta: &ManifestMeta,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let created_at = created_at(&meta.generated_at);
    let nodes: Vec<&Node> =
        manifest.nodes.values().filter(|node| node.unit_test.is_none()).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = nodes.len().div_ceil(threads).max(1);
    let parts: Vec<std::io::Result<Vec<u8>>> = std::thread::scope(|scope| {
        let running: Vec<_> = nodes
            .chunks(share)
            .map(|nodes| {
                scope.spawn(move || {
                    let mut text = Vec::new();
                    for (index, node) in nodes.iter().enumerate() {
                        if index > 0 {
                            text.push(b',');
                        }
                        serde_json::to_writer(&mut text, &node.unique_id)?;
                        text.push(b':');
                        let value = written_node(manifest, node, meta, created_at);
                        serde_json::to_writer(&mut text, &value)?;
                    }
                    Ok(text)
                })
            })
            .collect();
        let joined = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let Value::Object(document) = document(manifest, meta, created_at, Map::new()) else {
        return Ok(());
    };
    for (index, (key, value)) in document.iter().enumerate() {
        out.write_all(if index == 0 { b"{" } else { b"," })?;
        serde_json::to_writer(&mut *out, key)?;
        out.write_all(b":")?;
        if key != "nodes" {
            serde_json::to_writer(&mut *out, value)?;
            continue;
        }
        out.write_all(b"{")?;
        for (index, part) in parts.iter().enumerate() {
            let part = part.as_ref().map_err(|error| std::io::Error::other(error.to_string()))?;
            if index > 0 {
                out.write_all(b",")?;
            }
            out.write_all(part)?;
        }
        for (index, (id, value)) in operations(manifest, created_at).into_iter().enumerate() {
            if index > 0 || !nodes.is_empty() {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, &id)?;
            out.write_all(b":")?;
            serde_json::to_writer(&mut *out, &value)?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"}")
}

/// A node as the written manifest has it.
fn written_node(manifest: &Manifest, node: &Node, meta: &ManifestMeta, created_at: f64) -> Value {
    let mut value = linked_json(manifest, node);
    complete(&mut value, manifest, node, meta, created_at);
    value
}

/// The whole document around its nodes.
fn document(
    manifest: &Manifest,
    meta: &ManifestMeta,
    created_at: f64,
    nodes: Map<String, Value>,
) -> Value {
    let sources: Map<String, Value> = manifest
        .sources
        .values()
        .map(|source| {
            let mut value = source_json(source);
            set(&mut value, "created_at", created_at.into());
            (source.unique_id.to_string(), value)
        })
        .collect();
    let exposures: Map<String, Value> = manifest
        .exposures
        .values()
        .map(|exposure| {
            let mut value = exposure_json(exposure);
            set(&mut value, "created_at", created_at.into());
            (exposure.unique_id.to_string(), value)
        })
        .collect();
    let mut disabled: Map<String, Value> = Map::new();
    for node in &manifest.disabled {
        push(&mut disabled, node.unique_id.as_str(), node_json(node));
    }
    for source in &manifest.disabled_sources {
        push(&mut disabled, source.unique_id.as_str(), source_json(source));
    }
    json!({
        "metadata": {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "dbt_version": DBT_VERSION,
            "generated_at": meta.generated_at,
            "invocation_id": meta.invocation_id,
            "invocation_started_at": meta.invocation_started_at,
            "env": meta.env,
            "project_name": manifest.settings.name,
            "project_id": hash(&manifest.settings.name),
            "user_id": null,
            "send_anonymous_usage_stats": false,
            "adapter_type": "tidemill",
            "quoting": {"database": true, "schema": true, "identifier": true, "column": null},
            "run_started_at": meta.invocation_started_at,
        },
        "nodes": nodes,
        "sources": sources,
        "macros": macros_json(manifest, created_at),
        "docs": docs_json(manifest),
        "exposures": exposures,
        "metrics": all_of(manifest, ResourceType::Metric, created_at),
        "groups": groups_json(manifest),
        "selectors": selectors_json(manifest),
        "disabled": disabled,
        "parent_map": edges(manifest, &manifest.parents),
        "child_map": edges(manifest, &manifest.children),
        "group_map": group_map(manifest),
        "saved_queries": all_of(manifest, ResourceType::SavedQuery, created_at),
        "semantic_models": all_of(manifest, ResourceType::SemanticModel, created_at),
        "unit_tests": unit_tests_json(manifest, created_at),
        "functions": {},
    })
}

fn unit_tests_json(manifest: &Manifest, created_at: f64) -> Value {
    let map: Map<String, Value> = manifest
        .unit_tests()
        .map(|(node, spec)| {
            let mut value = unit_test_json(manifest, node, spec);
            set(&mut value, "created_at", created_at.into());
            (node.unique_id.to_string(), value)
        })
        .collect();
    Value::Object(map)
}

fn unit_test_json(manifest: &Manifest, node: &Node, spec: &UnitTestSpec) -> Value {
    let part = |key: &str| spec.written.get(key).cloned().unwrap_or_default();
    let model = manifest.nodes.get(&spec.model).map_or("", |model| model.name.as_str());
    // All that decides what the test says.
    let parts = ["given", "expect", "overrides", "versions"].map(part);
    json!({
                "model": model,
                "given": part("given"),
                "expect": part("expect"),
                "name": node.name,
                "resource_type": "unit_test",
                "package_name": node.package_name,
                "path": node.path,
                "original_file_path": node.original_file_path,
                "unique_id": node.unique_id,
                "fqn": node.fqn,
                "description": node.description,
                "overrides": part("overrides"),
                "depends_on": {"macros": [], "nodes": node.depends_on},
                "config": {
                    "tags": node.tags, "meta": node.meta, "enabled": true, "static_analysis": null,
                },
                "checksum": hash(&format!("{model} {}", Value::Array(parts.to_vec()))),
                "schema": node.schema,
                "versions": part("versions"),
                "version": node.version,
    })
}

/// `graph` as templates see it.
pub(crate) fn graph_json(manifest: &Manifest) -> Value {
    let nodes: Map<String, Value> = manifest
        .nodes
        .values()
        .filter(|node| node.unit_test.is_none())
        .map(|node| (node.unique_id.to_string(), linked_json(manifest, node)))
        .collect();
    let sources: Map<String, Value> = manifest
        .sources
        .values()
        .map(|source| (source.unique_id.to_string(), source_json(source)))
        .collect();
    let exposures: Map<String, Value> = manifest
        .exposures
        .values()
        .map(|exposure| (exposure.unique_id.to_string(), exposure_json(exposure)))
        .collect();
    json!({
        "nodes": nodes, "sources": sources, "exposures": exposures,
        "metrics": all_of(manifest, ResourceType::Metric, 0.0),
        "groups": groups_json(manifest),
        "semantic_models": all_of(manifest, ResourceType::SemanticModel, 0.0),
        "saved_queries": all_of(manifest, ResourceType::SavedQuery, 0.0),
    })
}

/// A node, source, exposure or another resource of the graph as `manifest.json` has it, without
/// what only a run knows.
pub fn resource_json(manifest: &Manifest, id: &UniqueId) -> Option<Value> {
    if let Some(node) = manifest.nodes.get(id) {
        return Some(match &node.unit_test {
            Some(spec) => unit_test_json(manifest, node, spec),
            None => linked_json(manifest, node),
        });
    }
    if let Some(source) = manifest.sources.get(id) {
        return Some(source_json(source));
    }
    if let Some(node) = manifest.semantics.get(id) {
        return Some(semantic_json(manifest, node));
    }
    manifest.exposures.get(id).map(exposure_json)
}

/// A node with what others say about it.
fn linked_json(manifest: &Manifest, node: &Node) -> Value {
    let mut value = node_json(node);
    if node.resource_type == ResourceType::Model {
        set(&mut value, "primary_key", json!(crate::primary_key::of(manifest, node)));
    }
    value
}

/// A node as templates (`model`, `graph.nodes`) and the manifest have it.
pub fn node_json(node: &Node) -> Value {
    let relation_name = node.is_relational().then(|| relation_name(node));
    let mut value = json!({
        "database": node.database,
        "schema": node.schema,
        "name": node.name,
        "resource_type": node.resource_type.as_str(),
        "package_name": node.package_name,
        "path": node.path,
        "original_file_path": node.original_file_path,
        "unique_id": node.unique_id,
        "fqn": node.fqn,
        "alias": node.alias,
        "checksum": {"name": checksum_name(&node.checksum), "checksum": node.checksum},
        "config": Value::Object(node.config.all.clone()),
        "tags": node.tags,
        "description": node.description,
        "columns": columns_json(node.columns.values()),
        "meta": Value::Object(node.meta.clone()),
        "group": node.group,
        "docs": {"show": true, "node_color": null},
        "patch_path": node.patch_path,
        "build_path": null,
        "unrendered_config": node.unrendered_config,
        "relation_name": relation_name,
        // dbt keeps what stands between the tags of a block, and files without white space around.
        "raw_code": match node.resource_type {
            ResourceType::Snapshot => &*node.raw_code,
            _ => node.raw_code.trim(),
        },
        "doc_blocks": [],
    });
    if node.resource_type == ResourceType::Seed {
        set(&mut value, "root_path", node.root_path.to_string_lossy().into());
        set(&mut value, "depends_on", json!({"macros": node.macros}));
        return value;
    }
    let fields = [
        ("language", Value::from(node.language)),
        ("refs", node.refs.iter().map(ref_json).collect()),
        ("sources", node.sources.iter().map(|call| json!([call.source, call.table])).collect()),
        ("metrics", json!([])),
        ("functions", json!([])),
        ("depends_on", json!({"macros": node.macros, "nodes": node.depends_on})),
        ("compiled_path", Value::Null),
        (
            "contract",
            json!({"enforced": node.config.contract_enforced, "alias_types": true, "checksum": null}),
        ),
    ];
    for (key, field) in fields {
        set(&mut value, key, field);
    }
    match &node.test {
        Some(test) => {
            if let TestKind::Generic(generic) = &test.kind {
                set(&mut value, "column_name", generic.column.clone().into());
                set(&mut value, "file_key_name", file_key(generic).into());
                // dbt names models only here.
                let attached = match &generic.target {
                    TestTarget::Ref { .. } => generic.attached.as_ref().map(UniqueId::as_str),
                    TestTarget::Source { .. } => None,
                };
                set(&mut value, "attached_node", attached.into());
                set(&mut value, "test_metadata", test_metadata(generic));
            }
        }
        None if node.resource_type == ResourceType::Model => {
            set(&mut value, "access", node.access.clone().into());
            let constraints = node.constraints.iter();
            set(&mut value, "constraints", constraints.map(|one| constraint(one, true)).collect());
            set(&mut value, "version", version_json(node.version.as_deref()));
            set(&mut value, "latest_version", version_json(node.latest_version.as_deref()));
            let property = |key: &str| node.properties.get(key).cloned().unwrap_or_default();
            let date = node.deprecation_date.as_deref().map(with_time);
            set(&mut value, "deprecation_date", date.into());
            set(&mut value, "primary_key", json!([]));
            let mut time_spine = property("time_spine");
            if let Value::Object(spine) = &mut time_spine {
                spine.entry("custom_granularities").or_insert_with(|| json!([]));
            }
            set(&mut value, "time_spine", time_spine);
        }
        None => {}
    }
    value
}

/// What a checksum is of: a large seed has its path for one.
fn checksum_name(checksum: &str) -> &'static str {
    let is_hex = checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (checksum.is_empty(), is_hex) {
        (true, _) => "none",
        (false, true) => "sha256",
        (false, false) => "path",
    }
}

fn test_metadata(generic: &GenericTest) -> Value {
    let mut kwargs = generic.arguments.clone();
    if let Some(column) = &generic.column {
        kwargs.insert("column_name".into(), column.as_str().into());
    }
    kwargs.insert("model".into(), crate::data_test::model_argument(&generic.target).into());
    json!({"name": generic.name, "kwargs": kwargs, "namespace": generic.namespace})
}

fn file_key(generic: &GenericTest) -> String {
    match &generic.target {
        TestTarget::Ref { name, .. } => {
            let folder = generic
                .attached
                .as_ref()
                .and_then(|id| id.as_str().split('.').next())
                .unwrap_or("model");
            format!("{folder}s.{name}")
        }
        TestTarget::Source { source, .. } => format!("sources.{source}"),
    }
}

/// What only the written manifest has.
fn complete(
    value: &mut Value,
    manifest: &Manifest,
    node: &Node,
    meta: &ManifestMeta,
    created_at: f64,
) {
    set(value, "created_at", created_at.into());
    if node.resource_type == ResourceType::Seed {
        return;
    }
    let compiled = meta.compiled.get(&node.unique_id);
    set(value, "compiled", compiled.is_some().into());
    if let Some(sql) = compiled {
        set(value, "compiled_code", sql.as_str().into());
        let path = format!(
            "{}/compiled/{}/{}",
            manifest.settings.target_path, node.package_name, node.original_file_path
        );
        let path = match node.test.as_ref().map(|test| &test.kind) {
            Some(TestKind::Generic(_)) => format!("{path}/{}", node.path),
            _ => path,
        };
        set(value, "compiled_path", path.into());
        set(value, "extra_ctes_injected", true.into());
        set(value, "extra_ctes", json!([]));
    }
}

fn source_json(source: &SourceTable) -> Value {
    let name = format!(
        "{}.{}.{}",
        quoted(&source.database),
        quoted(&source.schema),
        quoted(&source.identifier)
    );
    json!({
        "database": source.database,
        "schema": source.schema,
        "name": source.name,
        "resource_type": "source",
        "package_name": source.package_name,
        "path": source.original_file_path,
        "original_file_path": source.original_file_path,
        "unique_id": source.unique_id,
        "fqn": source.fqn,
        "unrendered_database": source.unrendered_database,
        "unrendered_schema": source.unrendered_schema,
        "source_name": source.source_name,
        "source_description": source.source_description,
        "loader": source.loader,
        "identifier": source.identifier,
        "quoting": {"database": null, "schema": null, "identifier": null, "column": null},
        "loaded_at_field": source.loaded_at_field,
        "loaded_at_query": source.loaded_at_query,
        "freshness": freshness_json(source.freshness.as_ref()),
        "external": null,
        "description": source.description,
        "columns": columns_json(source.columns.values()),
        "meta": source.meta,
        "source_meta": source.source_meta,
        "tags": source.tags,
        "config": source_config(source),
        "patch_path": null,
        "unrendered_config": source.unrendered_config,
        "relation_name": name,
        "doc_blocks": [],
    })
}

/// The configuration of a source with everything that dbt takes for a part of it. How it is loaded is
/// in `ingest`.
fn source_config(source: &SourceTable) -> Value {
    let mut config = source.config.clone();
    let fields = [
        ("freshness", freshness_json(source.freshness.as_ref())),
        ("loaded_at_field", source.loaded_at_field.clone().into()),
        ("loaded_at_query", source.loaded_at_query.clone().into()),
        ("meta", json!(source.meta)),
        ("tags", json!(source.tags)),
    ];
    config.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    for key in ["event_time", "static_analysis"] {
        config.entry(key).or_insert(Value::Null);
    }
    if let Some(ingest) = &source.ingest {
        config.insert("ingest".to_owned(), ingest_json(ingest));
    }
    Value::Object(config)
}

/// Every field of a freshness, as dbt fills them in.
pub(crate) fn freshness_json(freshness: Option<&Value>) -> Value {
    let after = |key: &str| match freshness.and_then(|freshness| freshness.get(key)) {
        Some(Value::Object(map)) => json!({"count": map.get("count"), "period": map.get("period")}),
        _ => json!({"count": null, "period": null}),
    };
    json!({
        "warn_after": after("warn_after"),
        "error_after": after("error_after"),
        "filter": freshness.and_then(|freshness| freshness.get("filter")),
    })
}

fn ingest_json(ingest: &crate::manifest::Ingest) -> Value {
    let mut settings = ingest.settings.clone();
    if let Some(connection) = &ingest.connection {
        settings.insert("connection".into(), connection.as_str().into());
    }
    Value::Object(settings)
}

fn exposure_json(exposure: &Exposure) -> Value {
    json!({
        "name": exposure.name,
        "resource_type": "exposure",
        "package_name": exposure.package_name,
        "path": in_its_folder(&exposure.original_file_path),
        "original_file_path": exposure.original_file_path,
        "unique_id": exposure.unique_id,
        "fqn": exposure.fqn,
        "type": exposure.kind,
        "owner": exposure.owner,
        "description": exposure.description,
        "label": exposure.label,
        "maturity": exposure.maturity,
        "meta": exposure.meta,
        "tags": exposure.tags,
        "config": exposure.config,
        "unrendered_config": exposure.unrendered_config,
        "url": exposure.url,
        "depends_on": {"macros": [], "nodes": exposure.depends_on},
        "refs": exposure.refs.iter().map(ref_json).collect::<Value>(),
        "sources": exposure.sources.iter().map(|call| json!([call.source, call.table])).collect::<Value>(),
        "metrics": [],
    })
}

/// A path from the folder (`models`) that it is in.
fn in_its_folder(path: &str) -> &str {
    path.split_once('/').map_or(path, |(_, rest)| rest)
}

fn columns_json<'a>(columns: impl Iterator<Item = &'a Column>) -> Value {
    let map: Map<String, Value> = columns
        .map(|column| {
            (
                column.name.clone(),
                json!({
                    "name": column.name,
                    "description": column.description,
                    "meta": column.meta,
                    "data_type": column.data_type,
                    "constraints": column.constraints.iter().map(|one| constraint(one, false)).collect::<Value>(),
                    "quote": column.quote,
                    "config": {"meta": column.meta, "tags": column.tags},
                    "tags": column.tags,
                    "granularity": column.granularity,
                    "dimension": of_semantics(column, column.dimension.as_ref(), true),
                    "entity": of_semantics(column, column.entity.as_ref(), false),
                    "doc_blocks": [],
                }),
            )
        })
        .collect();
    Value::Object(map)
}

/// A constraint with every field that dbt fills in.
fn constraint(written: &Value, of_model: bool) -> Value {
    let mut value = json!({
        "type": null, "name": null, "expression": null, "warn_unenforced": true,
        "warn_unsupported": true, "to": null, "to_columns": [],
    });
    if of_model {
        set(&mut value, "columns", json!([]));
    }
    for (key, field) in written.as_object().into_iter().flatten() {
        set(&mut value, key, field.clone());
    }
    value
}

/// A date as the moment that dbt makes of it.
fn with_time(date: &str) -> String {
    match chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d") {
        Ok(date) => format!("{date}T00:00:00+00:00"),
        Err(_) => date.to_owned(),
    }
}

/// What a column is to the semantic layer: a word, or every field that dbt fills in.
fn of_semantics(column: &Column, said: Option<&Value>, dimension: bool) -> Value {
    let Some(Value::Object(said)) = said else { return said.cloned().unwrap_or_default() };
    let part = |key: &str| said.get(key).filter(|value| !value.is_null()).cloned();
    let mut full = json!({
        "name": part("name").unwrap_or_else(|| column.name.as_str().into()),
        "type": part("type"),
        "description": part("description").unwrap_or_else(|| column.description.as_str().into()),
        "label": part("label"),
        "config": part("config").unwrap_or_else(|| json!({})),
    });
    if dimension {
        set(&mut full, "is_partition", part("is_partition").unwrap_or_else(|| false.into()));
        set(&mut full, "validity_params", part("validity_params").unwrap_or_default());
    }
    full
}

pub(crate) fn ref_json(call: &RefCall) -> Value {
    json!({"name": call.name, "package": call.package, "version": version_json(call.version.as_deref())})
}

/// A version that is a number is one in the manifest.
fn version_json(version: Option<&str>) -> Value {
    match version {
        None => Value::Null,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => match text.parse::<f64>() {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
        },
    }
}

fn macros_json(manifest: &Manifest, created_at: f64) -> Value {
    let map: Map<String, Value> = manifest
        .macros
        .values()
        .chain(crate::macros::built_in_nodes(manifest))
        .map(|node| {
            (
                node.unique_id.clone(),
                json!({
                    "name": node.name,
                    "resource_type": "macro",
                    "package_name": node.package_name,
                    "path": node.original_file_path,
                    "original_file_path": node.original_file_path,
                    "unique_id": node.unique_id,
                    "macro_sql": node.macro_sql,
                    "depends_on": {"macros": node.depends_on},
                    "description": node.description,
                    "meta": node.meta,
                    "docs": {"show": true, "node_color": null},
                    "config": {"meta": node.meta, "docs": {"show": true, "node_color": null}},
                    "patch_path": node.patch_path,
                    "arguments": node.arguments,
                    "created_at": created_at,
                    "supported_languages": null,
                }),
            )
        })
        .collect();
    Value::Object(map)
}

fn docs_json(manifest: &Manifest) -> Value {
    let overview = json!({
        "name": "__overview__",
        "resource_type": "doc",
        "package_name": "dbt",
        "path": "overview.md",
        "original_file_path": "docs/overview.md",
        "unique_id": "doc.dbt.__overview__",
        "block_contents": "",
    });
    let map: Map<String, Value> = manifest
        .docs
        .values()
        .map(|doc| {
            (
                doc.unique_id.clone(),
                json!({
                    "name": doc.name,
                    "resource_type": "doc",
                    "package_name": doc.package_name,
                    "path": doc.original_file_path,
                    "original_file_path": doc.original_file_path,
                    "unique_id": doc.unique_id,
                    "block_contents": doc.block_contents,
                }),
            )
        })
        .chain([("doc.dbt.__overview__".to_owned(), overview)])
        .collect();
    Value::Object(map)
}

fn groups_json(manifest: &Manifest) -> Value {
    let package = &manifest.settings.name;
    let map: Map<String, Value> = manifest
        .groups
        .iter()
        .map(|(name, group)| {
            let package = group.get("package_name").and_then(Value::as_str).unwrap_or(package);
            let unique_id = format!("group.{package}.{name}");
            let value = json!({
                "name": name,
                "resource_type": "group",
                "package_name": package,
                "path": group.get("path"),
                "original_file_path": group.get("original_file_path"),
                "unique_id": unique_id,
                "owner": group.get("owner"),
                "description": group.get("description"),
                "config": {"meta": group.get("config").and_then(|config| config.get("meta")).cloned().unwrap_or_else(|| json!({}))},
            });
            (unique_id, value)
        })
        .collect();
    Value::Object(map)
}

fn selectors_json(manifest: &Manifest) -> Value {
    manifest
        .selectors
        .iter()
        .map(|(name, selector)| (name.clone(), selector.written.clone()))
        .collect::<Map<String, Value>>()
        .into()
}

fn group_map(manifest: &Manifest) -> Value {
    let mut map = Map::new();
    for name in manifest.groups.keys() {
        map.insert(name.clone(), json!([]));
    }
    for node in manifest.nodes.values() {
        if let Some(group) = &node.group {
            push(&mut map, group, node.unique_id.as_str().into());
        }
    }
    Value::Object(map)
}

fn edges(manifest: &Manifest, map: &indexmap::IndexMap<UniqueId, Vec<UniqueId>>) -> Value {
    let mut map: Map<String, Value> =
        map.iter().map(|(id, others)| (id.to_string(), json!(others))).collect();
    for (id, _) in operations(manifest, 0.0) {
        map.insert(id, json!([]));
    }
    Value::Object(map)
}

pub(crate) fn relation_name(node: &Node) -> String {
    format!("{}.{}.{}", quoted(&node.database), quoted(&node.schema), quoted(&node.alias))
}

fn set(value: &mut Value, key: &str, field: Value) {
    if let Value::Object(map) = value {
        map.insert(key.to_owned(), field);
    }
}

fn push(map: &mut Map<String, Value>, key: &str, item: Value) {
    match map.entry(key.to_owned()).or_insert_with(|| json!([])) {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Seconds since 1970 of an ISO time.
fn created_at(text: &str) -> f64 {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.timestamp_micros() as f64 / 1e6,
        Err(_) => 0.0,
    }
}

/// The MD5 of a text, in hex.
fn hash(name: &str) -> String {
    use md5::{Digest, Md5};
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in Md5::digest(name.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
