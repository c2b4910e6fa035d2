//! Dates by patterns of the C library, as DuckDB reads and writes them: `strftime(x, '%d.%m.%Y')`,
//! `strptime('05.03.2024', '%d.%m.%Y')`, `try_strptime`.
//!
//! The letters are those of DuckDB's documentation; one that it does not have is an error. A `-` takes
//! leading zeros away (`%-d`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Offset, Timelike, Weekday};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::json::texts;
use super::pattern::{DAYS, MONTHS};
use super::simple::{Call, MICROS, Simple, arity, bad_value, text, text_at, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("strftime", written_takes, |_, _| Ok(DataType::Utf8View), strftime),
        Simple::function("strptime", read_takes, |_, _| Ok(MICROS), |args, _| read(args, true)),
        Simple::function(
            "try_strptime",
            read_takes,
            |_, _| Ok(MICROS),
            |args, _| read(args, false),
        ),
    ]
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A letter, and whether it stands without leading zeros.
    Field(char, bool),
}

/// The pieces of a pattern; `%c`, `%x` and their like are written out.
fn pieces(pattern: &str) -> Result<Vec<Piece>> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            plain.push(letter);
            continue;
        }
        let mut code = letters.next();
        let bare = code == Some('-');
        if bare {
            code = letters.next();
        }
        let written = match code {
            Some('%') => {
                plain.push('%');
                continue;
            }
            Some('c') => "%Y-%m-%d %H:%M:%S",
            Some('x' | 'F') => "%Y-%m-%d",
            Some('X' | 'T') => "%H:%M:%S",
            Some('R') => "%H:%M",
            Some('D') => "%m/%d/%y",
            Some(code) if "aAwudbhBmyYGHIpMSfgnzZjUWVe".contains(code) => {
                if !plain.is_empty() {
                    found.push(Piece::Text(std::mem::take(&mut plain)));
                }
                found.push(Piece::Field(code, bare));
                continue;
            }
            Some(other) => {
                return usage(format!("`%{other}` of the date pattern `{pattern}` is not known"));
            }
            None => return usage(format!("the date pattern `{pattern}` ends with `%`")),
        };
        if !plain.is_empty() {
            found.push(Piece::Text(std::mem::take(&mut plain)));
        }
        found.extend(pieces(written)?);
    }
    if !plain.is_empty() {
        found.push(Piece::Text(plain));
    }
    Ok(found)
}

/// The pieces of the pattern of each row; a pattern is read once as long as it stays the same.
#[derive(Default)]
struct Known {
    pattern: String,
    pieces: Vec<Piece>,
}

impl Known {
    fn of(&mut self, pattern: &str) -> Result<&[Piece]> {
        if self.pattern != pattern || self.pieces.is_empty() {
            self.pieces = pieces(pattern)?;
            pattern.clone_into(&mut self.pattern);
        }
        Ok(&self.pieces)
    }
}

/// The value and its pattern, in either order.
fn written_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("strftime", types, 2, 2)?;
    let moment = |data_type: &DataType| match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => MICROS,
    };
    let temporal = |data_type: &DataType| {
        matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
    };
    Ok(match temporal(&types[1]) {
        true => vec![DataType::Utf8View, moment(&types[1])],
        false => vec![moment(&types[0]), DataType::Utf8View],
    })
}

fn strftime(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let (values, patterns) = match args[0].data_type() {
        DataType::Utf8View => (&args[1], &args[0]),
        _ => (&args[0], &args[1]),
    };
    let zoned = matches!(values.data_type(), DataType::Timestamp(_, Some(_)));
    let zone: chrono_tz::Tz = call.timezone.parse().unwrap_or(chrono_tz::UTC);
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let patterns = text(patterns);
    let mut known = Known::default();
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut written = String::new();
    for row in 0..values.len() {
        let (true, Some(pattern)) = (values.is_valid(row), text_at(patterns, row)) else {
            out.append_null();
            continue;
        };
        let Some(moment) = DateTime::from_timestamp_micros(values.value(row)) else {
            return Err(bad_value("timestamp out of range"));
        };
        let (local, offset) = if zoned {
            let there = moment.with_timezone(&zone);
            (there.naive_local(), there.offset().fix().local_minus_utc())
        } else {
            (moment.naive_utc(), 0)
        };
        written.clear();
        for piece in known.of(pattern)? {
            write(piece, local, offset, &mut written);
        }
        out.append_value(&written);
    }
    Ok(Arc::new(out.finish()))
}

