//! `sequence(a, b, step)` of Spark and `generate_date_array` of BigQuery: numbers, dates or moments. Each is
//! so many steps from the first, so that months from the last of January are the ends of months.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Builder, Int64Builder, ListBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Field, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Months};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Call, Simple, bad_value, usage};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
/// More items are a mistake.
const MOST: i64 = 10_000_000;
const DAY: i64 = 86_400_000_000;

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![Simple::function("tidemill_sequence", takes, gives, sequence)]
}

fn takes(types: &[DataType]) -> Result<Vec<DataType>> {
    let ([from, to] | [from, to, _]) = types else {
        return usage("`sequence` takes the first value, the last one, and a step");
    };
    let zone = |one: &DataType| match one {
        DataType::Timestamp(_, zone) => Some(zone.clone()),
        _ => None,
    };
    let whole = |one: &DataType| one.is_integer() || one.is_null();
    let (kind, step) = match zone(from).or_else(|| zone(to)) {
        Some(zone) => (DataType::Timestamp(TimeUnit::Microsecond, zone), INTERVAL),
        None if whole(from) && whole(to) => (DataType::Int64, DataType::Int64),
        None if [from, to].iter().any(|one| matches!(one, DataType::Date32 | DataType::Date64)) => {
            (DataType::Date32, INTERVAL)
        }
        None => return usage("`sequence` takes whole numbers, dates or timestamps"),
    };
    let mut all = vec![kind.clone(), kind];
    if types.len() == 3 {
        all.push(step);
    }
    Ok(all)
}

fn gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(types[0].clone(), true))))
}

fn too_many() -> datafusion::common::DataFusionError {
    bad_value(format!("a sequence of more than {MOST} values"))
}

/// All values from the first to the last one, each so many steps away.
fn walked(
    from: i64,
    to: i64,
    rising: bool,
    at: impl Fn(i64) -> Option<i64>,
    mut push: impl FnMut(i64),
) -> Result<()> {
    let mut value = from;
    for place in 1..=MOST {
        if (rising && value > to) || (!rising && value < to) {
            return Ok(());
        }
        push(value);
        let Some(next) = at(place) else { return Ok(()) };
        value = next;
    }
    Err(too_many())
}

fn later(micros: i64, step: IntervalMonthDayNano, times: i64) -> Option<i64> {
    let time = DateTime::from_timestamp_micros(micros)?;
    let months = i64::from(step.months).checked_mul(times)?;
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let time = match months >= 0 {
        true => time.checked_add_months(count)?,
        false => time.checked_sub_months(count)?,
    };
    let days = i64::from(step.days).checked_mul(times)?.checked_mul(DAY)?;
    let rest = (step.nanoseconds / 1_000).checked_mul(times)?;
    time.timestamp_micros().checked_add(days)?.checked_add(rest)
}

fn rises(step: IntervalMonthDayNano) -> Result<bool> {
    let size = i128::from(step.months) * 31 * i128::from(DAY)
        + i128::from(step.days) * i128::from(DAY)
        + i128::from(step.nanoseconds / 1_000);
    if size == 0 {
        return Err(bad_value("the step of a sequence must not be zero"));
    }
    Ok(size > 0)
}

fn sequence(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let DataType::List(field) = call.returns else {
        return usage("`sequence` gives a list");
    };
    let rows = args[0].len();
    let known = |row: usize| args.iter().all(|arg| arg.is_valid(row));
    // A step of one, or of one day, back where the last value is the lower one.
    let step = |row: usize, back: bool| -> Result<(IntervalMonthDayNano, bool)> {
        let step = match args.get(2) {
            Some(steps) => steps.as_primitive::<IntervalMonthDayNanoType>().value(row),
            None => IntervalMonthDayNano::new(0, if back { -1 } else { 1 }, 0),
        };
        Ok((step, rises(step)?))
    };
    Ok(match field.data_type() {
        DataType::Int64 => {
            let (from, to) =
                (args[0].as_primitive::<Int64Type>(), args[1].as_primitive::<Int64Type>());
            let mut out = ListBuilder::new(Int64Builder::new()).with_field(field.clone());
            for row in 0..rows {
                if !known(row) {
                    out.append_null();
                    continue;
                }
                let (from, to) = (from.value(row), to.value(row));
                let step = match args.get(2) {
                    Some(steps) => steps.as_primitive::<Int64Type>().value(row),
                    None => i64::from(from <= to) * 2 - 1,
                };
                if step == 0 {
                    return Err(bad_value("the step of a sequence must not be zero"));
                }
                let at = |place: i64| step.checked_mul(place)?.checked_add(from);
                walked(from, to, step > 0, at, |value| out.values().append_value(value))?;
                out.append(true);
            }
            Arc::new(out.finish())
        }
        DataType::Date32 => {
            let (from, to) =
                (args[0].as_primitive::<Date32Type>(), args[1].as_primitive::<Date32Type>());
            let mut out = ListBuilder::new(Date32Builder::new()).with_field(field.clone());
            for row in 0..rows {
                if !known(row) {
                    out.append_null();
                    continue;
                }
                let (from, to) = (i64::from(from.value(row)), i64::from(to.value(row)));
                let (step, rising) = step(row, from > to)?;
                if step.nanoseconds % 86_400_000_000_000 != 0 {
                    return Err(bad_value("the step of a sequence of dates is made of whole days"));
                }
                let at = |place: i64| {
                    later(from * DAY, step, place).map(|micros| micros.div_euclid(DAY))
                };
                walked(from, to, rising, at, |value| {
                    out.values().append_option(i32::try_from(value).ok());
                })?;
                out.append(true);
            }
            Arc::new(out.finish())
        }
        kind => {
            let column = |place: usize| args[place].as_primitive::<TimestampMicrosecondType>();
            let moments = TimestampMicrosecondBuilder::new().with_data_type(kind.clone());
            let mut out = ListBuilder::new(moments).with_field(field.clone());
            for row in 0..rows {
                if !known(row) {
                    out.append_null();
                    continue;
                }
                let (from, to) = (column(0).value(row), column(1).value(row));
                let (step, rising) = step(row, from > to)?;
                let at = |place: i64| later(from, step, place);
                walked(from, to, rising, at, |value| out.values().append_value(value))?;
                out.append(true);
            }
            Arc::new(out.finish())
        }
    })
}
