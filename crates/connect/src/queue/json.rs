//! Bodies that are lines: JSON and CSV, by the rules of files.
//!
//! The reader of files numbers its lines; by that number the message of a row is found again, which
//! knows where it stood.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tidemill_core::{
    Change, Error, ErrorKind, Notice, Position, ReadRequest, ReadScope, Result, Source,
};

use super::envelope::Envelope;
use super::plain::next_batch;
use super::read::{Reading, send};
use super::rows::{Refused, Rows, Taken, rejected};
use super::settings::Format;
use super::spool::{LINES, Messages, Spooled};
use crate::files::of_folder;
use crate::stream::{Sink, blocking};

/// The column with the number of a row's line.
const LINE: &str = "__tidemill_line";

/// Gives the rows of a spool; the result is what was seen in the columns, for the next position.
pub(super) async fn deliver(
    reading: &Reading,
    spooled: Spooled,
    before: Option<Value>,
    sink: &Sink,
) -> Result<Option<Value>> {
    let mut changes = of_folder(spooled.folder()).read(of_lines(reading, before.as_ref())).await?;
    let mut types = before;
    let mut rows = None;
    let mut zip = Zip::new(&spooled)?;
    while let Some(change) = changes.next().await {
        match change? {
            Change::Schema(schema) => {
                let columns = columns(reading, &schema)?;
                sink.send(Change::Schema(Arc::clone(&columns.schema))).await?;
                rows = Some(columns);
            }
            Change::Restart(schema) => {
                let columns = columns(reading, &schema)?;
                sink.send(Change::Restart(Arc::clone(&columns.schema))).await?;
                rows = Some(columns);
                zip = Zip::new(&spooled)?;
            }
            Change::Rows(batch) => {
                let Some(columns) = rows.clone() else {
                    return Err(Error::new(ErrorKind::Internal, "rows came before their columns"));
                };
                let (rest, taken) = blocking(move || {
                    let taken = zip.take(&columns, &batch)?;
                    Ok((zip, taken))
                })
                .await?;
                zip = rest;
                send(taken, sink).await?;
            }
            Change::Rejected(batch) => {
                let (rest, refused) = blocking(move || {
                    let refused = zip.refuse(&batch)?;
                    Ok((zip, refused))
                })
                .await?;
                zip = rest;
                if let Some(bad) = rejected(&refused)? {
                    sink.send(Change::Rejected(bad)).await?;
                }
            }
            Change::Position(position) => types = Some(position.0),
            // A message may lack what others have.
            Change::Notice(notice) if notice.code == "missing-column" => {}
            Change::Notice(notice) => {
                let object = notice.object.map(|object| match object == LINES {
                    true => reading.context.object.clone(),
                    false => object,
                });
                let message = notice.message.replace(LINES, &reading.context.object);
                // That bodies have no fields is nothing to be told.
                if notice.code != "empty-file" {
                    sink.send(Change::Notice(Notice { object, message, ..notice })).await?;
                }
            }
            Change::Replaces { .. } | Change::Truncated => {
                return Err(Error::new(ErrorKind::Internal, "a spool replaces another"));
            }
        }
    }
    // Bodies without a single field make no columns; the messages are rows all the same.
    let bare = rows.is_none();
    let columns = match rows {
        Some(columns) => columns,
        None => {
            let columns = reading.rows(&[])?;
            sink.send(Change::Schema(Arc::clone(&columns.schema))).await?;
            columns
        }
    };
    loop {
        reading.request.cancel.check()?;
        let columns = columns.clone();
        let (rest, taken) = blocking(move || {
            let taken = zip.rest(&columns, bare)?;
            Ok((zip, taken))
        })
        .await?;
        zip = rest;
        match taken {
            Some(taken) => send(taken, sink).await?,
            None => break,
        }
    }
    // Held until here: its folder goes with it.
    drop(spooled);
    Ok(types)
}

/// The columns of bodies, as the reader of files gives them.
fn columns(reading: &Reading, schema: &SchemaRef) -> Result<Rows> {
    let fields = schema.fields();
    reading.rows(&fields[..fields.len().saturating_sub(1)])
}

/// The read of the file of lines.
fn of_lines(reading: &Reading, before: Option<&Value>) -> ReadRequest {
    let settings = &reading.settings;
    let csv = settings.format == Format::Csv;
    let mut file = Map::new();
    file.insert("location".to_owned(), json!(LINES));
    file.insert("format".to_owned(), json!(if csv { "csv" } else { "ndjson" }));
    file.insert("source_file_column".to_owned(), json!(false));
    file.insert("source_row_column".to_owned(), json!(LINE));
    if csv {
        file.insert("encoding".to_owned(), json!("utf-8"));
        file.insert("delimiter".to_owned(), json!(settings.delimiter.as_deref().unwrap_or(",")));
    }
    let further = [
        ("date_format", settings.date_format.as_ref().map(|text| json!(text))),
        ("timestamp_format", settings.timestamp_format.as_ref().map(|text| json!(text))),
        ("max_record_bytes", settings.max_record_bytes.clone()),
    ];
    for (name, value) in further {
        file.extend(value.map(|value| (name.to_owned(), value)));
    }
    let request = &reading.request;
    let whole = request.scope == ReadScope::Whole;
    // What was seen before holds on; the file is a new one.
    let position = before.filter(|before| !whole && before.is_object()).map(|before| {
        let mut before = before.clone();
        before["files"] = json!({});
        Position(before)
    });
    let own = request.declared.iter().filter(|field| !reading.is_metadata(field.name()));
    ReadRequest {
        settings: Value::Object(file),
        declared: own.cloned().collect(),
        known: reading.known_body(),
        position,
        superseded: None,
        every_change: false,
        scope: if whole { ReadScope::Whole } else { ReadScope::New },
        ..request.clone()
    }
}

