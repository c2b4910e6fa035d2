//! Columns under construction: many texts of one column in, one Arrow array out.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, NullArray, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, TimeUnit};
use tidemill_core::{Error, ErrorKind, Result};

use super::infer::{Formats, Seen};
use super::value;

/// The types that a text value can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only NULLs were seen: every value is a surprise.
    Unknown,
    /// Only NULL tokens in quotes were seen, which are text as long as that is so.
    QuotedNulls,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    Date,
    Timestamp {
        utc: bool,
    },
    Decimal {
        precision: u8,
        scale: i8,
    },
    Text,
}

impl Kind {
    /// The kind of an Arrow type that a project declares or a table has.
    pub(crate) fn of(data_type: &DataType) -> Option<Kind> {
        Some(match data_type {
            DataType::Null => Kind::Unknown,
            DataType::Int8 | DataType::Int16 => Kind::Int16,
            DataType::Int32 => Kind::Int32,
            DataType::Int64 => Kind::Int64,
            DataType::Float32 => Kind::Float32,
            DataType::Float64 => Kind::Float64,
            DataType::Boolean => Kind::Boolean,
            DataType::Date32 => Kind::Date,
            DataType::Timestamp(_, zone) => Kind::Timestamp { utc: zone.is_some() },
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                Kind::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
            _ => return None,
        })
    }

    /// The Arrow type of the arrays.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Kind::Unknown | Kind::QuotedNulls | Kind::Text => DataType::Utf8,
            Kind::Int16 => DataType::Int16,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 => DataType::Int64,
            Kind::Float32 => DataType::Float32,
            Kind::Float64 => DataType::Float64,
            Kind::Boolean => DataType::Boolean,
            Kind::Date => DataType::Date32,
            Kind::Timestamp { utc } => {
                DataType::Timestamp(TimeUnit::Microsecond, utc.then(|| "UTC".into()))
            }
            Kind::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        }
    }

    /// The type in a message, with its article: `a bigint`.
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Unknown | Kind::QuotedNulls | Kind::Text => "a text".into(),
            Kind::Int16 => "a smallint".into(),
            Kind::Int32 => "an integer".into(),
            Kind::Int64 => "a bigint".into(),
            Kind::Float32 => "a real".into(),
            Kind::Float64 => "a double".into(),
            Kind::Boolean => "a boolean".into(),
            Kind::Date => "a date".into(),
            Kind::Timestamp { utc: false } => "a timestamp".into(),
            Kind::Timestamp { utc: true } => "a timestamp with time zone".into(),
            Kind::Decimal { precision, scale } => format!("a decimal({precision},{scale})"),
        }
    }
}

/// The texts that stand for NULL.
#[derive(Debug, Clone)]
pub(crate) struct NullTokens {
    tokens: Vec<Vec<u8>>,
    empty: bool,
    /// Whether more than the empty text is NULL in a text column.
    in_texts: bool,
    /// For each byte, which lengths (7 for 7 and more) the tokens have that start with it, and that
    /// end with it: nearly every text that is no token is told apart by these.
    first: [u8; 256],
    last: [u8; 256],
}

impl NullTokens {
    pub(crate) fn new<S: AsRef<str>>(tokens: &[S]) -> Self {
        let mut set = NullTokens {
            tokens: Vec::new(),
            empty: false,
            in_texts: true,
            first: [0; 256],
            last: [0; 256],
        };
        for token in tokens {
            let token = token.as_ref().as_bytes();
            match (token.first(), token.last()) {
                (Some(first), Some(last)) => {
                    let length = 1 << token.len().min(7);
                    set.first[usize::from(*first)] |= length;
                    set.last[usize::from(*last)] |= length;
                    set.tokens.push(token.to_vec());
                }
                _ => set.empty = true,
            }
        }
        set
    }

    /// Whether all of them are NULL in a text column; else the empty text alone is, if it is one.
    pub(crate) fn in_texts(self, all: bool) -> Self {
        NullTokens { in_texts: all, ..self }
    }

    /// Whether an unquoted field of a text column is NULL.
    #[inline(always)]
    pub(crate) fn contains_in_texts(&self, text: &[u8]) -> bool {
        (self.in_texts || text.is_empty()) && self.contains(text)
    }

    /// Whether an unquoted field is NULL.
    #[inline(always)]
    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        match text {
            [] => self.empty,
            [first, .., last] | [first @ last] => {
                let lengths = self.first[usize::from(*first)] & self.last[usize::from(*last)];
                (lengths >> text.len().min(7)) & 1 != 0
                    && self.tokens.iter().any(|token| token == text)
            }
        }
    }
}

