//! Intervals as PostgreSQL reads, writes and compares them: a month has thirty days, a day
//! twenty-four hours.

use arrow::datatypes::{IntervalMonthDayNano, IntervalMonthDayNanoType};

const DAY: i64 = 86_400_000_000;
const NANOS: i64 = 1_000;

/// `1 year 2 mons 3 days 04:05:06.5`.
pub(super) fn write(value: IntervalMonthDayNano, out: &mut String) {
    let start = out.len();
    let mut negative = false;
    let mut part = |count: i64, one: &str, many: &str| {
        if count != 0 {
            if out.len() > start {
                out.push(' ');
            }
            let name = if count == 1 { one } else { many };
            // A part behind a negative one says its sign.
            let sign = if negative && count > 0 { "+" } else { "" };
            out.push_str(&format!("{sign}{count} {name}"));
            negative = count < 0;
        }
    };
    part(i64::from(value.months / 12), "year", "years");
    part(i64::from(value.months % 12), "mon", "mons");
    part(i64::from(value.days), "day", "days");
    let micros = value.nanoseconds / NANOS;
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(' ');
        }
        if micros < 0 {
            out.push('-');
        } else if value.days < 0 || value.days == 0 && value.months < 0 {
            // What is negative before it does not count for it.
            out.push('+');
        }
        clock(micros.unsigned_abs(), out);
    }
}

/// `04:05:06.5`, of microseconds.
pub(super) fn clock(micros: u64, out: &mut String) {
    let seconds = micros / 1_000_000;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    out.push_str(&format!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
    fraction(micros % 1_000_000, out);
}

/// `.5` of 500,000 microseconds; nothing of none.
pub(super) fn fraction(micros: u64, out: &mut String) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// Where an interval stands among all: microseconds, with months of thirty days.
pub(super) fn position(value: IntervalMonthDayNano) -> Option<i64> {
    let days = i64::from(value.months) * 30 + i64::from(value.days);
    days.checked_mul(DAY)?.checked_add(value.nanoseconds / NANOS)
}

/// A length of time in microseconds as days and the time that is left.
pub(super) fn of_micros(micros: i64) -> Option<IntervalMonthDayNano> {
    let days = i32::try_from(micros / DAY).ok()?;
    Some(IntervalMonthDayNanoType::make_value(0, days, (micros % DAY) * NANOS))
}

/// Times a number: what does not divide evenly goes on to days, and to the time.
pub(super) fn scaled(value: IntervalMonthDayNano, factor: f64) -> Option<IntervalMonthDayNano> {
    let whole = |x: f64| (x.abs() <= f64::from(i32::MAX)).then_some(x.trunc());
    let near = |x: f64| (x * 1e6).round() / 1e6;
    let months = f64::from(value.months) * factor;
    let whole_months = whole(near(months))?;
    let days = f64::from(value.days) * factor;
    let whole_days = whole(near(days))?;
    // Part of a month is days, of which part is time.
    let rest_days = near((months - whole_months) * 30.0);
    let mut total_days = whole_days + rest_days.trunc();
    let mut micros = (near(days - whole_days) + near(rest_days - rest_days.trunc())) * DAY as f64;
    if micros.abs() >= DAY as f64 {
        total_days += (micros / DAY as f64).trunc();
        micros %= DAY as f64;
    }
    let micros = micros + (value.nanoseconds / NANOS) as f64 * factor;
    if micros.abs() >= 9.2e15 {
        return None;
    }
    let days = whole(total_days)? as i32;
    Some(IntervalMonthDayNanoType::make_value(
        whole_months as i32,
        days,
        micros.round() as i64 * NANOS,
    ))
}

/// Reads PostgreSQL's forms: `1 year 2 mons`, `3 days 04:05:06`, `1-2`, `P1Y2M3DT4H5M6S`, `-1 day`,
/// `2 hours ago`. A number without a unit is seconds.
pub(crate) fn read(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.trim().to_lowercase();
    let mut total = Total::default();
    if let Some(rest) = text.strip_prefix('p') {
        iso(rest, &mut total)?;
        return total.finish(1.0);
    }
    let (body, sign) = match text.strip_suffix("ago") {
        Some(body) => (body, -1.0),
        None => (text.as_str(), 1.0),
    };
    let words = words(body.trim_start_matches('@'))?;
    if words.is_empty() {
        return None;
    }
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word.contains(':') {
            total.clock(&word)?;
            continue;
        }
        if let Some((years, months)) = years_and_months(&word) {
            total.months += years * 12.0 + months;
            continue;
        }
        let number: f64 = word.parse().ok()?;
        match words.peek() {
            Some(unit) if unit.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
                total.add(number, unit)?;
                words.next();
            }
            // `3 4:05:06` is days and a time.
            Some(time) if time.contains(':') => total.add(number, "day")?,
            _ => total.add(number, "second")?,
        }
    }
    total.finish(sign)
}

