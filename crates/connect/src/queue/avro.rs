//! Bodies and keys in Avro.
//!
//! A message says the number of its schema in front (a zero, four bytes, then the value), or all have the
//! one schema of a file. All schemas of a read are asked for first, and one set of columns holds them all;
//! then the messages of each schema are decoded together, and the rows put back in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{cast, concat_batches, interleave};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow_avro::reader::ReaderBuilder;
use bytes::Bytes;
use serde_json::Value;
use tidemill_core::{Change, Error, ErrorKind, Result, ResultExt};
use tokio::runtime::Handle;

use super::datum::Node;
use super::envelope::Envelope;
use super::plain::{next_batch, single_values, without_refused};
use super::read::{Reading, send};
use super::registry::{Registered, Registry};
use super::rows::{Rows, Taken};
use super::settings::{Format, KeyFormat};
use super::spool::Spooled;
use crate::files::NameStyle;
use crate::files::avro::{file_of, readable};
use crate::files::target::Target;
use crate::files::typed;
use crate::files::types::{Types, field};
use crate::stream::{Sink, blocking};

/// A message begins with this, where it says its schema.
const MAGIC: u8 = 0;

/// Gives the rows of a spool.
pub(super) async fn deliver(
    reading: &Reading,
    spooled: Spooled,
    sink: &Sink,
) -> Result<Option<Value>> {
    let (own, handle) = (reading.clone(), Handle::current());
    let (spooled, columns) = blocking(move || {
        let columns = Columns::new(&own, &spooled, &handle)?;
        Ok((spooled, columns))
    })
    .await?;
    sink.send(Change::Schema(Arc::clone(&columns.rows.schema))).await?;
    let columns = Arc::new(columns);
    let mut messages = spooled.read()?;
    loop {
        reading.request.cancel.check()?;
        let columns = Arc::clone(&columns);
        let (rest, taken) = blocking(move || {
            let batch = next_batch(&mut messages)?;
            let taken = match batch.is_empty() {
                true => None,
                false => Some(columns.take(batch)?),
            };
            Ok((messages, taken))
        })
        .await?;
        messages = rest;
        match taken {
            Some(taken) => send(taken, sink).await?,
            None => return Ok(None),
        }
    }
}

/// A schema that messages have.
struct Known {
    schema: Value,
    node: Node,
    /// The columns of its records, as they are decoded.
    arrow: SchemaRef,
    names: Vec<String>,
    /// Whether it is a record; else its value is the one column.
    record: bool,
}

/// By their numbers; or why messages of one cannot be read.
type Schemas = BTreeMap<u32, std::result::Result<Known, String>>;

/// Which of the two parts of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Body,
    Key,
}

