//! Reading from an external system: one contract for files, databases, APIs and streams, for batch
//! and streaming.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::Stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Cancellation, Error, ErrorKind, RelationName, Result, Sink};

/// A kind of external system. Its author writes a typed configuration; [`Connector::connect`] is
/// called with the parsed value.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// The word after `type:` in `connections.yml`.
    const KIND: &'static str;
    /// Its settings. Unknown keys are refused by the derive of its author.
    type Config: DeserializeOwned + Send;

    /// What a table is loaded with when its settings say no `mode`: of files and streams what is
    /// new ([`ReadScope::New`]), of tables that change in place all of it ([`ReadScope::Whole`]).
    const DEFAULT_SCOPE: ReadScope;

    /// The setting of a table that names what is read: `location`, `table`, ….
    const OBJECT: &'static str;

    /// Makes the source. Nothing remote is touched, and no secret is fetched, before it is used.
    fn connect(config: Self::Config, context: ConnectContext) -> Result<Arc<dyn Source>>;

    /// Whether the settings of a table are right, as far as that can be said without asking the
    /// system.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    fn check_table(settings: &serde_json::Value) -> Result<()>;

    /// Makes the sink. Nothing remote is touched.
    ///
    /// # Errors
    /// Kind `Unsupported` where rows can only be read.
    fn sink(_config: Self::Config, _context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("connections of type `{}` are read, and not written to", Self::KIND),
        ))
    }
}

/// What a connector is told about where it is used.
#[derive(Debug, Clone, Default)]
pub struct ConnectContext {
    /// The folder that relative paths start at: the project's.
    pub project: PathBuf,
    /// The connection's name, for messages.
    pub name: String,
}

/// How far a stream of a source was read: which files (with their content), which offset, which
/// log position. A plain JSON object whose shape belongs to the source; it is stored with the data
/// in one commit, and the position that holds is the one of the relation's latest catalog entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a read ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// When everything that was there at the start was read.
    #[default]
    CaughtUp,
    /// Never, until cancelled.
    Forever,
}

/// Which part of a source a read delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadScope {
    /// What is new after the position. The caller adds the rows.
    #[default]
    New,
    /// What is new or has changed after the position. The caller merges the rows by a key, so that
    /// a row that comes again does no harm.
    Changed,
    /// The whole set if anything differs from the position, and nothing if nothing does. The caller
    /// replaces what is there.
    Whole,
    /// The log of changes after the position; without one the whole set, and the position in the log
    /// at which it was taken. The caller applies the rows by the key, in their order
    /// ([`crate::changes`]).
    Log,
}

/// What to read, and from where on.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The table's settings as written under `ingest:` (the source knows their type).
    pub settings: serde_json::Value,
    /// The name of the table as the project has it: what is read where the settings name nothing.
    pub name: String,
    /// The column whose value grows with every change, as declared by the project. What is new is
    /// what has a value there that is not smaller than the largest one read so far.
    pub cursor: Option<String>,
    /// The columns that tell rows apart, as declared by the project; may be empty.
    pub primary_key: Vec<String>,
    /// Types that the project declares for columns (name and Arrow type), in the project's order.
    /// A declared type is never widened: a value that does not fit is a rejected row.
    pub declared: Vec<arrow::datatypes::Field>,
    /// The columns that the target has by now, if it exists. Their types are where inference
    /// starts; a source may widen them by a [`Change::Restart`].
    pub known: Option<SchemaRef>,
    /// Where the last published load ended; `None` reads everything.
    pub position: Option<Position>,
    /// The position that is given up when this read is published, as everything is read again: what
    /// the source keeps for it may go then.
    pub superseded: Option<Position>,
    /// The tables of the source whose log of changes the caller follows, this one as well: the source may read
    /// its log once for all of them.
    pub siblings: Vec<Sibling>,
    /// Which part of it.
    pub scope: ReadScope,
    /// Of a log of changes each change is wanted, with what it is ([`crate::changes::KIND`]), and not
    /// only what leads to the rows as they are at its end.
    pub every_change: bool,
    /// When to end.
    pub until: Until,
    /// How many threads the read may use.
    pub parallelism: usize,
    /// Stops the read.
    pub cancel: Cancellation,
}

/// A table of a source whose log of changes is followed.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// Its settings as written under `ingest:`.
    pub settings: serde_json::Value,
    /// The name of the table as the project has it.
    pub name: String,
    /// Where its last published load ended.
    pub position: Option<Position>,
    /// Whether this process reads it; others are read by other runs.
    pub is_read: bool,
}

/// Says how far tables are published.
#[async_trait]
pub trait PublishedPositions: Send + Sync {
    /// The position of every table that there is, as it is published **now**, whoever published it.
    ///
    /// # Errors
    /// Of whoever is asked. Nothing may be taken for published then.
    async fn positions(&self) -> Result<Vec<(RelationName, Position)>>;
}

/// A range of the cursor that is read again, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRange {
    /// The first value.
    pub from: String,
    /// The first value behind it.
    pub to: String,
    /// How much of it is read at a time; all of it, if left out.
    pub step: Option<String>,
}

/// A part of such a range.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadPart {
    /// The first value.
    pub from: String,
    /// The first value behind it.
    pub to: String,
    /// Both as the numbers that they are in the table, where they are dates or times (microseconds since 1970) or
    /// whole numbers.
    pub numbers: Option<(i64, i64)>,
    /// The settings of the table by which the rows of this part alone are read.
    pub settings: serde_json::Value,
}

