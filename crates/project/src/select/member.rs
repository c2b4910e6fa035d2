//! Everything that can be selected, in one shape.

use serde_json::{Map, Value};
use tidemill_core::UniqueId;

use crate::manifest::{Manifest, ResourceType};

/// A node, source, exposure, metric or another resource of the graph.
pub(super) struct Member<'a> {
    pub(super) id: &'a UniqueId,
    pub(super) kind: ResourceType,
    pub(super) name: &'a str,
    pub(super) package: &'a str,
    /// The file, relative to its package.
    pub(super) file: &'a str,
    /// The YAML file that describes it: `PACKAGE://models/schema.yml`.
    pub(super) patch: Option<&'a str>,
    pub(super) fqn: &'a [String],
    pub(super) versioned: bool,
    pub(super) tags: &'a [String],
    pub(super) config: &'a Map<String, Value>,
    pub(super) group: Option<&'a str>,
}

/// All of them, in the order of the manifest.
pub(super) fn members(manifest: &Manifest) -> impl Iterator<Item = Member<'_>> {
    let nodes = manifest.nodes.values().map(|node| Member {
        id: &node.unique_id,
        kind: node.resource_type,
        name: &node.name,
        package: &node.package_name,
        file: &node.original_file_path,
        patch: node.patch_path.as_deref(),
        fqn: &node.fqn,
        versioned: node.version.is_some() && node.resource_type == ResourceType::Model,
        tags: &node.tags,
        config: &node.config.all,
        group: node.config.group.as_deref(),
    });
    let sources = manifest.sources.values().map(|source| Member {
        id: &source.unique_id,
        kind: ResourceType::Source,
        name: &source.name,
        package: &source.package_name,
        file: &source.original_file_path,
        patch: None,
        fqn: &source.fqn,
        versioned: false,
        tags: &source.tags,
        config: &source.config,
        group: None,
    });
    let exposures = manifest.exposures.values().map(|exposure| Member {
        id: &exposure.unique_id,
        kind: ResourceType::Exposure,
        name: &exposure.name,
        package: &exposure.package_name,
        file: &exposure.original_file_path,
        patch: None,
        fqn: &exposure.fqn,
        versioned: false,
        tags: &exposure.tags,
        config: &exposure.config,
        group: None,
    });
    let semantics = manifest.semantics.values().map(|node| Member {
        id: &node.unique_id,
        kind: node.resource_type,
        name: &node.name,
        package: &node.package_name,
        file: &node.original_file_path,
        patch: None,
        fqn: &node.fqn,
        versioned: false,
        tags: &node.tags,
        config: &node.config,
        group: node.group.as_deref(),
    });
    nodes.chain(sources).chain(exposures).chain(semantics)
}

/// What an id is.
pub(super) fn kind_of(manifest: &Manifest, id: &UniqueId) -> ResourceType {
    if let Some(node) = manifest.nodes.get(id) {
        return node.resource_type;
    }
    if manifest.sources.contains_key(id) {
        return ResourceType::Source;
    }
    match manifest.semantics.get(id) {
        Some(node) => node.resource_type,
        None => ResourceType::Exposure,
    }
}

impl Member<'_> {
    /// Whether it has a row of its own in dbt's `manifest.nodes`.
    pub(super) fn is_node(&self) -> bool {
        !matches!(
            self.kind,
            ResourceType::Source
                | ResourceType::Exposure
                | ResourceType::Metric
                | ResourceType::SemanticModel
                | ResourceType::SavedQuery
                | ResourceType::UnitTest
        )
    }
}
