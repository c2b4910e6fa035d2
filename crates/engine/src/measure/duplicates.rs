//! How many values (or combinations of values) occur more than once.
//!
//! Three ways, from the cheapest:
//!
//! - **A bit for each possible key**, when the columns are whole numbers whose bounds are known and
//!   lie close enough together. Order does not matter, and a row costs a bit test.
//! - **The order of the rows**: keys that only increase are different. Each thread notes the runs
//!   in which they do; runs that do not overlap prove the whole. If they overlap, the measure is
//!   taken again the third way.
//! - **All keys**, split by their hash into parts that fit into the processor's cache, each put
//!   into a table at the end; parts go to disk when memory runs out.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::spill_file::SpillFile;
use tidemill_core::{Error, ErrorKind, Result};

use super::keys::{Key, KeyTable, RowHasher, integer_bits, integers, ordered};
use super::texts::for_rows;
use crate::error::from_datafusion;

/// What the rows come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// So many.
    Count(u64),
    /// This way does not tell: it has to be taken again with all keys.
    Again,
}

/// A bit for each possible key.
pub(crate) struct Dense {
    columns: Vec<DenseColumn>,
    ignore_nulls: bool,
    seen: Vec<u64>,
    twice: Vec<u64>,
    /// A value lay outside of its bounds: the statistics were wrong.
    outside: bool,
    numbers: Vec<i64>,
    index: Vec<u64>,
    // Held for the bits.
    _memory: MemoryReservation,
}

/// One column of a dense key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DenseColumn {
    pub(crate) least: i64,
    /// How many different values there can be; one more stands for NULL.
    pub(crate) values: u64,
}

/// Two sets of bits may take this many bytes for each thread.
const MOST_DENSE_BYTES: u64 = 256 * 1024 * 1024;

impl Dense {
    /// Bits that the columns need; `None` when it is too much for so many rows, or for memory.
    pub(crate) fn bits(columns: &[DenseColumn], rows: u64, memory: u64) -> Option<u64> {
        let mut bits = 1u64;
        for column in columns {
            bits = bits.checked_mul(column.values.checked_add(1)?)?;
        }
        let sparse = rows.saturating_mul(64).max(1 << 20);
        let bytes = bits.div_ceil(64).checked_mul(16)?;
        (bits <= sparse && bytes <= MOST_DENSE_BYTES.min(memory / 8)).then_some(bits)
    }

    pub(crate) fn new(
        columns: Vec<DenseColumn>,
        bits: u64,
        ignore_nulls: bool,
        environment: &RuntimeEnv,
    ) -> Result<Self> {
        let words = usize::try_from(bits.div_ceil(64)).unwrap_or(usize::MAX);
        let memory = MemoryConsumer::new("duplicates").register(&environment.memory_pool);
        memory.try_grow(words * 16).map_err(|error| from_datafusion(error, None))?;
        Ok(Dense {
            columns,
            ignore_nulls,
            seen: vec![0; words],
            twice: vec![0; words],
            outside: false,
            numbers: Vec::new(),
            index: Vec::new(),
            _memory: memory,
        })
    }

