//! What a node's result depends on besides the data it reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Named hashes of everything that makes a node what it is: rendered SQL, configuration, the values
/// that rendering read. The names are kept so that a difference can be explained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint {
    parts: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part under a name that a reader understands (`sql`, `configuration`, `var start_date`).
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, content: &str) -> Self {
        self.parts.insert(name.into(), hash_text(content));
        self
    }

    /// The names of the parts that differ, in alphabetical order.
    pub fn difference(&self, other: &Fingerprint) -> Vec<String> {
        let mut names: Vec<String> = self
            .parts
            .iter()
            .filter(|(name, hash)| other.parts.get(*name) != Some(hash))
            .map(|(name, _)| name.clone())
            .chain(other.parts.keys().filter(|name| !self.parts.contains_key(*name)).cloned())
            .collect();
        names.sort();
        names
    }
}

/// The first 128 bits of BLAKE3 as hex: enough that two contents never meet by accident.
pub fn hash_text(content: &str) -> String {
    blake3::hash(content.as_bytes()).to_hex()[..32].to_string()
}

/// A hash of names, types and nullability of columns, in order.
pub fn schema_hash<'a>(columns: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, data_type) in columns {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(data_type.as_bytes());
        hasher.update(&[1]);
    }
    hasher.finalize().to_hex()[..32].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_changed_added_and_removed_parts() {
        let old = Fingerprint::new().with("sql", "a").with("var x", "1").with("same", "s");
        let new = Fingerprint::new().with("sql", "b").with("var y", "1").with("same", "s");
        assert_eq!(new.difference(&old), ["sql", "var x", "var y"]);
        assert!(new.difference(&new).is_empty());
    }
}
