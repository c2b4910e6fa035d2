//! Functions that PostgreSQL alone has.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, StringViewArray, StringViewBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::simple::{Call, Simple, bad_value, each, gives_text, one_text, text, text_at, usage};
use crate::json_type::JsonType;
use crate::types::sql_name;

/// What `format` is called, once its arguments are texts.
pub(crate) const FORMAT: &str = "tidemill_format";

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Simple::function(FORMAT, texts, gives_text, format),
        Simple::function("quote_literal", one_text, gives_text, |args, _| {
            each(args, |value| Ok(literal(value)))
        }),
        Simple::function("quote_nullable", one_text, gives_text, |args, _| {
            let values = text(&args[0]);
            let quoted = (0..values.len())
                .map(|row| Some(text_at(values, row).map_or_else(|| "NULL".to_owned(), literal)));
            Ok(Arc::new(quoted.collect::<StringViewArray>()))
        }),
        Simple::function("quote_ident", one_text, gives_text, |args, _| {
            each(args, |value| Ok(identifier(value)))
        }),
        Simple::function(
            "isfinite",
            |types| Ok(types.to_vec()),
            |_, _| Ok(DataType::Boolean),
            finite,
        ),
        Simple::function("tidemill_uuid", one_text, gives_text, |args, _| {
            each(args, |value| {
                uuid(value).ok_or_else(|| {
                    bad_value(format!("invalid input syntax for type uuid: \"{value}\""))
                })
            })
        }),
        Simple::function(
            "tidemill_utf8",
            |types| {
                super::simple::arity("convert_from", types, 1, 1)?;
                Ok(vec![DataType::Binary])
            },
            gives_text,
            utf8,
        ),
        Simple::function("pg_typeof", |types| Ok(types.to_vec()), gives_text, kind),
    ]
}

fn texts(types: &[DataType]) -> Result<Vec<DataType>> {
    if types.is_empty() {
        return usage("`format` takes a text and the values that it names");
    }
    Ok(vec![DataType::Utf8View; types.len()])
}

/// `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`, of a text with the same digits.
fn uuid(value: &str) -> Option<String> {
    let value = value.trim();
    let inner = value.strip_prefix('{').map_or(Some(value), |inner| inner.strip_suffix('}'))?;
    let digits = inner.replace('-', "").to_ascii_lowercase();
    let right = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    right.then(|| {
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    })
}

/// Bytes that are a text.
fn utf8(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let values = args[0].as_binary::<i32>();
    let mut out = StringViewBuilder::with_capacity(values.len());
    for value in values {
        match value.map(std::str::from_utf8) {
            None => out.append_null(),
            Some(Ok(text)) => out.append_value(text),
            Some(Err(_)) => return Err(bad_value("the bytes are no text in UTF-8")),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    match value.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// `%s` is a value, `%I` a name, `%L` a literal; `%2$s` says which one, `%-10s` how wide.
fn format(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let patterns = text(&args[0]);
    let values: Vec<&StringViewArray> = args[1..].iter().map(text).collect();
    let mut out = StringViewBuilder::with_capacity(patterns.len());
    for row in 0..patterns.len() {
        match text_at(patterns, row) {
            None => out.append_null(),
            Some(pattern) => {
                let values: Vec<Option<&str>> =
                    values.iter().map(|values| text_at(values, row)).collect();
                out.append_value(formatted(pattern, &values)?);
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

fn formatted(pattern: &str, values: &[Option<&str>]) -> Result<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut next = 0;
    while let Some(place) = rest.find('%') {
        out.push_str(&rest[..place]);
        rest = &rest[place + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if let Some(dollar) = rest.find('$')
            && let Ok(position) = rest[..dollar].parse::<usize>()
        {
            next = position.checked_sub(1).ok_or_else(|| bad_value("`%0$` names no value"))?;
            rest = &rest[dollar + 1..];
        }
        let left = rest.starts_with('-');
        rest = rest.strip_prefix('-').unwrap_or(rest);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let width: usize = rest[..digits].parse().unwrap_or(0);
        rest = &rest[digits..];
        let Some(kind) = rest.chars().next() else {
            return Err(bad_value("a `%` at the end of a format; a percent sign is `%%`"));
        };
        rest = &rest[kind.len_utf8()..];
        let Some(value) = values.get(next) else {
            return Err(bad_value(format!("too few values for the format `{pattern}`")));
        };
        next += 1;
        let shown = match (kind, value) {
            ('s', value) => value.unwrap_or_default().to_owned(),
            ('L', Some(value)) => literal(value),
            ('L', None) => "NULL".to_owned(),
            ('I', Some(value)) => identifier(value),
            ('I', None) => return Err(bad_value("a name in a format is NULL")),
            (other, _) => {
                return Err(bad_value(format!(
                    "`%{other}` in a format; there are `%s`, `%I`, `%L` and `%%`"
                )));
            }
        };
        let blanks = " ".repeat(width.min(10_000).saturating_sub(shown.chars().count()));
        if !left {
            out.push_str(&blanks);
        }
        out.push_str(&shown);
        if left {
            out.push_str(&blanks);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// 9999-12-31 and 0001-01-01, in days since 1970.
const LAST_DAY: i32 = 2_932_896;
const FIRST_DAY: i32 = -719_162;

/// What `infinity` is read as is not finite: the last moment of the year 9999, and the first of the year 1.
fn finite(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let [values] = args else { return usage("`isfinite` takes one argument") };
    let found: BooleanArray =
        (0..values.len()).map(|row| values.is_valid(row).then(|| is_finite(values, row))).collect();
    Ok(Arc::new(found))
}

fn is_finite(values: &ArrayRef, row: usize) -> bool {
    if let Some(days) = values.as_any().downcast_ref::<Date32Array>() {
        return !matches!(days.value(row), LAST_DAY | FIRST_DAY);
    }
    if let Some(moments) = values.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        const DAY: i64 = 86_400_000_000;
        let last = (i64::from(LAST_DAY) + 1) * DAY - 1;
        return moments.value(row) != last && moments.value(row) != i64::from(FIRST_DAY) * DAY;
    }
    match values.data_type() {
        DataType::Float64 => {
            values.as_primitive::<arrow::datatypes::Float64Type>().value(row).is_finite()
        }
        DataType::Float32 => {
            values.as_primitive::<arrow::datatypes::Float32Type>().value(row).is_finite()
        }
        _ => true,
    }
}

/// The type in PostgreSQL's words.
fn kind(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let [values] = args else { return usage("`pg_typeof` takes one argument") };
    let name = match call.json {
        [Some(JsonType::Json)] => "json".to_owned(),
        [Some(JsonType::Jsonb)] => "jsonb".to_owned(),
        _ => type_name(values.data_type()),
    };
    Ok(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(name, values.len()))))
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        data_type if data_type.is_decimal() => "numeric".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::List(field) | DataType::LargeList(field) => {
            format!("{}[]", type_name(field.data_type()))
        }
        DataType::Struct(_) => "record".to_owned(),
        DataType::Null => "unknown".to_owned(),
        other => sql_name(other),
    }
}
