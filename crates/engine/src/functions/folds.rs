//! One value out of each list: `list_aggregate([1, 2], 'sum')` and what is short for it.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Call, Simple, arity, bad_value, text, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![Simple::aliased(
        "list_aggregate",
        &["list_aggr", "array_aggregate", "array_aggr"],
        takes,
        gives,
        fold,
    )]
}

fn item_of(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

fn takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("list_aggregate", types, 2, 2)?;
    let Some(item) = item_of(&types[0]) else {
        return usage("`list_aggregate` takes a list and the name of an aggregate function");
    };
    let item = arrow::datatypes::Field::new_list_field(item.clone(), true);
    let name = if types[1].is_string() { types[1].clone() } else { DataType::Utf8 };
    Ok(vec![DataType::List(std::sync::Arc::new(item)), name])
}

fn gives(types: &[DataType], values: &[Option<&ScalarValue>]) -> Result<DataType> {
    let item = item_of(&types[0]).cloned().unwrap_or(DataType::Null);
    let name = match values.get(1) {
        Some(Some(
            ScalarValue::Utf8View(Some(name))
            | ScalarValue::Utf8(Some(name))
            | ScalarValue::LargeUtf8(Some(name)),
        )) => name.to_lowercase(),
        Some(Some(_)) | None => return usage("`list_aggregate` takes the name as a text"),
        Some(None) => return usage("the name in `list_aggregate` has to be written out"),
    };
    Ok(match name.as_str() {
        "min" | "max" | "first" | "last" | "any_value" | "mode" => item,
        "sum" if item.is_integer() => DataType::Int64,
        "sum" if let DataType::Decimal128(_, scale) = item => DataType::Decimal128(38, scale),
        "sum" | "avg" | "mean" | "median" | "product" | "stddev" | "stddev_samp" | "stddev_pop"
        | "variance" | "var_samp" | "var_pop" | "skewness" | "kurtosis" | "kurtosis_pop"
        | "mad" | "entropy" | "sem" => DataType::Float64,
        "count" | "unique" => DataType::Int64,
        "bool_and" | "bool_or" => DataType::Boolean,
        other => return usage(format!("`list_aggregate` does not know `{other}`")),
    })
}

fn fold(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let name = cast(&args[1], &DataType::Utf8View)?;
    let name = text(&name).value(0).to_lowercase();
    let nothing = ScalarValue::try_from(call.returns)?;
    let mut found = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) {
            found.push(nothing.clone());
            continue;
        }
        let items = lists.value(row);
        found.push(one(&items, &name)?.unwrap_or_else(|| nothing.clone()));
    }
    Ok(cast(&ScalarValue::iter_to_array(found)?, call.returns)?)
}

