//! Spans of time: `age`, `justify_…`, `make_timestamp`, an interval times a number, and the order
//! of intervals.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::interval;
use super::simple::{Call, MICROS, Simple, arity, bad_value, usage};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("tidemill_age", age_takes, |_, _| Ok(INTERVAL), age),
        Simple::function(
            "justify_hours",
            justify_takes,
            |_, _| Ok(INTERVAL),
            |args, _| justify(&args[0], hours),
        ),
        Simple::function(
            "justify_days",
            justify_takes,
            |_, _| Ok(INTERVAL),
            |args, _| justify(&args[0], days),
        ),
        Simple::function(
            "justify_interval",
            justify_takes,
            |_, _| Ok(INTERVAL),
            |args, _| justify(&args[0], everything),
        ),
        Simple::function("make_timestamp", make_takes, |_, _| Ok(MICROS), make_timestamp),
        times(),
        place(),
    ]
}

fn out_of_range() -> datafusion::common::DataFusionError {
    bad_value("interval out of range")
}

fn age_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("age", types, 2, 2)?;
    Ok(vec![MICROS, MICROS])
}

/// In years, months, days and time, as one counts with a calendar.
fn age(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (later, earlier) = (
        args[0].as_primitive::<TimestampMicrosecondType>(),
        args[1].as_primitive::<TimestampMicrosecondType>(),
    );
    let ages: IntervalMonthDayNanoArray = (0..later.len())
        .map(|row| {
            if later.is_null(row) || earlier.is_null(row) {
                return Ok(None);
            }
            let time = |micros| DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc());
            let (later, earlier) = (time(later.value(row)), time(earlier.value(row)));
            later
                .zip(earlier)
                .and_then(|(later, earlier)| between(later, earlier))
                .map(Some)
                .ok_or_else(out_of_range)
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(ages))
}

fn between(later: NaiveDateTime, earlier: NaiveDateTime) -> Option<IntervalMonthDayNano> {
    if later < earlier {
        let value = between(earlier, later)?;
        return Some(IntervalMonthDayNanoType::make_value(
            -value.months,
            -value.days,
            -value.nanoseconds,
        ));
    }
    let mut months =
        (later.year() - earlier.year()) * 12 + later.month() as i32 - earlier.month() as i32;
    let mut days = later.day() as i32 - earlier.day() as i32;
    let mut micros = (later.time() - earlier.time()).num_microseconds()?;
    if micros < 0 {
        micros += 86_400_000_000;
        days -= 1;
    }
    if days < 0 {
        // The length of the month in which the span begins (PostgreSQL).
        let first = NaiveDate::from_ymd_opt(earlier.year(), earlier.month(), 1)?;
        let next = first.checked_add_months(chrono::Months::new(1))?;
        days += (next - first).num_days() as i32;
        months -= 1;
    }
    Some(IntervalMonthDayNanoType::make_value(months, days, micros * 1_000))
}

fn justify_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("justify_interval", types, 1, 1)?;
    match &types[0] {
        DataType::Duration(_) => Ok(vec![DataType::Duration(TimeUnit::Microsecond)]),
        DataType::Interval(_) | DataType::Null => Ok(vec![INTERVAL]),
        text if text.is_string() => Ok(vec![INTERVAL]),
        other => usage(format!("an interval is wanted, not {}", crate::types::sql_name(other))),
    }
}

/// A span, whichever of Arrow's types it has.
fn spans(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    if let DataType::Duration(_) = array.data_type() {
        let array = cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
        let array = array.as_primitive::<DurationMicrosecondType>();
        return array
            .iter()
            .map(|value| match value {
                Some(micros) => interval::of_micros(micros).map(Some).ok_or_else(out_of_range),
                None => Ok(None),
            })
            .collect();
    }
    Ok(cast(array, &INTERVAL)?.as_primitive::<IntervalMonthDayNanoType>().clone())
}

fn justify(
    array: &ArrayRef,
    rule: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    let justified: IntervalMonthDayNanoArray = spans(array)?
        .iter()
        .map(|value| match value {
            Some(value) => rule(value).map(Some).ok_or_else(out_of_range),
            None => Ok(None),
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(justified))
}

const DAY: i64 = 86_400_000_000_000;

/// 27 hours are a day and three hours.
fn hours(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = i64::from(value.days) + value.nanoseconds / DAY;
    let mut nanos = value.nanoseconds % DAY;
    if days > 0 && nanos < 0 {
        (days, nanos) = (days - 1, nanos + DAY);
    } else if days < 0 && nanos > 0 {
        (days, nanos) = (days + 1, nanos - DAY);
    }
    let days = i32::try_from(days).ok()?;
    Some(IntervalMonthDayNanoType::make_value(value.months, days, nanos))
}

/// 35 days are a month and five days.
fn days(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut months = i64::from(value.months) + i64::from(value.days / 30);
    let mut days = value.days % 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    let months = i32::try_from(months).ok()?;
    Some(IntervalMonthDayNanoType::make_value(months, days, value.nanoseconds))
}

/// Both, with one sign for all parts.
fn everything(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let total = i128::from(value.months) * 30 * i128::from(DAY)
        + i128::from(value.days) * i128::from(DAY)
        + i128::from(value.nanoseconds);
    let month = 30 * i128::from(DAY);
    let rest = total % month;
    Some(IntervalMonthDayNanoType::make_value(
        i32::try_from(total / month).ok()?,
        i32::try_from(rest / i128::from(DAY)).ok()?,
        i64::try_from(rest % i128::from(DAY)).ok()?,
    ))
}

fn make_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("make_timestamp", types, 6, 6)?;
    let mut takes = vec![DataType::Int64; 5];
    takes.push(DataType::Float64);
    Ok(takes)
}

