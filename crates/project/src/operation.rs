//! Hooks of the whole run as nodes of the manifest: dbt's operations.

use serde_json::{Value, json};

use crate::manifest::Manifest;
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

fn operation(manifest: &Manifest, hook: &Hook, when: &str, created_at: f64) -> (String, Value) {
    let package = &hook.package;
    let index = hook.index.unwrap_or(0);
    let name = format!("{package}-{when}-{index}");
    let id = format!("operation.{package}.{name}");
    let checksum = blake3::hash(hook.sql.as_bytes()).to_hex().to_string();
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
        "config": {"enabled": true, "materialized": "view", "tags": [when], "meta": {}},
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
        "refs": [],
        "sources": [],
        "metrics": [],
        "functions": [],
        "depends_on": {"macros": [], "nodes": []},
        "compiled_path": null,
        "contract": {"enforced": false, "alias_types": true, "checksum": null},
        "index": index,
    });
    (id, value)
}
