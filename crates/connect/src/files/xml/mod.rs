//! XML: elements that are rows.
//!
//! Attributes and elements within are columns; an element that has some of its own is a struct, one that
//! occurs several times in a row a list. What is a list or a struct in one row is one in all: an
//! element that occurs once is then a list of one. Text beside attributes or elements is called
//! `_text`. An element without anything, or with `xsi:nil`, is NULL. Blanks around text go. Names are
//! without the prefix of their namespace, unless `namespaces: keep` is written.
//!
//! The document streams by; a row is in memory, and so is nothing else. Entities that a document
//! declares are not expanded: a row that uses one is rejected.

mod element;
mod lists;

use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result};

use super::format::Cut;
use super::input::{Input, TextEncoding};
use super::json;
use super::json_line::Lines;
use super::listing::FileEntry;
use super::place::{cannot, peek};
use super::read::{FileTask, Load, Memory, Piece};
use super::settings::Resolved;
use super::target::Target;
use super::types::Types;
use element::{Builder, Style};
pub(crate) use lists::settle;

/// Whether names keep the prefix of their namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespaces {
    /// They do not.
    #[default]
    Drop,
    /// They do.
    Keep,
}

/// An XML document.
#[derive(Debug)]
pub(crate) struct XmlFile {
    encoding: TextEncoding,
}

impl XmlFile {
    /// Looks at the first rows.
    pub(crate) fn sample(
        entry: &FileEntry,
        settings: &Resolved,
        context: &super::SampleContext,
    ) -> Result<(XmlFile, Types)> {
        let file = XmlFile { encoding: encoding(entry, settings)? };
        let mut types = Types::default();
        let mut scratch = json::Scratch::new(settings.written.names);
        let mut left = settings.sample_bytes;
        let mut send = |piece| {
            if let Piece::Block(mut block) = piece {
                left = left.saturating_sub(block.len());
                types.merge(&json::survey(&mut block, &context.formats, &mut scratch).0);
            }
            left > 0
        };
        let mut fresh = Vec::new;
        let mut memory = Memory::new(&mut fresh);
        let mut lines = Lines::new(settings.max_record_bytes, &mut memory, &mut send);
        let input = file.input(entry, settings, false)?;
        let mut rows = Rows::new(entry, settings, input);
        let mut seen = 0;
        while seen < settings.sample_bytes && rows.next(None, &mut lines)? {
            seen = seen.max(lines.written());
        }
        lines.flush();
        Ok((file, types))
    }

    /// Reads the rows; `None` when nobody listens any more.
    pub(crate) fn read(
        &self,
        file: &FileTask,
        load: &Load,
        target: &Target,
        memory: &mut Memory<'_>,
        send: &mut dyn FnMut(Cut) -> bool,
    ) -> Result<Option<String>> {
        let settings = &load.settings;
        let mut give = |piece| send(Cut::Piece(piece));
        let mut lines = Lines::new(settings.max_record_bytes, memory, &mut give);
        let input = self.input(&file.entry, settings, true)?;
        let mut rows = Rows::new(&file.entry, settings, input);
        while rows.next(Some(&target.types), &mut lines)? {}
        if rows.stopped || !lines.flush() {
            return Ok(None);
        }
        lines.give_back();
        rows.parser.into_inner().input.finish().map(Some)
    }

    fn input(&self, entry: &FileEntry, settings: &Resolved, hash: bool) -> Result<Input> {
        Input::open(&entry.place, &entry.name, settings.compression, self.encoding, hash)
    }
}

