//! What is written under `ingest:` of a table that comes from Redis.

use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use crate::queue::{Meta, MetaKind, OnLost, QueueSettings, own_settings};

/// The settings of such a table that other queues do not have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RedisTable {
    /// The key of a stream. Default: the name of the source table.
    stream: Option<String>,
    /// A pattern of keys (`user:*`) whose values are read.
    keys: Option<String>,
    /// Of a stream: the field that is the body of a message. Default: all fields become columns.
    pub(super) field: Option<String>,
    /// Of a stream: what happens when entries went before they were read.
    pub(super) on_lost: OnLost,
    /// Of keys: only those of this type.
    #[serde(rename = "type")]
    pub(super) kind: Option<ValueType>,
    /// What is written as `format`.
    #[serde(skip)]
    pub(super) format: Option<String>,
}

/// The type of a value of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ValueType {
    /// Fields and values: one row.
    Hash,
    /// A text: one row.
    String,
    /// A row for each element.
    List,
    /// A row for each member.
    Set,
    /// A row for each member, with its score.
    Zset,
}

impl ValueType {
    /// As Redis calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            ValueType::Hash => "hash",
            ValueType::String => "string",
            ValueType::List => "list",
            ValueType::Set => "set",
            ValueType::Zset => "zset",
        }
    }

    /// The one that Redis calls so.
    pub(super) fn of(name: &str) -> Option<ValueType> {
        let all =
            [ValueType::Hash, ValueType::String, ValueType::List, ValueType::Set, ValueType::Zset];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// A stream.
    Stream(String),
    /// The keys that match a pattern.
    Keys(String),
}

/// What is known of an entry of a stream.
const STREAM: &[Meta] = &[
    Meta { name: "stream", kind: MetaKind::Topic },
    Meta { name: "id", kind: MetaKind::OffsetText },
    Meta { name: "timestamp", kind: MetaKind::Timestamp },
    Meta { name: "headers", kind: MetaKind::Headers },
];

/// What is known of a key.
const KEYS: &[Meta] = &[
    Meta { name: "key", kind: MetaKind::Key },
    Meta { name: "type", kind: MetaKind::FurtherText(0) },
];

impl Object {
    /// For messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Object::Stream(name) | Object::Keys(name) => name,
        }
    }

    pub(super) fn layout(&self) -> &'static [Meta] {
        match self {
            Object::Stream(_) => STREAM,
            Object::Keys(_) => KEYS,
        }
    }
}

impl RedisTable {
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub(super) fn parse(written: &Value) -> Result<(QueueSettings, RedisTable)> {
        let (common, own) = QueueSettings::take(written)?;
        let mut table: RedisTable = own_settings(own)?;
        let format = written.get("format").and_then(Value::as_str);
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if table.stream.is_some() && table.keys.is_some() {
            return wrong("`stream` and `keys` are two tables: write one of them");
        }
        if table.keys.is_some() && (table.field.is_some() || table.on_lost != OnLost::Error) {
            return wrong("`field` and `on_lost` go with a `stream`");
        }
        if table.keys.is_none() && table.kind.is_some() {
            return wrong("`type` goes with `keys`");
        }
        if table.keys.is_none()
            && table.field.is_none()
            && format.is_some_and(|format| format != "json")
        {
            return wrong(
                "`format` says what the body of an entry is; name the field that holds it: `field: data`",
            );
        }
        table.format = format.map(str::to_owned);
        Ok((common, table))
    }

    /// What is read, as it is written.
    pub(super) fn object(&self, name: &str) -> Object {
        match (&self.keys, &self.stream) {
            (Some(keys), _) => Object::Keys(keys.clone()),
            (None, stream) => Object::Stream(stream.clone().unwrap_or_else(|| name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(written: Value) -> Result<RedisTable> {
        RedisTable::parse(&written).map(|(_, table)| table)
    }

    #[test]
    fn a_table_is_a_stream_or_keys() {
        let object = |written| parse(written).unwrap().object("orders");
        assert_eq!(object(json!({})), Object::Stream("orders".to_owned()));
        assert_eq!(object(json!({"stream": "s"})), Object::Stream("s".to_owned()));
        assert_eq!(object(json!({"keys": "u:*"})), Object::Keys("u:*".to_owned()));
        for (written, named) in [
            (json!({"stream": "a", "keys": "b"}), "`stream` and `keys`"),
            (json!({"keys": "b", "field": "f"}), "`field`"),
            (json!({"keys": "b", "on_lost": "earliest"}), "`on_lost`"),
            (json!({"type": "hash"}), "`type`"),
            (json!({"format": "text"}), "`field: data`"),
            (json!({"on_lost": "ignore"}), "`ignore`"),
            (json!({"keys": "b", "type": "stream"}), "`stream`"),
            (json!({"straem": "b"}), "`straem`"),
        ] {
            let error = parse(written.clone()).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
        assert!(parse(json!({"format": "text", "field": "data"})).is_ok());
    }
}
