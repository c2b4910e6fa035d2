//! Changes of a log as batches: rows with their new values, and keys of rows that go.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Int8Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use mysql_async::Value;
use tempfile::SpooledTempFile;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, changes};

use super::Failure;
use super::event::{Event, MapColumn, Reader, RowsKind, TableMap, has, value};
use super::statement::{Effect, Target};
use super::value::Reading;
use crate::tables::{Builder, Misfit, Part, Put};

/// A batch ends with this many rows, or bytes of the log.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 2 << 20;

/// What stands in the file in place of a kind of rows, when all rows go.
const TRUNCATED: u8 = 9;

/// The changes of a table after a position, as the log has them, in a file where they are many.
pub(super) struct Spool {
    file: SpooledTempFile,
    /// How many events that change rows.
    pub(super) changes: u64,
    /// How often the table was altered.
    pub(super) alterations: usize,
    /// The columns that went with that.
    pub(super) dropped: Vec<String>,
    /// The forms that rows have.
    pub(super) maps: Vec<Mapped>,
    /// Bytes of the log that were read for it.
    pub(super) read: u64,
}

impl Spool {
    /// Nothing happened to the table.
    pub(super) fn is_nothing(&self) -> bool {
        self.changes == 0 && self.alterations == 0 && self.dropped.is_empty()
    }
}

/// A form of rows.
pub(super) struct Mapped {
    pub(super) map: TableMap,
    /// How often the table was altered before it.
    pub(super) altered: usize,
    /// Which columns all images have; nothing, as long as there is none.
    pub(super) images: Option<Vec<bool>>,
}

/// Where a transaction begins: what is taken back when it is not committed.
#[derive(Clone, Copy)]
struct Mark {
    length: u64,
    changes: u64,
    altered: usize,
}

/// Whether a transaction is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    No,
    /// Its number came; what follows is it, or begins it.
    Announced,
    Way,
}

/// Takes what the log gives, event by event.
pub(super) struct Spooling {
    database: String,
    table: String,
    /// The tables that are ours, by their numbers.
    numbers: HashMap<u64, usize>,
    altered: usize,
    mark: Option<Mark>,
    under: Under,
    length: u64,
    spool: Spool,
}

impl Spooling {
    /// Of a table, for which `read` bytes of the log were read before. From `memory` bytes on it goes to a file.
    pub(super) fn new(database: &str, table: &str, read: u64, memory: usize) -> Self {
        let spool = Spool {
            file: tempfile::spooled_tempfile(memory),
            changes: 0,
            alterations: 0,
            dropped: Vec::new(),
            maps: Vec::new(),
            read,
        };
        Spooling {
            database: database.to_owned(),
            table: table.to_owned(),
            numbers: HashMap::new(),
            altered: 0,
            mark: None,
            under: Under::No,
            length: 0,
            spool,
        }
    }

    /// Whether no transaction is under way: here the reading may end.
    pub(super) fn is_between(&self) -> bool {
        self.under == Under::No
    }

    /// The database, and the table.
    pub(super) fn names(&self) -> (String, String) {
        (self.database.clone(), self.table.clone())
    }

