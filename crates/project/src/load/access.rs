//! Who may refer to a model: groups, access, and models that are going away.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition, UniqueId};

use super::nodes::Places;
use crate::manifest::{Manifest, Node, RefCall, ResourceType};
use crate::resolve::{RefIndex, Resolved};
use crate::suggest::nearest;

/// Somebody who refers to models.
struct Reader<'a> {
    id: &'a UniqueId,
    what: String,
    package: &'a str,
    group: Option<&'a str>,
    refs: &'a [RefCall],
    position: &'a SourcePosition,
}

/// Reports references that are not allowed, groups that do not exist, and references to models that
/// are deprecated or will be.
pub(super) fn check(
    manifest: &Manifest,
    index: &RefIndex,
    places: &HashMap<UniqueId, Places>,
    diagnostics: &mut Diagnostics,
) {
    let now = Utc::now();
    for node in manifest.nodes.values() {
        own(manifest, node, now, diagnostics);
    }
    let nodes = manifest.nodes.values().map(|node| Reader {
        id: &node.unique_id,
        what: format!("{} `{}`", node.resource_type, node.name),
        package: &node.package_name,
        group: node.group.as_deref(),
        refs: &node.refs,
        position: &node.position,
    });
    let exposures = manifest.exposures.values().map(|exposure| Reader {
        id: &exposure.unique_id,
        what: format!("exposure `{}`", exposure.name),
        package: &exposure.package_name,
        group: None,
        refs: &exposure.refs,
        position: &exposure.position,
    });
    for reader in nodes.chain(exposures) {
        // A unit test reads nothing: it is about its model.
        if reader.id.as_str().starts_with("unit_test.") {
            continue;
        }
        for (number, call) in reader.refs.iter().enumerate() {
            if reader.refs[..number].iter().any(|before| before.is_same(call)) {
                continue;
            }
            let Resolved::Found(id) = index.reference(call, reader.package) else { continue };
            let Some(target) = manifest.nodes.get(&id) else { continue };
            let place = places
                .get(reader.id)
                .and_then(|places| places.refs.get(number).cloned().flatten())
                .unwrap_or_else(|| reader.position.clone());
            reference(&reader, target, place, now, diagnostics);
        }
    }
}

fn own(manifest: &Manifest, node: &Node, now: DateTime<Utc>, diagnostics: &mut Diagnostics) {
    if let Some(group) = &node.group
        && node.resource_type == ResourceType::Model
        && !manifest.groups.contains_key(group)
    {
        let known: Vec<&str> = manifest.groups.keys().map(String::as_str).collect();
        let diagnostic = Diagnostic::error(
            "unknown-group",
            format!("model `{}` is in the group `{group}`, which does not exist", node.name),
        )
        .at(node.position.clone());
        diagnostics.push(match nearest(group, known.iter().copied()) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic.hint("declare it under `groups:` with its owner"),
        });
    }
    let Some(access) = &node.access else { return };
    if !matches!(access.as_str(), "private" | "protected" | "public") {
        diagnostics.push(
            Diagnostic::error(
                "config-value",
                format!("model `{}`: there is no access `{access}`", node.name),
            )
            .at(node.position.clone())
            .hint("use private, protected or public"),
        );
    } else if access == "public" && node.is_ephemeral() {
        diagnostics.push(
            Diagnostic::error(
                "config-value",
                format!("model `{}` is ephemeral, so it cannot be public", node.name),
            )
            .at(node.position.clone()),
        );
    }
    if let Some(date) = &node.deprecation_date {
        match moment(date) {
            None => diagnostics.push(
                Diagnostic::error(
                    "config-value",
                    format!("model `{}`: `deprecation_date: {date}` is no date", node.name),
                )
                .at(node.position.clone()),
            ),
            Some(gone) if gone < now => diagnostics.push(
                Diagnostic::warning(
                    "deprecated-model",
                    format!("model `{}` has passed its deprecation date of {date}", shown(node)),
                )
                .at(node.position.clone())
                .hint("disable it or remove it"),
            ),
            Some(_) => {}
        }
    }
}

fn reference(
    reader: &Reader<'_>,
    target: &Node,
    place: SourcePosition,
    now: DateTime<Utc>,
    diagnostics: &mut Diagnostics,
) {
    let private = target.access.as_deref() == Some("private");
    if private && (reader.group.is_none() || reader.group != target.group.as_deref()) {
        let group = target.group.as_deref().unwrap_or_default();
        diagnostics.push(
            Diagnostic::error(
                "private-model",
                format!(
                    "{} refers to `{}`, which is private to the group `{group}`",
                    reader.what, target.name
                ),
            )
            .at(place)
            .hint(format!("take it into the group, or give `{}` another `access`", target.name)),
        );
        return;
    }
    let Some((date, gone)) =
        target.deprecation_date.as_ref().and_then(|date| Some((date, moment(date)?)))
    else {
        return;
    };
    // Its own tests go with it.
    if reader.id.as_str().starts_with("test.") {
        return;
    }
    let when = if gone < now { "was deprecated on" } else { "is going to be deprecated on" };
    let diagnostic = Diagnostic::warning(
        "deprecated-reference",
        format!("{} refers to `{}`, which {when} {date}", reader.what, shown(target)),
    )
    .at(place);
    let newer =
        target.latest_version.as_ref().filter(|latest| target.version.as_ref() != Some(latest));
    diagnostics.push(match newer {
        Some(latest) => {
            diagnostic.hint(format!("its newest version is `ref('{}', v={latest})`", target.name))
        }
        None => diagnostic,
    });
}

fn shown(node: &Node) -> String {
    match &node.version {
        Some(version) => format!("{}.v{version}", node.name),
        None => node.name.clone(),
    }
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Some(time.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc())
}
