//! Values of one or more columns as one number: what makes uniqueness and membership cheap.
//!
//! Whole numbers, dates, times, booleans and short decimals are packed as they are. Anything else
//! is hashed to 128 bits: among a billion different values the chance that any two share a hash is
//! about one in 10^21, far below that of an undetected memory error.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use tidemill_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128;

/// A number that stands for a value.
pub(crate) trait Key: Copy + Ord + Send + Sync + Default + 'static {
    /// Bytes of one key.
    const SIZE: usize;
    /// A number with all bits mixed, for tables and partitions.
    fn mixed(self) -> u64;
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

#[inline]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^= x >> 32;
    x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^ (x >> 32)
}

impl Key for u64 {
    const SIZE: usize = 8;

    #[inline]
    fn mixed(self) -> u64 {
        mix(self)
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map(u64::from_le_bytes).unwrap_or_default()
    }
}

impl Key for u128 {
    const SIZE: usize = 16;

    #[inline]
    fn mixed(self) -> u64 {
        mix((self as u64) ^ mix((self >> 64) as u64))
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map(u128::from_le_bytes).unwrap_or_default()
    }
}

/// How many bits a value of this type needs as a whole number; `None` when it is not one.
pub(crate) fn integer_bits(data_type: &DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Boolean => 1,
        DataType::Int8 | DataType::UInt8 => 8,
        DataType::Int16 | DataType::UInt16 => 16,
        DataType::Int32 | DataType::UInt32 | DataType::Date32 | DataType::Time32(_) => 32,
        DataType::Int64 | DataType::Date64 | DataType::Timestamp(..) | DataType::Time64(_) => 64,
        // Eighteen digits always fit into 63 bits and a sign.
        DataType::Decimal128(precision, _) if *precision <= 18 => 64,
        _ => return None,
    })
}

/// The values of a column of such a type. What stands in a NULL's place means nothing.
pub(crate) fn integers(column: &ArrayRef, out: &mut Vec<i64>) -> Result<()> {
    out.clear();
    macro_rules! widen {
        ($kind:ty) => {
            out.extend(column.as_primitive::<$kind>().values().iter().map(|value| *value as i64))
        };
    }
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean().values();
            out.extend((0..values.len()).map(|row| i64::from(values.value(row))));
        }
        DataType::Int8 => widen!(Int8Type),
        DataType::Int16 => widen!(Int16Type),
        DataType::Int32 => widen!(Int32Type),
        DataType::Int64 => out.extend_from_slice(column.as_primitive::<Int64Type>().values()),
        DataType::UInt8 => widen!(UInt8Type),
        DataType::UInt16 => widen!(UInt16Type),
        DataType::UInt32 => widen!(UInt32Type),
        DataType::Date32 => widen!(Date32Type),
        DataType::Date64 => widen!(Date64Type),
        DataType::Time32(TimeUnit::Second) => widen!(Time32SecondType),
        DataType::Time32(_) => widen!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => widen!(Time64MicrosecondType),
        DataType::Time64(_) => widen!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => widen!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => widen!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => widen!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => widen!(TimestampNanosecondType),
        DataType::Decimal128(..) => widen!(Decimal128Type),
        other => {
            return Err(
                Error::new(ErrorKind::Internal, "not a type of whole numbers").with("type", other)
            );
        }
    }
    Ok(())
}

/// A bound from statistics as the same number that [`integers`] gives.
pub(crate) fn integer_of(value: &ScalarValue) -> Option<i64> {
    if value.is_null() || integer_bits(&value.data_type()).is_none() {
        return None;
    }
    let array = value.to_array().ok()?;
    let mut out = Vec::with_capacity(1);
    integers(&array, &mut out).ok()?;
    out.first().copied()
}

/// A number in the order of the values: the sign is turned around.
#[inline]
pub(crate) fn ordered(value: i64) -> u64 {
    (value as u64) ^ (1 << 63)
}

/// Turns columns into hashes of their rows.
pub(crate) struct RowHasher {
    /// A single column of text needs no encoding.
    text: bool,
    converter: Option<RowConverter>,
}

impl RowHasher {
    pub(crate) fn new(types: &[DataType]) -> Result<Self> {
        if let [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View] = types {
            return Ok(RowHasher { text: true, converter: None });
        }
        let fields = types.iter().map(|kind| SortField::new(kind.clone())).collect();
        let converter = RowConverter::new(fields).map_err(|error| {
            Error::new(ErrorKind::Unsupported, "values of this type cannot be compared")
                .because(error)
        })?;
        Ok(RowHasher { text: false, converter: Some(converter) })
    }

