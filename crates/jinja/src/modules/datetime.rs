//! `datetime`: a date with a time of day.

use std::cmp::Ordering;

use chrono::{
    DateTime as ChronoDateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike,
    Utc,
};

use super::date::{self, Date};
use super::delta::{Delta, SECOND};
use super::strftime::{self, Moment};
use super::time::{self, Time};
use super::zone::{self, Zone, offset_text, shifted};
use super::{Class, Module, delta, strptime};
use crate::error::Error;
use crate::function::{Args, expect_str};
use crate::object::Object;
use crate::state::State;
use crate::value::Value;

/// A moment: local date and time, with or without a zone.
#[derive(Clone, Debug)]
pub(super) struct DateTime {
    pub(super) local: NaiveDateTime,
    pub(super) zone: Option<Zone>,
}

/// A `datetime` in UTC (`tzinfo` is `pytz.utc`, as dbt's `run_started_at` has it).
pub fn utc_datetime(moment: ChronoDateTime<Utc>) -> Value {
    Value::object(DateTime { local: to_micros(moment.naive_utc()), zone: Some(Zone::Utc) })
}

/// A `datetime` without a zone.
pub fn datetime_value(moment: NaiveDateTime) -> Value {
    Value::object(DateTime { local: to_micros(moment), zone: None })
}

/// A `date`.
pub fn date_value(day: NaiveDate) -> Value {
    Value::object(Date(day))
}

/// Python knows microseconds, not nanoseconds.
fn to_micros(moment: NaiveDateTime) -> NaiveDateTime {
    moment.with_nanosecond(moment.nanosecond() % 1_000_000_000 / 1000 * 1000).unwrap_or(moment)
}

/// The host's clock as local time without a zone.
pub(super) fn local_now(state: &State<'_>) -> Result<NaiveDateTime, Error> {
    shifted(&to_micros(state.host().now().naive_utc()), state.host().local_offset_seconds())
}

/// A UTC time from seconds since 1970.
pub(super) fn moment_from_timestamp(value: &Value) -> Result<NaiveDateTime, Error> {
    let micros = match value {
        Value::Undefined(undefined) => return Err(undefined.error()),
        Value::Float(seconds) => (seconds * 1e6).round_ties_even() as i128,
        other => {
            other.as_int().and_then(|seconds| seconds.checked_mul(SECOND)).ok_or_else(|| {
                Error::type_error(format!(
                    "'{}' object cannot be interpreted as an integer",
                    other.type_name()
                ))
            })?
        }
    };
    i64::try_from(micros)
        .ok()
        .and_then(ChronoDateTime::from_timestamp_micros)
        .map(|moment| moment.naive_utc())
        .filter(|moment| (1..=9999).contains(&moment.year()))
        .ok_or_else(|| Error::runtime("timestamp out of range"))
}

fn add(local: NaiveDateTime, delta: Delta) -> Result<NaiveDateTime, Error> {
    let out_of_range = || Error::runtime("date value out of range");
    let micros = i64::try_from(delta.0).map_err(|_| out_of_range())?;
    let moved =
        local.checked_add_signed(TimeDelta::microseconds(micros)).ok_or_else(out_of_range)?;
    date::checked(moved.date())?;
    Ok(moved)
}

/// `modules.datetime`.
pub(super) fn module() -> Value {
    Module::new("datetime")
        .value("datetime", class())
        .value("date", date::class())
        .value("time", time::class())
        .value("timedelta", delta::class())
        .value("timezone", zone::class())
        .value("tzinfo", zone::class())
        .value("UTC", Zone::Fixed(0, None).value())
        .value("MINYEAR", 1)
        .value("MAXYEAR", 9999)
        .done()
}

const PARTS: [&str; 8] =
    ["year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo"];

