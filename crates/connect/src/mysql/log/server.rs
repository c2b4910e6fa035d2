//! What is asked of the server: whether its log has what is needed, where it is, and the log itself.

use std::cmp::Ordering;
use std::collections::HashMap;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Row, Sid};
use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::layout::LogColumn;
use super::value::Charset;
use crate::mysql::error::failure;
use crate::mysql::{constant, quoted};

/// How far the log was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogPosition {
    /// Which server's files these are.
    pub(super) server: String,
    /// All transactions up to here, by their numbers: they are the same on a replica that takes over.
    pub(super) gtid: String,
    pub(super) file: String,
    pub(super) offset: u64,
    /// The columns of the table here.
    pub(super) columns: Vec<LogColumn>,
    /// Those that went since the whole table was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<String>,
}

/// A place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) gtid: String,
    pub(super) file: String,
    pub(super) offset: u64,
}

impl Place {
    /// Whether the place in the file is this one or behind it. Files of another name cannot be compared.
    pub(super) fn is_reached(&self, file: &str, offset: u64) -> bool {
        self.compared(file, offset).is_some_and(|order| order.is_le())
    }

    /// Whether the place in the file is behind this one.
    pub(super) fn is_passed(&self, file: &str, offset: u64) -> bool {
        self.compared(file, offset).is_some_and(|order| order.is_lt())
    }

    fn compared(&self, file: &str, offset: u64) -> Option<Ordering> {
        fn place(file: &str) -> Option<(&str, u64)> {
            let (name, number) = file.rsplit_once('.')?;
            Some((name, number.parse().ok()?))
        }
        let (own, other) = (place(&self.file)?, place(file)?);
        (own.0 == other.0).then(|| (own.1, self.offset).cmp(&(other.1, offset)))
    }
}

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) maria: bool,
    /// Tells it from others.
    pub(super) name: String,
}

/// The table that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) database: String,
    pub(super) table: String,
    pub(super) columns: Vec<LogColumn>,
}

async fn ask<T: FromRow + Send + 'static>(connection: &mut Conn, sql: &str) -> Result<Vec<T>> {
    connection.query(sql).await.map_err(|error| helped(failure(error, sql)))
}

async fn one<T: FromRow + Send + 'static>(connection: &mut Conn, sql: &str) -> Result<Option<T>> {
    Ok(ask(connection, sql).await?.into_iter().next())
}

/// The value of a variable, or of a status; not every server has each.
async fn variable(connection: &mut Conn, kind: &str, name: &str) -> Result<Option<String>> {
    let found: Option<(String, String)> =
        one(connection, &format!("show global {kind} like '{name}'")).await?;
    Ok(found.map(|(_, value)| value))
}

pub(super) fn helped(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Denied => error.with(
            "help",
            "to follow the log of changes the user of the connection needs `grant replication slave, replication \
             client on *.*` (MariaDB calls the second one `binlog monitor`, too), and `select` on the table",
        ),
        _ => error,
    }
}

fn refused<T>(message: impl Into<String>, help: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Config, message.into()).with("help", help))
}

