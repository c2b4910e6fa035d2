//! Publishing: four steps, and recovery only goes forward.
//!
//! 1. What was staged is made durable.
//! 2. `N.intent.json` is put if absent: from here on the publish is decided.
//! 3. Each Delta commit is put if absent at exactly its version.
//! 4. `N.json` is put if absent: from here on readers see it.
//!
//! Whoever finds an intent without its entry finishes it first; steps 3 and 4 can be repeated by
//! anybody, any number of times, at the same time. So at most one publish is half-way, nobody holds
//! a lease, and nothing is ever rolled back.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use tidemill_core::{
    CommitId, EntryNumber, Error, ErrorKind, PublishChange, PublishMeta, Published, RelationKind,
    RelationName, Result, RunId, Staged, TableVersion,
};
use tokio::sync::oneshot;

use crate::catalog::{
    CHECKPOINT_EVERY, CatalogState, ENTRY_FORMAT, Entry, FileKind, Intent, IntentChange, Rebase,
    RelationRecord, Removed, bytes_of, path,
};
use crate::delta::{
    Action, TableState, commit_info, commit_path, delta_from_arrow, parse_commit, read_commit,
    recorded_from_arrow, recorded_to_arrow, write_checkpoint, write_commit,
};
use crate::failpoint::failpoint;
use crate::lake::{Inner, Writer, lock};
use crate::stage::{Kind, StagedTable, Status, actions_of, staged_table};
use crate::storage::{PutOutcome, REQUESTS};

/// A Delta checkpoint is written after every so many versions.
const DELTA_CHECKPOINT_EVERY: u64 = 10;

/// How often a publish takes the next number before it gives up.
const ATTEMPTS: usize = 200;

/// Publishes of this process that wait for their turn. Whoever has the turn takes all of them along
/// in one entry.
#[derive(Debug, Default)]
pub(crate) struct PublishQueue {
    waiting: Mutex<Vec<Pending>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Pending {
    changes: Arc<Vec<PublishChange>>,
    run: RunId,
    done: oneshot::Sender<Result<Published>>,
}

/// Makes all of this visible as one catalog entry, or nothing of it.
pub(crate) async fn publish(
    inner: &Arc<Inner>,
    changes: Vec<PublishChange>,
    run: &RunId,
) -> Result<Published> {
    if changes.is_empty() {
        // What a dead writer left half-way is finished, and the state after it given.
        let _turn = inner.publishing.turn.lock().await;
        let state = recover(inner).await?;
        return Ok(Published {
            snapshot: state.snapshot.clone(),
            entry: state.snapshot.entry,
            commit: CommitId::new(""),
            versions: Vec::new(),
            split: Vec::new(),
            warnings: Vec::new(),
        });
    }
    let (done, outcome) = oneshot::channel();
    lock(&inner.publishing.waiting).push(Pending {
        changes: Arc::new(changes),
        run: run.clone(),
        done,
    });
    // On its own task: a caller that goes away must not stop a publish half-way, least of all one
    // that carries others along.
    let owned = inner.clone();
    tokio::spawn(async move {
        let _turn = owned.publishing.turn.lock().await;
        publish_waiting(&owned).await;
    });
    outcome.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unknown, "the publish was interrupted, its outcome is not known"))
    })
}

/// Publishes what waits, in as few entries as its runs allow.
async fn publish_waiting(inner: &Arc<Inner>) {
    loop {
        let group: Vec<Pending> = {
            let mut waiting = lock(&inner.publishing.waiting);
            let Some(run) = waiting.first().map(|pending| pending.run.clone()) else { return };
            let mut taken = HashSet::new();
            let mut group = Vec::new();
            let mut rest = Vec::new();
            for pending in waiting.drain(..) {
                let names: Vec<RelationName> = pending.changes.iter().flat_map(names_of).collect();
                // Two changes of one relation need an entry each.
                if pending.run == run && names.iter().all(|name| !taken.contains(name)) {
                    taken.extend(names);
                    group.push(pending);
                } else {
                    rest.push(pending);
                }
            }
            *waiting = rest;
            group
        };
        publish_group(inner, group).await;
    }
}

