//! Rows given as JSON objects, into columns whose types are known.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder,
    RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use serde_json::{Map, Value};
use tidemill_core::{ErrorKind, Result, ResultExt};

use crate::files::rejected_schema;
use crate::files::value;

/// A batch ends with this many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// And with this many rows.
const BATCH_ROWS: usize = 32_768;

/// The type of instants.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Values on their way into a column. What is nested is text in JSON.
enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

impl Builder {
    fn new(data_type: &DataType) -> Builder {
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
            DataType::Timestamp(..) => Builder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()),
            ),
            _ => Builder::Text(StringBuilder::new()),
        }
    }

    /// Whether the value fits. Nothing is added by this.
    fn fits(&self, value: &Value) -> bool {
        if value.is_null() {
            return true;
        }
        match self {
            Builder::Boolean(_) => value.is_boolean(),
            Builder::Integer(_) => integer(value).is_some(),
            Builder::Double(_) => double(value).is_some(),
            Builder::Decimal(_, precision, scale) => decimal(value, *precision, *scale).is_some(),
            Builder::Date(_) => date(value).is_some(),
            Builder::Timestamp(_) => time(value).is_some(),
            Builder::Text(_) => true,
        }
    }

    /// Adds a value that fits; NULL if it does not. Gives its size.
    fn push(&mut self, value: Option<&Value>) -> usize {
        let value = value.filter(|value| !value.is_null());
        match self {
            Builder::Boolean(builder) => {
                builder.append_option(value.and_then(Value::as_bool));
                1
            }
            Builder::Integer(builder) => {
                builder.append_option(value.and_then(integer));
                8
            }
            Builder::Double(builder) => {
                builder.append_option(value.and_then(double));
                8
            }
            Builder::Decimal(builder, precision, scale) => {
                builder.append_option(value.and_then(|value| decimal(value, *precision, *scale)));
                16
            }
            Builder::Date(builder) => {
                builder.append_option(value.and_then(date));
                4
            }
            Builder::Timestamp(builder) => {
                builder.append_option(value.and_then(time));
                8
            }
            Builder::Text(builder) => match value {
                None => {
                    builder.append_null();
                    4
                }
                Some(Value::String(text)) => {
                    builder.append_value(text);
                    text.len() + 4
                }
                Some(other) => {
                    let text = other.to_string();
                    builder.append_value(&text);
                    text.len() + 4
                }
            },
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Integer(builder) => Arc::new(builder.finish()),
            Builder::Double(builder) => Arc::new(builder.finish()),
            Builder::Decimal(builder, ..) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        // `12.0` is whole.
        Value::Number(number) => number.as_i64().or_else(|| {
            let double = number.as_f64()?;
            let exact = double.fract() == 0.0 && double.abs() <= value::EXACT_DOUBLE as f64;
            exact.then_some(double as i64)
        }),
        Value::String(text) => value::parse_i64(text.as_bytes(), false),
        _ => None,
    }
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => value::parse_f64(text.as_bytes(), false),
        _ => None,
    }
}

fn decimal(value: &Value, precision: u8, scale: i8) -> Option<i128> {
    match value {
        Value::Number(number) => {
            value::parse_decimal(number.to_string().as_bytes(), precision, scale)
        }
        Value::String(text) => value::parse_decimal(text.as_bytes(), precision, scale),
        _ => None,
    }
}

fn date(value: &Value) -> Option<i32> {
    let text = value.as_str()?.as_bytes();
    value::parse_date(text).or_else(|| {
        // A date that is written as a time, at midnight.
        let instant = value::parse_timestamp(text)?;
        let midnight = instant.micros % 86_400_000_000 == 0;
        midnight.then(|| i32::try_from(instant.micros / 86_400_000_000).ok())?
    })
}

fn time(value: &Value) -> Option<i64> {
    let text = value.as_str()?.as_bytes();
    match value::parse_timestamp(text) {
        Some(instant) => Some(instant.micros),
        None => value::parse_date(text).map(|days| i64::from(days) * 86_400_000_000),
    }
}

/// A column: the key of the objects that it comes from.
pub(crate) struct JsonColumns {
    keys: Vec<String>,
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
    bytes: usize,
    /// Rows taken so far, those that were rejected too.
    taken: i64,
    rejected: Vec<(i64, String, String)>,
}

impl JsonColumns {
    /// `keys` are those of the objects, in the order of the schema's columns.
    pub(crate) fn new(keys: Vec<String>, schema: SchemaRef) -> Self {
        let builders =
            schema.fields().iter().map(|field| Builder::new(field.data_type())).collect();
        JsonColumns { keys, schema, builders, rows: 0, bytes: 0, taken: 0, rejected: Vec::new() }
    }

    /// Takes a row: whole, or as a rejected one.
    pub(crate) fn push(&mut self, row: &Map<String, Value>) {
        self.taken += 1;
        for ((key, builder), field) in
            self.keys.iter().zip(&self.builders).zip(self.schema.fields())
        {
            let Some(value) = row.get(key).filter(|value| !builder.fits(value)) else { continue };
            let reason = format!("`{}` is not a {}: {value}", field.name(), field.data_type());
            let raw = Value::Object(row.clone()).to_string();
            self.bytes += raw.len();
            self.rejected.push((self.taken, reason, raw));
            return;
        }
        for (key, builder) in self.keys.iter().zip(&mut self.builders) {
            self.bytes += builder.push(row.get(key));
        }
        self.rows += 1;
    }

    /// Whether a batch is full.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// What was taken since the last time: rows, and rejected rows of `object`.
    pub(crate) fn finish(
        &mut self,
        object: &str,
    ) -> Result<(Option<RecordBatch>, Option<RecordBatch>)> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let malformed = "a batch is malformed";
        let batch = if rows == 0 {
            None
        } else {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
            Some(batch.or_error(ErrorKind::Internal, malformed)?)
        };
        let bad = std::mem::take(&mut self.rejected);
        if bad.is_empty() {
            return Ok((batch, None));
        }
        let (mut objects, mut reasons, mut raws) =
            (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
        let mut numbers = Int64Builder::new();
        for (number, reason, raw) in bad {
            objects.append_value(object);
            numbers.append_value(number);
            reasons.append_value(reason);
            raws.append_value(raw);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(objects.finish()),
            Arc::new(numbers.finish()),
            Arc::new(reasons.finish()),
            Arc::new(raws.finish()),
        ];
        let rejected = RecordBatch::try_new(rejected_schema(), columns);
        Ok((batch, Some(rejected.or_error(ErrorKind::Internal, malformed)?)))
    }
}
