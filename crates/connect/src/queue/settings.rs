//! The settings of a table that all queues have, as they stand under `ingest:`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result};

use crate::files::value::{parse_date, parse_timestamp};
use crate::files::{SizeText, size_of};

/// What every table of a queue may say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QueueSettings {
    /// What the body of a message is: `json` (the default), `text`, `bytes`, `csv` or `avro`.
    pub(crate) format: Format,
    /// The column of a body of text or bytes. Default `value`.
    pub(crate) value_column: Option<String>,
    /// What the key is: `text` (the default), `bytes`, `json` or `avro`. The members of a key that is an
    /// object become columns where the body has none of that name.
    pub(crate) key_format: KeyFormat,
    /// The column of the key. Default `_key`.
    pub(crate) key_column: Option<String>,
    /// Which columns of what the queue knows of a message there are: a list of names, a mapping of names
    /// to columns, `false` for none. Default: all that the queue has.
    pub(crate) metadata: MetadataSetting,
    /// What a message without a body is: a row without values (`keep`, the default), or the end of the row
    /// with its key (`delete`, with `mode: merge`).
    pub(crate) tombstones: Tombstones,
    /// Where the first read begins: `earliest` (the default), `latest`, a time, an offset, or a mapping of
    /// partitions to offsets.
    pub(crate) start: Start,
    /// How many messages one load takes. Default: all.
    pub(crate) max_messages: Option<u64>,
    /// How many bytes of messages one load takes, about. Default `8GiB`.
    pub(crate) max_bytes: Option<SizeText>,
    /// CSV: the names of the fields, in their order.
    pub(crate) columns: Option<Vec<String>>,
    /// CSV: what separates fields. Default `,`.
    pub(crate) delimiter: Option<String>,
    /// How dates are written (`strftime`), in place of `YYYY-MM-DD`.
    pub(crate) date_format: Option<String>,
    /// How times are written (`strftime`), in place of ISO 8601.
    pub(crate) timestamp_format: Option<String>,
    /// The longest body in JSON or CSV that is read. Default `16MiB`.
    pub(crate) max_record_bytes: Option<Value>,
    /// Avro: the file with the one schema of all bodies, relative to the project. Default: the schema
    /// registry of the connection says it.
    pub(crate) schema: Option<String>,
    /// Avro: the file with the one schema of all keys.
    pub(crate) key_schema: Option<String>,
}

/// What the body of a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// An object in JSON: its members become columns.
    #[default]
    Json,
    /// A text in UTF-8: one column.
    Text,
    /// Bytes: one column.
    Bytes,
    /// One row of separated values.
    Csv,
    /// Avro.
    Avro,
    /// What is refused by name.
    Protobuf,
}

/// What the key of a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyFormat {
    /// A text in UTF-8.
    #[default]
    Text,
    /// Bytes.
    Bytes,
    /// JSON.
    Json,
    /// Avro.
    Avro,
    /// What is refused by name.
    Protobuf,
}

/// What a message without a body is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tombstones {
    /// A row without values.
    #[default]
    Keep,
    /// The end of the row with its key.
    Delete,
}

/// Which columns of what the queue knows there are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum MetadataSetting {
    /// All, by their usual names.
    #[default]
    All,
    /// All or none.
    Switch(bool),
    /// These, by their usual names.
    List(Vec<String>),
    /// These, by these names.
    Names(BTreeMap<String, String>),
}

