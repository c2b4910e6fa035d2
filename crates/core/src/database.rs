//! A database that runs SQL itself: models pushed down into it, where its own engine builds them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;

use crate::{BatchStream, Cancellation, RelationName, Result};

/// What a relation of a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseRelation {
    /// Stored rows.
    Table,
    /// A stored query.
    View,
    /// A stored query with stored rows.
    MaterializedView,
}

/// A column as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseColumn {
    /// Its name.
    pub name: String,
    /// Its type in the database's words, with its size: `numeric(10,2)`, `integer[]`.
    pub data_type: String,
    /// Its comment.
    pub comment: Option<String>,
}

/// What statements came to.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// What the last statement was, in the database's word: `SELECT`, `INSERT`, `CREATE VIEW`.
    pub tag: String,
    /// Rows concerned by the last statement, where that means something.
    pub rows: Option<u64>,
    /// The columns of the last statement, when it gives rows.
    pub columns: Vec<DatabaseColumn>,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

/// One session of a database. A session runs one thing after the other; callers that share it wait
/// for each other.
///
/// **On failure**: a statement that fails outside of a transaction has changed nothing; inside of
/// one, only [`DatabaseSession::rollback`] can follow. A session that is dropped in a transaction
/// has rolled it back. When the session's cancellation is cancelled, what runs is cancelled in the
/// database, too, and gives an error of kind [`crate::ErrorKind::Cancelled`].
#[async_trait]
pub trait DatabaseSession: Send + Sync {
    /// Runs one or several statements, separated by semicolons, and gives what the last came to.
    /// Outside of a transaction several statements succeed or fail together, unless they end or
    /// begin transactions themselves.
    async fn run(&self, sql: &str) -> Result<Answer>;

    /// Runs one query whose rows come as they are read.
    async fn query(&self, sql: &str) -> Result<BatchStream>;

    /// The columns of one query, which is not run.
    async fn describe(&self, sql: &str) -> Result<Vec<DatabaseColumn>>;

    /// Begins a transaction, if none is open.
    async fn begin(&self) -> Result<()>;

    /// Commits the open transaction, if there is one.
    async fn commit(&self) -> Result<()>;

    /// Rolls the open transaction back, if there is one.
    async fn rollback(&self) -> Result<()>;

    /// Waits until no other session claims this relation, and claims it: two runs, or a run and what
    /// the database still does for one that was killed, build it one after the other. Ends with the
    /// session, at the latest. Nobody who does not claim is kept out.
    async fn claim(&self, relation: &RelationName) -> Result<()>;

    /// Gives the claim up.
    async fn release(&self, relation: &RelationName) -> Result<()>;

    /// Whether a transaction is open.
    fn in_transaction(&self) -> bool;

    /// What every statement from now on carries as a comment; `after`: at its end.
    fn comment(&self, text: Option<String>, after: bool);

    /// What a relation is; `None` when it does not exist.
    async fn relation(&self, relation: &RelationName) -> Result<Option<DatabaseRelation>>;

    /// The relations of a schema, by name.
    async fn relations(&self, schema: &str) -> Result<Vec<(RelationName, DatabaseRelation)>>;

    /// The schemas of the database, without its own.
    async fn schemas(&self) -> Result<Vec<String>>;

    /// The columns of a relation; `None` when it does not exist.
    async fn columns(&self, relation: &RelationName) -> Result<Option<Vec<DatabaseColumn>>>;

    /// Adds rows to a table in the fastest way there is; their values are read as the types of its
    /// columns. Gives how many.
    async fn load(
        &self,
        relation: &RelationName,
        columns: &[String],
        rows: BatchStream,
    ) -> Result<u64>;
}

/// A database that runs SQL itself. Sessions are opened when they are needed and kept for the next
/// who asks.
#[async_trait]
pub trait Database: Send + Sync {
    /// A session nobody else has. It goes back when the last clone is dropped; what was temporary
    /// in it is gone then.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be reached (after the configured attempts), `Denied`
    /// when it refuses the login, `Config` when a setting is wrong.
    async fn session(&self, cancel: &Cancellation) -> Result<Arc<dyn DatabaseSession>>;

    /// Its kind and version, for people: `PostgreSQL 15.8`.
    async fn version(&self) -> Result<String>;
}
