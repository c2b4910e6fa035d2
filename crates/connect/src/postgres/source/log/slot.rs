//! What is kept in the database for us: a replication slot, which holds the log of changes until they are
//! published here, one for all tables that are followed through a connection (and, of versions before, one for each).
//!
//! Each table has its own place in the log, in its own commit. The slot stands at or before the place of **every**
//! table that there is: who moves it on has its lock ([`KEY`]) and asks, under it, for what is published now. So
//! what another process publishes meanwhile counts, and nothing is moved on while tables begin (`begin`), which
//! hold the lock as well.
//!
//! Tables that begin get a new slot, and the others move to it with what they publish next: where the reading ends is
//! a place in either. Until it is certain that the new slot was not moved past this place before that was
//! published, a table also names the slot of before ([`Made`]), and can go on from that. A slot goes when no table
//! names it any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Notice, RelationName, Result, ResultExt};
use tokio_postgres::Client;

use super::followed::Followed;
use super::message::Lsn;
use super::{begin, reader};
use crate::postgres::catalog;
use crate::postgres::error;
use crate::postgres::pool::Postgres;
use crate::postgres::source::kept::Kept;
use crate::tables::{LogSibling, PublishedLogs};

/// How far the log of changes of a table was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogPosition {
    /// Of which server: a copy of it has the same number, another one has not.
    pub(super) system: Option<String>,
    /// The table's number: one that was dropped and made again has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<String>,
    /// Its columns by their numbers, which a column keeps when its name changes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) columns: BTreeMap<String, String>,
    pub(super) slot: String,
    pub(super) publication: String,
    /// Everything that was committed before it is applied.
    pub(super) lsn: Lsn,
    /// As long as nothing of the log was applied: what the first read saw (`xmin:xmax:xip,…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<String>,
    /// Before which all that it saw was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Lsn>,
    /// Where the slot begins, when tables share it: one that was made later begins later. Nothing: it is the
    /// table's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begins: Option<Lsn>,
    /// The slot that the table moved here from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) older: Option<Made>,
    /// Slots of before, which are not needed any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) drops: Vec<String>,
}

/// A slot, where it begins, and the publication that it is read by: another one may be younger than the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) slot: String,
    pub(super) publication: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begins: Option<Lsn>,
}

impl LogPosition {
    /// The slots by which the table can be followed.
    pub(super) fn slots(&self) -> impl Iterator<Item = &str> {
        let older = self.older.iter().map(|older| older.slot.as_str());
        std::iter::once(self.slot.as_str()).chain(older)
    }
}

/// The lock of a slot, of which the parameter is the name.
pub(super) const KEY: &str = "pg_catalog.hashtextextended($1, 0)";

/// How much of the log may be kept for a table before that is said.
const MUCH: u64 = 256 << 20;

/// Who moves a slot on.
static KEEPING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How much was kept of the log of a slot when that was said last.
static SAID: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

/// The rows of a query with texts as parameters, all values as texts.
pub(super) async fn ask(
    client: &Client,
    sql: &str,
    given: &[&str],
) -> Result<Vec<Vec<Option<String>>>> {
    let rows = catalog::ask(client, sql, given).await.map_err(helped)?;
    rows.iter()
        .map(|row| (0..row.len()).map(|at| row.try_get(at).map_err(error::of_connection)).collect())
        .collect()
}

/// The first value of a query.
pub(super) async fn one(client: &Client, sql: &str, given: &[&str]) -> Result<Option<String>> {
    Ok(ask(client, sql, given).await?.into_iter().next().and_then(|row| row.into_iter().next()?))
}

/// The server does not end the connection because it waits without a transaction.
pub(super) async fn stays(client: &Client) -> Result<()> {
    let sql = "select set_config('idle_session_timeout', '0', false) \
               where current_setting('server_version_num')::int >= 140000";
    one(client, sql, &[]).await.map(drop)
}

fn helped(error: Error) -> Error {
    let state = |state: &str| {
        error.context().iter().any(|(name, value)| *name == "sqlstate" && value == state)
    };
    if state("42501") {
        return error.with(
            "help",
            "the user of the connection needs `alter role … replication` to follow the log of changes, \
             and `select` on the table",
        );
    }
    if state("53400") {
        return error.with(
            "help",
            "a source takes one replication slot, one more while it is read, and another one while tables are \
             read for the first time: raise `max_replication_slots` of the server, or drop slots that nobody uses \
             (`select * from pg_replication_slots`)",
        );
    }
    error
}

