//! Filters on text.

use std::fmt::Write;

use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::json;
use crate::state::State;
use crate::text::{is_space, percent};
use crate::types::{dict, string as methods};
use crate::value::{Str, Tuple, Value, repeat_text};

fn method(value: &Value, name: &str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    methods::call(&Str::new(value.to_string()), name, args, state)
}

pub(super) fn string(value: &Value, _args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    if let Value::Str(text) = value {
        return Ok(Value::str(text.as_str()));
    }
    let text = value.to_string();
    state.charge_text(text.len())?;
    Ok(Value::from(text))
}

pub(super) fn lower(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [] = args.bind("do_lower", [], 0)?;
    method(value, "lower", args, state)
}

pub(super) fn upper(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [] = args.bind("do_upper", [], 0)?;
    method(value, "upper", args, state)
}

pub(super) fn capitalize(
    value: &Value,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let [] = args.bind("do_capitalize", [], 0)?;
    method(value, "capitalize", args, state)
}

pub(super) fn title(value: &Value, _args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let mut out = String::new();
    let mut starts = true;
    for c in value.to_string().chars() {
        if is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<') {
            starts = true;
            out.push(c);
        } else if std::mem::take(&mut starts) {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
    Ok(Value::from(out))
}

pub(super) fn trim(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    method(value, "strip", args, state)
}

pub(super) fn center(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [width] = args.bind("do_center", ["width"], 0)?;
    let args = Args::positional_only([width.unwrap_or(Value::Int(80))]);
    method(value, "center", &args, state)
}

pub(super) fn replace(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [old, new, count] = args.bind("do_replace", ["old", "new", "count"], 2)?;
    let old = old.unwrap_or(Value::None).to_string();
    let new = new.unwrap_or(Value::None).to_string();
    let count = match count {
        None | Some(Value::None) => usize::MAX,
        Some(count) => usize::try_from(expect_int(&count)?).unwrap_or(usize::MAX),
    };
    methods::replace(&value.to_string(), &old, &new, count, state).map(Value::from)
}

pub(super) fn format(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    if !args.positional().is_empty() && !args.keyword().is_empty() {
        return Err(Error::type_error(
            "can't handle positional and keyword arguments at the same time",
        ));
    }
    let values = if args.keyword().is_empty() {
        Value::Tuple(Tuple::new(args.positional().to_vec()))
    } else {
        Value::Dict(args.keyword_dict())
    };
    percent::format(&Str::new(value.to_string()), &values, state).map(Value::from)
}

pub(super) fn indent(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [width, first, blank] = args.bind("do_indent", ["width", "first", "blank"], 0)?;
    let indention = match &width {
        None => "    ".to_string(),
        Some(Value::Str(text)) => text.to_string(),
        Some(other) => {
            let width = usize::try_from(expect_int(other)?).unwrap_or(0);
            repeat_text(" ", width, state)?
        }
    };
    let text = match value {
        Value::Str(text) => text.to_string(),
        Value::Undefined(undefined) => return Err(undefined.error()),
        other => {
            return Err(Error::type_error(format!(
                "unsupported operand type(s) for +=: '{}' and 'str'",
                other.type_name()
            )));
        }
    };
    let args = Args::none();
    // A line end is added so that a last empty line counts.
    let lines = methods::call(&Str::new(format!("{text}\n")), "splitlines", &args, state)?;
    let lines = lines.items()?;
    let blank = blank.is_some_and(|flag| flag.is_true());
    state.charge_text(text.len() + lines.len().saturating_mul(indention.len()))?;
    let mut out = String::with_capacity(text.len() + lines.len() * indention.len());
    if first.is_some_and(|flag| flag.is_true()) {
        out.push_str(&indention);
    }
    for (index, line) in lines.iter().enumerate() {
        let line = line.as_str().unwrap_or("");
        if index > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indention);
            }
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

pub(super) fn truncate(value: &Value, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [length, kill, end, leeway] =
        args.bind("do_truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let length = length.as_ref().map_or(Ok(255), expect_int)?;
    let end = end.map_or_else(|| "...".to_string(), |end| end.to_string());
    let leeway = match &leeway {
        None | Some(Value::None) => 5,
        Some(leeway) => expect_int(leeway)?,
    };
    let end_length = end.chars().count() as i128;
    if length < end_length {
        return Err(Error::runtime(format!("expected length >= {end_length}, got {length}")));
    }
    if leeway < 0 {
        return Err(Error::runtime(format!("expected leeway >= 0, got {leeway}")));
    }
    let text = value.to_string();
    if text.chars().count() as i128 <= length.saturating_add(leeway) {
        return Ok(Value::from(text));
    }
    let kept: String = text.chars().take((length - end_length) as usize).collect();
    let kept = if kill.is_some_and(|flag| flag.is_true()) {
        kept.as_str()
    } else {
        kept.rsplit_once(' ').map_or(kept.as_str(), |(before, _)| before)
    };
    Ok(Value::from(format!("{kept}{end}")))
}

pub(super) fn wordcount(
    value: &Value,
    _args: &Args,
    _state: &mut State<'_>,
) -> Result<Value, Error> {
    let text = value.to_string();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    Ok(Value::from(text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count()))
}

/// The characters that mean something in HTML, as entities.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn escape(value: &Value, _args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let text = escaped(&value.to_string());
    state.charge_text(text.len())?;
    Ok(Value::from(text))
}

pub(super) fn striptags(
    value: &Value,
    _args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let text = value.to_string();
    state.charge_text(text.len())?;
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('<') {
        plain.push_str(&rest[..at]);
        let (open, close) = if rest[at..].starts_with("<!--") { (4, "-->") } else { (1, ">") };
        match rest[at + open..].find(close) {
            Some(end) => rest = &rest[at + open + end + close.len()..],
            None => {
                plain.push_str(&rest[at..]);
                rest = "";
            }
        }
    }
    plain.push_str(rest);
    let words: Vec<&str> = plain.split(is_space).filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    Ok(Value::from(
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&#39;", "'")
            .replace("&#34;", "\"")
            .replace("&quot;", "\"")
            .replace("&amp;", "&"),
    ))
}

/// Jinja2's filter: sorted keys, and characters that HTML minds escaped.
pub(super) fn tojson(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [indent] = args.bind("do_tojson", ["indent"], 0)?;
    let indent = match &indent {
        None | Some(Value::None) => None,
        Some(width) => Some(usize::try_from(expect_int(width)?).unwrap_or(0).min(100)),
    };
    if let Value::Undefined(_) = value {
        return Err(Error::type_error("Object of type Undefined is not JSON serializable"));
    }
    let text = json::dumps(value, true, indent)?;
    state.charge_text(text.len())?;
    Ok(Value::from(
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\'', "\\u0027"),
    ))
}

