//! Finding the files of a project.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// Where it is on disk.
    pub(crate) path: PathBuf,
    /// Its path below the project folder, with forward slashes.
    pub(crate) original: String,
    /// Its path below the resource folder, with forward slashes.
    pub(crate) relative: String,
}

/// All files below `root/folder` with one of these extensions, sorted by path. A folder that does
/// not exist has none; names that begin with a dot are left out; a folder that links to one of its
/// own parents is entered once.
pub(crate) fn files(root: &Path, folder: &str, extensions: &[&str]) -> Vec<Found> {
    let folder = folder.trim_end_matches('/').trim_start_matches("./");
    let start = root.join(folder);
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = vec![(start, String::new())];
    while let Some((directory, below)) = waiting.pop() {
        // Links may make a circle.
        let identity = directory.canonicalize().unwrap_or_else(|_| directory.clone());
        if !seen.insert(identity) {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            let relative = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let is_folder = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => path.is_dir(),
                Ok(kind) => kind.is_dir(),
                Err(_) => false,
            };
            if is_folder {
                waiting.push((path, relative));
            } else if extension_of(&name)
                .is_some_and(|extension| extensions.contains(&extension.as_str()))
            {
                let original = if folder.is_empty() || folder == "." {
                    relative.clone()
                } else {
                    format!("{folder}/{relative}")
                };
                found.push(Found { path, original, relative });
            }
        }
    }
    found.sort_by(|a, b| a.original.cmp(&b.original));
    found
}

fn extension_of(name: &str) -> Option<String> {
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}

/// The last part of a path without its extension.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The folders of a path below the resource folder.
pub(crate) fn folders(relative: &str) -> impl Iterator<Item = &str> {
    let count = relative.matches('/').count();
    relative.split('/').take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_extension_in_order() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "models/b.sql",
            "models/a/z.sql",
            "models/a/.hidden.sql",
            "models/x.yml",
            "other/q.sql",
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names: Vec<String> = files(root.path(), "models", &["sql"])
            .into_iter()
            .map(|found| found.original)
            .collect();
        assert_eq!(names, ["models/a/z.sql", "models/b.sql"]);
        assert_eq!(folders("a/b/z.sql").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(stem("a/b/z.v1.sql"), "z.v1");
    }
}
