//! Equality, order and hashing as Python defines them.

use std::cell::Cell;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::Value;
use crate::error::Error;

/// Deeper values than this are compared by identity: a list may contain itself.
const DEPTH: usize = 100;

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Object(_), _)
            | (_, Value::Object(_))
            | (Value::List(_), Value::List(_))
            | (Value::Tuple(_), Value::Tuple(_))
            | (Value::Dict(_), Value::Dict(_)) => {
                // Objects compare what is in them by a new `==`, so the depth is counted here.
                let depth = EQUALITIES.replace(EQUALITIES.get() + 1);
                let result = if depth < 50 { equal(self, other, 0) } else { self.same_as(other) };
                EQUALITIES.set(depth);
                result
            }
            _ => equal(self, other, 0),
        }
    }
}

thread_local! {
    /// Comparisons within one another on this thread.
    static EQUALITIES: Cell<usize> = const { Cell::new(0) };
}

fn equal(left: &Value, right: &Value, depth: usize) -> bool {
    match (left, right) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.same_as(b) || (depth < DEPTH && equal_items(&a.to_vec(), &b.to_vec(), depth + 1))
        }
        (Value::Tuple(a), Value::Tuple(b)) => {
            a.same_as(b) || (depth < DEPTH && equal_items(a, b, depth + 1))
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.same_as(b) {
                return true;
            }
            if depth >= DEPTH || a.len() != b.len() {
                return false;
            }
            a.entries().iter().all(|(key, value)| match b.get(key) {
                Ok(Some(other)) => equal(value, &other, depth + 1),
                _ => false,
            })
        }
        (Value::Macro(_), Value::Macro(_)) | (Value::Function(_), Value::Function(_)) => {
            left.same_as(right)
        }
        (Value::Object(a), _) => left.same_as(right) || a.equals(right),
        (_, Value::Object(b)) => b.equals(left),
        _ => match (as_number(left), as_number(right)) {
            (Some(a), Some(b)) => number_order(a, b) == Some(Ordering::Equal),
            _ => false,
        },
    }
}

fn equal_items(left: &[Value], right: &[Value], depth: usize) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| equal(a, b, depth))
}

#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

fn as_number(value: &Value) -> Option<Number> {
    match value {
        Value::Int(number) => Some(Number::Int(*number)),
        Value::Bool(flag) => Some(Number::Int(i128::from(*flag))),
        Value::Float(number) => Some(Number::Float(*number)),
        _ => None,
    }
}

fn number_order(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        (Number::Int(a), Number::Float(b)) => int_float_order(a, b),
        (Number::Float(a), Number::Int(b)) => int_float_order(b, a).map(Ordering::reverse),
    }
}