impl Server {
    /// Looks at the server.
    ///
    /// # Errors
    /// Kind `Config`, with what to change, where its log does not have what is needed.
    pub(super) async fn look(connection: &mut Conn) -> Result<Server> {
        type Settings = (String, i64, String, String, u64, String, u64, String);
        let sql = "select version(), @@log_bin, @@global.binlog_format, @@global.binlog_row_image, \
                   @@server_id, @@hostname, @@port, @@datadir";
        let settings: Option<Settings> = one(connection, sql).await?;
        let Some((version, log, format, image, id, host, port, folder)) = settings else {
            return Err(Error::new(ErrorKind::Internal, "the server has no settings"));
        };
        let maria = version.contains("MariaDB");
        if log == 0 {
            return refused(
                "the server keeps no log of changes (`log_bin` is off)",
                "set `log_bin` and `binlog_format = ROW` in the server's settings, and restart it",
            );
        }
        if !format.eq_ignore_ascii_case("row") {
            return refused(
                format!(
                    "the server's `binlog_format` is `{format}`, and its log has statements in place of rows"
                ),
                "`set global binlog_format = ROW`, also in the server's settings",
            );
        }
        if !image.eq_ignore_ascii_case("full") {
            return refused(
                format!(
                    "the server's `binlog_row_image` is `{image}`, and its log has but parts of rows"
                ),
                "`set global binlog_row_image = FULL`, also in the server's settings",
            );
        }
        let logs = variable(connection, "variables", "log\\__%\\_updates").await?;
        let leaves_out = || {
            refused(
                "the server's log leaves out what it takes from another server (`log_slave_updates` is off)",
                "set `log_slave_updates` (`log_replica_updates`) there, or connect to the primary",
            )
        };
        if maria {
            let position: Option<String> = one(connection, "select @@gtid_slave_pos").await?;
            let replica = position.is_some_and(|position| !position.is_empty())
                || variable(connection, "status", "slave\\_running").await?.as_deref()
                    == Some("ON")
                || variable(connection, "variables", "wsrep\\_on").await?.as_deref() == Some("ON");
            if replica && logs.as_deref() != Some("ON") {
                return leaves_out();
            }
        } else {
            let sql = "select @@global.gtid_mode, @@global.binlog_row_value_options";
            let settings: Option<(String, String)> = one(connection, sql).await?;
            let (mode, options) = settings.unwrap_or_default();
            if logs.as_deref() == Some("OFF") {
                return leaves_out();
            }
            if mode != "ON" {
                return refused(
                    format!(
                        "the server's `gtid_mode` is `{mode}`, and its transactions have no numbers"
                    ),
                    "set `gtid_mode = ON` (with `enforce_gtid_consistency = ON`)",
                );
            }
            if !options.is_empty() {
                return refused(
                    format!(
                        "the server's `binlog_row_value_options` is `{options}`, and its log has but parts of values"
                    ),
                    "`set global binlog_row_value_options = ''`",
                );
            }
        }
        let name = match maria {
            true => format!("{id}@{host}:{port}{folder}"),
            false => one(connection, "select @@server_uuid").await?.unwrap_or_default(),
        };
        Ok(Server { maria, name })
    }

    /// Where the log is now, and which databases it has.
    async fn status(&self, connection: &mut Conn) -> Result<Row> {
        let mut found = None;
        for sql in ["show master status", "show binary log status"] {
            match connection.query_first(sql).await {
                // Later versions of MySQL have other words for it.
                Err(mysql_async::Error::Server(error)) if error.code == 1064 => {}
                Err(error) => return Err(helped(failure(error, sql))),
                Ok(row) => found = row,
            }
        }
        found.ok_or_else(|| Error::new(ErrorKind::Config, "the server keeps no log of changes"))
    }

    /// Where the log is now: everything up to here is in the tables.
    pub(super) async fn now(&self, connection: &mut Conn) -> Result<Place> {
        // First the numbers, which MySQL adds when a transaction is in its tables.
        let gtid = match self.maria {
            true => None,
            false => Some(self.executed(connection).await?),
        };
        let status = self.status(connection).await?;
        let file: String = status.get(0).unwrap_or_default();
        let offset: u64 = status.get(1).unwrap_or_default();
        let gtid = match gtid {
            Some(gtid) => gtid,
            None => self.gtid(connection, &file, offset).await?.unwrap_or_default(),
        };
        Ok(Place { gtid, file, offset })
    }

    async fn executed(&self, connection: &mut Conn) -> Result<String> {
        let gtid: Option<String> = one(connection, "select @@global.gtid_executed").await?;
        Ok(gtid.unwrap_or_default().split_whitespace().collect())
    }

