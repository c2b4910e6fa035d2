//! `'%s' % value`: printf-style formatting.

use super::float;
use crate::error::Error;
use crate::state::State;
use crate::value::{Str, Value, repr};

pub(crate) fn format(
    template: &Str,
    values: &Value,
    state: &mut State<'_>,
) -> Result<String, Error> {
    let mut args: std::vec::IntoIter<Value> = match values {
        Value::Tuple(items) => <[Value]>::to_vec(items).into_iter(),
        other => vec![other.clone()].into_iter(),
    };
    let mut used_mapping = false;
    let mut out = String::with_capacity(template.len());
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let incomplete = || Error::runtime("incomplete format");
        let mut named = None;
        if chars.next_if_eq(&'(').is_some() {
            let mut name = String::new();
            let mut depth = 1;
            for c in chars.by_ref() {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                name.push(c);
            }
            if depth > 0 {
                return Err(Error::runtime("incomplete format key"));
            }
            named = Some(name);
        }
        let (mut left, mut plus, mut space, mut zero, mut alternate) =
            (false, false, false, false, false);
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | ' ' | '0' | '#')) {
            match flag {
                '-' => left = true,
                '+' => plus = true,
                ' ' => space = true,
                '0' => zero = true,
                _ => alternate = true,
            }
        }
        let mut next_arg = |named: &Option<String>| -> Result<Value, Error> {
            match named {
                Some(name) => {
                    used_mapping = true;
                    match values {
                        Value::Dict(dict) => dict
                            .get_str(name)
                            .ok_or_else(|| Error::runtime(format!("KeyError: '{name}'"))),
                        _ => Err(Error::type_error("format requires a mapping")),
                    }
                }
                None => args
                    .next()
                    .ok_or_else(|| Error::type_error("not enough arguments for format string")),
            }
        };
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
                      next_arg: &mut dyn FnMut(&Option<String>) -> Result<Value, Error>|
         -> Result<Option<i128>, Error> {
            if chars.next_if_eq(&'*').is_some() {
                return next_arg(&None)?
                    .as_int()
                    .map(Some)
                    .ok_or_else(|| Error::type_error("* wants int"));
            }
            let mut value: Option<i128> = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = i128::from(digit.to_digit(10).unwrap_or(0));
                value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            Ok(value)
        };
        let mut width = number(&mut chars, &mut next_arg)?.unwrap_or(0);
        if width < 0 {
            left = true;
            width = width.saturating_neg();
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            precision = Some(number(&mut chars, &mut next_arg)?.unwrap_or(0).max(0));
        }
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        let precision = precision.map(|digits| usize::try_from(digits).unwrap_or(usize::MAX));
        state.charge_text(width.max(precision.unwrap_or(0)))?;
        if precision.is_some_and(|digits| digits > 100_000) {
            return Err(Error::runtime("precision too large"));
        }
        while chars.next_if(|c| matches!(c, 'h' | 'l' | 'L')).is_some() {}
        let kind = chars.next().ok_or_else(incomplete)?;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = next_arg(&named)?;
        let sign_for = |negative: bool| match (negative, plus, space) {
            (true, _, _) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let (sign, body, numeric) = match kind {
            's' | 'r' | 'a' => {
                let text = if kind == 's' { value.to_string() } else { repr(&value) };
                let text = match precision {
                    Some(digits) => text.chars().take(digits).collect(),
                    None => text,
                };
                ("", text, false)
            }
            'c' => {
                let text = match &value {
                    Value::Str(text) if text.char_count() == 1 => text.to_string(),
                    other => other
                        .as_i64()
                        .and_then(|code| u32::try_from(code).ok())
                        .and_then(char::from_u32)
                        .map(String::from)
                        .ok_or_else(|| Error::type_error("%c requires int or char"))?,
                };
                ("", text, false)
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let number = match &value {
                    Value::Float(number) if matches!(kind, 'd' | 'i' | 'u') => {
                        if !number.is_finite() {
                            return Err(Error::runtime("cannot convert float to integer"));
                        }
                        number.trunc() as i128
                    }
                    Value::Undefined(undefined) => return Err(undefined.error()),
                    other => other.as_int().ok_or_else(|| {
                        let wanted = if matches!(kind, 'd' | 'i' | 'u') {
                            "a real number"
                        } else {
                            "an integer"
                        };
                        Error::type_error(format!(
                            "%{kind} format: {wanted} is required, not {}",
                            other.type_name()
                        ))
                    })?,
                };
                let magnitude = number.unsigned_abs();
                let mut digits = match kind {
                    'x' => format!("{magnitude:x}"),
                    'X' => format!("{magnitude:X}"),
                    'o' => format!("{magnitude:o}"),
                    _ => magnitude.to_string(),
                };
                if let Some(least) = precision {
                    let missing = least.saturating_sub(digits.len());
                    digits.insert_str(0, &"0".repeat(missing));
                }
                if alternate {
                    let prefix = match kind {
                        'x' => "0x",
                        'X' => "0X",
                        'o' => "0o",
                        _ => "",
                    };
                    digits.insert_str(0, prefix);
                }
                (sign_for(number < 0), digits, true)
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let number = match &value {
                    Value::Undefined(undefined) => return Err(undefined.error()),
                    other => other.as_f64().ok_or_else(|| {
                        Error::type_error(format!("must be real number, not {}", other.type_name()))
                    })?,
                };
                let negative = number.is_sign_negative() && !number.is_nan();
                let magnitude = number.abs();
                let digits = precision.unwrap_or(6);
                let text = match float::special(magnitude) {
                    Some(special) => special.to_string(),
                    None => match kind.to_ascii_lowercase() {
                        'e' => float::scientific(magnitude, digits),
                        'f' => float::fixed(magnitude, digits),
                        _ => float::general(magnitude, digits, alternate),
                    },
                };
                let text = if kind.is_ascii_uppercase() { text.to_uppercase() } else { text };
                (sign_for(negative), text, magnitude.is_finite())
            }
            other => {
                return Err(Error::runtime(format!(
                    "unsupported format character '{other}' (0x{:x})",
                    other as u32
                )));
            }
        };
        let length = sign.len() + body.chars().count();
        let missing = width.saturating_sub(length);
        if left {
            out.push_str(sign);
            out.push_str(&body);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if zero && numeric {
            out.push_str(sign);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(&body);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(sign);
            out.push_str(&body);
        }
        state.charge_text(out.len() / 8)?;
    }
    let single_mapping = matches!(values, Value::Dict(_) | Value::List(_) | Value::Object(_));
    if !used_mapping && args.next().is_some() && !single_mapping {
        return Err(Error::type_error("not all arguments converted during string formatting"));
    }
    state.charge_text(out.len())?;
    Ok(out)
}
