//! Dates and times: arithmetic by named parts (Snowflake, Redshift, SQL Server, dbt), and
//! conversion by PostgreSQL's patterns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int64Array, StringViewArray, StringViewBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone,
};
use chrono_tz::Tz;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::date_unit;
use super::pattern::{DatePattern, Moment, NumberPattern};
use super::simple::{Call, MICROS, Simple, arity, as_timestamp, bad_value, text, text_at, usage};
use super::zone::{Zone, zone_of};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("dateadd", dateadd_takes, dateadd_gives, dateadd),
        Simple::function("datediff", datediff_takes, |_, _| Ok(DataType::Int64), datediff),
        Simple::function("last_day", last_day_takes, |_, _| Ok(DataType::Date32), last_day),
        Simple::function(
            "add_months",
            add_months_takes,
            |types, _| Ok(types[0].clone()),
            add_months,
        ),
        Simple::function("to_char", to_char_takes, |_, _| Ok(DataType::Utf8View), to_char),
        Simple::function(
            "to_date",
            to_date_takes,
            |_, _| Ok(DataType::Date32),
            |args, _| to_date(args, false),
        ),
        Simple::function("to_timestamp", to_timestamp_takes, to_timestamp_gives, |args, call| {
            to_timestamp(args, call, false)
        }),
        // A text that does not fit its pattern is NULL.
        Simple::function(
            "tidemill_try_date",
            to_date_takes,
            |_, _| Ok(DataType::Date32),
            |args, _| to_date(args, true),
        ),
        Simple::function(
            "tidemill_try_moment",
            to_timestamp_takes,
            to_timestamp_gives,
            |args, call| to_timestamp(args, call, true),
        ),
        Simple::function(
            "dayname",
            day_takes,
            |_, _| Ok(DataType::Utf8View),
            |args, _| named(&args[0], "FMDay"),
        ),
        Simple::function(
            "monthname",
            day_takes,
            |_, _| Ok(DataType::Utf8View),
            |args, _| named(&args[0], "FMMonth"),
        ),
    ]
}

const UTC_MICROS: TimeUnit = TimeUnit::Microsecond;

fn utc() -> DataType {
    DataType::Timestamp(UTC_MICROS, Some("UTC".into()))
}

fn local(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

fn unit(word: &str) -> Result<&'static str> {
    match date_unit(word) {
        Some(unit) => Ok(unit),
        None => usage(format!("`{word}` is not a part of a date; use `day`, `month`, `hour` …")),
    }
}

fn out_of_range() -> datafusion::common::DataFusionError {
    bad_value("a date is out of range")
}

/// Adds whole parts. Months end where the month ends: January 31 plus one month is February 29.
fn add(time: NaiveDateTime, unit: &str, count: i64) -> Option<NaiveDateTime> {
    let months = |count: i64| {
        let step = Months::new(u32::try_from(count.unsigned_abs()).ok()?);
        if count >= 0 { time.checked_add_months(step) } else { time.checked_sub_months(step) }
    };
    let micros =
        |each: i64| time.checked_add_signed(TimeDelta::microseconds(count.checked_mul(each)?));
    match unit {
        "millennium" => months(count.checked_mul(12_000)?),
        "century" => months(count.checked_mul(1_200)?),
        "decade" => months(count.checked_mul(120)?),
        "year" => months(count.checked_mul(12)?),
        "quarter" => months(count.checked_mul(3)?),
        "month" => months(count),
        "week" => micros(7 * 86_400_000_000),
        "day" | "doy" | "dow" => micros(86_400_000_000),
        "hour" => micros(3_600_000_000),
        "minute" => micros(60_000_000),
        "second" => micros(1_000_000),
        "millisecond" => micros(1_000),
        "microsecond" => micros(1),
        _ => None,
    }
}

fn keeps_a_date(unit: &str) -> bool {
    !matches!(unit, "hour" | "minute" | "second" | "millisecond" | "microsecond")
}

fn dateadd_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("dateadd", types, 3, 3)?;
    let value = match &types[2] {
        DataType::Date32 => DataType::Date32,
        other => as_timestamp(other),
    };
    // The part stays as it is written: its value decides the type of the result, so that it must
    // not be hidden in a cast.
    let part = match &types[0] {
        part @ (DataType::Utf8 | DataType::LargeUtf8) => part.clone(),
        _ => DataType::Utf8View,
    };
    Ok(vec![part, DataType::Int64, value])
}

