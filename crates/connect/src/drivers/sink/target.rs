//! The table that is there.

use arrow::datatypes::{DataType, FieldRef, Schema};
use tidemill_core::{Delivery, Error, ErrorKind, Result};

use super::Writer;
use super::statements::{Names, System};
use crate::delivery::{Misplaced, no_unique_index, required};
use crate::drivers::Link;
use crate::mysql::sink::columns as mysql;
use crate::postgres::sink::{columns as postgres, target::COLUMNS};
use crate::sqlite::written::{affinity, takes};

/// A table that rows are delivered to.
pub(super) struct Target {
    columns: Vec<Column>,
    /// The columns of each unique index, sorted.
    unique: Vec<Vec<String>>,
}

/// A column, as the database has it.
pub(super) enum Column {
    Postgres(postgres::Column),
    MySql(mysql::Column),
    Sqlite { name: String, declared: String, generated: bool, required: bool },
}

impl Column {
    fn name(&self) -> &str {
        match self {
            Column::Postgres(column) => &column.name,
            Column::MySql(column) => &column.name,
            Column::Sqlite { name, .. } => name,
        }
    }

    fn is_generated(&self) -> bool {
        match self {
            Column::Postgres(column) => column.generated,
            Column::MySql(column) => column.generated,
            Column::Sqlite { generated, .. } => *generated,
        }
    }

    fn is_required(&self) -> bool {
        match self {
            Column::Postgres(column) => column.required,
            Column::MySql(column) => column.required,
            Column::Sqlite { required, .. } => *required,
        }
    }

    /// The type in words.
    fn shown(&self) -> String {
        match self {
            Column::Postgres(column) => column.sql.clone(),
            Column::MySql(column) if column.word == "int" => "integer".to_owned(),
            Column::MySql(column) => column.kind.clone(),
            Column::Sqlite { declared, .. } => declared.to_lowercase(),
        }
    }

    fn fits(&self, from: &DataType) -> bool {
        match self {
            Column::Postgres(column) => postgres::fits(from, column),
            Column::MySql(column) => mysql::fits(from, column),
            Column::Sqlite { declared, .. } => takes(from, affinity(declared)),
        }
    }

    /// What of it compares, where the values themselves do not.
    pub(super) fn compared(&self, name: &str) -> String {
        match self {
            Column::Postgres(column) if matches!(column.base.as_str(), "json" | "xml") => {
                format!("cast({name} as text)")
            }
            _ => name.to_owned(),
        }
    }

    /// As a column of a temporary table of MySQL.
    pub(super) fn definition(&self) -> Option<String> {
        match self {
            Column::MySql(column) => Some(column.definition()),
            _ => None,
        }
    }
}

