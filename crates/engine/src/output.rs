//! The types that leave the engine. Inside, operators use whatever is quickest (views, unsigned
//! counters, nanoseconds); outside there is one type for each meaning, so that a table's columns do
//! not depend on how a query was planned:
//!
//! | inside | outside |
//! | --- | --- |
//! | Utf8View, LargeUtf8, Null | Utf8 |
//! | BinaryView, LargeBinary, FixedSizeBinary | Binary |
//! | UInt8, UInt16, UInt32, UInt64 | Int16, Int32, Int64, Int64 |
//! | Float16 | Float32 |
//! | Timestamp of any unit and zone | Timestamp of microseconds, without a zone or `UTC` |
//! | Date64, Time32, Time64 | Date32, Time64 of microseconds |
//! | Decimal32, Decimal64 | Decimal128 |
//! | Dictionary, RunEndEncoded | the values |
//! | LargeList, ListView, FixedSizeList | List |
//!
//! Every column may be NULL, and none has metadata, but that a text is JSON is kept (see `json_type`).

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use tidemill_core::{Error, ErrorKind, Result};

/// The columns as they leave the engine.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(|field| plain_field(field)).collect();
    Arc::new(Schema::new(fields))
}

fn plain_field(field: &Field) -> FieldRef {
    let plain = Field::new(field.name(), plain_type(field.data_type()), true);
    Arc::new(crate::json_type::stored(plain, field))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(plain_field(item)),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| plain_field(field)).collect())
        }
        DataType::Map(entries, sorted) => DataType::Map(plain_entries(entries), *sorted),
        other => other.clone(),
    }
}

/// The entries of a map and its keys are never NULL, by Arrow's rule.
fn plain_entries(entries: &Field) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else { return plain_field(entries) };
    let fields = fields.iter().enumerate().map(|(index, field)| {
        let plain = plain_type(field.data_type());
        Arc::new(Field::new(field.name(), plain, index > 0))
    });
    Arc::new(Field::new(entries.name(), DataType::Struct(fields.collect()), false))
}

/// Brings one batch to the plain schema. Columns that are plain already are not copied.
pub(crate) fn plain_batch(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    // A value that does not fit (a count beyond i64) is an error, never NULL.
    let options = CastOptions { safe: false, ..Default::default() };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            cast_with_options(column, field.data_type(), &options).map_err(|error| {
                Error::new(ErrorKind::Data, "a value does not fit the type of its column")
                    .with("column", field.name())
                    .because(error)
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &rows).map_err(|error| {
        Error::new(ErrorKind::Internal, "a result does not have the columns that were planned")
            .because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Array, DictionaryArray, StringArray, StringViewArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::Int8Type;

    #[test]
    fn every_text_is_utf8_and_every_time_is_microseconds() {
        let words: DictionaryArray<Int8Type> = vec!["x", "y"].into_iter().collect();
        let batch = RecordBatch::try_from_iter(vec![
            ("v", Arc::new(StringViewArray::from(vec![Some("a"), None])) as ArrayRef),
            ("n", Arc::new(UInt64Array::from(vec![1, 2]))),
            (
                "t",
                Arc::new(
                    TimestampNanosecondArray::from(vec![1_000, 2_999]).with_timezone("+00:00"),
                ),
            ),
            ("d", Arc::new(words)),
        ])
        .unwrap();
        let schema = plain_schema(&batch.schema());
        let plain = plain_batch(batch, &schema).unwrap();
        let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
        assert_eq!(
            types,
            [
                &DataType::Utf8,
                &DataType::Int64,
                &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                &DataType::Utf8
            ]
        );
        let text = plain.column(3).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(text.value(1), "y");
        assert!(plain.column(0).is_null(1));
    }

    #[test]
    fn a_number_that_does_not_fit_is_an_error() {
        let batch = RecordBatch::try_from_iter(vec![(
            "n",
            Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef,
        )])
        .unwrap();
        let schema = plain_schema(&batch.schema());
        assert_eq!(plain_batch(batch, &schema).unwrap_err().kind(), ErrorKind::Data);
    }
}
