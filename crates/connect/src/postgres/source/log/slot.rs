//! What is kept in the database for us: a publication of the table, and a replication slot, which holds
//! the log of changes until they are published here.
//!
//! A slot that nobody reads fills the server's disk, so that none is left behind: the first read makes
//! a **temporary** one, which goes with its connection, and only when what it read is published
//! the lasting one is made, as a copy.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use super::message::Lsn;
use crate::postgres::catalog;
use crate::postgres::error;
use crate::postgres::pool::Postgres;
use crate::postgres::session::Connected;

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
    /// Slots of before, which are not needed any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) drops: Vec<String>,
}

/// The slots that will be, by their name, with the connection that holds the temporary one until the
/// first read is published, and the database that it is in.
type Held = HashMap<String, (String, Connected)>;

static HELD: LazyLock<Mutex<Held>> = LazyLock::new(Mutex::default);

fn held() -> std::sync::MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

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
            "each table that is followed has a replication slot: raise `max_replication_slots` of the \
             server, or drop slots that nobody uses (`select * from pg_replication_slots`)",
        );
    }
    error
}

/// The table: what the log calls it, and whether its changes can be followed.
pub(super) struct Followed {
    /// Its number in the catalog.
    pub(super) number: Option<String>,
    /// Its columns by their numbers.
    pub(super) columns: BTreeMap<String, String>,
    pub(super) schema: String,
    pub(super) name: String,
    /// Columns that the database computes, which the log leaves out.
    pub(super) generated: Vec<String>,
}

/// Looks at the server and the table.
///
/// # Errors
/// Kind `Config`, with what to change, where the log of changes does not have what is needed.
pub(super) async fn followed(client: &Client, table: &str, key: &[String]) -> Result<Followed> {
    let refused = |message: String, help: String| {
        Err(Error::new(ErrorKind::Config, message).with("help", help))
    };
    let server = "select current_setting('wal_level'), current_setting('server_version_num'), \
                  pg_is_in_recovery()::text";
    let server = ask(client, server, &[]).await?.into_iter().next().unwrap_or_default();
    let value = |at: usize| server.get(at).cloned().flatten().unwrap_or_default();
    if value(0) != "logical" {
        return refused(
            format!(
                "the server's `wal_level` is `{}`, and its log has no changes of rows",
                value(0)
            ),
            "`alter system set wal_level = logical`, and restart the server".to_owned(),
        );
    }
    if value(1).parse::<u32>().unwrap_or(0) < 130_000 {
        return refused(
            "changes can be followed from PostgreSQL 13 on".to_owned(),
            "use `mode: merge` with a `cursor`".to_owned(),
        );
    }
    if value(2) == "true" {
        return refused(
            "the server is a standby, where no replication slot can be made".to_owned(),
            "connect to the primary".to_owned(),
        );
    }
    let sql = "select n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, \
         (select string_agg(a.attname::text, e'\\x1f') from pg_catalog.pg_attribute a \
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> ''), \
         (select string_agg(a.attname::text, e'\\x1f') from pg_catalog.pg_index i \
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey) \
            where i.indrelid = c.oid and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end), \
         c.relpersistence::text, c.oid::text, \
         (select string_agg(a.attnum || '=' || a.attname, e'\\x1f') from pg_catalog.pg_attribute a \
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) \
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.oid = pg_catalog.to_regclass($1)";
    let Some(row) = ask(client, sql, &[table]).await?.into_iter().next() else {
        return refused(
            format!("there is no table {table}"),
            "`tidemill connection discover` lists the tables".to_owned(),
        );
    };
    let value = |at: usize| row.get(at).cloned().flatten();
    let list = |at: usize| -> Vec<String> {
        value(at).map(|text| text.split('\x1f').map(str::to_owned).collect()).unwrap_or_default()
    };
    let kind = value(2).unwrap_or_default();
    if !matches!(kind.as_str(), "r" | "p") || value(6).as_deref() != Some("p") {
        return refused(
            format!("{table} is no lasting table of this server, and has no log of changes"),
            "follow the tables that it shows, or use `mode: merge` or `full`".to_owned(),
        );
    }
    let identity = value(3).unwrap_or_default();
    let known = list(5);
    let missing: Vec<&String> = key.iter().filter(|column| !known.contains(column)).collect();
    if identity != "f" && (identity == "n" || !missing.is_empty()) {
        return refused(
            format!(
                "the log says of a changed row of {table} {}, which is not the `primary_key` {}",
                match known.is_empty() || identity == "n" {
                    true => "nothing".to_owned(),
                    false => format!("its {}", known.join(", ")),
                },
                key.join(", ")
            ),
            format!(
                "declare the table's own key, or let the log have it: `alter table {table} replica \
                 identity full` (or `using index` of a unique index of these columns)"
            ),
        );
    }
    Ok(Followed {
        number: value(7),
        columns: list(8)
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(number, name)| (number.to_owned(), name.to_owned()))
            .collect(),
        schema: value(0).unwrap_or_default(),
        name: value(1).unwrap_or_default(),
        generated: list(4),
    })
}

