//! The log of a slot, decoded once for all tables that are followed by it.
//!
//! The slot itself is not read: the process works with a **copy** of it, a temporary slot that goes with its
//! connection, and takes what is new off that. So the server decodes each part of its log once for a process, however
//! many tables there are and however far behind one of them is; and two processes do not stand in each other's way.
//!
//! What is taken off is sorted by tables and kept in files until the table's own position is behind it: each table takes
//! its part when it is read, at its own pace, and again when that was not published. Where the files grow too
//! large, a table that does not take its part is let go; when it is read again, the reading begins again at the
//! slot, which stands at or before the position of every table.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tempfile::SpooledTempFile;
use tidemill_core::{Cancellation, Error, ErrorKind, Result, ResultExt};

use super::message::{Lsn, Message, parse, relation_of};
use super::set_up;
use super::slot::one;
use crate::postgres::catalog;
use crate::postgres::error;
use crate::postgres::pool::Postgres;
use crate::postgres::session::Connected;
use crate::postgres::source::constant;
use crate::postgres::source::rows::CopyFields;

/// What is kept of a table is in memory up to this size.
const MEMORY: usize = 1 << 20;

/// From this size on of all that is kept, a table that does not take its part is let go.
const KEPT: u64 = 2 << 30;

/// That is looked at after so many bytes.
const LOOKS: u64 = 16 << 20;

/// What was read so long ago is new to a table that did not take it yet.
const NEW: Duration = Duration::from_secs(1);

/// A copy of a slot that nobody asks for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// The readers of this process, by the database and the slot.
type Readers = HashMap<(String, String), Arc<LogReader>>;

static READERS: LazyLock<Mutex<Readers>> = LazyLock::new(Mutex::default);

/// What is asked of a slot.
pub(super) struct Ask<'a> {
    pub(super) slot: &'a str,
    pub(super) publication: &'a str,
    /// The table, by its number.
    pub(super) table: u32,
    /// Those that are read by this process as well, in quotes.
    pub(super) beside: &'a [&'a str],
    /// Everything that was committed before it is applied.
    pub(super) after: Lsn,
    pub(super) cancel: &'a Cancellation,
}

/// Gives what the log has of a table, up to about now, message by message; and the place up to which that is all.
/// Transactions from before [`Ask::after`] may be among it.
///
/// # Errors
/// Kind `Unavailable` when the slot was moved on meanwhile; nothing is lost by that.
pub(super) async fn read(
    postgres: &Postgres,
    ask: &Ask<'_>,
    take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Lsn> {
    let place = postgres.config().place();
    let reader = {
        let mut readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|_, reader| reader.is_used());
        readers.entry((place, ask.slot.to_owned())).or_default().clone()
    };
    reader.read(postgres, ask, take).await
}

/// The slot is not needed any more.
pub(super) fn close(place: &str, slot: &str) {
    let mut readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
    readers.remove(&(place.to_owned(), slot.to_owned()));
}

struct LogReader {
    copy: tokio::sync::Mutex<Option<SlotCopy>>,
    /// When it was asked last, and the tables that are read by it.
    asked: Mutex<(Instant, BTreeSet<u32>)>,
}

impl Default for LogReader {
    fn default() -> Self {
        let asked = Mutex::new((Instant::now(), BTreeSet::new()));
        LogReader { copy: tokio::sync::Mutex::default(), asked }
    }
}

impl LogReader {
    fn is_used(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).0;
        asked.elapsed() < IDLE || self.copy.try_lock().is_err()
    }

    async fn read(
        &self,
        postgres: &Postgres,
        ask: &Ask<'_>,
        take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Lsn> {
        let asked = Instant::now();
        let tables = {
            let mut known = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            known.0 = asked;
            known.1.insert(ask.table);
            known.1.clone()
        };
        // What is under way is not put back when it is given up in the middle: the copy of the slot is behind
        // what was kept then.
        let mut kept = tokio::select! {
            kept = self.copy.lock() => kept,
            () = ask.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        };
        let usable = |copy: &SlotCopy| {
            let start = copy.tables.get(&ask.table).map(|table| table.start);
            !copy.connected.is_closed() && start.is_some_and(|start| start <= ask.after)
        };
        let mut copy = match kept.take().filter(usable) {
            Some(copy) => copy,
            None => SlotCopy::make(postgres, ask, tables).await?,
        };
        let taken = copy.tables.get(&ask.table).map_or(0, |table| table.taken);
        // What another table had read a moment ago, or while this one waited, will do; and what was read for all
        // when this one was not asked for yet.
        let is_new = copy.ended.is_some_and(|ended| ended + NEW >= asked);
        if taken == copy.reads || !(is_new || taken == 0) {
            copy.advance(postgres, ask).await?;
        }
        let until = copy.hand(ask, take)?;
        *kept = Some(copy);
        Ok(until)
    }
}

