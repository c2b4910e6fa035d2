//! A lake in memory: a list of batches for each table.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use futures::StreamExt;
use tidemill_core::{
    At, ColumnChange, CommitId, Duplicates, EntryNumber, Error, ErrorKind, Maintenance,
    MaintenanceReport, NullKeys, PublishChange, Published, PublishedRelation, RelationKind,
    RelationName, Result, ResultExt, RunId, SchemaChange, Snapshot, StageRequest, Staged,
    TableStore, TableVersion, WriteMode,
};

/// A table store that keeps everything in memory and forgets it when it is dropped. Old entries
/// stay readable.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The state after each entry; the first is the empty lake.
    snapshots: Vec<Snapshot>,
    tables: BTreeMap<RelationName, RecordBatch>,
    discarded: usize,
    staged: usize,
}

/// What a stage keeps until it is published.
struct Content {
    rows: RecordBatch,
    base: Option<EntryNumber>,
}

impl MemoryStore {
    /// An empty lake.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The published rows of a table as one batch.
    pub fn rows(&self, relation: &RelationName) -> Option<RecordBatch> {
        self.state().tables.get(relation).cloned()
    }

    /// How many stages were begun, and how many of those were discarded.
    pub fn stages(&self) -> (usize, usize) {
        let state = self.state();
        (state.staged, state.discarded)
    }
}

/// The value of each row as text, to compare by.
fn texts(batch: &RecordBatch, columns: &[String]) -> Result<Vec<Option<String>>> {
    let options = FormatOptions::default().with_null("\u{0}");
    let mut keys: Vec<Option<String>> = vec![Some(String::new()); batch.num_rows()];
    for name in columns {
        let column = batch.column_by_name(name).ok_or_else(|| {
            Error::new(ErrorKind::Query, "the table has no such column").with("column", name)
        })?;
        let formatter = ArrayFormatter::try_new(column, &options)
            .or_error(ErrorKind::Internal, "cannot show a value")?;
        for (row, key) in keys.iter_mut().enumerate() {
            match key {
                Some(text) if column.is_valid(row) => {
                    text.push_str(&formatter.value(row).to_string());
                    text.push('\u{1f}');
                }
                _ => *key = None,
            }
        }
    }
    Ok(keys)
}

fn keep(batch: &RecordBatch, rows: Vec<bool>) -> Result<RecordBatch> {
    filter_record_batch(batch, &BooleanArray::from(rows))
        .or_error(ErrorKind::Internal, "cannot filter")
}

/// The batch with the columns of a schema: cast, or NULL where there is none.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => {
                cast(column, field.data_type()).or_error(ErrorKind::Data, "cannot cast")
            }
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<_>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).or_error(ErrorKind::Internal, "bad batch")
}

/// The columns of the old table, with the new types, and then the new ones.
fn evolved(old: &SchemaRef, new: &SchemaRef) -> (SchemaRef, Vec<ColumnChange>) {
    let mut changes = Vec::new();
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for field in old.fields() {
        match new.fields().iter().find(|other| other.name() == field.name()) {
            Some(other) if other.data_type() != field.data_type() => {
                changes.push(ColumnChange::Widened {
                    column: field.name().clone(),
                    from: field.data_type().clone(),
                    to: other.data_type().clone(),
                });
                fields.push(Arc::clone(other));
            }
            _ => fields.push(Arc::clone(field)),
        }
    }
    for field in new.fields() {
        if old.field_with_name(field.name()).is_err() {
            changes.push(ColumnChange::Added(field.name().clone()));
            fields.push(Arc::clone(field));
        }
    }
    (Arc::new(Schema::new(fields)), changes)
}

fn not_null_columns(keys: &[Option<String>]) -> HashSet<&str> {
    keys.iter().flatten().map(String::as_str).collect()
}

fn refuse_nulls(keys: &[Option<String>], null_keys: NullKeys) -> Result<()> {
    if null_keys == NullKeys::Fail && keys.iter().any(Option::is_none) {
        return Err(Error::new(ErrorKind::Data, "new rows have a NULL in their key"));
    }
    Ok(())
}

