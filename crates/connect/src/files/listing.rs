//! Which files a location means.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures::TryStreamExt;
use globset::{GlobBuilder, GlobMatcher};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStoreExt};
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_objects::{Opened, StoreOptions};
use tokio::runtime::Handle;
use url::Url;

use super::place::{Object, Place};
use super::servers::{Choice, Tree, Wanted};
use super::web;

/// A file as the file system shows it.
#[derive(Debug, Clone)]
pub(crate) struct FileEntry {
    /// What it is called in messages, positions and `_source_file`: the path relative to the
    /// project with `/`, or the absolute path for a file outside.
    pub(crate) name: String,
    pub(crate) place: Place,
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

    /// Of an object: its version stands for the number of the file.
    pub(crate) fn of_object(meta: &ObjectMeta) -> Stamp {
        let modified = meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
        let version = meta.e_tag.as_deref().unwrap_or_default();
        Stamp { size: meta.size, modified, inode: xxhash_rust::xxh3::xxh3_64(version.as_bytes()) }
    }
}

/// The files of all locations, sorted by name, each once. A path without a pattern that does not
/// exist is in `missing`.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: Vec<FileEntry>,
    pub(crate) missing: Vec<String>,
}

pub(super) fn is_pattern(location: &str) -> bool {
    location.contains(['*', '?', '[', '{'])
}

fn wants_hidden(location: &str) -> bool {
    location.split('/').any(|part| part.starts_with('.') && part.len() > 2)
}

fn matcher_of(location: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(location.trim_start_matches("./"))
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Config, format!("`location: {location}` is not a pattern"))
                .because(error)
        })?;
    Ok(glob.compile_matcher())
}

/// `s3://bucket` and what follows.
fn split_address(location: &str) -> (&str, &str) {
    let host = location.find("://").map_or(0, |at| at + 3);
    match location[host..].find('/') {
        Some(at) => (&location[..host + at], &location[host + at + 1..]),
        None => (location, ""),
    }
}

fn is_web(location: &str) -> bool {
    location.starts_with("https://") || location.starts_with("http://")
}

fn no_pattern(location: &str) -> Result<()> {
    if location.contains('*') {
        return Err(Error::new(
            ErrorKind::Config,
            format!("`location: {location}` has a pattern, and an HTTP server cannot be listed"),
        )
        .with("hint", "name each file: `location` may be a list"));
    }
    Ok(())
}

/// Looks the locations up below an address of a server. The files are called by their locations.
pub(crate) fn list_web(
    base: &Url,
    headers: &web::Headers,
    locations: &[String],
    handle: &Handle,
) -> Result<Listing> {
    let mut files = BTreeMap::new();
    let mut missing = Vec::new();
    for location in locations {
        no_pattern(location)?;
        let url = base.join(location.trim_start_matches('/')).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!("`location: {location}` is not part of an address"),
            )
            .because(error)
        })?;
        // The login belongs to this server, and to what is below the address.
        if url.origin() != base.origin() || !url.path().starts_with(base.path()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("`location: {location}` is not below the connection's address"),
            )
            .with("connection's address", base));
        }
        match web::look(url.as_str(), location, headers, handle)? {
            Some(file) => drop(files.insert(file.name.clone(), file)),
            None => missing.push(location.clone()),
        }
    }
    Ok(Listing { files: files.into_values().collect(), missing })
}

/// Looks the locations up below the root of a store, which may be a server with folders. The files are
/// called by their keys.
pub(crate) fn list_store(
    store: &Opened,
    tree: Option<&Tree>,
    locations: &[String],
    handle: &Handle,
) -> Result<Listing> {
    let mut files = BTreeMap::new();
    let mut missing = Vec::new();
    for location in locations {
        let key = location.trim_start_matches("./").trim_start_matches('/');
        if tidemill_objects::is_address(location) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`location: {location}` is an address; this connection is `{}`",
                    store.name
                ),
            )
            .with("hint", "write the path below the connection's address"));
        }
        let found = list_objects(store, tree, key, "", handle)?;
        if found.is_empty() {
            missing.push(location.clone());
        }
        files.extend(found.into_iter().map(|file| (file.name.clone(), file)));
    }
    Ok(Listing { files: files.into_values().collect(), missing })
}

/// The path of an object by its name, as it is where that can be.
pub(crate) fn object_path(name: &str) -> ObjectPath {
    ObjectPath::parse(name).unwrap_or_else(|_| ObjectPath::from(name))
}

