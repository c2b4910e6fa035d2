//! One state of a database: a transaction, and others that share its snapshot.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tidemill_core::{Cancellation, Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::types::Type;

use super::columns::Described;
use super::ranges::{self, Size};
use super::rows::{Layout, Rows};
use crate::postgres::catalog;
use crate::postgres::error;
use crate::postgres::pool::Postgres;
use crate::postgres::session::Connected;
use crate::tables::{Column, Part, Select, Session};

/// Batches that wait to be taken.
const WAITING: usize = 1;

/// One snapshot, and read only, whatever the database's default is.
const BEGIN: &str = "begin isolation level repeatable read read only";

/// Texts are the same whatever the database's settings are, and a connection that waits while others
/// read is not ended.
const SETTINGS: &str = "set local idle_in_transaction_session_timeout = 0; set local timezone = 'UTC'; \
    set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; \
    set local extra_float_digits = 1; set local bytea_output = 'hex'";

/// From this version on a server notices by itself that nobody listens any more.
pub(super) const NOTICES: (i32, &str) =
    (140_000, "set local client_connection_check_interval = '5s'");

/// The same, for all of a connection.
pub(super) fn session_settings() -> String {
    SETTINGS.replace("set local ", "set ")
}

/// The connections that loads of this process may make, for each database.
static LIMITS: LazyLock<Mutex<HashMap<String, Weak<Semaphore>>>> = LazyLock::new(Mutex::default);

fn limit(place: String, connections: usize) -> Arc<Semaphore> {
    let mut limits = LIMITS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = limits.get(&place).and_then(Weak::upgrade) {
        return there;
    }
    let limit = Arc::new(Semaphore::new(connections));
    limits.insert(place, Arc::downgrade(&limit));
    limit
}

/// A connection in the transaction, counted.
struct Reader {
    connected: Connected,
    postgres: Arc<Postgres>,
    cancel: Cancellation,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Waits for an answer. When the load is cancelled, the server is told to stop.
    async fn wait<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.cancel.check()?;
        tokio::select! {
            answer = answer => answer,
            () = self.cancel.cancelled() => {
                self.postgres.stop(&self.connected).await;
                Err(Error::new(ErrorKind::Cancelled, "cancelled"))
            }
        }
    }

    async fn run(&self, sql: &str) -> Result<()> {
        let client = &self.connected.client;
        self.wait(async {
            client.batch_execute(sql).await.map_err(|failed| explained(failed, sql))
        })
        .await
    }

    /// Runs what the transaction goes on without. (A savepoint that stays would keep the snapshot
    /// from being exported.)
    async fn try_run(&self, sql: &str) -> Result<()> {
        match self.run(&format!("savepoint attempt; {sql}; release savepoint attempt")).await {
            Err(error) if !self.connected.is_closed() && !self.cancel.is_cancelled() => {
                tracing::debug!(%error, sql, "goes on without");
                self.run("rollback to savepoint attempt; release savepoint attempt").await
            }
            done => done,
        }
    }
}

/// The error of a statement, with what helps.
fn explained(failed: tokio_postgres::Error, sql: &str) -> Error {
    helped(error::of_statement(failed, sql, 0))
}

/// Whether the error is this one of the server's.
fn is_state(error: &Error, state: &str) -> bool {
    error.context().iter().any(|(name, value)| *name == "sqlstate" && value == state)
}

fn helped(error: Error) -> Error {
    let help = if is_state(&error, "42501") {
        "the user of the connection needs `grant usage on schema …` and `grant select on …`"
    } else if is_state(&error, "40001") && error.message().contains("recovery") {
        "the server is a standby that had to remove rows which the load reads; set \
         `hot_standby_feedback = on` there, raise `max_standby_streaming_delay`, or read from the \
         primary"
    } else if is_state(&error, "57014") {
        "the server ended the statement after its `statement_timeout`; raise it in the connection: \
         `statement_timeout: 0`"
    } else {
        return error;
    };
    error.with("help", help)
}

pub(super) struct PostgresSession {
    reader: Arc<Reader>,
    limit: Arc<Semaphore>,
    /// How many may read beside each other.
    streams: usize,
    columns: Vec<Described>,
    size: Size,
    /// The conditions of the pieces that the table is read in.
    pieces: Vec<String>,
    /// What the others take part in the snapshot by.
    snapshot: Option<String>,
}

