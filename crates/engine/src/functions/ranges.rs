//! Ranges of PostgreSQL (`daterange(a, b)`, `int4range`, `numrange`, `tsrange`, …) as the texts that PostgreSQL
//! shows of them: `[2024-01-01,2024-02-01)`.
//!
//! A bound is a number, or a date or time in the form whose order is that of its letters.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, StringViewBuilder};
use arrow::datatypes::DataType;
use chrono::{Days, NaiveDate};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Simple, arity, bad_value, gives_text, text, text_at};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let texts = |types: &[DataType]| Ok(vec![DataType::Utf8View; types.len()]);
    let two = |types: &[DataType]| {
        arity("this operator", types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    };
    let truth =
        |_: &[DataType], _: &[Option<&datafusion::common::ScalarValue>]| Ok(DataType::Boolean);
    vec![
        Simple::function("tidemill_range", texts, gives_text, |args, _| made(args)),
        Simple::function("tidemill_range_read", two, gives_text, |args, _| read(args)),
        Simple::function("tidemill_range_has", two, truth, |args, _| {
            asked(args, |range, value| Ok(Range::parse(range)?.has(value)))
        }),
        Simple::function("tidemill_range_covers", two, truth, |args, _| {
            asked(args, |one, two| Ok(Range::parse(one)?.covers(&Range::parse(two)?)))
        }),
        Simple::function("tidemill_range_overlaps", two, truth, |args, _| {
            asked(args, |one, two| Ok(Range::parse(one)?.overlaps(&Range::parse(two)?)))
        }),
        Simple::function("tidemill_range_bound", two, gives_text, |args, _| {
            let (ranges, sides) = (text(&args[0]), text(&args[1]));
            let mut out = StringViewBuilder::with_capacity(ranges.len());
            for row in 0..ranges.len() {
                let (Some(range), Some(side)) = (text_at(ranges, row), text_at(sides, row)) else {
                    out.append_null();
                    continue;
                };
                out.append_option(match (Range::parse(range)?, side) {
                    (Range::Empty, _) => None,
                    (Range::Of { lower, .. }, "lower") => lower,
                    (Range::Of { upper, .. }, _) => upper,
                });
            }
            Ok(Arc::new(out.finish()))
        }),
        Simple::function("tidemill_range_is", two, truth, |args, _| {
            asked(args, |range, what| {
                Ok(match (Range::parse(range)?, what) {
                    (range, "isempty") => range == Range::Empty,
                    (Range::Empty, _) => false,
                    (Range::Of { lower_in, .. }, "lower_inc") => lower_in,
                    (Range::Of { upper_in, .. }, "upper_inc") => upper_in,
                    (Range::Of { lower, .. }, "lower_inf") => lower.is_none(),
                    (Range::Of { upper, .. }, _) => upper.is_none(),
                })
            })
        }),
    ]
}

/// A range; a bound that is missing is infinite.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Empty,
    Of { lower: Option<String>, lower_in: bool, upper: Option<String>, upper_in: bool },
}

impl Range {
    /// The range of these bounds, in the one form that PostgreSQL has for it.
    fn new(kind: &str, lower: Option<&str>, upper: Option<&str>, form: &str) -> Result<Self> {
        let (mut lower_in, mut upper_in) = match form {
            "[)" => (true, false),
            "[]" => (true, true),
            "(]" => (false, true),
            "()" => (false, false),
            _ => return Err(bad_value("invalid range bound flags: one of `[]`, `[)`, `(]`, `()`")),
        };
        // A numeric has zeros at its end that nobody wrote.
        let shown = |bound: &str| match kind == "num" && bound.contains('.') {
            true => bound.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => bound.to_owned(),
        };
        let (mut lower, mut upper) = (lower.map(shown), upper.map(shown));
        if let (Some(lower), Some(upper)) = (&lower, &upper)
            && order(lower, upper) == Ordering::Greater
        {
            return Err(bad_value(
                "range lower bound must be less than or equal to range upper bound",
            ));
        }
        // Whole numbers and days have a next one.
        if matches!(kind, "int4" | "int8" | "date") {
            if let (Some(bound), false) = (&lower, lower_in) {
                lower = Some(next(kind, bound)?);
                lower_in = true;
            }
            if let (Some(bound), true) = (&upper, upper_in) {
                upper = Some(next(kind, bound)?);
                upper_in = false;
            }
        }
        lower_in &= lower.is_some();
        upper_in &= upper.is_some();
        if let (Some(lower), Some(upper)) = (&lower, &upper) {
            let found = order(lower, upper);
            if found == Ordering::Greater || found == Ordering::Equal && !(lower_in && upper_in) {
                return Ok(Range::Empty);
            }
        }
        Ok(Range::Of { lower, lower_in, upper, upper_in })
    }

