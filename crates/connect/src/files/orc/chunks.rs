//! The bytes of a file as the library asks for them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Empty, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use orc_rust::reader::ChunkReader;

use crate::files::opened::Opened;
use crate::files::place::Object;

/// A file of which ranges are read, and none beyond its end.
pub(super) struct Chunks {
    source: Source,
    size: u64,
}

enum Source {
    Disk(RefCell<File>),
    Object(Arc<Object>),
}

/// What an ORC file begins with.
const MAGIC: &[u8] = b"ORC";

/// How large a block without its compression may be: sixteen times what writers choose.
const LARGEST_BLOCK: u64 = 16 << 20;

/// The size of blocks (field 3, a whole number) by the end of a file.
fn block_size(mut postscript: &[u8]) -> Option<u64> {
    let mut found = 0;
    while !postscript.is_empty() {
        let key = whole(&mut postscript)?;
        match key & 7 {
            0 => {
                let value = whole(&mut postscript)?;
                if key >> 3 == 3 {
                    found = value;
                }
            }
            2 => {
                let length = usize::try_from(whole(&mut postscript)?).ok()?;
                postscript = postscript.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(found)
}

/// A number of seven bits a byte, the lowest first.
fn whole(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127).checked_shl(at * 7)?;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Chunks {
    pub(super) fn new(opened: Opened) -> io::Result<Chunks> {
        Ok(match opened {
            Opened::Disk(file) => {
                let size = file.metadata()?.len();
                Chunks { source: Source::Disk(RefCell::new(file)), size }
            }
            Opened::Object(object) => {
                let size = object.meta.size;
                Chunks { source: Source::Object(object), size }
            }
        })
    }

    /// Whether it begins as such a file does, and its end asks for no more memory than such files do.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.size < 16 || self.get_bytes(0, MAGIC.len() as u64)? != MAGIC {
            return Err(damaged("it does not begin with `ORC`"));
        }
        let tail = self.get_bytes(self.size - self.size.min(256), self.size.min(256))?;
        let length = tail.last().map_or(0, |length| usize::from(*length));
        let start = (tail.len() - 1).checked_sub(length);
        let postscript = start.map(|start| &tail[start..tail.len() - 1]);
        match postscript.and_then(block_size) {
            Some(size) if size <= LARGEST_BLOCK => Ok(()),
            Some(_) => Err(damaged("its blocks are larger than such files have them")),
            None => Err(damaged("its end cannot be read")),
        }
    }
}

impl ChunkReader for Chunks {
    type T = Empty;

    fn len(&self) -> u64 {
        self.size
    }

    fn get_read(&self, _: u64) -> io::Result<Empty> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn get_bytes(&self, from: u64, length: u64) -> io::Result<Bytes> {
        if from.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(damaged("a part of it would be behind its end"));
        }
        match &self.source {
            Source::Object(object) => object.handle.block_on(object.part(from, length)),
            Source::Disk(file) => {
                let mut file = file.borrow_mut();
                file.seek(SeekFrom::Start(from))?;
                let mut data = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                file.read_exact(&mut data)?;
                Ok(data.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_blocks() {
        assert_eq!(block_size(&[0x08, 0x05, 0x18, 0x80, 0x80, 0x04, 0x22, 1, 0]), Some(65_536));
        assert_eq!(block_size(&[0x08, 0x05]), Some(0));
        assert_eq!(block_size(&[0x18, 0x80]), None);
        assert_eq!(block_size(&[0x22, 9, 0]), None);
    }
}
