//! PostgreSQL as a source: tables, views and queries, read by binary `COPY`.
//!
//! A large table is read in pieces of pages beside each other, by connections that share one exported
//! snapshot, so that a load sees one state however many read it. Nothing is written to the database,
//! and nothing stays there; but a table whose changes are followed (`log`) has a publication and a replication slot.

mod columns;
mod discover;
mod kept;
mod log;
mod ranges;
mod rows;
mod session;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Datelike};
use serde_json::Value;
use tidemill_core::{
    Cancellation, ConnectContext, Connector, Error, ErrorKind, Notice, ReadScope, Result, Sink,
    Source, TableDescription,
};

use super::pool::Postgres;
use super::sink::PostgresSink;
use crate::tables::{
    CursorValue, Database, DatabaseSource, LogRequest, PublishedLogs, RESTART, Select, Session,
    TableSettings, largest_by_order, text_of,
};
pub(super) use columns::name_parts;
use kept::Kept;
use session::PostgresSession;
pub use settings::PostgresSettings;

/// The connector for PostgreSQL; its kind is `postgres`.
#[derive(Debug)]
pub struct PostgresConnector;

#[async_trait]
impl Connector for PostgresConnector {
    const KIND: &'static str = "postgres";
    type Config = PostgresSettings;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(settings: PostgresSettings, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let database = Place { settings, project: context.project };
        Ok(Arc::new(DatabaseSource::new(database, context.name)))
    }

    fn sink(settings: PostgresSettings, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let place = Place { settings, project: context.project };
        Ok(Arc::new(PostgresSink { place, name: context.name }))
    }

    fn check_table(settings: &Value) -> Result<()> {
        let (_, settings) = log::take_settings(settings)?;
        TableSettings::parse(&settings).map(drop)
    }
}

/// One database.
pub(super) struct Place {
    settings: PostgresSettings,
    project: PathBuf,
}

impl Place {
    /// With its secrets, which may be asked of a command.
    pub(super) async fn open(&self) -> Result<Postgres> {
        let (settings, project) = (self.settings.clone(), self.project.clone());
        let config = tokio::task::spawn_blocking(move || settings.config(&project)).await;
        match config {
            Ok(config) => Postgres::new(config?),
            Err(error) => {
                Err(Error::new(ErrorKind::Internal, "a secret was not fetched").because(error))
            }
        }
    }
}

impl Place {
    fn kept(&self) -> Arc<Kept> {
        Kept::of(self.settings.identity, self.project.clone())
    }
}

/// A text as a constant.
fn constant(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Microseconds since 1970 as PostgreSQL reads them.
fn time(micros: i64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(micros)?.naive_utc();
    let (year, after) = match time.year() {
        year @ ..=0 => (1 - year, " BC"),
        year => (year, ""),
    };
    Some(format!("{year:04}-{}{after}", time.format("%m-%d %H:%M:%S%.6f")))
}

#[async_trait]
impl Database for Place {
    fn quote(&self, name: &str) -> String {
        super::catalog::quoted(name)
    }

    fn table(&self, name: &str) -> String {
        let parts = columns::name_parts(name);
        parts.iter().map(|part| self.quote(part)).collect::<Vec<_>>().join(".")
    }

    fn literal(&self, value: &CursorValue) -> String {
        match value {
            CursorValue::Integer(value) => value.to_string(),
            CursorValue::Decimal(value, scale) => format!("{value}e-{scale}"),
            CursorValue::Date(days) => format!("(date '1970-01-01' + {days})"),
            CursorValue::Timestamp(micros) => match time(*micros) {
                Some(text) => format!("timestamp '{text}'"),
                None => format!("(timestamp '1970-01-01' + interval '{micros} us')"),
            },
            CursorValue::Instant(micros) => match time(*micros) {
                Some(text) => format!("timestamptz '{text} UTC'"),
                None => format!("(timestamptz '1970-01-01 UTC' + interval '{micros} us')"),
            },
            // Without a type it takes that of the column.
            CursorValue::Text(text) => constant(text),
        }
    }

    fn largest(&self, column: &str, select: &Select, before: Option<&CursorValue>) -> String {
        let before: Vec<&CursorValue> = before.into_iter().collect();
        largest_by_order(select, column, &self.as_cursor(column, &before))
    }

    fn as_cursor(&self, column: &str, values: &[&CursorValue]) -> String {
        let literals = values.iter().map(|value| self.literal(value));
        text_of(column, literals, |value| format!("{value}::text"))
    }

    fn patience(&self) -> &'static [Duration] {
        &RESTART
    }

    async fn ping(&self) -> Result<()> {
        self.open().await?.connection().await.map(drop)
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let connected = self.open().await?.connection().await?;
        discover::tables(&connected.client).await
    }

    fn table_settings(&self, written: &Value) -> Result<Value> {
        log::take_settings(written).map(|(_, rest)| rest)
    }

    fn has_log(&self) -> bool {
        true
    }

    async fn log_session(&self, request: LogRequest<'_>) -> Result<Box<dyn Session>> {
        let kept = self.kept();
        let postgres = kept.database(|| self.open()).await?;
        let connections = self.settings.connections;
        Ok(Box::new(log::LogSession::new(postgres, kept, &request, connections)?))
    }

    fn left_of_log(&self, position: &Value) -> Option<String> {
        log::left(position)
    }

    async fn acknowledge(
        &self,
        position: &Value,
        published: &PublishedLogs<'_>,
    ) -> Result<Vec<Notice>> {
        let kept = self.kept();
        let postgres = kept.database(|| self.open()).await?;
        let told = log::acknowledge(&postgres, &kept, position, published).await;
        told.inspect_err(|_| kept.forget())
    }

    async fn abandon(&self, table: &str) -> Result<()> {
        let kept = self.kept();
        let postgres = kept.database(|| self.open()).await?;
        log::abandon(&postgres, &kept, table).await
    }

    async fn session(&self, cancel: &Cancellation, streams: usize) -> Result<Box<dyn Session>> {
        let postgres = self.open().await?;
        let session =
            PostgresSession::new(postgres, cancel.clone(), streams, self.settings.connections);
        Ok(Box::new(session.await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_postgresql_reads_them() {
        assert_eq!(time(0).unwrap(), "1970-01-01 00:00:00.000000");
        assert_eq!(time(-62_135_596_800_000_001).unwrap(), "0001-12-31 23:59:59.999999 BC");
        assert_eq!(constant(r"a'b\"), r"E'a''b\\'");
        assert_eq!(constant("a'b"), "'a''b'");
    }
}