/// Which server this is, where it may be asked.
pub(super) async fn system(client: &Client) -> Option<String> {
    let sql = "select system_identifier::text from pg_catalog.pg_control_system()";
    one(client, sql, &[]).await.ok().flatten()
}

/// Tells the server that everything before the position is published: makes the slot, if it is still a
/// temporary one, and moves it on to where the last table of all stands. Gives what the user should know.
pub(super) async fn keep(
    postgres: &Postgres,
    kept: &Kept,
    position: &LogPosition,
    published: &PublishedLogs<'_>,
) -> Result<Vec<Notice>> {
    let place = postgres.config().place();
    let made = begin::make_lasting(&place, position).await?;
    // What one of two tables that are published at once does not see, the other one does.
    let _alone = KEEPING.lock().await;
    let line = kept.tells(postgres).await?;
    let client: &Client = &line;
    let mut there = Vec::new();
    for slot in position.slots() {
        if confirmed(client, slot).await?.is_some() {
            there.push(slot);
        }
    }
    if there.is_empty() && position.snapshot.is_some() && !made {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the replication slot `{}` was not made, as the connection that held its place \
                 ended; the next load reads the table again",
                position.slot
            ),
        ));
    }
    let mut notices = Vec::new();
    for slot in &there {
        // Another one moves it on, or tables begin; it is told again with the next load.
        if lock(client, slot, "").await? {
            let done = move_behind(client, slot, published).await;
            unlock(client, slot, "").await?;
            notices.extend(done?);
        }
    }
    if there.contains(&position.slot.as_str()) && lock(client, &position.slot, "_shared").await? {
        let done = drop_left(client, &place, position, published).await;
        unlock(client, &position.slot, "_shared").await?;
        done?;
    }
    line.done();
    Ok(notices)
}

/// Takes the lock of a slot; `_shared`: nobody moves it on meanwhile. Does not wait.
async fn lock(client: &Client, slot: &str, kind: &str) -> Result<bool> {
    let sql = format!("select pg_catalog.pg_try_advisory_lock{kind}({KEY})::text");
    Ok(one(client, &sql, &[slot]).await?.as_deref() == Some("true"))
}

async fn unlock(client: &Client, slot: &str, kind: &str) -> Result<()> {
    let sql = format!("select pg_catalog.pg_advisory_unlock{kind}({KEY})::text");
    one(client, &sql, &[slot]).await.map(drop)
}

/// The tables that are followed, and where they stand now.
async fn followed_tables(
    published: &PublishedLogs<'_>,
) -> Result<Vec<(RelationName, LogPosition)>> {
    let mut tables = Vec::new();
    for (name, log) in published.all().await? {
        // Places in logs of other databases have no slots.
        if log.get("slot").is_some() {
            let log = serde_json::from_value(log)
                .or_error(ErrorKind::Data, "the position of a table cannot be read")
                .map_err(|error| error.with("table", &name))?;
            tables.push((name, log));
        }
    }
    Ok(tables)
}

/// Drops slots that tables left for this one, which nobody moves on meanwhile.
async fn drop_left(
    client: &Client,
    place: &str,
    position: &LogPosition,
    published: &PublishedLogs<'_>,
) -> Result<()> {
    let slot = position.slot.as_str();
    let tables = followed_tables(published).await?;
    let stands = confirmed(client, slot).await?.unwrap_or_default();
    let by_it = tables.iter().map(|(_, log)| log).filter(|log| log.slot == slot);
    let left: BTreeSet<&str> = by_it
        .chain([position])
        .flat_map(|log| log.slots().skip(1).chain(log.drops.iter().map(String::as_str)))
        .collect();
    for old in left {
        // A table that moved may need it as long as the new slot may stand behind its place.
        let needs = |log: &LogPosition| {
            let moved = log.slot == slot && log.lsn >= stands;
            log.slot == old || (log.slots().any(|one| one == old) && !moved)
        };
        if old == slot || tables.iter().any(|(_, log)| needs(log)) || !lock(client, old, "").await?
        {
            continue;
        }
        reader::close(place, old);
        let sql = "select pg_catalog.pg_drop_replication_slot(slot_name)::text from pg_catalog.pg_replication_slots \
                   where slot_name = $1 and not active";
        let dropped = one(client, sql, &[old]).await;
        unlock(client, old, "").await?;
        dropped?;
    }
    Ok(())
}

