//! Operators on values, with Python's rules and error texts.

use super::{List, Tuple, Value};
use crate::error::Error;
use crate::state::State;
use crate::text::percent;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

impl BinaryOp {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "//",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "**",
        }
    }
}

fn unsupported(op: BinaryOp, left: &Value, right: &Value) -> Error {
    // Python names `**` with its function too, and joins strings under their own message.
    if op == BinaryOp::Add {
        match left {
            Value::Str(_) => {
                return Error::type_error(format!(
                    "can only concatenate str (not \"{}\") to str",
                    right.type_name()
                ));
            }
            Value::List(_) | Value::Tuple(_) => {
                let own = left.type_name();
                return Error::type_error(format!(
                    "can only concatenate {own} (not \"{}\") to {own}",
                    right.type_name()
                ));
            }
            _ => {}
        }
    }
    let symbol = if op == BinaryOp::Pow { "** or pow()" } else { op.symbol() };
    Error::type_error(format!(
        "unsupported operand type(s) for {symbol}: '{}' and '{}'",
        left.type_name(),
        right.type_name()
    ))
}

fn overflow() -> Error {
    Error::runtime("the result is larger than a 128-bit integer")
}

fn division_by_zero(op: BinaryOp, float: bool) -> Error {
    Error::runtime(match (op, float) {
        (BinaryOp::Div, false) => "division by zero",
        (BinaryOp::Div, true) => "float division by zero",
        (BinaryOp::Mod, true) => "float modulo",
        (_, true) => "float floor division by zero",
        (_, false) => "integer division or modulo by zero",
    })
}

pub(crate) fn binary(
    op: BinaryOp,
    left: &Value,
    right: &Value,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    if let Value::Undefined(undefined) = left {
        return Err(undefined.error());
    }
    if op == BinaryOp::Mod
        && let Value::Str(format) = left
    {
        return percent::format(format, right, state).map(Value::from);
    }
    if let Value::Undefined(undefined) = right {
        return Err(undefined.error());
    }
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        return integers(op, *a, *b);
    }
    if let Value::Object(object) = left
        && let Some(result) = object.operate(op.symbol(), right, false)
    {
        return result;
    }
    if let Value::Object(object) = right
        && let Some(result) = object.operate(op.symbol(), left, true)
    {
        return result;
    }
    match (op, left, right) {
        (BinaryOp::Add, Value::Str(a), Value::Str(b)) => {
            state.charge_text(a.len() + b.len())?;
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(a);
            text.push_str(b);
            return Ok(Value::from(text));
        }
        (BinaryOp::Add, Value::List(a), Value::List(b)) => {
            let mut items = a.to_vec();
            items.extend(b.to_vec());
            state.charge_items(items.len())?;
            return Ok(Value::List(List::new(items)));
        }
        (BinaryOp::Add, Value::Tuple(a), Value::Tuple(b)) => {
            state.charge_items(a.len() + b.len())?;
            return Ok(Value::Tuple(Tuple::new(a.iter().chain(b.iter()).cloned().collect())));
        }
        (BinaryOp::Mul, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_)), times)
        | (BinaryOp::Mul, times, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_))) => {
            let Some(times) = times.as_int() else {
                return Err(Error::type_error(format!(
                    "can't multiply sequence by non-int of type '{}'",
                    times.type_name()
                )));
            };
            return repeat(sequence, usize::try_from(times.max(0)).unwrap_or(usize::MAX), state);
        }
        _ => {}
    }
    match (left.as_int(), right.as_int()) {
        (Some(a), Some(b)) => integers(op, a, b),
        _ => match (left.as_f64(), right.as_f64()) {
            (Some(a), Some(b)) => floats(op, a, b).map(Value::Float),
            _ => Err(unsupported(op, left, right)),
        },
    }
}

fn repeat(sequence: &Value, times: usize, state: &mut State<'_>) -> Result<Value, Error> {
    match sequence {
        Value::Str(text) => repeat_text(text, times, state).map(Value::from),
        Value::List(list) => {
            repeat_items(&list.to_vec(), times, state).map(|items| Value::List(List::new(items)))
        }
        Value::Tuple(items) => {
            repeat_items(items, times, state).map(|items| Value::Tuple(Tuple::new(items)))
        }
        _ => Err(Error::type_error("can't multiply a value that is no sequence")),
    }
}

