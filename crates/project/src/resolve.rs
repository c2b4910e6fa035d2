//! From names to nodes: `ref` and `source`.

use std::collections::HashMap;

use tidemill_core::UniqueId;

use crate::manifest::{Manifest, Node, RefCall, ResourceType, SourceCall};
use crate::suggest::nearest;

/// Names of everything that can be referred to.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefIndex {
    nodes: HashMap<String, Vec<RefEntry>>,
    sources: HashMap<(String, String), Vec<(String, UniqueId)>>,
    disabled: HashMap<String, UniqueId>,
    disabled_sources: HashMap<(String, String), UniqueId>,
    root: String,
    /// What is in the package of the reader goes before what is in the project.
    own_first: bool,
}

#[derive(Debug, Clone)]
struct RefEntry {
    package: String,
    version: Option<String>,
    is_latest: bool,
    id: UniqueId,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// A node or source.
    Found(UniqueId),
    /// A node or source that does not take part.
    Disabled(UniqueId),
    /// Several packages have it.
    Ambiguous(Vec<UniqueId>),
    /// Nothing.
    Missing,
}

impl RefIndex {
    /// The index of a manifest's nodes and sources.
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let own_first =
            manifest.settings.flags.get("require_ref_searches_node_package_before_root");
        let mut index = RefIndex {
            root: manifest.settings.name.clone(),
            own_first: own_first.and_then(serde_json::Value::as_bool).unwrap_or(false),
            ..RefIndex::default()
        };
        for node in manifest.nodes.values().filter(|node| is_referable(node)) {
            index.nodes.entry(node.name.clone()).or_default().push(RefEntry {
                package: node.package_name.clone(),
                version: node.version.clone(),
                is_latest: node.version == node.latest_version,
                id: node.unique_id.clone(),
            });
        }
        for node in manifest.disabled.iter().filter(|node| is_referable(node)) {
            index.disabled.insert(node.name.clone(), node.unique_id.clone());
        }
        for source in manifest.sources.values() {
            index
                .sources
                .entry((source.source_name.clone(), source.name.clone()))
                .or_default()
                .push((source.package_name.clone(), source.unique_id.clone()));
        }
        for source in &manifest.disabled_sources {
            index.disabled_sources.insert(
                (source.source_name.clone(), source.name.clone()),
                source.unique_id.clone(),
            );
        }
        index
    }

    /// The packages that are searched one after the other: dbt looks into the project itself first,
    /// unless a flag says otherwise.
    fn searched<'a>(&'a self, package: &'a str) -> [&'a str; 2] {
        match self.own_first {
            true => [package, &self.root],
            false => [&self.root, package],
        }
    }

    /// The node that a `ref` in a package means.
    pub(crate) fn reference(&self, call: &RefCall, package: &str) -> Resolved {
        let empty = Vec::new();
        let entries = self.nodes.get(&call.name).unwrap_or(&empty);
        let fits = |entry: &&RefEntry| match (&call.version, &entry.version) {
            (Some(wanted), Some(version)) => wanted == version,
            (Some(_), None) => false,
            (None, Some(_)) => entry.is_latest,
            (None, None) => true,
        };
        let fitting: Vec<&RefEntry> = entries.iter().filter(fits).collect();
        let of = |package: &str| fitting.iter().find(|entry| entry.package == package);
        let found = match &call.package {
            Some(package) => of(package),
            None => self.searched(package).into_iter().find_map(of),
        };
        if let Some(entry) = found {
            return Resolved::Found(entry.id.clone());
        }
        if call.package.is_none() {
            match fitting.as_slice() {
                [] => {}
                [entry] => return Resolved::Found(entry.id.clone()),
                several => {
                    return Resolved::Ambiguous(
                        several.iter().map(|entry| entry.id.clone()).collect(),
                    );
                }
            }
        }
        match self.disabled.get(&call.name) {
            Some(id) => Resolved::Disabled(id.clone()),
            None => Resolved::Missing,
        }
    }

    /// The table that a `source` in a package means.
    pub(crate) fn source(&self, call: &SourceCall, package: &str) -> Resolved {
        let key = (call.source.clone(), call.table.clone());
        let Some(entries) = self.sources.get(&key) else {
            return match self.disabled_sources.get(&key) {
                Some(id) => Resolved::Disabled(id.clone()),
                None => Resolved::Missing,
            };
        };
        let of = |package: &str| entries.iter().find(|(owner, _)| owner == package);
        match self.searched(package).into_iter().find_map(of) {
            Some((_, id)) => Resolved::Found(id.clone()),
            None => match entries.as_slice() {
                [(_, id)] => Resolved::Found(id.clone()),
                several => Resolved::Ambiguous(several.iter().map(|(_, id)| id.clone()).collect()),
            },
        }
    }

    /// Names that `ref` knows.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The versions of a model.
    fn versions(&self, name: &str) -> Vec<&str> {
        let entries = self.nodes.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut versions: Vec<&str> =
            entries.iter().filter_map(|entry| entry.version.as_deref()).collect();
        versions.sort_by(|a, b| crate::read::properties::compare_versions(a, b));
        versions
    }
}

