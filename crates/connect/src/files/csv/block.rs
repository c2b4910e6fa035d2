//! A block of whole records → columns.
//!
//! A block is worked through in windows that stay in the processor's cache. In each, one pass finds
//! the separators, then column after column is parsed by a loop that knows its type. A window that
//! is not regular (a ragged row, an empty line, odd quoting) goes through the careful loop instead.

use arrow::array::ArrayRef;
use memchr::{memchr, memchr_iter, memchr2, memchr3, memrchr};
use tidemill_core::Result;

use super::Dialect;
use super::index::{Counted, Marks, separators};
use crate::files::column::{Column, Fields, NullTokens, Reading};
use crate::files::infer::Seen;
use crate::files::read::{Lines, Parsed, Reject, raw_text};

/// How many bytes a window has, about.
const WINDOW: usize = 192 << 10;

/// A field in quotes has this bit in its end.
const QUOTED: u32 = 1 << 31;

/// How the fields of a file become the columns of the table.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dialect: Dialect,
    /// For each field of a record, the column that it goes to.
    pub(crate) targets: Vec<usize>,
}

/// Memory that is used again from block to block.
#[derive(Default)]
pub(crate) struct Scratch {
    positions: Vec<u32>,
    spans: Vec<(u32, u32)>,
    /// Where the records of the spans start and end, and on which line.
    records: Vec<(u32, u32, u32)>,
    unescaped: Vec<u8>,
    misfits: Vec<u32>,
}

/// One column of a window of which only separators are known.
struct Plain<'a> {
    positions: &'a [u32],
    column: usize,
    columns: usize,
    rows: usize,
    /// The data, for the last column of a record, whose line may end in CRLF.
    trim: Option<&'a [u8]>,
}

impl Fields for Plain<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn get(&self, row: usize) -> (usize, usize, bool) {
        let at = row * self.columns + self.column;
        let start = self.positions[at].wrapping_add(1) as usize;
        let mut end = self.positions[at + 1] as usize;
        if let Some(data) = self.trim
            && end > start
            && data[end - 1] == b'\r'
        {
            end -= 1;
        }
        (start, end, false)
    }
}

/// One column of a window in which quotes stand only around fields.
struct Quoted<'a> {
    data: &'a [u8],
    quote: u8,
    positions: &'a [u32],
    column: usize,
    columns: usize,
    rows: usize,
    /// Whether quotes make no difference.
    bare: bool,
}

impl Fields for Quoted<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn get(&self, row: usize) -> (usize, usize, bool) {
        let at = row * self.columns + self.column;
        let start = self.positions[at].wrapping_add(1) as usize;
        let end = self.positions[at + 1] as usize;
        if self.data[start] == self.quote {
            // A quote at the start is an opening one, so the last byte is the closing one.
            return (start + 1, (end - 1).max(start + 1), !self.bare);
        }
        (start, end, false)
    }
}

/// One column of a window whose fields were looked at one by one.
struct Spans<'a> {
    spans: &'a [(u32, u32)],
    column: usize,
    columns: usize,
    rows: usize,
    /// Whether quotes make no difference.
    bare: bool,
}

impl Fields for Spans<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn get(&self, row: usize) -> (usize, usize, bool) {
        let (start, end) = self.spans[row * self.columns + self.column];
        (start as usize, (end & !QUOTED) as usize, end & QUOTED != 0 && !self.bare)
    }
}

/// A window after its first pass.
#[derive(Clone, Copy)]
enum Window {
    Plain { rows: usize },
    Quoted { rows: usize, quote: u8 },
    Spans { rows: usize },
}

/// Walks through the windows of a block.
struct Walk<'a> {
    data: &'a mut Vec<u8>,
    /// Where the block ends; behind it stand unescaped texts and padding.
    end: usize,
    at: usize,
    line: u32,
    layout: &'a Layout,
    quotes: bool,
    /// Some bytes are not UTF-8, so each record is looked at.
    suspicious: bool,
}

/// How many bytes can be read behind the last field.
const PADDING: usize = 32;

impl<'a> Walk<'a> {
    fn new(data: &'a mut Vec<u8>, layout: &'a Layout) -> Self {
        let end = data.len();
        let quotes = layout.dialect.quote.is_some_and(|quote| memchr(quote, data).is_some());
        let suspicious = simdutf8::basic::from_utf8(data).is_err();
        data.extend_from_slice(&[0; PADDING]);
        Walk { data, end, at: 0, line: 0, layout, quotes, suspicious }
    }

