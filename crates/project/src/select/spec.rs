//! What a selection means: criteria, put together with and, or and without.

use std::collections::{BTreeSet, HashSet};

use tidemill_core::{Diagnostic, Diagnostics, UniqueId};

use super::grammar::Criterion;
use super::member::kind_of;
use super::{IndirectSelection, PreviousState, methods};
use crate::manifest::{Manifest, ResourceType};

/// A criterion or several put together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spec {
    /// One criterion.
    One(Box<Criterion>),
    /// Several, put together.
    Group(Group),
}

/// How the parts of a group are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Any of them.
    Union,
    /// All of them.
    Intersection,
    /// The first without the others.
    Difference,
}

/// Criteria put together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) how: How,
    pub(super) parts: Vec<Spec>,
    /// Which tests are taken in once all parts are known.
    pub(super) indirect: IndirectSelection,
    /// The text of a selection that should match something.
    pub(super) expected: Option<String>,
}

impl Group {
    pub(super) fn new(how: How, parts: Vec<Spec>) -> Self {
        Group { how, parts, indirect: IndirectSelection::Eager, expected: None }
    }
}

/// What is selected, and tests that would be if all that they read were.
#[derive(Default, Clone)]
pub(super) struct Picked {
    pub(super) direct: BTreeSet<UniqueId>,
    pub(super) perhaps: BTreeSet<UniqueId>,
}

/// Answers criteria over one graph.
pub(super) struct Evaluator<'a> {
    pub(super) manifest: &'a Manifest,
    /// What `--indirect-selection` says.
    pub(super) indirect: IndirectSelection,
    pub(super) previous: Option<&'a PreviousState>,
    /// Whether the command works on resources of this type.
    pub(super) wanted: &'a dyn Fn(ResourceType) -> bool,
    pub(super) diagnostics: &'a mut Diagnostics,
    /// The selectors that are being answered, to see a circle.
    pub(super) open: Vec<String>,
}

