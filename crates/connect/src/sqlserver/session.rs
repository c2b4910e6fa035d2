//! One state of a database, as far as it has them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tiberius::{ColumnData, QueryItem, QueryStream, Row};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};

use super::config::Connection;
use super::error::failure;
use super::types::{as_text, reading};
use super::{constant, quoted};
use crate::tables::{Batch, Column, Order, Part, Select, Session};

pub(super) struct SqlServerSession {
    connection: Connection,
    cancel: Cancellation,
    columns: Vec<Column>,
}

/// What each session begins with: texts as they are, dates by their form alone, and nobody waited for longer
/// than a load may take.
const SETTINGS: &str = "set quoted_identifier on; set ansi_nulls on; set ansi_padding on; set ansi_warnings on; \
     set arithabort on; set concat_null_yields_null on; set language us_english; set dateformat ymd; set textsize 2147483647; \
     set nocount on";

/// Whether the database has states that are read beside writers.
const HAS_SNAPSHOTS: &str = "select cast(snapshot_isolation_state as nvarchar(4)) from sys.databases where database_id = db_id()";

const BEGIN: &str = "set transaction isolation level snapshot; begin transaction";

impl SqlServerSession {
    /// Begins a transaction that sees one state, where the database allows it; changes nothing.
    pub(super) async fn begin(mut connection: Connection, cancel: Cancellation) -> Result<Self> {
        run(&mut connection, SETTINGS).await?;
        let allowed = all(&mut connection, HAS_SNAPSHOTS).await?;
        let allowed = allowed.first().map(|row| text(row, 0)).transpose()?.flatten();
        if allowed.as_deref() == Some("1") {
            run(&mut connection, BEGIN).await?;
        }
        Ok(SqlServerSession { connection, cancel, columns: Vec::new() })
    }
}

/// Runs statements that give no rows.
pub(super) async fn run(connection: &mut Connection, sql: &str) -> Result<()> {
    let done = connection.simple_query(sql).await.map_err(|error| failure(error, sql))?;
    done.into_results().await.map(drop).map_err(|error| failure(error, sql))
}

/// All rows of a small query.
pub(super) async fn all(connection: &mut Connection, sql: &str) -> Result<Vec<Row>> {
    let rows = connection.simple_query(sql).await.map_err(|error| failure(error, sql))?;
    rows.into_first_result().await.map_err(|error| failure(error, sql))
}

/// A column of a row as text.
pub(super) fn text(row: &Row, at: usize) -> Result<Option<String>> {
    let malformed = |error| {
        Error::new(ErrorKind::Internal, "the server's answer is not what was asked for")
            .because(error)
    };
    let found: Option<&str> = row.try_get(at).map_err(malformed)?;
    Ok(found.map(str::to_owned))
}

/// The query that gives the columns of another one: their names and types.
fn described(sql: &str) -> String {
    format!(
        "select name, system_type_name, cast(error_number as varchar(12)), error_message \
         from sys.dm_exec_describe_first_result_set({}, null, 0) \
         where is_hidden = 0 or is_hidden is null order by column_ordinal",
        constant(sql)
    )
}

/// What stands in the list of the query for a column.
fn listed(column: &Column, known: &[Column]) -> String {
    let name = quoted(&column.name);
    let before = known.iter().find(|known| known.name == column.name);
    match before {
        Some(before) if before.data_type != column.data_type => {
            as_text(&before.data_type).replace("{}", &name)
        }
        _ => column.expression.clone().unwrap_or(name),
    }
}