    /// The next window; `None` at the end.
    fn next(&mut self, scratch: &mut Scratch, rejects: &mut Vec<Reject>) -> Option<Window> {
        if self.at >= self.end {
            return None;
        }
        let dialect = &self.layout.dialect;
        let from = self.at;
        let mut to = self.end.min(from + WINDOW);
        if self.suspicious || dialect.is_unusual() {
            let rows = self.careful(to, scratch, rejects);
            return Some(Window::Spans { rows });
        }
        let quote = if self.quotes { dialect.quote } else { None };
        let marks = Marks { delimiter: dialect.delimiter, newline: dialect.newline, quote };
        if quote.is_none() && to < self.end {
            to = match memrchr(dialect.newline, &self.data[from..to]) {
                Some(last) => from + last + 1,
                None => match memchr(dialect.newline, &self.data[to..self.end]) {
                    Some(next) => to + next + 1,
                    None => self.end,
                },
            };
        }
        let counted = separators(&self.data[..self.end], from, to, marks, &mut scratch.positions);
        let columns = self.layout.targets.len();
        // With quotes a window may end within a record: only whole ones count.
        let rows = counted.separators / columns;
        if rows == 0 || !self.is_regular(rows, counted, &scratch.positions) {
            let rows = self.careful(to, scratch, rejects);
            return Some(Window::Spans { rows });
        }
        let last = scratch.positions[rows * columns] as usize;
        if quote.is_none() {
            self.at = last + 1;
            return Some(Window::Plain { rows });
        }
        if let Some(quote) = quote
            && counted.odd_quote > last
            && counted.inner_newlines == 0
            && memchr(b'\r', &self.data[from..=last]).is_none()
        {
            self.at = last + 1;
            return Some(Window::Quoted { rows, quote });
        }
        if !self.quoted_spans(rows, counted, scratch) {
            let rows = self.careful(to, scratch, rejects);
            return Some(Window::Spans { rows });
        }
        self.at = last + 1;
        Some(Window::Spans { rows })
    }

    /// Whether each record has exactly the expected number of fields.
    fn is_regular(&self, rows: usize, counted: Counted, positions: &[u32]) -> bool {
        let columns = self.layout.targets.len();
        let newline = self.layout.dialect.newline;
        let quoted = self.quotes;
        // Fields behind the last whole record are allowed only where a window may cut one.
        let rest = counted.separators - rows * columns;
        if counted.records != rows || (rest > 0 && !quoted) {
            return false;
        }
        if columns == 1 && !quoted {
            // An empty line is a row of its own here, but CR alone needs a look.
            return true;
        }
        (1..=rows).all(|row| {
            let at = positions[row * columns] as usize;
            self.data[at] == newline
        })
    }

    /// Turns the separators of a regular window with quotes into spans. `false` when the quoting
    /// is not as plain as it must be.
    fn quoted_spans(&mut self, rows: usize, counted: Counted, scratch: &mut Scratch) -> bool {
        let Some(quote) = self.layout.dialect.quote else { return false };
        let columns = self.layout.targets.len();
        let data = &self.data[..];
        let positions = &scratch.positions[..=rows * columns];
        let spans = &mut scratch.spans;
        spans.clear();
        spans.reserve(rows * columns);
        let mut used = 0;
        let mut column = 0;
        for pair in positions.windows(2) {
            let start = pair[0].wrapping_add(1);
            let mut end = pair[1];
            column += 1;
            if column == columns {
                column = 0;
                if end > start && data[end as usize - 1] == b'\r' {
                    end -= 1;
                }
            }
            if end > start && data[start as usize] == quote {
                if end - start < 2 || data[end as usize - 1] != quote {
                    return false;
                }
                used += 2;
                spans.push((start + 1, (end - 1) | QUOTED));
            } else {
                spans.push((start, end));
            }
        }
        // Quotes of a record that the window cuts do not belong to these rows.
        let last = positions[rows * columns] as usize;
        let total = if counted.separators == rows * columns && last + 1 == self.end {
            counted.quotes
        } else {
            memchr_iter(quote, &data[self.at..=last]).count()
        };
        if used != total && !unescape(self.data, spans, quote, &mut scratch.unescaped, total - used)
        {
            return false;
        }
        self.number_records(rows, counted, scratch);
        true
    }

