//! Text: regular expressions by position and group, hashing, JSON in text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, Int64Builder, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::document::Document;
use super::simple::{Call, Kind, Simple, arity, bad_value, gives_text, text, text_at, usage};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function("regexp_substr", regexp_takes, gives_text, regexp_substr),
        Simple::function("regexp_extract", regexp_extract_takes, gives_text, regexp_extract),
        Simple::function("hash", hash_takes, |_, _| Ok(DataType::Int64), hash),
        Simple::function("width_bucket", bucket_takes, |_, _| Ok(DataType::Int64), width_bucket),
        Simple::json("json_get", path_takes, Kind::Same, |args, _| part(args, false)),
        // Without the blanks of the text that they stand in, as in other systems.
        Simple::json("tidemill_json_part", path_takes, Kind::Json, |args, _| json(args, false)),
        Simple::function("tidemill_walked_text", path_takes, gives_text, |args, _| {
            json(args, true)
        }),
        Simple::function("tidemill_similar", similar_takes, gives_text, similar),
        Simple::function("len", len_takes, |_, _| Ok(DataType::Int64), len),
        Simple::aliased(
            "json_extract_path_text",
            &["json_get_text"],
            path_takes,
            gives_text,
            |args, _| part(args, true),
        ),
        Simple::json_aliased(
            "json_extract_path",
            &["json_extract_path_json"],
            path_takes,
            Kind::Same,
            |args, _| part(args, false),
        ),
        Simple::function("json_path", json_path_takes, gives_text, json_path),
        Simple::json_aliased(
            "to_json",
            &["to_jsonb", "row_to_json"],
            to_json_takes,
            Kind::Json,
            to_json,
        ),
    ]
}

/// A compiled expression is kept while the pattern stays the same.
#[derive(Default)]
struct Compiled(Option<(String, String, Regex)>);

impl Compiled {
    fn get(&mut self, pattern: &str, flags: &str) -> Result<&Regex> {
        let known = matches!(&self.0, Some((p, f, _)) if p == pattern && f == flags);
        if !known {
            let regex = RegexBuilder::new(pattern)
                .case_insensitive(flags.contains('i'))
                .multi_line(flags.contains('m'))
                .dot_matches_new_line(flags.contains('s'))
                .build()
                .map_err(|error| bad_value(format!("wrong regular expression: {error}")))?;
            self.0 = Some((pattern.to_owned(), flags.to_owned(), regex));
        }
        match &self.0 {
            Some((_, _, regex)) => Ok(regex),
            None => Err(bad_value("no regular expression")),
        }
    }
}

/// text, pattern, position, occurrence, flags, group.
fn regexp_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("regexp_substr", types, 2, 6)?;
    let all = [
        DataType::Utf8View,
        DataType::Utf8View,
        DataType::Int64,
        DataType::Int64,
        DataType::Utf8View,
        DataType::Int64,
    ];
    Ok(all[..types.len()].to_vec())
}

/// Snowflake, Redshift and PostgreSQL 15: NULL when nothing matches. The flag `e` means the first
/// group.
fn regexp_substr(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (texts, patterns) = (text(&args[0]), text(&args[1]));
    let number = |index: usize, row: usize, default: i64| match args.get(index) {
        Some(array) if array.is_null(row) => None,
        Some(array) => Some(array.as_primitive::<Int64Type>().value(row)),
        None => Some(default),
    };
    let mut compiled = Compiled::default();
    let mut out = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        let flags = match args.get(4).map(|flags| text_at(text(flags), row)) {
            Some(None) => {
                out.append_null();
                continue;
            }
            Some(Some(flags)) => flags,
            None => "",
        };
        let default_group = if flags.contains('e') { 1 } else { 0 };
        let arguments = (
            text_at(texts, row),
            text_at(patterns, row),
            number(2, row, 1),
            number(3, row, 1),
            number(5, row, default_group),
        );
        let (Some(value), Some(pattern), Some(position), Some(occurrence), Some(group)) = arguments
        else {
            out.append_null();
            continue;
        };
        let regex = compiled.get(pattern, flags)?;
        let start = value
            .char_indices()
            .nth(usize::try_from(position.max(1) - 1).unwrap_or(usize::MAX))
            .map(|(byte, _)| byte);
        let found = start.and_then(|start| {
            let nth = usize::try_from(occurrence.max(1) - 1).ok()?;
            let captures = regex.captures_iter(&value[start..]).nth(nth)?;
            captures.get(usize::try_from(group).ok()?).map(|part| part.as_str())
        });
        out.append_option(found);
    }
    Ok(Arc::new(out.finish()))
}

fn regexp_extract_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("regexp_extract", types, 2, 4)?;
    let all = [DataType::Utf8View, DataType::Utf8View, DataType::Int64, DataType::Utf8View];
    Ok(all[..types.len()].to_vec())
}

