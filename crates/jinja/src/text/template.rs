//! `'{} {name}'.format(...)`.

use super::spec;
use crate::error::Error;
use crate::function::Args;
use crate::render;
use crate::state::State;
use crate::value::{Value, repr};

/// Python's `str.format`.
pub(crate) fn format(text: &str, args: &Args, state: &mut State<'_>) -> Result<String, Error> {
    let mut automatic = 0;
    expand(text, args, &mut automatic, 2, state)
}

fn expand(
    text: &str,
    args: &Args,
    automatic: &mut usize,
    depth: usize,
    state: &mut State<'_>,
) -> Result<String, Error> {
    if depth == 0 {
        return Err(Error::runtime("Max string recursion exceeded"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if rest.as_bytes().first() == Some(&brace) {
            out.push(brace as char);
            rest = &rest[1..];
            continue;
        }
        if brace == b'}' {
            return Err(Error::runtime("Single '}' encountered in format string"));
        }
        let end = closing(rest)?;
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let (name, specification) = split_spec(field);
        let (name, conversion) = match name.split_once('!') {
            Some((name, conversion)) => (name, Some(conversion)),
            None => (name, None),
        };
        let value = field_value(name, args, automatic, state)?;
        let value = match conversion {
            None => value,
            Some("s") => Value::from(value.to_string()),
            Some("r" | "a") => Value::from(repr(&value)),
            Some(other) => {
                return Err(Error::runtime(format!("Unknown conversion specifier '{other}'")));
            }
        };
        let specification =
            expand(specification, args, automatic, depth - 1, state).or_else(|error| {
                if specification.contains('{') { Err(error) } else { Ok(specification.to_string()) }
            })?;
        out.push_str(&spec::format(&value, &specification, state)?);
        state.charge_text(out.len() / 8)?;
    }
    out.push_str(rest);
    state.charge_text(out.len())?;
    Ok(out)
}

/// The closing brace of a field, past fields within its specification.
fn closing(text: &str) -> Result<usize, Error> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Ok(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    Err(Error::runtime(if text.is_empty() {
        "Single '{' encountered in format string"
    } else {
        "expected '}' before end of string"
    }))
}

/// Splits at the first `:` outside of brackets.
fn split_spec(field: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, c) in field.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ':' if depth <= 0 => return (&field[..at], &field[at + 1..]),
            _ => {}
        }
    }
    (field, "")
}

fn field_value(
    name: &str,
    args: &Args,
    automatic: &mut usize,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let mut value = if first.is_empty() {
        let index = *automatic;
        *automatic += 1;
        positional(args, index)?
    } else if let Ok(index) = first.parse::<usize>() {
        positional(args, index)?
    } else {
        args.get_keyword(first)
            .cloned()
            .ok_or_else(|| Error::runtime(format!("KeyError: '{first}'")))?
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            value = render::attribute(&value, &after[..end], state)?;
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let end =
                after.find(']').ok_or_else(|| Error::runtime("Missing ']' in format string"))?;
            let key = &after[..end];
            let key = key.parse::<i128>().map_or_else(|_| Value::str(key), Value::Int);
            value = value.get_item(&key, state)?;
            rest = &after[end + 1..];
        } else {
            return Err(Error::runtime("Only '.' or '[' may follow ']' in format field specifier"));
        }
        if let Value::Undefined(undefined) = &value {
            return Err(undefined.error());
        }
    }
    Ok(value)
}

fn positional(args: &Args, index: usize) -> Result<Value, Error> {
    args.positional().get(index).cloned().ok_or_else(|| {
        Error::runtime(format!("Replacement index {index} out of range for positional args tuple"))
    })
}
