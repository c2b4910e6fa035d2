//! Arrays: those that regular expressions give, places, and values sorted after they were collected.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, ListBuilder, StringViewBuilder, UInt32Array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take};
use arrow::datatypes::{DataType, Field, Float64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use regex::{Regex, RegexBuilder};

use super::json::texts;
use super::simple::{Call, MICROS, Simple, arity, bad_value, text, text_at, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("regexp_split_to_array", regexp_takes, |_, _| Ok(texts()), split),
        Simple::function(
            "tidemill_matches",
            regexp_takes,
            |_, _| Ok(DataType::List(Arc::new(Field::new_list_field(texts(), true)))),
            matches,
        ),
        Simple::function("tidemill_places", places_takes, |_, _| Ok(integers()), places),
        Simple::function("tidemill_sorted", sorted_takes, sorted_gives, sorted),
        Simple::function(
            "tidemill_joined",
            |types| {
                arity("string_agg", types, 2, 2)?;
                Ok(vec![texts(), DataType::Utf8View])
            },
            |_, _| Ok(DataType::Utf8View),
            joined,
        ),
        Simple::function("tidemill_share", share_takes, share_gives, share),
        Simple::function(
            "tidemill_moment",
            |types| {
                arity("generate_series", types, 1, 1)?;
                Ok(vec![moment(&types[0])])
            },
            |types, _| Ok(moment(&types[0])),
            |args, _| Ok(args[0].clone()),
        ),
    ]
}

fn moment(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => MICROS,
    }
}

fn integers() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

fn regexp_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function of regular expressions", types, 2, 3)?;
    Ok(vec![DataType::Utf8View; types.len()])
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    RegexBuilder::new(pattern)
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('n') || flags.contains('m'))
        .build()
        .map_err(|error| bad_value(format!("wrong regular expression: {error}")))
}

/// Calls `each` with the expression of each row and its text.
fn by_row(args: &[ArrayRef], mut each: impl FnMut(Option<(&Regex, &str, bool)>)) -> Result<()> {
    let (values, patterns) = (text(&args[0]), text(&args[1]));
    let mut known: Option<(String, String, Regex)> = None;
    for row in 0..values.len() {
        let flags = match args.get(2) {
            Some(flags) => text_at(text(flags), row),
            None => Some(""),
        };
        let (Some(value), Some(pattern), Some(flags)) =
            (text_at(values, row), text_at(patterns, row), flags)
        else {
            each(None);
            continue;
        };
        let same = matches!(&known, Some((p, f, _)) if p == pattern && f == flags);
        if !same {
            known = Some((pattern.to_owned(), flags.to_owned(), compiled(pattern, flags)?));
        }
        if let Some((_, _, regex)) = &known {
            each(Some((regex, value, flags.contains('g'))));
        }
    }
    Ok(())
}

fn split(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    by_row(args, |row| match row {
        None => out.append_null(),
        Some((regex, value, _)) => {
            let mut from = 0;
            for found in regex.find_iter(value) {
                // An empty match at an end splits nothing off.
                if found.is_empty() && (found.start() == 0 || found.end() == value.len()) {
                    continue;
                }
                out.values().append_value(&value[from..found.start()]);
                from = found.end();
            }
            out.values().append_value(&value[from..]);
            out.append(true);
        }
    })?;
    Ok(Arc::new(out.finish()))
}

/// An array of what the groups found for each match: for the first one, or with the flag `g` for all.
fn matches(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let inner = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    let mut out = ListBuilder::new(inner).with_field(Field::new_list_field(texts(), true));
    by_row(args, |row| match row {
        None => out.append_null(),
        Some((regex, value, all)) => {
            let most = if all { usize::MAX } else { 1 };
            for found in regex.captures_iter(value).take(most) {
                let groups = out.values();
                if found.len() == 1 {
                    groups.values().append_value(&found[0]);
                } else {
                    for group in found.iter().skip(1) {
                        groups.values().append_option(group.map(|group| group.as_str()));
                    }
                }
                groups.append(true);
            }
            out.append(true);
        }
    })?;
    Ok(Arc::new(out.finish()))
}

fn places_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    let mut all = types.to_vec();
    if let Some(first) = all.first_mut() {
        *first = DataType::Utf8View;
    }
    Ok(all)
}

