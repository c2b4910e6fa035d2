//! A lake: opening it, what every operation shares, and the contract [`TableStore`].

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::runtime_env::RuntimeEnv;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tidemill_core::{
    At, BatchStream, Error, ErrorKind, Maintenance, MaintenanceReport, PublishChange, Published,
    PublishedRelation, RelationKind, RelationName, Result, ResultExt, RunId, SchemaChange,
    Snapshot, StageRequest, Staged, TableStore,
};
use tidemill_objects::StoreOptions;

use crate::catalog::{CatalogLog, CatalogState};
use crate::delta::{self, TableState};
use crate::publish::PublishQueue;
use crate::stage::{Compression, WriteSettings};
use crate::storage::{PutOutcome, Storage};
use crate::{SyncCounts, stage};

/// The format of a lake. A newer one is refused.
const FORMAT: u32 = 1;

/// How a lake is opened.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// The process's memory pool, spill folder and registry of object stores.
    pub runtime: Arc<RuntimeEnv>,
    /// Options of the object store, for a lake that is on one.
    pub store: StoreOptions,
    /// Whether a lake that does not exist is created; else that is an error of kind `NotFound`.
    pub create: bool,
    /// How many threads encode one write.
    pub parallelism: usize,
    /// How data files are compressed.
    pub compression: Compression,
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// The smallest size that a data file is closed at. Files grow with their table…
    pub smallest_file: u64,
    /// … up to this size.
    pub largest_file: u64,
    /// Writes of more rows than this are not hashed, see [`Staged::hash`]. 0 switches it off.
    pub hash_rows: u64,
    /// Source positions that are larger than this (in bytes) are kept beside the catalog log.
    pub inline_position: usize,
    /// Whether scans give `Utf8View` and `BinaryView` for text and binary columns.
    pub view_types: bool,
    /// Keys of an upsert that are held in memory at a time.
    pub keys_in_memory: usize,
    /// Intents, entries and Delta logs that are younger than this stay whatever the retention.
    pub keep_logs: Duration,
    /// A process that did not refresh its stage record for this long counts as dead.
    pub writer_lifetime: Duration,
}

impl LakeOptions {
    /// The usual settings.
    pub fn new(runtime: Arc<RuntimeEnv>) -> Self {
        LakeOptions {
            runtime,
            store: StoreOptions::new(),
            create: true,
            parallelism: std::thread::available_parallelism().map_or(2, |count| count.get().min(8)),
            compression: Compression::Zstd(1),
            row_group_rows: 1 << 20,
            smallest_file: 16 << 20,
            largest_file: 256 << 20,
            hash_rows: 1_000_000,
            inline_position: 16 << 10,
            view_types: false,
            keys_in_memory: 8_000_000,
            keep_logs: Duration::from_secs(24 * 3600),
            writer_lifetime: Duration::from_secs(15 * 60),
        }
    }
}

/// Tables and views with one published state. Cloned freely; a clone is the same lake.
#[derive(Debug, Clone)]
pub struct Lake {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub storage: Storage,
    pub options: LakeOptions,
    pub catalog: CatalogLog,
    /// The newest state that was seen.
    state: Mutex<Option<Arc<CatalogState>>>,
    /// The newest state of each table that was seen.
    tables: Mutex<HashMap<Path, Arc<TableState>>>,
    pub writer: Mutex<Arc<Writer>>,
    pub publishing: PublishQueue,
}

/// The lake's own file.
const MARKER: &str = "_tidemill/lake.json";

/// What stands in it.
#[derive(Serialize, Deserialize)]
struct LakeFile {
    format: u32,
    id: String,
}

impl LakeFile {
    fn parse(content: &[u8]) -> Result<Self> {
        serde_json::from_slice(content)
            .or_error(ErrorKind::Data, "the lake's own file cannot be read")
            .map_err(|error| error.with("path", MARKER))
    }
}

/// Who staged a file: one for each open lake. Its record, `_tidemill/stages/<id>.json`, is refreshed
/// while the process lives; the names of all files that it stages contain the id.
#[derive(Debug)]
pub(crate) struct Writer {
    pub id: String,
    recorded: AtomicBool,
    refresh: Mutex<Option<tokio::task::AbortHandle>>,
}

const WRITER_REFRESH: Duration = Duration::from_secs(60);

impl Writer {
    fn new() -> Arc<Self> {
        Arc::new(Writer {
            id: uuid::Uuid::new_v4().simple().to_string(),
            recorded: AtomicBool::new(false),
            refresh: Mutex::new(None),
        })
    }

