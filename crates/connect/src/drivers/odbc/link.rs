//! A connection through a driver of ODBC.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_core::{ErrorKind, Result, ResultExt, TableDescription};
use tidemill_drivers::odbc::{Connection, Description, Kind, Listed, Manager, Rows, Value, info};

use super::config::OdbcConfig;
use super::rows::{Builder, Refused};
use super::types::{self, Form, Taken, of_column};
use crate::drivers::{Dialect, Link, Query, Stop, Texts};
use crate::tables::{Column, Misfit, Part, Select};

/// A batch ends with this many rows, or bytes.
const BATCH_ROWS: usize = 16_384;
const BATCH_BYTES: usize = 2 << 20;

/// The memory and the rows of a block, at most.
const BLOCK_BYTES: usize = 2 << 20;
const BLOCK_ROWS: usize = 4096;

/// What is asked for where a driver would take all rows of a result into memory: the names of its library, and
/// keys of the connection string.
const STREAMS: &[(&str, &[(&str, &str)])] = &[
    ("psqlodbc", &[("UseDeclareFetch", "1"), ("Fetch", "1000")]),
    ("maodbc", &[("FORWARDONLY", "1"), ("NO_CACHE", "1")]),
    ("myodbc", &[("FORWARD_CURSOR", "1"), ("NO_CACHE", "1")]),
];

pub(super) struct OdbcLink {
    connection: Connection,
    dialect: Dialect,
    described: Vec<Described>,
}

/// A column as it was described last.
#[derive(Clone)]
struct Described {
    name: String,
    data_type: DataType,
    taken: Taken,
}

/// How a column of a query is read.
struct Reading {
    column: Column,
    taken: Taken,
    /// What stands in the list of the query.
    expression: String,
}

impl OdbcLink {
    pub(super) fn open(config: &OdbcConfig, project: &Path) -> Result<OdbcLink> {
        let manager =
            Manager::load(config.manager.as_deref().map(|path| project.join(path)).as_deref())?;
        let string = config.string(project)?;
        let mut connection = manager.connect(string.expose(), config.connect_timeout)?;
        let driver = connection.info(info::DRIVER_NAME).to_lowercase();
        let written = string.expose().to_lowercase();
        let asked = STREAMS.iter().find(|(name, _)| driver.contains(name));
        let missing: String = asked
            .iter()
            .flat_map(|(_, keys)| keys.iter())
            .filter(|(key, _)| !written.contains(&format!("{}=", key.to_lowercase())))
            .map(|(key, value)| format!("{key}={value};"))
            .collect();
        if !missing.is_empty() {
            drop(connection);
            let string = tidemill_core::Secret::new(format!("{}{missing}", string.expose()));
            connection = manager.connect(string.expose(), config.connect_timeout)?;
        }
        let name = connection.info(info::DBMS_NAME);
        let dialect = Dialect::of(&name, &connection.info(info::IDENTIFIER_QUOTE));
        tracing::debug!(dbms = name, driver, "connected by odbc");
        for sql in dialect.settings() {
            connection.execute(sql)?;
        }
        Ok(OdbcLink { connection, dialect, described: Vec::new() })
    }

    /// How the columns of a query are read: those of a known size first.
    fn readings(&self, columns: &[Column]) -> Vec<Reading> {
        let reading = |column: &Column| {
            let known = self.described.iter().find(|known| known.name == column.name);
            let quoted = self.dialect.quote(&column.name);
            let (taken, expression) = match (known, &column.expression) {
                (Some(known), None) if known.data_type == column.data_type => (known.taken, quoted),
                (_, expression) => {
                    let expression = expression.clone().unwrap_or(quoted);
                    (types::text(256).1, expression)
                }
            };
            Reading { column: column.clone(), taken, expression }
        };
        columns.iter().map(reading).collect()
    }
}

/// The places of the readings in the order of the query: long ones come last.
fn order(readings: &[Reading]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..readings.len()).collect();
    order.sort_by_key(|at| readings[*at].taken.kind.is_long());
    order
}

/// How many rows are taken at once.
fn block(readings: &[Reading], limit: usize) -> usize {
    let width: usize = readings.iter().map(|reading| reading.taken.kind.width()).sum();
    (BLOCK_BYTES / width.max(1)).clamp(1, BLOCK_ROWS.min(limit))
}

