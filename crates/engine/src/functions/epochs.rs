//! Moments as numbers since 1970, and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, StringViewArray, StringViewBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use chrono::DateTime;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::simple::{MICROS, Simple, arity, as_timestamp, bad_value, text, text_at};

/// The functions of this file: of a moment they give a number; `epoch_ms` and `epoch_us` of a number a moment.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let number = |_: &[DataType], _: &[Option<&ScalarValue>]| Ok(DataType::Int64);
    vec![
        Simple::function("epoch_ms", either, other, |args, _| match args[0].data_type() {
            DataType::Int64 => moments(&args[0], 1_000),
            _ => Ok(numbers(&args[0], |micros| Some(micros.div_euclid(1_000)))),
        }),
        Simple::function("epoch_us", either, other, |args, _| match args[0].data_type() {
            DataType::Int64 => moments(&args[0], 1),
            _ => Ok(numbers(&args[0], Some)),
        }),
        Simple::function("epoch_ns", moment, number, |args, _| {
            Ok(numbers(&args[0], |micros| micros.checked_mul(1_000)))
        }),
        Simple::function(
            "tidemill_of_micros",
            |types| {
                arity("make_timestamp", types, 1, 1)?;
                Ok(vec![DataType::Int64])
            },
            |_, _| Ok(MICROS),
            |args, _| moments(&args[0], 1),
        ),
        // As below, and a text stays one.
        Simple::function(
            "tidemill_epoch",
            |types| {
                arity("timestamp", types, 1, 1)?;
                Ok(vec![if types[0].is_numeric() { SECONDS } else { types[0].clone() }])
            },
            moment_or_same,
            |args, _| match args[0].data_type() {
                DataType::Decimal128(..) => parts_of_seconds(args[0].as_primitive(), None),
                _ => Ok(args[0].clone()),
            },
        ),
        Simple::function("tidemill_seconds", counted, moment_or_same, |args, _| {
            match args[0].data_type() {
                DataType::Decimal128(..) => {
                    let digits = args.get(1).map(|digits| digits.as_primitive::<Int64Type>());
                    parts_of_seconds(args[0].as_primitive(), digits)
                }
                DataType::Utf8View => Ok(digits_as_moments(text(&args[0]))),
                _ => Ok(args[0].clone()),
            }
        }),
    ]
}

/// Digits behind the point of a number of seconds.
const SECONDS: DataType = DataType::Decimal128(38, 9);

/// Snowflake's number of seconds since 1970 (or of thousandths, …: `to_timestamp(x, 3)`), a text or a moment.
fn counted(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("to_timestamp", types, 1, 2)?;
    let first = match &types[0] {
        number if number.is_numeric() => SECONDS,
        text if text.is_string() => DataType::Utf8View,
        other => other.clone(),
    };
    Ok(std::iter::once(first).chain(types.get(1).map(|_| DataType::Int64)).collect())
}

fn moment_or_same(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(if types[0] == SECONDS { MICROS } else { types[0].clone() })
}

fn parts_of_seconds(numbers: &Decimal128Array, digits: Option<&Int64Array>) -> Result<ArrayRef> {
    let outside = || bad_value("timestamp out of range");
    let mut moments = Vec::with_capacity(numbers.len());
    for row in 0..numbers.len() {
        if numbers.is_null(row) {
            moments.push(None);
            continue;
        }
        // Nine digits are billionths; six of them are kept.
        let billionths = numbers.value(row);
        let digits = digits.map_or(0, |digits| digits.value(row));
        let digits =
            u32::try_from(digits).ok().filter(|digits| *digits <= 9).ok_or_else(outside)?;
        let micros = billionths.div_euclid(1_000).div_euclid(10_i128.pow(digits));
        moments.push(Some(i64::try_from(micros).map_err(|_| outside())?));
    }
    Ok(Arc::new(TimestampMicrosecondArray::from(moments)))
}

/// A text of digits is a number of seconds, or of thousandths, millionths, … where it is as large as these are today.
fn digits_as_moments(texts: &StringViewArray) -> ArrayRef {
    const YEAR_2969: i128 = 31_536_000_000;
    let shown = |value: &str| {
        let number: i128 = value.trim().parse().ok()?;
        let mut micros = number.checked_mul(1_000_000)?;
        let mut reach = YEAR_2969;
        while number.abs() >= reach && reach < YEAR_2969 * 1_000_000_000 {
            micros = micros.div_euclid(1_000);
            reach *= 1_000;
        }
        let moment = DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)?;
        Some(moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
    };
    let mut out = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        let Some(value) = text_at(texts, row) else {
            out.append_null();
            continue;
        };
        // A year alone is a date.
        let digits = value.trim().len() > 4
            && value.trim().trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
        match digits.then(|| shown(value)).flatten() {
            Some(moment) => out.append_value(moment),
            None => out.append_value(value),
        }
    }
    Arc::new(out.finish())
}

/// A number or a moment.
fn either(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function", types, 1, 1)?;
    Ok(vec![match &types[0] {
        number if number.is_numeric() => DataType::Int64,
        moment => as_timestamp(moment),
    }])
}

/// The other of the two.
fn other(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(if types[0] == DataType::Int64 { MICROS } else { DataType::Int64 })
}

fn moment(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function", types, 1, 1)?;
    Ok(vec![as_timestamp(&types[0])])
}

fn numbers(array: &ArrayRef, each: impl Fn(i64) -> Option<i64>) -> ArrayRef {
    let moments = array.as_primitive::<TimestampMicrosecondType>();
    Arc::new(moments.iter().map(|micros| micros.and_then(&each)).collect::<Int64Array>())
}

fn moments(array: &ArrayRef, micros: i64) -> Result<ArrayRef> {
    let numbers = array.as_primitive::<Int64Type>();
    let moments: Option<Vec<Option<i64>>> = numbers
        .iter()
        .map(|number| match number {
            None => Some(None),
            Some(number) => number.checked_mul(micros).map(Some),
        })
        .collect();
    let moments = moments.ok_or_else(|| bad_value("timestamp out of range"))?;
    Ok(Arc::new(TimestampMicrosecondArray::from(moments)))
}
