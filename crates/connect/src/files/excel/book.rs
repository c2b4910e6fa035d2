//! A workbook, whichever of its formats it has. The library stops in the middle of some damaged files, so each of
//! its steps is guarded.

use std::io::{BufReader, Read, Seek, SeekFrom};

use calamine::{
    Data, DataRef, Dimensions, Ods, Range, Reader, SheetType, SheetVisible, Xls, Xlsb, Xlsx,
};
use tidemill_core::{Error, ErrorKind, Result};
use zip::ZipArchive;

use crate::files::guard::{Failure, tried};
use crate::files::listing::FileEntry;
use crate::files::place::cannot;
use crate::files::seek::ReadSeek;

type Source = BufReader<Box<dyn ReadSeek>>;

/// An open workbook.
pub(super) enum Book {
    Xlsx(Box<Xlsx<Source>>),
    Xlsb(Box<Xlsb<Source>>),
    Xls(Box<Xls<Source>>),
    Ods(Box<Ods<Source>>),
}

/// How large the parts may be that are in memory as a whole: the texts of a workbook, or, in the
/// formats that cannot be read row by row, all of it.
const MAX_TEXTS: u64 = 1 << 30;
const MAX_WHOLE: u64 = 256 << 20;

/// Takes cells: row, column, value. False for no more.
pub(super) type EachCell<'a> = dyn FnMut(u32, u32, &DataRef<'_>) -> Result<bool> + 'a;

impl Book {
    pub(super) fn open(entry: &FileEntry) -> Result<Book> {
        let failed = |error| cannot("cannot open the file", &entry.name, error);
        let mut source = entry.place.open_anywhere().map_err(failed)?;
        let mut magic = [0; 4];
        let mut read = 0;
        while read < 4 {
            match source.read(&mut magic[read..]).map_err(failed)? {
                0 => break,
                more => read += more,
            }
        }
        source.seek(SeekFrom::Start(0)).map_err(failed)?;
        let source = BufReader::with_capacity(128 << 10, source);
        match &magic {
            b"PK\x03\x04" => Book::zipped(entry, source),
            [0xD0, 0xCF, 0x11, 0xE0] => {
                if entry.stamp.size > MAX_WHOLE {
                    return Err(too_large(entry, entry.stamp.size, MAX_WHOLE));
                }
                step(entry, || Xls::new(source)).map(|book| Book::Xls(Box::new(book)))
            }
            _ => Err(Error::new(ErrorKind::Data, "not a workbook of Excel or LibreOffice")
                .with("file", &entry.name)),
        }
    }

    fn zipped(entry: &FileEntry, mut source: Source) -> Result<Book> {
        let mut parts = ZipArchive::new(&mut source).map_err(|error| unreadable(entry, error))?;
        let mut kind = None;
        for index in 0..parts.len() {
            let part = parts.by_index_data(index).map_err(|error| unreadable(entry, error))?;
            let name = part.name().map_err(|error| unreadable(entry, error))?.to_ascii_lowercase();
            let limit = match name.rsplit('/').next().unwrap_or_default() {
                "workbook.xml" | "workbook.bin" | "content.xml" => {
                    kind = kind.or(Some(name.rsplit('/').next().unwrap_or_default().to_owned()));
                    MAX_WHOLE
                }
                "sharedstrings.xml" | "sharedstrings.bin" => MAX_TEXTS,
                "styles.xml" | "styles.bin" => MAX_WHOLE,
                _ => continue,
            };
            if part.size() > limit {
                return Err(too_large(entry, part.size(), limit));
            }
        }
        believable(entry, &mut parts)?;
        drop(parts);
        source.seek(SeekFrom::Start(0)).map_err(|error| unreadable(entry, error))?;
        match kind.as_deref() {
            Some("workbook.bin") => {
                step(entry, || Xlsb::new(source)).map(|book| Book::Xlsb(Box::new(book)))
            }
            Some("content.xml") => {
                step(entry, || Ods::new(source)).map(|book| Book::Ods(Box::new(book)))
            }
            _ => step(entry, || Xlsx::new(source)).map(|book| Book::Xlsx(Box::new(book))),
        }
    }

    /// The names of the sheets that have cells, and whether each is shown.
    pub(super) fn sheets(&self) -> Vec<(String, bool)> {
        let sheets = match self {
            Book::Xlsx(book) => book.sheets_metadata(),
            Book::Xlsb(book) => book.sheets_metadata(),
            Book::Xls(book) => book.sheets_metadata(),
            Book::Ods(book) => book.sheets_metadata(),
        };
        let sheets = sheets.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
        sheets.map(|sheet| (sheet.name.clone(), sheet.visible == SheetVisible::Visible)).collect()
    }