impl Part {
    fn of(self, envelope: &Envelope) -> Option<&Bytes> {
        match self {
            Part::Body => envelope.message.value.as_ref(),
            Part::Key => envelope.message.key.as_ref(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Part::Body => "message",
            Part::Key => "key",
        }
    }
}

/// The columns of a read, and how they are found.
struct Columns {
    rows: Rows,
    target: Target,
    bodies: Option<Side>,
    keys: Option<Side>,
    /// The one column of bodies that are not in Avro: text or not.
    plain: Option<bool>,
}

/// The schemas of bodies, or of keys.
struct Side {
    part: Part,
    /// All have one schema, and do not say which.
    unmarked: bool,
    schemas: Schemas,
}

impl Columns {
    fn new(reading: &Reading, spooled: &Spooled, handle: &Handle) -> Result<Columns> {
        let settings = &reading.settings;
        let mut bodies = match settings.format {
            Format::Avro => Some(Side::new(reading, Part::Body, settings.schema.as_deref())?),
            _ => None,
        };
        let mut keys = match settings.key_format {
            KeyFormat::Avro => Some(Side::new(reading, Part::Key, settings.key_schema.as_deref())?),
            _ => None,
        };
        let mut wanted: [BTreeSet<u32>; 2] = Default::default();
        let mut messages = spooled.read()?;
        loop {
            let batch = next_batch(&mut messages)?;
            if batch.is_empty() {
                break;
            }
            for (side, wanted) in [&bodies, &keys].into_iter().zip(&mut wanted) {
                let Some(side) = side.as_ref().filter(|side| !side.unmarked) else { continue };
                for envelope in batch.iter().filter(|envelope| envelope.refused.is_none()) {
                    let marked = side.part.of(envelope).and_then(|bytes| marked(bytes).ok());
                    wanted.extend(marked.map(|(number, _)| number));
                }
            }
        }
        for (side, wanted) in [&mut bodies, &mut keys].into_iter().zip(wanted) {
            let Some(side) = side.as_mut().filter(|_| !wanted.is_empty()) else { continue };
            let Some(config) = &reading.registry else { continue };
            let registry = Registry::new(
                config,
                &reading.context.project,
                handle.clone(),
                reading.request.cancel.clone(),
            )?;
            for (number, schema) in registry.schemas(wanted.into_iter())? {
                let known = match schema {
                    Registered::Avro(schema) => Known::new(schema)
                        .map_err(|reason| format!("schema {number} cannot be read: {reason}")),
                    Registered::Unreadable(reason) => Err(reason),
                };
                side.schemas.insert(number, known);
            }
        }
        let plain = match settings.format {
            Format::Avro => None,
            format => Some(format == Format::Text),
        };
        // Bodies first: where both have a column, theirs decide about its place.
        let mut types = Types::default();
        for known in bodies.iter().flat_map(Side::readable) {
            types.merge(&known.types());
        }
        // A key that is no record is the key's column, and makes none of its own.
        for known in keys.iter().flat_map(Side::readable).filter(|known| known.record) {
            types.merge(&known.types());
        }
        let mut fields: Vec<Arc<Field>> = Vec::new();
        if plain.is_some() {
            fields.push(Arc::new(reading.value_field()));
        }
        for (name, shape) in types.iter() {
            let data_type = match shape.data_type() {
                DataType::Null => DataType::Utf8,
                known => known,
            };
            fields.push(Arc::new(field(name, data_type, shape)));
        }
        for known in reading.known_body().iter().flat_map(|known| known.fields()) {
            if !fields.iter().any(|field| field.name() == known.name()) {
                fields.push(Arc::clone(known));
            }
        }
        let rows = reading.rows(&fields)?;
        let own = &fields[usize::from(plain.is_some())..];
        let target = Target {
            names: own.iter().map(|field| field.name().clone()).collect(),
            types: Types::default(),
            readings: Vec::new(),
            schema: Arc::new(Schema::new(own.to_vec())),
        };
        Ok(Columns { rows, target, bodies, keys, plain })
    }

    /// The rows of messages.
    fn take(&self, batch: Vec<Envelope>) -> Result<Taken> {
        let (mut batch, mut refused) = without_refused(batch);
        let mut bad = Vec::new();
        let mut groups = Groups::new(&self.target, batch.len());
        if let Some(side) = &self.keys {
            groups.add(side, &mut batch, &mut bad)?;
        }
        if let Some(side) = &self.bodies {
            groups.add(side, &mut batch, &mut bad)?;
        }
        let mut columns = Vec::new();
        if let Some(text) = self.plain {
            let (column, unread) = single_values(&batch, text);
            columns.push(column);
            bad.extend(unread);
        }
        columns.extend(groups.columns()?);
        let mut taken = self.rows.take(columns, &batch, bad)?;
        refused.append(&mut taken.refused);
        Ok(Taken { refused, ..taken })
    }
}

impl Side {
    fn new(reading: &Reading, part: Part, file: Option<&str>) -> Result<Side> {
        let setting = if part == Part::Body { "schema" } else { "key_schema" };
        let mut schemas = Schemas::new();
        if let Some(file) = file {
            let wrong = |message: &str| {
                Error::new(ErrorKind::Config, format!("`{setting}` {message}")).with("file", file)
            };
            let text = std::fs::read(reading.context.project.join(file))
                .map_err(|error| wrong("cannot be read").because(error))?;
            let schema: Value = serde_json::from_slice(&text)
                .map_err(|error| wrong("is not JSON").because(error))?;
            let known = readable(&schema, &[]).and_then(Known::new);
            let known = known.map_err(|why| wrong(&format!("is no schema of a table: {why}")))?;
            schemas.insert(0, Ok(known));
        } else if reading.registry.is_none() {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "messages in Avro need a schema: `schema_registry` at the connection, or `{setting}`, a file"
                ),
            ));
        }
        Ok(Side { part, unmarked: file.is_some(), schemas })
    }

    fn readable(&self) -> impl Iterator<Item = &Known> {
        self.schemas.values().filter_map(|known| known.as_ref().ok())
    }

    /// The schema of a part of a message, and the value.
    fn find<'a, 'b>(
        &'a self,
        bytes: &'b [u8],
    ) -> std::result::Result<(u32, &'a Known, &'b [u8]), String> {
        let what = self.part.name();
        let (number, value) = match self.unmarked {
            true => (0, bytes),
            false => marked(bytes).map_err(|reason| format!("the {what} {reason}"))?,
        };
        let known = match self.schemas.get(&number) {
            Some(Ok(known)) => known,
            Some(Err(reason)) => return Err(reason.clone()),
            None => return Err(format!("the {what} has the schema {number}, which is not known")),
        };
        known
            .node
            .check(value)
            .map_err(|reason| format!("the {what} is not of its schema: {reason}"))?;
        Ok((number, known, value))
    }
}

