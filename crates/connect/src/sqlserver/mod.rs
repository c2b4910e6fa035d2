//! SQL Server and Azure SQL: tables, views and queries, by their own protocol (TDS).
//!
//! What the protocol's client cannot hold without a loss (money, times in thirds of hundredths) the server
//! makes decimals and exact times of; what has no column of its own is text. All queries of a load see one
//! state where the database allows snapshots, and change nothing.

mod config;
mod error;
mod session;
mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Field;
use async_trait::async_trait;
use chrono::DateTime;
use serde_json::Value;
use tidemill_core::{
    Cancellation, ConnectContext, Connector, Error, ErrorKind, ReadScope, Result, Source,
    TableDescription,
};

use crate::tables::{
    CursorValue, Database, DatabaseSource, Listed, RESTART, Session, TableSettings, decimal_text,
    described, text_of,
};
pub use config::{Encryption, SqlServerConfig};
use session::SqlServerSession;

/// The connector for SQL Server; its kind is `sqlserver`.
#[derive(Debug)]
pub struct SqlServerConnector;

#[async_trait]
impl Connector for SqlServerConnector {
    const KIND: &'static str = "sqlserver";
    type Config = SqlServerConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(config: SqlServerConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        config.check()?;
        let place = Place { config: Arc::new(config), project: context.project };
        Ok(Arc::new(DatabaseSource::new(place, context.name)))
    }

    fn check_table(settings: &Value) -> Result<()> {
        TableSettings::parse(settings).map(drop)
    }
}

/// One server.
#[derive(Clone)]
struct Place {
    config: Arc<SqlServerConfig>,
    project: PathBuf,
}

/// The name in brackets.
fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A text as a constant.
fn constant(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// Microseconds since 1970 as a text that becomes the type of the column which it is compared with: a
/// `datetime` takes no more than three digits of a second, and rounds them as it did its own.
fn moment(micros: i64, zone: &str) -> String {
    let digits = if micros % 1000 == 0 { "%.3f" } else { "%.6f" };
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => {
            let time = time.naive_utc().format(&format!("%Y-%m-%dT%H:%M:%S{digits}")).to_string();
            format!("'{time}{zone}'")
        }
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
            CursorValue::Decimal(value, scale) => decimal_text(*value, *scale),
            CursorValue::Date(days) => {
                match DateTime::from_timestamp(i64::from(*days) * 86_400, 0) {
                    Some(day) => format!("'{}'", day.format("%Y-%m-%d")),
                    None => "null".to_owned(),
                }
            }
            CursorValue::Timestamp(micros) => moment(*micros, ""),
            CursorValue::Instant(micros) => moment(*micros, "+00:00"),
            CursorValue::Text(text) => constant(text),
        }
    }

    fn as_cursor(&self, column: &str, values: &[&CursorValue]) -> String {
        let literals = values.iter().map(|value| self.literal(value));
        text_of(column, literals, |value| format!("cast({value} as nvarchar(4000))"))
    }

    fn patience(&self) -> &'static [Duration] {
        &RESTART
    }

    async fn ping(&self) -> Result<()> {
        let connection = self.config.connect(&self.project).await?;
        connection.close().await.map_err(|error| error::failure(error, ""))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let mut connection = self.config.connect(&self.project).await?;
        let rows = session::all(&mut connection, TABLES).await?;
        let column = |row: &tiberius::Row| {
            listed((0..8).map(|at| session::text(row, at)).collect::<Result<_>>()?)
        };
        let columns: Vec<Listed> = rows.iter().map(column).collect::<Result<_>>()?;
        Ok(described(columns))
    }

    async fn session(&self, cancel: &Cancellation, _streams: usize) -> Result<Box<dyn Session>> {
        let connection = tokio::select! {
            connection = self.config.connect(&self.project) => connection?,
            () = cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        };
        let begun = SqlServerSession::begin(connection, cancel.clone()).await;
        Ok(Box::new(begun.map_err(|error| error.with("database", self.config.place()))?))
    }
}