fn names_of(change: &PublishChange) -> Vec<RelationName> {
    match change {
        PublishChange::Table(staged, _) => vec![staged.relation.clone()],
        PublishChange::View { relation, .. }
        | PublishChange::Record { relation, .. }
        | PublishChange::Drop { relation } => vec![relation.clone()],
        PublishChange::Rename { relation, to } => vec![relation.clone(), to.clone()],
    }
}

async fn publish_group(inner: &Arc<Inner>, group: Vec<Pending>) {
    // Step 1, shared by the group.
    if let Err(error) = make_durable(inner).await {
        let text = error.report();
        let kind = error.kind();
        for pending in group {
            let _ = pending.done.send(Err(Error::new(kind, text.clone())));
        }
        return;
    }
    let run = match group.first() {
        Some(pending) => pending.run.clone(),
        None => return,
    };
    let mut group = group;
    for _ in 0..ATTEMPTS {
        match attempt(inner, &mut group, &run).await {
            Ok(Attempt::Done(outcome)) => return answer(group, Ok(outcome)),
            Ok(Attempt::Nothing) => return,
            Ok(Attempt::Again) => {}
            Err(error) => return answer(group, Err(error)),
        }
    }
    answer(
        group,
        Err(Error::new(ErrorKind::Conflict, "too many other writers published at the same time")),
    );
}

async fn make_durable(inner: &Inner) -> Result<()> {
    failpoint!("publish.before-sync");
    inner.storage.sync().await
}

/// Gives every publish of the group its own answer.
fn answer(group: Vec<Pending>, outcome: Result<Finished>) {
    match outcome {
        Ok(finished) => {
            for pending in group {
                let names: HashSet<RelationName> =
                    pending.changes.iter().flat_map(names_of).collect();
                let _ = pending.done.send(finished.published_of(&names, &pending.changes));
            }
        }
        Err(error) => {
            let mut error = Some(error);
            let (kind, text) = match &error {
                Some(error) => (error.kind(), error.report()),
                None => return,
            };
            for pending in group {
                if kind == ErrorKind::Unknown {
                    // Nothing of it may be deleted or published again.
                    mark(&pending.changes, Status::Unknown);
                }
                let error = error.take().unwrap_or_else(|| Error::new(kind, text.clone()));
                let _ = pending.done.send(Err(error));
            }
        }
    }
}

fn mark(changes: &[PublishChange], status: Status) {
    for change in changes {
        if let PublishChange::Table(staged, _) = change
            && let Ok(table) = staged_table(staged)
        {
            table.set_status(status);
        }
    }
}

enum Attempt {
    Done(Finished),
    /// Somebody else got the number.
    Again,
    /// Every publish of the group was answered already.
    Nothing,
}

/// A publish that is complete.
struct Finished {
    state: Arc<CatalogState>,
    entry: Entry,
    warnings: Vec<String>,
}

impl Finished {
    fn published_of(
        &self,
        names: &HashSet<RelationName>,
        changes: &[PublishChange],
    ) -> Result<Published> {
        let split: Vec<(RelationName, String)> =
            self.entry.failed.iter().filter(|(name, _)| names.contains(name)).cloned().collect();
        for change in changes {
            if let PublishChange::Table(staged, _) = change
                && let Ok(table) = staged_table(staged)
            {
                let failed = split.iter().any(|(name, _)| *name == staged.relation);
                table.set_status(if failed { Status::Staged } else { Status::Published });
            }
        }
        if !split.is_empty() && split.len() == names.len() {
            let (name, reason) = &split[0];
            return Err(Error::new(ErrorKind::Conflict, reason.clone())
                .with("relation", name)
                .with("entry", self.entry.number));
        }
        let versions = self
            .entry
            .relations
            .iter()
            .filter(|record| names.contains(&record.name))
            .filter_map(|record| {
                record.table().map(|(_, version)| (record.name.clone(), TableVersion(version)))
            })
            .collect();
        Ok(Published {
            snapshot: self.state.snapshot.clone(),
            entry: self.entry.number,
            commit: self.entry.commit.clone(),
            versions,
            split,
            warnings: self.warnings.clone(),
        })
    }
}

