//! The state of one Delta table at one version, replayed from its log.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

use super::{
    Action, Add, CommitInfo, FileStatistics, MetaData, Protocol, Transaction, arrow_from_delta,
    checkpoint, parse_commit, parse_partition,
};
use crate::storage::{REQUESTS, Storage};

/// The tag of files that we wrote: their statistics are exact.
pub(crate) const OURS: &str = "tidemill";

/// One data file of a table.
#[derive(Debug)]
pub(crate) struct LiveFile {
    pub add: Add,
    /// Relative to the lake.
    pub location: Path,
    statistics: OnceLock<Arc<FileStatistics>>,
}

impl LiveFile {
    pub(crate) fn new(add: Add, table: &Path) -> Result<Self> {
        if add.deletion_vector.as_ref().is_some_and(|vector| !vector.is_null()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the Delta table uses `deletionVectors`, which Tidemill does not read",
            )
            .with("hint", "rewrite the table with the engine that made it (`REORG … PURGE`)"));
        }
        let location = add.location(table)?;
        Ok(LiveFile { add, location, statistics: OnceLock::new() })
    }

    /// What its log line says of it.
    pub(crate) fn statistics(&self, schema: &SchemaRef) -> Arc<FileStatistics> {
        let read = || {
            let ours = self.add.tags.as_ref().is_some_and(|tags| tags.contains_key(OURS));
            Arc::new(FileStatistics::from_json(self.add.stats.as_deref(), schema, ours))
        };
        self.statistics.get_or_init(read).clone()
    }

    /// Its rows, where the log says.
    pub(crate) fn rows(&self) -> Option<u64> {
        if let Some(statistics) = self.statistics.get() {
            return statistics.rows;
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rows {
            num_records: Option<u64>,
        }
        serde_json::from_str::<Rows>(self.add.stats.as_deref()?).ok()?.num_records
    }

    /// Its value of a partition column.
    pub(crate) fn partition_value(
        &self,
        column: &str,
        data_type: &arrow::datatypes::DataType,
    ) -> Result<ScalarValue> {
        let text = self.add.partition_values.get(column).and_then(|text| text.as_deref());
        parse_partition(text, data_type)
    }
}

/// A table at a version.
#[derive(Debug, Clone)]
pub(crate) struct TableState {
    /// The table's folder, relative to the lake.
    pub table: Path,
    pub version: u64,
    pub protocol: Protocol,
    pub metadata: MetaData,
    pub schema: SchemaRef,
    /// By path as the log has it.
    pub files: BTreeMap<String, Arc<LiveFile>>,
    pub transactions: BTreeMap<String, i64>,
}

impl TableState {
    /// Rows of all files, where all are known.
    pub(crate) fn rows(&self) -> Option<u64> {
        self.files.values().map(|file| file.rows()).sum()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.add.size.unsigned_abs()).sum()
    }

    /// The state after one more commit.
    pub(crate) fn apply(mut self, version: u64, actions: Vec<Action>) -> Result<Self> {
        let mut builder = Builder {
            protocol: Some(self.protocol),
            metadata: Some(self.metadata),
            schema: Some(self.schema),
            files: std::mem::take(&mut self.files),
            transactions: std::mem::take(&mut self.transactions),
        };
        builder.apply(&self.table, actions)?;
        builder.finish(self.table, version)
    }

    /// The state that a first commit makes.
    pub(crate) fn created(table: Path, actions: Vec<Action>) -> Result<Self> {
        let mut builder = Builder::default();
        builder.apply(&table, actions)?;
        builder.finish(table, 0)
    }
}

#[derive(Default)]
struct Builder {
    protocol: Option<Protocol>,
    metadata: Option<MetaData>,
    schema: Option<SchemaRef>,
    files: BTreeMap<String, Arc<LiveFile>>,
    transactions: BTreeMap<String, i64>,
}

