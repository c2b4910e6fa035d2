//! The log read once for all tables of a connection that this process follows.
//!
//! Each table has its own place in the log, in its own commit. The first one that asks has the log read for all others
//! as well, each from its own place on; what they get waits in files until they ask, so that all of them see the
//! database as of one moment. What comes later is read from there on. A table whose rows were not published asks
//! with the place of before, and has the log read again from there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use mysql_async::{BinlogStream, Conn};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};

use super::event::{Event, parse};
use super::layout::LogColumn;
use super::rows::{Spool, Spooling};
use super::server::{Followed, LogPosition, Place as LogPlace, Server};
use super::{Failure, MEMORY, close, of_stream};
use crate::mysql::Place;
use crate::tables::LogSibling;

/// From this size on of all that waits, a table that does not ask is let go.
const KEPT: u64 = 2 << 30;

/// How much of it is in memory for each table that waits.
const WAITING: usize = 1 << 20;

/// What was read so long ago is new to a table that did not ask yet.
const NEW: Duration = Duration::from_secs(1);

/// Places in larger files are cut in events.
const CUT: u64 = u32::MAX as u64;

/// The readers of this process, by the server and its user.
static READERS: LazyLock<Mutex<HashMap<String, Arc<tokio::sync::Mutex<LogReader>>>>> =
    LazyLock::new(Mutex::default);

/// What a table asks for.
pub(super) struct Ask<'a> {
    /// The table as it is written, and as it was found.
    pub(super) table: &'a str,
    pub(super) of: &'a Followed,
    /// Where its last read ended.
    pub(super) before: &'a LogPosition,
    pub(super) siblings: &'a [LogSibling],
    pub(super) cancel: &'a Cancellation,
}

/// What the log has of a table.
pub(super) struct Found {
    pub(super) spool: Spool,
    /// Up to here it was read, and these were the columns of the table then.
    pub(super) until: LogPlace,
    pub(super) columns: Vec<LogColumn>,
}

/// Gives what the log has of the table since its position.
pub(super) async fn read(
    place: &Place,
    connection: &mut Conn,
    server: &Server,
    ask: &Ask<'_>,
) -> Result<Found, Failure> {
    let asked = Instant::now();
    let name = format!("{} {}", place.config.place(), server.name);
    let reader =
        READERS.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
    let mut reader = tokio::select! {
        reader = reader.lock() => reader,
        () = ask.cancel.cancelled() => return Err(cancelled()),
    };
    tokio::select! {
        found = reader.read(place, connection, server, ask, asked) => found,
        () = ask.cancel.cancelled() => Err(cancelled()),
    }
}

fn cancelled() -> Failure {
    Error::new(ErrorKind::Cancelled, "cancelled").into()
}

/// The tables, by their names as they are written.
#[derive(Default)]
struct LogReader {
    tables: HashMap<String, Table>,
    /// Those that were taken along once: they ask by themselves from then on.
    known: BTreeSet<String>,
    /// When the last reading ended.
    ended: Option<Instant>,
}

/// What is read for a table.
struct Table {
    before: LogPosition,
    spooling: Spooling,
    /// Up to here, with the columns there.
    until: LogPlace,
    columns: Vec<LogColumn>,
    /// It was read further since the table asked.
    is_new: bool,
    asked: bool,
    lost: Option<String>,
}

impl Table {
    fn new(database: &str, name: &str, before: &LogPosition, read: u64, memory: usize) -> Table {
        Table {
            until: LogPlace {
                gtid: before.gtid.clone(),
                file: before.file.clone(),
                offset: before.offset,
            },
            columns: before.columns.clone(),
            before: before.clone(),
            spooling: Spooling::new(database, name, read, memory),
            is_new: false,
            asked: false,
            lost: None,
        }
    }
}

