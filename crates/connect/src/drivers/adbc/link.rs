//! A connection through a driver of ADBC.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_core::{ErrorKind, Result, ResultExt, TableDescription, display_value};
use tidemill_drivers::adbc::Connection;

use super::types::{convert, of_driver};
use crate::drivers::{Dbms, Dialect, Link, Query, Spelling, Stop, Texts};
use crate::tables::{Column, Misfit, Order, Part, Select};

/// A batch has this many rows, at most.
const BATCH_ROWS: usize = 32_768;

pub(super) struct AdbcLink {
    pub(super) connection: Connection,
    pub(super) dialect: Dialect,
}

impl AdbcLink {
    pub(super) fn open(connection: Connection) -> Result<AdbcLink> {
        let name = connection.vendor();
        let mut dialect = Dialect::of(&name, "");
        tracing::debug!(dbms = name, "connected by adbc");
        // A driver may go to its server with the first statement alone; Db2 has no such query.
        if dialect.settings().is_empty() && dialect.dbms != Dbms::Db2 {
            texts(&connection, "select 1")?;
        }
        for sql in dialect.settings() {
            connection.execute(sql)?;
        }
        if dialect.dbms == Dbms::Other {
            let spelling = spelling(&connection, &dialect);
            tracing::debug!(?spelling, "looked how it writes things");
            dialect = dialect.spelled(spelling);
        }
        Ok(AdbcLink { connection, dialect })
    }
}

/// How a database writes things of which its name says nothing, as it is with all behind Flight SQL: by what
/// it makes of some queries. A name in the wrong marks may be a text, and no error.
fn spelling(connection: &Connection, dialect: &Dialect) -> Spelling {
    let gives = |sql: &str, expected: &str| {
        let rows = texts(connection, sql).unwrap_or_default();
        matches!(rows.as_slice(), [row] if *row == [Some(expected.to_owned())])
    };
    let of = |mark| Spelling { mark: Some(mark), ..Spelling::default() };
    let mark = ['"', '`', '['].into_iter().find(|mark| {
        let name = dialect.clone().spelled(of(*mark)).quote("tidemill");
        gives(&format!("select {name} from (select 1 as {name}) as t"), "1")
    });
    let zoned = "select cast('2024-01-01 00:00:00+00:00' as timestamp with time zone)";
    Spelling {
        mark,
        backslash: gives(r"select '\\'", "\\"),
        zoned: texts(connection, zoned).is_ok(),
    }
}

fn texts(connection: &Connection, sql: &str) -> Result<Texts> {
    let mut rows = connection.query(sql)?;
    let mut texts = Vec::new();
    while let Some(batch) = rows.next_batch()? {
        for row in 0..batch.num_rows() {
            texts.push(batch.columns().iter().map(|column| text(column, row)).collect());
        }
    }
    Ok(texts)
}

impl Link for AdbcLink {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    fn stop(&self) -> Stop {
        let canceller = self.connection.canceller();
        Arc::new(move || canceller.cancel())
    }

    fn begin_by_driver(&mut self) -> Result<()> {
        self.connection.set("adbc.connection.autocommit", "false")
    }

    fn execute(&mut self, sql: &str) -> Result<()> {
        self.connection.execute(sql).map(drop)
    }

    fn texts(&mut self, sql: &str) -> Result<Texts> {
        texts(&self.connection, sql)
    }

    fn describe(&mut self, select: &Select) -> Result<Vec<Column>> {
        let sql = match self.dialect.dbms {
            // Its types are those of the first values.
            Dbms::Sqlite => select.sql("*"),
            _ => select.with("*", &["1 = 0".to_owned()]),
        };
        let mut rows = self.connection.query(&sql)?;
        if rows.schema().fields().is_empty() {
            // Some servers say columns with the first rows alone.
            rows = self.connection.query(&select.sql("*"))?;
        }
        let column = |field: &Arc<Field>| {
            let data_type = of_driver(field.data_type());
            let order = match data_type {
                DataType::Utf8 => Order::Database,
                _ => Order::Value,
            };
            Column {
                name: field.name().clone(),
                data_type,
                stored_type: None,
                order,
                expression: None,
            }
        };
        Ok(rows.schema().fields().iter().map(column).collect())
    }

    fn read(&mut self, query: Query, send: &mut dyn FnMut(Part) -> Result<()>) -> Result<()> {
        let list: Vec<String> = query
            .columns
            .iter()
            .map(|column| match &column.expression {
                Some(expression) => expression.clone(),
                None => self.dialect.quote(&column.name),
            })
            .collect();
        let sql = query.select.sql(&list.join(", "));
        let mut rows = self.connection.query(&sql)?;
        let found: Vec<DataType> = rows
            .schema()
            .fields()
            .iter()
            .zip(&query.columns)
            // The cursor a second time is a text.
            .map(|(field, column)| match column.expression {
                Some(_) => column.data_type.clone(),
                None => of_driver(field.data_type()),
            })
            .collect();
        let mut columns = query.columns.clone();
        for (column, found) in columns.iter_mut().zip(&found) {
            column.data_type = found.clone();
        }
        if columns != query.columns {
            send(Part::Restart(columns.clone()))?;
        }
        let fields = columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let limit = query.batch_rows.unwrap_or(BATCH_ROWS);
        while let Some(batch) = rows.next_batch().map_err(|error| error.with("query", &sql))? {
            query.cancel.check()?;
            for from in (0..batch.num_rows()).step_by(limit) {
                let part = batch.slice(from, limit.min(batch.num_rows() - from));
                send(taken(&part, &schema)?)?;
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<Vec<TableDescription>> {
        self.listed()
    }
}

/// The text of a row.
pub(super) fn text(column: &ArrayRef, row: usize) -> Option<String> {
    column.is_valid(row).then(|| display_value(column, row))
}

/// The rows as those of the schema.
fn taken(batch: &RecordBatch, schema: &Arc<Schema>) -> Result<Part> {
    let mut misfits: Vec<Misfit> = Vec::new();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        let (converted, odd) = convert(column, field.data_type())?;
        for row in odd {
            let reason = format!(
                "`{}` is a {}, and a time with digits below a microsecond has no place there: {}",
                field.name(),
                field.data_type(),
                display_value(column, row)
            );
            if misfits.iter().all(|known| known.row != row) {
                misfits.push(Misfit { row, reason });
            }
        }
        columns.push(converted);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .or_error(ErrorKind::Internal, "rows do not make a batch")?;
    Ok(Part::Rows(rows, misfits))
}
