//! Rows of a table by their key, or by a number that grows.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::gt;
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use futures::StreamExt;
use tidemill_core::{
    BatchStream, Error, ErrorKind, NullKeys, RelationName, Result, ResultExt, Snapshot,
};
use tokio::sync::mpsc;

use super::columns::{Evolution, conform};
use super::keys::{KeyCollector, Repeated};
use super::rewrite::{Matches, open_file};
use super::{Base, Plan};
use crate::delta::{LiveFile, TableState};
use crate::lake::Inner;

/// Batches that are read ahead.
const AHEAD: usize = 2;

/// See [`tidemill_core::TableStore::rows_after`].
pub(crate) async fn rows_after(
    inner: &Arc<Inner>,
    relation: &RelationName,
    base: &Snapshot,
    column: &str,
    after: i64,
) -> Result<BatchStream> {
    let base = Base::of(inner, relation, base).await?;
    let Some(table) = base.table.clone() else {
        return Err(
            Error::new(ErrorKind::NotFound, "there is no such table").with("table", relation)
        );
    };
    let larger = |file: &LiveFile| {
        let statistics = file.statistics(&table.schema);
        let max = statistics.columns.get(column).and_then(|bounds| bounds.max.clone());
        !matches!(max, Some(ScalarValue::Int64(Some(max))) if max <= after)
    };
    let files: Vec<Arc<LiveFile>> =
        table.files.values().filter(|file| larger(file)).cloned().collect();
    let names = table.schema.fields().iter().map(|field| field.name().clone()).collect();
    Ok(rows_of_files(inner, table, files, names, Some((column.to_owned(), after))))
}

/// See [`tidemill_core::TableStore::rows_of_columns`].
pub(crate) async fn rows_of_columns(
    inner: &Arc<Inner>,
    relation: &RelationName,
    base: &Snapshot,
    columns: &[String],
) -> Result<BatchStream> {
    let base = Base::of(inner, relation, base).await?;
    let Some(table) = base.table.clone() else {
        return Err(
            Error::new(ErrorKind::NotFound, "there is no such table").with("table", relation)
        );
    };
    let files = table.files.values().cloned().collect();
    Ok(rows_of_files(inner, table, files, columns.to_vec(), None))
}