/// A date stays one when whole days are added (Snowflake).
fn dateadd_gives(types: &[DataType], scalars: &[Option<&ScalarValue>]) -> Result<DataType> {
    let whole_days = scalars
        .first()
        .and_then(|scalar| scalar.and_then(|scalar| scalar.try_as_str().flatten()))
        .and_then(date_unit)
        .is_some_and(keeps_a_date);
    Ok(match &types[2] {
        DataType::Date32 if whole_days => DataType::Date32,
        DataType::Date32 => MICROS,
        other => other.clone(),
    })
}

fn dateadd(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let units = cast(&args[0], &DataType::Utf8View)?;
    let units = text(&units);
    let counts = args[1].as_primitive::<Int64Type>();
    let times = cast(&args[2], &as_timestamp(args[2].data_type()))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut last: (String, &'static str) = Default::default();
    let result: TimestampMicrosecondArray = (0..times.len())
        .map(|row| {
            let Some(word) = text_at(units, row) else { return Ok(None) };
            if word != last.0 {
                last = (word.to_owned(), unit(word)?);
            }
            if times.is_null(row) || counts.is_null(row) {
                return Ok(None);
            }
            local(times.value(row))
                .and_then(|time| add(time, last.1, counts.value(row)))
                .map(|time| Some(micros(time)))
                .ok_or_else(out_of_range)
        })
        .collect::<Result<_>>()?;
    Ok(cast(&with_zone(result, call.returns), call.returns)?)
}

/// The array in the zone of this type: the values are UTC either way.
fn with_zone(array: TimestampMicrosecondArray, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Timestamp(_, Some(zone)) => Arc::new(array.with_timezone(zone.clone())),
        _ => Arc::new(array),
    }
}

fn datediff_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("datediff", types, 3, 3)?;
    Ok(vec![DataType::Utf8View, MICROS, MICROS])
}

/// How many borders of the part lie between the two: from 23:59 to 00:01 is one day.
fn datediff(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let units = text(&args[0]);
    let from = args[1].as_primitive::<TimestampMicrosecondType>();
    let to = args[2].as_primitive::<TimestampMicrosecondType>();
    let mut last: (String, &'static str) = Default::default();
    let result: Int64Array = (0..from.len())
        .map(|row| {
            let Some(word) = text_at(units, row) else { return Ok(None) };
            if word != last.0 {
                last = (word.to_owned(), unit(word)?);
            }
            if from.is_null(row) || to.is_null(row) {
                return Ok(None);
            }
            let position = |micros| position(micros, last.1).ok_or_else(out_of_range);
            Ok(Some(position(to.value(row))? - position(from.value(row))?))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(result))
}

/// The number of the part since some fixed time.
fn position(micros: i64, unit: &str) -> Option<i64> {
    let floor = |each: i64| Some(micros.div_euclid(each));
    let year = || local(micros).map(|time| i64::from(time.year()));
    let days = micros.div_euclid(86_400_000_000);
    match unit {
        "millennium" => year().map(|year| (year - 1).div_euclid(1000)),
        "century" => year().map(|year| (year - 1).div_euclid(100)),
        "decade" => year().map(|year| year.div_euclid(10)),
        "year" | "isoyear" => year(),
        "quarter" => {
            local(micros).map(|time| i64::from(time.year()) * 4 + i64::from(time.month0() / 3))
        }
        "month" => local(micros).map(|time| i64::from(time.year()) * 12 + i64::from(time.month0())),
        // Weeks begin on Monday; 1970-01-01 was a Thursday.
        "week" => Some((days + 3).div_euclid(7)),
        "day" | "dow" | "doy" => Some(days),
        "hour" => floor(3_600_000_000),
        "minute" => floor(60_000_000),
        "second" | "epoch" => floor(1_000_000),
        "millisecond" => floor(1_000),
        "microsecond" => Some(micros),
        _ => None,
    }
}

fn last_day_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("last_day", types, 1, 2)?;
    Ok([DataType::Date32, DataType::Utf8View][..types.len()].to_vec())
}

/// The last day of the month, or of another part.
fn last_day(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let dates = args[0].as_primitive::<Date32Type>();
    let units = args.get(1).map(text);
    let result: Date32Array = (0..dates.len())
        .map(|row| {
            if dates.is_null(row) {
                return Ok(None);
            }
            let part = match units.map(|units| text_at(units, row)) {
                Some(Some(word)) => unit(word)?,
                Some(None) => return Ok(None),
                None => "month",
            };
            let date = Date32Type::to_naive_date_opt(dates.value(row)).ok_or_else(out_of_range)?;
            let last = last_of(date, part).ok_or_else(out_of_range)?;
            Ok(Some(Date32Type::from_naive_date(last)))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(result))
}

fn last_of(date: NaiveDate, unit: &str) -> Option<NaiveDate> {
    let end = |year: i32, month: u32| {
        NaiveDate::from_ymd_opt(year, month, 1)?
            .checked_add_months(Months::new(1))?
            .checked_sub_days(Days::new(1))
    };
    match unit {
        "year" => end(date.year(), 12),
        "quarter" => end(date.year(), date.month0() / 3 * 3 + 3),
        "month" => end(date.year(), date.month()),
        "week" => {
            date.checked_add_days(Days::new(u64::from(6 - date.weekday().num_days_from_monday())))
        }
        _ => None,
    }
}

fn add_months_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("add_months", types, 2, 2)?;
    let value = match &types[0] {
        DataType::Date32 => DataType::Date32,
        other => as_timestamp(other),
    };
    Ok(vec![value, DataType::Int64])
}

fn add_months(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let rows = args[0].len();
    let unit: ArrayRef =
        Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n("month", rows)));
    dateadd(&[unit, args[1].clone(), args[0].clone()], call)
}

