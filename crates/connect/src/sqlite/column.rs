//! Types of columns, and values into columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder,
    Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};
use rusqlite::types::ValueRef;

use crate::files::value;
use crate::tables::Order;

/// Integers up to this size are exact as doubles.
const EXACT: i64 = value::EXACT_DOUBLE;

/// Which kinds of values the rows of a column have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kinds {
    pub(super) integer: bool,
    pub(super) real: bool,
    pub(super) text: bool,
    pub(super) blob: bool,
    /// An integer is neither 0 nor 1.
    pub(super) many: bool,
    /// An integer is larger than a double can hold exactly.
    pub(super) large: bool,
}

/// What a declared type means to people, where SQLite itself knows no such type.
fn meant(declared: &str) -> Option<DataType> {
    let declared = declared.to_ascii_lowercase();
    let name = declared.split('(').next().unwrap_or_default().trim();
    if name.contains("bool") {
        return Some(DataType::Boolean);
    }
    match name {
        "date" => Some(DataType::Date32),
        "datetime" | "timestamp" | "timestamp without time zone" => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        "timestamptz" | "timestamp with time zone" => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        }
        "decimal" | "numeric" | "number" => {
            let inside = declared.split_once('(')?.1.split_once(')')?.0;
            let mut numbers = inside.split(',').map(|text| text.trim().parse::<u8>().ok());
            let precision = numbers.next()??;
            let scale = numbers.next().flatten().unwrap_or(0);
            // SQLite keeps no more than fifteen digits of a decimal.
            let fits = (1..=15).contains(&precision) && scale <= precision;
            fits.then(|| DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(0)))
        }
        _ => None,
    }
}

/// The type of a column without any value, by SQLite's rules of affinity.
pub(super) fn empty_type(declared: &str) -> DataType {
    if let Some(meant) = meant(declared) {
        return meant;
    }
    let name = declared.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(&["int"]) {
        DataType::Int64
    } else if has(&["char", "clob", "text"]) {
        DataType::Utf8
    } else if has(&["blob"]) {
        DataType::Binary
    } else if has(&["real", "floa", "doub", "numeric", "decimal"]) {
        DataType::Float64
    } else {
        DataType::Utf8
    }
}

/// The type of a column that is declared so and has these kinds of values.
pub(super) fn column_type(declared: &str, kinds: Kinds) -> DataType {
    let Kinds { integer, real, text, blob, many, large } = kinds;
    let meant = meant(declared);
    match (integer, real, text, blob) {
        (false, false, false, false) => empty_type(declared),
        (true, false, false, false) if meant == Some(DataType::Boolean) && !many => {
            DataType::Boolean
        }
        (_, _, false, false) if matches!(meant, Some(DataType::Decimal128(..))) => {
            meant.unwrap_or(DataType::Float64)
        }
        (true, false, false, false) => DataType::Int64,
        (_, true, false, false) if !large => DataType::Float64,
        (false, false, true, false) => match meant {
            Some(meant @ (DataType::Date32 | DataType::Timestamp(..))) => meant,
            _ => DataType::Utf8,
        },
        (false, false, _, true) => DataType::Binary,
        // Kinds that share no type but that of their text.
        (_, _, _, false) => DataType::Utf8,
        (_, _, _, true) => DataType::Binary,
    }
}

/// Whether the declared type alone says what is expected. A value that does not fit is met while
/// reading.
pub(super) fn is_certain(declared: &str) -> bool {
    let name = declared.to_ascii_lowercase();
    let plain = ["int", "char", "clob", "text", "blob", "real", "floa", "doub"];
    meant(declared).is_some() || plain.iter().any(|part| name.contains(part))
}

/// Who can compare the values of a column of this type. Dates and times are text in SQLite, and
/// texts have collations.
pub(super) fn order(data_type: &DataType) -> Order {
    match data_type {
        DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..) => Order::Database,
        _ => Order::Value,
    }
}

/// Values on their way into a column.
pub(super) enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder, bool),
    Text(StringBuilder),
    Binary(BinaryBuilder),
}

