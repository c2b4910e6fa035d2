//! What a statement in the log does to a table.

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that the log of rows does not have.
    None,
    Begin,
    Commit,
    Rollback,
    /// All rows go.
    Truncated,
    /// The columns may be others from here on: these went.
    Altered(Vec<String>),
    /// It changes rows, and the log does not say which.
    Lost(&'static str),
}

/// A word, a name in quotes, or a sign.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Name(String),
    Text,
    Sign(char),
}

impl Token {
    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Name(name) => Some(name),
            Token::Text | Token::Sign(_) => None,
        }
    }

    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(written) if written.eq_ignore_ascii_case(word))
    }
}

/// The tokens; what stands in a comment for this server (`/*! … */`) is as good as any other.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let skip =
            |text: &'_ str, end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
        if let Some(inner) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
            rest = inner.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if rest.starts_with("/*") {
            rest = &rest[skip(rest, "*/")..];
        } else if rest.starts_with("*/") {
            rest = &rest[2..];
        } else if rest.starts_with("-- ") || rest.starts_with("--\n") || first == '#' {
            rest = &rest[skip(rest, "\n")..];
        } else if first.is_whitespace() {
            rest = rest.trim_start();
        } else if matches!(first, '`' | '"' | '\'') {
            let (text, end) = quoted(rest, first);
            tokens.push(match first {
                '\'' => Token::Text,
                _ => Token::Name(text),
            });
            rest = &rest[end..];
        } else if is_word(first) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            tokens.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '@') || !c.is_ascii() && !c.is_whitespace()
}

/// The text between quotes, and where it ends.
fn quoted(sql: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote != '`' => text.extend(chars.next().map(|(_, c)| c)),
            c if c == quote => match chars.peek() {
                Some((_, next)) if *next == quote => {
                    text.push(quote);
                    chars.next();
                }
                _ => return (text, at + 1),
            },
            c => text.push(c),
        }
    }
    (text, sql.len())
}

/// A table, for comparisons with names in statements.
pub(super) struct Target<'a> {
    pub(super) database: &'a str,
    pub(super) table: &'a str,
}

/// What can be added and dropped that is no column.
const OTHERS: [&str; 13] = [
    "index",
    "key",
    "unique",
    "fulltext",
    "spatial",
    "primary",
    "foreign",
    "constraint",
    "check",
    "default",
    "partition",
    "system",
    "period",
];

/// Names of tables, one after the other.
struct Names<'a> {
    tokens: &'a [Token],
    database: &'a str,
}

impl<'a> Names<'a> {
    /// The name that comes next, and its database.
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let first = self.tokens.first()?.name()?;
        match self.tokens {
            [_, Token::Sign('.'), second, rest @ ..] => {
                self.tokens = rest;
                Some((first, second.name()?))
            }
            [_, rest @ ..] => {
                self.tokens = rest;
                Some((self.database, first))
            }
            [] => None,
        }
    }

    fn skip(&mut self, words: &[&str]) {
        while let [first, rest @ ..] = self.tokens
            && words.iter().any(|word| first.is(word))
        {
            self.tokens = rest;
        }
    }

    fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(word))
    }

    /// Whether columns have other names behind it.
    fn renames(&self) -> bool {
        let mut rest = Names { tokens: self.tokens, database: self.database };
        while let [first, tail @ ..] = rest.tokens {
            rest.tokens = tail;
            if first.is("rename") && tail.first().is_some_and(|word| word.is("column")) {
                return true;
            }
            if first.is("change") {
                rest.skip(&["column", "if", "exists"]);
                if let [was, is, ..] = rest.tokens
                    && let (Some(was), Some(is)) = (was.name(), is.name())
                    && was.to_lowercase() != is.to_lowercase()
                {
                    return true;
                }
            }
        }
        false
    }

    /// Whether columns may be others behind it.
    fn lays_out(&self) -> bool {
        let place =
            |token: &Token| ["modify", "change", "convert"].iter().any(|word| token.is(word));
        self.tokens.iter().any(place)
            || self.tokens.windows(2).any(|two| {
                (two[0].is("add") || two[0].is("drop"))
                    && !OTHERS.iter().any(|word| two[1].is(word))
            })
    }

    /// The columns that go.
    fn drops(&self) -> Vec<String> {
        let mut dropped = Vec::new();
        let mut rest = Names { tokens: self.tokens, database: self.database };
        while let [first, tail @ ..] = rest.tokens {
            rest.tokens = tail;
            if !first.is("drop")
                || OTHERS.iter().any(|word| tail.first().is_some_and(|t| t.is(word)))
            {
                continue;
            }
            rest.skip(&["column", "if", "exists"]);
            dropped.extend(rest.tokens.first().and_then(Token::name).map(str::to_owned));
        }
        dropped
    }

    /// Whether this word stands before that one.
    fn follows(&self, first: &str, second: &str) -> bool {
        self.tokens.windows(2).any(|two| two[0].is(first) && two[1].is(second))
    }
}