/// Where the first read begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the oldest message that is there.
    #[default]
    Earliest,
    /// With the first message that comes after the first load.
    Latest,
    /// With the first message that is not older: microseconds since 1970.
    At(i64),
    /// With this offset, in every partition.
    Offset(i64),
    /// With these offsets of partitions; others from the beginning.
    Offsets(BTreeMap<i32, i64>),
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;

        let written = Value::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format!(
                "expected `earliest`, `latest`, a time such as `2024-05-01T00:00:00Z`, an offset, or a mapping \
                 of partitions to offsets, not `{written}`"
            ))
        };
        match &written {
            Value::String(word) if word == "earliest" => Ok(Start::Earliest),
            Value::String(word) if word == "latest" => Ok(Start::Latest),
            Value::String(time) => {
                let instant = parse_timestamp(time.as_bytes()).map(|instant| instant.micros);
                let date = || Some(i64::from(parse_date(time.as_bytes())?) * 86_400_000_000);
                instant.or_else(date).map(Start::At).ok_or_else(wrong)
            }
            Value::Number(number) => number.as_i64().map(Start::Offset).ok_or_else(wrong),
            Value::Object(map) => {
                let each = map.iter().map(|(partition, offset)| {
                    Some((partition.parse::<i32>().ok()?, offset.as_i64()?))
                });
                each.collect::<Option<BTreeMap<i32, i64>>>().map(Start::Offsets).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

const KEYS: [&str; 16] = [
    "format",
    "value_column",
    "key_format",
    "key_column",
    "metadata",
    "tombstones",
    "start",
    "max_messages",
    "max_bytes",
    "columns",
    "delimiter",
    "date_format",
    "timestamp_format",
    "max_record_bytes",
    "schema",
    "key_schema",
];

impl QueueSettings {
    /// Takes these settings out of what is written under `ingest:`; the rest is the connector's, which reads
    /// it by [`own_settings`].
    ///
    /// # Errors
    /// Kind `Config`, or `Unsupported` for a format that is known and not read; the message names the setting
    /// in backticks.
    pub(crate) fn take(written: &Value) -> Result<(QueueSettings, Value)> {
        let wrong = |message: String| Error::new(ErrorKind::Config, message);
        let Some(object) = written.as_object() else {
            return Err(wrong("`ingest` must be a mapping".to_owned()));
        };
        let (common, own): (Map<String, Value>, Map<String, Value>) = object
            .clone()
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .partition(|(key, _)| KEYS.contains(&key.as_str()));
        // One at a time, so that a message can name the setting that is wrong.
        for (key, setting) in &common {
            let one = Map::from_iter([(key.clone(), setting.clone())]);
            if let Err(error) = serde_json::from_value::<QueueSettings>(one.into()) {
                return Err(wrong(format!("`{key}` under `ingest` is wrong: {error}")));
            }
        }
        let settings: QueueSettings =
            serde_json::from_value(Value::Object(common)).map_err(|error| {
                wrong("the settings under `ingest` are wrong".into()).because(error)
            })?;
        settings.check()?;
        Ok((settings, Value::Object(own)))
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if self.format == Format::Protobuf || self.key_format == KeyFormat::Protobuf {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "messages in Protobuf are not read; take them as they are by `format: bytes` (of keys by \
                 `key_format: bytes`), or have them sent as JSON or Avro",
            ));
        }
        if self.format == Format::Csv && self.columns.as_ref().is_none_or(Vec::is_empty) {
            return wrong("`format: csv` needs `columns`: the names of the fields, in their order");
        }
        if self.format != Format::Csv && (self.columns.is_some() || self.delimiter.is_some()) {
            return wrong("`columns` and `delimiter` go with `format: csv`");
        }
        if self.value_column.is_some() && !matches!(self.format, Format::Text | Format::Bytes) {
            return wrong("`value_column` goes with `format: text` or `bytes`");
        }
        if self.format == Format::Csv && self.key_format == KeyFormat::Json {
            return wrong(
                "`key_format: json` does not go with `format: csv`; use `key_format: text`",
            );
        }
        let lines = matches!(self.format, Format::Json | Format::Csv);
        if lines && self.key_format == KeyFormat::Avro {
            return wrong(
                "`key_format: avro` goes with `format: avro`, `text` and `bytes`; with JSON or CSV take keys by \
                 `key_format: bytes`",
            );
        }
        if self.format != Format::Json && self.key_format == KeyFormat::Json {
            return wrong("`key_format: json` goes with `format: json`; use `key_format: text`");
        }
        if self.schema.is_some() && self.format != Format::Avro {
            return wrong("`schema` goes with `format: avro`");
        }
        if self.key_schema.is_some() && self.key_format != KeyFormat::Avro {
            return wrong("`key_schema` goes with `key_format: avro`");
        }
        self.bytes_of_load().map(drop)
    }

    /// How many bytes one load takes.
    pub(super) fn bytes_of_load(&self) -> Result<u64> {
        match &self.max_bytes {
            None => Ok(8 << 30),
            Some(written) => size_of("max_bytes", written),
        }
    }
}

/// The settings that a connector has of its own.
///
/// # Errors
/// Kind `Config` for a setting that neither it nor [`QueueSettings`] knows.
pub(crate) fn own_settings<T: DeserializeOwned>(rest: Value) -> Result<T> {
    serde_json::from_value(rest).map_err(|error| {
        let common = KEYS.join("`, `");
        let more = match error.to_string().starts_with("unknown field") {
            true => format!("; and of every queue `{common}`"),
            false => String::new(),
        };
        Error::new(ErrorKind::Config, format!("{error}{more}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        topic: String,
    }

    #[test]
    fn settings_are_split() {
        let written = json!({"topic": "orders", "format": "text", "start": "latest"});
        let (common, own) = QueueSettings::take(&written).unwrap();
        assert_eq!((common.format, common.start), (Format::Text, Start::Latest));
        assert_eq!(own_settings::<Own>(own).unwrap().topic, "orders");
        let (_, own) = QueueSettings::take(&json!({"topic": "a", "fromat": "text"})).unwrap();
        let error = own_settings::<Own>(own).unwrap_err();
        assert!(error.message().contains("`fromat`") && error.message().contains("`format`"));
    }

    #[test]
    fn a_start_is_a_word_a_time_or_offsets() {
        let of = |start: Value| {
            QueueSettings::take(&json!({"start": start})).map(|(settings, _)| settings.start)
        };
        assert_eq!(of(json!("earliest")).unwrap(), Start::Earliest);
        assert_eq!(of(json!("1970-01-02")).unwrap(), Start::At(86_400_000_000));
        assert_eq!(of(json!("1970-01-01T00:00:01Z")).unwrap(), Start::At(1_000_000));
        assert_eq!(of(json!(7)).unwrap(), Start::Offset(7));
        assert_eq!(of(json!({"1": 5})).unwrap(), Start::Offsets([(1, 5)].into()));
        for wrong in [json!("soon"), json!({"a": 1}), json!([1])] {
            let error = of(wrong).unwrap_err();
            assert!(error.message().contains("`start`"), "{error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (written, named) in [
            (json!({"format": "protobuf"}), "Protobuf"),
            (json!({"key_format": "protobuf"}), "Protobuf"),
            (json!({"format": "csv"}), "`columns`"),
            (json!({"columns": ["a"]}), "`format: csv`"),
            (json!({"value_column": "a"}), "`value_column`"),
            (json!({"schema": "a.avsc"}), "`schema`"),
            (json!({"key_format": "avro"}), "`format: avro`"),
            (json!({"format": "text", "key_format": "json"}), "`format: json`"),
            (json!({"key_schema": "a.avsc"}), "`key_schema`"),
            (json!({"max_bytes": "much"}), "`max_bytes`"),
            (json!({"tombstones": "drop"}), "`tombstones`"),
        ] {
            let error = QueueSettings::take(&written).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
    }
}
