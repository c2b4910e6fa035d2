//! Files with other values in one column: that column is encoded again, all others are copied as the
//! bytes that they are, which is many times quicker than to read and to write their values.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::Plan;
use super::columns::conform_array;
use super::encode::{Ordinals, Sink, Written, put_parts, writer_properties};
use crate::delta::{Add, FileStatistics, LiveFile, OURS};
use crate::lake::Inner;
use crate::reader::ObjectReader;
use crate::storage::store_error;

/// New values of one column for some rows of a file.
pub(super) struct Patch {
    pub column: Field,
    pub values: ArrayRef,
    /// Row of the file and place among the values, by row.
    pub rows: Vec<(u32, u32)>,
}

/// Bytes that are a piece of a file, read by their place in it.
struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Piece {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        use bytes::Buf;
        let from = start.checked_sub(self.start).filter(|from| *from <= self.bytes.len() as u64);
        let from = from.ok_or_else(|| ParquetError::EOF("outside of the piece".to_owned()))?;
        Ok(self.bytes.slice(from as usize..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

fn broken(error: ParquetError) -> Error {
    Error::new(ErrorKind::Data, "a data file cannot be written again").because(error)
}

/// A column chunk as it stands in its file.
fn as_it_is(column: &ColumnChunkMetaData, rows: i64) -> ColumnCloseResult {
    ColumnCloseResult {
        bytes_written: column.compressed_size().unsigned_abs(),
        rows_written: rows.unsigned_abs(),
        metadata: column.clone(),
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    }
}

impl Plan {
    /// Writes a file again with a patch. `None` when its columns are not stored as ours are, so that
    /// its rows have to be read. Blocks: to be called off the async threads.
    pub(super) fn patched(
        &self,
        inner: &Arc<Inner>,
        runtime: &tokio::runtime::Handle,
        file: &LiveFile,
        patch: &Patch,
        started: &mut Vec<Path>,
    ) -> Result<Option<Written>> {
        let mut reader =
            ObjectReader::new(&inner.storage, &file.location, file.add.size.unsigned_abs());
        let metadata = runtime.block_on(reader.get_metadata(None)).map_err(broken)?;
        let descriptor = metadata.file_metadata().schema_descr_ptr();
        let index = (0..descriptor.num_columns())
            .find(|leaf| descriptor.column(*leaf).path().parts() == [patch.column.name().clone()]);
        let Some(index) = index else { return Ok(None) };

        let extension = file.add.path.split_once('.').map_or("parquet", |(_, extension)| extension);
        let stage = &uuid::Uuid::new_v4().simple().to_string()[..12];
        let name = format!("part-00000-{}-{stage}.{extension}", self.writer);
        let location = self.base.location.clone().join(name.as_str());
        let sink = Sink::default();
        let settings = properties(inner)
            .set_key_value_metadata(metadata.file_metadata().key_value_metadata().cloned())
            .build();
        let mut writer = SerializedFileWriter::new(
            sink.clone(),
            descriptor.root_schema_ptr(),
            Arc::new(settings),
        )
        .map_err(broken)?;
        let mut upload = None;
        let mut bytes = 0;
        let mut first = 0u32;
        let mut next = 0;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let rows = u32::try_from(group.num_rows()).unwrap_or(u32::MAX);
            let from = next;
            while next < patch.rows.len() && patch.rows[next].0 < first + rows {
                next += 1;
            }
            let old = runtime.block_on(column_of(inner, file, index, number))?;
            let chunk = encoded(inner, patch, &old, first, &patch.rows[from..next])?;
            let Some((chunk, chunk_metadata)) = chunk else { return Ok(None) };
            if chunk_metadata.column_descr() != group.column(index).column_descr() {
                return Ok(None);
            }
            first += rows;
            let upload = match &mut upload {
                Some(upload) => upload,
                none => {
                    started.push(location.clone());
                    none.insert(
                        runtime
                            .block_on(inner.storage.objects().put_multipart(&location))
                            .map_err(|error| {
                                store_error(error, "a data file cannot be created", &location)
                            })?,
                    )
                }
            };
            let mut written = writer.next_row_group().map_err(broken)?;
            for (leaf, column) in group.columns().iter().enumerate() {
                if leaf == index {
                    let close = as_it_is(&chunk_metadata, group.num_rows());
                    written.append_column(&chunk, close).map_err(broken)?;
                } else {
                    let (start, length) = column.byte_range();
                    let range = start..start + length;
                    let piece = runtime.block_on(reader.get_bytes(range)).map_err(broken)?;
                    let piece = Piece { start, bytes: piece };
                    let close = as_it_is(column, group.num_rows());
                    written.append_column(&piece, close).map_err(broken)?;
                }
                bytes += put_parts(&mut **upload, runtime, sink.take_full(), &location)?;
            }
            written.close().map_err(broken)?;
        }
        let Some(mut upload) = upload else { return Ok(None) };
        let metadata: ParquetMetaData = writer.finish().map_err(broken)?;
        bytes += put_parts(&mut *upload, runtime, sink.take_all(), &location)?;
        runtime
            .block_on(upload.complete())
            .map_err(|error| store_error(error, "a data file cannot be written", &location))?;
        let plain: Vec<Arc<Field>> = self
            .evolution
            .schema
            .fields()
            .iter()
            .filter(|field| !self.partition_by.contains(field.name()))
            .cloned()
            .collect();
        let schema = Schema::new(plain);
        let statistics = FileStatistics::from_parquet(&metadata, &schema);
        Ok(Some(Written {
            rows: statistics.rows.unwrap_or_default(),
            add: Add {
                path: name,
                partition_values: file.add.partition_values.clone(),
                size: bytes as i64,
                modification_time: crate::now_millis(),
                data_change: true,
                stats: Some(statistics.to_json(&schema)),
                tags: Some([(OURS.to_owned(), Some("1".to_owned()))].into()),
                deletion_vector: None,
            },
            location,
            ordinals: Ordinals::From(0),
        }))
    }
}

/// One column of one row group.
async fn column_of(
    inner: &Arc<Inner>,
    file: &LiveFile,
    leaf: usize,
    group: usize,
) -> Result<Vec<ArrayRef>> {
    let reader = ObjectReader::new(&inner.storage, &file.location, file.add.size.unsigned_abs());
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(broken)?;
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [leaf]);
    let stream =
        builder.with_projection(mask).with_row_groups(vec![group]).build().map_err(broken)?;
    stream.map(|batch| Ok(batch.map_err(broken)?.column(0).clone())).try_collect().await
}

/// The column with its new values, as a chunk of a Parquet file of its own.
fn encoded(
    inner: &Arc<Inner>,
    patch: &Patch,
    old: &[ArrayRef],
    first: u32,
    rows: &[(u32, u32)],
) -> Result<Option<(Piece, ColumnChunkMetaData)>> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![patch.column.clone()]));
    let parts: Vec<&dyn Array> = old.iter().map(AsRef::as_ref).collect();
    let old =
        arrow::compute::concat(&parts).or_error(ErrorKind::Internal, "values cannot be joined")?;
    let old = conform_array(&old, patch.column.data_type())?;
    let values = if rows.is_empty() {
        old
    } else {
        let mut places: Vec<(usize, usize)> = (0..old.len()).map(|row| (0, row)).collect();
        for (row, value) in rows {
            places[(row - first) as usize] = (1, *value as usize);
        }
        arrow::compute::interleave(&[old.as_ref(), patch.values.as_ref()], &places)
            .or_error(ErrorKind::Internal, "new values cannot be set")?
    };
    let batch = RecordBatch::try_new(schema.clone(), vec![values])
        .or_error(ErrorKind::Internal, "new values cannot be set")?;
    let settings = properties(inner).set_max_row_group_row_count(None).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(settings)).map_err(broken)?;
    writer.write(&batch).map_err(broken)?;
    let metadata = writer.close().map_err(broken)?;
    let [group] = metadata.row_groups() else { return Ok(None) };
    let [column] = group.columns() else { return Ok(None) };
    Ok(Some((Piece { start: 0, bytes: bytes.into() }, column.clone())))
}

fn properties(inner: &Inner) -> WriterPropertiesBuilder {
    writer_properties(inner.options.compression).set_statistics_enabled(EnabledStatistics::Chunk)
}
