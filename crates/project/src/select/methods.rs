//! What each method of a criterion looks at.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics, UniqueId};

use super::fnmatch::glob;
use super::grammar::Criterion;
use super::member::{Member, members};
use super::{PreviousState, state};
use crate::manifest::{Manifest, ResourceType, TestKind};

/// Resource types of dbt that nothing here is of.
const OTHER_TYPES: &[&str] =
    &["rpc", "sql_operation", "doc", "macro", "group", "fixture", "function"];

/// What a criterion names itself. Warnings go to the diagnostics.
pub(super) fn search(
    manifest: &Manifest,
    criterion: &Criterion,
    previous: Option<&PreviousState>,
    diagnostics: &mut Diagnostics,
) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
    let value = criterion.value.as_str();
    let all = |test: &dyn Fn(&Member<'_>) -> bool| -> BTreeSet<UniqueId> {
        members(manifest).filter(|member| test(member)).map(|member| member.id.clone()).collect()
    };
    Ok(match criterion.method.as_str() {
        "fqn" => all(&|member| {
            member.kind != ResourceType::Source
                && (fqn_matches(member.fqn, value, member.versioned)
                    || fqn_matches(&member.fqn[1..], value, member.versioned))
        }),
        "path" => {
            let matcher = PathMatcher::new(value, &manifest.settings.root);
            all(&|member| {
                matcher.matches(member.file)
                    || member
                        .patch
                        .and_then(|path| path.split("://").nth(1))
                        .is_some_and(|path| matcher.matches_file(path))
            })
        }
        "file" => all(&|member| {
            let name = member.file.rsplit('/').next().unwrap_or(member.file);
            glob(value, name) || glob(value, crate::read::walk::stem(name))
        }),
        "tag" => all(&|member| member.tags.iter().any(|tag| glob(value, tag))),
        "package" => {
            let name = if value == "this" { manifest.settings.name.as_str() } else { value };
            all(&|member| glob(name, member.package))
        }
        "source" => sources(manifest, value)?,
        "exposure" => named(manifest, ResourceType::Exposure, value)?,
        "metric" => named(manifest, ResourceType::Metric, value)?,
        "semantic_model" => named(manifest, ResourceType::SemanticModel, value)?,
        "saved_query" => named(manifest, ResourceType::SavedQuery, value)?,
        "unit_test" => named(manifest, ResourceType::UnitTest, value)?,
        "config" => all(&|member| {
            (member.is_node() || member.kind == ResourceType::Source)
                && config_matches(member.config, criterion)
        }),
        "resource_type" => match ResourceType::parse(value) {
            Some(kind) => all(&|member| member.kind == kind),
            None if OTHER_TYPES.contains(&value) => BTreeSet::new(),
            None => {
                return Err(wrong(
                    format!("`resource_type:{value}`: there is no resource type `{value}`"),
                    "use model, seed, snapshot, test, unit_test, analysis, source, exposure, metric, \
                     semantic_model or saved_query",
                ));
            }
        },
        "test_type" => {
            let (generic, singular, unit) = match value {
                "generic" | "schema" => (true, false, false),
                "singular" => (false, true, false),
                "data" => (true, true, false),
                "unit" => (false, false, true),
                other => {
                    return Err(wrong(
                        format!("`test_type:{other}`: there is no test type `{other}`"),
                        "use generic, singular, data or unit",
                    ));
                }
            };
            all(&|member| match member.kind {
                ResourceType::Test => {
                    if is_generic(manifest, member.id) {
                        generic
                    } else {
                        singular
                    }
                }
                ResourceType::UnitTest => unit,
                _ => false,
            })
        }
        "test_name" => all(&|member| match member.kind {
            ResourceType::UnitTest => glob(value, member.name),
            ResourceType::Test => {
                generic_name(manifest, member.id).is_some_and(|name| glob(value, name))
            }
            _ => false,
        }),
        "group" => all(&|member| member.group.is_some_and(|group| glob(value, group))),
        "access" => all(&|member| {
            let node = manifest.nodes.get(member.id);
            member.kind == ResourceType::Model
                && node.is_some_and(|node| node.access.as_deref() == Some(value))
        }),
        "version" => {
            if !matches!(value, "latest" | "prerelease" | "old" | "none") {
                return Err(wrong(
                    format!("`version:{value}`: there is no such kind of version"),
                    "use latest, prerelease, old or none",
                ));
            }
            all(&|member| is_version(manifest, member, value))
        }
        "state" => state::search(manifest, value, criterion, previous, diagnostics)?,
        "result" => {
            let Some(results) = previous.and_then(PreviousState::results) else {
                return Err(missing("result", value, "run_results.json", previous));
            };
            all(&|member| results.get(member.id).is_some_and(|status| status == value))
        }
        "source_status" => {
            if value != "fresher" {
                return Err(wrong(
                    format!("`source_status:{value}`: there is no such status"),
                    "use `source_status:fresher`",
                ));
            }
            let Some(before) = previous.and_then(PreviousState::sources) else {
                return Err(missing("source_status", value, "sources.json", previous));
            };
            let Some(now) = previous.and_then(PreviousState::current_sources) else {
                return Err(wrong(
                    "`source_status:fresher` needs to know how fresh the sources are now"
                        .to_owned(),
                    "run `tidemill source freshness` first",
                ));
            };
            all(&|member| match (now.get(member.id), before.get(member.id)) {
                (Some(Some(now)), Some(Some(before))) => now > before,
                (Some(Some(_)), None) => true,
                _ => false,
            })
        }
        other => {
            return Err(wrong(format!("the method `{other}` is not supported"), "use another"));
        }
    })
}

