//! Functions that DataFusion does not have, or has with another meaning than PostgreSQL's.
//!
//! A file is a family. A function that only another system has keeps that system's meaning; where
//! two disagree, PostgreSQL's holds.

mod alike;
mod array_text;
mod checked;
mod choice;
mod clock;
mod datetime;
mod document;
mod domain;
mod duckdb;
mod edits;
mod either;
mod epochs;
mod exact;
mod folds;
mod foreign;
mod hive;
mod interval;
mod json;
mod json_paths;
mod json_query;
mod lists;
mod maps;
mod maybe;
mod means;
mod mode;
mod numbers;
mod only;
mod part;
mod pattern;
mod percent;
mod postgres;
mod ranges;
mod reading;
mod reduce;
mod rendering;
mod sequence;
mod simple;
mod slices;
mod span_text;
mod spans;
mod text;
mod transform;
mod trunc;
mod unsigned;
mod written;
mod zone;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Functions whose value is the time of the query.
pub(crate) const CLOCK_FUNCTIONS: [&str; 3] = ["now", "localtimestamp", "current_time"];
/// Functions whose value is the date of the query.
pub(crate) const DATE_FUNCTIONS: [&str; 1] = ["current_date"];

/// Rounds a fraction to a whole number of the same type; anything else it leaves alone. Casts to
/// integers call it (see `rewrite`).
pub(crate) const WHOLE: &str = "tidemill_whole";

/// Gives its first argument back; its second is a name that tells two equal expressions apart.
pub(crate) const TYPED: &str = "tidemill_typed";

pub(crate) use array_text::elements as array_elements;
pub(crate) use checked::{checked, type_of_checked};
pub(crate) use choice::is_spared;
pub(crate) use duckdb::{divided, named as duckdb_name};
pub(crate) use hive::{HIVE, values_of};
pub(crate) use interval::read as read_interval;
pub(crate) use json::{JSONB, KNOWN_JSON, PLAIN, joined, known_json};
pub(crate) use maybe::nullable;
pub(crate) use numbers::{divide, multiply};
pub(crate) use only::function as single;
pub(crate) use part::function as date_part;
pub(crate) use postgres::FORMAT;
pub(crate) use reading::{read, reads, refused_cast};
pub(crate) use reduce::function as reduce;
pub(crate) use rendering::{rendered, renders};
pub(crate) use slices::letters;
pub(crate) use spans::{multiplied, placed};
pub(crate) use zone::at_zone as timezone;

/// All scalar functions; they replace those of the same name.
pub(crate) fn scalars() -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    all.extend(alike::functions());
    all.extend(choice::functions());
    all.extend(clock::functions());
    all.extend(datetime::functions());
    all.extend(domain::functions());
    all.extend(duckdb::functions());
    all.extend(edits::functions());
    all.extend(either::functions());
    all.extend(epochs::functions());
    all.extend(folds::functions());
    all.extend(foreign::functions());
    all.extend(json::functions());
    all.extend(json_paths::functions());
    all.extend(json_query::functions());
    all.extend(lists::functions());
    all.extend(maps::functions());
    all.extend(numbers::functions());
    all.extend(percent::functions());
    all.extend(postgres::functions());
    all.extend(ranges::functions());
    all.extend(sequence::functions());
    all.extend(spans::functions());
    all.extend(text::functions());
    all.extend(transform::functions());
    all.extend(unsigned::functions());
    all.extend(written::functions());
    all.extend(zone::functions());
    all.push(hive::function());
    all.push(maybe::function());
    all.push(part::function());
    all.push(slices::function());
    all.push(trunc::function());
    all
}

/// All aggregate functions.
pub(crate) fn aggregates() -> Vec<AggregateUDF> {
    let mut all = exact::functions();
    all.push(mode::function());
    all.push(only::function());
    all
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
