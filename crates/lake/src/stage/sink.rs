//! The way of rows from a stream into data files: brought to the table's columns, watched, hashed
//! and encoded on a blocking thread, while the next rows are being made.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use object_store::path::Path;
use tidemill_core::{
    BatchStream, Error, ErrorKind, Measurement, Observer, Result, ResultExt, changes,
};
use tokio::sync::mpsc;

use super::columns::conform;
use super::encode::{LOT_BYTES, LOT_ROWS, TableWriter, Written};
use super::hash;
use super::keys::KeyCollector;

/// Rows on their way; see the module.
pub(crate) struct RowSink {
    writer: TableWriter,
    schema: SchemaRef,
    pub observers: Vec<Box<dyn Observer>>,
    keys: Option<KeyCollector>,
    /// Numbers of rows that stand for a row that goes.
    gone: Option<Vec<u32>>,
    hash: Option<u128>,
    hash_rows: u64,
    rows: u64,
}

/// What came of it.
pub(crate) struct Done {
    pub written: Vec<Written>,
    /// Every file that was begun.
    pub files: Vec<Path>,
    pub rows: u64,
    pub hash: Option<u128>,
    pub observed: Vec<Measurement>,
    pub keys: Option<KeyCollector>,
    /// Numbers of rows that only stand for a row that goes, and are not to stay.
    pub gone: Vec<u32>,
    /// Rows with a NULL in their key, once the keys were looked at.
    pub null_keys: u64,
}

impl RowSink {
    /// `hash_rows`: up to how many rows are hashed.
    pub(crate) fn new(writer: TableWriter, schema: SchemaRef, hash_rows: u64) -> Self {
        RowSink {
            writer,
            schema,
            observers: Vec::new(),
            keys: None,
            gone: None,
            hash: (hash_rows > 0).then_some(0),
            hash_rows,
            rows: 0,
        }
    }

    /// Collects the keys of the rows as well.
    pub(crate) fn collect_keys(&mut self, keys: KeyCollector) {
        self.writer.number_rows();
        self.keys = Some(keys);
    }

    /// The rows say whether they only name a row that goes ([`changes::GONE`]).
    pub(crate) fn note_gone(&mut self) {
        self.gone = Some(Vec::new());
    }

    /// Takes rows on.
    pub(crate) fn lot(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let mut stored = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut stays = None;
            if let Some(gone) = &mut self.gone {
                stays = note_gone(batch, self.rows, gone)?;
            }
            let batch = conform(batch, &self.schema)?;
            if !self.observers.is_empty() {
                let seen = match &stays {
                    Some(stays) => filter_record_batch(&batch, stays)
                        .or_error(ErrorKind::Internal, "rows cannot be filtered")?,
                    None => batch.clone(),
                };
                for observer in &mut self.observers {
                    observer.observe(&seen)?;
                }
            }
            if let Some(keys) = &mut self.keys {
                keys.collect(&batch)?;
            }
            self.rows += batch.num_rows() as u64;
            if self.rows > self.hash_rows {
                self.hash = None;
            }
            if let Some(sum) = self.hash {
                self.hash = hash::sum_of(&batch).map(|more| sum.wrapping_add(more));
            }
            stored.push(batch);
        }
        self.writer.write(&stored)
    }

    /// Finishes the files.
    pub(crate) fn finish(mut self) -> Result<Done> {
        let finished = self.writer.finish().and_then(|written| {
            let mut observed = Vec::new();
            for observer in std::mem::take(&mut self.observers) {
                observed.extend(observer.finish()?);
            }
            Ok((written, observed))
        });
        match finished {
            Ok((written, observed)) => Ok(Done {
                written,
                files: self.writer.started().to_vec(),
                rows: self.rows,
                hash: self.hash,
                observed,
                keys: self.keys,
                gone: self.gone.unwrap_or_default(),
                null_keys: 0,
            }),
            Err(error) => {
                self.writer.abort();
                Err(error)
            }
        }
    }

    /// Deletes what was begun.
    pub(crate) fn abort(mut self) {
        self.writer.abort();
    }
}

/// Adds the numbers of the rows that only stand for one that goes; gives those that are not such, unless
/// all are.
fn note_gone(batch: &RecordBatch, first: u64, gone: &mut Vec<u32>) -> Result<Option<BooleanArray>> {
    let column = batch
        .column_by_name(changes::GONE)
        .and_then(|column| column.as_boolean_opt())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "rows of a log do not say what goes"))?;
    if column.true_count() == 0 {
        return Ok(None);
    }
    let number = |row: usize| u32::try_from(first + row as u64).unwrap_or(u32::MAX);
    gone.extend((0..column.len()).filter(|row| column.value(*row)).map(number));
    arrow::compute::not(column).map(Some).or_error(ErrorKind::Internal, "rows cannot be filtered")
}

enum Message {
    Rows(Vec<RecordBatch>),
    Finish,
}

/// Feeds a stream into a sink. On error, and when the caller goes away, nothing is left behind.
pub(crate) async fn feed(mut rows: BatchStream, sink: RowSink) -> Result<Done> {
    let (sender, mut receiver) = mpsc::channel::<Message>(1);
    let encoder = tokio::task::spawn_blocking(move || {
        let mut sink = sink;
        while let Some(message) = receiver.blocking_recv() {
            match message {
                Message::Rows(batches) => {
                    if let Err(error) = sink.lot(&batches) {
                        sink.abort();
                        return Err(error);
                    }
                }
                Message::Finish => return sink.finish(),
            }
        }
        sink.abort();
        Err(Error::new(ErrorKind::Cancelled, "cancelled"))
    });
    let mut failed = None;
    let mut lot = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    while let Some(batch) = rows.batches.next().await {
        match batch {
            Ok(batch) => {
                if batch.num_rows() == 0 {
                    continue;
                }
                // Batches that are larger than a lot go in pieces, so that memory stays bounded.
                let row_bytes = bytes_of(&batch).div_ceil(batch.num_rows()).max(1);
                let most = (LOT_BYTES / row_bytes).clamp(1, LOT_ROWS);
                let mut offset = 0;
                while offset < batch.num_rows() {
                    let length = (batch.num_rows() - offset).min(most);
                    lot.push(batch.slice(offset, length));
                    count += length;
                    bytes += length * row_bytes;
                    offset += length;
                    if count >= LOT_ROWS || bytes >= LOT_BYTES {
                        (count, bytes) = (0, 0);
                        if sender.send(Message::Rows(std::mem::take(&mut lot))).await.is_err() {
                            break;
                        }
                    }
                }
                if sender.is_closed() {
                    break;
                }
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    // The stream ends before the files do: it may hold memory that the encoder waits for.
    drop(rows);
    if failed.is_none() {
        if !lot.is_empty() {
            let _ = sender.send(Message::Rows(lot)).await;
        }
        let _ = sender.send(Message::Finish).await;
    }
    drop(sender);
    let done = encoder.await.or_error(ErrorKind::Internal, "a background task failed")?;
    match failed {
        Some(error) => Err(error),
        None => done,
    }
}

/// What the rows of a batch take, whatever else their buffers hold.
fn bytes_of(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| column.len() * 16)
    };
    batch.columns().iter().map(bytes).sum()
}
