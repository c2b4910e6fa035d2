//! Which files a location means.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use globset::{GlobBuilder, GlobMatcher};
use tidemill_core::{Error, ErrorKind, Result};

/// A file as the file system shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// What it is called in messages, positions and `_source_file`: the path relative to the
    /// project with `/`, or the absolute path for a file outside.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// The file's number on its device, so that a replaced file is another one. 0 where unknown.
    pub(crate) inode: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> std::io::Result<Stamp> {
        let metadata = std::fs::metadata(path)?;
        let modified = metadata.modified()?;
        let modified = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        };
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Stamp { size: metadata.len(), modified, inode })
    }
}

/// The files of all locations, sorted by name, each once. A path without a pattern that does not
/// exist is in `missing`.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<FileEntry>,
    pub(crate) missing: Vec<String>,
}

/// Looks the locations up.
pub(crate) fn list(project: &Path, locations: &[String]) -> Result<Listing> {
    let mut files = BTreeMap::new();
    let mut missing = Vec::new();
    for location in locations {
        let is_pattern = location.contains(['*', '?', '[', '{']);
        let literal = project.join(location);
        if !is_pattern || literal.is_file() {
            match Stamp::of(&literal) {
                Ok(_) if literal.is_dir() => {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "`location: {location}` is a folder; write `{}/*.csv`, say",
                            location.trim_end_matches('/')
                        ),
                    ));
                }
                Ok(stamp) => {
                    let name = name_of(project, &literal);
                    files.insert(name.clone(), FileEntry { name, path: literal, stamp });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing.push(location.clone());
                }
                Err(error) => {
                    return Err(Error::new(ErrorKind::Io, "cannot look at the file")
                        .with("file", location)
                        .because(error));
                }
            }
            continue;
        }
        let matcher = GlobBuilder::new(location.trim_start_matches("./"))
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Config, format!("`location: {location}` is not a pattern"))
                    .because(error)
            })?
            .compile_matcher();
        let start = static_prefix(location);
        let absolute = Path::new(location).is_absolute();
        let before = files.len();
        let walk = Walk {
            project,
            matcher: &matcher,
            absolute,
            hidden: location.split('/').any(|part| part.starts_with('.') && part.len() > 2),
        };
        walk.folder(&project.join(&start), &mut files, 0)?;
        if files.len() == before {
            missing.push(location.clone());
        }
    }
    Ok(Listing { files: files.into_values().collect(), missing })
}

/// The folders of a pattern before the first one that has a pattern in it.
fn static_prefix(location: &str) -> PathBuf {
    let mut prefix = PathBuf::new();
    let mut parts = Path::new(location.trim_start_matches("./")).components().peekable();
    while let Some(part) = parts.next() {
        let text = part.as_os_str().to_string_lossy();
        if text.contains(['*', '?', '[', '{']) || parts.peek().is_none() {
            break;
        }
        prefix.push(part);
    }
    prefix
}

struct Walk<'a> {
    project: &'a Path,
    matcher: &'a GlobMatcher,
    absolute: bool,
    hidden: bool,
}

/// How deep folders may be nested: a symbolic link to a folder above ends here.
const DEEPEST: usize = 64;

impl Walk<'_> {
    fn folder(
        &self,
        folder: &Path,
        files: &mut BTreeMap<String, FileEntry>,
        depth: usize,
    ) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Io, "cannot list the folder")
                .with("folder", folder.display())
                .because(error)
        };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let hidden =
                path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if hidden && !self.hidden {
                continue;
            }
            if path.is_dir() {
                if depth < DEEPEST {
                    self.folder(&path, files, depth + 1)?;
                }
                continue;
            }
            let shown = if self.absolute {
                path.clone()
            } else {
                path.strip_prefix(self.project).unwrap_or(&path).to_path_buf()
            };
            if !self.matcher.is_match(&shown) {
                continue;
            }
            // A file that goes away between listing and looking was never there.
            let Ok(stamp) = Stamp::of(&path) else { continue };
            let name = name_of(self.project, &path);
            files.insert(name.clone(), FileEntry { name, path, stamp });
        }
        Ok(())
    }
}

fn name_of(project: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(project).unwrap_or(path);
    let mut parts: Vec<String> = Vec::new();
    for part in relative.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if parts.last().is_some_and(|last| last != ".." && last != "/") =>
            {
                parts.pop();
            }
            part => parts.push(part.as_os_str().to_string_lossy().into_owned()),
        }
    }
    parts.join("/").replace("//", "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(project: &Path, location: &str) -> Vec<String> {
        let listing = list(project, &[location.to_owned()]).unwrap();
        listing.files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn patterns() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path();
        for name in ["a.csv", "b.csv.gz", ".hidden.csv", "d/c.csv", "d/e/f.csv", "d/e/g.json"] {
            let path = project.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let cases: [(&str, &[&str]); 8] = [
            ("*.csv", &["a.csv"]),
            ("./*.csv", &["a.csv"]),
            ("a.csv", &["a.csv"]),
            ("?.csv*", &["a.csv", "b.csv.gz"]),
            ("**/*.csv", &["a.csv", "d/c.csv", "d/e/f.csv"]),
            ("d/**/*.{csv,json}", &["d/c.csv", "d/e/f.csv", "d/e/g.json"]),
            ("d/*.csv", &["d/c.csv"]),
            ("nothing/*.csv", &[]),
        ];
        for (location, expected) in cases {
            assert_eq!(names(project, location), expected, "{location}");
        }
        let outside = project.join("d/../a.csv").to_string_lossy().into_owned();
        assert_eq!(names(&project.join("d"), "../a.csv").len(), 1);
        assert_eq!(names(project, &outside), ["a.csv"]);
        assert!(list(project, &["d".to_owned()]).is_err());
        assert_eq!(list(project, &["no.csv".to_owned()]).unwrap().missing, ["no.csv"]);
    }
}
