//! The log of changes of a table (logical replication, `pgoutput`) as a source: `mode: cdc`.
//!
//! The first read makes a slot (`begin`) and then takes a snapshot of the table; the log from the slot on has all
//! that the snapshot does not, and those transactions that both have are told by their numbers. After
//! it each read takes the log up to where it ended when the read began (`reader`), without taking it off the slot;
//! only when its rows are published the slot moves on (`slot`).
//!
//! **The tables of a connection share a slot**, and a publication (`publication`). Each goes on from its own position,
//! which is in the commit of its own rows, so that one that is slow or stopped holds the log of the server, and
//! nobody else up. What a table does to the slot it does for all of them: see `slot` for how it moves on, and how tables move
//! from one slot to the next.

mod begin;
mod followed;
mod message;
mod publication;
mod reader;
mod rows;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_core::{Cancellation, Error, ErrorKind, Notice, Result, ResultExt};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use self::begin::{Asked, Beginning};
use self::followed::{Followed, followed};
use self::message::Lsn;
use self::reader::Ask;
use self::rows::{Batches, New, Seen, Spool, Spooling, Target, Wanted};
use self::slot::{LogPosition, Made, Slots, State, stays};
use super::columns::Described;
use super::kept::{Kept, Line};
use super::session::{NOTICES, PostgresSession, session_settings};
use crate::postgres::error;
use crate::postgres::pool::Postgres;
use crate::tables::{
    Column, LogRequest, LogSibling, OnLoss, Part, PublishedLogs, Select, Session, column_of,
};

/// Changes up to this size are kept in memory.
const MEMORY: usize = 16 << 20;

/// A slot of a table without changes moves on when the log has grown by so much.
const IDLE: u64 = 16 << 20;

/// How long a table that has a slot of its own waits for one that it shares with others.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of a table that is followed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogSettings {
    /// The publication that has its changes, instead of one of ours.
    publication: Option<String>,
    /// What is done when changes are lost.
    on_slot_loss: OnLoss,
}

/// The settings of the log, and what is left.
pub(super) fn take_settings(written: &Value) -> Result<(LogSettings, Value)> {
    let Value::Object(mut rest) = written.clone() else {
        return Ok((LogSettings::default(), written.clone()));
    };
    let mut own = Map::new();
    for key in ["publication", "on_slot_loss"] {
        if let Some(value) = rest.remove(key).filter(|value| !value.is_null()) {
            own.insert(key.to_owned(), value);
        }
    }
    let settings = serde_json::from_value(Value::Object(own)).map_err(|error| {
        let message =
            format!("`publication` is a name and `on_slot_loss` is `fail` or `snapshot`: {error}");
        Error::new(ErrorKind::Config, message)
    })?;
    Ok((settings, Value::Object(rest)))
}

/// What is left in the database when a table is not followed any more.
pub(super) fn left(position: &Value) -> Option<String> {
    let slot = parse(position).ok()?.slot;
    Some(format!(
        "is not followed any more; if no other table goes on by its replication slot, that still holds the log of the \
         server: `select pg_drop_replication_slot('{slot}')` removes it"
    ))
}

/// Tells the server how far changes are published.
pub(super) async fn acknowledge(
    postgres: &Postgres,
    kept: &Kept,
    position: &Value,
    published: &PublishedLogs<'_>,
) -> Result<Vec<Notice>> {
    slot::keep(postgres, kept, &parse(position)?, published).await
}

/// The first read of a table will not be published.
pub(super) async fn abandon(postgres: &Postgres, kept: &Kept, table: &str) -> Result<()> {
    let place = postgres.config().place();
    if !begin::is_waiting(&place) {
        return Ok(());
    }
    let line = kept.asks(postgres).await?;
    let sql = "select pg_catalog.to_regclass($1)::oid::text";
    let number = slot::one(&line, sql, &[table]).await?;
    line.done();
    begin::abandon(&place, number.as_deref());
    Ok(())
}

