//! A range of the cursor that is read again, part by part.
//!
//! Each part is one publish: its rows, by their key or in the place of those that the table has of the part, and
//! a row in `<table>__backfills` that says so. The position of the table stays, so that loads go on beside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::StreamExt;
use serde_json::Value;
use tidemill_core::{
    Error, ErrorKind, ReadPart, ReadRange, RelationName, Result, ResultExt, RunId, Snapshot,
    TableStore,
};
use xxhash_rust::xxh3::xxh3_64;

/// A part of a backfill.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// Which backfill it belongs to ([`backfill_id`]).
    pub id: String,
    /// The part.
    pub part: ReadPart,
}

/// The name of a backfill: the same range of the same rows in the same steps has the same one.
pub fn backfill_id(source_settings: &Value, range: &ReadRange) -> String {
    let ReadRange { from, to, step } = range;
    let step = step.as_deref().unwrap_or_default();
    let text = serde_json::json!([source_settings, from, to, step]).to_string();
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

/// The table that says which parts were read again.
pub fn backfills_relation(relation: &RelationName) -> RelationName {
    RelationName::new(relation.schema(), format!("{}__backfills", relation.name()))
}

/// The parts of a backfill that are published, by their first values.
///
/// # Errors
/// Of the store.
pub async fn backfilled(
    store: &dyn TableStore,
    base: &Snapshot,
    relation: &RelationName,
    id: &str,
) -> Result<BTreeSet<String>> {
    let relation = backfills_relation(relation);
    let mut done = BTreeSet::new();
    if base.get(&relation).is_none() {
        return Ok(done);
    }
    let names = ["backfill".to_owned(), "range_from".to_owned()];
    let mut rows = store.rows_of_columns(&relation, base, &names).await?;
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        let column = |name| {
            let column = batch.column_by_name(name).map(|column| {
                arrow::compute::cast(column, &DataType::Utf8)
                    .or_error(ErrorKind::Data, "a table of backfills has other columns")
            });
            column.unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Data, "a table of backfills has other columns"))
            })
        };
        let (ids, from) = (column("backfill")?, column("range_from")?);
        let (ids, from) = (ids.as_string::<i32>(), from.as_string::<i32>());
        let own = ids.iter().zip(from.iter()).filter(|(found, _)| *found == Some(id));
        done.extend(own.filter_map(|(_, from)| from.map(str::to_owned)));
    }
    Ok(done)
}

/// The columns of that table.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("backfill", DataType::Utf8, true),
        Field::new("range_from", DataType::Utf8, true),
        Field::new("range_to", DataType::Utf8, true),
        Field::new("rows", DataType::Int64, true),
        Field::new("run", DataType::Utf8, true),
        Field::new("read_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

/// What is said there of a part.
pub(crate) fn record(backfill: &Backfill, rows: u64, run: &RunId) -> Result<RecordBatch> {
    let Backfill { id, part } = backfill;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let columns = vec![
        text(id),
        text(&part.from),
        text(&part.to),
        Arc::new(Int64Array::from(vec![i64::try_from(rows).unwrap_or(i64::MAX)])) as ArrayRef,
        text(run.as_str()),
        Arc::new(TimestampMicrosecondArray::from(vec![now]).with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema(), columns)
        .or_error(ErrorKind::Internal, "a part of a backfill cannot be written down")
}

/// The column of the table that the cursor is, as the project or the source calls it.
pub(crate) fn cursor_column(table: &SchemaRef, cursor: &str) -> Result<String> {
    let fields = || table.fields().iter();
    let original = |field: &&Arc<Field>| field.metadata().values().any(|name| name == cursor);
    let found = fields().find(|field| field.name() == cursor).or_else(|| fields().find(original));
    found.map(|field| field.name().clone()).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("the table has no column `{cursor}` (`cursor`)"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_range_in_the_same_steps_is_the_same_backfill() {
        let range = |to: &str, step: Option<&str>| ReadRange {
            from: "1".to_owned(),
            to: to.to_owned(),
            step: step.map(str::to_owned),
        };
        let id = |range| backfill_id(&json!({"table": "t"}), &range);
        assert_eq!(id(range("9", None)), id(range("9", None)));
        assert_ne!(id(range("9", None)), id(range("8", None)));
        assert_ne!(id(range("9", None)), id(range("9", Some("2"))));
        assert_ne!(id(range("9", None)), backfill_id(&json!({"table": "u"}), &range("9", None)));
    }
}