/// Moves a slot, whose lock is held, on to where the last table stands.
async fn move_behind(
    client: &Client,
    slot: &str,
    published: &PublishedLogs<'_>,
) -> Result<Option<Notice>> {
    let tables = followed_tables(published).await?;
    let by_it = tables.iter().filter(|(_, log)| log.slots().any(|one| one == slot));
    let Some((last, least)) = by_it.map(|(name, log)| (name, log.lsn)).min_by_key(|(_, lsn)| *lsn)
    else {
        return Ok(None);
    };
    move_on(client, slot, least).await?;
    let stands = confirmed(client, slot).await?.unwrap_or_default();
    let flushed = one(client, "select pg_current_wal_flush_lsn()::text", &[]).await?;
    let flushed: Lsn = flushed.unwrap_or_default().parse()?;
    let kept = flushed.0.saturating_sub(stands.0);
    let is_news = {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.entry(slot.to_owned()).or_default();
        let is_news = kept > MUCH.max(*before * 2);
        if is_news || kept < MUCH {
            *before = kept;
        }
        is_news
    };
    Ok((is_news && tables.len() > 1).then(|| Notice {
        code: "held-log".to_owned(),
        message: format!(
            "the server keeps {} MB of its log by the replication slot `{slot}`, for `{last}`, which was read up to \
             {least}; load it, or drop it from the lake if it is not wanted any more",
            kept >> 20
        ),
        object: Some(last.to_string()),
    }))
}

/// How far a slot was read; `None`: it is not there.
pub(super) async fn confirmed(client: &Client, slot: &str) -> Result<Option<Lsn>> {
    let sql = "select confirmed_flush_lsn::text from pg_catalog.pg_replication_slots \
               where slot_name = $1 and database = current_database()";
    one(client, sql, &[slot]).await?.map(|lsn| lsn.parse()).transpose()
}

/// Moves a slot on to this place, if it is not there.
async fn move_on(client: &Client, slot: &str, lsn: Lsn) -> Result<()> {
    let sql = "select (pg_catalog.pg_replication_slot_advance(slot_name, $2::text::pg_lsn)).end_lsn::text \
               from pg_catalog.pg_replication_slots \
               where slot_name = $1 and not active and confirmed_flush_lsn < $2::text::pg_lsn";
    one(client, sql, &[slot, &lsn.to_string()]).await.map(drop)
}

/// The slots of a table that goes on.
pub(super) struct Slots {
    /// This one has all changes since the position.
    pub(super) reads: Made,
    /// By this one it goes on.
    pub(super) by: Made,
    /// And this one it leaves.
    pub(super) left: Option<Made>,
}

/// Whether a table can be followed.
pub(super) enum State {
    /// By these slots.
    Whole(Slots),
    /// It was never made: the process ended between the publish of the first read and that.
    NeverMade,
    /// Changes are lost, for this reason.
    Lost(String),
}

