//! Adds what is new in a log of changes to the table of changes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Int8Type, Schema, SchemaRef, TimeUnit};
use serde_json::json;
use tidemill_core::{
    Change, Error, ErrorKind, Notice, Position, PublishChange, PublishMeta, RelationName, Result,
    ResultExt, Snapshot, Source, StageRequest, Staged, TableStore, UniqueId, WriteMode,
    changes as control,
};

use super::{
    BEGINS, DELETE, Log, SNAPSHOT, State, TRUNCATE, changes_relation, expire, fresh, mark,
    with_own, without_own,
};
use crate::contract::{Conform, conform};
use crate::keys::Keys;
use crate::load::{LoadSpec, request};
use crate::log::{self, Control};
use crate::rejects::{self, Tally, rejected_relation};
use crate::staging::{Staging, next_change};

/// What was added to a table of changes.
#[derive(Debug)]
pub struct Appended {
    /// The state after it.
    pub snapshot: Snapshot,
    /// Changes that are new.
    pub changes: u64,
    /// Changes that could not be read.
    pub rejected: u64,
    /// How far the log is read by now.
    pub position: Option<Position>,
    /// What the user should know.
    pub notices: Vec<Notice>,
}

/// Reads what is new in the log of a table that was read as a whole, and **publishes** it as rows of its
/// table of changes, with the position. The table itself stays as it is.
///
/// The source is not told; [`Source::acknowledge`] with [`Appended::position`] does that.
///
/// # Errors
/// Of the source and the store; kind `Data` when more changes are rejected than `max_rejects` allows.
/// After an error nothing is published, unless it is of kind `Unknown`.
pub async fn append(
    source: &dyn Source,
    spec: &LoadSpec,
    node: Option<&UniqueId>,
    store: &dyn TableStore,
) -> Result<Appended> {
    let state = State::of(&spec.base, &spec.relation)?;
    let mut append = Append::new(spec, store, state)?;
    let staged = match append.run(source).await {
        Ok(staged) => staged,
        Err(error) => {
            append.give_up().await;
            return Err(error);
        }
    };
    append.publish(staged, node).await
}

/// One read of the log.
pub(super) struct Append<'a> {
    pub(super) spec: &'a LoadSpec,
    pub(super) store: &'a dyn TableStore,
    pub(super) changes: RelationName,
    /// The table of changes as it is published.
    pub(super) there: Option<SchemaRef>,
    /// Where it stands, and will.
    pub(super) log: Log,
    /// The number of the last change that is applied to the table.
    pub(super) applied: i64,
    begins: bool,
    /// The number of the last change of this read.
    last: i64,
    emptied: i64,
    columns: Option<Arc<Conform>>,
    keys: Option<Keys>,
    stage: Option<Staging<'a>>,
    rejects: Option<Staging<'a>>,
    tally: Tally,
    rows: u64,
    notices: Vec<Notice>,
    position: Option<Position>,
}