/// What a write makes of the old rows and the new ones.
fn apply(mode: &WriteMode, old: &RecordBatch, new: &RecordBatch) -> Result<RecordBatch> {
    let (old, new) = match mode {
        WriteMode::Replace => return Ok(new.clone()),
        WriteMode::ReplaceByKey { key } => {
            let upsert = WriteMode::Upsert {
                key: key.clone(),
                update: None,
                duplicates: Duplicates::KeepLast,
                null_keys: NullKeys::Fail,
            };
            return apply(&upsert, &new.slice(0, 0), new);
        }
        WriteMode::Append => (old.clone(), new.clone()),
        WriteMode::Upsert { key, update, duplicates, null_keys } => {
            if update.is_some() {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the store in memory updates whole rows only",
                ));
            }
            let keys = texts(new, key)?;
            refuse_nulls(&keys, *null_keys)?;
            let mut last = std::collections::HashMap::new();
            for (row, key) in keys.iter().enumerate() {
                let Some(key) = key else { continue };
                if last.insert(key.as_str(), row).is_some() && *duplicates == Duplicates::Fail {
                    return Err(Error::new(ErrorKind::Data, "two new rows have one key"));
                }
            }
            let wanted = keys
                .iter()
                .enumerate()
                .map(|(row, key)| key.as_deref().is_none_or(|key| last.get(key) == Some(&row)))
                .collect();
            let replaced = not_null_columns(&keys);
            let stays = texts(old, key)?
                .iter()
                .map(|key| key.as_deref().is_none_or(|key| !replaced.contains(key)))
                .collect();
            (keep(old, stays)?, keep(new, wanted)?)
        }
        WriteMode::DeleteInsert { key: columns, .. } | WriteMode::ReplaceWhere { columns } => {
            let keys = texts(new, columns)?;
            if let WriteMode::DeleteInsert { null_keys, .. } = mode {
                refuse_nulls(&keys, *null_keys)?;
            }
            let replaced = not_null_columns(&keys);
            let stays = texts(old, columns)?
                .iter()
                .map(|key| key.as_deref().is_none_or(|key| !replaced.contains(key)))
                .collect();
            (keep(old, stays)?, new.clone())
        }
        WriteMode::ReplaceValues { column, values } => {
            let stays = texts(old, std::slice::from_ref(column))?
                .iter()
                .map(|key| {
                    let value = key.as_deref().map(|key| key.trim_end_matches('\u{1f}'));
                    value.is_none_or(|value| !values.iter().any(|gone| gone == value))
                })
                .collect();
            (keep(old, stays)?, new.clone())
        }
        WriteMode::Changes { .. }
        | WriteMode::ReplaceRanges { .. }
        | WriteMode::ReplaceFiles { .. }
        | WriteMode::History { .. } => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the store in memory keeps no histories, logs and ranges",
            ));
        }
    };
    concat_batches(&new.schema(), [&old, &new]).or_error(ErrorKind::Internal, "cannot join rows")
}