/// One try for the next number: check, write the intent, and finish it.
async fn attempt(inner: &Arc<Inner>, group: &mut Vec<Pending>, run: &RunId) -> Result<Attempt> {
    let state = recover(inner).await?;
    let number = state.number() + 1;
    let commit = CommitId::new(uuid::Uuid::now_v7().to_string());
    let time = crate::now_micros().max(state.snapshot.time + 1);

    // Each publish of the group stands or falls for itself.
    let mut changes = Vec::new();
    let mut removed = Vec::new();
    let mut tables: Vec<Arc<StagedTable>> = Vec::new();
    let mut after: Vec<Arc<TableState>> = Vec::new();
    let mut kept = Vec::new();
    for pending in group.drain(..) {
        let draft = Draft { inner, state: &state, run, commit: &commit, number, time };
        match draft.prepare(&pending.changes).await {
            Ok(prepared) => {
                changes.extend(prepared.changes);
                removed.extend(prepared.removed);
                tables.extend(prepared.tables);
                after.extend(prepared.after);
                kept.push(pending);
            }
            Err(error) => {
                let _ = pending.done.send(Err(error));
            }
        }
    }
    *group = kept;
    if group.is_empty() {
        return Ok(Attempt::Nothing);
    }
    check_writers(inner, &state, &tables).await?;

    // A large position is an object of its own.
    failpoint!("publish.before-position");
    let mut positions = Vec::new();
    for (index, change) in changes.iter_mut().enumerate() {
        if let Some(position) = &change.record.position {
            let content = bytes_of(position)?;
            if content.len() > inner.options.inline_position {
                let file = format!("_tidemill/positions/{commit}-{index}.json");
                positions.push((Path::from(file.as_str()), content));
                change.record.position = None;
                change.record.position_file = Some(file);
            }
        }
    }
    if !positions.is_empty() {
        for outcome in inner.storage.put_new_all(positions).await {
            outcome?;
        }
        inner.storage.sync().await?;
    }
    failpoint!("publish.after-position");

    let intent = Intent {
        format: ENTRY_FORMAT,
        number: EntryNumber(number),
        commit,
        run: run.clone(),
        time,
        changes,
        removed,
        fenced: Vec::new(),
    };
    for table in &tables {
        table.set_status(Status::Unknown);
    }
    match put_intent(inner, &intent).await {
        Ok(true) => {}
        Ok(false) => {
            tables.iter().for_each(|table| table.set_status(Status::Staged));
            return Ok(Attempt::Again);
        }
        Err(error) => {
            if error.kind() != ErrorKind::Unknown {
                tables.iter().for_each(|table| table.set_status(Status::Staged));
            }
            return Err(error);
        }
    }
    // Decided. Whatever happens from here on, it will be published, by us or by the next writer.
    match finish(inner, &state, &intent).await {
        Ok(mut finished) => {
            // Readers of this process need not replay what was just written.
            for state in after {
                let landed =
                    finished.entry.relations.iter().any(|record| {
                        record.table() == Some((state.table.as_ref(), state.version))
                    });
                if landed {
                    inner.remember_table(state);
                }
            }
            checkpoints(inner, &mut finished).await;
            acknowledged()?;
            Ok(Attempt::Done(finished))
        }
        Err(error) => Err(Error::new(
            ErrorKind::Unknown,
            "the publish is decided but could not be completed now; the next command on this lake \
             completes it",
        )
        .with("entry", number)
        .because(error)),
    }
}

fn acknowledged() -> Result<()> {
    failpoint!("publish.before-acknowledge");
    Ok(())
}

/// Puts the intent. `false`: somebody else has the number.
async fn put_intent(inner: &Inner, intent: &Intent) -> Result<bool> {
    failpoint!("publish.before-intent");
    let path = path(intent.number.0, FileKind::Intent);
    let put = inner.storage.put_new(&path, bytes_of(intent)?).await;
    let ours = match put {
        Ok(PutOutcome::Created) => true,
        // Perhaps by our own first try, whose answer was lost.
        Ok(PutOutcome::Exists) => {
            let there = inner.catalog.intent(intent.number.0).await.map_err(unknown)?;
            there.is_some_and(|there| there.commit == intent.commit)
        }
        Err(error) => match inner.catalog.intent(intent.number.0).await {
            Ok(Some(there)) => there.commit == intent.commit,
            // On local disk nothing is under way any more; elsewhere the request may still arrive.
            Ok(None) if inner.storage.is_local() => return Err(error),
            Ok(None) | Err(_) => return Err(unknown(error)),
        },
    };
    if ours {
        inner.storage.sync().await.map_err(unknown)?;
        failpoint!("publish.after-intent");
    }
    Ok(ours)
}

