//! Rows as short lines, for a person to look at.

use tidemill_core::arrow_array::RecordBatch;

/// The longest value that is shown whole.
const WIDEST: usize = 60;

/// One line a row: `id=7 amount=NULL`.
pub(crate) fn lines(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| format!("{}={}", field.name(), value(column, row)))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn value(column: &tidemill_core::arrow_array::ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    let text = tidemill_core::display_value(column, row);
    if text.chars().count() > WIDEST {
        let cut: String = text.chars().take(WIDEST).collect();
        return format!("{cut}…");
    }
    text
}

/// The values of one row as texts; NULL is `None`.
pub(crate) fn texts(batch: &RecordBatch, row: usize) -> Vec<Option<String>> {
    let text = |column: &tidemill_core::arrow_array::ArrayRef| {
        (!column.is_null(row)).then(|| tidemill_core::display_value(column, row))
    };
    batch.columns().iter().map(text).collect()
}
