//! Reading the catalog log: the newest state, the state after an entry, and the files themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tidemill_core::{
    At, EntryNumber, Error, ErrorKind, Position, PublishedRelation, RelationName, Result, RunId,
    Snapshot,
};

use super::entry::{parse, write};
use super::{CatalogCheckpoint, ENTRY_FORMAT, Entry, Fence, Intent, RelationRecord};
use crate::storage::{REQUESTS, Storage};

/// A checkpoint is written after every so many entries.
pub(crate) const CHECKPOINT_EVERY: u64 = 64;

/// A fence is remembered this long; the stage record it belongs to is gone by then.
const FENCE_KEPT: i64 = 30 * 24 * 3600 * 1_000_000;

/// What is published after an entry.
#[derive(Debug, Clone)]
pub(crate) struct CatalogState {
    pub snapshot: Snapshot,
    pub run: RunId,
    pub records: BTreeMap<RelationName, Arc<RelationRecord>>,
    pub fenced: Vec<Fence>,
}

impl CatalogState {
    /// A lake in which nothing was published.
    pub(crate) fn empty() -> Self {
        CatalogState {
            snapshot: Snapshot::empty(),
            run: RunId::new(""),
            records: BTreeMap::new(),
            fenced: Vec::new(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.snapshot.entry.0
    }

    /// Whether this writer counts as dead.
    pub(crate) fn is_fenced(&self, writer: &str) -> bool {
        self.fenced.iter().any(|fence| fence.writer == writer)
    }

    /// The state after the next entry. `positions`: the contents of position files.
    fn apply(&mut self, entry: Entry, positions: &BTreeMap<String, Position>) -> Result<()> {
        let mut relations: BTreeMap<RelationName, Arc<PublishedRelation>> =
            (*self.snapshot.relations).clone();
        for removed in &entry.removed {
            self.records.remove(&removed.name);
            relations.remove(&removed.name);
        }
        for record in entry.relations {
            let position =
                record.position_file.as_ref().and_then(|file| positions.get(file)).cloned();
            relations.insert(record.name.clone(), Arc::new(record.published(position)?));
            self.records.insert(record.name.clone(), Arc::new(record));
        }
        self.fenced.retain(|fence| fence.time > entry.time - FENCE_KEPT);
        self.fenced
            .extend(entry.fenced.into_iter().map(|writer| Fence { writer, time: entry.time }));
        self.run = entry.run;
        self.snapshot =
            Snapshot { entry: entry.number, time: entry.time, relations: Arc::new(relations) };
        Ok(())
    }

    fn from_checkpoint(
        checkpoint: CatalogCheckpoint,
        positions: &BTreeMap<String, Position>,
    ) -> Result<Self> {
        let mut state = CatalogState { fenced: checkpoint.fenced, ..CatalogState::empty() };
        state.apply(
            Entry {
                format: ENTRY_FORMAT,
                number: checkpoint.number,
                commit: "".into(),
                run: checkpoint.run,
                time: checkpoint.time,
                relations: checkpoint.relations,
                removed: Vec::new(),
                failed: Vec::new(),
                fenced: Vec::new(),
            },
            positions,
        )?;
        Ok(state)
    }

    fn checkpoint(&self) -> CatalogCheckpoint {
        CatalogCheckpoint {
            format: ENTRY_FORMAT,
            number: self.snapshot.entry,
            time: self.snapshot.time,
            run: self.run.clone(),
            relations: self.records.values().map(|record| (**record).clone()).collect(),
            fenced: self.fenced.clone(),
        }
    }
}

/// The kinds of files in the catalog log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Entry,
    Intent,
    Checkpoint,
}

impl FileKind {
    fn suffix(self) -> &'static str {
        match self {
            FileKind::Entry => ".json",
            FileKind::Intent => ".intent.json",
            FileKind::Checkpoint => ".checkpoint.json",
        }
    }
}

/// The folder of the catalog log.
pub(crate) fn folder() -> Path {
    Path::from("_tidemill/catalog")
}

/// A file of the catalog log.
pub(crate) fn path(number: u64, kind: FileKind) -> Path {
    folder().join(format!("{number:020}{}", kind.suffix()))
}

