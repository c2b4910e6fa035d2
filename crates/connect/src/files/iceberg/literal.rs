//! Single values: those of partitions, and defaults of columns.
//!
//! Source: "Iceberg Table Spec", Appendix D, and Appendix A for values in manifests.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float64Array, Int64Array, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, new_null_array,
};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use super::project::{one_text, simple};
use super::schema::Type;
use crate::files::avro::values::Datum;
use crate::files::value;

fn unfit() -> Error {
    Error::new(ErrorKind::Data, "a value in the metadata of the table does not fit its column")
}

/// The value of a partition by an identity transform, as an array of one.
///
/// # Errors
/// Kind `Data` for a value that is none of the type.
pub(super) fn of_datum(datum: &Datum, kind: &Type) -> Result<ArrayRef> {
    let array: ArrayRef = match (kind, datum) {
        (_, Datum::Null) => return Ok(new_null_array(&kind.arrow(), 1)),
        (Type::Boolean, Datum::Boolean(value)) => Arc::new(BooleanArray::from(vec![*value])),
        (Type::Int | Type::Long, Datum::Long(value)) => Arc::new(Int64Array::from(vec![*value])),
        (Type::Float | Type::Double, Datum::Double(bits)) => {
            Arc::new(Float64Array::from(vec![f64::from_bits(*bits)]))
        }
        (Type::Date, Datum::Long(days)) => {
            Arc::new(Date32Array::from(vec![i32::try_from(*days).map_err(|_| unfit())?]))
        }
        (Type::Time, Datum::Long(micros)) => Arc::new(Time64MicrosecondArray::from(vec![*micros])),
        (Type::Timestamp { nanos: false, .. }, Datum::Long(micros)) => {
            Arc::new(TimestampMicrosecondArray::from(vec![*micros]))
        }
        (Type::Timestamp { nanos: true, .. }, Datum::Long(nanos)) => {
            Arc::new(TimestampNanosecondArray::from(vec![*nanos]))
        }
        (Type::Text, Datum::Text(text)) => one_text(text),
        (Type::Uuid, Datum::Bytes(bytes)) => {
            let uuid = FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes));
            Arc::new(uuid.map_err(|error| unfit().because(error))?)
        }
        (Type::Uuid, Datum::Text(text)) => one_text(text),
        (Type::Fixed | Type::Binary, Datum::Bytes(bytes)) => {
            Arc::new(BinaryArray::from(vec![bytes.as_slice()]))
        }
        (Type::Decimal(precision, scale), Datum::Bytes(bytes)) => {
            let value = big_endian(bytes).ok_or_else(unfit)?;
            let array = Decimal128Array::from(vec![value]);
            let array = array.with_precision_and_scale(*precision, *scale);
            Arc::new(array.map_err(|error| unfit().because(error))?)
        }
        _ => return Err(unfit()),
    };
    simple(kind, &array)
}

/// The default of a column, as an array of one.
///
/// # Errors
/// Kind `Unsupported` for what is nested, `Data` for a value that is none of the type.
pub(super) fn of_json(written: &Value, kind: &Type) -> Result<ArrayRef> {
    let array: ArrayRef = match (kind, written) {
        (_, Value::Null) => return Ok(new_null_array(&kind.arrow(), 1)),
        (Type::Boolean, Value::Bool(value)) => Arc::new(BooleanArray::from(vec![*value])),
        (Type::Int | Type::Long, Value::Number(number)) => {
            Arc::new(Int64Array::from(vec![number.as_i64().ok_or_else(unfit)?]))
        }
        (Type::Float | Type::Double, Value::Number(number)) => {
            Arc::new(Float64Array::from(vec![number.as_f64().ok_or_else(unfit)?]))
        }
        (Type::Text | Type::Uuid, Value::String(text)) => one_text(text),
        (Type::Date, Value::String(text)) => {
            let days = value::parse_date(text.as_bytes()).ok_or_else(unfit)?;
            Arc::new(Date32Array::from(vec![days]))
        }
        (Type::Timestamp { .. }, Value::String(text)) => {
            let moment = value::parse_timestamp(text.as_bytes()).ok_or_else(unfit)?;
            Arc::new(TimestampMicrosecondArray::from(vec![moment.micros]))
        }
        (Type::Time, Value::String(text)) => one_text(text),
        (Type::Decimal(precision, scale), Value::String(text)) => {
            let value = value::parse_decimal(text.as_bytes(), *precision, *scale);
            let array = Decimal128Array::from(vec![value.ok_or_else(unfit)?]);
            let array = array.with_precision_and_scale(*precision, *scale);
            Arc::new(array.map_err(|error| unfit().because(error))?)
        }
        (Type::Fixed | Type::Binary, Value::String(text)) => {
            let bytes = hex(text).ok_or_else(unfit)?;
            Arc::new(BinaryArray::from(vec![bytes.as_slice()]))
        }
        (Type::Struct(_) | Type::List(_) | Type::Map(..), _) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a nested column has a default for rows from before it, which is not read",
            ));
        }
        _ => return Err(unfit()),
    };
    simple(kind, &array)
}

