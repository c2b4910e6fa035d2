//! The text of a JSON path, read.

use datafusion::common::Result;
use regex::{Regex, RegexBuilder};

use super::bad_value;

/// How deeply parentheses and conditions may nest.
const NESTING: usize = 100;

/// A path that was read.
pub(super) struct Path {
    pub(super) strict: bool,
    pub(super) value: Value,
}

/// What gives values.
#[derive(Clone)]
pub(super) enum Value {
    /// `$`
    Root,
    /// `@`
    Current,
    /// `$name`
    Variable(String),
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    Condition(Box<Condition>),
    Sum(Box<Value>, Sum, Box<Value>),
    Negated(Box<Value>),
    Walked(Box<Value>, Vec<Step>),
}

impl Value {
    /// The value where `last` is the place of a list's last item.
    pub(super) fn with_last(&self, last: f64) -> Value {
        match self {
            Value::Variable(name) if name == LAST => Value::Number(last),
            Value::Sum(left, sum, right) => {
                Value::Sum(Box::new(left.with_last(last)), *sum, Box::new(right.with_last(last)))
            }
            Value::Negated(value) => Value::Negated(Box::new(value.with_last(last))),
            other => other.clone(),
        }
    }
}

/// The name of no variable, by which `last` is kept.
const LAST: &str = " last";

#[derive(Clone, Copy)]
pub(super) enum Sum {
    Plus,
    Minus,
    Product,
    Quotient,
    Rest,
}

impl Sum {
    pub(super) fn sign(self) -> char {
        match self {
            Sum::Plus => '+',
            Sum::Minus => '-',
            Sum::Product => '*',
            Sum::Quotient => '/',
            Sum::Rest => '%',
        }
    }
}

#[derive(Clone)]
pub(super) enum Step {
    Key(String),
    Keys,
    Within(u32, u32),
    Places(Vec<Place>),
    Filter(Box<Condition>),
    Method(&'static str),
}

#[derive(Clone)]
pub(super) enum Place {
    All,
    One(Value),
    Range(Value, Value),
}

#[derive(Clone)]
pub(super) enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Unknown(Box<Condition>),
    Exists(Value),
    Compared(Value, Comparison, Value),
    Starts(Value, Value),
    Like(Value, Regex),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// # Errors
/// Where the text is no path, or has a method that is not known here.
pub(super) fn read(text: &str) -> Result<Path> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let strict = reader.word("strict");
    if !strict {
        reader.word("lax");
    }
    let value = match reader.condition_or_value()? {
        Either::Value(value) => value,
        Either::Condition(condition) => Value::Condition(Box::new(condition)),
    };
    reader.skip();
    match reader.at == text.len() {
        true => Ok(Path { strict, value }),
        false => Err(reader.wrong()),
    }
}

enum Either {
    Value(Value),
    Condition(Condition),
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn wrong(&self) -> datafusion::common::DataFusionError {
        let rest: String = self.rest().chars().take(40).collect();
        bad_value(format!("`{}` is no JSON path that is known here, at `{rest}`", self.text))
    }

