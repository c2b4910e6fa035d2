//! A data file of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    DataType, Field as ArrowField, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit,
};
use futures::StreamExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Type as Physical;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::deletes::{Applied, places};
use super::keys::{KeyMaker, KeySet, Keys};
use super::manifest::DataFile;
use super::metadata::Table;
use super::place::Files;
use super::project::{Constants, numbered, path_of, shaped};
use super::schema::{Field, Schema, Type};
use crate::files::format::Cut;
use crate::files::listing::FileEntry;
use crate::files::opened::version_hash;
use crate::files::parquet::rows_of_batch;
use crate::files::place::{Object, ObjectReader, Place};
use crate::files::read::{Lines, Parsed};
use crate::files::target::Target;
use crate::files::typed;

/// What all files of a read share.
pub(super) struct Shared {
    pub(super) table: Table,
    pub(super) schema: Schema,
    /// The columns of the schema as a read names them.
    pub(super) names: Vec<String>,
    pub(super) files: Files,
    pub(super) keys: Keys,
}

/// A data file with what was deleted of it.
pub(crate) struct IcebergFile {
    pub(super) shared: Arc<Shared>,
    pub(super) file: DataFile,
    pub(super) deletes: Applied,
}

const DAMAGED: &str = "the Parquet file is damaged";

impl IcebergFile {
    /// Reads the file batch by batch; `None` when nobody listens any more, else its hash.
    pub(crate) fn read(
        &self,
        entry: &FileEntry,
        target: &Target,
        max_record: usize,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        self.read_rows(entry, target, max_record, send)
            .map_err(|error| error.with("file", &entry.name))
    }

    fn read_rows(
        &self,
        entry: &FileEntry,
        target: &Target,
        max_record: usize,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let Shared { table, schema, files, keys, .. } = self.shared.as_ref();
        let Place::Object(object) = &entry.place else {
            return Err(Error::new(ErrorKind::Internal, "a file of a table is no object"));
        };
        let deleted = places(files, &self.deletes.positions, &self.file.path, self.file.records)?;
        let sets = keys.of(&self.deletes.equalities, table, files)?;
        let handle = &files.handle;
        let builder = handle.block_on(opened(object))?;
        let found = numbered(builder.schema().fields(), table.mapping.as_deref());
        let found = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Data,
                "the file does not have the numbers of its columns, and the table has no \
                 `schema.name-mapping.default` that says them",
            )
        })?;
        let wanted = wanted(&found, schema, &sets);
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
        let found: Fields = wanted.iter().map(|at| Arc::clone(&found[*at])).collect();
        let promised: u64 = builder
            .metadata()
            .row_groups()
            .iter()
            .map(|it| it.num_rows().max(0).unsigned_abs())
            .sum();
        if promised != self.file.records {
            return Err(Error::new(
                ErrorKind::Data,
                format!("the file has {promised} rows, and the table says {}", self.file.records),
            ));
        }
        let rows = rows_of_batch(builder.metadata(), max_record)?;
        let mut stream = builder
            .with_projection(mask)
            .with_batch_size(rows)
            .build()
            .or_error(ErrorKind::Data, DAMAGED)?;
        let constants = constants(&self.file, table)?;
        let mut judges = Vec::new();
        for set in sets {
            judges.push((KeyMaker::new(&set.ids, table)?, set));
        }
        let wide = Arc::new(ArrowSchema::new(
            schema
                .fields
                .iter()
                .map(|field| ArrowField::new(&field.name, field.kind.arrow(), true))
                .collect::<Vec<_>>(),
        ));
        let mut delivered = 0;
        while let Some(batch) = handle.block_on(stream.next()) {
            let batch = batch.or_error(ErrorKind::Data, DAMAGED)?;
            let count = batch.num_rows();
            let mut keep: Option<Vec<bool>> = (!deleted.is_empty())
                .then(|| (0..count as u64).map(|row| !deleted.has(delivered + row)).collect());
            delivered += count as u64;
            for (maker, set) in &judges {
                let found = maker.rows(&found, batch.columns(), count, &constants)?;
                let keep = keep.get_or_insert_with(|| vec![true; count]);
                for (keep, row) in keep.iter_mut().zip(&found) {
                    *keep &= !set.has(row.as_ref());
                }
            }
            let whole = self.whole(&batch, &found, &wide, &constants)?;
            let parsed = self.parsed(whole, keep, target)?;
            if !send(Cut::Parsed(parsed)) {
                return Ok(None);
            }
        }
        // Files are about whose footer and row groups do not agree.
        if delivered != promised {
            return Err(Error::new(
                ErrorKind::Data,
                format!("{DAMAGED}: {delivered} of its {promised} rows can be read"),
            ));
        }
        Ok(Some(version_hash(object)))
    }

    /// The columns of the table.
    fn whole(
        &self,
        batch: &RecordBatch,
        found: &Fields,
        wide: &SchemaRef,
        constants: &Constants,
    ) -> Result<RecordBatch> {
        let column = |want: &Field| {
            let at = path_of(found, want.id).filter(|path| path.len() == 1);
            let at = at.and_then(|path| path.first().copied());
            let own = at.map(|at| (found[at].as_ref(), batch.column(at)));
            shaped(want, own, batch.num_rows(), constants)
        };
        let columns = self.shared.schema.fields.iter().map(column);
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(wide), columns, &options)
            .or_error(ErrorKind::Internal, "a batch is malformed")
    }

    /// The rows that are kept, as the target has them, each with its number in the file.
    fn parsed(
        &self,
        batch: RecordBatch,
        keep: Option<Vec<bool>>,
        target: &Target,
    ) -> Result<Parsed> {
        let names = &self.shared.names;
        let same = |_: usize, column: &ArrayRef| Ok(Arc::clone(column));
        let Some(keep) = keep else { return typed::convert(&batch, names, target, same) };
        let count = batch.num_rows();
        let mask = BooleanArray::new(BooleanBuffer::from(keep.as_slice()), None);
        let kept = filter_record_batch(&batch, &mask)
            .or_error(ErrorKind::Internal, "deleted rows cannot be left out")?;
        let mut parsed = typed::convert(&kept, names, target, same)?;
        let numbers: Vec<u32> =
            keep.iter().zip(0..).filter(|(keep, _)| **keep).map(|(_, at)| at).collect();
        for reject in &mut parsed.rejects {
            reject.line = numbers.get(reject.line as usize).copied().unwrap_or(reject.line);
        }
        parsed.lines = Lines::default();
        numbers.iter().for_each(|number| parsed.lines.push_run(*number, 1));
        parsed.lines_read = count as u32;
        Ok(parsed)
    }
}

