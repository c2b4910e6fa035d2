//! Which columns `columns(…)` names: by `*`, a regular expression, a list of names, or a condition on
//! the name.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, FunctionArgExpr, Ident, LambdaFunction,
    OneOrManyWithParens, RenameSelectItem, UnaryOperator, Value, WildcardAdditionalOptions,
};
use tidemill_core::{Error, ErrorKind, Result};

use super::refused;
use crate::names::{folded, last};
use crate::syntax::{nested, simple_name};

/// A column that is named.
pub(super) struct Chosen {
    pub(super) value: Expr,
    /// What the column of the result is called.
    pub(super) name: String,
    /// The groups of a regular expression in the column's name, the whole of it first.
    pub(super) groups: Vec<String>,
}

impl Chosen {
    fn plain(column: &str) -> Chosen {
        Chosen {
            value: Expr::Identifier(Ident::with_quote('"', column)),
            name: column.to_owned(),
            groups: vec![column.to_owned()],
        }
    }
}

/// The columns that are asked for, among these.
pub(super) fn chosen(asked: &FunctionArgExpr, columns: &[String]) -> Result<Vec<Chosen>> {
    let expr = match asked {
        FunctionArgExpr::Wildcard => {
            return Ok(columns.iter().map(|column| Chosen::plain(column)).collect());
        }
        FunctionArgExpr::WildcardWithOptions(options) => return with_options(options, columns),
        FunctionArgExpr::Expr(expr) => expr,
        _ => return Err(refused("`columns(t.*)`", "write `columns(*)`")),
    };
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(pattern) => matching(pattern, columns),
            _ => Err(refused(&format!("`columns({expr})`"), "give a regular expression as a text")),
        },
        Expr::Array(array) => array
            .elem
            .iter()
            .map(|name| match name {
                Expr::Value(value) => match &value.value {
                    Value::SingleQuotedString(name) => known(name, columns),
                    _ => Err(refused(&format!("`columns({expr})`"), "give names as texts")),
                },
                Expr::Identifier(name) => known(&name.value, columns),
                _ => Err(refused(&format!("`columns({expr})`"), "give names as texts")),
            })
            .collect(),
        Expr::Lambda(lambda) => {
            let mut all = Vec::new();
            for column in columns {
                if holds(lambda, column)? {
                    all.push(Chosen::plain(column));
                }
            }
            Ok(all)
        }
        _ => Err(refused(
            &format!("`columns({expr})`"),
            "give `*`, a regular expression, a list of names or `lambda name: …`",
        )),
    }
}

fn known(name: &str, columns: &[String]) -> Result<Chosen> {
    columns
        .iter()
        .find(|column| column.eq_ignore_ascii_case(name))
        .map(|column| Chosen::plain(column))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Query,
                format!("column `{name}` does not exist; there are {}", listed(columns)),
            )
        })
}

pub(super) fn listed(columns: &[String]) -> String {
    let shown: Vec<String> = columns.iter().take(20).map(|column| format!("`{column}`")).collect();
    shown.join(", ")
}

/// The columns in whose names the pattern is found.
fn matching(pattern: &str, columns: &[String]) -> Result<Vec<Chosen>> {
    let regex = regex::Regex::new(pattern).map_err(|error| {
        Error::new(ErrorKind::Query, format!("`columns('{pattern}')` is no regular expression"))
            .because(error)
    })?;
    Ok(columns
        .iter()
        .filter_map(|column| {
            let found = regex.captures(column)?;
            let group = |group: Option<regex::Match<'_>>| {
                group.map(|group| group.as_str().to_owned()).unwrap_or_default()
            };
            let mut groups: Vec<String> = found.iter().map(group).collect();
            groups[0].clone_from(column);
            Some(Chosen { groups, ..Chosen::plain(column) })
        })
        .collect())
}

/// The names that a wildcard leaves out.
pub(super) fn left_out(options: &WildcardAdditionalOptions) -> Vec<String> {
    let mut names: Vec<String> = match &options.opt_exclude {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => last(name).into_iter().collect(),
        Some(ExcludeSelectItem::Multiple(names)) => names.iter().filter_map(last).collect(),
    };
    if let Some(except) = &options.opt_except {
        names.push(folded(&except.first_element));
        names.extend(except.additional_elements.iter().map(folded));
    }
    names
}

fn with_options(options: &WildcardAdditionalOptions, columns: &[String]) -> Result<Vec<Chosen>> {
    let excluded = left_out(options);
    let renamed: Vec<(String, String)> = match &options.opt_rename {
        None => Vec::new(),
        Some(RenameSelectItem::Single(one)) => vec![(folded(&one.ident), folded(&one.alias))],
        Some(RenameSelectItem::Multiple(all)) => {
            all.iter().map(|one| (folded(&one.ident), folded(&one.alias))).collect()
        }
    };
    for name in excluded.iter().chain(renamed.iter().map(|(name, _)| name)) {
        known(name, columns)?;
    }
    let mut all = Vec::new();
    for column in columns {
        let is = |name: &str| name.eq_ignore_ascii_case(column);
        if excluded.iter().any(|name| is(name)) {
            continue;
        }
        let mut one = Chosen::plain(column);
        if let Some(replace) = &options.opt_replace
            && let Some(item) = replace.items.iter().find(|item| is(&item.column_name.value))
        {
            one.value = nested(item.expr.clone());
        }
        if let Some((_, to)) = renamed.iter().find(|(name, _)| is(name)) {
            one.name.clone_from(to);
        }
        all.push(one);
    }
    Ok(all)
}

