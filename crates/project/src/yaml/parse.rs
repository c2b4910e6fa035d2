//! From text to a tree.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use tidemill_core::{Diagnostic, Diagnostics};

use super::indent::Indent;
use super::scalar::{float, integer, resolve};
use super::{Entry, Kind, Yaml};
use crate::file::SourceFile;

/// How deep values may be nested.
const MAX_DEPTH: usize = 100;
/// How many values a file may have, expanded aliases included.
const MAX_NODES: usize = 2_000_000;
/// How many values aliases may add.
const MAX_ALIASED: usize = 100_000;

/// A file's value and what there is to say about it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The value; null for an empty file and for one that is not YAML.
    pub root: Yaml,
    /// Syntax errors and keys that occur twice.
    pub diagnostics: Diagnostics,
}

/// Reads a file. A file that is not YAML gives one error and null.
pub fn parse(file: &SourceFile) -> Parsed {
    parse_as(file, false)
}

/// Reads a file as dbt reads those of a project: without the blanks at its end, so a block that is its
/// last value ends without a line break.
pub fn parse_stripped(file: &SourceFile) -> Parsed {
    parse_as(file, true)
}

fn parse_as(file: &SourceFile, stripped: bool) -> Parsed {
    let mut indent = Indent::default();
    loop {
        let text = match indent.is_empty() {
            true => Cow::Borrowed(&*file.text),
            false => Cow::Owned(indent.text(&file.text)),
        };
        let mut builder = Builder::new(file, &text, &indent, stripped);
        let diagnostic = match builder.document() {
            Ok(root) => return Parsed { root, diagnostics: builder.diagnostics },
            Err(diagnostic) => diagnostic,
        };
        let (refused, mut diagnostics) = (builder.refused, builder.diagnostics);
        let again = refused.is_some_and(|(info, at)| indent.deepen(&file.text, &info, at));
        if !again {
            diagnostics.push(*diagnostic);
            return Parsed { root: Yaml::null(0), diagnostics };
        }
    }
}

type Built<T> = Result<T, Box<Diagnostic>>;

struct Builder<'a> {
    file: &'a SourceFile,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// The text that is parsed, and how it stands to the file's.
    text: &'a str,
    indent: &'a Indent,
    /// Whether the blanks at the end of the file are none of it.
    stripped: bool,
    /// What the parser has refused, and where in the file.
    refused: Option<(String, usize)>,
    /// Byte offset of each character, when the text is not plain ASCII.
    bytes: Option<Vec<u32>>,
    /// Anchored values with their number of nodes.
    anchors: HashMap<usize, (Yaml, usize)>,
    nodes: usize,
    aliased: usize,
    diagnostics: Diagnostics,
}

impl<'a> Builder<'a> {
    fn new(file: &'a SourceFile, text: &'a str, indent: &'a Indent, stripped: bool) -> Self {
        let bytes = (!text.is_ascii()).then(|| {
            let mut offsets: Vec<u32> = text.char_indices().map(|(at, _)| at as u32).collect();
            offsets.push(text.len() as u32);
            offsets
        });
        Builder {
            file,
            parser: Parser::new_from_str(text),
            text,
            indent,
            stripped,
            refused: None,
            bytes,
            anchors: HashMap::new(),
            nodes: 0,
            aliased: 0,
            diagnostics: Diagnostics::new(),
        }
    }

    fn byte(&self, index: usize) -> usize {
        let at = match &self.bytes {
            Some(offsets) => offsets[index.min(offsets.len() - 1)] as usize,
            None => index.min(self.text.len()),
        };
        self.indent.origin(at)
    }

    fn range(&self, span: Span) -> (usize, usize) {
        let start = self.byte(span.start.index());
        (start, self.byte(span.end.index()).max(start))
    }

    fn next(&mut self) -> Built<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = self.byte(error.marker().index());
                self.refused = Some((error.info().to_owned(), at));
                Err(Box::new(self.syntax_error(&error)))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn syntax_error(&self, error: &saphyr_parser::ScanError) -> Diagnostic {
        let at = self.byte(error.marker().index());
        let rest = &self.file.text[at..];
        let end = at + rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        self.not_yaml(at, end, error.info())
    }

