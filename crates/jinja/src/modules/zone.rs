//! `pytz` and `datetime.timezone`.

use chrono::{NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::{OffsetComponents, OffsetName, TZ_VARIANTS, Tz};

use super::datetime::DateTime;
use super::delta::{Delta, SECOND};
use super::{Class, Module};
use crate::error::Error;
use crate::function::{Args, expect_int, expect_str};
use crate::object::Object;
use crate::state::State;
use crate::value::Value;

/// What stands behind `tzinfo`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Zone {
    /// `pytz.utc`.
    Utc,
    /// `datetime.timezone(offset, name)`: seconds east.
    Fixed(i32, Option<String>),
    /// `pytz.FixedOffset(minutes)`.
    Minutes(i32),
    /// A zone of `pytz`; with its offset once a time has been placed in it.
    Named(Tz, Option<Placed>),
}

/// The rule of a named zone that holds at one time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    offset: i32,
    dst: i32,
    name: String,
}

/// `pytz` knows offsets in whole minutes.
fn whole_minutes(seconds: i32) -> i32 {
    (seconds + 30).div_euclid(60) * 60
}

fn placed(tz: Tz, utc: &NaiveDateTime) -> Placed {
    let offset = tz.offset_from_utc_datetime(utc);
    Placed {
        offset: whole_minutes(offset.fix().local_minus_utc()),
        dst: i32::try_from(offset.dst_offset().num_seconds()).unwrap_or(0),
        name: offset.abbreviation().unwrap_or("").to_string(),
    }
}

/// The first rule of a zone (local mean time): what an unplaced `pytz` zone stands for.
fn first_rule(tz: Tz) -> Placed {
    placed(
        tz,
        &NaiveDateTime::new(
            chrono::NaiveDate::MIN + chrono::Days::new(800),
            chrono::NaiveTime::MIN,
        ),
    )
}

pub(super) fn shifted(moment: &NaiveDateTime, seconds: i32) -> Result<NaiveDateTime, Error> {
    moment
        .checked_add_signed(TimeDelta::seconds(i64::from(seconds)))
        .ok_or_else(|| Error::runtime("date value out of range"))
}

impl Zone {
    pub(super) fn value(self) -> Value {
        Value::object(self)
    }

    pub(super) fn from_value(value: &Value) -> Result<Option<Zone>, Error> {
        match value {
            Value::None => Ok(None),
            Value::Undefined(undefined) => Err(undefined.error()),
            other => other.downcast::<Zone>().cloned().map(Some).ok_or_else(|| {
                Error::type_error(format!(
                    "tzinfo argument must be None or of a tzinfo subclass, not type '{}'",
                    other.type_name()
                ))
            }),
        }
    }

    /// Seconds east of UTC.
    pub(super) fn offset(&self) -> i32 {
        match self {
            Zone::Utc => 0,
            Zone::Fixed(seconds, _) => *seconds,
            Zone::Minutes(minutes) => minutes * 60,
            Zone::Named(_, Some(placed)) => placed.offset,
            Zone::Named(tz, None) => first_rule(*tz).offset,
        }
    }

    pub(super) fn dst(&self) -> Option<i32> {
        match self {
            Zone::Fixed(..) => None,
            Zone::Utc | Zone::Minutes(_) => Some(0),
            Zone::Named(_, Some(placed)) => Some(placed.dst),
            Zone::Named(tz, None) => Some(first_rule(*tz).dst),
        }
    }

    pub(super) fn name(&self) -> Option<String> {
        match self {
            Zone::Utc => Some("UTC".into()),
            Zone::Fixed(_, Some(name)) => Some(name.clone()),
            Zone::Fixed(0, None) => Some("UTC".into()),
            Zone::Fixed(seconds, None) => Some(format!("UTC{}", offset_text(*seconds, ":"))),
            Zone::Minutes(_) => None,
            Zone::Named(_, Some(placed)) => Some(placed.name.clone()),
            Zone::Named(tz, None) => Some(first_rule(*tz).name),
        }
    }

    /// The zone with the rule that holds at a UTC time, and the local time.
    pub(super) fn at_utc(&self, utc: &NaiveDateTime) -> Result<(NaiveDateTime, Zone), Error> {
        let zone = match self {
            Zone::Named(tz, _) => Zone::Named(*tz, Some(placed(*tz, utc))),
            other => other.clone(),
        };
        Ok((shifted(utc, zone.offset())?, zone))
    }

