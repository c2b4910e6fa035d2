//! Changes that reach into existing rows: upsert, delete and insert, replacement by values, and
//! widening. New rows go to files of their own; the files that hold rows with the same keys are
//! found by key range and a scan of their key columns alone, and only those are written again,
//! without the rows that go.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, StringArray,
    UInt32Array, new_null_array,
};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use serde_json::json;
use tidemill_core::{
    BatchStream, Duplicates, Error, ErrorKind, NullKeys, Result, ResultExt, StageRequest, Staged,
    WriteMode,
};

use super::columns::{conform, conform_array};
use super::encode::{Ordinals, Written};
use super::keys::{KeyCollector, KeyTable, Repeated, key_columns};
use super::sink::{Done, feed};
use super::{Change, Kind, Plan, hash};
use crate::delta::{LiveFile, TableState};
use crate::lake::{Inner, lock};
use crate::reader::ObjectReader;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8_192;

/// How a mode is carried out.
struct Task {
    operation: &'static str,
    /// The columns by which old rows are found.
    key: Vec<String>,
    null_safe: bool,
    null_keys: NullKeys,
    repeated: Repeated,
    /// Only these columns of old rows change.
    update: Option<Vec<String>>,
    /// The values to look for, when they are not those of the new rows.
    values: Option<Vec<String>>,
    /// The rows are those of a log of changes.
    log: bool,
    /// All rows that are there go.
    truncates: bool,
}

impl Task {
    fn of(mode: WriteMode) -> Self {
        let task = Task {
            operation: "append",
            key: Vec::new(),
            null_safe: false,
            null_keys: NullKeys::Insert,
            repeated: Repeated::Keep,
            update: None,
            values: None,
            log: false,
            truncates: false,
        };
        match mode {
            // Histories, ranges and files have ways of their own.
            WriteMode::Replace
            | WriteMode::Append
            | WriteMode::ReplaceRanges { .. }
            | WriteMode::ReplaceFiles { .. }
            | WriteMode::History { .. } => task,
            WriteMode::Upsert { key, update, duplicates, null_keys } => Task {
                operation: "upsert",
                key,
                null_keys,
                update,
                repeated: match duplicates {
                    Duplicates::KeepLast => Repeated::KeepLast,
                    Duplicates::Fail => Repeated::Fail,
                },
                ..task
            },
            WriteMode::ReplaceByKey { key } => Task {
                operation: "replace",
                key,
                null_keys: NullKeys::Fail,
                repeated: Repeated::KeepLast,
                ..task
            },
            WriteMode::DeleteInsert { key, null_keys } => {
                Task { operation: "delete+insert", key, null_keys, ..task }
            }
            WriteMode::Changes { key, truncates } => Task {
                operation: "changes",
                key,
                null_keys: NullKeys::Fail,
                repeated: Repeated::KeepLast,
                log: true,
                truncates,
                ..task
            },
            // A partition of NULLs is a partition.
            WriteMode::ReplaceWhere { columns } => {
                Task { operation: "replace where", key: columns, null_safe: true, ..task }
            }
            WriteMode::ReplaceValues { column, values } => Task {
                operation: "replace values",
                key: vec![column],
                values: Some(values),
                ..task
            },
        }
    }
}

/// A file, and its rows with a key that is asked for, with the numbers of the new rows.
type Found = (String, Vec<(u32, u32)>);

/// Old rows with a key that is asked for: by file, the row and the number of the new row.
#[derive(Default)]
pub(super) struct Matches {
    pub(super) rows: HashMap<String, Vec<(u32, u32)>>,
    /// Files of which every row matches.
    pub(super) whole: HashSet<String>,
}

