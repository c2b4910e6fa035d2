//! Edges: what each `ref` and `source` means, and whether the whole has a cycle.

use std::collections::HashMap;

use indexmap::IndexMap;
use tidemill_core::{Diagnostic, Diagnostics, RelationName, SourcePosition, UniqueId};

use super::nodes::Places;
use crate::manifest::{Manifest, RefCall, ResourceType, SourceCall};
use crate::resolve::{RefIndex, Resolved, describe_missing_ref, describe_missing_source};

/// Resolves all calls, fills parents and children, reports what leads nowhere and cycles.
pub(super) fn connect(
    manifest: &mut Manifest,
    index: &RefIndex,
    places: &HashMap<UniqueId, Places>,
    all_read: bool,
    diagnostics: &mut Diagnostics,
) {
    let none = Places::default();
    let mut edges: IndexMap<UniqueId, Vec<UniqueId>> = IndexMap::new();
    let mut lost: Vec<UniqueId> = Vec::new();
    for node in manifest.nodes.values() {
        let resolver = Resolver {
            manifest,
            index,
            all_read,
            places: places.get(&node.unique_id).unwrap_or(&none),
            package: &node.package_name,
            what: format!("{} `{}`", node.resource_type, node.name),
            is_test: matches!(node.resource_type, ResourceType::Test | ResourceType::UnitTest),
        };
        match resolver.resolve(&node.refs, &node.sources, diagnostics) {
            Some(depends_on) => {
                edges.insert(node.unique_id.clone(), depends_on);
            }
            None => lost.push(node.unique_id.clone()),
        }
    }
    for exposure in manifest.exposures.values() {
        let resolver = Resolver {
            manifest,
            index,
            all_read,
            places: places.get(&exposure.unique_id).unwrap_or(&none),
            package: &exposure.package_name,
            what: format!("exposure `{}`", exposure.name),
            is_test: false,
        };
        let depends_on =
            resolver.resolve(&exposure.refs, &exposure.sources, diagnostics).unwrap_or_default();
        edges.insert(exposure.unique_id.clone(), depends_on);
    }
    let mut semantic = super::semantics::edges(manifest);
    for node in manifest.semantics.values() {
        let resolver = Resolver {
            manifest,
            index,
            all_read,
            places: places.get(&node.unique_id).unwrap_or(&none),
            package: &node.package_name,
            what: format!("{} `{}`", node.resource_type.as_str().replace('_', " "), node.name),
            is_test: false,
        };
        let mut depends_on = resolver.resolve(&node.refs, &[], diagnostics).unwrap_or_default();
        depends_on.extend(semantic.remove(&node.unique_id).unwrap_or_default());
        edges.insert(node.unique_id.clone(), depends_on);
    }
    for (companion, source) in companions(manifest) {
        edges.insert(companion, vec![source]);
    }
    // Tests of what does not take part do not take part.
    for id in lost {
        if let Some(node) = manifest.nodes.shift_remove(&id) {
            manifest.idle.push(node);
        }
    }
    let mut idle = std::mem::take(&mut manifest.idle);
    for node in &mut idle {
        let resolver = Resolver {
            manifest,
            index,
            all_read,
            places: &none,
            package: &node.package_name,
            what: String::new(),
            is_test: true,
        };
        // What is missing was said where it is missing.
        node.depends_on = resolver.found(&node.refs, &node.sources, &mut Diagnostics::default()).0;
        node.config.enabled = false;
        node.config.all.insert("enabled".to_owned(), false.into());
    }
    manifest.idle = idle;
    let mut parents: IndexMap<UniqueId, Vec<UniqueId>> = IndexMap::new();
    let mut children: IndexMap<UniqueId, Vec<UniqueId>> = IndexMap::new();
    let ids = manifest
        .nodes
        .keys()
        .chain(manifest.sources.keys())
        .chain(manifest.exposures.keys())
        .chain(manifest.semantics.keys());
    for id in ids {
        parents.insert(id.clone(), edges.get(id).cloned().unwrap_or_default());
        children.insert(id.clone(), Vec::new());
    }
    for (id, depends_on) in &edges {
        for parent in depends_on {
            if let Some(children) = children.get_mut(parent) {
                children.push(id.clone());
            }
        }
    }
    for (id, depends_on) in edges {
        if let Some(node) = manifest.nodes.get_mut(&id) {
            node.depends_on = depends_on;
        } else if let Some(exposure) = manifest.exposures.get_mut(&id) {
            exposure.depends_on = depends_on;
        } else if let Some(node) = manifest.semantics.get_mut(&id) {
            node.depends_on = depends_on;
        }
    }
    manifest.parents = parents;
    manifest.children = children;
    for cycle in cycles(manifest) {
        report_cycle(manifest, &cycle, places, diagnostics);
    }
}

