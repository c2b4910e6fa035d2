//! Result sets as aligned text, CSV, JSON, Arrow or Parquet.

use std::io::Write;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::StreamExt;
use tidemill_core::{BatchStream, display_value};
use unicode_width::UnicodeWidthStr;

use crate::args::Format;

/// Rows that are looked at to find how wide columns are.
const WIDTH_SAMPLE: usize = 5_000;

/// Writes all rows and gives their number.
pub(crate) async fn write(
    mut rows: BatchStream,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<u64> {
    // A query that fails at once must not leave a header that looks like an empty result.
    let first = rows.batches.next().await.transpose()?;
    let schema = rows.schema.clone();
    let rest = futures::stream::iter(first.map(Ok)).chain(rows.batches);
    let mut rows = BatchStream::new(schema, rest);
    match format {
        Format::Text => write_text(rows, out).await,
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new()
                .with_header(true)
                .with_timestamp_format("%Y-%m-%d %H:%M:%S%.f".to_owned())
                .with_timestamp_tz_format("%Y-%m-%d %H:%M:%S%.f%:z".to_owned())
                .build(out);
            let mut count = 0;
            // An empty result still has its header.
            writer.write(&flat(RecordBatch::new_empty(rows.schema.clone()))?)?;
            while let Some(batch) = rows.batches.next().await {
                let batch = flat(batch?)?;
                count += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            Ok(count)
        }
        Format::Json => {
            let mut writer = arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, arrow::json::writer::JsonArray>(out);
            let mut count = 0;
            while let Some(batch) = rows.batches.next().await {
                let batch = batch?;
                count += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            writer.finish()?;
            writeln!(writer.into_inner())?;
            Ok(count)
        }
        Format::Arrow => {
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(out, &rows.schema)?;
            let mut count = 0;
            while let Some(batch) = rows.batches.next().await {
                let batch = batch?;
                count += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            writer.finish()?;
            Ok(count)
        }
        Format::Parquet => {
            let properties = parquet::file::properties::WriterProperties::builder()
                .set_compression(parquet::basic::Compression::ZSTD(
                    parquet::basic::ZstdLevel::try_new(3)?,
                ))
                .build();
            let mut writer =
                parquet::arrow::ArrowWriter::try_new(out, rows.schema.clone(), Some(properties))?;
            let mut count = 0;
            while let Some(batch) = rows.batches.next().await {
                let batch = batch?;
                count += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            writer.close()?;
            Ok(count)
        }
    }
}

/// Lists, structs and maps as JSON text, which CSV can hold.
fn flat(batch: RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch);
    }
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        if !field.data_type().is_nested() {
            return Ok((field.name().clone(), column.clone()));
        }
        let text: arrow::array::StringArray = (0..column.len())
            .map(
                |row| if column.is_null(row) { Ok(None) } else { json_text(column, row).map(Some) },
            )
            .collect::<Result<_>>()?;
        Ok((field.name().clone(), std::sync::Arc::new(text) as arrow::array::ArrayRef))
    });
    Ok(RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>>>()?)?)
}

fn json_text(column: &arrow::array::ArrayRef, row: usize) -> Result<String> {
    let one = RecordBatch::try_from_iter([("v", column.slice(row, 1))])?;
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&one)?;
    writer.finish()?;
    let line: serde_json::Value = serde_json::from_slice(&writer.into_inner())?;
    Ok(line.get("v").cloned().unwrap_or_default().to_string())
}

async fn write_text(mut rows: BatchStream, out: &mut (dyn Write + Send)) -> Result<u64> {
    let mut first = Vec::new();
    let mut seen = 0;
    while seen < WIDTH_SAMPLE
        && let Some(batch) = rows.batches.next().await
    {
        let batch = batch?;
        seen += batch.num_rows();
        first.push(batch);
    }
    let columns = Columns::new(&rows.schema, &first);
    columns.write_header(out)?;
    let mut count = 0;
    for batch in &first {
        count += columns.write_rows(batch, out)?;
    }
    while let Some(batch) = rows.batches.next().await {
        count += columns.write_rows(&batch?, out)?;
    }
    Ok(count)
}

struct Columns {
    names: Vec<String>,
    widths: Vec<usize>,
    right: Vec<bool>,
}

impl Columns {
    fn new(schema: &SchemaRef, batches: &[RecordBatch]) -> Self {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let right = schema.fields().iter().map(|field| is_number(field.data_type())).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
        for batch in batches {
            for (index, width) in widths.iter_mut().enumerate() {
                for row in 0..batch.num_rows() {
                    *width = (*width).max(cell(batch, index, row).width());
                }
            }
        }
        Columns { names, widths, right }
    }

    fn write_header(&self, out: &mut dyn Write) -> Result<()> {
        let line: Vec<String> = self
            .names
            .iter()
            .zip(&self.widths)
            .zip(&self.right)
            .map(|((name, width), right)| pad(name, *width, *right))
            .collect();
        writeln!(out, " {}", line.join(" | ").trim_end())?;
        let rule: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        writeln!(out, "{}", rule.join("+")).context("cannot write the result")
    }

    fn write_rows(&self, batch: &RecordBatch, out: &mut dyn Write) -> Result<u64> {
        for row in 0..batch.num_rows() {
            let line: Vec<String> = (0..self.names.len())
                .map(|index| pad(&cell(batch, index, row), self.widths[index], self.right[index]))
                .collect();
            writeln!(out, " {}", line.join(" | ").trim_end())?;
        }
        Ok(batch.num_rows() as u64)
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn cell(batch: &RecordBatch, column: usize, row: usize) -> String {
    let text = display_value(batch.column(column), row);
    if text.contains(['\n', '\r', '\t']) {
        return text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    }
    text
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let space = " ".repeat(width.saturating_sub(text.width()));
    if right { format!("{space}{text}") } else { format!("{text}{space}") }
}

/// Rows of text in aligned columns, for lists.
pub(crate) fn aligned(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].width())
                .chain([header[column].width()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| pad(cell, widths[column], right.contains(&column)))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    std::iter::once(line(header.to_vec()))
        .chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())))
        .collect()
}
