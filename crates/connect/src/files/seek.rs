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

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    #[test]
    fn an_object_is_read_from_any_place() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a.xlsx");
        let content: Vec<u8> = (0..PART * 2 + 100).map(|at| (at * 7 % 251) as u8).collect();
        runtime.block_on(store.put(&path, content.clone().into())).unwrap();
        let meta = runtime.block_on(store.head(&path)).unwrap();
        let object = Object { store, meta, handle: runtime.handle().clone() };
        let mut file = Place::Object(Arc::new(object)).open_anywhere().unwrap();
        let mut whole = Vec::new();
        file.read_to_end(&mut whole).unwrap();
        assert!(whole == content);
        for (to, at) in [
            (SeekFrom::Start(5), 5),
            (SeekFrom::Start(PART - 2), PART - 2),
            (SeekFrom::End(-4), PART * 2 + 96),
            (SeekFrom::Current(-8), PART * 2 + 92),
        ] {
            assert_eq!(file.seek(to).unwrap(), at);
            let mut four = [0; 4];
            file.read_exact(&mut four).unwrap();
            assert_eq!(four, content[at as usize..at as usize + 4]);
        }
        assert!(file.seek(SeekFrom::End(-(PART as i64) * 3)).is_err());
        file.seek(SeekFrom::Start(PART * 5)).unwrap();
        assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
    }
}