    /// Notes where the records of a regular window are and on which lines.
    fn number_records(&mut self, rows: usize, counted: Counted, scratch: &mut Scratch) {
        let columns = self.layout.targets.len();
        scratch.records.clear();
        for row in 0..rows {
            let start = scratch.positions[row * columns].wrapping_add(1);
            let end = scratch.positions[(row + 1) * columns];
            scratch.records.push((start, end, self.line));
            self.line += 1;
            if counted.inner_newlines > 0 {
                let record = &self.data[start as usize..end as usize];
                self.line += memchr_iter(self.layout.dialect.newline, record).count() as u32;
            }
        }
    }

    /// The careful loop: any record, one field after the other, up to the first record end at or
    /// behind `to`.
    fn careful(&mut self, to: usize, scratch: &mut Scratch, rejects: &mut Vec<Reject>) -> usize {
        let columns = self.layout.targets.len();
        scratch.spans.clear();
        scratch.records.clear();
        scratch.unescaped.clear();
        let base = self.data.len();
        let dialect = &self.layout.dialect;
        let mut at = self.at;
        while at < to {
            let start = at;
            let line = self.line;
            let data = &self.data[..self.end];
            if let Some(skipped) = ignored_line(&data[at..], dialect, columns) {
                at += skipped;
                self.line += 1;
                continue;
            }
            let first = scratch.spans.len();
            let record = read_record(data, start, dialect, base, scratch);
            at = record.next;
            self.line += record.lines;
            let mut problem = record.problem.map(str::to_owned);
            if dialect.short_rows && problem.is_none() && record.fields < columns {
                let end = record.end as u32;
                scratch.spans.resize(first + columns, (end, end));
            } else if problem.is_none() && record.fields != columns {
                let noun = if record.fields == 1 { "field" } else { "fields" };
                problem = Some(format!("{} {noun} where the header has {columns}", record.fields));
            }
            if self.suspicious && std::str::from_utf8(&data[start..record.end]).is_err() {
                problem = Some("bytes that are not UTF-8 (set `encoding`?)".into());
            }
            match problem {
                Some(reason) => {
                    scratch.spans.truncate(first);
                    rejects.push(Reject { line, reason, raw: raw_text(&data[start..record.end]) });
                }
                None => scratch.records.push((start as u32, record.end as u32, line)),
            }
        }
        self.at = at;
        self.data.extend_from_slice(&scratch.unescaped);
        self.data.extend_from_slice(&[0; PADDING]);
        scratch.records.len()
    }
}

/// The length of an empty line or comment with its line end.
fn ignored_line(data: &[u8], dialect: &Dialect, columns: usize) -> Option<usize> {
    let is_comment = dialect.comment.is_some() && data.first().copied() == dialect.comment;
    if is_comment {
        return Some(memchr(dialect.newline, data).map_or(data.len(), |end| end + 1));
    }
    if columns == 1 {
        return None;
    }
    match data {
        [first, ..] if *first == dialect.newline => Some(1),
        [b'\r', second, ..] if *second == dialect.newline => Some(2),
        _ => None,
    }
}

struct Record {
    fields: usize,
    /// Where it ends, without its line end, and where the next starts.
    end: usize,
    next: usize,
    lines: u32,
    problem: Option<&'static str>,
}

/// Reads one record; its spans are pushed, unescaped texts stand from `base` on.
fn read_record(
    data: &[u8],
    from: usize,
    dialect: &Dialect,
    base: usize,
    scratch: &mut Scratch,
) -> Record {
    let mut record =
        Record { fields: 0, end: data.len(), next: data.len(), lines: 1, problem: None };
    let mut at = from;
    loop {
        record.fields += 1;
        let quoted = dialect.quote.is_some() && data.get(at).copied() == dialect.quote;
        let separator = if quoted {
            read_quoted(data, at, dialect, base, scratch, &mut record)
        } else {
            read_plain(data, at, dialect, base, scratch)
        };
        match data.get(separator) {
            Some(byte) if *byte == dialect.newline => {
                record.end = separator;
                record.next = separator + 1;
                break;
            }
            Some(_) => at = separator + 1,
            None => break,
        }
    }
    if record.end > from && data[record.end - 1] == b'\r' {
        record.end -= 1;
    }
    record
}

