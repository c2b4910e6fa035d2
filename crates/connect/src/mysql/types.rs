//! MySQL's types and what they are in Arrow; values of the binary protocol to arrays.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime};
use mysql_async::Value;
use mysql_async::consts::{ColumnFlags, ColumnType};

use crate::tables::{Builder, Put};

/// Whether the values of a column are bits, which come as bytes unless they are cast.
pub(super) fn is_bits(column: &mysql_async::Column) -> bool {
    column.column_type() == ColumnType::MYSQL_TYPE_BIT && column.column_length() > 1
}

/// The number of the character set of what is no text.
const BINARY: u16 = 63;

/// The Arrow type of a column of a result.
pub(super) fn of_column(column: &mysql_async::Column) -> DataType {
    use ColumnType as T;
    let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    match column.column_type() {
        T::MYSQL_TYPE_TINY | T::MYSQL_TYPE_YEAR => DataType::Int16,
        T::MYSQL_TYPE_SHORT => of_integer(16, unsigned),
        T::MYSQL_TYPE_INT24 => DataType::Int32,
        T::MYSQL_TYPE_LONG => of_integer(32, unsigned),
        T::MYSQL_TYPE_LONGLONG => of_integer(64, unsigned),
        T::MYSQL_TYPE_FLOAT => DataType::Float32,
        T::MYSQL_TYPE_DOUBLE => DataType::Float64,
        T::MYSQL_TYPE_DECIMAL | T::MYSQL_TYPE_NEWDECIMAL => {
            // What the sign and the point take is in the length.
            let scale = u32::from(column.decimals());
            let digits = column.column_length().saturating_sub(u32::from(!unsigned));
            of_decimal(digits.saturating_sub(u32::from(scale > 0)), scale)
        }
        T::MYSQL_TYPE_DATE | T::MYSQL_TYPE_NEWDATE => DataType::Date32,
        T::MYSQL_TYPE_DATETIME | T::MYSQL_TYPE_DATETIME2 => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        T::MYSQL_TYPE_TIMESTAMP | T::MYSQL_TYPE_TIMESTAMP2 => instant(),
        T::MYSQL_TYPE_BIT => of_bits(column.column_length()),
        T::MYSQL_TYPE_GEOMETRY | T::MYSQL_TYPE_VECTOR => DataType::Binary,
        T::MYSQL_TYPE_TINY_BLOB
        | T::MYSQL_TYPE_MEDIUM_BLOB
        | T::MYSQL_TYPE_LONG_BLOB
        | T::MYSQL_TYPE_BLOB
        | T::MYSQL_TYPE_VAR_STRING
        | T::MYSQL_TYPE_VARCHAR
        | T::MYSQL_TYPE_STRING
            if column.character_set() == BINARY =>
        {
            DataType::Binary
        }
        _ => DataType::Utf8,
    }
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn of_integer(bits: u8, unsigned: bool) -> DataType {
    match (bits, unsigned) {
        (16, false) => DataType::Int16,
        (16, true) | (32, false) => DataType::Int32,
        (64, true) => DataType::Decimal128(20, 0),
        _ => DataType::Int64,
    }
}

fn of_decimal(digits: u32, scale: u32) -> DataType {
    match (u8::try_from(digits), i8::try_from(scale)) {
        (Ok(digits), Ok(scale)) if (1..=38).contains(&digits) => {
            DataType::Decimal128(digits, scale)
        }
        _ => DataType::Utf8,
    }
}

fn of_bits(bits: u32) -> DataType {
    match bits {
        1 => DataType::Boolean,
        64.. => DataType::Decimal128(20, 0),
        _ => DataType::Int64,
    }
}

/// The Arrow type of a column by what `information_schema` says of it: `bigint`, `bigint(20) unsigned`.
pub(super) fn of_words(
    kind: &str,
    whole: &str,
    digits: Option<u32>,
    scale: Option<u32>,
) -> DataType {
    let unsigned = whole.contains("unsigned");
    match kind {
        "tinyint" | "year" => DataType::Int16,
        "smallint" => of_integer(16, unsigned),
        "mediumint" => DataType::Int32,
        "int" | "integer" => of_integer(32, unsigned),
        "bigint" => of_integer(64, unsigned),
        "float" => DataType::Float32,
        "double" | "real" => DataType::Float64,
        "decimal" | "numeric" => of_decimal(digits.unwrap_or(0), scale.unwrap_or(0)),
        "date" => DataType::Date32,
        "datetime" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp" => instant(),
        "bit" => of_bits(digits.unwrap_or(1)),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            DataType::Binary
        }
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "vector" => DataType::Binary,
        _ => DataType::Utf8,
    }
}

