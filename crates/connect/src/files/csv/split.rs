//! Cuts a stream of text into blocks of whole records, so that blocks can be parsed by themselves.

use memchr::{memchr, memchr2, memchr3, memrchr};
use tidemill_core::Result;

use super::Dialect;
use super::index::each_place;
use crate::files::input::Input;
use crate::files::read::{Memory, Piece, Reject, raw_text};

/// How many bytes a block has. What is under way of a file is some blocks and as many batches made of
/// them.
const BLOCK: usize = 2 << 20;

/// Where the records of a text end.
struct Boundaries {
    /// Behind the last record that ends.
    last: usize,
    /// Whether the text ends within quotes.
    open: bool,
}

/// The cutter of one file.
pub(crate) struct Splitter {
    input: Input,
    dialect: Dialect,
    carry: Vec<u8>,
    max_record: usize,
    /// How many bytes a block has, about.
    block: usize,
    ended: bool,
    /// Bytes are dropped until the next line end.
    skipping: bool,
    /// What has to be cut off at the start.
    skip_lines: usize,
    skip_header: bool,
    started: bool,
    /// `carry` is all that was read and lies in a buffer of full size.
    holding: bool,
}

impl Splitter {
    /// Of a file, whose first lines (`skip_rows`) and header are left out.
    pub(crate) fn new(
        input: Input,
        dialect: Dialect,
        skip_rows: usize,
        header: bool,
        max_record: usize,
    ) -> Self {
        Splitter {
            input,
            dialect,
            carry: Vec::new(),
            max_record,
            block: BLOCK,
            ended: false,
            skipping: false,
            skip_lines: skip_rows,
            skip_header: header,
            started: false,
            holding: false,
        }
    }

    /// Gives the input back at the end.
    pub(crate) fn into_input(self) -> Input {
        self.input
    }

    /// The next block or rejected line; `None` at the end.
    pub(crate) fn next(&mut self, memory: &mut Memory<'_>) -> Result<Option<Piece>> {
        let mut data = std::mem::take(&mut self.carry);
        if !self.holding {
            let mut buffer = memory.take();
            buffer.clear();
            buffer.reserve(self.block + (256 << 10));
            buffer.append(&mut data);
            data = buffer;
        }
        let piece = self.cut(&mut data)?;
        match &piece {
            Some(Piece::Block(_)) => self.holding = false,
            Some(_) => {
                self.holding = true;
                self.carry = data;
            }
            None => {
                self.holding = false;
                memory.put(data);
            }
        }
        Ok(piece)
    }

    fn cut(&mut self, data: &mut Vec<u8>) -> Result<Option<Piece>> {
        loop {
            let wanted = self.block.saturating_sub(data.len()).clamp(1, self.block);
            while !self.ended && data.len() < self.block {
                self.ended = self.input.fill(data, wanted)? == 0;
            }
            if self.skipping {
                match memchr(self.dialect.newline, data) {
                    Some(at) => {
                        data.drain(..=at);
                        self.skipping = false;
                        continue;
                    }
                    None if self.ended => return Ok(None),
                    None => {
                        data.clear();
                        continue;
                    }
                }
            }
            if data.is_empty() && self.ended {
                return Ok(None);
            }
            if self.ended && data.last() != Some(&self.dialect.newline) {
                data.push(self.dialect.newline);
            }
            if !self.started {
                self.started = true;
                let (cut, lines) = self.prologue(data);
                data.drain(..cut);
                if lines > 0 {
                    return Ok(Some(Piece::Skipped { lines }));
                }
                if data.is_empty() && self.ended {
                    return Ok(None);
                }
            }
            let found = boundaries(data, &self.dialect);
            if found.last == data.len() {
                return Ok(Some(Piece::Block(std::mem::take(data))));
            }
            if found.last > 0 {
                self.carry.extend_from_slice(&data[found.last..]);
                data.truncate(found.last);
                return Ok(Some(Piece::Block(std::mem::take(data))));
            }
            // No record ends here.
            if !self.ended && data.len() < self.max_record {
                let more = data.len().min(self.max_record);
                self.ended = self.input.fill(data, more)? == 0;
                continue;
            }
            let (reason, end) = match memchr(self.dialect.newline, data) {
                Some(at) if found.open && self.ended => {
                    ("a quote that never closes".into(), at + 1)
                }
                Some(at) => (
                    format!(
                        "a record longer than {} bytes (`max_record_bytes`); a quote that does not close?",
                        self.max_record
                    ),
                    at + 1,
                ),
                None => {
                    self.skipping = true;
                    (
                        format!(
                            "a line longer than {} bytes (`max_record_bytes`)",
                            self.max_record
                        ),
                        data.len(),
                    )
                }
            };
            let reject = Reject { line: 0, reason, raw: raw_text(&data[..end]) };
            data.drain(..end);
            return Ok(Some(Piece::Reject { reject, lines: 1 }));
        }
    }

