//! Methods of strings.

use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::state::State;
use crate::text::{is_space, template};
use crate::value::{Dict, Str, Value, repeat_text};

pub(crate) const METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

pub(crate) fn call(
    text: &Str,
    name: &str,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let text = text.as_str();
    state.charge(text.len() as u64 / 256)?;
    Ok(match name {
        "lower" => Value::from(text.to_lowercase()),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "upper" => Value::from(text.to_uppercase()),
        "capitalize" => Value::from(capitalize(text)),
        "title" => Value::from(title(text)),
        "swapcase" => Value::from(
            text.chars()
                .flat_map(|c| -> Vec<char> {
                    if c.is_uppercase() {
                        c.to_lowercase().collect()
                    } else {
                        c.to_uppercase().collect()
                    }
                })
                .collect::<String>(),
        ),
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            let set: Option<Vec<char>> = match &chars {
                None | Some(Value::None) => None,
                Some(chars) => Some(string(chars, name)?.chars().collect()),
            };
            let drops = |c: char| match &set {
                Some(set) => set.contains(&c),
                None => is_space(c),
            };
            Value::from(match name {
                "strip" => text.trim_matches(drops),
                "lstrip" => text.trim_start_matches(drops),
                _ => text.trim_end_matches(drops),
            })
        }
        "split" | "rsplit" => {
            let [separator, limit] = args.bind(name, ["sep", "maxsplit"], 0)?;
            let limit = match limit {
                Some(limit) => usize::try_from(expect_int(&limit)?).unwrap_or(usize::MAX),
                None => usize::MAX,
            };
            let parts = match &separator {
                None | Some(Value::None) => split_space(text, limit, name == "rsplit"),
                Some(separator) => {
                    let separator = string(separator, name)?;
                    if separator.is_empty() {
                        return Err(Error::runtime("empty separator"));
                    }
                    let pieces = limit.saturating_add(1);
                    if name == "split" {
                        text.splitn(pieces, separator).map(Value::from).collect()
                    } else {
                        let mut parts: Vec<Value> =
                            text.rsplitn(pieces, separator).map(Value::from).collect();
                        parts.reverse();
                        parts
                    }
                }
            };
            state.charge_items(parts.len())?;
            Value::list(parts)
        }
        "splitlines" => {
            let [keep] = args.bind(name, ["keepends"], 0)?;
            Value::list(split_lines(text, keep.is_some_and(|keep| keep.is_true())))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
            let (old, new) = (required(&old, name)?, required(&new, name)?);
            let count = match count {
                Some(count) => usize::try_from(expect_int(&count)?).unwrap_or(usize::MAX),
                None => usize::MAX,
            };
            return replace(text, old, new, count, state).map(Value::from);
        }
        "startswith" | "endswith" => {
            let [part, start, end] = args.bind(name, ["prefix", "start", "end"], 1)?;
            let within = sub(text, &start, &end)?;
            let matches = |part: &str| {
                if name == "startswith" { within.starts_with(part) } else { within.ends_with(part) }
            };
            match &part {
                Some(Value::Str(part)) => Value::Bool(matches(part)),
                Some(Value::Tuple(parts)) => {
                    let mut found = false;
                    for part in parts.iter() {
                        found |= matches(string(part, name)?);
                    }
                    Value::Bool(found)
                }
                Some(Value::Undefined(undefined)) => return Err(undefined.error()),
                other => {
                    return Err(Error::type_error(format!(
                        "{name} first arg must be str or a tuple of str, not {}",
                        other.as_ref().map_or("NoneType", Value::type_name)
                    )));
                }
            }
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [part, start, end] = args.bind(name, ["sub", "start", "end"], 1)?;
            let part = required(&part, name)?;
            let offset = bounds(text, &start, &end)?.0;
            let within = sub(text, &start, &end)?;
            if name == "count" {
                return Ok(Value::from(if part.is_empty() {
                    within.chars().count() + 1
                } else {
                    within.matches(part).count()
                }));
            }
            let found = if name.starts_with('r') { within.rfind(part) } else { within.find(part) };
            match found {
                Some(at) => Value::from(offset + within[..at].chars().count()),
                None if name.ends_with("index") => {
                    return Err(Error::runtime("substring not found"));
                }
                None => Value::Int(-1),
            }
        }
        "join" => {
            let [items] = args.bind(name, ["iterable"], 1)?;
            let items = items.unwrap_or(Value::None);
            let items = items.items().map_err(|error| match &items {
                Value::Undefined(_) => error,
                _ => Error::type_error("can only join an iterable"),
            })?;
            let mut out = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(text);
                }
                match item {
                    Value::Str(item) => out.push_str(item),
                    other => {
                        return Err(Error::type_error(format!(
                            "sequence item {index}: expected str instance, {} found",
                            other.type_name()
                        )));
                    }
                }
                if out.len() > state.budget().output_bytes {
                    break;
                }
            }
            state.charge_text(out.len())?;
            Value::from(out)
        }
        "format" => Value::from(template::format(text, args, state)?),
        "format_map" => {
            let [mapping] = args.bind(name, ["mapping"], 1)?;
            let dict = super::dict::from_mapping(&mapping.unwrap_or(Value::None), state)
                .ok_or_else(|| Error::type_error("format_map() argument must be a mapping"))?;
            let keyword = dict.entries().into_iter().filter_map(|(key, value)| match key {
                Value::Str(key) => Some((key.as_arc().clone(), value)),
                _ => None,
            });
            Value::from(template::format(text, &Args::new([], keyword), state)?)
        }
        "ljust" | "rjust" | "center" => {
            let [width, fill] = args.bind(name, ["width", "fillchar"], 1)?;
            let width = expect_int(&width.unwrap_or(Value::None))?;
            let fill = match &fill {
                None => ' ',
                Some(fill) => {
                    let mut chars = string(fill, name)?.chars();
                    match (chars.next(), chars.next()) {
                        (Some(fill), None) => fill,
                        _ => {
                            return Err(Error::type_error(
                                "The fill character must be exactly one character long",
                            ));
                        }
                    }
                }
            };
            Value::from(justify(text, width, fill, name, state)?)
        }
        "zfill" => {
            let [width] = args.bind(name, ["width"], 1)?;
            let width = expect_int(&width.unwrap_or(Value::None))?;
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text),
            };
            let width = width - sign.len() as i128;
            Value::from(format!("{sign}{}", justify(digits, width, '0', "rjust", state)?))
        }
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, ["sep"], 1)?;
            let separator = required(&separator, name)?;
            if separator.is_empty() {
                return Err(Error::runtime("empty separator"));
            }
            let split = if name == "partition" {
                text.split_once(separator)
            } else {
                text.rsplit_once(separator)
            };
            let parts = match split {
                Some((before, after)) => [before, separator, after],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::tuple(parts.map(Value::from))
        }
        "removeprefix" | "removesuffix" => {
            let [part] = args.bind(name, ["prefix"], 1)?;
            let part = required(&part, name)?;
            let rest = if name == "removeprefix" {
                text.strip_prefix(part)
            } else {
                text.strip_suffix(part)
            };
            Value::from(rest.unwrap_or(text))
        }
        "expandtabs" => {
            let [size] = args.bind(name, ["tabsize"], 0)?;
            let size = size.as_ref().map_or(Ok(8), expect_int)?.clamp(0, 1000) as usize;
            state.charge_text(text.matches('\t').count().saturating_mul(size) + text.len())?;
            Value::from(expand_tabs(text, size))
        }
        "maketrans" => Value::Dict(translation(args)?),
        "translate" => {
            let [table] = args.bind(name, ["table"], 1)?;
            let table = table.unwrap_or(Value::None);
            let mut out = String::new();
            for c in text.chars() {
                match table.subscript(&Value::from(c as u32))? {
                    None => out.push(c),
                    Some(Value::None) => {}
                    Some(Value::Str(to)) => out.push_str(&to),
                    Some(other) => {
                        let code = other.as_int().and_then(|code| u32::try_from(code).ok());
                        out.extend(code.and_then(char::from_u32));
                    }
                }
            }
            state.charge_text(out.len())?;
            Value::from(out)
        }
        "encode" => {
            return Err(Error::type_error("bytes are not supported in templates"));
        }
        _ => Value::Bool(is_kind(text, name)),
    })
}

