//! Queries of one state of a file.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::stream::BoxStream;
use rusqlite::Connection;
use tidemill_core::{Cancellation, Error, ErrorKind, Result, ResultExt};
use tokio::sync::mpsc;

use super::column::{Builder, Kinds, column_type, is_certain, order};
use super::{failure, quote};
use crate::stream::{blocking, of_parts};
use crate::tables::{Column, Part, Select, Session};

/// A batch ends with this many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// And with this many rows.
const BATCH_ROWS: usize = 32_768;

/// Columns looked at by one query: a row of SQLite has at most 2,000 columns.
const COLUMNS_AT_ONCE: usize = 300;

pub(super) struct SqliteSession {
    /// Taken while a query runs beside the runtime.
    connection: Option<Connection>,
    cancel: Cancellation,
}

impl SqliteSession {
    pub(super) fn new(connection: Connection, cancel: Cancellation) -> Self {
        SqliteSession { connection: Some(connection), cancel }
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = self
            .connection
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a query of this session still runs"))?;
        // Who cancels does not wait for the end of a long scan.
        let interrupt = connection.get_interrupt_handle();
        let cancel = self.cancel.clone();
        let watch = tokio::spawn(async move {
            cancel.cancelled().await;
            interrupt.interrupt();
        });
        let done = blocking(move || {
            let result = work(&connection);
            Ok((connection, result))
        })
        .await;
        watch.abort();
        let (connection, result) = done?;
        self.connection = Some(connection);
        self.cancel.check()?;
        result
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        let sql = select.sql("*");
        self.run(move |connection| {
            describe(connection, &sql, false)
                .map_err(|error| failure(error, "the query failed").with("query", sql))
        })
        .await
    }

    async fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let sql = sql.to_owned();
        self.run(move |connection| {
            connection
                .query_row(&format!("select cast(({sql}) as text)"), [], |row| row.get(0))
                .map_err(|error| failure(error, "the query failed").with("query", sql))
        })
        .await
    }

    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        let (sender, receiver) = mpsc::channel(1);
        let list: Vec<String> = columns
            .iter()
            .map(|column| match &column.expression {
                Some(expression) => format!("{expression} as {}", quote(&column.name)),
                None => quote(&column.name),
            })
            .collect();
        let (sql, columns) = (select.sql(&list.join(", ")), columns.to_vec());
        let limit = batch_rows.unwrap_or(BATCH_ROWS);
        let reading = self.run(move |connection| {
            read(connection, &sql, columns, limit, &sender).map_err(|error| match error {
                Stopped::Failed(error) => failure(error, "the query failed").with("query", sql),
                Stopped::Ours(error) => error,
            })
        });
        Ok(of_parts(reading, receiver))
    }
}

/// The columns of a query. The kinds of values that rows have are looked at where the declared type
/// leaves it open, or for all columns.
fn describe(connection: &Connection, sql: &str, all: bool) -> rusqlite::Result<Vec<Column>> {
    let statement = connection.prepare(sql)?;
    let declared: Vec<(String, String)> = statement
        .columns()
        .map(|column| (column.name().to_owned(), column.decl_type().unwrap_or_default().to_owned()))
        .collect();
    drop(statement);
    let mut kinds = vec![Kinds::default(); declared.len()];
    let open: Vec<usize> =
        (0..declared.len()).filter(|at| all || !is_certain(&declared[*at].1)).collect();
    for open in open.chunks(COLUMNS_AT_ONCE) {
        let list: Vec<String> = open.iter().map(|at| kinds_of(&declared[*at].0)).collect();
        let list = list.join(", ");
        connection.query_row(&format!("select {list} from ({sql})"), [], |row| {
            for (place, at) in open.iter().enumerate() {
                let seen = |kind| row.get::<_, Option<bool>>(place * 6 + kind);
                kinds[*at] = Kinds {
                    integer: seen(0)?.unwrap_or(false),
                    real: seen(1)?.unwrap_or(false),
                    text: seen(2)?.unwrap_or(false),
                    blob: seen(3)?.unwrap_or(false),
                    many: seen(4)?.unwrap_or(false),
                    large: seen(5)?.unwrap_or(false),
                };
            }
            Ok(())
        })?;
    }
    Ok(declared
        .into_iter()
        .zip(kinds)
        .map(|((name, declared), kinds)| {
            let data_type = column_type(&declared, kinds);
            Column {
                name,
                order: order(&data_type),
                data_type,
                stored_type: None,
                expression: None,
            }
        })
        .collect())
}

/// Six aggregates: which kinds of values a column has.
fn kinds_of(column: &str) -> String {
    let name = quote(column);
    format!(
        "max(typeof({name}) = 'integer'), max(typeof({name}) = 'real'), \
         max(typeof({name}) = 'text'), max(typeof({name}) = 'blob'), \
         max(typeof({name}) = 'integer' and {name} not in (0, 1)), \
         max(typeof({name}) = 'integer' and abs({name} / 2) > 4503599627370496)"
    )
}

/// What columns become when the value of one does not fit it.
fn widen(
    connection: &Connection,
    sql: &str,
    columns: &mut [Column],
    at: usize,
    wider: DataType,
) -> rusqlite::Result<()> {
    let was = columns[at].data_type.clone();
    for (column, found) in columns.iter_mut().zip(describe(connection, sql, true)?) {
        // Everything but bytes fits a text.
        if column.data_type != DataType::Utf8 {
            column.data_type = found.data_type;
        }
    }
    if columns[at].data_type == was {
        columns[at].data_type = wider;
    }
    Ok(())
}

enum Stopped {
    Failed(rusqlite::Error),
    Ours(Error),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Stopped::Failed(error)
    }
}

/// Reads all rows; from the beginning again whenever a value does not fit its column.
fn read(
    connection: &Connection,
    sql: &str,
    mut columns: Vec<Column>,
    batch_rows: usize,
    sender: &mpsc::Sender<Part>,
) -> Result<(), Stopped> {
    let gone = || Stopped::Ours(Error::new(ErrorKind::Cancelled, "nobody reads any more"));
    'again: loop {
        let schema = Arc::new(Schema::new(
            columns
                .iter()
                .map(|column| Field::new(&column.name, column.data_type.clone(), true))
                .collect::<Vec<_>>(),
        ));
        let mut builders: Vec<Builder> =
            columns.iter().map(|column| Builder::new(&column.data_type)).collect();
        let finish = |builders: &mut Vec<Builder>, rows: usize| {
            let arrays = builders.iter_mut().map(Builder::finish).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
                .or_error(ErrorKind::Internal, "a batch is malformed")
                .map_err(Stopped::Ours)
        };
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let (mut count, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            for (at, builder) in builders.iter_mut().enumerate() {
                match builder.push(row.get_ref(at)?) {
                    Some(size) => bytes += size,
                    None => {
                        let wider = builder.wider();
                        widen(connection, sql, &mut columns, at, wider)?;
                        sender.blocking_send(Part::Restart(columns.clone())).map_err(|_| gone())?;
                        continue 'again;
                    }
                }
            }
            count += 1;
            if count >= batch_rows || bytes >= BATCH_BYTES {
                let batch = finish(&mut builders, count)?;
                sender.blocking_send(Part::Rows(batch, Vec::new())).map_err(|_| gone())?;
                (count, bytes) = (0, 0);
            }
        }
        if count > 0 {
            let batch = finish(&mut builders, count)?;
            sender.blocking_send(Part::Rows(batch, Vec::new())).map_err(|_| gone())?;
        }
        return Ok(());
    }
}