/// A field that does not start with the quote. Gives the place of its separator.
fn read_plain(
    data: &[u8],
    from: usize,
    dialect: &Dialect,
    base: usize,
    scratch: &mut Scratch,
) -> usize {
    let (delimiter, newline) = (dialect.delimiter, dialect.newline);
    let mut at = from;
    let mut escaped = false;
    let separator = loop {
        let found = match dialect.escape {
            None => memchr2(delimiter, newline, &data[at..]),
            Some(escape) => memchr3(delimiter, newline, escape, &data[at..]),
        };
        match found.map(|found| at + found) {
            None => break data.len(),
            Some(found) if Some(data[found]) == dialect.escape => {
                escaped = true;
                at = (found + 2).min(data.len());
            }
            Some(found) => break found,
        }
    };
    let mut end = separator;
    if data.get(separator) == Some(&newline) && end > from && data[end - 1] == b'\r' {
        end -= 1;
    }
    let text = &data[from..end];
    if escaped && text != b"\\N" {
        push_unescaped(text, dialect, base, scratch, 0);
    } else {
        scratch.spans.push((from as u32, end as u32));
    }
    separator
}

/// A field that starts with the quote. Gives the place of its separator.
fn read_quoted(
    data: &[u8],
    from: usize,
    dialect: &Dialect,
    base: usize,
    scratch: &mut Scratch,
    record: &mut Record,
) -> usize {
    let quote = data[from];
    let escape = dialect.escape.unwrap_or(quote);
    let mut at = from + 1;
    let mut escaped = false;
    let close = loop {
        match data.get(at..).and_then(|rest| memchr2(quote, escape, rest)).map(|found| at + found) {
            None => {
                record.problem = Some("a quote that never closes");
                record.lines += memchr_iter(dialect.newline, &data[from..]).count() as u32;
                scratch.spans.push((from as u32, data.len() as u32));
                return data.len();
            }
            Some(found) if data[found] != quote || data.get(found + 1) == Some(&quote) => {
                escaped = true;
                at = found + 2;
            }
            Some(found) => break found,
        }
    };
    let text = &data[from + 1..close];
    record.lines += memchr_iter(dialect.newline, text).count() as u32;
    if escaped {
        push_unescaped(text, dialect, base, scratch, QUOTED);
    } else {
        scratch.spans.push((from as u32 + 1, close as u32 | QUOTED));
    }
    let behind = &data[close + 1..];
    match behind {
        [byte, ..] if *byte == dialect.delimiter || *byte == dialect.newline => close + 1,
        [b'\r', byte, ..] if *byte == dialect.newline => close + 2,
        [] => data.len(),
        _ => {
            record.problem = Some("text behind a closing quote");
            memchr2(dialect.delimiter, dialect.newline, behind)
                .map_or(data.len(), |found| close + 1 + found)
        }
    }
}

/// Pushes the text without its escapes.
fn push_unescaped(text: &[u8], dialect: &Dialect, base: usize, scratch: &mut Scratch, flag: u32) {
    let start = base + scratch.unescaped.len();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let escapes = match dialect.escape {
            Some(escape) if *byte == escape => true,
            _ => flag == QUOTED && Some(*byte) == dialect.quote,
        };
        if escapes {
            if let Some(next) = bytes.next() {
                scratch.unescaped.push(match (dialect.escape, next) {
                    (Some(b'\\'), b'n') => b'\n',
                    (Some(b'\\'), b't') => b'\t',
                    (Some(b'\\'), b'r') => b'\r',
                    (_, byte) => *byte,
                });
            }
        } else {
            scratch.unescaped.push(*byte);
        }
    }
    let end = base + scratch.unescaped.len();
    scratch.spans.push((start as u32, end as u32 | flag));
}

