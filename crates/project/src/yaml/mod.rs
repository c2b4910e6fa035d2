//! YAML as dbt reads it (PyYAML's safe loader), with the place of every value.
//!
//! Scalars have PyYAML's types (`yes` is true, `1e5` is text, `0777` is octal), anchors and merge
//! keys are expanded within a budget, and keys that occur twice are reported: the last one counts.

mod indent;
mod parse;
pub(crate) mod render;
mod scalar;
mod write;

use serde_json::{Map, Value};
use tidemill_core::SourcePosition;

pub use parse::{Parsed, parse, parse_stripped};
pub use write::write;

use crate::file::SourceFile;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Yaml {
    /// The value.
    pub kind: Kind,
    /// First byte in the file.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A value without its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `yes`, `on`, …
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// Everything else, dates included.
    Text(String),
    /// `- a` or `[a]`.
    List(Vec<Yaml>),
    /// `a: b` or `{a: b}`, keys as text in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Where the key stands.
    pub key_start: usize,
    /// Where the key ends.
    pub key_end: usize,
    /// The value.
    pub value: Yaml,
}

impl Yaml {
    /// A null at a place.
    pub fn null(at: usize) -> Self {
        Yaml { kind: Kind::Null, start: at, end: at }
    }

    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key and its value, when this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The keys and values; empty when this is not a mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items; empty when this is not a list.
    pub fn items(&self) -> &[Yaml] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The text, when this is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of any scalar, as a person would write it.
    pub fn scalar_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Bool(flag) => Some(if *flag { "true" } else { "false" }.to_owned()),
            Kind::Int(number) => Some(number.to_string()),
            Kind::Float(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// Whether this is a mapping.
    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    /// What it is, with an article, for messages.
    pub fn described(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The plain value, without places.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(flag) => Value::Bool(*flag),
            Kind::Int(number) => Value::from(*number),
            Kind::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => Value::Number(number),
                None if number.is_nan() => Value::from("nan"),
                None => Value::from(if *number > 0.0 { "inf" } else { "-inf" }),
            },
            Kind::Text(text) => Value::from(text.as_str()),
            Kind::List(items) => Value::Array(items.iter().map(Yaml::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
        }
    }

    /// The plain mapping; empty when this is not a mapping.
    pub fn to_map(&self) -> Map<String, Value> {
        match self.to_json() {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// Where it stands.
    pub fn position(&self, file: &SourceFile) -> SourcePosition {
        file.position(self.start, self.end)
    }
}

impl Entry {
    /// Where the key stands.
    pub fn position(&self, file: &SourceFile) -> SourcePosition {
        file.position(self.key_start, self.key_end)
    }
}
