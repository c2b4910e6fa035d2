//! What the executor needs done by others.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidemill_core::arrow_schema::Schema;
use tidemill_core::{
    BatchStream, Check, CheckId, Description, Engine, Error, ErrorKind, EventSink, Notice, Overlay,
    Position, PublishChange, QueryContext, RelationName, Result, Snapshot, Staged, TableStore,
    UniqueId,
};
use tidemill_plan::{Batch, Fingerprint, SnapshotConfig};

use crate::{Contracted, StatementSession};

/// Turns nodes of the project into SQL, and tests into checks. Rendering is synchronous: it is
/// called on a thread of the runtime, which it tells when it waits for the engine.
pub trait Renderer: Send + Sync {
    /// The SQL of a model.
    fn render(&self, node: &UniqueId, request: &RenderRequest) -> Result<Rendered>;

    /// The table whose copy the node is (`clone`): its files can be shared. The query of the node
    /// gives the same rows.
    fn copied(&self, node: &UniqueId) -> Option<RelationName> {
        let _ = node;
        None
    }

    /// Renders the hooks of a node for this time and performs them in the session of the request,
    /// one after another.
    fn hooks(&self, node: &UniqueId, time: HookTime, request: &RenderRequest) -> Result<()> {
        let _ = (node, time, request);
        Ok(())
    }

    /// Calls the macro that materializes a node, with the node's query; its statements are
    /// performed in the session of the request. Gives the relations that it says it made.
    fn materialize(
        &self,
        node: &UniqueId,
        sql: &str,
        request: &RenderRequest,
    ) -> Result<Vec<RelationName>> {
        let _ = (sql, request);
        Err(Error::new(ErrorKind::Unsupported, "macros cannot materialize here").with("node", node))
    }

    /// The statements of an incremental strategy that is a macro, for new rows that are in a
    /// temporary relation.
    fn increment(
        &self,
        node: &UniqueId,
        strategy: &str,
        rows: &RelationName,
        request: &RenderRequest,
    ) -> Result<String> {
        let _ = (rows, request);
        Err(Error::new(ErrorKind::Unsupported, "macros cannot say how rows are added here")
            .with("node", node)
            .with("strategy", strategy))
    }

    /// Asks the macro of a snapshot's strategy (by its id) what it says of the query; `exists`: the
    /// snapshot is there. Gives the snapshot's settings with its expressions in them.
    fn snapshot_strategy(
        &self,
        node: &UniqueId,
        strategy: &str,
        sql: &str,
        exists: bool,
        request: &RenderRequest,
    ) -> Result<SnapshotConfig> {
        let _ = (sql, exists, request);
        Err(Error::new(ErrorKind::Unsupported, "macros cannot say how a snapshot is kept here")
            .with("node", node)
            .with("strategy", strategy))
    }

    /// The check of a test.
    fn check(&self, test: &CheckId, request: &RenderRequest) -> Result<Box<dyn Check>>;

    /// The query in the columns of the node's contract, and what its rows must keep to; `None` for a
    /// node without an enforced contract.
    ///
    /// # Errors
    /// `Config` with a table of what differs.
    fn contract(
        &self,
        node: &UniqueId,
        sql: &str,
        schema: &Schema,
        request: &RenderRequest,
    ) -> Result<Option<Contracted>>;

    /// The queries of a unit test.
    fn unit_test(&self, test: &CheckId, request: &RenderRequest) -> Result<UnitTestCase>;
}

/// What a unit test runs.
#[derive(Debug, Clone)]
pub struct UnitTestCase {
    /// What the model gives for the test's rows, in the columns that are compared.
    pub actual: String,
    /// What it should give, in the same columns and types.
    pub expected: String,
    /// The test's rows in place of what the model reads.
    pub overlay: Overlay,
}

/// How to render.
#[derive(Debug, Clone)]
pub struct RenderRequest {
    /// Whether `is_incremental()` is true.
    pub incremental: bool,
    /// Whether `--full-refresh` holds for this node.
    pub full_refresh: bool,
    /// What queries of templates see.
    pub context: QueryContext,
    /// The batch of a microbatch model.
    pub batch: Option<Batch>,
    /// Where templates may write; without it they only read.
    pub statements: Option<Arc<StatementSession>>,
}

