//! Functions that DuckDB has and PostgreSQL has not, with DuckDB's meaning: projects for DuckDB and
//! what packages write for it call them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListBuilder, StringArray,
    StringViewArray, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};
use serde_json::Value;
use sha1::Digest;

use super::json::texts;
use super::simple::{
    Call, Simple, arity, bad_value, each, gives_text, one_text, text, text_at, usage,
};

/// The functions of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let strings = |types: &[DataType]| {
        arity("str_split", types, 2, 2)?;
        Ok(vec![DataType::Utf8View; 2])
    };
    vec![
        Simple::aliased("str_split", &["string_split"], strings, |_, _| Ok(texts()), split),
        Simple::function("typeof", any, gives_text, kind),
        Simple::function(
            "regexp_full_match",
            |types| {
                arity("regexp_full_match", types, 2, 2)?;
                Ok(vec![DataType::Utf8View; 2])
            },
            |_, _| Ok(DataType::Boolean),
            full_match,
        ),
        Simple::function("json_type", one_text, gives_text, json_type),
        Simple::function("json_valid", one_text, |_, _| Ok(DataType::Boolean), json_valid),
        Simple::function("url_encode", one_text, gives_text, |args, _| each(args, encoded)),
        Simple::function("url_decode", one_text, gives_text, |args, _| each(args, decoded)),
        Simple::function("regexp_escape", one_text, gives_text, |args, _| {
            each(args, |value| Ok(regex::escape(value)))
        }),
        Simple::function(
            "bit_count",
            |types| {
                arity("bit_count", types, 1, 1)?;
                Ok(vec![DataType::Int64])
            },
            |_, _| Ok(DataType::Int64),
            |args, _| {
                let numbers = args[0].as_primitive::<Int64Type>();
                Ok(Arc::new(numbers.unary::<_, Int64Type>(|number| i64::from(number.count_ones()))))
            },
        ),
        Simple::function("sha1", one_text, gives_text, |args, _| {
            each(args, |value| Ok(hex(&sha1::Sha1::digest(value.as_bytes()))))
        }),
        Simple::function(
            "tidemill_bits",
            |types| {
                arity("bin", types, 1, 1)?;
                Ok(vec![if types[0].is_integer() { DataType::Int64 } else { DataType::Utf8View }])
            },
            gives_text,
            bits,
        ),
        Simple::function(
            "tidemill_hex",
            |types| {
                arity("hex", types, 1, 1)?;
                Ok(vec![if types[0].is_integer() { DataType::Int64 } else { DataType::Utf8View }])
            },
            gives_text,
            in_hex,
        ),
        Simple::function(
            "tidemill_glob",
            |types| {
                arity("glob", types, 2, 2)?;
                Ok(vec![DataType::Utf8View; 2])
            },
            |_, _| Ok(DataType::Boolean),
            |args, _| matched(args, globbed),
        ),
        Simple::function(
            "to_base",
            |types| {
                arity("to_base", types, 2, 2)?;
                Ok(vec![DataType::Int64; 2])
            },
            gives_text,
            in_base,
        ),
        Simple::function("tidemill_whole_text", any, whole_gives, whole_text),
        quotient(),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bits of a number, or of the bytes of a text.
fn bits(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    if let Some(numbers) = args[0].as_primitive_opt::<Int64Type>() {
        let all = numbers.iter().map(|number| number.map(|number| format!("{number:b}")));
        return Ok(Arc::new(all.collect::<StringViewArray>()));
    }
    each(args, |value| Ok(value.bytes().map(|byte| format!("{byte:08b}")).collect()))
}

/// A whole number, or the bytes of a text, in hexadecimal digits.
fn in_hex(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    if let Some(numbers) = args[0].as_primitive_opt::<Int64Type>() {
        let all = numbers.iter().map(|number| number.map(|number| format!("{number:X}")));
        return Ok(Arc::new(all.collect::<StringViewArray>()));
    }
    each(args, |value| Ok(value.bytes().map(|byte| format!("{byte:02X}")).collect()))
}

/// A number in the digits of a base.
fn in_base(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (numbers, bases) =
        (args[0].as_primitive::<Int64Type>(), args[1].as_primitive::<Int64Type>());
    let mut out = StringViewBuilder::with_capacity(numbers.len());
    for (number, base) in numbers.iter().zip(bases) {
        let (Some(number), Some(base)) = (number, base) else {
            out.append_null();
            continue;
        };
        let (Ok(mut rest), Some(base)) = (
            u64::try_from(number),
            u64::try_from(base).ok().filter(|base| (2..=36).contains(base)),
        ) else {
            return Err(bad_value("`to_base` takes numbers from 0 on, and a base from 2 to 36"));
        };
        let mut digits = Vec::new();
        while digits.is_empty() || rest > 0 {
            digits.push(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(rest % base) as usize]);
            rest /= base;
        }
        digits.reverse();
        out.append_value(String::from_utf8_lossy(&digits));
    }
    Ok(Arc::new(out.finish()))
}

