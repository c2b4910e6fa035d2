//! Archives of packages.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use tidemill_core::{Error, ErrorKind, Result};

use crate::http::{self, shown};

/// What an archive may hold, unpacked: far above any package.
const LIMIT: u64 = 2 << 30;

/// Fetches an archive and unpacks it; gives the package's folder in it.
pub(crate) fn fetch(url: &str, into: &Path) -> Result<PathBuf> {
    let bytes = match url.strip_prefix("file://") {
        Some(path) => fs::read(path).map_err(|error| {
            Error::new(ErrorKind::Io, format!("the archive `{path}` cannot be read")).because(error)
        })?,
        None => {
            let answer = http::get(url)?;
            if answer.status != 200 {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("`{}` is answered with {}", shown(url), answer.status),
                ));
            }
            answer.body
        }
    };
    unpack(&bytes, into).map_err(|error| {
        Error::new(
            ErrorKind::Config,
            format!("what `{}` gives cannot be unpacked as a .tar.gz", shown(url)),
        )
        .because(error)
    })
}

/// Unpacks a `.tar.gz`. Entries that would lie outside of the folder are left out.
fn unpack(bytes: &[u8], into: &Path) -> std::io::Result<PathBuf> {
    fs::create_dir_all(into)?;
    let content = flate2::read::GzDecoder::new(bytes).take(LIMIT);
    let mut archive = tar::Archive::new(content);
    archive.set_preserve_permissions(false);
    archive.set_preserve_mtime(false);
    archive.unpack(into)?;
    if into.join("dbt_project.yml").is_file() {
        return Ok(into.to_owned());
    }
    // One folder that holds everything, as the archives of repositories have it.
    let folders: Vec<PathBuf> = fs::read_dir(into)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("dbt_project.yml").is_file())
        .collect();
    match folders.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(std::io::Error::other("there is no dbt_project.yml in it")),
    }
}