fn wrong(message: String, hint: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("selector", message).hint(hint))
}

/// There is no state to compare with, or it lacks a file.
pub(super) fn missing(
    method: &str,
    value: &str,
    file: &str,
    previous: Option<&PreviousState>,
) -> Box<Diagnostic> {
    match previous {
        None => wrong(
            format!("`{method}:{value}` compares with an earlier run, and none is named"),
            "name the folder with its artifacts: `--state DIR`",
        ),
        Some(previous) => wrong(
            format!(
                "`{method}:{value}` needs `{file}`, which is not in `{}`",
                previous.folder().display()
            ),
            "name the folder that an earlier command wrote its artifacts to",
        ),
    }
}

fn generic_name<'a>(manifest: &'a Manifest, id: &UniqueId) -> Option<&'a str> {
    match &manifest.nodes.get(id)?.test.as_ref()?.kind {
        TestKind::Generic(generic) => Some(&generic.name),
        TestKind::Singular => None,
    }
}

fn is_generic(manifest: &Manifest, id: &UniqueId) -> bool {
    generic_name(manifest, id).is_some()
}

fn is_version(manifest: &Manifest, member: &Member<'_>, value: &str) -> bool {
    let Some(node) = manifest.nodes.get(member.id) else { return false };
    if node.resource_type != ResourceType::Model {
        return false;
    }
    let Some(version) = &node.version else { return value == "none" };
    let latest = node.latest_version.as_deref();
    let order = crate::read::properties::compare_versions(version, latest.unwrap_or_default());
    match value {
        "latest" => node.version == node.latest_version,
        "old" => latest.is_some() && order.is_lt(),
        "prerelease" => latest.is_some() && order.is_gt(),
        _ => false,
    }
}

/// `name` or `package.name`.
fn named(
    manifest: &Manifest,
    kind: ResourceType,
    value: &str,
) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
    let parts: Vec<&str> = value.split('.').collect();
    let (package, name) = match parts.as_slice() {
        [name] => ("*", *name),
        [package, name] => (*package, *name),
        _ => {
            return Err(wrong(
                format!("`{kind}:{value}` has too many parts"),
                &format!("write `{kind}:name` or `{kind}:package.name`"),
            ));
        }
    };
    Ok(members(manifest)
        .filter(|member| member.kind == kind)
        .filter(|member| {
            let versioned = || {
                let version = manifest.nodes.get(member.id)?.version.as_ref()?;
                Some(format!("{}_v{version}", member.name))
            };
            glob(package, member.package)
                && (glob(name, member.name) || versioned().is_some_and(|text| glob(name, &text)))
        })
        .map(|member| member.id.clone())
        .collect())
}

fn sources(manifest: &Manifest, value: &str) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
    let parts: Vec<&str> = value.split('.').collect();
    let (package, source, table) = match parts.as_slice() {
        [source] => ("*", *source, "*"),
        [source, table] => ("*", *source, *table),
        [package, source, table] => (*package, *source, *table),
        _ => {
            return Err(wrong(
                format!("`source:{value}` has too many parts"),
                "write `source:name`, `source:name.table` or `source:package.name.table`",
            ));
        }
    };
    let mut found: BTreeSet<UniqueId> = manifest
        .sources
        .values()
        .filter(|found| {
            glob(package, &found.package_name)
                && glob(source, &found.source_name)
                && glob(table, &found.name)
        })
        .map(|found| found.unique_id.clone())
        .collect();
    // A table and what comes with it (its changes, and the view of both) are one.
    let of = |id: &UniqueId| {
        let mut parents = manifest.parents_of(id).iter();
        parents.find(|parent| manifest.sources.contains_key(*parent)).cloned()
    };
    found.extend(found.iter().filter_map(of).collect::<Vec<_>>());
    for id in manifest.sources.keys() {
        if of(id).is_some_and(|table| found.contains(&table)) {
            found.insert(id.clone());
        }
    }
    Ok(found)
}

