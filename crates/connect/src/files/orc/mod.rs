//! ORC: the files bring their types; those of all files are merged.
//!
//! A stripe is read at a time. The library stops in the middle of what it does not expect, so each step is
//! guarded: a damaged file is an error that names it.

mod chunks;

use std::ops::RangeInclusive;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UnionArray};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit, TimestampMicrosecondType};
use orc_rust::reader::metadata::FileMetadata;
use orc_rust::{ArrowReaderBuilder, TimestampPrecision};
use tidemill_core::{Error, ErrorKind, Result};

use super::format::Cut;
use super::guard::guarded;
use super::listing::FileEntry;
use super::opened::{self, Opened};
use super::settings::NameStyle;
use super::target::Target;
use super::typed;
use super::types::Types;
use chunks::Chunks;

/// An ORC file whose footer was read.
#[derive(Debug)]
pub(crate) struct OrcFile {
    schema: SchemaRef,
    names: Vec<String>,
}

/// A stripe is in memory as a whole, so that a larger one is refused.
const LARGEST_STRIPE: u64 = 1 << 30;

/// How many rows a batch has at most.
const BATCH: usize = 8192;

/// The columns of a file of a transactional table of Hive.
const TRANSACTIONAL: [&str; 6] =
    ["operation", "originalTransaction", "bucket", "rowId", "currentTransaction", "row"];

impl OrcFile {
    /// Reads the footer.
    pub(crate) fn open(entry: &FileEntry, style: NameStyle) -> Result<(OrcFile, Types)> {
        let builder = builder(entry, Opened::of(entry)?)?;
        let schema = builder.schema();
        if schema.fields().iter().map(|field| field.name().as_str()).eq(TRANSACTIONAL) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the file is of a transactional table of Hive: it has changes, and not rows",
            )
            .with("file", &entry.name)
            .with(
                "hint",
                "let Hive write the table out: `insert overwrite directory ... select`",
            ));
        }
        for field in schema.fields() {
            known(field, &entry.name)?;
        }
        let names = typed::names_of(&schema, style);
        let simple = schema.fields().iter().map(|field| typed::simple(field));
        let types = typed::types_of(&schema, &names, simple.collect());
        Ok((OrcFile { schema, names }, types))
    }

    /// Reads the file batch by batch; `None` when nobody listens any more, else what stands for its
    /// content.
    pub(crate) fn read(
        &self,
        entry: &FileEntry,
        target: &Target,
        max_record: usize,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let (opened, content) = Opened::whole(entry)?;
        let builder = builder(entry, opened)?;
        if builder.schema().fields() != self.schema.fields() {
            return Err(opened::changed(entry));
        }
        let rows = rows_of_batch(entry, builder.file_metadata(), max_record)?;
        let mut reader = guarded(|| Ok(builder.with_batch_size(rows).build()))
            .map_err(|error| damaged(entry, error))?;
        let promised = reader.total_row_count();
        let mut delivered = 0;
        loop {
            let next = guarded(|| reader.next().transpose().map_err(Into::into));
            let Some(batch) = next.map_err(|error| damaged(entry, error))? else { break };
            delivered += batch.num_rows() as u64;
            let parsed = self.converted(&batch, target);
            if !send(Cut::Parsed(parsed.map_err(|error| error.with("file", &entry.name))?)) {
                return Ok(None);
            }
        }
        if delivered != promised {
            let message = format!(
                "the ORC file is damaged: {delivered} of the {promised} rows of its footer can be read"
            );
            return Err(Error::new(ErrorKind::Data, message).with("file", &entry.name));
        }
        content.of(entry).map(Some)
    }

    fn converted(&self, batch: &RecordBatch, target: &Target) -> Result<super::read::Parsed> {
        batch.columns().iter().try_for_each(look_at_times)?;
        typed::convert(batch, &self.names, target, |at, column| {
            typed::simplified(self.schema.field(at), column)
        })
    }
}

/// A reader of the footer.
fn builder(entry: &FileEntry, opened: Opened) -> Result<ArrowReaderBuilder<Chunks>> {
    let chunks = Chunks::new(opened)
        .map_err(|error| super::place::cannot("cannot open the file", &entry.name, error))?;
    chunks.check().map_err(|error| damaged(entry, error.into()))?;
    let builder = guarded(|| ArrowReaderBuilder::try_new(chunks).map_err(Into::into));
    let builder = builder.map_err(|error| damaged(entry, error))?;
    Ok(builder.with_timestamp_precision(TimestampPrecision::Microsecond))
}

