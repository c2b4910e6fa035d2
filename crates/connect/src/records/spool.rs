//! Records on disk, one a line, compressed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind as IoKind, Read, Write};

use serde_json::Value;
use tempfile::TempDir;
use tidemill_core::{Error, ErrorKind, Notice, Result, ResultExt};

use super::raw::Raw;

/// The name of the file in its folder.
pub(crate) const FILE: &str = "records.ndjson.zst";

/// The name of the file that says what happened to each record.
const KINDS: &str = "kinds.zst";

const UNWRITTEN: &str = "the records could not be written to disk";

/// Records on disk, one a line, compressed. They go with this.
pub(crate) struct Spool {
    folder: TempDir,
    writer: zstd::Encoder<'static, File>,
    kinds: Option<zstd::Encoder<'static, File>>,
    line: Vec<u8>,
    records: u64,
}

/// What happened to a record of a log of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// One of [`tidemill_core::changes`].
    pub(crate) what: i8,
    /// When: microseconds since 1970, where the log says so.
    pub(crate) at: Option<i64>,
}

/// A spool that is complete.
pub(crate) struct Spooled {
    pub(crate) folder: TempDir,
    pub(crate) records: u64,
    /// What the user should know of how they were fetched.
    pub(crate) notices: Vec<Notice>,
}

impl Spool {
    pub(crate) fn new() -> Result<Spool> {
        let failed = "a file for the records could not be made";
        let folder = TempDir::with_prefix("tidemill-records-").or_error(ErrorKind::Io, failed)?;
        let file = File::create(folder.path().join(FILE)).or_error(ErrorKind::Io, failed)?;
        let writer = zstd::Encoder::new(file, 1).or_error(ErrorKind::Io, failed)?;
        Ok(Spool { folder, writer, kinds: None, line: Vec::new(), records: 0 })
    }

    /// A spool of changes: [`Spool::is`] says of each record what happened to it.
    pub(crate) fn of_changes() -> Result<Spool> {
        let spool = Spool::new()?;
        let file =
            File::create(spool.folder.path().join(KINDS)).or_error(ErrorKind::Io, UNWRITTEN)?;
        let kinds = Some(zstd::Encoder::new(file, 1).or_error(ErrorKind::Io, UNWRITTEN)?);
        Ok(Spool { kinds, ..spool })
    }

    /// Says what happened to the record that was added last.
    pub(crate) fn is(&mut self, kind: Kind) -> Result<()> {
        let Some(kinds) = &mut self.kinds else { return Ok(()) };
        let mut bytes = [0; 9];
        bytes[0] = kind.what.to_le_bytes()[0];
        bytes[1..].copy_from_slice(&kind.at.unwrap_or(i64::MIN).to_le_bytes());
        kinds.write_all(&bytes).or_error(ErrorKind::Io, UNWRITTEN)
    }

    /// How many records were added.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Adds a record with further columns before its own.
    pub(crate) fn push(&mut self, record: Raw<'_>, further: &[(String, String)]) -> Result<()> {
        self.line.clear();
        self.line.push(b'{');
        for (column, value) in further {
            let name = Value::String(column.clone()).to_string();
            self.line.extend_from_slice(name.as_bytes());
            self.line.push(b':');
            self.line.extend_from_slice(value.as_bytes());
            self.line.push(b',');
        }
        if record.is_object() {
            self.line.extend_from_slice(record.text()[1..].trim_ascii_start());
        } else {
            self.line.extend_from_slice(b"\"value\":");
            self.line.extend_from_slice(record.text());
            self.line.push(b'}');
        }
        // `{"a":1,}` of an object without members.
        if self.line.ends_with(b",}") && record.keys().is_empty() {
            self.line.truncate(self.line.len() - 2);
            self.line.push(b'}');
        }
        // Line breaks stand between values alone.
        for byte in &mut self.line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.line.push(b'\n');
        self.records += 1;
        self.writer.write_all(&self.line).or_error(ErrorKind::Io, UNWRITTEN)
    }

    pub(crate) fn finish(self) -> Result<Spooled> {
        self.writer.finish().or_error(ErrorKind::Io, UNWRITTEN)?;
        if let Some(kinds) = self.kinds {
            kinds.finish().or_error(ErrorKind::Io, UNWRITTEN)?;
        }
        Ok(Spooled { folder: self.folder, records: self.records, notices: Vec::new() })
    }
}

