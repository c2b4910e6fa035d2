//! Arrow batches as bytes, and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

/// Rows in one piece sent to a program.
const ROWS: usize = 65_536;

/// The columns as every reader of Arrow knows them: without views and dictionaries.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), plain(field.data_type()), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn plain(data_type: &DataType) -> DataType {
    let inner =
        |field: &Arc<Field>| Arc::new((**field).clone().with_data_type(plain(field.data_type())));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(field) => DataType::List(inner(field)),
        DataType::LargeList(field) => DataType::LargeList(inner(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(inner(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Fields>()),
        other => other.clone(),
    }
}

/// The schema alone.
pub(crate) fn schema_bytes(schema: &SchemaRef) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema)?.finish()?;
    Ok(bytes)
}

/// A batch in pieces, each a stream of its own in these columns.
pub(crate) fn pieces(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> impl Iterator<Item = Result<Vec<u8>, ArrowError>> {
    let starts = (0..batch.num_rows()).step_by(ROWS);
    starts.map(move |start| {
        let part = batch.slice(start, ROWS.min(batch.num_rows() - start));
        let columns: Vec<ArrayRef> = part
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(column.clone()),
                false => cast(column, field.data_type()),
            })
            .collect::<Result<_, _>>()?;
        let part = RecordBatch::try_new(schema.clone(), columns)?;
        let mut bytes = Vec::with_capacity(part.get_array_memory_size() + 1024);
        let mut writer = StreamWriter::try_new(&mut bytes, schema)?;
        writer.write(&part)?;
        writer.finish()?;
        drop(writer);
        Ok(bytes)
    })
}

/// The schema and batches of a stream.
pub(crate) fn parse(bytes: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
    Ok((schema, batches))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};

    #[test]
    fn rows_survive_the_way() {
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from_iter(0..70_000)) as ArrayRef),
            ("name", Arc::new(StringViewArray::from_iter((0..70_000).map(|_| Some("a"))))),
        ])
        .unwrap();
        let schema = plain_schema(&batch.schema());
        assert_eq!(schema.field(1).data_type(), &DataType::Utf8);
        let found: Vec<RecordBatch> =
            pieces(&batch, &schema).flat_map(|bytes| parse(&bytes.unwrap()).unwrap().1).collect();
        assert_eq!(found.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [65_536, 4_464]);
        assert_eq!(found[1].column(0).as_ref(), batch.column(0).slice(65_536, 4_464).as_ref());
        let (empty, none) = parse(&schema_bytes(&schema).unwrap()).unwrap();
        assert_eq!((empty, none.len()), (schema, 0));
    }
}