/// Exact: a large integer is not rounded to the float it is compared with.
fn int_float_order(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // 2^127 as a float is exact; outside of this range the float decides.
    const LIMIT: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    if float >= LIMIT {
        return Some(Ordering::Less);
    }
    if float < -LIMIT {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    Some(int.cmp(&(whole as i128)).then_with(|| {
        let rest = float - whole;
        if rest > 0.0 {
            Ordering::Less
        } else if rest < 0.0 {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }))
}

/// Order of two values; `Ok(None)` when neither is smaller (NaN); an error when the types have
/// no order between them.
pub(crate) fn compare(
    left: &Value,
    right: &Value,
    symbol: &str,
) -> Result<Option<Ordering>, Error> {
    compare_at(left, right, symbol, 0)
}

fn compare_at(
    left: &Value,
    right: &Value,
    symbol: &str,
    depth: usize,
) -> Result<Option<Ordering>, Error> {
    if let Value::Undefined(undefined) = left {
        return Err(undefined.error());
    }
    if let Value::Undefined(undefined) = right {
        return Err(undefined.error());
    }
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => return Ok(Some(a.as_str().cmp(b.as_str()))),
        (Value::List(a), Value::List(b)) => {
            return compare_items(&a.to_vec(), &b.to_vec(), symbol, depth);
        }
        (Value::Tuple(a), Value::Tuple(b)) => return compare_items(a, b, symbol, depth),
        (Value::Object(a), _) => {
            if let Some(order) = a.compare(right) {
                return Ok(order);
            }
        }
        (_, Value::Object(b)) => {
            if let Some(order) = b.compare(left) {
                return Ok(order.map(Ordering::reverse));
            }
        }
        _ => {
            if let (Some(a), Some(b)) = (as_number(left), as_number(right)) {
                return Ok(number_order(a, b));
            }
        }
    }
    Err(Error::type_error(format!(
        "'{symbol}' not supported between instances of '{}' and '{}'",
        left.type_name(),
        right.type_name()
    )))
}

fn compare_items(
    left: &[Value],
    right: &[Value],
    symbol: &str,
    depth: usize,
) -> Result<Option<Ordering>, Error> {
    if depth >= DEPTH {
        return Err(Error::runtime("the values are nested too deeply to be compared"));
    }
    for (a, b) in left.iter().zip(right) {
        if !equal(a, b, depth + 1) {
            return compare_at(a, b, symbol, depth + 1);
        }
    }
    Ok(Some(left.len().cmp(&right.len())))
}

/// Sorts (key, value) pairs by key, stable; with `reverse`, equal keys keep their order too.
pub(crate) fn sort_with_keys<T>(pairs: &mut [(Value, T)], reverse: bool) -> Result<(), Error> {
    let mut failure = None;
    let mut order = |a: &Value, b: &Value| match compare(a, b, "<") {
        Ok(order) => order.unwrap_or(Ordering::Equal),
        Err(error) => {
            failure.get_or_insert(error);
            Ordering::Equal
        }
    };
    if reverse {
        pairs.sort_by(|(a, _), (b, _)| order(b, a));
    } else {
        pairs.sort_by(|(a, _), (b, _)| order(a, b));
    }
    failure.map_or(Ok(()), Err)
}

pub(crate) fn check_hashable(value: &Value) -> Result<(), Error> {
    check_hashable_at(value, 0)
}

fn check_hashable_at(value: &Value, depth: usize) -> Result<(), Error> {
    match value {
        Value::List(_) | Value::Dict(_) => {
            Err(Error::type_error(format!("unhashable type: '{}'", value.type_name())))
        }
        Value::Object(object) if !object.is_hashable() => {
            Err(Error::type_error(format!("unhashable type: '{}'", object.type_name())))
        }
        Value::Tuple(_) if depth >= DEPTH => {
            Err(Error::runtime("the tuple is nested too deeply to be a key"))
        }
        Value::Tuple(items) => items.iter().try_for_each(|item| check_hashable_at(item, depth + 1)),
        _ => Ok(()),
    }
}

pub(crate) fn hash_str<H: Hasher>(text: &str, state: &mut H) {
    state.write_u8(1);
    text.hash(state);
}

/// Equal values hash alike: `1`, `1.0` and `True` are one key.
pub(crate) fn hash_value<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Str(text) => hash_str(text, state),
        Value::Int(number) => hash_int(*number, state),
        Value::Bool(flag) => hash_int(i128::from(*flag), state),
        Value::Float(number) => {
            if number.fract() == 0.0 && number.abs() < 1e38 {
                hash_int(*number as i128, state);
            } else {
                state.write_u8(3);
                number.to_bits().hash(state);
            }
        }
        Value::Tuple(items) => {
            state.write_u8(4);
            for item in items.iter() {
                hash_value(item, state);
            }
        }
        Value::Object(object) => match object.hash_text() {
            Some(text) => {
                state.write_u8(5);
                text.hash(state);
            }
            None => {
                state.write_u8(6);
            }
        },
        Value::None => state.write_u8(7),
        _ => state.write_u8(8),
    }
}

fn hash_int<H: Hasher>(number: i128, state: &mut H) {
    state.write_u8(2);
    number.hash(state);
}