/// Texts of values are the same whatever the database's settings are, the server notices when nobody listens any
/// more, and does not end a connection that waits.
pub(super) async fn set_up(client: &Client) -> Result<()> {
    let settings = session_settings();
    client.batch_execute(&settings).await.map_err(|e| error::of_statement(e, &settings, 0))?;
    // Not every version has it.
    let _ = client.batch_execute(&NOTICES.1.replace("local ", "")).await;
    stays(client).await
}

fn parse(position: &Value) -> Result<LogPosition> {
    serde_json::from_value(position.clone())
        .or_error(ErrorKind::Data, "the position of the last load cannot be read")
}

/// A read of the log, or of the table, when there is no position in the log yet.
pub(super) struct LogSession {
    postgres: Arc<Postgres>,
    kept: Arc<Kept>,
    cancel: Cancellation,
    streams: usize,
    connections: usize,
    settings: LogSettings,
    key: Vec<String>,
    connection: String,
    siblings: Vec<LogSibling>,
    every_change: bool,
    /// Where the last read ended.
    before: Option<LogPosition>,
    superseded: Option<LogPosition>,
    /// By what it goes on from there, and whether that is another slot than until now.
    slots: Option<Slots>,
    moves: bool,
    /// What the table is read through the first time, and the slot that was made for it.
    first: Option<PostgresSession>,
    beginning: Option<Arc<Beginning>>,
    described: Vec<Described>,
    target: Option<Target>,
    /// The table's columns by their numbers.
    columns: BTreeMap<String, String>,
    /// Changes were lost, and the table is read again.
    again: bool,
    notices: Vec<Notice>,
    position: Option<LogPosition>,
    done: bool,
}

impl Drop for LogSession {
    fn drop(&mut self) {
        if let (Some(position), Some(beginning), false) =
            (&self.position, &self.beginning, self.done)
        {
            beginning.give_up(position.table.as_deref());
        }
    }
}

impl LogSession {
    pub(super) fn new(
        postgres: Arc<Postgres>,
        kept: Arc<Kept>,
        request: &LogRequest<'_>,
        connections: usize,
    ) -> Result<Self> {
        let (settings, _) = take_settings(request.settings)?;
        Ok(LogSession {
            postgres,
            kept,
            cancel: request.cancel.clone(),
            streams: request.streams,
            connections,
            settings,
            key: request.key.to_vec(),
            connection: request.connection.to_owned(),
            siblings: request.siblings.to_vec(),
            every_change: request.every_change,
            before: request.position.map(parse).transpose()?,
            superseded: request.superseded.and_then(|position| parse(position).ok()),
            slots: None,
            moves: false,
            first: None,
            beginning: None,
            described: Vec::new(),
            target: None,
            columns: BTreeMap::new(),
            again: false,
            notices: Vec::new(),
            position: None,
            done: false,
        })
    }

    fn notice(&mut self, code: &str, message: String, table: &str) {
        let object = Some(table.to_owned());
        self.notices.push(Notice { code: code.to_owned(), message, object });
    }

    /// The columns of the table.
    async fn describe(&self, client: &Client, select: &Select) -> Result<Vec<Described>> {
        let sql = select.sql("*");
        let prepared = client.prepare(&sql).await;
        let prepared = prepared.map_err(|failed| error::of_statement(failed, &sql, 0))?;
        let mut scale = None;
        if prepared.columns().iter().any(|column| *column.type_() == Type::MONEY) {
            let text = slot::one(client, "select scale(1::money::numeric)::text", &[]).await?;
            scale = text.and_then(|text| text.parse().ok());
        }
        Ok(prepared.columns().iter().map(|column| Described::new(column, scale)).collect())
    }