/// How values of a column are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) kind: Kind,
    /// The type is declared: what does not fit is the row's fault, not the type's.
    pub(crate) declared: bool,
    /// Digits beyond those of a decimal are rounded.
    pub(crate) rounds: bool,
    /// How dates and times are written.
    pub(crate) formats: Arc<Formats>,
}

impl Reading {
    fn strict(&self) -> bool {
        !self.declared
    }
}

/// Where the fields of one column are within a block. Behind the last field at least 16 bytes can
/// be read.
pub(crate) trait Fields {
    fn len(&self) -> usize;
    /// (start, end, whether it stood in quotes).
    fn get(&self, row: usize) -> (usize, usize, bool);
}

enum Values {
    Unknown,
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>),
    Bool(Vec<bool>),
    Text { ends: Vec<i32>, bytes: Vec<u8> },
}

/// A column under construction.
pub(crate) struct Column {
    reading: Reading,
    values: Values,
    nulls: Vec<u32>,
    len: usize,
    /// What the values showed beyond their type: see [`Column::seen`].
    big: bool,
}

/// For types without a quick parser.
#[inline(always)]
fn no_fast_way<T>(_: &[u8], _: usize, _: usize) -> Option<T> {
    None
}

/// Appends the fields of a column: `fast` reads a field where it stands, `slow` a trimmed text when
/// that does not work. A macro, because the column is borrowed in part.
macro_rules! fill {
    ($self:ident, $out:expr, $data:expr, $fields:expr, $nulls:expr, $misfits:expr, $default:expr,
     $fast:expr, $slow:expr) => {{
        let base = $self.len;
        let out = &mut *$out;
        out.reserve($fields.len());
        for row in 0..$fields.len() {
            let (start, end, quoted) = $fields.get(row);
            if let Some(value) = $fast($data, start, end) {
                out.push(value);
                continue;
            }
            let text = &$data[start..end];
            // In a typed column quotes do not protect a NULL: exporters quote everything.
            if $nulls.contains(text) || (quoted && text.is_empty()) {
                $self.nulls.push((base + row) as u32);
                out.push($default);
                continue;
            }
            match $slow(text.trim_ascii()) {
                Some(value) => out.push(value),
                None => {
                    $self.nulls.push((base + row) as u32);
                    out.push($default);
                    $misfits.push(row as u32);
                }
            }
        }
    }};
}