impl Builder {
    pub(super) fn new(data_type: &DataType) -> Builder {
        match data_type {
            DataType::Boolean => Builder::Boolean(BooleanBuilder::new()),
            DataType::Int64 => Builder::Integer(Int64Builder::new()),
            DataType::Float64 => Builder::Double(Float64Builder::new()),
            DataType::Decimal128(precision, scale) => Builder::Decimal(
                Decimal128Builder::new().with_data_type(data_type.clone()),
                *precision,
                *scale,
            ),
            DataType::Date32 => Builder::Date(Date32Builder::new()),
            DataType::Timestamp(_, zone) => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()),
                zone.is_some(),
            ),
            DataType::Binary => Builder::Binary(BinaryBuilder::new()),
            _ => Builder::Text(StringBuilder::new()),
        }
    }

    /// Adds a value and says how many bytes it takes; `None` when it does not fit.
    pub(super) fn push(&mut self, value: ValueRef<'_>) -> Option<usize> {
        if value == ValueRef::Null {
            self.push_null();
            return Some(1);
        }
        Some(match self {
            Builder::Boolean(builder) => {
                match value {
                    ValueRef::Integer(number @ (0 | 1)) => builder.append_value(number == 1),
                    _ => return None,
                }
                1
            }
            Builder::Integer(builder) => {
                match value {
                    ValueRef::Integer(number) => builder.append_value(number),
                    _ => return None,
                }
                8
            }
            Builder::Double(builder) => {
                match value {
                    ValueRef::Real(number) => builder.append_value(number),
                    ValueRef::Integer(number) if number.unsigned_abs() <= EXACT.unsigned_abs() => {
                        builder.append_value(number as f64);
                    }
                    _ => return None,
                }
                8
            }
            Builder::Decimal(builder, precision, scale) => {
                let text = match value {
                    ValueRef::Integer(number) => number.to_string(),
                    // Fifteen digits are what a double keeps of a decimal.
                    ValueRef::Real(number) if number.is_finite() => {
                        format!("{number:.*}", usize::from(scale.unsigned_abs()))
                    }
                    _ => return None,
                };
                let number = value::parse_decimal(text.as_bytes(), *precision, *scale)?;
                if let ValueRef::Real(real) = value {
                    // More digits behind the point than were declared are not cut off.
                    let back: f64 = text.parse().ok()?;
                    if (back - real).abs() > real.abs() * 1e-14 {
                        return None;
                    }
                }
                builder.append_value(number);
                16
            }
            Builder::Date(builder) => {
                let ValueRef::Text(text) = value else { return None };
                builder.append_value(value::parse_date(text)?);
                4
            }
            Builder::Timestamp(builder, zoned) => {
                let ValueRef::Text(text) = value else { return None };
                let micros = match value::parse_timestamp(text) {
                    Some(instant) if !instant.truncated && (*zoned || !instant.zoned) => {
                        instant.micros
                    }
                    Some(_) => return None,
                    None => i64::from(value::parse_date(text)?) * 86_400_000_000,
                };
                builder.append_value(micros);
                8
            }
            Builder::Text(builder) => match value {
                ValueRef::Text(text) => {
                    builder.append_value(std::str::from_utf8(text).ok()?);
                    text.len() + 4
                }
                ValueRef::Integer(number) => {
                    builder.append_value(number.to_string());
                    12
                }
                ValueRef::Real(number) => {
                    builder.append_value(real_text(number));
                    16
                }
                _ => return None,
            },
            Builder::Binary(builder) => match value {
                ValueRef::Blob(bytes) | ValueRef::Text(bytes) => {
                    builder.append_value(bytes);
                    bytes.len() + 4
                }
                ValueRef::Integer(number) => {
                    builder.append_value(number.to_string());
                    12
                }
                ValueRef::Real(number) => {
                    builder.append_value(real_text(number));
                    16
                }
                ValueRef::Null => return None,
            },
        })
    }

    fn push_null(&mut self) {
        match self {
            Builder::Boolean(builder) => builder.append_null(),
            Builder::Integer(builder) => builder.append_null(),
            Builder::Double(builder) => builder.append_null(),
            Builder::Decimal(builder, ..) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::Timestamp(builder, _) => builder.append_null(),
            Builder::Text(builder) => builder.append_null(),
            Builder::Binary(builder) => builder.append_null(),
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Integer(builder) => Arc::new(builder.finish()),
            Builder::Double(builder) => Arc::new(builder.finish()),
            Builder::Decimal(builder, ..) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder, _) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Binary(builder) => Arc::new(builder.finish()),
        }
    }

    /// What a column becomes when a value does not fit it.
    pub(super) fn wider(&self) -> DataType {
        match self {
            Builder::Boolean(_) => DataType::Int64,
            Builder::Decimal(..) => DataType::Float64,
            Builder::Text(_) | Builder::Binary(_) => DataType::Binary,
            _ => DataType::Utf8,
        }
    }
}

/// A double as SQLite writes it: with a point.
fn real_text(number: f64) -> String {
    let text = number.to_string();
    if number.is_finite() && !text.contains('.') { format!("{text}.0") } else { text }
}
