//! The events of a binlog, as far as they say what happened to a table.

use std::io::Read;

use flate2::read::ZlibDecoder;
use tidemill_core::{Error, ErrorKind, Result};

/// What an event is.
#[derive(Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// The log goes on in this file, from this place on.
    File(String, u64),
    /// A statement: the database that it was given in, and its text.
    Statement(String, String),
    /// The table that events of rows mean by a number.
    Table(u64, TableMap),
    /// Rows of a table, by its number.
    Rows(u64, RowsKind, Rows<'a>),
    /// A transaction with its events in one, compressed; they follow.
    Payload,
    /// A transaction is done.
    Commit,
    /// A transaction is done but for the word of a coordinator.
    Prepared,
    /// Rows of which the log has parts alone.
    Partial(u64),
    /// The server does not have all that happened.
    Incident,
    Other,
}

/// What happened to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowsKind {
    Insert,
    Update,
    Delete,
}

impl RowsKind {
    pub(super) fn byte(self) -> u8 {
        match self {
            RowsKind::Insert => 0,
            RowsKind::Update => 1,
            RowsKind::Delete => 2,
        }
    }

    pub(super) fn of(byte: u8) -> Self {
        match byte {
            0 => RowsKind::Insert,
            1 => RowsKind::Update,
            _ => RowsKind::Delete,
        }
    }
}

/// A table as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableMap {
    pub(super) database: String,
    pub(super) table: String,
    pub(super) columns: Vec<MapColumn>,
    /// The names, where the server writes them (`binlog_row_metadata=FULL`).
    pub(super) names: Option<Vec<String>>,
}

/// How a column's values stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapColumn {
    /// The number of the type.
    pub(super) code: u8,
    /// What belongs to it: lengths, digits.
    pub(super) meta: [u8; 2],
}

/// The images of rows of an event.
#[derive(Debug, PartialEq)]
pub(super) struct Rows<'a> {
    pub(super) columns: usize,
    /// Which columns the images have: before and after, one of them for an insert and a delete.
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    pub(super) images: std::borrow::Cow<'a, [u8]>,
}

/// Numbers and texts one after the other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

fn short() -> Error {
    Error::new(ErrorKind::Data, "an event of the log of changes is cut short")
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes, the small one first.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn size(&mut self, bytes: usize) -> Result<usize> {
        usize::try_from(self.number(bytes)?).map_err(|_| short())
    }

    /// A number that says itself how long it is.
    pub(super) fn length(&mut self) -> Result<usize> {
        match self.number(1)? {
            0xfc => self.size(2),
            0xfd => self.size(3),
            0xfe => self.size(8),
            small => usize::try_from(small).map_err(|_| short()),
        }
    }

    fn text(&mut self, bytes: usize) -> Result<String> {
        Ok(String::from_utf8_lossy(self.take(bytes)?).into_owned())
    }

    /// A text with its length before it and a zero behind.
    fn name(&mut self) -> Result<String> {
        let bytes = self.size(1)?;
        let name = self.text(bytes)?;
        self.take(1)?;
        Ok(name)
    }
}

/// Reads an event by the number of its type; `data` is without header and checksum.
pub(super) fn parse(code: u8, data: &[u8]) -> Result<Event<'_>> {
    use RowsKind::{Delete, Insert, Update};
    let reader = Reader(data);
    match code {
        2 => statement(reader, 0, false),
        18 => statement(reader, 13, false),
        165 => statement(reader, 0, true),
        4 => {
            let mut reader = reader;
            let position = reader.number(8)?;
            // The first one comes before it is said that events have a checksum.
            let bare = reader.0.split_last_chunk::<4>().map(|(name, _)| name);
            let name = bare.filter(|name| is_file(name)).unwrap_or(reader.0);
            Ok(Event::File(String::from_utf8_lossy(name).into_owned(), position))
        }
        16 => Ok(Event::Commit),
        19 => table(reader),
        23 => rows(reader, Insert, false, false),
        24 => rows(reader, Update, false, false),
        25 => rows(reader, Delete, false, false),
        30 => rows(reader, Insert, true, false),
        31 => rows(reader, Update, true, false),
        32 => rows(reader, Delete, true, false),
        // Those of MariaDB with `log_bin_compress`.
        166 => rows(reader, Insert, false, true),
        167 => rows(reader, Update, false, true),
        168 => rows(reader, Delete, false, true),
        169 => rows(reader, Insert, true, true),
        170 => rows(reader, Update, true, true),
        171 => rows(reader, Delete, true, true),
        26 => Ok(Event::Incident),
        38 => Ok(Event::Prepared),
        39 => {
            let mut reader = reader;
            Ok(Event::Partial(reader.number(6)?))
        }
        40 => Ok(Event::Payload),
        _ => Ok(Event::Other),
    }
}

/// Whether it is the name of a file of the log: `binlog.000001`.
fn is_file(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits >= 6 && name.len().checked_sub(digits + 1).is_some_and(|at| name[at] == b'.')
}

