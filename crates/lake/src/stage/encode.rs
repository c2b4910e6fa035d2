//! Rows into Parquet files. One file is written at a time (of a partitioned table: one for each of
//! some partitions), its columns encoded side by side, so that a file covers a range of the rows as
//! they came, which is what lets later reads and upserts skip it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::execution::runtime_env::RuntimeEnv;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression as ParquetCompression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use tidemill_core::{Error, ErrorKind, Result};

use super::partition::PartitionSort;
use crate::delta::{Add, FileStatistics, OURS, format_partition};
use crate::failpoint::failpoint;
use crate::storage::{Storage, store_error};

/// How data files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// Zstandard at this level (1 to 22).
    Zstd(i32),
}

/// How data files are written.
#[derive(Debug, Clone)]
pub(crate) struct WriteSettings {
    pub parallelism: usize,
    pub compression: Compression,
    pub row_group_rows: usize,
    /// Files begin at the smaller size and grow with the table.
    pub file_bytes: std::ops::RangeInclusive<u64>,
    /// Memory and spill of what has to be sorted first.
    pub environment: Arc<RuntimeEnv>,
}

/// Rows are handed to the encoder in lots of about this many,
pub(crate) const LOT_ROWS: usize = 65_536;

/// or of about this many bytes, whichever is less. Some lots are under way at a time.
pub(crate) const LOT_BYTES: usize = 8 << 20;

/// Parts are handed to the store when they are about this large.
const PART_BYTES: usize = 8 << 20;

/// What all open files of a write may hold in memory before the largest is written out.
const OPEN_BYTES: usize = 128 << 20;

/// How many files of a write are open at a time; rows of further partitions wait in a sort.
const OPEN_FILES: usize = 64;

/// A row group is closed at this many encoded bytes, whatever its rows.
const GROUP_BYTES: usize = 32 << 20;

/// What comes in fewer bytes than this as its first lot is a table of a few pages: to set up a
/// compressor for each of its columns costs more than all the rest of writing it.
const SMALL_BYTES: usize = 128 << 10;

/// A data file that was written.
pub(crate) struct Written {
    pub add: Add,
    pub location: Path,
    pub rows: u64,
    /// Which of the rows that came in it holds, in its own order.
    pub ordinals: Ordinals,
}

/// The rows of a file by their number in the stream.
#[derive(Debug, Clone)]
pub(crate) enum Ordinals {
    /// As many as the file has, beginning with this one.
    From(u64),
    /// These; empty where rows need no numbers.
    List(Vec<u32>),
}

/// Writes the data files of one stage. Lives on a blocking thread.
pub(crate) struct TableWriter {
    storage: Storage,
    runtime: tokio::runtime::Handle,
    settings: WriteSettings,
    table: Path,
    prefix: String,
    schema: SchemaRef,
    file_schema: SchemaRef,
    /// Column numbers of the partition columns.
    partition: Vec<usize>,
    plain: Vec<usize>,
    partition_rows: Option<RowConverter>,
    properties: Option<Arc<WriterProperties>>,
    open: HashMap<Vec<u8>, OpenFile>,
    /// Rows of partitions that came when so many files were open.
    late: Option<PartitionSort>,
    /// Whether each file has to know the numbers of its rows.
    numbered: bool,
    written: Vec<Written>,
    started: Vec<Path>,
    sequence: usize,
    bytes: u64,
    rows: u64,
}

