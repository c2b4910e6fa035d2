//! What a file holds, and the one place that knows every format.

use arrow::datatypes::Field;
use tidemill_core::{Error, ErrorKind, Notice, Result};

use super::avro::AvroFile;
use super::csv::{self, Dialect, Layout};
use super::delta::DeltaFile;
use super::excel::ExcelFile;
use super::fixed::FixedFile;
use super::iceberg::IcebergFile;
use super::infer::Seen;
use super::input::Input;
use super::json::{self, DocumentSplitter};
use super::listing::FileEntry;
use super::orc::OrcFile;
use super::read::{FileTask, Load, Memory, Parsed, Piece};
use super::settings::{FileFormat, NameStyle, Resolved, ShortRows};
use super::target::Target;
use super::types::Types;
use super::xml::XmlFile;

/// A file's format with what its sample told.
pub(crate) enum Format {
    /// Nothing in it.
    Empty,
    Csv(CsvFile),
    /// One JSON object a line.
    Ndjson,
    /// A JSON document.
    Json,
    Parquet(super::parquet::ParquetFile),
    Orc(OrcFile),
    Avro(AvroFile),
    Excel(ExcelFile),
    Xml(XmlFile),
    Fixed(FixedFile),
    /// The file itself is a row.
    File,
    /// A file of a Delta table.
    Delta(DeltaFile),
    /// A file of an Iceberg table.
    Iceberg(Box<IcebergFile>),
}

/// A CSV file.
pub(crate) struct CsvFile {
    dialect: Dialect,
    /// The columns in the order of the fields.
    names: Vec<String>,
}

/// Memory of one worker.
pub(crate) struct Scratch {
    csv: csv::Scratch,
    json: json::Scratch,
    /// For records whose keys are the names of columns.
    named: json::Scratch,
}

impl Scratch {
    pub(crate) fn new(names: NameStyle) -> Self {
        Scratch {
            csv: csv::Scratch::default(),
            json: json::Scratch::new(names),
            named: json::Scratch::new(NameStyle::AsWritten),
        }
    }
}

/// What reading a file gives.
pub(crate) enum Cut {
    Piece(Piece),
    Parsed(Parsed),
    Notice(Notice),
}

/// How much is read to see what a file is like.
const HEAD: usize = 16 << 10;

/// How much is looked at further on in a large file.
const PROBE: usize = 64 << 10;

impl Format {
    /// Looks at the start of a file.
    pub(crate) fn sample(
        entry: &FileEntry,
        settings: &Resolved,
        declared: &[Field],
        context: &super::SampleContext,
    ) -> Result<(Format, Types)> {
        if settings.written.format == Some(FileFormat::File) {
            return Ok((Format::File, super::blob::types(settings.written.content)));
        }
        if entry.stamp.size == 0 {
            return Ok((Format::Empty, Types::default()));
        }
        let format = match settings.written.format {
            Some(format) => format,
            // What follows `?` in an address is not part of the file's name.
            None => FileFormat::of_name(entry.name.split('?').next().unwrap_or_default())
                .ok_or_else(|| {
                    tidemill_core::Error::new(
                        tidemill_core::ErrorKind::Config,
                        format!("`{}` does not say what it holds; set `format`", entry.name),
                    )
                    .with(
                        "help",
                        "of an archive, `members` says which files are meant: `members: '**/*.csv'`",
                    )
                })?,
        };
        match format {
            FileFormat::Csv => sample_csv(entry, settings, declared, context, b','),
            FileFormat::Tsv => sample_csv(entry, settings, declared, context, b'\t'),
            FileFormat::Ndjson => sample_ndjson(entry, settings, context),
            FileFormat::Json => sample_json(entry, settings, context),
            FileFormat::Parquet => {
                let (file, types) =
                    super::parquet::ParquetFile::open(entry, settings.written.names)?;
                Ok((Format::Parquet(file), types))
            }
            FileFormat::Orc => {
                let (file, types) = OrcFile::open(entry, settings.written.names)?;
                Ok((Format::Orc(file), types))
            }
            FileFormat::Avro => {
                let (file, types) = AvroFile::open(entry, settings)?;
                Ok((Format::Avro(file), types))
            }
            FileFormat::Excel => {
                let (file, types) = ExcelFile::sample(entry, settings, declared, context)?;
                Ok((Format::Excel(file), types))
            }
            FileFormat::Xml => {
                let (file, types) = XmlFile::sample(entry, settings, context)?;
                Ok((Format::Xml(file), types))
            }
            FileFormat::Fixed => sample_fixed(entry, settings, context),
            FileFormat::File | FileFormat::Delta | FileFormat::Iceberg => {
                Err(Error::new(ErrorKind::Internal, "what has no sample was asked for one"))
            }
        }
    }

