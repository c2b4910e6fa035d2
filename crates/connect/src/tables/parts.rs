//! Parts of a range of a cursor, to be read again.

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Position, ReadPart, ReadRange, Result};

use super::settings::{Lookback, lookback};
use super::{CursorValue, Database, TablePosition};

/// More parts than this are a mistake.
const MOST: i64 = 100_000;

const DAY: i64 = 86_400_000_000;

/// The parts of a range, each with the settings by which its rows alone are read.
pub(super) fn parts<D: Database>(
    database: &D,
    settings: &Value,
    position: &Position,
    range: &ReadRange,
) -> Result<Vec<ReadPart>> {
    let position = TablePosition::parse(Some(position))?;
    let (Some(column), Some(value)) = (&position.column, &position.value) else {
        return Err(Error::new(
            ErrorKind::Config,
            "the table was not loaded by a `cursor` yet, so that there is no range of it",
        ));
    };
    let column = database.quote(column);
    bounds(value, range)?
        .into_iter()
        .map(|(from, to)| {
            let condition = format!(
                "{column} >= {} and {column} < {}",
                database.literal(&from),
                database.literal(&to)
            );
            Ok(ReadPart {
                from: shown(&from),
                to: shown(&to),
                numbers: in_the_table(&from).zip(in_the_table(&to)),
                settings: narrowed(settings, &condition),
            })
        })
        .collect()
}

/// The settings with one condition more.
fn narrowed(settings: &Value, condition: &str) -> Value {
    let mut settings = settings.as_object().cloned().unwrap_or_default();
    settings.remove("lookback");
    let condition = match settings.get("where").and_then(Value::as_str) {
        // What is written may end with a comment.
        Some(written) => format!("({written}\n) and {condition}"),
        None => condition.to_owned(),
    };
    settings.insert("where".to_owned(), condition.into());
    Value::Object(settings)
}

/// The bounds of each part, for a cursor whose largest value is this one.
fn bounds(last: &CursorValue, range: &ReadRange) -> Result<Vec<(CursorValue, CursorValue)>> {
    let like = last;
    let from = parse(like, &range.from, "--from")?;
    // From the largest value on rows come with the loads.
    let to = parse(like, &range.to, "--to")?.min(last.clone());
    if from >= *last {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "the range begins at `{}`, and rows from {} on come with the loads",
                range.from,
                shown(last)
            ),
        ));
    }
    if from >= to {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "the range begins at `{}` and ends before `{}`, which is not behind it",
                range.from, range.to
            ),
        ));
    }
    let Some(written) = &range.step else { return Ok(vec![(from, to)]) };
    let step = step(like, written)?;
    let (Some(first), Some(end_of_range)) = (number(&from), number(&to)) else {
        return Err(Error::new(
            ErrorKind::Config,
            "the cursor is text, which has no steps; leave `--step` out",
        ));
    };
    if end_of_range.saturating_sub(first) / step >= MOST {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "`--step {written}` makes more than {MOST} parts of the range; take larger ones"
            ),
        ));
    }
    let mut parts = Vec::new();
    // Of decimals the end may lie behind the last whole number.
    let end_of_range = end_of_range.max(first + 1);
    let mut begin = first;
    while begin < end_of_range {
        let end = begin.saturating_add(step).min(end_of_range);
        let last = end == end_of_range;
        let end_value = if last { to.clone() } else { with_number(like, end) };
        parts.push((with_number(like, begin), end_value));
        begin = end;
    }
    Ok(parts)
}

