//! `format(value, spec)`: Python's format mini-language.

use super::float;
use crate::error::Error;
use crate::state::State;
use crate::value::{Value, float_repr};

#[derive(Debug, Clone)]
struct Spec {
    fill: char,
    align: Option<char>,
    sign: char,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

fn parse(text: &str, type_name: &str) -> Result<Spec, Error> {
    let invalid = || {
        Error::runtime(format!(
            "Invalid format specifier '{text}' for object of type '{type_name}'"
        ))
    };
    let mut spec = Spec {
        fill: ' ',
        align: None,
        sign: '-',
        alternate: false,
        zero: false,
        width: 0,
        grouping: None,
        precision: None,
        kind: None,
    };
    let mut chars = text.chars().peekable();
    let is_align = |c: char| matches!(c, '<' | '>' | '=' | '^');
    let mut ahead = text.chars();
    let first = ahead.next();
    let has_fill = ahead.next().is_some_and(is_align);
    if has_fill {
        spec.fill = first.unwrap_or(' ');
        chars.next();
        spec.align = chars.next();
    } else if first.is_some_and(is_align) {
        spec.align = chars.next();
    }
    if let Some(sign) = chars.next_if(|c| matches!(c, '+' | '-' | ' ')) {
        spec.sign = sign;
    }
    chars.next_if_eq(&'z');
    spec.alternate = chars.next_if_eq(&'#').is_some();
    if chars.next_if_eq(&'0').is_some() {
        spec.zero = true;
        if !has_fill {
            spec.fill = '0';
        }
        if spec.align.is_none() {
            spec.align = Some('=');
        }
    }
    let number =
        |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<usize>, Error> {
            let mut value: Option<usize> = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).unwrap_or(0) as usize;
                value = Some(
                    value
                        .unwrap_or(0)
                        .checked_mul(10)
                        .and_then(|value| value.checked_add(digit))
                        .ok_or_else(|| Error::runtime("Too many decimal digits in format string"))?,
                );
            }
            Ok(value)
        };
    spec.width = number(&mut chars)?.unwrap_or(0);
    spec.grouping = chars.next_if(|c| matches!(c, ',' | '_'));
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = Some(
            number(&mut chars)?
                .ok_or_else(|| Error::runtime("Format specifier missing precision"))?,
        );
    }
    spec.kind = chars.next();
    if chars.next().is_some() {
        return Err(invalid());
    }
    Ok(spec)
}

/// Python's `format(value, spec)`.
pub(crate) fn format(value: &Value, text: &str, state: &mut State<'_>) -> Result<String, Error> {
    if let Value::Object(object) = value
        && let Some(result) = object.format(text)
    {
        return result;
    }
    if text.is_empty() {
        return Ok(value.to_string());
    }
    let spec = parse(text, value.type_name())?;
    state.charge_text(spec.width.saturating_add(spec.precision.unwrap_or(0)))?;
    if spec.precision.is_some_and(|precision| precision > 100_000) {
        return Err(Error::runtime("precision too big"));
    }
    match value {
        Value::Str(content) => string(content, &spec),
        Value::Int(number) => integer(*number, &spec, "int"),
        Value::Bool(flag) if spec.kind.is_none() || spec.kind == Some('s') => {
            // Python formats a bool with a specification as an int.
            integer(i128::from(*flag), &spec, "bool")
        }
        Value::Bool(flag) => integer(i128::from(*flag), &spec, "bool"),
        Value::Float(number) => floating(*number, &spec),
        Value::Undefined(undefined) => Err(undefined.error()),
        other => Err(Error::type_error(format!(
            "unsupported format string passed to {}.__format__",
            other.type_name()
        ))),
    }
}

fn unknown(kind: char, type_name: &str) -> Error {
    Error::runtime(format!("Unknown format code '{kind}' for object of type '{type_name}'"))
}

fn string(content: &str, spec: &Spec) -> Result<String, Error> {
    if let Some(kind) = spec.kind.filter(|kind| *kind != 's') {
        return Err(unknown(kind, "str"));
    }
    if spec.sign != '-' {
        return Err(Error::runtime("Sign not allowed in string format specifier"));
    }
    if spec.grouping.is_some() {
        return Err(Error::runtime("Cannot specify ',' with 's'."));
    }
    if spec.align == Some('=') && !spec.zero {
        return Err(Error::runtime("'=' alignment not allowed in string format specifier"));
    }
    let content: String = match spec.precision {
        Some(precision) => content.chars().take(precision).collect(),
        None => content.to_string(),
    };
    let align = if spec.align == Some('=') { '<' } else { spec.align.unwrap_or('<') };
    Ok(pad(&content, spec, align))
}

