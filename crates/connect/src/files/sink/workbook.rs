//! Rows as a workbook (.xlsx), written as they come: nothing of the sheet is kept in memory.
//!
//! Numbers, truth values, dates and times are cells of their kind, and all else is text: a text that begins
//! with `=` stays a text, as no cell has a formula.

use std::fmt::Write as _;
use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int64Type, SchemaRef, TimeUnit,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use crate::json_text::json_texts;

/// What becomes of a value that no cell holds exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Inexact {
    /// The delivery fails.
    #[default]
    Error,
    /// It is a text.
    Text,
    /// It is rounded, or a text where that cannot be.
    Round,
}

/// How many rows a sheet has, the header among them.
pub(super) const SHEET_ROWS: u64 = 1_048_576;

/// How many columns.
const SHEET_COLUMNS: usize = 16_384;

/// How many characters (of UTF-16) a cell takes.
const CELL_CHARACTERS: usize = 32_767;

/// How many digits of a number are kept.
const DIGITS: usize = 15;

/// The number of 1970-01-01 among the days of a sheet.
const EPOCH: i64 = 25_569;

/// 1900-03-01: before it days have another number than they should, as 1900-02-29 has one.
const FIRST_DAY: i64 = 61;

/// 9999-12-31.
const LAST_DAY: i64 = 2_958_465;

const DAY: i128 = 86_400_000_000_000;
const MILLISECOND: i128 = 1_000_000;

/// The looks of cells, as `styles.xml` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain = 0,
    Header = 1,
    Date = 2,
    Seconds = 3,
    Milliseconds = 4,
    Clock = 5,
    ClockMilliseconds = 6,
}

const CONTENT_TYPES: &str = r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"#;

const RELATIONS: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;

const WORKBOOK_RELATIONS: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;

const STYLES: &str = r#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><numFmts count="5"><numFmt numFmtId="164" formatCode="yyyy\-mm\-dd"/><numFmt numFmtId="165" formatCode="yyyy\-mm\-dd\ hh:mm:ss"/><numFmt numFmtId="166" formatCode="yyyy\-mm\-dd\ hh:mm:ss.000"/><numFmt numFmtId="167" formatCode="hh:mm:ss"/><numFmt numFmtId="168" formatCode="hh:mm:ss.000"/></numFmts><fonts count="2"><font><sz val="11"/><name val="Calibri"/><family val="2"/></font><font><b/><sz val="11"/><name val="Calibri"/><family val="2"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="7"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/><xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="166" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="167" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="168" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"#;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";

/// A workbook of one sheet that is being written.
pub(super) struct Workbook<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
    /// The letters of the columns, and their names.
    columns: Vec<(String, String)>,
    inexact: Inexact,
    /// Rows of the sheet so far.
    rows: u64,
    text: String,
}

/// Why a value is not in its cell.
enum Trouble {
    /// It would not be what it is.
    Inexact,
    /// The text has more characters than a cell takes.
    TooLong,
    Failed(Error),
}

