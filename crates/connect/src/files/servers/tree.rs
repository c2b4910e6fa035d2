//! The files of a server below a folder, as an object store.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result as StoreResult,
};
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_objects::Opened;

use super::upload::Upload;
use super::walk::{self, TEMPORARY, Wanted, join};
use super::{FileServer, Look, TRIES, pause, repeated};

/// What is read at once.
const PART: u64 = 4 << 20;

/// What an upload left that was not ended is taken away after this time.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// The files of a server below a folder.
#[derive(Clone)]
pub(in crate::files) struct Tree {
    server: Arc<dyn FileServer>,
    name: Arc<str>,
    root: Arc<str>,
    /// Folders that were looked through for what uploads left.
    swept: Arc<Mutex<HashSet<String>>>,
    /// Folders that are there.
    made: Arc<Mutex<HashSet<String>>>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A file as a store tells of it.
pub(super) fn meta(location: Path, look: &Look) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: look.modified,
        size: look.size,
        e_tag: Some(look.version()),
        version: None,
    }
}

/// An error as stores have them. It keeps ours, which says what there is to say.
pub(super) fn told(error: Error, path: &str) -> StoreError {
    let (path, kind, source) = (path.to_owned(), error.kind(), Box::new(error));
    match kind {
        ErrorKind::NotFound => StoreError::NotFound { path, source },
        ErrorKind::Conflict => StoreError::Precondition { path, source },
        ErrorKind::Unsupported => StoreError::NotSupported { source },
        // Not asked for again: a login that is refused too often is locked.
        ErrorKind::Denied | ErrorKind::Config => StoreError::PermissionDenied { path, source },
        _ => StoreError::Generic { store: "server", source },
    }
}

fn unsupported(what: &str) -> StoreError {
    let error = Error::new(ErrorKind::Unsupported, format!("a server of files {what}"));
    StoreError::NotSupported { source: Box::new(error) }
}

impl Tree {
    /// The files of the server below this folder, which may be relative to that of the login.
    pub(super) fn new(server: Arc<dyn FileServer>, name: String, root: &str) -> Tree {
        let root = match root.trim_end_matches('/') {
            "" if root.starts_with('/') => "/",
            "." => "",
            other => other,
        };
        Tree {
            server,
            name: name.into(),
            root: root.into(),
            swept: Arc::default(),
            made: Arc::default(),
        }
    }

    /// The same as a store.
    pub(in crate::files) fn opened(&self) -> Opened {
        Opened { store: Arc::new(self.clone()), name: self.name.to_string() }
    }

    /// Whether the server answers, and has the folder.
    ///
    /// # Errors
    /// Kind `NotFound` where there is no such folder, and what the login says.
    pub(in crate::files) async fn reach(&self) -> Result<()> {
        let whole = self.whole("");
        let look = repeated(|| self.server.look(&whole)).await?;
        match look {
            Some(look) if look.is_folder => Ok(()),
            _ => Err(Error::new(ErrorKind::NotFound, "the server does not have the folder")
                .with("folder", whole)
                .with("server", &self.name)),
        }
    }

    /// The files below a folder, of the folders that may hold what is looked for.
    pub(in crate::files) fn walk(
        &self,
        folder: &str,
        wanted: Wanted,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let path = folder.to_owned();
        walk::files(self.clone(), folder, wanted).map_err(move |error| told(error, &path)).boxed()
    }

    pub(super) fn server(&self) -> &Arc<dyn FileServer> {
        &self.server
    }

    /// A path of the tree as the server knows it.
    pub(super) fn whole(&self, path: &str) -> String {
        match (&*self.root, path) {
            ("", "") => ".".to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => join(root, path),
        }
    }