impl Column {
    pub(crate) fn new(reading: &Reading) -> Self {
        let values = match reading.kind {
            Kind::Unknown => Values::Unknown,
            Kind::Int16 => Values::I16(Vec::new()),
            Kind::Int32 | Kind::Date => Values::I32(Vec::new()),
            Kind::Int64 | Kind::Timestamp { .. } => Values::I64(Vec::new()),
            Kind::Float32 => Values::F32(Vec::new()),
            Kind::Float64 => Values::F64(Vec::new()),
            Kind::Decimal { .. } => Values::I128(Vec::new()),
            Kind::Boolean => Values::Bool(Vec::new()),
            Kind::Text | Kind::QuotedNulls => Values::Text { ends: vec![0], bytes: Vec::new() },
        };
        Column { reading: reading.clone(), values, nulls: Vec::new(), len: 0, big: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes room for a block of this many rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        match &mut self.values {
            Values::Unknown => {}
            Values::I16(values) => values.reserve(rows),
            Values::I32(values) => values.reserve(rows),
            Values::I64(values) => values.reserve(rows),
            Values::F32(values) => values.reserve(rows),
            Values::F64(values) => values.reserve(rows),
            Values::I128(values) => values.reserve(rows),
            Values::Bool(values) => values.reserve(rows),
            // How long texts are shows with the first of them.
            Values::Text { ends, .. } => ends.reserve(rows),
        }
    }

    /// Appends the fields of one column. Rows (within `fields`) whose value does not fit get NULL
    /// and are added to `misfits`.
    pub(crate) fn append<F: Fields>(
        &mut self,
        data: &[u8],
        fields: &F,
        nulls: &NullTokens,
        misfits: &mut Vec<u32>,
    ) {
        let strict = self.reading.strict();
        match (&mut self.values, self.reading.kind) {
            (Values::Unknown, _) => {
                for row in 0..fields.len() {
                    let (start, end, quoted) = fields.get(row);
                    self.nulls.push((self.len + row) as u32);
                    // A quoted empty text is a value only once the column is text.
                    if quoted || !nulls.contains(&data[start..end]) {
                        misfits.push(row as u32);
                    }
                }
            }
            (Values::I64(out), Kind::Timestamp { utc }) => {
                let formats = Arc::clone(&self.reading.formats);
                let slow = |text: &[u8]| timestamp(text, utc, strict, &formats);
                fill!(self, out, data, fields, nulls, misfits, 0, no_fast_way, slow);
            }
            (Values::I64(out), _) => {
                let first = out.len();
                let slow = |text: &[u8]| value::parse_i64(text, strict);
                fill!(self, out, data, fields, nulls, misfits, 0, value::fast_i64, slow);
                let limit = value::EXACT_DOUBLE;
                self.big |= out[first..].iter().any(|value| *value > limit || *value < -limit);
            }
            (Values::I32(out), Kind::Date) => {
                let formats = Arc::clone(&self.reading.formats);
                let slow = |text: &[u8]| formats.parse_date(text);
                if formats.date.is_none() {
                    fill!(self, out, data, fields, nulls, misfits, 0, value::fast_date, slow);
                } else {
                    fill!(self, out, data, fields, nulls, misfits, 0, no_fast_way, slow);
                }
            }
            (Values::I32(out), _) => {
                let fast = |data: &[u8], start: usize, end: usize| {
                    value::fast_i64(data, start, end).and_then(|value| i32::try_from(value).ok())
                };
                let slow = |text: &[u8]| {
                    value::parse_i64(text, strict).and_then(|value| i32::try_from(value).ok())
                };
                fill!(self, out, data, fields, nulls, misfits, 0, fast, slow);
            }
            (Values::I16(out), _) => {
                let slow = |text: &[u8]| {
                    value::parse_i64(text, strict).and_then(|value| i16::try_from(value).ok())
                };
                fill!(self, out, data, fields, nulls, misfits, 0, no_fast_way, slow);
            }
            (Values::F64(out), _) => {
                let formats = Arc::clone(&self.reading.formats);
                let slow = |text: &[u8]| double(text, strict, &formats);
                fill!(self, out, data, fields, nulls, misfits, 0.0, value::fast_f64, slow);
            }
            (Values::F32(out), _) => {
                let slow = |text: &[u8]| value::parse_f64(text, strict).map(|value| value as f32);
                fill!(self, out, data, fields, nulls, misfits, 0.0, no_fast_way, slow);
            }
            (Values::I128(out), Kind::Decimal { precision, scale }) => {
                let fast = |data: &[u8], start: usize, end: usize| {
                    value::fast_decimal(data, start, end, precision, scale)
                };
                let rounds = self.reading.rounds;
                let slow = |text: &[u8]| value::decimal(text, precision, scale, rounds);
                fill!(self, out, data, fields, nulls, misfits, 0, fast, slow);
            }
            (Values::I128(_), _) => {}
            (Values::Bool(out), _) => {
                let slow = |text: &[u8]| value::parse_bool(text, strict);
                fill!(self, out, data, fields, nulls, misfits, false, no_fast_way, slow);
            }
            (Values::Text { ends, bytes }, Kind::QuotedNulls) => {
                for row in 0..fields.len() {
                    let (start, end, quoted) = fields.get(row);
                    let text = &data[start..end];
                    let null = nulls.contains(text);
                    if !quoted && null {
                        self.nulls.push((self.len + row) as u32);
                    } else if quoted && (null || text.is_empty()) {
                        bytes.extend_from_slice(text);
                    } else {
                        misfits.push(row as u32);
                    }
                    ends.push(bytes.len() as i32);
                }
            }
            (Values::Text { ends, bytes }, _) => {
                let rows = fields.len();
                let mut total = 0;
                for row in 0..rows {
                    let (start, end, _) = fields.get(row);
                    total += end - start;
                }
                ends.reserve(rows);
                if bytes.is_empty() && rows > 0 {
                    let expected = ends.capacity() / rows + 1;
                    bytes.reserve(total * expected + total / 8 + CHUNK * 2);
                }
                let mut at = bytes.len();
                // Room for copies that are longer than the text.
                bytes.resize(at + total + CHUNK * 2, 0);
                for row in 0..rows {
                    let (start, end, quoted) = fields.get(row);
                    if !quoted && nulls.contains_in_texts(&data[start..end]) {
                        self.nulls.push((self.len + row) as u32);
                    } else {
                        copy_text(data, start, end, &mut bytes[at..]);
                        at += end - start;
                    }
                    ends.push(at as i32);
                }
                bytes.truncate(at);
            }
        }
        self.len += fields.len();
    }

    /// Appends one value that stands in JSON; `quoted` says that it was a string. `false` when it
    /// does not fit: then nothing was appended.
    pub(crate) fn push(&mut self, data: &[u8], start: usize, end: usize, quoted: bool) -> bool {
        let strict = self.reading.strict();
        let text = &data[start..end];
        let formats = &self.reading.formats;
        // A number in quotes is text unless the column is declared as a number.
        let number = !quoted || !strict;
        let fits = match (&mut self.values, self.reading.kind) {
            (Values::Unknown, _) => false,
            (Values::I64(out), Kind::Timestamp { utc }) => {
                quoted && keep(out, timestamp(text, utc, strict, formats))
            }
            (Values::I64(out), _) => {
                let value = match value::fast_i64(data, start, end) {
                    None => value::parse_i64(text, strict),
                    some => some,
                };
                self.big |= value.is_some_and(|value| Seen::of_integer(value) == Seen::BIG_INTEGER);
                number && keep(out, value)
            }
            (Values::I32(out), Kind::Date) => quoted && keep(out, formats.parse_date(text)),
            (Values::I32(out), _) => {
                let value = value::parse_i64(text, strict);
                number && keep(out, value.and_then(|value| i32::try_from(value).ok()))
            }
            (Values::I16(out), _) => {
                let value = value::parse_i64(text, strict);
                number && keep(out, value.and_then(|value| i16::try_from(value).ok()))
            }
            (Values::F64(out), _) => {
                let value = match value::fast_f64(data, start, end) {
                    None => double(text, strict, formats),
                    some => some,
                };
                number && keep(out, value)
            }
            (Values::F32(out), _) => {
                number && keep(out, value::parse_f64(text, strict).map(|value| value as f32))
            }
            (Values::I128(out), Kind::Decimal { precision, scale }) => {
                let rounds = self.reading.rounds;
                number && keep(out, value::decimal(text, precision, scale, rounds))
            }
            (Values::I128(_), _) => false,
            (Values::Bool(out), _) => number && keep(out, value::parse_bool(text, strict)),
            (Values::Text { ends, bytes }, _) => {
                bytes.extend_from_slice(text);
                ends.push(bytes.len() as i32);
                true
            }
        };
        self.len += usize::from(fits);
        fits
    }

    /// Appends a text to a text column.
    pub(crate) fn push_text(&mut self, text: &[u8]) {
        if let Values::Text { ends, bytes } = &mut self.values {
            bytes.extend_from_slice(text);
            ends.push(bytes.len() as i32);
            self.len += 1;
        }
    }

    /// Takes back everything behind the first `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = len;
        while self.nulls.last().is_some_and(|row| *row as usize >= len) {
            self.nulls.pop();
        }
        match &mut self.values {
            Values::Unknown => {}
            Values::I16(out) => out.truncate(len),
            Values::I32(out) => out.truncate(len),
            Values::I64(out) => out.truncate(len),
            Values::F32(out) => out.truncate(len),
            Values::F64(out) => out.truncate(len),
            Values::I128(out) => out.truncate(len),
            Values::Bool(out) => out.truncate(len),
            Values::Text { ends, bytes } => {
                ends.truncate(len + 1);
                bytes.truncate(ends.last().copied().unwrap_or(0) as usize);
            }
        }
    }