fn class() -> Value {
    let limit = |year, month, day, clock: Option<NaiveTime>| {
        let moment = NaiveDate::from_ymd_opt(year, month, day).zip(clock);
        moment.map_or(Value::None, |(date, clock)| datetime_value(date.and_time(clock)))
    };
    Class::new("datetime.datetime", |args, _| {
        let mut names = [""; 9];
        names[..8].copy_from_slice(&PARTS);
        names[8] = "fold";
        let [year, month, day, hour, minute, second, micro, zone, _fold] =
            args.bind("datetime", names, 3)?;
        let part = |value: Option<Value>| value.unwrap_or(Value::Int(0));
        let date = date::from_parts(&part(year), &part(month), &part(day))?;
        let clock = time::from_parts([&part(hour), &part(minute), &part(second), &part(micro)])?;
        let zone = Zone::from_value(&zone.unwrap_or(Value::None))?;
        Ok(Value::object(DateTime { local: date.and_time(clock), zone }))
    })
    .function("now", |args, state| {
        let [zone] = args.bind("now", ["tz"], 0)?;
        match Zone::from_value(&zone.unwrap_or(Value::None))? {
            None => Ok(datetime_value(local_now(state)?)),
            Some(zone) => {
                let (local, zone) = zone.at_utc(&to_micros(state.host().now().naive_utc()))?;
                Ok(Value::object(DateTime { local, zone: Some(zone) }))
            }
        }
    })
    .function("today", |_, state| Ok(datetime_value(local_now(state)?)))
    .function("utcnow", |_, state| Ok(datetime_value(state.host().now().naive_utc())))
    .function("strptime", |args, _| {
        let [text, format] = args.bind("strptime", ["date_string", "format"], 2)?;
        let (text, format) = (text.unwrap_or(Value::None), format.unwrap_or(Value::None));
        let (local, zone) =
            strptime::parse(expect_str(&text, "strptime")?, expect_str(&format, "strptime")?)?;
        Ok(Value::object(DateTime { local, zone }))
    })
    .function("fromisoformat", |args, _| {
        let [text] = args.bind("fromisoformat", ["date_string"], 1)?;
        let text = text.unwrap_or(Value::None);
        let (local, zone) = strptime::iso_datetime(expect_str(&text, "fromisoformat")?)?;
        Ok(Value::object(DateTime { local, zone }))
    })
    .function("fromtimestamp", |args, state| {
        let [timestamp, zone] = args.bind("fromtimestamp", ["timestamp", "tz"], 1)?;
        let utc = moment_from_timestamp(&timestamp.unwrap_or(Value::None))?;
        match Zone::from_value(&zone.unwrap_or(Value::None))? {
            None => Ok(datetime_value(shifted(&utc, state.host().local_offset_seconds())?)),
            Some(zone) => {
                let (local, zone) = zone.at_utc(&utc)?;
                Ok(Value::object(DateTime { local, zone: Some(zone) }))
            }
        }
    })
    .function("utcfromtimestamp", |args, _| {
        let [timestamp] = args.bind("utcfromtimestamp", ["timestamp"], 1)?;
        Ok(datetime_value(moment_from_timestamp(&timestamp.unwrap_or(Value::None))?))
    })
    .function("fromordinal", |args, _| {
        let [ordinal] = args.bind("fromordinal", ["ordinal"], 1)?;
        let day = date::from_ordinal(&ordinal.unwrap_or(Value::None))?;
        Ok(datetime_value(day.and_time(NaiveTime::MIN)))
    })
    .function("combine", |args, _| {
        let [day, clock, zone] = args.bind("combine", ["date", "time", "tzinfo"], 2)?;
        let (day, clock) = (day.unwrap_or(Value::None), clock.unwrap_or(Value::None));
        let day = match (day.downcast::<Date>(), day.downcast::<DateTime>()) {
            (Some(day), _) => day.0,
            (_, Some(moment)) => moment.local.date(),
            _ => {
                return Err(Error::type_error(format!(
                    "combine() argument 1 must be datetime.date, not {}",
                    day.type_name()
                )));
            }
        };
        let Some(time) = clock.downcast::<Time>() else {
            return Err(Error::type_error(format!(
                "combine() argument 2 must be datetime.time, not {}",
                clock.type_name()
            )));
        };
        let zone = match zone {
            Some(zone) => Zone::from_value(&zone)?,
            None => time.zone.clone(),
        };
        Ok(Value::object(DateTime { local: day.and_time(time.clock), zone }))
    })
    .value("min", limit(1, 1, 1, Some(NaiveTime::MIN)))
    .value("max", limit(9999, 12, 31, NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999)))
    .value("resolution", Value::object(Delta(1)))
    .done()
}

