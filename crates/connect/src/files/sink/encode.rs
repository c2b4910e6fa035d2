//! Batches as the bytes of a file.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::settings::{Compression, Format, Layout};
use super::workbook::Workbook;
use crate::json_text::{json_texts, rows_writer, writer};

/// Bytes that wait to be written.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What packs the bytes.
enum Packed {
    Plain(Buffer),
    Gzip(GzEncoder<Buffer>),
    Zstd(zstd::Encoder<'static, Buffer>),
}

impl Packed {
    fn new(compression: Compression, buffer: Buffer) -> io::Result<Packed> {
        Ok(match compression {
            Compression::Gzip => {
                Packed::Gzip(GzEncoder::new(buffer, flate2::Compression::default()))
            }
            Compression::Zstd => Packed::Zstd(zstd::Encoder::new(buffer, 3)?),
            Compression::None | Compression::Snappy => Packed::Plain(buffer),
        })
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Packed::Plain(_) => Ok(()),
            Packed::Gzip(encoder) => encoder.finish().map(drop),
            Packed::Zstd(encoder) => encoder.finish().map(drop),
        }
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packed::Plain(buffer) => buffer.write(bytes),
            Packed::Gzip(encoder) => encoder.write(bytes),
            Packed::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Packed::Plain(buffer) => buffer.flush(),
            Packed::Gzip(encoder) => encoder.flush(),
            Packed::Zstd(encoder) => encoder.flush(),
        }
    }
}

enum Rows {
    Separated(Packed),
    Lines(arrow::json::Writer<Packed, LineDelimited>),
    Document(arrow::json::Writer<Packed, JsonArray>),
    Parquet(ArrowWriter<Buffer>),
    Workbook(Box<Workbook<Buffer>>),
}

/// A file under construction.
pub(super) struct Encoder {
    rows: Rows,
    buffer: Buffer,
    layout: Layout,
}

fn failed() -> impl FnOnce(io::Error) -> Error {
    |error| Error::new(ErrorKind::Internal, "rows cannot be written").because(error)
}

impl Encoder {
    pub(super) fn new(layout: &Layout, schema: &SchemaRef) -> Result<Encoder> {
        let buffer = Buffer::default();
        let packed = || Packed::new(layout.compression, buffer.clone()).map_err(failed());
        let rows = match layout.format {
            Format::Csv | Format::Tsv => {
                let mut packed = packed()?;
                if layout.header {
                    let names: Vec<&str> =
                        schema.fields().iter().map(|field| field.name().as_str()).collect();
                    let mut line = Vec::new();
                    for (index, name) in names.iter().enumerate() {
                        if index > 0 {
                            line.push(layout.delimiter);
                        }
                        separated(name, layout, &mut line);
                    }
                    line.push(b'\n');
                    packed.write_all(&line).map_err(failed())?;
                }
                Rows::Separated(packed)
            }
            Format::Ndjson => Rows::Lines(rows_writer(packed()?)),
            Format::Json => Rows::Document(writer(packed()?)),
            Format::Parquet => {
                let codec = match layout.compression {
                    Compression::None => Codec::UNCOMPRESSED,
                    Compression::Snappy => Codec::SNAPPY,
                    Compression::Gzip => Codec::GZIP(GzipLevel::default()),
                    Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
                };
                let properties = WriterProperties::builder().set_compression(codec).build();
                let writer = ArrowWriter::try_new(buffer.clone(), schema.clone(), Some(properties))
                    .or_error(ErrorKind::Unsupported, "the columns cannot be written to Parquet")
                    .map_err(|error| error.with("help", "cast them to text in the model"))?;
                Rows::Parquet(writer)
            }
            Format::Excel => {
                let Layout { sheet, header, inexact, .. } = layout;
                let book = Workbook::new(buffer.clone(), schema, sheet, *header, *inexact)?;
                Rows::Workbook(Box::new(book))
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "files of this format are read, not written",
                ));
            }
        };
        Ok(Encoder { rows, buffer, layout: layout.clone() })
    }

    /// Adds rows; gives the bytes that are ready.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let refused = "the rows cannot be written in this format";
        match &mut self.rows {
            Rows::Separated(packed) => {
                let text = lines(batch, &self.layout)?;
                packed.write_all(&text).map_err(failed())?;
            }
            Rows::Lines(writer) => writer.write(batch).or_error(ErrorKind::Unsupported, refused)?,
            Rows::Document(writer) => {
                writer.write(batch).or_error(ErrorKind::Unsupported, refused)?;
            }
            Rows::Parquet(writer) => {
                writer.write(batch).or_error(ErrorKind::Unsupported, refused)?;
            }
            Rows::Workbook(book) => book.write(batch)?,
        }
        Ok(self.buffer.take())
    }

    /// The last bytes.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let refused = "the file cannot be finished";
        match self.rows {
            Rows::Separated(packed) => packed.finish().map_err(failed())?,
            Rows::Lines(mut writer) => {
                writer.finish().or_error(ErrorKind::Internal, refused)?;
                writer.into_inner().finish().map_err(failed())?;
            }
            Rows::Document(mut writer) => {
                writer.finish().or_error(ErrorKind::Internal, refused)?;
                writer.into_inner().finish().map_err(failed())?;
            }
            Rows::Parquet(writer) => {
                writer.close().or_error(ErrorKind::Internal, refused)?;
            }
            Rows::Workbook(book) => book.finish()?,
        }
        Ok(self.buffer.take())
    }
}

