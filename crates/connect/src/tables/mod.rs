//! Tables of databases: what the connectors to databases share.
//!
//! A database says how it writes names and values, which columns a query has, and gives its rows,
//! all in one snapshot (`Database`, `Session`). What is read, from where on, what was read
//! before, names of columns and declared types are the same for all of them and stand here.

mod batch;
mod convert;
mod cursor;
mod listed;
mod parts;
mod settings;
mod source;

pub use settings::{Lookback, OnLoss, TableSettings};

pub(crate) use batch::{Batch, Builder, Put};
pub(crate) use convert::{declared_field, fit, rejected};
pub(crate) use cursor::{CursorValue, Order, TablePosition, Ties, Tracker, Values, decimal_text};
pub(crate) use listed::{Listed, described};
pub(crate) use source::{DatabaseSource, column_of};

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use tidemill_core::{
    Cancellation, Error, ErrorKind, Notice, Position, PublishedPositions, RelationName, Result,
    TableDescription,
};

/// How long is waited for a server that was lost, each time: half a minute in all, time for a restart.
pub(crate) const RESTART: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// A column of a query, as the database names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// What it is to the engine, where that is more than its type: JSON of a text.
    pub(crate) stored_type: Option<&'static str>,
    /// Who can compare its values.
    pub(crate) order: Order,
    /// What stands in the list of the query, where it is not the column itself.
    pub(crate) expression: Option<String>,
}

/// What is read: a query without its list of columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Select {
    /// What stands behind `from`.
    pub(crate) from: String,
    /// The name of the table, in quotes, when it is one and not a query.
    pub(crate) table: Option<String>,
    /// What all has to be true of a row.
    pub(crate) conditions: Vec<String>,
}

impl Select {
    /// The query with this list of columns.
    pub(crate) fn sql(&self, list: &str) -> String {
        self.with(list, &[])
    }

    /// The same, with further conditions.
    pub(crate) fn with(&self, list: &str, more: &[String]) -> String {
        let conditions: Vec<&str> =
            self.conditions.iter().chain(more).map(String::as_str).collect();
        let from = &self.from;
        match conditions.is_empty() {
            true => format!("select {list} from {from}"),
            false => format!("select {list} from {from} where {}", conditions.join(" and ")),
        }
    }
}

/// The query that gives the largest value of a column by the database's order, as this text.
pub(crate) fn largest_by_order(select: &Select, column: &str, text: &str) -> String {
    // There is an order for more types than there is a `max` for, and an index helps.
    let query = select.with(text, &[format!("{column} is not null")]);
    format!("{query} order by {column} desc limit 1")
}

/// The column as text; one that equals one of the literals for the database is that one's text, as texts
/// that differ can be equal to it: `1.0` and `1.00`, or what a collation says.
pub(crate) fn text_of(
    column: &str,
    literals: impl Iterator<Item = String>,
    as_text: impl Fn(&str) -> String,
) -> String {
    let equal = literals
        .map(|literal| format!("when {column} = {literal} then {} ", as_text(&literal)))
        .collect::<String>();
    match equal.is_empty() {
        true => as_text(column),
        false => format!("case {equal}else {} end", as_text(column)),
    }
}

/// A part of what a query gives.
pub(crate) enum Part {
    /// Rows, with the columns that were described, and of a log those of [`tidemill_core::changes`]. Values that have no place in their column are
    /// NULL there, and named.
    Rows(RecordBatch, Vec<Misfit>),
    /// All rows of the table, and all rows before, go.
    Truncated,
    /// A value did not fit its column: all rows so far are void, and come again with these columns.
    Restart(Vec<Column>),
}

/// A value that has no place in its column: the row is rejected.
#[derive(Debug, Clone)]
pub(crate) struct Misfit {
    /// Which row of the batch.
    pub(crate) row: usize,
    /// What it is, and what to do about it.
    pub(crate) reason: String,
}

/// What is read of a log of changes.
pub(crate) struct LogRequest<'a> {
    /// The table's settings, as written.
    pub(crate) settings: &'a Value,
    /// The columns of the key, by the database's names or by ours.
    pub(crate) key: &'a [String],
    /// Where in the log the last read ended.
    pub(crate) position: Option<&'a Value>,
    /// Where one ended that is given up by this one.
    pub(crate) superseded: Option<&'a Value>,
    /// The name of the connection.
    pub(crate) connection: &'a str,
    /// The tables that are followed through it, this one as well.
    pub(crate) siblings: &'a [LogSibling],
    /// Each change is wanted, with what it is.
    pub(crate) every_change: bool,
    pub(crate) cancel: &'a Cancellation,
    pub(crate) streams: usize,
}

