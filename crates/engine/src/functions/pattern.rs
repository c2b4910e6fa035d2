//! PostgreSQL's patterns for dates and numbers: `to_char(t, 'YYYY-MM-DD')`,
//! `to_date(s, 'DD Mon YYYY')`, `to_char(n, '999,990.00')`.
//!
//! Source: PostgreSQL documentation, "Data Type Formatting Functions". Not supported, and refused:
//! roman numerals, scientific notation, localised names (`TM`), Julian days in `to_date`.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

/// One piece of a date pattern.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    Field { field: Field, width: usize, case: Case, fill: bool, ordinal: bool },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Upper,
    Capital,
    Lower,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Field {
    Year,
    YearWithComma,
    IsoYear,
    Century,
    Quarter,
    Month,
    MonthName,
    MonthShort,
    WeekOfYear,
    WeekOfMonth,
    IsoWeek,
    DayOfYear,
    IsoDayOfYear,
    DayOfMonth,
    DayOfWeek,
    IsoDayOfWeek,
    DayName,
    DayShort,
    Hour24,
    Hour12,
    Minute,
    Second,
    SecondOfDay,
    Fraction,
    Meridiem,
    MeridiemDots,
    Era,
    EraDots,
    Julian,
    RomanMonth,
    Zone,
    ZoneHours,
    ZoneMinutes,
    Offset,
}

/// A parsed date pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DatePattern(Vec<Part>);

/// Longest first, so that `YYYY` is not `YY` twice. The flag says that case matters.
const FIELDS: &[(&str, Field, usize)] = &[
    ("Y,YYY", Field::YearWithComma, 5),
    ("YYYY", Field::Year, 4),
    ("YYY", Field::Year, 3),
    ("YY", Field::Year, 2),
    ("Y", Field::Year, 1),
    ("IYYY", Field::IsoYear, 4),
    ("IYY", Field::IsoYear, 3),
    ("IDDD", Field::IsoDayOfYear, 3),
    ("ID", Field::IsoDayOfWeek, 1),
    ("IW", Field::IsoWeek, 2),
    ("IY", Field::IsoYear, 2),
    ("I", Field::IsoYear, 1),
    ("MONTH", Field::MonthName, 9),
    ("MON", Field::MonthShort, 3),
    ("MM", Field::Month, 2),
    ("MI", Field::Minute, 2),
    ("MS", Field::Fraction, 3),
    ("DAY", Field::DayName, 9),
    ("DY", Field::DayShort, 3),
    ("DDD", Field::DayOfYear, 3),
    ("DD", Field::DayOfMonth, 2),
    ("D", Field::DayOfWeek, 1),
    ("HH24", Field::Hour24, 2),
    ("HH12", Field::Hour12, 2),
    ("HH", Field::Hour12, 2),
    ("SSSSS", Field::SecondOfDay, 5),
    ("SSSS", Field::SecondOfDay, 5),
    ("SS", Field::Second, 2),
    ("US", Field::Fraction, 6),
    ("FF1", Field::Fraction, 1),
    ("FF2", Field::Fraction, 2),
    ("FF3", Field::Fraction, 3),
    ("FF4", Field::Fraction, 4),
    ("FF5", Field::Fraction, 5),
    ("FF6", Field::Fraction, 6),
    ("FF9", Field::Fraction, 6),
    ("FF", Field::Fraction, 6),
    ("A.M.", Field::MeridiemDots, 4),
    ("P.M.", Field::MeridiemDots, 4),
    ("B.C.", Field::EraDots, 4),
    ("A.D.", Field::EraDots, 4),
    ("BC", Field::Era, 2),
    ("AD", Field::Era, 2),
    ("RM", Field::RomanMonth, 4),
    ("J", Field::Julian, 7),
    ("AM", Field::Meridiem, 2),
    ("PM", Field::Meridiem, 2),
    ("WW", Field::WeekOfYear, 2),
    ("W", Field::WeekOfMonth, 1),
    ("CC", Field::Century, 2),
    ("Q", Field::Quarter, 1),
    ("TZH", Field::ZoneHours, 3),
    ("TZM", Field::ZoneMinutes, 2),
    ("TZ", Field::Zone, 3),
    ("OF", Field::Offset, 3),
];

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
const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A point in time with what the pattern may show of its zone.
pub(super) struct Moment<'a> {
    pub(super) local: NaiveDateTime,
    /// Seconds east of Greenwich.
    pub(super) offset: i32,
    pub(super) zone: &'a str,
}