/// With two arguments as BigQuery: the first group where there is one, else the match. With three
/// as DuckDB and Spark: the group with that number. NULL when nothing matches.
fn regexp_extract(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (texts, patterns) = (text(&args[0]), text(&args[1]));
    let mut compiled = Compiled::default();
    let mut out = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        let (Some(value), Some(pattern)) = (text_at(texts, row), text_at(patterns, row)) else {
            out.append_null();
            continue;
        };
        let flags = args.get(3).and_then(|flags| text_at(text(flags), row)).unwrap_or("");
        let regex = compiled.get(pattern, flags)?;
        let group = match args.get(2) {
            Some(groups) if groups.is_null(row) => {
                out.append_null();
                continue;
            }
            Some(groups) => {
                usize::try_from(groups.as_primitive::<Int64Type>().value(row)).unwrap_or(0)
            }
            None => usize::from(regex.captures_len() > 1),
        };
        let found = regex.captures(value).and_then(|captures| captures.get(group));
        out.append_option(found.map(|part| part.as_str()));
    }
    Ok(Arc::new(out.finish()))
}

fn hash_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return usage("`hash` takes at least one argument");
    }
    Ok(vec![DataType::Utf8View; types.len()])
}

/// A 64-bit number that depends on the values alone; not the number that another system gives.
fn hash(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let columns: Vec<&StringViewArray> = args.iter().map(text).collect();
    let mut bytes = Vec::new();
    let hashes: Int64Array = (0..columns[0].len())
        .map(|row| {
            bytes.clear();
            for column in &columns {
                match text_at(column, row) {
                    Some(value) => {
                        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
                        bytes.extend_from_slice(value.as_bytes());
                    }
                    None => bytes.extend_from_slice(&u64::MAX.to_le_bytes()),
                }
            }
            Some(xxh3_64(&bytes) as i64)
        })
        .collect();
    Ok(Arc::new(hashes))
}

fn bucket_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("width_bucket", types, 4, 4)?;
    Ok(vec![DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64])
}

/// SQL:2003: 0 below the range, count + 1 at its end and above.
fn width_bucket(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let column = |index: usize| args[index].as_primitive::<Float64Type>();
    let counts = args[3].as_primitive::<Int64Type>();
    let mut out = Int64Builder::with_capacity(counts.len());
    for row in 0..counts.len() {
        if args.iter().any(|arg| arg.is_null(row)) {
            out.append_null();
            continue;
        }
        let (value, low, high) = (column(0).value(row), column(1).value(row), column(2).value(row));
        let count = counts.value(row);
        if count <= 0 || low == high {
            return Err(bad_value(
                "`width_bucket` needs a positive count and two different bounds",
            ));
        }
        let (position, width) =
            if low < high { (value - low, high - low) } else { (low - value, low - high) };
        out.append_value(if position < 0.0 {
            0
        } else if position >= width {
            count + 1
        } else {
            (position / width * count as f64).floor() as i64 + 1
        });
    }
    Ok(Arc::new(out.finish()))
}

fn path_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return usage("a JSON text and a path are wanted");
    }
    Ok(vec![DataType::Utf8View; types.len()])
}

/// Walks into a JSON text by keys and indexes; what is found is as it is written there.
fn part(args: &[ArrayRef], as_text: bool) -> Result<ArrayRef> {
    walked(args, |document, keys| {
        let document =
            Document::read(document).map_err(|error| instead(&error.strip_backtrace()))?;
        let found = keys.iter().try_fold(document.root(), |part, key| part.at(key));
        let found = found.and_then(|found| match as_text {
            true => found.text(),
            false => Some(found.raw()),
        });
        Ok(found.map(str::to_owned))
    })
}

/// The same, in the shortest form.
fn json(args: &[ArrayRef], as_text: bool) -> Result<ArrayRef> {
    walked(args, |document, keys| {
        let value: Value = serde_json::from_str(document).map_err(|error| {
            let start: String = document.chars().take(60).collect();
            instead(&format!("invalid input syntax for type json: `{start}` ({error})"))
        })?;
        Ok(walk(&value, keys.iter().copied()).and_then(|found| render(found, as_text)))
    })
}

/// Text that is not JSON is an error; `json_value` and its like give NULL.
fn instead(message: &str) -> datafusion::common::DataFusionError {
    let message = message.trim_start_matches("Execution error: ");
    bad_value(format!("{message}; `json_value(x, '$.a')` gives NULL instead"))
}