    /// How many bytes are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.length
    }

    /// Takes an event by the number of its type; its bytes, and what they say.
    pub(super) fn take(&mut self, code: u8, data: &[u8], event: &Event<'_>) -> Result<(), Failure> {
        self.spool.read += data.len() as u64;
        match code {
            // Numbers of transactions: of MariaDB, and of MySQL.
            162 => {
                let alone = data.get(12).is_some_and(|flags| flags & 1 == 1);
                self.begin(if alone { Under::Announced } else { Under::Way });
                return Ok(());
            }
            33 | 34 | 42 => {
                self.begin(Under::Announced);
                return Ok(());
            }
            _ => {}
        }
        match event {
            Event::File(..) | Event::Payload => {}
            Event::Table(number, map) => {
                if map.database == self.database && map.table == self.table {
                    let at = self.map(map);
                    self.numbers.insert(*number, at);
                } else {
                    self.numbers.remove(number);
                }
            }
            Event::Rows(number, kind, rows) => {
                let Some(at) = self.numbers.get(number).copied() else { return Ok(()) };
                let mapped = &mut self.spool.maps[at];
                if rows.columns != mapped.map.columns.len() {
                    let message = "the log describes rows in another way than it has them";
                    return Err(Error::new(ErrorKind::Data, message).into());
                }
                let images = mapped.images.get_or_insert_with(|| vec![true; rows.columns]);
                for bitmap in [rows.before, rows.after].iter().filter(|bits| !bits.is_empty()) {
                    for (column, all) in images.iter_mut().enumerate() {
                        *all &= has(bitmap, column);
                    }
                }
                self.spool.changes += 1;
                self.write(kind.byte(), at, &[rows.before, rows.after, &rows.images])?;
            }
            Event::Statement(database, sql) => self.statement(database, sql)?,
            Event::Commit => self.end(),
            Event::Prepared => {
                if self.mark.is_some_and(|mark| mark.length < self.length) {
                    return Err(Failure::lost("rows of it were written in a transaction of XA"));
                }
                self.end();
            }
            Event::Partial(number) if self.numbers.contains_key(number) => {
                return Err(Failure::lost(
                    "the log has but parts of values (`binlog_row_value_options`)",
                ));
            }
            Event::Incident => {
                return Err(Failure::lost("the server's log says that it misses changes"));
            }
            Event::Partial(_) | Event::Other => {}
        }
        Ok(())
    }

    fn statement(&mut self, database: &str, sql: &str) -> Result<(), Failure> {
        let target = Target { database: &self.database, table: &self.table };
        match target.effect(database, sql) {
            Effect::Begin => {
                self.begin(Under::Way);
                return Ok(());
            }
            Effect::Commit => {
                self.end();
                return Ok(());
            }
            Effect::Rollback => {
                self.take_back()?;
                self.end();
                return Ok(());
            }
            Effect::Truncated => {
                self.spool.changes += 1;
                self.write(TRUNCATED, 0, &[])?;
            }
            Effect::Altered(dropped) => {
                self.spool.dropped.extend(dropped);
                self.altered += 1;
                self.numbers.clear();
            }
            Effect::Lost(reason) => return Err(Failure::lost(reason)),
            Effect::None => {}
        }
        // Within a transaction it is one of its parts (a savepoint).
        if self.under != Under::Way {
            self.end();
        }
        Ok(())
    }

    fn begin(&mut self, under: Under) {
        let (length, changes, altered) = (self.length, self.spool.changes, self.altered);
        self.mark.get_or_insert(Mark { length, changes, altered });
        self.under = under;
    }

    fn end(&mut self) {
        self.mark = None;
        self.under = Under::No;
    }

    fn take_back(&mut self) -> Result<()> {
        let Some(mark) = self.mark.take() else { return Ok(()) };
        (self.length, self.spool.changes, self.altered) = (mark.length, mark.changes, mark.altered);
        let file = &mut self.spool.file;
        file.set_len(mark.length)
            .and_then(|()| file.seek(SeekFrom::Start(mark.length)))
            .or_error(ErrorKind::Io, "the changes cannot be kept in a temporary file")
            .map(drop)
    }

    fn map(&mut self, map: &TableMap) -> usize {
        let maps = &mut self.spool.maps;
        let known = maps.iter().position(|one| one.altered == self.altered && one.map == *map);
        known.unwrap_or_else(|| {
            maps.push(Mapped { map: map.clone(), altered: self.altered, images: None });
            maps.len() - 1
        })
    }

    fn write(&mut self, kind: u8, map: usize, parts: &[&[u8]]) -> Result<()> {
        let large = |_| Error::new(ErrorKind::Resources, "an event has more than four gigabytes");
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut head = vec![kind];
        head.extend(u32::try_from(map).map_err(large)?.to_le_bytes());
        head.extend(u32::try_from(length).map_err(large)?.to_le_bytes());
        self.length += (head.len() + length) as u64;
        let file = &mut self.spool.file;
        std::iter::once(&head.as_slice())
            .chain(parts)
            .try_for_each(|part| file.write_all(part))
            .or_error(ErrorKind::Io, "the changes cannot be kept in a temporary file")
    }

    pub(super) fn finish(mut self) -> Result<Spool> {
        if self.under != Under::No {
            self.take_back()?;
        }
        self.spool.alterations = self.altered;
        self.spool.file.rewind().or_error(ErrorKind::Io, "a temporary file cannot be read")?;
        Ok(self.spool)
    }
}