impl DatePattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = pattern;
        let mut fill = true;
        let literal = |parts: &mut Vec<Part>, text: &str| match parts.last_mut() {
            Some(Part::Literal(last)) => last.push_str(text),
            _ => parts.push(Part::Literal(text.to_owned())),
        };
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let inner = &rest[1..];
                let end = inner.find('"').ok_or("a quote in the pattern has no end")?;
                literal(&mut parts, &inner[..end]);
                rest = &inner[end + 1..];
                continue;
            }
            if starts_with(rest, "FM") {
                fill = false;
                rest = &rest[2..];
                continue;
            }
            if starts_with(rest, "FX") {
                rest = &rest[2..];
                continue;
            }
            if starts_with(rest, "TM") {
                return Err("localised names (`TM`) are not supported in a pattern".into());
            }
            let Some((word, field, width)) = FIELDS
                .iter()
                .filter(|(word, ..)| starts_with(rest, word))
                .max_by_key(|f| f.0.len())
            else {
                literal(&mut parts, &rest[..first.len_utf8()]);
                rest = &rest[first.len_utf8()..];
                continue;
            };
            let written = &rest[..word.len()];
            rest = &rest[word.len()..];
            let ordinal = starts_with(rest, "TH") && !starts_with(rest, "THH");
            if ordinal {
                rest = &rest[2..];
            }
            let case = match written.as_bytes() {
                bytes if bytes[0].is_ascii_lowercase() => Case::Lower,
                bytes if bytes.get(1).is_some_and(u8::is_ascii_lowercase) => Case::Capital,
                _ => Case::Upper,
            };
            parts.push(Part::Field { field: *field, width: *width, case, fill, ordinal });
            fill = true;
        }
        Ok(DatePattern(parts))
    }

    /// `to_char`.
    pub(super) fn format(&self, moment: &Moment, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Field { field, width, case, fill, ordinal } => {
                    let start = out.len();
                    field.write(moment, *width, *case, *fill, out);
                    if *ordinal {
                        let suffix = ordinal_suffix(&out[start..]);
                        out.push_str(suffix);
                    }
                }
            }
        }
    }

    /// `to_date` and `to_timestamp`: the local time, and the zone's offset when the text has one.
    pub(super) fn read(&self, text: &str) -> Result<(NaiveDateTime, Option<i32>), String> {
        let mut reader = Reader { rest: text, found: Found::default() };
        for (index, part) in self.0.iter().enumerate() {
            match part {
                Part::Literal(literal) => reader.skip(literal),
                Part::Field { field, width, .. } => {
                    let bounded = matches!(
                        self.0.get(index + 1),
                        Some(Part::Field { field, .. }) if field.is_number()
                    );
                    reader
                        .field(*field, *width, bounded)
                        .map_err(|what| format!("`{text}` does not fit the pattern: {what}"))?;
                }
            }
        }
        reader.found.finish().map_err(|what| format!("`{text}` is not a date: {what}"))
    }
}

fn starts_with(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn ordinal_suffix(number: &str) -> &'static str {
    let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
    let tens = digits.len() >= 2 && digits[digits.len() - 2] == b'1';
    match digits.last() {
        Some(b'1') if !tens => "st",
        Some(b'2') if !tens => "nd",
        Some(b'3') if !tens => "rd",
        _ => "th",
    }
}

impl Field {
    fn is_number(self) -> bool {
        !matches!(
            self,
            Field::MonthName
                | Field::MonthShort
                | Field::DayName
                | Field::DayShort
                | Field::Meridiem
                | Field::MeridiemDots
                | Field::Era
                | Field::EraDots
                | Field::RomanMonth
                | Field::Zone
        )
    }

