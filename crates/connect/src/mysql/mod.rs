//! MySQL and MariaDB: tables, views and queries, read in one transaction, and their log of changes; and as a
//! sink.

mod config;
mod error;
mod log;
mod session;
mod shared;
pub(crate) mod sink;
mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Field;
use async_trait::async_trait;
use chrono::DateTime;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::Value;
use tidemill_core::{
    Cancellation, ConnectContext, Connector, ReadScope, Result, Sink, Source, TableDescription,
};

use crate::tables::{
    CursorValue, Database, DatabaseSource, Listed, LogRequest, RESTART, Select, Session,
    TableSettings, decimal_text, described, largest_by_order, text_of,
};
pub use config::{MySqlConfig, SslMode};
use error::failure;
use session::MySqlSession;

/// The connector for MySQL and MariaDB; its kind is `mysql`.
#[derive(Debug)]
pub struct MySqlConnector;

#[async_trait]
impl Connector for MySqlConnector {
    const KIND: &'static str = "mysql";
    type Config = MySqlConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(config: MySqlConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let place = Place { config: Arc::new(config), project: context.project };
        Ok(Arc::new(DatabaseSource::new(place, context.name)))
    }

    fn sink(config: MySqlConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let place = Place { config: Arc::new(config), project: context.project };
        Ok(Arc::new(sink::MySqlSink { place, name: context.name }))
    }

    fn check_table(settings: &Value) -> Result<()> {
        let (_, settings) = log::take_settings(settings)?;
        TableSettings::parse(&settings).map(drop)
    }
}

/// One server.
#[derive(Clone)]
struct Place {
    config: Arc<MySqlConfig>,
    project: PathBuf,
}

impl Place {
    async fn connect(&self) -> Result<Conn> {
        self.config.connect(&self.project).await
    }
}

/// The name in backticks.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The parts of a name in backticks.
fn unquoted(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = name.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        match c {
            '`' if inside && chars.peek() == Some(&'`') => {
                chars.next();
                parts.last_mut().into_iter().for_each(|part| part.push('`'));
            }
            '`' => inside = !inside,
            '.' if !inside => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    parts
}

/// A text as a constant.
fn constant(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

/// Microseconds since 1970 as MySQL reads them.
fn moment(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => format!("timestamp'{}'", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f")),
        None => "null".to_owned(),
    }
}

#[async_trait]
impl Database for Place {
    fn quote(&self, name: &str) -> String {
        quoted(name)
    }

    fn literal(&self, value: &CursorValue) -> String {
        match value {
            CursorValue::Integer(value) => value.to_string(),
            // With a point it is exact; with an exponent it would be a double.
            CursorValue::Decimal(value, scale) => decimal_text(*value, *scale),
            CursorValue::Date(days) => {
                let date = moment(i64::from(*days) * 86_400_000_000);
                format!("date({date})")
            }
            CursorValue::Timestamp(micros) | CursorValue::Instant(micros) => moment(*micros),
            CursorValue::Text(text) => constant(text),
        }
    }

    fn largest(&self, column: &str, select: &Select, before: Option<&CursorValue>) -> String {
        let before: Vec<&CursorValue> = before.into_iter().collect();
        largest_by_order(select, column, &self.as_cursor(column, &before))
    }

    fn as_cursor(&self, column: &str, values: &[&CursorValue]) -> String {
        let literals = values.iter().map(|value| self.literal(value));
        text_of(column, literals, |value| format!("cast({value} as char)"))
    }

    fn patience(&self) -> &'static [Duration] {
        &RESTART
    }

    async fn ping(&self) -> Result<()> {
        let connection = self.connect().await?;
        connection.disconnect().await.map_err(|error| failure(error, ""))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let mut connection = self.connect().await?;
        let tables = tables(&mut connection).await?;
        let _ = connection.disconnect().await;
        Ok(tables)
    }

    fn table_settings(&self, written: &Value) -> Result<Value> {
        log::take_settings(written).map(|(_, rest)| rest)
    }

    fn has_log(&self) -> bool {
        true
    }

    async fn log_session(&self, request: LogRequest<'_>) -> Result<Box<dyn Session>> {
        Ok(Box::new(log::LogSession::new(self.clone(), &request)?))
    }

    async fn session(&self, cancel: &Cancellation, _streams: usize) -> Result<Box<dyn Session>> {
        Ok(Box::new(MySqlSession::begin_shared(self.clone(), cancel.clone()).await?))
    }
}

/// All columns of all tables and views, in the order of the tables, with the place of each in the key.
const TABLES: &str = "
select c.table_schema, c.table_name, c.table_schema = database(), cast(t.table_rows as unsigned), c.column_name, lower(c.data_type),
    lower(c.column_type), c.numeric_precision, c.numeric_scale, k.seq_in_index
from information_schema.columns c
join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
left join information_schema.statistics k on k.table_schema = c.table_schema and k.table_name = c.table_name
    and k.column_name = c.column_name and k.index_name = 'PRIMARY'
where c.table_schema not in ('mysql', 'sys', 'information_schema', 'performance_schema')
    and (database() is null or c.table_schema = database())
order by c.table_schema, c.table_name, c.ordinal_position";

type Described = (
    String,
    String,
    Option<bool>,
    Option<u64>,
    String,
    String,
    String,
    Option<u32>,
    Option<u32>,
    Option<u32>,
);

async fn tables(connection: &mut Conn) -> Result<Vec<TableDescription>> {
    let rows: Vec<Described> =
        connection.query(TABLES).await.map_err(|error| failure(error, TABLES))?;
    let listed =
        |(schema, table, own, count, column, kind, whole, digits, scale, place): Described| {
            let table = match own {
                Some(true) => table,
                _ => format!("{schema}.{table}"),
            };
            let field = Field::new(column, types::of_words(&kind, &whole, digits, scale), true);
            Listed { table, rows: count, field, place }
        };
    Ok(described(rows.into_iter().map(listed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_mysql_reads_them() {
        let config = serde_json::from_value(serde_json::json!({"user": "u"})).unwrap();
        let place = Place { config: Arc::new(config), project: PathBuf::new() };
        for (value, expected) in [
            (CursorValue::Decimal(-5, 2), "-0.05"),
            (CursorValue::Decimal(1230, 2), "12.30"),
            (CursorValue::Decimal(7, 0), "7"),
            (CursorValue::Text("a'b\\".to_owned()), "'a\\'b\\\\'"),
            (CursorValue::Date(1), "date(timestamp'1970-01-02 00:00:00.000000')"),
            (CursorValue::Instant(1), "timestamp'1970-01-01 00:00:00.000001'"),
        ] {
            assert_eq!(place.literal(&value), expected);
        }
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(unquoted("`a.b`.`c``d`"), ["a.b", "c`d"]);
    }
}
