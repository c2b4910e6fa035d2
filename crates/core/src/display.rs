//! A value as text.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// One value of a column as people write it: dates and times as PostgreSQL does
/// (`2024-01-31 10:00:00`, `2024-01-31 10:00:00+00:00`), no quotes around text. NULL is the empty text.
pub fn display_value(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    let options = FormatOptions::default()
        .with_display_error(true)
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => format!("<{error}>"),
    }
}

/// A row as an object of JSON: names and values as [`display_value`] writes them, NULL as `null`.
/// Columns that say something of a change ([`crate::changes`]) are left out.
pub fn row_as_json(batch: &RecordBatch, row: usize) -> serde_json::Map<String, serde_json::Value> {
    let schema = batch.schema();
    let values = schema.fields().iter().zip(batch.columns());
    let values = values.filter(|(field, _)| !crate::changes::is_control(field.name()));
    let values = values.map(|(field, column)| {
        let value = match column.is_null(row) {
            true => serde_json::Value::Null,
            false => display_value(column, row).into(),
        };
        (field.name().clone(), value)
    });
    values.collect()
}
