//! Staging: data files that no log mentions yet, and the change of the table that they stand for.

mod columns;
mod copy;
mod encode;
mod files;
mod hash;
mod history;
mod keys;
mod lookup;
mod partition;
mod patch;
mod ranges;
mod rewrite;
mod sink;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use object_store::path::Path;
use serde_json::{Value, json};
use tidemill_core::{
    ColumnChange, CommitId, EntryNumber, Error, ErrorKind, Position, RelationKind, RelationName,
    Result, RunId, SchemaChange, Snapshot, StageRequest, Staged, WriteMode,
};

use crate::delta::{
    Action, Add, CommitInfo, FormatSpec, MetaData, Protocol, TableState, Transaction, commit_path,
    delta_from_arrow, log_folder,
};
use crate::lake::Inner;
use crate::publish::APPLICATION;

pub(crate) use columns::Evolution;
pub(crate) use copy::stage_copy;
pub use encode::Compression;
pub(crate) use encode::{WriteSettings, file_schema};
pub(crate) use files::{by_file, file_name};
pub(crate) use lookup::{rows_after, rows_of_columns, rows_of_keys};
pub(crate) use rewrite::Rewrite;
pub(crate) use sink::{RowSink, feed};

/// What a staged change does to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Adds files.
    Append,
    /// Replaces every file.
    Replace,
    /// Replaces certain files of the base.
    Exact,
    /// The same, without a change of rows.
    Compact,
    /// Takes over another engine's version as it is.
    Adopt,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Staged,
    Published,
    /// It may be published: nothing may be deleted.
    Unknown,
    Discarded,
}

/// The lake's own part of a [`Staged`].
#[derive(Debug)]
pub(crate) struct StagedTable {
    pub kind: Kind,
    /// The table's folder.
    pub location: Path,
    /// The published version that it builds on; `None` makes a new table.
    pub base_version: Option<u64>,
    /// The data version of the relation that it builds on, be it a table or a view.
    pub base_data_entry: Option<EntryNumber>,
    pub base_position: Option<Position>,
    /// What a restore sets back with the data.
    pub restored: Option<Restored>,
    /// The relation moves to a folder that it had before.
    pub relocates: bool,
    pub added: Vec<Add>,
    /// Paths of the base's files that go.
    pub removed: Vec<String>,
    pub metadata: Option<MetaData>,
    pub protocol: Option<Protocol>,
    /// The table as it would be.
    pub preview: Arc<TableState>,
    /// The files that were written for it.
    pub files: Vec<Path>,
    pub writer: String,
    pub operation: &'static str,
    pub parameters: Value,
    /// It stands for rows of a published table, and this is the column that names their files.
    pub file_column: Option<&'static str>,
    status: AtomicU8,
}

impl StagedTable {
    pub(crate) fn set_status(&self, status: Status) {
        self.status.store(status as u8, Ordering::SeqCst);
    }

    fn status(&self) -> u8 {
        self.status.load(Ordering::SeqCst)
    }

    pub(crate) fn is_publishable(&self) -> bool {
        self.status() == Status::Staged as u8
    }
}

/// The lake's own part.
pub(crate) fn staged_table(staged: &Staged) -> Result<Arc<StagedTable>> {
    staged.inner.clone().downcast::<StagedTable>().map_err(|_| {
        Error::new(ErrorKind::Internal, "this was not staged by a lake")
            .with("relation", &staged.relation)
    })
}

/// Deletes the files of a stage, unless they are or may be published.
pub(crate) async fn discard(inner: &Inner, staged: &Staged) -> Result<()> {
    let table = staged_table(staged)?;
    let status = table.status();
    if status == Status::Published as u8 || status == Status::Unknown as u8 {
        return Err(Error::new(
            ErrorKind::Internal,
            "what is or may be published cannot be discarded",
        )
        .with("relation", &staged.relation));
    }
    table.set_status(Status::Discarded);
    inner.storage.delete_all(table.files.clone()).await?;
    if table.base_version.is_none() {
        inner.storage.remove_empty_folders(&table.location).await;
    }
    Ok(())
}

/// What a stage builds on.
#[derive(Clone)]
pub(crate) struct Base {
    pub table: Option<Arc<TableState>>,
    pub data_entry: Option<EntryNumber>,
    pub position: Option<Position>,
    pub hash: Option<String>,
    pub location: Path,
}

