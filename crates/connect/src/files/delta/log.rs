//! The log of a Delta table: which files a version has, and what was added since another.
//!
//! Source: "Delta Transaction Log Protocol", delta-io/delta.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};
use tokio::runtime::Handle;

use crate::files::place::{Object, ObjectReader};

/// Features of tables whose files can be read as if they had none.
const KNOWN: [&str; 4] = ["timestampNtz", "vacuumProtocolCheck", "deletionVectors", "appendOnly"];

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    /// Below the table's folder.
    pub(super) path: String,
    #[serde(default)]
    pub(super) partition_values: HashMap<String, Option<String>>,
    #[serde(default = "yes")]
    data_change: bool,
    deletion_vector: Option<serde_json::Value>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    path: String,
    #[serde(default = "yes")]
    data_change: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) id: String,
    pub(super) schema_string: String,
    #[serde(default)]
    pub(super) partition_columns: Vec<String>,
    #[serde(default)]
    configuration: HashMap<String, Option<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protocol {
    #[serde(default)]
    min_reader_version: u32,
    #[serde(default)]
    reader_features: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct CommitInfo {
    operation: Option<String>,
}

/// One line of a commit.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Action {
    add: Option<Add>,
    remove: Option<Remove>,
    meta_data: Option<Metadata>,
    protocol: Option<Protocol>,
    commit_info: Option<CommitInfo>,
}

/// A table at its latest version.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) version: u64,
    pub(super) metadata: Metadata,
    /// The files that it has, by path.
    pub(super) files: BTreeMap<String, Add>,
}

/// What came to a table since a version.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) files: Vec<Add>,
    /// The first version whose rows are not only added, and what was done in it.
    pub(super) changed: Option<(u64, String)>,
}

/// Where a table is.
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Its folder in the store.
    pub(super) folder: Path,
    /// As the settings name it.
    pub(super) name: String,
    pub(super) handle: Handle,
}

/// The files of a log.
struct Listed {
    commits: BTreeMap<u64, ObjectMeta>,
    /// Checkpoints with all of their parts.
    checkpoints: BTreeMap<u64, Vec<ObjectMeta>>,
}