    /// Makes the slot, and then the snapshot.
    async fn begin(
        &mut self,
        client: &Client,
        table: &str,
        of: &Followed,
        select: &Select,
    ) -> Result<()> {
        let asked = Asked {
            table,
            of,
            publication: self.settings.publication.as_deref(),
            connection: &self.connection,
            siblings: &self.siblings,
        };
        let beginning = Beginning::of(&self.postgres, client, &asked).await?;
        let gone = self.before.take().into_iter().chain(self.superseded.take());
        let gone = gone.flat_map(|gone| {
            let older = gone.older.map(|older| older.slot);
            gone.drops.into_iter().chain([gone.slot]).chain(older)
        });
        let (name, lsn) = (beginning.name.clone(), beginning.lsn);
        self.position = Some(LogPosition {
            system: slot::system(client).await,
            table: of.number.clone(),
            columns: of.columns.clone(),
            slot: name.clone(),
            publication: beginning.publication.clone(),
            lsn,
            snapshot: None,
            until: None,
            begins: Some(lsn),
            older: None,
            drops: gone.filter(|gone| *gone != name).collect(),
        });
        self.beginning = Some(beginning);
        let postgres = Postgres::new(self.postgres.config().clone())?;
        let mut first =
            PostgresSession::new(postgres, self.cancel.clone(), self.streams, self.connections)
                .await?;
        first.columns(select).await?;
        let snapshot = first.value("select txid_current_snapshot()::text").await?;
        // A transaction that it sees stands before this place, even if it is not on disk yet.
        let until = slot::one(client, "select pg_current_wal_insert_lsn()::text", &[]).await?;
        if let Some(position) = &mut self.position {
            position.snapshot = snapshot;
            position.until = until.map(|until| until.parse()).transpose()?;
        }
        self.first = Some(first);
        let message = format!("is followed from {lsn} on, by the replication slot `{name}`");
        self.notice("new-slot", message, table);
        Ok(())
    }

    /// The same by a connection of its own.
    async fn begin_anew(&mut self, table: &str, of: &Followed, select: &Select) -> Result<()> {
        let own = Line::own(&self.postgres).await?;
        self.begin(&own, table, of, select).await
    }

    /// Knows by which slot the table goes on. One that others began with later is the slot of all of them; a slot of
    /// the table's own is left for one that it shares, where there are others.
    async fn goes_on(
        &mut self,
        client: &Client,
        table: &str,
        of: &Followed,
        before: &LogPosition,
        slots: Slots,
    ) -> Result<()> {
        let mut newer = slot::newer(client, before, &slots.by, &self.siblings).await?;
        let others = self.siblings.iter().filter(|sibling| sibling.is_read).count() > 1;
        let own = before.begins.is_none() && self.settings.publication.is_none();
        if own && others && begin::may_try(&self.postgres) {
            let asked = Asked {
                table,
                of,
                publication: None,
                connection: &self.connection,
                siblings: &self.siblings,
            };
            // It waits for transactions of others, which the questions of other tables do not.
            let made = async {
                let own = Line::own(&self.postgres).await?;
                Beginning::of(&self.postgres, &own, &asked).await
            };
            let made = tokio::time::timeout(PATIENCE, made).await;
            match made {
                Ok(Ok(made)) => {
                    newer = Some(Made {
                        slot: made.name.clone(),
                        publication: made.publication.clone(),
                        begins: Some(made.lsn),
                    });
                    self.beginning = Some(made);
                }
                // It goes on by itself, as it did before.
                Ok(Err(error)) => {
                    begin::failed(&self.postgres);
                    tracing::debug!(%error, table, "a table keeps its own replication slot");
                }
                Err(_) => begin::failed(&self.postgres),
            }
        }
        self.moves = newer.is_some();
        self.slots = Some(match newer {
            Some(newer) => Slots { left: Some(slots.reads.clone()), reads: slots.reads, by: newer },
            None => slots,
        });
        Ok(())
    }

