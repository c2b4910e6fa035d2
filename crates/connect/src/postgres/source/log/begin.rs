//! The slot of tables that begin to be followed: one for all that begin in a process, as far as they are of one
//! publication when it is made.
//!
//! It is a **temporary** one, which goes with its connection: a slot that nobody reads fills the server's disk. When
//! what was read of the first of the tables is published, the lasting one is made, as a copy. The tables were taken into the
//! publication before, and the server makes a slot only when all transactions of before have ended, so that the
//! slot has every change of them that a snapshot taken later does not see.
//!
//! As long as tables begin, the connection holds the slot's lock: what is not published yet does not count for those
//! who move the slot on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_core::Result;
use tokio_postgres::Client;

use super::followed::Followed;
use super::message::Lsn;
use super::publication::{self, plain};
use super::slot::{KEY, LogPosition, ask, one, stays};
use crate::postgres::pool::Postgres;
use crate::postgres::session::Connected;
use crate::tables::LogSibling;

/// How long a slot waits for the next table that begins.
const WAITS: Duration = Duration::from_secs(60);

/// How long it waits for the publish of what was read; then the table is read again.
const PUBLISH: Duration = Duration::from_secs(4 * 3600);

/// How long a table that keeps a slot of its own does without trying again to share one.
const AGAIN: Duration = Duration::from_secs(600);

/// A slot by which tables begin.
pub(super) struct Beginning {
    /// The name that the lasting one will have, or has.
    pub(super) name: String,
    pub(super) publication: String,
    /// From here on it has all changes.
    pub(super) lsn: Lsn,
    place: String,
    connected: Connected,
    /// The tables, by their numbers.
    members: HashSet<String>,
    /// Those that are not published yet, with the time when their first read began, or ended.
    pending: Mutex<HashMap<String, Instant>>,
    used: Mutex<Instant>,
}

static BEGINNINGS: LazyLock<Mutex<Vec<Arc<Beginning>>>> = LazyLock::new(Mutex::default);

/// Who makes a slot of this publication of this database now.
type Makers = HashMap<(String, String), Arc<tokio::sync::Mutex<()>>>;

static MAKERS: LazyLock<Mutex<Makers>> = LazyLock::new(Mutex::default);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that are used or waited for; others are closed, and their temporary slots go.
fn beginnings() -> MutexGuard<'static, Vec<Arc<Beginning>>> {
    let mut all = locked(&BEGINNINGS);
    all.retain(|one| {
        let mut pending = locked(&one.pending);
        pending.retain(|_, since| since.elapsed() < PUBLISH);
        let is_used = !pending.is_empty() || locked(&one.used).elapsed() < WAITS;
        // A read that is under way holds it, however long it takes.
        (is_used || Arc::strong_count(one) > 1) && !one.connected.is_closed()
    });
    all
}

/// What a table asks for that begins.
pub(super) struct Asked<'a> {
    /// In quotes.
    pub(super) table: &'a str,
    pub(super) of: &'a Followed,
    /// The publication that its settings name.
    pub(super) publication: Option<&'a str>,
    /// The name of the connection.
    pub(super) connection: &'a str,
    /// Those that go together with it.
    pub(super) siblings: &'a [LogSibling],
}

impl Beginning {
    /// The slot by which a table begins: one that is there, or a new one. Waits for transactions that are under
    /// way on the server.
    pub(super) async fn of(
        postgres: &Postgres,
        client: &Client,
        asked: &Asked<'_>,
    ) -> Result<Arc<Beginning>> {
        let (place, of) = (postgres.config().place(), asked.of);
        let ours = publication::name_of(asked.connection);
        let name = asked.publication.unwrap_or(&ours);
        let maker = locked(&MAKERS).entry((place.clone(), name.to_owned())).or_default().clone();
        let _alone = maker.lock().await;
        let is_ours = asked.publication.is_none();
        publication::publishes(client, asked.table, of, name, is_ours).await?;
        let number = of.number.clone().unwrap_or_default();
        let there = {
            let all = beginnings();
            for one in all.iter().filter(|one| one.place == place) {
                locked(&one.pending).remove(&number);
            }
            let there = all.iter().find(|one| {
                one.place == place && one.publication == name && one.members.contains(&number)
            });
            there.inspect(|there| there.begins(of.number.as_deref())).cloned()
        };
        let beginning = match there {
            Some(there) => there,
            None => {
                if is_ours {
                    let others = asked.siblings.iter().filter(|sibling| {
                        sibling.is_read && sibling.settings.get("publication").is_none()
                    });
                    let others: Vec<&str> = others.map(|other| other.table.as_str()).collect();
                    publication::take_in(client, name, &others).await?;
                }
                let members = publication::members(client, name).await?;
                let made = Self::make(postgres, asked.connection, name, members).await?;
                made.begins(of.number.as_deref());
                beginnings().push(made.clone());
                made
            }
        };
        Ok(beginning)
    }

