//! Messages on disk, until their rows are written.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use bytes::Bytes;
use serde::de::IgnoredAny;
use tempfile::TempDir;
use tidemill_core::{ErrorKind, Result, ResultExt};

use super::Message;
use super::envelope::{Envelope, Reader, Writer};
use super::settings::{Format, KeyFormat, QueueSettings};
use crate::files::raw_text;

/// The messages; without their values where those are lines of [`LINES`].
const MESSAGES: &str = "messages.zst";

/// The values as a file that the reader of files takes.
pub(super) const LINES: &str = "messages.txt.zst";

const FAILED: &str = "the messages of the queue could not be written to disk";

type Packed = zstd::Encoder<'static, File>;

/// Messages that are being fetched. They go with this.
pub(crate) struct Spool {
    folder: TempDir,
    messages: Writer<Packed>,
    lines: Option<Lines>,
    key_format: KeyFormat,
    count: u64,
    bytes: u64,
    limits: Option<(u64, u64)>,
}

/// Values that are lines.
struct Lines {
    out: Packed,
    /// The line of a message without a body.
    empty: Vec<u8>,
    json: bool,
    next: i64,
    line: Vec<u8>,
}

/// A spool that is complete.
pub(crate) struct Spooled {
    folder: TempDir,
    count: u64,
}

impl Spool {
    /// An empty one. `limited`: it is full at the limits that the settings have.
    pub(super) fn new(settings: &QueueSettings, limited: bool) -> Result<Spool> {
        let folder = TempDir::with_prefix("tidemill-queue-").or_error(ErrorKind::Io, FAILED)?;
        let packed = |name: &str| {
            let file = File::create(folder.path().join(name)).or_error(ErrorKind::Io, FAILED)?;
            zstd::Encoder::new(file, 1).or_error(ErrorKind::Io, FAILED)
        };
        let messages = Writer::new(packed(MESSAGES)?);
        let lines = match settings.format {
            Format::Json | Format::Csv => {
                let mut lines = Lines {
                    out: packed(LINES)?,
                    empty: b"{}".to_vec(),
                    json: settings.format == Format::Json,
                    next: 1,
                    line: Vec::new(),
                };
                if let Some(columns) = &settings.columns {
                    lines.header(columns, settings.delimiter.as_deref())?;
                }
                Some(lines)
            }
            _ => None,
        };
        let limits = match limited {
            true => Some((settings.max_messages.unwrap_or(u64::MAX), settings.bytes_of_load()?)),
            false => None,
        };
        let key_format = settings.key_format;
        Ok(Spool { folder, messages, lines, key_format, count: 0, bytes: 0, limits })
    }

    /// Adds the message that comes next.
    ///
    /// # Errors
    /// Kind `Io`. A message that cannot be read is no error; it becomes a rejected row.
    pub(crate) fn push(&mut self, mut message: Message) -> Result<()> {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.count += 1;
        self.bytes += length(&message.key) + length(&message.value);
        self.bytes += message.headers.iter().map(|(_, value)| length(value)).sum::<u64>();
        let tombstone = message.value.is_none();
        let mut refused = None;
        let mut members = None;
        if self.key_format == KeyFormat::Json
            && let Some(key) = &message.key
        {
            match key_in_json(key) {
                Ok(Key::Object) => members = Some(key.clone()),
                Ok(Key::Plain(plain)) => message.key = Some(plain),
                Err(reason) => refused = Some((reason, raw_text(key))),
            }
        }
        let mut line = None;
        if let Some(lines) = &mut self.lines {
            let value = message.value.take();
            if refused.is_none() {
                match lines.take(value.as_deref(), members.as_deref()) {
                    Ok(()) => line = Some(lines.write()?),
                    Err(reason) => {
                        refused = Some((reason, raw_text(value.as_deref().unwrap_or_default())));
                    }
                }
            }
        }
        self.messages
            .write(&Envelope { message, tombstone, refused, line, number: 0 })
            .or_error(ErrorKind::Io, FAILED)
    }

    /// Whether a load takes no more. What is left comes with the next one.
    pub(crate) fn is_full(&self) -> bool {
        self.limits.is_some_and(|(most, bytes)| self.count >= most || self.bytes >= bytes)
    }

