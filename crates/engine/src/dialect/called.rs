//! Calls of DuckDB whose meaning hangs on how an argument is written: a list of paths, a path with `*`, a
//! list of names.

use datafusion::sql::sqlparser::ast::{Expr, Value};
use tidemill_core::{Result, SqlDialect};

use super::refused;
use super::rules::{literal_of, template};
use crate::syntax::{array_of, call, number, text};

/// What the rule `@by` makes of a call; `None`: there is no such rule here.
pub(super) fn done(by: &str, args: &[Expr], dialect: SqlDialect) -> Option<Result<Expr>> {
    Some(match (by, args) {
        ("json_values", [document, path]) => {
            Ok(by_path(document, path, "tidemill_json_at", "tidemill_json_all"))
        }
        ("json_texts", [document, path]) => {
            Ok(by_path(document, path, "json_path", "tidemill_json_all_texts"))
        }
        ("list_folded", [list, name, argument]) => folded(list, name, argument),
        ("groups", [value, pattern, names]) => groups(value, pattern, names, dialect),
        ("bucket_from", [span, value, from]) => bucket(span, value, from, dialect),
        _ => return None,
    })
}

fn literal(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

fn by_path(document: &Expr, path: &Expr, one: &str, all: &str) -> Expr {
    match path {
        Expr::Array(paths) => {
            array_of(paths.elem.iter().map(|path| by_path(document, path, one, all)).collect())
        }
        path => {
            let several =
                literal(path).is_some_and(|path| path.starts_with('$') && path.contains('*'));
            call(if several { all } else { one }, vec![document.clone(), path.clone()])
        }
    }
}

/// `list_aggregate(l, 'string_agg', ', ')`.
fn folded(list: &Expr, name: &Expr, argument: &Expr) -> Result<Expr> {
    match literal_of(name, "list_aggregate")?.to_lowercase().as_str() {
        "string_agg" | "group_concat" | "listagg" => {
            Ok(call("array_to_string", vec![list.clone(), argument.clone()]))
        }
        other => Err(refused(
            &format!("`list_aggregate` with `{other}` and an argument"),
            "unnest the list and aggregate again",
        )),
    }
}

/// `regexp_extract(x, p, ['y', 'm'])`: a struct of the pattern's groups.
fn groups(value: &Expr, pattern: &Expr, group: &Expr, dialect: SqlDialect) -> Result<Expr> {
    let one = |group: &Expr| {
        let parameters = [("x", value.clone()), ("p", pattern.clone()), ("n", group.clone())];
        let written = "case when x is not null then coalesce(regexp_extract(x, p, n), '') end";
        template(written, &parameters, dialect)
    };
    let Expr::Array(names) = group else { return one(group) };
    let mut fields = Vec::new();
    for (place, name) in (1_u64..).zip(&names.elem) {
        fields.push(text(literal_of(name, "regexp_extract")?));
        fields.push(one(&number(place))?);
    }
    Ok(call("named_struct", fields))
}

/// `time_bucket(span, x, from)`: from a moment on, or so much later than usual.
fn bucket(span: &Expr, value: &Expr, from: &Expr, dialect: SqlDialect) -> Result<Expr> {
    let parameters = [("i", span.clone()), ("x", value.clone()), ("o", from.clone())];
    if crate::syntax::is_interval_text(from) {
        let usual = super::functions::done(
            "bucket",
            &[span.clone(), template("(cast(x as timestamp) - o)", &parameters, dialect)?],
            dialect,
            "time_bucket",
        )?;
        let later = template(
            "(cast(b as timestamp) + o)",
            &[("b", usual), parameters[2].clone()],
            dialect,
        )?;
        return template(
            "(x operator(tidemill.dated) b)",
            &[parameters[1].clone(), ("b", later)],
            dialect,
        );
    }
    let bucket =
        template("date_bin(i, cast(x as timestamp), cast(o as timestamp))", &parameters, dialect)?;
    template("(x operator(tidemill.dated) b)", &[parameters[1].clone(), ("b", bucket)], dialect)
}
