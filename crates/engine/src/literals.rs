//! Literals, patterns and places in arrays in the words that the planner knows.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Interval, Subscript, UnaryOperator, Value,
    ValueWithSpan,
};
use tidemill_core::{Error, ErrorKind, Result};

use crate::syntax::{binary, call, cast, nested, number, plain_arguments, simple_name, text};

/// `interval '1 year 02:03:04'` in the words that the planner knows.
pub(crate) fn rewrite_interval(interval: &mut Interval) -> Result<Option<Expr>> {
    let Expr::Value(value) = interval.value.as_ref() else { return Ok(None) };
    let Value::SingleQuotedString(text) = &value.value else { return Ok(None) };
    if interval.last_field.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "an interval of several fields is written as in `interval '1 day 02:00:00'`",
        ));
    }
    let whole = match &interval.leading_field {
        Some(unit) => format!("{text} {unit}"),
        None => text.clone(),
    };
    let Some(value) = crate::functions::read_interval(&whole) else {
        return Err(Error::new(
            ErrorKind::Query,
            format!("invalid input syntax for type interval: \"{whole}\""),
        ));
    };
    let plain =
        format!("{} months {} days {} nanoseconds", value.months, value.days, value.nanoseconds);
    *interval.value = self::text(&plain);
    interval.leading_field = None;
    Ok(None)
}

/// `1.5e3` as the decimal that it is; a double when it has more digits than a decimal can have.
pub(crate) fn rewrite_number(value: &Value) -> Result<Option<Expr>> {
    let Value::Number(digits, false) = value else { return Ok(None) };
    let Some((mantissa, exponent)) = digits.split_once(['e', 'E']) else { return Ok(None) };
    let Ok(exponent) = exponent.parse::<i32>() else { return Ok(None) };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i64 + i64::from(exponent);
    const MOST: i64 = 38;
    let places = (all.len() as i64 - point).max(0);
    if point.max(1) + places > MOST {
        if digits.parse::<f64>().is_ok_and(f64::is_infinite) {
            let message = format!("double precision out of range: {digits}");
            return Err(Error::new(ErrorKind::Query, message));
        }
        return Ok(Some(cast(text(digits), DataType::DoublePrecision)));
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    // With a point at its end it is a decimal and not an integer.
    let written = if point <= 0 {
        format!("0.{}{all}", zeros(-point))
    } else if places == 0 {
        format!("{all}{}.", zeros(point - all.len() as i64))
    } else {
        let at = usize::try_from(point).unwrap_or(0);
        format!("{}.{}", &all[..at], &all[at..])
    };
    Ok(Some(Expr::Value(Value::Number(written, false).with_empty_span())))
}

/// `a similar to b` is `a ~ tidemill_similar(b)`.
pub(crate) fn similar_to(
    negated: bool,
    value: &Expr,
    pattern: &Expr,
    escape: Option<&ValueWithSpan>,
) -> Expr {
    let mut arguments = vec![pattern.clone()];
    arguments.extend(escape.map(|escape| Expr::Value(escape.clone())));
    let op = if negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    nested(binary(value.clone(), op, call("tidemill_similar", arguments)))
}

/// `a like any (array['x', 'y'])` is `a like 'x' or a like 'y'`; another escape than the backslash
/// becomes one.
pub(crate) fn rewrite_like(
    negated: bool,
    any: bool,
    value: &Expr,
    pattern: &Expr,
    escape: Option<&ValueWithSpan>,
    any_case: bool,
) -> Result<Option<Expr>> {
    let like = |pattern: Expr| {
        let (expr, pattern) = (Box::new(value.clone()), Box::new(pattern));
        match any_case {
            true => Expr::ILike { negated, any: false, expr, pattern, escape_char: None },
            false => Expr::Like { negated, any: false, expr, pattern, escape_char: None },
        }
    };
    if any {
        let patterns = match pattern {
            Expr::Array(array) => array.elem.clone(),
            Expr::Tuple(patterns) => patterns.clone(),
            Expr::Nested(inner) => match inner.as_ref() {
                Expr::Array(array) => array.elem.clone(),
                other => vec![other.clone()],
            },
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "`like any` takes patterns that are written out: `like any (array['a%', 'b%'])`",
                ));
            }
        };
        let alternatives = patterns.into_iter().map(like);
        let all = alternatives.reduce(|all, next| binary(all, BinaryOperator::Or, next));
        return Ok(all.map(nested));
    }
    let Some(Value::SingleQuotedString(escape)) = escape.map(|escape| &escape.value) else {
        return Ok(None);
    };
    if escape == "\\" {
        return Ok(Some(like(pattern.clone())));
    }
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(pattern), .. }) = pattern
    else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "`like … escape` takes a pattern that is written out",
        ));
    };
    let escape = escape.chars().next();
    let mut written = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == escape => {
                written.push('\\');
                written.extend(letters.next());
            }
            '\\' => written.push_str("\\\\"),
            letter => written.push(letter),
        }
    }
    Ok(Some(like(text(&written))))
}

