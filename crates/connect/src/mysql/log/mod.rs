//! The log of changes of a table (the binlog, with rows) as a source: `mode: cdc`.
//!
//! The first read takes a snapshot of the table, and the place in the log where that is: MariaDB says it of
//! the snapshot, MySQL of a moment before it. After it each read takes the log up to where it ended when
//! the read began. What comes twice does no harm: rows are whole in the log and have their key, so that the
//! end is the same from whichever place of before it is read. Tables of a connection have the log read once for all of
//! them (`reader`); each has its own place in it.
//!
//! Nothing is kept in the database for us, so that the server removes its log when it likes: then changes
//! are lost, which is told from none.

mod event;
mod json;
mod layout;
mod reader;
mod rows;
mod server;
mod statement;
mod value;

use std::collections::HashMap;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, Conn};
use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_core::{Cancellation, Error, ErrorKind, Notice, Result, ResultExt};

use self::layout::{Known, Place as ColumnPlace, changed};
use self::reader::{Ask, Found};
use self::rows::{Batches, Readings, Spool, Wanted};
use self::server::{LogPosition, Place as LogPlace, Server};
use self::value::{Charset, Reading};
use super::error::failure;
use super::session::{MySqlSession, described};
use super::{Place, unquoted};
use crate::tables::{Column, LogRequest, LogSibling, OnLoss, Part, Select, Session, column_of};

/// Changes up to this size are kept in memory.
const MEMORY: usize = 16 << 20;

/// The position of a table without changes moves on when so much of the log was read for it.
const IDLE: u64 = 16 << 20;

/// The settings of a table that is followed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogSettings {
    /// What is done when changes are lost; the name is that of PostgreSQL's.
    on_slot_loss: OnLoss,
}

/// The settings of the log, and what is left.
pub(super) fn take_settings(written: &Value) -> Result<(LogSettings, Value)> {
    let Value::Object(mut rest) = written.clone() else {
        return Ok((LogSettings::default(), written.clone()));
    };
    let own: Map<String, Value> = ["on_slot_loss"]
        .into_iter()
        .filter_map(|key| {
            Some((key.to_owned(), rest.remove(key).filter(|value| !value.is_null())?))
        })
        .collect();
    let settings = serde_json::from_value(Value::Object(own)).map_err(|error| {
        let message = format!("`on_slot_loss` is `fail` or `snapshot`: {error}");
        Error::new(ErrorKind::Config, message)
    })?;
    Ok((settings, Value::Object(rest)))
}

/// Why the log was not read.
enum Failure {
    /// It does not have all changes.
    Lost(String),
    Other(Error),
}

