//! The binary format to Arrow, one column at a time: for results of queries and for binary `COPY`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, ListArray, StringBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::Field;
use tidemill_core::{Error, ErrorKind, Result};

use super::numeric::Numeric;
use super::types::Encoding;

/// Days from 1970-01-01 to PostgreSQL's 2000-01-01.
const DAYS: i32 = 10_957;
/// The same in microseconds.
const MICROS: i64 = DAYS as i64 * 86_400_000_000;
/// The bounds that stand for `-infinity` and `infinity`: 0001-01-01 and 9999-12-31.
pub(super) const FIRST_DAY: i32 = -719_162;
pub(super) const LAST_DAY: i32 = 2_932_896;

/// Takes the values of one column and gives its array.
pub struct Decoder {
    pub(super) builder: Builder,
}

pub(super) enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Decimal { values: Decimal128Builder, scale: i8, limit: i128 },
    NumericText(StringBuilder),
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Uuid(StringBuilder),
    Bytea(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Array(Box<Lists>),
}

/// Lists under construction.
pub(super) struct Lists {
    pub(super) items: Decoder,
    encoding: Encoding,
    /// Where each list ends.
    ends: Vec<i32>,
    pub(super) count: i32,
    valid: Vec<bool>,
}

fn wrong() -> Error {
    Error::new(ErrorKind::Internal, "a value does not have the binary form of its type")
}

pub(super) fn too_late() -> Error {
    Error::new(ErrorKind::Data, "a date or time is too far away")
        .with("hint", "cast the column to text")
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| wrong())
}

pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| {
        Error::new(ErrorKind::Data, "a text is not UTF-8, as the database's encoding is SQL_ASCII")
            .with("hint", "read it as `convert_from(column::bytea, 'LATIN1')`, or as bytes")
    })
}

impl Decoder {
    /// For values of this encoding.
    pub fn new(encoding: &Encoding) -> Self {
        Decoder { builder: Builder::new(encoding) }
    }

    /// Takes one value; `None` is NULL.
    ///
    /// # Errors
    /// `Data` when the value has no place in the column's Arrow type (`NaN` in a decimal, an array of
    /// several dimensions); then nothing was taken.
    pub fn push(&mut self, value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(bytes) => self.builder.value(bytes),
            None => {
                self.builder.null();
                Ok(())
            }
        }
    }

    /// A NULL in the place of a value that was refused.
    pub(super) fn refuse(&mut self) {
        self.builder.null();
    }

    /// The values since the last call.
    pub fn finish(&mut self) -> ArrayRef {
        self.builder.finish()
    }
}