/// A copy of the slot, and what was taken off it.
struct SlotCopy {
    connected: Connected,
    name: String,
    /// Up to here it was taken off.
    until: Lsn,
    reads: u64,
    ended: Option<Instant>,
    tables: HashMap<u32, Table>,
}

/// What is kept of a table.
struct Table {
    /// From here on everything is there.
    start: Lsn,
    parts: Vec<TablePart>,
    /// The number of the read that it took last.
    taken: u64,
}

/// Messages of one table.
struct TablePart {
    file: SpooledTempFile,
    bytes: u64,
    /// It was taken, and ends here.
    until: Option<Lsn>,
}

impl SlotCopy {
    async fn make(
        postgres: &Postgres,
        ask: &Ask<'_>,
        mut tables: BTreeSet<u32>,
    ) -> Result<SlotCopy> {
        let connected = postgres.connection().await?;
        let client = &connected.client;
        set_up(client).await?;
        let beside = serde_json::json!(ask.beside).to_string();
        let sql = "select pg_catalog.to_regclass(one)::oid::text from json_array_elements_text($1::json) one";
        let beside = super::slot::ask(client, sql, &[&beside]).await?;
        tables.extend(beside.iter().flatten().flatten().filter_map(|one| one.parse::<u32>().ok()));
        let name = format!("{}_{:05x}", ask.slot, fastrand::u32(..1 << 20));
        let sql = "select pg_catalog.pg_copy_logical_replication_slot($1, $2, true)::text";
        one(client, sql, &[ask.slot, &name]).await?;
        let sql = "select confirmed_flush_lsn::text from pg_catalog.pg_replication_slots where slot_name = $1";
        let start: Lsn = one(client, sql, &[&name]).await?.unwrap_or_default().parse()?;
        if start > ask.after {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the replication slot `{}` was moved on by another process at this moment",
                    ask.slot
                ),
            ));
        }
        let table = |number| (number, Table { start, parts: Vec::new(), taken: 0 });
        let tables = tables.into_iter().map(table).collect();
        Ok(SlotCopy { connected, name, until: start, reads: 0, ended: None, tables })
    }

    /// Takes off what is new.
    async fn advance(&mut self, postgres: &Postgres, ask: &Ask<'_>) -> Result<()> {
        let read = self.sort(ask);
        let read = tokio::select! {
            read = read => Some(read),
            () = ask.cancel.cancelled() => None,
        };
        match read {
            Some(read) => read?,
            None => {
                postgres.stop(&self.connected).await;
                return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
            }
        }
        self.reads += 1;
        self.ended = Some(Instant::now());
        Ok(())
    }

    async fn sort(&mut self, ask: &Ask<'_>) -> Result<()> {
        let client = &self.connected.client;
        let flushed = one(client, "select pg_current_wal_flush_lsn()::text", &[]).await?;
        let until: Lsn = flushed.unwrap_or_default().parse()?;
        if until <= self.until {
            return Ok(());
        }
        let sql = format!(
            "copy (select data from pg_catalog.pg_logical_slot_get_binary_changes({}, '{until}', null, \
             'proto_version', '1', 'publication_names', {})) to stdout (format binary)",
            constant(&self.name),
            constant(&catalog::quoted(ask.publication)),
        );
        let failed = |failed| error::of_statement(failed, &sql, 0);
        let data = client.copy_out(sql.as_str()).await.map_err(failed)?;
        let mut data = std::pin::pin!(data);
        let mut fields = CopyFields::new();
        let mut sorting = Sorting {
            tables: &mut self.tables,
            asks: ask.table,
            begin: Vec::new(),
            begun: HashSet::new(),
            end: until,
            written: 0,
        };
        while let Some(bytes) = data.next().await {
            fields.take(&bytes.map_err(failed)?, |message| sorting.take(message))?;
        }
        self.until = sorting.end;
        Ok(())
    }

    /// Gives what is kept of a table that is not applied yet.
    fn hand(&mut self, ask: &Ask<'_>, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<Lsn> {
        let failed = "a temporary file cannot be read";
        let (until, reads) = (self.until, self.reads);
        let Some(table) = self.tables.get_mut(&ask.table) else { return Ok(until) };
        table.parts.retain(|part| part.until.is_none_or(|until| until > ask.after));
        let mut message = Vec::new();
        for part in &mut table.parts {
            part.until.get_or_insert(until);
            part.file.seek(SeekFrom::Start(0)).or_error(ErrorKind::Io, failed)?;
            let mut reader = BufReader::with_capacity(1 << 18, &mut part.file);
            loop {
                let mut length = [0; 4];
                match reader.read_exact(&mut length) {
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                    done => done.or_error(ErrorKind::Io, failed)?,
                }
                message.resize(u32::from_le_bytes(length) as usize, 0);
                reader.read_exact(&mut message).or_error(ErrorKind::Io, failed)?;
                ask.cancel.check()?;
                take(&message)?;
            }
        }
        table.taken = reads;
        Ok(until)
    }
}

