//! The keys of a merge: no NULL, and of equal ones the newest by cursor.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{Row, RowConverter, SortField};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};
use xxhash_rust::xxh3::xxh3_128;

/// Watches the rows of a merge.
pub(crate) struct Keys {
    columns: Vec<usize>,
    cursor: Option<Newest>,
}

/// The largest cursor of each key. Memory grows with the number of keys of this load, as it does in
/// the store that merges them: some forty bytes for each, as keys are kept as 128-bit hashes (with
/// 10^9 keys two different ones meet with a probability below 10^-20) and cursors, where they are
/// numbers, dates or times, in 128 bits.
struct Newest {
    column: usize,
    keys: RowConverter,
    cursors: RowConverter,
    largest: Largest,
}

enum Largest {
    /// Cursors of one short width, as numbers that compare as they do.
    Short(HashMap<u128, u128>),
    Long(HashMap<u128, Box<[u8]>>),
}

impl Keys {
    pub(crate) fn new(schema: &SchemaRef, key: &[String], cursor: Option<&str>) -> Result<Keys> {
        let find = |name: &str, setting: &str| {
            schema.index_of(name).map_err(|_| {
                let known: Vec<String> =
                    schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
                Error::new(
                    ErrorKind::Config,
                    format!(
                        "there is no column `{name}` (`{setting}`); there are {}",
                        known.join(", ")
                    ),
                )
            })
        };
        let columns =
            key.iter().map(|name| find(name, "primary_key")).collect::<Result<Vec<usize>>>()?;
        let field = |at: &usize| SortField::new(schema.field(*at).data_type().clone());
        let cursor = match cursor {
            None => None,
            Some(name) => {
                let column = find(name, "cursor")?;
                let unsupported = "this type cannot be a key or cursor";
                Some(Newest {
                    column,
                    keys: RowConverter::new(columns.iter().map(field).collect())
                        .or_error(ErrorKind::Unsupported, unsupported)?,
                    cursors: RowConverter::new(vec![field(&column)])
                        .or_error(ErrorKind::Unsupported, unsupported)?,
                    largest: Largest::of(schema.field(column).data_type()),
                })
            }
        };
        Ok(Keys { columns, cursor })
    }

    /// The rows that may be written, in their order, and those whose key has a NULL, with the reason of
    /// each. A row that is older than one before it with its key is left out.
    pub(crate) fn check(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<(RecordBatch, Vec<(usize, String)>)> {
        let mut keep = vec![true; batch.num_rows()];
        let mut bad = Vec::new();
        for at in &self.columns {
            let column = batch.column(*at);
            if column.null_count() == 0 {
                continue;
            }
            for row in (0..column.len()).filter(|row| column.is_null(*row)) {
                if std::mem::replace(&mut keep[row], false) {
                    let name = batch.schema_ref().field(*at).name();
                    bad.push((row, format!("NULL in the key column `{name}`")));
                }
            }
        }
        bad.sort();
        if let Some(newest) = &mut self.cursor {
            newest.leave_out_older(batch, &self.columns, &mut keep)?;
        }
        if keep.iter().all(|keep| *keep) {
            return Ok((batch.clone(), bad));
        }
        let batch = filter_record_batch(batch, &BooleanArray::from(keep))
            .or_error(ErrorKind::Internal, "cannot leave rows out")?;
        Ok((batch, bad))
    }
}

impl Newest {
    fn leave_out_older(
        &mut self,
        batch: &RecordBatch,
        columns: &[usize],
        keep: &mut [bool],
    ) -> Result<()> {
        let failed = "cannot compare keys";
        let keys: Vec<ArrayRef> = columns.iter().map(|at| batch.column(*at).clone()).collect();
        let keys = self.keys.convert_columns(&keys).or_error(ErrorKind::Internal, failed)?;
        let cursors = self
            .cursors
            .convert_columns(&[batch.column(self.column).clone()])
            .or_error(ErrorKind::Internal, failed)?;
        for (row, keep) in keep.iter_mut().enumerate().filter(|(_, keep)| **keep) {
            let key = xxh3_128(keys.row(row).as_ref());
            *keep = self.largest.is_newest(key, cursors.row(row));
        }
        Ok(())
    }
}

impl Largest {
    fn of(cursor: &DataType) -> Self {
        // A byte in front says whether there is a value.
        match cursor.primitive_width() {
            Some(width) if width < size_of::<u128>() => Largest::Short(HashMap::new()),
            _ => Largest::Long(HashMap::new()),
        }
    }

    /// Whether no row with this key had a larger cursor; it is remembered then. NULL is smaller than
    /// everything.
    fn is_newest(&mut self, key: u128, cursor: Row<'_>) -> bool {
        match self {
            Largest::Short(largest) => {
                let number = |number, byte: &u8| (number << 8) | u128::from(*byte);
                let cursor = cursor.as_ref().iter().fold(0_u128, number);
                let known = largest.entry(key).or_insert(cursor);
                let newest = cursor >= *known;
                *known = cursor.max(*known);
                newest
            }
            Largest::Long(largest) => match largest.get_mut(&key) {
                Some(known) if cursor.as_ref() < known.as_ref() => false,
                Some(known) => {
                    *known = cursor.as_ref().into();
                    true
                }
                None => {
                    largest.insert(key, cursor.as_ref().into());
                    true
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Decimal128Array, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    /// The rows that stay, by their number, for cursors of one key.
    fn kept(cursors: ArrayRef) -> Vec<i64> {
        let rows = cursors.len() as i64;
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("row", DataType::Int64, true),
            Field::new("at", cursors.data_type().clone(), true),
        ]));
        let id = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| 7)));
        let row = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![id, row, cursors]).unwrap();
        let mut keys = Keys::new(&schema, &["id".into()], Some("at")).unwrap();
        let (kept, _) = keys.check(&batch).unwrap();
        kept.column(1).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn cursors_of_every_kind_compare_as_their_values() {
        let numbers = [None, Some(-5), Some(3), Some(-1), None, Some(3), Some(i64::MAX), Some(4)];
        assert_eq!(kept(Arc::new(Int64Array::from(numbers.to_vec()))), [0, 1, 2, 5, 6]);
        let doubles = [-2.5, -3.0, 0.0, 1e300, 7.0];
        assert_eq!(kept(Arc::new(Float64Array::from(doubles.to_vec()))), [0, 2, 3]);
        let texts = ["b", "a", "ba", "b", "c"];
        assert_eq!(kept(Arc::new(StringArray::from(texts.to_vec()))), [0, 2, 4]);
        let decimals = Decimal128Array::from(vec![-1, 10, 9, 11]);
        assert_eq!(kept(Arc::new(decimals)), [0, 1, 3]);
        let flags = BooleanArray::from(vec![false, true, false, true]);
        assert_eq!(kept(Arc::new(flags)), [0, 1, 3]);
    }

    #[test]
    fn nulls_and_older_rows_go() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("at", DataType::Int64, true),
        ]));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int64Array::from(vec![Some(1), None, Some(1), Some(2), Some(1), Some(2)])),
                Arc::new(Int64Array::from(vec![Some(5), Some(9), Some(4), None, Some(5), Some(0)])),
            ],
        )
        .unwrap();
        let mut keys = Keys::new(&schema, &["id".into()], Some("at")).unwrap();
        let (kept, bad) = keys.check(&batch).unwrap();
        let ids: Vec<i64> = kept.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [1, 2, 1, 2]);
        assert_eq!(bad, [(1, "NULL in the key column `id`".to_owned())]);
        assert!(Keys::new(&schema, &["nope".into()], None).is_err());
    }
}
