//! Types that the project declares for columns of a database.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, filter_record_batch};
use arrow::datatypes::{Field, SchemaRef};
use arrow::util::display::FormatOptions;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, STORED_TYPE, display_value, row_as_json};

use crate::files::rejected_schema;

/// A value that does not fit becomes NULL, so that it can be found.
const MARKING: CastOptions<'static> =
    CastOptions { safe: true, format_options: FormatOptions::new() };

/// The field with the type that is declared for it.
pub(crate) fn declared_field(field: &Field, declared: &[Field]) -> Result<Field> {
    let Some(wanted) = declared.iter().find(|wanted| wanted.name() == field.name()) else {
        return Ok(field.clone());
    };
    if !can_cast_types(field.data_type(), wanted.data_type()) {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "`{}` is declared as {}, and the source has {}, which cannot become that",
                field.name(),
                wanted.data_type(),
                field.data_type()
            ),
        ));
    }
    let mut field = field.clone();
    if field.data_type() != wanted.data_type() {
        field.metadata_mut().remove(STORED_TYPE);
    }
    Ok(field.with_data_type(wanted.data_type().clone()))
}

/// The batch under the schema with declared types, and rows with values that do not fit.
/// `first_row` is the number of the batch's first row in the read.
pub(crate) fn convert(
    batch: &RecordBatch,
    schema: &SchemaRef,
    table: &str,
    first_row: i64,
) -> Result<(RecordBatch, Option<RecordBatch>)> {
    let (converted, bad) = fit(batch, schema)?;
    if bad.is_empty() {
        return Ok((converted, None));
    }
    let mut keep = vec![true; batch.num_rows()];
    bad.iter().for_each(|(row, _)| keep[*row] = false);
    let kept = filter_record_batch(&converted, &BooleanArray::from(keep))
        .or_error(ErrorKind::Internal, "rows could not be told apart")?;
    Ok((kept, Some(rejected(batch, &bad, table, first_row)?)))
}

/// The batch under the schema with declared types, and which rows have a value that does not fit, with the
/// reason; it is NULL there.
pub(crate) fn fit(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<(RecordBatch, Vec<(usize, String)>)> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    let mut reasons: Vec<Option<String>> = Vec::new();
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        if column.data_type() == field.data_type() {
            columns.push(column.clone());
            continue;
        }
        let converted = cast_with_options(column, field.data_type(), &MARKING)
            .or_error(ErrorKind::Data, format!("`{}` could not be converted", field.name()))?;
        if converted.null_count() > column.null_count() {
            reasons.resize(batch.num_rows(), None);
            for (row, reason) in reasons.iter_mut().enumerate() {
                if reason.is_none() && converted.is_null(row) && column.is_valid(row) {
                    *reason = Some(format!(
                        "`{}` is not a {}: {}",
                        field.name(),
                        field.data_type(),
                        display_value(column, row)
                    ));
                }
            }
        }
        columns.push(converted);
    }
    let converted = RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
    .or_error(ErrorKind::Internal, "a batch does not have the columns that were described")?;
    let bad = reasons.into_iter().enumerate();
    Ok((converted, bad.filter_map(|(row, reason)| reason.map(|reason| (row, reason))).collect()))
}

/// Rows of a batch as rejected rows.
pub(crate) fn rejected(
    batch: &RecordBatch,
    bad: &[(usize, String)],
    table: &str,
    first_row: i64,
) -> Result<RecordBatch> {
    let raw = |row: usize| serde_json::Value::Object(row_as_json(batch, row)).to_string();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(table, bad.len()))),
        Arc::new(Int64Array::from_iter_values(
            bad.iter().map(|(row, _)| first_row + i64::try_from(*row).unwrap_or(i64::MAX)),
        )),
        Arc::new(StringArray::from_iter_values(bad.iter().map(|(_, reason)| reason))),
        Arc::new(StringArray::from_iter_values(bad.iter().map(|(row, _)| raw(*row)))),
    ];
    RecordBatch::try_new(rejected_schema(), columns)
        .or_error(ErrorKind::Internal, "a batch of rejected rows is malformed")
}
