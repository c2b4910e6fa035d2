//! The settings of one table that is filled from files: what stands under `ingest:`.

use std::time::Duration;

use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

use super::archive::Members;
use super::blob::ContentSetting;
use super::excel::{CellErrors, CellRange, MergedCells, SheetSetting};
use super::fixed::{Column, FixedField};
use super::iceberg::{Which, is_metadata};
use super::input::{Compression, TextEncoding};
use super::value;
use super::xml::Namespaces;

/// The settings as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TableSettings {
    /// One path or several, relative to the project. `*`, `?`, `{a,b}` and `[…]` match within a
    /// folder, `**` across folders; names that start with a dot only when the dot is written.
    pub location: Locations,
    /// `csv`, `tsv`, `ndjson`, `json`, `parquet`, `orc`, `avro`, `excel`, `xml`, `fixed`, `file`,
    /// `delta` or `iceberg`. Default: by the file's name, behind which `.gz`, `.zst`, `.bz2` or `.xz` does not count.
    pub format: Option<FileFormat>,
    /// `auto` (by the first bytes), `none`, `gzip`, `zstd`, `bzip2` or `xz`.
    pub compression: CompressionSetting,
    /// CSV: what separates fields, one ASCII character. Default: `,` (a tab for `tsv`); where the
    /// header has none of it but has `;`, a tab or `|`, that.
    pub delimiter: Option<String>,
    /// CSV: what encloses a field, one ASCII character; empty for none. Default `"`.
    pub quote: Option<String>,
    /// CSV: a character that takes the meaning from the next one. Default: none (a quote within a
    /// quoted field is doubled).
    pub escape: Option<String>,
    /// CSV: whether the first row holds the names. Default true. Without it the columns are the
    /// declared ones if there are as many, else `column_1`, `column_2`, ….
    pub header: Option<bool>,
    /// CSV: `snake_case` (the default, see `header`) or `as_written`: the names of the header as they
    /// are, `a`, `b`, `c`, … where one is empty and `x_2` for the second `x`, as dbt names them; or
    /// `duckdb`: as they are, with `x_1` for the second `x` and `column0`, … for those without a name.
    pub names: NameStyle,
    /// CSV: lines before the header (or the first row) that are left out.
    pub skip_rows: usize,
    /// CSV: lines that start with this character are left out.
    pub comment: Option<String>,
    /// CSV: a row with fewer fields than the header is rejected (`reject`, the default), or has
    /// NULL in the columns that are left (`null`).
    pub short_rows: ShortRows,
    /// CSV: unquoted texts that are NULL. Default: the empty text, `NA`, `N/A`, `NULL`, `null`
    /// and `\N`. In quotes they are text in a text column, and NULL in a column of another type.
    pub null_values: Option<Vec<String>>,
    /// CSV: whether those texts are NULL in quotes, too. Default false.
    pub quoted_nulls: bool,
    /// CSV: which of those texts are NULL in a text column: `all` (the default), or `empty`, the empty
    /// text alone, as in seeds of a project for DuckDB.
    pub null_texts: NullTexts,
    /// CSV: every column is text, whatever its values look like. Default false.
    pub all_text: bool,
    /// What a column of nothing but NULL is: `text` (the default), or `integer`, as in dbt's seeds.
    pub null_columns: NullColumns,
    /// What a number with more digits behind the point than its declared decimal has is: `exact` (the
    /// default) refuses the row, `rounded` rounds it, as in dbt's seeds.
    pub decimals: Decimals,
    /// `auto` (byte order mark, UTF-16, else UTF-8), or a name such as `utf-8`, `utf-16`,
    /// `latin-1`, `windows-1252`, `shift_jis`.
    pub encoding: Option<String>,
    /// How dates are written (`strftime`), in place of `YYYY-MM-DD`.
    pub date_format: Option<String>,
    /// How times are written (`strftime`), in place of ISO 8601.
    pub timestamp_format: Option<String>,
    /// JSON: where the records are in a document, as keys joined by dots. Default: the document
    /// itself, an array of objects or one object. XML: the elements that are rows, as names from the
    /// root on joined by dots, or one name wherever it stands. Default: what the root contains.
    pub records: Option<String>,
    /// XML: what is put before the names of attributes. Default: nothing.
    pub attribute_prefix: Option<String>,
    /// XML: whether names keep the prefix of their namespace (`drop`, the default, or `keep`).
    pub namespaces: Namespaces,
    /// Excel: the sheet by its name or number (from 1), a list, or a pattern such as `"20*"`. Default:
    /// the first one that is not hidden. Of several sheets `_source_sheet` says which.
    pub sheet: Option<SheetSetting>,
    /// Excel: the cells that are read: `B3:F100`, `B3:F`, `B:F` or `B3`. Default: all.
    pub range: Option<String>,
    /// Excel: what an error (`#N/A`) is: `null` (the default, with a note), `text`, or `reject` for a
    /// rejected row.
    pub cell_errors: CellErrors,
    /// Excel: what the cells that are merged with another one have: nothing (`first`, the default), or
    /// its value (`repeat`).
    pub merged_cells: MergedCells,
    /// Fixed width: the columns, each with `name`, `start` (from 1) and `length` in characters.
    pub fields: Vec<FixedField>,
    /// Files as rows (`format: file`): whether a column has the `content` of each: `none` (the default),
    /// `bytes` or `text` (of plain text and HTML).
    pub content: ContentSetting,
    /// Files as rows: a larger file has no content. Default `16MiB`.
    pub max_content_bytes: Option<SizeText>,
    /// Archives (`.zip`, `.tar`, `.tar.gz`, …): patterns of the members that are read. Default: all.
    pub members: Option<Locations>,
    /// Archives: how large all members of one may be together, without their compression. Default
    /// `64GiB`.
    pub max_unpacked_bytes: Option<SizeText>,
    /// What happens when a file that was loaded has other content: `error` (default), or `reload`:
    /// its rows are replaced. A table with `mode: merge` reads it again unless `error` is written.
    pub on_change: Option<OnChange>,
    /// `content`: a file whose content was loaded under another name is left out. Default: a file
    /// is known by its path, a copy is loaded and reported.
    pub deduplicate: Option<Deduplicate>,
    /// Iceberg: the number of a snapshot that is read in place of the newest one.
    pub snapshot: Option<i64>,
    /// Iceberg: the table is read as it was at this time.
    pub as_of: Option<String>,
    /// Iceberg: the branch or the tag that is read.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Iceberg: how much memory the keys of deleted rows may take. Default `256MiB`.
    pub max_delete_bytes: Option<SizeText>,
    /// A file that was changed less long ago waits for the next load: `30s`, `5m`.
    pub settle: Option<String>,
    /// The column with the file's path; `false` for none (then `on_change: reload` is refused).
    pub source_file_column: NameOrOff,
    /// The column with the line (Parquet and JSON documents: the number of the record) that the
    /// row starts on; `false` for none.
    pub source_row_column: NameOrOff,
    /// The longest record that is read: `16MiB`.
    pub max_record_bytes: Option<SizeText>,
    /// How much of the start of each file is looked at before types are chosen: `256KiB`. A later
    /// value that does not fit costs a second read, never a wrong type.
    pub sample_bytes: Option<SizeText>,
}