    /// One hash for each row.
    pub(crate) fn hash(&mut self, columns: &[ArrayRef], out: &mut Vec<u128>) -> Result<()> {
        out.clear();
        if self.text {
            return hash_text(&columns[0], out);
        }
        let Some(converter) = &mut self.converter else { return Ok(()) };
        let rows = converter.convert_columns(columns).map_err(|error| {
            Error::new(ErrorKind::Internal, "rows cannot be compared").because(error)
        })?;
        out.extend(rows.iter().map(|row| xxh3_128(row.as_ref())));
        Ok(())
    }
}

/// What a NULL hashes to: no text does.
const NULL_HASH: u128 = 0x6e75_6c6c_0000_0000_0000_0000_0000_0001;

fn hash_text(column: &ArrayRef, out: &mut Vec<u128>) -> Result<()> {
    let of = |text: Option<&str>| text.map_or(NULL_HASH, |text| xxh3_128(text.as_bytes()));
    match column.data_type() {
        DataType::Utf8 => out.extend(column.as_string::<i32>().iter().map(of)),
        DataType::LargeUtf8 => out.extend(column.as_string::<i64>().iter().map(of)),
        DataType::Utf8View => out.extend(column.as_string_view().iter().map(of)),
        other => {
            return Err(Error::new(ErrorKind::Internal, "text was planned and did not come")
                .with("type", other));
        }
    }
    Ok(())
}

/// A set of keys with open addressing, and which of them came twice.
pub(crate) struct KeyTable<K> {
    keys: Vec<K>,
    /// 0: empty, 1: once, 2: more often.
    states: Vec<u8>,
    held: usize,
    mask: usize,
}

impl<K: Key> KeyTable<K> {
    pub(crate) fn with_capacity(keys: usize) -> Self {
        let slots = (keys.max(8) * 2).next_power_of_two();
        KeyTable {
            keys: vec![K::default(); slots],
            states: vec![0; slots],
            held: 0,
            mask: slots - 1,
        }
    }

    /// Bytes that a table for so many keys takes.
    pub(crate) fn bytes_for(keys: usize) -> usize {
        (keys.max(8) * 2).next_power_of_two() * (K::SIZE + 1)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.held
    }

    /// Whether the next insertion makes the table grow to twice its size.
    pub(crate) fn is_full(&self) -> bool {
        (self.held + 1) * 2 > self.keys.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() * (K::SIZE + 1)
    }

    /// Adds a key. Whether it is the second of its kind (not the first, not the third).
    #[inline]
    pub(crate) fn insert(&mut self, key: K) -> bool {
        if self.is_full() {
            self.grow();
        }
        let mut slot = key.mixed() as usize & self.mask;
        loop {
            match self.states[slot] {
                0 => {
                    self.keys[slot] = key;
                    self.states[slot] = 1;
                    self.held += 1;
                    return false;
                }
                state if self.keys[slot] == key => {
                    self.states[slot] = 2;
                    return state == 1;
                }
                _ => slot = (slot + 1) & self.mask,
            }
        }
    }

    #[inline]
    pub(crate) fn contains(&self, key: K) -> bool {
        let mut slot = key.mixed() as usize & self.mask;
        loop {
            if self.states[slot] == 0 {
                return false;
            }
            if self.keys[slot] == key {
                return true;
            }
            slot = (slot + 1) & self.mask;
        }
    }

    fn grow(&mut self) {
        let mut larger = Self::with_capacity(self.keys.len());
        for (key, state) in self.keys.iter().zip(&self.states) {
            if *state > 0 {
                larger.insert(*key);
            }
        }
        *self = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_tells_second_from_first_and_third() {
        let mut table = KeyTable::<u64>::with_capacity(4);
        for key in 0..10_000u64 {
            assert!(!table.insert(key * 7));
        }
        assert!(table.insert(7));
        assert!(!table.insert(7));
        assert_eq!(table.len(), 10_000);
        assert!(table.contains(14) && !table.contains(15));
    }

    #[test]
    fn the_order_of_numbers_is_kept() {
        let values = [i64::MIN, -5, 0, 7, i64::MAX];
        assert!(values.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
    }

    #[test]
    fn bounds_are_the_numbers_of_the_column() {
        for (value, expected) in [
            (ScalarValue::Int32(Some(-3)), Some(-3)),
            (ScalarValue::Date32(Some(19_000)), Some(19_000)),
            (ScalarValue::Decimal128(Some(1234), 15, 2), Some(1234)),
            (ScalarValue::Decimal128(Some(1), 38, 2), None),
            (ScalarValue::Int32(None), None),
            (ScalarValue::from("x"), None),
        ] {
            assert_eq!(integer_of(&value), expected, "{value:?}");
        }
    }
}