fn repeat_items(items: &[Value], times: usize, state: &mut State<'_>) -> Result<Vec<Value>, Error> {
    let count = items.len().saturating_mul(times);
    state.charge_items(count)?;
    let mut out = Vec::with_capacity(count);
    for _ in 0..if items.is_empty() { 0 } else { times } {
        out.extend_from_slice(items);
    }
    Ok(out)
}

/// A text repeated, within the budget.
pub(crate) fn repeat_text(
    text: &str,
    times: usize,
    state: &mut State<'_>,
) -> Result<String, Error> {
    state.charge_text(text.len().saturating_mul(times))?;
    Ok(if text.is_empty() { String::new() } else { text.repeat(times) })
}

fn integers(op: BinaryOp, a: i128, b: i128) -> Result<Value, Error> {
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Div => {
            if b == 0 {
                return Err(division_by_zero(op, false));
            }
            return Ok(Value::Float(a as f64 / b as f64));
        }
        BinaryOp::FloorDiv | BinaryOp::Mod if b == 0 => return Err(division_by_zero(op, false)),
        BinaryOp::FloorDiv => a.checked_div_euclid(b).and_then(|_| {
            let quotient = a.checked_div(b)?;
            let rest = a % b;
            Some(if rest != 0 && ((rest < 0) != (b < 0)) { quotient - 1 } else { quotient })
        }),
        BinaryOp::Mod => a
            .checked_rem(b)
            .map(|rest| if rest != 0 && ((rest < 0) != (b < 0)) { rest + b } else { rest }),
        BinaryOp::Pow => {
            if b < 0 {
                if a == 0 {
                    return Err(Error::runtime("0.0 cannot be raised to a negative power"));
                }
                return floats(op, a as f64, b as f64).map(Value::Float);
            }
            match a {
                0 | 1 => Some(if b == 0 { 1 } else { a }),
                -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
                _ => u32::try_from(b).ok().and_then(|power| a.checked_pow(power)),
            }
        }
    };
    result.map(Value::Int).ok_or_else(overflow)
}

fn floats(op: BinaryOp, a: f64, b: f64) -> Result<f64, Error> {
    Ok(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod if b == 0.0 => {
            return Err(division_by_zero(op, true));
        }
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv => float_divmod(a, b).0,
        BinaryOp::Mod => float_divmod(a, b).1,
        BinaryOp::Pow => {
            if a == 0.0 && b < 0.0 {
                return Err(Error::runtime("0.0 cannot be raised to a negative power"));
            }
            if a < 0.0 && b.fract() != 0.0 {
                return Err(Error::runtime("complex numbers are not supported"));
            }
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                return Err(Error::runtime("(34, 'Numerical result out of range')"));
            }
            power
        }
    })
}

/// Python's `divmod` of floats: the rest has the sign of the divisor.
fn float_divmod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(b);
    } else if (rest < 0.0) != (b < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    let mut floor = quotient.floor();
    if quotient == 0.0 {
        floor = 0.0_f64.copysign(a / b);
    } else if quotient - floor > 0.5 {
        floor += 1.0;
    }
    (floor, rest)
}

pub(crate) fn negate(value: &Value) -> Result<Value, Error> {
    match value {
        Value::Undefined(undefined) => Err(undefined.error()),
        Value::Float(number) => Ok(Value::Float(-number)),
        Value::Object(object) => {
            object.operate("neg", &Value::None, false).unwrap_or_else(|| Err(bad_unary("-", value)))
        }
        other => match other.as_int() {
            Some(number) => number.checked_neg().map(Value::Int).ok_or_else(overflow),
            None => Err(bad_unary("-", other)),
        },
    }
}

pub(crate) fn positive(value: &Value) -> Result<Value, Error> {
    match value {
        Value::Undefined(undefined) => Err(undefined.error()),
        Value::Float(number) => Ok(Value::Float(*number)),
        other => other.as_int().map(Value::Int).ok_or_else(|| bad_unary("+", other)),
    }
}

fn bad_unary(symbol: &str, value: &Value) -> Error {
    Error::type_error(format!("bad operand type for unary {symbol}: '{}'", value.type_name()))
}

