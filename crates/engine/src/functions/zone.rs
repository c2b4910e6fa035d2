//! Time zones: `at time zone` (which is `timezone(zone, time)`) and `convert_timezone`.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, lit};

use super::simple::{Call, MICROS, Simple, arity, as_timestamp, bad_value, text, text_at};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        timezone_function(),
        Simple::function(
            "convert_timezone",
            timezone_takes,
            |_, _| Ok(MICROS),
            |args, _| shifted(&args[0], &args[1], |zone, time| zone.local(time)),
        ),
    ]
}

/// `value at time zone zone`.
pub(crate) fn at_zone(zone: &str, value: Expr) -> Expr {
    static TIMEZONE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(timezone_function()));
    let zone = lit(ScalarValue::Utf8View(Some(zone.to_owned())));
    Expr::ScalarFunction(ScalarFunction::new_udf(TIMEZONE.clone(), vec![zone, value]))
}

fn timezone_function() -> ScalarUDF {
    Simple::function(
        "timezone",
        timezone_takes,
        |types, _| {
            Ok(match &types[1] {
                DataType::Timestamp(_, Some(_)) => MICROS,
                _ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            })
        },
        timezone,
    )
}

/// What a function of one argument gives that depends on the session's time zone.
pub(super) fn in_session_zone(
    args: &ScalarFunctionArgs,
    of: impl Fn(&ArrayRef, Tz) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let zone = args.config_options.execution.time_zone.as_deref().unwrap_or("UTC");
    let zone = zone_of(zone)?;
    match &args.args[0] {
        ColumnarValue::Array(array) => Ok(ColumnarValue::Array(of(array, zone)?)),
        ColumnarValue::Scalar(scalar) => {
            let value = of(&scalar.to_array()?, zone)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
        }
    }
}

/// A zone by its name.
pub(super) fn zone_of(name: &str) -> Result<Tz> {
    match name {
        "+00:00" | "Z" | "UTC" => Ok(Tz::UTC),
        name => name.parse().map_err(|_| unknown(name)),
    }
}

fn unknown(name: &str) -> datafusion::common::DataFusionError {
    bad_value(format!("time zone \"{name}\" not recognized"))
}

/// A zone as `at time zone` takes it.
#[derive(Clone, Copy)]
pub(super) enum Zone {
    Named(Tz),
    Fixed(FixedOffset),
}

impl Zone {
    /// A name in any case, or hours and minutes. As in PostgreSQL (and POSIX) `+02:00` here is
    /// **west** of Greenwich.
    pub(super) fn read(name: &str) -> Result<Self> {
        let trimmed = name.trim();
        if let Ok(zone) = zone_of(trimmed) {
            return Ok(Zone::Named(zone));
        }
        if let Some(seconds) = offset(trimmed) {
            return FixedOffset::west_opt(seconds).map(Zone::Fixed).ok_or_else(|| unknown(name));
        }
        let found = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(trimmed));
        found.copied().map(Zone::Named).ok_or_else(|| unknown(name))
    }

    /// What a clock in the zone shows at this moment of UTC.
    fn local(self, utc: NaiveDateTime) -> Option<NaiveDateTime> {
        let seconds = match self {
            Zone::Named(zone) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
            Zone::Fixed(offset) => offset.local_minus_utc(),
        };
        utc.checked_add_signed(TimeDelta::seconds(i64::from(seconds)))
    }

    /// The moment of UTC at which a clock in the zone shows this.
    pub(super) fn utc(self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let seconds = match self {
            Zone::Fixed(offset) => offset.local_minus_utc(),
            Zone::Named(zone) => match zone.offset_from_local_datetime(&local) {
                LocalResult::Single(offset) => offset.fix().local_minus_utc(),
                // An hour that comes twice means the second, in winter time; one that is left out
                // is counted on from before (PostgreSQL).
                LocalResult::Ambiguous(first, second) => {
                    first.fix().local_minus_utc().min(second.fix().local_minus_utc())
                }
                LocalResult::None => {
                    let before = local.checked_sub_signed(TimeDelta::days(1))?;
                    zone.offset_from_local_datetime(&before).earliest()?.fix().local_minus_utc()
                }
            },
        };
        local.checked_sub_signed(TimeDelta::seconds(i64::from(seconds)))
    }
}

