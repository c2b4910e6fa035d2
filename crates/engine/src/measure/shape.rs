//! What a regular expression asks for, where that can be found out without running it.
//!
//! Checks use expressions such as `^[A-Z]{2}[0-9]+$`, `^.{1,44}$` or `^(A|B|C)$`. Those are tests
//! of length, of characters one after the other, or of membership in a small set, which are much
//! cheaper than a regular expression's automaton. Anything else stays a regular expression.

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use tidemill_core::{Error, ErrorKind, Result};

/// A test of one text.
pub(crate) enum Shape {
    /// Everything matches.
    Anything,
    /// It is one of these.
    Exactly(HashSet<Box<[u8]>>),
    /// It begins with this.
    Prefix(Box<[u8]>),
    /// It ends with this.
    Suffix(Box<[u8]>),
    /// It contains this.
    Contains(Box<memchr::memmem::Finder<'static>>),
    /// So many characters, none of them a line feed: `^.{1,44}$`.
    Length { least: usize, most: usize },
    /// Characters of classes one after the other, for ASCII text; other text takes the expression.
    Runs { runs: Vec<Run>, at_end: bool, regex: Regex },
    /// The expression itself.
    Regex(Regex),
}

/// So many characters of one class.
pub(crate) struct Run {
    class: Box<[bool; 256]>,
    least: usize,
    most: usize,
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Shape::Anything => "Anything",
            Shape::Exactly(_) => "Exactly",
            Shape::Prefix(_) => "Prefix",
            Shape::Suffix(_) => "Suffix",
            Shape::Contains(_) => "Contains",
            Shape::Length { .. } => "Length",
            Shape::Runs { .. } => "Runs",
            Shape::Regex(_) => "Regex",
        })
    }
}

/// More alternatives than this are left to the automaton.
const MOST_ALTERNATIVES: usize = 1000;

impl Shape {
    /// Looks at an expression. One that is not valid is an error of kind `Query`.
    pub(crate) fn of(pattern: &str, ignore_case: bool) -> Result<Self> {
        let wrong =
            |error: String| Error::new(ErrorKind::Query, "wrong regular expression").because(error);
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let hir = ParserBuilder::new()
            .case_insensitive(ignore_case)
            .build()
            .parse(pattern)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(analyse(&hir, &regex).unwrap_or(Shape::Regex(regex)))
    }

    /// Whether a test costs so little that remembering its result would cost more.
    pub(crate) fn is_cheap(&self) -> bool {
        matches!(self, Shape::Anything | Shape::Prefix(_) | Shape::Suffix(_) | Shape::Length { .. })
    }

    /// Whether the text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Shape::Anything => true,
            Shape::Exactly(set) => set.contains(bytes),
            Shape::Prefix(prefix) => bytes.starts_with(prefix),
            Shape::Suffix(suffix) => bytes.ends_with(suffix),
            Shape::Contains(finder) => finder.find(bytes).is_some(),
            Shape::Length { least, most } => has_length(text, *least, *most),
            Shape::Runs { runs, at_end, regex } => {
                if !bytes.is_ascii() {
                    return regex.is_match(text);
                }
                follows(bytes, runs, *at_end)
            }
            Shape::Regex(regex) => regex.is_match(text),
        }
    }
}

fn has_length(text: &str, least: usize, most: usize) -> bool {
    let bytes = text.as_bytes();
    // A character has one to four bytes: most texts are decided by their bytes alone.
    if bytes.len() < least || bytes.len() / 4 > most {
        return false;
    }
    if bytes.len() > most || !bytes.is_ascii() {
        let characters = text.chars().count();
        if characters < least || characters > most {
            return false;
        }
    }
    memchr::memchr(b'\n', bytes).is_none()
}

/// No run can take a character that the next one needs, so taking as much as possible is right.
fn follows(bytes: &[u8], runs: &[Run], at_end: bool) -> bool {
    let mut rest = bytes;
    for run in runs {
        let limit = rest.len().min(run.most);
        let taken = rest[..limit].iter().take_while(|byte| run.class[usize::from(**byte)]).count();
        if taken < run.least {
            return false;
        }
        rest = &rest[taken..];
    }
    !at_end || rest.is_empty()
}

