//! A connection through a driver of ADBC.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_core::{ErrorKind, Result, ResultExt, TableDescription, display_value};
use tidemill_drivers::adbc::Connection;

use super::types::{convert, of_driver};
use crate::drivers::{Dbms, Dialect, Link, Query, Stop, Texts};
use crate::tables::{Column, Misfit, Order, Part, Select};

/// A batch has this many rows, at most.
const BATCH_ROWS: usize = 32_768;

/// Of how many tables the columns are asked for, as each is a question of its own.
const DESCRIBED: usize = 500;

pub(super) struct AdbcLink {
    connection: Connection,
    dialect: Dialect,
}

impl AdbcLink {
    pub(super) fn open(connection: Connection) -> Result<AdbcLink> {
        let name = connection.vendor();
        let dialect = Dialect::of(&name, "");
        tracing::debug!(dbms = name, "connected by adbc");
        for sql in dialect.settings() {
            connection.execute(sql)?;
        }
        Ok(AdbcLink { connection, dialect })
    }
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
        let mut rows = self.connection.query(sql)?;
        let mut texts = Vec::new();
        while let Some(batch) = rows.next_batch()? {
            for row in 0..batch.num_rows() {
                let text =
                    |column: &ArrayRef| column.is_valid(row).then(|| display_value(column, row));
                texts.push(batch.columns().iter().map(text).collect());
            }
        }
        Ok(texts)
    }

    fn describe(&mut self, select: &Select) -> Result<Vec<Column>> {
        let sql = match self.dialect.dbms {
            // Its types are those of the first values.
            Dbms::Sqlite => select.sql("*"),
            _ => select.with("*", &["1 = 0".to_owned()]),
        };
        let rows = self.connection.query(&sql)?;
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
        let mut tables = Vec::new();
        for batch in self.connection.objects()? {
            for row in 0..batch.num_rows() {
                let catalog = text(batch.column(0), row);
                for (schema, tables_of) in listed(batch.column(1), row) {
                    let own = schema.as_deref().is_some_and(|schema| self.dialect.is_own(schema));
                    if own {
                        continue;
                    }
                    for at in 0..tables_of.len() {
                        let described =
                            self.table(&tables_of, at, catalog.as_deref(), schema.as_deref());
                        tables.extend(described);
                    }
                }
            }
        }
        for (described, at) in tables.iter_mut().zip(0..) {
            let (catalog, schema, name, table): &mut (_, _, _, TableDescription) = described;
            if at < DESCRIBED {
                // One that may not be read is listed as well.
                let found = self.connection.table(catalog.as_deref(), schema.as_deref(), name);
                table.schema = found.ok().map(|found| {
                    let fields = found
                        .fields()
                        .iter()
                        .map(|field| Field::new(field.name(), of_driver(field.data_type()), true));
                    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
                });
            }
        }
        Ok(tables.into_iter().map(|(.., table)| table).collect())
    }
}

/// A table with its catalog, its schema and its name.
type Named = (Option<String>, Option<String>, String, TableDescription);

impl AdbcLink {
    fn table(
        &self,
        tables: &StructArray,
        at: usize,
        catalog: Option<&str>,
        schema: Option<&str>,
    ) -> Option<Named> {
        let of = |name: &str| tables.column_by_name(name);
        let name = text(of("table_name")?, at)?;
        let kind = text(of("table_type")?, at).unwrap_or_default().to_ascii_lowercase();
        let is_table = kind.contains("table") || kind.contains("view");
        if !is_table || kind.contains("toast") || kind.contains("system") {
            return None;
        }
        let mut primary_key = Vec::new();
        let constraints = of("table_constraints").filter(|column| column.is_valid(at));
        if let Some(constraints) = constraints.and_then(|column| column.as_list_opt::<i32>()) {
            let constraints = constraints.value(at);
            let constraints = constraints.as_struct_opt()?;
            for row in 0..constraints.len() {
                let kind = text(constraints.column_by_name("constraint_type")?, row);
                let names = constraints.column_by_name("constraint_column_names")?;
                if kind.as_deref() == Some("PRIMARY KEY") && names.is_valid(row) {
                    let names = names.as_list_opt::<i32>()?.value(row);
                    primary_key = (0..names.len()).filter_map(|at| text(&names, at)).collect();
                }
            }
        }
        let bare = match schema {
            None | Some("") => true,
            schema => self.dialect.default_schema() == schema,
        };
        let described = TableDescription {
            name: match (bare, schema) {
                (false, Some(schema)) => format!("{schema}.{name}"),
                _ => name.clone(),
            },
            schema: None,
            rows: None,
            estimated: false,
            primary_key,
        };
        Some((catalog.map(str::to_owned), schema.map(str::to_owned), name, described))
    }
}

/// The text of a row.
fn text(column: &ArrayRef, row: usize) -> Option<String> {
    column.is_valid(row).then(|| display_value(column, row))
}

/// The schemas of a catalog, each with its tables.
fn listed(schemas: &ArrayRef, row: usize) -> Vec<(Option<String>, StructArray)> {
    let below = || {
        let schemas = schemas.as_list_opt::<i32>().filter(|list| list.is_valid(row))?.value(row);
        let schemas = schemas.as_struct_opt()?;
        let names = schemas.column_by_name("db_schema_name")?;
        let tables = schemas.column_by_name("db_schema_tables")?.as_list_opt::<i32>()?;
        let tables = (0..schemas.len()).filter(|at| tables.is_valid(*at)).filter_map(|at| {
            let tables = tables.value(at);
            Some((text(names, at), tables.as_struct_opt()?.clone()))
        });
        Some(tables.collect())
    };
    below().unwrap_or_default()
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
