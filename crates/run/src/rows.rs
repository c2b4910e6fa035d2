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
