//! The macros that come with Tidemill: those of dbt itself, and the most used ones of packages
//! that everybody installs, written from their documented behaviour. A project's own package of
//! the same name takes their place.

use std::collections::HashSet;
use std::sync::OnceLock;

use indexmap::IndexMap;
use tidemill_jinja::{Source, Template};

use super::{INTERNAL, PackageMacros};
use crate::manifest::MacroNode;

/// Packages with built-in macros.
pub(super) const PACKAGES: &[&str] = &[INTERNAL, "dbt_utils", "dbt_expectations"];

const FILES: &[(&str, &str, &str)] = &[
    (INTERNAL, "<dbt>/tests.sql", include_str!("dbt_tests.sql")),
    (INTERNAL, "<dbt>/names.sql", include_str!("dbt_names.sql")),
    (INTERNAL, "<dbt>/sql.sql", include_str!("dbt_sql.sql")),
    (INTERNAL, "<dbt>/statements.sql", include_str!("dbt_statements.sql")),
    (INTERNAL, "<dbt>/materializations.sql", include_str!("dbt_materializations.sql")),
    (INTERNAL, "<dbt>/snapshots.sql", include_str!("dbt_snapshots.sql")),
    (INTERNAL, "<dbt>/grants.sql", include_str!("dbt_grants.sql")),
    (INTERNAL, "<dbt>/python.sql", include_str!("dbt_python.sql")),
    ("dbt_utils", "<dbt_utils>/tests.sql", include_str!("dbt_utils_tests.sql")),
    ("dbt_utils", "<dbt_utils>/sql.sql", include_str!("dbt_utils_sql.sql")),
    (
        "dbt_expectations",
        "<dbt_expectations>/tests.sql",
        include_str!("dbt_expectations_tests.sql"),
    ),
];

/// Whether a template's name is that of a built-in file, which a user cannot open.
pub(crate) fn is_builtin_file(name: &str) -> bool {
    name.starts_with('<')
}

/// The macros of dbt itself.
pub(super) fn dbt() -> &'static PackageMacros {
    &brought(&DBT, INTERNAL).macros
}

/// What is otherwise where models run in PostgreSQL: its SQL, and the built-in materializations.
const IN_POSTGRES: &[(&str, &str)] = &[
    ("<dbt>/postgres/sql.sql", include_str!("postgres_sql.sql")),
    ("<dbt>/postgres/relations.sql", include_str!("postgres_relations.sql")),
    ("<dbt>/postgres/models.sql", include_str!("postgres_models.sql")),
    ("<dbt>/postgres/snapshots.sql", include_str!("postgres_snapshots.sql")),
];

/// The macros of dbt itself, where models run in PostgreSQL.
pub(super) fn postgres() -> &'static PackageMacros {
    static MACROS: OnceLock<PackageMacros> = OnceLock::new();
    MACROS.get_or_init(|| {
        let mut macros = dbt().clone();
        for (name, text) in IN_POSTGRES {
            add(&mut macros, INTERNAL, name, text);
        }
        macros
    })
}

/// The built-in macros of a package.
pub(super) fn package(name: &str) -> Option<&'static PackageMacros> {
    found(name).map(|package| &package.macros)
}

/// The same, as the manifest has them.
pub(super) fn nodes(name: &str) -> &'static [MacroNode] {
    found(name).map_or(&[], |package| &package.nodes)
}

/// A package that comes with Tidemill.
struct Brought {
    macros: PackageMacros,
    nodes: Vec<MacroNode>,
}

static DBT: OnceLock<Brought> = OnceLock::new();

fn found(name: &str) -> Option<&'static Brought> {
    static UTILS: OnceLock<Brought> = OnceLock::new();
    static EXPECTATIONS: OnceLock<Brought> = OnceLock::new();
    match name {
        INTERNAL => Some(brought(&DBT, INTERNAL)),
        "dbt_utils" => Some(brought(&UTILS, "dbt_utils")),
        "dbt_expectations" => Some(brought(&EXPECTATIONS, "dbt_expectations")),
        _ => None,
    }
}

fn brought(place: &'static OnceLock<Brought>, package: &str) -> &'static Brought {
    place.get_or_init(|| parse(package))
}

fn parse(package: &str) -> Brought {
    let mut macros = PackageMacros::new();
    let mut nodes = IndexMap::new();
    let mut calls = crate::load::calls::Calls::new();
    for (_, name, text) in FILES.iter().filter(|(owner, _, _)| *owner == package) {
        // A test parses them all: a mistake in one cannot be shipped.
        let Ok(template) = Template::parse(&Source::new(*name, *text)) else { continue };
        let file = name.rsplit('/').next().unwrap_or(name);
        for definition in template.definitions() {
            if let Some(found) = definition.to_macro(package) {
                macros.insert(definition.full_name.clone(), found);
            }
            let node = MacroNode::of(&definition, package, &format!("macros/{file}"));
            calls.insert(node.unique_id.clone(), definition.macro_calls());
            nodes.insert(node.unique_id.clone(), node);
        }
    }
    let dbt: &[MacroNode] = if package == INTERNAL { &[] } else { &brought(&DBT, INTERNAL).nodes };
    let ids: HashSet<String> =
        nodes.keys().cloned().chain(dbt.iter().map(|node| node.unique_id.clone())).collect();
    let dispatch = |name: &str, namespace: Option<&str>, own: &str| {
        let packages = [namespace.unwrap_or(own), own, INTERNAL];
        let places = packages.into_iter().flat_map(|package| {
            super::PREFIXES.map(|prefix| format!("macro.{package}.{prefix}__{name}"))
        });
        places.into_iter().find(|id| ids.contains(id))
    };
    crate::load::calls::note(&mut nodes, &calls, &dispatch, dbt, package);
    Brought { macros, nodes: nodes.into_values().collect() }
}

fn add(macros: &mut PackageMacros, package: &str, name: &str, text: &str) {
    // A test parses them all: a mistake in one cannot be shipped.
    let Ok(template) = Template::parse(&Source::new(name, text)) else { return };
    for definition in template.definitions() {
        if let Some(found) = definition.to_macro(package) {
            macros.insert(definition.full_name.clone(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_parses() {
        let all = FILES.iter().map(|(_, name, text)| (name, text));
        for (name, text) in all.chain(IN_POSTGRES.iter().map(|(name, text)| (name, text))) {
            let template = Template::parse(&Source::new(*name, *text));
            assert!(template.is_ok(), "{name}: {:?}", template.err());
            assert!(!template.unwrap().definitions().is_empty(), "{name}");
        }
    }
}
