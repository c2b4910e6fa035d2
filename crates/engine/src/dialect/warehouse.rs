//! Calls of Snowflake and BigQuery whose meaning hangs on how an argument is written: a number of digits, the name
//! of a day, the letters that part a text, a pattern of values.

use datafusion::sql::sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr, Value};
use tidemill_core::{Result, SqlDialect};

use super::refused;
use super::rules::{literal_of, template};
use crate::syntax::{call, cast_as, number, text};

/// What the rule `@by` makes of a call; `None`: there is no such rule here.
pub(super) fn done(
    by: &str,
    args: &[Expr],
    dialect: SqlDialect,
    name: &str,
) -> Option<Result<Expr>> {
    Some(match (by, args) {
        ("tokens", [value]) => tokens(value, " "),
        ("tokens", [value, letters]) => {
            literal_of(letters, name).and_then(|letters| tokens(value, letters))
        }
        ("token", [value]) => tokens(value, " ").map(|list| nth(list, number(1))),
        ("token", [value, letters]) => literal_of(letters, name)
            .and_then(|letters| tokens(value, letters))
            .map(|list| nth(list, number(1))),
        ("token", [value, letters, place]) => literal_of(letters, name)
            .and_then(|letters| tokens(value, letters))
            .map(|list| nth(list, place.clone())),
        ("cut", [value, how]) => cut(value, how, dialect),
        ("next_day", [value, day]) => weekday(day, name).and_then(|day| {
            let written =
                "(cast(x as date) + cast((d - date_part('isodow', x) + 6) % 7 + 1 as int))";
            template(written, &[("x", value.clone()), ("d", number(day))], dialect)
        }),
        ("previous_day", [value, day]) => weekday(day, name).and_then(|day| {
            let written =
                "(cast(x as date) - cast((date_part('isodow', x) - d + 6) % 7 + 1 as int))";
            template(written, &[("x", value.clone()), ("d", number(day))], dialect)
        }),
        ("moment", [value, form]) => moment(value, form, dialect, name),
        ("numeric", [value, digits @ ..]) => numeric(value, digits, name),
        ("printf", [pattern, values @ ..]) => printf(pattern, values, dialect, name),
        _ => return None,
    })
}

/// The parts of a text between these letters, without empty ones.
fn tokens(value: &Expr, letters: &str) -> Result<Expr> {
    let parts = match letters.chars().count() {
        1 => call("string_to_array", vec![value.clone(), text(letters)]),
        _ => {
            let mut pattern = "[".to_owned();
            for letter in letters.chars() {
                if !letter.is_alphanumeric() && letter.is_ascii_graphic() {
                    pattern.push('\\');
                }
                pattern.push(letter);
            }
            pattern.push(']');
            call("regexp_split_to_array", vec![value.clone(), text(&pattern)])
        }
    };
    Ok(call("array_remove_all", vec![parts, text("")]))
}

fn nth(list: Expr, place: Expr) -> Expr {
    call("array_element", vec![list, place])
}

/// `trunc(x, 2)` of a number, `trunc(x, 'month')` of a date.
fn cut(value: &Expr, how: &Expr, dialect: SqlDialect) -> Result<Expr> {
    let is_text = matches!(how, Expr::Value(literal)
        if matches!(literal.value, Value::SingleQuotedString(_)));
    if !is_text {
        return Ok(call("trunc", vec![value.clone(), how.clone()]));
    }
    let word = literal_of(how, "trunc")?;
    let Some(unit) = crate::functions::date_unit(word) else {
        return Err(refused(&format!("`trunc` to `{word}`"), "use `date_trunc`"));
    };
    let parameters = [("x", value.clone()), ("u", text(unit))];
    template("(u operator(tidemill.trunc) x)", &parameters, dialect)
}

/// The number of a day of the week, Monday being 1.
fn weekday(day: &Expr, name: &str) -> Result<u64> {
    let word = literal_of(day, name)?.to_lowercase();
    let days = ["mo", "tu", "we", "th", "fr", "sa", "su"];
    match (1..).zip(days).find(|(_, start)| word.starts_with(start)) {
        Some((number, _)) => Ok(number),
        None => Err(refused(&format!("the day `{word}` in `{name}`"), "use `mo`, `tu`, …, `su`")),
    }
}

/// A moment in a text of this form, or in so many parts of a second since 1970.
fn moment(value: &Expr, form: &Expr, dialect: SqlDialect, name: &str) -> Result<Expr> {
    let parameters = |form: Expr| [("x", value.clone()), ("f", form)];
    if let Expr::Value(literal) = form
        && let Value::Number(..) = literal.value
    {
        let written = "cast(tidemill_seconds(x, f) as timestamp)";
        return template(written, &parameters(form.clone()), dialect);
    }
    let pattern = super::formats::pattern(literal_of(form, name)?, dialect)?;
    let written = "cast(to_timestamp(x, f) as timestamp)";
    template(written, &parameters(text(&pattern)), dialect)
}

/// `to_number(x, 10, 2)`
fn numeric(value: &Expr, digits: &[Expr], name: &str) -> Result<Expr> {
    let written = |expr: &Expr| match expr {
        Expr::Value(literal) => match &literal.value {
            Value::Number(digits, _) => digits.parse::<u64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let numbers: Option<Vec<u64>> = digits.iter().map(written).collect();
    let info = match numbers.as_deref() {
        Some([precision]) => ExactNumberInfo::PrecisionAndScale(*precision, 0),
        Some([precision, scale]) => match i64::try_from(*scale) {
            Ok(scale) => ExactNumberInfo::PrecisionAndScale(*precision, scale),
            Err(_) => return Err(refused(&format!("`{name}` with so many digits"), "")),
        },
        _ => {
            return Err(refused(
                &format!("`{name}` with a pattern"),
                "give the digits: `to_number(x, 10, 2)`",
            ));
        }
    };
    let data_type = DataType::Numeric(info);
    let kind = if name.starts_with("try_") { CastKind::TryCast } else { CastKind::Cast };
    Ok(cast_as(kind, value.clone(), data_type))
}

/// `format('%s is %d', a, b)`
fn printf(pattern: &Expr, values: &[Expr], dialect: SqlDialect, name: &str) -> Result<Expr> {
    let written = literal_of(pattern, name)?;
    let unknown = |what: &str| {
        Err(refused(&format!("`{what}` in a pattern of `format`"), "use `concat` and casts"))
    };
    let mut plain = String::with_capacity(written.len());
    let mut arguments = Vec::with_capacity(values.len() + 1);
    let mut given = values.iter();
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        if letter != '%' {
            continue;
        }
        let mut form = String::new();
        let kind = loop {
            match letters.next() {
                Some(digit) if digit.is_ascii_digit() || matches!(digit, '.' | '-' | '+') => {
                    form.push(digit);
                }
                Some(kind) => break kind,
                None => return unknown("%"),
            }
        };
        plain.push_str(&form);
        if kind == '%' {
            plain.push('%');
            continue;
        }
        let Some(value) = given.next() else {
            return Err(refused(&format!("`{name}` with fewer values than its pattern has"), ""));
        };
        match kind {
            'd' | 's' | 'f' | 'x' => {
                plain.push(kind);
                arguments.push(value.clone());
            }
            'i' => {
                plain.push('d');
                arguments.push(value.clone());
            }
            't' => {
                plain.push('s');
                let shown = "coalesce(cast(v as varchar), 'NULL')";
                arguments.push(template(shown, &[("v", value.clone())], dialect)?);
            }
            other => return unknown(&format!("%{form}{other}")),
        }
    }
    arguments.insert(0, text(&plain));
    Ok(call("printf", arguments))
}