/// Whether a condition on the name holds for this one.
fn holds(lambda: &LambdaFunction, column: &str) -> Result<bool> {
    let parameter = match &lambda.params {
        OneOrManyWithParens::One(one) => &one.name,
        OneOrManyWithParens::Many(many) => match many.as_slice() {
            [one] => &one.name,
            _ => return Err(refused("`columns` with a function of two names", "")),
        },
    };
    condition(&lambda.body, &folded(parameter), column)
}

fn condition(expr: &Expr, parameter: &str, column: &str) -> Result<bool> {
    let of = |expr: &Expr| condition(expr, parameter, column);
    let text = |expr: &Expr| text_of(expr, parameter, column);
    Ok(match expr {
        Expr::Nested(inner) => of(inner)?,
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => !of(expr)?,
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => of(left)? && of(right)?,
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => of(left)? || of(right)?,
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => text(left)? == text(right)?,
        Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => text(left)? != text(right)?,
        Expr::Like { negated, expr, pattern, .. } => {
            like(&text(expr)?, &text(pattern)?, false)? != *negated
        }
        Expr::ILike { negated, expr, pattern, .. } => {
            like(&text(expr)?, &text(pattern)?, true)? != *negated
        }
        Expr::InList { expr, list, negated } => {
            let value = text(expr)?;
            let mut found = false;
            for item in list {
                found |= text(item)? == value;
            }
            found != *negated
        }
        Expr::Function(function) => {
            let arguments = crate::syntax::plain_arguments(function).unwrap_or_default();
            let [value, other, ..] = arguments.as_slice() else { return Err(unknown(expr)) };
            let (value, other) = (text(value)?, text(other)?);
            match simple_name(function).unwrap_or_default().as_str() {
                "starts_with" | "prefix" => value.starts_with(&other),
                "ends_with" | "suffix" => value.ends_with(&other),
                "contains" => value.contains(&other),
                "tidemill_similar" | "regexp_full_match" => matches_whole(&value, &other)?,
                "regexp_matches" | "regexp_like" => regex::Regex::new(&other)
                    .map_err(|error| {
                        Error::new(ErrorKind::Query, format!("`{other}` is no regular expression"))
                            .because(error)
                    })?
                    .is_match(&value),
                _ => return Err(unknown(expr)),
            }
        }
        _ => return Err(unknown(expr)),
    })
}

fn matches_whole(value: &str, pattern: &str) -> Result<bool> {
    let whole = format!("^(?:{pattern})$");
    regex::Regex::new(&whole).map(|regex| regex.is_match(value)).map_err(|error| {
        Error::new(ErrorKind::Query, format!("`{pattern}` is no regular expression")).because(error)
    })
}

fn text_of(expr: &Expr, parameter: &str, column: &str) -> Result<String> {
    match expr {
        Expr::Nested(inner) => text_of(inner, parameter, column),
        Expr::Identifier(name) if folded(name) == parameter => Ok(column.to_owned()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Ok(text.clone()),
            _ => Err(unknown(expr)),
        },
        Expr::Function(function) => {
            let arguments = crate::syntax::plain_arguments(function).unwrap_or_default();
            let [value] = arguments.as_slice() else { return Err(unknown(expr)) };
            let value = text_of(value, parameter, column)?;
            match simple_name(function).unwrap_or_default().as_str() {
                "lower" | "lcase" => Ok(value.to_lowercase()),
                "upper" | "ucase" => Ok(value.to_uppercase()),
                "tidemill_as_text" => Ok(value),
                _ => Err(unknown(expr)),
            }
        }
        _ => Err(unknown(expr)),
    }
}

fn like(value: &str, pattern: &str, any_case: bool) -> Result<bool> {
    let mut written = String::from(if any_case { "(?is)^" } else { "(?s)^" });
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => written.push_str(".*"),
            '_' => written.push('.'),
            // The engine's escape, which a translation doubles.
            '\\' => written.push_str(&regex::escape(letters.as_str().get(..1).unwrap_or("\\"))),
            letter => written.push_str(&regex::escape(&letter.to_string())),
        }
        if letter == '\\' {
            letters.next();
        }
    }
    written.push('$');
    regex::Regex::new(&written).map(|regex| regex.is_match(value)).map_err(|error| {
        Error::new(ErrorKind::Query, format!("`{pattern}` is no pattern of `like`")).because(error)
    })
}

fn unknown(expr: &Expr) -> Error {
    refused(
        &format!("`{expr}` as a condition on the names of `columns(…)`"),
        "use `like`, `=`, `in`, `starts_with`, `contains` or `regexp_matches`",
    )
}
