//! MySQL and MariaDB as a sink: a state of a relation becomes rows of a table, all at once.
//!
//! Rows for a table that stays come into a temporary one first where there is a key, and one statement for
//! each kind of change brings them in; the record of the delivery, a row of `tidemill_deliveries`, is written
//! in the same transaction.
//!
//! A whole state comes into a table beside the target, which takes its place by one `rename table`. That is a
//! transaction of its own in MySQL, so that there is a record of what is about to happen before it: as the
//! table beside is there exactly until it took the place, whoever reads that record later knows what became
//! of it.

pub(crate) mod columns;
mod rows;
mod target;

use std::future::Future;

use async_trait::async_trait;
use futures::FutureExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use serde::Deserialize;
use tidemill_core::{BatchStream, Delivered, Delivery, Error, ErrorKind, Result, Sink};
use xxhash_rust::xxh3::xxh3_64;

use super::error::failure;
use super::{Place, constant, quoted};
use crate::delivery::settle;
use crate::failpoint::failpoint;

/// A MySQL that rows are written to.
pub(super) struct MySqlSink {
    pub(super) place: Place,
    /// The connection's name, for messages.
    pub(super) name: String,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    table: String,
}

/// What does not fit is an error, and a 0 is one.
const SETTINGS: &str = "set session sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,\
     NO_ZERO_DATE,NO_ZERO_IN_DATE', wait_timeout = 86400, group_concat_max_len = 100000";

/// The tables of a delivery.
#[derive(Debug, Clone)]
struct Names {
    database: String,
    table: String,
    /// Where the rows go, in quotes as those below.
    target: String,
    /// What takes its place.
    next: String,
    /// What it was until then.
    old: String,
    records: String,
}

impl Names {
    fn new(database: &str, table: &str) -> Self {
        let in_database = |name: &str| format!("{}.{}", quoted(database), quoted(name));
        // Names have 64 characters; two long ones may begin alike.
        let stem = match table.chars().count() {
            ..=40 => table.to_owned(),
            _ => {
                let start: String = table.chars().take(31).collect();
                format!("{start}_{:08x}", xxh3_64(table.as_bytes()) >> 32)
            }
        };
        Names {
            database: database.to_owned(),
            table: table.to_owned(),
            target: in_database(table),
            next: in_database(&format!("{stem}__tidemill_next")),
            old: in_database(&format!("{stem}__tidemill_old")),
            records: in_database("tidemill_deliveries"),
        }
    }

    fn lock(&self) -> String {
        format!("tidemill {:016x}", xxh3_64(self.target.as_bytes()))
    }
}

/// What is left to be done.
enum End {
    /// It was delivered before.
    Nothing,
    /// The transaction is to be committed.
    Commit,
    /// The next table is to take the place of the target.
    Swap { there: bool },
}

/// The connection of one delivery.
struct Writer<'a> {
    connection: Conn,
    maria: bool,
    delivery: &'a Delivery,
    names: Names,
}

#[async_trait]
impl Sink for MySqlSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let mut writer = self.writer(delivery).await?;
            let delivered = writer.is_delivered().await?;
            let _ = writer.connection.disconnect().await;
            Ok(delivered)
        };
        asked.await.map_err(|error: Error| error.with("connection", &self.name))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let mut writer = self.writer(delivery).await?;
            let id = writer.connection.id();
            let (delivered, end) = self.stopped_by_cancel(delivery, id, writer.work(rows)).await?;
            // From here on it is not stopped: the end is soon and has to be known.
            match writer.end(&end).await {
                Ok(()) => {
                    let _ = writer.connection.disconnect().await;
                    Ok(delivered)
                }
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Io) => {
                    drop(writer);
                    self.settle(delivery, id, error).await.map(|()| delivered)
                }
                Err(error) => Err(error),
            }
        };
        delivered.await.map_err(|error| error.with("connection", &self.name))
    }
}

