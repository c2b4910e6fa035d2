//! JSON in text: its items, keys and kinds, and JSON made of values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringViewArray,
    StringViewBuilder,
};
use arrow::datatypes::{DataType, Field};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use serde_json::{Map, Value};

use super::document::{Document, Part};
use super::simple::{
    Call, Simple, arity, bad_value, each, gives_text, one_text, text, text_at, usage,
};

/// Gives a JSON text the form of `jsonb`.
pub(crate) const JSONB: &str = "tidemill_jsonb";

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("tidemill_json_items", one_text, gives_texts, |args, _| {
            lists(args, |(_, value)| Some(value.raw()))
        }),
        Simple::function("tidemill_json_texts", one_text, gives_texts, |args, _| {
            lists(args, |(_, value)| value.text())
        }),
        Simple::function("tidemill_json_keys", one_text, gives_texts, |args, _| {
            lists(args, |(key, _)| key)
        }),
        Simple::function(JSONB, one_text, gives_text, |args, _| {
            each(args, |text| Ok(Document::read(text)?.root().normal()))
        }),
        Simple::function("jsonb_strip_nulls", one_text, gives_text, |args, _| {
            each(args, |text| Ok(Document::read(text)?.root().without_nulls()))
        }),
        Simple::function("tidemill_jsonb_joined", two_texts, gives_text, |args, _| {
            of_two(args, |a, b| Document::read(a)?.root().joined(Document::read(b)?.root()))
        }),
        Simple::function("tidemill_jsonb_without", two_texts, gives_text, |args, _| {
            of_two(args, |document, key| Document::read(document)?.root().without(key))
        }),
        Simple::aliased(
            "json_array_length",
            &["jsonb_array_length"],
            one_text,
            |_, _| Ok(DataType::Int64),
            length,
        ),
        Simple::aliased("json_typeof", &["jsonb_typeof"], one_text, gives_text, kind),
        Simple::function("tidemill_json_object", made_takes, gives_text, object),
        Simple::function("tidemill_json_array", made_takes, gives_text, array),
        Simple::function("tidemill_json_list", list_takes, gives_text, list),
        Simple::function("tidemill_json_pairs", pairs_takes, gives_text, pairs),
        Simple::function(
            "tidemill_json_contains",
            two_texts,
            |_, _| Ok(DataType::Boolean),
            |args, _| compare(args, contains),
        ),
        Simple::function("jsonb_exists", two_texts, |_, _| Ok(DataType::Boolean), has_key),
    ]
}

pub(super) fn texts() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)))
}

fn gives_texts(_: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(texts())
}

fn two_texts(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this JSON function", types, 2, 2)?;
    Ok(vec![DataType::Utf8View; 2])
}

/// Reads a JSON text.
pub(super) fn parsed(document: &str) -> Result<Value> {
    serde_json::from_str(document).map_err(|error| {
        let start: String = document.chars().take(60).collect();
        bad_value(format!("invalid input syntax for type json: `{start}` ({error})"))
    })
}

