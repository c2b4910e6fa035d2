//! Integers without a sign, which DuckDB has: they are wider ones with a sign here, and what does not fit them is
//! told where a value is cast.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Simple, arity, bad_value, text, text_at};

/// `tidemill_unsigned(value, type)` fails for a value that the type does not hold, `tidemill_try_unsigned` is
/// NULL for it.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let takes = |types: &[DataType]| {
        arity("this cast", types, 2, 2)?;
        Ok(vec![types[0].clone(), DataType::Utf8View])
    };
    vec![
        Simple::function(
            "tidemill_unsigned",
            takes,
            |types, _| Ok(types[0].clone()),
            |args, _| within(&args[0], &args[1], false),
        ),
        Simple::function(
            "tidemill_try_unsigned",
            takes,
            |types, _| Ok(types[0].clone()),
            |args, _| within(&args[0], &args[1], true),
        ),
    ]
}

/// The greatest value of a type.
fn greatest(name: &str) -> i128 {
    match name {
        "utinyint" => i128::from(u8::MAX),
        "usmallint" => i128::from(u16::MAX),
        "uinteger" => i128::from(u32::MAX),
        _ => i128::from(u64::MAX),
    }
}

fn within(
    values: &arrow::array::ArrayRef,
    types: &arrow::array::ArrayRef,
    lenient: bool,
) -> Result<arrow::array::ArrayRef> {
    let numbers = cast(values, &DataType::Decimal128(38, 0))?;
    let numbers = numbers.as_primitive::<Decimal128Type>();
    let names = text(types);
    let mut outside = Vec::with_capacity(values.len());
    for row in 0..values.len() {
        let name = text_at(names, row).unwrap_or("ubigint");
        let fits = numbers.is_null(row) || (0..=greatest(name)).contains(&numbers.value(row));
        if !fits && !lenient {
            return Err(bad_value(format!(
                "the value {} is out of range for the type {name}",
                numbers.value(row)
            )));
        }
        outside.push(!fits);
    }
    match outside.contains(&true) {
        true => Ok(nullif(values, &BooleanArray::from(outside))?),
        false => Ok(Arc::clone(values)),
    }
}