impl PostgresSession {
    pub(super) async fn new(
        postgres: Postgres,
        cancel: Cancellation,
        streams: usize,
        connections: usize,
    ) -> Result<Self> {
        let limit = limit(postgres.config().place(), connections);
        let postgres = Arc::new(postgres);
        let connect = async {
            let permit = limit.clone().acquire_owned().await.map_err(|closed| {
                Error::new(ErrorKind::Internal, "no connection may be made").because(closed)
            })?;
            Ok((postgres.connection().await?, permit))
        };
        let (connected, permit) = tokio::select! {
            made = connect => made?,
            () = cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        };
        let reader = Reader { connected, postgres, cancel, _permit: permit };
        Ok(PostgresSession {
            reader: Arc::new(reader),
            limit,
            streams: streams.max(1),
            columns: Vec::new(),
            size: Size::default(),
            pieces: Vec::new(),
            snapshot: None,
        })
    }

    /// Begins the transaction. A table is locked against changes of its columns and against
    /// `truncate` before its snapshot is taken, which would not see what these did.
    async fn begin(&mut self, select: &Select) -> Result<()> {
        let reader = self.reader.clone();
        if let Some(table) = &select.table {
            let size = ranges::size(&reader.connected.client, table);
            self.size = reader.wait(size).await.map_err(helped)?;
        }
        self.lock(select).await?;
        // With a condition the server knows best how to find the rows.
        self.pieces = match select.conditions.is_empty() {
            true => self.size.pieces(),
            false => Vec::new(),
        };
        if self.streams.min(self.pieces.len()) > 1 {
            match self.text("select pg_export_snapshot()").await {
                Ok(snapshot) => self.snapshot = snapshot,
                // Where none can be had, one connection reads everything.
                Err(error) if !reader.connected.is_closed() && !reader.cancel.is_cancelled() => {
                    tracing::debug!(%error, "the snapshot is not shared");
                    reader.run("rollback").await?;
                    self.lock(select).await?;
                }
                Err(error) => return Err(error),
            }
        }
        reader.run(SETTINGS).await?;
        if self.size.version >= NOTICES.0 {
            reader.try_run(NOTICES.1).await?;
        }
        Ok(())
    }

    async fn lock(&self, select: &Select) -> Result<()> {
        self.reader.run(BEGIN).await?;
        let Some(table) = select.table.as_ref().filter(|_| self.size.lockable) else {
            return Ok(());
        };
        // If it cannot be, the query says what is wrong, if anything is.
        self.reader.try_run(&format!("lock table {table} in access share mode")).await
    }

    fn described(&self, name: &str) -> Option<&Described> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The one text of a query.
    async fn text(&self, sql: &str) -> Result<Option<String>> {
        let client = &self.reader.connected.client;
        self.reader
            .wait(async {
                let failed = |failed| explained(failed, sql);
                let rows = client.query_typed(sql, &[]).await.map_err(failed)?;
                match rows.first() {
                    Some(row) => row.try_get(0).map_err(error::of_connection),
                    None => Ok(None),
                }
            })
            .await
    }

