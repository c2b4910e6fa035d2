//! Methods of Python's own types.

pub(crate) mod dict;
pub(crate) mod generator;
pub(crate) mod list;
pub(crate) mod set;
pub(crate) mod string;

use crate::error::Error;
use crate::function::Args;
use crate::nearest::nearest;
use crate::state::State;
use crate::value::Value;

fn methods(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Str(_) => string::METHODS,
        Value::List(_) => list::METHODS,
        Value::Tuple(_) => list::TUPLE_METHODS,
        Value::Dict(_) => dict::METHODS,
        Value::Int(_) | Value::Bool(_) => &["bit_length"],
        Value::Float(_) => &["is_integer"],
        Value::Object(object) => object.methods(),
        _ => &[],
    }
}

pub(crate) fn has_method(value: &Value, name: &str) -> bool {
    methods(value).contains(&name)
}

pub(crate) fn nearest_method(value: &Value, name: &str) -> Option<&'static str> {
    nearest(name, methods(value))
}

/// Attributes of plain values that are no methods.
pub(crate) fn attribute(value: &Value, name: &str) -> Option<Value> {
    match (value, name) {
        (Value::Int(_) | Value::Bool(_), "real" | "numerator") => value.as_int().map(Value::Int),
        (Value::Int(_) | Value::Bool(_), "imag") => Some(Value::Int(0)),
        (Value::Int(_) | Value::Bool(_), "denominator") => Some(Value::Int(1)),
        (Value::Float(_), "real") => Some(value.clone()),
        (Value::Float(_), "imag") => Some(Value::Float(0.0)),
        _ => None,
    }
}

/// Calls a method of a plain value; `None` when there is no such method.
pub(crate) fn call_method(
    value: &Value,
    name: &str,
    args: &Args,
    state: &mut State<'_>,
) -> Option<Result<Value, Error>> {
    if !has_method(value, name) {
        return None;
    }
    Some(match value {
        Value::Str(text) => string::call(text, name, args, state),
        Value::List(items) => list::call(items, name, args, state),
        Value::Tuple(items) => list::call_tuple(items, name, args),
        Value::Dict(entries) => dict::call(entries, name, args, state),
        Value::Float(number) => Ok(Value::Bool(number.is_finite() && number.fract() == 0.0)),
        other => {
            let bits =
                other.as_int().map_or(0, |number| 128 - number.unsigned_abs().leading_zeros());
            Ok(Value::from(bits))
        }
    })
}
