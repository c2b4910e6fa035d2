//! Delta's schema JSON and Arrow schemas.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

/// The field metadata that holds a column's name before it was changed by the naming rule.
pub(crate) const ORIGINAL_NAME: &str = "original_name";

/// Types that Delta has no word for are recorded (never written to a table) with this prefix.
const ARROW: &str = "arrow:";

#[derive(Serialize, Deserialize)]
struct StructType {
    #[serde(rename = "type")]
    kind: String,
    fields: Vec<StructField>,
}

#[derive(Serialize, Deserialize)]
struct StructField {
    name: String,
    #[serde(rename = "type")]
    data_type: TypeName,
    nullable: bool,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TypeName {
    Primitive(String),
    Struct(StructType),
    Array(ArrayType),
    Map(MapType),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArrayType {
    #[serde(rename = "type")]
    kind: String,
    element_type: Box<TypeName>,
    contains_null: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MapType {
    #[serde(rename = "type")]
    kind: String,
    key_type: Box<TypeName>,
    value_type: Box<TypeName>,
    value_contains_null: bool,
}

/// The Arrow schema of a Delta schema string.
pub(crate) fn arrow_from_delta(text: &str) -> Result<SchemaRef> {
    let schema: StructType = serde_json::from_str(text)
        .or_error(ErrorKind::Data, "the schema of a Delta table cannot be read")?;
    Ok(Arc::new(Schema::new(fields_from(schema.fields)?)))
}

/// The Delta schema string of an Arrow schema whose types Delta has.
pub(crate) fn delta_from_arrow(schema: &Schema) -> Result<String> {
    to_text(schema, false)
}

/// The text that the catalog log keeps of a view's schema: Delta's, with Arrow's own words where
/// Delta has none.
pub(crate) fn recorded_from_arrow(schema: &Schema) -> Result<String> {
    to_text(schema, true)
}

/// The Arrow schema of what [`recorded_from_arrow`] wrote.
pub(crate) fn recorded_to_arrow(text: &str) -> Result<SchemaRef> {
    arrow_from_delta(text)
}

fn to_text(schema: &Schema, recorded: bool) -> Result<String> {
    let fields = struct_fields(schema.fields(), recorded)?;
    serde_json::to_string(&StructType { kind: "struct".to_owned(), fields })
        .or_error(ErrorKind::Internal, "a schema cannot be written")
}

fn struct_fields(fields: &Fields, recorded: bool) -> Result<Vec<StructField>> {
    fields
        .iter()
        .map(|field| {
            let metadata = field
                .metadata()
                .iter()
                .filter(|(key, _)| !key.starts_with("PARQUET:") && !key.starts_with("ARROW:"))
                .map(|(key, value)| (key.clone(), metadata_value(key, value)))
                .collect();
            Ok(StructField {
                name: field.name().clone(),
                data_type: type_name(field, recorded)?,
                nullable: field.is_nullable(),
                metadata,
            })
        })
        .collect()
}

/// Arrow's metadata is text; what Delta had as another JSON type goes back as that.
fn metadata_value(key: &str, text: &str) -> Value {
    if key == "comment" || key == ORIGINAL_NAME {
        return Value::String(text.to_owned());
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_string() => value,
        _ => Value::String(text.to_owned()),
    }
}

fn type_name(field: &Field, recorded: bool) -> Result<TypeName> {
    let name = match field.data_type() {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int16 => "short".to_owned(),
        DataType::Int8 => "byte".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            "timestamp".to_owned()
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz".to_owned(),
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            format!("decimal({precision},{scale})")
        }
        DataType::Struct(fields) => {
            return Ok(TypeName::Struct(StructType {
                kind: "struct".to_owned(),
                fields: struct_fields(fields, recorded)?,
            }));
        }
        DataType::List(element) => {
            return Ok(TypeName::Array(ArrayType {
                kind: "array".to_owned(),
                element_type: Box::new(type_name(element, recorded)?),
                contains_null: element.is_nullable(),
            }));
        }
        DataType::Map(entries, _) => {
            if let DataType::Struct(pair) = entries.data_type()
                && let [key, value] = &pair[..]
            {
                return Ok(TypeName::Map(MapType {
                    kind: "map".to_owned(),
                    key_type: Box::new(type_name(key, recorded)?),
                    value_type: Box::new(type_name(value, recorded)?),
                    value_contains_null: value.is_nullable(),
                }));
            }
            return Err(unknown(field));
        }
        other if recorded => format!("{ARROW}{other}"),
        _ => return Err(unknown(field)),
    };
    Ok(TypeName::Primitive(name))
}

fn unknown(field: &Field) -> Error {
    Error::new(ErrorKind::Unsupported, "Delta has no such type")
        .with("column", field.name())
        .with("type", field.data_type())
}

fn fields_from(fields: Vec<StructField>) -> Result<Fields> {
    fields
        .into_iter()
        .map(|field| {
            let data_type = data_type(&field.name, field.data_type)?;
            let mut arrow = Field::new(field.name, data_type, field.nullable);
            if !field.metadata.is_empty() {
                let metadata: HashMap<String, String> = field
                    .metadata
                    .into_iter()
                    .map(|(key, value)| match value {
                        Value::String(text) => (key, text),
                        value => (key, value.to_string()),
                    })
                    .collect();
                arrow.set_metadata(metadata);
            }
            Ok(arrow)
        })
        .collect::<Result<Vec<Field>>>()
        .map(Fields::from)
}

fn data_type(column: &str, name: TypeName) -> Result<DataType> {
    Ok(match name {
        TypeName::Struct(inner) => DataType::Struct(fields_from(inner.fields)?),
        TypeName::Array(inner) => DataType::List(Arc::new(Field::new(
            "element",
            data_type(column, *inner.element_type)?,
            inner.contains_null,
        ))),
        TypeName::Map(inner) => {
            let pair = Fields::from(vec![
                Field::new("key", data_type(column, *inner.key_type)?, false),
                Field::new(
                    "value",
                    data_type(column, *inner.value_type)?,
                    inner.value_contains_null,
                ),
            ]);
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(pair), false)), false)
        }
        TypeName::Primitive(name) => match name.as_str() {
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
            other => {
                if let Some(decimal) = decimal(other) {
                    decimal
                } else if let Some(arrow) = other.strip_prefix(ARROW) {
                    // Only views have such types, and a view's columns are planned again anyway.
                    arrow.parse().unwrap_or(DataType::Utf8)
                } else {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("the Delta table has a column of type `{other}`, which Tidemill does not read"),
                    )
                    .with("column", column));
                }
            }
        },
    })
}

