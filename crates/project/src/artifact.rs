//! dbt's `manifest.json` (schema v12), and the same shapes for templates.

mod checksum;
mod node;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::{Map, Value, json};
use tidemill_core::UniqueId;

use crate::base::DBT_VERSION;
use crate::manifest::{Column, Exposure, Manifest, Node, RefCall, ResourceType, SourceTable};
use crate::operation::operations;
use crate::semantic::{all_of, semantic_json};
use crate::unit_test::UnitTestSpec;
use node::{Columns, MacroView, NodeView, Written};

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
    /// Nodes whose executed SQL was written.
    pub executed: HashSet<UniqueId>,
    /// The macros that nodes have called only when they were rendered to run
    /// ([`Project::late_macros`](crate::Project::late_macros)).
    pub late_macros: BTreeMap<UniqueId, Vec<String>>,
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
    let nodes: Vec<&Node> = listed(manifest).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // This thread writes the first share itself.
    let share = nodes.len().div_ceil(threads).max(1);
    let mut shares = nodes.chunks(share);
    let own = shares.next().unwrap_or_default();
    let text = |nodes: &[&Node]| nodes_text(manifest, nodes, meta, created_at);
    std::thread::scope(|scope| {
        let running: Vec<_> = shares.map(|nodes| scope.spawn(move || text(nodes))).collect();
        let mut fields = Fields { out, separator: b"{" };
        fields.put("metadata", &metadata(manifest, meta))?;
        fields.key("nodes")?;
        fields.out.write_all(b"{")?;
        let mut first = text(own)?;
        fields.out.write_all(&first)?;
        for thread in running {
            let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            fields.out.write_all(b",")?;
            fields.out.write_all(&part?)?;
        }
        let mut separator: &[u8] = if nodes.is_empty() { b"" } else { b"," };
        for (id, value) in operations(manifest, created_at) {
            first.clear();
            serde_json::to_writer(&mut first, &id)?;
            first.push(b':');
            serde_json::to_writer(&mut first, &value)?;
            fields.out.write_all(separator)?;
            fields.out.write_all(&first)?;
            separator = b",";
        }
        fields.out.write_all(b"}")?;
        others(manifest, created_at, &mut fields)?;
        fields.out.write_all(b"}")
    })
}

/// What stands under `nodes`.
fn listed(manifest: &Manifest) -> impl Iterator<Item = &Node> {
    let nodes = manifest.nodes.values().filter(|node| node.unit_test.is_none());
    nodes.chain(&manifest.idle)
}

/// The fields of the document, written one after the other.
struct Fields<'a> {
    out: &'a mut dyn Write,
    /// What stands before the next one.
    separator: &'static [u8],
}

impl Fields<'_> {
    fn key(&mut self, key: &str) -> std::io::Result<()> {
        self.out.write_all(self.separator)?;
        self.separator = b",";
        serde_json::to_writer(&mut *self.out, key)?;
        self.out.write_all(b":")
    }

    fn put(&mut self, key: &str, value: &impl Serialize) -> std::io::Result<()> {
        self.key(key)?;
        Ok(serde_json::to_writer(&mut *self.out, value)?)
    }
}

/// Nodes as the fields of an object, without its braces.
fn nodes_text(
    manifest: &Manifest,
    nodes: &[&Node],
    meta: &ManifestMeta,
    created_at: f64,
) -> std::io::Result<Vec<u8>> {
    // A node that says little has about this much.
    let mut text = Vec::with_capacity(nodes.len() * 2_048);
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &node.unique_id)?;
        text.push(b':');
        let mut view = linked(manifest, node);
        view.written = Some(Written {
            created_at,
            compiled: meta.compiled.get(&node.unique_id).map(String::as_str),
            executed: meta.executed.contains(&node.unique_id),
            late_macros: meta.late_macros.get(&node.unique_id).map_or(&[], Vec::as_slice),
            target_path: &manifest.settings.target_path,
        });
        serde_json::to_writer(&mut text, &view)?;
    }
    Ok(text)
}