/// Whether a slot has all changes since the position.
pub(super) async fn state(client: &Client, position: &LogPosition, of: &Followed) -> Result<State> {
    if position.table.is_some() && position.table != of.number {
        let reason = "the table was dropped and made again".to_owned();
        return Ok(State::Lost(reason));
    }
    let renamed = position.columns.iter().find_map(|(number, before)| {
        let now = of.columns.get(number).filter(|now| *now != before)?;
        Some((before, now))
    });
    if let Some((before, now)) = renamed {
        return Ok(State::Lost(format!(
            "the column `{before}` is called `{now}` now, which the log does not say of the rows of before"
        )));
    }
    if let (Some(then), Some(now)) = (&position.system, system(client).await)
        && *then != now
    {
        return Ok(State::Lost("this is another server than at the last load".to_owned()));
    }
    let own = Made {
        slot: position.slot.clone(),
        publication: position.publication.clone(),
        begins: position.begins,
    };
    let first = look(client, &own.slot, position.lsn).await?;
    let mut older = None;
    if let Some(before) = &position.older {
        older = Some((before.clone(), look(client, &before.slot, position.lsn).await?));
    }
    let slots = match (&first, older) {
        (Slot::Whole, older) => {
            let left = older.filter(|(_, found)| !matches!(found, Slot::Gone));
            Slots { reads: own.clone(), by: own, left: left.map(|(older, _)| older) }
        }
        // It was moved past the place before that was published; where this reading ends is behind it.
        (Slot::Passed(_), Some((older, Slot::Whole))) => {
            Slots { reads: older.clone(), by: own, left: Some(older) }
        }
        (_, Some((older, Slot::Whole))) => Slots { reads: older.clone(), by: older, left: None },
        (Slot::Gone, _) if position.snapshot.is_some() => return Ok(State::NeverMade),
        (Slot::Gone, _) => {
            return Ok(State::Lost(format!("the replication slot `{}` is gone", own.slot)));
        }
        (Slot::Passed(reason) | Slot::Lost(reason), _) => return Ok(State::Lost(reason.clone())),
    };
    let sql = "select 1::text from pg_catalog.pg_publication_tables \
               where pubname = $1 and schemaname = $2 and tablename = $3";
    for publication in [&slots.reads.publication, &slots.by.publication] {
        if one(client, sql, &[publication, &of.schema, &of.name]).await?.is_none() {
            return Ok(State::Lost(format!(
                "the publication `{publication}` does not have the table any more"
            )));
        }
    }
    Ok(State::Whole(slots))
}

/// What is the matter with a slot.
enum Slot {
    Whole,
    Gone,
    /// It stands behind the place.
    Passed(String),
    Lost(String),
}

/// Whether the slot has everything that was committed since.
async fn look(client: &Client, slot: &str, since: Lsn) -> Result<Slot> {
    let sql = "select confirmed_flush_lsn::text, coalesce(wal_status, ''), \
               (database = current_database())::text, restart_lsn::text \
               from pg_catalog.pg_replication_slots where slot_name = $1";
    let Some(row) = ask(client, sql, &[slot]).await?.into_iter().next() else {
        return Ok(Slot::Gone);
    };
    let value = |at: usize| row.get(at).and_then(Option::as_deref);
    if value(2) != Some("true") {
        return Ok(Slot::Lost(format!("the replication slot `{slot}` is one of another database")));
    }
    if value(1) == Some("lost") || value(3).is_none() {
        return Ok(Slot::Lost(format!(
            "the server has removed the log that the replication slot `{slot}` needs \
             (`max_slot_wal_keep_size`)"
        )));
    }
    let confirmed: Lsn = value(0).unwrap_or("0/0").parse()?;
    if confirmed > since {
        return Ok(Slot::Passed(format!(
            "somebody else has read the replication slot `{slot}`, up to {confirmed} (the last load \
             was at {since})"
        )));
    }
    Ok(Slot::Whole)
}

/// The slot that tables which began later are followed by, if the table can move there: it is one of the same
/// publication, so that it has all changes of the table.
pub(super) async fn newer(
    client: &Client,
    position: &LogPosition,
    by: &Made,
    siblings: &[LogSibling],
) -> Result<Option<Made>> {
    let others = siblings.iter().filter_map(|sibling| sibling.position.as_ref());
    let others = others.filter_map(|log| serde_json::from_value::<LogPosition>(log.clone()).ok());
    let newest = others
        .filter(|other| {
            by.begins.is_some()
                && other.begins > by.begins
                && other.publication == by.publication
                && other.system == position.system
        })
        .max_by_key(|other| other.begins);
    let Some(newest) = newest else { return Ok(None) };
    // Where the reading ends is behind where the slot stands now.
    let is_there = matches!(look(client, &newest.slot, Lsn(u64::MAX)).await?, Slot::Whole);
    Ok(is_there.then_some(Made {
        slot: newest.slot,
        publication: newest.publication,
        begins: newest.begins,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_a_slot_of_its_own_is_read_as_before() {
        let written =
            serde_json::json!({"system": "1", "slot": "s", "publication": "p", "lsn": "0/10"});
        let position: LogPosition = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((position.begins, position.older.as_ref()), (None, None));
        assert_eq!(position.slots().collect::<Vec<_>>(), ["s"]);
        assert_eq!(serde_json::to_value(&position).unwrap(), written);
    }
}
