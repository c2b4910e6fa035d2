//! JSON texts as PostgreSQL has them: `json` keeps its text, so that a value within it is a piece of that
//! text, and `jsonb` has one form: keys by length and then by their letters, each once, a blank behind
//! `:` and `,`.

use std::collections::BTreeMap;
use std::fmt::Write;

use datafusion::common::Result;

use super::simple::bad_value;

/// How deeply a text may nest.
const NESTING: usize = 1_000;

/// A JSON text that was read.
pub(super) struct Document<'t> {
    text: &'t str,
    root: Node,
}

/// A value and its place in the text.
struct Node {
    start: usize,
    end: usize,
    kind: Kind,
}

enum Kind {
    Null,
    /// A number or a boolean.
    Plain,
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Null,
    Boolean,
    Number,
    Text,
    List,
    Object,
}

/// A value of a document.
#[derive(Clone, Copy)]
pub(super) struct Part<'d> {
    text: &'d str,
    node: &'d Node,
}

impl<'t> Document<'t> {
    /// # Errors
    /// Where the text is no JSON.
    pub(super) fn read(text: &'t str) -> Result<Self> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let root = reader.value().filter(|_| {
            reader.skip();
            reader.at == text.len()
        });
        match root {
            Some(root) => Ok(Document { text, root }),
            None => {
                let start: String = text.chars().take(60).collect();
                Err(bad_value(format!("invalid input syntax for type json: `{start}`")))
            }
        }
    }

    pub(super) fn root(&self) -> Part<'_> {
        Part { text: self.text, node: &self.root }
    }
}

impl<'d> Part<'d> {
    pub(super) fn shape(self) -> Shape {
        match &self.node.kind {
            Kind::Null => Shape::Null,
            Kind::Plain if matches!(self.raw(), "true" | "false") => Shape::Boolean,
            Kind::Plain => Shape::Number,
            Kind::Text(_) => Shape::Text,
            Kind::List(_) => Shape::List,
            Kind::Object(_) => Shape::Object,
        }
    }

