//! `time`: a time of day.

use std::cmp::Ordering;

use chrono::{NaiveDate, NaiveTime, Timelike};

use super::Class;
use super::strftime::{self, Moment};
use super::strptime;
use super::zone::{Zone, offset_text};
use crate::error::Error;
use crate::function::{Args, expect_int, expect_str};
use crate::object::Object;
use crate::state::State;
use crate::value::Value;

/// A time of day, with or without a zone.
#[derive(Clone, Debug)]
pub(super) struct Time {
    pub(super) clock: NaiveTime,
    pub(super) zone: Option<Zone>,
}

/// A time of four numbers, with Python's errors.
pub(super) fn from_parts(parts: [&Value; 4]) -> Result<NaiveTime, Error> {
    let limits = [("hour", 23), ("minute", 59), ("second", 59), ("microsecond", 999_999)];
    let mut numbers = [0; 4];
    for ((slot, value), (name, limit)) in numbers.iter_mut().zip(parts).zip(limits) {
        *slot = u32::try_from(expect_int(value)?)
            .ok()
            .filter(|number| *number <= limit)
            .ok_or_else(|| Error::runtime(format!("{name} must be in 0..{limit}")))?;
    }
    let [hour, minute, second, micro] = numbers;
    NaiveTime::from_hms_micro_opt(hour, minute, second, micro)
        .ok_or_else(|| Error::runtime("the time is out of range"))
}

/// `13:05:30.000250`, to the precision that `timespec` names.
pub(super) fn iso(clock: NaiveTime, timespec: &str) -> Result<String, Error> {
    let micro = clock.nanosecond() / 1000;
    let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
    Ok(match timespec {
        "hours" => format!("{hour:02}"),
        "minutes" => format!("{hour:02}:{minute:02}"),
        "seconds" => format!("{hour:02}:{minute:02}:{second:02}"),
        "milliseconds" => format!("{hour:02}:{minute:02}:{second:02}.{:03}", micro / 1000),
        "microseconds" => format!("{hour:02}:{minute:02}:{second:02}.{micro:06}"),
        "auto" if micro == 0 => format!("{hour:02}:{minute:02}:{second:02}"),
        "auto" => format!("{hour:02}:{minute:02}:{second:02}.{micro:06}"),
        _ => return Err(Error::runtime("Unknown timespec value")),
    })
}

/// The numbers inside of `datetime.time(...)` and `datetime.datetime(...)`.
pub(super) fn repr_parts(clock: NaiveTime) -> String {
    let micro = clock.nanosecond() / 1000;
    let mut out = format!("{}, {}", clock.hour(), clock.minute());
    if clock.second() > 0 || micro > 0 {
        out.push_str(&format!(", {}", clock.second()));
    }
    if micro > 0 {
        out.push_str(&format!(", {micro}"));
    }
    out
}

pub(super) fn attribute(clock: NaiveTime, name: &str) -> Option<Value> {
    Some(Value::from(match name {
        "hour" => clock.hour(),
        "minute" => clock.minute(),
        "second" => clock.second(),
        "microsecond" => clock.nanosecond() / 1000,
        _ => return None,
    }))
}

pub(super) fn class() -> Value {
    let limit = |clock| Value::object(Time { clock, zone: None });
    Class::new("datetime.time", |args, _| {
        let [hour, minute, second, micro, zone] =
            args.bind("time", ["hour", "minute", "second", "microsecond", "tzinfo"], 0)?;
        let part = |value: Option<Value>| value.unwrap_or(Value::Int(0));
        let clock = from_parts([&part(hour), &part(minute), &part(second), &part(micro)])?;
        let zone = Zone::from_value(&zone.unwrap_or(Value::None))?;
        Ok(Value::object(Time { clock, zone }))
    })
    .function("fromisoformat", |args, _| {
        let [text] = args.bind("fromisoformat", ["time_string"], 1)?;
        let text = text.unwrap_or(Value::None);
        let (clock, zone) = strptime::iso_time(expect_str(&text, "fromisoformat")?)?;
        Ok(Value::object(Time { clock, zone }))
    })
    .value("min", limit(NaiveTime::MIN))
    .value("max", NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).map_or(Value::None, limit))
    .done()
}