/// Replaces doubled quotes in quoted spans. `false` unless exactly `extra` quotes are explained.
fn unescape(
    data: &mut Vec<u8>,
    spans: &mut [(u32, u32)],
    quote: u8,
    unescaped: &mut Vec<u8>,
    extra: usize,
) -> bool {
    unescaped.clear();
    let base = data.len();
    let mut explained = 0;
    for span in spans.iter_mut() {
        if span.1 & QUOTED == 0 {
            continue;
        }
        let text = &data[span.0 as usize..(span.1 & !QUOTED) as usize];
        let Some(mut found) = memchr(quote, text) else { continue };
        let start = base + unescaped.len();
        let mut from = 0;
        loop {
            if text.get(found + 1) != Some(&quote) {
                return false;
            }
            unescaped.extend_from_slice(&text[from..=found]);
            explained += 2;
            from = found + 2;
            match memchr(quote, &text[from..]) {
                Some(next) => found = from + next,
                None => break,
            }
        }
        unescaped.extend_from_slice(&text[from..]);
        *span = (start as u32, (base + unescaped.len()) as u32 | QUOTED);
    }
    if explained != extra {
        return false;
    }
    data.extend_from_slice(unescaped);
    data.extend_from_slice(&[0; PADDING]);
    true
}

/// The fields of one record as text.
pub(super) fn fields_of(record: &[u8], dialect: &Dialect) -> Vec<String> {
    let mut scratch = Scratch::default();
    let read = read_record(record, 0, dialect, record.len(), &mut scratch);
    let mut data = record.to_vec();
    data.extend_from_slice(&scratch.unescaped);
    scratch
        .spans
        .iter()
        .take(read.fields)
        .map(|(start, end)| {
            String::from_utf8_lossy(&data[*start as usize..(end & !QUOTED) as usize]).into_owned()
        })
        .collect()
}

/// Parses a block. `None` when a value did not fit an inferred type: then the block has to be
/// surveyed.
pub(crate) fn parse(
    data: &mut Vec<u8>,
    layout: &Layout,
    columns: &[Reading],
    names: &[String],
    nulls: &NullTokens,
    scratch: &mut Scratch,
) -> Result<Option<Parsed>> {
    let block = data.len();
    let mut out: Vec<Column> = columns.iter().map(Column::new).collect();
    let mut absent: Vec<bool> = vec![true; columns.len()];
    for target in &layout.targets {
        absent[*target] = false;
    }
    let mut parsed = Parsed::default();
    let mut lines = Lines::default();
    let mut walk = Walk::new(data, layout);
    let fields = layout.targets.len();
    let bare = layout.dialect.quoted_nulls;
    while let Some(window) = walk.next(scratch, &mut parsed.rejects) {
        let mut misfits = std::mem::take(&mut scratch.misfits);
        let (rows, first_line) = match window {
            Window::Plain { rows } | Window::Quoted { rows, .. } => (rows, walk.line),
            Window::Spans { rows } => (rows, 0),
        };
        if parsed.rows == 0 && rows > 0 {
            // Room for the whole block at once, from the size of its first window.
            let expected = (rows + 1) * (block / walk.at.clamp(1, block) + 1);
            for (column, absent) in out.iter_mut().zip(&absent) {
                if !absent {
                    column.reserve(expected.min(block));
                }
            }
        }
        let data: &[u8] = walk.data;
        let mut surprise = false;
        for (index, target) in layout.targets.iter().enumerate() {
            misfits.clear();
            let column = &mut out[*target];
            match window {
                Window::Plain { rows } => {
                    let trim = (index + 1 == fields).then_some(data);
                    let positions = &scratch.positions[..=rows * fields];
                    let plain = Plain { positions, column: index, columns: fields, rows, trim };
                    column.append(data, &plain, nulls, &mut misfits);
                }
                Window::Quoted { rows, quote } => {
                    let positions = &scratch.positions[..=rows * fields];
                    let quoted = Quoted {
                        data,
                        quote,
                        positions,
                        column: index,
                        columns: fields,
                        rows,
                        bare,
                    };
                    column.append(data, &quoted, nulls, &mut misfits);
                }
                Window::Spans { rows } => {
                    let spans = &scratch.spans[..];
                    let spans = Spans { spans, column: index, columns: fields, rows, bare };
                    column.append(data, &spans, nulls, &mut misfits);
                }
            }
            if misfits.is_empty() {
                continue;
            }
            if !columns[*target].declared {
                surprise = true;
                break;
            }
            for row in &misfits {
                let row = *row as usize;
                let (record, line, value) = match window {
                    Window::Plain { .. } | Window::Quoted { .. } => {
                        let start = scratch.positions[row * fields].wrapping_add(1) as usize;
                        let end = scratch.positions[(row + 1) * fields] as usize;
                        let at = row * fields + index;
                        let value = scratch.positions[at].wrapping_add(1) as usize
                            ..scratch.positions[at + 1] as usize;
                        (&data[start..end], first_line + row as u32, &data[value])
                    }
                    Window::Spans { .. } => {
                        let (start, end, line) = scratch.records[row];
                        let (from, to) = scratch.spans[row * fields + index];
                        let value = from as usize..(to & !QUOTED) as usize;
                        (&data[start as usize..end as usize], line, &data[value])
                    }
                };
                let row = (parsed.rows + row) as u32;
                // A row is rejected once, for its first bad value.
                if parsed.bad_rows.insert(row) {
                    parsed.rejects.push(Reject {
                        line,
                        reason: format!(
                            "column `{}`: `{}` is not {}",
                            names[*target],
                            raw_text(value.get(..80).unwrap_or(value)).trim_end(),
                            columns[*target].kind.name()
                        ),
                        raw: raw_text(record),
                    });
                }
            }
        }
        scratch.misfits = misfits;
        if surprise {
            walk.data.truncate(block);
            return Ok(None);
        }
        match window {
            Window::Plain { rows } | Window::Quoted { rows, .. } => {
                lines.push_run(first_line, rows);
                walk.line += rows as u32;
            }
            Window::Spans { .. } => {
                for (_, _, line) in &scratch.records {
                    lines.push_run(*line, 1);
                }
            }
        }
        parsed.rows += rows;
    }
    parsed.lines_read = walk.line;
    parsed.lines = lines;
    for (target, column) in out.iter_mut().enumerate() {
        if absent[target] {
            column.append_nulls(parsed.rows);
        }
        let seen = column.seen();
        if seen != Seen::NOTHING {
            parsed.seen.entry(&names[target]).seen.add(seen);
        }
    }
    parsed.columns = out.into_iter().map(Column::finish).collect::<Result<Vec<ArrayRef>>>()?;
    Ok(Some(parsed))
}

