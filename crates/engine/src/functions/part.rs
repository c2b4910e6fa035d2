//! `extract` and `date_part` with the parts that DataFusion lacks, and with seconds that keep their
//! fraction.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, FieldRef, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions::datetime::date_part;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::date_unit;
use super::simple::bad_value;
use super::zone::zone_of;

/// The function of this file.
pub(crate) fn function() -> ScalarUDF {
    let inner = date_part();
    let aliases = inner.aliases().to_vec();
    ScalarUDF::new_from_impl(Part { inner, aliases })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
}

/// What is computed here.
#[derive(Clone, Copy, PartialEq)]
enum Own {
    Second,
    Millisecond,
    Microsecond,
    Decade,
    Century,
    Millennium,
    Julian,
    Zone,
}

fn own(word: &str, data_type: &DataType) -> Option<Own> {
    let lower = word.trim().to_lowercase();
    let timed = matches!(
        data_type,
        DataType::Timestamp(..)
            | DataType::Time64(_)
            | DataType::Time32(_)
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Date32
    );
    let dated = matches!(data_type, DataType::Timestamp(..) | DataType::Date32);
    match date_unit(&lower).unwrap_or(&lower) {
        "second" if timed => Some(Own::Second),
        "millisecond" if timed => Some(Own::Millisecond),
        "microsecond" if timed => Some(Own::Microsecond),
        "decade" if dated => Some(Own::Decade),
        "century" if dated => Some(Own::Century),
        "millennium" if dated => Some(Own::Millennium),
        "julian" if dated => Some(Own::Julian),
        "timezone" if matches!(data_type, DataType::Timestamp(_, Some(_))) => Some(Own::Zone),
        _ => None,
    }
}

impl Own {
    fn data_type(self) -> DataType {
        match self {
            Own::Second => DataType::Decimal128(8, 6),
            Own::Millisecond => DataType::Decimal128(8, 3),
            _ => DataType::Int64,
        }
    }
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let word = args.scalar_arguments.first().and_then(|scalar| scalar.as_ref());
        if let Some(word) = word.and_then(|scalar| scalar.try_as_str().flatten())
            && let Some(field) = args.arg_fields.get(1)
            && let Some(own) = own(word, field.data_type())
        {
            let field = arrow::datatypes::Field::new(self.name(), own.data_type(), true);
            return Ok(Arc::new(field));
        }
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let word = match args.args.first() {
            Some(ColumnarValue::Scalar(scalar)) => scalar.try_as_str().flatten(),
            _ => None,
        };
        let (Some(word), Some(value)) = (word, args.args.get(1)) else {
            return self.inner.invoke_with_args(args);
        };
        let Some(own) = own(word, &value.data_type()) else {
            return self.inner.invoke_with_args(args);
        };
        match value {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(parts(own, array)?)),
            ColumnarValue::Scalar(scalar) => {
                let parts = parts(own, &scalar.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&parts, 0)?))
            }
        }
    }
}

fn parts(own: Own, array: &ArrayRef) -> Result<ArrayRef> {
    if matches!(own, Own::Second | Own::Millisecond | Own::Microsecond) {
        let micros = within_minute(array)?;
        return Ok(match own {
            Own::Microsecond => Arc::new(micros),
            _ => {
                let values: Decimal128Array =
                    micros.iter().map(|micros| micros.map(i128::from)).collect();
                Arc::new(values.with_data_type(own.data_type()))
            }
        });
    }
    if own == Own::Zone {
        return offsets(array);
    }
    let dates = local_dates(array)?;
    let values: Int64Array = dates.iter().map(|date| date.map(|date| own.of(date))).collect();
    Ok(Arc::new(values))
}

impl Own {
    fn of(self, date: NaiveDate) -> i64 {
        // There is no year 0: 1 BC is -1, and the first century has the years 1 to 100.
        let year = i64::from(date.year());
        let group = |each: i64| {
            if year > 0 { (year + each - 1) / each } else { -((each - year) / each) }
        };
        match self {
            Own::Decade => year.div_euclid(10),
            Own::Century => group(100),
            Own::Millennium => group(1_000),
            // Days since November 24, 4714 BC.
            _ => i64::from(date.num_days_from_ce()) + 1_721_425,
        }
    }
}

/// Microseconds since the last full minute.
fn within_minute(array: &ArrayRef) -> Result<Int64Array> {
    const MINUTE: i64 = 60_000_000;
    Ok(match array.data_type() {
        DataType::Date32 => Int64Array::new(vec![0; array.len()].into(), array.nulls().cloned()),
        DataType::Timestamp(_, zone) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            micros.as_primitive::<TimestampMicrosecondType>().unary(|t| t.rem_euclid(MINUTE))
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let micros = cast(array, &DataType::Time64(TimeUnit::Microsecond))?;
            micros.as_primitive::<Time64MicrosecondType>().unary(|t| t % MINUTE)
        }
        DataType::Duration(_) => {
            let micros = cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
            micros.as_primitive::<DurationMicrosecondType>().unary(|t| t % MINUTE)
        }
        DataType::Interval(_) => {
            let spans = cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            spans
                .as_primitive::<IntervalMonthDayNanoType>()
                .unary(|span| span.nanoseconds / 1_000 % MINUTE)
        }
        other => return exec_err!("{other} has no seconds"),
    })
}

fn local_dates(array: &ArrayRef) -> Result<Vec<Option<NaiveDate>>> {
    let dates = cast(array, &DataType::Date32)?;
    let dates = dates.as_primitive::<arrow::datatypes::Date32Type>();
    dates
        .iter()
        .map(|days| match days {
            Some(days) => arrow::datatypes::Date32Type::to_naive_date_opt(days)
                .map(Some)
                .ok_or_else(|| bad_value("a date is out of range")),
            None => Ok(None),
        })
        .collect()
}

/// Seconds that the zone is ahead of UTC.
fn offsets(array: &ArrayRef) -> Result<ArrayRef> {
    let DataType::Timestamp(_, Some(zone)) = array.data_type() else {
        return exec_err!("a timestamp without a zone has no offset");
    };
    let zone = zone_of(zone)?;
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let moments = cast(array, &utc)?;
    let values: Int64Array = moments
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .map(|micros| {
            let time = DateTime::from_timestamp_micros(micros?)?.naive_utc();
            Some(i64::from(zone.offset_from_utc_datetime(&time).fix().local_minus_utc()))
        })
        .collect();
    Ok(Arc::new(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values are those of PostgreSQL 15.
    #[test]
    fn centuries_begin_with_the_year_one() {
        for (year, decade, century, millennium) in [
            (2000, 200, 20, 2),
            (2001, 200, 21, 3),
            (1999, 199, 20, 2),
            (1, 0, 1, 1),
            (0, 0, -1, -1),
        ] {
            let date = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
            assert_eq!(Own::Decade.of(date), decade, "{year}");
            assert_eq!(Own::Century.of(date), century, "{year}");
            assert_eq!(Own::Millennium.of(date), millennium, "{year}");
        }
        assert_eq!(Own::Julian.of(NaiveDate::from_ymd_opt(2024, 5, 5).unwrap()), 2_460_436);
    }
}