    /// Takes the log up to where it is now.
    async fn spool(
        &self,
        target: &Target,
        before: &LogPosition,
        slots: &Slots,
    ) -> Result<(Spool, Lsn)> {
        let new = New {
            after: before.lsn,
            seen: before.snapshot.as_deref().map(Seen::parse).transpose()?,
        };
        let mut spooling = Spooling::new(target, new, MEMORY);
        let by_it = |sibling: &&LogSibling| {
            let log = sibling.position.as_ref().and_then(|log| parse(log).ok());
            sibling.is_read
                && log.is_some_and(|log| log.slots().any(|slot| slot == slots.reads.slot))
        };
        let beside: Vec<&str> =
            self.siblings.iter().filter(by_it).map(|sibling| sibling.table.as_str()).collect();
        let number = target.number.as_deref().and_then(|number| number.parse().ok());
        let ask = Ask {
            slot: &slots.reads.slot,
            publication: &slots.reads.publication,
            table: number.unwrap_or_default(),
            beside: &beside,
            after: before.lsn,
            cancel: &self.cancel,
        };
        let read = reader::read(&self.postgres, &ask, |message| spooling.take(message)).await;
        let until = read.inspect_err(|_| self.kept.forget())?;
        Ok((spooling.finish()?, until))
    }

    /// The log as parts.
    async fn changes<'a>(&'a mut self) -> Result<BoxStream<'a, Result<Part>>> {
        let missing = || Error::new(ErrorKind::Internal, "the log is read without a position");
        let before = self.before.clone().ok_or_else(missing)?;
        let target = self.target.take().ok_or_else(missing)?;
        let slots = self.slots.take().ok_or_else(missing)?;
        let (spool, until) = self.spool(&target, &before, &slots).await?;
        // Nothing happened to the table: the position stays, so that nothing is to be recorded.
        let idle = !self.moves && spool.changes == 0 && until.0.saturating_sub(before.lsn.0) < IDLE;
        self.position = Some(match idle {
            true => before,
            false => {
                let lsn = until.max(before.lsn);
                let seen = before.until.is_some_and(|seen| seen > lsn);
                LogPosition {
                    lsn,
                    slot: slots.by.slot,
                    begins: slots.by.begins,
                    older: slots.left,
                    publication: slots.by.publication,
                    columns: std::mem::take(&mut self.columns),
                    snapshot: before.snapshot.filter(|_| seen),
                    until: before.until.filter(|_| seen),
                    drops: Vec::new(),
                    ..before
                }
            }
        });
        let target = self.target.insert(target);
        Ok(Box::pin(futures::stream::try_unfold(
            Batches::new(target, spool),
            |mut batches| async move { Ok(batches.next()?.map(|part| (part, batches))) },
        )))
    }
}

impl LogSession {
    /// Looks at the table and the slot; makes the slot, where there is none yet. (That waits for
    /// transactions that are under way.)
    async fn open(&mut self, select: &Select) -> Result<Vec<Column>> {
        let Some(table) = select.table.clone().filter(|_| select.conditions.is_empty()) else {
            return Err(Error::new(
                ErrorKind::Config,
                "`mode: cdc` follows a whole `table`, without `query` and `where`",
            ));
        };
        // What is read for the first time waits for others.
        let kept = self.kept.clone();
        let line = match &self.before {
            Some(_) => kept.asks(&self.postgres).await?,
            None => Line::own(&self.postgres).await?,
        };
        let client: &Client = &line;
        let described = self.describe(client, select).await;
        let described = match described {
            Ok(described) => described,
            // The other way says which table is meant perhaps.
            Err(error) => {
                let postgres = Postgres::new(self.postgres.config().clone())?;
                let cancel = self.cancel.clone();
                let mut session =
                    PostgresSession::new(postgres, cancel, 1, self.connections).await?;
                session.columns(select).await?;
                return Err(error);
            }
        };
        let key = column_of(described.iter().map(|column| column.name.as_str()), &self.key);
        let of = followed(client, &table, &key).await?;
        if !of.generated.is_empty() {
            let message = format!(
                "has columns that the database computes, which its log leaves out, and so does the load: {}",
                of.generated.join(", ")
            );
            self.notice("left-out-column", message, &table);
        }
        let state = match &self.before {
            None => None,
            Some(before) => Some((before.clone(), slot::state(client, before, &of).await?)),
        };
        match state {
            None => self.begin(client, &table, &of, select).await?,
            Some((before, state)) => match state {
                State::Whole(slots) => {
                    self.goes_on(client, &table, &of, &before, slots).await?;
                    line.done();
                }
                State::NeverMade => {
                    self.again = true;
                    line.done();
                    self.begin_anew(&table, &of, select).await?;
                }
                State::Lost(reason) if self.settings.on_slot_loss == OnLoss::Snapshot => {
                    let message = format!("is read again as a whole: {reason}");
                    self.notice("new-slot", message, &table);
                    self.again = true;
                    line.done();
                    self.begin_anew(&table, &of, select).await?;
                }
                State::Lost(reason) => {
                    return Err(Error::new(
                        ErrorKind::Data,
                        format!("changes of {table} are lost: {reason}"),
                    )
                    .with(
                        "help",
                        "--full-refresh reads the table again as a whole; `on_slot_loss: snapshot` does \
                         so by itself",
                    ));
                }
            },
        }
        self.described = described;
        self.described.retain(|column| !of.generated.contains(&column.name));
        self.target = Some(Target {
            number: of.number,
            schema: of.schema,
            name: of.name,
            columns: Vec::new(),
            key: Vec::new(),
            every_change: self.every_change,
        });
        self.columns = of.columns;
        let column = |column: &Described| Column {
            name: column.name.clone(),
            data_type: column.data_type(),
            stored_type: column.stored_type(),
            order: column.order(),
            expression: None,
        };
        Ok(self.described.iter().map(column).collect())
    }
}

