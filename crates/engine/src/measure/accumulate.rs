//! What one thread of a scan keeps for one measure.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use tidemill_core::{Error, ErrorKind, Result};

use super::duplicates::{Dense, Keys, Outcome};
use super::keys::RowHasher;
use super::reference::Orphans;
use super::shape::Shape;
use super::texts::{Remembered, for_each_failing};

/// One measure of one thread. Columns are indexes into the scanned batch.
pub(crate) struct Accumulator {
    /// The column of the measure's filter.
    pub(crate) filter: Option<usize>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Rows(u64),
    Nulls { column: usize, count: u64 },
    CountIf { column: usize, count: u64 },
    Mismatches { column: usize, shape: Arc<Shape>, remembered: Option<Remembered>, count: u64 },
    Unaccepted(Unaccepted),
    Dense { columns: Vec<usize>, dense: Dense },
    Narrow { columns: Vec<usize>, keys: Keys<u64> },
    Wide { columns: Vec<usize>, keys: Keys<u128> },
    Orphans { column: usize, orphans: Orphans },
}

/// Different values that are not accepted.
pub(crate) enum Unaccepted {
    /// Text against a list of texts.
    Texts {
        column: usize,
        accepted: Arc<HashSet<Box<str>>>,
        remembered: Remembered,
        found: HashSet<u128>,
    },
    /// Any value, with a column that says whether it is bad.
    Values { column: usize, bad: usize, hasher: RowHasher, found: HashSet<u128>, hashes: Vec<u128> },
}

/// More different bad values than this are counted by a query that may use the disk.
const MOST_DISTINCT: usize = 1 << 20;

impl Accumulator {
    pub(crate) fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        let mask = self.filter.map(|column| truths(batch.column(column)));
        let mask = mask.as_ref();
        let pick = |columns: &[usize]| -> Vec<ArrayRef> {
            columns.iter().map(|column| batch.column(*column).clone()).collect()
        };
        match &mut self.kind {
            Kind::Rows(count) => *count += in_mask(mask, batch.num_rows()),
            Kind::Nulls { column, count } => {
                let nulls = batch.column(*column).logical_nulls();
                *count += match (nulls, mask) {
                    (None, _) => 0,
                    (Some(nulls), None) => nulls.null_count() as u64,
                    (Some(nulls), Some(mask)) => {
                        (mask.count_set_bits() - (mask & nulls.inner()).count_set_bits()) as u64
                    }
                };
            }
            Kind::CountIf { column, count } => {
                let holds = truths(batch.column(*column));
                *count += match mask {
                    Some(mask) => (&holds & mask).count_set_bits() as u64,
                    None => holds.count_set_bits() as u64,
                };
            }
            Kind::Mismatches { column, shape, remembered, count } => {
                for_each_failing(
                    batch.column(*column),
                    mask,
                    remembered.as_mut(),
                    |text| shape.matches(text),
                    |_| *count += 1,
                )?;
            }
            Kind::Unaccepted(unaccepted) => unaccepted.update(batch, mask)?,
            Kind::Dense { columns, dense } => dense.update(&pick(columns), mask)?,
            Kind::Narrow { columns, keys } => keys.update(&pick(columns), mask)?,
            Kind::Wide { columns, keys } => keys.update(&pick(columns), mask)?,
            Kind::Orphans { column, orphans } => orphans.update(batch.column(*column), mask)?,
        }
        Ok(())
    }

    /// What all threads of one measure come to.
    pub(crate) fn finish(threads: Vec<Self>) -> Result<Outcome> {
        let mut sum = 0;
        let mut distinct = HashSet::new();
        let (mut dense, mut narrow, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        for thread in threads {
            match thread.kind {
                Kind::Rows(count)
                | Kind::Nulls { count, .. }
                | Kind::CountIf { count, .. }
                | Kind::Mismatches { count, .. } => sum += count,
                Kind::Orphans { orphans, .. } => sum += orphans.count,
                Kind::Unaccepted(Unaccepted::Texts { found, .. })
                | Kind::Unaccepted(Unaccepted::Values { found, .. }) => distinct.extend(found),
                Kind::Dense { dense: one, .. } => dense.push(one),
                Kind::Narrow { keys, .. } => narrow.push(keys),
                Kind::Wide { keys, .. } => wide.push(keys),
            }
        }
        if !dense.is_empty() {
            return Ok(Dense::finish(dense));
        }
        if !narrow.is_empty() {
            return Keys::finish(narrow);
        }
        if !wide.is_empty() {
            return Keys::finish(wide);
        }
        Ok(Outcome::Count(sum + distinct.len() as u64))
    }
}

impl Unaccepted {
    fn update(&mut self, batch: &RecordBatch, mask: Option<&BooleanBuffer>) -> Result<()> {
        let found = match self {
            Unaccepted::Texts { column, accepted, remembered, found } => {
                for_each_failing(
                    batch.column(*column),
                    mask,
                    Some(remembered),
                    |text| accepted.contains(text),
                    |text| {
                        if found.len() <= MOST_DISTINCT {
                            found.insert(xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
                        }
                    },
                )?;
                found
            }
            Unaccepted::Values { column, bad, hasher, found, hashes } => {
                let mut bad = truths(batch.column(*bad));
                if let Some(mask) = mask {
                    bad = &bad & mask;
                }
                if bad.count_set_bits() == 0 {
                    return Ok(());
                }
                hasher.hash(&[batch.column(*column).clone()], hashes)?;
                for row in bad.set_indices() {
                    if found.len() <= MOST_DISTINCT {
                        found.insert(hashes[row]);
                    }
                }
                found
            }
        };
        if found.len() > MOST_DISTINCT {
            // The caller takes the measure by SQL.
            return Err(Error::new(ErrorKind::Resources, "too many different values to hold"));
        }
        Ok(())
    }
}

/// Where a boolean column is true: neither false nor NULL.
fn truths(column: &ArrayRef) -> BooleanBuffer {
    match column.as_boolean_opt() {
        Some(column) => match column.nulls() {
            Some(nulls) => column.values() & nulls.inner(),
            None => column.values().clone(),
        },
        // A predicate that is only `null`.
        None => BooleanBuffer::new_unset(column.len()),
    }
}

fn in_mask(mask: Option<&BooleanBuffer>, rows: usize) -> u64 {
    mask.map_or(rows, BooleanBuffer::count_set_bits) as u64
}