    /// Whether the file itself has types.
    pub(crate) fn is_typed(&self) -> bool {
        use Format::{Avro, Delta, File, Iceberg, Orc, Parquet};
        matches!(self, Parquet(_) | Orc(_) | Avro(_) | File | Delta(_) | Iceberg(_))
    }

    /// Whether types have to be inferred.
    pub(crate) fn is_text(&self) -> bool {
        use Format::{Csv, Excel, Fixed, Json, Ndjson, Xml};
        matches!(self, Csv(_) | Ndjson | Json | Excel(_) | Xml(_) | Fixed(_))
    }

    /// Cuts the file up; `None` when nobody listens any more, else the file's hash.
    pub(crate) fn read(
        &self,
        file: &FileTask,
        load: &Load,
        target: &Target,
        memory: &mut Memory<'_>,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let settings = &load.settings;
        let entry = &file.entry;
        let open = || {
            Input::open(&entry.place, &entry.name, settings.compression, settings.encoding, true)
        };
        match self {
            Format::Empty => open()?.finish().map(Some),
            Format::Csv(csv) => {
                let mut splitter = csv::Splitter::new(
                    open()?,
                    csv.dialect.clone(),
                    settings.written.skip_rows,
                    settings.header,
                    settings.max_record_bytes,
                );
                while let Some(piece) = splitter.next(memory)? {
                    if !send(Cut::Piece(piece)) {
                        return Ok(None);
                    }
                }
                splitter.into_input().finish().map(Some)
            }
            Format::Ndjson | Format::Fixed(_) => {
                let limit = settings.max_record_bytes;
                let skip = match self {
                    Format::Fixed(_) => settings.written.skip_rows,
                    _ => 0,
                };
                let mut splitter = csv::Splitter::new(open()?, LINES, skip, false, limit);
                while let Some(piece) = splitter.next(memory)? {
                    if !send(Cut::Piece(piece)) {
                        return Ok(None);
                    }
                }
                splitter.into_input().finish().map(Some)
            }
            Format::Json => {
                let path = settings.written.records.as_deref();
                let mut splitter =
                    DocumentSplitter::new(open()?, path, settings.max_record_bytes, 1 << 20);
                let named = |error: tidemill_core::Error| error.with("file", &entry.name);
                while let Some(piece) = splitter.next(memory).map_err(named)? {
                    if !send(Cut::Piece(piece)) {
                        return Ok(None);
                    }
                }
                splitter.into_input().finish().map(Some)
            }
            Format::Parquet(parquet) => {
                parquet.read(entry, target, settings.max_record_bytes, send)
            }
            Format::Orc(orc) => orc.read(entry, target, settings.max_record_bytes, send),
            Format::Avro(avro) => avro.read(entry, settings, target, send),
            Format::Excel(excel) => excel.read(file, load, memory, send),
            Format::Xml(xml) => xml.read(file, load, target, memory, send),
            Format::File => super::blob::read(entry, settings, target, send),
            Format::Delta(delta) => delta.read(entry, target, settings.max_record_bytes, send),
            Format::Iceberg(file) => file.read(entry, target, settings.max_record_bytes, send),
        }
    }