/// The places of the longest of these arrays, counted from 1 or from 0.
fn places(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let first = i64::from(args[0].is_empty() || text_at(text(&args[0]), 0) == Some("1"));
    let mut out = ListBuilder::new(arrow::array::Int64Builder::new())
        .with_field(Field::new_list_field(DataType::Int64, true));
    for row in 0..args[0].len() {
        let mut most: Option<i64> = None;
        for list in &args[1..] {
            let length = match list.data_type() {
                DataType::List(_) => {
                    let list = list.as_list::<i32>();
                    list.is_valid(row).then(|| i64::from(list.value_length(row)))
                }
                DataType::LargeList(_) => {
                    let list = list.as_list::<i64>();
                    list.is_valid(row).then(|| list.value_length(row))
                }
                DataType::Null => None,
                _ => return usage("`unnest` takes arrays"),
            };
            most = most.max(length);
        }
        match most {
            Some(most) => {
                for place in first..first + most {
                    out.values().append_value(place);
                }
                out.append(true);
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn sorted_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("an ordered aggregate", types, 2, 2)?;
    Ok(vec![types[0].clone(), DataType::Utf8View])
}

fn sorted_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    let DataType::List(item) = &types[0] else {
        return usage("an array of keys and values is wanted");
    };
    let DataType::Struct(fields) = item.data_type() else {
        return usage("an array of keys and values is wanted");
    };
    let value = fields.first().map_or(DataType::Null, |field| field.data_type().clone());
    Ok(DataType::List(Arc::new(Field::new_list_field(value, true))))
}

/// The values of an array of (value, key, …), in the order of their keys.
fn sorted(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let Some(parts) = lists.values().as_struct_opt() else {
        return Ok(new_null_array(call.returns, lists.len()));
    };
    if lists.is_empty() {
        return Ok(new_null_array(call.returns, 0));
    }
    let kinds: Vec<char> = text_at(text(&args[1]), 0).unwrap_or_default().chars().collect();
    let offsets = lists.value_offsets();
    let (from, to) = (offsets[0] as usize, offsets[lists.len()] as usize);
    let mut rows = Vec::with_capacity(to - from);
    for row in 0..lists.len() {
        rows.extend(std::iter::repeat_n(row as i64, lists.value_length(row) as usize));
    }
    let mut columns = vec![SortColumn { values: Arc::new(Int64Array::from(rows)), options: None }];
    for (key, kind) in parts.columns()[1..].iter().zip(kinds.chunks(2)) {
        let options = SortOptions {
            descending: kind.first() == Some(&'d'),
            nulls_first: kind.get(1) == Some(&'f'),
        };
        columns.push(SortColumn { values: key.slice(from, to - from), options: Some(options) });
    }
    let order: UInt32Array = lexsort_to_indices(&columns, None)?;
    let values = take(&parts.column(0).slice(from, to - from), &order, None)?;
    let offsets = offsets.iter().map(|offset| offset - offsets[0]).collect::<Vec<i32>>();
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(
        field,
        OffsetBuffer::new(offsets.into()),
        values,
        lists.nulls().cloned(),
    )?))
}

/// The texts of an array with something between them; NULLs are left out, and none at all is NULL.
fn joined(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let separators = text(&args[1]);
    let mut out = StringViewBuilder::with_capacity(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) {
            out.append_null();
            continue;
        }
        let items = lists.value(row);
        let items: Vec<&str> = items.as_string_view().iter().flatten().collect();
        match items.is_empty() {
            true => out.append_null(),
            false => out.append_value(items.join(text_at(separators, row).unwrap_or_default())),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn share_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("percentile_disc", types, 2, 2)?;
    Ok(vec![types[0].clone(), DataType::Float64])
}

fn share_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    match &types[0] {
        DataType::List(item) => Ok(item.data_type().clone()),
        _ => usage("`percentile_disc` takes a share and an order"),
    }
}

/// The first item that at least this share of a sorted array reaches.
fn share(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let shares = args[1].as_primitive::<Float64Type>();
    let mut places: Vec<Option<u32>> = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let length = lists.value_length(row);
        if lists.is_null(row) || shares.is_null(row) || length == 0 {
            places.push(None);
            continue;
        }
        let wanted = shares.value(row);
        if !(0.0..=1.0).contains(&wanted) {
            return Err(bad_value(format!("the percentile {wanted} is not between 0 and 1")));
        }
        let place = ((wanted * f64::from(length)).ceil() as i32 - 1).clamp(0, length - 1);
        places.push(u32::try_from(lists.value_offsets()[row] + place).ok());
    }
    let values = take(lists.values(), &UInt32Array::from(places), None)?;
    match values.data_type() == call.returns {
        true => Ok(values),
        false => Ok(arrow::compute::cast(&values, call.returns)?),
    }
}