impl Failure {
    fn lost(reason: &str) -> Self {
        Failure::Lost(reason.to_owned())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// What was read of the log, and where the columns of its rows are.
struct Changes {
    spool: Spool,
    places: Vec<Vec<ColumnPlace>>,
}

/// A read of the log, or of the table, when there is no position in the log yet.
pub(super) struct LogSession {
    place: Place,
    cancel: Cancellation,
    settings: LogSettings,
    key: Vec<String>,
    siblings: Vec<LogSibling>,
    every_change: bool,
    /// Where the last read ended.
    before: Option<LogPosition>,
    /// What the table is read through the first time.
    first: Option<MySqlSession>,
    columns: Vec<Column>,
    charsets: HashMap<String, Charset>,
    changes: Option<Changes>,
    /// Changes were lost, and the table is read again.
    again: bool,
    notices: Vec<Notice>,
    position: Option<LogPosition>,
}

impl LogSession {
    pub(super) fn new(place: Place, request: &LogRequest<'_>) -> Result<Self> {
        let (settings, _) = take_settings(request.settings)?;
        let before = request.position.map(|position| {
            serde_json::from_value(position.clone())
                .or_error(ErrorKind::Data, "the position of the last load cannot be read")
        });
        Ok(LogSession {
            place,
            cancel: request.cancel.clone(),
            settings,
            key: request.key.to_vec(),
            siblings: request.siblings.to_vec(),
            every_change: request.every_change,
            before: before.transpose()?,
            first: None,
            columns: Vec::new(),
            charsets: HashMap::new(),
            changes: None,
            again: false,
            notices: Vec::new(),
            position: None,
        })
    }

    fn notice(&mut self, code: &str, message: String, table: &str) {
        let object = Some(table.to_owned());
        self.notices.push(Notice { code: code.to_owned(), message, object });
    }

    /// Looks at the server and the table; takes the log, or begins a snapshot where there is no position yet.
    async fn open(&mut self, select: &Select) -> Result<Vec<Column>> {
        let Some(written) = select.table.clone().filter(|_| select.conditions.is_empty()) else {
            return Err(Error::new(
                ErrorKind::Config,
                "`mode: cdc` follows a whole `table`, without `query` and `where`",
            ));
        };
        let mut connection = self.place.connect().await?;
        let server = Server::look(&mut connection).await?;
        let columns = described(&mut connection, &select.sql("*")).await?;
        let key = column_of(columns.iter().map(|column| column.name.as_str()), &self.key);
        let name = unquoted(&written);
        let reason = match &self.before {
            None => None,
            Some(before) => {
                let before = before.clone();
                match self.follow(&mut connection, &server, &written, &name, &key, &before).await {
                    Ok(()) => return self.chosen(&mut connection, select, &written).await,
                    Err(Failure::Lost(reason)) => Some(reason),
                    Err(Failure::Other(error)) => return Err(error),
                }
            }
        };
        if let Some(reason) = reason {
            if self.settings.on_slot_loss == OnLoss::Fail {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!("changes of {written} are lost: {reason}"),
                )
                .with(
                    "help",
                    "--full-refresh reads the table again as a whole; `on_slot_loss: snapshot` does so by itself",
                ));
            }
            self.notice("read-again", format!("is read again as a whole: {reason}"), &written);
            self.again = true;
        }
        self.begin(&mut connection, &server, &name, &key, select).await?;
        self.chosen(&mut connection, select, &written).await
    }

    /// The columns that can be read.
    async fn chosen(
        &mut self,
        connection: &mut Conn,
        select: &Select,
        table: &str,
    ) -> Result<Vec<Column>> {
        let Some(position) = &self.position else {
            return Err(Error::new(ErrorKind::Internal, "the log is read without a position"));
        };
        let generated: Vec<String> = position
            .columns
            .iter()
            .filter(|column| column.generated)
            .map(|column| column.name.clone())
            .collect();
        let mut columns = match &mut self.first {
            Some(first) => first.columns(select).await?,
            None => described(connection, &select.sql("*")).await?,
        };
        if !generated.is_empty() {
            columns.retain(|column| !generated.contains(&column.name));
            let message = format!(
                "has columns that the database computes, which are not followed, and left out: {}",
                generated.join(", ")
            );
            self.notice("left-out-column", message, table);
        }
        self.columns = columns;
        Ok(self.columns.clone())
    }