/// The keys of the load loop, which are not for us but may be misspelled here.
const LOAD_KEYS: [&str; 6] =
    ["connection", "mode", "primary_key", "cursor", "schema_contract", "max_rejects"];

const KEYS: [&str; 43] = [
    "all_text",
    "location",
    "format",
    "compression",
    "delimiter",
    "quote",
    "escape",
    "header",
    "names",
    "skip_rows",
    "comment",
    "short_rows",
    "null_values",
    "quoted_nulls",
    "null_columns",
    "decimals",
    "null_texts",
    "encoding",
    "date_format",
    "timestamp_format",
    "records",
    "attribute_prefix",
    "namespaces",
    "sheet",
    "range",
    "cell_errors",
    "merged_cells",
    "fields",
    "content",
    "max_content_bytes",
    "members",
    "max_unpacked_bytes",
    "on_change",
    "deduplicate",
    "snapshot",
    "as_of",
    "ref",
    "max_delete_bytes",
    "settle",
    "source_file_column",
    "source_row_column",
    "max_record_bytes",
    "sample_bytes",
];

/// One path or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Locations {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Default for Locations {
    fn default() -> Self {
        Locations::Many(Vec::new())
    }
}

impl Locations {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Locations::One(location) => std::slice::from_ref(location),
            Locations::Many(locations) => locations,
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Separated values.
    Csv,
    /// Values separated by tabs.
    Tsv,
    /// One JSON object a line.
    #[serde(alias = "jsonl")]
    Ndjson,
    /// A JSON document.
    Json,
    /// Parquet.
    Parquet,
    /// ORC.
    Orc,
    /// Avro.
    Avro,
    /// A workbook.
    #[serde(alias = "xlsx", alias = "xls", alias = "xlsb", alias = "ods")]
    Excel,
    /// XML.
    Xml,
    /// Lines whose columns have places.
    #[serde(alias = "fixed_width")]
    Fixed,
    /// Each file is a row.
    File,
    /// A Delta table, whose folder is the location.
    Delta,
    /// An Iceberg table, whose folder or metadata file is the location.
    Iceberg,
}

