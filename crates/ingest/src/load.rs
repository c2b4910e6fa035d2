//! The load loop.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use futures::StreamExt;
use serde_json::Value;
use tidemill_core::{
    Cancellation, Change, Duplicates, Error, ErrorKind, Notice, NullKeys, Observer, Position,
    PublishChange, ReadRequest, ReadScope, RelationName, Result, RunId, Sibling, Snapshot, Source,
    StageRequest, Staged, TableStore, Until, WriteMode,
};

use crate::backfill::{self, Backfill, backfills_relation};
use crate::changes;
use crate::contract::{Conform, conform};
use crate::deletes::{self, Missing, SourceKeys};
use crate::keys::Keys;
use crate::log::{self, Control};
use crate::rejects::{self, Tally, rejected_relation};
use crate::staging::{Staging, next_change};
use crate::{LoadMode, LoadSettings, Policy, SchemaContract};

/// Makes the observers of a load, once for each time it begins.
pub type ObserverFactory = Arc<dyn Fn(&SchemaRef) -> Result<Vec<Box<dyn Observer>>> + Send + Sync>;

/// What to load.
#[derive(Clone)]
pub struct LoadSpec {
    /// The target.
    pub relation: RelationName,
    /// What the project calls the table in the source.
    pub name: String,
    /// The load's settings.
    pub settings: LoadSettings,
    /// The source's settings.
    pub source_settings: Value,
    /// Columns whose types the project declares.
    pub declared: Vec<Field>,
    /// The published state that the load builds on; its position is where the read begins.
    pub base: Snapshot,
    /// The tables of the source whose log is followed, this one as well.
    pub siblings: Vec<Sibling>,
    /// Forgets what was loaded: everything is read, and replaces the table.
    pub full_refresh: bool,
    /// Column descriptions, by column name.
    pub comments: Vec<(String, String)>,
    /// Watch the new rows.
    pub observers: Option<ObserverFactory>,
    /// Is told how many rows were written by now. Must not block.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// The run.
    pub run: RunId,
    /// How many threads the read may use.
    pub parallelism: usize,
    /// Stops the load.
    pub cancel: Cancellation,
}

/// What a load came to. Nothing of it is visible yet.
#[derive(Debug, Default)]
pub struct Loaded {
    /// To be published in one entry with the position: the table, and its table of rejected rows
    /// if that changes.
    pub staged: Vec<Arc<Staged>>,
    /// Views that are published with it.
    pub views: Vec<PublishChange>,
    /// The position that the data stands for. If it is there without staged data, it differs from
    /// the one that is published and is to be recorded with the table as it is.
    pub position: Option<Position>,
    /// What the user should know.
    pub notices: Vec<Notice>,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// There was nothing to load: `staged` is empty.
    pub nothing_new: bool,
    /// What a merge did to a table that was there, where the store can tell.
    pub merged: Option<Merged>,
}

/// How the rows of a merge met those of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Rows with a key that is new.
    pub inserted: u64,
    /// Rows that replaced another one.
    pub updated: u64,
    /// Rows that were deleted at the source.
    pub deleted: u64,
}

/// Reads what is new and stages it.
///
/// # Errors
/// Of the source and the store; kind `Data` when more rows are rejected than `max_rejects` allows
/// or a frozen schema would change. After an error nothing is staged.
pub async fn load(source: &dyn Source, spec: &LoadSpec, store: &dyn TableStore) -> Result<Loaded> {
    let mut loop_ = LoadLoop::new(spec, store);
    match loop_.run(source).await {
        Ok(loaded) => Ok(loaded),
        Err(error) => {
            loop_.give_up().await;
            Err(error)
        }
    }
}

/// Reads what is new and stages all of it as rejected rows, with this reason; the table stays as it is, and the
/// position moves on as if the rows had been loaded. Columns and values are not looked at, so that this works
/// for a batch that cannot be loaded.
///
/// # Errors
/// Of the source and the store; kind `Config` for a load that reads the whole table, which has no batch that
/// could be left out. After an error nothing is staged.
pub async fn reject(
    source: &dyn Source,
    spec: &LoadSpec,
    reason: &str,
    store: &dyn TableStore,
) -> Result<Loaded> {
    if replaces_all(spec) {
        return Err(Error::new(
            ErrorKind::Config,
            "this load reads the whole table, so that there is no batch that could be set aside; change \
             the source or the check that fails",
        )
        .with("table", &spec.relation));
    }
    let mut loop_ = LoadLoop::new(spec, store);
    loop_.refused = Some(reason.to_owned());
    match loop_.run(source).await {
        Ok(loaded) => Ok(loaded),
        Err(error) => {
            loop_.give_up().await;
            Err(error)
        }
    }
}