    /// `tz.localize(naive, is_dst)`.
    fn localize(&self, local: &NaiveDateTime, is_dst: Option<bool>) -> Result<Zone, Error> {
        let Zone::Named(tz, _) = self else { return Ok(self.clone()) };
        let rule = |offset: &<Tz as TimeZone>::Offset| -> Result<Placed, Error> {
            Ok(placed(*tz, &shifted(local, -offset.fix().local_minus_utc())?))
        };
        let found = match tz.offset_from_local_datetime(local) {
            chrono::MappedLocalTime::Single(offset) => rule(&offset)?,
            chrono::MappedLocalTime::Ambiguous(first, second) => {
                let (first, second) = (rule(&first)?, rule(&second)?);
                let (winter, summer) =
                    if first.offset <= second.offset { (first, second) } else { (second, first) };
                match is_dst {
                    Some(true) => summer,
                    Some(false) => winter,
                    None => return Err(Error::runtime(format!("AmbiguousTimeError: {local}"))),
                }
            }
            chrono::MappedLocalTime::None => {
                // A time that the clock skipped: the rule of the season that was asked for.
                let day = 86_400;
                let before = placed(*tz, &shifted(local, -day)?);
                let after = placed(*tz, &shifted(local, day)?);
                let (winter, summer) =
                    if before.offset <= after.offset { (before, after) } else { (after, before) };
                match is_dst {
                    Some(true) => summer,
                    Some(false) => winter,
                    None => return Err(Error::runtime(format!("NonExistentTimeError: {local}"))),
                }
            }
        };
        Ok(Zone::Named(*tz, Some(found)))
    }
}

/// `+01:00`, with seconds where there are any.
pub(super) fn offset_text(seconds: i32, separator: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let mut out = format!("{sign}{:02}{separator}{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 {
        out.push_str(&format!("{separator}{:02}", seconds % 60));
    }
    out
}

fn delta(seconds: i32) -> Result<Value, Error> {
    Delta(i128::from(seconds) * SECOND).value()
}

const METHODS: &[&str] = &["localize", "normalize", "utcoffset", "dst", "tzname", "fromutc"];

