//! Replacing spans of time: rows whose time lies in one of some spans go, new ones come
//! ([`WriteMode::ReplaceRanges`](tidemill_core::WriteMode::ReplaceRanges)).
//!
//! Files outside of every span are left alone by their bounds, files that lie in one as a whole go
//! unread, and the rest are written again without the rows that go.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use object_store::path::Path;
use serde_json::json;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, StageRequest, Staged};

use super::rewrite::{Rewrite, open_file};
use super::sink::{Done, feed};
use super::{Plan, Went, hash};
use crate::delta::{LiveFile, TableState};
use crate::lake::{Inner, lock};

const DAY: i64 = 86_400_000_000;

/// Spans of a column: of time in microseconds since 1970, or of whole numbers.
#[derive(Debug, Clone)]
pub(crate) struct Ranges {
    pub column: String,
    pub spans: Vec<(i64, i64)>,
}

impl Ranges {
    fn holds(&self, micros: i64) -> bool {
        self.spans.iter().any(|(from, to)| (*from..*to).contains(&micros))
    }
}

/// Which rows of a file go.
enum Touched {
    None,
    All,
    Rows(Vec<(u32, u32)>),
}

impl Plan {
    /// Replaces the rows of spans of time.
    pub(super) async fn replace_ranges(
        self,
        inner: &Arc<Inner>,
        ranges: Ranges,
        request: StageRequest,
    ) -> Result<Staged> {
        let Some(table) = self.base.table.clone() else {
            return Err(Error::new(ErrorKind::Conflict, "the table is not there any more"));
        };
        let data_type = table
            .schema
            .field_with_name(&ranges.column)
            .map(|field| field.data_type().clone())
            .map_err(|_| {
                Error::new(ErrorKind::Config, "the table does not have the column of its batches")
                    .with("column", &ranges.column)
            })?;
        let is_time =
            matches!(data_type, DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _));
        if !is_time && !data_type.is_signed_integer() {
            return Err(Error::new(
                ErrorKind::Config,
                "the column of the ranges must be a date, a timestamp or a whole number",
            )
            .with("column", &ranges.column)
            .with("type", data_type));
        }
        let base_hash = self.base.hash.as_deref().and_then(hash::from_text);
        let mut sink = self.sink(inner, base_hash.is_some())?;
        sink.observers = request.observers;
        let mut done = feed(request.rows, sink).await?;
        let mut files = done.files.clone();
        match self.drop_ranges(inner, &table, &ranges, &mut done, &mut files).await {
            Ok((removed, rows_changed, change)) => {
                let went = Went { files: removed, rows: rows_changed, hash: change };
                self.staged_change(
                    "replace ranges",
                    json!({"column": ranges.column}),
                    done,
                    went,
                    files,
                )
            }
            Err(error) => {
                let _ = inner.storage.delete_all(files).await;
                Err(error)
            }
        }
    }

    /// Gives the paths of files that go, how many rows went, and by how much the hash changes.
    async fn drop_ranges(
        &self,
        inner: &Arc<Inner>,
        table: &Arc<TableState>,
        ranges: &Ranges,
        done: &mut Done,
        files: &mut Vec<Path>,
    ) -> Result<(Vec<String>, u64, Option<u128>)> {
        let mut whole: Vec<String> = Vec::new();
        let mut gone = 0;
        let mut rows: HashMap<String, Vec<(u32, u32)>> = HashMap::new();
        for file in table.files.values() {
            match touched(inner, table, file, ranges).await? {
                Touched::None => {}
                Touched::All => {
                    gone += file.rows().unwrap_or(1);
                    whole.push(file.add.path.clone());
                }
                Touched::Rows(found) => {
                    gone += found.len() as u64;
                    rows.insert(file.add.path.clone(), found);
                }
            }
        }
        let mut change = whole.is_empty().then_some(0u128);
        let touched: Vec<_> = table
            .files
            .values()
            .filter(|file| {
                let path = &file.add.path;
                !whole.contains(path) && (self.evolution.rewrite || rows.contains_key(path))
            })
            .cloned()
            .collect();
        let mut removed = whole;
        removed.extend(touched.iter().map(|file| file.add.path.clone()));
        if !touched.is_empty() {
            let mut rewrite = Rewrite::new(table.clone(), self.evolution.schema.clone());
            rewrite.matches = Arc::new(rows);
            rewrite.hashed = done.hash.is_some() && self.base.hash.is_some();
            let stream = rewrite.stream(inner, touched);
            let rewritten = feed(stream, self.sink(inner, false)?).await?;
            files.extend(rewritten.files);
            done.written.extend(rewritten.written);
            let delta = *lock(&rewrite.hash_change);
            change = change.zip(delta).map(|(sum, delta)| sum.wrapping_add(delta));
        }
        Ok((removed, gone, change))
    }
}