impl Target<'_> {
    fn is(&self, named: (&str, &str)) -> bool {
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        same(named.0, self.database) && same(named.1, self.table)
    }

    /// Whether the table is named anywhere.
    fn is_in(&self, tokens: &[Token], database: &str) -> bool {
        (0..tokens.len()).any(|at| {
            let mut names = Names { tokens: &tokens[at..], database };
            let behind_point = at > 0 && tokens[at - 1] == Token::Sign('.');
            !behind_point && names.next().is_some_and(|named| self.is(named))
        })
    }

    /// What the statement does to it.
    pub(super) fn effect(&self, database: &str, sql: &str) -> Effect {
        // Most are of these.
        match sql.trim() {
            "BEGIN" | "begin" => return Effect::Begin,
            "COMMIT" | "commit" => return Effect::Commit,
            "ROLLBACK" | "rollback" => return Effect::Rollback,
            _ => {}
        }
        let tokens = tokens(sql);
        let Some(Token::Word(first)) = tokens.first() else { return Effect::None };
        let first = first.to_ascii_lowercase();
        let mut names = Names { tokens: &tokens[1..], database };
        match first.as_str() {
            "truncate" => {
                names.skip(&["table"]);
                match names.next() {
                    Some(named) if self.is(named) => Effect::Truncated,
                    _ => Effect::None,
                }
            }
            "alter" => self.altered(names),
            "rename" if self.is_in(&tokens, database) => Effect::Lost("it was renamed"),
            "drop" => {
                if names.has("temporary") {
                    return Effect::None;
                }
                let [kind, rest @ ..] = names.tokens else { return Effect::None };
                let gone = if kind.is("table") {
                    self.is_in(rest, database)
                } else if kind.is("database") || kind.is("schema") {
                    let same = |token: &Token| {
                        token.name().is_some_and(|name| name.eq_ignore_ascii_case(self.database))
                    };
                    rest.iter().any(same)
                } else {
                    false
                };
                if gone { Effect::Lost("it was dropped") } else { Effect::None }
            }
            "create" => {
                names.skip(&["or", "replace"]);
                // One that is there stays as it is.
                if !names.tokens.first().is_some_and(|kind| kind.is("table"))
                    || names.follows("if", "not")
                {
                    return Effect::None;
                }
                names.skip(&["table"]);
                match names.next() {
                    Some(named) if self.is(named) => Effect::Lost("it was made again"),
                    _ => Effect::None,
                }
            }
            "insert" | "update" | "delete" | "replace" | "load" | "with" | "merge"
                if self.is_in(&tokens, database) =>
            {
                Effect::Lost("somebody wrote to it with a `binlog_format` that is not ROW")
            }
            _ => Effect::None,
        }
    }

    fn altered(&self, mut names: Names<'_>) -> Effect {
        names.skip(&["online", "ignore"]);
        if !names.tokens.first().is_some_and(|kind| kind.is("table")) {
            return Effect::None;
        }
        names.skip(&["table", "if", "exists"]);
        let Some(named) = names.next() else { return Effect::None };
        let renamed = names.tokens.windows(2).any(|two| {
            two[0].is("rename") && !["column", "index", "key"].iter().any(|word| two[1].is(word))
        });
        let exchanged = names.has("exchange") || names.follows("convert", "table");
        if !self.is(named) {
            let other = (renamed || exchanged) && self.is_in(names.tokens, names.database);
            return if other { Effect::Lost("another table took its place") } else { Effect::None };
        }
        if renamed {
            return Effect::Lost("it was renamed");
        }
        let partitions = ["drop", "truncate"].iter().any(|word| names.follows(word, "partition"));
        let spaces = ["discard", "import"].iter().any(|word| names.has(word));
        if exchanged || partitions || spaces || names.follows("convert", "partition") {
            return Effect::Lost("rows of it came or went with a partition");
        }
        if names.renames() {
            return Effect::Lost(
                "a column has another name, and the log does not tell it from a new one",
            );
        }
        match names.lays_out() {
            true => Effect::Altered(names.drops()),
            false => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_known_by_what_they_do() {
        let target = Target { database: "shop", table: "orders" };
        let lost = |effect: &Effect| matches!(effect, Effect::Lost(_));
        for (sql, expected) in [
            ("BEGIN", "Begin"),
            ("truncate orders", "Truncated"),
            ("TRUNCATE TABLE `shop`.`orders`", "Truncated"),
            ("truncate other.orders", "None"),
            ("alter table orders add column a int default 5 after b", "Altered([])"),
            ("ALTER TABLE /* x */ shop.orders RENAME COLUMN a TO b", "lost"),
            ("alter table orders change a b int", "lost"),
            ("alter table orders change column a A bigint, drop index x", "Altered([])"),
            (
                "alter table orders drop a, drop column if exists `b c`, drop foreign key f",
                "Altered([\"a\", \"b c\"])",
            ),
            ("alter table orders engine = aria, add unique index i (a), drop key k", "None"),
            ("alter table orders add (a int, b int)", "Altered([])"),
            ("alter table orders rename to old", "lost"),
            ("alter table orders rename old", "lost"),
            ("alter table neu rename to orders", "lost"),
            ("alter table x add foreign key (o) references orders (id)", "None"),
            ("alter table orders drop partition p0", "lost"),
            ("alter table x exchange partition p with table orders", "lost"),
            ("rename table orders to old, neu to orders", "lost"),
            ("rename table a to b", "None"),
            ("drop table if exists x, `orders` /* generated by server */", "lost"),
            ("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `orders`", "None"),
            ("drop database shop", "lost"),
            ("create table orders (id int)", "lost"),
            ("create table if not exists orders (id int)", "None"),
            ("create or replace table orders (id int)", "lost"),
            ("create table x as select * from orders", "None"),
            ("create index i on orders (a)", "None"),
            ("# a word\ninsert into orders values (1)", "lost"),
            ("update shop.orders set a = 'orders'", "lost"),
            ("insert into other.orders values ('shop.orders')", "None"),
            ("insert into x values ('orders')", "None"),
            ("grant select on shop.orders to me", "None"),
        ] {
            let effect = target.effect("shop", sql);
            let shown = if lost(&effect) { "lost".to_owned() } else { format!("{effect:?}") };
            assert_eq!(shown, expected, "{sql}");
        }
        assert_eq!(target.effect("other", "truncate orders"), Effect::None);
    }
}
