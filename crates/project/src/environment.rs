//! Environment variables and vars: what the project may ask of its surroundings.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics, Secret};

use crate::file::SourceFile;
use crate::yaml;

/// Variables whose name begins so are secrets: only `profiles.yml`, `packages.yml` and
/// `connections.yml` may read them.
pub(crate) const SECRET_PREFIX: &str = "DBT_ENV_SECRET_";

/// The environment variables that templates see.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own, as far as they are UTF-8.
    pub fn of_process() -> Self {
        Environment(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
                    if name.starts_with(SECRET_PREFIX) {
                        // Wherever it gets to from here, it is not shown.
                        drop(Secret::new(value.as_str()));
                    }
                    Some((name, value))
                })
                .collect(),
        )
    }

    /// These and no others.
    pub fn of<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Environment(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// Reads the text of `--vars`: a YAML or JSON mapping.
pub fn parse_vars(text: &str) -> Result<Map<String, Value>, Diagnostics> {
    let file = SourceFile::new("--vars", text);
    let parsed = yaml::parse(&file);
    if parsed.diagnostics.has_errors() {
        return Err(parsed.diagnostics);
    }
    if !parsed.root.is_map() {
        let mut diagnostics = Diagnostics::new();
        diagnostics.push(
            Diagnostic::error("vars", "`--vars` must be a mapping, in YAML or JSON")
                .at(parsed.root.position(&file))
                .label(format!("this is {}", parsed.root.described()))
                .hint("write `--vars '{name: value}'`"),
        );
        return Err(diagnostics);
    }
    Ok(parsed.root.to_map())
}