#[async_trait]
impl TableStore for MemoryStore {
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        let state = self.state();
        let newest = || state.snapshots.last().cloned().unwrap_or_else(Snapshot::empty);
        match at {
            At::Now => Ok(newest()),
            At::Entry(EntryNumber(0)) => Ok(Snapshot::empty()),
            At::Entry(entry) => {
                state.snapshots.iter().find(|snapshot| snapshot.entry == entry).cloned().ok_or_else(
                    || Error::new(ErrorKind::NotFound, "no such entry").with("entry", entry),
                )
            }
            At::Time(_) | At::Run(_) => {
                Err(Error::new(ErrorKind::Unsupported, "the store in memory keeps no times"))
            }
        }
    }

    async fn stage(&self, request: StageRequest) -> Result<Staged> {
        self.state().staged += 1;
        let new_schema = Arc::clone(&request.rows.schema);
        let mut observers = request.observers;
        let mut batches = Vec::new();
        let mut stream = request.rows.batches;
        while let Some(batch) = stream.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    self.state().discarded += 1;
                    return Err(error);
                }
            };
            if batch.schema().fields() != new_schema.fields() {
                return Err(Error::new(ErrorKind::Internal, "a batch of another schema"));
            }
            for observer in &mut observers {
                observer.observe(&batch)?;
            }
            batches.push(batch);
        }
        let new = concat_batches(&new_schema, &batches)
            .or_error(ErrorKind::Internal, "cannot join rows")?;
        let written = match &request.mode {
            WriteMode::Upsert { key, .. } => {
                let keys = texts(&new, key)?;
                let nulls = keys.iter().filter(|key| key.is_none()).count();
                (not_null_columns(&keys).len() + nulls) as u64
            }
            _ => new.num_rows() as u64,
        };
        let null_keys = match &request.mode {
            WriteMode::Upsert { key, .. } | WriteMode::DeleteInsert { key, .. } => {
                texts(&new, key)?.iter().filter(|key| key.is_none()).count() as u64
            }
            _ => 0,
        };
        let published = request.base.get(&request.relation);
        let old = self.state().tables.get(&request.relation).cloned();
        let (rows, column_changes) = match (&old, &request.mode) {
            (Some(old), mode)
                if !matches!(mode, WriteMode::Replace | WriteMode::ReplaceByKey { .. }) =>
            {
                let (schema, changes) = evolved(&old.schema(), &new_schema);
                let rows = apply(mode, &conform(old, &schema)?, &conform(&new, &schema)?)?;
                (rows, changes)
            }
            (_, mode) => {
                let nothing = RecordBatch::new_empty(Arc::clone(&new_schema));
                (apply(mode, &nothing, &new)?, Vec::new())
            }
        };
        let mut observed = Vec::new();
        for observer in observers {
            observed.extend(observer.finish()?);
        }
        Ok(Staged {
            relation: request.relation,
            schema: rows.schema(),
            rows: Some(rows.num_rows() as u64),
            bytes: Some(rows.get_array_memory_size() as u64),
            rows_written: written,
            rows_changed: 0,
            null_keys,
            hash: None,
            column_changes,
            repartitioned: false,
            observed,
            inner: Arc::new(Content { rows, base: published.map(|relation| relation.data_entry) }),
        })
    }

    async fn stage_schema(
        &self,
        _relation: &RelationName,
        _changes: &[SchemaChange],
        _base: &Snapshot,
        _run: &RunId,
    ) -> Result<Staged> {
        Err(Error::new(ErrorKind::Unsupported, "the store in memory does not change columns"))
    }

    async fn publish(&self, changes: Vec<PublishChange>, run: &RunId) -> Result<Published> {
        let mut state = self.state();
        let last = state.snapshots.last().cloned().unwrap_or_else(Snapshot::empty);
        let entry = EntryNumber(last.entry.0 + 1);
        let time = last.time + 1;
        let mut relations = (*last.relations).clone();
        let mut tables = state.tables.clone();
        let mut versions = Vec::new();
        for change in changes {
            match change {
                PublishChange::Table(staged, meta) => {
                    let content = staged.inner.downcast_ref::<Content>().ok_or_else(|| {
                        Error::new(ErrorKind::Internal, "staged by another store")
                    })?;
                    let before = relations.get(&staged.relation);
                    if before.map(|before| before.data_entry) != content.base {
                        return Err(Error::new(ErrorKind::Conflict, "the relation has changed"));
                    }
                    let version = TableVersion(match before.map(|before| &before.kind) {
                        Some(RelationKind::Table { version, .. }) => version.0 + 1,
                        _ => 0,
                    });
                    let relation = PublishedRelation {
                        name: staged.relation.clone(),
                        kind: RelationKind::Table {
                            location: staged.relation.to_string(),
                            version,
                        },
                        schema: Arc::clone(&staged.schema),
                        entry,
                        data_entry: entry,
                        time,
                        unique_id: meta.unique_id,
                        run: run.clone(),
                        rows: staged.rows,
                        bytes: staged.bytes,
                        hash: None,
                        position: meta
                            .position
                            .or_else(|| before.and_then(|before| before.position.clone())),
                        record: meta.record.map(Arc::new),
                    };
                    versions.push((staged.relation.clone(), version));
                    tables.insert(staged.relation.clone(), content.rows.clone());
                    relations.insert(staged.relation.clone(), Arc::new(relation));
                }
                PublishChange::Record { relation, meta } => {
                    let before = relations.get(&relation).ok_or_else(|| {
                        Error::new(ErrorKind::NotFound, "no such relation")
                            .with("relation", &relation)
                    })?;
                    let mut after = (**before).clone();
                    after.entry = entry;
                    if meta.position.is_some() {
                        after.position = meta.position;
                    }
                    relations.insert(relation, Arc::new(after));
                }
                PublishChange::Drop { relation } => {
                    relations.remove(&relation);
                    tables.remove(&relation);
                }
                PublishChange::View { .. } | PublishChange::Rename { .. } => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the store in memory has neither views nor renames",
                    ));
                }
            }
        }
        let snapshot = Snapshot { entry, time, relations: Arc::new(relations) };
        state.tables = tables;
        state.snapshots.push(snapshot.clone());
        Ok(Published {
            snapshot,
            entry,
            commit: CommitId::new(format!("commit-{entry}")),
            versions,
            split: Vec::new(),
            warnings: Vec::new(),
        })
    }

    async fn discard(&self, _staged: &Staged) -> Result<()> {
        self.state().discarded += 1;
        Ok(())
    }

    async fn foreign_heads(&self, _base: &Snapshot) -> Result<Vec<RelationName>> {
        Ok(Vec::new())
    }

    async fn adopt(&self, relation: &RelationName, _: &Snapshot, _: &RunId) -> Result<Staged> {
        Err(Error::new(ErrorKind::NotFound, "no other engine writes here")
            .with("relation", relation))
    }

    async fn maintain(&self, _rule: &Maintenance) -> Result<MaintenanceReport> {
        Ok(MaintenanceReport::default())
    }
}
