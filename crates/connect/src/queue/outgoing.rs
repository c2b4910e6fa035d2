//! Rows on their way to a queue: each is a message whose body is the row in JSON.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tidemill_core::{Delivery, DeliveryMode, Error, ErrorKind, Result, ResultExt, display_value};
use xxhash_rust::xxh3::Xxh3;

use crate::json_text::rows_writer;

/// The longest that all that is written to find a delivery again may be.
const LONGEST_NAME: usize = 200;

/// A place without columns in it.
pub(crate) const ANYTHING: &[char] = &[];

/// Names of columns: one, or a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a column or a list of columns is expected")]
        enum Written {
            One(String),
            Many(Vec<String>),
        }
        Ok(Names(match Written::deserialize(deserializer)? {
            Written::One(name) => vec![name],
            Written::Many(names) => names,
        }))
    }
}

/// Headers of messages, and the columns that they are taken from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let wrong = "columns, or names of headers with a column each, are expected";
        let own = |value: &Value| -> std::result::Result<String, D::Error> {
            match value {
                Value::String(column) => Ok(column.clone()),
                _ => Err(serde::de::Error::custom(wrong)),
            }
        };
        Ok(Headers(match Value::deserialize(deserializer)? {
            Value::Null => Vec::new(),
            Value::Object(named) => named
                .iter()
                .map(|(name, column)| Ok((name.clone(), own(column)?)))
                .collect::<std::result::Result<_, D::Error>>()?,
            Value::Array(columns) => columns
                .iter()
                .map(|column| own(column).map(|column| (column.clone(), column)))
                .collect::<std::result::Result<_, D::Error>>()?,
            one => vec![own(&one).map(|column| (column.clone(), column))?],
        }))
    }
}

/// `to` of an export, as its kind of queue takes it.
///
/// # Errors
/// Kind `Config`.
pub(crate) fn parse_to<T: serde::de::DeserializeOwned>(
    to: &Map<String, Value>,
    example: &str,
) -> Result<T> {
    serde_json::from_value(Value::Object(to.clone())).map_err(|wrong| {
        Error::new(ErrorKind::Config, format!("`to` of the export: {wrong}")).with("help", example)
    })
}

/// A queue without keys takes whole states and further ones.
///
/// # Errors
/// Kind `Unsupported`.
pub(crate) fn check_mode(delivery: &Delivery, system: &str) -> Result<()> {
    match &delivery.mode {
        DeliveryMode::Full => Ok(()),
        DeliveryMode::Append { key } if key.is_empty() => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{system} does not say which keys it has, so that rows go there by `mode: full` and `append` without a \
                 `primary_key`"
            ),
        )
        .with("help", "a topic of Kafka that is compacted takes `mode: merge`")),
    }
}

/// A text with columns in braces: `orders.{region}`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(usize),
}

impl Template {
    fn parse(written: &str, schema: &Schema, setting: &str) -> Result<Template> {
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some((text, behind)) = rest.split_once('{') {
            let Some((column, after)) = behind.split_once('}') else {
                let message = format!("`{setting}: {written}` has a brace that does not end");
                return Err(Error::new(ErrorKind::Config, message));
            };
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            parts.push(Part::Column(column_of(schema, column, setting)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template(parts))
    }
}

fn column_of(schema: &Schema, name: &str, setting: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        Error::new(
            ErrorKind::Config,
            format!("`{setting}` names the column `{name}`, which the model does not have"),
        )
    })
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The subject, routing key or topic.
    pub(crate) place: String,
    /// None where a column of it is NULL, or where there is none.
    pub(crate) key: Option<Bytes>,
    /// A header whose column is NULL is left out.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The same for the same row at the same place of the same state.
    pub(crate) id: u128,
}

/// How rows become messages.
pub(crate) struct Outgoings {
    place: Template,
    /// What a word of the place may not have.
    forbidden: &'static [char],
    setting: &'static str,
    key: Vec<usize>,
    headers: Vec<(String, usize)>,
    of: Xxh3,
    /// How many there were.
    pub(crate) rows: u64,
}

