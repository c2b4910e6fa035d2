//! Which keys came before, in bounded memory.
//!
//! `SCAN` gives a key that is there all the time at least once, and may give it twice. Hashes of keys are kept
//! in memory as long as they are few, and in sorted files beyond that.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use tidemill_core::{ErrorKind, Result, ResultExt};
use xxhash_rust::xxh3::xxh3_128;

/// How many hashes are in memory, some hundred megabytes.
const IN_MEMORY: usize = 4_000_000;

/// The bytes of a hash.
const HASH: usize = 16;

const FAILED: &str = "the keys that were read cannot be kept in a file for the time being";

/// Keys that came.
pub(super) struct Seen {
    recent: HashSet<u128>,
    files: Vec<Sorted>,
    in_memory: usize,
}

impl Seen {
    pub(super) fn new() -> Seen {
        Seen::of(IN_MEMORY)
    }

    fn of(in_memory: usize) -> Seen {
        Seen { recent: HashSet::new(), files: Vec::new(), in_memory }
    }

    /// Whether it comes for the first time.
    ///
    /// # Errors
    /// Kind `Io`.
    pub(super) fn insert(&mut self, key: &[u8]) -> Result<bool> {
        let hash = xxh3_128(key);
        for file in &mut self.files {
            if file.has(hash).or_error(ErrorKind::Io, FAILED)? {
                return Ok(false);
            }
        }
        if !self.recent.insert(hash) {
            return Ok(false);
        }
        if self.recent.len() >= self.in_memory {
            let mut hashes: Vec<u128> = self.recent.drain().collect();
            hashes.sort_unstable();
            self.files.push(Sorted::write(&hashes).or_error(ErrorKind::Io, FAILED)?);
        }
        Ok(true)
    }
}

/// Hashes in a file, in their order. It has no name and goes with this.
struct Sorted {
    file: File,
    count: u64,
}

impl Sorted {
    fn write(hashes: &[u128]) -> std::io::Result<Sorted> {
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for hash in hashes {
            out.write_all(&hash.to_be_bytes())?;
        }
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(Sorted { file, count: hashes.len() as u64 })
    }

    fn at(&mut self, index: u64) -> std::io::Result<u128> {
        let mut bytes = [0; HASH];
        self.file.seek(SeekFrom::Start(index * HASH as u64))?;
        self.file.read_exact(&mut bytes)?;
        Ok(u128::from_be_bytes(bytes))
    }

    fn has(&mut self, hash: u128) -> std::io::Result<bool> {
        let (mut low, mut high) = (0, self.count);
        let (mut least, mut most) = (0, u128::MAX);
        while low < high {
            // Hashes are spread evenly: it should stand about there.
            let share = hash.saturating_sub(least) as f64 / most.saturating_sub(least) as f64;
            let middle = (low + (share * (high - low) as f64) as u64).clamp(low, high - 1);
            let found = self.at(middle)?;
            match found.cmp(&hash) {
                Ordering::Equal => return Ok(true),
                Ordering::Less => (low, least) = (middle + 1, found),
                Ordering::Greater => (high, most) = (middle, found),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_whether_in_memory_or_not() {
        for in_memory in [3, 100, 10_000] {
            let mut seen = Seen::of(in_memory);
            for key in 0..1000_u32 {
                assert!(seen.insert(&key.to_le_bytes()).unwrap(), "{key}");
            }
            assert_eq!(seen.files.len(), 1000 / in_memory);
            for key in 0..1000_u32 {
                assert!(!seen.insert(&key.to_le_bytes()).unwrap(), "{key}");
            }
            assert!(seen.insert(b"another").unwrap());
        }
    }
}
