//! Python's regular expressions in the syntax of Rust's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::matcher::{Matcher, Reading};
use crate::error::Error;

pub(super) const IGNORECASE: i128 = 2;
pub(super) const MULTILINE: i128 = 8;
pub(super) const DOTALL: i128 = 16;
pub(super) const UNICODE: i128 = 32;
pub(super) const VERBOSE: i128 = 64;
pub(super) const ASCII: i128 = 256;

/// A compiled pattern in the three ways it can be applied.
pub(super) struct Compiled {
    pub(super) source: String,
    pub(super) flags: i128,
    pub(super) search: Matcher,
    backtracking: bool,
    at_start: OnceLock<Option<Matcher>>,
    whole: OnceLock<Option<Matcher>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

impl Compiled {
    /// For `match`.
    pub(super) fn at_start(&self) -> Result<&Matcher, Error> {
        self.variant(&self.at_start, |inner| format!(r"\A(?:{inner})"))
    }

    /// For `fullmatch`.
    pub(super) fn whole(&self) -> Result<&Matcher, Error> {
        self.variant(&self.whole, |inner| format!(r"\A(?:{inner})\z"))
    }

    fn variant<'r>(
        &'r self,
        slot: &'r OnceLock<Option<Matcher>>,
        wrap: impl Fn(&str) -> String,
    ) -> Result<&'r Matcher, Error> {
        // A comment of a verbose pattern ends with its line.
        let end = if self.flags & VERBOSE != 0 { "\n" } else { "" };
        let inner = format!("{}{end}", self.search.as_str());
        slot.get_or_init(|| build(&wrap(&inner), self.flags, self.backtracking).ok())
            .as_ref()
            .ok_or_else(|| Error::runtime("the pattern cannot be anchored"))
    }
}

/// Compiles, or takes a recent pattern from memory.
pub(super) fn compile(pattern: &str, flags: i128) -> Result<Arc<Compiled>, Error> {
    type Known = Mutex<HashMap<(String, i128), Arc<Compiled>>>;
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let known = KNOWN.get_or_init(Known::default);
    let key = (pattern.to_string(), flags);
    if let Some(compiled) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(compiled.clone());
    }
    let (translated, backtracking) = translate(pattern, flags & VERBOSE != 0)?;
    let search = build(&translated, flags, backtracking).map_err(|reason| {
        Error::runtime(format!("the regular expression cannot be used: {reason}"))
    })?;
    let compiled = Arc::new(Compiled {
        source: pattern.to_string(),
        flags,
        search,
        backtracking,
        at_start: OnceLock::new(),
        whole: OnceLock::new(),
    });
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= 128 {
        known.clear();
    }
    known.insert(key, compiled.clone());
    Ok(compiled)
}

fn build(pattern: &str, flags: i128, backtracking: bool) -> Result<Matcher, String> {
    let reading = Reading {
        ignore_case: flags & IGNORECASE != 0,
        multi_line: flags & MULTILINE != 0,
        dot_all: flags & DOTALL != 0,
        verbose: flags & VERBOSE != 0,
        backtracking,
    };
    Matcher::new(pattern, reading)
}

/// Rewrites what is spelt differently in Rust's syntax; and says whether the pattern has what only
/// backtracking can match.
fn translate(pattern: &str, verbose: bool) -> Result<(String, bool), Error> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut at = 0;
    let mut in_class = false;
    let mut backtracking = false;
    let starts = |at: usize, text: &str| {
        text.chars().enumerate().all(|(offset, c)| chars.get(at + offset) == Some(&c))
    };
    while at < chars.len() {
        let c = chars[at];
        if c == '\\' {
            let Some(next) = chars.get(at + 1).copied() else {
                return Err(Error::runtime("bad escape (end of pattern)"));
            };
            at += 2;
            match next {
                'Z' if !in_class => out.push_str(r"\z"),
                '0' => out.push_str(r"\x00"),
                '1'..='9' if !in_class => {
                    backtracking = true;
                    out.push('\\');
                    out.push(next);
                }
                'b' if in_class => out.push_str(r"\x08"),
                'u' | 'U' | 'x' => {
                    let length = match next {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let digits: String = chars.iter().skip(at).take(length).collect();
                    if digits.len() != length || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                        return Err(Error::runtime(format!("incomplete escape \\{next}{digits}")));
                    }
                    out.push_str(&format!("\\x{{{digits}}}"));
                    at += length;
                }
                'A' | 'b' | 'B' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'n' | 'r' | 't' | 'f'
                | 'v' | 'a' => {
                    out.push('\\');
                    out.push(next);
                }
                letter if letter.is_ascii_alphanumeric() => {
                    return Err(Error::runtime(format!("bad escape \\{letter}")));
                }
                other => push_literal(&mut out, other, verbose),
            }
            continue;
        }
        if in_class {
            match c {
                ']' => {
                    in_class = false;
                    out.push(']');
                }
                '[' => out.push_str(r"\["),
                '&' | '~' | '-' if chars.get(at + 1) == Some(&c) => {
                    out.push('\\');
                    out.push(c);
                }
                c if verbose && (c.is_whitespace() || c == '#') => {
                    push_literal(&mut out, c, true);
                }
                c => out.push(c),
            }
            at += 1;
            continue;
        }
        match c {
            '[' => {
                in_class = true;
                out.push('[');
                at += 1;
                if chars.get(at) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                // A bracket that comes first stands for itself.
                if chars.get(at) == Some(&']') {
                    out.push_str(r"\]");
                    at += 1;
                }
                continue;
            }
            '(' if ["(?=", "(?!", "(?<=", "(?<!", "(?P=", "(?(", "(?>"]
                .iter()
                .any(|opening| starts(at, opening)) =>
            {
                backtracking = true;
                out.push('(');
            }
            '(' if starts(at, "(?#") => {
                while at < chars.len() && chars[at] != ')' {
                    at += 1;
                }
            }
            '{' if !is_repetition(&chars[at..]) => out.push_str(r"\{"),
            '}' if !closes_repetition(&chars[..at]) => out.push_str(r"\}"),
            c => out.push(c),
        }
        at += 1;
    }
    if in_class {
        return Err(Error::runtime("unterminated character set"));
    }
    Ok((out, backtracking))
}

fn push_literal(out: &mut String, c: char, verbose: bool) {
    if verbose && (c.is_whitespace() || c == '#') {
        out.push_str(&format!("\\x{{{:x}}}", c as u32));
    } else if c == '-' || c == '&' || c == '~' || c == '#' || c == '^' || c == ']' {
        out.push('\\');
        out.push(c);
    } else {
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// `{2}`, `{2,}`, `{,3}` (refused by Rust, so it counts as literal there), `{2,3}`.
fn is_repetition(rest: &[char]) -> bool {
    let Some(end) = rest.iter().position(|c| *c == '}') else { return false };
    let inner: String = rest[1..end].iter().collect();
    let (low, high) = inner.split_once(',').unwrap_or((&inner, "0"));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

fn closes_repetition(before: &[char]) -> bool {
    before.iter().rposition(|c| *c == '{').is_some_and(|open| {
        let mut whole = before[open..].to_vec();
        whole.push('}');
        (open == 0 || before[open - 1] != '\\') && is_repetition(&whole)
    })
}
