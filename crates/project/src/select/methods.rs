//! What each method of a criterion looks at.

use std::collections::BTreeSet;

use serde_json::Value;
use tidemill_core::{Diagnostic, UniqueId};

use super::grammar::Criterion;
use crate::manifest::{Manifest, Node, ResourceType, TestKind};

/// The nodes, sources and exposures that a criterion names itself.
pub(super) fn search(
    manifest: &Manifest,
    criterion: &Criterion,
) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
    let value = criterion.value.as_str();
    let nodes = |test: &dyn Fn(&Node) -> bool| -> BTreeSet<UniqueId> {
        manifest
            .nodes
            .values()
            .filter(|node| test(node))
            .map(|node| node.unique_id.clone())
            .collect()
    };
    let with_others = |mut found: BTreeSet<UniqueId>, test: &dyn Fn(Other<'_>) -> bool| {
        found.extend(
            manifest
                .sources
                .values()
                .filter(|source| {
                    test(Other {
                        kind: "source",
                        package: &source.package_name,
                        file: &source.original_file_path,
                        tags: &source.tags,
                        config: &source.config,
                    })
                })
                .map(|source| source.unique_id.clone()),
        );
        found.extend(
            manifest
                .exposures
                .values()
                .filter(|exposure| {
                    test(Other {
                        kind: "exposure",
                        package: &exposure.package_name,
                        file: &exposure.original_file_path,
                        tags: &exposure.tags,
                        config: &exposure.config,
                    })
                })
                .map(|exposure| exposure.unique_id.clone()),
        );
        found
    };
    Ok(match criterion.method.as_str() {
        "fqn" => {
            let mut found = nodes(&|node| matches_fqn(node, value));
            found.extend(
                manifest
                    .exposures
                    .values()
                    .filter(|exposure| {
                        fqn_matches(&exposure.fqn, value, false)
                            || fqn_matches(&exposure.fqn[1..], value, false)
                    })
                    .map(|exposure| exposure.unique_id.clone()),
            );
            found
        }
        "path" => {
            let matcher = PathMatcher::new(value);
            let found = nodes(&|node| {
                matcher.matches(&node.original_file_path)
                    || node
                        .patch_path
                        .as_deref()
                        .and_then(|path| path.split("://").nth(1))
                        .is_some_and(|path| matcher.matches_file(path))
            });
            with_others(found, &|other| matcher.matches(other.file))
        }
        "file" => {
            let is_file = |path: &str| {
                let name = path.rsplit('/').next().unwrap_or(path);
                glob(value, name) || glob(value, crate::read::walk::stem(name))
            };
            with_others(nodes(&|node| is_file(&node.original_file_path)), &|other| {
                is_file(other.file)
            })
        }
        "tag" => {
            with_others(nodes(&|node| node.tags.iter().any(|tag| glob(value, tag))), &|other| {
                other.tags.iter().any(|tag| glob(value, tag))
            })
        }
        "package" => {
            let name = if value == "this" { manifest.settings.name.as_str() } else { value };
            with_others(nodes(&|node| glob(name, &node.package_name)), &|other| {
                glob(name, other.package)
            })
        }
        "source" => sources(manifest, value)?,
        "exposure" => {
            let (package, name) = value.split_once('.').unwrap_or(("*", value));
            manifest
                .exposures
                .values()
                .filter(|exposure| {
                    glob(package, &exposure.package_name) && glob(name, &exposure.name)
                })
                .map(|exposure| exposure.unique_id.clone())
                .collect()
        }
        "unit_test" => {
            let (package, name) = value.split_once('.').unwrap_or(("*", value));
            nodes(&|node| {
                let versioned =
                    node.version.as_ref().map(|version| format!("{}_v{version}", node.name));
                node.unit_test.is_some()
                    && glob(package, &node.package_name)
                    && (glob(name, &node.name)
                        || versioned.is_some_and(|versioned| glob(name, &versioned)))
            })
        }
        "config" => with_others(
            nodes(&|node| config_matches(&node.config.all, &criterion.arguments, value)),
            &|other| {
                other.kind == "source" && config_matches(other.config, &criterion.arguments, value)
            },
        ),
        "resource_type" => {
            let Some(kind) = ResourceType::parse(value) else {
                return Err(Box::new(
                    Diagnostic::error(
                        "selector",
                        format!("`resource_type:{value}`: there is no resource type `{value}`"),
                    )
                    .hint(
                        "use model, seed, snapshot, test, unit_test, analysis, source or exposure",
                    ),
                ));
            };
            with_others(nodes(&|node| node.resource_type == kind), &|other| {
                other.kind == kind.as_str()
            })
        }
        "test_type" => match value {
            "generic" | "schema" => nodes(&|node| is_generic(node) == Some(true)),
            "singular" | "data" if value == "singular" => {
                nodes(&|node| is_generic(node) == Some(false))
            }
            "data" => nodes(&|node| is_generic(node).is_some()),
            "unit" => nodes(&|node| node.unit_test.is_some()),
            other => {
                return Err(Box::new(
                    Diagnostic::error(
                        "selector",
                        format!("`test_type:{other}`: there is no test type `{other}`"),
                    )
                    .hint("use generic, singular, data or unit"),
                ));
            }
        },
        "test_name" => nodes(&|node| match node.test.as_ref().map(|test| &test.kind) {
            Some(TestKind::Generic(generic)) => {
                glob(value, &generic.name) || value == generic.full_name()
            }
            _ => false,
        }),
        "group" => {
            nodes(&|node| node.config.group.as_deref().is_some_and(|group| glob(value, group)))
        }
        "access" => nodes(&|node| node.access.as_deref() == Some(value)),
        "version" => nodes(&|node| match (&node.version, value) {
            (None, "none") => node.resource_type == ResourceType::Model,
            (None, _) => false,
            (Some(_), "latest") => node.version == node.latest_version,
            (Some(version), "prerelease" | "old") => {
                let latest = node.latest_version.as_deref().unwrap_or_default();
                let order = crate::read::properties::compare_versions(version, latest);
                if value == "old" { order.is_lt() } else { order.is_gt() }
            }
            _ => false,
        }),
        other => {
            return Err(Box::new(Diagnostic::error(
                "selector",
                format!("the method `{other}` is not supported"),
            )));
        }
    })
}