fn to_char_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("to_char", types, 1, 2)?;
    let value = match &types[0] {
        data_type if data_type.is_integer() => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(..) => DataType::Float64,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => as_timestamp(&types[0]),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            if types.len() == 1 { DataType::Utf8View } else { MICROS }
        }
        other if types.len() == 1 => other.clone(),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        other => {
            return usage(format!(
                "`to_char` formats dates, timestamps and numbers, not {}",
                crate::types::sql_name(other)
            ));
        }
    };
    Ok([value, DataType::Utf8View][..types.len()].to_vec())
}

fn to_char(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let Some(patterns) = args.get(1).map(text) else {
        return Ok(cast(&args[0], &DataType::Utf8View)?);
    };
    match args[0].data_type() {
        DataType::Timestamp(_, zone) => {
            let zone = zone.as_deref().map(zone_of).transpose()?;
            format_times(args[0].as_primitive(), patterns, zone)
        }
        DataType::Interval(_) => {
            super::span_text::format_intervals(args[0].as_primitive(), patterns)
        }
        _ => format_numbers(&args[0], patterns),
    }
}

fn format_times(
    times: &TimestampMicrosecondArray,
    patterns: &StringViewArray,
    zone: Option<Tz>,
) -> Result<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(times.len());
    let mut last: (String, DatePattern) = ("".to_owned(), parse_dates("")?);
    let mut written = String::new();
    for row in 0..times.len() {
        let (Some(pattern), true) = (text_at(patterns, row), times.is_valid(row)) else {
            out.append_null();
            continue;
        };
        if pattern != last.0 {
            last = (pattern.to_owned(), parse_dates(pattern)?);
        }
        let time = local(times.value(row)).ok_or_else(out_of_range)?;
        let moment = match zone {
            None => Moment { local: time, offset: 0, zone: "" },
            Some(zone) => {
                let zoned = zone.from_utc_datetime(&time);
                Moment {
                    local: zoned.naive_local(),
                    offset: zoned.offset().fix().local_minus_utc(),
                    zone: zone.name(),
                }
            }
        };
        written.clear();
        last.1.format(&moment, &mut written);
        out.append_value(&written);
    }
    Ok(Arc::new(out.finish()))
}

fn parse_dates(pattern: &str) -> Result<DatePattern> {
    DatePattern::parse(pattern).map_err(bad_value)
}