/// Makes sure that the publication is there and has all changes of the table.
pub(super) async fn publication(
    client: &Client,
    table: &str,
    of: &Followed,
    wanted: Option<&str>,
) -> Result<String> {
    let name = match wanted {
        Some(name) => name.to_owned(),
        None => format!("tidemill_{}", plain(&format!("{}_{}", of.schema, of.name), 40)),
    };
    let sql = "select (pubinsert and pubupdate and pubdelete and pubtruncate)::text, pubviaroot::text, \
         (select count(*) from pg_catalog.pg_publication_tables t where t.pubname = p.pubname \
            and t.schemaname = $2 and t.tablename = $3)::text, \
         (select count(*) from pg_catalog.pg_publication_rel r, pg_catalog.pg_class c \
            where r.prpubid = p.oid and r.prrelid = c.oid and c.oid = pg_catalog.to_regclass($4) \
            and (to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null))::text \
         from pg_catalog.pg_publication p where pubname = $1";
    let given = [name.as_str(), &of.schema, &of.name, table];
    let Some(row) = ask(client, sql, &given).await?.into_iter().next() else {
        let create = format!(
            "create publication {} for table only {table} with (publish_via_partition_root = true)",
            catalog::quoted(&name)
        );
        let made = client.batch_execute(&create).await;
        return match made.map_err(|failed| error::of_statement(failed, &create, 0)) {
            Ok(()) => Ok(name),
            Err(error) => Err(error.with(
                "help",
                format!(
                    "let the owner of the table run `{create}`, or name one with `publication`"
                ),
            )),
        };
    };
    let is = |at: usize, text: &str| row.get(at).and_then(Option::as_deref) == Some(text);
    if is(2, "0") && wanted.is_none() {
        // The table was made again, and ours has the one of before at most.
        let add = format!("alter publication {} add table only {table}", catalog::quoted(&name));
        let added = client.batch_execute(&add).await;
        added.map_err(|failed| error::of_statement(failed, &add, 0)).map_err(helped)?;
        return Ok(name);
    }
    let wrong = if is(2, "0") {
        format!("does not have the table {table}")
    } else if !is(0, "true") {
        "does not publish all of insert, update, delete and truncate".to_owned()
    } else if !is(3, "0") {
        format!("leaves rows or columns of {table} out; leave columns out with `exclude` here")
    } else if !is(1, "true") && partitioned(client, table).await? {
        "has the changes of a partitioned table by its partitions; set \
         `publish_via_partition_root = true`"
            .to_owned()
    } else {
        return Ok(name);
    };
    Err(Error::new(ErrorKind::Config, format!("the publication `{name}` {wrong}")))
}

async fn partitioned(client: &Client, table: &str) -> Result<bool> {
    let sql =
        "select relkind::text from pg_catalog.pg_class where oid = pg_catalog.to_regclass($1)";
    Ok(one(client, sql, &[table]).await?.as_deref() == Some("p"))
}

/// A text as part of the name of a slot: lower case letters, digits and underscores.
fn plain(text: &str, most: usize) -> String {
    let plain: String = text
        .chars()
        .map(|one| match one.to_ascii_lowercase() {
            one if one.is_ascii_lowercase() || one.is_ascii_digit() => one,
            _ => '_',
        })
        .take(most)
        .collect();
    match plain == text {
        true => plain,
        // Names that are cut or changed stay apart.
        false => format!("{plain}_{:08x}", xxh3_64(text.as_bytes()) as u32),
    }
}

/// Which server this is, where it may be asked.
pub(super) async fn system(client: &Client) -> Option<String> {
    let sql = "select system_identifier::text from pg_catalog.pg_control_system()";
    one(client, sql, &[]).await.ok().flatten()
}

/// Makes the temporary slot of a first read, and gives the name that it will have, and from where on it
/// has all changes. It is held until [`keep`].
pub(super) async fn begin(postgres: &Postgres, of: &Followed) -> Result<(String, Lsn)> {
    let connected = postgres.connection().await?;
    // It waits for the whole read, without a transaction.
    let patient = "select set_config('idle_session_timeout', '0', false) \
                   where current_setting('server_version_num')::int >= 140000";
    one(&connected.client, patient, &[]).await?;
    let table = format!("tidemill_{}_", plain(&format!("{}_{}", of.schema, of.name), 30));
    // What was held for a read of the table that was not published.
    let place = postgres.config().place();
    held().retain(|name, (at, _)| {
        *at != place || name.strip_prefix(&table).is_none_or(|rest| rest.len() != 8)
    });
    let name = format!("{table}{:08x}", fastrand::u32(..));
    let sql =
        "select lsn::text from pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', true)";
    let lsn =
        one(&connected.client, sql, &[&temporary(&name)]).await?.unwrap_or_default().parse()?;
    held().insert(name.clone(), (place, connected));
    Ok((name, lsn))
}