    pub(crate) fn update(
        &mut self,
        columns: &[ArrayRef],
        mask: Option<&BooleanBuffer>,
    ) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut index = std::mem::take(&mut self.index);
        let mut numbers = std::mem::take(&mut self.numbers);
        index.clear();
        index.resize(rows, 0);
        for (column, bounds) in columns.iter().zip(&self.columns) {
            integers(column, &mut numbers)?;
            let stride = bounds.values + 1;
            let mut beyond = 0u64;
            match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => {
                    for (slot, value) in index.iter_mut().zip(&numbers) {
                        let offset = value.wrapping_sub(bounds.least) as u64;
                        beyond |= u64::from(offset >= bounds.values);
                        *slot = slot.wrapping_mul(stride).wrapping_add(offset);
                    }
                }
                Some(nulls) => {
                    for (row, (slot, value)) in index.iter_mut().zip(&numbers).enumerate() {
                        let offset = match nulls.is_valid(row) {
                            true => {
                                let offset = value.wrapping_sub(bounds.least) as u64;
                                beyond |= u64::from(offset >= bounds.values);
                                offset
                            }
                            false => bounds.values,
                        };
                        *slot = slot.wrapping_mul(stride).wrapping_add(offset);
                    }
                }
            }
            self.outside |= beyond != 0;
        }
        if !self.outside {
            let chosen = rows_to_count(columns, mask, self.ignore_nulls);
            let (seen, twice) = (&mut self.seen, &mut self.twice);
            for_rows(rows, chosen.as_ref(), |row| {
                let key = index[row];
                let (word, bit) = ((key >> 6) as usize, 1u64 << (key & 63));
                if seen[word] & bit != 0 {
                    twice[word] |= bit;
                } else {
                    seen[word] |= bit;
                }
            });
        }
        self.index = index;
        self.numbers = numbers;
        Ok(())
    }

    pub(crate) fn finish(parts: Vec<Self>) -> Outcome {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return Outcome::Count(0) };
        for part in parts {
            all.outside |= part.outside;
            for (index, seen) in part.seen.iter().enumerate() {
                all.twice[index] |= part.twice[index] | (all.seen[index] & seen);
                all.seen[index] |= seen;
            }
        }
        match all.outside {
            true => Outcome::Again,
            false => {
                Outcome::Count(all.twice.iter().map(|word| u64::from(word.count_ones())).sum())
            }
        }
    }
}

/// The rows that pass the filter and, where NULLs are left out, have none among the key's columns.
fn rows_to_count(
    columns: &[ArrayRef],
    mask: Option<&BooleanBuffer>,
    ignore_nulls: bool,
) -> Option<BooleanBuffer> {
    let mut chosen = mask.cloned();
    if ignore_nulls {
        for column in columns {
            if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
                chosen = Some(match chosen {
                    Some(chosen) => &chosen & nulls.inner(),
                    None => nulls.inner().clone(),
                });
            }
        }
    }
    chosen
}

/// How columns become keys.
pub(crate) enum Encoding {
    /// Whole numbers beside each other, in order: bits for each column, and one more for NULL.
    Packed(Vec<u32>),
    /// A hash of the row.
    Hashed(RowHasher),
}

impl Encoding {
    /// The encoding for columns of these types, and whether its keys fit into 64 bits.
    pub(crate) fn of(
        types: &[arrow::datatypes::DataType],
        ignore_nulls: bool,
    ) -> Result<(Self, bool)> {
        let flag = u32::from(!ignore_nulls);
        let bits: Option<Vec<u32>> =
            types.iter().map(|kind| Some(integer_bits(kind)? + flag)).collect();
        match bits {
            Some(bits) if bits.iter().sum::<u32>() <= 128 => {
                let narrow = bits.iter().sum::<u32>() <= 64;
                Ok((Encoding::Packed(bits), narrow))
            }
            _ => Ok((Encoding::Hashed(RowHasher::new(types)?), false)),
        }
    }

    fn keeps_order(&self) -> bool {
        matches!(self, Encoding::Packed(_))
    }