impl Builder {
    fn new(encoding: &Encoding) -> Self {
        match encoding {
            Encoding::Bool => Builder::Bool(BooleanBuilder::new()),
            Encoding::Int2 => Builder::Int2(Int16Builder::new()),
            Encoding::Int4 => Builder::Int4(Int32Builder::new()),
            Encoding::Int8 => Builder::Int8(Int64Builder::new()),
            Encoding::Oid => Builder::Oid(Int64Builder::new()),
            Encoding::Float4 => Builder::Float4(Float32Builder::new()),
            Encoding::Float8 => Builder::Float8(Float64Builder::new()),
            Encoding::Decimal { precision, scale } => Builder::Decimal {
                values: Decimal128Builder::new().with_data_type(encoding.arrow()),
                scale: *scale,
                limit: 10i128.saturating_pow(u32::from(*precision)),
            },
            Encoding::NumericText => Builder::NumericText(StringBuilder::new()),
            Encoding::Text | Encoding::AsText => Builder::Text(StringBuilder::new()),
            Encoding::Jsonb => Builder::Jsonb(StringBuilder::new()),
            Encoding::Uuid => Builder::Uuid(StringBuilder::new()),
            Encoding::Bytea => Builder::Bytea(BinaryBuilder::new()),
            Encoding::Date => Builder::Date(Date32Builder::new()),
            Encoding::Time => Builder::Time(Time64MicrosecondBuilder::new()),
            Encoding::Timestamp | Encoding::TimestampTz => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(encoding.arrow()),
            ),
            Encoding::Array(item) => Builder::Array(Box::new(Lists {
                items: Decoder::new(item),
                encoding: (**item).clone(),
                ends: vec![0],
                count: 0,
                valid: Vec::new(),
            })),
        }
    }

    fn null(&mut self) {
        match self {
            Builder::Bool(values) => values.append_null(),
            Builder::Int2(values) => values.append_null(),
            Builder::Int4(values) => values.append_null(),
            Builder::Int8(values) | Builder::Oid(values) => values.append_null(),
            Builder::Float4(values) => values.append_null(),
            Builder::Float8(values) => values.append_null(),
            Builder::Decimal { values, .. } => values.append_null(),
            Builder::NumericText(values)
            | Builder::Text(values)
            | Builder::Jsonb(values)
            | Builder::Uuid(values) => values.append_null(),
            Builder::Bytea(values) => values.append_null(),
            Builder::Date(values) => values.append_null(),
            Builder::Time(values) => values.append_null(),
            Builder::Timestamp(values) => values.append_null(),
            Builder::Array(lists) => lists.end(false),
        }
    }

    fn value(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Builder::Bool(values) => values.append_value(fixed::<1>(bytes)? != [0]),
            Builder::Int2(values) => values.append_value(i16::from_be_bytes(fixed(bytes)?)),
            Builder::Int4(values) => values.append_value(i32::from_be_bytes(fixed(bytes)?)),
            Builder::Int8(values) => values.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Builder::Oid(values) => {
                values.append_value(i64::from(u32::from_be_bytes(fixed(bytes)?)));
            }
            Builder::Float4(values) => values.append_value(f32::from_be_bytes(fixed(bytes)?)),
            Builder::Float8(values) => values.append_value(f64::from_be_bytes(fixed(bytes)?)),
            Builder::Decimal { values, scale, limit } => {
                let number = Numeric::parse(bytes).ok_or_else(wrong)?;
                match number.unscaled(*scale) {
                    Some(unscaled) if unscaled < *limit && unscaled > -*limit => {
                        values.append_value(unscaled);
                    }
                    _ => {
                        return Err(Error::new(
                            ErrorKind::Data,
                            format!("the number {} has no place in a decimal", number.text()),
                        )
                        .with("hint", "cast the column to double precision or text"));
                    }
                }
            }
            Builder::NumericText(values) => {
                Numeric::parse(bytes)
                    .ok_or_else(wrong)?
                    .write(values)
                    .map_err(|_| Error::new(ErrorKind::Internal, "a number cannot be written"))?;
                values.append_value("");
            }
            Builder::Text(values) => values.append_value(text(bytes)?),
            Builder::Jsonb(values) => match bytes {
                [1, rest @ ..] => values.append_value(text(rest)?),
                _ => return Err(wrong()),
            },
            Builder::Uuid(values) => {
                let text = uuid(&fixed::<16>(bytes)?);
                values.append_value(std::str::from_utf8(&text).map_err(|_| wrong())?);
            }
            Builder::Bytea(values) => values.append_value(bytes),
            Builder::Date(values) => values.append_value(match i32::from_be_bytes(fixed(bytes)?) {
                i32::MAX => LAST_DAY,
                i32::MIN => FIRST_DAY,
                days => days.checked_add(DAYS).ok_or_else(too_late)?,
            }),
            Builder::Time(values) => values.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Builder::Timestamp(values) => {
                values.append_value(match i64::from_be_bytes(fixed(bytes)?) {
                    i64::MAX => (i64::from(LAST_DAY) + 1) * 86_400_000_000 - 1,
                    i64::MIN => i64::from(FIRST_DAY) * 86_400_000_000,
                    micros => micros.checked_add(MICROS).ok_or_else(too_late)?,
                });
            }
            Builder::Array(lists) => lists.value(bytes)?,
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Bool(values) => Arc::new(values.finish()),
            Builder::Int2(values) => Arc::new(values.finish()),
            Builder::Int4(values) => Arc::new(values.finish()),
            Builder::Int8(values) | Builder::Oid(values) => Arc::new(values.finish()),
            Builder::Float4(values) => Arc::new(values.finish()),
            Builder::Float8(values) => Arc::new(values.finish()),
            Builder::Decimal { values, .. } => Arc::new(values.finish()),
            Builder::NumericText(values)
            | Builder::Text(values)
            | Builder::Jsonb(values)
            | Builder::Uuid(values) => Arc::new(values.finish()),
            Builder::Bytea(values) => Arc::new(values.finish()),
            Builder::Date(values) => Arc::new(values.finish()),
            Builder::Time(values) => Arc::new(values.finish()),
            Builder::Timestamp(values) => Arc::new(values.finish()),
            Builder::Array(lists) => lists.finish(),
        }
    }
}