fn pad(content: &str, spec: &Spec, align: char) -> String {
    let length = content.chars().count();
    let missing = spec.width.saturating_sub(length);
    if missing == 0 {
        return content.to_string();
    }
    let left = match align {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let mut out = String::with_capacity(content.len() + missing);
    out.extend(std::iter::repeat_n(spec.fill, left));
    out.push_str(content);
    out.extend(std::iter::repeat_n(spec.fill, missing - left));
    out
}

/// Sign, prefix and digits (with a fraction behind) put together to the width.
fn number(sign: &str, prefix: &str, digits: &str, rest: &str, every: usize, spec: &Spec) -> String {
    let align = spec.align.unwrap_or('>');
    let mut digits = digits.to_string();
    if let Some(separator) = spec.grouping {
        if align == '=' && spec.fill == '0' {
            // Zeros that fill up are grouped as well.
            let taken = sign.len() + prefix.len() + rest.chars().count();
            while grouped(&digits, separator, every).chars().count() + taken < spec.width {
                digits.insert(0, '0');
            }
            let text = grouped(&digits, separator, every);
            // A group never starts with the separator: one digit more than the width asks for.
            return format!("{sign}{prefix}{text}{rest}");
        }
        digits = grouped(&digits, separator, every);
    }
    if align == '=' {
        let body = format!("{digits}{rest}");
        let taken = sign.chars().count() + prefix.len() + body.chars().count();
        let fill: String =
            std::iter::repeat_n(spec.fill, spec.width.saturating_sub(taken)).collect();
        return format!("{sign}{prefix}{fill}{body}");
    }
    pad(&format!("{sign}{prefix}{digits}{rest}"), spec, align)
}

fn grouped(digits: &str, separator: char, every: usize) -> String {
    let count = digits.chars().count();
    let mut out = String::with_capacity(count + count / every);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (count - index).is_multiple_of(every) {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}

fn sign_of(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.sign) {
        (true, _) => "-",
        (false, '+') => "+",
        (false, ' ') => " ",
        _ => "",
    }
}

fn integer(value: i128, spec: &Spec, type_name: &str) -> Result<String, Error> {
    let kind = spec.kind.unwrap_or('d');
    if matches!(kind, 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') {
        return floating(value as f64, spec);
    }
    if spec.precision.is_some() {
        return Err(Error::runtime("Precision not allowed in integer format specifier"));
    }
    let magnitude = value.unsigned_abs();
    let (digits, prefix, every) = match kind {
        'd' | 'n' => (magnitude.to_string(), "", 3),
        'b' => (format!("{magnitude:b}"), "0b", 4),
        'o' => (format!("{magnitude:o}"), "0o", 4),
        'x' => (format!("{magnitude:x}"), "0x", 4),
        'X' => (format!("{magnitude:X}"), "0X", 4),
        'c' => {
            let c = u32::try_from(value)
                .ok()
                .and_then(char::from_u32)
                .ok_or_else(|| Error::runtime("%c arg not in range(0x110000)"))?;
            return Ok(pad(&c.to_string(), spec, spec.align.unwrap_or('<')));
        }
        other => return Err(unknown(other, type_name)),
    };
    let prefix = if spec.alternate { prefix } else { "" };
    Ok(number(sign_of(value < 0, spec), prefix, &digits, "", every, spec))
}

fn floating(value: f64, spec: &Spec) -> Result<String, Error> {
    let negative = value.is_sign_negative() && !value.is_nan();
    let magnitude = value.abs();
    let sign = sign_of(negative, spec);
    let percent = spec.kind == Some('%');
    if let Some(special) = float::special(magnitude) {
        let text = match spec.kind {
            Some('E' | 'F' | 'G') => special.to_uppercase(),
            _ => special.to_string(),
        };
        return Ok(number(sign, "", &text, if percent { "%" } else { "" }, usize::MAX, spec));
    }
    let precision = spec.precision.unwrap_or(6);
    let mut text = match spec.kind {
        Some('f' | 'F') => float::fixed(magnitude, precision),
        Some('%') => float::fixed(magnitude * 100.0, precision),
        Some('e') => float::scientific(magnitude, precision),
        Some('E') => float::scientific(magnitude, precision).to_uppercase(),
        Some('g' | 'n') => float::general(magnitude, precision, spec.alternate),
        Some('G') => float::general(magnitude, precision, spec.alternate).to_uppercase(),
        None => match spec.precision {
            None => float_repr(magnitude),
            Some(precision) => {
                let text = float::general(magnitude, precision, false);
                if text.contains(['.', 'e']) {
                    text
                } else if text.len() > precision.max(1) {
                    float::scientific(magnitude, precision.max(1) - 1)
                } else {
                    format!("{text}.0")
                }
            }
        },
        Some(other) => return Err(unknown(other, "float")),
    };
    if percent {
        text.push('%');
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Ok(number(sign, "", digits, rest, 3, spec))
}
