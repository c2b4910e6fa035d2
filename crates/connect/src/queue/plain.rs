//! Bodies that are one value: text or bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, StringBuilder};
use serde_json::Value;
use tidemill_core::{Change, ErrorKind, Result, ResultExt};

use super::envelope::Envelope;
use super::read::{Reading, send};
use super::rows::{Refused, Rows, Taken};
use super::settings::Format;
use super::spool::{Messages, Spooled};
use crate::stream::{Sink, blocking};

/// A batch ends with so many messages,
const MESSAGES: usize = 16 << 10;

/// or with about so many bytes.
const BYTES: usize = 4 << 20;

/// Gives the rows of a spool.
pub(super) async fn deliver(
    reading: &Reading,
    spooled: Spooled,
    sink: &Sink,
) -> Result<Option<Value>> {
    let rows = reading.rows(&[Arc::new(reading.value_field())])?;
    sink.send(Change::Schema(Arc::clone(&rows.schema))).await?;
    let text = reading.settings.format == Format::Text;
    let mut messages = spooled.read()?;
    loop {
        reading.request.cancel.check()?;
        let rows = rows.clone();
        let (rest, taken) = blocking(move || {
            let batch = next_batch(&mut messages)?;
            let taken = match batch.is_empty() {
                true => None,
                false => Some(take(&rows, batch, text)?),
            };
            Ok((messages, taken))
        })
        .await?;
        messages = rest;
        match taken {
            None => return Ok(None),
            Some(taken) => send(taken, sink).await?,
        }
    }
}

/// The messages of the next batch; none at the end.
pub(super) fn next_batch(messages: &mut Messages) -> Result<Vec<Envelope>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < MESSAGES && bytes < BYTES {
        let next = messages.next();
        let Some(envelope) =
            next.or_error(ErrorKind::Io, "the spool of messages cannot be read")?
        else {
            break;
        };
        bytes += envelope.message.value.as_ref().map_or(0, |value| value.len());
        bytes += envelope.message.key.as_ref().map_or(0, |key| key.len());
        batch.push(envelope);
    }
    Ok(batch)
}

/// Splits off the messages that could not even be put into the spool.
pub(super) fn without_refused(batch: Vec<Envelope>) -> (Vec<Envelope>, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut good = Vec::with_capacity(batch.len());
    for mut envelope in batch {
        match envelope.refused.take() {
            None => good.push(envelope),
            Some((reason, raw)) => refused.push(Refused { place: envelope.place(), reason, raw }),
        }
    }
    (good, refused)
}

fn take(rows: &Rows, batch: Vec<Envelope>, text: bool) -> Result<Taken> {
    let (batch, mut refused) = without_refused(batch);
    let (column, bad) = single_values(&batch, text);
    let mut taken = rows.take(vec![column], &batch, bad)?;
    refused.append(&mut taken.refused);
    Ok(Taken { refused, ..taken })
}

/// The column of bodies that are one value, and which of them are not.
pub(super) fn single_values(batch: &[Envelope], text: bool) -> (ArrayRef, Vec<(usize, String)>) {
    let mut bad = Vec::new();
    let values = batch.iter().map(|envelope| envelope.message.value.as_deref());
    if !text {
        let mut column = BinaryBuilder::new();
        values.for_each(|value| column.append_option(value));
        return (Arc::new(column.finish()), bad);
    }
    let mut column = StringBuilder::new();
    for (row, value) in values.enumerate() {
        match value.map(std::str::from_utf8) {
            None => column.append_null(),
            Some(Ok(text)) => column.append_value(text),
            Some(Err(_)) => {
                column.append_null();
                let reason = "the message is not UTF-8; `format: bytes` takes it as it is";
                bad.push((row, reason.to_owned()));
            }
        }
    }
    (Arc::new(column.finish()), bad)
}