/// What is wanted of the table.
pub(super) struct Wanted {
    pub(super) names: Vec<String>,
    pub(super) types: Vec<DataType>,
    /// Which of these are the key.
    pub(super) key: Vec<usize>,
    /// Each change is given, with what it is.
    pub(super) every_change: bool,
}

/// How the rows of one form are read: for each of its columns its form, and the wanted column that it is.
pub(super) type Readings = Vec<(MapColumn, Option<(usize, Reading)>)>;

/// A value of a row; nothing, when it cannot be read.
type Values = Vec<Option<Value>>;

/// Gives the changes as batches.
pub(super) struct Batches {
    reader: BufReader<SpooledTempFile>,
    readings: Vec<Readings>,
    build: Build,
    /// The table was emptied, which is to be said before the next batch.
    truncated: bool,
    ended: bool,
}

impl Batches {
    pub(super) fn new(wanted: Wanted, spool: Spool, readings: Vec<Readings>) -> Result<Self> {
        Ok(Batches {
            reader: BufReader::with_capacity(1 << 18, spool.file),
            readings,
            build: Build::new(wanted)?,
            truncated: false,
            ended: false,
        })
    }

    /// The next part; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Part>> {
        loop {
            if self.truncated {
                if let Some(before) = self.build.finish()? {
                    return Ok(Some(before));
                }
                self.truncated = false;
                return Ok(Some(Part::Truncated));
            }
            if self.ended || self.build.is_full() {
                return self.build.finish();
            }
            self.step()?;
        }
    }

    fn step(&mut self) -> Result<()> {
        let failed = "a temporary file cannot be read";
        let mut head = [0; 9];
        match self.reader.read_exact(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.ended = true;
                return Ok(());
            }
            done => done.or_error(ErrorKind::Io, failed)?,
        }
        if head[0] == TRUNCATED {
            if !self.build.wanted.every_change {
                self.build.clear()?;
            }
            self.truncated = true;
            return Ok(());
        }
        let mut head = Reader(&head);
        let kind = RowsKind::of(u8::try_from(head.number(1)?).unwrap_or(0));
        let (map, length) = (head.size(4)?, head.size(4)?);
        let mut event = vec![0; length];
        self.reader.read_exact(&mut event).or_error(ErrorKind::Io, failed)?;
        let readings = self.readings.get(map).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "rows of the log have a form that is not known")
        })?;
        let mut reader = Reader(&event);
        let bitmap = readings.len().div_ceil(8);
        let mut bitmaps = Vec::with_capacity(2);
        for _ in 0..if kind == RowsKind::Update { 2 } else { 1 } {
            bitmaps.push(reader.take(bitmap)?);
        }
        while !reader.0.is_empty() {
            let before = reader.0.len();
            let width = self.build.wanted.names.len();
            let first = image(readings, bitmaps[0], width, &mut reader)?;
            match kind {
                RowsKind::Insert => {
                    self.build.add(first, changes::INSERT, before - reader.0.len())?;
                }
                RowsKind::Delete => self.build.remove(first, before - reader.0.len())?,
                RowsKind::Update => {
                    let new = image(readings, bitmaps[1], width, &mut reader)?;
                    let moves = self.build.wanted.key.iter().any(|at| first[*at] != new[*at]);
                    if moves {
                        self.build.remove(first, 0)?;
                    }
                    // A row with another key is another row.
                    let kind = if moves { changes::INSERT } else { changes::UPDATE };
                    self.build.add(new, kind, before - reader.0.len())?;
                }
            }
        }
        Ok(())
    }
}