fn analyse(hir: &Hir, regex: &Regex) -> Option<Shape> {
    let parts: Vec<&Hir> = match hir.kind() {
        HirKind::Concat(parts) => parts.iter().collect(),
        HirKind::Empty => return Some(Shape::Anything),
        _ => vec![hir],
    };
    let is = |part: &Hir, look: Look| matches!(part.kind(), HirKind::Look(found) if *found == look);
    let at_start = parts.first().is_some_and(|part| is(part, Look::Start));
    let at_end = parts.last().is_some_and(|part| is(part, Look::End));
    let from = usize::from(at_start);
    let to = parts.len().checked_sub(usize::from(at_end))?;
    if from > to {
        return None;
    }
    let middle = &parts[from..to];
    if let Some(literals) = literals(middle) {
        return one_of(literals, at_start, at_end);
    }
    if !at_start {
        return None;
    }
    if let [one] = middle
        && at_end
        && let Some((least, most)) = any_characters(one)
    {
        return Some(Shape::Length { least, most });
    }
    let mut runs = Vec::new();
    for part in middle {
        collect_runs(part, &mut runs)?;
    }
    // `^[A-Z]+( [A-Z]+)?$`: the optional part is a second way to go on.
    certain(&runs).then(|| Shape::Runs { runs, at_end, regex: regex.clone() })
}

/// All texts that these parts stand for, if they are few and nothing but text.
fn literals(parts: &[&Hir]) -> Option<Vec<Vec<u8>>> {
    let mut all = vec![Vec::new()];
    for part in parts {
        let next = literals_of(part)?;
        let mut combined = Vec::new();
        for start in &all {
            for end in &next {
                if combined.len() >= MOST_ALTERNATIVES {
                    return None;
                }
                combined.push([start.as_slice(), end].concat());
            }
        }
        all = combined;
    }
    Some(all)
}

fn literals_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Capture(capture) => literals_of(&capture.sub),
        HirKind::Concat(parts) => literals(&parts.iter().collect::<Vec<_>>()),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(literals_of(part)?);
                if all.len() > MOST_ALTERNATIVES {
                    return None;
                }
            }
            Some(all)
        }
        // `[ab]` is two texts; a wide class is not worth listing.
        HirKind::Class(Class::Unicode(class)) => {
            let count: u32 =
                class.ranges().iter().map(|r| r.end() as u32 - r.start() as u32 + 1).sum();
            (count <= 4).then(|| {
                class
                    .ranges()
                    .iter()
                    .flat_map(|range| range.start()..=range.end())
                    .map(|letter| letter.to_string().into_bytes())
                    .collect()
            })
        }
        _ => None,
    }
}

fn one_of(mut literals: Vec<Vec<u8>>, at_start: bool, at_end: bool) -> Option<Shape> {
    if at_start && at_end {
        return Some(Shape::Exactly(literals.into_iter().map(Vec::into_boxed_slice).collect()));
    }
    if literals.len() != 1 {
        return None;
    }
    let literal = literals.pop()?;
    Some(match (at_start, at_end) {
        _ if literal.is_empty() => Shape::Anything,
        (true, _) => Shape::Prefix(literal.into()),
        (_, true) => Shape::Suffix(literal.into()),
        _ => Shape::Contains(Box::new(memchr::memmem::Finder::new(&literal).into_owned())),
    })
}

/// `.{a,b}`, where `.` is everything but a line feed.
fn any_characters(hir: &Hir) -> Option<(usize, usize)> {
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = repetition.sub.kind() else { return None };
    let ranges: Vec<(char, char)> =
        class.ranges().iter().map(|range| (range.start(), range.end())).collect();
    (ranges == [('\0', '\t'), ('\u{b}', '\u{10ffff}')]).then(|| bounds(repetition))
}

fn bounds(repetition: &regex_syntax::hir::Repetition) -> (usize, usize) {
    let most = repetition.max.map_or(usize::MAX, |most| most as usize);
    (repetition.min as usize, most)
}

fn collect_runs(hir: &Hir, runs: &mut Vec<Run>) -> Option<()> {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => {
            for byte in literal.0.iter() {
                if !byte.is_ascii() {
                    return None;
                }
                let mut class = Box::new([false; 256]);
                class[usize::from(*byte)] = true;
                runs.push(Run { class, least: 1, most: 1 });
            }
        }
        HirKind::Class(_) => {
            runs.push(Run { class: ascii_class(hir)?, least: 1, most: 1 });
        }
        HirKind::Capture(capture) => collect_runs(&capture.sub, runs)?,
        HirKind::Concat(parts) => {
            for part in parts {
                collect_runs(part, runs)?;
            }
        }
        HirKind::Repetition(repetition) => {
            let (least, most) = bounds(repetition);
            let class = ascii_class(&repetition.sub)?;
            runs.push(Run { class, least, most });
        }
        HirKind::Look(_) | HirKind::Alternation(_) => return None,
    }
    Some(())
}

