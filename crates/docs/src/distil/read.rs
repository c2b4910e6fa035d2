//! Lenient reading of artifacts: what is not there or has another form is empty.

use serde_json::{Map, Value};

use crate::site::Field;

/// The text at a key.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The same, owned.
pub(super) fn string(value: &Value, key: &str) -> String {
    text(value, key).to_owned()
}

/// The texts of a list; one text is a list of it.
pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// The entries of an object.
pub(super) fn entries<'a>(
    value: &'a Value,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The items of a list.
pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A value as a person reads it: a text without quotes, a list with commas, else JSON.
pub(super) fn readable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(readable).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Every entry of an object that says something, as fields; addresses can be followed.
pub(super) fn fields(value: Option<&Value>) -> Vec<Field> {
    let Some(Value::Object(object)) = value else { return Vec::new() };
    object
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| field(name, readable(value)))
        .collect()
}

/// A field, which can be followed if its value is an address.
pub(super) fn field(name: &str, value: String) -> Field {
    let address = value.starts_with("https://") || value.starts_with("http://");
    let link =
        if address && !value.contains(char::is_whitespace) { value.clone() } else { String::new() };
    Field { name: name.to_owned(), value, link }
}