/// When a hook of a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookTime {
    /// Before the node is built: dbt's pre-hooks.
    Before,
    /// When it is built and staged, before its checks: post-hooks of its transaction.
    After,
    /// When it is published: post-hooks with `transaction: false`.
    AfterPublish,
}

/// A rendered model.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The query, without ephemeral models left to resolve.
    pub sql: String,
    /// Everything that the result depends on besides the data that it reads.
    pub fingerprint: Fingerprint,
    /// What the template read that is different each time.
    pub volatile: Vec<String>,
    /// Whether the template asked the lake (queries, columns, relations): its text may be another
    /// once what it reads has changed.
    pub asked_lake: bool,
    /// Why it is built even if nothing has changed.
    pub again: Option<String>,
}

/// Loads seeds and sources.
#[async_trait]
pub trait Loader: Send + Sync {
    /// Stages what is new since the position that is published, or everything with `full`.
    async fn load(&self, node: &UniqueId, request: &LoadRequest) -> Result<Loaded>;

    /// Tells the source that everything up to here is published. Gives what the user should know of what the
    /// source keeps.
    async fn acknowledge(&self, node: &UniqueId, position: &Position) -> Result<Vec<Notice>>;

    /// Code and settings that the rows depend on.
    fn fingerprint(&self, node: &UniqueId) -> Result<Fingerprint>;
}

/// How to load.
#[derive(Clone)]
pub struct LoadRequest {
    /// What is published.
    pub context: QueryContext,
    /// Forget the position and load everything again.
    pub full: bool,
    /// Whom to tell about progress and notices.
    pub events: Arc<dyn EventSink>,
}

/// What a load staged.
#[derive(Debug)]
pub struct Loaded {
    /// The table and, if rows were rejected, the table of rejected rows. Empty: nothing is new.
    pub staged: Vec<Arc<Staged>>,
    /// Views that are published with it.
    pub views: Vec<PublishChange>,
    /// The position that the staged data stands for.
    pub position: Option<Position>,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// What the user should know.
    pub notices: Vec<Notice>,
    /// One phrase for the result line: `2 files`.
    pub summary: Option<String>,
}

/// Runs the programs of models that are no queries (Python models).
#[async_trait]
pub trait Programs: Send + Sync {
    /// Starts the program of a node; its queries see the context. It runs while its rows are read,
    /// and ends when they are dropped.
    ///
    /// # Errors
    /// `Config` when it cannot be started or fails before its first row; later failures are in the
    /// rows.
    async fn run(&self, node: &UniqueId, code: &str, context: &QueryContext) -> Result<Program>;
}

/// A program that runs.
pub struct Program {
    /// What it gives.
    pub output: ProgramOutput,
    /// Every query that it has asked so far; complete when its rows have ended.
    pub asked: Arc<Mutex<Vec<Description>>>,
}

/// What a program gives.
pub enum ProgramOutput {
    /// The rows of this query.
    Query(String),
    /// Rows of its own.
    Rows(BatchStream),
}

/// No programs: there are none in this project.
pub struct NoPrograms;

#[async_trait]
impl Programs for NoPrograms {
    async fn run(&self, node: &UniqueId, _: &str, _: &QueryContext) -> Result<Program> {
        Err(Error::new(ErrorKind::Unsupported, "programs cannot be run here").with("node", node))
    }
}

/// Everybody who does something for the executor.
#[derive(Clone)]
pub struct Doers {
    /// Runs SQL.
    pub engine: Arc<dyn Engine>,
    /// Keeps tables.
    pub store: Arc<dyn TableStore>,
    /// Renders.
    pub renderer: Arc<dyn Renderer>,
    /// Loads.
    pub loader: Arc<dyn Loader>,
    /// Runs programs.
    pub programs: Arc<dyn Programs>,
    /// Listens.
    pub events: Arc<dyn EventSink>,
}

impl Doers {
    /// The newest published state.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        self.store.snapshot(tidemill_core::At::Now).await
    }
}
