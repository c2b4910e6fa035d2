//! `strptime` and ISO 8601 texts.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use regex::Regex;

use super::strftime::{DAYS, MONTHS};
use super::zone::Zone;
use crate::error::Error;

/// Python's `datetime.strptime`.
pub(super) fn parse(text: &str, format: &str) -> Result<(NaiveDateTime, Option<Zone>), Error> {
    let mismatch = || {
        Error::runtime(format!(
            "time data {} does not match format {}",
            crate::value::string_repr(text),
            crate::value::string_repr(format)
        ))
    };
    let (pattern, fields) = pattern(format)?;
    let regex = Regex::new(&pattern)
        .map_err(|_| Error::runtime(format!("the format '{format}' cannot be used")))?;
    let found = regex.captures(text).ok_or_else(mismatch)?;
    let end = found.get(0).map_or(0, |whole| whole.end());
    if end < text.len() {
        return Err(Error::runtime(format!("unconverted data remains: {}", &text[end..])));
    }
    let mut parts = Parts::default();
    for (index, directive) in fields.iter().enumerate() {
        let value = found.get(index + 1).map_or("", |part| part.as_str());
        parts.set(*directive, value).ok_or_else(mismatch)?;
    }
    parts.finish().ok_or_else(|| Error::runtime("day is out of range for month"))
}

fn pattern(format: &str) -> Result<(String, Vec<char>), Error> {
    let mut out = String::from(r"(?i)\A");
    let mut fields = Vec::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            out.push_str(r"\s+");
            continue;
        }
        if c != '%' {
            out.push_str(&regex::escape(&c.to_string()));
            continue;
        }
        let directive =
            chars.next().ok_or_else(|| Error::runtime(format!("stray %% in format '{format}'")))?;
        let names = |names: &[&str], short: bool| {
            let parts: Vec<&str> =
                names.iter().map(|name| if short { &name[..3] } else { name }).collect();
            parts.join("|")
        };
        let field = match directive {
            'Y' | 'G' => r"\d\d\d\d".to_string(),
            'y' => r"\d\d".into(),
            'm' => r"1[0-2]|0[1-9]|[1-9]".into(),
            'd' => r"3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9]".into(),
            'H' => r"2[0-3]|[0-1]\d|\d".into(),
            'I' => r"1[0-2]|0[1-9]|[1-9]".into(),
            'M' => r"[0-5]\d|\d".into(),
            'S' => r"6[0-1]|[0-5]\d|\d".into(),
            'f' => r"[0-9]{1,6}".into(),
            'j' => r"36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]".into(),
            'U' | 'W' => r"5[0-3]|[0-4]\d|\d".into(),
            'V' => r"5[0-3]|0[1-9]|[1-4]\d|\d".into(),
            'w' => "[0-6]".into(),
            'u' => "[1-7]".into(),
            'z' => r"[+-]\d\d:?[0-5]\d(?::?[0-5]\d(?:\.\d{1,6})?)?|Z".into(),
            'Z' => r"utc|gmt".into(),
            'p' => "am|pm".into(),
            'B' => names(&MONTHS, false),
            'b' => names(&MONTHS, true),
            'A' => names(&DAYS, false),
            'a' => names(&DAYS, true),
            '%' => {
                out.push('%');
                continue;
            }
            other => {
                return Err(Error::runtime(format!(
                    "'{other}' is a bad directive in format '{format}'"
                )));
            }
        };
        out.push('(');
        out.push_str(&field);
        out.push(')');
        fields.push(directive);
    }
    Ok((out, fields))
}

#[derive(Default)]
struct Parts {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    hour: u32,
    hour12: Option<u32>,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    micro: u32,
    zone: Option<Zone>,
}

fn name_index(names: &[&str], text: &str) -> Option<u32> {
    let at = names.iter().position(|name| name.to_lowercase().starts_with(&text.to_lowercase()))?;
    u32::try_from(at).ok()
}

impl Parts {
    fn set(&mut self, directive: char, text: &str) -> Option<()> {
        let number = || text.trim().parse::<u32>().ok();
        match directive {
            'Y' => self.year = text.parse().ok(),
            'y' => {
                let short: i32 = text.parse().ok()?;
                self.year = Some(if short < 69 { 2000 + short } else { 1900 + short });
            }
            'm' => self.month = number(),
            'd' => self.day = number(),
            'j' => self.ordinal = number(),
            'H' => self.hour = number()?,
            'I' => self.hour12 = number(),
            'p' => self.afternoon = Some(text.eq_ignore_ascii_case("pm")),
            'M' => self.minute = number()?,
            'S' => self.second = number()?.min(59),
            'f' => self.micro = format!("{text:0<6}").parse().ok()?,
            'B' => self.month = Some(name_index(&MONTHS, text)? + 1),
            'b' => self.month = Some(name_index(&MONTHS, text)? + 1),
            'z' => self.zone = Some(Zone::Fixed(offset(text)?, None)),
            _ => {}
        }
        Some(())
    }