    /// The error about a table that is not there, with one that is meant perhaps.
    async fn missing(&self, select: &Select, error: Error) -> Error {
        let undefined = is_state(&error, "42P01");
        let Some(table) = select.table.as_ref().filter(|_| undefined) else { return error };
        let name = table.rsplit("\".\"").next().unwrap_or(table).trim_matches('"');
        let sql = "select string_agg(n.nspname || '.' || c.relname, ', ' order by n.nspname, c.relname) \
                   from (select * from pg_catalog.pg_class where lower(relname) = lower($1) limit 5) c \
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
                   where c.relkind in ('r', 'p', 'f', 'v', 'm') and n.nspname not like 'pg\\_%'";
        let client = &self.reader.connected.client;
        if client.batch_execute("rollback").await.is_err() {
            return error;
        }
        let found = catalog::ask(client, sql, &[name]).await;
        let found: Option<String> =
            found.ok().and_then(|rows| rows.first()?.try_get(0).ok().flatten());
        match found {
            Some(found) => error.with("help", format!("did you mean {found}?")),
            None => error.with("help", "`tidemill connection discover` lists the tables"),
        }
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        self.begin(select).await?;
        let sql = select.sql("*");
        let reader = &self.reader;
        let client = &reader.connected.client;
        let prepared = reader
            .wait(async { client.prepare(&sql).await.map_err(|failed| explained(failed, &sql)) })
            .await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.missing(select, error).await),
        };
        let has_money = prepared.columns().iter().any(|column| *column.type_() == Type::MONEY);
        let money_scale = match has_money {
            true => self.text("select scale(1::money::numeric)::text").await?,
            false => None,
        };
        let money_scale = money_scale.and_then(|scale| scale.parse().ok());
        self.columns =
            prepared.columns().iter().map(|column| Described::new(column, money_scale)).collect();
        Ok(self
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                data_type: column.data_type(),
                stored_type: column.stored_type(),
                order: column.order(),
                expression: None,
            })
            .collect())
    }

    fn gives(&self, column: &Column, declared: &DataType) -> bool {
        self.described(&column.name).is_some_and(|known| known.encoding(declared).is_some())
    }

    async fn value(&mut self, sql: &str) -> Result<Option<String>> {
        self.text(&format!("select ({sql})::text")).await
    }

    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        let mut list = Vec::with_capacity(columns.len());
        let mut encodings = Vec::with_capacity(columns.len());
        for column in columns {
            let (expression, encoding) = match &column.expression {
                Some(expression) => (expression.clone(), crate::postgres::Encoding::Text),
                None => {
                    let unknown = || {
                        Error::new(ErrorKind::Internal, "a column was not described")
                            .with("column", &column.name)
                    };
                    let known = self.described(&column.name).ok_or_else(unknown)?;
                    let encoding = known.encoding(&column.data_type).ok_or_else(unknown)?;
                    (known.expression(&catalog::quoted(&column.name), &encoding), encoding)
                }
            };
            list.push(expression);
            encodings.push(encoding);
        }
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), true))
            .collect();
        let layout = Arc::new(Layout { schema: Arc::new(Schema::new(fields)), encodings });
        let list = list.join(", ");
        let queries: Vec<String> = match self.pieces.is_empty() {
            true => vec![select.sql(&list)],
            false => {
                let pieces = self.pieces.iter();
                pieces.map(|piece| select.with(&list, std::slice::from_ref(piece))).collect()
            }
        };
        let more = self.streams.min(queries.len()) - 1;
        let work = Arc::new(Work { queries, next: AtomicUsize::new(0), layout, batch_rows });
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        let (reader, first) = (self.reader.clone(), work.clone());
        let to = sender.clone();
        tasks.spawn(async move { first.run(&reader, &to).await });
        for snapshot in self.snapshot.iter().cycle().take(more) {
            let Ok(permit) = self.limit.clone().try_acquire_owned() else { break };
            let (main, work, to) = (self.reader.clone(), work.clone(), sender.clone());
            let snapshot = snapshot.clone();
            tasks.spawn(async move {
                match joined(&main, permit, &snapshot).await {
                    Ok(reader) => work.run(&reader, &to).await,
                    // The others do its work.
                    Err(error) => tracing::debug!(%error, "one connection less reads the table"),
                }
            });
        }
        drop(sender);
        Ok(Box::pin(futures::stream::unfold(
            (receiver, tasks),
            |(mut receiver, mut tasks)| async {
                if let Some(part) = receiver.recv().await {
                    return Some((part, (receiver, tasks)));
                }
                // A task that panicked must not look like the end.
                while let Some(ended) = tasks.join_next().await {
                    if let Err(error) = ended {
                        let error =
                            Error::new(ErrorKind::Internal, "a reader failed").because(error);
                        return Some((Err(error), (receiver, tasks)));
                    }
                }
                None
            },
        )))
    }
}

/// A further connection that sees the same state.
async fn joined(main: &Reader, permit: OwnedSemaphorePermit, snapshot: &str) -> Result<Reader> {
    let reader = Reader {
        connected: main.postgres.connection().await?,
        postgres: main.postgres.clone(),
        cancel: main.cancel.clone(),
        _permit: permit,
    };
    reader.run(&format!("{BEGIN}; set transaction snapshot '{snapshot}'; {SETTINGS}")).await?;
    reader.try_run(NOTICES.1).await?;
    Ok(reader)
}

/// The queries of a read, and who takes which.
struct Work {
    queries: Vec<String>,
    next: AtomicUsize,
    layout: Arc<Layout>,
    batch_rows: Option<usize>,
}

impl Work {
    /// Takes one query after the other until there are no more.
    async fn run(&self, reader: &Reader, to: &mpsc::Sender<Result<Part>>) {
        let done = reader.wait(self.read(reader, to)).await;
        if let Err(error) = done {
            // Who listens no more needs no error.
            let _ = to.send(Err(error)).await;
        }
    }

    async fn read(&self, reader: &Reader, to: &mpsc::Sender<Result<Part>>) -> Result<()> {
        let gone = |_| Error::new(ErrorKind::Cancelled, "nobody reads any more");
        let mut rows = Rows::new(self.layout.clone(), self.batch_rows);
        while let Some(query) = self.queries.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let sql = format!("copy ({query}) to stdout (format binary)");
            let failed = |failed| explained(failed, &sql);
            let data = reader.connected.client.copy_out(sql.as_str()).await.map_err(failed)?;
            let mut data = std::pin::pin!(data);
            rows.begin();
            while let Some(bytes) = data.next().await {
                if let Some(part) = rows.take(&bytes.map_err(failed)?)? {
                    to.send(Ok(part)).await.map_err(gone)?;
                }
            }
        }
        if let Some(part) = rows.finish()? {
            to.send(Ok(part)).await.map_err(gone)?;
        }
        Ok(())
    }
}