fn of_two(args: &[ArrayRef], of: impl Fn(&str, &str) -> Result<String>) -> Result<ArrayRef> {
    let (left, right) = (text(&args[0]), text(&args[1]));
    let mut out = StringViewBuilder::with_capacity(left.len());
    for row in 0..left.len() {
        match (text_at(left, row), text_at(right, row)) {
            (Some(a), Some(b)) => out.append_value(of(a, b)?),
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// What a list has of each of these items.
type Of = for<'d> fn((Option<&'d str>, Part<'d>)) -> Option<&'d str>;

/// The items of an array, or the values of an object.
fn lists(args: &[ArrayRef], of: Of) -> Result<ArrayRef> {
    let documents = text(&args[0]);
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    for row in 0..documents.len() {
        let Some(document) = text_at(documents, row) else {
            out.append_null();
            continue;
        };
        match Document::read(document)?.root().items() {
            Some(items) => {
                for item in items {
                    out.values().append_option(of(item));
                }
                out.append(true);
            }
            // PostgreSQL refuses a scalar; JSON null has nothing in it.
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn length(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let documents = text(&args[0]);
    let lengths: Int64Array = (0..documents.len())
        .map(|row| {
            let Some(document) = text_at(documents, row) else { return Ok(None) };
            match parsed(document)? {
                Value::Array(items) => Ok(i64::try_from(items.len()).ok()),
                Value::Null => Ok(None),
                _ => Err(bad_value("cannot get array length of a JSON value that is no array")),
            }
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(lengths))
}

fn kind(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let documents = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(documents.len());
    for row in 0..documents.len() {
        let Some(document) = text_at(documents, row) else {
            out.append_null();
            continue;
        };
        out.append_value(match parsed(document)? {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
    }
    Ok(Arc::new(out.finish()))
}

fn compare(args: &[ArrayRef], of: fn(&Value, &Value) -> bool) -> Result<ArrayRef> {
    let (left, right) = (text(&args[0]), text(&args[1]));
    let answers: BooleanArray = (0..left.len())
        .map(|row| {
            let (Some(a), Some(b)) = (text_at(left, row), text_at(right, row)) else {
                return Ok(None);
            };
            Ok(Some(of(&parsed(a)?, &parsed(b)?)))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(answers))
}

/// PostgreSQL's `@>`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value))),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|value| whole.iter().any(|found| contains(found, value)))
        }
        (Value::Array(whole), scalar) if !scalar.is_object() => whole.contains(scalar),
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn has_key(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (documents, keys) = (text(&args[0]), text(&args[1]));
    let answers: BooleanArray = (0..documents.len())
        .map(|row| {
            let (Some(document), Some(key)) = (text_at(documents, row), text_at(keys, row)) else {
                return Ok(None);
            };
            Ok(Some(match parsed(document)? {
                Value::Object(map) => map.contains_key(key),
                Value::Array(items) => items.iter().any(|item| item.as_str() == Some(key)),
                Value::String(text) => text == key,
                _ => false,
            }))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(answers))
}

/// The first argument says of each further one whether it is JSON (`j`) or a value (`v`).
fn made_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return usage("nothing to make JSON of");
    }
    let mut all = types.to_vec();
    all[0] = DataType::Utf8View;
    Ok(all)
}

/// Values of any type as JSON.
struct Encoder<'a> {
    encoder: NullableEncoder<'a>,
    json: Option<&'a StringViewArray>,
}

impl Encoder<'_> {
    fn value(&mut self, row: usize) -> Result<Value> {
        if let Some(json) = self.json {
            return text_at(json, row).map_or(Ok(Value::Null), parsed);
        }
        if self.encoder.is_null(row) {
            return Ok(Value::Null);
        }
        let mut bytes = Vec::new();
        self.encoder.encode(row, &mut bytes);
        parsed(&String::from_utf8_lossy(&bytes))
    }
}

fn with_encoders<T>(
    arrays: &[ArrayRef],
    kinds: &[bool],
    run: impl FnOnce(&mut [Encoder]) -> Result<T>,
) -> Result<T> {
    // Text in any of its forms as views, where it is JSON.
    let texts = arrays
        .iter()
        .zip(kinds)
        .map(|(array, json)| match json {
            true => Ok(Some(arrow::compute::cast(array, &DataType::Utf8View)?)),
            false => Ok(None),
        })
        .collect::<Result<Vec<Option<ArrayRef>>>>()?;
    let fields: Vec<Arc<Field>> = arrays
        .iter()
        .map(|array| Arc::new(Field::new("v", array.data_type().clone(), true)))
        .collect();
    let options = EncoderOptions::default();
    let mut encoders = Vec::with_capacity(arrays.len());
    for ((array, field), json) in arrays.iter().zip(&fields).zip(&texts) {
        encoders.push(Encoder {
            encoder: make_encoder(field, array.as_ref(), &options)?,
            json: json.as_ref().map(|json| json.as_string_view()),
        });
    }
    run(&mut encoders)
}

fn kinds_of(args: &[ArrayRef]) -> Vec<bool> {
    let written = text_at(text(&args[0]), 0).unwrap_or_default();
    let mut kinds: Vec<bool> = written.chars().map(|kind| kind == 'j').collect();
    kinds.resize(args.len() - 1, false);
    kinds
}

fn object(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let rows = args[0].len();
    if rows == 0 {
        return Ok(Arc::new(StringViewBuilder::new().finish()));
    }
    if args.len().is_multiple_of(2) {
        return usage("`json_build_object` takes keys and values in turn");
    }
    let kinds = kinds_of(args);
    with_encoders(&args[1..], &kinds, |encoders| {
        let mut out = StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let mut map = Map::new();
            for pair in encoders.chunks_exact_mut(2) {
                let [key, value] = pair else { continue };
                let key = match key.value(row)? {
                    Value::String(key) => key,
                    Value::Null => {
                        return Err(bad_value("a key of a JSON object must not be NULL"));
                    }
                    other => other.to_string(),
                };
                map.insert(key, value.value(row)?);
            }
            out.append_value(Value::Object(map).to_string());
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

fn array(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let rows = args[0].len();
    if rows == 0 {
        return Ok(Arc::new(StringViewBuilder::new().finish()));
    }
    let kinds = kinds_of(args);
    with_encoders(&args[1..], &kinds, |encoders| {
        let mut out = StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let items: Vec<Value> =
                encoders.iter_mut().map(|value| value.value(row)).collect::<Result<_>>()?;
            out.append_value(Value::Array(items).to_string());
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

fn list_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("json_agg", types, 2, 2)?;
    Ok(vec![types[0].clone(), DataType::Utf8View])
}

fn list(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let Some(lists) = args[0].as_list_opt::<i32>() else {
        return usage("`json_agg` takes a value");
    };
    let json = !args[1].is_empty() && text_at(text(&args[1]), 0) == Some("json");
    with_encoders(std::slice::from_ref(lists.values()), &[json], |encoders| {
        let mut out = StringViewBuilder::with_capacity(lists.len());
        for row in 0..lists.len() {
            if lists.is_null(row) {
                out.append_null();
                continue;
            }
            let (from, to) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
            let items: Vec<Value> = (from..to)
                .map(|place| encoders[0].value(usize::try_from(place).unwrap_or_default()))
                .collect::<Result<_>>()?;
            out.append_value(Value::Array(items).to_string());
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

fn pairs_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("json_object_agg", types, 3, 3)?;
    Ok(vec![texts(), types[1].clone(), DataType::Utf8View])
}

fn pairs(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let keys = args[0].as_list::<i32>();
    let Some(values) = args[1].as_list_opt::<i32>() else {
        return usage("`json_object_agg` takes a key and a value");
    };
    let json = !args[2].is_empty() && text_at(text(&args[2]), 0) == Some("json");
    let names = keys.values().as_string_view();
    with_encoders(std::slice::from_ref(values.values()), &[json], |encoders| {
        let mut out = StringViewBuilder::with_capacity(keys.len());
        for row in 0..keys.len() {
            if keys.is_null(row) || values.is_null(row) {
                out.append_null();
                continue;
            }
            let places = |list: &arrow::array::ListArray| {
                (list.value_offsets()[row] as usize)..(list.value_offsets()[row + 1] as usize)
            };
            let mut map = Map::new();
            for (key, value) in places(keys).zip(places(values)) {
                let Some(key) = text_at(names, key) else {
                    return Err(bad_value("a key of a JSON object must not be NULL"));
                };
                map.insert(key.to_owned(), encoders[0].value(value)?);
            }
            out.append_value(Value::Object(map).to_string());
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}