/// What a query of these readings came to.
enum Ended {
    Whole,
    /// Again, as a value of this column was cut, or has more digits.
    Again(usize, Refused),
}

impl Link for OdbcLink {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    fn stop(&self) -> Stop {
        let canceller = self.connection.canceller();
        Arc::new(move || canceller.cancel())
    }

    fn begin_by_driver(&mut self) -> Result<()> {
        self.connection.set_autocommit(false)
    }

    fn execute(&mut self, sql: &str) -> Result<()> {
        self.connection.execute(sql).map(drop)
    }

    fn texts(&mut self, sql: &str) -> Result<Texts> {
        self.connection.texts(sql)
    }

    fn describe(&mut self, select: &Select) -> Result<Vec<Column>> {
        let described = self.connection.describe(&select.with("*", &["1 = 0".to_owned()]))?;
        self.described = described
            .into_iter()
            .map(|column| {
                let (data_type, taken) = of_column(&column, &self.dialect);
                Described { name: column.name, data_type, taken }
            })
            .collect();
        let column = |described: &Described| Column {
            name: described.name.clone(),
            order: types::order(&described.data_type, &self.dialect),
            data_type: described.data_type.clone(),
            stored_type: None,
            expression: None,
        };
        Ok(self.described.iter().map(column).collect())
    }

    fn read(&mut self, query: Query, send: &mut dyn FnMut(Part) -> Result<()>) -> Result<()> {
        let mut readings = self.readings(&query.columns);
        loop {
            let (at, refused) = match self.once(&query, &readings, send)? {
                Ended::Whole => return Ok(()),
                Ended::Again(at, refused) => (at, refused),
            };
            let reading = &mut readings[at];
            match refused {
                Refused::Cut if reading.column.data_type == DataType::Binary => {
                    reading.taken.kind = Kind::LongBytes;
                }
                Refused::Cut if reading.taken.form == Form::Value => {
                    reading.taken.kind = Kind::LongText;
                }
                // A number with more digits than were said is its text.
                _ => {
                    reading.column.data_type = DataType::Utf8;
                    reading.taken = Taken { kind: Kind::LongText, form: Form::Value };
                }
            }
            let columns = readings.iter().map(|reading| reading.column.clone()).collect();
            send(Part::Restart(columns))?;
        }
    }

    fn tables(&mut self) -> Result<Vec<TableDescription>> {
        let catalog = self.connection.info(info::DATABASE_NAME);
        let catalog = Some(catalog.as_str()).filter(|catalog| !catalog.is_empty());
        let listed = self.connection.list(Listed::Tables, catalog)?;
        let columns = self.connection.list(Listed::Columns, catalog)?;
        let mut of_table: BTreeMap<(String, String), Vec<Field>> = BTreeMap::new();
        let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
        for row in &columns {
            let number = |at: usize| text(row, at).and_then(|text| text.parse::<i64>().ok());
            let column = Description {
                name: text(row, 3).unwrap_or_default(),
                sql_type: number(4).and_then(|n| n.try_into().ok()).unwrap_or(0),
                type_name: text(row, 5).unwrap_or_default().to_lowercase(),
                size: number(6).and_then(|n| n.try_into().ok()).unwrap_or(0),
                digits: number(8).and_then(|n| n.try_into().ok()).unwrap_or(0),
                unsigned: text(row, 5).is_some_and(|kind| kind.to_lowercase().contains("unsigned")),
            };
            let (data_type, _) = of_column(&column, &self.dialect);
            let key = (text(row, 1).unwrap_or_default(), text(row, 2).unwrap_or_default());
            of_table.entry(key).or_default().push(Field::new(column.name, data_type, true));
        }
        let mut tables = Vec::new();
        for row in listed {
            let (schema, Some(table)) = (text(&row, 1).unwrap_or_default(), text(&row, 2)) else {
                continue;
            };
            if self.dialect.is_own(&schema) {
                continue;
            }
            let of_schema = text(&row, 1);
            let key = Listed::Key(catalog, of_schema.as_deref(), &table);
            // Not every driver knows keys.
            let mut key: Vec<(u32, String)> = self
                .connection
                .list(key, None)
                .unwrap_or_default()
                .iter()
                .filter_map(|row| Some((text(row, 4)?.parse().ok()?, text(row, 3)?)))
                .collect();
            key.sort();
            let fields = of_table.remove(&(schema.clone(), table.clone()));
            let bare = schema.is_empty() || self.dialect.default_schema() == Some(schema.as_str());
            tables.push(TableDescription {
                name: if bare { table } else { format!("{schema}.{table}") },
                schema: fields.map(|fields| Arc::new(Schema::new(fields))),
                rows: None,
                estimated: false,
                primary_key: key.into_iter().map(|(_, column)| column).collect(),
            });
        }
        Ok(tables)
    }
}

