//! The columns of what a queue knows of a message.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result};

use super::Offset;
use super::envelope::Envelope;
use super::settings::{KeyFormat, MetadataSetting, QueueSettings};
use crate::json_rows::instant;

/// A column that a queue has of each message. Its usual name is this one behind `_`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    /// `topic`, `offset`, ….
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: MetaKind,
}

/// What such a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetaKind {
    /// [`super::Message::topic`], text.
    Topic,
    /// The part of the topic, an integer.
    Partition,
    /// The offset: a bigint,
    Offset,
    /// or text.
    OffsetText,
    /// When it was sent, a timestamptz.
    Timestamp,
    /// The key: text, or bytes with `key_format: bytes`. Its name is `key_column`.
    Key,
    /// The headers as an object in JSON: text.
    Headers,
    /// Of [`super::Message::further`] the value of this number: text,
    FurtherText(usize),
    /// a bigint,
    FurtherInteger(usize),
    /// or a truth value.
    FurtherBoolean(usize),
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct MetaColumn {
    pub(super) name: String,
    kind: MetaKind,
    data_type: DataType,
}

impl MetaColumn {
    /// Its type before what the project declares.
    pub(super) fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), true)
    }

    /// Its values of these messages. An error is the number of a message and why it cannot be read.
    pub(super) fn values(&self, messages: &[Envelope]) -> (ArrayRef, Vec<(usize, String)>) {
        let mut bad = Vec::new();
        let of = messages.iter().map(|envelope| &envelope.message);
        let array: ArrayRef = match self.kind {
            MetaKind::Topic => {
                let mut column = StringBuilder::new();
                of.for_each(|message| column.append_value(&message.topic));
                Arc::new(column.finish())
            }
            MetaKind::Partition => {
                let mut column = Int32Builder::new();
                of.for_each(|message| column.append_option(message.partition));
                Arc::new(column.finish())
            }
            MetaKind::Offset => {
                let mut column = Int64Builder::new();
                of.for_each(|message| match message.offset {
                    Offset::Number(offset) => column.append_value(offset),
                    _ => column.append_null(),
                });
                Arc::new(column.finish())
            }
            MetaKind::OffsetText => {
                let mut column = StringBuilder::new();
                of.for_each(|message| match &message.offset {
                    Offset::Text(name) => column.append_value(name),
                    Offset::Number(offset) => column.append_value(offset.to_string()),
                    Offset::None => column.append_null(),
                });
                Arc::new(column.finish())
            }
            MetaKind::Timestamp => {
                let mut column =
                    TimestampMicrosecondBuilder::new().with_data_type(self.data_type.clone());
                of.for_each(|message| column.append_option(message.timestamp));
                Arc::new(column.finish())
            }
            MetaKind::Key if self.data_type == DataType::Binary => {
                let mut column = BinaryBuilder::new();
                of.for_each(|message| column.append_option(message.key.as_deref()));
                Arc::new(column.finish())
            }
            MetaKind::Key => {
                let mut column = StringBuilder::new();
                for (row, message) in of.enumerate() {
                    match message.key.as_deref().map(std::str::from_utf8) {
                        None => column.append_null(),
                        Some(Ok(key)) => column.append_value(key),
                        Some(Err(_)) => {
                            column.append_null();
                            let reason =
                                "the key is not UTF-8; `key_format: bytes` takes it as it is";
                            bad.push((row, reason.to_owned()));
                        }
                    }
                }
                Arc::new(column.finish())
            }
            MetaKind::Headers => {
                let mut column = StringBuilder::new();
                of.for_each(|message| column.append_option(headers(&message.headers)));
                Arc::new(column.finish())
            }
            MetaKind::FurtherText(number) => {
                let mut column = StringBuilder::new();
                of.for_each(|message| match message.further.get(number) {
                    None | Some(Value::Null) => column.append_null(),
                    Some(Value::String(text)) => column.append_value(text),
                    Some(other) => column.append_value(other.to_string()),
                });
                Arc::new(column.finish())
            }
            MetaKind::FurtherInteger(number) => {
                let mut column = Int64Builder::new();
                let value = |found: Option<&Value>| found.and_then(Value::as_i64);
                of.for_each(|message| column.append_option(value(message.further.get(number))));
                Arc::new(column.finish())
            }
            MetaKind::FurtherBoolean(number) => {
                let mut column = BooleanBuilder::new();
                let value = |found: Option<&Value>| found.and_then(Value::as_bool);
                of.for_each(|message| column.append_option(value(message.further.get(number))));
                Arc::new(column.finish())
            }
        };
        (array, bad)
    }
}