/// The type's name in DuckDB.
fn kind(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    let [value] = args else { return usage("`typeof` takes one argument") };
    let name = match call.json {
        [Some(_)] => "JSON".to_owned(),
        _ => named(value.data_type()),
    };
    let names: StringViewArray = std::iter::repeat_n(Some(name), value.len()).collect();
    Ok(Arc::new(names))
}

/// The name of a type.
pub(crate) fn named(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "\"NULL\"".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "UTINYINT".to_owned(),
        DataType::UInt16 => "USMALLINT".to_owned(),
        DataType::UInt32 => "UINTEGER".to_owned(),
        DataType::UInt64 => "UBIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(TimeUnit::Microsecond) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BLOB".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", named(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), named(field.data_type())))
                .collect();
            format!("STRUCT({})", fields.join(", "))
        }
        _ => "VARCHAR".to_owned(),
    }
}

fn full_match(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    matched(args, |pattern| format!("^(?:{pattern})$"))
}

/// Whether texts fit patterns, of which `regular` makes regular expressions.
fn matched(args: &[ArrayRef], regular: fn(&str) -> String) -> Result<ArrayRef> {
    let (values, patterns) = (text(&args[0]), text(&args[1]));
    let mut known: Option<(String, regex::Regex)> = None;
    let fits: BooleanArray = (0..values.len())
        .map(|row| {
            let (Some(value), Some(pattern)) = (text_at(values, row), text_at(patterns, row))
            else {
                return Ok(None);
            };
            if known.as_ref().is_none_or(|(given, _)| given != pattern) {
                let whole = regex::Regex::new(&regular(pattern))
                    .map_err(|error| bad_value(format!("wrong regular expression: {error}")))?;
                known = Some((pattern.to_owned(), whole));
            }
            Ok(known.as_ref().map(|(_, whole)| whole.is_match(value)))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(fits))
}

/// A pattern of names of files (`*`, `?`, `[a-z]`, `[!a]`) as a regular expression.
fn globbed(pattern: &str) -> String {
    let mut whole = String::from("(?s)^");
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => whole.push_str(".*"),
            '?' => whole.push('.'),
            '\\' => {
                let quoted = letters.next().unwrap_or('\\');
                whole.push_str(&regex::escape(&quoted.to_string()));
            }
            '[' => {
                whole.push('[');
                if letters.next_if_eq(&'!').is_some() {
                    whole.push('^');
                }
                // A bracket that stands first is one of the letters.
                let mut first = true;
                for letter in letters.by_ref() {
                    match letter {
                        ']' if !first => break,
                        '-' => whole.push('-'),
                        other => whole.push_str(&regex::escape(&other.to_string())),
                    }
                    first = false;
                }
                whole.push(']');
            }
            other => whole.push_str(&regex::escape(&other.to_string())),
        }
    }
    whole.push('$');
    whole
}

