//! The keys of a merge: no NULL, and of equal ones the newest by cursor.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

/// Watches the rows of a merge.
pub(crate) struct Keys {
    columns: Vec<usize>,
    cursor: Option<Newest>,
}

/// The largest cursor of each key. Memory grows with the number of keys of this load, as it does in
/// the store that merges them.
struct Newest {
    column: usize,
    keys: RowConverter,
    cursors: RowConverter,
    largest: HashMap<Box<[u8]>, Box<[u8]>>,
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
                    largest: HashMap::new(),
                })
            }
        };
        Ok(Keys { columns, cursor })
    }

    /// The rows that may be written, in their order, and those whose key has a NULL, with the first
    /// such column of each. A row that is older than one before it with its key is left out.
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
                    bad.push((row, batch.schema_ref().field(*at).name().clone()));
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
            let (key, cursor) = (keys.row(row), cursors.row(row));
            match self.largest.get_mut(key.as_ref()) {
                // NULL is smaller than everything.
                Some(largest) if cursor.as_ref() < largest.as_ref() => *keep = false,
                Some(largest) => *largest = cursor.as_ref().into(),
                None => {
                    self.largest.insert(key.as_ref().into(), cursor.as_ref().into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

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
        assert_eq!(bad, [(1, "id".to_owned())]);
        assert!(Keys::new(&schema, &["nope".into()], None).is_err());
    }
}