fn make_timestamp(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let part = |index: usize, row: usize| -> Option<u32> {
        args[index].as_primitive::<Int64Type>().value(row).try_into().ok()
    };
    let made: TimestampMicrosecondArray = (0..args[0].len())
        .map(|row| {
            if args.iter().any(|arg| arg.is_null(row)) {
                return Ok(None);
            }
            let seconds = args[5].as_primitive::<Float64Type>().value(row);
            let time = (|| {
                let year = i32::try_from(part(0, row)?).ok()?;
                let date = NaiveDate::from_ymd_opt(year, part(1, row)?, part(2, row)?)?;
                let minute = date.and_hms_opt(part(3, row)?, part(4, row)?, 0)?;
                if !(0.0..=60.0).contains(&seconds) {
                    return None;
                }
                minute.checked_add_signed(TimeDelta::microseconds((seconds * 1e6).round() as i64))
            })();
            time.map(|time| Some(time.and_utc().timestamp_micros()))
                .ok_or_else(|| bad_value("date/time field value out of range"))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(made))
}

static TIMES: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(times()));

/// An interval times a number.
pub(crate) fn multiplied(span: Expr, factor: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(TIMES.clone(), vec![span, factor]))
}

fn times() -> ScalarUDF {
    Simple::function(
        "tidemill_interval_times",
        |types| {
            arity("*", types, 2, 2)?;
            Ok(vec![types[0].clone(), DataType::Float64])
        },
        |_, _| Ok(INTERVAL),
        |args, _| {
            let spans = spans(&args[0])?;
            let factors = args[1].as_primitive::<Float64Type>();
            let product: IntervalMonthDayNanoArray = spans
                .iter()
                .zip(factors)
                .map(|pair| match pair {
                    (Some(span), Some(factor)) => {
                        interval::scaled(span, factor).map(Some).ok_or_else(out_of_range)
                    }
                    _ => Ok(None),
                })
                .collect::<Result<_>>()?;
            Ok(Arc::new(product) as ArrayRef)
        },
    )
}

static PLACE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(place()));

/// What stands for an interval when it is compared.
pub(crate) fn placed(span: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(PLACE.clone(), vec![span]))
}

fn place() -> ScalarUDF {
    Simple::function(
        "tidemill_interval_place",
        |types| {
            arity("interval", types, 1, 1)?;
            Ok(types.to_vec())
        },
        |_, _| Ok(DataType::Int64),
        |args, _| {
            let places: Int64Array = spans(&args[0])?
                .iter()
                .map(|value| match value {
                    Some(value) => interval::position(value).map(Some).ok_or_else(out_of_range),
                    None => Ok(None),
                })
                .collect::<Result<_>>()?;
            Ok(Arc::new(places) as ArrayRef)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: IntervalMonthDayNano) -> String {
        let mut out = String::new();
        interval::write(value, &mut out);
        out
    }

    // Expected values are those of PostgreSQL 15.
    #[test]
    fn ages() {
        let at = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        for (later, earlier, expected) in [
            ("2001-04-10 00:00", "1957-06-13 00:00", "43 years 9 mons 27 days"),
            ("2024-03-31 00:00", "2024-02-29 00:00", "1 mon 2 days"),
            ("2024-03-01 00:00", "2024-01-31 00:00", "1 mon 1 day"),
            ("2024-01-01 10:00", "2024-01-02 12:00", "-1 days -02:00:00"),
            ("2024-01-01 00:00", "2024-01-01 00:00", "00:00:00"),
        ] {
            assert_eq!(written(between(at(later), at(earlier)).unwrap()), expected, "{later}");
        }
    }

    #[test]
    fn justified() {
        let read = |text: &str| interval::read(text).unwrap();
        assert_eq!(written(hours(read("27 hours")).unwrap()), "1 day 03:00:00");
        assert_eq!(written(days(read("35 days")).unwrap()), "1 mon 5 days");
        assert_eq!(written(everything(read("1 mon -1 hour")).unwrap()), "29 days 23:00:00");
    }
}