    fn encode(
        &mut self,
        columns: &[ArrayRef],
        ignore_nulls: bool,
        numbers: &mut Vec<i64>,
        out: &mut Vec<u128>,
    ) -> Result<()> {
        let bits = match self {
            Encoding::Hashed(hasher) => return hasher.hash(columns, out),
            Encoding::Packed(bits) => bits,
        };
        out.clear();
        out.resize(columns.first().map_or(0, |column| column.len()), 0);
        for (column, width) in columns.iter().zip(bits.iter()) {
            integers(column, numbers)?;
            let value_bits = width - u32::from(!ignore_nulls);
            // Turned so that the order of the bits is that of the numbers.
            let shift = 64 - value_bits;
            let kind_is_boolean = value_bits == 1;
            let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
            for (row, (key, value)) in out.iter_mut().zip(numbers.iter()).enumerate() {
                let present = nulls.is_none_or(|nulls| nulls.is_valid(row));
                let number = match (present, kind_is_boolean) {
                    (false, _) => 0,
                    (true, true) => *value as u64 & 1,
                    (true, false) => ordered(value << shift) >> shift,
                };
                *key = if *width < 128 { *key << width } else { 0 };
                if !ignore_nulls && present {
                    *key |= 1 << value_bits;
                }
                *key |= u128::from(number);
            }
        }
        Ok(())
    }
}

/// The keys of one thread's rows.
pub(crate) struct Keys<K: Key> {
    encoding: Encoding,
    ignore_nulls: bool,
    mode: Mode<K>,
    environment: Arc<RuntimeEnv>,
    memory: MemoryReservation,
    numbers: Vec<i64>,
    wide: Vec<u128>,
    narrow: fn(u128) -> K,
}

enum Mode<K> {
    /// Only the runs in which keys increase.
    Ordered(Runs<K>),
    /// Every key, split by hash.
    Stored(Stored<K>),
}

struct Runs<K> {
    /// First and last key of each run, the last one open.
    runs: Vec<(K, K)>,
    /// Different keys that came twice or more, each within its run.
    twice: u64,
    /// Whether the last key of the open run was counted in `twice`.
    last_counted: bool,
    /// Keys of the beginning, until it is believed that the rows are in order.
    begin: Option<Vec<K>>,
}

struct Stored<K> {
    parts: Vec<Vec<K>>,
    held: usize,
    spilled: Vec<Spilled>,
}

/// Keys on disk: the parts one after the other.
struct Spilled {
    file: Arc<dyn SpillFile>,
    /// Where each part begins, in keys; one more for the end.
    starts: Vec<u64>,
}

/// Parts of the keys, by six bits of their hash.
const PARTS: usize = 64;
/// Rows that are kept until their order is believed.
const TRIAL: usize = 65_536;
/// Runs that a trial may have.
const TRIAL_RUNS: usize = 8;
/// Runs that are worth keeping.
const MOST_RUNS: usize = 4_096;

impl<K: Key> Keys<K> {
    pub(crate) fn new(
        encoding: Encoding,
        ignore_nulls: bool,
        all: bool,
        environment: Arc<RuntimeEnv>,
        narrow: fn(u128) -> K,
    ) -> Self {
        let memory = MemoryConsumer::new("duplicates")
            .with_can_spill(true)
            .register(&environment.memory_pool);
        let mode = match encoding.keeps_order() && !all {
            true => Mode::Ordered(Runs {
                runs: Vec::new(),
                twice: 0,
                last_counted: false,
                begin: Some(Vec::new()),
            }),
            false => Mode::Stored(Stored::new()),
        };
        Keys {
            encoding,
            ignore_nulls,
            mode,
            environment,
            memory,
            numbers: Vec::new(),
            wide: Vec::new(),
            narrow,
        }
    }

