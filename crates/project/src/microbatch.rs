//! Microbatch models: built in pieces of time, each a query of its own.
//!
//! Times are microseconds since 1970 in UTC; a batch is `[from, to)`.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde_json::{Map, Value};

use crate::config::ConfigProblem;

/// What a microbatch model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MicrobatchConfig {
    /// The column of the model's own rows that says which batch they belong to.
    pub event_time: String,
    /// When the first batch begins.
    pub begin: i64,
    /// How long a batch is.
    pub batch_size: BatchSize,
    /// How many batches before the newest one are done again.
    pub lookback: u32,
    /// Whether batches may be worked on side by side; `None`: yes, unless the query reads its own
    /// table.
    pub concurrent: Option<bool>,
}

/// How long a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// A piece of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// Its first moment.
    pub from: i64,
    /// The first moment after it.
    pub to: i64,
}

fn time_of(micros: i64) -> NaiveDateTime {
    DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default().naive_utc()
}

fn micros_of(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

impl BatchSize {
    /// dbt's word.
    pub fn as_str(self) -> &'static str {
        match self {
            BatchSize::Hour => "hour",
            BatchSize::Day => "day",
            BatchSize::Month => "month",
            BatchSize::Year => "year",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [BatchSize::Hour, BatchSize::Day, BatchSize::Month, BatchSize::Year]
            .into_iter()
            .find(|size| size.as_str() == text)
    }

    /// The beginning of the batch that this moment is in.
    pub fn floor(self, micros: i64) -> i64 {
        let time = time_of(micros);
        let date = match self {
            BatchSize::Hour | BatchSize::Day => time.date(),
            BatchSize::Month => time.date().with_day(1).unwrap_or(time.date()),
            BatchSize::Year => NaiveDate::from_ymd_opt(time.year(), 1, 1).unwrap_or(time.date()),
        };
        let hour = if self == BatchSize::Hour { time.hour() } else { 0 };
        micros_of(date.and_hms_opt(hour, 0, 0).unwrap_or(time))
    }

    /// The beginning of the batch so many batches later, or earlier.
    pub fn step(self, micros: i64, batches: i64) -> i64 {
        let start = time_of(self.floor(micros));
        let months = |count: i64| {
            let months = Months::new(u32::try_from(count.unsigned_abs()).unwrap_or(u32::MAX));
            if count < 0 {
                start.checked_sub_months(months)
            } else {
                start.checked_add_months(months)
            }
        };
        let moved = match self {
            BatchSize::Hour => start.checked_add_signed(TimeDelta::hours(batches)),
            BatchSize::Day => start.checked_add_signed(TimeDelta::days(batches)),
            BatchSize::Month => months(batches),
            BatchSize::Year => months(batches.saturating_mul(12)),
        };
        micros_of(moved.unwrap_or(start))
    }

    /// The moment itself where a batch begins there, else the end of its batch.
    pub fn ceiling(self, micros: i64) -> i64 {
        if self.floor(micros) == micros { micros } else { self.step(micros, 1) }
    }

    /// dbt's id of a batch: `20240917`, `20240917T16`.
    pub fn id(self, micros: i64) -> String {
        let format = match self {
            BatchSize::Hour => "%Y%m%dT%H",
            BatchSize::Day => "%Y%m%d",
            BatchSize::Month => "%Y%m",
            BatchSize::Year => "%Y",
        };
        time_of(micros).format(format).to_string()
    }
}

impl MicrobatchConfig {
    /// The batches of a run at `now`. `incremental`: the table is there and is added to. `start` and
    /// `end` are what the user gives for `--event-time-start` and `--event-time-end`.
    pub fn batches(
        &self,
        incremental: bool,
        now: i64,
        start: Option<i64>,
        end: Option<i64>,
    ) -> Vec<Batch> {
        let size = self.batch_size;
        let end = size.ceiling(end.unwrap_or(now));
        let start = match start {
            Some(start) => size.floor(start),
            None if incremental => size.step(end, -i64::from(self.lookback) - 1),
            None => size.floor(self.begin),
        };
        let mut batches = Vec::new();
        let mut from = start;
        while from < end {
            let to = size.step(from, 1);
            if to <= from {
                break;
            }
            batches.push(Batch { from, to });
            from = to;
        }
        batches
    }
}

impl Batch {
    /// Both ends as SQL literals in UTC: `2024-09-17 00:00:00+00:00`.
    pub fn literals(&self) -> [String; 2] {
        [self.from, self.to]
            .map(|micros| format!("{}+00:00", time_of(micros).format("%Y-%m-%d %H:%M:%S")))
    }

    /// Both ends as dbt's artifacts have them: `2024-09-17T00:00:00+00:00`.
    pub fn iso(&self) -> [String; 2] {
        [self.from, self.to]
            .map(|micros| format!("{}+00:00", time_of(micros).format("%Y-%m-%dT%H:%M:%S")))
    }

    /// Reads what [`Batch::iso`] writes.
    pub fn from_iso(from: &str, to: &str) -> Option<Batch> {
        Some(Batch { from: parse_time(from)?, to: parse_time(to)? })
    }
}

/// Reads a time or a date (`2024-09-01`, `2024-09-01 12:00:00`, with or without a zone; UTC without
/// one) as microseconds since 1970.
pub fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Some(time.timestamp_micros());
    }
    for format in
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
    {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(micros_of(time));
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(micros_of(date.and_hms_opt(0, 0, 0)?))
}