impl Base {
    pub(crate) async fn of(
        inner: &Inner,
        relation: &RelationName,
        snapshot: &Snapshot,
    ) -> Result<Self> {
        let published = snapshot.get(relation);
        let table = match published {
            Some(published) if matches!(published.kind, RelationKind::Table { .. }) => {
                let table = inner.published_table(published).await?;
                table
                    .protocol
                    .check_writable(&table.metadata)
                    .map_err(|error| error.with("relation", relation))?;
                Some(table)
            }
            _ => None,
        };
        let location = match &table {
            Some(table) => table.table.clone(),
            None => free_location(inner, relation).await?,
        };
        Ok(Base {
            table,
            data_entry: published.map(|published| published.data_entry),
            position: published.and_then(|published| published.position.clone()),
            hash: published.and_then(|published| published.hash.clone()),
            location,
        })
    }
}

/// A folder for a new table: `<schema>/<name>`, or one beside it when that has a history of its
/// own.
async fn free_location(inner: &Inner, relation: &RelationName) -> Result<Path> {
    let usual = Path::from(format!("{}/{}", segment(relation.schema()), segment(relation.name())));
    let taken = inner.storage.head(&commit_path(&usual, 0)).await?.is_some()
        || inner.storage.head(&log_folder(&usual).join("_last_checkpoint")).await?.is_some();
    if !taken {
        return Ok(usual);
    }
    let suffix = &uuid::Uuid::new_v4().simple().to_string()[..8];
    Ok(Path::from(format!("{usual}-{suffix}")))
}

/// A name as a folder that every store and file system can hold, and that reads the same in an
/// object store's path (which writes `~` and the like in another way).
fn segment(name: &str) -> String {
    /// Bytes of a folder's name; file systems take 255.
    const LONGEST: usize = 160;
    let mut segment = String::new();
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => segment.push(character),
            '-' | '.' if !segment.is_empty() => segment.push(character),
            other => segment.push_str(&format!("!{:x}", other as u32)),
        }
    }
    if segment.len() > LONGEST {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(name, &mut hasher);
        let hash = std::hash::Hasher::finish(&hasher);
        segment.truncate(LONGEST);
        segment.push_str(&format!("-{hash:016x}"));
    }
    segment
}

/// Text columns of which every value so far is NULL: their type is still open.
fn only_nulls(table: &TableState) -> HashSet<String> {
    let mut open: HashSet<String> = table
        .schema
        .fields()
        .iter()
        .filter(|field| *field.data_type() == DataType::Utf8)
        .filter(|field| !table.metadata.partition_columns.contains(field.name()))
        .map(|field| field.name().clone())
        .collect();
    for file in table.files.values() {
        if open.is_empty() {
            break;
        }
        let statistics = file.statistics(&table.schema);
        open.retain(|name| {
            let nulls = statistics.columns.get(name).and_then(|column| column.nulls);
            nulls.is_some() && nulls == statistics.rows
        });
    }
    open
}

/// Writes data files that nobody sees yet.
pub(crate) async fn stage(inner: &Arc<Inner>, request: StageRequest) -> Result<Staged> {
    let relation = request.relation.clone();
    stage_relation(inner, request).await.map_err(|error| {
        if error.context().iter().any(|(name, _)| *name == "relation") {
            error
        } else {
            error.with("relation", relation)
        }
    })
}

async fn stage_relation(inner: &Arc<Inner>, request: StageRequest) -> Result<Staged> {
    let base = Base::of(inner, &request.relation, &request.base).await?;
    let folder = base.table.is_none().then(|| base.location.clone());
    let staged = stage_on(inner, base, request).await;
    if let (Err(_), Some(folder)) = (&staged, folder) {
        inner.storage.remove_empty_folders(&folder).await;
    }
    staged
}

