//! JSON in text: its items, keys and kinds, and JSON made of values.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringViewArray,
    StringViewBuilder,
};
use arrow::datatypes::{DataType, Field};
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};
use serde_json::Value;

use super::document::{Document, Part, quoted};
use super::simple::{
    Call, Kind, Simple, arity, bad_value, each, gives_text, one_text, text, text_at, usage,
};
use crate::json_type::JsonType;

/// Gives a JSON text the form of `jsonb`.
pub(crate) const JSONB: &str = "tidemill_jsonb";
/// `a || b` of two values of `jsonb`.
const JOINED: &str = "tidemill_jsonb_joined";
/// Texts that are known to be `json` and `jsonb`.
pub(crate) const KNOWN_JSON: &str = "tidemill_json";
const KNOWN_JSONB: &str = "tidemill_known_jsonb";
/// A value of which nothing else is known.
pub(crate) const PLAIN: &str = "tidemill_unmarked";

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
        Simple::json(JSONB, one_text, Kind::Jsonb, |args, _| {
            each(args, |text| Ok(Document::read(text)?.root().normal()))
        }),
        // What says of a text that it is JSON, and what says nothing of a value.
        Simple::function(
            PLAIN,
            any_value,
            |types, _| Ok(types[0].clone()),
            |args, _| Ok(args[0].clone()),
        ),
        Simple::json(KNOWN_JSON, one_text, Kind::Json, |args, _| Ok(args[0].clone())),
        Simple::json(KNOWN_JSONB, one_text, Kind::Jsonb, |args, _| Ok(args[0].clone())),
        Simple::json("jsonb_strip_nulls", one_text, Kind::Jsonb, |args, _| {
            each(args, |text| Ok(Document::read(text)?.root().without_nulls()))
        }),
        Simple::json("json_strip_nulls", one_text, Kind::Json, |args, _| {
            each(args, |text| Ok(Document::read(text)?.root().short_without_nulls()))
        }),
        Simple::json(JOINED, two_texts, Kind::Jsonb, |args, _| {
            of_two(args, |a, b| Document::read(a)?.root().joined(Document::read(b)?.root()))
        }),
        Simple::json("tidemill_jsonb_without", two_texts, Kind::Jsonb, |args, _| {
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
        Simple::json("tidemill_json_object", made_takes, Kind::Json, object),
        Simple::json("tidemill_json_array", made_takes, Kind::Json, array),
        Simple::json("tidemill_json_list", list_takes, Kind::Json, list),
        Simple::json("tidemill_json_pairs", pairs_takes, Kind::Json, pairs),
        Simple::json("tidemill_as_json", any_value, Kind::Json, as_json),
        Simple::json("tidemill_json_short", one_text, Kind::Json, |args, _| {
            each(args, |text| Ok(parsed(text)?.to_string()))
        }),
        Simple::json("tidemill_json_present", one_text, Kind::Json, |args, _| {
            each(args, |text| {
                let mut object = parsed(text)?;
                if let serde_json::Value::Object(pairs) = &mut object {
                    pairs.retain(|_, value| !value.is_null());
                }
                Ok(object.to_string())
            })
        }),
        Simple::function(
            "tidemill_json_contains",
            two_texts,
            |_, _| Ok(DataType::Boolean),
            |args, _| compare(args, contains),
        ),
        Simple::function("jsonb_exists", two_texts, |_, _| Ok(DataType::Boolean), has_key),
    ]
}

fn known(name: &str, args: Vec<Expr>) -> Expr {
    static KNOWN: LazyLock<Vec<Arc<ScalarUDF>>> =
        LazyLock::new(|| functions().into_iter().map(Arc::new).collect());
    // Both are functions of this file.
    match KNOWN.iter().find(|function| function.name() == name) {
        Some(function) => Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), args)),
        None => args.into_iter().next().unwrap_or_default(),
    }
}

/// `a || b` of two values of `jsonb`.
pub(crate) fn joined(left: Expr, right: Expr) -> Expr {
    known(JOINED, vec![left, right])
}

