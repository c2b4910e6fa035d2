//! From exact packages to folders, all at once.

use std::fs;
use std::path::Path;

use tidemill_core::{Error, ErrorKind, Result};

use crate::declared::Source;
use crate::resolve::{Fetcher, Locked};
use crate::{Installed, ReadProject, Request};

pub(crate) fn install(
    request: &Request,
    fetcher: &Fetcher<'_>,
    packages: &[Locked],
    projects: &dyn ReadProject,
) -> Result<Vec<Installed>> {
    let staged = fetcher.scratch.path().join("staged");
    let failed = |what: &Path, error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("`{}` cannot be written", what.display())).because(error)
    };
    fs::create_dir_all(&staged).map_err(|error| failed(&staged, error))?;
    let mut installed = Vec::new();
    for package in packages {
        let (folder, _) = fetcher.folder(&package.declared)?;
        let name =
            projects.read(&folder).map_err(|error| error.with("package", &package.declared))?.name;
        let place = staged.join(&name);
        let placed = match &package.declared.source {
            Source::Local(_) => link(&folder, &place),
            _ => copy(&folder, &place),
        };
        placed.map_err(|error| failed(&place, error))?;
        installed.push(Installed { name, which: which(package), newer: package.newer.clone() });
    }
    let old = fetcher.scratch.path().join("old");
    let there = fs::symlink_metadata(&request.install).is_ok();
    if there {
        fs::rename(&request.install, &old).map_err(|error| failed(&request.install, error))?;
    }
    if let Err(error) = fs::rename(&staged, &request.install) {
        if there {
            // Best effort: the folder that was there is better than none.
            let _ = fs::rename(&old, &request.install);
        }
        return Err(failed(&request.install, error));
    }
    Ok(installed)
}

fn which(package: &Locked) -> String {
    match &package.declared.source {
        Source::Hub { versions, .. } => {
            format!("version {}", versions.first().map_or("", String::as_str))
        }
        Source::Git { revision, .. } => {
            let revision = revision.as_deref().unwrap_or("head");
            format!("revision {}", revision.get(..10).unwrap_or(revision))
        }
        Source::Local(path) => format!("from {path}"),
        Source::Tarball { .. } => "from its archive".to_owned(),
    }
}

/// A local package is used where it lies, so that a change of it is seen.
#[cfg(unix)]
fn link(folder: &Path, place: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(folder.canonicalize()?, place)
}

#[cfg(not(unix))]
fn link(folder: &Path, place: &Path) -> std::io::Result<()> {
    copy(folder, place)
}

/// Copies a folder without its history.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == ".git" {
            continue;
        }
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&path, &target)?;
        } else if kind.is_file() {
            fs::copy(&path, &target)?;
        }
        // A link of somebody else's package may lead anywhere: it is left out.
    }
    Ok(())
}