/// Headers as an object; `None` without any. A name that occurs again has a list of its values, and a
/// value that is no UTF-8 stands as `base64:` and its digits.
fn headers(headers: &[(String, Option<bytes::Bytes>)]) -> Option<String> {
    if headers.is_empty() {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in headers {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let value = |value: &Option<bytes::Bytes>| match value.as_deref() {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(format!("base64:{}", STANDARD.encode(bytes))),
        },
    };
    let mut object = Map::new();
    for name in names {
        let mut values: Vec<Value> =
            headers.iter().filter(|(own, _)| own == name).map(|(_, own)| value(own)).collect();
        let one = if values.len() == 1 { values.pop() } else { None };
        object.insert(name.to_owned(), one.unwrap_or(Value::Array(values)));
    }
    Some(Value::Object(object).to_string())
}

/// The columns that the settings ask for.
///
/// # Errors
/// Kind `Config` for a name that the queue does not know, or a column that would be there twice.
pub(super) fn columns(layout: &[Meta], settings: &QueueSettings) -> Result<Vec<MetaColumn>> {
    let wrong = |message: String| Error::new(ErrorKind::Config, message);
    let known = || layout.iter().map(|meta| meta.name).collect::<Vec<_>>().join(", ");
    let usual = |name: &str| layout.iter().find(|meta| meta.name == name.trim_start_matches('_'));
    let own_name = |meta: &Meta| match (&settings.key_column, meta.kind) {
        (Some(name), MetaKind::Key) => name.clone(),
        _ => format!("_{}", meta.name),
    };
    let mut chosen: Vec<(&Meta, String)> = Vec::new();
    match &settings.metadata {
        MetadataSetting::All => chosen.extend(layout.iter().map(|meta| (meta, own_name(meta)))),
        MetadataSetting::Switch(on) => {
            let all = layout.iter().filter(|_| *on);
            chosen.extend(all.map(|meta| (meta, own_name(meta))));
        }
        MetadataSetting::List(names) => {
            for name in names {
                let meta = usual(name).ok_or_else(|| {
                    wrong(format!("`metadata` names `{name}`; this queue has: {}", known()))
                })?;
                chosen.push((meta, own_name(meta)));
            }
        }
        MetadataSetting::Names(names) => {
            for (name, column) in names {
                let meta = usual(name).ok_or_else(|| {
                    wrong(format!("`metadata` names `{name}`; this queue has: {}", known()))
                })?;
                chosen.push((meta, column.clone()));
            }
        }
    }
    let key = layout.iter().find(|meta| meta.kind == MetaKind::Key);
    match (key, &settings.key_column) {
        (None, Some(_)) => {
            return Err(wrong("messages of this queue have no keys (`key_column`)".to_owned()));
        }
        (Some(key), Some(column)) if !chosen.iter().any(|(meta, _)| meta.kind == MetaKind::Key) => {
            chosen.push((key, column.clone()));
        }
        _ => {}
    }
    for (at, (_, name)) in chosen.iter().enumerate() {
        if chosen[..at].iter().any(|(_, other)| other == name) {
            return Err(wrong(format!("`metadata` has the column `{name}` twice")));
        }
    }
    let data_type = |kind| match kind {
        MetaKind::Partition => DataType::Int32,
        MetaKind::Offset | MetaKind::FurtherInteger(_) => DataType::Int64,
        MetaKind::Timestamp => instant(),
        MetaKind::Key if settings.key_format == KeyFormat::Bytes => DataType::Binary,
        MetaKind::FurtherBoolean(_) => DataType::Boolean,
        _ => DataType::Utf8,
    };
    let column = |(meta, name): (&Meta, String)| MetaColumn {
        name,
        kind: meta.kind,
        data_type: data_type(meta.kind),
    };
    Ok(chosen.into_iter().map(column).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::queue::Message;

    const LAYOUT: &[Meta] = &[
        Meta { name: "topic", kind: MetaKind::Topic },
        Meta { name: "offset", kind: MetaKind::Offset },
        Meta { name: "key", kind: MetaKind::Key },
        Meta { name: "headers", kind: MetaKind::Headers },
    ];

    fn names(written: Value) -> Result<Vec<String>> {
        let (settings, _) = QueueSettings::take(&written)?;
        Ok(columns(LAYOUT, &settings)?.into_iter().map(|column| column.name).collect())
    }

    #[test]
    fn columns_are_chosen_and_named() {
        assert_eq!(names(json!({})).unwrap(), ["_topic", "_offset", "_key", "_headers"]);
        assert_eq!(names(json!({"key_column": "id"})).unwrap()[2], "id");
        assert!(names(json!({"metadata": false})).unwrap().is_empty());
        assert_eq!(names(json!({"metadata": ["_offset"]})).unwrap(), ["_offset"]);
        let renamed = names(json!({"metadata": {"offset": "at"}, "key_column": "id"})).unwrap();
        assert_eq!(renamed, ["at", "id"]);
        let error = names(json!({"metadata": ["ofset"]})).unwrap_err();
        assert!(error.message().contains("topic, offset, key"), "{error}");
        assert!(names(json!({"metadata": {"offset": "a", "topic": "a"}})).is_err());
    }

    #[test]
    fn headers_keep_every_value() {
        let header =
            |name: &str, value: &'static [u8]| (name.to_owned(), Some(Bytes::from_static(value)));
        let all =
            [header("b", b"1"), header("a", b"x"), header("b", b"\xff"), ("c".to_owned(), None)];
        let text = headers(&all).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object, json!({"a": "x", "b": ["1", "base64:/w=="], "c": null}));
        assert_eq!(headers(&[]), None);
    }

    #[test]
    fn a_key_that_is_no_text_is_said() {
        let (settings, _) = QueueSettings::take(&json!({})).unwrap();
        let columns = columns(LAYOUT, &settings).unwrap();
        let of = |key: &'static [u8]| {
            let key = Some(Bytes::from_static(key));
            Envelope { message: Message { key, ..Message::default() }, ..Envelope::default() }
        };
        let (array, bad) = columns[2].values(&[of(b"a"), of(b"\xff")]);
        assert_eq!(array.as_string::<i32>().value(0), "a");
        assert_eq!(bad.len(), 1);
        assert!(bad[0].0 == 1 && bad[0].1.contains("key_format: bytes"), "{bad:?}");
    }
}