    /// As it is written.
    pub(super) fn raw(self) -> &'d str {
        &self.text[self.node.start..self.node.end]
    }

    /// A text without its quotes, and NULL as such.
    pub(super) fn text(self) -> Option<&'d str> {
        match &self.node.kind {
            Kind::Null => None,
            Kind::Text(text) => Some(text),
            _ => Some(self.raw()),
        }
    }

    /// The values of a list or an object, with their keys; `None` of anything else.
    pub(super) fn items(self) -> Option<Vec<(Option<&'d str>, Part<'d>)>> {
        let part = |node| Part { text: self.text, node };
        match &self.node.kind {
            Kind::List(items) => Some(items.iter().map(|item| (None, part(item))).collect()),
            Kind::Object(pairs) => {
                Some(pairs.iter().map(|(key, value)| (Some(key.as_str()), part(value))).collect())
            }
            _ => None,
        }
    }

    /// What stands under a key, or at a place that is counted from 0, from the end below it.
    pub(super) fn at(self, key: &str) -> Option<Part<'d>> {
        let node = match &self.node.kind {
            Kind::Object(pairs) => {
                pairs.iter().rev().find(|(known, _)| known == key).map(|(_, v)| v)
            }
            Kind::List(items) => {
                let index: i64 = key.parse().ok()?;
                let count = i64::try_from(items.len()).ok()?;
                let index = if index < 0 { index + count } else { index };
                items.get(usize::try_from(index).ok()?)
            }
            _ => None,
        };
        node.map(|node| Part { text: self.text, node })
    }

    /// The text of `jsonb`.
    pub(super) fn normal(self) -> String {
        let mut out = String::with_capacity(self.node.end - self.node.start);
        write_normal(self.text, &self.node.kind, self.raw(), &mut out);
        out
    }

    /// The text of `jsonb` without the keys of objects whose value is `null`.
    pub(super) fn without_nulls(self) -> String {
        match &self.node.kind {
            Kind::Object(_) => written_object(
                last_ones(self)
                    .into_iter()
                    .filter(|(_, value)| !matches!(value.node.kind, Kind::Null))
                    .map(|(key, value)| (key, value.without_nulls())),
            ),
            Kind::List(_) => {
                let items = self.items().unwrap_or_default().into_iter();
                written_list(items.map(|(_, item)| item.without_nulls()))
            }
            _ => self.normal(),
        }
    }

    /// `json` in its shortest form, without the keys of objects whose value is `null`.
    pub(super) fn short_without_nulls(self) -> String {
        let items = self.items().unwrap_or_default().into_iter();
        match &self.node.kind {
            Kind::Object(_) => {
                let kept = items.filter(|(_, value)| !matches!(value.node.kind, Kind::Null));
                let pairs: Vec<String> = kept
                    .map(|(key, value)| {
                        format!(
                            "{}:{}",
                            quoted(key.unwrap_or_default()),
                            value.short_without_nulls()
                        )
                    })
                    .collect();
                format!("{{{}}}", pairs.join(","))
            }
            Kind::List(_) => {
                let items: Vec<String> =
                    items.map(|(_, item)| item.short_without_nulls()).collect();
                format!("[{}]", items.join(","))
            }
            _ => self.raw().to_owned(),
        }
    }

    /// `a || b`: the keys of both objects, or the items of both lists.
    pub(super) fn joined(self, other: Part<'_>) -> Result<String> {
        let items = |part: Part<'_>| -> Vec<String> {
            match part.node.kind {
                Kind::List(_) => {
                    let items = part.items().unwrap_or_default().into_iter();
                    items.map(|(_, item)| item.normal()).collect()
                }
                _ => vec![part.normal()],
            }
        };
        let is_object = |part: Part<'_>| matches!(part.node.kind, Kind::Object(_));
        if is_object(self) && is_object(other) {
            let mut all: BTreeMap<(usize, String), String> = BTreeMap::new();
            for (key, value) in last_ones(self).into_iter().chain(last_ones(other)) {
                all.insert((key.len(), key.to_owned()), value.normal());
            }
            let pairs: Vec<(String, String)> =
                all.into_iter().map(|((_, key), value)| (key, value)).collect();
            return Ok(written_object(
                pairs.iter().map(|(key, value)| (key.as_str(), value.clone())),
            ));
        }
        // What is no list is one of one item beside anything else.
        Ok(written_list(items(self).into_iter().chain(items(other))))
    }

    /// `a - 'key'`: an object without a key, or a list without a text.
    pub(super) fn without(self, key: &str) -> Result<String> {
        match &self.node.kind {
            Kind::Object(_) => Ok(written_object(
                last_ones(self)
                    .into_iter()
                    .filter(|(known, _)| *known != key)
                    .map(|(known, value)| (known, value.normal())),
            )),
            Kind::List(_) => {
                let items = self.items().unwrap_or_default().into_iter();
                let is_it =
                    |item: &Part<'_>| matches!(&item.node.kind, Kind::Text(text) if text == key);
                let others = items.filter(|(_, item)| !is_it(item));
                Ok(written_list(others.map(|(_, item)| item.normal())))
            }
            _ => Err(bad_value("nothing can be taken from a scalar of `jsonb`")),
        }
    }
}

/// The keys of an object in the order of `jsonb`, with their last values.
fn last_ones(part: Part<'_>) -> Vec<(&str, Part<'_>)> {
    let mut all = BTreeMap::new();
    for (key, value) in part.items().unwrap_or_default() {
        let key = key.unwrap_or_default();
        all.insert((key.len(), key), value);
    }
    all.into_iter().map(|((_, key), value)| (key, value)).collect()
}

fn written_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn written_object<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{}: {value}", quoted(key))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A text in quotes, as JSON has it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_normal(text: &str, kind: &Kind, raw: &str, out: &mut String) {
    match kind {
        Kind::Null => out.push_str("null"),
        Kind::Plain => write_plain(raw, out),
        Kind::Text(value) => out.push_str(&quoted(value)),
        Kind::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                write_normal(text, &item.kind, &text[item.start..item.end], out);
            }
            out.push(']');
        }
        Kind::Object(pairs) => {
            let mut last: BTreeMap<(usize, &str), &Node> = BTreeMap::new();
            for (key, value) in pairs {
                last.insert((key.len(), key), value);
            }
            out.push('{');
            for (place, ((_, key), value)) in last.into_iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                out.push_str(&quoted(key));
                out.push_str(": ");
                write_normal(text, &value.kind, &text[value.start..value.end], out);
            }
            out.push('}');
        }
    }
}

