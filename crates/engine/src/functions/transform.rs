//! `from_json(x, '{"a": "INTEGER", "b": ["VARCHAR"]}')` of DuckDB: JSON in text as values of the types
//! that a structure names. What does not fit its type is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StringArray, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::util::display::FormatOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::simple::{Call, Simple, arity, text, text_at, usage};

/// How deeply a structure may nest.
const DEEPEST: usize = 64;

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let names = ["from_json", "json_transform"];
    vec![Simple::aliased(
        names[0],
        &names[1..],
        |types| {
            arity("from_json", types, 2, 2)?;
            // As a literal, and not as a cast of one.
            Ok(vec![DataType::Utf8View, types[1].clone()])
        },
        returns,
        transform,
    )]
}

fn returns(_: &[DataType], values: &[Option<&ScalarValue>]) -> Result<DataType> {
    let Some(written) = values.get(1).copied().flatten().and_then(ScalarValue::try_as_str) else {
        return usage(
            "`from_json` takes a structure that is written out, as '{\"a\": \"INTEGER\"}'",
        );
    };
    let Ok(structure) = serde_json::from_str::<Value>(written.unwrap_or("null")) else {
        return usage("the structure of `from_json` is no JSON");
    };
    type_of(&structure, 0)
}

fn type_of(structure: &Value, depth: usize) -> Result<DataType> {
    if depth > DEEPEST {
        return usage("the structure of `from_json` is too deep");
    }
    match structure {
        Value::String(name) => named(name),
        Value::Array(items) => match items.as_slice() {
            [item] => {
                let item = type_of(item, depth + 1)?;
                Ok(DataType::List(Arc::new(Field::new_list_field(item, true))))
            }
            _ => usage("a list in the structure of `from_json` has one type: [\"INTEGER\"]"),
        },
        Value::Object(fields) => {
            let fields: Result<Vec<Field>> = fields
                .iter()
                .map(|(name, kind)| Ok(Field::new(name, type_of(kind, depth + 1)?, true)))
                .collect();
            Ok(DataType::Struct(Fields::from(fields?)))
        }
        _ => usage("the structure of `from_json` names types: {\"a\": \"INTEGER\"}"),
    }
}

fn named(name: &str) -> Result<DataType> {
    let name = name.trim().to_uppercase();
    if let Some(item) = name.strip_suffix("[]") {
        return Ok(DataType::List(Arc::new(Field::new_list_field(named(item)?, true))));
    }
    if let Some(digits) = name
        .strip_prefix("DECIMAL(")
        .or_else(|| name.strip_prefix("NUMERIC("))
        .and_then(|rest| rest.strip_suffix(')'))
    {
        let digits: Vec<&str> = digits.split(',').map(str::trim).collect();
        let precision = digits[0].parse().ok().filter(|precision| (1..=38).contains(precision));
        let scale = digits.get(1).map_or(Some(0), |scale| scale.parse().ok());
        if let (Some(precision), Some(scale)) = (precision, scale) {
            return Ok(DataType::Decimal128(precision, scale));
        }
    }
    Ok(match name.as_str() {
        "BOOLEAN" | "BOOL" | "LOGICAL" => DataType::Boolean,
        "TINYINT" | "INT1" => DataType::Int8,
        "SMALLINT" | "INT2" | "SHORT" | "UTINYINT" => DataType::Int16,
        "INTEGER" | "INT" | "INT4" | "SIGNED" | "USMALLINT" => DataType::Int32,
        "BIGINT" | "INT8" | "LONG" | "UINTEGER" | "UBIGINT" => DataType::Int64,
        "HUGEINT" => DataType::Decimal128(38, 0),
        "FLOAT" | "REAL" | "FLOAT4" => DataType::Float32,
        "DOUBLE" | "FLOAT8" => DataType::Float64,
        "DECIMAL" | "NUMERIC" => DataType::Decimal128(18, 3),
        "VARCHAR" | "TEXT" | "STRING" | "CHAR" | "JSON" | "UUID" | "NULL" => DataType::Utf8,
        "DATE" => DataType::Date32,
        "TIME" => DataType::Time64(TimeUnit::Microsecond),
        "TIMESTAMP" | "DATETIME" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        other => return usage(format!("the type `{other}` of `from_json` is not known")),
    })
}

fn transform(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let texts = text(&args[0]);
    let read = |row| match text_at(texts, row) {
        Some(value) => super::json::parsed(value).map(Some),
        None => Ok(None),
    };
    let values = (0..args[0].len()).map(read).collect::<Result<Vec<Option<Value>>>>()?;
    let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    array(&values, call.returns)
}

fn array(values: &[Option<&Value>], data_type: &DataType) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    match data_type {
        DataType::Struct(fields) => {
            let nulls: NullBuffer =
                values.iter().map(|value| matches!(value, Some(Value::Object(_)))).collect();
            let children = fields
                .iter()
                .map(|field| {
                    let inner: Vec<Option<&Value>> = values
                        .iter()
                        .map(|value| value.and_then(|value| value.get(field.name())))
                        .collect();
                    array(&inner, field.data_type())
                })
                .collect::<Result<Vec<ArrayRef>>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), children, Some(nulls))?))
        }
        DataType::List(item) => {
            let lists: Vec<Option<&Vec<Value>>> =
                values.iter().map(|value| value.and_then(Value::as_array)).collect();
            let inner: Vec<Option<&Value>> =
                lists.iter().flatten().flat_map(|list| list.iter().map(Some)).collect();
            let lengths = lists.iter().map(|list| list.map_or(0, Vec::len));
            let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
            let offsets = OffsetBuffer::from_lengths(lengths);
            let inner = array(&inner, item.data_type())?;
            Ok(Arc::new(ListArray::try_new(item.clone(), offsets, inner, Some(nulls))?))
        }
        plain => {
            let texts: StringArray = values.iter().map(|value| value.and_then(written)).collect();
            let options = CastOptions { safe: true, format_options: FormatOptions::default() };
            Ok(cast_with_options(&texts, plain, &options)?)
        }
    }
}

fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
