//! Values in PostgreSQL's text format, as a log of changes has them, to Arrow. Dates and times are
//! expected in ISO form, `timestamp with time zone` in UTC, and `bytea` in hexadecimal.

use tidemill_core::{Error, ErrorKind, Result};

use super::decode::{Builder, Decoder, FIRST_DAY, LAST_DAY, Lists, too_late};

const DAY: i64 = 86_400_000_000;

fn wrong(text: &str) -> Error {
    Error::new(ErrorKind::Data, format!("`{text}` is not a value of its type"))
}

impl Decoder {
    /// Takes one value in text format; `None` is NULL.
    ///
    /// # Errors
    /// `Data` when the value has no place in the column's Arrow type; then nothing was taken.
    pub(super) fn push_text(&mut self, value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(bytes) => self.builder.text(super::decode::text(bytes)?),
            None => self.push(None),
        }
    }
}

impl Builder {
    fn text(&mut self, text: &str) -> Result<()> {
        fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
            text.parse().map_err(|_| wrong(text))
        }
        match self {
            Builder::Bool(values) => values.append_value(match text {
                "t" => true,
                "f" => false,
                _ => return Err(wrong(text)),
            }),
            Builder::Int2(values) => values.append_value(number(text)?),
            Builder::Int4(values) => values.append_value(number(text)?),
            Builder::Int8(values) => values.append_value(number(text)?),
            Builder::Oid(values) => values.append_value(i64::from(number::<u32>(text)?)),
            // `Infinity` and `NaN` are read, too.
            Builder::Float4(values) => values.append_value(number(text)?),
            Builder::Float8(values) => values.append_value(number(text)?),
            Builder::Decimal { values, scale, limit } => match unscaled(text, *scale) {
                Some(unscaled) if unscaled < *limit && unscaled > -*limit => {
                    values.append_value(unscaled);
                }
                _ => {
                    return Err(Error::new(
                        ErrorKind::Data,
                        format!("the number {text} has no place in a decimal"),
                    ));
                }
            },
            Builder::NumericText(values)
            | Builder::Text(values)
            | Builder::Jsonb(values)
            | Builder::Uuid(values) => values.append_value(text),
            Builder::Bytea(values) => {
                values.append_value(hexadecimal(text).ok_or_else(|| wrong(text))?);
            }
            Builder::Date(values) => values.append_value(match text {
                "infinity" => LAST_DAY,
                "-infinity" => FIRST_DAY,
                text => {
                    let days = date(text).ok_or_else(|| wrong(text))?;
                    i32::try_from(days).map_err(|_| too_late())?
                }
            }),
            Builder::Time(values) => values.append_value(time(text).ok_or_else(|| wrong(text))?),
            Builder::Timestamp(values) => values.append_value(match text {
                "infinity" => (i64::from(LAST_DAY) + 1) * DAY - 1,
                "-infinity" => i64::from(FIRST_DAY) * DAY,
                text => {
                    let (days, micros) = timestamp(text).ok_or_else(|| wrong(text))?;
                    let days = days.checked_mul(DAY).ok_or_else(too_late)?;
                    days.checked_add(micros).ok_or_else(too_late)?
                }
            }),
            Builder::Array(lists) => lists.text(text)?,
        }
        Ok(())
    }
}

impl Lists {
    /// `{1,NULL,"a b"}`; a list of several dimensions has no place.
    fn text(&mut self, text: &str) -> Result<()> {
        // `[2:4]={…}` says where its numbers begin.
        let items = match text.strip_prefix('[').and_then(|rest| rest.split_once("]={")) {
            Some((_, rest)) => rest.strip_suffix('}'),
            None => text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')),
        };
        let items = split(items.ok_or_else(|| wrong(text))?).ok_or_else(|| {
            Error::new(ErrorKind::Data, "an array has several dimensions; lists have one")
        })?;
        let count = items.len();
        for (number, item) in items.iter().enumerate() {
            if let Err(error) = self.items.push_text(item.as_ref().map(String::as_bytes)) {
                // What was taken of this list stays in place, as part of no list.
                self.count += i32::try_from(number).unwrap_or(i32::MAX);
                return Err(error);
            }
        }
        self.count += i32::try_from(count).unwrap_or(i32::MAX);
        self.end(true);
        Ok(())
    }
}

