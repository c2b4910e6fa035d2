//! What the executor of databases needs done by others.

use std::sync::Arc;

use tidemill_core::{
    BatchStream, Check, CheckId, Database, DatabaseSession, EventSink, RelationName, Result,
    UniqueId,
};
use tidemill_plan::Batch;

/// Turns nodes of the project into statements. Rendering is synchronous and asks the session of its
/// request; it is called on threads that may wait.
pub trait DatabaseRenderer: Send + Sync {
    /// The SQL of a model or snapshot.
    fn compile(&self, node: &UniqueId, request: &DatabaseRequest) -> Result<String>;

    /// Runs the macro that materializes a node, with the node's SQL (empty for a seed).
    fn materialize(
        &self,
        node: &UniqueId,
        sql: &str,
        request: &DatabaseRequest,
    ) -> Result<DatabaseBuild>;

    /// The check of a test.
    fn check(&self, test: &CheckId, request: &DatabaseRequest) -> Result<DatabaseCheck>;

    /// The queries of a unit test.
    fn unit_test(&self, test: &CheckId, request: &DatabaseRequest) -> Result<DatabaseUnitTest>;

    /// What the statements of a node carry as a comment, and whether it stands behind them.
    fn comment(&self, node: &UniqueId) -> (Option<String>, bool);
}

/// In which session and how to render.
#[derive(Clone)]
pub struct DatabaseRequest {
    /// Where statements run.
    pub session: Arc<dyn DatabaseSession>,
    /// Whether `--full-refresh` holds.
    pub full_refresh: bool,
    /// A node that is read elsewhere than under its name: a candidate.
    pub stand_in: Option<(UniqueId, RelationName)>,
    /// The batch of a microbatch model.
    pub batch: Option<Batch>,
    /// Who is asked before a candidate takes a relation's place, and before a commit.
    pub gate: Option<Arc<dyn Gate>>,
}

impl DatabaseRequest {
    /// Plain rendering in a session.
    pub fn new(session: Arc<dyn DatabaseSession>) -> Self {
        DatabaseRequest { session, full_refresh: false, stand_in: None, batch: None, gate: None }
    }
}

/// Who decides whether a node's relation may change for others.
pub trait Gate: Send + Sync {
    /// Called with the finished candidate, before it takes the relation's place.
    ///
    /// # Errors
    /// When a check fails: nothing may be committed.
    fn candidate(&self, relation: &RelationName) -> Result<()>;

    /// Called instead of a commit; commits when it may.
    ///
    /// # Errors
    /// When a check fails, or the commit.
    fn commit(&self) -> Result<()>;
}

/// What a materialization came to.
#[derive(Debug, Clone, Default)]
pub struct DatabaseBuild {
    /// The relations that it says it made.
    pub relations: Vec<RelationName>,
    /// Rows that its main statement concerned.
    pub rows: Option<u64>,
    /// What its main statement was, in the database's words: `SELECT 100`.
    pub message: Option<String>,
}

/// A check, as a query of a database.
pub struct DatabaseCheck {
    /// What it means.
    pub check: Box<dyn Check>,
    /// The query that gives its one number.
    pub count: String,
    /// Its failing rows are kept as a view, not as a table.
    pub as_view: bool,
}

/// A unit test: two queries whose rows must be the same.
#[derive(Debug, Clone)]
pub struct DatabaseUnitTest {
    /// What the model gives for the test's rows.
    pub actual: String,
    /// What it should give.
    pub expected: String,
}

/// The rows of a seed, with the columns of its table.
pub struct SeedRows {
    /// Names and types, in the database's words.
    pub columns: Vec<(String, String)>,
    /// The rows.
    pub rows: BatchStream,
}

/// Everybody who does something for the executor.
#[derive(Clone)]
pub struct DatabaseDoers {
    /// Where nodes are built.
    pub database: Arc<dyn Database>,
    /// Renders.
    pub renderer: Arc<dyn DatabaseRenderer>,
    /// Listens.
    pub events: Arc<dyn EventSink>,
}