/// Reads a part of a range of the cursor again and stages it: rows in the place of those with their key, or of all
/// that the table has of the part, and a row that says so. The position stays as it is published, so that loads
/// go on from there.
///
/// # Errors
/// As [`load`]; kind `Config` for a load that has no such ranges.
pub async fn backfill(
    source: &dyn Source,
    spec: &LoadSpec,
    backfill: &Backfill,
    store: &dyn TableStore,
) -> Result<Loaded> {
    if replaces_all(spec) || spec.settings.mode == LoadMode::Cdc {
        return Err(Error::new(
            ErrorKind::Config,
            "a backfill reads a range of the `cursor`, of tables with `mode: append` or `merge`",
        ));
    }
    let mut loop_ = LoadLoop::new(spec, store);
    loop_.backfill = Some(backfill);
    match loop_.run(source).await {
        Ok(loaded) => Ok(Loaded { position: None, ..loaded }),
        Err(error) => {
            loop_.give_up().await;
            Err(error)
        }
    }
}

/// The state of one load.
struct LoadLoop<'a> {
    spec: &'a LoadSpec,
    store: &'a dyn TableStore,
    /// Why all rows go to the rejected ones, if they do.
    refused: Option<String>,
    /// The part of a range that is read, where it is one.
    backfill: Option<&'a Backfill>,
    /// The table that is there, unless it is replaced.
    table: Option<SchemaRef>,
    /// The columns of a table that is replaced and keeps them.
    held: Option<SchemaRef>,
    columns: Option<Arc<Conform>>,
    keys: Option<Keys>,
    /// The keys that the source has, when they are compared, until they were.
    source_keys: Option<SourceKeys>,
    /// When they were compared last.
    compared_at: Option<i64>,
    /// What of the table is not at the source any more.
    missing: Option<Missing>,
    /// All rows that are there go.
    truncates: bool,
    /// The rows of a merge are changes in their order.
    ordered: bool,
    /// How many of them removed a row, if there was one.
    removed: u64,
    /// Values of a column whose rows go.
    replaces: Option<(String, Vec<String>)>,
    rows_stage: Option<Staging<'a>>,
    rejects_stage: Option<Staging<'a>>,
    done: Vec<Staged>,
    tally: Tally,
    rows: u64,
    notices: Vec<Notice>,
    position: Option<Position>,
}

impl<'a> LoadLoop<'a> {
    fn new(spec: &'a LoadSpec, store: &'a dyn TableStore) -> Self {
        let published = spec.base.get(&spec.relation);
        let replaced = replaces_all(spec);
        LoadLoop {
            spec,
            store,
            refused: None,
            backfill: None,
            table: published.filter(|_| !replaced).map(|table| Arc::clone(&table.schema)),
            held: published
                .filter(|_| replaced && !spec.full_refresh)
                .filter(|_| spec.settings.schema_contract != SchemaContract::default())
                .map(|table| Arc::clone(&table.schema)),
            columns: None,
            keys: None,
            source_keys: None,
            compared_at: None,
            missing: None,
            truncates: false,
            ordered: false,
            removed: 0,
            replaces: None,
            rows_stage: None,
            rejects_stage: None,
            done: Vec::new(),
            tally: Tally::default(),
            rows: 0,
            notices: Vec::new(),
            position: None,
        }
    }