    /// The read of a table begins, or ended and waits for its publish.
    pub(super) fn begins(&self, number: Option<&str>) {
        let number = number.unwrap_or_default().to_owned();
        locked(&self.pending).insert(number, Instant::now());
        *locked(&self.used) = Instant::now();
    }

    async fn make(
        postgres: &Postgres,
        connection: &str,
        publication: &str,
        members: HashSet<String>,
    ) -> Result<Arc<Beginning>> {
        let connected = postgres.connection().await?;
        let client = &connected.client;
        // It waits for whole reads, without a transaction.
        stays(client).await?;
        let of = match connection {
            "" => "source".to_owned(),
            connection => plain(connection, 20),
        };
        let name = format!("tidemill_{of}_{:08x}", fastrand::u32(..));
        let lock = format!("select pg_catalog.pg_advisory_lock_shared({KEY})::text");
        one(client, &lock, &[&name]).await?;
        let sql = "select lsn::text from pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', true)";
        let lsn = one(client, sql, &[&temporary(&name)]).await?.unwrap_or_default().parse()?;
        Ok(Arc::new(Beginning {
            name,
            publication: publication.to_owned(),
            lsn,
            place: postgres.config().place(),
            connected,
            members,
            pending: Mutex::default(),
            used: Mutex::new(Instant::now()),
        }))
    }

    /// What was read of the table will not be published.
    pub(super) fn give_up(&self, table: Option<&str>) {
        locked(&self.pending).remove(table.unwrap_or_default());
        *locked(&self.used) = Instant::now();
    }
}

/// Whether tables of a database are waited for.
pub(super) fn is_waiting(place: &str) -> bool {
    beginnings().iter().any(|one| one.place == place)
}

/// A table is not waited for any more; a slot that no other one begins by goes.
pub(super) fn abandon(place: &str, table: Option<&str>) {
    let mut all = beginnings();
    all.retain(|one| {
        if one.place != place {
            return true;
        }
        let mut pending = locked(&one.pending);
        let was_there = pending.remove(table.unwrap_or_default()).is_some();
        !was_there || !pending.is_empty() || Arc::strong_count(one) > 1
    });
}

/// When a table last kept a slot of its own because none could be made for it and others.
static FAILED: LazyLock<Mutex<HashMap<String, Instant>>> = LazyLock::new(Mutex::default);

/// Whether it is time to try to make one.
pub(super) fn may_try(postgres: &Postgres) -> bool {
    let place = postgres.config().place();
    locked(&FAILED).get(&place).is_none_or(|last| last.elapsed() > AGAIN)
}

pub(super) fn failed(postgres: &Postgres) {
    locked(&FAILED).insert(postgres.config().place(), Instant::now());
}

fn temporary(name: &str) -> String {
    format!("{name}_first")
}

/// Makes the lasting slot of a table that began and is published, if its slot is still a temporary one of this process;
/// whether it is there by that.
pub(super) async fn make_lasting(place: &str, position: &LogPosition) -> Result<bool> {
    let found =
        beginnings().iter().find(|one| one.place == place && one.name == position.slot).cloned();
    let Some(beginning) = found else { return Ok(false) };
    let client = &beginning.connected.client;
    let sql = "select pg_catalog.pg_copy_logical_replication_slot($1, $2, false)::text \
               where not exists (select from pg_catalog.pg_replication_slots where slot_name = $2)";
    let made = ask(client, sql, &[&temporary(&beginning.name), &beginning.name]).await;
    match made {
        // Another table was published at the same moment.
        Err(error) if error.context().iter().any(|(_, value)| value == "42710") => {}
        made => made.map(drop)?,
    }
    beginning.give_up(position.table.as_deref());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit() {
        let name = format!("tidemill_{}_{:08x}", plain(&"x".repeat(90), 20), u32::MAX);
        assert!(temporary(&name).len() < 64, "{name}");
    }
}