/// The sources that are there when another one was loaded, each with that one.
fn companions(manifest: &Manifest) -> Vec<(UniqueId, UniqueId)> {
    let mut owners: HashMap<RelationName, &UniqueId> = HashMap::new();
    for source in manifest.sources.values() {
        owners.extend(source.companions().into_iter().map(|name| (name, &source.unique_id)));
    }
    if owners.is_empty() {
        return Vec::new();
    }
    let others = manifest.sources.values().filter(|source| source.ingest.is_none());
    others
        .filter_map(|source| {
            let owner = *owners.get(&source.relation())?;
            Some((source.unique_id.clone(), owner.clone()))
        })
        .collect()
}

struct Resolver<'a> {
    manifest: &'a Manifest,
    index: &'a RefIndex,
    /// Whether every file of properties could be read.
    all_read: bool,
    places: &'a Places,
    package: &'a str,
    what: String,
    is_test: bool,
}

impl Resolver<'_> {
    /// What is read, each once; `None` for a test that cannot run because of what is not there.
    fn resolve(
        &self,
        refs: &[RefCall],
        sources: &[SourceCall],
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<UniqueId>> {
        let (found, complete) = self.found(refs, sources, diagnostics);
        (complete || !self.is_test).then_some(found)
    }

    /// What is read and is there, each once, and whether that is all of it.
    fn found(
        &self,
        refs: &[RefCall],
        sources: &[SourceCall],
        diagnostics: &mut Diagnostics,
    ) -> (Vec<UniqueId>, bool) {
        let mut found: Vec<UniqueId> = Vec::new();
        let mut add = |id: UniqueId| {
            if !found.contains(&id) {
                found.push(id);
            }
        };
        let mut complete = true;
        // In dbt's order.
        for (call, place) in sources.iter().zip(padded(&self.places.sources)) {
            match self.index.source(call, self.package) {
                Resolved::Found(id) => add(id),
                Resolved::Disabled(_) if self.is_test => complete = false,
                // Where a file of properties could not be read, nobody knows what it declares.
                Resolved::Missing if !self.all_read => complete = false,
                missing => {
                    complete = false;
                    let (message, hint) = describe_missing_source(self.manifest, call, &missing);
                    let label = match missing {
                        Resolved::Missing => "no source table has this name",
                        Resolved::Disabled(_) => "it is disabled",
                        _ => "several packages have one",
                    };
                    diagnostics.push(self.report("unknown-source", &message, label, place, hint));
                }
            }
        }
        for (number, (call, place)) in refs.iter().zip(padded(&self.places.refs)).enumerate() {
            if refs[..number].iter().any(|before| before.is_same(call)) {
                continue;
            }
            match self.index.reference(call, self.package) {
                Resolved::Found(id) => add(id),
                Resolved::Disabled(_) if self.is_test => complete = false,
                missing => {
                    complete = false;
                    let (message, hint) =
                        describe_missing_ref(self.manifest, self.index, call, &missing);
                    let label = match missing {
                        Resolved::Missing => "no model, seed or snapshot has this name",
                        Resolved::Disabled(_) => "it is disabled",
                        _ => "several packages have one",
                    };
                    diagnostics.push(self.report("unknown-ref", &message, label, place, hint));
                }
            }
        }
        (found, complete)
    }

    fn report(
        &self,
        code: &'static str,
        message: &str,
        label: &str,
        place: Option<&SourcePosition>,
        hint: Option<String>,
    ) -> Diagnostic {
        // "`x` does not exist" reads as "refers to `x`, which does not exist".
        let text = match message.split_once("` ") {
            Some((name, rest)) => format!("{} refers to {name}`, which {rest}", self.what),
            None => format!("{} refers to {message}", self.what),
        };
        // As in dbt: a test of what is not there is left out.
        let mut diagnostic = match self.is_test {
            true => Diagnostic::warning(code, format!("{text}; it is left out")),
            false => Diagnostic::error(code, text),
        };
        if let Some(place) = place {
            diagnostic = diagnostic.at(place.clone()).label(label);
        }
        match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}

fn padded(places: &[Option<SourcePosition>]) -> impl Iterator<Item = Option<&SourcePosition>> {
    places.iter().map(Option::as_ref).chain(std::iter::repeat(None))
}

/// Cycles, each as a path whose last node reads its first; at most one through any node.
fn cycles(manifest: &Manifest) -> Vec<Vec<UniqueId>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let mut marks: HashMap<&UniqueId, Mark> = HashMap::new();
    let mut found = Vec::new();
    for start in manifest.parents.keys() {
        if marks.contains_key(start) {
            continue;
        }
        // Depth first without recursion: the path, and how far each of its nodes is looked at.
        let mut path: Vec<(&UniqueId, usize)> = vec![(start, 0)];
        marks.insert(start, Mark::Open);
        while let Some((id, next)) = path.last_mut() {
            let id = *id;
            let parents = manifest.parents_of(id);
            let Some(parent) = parents.get(*next) else {
                marks.insert(id, Mark::Done);
                path.pop();
                continue;
            };
            *next += 1;
            match marks.get(parent) {
                Some(Mark::Done) => {}
                Some(Mark::Open) => {
                    let from = path.iter().position(|(id, _)| *id == parent).unwrap_or(0);
                    found.push(path[from..].iter().map(|(id, _)| (*id).clone()).collect());
                }
                None => {
                    marks.insert(parent, Mark::Open);
                    path.push((parent, 0));
                }
            }
        }
    }
    found
}