impl Plan {
    /// Adds rows to a table in a way that changes files that are there.
    pub(super) async fn rewrite(self, inner: &Arc<Inner>, request: StageRequest) -> Result<Staged> {
        let replaces = matches!(request.mode, WriteMode::ReplaceByKey { .. });
        let task = Task::of(request.mode);
        let mut beside = self.clone();
        if replaces && let Some(table) = beside.base.table.take() {
            // Of what is there no row is looked at: all of them go.
            beside.base.hash = None;
            beside.metadata.get_or_insert_with(|| table.metadata.clone());
            beside.protocol.get_or_insert_with(|| table.protocol.clone());
        }
        let base_hash = beside.base.hash.as_deref().and_then(hash::from_text);
        let mut sink = self.sink(inner, base_hash.is_some() || beside.base.table.is_none())?;
        sink.observers = request.observers;
        if task.log {
            sink.note_gone();
        }
        if !task.key.is_empty() && task.values.is_none() {
            sink.collect_keys(KeyCollector::new(
                &self.evolution.schema,
                &task.key,
                task.null_safe,
                task.repeated,
                task.null_keys,
                inner.options.keys_in_memory,
            )?);
        }
        let mut done = feed(request.rows, sink).await?;
        let mut files = done.files.clone();
        match beside.rewrite_with(inner, &task, &mut done, &mut files).await {
            Ok((removed, hash)) => {
                let added = done.written.into_iter().map(|written| written.add).collect();
                let rows_written = done.rows;
                let hash = match (&beside.base.table, done.hash, base_hash, hash) {
                    (None, Some(new), _, Some(gone)) => Some(new.wrapping_add(gone)),
                    (Some(_), Some(new), Some(base), Some(gone)) => {
                        Some(base.wrapping_add(new).wrapping_add(gone))
                    }
                    _ => None,
                };
                self.staged(Change {
                    kind: match self_is_new(&removed) {
                        _ if replaces => Kind::Replace,
                        true => Kind::Append,
                        false => Kind::Exact,
                    },
                    operation: task.operation,
                    parameters: json!({"key": task.key.join(", ")}),
                    added,
                    removed,
                    files,
                    rows_written,
                    rows_changed: 0,
                    null_keys: done.null_keys,
                    hash,
                    observed: done.observed,
                })
            }
            Err(error) => {
                let _ = inner.storage.delete_all(files).await;
                Err(error)
            }
        }
    }

    /// Writes the whole table again, in new columns.
    pub(super) async fn rewrite_all(
        self,
        inner: &Arc<Inner>,
        operation: &'static str,
    ) -> Result<Staged> {
        let base = self.base.table.clone();
        let Some(table) = base else {
            return Err(Error::new(ErrorKind::Internal, "there is nothing to rewrite"));
        };
        let removed: Vec<String> = table.files.keys().cloned().collect();
        let rewrite = Rewrite::new(table.clone(), self.evolution.schema.clone());
        let stream = rewrite.stream(inner, table.files.values().cloned().collect());
        let done = feed(stream, self.sink(inner, true)?).await?;
        self.staged(Change {
            kind: Kind::Exact,
            operation,
            parameters: json!({}),
            added: done.written.into_iter().map(|written| written.add).collect(),
            removed,
            files: done.files,
            rows_written: 0,
            rows_changed: 0,
            null_keys: 0,
            hash: done.hash,
            observed: Vec::new(),
        })
    }

