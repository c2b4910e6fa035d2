//! The config trees of `dbt_project.yml`: `models: {package: {folder: {+key: value}}}`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::config::Layer;
use crate::file::SourceFile;
use crate::yaml::Yaml;

/// Which parts of the trees apply to something (where their keys stand).
pub(super) type Used = HashSet<usize>;

/// The settings that apply to a node, from the root of the tree down.
pub(super) fn layer(
    tree: Option<&Yaml>,
    fqn: &[String],
    file: &SourceFile,
    used: &mut Used,
) -> Layer {
    let mut merged = Layer::default();
    let Some(mut level) = tree else { return merged };
    merged.apply(&of_level(level, file));
    for part in fqn {
        let Some(entry) = level.entry(part).filter(|entry| entry.value.is_map()) else { break };
        used.insert(entry.key_start);
        level = &entry.value;
        merged.apply(&of_level(level, file));
    }
    merged
}

fn of_level(level: &Yaml, file: &SourceFile) -> Layer {
    let mut layer = Layer::default();
    for entry in level.entries() {
        let position = || Some(entry.value.position(file));
        match entry.key.strip_prefix('+') {
            Some(key) => layer.set(key.trim(), entry.value.to_json(), position()),
            None if !entry.value.is_map() => {
                layer.set(&entry.key, entry.value.to_json(), position());
            }
            None => {}
        }
    }
    layer
}

/// The settings that apply to a node, as written: each level replaces what stands below it.
pub(super) fn unrendered(tree: Option<&Yaml>, fqn: &[String]) -> Map<String, Value> {
    let mut all = Map::new();
    let Some(mut level) = tree else { return all };
    let mut add = |level: &Yaml| {
        for entry in level.entries() {
            match entry.key.strip_prefix('+') {
                Some(key) => {
                    all.insert(key.trim().to_owned(), entry.value.to_json());
                }
                None if !entry.value.is_map() => {
                    all.insert(entry.key.clone(), entry.value.to_json());
                }
                None => {}
            }
        }
    };
    add(level);
    for part in fqn {
        let Some(entry) = level.entry(part).filter(|entry| entry.value.is_map()) else { break };
        level = &entry.value;
        add(level);
    }
    all
}

/// Paths of a tree that apply to nothing, with the place of their last key.
pub(super) fn unused(tree: &Yaml, used: &Used) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    collect(tree, "", used, &mut found);
    found
}

fn collect(level: &Yaml, path: &str, used: &Used, found: &mut Vec<(String, usize, usize)>) {
    for entry in level.entries() {
        if entry.key.starts_with('+') || !entry.value.is_map() {
            continue;
        }
        let path =
            if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        if used.contains(&entry.key_start) {
            collect(&entry.value, &path, used, found);
        } else {
            found.push((path, entry.key_start, entry.key_end));
        }
    }
}
