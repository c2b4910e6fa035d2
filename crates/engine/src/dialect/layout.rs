//! The lines of a text for another text that says the same.
//!
//! A tree is written as one line. Its words are looked up in the text that it was read from, and
//! each is put on the line (and where there is room, in the column) that it has there, so that
//! places in messages are those of the file that a person sees.

use std::borrow::Cow;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use tidemill_core::Result;

use crate::error::syntax;

/// How far ahead a single word is looked for, and two in a row.
const NEAR: usize = 6;
const FAR: usize = 160;
/// How many words that are nowhere go with the one behind them.
const NEXT: usize = 3;

/// `text` on the lines of another text; as it is, when one of them cannot be read.
pub(crate) fn like_text(source: &str, text: &str) -> String {
    let tokens = Tokenizer::new(&GenericDialect {}, source).tokenize_with_location();
    match tokens.map(|tokens| like(&tokens, text)) {
        Ok(Ok(laid_out)) => laid_out,
        _ => text.to_owned(),
    }
}

/// `text` on the lines of `source`.
pub(super) fn like(source: &[TokenWithSpan], text: &str) -> Result<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| syntax(&error.to_string()))?;
    let says = |token: &&TokenWithSpan| {
        !matches!(token.token, Token::Whitespace(_) | Token::EOF | Token::SemiColon)
    };
    let source: Vec<(String, u64, u64)> = source
        .iter()
        .filter(says)
        .map(|token| (key(&token.token), token.span.start.line, token.span.start.column))
        .collect();
    let words: Vec<&TokenWithSpan> = tokens.iter().filter(says).collect();
    let keys: Vec<String> = words.iter().map(|token| key(&token.token)).collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut cursor = Cursor { lines: &lines, line: 0, column: 0, byte: 0 };
    let mut at = 0;
    let mut places: Vec<Option<(u64, u64)>> = Vec::with_capacity(words.len());
    for index in 0..words.len() {
        let found = find(&source, at, &keys, index);
        if let Some(found) = found {
            at = found + 1;
        }
        places.push(found.map(|found| (source[found].1, source[found].2)));
    }
    let mut out = Written { text: String::with_capacity(text.len() * 2), line: 1, column: 1 };
    let mut before: Option<&TokenWithSpan> = None;
    for (index, word) in words.iter().enumerate() {
        // What stood apart stays apart, and what did not does not.
        let apart = before.is_some_and(|before| before.span.end != word.span.start);
        // The parts of a name stay on one line: `._b` on a line of its own is no word.
        let within_name = !apart
            && before
                .is_some_and(|before| word.token == Token::Period || before.token == Token::Period);
        // A word that is nowhere goes with the next one that is.
        let near = places[index..].iter().take(NEXT).find_map(|place| *place);
        if let Some((line, column)) = near.filter(|_| !within_name) {
            out.go_to(line, column);
        }
        if apart && !out.text.ends_with([' ', '\n']) {
            out.push(" ");
        }
        // Behind a blank there may be more of them.
        if let Some((line, column)) = places[index].filter(|_| apart) {
            while out.line == line && out.column < column {
                out.push(" ");
            }
        }
        out.push(&cursor.written(word));
        before = Some(word);
    }
    Ok(out.text)
}

/// A place in the lines of a text that goes forwards: a tree is written as one line, which is not
/// counted from its start for each of its words.
struct Cursor<'a> {
    lines: &'a [&'a str],
    line: usize,
    column: usize,
    byte: usize,
}

impl<'a> Cursor<'a> {
    /// The token as it stands in the text.
    fn written(&mut self, token: &TokenWithSpan) -> Cow<'a, str> {
        let (start, end) = (token.span.start, token.span.end);
        let place = |number: u64| usize::try_from(number).unwrap_or(1).saturating_sub(1);
        let (first, last) = (place(start.line), place(end.line));
        let from = self.byte_of(first, place(start.column));
        if first == last {
            let to = self.byte_of(last, place(end.column));
            return Cow::Borrowed(self.line(first).get(from..to).unwrap_or_default());
        }
        let mut text = self.line(first).get(from..).unwrap_or_default().to_owned();
        for line in first + 1..last {
            text.push('\n');
            text.push_str(self.line(line));
        }
        let to = self.byte_of(last, place(end.column));
        text.push('\n');
        text.push_str(self.line(last).get(..to).unwrap_or_default());
        Cow::Owned(text)
    }

    fn line(&self, line: usize) -> &'a str {
        self.lines.get(line).copied().unwrap_or_default()
    }

    /// The byte of a line at which the letter of this number begins, or its end.
    fn byte_of(&mut self, line: usize, column: usize) -> usize {
        if line != self.line || column < self.column {
            (self.line, self.column, self.byte) = (line, 0, 0);
        }
        let rest = self.line(line).get(self.byte..).unwrap_or_default();
        let passed = rest.chars().take(column - self.column).map(char::len_utf8);
        self.byte += passed.sum::<usize>();
        self.column = column;
        self.byte
    }
}

fn key(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.to_lowercase(),
        other => other.to_string().to_lowercase(),
    }
}

fn find(source: &[(String, u64, u64)], at: usize, keys: &[String], index: usize) -> Option<usize> {
    let next = keys.get(index + 1);
    let window = source.get(at..)?;
    let both = window
        .windows(2)
        .take(FAR)
        .position(|pair| pair[0].0 == keys[index] && Some(&pair[1].0) == next);
    let alone = window.iter().take(NEAR).position(|(known, ..)| *known == keys[index]);
    match (both, alone) {
        (Some(both), Some(alone)) => Some(at + both.min(alone)),
        (both, alone) => both.or(alone).map(|place| at + place),
    }
}

/// The text so far, and where its end is.
struct Written {
    text: String,
    line: u64,
    column: u64,
}

impl Written {
    fn push(&mut self, part: &str) {
        self.text.push_str(part);
        for letter in part.chars() {
            if letter == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            } else {
                self.column += 1;
            }
        }
    }

    /// Forwards only.
    fn go_to(&mut self, line: u64, column: u64) {
        if self.line < line {
            while self.line < line {
                self.push("\n");
            }
            while self.column < column {
                self.push(" ");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_lines() {
        let source = "select\n  iff(a, 1, 2) as b,\n  nvl(c, 'x\ny') as d\nfrom t\nwhere e";
        let tokens = Tokenizer::new(&GenericDialect {}, source).tokenize_with_location().unwrap();
        let text =
            "SELECT CASE WHEN a THEN 1 ELSE 2 END AS b, coalesce(c, 'x\ny') AS d FROM t WHERE e";
        let expected = "SELECT\n      CASE WHEN a THEN 1 ELSE 2 END AS b,\n     coalesce(c, 'x\ny') AS d\nFROM t\nWHERE e";
        assert_eq!(like(&tokens, text).unwrap(), expected);
    }

    #[test]
    fn names_are_not_broken() {
        let source = "select _a from t\njoin u\non t._i = u._i";
        let tokens = Tokenizer::new(&GenericDialect {}, source).tokenize_with_location().unwrap();
        let laid_out = like(&tokens, "SELECT _a._i FROM t JOIN u ON t._i = u._i").unwrap();
        assert!(laid_out.starts_with("SELECT _a._i "), "{laid_out}");
    }
}