async fn stage_on(inner: &Arc<Inner>, base: Base, request: StageRequest) -> Result<Staged> {
    let input = match &request.mode {
        WriteMode::History { .. } | WriteMode::Changes { .. } => {
            columns_of_table(&request.rows.schema)
        }
        _ => request.rows.schema.clone(),
    };
    let whole = matches!(request.mode, WriteMode::Replace | WriteMode::ReplaceByKey { .. });
    let replaces = whole || base.table.is_none();

    let evolution = match &base.table {
        Some(table) if !replaces => {
            columns::evolve(&table.schema, &input, &only_nulls(table), &request.comments)?
        }
        Some(table) => {
            let schema = columns::stored_schema(&input, &request.comments)?;
            let changes = columns::differences(&table.schema, &schema);
            columns::Evolution { schema, changes, rewrite: false }
        }
        None => columns::Evolution {
            schema: columns::stored_schema(&input, &request.comments)?,
            changes: Vec::new(),
            rewrite: false,
        },
    };
    let partition_by = match &base.table {
        Some(table) if !replaces => table.metadata.partition_columns.clone(),
        Some(table) if request.partition_by.is_none() => table
            .metadata
            .partition_columns
            .iter()
            .filter(|name| evolution.schema.field_with_name(name).is_ok())
            .cloned()
            .collect(),
        _ => request.partition_by.clone().unwrap_or_default(),
    };
    let mut plan = Plan::new(inner, &request.relation, base, evolution, partition_by).await?;
    plan.describe(&request.comments);
    match request.mode.clone() {
        WriteMode::Replace => plan.add_rows(inner, request, Kind::Replace, "replace").await,
        WriteMode::Append if plan.evolution.rewrite => plan.rewrite(inner, request).await,
        WriteMode::Append if plan.base.table.is_none() => {
            plan.add_rows(inner, request, Kind::Append, "append").await
        }
        WriteMode::Append => plan.add_rows(inner, request, Kind::Append, "append").await,
        WriteMode::ReplaceRanges { column, ranges } if plan.base.table.is_some() => {
            plan.replace_ranges(inner, ranges::Ranges { column, spans: ranges }, request).await
        }
        WriteMode::ReplaceFiles { files } => plan.replace_files(inner, files, request).await,
        WriteMode::History { key, until } => {
            let history = history::History { key, until };
            plan.end_and_add(inner, history, request.rows, request.observers).await
        }
        _ => plan.rewrite(inner, request).await,
    }
}