impl TableWriter {
    /// Files go to the table's folder, their names begin with `prefix`.
    pub(crate) fn new(
        storage: Storage,
        runtime: tokio::runtime::Handle,
        settings: WriteSettings,
        table: Path,
        prefix: String,
        schema: SchemaRef,
        partition_by: &[String],
    ) -> Result<Self> {
        let partition = partition_by
            .iter()
            .map(|name| {
                schema.index_of(name).map_err(|_| {
                    Error::new(
                        ErrorKind::Config,
                        "the table is partitioned by a column that it does not have",
                    )
                    .with("column", name)
                })
            })
            .collect::<Result<Vec<usize>>>()?;
        let plain: Vec<usize> =
            (0..schema.fields().len()).filter(|index| !partition.contains(index)).collect();
        if plain.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "a table needs a column that it is not partitioned by",
            ));
        }
        let file_schema = Arc::new(schema.project(&plain).map_err(encoding)?);
        let partition_rows = if partition.is_empty() {
            None
        } else {
            let fields = partition
                .iter()
                .map(|index| SortField::new(schema.field(*index).data_type().clone()))
                .collect();
            Some(RowConverter::new(fields).map_err(encoding)?)
        };
        Ok(TableWriter {
            storage,
            runtime,
            settings,
            table,
            prefix,
            schema,
            file_schema,
            partition,
            plain,
            partition_rows,
            properties: None,
            open: HashMap::new(),
            late: None,
            numbered: false,
            written: Vec::new(),
            started: Vec::new(),
            sequence: 0,
            bytes: 0,
            rows: 0,
        })
    }

    /// Every file that was begun, finished or not: what a discard deletes.
    pub(crate) fn started(&self) -> &[Path] {
        &self.started
    }

    /// Notes for each file which of the rows it holds.
    pub(crate) fn number_rows(&mut self) {
        self.numbered = true;
    }

    /// Writes rows of the table's columns.
    pub(crate) fn write(&mut self, batches: &[RecordBatch]) -> Result<()> {
        if self.properties.is_none()
            && let Some(first) = batches.iter().find(|batch| batch.num_rows() > 0)
        {
            if !exceeds(batches, SMALL_BYTES) {
                self.settings.compression = Compression::None;
            }
            self.properties = Some(Arc::new(self.properties_for(first)));
        }
        if self.partition.is_empty() {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            if rows == 0 {
                return Ok(());
            }
            let ordinal = self.rows;
            self.rows += rows as u64;
            self.write_to(Vec::new(), BTreeMap::new(), batches, || Ordinals::From(ordinal))?;
        } else {
            for batch in batches {
                self.write_partitioned(batch)?;
            }
        }
        self.keep_memory()
    }

    fn write_partitioned(&mut self, batch: &RecordBatch) -> Result<()> {
        let (keys, rows) = self.partition_keys(batch)?;
        let mut groups: HashMap<&[u8], Vec<u32>> = HashMap::new();
        let encoded: Vec<_> = rows.iter().collect();
        for (index, row) in encoded.iter().enumerate() {
            groups.entry(row.data()).or_default().push(index as u32);
        }
        let mut groups: Vec<(Vec<u8>, Vec<u32>)> =
            groups.into_iter().map(|(key, rows)| (key.to_vec(), rows)).collect();
        groups.sort_unstable();
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        let data = batch.project(&self.plain).map_err(encoding)?;
        let mut late = Vec::new();
        for (key, rows) in groups {
            let full = self.late.is_some() || self.open.len() >= OPEN_FILES;
            if full && !self.open.contains_key(&key) {
                late.extend(rows);
                continue;
            }
            let values = self.partition_values(&keys, rows[0] as usize)?;
            let ordinals: Vec<u32> = if self.numbered {
                rows.iter().map(|row| (first + u64::from(*row)) as u32).collect()
            } else {
                Vec::new()
            };
            let part = if rows.len() == data.num_rows() {
                data.clone()
            } else {
                let indices = UInt32Array::from(rows);
                arrow::compute::take_record_batch(&data, &indices).map_err(encoding)?
            };
            self.write_to(key, values, std::slice::from_ref(&part), || Ordinals::List(ordinals))?;
        }
        if late.is_empty() {
            return Ok(());
        }
        late.sort_unstable();
        let numbers = late.iter().map(|row| (first + u64::from(*row)) as i64).collect();
        let rows =
            arrow::compute::take_record_batch(batch, &UInt32Array::from(late)).map_err(encoding)?;
        let sort = match &mut self.late {
            Some(sort) => sort,
            none => none.insert(PartitionSort::new(
                &self.runtime,
                self.settings.environment.clone(),
                &self.schema,
                &self.partition,
            )?),
        };
        sort.add(&rows, numbers)
    }

    /// Writes the rows that waited, one partition after the other.
    fn write_late(&mut self, mut sort: PartitionSort) -> Result<()> {
        let mut current = Vec::new();
        while let Some(batch) = sort.next()? {
            let (keys, rows) = self.partition_keys(&batch)?;
            let numbers = batch.column(self.schema.fields().len()).clone();
            let numbers = numbers.as_primitive::<Int64Type>().values();
            let data = batch.project(&self.plain).map_err(encoding)?;
            let mut from = 0;
            while from < batch.num_rows() {
                let key = rows.row(from);
                let same = (from..batch.num_rows()).take_while(|row| rows.row(*row) == key);
                let to = from + same.count();
                if current != key.data() {
                    if let Some(file) = self.open.remove(&current) {
                        self.finish_file(file)?;
                    }
                    current = key.data().to_vec();
                }
                let values = self.partition_values(&keys, from)?;
                let ordinals = if self.numbered {
                    numbers[from..to].iter().map(|number| *number as u32).collect()
                } else {
                    Vec::new()
                };
                let part = data.slice(from, to - from);
                self.write_to(current.clone(), values, &[part], || Ordinals::List(ordinals))?;
                from = to;
            }
        }
        match self.open.remove(&current) {
            Some(file) => self.finish_file(file),
            None => Ok(()),
        }
    }

    /// The partition columns of rows, and the same as bytes that can be compared.
    fn partition_keys(&mut self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Rows)> {
        let invariant =
            || Error::new(ErrorKind::Internal, "a partitioned write without partitions");
        let keys: Vec<ArrayRef> =
            self.partition.iter().map(|index| batch.column(*index).clone()).collect();
        let converter = self.partition_rows.as_mut().ok_or_else(invariant)?;
        let rows = converter.convert_columns(&keys).map_err(encoding)?;
        Ok((keys, rows))
    }

    fn partition_values(
        &self,
        keys: &[ArrayRef],
        row: usize,
    ) -> Result<BTreeMap<String, Option<String>>> {
        let named = self.partition.iter().zip(keys).map(|(index, array)| {
            Ok((self.schema.field(*index).name().clone(), format_partition(array, row)?))
        });
        named.collect()
    }

    fn write_to(
        &mut self,
        key: Vec<u8>,
        values: BTreeMap<String, Option<String>>,
        batches: &[RecordBatch],
        ordinals: impl FnOnce() -> Ordinals,
    ) -> Result<()> {
        let mut file = match self.open.remove(&key) {
            Some(mut file) => {
                if let (Ordinals::List(list), Ordinals::List(more)) =
                    (&mut file.ordinals, ordinals())
                {
                    list.extend(more);
                }
                file
            }
            None => self.open_file(values, ordinals())?,
        };
        file.encode(batches, self.settings.parallelism)?;
        let encoded = file.in_progress();
        if file.group_rows >= self.settings.row_group_rows || encoded >= GROUP_BYTES {
            file.close_group(self.settings.parallelism, &self.runtime)?;
        }
        // A file grows with what was written before it: small tables get files that an upsert can
        // leave alone, large ones do not get too many.
        let wanted = (self.bytes / 8)
            .clamp(*self.settings.file_bytes.start(), *self.settings.file_bytes.end());
        if file.bytes + file.in_progress() as u64 >= wanted {
            self.finish_file(file)
        } else {
            self.open.insert(key, file);
            Ok(())
        }
    }

    fn keep_memory(&mut self) -> Result<()> {
        loop {
            let total: usize = self.open.values().map(OpenFile::memory).sum();
            if total < OPEN_BYTES {
                return Ok(());
            }
            let largest =
                self.open.iter().max_by_key(|(_, file)| file.memory()).map(|(key, _)| key.clone());
            let Some(file) = largest.and_then(|key| self.open.remove(&key)) else {
                return Ok(());
            };
            self.finish_file(file)?;
        }
    }

    fn open_file(
        &mut self,
        values: BTreeMap<String, Option<String>>,
        ordinals: Ordinals,
    ) -> Result<OpenFile> {
        failpoint!("stage.before-file");
        let extension = match self.settings.compression {
            Compression::None => "parquet",
            Compression::Snappy => "snappy.parquet",
            Compression::Zstd(_) => "zstd.parquet",
        };
        let name = format!("part-{:05}-{}.{extension}", self.sequence, self.prefix);
        self.sequence += 1;
        let location = self.table.clone().join(name.as_str());
        let upload = self
            .runtime
            .block_on(self.storage.objects().put_multipart(&location))
            .map_err(|error| store_error(error, "a data file cannot be created", &location))?;
        self.started.push(location.clone());
        let properties = match &self.properties {
            Some(properties) => properties.clone(),
            None => Arc::new(self.base_properties().build()),
        };
        OpenFile::new(&self.file_schema, properties, upload, name, location, values, ordinals)
    }

    fn finish_file(&mut self, mut file: OpenFile) -> Result<()> {
        file.close_group(self.settings.parallelism, &self.runtime)?;
        let metadata = file.writer.finish().map_err(encoding)?;
        let rest = file.sink.take_all();
        file.upload(&self.runtime, rest)?;
        failpoint!("stage.after-file");
        self.runtime
            .block_on(file.upload.complete())
            .map_err(|error| store_error(error, "a data file cannot be written", &file.location))?;
        let statistics = FileStatistics::from_parquet(&metadata, &self.file_schema);
        self.bytes += file.bytes;
        self.written.push(Written {
            rows: statistics.rows.unwrap_or_default(),
            add: Add {
                path: file.name,
                partition_values: file.values,
                size: file.bytes as i64,
                modification_time: crate::now_millis(),
                data_change: true,
                stats: Some(statistics.to_json(&self.file_schema)),
                tags: Some(BTreeMap::from([(OURS.to_owned(), Some("1".to_owned()))])),
                deletion_vector: None,
            },
            location: file.location,
            ordinals: file.ordinals,
        });
        Ok(())
    }

    /// Finishes every file.
    pub(crate) fn finish(&mut self) -> Result<Vec<Written>> {
        failpoint!("stage.before-finish");
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, file) in open {
            self.finish_file(file)?;
        }
        if let Some(late) = self.late.take() {
            self.write_late(late)?;
        }
        Ok(std::mem::take(&mut self.written))
    }

    /// Deletes everything that was begun.
    pub(crate) fn abort(&mut self) {
        self.late = None;
        for (_, mut file) in self.open.drain() {
            let _ = self.runtime.block_on(file.upload.abort());
        }
        let started = std::mem::take(&mut self.started);
        let _ = self.runtime.block_on(self.storage.delete_all(started));
    }

    fn base_properties(&self) -> WriterPropertiesBuilder {
        writer_properties(self.settings.compression)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(None)
    }

    /// A dictionary that does not pay for itself costs more than anything else, so a look at the
    /// first rows decides which columns get one.
    fn properties_for(&self, first: &RecordBatch) -> WriterProperties {
        let mut builder = self.base_properties();
        for (index, field) in self.schema.fields().iter().enumerate() {
            if self.partition.contains(&index) || dictionary_pays(first.column(index)) {
                continue;
            }
            let path = ColumnPath::from(field.name().as_str());
            builder = builder.set_column_dictionary_enabled(path.clone(), false);
            let encoding = match field.data_type() {
                DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) => {
                    Some(Encoding::DELTA_BINARY_PACKED)
                }
                DataType::Utf8 => Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
                _ => None,
            };
            if let Some(encoding) = encoding {
                builder = builder.set_column_encoding(path, encoding);
            }
        }
        builder.build()
    }
}

