//! Hooks of the whole run as nodes of the manifest: dbt's operations.

use serde_json::{Value, json};
use tidemill_core::UniqueId;
use tidemill_jinja::{Source, Template};

use crate::manifest::{Manifest, ResourceType};
use crate::settings::Hook;

/// Every hook of the run with its unique id, in dbt's shape.
pub(crate) fn operations(manifest: &Manifest, created_at: f64) -> Vec<(String, Value)> {
    let of = |hooks: &[Hook], when: &str| -> Vec<(String, Value)> {
        hooks.iter().map(|hook| operation(manifest, hook, when, created_at)).collect()
    };
    let mut all = of(&manifest.on_run_start, "on-run-start");
    all.extend(of(&manifest.on_run_end, "on-run-end"));
    all
}

/// A hook of the run as `manifest.json` has it, by its id.
pub fn operation_json(manifest: &Manifest, id: &UniqueId) -> Option<Value> {
    let found = operations(manifest, 0.0).into_iter().find(|(known, _)| known == id.as_str());
    found.map(|(_, value)| value)
}

/// What the text of a hook names without being rendered.
struct Named {
    refs: Vec<Value>,
    sources: Vec<Value>,
    nodes: Vec<UniqueId>,
    macros: Vec<String>,
}

fn named(manifest: &Manifest, hook: &Hook) -> Named {
    let mut named =
        Named { refs: Vec::new(), sources: Vec::new(), nodes: Vec::new(), macros: Vec::new() };
    // What is wrong with it is told when it is performed.
    let Ok(template) = Template::parse(&Source::new("hook.sql", hook.sql.as_str())) else {
        return named;
    };
    for call in template.static_calls().calls {
        let texts = call.strings().unwrap_or_default();
        match (&*call.function, texts.as_slice()) {
            ("ref", [.., name]) => {
                let package = (texts.len() > 1).then(|| texts[0]);
                let version = call.keyword("version").or_else(|| call.keyword("v"));
                let version = version.and_then(|version| version.to_json().ok());
                named.refs.push(json!({"name": name, "package": package, "version": version}));
                let version = version.as_ref().map(|version| match version.as_str() {
                    Some(text) => text.to_owned(),
                    None => version.to_string(),
                });
                let found = manifest.nodes.values().find(|node| {
                    node.name == *name
                        && matches!(
                            node.resource_type,
                            ResourceType::Model | ResourceType::Seed | ResourceType::Snapshot
                        )
                        && package.is_none_or(|package| node.package_name == package)
                        && match &version {
                            Some(version) => node.version.as_ref() == Some(version),
                            None => node.version == node.latest_version,
                        }
                });
                named.nodes.extend(found.map(|node| node.unique_id.clone()));
            }
            ("source", [source, table]) => {
                named.sources.push(json!([source, table]));
                let found = manifest
                    .sources
                    .values()
                    .find(|known| known.source_name == *source && known.name == *table);
                named.nodes.extend(found.map(|source| source.unique_id.clone()));
            }
            _ => {}
        }
    }
    let built_in = crate::macros::built_in();
    let is_there = |id: &String| {
        manifest.macros.contains_key(id) || built_in.iter().any(|node| node.unique_id == *id)
    };
    for call in template.macro_calls().into_iter().filter(|call| !call.dispatched) {
        let packages = match &call.package {
            Some(package) => vec![&**package],
            None => vec![hook.package.as_str(), &manifest.settings.name, crate::macros::INTERNAL],
        };
        let ids = packages.into_iter().map(|package| format!("macro.{package}.{}", call.name));
        named.macros.extend(ids.into_iter().find(is_there));
    }
    let mut seen = std::collections::HashSet::new();
    named.macros.retain(|id| seen.insert(id.clone()));
    let mut seen = std::collections::HashSet::new();
    named.nodes.retain(|id| seen.insert(id.clone()));
    named
}

/// The hooks of the run with what they read.
pub(crate) fn reads(manifest: &Manifest) -> Vec<(String, Vec<UniqueId>)> {
    let of = |hooks: &[Hook], when: &'static str| -> Vec<(String, Vec<UniqueId>)> {
        hooks.iter().map(|hook| (identity(hook, when).1, named(manifest, hook).nodes)).collect()
    };
    let mut all = of(&manifest.on_run_start, "on-run-start");
    all.extend(of(&manifest.on_run_end, "on-run-end"));
    all
}

/// The name and the id of an operation.
fn identity(hook: &Hook, when: &str) -> (String, String) {
    let package = &hook.package;
    let name = format!("{package}-{when}-{}", hook.index.unwrap_or(0));
    let id = format!("operation.{package}.{name}");
    (name, id)
}

fn operation(manifest: &Manifest, hook: &Hook, when: &str, created_at: f64) -> (String, Value) {
    let package = &hook.package;
    let index = hook.index.unwrap_or(0);
    let (name, id) = identity(hook, when);
    let named = named(manifest, hook);
    // As in dbt: of the file that the hook stands in.
    let checksum = manifest
        .project_checksums
        .get(package)
        .cloned()
        .unwrap_or_else(|| crate::load::files::text_checksum(&hook.sql));
    let value = json!({
        "database": manifest.target.database,
        "schema": manifest.target.schema,
        "name": name,
        "resource_type": "operation",
        "package_name": package,
        "path": format!("hooks/{name}.sql"),
        "original_file_path": "./dbt_project.yml",
        "unique_id": id,
        "fqn": [package, "hooks", name],
        "alias": name,
        "checksum": {"name": "sha256", "checksum": checksum},
        "config": crate::config::known(ResourceType::Operation),
        "tags": [when],
        "description": "",
        "columns": {},
        "meta": {},
        "group": null,
        "docs": {"show": true, "node_color": null},
        "patch_path": null,
        "build_path": null,
        "unrendered_config": {},
        "created_at": created_at,
        "relation_name": null,
        "raw_code": hook.sql,
        "doc_blocks": [],
        "language": "sql",
        "refs": named.refs,
        "sources": named.sources,
        "metrics": [],
        "functions": [],
        "depends_on": {"macros": named.macros, "nodes": named.nodes},
        "compiled_path": null,
        "contract": {"enforced": false, "alias_types": true, "checksum": null},
        "index": index,
    });
    (id, value)
}
