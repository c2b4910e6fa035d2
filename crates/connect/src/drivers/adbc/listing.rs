//! Which tables a database has, through a driver of ADBC.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{Field, Schema};
use tidemill_core::{Error, ErrorKind, Result, TableDescription};

use super::link::{AdbcLink, text};
use super::types::of_driver;

/// Of how many tables the columns are asked for, as each is a question of its own.
const DESCRIBED: usize = 500;

/// The schema of a table, where it is said, and its name.
type SchemaAndName = (Option<String>, String);

/// What lists tables in SQL, one after the other.
const LISTS: [&str; 2] =
    ["select table_schema, table_name from information_schema.tables", "show tables"];

/// A table with its catalog, its schema and its name.
type Named = (Option<String>, Option<String>, String, TableDescription);

impl AdbcLink {
    /// Its tables and views: as the driver lists them, or where it cannot, as the database itself does.
    pub(super) fn listed(&self) -> Result<Vec<TableDescription>> {
        let objects = match self.connection.objects() {
            Ok(objects) => objects,
            Err(error) if is_gone(&error) => return Err(error),
            Err(error) => return self.listed_by_sql(error),
        };
        let mut tables = Vec::new();
        for batch in objects {
            for row in 0..batch.num_rows() {
                let catalog = text(batch.column(0), row);
                for (schema, tables_of) in schemas(batch.column(1), row) {
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
        for (catalog, schema, name, table) in tables.iter_mut().take(DESCRIBED) {
            // One that may not be read is listed as well.
            let found = self.connection.table(catalog.as_deref(), schema.as_deref(), name);
            table.schema = found.ok().map(|found| as_tables_have(&found));
        }
        Ok(tables.into_iter().map(|(.., table)| table).collect())
    }

    /// By statements of SQL that many databases have; the error is that of the driver, which stands where none
    /// of them is understood.
    fn listed_by_sql(&self, error: Error) -> Result<Vec<TableDescription>> {
        let found = LISTS.iter().find_map(|sql| self.names(sql).ok().flatten());
        let Some(names) = found else {
            let help = "the server does not list its tables; one that is named in a source is loaded all the same";
            return Err(error.with("help", help));
        };
        let mut tables = Vec::new();
        for (schema, name) in names {
            if schema.as_deref().is_some_and(|schema| self.dialect.is_own(schema)) {
                continue;
            }
            let mut table = self.described(schema.as_deref(), &name);
            if tables.len() < DESCRIBED {
                let parts = [schema.as_deref(), Some(name.as_str())];
                let parts = parts.into_iter().flatten().map(|part| self.dialect.quote(part));
                let quoted = parts.collect::<Vec<_>>().join(".");
                let rows = self.connection.query(&format!("select * from {quoted} where 1 = 0"));
                table.schema = rows.ok().map(|rows| as_tables_have(rows.schema()));
            }
            tables.push(table);
        }
        Ok(tables)
    }

    /// Schemas and names that a query gives; `None` where it gives something else.
    fn names(&self, sql: &str) -> Result<Option<Vec<SchemaAndName>>> {
        let mut rows = self.connection.query(sql)?;
        let place = |names: &[&str]| {
            let fields = rows.schema().fields().iter();
            let mut fields = fields.map(|field| field.name().to_ascii_lowercase());
            fields.position(|field| names.contains(&field.as_str()))
        };
        let (schema, name) =
            (place(&["table_schema"]), place(&["table_name", "tablename", "name"]));
        let Some(name) = name else { return Ok(None) };
        let mut names = Vec::new();
        while let Some(batch) = rows.next_batch()? {
            for row in 0..batch.num_rows() {
                let schema = schema.and_then(|schema| text(batch.column(schema), row));
                names.extend(text(batch.column(name), row).map(|name| (schema, name)));
            }
        }
        Ok(Some(names))
    }

    fn described(&self, schema: Option<&str>, name: &str) -> TableDescription {
        let bare = match schema {
            None | Some("") => true,
            schema => self.dialect.default_schema() == schema,
        };
        TableDescription {
            name: match (bare, schema) {
                (false, Some(schema)) => format!("{schema}.{name}"),
                _ => name.to_owned(),
            },
            schema: None,
            rows: None,
            estimated: false,
            primary_key: Vec::new(),
        }
    }

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
        let described = TableDescription { primary_key, ..self.described(schema, &name) };
        Some((catalog.map(str::to_owned), schema.map(str::to_owned), name, described))
    }
}

/// Whether nothing more can be asked.
fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Cancelled)
}

/// The columns, with the types of tables.
fn as_tables_have(found: &Schema) -> Arc<Schema> {
    let fields = found.fields().iter();
    let fields = fields.map(|field| Field::new(field.name(), of_driver(field.data_type()), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The schemas of a catalog, each with its tables.
fn schemas(schemas: &ArrayRef, row: usize) -> Vec<(Option<String>, StructArray)> {
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
