//! The one place that writes to standard output and standard error. Standard output is data,
//! everything else is talk. No secret leaves through it.

use std::fmt;
use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use tidemill_core::scrub;
use uuid::Uuid;

use crate::dbt_events::{DbtEvent, Level};
use crate::flags::Flags;

/// How to talk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Only errors and data.
    pub(crate) quiet: bool,
    /// Whether colours may be used.
    pub(crate) color: bool,
    /// Whether standard error is a terminal that a progress bar can be drawn on.
    pub(crate) terminal: bool,
    /// Whether progress is written as JSON lines.
    pub(crate) json: bool,
    /// The id of the invocation, when everything is written as dbt's events (`--log-format json`).
    pub(crate) events: Option<Uuid>,
    /// Events that matter less are not written.
    pub(crate) least: Level,
}

/// What a word in a result line means; said by the word itself, the colour only repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Output {
    /// From the flags and the surroundings.
    pub(crate) fn new(quiet: bool, no_color: bool, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let env = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = !no_color && !env("NO_COLOR") && terminal && !json;
        let terminal = terminal && !json && !quiet && !env("CI");
        Output { quiet, color, terminal, json, events: None, least: Level::Info }
    }

    /// The same, as dbt's events.
    pub(crate) fn with_events(self, flags: &Flags) -> Self {
        let asked = Level::parse(flags.text("log_level").unwrap_or_default());
        let least = match (self.quiet, flags.on("debug")) {
            (true, _) => asked.max(Level::Error),
            (false, true) => Level::Debug,
            (false, false) => asked,
        };
        Output { color: false, terminal: false, events: Some(Uuid::now_v7()), least, ..self }
    }

    /// For one more run of the same command.
    pub(crate) fn anew(self) -> Self {
        Output { events: self.events.map(|_| Uuid::now_v7()), ..self }
    }

    /// One of dbt's events, where they are written and it matters enough.
    pub(crate) fn event(&self, event: impl FnOnce() -> DbtEvent) {
        let Some(invocation) = self.events else { return };
        let event = event();
        if event.level >= self.least && (!self.quiet || event.level >= Level::Error) {
            self.line(event.line(invocation));
        }
    }

    /// An event that is data, which is written however little is told.
    pub(crate) fn data_event(&self, event: impl FnOnce() -> DbtEvent) {
        if let Some(invocation) = self.events {
            self.line(event().line(invocation));
        }
    }

    /// A warning, under dbt's name of it where it has one.
    pub(crate) fn warn(&self, name: Option<&str>, line: impl fmt::Display) {
        if self.events.is_none() {
            self.say(line);
            return;
        }
        let message = line.to_string();
        tracing::info!(target: crate::log::SAID, "{message}");
        self.event(|| match name {
            Some(name) => DbtEvent::warning(name, message),
            None => DbtEvent::note(Level::Warn, message),
        });
    }

    /// Why the command ends.
    pub(crate) fn fatal(&self, line: impl fmt::Display) {
        if self.events.is_none() {
            self.err(line);
            return;
        }
        let message = line.to_string();
        tracing::info!(target: crate::log::SAID, "{message}");
        self.event(|| DbtEvent::fatal(message));
    }

    /// A line on standard error, unless quiet. The log file has it in any case.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        if self.quiet {
            tracing::info!(target: crate::log::SAID, "{line}");
        } else {
            self.err(line);
        }
    }

    /// A line on standard error, always.
    pub(crate) fn err(&self, line: impl fmt::Display) {
        tracing::info!(target: crate::log::SAID, "{line}");
        let line = line.to_string();
        if self.events.is_some() {
            self.event(|| DbtEvent::note(Level::Info, line.trim().to_owned()));
            return;
        }
        let _ = writeln!(std::io::stderr().lock(), "{}", scrub(&line));
    }

    /// A line of data on standard output.
    pub(crate) fn data(&self, line: impl fmt::Display) {
        let Some(invocation) = self.events else { return self.line(line.to_string()) };
        self.line(DbtEvent::print(line.to_string()).line(invocation));
    }

    /// A line on standard output. A reader that has gone away ends the process quietly.
    #[expect(
        clippy::unused_self,
        clippy::disallowed_methods,
        reason = "nobody writes without it; and when nobody reads any more there is nobody to tell"
    )]
    fn line(&self, line: String) {
        if writeln!(std::io::stdout().lock(), "{}", scrub(&line)).is_err() {
            std::process::exit(0);
        }
    }

    /// A word in the colour of its mood.
    pub(crate) fn paint(&self, mood: Mood, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let style = match mood {
            Mood::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Mood::Warning => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Mood::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
            Mood::Quiet => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// `12,403`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `0.2s`, `1m 05s`
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    let total = duration.as_secs_f64();
    if total < 60.0 {
        return format!("{total:.1}s");
    }
    let whole = duration.as_secs();
    if whole < 3600 {
        return format!("{}m {:02}s", whole / 60, whole % 60);
    }
    format!("{}h {:02}m", whole / 3600, whole % 3600 / 60)
}

/// `3.4 MiB`
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `2026-01-31 12:00:00 UTC`
pub(crate) fn time(micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [count(0), count(999), count(1000), count(1234567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([size(0), size(1023), size(1536)], ["0 B", "1023 B", "1.5 KiB"]);
        assert_eq!(seconds(Duration::from_millis(249)), "0.2s");
        assert_eq!(seconds(Duration::from_secs(65)), "1m 05s");
        assert_eq!(plural(1, "row", "rows"), "1 row");
    }
}