/// What every data file says and how it is compressed.
pub(super) fn writer_properties(compression: Compression) -> WriterPropertiesBuilder {
    let compression = match compression {
        Compression::None => ParquetCompression::UNCOMPRESSED,
        Compression::Snappy => ParquetCompression::SNAPPY,
        Compression::Zstd(level) => {
            ParquetCompression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default())
        }
    };
    WriterProperties::builder()
        .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression)
}

/// Whether the values take more bytes than this.
fn exceeds(batches: &[RecordBatch], limit: usize) -> bool {
    let mut bytes = 0;
    batches.iter().flat_map(RecordBatch::columns).any(|column| {
        // A type that cannot be measured is taken for a large one.
        bytes += column.to_data().get_slice_memory_size().unwrap_or(limit + 1);
        bytes > limit
    })
}

/// Whether the values repeat enough. A guess from the beginning: too many different ones, or as
/// many new ones in the second half as in the first.
fn dictionary_pays(column: &ArrayRef) -> bool {
    const SAMPLE: usize = 8_192;
    let rows = column.len().min(SAMPLE);
    if rows < 512 {
        return true;
    }
    let distinct = |from: usize, seen: &mut HashSet<u64>, to: usize| -> Option<usize> {
        match column.data_type() {
            DataType::Int32 => {
                let values = column.as_primitive::<Int32Type>();
                seen.extend(values.values()[from..to].iter().map(|value| *value as u64));
            }
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>();
                seen.extend(values.values()[from..to].iter().map(|value| *value as u64));
            }
            DataType::Float64 => {
                let values = column.as_primitive::<Float64Type>();
                seen.extend(values.values()[from..to].iter().map(|value| value.to_bits()));
            }
            DataType::Float32 => {
                let values = column.as_primitive::<Float32Type>();
                seen.extend(
                    values.values()[from..to].iter().map(|value| u64::from(value.to_bits())),
                );
            }
            DataType::Date32 | DataType::Timestamp(..) | DataType::Decimal128(..) => {
                let data = column.to_data();
                let width = data.data_type().primitive_width()?;
                let bytes = data.buffers().first()?.as_slice();
                let start = data.offset() * width;
                for value in bytes.get(start + from * width..start + to * width)?.chunks(width) {
                    seen.insert(xxhash_rust::xxh3::xxh3_64(value));
                }
            }
            DataType::Utf8 => {
                let values = column.as_string::<i32>();
                seen.extend((from..to).map(|row| {
                    if values.is_null(row) {
                        0
                    } else {
                        xxhash_rust::xxh3::xxh3_64(values.value(row).as_bytes())
                    }
                }));
            }
            _ => return None,
        }
        Some(seen.len())
    };
    let mut seen = HashSet::new();
    let half = rows / 2;
    let Some(first) = distinct(0, &mut seen, half) else { return true };
    let Some(all) = distinct(half, &mut seen, rows) else { return true };
    let grows = all * 10 >= first * 17;
    !(all > rows / 2 || (grows && all > rows / 16))
}