    async fn run(&mut self, source: &dyn Source) -> Result<Loaded> {
        if self.spec.settings.mode == LoadMode::Cdc && !source.has_log() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "`mode: cdc` follows the log of changes of a database, which this connection does \
                 not have; use `merge` with a `cursor`, or `full`",
            ));
        }
        changes::check(self.spec)?;
        self.ordered = self.spec.settings.mode == LoadMode::Merge
            && source.gives_changes(&self.spec.source_settings);
        self.read_keys(source).await?;
        let mut changes = source.read(self.request()).await?;
        let cancel = &self.spec.cancel;
        while let Some(change) =
            next_change(&mut changes, cancel, &mut self.rows_stage, &mut self.rejects_stage).await?
        {
            self.take(change).await?;
        }
        self.finish().await
    }

    /// What is asked of the source.
    fn request(&self) -> ReadRequest {
        let request = request(self.spec, self.known());
        match self.backfill {
            None => request,
            Some(backfill) => ReadRequest {
                settings: backfill.part.settings.clone(),
                cursor: None,
                position: None,
                scope: ReadScope::Whole,
                ..request
            },
        }
    }

    /// Reads the keys of the source, if it is time. Before anything else: a row that is there again by the time
    /// when rows are read comes with these, and these count.
    async fn read_keys(&mut self, source: &dyn Source) -> Result<()> {
        let spec = self.spec;
        let Some(deletes) = spec.settings.deletes.as_ref() else { return Ok(()) };
        let published = spec.base.get(&spec.relation).and_then(|table| table.position.as_ref());
        self.compared_at = deletes::compared_at(published);
        let now = changes::now();
        let key = &spec.settings.primary_key;
        let settings = source.only_columns(&spec.source_settings, key).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "`deletes` compares the keys of a table of a database; of this connection nobody can say \
                 which rows were deleted",
            )
        })?;
        let Some(table) = self.table.clone() else {
            // Everything is read.
            self.compared_at = Some(now);
            return Ok(());
        };
        let compares = self.refused.is_none() && self.backfill.is_none();
        if !compares || !deletes::is_due(deletes, self.compared_at, now) {
            return Ok(());
        }
        let request = ReadRequest {
            settings,
            cursor: None,
            position: None,
            superseded: None,
            scope: ReadScope::Whole,
            ..request(spec, None)
        };
        let mut keys = SourceKeys::new(&table, key)?;
        let mut changes = source.read(request).await?;
        while let Some(change) =
            next_change(&mut changes, &spec.cancel, &mut None, &mut None).await?
        {
            match change {
                Change::Rows(batch) => keys.add(&batch)?,
                Change::Restart(_) => keys.restart()?,
                Change::Rejected(_) => {
                    return Err(Error::new(
                        ErrorKind::Data,
                        "a key of the source cannot be read, so that it is not known whether its row was \
                         deleted",
                    )
                    .with("table", &spec.relation));
                }
                _ => {}
            }
        }
        self.compared_at = Some(now);
        self.source_keys = Some(keys);
        Ok(())
    }

    /// Writes what was deleted at the source, in front of all other rows.
    async fn compare_keys(&mut self) -> Result<()> {
        let spec = self.spec;
        let (Some(deletes), Some(table), Some(columns)) =
            (&spec.settings.deletes, self.table.clone(), self.columns.clone())
        else {
            return Ok(());
        };
        if self.missing.is_some() || self.source_keys.is_none() {
            return Ok(());
        }
        let key = &spec.settings.primary_key;
        let missing = Missing::new(Arc::clone(&columns.schema), deletes);
        let names = missing.columns(&table, key);
        self.missing = Some(missing);
        let parts = self.source_keys.as_ref().map_or(0, SourceKeys::parts);
        for part in 0..parts {
            let Some(keys) = &mut self.source_keys else { break };
            let hashes = keys.part(part)?;
            let mut rows = self.store.rows_of_columns(&spec.relation, &spec.base, &names).await?;
            while let Some(batch) = rows.batches.next().await {
                spec.cancel.check()?;
                let (Some(missing), Some(keys)) = (&mut self.missing, &self.source_keys) else {
                    break;
                };
                let found = missing.take(&batch?, keys, &hashes, (part, parts))?;
                if let Some(found) = found {
                    self.rows_stage()?.send(Ok(found)).await?;
                }
            }
        }
        match (&self.missing, &self.source_keys) {
            (Some(missing), Some(keys)) => missing.check(deletes, keys.count(), &spec.relation),
            _ => Ok(()),
        }
    }

    async fn take(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Schema(schema) => {
                if self.rows > 0 || self.columns.is_some() {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the source changed its columns in the middle of a read",
                    ));
                }
                self.set_columns(&schema)
            }
            Change::Restart(schema) => {
                self.restart().await;
                self.set_columns(&schema)
            }
            // What is there stays, when all that is new is set aside.
            Change::Replaces { .. } if self.refused.is_some() => Ok(()),
            Change::Replaces { column, values } => {
                self.replaces = Some((column, values));
                Ok(())
            }
            Change::Truncated if self.refused.is_some() => self.refuse_truncate().await,
            Change::Truncated => {
                self.give_up().await;
                self.tally = Tally::default();
                self.rows = 0;
                self.truncates = true;
                Ok(())
            }
            Change::Rows(batch) => self.take_rows(&batch).await,
            Change::Rejected(batch) => self.take_rejected(&batch).await,
            Change::Position(position) => {
                self.position = Some(position);
                Ok(())
            }
            Change::Notice(notice) => {
                self.notices.push(notice);
                Ok(())
            }
        }
    }

    /// The table with the column that says that a row was deleted: no contract is about that.
    fn with_own_flag(&self, table: SchemaRef) -> Result<SchemaRef> {
        let flag = self.spec.settings.deletes.as_ref().and_then(|deletes| deletes.flag.as_ref());
        match flag {
            Some(flag) if table.field_with_name(flag).is_err() => {
                deletes::with_flag(&table, &self.spec.settings)
            }
            _ => Ok(table),
        }
    }

    /// The columns that the contract is about.
    fn known(&self) -> Option<SchemaRef> {
        self.table.clone().or_else(|| self.held.clone())
    }

    fn set_columns(&mut self, schema: &SchemaRef) -> Result<()> {
        let settings = &self.spec.settings;
        let published = self.spec.base.get(&self.spec.relation).map(|table| &table.schema);
        let schema = match (schema.fields().is_empty(), published) {
            (false, _) => schema,
            (true, Some(published)) => published,
            (true, None) => return Ok(()),
        };
        if self.refused.is_some() {
            // The table keeps its columns, whatever the rows have.
            let kept = self.table.as_ref().unwrap_or(schema);
            let columns = conform(kept, self.table.as_ref(), settings.schema_contract)?;
            self.columns = Some(Arc::new(columns));
            return Ok(());
        }
        let schema = &deletes::with_flag(schema, settings)?;
        let known = self.known().map(|known| self.with_own_flag(known)).transpose()?;
        let mut columns = conform(schema, known.as_ref(), settings.schema_contract)
            .map_err(|error| error.with("table", &self.spec.relation))?;
        columns.changes |= known != self.known();
        if matches!(settings.mode, LoadMode::Merge | LoadMode::Cdc) {
            let cursor = settings.cursor.as_deref();
            self.keys = Some(Keys::new(&columns.schema, &settings.primary_key, cursor)?);
        }
        self.columns = Some(Arc::new(columns));
        Ok(())
    }

    /// Everything since the beginning is void.
    async fn restart(&mut self) {
        self.give_up().await;
        self.columns = None;
        self.keys = None;
        self.truncates = false;
        self.replaces = None;
        self.missing = None;
        self.tally = Tally::default();
        self.rows = 0;
        self.removed = 0;
        self.notices.clear();
    }

    /// Removes what was staged.
    async fn give_up(&mut self) {
        for stage in [self.rows_stage.take(), self.rejects_stage.take()].into_iter().flatten() {
            stage.abandon(self.store).await;
        }
        for staged in self.done.drain(..) {
            if let Err(error) = self.store.discard(&staged).await {
                tracing::warn!(%error, "a stage could not be discarded");
            }
        }
    }

    async fn take_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(reason) = self.refused.clone() {
            let from = (self.spec.name.as_str(), self.rows);
            let rejected = rejects::of_batch(batch, &reason, from)?;
            self.rows += batch.num_rows() as u64;
            return self.take_rejected(&rejected).await;
        }
        let Some(columns) = self.columns.clone() else {
            return Err(Error::new(ErrorKind::Internal, "rows came before their columns"));
        };
        self.compare_keys().await?;
        let (rows, control) = log::split(batch)?;
        let mut rows = columns.apply(&deletes::not_deleted(&rows, &self.spec.settings)?)?;
        let mut lost = Vec::new();
        if let Some(control) = &control {
            (rows, lost) = fill(self.spec, self.store, rows, control, &columns).await?;
        }
        let mut batch = match self.has_gone() {
            true => log::with_gone(&rows, control.as_ref())?,
            false => rows,
        };
        if !lost.is_empty() {
            let shown = log::split(&batch)?.0;
            self.take_rejected(&rejects::of_rows(&shown, &lost)?).await?;
            batch = log::without(&batch, &lost)?;
        }
        if let Some(keys) = &mut self.keys {
            let (kept, bad) = keys.check(&batch)?;
            if !bad.is_empty() {
                let shown = log::split(&batch)?.0;
                let rejected = rejects::of_rows(&shown, &bad)?;
                self.take_rejected(&rejected).await?;
            }
            batch = kept;
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.removed += log::count_gone(&batch);
        self.rows += batch.num_rows() as u64;
        self.rows_stage()?.send(Ok(batch)).await?;
        if let Some(progress) = &self.spec.progress {
            progress(self.rows);
        }
        Ok(())
    }

    /// That all rows went is set aside as well.
    async fn refuse_truncate(&mut self) -> Result<()> {
        let reason = self.refused.clone().unwrap_or_default();
        self.rows += 1;
        let row = rejects::of_change("truncate", &reason, (self.spec.name.as_str(), self.rows))?;
        self.take_rejected(&row).await
    }

    async fn take_rejected(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.tally.note(batch, &self.spec.run)?;
        self.check_rejects(false)?;
        self.rejects_stage().send(Ok(batch)).await
    }

    /// An error if too many rows are rejected, unless all are.
    fn check_rejects(&self, at_end: bool) -> Result<()> {
        if self.refused.is_some() {
            return Ok(());
        }
        self.tally.check(self.spec.settings.max_rejects, self.rows, at_end, &self.spec.relation)
    }

    fn replaces_all(&self) -> bool {
        replaces_all(self.spec)
    }

    /// Whether the rows are those of a log of changes, and the table is there.
    fn follows_log(&self) -> bool {
        self.spec.settings.mode == LoadMode::Cdc && !self.replaces_all()
    }

    /// Whether rows say whether they go.
    fn has_gone(&self) -> bool {
        self.follows_log() || self.missing.is_some() || self.ordered
    }

    /// The stage of the table, begun when there is something for it.
    fn rows_stage(&mut self) -> Result<&mut Staging<'a>> {
        if self.rows_stage.is_none() {
            let Some(columns) = &self.columns else {
                return Err(Error::new(ErrorKind::Internal, "rows came before their columns"));
            };
            let settings = &self.spec.settings;
            let mode = if self.replaces_all() && !self.ordered {
                match settings.mode {
                    LoadMode::Merge => {
                        WriteMode::ReplaceByKey { key: settings.primary_key.clone() }
                    }
                    _ => WriteMode::Replace,
                }
            } else if self.has_gone() {
                WriteMode::Changes {
                    key: settings.primary_key.clone(),
                    truncates: self.truncates || self.replaces_all(),
                }
            } else if let Some(backfill) =
                self.backfill.filter(|_| settings.mode == LoadMode::Append)
            {
                self.replaced_part(&columns.schema, backfill)?
            } else if settings.mode == LoadMode::Merge {
                WriteMode::Upsert {
                    key: settings.primary_key.clone(),
                    update: None,
                    duplicates: Duplicates::KeepLast,
                    // Rows with a NULL key were rejected before.
                    null_keys: NullKeys::Fail,
                }
            } else if let Some((column, values)) = &self.replaces {
                WriteMode::ReplaceValues { column: column.clone(), values: values.clone() }
            } else {
                WriteMode::Append
            };
            let observers = match &self.spec.observers {
                Some(make) => make(&columns.schema)?,
                None => Vec::new(),
            };
            let schema = match self.has_gone() {
                true => log::schema_with_gone(&columns.schema),
                false => Arc::clone(&columns.schema),
            };
            let relation = self.spec.relation.clone();
            self.rows_stage = Some(self.begin(relation, mode, schema, observers));
        }
        self.rows_stage
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a stage is missing"))
    }

    /// The rows of a part take the place of those that the table has of it.
    fn replaced_part(&self, table: &SchemaRef, backfill: &Backfill) -> Result<WriteMode> {
        let cursor = self.spec.settings.cursor.as_deref().unwrap_or_default();
        let numbers = backfill.part.numbers.ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "rows of `mode: append` are replaced by ranges of dates, times or whole numbers",
            )
        })?;
        let column = backfill::cursor_column(table, cursor)?;
        Ok(WriteMode::ReplaceRanges { column, ranges: vec![numbers] })
    }

    /// The stage of the rejected rows, begun when there is something for it.
    fn rejects_stage(&mut self) -> &mut Staging<'a> {
        let mode = if self.replaces_all() || self.truncates {
            WriteMode::Replace
        } else if let Some((_, values)) = &self.replaces {
            // Those of the files that are read again come again, or are mended.
            WriteMode::ReplaceValues { column: "_source_file".to_owned(), values: values.clone() }
        } else {
            WriteMode::Append
        };
        let stage = match self.rejects_stage.take() {
            Some(stage) => stage,
            None => {
                let relation = rejected_relation(&self.spec.relation);
                self.begin(relation, mode, rejects::schema(), Vec::new())
            }
        };
        self.rejects_stage.insert(stage)
    }

    fn begin(
        &self,
        relation: RelationName,
        mode: WriteMode,
        schema: SchemaRef,
        observers: Vec<Box<dyn Observer>>,
    ) -> Staging<'a> {
        let spec = self.spec;
        let comments = if relation == spec.relation { spec.comments.clone() } else { Vec::new() };
        Staging::begin(self.store, schema, move |rows| StageRequest {
            relation,
            mode,
            partition_by: None,
            rows,
            base: spec.base.clone(),
            comments,
            observers,
            run: spec.run.clone(),
        })
    }

    async fn finish(&mut self) -> Result<Loaded> {
        let spec = self.spec;
        self.check_rejects(true)?;
        self.compare_keys().await?;
        let replaces = self.replaces_all() || self.replaces.is_some() || self.truncates;
        if let Some(columns) = self.columns.clone() {
            if self.position.is_none() {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "the source ended without saying how far it was read",
                ));
            }
            // A table that is new, changes its columns or loses rows is staged even without rows, and so
            // is one whose rows were all rejected: the position stands with it.
            let rejects = self.rejects_stage.is_some();
            let part = self.backfill.is_some();
            if self.table.is_none() || columns.changes || replaces || rejects || part {
                self.rows_stage()?;
            }
            let rejected = spec.base.get(&rejected_relation(&spec.relation));
            if replaces && rejected.is_some_and(|rejected| rejected.rows != Some(0)) {
                self.rejects_stage();
            }
        }
        let mut stages: Vec<_> =
            [self.rows_stage.take(), self.rejects_stage.take()].into_iter().flatten().collect();
        if self.replaces_all()
            && !stages.is_empty()
            && let Some((relation, mark)) = changes::mark_of_refresh(&spec.base, &spec.relation)?
        {
            let mut stage = self.begin(relation, WriteMode::Append, mark.schema(), Vec::new());
            stage.send(Ok(mark)).await?;
            stages.push(stage);
        }
        if let Some(backfill) = self.backfill {
            let relation = backfills_relation(&spec.relation);
            let record = backfill::record(backfill, self.rows, &spec.run)?;
            let mut stage = self.begin(relation, WriteMode::Append, record.schema(), Vec::new());
            stage.send(Ok(record)).await?;
            stages.push(stage);
        }
        let mut views = Vec::new();
        if spec.settings.changes
            && !stages.is_empty()
            && let Some(columns) = &self.columns
            && let Some((relation, schema, view)) = changes::begun(spec, &columns.schema)?
        {
            stages.push(self.begin(relation, WriteMode::Append, schema, Vec::new()));
            views.push(view);
        }
        for stage in stages {
            let staged = stage.finish().await?;
            self.done.push(staged);
        }
        let main = self.done.iter().find(|staged| staged.relation == spec.relation);
        if let (Some(main), Some(table), Some(columns)) = (main, &self.table, &self.columns) {
            self.notices.extend(columns.type_notices(table, &main.schema));
        }
        if let Some(columns) = &self.columns {
            self.notices.extend(columns.notices.iter().cloned());
        }
        let merged = main.and_then(|main| self.merged(main));
        if self.tally.rejected > 0 && self.refused.is_none() {
            self.notices.push(Notice {
                code: "rejected-rows".to_owned(),
                message: format!(
                    "{} could not be read; see `{}`",
                    match self.tally.rejected {
                        1 => "1 row".to_owned(),
                        rows => format!("{rows} rows"),
                    },
                    rejected_relation(&spec.relation)
                ),
                object: Some(spec.relation.to_string()),
            });
        }
        if self.columns.is_none() && spec.base.get(&spec.relation).is_none() {
            // Files without a single column make no table, so there is nothing to keep it with.
            self.position = None;
            self.notices.push(Notice {
                code: "no-table".to_owned(),
                message: format!("there is no table `{}` yet: no file has columns", spec.relation),
                object: Some(spec.relation.to_string()),
            });
        }
        let staged: Vec<Arc<Staged>> = self.done.drain(..).map(Arc::new).collect();
        Ok(Loaded {
            nothing_new: staged.is_empty(),
            staged,
            views,
            position: self
                .position
                .take()
                .map(|position| deletes::with_compared_at(position, self.compared_at)),
            notices: std::mem::take(&mut self.notices),
            rows: self.rows,
            rejected: self.tally.rejected,
            merged,
        })
    }

    /// What a merge did to the table that is there.
    fn merged(&self, staged: &Staged) -> Option<Merged> {
        // Of a row that was to go it is not known whether it was there.
        if self.spec.settings.mode != LoadMode::Merge || self.replaces_all() || self.removed > 0 {
            return None;
        }
        let before = self.spec.base.get(&self.spec.relation)?.rows?;
        let missing = self.missing.as_ref();
        let deleted = missing.map_or(0, |missing| missing.missing);
        let flags =
            self.spec.settings.deletes.as_ref().is_some_and(|deletes| deletes.flag.is_some());
        let gone = if flags { 0 } else { deleted };
        let inserted = (staged.rows? + gone).checked_sub(before)?;
        let updated = staged.rows_written.checked_sub(inserted)?;
        Some(Merged { inserted, updated: updated.saturating_sub(deleted - gone), deleted })
    }
}