fn metadata(manifest: &Manifest, meta: &ManifestMeta) -> Value {
    let [database, schema, identifier] = manifest.settings.quoted_parts();
    json!({
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
        "adapter_type": crate::world::adapter_type(&manifest.target),
        "quoting": {"database": database, "schema": schema, "identifier": identifier, "column": null},
        "run_started_at": meta.invocation_started_at,
    })
}

/// Everything behind the nodes.
fn others(manifest: &Manifest, created_at: f64, fields: &mut Fields<'_>) -> std::io::Result<()> {
    let sources = Each(|| {
        manifest.sources.values().map(|source| {
            let mut value = source_json(source);
            set_doc_blocks(&mut value, manifest, &source.unique_id);
            set(&mut value, "created_at", created_at.into());
            (&source.unique_id, value)
        })
    });
    let exposures = Each(|| {
        manifest.exposures.values().map(|exposure| {
            let mut value = exposure_json(exposure);
            set(&mut value, "created_at", created_at.into());
            (&exposure.unique_id, value)
        })
    });
    let macros = Each(|| {
        let built_in = crate::macros::built_in_nodes(manifest);
        let all = manifest.macros.values().chain(built_in);
        all.map(|node| (&node.unique_id, MacroView { node, created_at }))
    });
    let mut disabled: Map<String, Value> = Map::new();
    for node in &manifest.disabled {
        push(&mut disabled, node.unique_id.as_str(), node_json(node));
    }
    for source in &manifest.disabled_sources {
        push(&mut disabled, source.unique_id.as_str(), source_json(source));
    }
    fields.put("sources", &sources)?;
    fields.put("macros", &macros)?;
    fields.put("docs", &docs_json(manifest))?;
    fields.put("exposures", &exposures)?;
    fields.put("metrics", &all_of(manifest, ResourceType::Metric, created_at))?;
    fields.put("groups", &groups_json(manifest))?;
    fields.put("selectors", &selectors_json(manifest))?;
    fields.put("disabled", &disabled)?;
    fields.put("parent_map", &edges(manifest, &manifest.parents))?;
    fields.put("child_map", &edges(manifest, &manifest.children))?;
    fields.put("group_map", &group_map(manifest))?;
    fields.put("saved_queries", &all_of(manifest, ResourceType::SavedQuery, created_at))?;
    fields.put("semantic_models", &all_of(manifest, ResourceType::SemanticModel, created_at))?;
    fields.put("unit_tests", &unit_tests_json(manifest, created_at))?;
    fields.put("functions", &Map::new())
}

/// Entries that are made when they are written.
struct Each<F>(F);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)>, F: Fn() -> I> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
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
    let of_model = manifest.nodes.get(&spec.model);
    let model = of_model.map_or("", |model| model.name.as_str());
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
                "checksum": checksum::of_unit_test(model, &spec.written),
                "schema": of_model.map_or(&node.schema, |model| &model.schema),
                "versions": part("versions"),
                "version": node.version,
    })
}

