//! `wordwrap`: Python's `textwrap.wrap` for each line.

use crate::error::Error;
use crate::function::{Args, expect_int};
use crate::state::State;
use crate::text::is_space;
use crate::types::string as methods;
use crate::value::{Str, Value};

pub(super) fn wordwrap(value: &Value, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [width, break_long, wrap, hyphens] = args.bind(
        "do_wordwrap",
        ["width", "break_long_words", "wrapstring", "break_on_hyphens"],
        0,
    )?;
    let width = width.as_ref().map_or(Ok(79), expect_int)?;
    let Some(width) = usize::try_from(width).ok().filter(|width| *width > 0) else {
        return Err(Error::runtime(format!("invalid width {width} (must be > 0)")));
    };
    let flag = |value: Option<Value>| value.is_none_or(|value| value.is_true());
    let (break_long, hyphens) = (flag(break_long), flag(hyphens));
    let separator = match &wrap {
        None | Some(Value::None) => "\n".to_string(),
        Some(text) => text.to_string(),
    };
    let text = value.to_string();
    state.charge_text(text.len().saturating_mul(1 + separator.len()))?;
    let lines = methods::call(&Str::new(text), "splitlines", &Args::none(), state)?.items()?;
    let wrapped: Vec<String> = lines
        .iter()
        .map(|line| {
            wrap_line(line.as_str().unwrap_or(""), width, break_long, hyphens).join(&separator)
        })
        .collect();
    Ok(Value::from(wrapped.join(&separator)))
}

/// Words, runs of white space, and words cut behind their hyphens.
fn chunks(line: &str, hyphens: bool) -> Vec<Vec<char>> {
    let mut parts: Vec<Vec<char>> = Vec::new();
    let chars: Vec<char> = line.chars().collect();
    let mut start = 0;
    for at in 1..=chars.len() {
        let ends = at == chars.len() || is_space(chars[at]) != is_space(chars[at - 1]) || {
            let letter = |index: Option<usize>| {
                index.and_then(|index| chars.get(index)).is_some_and(|c| c.is_alphabetic())
            };
            hyphens
                && chars[at - 1] == '-'
                && letter(at.checked_sub(2))
                && (letter(at.checked_sub(3)) || at - start > 2)
                && letter(Some(at))
                && letter(Some(at + 1))
        };
        if ends {
            parts.push(chars[start..at].to_vec());
            start = at;
        }
    }
    parts
}

fn wrap_line(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<String> {
    let mut pending: std::collections::VecDeque<Vec<char>> = chunks(line, hyphens).into();
    let blank = |chunk: &[char]| chunk.iter().all(|c| is_space(*c));
    let mut lines = Vec::new();
    while !pending.is_empty() {
        if !lines.is_empty() && pending.front().is_some_and(|chunk| blank(chunk)) {
            pending.pop_front();
        }
        let mut current: Vec<Vec<char>> = Vec::new();
        let mut length = 0;
        while let Some(chunk) = pending.front() {
            if length + chunk.len() > width {
                break;
            }
            length += chunk.len();
            current.extend(pending.pop_front());
        }
        if let Some(chunk) = pending.front_mut()
            && chunk.len() > width
        {
            if break_long {
                let room = (width - length).max(1);
                let rest = chunk.split_off(room.min(chunk.len()));
                current.push(std::mem::replace(chunk, rest));
            } else if current.is_empty() {
                current.extend(pending.pop_front());
            }
        }
        if current.last().is_some_and(|chunk| blank(chunk)) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.into_iter().flatten().collect());
        }
    }
    lines
}
