//! Selecting nodes, in dbt's language.

mod changed;
mod fnmatch;
mod grammar;
mod member;
mod methods;
mod previous;
mod selectors;
mod spec;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_core::{Diagnostic, Diagnostics, UniqueId};

use crate::manifest::{Manifest, Node, ResourceType};
use grammar::parse;
use member::{kind_of, members};
pub use previous::{LAKE_OF_MANIFEST, OtherRelation, PreviousState};
pub use selectors::NamedSelector;
pub(crate) use selectors::read_selectors;
use spec::{Evaluator, Group, How, Spec};

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
    /// `--selector`: a name in `selectors.yml`; `select` and `exclude` do not count then.
    pub selector: Option<String>,
    /// Only these resources; empty: all.
    pub resource_types: Vec<ResourceType>,
    /// None of these resources.
    pub exclude_resource_types: Vec<ResourceType>,
    /// Which tests come along, where a selector does not say so itself.
    pub indirect: IndirectSelection,
    /// What `state:`, `result:` and `source_status:` compare with.
    pub previous: Option<Arc<PreviousState>>,
    /// Models and tests whose file is empty count as well.
    pub with_empty: bool,
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

/// The selected nodes, sources, exposures and resources of the semantic layer, with warnings for
/// criteria that match nothing. A criterion that is not understood is an error.
///
/// Without `select`, `exclude` and `selector`, what the project's default selector says is
/// selected, else everything.
pub fn select(
    manifest: &Manifest,
    selection: &Selection,
) -> Result<(BTreeSet<UniqueId>, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    let asked = !selection.select.is_empty() || !selection.exclude.is_empty();
    let default = manifest.selectors.values().find(|selector| selector.default);
    let spec = match (&selection.selector, default) {
        (Some(name), _) => {
            if asked {
                diagnostics.push(Diagnostic::warning(
                    "selector",
                    "`--select` and `--exclude` do not count beside `--selector`",
                ));
            }
            manifest.selectors.get(name).map(|selector| selector.spec.clone()).ok_or_else(|| {
                let mut errors = Diagnostics::new();
                errors.push(spec::no_selector(manifest, name));
                errors
            })?
        }
        (None, Some(default)) if !asked => default.spec.clone(),
        _ => difference(selection, &mut diagnostics),
    };
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let wanted = |kind: ResourceType| {
        (selection.resource_types.is_empty() || selection.resource_types.contains(&kind))
            && !selection.exclude_resource_types.contains(&kind)
    };
    let mut evaluator = Evaluator {
        manifest,
        indirect: selection.indirect,
        previous: selection.previous.as_deref(),
        wanted: &wanted,
        diagnostics: &mut diagnostics,
        open: Vec::new(),
    };
    let mut selected = match &spec {
        Spec::Group(group) if group.parts.is_empty() => everything(manifest),
        spec => evaluator.pick(spec).direct,
    };
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    selected.retain(|id| {
        wanted(kind_of(manifest, id))
            && (selection.with_empty || !manifest.nodes.get(id).is_some_and(is_empty))
    });
    Ok((selected, diagnostics))
}

fn everything(manifest: &Manifest) -> BTreeSet<UniqueId> {
    members(manifest).map(|member| member.id.clone()).collect()
}

/// Nothing but blanks in its file.
fn is_empty(node: &Node) -> bool {
    !matches!(node.resource_type, ResourceType::Seed | ResourceType::UnitTest)
        && node.raw_code.trim().is_empty()
}

/// `--select` without `--exclude`; a group without parts selects everything.
fn difference(selection: &Selection, diagnostics: &mut Diagnostics) -> Spec {
    if selection.select.is_empty() && selection.exclude.is_empty() {
        return Spec::Group(Group::new(How::Union, Vec::new()));
    }
    let everything = ["fqn:*", "source:*"].map(str::to_owned);
    let included = if selection.select.is_empty() {
        union(&everything, None, selection.indirect, diagnostics)
    } else {
        union(&selection.select, Some("--select"), selection.indirect, diagnostics)
    };
    let excluded = union(&selection.exclude, Some("--exclude"), selection.indirect, diagnostics);
    Spec::Group(Group::new(How::Difference, vec![included, excluded]))
}

/// Words mean or, commas within them mean and.
fn union(
    given: &[String],
    flag: Option<&str>,
    indirect: IndirectSelection,
    diagnostics: &mut Diagnostics,
) -> Spec {
    let mut parts = Vec::new();
    for text in given.iter().flat_map(|text| text.split_whitespace()) {
        let mut criteria = Vec::new();
        for part in text.split(',') {
            match parse(part) {
                Ok(criterion) => criteria.push(Spec::One(Box::new(criterion))),
                Err(message) => diagnostics.push(Diagnostic::error(
                    "selector",
                    format!("`{} {text}`: {message}", flag.unwrap_or("--select")),
                )),
            }
        }
        parts.push(Spec::Group(Group {
            how: How::Intersection,
            parts: criteria,
            indirect,
            expected: flag.map(|_| text.to_owned()),
        }));
    }
    Spec::Group(Group { how: How::Union, parts, indirect, expected: None })
}