fn statement(mut reader: Reader<'_>, more: usize, compressed: bool) -> Result<Event<'_>> {
    reader.take(8)?;
    let database = reader.size(1)?;
    reader.take(2)?;
    let status = reader.size(2)?;
    reader.take(more + status)?;
    let database = reader.text(database)?;
    reader.take(1)?;
    let text = match compressed {
        true => String::from_utf8_lossy(&inflated(reader.0)?).into_owned(),
        false => String::from_utf8_lossy(reader.0).into_owned(),
    };
    Ok(Event::Statement(database, text))
}

fn table(mut reader: Reader<'_>) -> Result<Event<'_>> {
    let number = reader.number(6)?;
    reader.take(2)?;
    let (database, table) = (reader.name()?, reader.name()?);
    let count = reader.length()?;
    let codes = reader.take(count)?;
    let bytes = reader.length()?;
    let mut metas = Reader(reader.take(bytes)?);
    let mut columns = Vec::with_capacity(count);
    for code in codes {
        let (mut code, mut meta) = (*code, [0; 2]);
        let bytes = match code {
            4 | 5 | 17..=19 | 140 | 242 | 245 | 249..=252 | 255 => 1,
            15 | 16 | 141 | 246..=248 | 253 | 254 => 2,
            _ => 0,
        };
        meta[..bytes].copy_from_slice(metas.take(bytes)?);
        // What it is beside its form.
        if code == 254 && matches!(meta[0], 247 | 248) {
            code = meta[0];
        }
        columns.push(MapColumn { code, meta });
    }
    reader.take(count.div_ceil(8))?;
    let mut names = None;
    while !reader.0.is_empty() {
        let (kind, bytes) = (reader.number(1)?, reader.length()?);
        let mut field = Reader(reader.take(bytes)?);
        if kind == 4 {
            let mut found = Vec::with_capacity(count);
            while !field.0.is_empty() {
                let bytes = field.length()?;
                found.push(field.text(bytes)?);
            }
            names = Some(found).filter(|names| names.len() == count);
        }
    }
    Ok(Event::Table(number, TableMap { database, table, columns, names }))
}

fn rows(
    mut reader: Reader<'_>,
    kind: RowsKind,
    second: bool,
    compressed: bool,
) -> Result<Event<'_>> {
    let number = reader.number(6)?;
    reader.take(2)?;
    if second {
        let more = reader.size(2)?;
        reader.take(more.saturating_sub(2))?;
    }
    let columns = reader.length()?;
    let bitmap = columns.div_ceil(8);
    let first = reader.take(bitmap)?;
    let (before, after) = match kind {
        RowsKind::Insert => (&first[..0], first),
        RowsKind::Update => (first, reader.take(bitmap)?),
        RowsKind::Delete => (first, &first[..0]),
    };
    let images = match compressed {
        true => inflated(reader.0)?.into(),
        false => reader.0.into(),
    };
    Ok(Event::Rows(number, kind, Rows { columns, before, after, images }))
}

/// What MariaDB compressed: how long the length is, the length, and a stream of zlib.
fn inflated(data: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader(data);
    let bytes = reader.size(1)? & 0x07;
    let length = reader.take(bytes)?;
    let length = length.iter().fold(0usize, |number, byte| number << 8 | usize::from(*byte));
    let mut inflated = Vec::with_capacity(length.min(1 << 26));
    let read = ZlibDecoder::new(reader.0).read_to_end(&mut inflated);
    match read {
        Ok(read) if read == length => Ok(inflated),
        _ => Err(short()),
    }
}

/// Whether the bit is set.
pub(super) fn has(bitmap: &[u8], at: usize) -> bool {
    bitmap.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

/// The bytes of the value that comes next.
pub(super) fn value<'a>(column: MapColumn, reader: &mut Reader<'a>) -> Result<&'a [u8]> {
    let [first, second] = column.meta;
    let fraction = usize::from(first).div_ceil(2);
    let bytes = match column.code {
        1 | 13 => 1,
        2 => 2,
        9..=11 | 14 => 3,
        3 | 4 | 7 => 4,
        5 | 8 | 12 => 8,
        // The length of the length is that of the longest value.
        15 | 253 | 141 => match u16::from_le_bytes([first, second]) {
            ..256 => reader.size(1)?,
            _ => reader.size(2)?,
        },
        16 => usize::from(second) + usize::from(first > 0),
        17 => 4 + fraction,
        18 => 5 + fraction,
        19 => 3 + fraction,
        246 => decimal_bytes(first, second),
        247 | 248 => usize::from(second),
        254 => {
            let longest = match first & 0x30 {
                0x30 => u16::from(second),
                // The length of a long one has two of its bits here.
                bits => u16::from(second) | u16::from(bits ^ 0x30) << 4,
            };
            match longest {
                ..256 => reader.size(1)?,
                _ => reader.size(2)?,
            }
        }
        140 | 242 | 245 | 249..=252 | 255 => reader.size(usize::from(first))?,
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("a column of the table has a type ({other}) that is not known"),
            ));
        }
    };
    reader.take(bytes)
}

/// The bytes that so many digits of a decimal take.
pub(super) const DIGITS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

fn decimal_bytes(digits: u8, scale: u8) -> usize {
    let part = |digits: u8| usize::from(digits / 9) * 4 + DIGITS[usize::from(digits % 9)];
    part(digits.saturating_sub(scale)) + part(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_say_how_long_they_are() {
        let mut reader = Reader(&[5, 0xfc, 1, 1, 0xfd, 0, 0, 1]);
        let read: Vec<usize> = (0..3).map(|_| reader.length().unwrap()).collect();
        assert_eq!(read, [5, 257, 65536]);
        assert!(reader.length().is_err());
    }

    #[test]
    fn the_next_file_is_named_with_or_without_a_checksum() {
        for rest in [&b""[..], b"\xff1\x802", b"1234"] {
            let data = [&4u64.to_le_bytes()[..], b"binlog.000012", rest].concat();
            assert_eq!(parse(4, &data).unwrap(), Event::File("binlog.000012".to_owned(), 4));
        }
    }

    #[test]
    fn a_statement_has_its_database() {
        let mut data = vec![0; 8];
        data.extend([4, 0, 0, 2, 0, 9, 9]);
        data.extend(b"shop\0truncate t");
        let expected = Event::Statement("shop".to_owned(), "truncate t".to_owned());
        assert_eq!(parse(2, &data).unwrap(), expected);
        assert!(parse(2, &data[..12]).is_err());
    }
}
