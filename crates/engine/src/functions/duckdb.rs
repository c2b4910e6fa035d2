//! Functions that DuckDB has and PostgreSQL has not, with DuckDB's meaning: projects for DuckDB and
//! what packages write for it call them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::json::texts;
use super::simple::{Call, MICROS, Simple, arity, as_timestamp, bad_value, text, text_at, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let strings = |types: &[DataType]| {
        arity("str_split", types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    };
    vec![
        Simple::aliased("str_split", &["string_split"], strings, |_, _| Ok(texts()), split),
        Simple::function("epoch_ms", epoch_takes, epoch_gives, |args, _| epoch(args, 1_000)),
        Simple::function("epoch_us", epoch_takes, epoch_gives, |args, _| epoch(args, 1)),
        Simple::function("typeof", |types| Ok(types.to_vec()), |_, _| Ok(DataType::Utf8View), kind),
        Simple::function(
            "regexp_full_match",
            |types| {
                arity("regexp_full_match", types, 2, 2)?;
                Ok(vec![DataType::Utf8View; 2])
            },
            |_, _| Ok(DataType::Boolean),
            full_match,
        ),
    ]
}

/// Without a separator the text is whole, with an empty one it is cut into letters.
fn split(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (values, separators) = (text(&args[0]), text(&args[1]));
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    for row in 0..values.len() {
        let Some(value) = text_at(values, row) else {
            out.append_null();
            continue;
        };
        match text_at(separators, row) {
            None => out.values().append_value(value),
            Some("") => {
                let mut letter = [0; 4];
                value.chars().for_each(|c| out.values().append_value(c.encode_utf8(&mut letter)));
            }
            Some(separator) => {
                value.split(separator).for_each(|part| out.values().append_value(part));
            }
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// A number is a time, a time is a number.
fn epoch_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("epoch_ms", types, 1, 1)?;
    Ok(vec![match &types[0] {
        data_type if data_type.is_numeric() => DataType::Int64,
        other => as_timestamp(other),
    }])
}

fn epoch_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match &types[0] {
        DataType::Int64 => MICROS,
        _ => DataType::Int64,
    })
}

fn epoch(args: &[ArrayRef], micros: i64) -> Result<ArrayRef> {
    if let DataType::Int64 = args[0].data_type() {
        let times: TimestampMicrosecondArray = args[0]
            .as_primitive::<Int64Type>()
            .iter()
            .map(|count| match count.map(|count| count.checked_mul(micros)) {
                Some(None) => Err(bad_value("a date is out of range")),
                Some(time) => Ok(time),
                None => Ok(None),
            })
            .collect::<Result<_>>()?;
        return Ok(Arc::new(times));
    }
    let counts: Int64Array = args[0]
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .map(|time| time.map(|time| time.div_euclid(micros)))
        .collect();
    Ok(Arc::new(counts))
}

/// The type's name in DuckDB.
fn kind(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let [value] = args else { return usage("`typeof` takes one argument") };
    let name = named(value.data_type());
    let names: StringViewArray = std::iter::repeat_n(Some(name), value.len()).collect();
    Ok(Arc::new(names))
}

fn named(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "\"NULL\"".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "UTINYINT".to_owned(),
        DataType::UInt16 => "USMALLINT".to_owned(),
        DataType::UInt32 => "UINTEGER".to_owned(),
        DataType::UInt64 => "UBIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(TimeUnit::Microsecond) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BLOB".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", named(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), named(field.data_type())))
                .collect();
            format!("STRUCT({})", fields.join(", "))
        }
        _ => "VARCHAR".to_owned(),
    }
}

fn full_match(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (values, patterns) = (text(&args[0]), text(&args[1]));
    let mut known: Option<(String, regex::Regex)> = None;
    let fits: BooleanArray = (0..values.len())
        .map(|row| {
            let (Some(value), Some(pattern)) = (text_at(values, row), text_at(patterns, row))
            else {
                return Ok(None);
            };
            if known.as_ref().is_none_or(|(given, _)| given != pattern) {
                let whole = regex::Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|error| bad_value(format!("wrong regular expression: {error}")))?;
                known = Some((pattern.to_owned(), whole));
            }
            Ok(known.as_ref().map(|(_, whole)| whole.is_match(value)))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(fits))
}
