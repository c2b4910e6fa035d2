//! `date`.

use std::cmp::Ordering;

use chrono::{Datelike, NaiveDate, NaiveTime, TimeDelta};

use super::datetime::{DateTime, local_now, moment_from_timestamp};
use super::delta::{DAY, Delta, SECOND};
use super::strftime::{self, DAYS, MONTHS, Moment};
use super::{Class, strptime};
use crate::error::Error;
use crate::function::{Args, expect_int, expect_str};
use crate::object::Object;
use crate::state::State;
use crate::value::Value;

/// A calendar date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date(pub(super) NaiveDate);

/// Days from 1 January of year 1, which is 1.
pub(super) fn ordinal(date: NaiveDate) -> i32 {
    date.num_days_from_ce()
}

pub(super) fn checked(date: NaiveDate) -> Result<NaiveDate, Error> {
    if (1..=9999).contains(&date.year()) {
        Ok(date)
    } else {
        Err(Error::runtime("date value out of range"))
    }
}

/// A date of three numbers, with Python's errors.
pub(super) fn from_parts(year: &Value, month: &Value, day: &Value) -> Result<NaiveDate, Error> {
    let (year, month, day) = (expect_int(year)?, expect_int(month)?, expect_int(day)?);
    let year = i32::try_from(year)
        .ok()
        .filter(|year| (1..=9999).contains(year))
        .ok_or_else(|| Error::runtime(format!("year {year} is out of range")))?;
    let month = u32::try_from(month)
        .ok()
        .filter(|month| (1..=12).contains(month))
        .ok_or_else(|| Error::runtime("month must be in 1..12"))?;
    u32::try_from(day)
        .ok()
        .and_then(|day| NaiveDate::from_ymd_opt(year, month, day))
        .ok_or_else(|| Error::runtime("day is out of range for month"))
}

pub(super) fn add_days(date: NaiveDate, delta: Delta) -> Result<NaiveDate, Error> {
    let days = i64::try_from(delta.0.div_euclid(DAY)).unwrap_or(i64::MAX);
    TimeDelta::try_days(days)
        .and_then(|delta| date.checked_add_signed(delta))
        .ok_or_else(|| Error::runtime("date value out of range"))
        .and_then(checked)
}

pub(super) fn class() -> Value {
    let limit = |year, month, day| {
        NaiveDate::from_ymd_opt(year, month, day)
            .map_or(Value::None, |date| Value::object(Date(date)))
    };
    Class::new("datetime.date", |args, _| {
        let [year, month, day] = args.bind("date", ["year", "month", "day"], 3)?;
        let part = |value: Option<Value>| value.unwrap_or(Value::None);
        Ok(Value::object(Date(from_parts(&part(year), &part(month), &part(day))?)))
    })
    .function("today", |_, state| Ok(Value::object(Date(local_now(state)?.date()))))
    .function("fromisoformat", |args, _| {
        let [text] = args.bind("fromisoformat", ["date_string"], 1)?;
        let text = text.unwrap_or(Value::None);
        Ok(Value::object(Date(strptime::iso_date(expect_str(&text, "fromisoformat")?)?)))
    })
    .function("fromordinal", |args, _| {
        let [ordinal] = args.bind("fromordinal", ["ordinal"], 1)?;
        Ok(Value::object(Date(from_ordinal(&ordinal.unwrap_or(Value::None))?)))
    })
    .function("fromtimestamp", |args, state| {
        let [timestamp] = args.bind("fromtimestamp", ["timestamp"], 1)?;
        let utc = moment_from_timestamp(&timestamp.unwrap_or(Value::None))?;
        let local = super::zone::shifted(&utc, state.host().local_offset_seconds())?;
        Ok(Value::object(Date(local.date())))
    })
    .function("strptime", |args, _| {
        let [text, format] = args.bind("strptime", ["date_string", "format"], 2)?;
        let (text, format) = (text.unwrap_or(Value::None), format.unwrap_or(Value::None));
        let (time, _) =
            strptime::parse(expect_str(&text, "strptime")?, expect_str(&format, "strptime")?)?;
        Ok(Value::object(Date(time.date())))
    })
    .value("min", limit(1, 1, 1))
    .value("max", limit(9999, 12, 31))
    .value("resolution", Value::object(Delta(DAY)))
    .done()
}

pub(super) fn from_ordinal(value: &Value) -> Result<NaiveDate, Error> {
    i32::try_from(expect_int(value)?)
        .ok()
        .and_then(NaiveDate::from_num_days_from_ce_opt)
        .ok_or_else(|| Error::runtime("ordinal must be >= 1"))
        .and_then(checked)
}

