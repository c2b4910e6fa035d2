//! `s[2]` and `s[2:4]` of a text: its letters, counted from 1, or from the end where a place is
//! negative (DuckDB).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::simple::{Call, Simple, arity, text, text_at};

/// The letters from one place to another, both included.
pub(crate) fn letters(value: Expr, from: Expr, to: Expr) -> Expr {
    let function = Arc::new(function());
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value, from, to]))
}

/// The function of this file.
pub(super) fn function() -> ScalarUDF {
    Simple::function(
        "tidemill_letters",
        |types| {
            arity("[…]", types, 3, 3)?;
            Ok(vec![DataType::Utf8View, DataType::Int64, DataType::Int64])
        },
        |_, _| Ok(DataType::Utf8View),
        cut_all,
    )
}

fn cut_all(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let values = text(&args[0]);
    let (from, to) = (args[1].as_primitive::<Int64Type>(), args[2].as_primitive::<Int64Type>());
    let mut out = StringViewBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        match text_at(values, row) {
            Some(value) if from.is_valid(row) && to.is_valid(row) => {
                out.append_value(cut(value, from.value(row), to.value(row)));
            }
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn cut(value: &str, from: i64, to: i64) -> &str {
    let length = value.chars().count() as i64;
    let place = |place: i64| if place < 0 { length.saturating_add(place) + 1 } else { place };
    let (from, to) = (place(from).max(1), place(to).min(length));
    if from > to {
        return "";
    }
    let byte = |letters: i64| {
        let letters = usize::try_from(letters).unwrap_or_default();
        value.char_indices().nth(letters).map_or(value.len(), |(byte, _)| byte)
    };
    &value[byte(from - 1)..byte(to)]
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn places_count_from_both_ends() {
        let cases = [
            (1, 3, "häl"),
            (2, -1, "ällo"),
            (-3, -1, "llo"),
            (2, 2, "ä"),
            (9, 9, ""),
            (0, 2, "hä"),
            (-10, 2, "hä"),
            (3, 2, ""),
            (i64::MIN, i64::MAX, "hällo"),
        ];
        for (from, to, wanted) in cases {
            assert_eq!(cut("hällo", from, to), wanted, "[{from}:{to}]");
        }
    }
}
