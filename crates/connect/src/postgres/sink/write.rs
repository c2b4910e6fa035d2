//! Batches in the text format of `COPY`, which PostgreSQL reads as the types of the table's columns.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tidemill_core::{BatchStream, Error, ErrorKind, Result, ResultExt, display_value};
use tokio_postgres::Client;

use super::columns::Form;
use crate::json_text::json_texts;
use crate::postgres::catalog::quoted;
use crate::postgres::copy::escaped;
use crate::postgres::error;

/// How much is sent at once.
const CHUNK: usize = 1 << 20;

/// A column that is written.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) form: Form,
}

/// Adds the rows to a table; gives their number. The key's columns are for messages.
pub(super) async fn copy(
    client: &Client,
    table: &str,
    columns: &[Column],
    key: &[String],
    mut rows: BatchStream,
) -> Result<u64> {
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!("copy {table} ({}) from stdin", names.join(", "));
    let failed = |failed| error::of_statement(failed, &sql, 0);
    let sink = client.copy_in::<_, Bytes>(sql.as_str()).await.map_err(failed)?;
    let mut sink = Box::pin(sink);
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let mut before = 0;
    while let Some(batch) = rows.batches.next().await {
        // Dropped before its end, the copy fails and nothing of it stays.
        let batch = batch?;
        write(&batch, columns, &mut buffer)
            .map_err(|refused| refused.error(&batch, columns, key, before))?;
        before += batch.num_rows();
        if buffer.len() >= CHUNK / 2 {
            sink.send(buffer.split().freeze()).await.map_err(failed)?;
        }
    }
    if !buffer.is_empty() {
        sink.send(buffer.freeze()).await.map_err(failed)?;
    }
    sink.as_mut().finish().await.map_err(failed)
}

/// A value that cannot be written.
struct Refused {
    row: usize,
    column: usize,
    error: Error,
}

impl Refused {
    /// With its place: the key of the row where there is one, else its number.
    fn error(
        self,
        batch: &RecordBatch,
        columns: &[Column],
        key: &[String],
        before: usize,
    ) -> Error {
        let place: Vec<String> = key
            .iter()
            .filter_map(|name| {
                let value = display_value(batch.column_by_name(name)?, self.row);
                Some(format!("{name} = {value}"))
            })
            .collect();
        let place = match place.is_empty() {
            true => (before + self.row + 1).to_string(),
            false => place.join(", "),
        };
        let column = columns.get(self.column).map(|column| column.name.as_str());
        self.error.with("row", place).with("column", column.unwrap_or_default())
    }
}

fn options() -> FormatOptions<'static> {
    FormatOptions::default().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
}

/// The values of a column, made ready once for a batch.
enum Values<'a> {
    Text(&'a ArrayRef),
    Bytes(&'a ArrayRef),
    List(&'a ArrayRef),
    Json(&'a ArrayRef, Vec<String>),
    /// Days and instants, whose years PostgreSQL writes in another way outside of 1 to 9999.
    Moment(&'a ArrayRef, ArrayFormatter<'a>, &'static str),
    Shown(&'a ArrayRef, ArrayFormatter<'a>),
}

impl Values<'_> {
    fn array(&self) -> &ArrayRef {
        match self {
            Values::Text(array)
            | Values::Bytes(array)
            | Values::List(array)
            | Values::Json(array, _)
            | Values::Moment(array, ..)
            | Values::Shown(array, _) => array,
        }
    }
}

fn write(batch: &RecordBatch, columns: &[Column], out: &mut BytesMut) -> Result<(), Refused> {
    let options = options();
    let refused = |row, column| move |error| Refused { row, column, error };
    let mut plain = Vec::with_capacity(columns.len());
    for (index, array) in batch.columns().iter().enumerate() {
        plain.push(self::plain(array).map_err(refused(0, index))?);
    }
    let mut values = Vec::with_capacity(columns.len());
    for (index, (column, array)) in columns.iter().zip(&plain).enumerate() {
        let zone = zone(batch.column(index).data_type());
        values.push(ready(column.form, array, zone, &options).map_err(refused(0, index))?);
    }
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (index, column) in values.iter().enumerate() {
            if index > 0 {
                out.put_u8(b'\t');
            }
            value(column, row, &options, &mut text, out).map_err(refused(row, index))?;
        }
        out.put_u8(b'\n');
    }
    Ok(())
}

/// What stands behind an instant.
fn zone(kind: &DataType) -> &'static str {
    match kind {
        DataType::Timestamp(_, Some(_)) => "+00",
        _ => "",
    }
}

fn ready<'a>(
    form: Form,
    array: &'a ArrayRef,
    zone: &'static str,
    options: &FormatOptions<'a>,
) -> Result<Values<'a>> {
    Ok(match (form, array.data_type()) {
        (Form::Json, _) => Values::Json(array, json_texts(array)?),
        (Form::Array, _) => Values::List(array),
        (Form::Bytes, _) => Values::Bytes(array),
        (Form::Text, DataType::Utf8) => Values::Text(array),
        (Form::Text, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)) => {
            Values::Moment(array, formatter(array, options)?, zone)
        }
        (Form::Text, _) => Values::Shown(array, formatter(array, options)?),
    })
}

fn formatter<'a>(column: &'a ArrayRef, options: &FormatOptions<'a>) -> Result<ArrayFormatter<'a>> {
    ArrayFormatter::try_new(column, options)
        .or_error(ErrorKind::Internal, "a column cannot be written as text")
}