/// The columns of the stream that are the table's.
fn columns_of_table(stream: &Schema) -> SchemaRef {
    let fields: Vec<Arc<Field>> = stream
        .fields()
        .iter()
        .filter(|field| !tidemill_core::history::is_control(field.name()))
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

/// What a stage is about to write, decided before the first row.
#[derive(Clone)]
pub(crate) struct Plan {
    pub relation: RelationName,
    pub base: Base,
    pub evolution: columns::Evolution,
    pub partition_by: Vec<String>,
    pub writer: String,
    /// The table's metadata, when it changes.
    pub metadata: Option<MetaData>,
    pub protocol: Option<Protocol>,
}

impl Plan {
    pub(crate) async fn new(
        inner: &Arc<Inner>,
        relation: &RelationName,
        base: Base,
        evolution: columns::Evolution,
        partition_by: Vec<String>,
    ) -> Result<Self> {
        let schema_string = delta_from_arrow(&evolution.schema)?;
        let naive = evolution.schema.fields().iter().any(|field| has_naive(field.data_type()));
        let (metadata, protocol) = match &base.table {
            None => (
                Some(MetaData {
                    id: uuid::Uuid::new_v4().to_string(),
                    name: Some(relation.to_string()),
                    description: None,
                    format: FormatSpec::default(),
                    schema_string,
                    partition_columns: partition_by.clone(),
                    created_time: Some(crate::now_millis()),
                    // Cleaning the log up is ours: others do not know what is still published.
                    configuration: BTreeMap::from([(
                        "delta.enableExpiredLogCleanup".to_owned(),
                        Some("false".to_owned()),
                    )]),
                }),
                Some(Protocol::for_schema(naive)),
            ),
            Some(table) => {
                let same = table.metadata.schema_string == schema_string
                    && table.metadata.partition_columns == partition_by;
                let metadata = (!same).then(|| MetaData {
                    schema_string,
                    partition_columns: partition_by.clone(),
                    ..table.metadata.clone()
                });
                (metadata, naive.then(|| with_naive(&table.protocol)).flatten())
            }
        };
        let writer = inner.writer().await?.id.clone();
        Ok(Plan {
            relation: relation.clone(),
            base,
            evolution,
            partition_by,
            writer,
            metadata,
            protocol,
        })
    }

    /// Describes the table itself, when that is asked for.
    fn describe(&mut self, comments: &[(String, String)]) {
        let Some((_, text)) = comments.iter().find(|(name, _)| name.is_empty()) else { return };
        let known =
            self.metadata.as_ref().or(self.base.table.as_ref().map(|table| &table.metadata));
        let Some(known) = known.filter(|known| known.description.as_ref() != Some(text)) else {
            return;
        };
        self.metadata = Some(MetaData { description: Some(text.clone()), ..known.clone() });
    }

    /// A sink for rows of the table that are to come.
    pub(crate) fn sink(&self, inner: &Inner, hash: bool) -> Result<RowSink> {
        let stage = &uuid::Uuid::new_v4().simple().to_string()[..12];
        let writer = encode::TableWriter::new(
            inner.storage.clone(),
            tokio::runtime::Handle::current(),
            inner.write_settings(),
            self.base.location.clone(),
            format!("{}-{stage}", self.writer),
            self.evolution.schema.clone(),
            &self.partition_by,
        )?;
        let hashed = hash && hash::hashable(&self.evolution.schema);
        let limit = if hashed { inner.options.hash_rows } else { 0 };
        Ok(RowSink::new(writer, self.evolution.schema.clone(), limit))
    }

    /// A replace, or an append that leaves the files of the table alone.
    async fn add_rows(
        self,
        inner: &Arc<Inner>,
        request: StageRequest,
        kind: Kind,
        operation: &'static str,
    ) -> Result<Staged> {
        let base_hash = self.base.hash.as_deref().and_then(hash::from_text);
        let grows = kind == Kind::Append && self.base.table.is_some();
        let mut sink = self.sink(inner, !grows || base_hash.is_some())?;
        sink.observers = request.observers;
        let done = feed(request.rows, sink).await?;
        let hash = match (grows, done.hash, base_hash) {
            (false, hash, _) => hash,
            (true, Some(hash), Some(base)) => Some(base.wrapping_add(hash)),
            _ => None,
        };
        let rows_written = done.rows;
        let added = done.written.into_iter().map(|written| written.add).collect();
        self.staged(Change {
            kind,
            operation,
            parameters: json!({}),
            added,
            removed: Vec::new(),
            files: done.files,
            rows_written,
            rows_changed: 0,
            null_keys: 0,
            hash,
            observed: done.observed,
        })
    }

    /// Puts a stage together.
    /// New rows beside files that went, some of whose rows stay.
    pub(crate) fn staged_change(
        self,
        operation: &'static str,
        parameters: Value,
        done: sink::Done,
        went: Went,
        files: Vec<Path>,
    ) -> Result<Staged> {
        let base_hash = self.base.hash.as_deref().and_then(hash::from_text);
        let hash = match (done.hash, base_hash, went.hash) {
            (Some(new), Some(base), Some(change)) => {
                Some(base.wrapping_add(new).wrapping_add(change))
            }
            _ => None,
        };
        self.staged(Change {
            kind: if went.files.is_empty() { Kind::Append } else { Kind::Exact },
            operation,
            parameters,
            added: done.written.into_iter().map(|written| written.add).collect(),
            removed: went.files,
            files,
            rows_written: done.rows,
            rows_changed: went.rows,
            null_keys: 0,
            hash,
            observed: done.observed,
        })
    }

    pub(crate) fn staged(self, change: Change) -> Result<Staged> {
        let preview = self.preview(&change)?;
        let schema: SchemaRef = preview.schema.clone();
        let (rows, bytes) = (preview.rows(), preview.bytes());
        let before = self.base.table.as_ref().map(|table| table.metadata.partition_columns.clone());
        let table = StagedTable {
            kind: change.kind,
            location: self.base.location.clone(),
            base_version: self.base.table.as_ref().map(|table| table.version),
            base_data_entry: self.base.data_entry,
            base_position: self.base.position.clone(),
            restored: None,
            relocates: false,
            added: change.added,
            removed: change.removed,
            metadata: self.metadata,
            protocol: self.protocol,
            preview: Arc::new(preview),
            files: change.files,
            writer: self.writer,
            operation: change.operation,
            parameters: change.parameters,
            file_column: None,
            status: AtomicU8::new(Status::Staged as u8),
        };
        Ok(Staged {
            relation: self.relation,
            schema,
            rows,
            bytes: Some(bytes),
            rows_written: change.rows_written,
            rows_changed: change.rows_changed,
            null_keys: change.null_keys,
            hash: change.hash.map(hash::to_text),
            column_changes: self.evolution.changes,
            repartitioned: before.is_some_and(|before| before != self.partition_by),
            observed: change.observed,
            inner: Arc::new(table),
        })
    }

    fn preview(&self, change: &Change) -> Result<TableState> {
        let mut actions = Vec::new();
        actions.extend(self.protocol.clone().map(Action::Protocol));
        actions.extend(self.metadata.clone().map(Action::MetaData));
        if let Some(table) = &self.base.table {
            actions.extend(removals(change.kind, &change.removed, table, 0));
        }
        actions.extend(change.added.iter().cloned().map(Action::Add));
        match &self.base.table {
            Some(table) => (**table).clone().apply(table.version + 1, actions),
            None => TableState::created(self.base.location.clone(), actions),
        }
    }
}

/// What a change takes away.
pub(crate) struct Went {
    /// Paths of files that go.
    pub files: Vec<String>,
    /// Rows that are not there any more, or have changed.
    pub rows: u64,
    /// By how much the hash of the table changes, where it is known.
    pub hash: Option<u128>,
}

/// What was written, and what goes.
pub(crate) struct Change {
    pub kind: Kind,
    pub operation: &'static str,
    pub parameters: Value,
    pub added: Vec<Add>,
    pub removed: Vec<String>,
    pub files: Vec<Path>,
    pub rows_written: u64,
    pub rows_changed: u64,
    pub null_keys: u64,
    pub hash: Option<u128>,
    pub observed: Vec<tidemill_core::Measurement>,
}

/// What a restore sets back with the data.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    /// `None`: the position stays.
    pub position: Option<Option<Position>>,
    pub record: Option<Value>,
}

