//! A text to its statements, as psql splits it.

/// One statement of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Where it starts, in characters of the whole text.
    pub start: usize,
    /// Its text, without blanks around it and without the semicolon.
    pub text: &'a str,
    /// Its first word in lower case; empty when it starts with something else.
    pub word: Word<'a>,
}

/// The first word of a statement, compared without case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a>(&'a str);

impl Word<'_> {
    /// Whether it is one of these (in lower case).
    pub fn is_any(self, words: &[&str]) -> bool {
        words.iter().any(|word| self.0.eq_ignore_ascii_case(word))
    }

    /// The word in upper case.
    pub fn upper(self) -> String {
        self.0.to_ascii_uppercase()
    }
}

impl Statement<'_> {
    /// Whether it may give rows.
    pub fn may_give_rows(&self) -> bool {
        if self.word.0.is_empty() {
            return true; // In parentheses.
        }
        let asks = ["select", "with", "values", "table", "show", "explain", "fetch", "call"];
        let returns = ["insert", "update", "delete", "merge", "execute"];
        self.word.is_any(&asks) || (self.word.is_any(&returns) && has_word(self.text, "returning"))
    }

    /// Whether it is a query that can stand in parentheses.
    pub fn is_query(&self) -> bool {
        self.word.0.is_empty() || self.word.is_any(&["select", "with", "values", "table"])
    }

    /// Whether it begins a transaction.
    pub fn begins(&self) -> bool {
        self.word.is_any(&["begin"])
            || (self.word.is_any(&["start"]) && has_word(self.text, "transaction"))
    }

    /// Whether it ends one.
    pub fn ends(&self) -> bool {
        self.word.is_any(&["commit", "end", "abort"])
            || (self.word.is_any(&["rollback"]) && !has_word(self.text, "to"))
            || (self.word.is_any(&["prepare"]) && has_word(self.text, "transaction"))
    }

    /// Whether it changes nothing but the database's contents: the session is afterwards as before.
    pub fn leaves_session(&self) -> bool {
        const CLEAN: &[&str] = &[
            "select",
            "with",
            "values",
            "table",
            "show",
            "explain",
            "insert",
            "update",
            "delete",
            "merge",
            "drop",
            "alter",
            "comment",
            "grant",
            "revoke",
            "analyze",
            "vacuum",
            "truncate",
            "begin",
            "start",
            "commit",
            "end",
            "rollback",
            "abort",
            "savepoint",
            "release",
            "lock",
            "refresh",
            "copy",
            "cluster",
            "reindex",
        ];
        match self.word.is_any(&["create"]) {
            true => !has_word(self.text, "temp") && !has_word(self.text, "temporary"),
            false => self.word.0.is_empty() || self.word.is_any(CLEAN),
        }
    }
}

/// Whether a word occurs, in any case. Quotes are not looked at.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// The statements of a text: separated by semicolons outside of quotes (`'…'`, `E'…'`, `"…"`,
/// `$tag$…$tag$`), comments (nested ones, too) and parentheses.
pub fn split(text: &str) -> Vec<Statement<'_>> {
    let bytes = text.as_bytes();
    let mut ends = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'\'' => {
                let escapes = at > 0
                    && matches!(bytes[at - 1], b'e' | b'E')
                    && !(at > 1 && is_word(bytes[at - 2]));
                at = after_quote(bytes, at, b'\'', escapes);
            }
            b'"' => at = after_quote(bytes, at, b'"', false),
            b'-' if bytes.get(at + 1) == Some(&b'-') => at = after_line(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => at = after_comment(bytes, at),
            b'$' if at == 0 || !is_word(bytes[at - 1]) => at = after_dollar(text, at),
            b'(' => {
                depth += 1;
                at += 1;
            }
            b')' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b';' if depth == 0 => {
                ends.push(at);
                at += 1;
            }
            _ => at += 1,
        }
    }
    ends.push(bytes.len());
    let mut found = Vec::new();
    let mut start = 0;
    for end in ends {
        let part = &text[start.min(end)..end];
        let begin = start + (part.len() - part.trim_start().len());
        if let Some(word) = first_word(part) {
            found.push(Statement {
                start: text[..begin].chars().count(),
                text: part.trim(),
                word: Word(word),
            });
        }
        start = end + 1;
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn after_quote(bytes: &[u8], start: usize, quote: u8, escapes: bool) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            // A doubled quote ends and begins at once.
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn after_line(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| start + newline)
}

fn after_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'*', Some(b'/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            (b'/', Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `$$…$$` and `$tag$…$tag$`; a `$` that opens nothing (`$1`) is a character like any other.
fn after_dollar(text: &str, start: usize) -> usize {
    let rest = &text[start + 1..];
    let Some(end) = rest.find('$') else { return start + 1 };
    let tag = &rest[..end];
    let is_tag =
        tag.is_empty() || (tag.bytes().all(is_word) && !tag.as_bytes()[0].is_ascii_digit());
    if !is_tag {
        return start + 1;
    }
    let delimiter = &text[start..=start + 1 + end];
    let body = start + delimiter.len();
    text[body..].find(delimiter).map_or(text.len(), |at| body + at + delimiter.len())
}

/// The first word behind comments; `None` when there is nothing but comments.
fn first_word(part: &str) -> Option<&str> {
    let bytes = part.as_bytes();
    let mut at = 0;
    loop {
        while at < bytes.len() && bytes[at].is_ascii_whitespace() {
            at += 1;
        }
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'-'), Some(b'-')) => at = after_line(bytes, at),
            (Some(b'/'), Some(b'*')) => at = after_comment(bytes, at),
            (None, _) => return None,
            _ => break,
        }
    }
    let end = bytes[at..].iter().position(|byte| !is_word(*byte)).map_or(bytes.len(), |n| at + n);
    Some(&part[at..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_outside_of_quotes_comments_and_parentheses() {
        let text = "select ';', E'\\';' ; -- a; b\nselect $x$ ; $x$, $1, \"a;\" /* ; /* ; */ ; */;\n\
                    create rule r as on insert to t do also (a; b);\n-- end\n/* ; */";
        let found: Vec<&str> = split(text).iter().map(|statement| statement.text).collect();
        assert_eq!(
            found,
            [
                "select ';', E'\\';'",
                "-- a; b\nselect $x$ ; $x$, $1, \"a;\" /* ; /* ; */ ; */",
                "create rule r as on insert to t do also (a; b)",
            ]
        );
        assert_eq!(split(text)[2].start, text.find("create").unwrap());
    }

    #[test]
    fn what_a_statement_is_follows_from_its_first_word() {
        let of = |text: &'static str| split(text)[0];
        assert!(of("/* x */ SELECT 1").may_give_rows());
        assert!(of("(select 1)").is_query());
        assert!(of("insert into t values (1) returning id").may_give_rows());
        assert!(!of("insert into t values (1)").may_give_rows());
        assert!(of("Begin").begins() && of("commit").ends() && of("rollback").ends());
        assert!(!of("rollback to savepoint a").ends());
        assert!(!of("create temp table t (a int)").leaves_session());
        assert!(of("create table t (a int)").leaves_session());
        assert!(!of("set search_path = a").leaves_session());
    }
}
