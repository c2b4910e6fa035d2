//! The load loop.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use serde_json::Value;
use tidemill_core::{
    Cancellation, Change, Duplicates, Error, ErrorKind, Notice, NullKeys, Observer, Position,
    PublishChange, ReadRequest, RelationName, Result, RunId, Snapshot, Source, StageRequest,
    Staged, TableStore, Until, WriteMode,
};

use crate::changes;
use crate::contract::{Conform, conform};
use crate::keys::Keys;
use crate::log::{self, Control};
use crate::rejects::{self, Tally, rejected_relation};
use crate::staging::{Staging, next_change};
use crate::{LoadMode, LoadSettings, SchemaContract};

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

/// The state of one load.
struct LoadLoop<'a> {
    spec: &'a LoadSpec,
    store: &'a dyn TableStore,
    /// Why all rows go to the rejected ones, if they do.
    refused: Option<String>,
    /// The table that is there, unless it is replaced.
    table: Option<SchemaRef>,
    columns: Option<Arc<Conform>>,
    keys: Option<Keys>,
    /// All rows that are there go.
    truncates: bool,
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
            table: published.filter(|_| !replaced).map(|table| Arc::clone(&table.schema)),
            columns: None,
            keys: None,
            truncates: false,
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
        let mut changes = source.read(request(self.spec, self.table.clone())).await?;
        let cancel = &self.spec.cancel;
        while let Some(change) =
            next_change(&mut changes, cancel, &mut self.rows_stage, &mut self.rejects_stage).await?
        {
            self.take(change).await?;
        }
        self.finish().await
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
        let columns = conform(schema, self.table.as_ref(), settings.schema_contract)
            .map_err(|error| error.with("table", &self.spec.relation))?;
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
        self.tally = Tally::default();
        self.rows = 0;
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
        let (rows, control) = log::split(batch)?;
        let mut rows = columns.apply(&rows)?;
        let mut lost = Vec::new();
        if let Some(control) = &control {
            (rows, lost) = fill(self.spec, self.store, rows, control, &columns).await?;
        }
        let mut batch = match self.follows_log() {
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

    /// The stage of the table, begun when there is something for it.
    fn rows_stage(&mut self) -> Result<&mut Staging<'a>> {
        if self.rows_stage.is_none() {
            let Some(columns) = &self.columns else {
                return Err(Error::new(ErrorKind::Internal, "rows came before their columns"));
            };
            let settings = &self.spec.settings;
            let mode = if self.replaces_all() {
                WriteMode::Replace
            } else if self.follows_log() {
                WriteMode::Changes { key: settings.primary_key.clone(), truncates: self.truncates }
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
            let schema = match self.follows_log() {
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
            if self.table.is_none() || columns.changes || replaces || rejects {
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
            position: self.position.take(),
            notices: std::mem::take(&mut self.notices),
            rows: self.rows,
            rejected: self.tally.rejected,
            merged,
        })
    }

    /// What a merge did to the table that is there.
    fn merged(&self, staged: &Staged) -> Option<Merged> {
        if self.spec.settings.mode != LoadMode::Merge || self.replaces_all() {
            return None;
        }
        let before = self.spec.base.get(&self.spec.relation)?.rows?;
        let inserted = staged.rows?.checked_sub(before)?;
        Some(Merged { inserted, updated: staged.rows_written.checked_sub(inserted)? })
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
    if spec.settings.schema_contract != SchemaContract::Evolve {
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