fn write(piece: &Piece, moment: NaiveDateTime, offset: i32, out: &mut String) {
    use std::fmt::Write;
    let (code, bare) = match piece {
        Piece::Text(text) => return out.push_str(text),
        Piece::Field(code, bare) => (*code, *bare),
    };
    let weekday = moment.weekday().num_days_from_sunday();
    let twelve = match moment.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let mut number = |value: u32, width: usize| {
        // Writing into a text cannot fail.
        let _ = match bare {
            true => write!(out, "{value}"),
            false => write!(out, "{value:0width$}"),
        };
    };
    match code {
        'd' | 'e' => number(moment.day(), 2),
        'm' => number(moment.month(), 2),
        'y' => number(moment.year().rem_euclid(100).unsigned_abs(), 2),
        'H' => number(moment.hour(), 2),
        'I' => number(twelve, 2),
        'M' => number(moment.minute(), 2),
        'S' => number(moment.second(), 2),
        'j' => number(moment.ordinal(), 3),
        'f' => number(moment.nanosecond() / 1_000, 6),
        'g' => number(moment.nanosecond() / 1_000_000, 3),
        'n' => number(moment.nanosecond(), 9),
        'w' => number(weekday, 1),
        'u' => number(moment.weekday().number_from_monday(), 1),
        'U' => number((moment.ordinal() + 6 - weekday) / 7, 2),
        'W' => number((moment.ordinal() + 6 - moment.weekday().num_days_from_monday()) / 7, 2),
        'V' => number(moment.iso_week().week(), 2),
        'Y' => drop(write!(out, "{:04}", moment.year())),
        'G' => drop(write!(out, "{:04}", moment.iso_week().year())),
        'p' => out.push_str(if moment.hour() < 12 { "AM" } else { "PM" }),
        'a' => out.push_str(&DAYS[weekday as usize][..3]),
        'A' => out.push_str(DAYS[weekday as usize]),
        'b' | 'h' => out.push_str(&MONTHS[moment.month0() as usize][..3]),
        'B' => out.push_str(MONTHS[moment.month0() as usize]),
        'z' => {
            let minutes = offset.abs() / 60;
            let sign = if offset < 0 { '-' } else { '+' };
            let _ = write!(out, "{sign}{:02}", minutes / 60);
            if minutes % 60 != 0 {
                let _ = write!(out, ":{:02}", minutes % 60);
            }
        }
        _ => {}
    }
}

/// Text, and a pattern or a list of them.
fn read_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("strptime", types, 2, 2)?;
    let list = matches!(
        types[1],
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    );
    Ok(vec![DataType::Utf8View, if list { texts() } else { DataType::Utf8View }])
}