/// The number of a message's schema, and the value behind it.
fn marked(bytes: &[u8]) -> std::result::Result<(u32, &[u8]), String> {
    match bytes.split_first_chunk::<5>() {
        Some(([MAGIC, number @ ..], value)) => Ok((u32::from_be_bytes(*number), value)),
        _ => Err("does not begin with the number of a schema (a zero and four bytes)".to_owned()),
    }
}

impl Known {
    /// Of a schema as the reader of records takes it.
    fn new(schema: Value) -> std::result::Result<Known, String> {
        let node = Node::of(&schema)?;
        let arrow = ReaderBuilder::new()
            .build(file_of(&schema, 0, &[]).as_slice())
            .map_err(|error| error.to_string())?
            .schema();
        let names = typed::names_of(&arrow, NameStyle::default());
        let record = schema.get("name").and_then(Value::as_str) != Some("tidemill_value");
        Ok(Known { schema, node, arrow, names, record })
    }

    fn types(&self) -> Types {
        let simple = self.arrow.fields().iter().map(|field| typed::simple(field));
        typed::types_of(&self.arrow, &self.names, simple.collect())
    }

    /// Values that stand one behind the other.
    fn decode(&self, records: usize, values: &[u8]) -> Result<RecordBatch> {
        // What has no bytes has no values.
        if values.is_empty() {
            let columns = self.arrow.fields().iter();
            let columns = columns.map(|field| new_null_array(field.data_type(), records));
            let fields = self.arrow.fields().iter();
            let fields: Fields =
                fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(records));
            return RecordBatch::try_new_with_options(
                Arc::new(Schema::new(fields)),
                columns.collect(),
                &options,
            )
            .or_error(ErrorKind::Internal, "messages cannot be put together");
        }
        let failed = "messages in Avro cannot be decoded";
        let file = file_of(&self.schema, records, values);
        let reader = ReaderBuilder::new()
            .with_batch_size(records.max(1))
            .build(file.as_slice())
            .or_error(ErrorKind::Data, failed)?;
        let batches: Vec<RecordBatch> =
            reader.collect::<std::result::Result<_, _>>().or_error(ErrorKind::Data, failed)?;
        let batch = concat_batches(&self.arrow, &batches).or_error(ErrorKind::Data, failed)?;
        match batch.num_rows() == records {
            true => Ok(batch),
            false => Err(Error::new(ErrorKind::Data, failed)),
        }
    }

    /// Keys as text: a text as it is, a number by its digits, a record in JSON.
    fn texts(&self, decoded: &RecordBatch) -> Result<Vec<Option<String>>> {
        let simple = decoded.columns().iter().zip(self.arrow.fields());
        let simple: Vec<ArrayRef> = simple
            .map(|(column, field)| typed::simplified(field, column))
            .collect::<Result<_>>()?;
        let column: ArrayRef = match (self.record, simple.first()) {
            (false, Some(column)) => Arc::clone(column),
            _ => {
                let fields = self.names.iter().zip(&simple);
                let fields: Fields = fields
                    .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
                    .collect();
                let rows =
                    StructArray::try_new_with_length(fields, simple, None, decoded.num_rows());
                Arc::new(rows.or_error(ErrorKind::Internal, "keys cannot be put together")?)
            }
        };
        if column.data_type().is_nested() || column.data_type() == &DataType::Binary {
            let texts = crate::json_text::json_texts(&column)?.into_iter().enumerate();
            let texts = texts.map(|(row, text)| column.is_valid(row).then_some(text));
            return Ok(texts.collect());
        }
        let texts = cast(&column, &DataType::Utf8)
            .or_error(ErrorKind::Data, "a key cannot be written as text")?;
        Ok(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    }
}

/// Values of one schema, one behind the other.
struct Group<'a> {
    known: &'a Known,
    /// Of which messages they are.
    rows: Vec<usize>,
    values: Vec<u8>,
    /// Where each ends, behind a zero.
    ends: Vec<usize>,
}

