//! How a run ended, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::about::About;
use super::{DbtEvent, Level};
use crate::artifacts;
use crate::output::{Output, plural};

/// What was run, and how long it took.
pub(super) fn finished_running<'a>(
    output: Output,
    all: impl Iterator<Item = &'a About>,
    elapsed: Duration,
) {
    let mut kinds: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for about in all {
        *kinds.entry(about.counted()).or_default() += 1;
    }
    let line = kinds.iter().map(|((_, one, many), number)| plural(*number, one, many));
    let line = line.collect::<Vec<_>>().join(", ");
    let (seconds, whole) = (elapsed.as_secs_f64(), elapsed.as_secs());
    let spent = format!(
        " in {} hours {} minutes and {:.2} seconds",
        whole / 3600,
        whole % 3600 / 60,
        seconds % 60.0
    );
    output.event(|| {
        DbtEvent::new(
            Level::Info,
            ("FinishedRunningStats", "E047"),
            format!("Finished running {line}{spent} ({seconds:.2}s)."),
            json!({"stat_line": line, "execution": spent, "execution_time": seconds}),
        )
    });
}

/// How many results there are of each sort.
#[derive(Default)]
pub(super) struct Counts {
    error: u64,
    partial: u64,
    warn: u64,
    skip: u64,
    noop: u64,
    reused: u64,
    pass: u64,
}

impl Counts {
    pub(super) fn of<'a>(statuses: impl Iterator<Item = &'a str>) -> Self {
        let mut counts = Counts::default();
        for status in statuses {
            *match status {
                "error" | "fail" | "runtime error" => &mut counts.error,
                artifacts::PARTIAL => &mut counts.partial,
                "warn" => &mut counts.warn,
                "skipped" => &mut counts.skip,
                "no-op" => &mut counts.noop,
                "reused" => &mut counts.reused,
                _ => &mut counts.pass,
            } += 1;
        }
        counts
    }

    pub(super) fn summary(&self, cancelled: bool) -> DbtEvent {
        let warnings = plural(self.warn, "warning", "warnings");
        let message = match (cancelled, self.error + self.partial, self.warn) {
            (true, ..) => "Exited because of keyboard interrupt".to_owned(),
            (_, 0, 0) => "Completed successfully".to_owned(),
            (_, 0, _) => format!("Completed with {warnings}:"),
            _ => format!(
                "Completed with {}, {}, and {warnings}:",
                plural(self.error, "error", "errors"),
                plural(self.partial, "partial success", "partial successes"),
            ),
        };
        DbtEvent::new(
            Level::Info,
            ("EndOfRunSummary", "Z030"),
            message,
            json!({
                "keyboard_interrupt": cancelled, "num_errors": self.error,
                "num_partial_success": self.partial, "num_warnings": self.warn,
            }),
        )
    }

    pub(super) fn stats(&self) -> DbtEvent {
        // As in dbt, a partial success counts as an error here.
        let error = self.error + self.partial;
        let Counts { warn, skip, noop, reused, pass, .. } = self;
        let total = error + warn + skip + noop + reused + pass;
        DbtEvent::new(
            Level::Info,
            ("StatsLine", "Z023"),
            format!(
                "Done. PASS={pass} WARN={warn} ERROR={error} SKIP={skip} NO-OP={noop} REUSED={reused} TOTAL={total}"
            ),
            json!({"stats": {
                "error": error, "noop": noop, "pass": pass, "reused": reused, "skip": skip,
                "total": total, "warn": warn,
            }}),
        )
    }
}
