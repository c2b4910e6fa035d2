//! From what is named to exact packages.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidemill_core::{Error, ErrorKind, Result};

use crate::declared::{Declared, Source};
use crate::hub::Hub;
use crate::version::Range;
use crate::{ReadProject, Request, archive, git};

/// An exact package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The name of its project; empty until it is known.
    pub name: String,
    /// The package with its exact version or commit.
    pub declared: Declared,
    /// A newer version of the hub, if one was seen.
    pub newer: Option<String>,
}

impl Locked {
    /// The same exact package from another's address.
    pub fn with_address(mut self, other: &Declared) -> Self {
        match (&mut self.declared.source, &other.source) {
            (Source::Git { url, .. }, Source::Git { url: address, .. })
            | (Source::Tarball { url, .. }, Source::Tarball { url: address, .. }) => {
                url.clone_from(address);
            }
            _ => {}
        }
        self
    }
}

/// Brings packages to this machine, each once.
pub(crate) struct Fetcher<'a> {
    request: &'a Request,
    pub(crate) hub: Hub,
    /// Beside the install folder, so that what lies in it can be moved there.
    pub(crate) scratch: TempDir,
    folders: RefCell<HashMap<String, (PathBuf, Option<String>)>>,
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(request: &'a Request) -> Result<Self> {
        let beside = request.install.parent().unwrap_or(&request.project);
        let scratch = std::fs::create_dir_all(beside)
            .and_then(|()| tempfile::Builder::new().prefix(".packages-").tempdir_in(beside))
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("`{}` cannot be written to", beside.display()))
                    .because(error)
            })?;
        Ok(Fetcher {
            request,
            hub: Hub::new(&request.hub, &request.dbt_version),
            scratch,
            folders: RefCell::default(),
        })
    }

    /// The folder of a package, and the commit of a repository's.
    pub(crate) fn folder(&self, declared: &Declared) -> Result<(PathBuf, Option<String>)> {
        let key = match &declared.source {
            Source::Git { revision, .. } => format!("{} {revision:?}", declared.key()),
            Source::Hub { versions, .. } => format!("{} {versions:?}", declared.key()),
            _ => declared.key(),
        };
        if let Some(found) = self.folders.borrow().get(&key) {
            return Ok(found.clone());
        }
        let into = self.scratch.path().join(format!("fetched-{}", self.folders.borrow().len()));
        let found = match &declared.source {
            Source::Local(path) => (self.request.project.join(path), None),
            Source::Tarball { url, .. } => (archive::fetch(url, &into)?, None),
            Source::Hub { package, versions, .. } => {
                let version = versions.first().map_or("", String::as_str);
                let url = self.hub.archive(package, version)?;
                let folder =
                    archive::fetch(&url, &into).map_err(|error| error.with("package", package))?;
                (folder, None)
            }
            Source::Git { url, revision, subdirectory, .. } => {
                let commit = git::check_out(url, revision.as_deref(), &into)?;
                (within(&into, subdirectory.as_deref(), declared)?, Some(commit))
            }
        };
        self.folders.borrow_mut().insert(key, found.clone());
        Ok(found)
    }
}

/// A folder of a repository, which must lie in it.
fn within(folder: &Path, subdirectory: Option<&str>, declared: &Declared) -> Result<PathBuf> {
    let Some(subdirectory) = subdirectory else { return Ok(folder.to_owned()) };
    let inner = folder.join(subdirectory);
    let inside = match (inner.canonicalize(), folder.canonicalize()) {
        (Ok(inner), Ok(folder)) => inner.starts_with(folder) && inner.is_dir(),
        _ => false,
    };
    if inside {
        return Ok(inner);
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("`{}` has no folder `{subdirectory}`", crate::http::shown(&declared.to_string())),
    ))
}

/// Packages by what they are, in the order in which they were first named.
#[derive(Default)]
struct Listing(Vec<Declared>);

