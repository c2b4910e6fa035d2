//! All values that a path with `*` reaches in a JSON text: `$.items[*].name` (DuckDB).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::json::texts;
use super::simple::{Simple, arity, text, text_at};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    fn two(types: &[DataType]) -> Result<Vec<DataType>> {
        arity("json_extract", types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    }
    vec![
        Simple::function(
            "tidemill_json_all",
            two,
            |_, _| Ok(texts()),
            |args, _| all(args, |value| Some(value.to_string())),
        ),
        Simple::function(
            "tidemill_json_all_texts",
            two,
            |_, _| Ok(texts()),
            |args, _| {
                all(args, |value| match value {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                })
            },
        ),
    ]
}

fn all(args: &[ArrayRef], shown: fn(&Value) -> Option<String>) -> Result<ArrayRef> {
    let (documents, paths) = (text(&args[0]), text(&args[1]));
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    for row in 0..documents.len() {
        let (Some(document), Some(path)) = (text_at(documents, row), text_at(paths, row)) else {
            out.append_null();
            continue;
        };
        let document = super::json::parsed(document)?;
        for value in reached(&document, path) {
            out.values().append_option(shown(value));
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// The values under a path, in the order of the text.
fn reached<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    let keys = path
        .strip_prefix('$')
        .unwrap_or(path)
        .split(['.', '[', ']'])
        .map(|key| key.trim_matches(['\'', '"']))
        .filter(|key| !key.is_empty());
    let mut found = vec![document];
    for key in keys {
        let mut next: Vec<&Value> = Vec::new();
        for value in found {
            match (value, key) {
                (Value::Object(map), "*") => next.extend(map.values()),
                (Value::Array(items), "*") => next.extend(items),
                (Value::Object(map), key) => next.extend(map.get(key)),
                (Value::Array(items), key) => {
                    next.extend(key.parse().ok().and_then(|place: usize| items.get(place)));
                }
                _ => {}
            }
        }
        found = next;
    }
    found
}
