//! Selecting nodes, in dbt's language.

mod grammar;
mod methods;

use std::collections::{BTreeSet, HashSet};

use tidemill_core::{Diagnostic, Diagnostics, UniqueId};

use crate::manifest::{Manifest, ResourceType};
use grammar::{Criterion, parse};

/// Which tests a selected node brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndirectSelection {
    /// Those that read any selected node.
    #[default]
    Eager,
    /// Those that read selected nodes only.
    Cautious,
    /// Those that read selected nodes and their ancestors only.
    Buildable,
    /// None.
    Empty,
}

impl IndirectSelection {
    /// Reads dbt's word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "eager" => Some(IndirectSelection::Eager),
            "cautious" => Some(IndirectSelection::Cautious),
            "buildable" => Some(IndirectSelection::Buildable),
            "empty" => Some(IndirectSelection::Empty),
            _ => None,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `--select`: each may hold several criteria; empty selects everything.
    pub select: Vec<String>,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// Only these resources; empty: all.
    pub resource_types: Vec<ResourceType>,
    /// None of these resources.
    pub exclude_resource_types: Vec<ResourceType>,
    /// Which tests come along.
    pub indirect: IndirectSelection,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// These criteria.
    pub fn of<S: Into<String>>(select: impl IntoIterator<Item = S>) -> Self {
        Selection { select: select.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// The selected nodes, sources and exposures, with warnings for criteria that match nothing. A
/// criterion that is not understood is an error.
pub fn select(
    manifest: &Manifest,
    selection: &Selection,
) -> Result<(BTreeSet<UniqueId>, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    let selector = Selector { manifest, indirect: selection.indirect };
    let included = if selection.select.is_empty() {
        everything(manifest)
    } else {
        selector.union(&selection.select, "--select", &mut diagnostics).direct
    };
    let excluded = selector.union(&selection.exclude, "--exclude", &mut diagnostics).direct;
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let mut selected: BTreeSet<UniqueId> = included.difference(&excluded).cloned().collect();
    selected.retain(|id| {
        let kind = resource_type(manifest, id);
        (selection.resource_types.is_empty() || selection.resource_types.contains(&kind))
            && !selection.exclude_resource_types.contains(&kind)
    });
    Ok((selected, diagnostics))
}

fn everything(manifest: &Manifest) -> BTreeSet<UniqueId> {
    manifest
        .nodes
        .keys()
        .chain(manifest.sources.keys())
        .chain(manifest.exposures.keys())
        .cloned()
        .collect()
}

fn resource_type(manifest: &Manifest, id: &UniqueId) -> ResourceType {
    match manifest.nodes.get(id) {
        Some(node) => node.resource_type,
        None if manifest.sources.contains_key(id) => ResourceType::Source,
        None => ResourceType::Exposure,
    }
}

struct Selector<'a> {
    manifest: &'a Manifest,
    indirect: IndirectSelection,
}

/// What is selected, and tests that would be if all that they read were.
#[derive(Default, Clone)]
struct Picked {
    direct: BTreeSet<UniqueId>,
    perhaps: BTreeSet<UniqueId>,
}

impl Selector<'_> {
    fn union(&self, given: &[String], flag: &str, diagnostics: &mut Diagnostics) -> Picked {
        let mut all = Picked::default();
        for text in given.iter().flat_map(|text| text.split_whitespace()) {
            let picked = self.intersection(text, flag, diagnostics);
            all.direct.extend(picked.direct);
            all.perhaps.extend(picked.perhaps);
        }
        self.settle(all)
    }

    fn intersection(&self, text: &str, flag: &str, diagnostics: &mut Diagnostics) -> Picked {
        let mut result: Option<Picked> = None;
        let mut understood = true;
        for part in text.split(',') {
            match parse(part) {
                Ok(criterion) => {
                    let picked = match self.criterion(&criterion) {
                        Ok(picked) => picked,
                        Err(diagnostic) => {
                            diagnostics.push(*diagnostic);
                            understood = false;
                            continue;
                        }
                    };
                    result = Some(match result {
                        None => picked,
                        Some(other) => both(&other, &picked),
                    });
                }
                Err(message) => {
                    understood = false;
                    diagnostics
                        .push(Diagnostic::error("selector", format!("`{flag} {text}`: {message}")));
                }
            }
        }
        let picked = self.settle(result.unwrap_or_default());
        if understood && picked.direct.is_empty() && flag == "--select" {
            let diagnostic = Diagnostic::warning(
                "selects-nothing",
                format!("the selection criterion `{text}` does not match any enabled nodes"),
            );
            diagnostics.push(match self.hint(text) {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            });
        }
        picked
    }

    fn hint(&self, text: &str) -> Option<String> {
        let criterion = parse(text.split(',').next()?).ok()?;
        let manifest = self.manifest;
        if manifest.disabled.iter().any(|node| node.name == criterion.value) {
            return Some(format!("`{}` is disabled", criterion.value));
        }
        let near = match criterion.method.as_str() {
            "fqn" => crate::suggest::nearest(
                &criterion.value,
                manifest.nodes.values().map(|node| node.name.as_str()),
            ),
            "tag" => crate::suggest::nearest(
                &criterion.value,
                manifest.nodes.values().flat_map(|node| node.tags.iter().map(String::as_str)),
            ),
            "source" => crate::suggest::nearest(
                &criterion.value,
                manifest.sources.values().map(|source| source.source_name.as_str()),
            ),
            _ => None,
        }?;
        Some(format!("did you mean `{near}`?"))
    }

    fn criterion(&self, criterion: &Criterion) -> Result<Picked, Box<Diagnostic>> {
        let mut selected = methods::search(self.manifest, criterion)?;
        if criterion.childrens_parents {
            let mut found = self.reach(&selected, None, false);
            found.extend(selected.iter().cloned());
            let parents = self.reach(&found, None, true);
            selected.extend(found);
            selected.extend(parents);
        }
        let own = selected.clone();
        if let Some(depth) = criterion.parents {
            selected.extend(self.reach(&own, depth, true));
        }
        if let Some(depth) = criterion.children {
            selected.extend(self.reach(&own, depth, false));
        }
        Ok(self.with_tests(selected))
    }

    /// Ancestors or descendants, at most this many steps away.
    fn reach(
        &self,
        from: &BTreeSet<UniqueId>,
        depth: Option<usize>,
        up: bool,
    ) -> BTreeSet<UniqueId> {
        let mut seen: HashSet<UniqueId> = from.iter().cloned().collect();
        let mut found = BTreeSet::new();
        let mut frontier: Vec<UniqueId> = from.iter().cloned().collect();
        let mut steps = 0;
        while !frontier.is_empty() && depth.is_none_or(|depth| steps < depth) {
            let mut next = Vec::new();
            for id in &frontier {
                let neighbours =
                    if up { self.manifest.parents_of(id) } else { self.manifest.children_of(id) };
                for neighbour in neighbours {
                    if seen.insert(neighbour.clone()) {
                        found.insert(neighbour.clone());
                        next.push(neighbour.clone());
                    }
                }
            }
            frontier = next;
            steps += 1;
        }
        found
    }

    /// Adds the tests that come along.
    fn with_tests(&self, selected: BTreeSet<UniqueId>) -> Picked {
        if self.indirect == IndirectSelection::Empty {
            return Picked { direct: selected, perhaps: BTreeSet::new() };
        }
        let buildable = self.buildable(&selected);
        let mut picked = Picked { direct: selected.clone(), perhaps: BTreeSet::new() };
        for id in &selected {
            for child in self.manifest.children_of(id) {
                let is_test = self.manifest.nodes.get(child).is_some_and(|node| {
                    matches!(node.resource_type, ResourceType::Test | ResourceType::UnitTest)
                });
                if !is_test || picked.direct.contains(child) {
                    continue;
                }
                let parents = self.manifest.parents_of(child);
                let all_in = |set: &BTreeSet<UniqueId>| parents.iter().all(|id| set.contains(id));
                let taken = match self.indirect {
                    IndirectSelection::Eager => true,
                    IndirectSelection::Cautious => all_in(&selected),
                    IndirectSelection::Buildable => all_in(&buildable),
                    IndirectSelection::Empty => false,
                };
                if taken {
                    picked.direct.insert(child.clone());
                } else {
                    picked.perhaps.insert(child.clone());
                }
            }
        }
        picked
    }

    fn buildable(&self, selected: &BTreeSet<UniqueId>) -> BTreeSet<UniqueId> {
        if self.indirect != IndirectSelection::Buildable {
            return BTreeSet::new();
        }
        let mut all = self.reach(selected, None, true);
        all.extend(selected.iter().cloned());
        all.extend(self.manifest.sources.keys().cloned());
        all
    }

    /// Takes tests in whose nodes came from several criteria.
    fn settle(&self, mut picked: Picked) -> Picked {
        let allowed = match self.indirect {
            IndirectSelection::Cautious => picked.direct.clone(),
            IndirectSelection::Buildable => self.buildable(&picked.direct),
            _ => return picked,
        };
        let ready: Vec<UniqueId> = picked
            .perhaps
            .iter()
            .filter(|id| self.manifest.parents_of(id).iter().all(|parent| allowed.contains(parent)))
            .cloned()
            .collect();
        picked.direct.extend(ready);
        picked
    }
}

fn both(a: &Picked, b: &Picked) -> Picked {
    let either = |picked: &Picked| -> BTreeSet<UniqueId> {
        picked.direct.union(&picked.perhaps).cloned().collect()
    };
    let direct: BTreeSet<UniqueId> = a.direct.intersection(&b.direct).cloned().collect();
    let perhaps = either(a).intersection(&either(b)).cloned().collect();
    Picked { direct, perhaps }
}
