//! Packages as `packages.yml` names them.

use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result};

use crate::version::Range;

/// An entry of `packages.yml`, `dependencies.yml` or `package-lock.yml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Where it comes from.
    pub source: Source,
    /// The entry, rendered: what the lock's hash is made of.
    pub(crate) rendered: Map<String, Value>,
    /// The entry as it was written, before it was rendered.
    pub(crate) written: Map<String, Value>,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A package of the hub, with the bounds of its version.
    Hub {
        /// `owner/name`
        package: String,
        /// Bounds, all of which hold.
        versions: Vec<String>,
        /// Whether versions before a release are taken.
        prereleases: bool,
    },
    /// A git repository.
    Git {
        /// Anything that `git clone` takes.
        url: String,
        /// A branch, tag or commit; the repository's head without one.
        revision: Option<String>,
        /// Where in the repository the project lies.
        subdirectory: Option<String>,
        /// Whether a missing revision is worth a notice.
        warn_unpinned: bool,
    },
    /// A folder.
    Local(String),
    /// An archive (`.tar.gz`) at an address.
    Tarball {
        /// The address.
        url: String,
        /// The name of its project.
        name: String,
    },
}

const KEYS: [&str; 5] = ["package", "git", "local", "tarball", "private"];

impl Declared {
    /// Reads an entry. Fails with the sentence that its author needs.
    pub fn parse(entry: &Value) -> Result<Self> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Config, message));
        let Some(map) = entry.as_object() else {
            return refuse(format!("a package must be a mapping, not `{entry}`"));
        };
        let kinds: Vec<&str> = KEYS.into_iter().filter(|key| map.contains_key(*key)).collect();
        let [kind] = kinds.as_slice() else {
            return refuse(format!(
                "a package needs one of {}: `{entry}`",
                KEYS[..4].iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
            ));
        };
        let text = |key: &str| match map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.trim().to_owned()),
            Some(other) => Some(other.to_string()),
        };
        let main = text(kind).unwrap_or_default();
        if main.is_empty() {
            return refuse(format!("`{kind}:` of a package is empty"));
        }
        let source = match *kind {
            "package" => {
                let versions = match map.get("version") {
                    Some(Value::Array(items)) => items.iter().map(plain).collect(),
                    Some(Value::Null) | None => {
                        return refuse(format!(
                            "the package `{main}` has no `version`; every hub package needs one, as \
                             [\">=1.0.0\", \"<2.0.0\"]"
                        ));
                    }
                    Some(one) => vec![plain(one)],
                };
                Range::parse(versions.iter().map(String::as_str))
                    .map_err(|error| error.with("package", &main))?;
                if main.split('/').count() != 2 {
                    return refuse(format!("`package: {main}` must be `owner/name`"));
                }
                let prereleases =
                    map.get("install_prerelease").or_else(|| map.get("install-prerelease"));
                Source::Hub {
                    package: main,
                    versions,
                    prereleases: prereleases.and_then(Value::as_bool).unwrap_or(false),
                }
            }
            "git" => Source::Git {
                url: main,
                revision: text("revision"),
                subdirectory: text("subdirectory"),
                warn_unpinned: map
                    .get("warn-unpinned")
                    .or_else(|| map.get("warn_unpinned"))
                    .and_then(Value::as_bool)
                    .unwrap_or(true),
            },
            "local" => Source::Local(main),
            "tarball" => match text("name") {
                Some(name) => Source::Tarball { url: main, name },
                None => return refuse(format!("the package `tarball: {main}` needs a `name`")),
            },
            _ => {
                return refuse(format!(
                    "`private: {main}` needs a service of dbt's vendor; use `git:` with the \
                     repository's address"
                ));
            }
        };
        Ok(Declared { source, rendered: map.clone(), written: map.clone() })
    }

    /// The same with the entry as it was written, which may read a secret that no lock file shows.
    pub fn written_as(mut self, entry: &Value) -> Self {
        if let Some(map) = entry.as_object() {
            self.written = map.clone();
        }
        self
    }

    /// The address as it was written, before templates in it were rendered.
    pub fn written_address(&self) -> Option<&str> {
        KEYS.iter().find_map(|key| self.written.get(*key)).and_then(Value::as_str)
    }

    /// What two entries for the same package share.
    pub(crate) fn key(&self) -> String {
        match &self.source {
            Source::Hub { package, .. } => package.to_lowercase(),
            Source::Git { url, subdirectory, .. } => {
                let url = url.trim_end_matches('/').trim_end_matches(".git");
                format!("{url}#{}", subdirectory.as_deref().unwrap_or_default())
            }
            Source::Local(path) => path.clone(),
            Source::Tarball { url, .. } => url.clone(),
        }
    }
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.source {
            Source::Hub { package, .. } => package,
            Source::Git { url, .. } => url,
            Source::Local(path) => path,
            Source::Tarball { url, .. } => url,
        })
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
