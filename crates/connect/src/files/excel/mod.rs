//! Sheets of workbooks: xlsx, xlsb, xls and ods.
//!
//! A row of a sheet is a row, its number in the sheet the row's number. Cells bring types: numbers
//! (a whole one is an integer), truth values, dates and times; text is text. Types of a column go
//! by the rules of all files, so numbers and texts in one column are text. The texts that stand for
//! NULL do so here, too.

mod book;
mod settings;
mod table;

use tidemill_core::{Error, ErrorKind, Result};

use super::format::Cut;
use super::input::hash_file;
use super::json;
use super::json_line::Lines;
use super::listing::FileEntry;
use super::read::{FileTask, Load, Memory, Piece};
use super::settings::{NameStyle, Resolved};
use super::types::Types;
use book::Book;
pub(crate) use settings::CellRange;
pub use settings::{CellErrors, MergedCells, SheetSetting};
use table::{Options, Rows, Table};

/// The column that says which of several sheets a row is from.
const SHEET_COLUMN: &str = "_source_sheet";

/// A workbook whose sheets are chosen.
#[derive(Debug)]
pub(crate) struct ExcelFile {
    sheets: Vec<String>,
    /// Names of columns where the sheets have none.
    declared: Vec<String>,
}

impl ExcelFile {
    /// Looks at the first rows of each sheet.
    pub(crate) fn sample(
        entry: &FileEntry,
        settings: &Resolved,
        declared: &[arrow::datatypes::Field],
        context: &super::SampleContext,
    ) -> Result<(ExcelFile, Types)> {
        let mut book = Book::open(entry)?;
        let sheets = chosen(entry, settings, &book)?;
        let declared = declared.iter().map(|field| field.name().clone()).collect();
        let file = ExcelFile { sheets, declared };
        let options = file.options(settings, &context.nulls);
        let mut types = Types::default();
        let mut scratch = json::Scratch::new(NameStyle::AsWritten);
        let mut errors = 0;
        for sheet in &file.sheets {
            let mut left = settings.sample_bytes;
            let mut fresh = Vec::new;
            let mut memory = Memory::new(&mut fresh);
            let mut seen = Types::default();
            let mut send = |piece| {
                if let Piece::Block(mut block) = piece {
                    left = left.saturating_sub(block.len());
                    seen.merge(&json::survey(&mut block, &context.formats, &mut scratch).0);
                }
                left > 0
            };
            let mut lines = Lines::new(settings.max_record_bytes, &mut memory, &mut send);
            let mut rows = Rows::new(&options, sheet, settings.sample_bytes);
            book.cells(entry, sheet, &mut |row, column, value| {
                rows.cell(row, column, value, &mut lines)
            })
            .and_then(|()| rows.end(&mut lines))?;
            lines.flush();
            errors += rows.errors();
            // One without a header is there when it has a value.
            for (name, header) in rows.columns().filter(|(_, header)| !header.is_empty()) {
                let shape = types.entry(name);
                if shape.original.is_none() && header != name {
                    shape.original = Some(header.to_owned());
                }
            }
            types.merge(&seen);
        }
        tracing::debug!(file = %entry.name, sheets = file.sheets.len(), errors, "sampled");
        Ok((file, types))
    }

    /// Reads the sheets one after the other; `None` when nobody listens any more.
    pub(crate) fn read(
        &self,
        file: &FileTask,
        load: &Load,
        memory: &mut Memory<'_>,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let (entry, settings) = (&file.entry, &load.settings);
        let options = self.options(settings, &load.nulls);
        let mut book = Book::open(entry)?;
        let mut errors = 0;
        for sheet in &self.sheets {
            let merged = match settings.written.merged_cells {
                MergedCells::First => Vec::new(),
                MergedCells::Repeat => book.merged(entry, sheet)?,
            };
            let mut give = |piece| send(Cut::Piece(piece));
            let mut lines = Lines::new(settings.max_record_bytes, memory, &mut give);
            let mut rows = Rows::new(&options, sheet, usize::MAX).with_merged(merged);
            book.cells(entry, sheet, &mut |row, column, value| {
                rows.cell(row, column, value, &mut lines)
            })
            .and_then(|()| rows.end(&mut lines))?;
            errors += rows.errors();
            if rows.is_stopped() || !lines.flush() {
                return Ok(None);
            }
            lines.give_back();
        }
        if errors > 0 && settings.written.cell_errors == CellErrors::Null {
            let message =
                format!("has {errors} cells with an error (such as #N/A), which are NULL");
            let notice = super::position::notice("cell-errors", &entry.name, message);
            if !send(Cut::Notice(notice)) {
                return Ok(None);
            }
        }
        hash_file(&entry.place, &entry.name).map(Some)
    }

    fn options<'a>(
        &'a self,
        settings: &'a Resolved,
        nulls: &'a super::column::NullTokens,
    ) -> Options<'a> {
        let written = &settings.written;
        let many = written.sheet.as_ref().is_some_and(SheetSetting::is_many);
        Options {
            table: Table {
                range: settings.range,
                skip: u32::try_from(written.skip_rows).unwrap_or(u32::MAX),
                header: settings.header,
                names: written.names,
                declared: &self.declared,
            },
            sheet_column: many.then_some(SHEET_COLUMN),
            errors: written.cell_errors,
            date_format: written.date_format.as_deref(),
            timestamp_format: written.timestamp_format.as_deref(),
            nulls,
        }
    }
}

/// The sheets that are meant: what the settings say, or the first one that is shown.
fn chosen(entry: &FileEntry, settings: &Resolved, book: &Book) -> Result<Vec<String>> {
    let sheets = book.sheets();
    let names: Vec<String> = sheets.iter().map(|(name, _)| name.clone()).collect();
    match &settings.written.sheet {
        Some(setting) => setting.choose(&names).map_err(|error| error.with("file", &entry.name)),
        None => {
            let shown = sheets.iter().find(|(_, shown)| *shown).or(sheets.first());
            match shown {
                Some((name, _)) => Ok(vec![name.clone()]),
                None => Err(Error::new(ErrorKind::Data, "the workbook has no sheet with cells")
                    .with("file", &entry.name)),
            }
        }
    }
}