/// A stage that is made of existing files alone: an adoption or a restore.
pub(crate) struct Existing {
    pub kind: Kind,
    pub operation: &'static str,
    pub preview: Arc<TableState>,
    pub added: Vec<Add>,
    pub removed: Vec<String>,
    pub restored: Option<Restored>,
    pub relocates: bool,
    pub hash: Option<String>,
    /// See [`StagedTable::file_column`].
    pub file_column: Option<&'static str>,
}

/// Puts such a stage together.
pub(crate) fn staged_existing(relation: &RelationName, base: &Base, existing: Existing) -> Staged {
    let Existing {
        kind,
        operation,
        preview,
        added,
        removed,
        restored,
        relocates,
        hash,
        file_column,
    } = existing;
    let before = base.table.as_deref();
    let metadata = before
        .is_none_or(|before| before.metadata != preview.metadata)
        .then(|| preview.metadata.clone());
    // A protocol is never taken back.
    let protocol = before.is_none().then(|| preview.protocol.clone());
    let column_changes = before
        .map(|before| columns::differences(&before.schema, &preview.schema))
        .unwrap_or_default();
    let table = StagedTable {
        kind,
        location: preview.table.clone(),
        base_version: before.map(|before| before.version),
        base_data_entry: base.data_entry,
        base_position: base.position.clone(),
        restored,
        relocates,
        added,
        removed,
        metadata,
        protocol,
        files: Vec::new(),
        writer: String::new(),
        operation,
        parameters: json!({}),
        file_column,
        status: AtomicU8::new(Status::Staged as u8),
        preview: preview.clone(),
    };
    Staged {
        relation: relation.clone(),
        schema: preview.schema.clone(),
        rows: preview.rows(),
        bytes: Some(preview.bytes()),
        rows_written: 0,
        rows_changed: 0,
        null_keys: 0,
        hash,
        column_changes,
        repartitioned: before.is_some_and(|before| {
            before.metadata.partition_columns != preview.metadata.partition_columns
        }),
        observed: Vec::new(),
        inner: Arc::new(table),
    }
}