/// Columns of the rows of files of a table, or of those of them whose value in a column is larger than this one.
fn rows_of_files(
    inner: &Arc<Inner>,
    table: Arc<TableState>,
    files: Vec<Arc<LiveFile>>,
    names: Vec<String>,
    after: Option<(String, i64)>,
) -> BatchStream {
    let fields = table.schema.fields().iter();
    let fields: Vec<_> = fields.filter(|field| names.contains(field.name())).cloned().collect();
    let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let schema = Arc::new(Schema::new(fields));
    let (sender, receiver) = mpsc::channel(AHEAD);
    let inner = inner.clone();
    tokio::spawn(async move {
        for file in files {
            let sent = send_rows(&inner, &table, &file, &names, after.as_ref(), &sender).await;
            if let Err(error) = sent {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    });
    let batches = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    BatchStream::new(schema, batches)
}

/// Sends the rows of a file; ends when nobody wants them any more.
async fn send_rows(
    inner: &Arc<Inner>,
    table: &TableState,
    file: &LiveFile,
    names: &[String],
    after: Option<&(String, i64)>,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let mut stream = open_file(inner, table, file, names).await?;
    while let Some(batch) = stream.batches.next().await {
        let mut batch = batch?;
        if let Some((column, after)) = after {
            let numbers = batch.column_by_name(column).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "a column is not in the table")
                    .with("column", column)
            })?;
            let wanted: BooleanArray = gt(numbers, &Int64Array::new_scalar(*after))
                .or_error(ErrorKind::Internal, "a column of numbers has another type")?;
            batch = filter_record_batch(&batch, &wanted)
                .or_error(ErrorKind::Internal, "rows cannot be left out")?;
        }
        if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// See [`tidemill_core::TableStore::rows_of_keys`].
pub(crate) async fn rows_of_keys(
    inner: &Arc<Inner>,
    relation: &RelationName,
    base: &Snapshot,
    keys: &RecordBatch,
    columns: &[String],
) -> Result<(RecordBatch, Vec<Option<usize>>)> {
    let base = Base::of(inner, relation, base).await?;
    let Some(table) = base.table.clone() else {
        return Err(
            Error::new(ErrorKind::NotFound, "there is no such table").with("table", relation)
        );
    };
    let fields = columns
        .iter()
        .map(|name| {
            table.schema.field_with_name(name).cloned().map_err(|_| {
                Error::new(ErrorKind::NotFound, "a column is not in the table").with("column", name)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(Schema::new(fields));
    let key: Vec<String> =
        keys.schema().fields().iter().map(|field| field.name().clone()).collect();
    let evolution = Evolution { schema: table.schema.clone(), changes: Vec::new(), rewrite: false };
    let partition_by = table.metadata.partition_columns.clone();
    let plan = Plan::new(inner, relation, base, evolution, partition_by).await?;
    // Of rows of `keys` that are alike the last one is found, and stands for the others.
    let mut collector = KeyCollector::new(
        &table.schema,
        &key,
        false,
        Repeated::Keep,
        NullKeys::Insert,
        usize::MAX,
    )?;
    let typed = key
        .iter()
        .map(|name| table.schema.field_with_name(name).cloned())
        .collect::<Result<Vec<_>, _>>()
        .or_error(ErrorKind::NotFound, "a column of the key is not in the table")?;
    let keys = conform(keys, &Arc::new(Schema::new(typed)))?;
    collector.collect(&keys)?;
    collector.finish()?;
    let mut matches = Matches::default();
    plan.find(inner, &table, &mut collector, &mut matches).await?;

    let mut parts = Vec::new();
    let mut places: Vec<Option<usize>> = vec![None; keys.num_rows()];
    let mut count = 0;
    let whole = matches.whole.iter().map(|path| (path, None));
    let some = matches.rows.iter().map(|(path, rows)| (path, Some(rows)));
    for (path, rows) in whole.chain(some) {
        let Some(file) = table.files.get(path) else { continue };
        let mut names = columns.to_vec();
        names.extend(key.iter().filter(|name| !columns.contains(name)).cloned());
        let mut stream = open_file(inner, &table, file, &names).await?;
        let (mut first, mut next) = (0u32, 0usize);
        while let Some(batch) = stream.batches.next().await {
            let batch = batch?;
            let end = first + u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            let mut taken = Vec::new();
            let mut take = |row: u32, number: u32| {
                taken.push(row);
                places[number as usize] = Some(count);
                count += 1;
            };
            match rows {
                Some(rows) => {
                    while let Some((row, number)) = rows.get(next).filter(|(row, _)| *row < end) {
                        take(row - first, *number);
                        next += 1;
                    }
                }
                // All its rows have one of the keys: those of its partition.
                None => {
                    let names = collector.encoder().names().to_vec();
                    let columns = super::keys::key_columns(&batch, &names)?;
                    for (row, key) in collector.keys_of(&columns)?.into_iter().enumerate() {
                        if let Some(number) = key {
                            take(u32::try_from(row).unwrap_or(u32::MAX), number);
                        }
                    }
                }
            }
            first = end;
            if !taken.is_empty() {
                let rows = arrow::compute::take_record_batch(&batch, &UInt32Array::from(taken))
                    .or_error(ErrorKind::Internal, "rows cannot be taken")?;
                parts.push(conform(&rows, &schema)?);
            }
        }
    }
    let found = arrow::compute::concat_batches(&schema, &parts)
        .or_error(ErrorKind::Internal, "rows cannot be joined")?;
    // Those that are alike have the place of the one that was found.
    let columns: Vec<_> = keys.columns().to_vec();
    for (row, number) in collector.keys_of(&columns)?.into_iter().enumerate() {
        if let Some(number) = number {
            places[row] = places[number as usize];
        }
    }
    Ok((found, places))
}