    /// How many messages were put in.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// That was all.
    pub(crate) fn finish(self) -> Result<Spooled> {
        self.messages.into_inner().finish().or_error(ErrorKind::Io, FAILED)?;
        if let Some(lines) = self.lines {
            lines.out.finish().or_error(ErrorKind::Io, FAILED)?;
        }
        Ok(Spooled { folder: self.folder, count: self.count })
    }
}

impl Lines {
    /// Writes the names of fields in the first line.
    fn header(&mut self, columns: &[String], delimiter: Option<&str>) -> Result<()> {
        let delimiter = match delimiter {
            None => ",",
            Some("\\t" | "tab") => "\t",
            Some(other) => other,
        };
        let quoted = columns.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        let header = quoted.collect::<Vec<_>>().join(delimiter);
        self.line.extend_from_slice(header.as_bytes());
        self.empty = vec!["\\N"; columns.len()].join(delimiter).into_bytes();
        self.write().map(drop)
    }

    /// Makes the line of a value; an error is why it is none.
    fn take(&mut self, value: Option<&[u8]>, members: Option<&[u8]>) -> Result<(), String> {
        self.line.clear();
        if !self.json {
            return self.take_fields(value);
        }
        let members = members.map(|object| {
            let object = object.trim_ascii();
            object[1..object.len() - 1].trim_ascii()
        });
        let members = members.filter(|members| !members.is_empty());
        let value = match value {
            None => self.empty.as_slice(),
            Some(value) => value.trim_ascii(),
        };
        match value.first() {
            Some(b'{') => {}
            Some(_) => return Err("the message is no object in JSON".to_owned()),
            None => return Err("the message is empty".to_owned()),
        }
        let breaks = |bytes: &[u8]| memchr::memchr2(b'\n', b'\r', bytes).is_some();
        // A line break stands between values; within a text it is a mistake that must not be mended.
        if breaks(value)
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(value)
        {
            return Err(format!("the message is not JSON: {error}"));
        }
        self.line.push(b'{');
        let rest = value[1..].trim_ascii_start();
        if let Some(members) = members {
            self.line.extend_from_slice(members);
            if rest != b"}" {
                self.line.push(b',');
            }
        }
        self.line.extend_from_slice(rest);
        if breaks(&self.line) {
            for byte in &mut self.line {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
        }
        Ok(())
    }

    fn take_fields(&mut self, value: Option<&[u8]>) -> Result<(), String> {
        let Some(value) = value else {
            self.line.extend_from_slice(&self.empty);
            return Ok(());
        };
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        if value.trim_ascii().is_empty() {
            return Err("the message is empty".to_owned());
        }
        if memchr::memchr2(b'\n', b'\r', value).is_some() {
            return Err("the message has a line break; one message is one row".to_owned());
        }
        if value.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            return Err("the message has a quote that never closes".to_owned());
        }
        self.line.extend_from_slice(value);
        Ok(())
    }

    /// Writes the line and gives its number.
    fn write(&mut self) -> Result<i64> {
        self.line.push(b'\n');
        self.out.write_all(&self.line).or_error(ErrorKind::Io, FAILED)?;
        self.next += 1;
        Ok(self.next - 1)
    }
}

/// What a key in JSON is.
enum Key {
    Object,
    /// A text without its quotes, or anything else as it stands.
    Plain(Bytes),
}

fn key_in_json(key: &Bytes) -> Result<Key, String> {
    let failed = |error| format!("the key is not JSON: {error}");
    match key.trim_ascii().first() {
        Some(b'{') => {
            serde_json::from_slice::<IgnoredAny>(key).map_err(failed)?;
            Ok(Key::Object)
        }
        Some(b'"') => {
            let text: String = serde_json::from_slice(key).map_err(failed)?;
            Ok(Key::Plain(Bytes::from(text)))
        }
        _ => {
            serde_json::from_slice::<IgnoredAny>(key).map_err(failed)?;
            Ok(Key::Plain(key.clone()))
        }
    }
}

impl Spooled {
    /// How many messages there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The folder with the file of lines.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The messages from the first one on.
    pub(super) fn read(&self) -> Result<Messages> {
        let failed = "the spool of messages cannot be read";
        let file = File::open(self.folder.path().join(MESSAGES)).or_error(ErrorKind::Io, failed)?;
        let decoder = zstd::Decoder::new(file).or_error(ErrorKind::Io, failed)?;
        Ok(Reader::new(BufReader::with_capacity(64 << 10, decoder)))
    }
}

