//! The time a node is worked on.

use std::time::{Duration, Instant};

/// Counts the time that a node is worked on, and not the time that it waits for others: for a place
/// among the threads of the run, or for tables that one of its checks reads as well.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    spent: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    pub(crate) fn started() -> Self {
        Stopwatch { spent: Duration::ZERO, since: Some(Instant::now()) }
    }

    /// From now on the node waits.
    pub(crate) fn pause(&mut self) {
        self.spent = self.elapsed();
        self.since = None;
    }

    /// From now on it is worked on again.
    pub(crate) fn resume(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// What was counted until now.
    pub(crate) fn elapsed(&self) -> Duration {
        self.spent + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}