/// Attributes that dates and datetimes share.
pub(super) fn attribute(date: NaiveDate, name: &str) -> Option<Value> {
    Some(match name {
        "year" => Value::from(date.year()),
        "month" => Value::from(date.month()),
        "day" => Value::from(date.day()),
        _ => return None,
    })
}

pub(super) const METHODS: &[&str] = &[
    "strftime",
    "isoformat",
    "weekday",
    "isoweekday",
    "isocalendar",
    "toordinal",
    "replace",
    "ctime",
    "timetuple",
    "today",
    "fromisoformat",
    "fromordinal",
    "fromtimestamp",
    "__format__",
];

/// Methods that dates and datetimes share.
pub(super) fn method(date: NaiveDate, name: &str) -> Option<Value> {
    Some(match name {
        "weekday" => Value::from(date.weekday().num_days_from_monday()),
        "isoweekday" => Value::from(date.weekday().number_from_monday()),
        "isocalendar" => {
            let week = date.iso_week();
            Value::tuple([
                Value::from(week.year()),
                Value::from(week.week()),
                Value::from(date.weekday().number_from_monday()),
            ])
        }
        "toordinal" => Value::from(ordinal(date)),
        _ => return None,
    })
}

pub(super) fn ctime(date: NaiveDate, time: NaiveTime) -> String {
    format!(
        "{} {} {:>2} {} {}",
        &DAYS[date.weekday().num_days_from_monday() as usize][..3],
        &MONTHS[date.month0() as usize][..3],
        date.day(),
        time.format("%H:%M:%S"),
        date.year()
    )
}

impl Date {
    fn moment(&self) -> Moment {
        Moment { date: self.0, time: NaiveTime::MIN, offset: None, zone: None }
    }

    fn own_method(&self, name: &str, args: &Args) -> Result<Value, Error> {
        match name {
            "strftime" | "__format__" => {
                let [format] = args.bind("strftime", ["format"], 1)?;
                let format = format.unwrap_or(Value::None);
                strftime::format(&self.moment(), expect_str(&format, "strftime")?).map(Value::from)
            }
            "isoformat" => Ok(Value::from(self.render())),
            "ctime" => Ok(Value::from(ctime(self.0, NaiveTime::MIN))),
            "replace" => {
                let [year, month, day] = args.bind("replace", ["year", "month", "day"], 0)?;
                let date = from_parts(
                    &year.unwrap_or_else(|| Value::from(self.0.year())),
                    &month.unwrap_or_else(|| Value::from(self.0.month())),
                    &day.unwrap_or_else(|| Value::from(self.0.day())),
                )?;
                Ok(Value::object(Date(date)))
            }
            _ => method(self.0, name).ok_or_else(|| {
                Error::undefined(format!("'datetime.date object' has no attribute '{name}'"))
            }),
        }
    }
}

impl Object for Date {
    fn type_name(&self) -> &str {
        "datetime.date"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        attribute(self.0, name)
    }

    fn methods(&self) -> &'static [&'static str] {
        METHODS
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "today" | "fromisoformat" | "fromordinal" | "fromtimestamp" => {
                Some(class().call_method(name, args, state))
            }
            _ => METHODS.contains(&name).then(|| self.own_method(name, args)),
        }
    }

    fn is_true(&self) -> bool {
        true
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<Date>() == Some(self)
    }

    fn compare(&self, other: &Value) -> Option<Option<Ordering>> {
        Some(Some(self.cmp(other.downcast::<Date>()?)))
    }

    fn hash_text(&self) -> Option<String> {
        Some(self.render())
    }

    fn operate(
        &self,
        symbol: &str,
        other: &Value,
        reflected: bool,
    ) -> Option<Result<Value, Error>> {
        if let Some(delta) = other.downcast::<Delta>() {
            let days = match symbol {
                "+" => Delta(delta.0.div_euclid(DAY) * DAY),
                "-" if !reflected => Delta(-delta.0.div_euclid(DAY) * DAY),
                _ => return None,
            };
            return Some(add_days(self.0, days).map(|date| Value::object(Date(date))));
        }
        if symbol != "-" || other.downcast::<DateTime>().is_some() {
            return None;
        }
        let other = other.downcast::<Date>()?;
        let days = ordinal(self.0) - ordinal(other.0);
        let days = if reflected { -days } else { days };
        Some(Delta(i128::from(days) * 86_400 * SECOND).value())
    }

    fn render(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.0.year(), self.0.month(), self.0.day())
    }

    fn repr(&self) -> String {
        format!("datetime.date({}, {}, {})", self.0.year(), self.0.month(), self.0.day())
    }

    fn format(&self, spec: &str) -> Option<Result<String, Error>> {
        Some(if spec.is_empty() {
            Ok(self.render())
        } else {
            strftime::format(&self.moment(), spec)
        })
    }
}