/// The text, which is known to be JSON.
pub(crate) fn known_json(value: Expr, json: JsonType) -> Expr {
    let name = match json {
        JsonType::Json => KNOWN_JSON,
        JsonType::Jsonb => KNOWN_JSONB,
    };
    known(name, vec![value])
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

fn any_value(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this JSON function", types, 1, 1)?;
    Ok(types.to_vec())
}

/// Values of any type as JSON; a text that is JSON is written as it is.
struct Encoder<'a> {
    encoder: NullableEncoder<'a>,
    json: Option<&'a StringViewArray>,
    bytes: Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, row: usize) -> Result<String> {
        if let Some(json) = self.json {
            let Some(text) = text_at(json, row) else { return Ok("null".to_owned()) };
            Document::read(text)?;
            return Ok(text.to_owned());
        }
        if self.encoder.is_null(row) {
            return Ok("null".to_owned());
        }
        self.bytes.clear();
        self.encoder.encode(row, &mut self.bytes);
        Ok(String::from_utf8_lossy(&self.bytes).into_owned())
    }

    /// The value as the key of an object, in quotes.
    fn key(&mut self, row: usize) -> Result<String> {
        let written = self.value(row)?;
        match written.as_str() {
            "null" => Err(bad_value("a key of a JSON object must not be NULL")),
            text if text.starts_with('"') => Ok(written),
            other => Ok(quoted(other)),
        }
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
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoders = Vec::with_capacity(arrays.len());
    for ((array, field), json) in arrays.iter().zip(&fields).zip(&texts) {
        encoders.push(Encoder {
            encoder: make_encoder(field, array.as_ref(), &options)?,
            json: json.as_ref().map(|json| json.as_string_view()),
            bytes: Vec::new(),
        });
    }
    run(&mut encoders)
}

/// The first argument says it of those that can be seen to be JSON in the text of the query.
fn kinds_of(args: &[ArrayRef], call: &Call) -> Vec<bool> {
    let written = text_at(text(&args[0]), 0).unwrap_or_default();
    let mut kinds: Vec<bool> = written.chars().map(|kind| kind == 'j').collect();
    kinds.resize(args.len() - 1, false);
    for (kind, known) in kinds.iter_mut().zip(call.json.iter().skip(1)) {
        *kind |= known.is_some();
    }
    kinds
}

fn object(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let rows = args[0].len();
    if rows == 0 {
        return Ok(Arc::new(StringViewBuilder::new().finish()));
    }
    if args.len().is_multiple_of(2) {
        return usage("`json_build_object` takes keys and values in turn");
    }
    let kinds = kinds_of(args, call);
    with_encoders(&args[1..], &kinds, |encoders| {
        let mut out = StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let mut pairs = Vec::with_capacity(encoders.len() / 2);
            for pair in encoders.chunks_exact_mut(2) {
                let [key, value] = pair else { continue };
                pairs.push(format!("{} : {}", key.key(row)?, value.value(row)?));
            }
            out.append_value(format!("{{{}}}", pairs.join(", ")));
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

fn array(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let rows = args[0].len();
    if rows == 0 {
        return Ok(Arc::new(StringViewBuilder::new().finish()));
    }
    let kinds = kinds_of(args, call);
    with_encoders(&args[1..], &kinds, |encoders| {
        let mut out = StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let items: Vec<String> =
                encoders.iter_mut().map(|value| value.value(row)).collect::<Result<_>>()?;
            out.append_value(format!("[{}]", items.join(", ")));
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}

/// A value as JSON, NULL as `null`.
fn as_json(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let json = call.json.first().is_some_and(Option::is_some);
    with_encoders(&args[..1], &[json], |encoders| {
        let mut out = StringViewBuilder::with_capacity(args[0].len());
        for row in 0..args[0].len() {
            out.append_value(encoders[0].value(row)?);
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
            let items: Vec<String> = (from..to)
                .map(|place| encoders[0].value(usize::try_from(place).unwrap_or_default()))
                .collect::<Result<_>>()?;
            out.append_value(format!("[{}]", items.join(", ")));
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
            let mut pairs = Vec::new();
            for (key, value) in places(keys).zip(places(values)) {
                let Some(key) = text_at(names, key) else {
                    return Err(bad_value("a key of a JSON object must not be NULL"));
                };
                pairs.push(format!("{} : {}", quoted(key), encoders[0].value(value)?));
            }
            out.append_value(format!("{{ {} }}", pairs.join(", ")));
        }
        Ok(Arc::new(out.finish()) as ArrayRef)
    })
}