impl Put<Value> for Builder {
    fn put(&mut self, value: Value) -> Result<usize, String> {
        let shown = || "a value does not have the form of its type".to_owned();
        if value == Value::NULL {
            self.null();
            return Ok(1);
        }
        match (self, value) {
            (Builder::Boolean(values), Value::Bytes(bytes)) => {
                values.append_value(bytes.iter().any(|byte| *byte != 0));
            }
            (Builder::Int16(values), value) => {
                values.append_value(
                    integer(&value).and_then(|n| n.try_into().ok()).ok_or_else(shown)?,
                );
            }
            (Builder::Int32(values), value) => {
                values.append_value(
                    integer(&value).and_then(|n| n.try_into().ok()).ok_or_else(shown)?,
                );
            }
            (Builder::Int64(values), value) => {
                values.append_value(
                    integer(&value).and_then(|n| n.try_into().ok()).ok_or_else(shown)?,
                );
            }
            (Builder::Float32(values), Value::Float(value)) => values.append_value(value),
            (Builder::Float64(values), Value::Double(value)) => values.append_value(value),
            (Builder::Float64(values), Value::Float(value)) => values.append_value(value.into()),
            (Builder::Decimal(values, _, scale), Value::Bytes(bytes)) => {
                let text = std::str::from_utf8(&bytes).ok();
                let scale = u32::try_from(*scale).unwrap_or(0);
                let unscaled = text.and_then(|text| unscaled(text, scale));
                values.append_value(unscaled.ok_or_else(shown)?);
            }
            (Builder::Decimal(values, _, scale), value) => {
                let whole = integer(&value).ok_or_else(shown)?;
                let unit = 10_i128.pow(u32::try_from(*scale).unwrap_or(0));
                values.append_value(whole.checked_mul(unit).ok_or_else(shown)?);
            }
            (Builder::Text(values), value) => {
                let text = text(value)?;
                values.append_value(&text);
                return Ok(text.len());
            }
            (Builder::Binary(values), Value::Bytes(bytes)) => {
                values.append_value(&bytes);
                return Ok(bytes.len());
            }
            // Days that there are not (`0000-00-00`, `2024-02-00`) are NULL.
            (Builder::Date(values), Value::Date(year, month, day, ..)) => {
                values.append_option(
                    date(year, month, day).map(arrow::datatypes::Date32Type::from_naive_date),
                );
            }
            (Builder::Timestamp(values), value @ Value::Date(..)) => {
                values.append_option(moment(&value).map(|at| at.and_utc().timestamp_micros()));
            }
            _ => return Err(shown()),
        }
        Ok(8)
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::UInt(value) => Some(i128::from(*value)),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// A decimal text times ten to the power of `scale`.
fn unscaled(text: &str, scale: u32) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = (scale as usize).checked_sub(fraction.len())?;
    format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()
}

fn date(year: u16, month: u8, day: u8) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day))
}

fn moment(value: &Value) -> Option<NaiveDateTime> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else { return None };
    date(year, month, day)?.and_hms_micro_opt(hour.into(), minute.into(), second.into(), micros)
}

/// A value as MySQL writes it.
fn text(value: Value) -> Result<String, String> {
    let fraction = |micros: u32| match micros {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    Ok(match value {
        Value::Bytes(bytes) => {
            String::from_utf8(bytes).map_err(|_| "a text is not UTF-8".to_owned())?
        }
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Date(year, month, day, hour, minute, second, micros) => format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{}",
            fraction(micros)
        ),
        Value::Time(negative, days, hours, minutes, seconds, micros) => format!(
            "{}{:02}:{minutes:02}:{seconds:02}{}",
            if negative { "-" } else { "" },
            u64::from(days) * 24 + u64::from(hours),
            fraction(micros)
        ),
        Value::NULL => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_all_their_digits() {
        assert_eq!(unscaled("-12.30", 2), Some(-1230));
        assert_eq!(unscaled("7", 3), Some(7000));
        assert_eq!(unscaled("-0.05", 2), Some(-5));
        assert_eq!(unscaled("1.234", 2), None);
        assert_eq!(text(Value::Time(true, 2, 1, 2, 3, 0)).unwrap(), "-49:02:03");
    }
}