/// The rows with the values that the log leaves out, taken from the table as it is, and which of them
/// cannot have these, as the table does not have the row.
async fn fill(
    spec: &LoadSpec,
    store: &dyn TableStore,
    rows: RecordBatch,
    control: &Control,
    columns: &Conform,
) -> Result<(RecordBatch, Vec<(usize, String)>)> {
    let Some(kept) = control.kept(columns)? else { return Ok((rows, Vec::new())) };
    let keys = kept.keys(&spec.settings.primary_key, &rows)?;
    let names = kept.names(&rows);
    let found = store.rows_of_keys(&spec.relation, &spec.base, &keys, &names).await;
    let (found, places) = found.map_err(|error| error.with("table", &spec.relation))?;
    kept.fill(rows, &found, &places)
}

/// What is asked of the source, for a table that has these columns by now.
pub(crate) fn request(spec: &LoadSpec, table: Option<SchemaRef>) -> ReadRequest {
    let mut declared = spec.declared.clone();
    if spec.settings.schema_contract.types == Policy::Discard {
        // The table's types hold: what does not fit them is the row's fault.
        for field in table.iter().flat_map(|table| table.fields()) {
            if !declared.iter().any(|known| known.name() == field.name()) {
                declared.push(field.as_ref().clone());
            }
        }
    }
    let position = changes::source_position(&spec.base, &spec.relation);
    let (position, superseded) = match spec.full_refresh {
        true => (None, position),
        false => (position, None),
    };
    ReadRequest {
        settings: spec.source_settings.clone(),
        name: spec.name.clone(),
        cursor: spec.settings.cursor.clone(),
        primary_key: spec.settings.primary_key.clone(),
        declared,
        known: table,
        position,
        superseded,
        siblings: spec.siblings.clone(),
        scope: spec.settings.mode.scope(),
        every_change: false,
        until: Until::CaughtUp,
        parallelism: spec.parallelism,
        cancel: spec.cancel.clone(),
    }
}

/// Whether what is read is the whole table. A log of changes begins with that.
pub(crate) fn replaces_all(spec: &LoadSpec) -> bool {
    spec.full_refresh
        || match spec.settings.mode {
            LoadMode::Full => true,
            LoadMode::Cdc => {
                spec.base.get(&spec.relation).is_none_or(|table| table.position.is_none())
            }
            LoadMode::Append | LoadMode::Merge => false,
        }
}
