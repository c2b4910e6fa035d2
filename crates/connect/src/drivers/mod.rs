//! Databases through drivers of others, whatever the database is: what connections of type `odbc` and
//! `adbc` have in common.
//!
//! A driver is called on a thread beside the runtime ([`Link`]); which database it is ([`dialect`]) is known
//! when a first connection is made.

pub(crate) mod adbc;
mod dialect;
pub(crate) mod odbc;
mod options;
mod session;
mod sink;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tidemill_core::{Cancellation, Result, TableDescription};

use crate::stream::blocking;
use crate::tables::{
    Column, CursorValue, Database, Part, RESTART, Select, Session, largest_by_order, text_of,
};
pub(crate) use dialect::{Dbms, Dialect, Spelling};
use session::DriverSession;
pub(crate) use sink::DriverSink;

/// Rows of a small result, as texts.
pub(crate) type Texts = Vec<Vec<Option<String>>>;

/// Stops what runs, from another thread.
pub(crate) type Stop = Arc<dyn Fn() + Send + Sync>;

/// Does blocking work with what it is given, and gives that back; cancelled, the driver is stopped.
async fn beside<W: Send + 'static, T: Send + 'static>(
    mut with: W,
    stop: Stop,
    cancel: &Cancellation,
    work: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
) -> Result<(W, Result<T>)> {
    let cancelled = cancel.clone();
    let watch = tokio::spawn(async move {
        cancelled.cancelled().await;
        let _ = tokio::task::spawn_blocking(move || stop()).await;
    });
    let done = blocking(move || {
        let result = work(&mut with);
        Ok((with, result))
    })
    .await;
    watch.abort();
    let done = done?;
    cancel.check()?;
    Ok(done)
}

/// What is read.
pub(crate) struct Query {
    pub(crate) select: Select,
    pub(crate) columns: Vec<Column>,
    pub(crate) batch_rows: Option<usize>,
    pub(crate) cancel: Cancellation,
}

/// A connection through a driver. Its functions block.
pub(crate) trait Link: Send + 'static {
    /// The database.
    fn dialect(&self) -> &Dialect;

    fn stop(&self) -> Stop;

    /// Makes the driver begin a transaction with the next statement.
    fn begin_by_driver(&mut self) -> Result<()>;

    /// Begins a transaction that changes nothing, and sees one state where the database can do that.
    fn begin_read(&mut self) -> Result<()> {
        let (by_driver, statements) = self.dialect().begin_read();
        if by_driver {
            self.begin_by_driver()?;
        }
        for sql in statements {
            self.execute(sql)?;
        }
        Ok(())
    }

    /// Runs a statement without rows.
    fn execute(&mut self, sql: &str) -> Result<()>;

    fn texts(&mut self, sql: &str) -> Result<Texts>;

    /// The columns of what is read.
    fn describe(&mut self, select: &Select) -> Result<Vec<Column>>;

    /// Reads, until all is sent.
    fn read(&mut self, query: Query, send: &mut dyn FnMut(Part) -> Result<()>) -> Result<()>;

    /// Its tables and views.
    fn tables(&mut self) -> Result<Vec<TableDescription>>;
}

/// Where a driver connects to.
pub(crate) trait Opens: Clone + Send + Sync + 'static {
    type Link: Link;

    /// Connects; blocks.
    fn open(&self) -> Result<Self::Link>;
}

/// A database that is read through a driver.
pub(crate) struct Place<O> {
    opens: O,
    dialect: OnceLock<Dialect>,
}

impl<O: Opens> Place<O> {
    pub(crate) fn new(opens: O) -> Self {
        Place { opens, dialect: OnceLock::new() }
    }

    async fn open(&self) -> Result<O::Link> {
        let opens = self.opens.clone();
        blocking(move || opens.open()).await
    }

    /// As it was found, or standard SQL before.
    fn dialect(&self) -> Dialect {
        self.dialect.get().cloned().unwrap_or_default()
    }
}

#[async_trait]
impl<O: Opens> Database for Place<O> {
    async fn prepare(&self) -> Result<()> {
        if self.dialect.get().is_none() {
            let link = self.open().await?;
            let _ = self.dialect.set(link.dialect().clone());
            blocking(move || {
                drop(link);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    fn quote(&self, name: &str) -> String {
        self.dialect().quote(name)
    }

    fn subquery(&self, query: &str) -> String {
        self.dialect().subquery(query)
    }

    fn literal(&self, value: &CursorValue) -> String {
        self.dialect().literal(value)
    }

    fn largest(&self, column: &str, select: &Select, before: Option<&CursorValue>) -> String {
        let before: Vec<&CursorValue> = before.into_iter().collect();
        match self.dialect().limits() {
            true => largest_by_order(select, column, &self.as_cursor(column, &before)),
            false => select.sql(&format!("max({column})")),
        }
    }

    fn as_cursor(&self, column: &str, values: &[&CursorValue]) -> String {
        let dialect = self.dialect();
        let literals = values.iter().map(|value| dialect.literal(value));
        text_of(column, literals, |value| dialect.as_text(value))
    }

    fn patience(&self) -> &'static [Duration] {
        &RESTART
    }

    async fn ping(&self) -> Result<()> {
        let opens = self.opens.clone();
        blocking(move || opens.open().map(drop)).await
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let opens = self.opens.clone();
        blocking(move || opens.open()?.tables()).await
    }

    async fn session(&self, cancel: &Cancellation, _streams: usize) -> Result<Box<dyn Session>> {
        let opens = self.opens.clone();
        let link = blocking(move || {
            let mut link = opens.open()?;
            link.begin_read()?;
            Ok(link)
        })
        .await?;
        Ok(Box::new(DriverSession::new(link, cancel.clone())))
    }
}