impl Evaluator<'_> {
    /// What a selection picks. What is wrong goes to the diagnostics.
    pub(super) fn pick(&mut self, spec: &Spec) -> Picked {
        let group = match spec {
            Spec::One(criterion) => return self.criterion(criterion),
            Spec::Group(group) => group,
        };
        let errors = self.diagnostics.has_errors();
        let parts: Vec<Picked> = group.parts.iter().map(|part| self.pick(part)).collect();
        let mut direct: Vec<BTreeSet<UniqueId>> = Vec::with_capacity(parts.len());
        let mut perhaps: Vec<BTreeSet<UniqueId>> = Vec::with_capacity(parts.len());
        for part in parts {
            perhaps.push(part.direct.union(&part.perhaps).cloned().collect());
            direct.push(part.direct);
        }
        let mut picked =
            Picked { direct: combined(group.how, direct), perhaps: combined(group.how, perhaps) };
        self.take_in(&mut picked, group.indirect);
        if let Some(text) = &group.expected
            && picked.direct.is_empty()
            && self.diagnostics.has_errors() == errors
        {
            let diagnostic = Diagnostic::warning(
                "selects-nothing",
                format!("the selection criterion `{text}` does not match any enabled nodes"),
            );
            self.diagnostics.push(match self.hint(group) {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            });
        }
        picked
    }

    fn hint(&self, group: &Group) -> Option<String> {
        let Some(Spec::One(criterion)) = group.parts.first() else { return None };
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

    fn criterion(&mut self, criterion: &Criterion) -> Picked {
        let found = if criterion.method == "selector" {
            self.selector(criterion)
        } else {
            methods::search(self.manifest, criterion, self.previous, self.diagnostics)
        };
        let mut selected = match found {
            Ok(found) => found,
            Err(diagnostic) => {
                self.diagnostics.push(*diagnostic);
                return Picked::default();
            }
        };
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
        // A selector has already said which tests come along.
        if criterion.method == "selector" {
            return Picked { direct: selected, perhaps: BTreeSet::new() };
        }
        self.with_tests(selected, criterion.indirect.unwrap_or(self.indirect))
    }

    /// What the selectors of this name select.
    fn selector(&mut self, criterion: &Criterion) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
        let manifest = self.manifest;
        let mut names: Vec<&String> = manifest
            .selectors
            .keys()
            .filter(|name| super::fnmatch::glob(&criterion.value, name))
            .collect();
        names.sort();
        if names.is_empty() {
            return Err(Box::new(no_selector(manifest, &criterion.value)));
        }
        let mut found = BTreeSet::new();
        for name in names {
            if self.open.contains(name) {
                return Err(Box::new(
                    Diagnostic::error(
                        "selector",
                        format!(
                            "the selector `{name}` refers to itself: {}",
                            self.open.join(" → ")
                        ),
                    )
                    .hint("take one of these references out of selectors.yml"),
                ));
            }
            self.open.push(name.clone());
            let picked = self.pick(&manifest.selectors[name].spec).direct;
            self.open.pop();
            found.extend(picked.into_iter().filter(|id| (self.wanted)(kind_of(manifest, id))));
        }
        Ok(found)
    }

    /// Ancestors or descendants, at most this many steps away.
    fn reach(
        &self,
        from: &BTreeSet<UniqueId>,
        depth: Option<usize>,
        up: bool,
    ) -> BTreeSet<UniqueId> {
        let mut seen: HashSet<&UniqueId> = from.iter().collect();
        let mut found = BTreeSet::new();
        let mut frontier: Vec<&UniqueId> = from.iter().collect();
        let mut steps = 0;
        while !frontier.is_empty() && depth.is_none_or(|depth| steps < depth) {
            let mut next = Vec::new();
            for id in frontier {
                let neighbours =
                    if up { self.manifest.parents_of(id) } else { self.manifest.children_of(id) };
                for neighbour in neighbours {
                    if seen.insert(neighbour) {
                        found.insert(neighbour.clone());
                        next.push(neighbour);
                    }
                }
            }
            frontier = next;
            steps += 1;
        }
        found
    }

    /// Adds the tests that come along.
    fn with_tests(&self, selected: BTreeSet<UniqueId>, indirect: IndirectSelection) -> Picked {
        if indirect == IndirectSelection::Empty {
            return Picked { direct: selected, perhaps: BTreeSet::new() };
        }
        let mut buildable = BTreeSet::new();
        if indirect == IndirectSelection::Buildable {
            buildable = self.with_parents(&selected);
            buildable.extend(self.manifest.sources.keys().cloned());
        }
        let mut picked = Picked { direct: selected.clone(), perhaps: BTreeSet::new() };
        for id in &selected {
            for child in self.manifest.children_of(id) {
                if !comes_along(self.manifest, child) || picked.direct.contains(child) {
                    continue;
                }
                let parents = self.manifest.parents_of(child);
                let all_in = |set: &BTreeSet<UniqueId>| parents.iter().all(|id| set.contains(id));
                let taken = match indirect {
                    IndirectSelection::Eager => true,
                    IndirectSelection::Cautious => all_in(&selected),
                    IndirectSelection::Buildable => all_in(&selected) || all_in(&buildable),
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

    fn with_parents(&self, selected: &BTreeSet<UniqueId>) -> BTreeSet<UniqueId> {
        let mut all = self.reach(selected, None, true);
        all.extend(selected.iter().cloned());
        all
    }

    /// Takes tests in whose nodes came from several criteria.
    fn take_in(&self, picked: &mut Picked, indirect: IndirectSelection) {
        let allowed = match indirect {
            IndirectSelection::Cautious => picked.direct.clone(),
            IndirectSelection::Buildable => self.with_parents(&picked.direct),
            IndirectSelection::Eager | IndirectSelection::Empty => return,
        };
        let ready: Vec<UniqueId> = picked
            .perhaps
            .iter()
            .filter(|id| kind_of(self.manifest, id) == ResourceType::Test)
            .filter(|id| self.manifest.parents_of(id).iter().all(|parent| allowed.contains(parent)))
            .cloned()
            .collect();
        picked.direct.extend(ready);
    }
}

/// Whether a resource is selected because of what it reads.
fn comes_along(manifest: &Manifest, id: &UniqueId) -> bool {
    matches!(kind_of(manifest, id), ResourceType::Test | ResourceType::UnitTest)
}

fn combined(how: How, sets: Vec<BTreeSet<UniqueId>>) -> BTreeSet<UniqueId> {
    let mut sets = sets.into_iter();
    let Some(mut all) = sets.next() else { return BTreeSet::new() };
    for set in sets {
        match how {
            How::Union => all.extend(set),
            How::Intersection => all.retain(|id| set.contains(id)),
            How::Difference => all.retain(|id| !set.contains(id)),
        }
    }
    all
}

/// There is no selector of this name.
pub(super) fn no_selector(manifest: &Manifest, name: &str) -> Diagnostic {
    let known: Vec<&str> = manifest.selectors.keys().map(String::as_str).collect();
    let diagnostic =
        Diagnostic::error("selector", format!("there is no selector `{name}` in selectors.yml"));
    match crate::suggest::nearest(name, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => {
            diagnostic.hint("declare it in selectors.yml beside dbt_project.yml")
        }
        None => diagnostic.hint(format!("known ones: {}", known.join(", "))),
    }
}
