//! The mean of moments, times and spans: `avg` of them (see `exact`). That of dates and timestamps is
//! DuckDB's, where the mean of dates is a timestamp; that of spans is also PostgreSQL's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;

use super::simple::{MICROS, bad_value};

/// The type of the mean, where it is one of these.
pub(super) fn mean_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None) => MICROS,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        _ => return None,
    })
}

/// What is kept of a part of the rows.
pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    let parts = [
        ("months", DataType::Int64),
        ("days", DataType::Int64),
        ("time", DataType::Decimal128(38, 0)),
        ("count", DataType::Int64),
    ];
    parts
        .into_iter()
        .map(|(part, data_type)| {
            Arc::new(Field::new(format_state_name(name, part), data_type, true))
        })
        .collect()
}

/// Sums of months, days and the rest: microseconds, or nanoseconds of spans.
#[derive(Debug)]
pub(super) struct Mean {
    returns: DataType,
    months: i64,
    days: i64,
    time: i128,
    count: i64,
}

impl Mean {
    pub(super) fn new(returns: &DataType) -> Self {
        Mean { returns: returns.clone(), months: 0, days: 0, time: 0, count: 0 }
    }

    fn add(&mut self, values: &ArrayRef, sign: i64) -> Result<()> {
        let values = cast(values, &self.returns)?;
        if matches!(self.returns, DataType::Interval(_)) {
            for span in values.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
                self.months += sign * i64::from(span.months);
                self.days += sign * i64::from(span.days);
                self.time += i128::from(sign) * i128::from(span.nanoseconds);
                self.count += sign;
            }
            return Ok(());
        }
        let values = cast(&values, &DataType::Int64)?;
        for value in values.as_primitive::<Int64Type>().iter().flatten() {
            self.time += i128::from(sign) * i128::from(value);
            self.count += sign;
        }
        Ok(())
    }

    /// The sum by the count; what is left of a month is days, and what is left of a day is time.
    fn span(&self) -> Option<IntervalMonthDayNano> {
        const DAY_SECONDS: f64 = 86_400.0;
        // As exact as a microsecond of a day.
        let rounded = |value: f64| (value * 1e6).round() / 1e6;
        let count = self.count as f64;
        let months = self.months / self.count;
        let mut days = self.days / self.count;
        let left = rounded((self.months as f64 / count - months as f64) * 30.0);
        let part = self.days as f64 / count - days as f64 + left - left.trunc();
        let mut seconds = rounded(part * DAY_SECONDS);
        if seconds.abs() >= DAY_SECONDS {
            days += (seconds / DAY_SECONDS) as i64;
            seconds %= DAY_SECONDS;
        }
        days += left as i64;
        let micros = (self.time as f64 / 1e3 / count + seconds * 1e6).round();
        Some(IntervalMonthDayNano::new(
            i32::try_from(months).ok()?,
            i32::try_from(days).ok()?,
            (micros as i64).checked_mul(1_000)?,
        ))
    }
}

impl Accumulator for Mean {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.returns);
        }
        let too_large = || bad_value("interval out of range: the mean of spans");
        if matches!(self.returns, DataType::Interval(_)) {
            return Ok(ScalarValue::IntervalMonthDayNano(Some(self.span().ok_or_else(too_large)?)));
        }
        let micros = i64::try_from(self.time / i128::from(self.count)).map_err(|_| too_large())?;
        ScalarValue::Int64(Some(micros)).cast_to(&self.returns)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Int64(Some(self.months)),
            ScalarValue::Int64(Some(self.days)),
            ScalarValue::Decimal128(Some(self.time), 38, 0),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let whole = |place: usize| -> i64 {
            states[place].as_primitive::<Int64Type>().iter().flatten().sum()
        };
        self.months += whole(0);
        self.days += whole(1);
        self.time += states[2].as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>();
        self.count += whole(3);
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