/// Reads a microbatch model's configuration; `None` when something is missing or wrong, which the
/// problems tell.
pub(crate) fn read(
    all: &Map<String, Value>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<MicrobatchConfig> {
    let mut wrong = |key: &str, message: String| {
        problems.push(ConfigProblem { key: key.to_owned(), message, hint: None, is_error: true });
    };
    let given = |key: &str| all.get(key).filter(|value| !value.is_null());
    let text = |key: &str| {
        given(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let event_time = text("event_time");
    if event_time.is_none() {
        wrong("incremental_strategy", "a microbatch model needs `event_time`".to_owned());
    }
    let begin = text("begin").map(|text| {
        let read = parse_time(&text);
        if read.is_none() {
            wrong("begin", format!("`begin: {text}` is no date or time"));
        }
        read
    });
    if begin.is_none() {
        wrong("incremental_strategy", "a microbatch model needs `begin`".to_owned());
    }
    let batch_size = text("batch_size").map(|text| {
        let read = BatchSize::parse(&text);
        if read.is_none() {
            wrong("batch_size", format!("`batch_size: {text}` is not hour, day, month or year"));
        }
        read
    });
    if batch_size.is_none() {
        wrong("incremental_strategy", "a microbatch model needs `batch_size`".to_owned());
    }
    let lookback = match given("lookback") {
        None => Some(1),
        Some(value) => {
            let read = value.as_u64().and_then(|lookback| u32::try_from(lookback).ok());
            if read.is_none() {
                wrong("lookback", format!("`lookback` must be a whole number, not `{value}`"));
            }
            read
        }
    };
    Some(MicrobatchConfig {
        event_time: event_time?,
        begin: begin??,
        batch_size: batch_size??,
        lookback: lookback?,
        concurrent: given("concurrent_batches").and_then(Value::as_bool),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse_time(text).unwrap()
    }

    fn shown(batches: &[Batch]) -> Vec<String> {
        batches.iter().map(|batch| batch.iso().join(" ")).collect()
    }

    #[test]
    fn batches_are_those_of_dbt() {
        let config = MicrobatchConfig {
            event_time: "at".to_owned(),
            begin: at("2024-01-30 13:00:00"),
            batch_size: BatchSize::Day,
            lookback: 1,
            concurrent: None,
        };
        let now = at("2024-02-01T10:30:00");
        assert_eq!(
            shown(&config.batches(false, now, None, None)),
            [
                "2024-01-30T00:00:00+00:00 2024-01-31T00:00:00+00:00",
                "2024-01-31T00:00:00+00:00 2024-02-01T00:00:00+00:00",
                "2024-02-01T00:00:00+00:00 2024-02-02T00:00:00+00:00",
            ]
        );
        assert_eq!(
            shown(&config.batches(true, now, None, None)),
            [
                "2024-01-31T00:00:00+00:00 2024-02-01T00:00:00+00:00",
                "2024-02-01T00:00:00+00:00 2024-02-02T00:00:00+00:00",
            ]
        );
        let (start, end) = (Some(at("2023-12-31 07:00:00")), Some(at("2024-01-01")));
        assert_eq!(
            shown(&config.batches(true, now, start, end)),
            ["2023-12-31T00:00:00+00:00 2024-01-01T00:00:00+00:00"]
        );
        let monthly = MicrobatchConfig { batch_size: BatchSize::Month, lookback: 0, ..config };
        assert_eq!(
            shown(&monthly.batches(true, at("2024-03-31"), None, None)),
            ["2024-03-01T00:00:00+00:00 2024-04-01T00:00:00+00:00"]
        );
        assert_eq!(BatchSize::Hour.id(now), "20240201T10");
        assert_eq!(BatchSize::Year.step(now, -2), at("2022-01-01"));
    }
}
