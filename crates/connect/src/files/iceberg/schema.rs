//! The columns of a table: fields with numbers, which stay when names and types change.
//!
//! Source: "Iceberg Table Spec", sections "Schemas and Data Types" and "Appendix C".

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use crate::files::typed;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal(u8, i8),
    Date,
    /// A time of day.
    Time,
    /// A moment (`zone`), or a time on a calendar.
    Timestamp {
        zone: bool,
        nanos: bool,
    },
    Text,
    Uuid,
    Fixed,
    Binary,
    /// Of a column that has nothing but NULL.
    Unknown,
    Struct(Vec<Field>),
    List(Box<Field>),
    Map(Box<Field>, Box<Field>),
}

/// A field of a table, or of what is nested in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) id: i32,
    pub(super) name: String,
    pub(super) kind: Type,
    /// What rows of files have that were written before the field was there.
    pub(super) default: Option<Value>,
}

/// The columns of a table at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schema {
    pub(super) id: i32,
    pub(super) fields: Vec<Field>,
    /// The columns that tell rows apart, where the table says so.
    pub(super) keys: Vec<i32>,
}

impl Type {
    /// As rows have it here: times of day and UUIDs are text, and times have microseconds.
    pub(super) fn arrow(&self) -> DataType {
        let field = |field: &Field| ArrowField::new(&field.name, field.kind.arrow(), true);
        match self {
            Type::Boolean => DataType::Boolean,
            Type::Int => DataType::Int32,
            Type::Long => DataType::Int64,
            Type::Float => DataType::Float32,
            Type::Double => DataType::Float64,
            Type::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Type::Date => DataType::Date32,
            Type::Timestamp { zone, .. } => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()))
            }
            Type::Time | Type::Text | Type::Uuid | Type::Unknown => DataType::Utf8,
            Type::Fixed | Type::Binary => DataType::Binary,
            Type::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
            Type::List(item) => {
                DataType::List(Arc::new(ArrowField::new("item", item.kind.arrow(), true)))
            }
            Type::Map(key, value) => {
                DataType::Map(typed::map_entries(&key.kind.arrow(), &value.kind.arrow()), false)
            }
        }
    }

    fn parse(written: &Value) -> Result<Type, String> {
        match written {
            Value::String(name) => simple(name).ok_or_else(|| name.clone()),
            Value::Object(members) => {
                let inner = |part: &str| -> Result<Box<Field>, String> {
                    let id = members.get(&format!("{part}-id")).and_then(Value::as_i64);
                    Ok(Box::new(Field {
                        id: id.and_then(|id| i32::try_from(id).ok()).unwrap_or_default(),
                        name: part.to_owned(),
                        kind: Type::parse(members.get(part).unwrap_or(&Value::Null))?,
                        default: None,
                    }))
                };
                match members.get("type").and_then(Value::as_str) {
                    Some("struct") => Ok(Type::Struct(fields(written)?)),
                    Some("list") => Ok(Type::List(inner("element")?)),
                    Some("map") => Ok(Type::Map(inner("key")?, inner("value")?)),
                    other => Err(other.unwrap_or("object").to_owned()),
                }
            }
            other => Err(other.to_string()),
        }
    }
}

fn fields(written: &Value) -> Result<Vec<Field>, String> {
    let fields = written.get("fields").and_then(Value::as_array).into_iter().flatten();
    let fields = fields.map(|field| {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
        let id = field.get("id").and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok());
        Ok(Field {
            id: id.ok_or_else(|| format!("no field id of {name}"))?,
            name: name.to_owned(),
            kind: Type::parse(field.get("type").unwrap_or(&Value::Null))?,
            default: field.get("initial-default").filter(|value| !value.is_null()).cloned(),
        })
    });
    fields.collect()
}