/// What a read yields, in order.
#[derive(Debug, Clone)]
pub enum Change {
    /// The columns of the rows that follow. Comes first, and again when columns appear. A later
    /// schema only adds columns or widens types of earlier ones; rows before it stay valid under it
    /// by a plain cast. One without columns comes where there are no rows, from a source that learns columns
    /// from rows: those of the table stay.
    Schema(SchemaRef),
    /// Rows that are published by now and have one of these values in this column go; the rows of
    /// this read stand in their place (a changed file is read again). Comes before the schema that
    /// it belongs to, and once more after a [`Change::Restart`], which voids it.
    Replaces {
        /// The column.
        column: String,
        /// Its values.
        values: Vec<String>,
    },
    /// All rows that are published by now, and all rows of this read before it, go.
    Truncated,
    /// Rows of the latest schema. Of changes ([`ReadScope::Log`], [`Source::gives_changes`]) columns of
    /// [`crate::changes`] may follow.
    Rows(RecordBatch),
    /// Rows that could not be read: columns `_source_file` (text), `_source_row` (int64, the line
    /// on which the record starts, 1-based), `reason` (text), `raw` (text).
    Rejected(RecordBatch),
    /// A value did not fit and the columns had to be widened in a way that a cast of the rows
    /// already delivered cannot give (text that was read as a number lost its leading zeros, say).
    /// Everything delivered since the read began is void; it comes again under this schema.
    Restart(SchemaRef),
    /// Everything up to here was delivered: a place at which data and position may be committed.
    Position(Position),
    /// Something the user should know (an empty file, a file that vanished, a changed file).
    Notice(Notice),
}

/// A sentence for the user about one object of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// A stable name in kebab case: `empty-file`, `vanished-file`, `changed-file`,
    /// `waiting-file`, `touched-file`, `duplicate-content`, `new-column`, `missing-column`,
    /// `dropped-column`, `widened-column`, `kept-type`, `read-again`, `converted-column`,
    /// `rejected-rows`, `no-table`, `left-out-column`, `new-slot`, `left-slot`, `held-log`, `followed-log`, `read-alone`, `cell-errors`,
    /// `refresh-token`,
    /// `lost-messages`, `more-messages`, `new-topic`, `vanished-topic`.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// The file, table or topic that it is about.
    pub object: Option<String>,
}

/// The stream of a read. After an error it ends; what was delivered since the last
/// [`Change::Position`] must be discarded.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<Change>> + Send>>;

/// What a source says about one of its tables.
#[derive(Debug, Clone)]
pub struct TableDescription {
    /// Its name in the source.
    pub name: String,
    /// Its columns, where they are known without reading it.
    pub schema: Option<SchemaRef>,
    /// Rows, where cheaply known.
    pub rows: Option<u64>,
    /// Whether that is an estimate.
    pub estimated: bool,
    /// The columns that tell rows apart, where the source declares them.
    pub primary_key: Vec<String>,
}

/// An external system that rows can be read from.
///
/// Delivery: at least once. A read that starts at a position delivers everything after it; the
/// caller makes it exactly once by committing rows and position together.
#[async_trait]
pub trait Source: Send + Sync {
    /// Whether the system can be reached with these settings.
    async fn ping(&self) -> Result<()>;

    /// The tables that could be read.
    async fn tables(&self) -> Result<Vec<TableDescription>>;

    /// Reads. Streams: memory does not grow with the size of what is read.
    async fn read(&self, request: ReadRequest) -> Result<ChangeStream>;

    /// The settings of a table by which these columns alone are read, of all its rows; `None`: the source cannot
    /// leave others out, or rows that go do not go there.
    fn only_columns(
        &self,
        _settings: &serde_json::Value,
        _columns: &[String],
    ) -> Option<serde_json::Value> {
        None
    }

    /// The parts of a range of the cursor of a table, whose last load ended at this position.
    ///
    /// # Errors
    /// Kind `Unsupported` where there are no ranges, `Config` for one that cannot be read.
    fn parts(
        &self,
        _settings: &serde_json::Value,
        _position: &Position,
        _range: &ReadRange,
    ) -> Result<Vec<ReadPart>> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "ranges of a cursor are read of tables of databases; this connection has none",
        ))
    }

    /// The same read for who wants to see so many of the first rows alone: it may end behind them, and its
    /// position says nothing.
    fn few(&self, request: ReadRequest, _rows: usize) -> ReadRequest {
        request
    }

    /// Whether the rows of a table with these settings are changes in their order when they are merged
    /// ([`ReadScope::Changed`]): of those with one key the last one counts, also when everything is read
    /// again, and one may say that the row with its key goes ([`crate::changes::GONE`]).
    fn gives_changes(&self, _settings: &serde_json::Value) -> bool {
        false
    }

    /// Whether [`ReadScope::Log`] can be read.
    fn has_log(&self) -> bool {
        false
    }

    /// Says that everything up to this position is published. Idempotent; may be repeated after a
    /// crash. Sources that keep nothing for us do nothing.
    async fn acknowledge(&self, position: &Position) -> Result<()>;

    /// The same of a source that keeps its log once for several tables: it may let go only what all of them
    /// have. Gives what the user should know of what is kept.
    ///
    /// # Errors
    /// As [`Source::acknowledge`].
    async fn acknowledge_beside(
        &self,
        position: &Position,
        _published: &dyn PublishedPositions,
    ) -> Result<Vec<Notice>> {
        self.acknowledge(position).await.map(|()| Vec::new())
    }

    /// A table, of this name and with these settings, was read for the first time, and will be neither published nor
    /// read again by this process: what the source keeps for that goes.
    ///
    /// # Errors
    /// Of the system; it is kept until the process ends then, at most.
    async fn abandon(&self, _name: &str, _settings: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}
