//! Tests: what may follow `is`.

use std::cmp::Ordering;

use crate::error::{Error, ErrorKind};
use crate::filters;
use crate::function::{Args, expect_int};
use crate::nearest::nearest;
use crate::state::State;
use crate::value::{Value, compare};

/// A test on a value.
pub(crate) type Predicate = fn(&Value, &Args, &mut State<'_>) -> Result<bool, Error>;

const TABLE: &[(&str, Predicate)] = &[
    ("!=", |v, a, _| Ok(*v != other(a)?)),
    ("<", |v, a, _| ordered(v, a, "<", |o| o == Ordering::Less)),
    ("<=", |v, a, _| ordered(v, a, "<=", |o| o != Ordering::Greater)),
    ("==", |v, a, _| Ok(*v == other(a)?)),
    (">", |v, a, _| ordered(v, a, ">", |o| o == Ordering::Greater)),
    (">=", |v, a, _| ordered(v, a, ">=", |o| o != Ordering::Less)),
    ("boolean", |v, _, _| Ok(matches!(v, Value::Bool(_)))),
    ("callable", |v, _, _| Ok(v.is_callable())),
    ("defined", |v, _, _| Ok(!v.is_undefined())),
    ("divisibleby", divisible_by),
    ("eq", |v, a, _| Ok(*v == other(a)?)),
    ("equalto", |v, a, _| Ok(*v == other(a)?)),
    ("escaped", |_, _, _| Ok(false)),
    ("even", |v, _, _| remainder(v).map(|rest| rest == 0)),
    ("false", |v, _, _| Ok(matches!(v, Value::Bool(false)))),
    ("filter", |v, _, _| Ok(v.as_str().is_some_and(|name| filters::find(name).is_some()))),
    ("float", |v, _, _| Ok(matches!(v, Value::Float(_)))),
    ("ge", |v, a, _| ordered(v, a, ">=", |o| o != Ordering::Less)),
    ("greaterthan", |v, a, _| ordered(v, a, ">", |o| o == Ordering::Greater)),
    ("gt", |v, a, _| ordered(v, a, ">", |o| o == Ordering::Greater)),
    ("in", |v, a, _| other(a)?.contains(v)),
    ("integer", |v, _, _| Ok(matches!(v, Value::Int(_)))),
    ("iterable", |v, _, _| Ok(v.is_iterable())),
    ("le", |v, a, _| ordered(v, a, "<=", |o| o != Ordering::Greater)),
    ("lessthan", |v, a, _| ordered(v, a, "<", |o| o == Ordering::Less)),
    ("lower", |v, _, _| cased(v, char::is_lowercase, char::is_uppercase)),
    ("lt", |v, a, _| ordered(v, a, "<", |o| o == Ordering::Less)),
    ("mapping", |v, _, _| Ok(is_mapping(v))),
    ("ne", |v, a, _| Ok(*v != other(a)?)),
    ("none", |v, _, _| Ok(v.is_none())),
    ("number", |v, _, _| Ok(matches!(v, Value::Int(_) | Value::Float(_) | Value::Bool(_)))),
    ("odd", |v, _, _| remainder(v).map(|rest| rest == 1)),
    ("sameas", |v, a, _| Ok(v.same_as(&other(a)?))),
    ("sequence", |v, _, _| Ok(is_sequence(v))),
    ("string", |v, _, _| Ok(matches!(v, Value::Str(_)))),
    ("test", |v, _, _| Ok(v.as_str().is_some_and(|name| find(name).is_some()))),
    ("true", |v, _, _| Ok(matches!(v, Value::Bool(true)))),
    ("undefined", |v, _, _| Ok(v.is_undefined())),
    ("upper", |v, _, _| cased(v, char::is_uppercase, char::is_lowercase)),
];

/// The test of this name.
pub(crate) fn find(name: &str) -> Option<Predicate> {
    TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|index| TABLE[index].1)
}

/// The error for a name that is no test.
pub(crate) fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::Syntax, format!("No test named '{name}'."));
    let names: Vec<&str> = TABLE.iter().map(|(known, _)| *known).collect();
    match nearest(name, &names) {
        Some(known) => error.with_hint(format!("did you mean `{known}`?")),
        None => error,
    }
}

fn other(args: &Args) -> Result<Value, Error> {
    let [value] = args.bind("test", ["other"], 1)?;
    Ok(value.unwrap_or(Value::None))
}

fn ordered(
    value: &Value,
    args: &Args,
    symbol: &str,
    holds: fn(Ordering) -> bool,
) -> Result<bool, Error> {
    Ok(compare(value, &other(args)?, symbol)?.is_some_and(holds))
}

fn remainder(value: &Value) -> Result<i128, Error> {
    match value {
        Value::Float(number) => Ok(if number.rem_euclid(2.0) == 1.0 {
            1
        } else if number.rem_euclid(2.0) == 0.0 {
            0
        } else {
            2
        }),
        other => Ok(expect_int(other)?.rem_euclid(2)),
    }
}

fn divisible_by(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<bool, Error> {
    let [number] = args.bind("test_divisibleby", ["num"], 1)?;
    let number = expect_int(&number.unwrap_or(Value::None))?;
    if number == 0 {
        return Err(Error::runtime("integer modulo by zero"));
    }
    Ok(expect_int(value)? % number == 0)
}

fn cased(value: &Value, wanted: fn(char) -> bool, other: fn(char) -> bool) -> Result<bool, Error> {
    let text = value.to_string();
    Ok(text.chars().any(wanted) && !text.chars().any(other))
}

pub(crate) fn is_mapping(value: &Value) -> bool {
    match value {
        Value::Dict(_) => true,
        Value::Object(object) => object.is_mapping(),
        _ => false,
    }
}

/// As Jinja2: has a length and items by key, so strings and dicts count.
pub(crate) fn is_sequence(value: &Value) -> bool {
    match value {
        Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) => true,
        // `Undefined` has both methods too; asking for an item fails before that.
        Value::Undefined(_) => true,
        Value::Object(object) => object.is_sequence() || object.is_mapping(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