fn report_cycle(
    manifest: &Manifest,
    cycle: &[UniqueId],
    places: &HashMap<UniqueId, Places>,
    diagnostics: &mut Diagnostics,
) {
    // The same cycle is always told from the same node.
    let smallest = cycle.iter().enumerate().min_by_key(|(_, id)| *id).map_or(0, |(index, _)| index);
    let ids: Vec<&UniqueId> = cycle.iter().cycle().skip(smallest).take(cycle.len()).collect();
    let name = |id: &UniqueId| {
        manifest.nodes.get(id).map_or_else(|| id.to_string(), |node| node.name.clone())
    };
    let Some(first) = ids.first().copied() else { return };
    let mut path: Vec<String> = ids.iter().map(|id| format!("`{}`", name(id))).collect();
    path.push(format!("`{}`", name(first)));
    let message = if ids.len() == 1 {
        format!("{} refers to itself", path[0])
    } else {
        format!("models refer to each other in a circle: {}", path.join(" reads "))
    };
    let mut diagnostic = Diagnostic::error("cycle", message);
    let second = ids.get(1).copied().unwrap_or(first);
    if let (Some(node), Some(target)) = (manifest.nodes.get(first), manifest.nodes.get(second)) {
        let at = node.refs.iter().position(|call| call.name == target.name);
        let place = at
            .and_then(|index| places.get(first)?.refs.get(index)?.clone())
            .unwrap_or_else(|| node.position.clone());
        diagnostic = diagnostic.at(place);
    }
    diagnostics.push(diagnostic.hint(if ids.len() == 1 {
        "use `{{ this }}` for the table that the model builds"
    } else {
        "take one of these references out"
    }));
}