/// `str.maketrans`: the table that `translate` reads, by the numbers of characters.
fn translation(args: &Args) -> Result<Dict, Error> {
    let [from, to, without] = args.bind("maketrans", ["x", "y", "z"], 1)?;
    let from = from.unwrap_or(Value::None);
    let table = Dict::new();
    let Some(to) = to else {
        let Value::Dict(given) = &from else {
            return Err(Error::type_error(
                "if you give only one argument to maketrans it must be a dict",
            ));
        };
        for (key, value) in given.entries() {
            let key = match &key {
                Value::Str(key) => {
                    let mut chars = key.as_str().chars();
                    match (chars.next(), chars.next()) {
                        (Some(only), None) => Value::from(only as u32),
                        _ => {
                            return Err(Error::runtime(
                                "string keys in translate table must be of length 1",
                            ));
                        }
                    }
                }
                Value::Int(_) => key,
                _ => {
                    return Err(Error::type_error(
                        "keys in translate table must be strings or integers",
                    ));
                }
            };
            table.insert(key, value)?;
        }
        return Ok(table);
    };
    let (from, to) = (string(&from, "maketrans")?, string(&to, "maketrans")?);
    if from.chars().count() != to.chars().count() {
        return Err(Error::runtime("the first two maketrans arguments must have equal length"));
    }
    for (from, to) in from.chars().zip(to.chars()) {
        table.insert(Value::from(from as u32), Value::from(to as u32))?;
    }
    if let Some(without) = &without {
        for char in string(without, "maketrans")?.chars() {
            table.insert(Value::from(char as u32), Value::None)?;
        }
    }
    Ok(table)
}