    /// The folder of all records.
    pub(crate) fn folder() -> Path {
        Path::from("_tidemill/stages")
    }

    pub(crate) fn path(id: &str) -> Path {
        Self::folder().join(format!("{id}.json"))
    }

    fn content(id: &str) -> Bytes {
        let content = serde_json::json!({
            "format": FORMAT,
            "writer": id,
            "process": std::process::id(),
            "refreshed": crate::now_micros(),
        });
        content.to_string().into_bytes().into()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.refresh).take() {
            task.abort();
        }
    }
}

impl Lake {
    /// Opens the lake in a local folder or at an object-store address. One that does not exist is
    /// created, provided that the store can create a file only if it is absent: publishing rests
    /// on that.
    pub async fn open(location: &str, options: LakeOptions) -> Result<Self> {
        let storage = if tidemill_objects::is_address(location) {
            let opened = tidemill_objects::open(location, &options.store)
                .map_err(|error| error.with("lake", tidemill_core::scrub(location)))?;
            Storage::remote(opened.store, opened.name)?
        } else {
            let path = location.strip_prefix("file://").unwrap_or(location);
            if !options.create && !std::path::Path::new(path).is_dir() {
                return Err(no_lake(path));
            }
            Storage::local(std::path::Path::new(path))?
        };
        Self::with_storage(storage, options).await
    }

    /// Opens the lake at the root of this store.
    pub async fn open_store(store: Arc<dyn ObjectStore>, options: LakeOptions) -> Result<Self> {
        let name = store.to_string();
        Self::with_storage(Storage::remote(store, name)?, options).await
    }

    async fn with_storage(storage: Storage, options: LakeOptions) -> Result<Self> {
        let marker = Path::from(MARKER);
        let named = |error: Error| {
            if storage.is_local() {
                return error;
            }
            Error::new(error.kind(), "the lake cannot be reached")
                .with("lake", storage.name())
                .because(error)
        };
        match storage.get(&marker).await.map_err(named)? {
            Some(content) => {
                let file = LakeFile::parse(&content)?;
                if file.format > FORMAT {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the lake was made by a newer version of Tidemill",
                    )
                    .with("lake", storage.name())
                    .with("hint", "upgrade Tidemill"));
                }
            }
            None if !options.create => {
                return Err(no_lake(storage.name()));
            }
            None => create(&storage, &marker).await?,
        }
        options.runtime.register_object_store(storage.url().as_ref(), storage.objects().clone());
        let catalog = CatalogLog { storage: storage.clone() };
        Ok(Lake {
            inner: Arc::new(Inner {
                storage,
                options,
                catalog,
                state: Mutex::new(None),
                tables: Mutex::new(HashMap::new()),
                writer: Mutex::new(Writer::new()),
                publishing: PublishQueue::default(),
            }),
        })
    }

    /// The lake as a person knows it: its folder or address.
    pub fn name(&self) -> &str {
        self.inner.storage.name()
    }

    /// What tells this lake from every other one, also from one that was here before it.
    ///
    /// # Errors
    /// `NotFound` when the lake is gone, else of its store.
    pub async fn id(&self) -> Result<String> {
        let content = self.inner.storage.get(&Path::from(MARKER)).await?;
        let gone = || Error::new(ErrorKind::NotFound, "the lake is gone").with("lake", self.name());
        Ok(LakeFile::parse(&content.ok_or_else(gone)?)?.id)
    }

    /// The newest published state, after finishing a publish that somebody left half-way: what a run
    /// starts from.
    pub async fn recover(&self) -> Result<Snapshot> {
        Ok(crate::publish::recover(&self.inner).await?.snapshot.clone())
    }

    /// Says that nothing that this process staged will be published any more. What was not
    /// discarded is then deleted by the next maintenance, without waiting for the process to count
    /// as dead. A stage after it begins anew.
    pub async fn close(&self) -> Result<()> {
        let writer = lock(&self.inner.writer).clone();
        if writer.recorded.load(Ordering::Acquire) {
            self.inner.rotate_writer(&writer.id);
            self.inner.storage.delete_all(vec![Writer::path(&writer.id)]).await?;
        }
        Ok(())
    }

    /// Makes the lake's files known to another runtime than the one it was opened with.
    pub fn register(&self, runtime: &RuntimeEnv) {
        let storage = &self.inner.storage;
        runtime.register_object_store(storage.url().as_ref(), storage.objects().clone());
    }

    /// How often something was synced to local disk since the lake was opened.
    pub fn sync_counts(&self) -> SyncCounts {
        self.inner.storage.sync_counts()
    }
}