    /// Begins a snapshot, and knows where in the log it is.
    async fn begin(
        &mut self,
        connection: &mut Conn,
        server: &Server,
        name: &[String],
        key: &[String],
        select: &Select,
    ) -> Result<()> {
        let of = server.table(connection, name, key).await?;
        let before = match server.maria {
            true => None,
            false => Some(server.now(connection).await?),
        };
        let mut first = MySqlSession::begin_shared(self.place.clone(), self.cancel.clone()).await?;
        // The columns are those of this place; with several connections the rows may be later ones.
        let lock = select.with("1", &["false".to_owned()]);
        first.connection.query_drop(&lock).await.map_err(|error| failure(error, &lock))?;
        let of_now = server.table(connection, name, key).await?;
        if of_now.columns != of.columns {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the table was altered when the load began",
            ));
        }
        let LogPlace { gtid, file, offset } = match before {
            Some(before) => before,
            None => server.of_snapshot(&mut first.connection).await?,
        };
        // Whether the log may be read is known now, and not with the next load.
        let stream = server.stream(self.place.connect().await?, &gtid).await?;
        match self.probe(stream).await {
            Err(Failure::Lost(reason)) => return Err(Error::new(ErrorKind::Data, reason)),
            Err(Failure::Other(error)) => return Err(error),
            Ok(()) => {}
        }
        let message = format!("is followed from `{file}`, {offset} of the server's log on");
        self.position = Some(LogPosition {
            server: server.name.clone(),
            gtid,
            file,
            offset,
            columns: of_now.columns,
            gone: Vec::new(),
        });
        self.notice("followed-log", message, select.table.as_deref().unwrap_or(&select.from));
        self.first = Some(first);
        Ok(())
    }

    /// Whether the log comes.
    async fn probe(&self, mut stream: BinlogStream) -> Result<(), Failure> {
        let first = stream.next().await.transpose().map_err(of_stream);
        close(stream).await;
        first.map(drop)
    }

    /// Takes the log up to where it is now.
    async fn follow(
        &mut self,
        connection: &mut Conn,
        server: &Server,
        written: &str,
        name: &[String],
        key: &[String],
        before: &LogPosition,
    ) -> Result<(), Failure> {
        if let Some(reason) = server.lost(connection, before).await? {
            return Err(Failure::Lost(reason));
        }
        let mut of = server.table(connection, name, key).await?;
        let ask =
            Ask { table: written, of: &of, before, siblings: &self.siblings, cancel: &self.cancel };
        let Found { spool, until, columns } =
            reader::read(&self.place, connection, server, &ask).await?;
        of.columns = columns;
        let known = |altered| Known {
            was: &before.columns,
            is: &of.columns,
            altered,
            alterations: spool.alterations,
        };
        if spool.alterations == 0 && before.columns != of.columns {
            return Err(Failure::lost("its columns changed, and the log does not say when"));
        }
        if let Some(reason) = changed(&before.columns, &of.columns, &spool.dropped) {
            return Err(Failure::Lost(reason));
        }
        let mut gone = before.gone.clone();
        gone.extend(spool.dropped.iter().cloned());
        if let Some(again) = of.columns.iter().find(|column| gone.contains(&column.name)) {
            return Err(Failure::Lost(format!(
                "`{}` was dropped and made again, and the log does not have its values",
                again.name
            )));
        }
        let mut places = Vec::with_capacity(spool.maps.len());
        for mapped in &spool.maps {
            let Some(images) = &mapped.images else {
                places.push(Vec::new());
                continue;
            };
            let of_map = known(mapped.altered).places(&mapped.map).map_err(Failure::Lost)?;
            let missing = of_map.iter().zip(images).find_map(|(place, all)| {
                place.column.as_ref().filter(|column| !all && !column.generated)
            });
            if let Some(column) = missing {
                return Err(Failure::Lost(format!(
                    "somebody wrote to it with a `binlog_row_image` that is not FULL (`{}` is missing)",
                    column.name
                )));
            }
            places.push(of_map);
        }
        let all = before.columns.iter().chain(&of.columns);
        self.charsets = server.charsets(connection, all).await?;
        // Nothing happened to the table: the position stays, so that nothing is to be recorded.
        let idle = spool.changes == 0
            && spool.read < IDLE
            && until.file == before.file
            && of.columns == before.columns
            && server.name == before.server;
        self.position = Some(match idle {
            true => before.clone(),
            false => LogPosition {
                server: server.name.clone(),
                gtid: until.gtid,
                file: until.file,
                offset: until.offset,
                columns: of.columns,
                gone,
            },
        });
        self.changes = Some(Changes { spool, places });
        Ok(())
    }
}