/// A bound as people write it.
fn parse(like: &CursorValue, text: &str, flag: &str) -> Result<CursorValue> {
    let text = text.trim();
    let (found, expected) = match like {
        CursorValue::Integer(_) => (text.parse().ok().map(CursorValue::Integer), "a whole number"),
        CursorValue::Decimal(_, scale) => {
            let unit = 10i128.checked_pow(u32::from(scale.unsigned_abs()));
            let number = text.parse::<i64>().ok().zip(unit);
            let found = number.and_then(|(number, unit)| i128::from(number).checked_mul(unit));
            (found.map(|number| CursorValue::Decimal(number, *scale)), "a whole number")
        }
        CursorValue::Date(_) => {
            (Date32Type::parse(text).map(CursorValue::Date), "a date such as 2024-01-31")
        }
        CursorValue::Timestamp(_) => (
            TimestampMicrosecondType::parse(text).map(CursorValue::Timestamp),
            "a date or time such as 2024-01-31 or 2024-01-31T10:00:00",
        ),
        CursorValue::Instant(_) => (
            TimestampMicrosecondType::parse(text).map(CursorValue::Instant),
            "a date or time (in UTC) such as 2024-01-31 or 2024-01-31T10:00:00Z",
        ),
        CursorValue::Text(_) => (Some(CursorValue::Text(text.to_owned())), "text"),
    };
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("`{flag} {text}` is not {expected}, as the values of the cursor are"),
        )
    })
}

/// A step in the unit of [`number`].
fn step(like: &CursorValue, written: &str) -> Result<i64> {
    let found = match (like, lookback(written)) {
        (CursorValue::Date(_), Some(Lookback::Number(days))) => i64::try_from(days).ok(),
        (CursorValue::Date(_), Some(Lookback::Time(time))) => {
            Some(time / DAY).filter(|_| time % DAY == 0)
        }
        (CursorValue::Timestamp(_) | CursorValue::Instant(_), Some(Lookback::Time(time))) => {
            Some(time)
        }
        (CursorValue::Integer(_) | CursorValue::Decimal(..), Some(Lookback::Number(number))) => {
            i64::try_from(number).ok()
        }
        (CursorValue::Text(_), Some(_)) => Some(1),
        _ => None,
    };
    found.filter(|step| *step > 0).ok_or_else(|| {
        let expected = match like {
            CursorValue::Date(_) => "days, such as `7d`",
            CursorValue::Timestamp(_) | CursorValue::Instant(_) => "a time, such as `1d` or `6h`",
            _ => "a whole number",
        };
        Error::new(ErrorKind::Config, format!("`--step {written}` must be {expected}"))
    })
}

/// The value as a number: days, microseconds, or the whole number that it is.
fn number(value: &CursorValue) -> Option<i64> {
    match value {
        CursorValue::Integer(number) => Some(*number),
        CursorValue::Decimal(number, scale) => {
            let unit = 10i128.checked_pow(u32::from(scale.unsigned_abs()))?;
            i64::try_from(number / unit).ok()
        }
        CursorValue::Date(days) => Some(i64::from(*days)),
        CursorValue::Timestamp(micros) | CursorValue::Instant(micros) => Some(*micros),
        CursorValue::Text(_) => None,
    }
}

/// The value as [`ReadPart`] gives it.
fn in_the_table(value: &CursorValue) -> Option<i64> {
    let number = number(value)?;
    match value {
        CursorValue::Date(_) => number.checked_mul(DAY),
        CursorValue::Decimal(..) => None,
        _ => Some(number),
    }
}

fn with_number(like: &CursorValue, number: i64) -> CursorValue {
    match like {
        CursorValue::Decimal(_, scale) => {
            let unit = 10i128.saturating_pow(u32::from(scale.unsigned_abs()));
            CursorValue::Decimal(i128::from(number) * unit, *scale)
        }
        CursorValue::Date(_) => CursorValue::Date(i32::try_from(number).unwrap_or(i32::MAX)),
        CursorValue::Timestamp(_) => CursorValue::Timestamp(number),
        CursorValue::Instant(_) => CursorValue::Instant(number),
        CursorValue::Integer(_) | CursorValue::Text(_) => CursorValue::Integer(number),
    }
}

