//! From the cells of a sheet to records.

use calamine::{DataRef, Dimensions, ExcelDateTime};
use chrono::{NaiveDate, NaiveDateTime};
use tidemill_core::{Error, ErrorKind, Result};

use super::settings::{CellErrors, CellRange, cell_name};
use crate::files::column::NullTokens;
use crate::files::header::names_in;
use crate::files::json_line::{Lines, write_key, write_text};
use crate::files::settings::NameStyle;
use crate::files::value::EXACT_DOUBLE;

/// Where the table is in a sheet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) range: CellRange,
    /// Rows before the header.
    pub(super) skip: u32,
    pub(super) header: bool,
    pub(super) names: NameStyle,
    /// Names of the columns where there is no header.
    pub(super) declared: &'a [String],
}

/// How cells are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    pub(super) table: Table<'a>,
    pub(super) sheet_column: Option<&'static str>,
    pub(super) errors: CellErrors,
    pub(super) date_format: Option<&'a str>,
    pub(super) timestamp_format: Option<&'a str>,
    pub(super) nulls: &'a NullTokens,
}

/// Rows further apart than this are not joined by empty lines.
const GAP: u64 = 1024;

/// The value of a cell: JSON, and whether it is the reason to reject its row.
#[derive(Debug, Clone)]
enum Value {
    Json(Vec<u8>),
    Error(String),
}