/// The items of an array between its braces; `None` when one is an array.
fn split(text: &str) -> Option<Vec<Option<String>>> {
    let mut items = Vec::new();
    if text.is_empty() {
        return Some(items);
    }
    let mut characters = text.chars().peekable();
    loop {
        let mut item = String::new();
        let mut quoted = false;
        if characters.peek() == Some(&'"') {
            quoted = true;
            characters.next();
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => item.push(characters.next()?),
                    other => item.push(other),
                }
            }
        } else {
            while let Some(character) = characters.peek().copied().filter(|one| *one != ',') {
                characters.next();
                match character {
                    '{' => return None,
                    '\\' => item.push(characters.next()?),
                    other => item.push(other),
                }
            }
        }
        items.push((quoted || item != "NULL").then_some(item));
        match characters.next() {
            None => return Some(items),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// A decimal text times ten to the power of `scale`, where it has no more digits.
fn unscaled(text: &str, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let mut number = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', missing)) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(if negative { -number } else { number })
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks(2).map(|pair| Some(value(pair[0])? << 4 | value(*pair.get(1)?)?)).collect()
}

/// Days since 1970-01-01 of `2024-02-29` or `0044-03-15 BC`.
fn date(text: &str) -> Option<i64> {
    let (text, before) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.splitn(3, '-');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let year = if before { 1 - year } else { year };
    // Days from civil, by Howard Hinnant: years begin in March, in eras of 400 years.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let in_era = year - era * 400;
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468)
}

/// Microseconds of `10:20:30.5`.
fn time(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds = parts.next()?;
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let micros: i64 = match fraction {
        "" => 0,
        digits => format!("{digits:0<6}").get(..6)?.parse().ok()?,
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// Days and microseconds of `2024-02-29 10:20:30.5`, with ` BC` and with `+00` behind it perhaps.
fn timestamp(text: &str) -> Option<(i64, i64)> {
    let (text, before) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (day, clock) = text.split_once(' ')?;
    let clock = clock.strip_suffix("+00").unwrap_or(clock);
    Some((date(&format!("{day}{before}"))?, time(clock)?))
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;

    use super::super::types::Encoding;
    use super::*;

    fn shown(encoding: &Encoding, text: &str) -> Result<String> {
        let mut decoder = Decoder::new(encoding);
        decoder.push_text(Some(text.as_bytes()))?;
        decoder.push_text(None)?;
        let array = decoder.finish();
        assert_eq!(array.len(), 2);
        Ok(array_value_to_string(&array, 0).unwrap())
    }

    #[test]
    fn texts_become_values() {
        let list = |item| Encoding::Array(Box::new(item));
        for (encoding, text, expected) in [
            (Encoding::Bool, "t", "true"),
            (Encoding::Float8, "-Infinity", "-inf"),
            (Encoding::Decimal { precision: 10, scale: 2 }, "-12.30", "-12.30"),
            (Encoding::Decimal { precision: 10, scale: 4 }, "7", "7.0000"),
            (Encoding::Bytea, "\\x00fF", "00ff"),
            (Encoding::Date, "2024-02-29", "2024-02-29"),
            (Encoding::Date, "infinity", "9999-12-31"),
            (Encoding::Timestamp, "1969-12-31 23:59:59.5", "1969-12-31T23:59:59.500"),
            (Encoding::TimestampTz, "2024-02-29 10:20:30+00", "2024-02-29T10:20:30Z"),
            (list(Encoding::Int4), "{1,NULL,-3}", "[1, , -3]"),
            (list(Encoding::Int4), "{}", "[]"),
            (list(Encoding::Int4), "[0:1]={1,2}", "[1, 2]"),
            (list(Encoding::Text), r#"{a,"b \"c\" , d",NULL,"NULL"}"#, "[a, b \"c\" , d, , NULL]"),
        ] {
            assert_eq!(shown(&encoding, text).unwrap(), expected);
        }
        let decimal = Encoding::Decimal { precision: 4, scale: 2 };
        for (encoding, text) in [
            (&decimal, "NaN"),
            (&decimal, "100.00"),
            (&decimal, "1.001"),
            (&list(Encoding::Int4), "{{1},{2}}"),
            (&Encoding::Int2, "x"),
        ] {
            assert_eq!(shown(encoding, text).unwrap_err().kind(), ErrorKind::Data, "{text}");
        }
    }

    #[test]
    fn days_of_all_eras() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("0001-01-01"), Some(i64::from(FIRST_DAY)));
        assert_eq!(date("0001-12-31 BC"), Some(i64::from(FIRST_DAY) - 1));
        assert_eq!(date("9999-12-31"), Some(i64::from(LAST_DAY)));
        assert_eq!(
            timestamp("0044-03-15 10:00:00 BC").map(|(_, micros)| micros),
            Some(36_000_000_000)
        );
    }
}
