//! Text as dates and timestamps, in the forms that PostgreSQL takes (with its default order of
//! month, day, year): `2024-01-31 12:00`, `20240131T120000`, `Jan 31, 2024 4:05 PM`, `1/31/2024`.
//! The zone of a text is left out of account by a timestamp without one, as there. The analyzer puts
//! this function in the place of casts, written or implied (see `meaning`).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Builder, IntervalMonthDayNanoBuilder, ListArray,
    StringViewArray, StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Date32Type, FieldRef, IntervalUnit, TimeUnit};
use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::array_text::elements;
use super::interval;
use super::simple::bad_value;
use super::zone::{Zone, in_session_zone, offset};

/// Whether a text is read by us when it becomes this type.
pub(crate) fn reads(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Interval(IntervalUnit::MonthDayNano)
            | DataType::Decimal128(..)
            | DataType::List(_)
    )
}

/// The text `value` as a date, timestamp, interval or decimal; NULL instead of an error when `lenient`.
pub(crate) fn read(value: Expr, to: DataType, lenient: bool) -> Expr {
    let function = Reading { to, lenient, signature: Signature::any(1, Volatility::Stable) };
    let function = Arc::new(ScalarUDF::new_from_impl(function));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value]))
}

/// A text that cannot become this type: an error for each row that it is computed for, and not for a
/// query in which it is not (`x is null or x = ''` where all are NULL, as in DuckDB).
pub(crate) fn refused_cast(value: Expr, to: DataType) -> Expr {
    read(value, to, false)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reading {
    to: DataType,
    lenient: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Reading {
    fn name(&self) -> &str {
        match self.to {
            DataType::Date32 => "tidemill_date",
            DataType::Timestamp(_, None) => "tidemill_timestamp",
            DataType::Timestamp(..) => "tidemill_timestamptz",
            DataType::Interval(_) => "tidemill_interval",
            _ => "tidemill_cast",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        in_session_zone(&args, |array, zone| self.all(array, zone))
    }
}

impl Reading {
    fn all(&self, array: &ArrayRef, zone: Tz) -> Result<ArrayRef> {
        let texts = cast(array, &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        match &self.to {
            DataType::Date32 => {
                let mut out = Date32Builder::with_capacity(texts.len());
                for row in 0..texts.len() {
                    let read = self.one(texts, row, "date", timestamp)?;
                    out.append_option(
                        read.map(|(time, _)| Date32Type::from_naive_date(time.date())),
                    );
                }
                Ok(Arc::new(out.finish()))
            }
            DataType::Timestamp(_, tag) => {
                let mut out = TimestampMicrosecondBuilder::with_capacity(texts.len());
                let name = if tag.is_some() { "timestamptz" } else { "timestamp" };
                for row in 0..texts.len() {
                    let Some((time, own)) = self.one(texts, row, name, timestamp)? else {
                        out.append_null();
                        continue;
                    };
                    let moment = match (tag, own) {
                        (None, _) => Some(time),
                        (Some(_), Some(own)) => own.utc(time),
                        (Some(_), None) => Zone::Named(zone).utc(time),
                    };
                    match moment {
                        Some(time) => out.append_value(time.and_utc().timestamp_micros()),
                        None => return Err(bad_value(format!("{name} out of range: {time}"))),
                    }
                }
                let tagged = DataType::Timestamp(TimeUnit::Microsecond, tag.clone());
                let read = out.finish().with_data_type(tagged);
                Ok(cast(&read, &self.to)?)
            }
            DataType::Interval(_) => {
                let mut out = IntervalMonthDayNanoBuilder::with_capacity(texts.len());
                for row in 0..texts.len() {
                    out.append_option(self.one(texts, row, "interval", interval::read)?);
                }
                Ok(Arc::new(out.finish()))
            }
            DataType::Decimal128(..) => {
                let options = CastOptions { safe: true, ..CastOptions::default() };
                let read = cast_with_options(texts, &self.to, &options)?;
                if read.null_count() == texts.null_count() {
                    return Ok(read);
                }
                // What was not read may have an exponent.
                let plain = texts.iter().map(|text| {
                    text.map(|text| with_exponent(text).map_or(Cow::Borrowed(text), Cow::Owned))
                });
                let plain: StringViewArray = plain.collect();
                let options = CastOptions { safe: self.lenient, ..CastOptions::default() };
                Ok(cast_with_options(&plain, &self.to, &options)?)
            }
            DataType::List(element) => self.lists(texts, element, zone),
            other => self.cast(texts, other),
        }
    }

    fn cast(&self, texts: &StringViewArray, to: &DataType) -> Result<ArrayRef> {
        let options = CastOptions { safe: self.lenient, ..CastOptions::default() };
        Ok(cast_with_options(texts, to, &options)?)
    }

    /// Texts of arrays; each element is read as a text of its own.
    fn lists(&self, texts: &StringViewArray, element: &FieldRef, zone: Tz) -> Result<ArrayRef> {
        let mut lengths = Vec::with_capacity(texts.len());
        let mut valid = Vec::with_capacity(texts.len());
        let mut parts = StringViewBuilder::new();
        for row in 0..texts.len() {
            let found = self.one(texts, row, "array", elements)?;
            valid.push(found.is_some());
            let found = found.unwrap_or_default();
            lengths.push(found.len());
            parts.extend(found);
        }
        let to = element.data_type().clone();
        let parts = parts.finish();
        let values = match &to {
            to if reads(to) => {
                let inner = Reading { to: to.clone(), ..self.clone() };
                inner.all(&(Arc::new(parts) as ArrayRef), zone)?
            }
            to => self.cast(&parts, to)?,
        };
        let offsets = OffsetBuffer::from_lengths(lengths);
        let nulls = Some(NullBuffer::from(valid));
        Ok(Arc::new(ListArray::try_new(element.clone(), offsets, values, nulls)?))
    }

    fn one<T>(
        &self,
        texts: &StringViewArray,
        row: usize,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        if texts.is_null(row) {
            return Ok(None);
        }
        let text = texts.value(row);
        match read(text) {
            Some(value) => Ok(Some(value)),
            None if self.lenient => Ok(None),
            None => Err(bad_value(format!("invalid input syntax for type {name}: \"{text}\""))),
        }
    }
}

/// `1.5e-3` as `0.0015`.
fn with_exponent(text: &str) -> Option<String> {
    let (number, exponent) = text.trim().split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok().filter(|exponent| (-100..=100).contains(exponent))?;
    let (sign, number) = match number.strip_prefix(['-', '+']) {
        Some(rest) => (if number.starts_with('-') { "-" } else { "" }, rest),
        None => ("", number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()? + exponent;
    Some(match usize::try_from(point) {
        Err(_) => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) if point >= digits.len() => {
            format!("{sign}{digits}{}", "0".repeat(point - digits.len()))
        }
        Ok(point) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
    })
}

/// A local time and the zone that the text names.
type Moment = (NaiveDateTime, Option<Zone>);

/// The usual form without a detour, else any.
fn timestamp(text: &str) -> Option<Moment> {
    let text = text.trim();
    plain(text).map(|time| (time, None)).or_else(|| any(text))
}

/// `YYYY-MM-DD`, with `HH:MM:SS` and a fraction behind a blank or a `T`.
fn plain(text: &str) -> Option<NaiveDateTime> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        bytes.get(from..to)?.iter().try_fold(0_u32, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(number(0, 4)? as i32, number(5, 7)?, number(8, 10)?)?;
    if bytes.len() == 10 {
        return Some(date.and_time(NaiveTime::MIN)).filter(|_| number(0, 4) != Some(0));
    }
    let clock = matches!(bytes.get(10), Some(b' ' | b'T'))
        && bytes.get(13) == Some(&b':')
        && bytes.get(16) == Some(&b':');
    if !clock || number(0, 4) == Some(0) {
        return None;
    }
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let time = NaiveTime::from_hms_opt(hour, minute, second)?;
    let micros = match bytes.len() {
        19 => 0,
        21..=29 if bytes[19] == b'.' => fraction(&text[20..])?,
        _ => return None,
    };
    date.and_time(time).checked_add_signed(TimeDelta::microseconds(micros))
}

/// Digits behind the point of a second, in microseconds, rounded.
fn fraction(digits: &str) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: f64 = format!("0.{digits}").parse().ok()?;
    Some((value * 1e6).round_ties_even() as i64)
}

/// What was found in a text so far.
#[derive(Default)]
struct Found {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    /// Microseconds of the day.
    time: Option<i64>,
    afternoon: Option<bool>,
    zone: Option<Zone>,
    before_christ: bool,
}

/// `infinity`: behind (and with a minus before) every moment of the calendar. There is no such value in
/// a table, so it is the last one that other readers have, too.
fn end_of_time(text: &str) -> Option<NaiveDateTime> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => {
            let day = NaiveDate::from_ymd_opt(9999, 12, 31)?;
            day.and_hms_micro_opt(23, 59, 59, 999_999)
        }
        "-infinity" => NaiveDate::from_ymd_opt(1, 1, 1)?.and_hms_opt(0, 0, 0),
        _ => None,
    }
}

fn any(text: &str) -> Option<Moment> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?.and_time(NaiveTime::MIN);
    if text.eq_ignore_ascii_case("epoch") {
        return Some((epoch, None));
    }
    if let Some(end) = end_of_time(text) {
        return Some((end, None));
    }
    let mut found = Found::default();
    for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
        found.word(word)?;
    }
    found.finish()
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Found {
    fn word(&mut self, word: &str) -> Option<()> {
        let first = word.chars().next()?;
        if word.contains(':') && first.is_ascii_digit() {
            // A date and a time with `T` between them.
            return match word.split_once(['T', 't']) {
                Some((date, time)) => {
                    self.date(date)?;
                    self.clock(time)
                }
                None => self.clock(word),
            };
        }
        if matches!(first, '+' | '-') && self.time.is_some() {
            return self.offset(word);
        }
        if first.is_ascii_digit() {
            return match word.split_once(['T', 't']) {
                Some((date, time)) if time.bytes().all(|digit| digit.is_ascii_digit()) => {
                    self.date(date)?;
                    self.packed_clock(time)
                }
                _ => self.date(word),
            };
        }
        self.name(word)
    }

    fn name(&mut self, word: &str) -> Option<()> {
        let lower = word.trim_end_matches('.').to_lowercase();
        let starts = |names: &[&str], full: usize| {
            names.iter().position(|name| {
                lower.starts_with(name) && (lower.len() == 3 || lower.len() >= full)
            })
        };
        match lower.as_str() {
            "am" => return set(&mut self.afternoon, false),
            "pm" => return set(&mut self.afternoon, true),
            "ad" | "at" | "on" => return Some(()),
            "bc" => {
                self.before_christ = true;
                return Some(());
            }
            "z" | "utc" | "gmt" | "zulu" => return set(&mut self.zone, Zone::Named(Tz::UTC)),
            _ => {}
        }
        if let Some(month) = starts(&MONTHS, 4)
            && lower.bytes().all(|letter| letter.is_ascii_lowercase())
            && !lower.contains('/')
        {
            return set(&mut self.month, month as u32 + 1);
        }
        if starts(&DAYS, 4).is_some() && lower.ends_with("day") || DAYS.contains(&lower.as_str()) {
            return Some(());
        }
        set(&mut self.zone, Zone::read(word).ok()?)
    }

    /// `04:05[:06[.789]]`, with `PM` or a zone directly behind it.
    fn clock(&mut self, word: &str) -> Option<()> {
        let end = word
            .find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, ':' | '.'))
            .unwrap_or(word.len());
        let (clock, rest) = word.split_at(end);
        let mut parts = clock.split(':');
        let hour: i64 = two_digits(parts.next()?)?;
        let minute: i64 = two_digits(parts.next()?)?;
        let (second, micros) = match parts.next() {
            None => (0, 0),
            Some(seconds) => match seconds.split_once('.') {
                Some((whole, digits)) => (two_digits(whole)?, fraction(digits)?),
                None => (two_digits(seconds)?, 0),
            },
        };
        if parts.next().is_some() || minute > 59 || second > 60 || hour > 24 {
            return None;
        }
        let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
        if total > 86_400_000_000 {
            return None;
        }
        set(&mut self.time, total)?;
        match rest.chars().next() {
            None => Some(()),
            Some('+' | '-') => self.offset(rest),
            Some(_) => self.name(rest),
        }
    }

    fn packed_clock(&mut self, digits: &str) -> Option<()> {
        let padded = match digits.len() {
            2 => format!("{digits}:00"),
            4 => format!("{}:{}", &digits[..2], &digits[2..]),
            6 => format!("{}:{}:{}", &digits[..2], &digits[2..4], &digits[4..]),
            _ => return None,
        };
        self.clock(&padded)
    }

    fn offset(&mut self, word: &str) -> Option<()> {
        let seconds = offset(word)?;
        set(&mut self.zone, Zone::Fixed(chrono::FixedOffset::east_opt(seconds)?))
    }

    fn date(&mut self, word: &str) -> Option<()> {
        let parts: Vec<&str> = word.split(['-', '/', '.']).collect();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match parts.as_slice() {
            [all] if digits(all) => self.number(all),
            // `31st` and the like are not PostgreSQL's.
            [a, b, c] if digits(a) && digits(b) && digits(c) => {
                if a.len() >= 3 {
                    self.set_date(a, b, c)
                } else {
                    self.set_date(c, a, b)
                }
            }
            // `5-Jan-2024`, `2024-Jan-05`.
            [a, b, c] if digits(a) && !digits(b) && digits(c) => {
                self.name(b)?;
                let (year, day) = if a.len() >= 3 { (a, c) } else { (c, a) };
                set(&mut self.year, full_year(year)?)?;
                set(&mut self.day, day.parse().ok()?)
            }
            _ => None,
        }
    }

    fn set_date(&mut self, year: &str, month: &str, day: &str) -> Option<()> {
        set(&mut self.year, full_year(year)?)?;
        set(&mut self.month, two_digits(month)? as u32)?;
        set(&mut self.day, two_digits(day)? as u32)
    }

    /// Digits alone: a whole date, or what a date with the month's name still lacks.
    fn number(&mut self, digits: &str) -> Option<()> {
        match digits.len() {
            8 => self.set_date(&digits[..4], &digits[4..6], &digits[6..]),
            14 => {
                self.set_date(&digits[..4], &digits[4..6], &digits[6..8])?;
                self.packed_clock(&digits[8..])
            }
            6 if self.month.is_none() => self.set_date(&digits[..2], &digits[2..4], &digits[4..]),
            1 | 2 if self.day.is_none() => set(&mut self.day, digits.parse().ok()?),
            _ => set(&mut self.year, full_year(digits)?),
        }
    }

    fn finish(self) -> Option<Moment> {
        let year = self.year?;
        let year = if self.before_christ { 1 - year } else { year };
        if year == 0 && !self.before_christ {
            return None;
        }
        let date = NaiveDate::from_ymd_opt(year, self.month?, self.day?)?;
        let mut micros = self.time.unwrap_or(0);
        const HOUR: i64 = 3_600_000_000;
        match self.afternoon {
            Some(_) if self.time.is_none() || micros >= 13 * HOUR => return None,
            Some(true) if micros < 12 * HOUR => micros += 12 * HOUR,
            Some(false) if micros >= 12 * HOUR => micros -= 12 * HOUR,
            _ => {}
        }
        let (days, micros) = (micros / (24 * HOUR), micros % (24 * HOUR));
        let date = date.checked_add_days(Days::new(days.unsigned_abs()))?;
        let time =
            date.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::microseconds(micros))?;
        Some((time, self.zone))
    }
}

