//! Functions of other systems that take a text or a list: `reverse` and `concat_ws` of Spark; the paths that
//! `flatten` of Snowflake gives; numbers of seconds where a moment is wanted.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, ListBuilder, StringViewBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use serde_json::Value;

use super::json::{parsed, texts};
use super::simple::{Call, Simple, arity, gives_text, text, text_at, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("tidemill_reversed", one, |types, _| Ok(types[0].clone()), reversed),
        Simple::function(
            "tidemill_of_variant",
            |types| {
                arity("to_json", types, 2, 2)?;
                let given =
                    if types[0].is_string() { DataType::Utf8View } else { types[0].clone() };
                Ok(vec![given, DataType::Utf8View])
            },
            gives_text,
            of_variant,
        ),
        Simple::function("tidemill_concat_ws", parts, gives_text, joined),
        Simple::function(
            "tidemill_paths",
            |types| {
                arity("flatten", types, 1, 1)?;
                Ok(vec![plain(&types[0])])
            },
            |_: &[DataType], _: &[Option<&ScalarValue>]| Ok(texts()),
            paths,
        ),
    ]
}

/// A list of its own kind, and a text of anything else.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        _ => DataType::Utf8View,
    }
}

fn one(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("reverse", types, 1, 1)?;
    Ok(vec![plain(&types[0])])
}

fn reversed(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let Some(lists) = args[0].as_list_opt::<i32>() else {
        let values = text(&args[0]);
        let mut out = StringViewBuilder::with_capacity(values.len());
        for row in 0..values.len() {
            out.append_option(
                text_at(values, row).map(|value| value.chars().rev().collect::<String>()),
            );
        }
        return Ok(Arc::new(out.finish()));
    };
    let DataType::List(field) = lists.data_type() else { return usage("a list is wanted") };
    let offsets = lists.value_offsets();
    let mut places: Vec<u32> = Vec::with_capacity(lists.values().len());
    for row in 0..lists.len() {
        places.extend((offsets[row]..offsets[row + 1]).rev().map(|place| place as u32));
    }
    let values = take(lists.values(), &UInt32Array::from(places), None)?;
    let first = offsets[0];
    let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
    let offsets = arrow::buffer::OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(field.clone(), offsets, values, lists.nulls().cloned())?))
}

fn parts(types: &[DataType]) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return usage("`concat_ws` takes what stands between the texts, and texts");
    }
    let part = |part: &DataType| match plain(part) {
        DataType::List(_) => texts(),
        other => other,
    };
    Ok(std::iter::once(DataType::Utf8View).chain(types[1..].iter().map(part)).collect())
}

/// NULLs are left out; without the text between them there is none.
fn joined(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let between = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(between.len());
    for row in 0..between.len() {
        let Some(between) = text_at(between, row) else {
            out.append_null();
            continue;
        };
        let mut all: Vec<String> = Vec::new();
        for arg in &args[1..] {
            match arg.as_list_opt::<i32>() {
                Some(lists) if lists.is_valid(row) => {
                    let items = lists.value(row);
                    all.extend(items.as_string_view().iter().flatten().map(str::to_owned));
                }
                Some(_) => {}
                None => all.extend(text_at(text(arg), row).map(str::to_owned)),
            }
        }
        out.append_value(all.join(between));
    }
    Ok(Arc::new(out.finish()))
}

/// `to_json` of Snowflake: a text that is an object or an array is such a value already.
fn of_variant(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    if args[0].data_type() != &DataType::Utf8View {
        return Ok(args[1].clone());
    }
    let (values, written) = (text(&args[0]), text(&args[1]));
    let mut out = StringViewBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        let value = text_at(values, row);
        let document = value
            .filter(|value| value.trim_start().starts_with(['{', '[']))
            .and_then(|value| parsed(value).ok());
        match document {
            Some(document) => out.append_value(document.to_string()),
            None => out.append_option(text_at(written, row)),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Where each item stands: `[0]` of an array, `key` of an object.
fn paths(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    let places = |count: usize| (0..count).map(|place| format!("[{place}]")).collect::<Vec<_>>();
    for row in 0..args[0].len() {
        let found = match args[0].as_list_opt::<i32>() {
            Some(lists) => lists
                .is_valid(row)
                .then(|| places(usize::try_from(lists.value_length(row)).unwrap_or(0))),
            None => match text_at(text(&args[0]), row).map(parsed).transpose()? {
                Some(Value::Array(items)) => Some(places(items.len())),
                Some(Value::Object(map)) => Some(map.keys().map(|key| named(key)).collect()),
                _ => None,
            },
        };
        match found {
            Some(found) => {
                found.into_iter().for_each(|path| out.values().append_value(path));
                out.append(true);
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// A key that is no plain name stands in brackets.
fn named(key: &str) -> String {
    let is_name = !key.is_empty()
        && !key.starts_with(|letter: char| letter.is_ascii_digit())
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if is_name { key.to_owned() } else { format!("['{}']", key.replace('\'', "\\'")) }
}