impl Outgoings {
    /// Of the rows of a delivery. `setting` is what says their place, `place`; values of columns in it may not have
    /// the `forbidden` characters.
    ///
    /// # Errors
    /// Kind `Config`.
    pub(crate) fn new(
        delivery: &Delivery,
        schema: &Schema,
        (setting, place, forbidden): (&'static str, &str, &'static [char]),
        key: &[String],
        headers: &Headers,
    ) -> Result<Outgoings> {
        let mut of = Xxh3::new();
        of.update(delivery.export.as_bytes());
        of.update(&[0]);
        of.update(delivery.state.as_bytes());
        of.update(&[0]);
        if delivery.again {
            // What was delivered is to come again.
            of.update(delivery.run.to_string().as_bytes());
        }
        let headers = headers.0.iter();
        Ok(Outgoings {
            place: Template::parse(place, schema, setting)?,
            forbidden,
            setting,
            key: key.iter().map(|name| column_of(schema, name, "key")).collect::<Result<_>>()?,
            headers: headers
                .map(|(name, column)| Ok((name.clone(), column_of(schema, column, "headers")?)))
                .collect::<Result<_>>()?,
            of,
            rows: 0,
        })
    }

    /// The messages of some rows.
    ///
    /// # Errors
    /// Kind `Data` for a value that has no room in the place of a message; it names the row.
    pub(crate) fn of(&mut self, batch: &RecordBatch) -> Result<Vec<Outgoing>> {
        let bodies = lines(batch)?;
        let keys = match self.key.as_slice() {
            [] => None,
            [one] => {
                let column = batch.column(*one);
                let text = |row| Bytes::from(display_value(column, row));
                Some((0..batch.num_rows()).map(text).collect::<Vec<_>>())
            }
            many => {
                let columns =
                    batch.project(many).or_error(ErrorKind::Internal, "the key is not there")?;
                Some(lines(&columns)?)
            }
        };
        let mut messages = Vec::with_capacity(batch.num_rows());
        for (row, body) in bodies.into_iter().enumerate() {
            let is_null = self.key.iter().any(|column| batch.column(*column).is_null(row));
            let key = keys.as_ref().filter(|_| !is_null).map(|keys| keys[row].clone());
            let place = self.place(batch, row)?;
            let header = |(name, column): &(String, usize)| {
                let column: &ArrayRef = batch.column(*column);
                column.is_valid(row).then(|| (name.clone(), display_value(column, row)))
            };
            let headers = self.headers.iter().filter_map(header).collect();
            let mut of = self.of.clone();
            of.update(&self.rows.to_le_bytes());
            of.update(&body);
            self.rows += 1;
            messages.push(Outgoing { place, key, headers, body, id: of.digest128() });
        }
        Ok(messages)
    }

    fn place(&self, batch: &RecordBatch, row: usize) -> Result<String> {
        let mut place = String::new();
        for part in &self.place.0 {
            match part {
                Part::Text(text) => place.push_str(text),
                Part::Column(column) => {
                    let value = display_value(batch.column(*column), row);
                    if value.is_empty() || value.contains(self.forbidden) {
                        let name = batch.schema_ref().field(*column).name().clone();
                        return Err(Error::new(
                            ErrorKind::Data,
                            format!("a value cannot stand in `{}`: `{value}`", self.setting),
                        )
                        .with("row", self.rows + 1)
                        .with("column", name));
                    }
                    place.push_str(&value);
                }
            }
        }
        Ok(place)
    }
}

/// Rows as objects in JSON, by the rules of files.
fn lines(batch: &RecordBatch) -> Result<Vec<Bytes>> {
    let refused = "the rows cannot be written as JSON";
    let mut writer = rows_writer(Vec::new());
    writer.write(batch).or_error(ErrorKind::Unsupported, refused)?;
    writer.finish().or_error(ErrorKind::Internal, refused)?;
    let whole = Bytes::from(writer.into_inner());
    let mut lines = Vec::with_capacity(batch.num_rows());
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', &whole) {
        lines.push(whole.slice(from..end));
        from = end + 1;
    }
    match lines.len() == batch.num_rows() {
        true => Ok(lines),
        false => Err(Error::new(ErrorKind::Internal, refused)),
    }
}

/// The keys of a delivery: each comes once, and none is NULL.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashSet<u128>);