impl Spooled {
    /// What happened to the records, if that was said.
    pub(crate) fn kinds(&self) -> Result<Option<Kinds>> {
        let path = self.folder.path().join(KINDS);
        if !path.exists() {
            return Ok(None);
        }
        let file = File::open(path).or_error(ErrorKind::Io, UNREAD)?;
        let reader = zstd::Decoder::new(file).or_error(ErrorKind::Io, UNREAD)?;
        Ok(Some(Kinds { reader: BufReader::new(reader), read: 0 }))
    }
}

const UNREAD: &str = "what was fetched cannot be read from disk";

/// What happened to records, one after the other.
pub(crate) struct Kinds {
    reader: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    read: i64,
}

impl Kinds {
    /// That of the record in this line, counted from 1; lines come in their order.
    pub(crate) fn of_line(&mut self, line: i64) -> Result<Kind> {
        let mut bytes = [0; 9];
        while self.read < line {
            self.reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
                IoKind::UnexpectedEof => {
                    Error::new(ErrorKind::Internal, "a row came from no change of the log")
                }
                _ => Error::new(ErrorKind::Io, UNREAD).because(error),
            })?;
            self.read += 1;
        }
        let [what, at @ ..] = bytes;
        let at = i64::from_le_bytes(at);
        Ok(Kind { what: i8::from_le_bytes([what]), at: (at != i64::MIN).then_some(at) })
    }
}

/// Adds the rows of a record: itself, or the elements of a list in it, with further columns.
///
/// # Errors
/// Kind `Config` for a column that the records have themselves, `Io` when the disk does not take them.
pub(crate) fn rows(
    record: Raw<'_>,
    expand: Option<&str>,
    include: &BTreeMap<String, String>,
    parents: &[Raw<'_>],
    spool: &mut Spool,
) -> Result<()> {
    let rows = match expand {
        None => vec![record],
        Some(path) => match record.get(path) {
            None => Vec::new(),
            Some(list) if list.text() == b"null" => Vec::new(),
            Some(list) if list.is_array() => list.elements(),
            Some(one) => vec![one],
        },
    };
    let mut further = Vec::with_capacity(include.len());
    for (column, from) in include {
        let (of, field) = from.split_once('.').unwrap_or(("record", from));
        let found = match of {
            "parent" => of_parents(parents, field),
            _ => record.get(field),
        };
        let text = found
            .map_or("null".to_owned(), |found| String::from_utf8_lossy(found.text()).into_owned());
        further.push((column.clone(), text));
    }
    for row in rows {
        if let Some((column, _)) =
            further.iter().find(|(column, _)| row.is_object() && row.member(column).is_some())
        {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`include` names `{column}`, which the records have themselves; name it otherwise"
                ),
            ));
        }
        spool.push(row, &further)?;
    }
    Ok(())
}

/// A field of the nearest record above; `parent.` goes one further up.
pub(crate) fn of_parents<'a>(parents: &[Raw<'a>], field: &str) -> Option<Raw<'a>> {
    let (nearest, above) = parents.split_last()?;
    match field.strip_prefix("parent.") {
        Some(field) if !above.is_empty() => of_parents(above, field),
        _ => nearest.get(field),
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::Document;
    use super::*;

    #[test]
    fn records_become_lines() {
        let mut spool = Spool::new().unwrap();
        let further = [("p".to_owned(), "1.50".to_owned())];
        for text in ["{}", "{\n \"a\": 1\n}", "\"x\""] {
            let record = Document::parse(text.into()).unwrap();
            spool.push(record.root(), &further).unwrap();
        }
        let spooled = spool.finish().unwrap();
        let file = File::open(spooled.folder.path().join(FILE)).unwrap();
        let text = std::io::read_to_string(zstd::Decoder::new(file).unwrap()).unwrap();
        assert_eq!(text, "{\"p\":1.50}\n{\"p\":1.50,\"a\": 1 }\n{\"p\":1.50,\"value\":\"x\"}\n");
        assert_eq!(spooled.records, 3);
        assert!(spooled.kinds().unwrap().is_none());
    }

    #[test]
    fn what_happened_is_found_by_lines() {
        let mut spool = Spool::of_changes().unwrap();
        let kinds = [
            Kind { what: 0, at: Some(-1) },
            Kind { what: 1, at: None },
            Kind { what: 2, at: Some(7) },
        ];
        for kind in kinds {
            spool.push(Document::parse("{}".into()).unwrap().root(), &[]).unwrap();
            spool.is(kind).unwrap();
        }
        let spooled = spool.finish().unwrap();
        let mut read = spooled.kinds().unwrap().unwrap();
        // The second one was rejected.
        assert_eq!((read.of_line(1).unwrap(), read.of_line(3).unwrap()), (kinds[0], kinds[2]));
        assert!(read.of_line(4).is_err());
    }
}
