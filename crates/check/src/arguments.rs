//! Reading a test's arguments, with errors that name the test and the argument.

use serde_json::Value;
use tidemill_core::{Error, ErrorKind, RelationName, Result};

use crate::TestDefinition;

impl TestDefinition {
    fn wrong(&self, message: String) -> Error {
        Error::new(ErrorKind::Config, message).with("test", &self.id)
    }

    /// The column that the test stands under, or its argument `column_name`.
    pub(crate) fn column(&self) -> Result<String> {
        let named = || self.text("column_name").ok().flatten();
        self.column.clone().or_else(named).ok_or_else(|| {
            self.wrong(format!("`{}` needs a column: put it under one", self.full_name()))
        })
    }

    /// An argument that is there and not null.
    fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.get(name).filter(|value| !value.is_null())
    }

    /// A text or number as SQL text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        match self.argument(name) {
            None => Ok(None),
            Some(value) => match plain(value) {
                Some(text) => Ok(Some(text)),
                None => Err(self.wrong(format!("`{name}` must be a text or a number"))),
            },
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| {
            self.wrong(format!("`{}` needs the argument `{name}`", self.full_name()))
        })
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.trim().parse();
        number.map(Some).map_err(|_| self.wrong(format!("`{name}: {text}` is not a number")))
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.argument(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(self.wrong(format!("`{name}: {other}` must be true or false"))),
        }
    }

    /// A list of texts or numbers.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>> {
        let wrong = || self.wrong(format!("`{}` needs `{name}`, a list", self.full_name()));
        let Some(Value::Array(items)) = self.argument(name) else { return Err(wrong()) };
        items.iter().map(|item| plain(item).ok_or_else(wrong)).collect()
    }

    /// A list, or nothing when the argument is missing.
    pub(crate) fn optional_list(&self, name: &str) -> Result<Vec<String>> {
        match self.argument(name) {
            None => Ok(Vec::new()),
            Some(_) => self.list(name),
        }
    }

    /// The relation that a rendered `ref()` or `source()` names; `None` when the text is something
    /// else, such as a subquery.
    pub(crate) fn relation_argument(&self, name: &str) -> Result<Option<RelationName>> {
        Ok(parse_relation(&self.required(name)?))
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        // As Jinja prints them into dbt's SQL.
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.to_owned()),
        _ => None,
    }
}

/// Reads `"schema"."name"` and `"database"."schema"."name"`, quoted or not.
pub(crate) fn parse_relation(text: &str) -> Option<RelationName> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix(['"', '`']) {
            let quote = rest.chars().next()?;
            let mut name = String::new();
            let mut tail = quoted;
            loop {
                let end = tail.find(quote)?;
                name.push_str(&tail[..end]);
                tail = &tail[end + 1..];
                match tail.strip_prefix(quote) {
                    Some(after) => {
                        name.push(quote);
                        tail = after;
                    }
                    None => break,
                }
            }
            part = name;
            rest = tail;
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(rest.len());
            part = rest[..end].to_lowercase();
            rest = &rest[end..];
        }
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    let name = parts.pop()?;
    let schema = parts.pop()?;
    (parts.len() <= 1).then(|| RelationName::new(schema, name))
}

/// A text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_from_rendered_text() {
        for (text, expected) in [
            ("\"main\".\"orders\"", Some(("main", "orders"))),
            ("\"lake\".\"main\".\"Orders\"", Some(("main", "Orders"))),
            ("Main.Orders", Some(("main", "orders"))),
            ("\"a\"\"b\".\"c.d\"", Some(("a\"b", "c.d"))),
            ("(select 1)", None),
            ("orders", None),
            ("a.b.c.d", None),
            ("\"a\".\"b\" as x", None),
            ("", None),
        ] {
            let expected = expected.map(|(schema, name)| RelationName::new(schema, name));
            assert_eq!(parse_relation(text), expected, "{text}");
        }
    }
}