/// Sorts messages by tables.
struct Sorting<'a> {
    tables: &'a mut HashMap<u32, Table>,
    /// The table that waits for it.
    asks: u32,
    /// How the transaction begins, and the tables that were told so.
    begin: Vec<u8>,
    begun: HashSet<u32>,
    /// Behind the last transaction.
    end: Lsn,
    /// Bytes since it was looked at how much is kept.
    written: u64,
}

impl Sorting<'_> {
    fn take(&mut self, message: &[u8]) -> Result<()> {
        if let Some(relation) = relation_of(message) {
            return self.keep(relation, message);
        }
        match message.first() {
            Some(b'B') => {
                self.begun.clear();
                self.begin.clear();
                self.begin.extend_from_slice(message);
            }
            Some(b'C' | b'T') => match parse(message)? {
                Message::Commit { end } => self.end = self.end.max(end),
                Message::Truncate { relations } => {
                    for relation in relations {
                        self.keep(relation, message)?;
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, relation: u32, message: &[u8]) -> Result<()> {
        let Some(table) = self.tables.get_mut(&relation) else { return Ok(()) };
        if table.is_let_go() {
            return Ok(());
        }
        if self.begun.insert(relation) {
            table.write(&self.begin)?;
        }
        table.write(message)?;
        self.written += message.len() as u64;
        if self.written > LOOKS {
            self.written = 0;
            let kept = || self.tables.iter().map(|(number, table)| (*number, table.bytes()));
            if kept().map(|(_, bytes)| bytes).sum::<u64>() > KEPT {
                let others = kept().filter(|(number, _)| *number != self.asks);
                let largest = others.max_by_key(|(_, bytes)| *bytes).map(|(number, _)| number);
                if let Some(table) = largest.and_then(|number| self.tables.get_mut(&number)) {
                    table.let_go();
                }
            }
        }
        Ok(())
    }
}

impl Table {
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// What comes is not kept until the reading begins again.
    fn let_go(&mut self) {
        self.parts.clear();
        self.start = Lsn(u64::MAX);
    }

    fn is_let_go(&self) -> bool {
        self.start == Lsn(u64::MAX)
    }

    fn write(&mut self, message: &[u8]) -> Result<()> {
        if self.parts.last().is_none_or(|part| part.until.is_some()) {
            let file = tempfile::spooled_tempfile(MEMORY);
            self.parts.push(TablePart { file, bytes: 0, until: None });
        }
        let length = u32::try_from(message.len())
            .or_error(ErrorKind::Resources, "a row has more than four gigabytes")?;
        let Some(part) = self.parts.last_mut() else { return Ok(()) };
        part.bytes += 4 + u64::from(length);
        part.file
            .write_all(&length.to_le_bytes())
            .and_then(|()| part.file.write_all(message))
            .or_error(ErrorKind::Io, "the changes cannot be kept in a temporary file")
    }
}