fn format_numbers(values: &ArrayRef, patterns: &StringViewArray) -> Result<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut last: Option<(String, NumberPattern)> = None;
    for row in 0..values.len() {
        let (Some(pattern), true) = (text_at(patterns, row), values.is_valid(row)) else {
            out.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(known, _)| known != pattern) {
            let parsed = NumberPattern::parse(pattern).map_err(bad_value)?;
            last = Some((pattern.to_owned(), parsed));
        }
        let Some((_, parsed)) = &last else { continue };
        let decimals = parsed.decimals();
        let digits = match values.data_type() {
            DataType::Int64 => {
                let value = values.as_primitive::<Int64Type>().value(row);
                decimal_digits(i128::from(value), 0, decimals)
            }
            DataType::Decimal128(_, scale) => {
                let value = values.as_primitive::<Decimal128Type>().value(row);
                decimal_digits(value, *scale, decimals)
            }
            _ => format!("{:.*}", decimals, values.as_primitive::<Float64Type>().value(row)),
        };
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(rest) => (rest.bytes().any(|digit| digit.is_ascii_digit() && digit != b'0'), rest),
            None => (false, digits.as_str()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        out.append_value(parsed.format(negative, whole, fraction));
    }
    Ok(Arc::new(out.finish()))
}

/// A decimal with this many digits behind the point, halves rounded away from zero.
fn decimal_digits(value: i128, scale: i8, decimals: usize) -> String {
    let magnitude = value.unsigned_abs();
    let scale = usize::try_from(scale).unwrap_or(0);
    let rounded = if scale > decimals {
        let divisor = 10_u128.pow((scale - decimals) as u32);
        (magnitude + divisor / 2) / divisor
    } else {
        magnitude
    };
    let known = scale.min(decimals);
    let mut digits = format!("{rounded:0width$}", width = known + 1);
    if decimals > 0 {
        digits.insert(digits.len() - known, '.');
        digits.extend(std::iter::repeat_n('0', decimals - known));
    }
    if value < 0 { format!("-{digits}") } else { digits }
}

fn to_date_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("to_date", types, 1, 2)?;
    let value = match (&types[0], types.len()) {
        (DataType::Date32 | DataType::Date64, _) => DataType::Date32,
        (data_type @ DataType::Timestamp(..), _) => as_timestamp(data_type),
        (data_type, _) if data_type.is_integer() => {
            if types.len() == 1 {
                DataType::Int64
            } else {
                DataType::Utf8View
            }
        }
        _ => DataType::Utf8View,
    };
    Ok([value, DataType::Utf8View][..types.len()].to_vec())
}

fn to_date(args: &[ArrayRef], lenient: bool) -> Result<ArrayRef> {
    match (args.get(1), args[0].data_type()) {
        (Some(patterns), DataType::Utf8View) => {
            let read = read_times(text(&args[0]), text(patterns), lenient)?;
            let dates: Date32Array = read
                .into_iter()
                .map(|read| read.map(|(time, _)| Date32Type::from_naive_date(time.date())))
                .collect();
            Ok(Arc::new(dates))
        }
        // Days since 1970, as Snowflake reads small numbers.
        (None, DataType::Int64) => {
            let days = cast(&args[0], &DataType::Int32)?;
            Ok(cast(&days, &DataType::Date32)?)
        }
        _ => cast_strictly(&args[0], &DataType::Date32),
    }
}

fn cast_strictly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(arrow::compute::cast_with_options(array, to, &options)?)
}

type ReadTimes = Vec<Option<(NaiveDateTime, Option<i32>)>>;

/// Reads each text by its pattern; one with `%` is a strftime pattern. `lenient` makes NULL of what does not
/// fit.
fn read_times(
    texts: &StringViewArray,
    patterns: &StringViewArray,
    lenient: bool,
) -> Result<ReadTimes> {
    let mut last: (String, DatePattern) = (String::new(), parse_dates("")?);
    (0..texts.len())
        .map(|row| {
            let (Some(value), Some(pattern)) = (text_at(texts, row), text_at(patterns, row)) else {
                return Ok(None);
            };
            let read = match pattern.contains('%') {
                true => strftime(value, pattern),
                false => {
                    if pattern != last.0 {
                        last = (pattern.to_owned(), parse_dates(pattern)?);
                    }
                    last.1.read(value)
                }
            };
            match read {
                Err(_) if lenient => Ok(None),
                read => read.map(Some).map_err(bad_value),
            }
        })
        .collect()
}

