//! `modules.re`.

use std::sync::Arc;

use super::Module;
use super::matcher::Groups;
use super::pattern::{ASCII, Compiled, DOTALL, IGNORECASE, MULTILINE, UNICODE, VERBOSE, compile};
use crate::error::Error;
use crate::function::{Args, expect_int, expect_str};
use crate::object::Object;
use crate::state::State;
use crate::types::generator::Generator;
use crate::value::{Dict, Value};

/// `modules.re`.
pub(super) fn module() -> Value {
    let mut module = Module::new("re");
    module = module
        .function("compile", |args, _| {
            let [pattern, flags] = args.bind("compile", ["pattern", "flags"], 1)?;
            let flags = flags.as_ref().map_or(Ok(0), expect_int)?;
            Ok(Value::object(Pattern(of_value(&pattern.unwrap_or(Value::None), flags)?)))
        })
        .function("escape", |args, _| {
            let [text] = args.bind("escape", ["pattern"], 1)?;
            let text = text.unwrap_or(Value::None);
            Ok(Value::from(escape(expect_str(&text, "escape")?)))
        })
        .function("purge", |_, _| Ok(Value::None))
        .function("search", |a, s| free("search", &["string"], a, s))
        .function("match", |a, s| free("match", &["string"], a, s))
        .function("fullmatch", |a, s| free("fullmatch", &["string"], a, s))
        .function("findall", |a, s| free("findall", &["string"], a, s))
        .function("finditer", |a, s| free("finditer", &["string"], a, s))
        .function("split", |a, s| free("split", &["string", "maxsplit"], a, s))
        .function("sub", |a, s| free("sub", &["repl", "string", "count"], a, s))
        .function("subn", |a, s| free("subn", &["repl", "string", "count"], a, s));
    for (names, flag) in [
        (["IGNORECASE", "I"], IGNORECASE),
        (["MULTILINE", "M"], MULTILINE),
        (["DOTALL", "S"], DOTALL),
        (["UNICODE", "U"], UNICODE),
        (["VERBOSE", "X"], VERBOSE),
        (["ASCII", "A"], ASCII),
    ] {
        for name in names {
            module = module.value(name, Value::Int(flag));
        }
    }
    module.done()
}

/// `re.name(pattern, ..., flags)`: the pattern's method of that name.
fn free(
    name: &'static str,
    parameters: &[&str],
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let mut names = ["pattern", "", "", "", ""];
    names[1..=parameters.len()].copy_from_slice(parameters);
    names[parameters.len() + 1] = "flags";
    let optional = ["maxsplit", "count"];
    let required = 1 + parameters.iter().filter(|name| !optional.contains(name)).count();
    let given = args.bind(name, names, required)?;
    let flags = given[parameters.len() + 1].as_ref().map_or(Ok(0), expect_int)?;
    let compiled = of_value(given[0].as_ref().unwrap_or(&Value::None), flags)?;
    let rest = given[1..=parameters.len()].iter().map_while(Clone::clone);
    Pattern(compiled).method(name, &Args::positional_only(rest), state)
}

fn of_value(pattern: &Value, flags: i128) -> Result<Arc<Compiled>, Error> {
    if let Some(pattern) = pattern.downcast::<Pattern>() {
        return Ok(pattern.0.clone());
    }
    compile(expect_str(pattern, "compile")?, flags)
}

/// Python's `re.escape`: only characters that mean something.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A compiled pattern.
#[derive(Debug)]
struct Pattern(Arc<Compiled>);

const METHODS: &[&str] =
    &["search", "match", "fullmatch", "findall", "finditer", "split", "sub", "subn"];

