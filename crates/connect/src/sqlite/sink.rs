//! SQLite as a sink: a state of a relation becomes rows of a table, in one transaction.
//!
//! With a key the rows come into a temporary table first, and one statement for each kind of change
//! brings them in. The record of the delivery is a row of `tidemill_deliveries`, written in the same
//! transaction.

use std::path::PathBuf;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tidemill_core::{
    BatchStream, Delivered, Delivery, DeliveryMode, Error, ErrorKind, Result, Sink,
};
use tokio::runtime::Handle;

use super::written::{Rows, affinity, declared_type, takes};
use super::{BUSY, failure, quote};
use crate::delivery::{self, Misplaced, no_unique_index};
use crate::failpoint::failpoint;
use crate::stream::blocking;

/// A file that rows are written to.
#[derive(Debug, Clone)]
pub(super) struct SqliteSink {
    pub(super) path: PathBuf,
    /// As the connection writes it.
    pub(super) shown: PathBuf,
}

const RECORDS: &str = "create table if not exists tidemill_deliveries (export text primary key, \
    relation text not null, state text not null, mode text not null, target text not null, \
    rows integer not null, run text not null, delivered_at text not null default current_timestamp)";

const STAGE: &str = "temp.tidemill_stage";

/// A column that is there.
struct Column {
    name: String,
    declared: String,
    /// Its values are made by the database.
    generated: bool,
    /// A row without a value for it is refused.
    required: bool,
}

#[async_trait]
impl Sink for SqliteSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let (sink, delivery) = (self.clone(), delivery.clone());
        blocking(move || {
            let table = table_of(&delivery)?;
            if !sink.path.is_file() {
                return Ok(false);
            }
            // What a killed process left half-way is undone by who opens the file, which is a write.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let asked = sink
                .open(flags)
                .and_then(|connection| is_delivered(&connection, &delivery, &table));
            asked.map_err(|error| sink.failure(error, "the SQLite file cannot be read"))
        })
        .await
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let (sink, delivery, handle) = (self.clone(), delivery.clone(), Handle::current());
        let table = table_of(&delivery)?;
        blocking(move || sink.write(&delivery, &table, rows, &handle)).await
    }
}

fn table_of(delivery: &Delivery) -> Result<String> {
    let known = delivery.to.keys().all(|key| key == "table");
    match delivery.to.get("table").and_then(|table| table.as_str()).filter(|_| known) {
        Some(table) => Ok(table.to_owned()),
        None => Err(Error::new(
            ErrorKind::Config,
            "`to` of the export has other settings than SQLite takes",
        )
        .with("help", "to: {connection: …, table: name}")),
    }
}

fn has_table(connection: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let sql = "select type from main.sqlite_master where name = ?1 collate nocase and type in ('table', 'view')";
    connection.query_row(sql, [table], |row| row.get(0)).optional()
}

fn is_delivered(
    connection: &Connection,
    delivery: &Delivery,
    table: &str,
) -> rusqlite::Result<bool> {
    if delivery.again
        || has_table(connection, "tidemill_deliveries")?.is_none()
        || has_table(connection, table)?.is_none()
    {
        return Ok(false);
    }
    let sql = "select true from tidemill_deliveries where export = ?1 and relation = ?2 and \
               state = ?3 and mode = ?4 and target = ?5";
    let Delivery { export, relation, state, mode, .. } = delivery;
    let same = params![export, relation.to_string(), state, mode.record(), table];
    Ok(connection.query_row(sql, same, |_| Ok(())).optional()?.is_some())
}