impl LogReader {
    async fn read(
        &mut self,
        place: &Place,
        connection: &mut Conn,
        server: &Server,
        ask: &Ask<'_>,
        asked: Instant,
    ) -> Result<Found, Failure> {
        let own = ask.table;
        let there = self.tables.get(own);
        if there.is_none_or(|table| table.before != *ask.before || table.lost.is_some()) {
            let (database, name) = (&ask.of.database, &ask.of.table);
            let table = Table::new(database, name, ask.before, 0, MEMORY);
            self.tables.insert(own.to_owned(), table);
        }
        self.known.insert(own.to_owned());
        self.take_along(connection, server, ask).await?;
        // What another table had read a moment ago, or while this one waited, will do; and what was read for all
        // when this one was not asked for yet.
        let is_new = self.tables.get(own).is_some_and(|table| {
            let late = self.ended.is_some_and(|ended| ended + NEW >= asked);
            table.is_new && (late || !table.asked)
        });
        if !is_new {
            // What is under way is void when it is given up in the middle.
            let tables = std::mem::take(&mut self.tables);
            self.tables = self.advance(place, connection, server, ask, tables).await?;
        }
        let missing = || Error::new(ErrorKind::Internal, "a table of the log is missing");
        let mut table = self.tables.remove(own).ok_or_else(missing)?;
        if let Some(reason) = table.lost.take() {
            return Err(Failure::Lost(reason));
        }
        let spool = table.spooling.finish()?;
        let found = Found { until: table.until.clone(), columns: table.columns.clone(), spool };
        if found.spool.is_nothing() {
            // Its position may stay, and it goes on here.
            let (database, name) = (&ask.of.database, &ask.of.table);
            let spooling = Spooling::new(database, name, found.spool.read, MEMORY);
            let rest = Table { spooling, is_new: false, asked: true, ..table };
            self.tables.insert(own.to_owned(), rest);
        }
        Ok(found)
    }

    /// Takes along other tables, from their published places on: once, as one that does not ask is not to have the
    /// log read from its place again and again.
    async fn take_along(
        &mut self,
        connection: &mut Conn,
        server: &Server,
        ask: &Ask<'_>,
    ) -> Result<(), Failure> {
        for sibling in ask.siblings.iter().filter(|sibling| sibling.is_read) {
            let position = sibling.position.clone();
            let position = position.and_then(|log| serde_json::from_value::<LogPosition>(log).ok());
            let Some(position) = position.filter(|position| position.server == server.name) else {
                continue;
            };
            if !self.known.insert(sibling.table.clone()) {
                continue;
            }
            // What is the matter with it is said when it asks.
            let is_lost = server.lost(connection, &position).await?.is_some();
            let name = crate::mysql::unquoted(&sibling.table);
            if let (false, Some((database, table))) =
                (is_lost, server.found(connection, &name).await?)
            {
                let table = Table::new(&database, &table, &position, 0, WAITING);
                self.tables.insert(sibling.table.clone(), table);
            }
        }
        Ok(())
    }

