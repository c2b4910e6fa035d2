//! Moments as numbers since 1970, and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::simple::{MICROS, Simple, arity, as_timestamp, bad_value};

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
    ]
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