/// The messages of a spool.
pub(super) type Messages = Reader<BufReader<zstd::Decoder<'static, BufReader<File>>>>;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::{Value, json};

    use super::*;

    fn spool(settings: Value) -> Spool {
        Spool::new(&QueueSettings::take(&settings).unwrap().0, true).unwrap()
    }

    fn message(key: Option<&'static str>, value: Option<&'static str>) -> Message {
        let of = |text: Option<&'static str>| text.map(|text| Bytes::from_static(text.as_bytes()));
        Message { key: of(key), value: of(value), ..Message::default() }
    }

    /// The lines of the file, and of each message its line or why it has none.
    fn spooled(spool: Spool) -> (String, Vec<Result<i64, String>>) {
        let spooled = spool.finish().unwrap();
        let file = File::open(spooled.folder().join(LINES)).unwrap();
        let mut text = String::new();
        zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
        let mut messages = spooled.read().unwrap();
        let mut seen = Vec::new();
        while let Some(envelope) = messages.next().unwrap() {
            assert_eq!(envelope.message.value, None);
            seen.push(match envelope.refused {
                Some((reason, _)) => Err(reason),
                None => Ok(envelope.line.unwrap()),
            });
        }
        (text, seen)
    }

    #[test]
    fn json_is_one_line_a_message() {
        let mut spool = spool(json!({}));
        for value in ["{\"a\":1}", " {\n\"a\": \"x\"\r\n} ", "", "[1]", "{\"a\": \"x\ny\"}", "{}"] {
            spool.push(message(None, Some(value))).unwrap();
        }
        spool.push(message(Some("k"), None)).unwrap();
        let (text, seen) = spooled(spool);
        assert_eq!(text, "{\"a\":1}\n{\"a\": \"x\"  }\n{}\n{}\n");
        assert_eq!((&seen[0], &seen[1], &seen[5], &seen[6]), (&Ok(1), &Ok(2), &Ok(3), &Ok(4)));
        assert_eq!(seen[2].as_ref().unwrap_err(), "the message is empty");
        assert_eq!(seen[3].as_ref().unwrap_err(), "the message is no object in JSON");
        assert!(seen[4].as_ref().unwrap_err().contains("not JSON"), "{seen:?}");
    }

    #[test]
    fn members_of_the_key_stand_before_those_of_the_body() {
        let mut spool = spool(json!({"key_format": "json"}));
        spool.push(message(Some("{\"id\": 1}"), Some("{\"a\":2}"))).unwrap();
        spool.push(message(Some("{\"id\": 2}"), Some("{ }"))).unwrap();
        spool.push(message(Some("{\"id\": 3}"), None)).unwrap();
        spool.push(message(Some("\"x\""), Some("{}"))).unwrap();
        spool.push(message(Some("{"), Some("{}"))).unwrap();
        spool.push(message(Some("{ }"), Some("{\"a\":1}"))).unwrap();
        let (text, seen) = spooled(spool);
        assert_eq!(text, "{\"id\": 1,\"a\":2}\n{\"id\": 2}\n{\"id\": 3}\n{}\n{\"a\":1}\n");
        assert!(seen[4].as_ref().unwrap_err().contains("the key is not JSON"), "{seen:?}");
    }

    #[test]
    fn fields_are_one_line_a_message() {
        let mut spool = spool(json!({"format": "csv", "columns": ["a", "b\"c"]}));
        spool.push(message(None, None)).unwrap();
        for value in ["1,2\n", "1,\"x,y\"", "1,\"x", "1\n2", " "] {
            spool.push(message(None, Some(value))).unwrap();
        }
        let (text, seen) = spooled(spool);
        assert_eq!(text, "\"a\",\"b\"\"c\"\n\\N,\\N\n1,2\n1,\"x,y\"\n");
        assert_eq!((&seen[0], &seen[1], &seen[2]), (&Ok(2), &Ok(3), &Ok(4)));
        assert!(seen[3..].iter().all(Result::is_err), "{seen:?}");
    }

    #[test]
    fn a_spool_is_full_at_its_limits() {
        let mut few = spool(json!({"max_messages": 2}));
        few.push(message(None, Some("{}"))).unwrap();
        assert!(!few.is_full());
        few.push(message(None, Some("{}"))).unwrap();
        assert!(few.is_full());
        let mut small = spool(json!({"max_bytes": 5}));
        small.push(message(Some("key"), Some("{}"))).unwrap();
        assert!(small.is_full());
    }
}