/// The columns of a file that are needed: those of the table, and those of keys.
fn wanted(found: &Fields, schema: &Schema, sets: &[Arc<KeySet>]) -> Vec<usize> {
    let columns = schema.fields.iter().map(|field| field.id);
    let keys = sets.iter().flat_map(|set| set.ids.iter().copied());
    let mut wanted: Vec<usize> =
        columns.chain(keys).filter_map(|id| path_of(found, id)?.first().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The values that stand in the partition, for columns that the file does not have.
fn constants(file: &DataFile, table: &Table) -> Result<Constants> {
    let mut constants = Constants::new();
    for (field, value) in table.spec(file.spec)?.iter().zip(&file.partition) {
        let Some(source) = field.source_id.filter(|_| field.transform == "identity") else {
            continue;
        };
        // The column may be gone.
        let Some(column) = table.field(source) else { continue };
        let value = super::literal::of_datum(value, &column.kind)
            .map_err(|error| error.with("column", &column.name))?;
        constants.insert(source, value);
    }
    Ok(constants)
}

/// A reader of the file by its own schema: the numbers of fields are there, and not in one of Arrow
/// that may stand beside it.
async fn opened(object: &Arc<Object>) -> Result<ParquetRecordBatchStreamBuilder<ObjectReader>> {
    let none = "not a Parquet file, or a damaged one";
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = || ObjectReader(Arc::clone(object));
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader(), options)
        .await
        .or_error(ErrorKind::Data, none)?;
    // Times of twelve bytes, which imported files have, reach further than nanoseconds do.
    let old = |at: &usize| {
        let column = builder.parquet_schema().column(*at);
        column.physical_type() == Physical::INT96
    };
    let old: Vec<usize> = (0..builder.parquet_schema().num_columns()).filter(old).collect();
    if old.is_empty() {
        return Ok(builder);
    }
    let mut fields: Vec<FieldRef> = builder.schema().fields().iter().cloned().collect();
    for at in old {
        let root = builder.parquet_schema().get_column_root_idx(at);
        if fields[root].data_type().is_nested() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the file has nested times of the old type INT96, which are not read",
            )
            .with("column", fields[root].name()));
        }
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields[root] = Arc::new(fields[root].as_ref().clone().with_data_type(micros));
    }
    let options = ArrowReaderOptions::new().with_schema(Arc::new(ArrowSchema::new(fields)));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(builder.metadata()), options)
        .or_error(ErrorKind::Data, none)?;
    Ok(ParquetRecordBatchStreamBuilder::new_with_metadata(reader(), metadata))
}

impl std::fmt::Debug for IcebergFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IcebergFile").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Whether a default of a column cannot be read, before any file is.
pub(super) fn check_defaults(schema: &Schema) -> Result<()> {
    let mut wrong = None;
    schema.each(&mut |field| {
        if let Some(default) = &field.default
            && field.kind != Type::Unknown
            && let Err(error) = super::literal::of_json(default, &field.kind)
        {
            wrong.get_or_insert(error.with("column", &field.name));
        }
    });
    wrong.map_or(Ok(()), Err)
}
