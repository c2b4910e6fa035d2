//! One state of a database: a transaction that reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Statement};
use tidemill_core::{Cancellation, Error, ErrorKind, JSON, Notice, Result};

use super::error::failure;
use super::shared::{self, Readers, Shared};
use super::types::{is_bits, of_column};
use super::{Place, quoted};
use crate::tables::{Batch, Column, Order, Part, Select, Session};

pub(super) struct MySqlSession {
    pub(super) connection: Conn,
    place: Place,
    cancel: Cancellation,
    columns: Vec<Column>,
    /// Rows of a query are still to come.
    runs: Arc<AtomicBool>,
    /// Whether other connections may read parts of the table.
    shares: bool,
    readers: Option<Readers>,
    notices: Vec<Notice>,
}

impl Drop for MySqlSession {
    fn drop(&mut self) {
        if !self.runs.load(Ordering::Relaxed) {
            return;
        }
        // It is ended: to end the connection would wait for all of its rows.
        let (place, id) = (self.place.clone(), self.connection.id());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(mut other) = place.connect().await {
                    let _ = other.query_drop(format!("kill {id}")).await;
                    let _ = other.disconnect().await;
                }
            });
        }
    }
}

/// Begins a transaction that sees one state, and changes nothing.
pub(super) async fn start(connection: &mut Conn) -> Result<()> {
    for sql in [
        "set transaction isolation level repeatable read",
        "start transaction with consistent snapshot, read only",
    ] {
        connection.query_drop(sql).await.map_err(|error| failure(error, sql))?;
    }
    Ok(())
}

impl MySqlSession {
    /// A session whose transaction has not begun.
    pub(super) async fn connect(place: Place, cancel: Cancellation) -> Result<Self> {
        let connection = tokio::select! {
            connection = place.connect() => connection?,
            () = cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        };
        Ok(MySqlSession {
            connection,
            place,
            cancel,
            columns: Vec::new(),
            runs: Arc::default(),
            shares: false,
            readers: None,
            notices: Vec::new(),
        })
    }

    pub(super) async fn start(&mut self) -> Result<()> {
        start(&mut self.connection).await
    }

    pub(super) async fn begin(place: Place, cancel: Cancellation) -> Result<Self> {
        let mut session = MySqlSession::connect(place, cancel).await?;
        session.start().await?;
        Ok(session)
    }

    /// The same, and a table may be read by further connections, where the settings say so.
    pub(super) async fn begin_shared(place: Place, cancel: Cancellation) -> Result<Self> {
        let mut session = MySqlSession::begin(place, cancel).await?;
        session.shares = session.place.config.read_connections > 1;
        Ok(session)
    }

    /// Lets further connections read the table, if it is one and read as a whole.
    async fn share(&mut self, select: &Select) -> Result<()> {
        let whole = select.table.as_ref().filter(|_| select.conditions.is_empty());
        let Some(table) = whole.filter(|_| self.shares) else { return Ok(()) };
        let count = self.place.config.read_connections;
        let shared =
            shared::begin(&self.place, &self.cancel, &mut self.connection, table, count).await?;
        match shared {
            Shared::Readers(readers) => self.readers = Some(readers),
            Shared::Alone => {}
            Shared::Refused(message) => {
                let (code, object) = ("read-alone".to_owned(), Some(table.clone()));
                self.notices.push(Notice { code, message, object });
            }
        }
        Ok(())
    }

    /// The columns with what stands in the list of the query for each.
    fn listed(&self, columns: &[Column]) -> Vec<Column> {
        let expression = |column: &Column| {
            let known = self.columns.iter().find(|known| known.name == column.name);
            let as_text = known.is_some_and(|known| known.data_type != column.data_type);
            match &column.expression {
                None if as_text => Some(format!("cast({} as char)", quoted(&column.name))),
                expression => expression.clone(),
            }
        };
        columns
            .iter()
            .map(|column| Column { expression: expression(column), ..column.clone() })
            .collect()
    }

    /// The rows through this connection.
    pub(super) async fn rows_alone<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        let columns = self.listed(columns);
        let list: Vec<String> = columns
            .iter()
            .map(|column| column.expression.clone().unwrap_or_else(|| quoted(&column.name)))
            .collect();
        let sql = select.sql(&list.join(", "));
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), true))
            .collect();
        let mut batch = Batch::new(Arc::new(Schema::new(fields)), batch_rows)?;
        let (cancel, runs) = (self.cancel.clone(), self.runs.clone());
        runs.store(true, Ordering::Relaxed);
        let cancelled = || Error::new(ErrorKind::Cancelled, "cancelled");
        let rows = tokio::select! {
            rows = self.connection.exec_stream::<Row, _, _>(sql.as_str(), ()) => rows,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let mut rows = rows.map_err(|error| failure(error, &sql))?.fuse();
        let mut ended = Box::pin(async move { cancel.cancelled().await });
        Ok(Box::pin(futures::stream::poll_fn(move |context| {
            loop {
                if ended.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Some(Err(cancelled())));
                }
                if batch.is_full() {
                    return Poll::Ready(batch.finish().transpose());
                }
                match rows.poll_next_unpin(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(row))) => {
                        if let Err(error) = batch.take(row.unwrap().into_iter()) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Some(Err(failure(error, &sql))));
                    }
                    Poll::Ready(None) => {
                        runs.store(false, Ordering::Relaxed);
                        return Poll::Ready(batch.finish().transpose());
                    }
                }
            }
        })))
    }
}

/// The columns of a query.
pub(super) async fn described(connection: &mut Conn, sql: &str) -> Result<Vec<Column>> {
    let prepared: Statement = connection.prep(sql).await.map_err(|error| failure(error, sql))?;
    let columns = prepared
        .columns()
        .iter()
        .map(|column| {
            let data_type = of_column(column);
            let order = match data_type {
                DataType::Utf8 => Order::Database,
                _ => Order::Value,
            };
            let name = column.name_str().into_owned();
            let expression =
                is_bits(column).then(|| format!("cast({} as unsigned)", quoted(&name)));
            let is_json = column.column_type() == ColumnType::MYSQL_TYPE_JSON;
            let stored_type = is_json.then_some(JSON);
            Column { name, data_type, stored_type, order, expression }
        })
        .collect();
    connection.close(prepared).await.map_err(|error| failure(error, ""))?;
    Ok(columns)
}

#[async_trait]
impl Session for MySqlSession {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        self.columns = described(&mut self.connection, &select.sql("*")).await?;
        self.share(select).await?;
        Ok(self.columns.clone())
    }

    fn gives(&self, column: &Column, declared: &DataType) -> bool {
        // Everything but bytes has a text.
        *declared == DataType::Utf8 && column.data_type != DataType::Binary
    }

    async fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let found: Option<Option<String>> =
            self.connection.query_first(sql).await.map_err(|error| failure(error, sql))?;
        Ok(found.flatten())
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        match self.readers.take() {
            None => self.rows_alone(select, columns, batch_rows).await,
            Some(readers) => {
                let columns = self.listed(columns);
                Ok(readers.rows(select, &columns, batch_rows))
            }
        }
    }
}
