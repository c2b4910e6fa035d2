//! Literals of Python as JSON has them, and the arguments of a call.

use serde_json::{Map, Number, Value as Json};

use super::lexer::{Kind, Word};

/// A place: from a byte, up to but without a byte.
pub(super) type Place = (usize, usize);

/// The arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) values: Vec<(Json, Place)>,
    pub(super) named: Vec<(String, Json, Place)>,
    /// The first argument that is no literal.
    pub(super) wrong: Option<Place>,
    /// Where the call ends.
    pub(super) end: usize,
}

/// The words of a file and the place in it that is read.
pub(super) struct Reader<'w> {
    pub(super) text: &'w str,
    pub(super) words: &'w [Word],
    pub(super) at: usize,
}

impl<'w> Reader<'w> {
    /// A word's text.
    pub(super) fn text_of(&self, word: &Word) -> &'w str {
        &self.text[word.start..word.end]
    }

    fn word(&self) -> Option<&'w Word> {
        self.words.get(self.at)
    }

    /// Whether this mark stands here.
    fn is(&self, mark: &str) -> bool {
        self.word().is_some_and(|word| word.kind == Kind::Mark && self.text_of(word) == mark)
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        self.at += usize::from(found);
        found
    }

    /// Reads the arguments of a call, from its opening bracket to its closing one.
    pub(super) fn arguments(&mut self) -> Arguments {
        let mut found = Arguments::default();
        self.at += 1;
        while !self.take(")") {
            let Some(first) = self.word() else { return found };
            let name = match (first.kind, self.words.get(self.at + 1)) {
                (Kind::Name, Some(next)) if self.text_of(next) == "=" => {
                    self.at += 2;
                    Some(self.text_of(first).to_owned())
                }
                _ => None,
            };
            let start = self.word().map_or(first.start, |word| word.start);
            let value = self.literal().filter(|_| self.is(",") || self.is(")"));
            let end = match &value {
                Some(_) => self.words[self.at - 1].end,
                None => self.skip_argument(),
            };
            match (value, name) {
                (Some(value), Some(name)) => found.named.push((name, value, (start, end))),
                (Some(value), None) => found.values.push((value, (start, end))),
                (None, _) => found.wrong = found.wrong.or(Some((start, end))),
            }
            if !self.take(",") && !self.is(")") {
                return found;
            }
        }
        found.end = self.words[self.at - 1].end;
        found
    }

    /// Goes on to the end of an argument, and gives where that is.
    fn skip_argument(&mut self) -> usize {
        let mut depth = 0;
        let mut end = 0;
        while let Some(word) = self.word() {
            if word.kind == Kind::Mark {
                match self.text_of(word) {
                    "(" | "[" | "{" => depth += 1,
                    ")" | "]" | "}" if depth == 0 => break,
                    ")" | "]" | "}" => depth -= 1,
                    "," if depth == 0 => break,
                    _ => {}
                }
            }
            end = word.end;
            self.at += 1;
        }
        end
    }

    /// A literal that begins here; `None` when there is none.
    fn literal(&mut self) -> Option<Json> {
        let word = self.word()?;
        let text = self.text_of(word);
        match word.kind {
            Kind::Text => {
                let mut all = String::new();
                while let Some(word) = self.word().filter(|word| word.kind == Kind::Text) {
                    all.push_str(&unquoted(self.text_of(word))?);
                    self.at += 1;
                }
                Some(Json::String(all))
            }
            Kind::Number => {
                self.at += 1;
                number(text, false)
            }
            Kind::Name => {
                self.at += 1;
                match text {
                    "True" => Some(Json::Bool(true)),
                    "False" => Some(Json::Bool(false)),
                    "None" => Some(Json::Null),
                    _ => None,
                }
            }
            Kind::Mark => match text {
                "-" | "+" => {
                    self.at += 1;
                    let word = self.word().filter(|word| word.kind == Kind::Number)?;
                    self.at += 1;
                    number(self.text_of(word), text == "-")
                }
                "[" => self.items("]").map(|(items, _)| Json::Array(items)),
                "(" => {
                    let (mut items, comma) = self.items(")")?;
                    match items.len() {
                        1 if !comma => items.pop(),
                        _ => Some(Json::Array(items)),
                    }
                }
                "{" => self.braces(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The items up to a closing bracket, and whether there was a comma.
    fn items(&mut self, close: &str) -> Option<(Vec<Json>, bool)> {
        self.at += 1;
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.take(close) {
            items.push(self.literal()?);
            if self.take(",") {
                comma = true;
            } else if !self.is(close) {
                return None;
            }
        }
        Some((items, comma))
    }

    /// A dict, or a set.
    fn braces(&mut self) -> Option<Json> {
        self.at += 1;
        let (mut map, mut set) = (Map::new(), Vec::new());
        while !self.take("}") {
            let key = self.literal()?;
            if self.take(":") {
                let key = match key {
                    Json::String(text) => text,
                    Json::Number(number) => number.to_string(),
                    Json::Bool(found) => (if found { "True" } else { "False" }).to_owned(),
                    _ => return None,
                };
                map.insert(key, self.literal()?);
            } else {
                set.push(key);
            }
            if !self.take(",") && !self.is("}") {
                return None;
            }
        }
        match (map.is_empty(), set.is_empty()) {
            (_, true) => Some(Json::Object(map)),
            (true, false) => Some(Json::Array(set)),
            (false, false) => None,
        }
    }
}

fn number(text: &str, negative: bool) -> Option<Json> {
    let plain = text.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok();
    let whole = match lower.get(..2) {
        Some("0x") => Some(radix(&lower[2..], 16)?),
        Some("0o") => Some(radix(&lower[2..], 8)?),
        Some("0b") => Some(radix(&lower[2..], 2)?),
        _ => lower.parse::<i64>().ok(),
    };
    match whole {
        Some(whole) => Some(Json::from(if negative { -whole } else { whole })),
        None => {
            let value: f64 = lower.parse().ok()?;
            Number::from_f64(if negative { -value } else { value }).map(Json::Number)
        }
    }
}

/// The value of a text literal; `None` for bytes and for names of characters.
fn unquoted(text: &str) -> Option<String> {
    let start = text.find(['\'', '"'])?;
    let prefix = text[..start].to_ascii_lowercase();
    if prefix.contains('b') {
        return None;
    }
    let body = &text[start..];
    let quotes = if body.len() >= 6 && (body.starts_with("'''") || body.starts_with("\"\"\"")) {
        3
    } else {
        1
    };
    let body = &body[quotes..body.len() - quotes];
    if prefix.contains('r') || !body.contains('\\') {
        return Some(body.to_owned());
    }
    let mut value = String::new();
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        let escaped = chars.next()?;
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = chars.by_ref().take(digits).collect();
            value.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
            continue;
        }
        match escaped {
            '\n' => {}
            '\\' | '\'' | '"' => value.push(escaped),
            'n' => value.push('\n'),
            't' => value.push('\t'),
            'r' => value.push('\r'),
            'a' => value.push('\u{7}'),
            'b' => value.push('\u{8}'),
            'f' => value.push('\u{c}'),
            'v' => value.push('\u{b}'),
            '0'..='7' => {
                let mut code = escaped.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    chars.next();
                }
                value.push(char::from_u32(code)?);
            }
            'N' => return None,
            // As Python has it, the backslash stays.
            other => value.extend(['\\', other]),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::super::lexer::words;
    use super::*;

    fn read(text: &str) -> Option<Json> {
        let words = words(text).unwrap();
        let mut reader = Reader { text, words: &words, at: 1 };
        let found = reader.arguments();
        found.wrong.is_none().then(|| found.values.into_iter().map(|(value, _)| value).collect())
    }

    #[test]
    fn literals_have_the_values_that_python_gives_them() {
        for (text, expected) in [
            ("f('a' \"b\", r'\\d', '\\x41\\n\\'\\q\\101')", r#"["ab","\\d","A\n'\\qA"]"#),
            ("f(1, -2, 1_000, 0x1f, 1.5e3, -.5)", "[1,-2,1000,31,1500.0,-0.5]"),
            ("f(True, None, (1,), (1), (), [], {})", "[true,null,[1],1,[],[],{}]"),
            (
                "f({'a': [1, {'b': None}], 2: 'x',}, {1, 2})",
                r#"[{"a":[1,{"b":null}],"2":"x"},[1,2]]"#,
            ),
            ("f('''a\nb''')", r#"["a\nb"]"#),
        ] {
            assert_eq!(read(text).unwrap().to_string(), expected, "{text}");
        }
        for text in
            ["f(x)", "f(1 + 2)", "f(f'a')", "f(b'a')", "f('a'.lower())", "f(*x)", "f([x])", "f(1j)"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
