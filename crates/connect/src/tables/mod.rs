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

pub(crate) use convert::declared_field;
pub(crate) use cursor::{CursorValue, Order};
pub(crate) use source::DatabaseSource;

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
}

/// A part of what a query gives.
pub(crate) enum Part {
    /// Rows, with the columns that were described.
    Rows(RecordBatch),
    /// A value did not fit its column: all rows so far are void, and come again with these columns.
    Restart(Vec<Column>),
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

    /// Whether it can be reached.
    async fn ping(&self) -> Result<()>;

    /// Its tables and views.
    async fn tables(&self) -> Result<Vec<TableDescription>>;

    /// Begins a transaction that sees one state of the database, and changes nothing.
    async fn session(&self, cancel: &Cancellation) -> Result<Box<dyn Session>>;
}

/// One state of a database.
#[async_trait]
pub(crate) trait Session: Send {
    /// The columns of a query.
    async fn columns(&mut self, sql: &str) -> Result<Vec<Column>>;

    /// The one value of a query as text, as the database writes it in a comparison.
    async fn value(&mut self, sql: &str) -> Result<Option<String>>;

    /// The rows of a query, whose columns are these; streams.
    async fn rows<'a>(
        &'a mut self,
        sql: &str,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>>;
}
