//! `state:`: what is new or has changed since an earlier manifest.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;
use tidemill_core::{Diagnostic, Diagnostics, UniqueId};

use super::changed::{Change, Changed};
use super::grammar::Criterion;
use super::member::members;
use super::{PreviousState, methods};
use crate::artifact;
use crate::manifest::{Manifest, ResourceType};

const VALUES: &[&str] = &[
    "new",
    "old",
    "modified",
    "unmodified",
    "modified.body",
    "modified.configs",
    "modified.persisted_descriptions",
    "modified.relation",
    "modified.macros",
    "modified.contract",
];

/// What a criterion `state:VALUE` names.
pub(super) fn search(
    manifest: &Manifest,
    value: &str,
    criterion: &Criterion,
    previous: Option<&PreviousState>,
    diagnostics: &mut Diagnostics,
) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
    let previous = match previous {
        Some(previous) if previous.has_manifest() => previous,
        other => return Err(methods::missing("state", value, "manifest.json", other)),
    };
    if !VALUES.contains(&value) || !criterion.arguments.is_empty() {
        let diagnostic =
            Diagnostic::error("selector", format!("`state:{value}`: there is no state `{value}`"));
        return Err(Box::new(match crate::suggest::nearest(value, VALUES.iter().copied()) {
            Some(near) => diagnostic.hint(format!("did you mean `state:{near}`?")),
            None => diagnostic.hint(format!("use one of {}", VALUES.join(", "))),
        }));
    }
    if matches!(value, "new" | "old") {
        return Ok(members(manifest)
            .filter(|member| previous.old(member.id).is_some() == (value == "old"))
            .map(|member| member.id.clone())
            .collect());
    }
    let macros = Macros::new(manifest, previous);
    let mut found = BTreeSet::new();
    for member in members(manifest) {
        let (id, kind) = (member.id, member.kind);
        let Some(new) = artifact::resource_json(manifest, id) else { continue };
        let change = Change { kind, old: previous.old(id), new: &new };
        let changed = match value {
            "modified.body" => change.other(Changed::Body),
            "modified.configs" => change.other(Changed::Config),
            "modified.persisted_descriptions" => change.other(Changed::Descriptions),
            "modified.relation" => change.other(Changed::Relation),
            "modified.contract" => match change.old {
                // As in dbt, every new node counts, whether it can have a contract or not.
                None => change.is_node(),
                Some(_) => change.contract(member.name, diagnostics),
            },
            "modified.macros" => macros.touch(id, &new),
            _ => {
                let contents = change.contents(member.name, diagnostics);
                contents || macros.touch(id, &new)
            }
        };
        if changed == (value != "unmodified") {
            found.insert(id.clone());
        }
    }
    if matches!(value, "modified" | "unmodified" | "modified.contract") {
        removed(manifest, previous, diagnostics);
    }
    Ok(found)
}

/// Models with a contract that are gone break it.
fn removed(manifest: &Manifest, previous: &PreviousState, diagnostics: &mut Diagnostics) {
    for (id, old) in previous.part("nodes").into_iter().flatten() {
        let enforced = old
            .get("contract")
            .and_then(|contract| contract.get("enforced"))
            .and_then(Value::as_bool);
        if enforced != Some(true) || manifest.nodes.contains_key(&UniqueId::new(id.as_str())) {
            continue;
        }
        let disabled = manifest.disabled.iter().any(|node| node.unique_id.as_str() == id);
        let what = if disabled { "was disabled" } else { "was deleted or renamed" };
        let versioned = old.get("version").is_some_and(|version| !version.is_null());
        super::changed::report(
            id,
            versioned,
            &[format!("the model with an enforced contract {what}")],
            diagnostics,
        );
    }
}

/// Macros that have changed, and who calls them.
struct Macros<'a> {
    manifest: &'a Manifest,
    changed: HashSet<&'a str>,
    calls: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Macros<'a> {
    fn new(manifest: &'a Manifest, previous: &'a PreviousState) -> Self {
        let old = previous.part("macros");
        let sql = |id: &String| old?.get(id)?.get("macro_sql")?.as_str();
        let mut changed: HashSet<&str> = HashSet::new();
        for (id, node) in &manifest.macros {
            if sql(id).map(str::trim) != Some(node.macro_sql.trim()) {
                changed.insert(id);
            }
        }
        // Built-in macros are not in our manifests, and are in dbt's.
        let packages: HashSet<&str> =
            manifest.macros.values().map(|node| node.package_name.as_str()).collect();
        for id in old
            .into_iter()
            .flat_map(serde_json::Map::keys)
            .filter(|id| !manifest.macros.contains_key(*id))
        {
            let package = id.split('.').nth(1).unwrap_or_default();
            if packages.contains(package) || package == manifest.settings.name {
                changed.insert(id);
            }
        }
        let calls = if changed.is_empty() {
            HashMap::new()
        } else {
            manifest
                .macros
                .values()
                .map(|node| {
                    let calls = node.depends_on.iter().map(String::as_str).collect();
                    (node.unique_id.as_str(), calls)
                })
                .collect()
        };
        Macros { manifest, changed, calls }
    }

    /// Whether a node calls a changed macro, itself or through others.
    fn touch(&self, id: &UniqueId, node: &Value) -> bool {
        if self.changed.is_empty() {
            return false;
        }
        let reached = self.manifest.nodes.get(id).map(|node| &node.reached_macros);
        let own = node
            .get("depends_on")
            .and_then(|depends_on| depends_on.get("macros"))
            .and_then(Value::as_array);
        let own = own.into_iter().flatten().filter_map(Value::as_str);
        let mut open: Vec<&str> =
            own.chain(reached.into_iter().flatten().map(String::as_str)).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        while let Some(id) = open.pop() {
            if self.changed.contains(id) {
                return true;
            }
            if seen.insert(id) {
                open.extend(self.calls.get(id).into_iter().flatten());
            }
        }
        false
    }
}

/// Whether a resource takes part in `state:modified` although it is new: dbt counts new sources,
/// exposures and resources of the semantic layer as unchanged.
pub(super) fn new_is_changed(kind: ResourceType) -> bool {
    !matches!(
        kind,
        ResourceType::Source
            | ResourceType::Exposure
            | ResourceType::Metric
            | ResourceType::SemanticModel
            | ResourceType::SavedQuery
    )
}
