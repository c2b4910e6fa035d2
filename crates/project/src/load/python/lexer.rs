//! The words of a Python file: enough of the language to find calls, their literals, and functions.

/// Brackets within brackets, as Python itself has it.
const MOST_NESTED: usize = 200;

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    /// A text; with a prefix that makes it bytes or a template it is no literal here.
    Text,
    /// Where a text with expressions in it begins; its expressions follow.
    Template,
    /// Punctuation of one or more characters.
    Mark,
    /// The end of a logical line.
    Line,
    Indent,
    Dedent,
}

/// A word and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) message: &'static str,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Splits a file into its words.
pub(super) fn words(text: &str) -> Result<Vec<Word>, Mistake> {
    let mut lexer =
        Lexer { text, at: 0, words: Vec::new(), open: Vec::new(), indents: vec![0], templates: 0 };
    if text.starts_with('\u{feff}') {
        lexer.at = 3;
    }
    lexer.line_start()?;
    while lexer.at < text.len() {
        lexer.step()?;
    }
    if let Some((_, at)) = lexer.open.last() {
        return Err(Mistake { message: "this bracket is never closed", start: *at, end: at + 1 });
    }
    lexer.end_line();
    while lexer.indents.len() > 1 {
        lexer.indents.pop();
        lexer.push(Kind::Dedent, text.len());
    }
    Ok(lexer.words)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    words: Vec<Word>,
    /// Brackets that are open, and where.
    open: Vec<(char, usize)>,
    indents: Vec<usize>,
    /// How many texts with expressions are open within each other.
    templates: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, kind: Kind, start: usize) {
        self.words.push(Word { kind, start, end: self.at.max(start) });
    }

    fn mistake<T>(&self, message: &'static str, start: usize) -> Result<T, Mistake> {
        let end = self.text[start..].find('\n').map_or(self.text.len(), |length| start + length);
        Err(Mistake { message, start, end: end.max(start) })
    }

    fn end_line(&mut self) {
        let something = self
            .words
            .last()
            .is_some_and(|word| !matches!(word.kind, Kind::Line | Kind::Indent | Kind::Dedent));
        if something {
            self.push(Kind::Line, self.at);
        }
    }

    /// The white space before the first word of a logical line.
    fn line_start(&mut self) -> Result<(), Mistake> {
        loop {
            let start = self.at;
            let mut width = 0;
            while let Some(c @ (' ' | '\t' | '\u{c}')) = self.peek() {
                width = match c {
                    ' ' => width + 1,
                    '\t' => width / 8 * 8 + 8,
                    _ => 0,
                };
                self.at += 1;
            }
            match self.peek() {
                None => return Ok(()),
                Some('#') => self.comment(),
                Some('\n' | '\r') => {}
                Some(_) => return self.indent(width, start),
            }
            if self.peek().is_none() {
                return Ok(());
            }
            self.at += 1;
        }
    }

    fn indent(&mut self, width: usize, start: usize) -> Result<(), Mistake> {
        let now = self.indents.last().copied().unwrap_or(0);
        if width > now {
            let before = self.words.iter().rev().find(|word| word.kind != Kind::Line);
            if before.is_none_or(|word| &self.text[word.start..word.end] != ":") {
                return self.mistake("this line is further in than the one before it", start);
            }
            if self.indents.len() > MOST_NESTED {
                return self.mistake("too many blocks within each other", start);
            }
            self.indents.push(width);
            self.push(Kind::Indent, self.at);
        }
        while self.indents.last().is_some_and(|last| width < *last) {
            self.indents.pop();
            self.push(Kind::Dedent, self.at);
        }
        if self.indents.last() != Some(&width) {
            return self.mistake("this line is as far in as no block around it", start);
        }
        Ok(())
    }

    fn comment(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    /// One word, or what stands between words.
    fn step(&mut self) -> Result<(), Mistake> {
        let Some(c) = self.peek() else { return Ok(()) };
        match c {
            ' ' | '\t' | '\r' | '\u{c}' => self.at += 1,
            '#' => self.comment(),
            '\n' => {
                if self.open.is_empty() {
                    self.end_line();
                    self.at += 1;
                    return self.line_start();
                }
                self.at += 1;
            }
            '\\' => {
                let rest = &self.rest()[1..];
                let skip =
                    if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
                if skip == 0 {
                    return self.mistake("nothing may follow a backslash", self.at);
                }
                self.at += 1 + skip;
            }
            '\'' | '"' => return self.text(self.at, ""),
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            c if c == '_' || c.is_alphabetic() => return self.name(),
            _ => return self.mark(c),
        }
        Ok(())
    }

    fn number(&mut self) {
        let start = self.at;
        let mut before = ' ';
        while let Some(c) = self.peek() {
            let hex = self.text[start..].starts_with("0x") || self.text[start..].starts_with("0X");
            let sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !hex;
            if !(c.is_alphanumeric() || matches!(c, '_' | '.') || sign) {
                break;
            }
            before = c;
            self.at += c.len_utf8();
        }
        self.push(Kind::Number, start);
    }

    fn name(&mut self) -> Result<(), Mistake> {
        let start = self.at;
        let length = self.rest().find(|c: char| !(c == '_' || c.is_alphanumeric()));
        self.at += length.unwrap_or(self.rest().len());
        let name = self.text[start..self.at].to_ascii_lowercase();
        let prefix = matches!(
            name.as_str(),
            "r" | "u" | "b" | "br" | "rb" | "f" | "fr" | "rf" | "t" | "tr" | "rt"
        );
        if prefix && self.rest().starts_with(['\'', '"']) {
            return self.text(start, &name);
        }
        self.push(Kind::Name, start);
        Ok(())
    }

    fn mark(&mut self, c: char) -> Result<(), Mistake> {
        let start = self.at;
        match c {
            '(' | '[' | '{' => {
                if self.open.len() >= MOST_NESTED {
                    return self.mistake("too many brackets within each other", start);
                }
                self.open.push((c, start));
            }
            ')' | ']' | '}' => {
                let pair = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if self.open.last().is_none_or(|(open, _)| *open != pair) {
                    return self.mistake("nothing is open that this bracket closes", start);
                }
                self.open.pop();
            }
            '$' | '?' => return self.mistake("this is no part of Python", start),
            _ => {}
        }
        let two =
            ["**", "//", "->", ":=", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "|="];
        let long = two.iter().any(|mark| self.rest().starts_with(mark));
        self.at += if long { 2 } else { c.len_utf8() };
        self.push(Kind::Mark, start);
        Ok(())
    }

    /// A text whose prefix has been read and which begins with its quotes.
    fn text(&mut self, start: usize, prefix: &str) -> Result<(), Mistake> {
        let Some(quote) = self.peek() else { return Ok(()) };
        let three: String = [quote; 3].iter().collect();
        let quotes = if self.rest().starts_with(&three) { three } else { quote.to_string() };
        self.at += quotes.len();
        let template = prefix.contains(['f', 't']);
        if template {
            if self.templates >= 20 {
                return self.mistake("too many texts within each other", start);
            }
            self.push(Kind::Template, start);
        }
        loop {
            let rest = self.rest();
            if rest.starts_with(&quotes) {
                self.at += quotes.len();
                break;
            }
            match rest.chars().next() {
                None => return self.mistake("this text is never closed", start),
                Some('\n') if quotes.len() == 1 => {
                    return self.mistake("this text is not closed at the end of its line", start);
                }
                Some('\\') => {
                    self.at += 1;
                    self.at += self.peek().map_or(0, char::len_utf8);
                }
                Some('{') if template && rest.starts_with("{{") => self.at += 2,
                Some('{') if template => self.expression(&quotes, start)?,
                Some(c) => self.at += c.len_utf8(),
            }
        }
        if !template {
            self.push(Kind::Text, start);
        }
        Ok(())
    }

    /// An expression in a text, from its brace to the brace that closes it.
    fn expression(&mut self, quotes: &str, text: usize) -> Result<(), Mistake> {
        self.templates += 1;
        let depth = self.open.len();
        self.mark('{')?;
        while self.open.len() > depth {
            if self.at >= self.text.len() {
                return self.mistake("this text is never closed", text);
            }
            // What follows a colon says how the value is written.
            let last = self.words.last().map(|word| &self.text[word.start..word.end]);
            if self.open.len() == depth + 1 && last == Some(":") {
                self.format(quotes, text)?;
                continue;
            }
            self.step()?;
        }
        self.templates -= 1;
        Ok(())
    }

    fn format(&mut self, quotes: &str, text: usize) -> Result<(), Mistake> {
        loop {
            match self.peek() {
                None => return self.mistake("this text is never closed", text),
                Some('}') => return self.mark('}'),
                Some('{') => self.expression(quotes, text)?,
                Some(_) if self.rest().starts_with(quotes) => {
                    return self.mistake("this text is never closed", text);
                }
                Some(c) => self.at += c.len_utf8(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let words = words(text).unwrap();
        let shown = |word: &Word| match word.kind {
            Kind::Line => "NEWLINE".to_owned(),
            Kind::Indent => "INDENT".to_owned(),
            Kind::Dedent => "DEDENT".to_owned(),
            Kind::Template => "TEMPLATE".to_owned(),
            _ => text[word.start..word.end].to_owned(),
        };
        words.iter().map(shown).collect()
    }

    #[test]
    fn words_are_those_of_python() {
        for (text, expected) in [
            ("a = 1 # no\n\n  # no\nb", "a = 1 NEWLINE b NEWLINE"),
            ("if x:\n  y\n\tz\n", ""),
            ("if x:\n  y\n\n  z\nw", "if x : NEWLINE INDENT y NEWLINE z NEWLINE DEDENT w NEWLINE"),
            ("f(1,\n  2)\\\n .x", "f ( 1 , 2 ) . x NEWLINE"),
            ("r'\\' + b\"\"\"a\n\"\"\"", "r'\\' + b\"\"\"a\n\"\"\" NEWLINE"),
            ("f'a{b!r:>{w}} {{x}}' 1.5e-3", "TEMPLATE { b ! r : { w } } 1.5e-3 NEWLINE"),
            ("f'{d.ref('c')}'", "TEMPLATE { d . ref ( 'c' ) } NEWLINE"),
            ("x = 0x1e+2", "x = 0x1e + 2 NEWLINE"),
        ] {
            if expected.is_empty() {
                assert!(words(text).is_err(), "{text}");
                continue;
            }
            if text.starts_with("r'") {
                // A backslash keeps the quote behind it from closing, in raw texts too.
                assert!(words(text).is_err());
                continue;
            }
            assert_eq!(texts(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_python_is_told() {
        let deep = "(".repeat(300);
        for (text, expected) in [
            ("x = 'a\n", "not closed at the end"),
            ("x = '''a\n", "never closed"),
            ("f(1", "never closed"),
            ("f(1]", "nothing is open"),
            ("x = 1\n  y = 2", "further in"),
            ("if x:\n    y\n  z", "as far in as no block"),
            ("a ? b", "no part of Python"),
            ("f'{a'", "closed"),
            (&deep, "too many brackets"),
        ] {
            let mistake = words(text).unwrap_err();
            assert!(mistake.message.contains(expected), "{text}: {}", mistake.message);
        }
    }
}
