//! The rows of a query: in blocks where the size of their values is known, else one by one.
#![allow(unsafe_code, reason = "functions in C write to memory of ours here")]

use tidemill_core::{Error, ErrorKind, Result};

use super::connection::Statement;
use super::functions::{
    ATTR_ROW_ARRAY_SIZE, ATTR_ROW_STATUS, ATTR_ROWS_FETCHED, IS_UINTEGER, NO_DATA, NO_TOTAL,
    NULL_DATA, ROW_ERROR, SUCCESS, SUCCESS_WITH_INFO, Wide, c,
};

/// How many bytes of a long value are taken at once.
const CHUNK: usize = 64 << 10;

/// What the values of a column are read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number with a sign.
    Integer,
    /// A double.
    Double,
    /// A float.
    Float,
    /// 0 or 1.
    Bit,
    /// A text of so many units of UTF-16 at most.
    Text(usize),
    /// A text of so many characters of ASCII at most: numbers.
    Ascii(usize),
    /// So many bytes at most.
    Bytes(usize),
    /// A day.
    Date,
    /// A day and a time of it.
    Timestamp,
    /// A text of any length. Such columns come behind all others.
    LongText,
    /// Bytes of any length, as well.
    LongBytes,
}

impl Kind {
    /// The type in C, and the bytes of a value.
    fn layout(self) -> (i16, usize) {
        match self {
            Kind::Integer => (c::SBIGINT, 8),
            Kind::Double => (c::DOUBLE, 8),
            Kind::Float => (c::FLOAT, 4),
            Kind::Bit => (c::BIT, 1),
            // With the character that ends it.
            Kind::Text(units) => (c::WCHAR, (units + 1) * 2),
            Kind::Ascii(bytes) => (c::CHAR, bytes + 1),
            Kind::Bytes(bytes) => (c::BINARY, bytes),
            Kind::Date => (c::DATE, 6),
            Kind::Timestamp => (c::TIMESTAMP, 16),
            Kind::LongText => (c::WCHAR, 0),
            Kind::LongBytes => (c::BINARY, 0),
        }
    }

    /// Whether values are taken piece by piece.
    pub fn is_long(self) -> bool {
        matches!(self, Kind::LongText | Kind::LongBytes)
    }

    /// The bytes that a row takes for it.
    pub fn width(self) -> usize {
        self.layout().1 + size_of::<isize>()
    }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A float.
    Float(f32),
    /// A truth value.
    Bit(bool),
    /// A text; what is no UTF-16 became `U+FFFD`.
    Text(String),
    /// Characters of ASCII, or bytes.
    Bytes(&'a [u8]),
    /// Year, month, day.
    Date(i16, u16, u16),
    /// Year, month, day, hour, minute, second, nanoseconds.
    Timestamp(i16, [u16; 5], u32),
    /// It is longer than was said of its column.
    Cut,
}

/// Memory that the driver writes values of a column to.
struct Bound {
    kind: Kind,
    /// Whole words, so that every type begins where it may.
    memory: Vec<u64>,
    width: usize,
    lengths: Vec<isize>,
}

impl Bound {
    fn bytes(&self, row: usize) -> &[u8] {
        let from = row * self.width;
        debug_assert!(from + self.width <= self.memory.len() * 8);
        // SAFETY: the memory has as many words as all rows of the block take, and any bytes are bytes.
        unsafe {
            std::slice::from_raw_parts(self.memory.as_ptr().cast::<u8>().add(from), self.width)
        }
    }
}

/// The rows of a query that runs. Dropped, it ends.
pub struct Rows {
    // Freed before the memory that it writes to.
    statement: Statement,
    columns: Vec<Bound>,
    block: usize,
    fetched: Box<usize>,
    status: Vec<u16>,
    chunk: Vec<u64>,
}

impl Rows {
    /// Tells the driver how many rows it gives at once: one, when a value is long.
    pub(super) fn new(statement: Statement, kinds: &[Kind], block: usize) -> Result<Rows> {
        let has_long = kinds.iter().any(|kind| kind.is_long());
        let block = if has_long { 1 } else { block.max(1) };
        let columns = kinds.iter().map(|kind| {
            let (_, width) = kind.layout();
            let memory = vec![0; (width * block).div_ceil(8)];
            Bound { kind: *kind, memory, width, lengths: vec![NULL_DATA; block] }
        });
        let mut rows = Rows {
            statement,
            columns: columns.collect(),
            block,
            fetched: Box::new(0),
            status: vec![0; block],
            chunk: if has_long { vec![0; CHUNK / 8] } else { Vec::new() },
        };
        let fetched: *mut usize = &mut *rows.fetched;
        let status = rows.status.as_mut_ptr();
        rows.set(ATTR_ROW_ARRAY_SIZE, block as _)?;
        rows.set(ATTR_ROWS_FETCHED, fetched.cast())?;
        rows.set(ATTR_ROW_STATUS, status.cast())?;
        Ok(rows)
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.statement
    }

    fn set(&mut self, attribute: i32, value: *mut std::ffi::c_void) -> Result<()> {
        let handle = &self.statement.handle;
        // SAFETY: the value is a number, or points to what lives as long as the statement: a box, and a
        // vector that does not grow.
        let code = unsafe {
            (handle.functions.SQLSetStmtAttrW)(handle.raw, attribute, value, IS_UINTEGER)
        };
        handle.check(code, "")
    }