    /// How many bytes and lines stand before the first row.
    fn prologue(&self, data: &[u8]) -> (usize, usize) {
        let mut at = 0;
        let mut lines = 0;
        for _ in 0..self.skip_lines {
            match memchr(self.dialect.newline, &data[at..]) {
                Some(end) => at += end + 1,
                None => return (data.len(), lines),
            }
            lines += 1;
        }
        if self.skip_header {
            let (_, end) = first_record(&data[at..], &self.dialect);
            lines += memchr::memchr_iter(self.dialect.newline, &data[at..at + end]).count();
            at += end;
        }
        (at, lines)
    }
}

/// Finds the last record end in a text that starts at a record.
fn boundaries(data: &[u8], dialect: &Dialect) -> Boundaries {
    if dialect.is_unusual() {
        return careful_boundaries(data, dialect);
    }
    let Some(quote) = dialect.quote.filter(|quote| memchr(*quote, data).is_some()) else {
        let last = memrchr(dialect.newline, data).map_or(0, |at| at + 1);
        return Boundaries { last, open: false };
    };
    // Only quotes that open a field matter: outside of those every line end is a record end.
    let mut outside = Vec::new();
    let mut outside_from = 0;
    let mut open = false;
    let mut doubled = usize::MAX;
    each_place(data, quote, |at| {
        if !open {
            let opens =
                at == 0 || data[at - 1] == dialect.delimiter || data[at - 1] == dialect.newline;
            if opens {
                outside.push((outside_from, at));
                open = true;
            }
        } else if at == doubled {
            doubled = usize::MAX;
        } else if data.get(at + 1) == Some(&quote) {
            doubled = at + 1;
        } else {
            open = false;
            outside_from = at + 1;
        }
        true
    });
    if !open {
        outside.push((outside_from, data.len()));
    }
    let last = outside
        .iter()
        .rev()
        .find_map(|(from, to)| Some(from + memrchr(dialect.newline, &data[*from..*to])? + 1));
    Boundaries { last: last.unwrap_or(0), open }
}

/// The same for dialects with comments or an escape character.
fn careful_boundaries(data: &[u8], dialect: &Dialect) -> Boundaries {
    let mut last = 0;
    while last < data.len() {
        match record_end(data, last, dialect) {
            Some(end) => last = end,
            None => {
                let open = memchr(dialect.newline, &data[last..]).is_some();
                return Boundaries { last, open };
            }
        }
    }
    Boundaries { last, open: false }
}

/// Behind the end of the record (or comment) that starts at `from`.
fn record_end(data: &[u8], from: usize, dialect: &Dialect) -> Option<usize> {
    if dialect.comment.is_some() && dialect.comment == data.get(from).copied() {
        return memchr(dialect.newline, &data[from..]).map(|end| from + end + 1);
    }
    let mut at = from;
    loop {
        // At the start of a field.
        if dialect.quote.is_some() && data.get(at).copied() == dialect.quote {
            let quote = dialect.quote?;
            at += 1;
            loop {
                let escape = dialect.escape.unwrap_or(quote);
                let found = at + memchr2(quote, escape, data.get(at..)?)?;
                if data[found] != quote || data.get(found + 1) == Some(&quote) {
                    at = found + 2;
                } else {
                    at = found + 1;
                    break;
                }
            }
        }
        loop {
            let escape = dialect.escape.unwrap_or(dialect.newline);
            let found = at + memchr3(dialect.delimiter, dialect.newline, escape, data.get(at..)?)?;
            if data[found] == dialect.newline {
                return Some(found + 1);
            }
            if data[found] == dialect.delimiter {
                at = found + 1;
                break;
            }
            at = found + 2;
        }
    }
}

