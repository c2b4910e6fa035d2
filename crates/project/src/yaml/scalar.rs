//! The type of a plain scalar, by PyYAML's rules.

use super::Kind;

/// Resolves the text of a scalar that was written without quotes.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Kind::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Kind::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
        return Kind::Text(text.to_owned());
    }
    match integer(text) {
        Some(number) => return Kind::Int(number),
        None => {
            if let Some(number) = float(text) {
                return Kind::Float(number);
            }
        }
    }
    Kind::Text(text.to_owned())
}

fn split_sign(text: &str) -> (i64, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    }
}

/// `[-+]?0b[0-1_]+ | [-+]?0[0-7_]+ | [-+]?(?:0|[1-9][0-9_]*) | [-+]?0x[0-9a-fA-F_]+`
/// `| [-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+`
pub(super) fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = split_sign(text);
    let radix = |digits: &str, radix: u32| -> Option<i64> {
        let plain: String = digits.chars().filter(|&c| c != '_').collect();
        if plain.is_empty() || !plain.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        i64::from_str_radix(&plain, radix).ok().map(|number| sign * number)
    };
    if let Some(rest) = digits.strip_prefix("0b") {
        return radix(rest, 2);
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return radix(rest, 16);
    }
    if digits == "0" {
        return Some(0);
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return radix(rest, 8);
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if digits.contains(':') {
        let mut total: i64 = 0;
        for (index, part) in digits.split(':').enumerate() {
            let plain: String = part.chars().filter(|&c| c != '_').collect();
            let number: i64 = plain.parse().ok()?;
            if index > 0 && (number > 59 || part.len() > 2 || part.contains('_')) {
                return None;
            }
            total = total.checked_mul(60)?.checked_add(number)?;
        }
        return Some(sign * total);
    }
    radix(digits, 10)
}

/// `[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)? | \.[0-9][0-9_]*(?:[eE][-+][0-9]+)?`
/// `| [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)`
pub(super) fn float(text: &str) -> Option<f64> {
    let (sign, digits) = split_sign(text);
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(sign as f64 * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if sign == 1 => return Some(f64::NAN),
        _ => {}
    }
    let point = digits.find('.')?;
    let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
    let (fraction, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (&fraction[..at], Some(&fraction[at + 1..])),
        None => (fraction, None),
    };
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !is_digits(whole) || !is_digits(fraction) || whole.starts_with('_') {
        return None;
    }
    if whole.is_empty() && !fraction.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['-', '+'])?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
    }
    let plain: String = digits.chars().filter(|&c| c != '_').collect();
    let plain = if plain.starts_with('.') { format!("0{plain}") } else { plain };
    plain.parse::<f64>().ok().map(|number| sign as f64 * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_pyyaml() {
        let cases = [
            ("yes", Kind::Bool(true)),
            ("Off", Kind::Bool(false)),
            ("y", Kind::Text("y".into())),
            ("~", Kind::Null),
            ("", Kind::Null),
            ("12", Kind::Int(12)),
            ("-1_000", Kind::Int(-1000)),
            ("0777", Kind::Int(511)),
            ("0x1F", Kind::Int(31)),
            ("08", Kind::Text("08".into())),
            ("1:30", Kind::Int(90)),
            ("1.5", Kind::Float(1.5)),
            ("1.", Kind::Float(1.0)),
            (".5", Kind::Float(0.5)),
            ("1e5", Kind::Text("1e5".into())),
            ("1.0e5", Kind::Text("1.0e5".into())),
            ("1.0e+5", Kind::Float(100_000.0)),
            ("-.inf", Kind::Float(f64::NEG_INFINITY)),
            ("2013-01-01", Kind::Text("2013-01-01".into())),
            ("1.0.0", Kind::Text("1.0.0".into())),
            ("-", Kind::Text("-".into())),
            ("+", Kind::Text("+".into())),
            ("99999999999999999999", Kind::Text("99999999999999999999".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }
}