    pub(crate) fn update(
        &mut self,
        columns: &[ArrayRef],
        mask: Option<&BooleanBuffer>,
    ) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut wide = std::mem::take(&mut self.wide);
        self.encoding.encode(columns, self.ignore_nulls, &mut self.numbers, &mut wide)?;
        let chosen = rows_to_count(columns, mask, self.ignore_nulls);
        let narrow = self.narrow;
        match &mut self.mode {
            Mode::Ordered(runs) => {
                for_rows(rows, chosen.as_ref(), |row| runs.push(narrow(wide[row])));
                if let Some(begin) = runs.give_up() {
                    let mut stored = Stored::new();
                    begin.into_iter().for_each(|key| stored.push(key));
                    self.mode = Mode::Stored(stored);
                }
            }
            Mode::Stored(stored) => {
                for_rows(rows, chosen.as_ref(), |row| stored.push(narrow(wide[row])));
            }
        }
        self.wide = wide;
        self.hold_memory()
    }

    /// Takes memory for what is stored, or puts it on disk.
    fn hold_memory(&mut self) -> Result<()> {
        let Mode::Stored(stored) = &mut self.mode else { return Ok(()) };
        // Vectors grow by doubling, so they may hold up to twice what is in them.
        let wanted = stored.held * K::SIZE * 2;
        if wanted <= self.memory.size() {
            return Ok(());
        }
        if self.memory.try_resize(wanted).is_err() {
            stored.spill(&self.environment.disk_manager)?;
            self.memory.free();
        }
        Ok(())
    }

    pub(crate) fn finish(threads: Vec<Self>) -> Result<Outcome> {
        let ordered = threads.iter().all(|keys| matches!(keys.mode, Mode::Ordered(_)));
        if ordered {
            let runs = threads.iter().filter_map(|keys| match &keys.mode {
                Mode::Ordered(runs) => Some(runs),
                Mode::Stored(_) => None,
            });
            let outcome = Runs::together(runs.collect());
            if outcome != Outcome::Again {
                return Ok(outcome);
            }
        }
        // A thread that went by order may have let its keys go.
        let forgot = threads.iter().any(|keys| match &keys.mode {
            Mode::Ordered(runs) => runs.begin.is_none(),
            Mode::Stored(_) => false,
        });
        if forgot {
            return Ok(Outcome::Again);
        }
        let Some(environment) = threads.first().map(|keys| keys.environment.clone()) else {
            return Ok(Outcome::Count(0));
        };
        let mut memory = Vec::new();
        let mut all = Vec::new();
        for keys in threads {
            all.push(match keys.mode {
                Mode::Stored(stored) => stored,
                Mode::Ordered(runs) => {
                    let mut stored = Stored::new();
                    runs.begin.into_iter().flatten().for_each(|key| stored.push(key));
                    stored
                }
            });
            memory.push(keys.memory);
        }
        let count = Stored::count_twice(all, &environment)?;
        drop(memory);
        Ok(Outcome::Count(count))
    }
}

impl<K: Key> Runs<K> {
    #[inline]
    fn push(&mut self, key: K) {
        if let Some(begin) = &mut self.begin {
            begin.push(key);
        }
        match self.runs.last_mut() {
            Some((_, last)) if key > *last => {
                *last = key;
                self.last_counted = false;
            }
            Some((_, last)) if key == *last => {
                self.twice += u64::from(!self.last_counted);
                self.last_counted = true;
            }
            _ => {
                // More runs than are worth keeping are only counted.
                if self.runs.len() <= MOST_RUNS {
                    self.runs.push((key, key));
                }
                self.last_counted = false;
            }
        }
    }

    /// The keys so far, when they are not in order and all of them are still there.
    fn give_up(&mut self) -> Option<Vec<K>> {
        let begin = self.begin.as_ref()?;
        if self.runs.len() > TRIAL_RUNS {
            return self.begin.take();
        }
        if begin.len() > TRIAL {
            self.begin = None;
        }
        None
    }

    /// Runs that do not overlap are each other's proof.
    fn together(threads: Vec<&Self>) -> Outcome {
        if threads.iter().any(|runs| runs.runs.len() > MOST_RUNS) {
            return Outcome::Again;
        }
        let mut runs: Vec<(K, K)> = threads.iter().flat_map(|runs| runs.runs.clone()).collect();
        runs.sort_unstable();
        match runs.windows(2).all(|pair| pair[0].1 < pair[1].0) {
            true => Outcome::Count(threads.iter().map(|runs| runs.twice).sum()),
            false => Outcome::Again,
        }
    }
}