/// The values of a column.
enum Values<'a> {
    Truth(&'a ArrayRef),
    /// Integers and decimals.
    Number(ArrayFormatter<'a>),
    Real(ArrayRef),
    Single(ArrayRef),
    Date(&'a ArrayRef),
    /// With how many nanoseconds one is.
    Stamp(ArrayRef, i128),
    Clock(ArrayRef, i128),
    Json(Vec<String>),
    Text(ArrayFormatter<'a>),
}

fn failed() -> impl FnOnce(std::io::Error) -> Error {
    |error| Error::new(ErrorKind::Internal, "the workbook cannot be written").because(error)
}

fn packed(error: zip::result::ZipError) -> Error {
    Error::new(ErrorKind::Internal, "the workbook cannot be written").because(error)
}

/// Whether a sheet may be called so.
pub(super) fn is_sheet_name(name: &str) -> bool {
    let length = name.encode_utf16().count();
    (1..=31).contains(&length)
        && !name.contains(['[', ']', ':', '*', '?', '/', '\\'])
        && !name.contains(char::is_control)
        && !name.starts_with('\'')
        && !name.ends_with('\'')
        && !name.eq_ignore_ascii_case("history")
}

/// `A`, …, `Z`, `AA`, …
fn letters(mut column: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + (column % 26) as u8);
        column /= 26;
        if column == 0 {
            break;
        }
        column -= 1;
    }
    letters.iter().rev().map(|letter| char::from(*letter)).collect()
}

/// How wide a column is, where the usual width does not do.
fn width(data_type: &DataType) -> Option<u32> {
    match data_type {
        DataType::Date32 => Some(11),
        DataType::Date64 | DataType::Timestamp(..) => Some(24),
        DataType::Time32(_) | DataType::Time64(_) => Some(13),
        _ => None,
    }
}

impl<W: Write> Workbook<W> {
    /// Begins a workbook with a sheet of this name.
    ///
    /// # Errors
    /// Kind `Unsupported` for more columns than a sheet has.
    pub(super) fn new(
        out: W,
        schema: &SchemaRef,
        sheet: &str,
        header: bool,
        inexact: Inexact,
    ) -> Result<Self> {
        let fields = schema.fields();
        if fields.len() > SHEET_COLUMNS {
            let why =
                format!("a sheet has {SHEET_COLUMNS} columns, and there are {}", fields.len());
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let mut zip = ZipWriter::new_stream(out);
        let mut name = String::new();
        escape(sheet, &mut name);
        let workbook = format!(
            r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><bookViews><workbookView/></bookViews><sheets><sheet name="{name}" sheetId="1" r:id="rId1"/></sheets></workbook>"#
        );
        for (path, content) in [
            ("[Content_Types].xml", CONTENT_TYPES),
            ("_rels/.rels", RELATIONS),
            ("xl/workbook.xml", workbook.as_str()),
            ("xl/_rels/workbook.xml.rels", WORKBOOK_RELATIONS),
            ("xl/styles.xml", STYLES),
        ] {
            begin(&mut zip, path)?;
            zip.write_all(content.as_bytes()).map_err(failed())?;
        }
        begin(&mut zip, "xl/worksheets/sheet1.xml")?;
        let mut text = String::from(
            r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0">"#,
        );
        if header {
            text.push_str(
                r#"<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>"#,
            );
        }
        text.push_str("</sheetView></sheetViews>");
        let widths: Vec<(usize, u32)> = (1..)
            .zip(fields)
            .filter_map(|(at, field)| Some((at, width(field.data_type())?)))
            .collect();
        if !widths.is_empty() {
            text.push_str("<cols>");
            for (at, width) in widths {
                let _ =
                    write!(text, r#"<col min="{at}" max="{at}" width="{width}" customWidth="1"/>"#);
            }
            text.push_str("</cols>");
        }
        text.push_str("<sheetData>");
        let columns: Vec<(String, String)> = fields
            .iter()
            .enumerate()
            .map(|(at, field)| (letters(at), field.name().clone()))
            .collect();
        let mut book = Workbook { zip, columns, inexact, rows: 0, text };
        if header {
            book.begin_row();
            for at in 0..book.columns.len() {
                let name = book.columns[at].1.clone();
                let written = book.text(at, &name, Style::Header);
                written.map_err(|trouble| book.refuse(at, trouble))?;
            }
            book.text.push_str("</row>");
        }
        Ok(book)
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Kind `Data` for a value that no cell holds, which names the row and the column; `Unsupported` for
    /// more rows than a sheet has.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.rows + batch.num_rows() as u64 > SHEET_ROWS {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("there are more rows than a sheet of a workbook has ({SHEET_ROWS})"),
            )
            .with(
                "hint",
                "let `path` end with a slash, which makes several workbooks, or deliver Parquet or CSV",
            ));
        }
        let options = FormatOptions::default()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
        let columns: Vec<(&ArrayRef, Values<'_>, ArrayFormatter<'_>)> = batch
            .columns()
            .iter()
            .map(|column| {
                let shown = shown(column, &options)?;
                Ok((column, values(column, &options)?, shown))
            })
            .collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            self.begin_row();
            for (at, (column, values, shown)) in columns.iter().enumerate() {
                if column.is_null(row) {
                    continue;
                }
                match self.cell(at, values, row) {
                    Ok(()) => {}
                    Err(Trouble::Inexact) if self.inexact != Inexact::Error => {
                        let text = formatted(shown, row)?;
                        let written = self.text(at, &text, Style::Plain);
                        written.map_err(|trouble| self.refuse(at, trouble))?;
                    }
                    Err(trouble) => return Err(self.refuse(at, trouble)),
                }
            }
            self.text.push_str("</row>");
            if self.text.len() > 1 << 16 {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// The end of the workbook.
    pub(super) fn finish(mut self) -> Result<()> {
        self.text.push_str("</sheetData></worksheet>");
        self.flush()?;
        self.zip.finish().map(drop).map_err(packed)
    }

    fn flush(&mut self) -> Result<()> {
        self.zip.write_all(self.text.as_bytes()).map_err(failed())?;
        self.text.clear();
        Ok(())
    }

    fn begin_row(&mut self) {
        self.rows += 1;
        let _ = write!(self.text, r#"<row r="{}">"#, self.rows);
    }

    fn refuse(&self, column: usize, trouble: Trouble) -> Error {
        let error = match trouble {
            Trouble::Failed(error) => return error,
            Trouble::TooLong => Error::new(
                ErrorKind::Data,
                format!(
                    "a text is longer than a cell of a workbook takes ({CELL_CHARACTERS} characters)"
                ),
            ),
            Trouble::Inexact => Error::new(
                ErrorKind::Data,
                "a cell of a workbook cannot hold a value as it is",
            )
            .with(
                "hint",
                "cells have 15 digits, milliseconds, and days from 1900-03-01 on; `inexact: text` \
                     writes what is beyond as text, `inexact: round` rounds it",
            ),
        };
        error.with("column", &self.columns[column].1).with("row of the sheet", self.rows)
    }

    /// Begins a cell; what follows is its value.
    fn open(&mut self, column: usize, kind: &str, style: Style) {
        let (letters, rows) = (&self.columns[column].0, self.rows);
        let _ = write!(self.text, r#"<c r="{letters}{rows}""#);
        if style != Style::Plain {
            let _ = write!(self.text, r#" s="{}""#, style as u8);
        }
        self.text.push_str(kind);
        self.text.push('>');
    }

    fn number(&mut self, column: usize, value: &str, style: Style) {
        self.open(column, "", style);
        self.text.push_str("<v>");
        self.text.push_str(value);
        self.text.push_str("</v></c>");
    }

    fn text(&mut self, column: usize, value: &str, style: Style) -> Result<(), Trouble> {
        if value.len() > CELL_CHARACTERS && value.encode_utf16().count() > CELL_CHARACTERS {
            return Err(Trouble::TooLong);
        }
        self.open(column, r#" t="inlineStr""#, style);
        self.text.push_str(r#"<is><t xml:space="preserve">"#);
        escape(value, &mut self.text);
        self.text.push_str("</t></is></c>");
        Ok(())
    }

    fn cell(&mut self, at: usize, values: &Values<'_>, row: usize) -> Result<(), Trouble> {
        let round = self.inexact == Inexact::Round;
        match values {
            Values::Truth(array) => {
                self.open(at, r#" t="b""#, Style::Plain);
                let value = if array.as_boolean().value(row) { "1" } else { "0" };
                let _ = write!(self.text, "<v>{value}</v></c>");
            }
            Values::Number(formatter) => {
                let text = formatted(formatter, row).map_err(Trouble::Failed)?;
                if digits(&text) > DIGITS && !round {
                    return Err(Trouble::Inexact);
                }
                self.number(at, &text, Style::Plain);
            }
            Values::Real(array) => {
                let value = array.as_primitive::<Float64Type>().value(row);
                self.real(at, value.is_finite(), &format!("{value:?}"))?;
            }
            Values::Single(array) => {
                let value = array.as_primitive::<Float32Type>().value(row);
                self.real(at, value.is_finite(), &format!("{value:?}"))?;
            }
            Values::Date(array) => {
                let day = i64::from(array.as_primitive::<Date32Type>().value(row)) + EPOCH;
                if !(FIRST_DAY..=LAST_DAY).contains(&day) {
                    return Err(Trouble::Inexact);
                }
                self.number(at, &day.to_string(), Style::Date);
            }
            Values::Stamp(array, unit) => {
                let value = i128::from(array.as_primitive::<Int64Type>().value(row)) * unit;
                let value = milliseconds(value, round)?;
                let (day, rest) =
                    (value.div_euclid(DAY / MILLISECOND), value.rem_euclid(DAY / MILLISECOND));
                let day = i64::try_from(day).map_or(i64::MIN, |day| day.saturating_add(EPOCH));
                if !(FIRST_DAY..=LAST_DAY).contains(&day) {
                    return Err(Trouble::Inexact);
                }
                let style = if rest % 1000 == 0 { Style::Seconds } else { Style::Milliseconds };
                self.number(at, &format!("{}", day as f64 + part_of_day(rest)), style);
            }
            Values::Clock(array, unit) => {
                let value = i128::from(array.as_primitive::<Int64Type>().value(row)) * unit;
                let value = milliseconds(value, round)?;
                if value >= DAY / MILLISECOND {
                    return Err(Trouble::Inexact);
                }
                let style = if value % 1000 == 0 { Style::Clock } else { Style::ClockMilliseconds };
                self.number(at, &format!("{}", part_of_day(value)), style);
            }
            Values::Json(texts) => self.text(at, &texts[row], Style::Plain)?,
            Values::Text(formatter) => {
                let text = formatted(formatter, row).map_err(Trouble::Failed)?;
                self.text(at, &text, Style::Plain)?;
            }
        }
        Ok(())
    }

    fn real(&mut self, at: usize, is_finite: bool, text: &str) -> Result<(), Trouble> {
        if !is_finite {
            return Err(Trouble::Inexact);
        }
        self.number(at, text.strip_suffix(".0").unwrap_or(text), Style::Plain);
        Ok(())
    }
}

fn begin<W: Write>(zip: &mut ZipWriter<StreamWriter<W>>, path: &str) -> Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file(path, options).map_err(packed)?;
    zip.write_all(DECLARATION.as_bytes()).map_err(failed())
}

/// The digits of a number that matter.
fn digits(text: &str) -> usize {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.trim_start_matches('0').trim_end_matches('0').len()
}

/// Whole milliseconds, of nanoseconds.
fn milliseconds(nanoseconds: i128, round: bool) -> Result<i128, Trouble> {
    match nanoseconds.rem_euclid(MILLISECOND) {
        0 => Ok(nanoseconds / MILLISECOND),
        _ if round => Ok((nanoseconds + MILLISECOND / 2).div_euclid(MILLISECOND)),
        _ => Err(Trouble::Inexact),
    }
}

fn part_of_day(milliseconds: i128) -> f64 {
    milliseconds as f64 / 86_400_000.0
}

fn shown<'a>(column: &'a ArrayRef, options: &FormatOptions<'a>) -> Result<ArrayFormatter<'a>> {
    ArrayFormatter::try_new(column, options)
        .or_error(ErrorKind::Unsupported, "a column cannot be written as text")
}

fn formatted(formatter: &ArrayFormatter<'_>, row: usize) -> Result<String> {
    let mut text = String::new();
    formatter
        .value(row)
        .write(&mut text)
        .or_error(ErrorKind::Data, "a value cannot be written as text")?;
    Ok(text)
}

fn values<'a>(column: &'a ArrayRef, options: &FormatOptions<'a>) -> Result<Values<'a>> {
    let to = |data_type: &DataType| {
        cast(column, data_type).or_error(ErrorKind::Internal, "a column cannot be converted")
    };
    let nanoseconds = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    Ok(match column.data_type() {
        DataType::Boolean => Values::Truth(column),
        data_type if data_type.is_integer() || data_type.is_decimal() => {
            Values::Number(shown(column, options)?)
        }
        DataType::Float64 => Values::Real(column.clone()),
        DataType::Float32 => Values::Single(column.clone()),
        DataType::Float16 => Values::Single(to(&DataType::Float32)?),
        DataType::Date32 => Values::Date(column),
        DataType::Date64 => Values::Stamp(to(&DataType::Int64)?, MILLISECOND),
        DataType::Timestamp(unit, _) => Values::Stamp(to(&DataType::Int64)?, nanoseconds(unit)),
        DataType::Time32(unit) => {
            let whole = cast(&to(&DataType::Int32)?, &DataType::Int64)
                .or_error(ErrorKind::Internal, "a column cannot be converted")?;
            Values::Clock(whole, nanoseconds(unit))
        }
        DataType::Time64(unit) => Values::Clock(to(&DataType::Int64)?, nanoseconds(unit)),
        DataType::Dictionary(_, values_type) if !values_type.is_nested() => {
            Values::Text(shown(column, options)?)
        }
        data_type if data_type.is_nested() => Values::Json(json_texts(column)?),
        _ => Values::Text(shown(column, options)?),
    })
}

/// Adds a text to XML. What XML cannot have is written as `_x0001_`, as programs of sheets do, and so is
/// the beginning of a text that looks like that.
fn escape(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    for (at, letter) in text.char_indices() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '_' if is_escape(&bytes[at..]) => out.push_str("_x005F_"),
            '\t' | '\n' => out.push(letter),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "_x{:04X}_", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
}

fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'_', b'x', digits @ ..] if digits.len() >= 5
        && digits[..4].iter().all(u8::is_ascii_hexdigit) && digits[4] == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_digits() {
        let named = [0, 25, 26, 701, 702, 16_383].map(letters);
        assert_eq!(named, ["A", "Z", "AA", "ZZ", "AAA", "XFD"]);
        for (text, length) in
            [("0", 0), ("-0.10", 1), ("1000000000000000000", 1), ("123456789012345.6", 16)]
        {
            assert_eq!(digits(text), length, "{text}");
        }
        let mut out = String::new();
        escape("=1+1 & <b> \u{1} _x0041_ _x_ \r\n", &mut out);
        assert_eq!(out, "=1+1 &amp; &lt;b&gt; _x0001_ _x005F_x0041_ _x_ _x000D_\n");
        for (name, may) in [("Orders", true), ("", false), ("a/b", false), ("'a", false)] {
            assert_eq!(is_sheet_name(name), may, "{name}");
        }
        assert!(!is_sheet_name(&"x".repeat(32)));
    }
}