impl SqliteSink {
    fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    }

    fn failure(&self, error: rusqlite::Error, what: &str) -> Error {
        use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch};
        let file = self.shown.display().to_string();
        match error.sqlite_error_code() {
            Some(ConstraintViolation | TypeMismatch) => {
                Error::new(ErrorKind::Data, what).because(error).with("file", file)
            }
            _ => failure(error, what).with("file", file),
        }
    }

    fn write(
        &self,
        delivery: &Delivery,
        table: &str,
        rows: BatchStream,
        handle: &Handle,
    ) -> Result<Delivered> {
        let wrong = |error| self.failure(error, "the SQLite file cannot be written");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = self.open(flags).map_err(wrong)?;
        // Dropped before the commit, all of it is undone.
        connection.execute_batch("begin immediate").map_err(wrong)?;
        connection.execute_batch(RECORDS).map_err(wrong)?;
        if is_delivered(&connection, delivery, table).map_err(wrong)? {
            return Ok(Delivered { nothing_new: true, ..Delivered::default() });
        }
        failpoint!("export.begun");
        let delivered = self.bring(&connection, delivery, table, rows, handle)?;
        failpoint!("export.changed");
        let sql = "insert or replace into tidemill_deliveries \
                   (export, relation, state, mode, target, rows, run) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let Delivery { export, relation, state, mode, run, .. } = delivery;
        let count = i64::try_from(delivered.rows).unwrap_or(i64::MAX);
        let record = params![
            export,
            relation.to_string(),
            state,
            mode.record(),
            table,
            count,
            run.to_string()
        ];
        connection.execute(sql, record).map_err(wrong)?;
        failpoint!("export.before-commit");
        connection.execute_batch("commit").map_err(wrong)?;
        failpoint!("export.after-commit");
        Ok(delivered)
    }

    /// Brings the rows in, in the transaction that is open.
    fn bring(
        &self,
        connection: &Connection,
        delivery: &Delivery,
        table: &str,
        rows: BatchStream,
        handle: &Handle,
    ) -> Result<Delivered> {
        let wrong = |error| self.failure(error, "the rows cannot be written");
        let schema = rows.schema.clone();
        let key = delivery.mode.key();
        delivery::check_key(delivery, &schema)?;
        let quoted = quote(table);
        let mut required = Vec::new();
        match has_table(connection, table).map_err(wrong)?.as_deref() {
            Some("table") => {
                let columns = columns(connection, table).map_err(wrong)?;
                let added = check(&columns, &schema, delivery, table)?;
                check_key(connection, table, key).map_err(wrong)??;
                for field in &added {
                    connection.execute_batch(&add(&quoted, field)).map_err(wrong)?;
                }
                if !added.is_empty() {
                    failpoint!("export.columns-added");
                }
                let of_table = columns.iter().map(|one| (one.name.as_str(), one.required));
                required = delivery::required(of_table, |name| {
                    schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name))
                });
            }
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{table} is not a table, and only tables are written to"),
                ));
            }
            None => {
                let sql = create(&quoted, &schema, key)?;
                connection.execute_batch(&sql).map_err(wrong)?;
            }
        }
        let brought = self.bring_to(connection, delivery, &quoted, rows, handle);
        brought.map_err(|error| delivery::explained(error, table, &required))
    }

    /// The same, into a table that is there.
    fn bring_to(
        &self,
        connection: &Connection,
        delivery: &Delivery,
        quoted: &str,
        rows: BatchStream,
        handle: &Handle,
    ) -> Result<Delivered> {
        let wrong = |error| self.failure(error, "the rows cannot be written");
        let schema = rows.schema.clone();
        let key = delivery.mode.key();
        let mut delivered = Delivered::default();
        if key.is_empty() {
            if delivery.mode == DeliveryMode::Full {
                let gone =
                    connection.execute(&format!("delete from {quoted}"), []).map_err(wrong)?;
                delivered.deleted = gone as u64;
            }
            delivered.rows = self.copy(connection, quoted, delivery, rows, handle)?;
            delivered.inserted = delivered.rows;
            failpoint!("export.copied");
            return Ok(delivered);
        }
        let names: Vec<String> = schema.fields().iter().map(|field| quote(field.name())).collect();
        let list = names.join(", ");
        let stage =
            format!("create temp table tidemill_stage as select {list} from {quoted} where false");
        connection.execute_batch(&stage).map_err(wrong)?;
        delivered.rows = self.copy(connection, STAGE, delivery, rows, handle)?;
        failpoint!("export.copied");
        check_rows(connection, delivery, key).map_err(wrong)??;
        let by: Vec<String> = key.iter().map(|name| quote(name)).collect();
        let by = by.join(", ");
        let index = format!("create index temp.tidemill_key on tidemill_stage ({by})");
        connection.execute_batch(&index).map_err(wrong)?;
        let others: Vec<&String> = schema
            .fields()
            .iter()
            .zip(&names)
            .filter(|(field, _)| !key.contains(field.name()))
            .map(|(_, name)| name)
            .collect();
        let side = |side: &str| {
            let columns: Vec<String> = others.iter().map(|name| format!("{side}.{name}")).collect();
            format!("({})", columns.join(", "))
        };
        let same: Vec<String> =
            key.iter().map(|name| format!("s.{0} = t.{0}", quote(name))).collect();
        let same = same.join(" and ");
        let merges = matches!(delivery.mode, DeliveryMode::Merge { .. }) && !others.is_empty();
        let mut conflict = "do nothing".to_owned();
        if let DeliveryMode::Merge { deletes: true, .. } = delivery.mode {
            let sql = format!(
                "delete from {quoted} as t where not exists (select 1 from {STAGE} as s where {same})"
            );
            delivered.deleted = connection.execute(&sql, []).map_err(wrong)? as u64;
        }
        if merges {
            let differs = format!("{} is not {}", side("t"), side("s"));
            let sql = format!(
                "select count(*) from {STAGE} as s join {quoted} as t on {same} where {differs}"
            );
            let changed: i64 = connection.query_row(&sql, [], |row| row.get(0)).map_err(wrong)?;
            delivered.updated = u64::try_from(changed).unwrap_or(0);
            let set: Vec<String> =
                others.iter().map(|name| format!("{name} = excluded.{name}")).collect();
            conflict = format!(
                "do update set {} where {} is not {}",
                set.join(", "),
                side("t"),
                side("excluded")
            );
        }
        let sql = format!(
            "insert into {quoted} as t ({list}) select {list} from {STAGE} where true \
             on conflict ({by}) {conflict}"
        );
        let changed = connection.execute(&sql, []).map_err(wrong)? as u64;
        delivered.inserted = changed.saturating_sub(delivered.updated);
        Ok(delivered)
    }

    /// Adds the rows to a table; gives their number.
    fn copy(
        &self,
        connection: &Connection,
        table: &str,
        delivery: &Delivery,
        mut rows: BatchStream,
        handle: &Handle,
    ) -> Result<u64> {
        let wrong = |error| self.failure(error, "the rows cannot be written");
        let names: Vec<String> =
            rows.schema.fields().iter().map(|field| quote(field.name())).collect();
        let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
        let sql =
            format!("insert into {table} ({}) values ({})", names.join(", "), places.join(", "));
        let mut statement = connection.prepare(&sql).map_err(wrong)?;
        let mut count = 0;
        while let Some(batch) = handle.block_on(rows.batches.next()) {
            delivery.cancel.check()?;
            let batch = batch?;
            let values = Rows::new(&batch)?;
            for row in 0..batch.num_rows() {
                for column in 0..batch.num_columns() {
                    let value = values.value(column, row).map_err(|error| {
                        error
                            .with("row", count + 1)
                            .with("column", rows.schema.field(column).name())
                    })?;
                    statement.raw_bind_parameter(column + 1, value).map_err(wrong)?;
                }
                statement.raw_execute().map_err(wrong)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// The statement that adds a column to a table.
fn add(table: &str, field: &Field) -> String {
    let kind = declared_type(field.data_type());
    format!("alter table {table} add column {} {kind}", quote(field.name()))
}

fn create(table: &str, schema: &SchemaRef, key: &[String]) -> Result<String> {
    let mut columns = Vec::new();
    for field in schema.fields() {
        let kind = declared_type(field.data_type());
        // `integer primary key` is the row's number, which takes no other kind of value.
        columns.push(format!("{} {kind}", quote(field.name())));
    }
    if !key.is_empty() {
        let key: Vec<String> = key.iter().map(|name| quote(name)).collect();
        columns.push(format!("primary key ({})", key.join(", ")));
    }
    Ok(format!("create table {table} ({})", columns.join(", ")))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let sql = "select name, type, hidden in (2, 3), \"notnull\" and dflt_value is null \
               from pragma_table_xinfo(?1) where hidden <> 1";
    let mut columns = connection.prepare(sql)?;
    columns
        .query_map([table], |row| {
            Ok(Column {
                name: row.get(0)?,
                declared: row.get(1)?,
                generated: row.get(2)?,
                required: row.get(3)?,
            })
        })?
        .collect()
}

/// Whether the rows have a place in the table; the columns that are to be added for them.
fn check(
    columns: &[Column],
    schema: &Schema,
    delivery: &Delivery,
    table: &str,
) -> Result<Vec<FieldRef>> {
    let mut misplaced = Misplaced::of(delivery);
    for field in schema.fields() {
        let (name, kind) = (field.name(), declared_type(field.data_type()));
        match columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)) {
            None => misplaced.missing(field, &kind),
            Some(column) if column.generated => misplaced.generated(name),
            Some(column) if !takes(field.data_type(), affinity(&column.declared)) => {
                misplaced.wrong(name, &kind, &column.declared.to_lowercase());
            }
            Some(_) => {}
        }
    }
    misplaced.check(table)
}

/// Whether a conflict can be found by the key.
fn check_key(connection: &Connection, table: &str, key: &[String]) -> rusqlite::Result<Result<()>> {
    if key.is_empty() {
        return Ok(Ok(()));
    }
    let sorted = |mut names: Vec<String>| {
        names.iter_mut().for_each(|name| name.make_ascii_lowercase());
        names.sort();
        names
    };
    let wanted = sorted(key.to_vec());
    let texts = |sql: &str, name: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(sql)?.query_map([name], |row| row.get(0))?.collect()
    };
    let mut unique = vec![texts("select name from pragma_table_info(?1) where pk > 0", table)?];
    let indexes = "select name from pragma_index_list(?1) where \"unique\" and not partial";
    for index in texts(indexes, table)? {
        let columns = "select coalesce(name, '') from pragma_index_info(?1)";
        unique.push(texts(columns, &index)?);
    }
    if unique.into_iter().any(|columns| sorted(columns) == wanted) {
        return Ok(Ok(()));
    }
    let help = format!("create unique index {table}_key on {table} ({})", key.join(", "));
    Ok(Err(no_unique_index(table, key, help)))
}

/// A key that is NULL or comes twice is an error before anything is changed.
fn check_rows(
    connection: &Connection,
    delivery: &Delivery,
    key: &[String],
) -> rusqlite::Result<Result<()>> {
    let quoted: Vec<String> = key.iter().map(|name| quote(name)).collect();
    let nulls: Vec<String> = quoted.iter().map(|name| format!("{name} is null")).collect();
    let sql = format!("select count(*) from {STAGE} where {}", nulls.join(" or "));
    let nulls: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    let shown: Vec<String> = quoted.iter().map(|name| format!("cast({name} as text)")).collect();
    let sql = format!(
        "select {} from {STAGE} group by {} having count(*) > 1 limit 1",
        shown.join(" || ',' || "),
        quoted.join(", ")
    );
    let twice: Option<String> = match nulls {
        0 => connection.query_row(&sql, [], |row| row.get(0)).optional()?,
        _ => None,
    };
    Ok(delivery::wrong_keys(u64::try_from(nulls).unwrap_or(0), twice, key, delivery))
}
