//! Keys of an upsert: encoded into 128 bits, held in a compact table, looked up at the speed of a
//! scan.
//!
//! One or two numbers are their own key. Everything else is the 128-bit hash of its bytes: with 10^9
//! keys two different ones meet with a probability below 10^-20.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use tidemill_core::{Error, ErrorKind, NullKeys, Result};
use xxhash_rust::xxh3::xxh3_128;

/// How many keys an error names.
const SHOWN: usize = 5;

/// Turns the key columns of rows into keys.
#[derive(Debug)]
pub(crate) struct KeyEncoder {
    names: Vec<String>,
    types: Vec<DataType>,
    form: Form,
    null_safe: bool,
}

#[derive(Debug)]
enum Form {
    One,
    Two,
    Rows(RowConverter),
}

/// Keys of rows; a row whose key has a NULL has none, unless NULLs count as equal.
pub(crate) struct Keys {
    pub values: Vec<u128>,
    pub valid: Option<NullBuffer>,
}

impl KeyEncoder {
    /// `null_safe`: NULL equals NULL.
    pub(crate) fn new(schema: &Schema, key: &[String], null_safe: bool) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::new(ErrorKind::Config, "a key needs at least one column"));
        }
        let types = key
            .iter()
            .map(|name| {
                schema.field_with_name(name).map(|field| field.data_type().clone()).map_err(|_| {
                    Error::new(ErrorKind::Config, "a key column is not in the table")
                        .with("column", name)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let form = match types.as_slice() {
            [one] if is_number(one) => Form::One,
            [one, two] if is_number(one) && is_number(two) && !null_safe => Form::Two,
            _ => {
                let fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
                Form::Rows(RowConverter::new(fields).map_err(|error| {
                    Error::new(ErrorKind::Unsupported, "a key cannot have columns of this type")
                        .with("columns", key.join(", "))
                        .because(error)
                })?)
            }
        };
        Ok(KeyEncoder { names: key.to_vec(), types, form, null_safe })
    }

    /// The key columns' names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether NULL equals NULL.
    pub(crate) fn null_safe(&self) -> bool {
        self.null_safe
    }

    /// The key columns' types.
    pub(crate) fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The keys of rows.
    pub(crate) fn encode(&mut self, columns: &[ArrayRef]) -> Result<Keys> {
        let valid = columns.iter().fold(None, |valid: Option<NullBuffer>, column| {
            NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref())
        });
        let mut values = match &mut self.form {
            Form::One => numbers(&columns[0]).into_iter().map(u128::from).collect(),
            Form::Two => numbers(&columns[0])
                .into_iter()
                .zip(numbers(&columns[1]))
                .map(|(one, two)| (u128::from(one) << 64) | u128::from(two))
                .collect::<Vec<u128>>(),
            Form::Rows(converter) => converter
                .convert_columns(columns)
                .map_err(|error| {
                    Error::new(ErrorKind::Internal, "keys cannot be read").because(error)
                })?
                .iter()
                .map(|row| xxh3_128(row.as_ref()))
                .collect(),
        };
        if !self.null_safe {
            return Ok(Keys { values, valid });
        }
        if let (Form::One, Some(valid)) = (&self.form, &valid) {
            for (row, value) in values.iter_mut().enumerate() {
                if valid.is_null(row) {
                    *value = 1 << 64;
                }
            }
        }
        Ok(Keys { values, valid: None })
    }
}

fn is_number(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(_, _)
    )
}

fn numbers(column: &ArrayRef) -> Vec<u64> {
    macro_rules! widened {
        ($type:ty) => {
            column.as_primitive::<$type>().values().iter().map(|v| i64::from(*v) as u64).collect()
        };
    }
    match column.data_type() {
        DataType::Int8 => widened!(Int8Type),
        DataType::Int16 => widened!(Int16Type),
        DataType::Int32 => widened!(Int32Type),
        DataType::Int64 => widened!(Int64Type),
        DataType::Date32 => widened!(Date32Type),
        _ => widened!(TimestampMicrosecondType),
    }
}