/// The rows of one sheet.
pub(super) struct Rows<'a> {
    options: &'a Options<'a>,
    sheet: &'a str,
    /// The columns by their place in the table, with the headers as written.
    columns: Vec<(String, String)>,
    has_header: bool,
    /// The row that is being put together, with its cells by their columns.
    row: u32,
    cells: Vec<(u32, Value)>,
    /// The line that comes next in the lines that are written; none before the first.
    next: Option<u64>,
    /// How many bytes of records are wanted.
    wanted: usize,
    written: usize,
    errors: u64,
    stopped: bool,
    merged: Vec<(Dimensions, Option<Value>)>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(options: &'a Options<'a>, sheet: &'a str, wanted: usize) -> Self {
        let table = &options.table;
        let declared = match table.header {
            true => Vec::new(),
            false => table.declared.iter().map(|name| (name.clone(), name.clone())).collect(),
        };
        Rows {
            options,
            sheet,
            columns: declared,
            has_header: !table.header,
            row: 0,
            cells: Vec::new(),
            next: None,
            wanted,
            written: 0,
            errors: 0,
            stopped: false,
            merged: Vec::new(),
        }
    }

    /// The values of merged cells are repeated.
    pub(super) fn with_merged(mut self, mut merged: Vec<Dimensions>) -> Self {
        merged.sort_by_key(|cells| cells.start);
        self.merged = merged.into_iter().map(|cells| (cells, None)).collect();
        self
    }

    /// The columns and their headers.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().map(|(name, header)| (name.as_str(), header.as_str()))
    }

    /// How many cells had errors.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Whether nobody listens any more, or enough was seen.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a cell. False when no more are wanted.
    pub(super) fn cell(
        &mut self,
        row: u32,
        column: u32,
        value: &DataRef<'_>,
        lines: &mut Lines<'_, '_>,
    ) -> Result<bool> {
        let table = &self.options.table;
        if row > table.range.last_row {
            return Ok(false);
        }
        if matches!(value, DataRef::Empty)
            || !table.range.has(row, column)
            || row - table.range.first_row < table.skip
        {
            return Ok(true);
        }
        if row != self.row {
            if row < self.row {
                return Err(Error::new(ErrorKind::Data, "the rows of the sheet are not in order")
                    .with("sheet", self.sheet)
                    .with("cell", cell_name(row, column)));
            }
            if !self.end_row(lines) {
                return Ok(false);
            }
            self.row = row;
        }
        if let Some(value) = self.value(value) {
            self.cells.push((column - table.range.first_column, value));
        }
        Ok(true)
    }

    /// Ends the sheet.
    pub(super) fn end(&mut self, lines: &mut Lines<'_, '_>) -> Result<()> {
        self.end_row(lines);
        Ok(())
    }

    /// False when no more are wanted.
    fn end_row(&mut self, lines: &mut Lines<'_, '_>) -> bool {
        let mut cells = std::mem::take(&mut self.cells);
        self.repeat(&mut cells);
        if cells.is_empty() || self.stopped {
            return !self.stopped;
        }
        if !self.has_header {
            self.has_header = true;
            self.headers(&cells);
            return true;
        }
        let row = u64::from(self.row) + 1;
        self.stopped = !self.record(row, &cells, lines);
        cells.clear();
        self.cells = cells;
        !self.stopped
    }

    /// Writes one record; false when no more are wanted.
    fn record(&mut self, row: u64, cells: &[(u32, Value)], lines: &mut Lines<'_, '_>) -> bool {
        match self.next {
            Some(next) if (next..next + GAP).contains(&row) => {
                for _ in next..row {
                    if !lines.end() {
                        return false;
                    }
                }
            }
            _ if !lines.at(row) => return false,
            _ => {}
        }
        self.next = Some(row + 1);
        let mut problem = None;
        let out = lines.record();
        out.push(b'{');
        if let Some(column) = self.options.sheet_column {
            write_key(out, column);
            write_text(out, self.sheet);
        }
        for (column, value) in cells {
            let at = *column as usize;
            match self.columns.get(at) {
                Some((name, _)) => write_key(out, name),
                None => write_key(out, &format!("column_{}", at + 1)),
            }
            match value {
                Value::Json(json) => out.extend_from_slice(json),
                Value::Error(text) => {
                    let cell = cell_name(self.row, column + self.options.table.range.first_column);
                    problem.get_or_insert_with(|| format!("cell {cell} of the sheet is {text}"));
                    write_text(out, text);
                }
            }
        }
        out.push(b'}');
        self.written += lines.len();
        let more = match problem {
            Some(reason) => lines.reject(reason),
            None => lines.end(),
        };
        more && self.written < self.wanted
    }

    fn headers(&mut self, cells: &[(u32, Value)]) {
        let width = cells.iter().map(|(column, _)| *column as usize + 1).max().unwrap_or(0);
        let mut headers = vec![String::new(); width];
        for (column, value) in cells {
            headers[*column as usize] = match value {
                Value::Json(json) => match serde_json::from_slice(json) {
                    Ok(serde_json::Value::String(text)) => text,
                    _ => String::from_utf8_lossy(json).into_owned(),
                },
                Value::Error(text) => text.clone(),
            };
        }
        let names = names_in(self.options.table.names, &headers);
        self.columns = names.into_iter().zip(headers).collect();
    }

    /// Adds what merged cells repeat.
    fn repeat(&mut self, cells: &mut Vec<(u32, Value)>) {
        let (row, first) = (self.row, self.options.table.range.first_column);
        if self.merged.is_empty() || cells.is_empty() {
            return;
        }
        for (area, value) in &mut self.merged {
            if area.start.0 > row || area.end.0 < row {
                continue;
            }
            let Some(from) = area.start.1.checked_sub(first) else { continue };
            let Some(to) = area.end.1.checked_sub(first) else { continue };
            if area.start.0 == row {
                let found = cells.iter().find(|(column, _)| *column == from);
                *value = found.map(|(_, value)| value.clone());
            }
            let Some(value) = value else { continue };
            for column in from..=to {
                if !cells.iter().any(|(known, _)| *known == column) {
                    cells.push((column, value.clone()));
                }
            }
        }
        self.merged.retain(|(area, _)| area.end.0 >= row);
        cells.sort_by_key(|(column, _)| *column);
    }

    /// The value as JSON; none for NULL.
    fn value(&mut self, value: &DataRef<'_>) -> Option<Value> {
        let mut out = Vec::new();
        match value {
            DataRef::Empty => return None,
            DataRef::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            DataRef::Float(number) if !number.is_finite() => return None,
            DataRef::Float(number) => write_number(&mut out, *number),
            DataRef::String(text) => return self.text(text),
            DataRef::SharedString(text) => return self.text(text),
            DataRef::Bool(true) => out.extend_from_slice(b"true"),
            DataRef::Bool(false) => out.extend_from_slice(b"false"),
            DataRef::DateTime(time) => write_text(&mut out, &self.time(*time)),
            DataRef::DateTimeIso(text) => write_text(&mut out, &self.iso(text)),
            DataRef::DurationIso(text) => write_text(&mut out, &duration(text)),
            DataRef::Error(error) => {
                self.errors += 1;
                let text = error.to_string();
                match self.options.errors {
                    CellErrors::Null => return None,
                    CellErrors::Text => write_text(&mut out, &text),
                    CellErrors::Reject => return Some(Value::Error(text)),
                }
            }
        }
        Some(Value::Json(out))
    }

    fn text(&self, text: &str) -> Option<Value> {
        // A header may be called as NULL is.
        if text.is_empty() || (self.has_header && self.options.nulls.contains(text.as_bytes())) {
            return None;
        }
        let mut out = Vec::with_capacity(text.len() + 2);
        write_text(&mut out, text);
        Some(Value::Json(out))
    }

    /// A date, a time of the day, both, or a span of time.
    fn time(&self, time: ExcelDateTime) -> String {
        let value = time.as_f64();
        if time.is_duration() {
            return span(value);
        }
        let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
        if (0.0..1.0).contains(&value) {
            return clock(hour.into(), minute.into(), second.into(), milli.into());
        }
        let date = NaiveDate::from_ymd_opt(year.into(), month.into(), day.into());
        let parts = (u32::from(hour), u32::from(minute), u32::from(second), u32::from(milli));
        let at = date.and_then(|date| date.and_hms_milli_opt(parts.0, parts.1, parts.2, parts.3));
        match at {
            Some(at) => self.written(at),
            // The day that Excel alone knows: 1900-02-29.
            None => format!("{year:04}-{month:02}-{day:02}"),
        }
    }

    /// As the settings say that dates and times are written.
    fn written(&self, at: NaiveDateTime) -> String {
        let pattern =
            match (at.time() == chrono::NaiveTime::MIN, at.and_utc().timestamp_subsec_millis()) {
                (true, _) => self.options.date_format.unwrap_or("%Y-%m-%d"),
                (_, 0) => self.options.timestamp_format.unwrap_or("%Y-%m-%dT%H:%M:%S"),
                _ => self.options.timestamp_format.unwrap_or("%Y-%m-%dT%H:%M:%S%.3f"),
            };
        at.format(pattern).to_string()
    }

    fn iso(&self, text: &str) -> String {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(NaiveDateTime::from);
        match date.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")) {
            Ok(at) => self.written(at),
            Err(_) => text.to_owned(),
        }
    }
}