    /// Tells the driver where values go.
    pub(super) fn bind(&mut self) -> Result<()> {
        let handle = self.statement.handle.clone();
        for (at, column) in self.columns.iter_mut().enumerate() {
            if column.kind.is_long() {
                continue;
            }
            let (kind, width) = column.kind.layout();
            let number = u16::try_from(at + 1).unwrap_or(u16::MAX);
            // SAFETY: the memory has room for a value of each row of the block, as has that of the
            // lengths, and neither moves before the statement is freed.
            let code = unsafe {
                (handle.functions.SQLBindCol)(
                    handle.raw,
                    number,
                    kind,
                    column.memory.as_mut_ptr().cast(),
                    isize::try_from(width).unwrap_or(isize::MAX),
                    column.lengths.as_mut_ptr(),
                )
            };
            handle.check(code, "")?;
        }
        Ok(())
    }

    /// Takes the next rows; how many, 0 at the end.
    ///
    /// # Errors
    /// Of the driver, also when it is about one value of one row.
    pub fn fetch(&mut self) -> Result<usize> {
        *self.fetched = 0;
        self.status.fill(0);
        let handle = &self.statement.handle;
        // SAFETY: everything that is bound is there.
        let code = unsafe { (handle.functions.SQLFetch)(handle.raw) };
        match code {
            NO_DATA => Ok(0),
            SUCCESS | SUCCESS_WITH_INFO => {
                // A driver that gives one row only may not say how many.
                let rows = (*self.fetched).clamp(1, self.block);
                if self.status[..rows].contains(&ROW_ERROR) {
                    return Err(handle.failure(""));
                }
                Ok(rows)
            }
            _ => Err(handle.failure("")),
        }
    }

    /// A value of the rows that were fetched, of a column that is not long.
    pub fn value(&self, column: usize, row: usize) -> Value<'_> {
        let bound = &self.columns[column];
        let length = bound.lengths[row];
        if length == NULL_DATA {
            return Value::Null;
        }
        let bytes = bound.bytes(row);
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let year = |at: usize| i16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let eight = || bytes.first_chunk::<8>().copied().unwrap_or_default();
        let four = |at: usize| bytes[at..].first_chunk::<4>().copied().unwrap_or_default();
        // What fits has as many bytes as there are, less those that end it.
        let within = |room: usize| usize::try_from(length).ok().filter(|length| *length <= room);
        match bound.kind {
            Kind::Integer => Value::Integer(i64::from_ne_bytes(eight())),
            Kind::Double => Value::Double(f64::from_ne_bytes(eight())),
            Kind::Float => Value::Float(f32::from_ne_bytes(four(0))),
            Kind::Bit => Value::Bit(bytes[0] != 0),
            Kind::Date => Value::Date(year(0), word(2), word(4)),
            Kind::Timestamp => Value::Timestamp(
                year(0),
                [word(2), word(4), word(6), word(8), word(10)],
                u32::from_ne_bytes(four(12)),
            ),
            Kind::Ascii(room) => within(room).map_or(Value::Cut, |n| Value::Bytes(&bytes[..n])),
            Kind::Bytes(room) => within(room).map_or(Value::Cut, |n| Value::Bytes(&bytes[..n])),
            Kind::Text(room) => match within(room * 2) {
                Some(length) => Value::Text(utf16(&bytes[..length])),
                None => Value::Cut,
            },
            Kind::LongText | Kind::LongBytes => Value::Cut,
        }
    }

    /// The whole text of a long column of the row that was fetched. Each is asked for once, in their order.
    ///
    /// # Errors
    /// Of the driver.
    pub fn long_text(&mut self, column: usize) -> Result<Option<String>> {
        Ok(self.long_bytes(column)?.map(|bytes| utf16(&bytes)))
    }

    /// The whole of a long column, as above; of a text in UTF-16.
    ///
    /// # Errors
    /// Of the driver, and kind `Data` when it does not say where the value ends.
    pub fn long_bytes(&mut self, column: usize) -> Result<Option<Vec<u8>>> {
        let handle = self.statement.handle.clone();
        let (kind, _) = self.columns[column].kind.layout();
        let number = u16::try_from(column + 1).unwrap_or(u16::MAX);
        // A piece of a text ends with a character of its own.
        let room = if kind == c::WCHAR { CHUNK - size_of::<Wide>() } else { CHUNK };
        let mut whole = Vec::new();
        loop {
            let mut length = NO_TOTAL;
            // SAFETY: the piece has room for so many bytes; the length is written to.
            let code = unsafe {
                (handle.functions.SQLGetData)(
                    handle.raw,
                    number,
                    kind,
                    self.chunk.as_mut_ptr().cast(),
                    isize::try_from(CHUNK).unwrap_or(isize::MAX),
                    &mut length,
                )
            };
            let piece = match code {
                NO_DATA => return Ok(Some(whole)),
                SUCCESS | SUCCESS_WITH_INFO if length == NULL_DATA => return Ok(None),
                SUCCESS | SUCCESS_WITH_INFO => match usize::try_from(length) {
                    Ok(length) if length <= room => length,
                    // There is more, however much: the driver may not know.
                    _ if length == NO_TOTAL || length > 0 => room,
                    _ => {
                        let message = "the driver does not say how long a value is";
                        return Err(Error::new(ErrorKind::Data, message));
                    }
                },
                _ => return Err(handle.failure("")),
            };
            // SAFETY: `piece` is not more than the bytes of `chunk`.
            let bytes =
                unsafe { std::slice::from_raw_parts(self.chunk.as_ptr().cast::<u8>(), piece) };
            whole.extend_from_slice(bytes);
            let ends = usize::try_from(length).is_ok_and(|length| length <= room);
            if ends {
                return Ok(Some(whole));
            }
        }
    }
}

/// The text of units in the order of the machine.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_ne_bytes([unit[0], unit[1]]));
    char::decode_utf16(units).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