fn walked(
    args: &[ArrayRef],
    find: impl Fn(&str, &[&str]) -> Result<Option<String>>,
) -> Result<ArrayRef> {
    let columns: Vec<&StringViewArray> = args.iter().map(text).collect();
    let mut out = StringViewBuilder::with_capacity(columns[0].len());
    for row in 0..columns[0].len() {
        let keys: Option<Vec<&str>> =
            columns[1..].iter().map(|column| text_at(column, row)).collect();
        match (keys, text_at(columns[0], row)) {
            (Some(keys), Some(document)) => out.append_option(find(document, &keys)?),
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn len_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("len", types, 1, 1)?;
    Ok(vec![match &types[0] {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        _ => DataType::Utf8View,
    }])
}

/// Characters of a text, items of an array (DuckDB).
fn len(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let lengths: Int64Array = match args[0].data_type() {
        DataType::List(_) => {
            let lists = args[0].as_list::<i32>();
            (0..lists.len())
                .map(|row| lists.is_valid(row).then(|| lists.value_length(row).into()))
                .collect()
        }
        _ => {
            text(&args[0]).iter().map(|text| text.map(|text| text.chars().count() as i64)).collect()
        }
    };
    Ok(Arc::new(lengths))
}

fn similar_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("similar to", types, 1, 2)?;
    Ok(vec![DataType::Utf8View; types.len()])
}

/// A pattern of `similar to` as a regular expression: it must match the whole text, `%` and `_` are
/// those of `like`, and `|`, `*`, `+`, `?`, `{…}`, `(…)` and `[…]` those of regular expressions.
fn similar(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let patterns = text(&args[0]);
    let mut out = StringViewBuilder::with_capacity(patterns.len());
    for row in 0..patterns.len() {
        let escape = match args.get(1).map(|escapes| text_at(text(escapes), row)) {
            None => Some('\\'),
            Some(Some(escape)) => escape.chars().next(),
            Some(None) => None,
        };
        let Some(pattern) = text_at(patterns, row) else {
            out.append_null();
            continue;
        };
        let mut regex = String::from("^(?s:");
        let mut letters = pattern.chars();
        let mut in_class = false;
        while let Some(letter) = letters.next() {
            match letter {
                letter if Some(letter) == escape => match letters.next() {
                    Some(next) => regex.push_str(&regex::escape(&next.to_string())),
                    None => return Err(bad_value("a pattern must not end with its escape")),
                },
                '[' => {
                    in_class = true;
                    regex.push('[');
                }
                ']' => {
                    in_class = false;
                    regex.push(']');
                }
                letter if in_class => regex.push(letter),
                '%' => regex.push_str(".*"),
                '_' => regex.push('.'),
                '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' => regex.push(letter),
                letter => regex.push_str(&regex::escape(&letter.to_string())),
            }
        }
        regex.push_str(")$");
        out.append_value(&regex);
    }
    Ok(Arc::new(out.finish()))
}

fn walk<'v, 'k>(mut value: &'v Value, keys: impl Iterator<Item = &'k str>) -> Option<&'v Value> {
    for key in keys {
        value = match value {
            Value::Object(map) => map.get(key)?,
            Value::Array(items) => {
                let index: i64 = key.parse().ok()?;
                let index =
                    if index < 0 { index + i64::try_from(items.len()).ok()? } else { index };
                items.get(usize::try_from(index).ok()?)?
            }
            _ => return None,
        };
    }
    Some(value)
}

fn render(value: &Value, as_text: bool) -> Option<String> {
    match value {
        Value::Null if as_text => None,
        Value::String(text) if as_text => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn json_path_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("json_value", types, 2, 2)?;
    Ok(vec![DataType::Utf8View; 2])
}

/// BigQuery's and Spark's `$.a.b[0]`: a scalar as text, NULL for anything that is not there.
fn json_path(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (texts, paths) = (text(&args[0]), text(&args[1]));
    let mut out = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        let found = (|| {
            let value: Value = serde_json::from_str(text_at(texts, row)?).ok()?;
            let path = text_at(paths, row)?;
            let path = path.strip_prefix('$').unwrap_or(path);
            let keys = path
                .split(['.', '[', ']'])
                .map(|key| key.trim_matches(['\'', '"']))
                .filter(|key| !key.is_empty());
            render(walk(&value, keys)?, true)
        })();
        out.append_option(found);
    }
    Ok(Arc::new(out.finish()))
}

fn to_json_takes(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("to_json", types, 1, 1)?;
    Ok(types.to_vec())
}

/// Any value as JSON text; NULL stays NULL, and so does what is JSON already.
fn to_json(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    use arrow::json::writer::{EncoderOptions, make_encoder};
    if call.json.first().is_some_and(Option::is_some) {
        return Ok(arrow::compute::cast(&args[0], &DataType::Utf8View)?);
    }
    let field = Arc::new(arrow::datatypes::Field::new("v", args[0].data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, args[0].as_ref(), &options)?;
    let mut out = StringViewBuilder::with_capacity(args[0].len());
    let mut bytes = Vec::new();
    for row in 0..args[0].len() {
        if encoder.is_null(row) {
            out.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        out.append_value(String::from_utf8_lossy(&bytes));
    }
    Ok(Arc::new(out.finish()))
}
