//! Digits of floating point numbers in the notations of `%` and `format`.

/// `%f`: fixed notation.
pub(crate) fn fixed(number: f64, precision: usize) -> String {
    format!("{number:.precision$}")
}

/// `%e`: scientific notation with at least two digits of exponent.
pub(crate) fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `%g`: the shorter of both, with `precision` significant digits.
pub(crate) fn general(number: f64, precision: usize, keep_zeros: bool) -> String {
    let precision = precision.max(1);
    if number == 0.0 {
        let zero = if number.is_sign_negative() { "-0" } else { "0" };
        return if keep_zeros && precision > 1 {
            format!("{zero}.{}", "0".repeat(precision - 1))
        } else {
            zero.to_string()
        };
    }
    let rounded = format!("{:.*e}", precision - 1, number);
    let exponent: i32 =
        rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let trim = |text: String| -> String {
        if keep_zeros || !text.contains('.') {
            return text;
        }
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    if exponent < -4 || exponent >= precision as i32 {
        let text = scientific(number, precision - 1);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        format!("{}e{exponent}", trim(mantissa.to_string()))
    } else {
        let digits = (precision as i32 - 1 - exponent).max(0) as usize;
        trim(fixed(number, digits))
    }
}

/// `inf` and `nan`, which all notations share.
pub(crate) fn special(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("nan")
    } else if number.is_infinite() {
        Some(if number < 0.0 { "-inf" } else { "inf" })
    } else {
        None
    }
}
