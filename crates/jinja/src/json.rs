//! JSON text as Python's `json` module reads and writes it.

use std::fmt::Write;

use crate::error::Error;
use crate::value::{Value, float_repr, json_key};

/// Python's `json.dumps(value, sort_keys=..., indent=...)`: `", "` and `": "` between parts,
/// characters beyond ASCII escaped.
pub fn dumps(value: &Value, sort_keys: bool, indent: Option<usize>) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, sort_keys, indent, 0)?;
    Ok(out)
}

/// Python's `json.loads`.
pub fn loads(text: &str) -> Result<Value, Error> {
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| Error::runtime(format!("the text is not JSON: {error}")))?;
    Ok(Value::from(&json))
}

fn write(
    out: &mut String,
    value: &Value,
    sort_keys: bool,
    indent: Option<usize>,
    depth: usize,
) -> Result<(), Error> {
    if depth > 200 {
        return Err(Error::runtime("Circular reference detected"));
    }
    let line = |out: &mut String, depth: usize| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    let array = |out: &mut String, items: &[Value]| -> Result<(), Error> {
        if items.is_empty() {
            out.push_str("[]");
            return Ok(());
        }
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(separator);
            }
            line(out, depth + 1);
            write(out, item, sort_keys, indent, depth + 1)?;
        }
        line(out, depth);
        out.push(']');
        Ok(())
    };
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) if number.is_nan() => out.push_str("NaN"),
        Value::Float(number) if number.is_infinite() => {
            out.push_str(if *number > 0.0 { "Infinity" } else { "-Infinity" });
        }
        Value::Float(number) => out.push_str(&float_repr(*number)),
        Value::Str(text) => write_string(out, text),
        Value::List(list) => array(out, &list.to_vec())?,
        Value::Tuple(items) => array(out, items)?,
        Value::Dict(dict) => {
            let mut entries = Vec::with_capacity(dict.len());
            for (key, value) in dict.entries() {
                entries.push((json_key(&key)?, value));
            }
            if sort_keys {
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            if entries.is_empty() {
                out.push_str("{}");
                return Ok(());
            }
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(separator);
                }
                line(out, depth + 1);
                write_string(out, key);
                out.push_str(": ");
                write(out, value, sort_keys, indent, depth + 1)?;
            }
            line(out, depth);
            out.push('}');
        }
        other => {
            if let Value::Object(object) = other
                && let Some(plain) = object.to_json()
            {
                return write(out, &plain, sort_keys, indent, depth + 1);
            }
            return Err(Error::type_error(format!(
                "Object of type {} is not JSON serializable",
                other.type_name()
            )));
        }
    }
    Ok(())
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}