const CLASS_METHODS: &[&str] = &[
    "now",
    "today",
    "utcnow",
    "strptime",
    "fromisoformat",
    "fromtimestamp",
    "utcfromtimestamp",
    "fromordinal",
    "combine",
];

const METHODS: &[&str] = &[
    "date",
    "time",
    "timetz",
    "strftime",
    "isoformat",
    "weekday",
    "isoweekday",
    "isocalendar",
    "toordinal",
    "replace",
    "ctime",
    "timestamp",
    "astimezone",
    "utcoffset",
    "dst",
    "tzname",
    "__format__",
    "now",
    "today",
    "utcnow",
    "strptime",
    "fromisoformat",
    "fromtimestamp",
    "utcfromtimestamp",
    "fromordinal",
    "combine",
];

impl DateTime {
    /// The time in UTC; without a zone it is taken as local time of this offset.
    pub(super) fn utc(&self, local_offset: i32) -> Result<NaiveDateTime, Error> {
        shifted(&self.local, -self.zone.as_ref().map_or(local_offset, Zone::offset))
    }

    fn moment(&self) -> Moment {
        Moment {
            date: self.local.date(),
            time: self.local.time(),
            offset: self.zone.as_ref().map(Zone::offset),
            zone: self.zone.as_ref().and_then(Zone::name),
        }
    }

    fn text(&self, separator: &str, timespec: &str) -> Result<String, Error> {
        let mut out = format!(
            "{}{separator}{}",
            Date(self.local.date()).render(),
            time::iso(self.local.time(), timespec)?
        );
        if let Some(zone) = &self.zone {
            out.push_str(&offset_text(zone.offset(), ":"));
        }
        Ok(out)
    }

    fn micros(&self) -> i128 {
        let offset = self.zone.as_ref().map_or(0, Zone::offset);
        i128::from(self.local.and_utc().timestamp_micros()) - i128::from(offset) * SECOND
    }

    fn method(&self, name: &str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        Ok(match name {
            "date" => Value::object(Date(self.local.date())),
            "time" => Value::object(Time { clock: self.local.time(), zone: None }),
            "timetz" => Value::object(Time { clock: self.local.time(), zone: self.zone.clone() }),
            "strftime" | "__format__" => {
                let [format] = args.bind("strftime", ["format"], 1)?;
                let format = format.unwrap_or(Value::None);
                Value::from(strftime::format(&self.moment(), expect_str(&format, "strftime")?)?)
            }
            "isoformat" => {
                let [separator, timespec] = args.bind("isoformat", ["sep", "timespec"], 0)?;
                let separator = separator.unwrap_or_else(|| Value::str("T"));
                let timespec = timespec.unwrap_or_else(|| Value::str("auto"));
                Value::from(self.text(
                    expect_str(&separator, "isoformat")?,
                    expect_str(&timespec, "isoformat")?,
                )?)
            }
            "ctime" => Value::from(date::ctime(self.local.date(), self.local.time())),
            "timestamp" => {
                let utc = self.utc(state.host().local_offset_seconds())?;
                Value::Float(utc.and_utc().timestamp_micros() as f64 / 1e6)
            }
            "astimezone" => {
                let [zone] = args.bind("astimezone", ["tz"], 0)?;
                let local_offset = state.host().local_offset_seconds();
                let utc = self.utc(local_offset)?;
                let zone = Zone::from_value(&zone.unwrap_or(Value::None))?
                    .unwrap_or(Zone::Fixed(local_offset, None));
                let (local, zone) = zone.at_utc(&utc)?;
                Value::object(DateTime { local, zone: Some(zone) })
            }
            "utcoffset" | "dst" | "tzname" => match &self.zone {
                None => Value::None,
                Some(Zone::Named(tz, Some(placed))) => {
                    let zone = Zone::Named(*tz, Some(placed.clone()));
                    match name {
                        "utcoffset" => Delta(i128::from(zone.offset()) * SECOND).value()?,
                        "dst" => Delta(i128::from(zone.dst().unwrap_or(0)) * SECOND).value()?,
                        _ => zone.name().into(),
                    }
                }
                Some(zone) => {
                    let none = Args::positional_only([Value::None]);
                    match zone {
                        Zone::Named(..) if name == "tzname" => zone.name().into(),
                        Zone::Named(..) => Delta(i128::from(zone.offset()) * SECOND).value()?,
                        other => other.clone().value().call_method(name, &none, state)?,
                    }
                }
            },
            "replace" => {
                let given = args.bind("replace", PARTS, 0)?;
                let [year, month, day, hour, minute, second, micro, zone] = given;
                let or = |given: Option<Value>, name: &str| {
                    given
                        .or_else(|| date::attribute(self.local.date(), name))
                        .or_else(|| time::attribute(self.local.time(), name))
                        .unwrap_or(Value::Int(0))
                };
                let day =
                    date::from_parts(&or(year, "year"), &or(month, "month"), &or(day, "day"))?;
                let clock = time::from_parts([
                    &or(hour, "hour"),
                    &or(minute, "minute"),
                    &or(second, "second"),
                    &or(micro, "microsecond"),
                ])?;
                let zone = match zone {
                    Some(zone) => Zone::from_value(&zone)?,
                    None => self.zone.clone(),
                };
                Value::object(DateTime { local: day.and_time(clock), zone })
            }
            _ => date::method(self.local.date(), name).ok_or_else(|| {
                Error::undefined(format!("'datetime.datetime object' has no attribute '{name}'"))
            })?,
        })
    }
}