    fn skip(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes these signs, behind blanks, if they stand here.
    fn takes(&mut self, signs: &str) -> bool {
        self.skip();
        let found = self.rest().starts_with(signs);
        self.at += if found { signs.len() } else { 0 };
        found
    }

    fn wants(&mut self, signs: &str) -> Result<()> {
        match self.takes(signs) {
            true => Ok(()),
            false => Err(self.wrong()),
        }
    }

    /// Takes a word if it stands here.
    fn word(&mut self, word: &str) -> bool {
        self.skip();
        let rest = self.rest();
        let found = rest.strip_prefix(word).is_some_and(|after| !after.starts_with(is_letter));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == NESTING {
            return Err(bad_value("a JSON path is nested too deeply"));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn condition(&mut self) -> Result<Condition> {
        match self.condition_or_value()? {
            Either::Condition(condition) => Ok(condition),
            Either::Value(_) => Err(self.wrong()),
        }
    }

    fn condition_or_value(&mut self) -> Result<Either> {
        self.deeper(Self::either)
    }

    fn either(&mut self) -> Result<Either> {
        let mut left = match self.conjunction()? {
            Either::Condition(condition) => condition,
            value => return Ok(value),
        };
        while self.takes("||") {
            let Either::Condition(right) = self.conjunction()? else { return Err(self.wrong()) };
            left = Condition::Or(Box::new(left), Box::new(right));
        }
        Ok(Either::Condition(left))
    }

    fn conjunction(&mut self) -> Result<Either> {
        let mut left = match self.comparison()? {
            Either::Condition(condition) => condition,
            value => return Ok(value),
        };
        while self.takes("&&") {
            let Either::Condition(right) = self.comparison()? else { return Err(self.wrong()) };
            left = Condition::And(Box::new(left), Box::new(right));
        }
        Ok(Either::Condition(left))
    }

    fn comparison(&mut self) -> Result<Either> {
        self.skip();
        if self.rest().starts_with('!') && !self.rest().starts_with("!=") {
            self.at += 1;
            self.wants("(")?;
            let inner = self.condition()?;
            self.wants(")")?;
            return Ok(Either::Condition(Condition::Not(Box::new(inner))));
        }
        if self.word("exists") {
            self.wants("(")?;
            let value = self.value()?;
            self.wants(")")?;
            return Ok(Either::Condition(Condition::Exists(value)));
        }
        let left = self.value()?;
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<>", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in signs {
            if self.takes(sign) {
                let right = self.value()?;
                return Ok(Either::Condition(Condition::Compared(left, comparison, right)));
            }
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.wrong());
            }
            let start = self.value()?;
            return Ok(Either::Condition(Condition::Starts(left, start)));
        }
        if self.word("like_regex") {
            self.skip();
            let pattern = self.quoted()?;
            let mut flags = String::new();
            if self.word("flag") {
                self.skip();
                flags = self.quoted()?;
            }
            let pattern = match flags.contains('q') {
                true => regex::escape(&pattern),
                false => pattern,
            };
            let regex = RegexBuilder::new(&pattern)
                .case_insensitive(flags.contains('i'))
                .dot_matches_new_line(flags.contains('s'))
                .multi_line(flags.contains('m'))
                .build()
                .map_err(|error| bad_value(format!("wrong regular expression: {error}")))?;
            return Ok(Either::Condition(Condition::Like(left, regex)));
        }
        // What stands in parentheses may be a condition.
        let Value::Condition(condition) = left else { return Ok(Either::Value(left)) };
        if self.word("is") {
            return match self.word("unknown") {
                true => Ok(Either::Condition(Condition::Unknown(condition))),
                false => Err(self.wrong()),
            };
        }
        Ok(Either::Condition(*condition))
    }

    fn value(&mut self) -> Result<Value> {
        self.deeper(|reader| {
            let mut left = reader.product()?;
            loop {
                let sum = if reader.takes("+") {
                    Sum::Plus
                } else if reader.takes("-") {
                    Sum::Minus
                } else {
                    return Ok(left);
                };
                left = Value::Sum(Box::new(left), sum, Box::new(reader.product()?));
            }
        })
    }

    fn product(&mut self) -> Result<Value> {
        let mut left = self.signed()?;
        loop {
            let sum = if self.takes("*") {
                Sum::Product
            } else if self.takes("/") {
                Sum::Quotient
            } else if self.takes("%") {
                Sum::Rest
            } else {
                return Ok(left);
            };
            left = Value::Sum(Box::new(left), sum, Box::new(self.signed()?));
        }
    }

    fn signed(&mut self) -> Result<Value> {
        if self.takes("-") {
            return self.deeper(|reader| Ok(Value::Negated(Box::new(reader.signed()?))));
        }
        if self.takes("+") {
            return self.deeper(Self::signed);
        }
        let start = self.start()?;
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        Ok(match steps.is_empty() {
            true => start,
            false => Value::Walked(Box::new(start), steps),
        })
    }

