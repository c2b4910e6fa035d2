//! Functions that DataFusion does not have, or has with another meaning than PostgreSQL's.
//!
//! A file is a family. A function that only another system has keeps that system's meaning; where
//! two disagree, PostgreSQL's holds.

mod clock;
mod datetime;
mod numbers;
mod pattern;
mod simple;
mod text;
mod trunc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Functions whose value is the time of the query.
pub(crate) const CLOCK_FUNCTIONS: [&str; 3] = ["now", "localtimestamp", "current_time"];
/// Functions whose value is the date of the query.
pub(crate) const DATE_FUNCTIONS: [&str; 1] = ["current_date"];

/// Rounds a fraction to a whole number of the same type; anything else it leaves alone. Casts to
/// integers call it (see `rewrite`).
pub(crate) const WHOLE: &str = "tidemill_whole";

pub(crate) use numbers::divide;

/// All scalar functions; they replace those of the same name.
pub(crate) fn scalars() -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    all.extend(clock::functions());
    all.extend(datetime::functions());
    all.extend(numbers::functions());
    all.extend(text::functions());
    all.push(trunc::function());
    all
}

/// All aggregate functions.
pub(crate) fn aggregates() -> Vec<AggregateUDF> {
    Vec::new()
}

/// The plain spelling of a date part, in any of the spellings that systems have for it.
pub(crate) fn date_unit(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "year" | "years" | "yyyy" | "yy" | "yr" | "y" => "year",
        "quarter" | "quarters" | "qq" | "qtr" | "q" => "quarter",
        "month" | "months" | "mon" | "mons" | "mm" => "month",
        "week" | "weeks" | "wk" | "ww" | "w" | "isoweek" => "week",
        "day" | "days" | "dd" | "d" => "day",
        "hour" | "hours" | "hh" | "hr" | "h" => "hour",
        "minute" | "minutes" | "mi" | "min" | "n" => "minute",
        "second" | "seconds" | "ss" | "sec" | "s" => "second",
        "millisecond" | "milliseconds" | "ms" | "msec" => "millisecond",
        "microsecond" | "microseconds" | "us" | "usec" | "mcs" => "microsecond",
        "dow" | "dayofweek" | "weekday" | "dw" => "dow",
        "doy" | "dayofyear" | "dy" => "doy",
        "isodow" | "dayofweekiso" => "isodow",
        "epoch" | "epoch_second" => "epoch",
        "decade" | "decades" => "decade",
        "century" | "centuries" => "century",
        "millennium" | "millenniums" => "millennium",
        "isoyear" => "isoyear",
        _ => return None,
    })
}
