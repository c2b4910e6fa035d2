//! Archives: their members are files.
//!
//! A member is called by the archive's name, `/`, and its path in it, and is known like any file: by
//! name and content. An archive that grows gives its new members alone. Nothing is written out by
//! name, so paths that lead elsewhere do no harm. A zip archive is read by its directory; a tar archive
//! has none, so its members are copied to one temporary file in the pass that finds them.

mod tar;
mod zip;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tidemill_core::{Error, ErrorKind, Result};

use super::listing::{FileEntry, Listing, Stamp};
use super::place::{Place, cannot};
use super::position::FilesPosition;
use super::settings::{FileFormat, Locations, Resolved};

/// Which members are read, and how large they may be.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    written: Vec<String>,
    patterns: Option<GlobSet>,
    hidden: bool,
    /// Bytes of all of them together.
    limit: u64,
}

impl Members {
    pub(crate) fn new(written: Option<&Locations>, limit: u64) -> Result<Members> {
        let written = written.map(|written| written.all().to_vec()).unwrap_or_default();
        let mut patterns = GlobSetBuilder::new();
        for pattern in &written {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            patterns.add(glob.map_err(|error| {
                Error::new(ErrorKind::Config, format!("`members: {pattern}` is not a pattern"))
                    .because(error)
            })?);
        }
        let patterns = patterns.build().map_err(|error| {
            Error::new(ErrorKind::Config, "`members` are no patterns").because(error)
        })?;
        let names_hidden = |part: &str| part.starts_with('.') && part != "..";
        let hidden = written.iter().any(|it| it.split('/').any(names_hidden));
        let patterns = (!written.is_empty()).then_some(patterns);
        Ok(Members { written, patterns, hidden, limit })
    }

    fn wants(&self, path: &str) -> bool {
        // What macOS puts beside the files, too.
        let hidden = |part: &str| (part.starts_with('.') && part != "..") || part == "__MACOSX";
        let hidden = path.split('/').any(hidden);
        (self.hidden || !hidden) && self.patterns.as_ref().is_none_or(|set| set.is_match(path))
    }
}

/// An archive as it was when it was looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveRecord {
    size: u64,
    modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    patterns: Vec<String>,
    members: Vec<MemberRecord>,
}

/// A member that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MemberRecord {
    path: String,
    size: u64,
    /// What changes with the content.
    version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zip,
    Tar,
}

impl Kind {
    fn of_name(name: &str) -> Option<Kind> {
        const TARS: [&str; 10] = [
            ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz",
            ".txz",
        ];
        let name = name.split('?').next().unwrap_or_default().to_ascii_lowercase();
        match name.ends_with(".zip") {
            true => Some(Kind::Zip),
            false => TARS.iter().any(|end| name.ends_with(end)).then_some(Kind::Tar),
        }
    }
}

/// Whether a file is an archive, by its name.
pub(crate) fn is_archive(name: &str) -> bool {
    Kind::of_name(name).is_some()
}

/// Puts the members of archives in their place. The position learns what the archives are now.
pub(crate) fn expand(
    listing: Listing,
    settings: &Resolved,
    position: &mut FilesPosition,
) -> Result<Listing> {
    let members = &settings.members;
    // Without a word about members an archive is one of the files that are rows.
    if settings.written.format == Some(FileFormat::File) && members.patterns.is_none() {
        return Ok(listing);
    }
    let mut files = BTreeMap::new();
    let mut records = BTreeMap::new();
    for entry in listing.files {
        let Some(kind) = Kind::of_name(&entry.name) else {
            if members.patterns.is_some() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`members` is for archives, and `{}` is none by its name", entry.name),
                )
                .with(
                    "help",
                    "archives end with .zip, .tar, .tar.gz, .tar.zst, .tar.bz2 or .tar.xz",
                ));
            }
            files.insert(entry.name.clone(), entry);
            continue;
        };
        let name = entry.name.clone();
        let archive =
            Arc::new(Archive { kind, entry, members: members.clone(), opened: Mutex::new(None) });
        let known = position.archives.get(&name).filter(|known| archive.is_as(known)).cloned();
        let record = match known {
            Some(known) => known,
            None => archive.record()?,
        };
        for member in &record.members {
            let stamp = archive.stamp_of(member.size, archive.entry.stamp);
            let name = format!("{name}/{}", member.path);
            let place = Place::Member(Arc::new(Member {
                archive: Arc::clone(&archive),
                record: member.clone(),
                copy: Mutex::new(None),
            }));
            files.insert(name.clone(), FileEntry { name, place, stamp });
        }
        records.insert(name, record);
    }
    position.archives = records;
    Ok(Listing { files: files.into_values().collect(), missing: listing.missing })
}

/// An archive, opened when a member of it is.
#[derive(Debug)]
pub(crate) struct Archive {
    kind: Kind,
    entry: FileEntry,
    members: Members,
    opened: Mutex<Option<Arc<Opened>>>,
}

#[derive(Debug)]
enum Opened {
    Zip(HashMap<String, zip::Entry>),
    Tar { file: NamedTempFile, members: HashMap<String, tar::Entry> },
}

impl Archive {
    /// Whether it is as it was when it was looked into.
    fn is_as(&self, known: &ArchiveRecord) -> bool {
        let stamp = self.entry.stamp;
        known.size == stamp.size
            && known.modified == stamp.modified
            && known.version.as_deref() == self.entry.place.version()
            && known.patterns == self.members.written
    }