/// The fields of the first record that is not a comment or an empty line, and where it ends.
pub(crate) fn first_record(data: &[u8], dialect: &Dialect) -> (Option<Vec<String>>, usize) {
    let mut at = 0;
    loop {
        if at >= data.len() {
            return (None, data.len());
        }
        let end = record_end(data, at, dialect).unwrap_or(data.len());
        let record = &data[at..end];
        let is_comment = dialect.comment.is_some() && dialect.comment == record.first().copied();
        if !is_comment && !record.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return (Some(super::block::fields_of(record, dialect)), end);
        }
        at = end;
    }
}

/// Behind the last record that ends in a text that starts at a record.
pub(crate) fn last_record_end(data: &[u8], dialect: &Dialect) -> usize {
    boundaries(data, dialect).last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::files::input::{Compression, TextEncoding};

    fn pieces(text: &str, dialect: &Dialect, block: usize, max_record: usize) -> Vec<Piece> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, text).unwrap();
        let none = Some(Compression::None);
        let input = Input::open(
            &crate::files::place::Place::disk(&path),
            "a",
            none,
            TextEncoding::Utf8,
            false,
        )
        .unwrap();
        let mut splitter = Splitter::new(input, dialect.clone(), 0, false, max_record);
        splitter.block = block;
        let mut fresh = Vec::new;
        let mut memory = Memory::new(&mut fresh);
        std::iter::from_fn(|| splitter.next(&mut memory).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn blocks_end_where_records_do(
            text in "[a,\"\n]{0,120}|([a-c]{0,3},\"[a,\n]{0,9}\"\n){0,9}",
            block in 1usize..40,
            careful: bool,
        ) {
            let dialect = Dialect {
                delimiter: b',',
                quote: Some(b'"'),
                escape: None,
                newline: b'\n',
                comment: careful.then_some(b'#'),
                short_rows: false,
                quoted_nulls: false,
            };
            let mut whole = text.clone().into_bytes();
            if !whole.ends_with(b"\n") && !whole.is_empty() {
                whole.push(b'\n');
            }
            let mut ends = std::collections::BTreeSet::new();
            let mut at = 0;
            while let Some(end) = record_end(&whole, at, &dialect).filter(|_| at < whole.len()) {
                ends.insert(end);
                at = end;
            }
            let mut found = Vec::new();
            for piece in pieces(&text, &dialect, block, 1 << 20) {
                match piece {
                    Piece::Block(data) => {
                        found.extend_from_slice(&data);
                        prop_assert!(ends.contains(&found.len()), "{:?} {}", ends, found.len());
                    }
                    // Behind a quote that never closes everything is another matter.
                    _ => return Ok(()),
                }
            }
            prop_assert_eq!(found, whole);
        }
    }

    #[test]
    fn long_records() {
        let dialect = Dialect {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            newline: b'\n',
            comment: None,
            short_rows: false,
            quoted_nulls: false,
        };
        let text = format!("a\n{}\nb\n\"x\n{}c\n", "y".repeat(20_000), "z\n".repeat(10_000));
        let pieces = pieces(&text, &dialect, 8, 50);
        let rejects: Vec<&str> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Reject { reject, .. } => Some(reject.raw.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(rejects.len(), 2, "{pieces:?}");
        assert!(rejects[0].starts_with("yyy") && rejects[1] == "\"x");
        let lines: usize = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Block(data) => data.iter().filter(|byte| **byte == b'\n').count(),
                Piece::Reject { lines, .. } | Piece::Skipped { lines } => *lines,
                Piece::At { .. } => 0,
            })
            .sum();
        assert_eq!(lines, text.lines().count());
    }
}