impl<'a> Group<'a> {
    fn new(known: &'a Known) -> Self {
        Group { known, rows: Vec::new(), values: Vec::new(), ends: vec![0] }
    }
}

/// Rows that are decoded by their schemas, on their way back to their order.
struct Groups<'a> {
    target: &'a Target,
    /// Of each group, the columns of the target; those that its schema does not have are `None`.
    columns: Vec<Vec<Option<ArrayRef>>>,
    /// Of each row the group and the row in it of its key, and of its body.
    rows: [Vec<Option<(usize, usize)>>; 2],
}

impl<'a> Groups<'a> {
    fn new(target: &'a Target, rows: usize) -> Self {
        Groups { target, columns: Vec::new(), rows: [vec![None; rows], vec![None; rows]] }
    }

    /// Decodes one part of all messages. A key is put back as text.
    fn add(
        &mut self,
        side: &Side,
        batch: &mut [Envelope],
        bad: &mut Vec<(usize, String)>,
    ) -> Result<()> {
        let mut by_schema: BTreeMap<u32, Group<'_>> = BTreeMap::new();
        for (row, envelope) in batch.iter().enumerate() {
            let Some(bytes) = side.part.of(envelope) else { continue };
            match side.find(bytes) {
                Ok((number, known, value)) => {
                    let group = by_schema.entry(number).or_insert_with(|| Group::new(known));
                    group.rows.push(row);
                    group.values.extend_from_slice(value);
                    group.ends.push(group.values.len());
                }
                Err(reason) => bad.push((row, reason)),
            }
        }
        for Group { known, mut rows, values, ends } in by_schema.into_values() {
            let decoded = match known.decode(rows.len(), &values) {
                Ok(decoded) => decoded,
                Err(_) => {
                    // One by one, to find which it is.
                    let mut good = Vec::new();
                    let mut kept = Vec::new();
                    for (at, row) in rows.iter().enumerate() {
                        match known.decode(1, &values[ends[at]..ends[at + 1]]) {
                            Ok(batch) => {
                                good.push(batch);
                                kept.push(*row);
                            }
                            Err(error) => bad.push((*row, error.report().replace('\n', " "))),
                        }
                    }
                    rows = kept;
                    if rows.is_empty() {
                        continue;
                    }
                    concat_batches(&known.arrow, &good)
                        .or_error(ErrorKind::Internal, "messages cannot be put together")?
                }
            };
            if side.part == Part::Key {
                for (row, text) in rows.iter().zip(known.texts(&decoded)?) {
                    batch[*row].message.key = text.map(Bytes::from);
                }
            }
            if side.part == Part::Key && !known.record {
                continue;
            }
            self.push(side.part, known, &decoded, &rows, bad)?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        part: Part,
        known: &Known,
        decoded: &RecordBatch,
        rows: &[usize],
        bad: &mut Vec<(usize, String)>,
    ) -> Result<()> {
        let parsed = typed::convert(decoded, &known.names, self.target, |at, column| {
            typed::simplified(known.arrow.field(at), column)
        })?;
        for reject in parsed.rejects {
            bad.push((rows[reject.line as usize], reject.reason));
        }
        let names = self.target.names.iter();
        let columns = names.zip(parsed.columns);
        let group = columns.map(|(name, column)| known.names.contains(name).then_some(column));
        self.columns.push(group.collect());
        let number = self.columns.len();
        let places = &mut self.rows[usize::from(part == Part::Body)];
        for (at, row) in rows.iter().enumerate() {
            places[*row] = Some((number, at));
        }
        Ok(())
    }

    /// The columns of all rows. What a body has goes before what its key has.
    fn columns(self) -> Result<Vec<ArrayRef>> {
        let [keys, bodies] = &self.rows;
        let fields = self.target.schema.fields().iter().enumerate();
        fields
            .map(|(at, field)| {
                let nothing = new_null_array(field.data_type(), 1);
                let mut arrays: Vec<&dyn Array> = vec![nothing.as_ref()];
                for group in &self.columns {
                    arrays.push(group[at].as_ref().map_or(nothing.as_ref(), AsRef::as_ref));
                }
                let has = |place: &Option<(usize, usize)>| {
                    place.filter(|(group, _)| self.columns[group - 1][at].is_some())
                };
                let places: Vec<(usize, usize)> = keys
                    .iter()
                    .zip(bodies)
                    .map(|(key, body)| has(body).or_else(|| has(key)).unwrap_or((0, 0)))
                    .collect();
                interleave(&arrays, &places)
                    .or_error(ErrorKind::Internal, "rows of messages cannot be put together")
            })
            .collect()
    }
}