impl<K: Key> Stored<K> {
    fn new() -> Self {
        Stored { parts: (0..PARTS).map(|_| Vec::new()).collect(), held: 0, spilled: Vec::new() }
    }

    #[inline]
    fn push(&mut self, key: K) {
        // The table of a part uses the low bits.
        self.parts[(key.mixed() >> 58) as usize].push(key);
        self.held += 1;
    }

    fn spill(&mut self, disk: &Arc<DiskManager>) -> Result<()> {
        let fail = |error| from_datafusion(error, None);
        let io = |error: std::io::Error| {
            Error::new(ErrorKind::Io, "keys could not be written to disk").because(error)
        };
        let file = disk.create_tmp_file("finding duplicates").map_err(fail)?;
        let mut writer = file.open_writer().map_err(fail)?;
        let mut starts = vec![0];
        let mut bytes = Vec::new();
        let mut written = 0u64;
        for part in &mut self.parts {
            for chunk in part.chunks(64 * 1024) {
                bytes.clear();
                chunk.iter().for_each(|key| key.write(&mut bytes));
                writer.write_all(&bytes).map_err(io)?;
            }
            written += part.len() as u64;
            starts.push(written);
            *part = Vec::new();
        }
        writer.finish().map_err(fail)?;
        drop(writer);
        self.held = 0;
        self.spilled.push(Spilled { file, starts });
        Ok(())
    }

    fn count_twice(mut threads: Vec<Self>, environment: &RuntimeEnv) -> Result<u64> {
        let memory = MemoryConsumer::new("duplicates").register(&environment.memory_pool);
        let mut count = 0u64;
        for part in 0..PARTS {
            let on_disk: u64 = threads
                .iter()
                .flat_map(|stored| &stored.spilled)
                .map(|spilled| spilled.starts[part + 1] - spilled.starts[part])
                .sum();
            let held: usize = threads.iter().map(|stored| stored.parts[part].len()).sum();
            let keys = held + usize::try_from(on_disk).unwrap_or(usize::MAX);
            memory
                .try_resize(KeyTable::<K>::bytes_for(keys))
                .map_err(|error| from_datafusion(error, None))?;
            let mut table = KeyTable::with_capacity(keys);
            for stored in &mut threads {
                for key in std::mem::take(&mut stored.parts[part]) {
                    count += u64::from(table.insert(key));
                }
                for spilled in &stored.spilled {
                    spilled.read(part, |key| count += u64::from(table.insert(key)))?;
                }
            }
        }
        Ok(count)
    }
}