    fn finish(self) -> Option<(NaiveDateTime, Option<Zone>)> {
        let year = self.year.unwrap_or(1900);
        let date = match (self.ordinal, self.month, self.day) {
            (Some(ordinal), None, None) => NaiveDate::from_yo_opt(year, ordinal)?,
            (_, month, day) => NaiveDate::from_ymd_opt(year, month.unwrap_or(1), day.unwrap_or(1))?,
        };
        let hour = match (self.hour12, self.afternoon) {
            (Some(hour), Some(true)) => hour % 12 + 12,
            (Some(hour), _) => hour % 12,
            (None, _) => self.hour,
        };
        let time = NaiveTime::from_hms_micro_opt(hour, self.minute, self.second, self.micro)?;
        Some((date.and_time(time), self.zone))
    }
}

/// Seconds of `+01:00`, `-0530`, `Z`.
fn offset(text: &str) -> Option<i32> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = rest.chars().take_while(|c| *c != '.').filter(|c| *c != ':').collect();
    if !digits.len().is_multiple_of(2) || digits.is_empty() || digits.len() > 6 {
        return None;
    }
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |part| part.parse::<i32>().ok());
    Some(sign * (part(0)? * 3600 + part(2)? * 60 + part(4)?))
}

fn invalid(text: &str) -> Error {
    Error::runtime(format!("Invalid isoformat string: {}", crate::value::string_repr(text)))
}

/// `2024-01-31`, `20240131`, `2024-W05-3`.
pub(super) fn iso_date(text: &str) -> Result<NaiveDate, Error> {
    let parse = || -> Option<NaiveDate> {
        if !text.is_ascii() {
            return None;
        }
        if let Some((year, week)) = text.split_once('W') {
            let year = year.trim_end_matches('-').parse().ok()?;
            let digits: String = week.chars().filter(|c| *c != '-').collect();
            let number = digits.get(..2)?.parse().ok()?;
            let day: u8 =
                digits.get(2..).filter(|day| !day.is_empty()).unwrap_or("1").parse().ok()?;
            let weekday = chrono::Weekday::try_from(day.checked_sub(1)?).ok()?;
            return NaiveDate::from_isoywd_opt(year, number, weekday);
        }
        let digits: String = match text.len() {
            10 if text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' => {
                text.chars().filter(|c| *c != '-').collect()
            }
            8 => text.to_string(),
            _ => return None,
        };
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        NaiveDate::from_ymd_opt(
            digits[..4].parse().ok()?,
            digits[4..6].parse().ok()?,
            digits[6..].parse().ok()?,
        )
        .filter(|date| date.year() > 0)
    };
    parse().ok_or_else(|| invalid(text))
}

/// `13:05`, `13:05:30.25+01:00`, `T130530Z`.
pub(super) fn iso_time(text: &str) -> Result<(NaiveTime, Option<Zone>), Error> {
    let parse = || -> Option<(NaiveTime, Option<Zone>)> {
        let text = text.strip_prefix('T').unwrap_or(text);
        let end = text.find(['+', '-', 'Z', 'z']).unwrap_or(text.len());
        let (clock, zone) = text.split_at(end);
        let zone = match zone {
            "" => None,
            zone => Some(Zone::Fixed(offset(zone)?, None)),
        };
        let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits: String = clock.chars().filter(|c| *c != ':').collect();
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 2 | 4 | 6) {
            return None;
        }
        let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |part| part.parse().ok());
        let micro: u32 = format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().ok()?;
        let time = NaiveTime::from_hms_micro_opt(part(0)?, part(2)?, part(4)?, micro)?;
        Some((time, zone))
    };
    parse().ok_or_else(|| invalid(text))
}

/// A date, and a time behind any one character.
pub(super) fn iso_datetime(text: &str) -> Result<(NaiveDateTime, Option<Zone>), Error> {
    let split = match text.find('W') {
        Some(_) => text.find(['T', ' ']).unwrap_or(text.len()),
        None if text.as_bytes().get(4) == Some(&b'-') => 10,
        None => 8,
    };
    let date = text.get(..split.min(text.len())).ok_or_else(|| invalid(text))?;
    let date = iso_date(date).map_err(|_| invalid(text))?;
    let rest = text.get(split.min(text.len())..).unwrap_or("");
    let mut chars = rest.chars();
    if chars.next().is_none() {
        return Ok((date.and_time(NaiveTime::MIN), None));
    }
    let (time, zone) = iso_time(chars.as_str()).map_err(|_| invalid(text))?;
    Ok((date.and_time(time), zone))
}