/// How many rows a batch has, by the largest stripe.
fn rows_of_batch(entry: &FileEntry, metadata: &FileMetadata, max_record: usize) -> Result<usize> {
    let mut row = 0;
    for stripe in metadata.stripe_metadatas() {
        let bytes = stripe.data_length().saturating_add(stripe.index_length());
        if bytes > LARGEST_STRIPE {
            return Err(Error::new(
                ErrorKind::Resources,
                format!(
                    "the ORC file has a stripe of {bytes} bytes that would have to be in memory as a \
                     whole, and {LARGEST_STRIPE} is the most"
                ),
            )
            .with("file", &entry.name)
            .with("hint", "write it with smaller stripes (`orc.stripe.size`)"));
        }
        row = row.max(stripe.data_length() / stripe.number_of_rows().max(1));
    }
    if row > max_record as u64 {
        return Err(Error::new(
            ErrorKind::Data,
            format!("rows of {row} bytes are longer than `max_record_bytes` ({max_record})"),
        )
        .with("file", &entry.name));
    }
    // They are compressed.
    Ok(typed::rows_of_batch(row.saturating_mul(8)).min(BATCH))
}

/// Whether a column is one that comes out as it is.
fn known(field: &Field, file: &str) -> Result<()> {
    let wrong = |why: String| {
        Err(Error::new(ErrorKind::Unsupported, why).with("column", field.name()).with("file", file))
    };
    match field.data_type() {
        DataType::Decimal128(precision, scale)
            if !(1..=38).contains(precision) || *scale < 0 || *scale as u8 > *precision =>
        {
            wrong(format!(
                "a decimal of {precision} digits, {scale} of them behind the point, is unknown"
            ))
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| known(field, file)),
        DataType::List(item) => known(item, file),
        DataType::Map(entries, _) => known(entries, file),
        DataType::Union(branches, _) => {
            branches.iter().try_for_each(|(_, field)| known(field, file))
        }
        _ => Ok(()),
    }
}

/// Arrow's writer stores parts of a second before 1970 as a number below 0, which the specification does not
/// have. The library reads such a time as one 584 years later, or stops at it.
fn doubtful() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the file has a time with parts of a second before 1970 as Arrow writes it, or one from 2262 \
         to 2554, and they cannot be told apart",
    )
    .with("hint", "write such times to Parquet, or as texts")
}

fn look_at_times(array: &ArrayRef) -> Result<()> {
    /// Where times of 1677 to 1970 come out.
    const DOUBTFUL: RangeInclusive<i64> = i64::MAX / 1000..=(u64::MAX / 1000) as i64;
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let is_doubtful = |time: i64| time % 1_000_000 != 0 && DOUBTFUL.contains(&time);
            match times.iter().flatten().any(is_doubtful) {
                true => Err(doubtful()),
                false => Ok(()),
            }
        }
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(look_at_times),
        DataType::List(_) => look_at_times(array.as_list::<i32>().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            look_at_times(map.keys())?;
            look_at_times(map.values())
        }
        DataType::Union(branches, _) => {
            let Some(union) = array.as_any().downcast_ref::<UnionArray>() else { return Ok(()) };
            branches.iter().try_for_each(|(branch, _)| look_at_times(union.child(branch)))
        }
        _ => Ok(()),
    }
}

fn damaged(entry: &FileEntry, error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let said = error.to_string();
    let error = if is_of_place(&*error) {
        Error::new(ErrorKind::Io, "cannot read the file").because(error)
    } else if said.contains("attempt to multiply with overflow") {
        doubtful()
    } else if said.contains("decoding timestamp") {
        Error::new(
            ErrorKind::Unsupported,
            "the file has times with nanoseconds, and microseconds are what is kept",
        )
        .with("hint", "write them with microseconds")
        .because(error)
    } else {
        Error::new(ErrorKind::Data, "not an ORC file, or a damaged one").because(error)
    };
    error.with("file", &entry.name)
}

/// Whether the bytes could not be had, which says nothing about them.
fn is_of_place(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && !matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