    /// Finds and rewrites what the new rows touch. Gives the paths of files that go, and by how much
    /// the hash changes beyond the new rows.
    async fn rewrite_with(
        &self,
        inner: &Arc<Inner>,
        task: &Task,
        done: &mut Done,
        files: &mut Vec<Path>,
    ) -> Result<(Vec<String>, Option<u128>)> {
        let mut collector = done.keys.take();
        if let Some(collector) = &mut collector {
            collector.check_nulls()?;
            done.null_keys = collector.null_keys();
            // Names the keys that occur twice.
            if !collector.overflow {
                collector.finish()?;
            }
        }
        let mut matches = Matches::default();
        let base = self.base.table.as_ref().filter(|_| !task.truncates);
        if let Some(table) = self.base.table.as_ref().filter(|_| task.truncates) {
            matches.whole = table.files.keys().cloned().collect();
        }
        match (base, &mut collector, &task.values) {
            (Some(table), _, Some(values)) => {
                let mut collector = KeyCollector::new(
                    &self.evolution.schema,
                    &task.key,
                    false,
                    Repeated::Keep,
                    NullKeys::Insert,
                    usize::MAX,
                )?;
                let column: ArrayRef = Arc::new(StringArray::from(values.clone()));
                let data_type = collector.encoder().types()[0].clone();
                let column = conform_array(&column, &data_type)?;
                let schema = Arc::new(Schema::new(vec![arrow::datatypes::Field::new(
                    &task.key[0],
                    data_type,
                    true,
                )]));
                let batch = RecordBatch::try_new(schema, vec![column])
                    .or_error(ErrorKind::Internal, "values cannot be looked up")?;
                collector.collect(&batch)?;
                collector.finish()?;
                self.find(inner, table, &mut collector, &mut matches).await?;
            }
            (table, Some(collector), None) if collector.overflow => {
                self.find_in_passes(inner, table, collector, done, &mut matches).await?;
            }
            (Some(table), Some(collector), None) => {
                self.find(inner, table, collector, &mut matches).await?;
            }
            _ => {}
        }

        // New rows that do not stay in files of their own.
        let mut leave: BTreeSet<u32> = collector
            .as_mut()
            .map(|collector| std::mem::take(&mut collector.superseded).into_iter().collect())
            .unwrap_or_default();
        leave.extend(done.gone.drain(..));
        // A row that another new one replaced at once was not written.
        done.rows -= leave.len() as u64;
        let mut change: Option<u128> = Some(0);
        let replacement = match &task.update {
            Some(columns) => {
                let wanted: BTreeSet<u32> =
                    matches.rows.values().flatten().map(|(_, number)| *number).collect();
                let values = self.read_new(inner, &done.written, columns, &wanted).await?;
                leave.extend(wanted);
                Some(values)
            }
            None => None,
        };

        let mut removed = Vec::new();
        if let Some(table) = &self.base.table {
            let touched: Vec<Arc<LiveFile>> = table
                .files
                .values()
                .filter(|file| {
                    !matches.whole.contains(&file.add.path)
                        && (self.evolution.rewrite || matches.rows.contains_key(&file.add.path))
                })
                .cloned()
                .collect();
            removed.extend(matches.whole.iter().cloned());
            if !matches.whole.is_empty() {
                change = None;
            }
            removed.extend(touched.iter().map(|file| file.add.path.clone()));
            if !touched.is_empty() {
                let mut rewrite = Rewrite::new(table.clone(), self.evolution.schema.clone());
                rewrite.matches = Arc::new(matches.rows);
                rewrite.replacement = replacement.map(Arc::new);
                rewrite.hashed = done.hash.is_some() && self.base.hash.is_some();
                let stream = rewrite.stream(inner, touched);
                let rewritten = feed(stream, self.sink(inner, false)?).await?;
                files.extend(rewritten.files);
                done.written.extend(rewritten.written);
                let delta = *lock(&rewrite.hash_change);
                change = change.zip(delta).map(|(sum, delta)| sum.wrapping_add(delta));
            }
        }
        if !leave.is_empty() {
            self.leave_out(inner, done, &leave, files, &mut change).await?;
        }
        Ok((removed, change))
    }

