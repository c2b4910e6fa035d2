//! Macros by package, and which one a name means.

mod builtin;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use tidemill_jinja::{Definition, DefinitionKind, Macro, Value};

pub(crate) use builtin::is_builtin_file;

use crate::manifest::{MacroNode, Manifest};

/// The package of the macros that dbt itself brings.
pub(crate) const INTERNAL: &str = "dbt";

/// dbt's own macros as the manifest has them.
pub(crate) fn built_in() -> &'static [MacroNode] {
    builtin::nodes(INTERNAL)
}

/// The built-in macros that belong into the manifest of a project: dbt's own, and those of packages
/// that it uses without having them.
pub(crate) fn built_in_nodes(manifest: &Manifest) -> Vec<&'static MacroNode> {
    let has = |package: &str| manifest.macros.values().any(|node| node.package_name == package);
    let mut found: Vec<&MacroNode> = built_in().iter().collect();
    for package in builtin::PACKAGES.iter().filter(|package| **package != INTERNAL) {
        let start = format!("macro.{package}.");
        let of = |ids: &[String]| ids.iter().any(|id| id.starts_with(&start));
        let used = manifest
            .nodes
            .values()
            .any(|node| node.reached_macros.iter().any(|id| id.starts_with(&start)))
            || manifest.macros.values().any(|node| of(&node.depends_on));
        if used && !has(package) {
            found.extend(builtin::nodes(package));
        }
    }
    found
}

/// Adapter prefixes that `adapter.dispatch` tries, in order; where a lake stands in for another
/// system, that system's comes last (DuckDB's before `default`).
const PREFIXES: [&str; 3] = ["tidemill", "postgres", "default"];

/// Those of a project that was made for DuckDB: dbt-duckdb's, and at last what is written for PostgreSQL.
const LIKE_DUCKDB: [&str; 4] = ["tidemill", "duckdb", "default", "postgres"];

/// Those of dbt's own macros in such a project.
const OF_DBT: [&str; 4] = ["tidemill", "postgres", "duckdb", "default"];

/// Those of a project whose models run in PostgreSQL.
const IN_POSTGRES: [&str; 2] = ["postgres", "default"];

/// One package's macros by the name they are found by.
pub(crate) type PackageMacros = HashMap<Arc<str>, Arc<Macro>>;

/// All macros of a project.
#[derive(Default)]
pub(crate) struct Macros {
    root: String,
    packages: IndexMap<String, PackageMacros>,
    dispatch: IndexMap<String, Vec<String>>,
    stands_in_for: Option<String>,
    /// Models run in PostgreSQL.
    in_postgres: bool,
}

impl Macros {
    /// Macros of a root project with its `dispatch:` setting, and the type of the profile that
    /// the lake stands in for.
    pub(crate) fn new(
        root: &str,
        dispatch: IndexMap<String, Vec<String>>,
        stands_in_for: Option<String>,
    ) -> Self {
        Macros {
            root: root.to_owned(),
            packages: IndexMap::new(),
            dispatch,
            stands_in_for,
            in_postgres: false,
        }
    }

    /// The macros of a project whose models run in PostgreSQL.
    #[must_use]
    pub(crate) fn in_postgres(self, in_postgres: bool) -> Self {
        Macros { in_postgres, ..self }
    }

