//! What stands under `ingest:` of a table that comes from a database.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

/// What is done when changes of a table that is followed are lost (`on_slot_loss`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLoss {
    /// The load fails.
    #[default]
    Fail,
    /// The table is read again as a whole.
    Snapshot,
}

/// Which rows and columns of a database a table is loaded from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableSettings {
    /// The table, with its schema where it has one: `public.orders`. Default: the source table's
    /// name.
    pub table: Option<String>,
    /// Or a query of the database, in its own SQL.
    pub query: Option<String>,
    /// Only these columns.
    pub columns: Option<Vec<String>>,
    /// All columns but these.
    pub exclude: Vec<String>,
    /// A condition in the database's SQL: only rows for which it is true.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// How far behind the largest value of the cursor rows are read again, because transactions that
    /// began earlier may commit later. Needs `mode: merge`, so that none is doubled.
    pub lookback: Option<Lookback>,
    /// How many rows a batch has. Default: by size.
    pub batch_rows: Option<usize>,
}

/// A distance on the axis of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookback {
    /// Of a cursor that is a number (or a date: days).
    Number(u64),
    /// Of a cursor that is a time: microseconds.
    Time(i64),
}

impl<'de> Deserialize<'de> for Lookback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("expected a number or a time such as `15 minutes`");
        match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_u64().map(Lookback::Number).ok_or_else(wrong),
            Value::String(text) => lookback(&text).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

/// `90`, `15 minutes`, `2h`, `1 day`.
pub(super) fn lookback(text: &str) -> Option<Lookback> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let seconds: i64 = match text[digits..].trim() {
        "" => return Some(Lookback::Number(number)),
        "s" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        _ => return None,
    };
    i64::try_from(number).ok()?.checked_mul(seconds)?.checked_mul(1_000_000).map(Lookback::Time)
}

impl TableSettings {
    /// Reads and checks what is written.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub fn parse(written: &Value) -> Result<TableSettings> {
        let settings: TableSettings = serde_json::from_value(written.clone())
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        let both = |one, two| {
            Error::new(ErrorKind::Config, format!("`{one}` and `{two}` exclude each other"))
        };
        if settings.table.is_some() && settings.query.is_some() {
            return Err(both("query", "table"));
        }
        if settings.columns.is_some() && !settings.exclude.is_empty() {
            return Err(both("columns", "exclude"));
        }
        if settings.batch_rows == Some(0) {
            return Err(Error::new(ErrorKind::Config, "`batch_rows` must be at least 1"));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lookbacks_are_numbers_or_times() {
        for (written, expected) in [
            (json!(90), Some(Lookback::Number(90))),
            (json!("90"), Some(Lookback::Number(90))),
            (json!("15 minutes"), Some(Lookback::Time(900_000_000))),
            (json!("2h"), Some(Lookback::Time(7_200_000_000))),
            (json!("soon"), None),
            (json!(-1), None),
            (json!(1.5), None),
        ] {
            let parsed = TableSettings::parse(&json!({ "lookback": written }));
            assert_eq!(parsed.ok().and_then(|settings| settings.lookback), expected, "{written}");
        }
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (written, name) in [
            (json!({"table": "a", "query": "select 1"}), "`query`"),
            (json!({"columns": ["a"], "exclude": ["b"]}), "`columns`"),
            (json!({"batch_rows": 0}), "`batch_rows`"),
            (json!({"tabel": "a"}), "`tabel`"),
        ] {
            let error = TableSettings::parse(&written).unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
    }
}
