//! Rows into a table, by `COPY`.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tidemill_core::{BatchStream, RelationName, Result};
use tokio_postgres::Client;

use super::catalog::quoted;
use super::error;

/// How much is sent at once.
const CHUNK: usize = 1 << 20;

/// Adds the rows of a stream to a table. Values go as texts, which PostgreSQL reads as the types of
/// the columns.
pub(super) async fn load(
    client: &Client,
    relation: &RelationName,
    columns: &[String],
    mut rows: BatchStream,
) -> Result<u64> {
    let names: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let table = match relation.schema() {
        "" => quoted(relation.name()),
        _ => relation.quoted(),
    };
    let sql = format!("copy {table} ({}) from stdin", names.join(", "));
    let failed = |failed| error::of_statement(failed, &sql, 0);
    let sink = client.copy_in::<_, Bytes>(sql.as_str()).await.map_err(failed)?;
    let mut sink = Box::pin(sink);
    let mut buffer = BytesMut::with_capacity(CHUNK);
    while let Some(batch) = rows.batches.next().await {
        // Dropped before its end, the copy fails and nothing of it stays.
        write(&batch?, &mut buffer);
        if buffer.len() >= CHUNK / 2 {
            sink.send(buffer.split().freeze()).await.map_err(failed)?;
        }
    }
    if !buffer.is_empty() {
        sink.send(buffer.freeze()).await.map_err(failed)?;
    }
    sink.as_mut().finish().await.map_err(failed)
}

/// A batch in the text format of `COPY`.
fn write(batch: &RecordBatch, out: &mut BytesMut) {
    for row in 0..batch.num_rows() {
        for (index, column) in batch.columns().iter().enumerate() {
            if index > 0 {
                out.put_u8(b'\t');
            }
            value(column, row, out);
        }
        out.put_u8(b'\n');
    }
}

fn value(column: &ArrayRef, row: usize, out: &mut BytesMut) {
    if column.is_null(row) {
        out.put_slice(b"\\N");
        return;
    }
    match column.data_type() {
        DataType::Utf8 => escaped(column.as_string::<i32>().value(row), out),
        DataType::Binary => {
            out.put_slice(b"\\\\x");
            for byte in column.as_binary::<i32>().value(row) {
                out.put_slice(format!("{byte:02x}").as_bytes());
            }
        }
        _ => escaped(&tidemill_core::display_value(column, row), out),
    }
}

/// A text as the text format of `COPY` has it.
pub(super) fn escaped(text: &str, out: &mut BytesMut) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r'))
    {
        out.put_slice(&rest[..at]);
        out.put_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray};

    use super::*;

    #[test]
    fn values_are_written_as_copy_reads_them() {
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef),
            ("b", Arc::new(StringArray::from(vec!["x\ty\\", "\n"])) as ArrayRef),
        ])
        .unwrap();
        let mut out = BytesMut::new();
        write(&batch, &mut out);
        assert_eq!(&out[..], b"1\tx\\ty\\\\\n\\N\t\\n\n");
    }
}