    /// What [`Range::to_text`] wrote.
    fn parse(text: &str) -> Result<Self> {
        let wrong = || bad_value(format!("malformed range literal: \"{text}\""));
        let written = text.trim();
        if written.eq_ignore_ascii_case("empty") {
            return Ok(Range::Empty);
        }
        let lower_in = match written.chars().next() {
            Some('[') => true,
            Some('(') => false,
            _ => return Err(wrong()),
        };
        let upper_in = match written.chars().next_back() {
            Some(']') => true,
            Some(')') => false,
            _ => return Err(wrong()),
        };
        let within = written.get(1..written.len().saturating_sub(1)).ok_or_else(wrong)?;
        let (lower, upper) = within.split_once(',').ok_or_else(wrong)?;
        if upper.contains(',') {
            return Err(wrong());
        }
        let bound = |written: &str| {
            let bare = written.trim().trim_matches('"');
            (!bare.is_empty()).then(|| bare.to_owned())
        };
        Ok(Range::Of { lower: bound(lower), lower_in, upper: bound(upper), upper_in })
    }

    fn to_text(&self) -> String {
        let Range::Of { lower, lower_in, upper, upper_in } = self else {
            return "empty".to_owned();
        };
        let bound = |bound: &Option<String>| match bound {
            Some(bound) if bound.contains(' ') => format!("\"{bound}\""),
            Some(bound) => bound.clone(),
            None => String::new(),
        };
        let (open, close) = (if *lower_in { '[' } else { '(' }, if *upper_in { ']' } else { ')' });
        format!("{open}{},{}{close}", bound(lower), bound(upper))
    }

    fn has(&self, value: &str) -> bool {
        let Range::Of { lower, lower_in, upper, upper_in } = self else { return false };
        let after = lower.as_ref().is_none_or(|bound| match order(bound, value) {
            Ordering::Less => true,
            Ordering::Equal => *lower_in,
            Ordering::Greater => false,
        });
        let before = upper.as_ref().is_none_or(|bound| match order(value, bound) {
            Ordering::Less => true,
            Ordering::Equal => *upper_in,
            Ordering::Greater => false,
        });
        after && before
    }

    fn covers(&self, other: &Range) -> bool {
        match (self, other) {
            (_, Range::Empty) => true,
            (Range::Empty, _) => false,
            (
                Range::Of { lower, lower_in, upper, upper_in },
                Range::Of { lower: low, lower_in: low_in, upper: high, upper_in: high_in },
            ) => {
                begins(lower.as_deref(), *lower_in, low.as_deref(), *low_in) != Ordering::Greater
                    && ends(upper.as_deref(), *upper_in, high.as_deref(), *high_in)
                        != Ordering::Less
            }
        }
    }

    fn overlaps(&self, other: &Range) -> bool {
        let (
            Range::Of { lower, lower_in, upper, upper_in },
            Range::Of { lower: low, lower_in: low_in, upper: high, upper_in: high_in },
        ) = (self, other)
        else {
            return false;
        };
        let reaches = |from: &Option<String>, from_in: bool, to: &Option<String>, to_in: bool| {
            let (Some(from), Some(to)) = (from, to) else { return true };
            match order(from, to) {
                Ordering::Less => true,
                Ordering::Equal => from_in && to_in,
                Ordering::Greater => false,
            }
        };
        reaches(lower, *lower_in, high, *high_in) && reaches(low, *low_in, upper, *upper_in)
    }
}