fn quoted(text: &str, in_query: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(byte as char);
            }
            b'/' if !in_query => out.push('/'),
            b' ' if in_query => out.push('+'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

pub(super) fn urlencode(
    value: &Value,
    _args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let pairs: Vec<(Value, Value)> = match dict::from_mapping(value, state) {
        Some(dict) => dict.entries(),
        None if matches!(value, Value::Str(_)) || !value.is_iterable() => {
            return Ok(Value::from(quoted(&value.to_string(), false)));
        }
        None => {
            let mut pairs = Vec::new();
            for pair in value.items()? {
                let [key, value] = <[Value; 2]>::try_from(pair.items()?)
                    .map_err(|_| Error::runtime("urlencode needs pairs of key and value"))?;
                pairs.push((key, value));
            }
            pairs
        }
    };
    let parts: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            format!("{}={}", quoted(&key.to_string(), true), quoted(&value.to_string(), true))
        })
        .collect();
    Ok(Value::from(parts.join("&")))
}

/// Links for words that are web addresses. Jinja2's finer rules (trailing punctuation inside of
/// brackets, extra schemes) are left out: SQL has no use for them.
pub(super) fn urlize(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [limit, nofollow, target, rel] =
        args.bind("do_urlize", ["trim_url_limit", "nofollow", "target", "rel"], 0)?;
    let limit = match &limit {
        None | Some(Value::None) => usize::MAX,
        Some(limit) => usize::try_from(expect_int(limit)?).unwrap_or(usize::MAX),
    };
    let mut rels: Vec<String> = rel.iter().map(|rel| rel.to_string()).collect();
    if nofollow.is_some_and(|flag| flag.is_true()) {
        rels.push("nofollow".into());
    }
    rels.push("noopener".into());
    rels.sort();
    let target = target
        .filter(|target| !target.is_none())
        .map_or_else(String::new, |target| format!(" target=\"{}\"", escaped(&target.to_string())));
    let text = value.to_string();
    state.charge_text(text.len().saturating_mul(3))?;
    let mut out = String::new();
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let bare = word.trim_end_matches(['.', ',', ')', '>', '\n']);
        let tail = &word[bare.len()..];
        let href = if bare.starts_with("http://") || bare.starts_with("https://") {
            bare.to_string()
        } else if bare.starts_with("www.") {
            format!("https://{bare}")
        } else {
            out.push_str(&escaped(word));
            continue;
        };
        let mut label: String = bare.chars().take(limit).collect();
        if label.len() < bare.len() {
            label.push_str("...");
        }
        let _ = write!(
            out,
            "<a href=\"{}\" rel=\"{}\"{target}>{}</a>{}",
            escaped(&href),
            rels.join(" "),
            escaped(&label),
            escaped(tail)
        );
    }
    Ok(Value::from(out))
}

