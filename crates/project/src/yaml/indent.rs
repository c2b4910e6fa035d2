//! Lines of `[...]`, `{...}` and quoted texts that stand further to the left than YAML 1.2 allows:
//!
//! ```yaml
//! values: [
//!   'a'
//! ]
//! ```
//!
//! The YAML that dbt reads does not look at the indentation there. Such lines are read with blanks in
//! front, which mean nothing in these places, and positions are told as they are in the file.

use std::collections::BTreeSet;

/// Blanks in front of a line: more than anything is indented.
const PAD: usize = 128;
/// How often a file is read again.
const MAX_TURNS: usize = 200;

/// A file's text with blanks in front of some lines.
#[derive(Debug, Default)]
pub(super) struct Indent {
    /// Where these lines start in the file, in order.
    lines: Vec<usize>,
    turns: usize,
}

impl Indent {
    /// The text to be read.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + self.lines.len() * PAD);
        let mut from = 0;
        for line in &self.lines {
            out.push_str(&text[from..*line]);
            out.extend(std::iter::repeat_n(' ', PAD));
            from = *line;
        }
        out.push_str(&text[from..]);
        out
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Where a byte of the text that is read stands in the file.
    pub(super) fn origin(&self, at: usize) -> usize {
        let (mut low, mut high) = (0, self.lines.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.lines[middle] + middle * PAD <= at { low = middle + 1 } else { high = middle }
        }
        match low {
            0 => at,
            // Within the blanks: where the line starts.
            before => (at.saturating_sub(before * PAD)).max(self.lines[before - 1]),
        }
    }

    /// Indents what an error of the parser is about, by its text and its place in the file. `false`
    /// where that does not help.
    pub(super) fn deepen(&mut self, text: &str, info: &str, at: usize) -> bool {
        if !info.contains("invalid indentation") || self.turns >= MAX_TURNS {
            return false;
        }
        self.turns += 1;
        let mut lines: BTreeSet<usize> = self.lines.iter().copied().collect();
        let before = lines.len();
        if info.contains("quoted") {
            let end = end_of_quoted(text, at);
            lines.extend(starts(text, at, end));
        } else {
            let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
            let end = text[at..].find([']', '}']).map_or(at, |found| at + found);
            lines.insert(start);
            lines.extend(starts(text, at, end));
        }
        self.lines = lines.into_iter().collect();
        self.lines.len() > before
    }
}

/// Where the lines start that begin between two places.
fn starts(text: &str, from: usize, to: usize) -> impl Iterator<Item = usize> {
    text[from..to].match_indices('\n').map(move |(found, _)| from + found + 1)
}

/// Where a quoted text ends that starts at a place.
fn end_of_quoted(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let Some(quote) = bytes.get(at).copied() else { return at };
    let mut end = at + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'\\' if quote == b'"' => end += 1,
            byte if *byte == quote => break,
            _ => {}
        }
        end += 1;
    }
    end.min(text.len())
}
