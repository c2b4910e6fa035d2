//! Files with types, which are read from any place: on disk, or by the ranges of an object.

use std::fs::File;
use std::sync::Arc;

use tidemill_core::{Error, ErrorKind, Result};

use super::input::{fetched, hash_file};
use super::listing::FileEntry;
use super::place::{Object, Place, cannot};
use super::servers::is_weak;

/// A file to read the footer and the columns of.
pub(super) enum Opened {
    Disk(File),
    Object(Arc<Object>),
}

/// What stands for the content of a file that was opened as a whole.
pub(super) enum Content {
    /// It was hashed on the way.
    Hash(String),
    /// An object is not read twice to be hashed: its version and size.
    Version(Arc<Object>),
    /// Nobody has looked at it.
    Unknown,
}

impl Opened {
    /// To look at some of it.
    pub(super) fn of(entry: &FileEntry) -> Result<Opened> {
        let failed = |error| cannot("cannot open the file", &entry.name, error);
        Ok(match &entry.place {
            Place::Disk(path) => Opened::Disk(File::open(path).map_err(failed)?),
            Place::Web(web) => Opened::Disk(web.on_disk().map_err(failed)?),
            Place::Member(member) => Opened::Disk(member.on_disk().map_err(failed)?),
            Place::Object(object) => Opened::Object(object.clone()),
        })
    }

    /// To read all of it. A file whose version does not stand for its bytes is fetched first.
    pub(super) fn whole(entry: &FileEntry) -> Result<(Opened, Content)> {
        match &entry.place {
            Place::Object(object) if is_weak(object.meta.e_tag.as_deref()) => {
                let (file, hash) = fetched(&entry.place, &entry.name)?;
                Ok((Opened::Disk(file), Content::Hash(hash)))
            }
            Place::Object(object) => {
                Ok((Opened::Object(object.clone()), Content::Version(object.clone())))
            }
            _ => Ok((Opened::of(entry)?, Content::Unknown)),
        }
    }
}

impl Content {
    /// The hash of the file.
    pub(super) fn of(self, entry: &FileEntry) -> Result<String> {
        match self {
            Content::Hash(hash) => Ok(hash),
            Content::Unknown => hash_file(&entry.place, &entry.name),
            Content::Version(object) => Ok(version_hash(&object)),
        }
    }
}

/// Another file than the one that was looked at.
pub(super) fn changed(entry: &FileEntry) -> Error {
    Error::new(ErrorKind::Unavailable, "the file changed while it was read")
        .with("file", &entry.name)
}

/// Stands for the content of an object, which is not read twice to be hashed: its version and size.
pub(super) fn version_hash(object: &Object) -> String {
    let version =
        object.meta.e_tag.clone().unwrap_or_else(|| object.meta.last_modified.to_string());
    let text = format!("{version} {}", object.meta.size);
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}