fn unknown(error: Error) -> Error {
    Error::new(ErrorKind::Unknown, "it is not known whether the publish happened")
        .with("hint", "nothing was deleted; look at the lake's history before trying again")
        .because(error)
}

/// The newest state, after finishing a publish that somebody left half-way.
pub(crate) async fn recover(inner: &Arc<Inner>) -> Result<Arc<CatalogState>> {
    loop {
        let state = inner.latest().await?;
        match inner.catalog.intent(state.number() + 1).await? {
            None => return Ok(state),
            Some(intent) => {
                tracing::debug!(
                    entry = intent.number.0,
                    "finishing a publish that was left half-way"
                );
                let mut finished = finish(inner, &state, &intent).await?;
                checkpoints(inner, &mut finished).await;
            }
        }
    }
}

/// Steps 3 and 4. Anybody can do this for any intent, any number of times.
async fn finish(inner: &Arc<Inner>, before: &CatalogState, intent: &Intent) -> Result<Finished> {
    let mut warnings = Vec::new();
    let outcomes = commit_tables(inner, intent).await?;
    inner.storage.sync().await?;

    let mut entry = Entry {
        format: ENTRY_FORMAT,
        number: intent.number,
        commit: intent.commit.clone(),
        run: intent.run.clone(),
        time: intent.time,
        relations: Vec::new(),
        removed: intent.removed.clone(),
        failed: Vec::new(),
        fenced: intent.fenced.clone(),
    };
    for (change, outcome) in intent.changes.iter().zip(outcomes) {
        match outcome {
            Outcome::AsPlanned => entry.relations.push(change.record.clone()),
            Outcome::Moved(version) => {
                let record = moved(inner, &change.record, version).await?;
                warnings.push(format!(
                    "another engine wrote to {} during the publish; it went on at version {version}",
                    change.record.name
                ));
                entry.relations.push(record);
            }
            Outcome::Failed(reason) => entry.failed.push((change.record.name.clone(), reason)),
        }
    }

    failpoint!("publish.before-entry");
    let path = path(intent.number.0, FileKind::Entry);
    match inner.storage.put_new(&path, bytes_of(&entry)?).await {
        Ok(_) => {}
        Err(error) => {
            if inner.catalog.entry(intent.number.0).await.ok().flatten().is_none() {
                return Err(error);
            }
        }
    }
    // Whoever put it, it is the truth.
    let entry = inner.catalog.entry(intent.number.0).await?.unwrap_or(entry);
    inner.storage.sync().await?;
    failpoint!("publish.after-entry");

    let mut state = before.clone();
    inner.catalog.apply(&mut state, entry.clone()).await?;
    let state = inner.remember(state);
    Ok(Finished { state, entry, warnings })
}

/// What became of one Delta commit.
enum Outcome {
    AsPlanned,
    /// Another engine had the version; it is at this one.
    Moved(u64),
    /// Another engine had the version, and this change cannot go on after it.
    Failed(String),
}

async fn commit_tables(inner: &Inner, intent: &Intent) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = intent.changes.iter().map(|_| Outcome::AsPlanned).collect();
    let mut planned: Vec<(usize, Path, Bytes)> = Vec::new();
    for (index, change) in intent.changes.iter().enumerate() {
        if let (Some((table, version)), Some(commit)) = (change.record.table(), &change.commit) {
            let path = commit_path(&Path::from(table), version);
            planned.push((index, path, Bytes::from(commit.clone())));
        }
    }
    // One at a time where a test wants to stop in between, else together.
    let lots = if cfg!(debug_assertions) && std::env::var_os("TIDEMILL_FAILPOINT").is_some() {
        1
    } else {
        planned.len().max(1)
    };
    for lot in planned.chunks(lots) {
        failpoint!("publish.before-commit");
        let objects = lot.iter().map(|(_, path, commit)| (path.clone(), commit.clone())).collect();
        let puts = inner.storage.put_new_all(objects).await;
        failpoint!("publish.after-commit");
        for ((index, _, commit), put) in lot.iter().zip(puts) {
            let change = &intent.changes[*index];
            if !matches!(put, Ok(PutOutcome::Created)) {
                let resolved = resolve(inner, intent, change, commit).await;
                outcomes[*index] = match (resolved, put) {
                    (Ok(outcome), _) => outcome,
                    // The first error says more.
                    (Err(_), Err(error)) | (Err(error), Ok(_)) => return Err(error),
                };
            }
        }
    }
    Ok(outcomes)
}