/// A whole number without a point, as every number of a sheet is a double.
fn write_number(out: &mut Vec<u8>, number: f64) {
    let text = match number.fract() == 0.0 && number.abs() <= EXACT_DOUBLE as f64 {
        true => (number as i64).to_string(),
        false => format!("{number:?}"),
    };
    out.extend_from_slice(text.as_bytes());
}

fn clock(hours: i64, minutes: i64, seconds: i64, millis: i64) -> String {
    let part = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    format!("{hours:02}:{minutes:02}:{seconds:02}{part}")
}

/// Days as hours, minutes and seconds.
fn span(days: f64) -> String {
    let millis = (days.abs() * 86_400_000.0).round() as i64;
    let (seconds, milli) = (millis / 1000, millis % 1000);
    let sign = if days < 0.0 { "-" } else { "" };
    format!("{sign}{}", clock(seconds / 3600, seconds / 60 % 60, seconds % 60, milli))
}

/// `PT12H30M00S` as `12:30:00`.
fn duration(text: &str) -> String {
    let parse = || -> Option<String> {
        let mut rest = text.strip_prefix("PT")?;
        let mut part = |unit: char| -> Option<f64> {
            let Some((number, behind)) = rest.split_once(unit) else { return Some(0.0) };
            rest = behind;
            number.parse().ok()
        };
        let (hours, minutes, seconds) = (part('H')?, part('M')?, part('S')?);
        Some(span((hours * 3600.0 + minutes * 60.0 + seconds) / 86_400.0))
    };
    parse().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans() {
        let number = |number| {
            let mut out = Vec::new();
            write_number(&mut out, number);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(number(3.0), "3");
        assert_eq!(number(-0.25), "-0.25");
        assert_eq!(number(1e300), "1e300");
        assert_eq!(number(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(span(1.5), "36:00:00");
        assert_eq!(span(-0.25), "-06:00:00");
        assert_eq!(duration("PT12H30M01.5S"), "12:30:01.500");
        assert_eq!(duration("P1D"), "P1D");
    }
}