fn read(args: &[ArrayRef], strict: bool) -> Result<ArrayRef> {
    let values = text(&args[0]);
    let mut known = Known::default();
    let mut out = TimestampMicrosecondBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        let patterns: Vec<String> = match args[1].as_list_opt::<i32>() {
            Some(lists) if lists.is_valid(row) => {
                let patterns = lists.value(row);
                let patterns = text(&patterns);
                (0..patterns.len())
                    .filter_map(|at| text_at(patterns, at))
                    .map(str::to_owned)
                    .collect()
            }
            Some(_) => Vec::new(),
            None => text_at(text(&args[1]), row).map(str::to_owned).into_iter().collect(),
        };
        let (Some(value), false) = (text_at(values, row), patterns.is_empty()) else {
            out.append_null();
            continue;
        };
        let mut found = None;
        for pattern in &patterns {
            found = moment(value, known.of(pattern)?);
            if found.is_some() {
                break;
            }
        }
        match found {
            Some(moment) => out.append_value(moment.and_utc().timestamp_micros()),
            None if strict => {
                let patterns = patterns.join("`, `");
                return Err(bad_value(format!(
                    "`{value}` is no date of the pattern `{patterns}`; `try_strptime` gives NULL there"
                )));
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// What a text says by a pattern; all of it has to be used.
fn moment(value: &str, pieces: &[Piece]) -> Option<NaiveDateTime> {
    let mut rest = value.trim();
    let (mut year, mut month, mut day, mut ordinal) = (None, 1, 1, None);
    let (mut hour, mut minute, mut second, mut nanos) = (0_u32, 0_u32, 0_u32, 0_u32);
    let (mut afternoon, mut twelve, mut offset) = (None, false, 0_i64);
    let mut iso: (Option<i32>, Option<u32>, u32) = (None, None, 1);
    for piece in pieces {
        let code = match piece {
            Piece::Text(text) => {
                // White space stands for any amount of it.
                if text.trim().is_empty() {
                    let after = rest.trim_start();
                    if after.len() == rest.len() {
                        return None;
                    }
                    rest = after;
                } else {
                    rest = rest.strip_prefix(text.as_str())?;
                }
                continue;
            }
            Piece::Field(code, _) => *code,
        };
        match code {
            'Y' | 'G' => {
                let read = digits(&mut rest, 4)?;
                let read = i32::try_from(read).ok()?;
                if code == 'G' { iso.0 = Some(read) } else { year = Some(read) }
            }
            'y' => {
                let short = i32::try_from(digits(&mut rest, 2)?).ok()?;
                year = Some(if short < 69 { 2000 + short } else { 1900 + short });
            }
            'm' => month = digits(&mut rest, 2)?,
            'd' | 'e' => day = digits(&mut rest, 2)?,
            'j' => ordinal = Some(digits(&mut rest, 3)?),
            'H' => hour = digits(&mut rest, 2)?,
            'I' => {
                hour = digits(&mut rest, 2)?;
                twelve = true;
                if !(1..=12).contains(&hour) {
                    return None;
                }
            }
            'M' => minute = digits(&mut rest, 2)?,
            'S' => second = digits(&mut rest, 2)?,
            'f' => nanos = fraction(&mut rest, 6)?,
            'g' => nanos = fraction(&mut rest, 3)?,
            'n' => nanos = fraction(&mut rest, 9)?,
            'p' => {
                let word: String = rest.chars().take(2).collect();
                afternoon = Some(match word.to_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                rest = &rest[word.len()..];
            }
            'B' => month = named(&mut rest, &MONTHS, false)? + 1,
            'b' | 'h' => month = named(&mut rest, &MONTHS, true)? + 1,
            'A' => drop(named(&mut rest, &DAYS, false)?),
            'a' => drop(named(&mut rest, &DAYS, true)?),
            'u' => iso.2 = digits(&mut rest, 1)?,
            'V' => iso.1 = Some(digits(&mut rest, 2)?),
            'w' | 'U' | 'W' => drop(digits(&mut rest, if code == 'w' { 1 } else { 2 })?),
            'z' => offset = zone_offset(&mut rest)?,
            'Z' => {
                let end = rest
                    .find(|letter: char| !(letter.is_alphanumeric() || "/_+-".contains(letter)));
                let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
                if !matches!(name.to_uppercase().as_str(), "UTC" | "GMT" | "Z") {
                    return None;
                }
                rest = after;
            }
            _ => return None,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    if twelve {
        hour = hour % 12 + if afternoon == Some(true) { 12 } else { 0 };
    } else if afternoon == Some(true) && hour < 12 {
        hour += 12;
    }
    let date = match (iso, ordinal) {
        ((Some(year), Some(week), day), _) => {
            let day = Weekday::try_from(u8::try_from(day.checked_sub(1)?).ok()?).ok()?;
            NaiveDate::from_isoywd_opt(year, week, day)?
        }
        (_, Some(ordinal)) => NaiveDate::from_yo_opt(year.unwrap_or(1900), ordinal)?,
        _ => NaiveDate::from_ymd_opt(year.unwrap_or(1900), month, day)?,
    };
    let local = date.and_hms_nano_opt(hour, minute, second, nanos)?;
    local.checked_sub_signed(Duration::seconds(offset))
}

fn digits(rest: &mut &str, most: usize) -> Option<u32> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(count);
    *rest = after;
    digits.parse().ok()
}

/// Digits behind a point, as nanoseconds.
fn fraction(rest: &mut &str, most: usize) -> Option<u32> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(count);
    *rest = after;
    let read: u32 = digits.parse().ok()?;
    Some(read * 10_u32.pow(u32::try_from(9 - count).ok()?))
}

/// Which of these names stands at the start, in any case.
fn named(rest: &mut &str, names: &[&str], short: bool) -> Option<u32> {
    for (place, name) in names.iter().enumerate() {
        let name = if short { &name[..3] } else { name };
        if let Some(start) = rest.get(..name.len())
            && start.eq_ignore_ascii_case(name)
        {
            *rest = &rest[name.len()..];
            return u32::try_from(place).ok();
        }
    }
    None
}

/// `+02`, `+0200`, `+02:00` or `Z`, in seconds.
fn zone_offset(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix(['Z', 'z']) {
        *rest = after;
        return Some(0);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let hours = digits(rest, 2)?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = digits(rest, 2).unwrap_or(0);
    Some(sign * i64::from(hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: &str, pattern: &str) -> Option<String> {
        moment(value, &pieces(pattern).unwrap()).map(|moment| moment.to_string())
    }

    #[test]
    fn texts_are_read_by_their_pattern() {
        let read = [
            ("05/03/2024", "%d/%m/%Y", Some("2024-03-05 00:00:00")),
            ("5/3/24 7:08 pm", "%-d/%-m/%y %-I:%M %p", Some("2024-03-05 19:08:00")),
            (
                "Mon, 2 March 1992 - 08:32:45 PM",
                "%a, %-d %B %Y - %I:%M:%S %p",
                Some("1992-03-02 20:32:45"),
            ),
            (
                "2024-03-05T10:11:12.5+02:00",
                "%Y-%m-%dT%H:%M:%S.%f%z",
                Some("2024-03-05 08:11:12.500"),
            ),
            ("2024-03-05 x", "%Y-%m-%d", None),
            ("2024-13-05", "%Y-%m-%d", None),
            ("2024", "%d/%m/%Y", None),
        ];
        for (value, pattern, expected) in read {
            assert_eq!(at(value, pattern).as_deref(), expected, "{value}");
        }
        assert!(pieces("%Q").is_err());
    }

    #[test]
    fn moments_are_written_by_their_pattern() {
        let moment =
            NaiveDate::from_ymd_opt(2024, 3, 5).unwrap().and_hms_micro_opt(14, 5, 9, 123_456);
        let written = |pattern: &str| {
            let mut out = String::new();
            for piece in pieces(pattern).unwrap() {
                write(&piece, moment.unwrap(), 0, &mut out);
            }
            out
        };
        assert_eq!(written("%d/%m/%y %H:%M:%S.%f %p %I %j"), "05/03/24 14:05:09.123456 PM 02 065");
        assert_eq!(written("%A %a %B %b %U %W %u %w %V"), "Tuesday Tue March Mar 09 10 2 2 10");
        assert_eq!(written("%-d.%-m.%Y 100%%"), "5.3.2024 100%");
    }
}