fn removals(kind: Kind, removed: &[String], table: &TableState, time: i64) -> Vec<Action> {
    let data_change = kind != Kind::Compact;
    let gone: HashSet<&str> = removed.iter().map(String::as_str).collect();
    table
        .files
        .values()
        .filter(|file| kind == Kind::Replace || gone.contains(file.add.path.as_str()))
        .map(|file| Action::Remove(file.add.removed(time, data_change)))
        .collect()
}

/// The Delta commit of a staged change, after this state of the table.
pub(crate) fn actions_of(
    table: &StagedTable,
    before: Option<&TableState>,
    commit: &CommitId,
    run: &RunId,
    number: u64,
    time: i64,
) -> Vec<Action> {
    let millis = time / 1000;
    let mut actions = vec![Action::CommitInfo(CommitInfo {
        timestamp: Some(millis),
        operation: Some(delta_operation(table).to_owned()),
        operation_parameters: Some(table.parameters.clone()),
        engine_info: Some(concat!("tidemill/", env!("CARGO_PKG_VERSION")).to_owned()),
        tidemill_commit: Some(commit.as_str().to_owned()),
        tidemill_run: Some(run.as_str().to_owned()),
    })];
    actions.extend(table.protocol.clone().map(Action::Protocol));
    actions.extend(table.metadata.clone().map(Action::MetaData));
    actions.push(Action::Txn(Transaction {
        app_id: APPLICATION.to_owned(),
        version: number as i64,
        last_updated: Some(millis),
    }));
    if let Some(before) = before {
        actions.extend(removals(table.kind, &table.removed, before, millis));
    }
    actions.extend(table.added.iter().map(|add| {
        let mut add = add.clone();
        add.data_change = table.kind != Kind::Compact;
        Action::Add(add)
    }));
    actions
}

/// The word that the Delta world has for it.
fn delta_operation(table: &StagedTable) -> &'static str {
    match (table.operation, table.base_version) {
        ("upsert", _) => "MERGE",
        ("compact", _) => "OPTIMIZE",
        ("restore", _) => "RESTORE",
        ("schema", _) => "CHANGE COLUMN",
        _ => "WRITE",
    }
}

fn has_naive(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => true,
        DataType::List(element) => has_naive(element.data_type()),
        DataType::Map(entries, _) => has_naive(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_naive(field.data_type())),
        _ => false,
    }
}

/// A protocol that allows naive timestamps beside what it allowed before; `None` if it does already.
fn with_naive(protocol: &Protocol) -> Option<Protocol> {
    const NAIVE: &str = "timestampNtz";
    let has = |features: &Option<Vec<String>>| features.iter().flatten().any(|name| name == NAIVE);
    if has(&protocol.reader_features) && has(&protocol.writer_features) {
        return None;
    }
    // What the older versions stood for has to be named now.
    let legacy: &[(i32, &[&str])] = &[
        (2, &["appendOnly", "invariants"]),
        (3, &["checkConstraints"]),
        (4, &["changeDataFeed", "generatedColumns"]),
        (5, &["columnMapping"]),
        (6, &["identityColumns"]),
    ];
    let mut writer: Vec<String> = protocol.writer_features.clone().unwrap_or_else(|| {
        legacy
            .iter()
            .filter(|(version, _)| *version <= protocol.min_writer_version)
            .flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned()))
            .collect()
    });
    let mut reader: Vec<String> = protocol.reader_features.clone().unwrap_or_else(|| {
        if protocol.min_reader_version >= 2 { vec!["columnMapping".to_owned()] } else { vec![] }
    });
    for features in [&mut writer, &mut reader] {
        if !features.iter().any(|name| name == NAIVE) {
            features.push(NAIVE.to_owned());
        }
    }
    Some(Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(reader),
        writer_features: Some(writer),
    })
}