/// Finds our commit, or the place for it, when its version was taken or the put failed. What it
/// comes to follows from the log alone, so that everybody who finishes this publish agrees.
async fn resolve(
    inner: &Inner,
    intent: &Intent,
    change: &IntentChange,
    commit: &Bytes,
) -> Result<Outcome> {
    let Some((table, target)) = change.record.table() else { return Ok(Outcome::AsPlanned) };
    let table = Path::from(table);
    let mut version = target;
    loop {
        let Some(actions) = read_commit(&inner.storage, &table, version).await? else {
            // Gone from the log, but remembered by the table?
            if version == target
                && crate::delta::newest_version(&inner.storage, &table, version).await? > version
                && let Ok(state) = inner.table(&table, version + 1).await
                && state
                    .transactions
                    .get(APPLICATION)
                    .is_some_and(|seen| *seen >= intent.number.0 as i64)
            {
                return Ok(Outcome::AsPlanned);
            }
            let content = if version == target {
                commit.clone()
            } else {
                rebased(inner, change, commit, &table, version).await?
            };
            let path = commit_path(&table, version);
            match inner.storage.put_new(&path, content).await? {
                PutOutcome::Created => return Ok(at(target, version)),
                PutOutcome::Exists => continue,
            }
        };
        if commit_info(&actions).tidemill_commit.as_deref() == Some(intent.commit.as_str()) {
            return Ok(at(target, version));
        }
        let structural = actions
            .iter()
            .any(|action| matches!(action, Action::MetaData(_) | Action::Protocol(_)));
        if change.rebase == Rebase::Never || structural {
            return Ok(Outcome::Failed(format!(
                "another engine wrote version {version} of the Delta table during the publish"
            )));
        }
        version += 1;
    }
}

/// The application id of our transactions in a Delta log.
pub(crate) const APPLICATION: &str = "tidemill";

fn at(target: u64, version: u64) -> Outcome {
    if version == target { Outcome::AsPlanned } else { Outcome::Moved(version) }
}

/// The commit for a version after other engines' commits.
async fn rebased(
    inner: &Inner,
    change: &IntentChange,
    commit: &Bytes,
    table: &Path,
    version: u64,
) -> Result<Bytes> {
    if change.rebase != Rebase::Replace {
        return Ok(commit.clone());
    }
    let path = commit_path(table, version);
    let before = inner.table(table, version - 1).await?;
    let mut actions: Vec<Action> = parse_commit(commit, &path)?
        .into_iter()
        .filter(|action| !matches!(action, Action::Remove(_)))
        .collect();
    let time = change.record.time / 1000;
    actions.extend(before.files.values().map(|file| Action::Remove(file.add.removed(time, true))));
    write_commit(&actions)
}

/// The record of a change that went to another version than planned.
async fn moved(inner: &Inner, planned: &RelationRecord, version: u64) -> Result<RelationRecord> {
    let mut record = planned.clone();
    if let RelationKind::Table { location, version: published } = &mut record.kind {
        let state = inner.table(&Path::from(location.as_str()), version).await?;
        *published = TableVersion(version);
        record.rows = state.rows();
        record.bytes = Some(state.bytes());
        record.schema = state.metadata.schema_string.clone();
    }
    record.hash = None;
    Ok(record)
}

/// Checkpoints that are due. Their failure is a warning: the data is published.
async fn checkpoints(inner: &Inner, finished: &mut Finished) {
    let due = finished.entry.relations.iter().filter_map(|record| {
        let (table, version) = record.table()?;
        // Only versions that this entry wrote.
        (version > 0
            && version.is_multiple_of(DELTA_CHECKPOINT_EVERY)
            && record.data_entry == record.entry)
            .then(|| (Path::from(table), version))
    });
    let due: Vec<(Path, u64)> = due.collect();
    for (table, version) in due {
        if let Err(error) = table_checkpoint(inner, &table, version).await {
            finished.warnings.push(format!("no checkpoint of {table}: {}", error.report()));
        }
    }
    if finished.entry.number.0.is_multiple_of(CHECKPOINT_EVERY)
        && let Err(error) = inner.catalog.write_checkpoint(&finished.state).await
    {
        finished.warnings.push(format!("no checkpoint of the catalog: {}", error.report()));
    }
}

