//! What an export to files says.

use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_core::{DeliveryMode, Error, ErrorKind, Result};

use super::workbook::{Inexact, SHEET_ROWS, is_sheet_name};
pub(super) use crate::files::FileFormat as Format;

/// `to` of an export.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    /// A file, or the folder that files come into.
    path: String,
    format: Option<Format>,
    compression: Option<Compression>,
    /// Between the values of a line.
    delimiter: Option<String>,
    /// Whether separated values begin with the names of columns.
    header: Option<bool>,
    /// What NULL is among separated values.
    null: Option<String>,
    #[serde(default)]
    partition_by: Names,
    /// Rows of a file.
    max_rows: Option<u64>,
    /// The name of a workbook's sheet.
    sheet: Option<String>,
    /// What becomes of values that a cell of a workbook cannot hold as they are.
    inexact: Option<Inexact>,
}

/// One name or several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Names {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Compression {
    None,
    #[serde(alias = "gz")]
    Gzip,
    #[serde(alias = "zst")]
    Zstd,
    Snappy,
}

/// Where files go and what they look like.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The folder, relative to the root; empty or ending with a slash.
    pub(super) folder: String,
    /// The name of the one file; none where files are named by the delivery.
    pub(super) file: Option<String>,
    pub(super) format: Format,
    pub(super) compression: Compression,
    pub(super) delimiter: u8,
    pub(super) header: bool,
    pub(super) null: String,
    pub(super) partition_by: Vec<String>,
    pub(super) max_rows: u64,
    pub(super) sheet: String,
    pub(super) inexact: Inexact,
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// What a workbook is not.
fn of_workbook(to: &To, is_file: bool, mode: &DeliveryMode) -> Result<()> {
    if is_file && !to.path.to_ascii_lowercase().ends_with(".xlsx") {
        return Err(wrong("workbooks are written as .xlsx").with("path", &to.path));
    }
    if *mode != DeliveryMode::Full {
        return Err(wrong("workbooks are written with `mode: full`: their rows are not added to")
            .with("help", "add to a folder of Parquet or CSV"));
    }
    if to.compression.is_some_and(|compression| compression != Compression::None) {
        return Err(wrong("a workbook is compressed by itself: leave `compression` out"));
    }
    if to.delimiter.is_some() || to.null.is_some() {
        return Err(wrong("`delimiter` and `null` are for separated values"));
    }
    if to.sheet.as_deref().is_some_and(|name| !is_sheet_name(name)) {
        return Err(wrong(
            "`sheet` is a name of 1 to 31 characters without [ ] : * ? / \\ and without ' at its ends",
        ));
    }
    Ok(())
}

impl Layout {
    /// Reads `to`.
    pub(super) fn parse(to: &Map<String, Value>, mode: &DeliveryMode) -> Result<Layout> {
        let other = to.get("format").and_then(Value::as_str);
        if let Some(other @ ("xls" | "xlsb" | "ods")) = other {
            return Err(wrong(format!("`format: {other}` is read, not written"))
                .with("help", "write `format: xlsx`"));
        }
        let to: To = serde_json::from_value(Value::Object(to.clone()))
            .map_err(|error| wrong(format!("`to` of the export: {error}")))?;
        let lower = to.path.to_ascii_lowercase();
        let (stem, packed) = match (lower.strip_suffix(".gz"), lower.strip_suffix(".zst")) {
            (Some(stem), _) => (stem, Some(Compression::Gzip)),
            (_, Some(stem)) => (stem, Some(Compression::Zstd)),
            _ => (lower.as_str(), None),
        };
        let name = stem.rsplit('/').next().unwrap_or_default();
        let of_name = name.rsplit_once('.').and_then(|(_, end)| Format::of_extension(end));
        let is_file = !to.path.ends_with('/') && (of_name.is_some() || packed.is_some());
        let format = to.format.or(of_name).ok_or_else(|| {
            wrong("the export does not say how files are written").with(
                "help",
                "end `path` with .parquet, .csv, .ndjson, .json or .xlsx, or write `format: parquet`",
            )
        })?;
        if !format.is_written() {
            return Err(wrong("files of this format are read, not written")
                .with("help", "write parquet, csv, tsv, ndjson, json or xlsx"));
        }
        if format == Format::Excel {
            of_workbook(&to, is_file, mode)?;
        } else if to.sheet.is_some() || to.inexact.is_some() {
            return Err(wrong("`sheet` and `inexact` are for workbooks (`format: xlsx`)"));
        }
        let partition_by = match to.partition_by {
            Names::None => Vec::new(),
            Names::One(name) => vec![name],
            Names::Many(names) => names,
        };
        if let DeliveryMode::Merge { .. } = mode {
            return Err(wrong(
                "`mode: merge` is for tables; files are written with full or append",
            ));
        }
        if !mode.key().is_empty() {
            return Err(wrong("`primary_key` is for tables: files are not looked into"));
        }
        if is_file && *mode != DeliveryMode::Full {
            return Err(wrong("`mode: append` adds files to a folder")
                .with("help", format!("path: {name}/, with a `format`")));
        }
        if is_file && (!partition_by.is_empty() || to.max_rows.is_some()) {
            return Err(wrong("`partition_by` and `max_rows` make several files")
                .with("help", "let `path` end with a slash, and say the `format`"));
        }
        let default = match format {
            Format::Parquet => Compression::Zstd,
            _ => packed.unwrap_or(Compression::None),
        };
        let compression = to.compression.unwrap_or(default);
        if compression == Compression::Snappy && format != Format::Parquet {
            return Err(wrong("`compression: snappy` is for Parquet; use gzip or zstd"));
        }
        let delimiter = match (to.delimiter.as_deref(), format) {
            (None, Format::Tsv) => b'\t',
            (None, _) => b',',
            (Some("\\t"), _) => b'\t',
            (Some(text), _) => match text.as_bytes() {
                [one] if !matches!(one, b'"' | b'\n' | b'\r') => *one,
                _ => return Err(wrong("`delimiter` is one character of ASCII")),
            },
        };
        let header = to.header.unwrap_or(true);
        let most = match format {
            Format::Excel => SHEET_ROWS - u64::from(header),
            _ => u64::MAX,
        };
        if to.max_rows.is_some_and(|rows| rows > most) {
            return Err(wrong(format!(
                "`max_rows`: a sheet of a workbook has room for {most} rows"
            )));
        }
        // What the one file has no room for is said when it comes.
        let max_rows = to.max_rows.unwrap_or(if is_file { u64::MAX } else { most });
        if max_rows == 0 {
            return Err(wrong("`max_rows` must be at least 1"));
        }
        let (folder, file) = match (is_file, to.path.rsplit_once('/')) {
            (true, Some((folder, file))) => (format!("{folder}/"), Some(file.to_owned())),
            (true, None) => (String::new(), Some(to.path.clone())),
            (false, _) => (format!("{}/", to.path.trim_end_matches('/')), None),
        };
        Ok(Layout {
            folder,
            file,
            format,
            compression,
            delimiter,
            header,
            null: to.null.unwrap_or_default(),
            partition_by,
            max_rows,
            sheet: to.sheet.unwrap_or_else(|| "Sheet1".to_owned()),
            inexact: to.inexact.unwrap_or_default(),
        })
    }

