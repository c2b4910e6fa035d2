//! The object store of a lake, with the few operations that the lake is built on. Paths are
//! relative to the lake. Conditional put is the only primitive that coordinates writers.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use crate::local::{LocalObjects, LocalStore, SyncCounts};

/// What a conditional put came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    /// The object is there now and has this content.
    Created,
    /// Something had the name already.
    Exists,
}

/// How many small requests run at a time.
pub(crate) const REQUESTS: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Storage {
    objects: Arc<dyn ObjectStore>,
    local: Option<Arc<LocalStore>>,
    url: ObjectStoreUrl,
    name: String,
}

impl Storage {
    /// A folder of local disk.
    pub(crate) fn local(root: &std::path::Path) -> Result<Self> {
        let store = LocalStore::open(root).map_err(|error| {
            io_error(error, "the folder of the lake cannot be used").with("path", root.display())
        })?;
        let name = store.root().display().to_string();
        let store = Arc::new(store);
        let objects = Arc::new(LocalObjects(store.clone()));
        Self::with(objects, Some(store), name)
    }

    /// Any other store; its root is the lake's.
    pub(crate) fn remote(objects: Arc<dyn ObjectStore>, name: String) -> Result<Self> {
        Self::with(objects, None, name)
    }

    fn with(
        objects: Arc<dyn ObjectStore>,
        local: Option<Arc<LocalStore>>,
        name: String,
    ) -> Result<Self> {
        // A name of its own for DataFusion's registry, so that two lakes in one process stay apart.
        let key = if local.is_some() {
            xxhash_rust::xxh3::xxh3_64(name.as_bytes())
        } else {
            uuid::Uuid::new_v4().as_u64_pair().0
        };
        let url = ObjectStoreUrl::parse(format!("tidemill://lake-{key:016x}/"))
            .or_error(ErrorKind::Internal, "the lake has no usable address")?;
        Ok(Storage { objects, local, url, name })
    }

    pub(crate) fn url(&self) -> &ObjectStoreUrl {
        &self.url
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The lake as a person knows it: its folder or address.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    pub(crate) fn sync_counts(&self) -> SyncCounts {
        self.local.as_ref().map(|local| local.sync_counts()).unwrap_or_default()
    }

    /// Puts an object that must not exist yet.
    pub(crate) async fn put_new(&self, path: &Path, content: Bytes) -> Result<PutOutcome> {
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        outcome(self.objects.put_opts(path, content.into(), options).await.map(drop), path)
    }

    /// Puts several objects that must not exist yet; they share their syncs.
    pub(crate) async fn put_new_all(&self, objects: Vec<(Path, Bytes)>) -> Vec<Result<PutOutcome>> {
        let Some(local) = self.local.clone() else {
            let puts: Vec<BoxFuture<'_, Result<PutOutcome>>> = objects
                .into_iter()
                .map(|(path, content)| async move { self.put_new(&path, content).await }.boxed())
                .collect();
            return futures::stream::iter(puts).buffered(REQUESTS).collect().await;
        };
        let paths: Vec<Path> = objects.iter().map(|(path, _)| path.clone()).collect();
        let objects: Vec<_> =
            objects.into_iter().map(|(path, content)| (path, content.into())).collect();
        match tokio::task::spawn_blocking(move || local.put_new_all(&objects)).await {
            Ok(outcomes) => outcomes
                .into_iter()
                .zip(&paths)
                .map(|(result, path)| outcome(result, path))
                .collect(),
            Err(error) => {
                let text = error.to_string();
                paths.iter().map(|_| Err(Error::new(ErrorKind::Internal, text.clone()))).collect()
            }
        }
    }

    /// Puts an object, whether it exists or not.
    pub(crate) async fn put(&self, path: &Path, content: Bytes) -> Result<()> {
        self.objects
            .put(path, content.into())
            .await
            .map(drop)
            .map_err(|error| store_error(error, "a file cannot be written", path))
    }

    /// Gives the content of an object a second place, which nothing must have yet.
    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.objects
            .copy(from, to)
            .await
            .map_err(|error| store_error(error, "a file cannot be copied", from))
    }

