//! `to_char` of an interval: its own parts, of which hours may be more than a day has.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, IntervalMonthDayNanoArray, StringViewArray, StringViewBuilder,
};
use datafusion::common::Result;

use super::simple::bad_value;

/// The patterns that are known, the longest first.
const PARTS: [&str; 13] =
    ["HH24", "HH12", "YYYY", "DDD", "HH", "MI", "SS", "MS", "US", "DD", "MM", "YY", "FM"];

/// Intervals by patterns.
pub(super) fn format_intervals(
    spans: &IntervalMonthDayNanoArray,
    patterns: &StringViewArray,
) -> Result<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(spans.len());
    for row in 0..spans.len() {
        if spans.is_null(row) || patterns.is_null(row) {
            out.append_null();
            continue;
        }
        let span = spans.value(row);
        out.append_value(written(span.months, span.days, span.nanoseconds, patterns.value(row))?);
    }
    Ok(Arc::new(out.finish()))
}

fn written(months: i32, days: i32, nanos: i64, pattern: &str) -> Result<String> {
    let micros = nanos / 1_000;
    let seconds = micros / 1_000_000;
    let mut out = String::new();
    let mut rest = pattern;
    let mut padded = true;
    while let Some(letter) = rest.chars().next() {
        if letter == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 1);
            out.push_str(&rest[1..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        }
        let upper = rest.get(..4.min(rest.len())).unwrap_or_default().to_ascii_uppercase();
        let Some(part) = PARTS.iter().find(|part| upper.starts_with(**part)) else {
            if letter.is_ascii_alphabetic() {
                return Err(bad_value(format!(
                    "`to_char` of an interval does not know the pattern \"{pattern}\""
                )));
            }
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        rest = &rest[part.len()..];
        let (value, width) = match *part {
            "FM" => {
                padded = false;
                continue;
            }
            "HH24" => (seconds / 3_600, 2),
            "HH12" | "HH" => ((seconds / 3_600 + 11).rem_euclid(12) + 1, 2),
            "MI" => (seconds / 60 % 60, 2),
            "SS" => (seconds % 60, 2),
            "MS" => (micros / 1_000 % 1_000, 3),
            "US" => (micros % 1_000_000, 6),
            "DDD" => (i64::from(months) * 30 + i64::from(days), 3),
            "DD" => (i64::from(days), 2),
            "MM" => (i64::from(months) % 12, 2),
            "YY" => (i64::from(months) / 12 % 100, 2),
            _ => (i64::from(months) / 12, 4),
        };
        let sign = if value < 0 { "-" } else { "" };
        let width = if padded { width } else { 1 };
        padded = true;
        let _ = write!(out, "{sign}{:0width$}", value.abs());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_intervals() {
        let nanos = |hours: i64, minutes: i64, seconds: i64| {
            (hours * 3_600 + minutes * 60 + seconds) * 1_000_000_000
        };
        for (months, days, nanos, pattern, expected) in [
            (0, 1, nanos(2, 3, 4), "HH24:MI:SS", "02:03:04"),
            (0, 0, nanos(26, 5, 0), "HH24:MI", "26:05"),
            (0, 0, nanos(-1, -30, 0), "HH24:MI", "-01:-30"),
            (14, 3, nanos(0, 0, 9), "YYYY MM DD FMSS", "0001 02 03 9"),
            (0, 3, 0, "DD \"days\"", "03 days"),
        ] {
            assert_eq!(written(months, days, nanos, pattern).unwrap(), expected, "{pattern}");
        }
        assert!(written(0, 0, 0, "Day").is_err());
    }
}
