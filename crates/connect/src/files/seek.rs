//! Files that are not read from the start to the end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;

use super::place::{Object, Place};

/// A reader that can be moved.
pub(crate) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

impl Place {
    /// The bytes from any place on. What cannot be had so is copied to disk first, and goes with the
    /// load.
    pub(crate) fn open_anywhere(&self) -> io::Result<Box<dyn ReadSeek>> {
        Ok(match self {
            Place::Disk(path) => Box::new(File::open(path)?),
            Place::Object(object) => Box::new(Window {
                object: Arc::clone(object),
                at: 0,
                start: 0,
                bytes: Bytes::new(),
            }),
            Place::Web(web) => Box::new(web.on_disk()?),
            Place::Member(member) => Box::new(member.on_disk()?),
        })
    }
}

/// How much of an object is asked for at once.
const PART: u64 = 1 << 20;

/// An object of which some bytes are in memory.
struct Window {
    object: Arc<Object>,
    at: u64,
    start: u64,
    bytes: Bytes,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.object.meta.size;
        if self.at >= size || buffer.is_empty() {
            return Ok(0);
        }
        if self.at < self.start || self.at >= self.start + self.bytes.len() as u64 {
            let part = self.object.part(self.at, PART.min(size - self.at));
            self.bytes = self.object.handle.block_on(part)?;
            self.start = self.at;
        }
        let from = usize::try_from(self.at - self.start).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.object.meta.size, by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = base.checked_add_signed(by).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a place before the start of the file")
        })?;
        Ok(self.at)
    }
}
