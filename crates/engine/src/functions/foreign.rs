//! What translations from other systems call (see `dialect`): values whose meaning there hangs on
//! their type, such as an array that is a list here or JSON in text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListBuilder, StringViewBuilder,
    UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float32Type, Float64Type, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, Timelike};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use regex::Regex;
use serde_json::Value;

use super::json::{parsed, texts};
use super::simple::{
    Call, MICROS, Simple, arity, bad_value, gives_text, one_text, text, text_at, usage,
};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let texts_type = |_: &[DataType], _: &[Option<&ScalarValue>]| Ok(texts());
    let one = |types: &[DataType]| {
        arity("this function", types, 1, 1)?;
        Ok(vec![as_list_or_text(&types[0])])
    };
    let two_texts = |types: &[DataType]| {
        arity("this function", types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    };
    vec![
        Simple::function("tidemill_item", item_takes, item_gives, item),
        Simple::function("tidemill_size", one, |_, _| Ok(DataType::Int64), size),
        Simple::function("tidemill_items", one, items_gives, items),
        Simple::function("tidemill_keys", one, texts_type, keys),
        Simple::function("tidemill_variant", one_text, gives_text, |args, _| variant(args, false)),
        Simple::function("tidemill_try_variant", one_text, gives_text, |args, _| {
            variant(args, true)
        }),
        Simple::function("tidemill_json_at", two_texts, gives_text, json_at),
        Simple::function("tidemill_all_matches", matches_take, texts_type, all_matches),
        Simple::function(
            "tidemill_truncated",
            |types| Ok(types.to_vec()),
            |types, _| Ok(types[0].clone()),
            truncated,
        ),
        Simple::function(
            "tidemill_months_between",
            |types| {
                arity("months_between", types, 2, 2)?;
                Ok(vec![MICROS; 2])
            },
            |_, _| Ok(DataType::Float64),
            months_between,
        ),
    ]
}

fn as_list_or_text(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(_) => data_type.clone(),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        DataType::Map(..) => data_type.clone(),
        _ => DataType::Utf8View,
    }
}

fn item_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("[…]", types, 2, 2)?;
    let key = match &types[1] {
        key if matches!(types[0], DataType::Map(..)) => key.clone(),
        number if number.is_integer() => DataType::Int64,
        _ => DataType::Utf8View,
    };
    Ok(vec![as_list_or_text(&types[0]), key])
}

fn item_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match as_list_or_text(&types[0]) {
        DataType::List(item) => item.data_type().clone(),
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) => fields[1].data_type().clone(),
            _ => return usage("a map is wanted"),
        },
        _ => DataType::Utf8View,
    })
}

/// An item of an array, counted from 0, or what stands under a key of a map or a JSON object.
fn item(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    if args[0].as_map_opt().is_some() {
        return super::maps::value_under(&args[0], &args[1]);
    }
    if let Some(lists) = args[0].as_list_opt::<i32>() {
        let DataType::Int64 = args[1].data_type() else {
            return usage("an item of an array is named by its number");
        };
        let places = args[1].as_primitive::<arrow::datatypes::Int64Type>();
        let taken: UInt32Array = (0..lists.len())
            .map(|row| {
                if lists.is_null(row) || places.is_null(row) {
                    return None;
                }
                let place = i32::try_from(places.value(row)).ok()?;
                let inside = (0..lists.value_length(row)).contains(&place);
                inside.then(|| u32::try_from(lists.value_offsets()[row] + place).ok()).flatten()
            })
            .collect();
        return Ok(take(lists.values(), &taken, None)?);
    }
    let documents = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let Some(document) = text_at(documents, row) else {
            out.append_null();
            continue;
        };
        let value = parsed(document)?;
        let found = match (&value, args[1].data_type()) {
            (_, _) if args[1].is_null(row) => None,
            (Value::Array(items), DataType::Int64) => {
                let place = args[1].as_primitive::<arrow::datatypes::Int64Type>().value(row);
                usize::try_from(place).ok().and_then(|place| items.get(place))
            }
            (Value::Object(map), DataType::Utf8View) => map.get(text(&args[1]).value(row)),
            _ => None,
        };
        out.append_option(found.and_then(plain));
    }
    Ok(Arc::new(out.finish()))
}

/// A scalar without quotes; JSON null is NULL.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn size(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let sizes: Int64Array = match args[0].as_list_opt::<i32>() {
        Some(lists) => (0..lists.len())
            .map(|row| lists.is_valid(row).then(|| i64::from(lists.value_length(row))))
            .collect(),
        None if let Some(maps) = args[0].as_map_opt() => (0..maps.len())
            .map(|row| maps.is_valid(row).then(|| i64::from(maps.value_length(row))))
            .collect(),
        None => {
            let documents = text(&args[0]);
            (0..documents.len())
                .map(|row| {
                    let Some(document) = text_at(documents, row) else { return Ok(None) };
                    Ok(match parsed(document)? {
                        Value::Array(items) => i64::try_from(items.len()).ok(),
                        _ => None,
                    })
                })
                .collect::<Result<_>>()?
        }
    };
    Ok(Arc::new(sizes))
}

fn items_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match as_list_or_text(&types[0]) {
        list @ DataType::List(_) => list,
        DataType::Map(..) => return usage("a map has keys and values: name both"),
        _ => texts(),
    })
}

/// The items of an array, or of a JSON array or object in text.
fn items(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    if matches!(args[0].data_type(), DataType::List(_)) {
        return Ok(args[0].clone());
    }
    collected(&args[0], |value| match value {
        Value::Array(items) => Some(items.iter().map(plain).collect()),
        Value::Object(map) => Some(map.values().map(plain).collect()),
        _ => None,
    })
}

