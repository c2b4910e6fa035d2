//! How much a render may do before it is stopped.

/// Limits of one render. Each has one clear error ([`ErrorKind::Budget`](crate::ErrorKind::Budget)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of evaluation: each statement and expression is one, bulk work (long strings,
    /// sorting, repetition) costs in proportion to its size. The default is half a second or so.
    pub steps: u64,
    /// Macro calls within one another.
    pub recursion: usize,
    /// Bytes that the render writes, and the size of any single string it makes.
    pub output_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 8_000_000, recursion: 400, output_bytes: 256 << 20 }
    }
}

impl Budget {
    /// What runs while models are built may take its time: packages write the whole project's
    /// metadata into tables, row by row.
    pub fn of_runs() -> Self {
        Self { steps: 500_000_000, ..Self::default() }
    }
}
