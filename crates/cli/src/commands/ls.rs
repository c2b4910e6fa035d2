//! `tidemill ls`: what a selection selects.

use anyhow::Result;
use serde_json::{Map, Value, json};
use tidemill_core::UniqueId;
use tidemill_project::Manifest;

use crate::args::{Format, Ls, LsOutput};
use crate::session::Session;

/// dbt's keys of `--output json`.
const KEYS: [&str; 9] = [
    "alias",
    "name",
    "package_name",
    "depends_on",
    "tags",
    "config",
    "resource_type",
    "original_file_path",
    "unique_id",
];

pub(crate) fn run(session: &Session, args: &Ls) -> Result<i32> {
    let manifest = session.manifest();
    let selected = session.select(&args.selection)?;
    let json = args.output == LsOutput::Json || session.global.format == Some(Format::Json);
    let mut lines: Vec<String> = selected
        .iter()
        .filter_map(|id| {
            if json {
                return Some(describe(manifest, id, &args.output_keys)?.to_string());
            }
            match args.output {
                LsOutput::Name => name(manifest, id),
                LsOutput::Path => path(manifest, id),
                _ => selector(manifest, id),
            }
        })
        .collect();
    lines.sort();
    if lines.is_empty() {
        session.output.say("nothing is selected");
    }
    for line in lines {
        session.output.data(line);
    }
    Ok(0)
}

fn name(manifest: &Manifest, id: &UniqueId) -> Option<String> {
    match manifest.node(id) {
        Some(node) => Some(node.name.clone()),
        None => Some(manifest.source(id)?.name.clone()),
    }
}

fn path(manifest: &Manifest, id: &UniqueId) -> Option<String> {
    match manifest.node(id) {
        Some(node) => Some(node.original_file_path.clone()),
        None => Some(manifest.source(id)?.original_file_path.clone()),
    }
}

/// What selects this node alone, as dbt prints it: its path of names.
fn selector(manifest: &Manifest, id: &UniqueId) -> Option<String> {
    match (manifest.node(id), manifest.source(id)) {
        (Some(node), _) if node.unit_test.is_some() => {
            let version = node.version.as_ref().map(|version| format!("_v{version}"));
            let version = version.unwrap_or_default();
            Some(format!("unit_test:{}.{}{version}", node.package_name, node.name))
        }
        (Some(node), _) => Some(node.fqn.join(".")),
        (None, Some(source)) => {
            Some(format!("source:{}.{}.{}", source.package_name, source.source_name, source.name))
        }
        _ => manifest
            .exposures
            .get(id)
            .map(|exposure| format!("exposure:{}", exposure.fqn.join("."))),
    }
}

fn describe(manifest: &Manifest, id: &UniqueId, keys: &[String]) -> Option<Value> {
    let all = match (manifest.node(id), manifest.source(id)) {
        (Some(node), _) => json!({
            "alias": node.alias,
            "name": node.name,
            "package_name": node.package_name,
            "depends_on": {"nodes": node.depends_on, "macros": node.macros},
            "tags": node.tags,
            "config": node.config.all,
            "resource_type": node.resource_type.as_str(),
            "original_file_path": node.original_file_path,
            "unique_id": node.unique_id,
            "description": node.description,
            "schema": node.schema,
            "database": node.database,
            "fqn": node.fqn,
        }),
        (None, Some(source)) => json!({
            "name": source.name,
            "source_name": source.source_name,
            "package_name": source.package_name,
            "tags": source.tags,
            "config": source.config,
            "resource_type": "source",
            "original_file_path": source.original_file_path,
            "unique_id": source.unique_id,
            "description": source.description,
            "schema": source.schema,
            "database": source.database,
            "fqn": source.fqn,
        }),
        _ => return None,
    };
    let Value::Object(all) = all else { return None };
    let wanted: Vec<&str> = if keys.is_empty() {
        KEYS.to_vec()
    } else {
        // `--output-keys "name tags"` as one word is dbt's older form.
        keys.iter().flat_map(|key| key.split_whitespace()).collect()
    };
    let chosen: Map<String, Value> = wanted
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), all.get(key)?.clone())))
        .collect();
    Some(Value::Object(chosen))
}
