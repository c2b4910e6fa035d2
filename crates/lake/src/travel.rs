//! History: what was published when, what two states differ in, going back, and looking after
//! what is left over.

use std::collections::HashSet;
use std::sync::Arc;

use object_store::path::Path;
use tidemill_core::{
    At, EntryNumber, Error, ErrorKind, PublishChange, PublishMeta, Published, RelationKind,
    RelationName, Result, RunId, TableVersion,
};

use crate::Lake;
use crate::catalog::{Entry, RelationRecord};
use crate::delta::{Action, newest_version};
use crate::publish::recover;
use crate::stage::{Base, Existing, Kind, Restored, staged_existing};

/// One entry of the catalog log.
#[derive(Debug, Clone, PartialEq)]
pub struct EntrySummary {
    /// Its number.
    pub entry: EntryNumber,
    /// When it was written (microseconds since 1970, UTC).
    pub time: i64,
    /// The run that wrote it.
    pub run: RunId,
    /// What it changed: the relation, what was done, and its rows afterwards.
    pub relations: Vec<(RelationName, Option<String>, Option<u64>)>,
    /// Relations that went.
    pub removed: Vec<RelationName>,
    /// Relations that another engine came between, and why.
    pub failed: Vec<(RelationName, String)>,
}

/// One state of a relation.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The entry that made it.
    pub entry: EntryNumber,
    /// When that was written (microseconds since 1970, UTC).
    pub time: i64,
    /// The run.
    pub run: RunId,
    /// What was done: `replace`, `append`, `upsert`, …; `drop` when the relation went.
    pub operation: Option<String>,
    /// The Delta version, if it is a table.
    pub version: Option<TableVersion>,
    /// Rows, where known.
    pub rows: Option<u64>,
    /// Bytes, where known.
    pub bytes: Option<u64>,
    /// The run's message, when another engine came between.
    pub failed: Option<String>,
}

/// What two states of a table differ in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// Rows before and after, where known.
    pub rows: (Option<u64>, Option<u64>),
    /// Bytes before and after.
    pub bytes: (u64, u64),
    /// Data files that are new, with their rows where known.
    pub added_files: Vec<(String, Option<u64>)>,
    /// Data files that are gone, with their rows where known.
    pub removed_files: Vec<(String, Option<u64>)>,
    /// Data files that both have.
    pub common_files: usize,
    /// Columns that are new.
    pub added_columns: Vec<String>,
    /// Columns that are gone.
    pub removed_columns: Vec<String>,
}

/// A file that nothing names.
#[derive(Debug, Clone, PartialEq)]
pub struct Orphan {
    /// Relative to the lake.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Why it is there.
    pub reason: &'static str,
}

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Repair {
    /// The entry that was finished, if a publish had been left half-way.
    pub finished: Option<EntryNumber>,
    /// What is wrong with published tables.
    pub problems: Vec<(RelationName, String)>,
    /// Tables with versions of other engines that are not adopted.
    pub foreign: Vec<RelationName>,
}

impl Lake {
    /// The catalog log, newest first.
    pub async fn entries(&self, limit: usize) -> Result<Vec<EntrySummary>> {
        let mut entries = Vec::new();
        for number in self.inner.catalog.numbers().await?.into_iter().rev().take(limit) {
            if let Some(entry) = self.inner.catalog.entry(number).await? {
                entries.push(EntrySummary {
                    entry: entry.number,
                    time: entry.time,
                    run: entry.run,
                    relations: entry
                        .relations
                        .into_iter()
                        .map(|record| (record.name, record.operation, record.rows))
                        .collect(),
                    removed: entry.removed.into_iter().map(|removed| removed.name).collect(),
                    failed: entry.failed,
                });
            }
        }
        Ok(entries)
    }

    /// The states of a relation, newest first.
    pub async fn history(&self, relation: &RelationName) -> Result<Vec<HistoryEntry>> {
        let mut history = Vec::new();
        let mut name = relation.clone();
        for number in self.inner.catalog.numbers().await?.into_iter().rev() {
            let Some(entry) = self.inner.catalog.entry(number).await? else { continue };
            history.extend(history_of(&entry, &name));
            // Before a rename it had another name.
            let renamed =
                entry.removed.iter().find(|removed| removed.renamed_to.as_ref() == Some(&name));
            if let Some(renamed) = renamed {
                name = renamed.name.clone();
            }
        }
        if history.is_empty() {
            return Err(not_found(relation));
        }
        Ok(history)
    }

