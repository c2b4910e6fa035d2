//! Tables of databases: what the connectors to databases share.
//!
//! A database says how it writes names and values, which columns a query has, and gives its rows,
//! all in one snapshot (`Database`, `Session`). What is read, from where on, what was read
//! before, names of columns and declared types are the same for all of them and stand here.

mod convert;
mod cursor;
mod settings;
mod source;

pub use settings::{Lookback, TableSettings};

pub(crate) use convert::{declared_field, rejected};
pub(crate) use cursor::{CursorValue, Order, TablePosition, Ties, Tracker, Values};
pub(crate) use source::DatabaseSource;

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::stream::BoxStream;
use tidemill_core::{Cancellation, Result, TableDescription};

/// A column of a query, as the database names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
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

/// A part of what a query gives.
pub(crate) enum Part {
    /// Rows, with the columns that were described. Values that have no place in their column are
    /// NULL there, and named.
    Rows(RecordBatch, Vec<Misfit>),
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

/// A database whose tables can be read by queries.
#[async_trait]
pub(crate) trait Database: Send + Sync + 'static {
    /// The name in quotes.
    fn quote(&self, name: &str) -> String;

    /// The name of a table as people write it (`public.orders`), in quotes.
    fn table(&self, name: &str) -> String {
        name.split('.').map(|part| self.quote(part)).collect::<Vec<_>>().join(".")
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

    /// Begins a transaction that sees one state of the database, and changes nothing.
    async fn session(&self, cancel: &Cancellation, streams: usize) -> Result<Box<dyn Session>>;
}

/// One state of a database.
#[async_trait]
pub(crate) trait Session: Send {
    /// The columns of what is read.
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>>;

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
