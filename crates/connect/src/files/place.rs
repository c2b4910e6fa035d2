//! Where the bytes of a file are: on disk, in an object store, or at an HTTP server.
//!
//! An object is read by ranges, some of them ahead, each on the condition that it is still the version
//! that was listed: what is read is one version, or the read fails.

use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use tidemill_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::archive::Member;
use super::listing::Stamp;
use super::web::Web;

/// The first part of an object: enough for a sample, and the whole of most files.
const FIRST: u64 = 1 << 20;

/// From this size on an object is read by larger parts: a request costs a store much more than its bytes do.
const LARGE: u64 = 64 << 20;

/// So many objects are read by larger parts at a time; the others by smaller ones, for the sake of memory.
static LARGE_READS: Semaphore = Semaphore::const_new(1);

/// The parts in which an object is read, behind the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Partition {
    bytes: u64,
    /// How many are asked for at a time. With what is under way to the reader, an object that is read takes two
    /// more of memory.
    ahead: usize,
}

impl Partition {
    const SMALL: Partition = Partition { bytes: 4 << 20, ahead: 4 };
    const LARGE: Partition = Partition { bytes: 8 << 20, ahead: 3 };

    /// For an object of this size; what is taken of the room for large ones is held as long as it is read.
    fn of(size: u64) -> (Partition, Option<SemaphorePermit<'static>>) {
        match LARGE_READS.try_acquire() {
            Ok(permit) if size >= LARGE => (Partition::LARGE, Some(permit)),
            _ => (Partition::SMALL, None),
        }
    }
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Disk(PathBuf),
    Object(Arc<Object>),
    Web(Arc<Web>),
    /// A file within an archive.
    Member(Arc<Member>),
}

/// An object as it was listed.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) meta: ObjectMeta,
    /// Where requests run.
    pub(crate) handle: Handle,
}

impl Place {
    /// The bytes from the start on.
    pub(crate) fn open(&self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Place::Disk(path) => Box::new(std::fs::File::open(path)?),
            Place::Object(object) => Box::new(Parts {
                object: object.clone(),
                current: Bytes::new(),
                next: 0,
                ahead: None,
            }),
            Place::Web(web) => web.open()?,
            Place::Member(member) => member.open()?,
        })
    }

    /// Some bytes from a place on; `None` if they cannot be had.
    pub(crate) fn probe(&self, from: u64, length: usize) -> Option<Vec<u8>> {
        match self {
            Place::Disk(path) => {
                use std::io::{Seek, SeekFrom};
                let mut file = std::fs::File::open(path).ok()?;
                file.seek(SeekFrom::Start(from)).ok()?;
                let mut data = Vec::with_capacity(length);
                file.take(length as u64).read_to_end(&mut data).ok()?;
                Some(data)
            }
            Place::Object(object) => {
                let part = object.handle.block_on(object.part(from, length as u64));
                part.ok().map(|bytes| bytes.to_vec())
            }
            Place::Web(web) => web.probe(from, length),
            Place::Member(_) => None,
        }
    }

    /// What it looks like now.
    pub(crate) fn stamp(&self) -> std::io::Result<Stamp> {
        match self {
            Place::Disk(path) => Stamp::of(path),
            Place::Object(object) => {
                let meta = object
                    .handle
                    .block_on(object.store.head(&object.meta.location))
                    .map_err(std::io::Error::from)?;
                Ok(Stamp::of_object(&meta))
            }
            Place::Web(web) => web.stamp_now(),
            Place::Member(member) => member.stamp_now(),
        }
    }

    /// Whether a read of it is of one version by itself, so that nobody has to look at it before and
    /// after.
    pub(crate) fn is_steady(&self) -> bool {
        match self {
            Place::Disk(_) => false,
            Place::Object(object) => object.meta.e_tag.is_some(),
            // Where a server names no version, another look would not tell either.
            Place::Web(_) => true,
            Place::Member(member) => member.archive().is_steady(),
        }
    }

    /// The store's name of the version, which changes with the content.
    pub(crate) fn version(&self) -> Option<&str> {
        match self {
            Place::Disk(_) => None,
            Place::Object(object) => object.meta.e_tag.as_deref(),
            Place::Web(web) => web.version(),
            Place::Member(member) => Some(member.version()),
        }
    }

    /// The path of a file on disk.
    #[cfg(test)]
    pub(crate) fn disk(path: impl Into<PathBuf>) -> Place {
        Place::Disk(path.into())
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Place::Disk(path.to_owned())
    }
}