    /// The cells that are merged.
    pub(super) fn merged(&mut self, entry: &FileEntry, sheet: &str) -> Result<Vec<Dimensions>> {
        match self {
            Book::Xlsx(book) => step(entry, || book.merge_cells_by_sheet_name(sheet)),
            Book::Xls(book) => step(entry, || book.merge_cells_by_sheet_name(sheet)),
            Book::Xlsb(_) | Book::Ods(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "`merged_cells: repeat` is for .xlsx and .xls; save the workbook as one of them",
            )
            .with("file", &entry.name)),
        }
    }

    /// Gives the cells of a sheet that are not empty, row by row.
    pub(super) fn cells(
        &mut self,
        entry: &FileEntry,
        sheet: &str,
        each: &mut EachCell<'_>,
    ) -> Result<()> {
        macro_rules! stream {
            ($book:expr) => {{
                let mut reader = step(entry, || $book.worksheet_cells_reader(sheet))?;
                while let Some(cell) = step(entry, || reader.next_cell())? {
                    let (row, column) = cell.get_position();
                    if !each(row, column, cell.get_value())? {
                        return Ok(());
                    }
                }
                Ok(())
            }};
        }
        let range: Range<Data> = match self {
            Book::Xlsx(book) => return stream!(book),
            Book::Xlsb(book) => return stream!(book),
            Book::Xls(book) => step(entry, || book.worksheet_range(sheet))?,
            Book::Ods(book) => step(entry, || book.worksheet_range(sheet))?,
        };
        let (first_row, first_column) = range.start().unwrap_or_default();
        for (row, column, value) in range.used_cells() {
            let value = borrowed(value);
            if !each(first_row + row as u32, first_column + column as u32, &value)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The table of texts says how many it has, and room is made for so many before they are read: it
/// must not say more than there can be.
fn believable<R: Read + Seek>(entry: &FileEntry, parts: &mut ZipArchive<R>) -> Result<()> {
    let Ok(part) = parts.by_name("xl/sharedStrings.xml") else { return Ok(()) };
    let size = part.size();
    let mut head = Vec::new();
    part.take(4096).read_to_end(&mut head).map_err(|error| unreadable(entry, error))?;
    let head = String::from_utf8_lossy(&head);
    let counts = ["uniqueCount=\"", "count=\""].iter().filter_map(|name| {
        let (_, rest) = head.split_once(name)?;
        rest.split('"').next()?.parse::<u64>().ok()
    });
    match counts.max() {
        // `<si/>` is the shortest.
        Some(count) if count > size / 5 + 16 => Err(Error::new(
            ErrorKind::Data,
            "the workbook says that it has more texts than it can have",
        )
        .with("file", &entry.name)),
        _ => Ok(()),
    }
}

fn borrowed(value: &Data) -> DataRef<'_> {
    match value {
        Data::Int(value) => DataRef::Int(*value),
        Data::Float(value) => DataRef::Float(*value),
        Data::String(value) => DataRef::SharedString(value),
        Data::Bool(value) => DataRef::Bool(*value),
        Data::DateTime(value) => DataRef::DateTime(*value),
        Data::DateTimeIso(value) => DataRef::DateTimeIso(value.clone()),
        Data::DurationIso(value) => DataRef::DurationIso(value.clone()),
        Data::Error(value) => DataRef::Error(value.clone()),
        Data::Empty => DataRef::Empty,
    }
}

/// A step of the library.
fn step<T, E: Into<Failure>>(
    entry: &FileEntry,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> Result<T> {
    tried(work).map_err(|error| unreadable(entry, error))
}

fn unreadable(entry: &FileEntry, error: impl Into<Failure>) -> Error {
    Error::new(ErrorKind::Data, "the workbook cannot be read")
        .with("file", &entry.name)
        .because(error)
}

fn too_large(entry: &FileEntry, size: u64, limit: u64) -> Error {
    Error::new(
        ErrorKind::Resources,
        format!(
            "the workbook has a part of {size} bytes that would have to be in memory as a whole, and \
             {limit} is the most; save it as .csv, or an .ods or .xls as .xlsx"
        ),
    )
    .with("file", &entry.name)
}