#[async_trait]
impl Session for SqlServerSession {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        let sql = select.sql("*");
        let mut columns = Vec::new();
        for row in all(&mut self.connection, &described(&sql)).await? {
            if let Some(message) = text(&row, 3)? {
                let code = text(&row, 2)?.unwrap_or_default();
                let kind = if code == "208" { ErrorKind::NotFound } else { ErrorKind::Query };
                return Err(Error::new(kind, message).with("code", code).with("sql", sql));
            }
            let Some(name) = text(&row, 0)?.filter(|name| !name.is_empty()) else {
                return Err(Error::new(
                    ErrorKind::Config,
                    "a column of the query has no name; write `… as name`",
                )
                .with("sql", sql));
            };
            // A type of users in .NET has no name of the system's.
            let kind = text(&row, 1)?.unwrap_or_else(|| "sql_variant".to_owned());
            let reading = reading(&kind);
            let order = match reading.data_type {
                DataType::Utf8 => Order::Database,
                _ => Order::Value,
            };
            let expression = reading.expression.map(|it| it.replace("{}", &quoted(&name)));
            columns.push(Column {
                name,
                data_type: reading.data_type,
                stored_type: None,
                order,
                expression,
            });
        }
        self.columns.clone_from(&columns);
        Ok(columns)
    }

    fn gives(&self, _column: &Column, declared: &DataType) -> bool {
        *declared == DataType::Utf8
    }

    async fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let sql = format!("select cast(v.x as nvarchar(4000)) from ({sql}) as v(x)");
        match all(&mut self.connection, &sql).await?.first() {
            None => Ok(None),
            Some(row) => text(row, 0),
        }
    }

    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        let list: Vec<String> =
            columns.iter().map(|column| listed(column, &self.columns)).collect();
        let sql = select.sql(&list.join(", "));
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = Batch::new(schema, batch_rows)?;
        let cancel = self.cancel.clone();
        let cancelled = || Error::new(ErrorKind::Cancelled, "cancelled");
        let rows = tokio::select! {
            rows = self.connection.simple_query(sql.clone()) => rows,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let rows = rows.map_err(|error| failure(error, &sql))?;
        let reader = Reader { rows, batch, cancel, sql, ended: false };
        Ok(Box::pin(futures::stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.part().await?.map(|part| (part, reader)))
        })))
    }
}

/// The rows of a query that come.
struct Reader<'a> {
    rows: QueryStream<'a>,
    batch: Batch,
    cancel: Cancellation,
    sql: String,
    ended: bool,
}

impl Reader<'_> {
    fn take(&mut self, row: &Row) -> Result<()> {
        let values: Vec<&ColumnData<'static>> = row.cells().map(|(_, value)| value).collect();
        self.batch.take(values.into_iter())
    }

    async fn part(&mut self) -> Result<Option<Part>> {
        while !self.ended && !self.batch.is_full() {
            let next = tokio::select! {
                next = self.rows.next() => next,
                () = self.cancel.cancelled() => {
                    return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
                }
            };
            match next {
                Some(Ok(QueryItem::Row(row))) => self.take(&row)?,
                Some(Ok(QueryItem::Metadata(_))) => {}
                Some(Err(error)) => return Err(failure(error, &self.sql)),
                None => self.ended = true,
            }
        }
        self.batch.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_those_of_the_server() {
        let sql = described("select * from [dbo].[it's]");
        assert!(sql.contains(
            "dm_exec_describe_first_result_set(N'select * from [dbo].[it''s]', null, 0)"
        ));
        let column = |name: &str, data_type: DataType, expression: Option<&str>| Column {
            name: name.to_owned(),
            data_type,
            stored_type: None,
            order: Order::Value,
            expression: expression.map(str::to_owned),
        };
        let known = [
            column("price", DataType::Decimal128(19, 4), Some("cast([price] as decimal(19,4))")),
            column("at", DataType::Date32, None),
        ];
        assert_eq!(listed(&known[0], &known), "cast([price] as decimal(19,4))");
        assert_eq!(listed(&known[1], &known), "[at]");
        // Declared as text.
        let text = |name: &str| column(name, DataType::Utf8, None);
        assert_eq!(listed(&text("at"), &known), "convert(nvarchar(40), [at], 126)");
        assert_eq!(listed(&text("price"), &known), "cast([price] as nvarchar(max))");
        assert_eq!(listed(&text("other]"), &known), "[other]]]");
    }
}