impl<'a> Append<'a> {
    fn new(spec: &'a LoadSpec, store: &'a dyn TableStore, state: State) -> Result<Self> {
        let changes = changes_relation(&spec.relation);
        let there = spec.base.get(&changes).map(|found| Arc::clone(&found.schema));
        let (log, applied, begins) = match state {
            State::Absent => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "changes are read of a table that was not read yet",
                ));
            }
            State::Begins { since, last } => {
                let begins = last + BEGINS;
                let log = Log {
                    log: since.clone(),
                    since,
                    begins,
                    last: begins,
                    emptied: begins,
                    kept: Vec::new(),
                };
                (log, begins, true)
            }
            State::Follows { log, applied } => (log, applied, false),
        };
        Ok(Append {
            spec,
            store,
            changes,
            there,
            applied,
            begins,
            last: log.last,
            emptied: log.emptied,
            log,
            columns: None,
            keys: None,
            stage: None,
            rejects: None,
            tally: Tally::default(),
            rows: 0,
            notices: Vec::new(),
            position: None,
        })
    }

    /// The columns that the changes have by now: those of the table, as long as there are none.
    fn known(&self) -> Option<SchemaRef> {
        let table = self.spec.base.get(&self.spec.relation).map(|table| table.schema.clone());
        self.there.as_ref().map(without_own).or(table)
    }

    async fn run(&mut self, source: &dyn Source) -> Result<Vec<Arc<Staged>>> {
        let mut request = request(self.spec, self.known());
        request.position = Some(self.log.log.clone());
        request.superseded = None;
        request.every_change = true;
        let mut changes = source.read(request).await?;
        let cancel = &self.spec.cancel;
        while let Some(change) =
            next_change(&mut changes, cancel, &mut self.stage, &mut self.rejects).await?
        {
            self.take(change).await?;
        }
        self.finish().await
    }

    async fn take(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Schema(schema) => self.set_columns(&schema),
            Change::Restart(schema) => {
                self.give_up().await;
                self.tally = Tally::default();
                self.rows = 0;
                self.notices.clear();
                (self.last, self.emptied) = (self.log.last, self.log.emptied);
                self.set_columns(&schema)
            }
            Change::Truncated => {
                self.last += 1;
                self.emptied = self.last;
                let number = self.last;
                self.mark(number, TRUNCATE).await
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
            Change::Replaces { .. } => {
                Err(Error::new(ErrorKind::Internal, "a log of changes does not replace files"))
            }
        }
    }

    fn set_columns(&mut self, schema: &SchemaRef) -> Result<()> {
        let schema = match schema.fields().is_empty() {
            false => schema.clone(),
            true => match self.known() {
                Some(known) => known,
                None => return Ok(()),
            },
        };
        let columns = conform(&schema, self.known().as_ref(), self.spec.settings.schema_contract)
            .map_err(|error| error.with("table", &self.spec.relation))?;
        self.keys = Some(Keys::new(&columns.schema, &self.spec.settings.primary_key, None)?);
        self.columns = Some(Arc::new(columns));
        Ok(())
    }

    async fn take_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(columns) = self.columns.clone() else {
            return Err(Error::new(ErrorKind::Internal, "changes came before their columns"));
        };
        let (rows, control) = log::split(batch)?;
        let mut rows = columns.apply(&rows)?;
        if let Some(kept) = control.as_ref().map(|control| control.kept(&columns)).transpose()? {
            let mut lost = Vec::new();
            if let Some(kept) = kept {
                (rows, lost) = self.fill(rows, &kept).await?;
            }
            if !lost.is_empty() {
                self.take_rejected(&rejects::of_rows(&rows, &lost)?).await?;
                let said = control.as_ref().map(|said| said.without(&lost)).transpose()?;
                rows = log::without(&rows, &lost)?;
                return self.add(rows, said.as_ref()).await;
            }
        }
        self.add(rows, control.as_ref()).await
    }

    /// Adds rows with what is said of them.
    async fn add(&mut self, rows: RecordBatch, said: Option<&Control>) -> Result<()> {
        let failed = "changes cannot be put together";
        let count = rows.num_rows();
        let gone = said.and_then(|said| said.column(control::GONE).cloned());
        let kinds = said.and_then(|said| said.column(control::KIND).cloned());
        let kinds: StringArray = match (&kinds, &gone) {
            (Some(kinds), _) => {
                let kinds = kinds
                    .as_primitive_opt::<Int8Type>()
                    .ok_or_else(|| Error::new(ErrorKind::Internal, "a log says no kinds"))?;
                kinds.iter().map(|kind| Some(kind_of(kind))).collect()
            }
            // Nothing is said of rows of a table that is read again as a whole.
            (None, None) => (0..count).map(|_| Some("insert")).collect(),
            (None, Some(gone)) => {
                let gone: &BooleanArray = gone.as_boolean();
                gone.iter()
                    .map(|gone| Some(if gone == Some(true) { DELETE } else { "update" }))
                    .collect()
            }
        };
        let times = match said.and_then(|said| said.column(control::AT).cloned()) {
            Some(times) => times,
            None => new_null_array(
                &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                count,
            ),
        };
        let schema = with_own(&rows.schema())?;
        let numbers = Int64Array::from_iter_values((0..count as i64).map(|at| self.last + 1 + at));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(kinds), times];
        columns.extend(rows.columns().iter().cloned());
        let batch = RecordBatch::try_new(schema, columns).or_error(ErrorKind::Internal, failed)?;
        // A change without a key is none.
        let keyless = match &mut self.keys {
            Some(keys) => keys.check(&rows)?.1,
            None => Vec::new(),
        };
        let batch = match keyless.is_empty() {
            true => batch,
            false => {
                self.take_rejected(&rejects::of_rows(&rows, &keyless)?).await?;
                log::without(&batch, &keyless)?
            }
        };
        self.last += count as i64;
        self.rows += batch.num_rows() as u64;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.stage().await?.send(Ok(batch)).await?;
        if let Some(progress) = &self.spec.progress {
            progress(self.rows);
        }
        Ok(())
    }

    async fn take_rejected(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.tally.note(batch, &self.spec.run)?;
        let limit = self.spec.settings.max_rejects;
        self.tally.check(limit, self.rows, false, &self.spec.relation)?;
        if self.rejects.is_none() {
            let relation = rejected_relation(&self.spec.relation);
            self.rejects = Some(self.begin(relation, rejects::schema()));
        }
        match &mut self.rejects {
            Some(stage) => stage.send(Ok(batch)).await,
            None => Ok(()),
        }
    }

    /// The stage of the changes, begun when there is something for it.
    async fn stage(&mut self) -> Result<&mut Staging<'a>> {
        if self.stage.is_none() {
            let own = match &self.columns {
                Some(columns) => columns.schema.clone(),
                None => self.known().unwrap_or_else(|| Arc::new(Schema::empty())),
            };
            let schema = with_own(&own)?;
            let mut stage = self.begin(self.changes.clone(), schema.clone());
            if self.begins {
                stage.send(Ok(mark(&schema, self.log.begins, SNAPSHOT)?)).await?;
            }
            self.stage = Some(stage);
        }
        self.stage.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "a stage is missing"))
    }

    async fn mark(&mut self, number: i64, kind: &str) -> Result<()> {
        let own = self.columns.as_ref().map(|columns| columns.schema.clone()).or(self.known());
        let schema = with_own(&own.unwrap_or_else(|| Arc::new(Schema::empty())))?;
        let mark = mark(&schema, number, kind)?;
        self.rows += 1;
        self.stage().await?.send(Ok(mark)).await
    }

    fn begin(&self, relation: RelationName, schema: SchemaRef) -> Staging<'a> {
        let spec = self.spec;
        let comments = match relation == self.changes {
            true => spec.comments.clone(),
            false => Vec::new(),
        };
        Staging::begin(self.store, schema, move |rows| StageRequest {
            relation,
            mode: WriteMode::Append,
            partition_by: None,
            rows,
            base: spec.base.clone(),
            comments,
            observers: Vec::new(),
            run: spec.run.clone(),
        })
    }

    async fn give_up(&mut self) {
        for stage in [self.stage.take(), self.rejects.take()].into_iter().flatten() {
            stage.abandon(self.store).await;
        }
    }

    async fn finish(&mut self) -> Result<Vec<Arc<Staged>>> {
        self.tally.check(self.spec.settings.max_rejects, self.rows, true, &self.spec.relation)?;
        if self.position.is_none() {
            return Err(Error::new(
                ErrorKind::Internal,
                "the source ended without saying how far its log was read",
            ));
        }
        if self.begins || self.rejects.is_some() {
            self.stage().await?;
        }
        let mut staged = Vec::new();
        for stage in [self.stage.take(), self.rejects.take()].into_iter().flatten() {
            match stage.finish().await {
                Ok(done) => staged.push(Arc::new(done)),
                Err(error) => {
                    discard(self.store, &staged).await;
                    return Err(error);
                }
            }
        }
        if let Some(columns) = &self.columns {
            self.notices.extend(columns.notices.iter().cloned());
        }
        Ok(staged)
    }

    async fn publish(
        mut self,
        staged: Vec<Arc<Staged>>,
        node: Option<&UniqueId>,
    ) -> Result<Appended> {
        let mut log = Log {
            log: self.position.clone().unwrap_or_else(|| self.log.log.clone()),
            last: self.last,
            emptied: self.emptied,
            ..self.log.clone()
        };
        if self.last > self.log.last {
            expire::note(&mut log, self.spec.settings.keep, expire::now());
        }
        let meta =
            |position| PublishMeta { unique_id: node.cloned(), position, ..PublishMeta::default() };
        let mut publishes = Vec::new();
        if staged.is_empty() && log != self.log {
            let meta = meta(Some(Position(json!(log))));
            publishes.push(PublishChange::Record { relation: self.changes.clone(), meta });
        }
        for staged in &staged {
            let position = (staged.relation == self.changes).then(|| Position(json!(log)));
            publishes.push(PublishChange::Table(staged.clone(), meta(position)));
        }
        let found = staged.iter().find(|staged| staged.relation == self.changes);
        let known = found.map(|staged| staged.schema.clone()).or_else(|| self.there.clone());
        publishes.extend(
            known.and_then(|known| fresh::change(self.spec, &known, self.applied, meta(None))),
        );
        let mut snapshot = self.spec.base.clone();
        if !publishes.is_empty() {
            match self.store.publish(publishes, &self.spec.run).await {
                Ok(published) => snapshot = published.snapshot,
                Err(error) => {
                    if error.kind() != ErrorKind::Unknown {
                        discard(self.store, &staged).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(Appended {
            snapshot,
            changes: self.rows,
            rejected: self.tally.rejected,
            position: Some(log.log),
            notices: std::mem::take(&mut self.notices),
        })
    }
}

async fn discard(store: &dyn TableStore, staged: &[Arc<Staged>]) {
    for staged in staged {
        if let Err(error) = store.discard(staged).await {
            tracing::warn!(%error, "a stage could not be discarded");
        }
    }
}

fn kind_of(kind: Option<i8>) -> &'static str {
    match kind {
        Some(control::INSERT) => "insert",
        Some(control::DELETE) => DELETE,
        _ => "update",
    }
}