/// All columns of all tables and views, in the order of the tables: schema, table, column, type, its digits,
/// the place in the primary key, rows. All of it is text.
const TABLES: &str = "
select s.name, o.name, c.name,
    case when c.system_type_id = 240 then type_name(c.user_type_id) else type_name(c.system_type_id) end,
    cast(c.precision as nvarchar(12)), cast(c.scale as nvarchar(12)),
    (select cast(ic.key_ordinal as nvarchar(12)) from sys.indexes i
        join sys.index_columns ic on ic.object_id = i.object_id and ic.index_id = i.index_id
        where i.object_id = o.object_id and i.is_primary_key = 1 and ic.column_id = c.column_id),
    (select cast(sum(p.rows) as nvarchar(24)) from sys.partitions p
        where p.object_id = o.object_id and p.index_id in (0, 1))
from sys.objects o
join sys.schemas s on s.schema_id = o.schema_id
join sys.columns c on c.object_id = o.object_id
where o.type in ('U', 'V') and o.is_ms_shipped = 0
order by s.name, o.name, c.column_id";

/// A column, as the server lists it.
fn listed(row: Vec<Option<String>>) -> Result<Listed> {
    let malformed =
        || Error::new(ErrorKind::Internal, "the server's answer is not what was asked for");
    let row = <[Option<String>; 8]>::try_from(row).map_err(|_| malformed())?;
    let [schema, table, column, kind, digits, scale, place, count] = row;
    let (schema, table) = schema.zip(table).ok_or_else(malformed)?;
    let kind = match (kind.as_deref(), digits, scale) {
        (Some(kind @ ("decimal" | "numeric")), Some(digits), Some(scale)) => {
            format!("{kind}({digits},{scale})")
        }
        (kind, ..) => kind.unwrap_or("sql_variant").to_owned(),
    };
    let column = column.ok_or_else(malformed)?;
    Ok(Listed {
        table: if schema == "dbo" { table } else { format!("{schema}.{table}") },
        rows: count.and_then(|count| count.parse().ok()),
        field: Field::new(column, types::reading(&kind).data_type, true),
        place: place.and_then(|place| place.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let config = serde_json::from_value(
            serde_json::json!({"host": "db", "user": "u", "password": "p", "database": "d"}),
        );
        Place { config: Arc::new(config.unwrap()), project: PathBuf::new() }
    }

    #[test]
    fn names_and_values_are_written_as_the_server_reads_them() {
        for (value, expected) in [
            (CursorValue::Integer(-3), "-3"),
            (CursorValue::Decimal(-5, 2), "-0.05"),
            (CursorValue::Text("it's".to_owned()), "N'it''s'"),
            (CursorValue::Date(1), "'1970-01-02'"),
            // What a `datetime` has.
            (CursorValue::Timestamp(7_000), "'1970-01-01T00:00:00.007'"),
            (CursorValue::Timestamp(1), "'1970-01-01T00:00:00.000001'"),
            (CursorValue::Instant(1_000_000), "'1970-01-01T00:00:01.000+00:00'"),
        ] {
            assert_eq!(place().literal(&value), expected);
        }
        assert_eq!(place().table("sales.order]s"), "[sales].[order]]s]");
        assert_eq!(place().subquery("select 1 as a"), "(select 1 as a\n) as [t]");
        let text = CursorValue::Text("x".to_owned());
        assert_eq!(
            place().as_cursor("[a]", &[&text]),
            "case when [a] = N'x' then cast(N'x' as nvarchar(4000)) else cast([a] as nvarchar(4000)) end"
        );
    }

    #[test]
    fn tables_have_their_columns_and_keys() {
        let row = |texts: [&str; 8]| {
            texts.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect()
        };
        let columns = vec![
            row(["dbo", "orders", "line", "int", "10", "0", "2", "12"]),
            row(["dbo", "orders", "id", "bigint", "19", "0", "1", "12"]),
            row(["dbo", "orders", "price", "decimal", "12", "2", "", "12"]),
            row(["sales", "places", "spot", "geography", "0", "0", "", ""]),
        ];
        let tables = described(columns.into_iter().map(|row| listed(row).unwrap()));
        assert_eq!((tables[0].name.as_str(), tables[1].name.as_str()), ("orders", "sales.places"));
        assert_eq!(tables[0].primary_key, ["id", "line"]);
        assert_eq!((tables[0].rows, tables[1].rows), (Some(12), None));
        let price = tables[0].schema.as_ref().unwrap().field(2).data_type().to_string();
        assert_eq!(price, "Decimal128(12, 2)");
        assert!(listed(vec![None]).is_err());
    }
}