/// The values of a column as texts.
enum Texts<'a> {
    Shown(&'a ArrayRef, ArrayFormatter<'a>),
    Json(&'a ArrayRef, Vec<String>),
}

/// Lines of separated values: a text without characters is `""`, so that it is not NULL.
fn lines(batch: &RecordBatch, layout: &Layout) -> Result<Vec<u8>> {
    let options = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    let columns: Vec<Texts<'_>> = batch
        .columns()
        .iter()
        .map(|column| {
            let nested = column.data_type().is_nested()
                && !matches!(column.data_type(), DataType::Dictionary(..));
            if nested {
                return Ok(Texts::Json(column, json_texts(column)?));
            }
            let formatter = ArrayFormatter::try_new(column, &options)
                .or_error(ErrorKind::Unsupported, "a column cannot be written as text")?;
            Ok(Texts::Shown(column, formatter))
        })
        .collect::<Result<_>>()?;
    let mut out = Vec::with_capacity(batch.num_rows() * columns.len() * 8);
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(layout.delimiter);
            }
            match column {
                Texts::Shown(array, _) | Texts::Json(array, _) if array.is_null(row) => {
                    out.extend_from_slice(layout.null.as_bytes());
                }
                Texts::Json(_, texts) => separated(&texts[row], layout, &mut out),
                Texts::Shown(_, formatter) => {
                    text.clear();
                    formatter
                        .value(row)
                        .write(&mut text)
                        .or_error(ErrorKind::Data, "a value cannot be written as text")?;
                    separated(&text, layout, &mut out);
                }
            }
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// A value, in quotes where it would be read as something else.
fn separated(text: &str, layout: &Layout, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let special = |byte: &u8| *byte == layout.delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    let spaced = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if !text.is_empty() && text != layout.null && !spaced && !bytes.iter().any(special) {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for byte in bytes {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use serde_json::json;
    use tidemill_core::DeliveryMode;

    use super::*;

    #[test]
    fn an_empty_text_is_not_null() {
        let to = json!({"path": "a.csv"});
        let layout = Layout::parse(to.as_object().unwrap(), &DeliveryMode::Full).unwrap();
        let text = StringArray::from(vec![Some(""), None, Some("a\"b,c"), Some(" x")]);
        let batch = RecordBatch::try_from_iter([
            ("t", Arc::new(text) as ArrayRef),
            ("n", Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef),
        ])
        .unwrap();
        let lines = String::from_utf8(lines(&batch, &layout).unwrap()).unwrap();
        assert_eq!(lines, "\"\",1\n,\n\"a\"\"b,c\",3\n\" x\",4\n");
    }
}