/// Without a separator the text is whole, with an empty one it is cut into letters.
fn split(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let (values, separators) = (text(&args[0]), text(&args[1]));
    let mut out = ListBuilder::new(StringViewBuilder::new())
        .with_field(Field::new_list_field(DataType::Utf8View, true));
    for row in 0..values.len() {
        let Some(value) = text_at(values, row) else {
            out.append_null();
            continue;
        };
        match text_at(separators, row) {
            None => out.values().append_value(value),
            Some("") => {
                let mut letter = [0; 4];
                value.chars().for_each(|c| out.values().append_value(c.encode_utf8(&mut letter)));
            }
            Some(separator) => {
                value.split(separator).for_each(|part| out.values().append_value(part));
            }
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

fn any(types: &[DataType]) -> Result<Vec<DataType>> {
    arity("this function", types, 1, 1)?;
    Ok(types.to_vec())
}

fn json_type(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    each(args, |value| {
        Ok(match super::json::parsed(value)? {
            Value::Null => "NULL",
            Value::Bool(_) => "BOOLEAN",
            Value::Number(number) if number.is_u64() => "UBIGINT",
            Value::Number(number) if number.is_i64() => "BIGINT",
            Value::Number(_) => "DOUBLE",
            Value::String(_) => "VARCHAR",
            Value::Array(_) => "ARRAY",
            Value::Object(_) => "OBJECT",
        }
        .to_owned())
    })
}

fn json_valid(args: &[ArrayRef], _: &Call) -> Result<ArrayRef> {
    let values = text(&args[0]);
    let valid = |value: &str| serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    let valid = (0..values.len()).map(|row| text_at(values, row).map(valid));
    Ok(Arc::new(valid.collect::<BooleanArray>()))
}

fn encoded(value: &str) -> Result<String> {
    use std::fmt::Write;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            byte if byte.is_ascii_alphanumeric() => out.push(byte as char),
            // Writing into a text cannot fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    Ok(out)
}

pub(super) fn decoded(value: &str) -> Result<String> {
    let mut out = Vec::with_capacity(value.len());
    let bytes = value.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = value.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| bad_value("the decoded text is no UTF-8"))
}

/// Texts that a cast to an integer takes there: `'12.6'` is 13. Other types stay.
fn whole_gives(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match types {
        [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View] => DataType::Utf8,
        [other] => other.clone(),
        _ => return usage("a cast takes one value"),
    })
}

fn whole_text(args: &[ArrayRef], call: &Call) -> Result<ArrayRef> {
    if !matches!(call.returns, DataType::Utf8) || !args[0].data_type().is_string() {
        return Ok(args[0].clone());
    }
    let values = cast(&args[0], &DataType::Utf8View)?;
    let values = text(&values);
    let whole = |value: &str| -> String {
        let trimmed = value.trim();
        let fraction = trimmed.contains(['.', 'e', 'E']);
        match trimmed.parse::<f64>() {
            Ok(number) if fraction && number.is_finite() && number.abs() < 9e15 => {
                format!("{:.0}", number.round())
            }
            _ => value.to_owned(),
        }
    };
    let texts = (0..values.len()).map(|row| text_at(values, row).map(whole));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

static QUOTIENT: std::sync::LazyLock<Arc<ScalarUDF>> =
    std::sync::LazyLock::new(|| Arc::new(quotient()));

/// A division of doubles that gives an infinity where the divisor is 0.
pub(crate) fn divided(left: Expr, right: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(QUOTIENT.clone(), vec![left, right]))
}

fn quotient() -> ScalarUDF {
    Simple::function(
        "tidemill_quotient",
        |types| {
            arity("/", types, 2, 2)?;
            Ok(vec![DataType::Float64; 2])
        },
        |_, _| Ok(DataType::Float64),
        |args, _| {
            let (left, right) =
                (args[0].as_primitive::<Float64Type>(), args[1].as_primitive::<Float64Type>());
            let quotients = left.iter().zip(right).map(|(left, right)| Some(left? / right?));
            Ok(Arc::new(quotients.collect::<Float64Array>()))
        },
    )
}