    fn write(self, moment: &Moment, width: usize, case: Case, fill: bool, out: &mut String) {
        let (date, time) = (moment.local.date(), moment.local.time());
        let year = date.year();
        let names = |out: &mut String, name: &str, padded: usize| {
            let text = match case {
                Case::Upper => name.to_uppercase(),
                Case::Capital => name.to_owned(),
                Case::Lower => name.to_lowercase(),
            };
            out.push_str(&text);
            if fill {
                out.extend(std::iter::repeat_n(' ', padded.saturating_sub(text.len())));
            }
        };
        let number = |out: &mut String, value: i64| {
            if fill {
                out.push_str(&format!("{value:0width$}"));
            } else {
                out.push_str(&value.to_string());
            }
        };
        let short_year = |value: i32| match width {
            4 => i64::from(value),
            width => i64::from(value.rem_euclid(10_i32.pow(width as u32))),
        };
        match self {
            Field::Year => number(out, short_year(year)),
            Field::YearWithComma => {
                out.push_str(&format!("{},{:03}", year / 1000, year.rem_euclid(1000)));
            }
            Field::IsoYear => number(out, short_year(date.iso_week().year())),
            Field::Century => number(out, i64::from((year - 1).div_euclid(100) + 1)),
            Field::Quarter => number(out, i64::from(date.month0() / 3 + 1)),
            Field::Month => number(out, i64::from(date.month())),
            Field::MonthName => names(out, MONTHS[date.month0() as usize], 9),
            Field::MonthShort => names(out, &MONTHS[date.month0() as usize][..3], 3),
            Field::WeekOfYear => number(out, i64::from(date.ordinal0() / 7 + 1)),
            Field::WeekOfMonth => number(out, i64::from(date.day0() / 7 + 1)),
            Field::IsoWeek => number(out, i64::from(date.iso_week().week())),
            Field::DayOfYear => number(out, i64::from(date.ordinal())),
            Field::IsoDayOfYear => {
                let day = (date.iso_week().week() - 1) * 7 + date.weekday().number_from_monday();
                number(out, i64::from(day));
            }
            Field::DayOfMonth => number(out, i64::from(date.day())),
            Field::DayOfWeek => number(out, i64::from(date.weekday().number_from_sunday())),
            Field::IsoDayOfWeek => number(out, i64::from(date.weekday().number_from_monday())),
            Field::DayName => names(out, DAYS[date.weekday().num_days_from_sunday() as usize], 9),
            Field::DayShort => {
                names(out, &DAYS[date.weekday().num_days_from_sunday() as usize][..3], 3);
            }
            Field::Hour24 => number(out, i64::from(time.hour())),
            Field::Hour12 => number(out, i64::from(time.hour12().1)),
            Field::Minute => number(out, i64::from(time.minute())),
            Field::Second => number(out, i64::from(time.second())),
            Field::SecondOfDay => out.push_str(&time.num_seconds_from_midnight().to_string()),
            Field::Fraction => {
                let micros = time.nanosecond() / 1_000;
                out.push_str(&format!("{micros:06}")[..width.min(6)]);
            }
            Field::Meridiem | Field::MeridiemDots => {
                let text = match (time.hour() < 12, self) {
                    (true, Field::Meridiem) => "AM",
                    (false, Field::Meridiem) => "PM",
                    (true, _) => "A.M.",
                    (false, _) => "P.M.",
                };
                match case {
                    Case::Lower => out.push_str(&text.to_lowercase()),
                    _ => out.push_str(text),
                }
            }
            Field::Era | Field::EraDots => {
                let text = match (year > 0, self) {
                    (true, Field::Era) => "AD",
                    (false, Field::Era) => "BC",
                    (true, _) => "A.D.",
                    (false, _) => "B.C.",
                };
                match case {
                    Case::Lower => out.push_str(&text.to_lowercase()),
                    _ => out.push_str(text),
                }
            }
            // Days since the beginning of the year 4714 before Christ.
            Field::Julian => out.push_str(&(date.num_days_from_ce() + 1_721_425).to_string()),
            Field::RomanMonth => names(out, ROMAN[date.month0() as usize], 4),
            Field::Zone => match case {
                Case::Lower => out.push_str(&moment.zone.to_lowercase()),
                _ => out.push_str(moment.zone),
            },
            Field::ZoneHours => out.push_str(&format!("{:+03}", moment.offset / 3600)),
            Field::ZoneMinutes => {
                out.push_str(&format!("{:02}", (moment.offset.abs() / 60) % 60));
            }
            Field::Offset => {
                out.push_str(&format!("{:+03}", moment.offset / 3600));
                let minutes = (moment.offset.abs() / 60) % 60;
                if minutes != 0 {
                    out.push_str(&format!(":{minutes:02}"));
                }
            }
        }
    }
}