    /// Looks into it.
    fn record(&self) -> Result<ArchiveRecord> {
        let opened = self.opened().map_err(|error| {
            let message = "the archive cannot be read; is it complete?";
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                    cannot("cannot open the archive", &self.entry.name, error)
                }
                _ => Error::new(ErrorKind::Data, message)
                    .with("file", &self.entry.name)
                    .because(error),
            }
        })?;
        let mut members: Vec<MemberRecord> = match opened.as_ref() {
            Opened::Zip(members) => members
                .iter()
                .map(|(path, entry)| MemberRecord {
                    path: path.clone(),
                    size: entry.size,
                    version: format!("{:08x}-{}", entry.checksum, entry.size),
                })
                .collect(),
            Opened::Tar { members, .. } => members
                .iter()
                .map(|(path, entry)| MemberRecord {
                    path: path.clone(),
                    size: entry.size,
                    version: entry.hash.clone(),
                })
                .collect(),
        };
        members.sort_by(|left, right| left.path.cmp(&right.path));
        let stamp = self.entry.stamp;
        Ok(ArchiveRecord {
            size: stamp.size,
            modified: stamp.modified,
            version: self.entry.place.version().map(str::to_owned),
            patterns: self.members.written.clone(),
            members,
        })
    }

    fn opened(&self) -> io::Result<Arc<Opened>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.as_ref() {
            return Ok(Arc::clone(opened));
        }
        let (place, members) = (&self.entry.place, &self.members);
        let fresh = Arc::new(match self.kind {
            Kind::Zip => Opened::Zip(zip::directory(place, members)?),
            Kind::Tar => {
                let (file, members) = tar::unpacked(place, &self.entry.name, members)?;
                Opened::Tar { file, members }
            }
        });
        *opened = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// What a member of the archive looks like, when the archive looks so.
    fn stamp_of(&self, size: u64, archive: Stamp) -> Stamp {
        let inode = archive.inode ^ archive.size.rotate_left(32);
        Stamp { size, modified: archive.modified, inode }
    }
}

/// A member of an archive.
#[derive(Debug)]
pub(crate) struct Member {
    archive: Arc<Archive>,
    record: MemberRecord,
    copy: Mutex<Option<Arc<NamedTempFile>>>,
}

impl Member {
    /// Where the archive is.
    pub(crate) fn archive(&self) -> &Place {
        &self.archive.entry.place
    }

    pub(crate) fn version(&self) -> &str {
        &self.record.version
    }

    pub(crate) fn stamp_now(&self) -> io::Result<Stamp> {
        Ok(self.archive.stamp_of(self.record.size, self.archive().stamp()?))
    }

    /// The bytes from the start on. What is not as the archive's directory says ends with an error.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let path = &self.record.path;
        let gone = || io::Error::new(io::ErrorKind::ResourceBusy, "the archive has changed");
        match self.archive.opened()?.as_ref() {
            Opened::Zip(members) => zip::open(self.archive(), members.get(path).ok_or_else(gone)?),
            Opened::Tar { file, members } => {
                let entry = members.get(path).ok_or_else(gone)?;
                let mut file = File::open(file.path())?;
                file.seek(SeekFrom::Start(entry.start))?;
                Ok(Box::new(file.take(entry.size)))
            }
        }
    }

    /// The whole of it as a file on disk, which goes with the load.
    pub(crate) fn on_disk(&self) -> io::Result<File> {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match copy.as_ref() {
            Some(file) => Arc::clone(file),
            None => {
                let mut file = NamedTempFile::new()?;
                io::copy(&mut self.open()?, &mut file)?;
                file.flush()?;
                let file = Arc::new(file);
                *copy = Some(Arc::clone(&file));
                file
            }
        };
        File::open(file.path())
    }
}

/// The path of a member as it is shown and matched.
fn shown(path: &str) -> String {
    let path = path.replace('\\', "/");
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

fn too_large(limit: u64) -> io::Error {
    io::Error::other(format!(
        "its members are larger than {limit} bytes together (`max_unpacked_bytes`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_chosen() {
        let of = |patterns: &[&str]| {
            let patterns = patterns.iter().map(|it| (*it).to_owned()).collect();
            Members::new(Some(&Locations::Many(patterns)), 0).unwrap()
        };
        let all = Members::new(None, 0).unwrap();
        assert!(all.wants("a/b.csv"));
        assert!(!all.wants("__MACOSX/b.csv") && !all.wants("a/.DS_Store"));
        assert!(of(&["*.csv"]).wants("b.csv") && !of(&["*.csv"]).wants("a/b.csv"));
        assert!(of(&["**/*.csv"]).wants("a/b.csv") && of(&["**/*.csv"]).wants("b.csv"));
        assert_eq!(shown("./..\\a//b.csv"), "../a/b.csv");
        assert!(Members::new(Some(&Locations::One("[".into())), 0).is_err());
    }

    #[test]
    fn archives_are_known_by_their_names() {
        for name in ["a.zip", "A.ZIP", "x.tar.gz", "x.tgz", "b.tar", "https://h/x.tar.xz?a=b"] {
            assert!(is_archive(name), "{name}");
        }
        assert!(!is_archive("a.csv.gz") && !is_archive("tar"));
    }
}