impl Builder {
    fn apply(&mut self, table: &Path, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            match action {
                Action::Protocol(protocol) => self.protocol = Some(protocol),
                Action::MetaData(metadata) => {
                    self.metadata = Some(metadata);
                    self.schema = None;
                }
                Action::Add(add) => {
                    let file = LiveFile::new(add, table)?;
                    self.files.insert(file.add.path.clone(), Arc::new(file));
                }
                Action::Remove(remove) => {
                    self.files.remove(&remove.path);
                }
                Action::Txn(Transaction { app_id, version, .. }) => {
                    self.transactions.insert(app_id, version);
                }
                Action::CommitInfo(_) => {}
            }
        }
        Ok(())
    }

    fn finish(self, table: Path, version: u64) -> Result<TableState> {
        let incomplete = |what: &str| {
            Error::new(ErrorKind::Data, format!("the Delta log has no {what}"))
                .with("table", &table)
                .with("version", version)
        };
        let protocol = self.protocol.ok_or_else(|| incomplete("protocol"))?;
        let metadata = self.metadata.ok_or_else(|| incomplete("metadata"))?;
        protocol
            .check_readable(&metadata.configuration)
            .map_err(|error| error.with("table", &table))?;
        let schema = match self.schema {
            Some(schema) => schema,
            None => arrow_from_delta(&metadata.schema_string)
                .map_err(|error| error.with("table", &table))?,
        };
        Ok(TableState {
            table,
            version,
            protocol,
            metadata,
            schema,
            files: self.files,
            transactions: self.transactions,
        })
    }
}

/// The folder of a table's log.
pub(crate) fn log_folder(table: &Path) -> Path {
    table.clone().join("_delta_log")
}

/// The file of one commit.
pub(crate) fn commit_path(table: &Path, version: u64) -> Path {
    log_folder(table).join(format!("{version:020}.json"))
}

/// The version that a file of the log belongs to, and what kind of file it is.
pub(crate) fn parse_version(path: &Path) -> Option<(u64, &str)> {
    let (digits, kind) = path.filename()?.split_at_checked(20)?;
    Some((digits.parse().ok()?, kind.strip_prefix('.')?))
}

/// What a commit says about itself, with its actions; `None` when there is no such commit.
pub(crate) async fn read_commit(
    storage: &Storage,
    table: &Path,
    version: u64,
) -> Result<Option<Vec<Action>>> {
    let path = commit_path(table, version);
    match storage.get(&path).await? {
        Some(content) => parse_commit(&content, &path).map(Some),
        None => Ok(None),
    }
}