impl Listing {
    /// Adds a package, or its conditions to those of the same one. Gives its place.
    fn add(&mut self, package: Declared) -> Result<usize> {
        let key = package.key();
        let Some(at) = self.0.iter().position(|known| known.key() == key) else {
            self.0.push(package);
            return Ok(self.0.len() - 1);
        };
        let name = package.to_string();
        match (&mut self.0[at].source, package.source) {
            (
                Source::Hub { versions, prereleases, .. },
                Source::Hub { versions: more, prereleases: also, .. },
            ) => {
                versions.extend(more);
                *prereleases |= also;
            }
            (Source::Git { revision, .. }, Source::Git { revision: other, .. }) => {
                match (&revision, other) {
                    (_, None) => {}
                    (None, other) => *revision = other,
                    (Some(one), Some(other)) if *one == other => {}
                    (Some(one), Some(other)) => {
                        return Err(Error::new(
                            ErrorKind::Config,
                            format!(
                                "`{}` is wanted at `{one}` and at `{other}`; name one revision for \
                                 both",
                                crate::http::shown(&name)
                            ),
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(at)
    }
}

pub(crate) fn resolve(fetcher: &Fetcher<'_>, projects: &dyn ReadProject) -> Result<Vec<Locked>> {
    let request = fetcher.request;
    let mut known = Listing::default();
    let mut pending = request.packages.clone();
    // Every round goes one level deeper; a package that needs itself is known by then.
    let mut seen = std::collections::HashSet::new();
    while !pending.is_empty() {
        let mut next = Vec::new();
        for package in std::mem::take(&mut pending) {
            let at = known.add(package)?;
            let exact = exact(fetcher, &known.0[at], projects)?;
            let which = format!("{:?}", exact.0.declared.source);
            if seen.insert(which) {
                next.extend(exact.1);
            }
        }
        pending = next;
    }
    let mut found: Vec<Locked> = Vec::new();
    for package in &known.0 {
        let (mut locked, _) = exact(fetcher, package, projects)?;
        if locked.name.is_empty() {
            locked.name = read(fetcher, &locked.declared, projects)?;
        }
        let clash = |what: &str| {
            Err(Error::new(
                ErrorKind::Config,
                format!("the package `{}` has the name `{}`, as {what} has", package, locked.name),
            ))
        };
        if locked.name == request.name {
            return clash("the project itself");
        }
        if let Some(other) = found.iter().find(|other| other.name == locked.name) {
            return clash(&format!("`{}`", other.declared));
        }
        found.push(locked);
    }
    Ok(found)
}

fn read(fetcher: &Fetcher<'_>, declared: &Declared, projects: &dyn ReadProject) -> Result<String> {
    let (folder, _) = fetcher.folder(declared)?;
    Ok(projects.read(&folder).map_err(|error| error.with("package", declared))?.name)
}

/// The exact package that stands for what is known of it, and what it needs.
fn exact(
    fetcher: &Fetcher<'_>,
    package: &Declared,
    projects: &dyn ReadProject,
) -> Result<(Locked, Vec<Declared>)> {
    let mut declared = package.clone();
    if let Source::Hub { package, versions, prereleases } = &mut declared.source {
        let range = versions.iter().try_fold(Range::default(), |range, text| {
            Ok(range.and(Range::parse([text.as_str()])?))
        })?;
        let choice = fetcher.hub.choose(package, &range, *prereleases)?;
        *versions = vec![choice.version.clone()];
        let needs = fetcher.hub.needs(package, &choice.version)?;
        return Ok((Locked { name: String::new(), declared, newer: choice.newer }, needs));
    }
    let (folder, commit) = fetcher.folder(package)?;
    if !folder.join("dbt_project.yml").is_file() {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "there is no package in `{}`: it has no dbt_project.yml",
                crate::http::shown(&package.to_string())
            ),
        ));
    }
    let file = projects.read(&folder).map_err(|error| error.with("package", package))?;
    if let (Source::Git { revision, .. }, Some(commit)) = (&mut declared.source, commit) {
        *revision = Some(commit);
    }
    // A local package's own local packages are relative to the project, as in dbt, or to it.
    let needs = match &package.source {
        Source::Local(path) => file
            .packages
            .into_iter()
            .map(|mut needed| {
                if let Source::Local(inner) = &mut needed.source
                    && !fetcher.request.project.join(&*inner).join("dbt_project.yml").is_file()
                {
                    *inner = Path::new(path).join(&*inner).to_string_lossy().into_owned();
                }
                needed
            })
            .collect(),
        _ => file.packages,
    };
    Ok((Locked { name: file.name, declared, newer: None }, needs))
}