impl Pattern {
    /// All matches that do not overlap, as Python finds them: an empty match may follow right
    /// after a match.
    fn all(&self, text: &str, limit: usize, state: &mut State<'_>) -> Result<Vec<Groups>, Error> {
        state.charge(text.len() as u64 / 16 + 16)?;
        let mut found = Vec::new();
        let mut at = 0;
        let mut empty_at = None;
        while found.len() < limit && at <= text.len() {
            let Some(groups) = self.0.search.captures_at(text, at)? else { break };
            let (start, end) = groups[0].unwrap_or((at, at));
            if start == end && empty_at == Some(start) {
                // Past an empty match: go on with the next character.
                match text[start..].chars().next() {
                    Some(c) => at = start + c.len_utf8(),
                    None => break,
                }
                empty_at = None;
                continue;
            }
            state.charge(1)?;
            found.push(groups);
            empty_at = (start == end).then_some(end);
            at = end;
        }
        Ok(found)
    }

    fn matched(&self, text: &str, groups: Groups) -> Value {
        Value::object(Match { pattern: self.0.clone(), text: text.into(), groups })
    }

    fn method(&self, name: &str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        match name {
            "sub" | "subn" => {
                let [replacement, text, count] = args.bind(name, ["repl", "string", "count"], 2)?;
                let (replacement, text) =
                    (replacement.unwrap_or(Value::None), text.unwrap_or(Value::None));
                let limit = match count.as_ref().map_or(Ok(0), expect_int)? {
                    0 => usize::MAX,
                    count => usize::try_from(count).unwrap_or(0),
                };
                self.substitute(name, &replacement, expect_str(&text, name)?, limit, state)
            }
            "split" => {
                let [text, limit] = args.bind(name, ["string", "maxsplit"], 1)?;
                let limit = match limit.as_ref().map_or(Ok(0), expect_int)? {
                    0 => usize::MAX,
                    limit => usize::try_from(limit).unwrap_or(0),
                };
                let text = text.unwrap_or(Value::None);
                let text = expect_str(&text, name)?;
                let mut parts = Vec::new();
                let mut last = 0;
                for groups in self.all(text, limit, state)? {
                    let (start, end) = groups[0].unwrap_or((0, 0));
                    parts.push(Value::from(&text[last..start]));
                    parts.extend(groups[1..].iter().map(|group| part(text, *group)));
                    last = end;
                }
                parts.push(Value::from(&text[last..]));
                Ok(Value::list(parts))
            }
            "findall" | "finditer" => {
                let [text] = args.bind(name, ["string"], 1)?;
                let text = text.unwrap_or(Value::None);
                let text = expect_str(&text, name)?;
                let found = self.all(text, usize::MAX, state)?;
                if name == "finditer" {
                    let matches = found.into_iter().map(|groups| self.matched(text, groups));
                    return Ok(Generator::value("callable_iterator", matches.collect()));
                }
                Ok(Value::list(found.iter().map(|groups| {
                    let text_of = |group| match part(text, group) {
                        Value::None => Value::str(""),
                        value => value,
                    };
                    match groups.len() {
                        1 => text_of(groups[0]),
                        2 => text_of(groups[1]),
                        _ => Value::tuple(groups[1..].iter().map(|group| text_of(*group))),
                    }
                })))
            }
            _ => {
                let [text, from] = args.bind(name, ["string", "pos"], 1)?;
                let text = text.unwrap_or(Value::None);
                let text = expect_str(&text, name)?;
                state.charge(text.len() as u64 / 16 + 16)?;
                let regex = match name {
                    "search" => &self.0.search,
                    "match" => self.0.at_start()?,
                    _ => self.0.whole()?,
                };
                let skip = usize::try_from(from.as_ref().map_or(Ok(0), expect_int)?).unwrap_or(0);
                let start = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
                let Some(found) = regex.captures_at(&text[start..], 0)? else {
                    return Ok(Value::None);
                };
                let groups = found
                    .into_iter()
                    .map(|group| group.map(|(from, to)| (from + start, to + start)))
                    .collect();
                Ok(self.matched(text, groups))
            }
        }
    }