/// Rows and rejected lines back to their messages.
struct Zip {
    messages: Messages,
    ended: bool,
    /// Messages with a line that were read and not met yet, in the order of their lines.
    pending: VecDeque<Envelope>,
    /// Messages without a line that were met on the way.
    refused: Vec<Refused>,
    /// Lines among those that are waiting which were rejected.
    rejected: VecDeque<i64>,
}

impl Zip {
    fn new(spooled: &Spooled) -> Result<Zip> {
        Ok(Zip {
            messages: spooled.read()?,
            ended: false,
            pending: VecDeque::new(),
            refused: Vec::new(),
            rejected: VecDeque::new(),
        })
    }

    /// Reads on; false at the end.
    fn more(&mut self) -> Result<bool> {
        let batch = next_batch(&mut self.messages)?;
        self.ended = batch.is_empty();
        for mut envelope in batch {
            match envelope.refused.take() {
                None => self.pending.push_back(envelope),
                Some((reason, raw)) => {
                    self.refused.push(Refused { place: envelope.place(), reason, raw });
                }
            }
        }
        Ok(!self.ended)
    }

    /// Reads up to the message of a line.
    fn upto(&mut self, line: i64) -> Result<()> {
        while self.pending.back().and_then(|last| last.line).is_none_or(|last| last < line) {
            if !self.more()? {
                return Err(Error::new(ErrorKind::Internal, "a row came from no message"));
            }
        }
        Ok(())
    }

    /// The rows of a batch, with what the queue knows of them.
    fn take(&mut self, columns: &Rows, batch: &RecordBatch) -> Result<Taken> {
        let (lines, body) = match batch.columns().split_last() {
            Some((lines, body)) => (lines.as_primitive::<Int64Type>().clone(), body.to_vec()),
            None => return Err(Error::new(ErrorKind::Internal, "rows came without their lines")),
        };
        let mut messages = Vec::with_capacity(lines.len());
        for line in lines.values() {
            self.upto(*line)?;
            loop {
                let Some(envelope) = self.pending.pop_front() else {
                    return Err(Error::new(ErrorKind::Internal, "a row came from no message"));
                };
                if envelope.line == Some(*line) {
                    messages.push(envelope);
                    break;
                }
                self.passed(&envelope)?;
            }
        }
        let mut taken = columns.take(body, &messages, Vec::new())?;
        let mut refused = std::mem::take(&mut self.refused);
        refused.append(&mut taken.refused);
        Ok(Taken { refused, ..taken })
    }

    /// A message that came to no row must have been rejected: nothing is lost silently.
    fn passed(&mut self, envelope: &Envelope) -> Result<()> {
        while self.rejected.front().is_some_and(|line| Some(*line) < envelope.line) {
            self.rejected.pop_front();
        }
        if self.rejected.front().copied() == envelope.line {
            return Ok(());
        }
        let (place, number) = envelope.place();
        Err(Error::new(ErrorKind::Internal, "a message is neither a row nor a rejected one")
            .with("message", format!("{place}:{number}")))
    }

    /// Lines that the reader of files rejected.
    fn refuse(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let malformed = || Error::new(ErrorKind::Internal, "a batch of rejected rows is malformed");
        let text =
            |at: usize| batch.columns().get(at).and_then(|column| column.as_string_opt::<i32>());
        let lines =
            batch.columns().get(1).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(lines), Some(reasons), Some(raws)) = (lines, text(2), text(3)) else {
            return Err(malformed());
        };
        let mut refused = Vec::with_capacity(lines.len());
        for (at, line) in lines.values().iter().enumerate() {
            self.upto(*line)?;
            let first = self.pending.front().and_then(|first| first.line).unwrap_or_default();
            let near = usize::try_from(line - first).ok();
            let envelope = near
                .and_then(|near| self.pending.get(near))
                .filter(|envelope| envelope.line == Some(*line))
                .ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "a rejected row came from no message")
                })?;
            self.rejected.push_back(*line);
            refused.push(Refused {
                place: envelope.place(),
                reason: reasons.value(at).to_owned(),
                raw: raws.value(at).to_owned(),
            });
        }
        Ok(refused)
    }

    /// What is left at the end: messages without a line, and with `bare` all others, which are rows without
    /// a body.
    fn rest(&mut self, columns: &Rows, bare: bool) -> Result<Option<Taken>> {
        if self.pending.is_empty() && self.refused.is_empty() && (self.ended || !self.more()?) {
            return Ok(None);
        }
        let mut messages = Vec::new();
        for envelope in std::mem::take(&mut self.pending) {
            match self.passed(&envelope) {
                Ok(()) => {}
                Err(_) if bare => messages.push(envelope),
                Err(error) => return Err(error),
            }
        }
        let mut refused = std::mem::take(&mut self.refused);
        if messages.is_empty() {
            return Ok(Some(Taken { rows: None, refused }));
        }
        let mut taken = columns.take(Vec::new(), &messages, Vec::new())?;
        refused.append(&mut taken.refused);
        Ok(Some(Taken { refused, ..taken }))
    }
}
