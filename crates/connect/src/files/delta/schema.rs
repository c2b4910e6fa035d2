//! The schema that a Delta table has in its log.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use crate::files::header::names_in;
use crate::files::settings::NameStyle;
use crate::files::types::Types;

/// The columns: how the table calls them, and their types.
pub(super) fn columns(schema: &str) -> Result<Vec<(String, DataType)>> {
    let schema: Value = serde_json::from_str(schema).map_err(|error| {
        Error::new(ErrorKind::Data, "the table's schema is damaged").because(error)
    })?;
    let fields = schema.get("fields").and_then(Value::as_array);
    fields.into_iter().flatten().map(column).collect()
}

/// The columns as a read has them, by the rule of names.
pub(in crate::files) fn types_of(columns: &[(String, DataType)], style: NameStyle) -> Types {
    let headers: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let names = names_in(style, &headers);
    let mut types = Types::default();
    for (name, (written, data_type)) in names.iter().zip(columns) {
        let shape = types.entry(name);
        shape.original = (written != name).then(|| written.clone());
        shape.arrow = Some(data_type.clone());
    }
    types
}

fn column(field: &Value) -> Result<(String, DataType)> {
    let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
    let data_type = data_type(field.get("type").unwrap_or(&Value::Null))
        .map_err(|kind| unknown(&kind).with("column", name))?;
    Ok((name.to_owned(), data_type))
}

fn unknown(kind: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("columns of the type `{kind}` are not read"))
}

fn data_type(written: &Value) -> Result<DataType, String> {
    let inner = |key: &str| data_type(written.get(key).unwrap_or(&Value::Null));
    match written {
        Value::String(name) => simple(name).ok_or_else(|| name.clone()),
        Value::Object(members) => match members.get("type").and_then(Value::as_str) {
            Some("struct") => {
                let fields = members.get("fields").and_then(Value::as_array);
                let fields = fields.into_iter().flatten().map(|field| {
                    let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
                    let data_type = data_type(field.get("type").unwrap_or(&Value::Null))?;
                    Ok(Field::new(name, data_type, true))
                });
                let fields: Vec<Field> = fields.collect::<Result<_, String>>()?;
                Ok(DataType::Struct(fields.into()))
            }
            Some("array") => {
                let item = Field::new("item", inner("elementType")?, true);
                Ok(DataType::List(Arc::new(item)))
            }
            Some("map") => {
                let pair = vec![
                    Field::new("key", inner("keyType")?, false),
                    Field::new("value", inner("valueType")?, true),
                ];
                let entries = Field::new("key_value", DataType::Struct(pair.into()), false);
                Ok(DataType::Map(Arc::new(entries), false))
            }
            other => Err(other.unwrap_or("object").to_owned()),
        },
        other => Err(other.to_string()),
    }
}

fn simple(name: &str) -> Option<DataType> {
    Some(match name {
        "string" => DataType::Utf8,
        "long" => DataType::Int64,
        "integer" => DataType::Int32,
        "short" => DataType::Int16,
        "byte" => DataType::Int8,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => {
            let (precision, scale) =
                name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_the_log() {
        let schema = r#"{"type":"struct","fields":[
            {"name":"id","type":"long","nullable":false,"metadata":{}},
            {"name":"price","type":"decimal(12,2)"},
            {"name":"tags","type":{"type":"array","elementType":"string","containsNull":true}},
            {"name":"at","type":{"type":"struct","fields":[{"name":"x","type":"date"}]}}]}"#;
        let found: Vec<String> = columns(schema)
            .unwrap()
            .into_iter()
            .map(|(name, data_type)| format!("{name} {data_type}"))
            .collect();
        assert_eq!(
            found,
            ["id Int64", "price Decimal128(12, 2)", "tags List(Utf8)", "at Struct(\"x\": Date32)"]
        );
        let error = columns(r#"{"fields":[{"name":"v","type":"variant"}]}"#).unwrap_err();
        assert!(error.report().contains("`variant`") && error.report().contains("column: v"));
    }
}