struct Other<'a> {
    kind: &'static str,
    package: &'a str,
    file: &'a str,
    tags: &'a [String],
    config: &'a serde_json::Map<String, Value>,
}

fn is_generic(node: &Node) -> Option<bool> {
    node.test.as_ref().map(|test| matches!(test.kind, TestKind::Generic(_)))
}

fn sources(manifest: &Manifest, value: &str) -> Result<BTreeSet<UniqueId>, Box<Diagnostic>> {
    let parts: Vec<&str> = value.split('.').collect();
    let (package, source, table) = match parts.as_slice() {
        [source] => ("*", *source, "*"),
        [source, table] => ("*", *source, *table),
        [package, source, table] => (*package, *source, *table),
        _ => {
            return Err(Box::new(
                Diagnostic::error("selector", format!("`source:{value}` has too many parts")).hint(
                    "write `source:name`, `source:name.table` or `source:package.name.table`",
                ),
            ));
        }
    };
    Ok(manifest
        .sources
        .values()
        .filter(|found| {
            glob(package, &found.package_name)
                && glob(source, &found.source_name)
                && glob(table, &found.name)
        })
        .map(|found| found.unique_id.clone())
        .collect())
}

fn matches_fqn(node: &Node, value: &str) -> bool {
    let versioned = node.version.is_some();
    fqn_matches(&node.fqn, value, versioned) || fqn_matches(&node.fqn[1..], value, versioned)
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

fn config_matches(
    config: &serde_json::Map<String, Value>,
    arguments: &[String],
    wanted: &str,
) -> bool {
    let mut value: Option<&Value> = None;
    for (index, key) in arguments.iter().enumerate() {
        let key = crate::config::canonical_key(key);
        value = match index {
            0 => config.get(key),
            _ => value.and_then(|value| value.get(key)),
        };
    }
    let Some(value) = value else { return false };
    let severity = arguments.len() == 1 && arguments[0] == "severity";
    let equal = |text: &str| {
        if severity { text.eq_ignore_ascii_case(wanted) } else { glob(wanted, text) }
    };
    match value {
        Value::String(text) => equal(text),
        Value::Bool(flag) => wanted.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
        Value::Number(number) => number.to_string() == wanted,
        Value::Array(items) => items.iter().any(|item| match item {
            Value::String(text) => equal(text),
            Value::Bool(flag) => wanted.eq_ignore_ascii_case(&flag.to_string()),
            Value::Number(number) => number.to_string() == wanted,
            _ => false,
        }),
        Value::Object(map) => map.contains_key(wanted),
        Value::Null => false,
    }
}

struct PathMatcher<'a> {
    pattern: &'a str,
    has_wildcard: bool,
}

impl<'a> PathMatcher<'a> {
    fn new(value: &'a str) -> Self {
        let pattern = value.strip_prefix("./").unwrap_or(value).trim_end_matches('/');
        PathMatcher { pattern, has_wildcard: pattern.contains(['*', '?', '[']) }
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

    fn matches_file(&self, path: &str) -> bool {
        if !self.has_wildcard {
            return path == self.pattern;
        }
        path_glob(
            &self.pattern.split('/').collect::<Vec<_>>(),
            &path.split('/').collect::<Vec<_>>(),
        )
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

/// Python's `fnmatch`: `*`, `?`, `[abc]`, `[!abc]`.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '[']) {
        return pattern == text;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => class(&pattern, p, text[t]),
            Some(c) if *c == text[t] => Some(p + 1),
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((at, from))) => {
                p = at + 1;
                t = from + 1;
                star = Some((at, from + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether a class matches; the place behind it.
fn class(pattern: &[char], start: usize, c: char) -> Option<usize> {
    let mut at = start + 1;
    let negated = pattern.get(at) == Some(&'!');
    if negated {
        at += 1;
    }
    let first = at;
    let mut matched = false;
    loop {
        match pattern.get(at) {
            // Without an end, it is a bracket.
            None => return (c == '[').then_some(start + 1),
            Some(']') if at > first => break,
            Some(low) => {
                if pattern.get(at + 1) == Some(&'-')
                    && let Some(high) = pattern.get(at + 2).filter(|high| **high != ']')
                {
                    matched |= (*low..=*high).contains(&c);
                    at += 3;
                } else {
                    matched |= *low == c;
                    at += 1;
                }
            }
        }
    }
    (matched != negated).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_python() {
        for (pattern, text, expected) in [
            ("stg_*", "stg_orders", true),
            ("*_orders", "stg_orders", true),
            ("st?_orders", "stg_orders", true),
            ("[a-s]tg*", "stg_orders", true),
            ("[!s]tg*", "stg_orders", false),
            ("stg_", "stg_orders", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("[", "[", true),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

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
                PathMatcher::new(pattern).matches("models/core/orders.sql"),
                expected,
                "{pattern}"
            );
        }
    }
}