/// What is seen in the fields of a block, by field. Rows that cannot be read do not count. Fields
/// in `skip` are not looked at.
pub(crate) fn survey(
    data: &mut Vec<u8>,
    layout: &Layout,
    formats: &crate::files::infer::Formats,
    nulls: &NullTokens,
    skip: &[bool],
    scratch: &mut Scratch,
) -> Vec<Seen> {
    let fields = layout.targets.len();
    let mut seen = vec![Seen::NOTHING; fields];
    let mut rejects = Vec::new();
    let mut walk = Walk::new(data, layout);
    let bare = layout.dialect.quoted_nulls;
    while let Some(window) = walk.next(scratch, &mut rejects) {
        rejects.clear();
        let data: &[u8] = walk.data;
        for index in 0..fields {
            if skip[index] || seen[index].contains(Seen::TEXT) {
                continue;
            }
            match window {
                Window::Plain { rows } => {
                    let trim = (index + 1 == fields).then_some(data);
                    let positions = &scratch.positions[..=rows * fields];
                    let plain = Plain { positions, column: index, columns: fields, rows, trim };
                    survey_column(data, &plain, formats, nulls, &mut seen[index]);
                }
                Window::Quoted { rows, quote } => {
                    let positions = &scratch.positions[..=rows * fields];
                    let quoted = Quoted {
                        data,
                        quote,
                        positions,
                        column: index,
                        columns: fields,
                        rows,
                        bare,
                    };
                    survey_column(data, &quoted, formats, nulls, &mut seen[index]);
                }
                Window::Spans { rows } => {
                    let spans = &scratch.spans[..];
                    let spans = Spans { spans, column: index, columns: fields, rows, bare };
                    survey_column(data, &spans, formats, nulls, &mut seen[index]);
                }
            }
        }
    }
    seen
}

fn survey_column<F: Fields>(
    data: &[u8],
    fields: &F,
    formats: &crate::files::infer::Formats,
    nulls: &NullTokens,
    seen: &mut Seen,
) {
    for row in 0..fields.len() {
        let (start, end, quoted) = fields.get(row);
        let text = &data[start..end];
        if text.is_empty() || nulls.contains(text) {
            if quoted {
                seen.add(Seen::QUOTED_NULL);
            } else if !nulls.contains(text) {
                seen.add(Seen::TEXT);
            }
            continue;
        }
        seen.add(Seen::classify(text, formats));
    }
}
