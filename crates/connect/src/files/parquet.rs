//! Parquet: the files bring their types; those of all files are merged.

use std::fs::File;
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
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::format::Cut;
use super::input::hash_file;
use super::listing::FileEntry;
use super::place::{Object, ObjectReader, Place, cannot};
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
            Opened::Disk(file) => ArrowReaderMetadata::load(&file, Default::default()),
            Opened::Object(object, mut reader) => {
                let load = ArrowReaderMetadata::load_async(&mut reader, Default::default());
                object.handle.block_on(load)
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
        let failed = |error| unreadable(entry, error);
        let mut delivered = 0;
        let (promised, hash) = match Opened::of(entry)? {
            Opened::Disk(file) => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
                let rows = self.rows_of_batch(entry, &builder, max_record)?;
                let promised = rows_of_groups(builder.metadata());
                let reader = builder.with_batch_size(rows).build().map_err(failed)?;
                for batch in reader {
                    let batch = batch.or_error(ErrorKind::Data, DAMAGED);
                    if !self.give(entry, batch, target, &mut delivered, send)? {
                        return Ok(None);
                    }
                }
                (promised, hash_file(&entry.place, &entry.name)?)
            }
            Opened::Object(object, reader) => {
                let open = ParquetRecordBatchStreamBuilder::new(reader);
                let builder = object.handle.block_on(open).map_err(failed)?;
                let rows = self.rows_of_batch(entry, &builder, max_record)?;
                let promised = rows_of_groups(builder.metadata());
                let mut stream = builder.with_batch_size(rows).build().map_err(failed)?;
                while let Some(batch) = object.handle.block_on(stream.next()) {
                    let batch = batch.or_error(ErrorKind::Data, DAMAGED);
                    if !self.give(entry, batch, target, &mut delivered, send)? {
                        return Ok(None);
                    }
                }
                (promised, version_hash(&object))
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
        Ok(Some(hash))
    }

    /// How many rows a batch has, after a look whether this is the file that was sampled.
    fn rows_of_batch<T>(
        &self,
        entry: &FileEntry,
        builder: &ArrowReaderBuilder<T>,
        max_record: usize,
    ) -> Result<usize> {
        if builder.schema() != &self.schema {
            return Err(changed(entry));
        }
        rows_of_batch(builder.metadata(), max_record)
            .map_err(|error| error.with("file", &entry.name))
    }

    /// Hands a batch on; false when nobody listens any more.
    fn give(
        &self,
        entry: &FileEntry,
        batch: Result<RecordBatch>,
        target: &Target,
        delivered: &mut u64,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<bool> {
        let batch = batch.map_err(|error| error.with("file", &entry.name))?;
        *delivered += batch.num_rows() as u64;
        let parsed =
            typed::convert(&batch, &self.names, target, |at, column| match self.uuids.get(at) {
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

/// A file to read the footer and the columns of.
enum Opened {
    Disk(File),
    Object(Arc<Object>, ObjectReader),
}

impl Opened {
    fn of(entry: &FileEntry) -> Result<Opened> {
        Ok(match &entry.place {
            Place::Disk(path) => Opened::Disk(
                File::open(path)
                    .map_err(|error| cannot("cannot open the file", &entry.name, error))?,
            ),
            Place::Web(web) => Opened::Disk(
                web.on_disk()
                    .map_err(|error| cannot("cannot open the file", &entry.name, error))?,
            ),
            Place::Member(member) => Opened::Disk(
                member
                    .on_disk()
                    .map_err(|error| cannot("cannot open the file", &entry.name, error))?,
            ),
            Place::Object(object) => Opened::Object(object.clone(), ObjectReader(object.clone())),
        })
    }
}

fn rows_of_groups(metadata: &ParquetMetaData) -> u64 {
    let groups = metadata.row_groups().iter();
    groups.map(|group| group.num_rows().max(0).unsigned_abs()).sum()
}

/// Stands for the content of an object, which is not read twice to be hashed: its version and size.
pub(super) fn version_hash(object: &Object) -> String {
    let version =
        object.meta.e_tag.clone().unwrap_or_else(|| object.meta.last_modified.to_string());
    let text = format!("{version} {}", object.meta.size);
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

fn changed(entry: &FileEntry) -> Error {
    Error::new(ErrorKind::Unavailable, "the file changed while it was read")
        .with("file", &entry.name)
}

fn unreadable(entry: &FileEntry, error: parquet::errors::ParquetError) -> Error {
    Error::new(ErrorKind::Data, "not a Parquet file, or a damaged one")
        .with("file", &entry.name)
        .because(error)
}