    /// Reads on up to now, for all tables.
    async fn advance(
        &mut self,
        place: &Place,
        connection: &mut Conn,
        server: &Server,
        ask: &Ask<'_>,
        mut tables: HashMap<String, Table>,
    ) -> Result<HashMap<String, Table>, Failure> {
        // Each has to have the columns of the place up to which the log is read.
        let (until, columns) = 'stable: {
            for _ in 0..10 {
                let columns = columns_of(connection, server, &tables).await?;
                let until = server.now(connection).await?;
                if columns_of(connection, server, &tables).await? == columns {
                    break 'stable (until, columns);
                }
            }
            let message = "a table is altered again and again while the load begins";
            return Err(Error::new(ErrorKind::Unavailable, message).into());
        };
        // One that is not there any more says so when it asks.
        tables.retain(|name, table| name == ask.table || columns.contains_key(&table.key()));
        // Whose places cannot be compared with those of the others is read alone.
        let first = tables.get(ask.table).map(|table| (table.until.clone(), table.before.clone()));
        let Some((first, before)) = first else { return Ok(tables) };
        let is_ours = before.server == server.name;
        let small = is_ours && first.offset < CUT && until.offset < CUT;
        let comparable = |table: &Table| match server.maria {
            true => small && table.before.server == server.name && table.until.offset < CUT,
            false => table.until.gtid == first.gtid,
        };
        let (mut ours, mut others): (HashMap<_, _>, HashMap<_, _>) =
            tables.into_iter().partition(|(name, table)| name == ask.table || comparable(table));
        let read = self.take(place, server, is_ours, &until, &mut ours).await;
        let read = match read {
            // It may be the place of another table that the server does not have any more.
            Err(Failure::Lost(_)) if ours.len() > 1 => {
                ours.retain(|name, _| name == ask.table);
                for table in ours.values_mut() {
                    let (database, name) = (&ask.of.database, &ask.of.table);
                    *table = Table::new(database, name, ask.before, 0, MEMORY);
                }
                self.take(place, server, is_ours, &until, &mut ours).await
            }
            read => read,
        };
        read?;
        for table in ours.values_mut() {
            table.until = until.clone();
            table.is_new = true;
            if let Some(columns) = columns.get(&table.key()) {
                table.columns.clone_from(columns);
            }
        }
        self.ended = Some(Instant::now());
        others.extend(ours);
        let mut bytes = others.values().map(|table| table.spooling.bytes()).sum::<u64>();
        while bytes > KEPT {
            let waiting = others.iter().filter(|(name, _)| *name != ask.table);
            let largest = waiting.max_by_key(|(_, table)| table.spooling.bytes());
            let Some(name) = largest.map(|(name, _)| name.clone()) else { break };
            bytes -= others.remove(&name).map_or(0, |table| table.spooling.bytes());
        }
        Ok(others)
    }

    /// Takes the log from the first of the tables' places on.
    async fn take(
        &self,
        place: &Place,
        server: &Server,
        is_ours: bool,
        until: &LogPlace,
        tables: &mut HashMap<String, Table>,
    ) -> Result<(), Failure> {
        let behind = |table: &&Table| !is_ours || table.until.gtid != until.gtid;
        let places = tables.values().filter(behind).map(|table| &table.until);
        // Numbers of files grow, and have as many digits, or more.
        let Some(first) =
            places.min_by_key(|place| (place.file.len(), place.file.clone(), place.offset))
        else {
            return Ok(());
        };
        let single = tables.len() == 1 || !server.maria;
        let stream = server.stream(place.connect().await?, &first.gtid).await?;
        let ended = feed(stream, until, tables, single).await?;
        // Places of large files are cut in events, and MySQL leaves out what is known by its number.
        if server.maria && until.offset < CUT && !ended {
            let message =
                format!("the server's log ended before `{}`, {}", until.file, until.offset);
            return Err(Error::new(ErrorKind::Unavailable, message).into());
        }
        Ok(())
    }
}

impl Table {
    /// How it is found again.
    fn key(&self) -> (String, String) {
        self.spooling.names()
    }
}

/// Gives events to the tables: to each those behind its own place, or all of them. Whether the place was reached.
async fn feed(
    mut stream: BinlogStream,
    until: &LogPlace,
    tables: &mut HashMap<String, Table>,
    single: bool,
) -> Result<bool, Failure> {
    let (mut file, mut offset) = (String::new(), 0);
    let (mut payload, mut reached) = (false, false);
    while let Some(event) = stream.next().await {
        let event = event.map_err(of_stream)?;
        let header = event.header();
        // Events within another one have no place of their own.
        if !payload && header.log_pos() > 0 {
            offset = u64::from(header.log_pos());
        }
        let (code, data) = (header.event_type_raw(), event.data());
        let parsed = parse(code, data)?;
        match &parsed {
            Event::File(name, position) => (file, offset) = (name.clone(), *position),
            Event::Payload => payload = true,
            _ => {}
        }
        for table in tables.values_mut().filter(|table| table.lost.is_none()) {
            if !single && !table.until.is_passed(&file, offset) {
                continue;
            }
            match table.spooling.take(code, data, &parsed) {
                Err(Failure::Lost(reason)) => table.lost = Some(reason),
                taken => taken?,
            }
        }
        let waits = |table: &Table| table.lost.is_none() && !table.spooling.is_between();
        if !tables.values().any(waits) {
            payload = false;
            if until.is_reached(&file, offset) {
                reached = true;
                break;
            }
        }
    }
    close(stream).await;
    Ok(reached)
}

/// The columns of tables, by their database and name.
async fn columns_of(
    connection: &mut Conn,
    server: &Server,
    tables: &HashMap<String, Table>,
) -> Result<HashMap<(String, String), Vec<LogColumn>>> {
    let mut names: Vec<_> = tables.values().map(Table::key).collect();
    names.sort();
    names.dedup();
    server.columns(connection, &names).await
}