    /// Appends NULLs, for a column that a file does not have.
    pub(crate) fn append_nulls(&mut self, rows: usize) {
        let base = self.len;
        self.nulls.extend((base..base + rows).map(|row| row as u32));
        match &mut self.values {
            Values::Unknown => {}
            Values::I16(out) => out.resize(base + rows, 0),
            Values::I32(out) => out.resize(base + rows, 0),
            Values::I64(out) => out.resize(base + rows, 0),
            Values::F32(out) => out.resize(base + rows, 0.0),
            Values::F64(out) => out.resize(base + rows, 0.0),
            Values::I128(out) => out.resize(base + rows, 0),
            Values::Bool(out) => out.resize(base + rows, false),
            Values::Text { ends, bytes } => ends.resize(base + rows + 1, bytes.len() as i32),
        }
        self.len += rows;
    }

    /// What has to be added to the set of what was seen in the column, beyond its type.
    pub(crate) fn seen(&self) -> Seen {
        if self.big && self.reading.kind == Kind::Int64 { Seen::BIG_INTEGER } else { Seen::NOTHING }
    }

    /// The array.
    pub(crate) fn finish(self) -> Result<ArrayRef> {
        let nulls = null_buffer(&self.nulls, self.len);
        let data_type = self.reading.kind.data_type();
        Ok(match self.values {
            Values::Unknown => {
                let array = NullArray::new(self.len);
                return arrow::compute::cast(&array, &data_type).map_err(|error| {
                    Error::new(ErrorKind::Internal, "cannot make NULLs").because(error)
                });
            }
            Values::I16(values) => Arc::new(Int16Array::new(values.into(), nulls)),
            Values::I32(values) => match data_type {
                DataType::Date32 => Arc::new(Date32Array::new(values.into(), nulls)),
                _ => Arc::new(Int32Array::new(values.into(), nulls)),
            },
            Values::I64(values) => match data_type {
                DataType::Timestamp(_, zone) => Arc::new(
                    TimestampMicrosecondArray::new(values.into(), nulls).with_timezone_opt(zone),
                ),
                _ => Arc::new(Int64Array::new(values.into(), nulls)),
            },
            Values::F32(values) => Arc::new(Float32Array::new(values.into(), nulls)),
            Values::F64(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::I128(values) => {
                Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(data_type))
            }
            Values::Bool(values) => {
                Arc::new(BooleanArray::new(BooleanBuffer::from(values.as_slice()), nulls))
            }
            Values::Text { ends, bytes } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                debug_assert!(std::str::from_utf8(&bytes).is_ok());
                // SAFETY: the offsets ascend up to the length of the bytes, as they are pushed
                // behind what they count. The bytes are UTF-8 and cut between characters: a block
                // (or, where that is not UTF-8, each of its records) is validated before its fields
                // are appended, fields are cut at ASCII separators, and escapes that are taken out
                // are ASCII.
                #[allow(unsafe_code)]
                let array =
                    unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), nulls) };
                Arc::new(array)
            }
        })
    }
}

