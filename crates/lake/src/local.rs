//! Local disk as an object store whose objects survive a power cut.
//!
//! Two promises that `object_store::local` does not make:
//! - `put` with [`PutMode::Create`] is atomic and never replaces: the content is written under a
//!   temporary name, synced, and then linked to its final name. A name therefore never stands for
//!   an empty or torn file, whatever happens to the machine.
//! - Everything else is durable after [`LocalStore::sync`], the barrier between two steps of a
//!   publish: files first, then every directory that got a new name. A group of files shares the
//!   work, and a large group is one `syncfs`.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};

/// The folder for files that do not have their name yet, below the root.
pub(crate) const TEMPORARY: &str = "_tidemill/tmp";

/// From this many files or directories on, one `syncfs` is cheaper than a sync of each.
const GROUP: usize = 12;

/// A folder of local disk.
#[derive(Debug)]
pub(crate) struct LocalStore {
    root: PathBuf,
    pending: Mutex<Pending>,
    syncing: Mutex<()>,
    known: Mutex<HashSet<PathBuf>>,
    syncs: SyncCounters,
}

#[derive(Debug, Default)]
struct Pending {
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
    /// Files whose sync failed. What the kernel dropped cannot be synced again, so every barrier
    /// fails until they are gone.
    broken: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct SyncCounters {
    files: AtomicU64,
    directories: AtomicU64,
    groups: AtomicU64,
}

/// How often something was synced since the lake was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncCounts {
    /// Files, one by one.
    pub files: u64,
    /// Directories, one by one.
    pub directories: u64,
    /// Whole groups at once.
    pub groups: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalStore {
    /// The store of this folder, which is created if it is missing.
    pub(crate) fn open(root: &FsPath) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if let Some(parent) = root.parent() {
            // The lake itself must survive, too.
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Ok(LocalStore {
            root,
            pending: Mutex::default(),
            syncing: Mutex::default(),
            known: Mutex::default(),
            syncs: SyncCounters::default(),
        })
    }

    /// The folder.
    pub(crate) fn root(&self) -> &FsPath {
        &self.root
    }

    /// How often something was synced.
    pub(crate) fn sync_counts(&self) -> SyncCounts {
        SyncCounts {
            files: self.syncs.files.load(Ordering::Relaxed),
            directories: self.syncs.directories.load(Ordering::Relaxed),
            groups: self.syncs.groups.load(Ordering::Relaxed),
        }
    }

    fn file_path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn create_directory(&self, directory: &FsPath) -> io::Result<()> {
        if lock(&self.known).contains(directory) {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut current = directory;
        while !current.is_dir() {
            missing.push(current.to_path_buf());
            match current.parent() {
                Some(parent) => current = parent,
                None => break,
            }
        }
        fs::create_dir_all(directory)?;
        let mut pending = lock(&self.pending);
        for created in missing {
            if let Some(parent) = created.parent() {
                pending.directories.insert(parent.to_path_buf());
            }
        }
        drop(pending);
        lock(&self.known).insert(directory.to_path_buf());
        Ok(())
    }

    /// Runs something that needs the directory; makes the directory when it is missing, even when
    /// it was there a moment ago (another process removed a dropped table).
    fn in_directory<T>(
        &self,
        directory: &FsPath,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.create_directory(directory)?;
        match work() {
            Err(error) if error.kind() == ErrorKind::NotFound && !directory.is_dir() => {
                lock(&self.known).remove(directory);
                self.create_directory(directory)?;
                work()
            }
            outcome => outcome,
        }
    }

    fn temporary(&self) -> PathBuf {
        self.root.join(TEMPORARY).join(uuid::Uuid::new_v4().to_string())
    }

    fn write_temporary(&self, content: &PutPayload) -> io::Result<(PathBuf, File)> {
        let path = self.temporary();
        let directory = self.root.join(TEMPORARY);
        let mut file = self.in_directory(&directory, || {
            OpenOptions::new().write(true).create_new(true).open(&path)
        })?;
        if let Err(error) = content.iter().try_for_each(|part| file.write_all(part)) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok((path, file))
    }

    fn note_directory_of(&self, path: &FsPath) {
        if let Some(parent) = path.parent() {
            lock(&self.pending).directories.insert(parent.to_path_buf());
        }
    }

    fn link(&self, temporary: &FsPath, target: &FsPath) -> Result<()> {
        let parent = target.parent().unwrap_or(&self.root).to_path_buf();
        let linked = self.in_directory(&parent, || fs::hard_link(temporary, target));
        let _ = fs::remove_file(temporary);
        linked.map_err(|error| io_error(error, target))?;
        self.note_directory_of(target);
        Ok(())
    }

    /// Gives a file a second name; whether it has it. The name is durable after the next
    /// [`LocalStore::sync`].
    fn second_name(&self, source: &FsPath, target: &FsPath) -> bool {
        let parent = target.parent().unwrap_or(&self.root).to_path_buf();
        if self.in_directory(&parent, || fs::hard_link(source, target)).is_err() {
            return false;
        }
        // The content may be as new as the name.
        lock(&self.pending).files.insert(target.to_path_buf());
        self.note_directory_of(target);
        true
    }

    /// Puts several objects that must not exist yet. They share the sync of their contents; the
    /// names are durable after the next [`LocalStore::sync`].
    pub(crate) fn put_new_all(&self, objects: &[(Path, PutPayload)]) -> Vec<Result<()>> {
        let written: Vec<_> =
            objects.iter().map(|(_, content)| self.write_temporary(content)).collect();
        let grouped = if objects.len() >= GROUP { self.sync_group().err() } else { None };
        written
            .into_iter()
            .zip(objects)
            .map(|(written, (location, _))| {
                let target = self.file_path(location);
                let (temporary, file) = written.map_err(|error| io_error(error, &target))?;
                let synced = if objects.len() < GROUP {
                    self.syncs.files.fetch_add(1, Ordering::Relaxed);
                    file.sync_data()
                } else {
                    match &grouped {
                        None => Ok(()),
                        Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    }
                };
                if let Err(error) = synced {
                    let _ = fs::remove_file(&temporary);
                    return Err(io_error(error, &target));
                }
                self.link(&temporary, &target)
            })
            .collect()
    }

    fn sync_group(&self) -> io::Result<()> {
        self.syncs.groups.fetch_add(1, Ordering::Relaxed);
        let root = File::open(&self.root)?;
        rustix::fs::syncfs(&root).map_err(io::Error::from)
    }

    /// The barrier between two steps: when it returns without error, everything that was put
    /// before it survives a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // Held to the end: whoever finds nothing pending must not return before the one who took
        // it has finished.
        let _turn = lock(&self.syncing);
        let (files, directories) = {
            let mut pending = lock(&self.pending);
            pending.broken.retain(|path| path.exists());
            if let Some(path) = pending.broken.first() {
                return Err(io::Error::other(format!(
                    "`{}` could not be made durable earlier",
                    path.display()
                )));
            }
            (std::mem::take(&mut pending.files), std::mem::take(&mut pending.directories))
        };
        if files.is_empty() && directories.is_empty() {
            return Ok(());
        }
        let outcome = if files.len() + directories.len() >= GROUP {
            self.sync_group()
        } else {
            files
                .iter()
                .try_for_each(|path| {
                    self.syncs.files.fetch_add(1, Ordering::Relaxed);
                    sync_path(path)
                })
                .and_then(|()| {
                    directories.iter().try_for_each(|path| {
                        self.syncs.directories.fetch_add(1, Ordering::Relaxed);
                        sync_path(path)
                    })
                })
        };
        if outcome.is_err() {
            let mut pending = lock(&self.pending);
            pending.broken.extend(files);
            pending.directories.extend(directories);
        }
        outcome
    }

    fn meta(location: Path, metadata: &fs::Metadata) -> ObjectMeta {
        let modified = metadata.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
        ObjectMeta {
            location,
            last_modified: modified.into(),
            size: metadata.len(),
            e_tag: None,
            version: None,
        }
    }

    fn walk(&self, prefix: Option<&Path>, offset: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let start = prefix.map_or_else(|| self.root.clone(), |prefix| self.file_path(prefix));
        let mut found = Vec::new();
        let mut open = vec![start];
        while let Some(directory) = open.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                // A prefix that does not exist has no objects; neither has a file.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(error) => return Err(io_error(error, &directory)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| io_error(error, &directory))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|error| io_error(error, &path))?;
                if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                    open.push(path);
                    continue;
                }
                let Some(location) = self.location(&path) else { continue };
                if offset.is_some_and(|offset| location <= *offset) {
                    continue;
                }
                match fs::metadata(&path) {
                    Ok(metadata) => found.push(Self::meta(location, &metadata)),
                    // Removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(io_error(error, &path)),
                }
            }
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    fn location(&self, path: &FsPath) -> Option<Path> {
        let relative = path.strip_prefix(&self.root).ok()?.to_str()?;
        Path::parse(relative.replace(std::path::MAIN_SEPARATOR, "/")).ok()
    }
}