    fn substitute(
        &self,
        name: &str,
        replacement: &Value,
        text: &str,
        limit: usize,
        state: &mut State<'_>,
    ) -> Result<Value, Error> {
        let template = match replacement {
            Value::Str(template) => Some(self.parse_template(template)?),
            _ => None,
        };
        let found = self.all(text, limit, state)?;
        let count = found.len();
        let mut out = String::with_capacity(text.len());
        let mut last = 0;
        for groups in found {
            let (start, end) = groups[0].unwrap_or((0, 0));
            out.push_str(&text[last..start]);
            last = end;
            match &template {
                Some(parts) => {
                    for piece in parts {
                        match piece {
                            Piece::Text(piece) => out.push_str(piece),
                            Piece::Group(group) => {
                                if let Some(Some((start, end))) = groups.get(*group) {
                                    out.push_str(&text[*start..*end]);
                                }
                            }
                        }
                    }
                }
                None => {
                    let matched = self.matched(text, groups);
                    let value = replacement.call(&Args::positional_only([matched]), state)?;
                    out.push_str(&value.to_string());
                }
            }
            if out.len() > state.budget().output_bytes {
                break;
            }
        }
        out.push_str(&text[last..]);
        state.charge_text(out.len())?;
        Ok(match name {
            "subn" => Value::tuple([Value::from(out), Value::from(count)]),
            _ => Value::from(out),
        })
    }

    /// `\1`, `\g<name>` and escapes of a replacement.
    fn parse_template(&self, template: &str) -> Result<Vec<Piece>, Error> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = template.chars().peekable();
        let groups = self.0.search.captures_len();
        while let Some(c) = chars.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            let group = match chars.next() {
                Some('g') => {
                    if chars.next() != Some('<') {
                        return Err(Error::runtime("missing <"));
                    }
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('>') => break,
                            Some(c) => name.push(c),
                            None => return Err(Error::runtime("missing >, unterminated name")),
                        }
                    }
                    group_index(&self.0, &Value::str(&name))
                        .ok_or_else(|| Error::runtime(format!("unknown group name '{name}'")))?
                }
                Some(digit @ '1'..='9') => {
                    let mut number = digit.to_digit(10).unwrap_or(0) as usize;
                    if let Some(next) = chars.next_if(char::is_ascii_digit) {
                        number = number * 10 + next.to_digit(10).unwrap_or(0) as usize;
                    }
                    if number >= groups {
                        return Err(Error::runtime(format!("invalid group reference {number}")));
                    }
                    number
                }
                Some(other) => {
                    match other {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        'f' => text.push('\u{c}'),
                        'v' => text.push('\u{b}'),
                        'a' => text.push('\u{7}'),
                        'b' => text.push('\u{8}'),
                        '0' => text.push('\0'),
                        '\\' => text.push('\\'),
                        letter if letter.is_ascii_alphabetic() => {
                            return Err(Error::runtime(format!("bad escape \\{letter}")));
                        }
                        other => {
                            text.push('\\');
                            text.push(other);
                        }
                    }
                    continue;
                }
                None => return Err(Error::runtime("bad escape (end of pattern)")),
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Group(group));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }
}

enum Piece {
    Text(String),
    Group(usize),
}

fn part(text: &str, group: Option<(usize, usize)>) -> Value {
    group.map_or(Value::None, |(start, end)| Value::from(&text[start..end]))
}

/// The number of a group that is named or numbered.
fn group_index(compiled: &Compiled, key: &Value) -> Option<usize> {
    let number = match key {
        Value::Str(name) => compiled
            .search
            .capture_names()
            .iter()
            .position(|known| *known == Some(&**name))
            .or_else(|| name.parse().ok())?,
        other => usize::try_from(other.as_int()?).ok()?,
    };
    (number < compiled.search.captures_len()).then_some(number)
}