/// A table whose log of changes is followed.
#[derive(Debug, Clone)]
pub(crate) struct LogSibling {
    /// Its settings, as written.
    pub(crate) settings: Value,
    /// Its name, in quotes.
    pub(crate) table: String,
    /// Where in the log its last published read ended.
    pub(crate) position: Option<Value>,
    /// Whether this process reads it.
    pub(crate) is_read: bool,
}

/// How far logs are published, as it is now.
pub(crate) struct PublishedLogs<'a>(pub(crate) &'a dyn PublishedPositions);

impl PublishedLogs<'_> {
    /// Of every table that there is, with the place in its log.
    pub(crate) async fn all(&self) -> Result<Vec<(RelationName, Value)>> {
        let positions = self.0.positions().await?;
        let log = |(name, position): (RelationName, Position)| {
            let log = position.0.get("log").filter(|log| !log.is_null())?;
            Some((name, log.clone()))
        };
        Ok(positions.into_iter().filter_map(log).collect())
    }
}

/// A database whose tables can be read by queries.
#[async_trait]
pub(crate) trait Database: Send + Sync + 'static {
    /// Learns what the other functions need to know; comes before them.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// The name in quotes.
    fn quote(&self, name: &str) -> String;

    /// The name of a table as people write it (`public.orders`), in quotes.
    fn table(&self, name: &str) -> String {
        name.split('.').map(|part| self.quote(part)).collect::<Vec<_>>().join(".")
    }

    /// A query as a table.
    fn subquery(&self, query: &str) -> String {
        format!("({query}\n) as {}", self.quote("t"))
    }

    /// A value as an expression that compares with the column that it came from.
    fn literal(&self, value: &CursorValue) -> String;

    /// The query that gives the largest value of a column (in quotes), by the database's order; one
    /// that equals the value of before for the database is that.
    fn largest(&self, column: &str, select: &Select, _before: Option<&CursorValue>) -> String {
        select.sql(&format!("max({column})"))
    }

    /// The column (in quotes) as the text by which it is told apart: one that equals one of these
    /// values for the database gives that value's text.
    fn as_cursor(&self, column: &str, _values: &[&CursorValue]) -> String {
        column.to_owned()
    }

    /// How long is waited before a read that lost the database begins again, each time; no longer,
    /// and it fails.
    fn patience(&self) -> &'static [Duration] {
        &[]
    }

    /// Whether it can be reached.
    async fn ping(&self) -> Result<()>;

    /// Its tables and views.
    async fn tables(&self) -> Result<Vec<TableDescription>>;

    /// The settings of a table without those that only this database has.
    fn table_settings(&self, written: &Value) -> Result<Value> {
        Ok(written.clone())
    }

    /// Whether there is a log of changes.
    fn has_log(&self) -> bool {
        false
    }

    /// Begins a read of the log of changes, or of the whole table, when there is no position yet.
    async fn log_session(&self, _request: LogRequest<'_>) -> Result<Box<dyn Session>> {
        Err(Error::new(ErrorKind::Unsupported, "this database has no log of changes"))
    }

    /// What stays in the database of a log that was followed up to this position and is not any more, as
    /// the end of a sentence about the table.
    fn left_of_log(&self, _position: &Value) -> Option<String> {
        None
    }

    /// Everything up to this position in the log is published; of all tables, what `published` says. Gives what
    /// the user should know of what is kept of the log.
    async fn acknowledge(
        &self,
        _position: &Value,
        _published: &PublishedLogs<'_>,
    ) -> Result<Vec<Notice>> {
        Ok(Vec::new())
    }

    /// The first read of a table, in quotes, will not be published.
    async fn abandon(&self, _table: &str) -> Result<()> {
        Ok(())
    }

    /// Begins a transaction that sees one state of the database, and changes nothing.
    async fn session(&self, cancel: &Cancellation, streams: usize) -> Result<Box<dyn Session>>;
}

/// One state of a database.
#[async_trait]
pub(crate) trait Session: Send {
    /// The columns of what is read.
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>>;

    /// What the user should know, once the columns are known.
    fn notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }

    /// Where in the log the rows end, when they are all read.
    fn log_position(&mut self) -> Option<Value> {
        None
    }

    /// Whether the column can be read as this type by the database itself, without a conversion of
    /// ours behind it.
    fn gives(&self, _column: &Column, _declared: &DataType) -> bool {
        false
    }

    /// The one value of a query as text, as the database writes it in a comparison.
    async fn value(&mut self, sql: &str) -> Result<Option<String>>;

    /// The rows with these columns; streams.
    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>>;
}
