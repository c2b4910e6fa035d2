//! Values of the log as those that a query gives.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::{DateTime, Datelike, Timelike};
use mysql_async::Value;

use super::event::{DIGITS, MapColumn, Reader};
use super::layout::LogColumn;

/// How the bytes of a text are characters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Charset {
    Utf8,
    /// Two bytes, the large one first.
    Utf16,
    Utf16Small,
    Utf32,
    /// A character for each byte.
    Bytes(Arc<[char]>),
}

impl Charset {
    /// Those that are known without asking the server.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "utf8" | "utf8mb3" | "utf8mb4" | "ascii" => Some(Charset::Utf8),
            "ucs2" | "utf16" => Some(Charset::Utf16),
            "utf16le" => Some(Charset::Utf16Small),
            "utf32" => Some(Charset::Utf32),
            _ => None,
        }
    }

    fn decode(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let units = |number: fn([u8; 2]) -> u16| {
            let pairs = bytes.chunks_exact(2).map(|pair| number([pair[0], pair[1]]));
            char::decode_utf16(pairs).collect::<Result<String, _>>().ok()
        };
        let text = match self {
            Charset::Utf8 => return Some(bytes.to_vec()),
            Charset::Utf16 => units(u16::from_be_bytes)?,
            Charset::Utf16Small => units(u16::from_le_bytes)?,
            Charset::Utf32 => {
                let numbers = bytes.chunks_exact(4);
                let numbers =
                    numbers.map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
                numbers.map(char::from_u32).collect::<Option<String>>()?
            }
            Charset::Bytes(table) => bytes.iter().map(|byte| table[usize::from(*byte)]).collect(),
        };
        Some(text.into_bytes())
    }
}

/// How the values of a column of the log are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    form: MapColumn,
    kind: Kind,
    unsigned: bool,
    /// Dates and times as text have so many digits of a second.
    digits: usize,
    as_text: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    Number,
    Text(Charset),
    /// Zeros at the end are left out in the log.
    Bytes(usize),
    Labels(Arc<[String]>),
    Uuid,
    Inet4,
    Inet6,
    Json,
}

impl Reading {
    /// For a column that becomes this type.
    ///
    /// # Errors
    /// Why its values cannot be read.
    pub(super) fn new(
        form: MapColumn,
        column: &LogColumn,
        data_type: &DataType,
        charset: Option<Charset>,
    ) -> Result<Self, String> {
        let first = column.numbers().first().copied();
        let kind = match column.word() {
            _ if matches!(form.code, 140 | 141) => {
                return Err(format!("`{}` is compressed, and so it is in the log", column.name));
            }
            "enum" | "set" => Kind::Labels(column.labels().into()),
            "uuid" => Kind::Uuid,
            "inet4" => Kind::Inet4,
            "inet6" => Kind::Inet6,
            "json" if form.code == 245 => Kind::Json,
            "binary" => Kind::Bytes(first.unwrap_or(1)),
            _ => match (&column.charset, charset) {
                (Some(_), Some(charset)) => Kind::Text(charset),
                (Some(name), None) => {
                    return Err(format!(
                        "`{}` has texts in `{name}`, which are not read from the log",
                        column.name
                    ));
                }
                (None, _) => Kind::Number,
            },
        };
        Ok(Reading {
            form,
            kind,
            unsigned: column.is_unsigned(),
            digits: first.unwrap_or(0),
            as_text: *data_type == DataType::Utf8,
        })
    }