const METHODS: &[&str] =
    &["isoformat", "strftime", "replace", "utcoffset", "dst", "tzname", "__format__"];

impl Time {
    fn moment(&self) -> Moment {
        Moment {
            date: NaiveDate::from_ymd_opt(1900, 1, 1).unwrap_or_default(),
            time: self.clock,
            offset: self.zone.as_ref().map(Zone::offset),
            zone: self.zone.as_ref().and_then(Zone::name),
        }
    }

    fn text(&self, timespec: &str) -> Result<String, Error> {
        let mut out = iso(self.clock, timespec)?;
        if let Some(zone) = &self.zone {
            out.push_str(&offset_text(zone.offset(), ":"));
        }
        Ok(out)
    }

    fn method(&self, name: &str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        match name {
            "isoformat" => {
                let [timespec] = args.bind("isoformat", ["timespec"], 0)?;
                let timespec = timespec.unwrap_or_else(|| Value::str("auto"));
                self.text(expect_str(&timespec, "isoformat")?).map(Value::from)
            }
            "replace" => {
                let [hour, minute, second, micro, zone] =
                    args.bind("replace", ["hour", "minute", "second", "microsecond", "tzinfo"], 0)?;
                let or = |given: Option<Value>, part: &str| {
                    given.or_else(|| attribute(self.clock, part)).unwrap_or(Value::Int(0))
                };
                let clock = from_parts([
                    &or(hour, "hour"),
                    &or(minute, "minute"),
                    &or(second, "second"),
                    &or(micro, "microsecond"),
                ])?;
                let zone = match zone {
                    Some(zone) => Zone::from_value(&zone)?,
                    None => self.zone.clone(),
                };
                Ok(Value::object(Time { clock, zone }))
            }
            "strftime" | "__format__" => {
                let [format] = args.bind("strftime", ["format"], 1)?;
                let format = format.unwrap_or(Value::None);
                strftime::format(&self.moment(), expect_str(&format, "strftime")?).map(Value::from)
            }
            _ => match &self.zone {
                Some(zone) => zone.clone().value().call_method(
                    name,
                    &Args::positional_only([Value::None]),
                    state,
                ),
                None => Ok(Value::None),
            },
        }
    }

    fn key(&self) -> i64 {
        let seconds = i64::from(self.clock.num_seconds_from_midnight());
        let offset = self.zone.as_ref().map_or(0, |zone| i64::from(zone.offset()));
        (seconds - offset) * 1_000_000 + i64::from(self.clock.nanosecond() / 1000)
    }
}

impl Object for Time {
    fn type_name(&self) -> &str {
        "datetime.time"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match name {
            "tzinfo" => Some(self.zone.clone().map_or(Value::None, Zone::value)),
            _ => attribute(self.clock, name),
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
        METHODS.contains(&name).then(|| self.method(name, args, state))
    }

    fn is_true(&self) -> bool {
        true
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<Time>().is_some_and(|other| {
            self.zone.is_some() == other.zone.is_some() && self.key() == other.key()
        })
    }

    fn compare(&self, other: &Value) -> Option<Option<Ordering>> {
        let other = other.downcast::<Time>()?;
        (self.zone.is_some() == other.zone.is_some()).then(|| Some(self.key().cmp(&other.key())))
    }

    fn hash_text(&self) -> Option<String> {
        Some(self.key().to_string())
    }

    fn render(&self) -> String {
        self.text("auto").unwrap_or_default()
    }

    fn repr(&self) -> String {
        let mut out = format!("datetime.time({}", repr_parts(self.clock));
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