impl Object for Pattern {
    fn type_name(&self) -> &str {
        "re.Pattern"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        Some(match name {
            "pattern" => Value::from(self.0.source.as_str()),
            "flags" => Value::Int(self.0.flags | UNICODE),
            "groups" => Value::from(self.0.search.captures_len() - 1),
            "groupindex" => Value::dict(
                self.0
                    .search
                    .capture_names()
                    .into_iter()
                    .enumerate()
                    .filter_map(|(index, name)| Some((name?, Value::from(index)))),
            ),
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        METHODS
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        METHODS.contains(&name).then(|| self.method(name, args, state))
    }

    fn repr(&self) -> String {
        format!("re.compile({})", crate::value::string_repr(&self.0.source))
    }
}

/// What was matched.
#[derive(Debug)]
struct Match {
    pattern: Arc<Compiled>,
    text: Arc<str>,
    groups: Groups,
}

const MATCH_METHODS: &[&str] =
    &["group", "groups", "groupdict", "start", "end", "span", "expand", "__getitem__"];

impl Match {
    fn group(&self, key: &Value) -> Result<Option<(usize, usize)>, Error> {
        group_index(&self.pattern, key)
            .and_then(|index| self.groups.get(index).copied())
            .ok_or_else(|| Error::runtime("IndexError: no such group"))
    }

    /// Python counts characters.
    fn chars(&self, byte: usize) -> Value {
        Value::from(self.text[..byte].chars().count())
    }

    fn method(&self, name: &str, args: &Args) -> Result<Value, Error> {
        match name {
            "group" | "__getitem__" => match args.positional() {
                [] => Ok(part(&self.text, self.groups[0])),
                [key] => Ok(part(&self.text, self.group(key)?)),
                keys => {
                    let mut values = Vec::new();
                    for key in keys {
                        values.push(part(&self.text, self.group(key)?));
                    }
                    Ok(Value::tuple(values))
                }
            },
            "groups" => {
                let [default] = args.bind(name, ["default"], 0)?;
                let default = default.unwrap_or(Value::None);
                Ok(Value::tuple(self.groups[1..].iter().map(|group| match group {
                    None => default.clone(),
                    some => part(&self.text, *some),
                })))
            }
            "groupdict" => {
                let [default] = args.bind(name, ["default"], 0)?;
                let default = default.unwrap_or(Value::None);
                let dict = Dict::new();
                for (index, name) in self.pattern.search.capture_names().into_iter().enumerate() {
                    if let Some(name) = name {
                        let value = match self.groups[index] {
                            None => default.clone(),
                            some => part(&self.text, some),
                        };
                        dict.insert_str(name, value);
                    }
                }
                Ok(Value::Dict(dict))
            }
            "expand" => {
                let [template] = args.bind(name, ["template"], 1)?;
                let template = template.unwrap_or(Value::None);
                let pieces = Pattern(self.pattern.clone())
                    .parse_template(expect_str(&template, "expand")?)?;
                let mut out = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(&text),
                        Piece::Group(group) => {
                            out.push_str(
                                part(&self.text, self.groups[group]).as_str().unwrap_or(""),
                            );
                        }
                    }
                }
                Ok(Value::from(out))
            }
            _ => {
                let [group] = args.bind(name, ["group"], 0)?;
                let span = self.group(&group.unwrap_or(Value::Int(0)))?;
                let start = span.map_or(Value::Int(-1), |(start, _)| self.chars(start));
                let end = span.map_or(Value::Int(-1), |(_, end)| self.chars(end));
                Ok(match name {
                    "start" => start,
                    "end" => end,
                    _ => Value::tuple([start, end]),
                })
            }
        }
    }
}

impl Object for Match {
    fn type_name(&self) -> &str {
        "re.Match"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        Some(match name {
            "string" => Value::from(self.text.clone()),
            "re" => Value::object(Pattern(self.pattern.clone())),
            "pos" => Value::Int(0),
            "endpos" => self.chars(self.text.len()),
            "lastindex" => {
                let last = (1..self.groups.len()).rev().find(|group| self.groups[*group].is_some());
                last.map_or(Value::None, Value::from)
            }
            _ => return None,
        })
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.group(key).ok().map(|group| part(&self.text, group))
    }

    fn methods(&self) -> &'static [&'static str] {
        MATCH_METHODS
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        MATCH_METHODS.contains(&name).then(|| self.method(name, args))
    }

    fn is_true(&self) -> bool {
        true
    }

    fn repr(&self) -> String {
        let (start, end) = self.groups[0].unwrap_or((0, 0));
        format!(
            "<re.Match object; span=({}, {}), match={}>",
            self.chars(start),
            self.chars(end),
            crate::value::string_repr(&self.text[start..end])
        )
    }
}