/// Which of two lower bounds is the first.
fn begins(one: Option<&str>, one_in: bool, two: Option<&str>, two_in: bool) -> Ordering {
    match (one, two) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(one), Some(two)) => order(one, two).then(two_in.cmp(&one_in)),
    }
}

/// Which of two upper bounds is the last.
fn ends(one: Option<&str>, one_in: bool, two: Option<&str>, two_in: bool) -> Ordering {
    match (one, two) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
        (Some(one), Some(two)) => order(one, two).then(one_in.cmp(&two_in)),
    }
}

/// The order of two bounds: of numbers by their value, else by letters.
fn order(one: &str, two: &str) -> Ordering {
    let (Some(one_parts), Some(two_parts)) = (digits(one), digits(two)) else {
        return one.cmp(two);
    };
    let magnitude = |a: &(bool, &str, &str), b: &(bool, &str, &str)| {
        let places = |part: &(bool, &str, &str)| part.1.len();
        places(a).cmp(&places(b)).then_with(|| a.1.cmp(b.1)).then_with(|| a.2.cmp(b.2))
    };
    match (one_parts.0, two_parts.0) {
        (false, false) => magnitude(&one_parts, &two_parts),
        (true, true) => magnitude(&two_parts, &one_parts),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// A number: whether it is below zero, its digits before the point and those behind it, without zeros that say
/// nothing.
fn digits(text: &str) -> Option<(bool, &str, &str)> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_number = !whole.is_empty()
        && whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit());
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let negative = negative && !(whole.is_empty() && fraction.is_empty());
    is_number.then_some((negative, whole, fraction))
}

fn next(kind: &str, bound: &str) -> Result<String> {
    let outside = || bad_value(format!("the bound \"{bound}\" of a range is out of range"));
    if kind == "date" {
        let day: NaiveDate = bound.parse().map_err(|_| outside())?;
        return Ok(day.checked_add_days(Days::new(1)).ok_or_else(outside)?.to_string());
    }
    let number: i64 = bound.parse().map_err(|_| outside())?;
    Ok(number.checked_add(1).ok_or_else(outside)?.to_string())
}

/// `kind, lower, upper, form`.
fn made(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [kinds, lower, upper, forms] = [0, 1, 2, 3].map(|place| text(&args[place]));
    let mut out = StringViewBuilder::with_capacity(lower.len());
    for row in 0..lower.len() {
        let (Some(kind), Some(form)) = (text_at(kinds, row), text_at(forms, row)) else {
            return Err(bad_value("range constructor flags argument must not be null"));
        };
        let range = Range::new(kind, text_at(lower, row), text_at(upper, row), form)?;
        out.append_value(range.to_text());
    }
    Ok(Arc::new(out.finish()))
}

/// `kind, text`: a range that is written out.
fn read(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (kinds, texts) = (text(&args[0]), text(&args[1]));
    let mut out = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        let (Some(kind), Some(written)) = (text_at(kinds, row), text_at(texts, row)) else {
            out.append_null();
            continue;
        };
        let range = match Range::parse(written)? {
            Range::Empty => Range::Empty,
            Range::Of { lower, lower_in, upper, upper_in } => {
                let form = match (lower_in, upper_in) {
                    (true, true) => "[]",
                    (true, false) => "[)",
                    (false, true) => "(]",
                    (false, false) => "()",
                };
                Range::new(kind, lower.as_deref(), upper.as_deref(), form)?
            }
        };
        out.append_value(range.to_text());
    }
    Ok(Arc::new(out.finish()))
}

fn asked(args: &[ArrayRef], ask: fn(&str, &str) -> Result<bool>) -> Result<ArrayRef> {
    let (one, two) = (text(&args[0]), text(&args[1]));
    let answers: BooleanArray = (0..one.len())
        .map(|row| match (text_at(one, row), text_at(two, row)) {
            (Some(one), Some(two)) => ask(one, two).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(answers))
}
