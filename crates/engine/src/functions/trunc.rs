//! `date_trunc` in microseconds: DataFusion turns a date into nanoseconds, which end in 2262, and
//! cannot cut a timestamp behind that.

use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Days, NaiveDate, Timelike};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::date_unit;
use super::simple::{arity, as_timestamp, bad_value};

/// The function of this file.
pub(super) fn function() -> ScalarUDF {
    let inner = date_trunc();
    let aliases = inner.aliases().to_vec();
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::new_from_impl(DateTrunc { inner, aliases, signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        arity("date_trunc", types, 2, 2)?;
        let part = match &types[0] {
            DataType::Utf8View => DataType::Utf8View,
            _ => DataType::Utf8,
        };
        let value = match &types[1] {
            time @ (DataType::Time32(_) | DataType::Time64(_)) => time.clone(),
            other => as_timestamp(other),
        };
        Ok(vec![part, value])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[1].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let far = args.args.get(1).cloned();
        let unit = match &args.args[0] {
            ColumnarValue::Scalar(part) => part.try_as_str().flatten().and_then(date_unit),
            ColumnarValue::Array(_) => None,
        };
        // DataFusion's knows neither these units nor moments that are far away.
        let own = matches!(unit, Some("decade" | "century" | "millennium"));
        let failed = match own {
            true => None,
            false => match self.inner.invoke_with_args(args) {
                Ok(value) => return Ok(value),
                Err(error) => Some(error),
            },
        };
        let cut = match (unit, &far) {
            (Some(unit), Some(value)) => cut(unit, value)?,
            _ => None,
        };
        match (cut, failed) {
            (Some(value), _) => Ok(value),
            (None, Some(error)) => Err(error),
            (None, None) => Err(bad_value("`date_trunc` cannot cut a value of this type so")),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }
}

/// Timestamps without a zone, or in UTC, cut to the start of a unit; nothing for other types.
fn cut(unit: &str, value: &ColumnarValue) -> Result<Option<ColumnarValue>> {
    let array = value.to_array(1)?;
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, None) => {}
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone))
            if matches!(&**zone, "UTC" | "+00:00" | "Z") => {}
        _ => return Ok(None),
    }
    let data_type = array.data_type().clone();
    let cut: TimestampMicrosecondArray = array
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .map(|micros| match micros {
            None => Ok(None),
            Some(micros) => match start_of(unit, micros) {
                Some(start) => Ok(Some(start)),
                None => Err(bad_value("a timestamp is out of range")),
            },
        })
        .collect::<Result<_>>()?;
    let cut = cut.with_data_type(data_type);
    Ok(Some(match value {
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&cut, 0)?),
        ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(cut)),
    }))
}

/// The start of the unit that a moment lies in.
fn start_of(unit: &str, micros: i64) -> Option<i64> {
    let time = DateTime::from_timestamp_micros(micros)?.naive_utc();
    let date = time.date();
    // The first year of so many: a century begins with its year 1.
    let first = |years: i32, from: i32| {
        NaiveDate::from_ymd_opt((date.year() - from).div_euclid(years) * years + from, 1, 1)
    };
    let start = match unit {
        "microsecond" => return Some(micros),
        "millisecond" => return Some(micros.div_euclid(1_000) * 1_000),
        "second" => time.with_nanosecond(0)?,
        "minute" => date.and_hms_opt(time.hour(), time.minute(), 0)?,
        "hour" => date.and_hms_opt(time.hour(), 0, 0)?,
        "day" => date.and_hms_opt(0, 0, 0)?,
        "week" => {
            let monday = u64::from(date.weekday().num_days_from_monday());
            date.checked_sub_days(Days::new(monday))?.and_hms_opt(0, 0, 0)?
        }
        "month" => date.with_day(1)?.and_hms_opt(0, 0, 0)?,
        "quarter" => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1)?
            .and_hms_opt(0, 0, 0)?,
        "year" => first(1, 0)?.and_hms_opt(0, 0, 0)?,
        "decade" => first(10, 0)?.and_hms_opt(0, 0, 0)?,
        "century" => first(100, 1)?.and_hms_opt(0, 0, 0)?,
        "millennium" => first(1_000, 1)?.and_hms_opt(0, 0, 0)?,
        _ => return None,
    };
    Some(start.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_cut_to_the_start_of_its_unit() {
        let at = |text: &str| {
            text.parse::<chrono::NaiveDateTime>().unwrap().and_utc().timestamp_micros()
        };
        let moment = at("9999-08-18T14:07:09.123456");
        for (unit, start) in [
            ("second", "9999-08-18T14:07:09"),
            ("minute", "9999-08-18T14:07:00"),
            ("hour", "9999-08-18T14:00:00"),
            ("day", "9999-08-18T00:00:00"),
            ("week", "9999-08-16T00:00:00"),
            ("month", "9999-08-01T00:00:00"),
            ("quarter", "9999-07-01T00:00:00"),
            ("year", "9999-01-01T00:00:00"),
            ("decade", "9990-01-01T00:00:00"),
            ("century", "9901-01-01T00:00:00"),
            ("millennium", "9001-01-01T00:00:00"),
        ] {
            assert_eq!(start_of(unit, moment), Some(at(start)), "{unit}");
        }
        assert_eq!(start_of("century", at("2000-05-05T00:00:00")), Some(at("1901-01-01T00:00:00")));
    }
}