fn sync_path(path: &FsPath) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => file.sync_all(),
        // Deleted since: nothing to keep.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn io_error(error: io::Error, path: &FsPath) -> Error {
    let path = path.display().to_string();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::NotFound { path, source: error.into() }
        }
        ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: "local disk", source: error.into() },
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local disk at {}", self.root.display())
    }
}

/// The store as the trait object that everybody holds; blocking work leaves the async threads.
#[derive(Debug, Clone)]
pub(crate) struct LocalObjects(pub(crate) Arc<LocalStore>);

impl fmt::Display for LocalObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads up to this size are done where they are asked for: they are nearly always in the system's
/// cache, where they take microseconds, and handing them to another thread and back takes more.
const READ_HERE: u64 = 256 << 10;

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

#[async_trait]
impl ObjectStore for LocalObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let (store, location) = (self.0.clone(), location.clone());
        blocking(move || {
            match opts.mode {
                PutMode::Create => {
                    store.put_new_all(&[(location, payload)]).remove(0)?;
                }
                PutMode::Overwrite => {
                    let target = store.file_path(&location);
                    let wrap = |error| io_error(error, &target);
                    let (temporary, file) = store.write_temporary(&payload).map_err(wrap)?;
                    store.syncs.files.fetch_add(1, Ordering::Relaxed);
                    let parent = target.parent().unwrap_or(&store.root).to_path_buf();
                    let moved = file.sync_data().and_then(|()| {
                        store.in_directory(&parent, || fs::rename(&temporary, &target))
                    });
                    if moved.is_err() {
                        let _ = fs::remove_file(&temporary);
                    }
                    moved.map_err(wrap)?;
                    store.note_directory_of(&target);
                }
                PutMode::Update(_) => {
                    return Err(Error::NotImplemented {
                        operation: "put with a version".to_owned(),
                        implementer: store.to_string(),
                    });
                }
            }
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (store, location) = (self.0.clone(), location.clone());
        blocking(move || {
            let target = store.file_path(&location);
            let parent = target.parent().unwrap_or(&store.root).to_path_buf();
            // The name is unique and nothing names it before the publish, so the file is written
            // in place; the barrier makes it durable.
            let file = store
                .in_directory(&parent, || {
                    OpenOptions::new().write(true).create_new(true).open(&target)
                })
                .map_err(|error| io_error(error, &target))?;
            Ok(Box::new(LocalUpload { store, target, file: Arc::new(Mutex::new(file)) })
                as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = self.0.file_path(location);
        let wrap = |error| io_error(error, &path);
        let mut file = File::open(&path).map_err(wrap)?;
        let metadata = file.metadata().map_err(wrap)?;
        if metadata.is_dir() {
            return Err(wrap(io::Error::new(ErrorKind::NotFound, "it is a directory")));
        }
        let meta = LocalStore::meta(location.clone(), &metadata);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| Error::Generic { store: "local disk", source: error.into() })?,
            None => 0..meta.size,
        };
        let payload = if !options.head && range.end - range.start <= READ_HERE {
            let bytes = read_range(&mut file, range.clone()).map_err(wrap)?;
            GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed())
        } else {
            GetResultPayload::File(file, path)
        };
        Ok(GetResult { payload, attributes: Attributes::default(), range, meta })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (path, ranges) = (self.0.file_path(location), ranges.to_vec());
        let wanted: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let read = move || {
            let mut file = File::open(&path).map_err(|error| io_error(error, &path))?;
            ranges
                .into_iter()
                .map(|range| read_range(&mut file, range).map_err(|error| io_error(error, &path)))
                .collect()
        };
        if wanted <= READ_HERE { read() } else { blocking(read).await }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.0.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                blocking(move || {
                    let location = location?;
                    let path = store.file_path(&location);
                    fs::remove_file(&path).map_err(|error| io_error(error, &path))?;
                    lock(&store.pending).files.remove(&path);
                    Ok(location)
                })
            })
            .buffered(8)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix.cloned(), None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix.cloned(), Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (store, prefix) = (self.0.clone(), prefix.cloned());
        blocking(move || {
            let start = prefix
                .as_ref()
                .map_or_else(|| store.root.clone(), |prefix| store.file_path(prefix));
            let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
            let entries = match fs::read_dir(&start) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(result),
                Err(error) => return Err(io_error(error, &start)),
            };
            for entry in entries {
                let path = entry.map_err(|error| io_error(error, &start))?.path();
                let Some(location) = store.location(&path) else { continue };
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_dir() => result.common_prefixes.push(location),
                    Ok(metadata) => result.objects.push(LocalStore::meta(location, &metadata)),
                    Err(_) => {}
                }
            }
            result.common_prefixes.sort();
            Ok(result)
        })
        .await
    }

    /// A copy is a second name of the same file, where the file system gives one: nothing here ever
    /// writes into a file that has its name.
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let store = self.0.clone();
        let (source, target) = (store.file_path(from), store.file_path(to));
        if blocking(move || Ok(store.second_name(&source, &target))).await? {
            return Ok(());
        }
        let content = object_store::ObjectStoreExt::get(self, from).await?.bytes().await?;
        let mode = match options.mode {
            CopyMode::Overwrite => PutMode::Overwrite,
            CopyMode::Create => PutMode::Create,
        };
        self.put_opts(to, content.into(), mode.into()).await?;
        Ok(())
    }
}