/// Numbers and words, also where nothing stands between them: `1h30m`.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut numeric = false;
    let mut open = false;
    for letter in text.chars() {
        if letter.is_whitespace() || letter == ',' {
            open = false;
            continue;
        }
        let is_numeric = letter.is_ascii_digit() || matches!(letter, '.' | ':' | '-' | '+');
        if !is_numeric && !letter.is_ascii_alphabetic() {
            return None;
        }
        // A sign may stand apart from its number: `1 month - 1 day`.
        let signed = is_numeric && words.last().is_some_and(|word| word == "-" || word == "+");
        match words.last_mut() {
            Some(word) if signed || (open && numeric == is_numeric) => word.push(letter),
            _ => words.push(letter.to_string()),
        }
        (numeric, open) = (is_numeric, true);
    }
    Some(words)
}

/// `1-2` is one year and two months.
fn years_and_months(word: &str) -> Option<(f64, f64)> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.strip_prefix('+').unwrap_or(word)),
    };
    let (years, months) = digits.split_once('-')?;
    let (years, months): (u32, u32) = (years.parse().ok()?, months.parse().ok()?);
    (months < 12).then(|| (sign * f64::from(years), sign * f64::from(months)))
}

fn iso(text: &str, total: &mut Total) -> Option<()> {
    let (date, time) = text.split_once('t').unwrap_or((text, ""));
    let mut found = false;
    for (part, is_time) in [(date, false), (time, true)] {
        let mut number = String::new();
        for letter in part.chars() {
            if letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+') {
                number.push(letter);
                continue;
            }
            let value: f64 = number.parse().ok()?;
            number.clear();
            found = true;
            let unit = match (letter, is_time) {
                ('y', false) => "year",
                ('m', false) => "month",
                ('w', false) => "week",
                ('d', false) => "day",
                ('h', true) => "hour",
                ('m', true) => "minute",
                ('s', true) => "second",
                _ => return None,
            };
            total.add(value, unit)?;
        }
        if !number.is_empty() {
            return None;
        }
    }
    found.then_some(())
}

/// What was read so far.
#[derive(Default)]
struct Total {
    months: f64,
    days: f64,
    micros: f64,
}

impl Total {
    fn add(&mut self, number: f64, unit: &str) -> Option<()> {
        let whole_months = |months: f64, total: &mut Total| {
            let months = number * months;
            total.months += months.trunc();
            // Part of a month is days.
            let days = ((months - months.trunc()) * 30.0 * 1e6).round() / 1e6;
            total.whole_days(days);
        };
        let unit = match unit {
            "y" | "yr" | "yrs" => "year",
            "mon" | "mons" => "month",
            "w" => "week",
            "d" => "day",
            "h" | "hr" | "hrs" => "hour",
            "m" | "min" | "mins" => "minute",
            "s" | "sec" | "secs" => "second",
            other => other.strip_suffix('s').unwrap_or(other),
        };
        match unit {
            "millennium" | "millennia" | "mil" => whole_months(12_000.0, self),
            "century" | "centurie" | "c" => whole_months(1_200.0, self),
            "decade" | "dec" => whole_months(120.0, self),
            "year" => whole_months(12.0, self),
            "quarter" => whole_months(3.0, self),
            "month" => whole_months(1.0, self),
            "week" => self.whole_days(number * 7.0),
            "day" => self.whole_days(number),
            "hour" => self.micros += number * 3_600e6,
            "minute" => self.micros += number * 60e6,
            "second" => self.micros += number * 1e6,
            "millisecond" | "ms" | "msec" => self.micros += number * 1e3,
            "microsecond" | "u" | "us" | "usec" => self.micros += number,
            _ => return None,
        }
        Some(())
    }

