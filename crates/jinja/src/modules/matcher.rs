//! A compiled expression: matched in time proportional to the text where that can be, else by
//! backtracking within a limit.

use crate::error::Error;

/// The groups of one match, in bytes of the text; the first is the whole match.
pub(super) type Groups = Vec<Option<(usize, usize)>>;

/// Steps of one search by backtracking: some tens of milliseconds.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// One of two engines.
pub(super) enum Matcher {
    /// No look-around and no back-references.
    Linear(regex::Regex),
    /// With them.
    Backtracking(fancy_regex::Regex),
}

/// How a pattern is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) dot_all: bool,
    pub(super) verbose: bool,
    /// Whether it needs the engine that backtracks.
    pub(super) backtracking: bool,
}

impl Matcher {
    /// Compiles a pattern in Rust's syntax; else the reason in words.
    pub(super) fn new(pattern: &str, reading: Reading) -> Result<Self, String> {
        let reason = |text: String| {
            let last = text.lines().last().unwrap_or("");
            last.trim_start_matches("error: ").to_owned()
        };
        if reading.backtracking {
            return fancy_regex::RegexBuilder::new(pattern)
                .case_insensitive(reading.ignore_case)
                .multi_line(reading.multi_line)
                .dot_matches_new_line(reading.dot_all)
                .verbose_mode(reading.verbose)
                .backtrack_limit(BACKTRACK_LIMIT)
                .delegate_size_limit(4 << 20)
                .build()
                .map(Matcher::Backtracking)
                .map_err(|error| reason(error.to_string()));
        }
        regex::RegexBuilder::new(pattern)
            .case_insensitive(reading.ignore_case)
            .multi_line(reading.multi_line)
            .dot_matches_new_line(reading.dot_all)
            .ignore_whitespace(reading.verbose)
            .size_limit(4 << 20)
            .nest_limit(100)
            .build()
            .map(Matcher::Linear)
            .map_err(|error| reason(error.to_string()))
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Matcher::Linear(regex) => regex.as_str(),
            Matcher::Backtracking(regex) => regex.as_str(),
        }
    }

    /// How many groups there are, with the whole match.
    pub(super) fn captures_len(&self) -> usize {
        match self {
            Matcher::Linear(regex) => regex.captures_len(),
            Matcher::Backtracking(regex) => regex.captures_len(),
        }
    }

    /// The names of the groups, by their number.
    pub(super) fn capture_names(&self) -> Vec<Option<&str>> {
        match self {
            Matcher::Linear(regex) => regex.capture_names().collect(),
            Matcher::Backtracking(regex) => regex.capture_names().collect(),
        }
    }

    /// The first match that begins at `from` or behind it.
    pub(super) fn captures_at(&self, text: &str, from: usize) -> Result<Option<Groups>, Error> {
        match self {
            Matcher::Linear(regex) => {
                let mut locations = regex.capture_locations();
                Ok(regex
                    .captures_read_at(&mut locations, text, from)
                    .map(|_| (0..locations.len()).map(|group| locations.get(group)).collect()))
            }
            Matcher::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, from).map_err(|error| {
                    Error::runtime(format!("the regular expression takes too long: {error}"))
                        .with_hint("look-around and back-references are tried in every way")
                })?;
                Ok(found.map(|found| {
                    (0..found.len())
                        .map(|group| found.get(group).map(|found| (found.start(), found.end())))
                        .collect()
                }))
            }
        }
    }
}