/// How many bytes are copied at once.
const CHUNK: usize = 16;

/// Copies a text to the start of `to`, in whole chunks while both sides have room behind it.
#[inline(always)]
fn copy_text(data: &[u8], start: usize, end: usize, to: &mut [u8]) {
    let length = end - start;
    if length <= CHUNK {
        if let (Some(from), Some(to)) =
            (data[start..].first_chunk::<CHUNK>(), to.first_chunk_mut::<CHUNK>())
        {
            *to = *from;
            return;
        }
    } else if length <= CHUNK * 2
        && let (Some(from), Some(to)) =
            (data[start..].first_chunk::<{ CHUNK * 2 }>(), to.first_chunk_mut::<{ CHUNK * 2 }>())
    {
        *to = *from;
        return;
    }
    to[..length].copy_from_slice(&data[start..end]);
}

fn keep<T>(out: &mut Vec<T>, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            out.push(value);
            true
        }
        None => false,
    }
}

fn double(text: &[u8], strict: bool, formats: &Formats) -> Option<f64> {
    let value = value::parse_f64(text, strict)?;
    // An integer that a double would change must not become one unseen.
    let large = value.abs() >= value::EXACT_DOUBLE as f64;
    if strict && large && !matches!(Seen::classify(text, formats), Seen::DOUBLE | Seen::INTEGER) {
        return None;
    }
    Some(value)
}

fn timestamp(text: &[u8], utc: bool, strict: bool, formats: &Formats) -> Option<i64> {
    match formats.parse_timestamp(text) {
        // A declared UTC column takes times without a zone as UTC, a declared one without a zone the
        // UTC time of those that have one.
        Some(time) if time.zoned == utc || !strict => {
            (!strict || !time.truncated).then_some(time.micros)
        }
        Some(_) => None,
        None if !utc || !strict => {
            formats.parse_date(text).map(|days| i64::from(days) * 86_400_000_000)
        }
        None => None,
    }
}

/// The validity of `len` rows of which these (ascending) are NULL.
pub(crate) fn null_buffer(nulls: &[u32], len: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = vec![0xFFu8; len.div_ceil(8)];
    for row in nulls {
        bits[(*row >> 3) as usize] &= !(1 << (*row & 7));
    }
    Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, len)))
}