    /// What the state of a table after entry `to` differs from that after entry `from` in.
    pub async fn diff(
        &self,
        relation: &RelationName,
        from: EntryNumber,
        to: EntryNumber,
    ) -> Result<Difference> {
        let (before, after) = (
            self.record_at(relation, &At::Entry(from)).await?,
            self.record_at(relation, &At::Entry(to)).await?,
        );
        let mut states = Vec::new();
        for record in [&before, &after] {
            let record = record.as_ref().ok_or_else(|| not_found(relation))?;
            let (location, version) = record.table().ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "a view has no data to compare")
                    .with("relation", relation)
            })?;
            states.push(self.inner.table(&Path::from(location), version).await?);
        }
        let (before, after) = (&states[0], &states[1]);
        let mut difference = Difference {
            rows: (before.rows(), after.rows()),
            bytes: (before.bytes(), after.bytes()),
            ..Difference::default()
        };
        // Two folders have no file in common, whatever their names.
        let same_folder = before.table == after.table;
        for (path, file) in &after.files {
            if same_folder && before.files.contains_key(path) {
                difference.common_files += 1;
            } else {
                difference.added_files.push((file.location.to_string(), file.rows()));
            }
        }
        for (path, file) in &before.files {
            if !(same_folder && after.files.contains_key(path)) {
                difference.removed_files.push((file.location.to_string(), file.rows()));
            }
        }
        for field in after.schema.fields() {
            if before.schema.field_with_name(field.name()).is_err() {
                difference.added_columns.push(field.name().clone());
            }
        }
        for field in before.schema.fields() {
            if after.schema.field_with_name(field.name()).is_err() {
                difference.removed_columns.push(field.name().clone());
            }
        }
        Ok(difference)
    }

    /// Takes a relation back to an earlier state, as an ordinary publish. The source position goes
    /// back with the data, unless it is to be kept.
    pub async fn restore(
        &self,
        relation: &RelationName,
        at: &At,
        keep_position: bool,
        run: &RunId,
    ) -> Result<Published> {
        let wanted = self.record_at(relation, at).await?;
        let change = self.restoration(relation, wanted, keep_position).await?.ok_or_else(|| {
            Error::new(ErrorKind::AlreadyExists, "the relation has this state already")
                .with("relation", relation)
        })?;
        crate::publish::publish(&self.inner, vec![change], run).await
    }

    /// Takes every relation back to its state after a run, as one publish.
    pub async fn restore_run(
        &self,
        wanted: &RunId,
        keep_position: bool,
        run: &RunId,
    ) -> Result<Published> {
        let then = self.inner.catalog.at(&At::Run(wanted.clone())).await?;
        let now = recover(&self.inner).await?;
        let names: HashSet<&RelationName> = then.records.keys().chain(now.records.keys()).collect();
        let mut changes = Vec::new();
        for name in names {
            let wanted = then.records.get(name).map(|record| (**record).clone());
            changes.extend(self.restoration(name, wanted, keep_position).await?);
        }
        crate::publish::publish(&self.inner, changes, run).await
    }

    /// Finishes a publish that was left half-way, and looks whether everything that is published
    /// is there.
    pub async fn repair(&self) -> Result<Repair> {
        let before = self.inner.latest().await?;
        let after = recover(&self.inner).await?;
        let mut repair = Repair {
            finished: (after.number() > before.number()).then_some(after.snapshot.entry),
            ..Repair::default()
        };
        for relation in after.snapshot.relations.values() {
            if !matches!(relation.kind, RelationKind::Table { .. }) {
                continue;
            }
            let state = match self.inner.published_table(relation).await {
                Ok(state) => state,
                Err(error) => {
                    repair.problems.push((relation.name.clone(), error.report()));
                    continue;
                }
            };
            let there: HashSet<Path> = self
                .inner
                .storage
                .list(&state.table)
                .await?
                .into_iter()
                .map(|object| object.location)
                .collect();
            let missing: Vec<&str> = state
                .files
                .values()
                .filter(|file| !there.contains(&file.location))
                .map(|file| file.location.as_ref())
                .collect();
            if let Some(first) = missing.first() {
                repair.problems.push((
                    relation.name.clone(),
                    format!("{} data files are missing, `{first}` among them", missing.len()),
                ));
            }
        }
        repair.foreign = crate::foreign::foreign_heads(&self.inner, &after.snapshot).await?;
        Ok(repair)
    }

    /// Files that nothing names: left behind by processes that died, or not of this lake.
    pub async fn orphans(&self) -> Result<Vec<Orphan>> {
        crate::maintain::orphans(&self.inner).await
    }

    /// The record of a relation in an earlier state. A state beyond retention is still known of
    /// those relations whose versions are kept.
    async fn record_at(&self, relation: &RelationName, at: &At) -> Result<Option<RelationRecord>> {
        match self.inner.catalog.at(at).await {
            Ok(state) => Ok(state.records.get(relation).map(|record| (**record).clone())),
            Err(error) => {
                let At::Entry(number) = at else { return Err(error) };
                let entry = self.inner.catalog.entry(number.0).await?;
                let record = entry.and_then(|entry| {
                    entry.relations.into_iter().find(|record| record.name == *relation)
                });
                record.map(Some).ok_or(error)
            }
        }
    }

    /// The change that takes a relation back; `None` when there is nothing to do.
    async fn restoration(
        &self,
        relation: &RelationName,
        wanted: Option<RelationRecord>,
        keep_position: bool,
    ) -> Result<Option<PublishChange>> {
        let now = self.inner.latest().await?;
        let current = now.snapshot.get(relation);
        let Some(wanted) = wanted else {
            return match current {
                Some(_) => Ok(Some(PublishChange::Drop { relation: relation.clone() })),
                None => Err(not_found(relation)),
            };
        };
        let then = wanted.published(self.position_of(&wanted).await?)?;
        if current.is_some_and(|current| current.kind == then.kind) {
            return Ok(None);
        }
        let (location, version) = match &then.kind {
            RelationKind::View { sql } => {
                return Ok(Some(PublishChange::View {
                    relation: relation.clone(),
                    sql: sql.clone(),
                    schema: then.schema.clone(),
                    meta: PublishMeta { record: wanted.record.clone(), ..PublishMeta::default() },
                }));
            }
            RelationKind::Table { location, version } => (Path::from(location.as_str()), version.0),
        };
        let old = self.inner.table(&location, version).await?;
        let in_place = match current.map(|current| &current.kind) {
            Some(RelationKind::Table { location: here, version }) if *here == location.as_ref() => {
                Some(version.0)
            }
            _ => None,
        };
        // A folder that the relation left may have gone on before it did.
        let head = match in_place {
            Some(version) => version,
            None => newest_version(&self.inner.storage, &location, version).await?,
        };
        let before = self.inner.table(&location, head).await?;
        let added: Vec<_> = old
            .files
            .iter()
            .filter(|(path, _)| !before.files.contains_key(*path))
            .map(|(_, file)| file.clone())
            .collect();
        for file in &added {
            if self.inner.storage.head(&file.location).await?.is_none() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "this state is beyond retention: its data files are gone",
                )
                .with("relation", relation)
                .with("entry", wanted.entry));
            }
        }
        let removed: Vec<String> =
            before.files.keys().filter(|path| !old.files.contains_key(*path)).cloned().collect();
        let adds: Vec<_> = added.iter().map(|file| file.add.clone()).collect();
        let mut actions = vec![Action::MetaData(old.metadata.clone())];
        actions.extend(
            removed
                .iter()
                .filter_map(|path| before.files.get(path))
                .map(|file| Action::Remove(file.add.removed(0, true))),
        );
        actions.extend(adds.iter().cloned().map(Action::Add));
        let preview = (*before).clone().apply(head + 1, actions)?;
        let base = Base {
            location,
            table: Some(before),
            data_entry: current.map(|current| current.data_entry),
            position: current.and_then(|current| current.position.clone()),
            hash: None,
        };
        let staged = staged_existing(
            relation,
            &base,
            Existing {
                kind: Kind::Exact,
                operation: "restore",
                preview: Arc::new(preview),
                added: adds,
                removed,
                restored: Some(Restored {
                    position: (!keep_position).then(|| then.position.clone()),
                    record: wanted.record.clone(),
                }),
                relocates: in_place.is_none(),
                hash: wanted.hash.clone(),
                file_column: None,
            },
        );
        Ok(Some(PublishChange::Table(Arc::new(staged), PublishMeta::default())))
    }

    async fn position_of(
        &self,
        record: &RelationRecord,
    ) -> Result<Option<tidemill_core::Position>> {
        let Some(file) = &record.position_file else { return Ok(record.position.clone()) };
        let path = Path::from(file.as_str());
        let content = self.inner.storage.get(&path).await?;
        Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
    }
}

fn history_of(entry: &Entry, relation: &RelationName) -> Vec<HistoryEntry> {
    let blank = |operation: &str, failed: Option<String>| HistoryEntry {
        entry: entry.number,
        time: entry.time,
        run: entry.run.clone(),
        operation: Some(operation.to_owned()),
        version: None,
        rows: None,
        bytes: None,
        failed,
    };
    let mut history = Vec::new();
    for (_, reason) in entry.failed.iter().filter(|(name, _)| name == relation) {
        history.push(blank("failed", Some(reason.clone())));
    }
    for record in entry.relations.iter().filter(|record| record.name == *relation) {
        history.push(HistoryEntry {
            version: record.table().map(|(_, version)| TableVersion(version)),
            rows: record.rows,
            bytes: record.bytes,
            operation: record.operation.clone(),
            ..blank("", None)
        });
    }
    for removed in entry.removed.iter().filter(|removed| removed.name == *relation) {
        if removed.renamed_to.is_none() {
            history.push(blank("drop", None));
        }
    }
    history
}

fn not_found(relation: &RelationName) -> Error {
    Error::new(ErrorKind::NotFound, "the lake has no such relation").with("relation", relation)
}