impl FileFormat {
    /// By the name of a file.
    pub(crate) fn of_name(name: &str) -> Option<FileFormat> {
        let name = name.to_ascii_lowercase();
        let packed = [".gz", ".zst", ".bz2", ".xz"].iter().find_map(|end| name.strip_suffix(end));
        FileFormat::of_extension(packed.unwrap_or(&name).rsplit_once('.')?.1)
    }

    /// By what stands behind the last point of a name.
    pub(crate) fn of_extension(extension: &str) -> Option<FileFormat> {
        Some(match extension {
            "csv" | "txt" => FileFormat::Csv,
            "tsv" | "tab" => FileFormat::Tsv,
            "ndjson" | "jsonl" => FileFormat::Ndjson,
            "json" => FileFormat::Json,
            "parquet" | "pq" => FileFormat::Parquet,
            "orc" => FileFormat::Orc,
            "avro" => FileFormat::Avro,
            "xlsx" | "xlsm" | "xls" | "xlsb" | "ods" => FileFormat::Excel,
            "xml" => FileFormat::Xml,
            _ => return None,
        })
    }

    /// How names of such files end.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            FileFormat::Csv => "csv",
            FileFormat::Tsv => "tsv",
            FileFormat::Ndjson => "ndjson",
            FileFormat::Json => "json",
            FileFormat::Parquet => "parquet",
            FileFormat::Orc => "orc",
            FileFormat::Avro => "avro",
            FileFormat::Excel => "xlsx",
            FileFormat::Xml => "xml",
            FileFormat::Fixed => "txt",
            FileFormat::File | FileFormat::Delta | FileFormat::Iceberg => "",
        }
    }

    /// Whether such files can be written.
    pub(crate) fn is_written(self) -> bool {
        use FileFormat::{Csv, Excel, Json, Ndjson, Parquet, Tsv};
        matches!(self, Csv | Tsv | Ndjson | Json | Parquet | Excel)
    }
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionSetting {
    /// By the first bytes of each.
    #[default]
    Auto,
    /// Not.
    None,
    /// gzip.
    #[serde(alias = "gz")]
    Gzip,
    /// zstd.
    #[serde(alias = "zst")]
    Zstd,
    /// bzip2.
    #[serde(alias = "bz2")]
    Bzip2,
    /// xz.
    Xz,
}

/// What happens when a loaded file has other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// The load fails and names it.
    Error,
    /// Its rows are replaced.
    Reload,
}

/// What a row with fewer fields than the header is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShortRows {
    /// A mistake.
    #[default]
    Reject,
    /// A row whose last values are NULL.
    Null,
}