    /// Parses a block; `None` when a value does not fit an inferred type.
    pub(crate) fn parse(
        &self,
        data: &mut Vec<u8>,
        load: &Load,
        target: &Target,
        scratch: &mut Scratch,
    ) -> Result<Option<Parsed>> {
        match self {
            Format::Ndjson | Format::Json | Format::Xml(_) => {
                json::parse(data, target, &mut scratch.json)
            }
            Format::Excel(_) => json::parse(data, target, &mut scratch.named),
            Format::Fixed(fixed) => fixed.parse(data, target, &load.nulls),
            Format::Csv(csv) => {
                let layout = csv.layout(target);
                let csv = &mut scratch.csv;
                csv::parse(data, &layout, &target.readings, &target.names, &load.nulls, csv)
            }
            // They give no blocks.
            _ => Ok(Some(Parsed::default())),
        }
    }

    /// What is seen in a block, and how many lines it has.
    pub(crate) fn survey(
        &self,
        data: &mut Vec<u8>,
        load: &Load,
        target: &Target,
        scratch: &mut Scratch,
    ) -> (Types, u32) {
        let mut types = Types::default();
        match self {
            Format::Ndjson | Format::Json | Format::Xml(_) => {
                json::survey(data, &load.formats, &mut scratch.json)
            }
            Format::Excel(_) => json::survey(data, &load.formats, &mut scratch.named),
            Format::Fixed(fixed) => fixed.survey(data, &load.formats, &load.nulls, Some(target)),
            Format::Csv(csv) => {
                let layout = csv.layout(target);
                let skip: Vec<bool> = layout
                    .targets
                    .iter()
                    .map(|column| {
                        let reading = &target.readings[*column];
                        reading.declared || reading.kind == super::column::Kind::Text
                    })
                    .collect();
                let csv_scratch = &mut scratch.csv;
                let seen =
                    csv::survey(data, &layout, &load.formats, &load.nulls, &skip, csv_scratch);
                for (name, seen) in csv.names.iter().zip(seen) {
                    types.entry(name).seen.add(seen);
                }
                (types, 0)
            }
            // They give no blocks.
            _ => (types, 0),
        }
    }
}

/// Lines as records: no quotes, no fields.
const LINES: Dialect = Dialect {
    delimiter: b'\n',
    quote: None,
    escape: None,
    newline: b'\n',
    comment: None,
    short_rows: false,
    quoted_nulls: false,
};

fn sample_fixed(
    entry: &FileEntry,
    settings: &Resolved,
    context: &super::SampleContext,
) -> Result<(Format, Types)> {
    let fixed = FixedFile {
        columns: settings.fields.clone(),
        comment: settings.comment,
        short_rows: settings.written.short_rows == ShortRows::Null,
    };
    let input =
        Input::open(&entry.place, &entry.name, settings.compression, settings.encoding, false)?;
    let (skip, limit) = (settings.written.skip_rows, settings.max_record_bytes);
    let mut splitter = csv::Splitter::new(input, LINES, skip, false, limit);
    let mut fresh = Vec::new;
    let mut memory = Memory::new(&mut fresh);
    // The columns are there whatever the file has.
    let mut types = fixed.survey(&[], &context.formats, &context.nulls, None).0;
    while let Some(piece) = splitter.next(&mut memory)? {
        let Piece::Block(mut block) = piece else { continue };
        if block.len() > settings.sample_bytes {
            let sample = &block[..settings.sample_bytes];
            let end = memchr::memrchr(b'\n', sample).map_or(block.len(), |end| end + 1);
            block.truncate(end);
        }
        types.merge(&fixed.survey(&block, &context.formats, &context.nulls, None).0);
        break;
    }
    Ok((Format::Fixed(fixed), types))
}