/// The commit info among these actions.
pub(crate) fn commit_info(actions: &[Action]) -> CommitInfo {
    actions
        .iter()
        .find_map(|action| match action {
            Action::CommitInfo(info) => Some(info.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The newest version at or after this one that exists.
pub(crate) async fn newest_version(storage: &Storage, table: &Path, from: u64) -> Result<u64> {
    let mut version = from;
    while storage.head(&commit_path(table, version + 1)).await?.is_some() {
        version += 1;
    }
    Ok(version)
}

/// Replays a table up to a version, starting from an older state where there is one.
pub(crate) async fn load(
    storage: &Storage,
    table: &Path,
    version: u64,
    from: Option<&TableState>,
) -> Result<TableState> {
    let mut builder = Builder::default();
    let mut next = 0;
    if let Some(state) = from.filter(|state| state.version <= version && state.table == *table) {
        if state.version == version {
            return Ok(state.clone());
        }
        next = state.version + 1;
        builder = Builder {
            protocol: Some(state.protocol.clone()),
            metadata: Some(state.metadata.clone()),
            schema: Some(state.schema.clone()),
            files: state.files.clone(),
            transactions: state.transactions.clone(),
        };
    } else if let Some((at, paths)) = checkpoint::find(storage, table, version).await? {
        builder.apply(table, checkpoint::read(storage, &paths).await?)?;
        next = at + 1;
    }
    let reads: Vec<BoxFuture<'_, Result<Vec<Action>>>> = (next..=version)
        .map(|version| {
            async move {
                read_commit(storage, table, version).await?.ok_or_else(|| {
                    Error::new(
                        ErrorKind::NotFound,
                        "a version of a Delta table is gone from its log",
                    )
                    .with("table", table)
                    .with("version", version)
                    .with("hint", "it is beyond retention, or its log was changed by hand")
                })
            }
            .boxed()
        })
        .collect();
    let mut commits = futures::stream::iter(reads).buffered(REQUESTS);
    while let Some(actions) = commits.try_next().await? {
        builder.apply(table, actions)?;
    }
    builder.finish(table.clone(), version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::{checkpoint, write_checkpoint};

    const TABLE: &str = "s/t";

    async fn storage(commits: &[&str]) -> Storage {
        let store = Arc::new(object_store::memory::InMemory::new());
        let storage = Storage::remote(store, "memory".to_owned()).unwrap();
        for (version, commit) in commits.iter().enumerate() {
            let path = commit_path(&Path::from(TABLE), version as u64);
            storage.put(&path, commit.to_string().into()).await.unwrap();
        }
        storage
    }

    const CREATE: &str = r#"{"commitInfo":{"timestamp":"odd","operation":7}}
{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}
{"domainMetadata":{"domain":"d","configuration":"{}","removed":false}}
"#;

    fn add(path: &str) -> String {
        format!(
            r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1,"modificationTime":1,"dataChange":true,"stats":"{{\"numRecords\":2}}"}}}}"#
        )
    }

    async fn files(storage: &Storage, version: u64) -> Result<Vec<String>> {
        let state = load(storage, &Path::from(TABLE), version, None).await?;
        assert_eq!(state.rows(), Some(2 * state.files.len() as u64));
        Ok(state.files.values().map(|file| file.location.to_string()).collect())
    }

    #[tokio::test]
    async fn every_version_is_what_its_commits_made_of_it() {
        let one = format!("{CREATE}{}\n", add("a%20b.parquet"));
        let two = format!(
            "{}\n{{\"txn\":{{\"appId\":\"x\",\"version\":7}}}}\n{}",
            add("p=1%252F2/c.parquet"),
            r#"{"cdc":{"path":"ignored","size":1}}"#
        );
        let three = r#"{"remove":{"path":"a%20b.parquet","dataChange":true}}"#;
        let storage = storage(&[&one, &two, three]).await;
        assert_eq!(files(&storage, 0).await.unwrap(), ["s/t/a b.parquet"]);
        assert_eq!(files(&storage, 1).await.unwrap(), ["s/t/a b.parquet", "s/t/p=1%2F2/c.parquet"]);
        assert_eq!(files(&storage, 2).await.unwrap(), ["s/t/p=1%2F2/c.parquet"]);
        assert_eq!(files(&storage, 3).await.unwrap_err().kind(), ErrorKind::NotFound);

        // From a checkpoint, with the commits before it gone.
        let table = Path::from(TABLE);
        let state = load(&storage, &table, 1, None).await.unwrap();
        write_checkpoint(&storage, &state).await.unwrap();
        let gone = vec![commit_path(&table, 0), commit_path(&table, 1)];
        storage.delete_all(gone).await.unwrap();
        let again = load(&storage, &table, 2, None).await.unwrap();
        assert_eq!(again.transactions["x"], 7);
        assert_eq!(again.metadata, state.metadata);
        assert_eq!(files(&storage, 1).await.unwrap().len(), 2);
        assert_eq!(files(&storage, 0).await.unwrap_err().kind(), ErrorKind::NotFound);

        // A hint that points nowhere, and one that cannot be read, do no harm.
        for hint in [r#"{"version":9,"size":1}"#, "{"] {
            let path = log_folder(&table).join("_last_checkpoint");
            storage.put(&path, hint.to_string().into()).await.unwrap();
            assert_eq!(files(&storage, 2).await.unwrap(), ["s/t/p=1%2F2/c.parquet"]);
        }
        assert_eq!(checkpoint::all(&storage, &table).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn checkpoints_in_parts_are_taken_only_when_complete() {
        let one = format!("{CREATE}{}\n", add("a.parquet"));
        let storage = storage(&[&one, &add("b.parquet")]).await;
        let table = Path::from(TABLE);
        let state = load(&storage, &table, 1, None).await.unwrap();
        write_checkpoint(&storage, &state).await.unwrap();
        let whole = log_folder(&table).join("00000000000000000001.checkpoint.parquet");
        let content = storage.get(&whole).await.unwrap().unwrap();
        storage.delete_all(vec![whole, commit_path(&table, 0)]).await.unwrap();
        let part = |number: u64| {
            let name = format!("00000000000000000001.checkpoint.{number:010}.0000000002.parquet");
            log_folder(&table).join(name)
        };
        storage.put(&part(1), content.clone()).await.unwrap();
        assert!(files(&storage, 1).await.is_err());
        // The same content twice is the same state.
        storage.put(&part(2), content).await.unwrap();
        assert_eq!(files(&storage, 1).await.unwrap(), ["s/t/a.parquet", "s/t/b.parquet"]);
    }

    #[tokio::test]
    async fn files_outside_of_the_table_are_refused() {
        for path in ["../x.parquet", "s3://other/x.parquet", "/etc/passwd", "%2E%2E/x"] {
            let storage = storage(&[&format!("{CREATE}{}\n", add(path))]).await;
            let error = files(&storage, 0).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}");
        }
    }
}
