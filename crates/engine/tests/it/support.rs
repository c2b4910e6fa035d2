//! An engine over tables in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use tidemill_core::{
    Cancellation, Engine, Error, Overlay, Principal, QueryContext, RelationName, RunId,
};
use tidemill_engine::{EmbeddedEngine, EngineOptions, MemoryTables};

/// 2024-03-05 14:07:09.123456 UTC.
pub(crate) const NOW: i64 = 1_709_647_629_123_456;

pub(crate) struct Setup {
    pub(crate) engine: EmbeddedEngine,
    pub(crate) tables: Arc<MemoryTables>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(EngineOptions { threads: Some(2), ..Default::default() })
    }

    pub(crate) fn with(options: EngineOptions) -> Self {
        let tables = Arc::new(MemoryTables::new());
        let engine = EmbeddedEngine::new(options).unwrap().with_tables(tables.clone());
        Setup { engine, tables }
    }

    pub(crate) fn table(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        self.tables.insert(RelationName::parse(name).unwrap(), batch.schema(), vec![batch]);
    }

    pub(crate) fn view(&self, name: &str, sql: &str) {
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        self.tables.insert_view(RelationName::parse(name).unwrap(), schema, sql);
    }

    pub(crate) fn context(&self) -> QueryContext {
        QueryContext {
            snapshot: self.tables.snapshot(),
            overlay: Overlay::none(),
            principal: Principal::Owner,
            run: RunId::new("test"),
            cancel: Cancellation::new(),
            default_schema: "main".into(),
            timezone: "UTC".into(),
            now: NOW,
        }
    }

    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, Error> {
        self.rows_in(sql, &self.context()).await
    }

    pub(crate) async fn rows_in(
        &self,
        sql: &str,
        context: &QueryContext,
    ) -> Result<Vec<RecordBatch>, Error> {
        self.engine.query(sql, context).await?.batches.try_collect().await
    }

    /// The result as a table of text without frame: `a|b` a row.
    pub(crate) async fn text(&self, sql: &str) -> String {
        match self.rows(sql).await {
            Ok(batches) => flat(&batches),
            Err(error) => format!("error: {error}"),
        }
    }
}

pub(crate) fn flat(batches: &[RecordBatch]) -> String {
    let pretty = pretty_format_batches(batches).unwrap().to_string();
    let rows = pretty.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join("|")
    })
    .collect::<Vec<_>>()
    .join("\n")
}
