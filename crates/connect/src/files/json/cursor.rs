//! Reading JSON text token by token, without a tree.

use std::borrow::Cow;

/// Why a record is not delivered.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It cannot be read.
    Rejected(String),
    /// A value does not fit the type that was inferred.
    Surprise,
}

fn rejected<T>(reason: &str) -> Result<T, Problem> {
    Err(Problem::Rejected(reason.to_owned()))
}

/// What a value is. Of objects and arrays only the opening bracket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number,
    String,
    Object,
    Array,
}

/// How deep values may be nested.
pub(crate) const DEEPEST: usize = 128;

/// A place in the text of one record.
pub(crate) struct Cursor<'a> {
    pub(crate) data: &'a [u8],
    at: usize,
    end: usize,
    /// Where the latest number or string (without its quotes) is.
    token: (usize, usize),
    /// The latest string has escapes: its text stands in `text`.
    unescaped: bool,
    text: &'a mut Vec<u8>,
    key: (usize, usize),
    key_text: Option<Vec<u8>>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(data: &'a [u8], start: usize, end: usize, text: &'a mut Vec<u8>) -> Self {
        Cursor {
            data,
            at: start,
            end,
            token: (start, start),
            unescaped: false,
            text,
            key: (start, start),
            key_text: None,
        }
    }

    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        if self.at < self.end { self.data.get(self.at).copied() } else { None }
    }

    #[inline(always)]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.byte() {
            self.at += 1;
        }
    }

    /// Where the next value starts.
    pub(crate) fn peek_start(&mut self) -> usize {
        self.blanks();
        self.at
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn rewind(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn expect_object(&mut self) -> Result<(), Problem> {
        self.blanks();
        if self.byte() != Some(b'{') {
            return rejected("not a JSON object");
        }
        self.at += 1;
        Ok(())
    }

    pub(crate) fn expect_end(&mut self) -> Result<(), Problem> {
        self.blanks();
        if self.at < self.end {
            return rejected("text behind the JSON object");
        }
        Ok(())
    }

    /// Reads up to the value of the next key of an object; `false` behind the last.
    #[inline]
    pub(crate) fn next_key(&mut self, first: &mut bool) -> Result<bool, Problem> {
        self.blanks();
        match self.byte() {
            Some(b'}') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.blanks();
            }
            Some(_) if *first => {}
            None => return rejected("the JSON ends within an object"),
            _ => return rejected("`,` or `}` is missing"),
        }
        *first = false;
        if self.byte() != Some(b'"') {
            return rejected("a key in quotes is missing");
        }
        self.string()?;
        self.key = self.token;
        self.key_text = if self.unescaped { Some(self.text.clone()) } else { None };
        self.blanks();
        if self.byte() != Some(b':') {
            return rejected("`:` is missing behind a key");
        }
        self.at += 1;
        Ok(true)
    }

    /// Reads the key of a probe if that is what comes next, without blanks.
    #[inline(always)]
    pub(crate) fn next_is(&mut self, probe: &KeyProbe, first: bool) -> bool {
        let at = match first {
            true => self.at,
            false if self.data[self.at] == b',' => self.at + 1,
            false => return false,
        };
        let Some(bytes) = self.data[at..].first_chunk::<16>() else { return false };
        if (u128::from_le_bytes(*bytes) ^ probe.text) & probe.mask != 0
            || at + probe.length > self.end
        {
            return false;
        }
        self.at = at + probe.length;
        true
    }

    /// Reads up to the next element of an array; `false` behind the last.
    #[inline]
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Problem> {
        self.blanks();
        match self.byte() {
            Some(b']') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.blanks();
                if self.byte() == Some(b']') {
                    return rejected("a value is missing behind `,`");
                }
            }
            Some(_) if *first => {}
            None => return rejected("the JSON ends within an array"),
            _ => return rejected("`,` or `]` is missing"),
        }
        *first = false;
        Ok(true)
    }

    /// The key that was read last.
    pub(crate) fn key(&self) -> Cow<'a, [u8]> {
        match &self.key_text {
            Some(text) => Cow::Owned(text.clone()),
            None => Cow::Borrowed(&self.data[self.key.0..self.key.1]),
        }
    }

    /// Reads a plain value, or the bracket that opens one.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value, Problem> {
        self.blanks();
        match self.byte() {
            Some(b'"') => {
                self.string()?;
                Ok(Value::String)
            }
            Some(b'{') => {
                self.at += 1;
                Ok(Value::Object)
            }
            Some(b'[') => {
                self.at += 1;
                Ok(Value::Array)
            }
            Some(b'-' | b'0'..=b'9') => {
                self.read_number()?;
                Ok(Value::Number)
            }
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'n') => self.word(b"null", Value::Null),
            None => rejected("the JSON ends where a value should be"),
            _ => rejected("not a JSON value"),
        }
    }

    fn word(&mut self, word: &[u8], value: Value) -> Result<Value, Problem> {
        let end = self.at + word.len();
        if end > self.end || &self.data[self.at..end] != word {
            return rejected("not a JSON value");
        }
        self.token = (self.at, end);
        self.at = end;
        Ok(value)
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    #[inline]
    fn read_number(&mut self) -> Result<(), Problem> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.digits();
        if whole == 0 || (whole > 1 && self.data[self.at - whole] == b'0') {
            return rejected("not a JSON number");
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return rejected("not a JSON number");
            }
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return rejected("not a JSON number");
            }
        }
        self.token = (start, self.at);
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> usize {
        let rest = &self.data[self.at..self.end.max(self.at)];
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        count
    }

    /// Where the number, word or string without escapes is that was read last.
    pub(crate) fn token(&self) -> (usize, usize) {
        self.token
    }

    pub(crate) fn number(&self) -> &'a [u8] {
        &self.data[self.token.0..self.token.1]
    }

    /// The text of the string that was read last.
    pub(crate) fn text(&self) -> &[u8] {
        if self.unescaped { self.text } else { &self.data[self.token.0..self.token.1] }
    }

    /// Whether that text had escapes, so that it does not stand in the data.
    pub(crate) fn is_unescaped(&self) -> bool {
        self.unescaped
    }

    #[inline]
    fn string(&mut self) -> Result<(), Problem> {
        let start = self.at + 1;
        let mut at = start;
        // Eight bytes at a time up to the first that matters.
        for chunk in self.data[start..].as_chunks::<8>().0 {
            let found = special(u64::from_le_bytes(*chunk));
            if found != 0 {
                at += (found.trailing_zeros() / 8) as usize;
                break;
            }
            at += 8;
        }
        if at >= self.end {
            return rejected("a string that never closes");
        }
        match self.data[at] {
            b'"' => {
                self.token = (start, at);
                self.unescaped = false;
                self.at = at + 1;
                Ok(())
            }
            b'\\' => self.escaped_string(start, at),
            _ => rejected("a control character within a string"),
        }
    }

    #[cold]
    fn escaped_string(&mut self, start: usize, first: usize) -> Result<(), Problem> {
        self.text.clear();
        self.text.extend_from_slice(&self.data[start..first]);
        let mut at = first;
        loop {
            if at >= self.end {
                return rejected("a string that never closes");
            }
            match self.data[at] {
                b'"' => break,
                b'\\' => {
                    let escape = if at + 1 < self.end { self.data[at + 1] } else { 0 };
                    at += 2;
                    let byte = match escape {
                        b'"' | b'\\' | b'/' => escape,
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 8,
                        b'f' => 12,
                        b'u' => {
                            at = self.unicode(at)?;
                            continue;
                        }
                        _ => return rejected("an escape that JSON does not have"),
                    };
                    self.text.push(byte);
                }
                0..=31 => return rejected("a control character within a string"),
                _ => {
                    let rest = &self.data[at..self.end];
                    let plain = rest
                        .iter()
                        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=31))
                        .unwrap_or(rest.len());
                    self.text.extend_from_slice(&rest[..plain]);
                    at += plain;
                }
            }
        }
        self.token = (start, at);
        self.unescaped = true;
        self.at = at + 1;
        Ok(())
    }

    /// The four digits behind `\u`, and a second escape if they are the first half of a pair. A
    /// half without the other becomes U+FFFD.
    fn unicode(&mut self, at: usize) -> Result<usize, Problem> {
        let Some(first) = self.hex(at) else { return rejected("`\\u` without four digits") };
        let mut next = at + 4;
        let mut letter = char::from_u32(first);
        if (0xD800..0xDC00).contains(&first)
            && self.data.get(next..next + 2) == Some(b"\\u")
            && let Some(second) = self.hex(next + 2)
            && (0xDC00..0xE000).contains(&second)
        {
            letter = char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
            next += 6;
        }
        let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
        self.text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(next)
    }

    fn hex(&self, at: usize) -> Option<u32> {
        if at + 4 > self.end {
            return None;
        }
        self.data[at..at + 4]
            .iter()
            .try_fold(0, |value, byte| Some(value * 16 + char::from(*byte).to_digit(16)?))
    }

    /// Reads over a value of any kind.
    pub(crate) fn skip_value(&mut self, depth: usize) -> Result<(), Problem> {
        if depth > DEEPEST {
            return rejected("nested deeper than 128 levels");
        }
        let mut first = true;
        match self.value()? {
            Value::Object => {
                while self.next_key(&mut first)? {
                    self.skip_value(depth + 1)?;
                }
            }
            Value::Array => {
                while self.next_element(&mut first)? {
                    self.skip_value(depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A key as it stands in compact JSON, with its quotes and colon, if that is short enough to be
/// compared at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyProbe {
    text: u128,
    mask: u128,
    length: usize,
}

impl KeyProbe {
    pub(crate) fn new(key: &[u8]) -> Option<KeyProbe> {
        let length = key.len() + 3;
        if length > 16 || key.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..=31)) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[0] = b'"';
        bytes[1..=key.len()].copy_from_slice(key);
        bytes[length - 2] = b'"';
        bytes[length - 1] = b':';
        let mask = u128::MAX >> (8 * (16 - length));
        Some(KeyProbe { text: u128::from_le_bytes(bytes), mask, length })
    }
}

/// The high bit of each byte that is a quote, a backslash or a control character (and maybe of
/// later ones: only the first set bit counts).
#[inline(always)]
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5C)) | control
}
