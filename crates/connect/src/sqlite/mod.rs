//! SQLite databases: files that other programs keep their data in.
//!
//! A column of SQLite may hold values of any kind whatever its declared type. Types are therefore
//! found from both: what the column is declared as, and which kinds of values the rows to be read
//! have (one scan). All queries of a read see one state of the file, and nothing is ever written by
//! a read. A delivery is one transaction.

mod column;
mod session;
mod sink;
pub(crate) mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema};
use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{
    Cancellation, ConnectContext, Connector, Error, ErrorKind, ReadScope, Result, Sink, Source,
    TableDescription,
};

use crate::stream::blocking;
use crate::tables::{CursorValue, Database, DatabaseSource, Session, TableSettings};
use session::SqliteSession;
use sink::SqliteSink;

/// How long a read waits for a writer that locks the whole file.
const BUSY: Duration = Duration::from_secs(30);

/// The connector for SQLite; its kind is `sqlite`.
#[derive(Debug)]
pub struct SqliteConnector;

/// The settings of a connection to a SQLite file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The file, relative to the project.
    pub path: PathBuf,
}

#[async_trait]
impl Connector for SqliteConnector {
    const KIND: &'static str = "sqlite";
    type Config = SqliteConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(config: SqliteConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let database = Sqlite { path: context.project.join(&config.path), shown: config.path };
        Ok(Arc::new(DatabaseSource::new(database, context.name)))
    }

    fn sink(config: SqliteConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(SqliteSink { path: context.project.join(&config.path), shown: config.path }))
    }

    fn check_table(settings: &Value) -> Result<()> {
        TableSettings::parse(settings).map(drop)
    }
}

/// One file.
#[derive(Debug, Clone)]
struct Sqlite {
    path: PathBuf,
    /// As the connection writes it.
    shown: PathBuf,
}

/// A failure of SQLite as one of ours.
fn failure(error: rusqlite::Error, what: &str) -> Error {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, NotADatabase, OperationInterrupted, OutOfMemory,
        PermissionDenied,
    };
    let kind = match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => ErrorKind::Unavailable,
        Some(PermissionDenied) => ErrorKind::Denied,
        Some(OutOfMemory) => ErrorKind::Resources,
        Some(OperationInterrupted) => ErrorKind::Cancelled,
        Some(CannotOpen | NotADatabase) => ErrorKind::Config,
        Some(rusqlite::ErrorCode::Unknown) => ErrorKind::Query,
        _ => ErrorKind::Io,
    };
    Error::new(kind, what).because(error)
}

impl Sqlite {
    fn open(&self) -> Result<Connection> {
        if !self.path.is_file() {
            return Err(Error::new(ErrorKind::NotFound, "the SQLite file does not exist")
                .with("file", self.shown.display()));
        }
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY)?;
            // One state for all queries: it begins with the first read.
            connection.execute_batch("begin")?;
            connection.query_row("select count(*) from sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        open().map_err(|error| {
            failure(error, "the SQLite file cannot be read").with("file", self.shown.display())
        })
    }
}

#[async_trait]
impl Database for Sqlite {
    fn quote(&self, name: &str) -> String {
        quote(name)
    }

    fn literal(&self, value: &CursorValue) -> String {
        match value {
            CursorValue::Integer(value) => value.to_string(),
            CursorValue::Text(text) => format!("'{}'", text.replace('\'', "''")),
            CursorValue::Decimal(value, scale) => format!("{value}e-{scale}"),
            // Dates and times are compared by SQLite itself, as text.
            CursorValue::Date(value) => value.to_string(),
            CursorValue::Timestamp(value) | CursorValue::Instant(value) => value.to_string(),
        }
    }

    async fn ping(&self) -> Result<()> {
        let database = self.clone();
        blocking(move || database.open().map(drop)).await
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let database = self.clone();
        blocking(move || {
            let connection = database.open()?;
            tables(&connection)
                .map_err(|error| failure(error, "the tables of the SQLite file cannot be listed"))
        })
        .await
    }

    async fn session(&self, cancel: &Cancellation, _streams: usize) -> Result<Box<dyn Session>> {
        let database = self.clone();
        let connection = blocking(move || database.open()).await?;
        Ok(Box::new(SqliteSession::new(connection, cancel.clone())))
    }
}

/// Tables and views with their columns, keys and rows.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<TableDescription>> {
    let mut names = connection.prepare(
        "select name from sqlite_master where type in ('table', 'view') and name not like \
         'sqlite\\_%' escape '\\' order by name",
    )?;
    let names: Vec<String> =
        names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut columns =
        connection.prepare("select name, type, pk from pragma_table_info(?1) order by cid")?;
    let mut described = Vec::with_capacity(names.len());
    for name in names {
        let mut fields = Vec::new();
        let mut key: Vec<(i64, String)> = Vec::new();
        let mut rows = columns.query([&name])?;
        while let Some(row) = rows.next()? {
            let (column, declared, place): (String, String, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if place > 0 {
                key.push((place, column.clone()));
            }
            fields.push(Field::new(column, column::empty_type(&declared), true));
        }
        key.sort();
        let quoted = quote(&name);
        let rows: i64 =
            connection
                .query_row(&format!("select count(*) from {quoted}"), [], |row| row.get(0))?;
        described.push(TableDescription {
            name,
            schema: Some(Arc::new(Schema::new(fields))),
            rows: u64::try_from(rows).ok(),
            estimated: false,
            primary_key: key.into_iter().map(|(_, column)| column).collect(),
        });
    }
    Ok(described)
}

/// The name in quotes.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