    /// The value; `None` when its bytes are not those of its type.
    pub(super) fn value(&self, bytes: &[u8]) -> Option<Value> {
        let text = |text: String| Some(Value::Bytes(text.into_bytes()));
        match &self.kind {
            Kind::Text(charset) => return charset.decode(bytes).map(Value::Bytes),
            Kind::Bytes(length) => {
                let mut bytes = bytes.to_vec();
                bytes.resize(bytes.len().max(*length), 0);
                return Some(Value::Bytes(bytes));
            }
            Kind::Labels(labels) => {
                let number = Reader(bytes).number(bytes.len()).ok()?;
                return text(match self.form.code {
                    247 => match usize::try_from(number).ok()?.checked_sub(1) {
                        // What is none of the words.
                        None => String::new(),
                        Some(at) => labels.get(at)?.clone(),
                    },
                    _ => {
                        let has = |at: &usize| number >> at & 1 == 1;
                        let chosen = (0..labels.len()).filter(has).map(|at| labels[at].as_str());
                        chosen.collect::<Vec<_>>().join(",")
                    }
                });
            }
            Kind::Uuid => return text(uuid(whole(bytes)?)),
            Kind::Inet4 => return text(Ipv4Addr::from(whole::<4>(bytes)?).to_string()),
            Kind::Inet6 => return text(inet6(whole(bytes)?)),
            Kind::Json => return super::json::text(bytes).map(|text| Value::Bytes(text.into())),
            Kind::Number => {}
        }
        match self.form.code {
            1..=3 | 8 | 9 => {
                let bits = u32::try_from(bytes.len()).ok()? * 8;
                let number = Reader(bytes).number(bytes.len()).ok()?;
                if self.unsigned {
                    return Some(Value::UInt(number));
                }
                let shift = 64 - bits;
                Some(Value::Int((number << shift).cast_signed() >> shift))
            }
            4 => Some(Value::Float(f32::from_le_bytes(bytes.try_into().ok()?))),
            5 => Some(Value::Double(f64::from_le_bytes(bytes.try_into().ok()?))),
            13 => Some(Value::UInt(match bytes.first()? {
                0 => 0,
                year => 1900 + u64::from(*year),
            })),
            16 => Some(match (self.form.meta, bytes) {
                ([1, 0], bytes) => Value::Bytes(bytes.to_vec()),
                (_, bytes) => Value::UInt(large(bytes)),
            }),
            246 => decimal(bytes, self.form.meta).map(|text| Value::Bytes(text.into_bytes())),
            7 | 10..=12 | 14 | 17..=19 => self.time(self.moment(bytes)?),
            _ => Some(Value::Bytes(bytes.to_vec())),
        }
    }

    fn moment(&self, bytes: &[u8]) -> Option<Value> {
        let small = Reader(bytes).number(bytes.len()).ok()?;
        Some(match self.form.code {
            7 => instant(small, 0),
            17 => {
                let (seconds, fraction) = bytes.split_at_checked(4)?;
                instant(large(seconds), micros(large(fraction), fraction.len()))
            }
            10 | 14 => Value::Date(
                u16::try_from(small >> 9).ok()?,
                part(small >> 5 & 15),
                part(small & 31),
                0,
                0,
                0,
                0,
            ),
            11 => {
                // A number of digits: HHMMSS, with a sign.
                let number = (small.cast_signed() << 40) >> 40;
                let digits = number.unsigned_abs();
                time(number < 0, digits / 10_000, digits / 100 % 100, digits % 100, 0)
            }
            12 => {
                let (day, time) = (small / 1_000_000, small % 1_000_000);
                Value::Date(
                    u16::try_from(day / 10_000).ok()?,
                    part(day / 100 % 100),
                    part(day % 100),
                    part(time / 10_000),
                    part(time / 100 % 100),
                    part(time % 100),
                    0,
                )
            }
            18 => {
                let (packed, fraction) = bytes.split_at_checked(5)?;
                let packed = large(packed).checked_sub(1 << 39)?;
                let (day, time) = (packed >> 17, packed & 0x1_ffff);
                Value::Date(
                    u16::try_from((day >> 5) / 13).ok()?,
                    part((day >> 5) % 13),
                    part(day & 31),
                    part(time >> 12),
                    part(time >> 6 & 63),
                    part(time & 63),
                    micros(large(fraction), fraction.len()),
                )
            }
            // One number with its fraction, the smallest one zero.
            _ => {
                let bits = u32::try_from(bytes.len()).ok()? * 8;
                let number = large(bytes).cast_signed() - (1 << (bits - 1));
                let (size, behind) = (number.unsigned_abs(), bits - 24);
                let whole = size >> behind;
                let fraction = size & ((1 << behind) - 1);
                time(
                    number < 0,
                    whole >> 12 & 0x3ff,
                    whole >> 6 & 63,
                    whole & 63,
                    micros(fraction, bytes.len() - 3),
                )
            }
        })
    }

    /// Dates and times that are wanted as text, as a cast writes them.
    fn time(&self, value: Value) -> Option<Value> {
        let (true, Value::Date(year, month, day, hour, minute, second, micros)) =
            (self.as_text, &value)
        else {
            return Some(value);
        };
        let date = format!("{year:04}-{month:02}-{day:02}");
        let text = match (self.form.code, self.digits) {
            (10 | 14, _) => date,
            (_, 0) => format!("{date} {hour:02}:{minute:02}:{second:02}"),
            (_, digits) => {
                let fraction = format!("{micros:06}");
                let fraction = fraction.get(..digits)?;
                format!("{date} {hour:02}:{minute:02}:{second:02}.{fraction}")
            }
        };
        Some(Value::Bytes(text.into_bytes()))
    }
}