async fn touched(
    inner: &Arc<Inner>,
    table: &Arc<TableState>,
    file: &Arc<LiveFile>,
    ranges: &Ranges,
) -> Result<Touched> {
    if table.metadata.partition_columns.contains(&ranges.column) {
        let field = table
            .schema
            .field_with_name(&ranges.column)
            .or_error(ErrorKind::Internal, "a partition column is not in its table")?;
        let value = file.partition_value(&ranges.column, field.data_type())?;
        return Ok(match micros(&value).is_some_and(|micros| ranges.holds(micros)) {
            true => Touched::All,
            false => Touched::None,
        });
    }
    let statistics = file.statistics(&table.schema);
    if let Some(bounds) = statistics.columns.get(&ranges.column) {
        let min = bounds.min.as_ref().and_then(micros);
        let max = bounds.max.as_ref().and_then(micros);
        if let (Some(min), Some(max)) = (min, max) {
            if !ranges.spans.iter().any(|(from, to)| min < *to && max >= *from) {
                return Ok(Touched::None);
            }
            let within = ranges.spans.iter().any(|(from, to)| *from <= min && max < *to);
            if within && bounds.nulls == Some(0) {
                return Ok(Touched::All);
            }
        }
    }
    let (inner, table, file, ranges) = (inner.clone(), table.clone(), file.clone(), ranges.clone());
    let runtime = tokio::runtime::Handle::current();
    let scan = async move {
        let columns = [ranges.column.clone()];
        let mut stream = open_file(&inner, &table, &file, &columns).await?;
        let mut found = Vec::new();
        let mut row = 0u32;
        while let Some(batch) = stream.batches.next().await {
            let batch = batch?;
            for (index, micros) in times(batch.column(0)).into_iter().enumerate() {
                if micros.is_some_and(|micros| ranges.holds(micros)) {
                    found.push((row + index as u32, 0));
                }
            }
            row += batch.num_rows() as u32;
        }
        Ok::<_, Error>(found)
    };
    let found = tokio::task::spawn_blocking(move || runtime.block_on(scan))
        .await
        .or_error(ErrorKind::Internal, "a background task failed")??;
    Ok(if found.is_empty() { Touched::None } else { Touched::Rows(found) })
}

fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Date32(Some(days)) => Some(i64::from(*days) * DAY),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => Some(*micros),
        ScalarValue::Int16(Some(number)) => Some(i64::from(*number)),
        ScalarValue::Int32(Some(number)) => Some(i64::from(*number)),
        ScalarValue::Int64(Some(number)) => Some(*number),
        _ => None,
    }
}

fn times(column: &ArrayRef) -> Vec<Option<i64>> {
    match column.data_type() {
        DataType::Date32 => column
            .as_primitive::<Date32Type>()
            .iter()
            .map(|days| Some(i64::from(days?) * DAY))
            .collect(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().iter().collect()
        }
        _ => match arrow::compute::cast(column, &DataType::Int64) {
            Ok(numbers) => numbers.as_primitive::<Int64Type>().iter().collect(),
            Err(_) => vec![None; column.len()],
        },
    }
}