/// The indices that `[start:stop:step]` picks from a sequence of this length.
fn slice_bounds(
    length: usize,
    start: &Value,
    stop: &Value,
    step: &Value,
) -> Result<Vec<usize>, Error> {
    let index = |value: &Value| -> Result<Option<i128>, Error> {
        match value {
            Value::None => Ok(None),
            other => other.as_int().map(Some).ok_or_else(|| {
                Error::type_error(
                    "slice indices must be integers or None or have an __index__ method",
                )
            }),
        }
    };
    let length = length as i128;
    let step = index(step)?.unwrap_or(1);
    if step == 0 {
        return Err(Error::runtime("slice step cannot be zero"));
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |at: i128| if at < 0 { (at + length).max(low) } else { at.min(high) };
    let start = index(start)?.map_or(if step > 0 { low } else { high }, clamp);
    let stop = index(stop)?.map_or(if step > 0 { high } else { low }, clamp);
    let mut picked = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        picked.push(at as usize);
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(picked)
}

impl Value {
    /// `value[key]` for strings, lists, tuples and dicts; `None` when there is nothing there.
    pub(crate) fn subscript(&self, key: &Value) -> Result<Option<Value>, Error> {
        match self {
            Value::Dict(dict) => Ok(dict.get(key).unwrap_or(None)),
            Value::List(list) => {
                let items = list.lock();
                Ok(position(key, items.len()).and_then(|at| items.get(at).cloned()))
            }
            Value::Tuple(items) => {
                Ok(position(key, items.len()).and_then(|at| items.get(at).cloned()))
            }
            Value::Str(text) => {
                let Some(at) = position(key, text.char_count()) else { return Ok(None) };
                let mut buffer = [0; 4];
                Ok(text.chars().nth(at).map(|c| Value::str(c.encode_utf8(&mut buffer))))
            }
            _ => Ok(None),
        }
    }

    /// `value[start:stop:step]`.
    pub(crate) fn slice(
        &self,
        start: &Value,
        stop: &Value,
        step: &Value,
    ) -> Result<Option<Value>, Error> {
        let pick = |items: &[Value]| -> Result<Vec<Value>, Error> {
            Ok(slice_bounds(items.len(), start, stop, step)?
                .into_iter()
                .map(|at| items[at].clone())
                .collect())
        };
        Ok(Some(match self {
            Value::List(list) => Value::List(List::new(pick(&list.to_vec())?)),
            Value::Tuple(items) => Value::Tuple(Tuple::new(pick(items)?)),
            Value::Str(text) if text.is_ascii() => {
                let bytes = text.as_bytes();
                let picked = slice_bounds(bytes.len(), start, stop, step)?;
                Value::from(picked.into_iter().map(|at| bytes[at] as char).collect::<String>())
            }
            Value::Str(text) => {
                let chars: Vec<char> = text.chars().collect();
                let picked = slice_bounds(chars.len(), start, stop, step)?;
                Value::from(picked.into_iter().map(|at| chars[at]).collect::<String>())
            }
            _ => return Ok(None),
        }))
    }

    /// `needle in self`.
    pub(crate) fn contains(&self, needle: &Value) -> Result<bool, Error> {
        match self {
            Value::Undefined(_) => Ok(false),
            Value::Str(text) => match needle {
                Value::Str(part) => Ok(text.contains(part.as_str())),
                Value::Undefined(undefined) => Err(undefined.error()),
                other => Err(Error::type_error(format!(
                    "'in <string>' requires string as left operand, not {}",
                    other.type_name()
                ))),
            },
            Value::Dict(dict) => dict.contains(needle),
            Value::Tuple(items) => Ok(items.iter().any(|item| item == needle)),
            Value::List(list) => Ok(list.to_vec().iter().any(|item| item == needle)),
            Value::Object(object) => match object.contains(needle) {
                Some(found) => Ok(found),
                None => match object.iterate() {
                    Some(items) => Ok(items.iter().any(|item| item == needle)),
                    None => Err(not_a_container(self)),
                },
            },
            other => Err(not_a_container(other)),
        }
    }
}

fn not_a_container(value: &Value) -> Error {
    Error::type_error(format!("argument of type '{}' is not iterable", value.type_name()))
}

/// The position of an index that may be negative.
fn position(key: &Value, length: usize) -> Option<usize> {
    let at = key.as_int()?;
    let at = if at < 0 { at + length as i128 } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}