fn is_kind(text: &str, name: &str) -> bool {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    match name {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(|c| c.is_numeric() && is_decimal(c)),
        "isdigit" => {
            all(|c| is_decimal(c) || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉'))
        }
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => text.chars().all(|c| !c.is_control() && (c == ' ' || !is_space(c))),
        "isidentifier" => {
            text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic())
                && text.chars().all(|c| c == '_' || c.is_alphanumeric())
        }
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "istitle" => {
            let mut inside = false;
            let mut any = false;
            for c in text.chars() {
                if c.is_uppercase() {
                    if inside {
                        return false;
                    }
                    inside = true;
                    any = true;
                } else if c.is_lowercase() {
                    if !inside {
                        return false;
                    }
                } else {
                    inside = false;
                }
            }
            any
        }
        _ => false,
    }
}

/// Decimal digits of any script: their blocks of ten.
fn is_decimal(c: char) -> bool {
    c.is_ascii_digit()
        || (c.is_numeric()
            && matches!(c as u32,
                0x660..=0x669 | 0x6f0..=0x6f9 | 0x966..=0x96f | 0x9e6..=0x9ef | 0xff10..=0xff19))
}

fn string<'v>(value: &'v Value, name: &str) -> Result<&'v str, Error> {
    match value {
        Value::Str(text) => Ok(text),
        Value::Undefined(undefined) => Err(undefined.error()),
        other => Err(Error::type_error(match name {
            "find" | "rfind" | "index" | "rindex" | "count" | "partition" | "rpartition" => {
                format!("must be str, not {}", other.type_name())
            }
            _ => format!("{name}() argument must be str, not {}", other.type_name()),
        })),
    }
}

fn required<'v>(value: &'v Option<Value>, name: &str) -> Result<&'v str, Error> {
    string(value.as_ref().unwrap_or(&Value::None), name)
}

/// Start and end of `[start:end]` in characters.
fn bounds(text: &str, start: &Option<Value>, end: &Option<Value>) -> Result<(usize, usize), Error> {
    let length = text.chars().count();
    let clamp = |value: &Option<Value>, default: usize| -> Result<usize, Error> {
        match value {
            None | Some(Value::None) => Ok(default),
            Some(value) => {
                let at = expect_int(value)?;
                let at = if at < 0 { (at + length as i128).max(0) } else { at };
                Ok((at as usize).min(length))
            }
        }
    };
    Ok((clamp(start, 0)?, clamp(end, length)?))
}

fn sub<'t>(text: &'t str, start: &Option<Value>, end: &Option<Value>) -> Result<&'t str, Error> {
    if start.is_none() && end.is_none() {
        return Ok(text);
    }
    let (start, end) = bounds(text, start, end)?;
    let byte = |count: usize| text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    Ok(if start < end { &text[byte(start)..byte(end)] } else { "" })
}

fn split_space(text: &str, limit: usize, from_right: bool) -> Vec<Value> {
    let mut parts = Vec::new();
    if from_right {
        let mut rest = text.trim_end_matches(is_space);
        while !rest.is_empty() {
            if parts.len() == limit {
                parts.push(Value::from(rest));
                break;
            }
            let start = rest
                .char_indices()
                .rev()
                .find(|(_, c)| is_space(*c))
                .map_or(0, |(at, c)| at + c.len_utf8());
            parts.push(Value::from(&rest[start..]));
            rest = rest[..start].trim_end_matches(is_space);
        }
        parts.reverse();
        return parts;
    }
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(Value::from(rest));
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(Value::from(&rest[..end]));
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

fn split_lines(text: &str, keep: bool) -> Vec<Value> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let is_end = matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if !is_end {
            continue;
        }
        let mut after = at + c.len_utf8();
        if c == '\r' && chars.next_if(|(_, next)| *next == '\n').is_some() {
            after += 1;
        }
        lines.push(Value::from(&text[start..if keep { after } else { at }]));
        start = after;
    }
    if start < text.len() {
        lines.push(Value::from(&text[start..]));
    }
    lines
}

/// `str.replace`, within the budget.
pub(crate) fn replace(
    text: &str,
    old: &str,
    new: &str,
    count: usize,
    state: &mut State<'_>,
) -> Result<String, Error> {
    if new.len() > old.len() {
        let found =
            if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() }
                .min(count);
        state.charge_text(text.len().saturating_add(found.saturating_mul(new.len())))?;
    } else {
        state.charge_text(text.len())?;
    }
    Ok(if count == usize::MAX { text.replace(old, new) } else { text.replacen(old, new, count) })
}

fn justify(
    text: &str,
    width: i128,
    fill: char,
    name: &str,
    state: &mut State<'_>,
) -> Result<String, Error> {
    let width = usize::try_from(width).unwrap_or(if width < 0 { 0 } else { usize::MAX });
    let missing = width.saturating_sub(text.chars().count());
    let mut buffer = [0; 4];
    let fill: &str = fill.encode_utf8(&mut buffer);
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // CPython's rounding: the odd one goes left when the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    Ok(format!(
        "{}{text}{}",
        repeat_text(fill, left, state)?,
        repeat_text(fill, missing - left, state)?
    ))
}

fn expand_tabs(text: &str, size: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

/// First character upper case, the others lower case.
pub(crate) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}
