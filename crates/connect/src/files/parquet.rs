//! Parquet: the files bring their types; those of all files are merged. The library stops in the middle of some
//! damaged files, so each of its steps is guarded.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::StreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{
    ArrowReaderBuilder, ArrowReaderMetadata, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::LogicalType;
use parquet::file::metadata::ParquetMetaData;
use tidemill_core::{Error, ErrorKind, Result};

use super::format::Cut;
use super::guard::{Failure, tried};
use super::listing::FileEntry;
use super::opened::{self, Opened};
use super::place::ObjectReader;
use super::settings::NameStyle;
use super::target::Target;
use super::typed;
use super::types::Types;

/// A Parquet file whose footer was read.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    schema: SchemaRef,
    names: Vec<String>,
    /// Columns of UUIDs, which become text.
    uuids: Vec<bool>,
}

impl ParquetFile {
    /// Reads the footer.
    pub(crate) fn open(entry: &FileEntry, style: NameStyle) -> Result<(ParquetFile, Types)> {
        let metadata = match Opened::of(entry)? {
            Opened::Disk(file) => tried(|| ArrowReaderMetadata::load(&file, Default::default())),
            Opened::Object(object) => {
                let mut reader = ObjectReader(object.clone());
                let load = ArrowReaderMetadata::load_async(&mut reader, Default::default());
                tried(|| object.handle.block_on(load))
            }
        };
        let metadata = metadata.map_err(|error| unreadable(entry, error))?;
        let schema = Arc::clone(metadata.schema());
        let names = typed::names_of(&schema, style);
        let root = metadata.metadata().file_metadata().schema();
        let uuids: Vec<bool> = root
            .get_fields()
            .iter()
            .map(|column| {
                column.is_primitive()
                    && column.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid)
            })
            .collect();
        let stored = schema.fields().iter().zip(&uuids).map(|(field, uuid)| match uuid {
            true => DataType::Utf8,
            false => typed::plain(field.data_type()),
        });
        let types = typed::types_of(&schema, &names, stored.collect());
        Ok((ParquetFile { schema, names, uuids }, types))
    }

    /// Reads the file batch by batch; `None` when nobody listens any more.
    pub(crate) fn read(
        &self,
        entry: &FileEntry,
        target: &Target,
        max_record: usize,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let failed = |error: Failure| unreadable(entry, error);
        let damaged = |error: Failure| {
            Error::new(ErrorKind::Data, DAMAGED).with("file", &entry.name).because(error)
        };
        let mut delivered = 0;
        let (opened, hash) = Opened::whole(entry)?;
        let promised = match opened {
            Opened::Disk(file) => {
                let builder = tried(|| ParquetRecordBatchReaderBuilder::try_new(file));
                let builder = builder.map_err(failed)?;
                let rows = self.rows_of_batch(entry, &builder, max_record)?;
                let promised = rows_of_groups(builder.metadata());
                let builder = builder.with_batch_size(rows);
                let mut reader = tried(|| builder.build()).map_err(failed)?;
                while let Some(batch) = tried(|| reader.next().transpose()).map_err(damaged)? {
                    if !self.give(&batch, target, &mut delivered, send)? {
                        return Ok(None);
                    }
                }
                promised
            }
            Opened::Object(object) => {
                let reader = ObjectReader(object.clone());
                let open = ParquetRecordBatchStreamBuilder::new(reader);
                let builder = tried(|| object.handle.block_on(open)).map_err(failed)?;
                let rows = self.rows_of_batch(entry, &builder, max_record)?;
                let promised = rows_of_groups(builder.metadata());
                let builder = builder.with_batch_size(rows);
                let mut stream = tried(|| builder.build()).map_err(failed)?;
                let mut next = || tried(|| object.handle.block_on(stream.next()).transpose());
                while let Some(batch) = next().map_err(damaged)? {
                    if !self.give(&batch, target, &mut delivered, send)? {
                        return Ok(None);
                    }
                }
                promised
            }
        };
        // Files are about whose footer and row groups do not agree.
        if delivered != promised {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the Parquet file is damaged: {delivered} of the {promised} rows of its row \
                     groups can be read"
                ),
            )
            .with("file", &entry.name));
        }
        hash.of(entry).map(Some)
    }

    /// How many rows a batch has, after a look whether this is the file that was sampled.
    fn rows_of_batch<T>(
        &self,
        entry: &FileEntry,
        builder: &ArrowReaderBuilder<T>,
        max_record: usize,
    ) -> Result<usize> {
        if builder.schema() != &self.schema {
            return Err(opened::changed(entry));
        }
        rows_of_batch(builder.metadata(), max_record)
            .map_err(|error| error.with("file", &entry.name))
    }

    /// Hands a batch on; false when nobody listens any more.
    fn give(
        &self,
        batch: &RecordBatch,
        target: &Target,
        delivered: &mut u64,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<bool> {
        *delivered += batch.num_rows() as u64;
        let parsed =
            typed::convert(batch, &self.names, target, |at, column| match self.uuids.get(at) {
                Some(true) => typed::uuid_texts(column),
                _ => Ok(Arc::clone(column)),
            })?;
        Ok(send(Cut::Parsed(parsed)))
    }
}

/// How many rows a batch has.
///
/// # Errors
/// Kind `Data` when a row has more bytes than a record may.
pub(super) fn rows_of_batch(metadata: &ParquetMetaData, max_record: usize) -> Result<usize> {
    let row = row_bytes(metadata);
    if row > max_record as u64 {
        return Err(Error::new(
            ErrorKind::Data,
            format!("rows of {row} bytes are longer than `max_record_bytes` ({max_record})"),
        ));
    }
    Ok(typed::rows_of_batch(row))
}

/// How many bytes a row has on average, in the row group where it has most.
fn row_bytes(metadata: &ParquetMetaData) -> u64 {
    let groups = metadata.row_groups().iter();
    let bytes = groups.map(|group| {
        let rows = group.num_rows().max(1).unsigned_abs();
        group.total_byte_size().max(0).unsigned_abs() / rows
    });
    bytes.max().unwrap_or(0)
}

const DAMAGED: &str = "the Parquet file is damaged";

fn rows_of_groups(metadata: &ParquetMetaData) -> u64 {
    let groups = metadata.row_groups().iter();
    groups.map(|group| group.num_rows().max(0).unsigned_abs()).sum()
}

fn unreadable(entry: &FileEntry, error: impl Into<Failure>) -> Error {
    Error::new(ErrorKind::Data, "not a Parquet file, or a damaged one")
        .with("file", &entry.name)
        .because(error)
}
