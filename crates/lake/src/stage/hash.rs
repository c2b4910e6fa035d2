//! The order-free 128-bit hash of a table's rows: the sum, modulo 2^128, of one hash for each row.
//! A row's hash is itself the mixed sum over its columns that are not NULL, each seeded by the
//! column's name. So it does not depend on the order of rows or columns, a new column of NULLs does
//! not change it, and rows can be added and taken away without reading the rest.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Schema, TimestampMicrosecondType,
};
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// Whether every column can be hashed.
pub(crate) fn hashable(schema: &Schema) -> bool {
    schema.fields().iter().all(|field| match field.data_type() {
        DataType::Map(_, _) => false,
        data_type if data_type.is_nested() => {
            RowConverter::supports_fields(&[SortField::new(data_type.clone())])
        }
        _ => true,
    })
}

/// The sum of the hashes of these rows.
pub(crate) fn sum_of(batch: &RecordBatch) -> Option<u128> {
    let rows = batch.num_rows();
    let mut low = vec![0u64; rows];
    let mut high = vec![0u64; rows];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let seed = xxh3_128(field.name().as_bytes());
        let (seed_low, seed_high) = (seed as u64, (seed >> 64) as u64);
        let mut add = |row: usize, value: u64| {
            low[row] = low[row].wrapping_add(mix(value ^ seed_low));
            high[row] = high[row].wrapping_add(mix(value.rotate_left(29) ^ seed_high));
        };
        macro_rules! primitive {
            ($type:ty, $value:ident => $bits:expr) => {{
                let array = column.as_primitive::<$type>();
                if array.null_count() == 0 {
                    for (row, $value) in array.values().iter().enumerate() {
                        add(row, $bits);
                    }
                } else {
                    for (row, value) in array.iter().enumerate() {
                        if let Some($value) = &value {
                            add(row, $bits);
                        }
                    }
                }
            }};
        }
        // Numbers of every width hash alike, so that a widened column keeps the table's hash.
        match column.data_type() {
            DataType::Int8 => primitive!(Int8Type, value => i64::from(*value) as u64),
            DataType::Int16 => primitive!(Int16Type, value => i64::from(*value) as u64),
            DataType::Int32 => primitive!(Int32Type, value => i64::from(*value) as u64),
            DataType::Int64 => primitive!(Int64Type, value => *value as u64),
            DataType::Date32 => primitive!(Date32Type, value => i64::from(*value) as u64),
            DataType::Timestamp(_, _) => {
                primitive!(TimestampMicrosecondType, value => *value as u64);
            }
            DataType::Float32 => primitive!(Float32Type, value => f64::from(*value).to_bits()),
            DataType::Float64 => primitive!(Float64Type, value => value.to_bits()),
            DataType::Decimal128(_, _) => primitive!(Decimal128Type, value => {
                let bits = *value as u128;
                (bits as u64) ^ mix((bits >> 64) as u64)
            }),
            DataType::Boolean => {
                for (row, value) in column.as_boolean().iter().enumerate() {
                    if let Some(value) = value {
                        add(row, u64::from(value) + 1);
                    }
                }
            }
            DataType::Utf8 => {
                for (row, value) in column.as_string::<i32>().iter().enumerate() {
                    if let Some(value) = value {
                        add(row, xxh3_64_with_seed(value.as_bytes(), 0));
                    }
                }
            }
            DataType::Binary => {
                for (row, value) in column.as_binary::<i32>().iter().enumerate() {
                    if let Some(value) = value {
                        add(row, xxh3_64_with_seed(value, 1));
                    }
                }
            }
            other => {
                let converter = RowConverter::new(vec![SortField::new(other.clone())]).ok()?;
                let encoded = converter.convert_columns(std::slice::from_ref(column)).ok()?;
                for (row, value) in encoded.iter().enumerate() {
                    if column.is_valid(row) {
                        add(row, xxh3_64_with_seed(value.as_ref(), 2));
                    }
                }
            }
        }
    }
    let sum = low.iter().zip(&high).fold(0u128, |sum, (low, high)| {
        let row = (u128::from(mix(high ^ low.rotate_left(32))) << 64) | u128::from(mix(*low));
        sum.wrapping_add(row)
    });
    Some(sum)
}

/// Spreads every bit of the input over the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 32)
}

/// The text that is recorded.
pub(crate) fn to_text(sum: u128) -> String {
    format!("{sum:032x}")
}

/// The number of a recorded text.
pub(crate) fn from_text(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap()
    }

    #[test]
    fn order_of_rows_and_columns_and_null_columns_do_not_matter() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let b: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
        let straight = sum_of(&batch(vec![("a", a.clone()), ("b", b.clone())])).unwrap();
        assert_eq!(sum_of(&batch(vec![("b", b.clone()), ("a", a.clone())])).unwrap(), straight);
        let none: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>; 3]));
        assert_eq!(
            sum_of(&batch(vec![("a", a.clone()), ("b", b.clone()), ("c", none)])).unwrap(),
            straight
        );
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None]));
        assert_eq!(sum_of(&batch(vec![("a", narrow), ("b", b.clone())])).unwrap(), straight);
        let turned: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(2), Some(1)]));
        let turned_b: ArrayRef = Arc::new(StringArray::from(vec!["z", "y", "x"]));
        assert_eq!(sum_of(&batch(vec![("a", turned), ("b", turned_b)])).unwrap(), straight);
    }

    #[test]
    fn values_columns_and_pairings_matter() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let two: ArrayRef = Arc::new(Int64Array::from(vec![2, 1]));
        let pairs = sum_of(&batch(vec![("a", one.clone()), ("b", one.clone())])).unwrap();
        assert_ne!(sum_of(&batch(vec![("a", one.clone()), ("b", two.clone())])).unwrap(), pairs);
        let a = sum_of(&batch(vec![("a", one.clone())])).unwrap();
        assert_ne!(sum_of(&batch(vec![("b", one)])).unwrap(), a);
        assert_eq!(sum_of(&batch(vec![("a", two)])).unwrap(), a);
    }
}