/// `+02`, `+02:00`, `-0330` in seconds.
pub(super) fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let parts: Vec<&str> = digits.split(':').collect();
    let number = |text: &str| -> Option<i32> {
        let fits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse().ok()).flatten()
    };
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours] if digits.len() == 4 && digits.is_ascii() => {
            (number(&hours[..2])?, number(&hours[2..])?, 0)
        }
        [hours] => (number(hours)?, 0, 0),
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return None,
    };
    (hours <= 15 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3_600 + minutes * 60 + seconds))
}

fn timezone_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("timezone", types, 2, 2)?;
    let value = match &types[1] {
        // A text is a moment (PostgreSQL).
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        other => as_timestamp(other),
    };
    let zone = match &types[0] {
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        _ => DataType::Utf8View,
    };
    Ok(vec![zone, value])
}

/// A span is how far a zone is east of Greenwich, where a text says how far it is west.
fn named(zones: &ArrayRef) -> Result<ArrayRef> {
    let Some(spans) = zones.as_primitive_opt::<IntervalMonthDayNanoType>() else {
        return Ok(zones.clone());
    };
    let name = |span: IntervalMonthDayNano| {
        let seconds = span.nanoseconds / 1_000_000_000;
        if span.months != 0 || span.days != 0 {
            return Err(bad_value("an interval as a time zone must not have months or days"));
        }
        let (sign, seconds) = (if seconds > 0 { '-' } else { '+' }, seconds.abs());
        let (minutes, hours) = (seconds / 60 % 60, seconds / 3_600);
        Ok(format!("{sign}{hours:02}:{minutes:02}:{:02}", seconds % 60))
    };
    let names: StringViewArray =
        spans.iter().map(|span| span.map(name).transpose()).collect::<Result<_>>()?;
    Ok(Arc::new(names))
}

fn timezone(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    match call.returns {
        DataType::Timestamp(_, None) => shifted(&args[0], &args[1], |zone, time| zone.local(time)),
        _ => {
            let moved = shifted(&args[0], &args[1], |zone, time| zone.utc(time))?;
            let moved = moved.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(moved.with_timezone("UTC")))
        }
    }
}

fn shifted(
    zones: &ArrayRef,
    times: &ArrayRef,
    shift: impl Fn(Zone, NaiveDateTime) -> Option<NaiveDateTime>,
) -> Result<ArrayRef> {
    let zones = named(zones)?;
    let zones = text(&zones);
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut last: Option<(String, Zone)> = None;
    let moved: TimestampMicrosecondArray = (0..times.len())
        .map(|row| {
            let (Some(name), true) = (text_at(zones, row), times.is_valid(row)) else {
                return Ok(None);
            };
            let zone = match &last {
                Some((known, zone)) if known == name => *zone,
                _ => {
                    let zone = Zone::read(name)?;
                    last = Some((name.to_owned(), zone));
                    zone
                }
            };
            DateTime::from_timestamp_micros(times.value(row))
                .and_then(|time| shift(zone, time.naive_utc()))
                .map(|time| Some(time.and_utc().timestamp_micros()))
                .ok_or_else(|| bad_value("a timestamp is out of range"))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap()
    }

    // Expected values are those of PostgreSQL 15.
    #[test]
    fn clocks_that_jump() {
        let new_york = Zone::read("america/new_york").unwrap();
        for (local, utc) in [
            ("2024-03-10 02:30", "2024-03-10 07:30"),
            ("2024-11-03 01:30", "2024-11-03 06:30"),
            ("2024-07-01 12:00", "2024-07-01 16:00"),
        ] {
            assert_eq!(new_york.utc(at(local)), Some(at(utc)), "{local}");
        }
        let west = Zone::read("+02:00").unwrap();
        assert_eq!(west.local(at("2024-07-01 12:00")), Some(at("2024-07-01 10:00")));
        assert!(Zone::read("nowhere").is_err());
    }

    #[test]
    fn offsets() {
        for (text, seconds) in
            [("+02", Some(7_200)), ("-0330", Some(-12_600)), ("+5:30", Some(19_800)), ("2", None)]
        {
            assert_eq!(offset(text), seconds, "{text}");
        }
    }
}