fn strftime(value: &str, pattern: &str) -> Result<(NaiveDateTime, Option<i32>), String> {
    let wrong = || format!("`{value}` does not fit the pattern `{pattern}`");
    if let Ok(zoned) = DateTime::parse_from_str(value, pattern) {
        return Ok((zoned.naive_local(), Some(zoned.offset().local_minus_utc())));
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(value, pattern) {
        return Ok((time, None));
    }
    let date = NaiveDate::parse_from_str(value, pattern).map_err(|_| wrong())?;
    Ok((date.and_hms_opt(0, 0, 0).ok_or_else(wrong)?, None))
}

fn to_timestamp_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("to_timestamp", types, 1, 2)?;
    let value = match &types[0] {
        data_type @ (DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) => {
            as_timestamp(data_type)
        }
        data_type if data_type.is_numeric() => DataType::Float64,
        _ => DataType::Utf8View,
    };
    Ok([value, DataType::Utf8View][..types.len()].to_vec())
}

/// With a pattern or from seconds it has a zone, as in PostgreSQL; from a text alone or a date it
/// has none, as in Snowflake.
fn to_timestamp_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match (&types[0], types.len()) {
        (DataType::Float64, _) | (DataType::Utf8View, 2) => utc(),
        (DataType::Utf8View, _) => MICROS,
        (other, _) => other.clone(),
    })
}

fn to_timestamp(args: &[ArrayRef], call: &Call, lenient: bool) -> Result<ArrayRef> {
    match (args[0].data_type(), args.get(1)) {
        (DataType::Float64, _) => {
            let seconds = args[0].as_primitive::<Float64Type>();
            let times: TimestampMicrosecondArray = seconds
                .iter()
                .map(|seconds| match seconds {
                    Some(seconds) if (seconds * 1e6).abs() < 9.2e18 => {
                        Ok(Some((seconds * 1e6).round() as i64))
                    }
                    Some(_) => Err(out_of_range()),
                    None => Ok(None),
                })
                .collect::<Result<_>>()?;
            Ok(Arc::new(times.with_timezone("UTC")))
        }
        (DataType::Utf8View, Some(patterns)) => {
            let zone = zone_of(call.timezone)?;
            let times: TimestampMicrosecondArray =
                read_times(text(&args[0]), text(patterns), lenient)?
                    .into_iter()
                    .map(|read| match read {
                        Some((time, Some(offset))) => {
                            Ok(Some(micros(time) - i64::from(offset) * 1_000_000))
                        }
                        Some((time, None)) => Zone::Named(zone)
                            .utc(time)
                            .map(|time| Some(micros(time)))
                            .ok_or_else(out_of_range),
                        None => Ok(None),
                    })
                    .collect::<Result<_>>()?;
            Ok(Arc::new(times.with_timezone("UTC")))
        }
        _ => cast_strictly(&args[0], call.returns),
    }
}

fn day_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("dayname", types, 1, 1)?;
    Ok(vec![MICROS])
}

fn named(times: &ArrayRef, pattern: &str) -> Result<ArrayRef> {
    let patterns = StringViewArray::from_iter_values(std::iter::repeat_n(pattern, times.len()));
    format_times(times.as_primitive(), &patterns, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        micros(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap())
    }

    #[test]
    fn differences_count_borders() {
        for (unit, from, to, expected) in [
            ("day", "2024-03-01 23:59:00", "2024-03-02 00:01:00", 1),
            ("month", "2024-01-31 00:00:00", "2024-02-01 00:00:00", 1),
            ("year", "2023-12-31 00:00:00", "2024-01-01 00:00:00", 1),
            ("week", "2024-03-03 00:00:00", "2024-03-04 00:00:00", 1),
            ("week", "2024-03-04 00:00:00", "2024-03-10 00:00:00", 0),
            ("quarter", "2024-03-31 00:00:00", "2024-04-01 00:00:00", 1),
            ("hour", "2024-03-01 10:59:00", "2024-03-01 11:00:00", 1),
            ("day", "1969-12-31 00:00:00", "1970-01-01 00:00:00", 1),
            ("day", "2024-03-02 00:00:00", "2024-03-01 00:00:00", -1),
        ] {
            let difference = position(at(to), unit).unwrap() - position(at(from), unit).unwrap();
            assert_eq!(difference, expected, "{unit} {from} {to}");
        }
    }

    #[test]
    fn decimals_are_rounded_half_away_from_zero() {
        assert_eq!(decimal_digits(12345, 3, 2), "12.35");
        assert_eq!(decimal_digits(-12345, 3, 2), "-12.35");
        assert_eq!(decimal_digits(5, 0, 2), "5.00");
        assert_eq!(decimal_digits(5, 3, 0), "0");
        assert_eq!(decimal_digits(1, 2, 4), "0.0100");
    }
}