#[async_trait]
impl Session for LogSession {
    async fn columns(&mut self, select: &Select) -> Result<Vec<Column>> {
        let (cancel, kept) = (self.cancel.clone(), self.kept.clone());
        tokio::select! {
            columns = self.open(select) => columns.inspect_err(|_| kept.forget()),
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        }
    }

    fn gives(&self, column: &Column, declared: &arrow::datatypes::DataType) -> bool {
        let known = self.described.iter().find(|known| known.name == column.name);
        known.is_some_and(|known| known.encoding(declared).is_some())
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
        if self.first.is_none() {
            let mut wanted = Vec::with_capacity(columns.len());
            for column in columns {
                let known = self.described.iter().find(|known| known.name == column.name);
                let encoding = known.and_then(|known| known.encoding(&column.data_type));
                let (Some(known), Some(encoding)) = (known, encoding) else {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("`{}` was not described", column.name),
                    ));
                };
                wanted.push(Wanted::new(known, encoding));
            }
            let names = columns.iter().map(|column| column.name.as_str());
            let key = column_of(names, &self.key);
            if let Some(target) = &mut self.target {
                target.key = key
                    .iter()
                    .filter_map(|name| wanted.iter().position(|wanted| wanted.name == *name))
                    .collect();
                target.columns = wanted;
            }
            return self.changes().await;
        }
        let again = self.again.then_some(Ok(Part::Truncated));
        let Some(first) = self.first.as_mut() else {
            return Err(Error::new(ErrorKind::Internal, "the table is not open"));
        };
        let rows = first.rows(select, columns, batch_rows).await?;
        Ok(Box::pin(futures::stream::iter(again).chain(rows)))
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn log_position(&mut self) -> Option<Value> {
        self.done = true;
        if let (Some(beginning), Some(position)) = (&self.beginning, &self.position) {
            beginning.begins(position.table.as_deref());
        }
        serde_json::to_value(self.position.as_ref()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_the_log_are_taken_out() {
        let written = json!({"table": "a", "publication": "p", "on_slot_loss": "snapshot"});
        let (settings, rest) = take_settings(&written).unwrap();
        assert_eq!(settings.publication.as_deref(), Some("p"));
        assert_eq!(settings.on_slot_loss, OnLoss::Snapshot);
        assert_eq!(rest, json!({"table": "a"}));
        let error = take_settings(&json!({"on_slot_loss": "cry"})).unwrap_err();
        assert!(error.message().contains("`on_slot_loss`"), "{error}");
    }
}
