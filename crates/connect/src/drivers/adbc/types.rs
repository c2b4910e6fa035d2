//! Types of drivers as those that tables have.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampNanosecondType};
use tidemill_core::{ErrorKind, Result, ResultExt, display_value};

/// The type of a column whose values hold all of these.
pub(super) fn of_driver(data_type: &DataType) -> DataType {
    let item = |item: &Field| Arc::new(item.clone().with_data_type(of_driver(item.data_type())));
    match data_type {
        DataType::Dictionary(_, values) => of_driver(values),
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(size, digits)
        | DataType::Decimal64(size, digits)
        | DataType::Decimal128(size, digits)
        | DataType::Decimal256(size, digits)
            if *size <= 38 && *digits >= 0 =>
        {
            DataType::Decimal128(*size, *digits)
        }
        DataType::Timestamp(_, zone) => {
            // An instant is the same in every zone.
            let zone = zone.as_ref().map(|_| "UTC".into());
            DataType::Timestamp(TimeUnit::Microsecond, zone)
        }
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            DataType::List(item(of))
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| item(field)).collect())
        }
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        // Texts, and what has but a text: times of a day, intervals, decimals of more digits.
        _ => DataType::Utf8,
    }
}

/// The values as those of the type, and rows with a value that has no place there.
pub(super) fn convert(column: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Vec<usize>)> {
    let mut odd = Vec::new();
    if let DataType::Timestamp(TimeUnit::Nanosecond, _) = column.data_type() {
        let values = column.as_primitive::<TimestampNanosecondType>();
        let below = |row: &usize| values.is_valid(*row) && values.value(*row) % 1000 != 0;
        odd.extend((0..values.len()).filter(below));
    }
    if column.data_type() == to {
        return Ok((column.clone(), odd));
    }
    if !can_cast_types(column.data_type(), to) {
        let texts: StringArray = (0..column.len())
            .map(|row| column.is_valid(row).then(|| display_value(column, row)))
            .collect();
        return Ok((Arc::new(texts), odd));
    }
    let converted =
        cast(column, to).or_error(ErrorKind::Data, "values of a driver could not be converted")?;
    Ok((converted, odd))
}

#[cfg(test)]
mod tests {
    use arrow::array::{TimestampNanosecondArray, UInt64Array};

    use super::*;

    #[test]
    fn values_keep_all_their_digits() {
        let largest: ArrayRef = Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]));
        let to = of_driver(largest.data_type());
        let (column, odd) = convert(&largest, &to).unwrap();
        assert_eq!((to, odd.len()), (DataType::Decimal128(20, 0), 0));
        assert_eq!(display_value(&column, 0), "18446744073709551615");
        let times = vec![Some(1_500), Some(2_000), None];
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(times));
        let (column, odd) = convert(&times, &of_driver(times.data_type())).unwrap();
        assert_eq!(odd, [0]);
        assert_eq!(column.null_count(), 1);
        assert_eq!(of_driver(&DataType::Decimal256(50, 2)), DataType::Utf8);
        assert_eq!(of_driver(&DataType::Time64(TimeUnit::Microsecond)), DataType::Utf8);
    }
}