/// Python's `pprint.pformat`: on one line if it fits in 80 columns, else one part a line; dict
/// keys sorted.
pub(super) fn pprint(value: &Value, _args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let mut out = String::new();
    pretty(value, 0, 0, &mut out);
    state.charge_text(out.len())?;
    Ok(Value::from(out))
}

fn sorted_repr(value: &Value, depth: usize) -> String {
    match value {
        _ if depth > 50 => value.repr(),
        Value::Dict(dict) => {
            let parts: Vec<String> = sorted_entries(dict)
                .iter()
                .map(|(key, value)| format!("{}: {}", key.repr(), sorted_repr(value, depth + 1)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::List(list) => {
            let parts: Vec<String> =
                list.to_vec().iter().map(|item| sorted_repr(item, depth + 1)).collect();
            format!("[{}]", parts.join(", "))
        }
        other => other.repr(),
    }
}

fn sorted_entries(dict: &crate::Dict) -> Vec<(Value, Value)> {
    let mut entries = dict.entries();
    entries.sort_by(|(a, _), (b, _)| {
        crate::value::compare(a, b, "<")
            .ok()
            .flatten()
            .unwrap_or_else(|| (a.type_name(), a.repr()).cmp(&(b.type_name(), b.repr())))
    });
    entries
}

fn pretty(value: &Value, indent: usize, depth: usize, out: &mut String) {
    let flat = sorted_repr(value, depth);
    if flat.chars().count() + indent <= 80 || depth > 50 {
        out.push_str(&flat);
        return;
    }
    let line = |out: &mut String| {
        out.push_str(",\n");
        out.extend(std::iter::repeat_n(' ', indent + 1));
    };
    match value {
        Value::Dict(dict) => {
            out.push('{');
            for (index, (key, value)) in sorted_entries(dict).iter().enumerate() {
                if index > 0 {
                    line(out);
                }
                let key = key.repr();
                out.push_str(&key);
                out.push_str(": ");
                pretty(value, indent + 3 + key.chars().count(), depth + 1, out);
            }
            out.push('}');
        }
        Value::List(_) | Value::Tuple(_) => {
            let items = value.to_items().unwrap_or_default();
            let (open, close) =
                if matches!(value, Value::List(_)) { ('[', "]") } else { ('(', ")") };
            out.push(open);
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    line(out);
                }
                pretty(item, indent + 1, depth + 1, out);
            }
            if items.len() == 1 && close == ")" {
                out.push(',');
            }
            out.push_str(close);
        }
        _ => out.push_str(&flat),
    }
}
