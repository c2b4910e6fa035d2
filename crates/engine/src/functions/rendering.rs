//! Values as text, the way PostgreSQL writes them: `2024-01-31 10:00:00` (Arrow: `…T10:00:00`), a
//! double without needless digits, `1 day 02:00:00`, `{1,2}`. The analyzer puts this function in
//! the place of casts to text, written or implied (see `meaning`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Float32Type, Float64Type, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::interval;
use super::zone::in_session_zone;

/// Whether values of this type look another way in PostgreSQL than in Arrow.
pub(crate) fn renders(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..)
            | DataType::Float32
            | DataType::Float64
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Time64(_)
            | DataType::Time32(_)
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
    )
}

/// `value` as text of this type.
pub(crate) fn rendered(value: Expr, to: DataType) -> Expr {
    let function = Rendered { to, signature: Signature::any(1, Volatility::Stable) };
    let function = Arc::new(ScalarUDF::new_from_impl(function));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rendered {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Rendered {
    fn name(&self) -> &str {
        "tidemill_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        in_session_zone(&args, |array, zone| Ok(cast(&texts(array, zone)?, &self.to)?))
    }
}

pub(super) fn texts(array: &ArrayRef, zone: Tz) -> Result<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    let writer = Writer::new(array, zone)?;
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        writer.write(row, &mut text)?;
        out.append_value(&text);
    }
    Ok(Arc::new(out.finish()))
}

/// Writes the values of one array.
enum Writer {
    Time(ArrayRef),
    Timestamp(ArrayRef),
    Zoned(ArrayRef, Tz),
    Double(ArrayRef),
    Single(ArrayRef),
    Interval(ArrayRef),
    Duration(ArrayRef),
    List(Vec<Option<Box<Writer>>>, ArrayRef),
    Plain(ArrayRef),
    Boolean(ArrayRef),
}

impl Writer {
    fn new(array: &ArrayRef, zone: Tz) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Timestamp(_, None) => {
                Writer::Timestamp(cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?)
            }
            DataType::Timestamp(_, Some(_)) => {
                let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
                Writer::Zoned(cast(array, &utc)?, zone)
            }
            DataType::Float64 => Writer::Double(array.clone()),
            DataType::Float32 => Writer::Single(array.clone()),
            DataType::Interval(_) => {
                let unit = DataType::Interval(IntervalUnit::MonthDayNano);
                Writer::Interval(cast(array, &unit)?)
            }
            DataType::Duration(_) => {
                Writer::Duration(cast(array, &DataType::Duration(TimeUnit::Microsecond))?)
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                Writer::Time(cast(array, &DataType::Time64(TimeUnit::Microsecond))?)
            }
            DataType::Boolean => Writer::Boolean(array.clone()),
            DataType::List(item) | DataType::FixedSizeList(item, _) | DataType::LargeList(item) => {
                let lists = cast(array, &DataType::List(item.clone()))?;
                let items = lists
                    .as_list::<i32>()
                    .iter()
                    .map(|list| list.map(|list| Writer::new(&list, zone).map(Box::new)).transpose())
                    .collect::<Result<_>>()?;
                Writer::List(items, lists)
            }
            _ => Writer::Plain(cast(array, &DataType::Utf8View)?),
        })
    }

    fn write(&self, row: usize, out: &mut String) -> Result<()> {
        match self {
            Writer::Timestamp(array) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                write_time(local(micros)?, out);
            }
            Writer::Zoned(array, zone) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                let time = zone.from_utc_datetime(&local(micros)?);
                write_time(time.naive_local(), out);
                write_offset(time.offset().fix().local_minus_utc(), out);
            }
            Writer::Double(array) => {
                write_double(array.as_primitive::<Float64Type>().value(row), out)
            }
            Writer::Single(array) => {
                write_single(array.as_primitive::<Float32Type>().value(row), out)
            }
            Writer::Interval(array) => {
                interval::write(array.as_primitive::<IntervalMonthDayNanoType>().value(row), out);
            }
            Writer::Duration(array) => {
                let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
                match interval::of_micros(micros) {
                    Some(value) => interval::write(value, out),
                    None => return exec_err!("an interval is out of range"),
                }
            }
            Writer::Time(array) => {
                let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
                interval::clock(micros.unsigned_abs(), out);
            }
            Writer::Boolean(array) => {
                out.push_str(if array.as_boolean().value(row) { "t" } else { "f" });
            }
            Writer::Plain(array) => out.push_str(array.as_string_view().value(row)),
            Writer::List(items, lists) => {
                out.push('{');
                if let Some(Some(items)) = items.get(row) {
                    let list = lists.as_list::<i32>().value(row);
                    for index in 0..list.len() {
                        if index > 0 {
                            out.push(',');
                        }
                        if list.is_null(index) {
                            out.push_str("NULL");
                            continue;
                        }
                        let mut text = String::new();
                        items.write(index, &mut text)?;
                        let nested = matches!(**items, Writer::List(..));
                        write_item(&text, nested, out);
                    }
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

fn write_item(text: &str, nested: bool, out: &mut String) {
    let special = |letter: char| {
        matches!(letter, '{' | '}' | ',' | '"' | '\\') || letter.is_ascii_whitespace()
    };
    let quoted =
        !nested && (text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special));
    if !quoted {
        out.push_str(text);
        return;
    }
    out.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
}

fn local(micros: i64) -> Result<NaiveDateTime> {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => Ok(time.naive_utc()),
        None => exec_err!("a timestamp is out of range"),
    }
}

