//! The table that is there.

use arrow::datatypes::{FieldRef, Schema};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidemill_core::{Delivery, Error, ErrorKind, Result};

use super::Names;
use super::columns::{self, Column};
use crate::delivery::{Misplaced, no_unique_index, required};
use crate::mysql::error::failure;
use crate::mysql::{constant, quoted};

/// A table that rows are delivered to.
pub(super) struct Target {
    columns: Vec<Column>,
    /// The columns of each unique index, sorted.
    unique: Vec<Vec<String>>,
    /// Why another table cannot take its place without something being lost.
    pub(super) kept_by: Option<&'static str>,
    engine: String,
}

impl Target {
    pub(super) async fn find(connection: &mut Conn, names: &Names) -> Result<Option<Target>> {
        let (database, table) = (constant(&names.database), constant(&names.table));
        let of = format!("table_schema = {database} and table_name = {table}");
        let sql = format!("select table_type, engine from information_schema.tables where {of}");
        let found: Option<(String, Option<String>)> =
            connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        let Some((kind, engine)) = found else { return Ok(None) };
        if !matches!(kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} is not a table, and only tables are written to", names.target),
            ));
        }
        let sql = columns::described(&of);
        type Row = (String, String, String, Option<u8>, Option<u8>, Option<String>, bool, bool);
        let rows: Vec<Row> = connection.query(&sql).await.map_err(|error| failure(error, &sql))?;
        let columns = rows
            .into_iter()
            .map(|(name, kind, word, scale, fraction, collation, generated, required)| Column {
                name,
                kind,
                word,
                scale,
                fraction: fraction.unwrap_or(0),
                collation,
                generated,
                required,
            })
            .collect();
        let sql = columns::unique(&of);
        let unique: Vec<Option<String>> =
            connection.query(&sql).await.map_err(|error| failure(error, &sql))?;
        let unique =
            unique.into_iter().flatten().map(|columns| sorted(columns.split('\n'))).collect();
        let sql = format!(
            "select exists (select 1 from information_schema.triggers where event_object_schema = {database} \
             and event_object_table = {table}), exists (select 1 from information_schema.key_column_usage \
             where referenced_table_name is not null and (table_schema = {database} and table_name = {table} or \
             referenced_table_schema = {database} and referenced_table_name = {table}))"
        );
        let kept: Option<(bool, bool)> =
            connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        let kept_by = match kept {
            _ if kind == "SYSTEM VERSIONED" => Some("its history"),
            Some((true, _)) => Some("triggers"),
            Some((_, true)) => Some("foreign keys"),
            _ => None,
        };
        Ok(Some(Target { columns, unique, kept_by, engine: engine.unwrap_or_default() }))
    }

    /// The column of this name; names have no case in MySQL.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        let same = |column: &&Column| column.name.to_lowercase() == name.to_lowercase();
        self.columns.iter().find(same)
    }

    /// Whether what is written to it can be taken back.
    ///
    /// # Errors
    /// Kind `Unsupported` when it has no transactions.
    pub(super) fn check_engine(&self, names: &Names) -> Result<()> {
        if self.engine.eq_ignore_ascii_case("innodb") {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is a table of {}, which has no transactions", names.target, self.engine),
        )
        .with("help", format!("alter table {} engine = InnoDB", names.target)))
    }

    /// The columns that have to have a value and that the rows do not have.
    pub(super) fn required(&self, schema: &Schema) -> Vec<String> {
        let columns = self.columns.iter().map(|column| (column.name.as_str(), column.required));
        let fields = schema.fields();
        required(columns, |name| {
            fields.iter().any(|field| field.name().to_lowercase() == name.to_lowercase())
        })
    }

    /// Whether the rows have a place in it; the columns that are to be added for them.
    pub(super) fn check(
        &self,
        schema: &Schema,
        delivery: &Delivery,
        names: &Names,
    ) -> Result<Vec<FieldRef>> {
        let mut misplaced = Misplaced::of(delivery);
        for field in schema.fields() {
            let name = field.name();
            match self.column(name) {
                None => misplaced.missing(field, &columns::word(field)),
                Some(column) if column.generated => misplaced.generated(name),
                Some(column) if !columns::fits(field.data_type(), column) => {
                    let there = match column.word.as_str() {
                        "int" => "integer",
                        _ => &column.kind,
                    };
                    misplaced.wrong(name, &columns::word(field), there);
                }
                Some(_) => {}
            }
        }
        let added = misplaced.check(&names.target)?;
        let key = delivery.mode.key();
        if !key.is_empty() && !self.unique.contains(&sorted(key.iter().map(String::as_str))) {
            let list: Vec<String> = key.iter().map(|name| quoted(name)).collect();
            let help =
                format!("alter table {} add unique index ({})", names.target, list.join(", "));
            return Err(no_unique_index(&names.target, key, help));
        }
        Ok(added)
    }
}

fn sorted<'a>(columns: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut columns: Vec<String> = columns.map(str::to_lowercase).collect();
    columns.sort();
    columns
}