fn sample_ndjson(
    entry: &FileEntry,
    settings: &Resolved,
    context: &super::SampleContext,
) -> Result<(Format, Types)> {
    let mut input =
        Input::open(&entry.place, &entry.name, settings.compression, settings.encoding, false)?;
    let mut head = Vec::new();
    let mut ended = false;
    let wanted = settings.sample_bytes.max(HEAD);
    while head.len() < wanted && !ended {
        let missing = wanted - head.len();
        ended = input.fill(&mut head, missing)? == 0;
    }
    if !ended || head.len() > settings.sample_bytes {
        head.truncate(settings.sample_bytes);
        head.truncate(memchr::memrchr(b'\n', &head).map_or(0, |end| end + 1));
    }
    let mut scratch = json::Scratch::new(settings.written.names);
    let (mut types, _) = json::survey(&mut head, &context.formats, &mut scratch);
    if !ended && input.is_direct() && entry.stamp.size > 16 * PROBE as u64 {
        for part in 1..=4u64 {
            let from = (entry.stamp.size - PROBE as u64) * part / 4;
            let Some(data) = entry.place.probe(from, PROBE) else { continue };
            let Some(start) = memchr::memchr(b'\n', &data) else { continue };
            let end = memchr::memrchr(b'\n', &data).map_or(start, |end| end) + 1;
            let mut block = data[start + 1..end.max(start + 1)].to_vec();
            types.merge(&json::survey(&mut block, &context.formats, &mut scratch).0);
        }
    }
    Ok((Format::Ndjson, types))
}

fn sample_json(
    entry: &FileEntry,
    settings: &Resolved,
    context: &super::SampleContext,
) -> Result<(Format, Types)> {
    let input =
        Input::open(&entry.place, &entry.name, settings.compression, settings.encoding, false)?;
    let mut splitter = DocumentSplitter::new(
        input,
        settings.written.records.as_deref(),
        settings.max_record_bytes,
        settings.sample_bytes,
    );
    let mut fresh = Vec::new;
    let mut memory = Memory::new(&mut fresh);
    let mut types = Types::default();
    let piece = splitter.next(&mut memory).map_err(|error| error.with("file", &entry.name))?;
    if let Some(Piece::Block(mut block)) = piece {
        let mut scratch = json::Scratch::new(settings.written.names);
        types = json::survey(&mut block, &context.formats, &mut scratch).0;
    }
    Ok((Format::Json, types))
}

impl CsvFile {
    fn layout(&self, target: &Target) -> Layout {
        Layout {
            dialect: self.dialect.clone(),
            // Every name of a sampled file is among the target's types.
            targets: self
                .names
                .iter()
                .map(|name| target.types.position(name).unwrap_or_default())
                .collect(),
        }
    }
}