/// The objects of one location; `before` is put before their keys as the files' names.
fn list_objects(
    store: &Opened,
    tree: Option<&Tree>,
    location: &str,
    before: &str,
    handle: &Handle,
) -> Result<Vec<FileEntry>> {
    let entry = |meta: ObjectMeta| FileEntry {
        name: format!("{before}{}", meta.location),
        stamp: Stamp::of_object(&meta),
        place: Place::Object(Arc::new(Object {
            store: store.store.clone(),
            meta,
            handle: handle.clone(),
        })),
    };
    let failed = |error, path: &str| {
        tidemill_objects::explain(error, "the files of the store cannot be listed", path)
            .with("store", &store.name)
    };
    if !is_pattern(location) {
        let path = object_path(location);
        return match handle.block_on(store.store.head(&path)) {
            // A store below a prefix names the object with it.
            Ok(meta) => Ok(vec![entry(ObjectMeta { location: path, ..meta })]),
            Err(object_store::Error::NotFound { .. }) => {
                // A folder, perhaps.
                let below = async { store.store.list(Some(&path)).try_next().await };
                match handle.block_on(below) {
                    Ok(Some(_)) => Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "`location: {location}` is a folder; write `{}/*.csv`, say",
                            location.trim_end_matches('/')
                        ),
                    )),
                    Ok(None) => Ok(Vec::new()),
                    Err(error) => Err(failed(error, location)),
                }
            }
            Err(error) => Err(failed(error, location)),
        };
    }
    let matcher = matcher_of(location)?;
    let start = static_prefix(location);
    let prefix = object_path(&start.to_string_lossy());
    let hidden = wants_hidden(location);
    let wanted: Arc<Choice> = Arc::new(move |key: &str| {
        matcher.is_match(key) && (hidden || !key.split('/').any(|part| part.starts_with('.')))
    });
    let listed = async {
        let mut found = Vec::new();
        let mut all = match tree {
            Some(tree) => {
                let folders = folders_of(location, hidden);
                tree.walk(prefix.as_ref(), Wanted { files: wanted.clone(), folders })
            }
            None => store.store.list((!prefix.as_ref().is_empty()).then_some(&prefix)),
        };
        while let Some(meta) = all.try_next().await? {
            if wanted(meta.location.as_ref()) {
                found.push(meta);
            }
        }
        object_store::Result::Ok(found)
    };
    let found = handle.block_on(listed).map_err(|error| failed(error, location))?;
    Ok(found.into_iter().map(entry).collect())
}

/// Says which folders may hold files that a pattern means.
fn folders_of(location: &str, hidden: bool) -> Arc<Choice> {
    let parts: Vec<&str> = location.split('/').collect();
    let folders = &parts[..parts.len() - 1];
    // Braces may go over several folders.
    let plain = folders.iter().all(|part| part.matches('{').count() == part.matches('}').count());
    let deep = folders.iter().position(|part| part.contains("**")).or((!plain).then_some(0));
    let fixed = &folders[..deep.unwrap_or(folders.len())];
    let matchers: Vec<Option<GlobMatcher>> =
        fixed.iter().map(|part| matcher_of(part).ok()).collect();
    let deepest = deep.map_or(folders.len(), |_| usize::MAX);
    Arc::new(move |folder: &str| {
        let names: Vec<&str> = folder.split('/').collect();
        let wanted = |(name, matcher): (&&str, &Option<GlobMatcher>)| {
            matcher.as_ref().is_none_or(|matcher| matcher.is_match(name))
        };
        names.len() <= deepest
            && (hidden || names.last().is_none_or(|name| !name.starts_with('.')))
            && names.iter().zip(&matchers).all(wanted)
    })
}

/// Looks the locations up, below a folder or by their own address.
pub(crate) fn list(project: &Path, locations: &[String], handle: &Handle) -> Result<Listing> {
    let mut files = BTreeMap::new();
    let mut missing = Vec::new();
    for location in locations {
        if is_web(location) {
            match no_pattern(location)
                .and_then(|()| web::look(location, location, &web::Headers::default(), handle))?
            {
                Some(file) => drop(files.insert(file.name.clone(), file)),
                None => missing.push(location.clone()),
            }
            continue;
        }
        if tidemill_objects::is_address(location) {
            // An address of its own, with the credentials of the environment.
            let (bucket, key) = split_address(location);
            let store = tidemill_objects::open(bucket, &StoreOptions::new())?;
            let found = list_objects(&store, None, key, &format!("{bucket}/"), handle)?;
            if found.is_empty() {
                missing.push(location.clone());
            }
            files.extend(found.into_iter().map(|file| (file.name.clone(), file)));
            continue;
        }
        let is_pattern = is_pattern(location);
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
                    files.insert(
                        name.clone(),
                        FileEntry { name, place: Place::Disk(literal), stamp },
                    );
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
        let matcher = matcher_of(location)?;
        let start = static_prefix(location);
        let absolute = Path::new(location).is_absolute();
        let before = files.len();
        let walk = Walk { project, matcher: &matcher, absolute, hidden: wants_hidden(location) };
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
            files.insert(name.clone(), FileEntry { name, place: Place::Disk(path), stamp });
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
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let listing = list(project, &[location.to_owned()], runtime.handle()).unwrap();
        listing.files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn folders_that_may_hold_what_is_meant() {
        for (location, folder, may) in [
            ("*.csv", "a", false),
            ("a/*.csv", "a", true),
            ("a/*.csv", "b", false),
            ("a/*.csv", "a/b", false),
            ("a/*/c*.csv", "a/b", true),
            ("a/b*/*.csv", "a/c", false),
            ("a/**/*.csv", "a/b/c", true),
            ("a/**/*.csv", "b", false),
            ("**/*.csv", "a/b/c", true),
            ("a/*/*.csv", "a/.b", false),
            ("{a/x,b}/*.csv", "a", true),
            ("{a/x,b}/*.csv", "a/x", true),
        ] {
            assert_eq!(folders_of(location, false)(folder), may, "{location} {folder}");
        }
        assert!(folders_of("a/.b/*.csv", true)("a/.b"));
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
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let list = |location: &str| super::list(project, &[location.to_owned()], runtime.handle());
        assert!(list("d").is_err());
        assert_eq!(list("no.csv").unwrap().missing, ["no.csv"]);
    }
}
