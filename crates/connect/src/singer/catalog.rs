//! What a tap says that it has, and the choice of one stream of it.
//!
//! <https://github.com/singer-io/getting-started/blob/master/docs/DISCOVERY_MODE.md>

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value, json};
use tidemill_core::{Error, ErrorKind, Result, TableDescription};

use crate::files::{ORIGINAL_NAME, column_names};
use crate::json_rows::instant;

use super::StreamSettings;

/// The answer of a discovery.
pub(super) struct Catalog(Value);

impl Catalog {
    pub(super) fn parse(text: &str) -> Result<Catalog> {
        let malformed = || {
            Error::new(ErrorKind::Data, "the tap's answer to --discover is not a Singer catalog")
        };
        let value: Value =
            serde_json::from_str(text).map_err(|error| malformed().because(error))?;
        if value.get("streams").is_none_or(|streams| !streams.is_array()) {
            return Err(malformed());
        }
        Ok(Catalog(value))
    }

    fn streams(&self) -> impl Iterator<Item = &Value> {
        self.0["streams"].as_array().into_iter().flatten()
    }

    pub(super) fn tables(&self) -> Vec<TableDescription> {
        self.streams()
            .filter_map(|stream| {
                let columns = Columns::of(&stream["schema"], &key_of(stream)).ok();
                Some(TableDescription {
                    name: id(stream)?.to_owned(),
                    primary_key: key_of(stream),
                    schema: columns.map(|columns| columns.raw()),
                    rows: None,
                    estimated: false,
                })
            })
            .collect()
    }

    /// The catalog with this stream alone chosen, and the names under which its rows come.
    pub(super) fn select(&self, name: &str, settings: &StreamSettings) -> Result<Selected> {
        let wanted = |stream: &&Value| {
            ["tap_stream_id", "stream", "table_name"].iter().any(|key| stream[*key] == name)
        };
        let Some(chosen) = self.streams().find(wanted).and_then(id) else {
            let names: Vec<&str> = self.streams().filter_map(id).collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the tap has no stream `{name}`; it has: {}", names.join(", ")),
            ));
        };
        let mut catalog = self.0.clone();
        let mut names = vec![chosen.to_owned()];
        for stream in catalog["streams"].as_array_mut().into_iter().flatten() {
            let selected = id(stream) == Some(chosen);
            stream["selected"] = json!(selected);
            if stream["schema"].is_object() {
                stream["schema"]["selected"] = json!(selected);
            }
            if selected {
                names.extend(stream["stream"].as_str().map(str::to_owned));
                settings.check(&stream["schema"])?;
            }
            mark(stream, &[], "selected", json!(selected));
            if selected {
                for column in settings.excluded(&stream["schema"]) {
                    mark(stream, &["properties", &column], "selected", json!(false));
                }
                if let Some(method) = &settings.replication_method {
                    mark(stream, &[], "replication-method", json!(method));
                    stream["replication_method"] = json!(method);
                }
                if let Some(key) = &settings.replication_key {
                    mark(stream, &[], "replication-key", json!(key));
                    stream["replication_key"] = json!(key);
                }
            }
        }
        Ok(Selected { catalog, id: chosen.to_owned(), names })
    }
}

/// A catalog with one stream chosen.
pub(super) struct Selected {
    pub(super) catalog: Value,
    /// The stream's id, by which the state is kept.
    pub(super) id: String,
    /// The names under which its rows may come.
    pub(super) names: Vec<String>,
}

fn id(stream: &Value) -> Option<&str> {
    stream["tap_stream_id"].as_str().or_else(|| stream["stream"].as_str())
}

/// The columns that tell the rows of a stream apart.
fn key_of(stream: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let key = texts(&stream["key_properties"]);
    if !key.is_empty() {
        return key;
    }
    let of_stream = |entry: &&Value| entry["breadcrumb"].as_array().is_some_and(Vec::is_empty);
    let entries = stream["metadata"].as_array();
    match entries.into_iter().flatten().find(of_stream) {
        Some(entry) => texts(&entry["metadata"]["table-key-properties"]),
        None => Vec::new(),
    }
}

/// Sets one thing of the metadata of a stream, or of one of its columns.
fn mark(stream: &mut Value, breadcrumb: &[&str], key: &str, value: Value) {
    if !stream["metadata"].is_array() {
        stream["metadata"] = json!([]);
    }
    let Some(entries) = stream["metadata"].as_array_mut() else { return };
    let breadcrumb = json!(breadcrumb);
    if let Some(entry) = entries.iter_mut().find(|entry| entry["breadcrumb"] == breadcrumb) {
        if entry["metadata"].is_object() {
            entry["metadata"][key] = value;
            return;
        }
        entry["metadata"] = json!({ key: value });
        return;
    }
    entries.push(json!({ "breadcrumb": breadcrumb, "metadata": { key: value } }));
}

/// The columns of a stream, by its JSON schema.
pub(super) struct Columns {
    /// The keys of the records.
    pub(super) keys: Vec<String>,
    /// The columns, by the names that they get.
    pub(super) schema: SchemaRef,
}

impl Columns {
    /// `key` columns come first, as the tap names them.
    pub(super) fn of(schema: &Value, key: &[String]) -> Result<Columns> {
        let Some(properties) = schema["properties"].as_object().filter(|map| !map.is_empty())
        else {
            return Err(Error::new(ErrorKind::Data, "the tap's stream has no columns"));
        };
        let first = key.iter().filter(|key| properties.contains_key(*key));
        let others = properties.keys().filter(|column| !key.contains(column));
        let keys: Vec<String> = first.chain(others).cloned().collect();
        let fields: Vec<Field> = keys
            .iter()
            .zip(column_names(&keys))
            .map(|(key, name)| {
                let field = Field::new(&name, data_type(&properties[key]), true);
                if name == *key {
                    return field;
                }
                field.with_metadata(HashMap::from([(ORIGINAL_NAME.to_owned(), key.clone())]))
            })
            .collect();
        Ok(Columns { keys, schema: Arc::new(Schema::new(fields)) })
    }