impl LocalObjects {
    fn list_from(
        &self,
        prefix: Option<Path>,
        offset: Option<Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.0.clone();
        futures::stream::once(blocking(move || store.walk(prefix.as_ref(), offset.as_ref())))
            .flat_map(|found| {
                futures::stream::iter(match found {
                    Ok(found) => found.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                })
            })
            .boxed()
    }
}

fn read_range(file: &mut File, range: Range<u64>) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(range.start))?;
    let length = range.end.saturating_sub(range.start);
    let mut content = Vec::with_capacity(length as usize);
    let read = file.take(length).read_to_end(&mut content)?;
    if (read as u64) < length {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file is shorter than expected"));
    }
    Ok(content.into())
}

#[derive(Debug)]
struct LocalUpload {
    store: Arc<LocalStore>,
    target: PathBuf,
    file: Arc<Mutex<File>>,
}

#[async_trait]
impl MultipartUpload for LocalUpload {
    /// Parts are written in the order in which they are awaited; the callers here await each.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (file, target) = (self.file.clone(), self.target.clone());
        Box::pin(blocking(move || {
            let mut file = lock(&file);
            data.iter()
                .try_for_each(|part| file.write_all(part))
                .map_err(|error| io_error(error, &target))
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut pending = lock(&self.store.pending);
        pending.files.insert(self.target.clone());
        if let Some(parent) = self.target.parent() {
            pending.directories.insert(parent.to_path_buf());
        }
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let target = self.target.clone();
        blocking(move || fs::remove_file(&target).map_err(|error| io_error(error, &target))).await
    }
}
