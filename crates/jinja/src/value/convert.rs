//! Values from and to Rust's own types and JSON.

use std::sync::Arc;

use super::{Dict, List, Str, Tuple, Value};
use crate::error::Error;

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::str(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(Str::new(text))
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Value::Str(Str::new(text))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(number: $type) -> Self {
                Value::Int(number as i128)
            }
        }
    )*};
}
from_integer!(i8, u8, i16, u16, i32, u32, i64, u64, usize, isize, i128);

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Value::None
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::list(items.into_iter().map(Into::into))
    }
}

impl From<List> for Value {
    fn from(list: List) -> Self {
        Value::List(list)
    }
}

impl From<Dict> for Value {
    fn from(dict: Dict) -> Self {
        Value::Dict(dict)
    }
}

impl From<Tuple> for Value {
    fn from(tuple: Tuple) -> Self {
        Value::Tuple(tuple)
    }
}

impl From<&serde_json::Value> for Value {
    /// Objects become dicts in their order; integers beyond 64 bits become floats.
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(flag) => Value::Bool(*flag),
            serde_json::Value::Number(number) => number
                .as_i64()
                .map(Value::from)
                .or_else(|| number.as_u64().map(Value::from))
                .unwrap_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN))),
            serde_json::Value::String(text) => Value::str(text),
            serde_json::Value::Array(items) => Value::list(items.iter().map(Value::from)),
            serde_json::Value::Object(entries) => {
                Value::dict(entries.iter().map(|(key, value)| (key, Value::from(value))))
            }
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Value::from(&json)
    }
}

impl Value {
    /// The value as JSON.
    ///
    /// Tuples become arrays and keys text, as Python's `json` does; what JSON cannot hold is an
    /// error (an object without [`to_json`](crate::Object::to_json), an undefined value, NaN).
    pub fn to_json(&self) -> Result<serde_json::Value, Error> {
        to_json(self, 0)
    }
}

/// A JSON key for a dict key, as Python's `json` writes it.
pub(crate) fn json_key(key: &Value) -> Result<String, Error> {
    Ok(match key {
        Value::Str(text) => text.to_string(),
        Value::None => "null".to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(_) | Value::Float(_) => key.to_string(),
        other => {
            return Err(Error::type_error(format!(
                "keys must be str, int, float, bool or None, not {}",
                other.type_name()
            )));
        }
    })
}

fn to_json(value: &Value, depth: usize) -> Result<serde_json::Value, Error> {
    use serde_json::Value as Json;
    if depth > 100 {
        return Err(Error::runtime(
            "the value is nested too deeply for JSON (does it contain itself?)",
        ));
    }
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => Json::from(*number as f64),
        },
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(Json::Number)
            .ok_or_else(|| Error::runtime("JSON has no number for infinity and nan"))?,
        Value::Str(text) => Json::String(text.to_string()),
        Value::List(list) => array(&list.to_vec(), depth)?,
        Value::Tuple(items) => array(items, depth)?,
        Value::Dict(dict) => {
            let mut entries = serde_json::Map::new();
            for (key, value) in dict.entries() {
                entries.insert(json_key(&key)?, to_json(&value, depth + 1)?);
            }
            Json::Object(entries)
        }
        other => {
            if let Value::Object(object) = other
                && let Some(plain) = object.to_json()
            {
                return to_json(&plain, depth + 1);
            }
            return Err(Error::type_error(format!(
                "Object of type {} is not JSON serializable",
                other.type_name()
            )));
        }
    })
}

fn array(items: &[Value], depth: usize) -> Result<serde_json::Value, Error> {
    items.iter().map(|item| to_json(item, depth + 1)).collect::<Result<Vec<_>, _>>().map(Into::into)
}
