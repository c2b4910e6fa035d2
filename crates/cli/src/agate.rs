//! What dbt takes the values of a seed for: the types that its reader (agate, as dbt sets it up) tries,
//! in its order, and the values as a database or the lake has them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use tidemill_core::{Error, ErrorKind, Result};

/// A column's type, as dbt-postgres makes it of agate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole numbers, and columns of nothing but NULL.
    Integer,
    /// Whole numbers that `integer` has no room for.
    BigInt,
    /// Whole numbers that `bigint` has no room for.
    Numeric,
    /// Numbers with a fraction.
    Float,
    Date,
    Timestamp,
    Boolean,
    Text,
}

impl Kind {
    /// In SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Kind::Integer => "integer",
            Kind::BigInt => "bigint",
            Kind::Numeric => "numeric",
            Kind::Float => "double precision",
            Kind::Date => "date",
            Kind::Timestamp => "timestamp without time zone",
            Kind::Boolean => "boolean",
            Kind::Text => "text",
        }
    }

    /// On the lake.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Kind::Integer | Kind::BigInt => DataType::Int64,
            Kind::Numeric => DataType::Decimal128(38, 0),
            Kind::Float => DataType::Float64,
            Kind::Date => DataType::Date32,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Boolean => DataType::Boolean,
            Kind::Text => DataType::Utf8,
        }
    }

    /// The values of a column as the lake has them.
    ///
    /// # Errors
    /// Kind `Data`: a text is not of this kind, or a number has more than 38 digits.
    pub(crate) fn array(self, texts: &StringArray) -> Result<ArrayRef> {
        fn each<T>(
            kind: Kind,
            texts: &StringArray,
            read: impl Fn(&str) -> Option<T>,
        ) -> Result<Vec<Option<T>>> {
            let value = |text: Option<&str>| match text.filter(|text| !is_null(text)) {
                None => Ok(None),
                Some(text) => match read(text.trim()) {
                    Some(value) => Ok(Some(value)),
                    None => Err(Error::new(
                        ErrorKind::Data,
                        format!("`{text}` is not a value of type {}", kind.sql()),
                    )),
                },
            };
            texts.iter().map(value).collect()
        }
        Ok(match self {
            Kind::Text => Arc::new(
                texts
                    .iter()
                    .map(|text| text.filter(|text| !is_null(text)))
                    .collect::<StringArray>(),
            ),
            Kind::Integer | Kind::BigInt => {
                Arc::new(Int64Array::from(each(self, texts, |text| {
                    plain(text).or_else(|| number(text)?.text.parse().ok())
                })?))
            }
            Kind::Numeric => {
                let values = each(self, texts, |text| {
                    let value: i128 = number(text)?.text.parse().ok()?;
                    (value.unsigned_abs() < 10_u128.pow(38)).then_some(value)
                })?;
                let array = Decimal128Array::from(values).with_data_type(self.data_type());
                Arc::new(array)
            }
            Kind::Float => Arc::new(Float64Array::from(each(self, texts, |text| {
                number(text)?.text.parse().ok()
            })?)),
            Kind::Date => Arc::new(Date32Array::from(each(self, texts, |text| {
                let days = day(text)?.signed_duration_since(NaiveDate::default()).num_days();
                i32::try_from(days).ok()
            })?)),
            Kind::Timestamp => {
                Arc::new(TimestampMicrosecondArray::from(each(self, texts, |text| {
                    Some(time(text)?.and_utc().timestamp_micros())
                })?))
            }
            Kind::Boolean => Arc::new(BooleanArray::from(each(self, texts, |text| {
                Some(text.eq_ignore_ascii_case("true"))
            })?)),
        })
    }

    /// A value as the database reads it; `None` is NULL.
    pub(crate) fn value(self, text: &str) -> Option<String> {
        if is_null(text) {
            return None;
        }
        Some(match self {
            Kind::Text => text.to_owned(),
            Kind::Integer | Kind::BigInt | Kind::Numeric | Kind::Float => {
                number(text).map_or_else(|| text.to_owned(), |number| number.text)
            }
            Kind::Timestamp => match time(text) {
                Some(time) => time.to_string(),
                None => text.to_owned(),
            },
            Kind::Date | Kind::Boolean => text.trim().to_owned(),
        })
    }
}

/// What the values of a column have in common so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guess {
    any: bool,
    number: bool,
    fraction: bool,
    beyond: Kind,
    date: bool,
    /// Times with a blank, or times of ISO 8601: a column has one of them.
    time: bool,
    iso: bool,
    boolean: bool,
}

impl Guess {
    pub(crate) const NONE: Guess = Guess {
        any: false,
        number: true,
        fraction: false,
        beyond: Kind::Integer,
        date: true,
        time: true,
        iso: true,
        boolean: true,
    };

    /// Looks at one value.
    pub(crate) fn add(&mut self, text: &str) {
        if is_null(text) {
            return;
        }
        self.any = true;
        // The most frequent case, quickly: digits alone are nothing else.
        if self.number
            && let Some(whole) = plain(text)
        {
            if self.beyond == Kind::Integer && i32::try_from(whole).is_err() {
                self.beyond = Kind::BigInt;
            }
            (self.date, self.time, self.iso, self.boolean) = (false, false, false, false);
            return;
        }
        if self.number {
            match number(text) {
                None => self.number = false,
                Some(number) => {
                    self.fraction |= number.fraction;
                    self.beyond = match (number.text.parse::<i64>(), self.beyond) {
                        (_, Kind::Numeric) | (Err(_), _) => Kind::Numeric,
                        (Ok(whole), Kind::BigInt | Kind::Integer)
                            if i32::try_from(whole).is_err() =>
                        {
                            Kind::BigInt
                        }
                        (Ok(_), known) => known,
                    };
                }
            }
        }
        let text = text.trim();
        self.date = self.date && day(text).is_some();
        self.time = self.time && spaced(text).is_some();
        self.iso = self.iso && iso(text).is_some();
        self.boolean = self.boolean
            && (text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"));
    }

    /// The first type that all values have.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Guess { any: false, .. } => Kind::Integer,
            Guess { number: true, fraction: true, .. } => Kind::Float,
            Guess { number: true, beyond, .. } => beyond,
            Guess { date: true, .. } => Kind::Date,
            Guess { time: true, .. } | Guess { iso: true, .. } => Kind::Timestamp,
            Guess { boolean: true, .. } => Kind::Boolean,
            _ => Kind::Text,
        }
    }
}