fn temporary(name: &str) -> String {
    format!("{name}_first")
}

/// Forgets the temporary slot of a read that will not be published.
pub(super) fn give_up(name: &str) {
    held().remove(name);
}

/// Tells the server that everything before the position is published: makes the slot, or moves it on.
pub(super) async fn keep(postgres: &Postgres, position: &LogPosition) -> Result<()> {
    let first = held().remove(&position.slot);
    let connected = match first {
        Some((_, first)) => {
            let sql = "select slot_name::text from pg_catalog.pg_copy_logical_replication_slot($1, $2, false)";
            one(&first.client, sql, &[&temporary(&position.slot), &position.slot]).await?;
            first
        }
        None => {
            let connected = postgres.connection().await?;
            let sql =
                "select slot_name::text from pg_catalog.pg_replication_slots where slot_name = $1";
            let there = one(&connected.client, sql, &[&position.slot]).await?.is_some();
            if position.snapshot.is_some() && !there {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "the replication slot `{}` was not made, as the connection that held its place \
                         ended; the next load reads the table again",
                        position.slot
                    ),
                ));
            }
            move_on(&connected.client, &position.slot, position.lsn).await?;
            connected
        }
    };
    for slot in &position.drops {
        let sql = "select pg_catalog.pg_drop_replication_slot(slot_name)::text from pg_catalog.pg_replication_slots \
                   where slot_name = $1 and not active";
        one(&connected.client, sql, &[slot]).await?;
    }
    Ok(())
}

/// Moves a slot on to this place, if it is not there.
pub(super) async fn move_on(client: &Client, slot: &str, lsn: Lsn) -> Result<()> {
    let sql = "select (pg_catalog.pg_replication_slot_advance(slot_name, $2::text::pg_lsn)).end_lsn::text \
               from pg_catalog.pg_replication_slots \
               where slot_name = $1 and not active and confirmed_flush_lsn < $2::text::pg_lsn";
    one(client, sql, &[slot, &lsn.to_string()]).await.map(drop)
}

/// What is the matter with a slot.
pub(super) enum State {
    /// It has all changes since the position.
    Whole,
    /// It was never made: the process ended between the publish of the first read and that.
    NeverMade,
    /// Changes are lost, for this reason.
    Lost(String),
}

/// Whether the slot has all changes since the position.
///
/// # Errors
/// Kind `Unavailable` when somebody else reads it now.
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
    let slot = &position.slot;
    let sql = "select active::text, confirmed_flush_lsn::text, coalesce(wal_status, ''), \
               (database = current_database())::text, restart_lsn::text \
               from pg_catalog.pg_replication_slots where slot_name = $1";
    let Some(row) = ask(client, sql, &[slot]).await?.into_iter().next() else {
        return Ok(match position.snapshot {
            Some(_) => State::NeverMade,
            None => State::Lost(format!("the replication slot `{slot}` is gone")),
        });
    };
    let value = |at: usize| row.get(at).and_then(Option::as_deref);
    if value(0) == Some("true") {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("the replication slot `{slot}` is read by another process at this moment"),
        ));
    }
    if value(3) != Some("true") {
        return Ok(State::Lost(format!(
            "the replication slot `{slot}` is one of another database"
        )));
    }
    if value(2) == Some("lost") || value(4).is_none() {
        return Ok(State::Lost(format!(
            "the server has removed the log that the replication slot `{slot}` needs \
             (`max_slot_wal_keep_size`)"
        )));
    }
    let sql = "select 1::text from pg_catalog.pg_publication_tables \
               where pubname = $1 and schemaname = $2 and tablename = $3";
    if one(client, sql, &[&position.publication, &of.schema, &of.name]).await?.is_none() {
        return Ok(State::Lost(format!(
            "the publication `{}` does not have the table any more",
            position.publication
        )));
    }
    let confirmed: Lsn = value(1).unwrap_or("0/0").parse()?;
    if confirmed > position.lsn {
        return Ok(State::Lost(format!(
            "somebody else has read the replication slot `{slot}`, up to {confirmed} (the last load \
             was at {})",
            position.lsn
        )));
    }
    Ok(State::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slots_are_plain_and_differ() {
        assert_eq!(plain("public_orders", 40), "public_orders");
        let (one, other) = (plain("Größe", 30), plain("Grüße", 30));
        assert!(one.starts_with("gr__e_") && one != other, "{one} {other}");
        assert!(plain(&"x".repeat(90), 30).len() == 39);
    }
}