impl Place {
    fn damaged(&self, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Data, message).with("table", &self.name)
    }

    /// A file below the folder of the table.
    pub(super) fn below(&self, path: &str) -> Result<Path> {
        let folder = self.folder.as_ref();
        let whole = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
        Path::parse(whole).map_err(|error| {
            self.damaged("the log names a file that cannot be one")
                .with("file", path)
                .because(error)
        })
    }

    fn listed(&self) -> Result<Listed> {
        let log = self.below("_delta_log")?;
        let listed = async { self.store.list(Some(&log)).try_collect::<Vec<_>>().await };
        let objects = self.handle.block_on(listed).map_err(|error| {
            tidemill_objects::explain(error, "the log of the table cannot be listed", log.as_ref())
        })?;
        let mut commits = BTreeMap::new();
        let mut parts: BTreeMap<(u64, usize), Vec<ObjectMeta>> = BTreeMap::new();
        for object in objects {
            let name = object.location.filename().unwrap_or_default().to_owned();
            let pieces: Vec<&str> = name.split('.').collect();
            let Some(version) = pieces[0].parse::<u64>().ok().filter(|_| pieces[0].len() == 20)
            else {
                continue;
            };
            match pieces.as_slice() {
                [_, "json"] => drop(commits.insert(version, object)),
                [_, "checkpoint", "parquet"] => parts.entry((version, 1)).or_default().push(object),
                [_, "checkpoint", _, count, "parquet"] => {
                    if let Ok(count) = count.parse() {
                        parts.entry((version, count)).or_default().push(object);
                    }
                }
                _ => {}
            }
        }
        let whole = parts.into_iter().filter(|((_, count), parts)| parts.len() == *count);
        let checkpoints = whole.map(|((version, _), parts)| (version, parts)).collect();
        Ok(Listed { commits, checkpoints })
    }

    fn commit(&self, version: u64, meta: &ObjectMeta) -> Result<Vec<Action>> {
        let read = async { self.store.get(&meta.location).await?.bytes().await };
        let bytes = self.handle.block_on(read).map_err(|error| {
            let path = meta.location.as_ref();
            tidemill_objects::explain(error, "a commit of the table cannot be read", path)
        })?;
        self.actions(&bytes, &format!("version {version} of its log"))
    }

    fn actions(&self, lines: &[u8], place: &str) -> Result<Vec<Action>> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let parse = |line| {
            serde_json::from_slice::<Action>(line)
                .map_err(|error| self.damaged(format!("{place} is damaged")).because(error))
        };
        lines.map(parse).collect()
    }

    fn checkpoint(&self, meta: &ObjectMeta, each: &mut dyn FnMut(Action)) -> Result<()> {
        let object = Object {
            store: Arc::clone(&self.store),
            meta: meta.clone(),
            handle: self.handle.clone(),
        };
        let failed = "a checkpoint of the table is damaged";
        let reader = ObjectReader(Arc::new(object));
        let builder = self
            .handle
            .block_on(ParquetRecordBatchStreamBuilder::new(reader))
            .or_error(ErrorKind::Data, failed)?;
        let mut stream = builder.with_batch_size(1024).build().or_error(ErrorKind::Data, failed)?;
        while let Some(batch) = self.handle.block_on(stream.next()) {
            let batch = needed(&batch.or_error(ErrorKind::Data, failed)?)?;
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(&batch).or_error(ErrorKind::Data, failed)?;
            writer.finish().or_error(ErrorKind::Data, failed)?;
            self.actions(&writer.into_inner(), "a checkpoint")?.into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    /// The table as it is now.
    ///
    /// # Errors
    /// Kind `NotFound` where no table is; `Unsupported` with the name of a feature that is not known.
    pub(super) fn table(&self) -> Result<Table> {
        let listed = self.listed()?;
        let checkpoint = listed.checkpoints.last_key_value();
        let newest = listed.commits.keys().next_back().copied();
        let latest = newest.max(checkpoint.map(|(version, _)| *version));
        let Some(version) = latest else {
            return Err(Error::new(ErrorKind::NotFound, "there is no Delta table")
                .with("location", &self.name));
        };
        let mut replay = Replay::default();
        let mut from = 0;
        if let Some((at, parts)) = checkpoint {
            for part in parts {
                self.checkpoint(part, &mut |action| replay.take(action))?;
            }
            from = at + 1;
        }
        for number in from..=version {
            let Some(meta) = listed.commits.get(&number) else {
                return Err(self.damaged(format!("version {number} of its log is missing")));
            };
            self.commit(number, meta)?.into_iter().for_each(|action| replay.take(action));
        }
        let metadata = replay.metadata.ok_or_else(|| self.damaged("its log has no schema"))?;
        self.check(replay.protocol, &metadata)?;
        if let Some(file) = replay.files.values().find(|file| file.deletion_vector.is_some()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the table has rows that are deleted by a deletion vector, which are not read",
            )
            .with("table", &self.name)
            .with("file", &file.path)
            .with("help", "rewrite its files: `REORG TABLE … APPLY (PURGE)`"));
        }
        Ok(Table { version, metadata, files: replay.files })
    }

    fn check(&self, protocol: Option<Protocol>, metadata: &Metadata) -> Result<()> {
        let unsupported = |feature: &str| {
            Error::new(
                ErrorKind::Unsupported,
                format!("the table uses the feature `{feature}`, which is not read"),
            )
            .with("table", &self.name)
        };
        let mode = metadata.configuration.get("delta.columnMapping.mode").cloned().flatten();
        if mode.is_some_and(|mode| mode != "none") {
            return Err(unsupported("columnMapping"));
        }
        let Some(protocol) = protocol else { return Ok(()) };
        if protocol.min_reader_version > 3 {
            return Err(unsupported(&format!("reader version {}", protocol.min_reader_version)));
        }
        let mut features = protocol.reader_features.iter().flatten();
        match features.find(|feature| !KNOWN.contains(&feature.as_str())) {
            Some(feature) => Err(unsupported(feature)),
            None => Ok(()),
        }
    }

    /// What came since a version.
    ///
    /// # Errors
    /// Kind `Data` when the log does not go back so far.
    pub(super) fn added_since(&self, version: u64, latest: u64) -> Result<Added> {
        let listed = self.listed()?;
        let mut added = Added::default();
        for number in version + 1..=latest {
            let Some(meta) = listed.commits.get(&number) else {
                return Err(self
                    .damaged(format!(
                        "its log does not have version {number} any more, so what came since {version} \
                         is not known"
                    ))
                    .with("help", "--full-refresh reads the table as it is"));
            };
            let actions = self.commit(number, meta)?;
            let operation =
                actions.iter().find_map(|it| it.commit_info.as_ref()?.operation.clone());
            for action in actions {
                let removes = action.remove.is_some_and(|remove| remove.data_change);
                if removes && added.changed.is_none() {
                    let operation = operation.clone().unwrap_or_else(|| "a change".to_owned());
                    added.changed = Some((number, operation));
                }
                added.files.extend(action.add.filter(|add| add.data_change));
            }
        }
        // One that was added again counts once, as it was last.
        let mut seen = HashSet::new();
        added.files.reverse();
        added.files.retain(|file| seen.insert(file.path.clone()));
        added.files.reverse();
        Ok(added)
    }

    /// The file as an object.
    pub(super) async fn object(&self, path: &str) -> Result<Object> {
        let location = self.below(&decoded(path).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "the table has files outside of its folder, which are not read",
            )
            .with("table", &self.name)
            .with("file", path)
        })?)?;
        let meta = self.store.head(&location).await.map_err(|error| {
            tidemill_objects::explain(error, "a file of the table cannot be read", path).with(
                "help",
                "if it was removed since the last load, --full-refresh reads the table as it is",
            )
        })?;
        Ok(Object {
            store: Arc::clone(&self.store),
            // A store below a prefix names the object with it.
            meta: ObjectMeta { location, ..meta },
            handle: self.handle.clone(),
        })
    }
}