    fn start(&mut self) -> Result<Value> {
        self.skip();
        if self.takes("(") {
            let inner = self.condition_or_value()?;
            self.wants(")")?;
            return Ok(match inner {
                Either::Value(value) => value,
                Either::Condition(condition) => Value::Condition(Box::new(condition)),
            });
        }
        if self.takes("@") {
            return Ok(Value::Current);
        }
        if self.takes("$") {
            let rest = self.rest();
            if rest.starts_with('"') {
                return Ok(Value::Variable(self.quoted()?));
            }
            return Ok(match self.name() {
                name if name.is_empty() => Value::Root,
                name => Value::Variable(name),
            });
        }
        if self.rest().starts_with('"') {
            return Ok(Value::Text(self.quoted()?));
        }
        for (word, value) in [
            ("null", Value::Null),
            ("true", Value::Boolean(true)),
            ("false", Value::Boolean(false)),
            ("last", Value::Variable(LAST.to_owned())),
        ] {
            if self.word(word) {
                return Ok(value);
            }
        }
        let rest = self.rest();
        let mut end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        // `1.type()`: the point is a step's.
        if rest[..end].ends_with('.') {
            end -= 1;
        }
        let after = &rest[end..];
        if end > 0 && after.starts_with(['e', 'E']) {
            let sign = usize::from(after[1..].starts_with(['+', '-']));
            let digits = after[1 + sign..].bytes().take_while(u8::is_ascii_digit).count();
            end += if digits > 0 { 1 + sign + digits } else { 0 };
        }
        match rest[..end].parse() {
            Ok(number) => {
                self.at += end;
                Ok(Value::Number(number))
            }
            Err(_) => Err(self.wrong()),
        }
    }

    fn step(&mut self) -> Result<Option<Step>> {
        if self.takes("?") {
            self.wants("(")?;
            let condition = self.condition()?;
            self.wants(")")?;
            return Ok(Some(Step::Filter(Box::new(condition))));
        }
        if self.takes("[") {
            let mut places = Vec::new();
            loop {
                if self.takes("*") {
                    places.push(Place::All);
                } else {
                    let from = self.value()?;
                    places.push(match self.word("to") {
                        true => Place::Range(from, self.value()?),
                        false => Place::One(from),
                    });
                }
                if !self.takes(",") {
                    break;
                }
            }
            self.wants("]")?;
            return Ok(Some(Step::Places(places)));
        }
        if !self.takes(".") {
            return Ok(None);
        }
        if self.takes("**") {
            return self.within().map(Some);
        }
        if self.takes("*") {
            return Ok(Some(Step::Keys));
        }
        self.skip();
        if self.rest().starts_with('"') {
            return Ok(Some(Step::Key(self.quoted()?)));
        }
        let name = self.name();
        if name.is_empty() {
            return Err(self.wrong());
        }
        if self.takes("(") {
            const METHODS: [&str; 6] = ["type", "size", "double", "ceiling", "floor", "abs"];
            return match METHODS.into_iter().find(|method| *method == name) {
                Some(method) => {
                    self.wants(")")?;
                    Ok(Some(Step::Method(method)))
                }
                None => Err(bad_value(format!("`.{name}()` of JSON paths is not supported"))),
            };
        }
        Ok(Some(Step::Key(name)))
    }

    /// What stands behind `.**`: the depths that are meant.
    fn within(&mut self) -> Result<Step> {
        if !self.takes("{") {
            return Ok(Step::Within(0, u32::MAX));
        }
        let depth = |reader: &mut Self| -> Result<u32> {
            if reader.word("last") {
                return Ok(u32::MAX);
            }
            reader.skip();
            let rest = reader.rest();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest[..end].parse().map_err(|_| reader.wrong())?;
            reader.at += end;
            Ok(number)
        };
        let least = depth(self)?;
        let most = match self.word("to") {
            true => depth(self)?,
            false => least,
        };
        self.wants("}")?;
        Ok(Step::Within(least, most))
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_letter(c)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.at += end;
        name
    }

    fn quoted(&mut self) -> Result<String> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, letter)| {
            let ends = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end.filter(|_| rest.starts_with('"')) else {
            return Err(self.wrong());
        };
        let written = &rest[..=end];
        let text = serde_json::from_str(written).map_err(|_| self.wrong())?;
        self.at += written.len();
        Ok(text)
    }
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_is_refused() {
        for text in
            ["", "$.", "$[", "$ ? (@", "$.a.keyvalue()", "$ ? (1)", "$.a b", "$[1,]", "$.\"a"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000))).is_err());
        for text in
            ["$", "strict $.a[*]", "lax $ ? (!(@.a == 1) && exists(@.b))", "$[0 to last - 1]"]
        {
            assert!(read(text).is_ok(), "{text}");
        }
    }
}