/// What a file of the catalog log is.
pub(crate) fn parse_name(path: &Path) -> Option<(u64, FileKind)> {
    let (digits, rest) = path.filename()?.split_at_checked(20)?;
    let kind = [FileKind::Intent, FileKind::Checkpoint, FileKind::Entry]
        .into_iter()
        .find(|kind| kind.suffix() == rest)?;
    Some((digits.parse().ok()?, kind))
}

fn hint_path() -> Path {
    folder().join("_last_checkpoint")
}

#[derive(Serialize, Deserialize)]
struct Hint {
    number: u64,
}

/// The catalog log in a store.
#[derive(Debug, Clone)]
pub(crate) struct CatalogLog {
    pub storage: Storage,
}

impl CatalogLog {
    /// The newest state.
    pub(crate) async fn latest(&self) -> Result<CatalogState> {
        let state = match self.hinted_checkpoint().await? {
            Some(state) => state,
            // No hint: nothing was published often enough, or the hint was lost.
            None => match self.checkpoint_at_or_below(u64::MAX).await? {
                Some(state) => state,
                None => CatalogState::empty(),
            },
        };
        if self.storage.is_local() {
            return self.advance(state, u64::MAX).await;
        }
        let after = path(state.number(), FileKind::Intent);
        let numbers: Vec<u64> = self
            .storage
            .list_after(&folder(), &after)
            .await?
            .iter()
            .filter_map(|object| parse_name(&object.location))
            .filter(|(number, kind)| *kind == FileKind::Entry && *number > state.number())
            .map(|(number, _)| number)
            .collect();
        let reads: Vec<BoxFuture<'_, Result<Option<Entry>>>> =
            numbers.into_iter().map(|number| self.entry(number).boxed()).collect();
        let entries: Vec<Option<Entry>> =
            futures::stream::iter(reads).buffered(REQUESTS).try_collect().await?;
        let mut state = state;
        for entry in entries.into_iter().flatten() {
            if entry.number.0 == state.number() + 1 {
                self.apply(&mut state, entry).await?;
            }
        }
        self.advance(state, u64::MAX).await
    }

    /// The state after every entry that follows, up to a number.
    pub(crate) async fn advance(&self, mut state: CatalogState, to: u64) -> Result<CatalogState> {
        while state.number() < to {
            let Some(entry) = self.entry(state.number() + 1).await? else { break };
            self.apply(&mut state, entry).await?;
        }
        Ok(state)
    }

    /// The state after one more entry that is at hand.
    pub(crate) async fn apply(&self, state: &mut CatalogState, entry: Entry) -> Result<()> {
        let positions = self.positions(&entry.relations).await?;
        state.apply(entry, &positions)
    }

