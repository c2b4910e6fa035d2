//! Values of a driver into columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use chrono::{NaiveDate, NaiveDateTime};
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_drivers::odbc::Value;

use super::types::Form;
use crate::files::value::{parse_date, parse_decimal, parse_timestamp};

/// Why a value was not taken.
pub(super) enum Refused {
    /// It is longer than the driver said of its column.
    Cut,
    /// It has more digits than the driver said.
    Digits,
    /// It has no place in the column.
    Misfit(String),
}

/// Takes the values of one column and gives its array.
pub(super) enum Builder {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder, bool),
}

impl Builder {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Boolean => Builder::Boolean(BooleanBuilder::new()),
            DataType::Int16 => Builder::Int16(Int16Builder::new()),
            DataType::Int32 => Builder::Int32(Int32Builder::new()),
            DataType::Int64 => Builder::Int64(Int64Builder::new()),
            DataType::Float32 => Builder::Float32(Float32Builder::new()),
            DataType::Float64 => Builder::Float64(Float64Builder::new()),
            DataType::Decimal128(size, digits) => Builder::Decimal(
                Decimal128Builder::new().with_data_type(data_type.clone()),
                *size,
                *digits,
            ),
            DataType::Utf8 => Builder::Text(StringBuilder::new()),
            DataType::Binary => Builder::Binary(BinaryBuilder::new()),
            DataType::Date32 => Builder::Date(Date32Builder::new()),
            DataType::Timestamp(_, zone) => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()),
                zone.is_some(),
            ),
            other => {
                let message = format!("a value of a driver cannot be a {other}");
                return Err(Error::new(ErrorKind::Internal, message));
            }
        })
    }

    pub(super) fn null(&mut self) {
        match self {
            Builder::Boolean(values) => values.append_null(),
            Builder::Int16(values) => values.append_null(),
            Builder::Int32(values) => values.append_null(),
            Builder::Int64(values) => values.append_null(),
            Builder::Float32(values) => values.append_null(),
            Builder::Float64(values) => values.append_null(),
            Builder::Decimal(values, ..) => values.append_null(),
            Builder::Text(values) => values.append_null(),
            Builder::Binary(values) => values.append_null(),
            Builder::Date(values) => values.append_null(),
            Builder::Timestamp(values, _) => values.append_null(),
        }
    }

    /// Takes one value; gives its bytes, about. What is refused was not taken.
    pub(super) fn push(&mut self, value: Value<'_>, form: Form) -> Result<usize, Refused> {
        let odd = |what: &str| Refused::Misfit(format!("{what} has no place there"));
        let number = |number: i64| odd(&number.to_string());
        match (self, value) {
            (builder, Value::Null) => {
                builder.null();
                return Ok(1);
            }
            (_, Value::Cut) => return Err(Refused::Cut),
            (Builder::Boolean(values), Value::Bit(value)) => values.append_value(value),
            (Builder::Boolean(values), Value::Integer(value)) => values.append_value(value != 0),
            (Builder::Int16(values), Value::Integer(value)) => {
                values.append_value(value.try_into().map_err(|_| number(value))?);
            }
            (Builder::Int32(values), Value::Integer(value)) => {
                values.append_value(value.try_into().map_err(|_| number(value))?);
            }
            (Builder::Int64(values), Value::Integer(value)) => values.append_value(value),
            (Builder::Float32(values), Value::Float(value)) => values.append_value(value),
            (Builder::Float64(values), Value::Double(value)) => values.append_value(value),
            (Builder::Decimal(values, size, digits), Value::Bytes(text)) => {
                let value = parse_decimal(text.trim_ascii(), *size, *digits);
                values.append_value(value.ok_or(Refused::Digits)?);
                return Ok(16);
            }
            (Builder::Text(values), Value::Text(mut text)) => {
                if form == Form::Small {
                    text.make_ascii_lowercase();
                }
                values.append_value(&text);
                return Ok(text.len() + 4);
            }
            (Builder::Binary(values), Value::Bytes(bytes)) => {
                values.append_value(bytes);
                return Ok(bytes.len() + 4);
            }
            // Days that there are not (`0000-00-00`) are NULL.
            (Builder::Date(values), Value::Date(year, month, day)) => values.append_option(
                date(year, month, day).map(arrow::datatypes::Date32Type::from_naive_date),
            ),
            (
                Builder::Timestamp(values, _),
                Value::Timestamp(year, [month, day, hour, minute, second], nanos),
            ) => {
                let at =
                    date(year, month, day).and_then(|date| time(date, hour, minute, second, nanos));
                if nanos % 1000 != 0 {
                    return Err(odd("a time with digits below a microsecond"));
                }
                values.append_option(at.map(|at| at.and_utc().timestamp_micros()));
            }
            (Builder::Date(values), Value::Text(text)) if form == Form::Moment => {
                values.append_value(parse_date(text.as_bytes()).ok_or_else(|| odd(&text))?);
            }
            (Builder::Timestamp(values, zoned), Value::Text(text)) if form == Form::Moment => {
                let micros = match parse_timestamp(text.as_bytes()) {
                    Some(at) if !at.truncated && at.zoned == *zoned => Some(at.micros),
                    Some(_) => None,
                    None => parse_date(text.as_bytes())
                        .filter(|_| !*zoned)
                        .map(|days| i64::from(days) * 86_400_000_000),
                };
                values.append_value(micros.ok_or_else(|| odd(&text))?);
            }
            _ => return Err(odd("a value of another kind")),
        }
        Ok(8)
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(values) => Arc::new(values.finish()),
            Builder::Int16(values) => Arc::new(values.finish()),
            Builder::Int32(values) => Arc::new(values.finish()),
            Builder::Int64(values) => Arc::new(values.finish()),
            Builder::Float32(values) => Arc::new(values.finish()),
            Builder::Float64(values) => Arc::new(values.finish()),
            Builder::Decimal(values, ..) => Arc::new(values.finish()),
            Builder::Text(values) => Arc::new(values.finish()),
            Builder::Binary(values) => Arc::new(values.finish()),
            Builder::Date(values) => Arc::new(values.finish()),
            Builder::Timestamp(values, _) => Arc::new(values.finish()),
        }
    }
}

fn date(year: i16, month: u16, day: u16) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day))
}

fn time(date: NaiveDate, hour: u16, minute: u16, second: u16, nanos: u32) -> Option<NaiveDateTime> {
    date.and_hms_nano_opt(hour.into(), minute.into(), second.into(), nanos)
}