/// dbt's `is_selected_node`.
fn fqn_matches(fqn: &[String], value: &str, versioned: bool) -> bool {
    let Some(last) = fqn.last() else { return false };
    let parts: Vec<&str> = value.split('.').collect();
    if versioned {
        let name = fqn.len().checked_sub(2).and_then(|index| fqn.get(index));
        if name.is_some_and(|name| name == value) {
            return true;
        }
        let ends = |count: usize| fqn[fqn.len().saturating_sub(count)..].join("_");
        if ends(2) == parts[parts.len().saturating_sub(2)..].join("_") {
            return true;
        }
    } else if last == value {
        return true;
    }
    let flat: Vec<&str> = fqn.iter().flat_map(|part| part.split('.')).collect();
    if flat.len() < parts.len() {
        return false;
    }
    for (index, part) in parts.iter().enumerate() {
        if part.contains(['*', '?', '[', ']']) {
            if glob(&parts[index..].join("."), &flat[index..].join(".")) {
                return true;
            }
            if !value.contains('.') {
                let leaf = if versioned && fqn.len() > 1 { &fqn[fqn.len() - 2] } else { last };
                return glob(value, leaf);
            }
            return false;
        }
        if flat[index] != *part {
            return false;
        }
    }
    true
}

/// As in dbt: the value itself, or one of a list; no patterns.
fn config_matches(config: &Map<String, Value>, criterion: &Criterion) -> bool {
    let mut value: Option<&Value> = None;
    for (index, key) in criterion.arguments.iter().enumerate() {
        let key = crate::config::canonical_key(key);
        value = match index {
            0 => config.get(key),
            _ => value.and_then(|value| value.get(key)),
        };
    }
    let severity = criterion.arguments == ["severity"];
    let wanted = criterion.value.as_str();
    let is_wanted = |found: &Value| match found {
        Value::String(text) if severity => text.eq_ignore_ascii_case(wanted),
        Value::Bool(flag) => wanted.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
        Value::Null => false,
        found => *found == criterion.given,
    };
    match value {
        Some(Value::Array(items)) => items.iter().any(is_wanted),
        Some(value) => is_wanted(value),
        None => false,
    }
}

struct PathMatcher<'a> {
    root: &'a Path,
    pattern: &'a str,
    has_wildcard: bool,
}

impl<'a> PathMatcher<'a> {
    fn new(value: &'a str, root: &'a Path) -> Self {
        let pattern = value.strip_prefix("./").unwrap_or(value).trim_end_matches('/');
        PathMatcher { root, pattern, has_wildcard: pattern.contains(['*', '?', '[']) }
    }

    /// The file itself, or one of the folders that it is in.
    fn matches(&self, path: &str) -> bool {
        let mut candidate = path;
        loop {
            if self.matches_file(candidate) {
                return true;
            }
            match candidate.rsplit_once('/') {
                Some((parent, _)) => candidate = parent,
                None => return false,
            }
        }
    }

    /// Paths of packages are relative to the package, and as in dbt they count where the root
    /// project has such a file or folder too.
    fn matches_file(&self, path: &str) -> bool {
        let fits = if self.has_wildcard {
            path_glob(
                &self.pattern.split('/').collect::<Vec<_>>(),
                &path.split('/').collect::<Vec<_>>(),
            )
        } else {
            path == self.pattern
        };
        fits && self.root.join(path).exists()
    }
}

/// `*` stays within a folder, `**` does not.
fn path_glob(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            path_glob(rest, path)
                || path.split_first().is_some_and(|(_, path)| path_glob(pattern, path))
        }
        (Some((part, pattern)), Some((name, path))) => glob(part, name) && path_glob(pattern, path),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_by_any_end_or_from_the_start() {
        let fqn: Vec<String> = ["shop", "marts", "core", "orders"].map(str::to_owned).to_vec();
        for (value, expected) in [
            ("orders", true),
            ("shop", true),
            ("shop.marts", true),
            ("marts", false),
            ("shop.marts.core.orders", true),
            ("shop.core", false),
            ("shop.*.core.*", true),
            ("ord*", true),
            ("shop.marts.core.orders.x", false),
        ] {
            assert_eq!(fqn_matches(&fqn, value, false), expected, "{value}");
        }
        assert!(fqn_matches(&fqn[1..], "marts", false));
        let versioned: Vec<String> = ["shop", "orders", "v2"].map(str::to_owned).to_vec();
        assert!(fqn_matches(&versioned, "orders", true));
        assert!(fqn_matches(&versioned, "orders.v2", true));
        assert!(fqn_matches(&versioned, "orders_v2", true));
        assert!(!fqn_matches(&versioned, "orders.v1", true));
    }

    #[test]
    fn paths_match_files_and_folders() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("models/core")).unwrap();
        std::fs::write(root.path().join("models/core/orders.sql"), "").unwrap();
        for (pattern, expected) in [
            ("models/core", true),
            ("models/core/", true),
            ("models", true),
            ("models/core/orders.sql", true),
            ("models/*/orders.sql", true),
            ("models/**/*.sql", true),
            ("models/stag", false),
            ("*/core", true),
        ] {
            assert_eq!(
                PathMatcher::new(pattern, root.path()).matches("models/core/orders.sql"),
                expected,
                "{pattern}"
            );
            let elsewhere = root.path().join("models");
            assert!(!PathMatcher::new(pattern, &elsewhere).matches("models/core/orders.sql"));
        }
    }
}