    async fn looked(&self, whole: &str) -> Result<Look> {
        let look = repeated(|| self.server.look(whole)).await?;
        look.filter(|look| !look.is_folder).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such file").with("file", whole)
        })
    }

    /// Bytes of a file that looks as expected. A connection that breaks is taken up where it broke.
    async fn bytes(
        server: &dyn FileServer,
        whole: &str,
        range: Range<u64>,
        expected: &Look,
    ) -> Result<Bytes> {
        let length = range.end - range.start;
        let mut data = BytesMut::new();
        let mut tries = 0;
        loop {
            let had = data.len();
            let rest = range.start + had as u64..range.end;
            match server.read(whole, rest, expected, &mut data).await {
                Ok(()) if data.len() as u64 == length => return Ok(data.freeze()),
                Ok(()) => return Err(super::changed(whole)),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tries = if data.len() > had { 1 } else { tries + 1 };
                    if tries >= TRIES {
                        return Err(error);
                    }
                    tracing::debug!(error = %error, tries, "a read from a server of files goes on");
                    tokio::time::sleep(pause(tries)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The folders of a path are there.
    async fn make_folders(&self, whole: &str) -> Result<()> {
        let Some((folder, _)) = whole.rsplit_once('/') else { return Ok(()) };
        if folder.is_empty() {
            return Ok(());
        }
        let known =
            |path: &str| self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(path);
        // From the one that is there downwards.
        let mut missing = Vec::new();
        let mut path = folder;
        while !path.is_empty() && !known(path) {
            match repeated(|| self.server.look(path)).await? {
                Some(look) if look.is_folder => break,
                Some(_) => {
                    return Err(Error::new(
                        ErrorKind::Config,
                        "a folder cannot be made, as a file has its name",
                    )
                    .with("file", path));
                }
                None => missing.push(path),
            }
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
        for path in missing.into_iter().rev() {
            repeated(|| self.server.make_folder(path)).await?;
        }
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }

    /// Takes away what uploads of long ago have left in a folder.
    async fn sweep(&self, whole: &str) -> Result<()> {
        let folder = whole.rsplit_once('/').map_or(".", |(folder, _)| match folder {
            "" => "/",
            folder => folder,
        });
        if !self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned()) {
            return Ok(());
        }
        let mut names = repeated(|| self.server.folder(folder)).await?;
        let mut old = Vec::new();
        while let Some(some) = names.next().await? {
            old.extend(some.into_iter().filter(|named| {
                let age = (Utc::now() - named.look.modified).to_std().unwrap_or_default();
                named.name.ends_with(TEMPORARY) && !named.look.is_folder && age > OLD
            }));
        }
        drop(names);
        for named in old {
            self.server.remove(&join(folder, &named.name)).await?;
        }
        Ok(())
    }

    /// Begins a file beside the one that it becomes.
    pub(super) async fn begin(&self, location: &Path) -> Result<Upload> {
        let whole = self.whole(location.as_ref());
        self.make_folders(&whole).await?;
        if let Err(error) = self.sweep(&whole).await {
            tracing::warn!(error = %error, "what uploads have left stays for the next time");
        }
        let (folder, file) =
            whole.rsplit_once('/').map_or(("", whole.as_str()), |(folder, file)| {
                (if folder.is_empty() { "/" } else { folder }, file)
            });
        let temporary = format!(".{file}.{:016x}{TEMPORARY}", fastrand::u64(..));
        let temporary = join(folder, &temporary);
        repeated(|| self.server.create(&temporary)).await?;
        Ok(Upload::new(self.server.clone(), temporary, whole))
    }
}

#[async_trait]
impl ObjectStore for Tree {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if options.mode != PutMode::Overwrite {
            return Err(unsupported("has no conditional put"));
        }
        let path = location.as_ref();
        let mut upload = self.begin(location).await.map_err(|error| told(error, path))?;
        let written = async {
            upload.put_part(payload).await?;
            upload.complete().await
        };
        match written.await {
            Ok(put) => Ok(put),
            Err(error) => {
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let path = location.as_ref();
        let upload = self.begin(location).await.map_err(|error| told(error, path))?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let path = location.as_ref();
        let whole = self.whole(path);
        let failed = |error| told(error, path);
        // A part of the file that is meant needs no other look than the one when it is opened.
        let meant =
            options.if_match.as_deref().filter(|_| !options.head).and_then(Look::of_version);
        let look = match meant {
            Some(look) => look,
            None => self.looked(&whole).await.map_err(failed)?,
        };
        let meta = meta(location.clone(), &look);
        options.check_preconditions(&meta)?;
        let range = match options.range.filter(|_| !options.head) {
            None => 0..look.size,
            Some(range) => range.as_range(look.size).map_err(|error| StoreError::Generic {
                store: "server",
                source: Box::new(error),
            })?,
        };
        let parts = match options.head {
            true => stream::empty().boxed(),
            false => {
                let (server, path) = (self.server.clone(), path.to_owned());
                let starts = (range.start..range.end).step_by(PART as usize);
                let end = range.end;
                stream::iter(starts)
                    .then(move |from| {
                        let (server, whole) = (server.clone(), whole.clone());
                        let (path, look) = (path.clone(), look.clone());
                        async move {
                            let part = from..(from + PART).min(end);
                            let read = Tree::bytes(&*server, &whole, part, &look).await;
                            read.map_err(|error| told(error, &path))
                        }
                    })
                    .boxed()
            }
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(parts),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let (server, root) = (self.server.clone(), self.root.clone());
        locations
            .and_then(move |location| {
                let server = server.clone();
                let whole = join(&root, location.as_ref());
                async move {
                    match repeated(|| server.remove(&whole)).await {
                        Ok(()) => Ok(location),
                        Err(error) => Err(told(error, &whole)),
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.walk(prefix.map_or("", Path::as_ref), Wanted::everything())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let path = prefix.map_or("", Path::as_ref);
        let listed = async {
            let whole = self.whole(path);
            let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
            let mut names = match repeated(|| self.server.folder(&whole)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(result),
                names => names?,
            };
            while let Some(some) = names.next().await? {
                for named in some {
                    let Ok(location) = Path::parse(join(path, &named.name)) else { continue };
                    let look = match named.is_exact {
                        true => Some(named.look),
                        false => {
                            let whole = self.whole(location.as_ref());
                            repeated(|| self.server.look(&whole)).await?
                        }
                    };
                    match look {
                        Some(look) if look.is_folder => result.common_prefixes.push(location),
                        Some(look) if !named.name.ends_with(TEMPORARY) => {
                            result.objects.push(meta(location, &look));
                        }
                        _ => {}
                    }
                }
            }
            Ok::<_, Error>(result)
        };
        listed.await.map_err(|error| told(error, path))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> StoreResult<()> {
        Err(unsupported("does not copy files"))
    }
}
