//! One value's text → its number, date or time. Byte slices in, no allocation, exact or `None`.
//!
//! *Strict* is what inference accepts: a value whose text could not be given back from the number
//! (`007`, `+49…`) is not a number. *Lenient* is what a declared type accepts.

/// Powers of ten that an `f64` holds exactly.
const POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The largest magnitude up to which every integer is exactly an `f64`.
pub(crate) const EXACT_DOUBLE: i64 = 1 << 53;

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Whether all eight bytes are ASCII digits.
#[inline(always)]
fn all_digits(word: u64) -> bool {
    const HIGH: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    let over = word.wrapping_add(0x0606_0606_0606_0606) & HIGH;
    (word & HIGH) | (over >> 4) == 0x3333_3333_3333_3333
}

/// Eight ASCII digits, first digit in the lowest byte; `None` if one is not a digit.
#[inline(always)]
fn eight_digits(word: u64) -> Option<u64> {
    if !all_digits(word) {
        return None;
    }
    let mut value = word & 0x0F0F_0F0F_0F0F_0F0F;
    value = value.wrapping_mul(10).wrapping_add(value >> 8);
    let low = (value & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((value >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

/// The eight bytes at `at`, first byte lowest. The caller guarantees padding behind its fields.
#[inline(always)]
fn word_at(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The first `len` (at most 8) bytes of `word` as a number, right-aligned with zeros before it.
#[inline(always)]
fn short_digits(word: u64, len: u32) -> Option<u64> {
    let unused = 64 - 8 * len;
    eight_digits(word.unbounded_shl(unused) | ZEROS.unbounded_shr(8 * len))
}

/// Unsigned digits `data[start..end]`, at most 16 of them, where at least 8 bytes can be read
/// behind `end`.
#[inline(always)]
pub(crate) fn fast_digits(data: &[u8], start: usize, end: usize) -> Option<u64> {
    let len = end - start;
    if len <= 8 {
        if len == 0 {
            return None;
        }
        short_digits(word_at(data, start)?, len as u32)
    } else if len <= 16 {
        let high = eight_digits(word_at(data, start)?)?;
        let rest = (len - 8) as u32;
        let low = short_digits(word_at(data, start + 8)?, rest)?;
        Some(high * POW10_U64[rest as usize] + low)
    } else {
        None
    }
}

const POW10_U64: [u64; 20] = {
    let mut table = [1u64; 20];
    let mut index = 1;
    while index < 20 {
        table[index] = table[index - 1] * 10;
        index += 1;
    }
    table
};

/// A canonical integer within `data`: no sign but `-`, no leading zeros. `None` also for what only
/// the slow path can decide.
#[inline(always)]
pub(crate) fn fast_i64(data: &[u8], start: usize, end: usize) -> Option<i64> {
    let mut first = *data.get(start)?;
    let negative = first == b'-' && end - start > 1;
    let start = start + usize::from(negative);
    if negative {
        first = data[start];
    }
    if first == b'0' && (negative || end - start > 1) {
        return None;
    }
    let value = fast_digits(data, start, end)? as i64;
    Some(if negative { -value } else { value })
}

/// An integer. Strict refuses `+1`, `007` and `-0`.
pub(crate) fn parse_i64(text: &[u8], strict: bool) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if !strict => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    if strict && digits[0] == b'0' && (digits.len() > 1 || negative) {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Towards the negative side, which reaches one further.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A plain decimal of at most 16 bytes (`17`, `-0.04`, `104949.50`). `None` for everything that
/// needs more thought.
#[inline(always)]
pub(crate) fn fast_f64(data: &[u8], start: usize, end: usize) -> Option<f64> {
    if end - start > 1 && data[start] == b'-' {
        return fast_positive(data, start + 1, end).map(|value| -value);
    }
    fast_positive(data, start, end)
}

#[inline(always)]
fn fast_positive(data: &[u8], start: usize, end: usize) -> Option<f64> {
    let len = end - start;
    if len == 0 || len > 16 {
        return None;
    }
    let bytes = data.get(start..)?.first_chunk::<16>()?;
    let word = u128::from_le_bytes(*bytes);
    if bytes[0] == b'0' && len > 1 && bytes[1] != b'.' {
        return None;
    }
    if len <= 8 {
        let (mantissa, decimals) = remove_near_point(word as u64, len as u32)?;
        return Some(mantissa as f64 / POW10[decimals as usize]);
    }
    let (mantissa, decimals) = remove_point(word, len as u32)?;
    if mantissa > EXACT_DOUBLE as u64 {
        return None;
    }
    Some(mantissa as f64 / POW10[decimals as usize])
}

/// The same as [`remove_point`] for at most 8 bytes.
#[inline(always)]
fn remove_near_point(word: u64, len: u32) -> Option<(u64, u32)> {
    let word = word & u64::MAX.unbounded_shr(64 - 8 * len);
    match find_byte(word, b'.') {
        None => Some((short_digits(word, len)?, 0)),
        Some(at) => {
            let before = word & ((1u64 << (8 * at)) - 1);
            let behind = word.unbounded_shr(8 * (at + 1));
            if len == 1 {
                return None;
            }
            Some((short_digits(before | behind << (8 * at), len - 1)?, len - 1 - at))
        }
    }
}

/// A plain decimal of at most 16 bytes with at most `scale` digits behind the point, as an integer
/// of that scale.
#[inline(always)]
pub(crate) fn fast_decimal(
    data: &[u8],
    start: usize,
    end: usize,
    precision: u8,
    scale: i8,
) -> Option<i128> {
    let len = end - start;
    if len == 0 || len > 16 {
        return None;
    }
    let word = u128::from_le_bytes(*data.get(start..)?.first_chunk::<16>()?);
    let (digits, decimals) = match len {
        0..=8 => remove_near_point(word as u64, len as u32)?,
        _ => remove_point(word, len as u32)?,
    };
    let missing = (scale as u32).checked_sub(decimals)?;
    // 16 digits and 3 more are within 64 bits.
    if missing > 3
        || precision < 19 && digits * POW10_U64[missing as usize] >= POW10_U64[precision as usize]
    {
        return None;
    }
    Some(i128::from(digits * POW10_U64[missing as usize]))
}

/// Takes the decimal point out of the first `len` bytes of `word`: (digits as a number, how many
/// digits stood behind the point).
#[inline(always)]
fn remove_point(word: u128, len: u32) -> Option<(u64, u32)> {
    let mask = if len == 16 { u128::MAX } else { (1u128 << (8 * len)) - 1 };
    let word = word & mask;
    let (low, high) = (word as u64, (word >> 64) as u64);
    let point = match find_byte(low, b'.') {
        Some(at) => Some(at),
        None => find_byte(high, b'.').map(|at| at + 8),
    };
    let (digits, count, decimals) = match point {
        None => (word, len, 0),
        Some(at) => {
            let before = if at == 0 { 0 } else { word & ((1u128 << (8 * at)) - 1) };
            let behind = if at == 15 { 0 } else { word >> (8 * (at + 1)) };
            (before | behind << (8 * at), len - 1, len - 1 - at)
        }
    };
    if count == 0 {
        return None;
    }
    let value = if count <= 8 {
        short_digits(digits as u64, count)?
    } else {
        let rest = count - 8;
        let high = eight_digits(digits as u64)?;
        high * POW10_U64[rest as usize] + short_digits((digits >> 64) as u64, rest)?
    };
    Some((value, decimals))
}

/// The index of the first such byte of the word.
#[inline(always)]
fn find_byte(word: u64, byte: u8) -> Option<u32> {
    let x = word ^ (0x0101_0101_0101_0101 * u64::from(byte));
    let found = x.wrapping_sub(0x0101_0101_0101_0101) & !x & 0x8080_8080_8080_8080;
    (found != 0).then(|| found.trailing_zeros() / 8)
}

/// A floating-point number: digits with an optional point and exponent. Strict refuses a leading
/// `+`, leading zeros and infinities (a value too large for the type); `NaN` is a number.
pub(crate) fn parse_f64(text: &[u8], strict: bool) -> Option<f64> {
    if matches!(text, b"NaN" | b"nan") {
        return Some(f64::NAN);
    }
    let unsigned = match text {
        [b'-', rest @ ..] => rest,
        [b'+', rest @ ..] if !strict => rest,
        _ => text,
    };
    if !strict && matches!(unsigned, b"inf" | b"Infinity" | b"INF" | b"infinity") {
        return Some(if text[0] == b'-' { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if strict && unsigned.len() > 1 && unsigned[0] == b'0' && unsigned[1].is_ascii_digit() {
        return None;
    }
    let mut digits = 0usize;
    let mut point = false;
    let mut rest = unsigned.iter();
    for byte in rest.by_ref() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' if !point => point = true,
            b'e' | b'E' if digits > 0 => {
                let exponent = rest.as_slice();
                let exponent = exponent
                    .strip_prefix(b"-")
                    .or_else(|| exponent.strip_prefix(b"+"))
                    .unwrap_or(exponent);
                if exponent.is_empty() || !exponent.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                break;
            }
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// A decimal with `scale` digits behind the point, as an integer. Digits beyond the scale must be
/// zeros; more than `precision` digits do not fit.
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    decimal(text, precision, scale, false)
}

/// The same, where digits beyond the scale may be rounded: halves away from zero.
pub(crate) fn decimal(text: &[u8], precision: u8, scale: i8, rounds: bool) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let scale = usize::try_from(scale).ok()?;
    let mut value: i128 = 0;
    let mut seen = false;
    let mut decimals: Option<usize> = None;
    // The first digit beyond the scale decides.
    let mut up = None;
    for byte in digits {
        match byte {
            b'.' if decimals.is_none() => decimals = Some(0),
            b'0'..=b'9' => {
                seen = true;
                if let Some(count) = &mut decimals {
                    if *count == scale {
                        if *byte != b'0' && !rounds {
                            return None;
                        }
                        up.get_or_insert(*byte >= b'5');
                        continue;
                    }
                    *count += 1;
                }
                value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
            }
            _ => return None,
        }
    }
    if !seen {
        return None;
    }
    for _ in decimals.unwrap_or(0)..scale {
        value = value.checked_mul(10)?;
    }
    value += i128::from(up == Some(true));
    if value >= 10i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// Days since 1970-01-01 of a proleptic Gregorian date, if there is such a day.
#[inline(always)]
pub(crate) fn days_from_civil(year: i32, month: u32, day: u32) -> Option<i32> {
    const LENGTH: [u32; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if month == 0 || month > 12 || day == 0 || day > LENGTH[month as usize] {
        return None;
    }
    if month == 2 && day == 29 && !(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) {
        return None;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms".
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400) as u32;
    let month_index = (month + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era as i32 - 719_468)
}

/// The years whose months are looked up in [`MONTH_STARTS`].
const TABLE_FROM: u32 = 1900;
const TABLE_YEARS: u32 = 200;

/// Days since 1970 of the first of each month from 1900 on, and of the month behind the last.
static MONTH_STARTS: [i32; (TABLE_YEARS * 12 + 1) as usize] = {
    let mut table = [0; (TABLE_YEARS * 12 + 1) as usize];
    let mut at = 0;
    // 1900-01-01.
    let mut days = -25_567;
    while at < table.len() {
        table[at] = days;
        let year = TABLE_FROM + at as u32 / 12;
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        days += match at % 12 {
            1 if leap => 29,
            1 => 28,
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        at += 1;
    }
    table
};

/// `YYYY-MM-DD` at the start of the text.
#[inline(always)]
fn date_at(text: &[u8]) -> Option<i32> {
    let word = text.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))?;
    let tail = text.get(8..10)?;
    let tail = u16::from_le_bytes([tail[0], tail[1]]);
    date_of(word, tail)
}

/// The date of `YYYY-MM-` and `DD`.
#[inline(always)]
fn date_of(word: u64, tail: u16) -> Option<i32> {
    const DASHES: u64 = 0x2D00_002D_0000_0000;
    const DASH_BYTES: u64 = 0xFF00_00FF_0000_0000;
    if word & DASH_BYTES != DASHES {
        return None;
    }
    // YYYY-MM-DD becomes YYYYMMDD.
    let digits =
        (word & 0xFFFF_FFFF) | ((word >> 8) & 0x0000_FFFF_0000_0000) | u64::from(tail) << 48;
    if !all_digits(digits) {
        return None;
    }
    let pairs = digits & 0x0F0F_0F0F_0F0F_0F0F;
    // Each second byte is now the number that it and the one before stand for.
    let pairs = pairs.wrapping_mul(10).wrapping_add(pairs >> 8);
    let pair = |at: u32| (pairs >> (16 * at)) as u32 & 0xFF;
    let (year, month, day) = (pair(0) * 100 + pair(1), pair(2), pair(3));
    let index = year.wrapping_sub(TABLE_FROM);
    if index < TABLE_YEARS && month.wrapping_sub(1) < 12 {
        let at = (index * 12 + month - 1) as usize;
        let start = MONTH_STARTS[at];
        let length = MONTH_STARTS[at + 1] - start;
        return (day.wrapping_sub(1) < length as u32).then(|| start + day as i32 - 1);
    }
    days_from_civil(year as i32, month, day)
}

/// An ISO date, `YYYY-MM-DD`.
#[inline(always)]
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    date_at(text)
}

/// The same for a field of a block with padding behind it.
#[inline(always)]
pub(crate) fn fast_date(data: &[u8], start: usize, end: usize) -> Option<i32> {
    let bytes = data.get(start..)?.first_chunk::<16>()?;
    if end - start != 10 {
        return None;
    }
    let word = u128::from_le_bytes(*bytes);
    date_of(word as u64, (word >> 64) as u16)
}

/// A point in time as text has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    /// Microseconds since 1970: UTC where a zone was given, else of the wall clock.
    pub(crate) micros: i64,
    /// Whether a zone or an offset was given.
    pub(crate) zoned: bool,
    /// Whether digits below a microsecond were lost.
    pub(crate) truncated: bool,
}

fn two(text: &[u8]) -> Option<u32> {
    let (a, b) = (text.first()?.wrapping_sub(b'0'), text.get(1)?.wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then(|| u32::from(a) * 10 + u32::from(b))
}

/// `YYYY-MM-DD[T ]HH:MM[:SS[.f…]][ ][Z|UTC|±HH[[:]MM]]`.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<Instant> {
    let days = date_at(text)?;
    if !matches!(text.get(10)?, b'T' | b' ' | b't') {
        return None;
    }
    let hour = two(text.get(11..)?)?;
    if *text.get(13)? != b':' {
        return None;
    }
    let minute = two(text.get(14..)?)?;
    let mut rest = text.get(16..)?;
    let mut second = 0;
    let mut micros = 0i64;
    let mut truncated = false;
    if let [b':', behind @ ..] = rest {
        second = two(behind)?;
        rest = behind.get(2..)?;
        if let [b'.' | b',', behind @ ..] = rest {
            let count = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 || count > 18 {
                return None;
            }
            for byte in behind[..count.min(6)].iter() {
                micros = micros * 10 + i64::from(*byte - b'0');
            }
            micros *= POW10_U64[6 - count.min(6)] as i64;
            truncated = behind[..count].iter().skip(6).any(|digit| *digit != b'0');
            rest = &behind[count..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = parse_offset(rest)?;
    let seconds = i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second)
        - offset.unwrap_or(0);
    Some(Instant { micros: seconds * 1_000_000 + micros, zoned: offset.is_some(), truncated })
}

/// Seconds east of UTC; the outer `None` is a mistake, the inner one is no zone at all.
fn parse_offset(text: &[u8]) -> Option<Option<i64>> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, digits) = match text {
        [] => return Some(None),
        b"Z" | b"z" | b"UTC" => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours = two(digits)?;
    let minutes = match &digits[2..] {
        [] => 0,
        [b':', rest @ ..] if rest.len() == 2 => two(rest)?,
        rest if rest.len() == 2 => two(rest)?,
        _ => return None,
    };
    if hours > 18 || minutes > 59 {
        return None;
    }
    Some(Some(sign * i64::from(hours * 3600 + minutes * 60)))
}

/// A truth value. Strict takes `true` and `false` in three spellings each.
pub(crate) fn parse_bool(text: &[u8], strict: bool) -> Option<bool> {
    match text {
        b"true" | b"True" | b"TRUE" => Some(true),
        b"false" | b"False" | b"FALSE" => Some(false),
        _ if strict => None,
        b"t" | b"T" | b"y" | b"Y" | b"yes" | b"Yes" | b"YES" | b"1" => Some(true),
        b"f" | b"F" | b"n" | b"N" | b"no" | b"No" | b"NO" | b"0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn padded(text: &str) -> Vec<u8> {
        let mut data = text.as_bytes().to_vec();
        data.extend([b'9'; 32]);
        data
    }

    #[test]
    fn integers() {
        let cases: [(&str, Option<i64>, Option<i64>); 12] = [
            ("0", Some(0), Some(0)),
            ("-0", None, Some(0)),
            ("007", None, Some(7)),
            ("+5", None, Some(5)),
            ("-42", Some(-42), Some(-42)),
            ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
            ("9223372036854775808", None, None),
            ("-9223372036854775808", Some(i64::MIN), Some(i64::MIN)),
            ("", None, None),
            ("-", None, None),
            ("1 ", None, None),
            ("12a", None, None),
        ];
        for (text, strict, lenient) in cases {
            assert_eq!(parse_i64(text.as_bytes(), true), strict, "{text}");
            assert_eq!(parse_i64(text.as_bytes(), false), lenient, "{text}");
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(parse_decimal(b"12.3", 15, 2), Some(1230));
        assert_eq!(parse_decimal(b"-0.05", 15, 2), Some(-5));
        assert_eq!(parse_decimal(b"1.230", 15, 2), Some(123));
        assert_eq!(parse_decimal(b"1.234", 15, 2), None);
        assert_eq!(decimal(b"1.2349", 15, 2, true), Some(123));
        assert_eq!(decimal(b"-1.2350", 15, 2, true), Some(-124));
        assert_eq!(decimal(b"9.995", 3, 2, true), None);
        assert_eq!(parse_decimal(b"1000", 5, 2), None);
        assert_eq!(parse_decimal(b".", 5, 2), None);
        assert_eq!(parse_decimal(b"999.99", 5, 2), Some(99_999));
    }

    #[test]
    fn times() {
        let at = |text: &str| parse_timestamp(text.as_bytes());
        let second = |micros, zoned| Some(Instant { micros, zoned, truncated: false });
        assert_eq!(at("1970-01-01T00:00:01Z"), second(1_000_000, true));
        assert_eq!(at("1970-01-01 00:00:01"), second(1_000_000, false));
        assert_eq!(at("1970-01-01 01:00+01:00"), second(0, true));
        assert_eq!(at("1970-01-01 01:00:00.5 +0100"), second(500_000, true));
        assert_eq!(at("1970-01-01 00:00:00.123456000"), second(123_456, false));
        assert!(at("1970-01-01 00:00:00.1234567").is_some_and(|instant| instant.truncated));
        for bad in ["1970-01-01", "1970-01-01 24:00", "1970-13-01 00:00", "1970-01-01 00:00x"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn fast_integers_agree_with_the_standard_library(
            value in -9_999_999_999_999_999i64..10_000_000_000_000_000,
        ) {
            let text = value.to_string();
            prop_assert_eq!(fast_i64(&padded(&text), 0, text.len()), Some(value));
            prop_assert_eq!(parse_i64(text.as_bytes(), true), Some(value));
        }

        #[test]
        fn fast_numbers_are_right_or_absent(text in "-?[0-9]{0,9}[.]?[0-9]{0,9}|[0-9x.+-]{0,6}") {
            let expected = parse_f64(text.as_bytes(), true);
            if let Some(value) = fast_f64(&padded(&text), 0, text.len()) {
                prop_assert_eq!(Some(value), expected);
            }
            for scale in [0, 2, 5] {
                let data = padded(&text);
                if let Some(value) = fast_decimal(&data, 0, text.len(), 12, scale) {
                    prop_assert_eq!(Some(value), parse_decimal(text.as_bytes(), 12, scale));
                }
            }
            let integer = parse_i64(text.as_bytes(), true);
            if let Some(value) = fast_i64(&padded(&text), 0, text.len()) {
                prop_assert_eq!(Some(value), integer);
            }
        }

        #[test]
        fn dates_agree_with_chrono(days in -700_000i32..2_900_000) {
            use chrono::{Datelike, NaiveDate};
            let date = NaiveDate::from_epoch_days(days).unwrap();
            prop_assert_eq!(days_from_civil(date.year(), date.month(), date.day()), Some(days));
            if (0..=9999).contains(&date.year()) {
                prop_assert_eq!(parse_date(date.format("%Y-%m-%d").to_string().as_bytes()), Some(days));
            }
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_i64(&text, true), parse_f64(&text, false), parse_date(&text));
            let _ = (parse_timestamp(&text), parse_decimal(&text, 38, 10), parse_bool(&text, false));
        }
    }
}