/// Without views, dictionaries and the like.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    let to = match column.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, values) => return plain(&to_type(column, values)?),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        DataType::Date64 => DataType::Date32,
        // The session's zone is UTC, and PostgreSQL counts microseconds.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
        _ => return Ok(column.clone()),
    };
    to_type(column, &to)
}

fn to_type(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(column, to).or_error(ErrorKind::Internal, "a column cannot be written")
}

fn without_zero(text: &str) -> Result<()> {
    match text.contains('\0') {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::Data,
            "a text has the character 0 (NUL), which PostgreSQL has no room for",
        )
        .with("help", "take it out in the model: replace(x, chr(0), '')")),
    }
}

fn value(
    column: &Values<'_>,
    row: usize,
    options: &FormatOptions<'_>,
    text: &mut String,
    out: &mut BytesMut,
) -> Result<()> {
    if column.array().is_null(row) {
        out.put_slice(b"\\N");
        return Ok(());
    }
    text.clear();
    match column {
        Values::Text(array) => {
            let value = array.as_string::<i32>().value(row);
            without_zero(value)?;
            escaped(value, out);
        }
        Values::Json(_, texts) => {
            let value = &texts[row];
            if value.contains("\\u0000") {
                without_zero("\0")?;
            }
            escaped(value, out);
        }
        Values::Bytes(array) => {
            out.put_slice(b"\\\\x");
            for byte in array.as_binary::<i32>().value(row) {
                hex(*byte, out);
            }
        }
        Values::List(array) => {
            list(&array.as_list::<i32>().value(row), options, text)?;
            escaped(text, out);
        }
        Values::Moment(_, formatter, zone) => {
            show(formatter, row, text)?;
            moment(text, zone, out);
        }
        Values::Shown(_, formatter) => {
            show(formatter, row, text)?;
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

fn show(formatter: &ArrayFormatter<'_>, row: usize, text: &mut String) -> Result<()> {
    write!(text, "{}", formatter.value(row))
        .or_error(ErrorKind::Data, "a value cannot be written as text")
}

/// `+10000-01-01` is 10000-01-01 there, and `-0043-03-15` is 0044-03-15 BC.
fn moment(text: &str, zone: &str, out: &mut BytesMut) {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let year = digits.split('-').next().and_then(|year| year.parse::<i64>().ok());
    match (negative, year, digits.find('-')) {
        (negative, Some(year), Some(end)) if negative || year == 0 => {
            out.put_slice(format!("{:04}{}{zone} BC", year + 1, &digits[end..]).as_bytes());
        }
        _ => {
            out.put_slice(text.as_bytes());
            out.put_slice(zone.as_bytes());
        }
    }
}

fn hex(byte: u8, out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.put_u8(DIGITS[usize::from(byte >> 4)]);
    out.put_u8(DIGITS[usize::from(byte & 15)]);
}

/// A list as the text of an array.
pub(crate) fn array_text(items: &ArrayRef) -> Result<String> {
    let mut text = String::new();
    list(items, &options(), &mut text)?;
    Ok(text)
}

/// `{"a","b",NULL}`; lists of lists have one more pair of braces.
fn list(items: &ArrayRef, options: &FormatOptions<'_>, text: &mut String) -> Result<()> {
    let zone = zone(items.data_type());
    let items = plain(items)?;
    let formatter = formatter(&items, options)?;
    text.push('{');
    for row in 0..items.len() {
        if row > 0 {
            text.push(',');
        }
        if items.is_null(row) {
            text.push_str("NULL");
            continue;
        }
        if let Some(inner) = items.as_list_opt::<i32>() {
            list(&inner.value(row), options, text)?;
            continue;
        }
        let item = match items.data_type() {
            DataType::Binary => format!("\\x{}", formatter.value(row)),
            DataType::Date32 | DataType::Timestamp(..) => {
                let mut out = BytesMut::new();
                moment(&formatter.value(row).to_string(), zone, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
            _ => formatter.value(row).to_string(),
        };
        without_zero(&item)?;
        text.push('"');
        for character in item.chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, Date32Array, Float64Array, ListArray, StringViewArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn values_are_written_as_copy_reads_them() {
        let numbers = vec![Some(vec![Some(1), None]), Some(vec![]), None];
        let batch = RecordBatch::try_from_iter([
            (
                "a",
                Arc::new(StringViewArray::from(vec![Some("x\ty\\"), Some("\n"), None])) as ArrayRef,
            ),
            (
                "b",
                Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), Some(&b""[..]), None]))
                    as ArrayRef,
            ),
            ("c", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(numbers)) as ArrayRef),
            ("d", Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY])) as ArrayRef),
            ("e", Arc::new(Date32Array::from(vec![2_932_897, -735_160, 0])) as ArrayRef),
        ])
        .unwrap();
        let columns: Vec<Column> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                form: Form::of(field.data_type(), None),
            })
            .collect();
        let mut out = BytesMut::new();
        assert!(write(&batch, &columns, &mut out).is_ok());
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(
            text,
            "x\\ty\\\\\t\\\\x00ff\t{\"1\",NULL}\t1.5\t10000-01-01\n\
             \\n\t\\\\x\t{}\tNaN\t0044-03-15 BC\n\\N\t\\N\t\\N\tinf\t1970-01-01\n"
        );
        let text = Arc::new(StringViewArray::from(vec!["fine", "a\0b"])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("a", text)]).unwrap();
        let refused = write(&batch, &columns[..1], &mut out).err().unwrap();
        let error = refused.error(&batch, &columns, &[], 10).report();
        assert!(error.contains("NUL") && error.contains("12"), "{error}");
    }
}