pub(crate) async fn table_checkpoint(inner: &Inner, table: &Path, version: u64) -> Result<()> {
    failpoint!("publish.before-checkpoint");
    let state = inner.table(table, version).await?;
    write_checkpoint(&inner.storage, &state).await?;
    failpoint!("publish.after-checkpoint");
    Ok(())
}

/// Refuses staged files whose writer was declared dead: they may be deleted by now. The order
/// matters: the state is read first, the record second, and the intent is put for the number right
/// after the state, so a fence that is younger than the state takes that number away.
async fn check_writers(
    inner: &Inner,
    state: &CatalogState,
    tables: &[Arc<StagedTable>],
) -> Result<()> {
    let writers: HashSet<&str> = tables
        .iter()
        .filter(|table| !table.files.is_empty())
        .map(|table| table.writer.as_str())
        .collect();
    for writer in writers {
        let alive =
            !state.is_fenced(writer) && inner.storage.head(&Writer::path(writer)).await?.is_some();
        if !alive {
            inner.rotate_writer(writer);
            return Err(Error::new(
                ErrorKind::Conflict,
                "the process stood still for so long that its staged files were given up; build again",
            ));
        }
    }
    Ok(())
}

/// What one caller's publish adds to the intent.
struct Prepared {
    changes: Vec<IntentChange>,
    removed: Vec<Removed>,
    tables: Vec<Arc<StagedTable>>,
    /// The tables as they will be.
    after: Vec<Arc<TableState>>,
}

/// One table of an intent, what was staged for it, and how it will be.
type TablePart = (IntentChange, Arc<StagedTable>, Arc<TableState>);

/// Turns changes into intent, against one state of the catalog.
struct Draft<'a> {
    inner: &'a Arc<Inner>,
    state: &'a CatalogState,
    run: &'a RunId,
    commit: &'a CommitId,
    number: u64,
    time: i64,
}

