//! Parquet: the files bring their types; those of all files are merged.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use futures::StreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{
    ArrowReaderBuilder, ArrowReaderMetadata, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::LogicalType;
use parquet::file::metadata::ParquetMetaData;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::format::Cut;
use super::header::{column_names, duckdb_names, written_names};
use super::input::hash_file;
use super::listing::FileEntry;
use super::place::{Object, ObjectReader, Place, cannot};
use super::read::{Parsed, Reject};
use super::settings::NameStyle;
use super::target::Target;
use super::types::Types;

/// How many rows a batch has,
const BATCH: usize = 32 << 10;

/// unless it would have more than about so many bytes.
const BATCH_BYTES: u64 = 8 << 20;

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
        let headers: Vec<&str> =
            schema.fields().iter().map(|field| field.name().as_str()).collect();
        let names = match style {
            NameStyle::SnakeCase => column_names(&headers),
            NameStyle::AsWritten => written_names(&headers),
            NameStyle::DuckDb => duckdb_names(&headers),
        };
        let root = metadata.metadata().file_metadata().schema();
        let uuids: Vec<bool> = root
            .get_fields()
            .iter()
            .map(|column| {
                column.is_primitive()
                    && column.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid)
            })
            .collect();
        let mut types = Types::default();
        for ((name, field), uuid) in names.iter().zip(schema.fields()).zip(&uuids) {
            let shape = types.entry(name);
            shape.original = (field.name() != name).then(|| field.name().clone());
            shape.arrow = Some(if *uuid { DataType::Utf8 } else { plain(field.data_type()) });
        }
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
        let row = row_bytes(builder.metadata());
        if row > max_record as u64 {
            return Err(Error::new(
                ErrorKind::Data,
                format!("rows of {row} bytes are longer than `max_record_bytes` ({max_record})"),
            )
            .with("file", &entry.name));
        }
        Ok((BATCH_BYTES / row.max(1)).clamp(1, BATCH as u64) as usize)
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
        Ok(send(Cut::Parsed(self.convert(&batch, target)?)))
    }

    /// Puts the columns in the target's order and types.
    fn convert(&self, batch: &RecordBatch, target: &Target) -> Result<Parsed> {
        let rows = batch.num_rows();
        let mut parsed = Parsed { rows, lines_read: rows as u32, ..Parsed::default() };
        parsed.lines.push_run(0, rows);
        for (index, name) in target.names.iter().enumerate() {
            let data_type = target.schema.field(index).data_type();
            let column = match self.names.iter().position(|own| own == name) {
                None => new_null_array(data_type, rows),
                Some(at) if self.uuids.get(at) == Some(&true) => {
                    cast(&uuid_texts(batch.column(at))?, data_type, name, &mut parsed)?
                }
                Some(at) => cast(batch.column(at), data_type, name, &mut parsed)?,
            };
            parsed.columns.push(column);
        }
        Ok(parsed)
    }
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

/// Casts; a value that does not fit makes its row a rejected one.
fn cast(
    column: &ArrayRef,
    data_type: &DataType,
    name: &str,
    parsed: &mut Parsed,
) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(column, data_type, &options).map_err(|error| {
        Error::new(
            ErrorKind::Data,
            format!("column `{name}` cannot be read as {data_type}; it is {}", column.data_type()),
        )
        .because(error)
    })?;
    if cast.null_count() > column.null_count() {
        for row in (0..column.len()).filter(|row| cast.is_null(*row) && column.is_valid(*row)) {
            if parsed.bad_rows.insert(row as u32) {
                let reason = format!("column `{name}`: the value is not a {data_type}");
                parsed.rejects.push(Reject { line: row as u32, reason, raw: String::new() });
            }
        }
    }
    Ok(cast)
}

/// `8-4-4-4-12` hex digits.
fn uuid_texts(column: &ArrayRef) -> Result<ArrayRef> {
    let Some(uuids) = column.as_fixed_size_binary_opt().filter(|uuids| uuids.value_length() == 16)
    else {
        return Err(Error::new(ErrorKind::Data, "a column of UUIDs does not have 16 bytes each"));
    };
    let texts = uuids.iter().map(|uuid| {
        uuid.map(|bytes| {
            let mut text = String::with_capacity(36);
            for (at, byte) in bytes.iter().enumerate() {
                if matches!(at, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
            text
        })
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Microseconds for times, and no views or large offsets, so that files merge.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
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
            Place::Object(object) => Opened::Object(object.clone(), ObjectReader(object.clone())),
        })
    }
}

fn rows_of_groups(metadata: &ParquetMetaData) -> u64 {
    let groups = metadata.row_groups().iter();
    groups.map(|group| group.num_rows().max(0).unsigned_abs()).sum()
}

/// Stands for the content of an object, which is not read twice to be hashed: its version and size.
fn version_hash(object: &Object) -> String {
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