/// Creates the lake, after a look whether its store can do what publishing rests on.
fn no_lake(place: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no lake here").with("lake", place)
}

async fn create(storage: &Storage, marker: &Path) -> Result<()> {
    let probe = Path::from("_tidemill").join(format!("probe-{}", uuid::Uuid::new_v4().simple()));
    let refused = |error: Option<Error>| {
        let refusal = Error::new(
            ErrorKind::Unsupported,
            if storage.is_local() {
                "a lake cannot be made here: the file system cannot create a file only if it is \
                 absent (hard links)"
            } else {
                "a lake cannot be made here: the store has no conditional put"
            },
        )
        .with("lake", storage.name());
        match error {
            Some(error) => refusal.because(error),
            None => refusal,
        }
    };
    let first = storage.put_new(&probe, Bytes::from_static(b"1")).await;
    let second = match &first {
        Ok(_) => storage.put_new(&probe, Bytes::from_static(b"2")).await,
        Err(_) => Ok(PutOutcome::Exists),
    };
    let content = storage.get(&probe).await;
    let _ = storage.delete_all(vec![probe]).await;
    match (first, second) {
        (Err(error), _) | (_, Err(error)) => {
            // A remote store that refuses for another reason (no such bucket, no credentials) says it.
            return Err(match error.kind() {
                ErrorKind::Resources | ErrorKind::Denied => error,
                _ if storage.is_local() => refused(Some(error)),
                ErrorKind::Unsupported => refused(Some(error)),
                kind => Error::new(kind, "the lake cannot be created")
                    .with("lake", storage.name())
                    .because(error),
            });
        }
        (Ok(PutOutcome::Created), Ok(PutOutcome::Exists)) => {}
        _ => return Err(refused(None)),
    }
    if content?.as_deref() != Some(b"1") {
        return Err(refused(None));
    }
    let file = LakeFile { format: FORMAT, id: uuid::Uuid::new_v4().to_string() };
    let content = serde_json::to_vec(&file)
        .or_error(ErrorKind::Internal, "the lake's own file cannot be written")?;
    // Somebody else creating it at the same time is fine.
    storage.put_new(marker, content.into()).await?;
    storage.sync().await
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// The newest state of the catalog.
    pub(crate) async fn latest(&self) -> Result<Arc<CatalogState>> {
        let known = lock(&self.state).clone();
        let newest = match known {
            Some(known) => {
                // One request when nothing was published meanwhile.
                match self.catalog.entry(known.number() + 1).await? {
                    None => return Ok(known),
                    Some(entry) => {
                        let mut state = (*known).clone();
                        self.catalog.apply(&mut state, entry).await?;
                        self.catalog.advance(state, u64::MAX).await?
                    }
                }
            }
            None => self.catalog.latest().await?,
        };
        Ok(self.remember(newest))
    }

    /// Keeps a state as the newest seen, unless a newer one was.
    pub(crate) fn remember(&self, state: CatalogState) -> Arc<CatalogState> {
        let state = Arc::new(state);
        let mut known = lock(&self.state);
        if known.as_ref().is_none_or(|known| known.number() < state.number()) {
            *known = Some(state.clone());
        }
        state
    }

    /// The state of a table at a version.
    pub(crate) async fn table(&self, table: &Path, version: u64) -> Result<Arc<TableState>> {
        let known = lock(&self.tables).get(table).cloned();
        if let Some(known) = &known
            && known.version == version
        {
            return Ok(known.clone());
        }
        let state = Arc::new(delta::load(&self.storage, table, version, known.as_deref()).await?);
        self.remember_table(state.clone());
        Ok(state)
    }

    /// Keeps a table's state, unless a newer one is kept.
    pub(crate) fn remember_table(&self, state: Arc<TableState>) {
        let mut tables = lock(&self.tables);
        if tables.len() > 4096 {
            tables.clear();
        }
        let newer = tables.get(&state.table).is_none_or(|known| known.version < state.version);
        if newer {
            tables.insert(state.table.clone(), state);
        }
    }

    /// The state of a published table.
    pub(crate) async fn published_table(
        &self,
        relation: &PublishedRelation,
    ) -> Result<Arc<TableState>> {
        match &relation.kind {
            RelationKind::Table { location, version } => self
                .table(&Path::from(location.as_str()), version.0)
                .await
                .map_err(|error| error.with("relation", &relation.name)),
            RelationKind::View { .. } => {
                Err(Error::new(ErrorKind::Internal, "a view has no data files")
                    .with("relation", &relation.name))
            }
        }
    }

    pub(crate) fn write_settings(&self) -> WriteSettings {
        let options = &self.options;
        WriteSettings {
            parallelism: options.parallelism.max(1),
            compression: options.compression,
            row_group_rows: options.row_group_rows.max(1),
            file_bytes: options.smallest_file..=options.largest_file.max(options.smallest_file),
            environment: options.runtime.clone(),
        }
    }

    /// The id that staged files carry, with its record in place.
    pub(crate) async fn writer(&self) -> Result<Arc<Writer>> {
        let writer = lock(&self.writer).clone();
        if writer.recorded.load(Ordering::Acquire) {
            return Ok(writer);
        }
        self.storage.put(&Writer::path(&writer.id), Writer::content(&writer.id)).await?;
        writer.recorded.store(true, Ordering::Release);
        let (storage, id) = (self.storage.clone(), writer.id.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(WRITER_REFRESH).await;
                // Never made again: when it is gone, the writer was declared dead.
                match storage.head(&Writer::path(&id)).await {
                    Ok(Some(_)) => {
                        let _ = storage.put(&Writer::path(&id), Writer::content(&id)).await;
                    }
                    Ok(None) => return,
                    Err(_) => {}
                }
            }
        });
        if let Some(other) = lock(&writer.refresh).replace(task.abort_handle()) {
            other.abort();
        }
        Ok(writer)
    }

    /// Takes a new writer id, after this one was declared dead.
    pub(crate) fn rotate_writer(&self, dead: &str) {
        let mut writer = lock(&self.writer);
        if writer.id == dead {
            *writer = Writer::new();
        }
    }
}

