//! Functions of lists and maps that take a function: `transform(l, x -> x + 1)`, `filter`, `exists`, `aggregate`
//! of Databricks and Snowflake; and `from_json` with the types of Spark.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Value, visit_expressions_mut};
use tidemill_core::{Result, SqlDialect};

use super::refused;
use super::rules::{closed, literal_of, template};
use crate::names::folded;
use crate::syntax::{LAMBDA, call, plain_arguments, simple_name, text};

/// What the rule `@by` makes of a call; `None`: there is no such rule here.
pub(super) fn done(
    by: &str,
    args: &[Expr],
    dialect: SqlDialect,
    name: &str,
) -> Option<Result<Expr>> {
    // A list may be JSON in text there.
    if dialect == SqlDialect::Snowflake
        && by.starts_with("lambda_")
        && let Some(list) = args.first()
        && !matches!(list, Expr::Function(function)
            if simple_name(function).as_deref() == Some("tidemill_items"))
    {
        let mut args = args.to_vec();
        args[0] = call("tidemill_items", vec![list.clone()]);
        return done(by, &args, dialect, name);
    }
    Some(match (by, args) {
        ("lambda_transform", [list, step]) => transformed(list, step, dialect, name),
        ("lambda_filter", [list, step]) => {
            one_value(step, name).map(|_| call("array_filter", vec![list.clone(), step.clone()]))
        }
        ("lambda_exists", [list, step]) => holds(list, step, dialect, name, true),
        ("lambda_forall", [list, step]) => holds(list, step, dialect, name, false),
        ("lambda_fold", [list, start, step, end @ ..]) => {
            folded_to_one(list, start, step, end, name)
        }
        ("lambda_zip", [left, right, step]) => zipped(left, right, step, dialect, name),
        // What stands under a key of a map, and at a place of a list.
        ("element_at", [value, key]) => Ok(match key {
            Expr::Value(literal) if matches!(literal.value, Value::SingleQuotedString(_)) => {
                call("tidemill_item", vec![value.clone(), key.clone()])
            }
            _ => call("array_element", vec![value.clone(), key.clone()]),
        }),
        ("sorted_by", [list, ascending]) => match ascending {
            Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => {
                let rises = value.value == Value::Boolean(true);
                let (direction, nulls) =
                    if rises { ("ASC", "NULLS FIRST") } else { ("DESC", "NULLS LAST") };
                Ok(call("array_sort", vec![list.clone(), text(direction), text(nulls)]))
            }
            _ => Err(refused(
                &format!("`{name}` with a direction that is not written out"),
                "write `true` or `false`",
            )),
        },
        ("map_of", pairs) if pairs.len().is_multiple_of(2) => {
            let (keys, values) =
                pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).unzip();
            Ok(call("map", vec![call("make_array", keys), call("make_array", values)]))
        }
        ("spark_json", [document, schema]) => {
            literal_of(schema, name).and_then(structure).map(|structure| {
                let document = call("tidemill_try_variant", vec![document.clone()]);
                call("from_json", vec![document, text(&structure.to_string())])
            })
        }
        ("sha2", [value]) => Ok(hash("sha256", value)),
        ("sha2", [value, bits]) => match bits.to_string().as_str() {
            "0" | "256" => Ok(hash("sha256", value)),
            "224" => Ok(hash("sha224", value)),
            "384" => Ok(hash("sha384", value)),
            "512" => Ok(hash("sha512", value)),
            other => Err(refused(&format!("`{name}` of {other} bits"), "use 224, 256, 384 or 512")),
        },
        _ => return None,
    })
}

fn hash(function: &str, value: &Expr) -> Expr {
    call("encode", vec![call(function, vec![value.clone()]), text("hex")])
}

/// The names and the body of a function that a translation wrote as a call.
fn parts(step: &Expr, name: &str) -> Result<(Vec<Ident>, Expr)> {
    let written = match step {
        Expr::Function(function) if simple_name(function).as_deref() == Some(LAMBDA) => {
            plain_arguments(function)
        }
        _ => None,
    };
    let read = written.and_then(|mut arguments| {
        let body = arguments.pop()?;
        let names = arguments.into_iter().map(|argument| match argument {
            Expr::Identifier(name) => Some(name),
            _ => None,
        });
        Some((names.collect::<Option<Vec<Ident>>>()?, body))
    });
    read.ok_or_else(|| refused(&format!("`{name}` without a function `x -> …`"), ""))
}