fn one(items: &ArrayRef, name: &str) -> Result<Option<ScalarValue>> {
    let there = || (0..items.len()).filter(|place| items.is_valid(*place));
    let value = |place: usize| ScalarValue::try_from_array(items, place);
    Ok(match name {
        "count" => {
            Some(ScalarValue::Int64(Some(i64::try_from(there().count()).unwrap_or(i64::MAX))))
        }
        "first" | "last" if items.is_empty() => None,
        "first" => Some(value(0)?),
        "last" => Some(value(items.len() - 1)?),
        "any_value" => there().next().map(value).transpose()?,
        "min" | "max" => {
            let mut best: Option<ScalarValue> = None;
            for place in there() {
                let next = value(place)?;
                let order = best.as_ref().and_then(|best| next.partial_cmp(best));
                let better = match order {
                    None => best.is_none(),
                    Some(order) => order.is_lt() == (name == "min") && order.is_ne(),
                };
                if better {
                    best = Some(next);
                }
            }
            best
        }
        "unique" | "mode" | "entropy" => {
            let mut counts: Vec<(ScalarValue, i64)> = Vec::new();
            for place in there() {
                let next = value(place)?;
                match counts.iter_mut().find(|(known, _)| *known == next) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((next, 1)),
                }
            }
            match name {
                "entropy" if counts.is_empty() => Some(ScalarValue::Float64(Some(0.0))),
                "entropy" => {
                    let all: i64 = counts.iter().map(|(_, count)| count).sum();
                    let parts = counts.iter().map(|(_, count)| *count as f64 / all as f64);
                    let entropy = parts.map(|part| -part * part.log2()).sum::<f64>();
                    Some(ScalarValue::Float64(Some(entropy)))
                }
                "unique" => {
                    let count = i64::try_from(counts.len()).unwrap_or(i64::MAX);
                    Some(ScalarValue::Int64(Some(count)))
                }
                // The first of those that are there most often.
                _ => {
                    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(value, _)| value)
                }
            }
        }
        "bool_and" | "bool_or" => {
            let flags = items.as_boolean_opt();
            let Some(flags) = flags else { return usage(format!("`{name}` takes booleans")) };
            let mut all = there().map(|place| flags.value(place));
            match (there().next(), name) {
                (None, _) => None,
                (_, "bool_and") => Some(ScalarValue::Boolean(Some(all.all(|flag| flag)))),
                _ => Some(ScalarValue::Boolean(Some(all.any(|flag| flag)))),
            }
        }
        "sum" if items.data_type().is_integer() => {
            let numbers = cast(items, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>();
            let sum = there().try_fold(0_i64, |sum, place| sum.checked_add(numbers.value(place)));
            let sum = sum.ok_or_else(|| bad_value("bigint out of range: the sum of a list"))?;
            there().next().map(|_| ScalarValue::Int64(Some(sum)))
        }
        "sum" if let DataType::Decimal128(_, scale) = items.data_type() => {
            let numbers = items.as_primitive::<arrow::datatypes::Decimal128Type>();
            let sum = there().try_fold(0_i128, |sum, place| sum.checked_add(numbers.value(place)));
            let sum = sum.filter(|sum| sum.unsigned_abs() < 10_u128.pow(38)).ok_or_else(|| {
                bad_value("numeric out of range: the sum of a list has more than 38 digits")
            })?;
            there().next().map(|_| ScalarValue::Decimal128(Some(sum), 38, *scale))
        }
        _ => {
            let numbers = cast(items, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            let mut numbers: Vec<f64> = there().map(|place| numbers.value(place)).collect();
            number(&mut numbers, name).map(|number| ScalarValue::Float64(Some(number)))
        }
    })
}

/// The middle of numbers, of which there is at least one.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        0 => f64::midpoint(numbers[middle - 1], numbers[middle]),
        _ => numbers[middle],
    }
}

/// How lopsided and how heavy at the ends numbers are; too few, or all the same, have no such figure.
fn moment(numbers: &[f64], mean: f64, squares: f64, name: &str) -> Option<f64> {
    let count = numbers.len() as f64;
    let power = |power: i32| numbers.iter().map(|number| (number - mean).powi(power)).sum::<f64>();
    let spread = squares / count;
    match name {
        "skewness" if count > 2.0 && spread > 0.0 => {
            let skew = power(3) / count / spread.powf(1.5);
            Some((count * (count - 1.0)).sqrt() / (count - 2.0) * skew)
        }
        "kurtosis" if count > 3.0 && spread > 0.0 => {
            let tails = power(4) / count / spread.powi(2);
            let factor = (count - 1.0) / ((count - 2.0) * (count - 3.0));
            Some(factor * ((count + 1.0) * tails - 3.0 * (count - 1.0)))
        }
        "kurtosis_pop" if count > 1.0 && spread > 0.0 => {
            Some(power(4) / count / spread.powi(2) - 3.0)
        }
        _ => None,
    }
}

fn number(numbers: &mut [f64], name: &str) -> Option<f64> {
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().sum();
    let mean = sum / count;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    let sample = (numbers.len() > 1).then(|| squares / (count - 1.0));
    if numbers.is_empty() {
        return None;
    }
    match name {
        "sum" => Some(sum),
        "avg" | "mean" => Some(mean),
        "product" => Some(numbers.iter().product()),
        "median" => Some(median(numbers)),
        // The median of how far the numbers are from their median.
        "mad" => {
            let middle = median(numbers);
            let mut far: Vec<f64> = numbers.iter().map(|number| (number - middle).abs()).collect();
            Some(median(&mut far))
        }
        "sem" => Some((squares / count).sqrt() / count.sqrt()),
        "skewness" | "kurtosis" | "kurtosis_pop" => moment(numbers, mean, squares, name),
        "var_pop" => Some(squares / count),
        "stddev_pop" => Some((squares / count).sqrt()),
        "variance" | "var_samp" => sample,
        "stddev" | "stddev_samp" => sample.map(f64::sqrt),
        _ => None,
    }
}
