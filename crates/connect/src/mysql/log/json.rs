//! MySQL's binary JSON as the text that a query gives. (MariaDB keeps JSON as text.)

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::event::Reader;

/// The text; `None` when the bytes are not such a value.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len() * 2);
    match bytes.split_first() {
        Some((kind, value)) => write(*kind, value, 0, &mut text)?,
        None => text.push_str("null"),
    }
    Some(text)
}

/// How deep values may lie in each other; the server allows a hundred.
const DEPTH: usize = 128;

fn write(kind: u8, value: &[u8], depth: usize, text: &mut String) -> Option<()> {
    let number = |bytes: usize| Reader(value).number(bytes).ok();
    match kind {
        _ if depth > DEPTH => return None,
        0 => container(value, true, 2, depth, text)?,
        1 => container(value, true, 4, depth, text)?,
        2 => container(value, false, 2, depth, text)?,
        3 => container(value, false, 4, depth, text)?,
        4 => text.push_str(["null", "true", "false"].get(usize::from(*value.first()?))?),
        5 => write!(text, "{}", number(2)?.cast_signed() << 48 >> 48).ok()?,
        6 => write!(text, "{}", number(2)?).ok()?,
        7 => write!(text, "{}", number(4)?.cast_signed() << 32 >> 32).ok()?,
        8 => write!(text, "{}", number(4)?).ok()?,
        9 => write!(text, "{}", number(8)?.cast_signed()).ok()?,
        10 => write!(text, "{}", number(8)?).ok()?,
        11 => write!(text, "{:?}", f64::from_bits(number(8)?)).ok()?,
        12 => string(std::str::from_utf8(counted(value)?).ok()?, text),
        15 => {
            let (kind, value) = value.split_first()?;
            opaque(*kind, counted(value)?, text)?;
        }
        _ => return None,
    }
    Some(())
}

/// What stands behind its own length, which has seven bits in each byte.
fn counted(value: &[u8]) -> Option<&[u8]> {
    let mut length = 0usize;
    for (at, byte) in value.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return value.get(at + 1..)?.get(..length);
        }
    }
    None
}

/// An object or a list; its numbers have so many bytes.
fn container(
    value: &[u8],
    object: bool,
    size: usize,
    depth: usize,
    text: &mut String,
) -> Option<()> {
    let mut reader = Reader(value);
    let count = reader.size(size).ok()?;
    reader.size(size).ok()?;
    let mut keys = Vec::new();
    for _ in 0..if object { count } else { 0 } {
        let (at, length) = (reader.size(size).ok()?, reader.size(2).ok()?);
        keys.push(std::str::from_utf8(value.get(at..)?.get(..length)?).ok()?);
    }
    text.push(if object { '{' } else { '[' });
    for number in 0..count {
        if number > 0 {
            text.push_str(", ");
        }
        if let Some(key) = keys.get(number) {
            string(key, text);
            text.push_str(": ");
        }
        let kind = *reader.take(1).ok()?.first()?;
        let entry = reader.take(size).ok()?;
        let is_here = matches!(kind, 4..=6) || size == 4 && matches!(kind, 7 | 8);
        match is_here {
            true => write(kind, entry, depth + 1, text)?,
            false => {
                let at = Reader(entry).size(size).ok()?;
                write(kind, value.get(at..)?, depth + 1, text)?;
            }
        }
    }
    text.push(if object { '}' } else { ']' });
    Some(())
}

fn string(value: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(value).to_string());
}

/// A value of another type of the server.
fn opaque(kind: u8, value: &[u8], text: &mut String) -> Option<()> {
    let packed = || Reader(value).number(8).ok();
    let clock = |time: u64| format!("{:02}:{:02}:{:02}", time >> 12, time >> 6 & 63, time & 63);
    match kind {
        246 => {
            let ([digits, scale], digits_of) = value.split_first_chunk::<2>()?;
            text.push_str(&super::value::decimal(digits_of, [*digits, *scale])?);
        }
        7 | 10 | 12 => {
            let packed = packed()?;
            let (whole, micros) = (packed >> 24, packed & 0xff_ffff);
            let (day, time) = (whole >> 17, whole & 0x1_ffff);
            let (year, month) = ((day >> 5) / 13, (day >> 5) % 13);
            let date = format!("{year:04}-{month:02}-{:02}", day & 31);
            match kind {
                10 => write!(text, "\"{date}\"").ok()?,
                _ => write!(text, "\"{date} {}.{micros:06}\"", clock(time)).ok()?,
            }
        }
        11 => {
            let packed = packed()?.cast_signed();
            let size = packed.unsigned_abs();
            let sign = if packed < 0 { "-" } else { "" };
            write!(text, "\"{sign}{}.{:06}\"", clock(size >> 24), size & 0xff_ffff).ok()?;
        }
        _ => write!(text, "\"base64:type{kind}:{}\"", STANDARD.encode(value)).ok()?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_mysql_writes_them() {
        // {"a": [1, null, "x"], "bc": -2}
        let inner = [3, 0, 16, 0, 5, 1, 0, 4, 0, 0, 12, 13, 0, 1, b'x'];
        let mut value = vec![0, 2, 0, 36, 0, 18, 0, 1, 0, 19, 0, 2, 0, 2, 21, 0, 5, 0xfe, 0xff];
        value.extend(b"abc");
        value.extend(inner);
        assert_eq!(text(&value).unwrap(), r#"{"a": [1, null, "x"], "bc": -2}"#);
        assert_eq!(text(&[]).unwrap(), "null");
        assert_eq!(text(&[4, 1]).unwrap(), "true");
        assert_eq!(text(&[0, 9]), None);
    }
}