/// Stages a change of columns alone. Adding costs nothing; removing and widening rewrite the table.
pub(crate) async fn stage_schema(
    inner: &Arc<Inner>,
    relation: &RelationName,
    changes: &[SchemaChange],
    base: &Snapshot,
    _run: &RunId,
) -> Result<Staged> {
    let base = Base::of(inner, relation, base).await?;
    let Some(table) = base.table.clone() else {
        return Err(Error::new(ErrorKind::NotFound, "the lake has no such table")
            .with("relation", relation));
    };
    let mut fields: Vec<Arc<Field>> = table.schema.fields().iter().cloned().collect();
    let mut column_changes = Vec::new();
    let mut rewrite = false;
    let mut description = None;
    let missing = |column: &str| {
        Error::new(ErrorKind::NotFound, "the table has no such column")
            .with("relation", relation)
            .with("column", column)
    };
    for change in changes {
        match change {
            SchemaChange::Add(name, data_type) => {
                if fields.iter().any(|field| field.name() == name) {
                    return Err(Error::new(ErrorKind::AlreadyExists, "the table has this column")
                        .with("relation", relation)
                        .with("column", name));
                }
                fields.push(Arc::new(Field::new(name, data_type.clone(), true)));
                column_changes.push(ColumnChange::Added(name.clone()));
            }
            SchemaChange::Remove(name) => {
                let index = fields
                    .iter()
                    .position(|field| field.name() == name)
                    .ok_or_else(|| missing(name))?;
                if table.metadata.partition_columns.contains(name) {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "a column that the table is partitioned by cannot be removed",
                    )
                    .with("relation", relation)
                    .with("column", name));
                }
                fields.remove(index);
                column_changes.push(ColumnChange::Removed(name.clone()));
                rewrite = true;
            }
            SchemaChange::Widen(name, data_type) => {
                let index = fields
                    .iter()
                    .position(|field| field.name() == name)
                    .ok_or_else(|| missing(name))?;
                let from = fields[index].data_type().clone();
                let wanted = Schema::new(vec![Field::new(name, data_type.clone(), true)]);
                let to = columns::stored_schema(&wanted, &[])?.field(0).data_type().clone();
                fields[index] = Arc::new((*fields[index]).clone().with_data_type(to.clone()));
                rewrite |= from != to;
                column_changes.push(ColumnChange::Widened { column: name.clone(), from, to });
            }
            SchemaChange::Comment { column: None, text } => description = Some(text.clone()),
            SchemaChange::Comment { column: Some(name), text } => {
                let index = fields
                    .iter()
                    .position(|field| field.name() == name)
                    .ok_or_else(|| missing(name))?;
                let mut metadata = fields[index].metadata().clone();
                match text {
                    Some(text) => metadata.insert("comment".to_owned(), text.clone()),
                    None => metadata.remove("comment"),
                };
                fields[index] = Arc::new((*fields[index]).clone().with_metadata(metadata));
            }
        }
    }
    let partition_by = table.metadata.partition_columns.clone();
    // The rule of names and types holds here as well; comments and nullability stay.
    let stored = columns::stored_schema(&Schema::new(fields.clone()), &[])?;
    let types: HashMap<&str, &DataType> =
        stored.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let fields: Vec<Field> = fields
        .iter()
        .map(|field| {
            let data_type = types.get(field.name().as_str()).copied();
            (**field).clone().with_data_type(data_type.unwrap_or(field.data_type()).clone())
        })
        .collect();
    let evolution = columns::Evolution {
        schema: Arc::new(Schema::new(fields)),
        changes: column_changes,
        rewrite,
    };
    let hash = base.hash.as_deref().and_then(hash::from_text);
    let removes = evolution.changes.iter().any(|change| !matches!(change, ColumnChange::Added(_)));
    let mut plan = Plan::new(inner, relation, base, evolution, partition_by).await?;
    if let Some(description) = description {
        let metadata = plan.metadata.get_or_insert_with(|| table.metadata.clone());
        metadata.description = description;
    }
    if rewrite {
        return plan.rewrite_all(inner, "schema").await;
    }
    // A description changes no rows: what was made from them is still made from them.
    let describes = changes.iter().all(|change| matches!(change, SchemaChange::Comment { .. }));
    plan.staged(Change {
        kind: if describes { Kind::Compact } else { Kind::Exact },
        operation: if describes { "comment" } else { "schema" },
        parameters: json!({}),
        added: Vec::new(),
        removed: Vec::new(),
        files: Vec::new(),
        rows_written: 0,
        rows_changed: 0,
        null_keys: 0,
        hash: hash.filter(|_| !removes),
        observed: Vec::new(),
    })
}