    /// The content of an object, if there is one.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let read = async { self.objects.get(path).await?.bytes().await };
        match read.await {
            Ok(content) => Ok(Some(content)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error, "a file cannot be read", path)),
        }
    }

    /// Size and time of an object, if there is one.
    pub(crate) async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        match self.objects.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error, "a file cannot be read", path)),
        }
    }

    /// Everything below a prefix, by name.
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        self.sorted(self.objects.list(Some(prefix)), prefix).await
    }

    /// Everything below a prefix whose name is greater, by name.
    pub(crate) async fn list_after(&self, prefix: &Path, after: &Path) -> Result<Vec<ObjectMeta>> {
        self.sorted(self.objects.list_with_offset(Some(prefix), after), prefix).await
    }

    async fn sorted(
        &self,
        stream: futures::stream::BoxStream<'static, object_store::Result<ObjectMeta>>,
        prefix: &Path,
    ) -> Result<Vec<ObjectMeta>> {
        let mut found: Vec<ObjectMeta> = stream
            .try_collect()
            .await
            .map_err(|error| store_error(error, "a folder cannot be listed", prefix))?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Deletes objects; one that is gone already is no error.
    pub(crate) async fn delete_all(&self, paths: Vec<Path>) -> Result<()> {
        let deletes: Vec<BoxFuture<'_, Result<()>>> = paths
            .into_iter()
            .map(|path| {
                async move {
                    match self.objects.delete(&path).await {
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                        Err(error) => Err(store_error(error, "a file cannot be deleted", &path)),
                    }
                }
                .boxed()
            })
            .collect();
        futures::stream::iter(deletes).buffer_unordered(REQUESTS).try_collect().await
    }

    /// Removes folders that became empty. Only local disk has folders; failure does no harm.
    pub(crate) async fn remove_empty_folders(&self, prefix: &Path) {
        if let Some(local) = self.local.clone() {
            let start = local.root().join(prefix.as_ref());
            let _ = tokio::task::spawn_blocking(move || remove_empty(&start)).await;
        }
    }

    /// The barrier between two steps: what was put before it is durable when it returns.
    pub(crate) async fn sync(&self) -> Result<()> {
        let Some(local) = self.local.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || local.sync())
            .await
            .or_error(ErrorKind::Internal, "a background task failed")?
            .map_err(|error| io_error(error, "files could not be made durable"))
    }
}

fn remove_empty(folder: &std::path::Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let mut empty = true;
    for entry in entries.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !(is_folder && remove_empty(&path)) {
            empty = false;
        }
    }
    empty && std::fs::remove_dir(folder).is_ok()
}

fn outcome(result: object_store::Result<()>, path: &Path) -> Result<PutOutcome> {
    match result {
        Ok(()) => Ok(PutOutcome::Created),
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Ok(PutOutcome::Exists),
        Err(error) => Err(store_error(error, "a file cannot be written", path)),
    }
}

/// Turns the store's error into ours. A full disk is the reader's to solve and says so.
pub(crate) fn store_error(error: object_store::Error, what: &str, path: &Path) -> Error {
    if is_full(&error) {
        return Error::new(ErrorKind::Resources, "the disk is full")
            .with("path", path)
            .because(error);
    }
    tidemill_objects::explain(error, what, path.as_ref())
}

/// Turns an error of the operating system into ours.
pub(crate) fn io_error(error: std::io::Error, what: &str) -> Error {
    if is_full(&error) {
        return Error::new(ErrorKind::Resources, "the disk is full").because(error);
    }
    Error::new(ErrorKind::Io, what).because(error)
}

fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        {
            return true;
        }
        cause = error.source();
    }
    false
}