/// The ASCII characters of a class or of a single letter.
fn ascii_class(hir: &Hir) -> Option<Box<[bool; 256]>> {
    let mut class = Box::new([false; 256]);
    match hir.kind() {
        HirKind::Class(Class::Unicode(unicode)) => {
            for range in unicode.ranges() {
                for letter in range.start() as u32..=(range.end() as u32).min(127) {
                    class[letter as usize] = true;
                }
            }
        }
        HirKind::Class(Class::Bytes(bytes)) => {
            for range in bytes.ranges() {
                for byte in range.start()..=range.end().min(127) {
                    class[usize::from(byte)] = true;
                }
            }
        }
        HirKind::Literal(literal) if literal.0.len() == 1 && literal.0[0].is_ascii() => {
            class[usize::from(literal.0[0])] = true;
        }
        HirKind::Capture(capture) => return ascii_class(&capture.sub),
        _ => return None,
    }
    Some(class)
}

/// Whether taking as many characters as possible in each run can never be wrong: a run of variable
/// length is followed by one that shares no character with it and must be there, or by nothing.
fn certain(runs: &[Run]) -> bool {
    runs.iter().enumerate().all(|(index, run)| {
        if run.least == run.most {
            return true;
        }
        // Everything that may follow directly, up to the first that must.
        for next in &runs[index + 1..] {
            let shares = run.class.iter().zip(next.class.iter()).any(|(a, b)| *a && *b);
            if shares {
                return false;
            }
            if next.least > 0 {
                return true;
            }
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_expressions_are_recognised() {
        for (pattern, shape) in [
            ("", "Anything"),
            ("^abc", "Prefix"),
            ("abc$", "Suffix"),
            ("abc", "Contains"),
            ("^abc$", "Exactly"),
            ("^(AIR|REG AIR|MAIL)$", "Exactly"),
            ("^[ab]$", "Exactly"),
            ("^.{1,44}$", "Length"),
            ("^.+$", "Length"),
            ("^[A-Z]{2}[0-9]+$", "Runs"),
            ("^N[0-9A-Z]*", "Runs"),
            (r"^\d{4}-\d{2}-\d{2}$", "Runs"),
            ("^[A-Z]+( [A-Z]+)?$", "Regex"),
            ("^[a-z]+[a-z0-9]$", "Regex"),
            ("a|b", "Regex"),
            (r"^\w+@\w+\.com$", "Runs"),
            ("a.c", "Regex"),
        ] {
            assert_eq!(format!("{:?}", Shape::of(pattern, false).unwrap()), shape, "{pattern}");
        }
        assert_eq!(Shape::of("(", false).unwrap_err().kind(), ErrorKind::Query);
    }

    #[test]
    fn every_shape_agrees_with_its_expression() {
        let patterns = [
            "",
            "^abc",
            "abc$",
            "abc",
            "^abc$",
            "^(AIR|REG AIR|MAIL)$",
            "^[ab]$",
            "^.{1,4}$",
            "^.{0,2}$",
            "^.+$",
            "^[A-Z]{2}[0-9]+$",
            "^N[0-9A-Z]*",
            r"^\d{4}-\d{2}$",
            r"^\w+@\w+$",
            "^[a-z]*[0-9]?$",
            "^a*b*c*$",
            "^a{2,3}b",
            r"^[^,]+,[^,]*$",
            r"^\S+$",
        ];
        let texts = [
            "",
            "a",
            "b",
            "abc",
            "abcd",
            "xabc",
            "AIR",
            "REG AIR",
            "air",
            "AB12",
            "AB",
            "N12A",
            "Nx",
            "2024-03",
            "2024-3",
            "a@b",
            "é",
            "éé",
            "ééééé",
            "a\nb",
            "aabbcc",
            "aab",
            "aaab",
            "aaaab",
            "x,y",
            "x,",
            ",y",
            "日本",
            "a b",
            "\n",
            "ab\u{301}",
            "٣٤٥٦-١٢",
        ];
        for ignore_case in [false, true] {
            for pattern in patterns {
                let shape = Shape::of(pattern, ignore_case).unwrap();
                let regex =
                    RegexBuilder::new(pattern).case_insensitive(ignore_case).build().unwrap();
                for text in texts {
                    assert_eq!(
                        shape.matches(text),
                        regex.is_match(text),
                        "{pattern} {ignore_case} on {text:?} as {shape:?}"
                    );
                }
            }
        }
    }
}