/// Which of the texts for NULL are NULL in a text column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullTexts {
    /// All of them.
    #[default]
    All,
    /// The empty text alone.
    Empty,
}

/// What a column of nothing but NULL is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullColumns {
    /// Text, which anything can become.
    #[default]
    Text,
    /// An integer.
    Integer,
}

/// What more digits behind the point are than a declared decimal has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decimals {
    /// A mistake in the row.
    #[default]
    Exact,
    /// Rounded, halves away from zero.
    Rounded,
}

/// How columns are named after a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameStyle {
    /// By the written rule of `header`.
    #[default]
    SnakeCase,
    /// As the header has them.
    AsWritten,
    /// As DuckDB names them: `x_1` for the second `x`, `column3` for an empty one.
    #[serde(rename = "duckdb")]
    DuckDb,
}

/// What makes two files the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplicate {
    /// Their path.
    Path,
    /// Their content as well.
    Content,
}

/// A column's name, or `false`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
pub enum NameOrOff {
    /// The usual name.
    #[default]
    Default,
    /// `false` for none, `true` for the usual name.
    Switch(bool),
    /// This name.
    Name(String),
}

impl NameOrOff {
    /// The name, if there is to be a column.
    pub(crate) fn resolve(&self, usual: &str) -> Option<String> {
        match self {
            NameOrOff::Default | NameOrOff::Switch(true) => Some(usual.to_owned()),
            NameOrOff::Switch(false) => None,
            NameOrOff::Name(name) => Some(name.clone()),
        }
    }
}

/// A number of bytes, as a number or as `16MiB`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum SizeText {
    /// In bytes.
    Bytes(u64),
    /// With a unit.
    Text(String),
}

/// The settings with everything decided.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) written: TableSettings,
    pub(crate) compression: Option<Compression>,
    pub(crate) delimiter: Option<u8>,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    pub(crate) header: bool,
    pub(crate) null_values: Vec<String>,
    pub(crate) encoding: TextEncoding,
    pub(crate) settle: Option<Duration>,
    pub(crate) file_column: Option<String>,
    pub(crate) row_column: Option<String>,
    pub(crate) max_record_bytes: usize,
    pub(crate) sample_bytes: usize,
    pub(crate) range: CellRange,
    pub(crate) fields: Vec<Column>,
    pub(crate) max_content_bytes: u64,
    pub(crate) members: Members,
    /// Of an Iceberg table.
    pub(crate) which: Which,
    pub(crate) max_delete_bytes: usize,
}

impl TableSettings {
    /// Reads the settings. An unknown key is refused, and the nearest known one named.
    pub fn parse(value: &serde_json::Value) -> Result<TableSettings> {
        let invalid = |message: String| Error::new(ErrorKind::Config, message);
        let Some(object) = value.as_object() else {
            return Err(invalid("`ingest` must be a mapping".into()));
        };
        for key in object.keys() {
            if KEYS.contains(&key.as_str()) {
                continue;
            }
            let nearest = KEYS
                .iter()
                .chain(&LOAD_KEYS)
                .map(|known| (distance(key, known), known))
                .min()
                .filter(|(distance, _)| *distance <= 3);
            let hint = match nearest {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => {
                    let known: Vec<String> =
                        LOAD_KEYS.iter().chain(&KEYS).map(|key| format!("`{key}`")).collect();
                    format!("known are {}", known.join(", "))
                }
            };
            return Err(invalid(format!("unknown setting `{key}` under `ingest`; {hint}")));
        }
        // One at a time, so that a message can name the setting that is wrong.
        for (key, setting) in object {
            let one = serde_json::Map::from_iter([(key.clone(), setting.clone())]);
            if let Err(error) = serde_json::from_value::<TableSettings>(one.into()) {
                return Err(invalid(format!("`{key}` under `ingest` is wrong")).because(error));
            }
        }
        serde_json::from_value(value.clone())
            .map_err(|error| invalid("the settings under `ingest` are wrong".into()).because(error))
    }