#[async_trait]
impl TableStore for Lake {
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        match at {
            At::Now => Ok(self.inner.latest().await?.snapshot.clone()),
            at => {
                let newest = self.inner.latest().await?;
                if at == At::Entry(newest.snapshot.entry) {
                    return Ok(newest.snapshot.clone());
                }
                Ok(self.inner.catalog.at(&at).await?.snapshot)
            }
        }
    }

    async fn stage(&self, request: StageRequest) -> Result<Staged> {
        stage::stage(&self.inner, request).await
    }

    async fn stage_schema(
        &self,
        relation: &RelationName,
        changes: &[SchemaChange],
        base: &Snapshot,
        run: &RunId,
    ) -> Result<Staged> {
        stage::stage_schema(&self.inner, relation, changes, base, run).await
    }

    async fn by_file(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Option<Staged>> {
        stage::by_file(&self.inner, relation, base, only).await
    }

    async fn rows_after(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        column: &str,
        after: i64,
    ) -> Result<BatchStream> {
        stage::rows_after(&self.inner, relation, base, column, after).await
    }

    async fn rows_of_columns(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        columns: &[String],
    ) -> Result<BatchStream> {
        stage::rows_of_columns(&self.inner, relation, base, columns).await
    }

    async fn rows_of_keys(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        keys: &RecordBatch,
        columns: &[String],
    ) -> Result<(RecordBatch, Vec<Option<usize>>)> {
        stage::rows_of_keys(&self.inner, relation, base, keys, columns).await
    }

    async fn stage_copy(
        &self,
        relation: &RelationName,
        source: &RelationName,
        partition_by: &[String],
        base: &Snapshot,
        comments: &[(String, String)],
    ) -> Result<Option<Staged>> {
        stage::stage_copy(&self.inner, relation, source, partition_by, base, comments).await
    }

    async fn publish(&self, changes: Vec<PublishChange>, run: &RunId) -> Result<Published> {
        crate::publish::publish(&self.inner, changes, run).await
    }

    async fn discard(&self, staged: &Staged) -> Result<()> {
        stage::discard(&self.inner, staged).await
    }

    async fn foreign_heads(&self, base: &Snapshot) -> Result<Vec<RelationName>> {
        crate::foreign::foreign_heads(&self.inner, base).await
    }

    async fn adopt(&self, relation: &RelationName, base: &Snapshot, run: &RunId) -> Result<Staged> {
        crate::foreign::adopt(&self.inner, relation, base, run).await
    }

    async fn maintain(&self, rule: &Maintenance) -> Result<MaintenanceReport> {
        crate::maintain::maintain(&self.inner, rule).await
    }
}
