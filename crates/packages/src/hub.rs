//! The hub's listing of a package.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use crate::declared::Declared;
use crate::http;
use crate::version::Range;

/// What a hub says, each package asked for once.
pub(crate) struct Hub {
    base: String,
    dbt_version: String,
    known: RefCell<HashMap<String, Rc<Value>>>,
}

/// The version that was chosen.
pub(crate) struct Choice {
    pub(crate) version: String,
    /// The newest there is, when it is another.
    pub(crate) newer: Option<String>,
}

impl Hub {
    pub(crate) fn new(base: &str, dbt_version: &str) -> Self {
        Hub {
            base: base.trim_end_matches('/').to_owned(),
            dbt_version: dbt_version.to_owned(),
            known: RefCell::default(),
        }
    }

    fn listing(&self, package: &str) -> Result<Rc<Value>> {
        if let Some(found) = self.known.borrow().get(package) {
            return Ok(found.clone());
        }
        let url = format!("{}/api/v1/{package}.json", self.base);
        let answer = http::get(&url).map_err(|error| error.with("package", package))?;
        let problem =
            |message: String| Error::new(ErrorKind::Config, message).with("hub", &self.base);
        if answer.status == 404 {
            return Err(problem(format!(
                "the hub has no package `{package}`; look for its name at {}",
                self.base
            )));
        }
        if answer.status != 200 {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the hub answers {} for the package `{package}`", answer.status),
            )
            .with("hub", &self.base));
        }
        let listing: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            problem(format!("the hub's listing of `{package}` is not JSON")).because(error)
        })?;
        let listing = Rc::new(listing);
        self.known.borrow_mut().insert(package.to_owned(), listing.clone());
        Ok(listing)
    }

    /// The best version in a range that runs with the dbt whose language is spoken here.
    pub(crate) fn choose(&self, package: &str, range: &Range, prereleases: bool) -> Result<Choice> {
        let listing = self.listing(package)?;
        let versions = listing.get("versions").and_then(Value::as_object);
        let fits = |entry: &Value| {
            let wanted: Vec<&str> = match entry.get("require_dbt_version") {
                Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
                Some(Value::String(text)) => vec![text],
                _ => return true,
            };
            match Range::parse(wanted) {
                Ok(range) => range.best([self.dbt_version.as_str()], true).is_some(),
                Err(_) => true,
            }
        };
        let all: Vec<&str> =
            versions.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let fitting: Vec<&str> = versions
            .into_iter()
            .flatten()
            .filter(|(_, entry)| fits(entry))
            .map(|(name, _)| name.as_str())
            .collect();
        let Some(version) = range.best(fitting.iter().copied(), prereleases) else {
            let newest = Range::default().best(all.iter().copied(), prereleases);
            let message = match (range.best(all.iter().copied(), prereleases), newest) {
                (Some(found), _) => format!(
                    "`{package}` {found} lies in `{range}`, but does not run with dbt {}",
                    self.dbt_version
                ),
                (None, Some(newest)) => {
                    format!("no version of `{package}` lies in `{range}`; the newest is {newest}")
                }
                (None, None) => format!("the hub lists no version of `{package}`"),
            };
            return Err(Error::new(ErrorKind::Config, message).with("hub", &self.base));
        };
        let newest = Range::default().best(fitting, prereleases || range.names_prerelease());
        Ok(Choice { newer: newest.filter(|newest| *newest != version), version })
    }

    fn version(&self, package: &str, version: &str) -> Result<Value> {
        let listing = self.listing(package)?;
        let found = listing.get("versions").and_then(|versions| versions.get(version));
        found.cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("the hub has no version {version} of `{package}`"),
            )
            .with("hub", &self.base)
        })
    }

    /// What a version needs in turn.
    pub(crate) fn needs(&self, package: &str, version: &str) -> Result<Vec<Declared>> {
        let version = self.version(package, version)?;
        let packages = version.get("packages").and_then(Value::as_array);
        packages.into_iter().flatten().map(Declared::parse).collect()
    }

    /// Where a version's archive is.
    pub(crate) fn archive(&self, package: &str, version: &str) -> Result<String> {
        let found = self.version(package, version)?;
        let url = found.pointer("/downloads/tarball").and_then(Value::as_str);
        url.map(str::to_owned).ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("the hub names no archive of `{package}` {version}"),
            )
            .with("hub", &self.base)
        })
    }
}