/// What the settings say, else what the document says of itself.
fn encoding(entry: &FileEntry, settings: &Resolved) -> Result<TextEncoding> {
    if settings.encoding != TextEncoding::Auto {
        return Ok(settings.encoding);
    }
    let utf8 = TextEncoding::Utf8;
    let input = Input::open(&entry.place, &entry.name, settings.compression, utf8, false)?;
    let (head, _) = peek(Box::new(input), 256)
        .map_err(|error| cannot("cannot read the file", &entry.name, error))?;
    let text = String::from_utf8_lossy(&head);
    let declared = text.strip_prefix("<?xml").and_then(|rest| {
        let (declaration, _) = rest.split_once("?>")?;
        let (_, rest) = declaration.split_once("encoding")?;
        let rest = rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    match declared {
        None => Ok(TextEncoding::Auto),
        Some(name) => TextEncoding::of_name(name).ok_or_else(|| {
            let message = format!("the document says that it is in `{name}`, which is not known");
            Error::new(ErrorKind::Data, message)
                .with("file", &entry.name)
                .with("help", "say what it is by `encoding`")
        }),
    }
}

/// The elements of a document that are rows.
struct Rows<'a> {
    parser: Reader<Text>,
    buffer: Vec<u8>,
    entry: &'a FileEntry,
    style: Style<'a>,
    path: RowPath,
    /// The elements that are open, from the root on.
    open: Vec<String>,
    limit: u64,
    stopped: bool,
}

/// Which elements are rows.
enum RowPath {
    /// What the root contains.
    Children,
    /// Those of this name.
    Name(String),
    /// Those at this place.
    Path(Vec<String>),
}

impl RowPath {
    fn is_row(&self, above: &[String], name: &str) -> bool {
        match self {
            RowPath::Children => above.len() == 1,
            RowPath::Name(wanted) => wanted == name,
            RowPath::Path(wanted) => {
                wanted.split_last().is_some_and(|(last, before)| last == name && before == above)
            }
        }
    }
}

impl<'a> Rows<'a> {
    fn new(entry: &'a FileEntry, settings: &'a Resolved, input: Input) -> Self {
        let limit = settings.max_record_bytes as u64;
        let path = match settings.written.records.as_deref() {
            None | Some("" | ".") => RowPath::Children,
            Some(path) if path.contains('.') => {
                RowPath::Path(path.split('.').map(str::to_owned).collect())
            }
            Some(name) => RowPath::Name(name.to_owned()),
        };
        let mut parser = Reader::from_reader(Text::new(input, limit));
        parser.config_mut().expand_empty_elements = true;
        Rows {
            parser,
            buffer: Vec::new(),
            entry,
            style: Style::new(settings),
            path,
            open: Vec::new(),
            limit,
            stopped: false,
        }
    }

    /// Writes the next row; false at the end. The columns of the table say what is a list.
    fn next(&mut self, types: Option<&Types>, lines: &mut Lines<'_, '_>) -> Result<bool> {
        let mut builder: Option<Builder> = None;
        let mut from = 0;
        loop {
            self.buffer.clear();
            self.parser.get_mut().used = 0;
            let before = self.parser.buffer_position();
            let event = match self.parser.read_event_into(&mut self.buffer) {
                Ok(event) => event,
                Err(error) => {
                    let at = self.parser.error_position();
                    return Err(broken(self.entry, at).because(error));
                }
            };
            match (event, &mut builder) {
                (Event::Eof, None) if self.open.is_empty() => return Ok(false),
                (Event::Eof, _) => {
                    let message = "the document ends before its elements do";
                    return Err(Error::new(ErrorKind::Data, message).with("file", &self.entry.name));
                }
                (Event::Start(start), None) => {
                    let name = self.style.name(start.name());
                    if self.path.is_row(&self.open, &name) {
                        builder = Some(Builder::new(&self.style, &start));
                        from = before;
                    } else {
                        self.open.push(name);
                        if self.open.len() > element::DEEPEST {
                            return Err(Error::new(
                                ErrorKind::Data,
                                format!(
                                    "the document is nested deeper than {} levels",
                                    element::DEEPEST
                                ),
                            )
                            .with("file", &self.entry.name));
                        }
                    }
                }
                (Event::Start(start), Some(row)) => row.start(&self.style, &start),
                (Event::End(_), None) => drop(self.open.pop()),
                (Event::End(_), Some(row)) => {
                    let ended = row.end();
                    if ended && let Some(row) = builder.take() {
                        self.stopped = !row.write(&self.style, types, lines);
                        return Ok(!self.stopped);
                    }
                }
                (Event::Text(text), Some(row)) => row.text(&text.xml10_content()),
                (Event::CData(text), Some(row)) => row.text(&text.xml10_content()),
                (Event::GeneralRef(reference), Some(row)) => row.reference(&reference),
                _ => {}
            }
            if let Some(row) = &mut builder
                && self.parser.buffer_position() - from > self.limit
            {
                row.too_long(self.limit);
            }
        }
    }
}

fn broken(entry: &FileEntry, at: u64) -> Error {
    Error::new(ErrorKind::Data, format!("the document is not XML behind its byte {at}"))
        .with("file", &entry.name)
}

/// The text of a document. A tag or text that is longer than the longest row ends with an error.
struct Text {
    input: Input,
    buffer: Vec<u8>,
    at: usize,
    /// How much was read for the event at hand.
    used: u64,
    limit: u64,
}

impl Text {
    fn new(input: Input, limit: u64) -> Text {
        Text { input, buffer: Vec::new(), at: 0, used: 0, limit }
    }
}

impl Read for Text {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Text {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a tag or text is longer than {} bytes (`max_record_bytes`)", self.limit),
            ));
        }
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
            self.input.fill(&mut self.buffer, 256 << 10).map_err(io::Error::other)?;
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.buffer.len());
        self.used += amount as u64;
    }
}