    /// The built-in macros of a package.
    fn builtin(&self, package: &str) -> Option<&'static PackageMacros> {
        match package == INTERNAL && self.in_postgres {
            true => Some(builtin::postgres()),
            false => builtin::package(package),
        }
    }

    /// The macros of dbt itself.
    fn dbt(&self) -> &'static PackageMacros {
        if self.in_postgres { builtin::postgres() } else { builtin::dbt() }
    }

    /// Adds what a file of a package defines; the definition that was there before, when a name
    /// is defined twice.
    pub(crate) fn add(&mut self, package: &str, definition: &Definition) -> Option<Arc<Macro>> {
        let package_macros = self.packages.entry(package.to_owned()).or_default();
        if matches!(definition.kind, DefinitionKind::Snapshot | DefinitionKind::Docs) {
            return None;
        }
        let found = definition.to_macro(package)?;
        package_macros.insert(definition.full_name.clone(), found)
    }

    /// Says that a package is there, even when it defines nothing.
    pub(crate) fn add_package(&mut self, package: &str) {
        self.packages.entry(package.to_owned()).or_default();
    }

    /// Whether this package is part of the project (not only built in).
    pub(crate) fn has_package(&self, package: &str) -> bool {
        self.packages.contains_key(package)
    }

    /// Whether a name can stand before a dot: `dbt_utils.star`.
    pub(crate) fn is_namespace(&self, name: &str) -> bool {
        self.has_package(name) || builtin::package(name).is_some()
    }

    /// A macro of one package: the project's, or a built-in one where the project has no such
    /// package (for `dbt` itself: where the package does not define it).
    pub(crate) fn in_package(&self, package: &str, name: &str) -> Option<Arc<Macro>> {
        match self.packages.get(package) {
            Some(macros) => macros.get(name).cloned(),
            None => self.builtin(package)?.get(name).cloned(),
        }
    }

    /// The names of a package's macros.
    pub(crate) fn names_in(&self, package: &str) -> Vec<Arc<str>> {
        match self.packages.get(package).or_else(|| self.builtin(package)) {
            Some(macros) => macros.keys().cloned().collect(),
            None => Vec::new(),
        }
    }

    /// A macro that a node's package or the root project defines: it goes before what the context
    /// itself has under this name.
    pub(crate) fn of_node(&self, name: &str, node_package: &str) -> Option<Arc<Macro>> {
        let own = |package: &str| self.packages.get(package).and_then(|macros| macros.get(name));
        own(node_package).or_else(|| own(&self.root)).cloned()
    }

    /// A macro that a project (not dbt itself) defines, as seen from a node's package and the
    /// macro that runs: the node's package, the root project, the package of the macro.
    pub(crate) fn of_projects(
        &self,
        name: &str,
        node_package: &str,
        current: &str,
    ) -> Option<Arc<Macro>> {
        self.of_node(name, node_package).or_else(|| {
            if current == INTERNAL {
                return None;
            }
            // A package calls its own macros by their bare names; a built-in one, too.
            match self.packages.get(current) {
                Some(macros) => macros.get(name).cloned(),
                None => self.builtin(current)?.get(name).cloned(),
            }
        })
    }

    /// A macro by its bare name: of a project, else of dbt itself.
    pub(crate) fn by_name(
        &self,
        name: &str,
        node_package: &str,
        current: &str,
    ) -> Option<Arc<Macro>> {
        self.of_projects(name, node_package, current).or_else(|| self.dbt().get(name).cloned())
    }

    /// `adapter.dispatch(name, namespace)`; else the names that were looked for.
    pub(crate) fn dispatch(
        &self,
        name: &str,
        namespace: Option<&str>,
        node_package: &str,
        current: &str,
    ) -> Result<Arc<Macro>, Vec<String>> {
        let mut tried = Vec::new();
        let find = |prefixes: &[&str], by: &dyn Fn(&str) -> Option<Arc<Macro>>| {
            prefixes.iter().find_map(|prefix| by(&format!("{prefix}__{name}")))
        };
        let packages: Vec<Option<&str>> = match namespace {
            None => vec![None],
            Some(namespace) => match self.dispatch.get(namespace) {
                Some(order) => order.iter().map(|package| Some(package.as_str())).collect(),
                None if namespace == INTERNAL => vec![None],
                None if self.is_namespace(namespace) => {
                    vec![Some(self.root.as_str()), Some(namespace)]
                }
                None => vec![None],
            },
        };
        let foreign = self.stands_in_for.as_deref().filter(|prefix| !PREFIXES.contains(prefix));
        let duckdb = foreign == Some("duckdb") && !self.in_postgres;
        let all: [&[&str]; 2] = match foreign {
            _ if self.in_postgres => [&IN_POSTGRES, &[]],
            _ if duckdb => [&LIKE_DUCKDB, &[]],
            _ => [&PREFIXES, foreign.as_slice()],
        };
        for prefixes in all {
            for package in &packages {
                // dbt's own macros are ours, and those for PostgreSQL are what runs here.
                let found = match package {
                    Some(INTERNAL) if duckdb => {
                        find(&OF_DBT, &|name| self.in_package(INTERNAL, name))
                    }
                    Some(package) => find(prefixes, &|name| self.in_package(package, name)),
                    None if duckdb => {
                        find(prefixes, &|name| self.of_projects(name, node_package, current))
                            .or_else(|| {
                                find(&OF_DBT, &|name| self.by_name(name, node_package, current))
                            })
                    }
                    None => find(prefixes, &|name| self.by_name(name, node_package, current)),
                };
                if let Some(found) = found {
                    return Ok(found);
                }
                tried.extend(prefixes.iter().map(|prefix| match package {
                    Some(package) => format!("{package}.{prefix}__{name}"),
                    None => format!("{prefix}__{name}"),
                }));
            }
        }
        Err(tried)
    }

    /// The macro of a generic test, and whether a project defines it itself.
    pub(crate) fn test(
        &self,
        namespace: Option<&str>,
        name: &str,
        node_package: &str,
    ) -> Option<(Arc<Macro>, bool)> {
        let full = format!("test_{name}");
        match namespace {
            Some(INTERNAL) => self.dbt().get(full.as_str()).cloned().map(|found| (found, false)),
            Some(package) => {
                let own = self.has_package(package);
                self.in_package(package, &full).map(|found| (found, own))
            }
            None => match self.of_projects(&full, node_package, node_package) {
                Some(found) => Some((found, true)),
                None => self.dbt().get(full.as_str()).cloned().map(|found| (found, false)),
            },
        }
    }

    /// Names of generic tests that can be called, for suggestions.
    pub(crate) fn test_names(&self, node_package: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut add = |package: Option<&str>, macros: &PackageMacros| {
            for name in macros.keys() {
                if let Some(name) = name.strip_prefix("test_") {
                    names.push(match package {
                        Some(package) => format!("{package}.{name}"),
                        None => name.to_owned(),
                    });
                }
            }
        };
        add(None, builtin::dbt());
        for (package, macros) in &self.packages {
            add((package != node_package && *package != self.root).then_some(package), macros);
        }
        for package in builtin::PACKAGES {
            if !self.has_package(package)
                && *package != INTERNAL
                && let Some(macros) = builtin::package(package)
            {
                add(Some(package), macros);
            }
        }
        names.sort();
        names
    }

    /// Every macro of the project and its packages.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Arc<Macro>)> {
        self.packages.iter().flat_map(|(package, macros)| {
            macros.values().map(move |found| (package.as_str(), found))
        })
    }
}

/// A macro as a value.
pub(crate) fn value(found: Arc<Macro>) -> Value {
    Value::Macro(found)
}