impl OdbcLink {
    /// Reads all rows, unless a value shows that they are to be read in another way.
    fn once(
        &self,
        query: &Query,
        readings: &[Reading],
        send: &mut dyn FnMut(Part) -> Result<()>,
    ) -> Result<Ended> {
        let limit = query.batch_rows.unwrap_or(BATCH_ROWS);
        let order = order(readings);
        let list: Vec<&str> = order.iter().map(|at| readings[*at].expression.as_str()).collect();
        let kinds: Vec<Kind> = order.iter().map(|at| readings[*at].taken.kind).collect();
        let sql = query.select.sql(&list.join(", "));
        let mut rows = self.connection.query(&sql, &kinds, block(readings, limit))?;
        let mut batch = Batch::new(readings)?;
        loop {
            query.cancel.check()?;
            let fetched = rows.fetch().map_err(|error| error.with("query", &sql))?;
            for row in 0..fetched {
                for (place, at) in order.iter().enumerate() {
                    let value = value(&mut rows, kinds[place], place, row)?;
                    if let Err(refused) = batch.take(*at, value.borrowed(), readings) {
                        return Ok(Ended::Again(*at, refused));
                    }
                }
                batch.rows += 1;
                if batch.rows >= limit || batch.bytes >= BATCH_BYTES {
                    send(batch.finish()?)?;
                }
            }
            if fetched == 0 {
                if batch.rows > 0 {
                    send(batch.finish()?)?;
                }
                return Ok(Ended::Whole);
            }
        }
    }
}

/// A value that the rows hold, or one that was put together of pieces.
enum Held<'a> {
    Value(Value<'a>),
    Bytes(Vec<u8>),
}

impl Held<'_> {
    fn borrowed(&self) -> Value<'_> {
        match self {
            Held::Value(value) => value.clone(),
            Held::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

fn value(rows: &mut Rows, kind: Kind, place: usize, row: usize) -> Result<Held<'_>> {
    Ok(match kind {
        Kind::LongText => match rows.long_text(place)? {
            Some(text) => Held::Value(Value::Text(text)),
            None => Held::Value(Value::Null),
        },
        Kind::LongBytes => match rows.long_bytes(place)? {
            Some(bytes) => Held::Bytes(bytes),
            None => Held::Value(Value::Null),
        },
        _ => Held::Value(rows.value(place, row)),
    })
}

/// Rows on their way to a batch.
struct Batch {
    schema: Arc<Schema>,
    builders: Vec<Builder>,
    misfits: Vec<Misfit>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    fn new(readings: &[Reading]) -> Result<Batch> {
        let fields: Vec<Field> = readings
            .iter()
            .map(|Reading { column, .. }| Field::new(&column.name, column.data_type.clone(), true))
            .collect();
        let builders = readings.iter().map(|reading| Builder::new(&reading.column.data_type));
        Ok(Batch {
            builders: builders.collect::<Result<_>>()?,
            schema: Arc::new(Schema::new(fields)),
            misfits: Vec::new(),
            rows: 0,
            bytes: 0,
        })
    }

    /// Takes a value of the row that is not whole yet.
    fn take(&mut self, at: usize, value: Value<'_>, readings: &[Reading]) -> Result<(), Refused> {
        let builder = &mut self.builders[at];
        match builder.push(value, readings[at].taken.form) {
            Ok(bytes) => self.bytes += bytes,
            Err(Refused::Misfit(reason)) => {
                builder.null();
                let field = self.schema.field(at);
                let reason = format!("`{}` is a {}, and {reason}", field.name(), field.data_type());
                self.misfits.push(Misfit { row: self.rows, reason });
            }
            Err(refused) => return Err(refused),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Part> {
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .or_error(ErrorKind::Internal, "rows do not make a batch")?;
        Ok(Part::Rows(batch, std::mem::take(&mut self.misfits)))
    }
}