impl Object {
    /// Some bytes of the version that was listed.
    pub(super) async fn part(&self, from: u64, length: u64) -> std::io::Result<Bytes> {
        let end = from.saturating_add(length).min(self.meta.size);
        if from >= end {
            return Ok(Bytes::new());
        }
        let mut tries = 0;
        loop {
            let options = GetOptions {
                range: Some(GetRange::Bounded(from..end)),
                if_match: self.meta.e_tag.clone(),
                ..GetOptions::default()
            };
            let read =
                async { self.store.get_opts(&self.meta.location, options).await?.bytes().await };
            match read.await {
                Ok(bytes) if bytes.len() as u64 == end - from => return Ok(bytes),
                Ok(_) => {
                    return Err(std::io::Error::new(
                        std::io::ErrorKind::ConnectionAborted,
                        "the store sent another number of bytes than it was asked for",
                    ));
                }
                // A connection that breaks in the middle of the bytes; requests repeat themselves.
                Err(object_store::Error::Generic { .. }) if tries < 3 => tries += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// An error of the kind that stands for the network, not for the bytes.
fn failed(error: object_store::Error) -> std::io::Error {
    let kind = match error {
        object_store::Error::NotFound { .. } => std::io::ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => std::io::ErrorKind::PermissionDenied,
        object_store::Error::Precondition { .. } => std::io::ErrorKind::ResourceBusy,
        _ => std::io::ErrorKind::ConnectionAborted,
    };
    std::io::Error::new(kind, error)
}

/// An object, part by part.
struct Parts {
    object: Arc<Object>,
    current: Bytes,
    /// How much was handed to `current`.
    next: u64,
    /// The parts that are asked for ahead of their turn.
    ahead: Option<mpsc::Receiver<std::io::Result<Bytes>>>,
}

impl Parts {
    fn refill(&mut self) -> std::io::Result<()> {
        let object = &self.object;
        if self.next == 0 {
            self.current = object.handle.block_on(object.part(0, FIRST))?;
        } else {
            let from = self.next;
            let ahead = self.ahead.get_or_insert_with(|| {
                let (sender, receiver) = mpsc::channel(1);
                let object = object.clone();
                let handle = object.handle.clone();
                handle.spawn(async move {
                    let size = object.meta.size;
                    let (Partition { bytes, ahead }, _held) = Partition::of(size);
                    let starts = (from..size).step_by(bytes as usize);
                    let mut parts = futures::stream::iter(starts)
                        .map(|start| object.part(start, bytes))
                        .buffered(ahead);
                    while let Some(part) = parts.next().await {
                        let failed = part.is_err();
                        // Nobody reads any more: what is asked for is dropped.
                        if sender.send(part).await.is_err() || failed {
                            return;
                        }
                    }
                });
                receiver
            });
            self.current = ahead.blocking_recv().unwrap_or_else(|| {
                Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionAborted,
                    "the read of the object ended early",
                ))
            })?;
        }
        self.next += self.current.len() as u64;
        Ok(())
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.current.is_empty() {
            if self.next >= self.object.meta.size {
                return Ok(0);
            }
            self.refill()?;
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current[..length]);
        self.current.advance(length);
        Ok(length)
    }
}

/// A Parquet file in an object store, as the Parquet reader asks for it.
pub(crate) struct ObjectReader(pub(crate) Arc<Object>);

/// Ranges that are closer than this are read as one.
const GAP: u64 = 1 << 20;

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let length = range.end.saturating_sub(range.start);
        async move { self.0.part(range.start, length).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let fetch = |range: Range<u64>| {
                let object = &self.0;
                async move {
                    let length = range.end.saturating_sub(range.start);
                    object.part(range.start, length).await.map_err(external)
                }
            };
            object_store::coalesce_ranges(&ranges, fetch, GAP).await
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.0.meta.size;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(64 << 10));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// The first bytes of a reader, and the reader as if they had not been read.
pub(crate) fn peek(
    mut reader: Box<dyn Read + Send>,
    length: u64,
) -> std::io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut head)?;
    let whole = Box::new(Read::chain(Cursor::new(head.clone()), reader));
    Ok((head, whole))
}

/// The error of a file that cannot be opened or read, by its reason.
pub(crate) fn cannot(what: &str, name: &str, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Io,
    };
    Error::new(kind, what).with("file", name).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;

    #[test]
    fn some_large_objects_are_read_by_large_parts() {
        assert_eq!(Partition::of(LARGE - 1).0, Partition::SMALL);
        let held: Vec<_> = std::iter::repeat_with(|| Partition::of(LARGE)).take(3).collect();
        let large = held.iter().filter(|(parts, _)| *parts == Partition::LARGE).count();
        assert_eq!((large, held[2].0), (1, Partition::SMALL));
        drop(held);
        assert_eq!(Partition::of(LARGE).0, Partition::LARGE);
    }

    #[test]
    fn an_object_is_read_in_parts_of_one_version() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let store = Arc::new(InMemory::new());
        let path = ObjectPath::from("a/b.csv");
        let size = FIRST + 2 * Partition::SMALL.bytes + 17;
        let content: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        runtime.block_on(store.put(&path, content.clone().into())).unwrap();
        let meta = runtime.block_on(store.head(&path)).unwrap();
        let place = Place::Object(Arc::new(Object {
            store: store.clone(),
            meta,
            handle: runtime.handle().clone(),
        }));
        let mut read = Vec::new();
        place.open().unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content);
        assert_eq!(place.probe(5, 3).unwrap(), content[5..8]);
        let (head, mut whole) = peek(place.open().unwrap(), 4).unwrap();
        assert_eq!(head, content[..4]);
        let mut again = Vec::new();
        whole.read_to_end(&mut again).unwrap();
        assert!(again == content);
        // Another version in its place.
        let mut half = place.open().unwrap();
        let mut first = vec![0; FIRST as usize];
        half.read_exact(&mut first).unwrap();
        runtime.block_on(store.put(&path, vec![1u8; content.len()].into())).unwrap();
        let error = half.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    }
}