impl Object for DateTime {
    fn type_name(&self) -> &str {
        "datetime.datetime"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match name {
            "tzinfo" => Some(self.zone.clone().map_or(Value::None, Zone::value)),
            "fold" => Some(Value::Int(0)),
            _ => date::attribute(self.local.date(), name)
                .or_else(|| time::attribute(self.local.time(), name)),
        }
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
        if CLASS_METHODS.contains(&name) {
            return Some(class().call_method(name, args, state));
        }
        METHODS.contains(&name).then(|| self.method(name, args, state))
    }

    fn is_true(&self) -> bool {
        true
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<DateTime>().is_some_and(|other| {
            self.zone.is_some() == other.zone.is_some() && self.micros() == other.micros()
        })
    }

    fn compare(&self, other: &Value) -> Option<Option<Ordering>> {
        let other = other.downcast::<DateTime>()?;
        (self.zone.is_some() == other.zone.is_some())
            .then(|| Some(self.micros().cmp(&other.micros())))
    }

    fn hash_text(&self) -> Option<String> {
        Some(format!("{}{}", self.zone.is_some(), self.micros()))
    }

    fn operate(
        &self,
        symbol: &str,
        other: &Value,
        reflected: bool,
    ) -> Option<Result<Value, Error>> {
        if let Some(delta) = other.downcast::<Delta>() {
            let delta = match symbol {
                "+" => *delta,
                "-" if !reflected => Delta(-delta.0),
                _ => return None,
            };
            return Some(
                add(self.local, delta)
                    .map(|local| Value::object(DateTime { local, zone: self.zone.clone() })),
            );
        }
        if symbol != "-" {
            return None;
        }
        let other = other.downcast::<DateTime>()?;
        if self.zone.is_some() != other.zone.is_some() {
            return Some(Err(Error::type_error(
                "can't subtract offset-naive and offset-aware datetimes",
            )));
        }
        let micros = self.micros() - other.micros();
        Some(Delta(if reflected { -micros } else { micros }).value())
    }

    fn render(&self) -> String {
        self.text(" ", "auto").unwrap_or_default()
    }

    fn repr(&self) -> String {
        let day = self.local.date();
        let mut out = format!(
            "datetime.datetime({}, {}, {}, {}",
            day.year(),
            day.month(),
            day.day(),
            time::repr_parts(self.local.time())
        );
        if let Some(zone) = &self.zone {
            out.push_str(&format!(", tzinfo={}", zone.repr()));
        }
        out.push(')');
        out
    }

    fn format(&self, spec: &str) -> Option<Result<String, Error>> {
        Some(if spec.is_empty() {
            Ok(self.render())
        } else {
            strftime::format(&self.moment(), spec)
        })
    }
}