impl Spilled {
    fn read<K: Key>(&self, part: usize, mut each: impl FnMut(K)) -> Result<()> {
        let io = |error: std::io::Error| {
            Error::new(ErrorKind::Io, "keys could not be read from disk").because(error)
        };
        let path = self.file.path().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "spilled keys must be in a local file")
        })?;
        let mut file = std::fs::File::open(path).map_err(io)?;
        let size = K::SIZE as u64;
        file.seek(SeekFrom::Start(self.starts[part] * size)).map_err(io)?;
        let mut left = (self.starts[part + 1] - self.starts[part]) * size;
        let mut bytes = vec![0; 1024 * K::SIZE];
        while left > 0 {
            let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut bytes[..length]).map_err(io)?;
            bytes[..length].chunks_exact(K::SIZE).for_each(|chunk| each(K::read(chunk)));
            left -= length as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::DataType;

    use super::*;

    fn environment(bytes: usize) -> Arc<RuntimeEnv> {
        use datafusion::execution::memory_pool::GreedyMemoryPool;
        use datafusion::execution::runtime_env::RuntimeEnvBuilder;
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
            .build_arc()
            .unwrap()
    }

    fn count(
        threads: &[Vec<Vec<ArrayRef>>],
        ignore_nulls: bool,
        all: bool,
        bytes: usize,
    ) -> Outcome {
        let types: Vec<DataType> =
            threads[0][0].iter().map(|column| column.data_type().clone()).collect();
        let environment = environment(bytes);
        let keys = threads
            .iter()
            .map(|batches| {
                let (encoding, _) = Encoding::of(&types, ignore_nulls).unwrap();
                let mut keys =
                    Keys::<u128>::new(encoding, ignore_nulls, all, environment.clone(), |key| key);
                for batch in batches {
                    keys.update(batch, None).unwrap();
                }
                keys
            })
            .collect();
        Keys::finish(keys).unwrap()
    }

    fn numbers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values))
    }

    const PLENTY: usize = 1 << 30;

    #[test]
    fn rows_in_order_need_no_keys() {
        let first = vec![vec![numbers(0..50_000)], vec![numbers(50_000..100_000)]];
        let second = vec![vec![numbers(200_000..300_000)], vec![numbers(100_000..150_000)]];
        assert_eq!(count(&[first, second], true, false, 1), Outcome::Count(0));
    }

    #[test]
    fn overlapping_runs_have_to_be_looked_at_again() {
        let first = vec![vec![numbers(0..100_000)]];
        let second = vec![vec![numbers(99_999..200_000)]];
        let threads = [first, second];
        assert_eq!(count(&threads, true, false, PLENTY), Outcome::Again);
        assert_eq!(count(&threads, true, true, PLENTY), Outcome::Count(1));
    }

    #[test]
    fn neighbours_are_counted_once_each() {
        let column = numbers([1, 1, 1, 2, 3, 3]);
        assert_eq!(count(&[vec![vec![column]]], true, false, PLENTY), Outcome::Count(2));
    }

    #[test]
    fn rows_without_order_are_stored_and_spilled() {
        // A multiplication by an odd number gives every residue once.
        let scattered = |n: i64| (0..n).map(move |i| (i * 7_919) % 1_048_576);
        let threads = [
            vec![vec![numbers(scattered(300_000))]],
            vec![vec![numbers(scattered(300_000).skip(299_990))]],
        ];
        assert_eq!(count(&threads, true, false, PLENTY), Outcome::Count(10));
        assert_eq!(count(&threads, true, false, 2_000_000), Outcome::Count(10));
    }

    #[test]
    fn nulls_are_equal_or_left_out() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None, Some(2)]));
        let flag: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, None, None]));
        for (columns, with_nulls) in [(vec![column.clone()], 1), (vec![column, flag], 1)] {
            let threads = [vec![columns]];
            assert_eq!(count(&threads, false, true, PLENTY), Outcome::Count(with_nulls));
            assert_eq!(count(&threads, true, true, PLENTY), Outcome::Count(0));
        }
    }

    #[test]
    fn text_is_hashed() {
        let column: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), None]));
        assert_eq!(count(&[vec![vec![column]]], false, false, PLENTY), Outcome::Count(1));
    }

    #[test]
    fn dense_bits_agree_and_notice_wrong_bounds() {
        let environment = environment(PLENTY);
        let make = |least, values| {
            let columns = vec![DenseColumn { least, values }, DenseColumn { least: 0, values: 3 }];
            let bits = Dense::bits(&columns, 1000, PLENTY as u64).unwrap();
            Dense::new(columns, bits, false, &environment).unwrap()
        };
        let left: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(5), Some(7), Some(5), None, None]));
        let right: ArrayRef = Arc::new(Int32Array::from(vec![0, 1, 0, 2, 2]));
        let mut first = make(5, 3);
        first.update(&[left.clone(), right.clone()], None).unwrap();
        let mut second = make(5, 3);
        second
            .update(&[numbers([7]), Arc::new(Int32Array::from(vec![1])) as ArrayRef], None)
            .unwrap();
        assert_eq!(Dense::finish(vec![first, second]), Outcome::Count(3));
        let mut wrong = make(6, 2);
        wrong.update(&[left, right], None).unwrap();
        assert_eq!(Dense::finish(vec![wrong]), Outcome::Again);
    }
}