    /// The columns by the names that the tap gives them.
    fn raw(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .schema
            .fields()
            .iter()
            .zip(&self.keys)
            .map(|(field, key)| Field::new(key, field.data_type().clone(), true))
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// The type of a property. What is nested, or of several types, is text.
fn data_type(property: &Value) -> DataType {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| property[*key].as_array());
    if let Some(alternatives) = alternatives {
        let mut types = alternatives.iter().filter(|one| one["type"] != "null").map(data_type);
        let first = types.next().unwrap_or(DataType::Utf8);
        return if types.all(|other| other == first) { first } else { DataType::Utf8 };
    }
    let names: Vec<&str> = match &property["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => Vec::new(),
    };
    match names.as_slice() {
        ["integer"] => DataType::Int64,
        ["number"] | ["integer", "number"] | ["number", "integer"] => number(property),
        ["boolean"] => DataType::Boolean,
        ["string"] => match property["format"].as_str() {
            Some("date-time") => instant(),
            Some("date") => DataType::Date32,
            _ => DataType::Utf8,
        },
        _ => DataType::Utf8,
    }
}

/// A number whose smallest step is declared is exact.
fn number(property: &Value) -> DataType {
    let Some(step) = property["multipleOf"].as_f64().filter(|step| *step > 0.0 && *step < 1.0)
    else {
        return DataType::Float64;
    };
    (1..=18)
        .find(|scale| (step * 10f64.powi(*scale)).round() >= 1.0)
        .map_or(DataType::Float64, |scale| {
            DataType::Decimal128(38, i8::try_from(scale).unwrap_or(9))
        })
}

impl StreamSettings {
    fn check(&self, schema: &Value) -> Result<()> {
        let named = self.columns.iter().flatten().map(|name| ("columns", name));
        for (setting, name) in named.chain(self.exclude.iter().map(|name| ("exclude", name))) {
            if schema["properties"].get(name).is_none() {
                let names: Vec<&str> = schema["properties"]
                    .as_object()
                    .map(|map| map.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "`{setting}` names `{name}`, which the stream does not have; it has: {}",
                        names.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The columns that are not wanted.
    fn excluded(&self, schema: &Value) -> Vec<String> {
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        properties
            .keys()
            .filter(|name| {
                self.exclude.contains(name)
                    || self.columns.as_ref().is_some_and(|columns| !columns.contains(name))
            })
            .cloned()
            .collect()
    }

    /// The schema without the columns that are not wanted, whatever the tap makes of its metadata.
    pub(super) fn chosen(&self, mut schema: Value) -> Value {
        for column in self.excluded(&schema) {
            if let Some(properties) = schema["properties"].as_object_mut() {
                properties.shift_remove(&column);
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_types() {
        for (property, expected) in [
            (json!({"type": ["null", "integer"]}), DataType::Int64),
            (json!({"type": "number"}), DataType::Float64),
            (json!({"type": ["number", "null"], "multipleOf": 0.01}), DataType::Decimal128(38, 2)),
            (json!({"type": "number", "multipleOf": 1e-6}), DataType::Decimal128(38, 6)),
            (json!({"type": ["null", "string"], "format": "date-time"}), instant()),
            (json!({"type": "string", "format": "date"}), DataType::Date32),
            (
                json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
                instant(),
            ),
            (json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}), DataType::Utf8),
            (json!({"type": ["integer", "string"]}), DataType::Utf8),
            (json!({"type": "object", "properties": {}}), DataType::Utf8),
            (json!({}), DataType::Utf8),
        ] {
            assert_eq!(data_type(&property), expected, "{property}");
        }
    }

    #[test]
    fn one_stream_is_chosen() {
        let catalog = Catalog::parse(
            r#"{"streams": [
                {"tap_stream_id": "shop-orders", "stream": "orders", "key_properties": ["id"],
                 "schema": {"properties": {"note": {"type": "string"}, "id": {"type": "integer"}}},
                 "metadata": [{"breadcrumb": [], "metadata": {"inclusion": "available"}}]},
                {"tap_stream_id": "other", "stream": "other", "selected": true, "schema": {"selected": true}}
            ]}"#,
        )
        .unwrap();
        let settings =
            StreamSettings { exclude: vec!["note".to_owned()], ..StreamSettings::default() };
        let selected = catalog.select("orders", &settings).unwrap();
        assert_eq!(selected.id, "shop-orders");
        let [one, other] = selected.catalog["streams"].as_array().unwrap().as_slice() else {
            panic!()
        };
        assert_eq!(one["metadata"][0]["metadata"]["selected"], true);
        assert_eq!(one["metadata"][1]["metadata"]["selected"], false);
        assert_eq!(
            (&other["selected"], &other["schema"]["selected"]),
            (&json!(false), &json!(false))
        );
        let columns = Columns::of(&settings.chosen(one["schema"].clone()), &key_of(one)).unwrap();
        assert_eq!(columns.keys, ["id"]);
        let Err(error) = catalog.select("nothing", &settings) else { panic!() };
        assert!(error.message().contains("shop-orders, other"), "{error}");
    }
}
