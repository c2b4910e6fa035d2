//! `package-lock.yml`: exact packages, and the hash of what they were chosen for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use tidemill_core::Result;

use crate::declared::{Declared, Source};
use crate::resolve::Locked;

/// The content of a lock file.
#[derive(Debug, Clone)]
pub struct Lock {
    /// The exact packages.
    pub packages: Vec<Locked>,
    /// The hash of what the project named when they were chosen.
    pub sha1_hash: String,
}

impl Lock {
    /// Reads a lock file's content. `None` when it is not one: it is then made anew.
    pub fn parse(content: &Value) -> Option<Self> {
        let packages: Result<Vec<Locked>> = content
            .get("packages")?
            .as_array()?
            .iter()
            .map(|entry| {
                let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
                Ok(Locked { name: name.to_owned(), declared: Declared::parse(entry)?, newer: None })
            })
            .collect();
        let sha1_hash = content.get("sha1_hash")?.as_str()?.to_owned();
        Some(Lock { packages: packages.ok()?, sha1_hash })
    }

    /// What the file is to hold.
    pub fn to_json(&self) -> Value {
        let packages: Vec<Value> = self.packages.iter().map(entry).collect();
        json!({"packages": packages, "sha1_hash": self.sha1_hash})
    }
}

fn entry(locked: &Locked) -> Value {
    let mut map = Map::new();
    // As it was written: the address may hold a secret of the environment.
    let address = |key: &str| locked.declared.written.get(key).and_then(Value::as_str);
    let mut add = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value.into());
        }
    };
    match &locked.declared.source {
        Source::Hub { package, versions, .. } => {
            add("name", Some(&locked.name));
            add("package", Some(package));
            add("version", versions.first().map(String::as_str));
        }
        Source::Git { url, revision, subdirectory, .. } => {
            add("git", address("git").or(Some(url)));
            add("name", Some(&locked.name));
            add("revision", revision.as_deref());
            add("subdirectory", subdirectory.as_deref());
        }
        Source::Local(path) => {
            add("local", Some(path));
            add("name", Some(&locked.name));
        }
        Source::Tarball { url, .. } => {
            add("name", Some(&locked.name));
            add("tarball", address("tarball").or(Some(url)));
        }
    }
    Value::Object(map)
}

/// dbt's hash of the packages that a project names, so that a lock file of one is read by the
/// other.
pub fn hash(packages: &[Declared]) -> String {
    let mut texts: Vec<String> = packages.iter().map(|package| python(&plain(package))).collect();
    texts.sort();
    let mut hex = String::new();
    for byte in Sha1::digest(texts.join("\n").as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// An entry with everything that dbt keeps of it.
fn plain(package: &Declared) -> Value {
    let mut map = package.rendered.clone();
    let given = |key: &str| package.rendered.get(key).cloned().unwrap_or(Value::Null);
    match &package.source {
        Source::Hub { prereleases, .. } => {
            map.remove("install-prerelease");
            map.insert("install_prerelease".into(), (*prereleases).into());
        }
        Source::Git { .. } => {
            map.remove("warn_unpinned");
            for key in ["revision", "subdirectory", "warn-unpinned"] {
                map.insert(key.into(), given(key));
            }
        }
        Source::Local(_) | Source::Tarball { .. } => {}
    }
    map.insert("unrendered".into(), Value::Object(package.written.clone()));
    Value::Object(map)
}

/// Python's `json.dumps(value, sort_keys=True)`.
fn python(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let parts: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), python(value)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// A JSON text in ASCII.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in Value::from(text).to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with dbt-core for the same entries.
    #[test]
    fn the_hash_is_that_of_dbt() {
        let entries = [
            json!({"package": "dbt-labs/dbt_utils", "version": "1.1.1"}),
            json!({"git": "https://x/z.git"}),
            json!({"local": "../ü"}),
        ];
        let declared: Vec<Declared> =
            entries.iter().map(|entry| Declared::parse(entry).unwrap()).collect();
        assert_eq!(hash(&declared), "b3abd2d47286e7ce1c046311ef00565578c1b964");
    }
}