/// A second value for the same part is a mistake in the text.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(value);
    Some(())
}

fn two_digits(text: &str) -> Option<i64> {
    let fits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// Two digits mean a year between 1970 and 2069.
fn full_year(text: &str) -> Option<i32> {
    let year: i32 = text.parse().ok()?;
    Some(match text.len() {
        1 | 2 if year < 70 => year + 2000,
        1 | 2 => year + 1900,
        _ => year,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values are those of PostgreSQL 15 with the time zone UTC.
    #[test]
    fn forms_that_postgresql_takes() {
        for (text, expected) in [
            ("2024-01-31", "2024-01-31 00:00:00"),
            ("2024-01-31 12:00", "2024-01-31 12:00:00"),
            ("2024-01-31T12:00:01.5Z", "2024-01-31 12:00:01.500"),
            ("2024-01-31 12:00:00.1234567", "2024-01-31 12:00:00.123457"),
            ("2024-1-5", "2024-01-05 00:00:00"),
            ("20240131", "2024-01-31 00:00:00"),
            ("20240131T120001", "2024-01-31 12:00:01"),
            ("Jan 5, 2024", "2024-01-05 00:00:00"),
            ("5 January 2024 4:05 PM", "2024-01-05 16:05:00"),
            ("January 8, 1999 04:05:06", "1999-01-08 04:05:06"),
            ("1999-01-08 04:05:06 PM", "1999-01-08 16:05:06"),
            ("8-Jan-1999", "1999-01-08 00:00:00"),
            ("1/5/2024", "2024-01-05 00:00:00"),
            ("2024/01/05", "2024-01-05 00:00:00"),
            ("1/5/99", "1999-01-05 00:00:00"),
            ("2024-01-01 24:00:00", "2024-01-02 00:00:00"),
            ("2024-01-01 12:00:00+02", "2024-01-01 12:00:00"),
            ("Mon Jan 01 2024 10:00:00", "2024-01-01 10:00:00"),
            ("epoch", "1970-01-01 00:00:00"),
            ("infinity", "9999-12-31 23:59:59.999999"),
            ("-Infinity", "0001-01-01 00:00:00"),
            ("2024-01-01 12:00 AM", "2024-01-01 00:00:00"),
        ] {
            let read = timestamp(text).map(|(time, _)| time.to_string());
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "x",
            "2024-02-30",
            "2024-13-01",
            "2024-01-01 25:00",
            "2024",
            "12:00",
            "2024-01-01 x",
        ] {
            assert!(timestamp(text).is_none(), "{text}");
        }
    }

    #[test]
    fn zones_in_the_text() {
        for (text, expected) in [
            ("2024-01-01 12:00:00+02", "2024-01-01 10:00:00"),
            ("2024-01-01T12:00:00-03:30", "2024-01-01 15:30:00"),
            ("2024-07-01 12:00 Europe/Paris", "2024-07-01 10:00:00"),
            ("2024-01-01 12:00:00Z", "2024-01-01 12:00:00"),
        ] {
            let (time, zone) = timestamp(text).unwrap();
            assert_eq!(zone.unwrap().utc(time).unwrap().to_string(), expected, "{text}");
        }
    }
}
