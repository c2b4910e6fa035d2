//! Values of Arrow as JSON.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::{JsonFormat, LineDelimited};
use tidemill_core::{ErrorKind, Result, ResultExt};

/// The column's name in the rows that are made on the way.
const NAME: &str = "v";

/// One text for each value: structs and maps are objects, lists are arrays, instants RFC 3339, bytes
/// their hex digits, `NaN` and the infinite null. NULL is the empty text.
pub(crate) fn json_texts(column: &ArrayRef) -> Result<Vec<String>> {
    let failed = "a column cannot be written as JSON";
    let schema = Arc::new(Schema::new(vec![Field::new(NAME, column.data_type().clone(), true)]));
    let batch =
        RecordBatch::try_new(schema, vec![column.clone()]).or_error(ErrorKind::Internal, failed)?;
    let mut writer = rows_writer(Vec::new());
    writer.write(&batch).or_error(ErrorKind::Unsupported, failed)?;
    writer.finish().or_error(ErrorKind::Internal, failed)?;
    let text = String::from_utf8(writer.into_inner()).or_error(ErrorKind::Internal, failed)?;
    let value = |(row, line): (usize, &str)| match column.is_null(row) {
        true => String::new(),
        false => {
            let value = line.strip_prefix("{\"v\":").and_then(|line| line.strip_suffix('}'));
            value.unwrap_or_default().to_owned()
        }
    };
    Ok(text.lines().enumerate().map(value).collect())
}

/// Rows as objects, one a line; what is NULL is written.
pub(crate) fn rows_writer<W: Write>(out: W) -> arrow::json::Writer<W, LineDelimited> {
    builder().build::<W, LineDelimited>(out)
}

/// Rows as objects in another form.
pub(crate) fn writer<W: Write, F: JsonFormat>(out: W) -> arrow::json::Writer<W, F> {
    builder().build::<W, F>(out)
}

fn builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray, StructArray};
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn nested_values_are_json() {
        let fields = vec![
            (
                Arc::new(Field::new("a", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("b", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["x\"\n}", "ü"])) as ArrayRef,
            ),
        ];
        let column = Arc::new(StructArray::from(fields)) as ArrayRef;
        assert_eq!(
            json_texts(&column).unwrap(),
            ["{\"a\":1,\"b\":\"x\\\"\\n}\"}", "{\"a\":null,\"b\":\"ü\"}"]
        );
    }
}