impl Lists {
    pub(super) fn end(&mut self, valid: bool) {
        self.ends.push(self.count);
        self.valid.push(valid);
    }

    fn value(&mut self, bytes: &[u8]) -> Result<()> {
        let word = |at: usize| -> Result<i32> {
            Ok(i32::from_be_bytes(fixed(bytes.get(at..at + 4).ok_or_else(wrong)?)?))
        };
        let length = match word(0)? {
            0 => 0,
            1 => word(12)?,
            dimensions => {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!("an array has {dimensions} dimensions; lists have one"),
                )
                .with("hint", "cast the column to text"));
            }
        };
        let mut at = 20;
        for _ in 0..length {
            let size = word(at)?;
            at += 4;
            match usize::try_from(size) {
                Ok(size) => {
                    self.items.push(Some(bytes.get(at..at + size).ok_or_else(wrong)?))?;
                    at += size;
                }
                Err(_) => self.items.push(None)?,
            }
            self.count += 1;
        }
        self.end(true);
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        let field = Arc::new(Field::new_list_field(self.encoding.arrow(), true));
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let valid = std::mem::take(&mut self.valid);
        self.count = 0;
        Arc::new(ListArray::new(
            field,
            OffsetBuffer::new(ends.into()),
            self.items.finish(),
            Some(NullBuffer::from(valid)),
        ))
    }
}

fn uuid(bytes: &[u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn shown(encoding: &Encoding, values: &[Option<&[u8]>]) -> Vec<String> {
        let mut decoder = Decoder::new(encoding);
        for value in values {
            decoder.push(*value).unwrap();
        }
        let array = decoder.finish();
        assert_eq!(array.data_type(), &encoding.arrow());
        (0..array.len()).map(|row| array_value_to_string(&array, row).unwrap()).collect()
    }

    #[test]
    fn values_are_decoded() {
        let uuid: [u8; 16] = std::array::from_fn(|index| index as u8);
        for (encoding, bytes, expected) in [
            (Encoding::Int4, vec![255, 255, 255, 254], "-2"),
            (Encoding::Bool, vec![1], "true"),
            (Encoding::Jsonb, b"\x01{}".to_vec(), "{}"),
            (Encoding::Uuid, uuid.to_vec(), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
            (Encoding::Date, 0_i32.to_be_bytes().to_vec(), "2000-01-01"),
            (Encoding::Date, i32::MAX.to_be_bytes().to_vec(), "9999-12-31"),
            (Encoding::Date, i32::MIN.to_be_bytes().to_vec(), "0001-01-01"),
            (Encoding::Timestamp, 1_i64.to_be_bytes().to_vec(), "2000-01-01T00:00:00.000001"),
            (Encoding::Timestamp, i64::MAX.to_be_bytes().to_vec(), "9999-12-31T23:59:59.999999"),
            (Encoding::TimestampTz, 0_i64.to_be_bytes().to_vec(), "2000-01-01T00:00:00Z"),
            (
                Encoding::Decimal { precision: 6, scale: 2 },
                vec![0, 2, 0, 0, 0x40, 0, 0, 2, 0, 12, 13, 72],
                "-12.34",
            ),
        ] {
            assert_eq!(shown(&encoding, &[Some(&bytes), None]), [expected, ""]);
        }
    }

    #[test]
    fn arrays_are_lists() {
        let mut one = Vec::new();
        for word in [1_i32, 1, 23, 2, 1, 4, 7, -1] {
            one.extend(word.to_be_bytes());
        }
        let mut none = Vec::new();
        for word in [0_i32, 0, 23] {
            none.extend(word.to_be_bytes());
        }
        let encoding = Encoding::Array(Box::new(Encoding::Int4));
        assert_eq!(shown(&encoding, &[Some(&one), None, Some(&none)]), ["[7, ]", "", "[]"]);
        let mut two = one.clone();
        two[3] = 2;
        let error = Decoder::new(&encoding).push(Some(&two)).unwrap_err();
        assert!(error.to_string().contains("2 dimensions"), "{error}");
    }

    #[test]
    fn what_is_not_a_number_has_no_place_in_a_decimal() {
        let nan = [0, 0, 0, 0, 0xC0, 0, 0, 0];
        let encoding = Encoding::Decimal { precision: 6, scale: 2 };
        let error = Decoder::new(&encoding).push(Some(&nan)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert_eq!(shown(&Encoding::NumericText, &[Some(&nan)]), ["NaN"]);
    }
}