impl Draft<'_> {
    async fn prepare(&self, changes: &[PublishChange]) -> Result<Prepared> {
        let mut prepared =
            Prepared { changes: vec![], removed: vec![], tables: vec![], after: vec![] };
        let mut seen = HashSet::new();
        for name in changes.iter().flat_map(names_of) {
            if !seen.insert(name.clone()) {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "a relation occurs twice in one publish",
                )
                .with("relation", name));
            }
            check_relation_name(&name)?;
        }
        let mut staged = Vec::new();
        for change in changes {
            match change {
                PublishChange::Table(table, meta) => staged.push((table.clone(), meta)),
                PublishChange::View { relation, sql, schema, meta } => {
                    prepared.changes.push(self.view(relation, sql, schema, meta)?);
                }
                PublishChange::Record { relation, meta } => {
                    let mut record = self.existing(relation)?.clone();
                    self.stamp(&mut record, meta);
                    prepared.changes.push(unchanged(record));
                }
                PublishChange::Drop { relation } => {
                    self.existing(relation)?;
                    prepared.removed.push(Removed { name: relation.clone(), renamed_to: None });
                }
                PublishChange::Rename { relation, to } => {
                    let mut record = self.existing(relation)?.clone();
                    if self.state.records.contains_key(to) {
                        return Err(Error::new(
                            ErrorKind::AlreadyExists,
                            "there is a relation of this name",
                        )
                        .with("relation", to));
                    }
                    record.name = to.clone();
                    record.operation = Some("rename".to_owned());
                    self.stamp(&mut record, &PublishMeta::default());
                    prepared
                        .removed
                        .push(Removed { name: relation.clone(), renamed_to: Some(to.clone()) });
                    prepared.changes.push(unchanged(record));
                }
            }
        }
        let checks: Vec<BoxFuture<'_, Result<TablePart>>> =
            staged.iter().map(|(staged, meta)| self.table(staged, meta).boxed()).collect();
        let tables: Vec<TablePart> =
            futures::stream::iter(checks).buffered(REQUESTS).try_collect().await?;
        for (change, table, after) in tables {
            prepared.changes.push(change);
            prepared.tables.push(table);
            prepared.after.push(after);
        }
        Ok(prepared)
    }

    fn existing(&self, relation: &RelationName) -> Result<&RelationRecord> {
        self.state.records.get(relation).map(|record| &**record).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the lake has no such relation")
                .with("relation", relation)
        })
    }

    /// Writes what is recorded with every change.
    fn stamp(&self, record: &mut RelationRecord, meta: &PublishMeta) {
        record.entry = EntryNumber(self.number);
        record.time = self.time;
        record.run = self.run.clone();
        if let Some(unique_id) = &meta.unique_id {
            record.unique_id = Some(unique_id.clone());
        }
        if let Some(position) = &meta.position {
            record.position = Some(position.clone());
            record.position_file = None;
        }
        if let Some(value) = &meta.record {
            record.record = Some(value.clone());
        }
    }

    fn view(
        &self,
        relation: &RelationName,
        sql: &str,
        schema: &arrow::datatypes::Schema,
        meta: &PublishMeta,
    ) -> Result<IntentChange> {
        let current = self.state.records.get(relation);
        let kind = RelationKind::View { sql: sql.to_owned() };
        let text = recorded_from_arrow(schema)?;
        // A description changes no rows: what was made from them is still made from them.
        let plain = |schema: &arrow::datatypes::Schema| {
            let fields = schema.fields().iter();
            let fields: Vec<_> =
                fields.map(|field| (field.name().clone(), field.data_type().clone())).collect();
            fields
        };
        let same = current.filter(|current| current.kind == kind).filter(|current| {
            current.schema == text
                || match (recorded_to_arrow(&current.schema), recorded_to_arrow(&text)) {
                    (Ok(before), Ok(now)) => plain(&before) == plain(&now),
                    _ => false,
                }
        });
        let mut record = RelationRecord {
            name: relation.clone(),
            kind,
            schema: text,
            entry: EntryNumber(self.number),
            data_entry: same.map_or(EntryNumber(self.number), |same| same.data_entry),
            time: self.time,
            run: self.run.clone(),
            unique_id: current.and_then(|current| current.unique_id.clone()),
            rows: None,
            bytes: None,
            hash: None,
            position: None,
            position_file: None,
            record: current.and_then(|current| current.record.clone()),
            operation: Some("view".to_owned()),
        };
        self.stamp(&mut record, meta);
        Ok(unchanged(record))
    }

    /// Checks that the table is still what the stage built on, and makes its Delta commit.
    async fn table(&self, staged: &Staged, meta: &PublishMeta) -> Result<TablePart> {
        let relation = &staged.relation;
        let table = staged_table(staged)?;
        if !table.is_publishable() {
            return Err(Error::new(
                ErrorKind::Internal,
                "what was staged is published or discarded already",
            )
            .with("relation", relation));
        }
        let current = self.state.records.get(relation);
        let conflict = |what: &str| {
            let error = Error::new(ErrorKind::Conflict, what.to_owned())
                .with("relation", relation)
                .with("this run", self.run);
            match current {
                Some(current) => error.with("other run", &current.run),
                None => error,
            }
        };
        if meta.position.is_some()
            && table.base_position
                != self.state.snapshot.get(relation).and_then(|current| current.position.clone())
        {
            return Err(conflict("another load of this relation was published first"));
        }
        let published = current.and_then(|current| {
            current.table().map(|(location, version)| (Path::from(location), version))
        });
        let changed = current.map(|current| current.data_entry) != table.base_data_entry;
        let base = match (&published, table.base_version) {
            (None, None) if !changed => None,
            // The folder is one that the relation left; nothing published points at it.
            (_, Some(head)) if table.relocates && !changed => Some(head),
            (Some((location, version)), Some(base)) if *location == table.location => {
                let follows = match table.kind {
                    // Adding rows commutes with everything but a change of columns.
                    Kind::Append => meta.rebase || *version == base,
                    // A compaction in between changed no rows.
                    Kind::Replace => !changed,
                    Kind::Exact | Kind::Compact | Kind::Adopt => *version == base,
                };
                if !follows {
                    return Err(conflict("another run published this relation first"));
                }
                Some(*version)
            }
            _ => return Err(conflict("another run published this relation first")),
        };
        let before = match base {
            Some(version) => Some(self.inner.table(&table.location, version).await?),
            None => None,
        };
        if table.kind == Kind::Append
            && let Some(before) = &before
            && table.base_version != base
            && (table.metadata.is_some()
                || before.metadata.schema_string != table.preview.metadata.schema_string)
        {
            return Err(conflict("the columns of this relation changed meanwhile"));
        }
        let target = match table.kind {
            Kind::Adopt => table.preview.version,
            _ => base.map_or(0, |version| version + 1),
        };
        let free = match table.kind {
            Kind::Adopt => true,
            _ => self.inner.storage.head(&commit_path(&table.location, target)).await?.is_none(),
        };
        if !free {
            return Err(conflict(
                "another engine wrote to the Delta table; it has to be adopted first",
            ));
        }
        let (commit, after) = match table.kind {
            Kind::Adopt => (None, table.preview.clone()),
            _ => {
                let actions = actions_of(
                    &table,
                    before.as_deref(),
                    self.commit,
                    self.run,
                    self.number,
                    self.time,
                );
                let content = write_commit(&actions)?;
                let after = match &before {
                    Some(before) => (**before).clone().apply(target, actions)?,
                    None => TableState::created(table.location.clone(), actions)?,
                };
                (Some(String::from_utf8_lossy(&content).into_owned()), Arc::new(after))
            }
        };
        let rebased = table.base_version != base;
        let quiet = table.kind == Kind::Compact;
        let mut record = RelationRecord {
            name: relation.clone(),
            kind: RelationKind::Table {
                location: table.location.to_string(),
                version: TableVersion(target),
            },
            schema: delta_from_arrow(&after.schema)?,
            entry: EntryNumber(self.number),
            data_entry: match current {
                Some(current) if quiet => current.data_entry,
                _ => EntryNumber(self.number),
            },
            time: self.time,
            run: self.run.clone(),
            unique_id: current.and_then(|current| current.unique_id.clone()),
            rows: after.rows(),
            bytes: Some(after.bytes()),
            hash: match current {
                Some(current) if quiet => current.hash.clone(),
                _ if rebased => None,
                _ => staged.hash.clone(),
            },
            position: current.and_then(|current| current.position.clone()),
            position_file: current.and_then(|current| current.position_file.clone()),
            record: current.and_then(|current| current.record.clone()),
            operation: Some(table.operation.to_owned()),
        };
        self.stamp(&mut record, meta);
        if let Some(restored) = &table.restored {
            if let Some(position) = &restored.position {
                record.position = position.clone();
                record.position_file = None;
            }
            record.record = restored.record.clone();
        }
        let rebase = match table.kind {
            Kind::Append if table.metadata.is_none() => Rebase::Append,
            Kind::Replace => Rebase::Replace,
            _ => Rebase::Never,
        };
        let change = IntentChange { record, base_version: base, commit, rebase };
        Ok((change, table, after))
    }
}