fn one_value(step: &Expr, name: &str) -> Result<()> {
    match parts(step, name)?.0.len() {
        1 => Ok(()),
        _ => Err(refused(&format!("`{name}` with a function of more than one value"), "")),
    }
}

/// The body with these values in the place of names.
fn with_values(body: &Expr, values: &[(&Ident, Expr)]) -> Expr {
    let mut body = body.clone();
    let _ = visit_expressions_mut(&mut body, |expr| {
        if let Expr::Identifier(name) = expr
            && let Some((_, value)) = values.iter().find(|(known, _)| folded(known) == folded(name))
        {
            *expr = closed(value.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    body
}

fn place() -> Ident {
    Ident::new("tidemill_place")
}

/// A function of the places of a list, from 0.
fn over_places(lists: Vec<Expr>, body: Expr) -> Expr {
    let mut arguments = vec![text("0")];
    arguments.extend(lists);
    let step = call(LAMBDA, vec![Expr::Identifier(place()), body]);
    call("array_transform", vec![call("tidemill_places", arguments), step])
}

fn item_at(list: &Expr, dialect: SqlDialect) -> Result<Expr> {
    let parameters = [("l", list.clone()), ("n", Expr::Identifier(place()))];
    template("array_element(l, n + 1)", &parameters, dialect)
}

fn transformed(list: &Expr, step: &Expr, dialect: SqlDialect, name: &str) -> Result<Expr> {
    let (names, body) = parts(step, name)?;
    match names.as_slice() {
        [_] => Ok(call("array_transform", vec![list.clone(), step.clone()])),
        [item, number] => {
            // The first is 1 in DuckDB.
            let counted = match dialect {
                SqlDialect::DuckDb => {
                    template("n + 1", &[("n", Expr::Identifier(place()))], dialect)?
                }
                _ => Expr::Identifier(place()),
            };
            let values = [(item, item_at(list, dialect)?), (number, counted)];
            Ok(over_places(vec![list.clone()], with_values(&body, &values)))
        }
        _ => Err(refused(&format!("`{name}` with a function of more than two values"), "")),
    }
}

/// True where it is for one (or for all), and unknown where that hangs on a NULL.
fn holds(list: &Expr, step: &Expr, dialect: SqlDialect, name: &str, one: bool) -> Result<Expr> {
    one_value(step, name)?;
    let answers = call("array_transform", vec![list.clone(), step.clone()]);
    let written = match one {
        true => {
            "case when array_has(a, true) then true \
             when cardinality(array_filter(a, tidemill_lambda(tidemill_item, tidemill_item is null))) > 0 \
             then null when l is not null then false end"
        }
        false => {
            "case when array_has(a, false) then false \
             when cardinality(array_filter(a, tidemill_lambda(tidemill_item, tidemill_item is null))) > 0 \
             then null when l is not null then true end"
        }
    };
    template(written, &[("a", answers), ("l", list.clone())], dialect)
}

fn folded_to_one(list: &Expr, start: &Expr, step: &Expr, end: &[Expr], name: &str) -> Result<Expr> {
    if parts(step, name)?.0.len() != 2 {
        return Err(refused(&format!("`{name}` with a function that is not of two values"), ""));
    }
    let made = call("list_reduce", vec![list.clone(), step.clone(), start.clone()]);
    match end {
        [] => Ok(made),
        [end] => {
            let (names, body) = parts(end, name)?;
            let [made_so_far] = names.as_slice() else {
                return Err(refused(&format!("`{name}` with an end of more than one value"), ""));
            };
            Ok(closed(with_values(&body, &[(made_so_far, made)])))
        }
        _ => Err(refused(&format!("`{name}` with these arguments"), "")),
    }
}

fn zipped(left: &Expr, right: &Expr, step: &Expr, dialect: SqlDialect, name: &str) -> Result<Expr> {
    let (names, body) = parts(step, name)?;
    let [first, second] = names.as_slice() else {
        return Err(refused(&format!("`{name}` with a function that is not of two values"), ""));
    };
    let values = [(first, item_at(left, dialect)?), (second, item_at(right, dialect)?)];
    let made = over_places(vec![left.clone(), right.clone()], with_values(&body, &values));
    let written = "case when a is not null and b is not null then m end";
    template(written, &[("a", left.clone()), ("b", right.clone()), ("m", made)], dialect)
}

/// `a int, b array<string>` and `struct<a: int>` as the structure that the engine's `from_json` takes.
fn structure(schema: &str) -> Result<serde_json::Value> {
    let mut reader = Types { rest: schema };
    reader.skip();
    let start = reader.rest;
    let first = reader.word();
    reader.skip();
    // A type, or columns with their types.
    let is_type = reader.rest.is_empty() || reader.rest.starts_with(['<', '(']);
    reader.rest = start;
    let read = match is_type && !first.is_empty() {
        true => reader.kind()?,
        false => reader.fields(None)?,
    };
    reader.skip();
    match reader.rest.is_empty() {
        true => Ok(read),
        false => Err(wrong(schema)),
    }
}

fn wrong(what: &str) -> tidemill_core::Error {
    refused(
        &format!("the types `{what}` of `from_json`"),
        "write them as `a int, b array<string>, c struct<d: double>`",
    )
}

struct Types<'t> {
    rest: &'t str,
}

impl<'t> Types<'t> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, letter: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A name, in backquotes or without.
    fn word(&mut self) -> &'t str {
        self.skip();
        if let Some(quoted) = self.rest.strip_prefix('`')
            && let Some((name, rest)) = quoted.split_once('`')
        {
            self.rest = rest;
            return name;
        }
        let end = self
            .rest
            .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn fields(&mut self, end: Option<char>) -> Result<serde_json::Value> {
        let mut fields = serde_json::Map::new();
        loop {
            let name = self.word();
            if name.is_empty() {
                return Err(wrong(self.rest));
            }
            let _ = self.takes(':');
            let kind = self.kind()?;
            fields.insert(name.to_owned(), kind);
            if self.takes(',') {
                continue;
            }
            let ends = match end {
                Some(end) => self.takes(end),
                None => self.rest.trim_start().is_empty(),
            };
            return match ends {
                true => Ok(serde_json::Value::Object(fields)),
                false => Err(wrong(self.rest)),
            };
        }
    }

    fn kind(&mut self) -> Result<serde_json::Value> {
        let word = self.word().to_lowercase();
        let name = |name: &str| Ok(serde_json::Value::String(name.to_owned()));
        match word.as_str() {
            "array" if self.takes('<') => {
                let item = self.kind()?;
                match self.takes('>') {
                    true => Ok(serde_json::Value::Array(vec![item])),
                    false => Err(wrong(self.rest)),
                }
            }
            "struct" if self.takes('<') => self.fields(Some('>')),
            "string" | "varchar" | "char" => {
                if self.takes('(') {
                    self.word();
                    self.takes(')');
                }
                name("VARCHAR")
            }
            "boolean" => name("BOOLEAN"),
            "tinyint" | "byte" => name("TINYINT"),
            "smallint" | "short" => name("SMALLINT"),
            "int" | "integer" => name("INTEGER"),
            "bigint" | "long" => name("BIGINT"),
            "float" | "real" => name("FLOAT"),
            "double" => name("DOUBLE"),
            "date" => name("DATE"),
            "timestamp" => name("TIMESTAMPTZ"),
            "timestamp_ntz" => name("TIMESTAMP"),
            "decimal" | "dec" | "numeric" => {
                let (mut precision, mut scale) = ("10".to_owned(), "0".to_owned());
                if self.takes('(') {
                    precision = self.word().to_owned();
                    if self.takes(',') {
                        scale = self.word().to_owned();
                    }
                    if !self.takes(')') {
                        return Err(wrong(self.rest));
                    }
                }
                name(&format!("DECIMAL({precision},{scale})"))
            }
            other => Err(wrong(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_spark_are_read() {
        let shown = |schema: &str| structure(schema).unwrap().to_string();
        assert_eq!(shown("a int, `b c` array<string>"), r#"{"a":"INTEGER","b c":["VARCHAR"]}"#);
        assert_eq!(
            shown("struct<a:decimal(10,2),b:struct<c:date>>"),
            r#"{"a":"DECIMAL(10,2)","b":{"c":"DATE"}}"#
        );
        assert_eq!(shown("array<double>"), r#"["DOUBLE"]"#);
        assert!(structure("a map<string,int>").is_err());
        assert!(structure("a").is_err());
        assert!(structure("a int b").is_err());
    }
}
