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

mod columns;
mod target;
mod write;

use std::future::Future;
use std::time::Duration;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use futures::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use serde::Deserialize;
use tidemill_core::{
    BatchStream, Delivered, Delivery, DeliveryMode, Error, ErrorKind, Result, Sink,
};
use xxhash_rust::xxh3::xxh3_64;

use super::error::failure;
use super::{Place, constant, quoted};
use crate::failpoint::failpoint;
use columns::{definition, exact};
use target::Target;
use write::Statements;

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

/// The table that rows come into before they are brought into a target that stays.
const STAGE: &str = "`tidemill_stage`";

/// How large a statement is, at most.
const STATEMENT: usize = 1 << 20;

/// How often, and after which pause at first, a server that is gone is asked what became of a commit.
const ASKED: u32 = 7;
const PAUSE: Duration = Duration::from_millis(250);

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
        let mut pause = PAUSE;
        for attempt in 1..=ASKED {
            self.kill(id).await;
            match self.has_record(delivery).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "the connection to MySQL broke before the commit; nothing was changed",
                    )
                    .because(lost));
                }
                Err(error) => {
                    tracing::debug!(attempt, error = %error, "the record of a delivery was not read");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Error::new(
            ErrorKind::Unknown,
            "the connection to MySQL broke at the commit, and whether it was done cannot be read",
        )
        .with("help", "run it again: what was delivered is recorded there and not delivered twice")
        .because(lost))
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

    /// Brings the rows in: into the next table, or in a transaction that is open then.
    async fn write(&mut self, rows: BatchStream) -> Result<(Delivered, End)> {
        let schema = rows.schema.clone();
        let names = self.names.clone();
        let mode = self.delivery.mode.clone();
        let key = mode.key();
        if let Some(missing) = key.iter().find(|name| schema.index_of(name).is_err()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`primary_key` names `{missing}`, which `{}` does not have",
                    self.delivery.relation
                ),
            ));
        }
        let target = Target::find(&mut self.connection, &names).await?;
        if let Some(target) = &target {
            target.check(&schema, &mode, &names)?;
        }
        let Some(target) =
            target.filter(|target| mode != DeliveryMode::Full || target.kept_by.is_some())
        else {
            return self.next(rows).await;
        };
        target.check_engine(&names)?;
        if let Some(why) = target.kept_by {
            tracing::debug!(why, "rows are deleted and inserted, as the table itself stays");
        }
        if key.is_empty() {
            self.run("start transaction").await?;
            let mut delivered = Delivered::default();
            if mode == DeliveryMode::Full {
                delivered.deleted = self.count(&format!("delete from {}", names.target)).await?;
            }
            delivered.rows = self.insert(&names.target, rows).await?;
            delivered.inserted = delivered.rows;
            failpoint!("export.copied");
            return Ok((delivered, End::Commit));
        }
        let definitions: Vec<String> = schema
            .fields()
            .iter()
            .filter_map(|field| Some(target.column(field.name())?.definition()))
            .collect();
        let by = list(key);
        let sql = format!(
            "create temporary table {STAGE} ({}, index tidemill_key ({by})) engine = InnoDB",
            definitions.join(", ")
        );
        self.connection.query_drop(&sql).await.map_err(|error| failure(error, &sql))?;
        self.run("start transaction").await?;
        let mut delivered =
            Delivered { rows: self.insert(STAGE, rows).await?, ..Delivered::default() };
        failpoint!("export.copied");
        self.check_keys(STAGE, key).await?;
        self.merge(&target, &schema, &mut delivered).await?;
        Ok((delivered, End::Commit))
    }

    /// Brings the rows of the stage in.
    async fn merge(
        &mut self,
        target: &Target,
        schema: &Schema,
        delivered: &mut Delivered,
    ) -> Result<()> {
        let (names, mode) = (self.names.clone(), self.delivery.mode.clone());
        let key = mode.key();
        let same: Vec<String> =
            key.iter().map(|name| format!("s.{0} = t.{0}", quoted(name))).collect();
        let same = same.join(" and ");
        let first = quoted(key.first().map_or("", String::as_str));
        if let DeliveryMode::Merge { deletes: true, .. } = mode {
            let sql = format!(
                "delete t from {} as t left join {STAGE} as s on {same} where s.{first} is null",
                names.target
            );
            delivered.deleted = self.count(&sql).await?;
        }
        let all: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let others: Vec<&str> =
            all.iter().copied().filter(|name| !key.iter().any(|key| key == name)).collect();
        if matches!(mode, DeliveryMode::Merge { .. }) && !others.is_empty() {
            let set: Vec<String> =
                others.iter().map(|name| format!("t.{0} = s.{0}", quoted(name))).collect();
            // What a collation takes for equal is not.
            let equal = others.iter().map(|name| match target.column(name) {
                Some(column) if column.is_text() => {
                    format!("cast(t.{0} as binary) <=> cast(s.{0} as binary)", quoted(name))
                }
                _ => format!("t.{0} <=> s.{0}", quoted(name)),
            });
            let sql = format!(
                "update {} as t join {STAGE} as s on {same} set {} where not ({})",
                names.target,
                set.join(", "),
                equal.collect::<Vec<_>>().join(" and ")
            );
            delivered.updated = self.count(&sql).await?;
        }
        let columns = all.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let of_stage = all.iter().map(|name| format!("s.{}", quoted(name))).collect::<Vec<_>>();
        let sql = format!(
            "insert into {0} ({columns}) select {1} from {STAGE} as s left join {0} as t on {same} where t.{first} is null",
            names.target,
            of_stage.join(", ")
        );
        delivered.inserted = self.count(&sql).await?;
        Ok(())
    }

    /// Writes the rows to a table that takes the target's place.
    async fn next(&mut self, rows: BatchStream) -> Result<(Delivered, End)> {
        let names = self.names.clone();
        let there = self.exists(&names.target).await?;
        let key = self.delivery.mode.key().to_vec();
        let sql = match there {
            true => format!("create table {} like {}", names.next, names.target),
            false => {
                let definitions: Vec<String> = rows
                    .schema
                    .fields()
                    .iter()
                    .map(|field| definition(field, &key))
                    .collect::<Result<_>>()?;
                format!(
                    "create table {} ({}) engine = InnoDB character set utf8mb4 collate {}",
                    names.next,
                    definitions.join(", "),
                    exact(self.maria)
                )
            }
        };
        self.run(&sql).await?;
        self.run("start transaction").await?;
        let written = self.insert(&names.next, rows).await?;
        failpoint!("export.copied");
        if !key.is_empty() {
            self.check_keys(&names.next, &key).await?;
            self.run("commit").await?;
            self.run(&format!("alter table {} add primary key ({})", names.next, list(&key)))
                .await?;
        }
        let delivered = Delivered { rows: written, inserted: written, ..Delivered::default() };
        Ok((delivered, End::Swap { there }))
    }

    /// Adds the rows to a table; gives their number.
    async fn insert(&mut self, table: &str, mut rows: BatchStream) -> Result<u64> {
        let sql = "select @@max_allowed_packet";
        let limit: Option<u64> =
            self.connection.query_first(sql).await.map_err(|error| failure(error, sql))?;
        let limit = usize::try_from(limit.unwrap_or(0) / 2).unwrap_or(STATEMENT).min(STATEMENT);
        let columns: Vec<String> =
            rows.schema.fields().iter().map(|field| quoted(field.name())).collect();
        let key = self.delivery.mode.key();
        let mut statements = Statements::new(table, &columns, key, limit);
        let mut count = 0;
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            for sql in statements.of(&batch)? {
                self.connection.query_drop(sql).await.map_err(of_rows)?;
            }
            count += batch.num_rows() as u64;
        }
        Ok(count)
    }

    /// A key that is NULL or comes twice is an error before anything is changed.
    async fn check_keys(&mut self, table: &str, key: &[String]) -> Result<()> {
        let quoted: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        let nulls: Vec<String> = quoted.iter().map(|name| format!("{name} is null")).collect();
        let sql = format!("select count(*) from {table} where {}", nulls.join(" or "));
        let nulls: Option<u64> =
            self.connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        let list = quoted.join(", ");
        let sql = format!(
            "select concat_ws(', ', {list}) from {table} group by {list} having count(*) > 1 limit 1"
        );
        let twice: Option<String> =
            self.connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        let wrong = match (nulls.unwrap_or(0), twice) {
            (0, None) => return Ok(()),
            (0, Some(key)) => format!("the key ({key}) comes more than once"),
            (1, _) => "1 row has NULL in its key".to_owned(),
            (rows, _) => format!("{rows} rows have NULL in their key"),
        };
        Err(Error::new(ErrorKind::Data, wrong)
            .with("primary_key", key.join(", "))
            .with("relation", &self.delivery.relation))
    }
}

/// Names in quotes.
fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
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