/// What the server says in place of its log.
fn of_stream(error: mysql_async::Error) -> Failure {
    match &error {
        mysql_async::Error::Server(server) if server.code == 1236 => {
            Failure::Lost(server.message.clone())
        }
        _ => Failure::Other(server::helped(failure(error, ""))),
    }
}

async fn close(stream: BinlogStream) {
    if let Err(error) = stream.close().await {
        tracing::debug!(%error, "a connection that read the log was not closed");
    }
}

#[async_trait]
impl Session for LogSession {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        let cancel = self.cancel.clone();
        tokio::select! {
            columns = self.open(select) => columns,
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        }
    }

    fn gives(&self, column: &Column, declared: &DataType) -> bool {
        // What the log has as the server's own cast writes it.
        let other = self.position.iter().flat_map(|position| &position.columns).any(|known| {
            known.name == column.name
                && (matches!(known.word(), "year" | "bit") || known.kind.contains("zerofill"))
        });
        *declared == DataType::Utf8
            && !other
            && matches!(
                column.data_type,
                DataType::Int16
                    | DataType::Int32
                    | DataType::Int64
                    | DataType::Decimal128(..)
                    | DataType::Date32
                    | DataType::Timestamp(..)
            )
    }

    async fn value(&mut self, _sql: &str) -> Result<Option<String>> {
        Err(Error::new(ErrorKind::Internal, "a log has no single values"))
    }

    async fn rows<'a>(
        &'a mut self,
        select: &Select,
        columns: &[Column],
        batch_rows: Option<usize>,
    ) -> Result<BoxStream<'a, Result<Part>>> {
        if let Some(first) = self.first.as_mut() {
            let again = self.again.then_some(Ok(Part::Truncated));
            let rows = first.rows(select, columns, batch_rows).await?;
            return Ok(Box::pin(futures::stream::iter(again).chain(rows)));
        }
        let Some(Changes { spool, places }) = self.changes.take() else {
            return Err(Error::new(ErrorKind::Internal, "the log is read without a position"));
        };
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type.clone()).collect();
        let mut readings: Vec<Readings> = Vec::with_capacity(places.len());
        for places in places {
            let mut of_map = Readings::with_capacity(places.len());
            for place in places {
                let at = place.column.as_ref().and_then(|column| {
                    let at = names.iter().position(|name| *name == column.name)?;
                    Some((at, column))
                });
                let wanted = match at {
                    None => None,
                    Some((at, column)) => {
                        let charset =
                            column.charset.as_ref().and_then(|name| self.charsets.get(name));
                        let reading =
                            Reading::new(place.form, column, &types[at], charset.cloned());
                        let reading = reading.map_err(|message| {
                            Error::new(ErrorKind::Unsupported, message).with(
                                "help",
                                "leave the column out with `exclude`, or use another `mode`",
                            )
                        })?;
                        Some((at, reading))
                    }
                };
                of_map.push((place.form, wanted));
            }
            readings.push(of_map);
        }
        let key = column_of(names.iter().map(String::as_str), &self.key);
        let place = |name: &String| names.iter().position(|known| known == name);
        let key = key.iter().filter_map(place).collect();
        let wanted = Wanted { names, types, key, every_change: self.every_change };
        let batches = Batches::new(wanted, spool, readings)?;
        Ok(Box::pin(futures::stream::try_unfold(batches, |mut batches| async move {
            Ok(batches.next()?.map(|part| (part, batches)))
        })))
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn log_position(&mut self) -> Option<Value> {
        serde_json::to_value(self.position.as_ref()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_the_log_are_taken_out() {
        let (settings, rest) =
            take_settings(&json!({"table": "a", "on_slot_loss": "snapshot"})).unwrap();
        assert_eq!(settings.on_slot_loss, OnLoss::Snapshot);
        assert_eq!(rest, json!({"table": "a"}));
        assert!(take_settings(&json!({"on_slot_loss": "cry"})).is_err());
    }
}