    /// Scans the key columns of every file that may hold one of the keys.
    pub(super) async fn find(
        &self,
        inner: &Arc<Inner>,
        table: &Arc<TableState>,
        collector: &mut KeyCollector,
        matches: &mut Matches,
    ) -> Result<()> {
        if collector.table.is_empty() {
            return Ok(());
        }
        let names = collector.encoder().names().to_vec();
        let types = collector.encoder().types().to_vec();
        let partition = &table.metadata.partition_columns;
        let whole = names.iter().all(|name| partition.contains(name));
        let mut candidates = Vec::new();
        let sorted = collector.sorted().filter(|_| table.files.len() > 1);
        for file in table.files.values() {
            if whole {
                let values = names
                    .iter()
                    .zip(&types)
                    .map(|(name, data_type)| {
                        file.partition_value(name, data_type)?
                            .to_array()
                            .or_error(ErrorKind::Internal, "a partition value cannot be read")
                    })
                    .collect::<Result<Vec<ArrayRef>>>()?;
                let keys = collector.encoder().encode(&values)?;
                let valid = keys.valid.as_ref().is_none_or(|valid| valid.is_valid(0));
                if valid && collector.table.get(keys.values[0]).is_some() {
                    matches.whole.insert(file.add.path.clone());
                }
            } else if in_range(file, table, &names, collector, sorted.as_deref())? {
                candidates.push(file.clone());
            }
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let keys = Arc::new(std::mem::take(&mut collector.table));
        let null_safe = collector.encoder().null_safe();
        let schema = self.evolution.schema.clone();
        let scans: Vec<BoxFuture<'static, Result<Found>>> = candidates
            .into_iter()
            .map(|file| {
                let scan = KeyScan {
                    table: table.clone(),
                    schema: schema.clone(),
                    names: names.clone(),
                    null_safe,
                    keys: keys.clone(),
                };
                let inner = inner.clone();
                let runtime = tokio::runtime::Handle::current();
                async move {
                    tokio::task::spawn_blocking(move || runtime.block_on(scan.run(&inner, &file)))
                        .await
                        .or_error(ErrorKind::Internal, "a background task failed")?
                }
                .boxed()
            })
            .collect();
        let found: Vec<Found> = futures::stream::iter(scans)
            .buffer_unordered(inner.options.parallelism.max(1))
            .try_collect()
            .await?;
        collector.table = Arc::try_unwrap(keys).unwrap_or_default();
        for (path, rows) in found {
            if !rows.is_empty() {
                matches.rows.entry(path).or_default().extend(rows);
            }
        }
        for rows in matches.rows.values_mut() {
            rows.sort_unstable();
        }
        Ok(())
    }

    /// The same, when there are more keys than may be held at a time: the new rows' keys are read
    /// back from their files, a part of them in each pass.
    async fn find_in_passes(
        &self,
        inner: &Arc<Inner>,
        table: Option<&Arc<TableState>>,
        collector: &mut KeyCollector,
        done: &Done,
        matches: &mut Matches,
    ) -> Result<()> {
        let limit = inner.options.keys_in_memory.max(1);
        let passes = (collector.rows() as usize).div_ceil(limit).max(1) as u64;
        for pass in 0..passes {
            collector.clear();
            for written in &done.written {
                let names = collector.encoder().names().to_vec();
                let mut batches = self.read_written(inner, written, &names).await?;
                let mut row = 0usize;
                while let Some(batch) = batches.batches.next().await {
                    let batch = batch?;
                    let columns = key_columns(&batch, &names)?;
                    let keys = collector.encoder().encode(&columns)?;
                    let first = row;
                    collector.insert(
                        &keys,
                        |index| ordinal(&written.ordinals, first + index),
                        |key| {
                            (key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 64)
                                as u64
                                % passes
                                == pass
                        },
                        &columns,
                    )?;
                    row += batch.num_rows();
                }
            }
            collector.finish()?;
            if let Some(table) = table {
                self.find(inner, table, collector, matches).await?;
            }
        }
        Ok(())
    }

    /// Writes the files of new rows again without some of them.
    async fn leave_out(
        &self,
        inner: &Arc<Inner>,
        done: &mut Done,
        leave: &BTreeSet<u32>,
        files: &mut Vec<Path>,
        change: &mut Option<u128>,
    ) -> Result<()> {
        let mut kept = Vec::new();
        let mut again = Vec::new();
        for written in std::mem::take(&mut done.written) {
            let rows = written.rows as usize;
            let is_new = files_of_stream(&done.files, &written);
            let hit = is_new
                && match &written.ordinals {
                    Ordinals::From(first) => leave
                        .range(*first as u32..)
                        .next()
                        .is_some_and(|number| (*number as usize) < *first as usize + rows),
                    Ordinals::List(list) => list.iter().any(|number| leave.contains(number)),
                };
            if hit { again.push(written) } else { kept.push(written) }
        }
        let names: Vec<String> =
            self.evolution.schema.fields().iter().map(|field| field.name().clone()).collect();
        let table = Arc::new(TableState {
            schema: self.evolution.schema.clone(),
            ..self.preview_of_columns()?
        });
        let sources = again
            .iter()
            .map(|written| {
                let file = LiveFile::new(written.add.clone(), &self.base.location)?;
                Ok((written.ordinals.clone(), Arc::new(file)))
            })
            .collect::<Result<Vec<_>>>()?;
        let leave = Arc::new(leave.clone());
        let gone = Arc::new(Mutex::new(done.hash.map(|_| 0u128)));
        let sum = gone.clone();
        let (lake, names) = (inner.clone(), Arc::new(names));
        // There may be many files: one after the other is opened.
        let opened = futures::stream::iter(sources).then(move |(ordinals, file)| {
            let (lake, table, names) = (lake.clone(), table.clone(), names.clone());
            async move { Ok((ordinals, read_file(&lake, &table, &file, &names).await?)) }
        });
        let streams = opened.map_ok(move |(ordinals, stream): (Ordinals, BatchStream)| {
            let (leave, sum) = (leave.clone(), sum.clone());
            let mut row = 0usize;
            stream.batches.map(move |batch: Result<RecordBatch>| {
                let batch = batch?;
                let keep: BooleanArray = (0..batch.num_rows())
                    .map(|index| Some(!leave.contains(&ordinal(&ordinals, row + index))))
                    .collect();
                row += batch.num_rows();
                let mut sum = lock(&sum);
                if let Some(total) = *sum {
                    let dropped = arrow::compute::not(&keep)
                        .and_then(|dropped| arrow::compute::filter_record_batch(&batch, &dropped))
                        .or_error(ErrorKind::Internal, "rows cannot be filtered")?;
                    *sum = hash::sum_of(&dropped).map(|more| total.wrapping_sub(more));
                }
                arrow::compute::filter_record_batch(&batch, &keep)
                    .or_error(ErrorKind::Internal, "rows cannot be filtered")
            })
        });
        let stream = BatchStream::new(self.evolution.schema.clone(), streams.try_flatten());
        let rewritten = feed(stream, self.sink(inner, false)?).await?;
        *change = change.zip(*lock(&gone)).map(|(sum, gone)| sum.wrapping_add(gone));
        let old: Vec<Path> = again.iter().map(|written| written.location.clone()).collect();
        inner.storage.delete_all(old.clone()).await?;
        files.retain(|file| !old.contains(file));
        files.extend(rewritten.files);
        kept.extend(rewritten.written);
        done.written = kept;
        Ok(())
    }

    /// Values of new rows, by their number.
    async fn read_new(
        &self,
        inner: &Arc<Inner>,
        written: &[Written],
        columns: &[String],
        wanted: &BTreeSet<u32>,
    ) -> Result<Replacement> {
        let fields = columns
            .iter()
            .map(|name| {
                self.evolution.schema.field_with_name(name).cloned().map_err(|_| {
                    Error::new(ErrorKind::Config, "a column to update is not in the table")
                        .with("column", name)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(fields));
        let mut parts = Vec::new();
        let mut positions = HashMap::new();
        for written in written {
            let mut stream = self.read_written(inner, written, columns).await?;
            let mut row = 0;
            while let Some(batch) = stream.batches.next().await {
                let batch = conform(&batch?, &schema)?;
                let mut rows = Vec::new();
                for index in 0..batch.num_rows() {
                    let number = ordinal(&written.ordinals, row + index);
                    if wanted.contains(&number) {
                        positions.insert(number, positions.len());
                        rows.push(index as u32);
                    }
                }
                row += batch.num_rows();
                if !rows.is_empty() {
                    parts.push(
                        arrow::compute::take_record_batch(&batch, &UInt32Array::from(rows))
                            .or_error(ErrorKind::Internal, "rows cannot be taken")?,
                    );
                }
            }
        }
        let rows = arrow::compute::concat_batches(&schema, &parts)
            .or_error(ErrorKind::Internal, "rows cannot be joined")?;
        Ok(Replacement { rows, positions: Some(positions) })
    }

    /// Rows of a file that this stage wrote.
    async fn read_written(
        &self,
        inner: &Arc<Inner>,
        written: &Written,
        columns: &[String],
    ) -> Result<BatchStream> {
        let table =
            TableState { schema: self.evolution.schema.clone(), ..self.preview_of_columns()? };
        let file = Arc::new(LiveFile::new(written.add.clone(), &self.base.location)?);
        read_file(inner, &table, &file, columns).await
    }

    /// A table of these columns without files.
    fn preview_of_columns(&self) -> Result<TableState> {
        self.preview(&Change {
            kind: Kind::Append,
            operation: "",
            parameters: json!({}),
            added: Vec::new(),
            removed: Vec::new(),
            files: Vec::new(),
            rows_written: 0,
            rows_changed: 0,
            null_keys: 0,
            hash: None,
            observed: Vec::new(),
        })
    }
}

/// Whether nothing of the table goes.
fn self_is_new(removed: &[String]) -> bool {
    removed.is_empty()
}

fn files_of_stream(files: &[Path], written: &Written) -> bool {
    files.contains(&written.location)
}

fn ordinal(ordinals: &Ordinals, row: usize) -> u32 {
    match ordinals {
        Ordinals::From(first) => (*first + row as u64) as u32,
        Ordinals::List(list) => list[row],
    }
}

/// Whether a file's bounds overlap the range of the keys and, where they are `sorted`, hold one.
fn in_range(
    file: &LiveFile,
    table: &TableState,
    names: &[String],
    collector: &KeyCollector,
    sorted: Option<&[i64]>,
) -> Result<bool> {
    let Some(ranges) = &collector.ranges else { return Ok(true) };
    let statistics = file.statistics(&table.schema);
    for (name, (low, high)) in names.iter().zip(ranges) {
        if collector.matches_null_in(name) {
            // Where only NULLs are looked for, a file without any holds none of the keys.
            let nulls = statistics.columns.get(name).and_then(|bounds| bounds.nulls);
            if low.is_null() && nulls == Some(0) {
                return Ok(false);
            }
            continue;
        }
        let data_type = low.data_type();
        let (min, max) = if table.metadata.partition_columns.contains(name) {
            let value = file.partition_value(name, &data_type)?;
            if value.is_null() {
                return Ok(false);
            }
            (Some(value.clone()), Some(value))
        } else {
            match statistics.columns.get(name) {
                Some(bounds) => (bounds.min.clone(), bounds.max.clone()),
                None => continue,
            }
        };
        let apart = |a: &Option<ScalarValue>, b: &ScalarValue, order: std::cmp::Ordering| {
            let a = a.as_ref().and_then(|a| a.cast_to(&data_type).ok());
            a.is_some_and(|a| a.partial_cmp(b) == Some(order))
        };
        if apart(&max, low, std::cmp::Ordering::Less)
            || apart(&min, high, std::cmp::Ordering::Greater)
        {
            return Ok(false);
        }
        let number = |bound: &Option<ScalarValue>| {
            bound.as_ref().and_then(|bound| number_of(&bound.cast_to(&data_type).ok()?))
        };
        if let (Some(sorted), Some(min), Some(max)) = (sorted, number(&min), number(&max)) {
            let first = sorted.partition_point(|key| *key < min);
            if sorted.get(first).is_none_or(|key| *key > max) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A value as the number that is its key.
fn number_of(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i64::from),
        ScalarValue::Int64(value) | ScalarValue::TimestampMicrosecond(value, _) => *value,
        _ => None,
    }
}

/// Looks the keys of one file up.
struct KeyScan {
    table: Arc<TableState>,
    schema: SchemaRef,
    names: Vec<String>,
    null_safe: bool,
    keys: Arc<KeyTable>,
}

impl KeyScan {
    async fn run(self, inner: &Arc<Inner>, file: &LiveFile) -> Result<Found> {
        let mut encoder = super::keys::KeyEncoder::new(&self.schema, &self.names, self.null_safe)?;
        // A column that the new rows add is NULL in every old row.
        let there: Vec<String> = self
            .names
            .iter()
            .filter(|name| self.table.schema.field_with_name(name).is_ok())
            .cloned()
            .collect();
        let types = encoder.types().to_vec();
        let mut stream = open_file(inner, &self.table, file, &there).await?;
        let mut found = Vec::new();
        let mut row = 0u32;
        while let Some(batch) = stream.batches.next().await {
            let batch = batch?;
            let columns = self
                .names
                .iter()
                .zip(&types)
                .map(|(name, data_type)| match batch.column_by_name(name) {
                    Some(column) => conform_array(column, data_type),
                    None => Ok(new_null_array(data_type, batch.num_rows())),
                })
                .collect::<Result<Vec<_>>>()?;
            let keys = encoder.encode(&columns)?;
            for (index, key) in keys.values.iter().enumerate() {
                if let Some(number) = self.keys.get(*key)
                    && keys.valid.as_ref().is_none_or(|valid| valid.is_valid(index))
                {
                    found.push((row + index as u32, number));
                }
            }
            row += batch.num_rows() as u32;
        }
        Ok((file.add.path.clone(), found))
    }
}

/// New values for old rows.
pub(super) struct Replacement {
    pub(super) rows: RecordBatch,
    /// Where the values of each number stand; `None`: at that place.
    pub(super) positions: Option<HashMap<u32, usize>>,
}

impl Replacement {
    fn position(&self, number: u32) -> Option<usize> {
        match &self.positions {
            Some(positions) => positions.get(&number).copied(),
            None => Some(number as usize),
        }
    }
}

/// Existing files on their way into new ones.
pub(crate) struct Rewrite {
    table: Arc<TableState>,
    schema: SchemaRef,
    pub(super) matches: Arc<HashMap<String, Vec<(u32, u32)>>>,
    pub(super) replacement: Option<Arc<Replacement>>,
    pub(super) hashed: bool,
    /// By how much the hash of the table changes.
    pub(super) hash_change: Arc<Mutex<Option<u128>>>,
}

impl Rewrite {
    /// Every row stays; only the columns change.
    pub(crate) fn new(table: Arc<TableState>, schema: SchemaRef) -> Self {
        Rewrite {
            table,
            schema,
            matches: Arc::default(),
            replacement: None,
            hashed: false,
            hash_change: Arc::new(Mutex::new(Some(0))),
        }
    }

    /// The rows that stay, in the order of the files, read on a blocking thread.
    pub(crate) fn stream(&self, inner: &Arc<Inner>, files: Vec<Arc<LiveFile>>) -> BatchStream {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let one = Rewrite {
            table: self.table.clone(),
            schema: self.schema.clone(),
            matches: self.matches.clone(),
            replacement: self.replacement.clone(),
            hashed: self.hashed,
            hash_change: self.hash_change.clone(),
        };
        let inner = inner.clone();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            runtime.block_on(async move {
                for file in files {
                    if let Err(error) = one.file(&inner, &file, &sender).await {
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                }
            });
        });
        let batches = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        BatchStream::new(self.schema.clone(), batches)
    }

    async fn file(
        &self,
        inner: &Arc<Inner>,
        file: &LiveFile,
        sender: &tokio::sync::mpsc::Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        let names: Vec<String> =
            self.table.schema.fields().iter().map(|field| field.name().clone()).collect();
        let nothing = Vec::new();
        let gone = self.matches.get(&file.add.path).unwrap_or(&nothing);
        let mut next = 0;
        let mut row = 0u32;
        let mut stream = open_file(inner, &self.table, file, &names).await?;
        while let Some(batch) = stream.batches.next().await {
            let batch = batch?;
            let end = row + batch.num_rows() as u32;
            let from = next;
            while next < gone.len() && gone[next].0 < end {
                next += 1;
            }
            let here = &gone[from..next];
            let batch = conform(&batch, &self.schema)?;
            let batch = if here.is_empty() { batch } else { self.without(&batch, row, here)? };
            row = end;
            if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The batch without the rows that go, or with their new values.
    fn without(&self, batch: &RecordBatch, first: u32, here: &[(u32, u32)]) -> Result<RecordBatch> {
        if self.hashed {
            let rows = UInt32Array::from_iter_values(here.iter().map(|(row, _)| row - first));
            let gone = arrow::compute::take_record_batch(batch, &rows)
                .or_error(ErrorKind::Internal, "rows cannot be taken")?;
            self.add_hash(&gone, true);
        }
        let Some(replacement) = &self.replacement else {
            let mut keep = BooleanBufferBuilder::new(batch.num_rows());
            keep.append_n(batch.num_rows(), true);
            for (row, _) in here {
                keep.set_bit((row - first) as usize, false);
            }
            return arrow::compute::filter_record_batch(
                batch,
                &BooleanArray::new(keep.finish(), None),
            )
            .or_error(ErrorKind::Internal, "rows cannot be filtered");
        };
        let mut indices: Vec<(usize, usize)> = (0..batch.num_rows()).map(|row| (0, row)).collect();
        for (row, number) in here {
            if let Some(position) = replacement.position(*number) {
                indices[(row - first) as usize] = (1, position);
            }
        }
        let columns = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, old)| match replacement.rows.column_by_name(field.name()) {
                Some(new) => arrow::compute::interleave(&[old.as_ref(), new.as_ref()], &indices)
                    .or_error(ErrorKind::Internal, "new values cannot be set"),
                None => Ok(old.clone()),
            })
            .collect::<Result<Vec<_>>>()?;
        let updated = RecordBatch::try_new(batch.schema(), columns)
            .or_error(ErrorKind::Internal, "new values cannot be set")?;
        if self.hashed {
            let rows = UInt32Array::from_iter_values(here.iter().map(|(row, _)| row - first));
            let now = arrow::compute::take_record_batch(&updated, &rows)
                .or_error(ErrorKind::Internal, "rows cannot be taken")?;
            self.add_hash(&now, false);
        }
        Ok(updated)
    }

    fn add_hash(&self, rows: &RecordBatch, gone: bool) {
        let mut change = lock(&self.hash_change);
        *change = change
            .zip(hash::sum_of(rows))
            .map(|(sum, rows)| if gone { sum.wrapping_sub(rows) } else { sum.wrapping_add(rows) });
    }
}

/// Rows of a data file, decoded on a blocking thread.
async fn read_file(
    inner: &Arc<Inner>,
    table: &TableState,
    file: &Arc<LiveFile>,
    columns: &[String],
) -> Result<BatchStream> {
    open_file(inner, table, file, columns).await
}

/// Rows of a data file in the table's columns. Decodes where it is polled: callers poll it on a
/// blocking thread.
pub(crate) async fn open_file(
    inner: &Arc<Inner>,
    table: &TableState,
    file: &LiveFile,
    columns: &[String],
) -> Result<BatchStream> {
    let broken = |location: &Path| {
        let location = location.clone();
        move |error: parquet::errors::ParquetError| {
            Error::new(ErrorKind::Data, "a data file cannot be read")
                .with("path", &location)
                .because(error)
        }
    };
    let reader = ObjectReader::new(&inner.storage, &file.location, file.add.size.unsigned_abs());
    let builder =
        ParquetRecordBatchStreamBuilder::new(reader).await.map_err(broken(&file.location))?;
    let wanted: HashSet<&str> = columns.iter().map(String::as_str).collect();
    let roots: Vec<usize> = builder
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| wanted.contains(field.name().as_str()))
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let stream = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(broken(&file.location))?;
    let partition = &table.metadata.partition_columns;
    let fields: Vec<_> = columns
        .iter()
        .map(|name| {
            table.schema.field_with_name(name).cloned().map_err(|_| {
                Error::new(ErrorKind::Internal, "a column is not in the table").with("column", name)
            })
        })
        .collect::<Result<_>>()?;
    let mut constants: HashMap<String, ScalarValue> = HashMap::new();
    for field in &fields {
        if partition.contains(field.name()) {
            let value = file.partition_value(field.name(), field.data_type())?;
            constants.insert(field.name().clone(), value);
        }
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let target = schema.clone();
    let location = file.location.clone();
    let batches = stream.map(move |batch| {
        let batch = batch.map_err(broken(&location))?;
        if constants.is_empty() {
            return conform(&batch, &target);
        }
        let columns = target
            .fields()
            .iter()
            .map(|field| match (constants.get(field.name()), batch.column_by_name(field.name())) {
                (Some(value), _) => value
                    .to_array_of_size(batch.num_rows())
                    .or_error(ErrorKind::Internal, "a partition value cannot be read"),
                (None, Some(column)) => conform_array(column, field.data_type()),
                (None, None) => Ok(new_null_array(field.data_type(), batch.num_rows())),
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(target.clone(), columns, &rows)
            .or_error(ErrorKind::Internal, "rows of a data file do not fit the table")
    });
    Ok(BatchStream::new(schema, batches))
}