    /// The numbers of MariaDB's transactions at a place; nothing, when the file is not there.
    async fn gtid(&self, connection: &mut Conn, file: &str, offset: u64) -> Result<Option<String>> {
        let sql = format!("select binlog_gtid_pos({}, {offset})", constant(file));
        Ok(one::<Option<String>>(connection, &sql).await?.flatten())
    }

    /// The place of the snapshot that the transaction of this connection sees.
    pub(super) async fn of_snapshot(&self, connection: &mut Conn) -> Result<Place> {
        let sql = "show status like 'binlog_snapshot_%'";
        let found: Vec<(String, String)> = ask(connection, sql).await?;
        let found: HashMap<String, String> =
            found.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let value = |name: &str| found.get(name).filter(|value| !value.is_empty());
        let (file, offset) = (value("binlog_snapshot_file"), value("binlog_snapshot_position"));
        let (Some(file), Some(Ok(offset))) = (file, offset.map(|offset| offset.parse())) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the server does not say where in its log a snapshot is (`binlog_snapshot_file`)",
            ));
        };
        let gtid = self.gtid(connection, file, offset).await?.unwrap_or_default();
        Ok(Place { gtid, file: file.clone(), offset })
    }

    /// Why the log does not have all since the position, as far as the server says it before the log is
    /// asked for.
    pub(super) async fn lost(
        &self,
        connection: &mut Conn,
        before: &LogPosition,
    ) -> Result<Option<String>> {
        if !self.maria {
            let sql =
                format!("select gtid_subset({}, @@global.gtid_executed)", constant(&before.gtid));
            let all: Option<i64> = one(connection, &sql).await?;
            let reason = "the server does not know the last transaction that was read: its log was begun \
                          anew, or it is another server";
            return Ok((all != Some(1)).then(|| reason.to_owned()));
        }
        if before.server != self.name {
            // The numbers have to do, and the server looks at them.
            return Ok(None);
        }
        Ok(match self.gtid(connection, &before.file, before.offset).await? {
            None => Some(format!(
                "the server has removed the file `{}` of its log (`binlog_expire_logs_seconds`, `purge binary logs`)",
                before.file
            )),
            Some(gtid) if gtid != before.gtid => {
                Some(format!("the server's log was begun anew: `{}` is another file", before.file))
            }
            Some(_) => None,
        })
    }

    /// The log from the position on, up to where it ends.
    pub(super) async fn stream(&self, mut connection: Conn, gtid: &str) -> Result<BinlogStream> {
        // Another one with this number would be thrown out, and throw us out.
        let request = BinlogStreamRequest::new(2_000_000_000 + fastrand::u32(..2_000_000_000))
            .with_pos(4)
            .with_non_blocking();
        let request = match self.maria {
            true => {
                let sql = format!(
                    "set @mariadb_slave_capability = 4, @slave_connect_state = {}, @slave_gtid_strict_mode = 0, \
                     @slave_gtid_ignore_duplicates = 0",
                    constant(gtid)
                );
                connection.query_drop(&sql).await.map_err(|error| failure(error, &sql))?;
                request
            }
            false => {
                let sids = gtid.split(',').filter(|one| !one.is_empty()).map(str::parse);
                let sids: Vec<Sid<'static>> = sids
                    .collect::<std::io::Result<_>>()
                    .or_error(ErrorKind::Data, "the numbers of transactions cannot be read")?;
                request.with_gtid().with_gtid_set(sids)
            }
        };
        connection.get_binlog_stream(request).await.map_err(|error| helped(failure(error, "")))
    }

    /// Looks at the table.
    ///
    /// # Errors
    /// Kind `Config`, with what to change, where its changes cannot be followed.
    pub(super) async fn table(
        &self,
        connection: &mut Conn,
        name: &[String],
        key: &[String],
    ) -> Result<Followed> {
        let (database, table) = match name {
            [table] => ("database()".to_owned(), constant(table)),
            [database, table, ..] => (constant(database), constant(table)),
            [] => return Err(Error::new(ErrorKind::Config, "the table has no name")),
        };
        let of = |columns: &str| {
            format!("{columns}table_schema = {database} and {columns}table_name = {table}")
        };
        let sql = format!(
            "select table_schema, table_name, table_type from information_schema.tables where {}",
            of("")
        );
        let found: Option<(String, String, String)> = one(connection, &sql).await?;
        let Some((schema, name, kind)) = found else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no table {}", name.join(".")),
            ));
        };
        if kind != "BASE TABLE" {
            return refused(
                format!("{name} is a {}, whose changes the log does not have", kind.to_lowercase()),
                "`mode: cdc` follows a table; use `merge` or `full`",
            );
        }
        let own = (schema.clone(), name.clone());
        let columns = self.columns(connection, std::slice::from_ref(&own)).await?;
        let columns = columns.into_values().next().unwrap_or_default();
        self.check_key(connection, &name, &of(""), key).await?;
        let sql = format!(
            "select constraint_name from information_schema.referential_constraints where constraint_schema = {database} \
             and table_name = {table} and (delete_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT') \
             or update_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT'))"
        );
        let cascades: Vec<String> = ask(connection, &sql).await?;
        if !cascades.is_empty() {
            return refused(
                format!(
                    "rows of {name} go or change with those of another table ({}), which the server's log does not have",
                    cascades.join(", ")
                ),
                "use `mode: merge` or `full`, or a foreign key with `on delete restrict`",
            );
        }
        self.check_filters(connection, &schema).await?;
        Ok(Followed { database: schema, table: name, columns })
    }

    /// The database and the name of a table, as the log has them; `None`: there is none.
    pub(super) async fn found(
        &self,
        connection: &mut Conn,
        name: &[String],
    ) -> Result<Option<(String, String)>> {
        let (database, table) = match name {
            [table] => ("database()".to_owned(), constant(table)),
            [database, table, ..] => (constant(database), constant(table)),
            [] => return Ok(None),
        };
        let sql = format!(
            "select table_schema, table_name from information_schema.tables \
             where table_schema = {database} and table_name = {table}"
        );
        one(connection, &sql).await
    }

    /// The columns of tables, by their database and name.
    pub(super) async fn columns(
        &self,
        connection: &mut Conn,
        tables: &[(String, String)],
    ) -> Result<HashMap<(String, String), Vec<LogColumn>>> {
        type Found = (String, String, String, String, Option<String>, bool);
        let mut all: HashMap<(String, String), Vec<LogColumn>> = HashMap::new();
        let of = tables.iter().map(|(database, table)| {
            format!("table_schema = {} and table_name = {}", constant(database), constant(table))
        });
        let of = of.collect::<Vec<_>>().join(" or ");
        if of.is_empty() {
            return Ok(all);
        }
        let sql = format!(
            "select table_schema, table_name, column_name, column_type, character_set_name, \
             coalesce(generation_expression, '') <> '' \
             from information_schema.columns where {of} order by table_schema, table_name, ordinal_position"
        );
        let found: Vec<Found> = ask(connection, &sql).await?;
        for (database, table, name, kind, charset, generated) in found {
            let column = LogColumn { name, kind: without_remarks(&kind), charset, generated };
            all.entry((database, table)).or_default().push(column);
        }
        Ok(all)
    }

    /// Whether the key is one that the table has.
    async fn check_key(
        &self,
        connection: &mut Conn,
        table: &str,
        of: &str,
        key: &[String],
    ) -> Result<()> {
        let sql = format!(
            "select index_name, column_name, nullable = 'YES' or sub_part is not null from information_schema.statistics \
             where {of} and non_unique = 0 order by index_name = 'PRIMARY' desc, index_name, seq_in_index"
        );
        let found: Vec<(String, Option<String>, bool)> = ask(connection, &sql).await?;
        let mut keys: Vec<(String, Vec<String>, bool)> = Vec::new();
        for (index, column, loose) in found {
            if keys.last().is_none_or(|(last, ..)| *last != index) {
                keys.push((index, Vec::new(), false));
            }
            if let Some((_, columns, any)) = keys.last_mut() {
                *any |= loose || column.is_none();
                columns.extend(column);
            }
        }
        let sorted = |columns: &[String]| {
            let mut columns = columns.to_vec();
            columns.sort();
            columns
        };
        let fits = |(_, columns, loose): &(String, Vec<String>, bool)| {
            !loose && sorted(columns) == sorted(key)
        };
        if keys.iter().any(fits) {
            return Ok(());
        }
        match keys.iter().find(|(_, _, loose)| !loose) {
            Some((_, columns, _)) => refused(
                format!("`primary_key: [{}]` is not a key of {table}", key.join(", ")),
                &format!("its primary key is `[{}]`", columns.join(", ")),
            ),
            None => refused(
                format!(
                    "{table} has no primary key, by which the rows of the log could be told apart"
                ),
                "`alter table … add primary key (…)`, or `mode: full`",
            ),
        }
    }

    /// Whether the log has the database.
    async fn check_filters(&self, connection: &mut Conn, database: &str) -> Result<()> {
        let status = self.status(connection).await?;
        let list = |at: usize| {
            let names: String = status.get::<Option<String>, _>(at).flatten().unwrap_or_default();
            let names = names.split(',').map(|name| name.trim().to_owned());
            names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
        };
        let (only, not) = (list(2), list(3));
        let has = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(database));
        if !only.is_empty() && !has(&only) || has(&not) {
            return refused(
                format!("the server's log leaves out the database `{database}`"),
                "see `binlog_do_db` and `binlog_ignore_db` in the server's settings",
            );
        }
        Ok(())
    }

    /// How the texts of columns are characters, as the server itself has it.
    pub(super) async fn charsets(
        &self,
        connection: &mut Conn,
        columns: impl Iterator<Item = &LogColumn> + Send,
    ) -> Result<HashMap<String, Charset>> {
        let mut charsets = HashMap::new();
        let mut names: Vec<&str> = columns.filter_map(|column| column.charset.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            if let Some(known) = Charset::of(name) {
                charsets.insert(name.to_owned(), known);
                continue;
            }
            let sql = format!(
                "select maxlen from information_schema.character_sets where character_set_name = {}",
                constant(name)
            );
            if one::<u64>(connection, &sql).await? != Some(1) {
                continue;
            }
            let bytes: Vec<String> = (0..256).map(|byte| byte.to_string()).collect();
            let sql = format!(
                "select convert(char({} using {}) using utf8mb4)",
                bytes.join(","),
                quoted(name)
            );
            let characters: Option<String> = one(connection, &sql).await?;
            let table: Vec<char> = characters.unwrap_or_default().chars().collect();
            if table.len() == 256 {
                charsets.insert(name.to_owned(), Charset::Bytes(table.into()));
            }
        }
        Ok(charsets)
    }
}

/// A type without what a server writes for others of its kind.
fn without_remarks(kind: &str) -> String {
    match kind.split_once(" /*") {
        Some((kind, _)) => kind.trim_end().to_owned(),
        None => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_files_are_compared_by_their_numbers() {
        let until = Place { gtid: String::new(), file: "binlog.1000000".to_owned(), offset: 500 };
        for (file, offset, reached) in [
            ("binlog.999999", 900, false),
            ("binlog.1000000", 499, false),
            ("binlog.1000000", 500, true),
            ("binlog.1000001", 4, true),
            ("mysql-binlog.1000001", 4, false),
            ("", 900, false),
        ] {
            assert_eq!(until.is_reached(file, offset), reached, "{file} {offset}");
        }
    }
}
