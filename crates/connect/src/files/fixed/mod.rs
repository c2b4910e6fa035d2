//! Lines whose columns have places (fixed width).
//!
//! Places are counted in characters. Blanks around a value go; a value of nothing but blanks is NULL.
//! A line that ends before its last column begins is a rejected row, unless `short_rows: null` is
//! written. What stands behind the last column is left out.

mod settings;

use arrow::datatypes::Field;
use tidemill_core::Result;

use super::column::{Column as Values, Fields, Kind, NullTokens};
use super::infer::{Formats, Seen};
use super::read::{Parsed, Reject, raw_text};
use super::target::Target;
use super::types::Types;
pub(crate) use settings::Column;
pub use settings::FixedField;

/// How many bytes can be read behind the last field.
const PADDING: usize = 32;

/// How lines are cut.
#[derive(Debug, Clone)]
pub(crate) struct FixedFile {
    pub(crate) columns: Vec<Column>,
    pub(crate) comment: Option<u8>,
    /// Whether lines may end before their last column.
    pub(crate) short_rows: bool,
}

/// A line with the places of its fields in the block.
struct Line {
    number: u32,
    start: usize,
    end: usize,
}

/// The lines of a block that are rows.
#[derive(Default)]
struct Block {
    lines: Vec<Line>,
    /// Start and end of each field, line by line.
    spans: Vec<(u32, u32)>,
    rejects: Vec<Reject>,
}

impl FixedFile {
    fn cut(&self, data: &[u8]) -> Block {
        let mut block = Block::default();
        let last = self.columns.iter().map(|column| column.from).max().unwrap_or(0);
        let (mut at, mut number) = (0, 0);
        while at < data.len() {
            let start = at;
            let newline = memchr::memchr(b'\n', &data[at..]).map_or(data.len(), |end| at + end);
            at = newline + 1;
            number += 1;
            let line = &data[start..newline];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let comment = self.comment.is_some() && line.first().copied() == self.comment;
            if comment || line.trim_ascii().is_empty() {
                continue;
            }
            let mut reject = |reason: String| {
                block.rejects.push(Reject { line: number - 1, reason, raw: raw_text(line) });
            };
            let Ok(text) = std::str::from_utf8(line) else {
                reject("bytes that are not UTF-8 (set `encoding`?)".to_owned());
                continue;
            };
            let length = if text.is_ascii() { text.len() } else { text.chars().count() };
            if length <= last && !self.short_rows {
                reject(format!(
                    "{length} characters, and the last column begins with character {} \
                     (`short_rows: null` makes it NULL)",
                    last + 1
                ));
                continue;
            }
            for column in &self.columns {
                let (from, to) = match text.is_ascii() {
                    true => (column.from.min(length), column.to.min(length)),
                    false => (place(text, column.from), place(text, column.to)),
                };
                let field = &line[from..to];
                let from = from + field.len() - field.trim_ascii_start().len();
                let to = from + line[from..to].trim_ascii_end().len();
                block.spans.push(((start + from) as u32, (start + to) as u32));
            }
            block.lines.push(Line { number: number - 1, start, end: start + line.len() });
        }
        block
    }