fn unchanged(record: RelationRecord) -> IntentChange {
    IntentChange { record, base_version: None, commit: None, rebase: Rebase::Never }
}

fn check_relation_name(name: &RelationName) -> Result<()> {
    let refused =
        |what: &str| Err(Error::new(ErrorKind::Config, what.to_owned()).with("relation", name));
    if name.schema().is_empty() || name.name().is_empty() {
        return refused("a relation needs a schema and a name");
    }
    if name.schema().starts_with("_tidemill") {
        return refused("schemas that begin with `_tidemill` belong to the lake");
    }
    if name.schema().contains('.') || name.name().contains('.') {
        return refused("a schema or a name in the lake cannot contain a dot");
    }
    Ok(())
}

/// Publishes an entry that names dead writers and changes nothing else. `false`: another publish
/// came first, and what it says has to be looked at.
pub(crate) async fn publish_fence(inner: &Arc<Inner>, writers: Vec<String>) -> Result<bool> {
    let _turn = inner.publishing.turn.lock().await;
    let state = recover(inner).await?;
    let intent = Intent {
        format: ENTRY_FORMAT,
        number: EntryNumber(state.number() + 1),
        commit: CommitId::new(uuid::Uuid::now_v7().to_string()),
        run: RunId::new("maintenance"),
        time: crate::now_micros().max(state.snapshot.time + 1),
        changes: Vec::new(),
        removed: Vec::new(),
        fenced: writers,
    };
    if !put_intent(inner, &intent).await? {
        return Ok(false);
    }
    let mut finished = finish(inner, &state, &intent).await?;
    checkpoints(inner, &mut finished).await;
    Ok(true)
}