impl Keys {
    /// # Errors
    /// Kind `Data`.
    pub(crate) fn take(&mut self, message: &Outgoing, delivery: &Delivery) -> Result<Bytes> {
        let names = delivery.mode.key();
        let Some(key) = &message.key else {
            crate::delivery::wrong_keys(1, None, names, delivery)?;
            return Ok(Bytes::new());
        };
        if !self.0.insert(xxhash_rust::xxh3::xxh3_128(key)) {
            let twice = String::from_utf8_lossy(key).into_owned();
            crate::delivery::wrong_keys(0, Some(twice), names, delivery)?;
        }
        Ok(key.clone())
    }
}

/// What an export is called in a queue, where names are short and have few characters.
pub(crate) fn plain_name(export: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let plain: String = export.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    match plain == export && export.len() <= LONGEST_NAME {
        true => plain,
        // Two names may look alike.
        false => {
            let start: String = plain.chars().take(LONGEST_NAME / 2).collect();
            format!("{start}-{:016x}", xxhash_rust::xxh3::xxh3_64(export.as_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use serde_json::json;
    use tidemill_core::{Cancellation, NewColumns, RelationName, RunId};

    use super::*;

    fn delivery(state: &str) -> Delivery {
        Delivery {
            export: "events.orders".to_owned(),
            to: Map::new(),
            mode: DeliveryMode::Full,
            new_columns: NewColumns::Refuse,
            relation: RelationName::new("main", "orders"),
            state: state.to_owned(),
            again: false,
            run: RunId::new("r"),
            cancel: Cancellation::new(),
        }
    }

    fn batch() -> RecordBatch {
        let names = StringArray::from(vec![Some("a\n"), None, Some("a\n")]);
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 2, 1])) as ArrayRef),
            ("name", Arc::new(names) as ArrayRef),
        ])
        .unwrap()
    }

    const FORBIDDEN: &[char] = &['.', '\n'];

    fn messages(state: &str, key: &[&str], headers: Value, place: &str) -> Result<Vec<Outgoing>> {
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        let headers: Headers = serde_json::from_value(headers).unwrap();
        let batch = batch();
        let place = ("subject", place, FORBIDDEN);
        Outgoings::new(&delivery(state), batch.schema_ref(), place, &key, &headers)?.of(&batch)
    }

    #[test]
    fn rows_are_messages() {
        let found = messages("a", &["id"], json!(["name"]), "orders.{id}.x").unwrap();
        assert_eq!(found[0].body, r#"{"id":1,"name":"a\n"}"#);
        assert_eq!(found[1].body, r#"{"id":2,"name":null}"#);
        assert_eq!(
            (found[1].place.as_str(), found[1].key.as_deref()),
            ("orders.2.x", Some(&b"2"[..]))
        );
        assert_eq!(found[0].headers, [("name".to_owned(), "a\n".to_owned())]);
        assert!(found[1].headers.is_empty());
        // Two rows that are the same are two messages, and those of the same state are the same again.
        assert_ne!(found[0].id, found[2].id);
        assert_eq!(found, messages("a", &["id"], json!("name"), "orders.{id}.x").unwrap());
        let other = messages("b", &["id"], json!({"h": "name"}), "orders").unwrap();
        assert_ne!(found[0].id, other[0].id);
        assert_eq!(other[0].headers[0].0, "h");
        let several = messages("a", &["id", "name"], json!(null), "o").unwrap();
        assert_eq!(several[0].key.as_deref(), Some(br#"{"id":1,"name":"a\n"}"#.as_slice()));
        assert_eq!(several[1].key, None);
    }

    #[test]
    fn what_has_no_room_is_said() {
        for (place, says) in [
            ("orders.{what}", "`subject` names the column `what`"),
            ("orders.{id", "does not end"),
            ("orders.{name}", "cannot stand in `subject`"),
        ] {
            let error = messages("a", &[], json!(null), place).unwrap_err();
            assert!(error.message().contains(says), "{place}: {error}");
        }
    }

    #[test]
    fn names_are_plain_and_differ() {
        assert_eq!(plain_name("orders_out"), "orders_out");
        assert_ne!(plain_name("a.b"), plain_name("a/b"));
        assert!(plain_name(&"ä".repeat(400)).len() <= LONGEST_NAME);
    }
}