    /// The end of the names of files.
    pub(super) fn extension(&self) -> String {
        let packed = match (self.format, self.compression) {
            (Format::Parquet, _) => "",
            (_, Compression::Gzip) => ".gz",
            (_, Compression::Zstd) => ".zst",
            _ => "",
        };
        format!("{}{packed}", self.format.extension())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(to: Value, mode: &DeliveryMode) -> Result<Layout> {
        Layout::parse(to.as_object().unwrap(), mode)
    }

    #[test]
    fn a_path_says_what_is_written() {
        let full = DeliveryMode::Full;
        let one = parse(json!({"path": "out/a.csv.gz"}), &full).unwrap();
        assert_eq!((one.folder.as_str(), one.file.as_deref()), ("out/", Some("a.csv.gz")));
        assert_eq!((one.format, one.compression), (Format::Csv, Compression::Gzip));
        let many = parse(json!({"path": "out", "format": "parquet", "partition_by": "day"}), &full);
        let many = many.unwrap();
        assert_eq!((many.folder.as_str(), many.file), ("out/", None));
        let books = parse(json!({"path": "out/", "format": "xlsx"}), &full).unwrap();
        assert_eq!((books.max_rows, books.extension().as_str()), (1_048_575, "xlsx"));
        let append = DeliveryMode::Append { key: Vec::new() };
        for (to, mode, says) in [
            (json!({"path": "out/a"}), &full, "how files are written"),
            (json!({"path": "a.csv"}), &append, "adds files to a folder"),
            (json!({"path": "a.csv", "max_rows": 5}), &full, "several files"),
            (json!({"path": "a.csv", "compression": "snappy"}), &full, "for Parquet"),
            (json!({"path": "a.csv", "delimiter": "||"}), &full, "one character"),
            (json!({"path": "a.csv", "table": "t"}), &full, "unknown field `table`"),
            (json!({"path": "a.xls"}), &full, "written as .xlsx"),
            (json!({"path": "a.xlsx.gz"}), &full, "written as .xlsx"),
            (json!({"path": "a/", "format": "ods"}), &full, "is read, not written"),
            (json!({"path": "a/", "format": "xlsx"}), &append, "with `mode: full`"),
            (json!({"path": "a/", "format": "xlsx", "max_rows": 1_048_576}), &full, "1048575 rows"),
            (json!({"path": "a.xlsx", "sheet": "a/b"}), &full, "`sheet` is a name"),
            (json!({"path": "a.csv", "inexact": "text"}), &full, "are for workbooks"),
        ] {
            let error = parse(to, mode).unwrap_err();
            assert!(error.report().contains(says), "{}", error.report());
        }
    }
}