#[derive(Default)]
struct Found {
    year: Option<i32>,
    iso_year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    iso_week: Option<u32>,
    iso_day: Option<u32>,
    hour: Option<u32>,
    half_day: bool,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    micros: u32,
    second_of_day: Option<u32>,
    offset: Option<i32>,
}

struct Reader<'a> {
    rest: &'a str,
    found: Found,
}

impl Reader<'_> {
    /// A separator of the pattern stands for any separators; a letter for any letter.
    fn skip(&mut self, literal: &str) {
        for wanted in literal.chars() {
            if wanted.is_whitespace() {
                self.rest = self.rest.trim_start();
                continue;
            }
            let mut letters = self.rest.chars();
            let Some(next) = letters.next() else { return };
            if wanted.is_alphanumeric() || !next.is_alphanumeric() {
                self.rest = letters.as_str();
            }
        }
    }

    fn number(&mut self, most: usize) -> Result<u32, String> {
        self.rest = self.rest.trim_start();
        let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        if digits == 0 {
            return Err(match self.rest.is_empty() {
                true => "the text is too short".to_owned(),
                false => format!("a number is wanted at `{}`", self.rest),
            });
        }
        self.rest = rest;
        number.parse().map_err(|_| format!("`{number}` is too long"))
    }

    fn name(&mut self, names: &[&str], letters: usize) -> Result<u32, String> {
        self.rest = self.rest.trim_start();
        let whole = names.iter().position(|name| starts_with(self.rest, name));
        let short = || names.iter().position(|name| starts_with(self.rest, &name[..3]));
        let (index, length) = match (whole, letters) {
            (Some(index), 9) => (index, names[index].len()),
            _ => (short().ok_or_else(|| format!("a name is wanted at `{}`", self.rest))?, 3),
        };
        self.rest = &self.rest[length..];
        Ok(index as u32)
    }

    fn field(&mut self, field: Field, width: usize, bounded: bool) -> Result<(), String> {
        match field {
            Field::Year | Field::IsoYear => {
                self.rest = self.rest.trim_start();
                let before = self.rest.starts_with('-') && width == 4;
                if before {
                    self.rest = &self.rest[1..];
                }
                let most = if width == 4 && !bounded { 6 } else { width };
                let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                let mut year = i32::try_from(self.number(most)?).map_err(|e| e.to_string())?;
                // PostgreSQL: the year nearest to 2020.
                if digits <= 2 && width < 4 {
                    year += if year < 70 { 2000 } else { 1900 };
                } else if digits == 3 && width < 4 {
                    year += if year < 520 { 2000 } else { 1000 };
                }
                let year = if before { -year } else { year };
                match field {
                    Field::Year => self.found.year = Some(year),
                    _ => self.found.iso_year = Some(year),
                }
            }
            Field::YearWithComma => {
                let thousands = self.number(3)?;
                self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
                self.found.year = Some((thousands * 1000 + self.number(3)?) as i32);
            }
            Field::Month => self.found.month = Some(self.number(2)?),
            Field::MonthName | Field::MonthShort => {
                self.found.month = Some(self.name(&MONTHS, width)? + 1);
            }
            Field::DayName | Field::DayShort => {
                self.name(&DAYS, width)?;
            }
            Field::DayOfMonth => self.found.day = Some(self.number(2)?),
            Field::DayOfYear => self.found.day_of_year = Some(self.number(3)?),
            Field::IsoWeek => self.found.iso_week = Some(self.number(2)?),
            Field::IsoDayOfWeek => self.found.iso_day = Some(self.number(1)?),
            Field::Hour24 => self.found.hour = Some(self.number(2)?),
            Field::Hour12 => {
                self.found.hour = Some(self.number(2)?);
                self.found.half_day = true;
            }
            Field::Minute => self.found.minute = self.number(2)?,
            Field::Second => self.found.second = self.number(2)?,
            Field::SecondOfDay => self.found.second_of_day = Some(self.number(5)?),
            Field::Fraction => {
                let most = if bounded { width } else { 9 };
                let digits = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                let value = u64::from(self.number(most)?);
                self.found.micros = (value * 1_000_000 / 10_u64.pow(digits as u32)) as u32;
            }
            Field::Meridiem | Field::MeridiemDots => {
                self.rest = self.rest.trim_start();
                let length = ["a.m.", "p.m.", "am", "pm"]
                    .iter()
                    .find(|word| starts_with(self.rest, word))
                    .map(|word| word.len())
                    .ok_or_else(|| format!("AM or PM is wanted at `{}`", self.rest))?;
                self.found.afternoon = Some(self.rest[..1].eq_ignore_ascii_case("p"));
                self.rest = &self.rest[length..];
            }
            Field::Era | Field::EraDots => {
                self.rest = self.rest.trim_start();
                let length = ["a.d.", "ad"].iter().find(|word| starts_with(self.rest, word));
                let length =
                    length.ok_or_else(|| format!("only `AD` is read, not `{}`", self.rest))?.len();
                self.rest = &self.rest[length..];
            }
            Field::Julian => return Err("`J` is not read".to_owned()),
            Field::RomanMonth => return Err("`RM` is not read".to_owned()),
            Field::Zone | Field::ZoneHours | Field::Offset => self.zone()?,
            // The offset was read with its minutes, if it has some.
            Field::ZoneMinutes => {
                if self.rest.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
                    let minutes = self.number(2)? as i32 * 60;
                    let hours = self.found.offset.unwrap_or(0);
                    self.found.offset =
                        Some(if hours < 0 { hours - minutes } else { hours + minutes });
                }
            }
            // They follow from the date.
            Field::Quarter
            | Field::Century
            | Field::WeekOfYear
            | Field::WeekOfMonth
            | Field::DayOfWeek
            | Field::IsoDayOfYear => {
                self.number(width)?;
            }
        }
        Ok(())
    }

    fn zone(&mut self) -> Result<(), String> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix(['Z', 'z']) {
            self.rest = rest;
            self.found.offset = Some(0);
            return Ok(());
        }
        if starts_with(self.rest, "UTC") || starts_with(self.rest, "GMT") {
            self.rest = &self.rest[3..];
            self.found.offset = Some(0);
            return Ok(());
        }
        let sign = match self.rest.bytes().next() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(format!("an offset such as `+02` is wanted at `{}`", self.rest)),
        };
        self.rest = &self.rest[1..];
        let hours = self.number(2)? as i32;
        let mut seconds = hours * 3600;
        if let Some(rest) = self.rest.strip_prefix(':') {
            self.rest = rest;
            seconds += self.number(2)? as i32 * 60;
        } else if self.rest.len() >= 2 && self.rest.bytes().take(2).all(|b| b.is_ascii_digit()) {
            seconds += self.number(2)? as i32 * 60;
        }
        self.found.offset = Some(sign * seconds);
        Ok(())
    }
}

