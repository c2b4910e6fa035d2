//! The set of values of a column of another relation, for rows that must refer to one of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use tidemill_core::Result;

use super::duplicates::DenseColumn;
use super::keys::{Key, KeyTable, RowHasher, integer_bits, integers, ordered};
use super::texts::{chosen_rows, for_rows};
use crate::error::from_datafusion;

/// The values that occur.
pub(crate) struct ReferenceSet {
    values: Values,
    // Held for the values.
    _memory: MemoryReservation,
}

enum Values {
    /// A bit for each possible value.
    Dense {
        bounds: DenseColumn,
        bits: Vec<u64>,
    },
    Integers(KeyTable<u64>),
    Hashes(KeyTable<u128>),
}

/// Collects a [`ReferenceSet`].
pub(crate) struct ReferenceBuilder {
    values: Values,
    hasher: Option<RowHasher>,
    memory: MemoryReservation,
    numbers: Vec<i64>,
    hashes: Vec<u128>,
}

/// Bits beyond this many bytes are not worth their memory.
const MOST_DENSE_BYTES: u64 = 64 * 1024 * 1024;

impl ReferenceBuilder {
    /// For values of this type, of which there are about so many, between bounds that may be known.
    pub(crate) fn new(
        data_type: &DataType,
        bounds: Option<DenseColumn>,
        rows: u64,
        environment: &Arc<RuntimeEnv>,
    ) -> Result<Self> {
        let memory = MemoryConsumer::new("relationships").register(&environment.memory_pool);
        let dense = bounds.filter(|bounds| {
            let sparse = rows.saturating_mul(64).max(1 << 20);
            bounds.values <= sparse && bounds.values / 8 <= MOST_DENSE_BYTES
        });
        let (values, hasher) = match dense {
            Some(bounds) if integer_bits(data_type).is_some() => {
                let words = usize::try_from(bounds.values.div_ceil(64)).unwrap_or(usize::MAX);
                memory.try_grow(words * 8).map_err(|error| from_datafusion(error, None))?;
                (Values::Dense { bounds, bits: vec![0; words] }, None)
            }
            _ if integer_bits(data_type).is_some() => {
                (Values::Integers(KeyTable::with_capacity(1024)), None)
            }
            _ => {
                let hasher = RowHasher::new(std::slice::from_ref(data_type))?;
                (Values::Hashes(KeyTable::with_capacity(1024)), Some(hasher))
            }
        };
        Ok(ReferenceBuilder { values, hasher, memory, numbers: Vec::new(), hashes: Vec::new() })
    }

    pub(crate) fn add(&mut self, column: &ArrayRef) -> Result<()> {
        let chosen = chosen_rows(column, None);
        let rows = column.len();
        if let Some(hasher) = &mut self.hasher {
            hasher.hash(std::slice::from_ref(column), &mut self.hashes)?;
        } else {
            integers(column, &mut self.numbers)?;
        }
        // Values outside of the bounds: the statistics were wrong, and bits cannot hold them.
        if let Values::Dense { bounds, bits } = &mut self.values {
            let mut outside = false;
            for_rows(rows, chosen.as_ref(), |row| {
                let offset = self.numbers[row].wrapping_sub(bounds.least) as u64;
                if offset < bounds.values {
                    bits[(offset >> 6) as usize] |= 1 << (offset & 63);
                } else {
                    outside = true;
                }
            });
            if !outside {
                return Ok(());
            }
            self.make_sparse();
        }
        match &mut self.values {
            Values::Dense { .. } => Ok(()),
            Values::Integers(table) => {
                let numbers = &self.numbers;
                insert_all(table, rows, chosen.as_ref(), &self.memory, |row| ordered(numbers[row]))
            }
            Values::Hashes(table) => {
                let hashes = &self.hashes;
                insert_all(table, rows, chosen.as_ref(), &self.memory, |row| hashes[row])
            }
        }
    }

