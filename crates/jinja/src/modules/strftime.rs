//! `strftime`, with the directives of Python and of the C library beneath it.

use std::fmt::Write;

use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};

use super::zone::offset_text;
use crate::error::Error;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// What is formatted.
pub(super) struct Moment {
    pub(super) date: NaiveDate,
    pub(super) time: NaiveTime,
    /// Seconds east, for aware times.
    pub(super) offset: Option<i32>,
    pub(super) zone: Option<String>,
}

pub(super) fn format(moment: &Moment, pattern: &str) -> Result<String, Error> {
    let mut out = String::new();
    expand(moment, pattern, &mut out);
    if out.len() > 1 << 20 {
        return Err(Error::runtime("the formatted time is too long"));
    }
    Ok(out)
}

fn expand(moment: &Moment, pattern: &str, out: &mut String) {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let flag = chars.next_if(|c| matches!(c, '-' | '_' | '0' | '^'));
        match chars.next() {
            None => {
                out.push('%');
                out.extend(flag);
            }
            Some(directive) => {
                let mut text = String::new();
                if one(moment, directive, flag, &mut text) {
                    out.push_str(&if flag == Some('^') { text.to_uppercase() } else { text });
                } else {
                    out.push('%');
                    out.extend(flag);
                    out.push(directive);
                }
            }
        }
    }
}

/// One directive; false when it is unknown.
fn one(moment: &Moment, directive: char, flag: Option<char>, out: &mut String) -> bool {
    let Moment { date, time, .. } = moment;
    let mut number = |value: i64, width: usize, pad: char| {
        let pad = match flag {
            Some('-') => None,
            Some('_') => Some(' '),
            Some('0') => Some('0'),
            _ => Some(pad),
        };
        let _ = match pad {
            None => write!(out, "{value}"),
            Some('0') => write!(out, "{value:0width$}"),
            Some(_) => write!(out, "{value:width$}"),
        };
    };
    let hour12 = |hour: u32| i64::from((hour + 11) % 12 + 1);
    let week = date.iso_week();
    let weekday = date.weekday();
    match directive {
        'Y' => number(i64::from(date.year()), 1, '0'),
        'C' => number(i64::from(date.year() / 100), 2, '0'),
        'y' => number(i64::from(date.year().rem_euclid(100)), 2, '0'),
        'm' => number(i64::from(date.month()), 2, '0'),
        'd' => number(i64::from(date.day()), 2, '0'),
        'e' => number(i64::from(date.day()), 2, ' '),
        'H' => number(i64::from(time.hour()), 2, '0'),
        'k' => number(i64::from(time.hour()), 2, ' '),
        'I' => number(hour12(time.hour()), 2, '0'),
        'l' => number(hour12(time.hour()), 2, ' '),
        'M' => number(i64::from(time.minute()), 2, '0'),
        'S' => number(i64::from(time.second()), 2, '0'),
        'f' => number(i64::from(time.nanosecond() / 1000), 6, '0'),
        'j' => number(i64::from(date.ordinal()), 3, '0'),
        'G' => number(i64::from(week.year()), 1, '0'),
        'g' => number(i64::from(week.year().rem_euclid(100)), 2, '0'),
        'V' => number(i64::from(week.week()), 2, '0'),
        'u' => number(i64::from(weekday.number_from_monday()), 1, '0'),
        'w' => number(i64::from(weekday.num_days_from_sunday()), 1, '0'),
        'U' => {
            let days = weekday.num_days_from_sunday();
            number(i64::from((date.ordinal0() + 7 - days) / 7), 2, '0');
        }
        'W' => {
            let days = weekday.num_days_from_monday();
            number(i64::from((date.ordinal0() + 7 - days) / 7), 2, '0');
        }
        's' => {
            let local = date.and_time(*time).and_utc().timestamp();
            number(local - i64::from(moment.offset.unwrap_or(0)), 1, '0');
        }
        'B' => out.push_str(MONTHS[date.month0() as usize]),
        'b' | 'h' => out.push_str(&MONTHS[date.month0() as usize][..3]),
        'A' => out.push_str(DAYS[weekday.num_days_from_monday() as usize]),
        'a' => out.push_str(&DAYS[weekday.num_days_from_monday() as usize][..3]),
        'p' => out.push_str(if time.hour() < 12 { "AM" } else { "PM" }),
        'P' => out.push_str(if time.hour() < 12 { "am" } else { "pm" }),
        'z' => {
            if let Some(offset) = moment.offset {
                out.push_str(&offset_text(offset, ""));
            }
        }
        ':' => return false,
        'Z' => out.push_str(moment.zone.as_deref().unwrap_or("")),
        'D' | 'x' => expand(moment, "%m/%d/%y", out),
        'F' => expand(moment, "%Y-%m-%d", out),
        'T' | 'X' => expand(moment, "%H:%M:%S", out),
        'R' => expand(moment, "%H:%M", out),
        'r' => expand(moment, "%I:%M:%S %p", out),
        'c' => expand(moment, "%a %b %e %H:%M:%S %Y", out),
        'n' => out.push('\n'),
        't' => out.push('\t'),
        '%' => out.push('%'),
        _ => return false,
    }
    true
}
