//! Template text to tokens, by the rules of Jinja2's lexer as dbt configures it: `trim_blocks`
//! and `lstrip_blocks` off, one trailing newline dropped, line ends made `\n`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::source::{Loc, Source, Span};
use crate::text::is_space;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'s> {
    Data(Cow<'s, str>),
    /// The text of a docs block, as written.
    Raw(&'s str),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(&'s str),
    Text(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

impl Token<'_> {
    /// How messages name it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Data(_) | Token::Raw(_) => "template data / text".into(),
            Token::VariableBegin => "begin of print statement".into(),
            Token::VariableEnd => "end of print statement".into(),
            Token::BlockBegin => "begin of statement block".into(),
            Token::BlockEnd => "end of statement block".into(),
            Token::Name(name) => (*name).into(),
            Token::Text(_) => "string".into(),
            Token::Int(_) => "integer".into(),
            Token::Float(_) => "float".into(),
            Token::Operator(symbol) => (*symbol).into(),
            Token::End => "end of template".into(),
        }
    }
}

/// Longest first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

pub(crate) fn tokenize<'s>(
    source: &'s Arc<Source>,
    start: usize,
    end: usize,
) -> Result<Vec<(Token<'s>, Loc)>, Error> {
    let mut text = &source.text()[..end];
    if text.len() > start {
        text =
            text.strip_suffix("\r\n").or_else(|| text.strip_suffix(['\n', '\r'])).unwrap_or(text);
        if text.len() < start {
            text = &source.text()[..start];
        }
    }
    let mut lexer = Lexer { source, text, at: start, tokens: Vec::new() };
    lexer.run()?;
    let end = lexer.text.len();
    lexer.tokens.push((Token::End, Loc::new(end, end)));
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s Arc<Source>,
    text: &'s str,
    at: usize,
    tokens: Vec<(Token<'s>, Loc)>,
}

impl<'s> Lexer<'s> {
    fn fail(&self, message: impl Into<String>, start: usize, end: usize) -> Error {
        Error::new(ErrorKind::Syntax, message).with_span(Span::new(
            self.source.clone(),
            start,
            end.min(self.text.len()),
        ))
    }

    fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    fn push(&mut self, token: Token<'s>, start: usize) {
        self.tokens.push((token, Loc::new(start, self.at)));
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_space).len();
    }

    /// Finds the next `{{`, `{%` or `{#`.
    fn next_tag(&self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        while let Some(found) = self.text[at..].find('{') {
            at += found;
            if matches!(bytes.get(at + 1), Some(b'{' | b'%' | b'#')) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    fn data(&mut self, start: usize, end: usize, strip_end: bool) {
        let mut text = &self.text[start..end];
        if strip_end {
            text = text.trim_end_matches(is_space);
        }
        if !text.is_empty() {
            self.tokens.push((Token::Data(normalize(text)), Loc::new(start, start + text.len())));
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            let start = self.at;
            let Some(tag) = self.next_tag() else {
                self.data(start, self.text.len(), false);
                self.at = self.text.len();
                return Ok(());
            };
            let sign = self.text.as_bytes().get(tag + 2).copied();
            let signed = matches!(sign, Some(b'-' | b'+'));
            self.data(start, tag, sign == Some(b'-'));
            self.at = tag + 2 + usize::from(signed);
            match self.text.as_bytes()[tag + 1] {
                b'#' => self.comment(tag)?,
                b'{' => {
                    self.push(Token::VariableBegin, tag);
                    self.code(tag, "}}", Token::VariableEnd, false)?;
                }
                _ => {
                    if self.raw(tag)? {
                        continue;
                    }
                    self.push(Token::BlockBegin, tag);
                    let first = self.tokens.len();
                    self.code(tag, "%}", Token::BlockEnd, true)?;
                    if self.tokens[first].0 == Token::Name("docs") {
                        self.docs(tag)?;
                    }
                }
            }
        }
    }

    fn comment(&mut self, tag: usize) -> Result<(), Error> {
        let body = self.at;
        let Some(length) = self.rest().find("#}") else {
            return Err(self.fail("Missing end of comment tag", tag, tag + 2));
        };
        self.at += length + 2;
        if length > 0 && self.text.as_bytes()[body + length - 1] == b'-' {
            self.skip_space();
        }
        Ok(())
    }

    /// The rest of a tag `name`, after its opening and sign: its length and whether its end
    /// strips what follows.
    fn bare_tag(&self, at: usize, name: &str) -> Option<(usize, bool)> {
        let rest = &self.text[at..];
        let inner = rest.trim_start_matches(is_space).strip_prefix(name)?;
        let inner = inner.trim_start_matches(is_space);
        let (after, strips) = match inner.strip_prefix('-') {
            Some(after) => (after, true),
            None => (inner.strip_prefix('+').unwrap_or(inner), false),
        };
        let after = after.strip_prefix("%}")?;
        Some((rest.len() - after.len(), strips))
    }

    /// Finds `{% name %}` from here on: start of the tag, whether it strips before, its end,
    /// whether it strips behind.
    fn find_bare_tag(&self, name: &str) -> Option<(usize, bool, usize, bool)> {
        let mut at = self.at;
        while let Some(found) = self.text[at..].find("{%") {
            let tag = at + found;
            let sign = self.text.as_bytes().get(tag + 2).copied();
            let inner = tag + 2 + usize::from(matches!(sign, Some(b'-' | b'+')));
            if let Some((length, strips)) = self.bare_tag(inner, name) {
                return Some((tag, sign == Some(b'-'), inner + length, strips));
            }
            at = tag + 2;
        }
        None
    }

    /// Reads `{% raw %} ... {% endraw %}`; false when this is another tag.
    fn raw(&mut self, tag: usize) -> Result<bool, Error> {
        let Some((length, strips)) = self.bare_tag(self.at, "raw") else { return Ok(false) };
        self.at += length;
        if strips {
            self.skip_space();
        }
        let start = self.at;
        let Some((end, strips_before, after, strips_behind)) = self.find_bare_tag("endraw") else {
            return Err(self.fail("Missing end of raw directive", tag, self.at));
        };
        self.data(start, end, strips_before);
        self.at = after;
        if strips_behind {
            self.skip_space();
        }
        Ok(true)
    }

    /// The text of a docs block is no template: it goes up to `{% enddocs %}` as it is.
    fn docs(&mut self, tag: usize) -> Result<(), Error> {
        let start = self.at;
        let Some((end, _, after, strips)) = self.find_bare_tag("enddocs") else {
            return Err(self
                .fail("this docs block is not closed", tag, start)
                .with_hint("add `{% enddocs %}`"));
        };
        self.tokens.push((Token::Raw(&self.text[start..end]), Loc::new(start, end)));
        self.tokens.push((Token::BlockBegin, Loc::new(end, end + 2)));
        self.tokens.push((Token::Name("enddocs"), Loc::new(end, after)));
        self.at = after;
        self.tokens.push((Token::BlockEnd, Loc::new(after - 2, after)));
        if strips {
            self.skip_space();
        }
        Ok(())
    }

    /// The tokens of a tag up to its end.
    fn code(
        &mut self,
        tag: usize,
        close: &str,
        token: Token<'s>,
        plus_close: bool,
    ) -> Result<(), Error> {
        let mut open: Vec<(char, usize)> = Vec::new();
        loop {
            self.skip_space();
            let start = self.at;
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                return Err(self.unclosed(tag, close));
            };
            if open.is_empty() {
                let signed = rest.strip_prefix(['-', '+']).is_some_and(|r| r.starts_with(close))
                    && (plus_close || first == '-');
                if signed || rest.starts_with(close) {
                    self.at += close.len() + usize::from(signed);
                    self.push(token, start);
                    if signed && first == '-' {
                        self.skip_space();
                    }
                    return Ok(());
                }
            }
            if first.is_ascii_digit() {
                self.number()?;
            } else if first.is_alphanumeric() || first == '_' {
                let name = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .map_or(rest, |end| &rest[..end]);
                self.at += name.len();
                self.push(Token::Name(name), start);
            } else if first == '\'' || first == '"' {
                self.string(first)?;
            } else if let Some(symbol) = OPERATORS.iter().find(|symbol| rest.starts_with(**symbol))
            {
                match first {
                    '{' | '(' | '[' => open.push((first, start)),
                    '}' | ')' | ']' => {
                        let expected = match open.pop() {
                            None => {
                                return Err(self.fail(
                                    format!("unexpected '{first}'"),
                                    start,
                                    start + 1,
                                ));
                            }
                            Some(('{', _)) => '}',
                            Some(('(', _)) => ')',
                            Some(_) => ']',
                        };
                        if first != expected {
                            return Err(self.fail(
                                format!("unexpected '{first}', expected '{expected}'"),
                                start,
                                start + 1,
                            ));
                        }
                    }
                    _ => {}
                }
                self.at += symbol.len();
                self.push(Token::Operator(symbol), start);
            } else {
                let end = start + first.len_utf8();
                return Err(self.fail(format!("unexpected char {first:?} in a tag"), start, end));
            }
        }
    }

    fn unclosed(&self, tag: usize, close: &str) -> Error {
        self.fail(
            format!("unexpected end of template: this tag is not closed with `{close}`"),
            tag,
            tag + 2,
        )
    }

    fn number(&mut self) -> Result<(), Error> {
        let start = self.at;
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let after_dot = start > 0 && self.text.as_bytes()[start - 1] == b'.';
        if bytes[0] == b'0' && bytes.len() > 2 {
            let radix = match bytes[1] {
                b'x' | b'X' => 16,
                b'o' | b'O' => 8,
                b'b' | b'B' => 2,
                _ => 0,
            };
            let digits: usize = rest
                .char_indices()
                .skip(2)
                .take_while(|(_, c)| *c == '_' || (radix > 0 && c.is_digit(radix)))
                .count();
            if radix > 0 && digits > 0 {
                let text = rest[2..2 + digits].replace('_', "");
                let number = i128::from_str_radix(&text, radix).map_err(|_| {
                    self.fail("this number is too large", start, start + 2 + digits)
                })?;
                self.at += 2 + digits;
                self.push(Token::Int(number), start);
                return Ok(());
            }
        }
        let digits = |from: usize| -> usize {
            let mut end = from;
            while end < bytes.len()
                && (bytes[end].is_ascii_digit()
                    || (bytes[end] == b'_'
                        && end > from
                        && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)))
            {
                end += 1;
            }
            end
        };
        let mut whole = digits(0);
        let mut end = whole;
        if !after_dot {
            if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
                end = digits(end + 1);
            }
            if matches!(bytes.get(end), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
                if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                    end = digits(end + 1 + sign);
                }
            }
        }
        if end == whole && bytes[0] == b'0' {
            // No leading zeros: `012` is two numbers, which no grammar rule takes.
            let zeros = rest.find(|c| c != '0' && c != '_').unwrap_or(rest.len());
            whole = zeros.min(whole);
            end = whole;
        }
        let text = rest[..end].replace('_', "");
        self.at += end;
        if end > whole {
            let number =
                text.parse().map_err(|_| self.fail("this is not a number", start, start + end))?;
            self.push(Token::Float(number), start);
        } else {
            let number = text
                .parse()
                .map_err(|_| self.fail("this number is too large", start, start + end))?;
            self.push(Token::Int(number), start);
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Error> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                None => {
                    return Err(self.fail("this string is not closed", start, start + 1));
                }
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(byte) if *byte == quote as u8 => break,
                Some(_) => at += 1,
            }
        }
        let raw = normalize(&self.text[start + 1..at]);
        let text = if escaped {
            unescape(&raw).map_err(|message| self.fail(message, start, at + 1))?
        } else {
            raw.into_owned()
        };
        self.at = at + 1;
        self.push(Token::Text(text), start);
        Ok(())
    }
}

/// Line ends as `\n`.
fn normalize(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Python's escapes; an unknown one stays as it is.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escape) = chars.next() else {
            out.push('\\');
            break;
        };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escape),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            '0'..='7' => {
                let mut code = escape.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    match chars.peek().and_then(|next| next.to_digit(8)) {
                        Some(digit) => {
                            code = code * 8 + digit;
                            chars.next();
                        }
                        None => break,
                    }
                }
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            'x' | 'u' | 'U' => {
                let length = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let mut code = 0;
                for _ in 0..length {
                    let digit = chars
                        .next()
                        .and_then(|next| next.to_digit(16))
                        .ok_or_else(|| format!("truncated \\{escape} escape in this string"))?;
                    code = code * 16 + digit;
                }
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    Ok(out)
}