fn write_time(time: NaiveDateTime, out: &mut String) {
    // PostgreSQL counts no year 0: 1 BC comes before 1.
    let (year, era) = if time.year() > 0 { (time.year(), "") } else { (1 - time.year(), " BC") };
    out.push_str(&format!(
        "{year:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    ));
    interval::fraction(u64::from(time.nanosecond() / 1_000), out);
    out.push_str(era);
}

fn write_offset(seconds: i32, out: &mut String) {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.unsigned_abs();
    out.push_str(&format!("{sign}{:02}", seconds / 3_600));
    if !seconds.is_multiple_of(3_600) {
        out.push_str(&format!(":{:02}", seconds / 60 % 60));
    }
    if !seconds.is_multiple_of(60) {
        out.push_str(&format!(":{:02}", seconds % 60));
    }
}

fn write_double(value: f64, out: &mut String) {
    write_float(&format!("{value:e}"), value.is_nan(), value.is_infinite(), 15, out);
}

fn write_single(value: f32, out: &mut String) {
    write_float(&format!("{value:e}"), value.is_nan(), value.is_infinite(), 6, out);
}

/// The fewest digits that give the same number; an exponent below -4 and from `most` on.
fn write_float(shortest: &str, nan: bool, infinite: bool, most: i32, out: &mut String) {
    if nan {
        out.push_str("NaN");
        return;
    }
    let (sign, shortest) = match shortest.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", shortest),
    };
    out.push_str(sign);
    if infinite {
        out.push_str("Infinity");
        return;
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..most).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("{mantissa}e{sign}{:02}", exponent.abs()));
        return;
    }
    let digits: String = mantissa.chars().filter(|digit| *digit != '.').collect();
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    match digits.len() > whole {
        true => {
            out.push_str(&digits[..whole]);
            out.push('.');
            out.push_str(&digits[whole..]);
        }
        false => {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', whole - digits.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values are those of PostgreSQL 15.
    #[test]
    fn doubles_are_written_as_postgresql_does() {
        for (value, expected) in [
            (100.0, "100"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-7, "1e-07"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (123_456_789.123, "123456789.123"),
            (-2.5, "-2.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut out = String::new();
            write_double(value, &mut out);
            assert_eq!(out, expected);
        }
        for (value, expected) in [(3e9_f32, "3e+09"), (16_777_216.0, "1.6777216e+07"), (0.1, "0.1")]
        {
            let mut out = String::new();
            write_single(value, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn items_are_quoted_where_they_must_be() {
        for (text, expected) in
            [("a", "a"), ("", "\"\""), ("NULL", "\"NULL\""), ("a b", "\"a b\""), ("\"", "\"\\\"\"")]
        {
            let mut out = String::new();
            write_item(text, false, &mut out);
            assert_eq!(out, expected);
        }
    }
}