    fn make_sparse(&mut self) {
        let Values::Dense { bounds, bits } = &self.values else { return };
        let mut table = KeyTable::with_capacity(1024);
        for (word, bits) in bits.iter().enumerate() {
            for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
                let value = bounds.least.wrapping_add((word * 64 + bit) as i64);
                table.insert(ordered(value));
            }
        }
        self.values = Values::Integers(table);
    }

    pub(crate) fn finish(self) -> ReferenceSet {
        ReferenceSet { values: self.values, _memory: self.memory }
    }
}

fn insert_all<K: Key>(
    table: &mut KeyTable<K>,
    rows: usize,
    chosen: Option<&BooleanBuffer>,
    memory: &MemoryReservation,
    key: impl Fn(usize) -> K,
) -> Result<()> {
    let mut failed = None;
    for_rows(rows, chosen, |row| {
        if failed.is_some() {
            return;
        }
        if table.is_full() {
            // While it grows, the old table and the new one stand beside each other.
            if let Err(error) = memory.try_resize(table.bytes() * 3) {
                failed = Some(from_datafusion(error, None));
                return;
            }
        }
        table.insert(key(row));
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Counts the rows of one thread that refer to nothing.
pub(crate) struct Orphans {
    reference: Arc<ReferenceSet>,
    hasher: Option<RowHasher>,
    pub(crate) count: u64,
    numbers: Vec<i64>,
    hashes: Vec<u128>,
}

impl Orphans {
    /// The column must have the type that the reference was collected with.
    pub(crate) fn new(reference: Arc<ReferenceSet>, data_type: &DataType) -> Result<Self> {
        let hasher = match reference.values {
            Values::Hashes(_) => Some(RowHasher::new(std::slice::from_ref(data_type))?),
            _ => None,
        };
        Ok(Orphans { reference, hasher, count: 0, numbers: Vec::new(), hashes: Vec::new() })
    }

    pub(crate) fn update(&mut self, column: &ArrayRef, mask: Option<&BooleanBuffer>) -> Result<()> {
        let chosen = chosen_rows(column, mask);
        let rows = column.len();
        match &mut self.hasher {
            Some(hasher) => hasher.hash(std::slice::from_ref(column), &mut self.hashes)?,
            None => integers(column, &mut self.numbers)?,
        }
        let mut missing = 0u64;
        let (numbers, hashes) = (&self.numbers, &self.hashes);
        match &self.reference.values {
            Values::Dense { bounds, bits } => for_rows(rows, chosen.as_ref(), |row| {
                let offset = numbers[row].wrapping_sub(bounds.least) as u64;
                let known = offset < bounds.values
                    && bits[(offset >> 6) as usize] >> (offset & 63) & 1 == 1;
                missing += u64::from(!known);
            }),
            Values::Integers(table) => for_rows(rows, chosen.as_ref(), |row| {
                missing += u64::from(!table.contains(ordered(numbers[row])));
            }),
            Values::Hashes(table) => for_rows(rows, chosen.as_ref(), |row| {
                missing += u64::from(!table.contains(hashes[row]));
            }),
        }
        self.count += missing;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn orphans(parent: ArrayRef, child: ArrayRef, bounds: Option<DenseColumn>) -> u64 {
        let environment = Arc::new(RuntimeEnv::default());
        let mut builder =
            ReferenceBuilder::new(parent.data_type(), bounds, 10, &environment).unwrap();
        builder.add(&parent).unwrap();
        let reference = Arc::new(builder.finish());
        let mut orphans = Orphans::new(reference, child.data_type()).unwrap();
        orphans.update(&child, None).unwrap();
        orphans.count
    }

    #[test]
    fn all_ways_agree() {
        let parent: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), Some(-4), None, Some(900)]));
        let child: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(3), Some(4), None, Some(900), Some(901)]));
        let right = DenseColumn { least: -4, values: 905 };
        let wrong = DenseColumn { least: 0, values: 10 };
        for bounds in [None, Some(right), Some(wrong)] {
            assert_eq!(orphans(parent.clone(), child.clone(), bounds), 2, "{bounds:?}");
        }
        let parent: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let child: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None]));
        assert_eq!(orphans(parent, child, None), 1);
    }
}