fn is_referable(node: &Node) -> bool {
    matches!(node.resource_type, ResourceType::Model | ResourceType::Seed | ResourceType::Snapshot)
}

fn written(call: &RefCall) -> String {
    match (&call.package, &call.version) {
        (Some(package), _) => format!("{package}.{}", call.name),
        (None, Some(version)) => format!("{} (version {version})", call.name),
        (None, None) => call.name.clone(),
    }
}

/// Why a `ref` leads nowhere, as the end of a sentence (`… which does not exist`), and a hint.
pub(crate) fn describe_missing_ref(
    manifest: &Manifest,
    index: &RefIndex,
    call: &RefCall,
    resolved: &Resolved,
) -> (String, Option<String>) {
    match resolved {
        Resolved::Disabled(_) => (
            format!("`{}` is disabled", written(call)),
            Some("enable it, or take the `ref` out".to_owned()),
        ),
        Resolved::Ambiguous(ids) => (
            format!("`{}` exists in several packages", written(call)),
            Some(format!(
                "name the package: {}",
                ids.iter()
                    .filter_map(|id| manifest.nodes.get(id))
                    .map(|node| format!("`ref('{}', '{}')`", node.package_name, node.name))
                    .collect::<Vec<_>>()
                    .join(" or ")
            )),
        ),
        _ => {
            let versions = index.versions(&call.name);
            let hint = if versions.is_empty() {
                nearest(&call.name, index.names())
                    .map(|name| format!("did you mean `{name}`?"))
                    .or_else(|| source_named(manifest, &call.name))
            } else {
                Some(format!("it has the versions {}", versions.join(", ")))
            };
            (format!("`{}` does not exist", written(call)), hint)
        }
    }
}

fn source_named(manifest: &Manifest, name: &str) -> Option<String> {
    let source = manifest.sources.values().find(|source| source.name == name)?;
    Some(format!(
        "a source table has this name: `source('{}', '{}')`",
        source.source_name, source.name
    ))
}

/// Why a `source` leads nowhere, and a hint.
pub(crate) fn describe_missing_source(
    manifest: &Manifest,
    call: &SourceCall,
    resolved: &Resolved,
) -> (String, Option<String>) {
    let written = format!("{}.{}", call.source, call.table);
    match resolved {
        Resolved::Disabled(_) => (
            format!("the source `{written}` is disabled"),
            Some("enable it, or take the `source` out".to_owned()),
        ),
        Resolved::Ambiguous(_) => {
            (format!("the source `{written}` exists in several packages"), None)
        }
        _ => {
            let tables: Vec<&str> = manifest
                .sources
                .values()
                .filter(|source| source.source_name == call.source)
                .map(|source| source.name.as_str())
                .collect();
            let hint = if tables.is_empty() {
                nearest(
                    &call.source,
                    manifest.sources.values().map(|source| source.source_name.as_str()),
                )
                .map(|name| format!("did you mean the source `{name}`?"))
                .or_else(|| {
                    Some("declare it under `sources:` in a YAML file of the models".to_owned())
                })
            } else {
                match nearest(&call.table, tables.iter().copied()) {
                    Some(name) => Some(format!("did you mean `{}.{name}`?", call.source)),
                    None => Some(format!("`{}` has the tables {}", call.source, tables.join(", "))),
                }
            };
            (format!("the source `{written}` does not exist"), hint)
        }
    }
}