impl Object for Zone {
    fn type_name(&self) -> &str {
        match self {
            Zone::Fixed(..) => "datetime.timezone",
            Zone::Utc => "pytz.UTC",
            Zone::Minutes(_) => "pytz._FixedOffset",
            Zone::Named(..) => "pytz.tzfile.DstTzInfo",
        }
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match (name, self) {
            ("zone", Zone::Utc) => Some(Value::str("UTC")),
            ("zone", Zone::Minutes(_)) => Some(Value::None),
            ("zone", Zone::Named(tz, _)) => Some(Value::str(tz.name())),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        METHODS
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        METHODS.contains(&name).then(|| self.method(name, args))
    }

    fn equals(&self, other: &Value) -> bool {
        match (self, other.downcast::<Zone>()) {
            (Zone::Fixed(left, _), Some(Zone::Fixed(right, _))) => left == right,
            (left, Some(right)) => left == right,
            _ => false,
        }
    }

    fn render(&self) -> String {
        match self {
            Zone::Utc => "UTC".into(),
            Zone::Named(tz, _) => tz.name().into(),
            Zone::Fixed(..) => self.name().unwrap_or_default(),
            Zone::Minutes(_) => self.repr(),
        }
    }

    fn repr(&self) -> String {
        match self {
            Zone::Utc => "<UTC>".into(),
            Zone::Minutes(minutes) => format!("pytz.FixedOffset({minutes})"),
            Zone::Fixed(0, None) => "datetime.timezone.utc".into(),
            Zone::Fixed(seconds, name) => {
                let offset = Delta(i128::from(*seconds) * SECOND).repr();
                match name {
                    Some(name) => format!("datetime.timezone({offset}, '{name}')"),
                    None => format!("datetime.timezone({offset})"),
                }
            }
            Zone::Named(tz, rule) => {
                let rule = rule.clone().unwrap_or_else(|| first_rule(*tz));
                let offset = Delta(i128::from(rule.offset) * SECOND).render();
                let sign = if rule.offset >= 0 { "+" } else { "" };
                let season = if rule.dst != 0 { "DST" } else { "STD" };
                format!("<DstTzInfo '{}' {}{sign}{offset} {season}>", tz.name(), rule.name)
            }
        }
    }
}

impl Zone {
    fn method(&self, name: &str, args: &Args) -> Result<Value, Error> {
        let [moment, is_dst] = args.bind(name, ["dt", "is_dst"], 1)?;
        let moment = moment.unwrap_or(Value::None);
        if moment.is_none() && matches!(name, "utcoffset" | "dst" | "tzname") {
            return match (self, name) {
                (Zone::Named(..), "tzname") => Ok(Value::str(self.render())),
                (Zone::Named(..), _) => Ok(Value::None),
                (_, "utcoffset") => delta(self.offset()),
                (_, "dst") => self.dst().map_or(Ok(Value::None), delta),
                _ => Ok(self.name().into()),
            };
        }
        let Some(time) = moment.downcast::<DateTime>() else {
            return Err(Error::type_error(format!("{name}() argument must be a datetime")));
        };
        let is_dst = match is_dst {
            None => Some(false),
            Some(Value::None) => None,
            Some(flag) => Some(flag.is_true()),
        };
        match name {
            "localize" => {
                if time.zone.is_some() {
                    return Err(Error::runtime("Not naive datetime (tzinfo is already set)"));
                }
                let zone = self.localize(&time.local, is_dst)?;
                Ok(Value::object(DateTime { local: time.local, zone: Some(zone) }))
            }
            "normalize" => {
                if time.zone.is_none() {
                    return Err(Error::runtime("Naive time - no tzinfo set"));
                }
                let (local, zone) = self.at_utc(&time.utc(0)?)?;
                Ok(Value::object(DateTime { local, zone: Some(zone) }))
            }
            "fromutc" => {
                let (local, zone) = self.at_utc(&time.local)?;
                Ok(Value::object(DateTime { local, zone: Some(zone) }))
            }
            _ => {
                let zone = self.localize(&time.local, is_dst)?;
                match name {
                    "utcoffset" => delta(zone.offset()),
                    "dst" => zone.dst().map_or(Ok(Value::None), delta),
                    _ => Ok(zone.name().into()),
                }
            }
        }
    }
}

/// `datetime.timezone`.
pub(super) fn class() -> Value {
    Class::new("datetime.timezone", |args, _| {
        let [offset, name] = args.bind("timezone", ["offset", "name"], 1)?;
        let offset = offset.unwrap_or(Value::None);
        let Some(offset) = offset.downcast::<Delta>() else {
            return Err(Error::type_error(format!(
                "timezone() argument 1 must be datetime.timedelta, not {}",
                offset.type_name()
            )));
        };
        let seconds = i32::try_from(offset.0 / SECOND).unwrap_or(i32::MAX);
        if seconds.abs() >= 86_400 {
            return Err(Error::runtime(
                "offset must be a timedelta strictly between -timedelta(hours=24) and \
                 timedelta(hours=24).",
            ));
        }
        Ok(Zone::Fixed(seconds, name.map(|name| name.to_string())).value())
    })
    .value("utc", Zone::Fixed(0, None).value())
    .done()
}

fn timezone(args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [zone] = args.bind("timezone", ["zone"], 1)?;
    let zone = zone.unwrap_or(Value::None);
    let name = expect_str(&zone, "timezone")?;
    if name.eq_ignore_ascii_case("utc") {
        return Ok(Zone::Utc.value());
    }
    match TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name)).copied() {
        Some(tz) => Ok(Zone::Named(tz, None).value()),
        None => Err(Error::runtime(format!("UnknownTimeZoneError: '{name}'"))
            .with_hint("names are like 'Europe/Paris' or 'America/New_York'")),
    }
}

/// `modules.pytz`.
pub(super) fn module() -> Value {
    let names = || Value::list(TZ_VARIANTS.iter().map(|tz| Value::str(tz.name())));
    let frozen = Value::tuple(names().items().unwrap_or_default());
    Module::new("pytz")
        .function("timezone", timezone)
        .function("FixedOffset", |args, _| {
            let [minutes] = args.bind("FixedOffset", ["offset"], 1)?;
            let minutes = expect_int(&minutes.unwrap_or(Value::None))?;
            match i32::try_from(minutes) {
                Ok(0) => Ok(Zone::Utc.value()),
                Ok(minutes) if minutes.abs() < 1440 => Ok(Zone::Minutes(minutes).value()),
                _ => Err(Error::runtime(format!("('absolute offset is too large', {minutes})"))),
            }
        })
        .value("utc", Zone::Utc.value())
        .value("UTC", Zone::Utc.value())
        .value("all_timezones", frozen.clone())
        .value("all_timezones_set", frozen.clone())
        .value("common_timezones", frozen.clone())
        .value("common_timezones_set", frozen)
        .done()
}