impl Found {
    fn finish(self) -> Result<(NaiveDateTime, Option<i32>), String> {
        let date = if let (Some(year), Some(week)) = (self.iso_year, self.iso_week) {
            let days = [
                chrono::Weekday::Mon,
                chrono::Weekday::Tue,
                chrono::Weekday::Wed,
                chrono::Weekday::Thu,
                chrono::Weekday::Fri,
                chrono::Weekday::Sat,
                chrono::Weekday::Sun,
            ];
            let day = self.iso_day.unwrap_or(1).clamp(1, 7) as usize - 1;
            NaiveDate::from_isoywd_opt(year, week, days[day])
        } else if let (Some(year), Some(day)) = (self.year, self.day_of_year) {
            NaiveDate::from_yo_opt(year, day)
        } else {
            NaiveDate::from_ymd_opt(
                self.year.unwrap_or(1),
                self.month.unwrap_or(1),
                self.day.unwrap_or(1),
            )
        };
        let date = date.ok_or("there is no such day")?;
        let mut hour = self.hour.unwrap_or(0);
        if self.half_day {
            if hour == 0 || hour > 12 {
                return Err(format!("hour {hour} is not on a twelve-hour clock"));
            }
            hour %= 12;
        }
        if self.afternoon == Some(true) && hour < 12 {
            hour += 12;
        }
        let time = match self.second_of_day {
            Some(seconds) => NaiveTime::from_num_seconds_from_midnight_opt(seconds, 0),
            None => NaiveTime::from_hms_micro_opt(hour, self.minute, self.second, self.micros),
        };
        Ok((date.and_time(time.ok_or("there is no such time of day")?), self.offset))
    }
}