    /// The state after an earlier entry.
    pub(crate) async fn at(&self, at: &At) -> Result<CatalogState> {
        let gone = || Error::new(ErrorKind::NotFound, "this state of the lake is beyond retention");
        let number = match at {
            At::Now => return self.latest().await,
            At::Entry(EntryNumber(0)) => return Ok(CatalogState::empty()),
            At::Entry(number) => number.0,
            At::Time(time) => {
                let numbers = self.numbers().await?;
                // Times rise strictly with the numbers.
                let (mut low, mut high) = (0, numbers.len());
                while low < high {
                    let middle = (low + high) / 2;
                    let entry = self.entry(numbers[middle]).await?.ok_or_else(gone)?;
                    if entry.time <= *time {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                match low.checked_sub(1) {
                    Some(index) => numbers[index],
                    None if numbers.first() == Some(&1) || numbers.is_empty() => {
                        return Ok(CatalogState::empty());
                    }
                    None => return Err(gone().with("time", time)),
                }
            }
            At::Run(run) => {
                let numbers = self.numbers().await?;
                let mut found = None;
                for number in numbers.into_iter().rev() {
                    if self.entry(number).await?.is_some_and(|entry| entry.run == *run) {
                        found = Some(number);
                        break;
                    }
                }
                found.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "no published entry belongs to this run")
                        .with("run", run)
                })?
            }
        };
        let state = match self.checkpoint_at_or_below(number).await? {
            Some(state) => state,
            None => CatalogState::empty(),
        };
        let state = self.advance(state, number).await?;
        if state.number() != number {
            let newest = self.latest().await?.number();
            return Err(if number > newest {
                Error::new(ErrorKind::NotFound, "the catalog log has no such entry")
                    .with("entry", number)
                    .with("newest", newest)
            } else {
                gone().with("entry", number)
            });
        }
        Ok(state)
    }

    /// The numbers of every entry that is there, rising.
    pub(crate) async fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers: Vec<u64> = self
            .storage
            .list(&folder())
            .await?
            .iter()
            .filter_map(|object| parse_name(&object.location))
            .filter(|(_, kind)| *kind == FileKind::Entry)
            .map(|(number, _)| number)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// One entry.
    pub(crate) async fn entry(&self, number: u64) -> Result<Option<Entry>> {
        let path = path(number, FileKind::Entry);
        self.storage.get(&path).await?.map(|content| parse(&content, &path)).transpose()
    }

    /// One intent.
    pub(crate) async fn intent(&self, number: u64) -> Result<Option<Intent>> {
        let path = path(number, FileKind::Intent);
        self.storage.get(&path).await?.map(|content| parse(&content, &path)).transpose()
    }

    /// Writes the checkpoint of a state.
    pub(crate) async fn write_checkpoint(&self, state: &CatalogState) -> Result<()> {
        crate::failpoint::failpoint!("catalog.before-checkpoint");
        let content = write(&state.checkpoint())?;
        self.storage.put(&path(state.number(), FileKind::Checkpoint), content).await?;
        self.storage.sync().await?;
        crate::failpoint::failpoint!("catalog.after-checkpoint");
        self.storage.put(&hint_path(), write(&Hint { number: state.number() })?).await
    }

    async fn hinted_checkpoint(&self) -> Result<Option<CatalogState>> {
        let Some(content) = self.storage.get(&hint_path()).await? else { return Ok(None) };
        let Ok(hint) = serde_json::from_slice::<Hint>(&content) else { return Ok(None) };
        self.read_checkpoint(hint.number).await
    }

    async fn checkpoint_at_or_below(&self, number: u64) -> Result<Option<CatalogState>> {
        let mut found: Vec<u64> = self
            .storage
            .list(&folder())
            .await?
            .iter()
            .filter_map(|object| parse_name(&object.location))
            .filter(|(at, kind)| *kind == FileKind::Checkpoint && *at <= number)
            .map(|(at, _)| at)
            .collect();
        found.sort_unstable();
        match found.last() {
            Some(newest) => self.read_checkpoint(*newest).await,
            None => Ok(None),
        }
    }

    async fn read_checkpoint(&self, number: u64) -> Result<Option<CatalogState>> {
        let path = path(number, FileKind::Checkpoint);
        let Some(content) = self.storage.get(&path).await? else { return Ok(None) };
        let checkpoint: CatalogCheckpoint = parse(&content, &path)?;
        let positions = self.positions(&checkpoint.relations).await?;
        CatalogState::from_checkpoint(checkpoint, &positions).map(Some)
    }

    async fn positions(&self, records: &[RelationRecord]) -> Result<BTreeMap<String, Position>> {
        let reads: Vec<BoxFuture<'_, Result<(String, Position)>>> = records
            .iter()
            .filter_map(|record| record.position_file.clone())
            .map(|file| {
                async move {
                    let path = Path::from(file.as_str());
                    let content = self.storage.get(&path).await?.ok_or_else(|| {
                        Error::new(ErrorKind::Data, "a source position is missing from the lake")
                            .with("path", &path)
                    })?;
                    Ok((file, parse::<Position>(&content, &path)?))
                }
                .boxed()
            })
            .collect();
        futures::stream::iter(reads).buffer_unordered(REQUESTS).try_collect().await
    }
}

/// The bytes of an entry or an intent.
pub(crate) fn bytes_of<T: Serialize>(file: &T) -> Result<Bytes> {
    write(file)
}