    /// Whether the settings are right, as far as that can be said without looking at files.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub fn check(value: &serde_json::Value) -> Result<()> {
        let settings = TableSettings::parse(value)?;
        match settings.location.all().is_empty() {
            // It may come from elsewhere.
            true => Ok(()),
            false => settings.resolve().map(drop),
        }
    }

    pub(crate) fn resolve(self) -> Result<Resolved> {
        let invalid = |message: String| Error::new(ErrorKind::Config, message);
        if self.location.all().is_empty() {
            return Err(invalid("`ingest` needs a `location`: a path, a pattern or a list".into()));
        }
        let byte = |name: &str, text: &Option<String>| -> Result<Option<Option<u8>>> {
            match text.as_deref() {
                None => Ok(None),
                Some("") => Ok(Some(None)),
                Some("\\t" | "tab") => Ok(Some(Some(b'\t'))),
                Some(text) => match text.as_bytes() {
                    [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => {
                        Ok(Some(Some(*byte)))
                    }
                    _ => {
                        Err(invalid(format!("`{name}` must be one ASCII character, not `{text}`")))
                    }
                },
            }
        };
        let encoding = self.encoding.as_deref().unwrap_or("auto");
        let settle = match &self.settle {
            None => None,
            Some(text) => Some(duration(text).ok_or_else(|| {
                invalid(format!("`settle` must be a duration such as `30s` or `5m`, not `{text}`"))
            })?),
        };
        let bytes = |name: &str, setting: &Option<SizeText>, usual: u64| match setting {
            None => Ok(usual),
            Some(written) => size_of(name, written),
        };
        let max_record_bytes = bytes("max_record_bytes", &self.max_record_bytes, 16 << 20)?;
        let sample_bytes = bytes("sample_bytes", &self.sample_bytes, 256 << 10)?;
        if !(1024..=1 << 30).contains(&max_record_bytes) {
            return Err(invalid("`max_record_bytes` must be between 1KiB and 1GiB".into()));
        }
        let max_content_bytes = bytes("max_content_bytes", &self.max_content_bytes, 16 << 20)?;
        if max_content_bytes > 1 << 30 {
            return Err(invalid("`max_content_bytes` must be at most 1GiB".into()));
        }
        let max_unpacked = bytes("max_unpacked_bytes", &self.max_unpacked_bytes, 64 << 30)?;
        let max_deletes = bytes("max_delete_bytes", &self.max_delete_bytes, 256 << 20)?;
        let quote = byte("quote", &self.quote)?.unwrap_or(Some(b'"'));
        let resolved = Resolved {
            compression: match self.compression {
                CompressionSetting::Auto => None,
                CompressionSetting::None => Some(Compression::None),
                CompressionSetting::Gzip => Some(Compression::Gzip),
                CompressionSetting::Zstd => Some(Compression::Zstd),
                CompressionSetting::Bzip2 => Some(Compression::Bzip2),
                CompressionSetting::Xz => Some(Compression::Xz),
            },
            delimiter: byte("delimiter", &self.delimiter)?.flatten(),
            quote,
            escape: byte("escape", &self.escape)?.flatten().filter(|byte| Some(*byte) != quote),
            comment: byte("comment", &self.comment)?.flatten(),
            header: self.header.unwrap_or(true),
            null_values: self.null_values.clone().unwrap_or_else(|| {
                ["", "NA", "N/A", "NULL", "null", "\\N"].map(str::to_owned).to_vec()
            }),
            encoding: TextEncoding::of_name(encoding)
                .ok_or_else(|| invalid(format!("unknown `encoding`: `{encoding}`")))?,
            settle,
            file_column: self.source_file_column.resolve("_source_file"),
            row_column: self.source_row_column.resolve("_source_row"),
            max_record_bytes: max_record_bytes as usize,
            sample_bytes: sample_bytes.clamp(1, 64 << 20) as usize,
            range: CellRange::parse(self.range.as_deref())?,
            fields: Column::resolve(&self)?,
            max_content_bytes,
            members: Members::new(self.members.as_ref(), max_unpacked)?,
            which: self.which()?,
            max_delete_bytes: usize::try_from(max_deletes).unwrap_or(usize::MAX),
            written: self,
        };
        if resolved.which != Which::Current && !resolved.is_iceberg() {
            return Err(invalid(
                "`snapshot`, `as_of` and `ref` are settings of `format: iceberg` alone".into(),
            ));
        }
        if resolved.file_column.is_none() && resolved.written.on_change == Some(OnChange::Reload) {
            return Err(invalid(
                "`on_change: reload` needs the column that says which file a row is from; \
                 leave `source_file_column` on"
                    .into(),
            ));
        }
        Ok(resolved)
    }

    /// Which state of an Iceberg table is meant.
    fn which(&self) -> Result<Which> {
        let invalid = |message: String| Error::new(ErrorKind::Config, message);
        match (self.snapshot, &self.as_of, &self.reference) {
            (None, None, None) => Ok(Which::Current),
            (Some(id), None, None) => Ok(Which::Snapshot(id)),
            (None, None, Some(name)) => Ok(Which::Named(name.clone())),
            (None, Some(text), None) => {
                let date = value::parse_date(text.as_bytes())
                    .map(|days| i64::from(days).saturating_mul(86_400_000_000));
                let moment = value::parse_timestamp(text.as_bytes()).map(|moment| moment.micros);
                moment.or(date).map(Which::AsOf).ok_or_else(|| {
                    invalid(format!(
                        "`as_of` must be a time such as `2024-01-31 12:00:00Z`, not `{text}`"
                    ))
                })
            }
            _ => Err(invalid("`snapshot`, `as_of` and `ref` do not go together".into())),
        }
    }
}