impl MySqlSink {
    async fn writer<'a>(&self, delivery: &'a Delivery) -> Result<Writer<'a>> {
        let mut connection = self.place.connect().await?;
        connection.query_drop(SETTINGS).await.map_err(|error| failure(error, SETTINGS))?;
        let sql = "select version(), database()";
        let asked: Option<(String, Option<String>)> =
            connection.query_first(sql).await.map_err(|error| failure(error, sql))?;
        let (version, database) = asked.unwrap_or_default();
        let to = serde_json::Value::Object(delivery.to.clone());
        let help = "to: {connection: …, table: database.name}";
        let To { table } = serde_json::from_value(to).map_err(|wrong| {
            Error::new(ErrorKind::Config, format!("`to` of the export: {wrong}")).with("help", help)
        })?;
        let parts: Vec<&str> = table.split('.').collect();
        let names = match (parts.as_slice(), database) {
            ([table], Some(database)) => Names::new(&database, table),
            ([_], None) => {
                let message = "the connection has no database to write to";
                return Err(Error::new(ErrorKind::Config, message).with("help", help));
            }
            ([database, table], _) => Names::new(database, table),
            _ => {
                let message = format!("`{table}` is not a table; write `database.name`");
                return Err(Error::new(ErrorKind::Config, message));
            }
        };
        Ok(Writer { connection, maria: version.contains("MariaDB"), delivery, names })
    }

    async fn stopped_by_cancel<T>(
        &self,
        delivery: &Delivery,
        id: u32,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        delivery.cancel.check()?;
        tokio::select! {
            done = work => done,
            () = delivery.cancel.cancelled() => {
                self.kill(id).await;
                Err(Error::new(ErrorKind::Cancelled, "cancelled"))
            }
        }
    }

    /// Ends a connection of ours.
    async fn kill(&self, id: u32) {
        if let Ok(mut other) = self.place.connect().await {
            let _ = other.query_drop(format!("kill {id}")).await;
            let _ = other.disconnect().await;
        }
    }

    /// The answer to a commit did not come: the record tells whether it was done. Its lock is held by the
    /// old connection until that has ended, so that what is read then stays true.
    async fn settle(&self, delivery: &Delivery, id: u32, lost: Error) -> Result<()> {
        let asked = || {
            let asked = async move {
                self.kill(id).await;
                self.has_record(delivery).await
            };
            asked.boxed()
        };
        settle("MySQL", lost, asked).await
    }

    /// Whether the record of this very run is there.
    async fn has_record(&self, delivery: &Delivery) -> Result<bool> {
        let mut writer = self.writer(delivery).await?;
        writer.lock().await?;
        writer.settle().await?;
        let sql = format!(
            "select 1 from {} where export = ? and step = 'delivered' and state = ? and run = ?",
            writer.names.records
        );
        let run = delivery.run.to_string();
        let found = writer.found(&sql, &[&delivery.export, &delivery.state, &run]).await?;
        let _ = writer.connection.disconnect().await;
        Ok(found)
    }
}

/// What a value of the rows did not fit, not what the statement is.
fn of_rows(error: mysql_async::Error) -> Error {
    let code = match &error {
        mysql_async::Error::Server(server) => server.code,
        _ => 0,
    };
    let error = failure(error, "");
    match code {
        // Keys that are there, NULLs, what is too large, too long, or of another form; checks.
        1048 | 1062 | 1264 | 1265 | 1292 | 1364 | 1366 | 1406 | 1411 | 3819 | 4025 | 1451
        | 1452 => Error::new(ErrorKind::Data, error.message().to_owned()).because(error),
        _ => error,
    }
}

