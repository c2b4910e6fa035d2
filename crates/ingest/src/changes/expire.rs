//! How long changes are kept.
//!
//! Not all logs say when a change was made, and clocks differ, so it counts since when a change is kept here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidemill_core::{RelationName, Result, Snapshot};

use super::{Log, State};

/// Into how many parts the time is divided after which changes go: one goes so much later at most.
const PARTS: i64 = 30;

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    micros(since)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Notes that changes came, when it is time for another note.
pub(super) fn note(log: &mut Log, keep: Option<Duration>, now: i64) {
    let Some(keep) = keep.map(micros) else {
        log.kept.clear();
        return;
    };
    // Of those that are old enough the newest says it all.
    let old = log.kept.iter().filter(|(time, _)| *time <= now.saturating_sub(keep)).count();
    log.kept.drain(..old.saturating_sub(1));
    if log.kept.last().is_none_or(|(time, _)| now - time >= keep / PARTS) {
        log.kept.push((now, log.last));
    }
}

/// The number up to which changes may go: they are applied to the table, and were kept for so long. `None`:
/// none may.
///
/// # Errors
/// When the position of the table of changes cannot be read.
pub fn expired(base: &Snapshot, relation: &RelationName, keep: Duration) -> Result<Option<i64>> {
    let State::Follows { log, applied } = State::of(base, relation)? else { return Ok(None) };
    Ok(expired_at(&log, applied, keep, now()))
}

fn expired_at(log: &Log, applied: i64, keep: Duration, now: i64) -> Option<i64> {
    let old = log.kept.iter().filter(|(time, _)| *time <= now.saturating_sub(micros(keep)));
    old.map(|(_, number)| *number).max().map(|number| number.min(applied))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidemill_core::Position;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn log() -> Log {
        let position = Position(json!({}));
        Log { log: position.clone(), since: position, begins: 2, last: 2, emptied: 2, kept: vec![] }
    }

    #[test]
    fn changes_go_when_they_are_old_and_applied() {
        let keep = Duration::from_secs(3 * 86_400);
        let mut log = log();
        for hour in 0..24 * 10 {
            log.last += 10;
            note(&mut log, Some(keep), hour * DAY / 24);
        }
        let now = 10 * DAY;
        assert!(log.kept.len() <= 33, "{}", log.kept.len());
        // Those of the first seven days; at most a thirtieth of the three days later.
        let number = expired_at(&log, i64::MAX, keep, now).unwrap();
        assert!((1_600..=1_692).contains(&number), "{number}");
        // Not what the table does not have.
        assert_eq!(expired_at(&log, 500, keep, now), Some(500));
        assert_eq!(expired_at(&log, 500, Duration::from_secs(30 * 86_400), now), None);
    }

    #[test]
    fn nothing_is_noted_where_it_does_not_matter() {
        let mut log = log();
        note(&mut log, None, 5);
        assert!(log.kept.is_empty());
        assert_eq!(expired_at(&log, 100, Duration::ZERO, 10), None);
    }
}