/// The wanted values of a row; a column that it did not have yet is NULL.
fn image(
    readings: &Readings,
    bitmap: &[u8],
    width: usize,
    reader: &mut Reader<'_>,
) -> Result<Values> {
    let present = (0..readings.len()).filter(|at| has(bitmap, *at)).count();
    let nulls = reader.take(present.div_ceil(8))?;
    let mut values = vec![Some(Value::NULL); width];
    let of_image = readings.iter().enumerate().filter(|(at, _)| has(bitmap, *at));
    for (number, (_, (form, wanted))) in of_image.enumerate() {
        if has(nulls, number) {
            continue;
        }
        let bytes = value(*form, reader)?;
        if let Some((at, reading)) = wanted {
            values[*at] = reading.value(bytes);
        }
    }
    Ok(values)
}

/// A batch under construction.
struct Build {
    wanted: Wanted,
    builders: Vec<Builder>,
    gone: BooleanBuilder,
    kinds: Vec<i8>,
    misfits: Vec<Misfit>,
    rows: usize,
    bytes: usize,
}

impl Build {
    fn new(wanted: Wanted) -> Result<Self> {
        let builders = wanted.types.iter().map(Builder::new).collect::<Result<_>>()?;
        let gone = BooleanBuilder::new();
        let (kinds, misfits) = (Vec::new(), Vec::new());
        Ok(Build { wanted, builders, gone, kinds, misfits, rows: 0, bytes: 0 })
    }

    fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// What was taken is void.
    fn clear(&mut self) -> Result<()> {
        self.builders = self.wanted.types.iter().map(Builder::new).collect::<Result<_>>()?;
        self.gone = BooleanBuilder::new();
        self.kinds.clear();
        self.misfits.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn push(&mut self, at: usize, value: Option<Value>) {
        let pushed = match value {
            Some(value) => self.builders[at].put(value).map(drop),
            None => Err("a value does not have the form of its type".to_owned()),
        };
        if let Err(reason) = pushed {
            self.builders[at].null();
            let (name, kind) = (&self.wanted.names[at], &self.wanted.types[at]);
            let reason = format!("`{name}` is a {kind}, and {reason}");
            self.misfits.push(Misfit { row: self.rows, reason });
        }
    }

    /// A row with its new values.
    fn add(&mut self, values: Values, kind: i8, bytes: usize) -> Result<()> {
        for (at, value) in values.into_iter().enumerate() {
            self.push(at, value);
        }
        self.row(kind, bytes)
    }

    /// A row that goes, by its key.
    fn remove(&mut self, values: Values, bytes: usize) -> Result<()> {
        for (at, value) in values.into_iter().enumerate() {
            match self.wanted.key.contains(&at) {
                true => self.push(at, value),
                false => self.builders[at].null(),
            }
        }
        self.row(changes::DELETE, bytes)
    }

    fn row(&mut self, kind: i8, bytes: usize) -> Result<()> {
        self.gone.append_value(kind == changes::DELETE);
        self.kinds.push(kind);
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<Part>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let named = self.wanted.names.iter().zip(&self.wanted.types);
        let mut fields: Vec<Field> =
            named.map(|(name, kind)| Field::new(name, kind.clone(), true)).collect();
        fields.push(Field::new(changes::GONE, DataType::Boolean, false));
        let mut columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        columns.push(Arc::new(self.gone.finish()));
        let kinds: ArrayRef = Arc::new(Int8Array::from(std::mem::take(&mut self.kinds)));
        if self.wanted.every_change {
            fields.push(Field::new(changes::KIND, DataType::Int8, false));
            columns.push(kinds);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)
            .or_error(ErrorKind::Internal, "changes do not make a batch")?;
        Ok(Some(Part::Rows(batch, std::mem::take(&mut self.misfits))))
    }
}
