//! Rows that could not be read: where they go, and how many are too many.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_core::{
    Error, ErrorKind, RelationName, Result, ResultExt, RunId, changes, row_as_json,
};

use crate::MaxRejects;

/// How many rejected rows an error shows.
const SHOWN: usize = 5;

/// The table that holds the rejected rows of a table.
pub fn rejected_relation(relation: &RelationName) -> RelationName {
    RelationName::new(relation.schema(), format!("{}__rejected", relation.name()))
}

/// Its columns.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("_source_file", DataType::Utf8, true),
        Field::new("_source_row", DataType::Int64, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("raw", DataType::Utf8, true),
        Field::new("run", DataType::Utf8, true),
    ]))
}

/// Counts rejected rows and remembers the first.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rejected: u64,
    examples: Vec<String>,
}

impl Tally {
    /// Notes rejected rows, and gives them as rows of the rejected table.
    pub(crate) fn note(&mut self, rejected: &RecordBatch, run: &RunId) -> Result<RecordBatch> {
        let malformed = || Error::new(ErrorKind::Internal, "rejected rows have other columns");
        if rejected.num_columns() < 4 {
            return Err(malformed());
        }
        let files = rejected.column(0).as_string_opt::<i32>().ok_or_else(malformed)?;
        let rows = rejected.column(1).as_primitive_opt::<Int64Type>().ok_or_else(malformed)?;
        let reasons = rejected.column(2).as_string_opt::<i32>().ok_or_else(malformed)?;
        for row in 0..rejected.num_rows() {
            if self.examples.len() == SHOWN {
                break;
            }
            let file = if files.is_valid(row) { files.value(row) } else { "?" };
            self.examples.push(format!("{file}:{}: {}", rows.value(row), reasons.value(row)));
        }
        self.rejected += rejected.num_rows() as u64;
        let runs: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
            run.as_str(),
            rejected.num_rows(),
        )));
        let mut columns = rejected.columns()[..4].to_vec();
        columns.push(runs);
        RecordBatch::try_new(schema(), columns)
            .or_error(ErrorKind::Internal, "rejected rows have other columns")
    }

    /// An error if there are too many. Before the end a share is not known yet.
    pub(crate) fn check(
        &self,
        limit: MaxRejects,
        rows: u64,
        at_end: bool,
        relation: &RelationName,
    ) -> Result<()> {
        let over = match limit {
            MaxRejects::Count(count) => self.rejected > count,
            MaxRejects::Never => self.rejected > 0,
            MaxRejects::Percent(percent) => {
                let all = (rows + self.rejected) as f64;
                at_end && self.rejected as f64 > all * percent / 100.0
            }
        };
        if !over {
            return Ok(());
        }
        let more = if at_end { "" } else { "at least " };
        let noun = if self.rejected == 1 { "row" } else { "rows" };
        let allowed = match limit {
            MaxRejects::Never => String::new(),
            limit => format!(", and `max_rejects` is {limit}"),
        };
        let mut message =
            format!("{more}{} {noun} for `{relation}` cannot be read{allowed}:", self.rejected);
        for example in &self.examples {
            message.push_str("\n  ");
            message.push_str(example);
        }
        message.push_str(match limit {
            MaxRejects::Never => {
                "\ncorrect the file; the types of columns are those of `column_types` in the seed's \
                 config, what stands between them is its `delimiter`"
            }
            _ => {
                "\nraise `max_rejects` to load the others; those go to the table with `__rejected` \
                 behind its name"
            }
        });
        Err(Error::new(ErrorKind::Data, message))
    }
}

/// Rows by their number, with the reason of each, as rejected rows.
pub(crate) fn of_rows(batch: &RecordBatch, bad: &[(usize, String)]) -> Result<RecordBatch> {
    let options = FormatOptions::default().with_null("");
    // Times in UTC are shown without a database of zones.
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Timestamp(unit, Some(_)) => {
                arrow::compute::cast(column, &DataType::Timestamp(*unit, None))
            }
            _ => Ok(Arc::clone(column)),
        })
        .collect::<std::result::Result<Vec<ArrayRef>, _>>()
        .or_error(ErrorKind::Internal, "cannot show a row")?;
    let formatters = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<std::result::Result<Vec<_>, _>>()
        .or_error(ErrorKind::Internal, "cannot show a row")?;
    let schema = batch.schema();
    let raw = bad.iter().map(|(row, _)| {
        let mut text = String::new();
        for (field, formatter) in schema.fields().iter().zip(&formatters) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&format!("{}={}", field.name(), formatter.value(*row)));
        }
        text
    });
    let files =
        batch.column_by_name("_source_file").and_then(|column| column.as_string_opt::<i32>());
    let lines = batch
        .column_by_name("_source_row")
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(
            bad.iter().map(|(row, _)| files.map(|files| files.value(*row))),
        )),
        Arc::new(Int64Array::from_iter(
            bad.iter().map(|(row, _)| lines.map(|lines| lines.value(*row))),
        )),
        Arc::new(StringArray::from_iter_values(bad.iter().map(|(_, reason)| reason))),
        Arc::new(StringArray::from_iter_values(raw)),
    ];
    put_together(columns)
}

/// All rows of a batch as rejected rows, with one reason. They are from there: a name, and how many rows came
/// before; files say it themselves.
pub(crate) fn of_batch(
    batch: &RecordBatch,
    reason: &str,
    (from, before): (&str, u64),
) -> Result<RecordBatch> {
    let gone = batch.column_by_name(changes::GONE).and_then(|column| column.as_boolean_opt());
    let files =
        batch.column_by_name("_source_file").and_then(|column| column.as_string_opt::<i32>());
    let lines = batch
        .column_by_name("_source_row")
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let numbers = |row: usize| i64::try_from(before + 1 + row as u64).unwrap_or(i64::MAX);
    let rows = 0..batch.num_rows();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.clone().map(|row| files.map_or(from, |files| files.value(row))),
        )),
        Arc::new(Int64Array::from_iter_values(
            rows.clone().map(|row| lines.map_or_else(|| numbers(row), |lines| lines.value(row))),
        )),
        Arc::new(StringArray::from_iter_values(rows.clone().map(|_| reason))),
        Arc::new(StringArray::from_iter_values(rows.map(|row| {
            let mut values = row_as_json(batch, row);
            if gone.is_some_and(|gone| gone.is_valid(row) && gone.value(row)) {
                values.insert("_change".to_owned(), "delete".into());
            }
            serde_json::Value::Object(values).to_string()
        }))),
    ];
    put_together(columns)
}

/// A change of the whole table as a rejected row.
pub(crate) fn of_change(
    change: &str,
    reason: &str,
    (from, number): (&str, u64),
) -> Result<RecordBatch> {
    put_together(vec![
        Arc::new(StringArray::from(vec![from])),
        Arc::new(Int64Array::from(vec![i64::try_from(number).unwrap_or(i64::MAX)])),
        Arc::new(StringArray::from(vec![reason])),
        Arc::new(StringArray::from(vec![serde_json::json!({ "_change": change }).to_string()])),
    ])
}

fn put_together(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields = self::schema().fields()[..4].to_vec();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .or_error(ErrorKind::Internal, "rejected rows are malformed")
}