    fn not_yaml(&self, at: usize, end: usize, info: &str) -> Diagnostic {
        let text = &self.file.text;
        let line_start = text[..at].rfind('\n').map_or(0, |found| found + 1);
        let line_end = text[at..].find('\n').map_or(text.len(), |found| at + found);
        let line = &text[line_start..line_end];
        let diagnostic =
            Diagnostic::error("yaml-syntax", format!("`{}` is not valid YAML", self.file.shown()))
                .at(self.file.position(at, end))
                .label(info.to_owned());
        let indent = &line[..line.len() - line.trim_start().len()];
        if indent.contains('\t') || info.contains("tab") {
            return diagnostic.hint("indent with spaces: YAML allows no tabs there");
        }
        if line.contains("{{") || line.contains("{%") {
            return diagnostic.hint("put quotes around a value that holds `{{ ... }}`");
        }
        if line.matches(':').count() > 1 {
            return diagnostic.hint("put quotes around a value that holds `: `");
        }
        diagnostic
    }

    fn problem(
        &self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
    ) -> Box<Diagnostic> {
        let (start, end) = self.range(span);
        Box::new(Diagnostic::error(code, message).at(self.file.position(start, end)))
    }

    fn document(&mut self) -> Built<Yaml> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => {
                    if root.is_some() {
                        return Err(self.problem(
                            "yaml-syntax",
                            format!("`{}` holds more than one YAML document", self.file.shown()),
                            span,
                        ));
                    }
                    root = Some(self.value(event, span, 0)?);
                }
            }
        }
        Ok(root.unwrap_or_else(|| Yaml::null(0)))
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Built<Yaml> {
        if depth > MAX_DEPTH {
            return Err(self.problem(
                "yaml-limit",
                format!("values are nested more than {MAX_DEPTH} deep"),
                span,
            ));
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.problem(
                "yaml-limit",
                format!("the file has more than {MAX_NODES} values"),
                span,
            ));
        }
        let (start, end) = self.range(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar(text, style, tag, span)?;
                // A null that was not written stands before the next token: no width.
                let yaml = Yaml { kind, start, end };
                self.anchor(anchor, &yaml, 1);
                Ok(yaml)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some((value, count)) => {
                    self.aliased += count;
                    if self.aliased > MAX_ALIASED {
                        return Err(self.problem(
                            "yaml-limit",
                            format!("aliases expand to more than {MAX_ALIASED} values"),
                            span,
                        ));
                    }
                    Ok(value.clone())
                }
                None => Err(self.problem("yaml-syntax", "an alias names its own anchor", span)),
            },
            Event::SequenceStart(anchor, _) => {
                let before = self.nodes + self.aliased;
                let mut items = Vec::new();
                let last = loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break span;
                    }
                    items.push(self.value(event, span, depth + 1)?);
                };
                let end = self.end_of(items.last().map(|item| item.end), last, start);
                let yaml = Yaml { kind: Kind::List(items), start, end };
                let count = self.nodes + self.aliased - before + 1;
                self.anchor(anchor, &yaml, count);
                Ok(yaml)
            }
            Event::MappingStart(anchor, _) => {
                let before = self.nodes + self.aliased;
                let (entries, last) = self.mapping(depth)?;
                let end = self.end_of(entries.last().map(|entry| entry.value.end), last, start);
                let start = entries.first().map_or(start, |entry| entry.key_start.min(start));
                let yaml = Yaml { kind: Kind::Map(entries), start, end };
                let count = self.nodes + self.aliased - before + 1;
                self.anchor(anchor, &yaml, count);
                Ok(yaml)
            }
            _ => Err(self.problem("yaml-syntax", "unexpected end of a value", span)),
        }
    }

    /// A block ends with its last item, `[...]` and `{...}` with their bracket.
    fn end_of(&self, last_item: Option<usize>, closing: Span, start: usize) -> usize {
        let (closing_start, closing_end) = self.range(closing);
        let bracket = self.file.text.as_bytes().get(closing_start);
        if closing_end > closing_start && matches!(bracket, Some(b']' | b'}')) {
            return closing_end;
        }
        last_item.unwrap_or(start).max(start)
    }

    fn mapping(&mut self, depth: usize) -> Built<(Vec<Entry>, Span)> {
        let mut own: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        let last = loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break span;
            }
            let plain_text = match &event {
                Event::Scalar(text, _, _, _) => Some(text.to_string()),
                _ => None,
            };
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.value(event, span, depth + 1)?;
            let (value_event, value_span) = self.next()?;
            let value = self.value(value_event, value_span, depth + 1)?;
            if is_merge {
                self.merge(&mut merged, value)?;
                continue;
            }
            let text = match (plain_text, key.scalar_text()) {
                (Some(text), _) => text,
                (None, Some(text)) => text,
                (None, None) => {
                    let (start, end) = self.range(span);
                    return Err(Box::new(self.not_yaml(start, end, "a key must be text")));
                }
            };
            let entry = Entry { key: text, key_start: key.start, key_end: key.end, value };
            match places.get(&entry.key) {
                Some(&place) => {
                    self.diagnostics.push(
                        Diagnostic::warning(
                            "duplicate-key",
                            format!("the key `{}` occurs twice", entry.key),
                        )
                        .at(entry.position(self.file))
                        .label("this one counts")
                        .hint("remove one of the two"),
                    );
                    own[place] = entry;
                }
                None => {
                    places.insert(entry.key.clone(), own.len());
                    own.push(entry);
                }
            }
        };
        if merged.is_empty() {
            return Ok((own, last));
        }
        merged.retain(|entry| !places.contains_key(&entry.key));
        merged.append(&mut own);
        Ok((merged, last))
    }

    /// `<<`: the first mapping that has a key gives it; the mapping's own keys win.
    fn merge(&self, merged: &mut Vec<Entry>, value: Yaml) -> Built<()> {
        let (start, end) = (value.start, value.end);
        let maps = match value.kind {
            Kind::Map(entries) => vec![entries],
            Kind::List(items) if items.iter().all(Yaml::is_map) => items
                .into_iter()
                .map(|item| match item.kind {
                    Kind::Map(entries) => entries,
                    _ => Vec::new(),
                })
                .collect(),
            _ => {
                return Err(Box::new(
                    Diagnostic::error("yaml-syntax", "`<<` merges a mapping or a list of mappings")
                        .at(self.file.position(start, end)),
                ));
            }
        };
        for entry in maps.into_iter().flatten() {
            if !merged.iter().any(|known| known.key == entry.key) {
                merged.push(entry);
            }
        }
        Ok(())
    }

    fn anchor(&mut self, id: usize, value: &Yaml, count: usize) {
        if id > 0 {
            self.anchors.insert(id, (value.clone(), count));
        }
    }

    /// A block's text; that of the last one of a file ends as the file does.
    fn block(&self, text: Cow<'a, str>, span: Span) -> String {
        let whole = &*self.file.text;
        let rest = whole.get(self.byte(span.end.index())..).unwrap_or_default();
        match rest.trim().is_empty() {
            true if self.stripped => text.trim_end().to_owned(),
            true if !whole.ends_with(['\n', '\r']) => {
                text.strip_suffix('\n').unwrap_or(&text).to_owned()
            }
            _ => text.into_owned(),
        }
    }

    fn scalar(
        &self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<Cow<'a, Tag>>,
        span: Span,
    ) -> Built<Kind> {
        let Some(tag) = tag else {
            return Ok(match style {
                ScalarStyle::Plain => resolve(&text),
                ScalarStyle::Literal | ScalarStyle::Folded => Kind::Text(self.block(text, span)),
                _ => Kind::Text(text.into_owned()),
            });
        };
        let core = tag.is_yaml_core_schema();
        let wrong = |what: &str| {
            self.problem("yaml-syntax", format!("`{text}` is not {what}, as its tag says"), span)
        };
        match tag.suffix.as_str() {
            "str" if core => Ok(Kind::Text(text.into_owned())),
            "int" if core => integer(&text).map(Kind::Int).ok_or_else(|| wrong("a whole number")),
            "float" if core => float(&text)
                .or_else(|| text.parse().ok())
                .map(Kind::Float)
                .ok_or_else(|| wrong("a number")),
            "bool" if core => match resolve(&text) {
                Kind::Bool(flag) => Ok(Kind::Bool(flag)),
                _ => Err(wrong("true or false")),
            },
            "null" if core => Ok(Kind::Null),
            "timestamp" | "binary" if core => Ok(Kind::Text(text.into_owned())),
            "" => Ok(Kind::Text(text.into_owned())),
            _ => Err(self.problem(
                "yaml-syntax",
                format!("the tag `{}{}` is not known", tag.handle, tag.suffix),
                span,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Parsed {
        parse(&SourceFile::new("models/schema.yml", text))
    }

    #[test]
    fn the_last_block_of_a_stripped_file_has_no_break() {
        for text in ["a: b\nb: >\n  one\n  two\n", "b: |+\n  one two  \n\n\n", "b: |\n  one two"] {
            let root = parse_stripped(&SourceFile::new("models/schema.yml", text)).root;
            assert_eq!(root.get("b").unwrap().to_json(), json!("one two"), "{text:?}");
        }
        let root =
            parse_stripped(&SourceFile::new("models/schema.yml", "b: |\n  one\nc: d\n")).root;
        assert_eq!(root.get("b").unwrap().to_json(), json!("one\n"));
    }

    #[test]
    fn the_last_block_of_a_file_ends_as_the_file_does() {
        let read = |text: &str| read(text).root.get("b").unwrap().to_json();
        for sign in ["|", ">"] {
            assert_eq!(
                read(&format!("b: {sign}\n  é\n  two")).as_str().unwrap().lines().last(),
                read(&format!("b: {sign}\n  é\n  two\n")).as_str().unwrap().lines().last()
            );
            assert!(!read(&format!("b: {sign}\n  é\n  two")).as_str().unwrap().ends_with('\n'));
            assert!(read(&format!("b: {sign}\n  é\n  two\n")).as_str().unwrap().ends_with('\n'));
            assert!(read(&format!("b: {sign}\n  two\nc: d")).as_str().unwrap().ends_with('\n'));
        }
    }

    #[test]
    fn anchors_and_merge_keys_are_expanded() {
        let parsed = read("a: &x {p: 1, q: 2}\nb: &y {q: 3, r: 4}\nc:\n  <<: [*x, *y]\n  p: 9\n");
        assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics);
        assert_eq!(parsed.root.get("c").unwrap().to_json(), json!({"q": 2, "r": 4, "p": 9}));
    }

    #[test]
    fn places_are_bytes_of_the_file() {
        let text = "é: ü\nmodels:\n  - name: \"größe\"\n    tags: [a, b]\n";
        let parsed = read(text);
        let name = parsed.root.get("models").unwrap().items()[0].get("name").unwrap();
        assert_eq!(&text[name.start..name.end], "\"größe\"");
        let tags = parsed.root.get("models").unwrap().items()[0].get("tags").unwrap();
        assert_eq!(&text[tags.start..tags.end], "[a, b]");
    }

    #[test]
    fn brackets_and_quoted_texts_may_stand_to_the_left() {
        let text = "a:\n  b:\n    values: [\n 'x', {p: 1,\nq: 2},\n  y\n    ]\n    d: \"one\n  two\n\n three\"\n    e: é\nf: 1\n";
        let parsed = read(text);
        assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics);
        assert_eq!(
            parsed.root.to_json(),
            json!({"a": {"b": {"values": ["x", {"p": 1, "q": 2}, "y"], "d": "one two\nthree", "e": "é"}}, "f": 1})
        );
        let b = parsed.root.get("a").unwrap().get("b").unwrap();
        let (values, e) = (b.get("values").unwrap(), b.get("e").unwrap());
        assert!(text[values.start..values.end].starts_with("[\n 'x'"));
        assert!(text[values.start..values.end].ends_with("    ]"));
        assert_eq!(&text[e.start..e.end], "é");
        assert!(read("a: [\n b\n").diagnostics.to_string().contains("models/schema.yml:"));
    }

    #[test]
    fn a_key_that_occurs_twice_is_a_warning_and_the_last_one_counts() {
        let parsed = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(parsed.root.to_json(), json!({"a": 3, "b": 2}));
        assert_eq!(
            parsed.diagnostics.to_string(),
            "warning[duplicate-key]: the key `a` occurs twice\n  --> models/schema.yml:3:1\n   |\n 3 | a: 3\n   | ^ this one counts\nhint: remove one of the two"
        );
    }

    #[test]
    fn aliases_that_explode_are_stopped() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            let list = vec![before; 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        let parsed = read(&text);
        assert!(parsed.diagnostics.to_string().contains("aliases expand to more than"));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let text = "[".repeat(5_000);
        assert!(read(&text).diagnostics.has_errors());
        let text: String =
            (0..400).map(|depth| format!("{}- a:\n", " ".repeat(depth * 2))).collect();
        assert!(read(&text).diagnostics.has_errors());
    }

    #[test]
    fn syntax_errors_say_where_and_what_to_do() {
        for (text, expected) in [
            ("a: 1\n\tb: 2\n", "spaces"),
            ("a: {{ var('x') }} y\n", "put quotes around a value that holds `{{ ... }}`"),
            ("a: b: c\n", "put quotes around a value that holds `: `"),
        ] {
            let parsed = read(text);
            let shown = parsed.diagnostics.to_string();
            assert!(parsed.diagnostics.has_errors(), "{text}");
            assert!(shown.contains(expected), "{shown}");
            assert!(shown.contains("models/schema.yml:"), "{shown}");
        }
    }
}