/// One Parquet file that is being written.
struct OpenFile {
    writer: SerializedFileWriter<Sink>,
    sink: Sink,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    columns: Vec<Mutex<Column>>,
    leaves: Vec<usize>,
    group_rows: usize,
    group: usize,
    upload: Box<dyn MultipartUpload>,
    /// Bytes that were handed to the store.
    bytes: u64,
    name: String,
    location: Path,
    values: BTreeMap<String, Option<String>>,
    ordinals: Ordinals,
}

/// The writers of one top-level column, and what it cost so far.
struct Column {
    writers: Vec<ArrowColumnWriter>,
    nanos: u128,
    chunks: Vec<ArrowColumnChunk>,
}

/// Collects what the Parquet writer writes, in parts, until it is handed on.
#[derive(Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    full: Vec<Vec<u8>>,
    open: Vec<u8>,
}

impl Sink {
    /// The parts that have their size.
    pub(super) fn take_full(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut lock(&self.0).full)
    }

    /// These and what is left.
    pub(super) fn take_all(&self) -> Vec<Vec<u8>> {
        let mut parts = lock(&self.0);
        let mut all = std::mem::take(&mut parts.full);
        let open = std::mem::take(&mut parts.open);
        if !open.is_empty() {
            all.push(open);
        }
        all
    }

    fn len(&self) -> usize {
        let parts = lock(&self.0);
        parts.full.iter().map(Vec::len).sum::<usize>() + parts.open.len()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut parts = lock(&self.0);
        let room = PART_BYTES - parts.open.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        parts.open.extend_from_slice(taken);
        if parts.open.len() == PART_BYTES {
            // Who fills one part will fill another.
            let next = Vec::with_capacity(PART_BYTES);
            let full = std::mem::replace(&mut parts.open, next);
            parts.full.push(full);
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl OpenFile {
    fn new(
        schema: &SchemaRef,
        properties: Arc<WriterProperties>,
        upload: Box<dyn MultipartUpload>,
        name: String,
        location: Path,
        values: BTreeMap<String, Option<String>>,
        ordinals: Ordinals,
    ) -> Result<Self> {
        let sink = Sink::default();
        let parquet_schema = ArrowSchemaConverter::new().convert(schema).map_err(encoding)?;
        let writer =
            SerializedFileWriter::new(sink.clone(), parquet_schema.root_schema_ptr(), properties)
                .map_err(encoding)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, schema.clone());
        let leaves = schema.fields().iter().map(|field| leaf_count(field.data_type())).collect();
        Ok(OpenFile {
            writer,
            sink,
            factory,
            schema: schema.clone(),
            columns: Vec::new(),
            leaves,
            group_rows: 0,
            group: 0,
            upload,
            bytes: 0,
            name,
            location,
            values,
            ordinals,
        })
    }

    fn open_group(&mut self) -> Result<()> {
        let mut writers =
            self.factory.create_column_writers(self.group).map_err(encoding)?.into_iter();
        let costs: Vec<u128> = self.columns.iter().map(|column| lock(column).nanos).collect();
        self.columns = self
            .leaves
            .iter()
            .enumerate()
            .map(|(index, leaves)| {
                Mutex::new(Column {
                    writers: writers.by_ref().take(*leaves).collect(),
                    nanos: costs.get(index).copied().unwrap_or_default(),
                    chunks: Vec::new(),
                })
            })
            .collect();
        self.group += 1;
        Ok(())
    }

    fn encode(&mut self, batches: &[RecordBatch], threads: usize) -> Result<()> {
        if self.group_rows == 0 {
            self.open_group()?;
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let small = rows * self.columns.len() < 32_768;
        let schema = self.schema.clone();
        each_column(&self.columns, if small { 1 } else { threads }, |index, column| {
            for batch in batches {
                let leaves =
                    compute_leaves(schema.field(index), batch.column(index)).map_err(encoding)?;
                for (writer, leaf) in column.writers.iter_mut().zip(&leaves) {
                    writer.write(leaf).map_err(encoding)?;
                }
            }
            Ok(())
        })?;
        self.group_rows += rows;
        Ok(())
    }

    /// Ends the row group. Its columns are handed on one after the other, so that there are not two
    /// copies of the whole group.
    fn close_group(&mut self, threads: usize, runtime: &tokio::runtime::Handle) -> Result<()> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let small = self.group_rows * self.columns.len() < 32_768;
        each_column(&self.columns, if small { 1 } else { threads }, |_, column| {
            column.chunks = std::mem::take(&mut column.writers)
                .into_iter()
                .map(ArrowColumnWriter::close)
                .collect::<parquet::errors::Result<_>>()
                .map_err(encoding)?;
            Ok(())
        })?;
        let mut group = self.writer.next_row_group().map_err(encoding)?;
        for column in &self.columns {
            for chunk in std::mem::take(&mut lock(column).chunks) {
                chunk.append_to_row_group(&mut group).map_err(encoding)?;
            }
            let parts = self.sink.take_full();
            self.bytes += put_parts(&mut *self.upload, runtime, parts, &self.location)?;
        }
        group.close().map_err(encoding)?;
        self.writer.flush().map_err(|error| {
            Error::new(ErrorKind::Internal, "rows cannot be encoded").because(error)
        })?;
        self.group_rows = 0;
        Ok(())
    }

    fn upload(&mut self, runtime: &tokio::runtime::Handle, parts: Vec<Vec<u8>>) -> Result<()> {
        self.bytes += put_parts(&mut *self.upload, runtime, parts, &self.location)?;
        Ok(())
    }

    /// Encoded bytes that are not handed to the store yet.
    fn in_progress(&self) -> usize {
        let open: usize = if self.group_rows == 0 {
            0
        } else {
            self.columns
                .iter()
                .map(|column| {
                    let column = lock(column);
                    column
                        .writers
                        .iter()
                        .map(ArrowColumnWriter::get_estimated_total_bytes)
                        .sum::<usize>()
                })
                .sum()
        };
        open + self.sink.len()
    }

    fn memory(&self) -> usize {
        let open: usize = self
            .columns
            .iter()
            .map(|column| {
                lock(column).writers.iter().map(ArrowColumnWriter::memory_size).sum::<usize>()
            })
            .sum();
        open + self.sink.len()
    }
}

/// Hands parts to the store; gives how many bytes they have.
pub(super) fn put_parts(
    upload: &mut dyn MultipartUpload,
    runtime: &tokio::runtime::Handle,
    parts: Vec<Vec<u8>>,
    location: &Path,
) -> Result<u64> {
    let mut bytes = 0;
    for part in parts {
        bytes += part.len() as u64;
        runtime
            .block_on(upload.put_part(part.into()))
            .map_err(|error| store_error(error, "a data file cannot be written", location))?;
    }
    Ok(bytes)
}

/// Runs work for each column, the costliest first, on so many threads.
fn each_column(
    columns: &[Mutex<Column>],
    threads: usize,
    work: impl Fn(usize, &mut Column) -> Result<()> + Sync,
) -> Result<()> {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lock(&columns[*index]).nanos));
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let run = || {
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut column = lock(&columns[*index]);
            let start = Instant::now();
            if let Err(error) = work(*index, &mut column) {
                lock(&failed).get_or_insert(error);
                return;
            }
            column.nanos += start.elapsed().as_nanos();
        }
    };
    if threads <= 1 || columns.len() <= 1 {
        run();
    } else {
        std::thread::scope(|scope| {
            for _ in 1..threads.min(columns.len()) {
                scope.spawn(run);
            }
            run();
        });
    }
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn leaf_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field.data_type())).sum(),
        DataType::List(element) => leaf_count(element.data_type()),
        DataType::Map(entries, _) => leaf_count(entries.data_type()),
        _ => 1,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encoding(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Internal, "rows cannot be encoded").because(error)
}

/// The columns of a data file: the table's without those that it is partitioned by.
pub(crate) fn file_schema(schema: &Schema, partition_columns: &[String]) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .filter(|field| !partition_columns.contains(field.name()))
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};

    #[test]
    fn dictionaries_are_for_columns_that_repeat() {
        let cases: [(&str, ArrayRef, bool); 5] = [
            ("flag", Arc::new(Int64Array::from_iter_values((0..8192).map(|i| i % 3))), true),
            ("days", Arc::new(Int64Array::from_iter_values((0..8192).map(|i| i * 7 % 2500))), true),
            ("sorted", Arc::new(Int64Array::from_iter_values((0..8192).map(|i| i / 4))), false),
            ("unique", Arc::new(Int64Array::from_iter_values(0..8192)), false),
            (
                "text",
                Arc::new(StringArray::from_iter_values((0..8192).map(|i| format!("comment {i}")))),
                false,
            ),
        ];
        for (name, column, expected) in cases {
            assert_eq!(dictionary_pays(&column), expected, "{name}");
        }
    }
}
