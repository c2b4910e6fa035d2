//! `--sample`: only rows of a span of time.

use anyhow::{Result, bail};
use chrono::{DateTime, Months, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use tidemill_project::{SampleWindow, SourceFile};

/// Reads `3 days` (until now), or `{start: 2024-01-01, end: 2024-02-01}`.
///
/// # Errors
/// A sentence with both forms.
pub(crate) fn parse(text: &str, now: DateTime<Utc>) -> Result<SampleWindow> {
    let window = if text.contains(':') { span(text) } else { back_from(text, now) };
    match window {
        Some(window) if window.start < window.end => Ok(window),
        Some(_) => bail!("--sample {text}: the start is not before the end"),
        None => bail!(
            "--sample {text}: write a number and a unit (`3 days`; hours, days, months or years), or \
             '{{start: 2024-01-01, end: 2024-02-01}}'"
        ),
    }
}

/// A span in the form that [`parse`] reads.
pub(crate) fn text(window: &SampleWindow) -> String {
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    format!("{{start: '{}', end: '{}'}}", time(window.start), time(window.end))
}

fn back_from(text: &str, end: DateTime<Utc>) -> Option<SampleWindow> {
    let (number, unit) = text.trim().split_once(' ')?;
    let number: u32 = number.parse().ok()?;
    let unit = unit.trim().to_lowercase();
    let start = match unit.trim_end_matches('s') {
        "hour" => end.checked_sub_signed(TimeDelta::try_hours(number.into())?),
        "day" => end.checked_sub_signed(TimeDelta::try_days(number.into())?),
        "month" => end.checked_sub_months(Months::new(number)),
        "year" => end.checked_sub_months(Months::new(number.checked_mul(12)?)),
        _ => None,
    }?;
    Some(SampleWindow { start, end })
}

fn span(text: &str) -> Option<SampleWindow> {
    let file = SourceFile::new("--sample", text);
    let parsed = tidemill_project::yaml::parse(&file);
    let time = |key: &str| time(&parsed.root.get(key)?.scalar_text()?);
    Some(SampleWindow { start: time("start")?, end: time("end")? })
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    for format in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_are_refused() {
        let now = time("2024-03-31 12:00:00").unwrap();
        for (text, start, end) in [
            ("3 days", "2024-03-28 12:00:00", "2024-03-31 12:00:00"),
            ("1 HOUR", "2024-03-31 11:00:00", "2024-03-31 12:00:00"),
            ("1 month", "2024-02-29 12:00:00", "2024-03-31 12:00:00"),
            ("2 years", "2022-03-31 12:00:00", "2024-03-31 12:00:00"),
            ("{start: 2024-01-01, end: '2024-01-02 06:00'}", "2024-01-01", "2024-01-02 06:00:00"),
        ] {
            let window = parse(text, now).unwrap();
            assert_eq!((Some(window.start), Some(window.end)), (time(start), time(end)), "{text}");
            let again = parse(&super::text(&window), now).unwrap();
            assert_eq!((again.start, again.end), (window.start, window.end));
        }
        for text in [
            "3",
            "three days",
            "3 weeks",
            "{start: 2024-01-01}",
            "{start: 2024-02-01, end: 2024-01-01}",
        ] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }
}