impl<L: Link> Writer<L> {
    /// The table, if it is there.
    ///
    /// # Errors
    /// Kind `Unsupported` when it is something else, or has no transactions.
    pub(super) fn target(&mut self) -> Result<Option<Target>> {
        let table = self.names.table.clone();
        let Some(kind) = self.kind(&table)? else { return Ok(None) };
        let is_table = match self.system {
            System::Postgres => matches!(kind.as_str(), "r" | "p"),
            System::MySql => matches!(kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED"),
            System::Sqlite => kind == "table",
        };
        if !is_table {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} is not a table, and only tables are written to", self.names.target),
            ));
        }
        let target = match self.system {
            System::Postgres => self.of_postgres()?,
            System::MySql => self.of_mysql()?,
            System::Sqlite => self.of_sqlite()?,
        };
        Ok(Some(target))
    }

    fn of_postgres(&mut self) -> Result<Target> {
        let table = self.names.dialect.text(&self.names.target);
        let columns = self.link.texts(&format!(
            "select c.name, c.sql, c.base, c.item, cast(c.modifier as text), cast(c.generated as integer), \
             cast(c.required as integer) from ({}) as c(name, sql, base, item, modifier, generated, required)",
            COLUMNS.replace("$1", &table)
        ))?;
        let columns = columns.into_iter().filter_map(|row| {
            let [name, sql, base, item, modifier, generated, required] = row.try_into().ok()?;
            Some(Column::Postgres(postgres::Column {
                name: name?,
                sql: sql?,
                base: base?,
                item,
                modifier: modifier?.parse().ok()?,
                generated: generated.as_deref() == Some("1"),
                required: required.as_deref() == Some("1"),
            }))
        });
        let unique = self.link.texts(&format!(
            "select (select string_agg(cast(a.attname as text), chr(10)) from pg_catalog.pg_attribute a \
                where a.attrelid = i.indrelid and a.attnum = any ((cast(i.indkey as int2[]))[0:i.indnkeyatts - 1])) \
             from pg_catalog.pg_index i where i.indrelid = pg_catalog.to_regclass({table}) and i.indisunique \
                and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null"
        ))?;
        Ok(Target { columns: columns.collect(), unique: indexes(unique) })
    }

    fn of_mysql(&mut self) -> Result<Target> {
        let (database, table) = (self.names.database(), self.names.dialect.text(&self.names.table));
        let of = format!("table_schema = {database} and table_name = {table}");
        let engine =
            self.value(&format!("select engine from information_schema.tables where {of}"))?;
        let engine = engine.unwrap_or_default();
        if !engine.eq_ignore_ascii_case("innodb") {
            let target = &self.names.target;
            let message = format!("{target} is a table of {engine}, which has no transactions");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with("help", format!("alter table {target} engine = InnoDB")));
        }
        let columns = self.link.texts(&mysql::described(&of))?;
        let columns = columns.into_iter().filter_map(|row| {
            let [name, kind, word, scale, fraction, collation, generated, required] =
                row.try_into().ok()?;
            Some(Column::MySql(mysql::Column {
                name: name?,
                kind: kind?,
                word: word?,
                scale: scale.and_then(|scale| scale.parse().ok()),
                fraction: fraction.and_then(|fraction| fraction.parse().ok()).unwrap_or(0),
                collation,
                generated: generated.as_deref() == Some("1"),
                required: required.as_deref() == Some("1"),
            }))
        });
        let unique = self.link.texts(&mysql::unique(&of))?;
        Ok(Target { columns: columns.collect(), unique: indexes(unique) })
    }

    fn of_sqlite(&mut self) -> Result<Target> {
        let table = self.names.dialect.text(&self.names.table);
        let columns = self.link.texts(&format!(
            "select name, type, hidden in (2, 3), \"notnull\" and dflt_value is null from pragma_table_xinfo({table}) \
             where hidden <> 1"
        ))?;
        let columns = columns.into_iter().filter_map(|row| {
            let [name, declared, generated, required] = row.try_into().ok()?;
            let generated = generated.as_deref() == Some("1");
            let required = required.as_deref() == Some("1");
            let declared = declared.unwrap_or_default();
            Some(Column::Sqlite { name: name?, declared, generated, required })
        });
        let unique = self.link.texts(&format!(
            "select group_concat(name, char(10)) from pragma_table_info({table}) where pk > 0 \
             union all select (select group_concat(coalesce(c.name, ''), char(10)) from pragma_index_info(i.name) as c) \
             from pragma_index_list({table}) as i where i.\"unique\" and not i.partial"
        ))?;
        Ok(Target { columns: columns.collect(), unique: indexes(unique) })
    }
}

/// The columns of each index, one a line.
fn indexes(rows: Vec<Vec<Option<String>>>) -> Vec<Vec<String>> {
    rows.into_iter().flatten().flatten().map(|columns| sorted(columns.lines())).collect()
}

fn sorted<'a>(columns: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut columns: Vec<String> = columns.map(str::to_lowercase).collect();
    columns.sort();
    columns
}

impl Target {
    /// The column of this name.
    pub(super) fn column(&self, name: &str, system: System) -> Option<&Column> {
        self.columns.iter().find(|column| match system {
            System::Postgres => column.name() == name,
            // Names have no case there.
            _ => column.name().to_lowercase() == name.to_lowercase(),
        })
    }

    /// The columns that have to have a value and that the rows do not have.
    pub(super) fn required(&self, schema: &Schema) -> Vec<String> {
        let columns = self.columns.iter().map(|column| (column.name(), column.is_required()));
        let fields = schema.fields();
        required(columns, |name| {
            fields.iter().any(|field| field.name().to_lowercase() == name.to_lowercase())
        })
    }

    /// Whether the rows have a place in it; the columns that are to be added for them.
    ///
    /// # Errors
    /// Kind `Data`, or `Config` when nothing tells rows apart by the key.
    pub(super) fn check(
        &self,
        schema: &Schema,
        delivery: &Delivery,
        names: &Names,
        system: System,
    ) -> Result<Vec<FieldRef>> {
        let mut misplaced = Misplaced::of(delivery);
        for field in schema.fields() {
            let name = field.name();
            match self.column(name, system) {
                None => misplaced.missing(field, &system.word(field)),
                Some(column) if column.is_generated() => misplaced.generated(name),
                Some(column) if !column.fits(field.data_type()) => {
                    misplaced.wrong(name, &system.word(field), &column.shown());
                }
                Some(_) => {}
            }
        }
        let added = misplaced.check(&names.target)?;
        let key = delivery.mode.key();
        if !key.is_empty() && !self.unique.contains(&sorted(key.iter().map(String::as_str))) {
            let (target, by) = (&names.target, names.list(key));
            let help = format!("create unique index tidemill_key on {target} ({by})");
            return Err(no_unique_index(target, key, help));
        }
        Ok(added)
    }
}