fn decimal(name: &str) -> Option<DataType> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some(DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delta_type_comes_back_as_it_was() {
        let element = Field::new("element", DataType::Int64, true);
        let schema = Schema::new(vec![
            Field::new("a", DataType::Utf8, true)
                .with_metadata(HashMap::from([("comment".to_owned(), "the \"first\"".to_owned())])),
            Field::new("b", DataType::Decimal128(38, 10), true),
            Field::new("c", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("d", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("e", DataType::List(Arc::new(element.clone())), true),
            Field::new(
                "f",
                DataType::Struct(vec![element, Field::new("x", DataType::Date32, true)].into()),
                true,
            ),
            Field::new("g", DataType::Binary, false),
        ]);
        let text = delta_from_arrow(&schema).unwrap();
        assert_eq!(*arrow_from_delta(&text).unwrap(), schema);
        assert!(text.contains(r#""type":"timestamp_ntz""#), "{text}");
    }

    #[test]
    fn a_view_may_have_types_that_a_table_cannot() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::UInt64, true),
            Field::new("b", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
            Field::new("c", DataType::Utf8View, true),
        ]);
        assert!(delta_from_arrow(&schema).is_err());
        let text = recorded_from_arrow(&schema).unwrap();
        assert_eq!(*recorded_to_arrow(&text).unwrap(), schema);
    }
}