impl Writer<'_> {
    async fn run(&mut self, sql: &str) -> Result<()> {
        self.connection.query_drop(sql).await.map_err(|error| failure(error, sql))
    }

    /// Runs it, and gives how many rows it changed.
    async fn count(&mut self, sql: &str) -> Result<u64> {
        self.connection.query_drop(sql).await.map_err(of_rows)?;
        Ok(self.connection.affected_rows())
    }

    /// Runs it with texts as parameters.
    async fn with(&mut self, sql: &str, given: &[&str]) -> Result<()> {
        let given = given.iter().map(|text| Value::from(*text)).collect();
        let done = self.connection.exec_drop(sql, Params::Positional(given)).await;
        done.map_err(|error| failure(error, sql))
    }

    /// Whether a query with texts as parameters has a row.
    async fn found(&mut self, sql: &str, given: &[&str]) -> Result<bool> {
        let given = given.iter().map(|text| Value::from(*text)).collect();
        let found: Option<i64> = self
            .connection
            .exec_first(sql, Params::Positional(given))
            .await
            .map_err(|error| failure(error, sql))?;
        Ok(found.is_some())
    }

    /// Whether there is a table of this name, in quotes.
    async fn exists(&mut self, name: &str) -> Result<bool> {
        let sql = format!("select 1 from {name} limit 0");
        match self.connection.query_drop(&sql).await {
            Ok(()) => Ok(true),
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1146 | 1049) => {
                Ok(false)
            }
            Err(error) => Err(failure(error, &sql)),
        }
    }

    /// One delivery to a table at once, until the connection ends; the next one sees its record.
    async fn lock(&mut self) -> Result<()> {
        let sql = format!("select get_lock({}, 86400)", constant(&self.names.lock()));
        let held: Option<Option<i64>> =
            self.connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        match held.flatten() {
            Some(1) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                "another delivery to the table does not end",
            )),
        }
    }

    /// Whether the state is there, by a record of this step.
    async fn has_step(&mut self, step: &str) -> Result<bool> {
        let sql = format!(
            "select 1 from {} where export = ? and step = ? and relation = ? and state = ? and mode = ? \
             and target = ?",
            self.names.records
        );
        let Delivery { export, relation, state, mode, .. } = self.delivery;
        let (relation, mode) = (relation.to_string(), mode.record());
        let target = self.names.target.clone();
        self.found(&sql, &[export, step, &relation, state, &mode, &target]).await
    }

    async fn is_delivered(&mut self) -> Result<bool> {
        let Names { target, next, records, .. } = self.names.clone();
        if self.delivery.again || !self.exists(&records).await? || !self.exists(&target).await? {
            // What somebody dropped is delivered again.
            return Ok(false);
        }
        if self.has_pending().await? {
            return match self.exists(&next).await? {
                true => self.has_step("delivered").await,
                false => self.has_step("swap").await,
            };
        }
        self.has_step("delivered").await
    }

    async fn has_pending(&mut self) -> Result<bool> {
        let sql =
            format!("select 1 from {} where export = ? and step = 'swap'", self.names.records);
        let export = self.delivery.export.clone();
        self.found(&sql, &[&export]).await
    }

    /// Learns what became of a swap that broke off, and clears away what it left.
    async fn settle(&mut self) -> Result<()> {
        let Names { next, old, records, .. } = self.names.clone();
        if self.has_pending().await? {
            let export = self.delivery.export.clone();
            let done = !self.exists(&next).await?;
            self.run("start transaction").await?;
            if done {
                let sql = format!("delete from {records} where export = ? and step = 'delivered'");
                self.with(&sql, &[&export]).await?;
                let sql = format!(
                    "update {records} set step = 'delivered' where export = ? and step = 'swap'"
                );
                self.with(&sql, &[&export]).await?;
            } else {
                let sql = format!("delete from {records} where export = ? and step = 'swap'");
                self.with(&sql, &[&export]).await?;
            }
            self.run("commit").await?;
        }
        self.run(&format!("drop table if exists {next}, {old}")).await
    }

    /// Writes the record of a step.
    async fn record(&mut self, step: &str, rows: u64) -> Result<()> {
        let sql = format!(
            "replace into {} (export, step, relation, state, mode, target, `rows`, run) \
             values (?, ?, ?, ?, ?, ?, ?, ?)",
            self.names.records
        );
        let Delivery { export, relation, state, mode, run, .. } = self.delivery;
        let (relation, mode, rows, run) =
            (relation.to_string(), mode.record(), rows.to_string(), run.to_string());
        let target = self.names.target.clone();
        self.with(&sql, &[export, step, &relation, state, &mode, &target, &rows, &run]).await
    }

    /// Does everything but the end.
    async fn work(&mut self, rows: BatchStream) -> Result<(Delivered, End)> {
        self.lock().await?;
        let records = self.names.records.clone();
        if !self.exists(&records).await? {
            self.run(&format!(
                "create table if not exists {records} (export varchar(255) not null, step varchar(20) not null, \
                 relation varchar(500) not null, state varchar(500) not null, mode text not null, \
                 target varchar(500) not null, `rows` bigint not null, run varchar(255) not null, \
                 delivered_at timestamp not null default current_timestamp, primary key (export, step)) \
                 engine = InnoDB character set utf8mb4 collate utf8mb4_bin"
            ))
            .await?;
        }
        self.settle().await?;
        if self.is_delivered().await? {
            return Ok((Delivered { nothing_new: true, ..Delivered::default() }, End::Nothing));
        }
        failpoint!("export.begun");
        let (delivered, end) = self.write(rows).await?;
        match end {
            End::Swap { .. } => {
                // The rows are there; from now on a next table that is gone has taken the place.
                self.run("commit").await?;
                failpoint!("export.changed");
                self.record("swap", delivered.rows).await?;
            }
            _ => {
                failpoint!("export.changed");
                self.record("delivered", delivered.rows).await?;
            }
        }
        failpoint!("export.before-commit");
        Ok((delivered, end))
    }

    async fn end(&mut self, end: &End) -> Result<()> {
        match end {
            End::Nothing => {}
            End::Commit => {
                self.run("commit").await?;
                failpoint!("export.after-commit");
            }
            End::Swap { there } => {
                let Names { target, next, old, .. } = self.names.clone();
                let rename = match there {
                    true => format!("rename table {target} to {old}, {next} to {target}"),
                    false => format!("rename table {next} to {target}"),
                };
                self.run(&rename).await?;
                failpoint!("export.after-commit");
                self.settle().await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_beside_fit_and_differ() {
        let beside = |table: &str| Names::new("d", table).next;
        assert_eq!(beside("orders"), "`d`.`orders__tidemill_next`");
        let (one, other) = ("ä".repeat(63) + "1", "ä".repeat(63) + "2");
        assert_ne!(beside(&one), beside(&other));
        assert!(beside(&one).chars().count() <= 64 + "`d`.``".len());
    }
}
