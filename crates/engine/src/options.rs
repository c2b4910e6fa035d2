//! What the embedded engine may use: memory, threads, disk.

use std::path::{Path, PathBuf};

/// Limits and places of an [`crate::EmbeddedEngine`]. Everything has a default that suits a
/// laptop: most of the memory, all cores, the temporary directory, most of the free disk.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that all queries together may hold in memory. Default: 60% of the machine's (or the
    /// control group's) memory.
    pub memory_limit: Option<u64>,
    /// Threads that run queries, and the number of partitions of a plan. Default: all cores.
    pub threads: Option<usize>,
    /// Where operators that do not fit into memory write. Default: the temporary directory.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that they may write. Default and upper bound: 80% of the free space there.
    pub spill_limit: Option<u64>,
    /// The IANA name of the time zone of sessions whose context names none.
    pub timezone: String,
    /// Names that are accepted as the first part of `database.schema.name`.
    pub databases: Vec<String>,
    /// What `current_user` is.
    pub user: String,
    /// What leaves a query is as in DuckDB: of two columns `a` the second is `a_1`, and a column of
    /// nothing but NULL is an integer; columns of views are named so; a text that is no number fails where it is
    /// computed. Otherwise the first is an error, the second a text, and the last fails its query.
    pub for_duckdb: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            memory_limit: None,
            threads: None,
            spill_dir: None,
            spill_limit: None,
            timezone: "UTC".to_owned(),
            databases: vec!["tidemill".to_owned(), "lake".to_owned()],
            user: "tidemill".to_owned(),
            for_duckdb: false,
        }
    }
}

/// Below this, DataFusion's own fixed reservations do not fit.
const LEAST_MEMORY: u64 = 16 * 1024 * 1024;

impl EngineOptions {
    pub(crate) fn resolved_memory(&self) -> usize {
        let bytes = self.memory_limit.unwrap_or_else(|| memory_of_this_machine() / 10 * 6);
        usize::try_from(bytes.max(LEAST_MEMORY)).unwrap_or(usize::MAX)
    }

    pub(crate) fn resolved_threads(&self) -> usize {
        self.threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
            .max(1)
    }

    pub(crate) fn resolved_spill_dir(&self) -> PathBuf {
        self.spill_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Never more than most of what is free: a full disk would hurt the lake beside it.
    pub(crate) fn resolved_spill_limit(&self) -> u64 {
        let free = free_space(&self.resolved_spill_dir()).map_or(u64::MAX, |free| free / 10 * 8);
        self.spill_limit.unwrap_or(u64::MAX).min(free)
    }
}

#[cfg(unix)]
fn free_space(directory: &Path) -> Option<u64> {
    // The directory may not exist yet: ask the first parent that does.
    let existing = directory.ancestors().find(|path| path.exists())?;
    let status = rustix::fs::statvfs(existing).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_directory: &Path) -> Option<u64> {
    None
}

fn memory_of_this_machine() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    const UNKNOWN: u64 = 4 * 1024 * 1024 * 1024;
    total.unwrap_or(UNKNOWN).min(group.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stay_within_what_the_machine_has() {
        let options = EngineOptions::default();
        assert!(options.resolved_memory() as u64 >= LEAST_MEMORY);
        assert!(options.resolved_memory() as u64 <= memory_of_this_machine());
        assert!(options.resolved_threads() >= 1);
        let tiny = EngineOptions { memory_limit: Some(1), spill_limit: Some(7), ..options };
        assert_eq!(tiny.resolved_memory() as u64, LEAST_MEMORY);
        assert_eq!(tiny.resolved_spill_limit(), 7);
    }
}