fn is_null(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.eq_ignore_ascii_case("null")
}

/// A whole number of digits alone.
fn plain(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let fits = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| text.parse().ok()).flatten()
}

struct Number {
    text: String,
    fraction: bool,
}

/// A number as people write it: with a sign, commas between digits, a currency's sign or `%`.
fn number(text: &str) -> Option<Number> {
    const CURRENCIES: &str = "؋$ƒ៛¥₡₱£€¢﷼₪₩₭₮₦฿₤₫";
    let text = text.trim().trim_matches('%');
    let text = text.trim_matches(|c| CURRENCIES.contains(c)).replace(',', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest.trim_matches(|c| CURRENCIES.contains(c))),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let kept = fraction.trim_end_matches('0');
    let places = i32::try_from(kept.len()).ok()?.checked_sub(exponent)?;
    if places > 0 {
        return Some(Number { text: format!("{sign}{digits}"), fraction: true });
    }
    let zeros = usize::try_from(-places).ok().filter(|zeros| *zeros < 400)?;
    let joined = format!("{whole}{kept}{}", "0".repeat(zeros));
    let trimmed = joined.trim_start_matches('0');
    let text = if trimmed.is_empty() { "0".to_owned() } else { format!("{sign}{trimmed}") };
    Some(Number { text, fraction: false })
}

/// At most so many digits, at least one.
fn digits(text: &str, most: usize) -> Option<u32> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// `%Y-%m-%d`, in which one digit does for month and day.
fn day(text: &str) -> Option<NaiveDate> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 {
        return None;
    }
    NaiveDate::from_ymd_opt(
        i32::try_from(digits(year, 4)?).ok()?,
        digits(month, 2)?,
        digits(day, 2)?,
    )
}

/// `%Y-%m-%d %H:%M:%S`
fn spaced(text: &str) -> Option<NaiveDateTime> {
    let (date, clock) = text.split_once(char::is_whitespace)?;
    let mut parts = clock.trim_start().split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let clock = NaiveTime::from_hms_opt(digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?)?;
    Some(day(date)?.and_time(clock))
}

/// Times of ISO 8601; one with an offset is taken in UTC.
fn iso(text: &str) -> Option<NaiveDateTime> {
    text.contains('T').then_some(())?;
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y%m%dT%H%M%S"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time);
        }
    }
    let zoned = match text.strip_suffix('Z') {
        Some(rest) => format!("{rest}+00:00"),
        None => text.to_owned(),
    };
    ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y%m%dT%H%M%S%#z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(&zoned, format).ok())
        .map(|time| time.naive_utc())
}

fn time(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    spaced(text).or_else(|| iso(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types and values are those of dbt-core 1.11 with dbt-postgres 1.11, but for `bigint` and `numeric`,
    /// which it has not.
    #[test]
    fn columns_have_the_types_that_dbt_gives_them() {
        for (values, kind, first) in [
            (&["1", "02108", ""][..], Kind::Integer, Some("1")),
            (&["+0100", "null"], Kind::Integer, Some("100")),
            (&["$1,000", "-5"], Kind::Integer, Some("1000")),
            (&["1.0", "2.00"], Kind::Integer, Some("1")),
            (&["1e3"], Kind::Integer, Some("1000")),
            (&["1.50", "2"], Kind::Float, Some("1.50")),
            (&["3000000000"], Kind::BigInt, Some("3000000000")),
            (&["99999999999999999999"], Kind::Numeric, Some("99999999999999999999")),
            (&["", " Null "], Kind::Integer, None),
            (&["2020-2-3", "2020-02-03"], Kind::Date, Some("2020-2-3")),
            (&["2020-02-13 8:10:51"], Kind::Timestamp, Some("2020-02-13 08:10:51")),
            (&["2020-02-13T08:10:51+02:00"], Kind::Timestamp, Some("2020-02-13 06:10:51")),
            (&["2020-02-13T08:10:51Z"], Kind::Timestamp, Some("2020-02-13 08:10:51")),
            // As dbt's reader has it.
            (&["2021-11-11 11:02:30.112110"], Kind::Text, Some("2021-11-11 11:02:30.112110")),
            (&["2021-11-11 11:02:30 UTC"], Kind::Text, Some("2021-11-11 11:02:30 UTC")),
            (&["2021-11-11 11:02"], Kind::Text, Some("2021-11-11 11:02")),
            (&["2020-01-01", "2020-01-01 10:00:00"], Kind::Text, Some("2020-01-01")),
            (&["true", "FALSE"], Kind::Boolean, Some("true")),
            (&["t", "f"], Kind::Text, Some("t")),
            (&["1", "x"], Kind::Text, Some("1")),
            (&[" x "], Kind::Text, Some(" x ")),
            (&["-", "."], Kind::Text, Some("-")),
        ] {
            let mut guess = Guess::NONE;
            values.iter().for_each(|value| guess.add(value));
            assert_eq!(guess.kind(), kind, "{values:?}");
            assert_eq!(kind.value(values[0]).as_deref(), first, "{values:?}");
        }
    }
}
