//! `tidemill ls`: what a selection selects.

use anyhow::{Result, bail};
use serde_json::{Map, Value};
use tidemill_core::UniqueId;
use tidemill_project::{Manifest, ResourceType, python_json, resource_json};

use crate::args::{Format, Ls, LsOutput};
use crate::session::Session;

/// dbt's keys of `--output json`.
const KEYS: [&str; 11] = [
    "alias",
    "name",
    "package_name",
    "depends_on",
    "direct_parents",
    "tags",
    "config",
    "resource_type",
    "source_name",
    "original_file_path",
    "unique_id",
];

pub(crate) fn run(session: &Session, args: &Ls) -> Result<i32> {
    let manifest = session.manifest();
    let mut selection = session.selection(&args.selection)?;
    selection.with_empty = true;
    if !args.selection.models.is_empty() {
        // The older flag means models alone.
        if !args.selection.select.is_empty() || !args.selection.resource_type.is_empty() {
            bail!("--models goes neither with --select nor with --resource-type");
        }
        selection.resource_types = vec![ResourceType::Model];
    } else if args.selection.resource_type.iter().all(|word| word == "default") {
        selection.exclude_resource_types.push(ResourceType::Analysis);
    }
    let selected = session.select_with(selection)?;
    // As in dbt, whose every command that reads the project leaves the manifest.
    if session.global.flags.on("write_json") {
        session.write_manifest(&session.target_path(), Default::default())?;
    }
    let json = args.output == LsOutput::Json || session.global.format == Some(Format::Json);
    if selected.is_empty() {
        session.output.say("nothing is selected");
    }
    // In the order of their ids, as in dbt.
    for id in &selected {
        let line = if json {
            describe(manifest, id, &args.output_keys).map(|value| python_json(&value))
        } else {
            match args.output {
                LsOutput::Name => name(manifest, id),
                LsOutput::Path => text(manifest, id, "original_file_path"),
                _ => selector(manifest, id),
            }
        };
        if let Some(line) = line {
            session.output.data(line);
        }
    }
    Ok(0)
}

fn text(manifest: &Manifest, id: &UniqueId, key: &str) -> Option<String> {
    Some(resource_json(manifest, id)?.get(key)?.as_str()?.to_owned())
}

fn name(manifest: &Manifest, id: &UniqueId) -> Option<String> {
    match (manifest.node(id), manifest.source(id)) {
        (Some(node), _) => Some(node.search_name()),
        (None, Some(source)) => Some(format!("{}.{}", source.source_name, source.name)),
        _ => text(manifest, id, "name"),
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
        (Some(node), _) if node.unit_test.is_some() => {
            let version = node.version.as_ref().map(|version| format!("_v{version}"));
            let version = version.unwrap_or_default();
            Some(format!("unit_test:{}.{}{version}", node.package_name, node.name))
        }
        (Some(node), _) => Some(node.fqn.join(".")),
        (None, Some(source)) => {
            Some(format!("source:{}.{}.{}", source.package_name, source.source_name, source.name))
        }
        _ => {
            let part = |key| text(manifest, id, key);
            Some(format!("{}:{}.{}", part("resource_type")?, part("package_name")?, part("name")?))
        }
    }
}

fn describe(manifest: &Manifest, id: &UniqueId, keys: &[String]) -> Option<Value> {
    let Value::Object(mut all) = resource_json(manifest, id)? else { return None };
    if id.as_str().starts_with("model.") {
        let parents = manifest.parents_of(id);
        all.insert("direct_parents".to_owned(), serde_json::json!(parents));
    }
    let mut chosen = Map::new();
    if keys.is_empty() {
        chosen.extend(all.into_iter().filter(|(key, _)| KEYS.contains(&key.as_str())));
        return Some(Value::Object(chosen));
    }
    // `--output-keys "name tags"` as one word is dbt's older form.
    for key in keys.iter().flat_map(|key| key.split_whitespace()) {
        if let Some(value) = all.get(key) {
            chosen.insert(key.to_owned(), value.clone());
            continue;
        }
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| all.get(part));
        let found = parts.try_fold(first, |value, part| Some(value?.get(part))).flatten();
        if let Some(value) = found.filter(|value| !value.is_null()) {
            chosen.insert(key.to_owned(), value.clone());
        }
    }
    Some(Value::Object(chosen))
}
