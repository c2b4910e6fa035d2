//! A lake in a temporary folder, and short words for what tests do with it.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::TempDir;
use tidemill_core::{
    At, BatchStream, Duplicates, NullKeys, PublishChange, PublishMeta, Published, RelationName,
    Result, RunId, StageRequest, Staged, TableStore, WriteMode,
};
use tidemill_lake::{Lake, LakeOptions};

pub struct TestLake {
    pub folder: TempDir,
    pub lake: Lake,
    pub runtime: Arc<RuntimeEnv>,
}

pub fn options(runtime: &Arc<RuntimeEnv>) -> LakeOptions {
    LakeOptions { parallelism: 2, ..LakeOptions::new(runtime.clone()) }
}

pub async fn open(folder: &Path) -> Lake {
    let runtime = Arc::new(RuntimeEnv::default());
    Lake::open(folder.to_str().unwrap(), options(&runtime)).await.unwrap()
}

impl TestLake {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut LakeOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Arc::new(RuntimeEnv::default());
        let mut options = options(&runtime);
        change(&mut options);
        let lake = Lake::open(folder.path().to_str().unwrap(), options).await.unwrap();
        TestLake { folder, lake, runtime }
    }

    pub async fn stage(&self, name: &str, mode: WriteMode, rows: RecordBatch) -> Result<Staged> {
        stage(&self.lake, name, mode, vec![], rows).await
    }

    pub async fn write(&self, name: &str, mode: WriteMode, rows: RecordBatch) -> Result<Published> {
        let staged = self.stage(name, mode, rows).await?;
        publish(&self.lake, staged).await
    }

    /// The rows of a query, sorted, one line each. Tables are named `schema.name`.
    pub async fn rows(&self, name: &str) -> Vec<String> {
        self.rows_at(name, At::Now).await
    }

    pub async fn rows_at(&self, name: &str, at: At) -> Vec<String> {
        let snapshot = self.lake.snapshot(at).await.unwrap();
        let relation = snapshot.get(&relation(name)).unwrap_or_else(|| panic!("no {name}"));
        let provider = self.lake.provider(relation).await.unwrap();
        self.query_of(provider, "select * from t").await
    }

    pub async fn query(&self, name: &str, sql: &str) -> Vec<String> {
        let snapshot = self.lake.snapshot(At::Now).await.unwrap();
        let provider = self.lake.provider(snapshot.get(&relation(name)).unwrap()).await.unwrap();
        self.query_of(provider, sql).await
    }

    pub async fn query_of(
        &self,
        provider: Arc<dyn datafusion::catalog::TableProvider>,
        sql: &str,
    ) -> Vec<String> {
        let config = SessionConfig::new().with_target_partitions(2);
        let context = SessionContext::new_with_config_rt(config, self.runtime.clone());
        context.register_table("t", provider).unwrap();
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        lines(&batches)
    }
}

pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines: Vec<String> = pretty_format_batches(batches)
        .unwrap()
        .to_string()
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(","))
        .collect();
    lines.sort();
    lines
}

pub fn relation(name: &str) -> RelationName {
    RelationName::parse(name).unwrap()
}

pub fn run() -> RunId {
    RunId::new("run")
}

pub async fn stage(
    lake: &Lake,
    name: &str,
    mode: WriteMode,
    partition_by: Vec<String>,
    rows: RecordBatch,
) -> Result<Staged> {
    lake.stage(StageRequest {
        relation: relation(name),
        mode,
        partition_by: (!partition_by.is_empty()).then_some(partition_by),
        rows: BatchStream::from_batches(rows.schema(), vec![rows]),
        base: lake.snapshot(At::Now).await?,
        comments: vec![],
        observers: vec![],
        run: run(),
    })
    .await
}

pub async fn publish(lake: &Lake, staged: Staged) -> Result<Published> {
    lake.publish(vec![PublishChange::Table(Arc::new(staged), PublishMeta::default())], &run()).await
}

/// Columns `id` and `name`.
pub fn people(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    batch(vec![("id", ids), ("name", names)])
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

pub fn upsert(key: &[&str]) -> WriteMode {
    WriteMode::Upsert {
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        update: None,
        duplicates: Duplicates::KeepLast,
        null_keys: NullKeys::Insert,
    }
}

impl TestLake {
    /// How many data files the table has, by its log.
    pub fn files(&self, name: &str) -> usize {
        let log = self.folder.path().join(name.replace('.', "/")).join("_delta_log");
        let mut commits: Vec<_> = std::fs::read_dir(log)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        commits.sort();
        let mut files = std::collections::HashSet::new();
        for commit in commits {
            for line in std::fs::read_to_string(commit).unwrap().lines() {
                let action: serde_json::Value = serde_json::from_str(line).unwrap();
                if let Some(path) = action["add"]["path"].as_str() {
                    files.insert(path.to_owned());
                }
                if let Some(path) = action["remove"]["path"].as_str() {
                    files.remove(path);
                }
            }
        }
        files.len()
    }
}