/// A whole number of any length up to 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let fill = if *bytes.first()? & 0x80 == 0 { 0 } else { 0xFF };
    let mut out = [fill; 16];
    out.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(out))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use serde_json::json;

    use super::*;

    fn shown(array: &ArrayRef) -> String {
        let options = FormatOptions::default().with_null("∅");
        let plain = match array.data_type() {
            arrow::datatypes::DataType::Timestamp(unit, Some(_)) => {
                let local = arrow::datatypes::DataType::Timestamp(*unit, None);
                arrow::compute::cast(array, &local).unwrap()
            }
            _ => Arc::clone(array),
        };
        ArrayFormatter::try_new(&plain, &options).unwrap().value(0).to_string()
    }

    #[test]
    fn values_of_partitions() {
        let zoned = Type::Timestamp { zone: true, nanos: false };
        for (datum, kind, text) in [
            (Datum::Null, Type::Int, "∅"),
            (Datum::Long(7), Type::Int, "7"),
            (Datum::Double(0.5f64.to_bits()), Type::Float, "0.5"),
            (Datum::Long(-1), Type::Date, "1969-12-31"),
            (Datum::Long(1), Type::Time, "00:00:00.000001"),
            (Datum::Long(1_000_000), zoned, "1970-01-01T00:00:01"),
            (Datum::Bytes(vec![0xFF, 0x38]), Type::Decimal(9, 2), "-2.00"),
            (Datum::Bytes(vec![1; 16]), Type::Uuid, "01010101-0101-0101-0101-010101010101"),
            (Datum::Text("a/b".into()), Type::Text, "a/b"),
        ] {
            let array = of_datum(&datum, &kind).unwrap();
            assert_eq!(*array.data_type(), kind.arrow(), "{kind:?}");
            assert_eq!(shown(&array), text, "{kind:?}");
        }
        assert!(of_datum(&Datum::Text("x".into()), &Type::Int).is_err());
    }

    #[test]
    fn values_of_defaults() {
        for (written, kind, text) in [
            (json!(true), Type::Boolean, "true"),
            (json!("2017-11-16"), Type::Date, "2017-11-16"),
            (json!("14.20"), Type::Decimal(9, 2), "14.20"),
            (json!("00FF"), Type::Binary, "00ff"),
            (
                json!("2017-11-16T22:31:08+00:00"),
                Type::Timestamp { zone: true, nanos: false },
                "2017-11-16T22:31:08",
            ),
        ] {
            let array = of_json(&written, &kind).unwrap();
            assert_eq!(*array.data_type(), kind.arrow(), "{kind:?}");
            assert_eq!(shown(&array), text, "{kind:?}");
        }
        assert!(
            of_json(
                &json!([1]),
                &Type::List(Box::new(crate::files::iceberg::schema::Field {
                    id: 1,
                    name: "x".into(),
                    kind: Type::Int,
                    default: None,
                }))
            )
            .is_err()
        );
    }
}