/// The value as people write it.
fn shown(value: &CursorValue) -> String {
    use arrow::array::{ArrayRef, Date32Array, TimestampMicrosecondArray};
    let column: ArrayRef = match value {
        CursorValue::Date(days) => std::sync::Arc::new(Date32Array::from(vec![*days])),
        CursorValue::Timestamp(micros) | CursorValue::Instant(micros) => {
            std::sync::Arc::new(TimestampMicrosecondArray::from(vec![*micros]))
        }
        CursorValue::Text(text) => return text.clone(),
        number_like => return number(number_like).map_or_else(String::new, |n| n.to_string()),
    };
    tidemill_core::display_value(&column, 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ranges(like: &CursorValue, from: &str, to: &str, step: Option<&str>) -> Result<Vec<String>> {
        let range =
            ReadRange { from: from.to_owned(), to: to.to_owned(), step: step.map(str::to_owned) };
        let parts = bounds(like, &range)?;
        Ok(parts.iter().map(|(from, to)| format!("{}..{}", shown(from), shown(to))).collect())
    }

    #[test]
    fn ranges_are_made_of_steps() {
        let number = CursorValue::Integer(1 << 40);
        assert_eq!(ranges(&number, "1", "10", Some("4")).unwrap(), ["1..5", "5..9", "9..10"]);
        assert_eq!(ranges(&number, "1", "10", None).unwrap(), ["1..10"]);
        // From the largest value on rows come with the loads.
        assert_eq!(
            ranges(&CursorValue::Integer(7), "1", "10", Some("4")).unwrap(),
            ["1..5", "5..7"]
        );
        let date = CursorValue::Date(30_000);
        assert_eq!(
            ranges(&date, "2024-02-28", "2024-03-02", Some("2d")).unwrap(),
            ["2024-02-28..2024-03-01", "2024-03-01..2024-03-02"]
        );
        let time = CursorValue::Instant(i64::MAX);
        assert_eq!(
            ranges(&time, "2024-01-01", "2024-01-02T01:30:00Z", Some("1 day")).unwrap(),
            [
                "2024-01-01 00:00:00..2024-01-02 00:00:00",
                "2024-01-02 00:00:00..2024-01-02 01:30:00"
            ]
        );
        let decimal = CursorValue::Decimal(1_000, 2);
        assert_eq!(ranges(&decimal, "1", "3", Some("1")).unwrap(), ["1..2", "2..3"]);
        let text = CursorValue::Text("z".to_owned());
        assert_eq!(ranges(&text, "a", "b", None).unwrap(), ["a..b"]);
    }

    #[test]
    fn mistakes_are_said() {
        let (number, time) = (CursorValue::Integer(i64::MAX), CursorValue::Timestamp(i64::MAX));
        let (text, date) = (CursorValue::Text("z".to_owned()), CursorValue::Date(30_000));
        for (like, from, to, step, says) in [
            (&number, "x", "2", None, "`--from x` is not a whole number"),
            (&number, "2", "2", None, "not behind it"),
            (&number, "1", "2", Some("1d"), "`--step 1d` must be a whole number"),
            (&number, "1", "2", Some("0"), "must be a whole number"),
            (&number, "0", "9000000000", Some("1"), "more than 100000 parts"),
            (&time, "2024-01-01", "soon", None, "`--to soon` is not a date or time"),
            (&time, "2024-01-01", "2024-01-02", Some("5"), "must be a time"),
            (&text, "a", "b", Some("5"), "has no steps"),
            (&CursorValue::Integer(5), "5", "9", None, "rows from 5 on come with the loads"),
            (&date, "2024-01-01", "2024-01-09", Some("6h"), "must be days"),
        ] {
            let error = ranges(like, from, to, step).unwrap_err();
            assert!(error.message().contains(says), "{error}");
        }
    }

    #[test]
    fn conditions_are_added() {
        let settings = json!({"table": "t", "where": "a = 1 -- one", "lookback": 5});
        assert_eq!(
            narrowed(&settings, "b > 2"),
            json!({"table": "t", "where": "(a = 1 -- one\n) and b > 2"})
        );
    }
}