/// `graph` as templates see it.
pub(crate) fn graph_json(manifest: &Manifest) -> Value {
    let nodes: Map<String, Value> = listed(manifest)
        .map(|node| (node.unique_id.to_string(), linked_json(manifest, node)))
        .chain(operations(manifest, 0.0))
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

/// A value as Python writes it: `{'enabled': False}`.
pub fn python_text(value: &Value) -> String {
    tidemill_jinja::Value::from(value).to_string()
}

/// JSON as Python writes it: blanks behind its separators, characters beyond ASCII escaped.
pub fn python_json(value: &Value) -> String {
    let dict = tidemill_jinja::Value::from(value);
    tidemill_jinja::to_json_text(&dict, false, None).unwrap_or_else(|_| value.to_string())
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

fn set_doc_blocks(value: &mut Value, manifest: &Manifest, id: &UniqueId) {
    for (column, blocks) in manifest.doc_blocks.of(id) {
        let described = match column {
            None => Some(&mut *value),
            Some(column) => value.get_mut("columns").and_then(|columns| columns.get_mut(column)),
        };
        if let Some(described) = described {
            set(described, "doc_blocks", json!(blocks));
        }
    }
}

/// A node with what others say about it.
fn linked<'a>(manifest: &'a Manifest, node: &'a Node) -> NodeView<'a> {
    let is_model = node.resource_type == ResourceType::Model;
    let primary_key = is_model.then(|| crate::primary_key::of(manifest, node));
    let blocks = manifest.doc_blocks.of(&node.unique_id).collect();
    NodeView { primary_key, blocks, ..NodeView::new(node) }
}

fn linked_json(manifest: &Manifest, node: &Node) -> Value {
    linked(manifest, node).to_value()
}

/// A node as templates (`model`, `graph.nodes`) and the manifest have it.
pub fn node_json(node: &Node) -> Value {
    NodeView::new(node).to_value()
}

fn source_json(source: &SourceTable) -> Value {
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
        "columns": Columns(source.columns.values(), &[]),
        "meta": source.meta,
        "source_meta": source.source_meta,
        "tags": source.tags,
        "config": source_config(source),
        "patch_path": null,
        "unrendered_config": source.unrendered_config,
        "relation_name": source.relation_name(),
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

/// Every field of a freshness, as dbt fills them in where it is not said to be none.
pub(crate) fn freshness_json(freshness: Option<&Value>) -> Value {
    if freshness.is_some_and(Value::is_null) {
        return Value::Null;
    }
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
        "owner": owner_json(&exposure.owner),
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

/// An owner with both fields that dbt fills in.
fn owner_json(owner: &Map<String, Value>) -> Value {
    let mut owner = owner.clone();
    for key in ["email", "name"] {
        owner.entry(key).or_insert(Value::Null);
    }
    Value::Object(owner)
}

/// A path from the folder (`models`) that it is in.
fn in_its_folder(path: &str) -> &str {
    path.split_once('/').map_or(path, |(_, rest)| rest)
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
                    "path": in_its_folder(&doc.original_file_path),
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
            let mut owner = group.get("owner").cloned().unwrap_or_default();
            if let Value::Object(owner) = &mut owner {
                owner.entry("name").or_insert(Value::Null);
            }
            let value = json!({
                "name": name,
                "resource_type": "group",
                "package_name": package,
                "path": group.get("path"),
                "original_file_path": group.get("original_file_path"),
                "unique_id": unique_id,
                "owner": owner,
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

/// Edges in the order of ids, as dbt has them, those of the hooks of the run and of tests that
/// nothing runs among them.
fn edges<'a>(
    manifest: &'a Manifest,
    edges: &'a indexmap::IndexMap<UniqueId, Vec<UniqueId>>,
) -> impl Serialize + 'a {
    let mut besides = crate::operation::reads(manifest);
    besides.extend(
        manifest.idle.iter().map(|node| (node.unique_id.to_string(), node.depends_on.clone())),
    );
    let is_parents = std::ptr::eq(edges, &manifest.parents);
    Each(move || {
        let sorted = |ids: &mut Vec<Cow<'a, str>>| ids.sort();
        let mut all: Vec<(Cow<'a, str>, Vec<Cow<'a, str>>)> = edges
            .iter()
            .map(|(id, others)| {
                let mut others: Vec<Cow<'a, str>> =
                    others.iter().map(|other| Cow::Borrowed(other.as_str())).collect();
                let readers = besides.iter().filter(|(_, reads)| !is_parents && reads.contains(id));
                others.extend(readers.map(|(reader, _)| Cow::Owned(reader.clone())));
                sorted(&mut others);
                (Cow::Borrowed(id.as_str()), others)
            })
            .collect();
        for (reader, reads) in &besides {
            let mut reads: Vec<Cow<'a, str>> = match is_parents {
                true => reads.iter().map(|read| Cow::Owned(read.to_string())).collect(),
                false => Vec::new(),
            };
            sorted(&mut reads);
            all.push((Cow::Owned(reader.clone()), reads));
        }
        all.into_iter()
    })
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