/// A parsed number pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NumberPattern {
    /// Digit positions before the point, with group separators between them.
    whole: Vec<Place>,
    fraction: Vec<Place>,
    has_point: bool,
    fill: bool,
    sign: Sign,
    prefix: String,
    suffix: String,
    /// `th` behind it, as in `1st`, in capitals or not.
    ordinal: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Digit,
    Zero,
    Group,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    /// A minus or a blank directly before the number.
    Plain,
    /// `S` in front: always a sign.
    Before,
    /// `S` behind.
    After,
    /// `MI`: a minus or a blank at this place, behind.
    MinusAfter,
    /// `MI` in front.
    MinusBefore,
    /// `PR`: angle brackets.
    Brackets,
}

impl NumberPattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut parsed = NumberPattern {
            whole: Vec::new(),
            fraction: Vec::new(),
            has_point: false,
            fill: true,
            sign: Sign::Plain,
            prefix: String::new(),
            suffix: String::new(),
            ordinal: None,
        };
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let begun = !parsed.whole.is_empty() || parsed.has_point;
            let mut length = first.len_utf8();
            match first.to_ascii_uppercase() {
                _ if starts_with(rest, "FM") => {
                    parsed.fill = false;
                    length = 2;
                }
                _ if starts_with(rest, "MI") => {
                    parsed.sign = if begun { Sign::MinusAfter } else { Sign::MinusBefore };
                    length = 2;
                }
                _ if starts_with(rest, "PR") => {
                    parsed.sign = Sign::Brackets;
                    length = 2;
                }
                _ if starts_with(rest, "SG") => {
                    parsed.sign = if begun { Sign::After } else { Sign::Before };
                    length = 2;
                }
                _ if begun && starts_with(rest, "TH") => {
                    parsed.ordinal = Some(first == 'T');
                    length = 2;
                }
                _ if starts_with(rest, "EEEE") || starts_with(rest, "RN") => {
                    return Err(format!("`{rest}` is not supported in a number's pattern"));
                }
                'S' => parsed.sign = if begun { Sign::After } else { Sign::Before },
                '9' | '0' => {
                    let place = if first == '0' { Place::Zero } else { Place::Digit };
                    if parsed.has_point {
                        parsed.fraction.push(place);
                    } else {
                        parsed.whole.push(place);
                    }
                }
                ',' | 'G' => parsed.whole.push(Place::Group),
                '.' | 'D' => parsed.has_point = true,
                'L' => parsed.affix(begun, "$"),
                '"' => {
                    let inner = &rest[1..];
                    let end = inner.find('"').ok_or("a quote in the pattern has no end")?;
                    parsed.affix(begun, &inner[..end]);
                    length = end + 2;
                }
                'V' => return Err("`V` is not supported in a number's pattern".into()),
                _ => parsed.affix(begun, &rest[..length]),
            }
            rest = &rest[length..];
        }
        Ok(parsed)
    }

    fn affix(&mut self, begun: bool, text: &str) {
        if begun { self.suffix.push_str(text) } else { self.prefix.push_str(text) }
    }

    /// How many decimals are shown: the number must come rounded to it.
    pub(super) fn decimals(&self) -> usize {
        self.fraction.len()
    }

    /// Writes a number that was rounded to [`NumberPattern::decimals`]: its digits before and
    /// behind the point.
    pub(super) fn format(&self, negative: bool, whole: &str, fraction: &str) -> String {
        let number = whole.trim_start_matches('0');
        // A zero without a fraction is shown.
        let whole = match number.is_empty() && self.fraction.is_empty() {
            true => "0",
            false => number,
        };
        let positions = self.whole.iter().filter(|place| **place != Place::Group).count();
        let zero_from = self.whole.iter().position(|place| *place == Place::Zero);
        let overflow = whole.len() > positions;
        let mut digits = String::new();
        let mut place_number = 0;
        for (index, place) in self.whole.iter().enumerate() {
            let from_end = positions - place_number;
            let shown =
                overflow || whole.len() >= from_end || zero_from.is_some_and(|zero| index >= zero);
            match place {
                Place::Group => {
                    // The separator is shown when a digit stands before it.
                    let before = overflow
                        || whole.len() > from_end
                        || zero_from.is_some_and(|zero| index > zero);
                    digits.push(if before && place_number > 0 { ',' } else { ' ' });
                    continue;
                }
                _ if overflow => digits.push('#'),
                _ if whole.len() >= from_end => {
                    digits.push(char::from(whole.as_bytes()[whole.len() - from_end]));
                }
                _ if shown => digits.push('0'),
                _ => digits.push(' '),
            }
            place_number += 1;
        }
        if self.has_point {
            digits.push('.');
            let mut shown = fraction.len().min(self.fraction.len());
            if !self.fill {
                let bytes = fraction.as_bytes();
                while shown > 0
                    && self.fraction[shown - 1] == Place::Digit
                    && bytes[shown - 1] == b'0'
                {
                    shown -= 1;
                }
            }
            match overflow {
                true => digits.extend(std::iter::repeat_n('#', self.fraction.len())),
                false => digits.push_str(&fraction[..shown]),
            }
        }
        let mut written = self.signed(negative, &digits);
        if let Some(upper) = self.ordinal
            && !negative
            && self.fraction.is_empty()
        {
            let suffix = ordinal_suffix(whole);
            written.push_str(&if upper { suffix.to_uppercase() } else { suffix.to_owned() });
        }
        written
    }

    fn signed(&self, negative: bool, digits: &str) -> String {
        let body = digits.trim_start_matches(' ');
        let blanks = &digits[..digits.len() - body.len()];
        let (before, after) = match (self.sign, negative) {
            (Sign::Plain, true) => ("-", ""),
            (Sign::Plain, false) => (" ", ""),
            (Sign::Before, true) => ("-", ""),
            (Sign::Before, false) => ("+", ""),
            (Sign::After, true) => ("", "-"),
            (Sign::After, false) => ("", "+"),
            (Sign::MinusAfter, true) => ("", "-"),
            (Sign::MinusAfter, false) => ("", " "),
            (Sign::MinusBefore, true) => ("-", ""),
            (Sign::MinusBefore, false) => (" ", ""),
            (Sign::Brackets, true) => ("<", ">"),
            (Sign::Brackets, false) => (" ", " "),
        };
        let (prefix, suffix) = (&self.prefix, &self.suffix);
        if self.fill {
            format!("{blanks}{before}{prefix}{body}{after}{suffix}")
        } else {
            format!("{}{prefix}{body}{}{suffix}", before.trim(), after.trim())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap()
    }

    // Expected values are those of PostgreSQL 15.
    #[test]
    fn dates_are_written_as_postgresql_does() {
        let moment = Moment { local: at("2024-03-05 14:07:09.123456"), offset: 7200, zone: "EET" };
        for (pattern, expected) in [
            ("YYYY-MM-DD", "2024-03-05"),
            ("yyyy-mm-dd hh24:mi:ss", "2024-03-05 14:07:09"),
            ("HH12:MI:SS AM", "02:07:09 PM"),
            ("HH:MI p.m.", "02:07 p.m."),
            ("SS.MS", "09.123"),
            ("SS.US", "09.123456"),
            ("Month", "March    "),
            ("FMMonth", "March"),
            ("MON Mon mon", "MAR Mar mar"),
            ("Day, DD", "Tuesday  , 05"),
            ("FMDay, FMDDth", "Tuesday, 5th"),
            ("Dy D ID", "Tue 3 2"),
            ("DDD", "065"),
            ("IYYY-IW", "2024-10"),
            ("\"Q\"Q YYYY", "Q1 2024"),
            ("YY Y", "24 4"),
            ("WW W CC", "10 1 21"),
            ("TZ OF TZH:TZM", "EET +02 +02:00"),
            ("YYYYMMDDHH24MISS", "20240305140709"),
            ("Y,YYY", "2,024"),
        ] {
            let mut out = String::new();
            DatePattern::parse(pattern).unwrap().format(&moment, &mut out);
            assert_eq!(out, expected, "{pattern}");
        }
    }

    #[test]
    fn dates_are_read_as_postgresql_does() {
        for (text, pattern, expected) in [
            ("2024-03-05", "YYYY-MM-DD", "2024-03-05 00:00:00"),
            ("05 Mar 2024", "DD Mon YYYY", "2024-03-05 00:00:00"),
            ("5 march 2024", "DD Month YYYY", "2024-03-05 00:00:00"),
            ("20240305140709", "YYYYMMDDHH24MISS", "2024-03-05 14:07:09"),
            ("03/05/24 02:07 PM", "MM/DD/YY HH12:MI AM", "2024-03-05 14:07:00"),
            ("2024.065", "YYYY.DDD", "2024-03-05 00:00:00"),
            ("2024-W10-2", "IYYY-\"W\"IW-ID", "2024-03-05 00:00:00"),
            ("12:30:45.5", "HH24:MI:SS.MS", "0001-01-01 12:30:45.5"),
            ("2024/3/5", "YYYY-MM-DD", "2024-03-05 00:00:00"),
        ] {
            let read = DatePattern::parse(pattern).unwrap().read(text).unwrap().0;
            assert_eq!(read, at(expected), "{text} as {pattern}");
        }
        let zoned = DatePattern::parse("YYYY-MM-DD HH24:MI TZH:TZM").unwrap();
        assert_eq!(zoned.read("2024-03-05 10:00 -03:30").unwrap().1, Some(-12_600));
        for text in ["2024-13-01", "2024-02-30", "x", ""] {
            assert!(DatePattern::parse("YYYY-MM-DD").unwrap().read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_postgresql_does() {
        for (pattern, negative, whole, fraction, expected) in [
            ("999,990.00", false, "1234", "50", "   1,234.50"),
            ("FM999,990.00", false, "1234", "50", "1,234.50"),
            ("9.99", false, "0", "50", "  .50"),
            ("0.99", false, "0", "50", " 0.50"),
            ("FM999.99", false, "1", "50", "1.5"),
            ("FM999.99", false, "5", "00", "5."),
            ("999", true, "12", "", " -12"),
            ("S999", false, "12", "", " +12"),
            ("999MI", true, "12", "", " 12-"),
            ("999PR", true, "12", "", " <12>"),
            ("000", false, "7", "", " 007"),
            ("99", false, "123", "", " ##"),
            ("9,999,999", false, "12", "", "        12"),
            ("L999", false, "12", "", " $12"),
        ] {
            let parsed = NumberPattern::parse(pattern).unwrap();
            let text = parsed.format(negative, whole, fraction);
            assert_eq!(text.trim_start(), expected.trim_start(), "{pattern}");
            if parsed.sign == Sign::Plain && parsed.prefix.is_empty() {
                assert_eq!(text, expected, "{pattern}");
            }
        }
    }
}