/// BigQuery's `x[offset(0)]` counts from 0, `x[ordinal(1)]` from 1; arrays count from 1 here.
pub(crate) fn count_from_one(access: &mut AccessExpr) {
    let AccessExpr::Subscript(Subscript::Index { index }) = access else { return };
    let Expr::Function(function) = &*index else { return };
    let (Some(name), Some(arguments)) = (simple_name(function), plain_arguments(function)) else {
        return;
    };
    let [place] = arguments.as_slice() else { return };
    match name.as_str() {
        "offset" | "safe_offset" => {
            *index = binary(place.clone(), BinaryOperator::Plus, number(1));
        }
        "ordinal" | "safe_ordinal" => *index = place.clone(),
        _ => {}
    }
}

/// `x[:2]` is `x[1:2]`, and `x[2:]` is `x[2:-1]`; nothing where no slice lacks a bound.
pub(crate) fn whole_slices(chain: &[AccessExpr]) -> Option<Vec<AccessExpr>> {
    let lacks = |step: &AccessExpr| {
        matches!(
            step,
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. })
                if lower_bound.is_none() || upper_bound.is_none()
        )
    };
    if !chain.iter().any(lacks) {
        return None;
    }
    let mut chain = chain.to_vec();
    for step in &mut chain {
        if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = step {
            lower_bound.get_or_insert_with(|| number(1));
            upper_bound.get_or_insert_with(|| Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(number(1)),
            });
        }
    }
    Some(chain)
}

/// What `regexp_replace` puts in place, in the words of ours: `\1` is a group, `\&` all that was found, `\\` a
/// backslash, and `$` means nothing, nor does `\0`.
pub(crate) fn known_to_replacement(written: &str) -> String {
    let mut known = String::with_capacity(written.len());
    let mut letters = written.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '$' => known.push_str("$$"),
            '\\' => match letters.next_if(|next| matches!(next, '\\' | '&' | '1'..='9')) {
                Some('\\') | None => {
                    known.push('\\');
                    // A group that no pattern has is nothing; without it the function would see one here.
                    if letters.peek().is_some_and(char::is_ascii_digit) {
                        known.push_str("${tidemill}");
                    }
                }
                Some('&') => known.push_str("${0}"),
                Some(group) => known.push_str(&format!("${{{group}}}")),
            },
            other => known.push(other),
        }
    }
    known
}

/// `\m`, `\M`, `\y`, `\Y` and `\Z` of PostgreSQL's regular expressions, in a pattern that is written out, in
/// the words of ours.
pub(crate) fn known_to_regex(pattern: &mut Expr) {
    match pattern {
        Expr::Nested(inner) => known_to_regex(inner),
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            let mut written = String::with_capacity(text.len());
            let mut letters = text.chars();
            while let Some(letter) = letters.next() {
                written.push(letter);
                if letter != '\\' {
                    continue;
                }
                match letters.next() {
                    Some('m') => written.push('<'),
                    Some('M') => written.push('>'),
                    Some('y') => written.push('b'),
                    Some('Y') => written.push('B'),
                    Some('Z') => written.push('z'),
                    Some(other) => written.push(other),
                    None => {}
                }
            }
            *text = written;
        }
        _ => {}
    }
}