/// Keys and, for each, a number. Open addressing over an array of indices, behind a filter of bits
/// that turns away nearly every key that is not there.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    keys: Vec<u128>,
    numbers: Vec<u32>,
    slots: Vec<u32>,
    filter: Vec<u64>,
}

const EMPTY: u32 = u32::MAX;

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Sets the number of a key; the greater number wins. Returns the number that lost.
    pub(crate) fn insert(&mut self, key: u128, number: u32) -> Option<u32> {
        if (self.keys.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let hash = mix(key);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => {
                    self.slots[slot] = self.keys.len() as u32;
                    self.keys.push(key);
                    self.numbers.push(number);
                    self.set_filter(hash);
                    return None;
                }
                index if self.keys[index as usize] == key => {
                    let held = &mut self.numbers[index as usize];
                    let lost = (*held).min(number);
                    *held = (*held).max(number);
                    return Some(lost);
                }
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// The number of a key.
    #[inline]
    pub(crate) fn get(&self, key: u128) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = mix(key);
        let bit = (hash >> 32) as usize & (self.filter.len() * 64 - 1);
        if self.filter[bit / 64] & (1 << (bit % 64)) == 0 {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return None,
                index if self.keys[index as usize] == key => {
                    return Some(self.numbers[index as usize]);
                }
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn set_filter(&mut self, hash: u64) {
        let bit = (hash >> 32) as usize & (self.filter.len() * 64 - 1);
        self.filter[bit / 64] |= 1 << (bit % 64);
    }

    fn grow(&mut self) {
        let capacity = (self.slots.len() * 2).max(1024);
        self.slots = vec![EMPTY; capacity];
        // Eight bits for each slot's half: about one in twenty strangers passes.
        self.filter = vec![0; capacity / 8];
        let mask = capacity - 1;
        for index in 0..self.keys.len() {
            let hash = mix(self.keys[index]);
            let mut slot = hash as usize & mask;
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = index as u32;
            self.set_filter(hash);
        }
    }
}

#[inline]
fn mix(key: u128) -> u64 {
    let folded = (key as u64) ^ ((key >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (folded ^ (folded >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 29)
}

/// More keys than this are not sorted to find their files.
const SORTED: usize = 1 << 20;

/// What happens to several new rows with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// All stay.
    Keep,
    /// The last stays.
    KeepLast,
    /// It is an error that names them.
    Fail,
}

/// Collects the keys of new rows while they are written.
#[derive(Debug)]
pub(crate) struct KeyCollector {
    encoder: KeyEncoder,
    repeated: Repeated,
    pub table: KeyTable,
    /// Numbers of rows that a later row with the same key replaces.
    pub superseded: Vec<u32>,
    /// The least and greatest value of each key column.
    pub ranges: Option<Vec<(ScalarValue, ScalarValue)>>,
    null_keys: NullKeys,
    /// How many rows have a NULL in their key, and which columns those are.
    null_rows: u64,
    null_columns: Vec<String>,
    /// More keys than may be held: the table is not complete.
    pub overflow: bool,
    limit: usize,
    shown: Vec<String>,
    repeated_rows: u64,
    next: u32,
    accumulators: Vec<(MinAccumulator, MaxAccumulator)>,
}

impl KeyCollector {
    pub(crate) fn new(
        schema: &Schema,
        key: &[String],
        null_safe: bool,
        repeated: Repeated,
        null_keys: NullKeys,
        limit: usize,
    ) -> Result<Self> {
        let encoder = KeyEncoder::new(schema, key, null_safe)?;
        let accumulators = encoder
            .types()
            .iter()
            .map(|data_type| {
                Ok((MinAccumulator::try_new(data_type)?, MaxAccumulator::try_new(data_type)?))
            })
            .collect::<datafusion::error::Result<Vec<_>>>()
            // Without order there is no range, and every file is a candidate.
            .unwrap_or_default();
        Ok(KeyCollector {
            encoder,
            repeated,
            table: KeyTable::default(),
            superseded: Vec::new(),
            ranges: None,
            null_keys,
            null_rows: 0,
            null_columns: Vec::new(),
            overflow: false,
            limit,
            shown: Vec::new(),
            repeated_rows: 0,
            next: 0,
            accumulators,
        })
    }

    /// The keys in their order, where they are one number each and not too many: between the least and
    /// the greatest of them may lie files that hold none.
    pub(crate) fn sorted(&self) -> Option<Vec<i64>> {
        let one = matches!(self.encoder.form, Form::One) && !self.encoder.null_safe;
        if !one || self.table.len() > SORTED {
            return None;
        }
        let mut numbers: Vec<i64> = self.table.keys.iter().map(|key| *key as u64 as i64).collect();
        numbers.sort_unstable();
        Some(numbers)
    }

    /// Sees rows in stream order.
    pub(crate) fn collect(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = key_columns(batch, self.encoder.names())?;
        self.note_nulls(&columns);
        for (column, (min, max)) in columns.iter().zip(&mut self.accumulators) {
            let values = std::slice::from_ref(column);
            min.update_batch(values).and_then(|()| max.update_batch(values)).map_err(|error| {
                Error::new(ErrorKind::Internal, "the range of a key cannot be found").because(error)
            })?;
        }
        let first = self.next;
        let count = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        self.next = first.checked_add(count).ok_or_else(|| {
            Error::new(ErrorKind::Resources, "one upsert can have at most four billion rows")
        })?;
        if self.overflow {
            return Ok(());
        }
        let keys = self.encoder.encode(&columns)?;
        self.insert(&keys, |row| first + row as u32, |_| true, &columns)?;
        if self.table.len() > self.limit {
            self.overflow = true;
            self.table = KeyTable::default();
            self.superseded = Vec::new();
            self.shown = Vec::new();
            self.repeated_rows = 0;
        }
        Ok(())
    }

    fn note_nulls(&mut self, columns: &[ArrayRef]) {
        let mut nulls = None;
        for (column, name) in columns.iter().zip(self.encoder.names()) {
            let column = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            if column.is_some() && !self.null_columns.contains(name) {
                self.null_columns.push(name.clone());
            }
            nulls = NullBuffer::union(nulls.as_ref(), column.as_ref());
        }
        if let Some(nulls) = nulls {
            self.null_rows += nulls.null_count() as u64;
        }
    }

    /// How many rows have a NULL in their key, which therefore equals no other.
    pub(crate) fn null_keys(&self) -> u64 {
        if self.encoder.null_safe { 0 } else { self.null_rows }
    }

    /// Refuses NULLs in keys unless they are wanted. To be called when every row was seen.
    pub(crate) fn check_nulls(&self) -> Result<()> {
        if self.null_rows == 0 || self.encoder.null_safe || self.null_keys == NullKeys::Insert {
            return Ok(());
        }
        let rows = match self.null_rows {
            1 => "1 new row has".to_owned(),
            rows => format!("{rows} new rows have"),
        };
        Err(Error::new(
            ErrorKind::Data,
            format!(
                "{rows} a NULL in the key, which equals no other: each run would add such rows again"
            ),
        )
        .with(
            if self.null_columns.len() == 1 { "column" } else { "columns" },
            self.null_columns.join(", "),
        )
        .with(
            "hint",
            "leave them out or fill the key in the query (`coalesce`); \
             without `meta: {null_keys: fail}` each run adds them, as dbt does",
        ))
    }

    /// Takes those keys for which `wanted` holds.
    pub(crate) fn insert(
        &mut self,
        keys: &Keys,
        number: impl Fn(usize) -> u32,
        wanted: impl Fn(u128) -> bool,
        columns: &[ArrayRef],
    ) -> Result<()> {
        for (row, key) in keys.values.iter().enumerate() {
            if keys.valid.as_ref().is_some_and(|valid| valid.is_null(row)) || !wanted(*key) {
                continue;
            }
            let Some(lost) = self.table.insert(*key, number(row)) else { continue };
            match self.repeated {
                Repeated::Keep => {}
                Repeated::KeepLast => self.superseded.push(lost),
                Repeated::Fail => {
                    self.repeated_rows += 1;
                    if self.shown.len() < SHOWN {
                        let text = describe(self.encoder.names(), columns, row);
                        if !self.shown.contains(&text) {
                            self.shown.push(text);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The number of the key of each row, where it is one of those.
    pub(crate) fn keys_of(&mut self, columns: &[ArrayRef]) -> Result<Vec<Option<u32>>> {
        let types = self.encoder.types().to_vec();
        let columns = columns
            .iter()
            .zip(&types)
            .map(|(column, data_type)| super::columns::conform_array(column, data_type))
            .collect::<Result<Vec<_>>>()?;
        let keys = self.encoder.encode(&columns)?;
        let valid = |row| keys.valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        let number =
            |(row, key): (usize, &u128)| valid(row).then(|| self.table.get(*key)).flatten();
        Ok(keys.values.iter().enumerate().map(number).collect())
    }

    /// To be called when every row was seen.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let ranges = self
            .accumulators
            .iter_mut()
            .map(|(min, max)| Ok((min.evaluate()?, max.evaluate()?)))
            .collect::<datafusion::error::Result<Vec<_>>>();
        self.ranges = ranges.ok().filter(|ranges| !ranges.is_empty());
        if self.repeated_rows > 0 {
            return Err(Error::new(
                ErrorKind::Data,
                "several new rows have the same key, so it is not clear which of them to keep",
            )
            .with("key", self.encoder.names().join(", "))
            .with("for example", self.shown.join("; "))
            .with("rows too many", self.repeated_rows)
            .with("hint", "make the key unique in the query, or choose a wider key"));
        }
        Ok(())
    }

    /// Forgets the keys of the last pass.
    pub(crate) fn clear(&mut self) {
        self.table = KeyTable::default();
    }

    /// Whether a NULL of this column among the keys can match one in the table.
    pub(crate) fn matches_null_in(&self, name: &String) -> bool {
        self.encoder.null_safe && self.null_columns.contains(name)
    }

    pub(crate) fn rows(&self) -> u32 {
        self.next
    }

    pub(crate) fn encoder(&mut self) -> &mut KeyEncoder {
        &mut self.encoder
    }
}

/// The key columns of rows, in the key's order.
pub(crate) fn key_columns(batch: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>> {
    names
        .iter()
        .map(|name| {
            batch.column_by_name(name).cloned().ok_or_else(|| {
                Error::new(ErrorKind::Config, "a key column is not among the rows' columns")
                    .with("column", name)
            })
        })
        .collect()
}

fn describe(names: &[String], columns: &[ArrayRef], row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    names
        .iter()
        .zip(columns)
        .map(|(name, column)| {
            let value = ArrayFormatter::try_new(column.as_ref(), &options)
                .map(|formatter| formatter.value(row).to_string())
                .unwrap_or_default();
            format!("{name} = {value}")
        })
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Field;
    use std::sync::Arc;

    #[test]
    fn a_table_holds_what_was_put_in_and_nothing_else() {
        let mut table = KeyTable::default();
        for number in 0..20_000u32 {
            assert_eq!(table.insert(u128::from(number) * 7, number), None);
        }
        assert_eq!(table.insert(7, 50_000), Some(1));
        assert_eq!(table.insert(7, 3), Some(3));
        assert_eq!(table.get(7), Some(50_000));
        for key in 0..140_000u128 {
            assert_eq!(table.get(key).is_some(), key % 7 == 0, "{key}");
        }
    }

    #[test]
    fn nulls_match_nothing_unless_told_so() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(0)]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("y"), None]));
        for (key, columns) in [
            (vec!["a".to_owned()], vec![a.clone()]),
            (vec!["a".to_owned(), "b".to_owned()], vec![a.clone(), b.clone()]),
        ] {
            let keys = KeyEncoder::new(&schema, &key, false).unwrap().encode(&columns).unwrap();
            let valid = keys.valid.unwrap();
            assert!(valid.is_valid(0) && valid.is_null(1));
            let keys = KeyEncoder::new(&schema, &key, true).unwrap().encode(&columns).unwrap();
            assert!(keys.valid.is_none());
            assert_ne!(keys.values[1], keys.values[2]);
        }
    }
}