fn simple(name: &str) -> Option<Type> {
    Some(match name {
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp { zone: false, nanos: false },
        "timestamptz" => Type::Timestamp { zone: true, nanos: false },
        "timestamp_ns" => Type::Timestamp { zone: false, nanos: true },
        "timestamptz_ns" => Type::Timestamp { zone: true, nanos: true },
        "string" => Type::Text,
        "uuid" => Type::Uuid,
        "binary" => Type::Binary,
        "unknown" => Type::Unknown,
        _ if name.starts_with("fixed[") => Type::Fixed,
        _ => {
            let size = name.strip_prefix("decimal(")?.strip_suffix(')')?;
            let (precision, scale) = size.split_once(',')?;
            let precision = precision.trim().parse().ok().filter(|digits| *digits <= 38)?;
            Type::Decimal(precision, scale.trim().parse().ok()?)
        }
    })
}

impl Schema {
    /// As the metadata has it.
    ///
    /// # Errors
    /// Kind `Unsupported` with a type that is not read.
    pub(super) fn parse(written: &Value) -> Result<Schema> {
        let unknown = |kind: String| {
            Error::new(
                ErrorKind::Unsupported,
                format!("the table has a column of the type `{kind}`, which is not read"),
            )
        };
        let number = |value: &Value| value.as_i64().and_then(|id| i32::try_from(id).ok());
        let keys = written.get("identifier-field-ids").and_then(Value::as_array);
        Ok(Schema {
            id: written.get("schema-id").and_then(number).unwrap_or_default(),
            fields: fields(written).map_err(unknown)?,
            keys: keys.into_iter().flatten().filter_map(number).collect(),
        })
    }

    /// The columns, how the table calls them and as rows have them.
    pub(super) fn columns(&self) -> Vec<(String, DataType)> {
        self.fields.iter().map(|field| (field.name.clone(), field.kind.arrow())).collect()
    }

    /// The field with this number, on its own or within structs.
    pub(super) fn find(&self, id: i32) -> Option<&Field> {
        fn within(fields: &[Field], id: i32) -> Option<&Field> {
            fields.iter().find_map(|field| match &field.kind {
                _ if field.id == id => Some(field),
                Type::Struct(inner) => within(inner, id),
                _ => None,
            })
        }
        within(&self.fields, id)
    }

    /// Every field, those of structs among them.
    pub(super) fn each(&self, visit: &mut dyn FnMut(&Field)) {
        fn within(fields: &[Field], visit: &mut dyn FnMut(&Field)) {
            for field in fields {
                visit(field);
                match &field.kind {
                    Type::Struct(inner) => within(inner, visit),
                    Type::List(item) => within(std::slice::from_ref(item), visit),
                    Type::Map(key, value) => {
                        within(std::slice::from_ref(key), visit);
                        within(std::slice::from_ref(value), visit);
                    }
                    _ => {}
                }
            }
        }
        within(&self.fields, visit);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_those_of_the_metadata() {
        let schema = Schema::parse(&json!({"type": "struct", "schema-id": 3, "identifier-field-ids": [1], "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long"},
            {"id": 2, "name": "price", "type": "decimal(12, 2)", "initial-default": "1.50"},
            {"id": 3, "name": "tags", "type": {"type": "list", "element-id": 9, "element": "uuid"}},
            {"id": 4, "name": "at", "type": {"type": "struct", "fields": [
                {"id": 10, "name": "x", "type": "timestamptz"}, {"id": 11, "name": "y", "type": "fixed[4]"}]}},
            {"id": 5, "name": "m", "type": {"type": "map", "key-id": 12, "key": "string", "value-id": 13, "value": "time"}},
        ]}))
        .unwrap();
        assert_eq!((schema.id, schema.keys.as_slice()), (3, &[1][..]));
        let columns: Vec<String> =
            schema.columns().iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        assert_eq!(columns[..3], ["id Int64", "price Decimal128(12, 2)", "tags List(Utf8)"]);
        assert_eq!(schema.find(11).unwrap().kind, Type::Fixed);
        // What is in a list is no field of a row.
        assert!(schema.find(9).is_none());
        assert_eq!(schema.find(2).unwrap().default, Some(json!("1.50")));
        for kind in ["variant", "geometry", "decimal(39,2)"] {
            let fields = json!({"fields": [{"id": 1, "name": "v", "type": kind}]});
            let error = Schema::parse(&fields).unwrap_err().report();
            assert!(error.contains(&format!("`{kind}`")), "{error}");
        }
    }
}
