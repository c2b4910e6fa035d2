//! JSON: one object a line, or a document with a list of objects.
//!
//! Each object is a row, each key a column (by the rule for headers). Objects within become structs
//! and arrays become lists. A column in which objects, arrays and plain values are mixed is text:
//! strings as they are, everything else as the JSON that stood in the file. A number in a text
//! column keeps its digits. A key that occurs twice counts with its last value; two keys that are
//! one column name make the row a rejected one.

mod cursor;
mod document;
mod nodes;

use std::collections::HashMap;

use tidemill_core::Result;

use super::infer::{Formats, Seen};
use super::read::{Parsed, Reject, raw_text};
use super::settings::NameStyle;
use super::target::Target;
use super::types::{Shape, Types};
use cursor::Value;
pub(crate) use cursor::{Cursor, Problem, Value as Kind};
pub(crate) use document::DocumentSplitter;
use nodes::Root;

/// Memory of one worker.
pub(crate) struct Scratch {
    text: Vec<u8>,
    names: NameCache,
}

impl Scratch {
    /// For keys that become names in this way.
    pub(crate) fn new(style: NameStyle) -> Self {
        Scratch { text: Vec::new(), names: NameCache { style, known: HashMap::new() } }
    }
}

/// The column name of each key that was met.
#[derive(Default)]
struct NameCache {
    style: NameStyle,
    known: HashMap<Vec<u8>, String>,
}

impl NameCache {
    fn name(&mut self, key: &[u8]) -> &str {
        if !self.known.contains_key(key) {
            let text = String::from_utf8_lossy(key);
            let name = match self.style {
                NameStyle::AsWritten | NameStyle::DuckDb if !text.is_empty() => text.into_owned(),
                _ => super::header::snake_case(&text, 0),
            };
            self.known.insert(key.to_vec(), name);
        }
        self.known.get(key).map_or("", String::as_str)
    }
}

/// How many bytes can be read behind a record.
const PADDING: usize = 32;

/// The records of a block: (line, start, end), without empty lines.
fn records(data: &[u8], newline: u8) -> impl Iterator<Item = (u32, usize, usize)> + '_ {
    let mut at = 0;
    let mut line = 0;
    std::iter::from_fn(move || {
        while at < data.len() {
            let start = at;
            let end = memchr::memchr(newline, &data[at..]).map_or(data.len(), |end| start + end);
            at = end + 1;
            line += 1;
            if !data[start..end].trim_ascii().is_empty() {
                return Some((line - 1, start, end));
            }
        }
        None
    })
}

/// Parses a block of one object a line. `None` when a value does not fit an inferred type.
pub(crate) fn parse(
    data: &mut Vec<u8>,
    target: &Target,
    scratch: &mut Scratch,
) -> Result<Option<Parsed>> {
    let block = data.len();
    let suspicious = simdutf8::basic::from_utf8(data).is_err();
    data.extend_from_slice(&[0; PADDING]);
    let mut root = Root::new(target);
    let mut parsed = Parsed::default();
    let mut surprise = false;
    for (line, start, end) in records(&data[..block], b'\n') {
        let mut cursor = Cursor::new(data, start, end, &mut scratch.text);
        let problem = if suspicious && std::str::from_utf8(&data[start..end]).is_err() {
            Some("bytes that are not UTF-8 (set `encoding`?)".to_owned())
        } else {
            match root.push(&mut cursor, &mut scratch.names) {
                Ok(()) => None,
                Err(Problem::Rejected(reason)) => Some(reason),
                Err(Problem::Surprise) => {
                    // What is not JSON has no say in the types.
                    match check(data, start, end, &mut scratch.text) {
                        Ok(()) => {
                            surprise = true;
                            break;
                        }
                        Err(reason) => Some(reason),
                    }
                }
            }
        };
        match problem {
            Some(reason) => {
                root.truncate(parsed.rows);
                parsed.rejects.push(Reject { line, reason, raw: raw_text(&data[start..end]) });
            }
            None => {
                parsed.rows += 1;
                parsed.lines.push_run(line, 1);
            }
        }
    }
    data.truncate(block);
    if surprise {
        return Ok(None);
    }
    parsed.lines_read = memchr::memchr_iter(b'\n', data).count() as u32;
    root.seen(&mut parsed.seen);
    parsed.columns = root.finish()?;
    Ok(Some(parsed))
}

/// What is seen in a block. Records that are not JSON objects do not count.
pub(crate) fn survey(data: &mut Vec<u8>, formats: &Formats, scratch: &mut Scratch) -> (Types, u32) {
    let block = data.len();
    let mut types = Types::default();
    let suspicious = simdutf8::basic::from_utf8(data).is_err();
    data.extend_from_slice(&[0; PADDING]);
    for (_, start, end) in records(&data[..block], b'\n') {
        if (suspicious && std::str::from_utf8(&data[start..end]).is_err())
            || check(data, start, end, &mut scratch.text).is_err()
        {
            continue;
        }
        let mut cursor = Cursor::new(data, start, end, &mut scratch.text);
        // It was checked just now.
        let _ = observe_object(&mut cursor, &mut types, formats, &mut scratch.names);
    }
    let lines = memchr::memchr_iter(b'\n', &data[..block]).count() as u32;
    (types, lines)
}

/// Whether this is one JSON object and nothing else.
fn check(data: &[u8], start: usize, end: usize, text: &mut Vec<u8>) -> Result<(), String> {
    let mut cursor = Cursor::new(data, start, end, text);
    let outcome = cursor.expect_object().and_then(|()| {
        cursor.rewind(start);
        cursor.skip_value(0)?;
        cursor.expect_end()
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(Problem::Rejected(reason)) => Err(reason),
        Err(Problem::Surprise) => Err("not JSON".to_owned()),
    }
}

fn observe_object(
    cursor: &mut Cursor<'_>,
    types: &mut Types,
    formats: &Formats,
    names: &mut NameCache,
) -> Result<(), Problem> {
    cursor.expect_object()?;
    let mut first = true;
    while cursor.next_key(&mut first)? {
        let key = cursor.key();
        let name = names.name(&key);
        let shape = types.entry(name);
        if shape.original.is_none() && name.as_bytes() != &*key {
            shape.original = Some(String::from_utf8_lossy(&key).into_owned());
        }
        observe(cursor, shape, formats, names)?;
    }
    Ok(())
}

fn observe(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    formats: &Formats,
    names: &mut NameCache,
) -> Result<(), Problem> {
    let start = cursor.peek_start();
    match cursor.value()? {
        Value::Null => {}
        Value::Bool(_) => shape.seen.add(Seen::BOOLEAN),
        Value::Number => shape.seen.add(Seen::classify(cursor.number(), formats)),
        Value::String => {
            let text = cursor.text();
            // Only what can be a date is looked at more closely.
            let kind = match text.first() {
                Some(_) if text.len() >= 6 => Seen::classify_time(text, formats),
                _ => Seen::TEXT,
            };
            shape.seen.add(kind);
        }
        Value::Object => {
            shape.seen.add(Seen::STRUCT);
            cursor.rewind(start);
            observe_object(cursor, &mut shape.fields, formats, names)?;
        }
        Value::Array => {
            shape.seen.add(Seen::LIST);
            let mut first = true;
            while cursor.next_element(&mut first)? {
                observe(cursor, shape.item.get_or_insert_default(), formats, names)?;
            }
        }
    }
    Ok(())
}