    fn whole_days(&mut self, days: f64) {
        self.days += days.trunc();
        self.micros += (days - days.trunc()) * DAY as f64;
    }

    /// `[-]h:m[:s[.f]]`.
    fn clock(&mut self, word: &str) -> Option<()> {
        let (sign, word) = match word.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, word.strip_prefix('+').unwrap_or(word)),
        };
        let mut parts = word.split(':');
        let hours: u32 = parts.next()?.parse().ok()?;
        let minutes: u32 = parts.next()?.parse().ok()?;
        let seconds: f64 = parts.next().map_or(Some(0.0), |text| text.parse().ok())?;
        if parts.next().is_some() || minutes > 59 || !(0.0..60.0).contains(&seconds) {
            return None;
        }
        let seconds = f64::from(hours) * 3_600.0 + f64::from(minutes) * 60.0 + seconds;
        self.micros += sign * seconds * 1e6;
        Some(())
    }

    fn finish(self, sign: f64) -> Option<IntervalMonthDayNano> {
        let fits = |value: f64| value.abs() <= f64::from(i32::MAX);
        if !fits(self.months) || !fits(self.days) || self.micros.abs() > 9.2e15 {
            return None;
        }
        Some(IntervalMonthDayNanoType::make_value(
            (sign * self.months) as i32,
            (sign * self.days) as i32,
            (sign * self.micros).round() as i64 * NANOS,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values are those of PostgreSQL 15.
    #[test]
    fn intervals_are_read_and_written_as_postgresql_does() {
        for (text, expected) in [
            ("1 day", "1 day"),
            ("1 year 2 months 3 days 04:05:06", "1 year 2 mons 3 days 04:05:06"),
            ("1-2", "1 year 2 mons"),
            ("P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
            ("90 minutes", "01:30:00"),
            ("1.5 hours", "01:30:00"),
            ("1.5 days", "1 day 12:00:00"),
            ("1.5 months", "1 mon 15 days"),
            ("1 week", "7 days"),
            ("2 hours ago", "-02:00:00"),
            ("-1 day", "-1 days"),
            ("3 4:05:06", "3 days 04:05:06"),
            ("1h30m", "01:30:00"),
            ("30", "00:00:30"),
            ("1 quarter", "3 mons"),
            ("0 days", "00:00:00"),
            ("1 millisecond", "00:00:00.001"),
        ] {
            let mut out = String::new();
            write(read(text).unwrap_or_else(|| panic!("{text}")), &mut out);
            assert_eq!(out, expected, "{text}");
        }
        for text in ["", "x", "1 parsec", "1:2:3:4", "P", "day"] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn products_pass_fractions_down() {
        for (text, factor, expected) in [
            ("1 day", 3.0, "3 days"),
            ("3 hours", 0.5, "01:30:00"),
            ("1 month", 0.5, "15 days"),
            ("1 year", 1.0 / 3.0, "4 mons"),
            ("1 day", 0.5, "12:00:00"),
        ] {
            let mut out = String::new();
            write(scaled(read(text).unwrap(), factor).unwrap(), &mut out);
            assert_eq!(out, expected, "{text} * {factor}");
        }
        let at = |text: &str| position(read(text).unwrap()).unwrap();
        assert_eq!(at("1 day"), at("24 hours"));
        assert!(at("1 month") > at("29 days") && at("1 month") == at("30 days"));
    }
}