/// The keys of a JSON object; an array has a NULL for each item.
fn keys(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    if let Some(lists) = args[0].as_list_opt::<i32>() {
        let values = new_null_array(&DataType::Utf8View, lists.values().len());
        let field = Arc::new(Field::new_list_field(DataType::Utf8View, true));
        return Ok(Arc::new(arrow::array::ListArray::try_new(
            field,
            lists.offsets().clone(),
            values,
            lists.nulls().cloned(),
        )?));
    }
    collected(&args[0], |value| match value {
        Value::Array(items) => Some(vec![None; items.len()]),
        Value::Object(map) => Some(map.keys().map(|key| Some(key.clone())).collect()),
        _ => None,
    })
}

fn collected(
    documents: &ArrayRef,
    of: impl Fn(&Value) -> Option<Vec<Option<String>>>,
) -> Result<ArrayRef> {
    let documents = text(documents);
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    for row in 0..documents.len() {
        let found = match text_at(documents, row) {
            Some(document) => of(&parsed(document)?),
            None => None,
        };
        match found {
            Some(items) => {
                items.into_iter().for_each(|item| out.values().append_option(item));
                out.append(true);
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Snowflake's `parse_json`: a scalar is its text here.
fn variant(args: &[ArrayRef], lenient: bool) -> Result<ArrayRef> {
    let documents = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let value = match text_at(documents, row) {
            Some(document) => match parsed(document) {
                Ok(value) => plain(&value),
                Err(_) if lenient => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        out.append_option(value);
    }
    Ok(Arc::new(out.finish()))
}

/// BigQuery's `json_extract`: JSON text at a path `$.a.b[0]`.
fn json_at(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (documents, paths) = (text(&args[0]), text(&args[1]));
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let found = (|| {
            let mut value: Value = serde_json::from_str(text_at(documents, row)?).ok()?;
            let path = text_at(paths, row)?;
            for key in path
                .strip_prefix('$')
                .unwrap_or(path)
                .split(['.', '[', ']'])
                .map(|key| key.trim_matches(['\'', '"']))
                .filter(|key| !key.is_empty())
            {
                value = match value {
                    Value::Object(mut map) => map.remove(key)?,
                    Value::Array(mut items) => {
                        let place: usize = key.parse().ok()?;
                        (place < items.len()).then(|| items.swap_remove(place))?
                    }
                    _ => return None,
                };
            }
            Some(value.to_string())
        })();
        out.append_option(found);
    }
    Ok(Arc::new(out.finish()))
}

/// A text, a pattern, and which of its groups is wanted.
fn matches_take(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("regexp_extract_all", types, 2, 3)?;
    let mut taken = vec![DataType::Utf8View; 2];
    taken.extend(types.get(2).map(|_| DataType::Int64));
    Ok(taken)
}

/// What the expression found, all of it: the first group where there is one and none is named.
fn all_matches(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (values, patterns) = (text(&args[0]), text(&args[1]));
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    let mut known: Option<(String, Regex)> = None;
    for row in 0..values.len() {
        let (Some(value), Some(pattern)) = (text_at(values, row), text_at(patterns, row)) else {
            out.append_null();
            continue;
        };
        if known.as_ref().is_none_or(|(known, _)| known != pattern) {
            let regex = Regex::new(pattern)
                .map_err(|error| bad_value(format!("wrong regular expression: {error}")))?;
            known = Some((pattern.to_owned(), regex));
        }
        if let Some((_, regex)) = &known {
            for found in regex.captures_iter(value) {
                let group = match args.get(2) {
                    Some(groups) if groups.is_null(row) => continue,
                    Some(groups) => {
                        let group = groups.as_primitive::<arrow::datatypes::Int64Type>().value(row);
                        usize::try_from(group).unwrap_or(usize::MAX)
                    }
                    None => usize::from(found.len() > 1),
                };
                out.values().append_option(found.get(group).map(|part| part.as_str()));
            }
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// A fraction is cut off, as Spark's casts to integers do.
fn truncated(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let array = &args[0];
    Ok(match array.data_type() {
        DataType::Float64 => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::trunc))
        }
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::trunc))
        }
        DataType::Decimal128(_, scale) if *scale > 0 => {
            let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let cut = array
                .as_primitive::<Decimal128Type>()
                .unary::<_, Decimal128Type>(|value| value - value % unit);
            Arc::new(cut.with_data_type(array.data_type().clone()))
        }
        _ => array.clone(),
    })
}

/// Oracle's rule, which Snowflake, Spark and Redshift follow: whole months where both are the same day
/// of the month or both the last one; else months of 31 days count.
fn months_between(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let column = |index: usize| args[index].as_primitive::<TimestampMicrosecondType>();
    let months: Float64Array = (0..args[0].len())
        .map(|row| {
            if args.iter().any(|arg| arg.is_null(row)) {
                return None;
            }
            let time = |index: usize| {
                DateTime::from_timestamp_micros(column(index).value(row))
                    .map(|time| time.naive_utc())
            };
            let (later, earlier) = (time(0)?, time(1)?);
            let whole = f64::from(
                (later.year() - earlier.year()) * 12 + later.month() as i32
                    - earlier.month() as i32,
            );
            let last = |day: chrono::NaiveDateTime| {
                day.date().succ_opt().is_none_or(|next| next.month() != day.month())
            };
            if later.day() == earlier.day() || (last(later) && last(earlier)) {
                return Some(whole);
            }
            let seconds = |time: chrono::NaiveDateTime| {
                f64::from(time.day()) * 86_400.0 + f64::from(time.num_seconds_from_midnight())
            };
            Some(whole + (seconds(later) - seconds(earlier)) / (31.0 * 86_400.0))
        })
        .collect();
    Ok(Arc::new(months))
}