    /// Parses a block; `None` when a value does not fit an inferred type.
    pub(crate) fn parse(
        &self,
        data: &mut Vec<u8>,
        target: &Target,
        nulls: &NullTokens,
    ) -> Result<Option<Parsed>> {
        let length = data.len();
        let block = self.cut(data);
        data.extend_from_slice(&[0; PADDING]);
        let mut parsed = Parsed {
            rows: block.lines.len(),
            lines_read: memchr::memchr_iter(b'\n', &data[..length]).count() as u32,
            rejects: block.rejects,
            ..Parsed::default()
        };
        block.lines.iter().for_each(|line| parsed.lines.push_run(line.number, 1));
        let mut misfits = Vec::new();
        for (name, reading) in target.names.iter().zip(&target.readings) {
            let mut values = Values::new(reading);
            let Some(index) = self.columns.iter().position(|column| column.name == *name) else {
                values.append_nulls(parsed.rows);
                parsed.columns.push(values.finish()?);
                continue;
            };
            misfits.clear();
            let fields = Spans { spans: &block.spans, index, width: self.columns.len() };
            values.append(data, &fields, nulls, &mut misfits);
            if !misfits.is_empty() && !reading.declared {
                data.truncate(length);
                return Ok(None);
            }
            for row in &misfits {
                if !parsed.bad_rows.insert(*row) {
                    continue;
                }
                let line = &block.lines[*row as usize];
                let (from, to, _) = fields.get(*row as usize);
                let value = &data[from..to];
                let value = raw_text(value.get(..80).unwrap_or(value));
                parsed.rejects.push(Reject {
                    line: line.number,
                    reason: format!("column `{name}`: `{value}` is not {}", reading.kind.name()),
                    raw: raw_text(&data[line.start..line.end]),
                });
            }
            let seen = values.seen();
            if seen != Seen::NOTHING {
                parsed.seen.entry(name).seen.add(seen);
            }
            parsed.columns.push(values.finish()?);
        }
        data.truncate(length);
        Ok(Some(parsed))
    }

    /// What is seen in a block, and how many lines it has. Rows that cannot be read do not count.
    pub(crate) fn survey(
        &self,
        data: &[u8],
        formats: &Formats,
        nulls: &NullTokens,
        target: Option<&Target>,
    ) -> (Types, u32) {
        let block = self.cut(data);
        let mut types = Types::default();
        for (index, column) in self.columns.iter().enumerate() {
            let shape = types.entry(&column.name);
            let known = target.and_then(|target| {
                let at = target.types.position(&column.name)?;
                target.readings.get(at)
            });
            if known.is_some_and(|reading| reading.declared || reading.kind == Kind::Text) {
                continue;
            }
            for spans in block.spans.chunks_exact(self.columns.len()) {
                let (from, to) = spans[index];
                let text = &data[from as usize..to as usize];
                if !nulls.contains(text) {
                    shape.seen.add(Seen::classify(text, formats));
                }
            }
        }
        (types, memchr::memchr_iter(b'\n', data).count() as u32)
    }

    /// The columns with types, as if the project declared them.
    pub(crate) fn declared(columns: &[Column]) -> impl Iterator<Item = Field> + '_ {
        columns
            .iter()
            .filter_map(|column| Some(Field::new(&column.name, column.data_type.clone()?, true)))
    }
}

/// Where a character begins, or the end.
fn place(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

struct Spans<'a> {
    spans: &'a [(u32, u32)],
    index: usize,
    width: usize,
}

impl Fields for Spans<'_> {
    fn len(&self) -> usize {
        self.spans.len() / self.width
    }

    fn get(&self, row: usize) -> (usize, usize, bool) {
        let (from, to) = self.spans[row * self.width + self.index];
        (from as usize, to as usize, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(short_rows: bool) -> FixedFile {
        let column =
            |name: &str, from, to| Column { name: name.to_owned(), from, to, data_type: None };
        let columns = vec![column("code", 0, 3), column("name", 3, 8), column("n", 8, 10)];
        FixedFile { columns, comment: Some(b'#'), short_rows }
    }

    #[test]
    fn places_are_counted_in_characters() {
        let data = "001Ärger 7\r\n#\n\n002b    12 more\n003\n".as_bytes();
        let cut = |short_rows| {
            let block = file(short_rows).cut(data);
            let text = |(from, to): &(u32, u32)| {
                String::from_utf8_lossy(&data[*from as usize..*to as usize]).into_owned()
            };
            let texts: Vec<String> = block.spans.iter().map(text).collect();
            let numbers: Vec<u32> = block.lines.iter().map(|line| line.number).collect();
            (texts, numbers, block.rejects.len())
        };
        let (texts, numbers, rejects) = cut(false);
        assert_eq!(texts, ["001", "Ärger", "7", "002", "b", "12"]);
        assert_eq!((numbers, rejects), (vec![0, 3], 1));
        let (texts, numbers, rejects) = cut(true);
        assert_eq!(texts[6..], ["003", "", ""]);
        assert_eq!((numbers.len(), rejects), (3, 0));
    }
}