impl Resolved {
    /// Whether an Iceberg table is read: it is said, or the location is a metadata file of one.
    pub(crate) fn is_iceberg(&self) -> bool {
        match self.written.format {
            Some(format) => format == FileFormat::Iceberg,
            None => matches!(self.written.location.all(), [one] if is_metadata(one)),
        }
    }

    /// What happens to a loaded file that has other content, where it is said. The row of a file
    /// that is a row goes with the file.
    pub(crate) fn on_change(&self) -> Option<OnChange> {
        let rows_are_files =
            self.written.format == Some(FileFormat::File) && self.file_column.is_some();
        self.written.on_change.or(rows_are_files.then_some(OnChange::Reload))
    }
}

/// `30s`, `5m`, `2h`, `1d`, `500ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

/// The bytes that a setting of this name says.
///
/// # Errors
/// Kind `Config`; the message names the setting.
pub(crate) fn size_of(name: &str, setting: &SizeText) -> Result<u64> {
    match setting {
        SizeText::Bytes(bytes) => Ok(*bytes),
        SizeText::Text(text) => size(text).ok_or_else(|| {
            let message = format!("`{name}` must be a size such as `16MiB`, not `{text}`");
            Error::new(ErrorKind::Config, message)
        }),
    }
}

/// `16MiB`, `512KiB`, `1GiB`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" | "kB" | "KB" => 1 << 10,
        "MiB" | "MB" => 1 << 20,
        "GiB" | "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// How many letters must be changed to get from one word to the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelled_key_gets_the_nearest_one() {
        let error = TableSettings::parse(&json!({"locaton": "a.csv"})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("did you mean `location`?"), "{error}");
        let error = TableSettings::parse(&json!({"on_chnage": "error"})).unwrap_err();
        assert!(error.message().contains("`on_change`"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let error = TableSettings::parse(&json!({"location": "a", "skip_rows": "x"})).unwrap_err();
        assert!(error.message().contains("`skip_rows`"), "{error}");
    }

    #[test]
    fn reload_needs_the_file_column() {
        let settings = json!({"location": "a", "on_change": "reload", "source_file_column": false});
        let error = TableSettings::parse(&settings).unwrap().resolve().unwrap_err();
        assert!(error.message().contains("source_file_column"), "{error}");
    }

    #[test]
    fn units() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("5"), None);
        assert_eq!(size("16MiB"), Some(16 << 20));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("1 parsec"), None);
    }
}