/// Numbers are written out: `1e2` is `100`.
fn write_plain(raw: &str, out: &mut String) {
    let Some((digits, exponent)) = raw.split_once(['e', 'E']) else { return out.push_str(raw) };
    let Ok(exponent) = exponent.parse::<i32>() else { return out.push_str(raw) };
    if !(-300..=300).contains(&exponent) {
        return out.push_str(raw);
    }
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).unwrap_or_default() + exponent;
    let length = i32::try_from(all.len()).unwrap_or_default();
    out.push_str(sign);
    if point <= 0 {
        out.push_str("0.");
        (point..0).for_each(|_| out.push('0'));
        out.push_str(&all);
    } else if point >= length {
        let whole = all.trim_start_matches('0');
        match whole.is_empty() {
            true => out.push('0'),
            false => {
                out.push_str(whole);
                (length..point).for_each(|_| out.push('0'));
            }
        }
    } else {
        let (whole, fraction) = all.split_at(usize::try_from(point).unwrap_or_default());
        let whole = whole.trim_start_matches('0');
        let _ = write!(out, "{}.{fraction}", if whole.is_empty() { "0" } else { whole });
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes a sign, behind blanks, if it stands here.
    fn takes(&mut self, sign: u8) -> bool {
        self.skip();
        let found = self.next() == Some(sign);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Option<Node> {
        self.skip();
        let start = self.at;
        let kind = match self.next()? {
            b'{' => self.nested(Self::object)?,
            b'[' => self.nested(Self::list)?,
            b'"' => Kind::Text(self.quoted()?),
            _ => self.plain()?,
        };
        Some(Node { start, end: self.at, kind })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Kind>) -> Option<Kind> {
        if self.depth == NESTING {
            return None;
        }
        self.depth += 1;
        self.at += 1;
        let kind = read(self);
        self.depth -= 1;
        kind
    }

    fn object(&mut self) -> Option<Kind> {
        let mut pairs = Vec::new();
        if self.takes(b'}') {
            return Some(Kind::Object(pairs));
        }
        loop {
            self.skip();
            let key = self.quoted()?;
            if !self.takes(b':') {
                return None;
            }
            pairs.push((key, self.value()?));
            if self.takes(b'}') {
                return Some(Kind::Object(pairs));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn list(&mut self) -> Option<Kind> {
        let mut items = Vec::new();
        if self.takes(b']') {
            return Some(Kind::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.takes(b']') {
                return Some(Kind::List(items));
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn quoted(&mut self) -> Option<String> {
        if self.next() != Some(b'"') {
            return None;
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += 1;
            match self.next()? {
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                }
                b'"' => break,
                _ => {}
            }
        }
        self.at += 1;
        let raw = self.text.get(start..self.at)?;
        let plain = &raw[1..raw.len() - 1];
        if !escaped && plain.bytes().all(|byte| byte >= b' ') {
            return Some(plain.to_owned());
        }
        serde_json::from_str(raw).ok()
    }

    /// A number, a boolean or `null`.
    fn plain(&mut self) -> Option<Kind> {
        let rest = self.text.get(self.at..)?;
        let end = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        match word {
            "null" => Some(Kind::Null),
            "true" | "false" => Some(Kind::Plain),
            _ => is_number(word).then_some(Kind::Plain),
        }
    }
}

fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = word.strip_prefix('-').unwrap_or(word);
    let (rest, exponent) = match rest.split_once(['e', 'E']) {
        Some((rest, exponent)) => {
            (rest, digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        }
        None => (rest, true),
    };
    let (whole, fraction) = match rest.split_once('.') {
        Some((whole, fraction)) => (whole, digits(fraction)),
        None => (rest, true),
    };
    exponent && fraction && digits(whole) && (whole == "0" || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Document::read(text).map_or_else(|_| "!".to_owned(), |read| read.root().normal())
    }

    #[test]
    fn jsonb_has_one_form() {
        for (text, expected) in [
            (r#"{"b":1,"aa":2, "a":{"x":[1,2]} }"#, r#"{"a": {"x": [1, 2]}, "b": 1, "aa": 2}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            ("[]", "[]"),
            (" {} ", "{}"),
            (r#"["A\n\"é", 1.50, -0.10, true, null]"#, r#"["A\n\"é", 1.50, -0.10, true, null]"#),
            ("[1e2, 1.5e1, 1.25e1, 12e-3, 0e2]", "[100, 15, 12.5, 0.012, 0]"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "{a: 1}", "01", "1.", "nul", "\"a", "[1] 2", "\"\n\""] {
            assert_eq!(normal(text), "!", "{text}");
        }
        assert_eq!(normal(&"[".repeat(100_000)), "!");
    }

    #[test]
    fn parts_are_pieces_of_the_text() {
        let read = Document::read(r#"{"a": {"b":  1}, "c": ["x\ty"]}"#).unwrap();
        assert_eq!(read.root().at("a").unwrap().raw(), r#"{"b":  1}"#);
        let text = read.root().at("c").unwrap().at("-1").unwrap();
        assert_eq!((text.raw(), text.text()), (r#""x\ty""#, Some("x\ty")));
    }
}