/// Without what is not asked for: statistics are large.
fn needed(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let wanted = ["add", "metaData", "protocol"];
    let columns: Vec<usize> = wanted.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    batch.project(&columns).or_error(ErrorKind::Internal, "a checkpoint has no such columns")
}

#[derive(Default)]
struct Replay {
    files: BTreeMap<String, Add>,
    metadata: Option<Metadata>,
    protocol: Option<Protocol>,
}

impl Replay {
    fn take(&mut self, action: Action) {
        if let Some(remove) = action.remove {
            self.files.remove(&remove.path);
        }
        if let Some(add) = action.add {
            self.files.insert(add.path.clone(), add);
        }
        self.metadata = action.meta_data.or(self.metadata.take());
        self.protocol = action.protocol.or(self.protocol.take());
    }
}

/// The path that the log names; none for an address of its own.
pub(super) fn decoded(path: &str) -> Option<String> {
    if path.contains("://") || path.starts_with('/') {
        return None;
    }
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let code = match (*byte, bytes.as_slice().get(..2)) {
            (b'%', Some(digits)) => {
                std::str::from_utf8(digits).ok().and_then(|it| u8::from_str_radix(it, 16).ok())
            }
            _ => None,
        };
        match code {
            Some(code) => {
                out.push(code);
                bytes.nth(1);
            }
            None => out.push(*byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded() {
        assert_eq!(decoded("a=x%20y/p%3A1.parquet").unwrap(), "a=x y/p:1.parquet");
        assert_eq!(decoded("100%.parquet").unwrap(), "100%.parquet");
        assert_eq!(decoded("s3://other/p.parquet"), None);
    }
}
