//! Python's `str()` and `repr()`.

use std::cell::RefCell;
use std::fmt::Write;

use super::Value;

/// Nested deeper than this, `...` is printed.
const DEPTH: usize = 100;

/// Appends what `{{ value }}` writes.
pub(crate) fn push_str(out: &mut String, value: &Value) {
    match value {
        Value::Undefined(_) => {}
        Value::Str(text) => out.push_str(text),
        Value::Object(object) => {
            let address = std::ptr::from_ref(object.as_ref()).cast::<()>() as usize;
            if enter(address) {
                out.push_str(&object.render());
                leave();
            } else {
                out.push_str("...");
            }
        }
        other => push_repr(out, other),
    }
}

/// Python's `repr()`.
pub(crate) fn repr(value: &Value) -> String {
    let mut out = String::new();
    push_repr(&mut out, value);
    out
}

fn push_repr(out: &mut String, value: &Value) {
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => out.push_str(&float_repr(*number)),
        Value::Str(text) => push_string_repr(out, text),
        Value::List(list) => {
            if !enter(list.address()) {
                out.push_str("[...]");
                return;
            }
            push_sequence(out, '[', &list.to_vec(), "]");
            leave();
        }
        Value::Tuple(items) => {
            if !enter(items.address()) {
                out.push_str("(...)");
                return;
            }
            push_sequence(out, '(', items, if items.len() == 1 { ",)" } else { ")" });
            leave();
        }
        Value::Dict(dict) => {
            if !enter(dict.address()) {
                out.push_str("{...}");
                return;
            }
            out.push('{');
            for (index, (key, value)) in dict.entries().iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                push_repr(out, key);
                out.push_str(": ");
                push_repr(out, value);
            }
            out.push('}');
            leave();
        }
        Value::Macro(called) => {
            let _ = write!(out, "<Macro '{}'>", called.name());
        }
        Value::Function(function) => {
            let _ = write!(out, "<function {}>", function.name());
        }
        Value::Method(method) => {
            let _ = write!(
                out,
                "<built-in method {} of {} object>",
                method.name(),
                method.receiver().type_name()
            );
        }
        Value::Object(object) => {
            let address = std::ptr::from_ref(object.as_ref()).cast::<()>() as usize;
            if !enter(address) {
                out.push_str("...");
                return;
            }
            out.push_str(&object.repr());
            leave();
        }
    }
}

thread_local! {
    /// The containers that are being printed on this thread: objects print what is in them by a
    /// new call of `repr`, so this cannot be an argument.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// False when this container is being printed already, or too many are.
fn enter(address: usize) -> bool {
    INSIDE.with(|inside| {
        let mut inside = inside.borrow_mut();
        if inside.len() >= DEPTH || inside.contains(&address) {
            return false;
        }
        inside.push(address);
        true
    })
}

fn leave() {
    INSIDE.with(|inside| inside.borrow_mut().pop());
}

fn push_sequence(out: &mut String, open: char, items: &[Value], close: &str) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push_repr(out, item);
    }
    out.push_str(close);
}

/// `repr()` of a string: single quotes unless the text has them and no double ones.
pub(crate) fn string_repr(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string_repr(&mut out, text);
    out
}

fn push_string_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..=0xa0).contains(&(c as u32)) || c as u32 == 0xad => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if is_unprintable(c) => {
                if (c as u32) < 0x10000 {
                    let _ = write!(out, "\\u{:04x}", c as u32);
                } else {
                    let _ = write!(out, "\\U{:08x}", c as u32);
                }
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// The characters outside Latin-1 that Python escapes and people meet: separators and marks of
/// direction, byte-order mark, private use, surrogate-adjacent non-characters.
fn is_unprintable(c: char) -> bool {
    matches!(
        c as u32,
        0x1680
            | 0x180e
            | 0x2000..=0x200f
            | 0x2028..=0x202f
            | 0x205f..=0x206f
            | 0x3000
            | 0xe000..=0xf8ff
            | 0xfeff
            | 0xfff0..=0xfffb
            | 0xfffe
            | 0xffff
            | 0xe0000..=0x10ffff
    )
}

/// `repr()` of a float: the shortest text that reads back the same.
pub(crate) fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_string();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let mut plain = format!("{number}");
        if !plain.contains('.') {
            plain.push_str(".0");
        }
        plain
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    }
}
