//! How alike two texts are, and texts without accents: functions of DuckDB.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::simple::{Simple, arity, bad_value, each, gives_text, one_text, text, text_at};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    fn two(types: &[DataType]) -> Result<Vec<DataType>> {
        arity("this function", types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    }
    vec![
        Simple::function(
            "damerau_levenshtein",
            two,
            |_, _| Ok(DataType::Int64),
            |args, _| counts(args, |a, b| Ok(strsim::damerau_levenshtein(a, b))),
        ),
        Simple::aliased(
            "hamming",
            &["mismatches"],
            two,
            |_, _| Ok(DataType::Int64),
            |args, _| {
                counts(args, |a, b| {
                    strsim::hamming(a, b)
                        .map_err(|_| bad_value("`hamming` compares texts of one length"))
                })
            },
        ),
        Simple::function(
            "jaro_similarity",
            two,
            |_, _| Ok(DataType::Float64),
            |args, _| shares(args, |a, b| Ok(strsim::jaro(a, b))),
        ),
        Simple::function(
            "jaro_winkler_similarity",
            two,
            |_, _| Ok(DataType::Float64),
            |args, _| shares(args, |a, b| Ok(strsim::jaro_winkler(a, b))),
        ),
        Simple::function(
            "jaccard",
            two,
            |_, _| Ok(DataType::Float64),
            |args, _| shares(args, jaccard),
        ),
        Simple::function("strip_accents", one_text, gives_text, |args, _| {
            each(args, |value| {
                Ok(value.nfd().filter(|letter| !is_combining_mark(*letter)).collect())
            })
        }),
        Simple::function("nfc_normalize", one_text, gives_text, |args, _| {
            each(args, |value| Ok(value.nfc().collect()))
        }),
    ]
}

fn pairs<T>(args: &[ArrayRef], of: impl Fn(&str, &str) -> Result<T>) -> Result<Vec<Option<T>>> {
    let (left, right) = (text(&args[0]), text(&args[1]));
    (0..args[0].len())
        .map(|row| text_at(left, row).zip(text_at(right, row)).map(|(a, b)| of(a, b)).transpose())
        .collect()
}

fn counts(args: &[ArrayRef], of: fn(&str, &str) -> Result<usize>) -> Result<ArrayRef> {
    let counts = pairs(args, |a, b| Ok(of(a, b)? as i64))?;
    Ok(Arc::new(Int64Array::from(counts)))
}

fn shares(args: &[ArrayRef], of: fn(&str, &str) -> Result<f64>) -> Result<ArrayRef> {
    Ok(Arc::new(Float64Array::from(pairs(args, of)?)))
}

/// The share of letters that both have among those that either has.
fn jaccard(a: &str, b: &str) -> Result<f64> {
    if a.is_empty() || b.is_empty() {
        return Err(bad_value("`jaccard` compares texts that are not empty"));
    }
    let (a, b): (HashSet<char>, HashSet<char>) = (a.chars().collect(), b.chars().collect());
    Ok(a.intersection(&b).count() as f64 / a.union(&b).count() as f64)
}
