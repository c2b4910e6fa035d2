//! Filters on numbers.

use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::state::State;
use crate::text::{float as digits, is_space};
use crate::value::{Value, negate};

pub(super) fn abs(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [] = args.bind("abs", [], 0)?;
    match value {
        Value::Undefined(undefined) => Err(undefined.error()),
        Value::Float(number) => Ok(Value::Float(number.abs())),
        Value::Object(object) => {
            object.operate("abs", &Value::None, false).unwrap_or_else(|| Err(bad_operand(value)))
        }
        other => match other.as_int() {
            Some(number) if number < 0 => negate(&Value::Int(number)),
            Some(number) => Ok(Value::Int(number)),
            None => Err(bad_operand(other)),
        },
    }
}

fn bad_operand(value: &Value) -> Error {
    Error::type_error(format!("bad operand type for abs(): '{}'", value.type_name()))
}

pub(super) fn int(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [default, base] = args.bind("do_int", ["default", "base"], 0)?;
    let base = base.as_ref().map_or(Ok(10), expect_int)?;
    let converted = match value {
        Value::Undefined(undefined) => return Err(undefined.error()),
        Value::Str(text) => parse_int(text, base).or_else(|| parse_float(text).and_then(truncate)),
        Value::Float(number) => truncate(*number),
        other => other.as_int(),
    };
    Ok(converted.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
}

fn truncate(number: f64) -> Option<i128> {
    (number.is_finite() && number.abs() < 1.7e38).then_some(number.trunc() as i128)
}

/// Python's `int(text, base)`.
pub(crate) fn parse_int(text: &str, base: i128) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixed = |prefix: &str, radix: i128| {
        lower.strip_prefix(prefix).filter(|_| base == radix || base == 0).map(|rest| (rest, radix))
    };
    let (digits, radix) = prefixed("0x", 16)
        .or_else(|| prefixed("0o", 8))
        .or_else(|| prefixed("0b", 2))
        .unwrap_or((lower.as_str(), if base == 0 { 10 } else { base }));
    let radix = u32::try_from(radix).ok().filter(|radix| (2..=36).contains(radix))?;
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let digits = digits.replace('_', "");
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(&digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

/// Python's `float(text)`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space).to_ascii_lowercase();
    if text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    text.replace('_', "").parse().ok()
}

pub(super) fn float(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [default] = args.bind("do_float", ["default"], 0)?;
    let converted = match value {
        Value::Undefined(undefined) => return Err(undefined.error()),
        Value::Str(text) => parse_float(text),
        other => other.as_f64(),
    };
    Ok(converted.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
}

pub(super) fn round(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [precision, method] = args.bind("do_round", ["precision", "method"], 0)?;
    let precision = precision.as_ref().map_or(Ok(0), expect_int)?;
    let precision = i32::try_from(precision.clamp(-400, 400)).unwrap_or(0);
    let method = method.map_or_else(|| "common".to_string(), |method| method.to_string());
    if let Value::Undefined(undefined) = value {
        return Err(undefined.error());
    }
    let number = value.as_f64().ok_or_else(|| {
        Error::type_error(format!("type {} doesn't define __round__ method", value.type_name()))
    })?;
    match method.as_str() {
        "common" => {
            if let Some(whole) = value.as_int() {
                return Ok(Value::Int(if precision < 0 {
                    round_whole(whole, -precision)
                } else {
                    whole
                }));
            }
            Ok(Value::Float(round_float(number, precision)))
        }
        "ceil" | "floor" => {
            let scale = 10f64.powi(precision);
            let scaled = number * scale;
            let whole = if method == "ceil" { scaled.ceil() } else { scaled.floor() };
            Ok(Value::Float(whole / scale))
        }
        _ => Err(Error::runtime("method must be common, ceil or floor")),
    }
}

/// Python's `round(number, precision)`: half to even, on the exact decimal value.
fn round_float(number: f64, precision: i32) -> f64 {
    if !number.is_finite() {
        return number;
    }
    if precision >= 0 {
        return digits::fixed(number, precision as usize).parse().unwrap_or(number);
    }
    let scale = 10f64.powi(-precision);
    (number / scale).round_ties_even() * scale
}

fn round_whole(number: i128, zeros: i32) -> i128 {
    let Some(unit) = u32::try_from(zeros).ok().and_then(|zeros| 10i128.checked_pow(zeros)) else {
        return 0;
    };
    let (quotient, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = match (rest * 2).cmp(&unit) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    (quotient + i128::from(up)) * unit
}

pub(super) fn file_size(
    value: &Value,
    args: &Args,
    _state: &mut State<'_>,
) -> Result<Value, Error> {
    let [binary] = args.bind("do_filesizeformat", ["binary"], 0)?;
    let bytes = match value {
        Value::Str(text) => parse_float(text),
        other => other.as_f64(),
    };
    let bytes = bytes.ok_or_else(|| Error::type_error("a number of bytes is required"))?;
    let (base, prefixes) = if binary.is_some_and(|flag| flag.is_true()) {
        (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
    };
    if bytes == 1.0 {
        return Ok(Value::str("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::from(format!("{} Bytes", bytes.trunc())));
    }
    let mut unit = base;
    for (index, prefix) in prefixes.iter().enumerate() {
        unit *= base;
        if bytes < unit || index == prefixes.len() - 1 {
            return Ok(Value::from(format!("{:.1} {prefix}", base * bytes / unit)));
        }
    }
    Ok(Value::None)
}