fn sample_csv(
    entry: &FileEntry,
    settings: &Resolved,
    declared: &[Field],
    context: &super::SampleContext,
    delimiter: u8,
) -> Result<(Format, Types)> {
    let mut input =
        Input::open(&entry.place, &entry.name, settings.compression, settings.encoding, false)?;
    let mut head = Vec::new();
    let mut ended = false;
    let wanted = settings.sample_bytes.max(HEAD);
    while head.len() < wanted && !ended {
        let missing = wanted - head.len();
        ended = input.fill(&mut head, missing)? == 0;
    }
    let newline = match memchr::memchr(b'\n', &head) {
        None if memchr::memchr(b'\r', &head).is_some() => b'\r',
        _ => b'\n',
    };
    let mut dialect = Dialect {
        delimiter: settings.delimiter.unwrap_or(delimiter),
        quote: settings.quote,
        escape: settings.escape,
        newline,
        comment: settings.comment,
        short_rows: settings.written.short_rows == ShortRows::Null,
        quoted_nulls: settings.written.quoted_nulls,
    };
    // A header may be longer than the sample.
    let mut at = loop {
        if ended && head.last().is_some_and(|last| *last != newline) {
            head.push(newline);
        }
        let mut at = 0;
        for _ in 0..settings.written.skip_rows {
            at += memchr::memchr(newline, &head[at..]).map_or(head.len() - at, |end| end + 1);
        }
        if ended || csv::last_record_end(&head[at..], &dialect) > 0 {
            break at;
        }
        if head.len() > settings.max_record_bytes {
            return Err(tidemill_core::Error::new(
                tidemill_core::ErrorKind::Data,
                "the header is longer than `max_record_bytes`; is this a text file?",
            )
            .with("file", &entry.name));
        }
        let more = head.len();
        ended = input.fill(&mut head, more)? == 0;
    };
    let (mut fields, mut end) = csv::first_record(&head[at..], &dialect);
    // A header in one piece that another usual separator would cut.
    if settings.delimiter.is_none()
        && let Some([only]) = fields.as_deref()
        && let Some(other) = [b';', b'\t', b'|', b',']
            .into_iter()
            .find(|other| *other != dialect.delimiter && only.as_bytes().contains(other))
    {
        dialect.delimiter = other;
        (fields, end) = csv::first_record(&head[at..], &dialect);
    }
    let Some(fields) = fields else {
        return Ok((Format::Empty, Types::default()));
    };
    let (names, originals) = if settings.header {
        at += end;
        let names = super::header::names_in(settings.written.names, &fields);
        (names, fields)
    } else if declared.len() == fields.len() {
        let names: Vec<String> = declared.iter().map(|field| field.name().clone()).collect();
        (names.clone(), names)
    } else if settings.written.names == NameStyle::DuckDb {
        let mut names = super::header::duckdb_names(&vec![""; fields.len()]);
        // Those that are declared are the first ones.
        for (name, field) in names.iter_mut().zip(declared) {
            name.clone_from(field.name());
        }
        (names.clone(), names)
    } else {
        let names: Vec<String> = (1..=fields.len()).map(|n| format!("column_{n}")).collect();
        (names.clone(), names)
    };
    let layout = Layout { dialect: dialect.clone(), targets: (0..names.len()).collect() };
    let mut scratch = csv::Scratch::default();
    let skip = vec![false; names.len()];
    let mut types = Types::default();
    for (name, original) in names.iter().zip(originals) {
        let shape = types.entry(name);
        shape.original = (original != *name).then_some(original);
        if settings.written.all_text {
            shape.seen.add(Seen::TEXT);
        }
    }
    let mut look = |data: &[u8]| {
        if settings.written.all_text {
            return;
        }
        let end = csv::last_record_end(data, &dialect);
        let mut block = data[..end].to_vec();
        let seen =
            csv::survey(&mut block, &layout, &context.formats, &context.nulls, &skip, &mut scratch);
        for (index, seen) in seen.into_iter().enumerate() {
            types.at(index).seen.add(seen);
        }
    };
    let sample = &head[at..];
    look(sample.get(..settings.sample_bytes).unwrap_or(sample));
    // Further on in a large file: only where line ends are sure to be record ends.
    let has_quotes = |data: &[u8]| dialect.quote.is_some_and(|q| memchr::memchr(q, data).is_some());
    if !ended && input.is_direct() && entry.stamp.size > 16 * PROBE as u64 && !has_quotes(&head) {
        for part in 1..=4u64 {
            let from = (entry.stamp.size - PROBE as u64) * part / 4;
            let Some(data) = entry.place.probe(from, PROBE) else { continue };
            let Some(start) = memchr::memchr(newline, &data) else { continue };
            if !has_quotes(&data) {
                look(&data[start + 1..]);
            }
        }
    }
    let seen_any: Seen = types.iter().fold(Seen::NOTHING, |all, (_, shape)| all.and(shape.seen));
    tracing::debug!(file = %entry.name, columns = names.len(), kinds = ?seen_any, "sampled");
    Ok((Format::Csv(CsvFile { dialect, names }), types))
}
