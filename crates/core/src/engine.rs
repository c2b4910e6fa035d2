//! Running SQL.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{Stream, StreamExt};

use crate::{
    Error, ErrorKind, Measure, Measurement, QueryContext, RelationName, Result, Statement,
};

/// Rows as a stream of batches of one schema.
pub struct BatchStream {
    /// The columns of every batch.
    pub schema: SchemaRef,
    /// The batches. After an error it ends.
    pub batches: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
}

impl BatchStream {
    /// A stream of these batches.
    pub fn new(
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Self {
        // Fused: a reader may ask once more after the end.
        BatchStream { schema, batches: Box::pin(batches.fuse()) }
    }

    /// A stream of batches that are in memory.
    pub fn from_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self::new(schema, futures::stream::iter(batches.into_iter().map(Ok)))
    }
}

/// What is known of a query without running it.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its columns.
    pub schema: SchemaRef,
    /// Every relation of the lake that it reads, through views as well: the views themselves and
    /// what they read.
    pub relations: Vec<RelationName>,
    /// The relations named in the text itself.
    pub direct_relations: Vec<RelationName>,
    /// Functions in it (and in views it reads) whose value changes from call to call: `now`,
    /// `random`, `uuid`. `current_date` is not among them; see `current_date`.
    pub volatile_functions: Vec<String>,
    /// Whether it reads the current date.
    pub current_date: bool,
    /// Whether it decides the same of each row when it is run twice on one state: nothing in it
    /// depends on chance or, as `limit` and window functions may, on the order in which rows come.
    pub repeatable: bool,
}

/// What a statement did.
#[derive(Debug)]
pub enum StatementOutcome {
    /// It gave rows.
    Rows(BatchStream),
    /// It gave none; the text says what happened, the number how many rows it concerned.
    Done {
        /// For example `INSERT`.
        tag: String,
        /// Rows concerned.
        rows: Option<u64>,
    },
}

impl std::fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Something that watches batches while they are written, so that no second scan is needed.
pub trait Observer: Send {
    /// Sees one batch.
    fn observe(&mut self, batch: &RecordBatch) -> Result<()>;

    /// What was measured, in the order of the measures it was made from.
    fn finish(self: Box<Self>) -> Result<Vec<Measurement>>;
}

/// Something that runs SQL over one snapshot of the lake.
///
/// Every call takes a [`QueryContext`]; there is no query without a snapshot, a principal and a
/// way to cancel. Relations are named as `schema.name` or `name` (the context's default schema).
#[async_trait]
pub trait Engine: Send + Sync {
    /// Plans without running.
    async fn describe(&self, sql: &str, context: &QueryContext) -> Result<Description>;

    /// What one statement asks for, decided against the state of the context; nothing is changed.
    /// Statements are performed by who has the lake; the engine itself never writes.
    async fn statement(&self, sql: &str, context: &QueryContext) -> Result<Statement> {
        let _ = (sql, context);
        Err(Error::new(ErrorKind::Unsupported, "this engine only runs queries"))
    }

    /// Runs one query. The stream yields while the query runs; dropping it cancels.
    async fn query(&self, sql: &str, context: &QueryContext) -> Result<BatchStream>;

    /// Takes all measures of one relation in as few scans as it can. Yields one measurement for
    /// each measure, in order. A measure whose SQL is wrong yields an error in its own place and
    /// does not spoil the others.
    async fn measure(
        &self,
        relation: &RelationName,
        measures: &[Measure],
        context: &QueryContext,
    ) -> Result<Vec<Result<Measurement>>>;
}