/// A number, the large byte first.
fn large(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn part(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// A fraction of so many bytes, which have two digits each.
fn micros(fraction: u64, bytes: usize) -> u32 {
    let missing = 3u32.saturating_sub(u32::try_from(bytes).unwrap_or(3));
    u32::try_from(fraction).unwrap_or(0).saturating_mul(100u32.pow(missing))
}

/// Seconds since 1970; none at all are the day that there is not.
fn instant(seconds: u64, micros: u32) -> Value {
    let at = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    match at {
        Some(at) if seconds > 0 || micros > 0 => Value::Date(
            u16::try_from(at.year()).unwrap_or(u16::MAX),
            part(at.month().into()),
            part(at.day().into()),
            part(at.hour().into()),
            part(at.minute().into()),
            part(at.second().into()),
            micros,
        ),
        _ => Value::Date(0, 0, 0, 0, 0, 0, 0),
    }
}

fn time(negative: bool, hours: u64, minutes: u64, seconds: u64, micros: u32) -> Value {
    let days = u32::try_from(hours / 24).unwrap_or(0);
    Value::Time(negative, days, part(hours % 24), part(minutes), part(seconds), micros)
}

/// The bytes with the zeros that the log leaves out.
fn whole<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(whole)
}

/// The digits of a decimal.
pub(super) fn decimal(bytes: &[u8], [digits, scale]: [u8; 2]) -> Option<String> {
    let mut bytes = bytes.to_vec();
    let first = bytes.first_mut()?;
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let (whole, scale) = (usize::from(digits.checked_sub(scale)?), usize::from(scale));
    let mut reader = Reader(&bytes);
    let mut text = String::with_capacity(bytes.len() * 3);
    let mut group = |digits: usize, text: &mut String| {
        let number = large(reader.take(DIGITS[digits]).ok()?);
        if digits > 0 {
            text.push_str(&format!("{number:0digits$}"));
        }
        Some(())
    };
    group(whole % 9, &mut text)?;
    for _ in 0..whole / 9 {
        group(9, &mut text)?;
    }
    let trimmed = text.trim_start_matches('0').len();
    text = text.split_off(text.len() - trimmed);
    if text.is_empty() {
        text.push('0');
    }
    if scale > 0 {
        text.push('.');
        for _ in 0..scale / 9 {
            group(9, &mut text)?;
        }
        group(scale % 9, &mut text)?;
    }
    if negative {
        text.insert(0, '-');
    }
    Some(text)
}

/// A number of MariaDB's type `uuid`, whose parts stand the other way round unless it is one of those that
/// begin with a time.
fn uuid(stored: [u8; 16]) -> String {
    let mut bytes = stored;
    let turned = stored[6] & 0x80 != 0 && (0x01..0x60).contains(&stored[8]);
    if turned {
        for (to, from) in
            [(0..4, 12..16), (4..6, 10..12), (6..8, 8..10), (8..10, 6..8), (10..16, 0..6)]
        {
            bytes[to].copy_from_slice(&stored[from]);
        }
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// As MariaDB writes it: with the digits of the old form where there are but these.
fn inet6(bytes: [u8; 16]) -> String {
    let old = bytes[..12] == [0; 12] && bytes[12..14] != [0; 2];
    match old {
        true => format!("::{}", Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15])),
        false => Ipv6Addr::from(bytes).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, code: u8, meta: [u8; 2], bytes: &[u8]) -> Value {
        let column = LogColumn {
            name: "a".to_owned(),
            kind: kind.to_owned(),
            charset: None,
            generated: false,
        };
        let form = MapColumn { code, meta };
        let reading = Reading::new(form, &column, &DataType::Null, None).unwrap();
        reading.value(bytes).unwrap()
    }

    #[test]
    fn values_are_those_of_a_query() {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        assert_eq!(read("mediumint", 9, [0; 2], &[0xff, 0xff, 0xff]), Value::Int(-1));
        assert_eq!(read("mediumint unsigned", 9, [0; 2], &[0xff; 3]), Value::UInt(0xff_ffff));
        // 1234567890.1234, and the same below zero.
        let digits = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(read("decimal(14,4)", 246, [14, 4], &digits), text("1234567890.1234"));
        let below = digits.map(|byte| !byte);
        assert_eq!(read("decimal(14,4)", 246, [14, 4], &below), text("-1234567890.1234"));
        // -00:00:01.10
        let time = [0x7f, 0xff, 0xfe, 0xf6];
        assert_eq!(read("time(2)", 19, [2, 0], &time), Value::Time(true, 0, 0, 0, 1, 100_000));
        assert_eq!(read("timestamp", 17, [0; 2], &[0; 4]), Value::Date(0, 0, 0, 0, 0, 0, 0));
        assert_eq!(read("binary(3)", 254, [254, 3], &[1]), Value::Bytes(vec![1, 0, 0]));
    }
}
