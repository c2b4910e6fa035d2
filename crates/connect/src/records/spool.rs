//! Records on disk, one a line, compressed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use serde_json::Value;
use tempfile::TempDir;
use tidemill_core::{Error, ErrorKind, Notice, Result, ResultExt};

use super::raw::Raw;

/// The name of the file in its folder.
pub(crate) const FILE: &str = "records.ndjson.zst";

/// Records on disk, one a line, compressed. They go with this.
pub(crate) struct Spool {
    folder: TempDir,
    writer: zstd::Encoder<'static, File>,
    line: Vec<u8>,
    records: u64,
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
        Ok(Spool { folder, writer, line: Vec::new(), records: 0 })
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
        self.writer
            .write_all(&self.line)
            .or_error(ErrorKind::Io, "the records could not be written to disk")
    }

    pub(crate) fn finish(self) -> Result<Spooled> {
        let failed = "the records could not be written to disk";
        self.writer.finish().or_error(ErrorKind::Io, failed)?;
        Ok(Spooled { folder: self.folder, records: self.records, notices: Vec::new() })
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
    }
}
