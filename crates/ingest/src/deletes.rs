//! Rows that were deleted at the source, found by comparing keys.
//!
//! The keys of all rows of the source are read, as hashes in a temporary file; then the rows of the table are
//! read, and those go whose key is not among them. So many hashes are in memory at a time that it does not grow
//! with the table: beyond, the table's keys are read once more for each further part.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use tidemill_core::{Error, ErrorKind, Position, RelationName, Result, ResultExt};
use xxhash_rust::xxh3::xxh3_128;

use crate::contract::STRICT;
use crate::{Deletes, LoadSettings};

/// How many hashes are in memory at a time: 128 MiB.
const PART: u64 = 8 << 20;

/// Under this name a position says when keys were compared last (microseconds since 1970).
const COMPARED: &str = "keys_compared_at";

/// When keys were compared last, as the position of a table says.
pub(crate) fn compared_at(position: Option<&Position>) -> Option<i64> {
    position?.0.get(COMPARED)?.as_i64()
}

/// The position that says when keys were compared last.
pub(crate) fn with_compared_at(mut position: Position, at: Option<i64>) -> Position {
    if let (Some(object), Some(at)) = (position.0.as_object_mut(), at) {
        object.insert(COMPARED.to_owned(), at.into());
    }
    position
}

/// Whether it is time to compare again.
pub(crate) fn is_due(deletes: &Deletes, last: Option<i64>, now: i64) -> bool {
    let every = deletes.every.map_or(0, |every| every.as_micros());
    last.is_none_or(|last| i128::from(now - last) >= i128::try_from(every).unwrap_or(i128::MAX))
}

/// The columns of a source with the one that says that a row was deleted there.
///
/// # Errors
/// Kind `Config` when the source has a column of that name.
pub(crate) fn with_flag(schema: &SchemaRef, settings: &LoadSettings) -> Result<SchemaRef> {
    let Some(flag) = settings.deletes.as_ref().and_then(|deletes| deletes.flag.as_ref()) else {
        return Ok(schema.clone());
    };
    if schema.field_with_name(flag).is_ok() {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "`deletes` keeps its flag in `{flag}`, and the source has such a column; name another"
            ),
        ));
    }
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(flag, DataType::Boolean, true)));
    Ok(Arc::new(Schema::new(fields)))
}

/// Rows of the source, which are not deleted.
pub(crate) fn not_deleted(rows: &RecordBatch, settings: &LoadSettings) -> Result<RecordBatch> {
    let schema = with_flag(&rows.schema(), settings)?;
    let mut columns = rows.columns().to_vec();
    if schema.fields().len() > columns.len() {
        columns.push(Arc::new(BooleanArray::from(vec![false; rows.num_rows()])));
    }
    RecordBatch::try_new(schema, columns)
        .or_error(ErrorKind::Internal, "rows cannot be put together")
}

/// The keys that the source has.
pub(crate) struct SourceKeys {
    fields: Vec<Arc<Field>>,
    rows: RowConverter,
    file: BufWriter<File>,
    count: u64,
}

impl SourceKeys {
    /// None yet, of a table with these columns.
    pub(crate) fn new(table: &SchemaRef, key: &[String]) -> Result<SourceKeys> {
        let fields = key
            .iter()
            .map(|name| {
                let at = table.index_of(name).or_error(
                    ErrorKind::Config,
                    format!("the table has no column `{name}` (`primary_key`)"),
                )?;
                Ok(table.fields()[at].clone())
            })
            .collect::<Result<Vec<_>>>()?;
        let sorts = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let rows = RowConverter::new(sorts)
            .or_error(ErrorKind::Unsupported, "this type cannot be a key")?;
        let file =
            tempfile::tempfile().or_error(ErrorKind::Internal, "no temporary file can be made")?;
        Ok(SourceKeys { fields, rows, file: BufWriter::new(file), count: 0 })
    }

    /// What came so far is void.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let failed = "keys cannot be written to a temporary file";
        self.file.seek(SeekFrom::Start(0)).or_error(ErrorKind::Internal, failed)?;
        self.file.get_ref().set_len(0).or_error(ErrorKind::Internal, failed)?;
        self.count = 0;
        Ok(())
    }

    /// Takes keys of the source.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for hash in self.hashes(batch)?.into_iter().flatten() {
            self.file
                .write_all(&hash.to_le_bytes())
                .or_error(ErrorKind::Internal, "keys cannot be written to a temporary file")?;
            self.count += 1;
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// In how many parts they are compared.
    pub(crate) fn parts(&self) -> u64 {
        self.count.div_ceil(PART).max(1)
    }

    /// The hashes of a part, in their order.
    pub(crate) fn part(&mut self, part: u64) -> Result<Vec<u128>> {
        let failed = "keys cannot be read from a temporary file";
        self.file.flush().or_error(ErrorKind::Internal, failed)?;
        let parts = self.parts();
        let mut file = BufReader::new(self.file.get_ref());
        file.seek(SeekFrom::Start(0)).or_error(ErrorKind::Internal, failed)?;
        let mut hashes = Vec::new();
        let mut bytes = [0; 16];
        for _ in 0..self.count {
            file.read_exact(&mut bytes).or_error(ErrorKind::Internal, failed)?;
            let hash = u128::from_le_bytes(bytes);
            if part_of(hash, parts) == part {
                hashes.push(hash);
            }
        }
        hashes.sort_unstable();
        Ok(hashes)
    }

    /// The hash of the key of each row; of one with a NULL none.
    fn hashes(&self, batch: &RecordBatch) -> Result<Vec<Option<u128>>> {
        let columns = self
            .fields
            .iter()
            .map(|field| {
                let column = batch.column_by_name(field.name()).ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "a column of the key is not there")
                        .with("column", field.name())
                })?;
                cast_with_options(column, field.data_type(), &STRICT)
                    .or_error(
                        ErrorKind::Data,
                        "a key cannot be read as the type that it has in the table",
                    )
                    .map_err(|error| error.with("column", field.name()))
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let rows = self
            .rows
            .convert_columns(&columns)
            .or_error(ErrorKind::Internal, "cannot compare keys")?;
        let null = |row| columns.iter().any(|column| column.is_null(row));
        Ok((0..batch.num_rows())
            .map(|row| (!null(row)).then(|| xxh3_128(rows.row(row).as_ref())))
            .collect())
    }
}

fn part_of(hash: u128, parts: u64) -> u64 {
    // The upper half, spread over the parts.
    u64::try_from(((hash >> 64) * u128::from(parts)) >> 64).unwrap_or(0)
}

/// What of a table is not at the source any more.
pub(crate) struct Missing {
    /// Rows that the table has (with a flag: that are not deleted).
    pub(crate) rows: u64,
    /// Those of them that the source does not have.
    pub(crate) missing: u64,
    flag: Option<String>,
    /// The columns of the table as they will be.
    schema: SchemaRef,
}

impl Missing {
    pub(crate) fn new(schema: SchemaRef, deletes: &Deletes) -> Missing {
        Missing { rows: 0, missing: 0, flag: deletes.flag.clone(), schema }
    }

    /// The columns of the table that are looked at.
    pub(crate) fn columns(&self, table: &SchemaRef, key: &[String]) -> Vec<String> {
        match self.flag {
            Some(_) => table.fields().iter().map(|field| field.name().clone()).collect(),
            None => key.to_vec(),
        }
    }

    /// Of rows of the table those that are to be written, and whether they go: those that are deleted, and with a
    /// flag also those that are there again.
    pub(crate) fn take(
        &mut self,
        batch: &RecordBatch,
        keys: &SourceKeys,
        hashes: &[u128],
        (part, parts): (u64, u64),
    ) -> Result<Option<RecordBatch>> {
        let flagged = self.flag.as_ref().and_then(|flag| batch.column_by_name(flag));
        let flagged = flagged.and_then(|column| column.as_boolean_opt());
        let mut gone = Vec::new();
        let mut wanted = Vec::with_capacity(batch.num_rows());
        for (row, hash) in keys.hashes(batch)?.into_iter().enumerate() {
            let Some(hash) = hash.filter(|hash| part_of(*hash, parts) == part) else {
                wanted.push(false);
                continue;
            };
            let there = hashes.binary_search(&hash).is_ok();
            let was = flagged.is_some_and(|flagged| flagged.is_valid(row) && flagged.value(row));
            self.rows += u64::from(!was);
            self.missing += u64::from(!there && !was);
            let changes = there == was;
            wanted.push(changes);
            if changes {
                gone.push(!there);
            }
        }
        if gone.is_empty() {
            return Ok(None);
        }
        let failed = "rows that were deleted cannot be put together";
        let rows = filter_record_batch(batch, &BooleanArray::from(wanted))
            .or_error(ErrorKind::Internal, failed)?;
        let count = rows.num_rows();
        let deleted = BooleanArray::from(gone);
        let mut columns = self
            .schema
            .fields()
            .iter()
            .map(|field| match rows.column_by_name(field.name()) {
                _ if self.flag.as_ref() == Some(field.name()) => {
                    Ok(Arc::new(deleted.clone()) as ArrayRef)
                }
                Some(column) => cast_with_options(column, field.data_type(), &STRICT),
                None => Ok(new_null_array(field.data_type(), count)),
            })
            .collect::<std::result::Result<Vec<ArrayRef>, _>>()
            .or_error(ErrorKind::Internal, failed)?;
        columns.push(Arc::new(match self.flag {
            Some(_) => BooleanArray::from(vec![false; count]),
            None => deleted,
        }));
        RecordBatch::try_new(crate::log::schema_with_gone(&self.schema), columns)
            .or_error(ErrorKind::Internal, failed)
            .map(Some)
    }

    /// An error when more rows would go than may.
    pub(crate) fn check(
        &self,
        deletes: &Deletes,
        keys: u64,
        relation: &RelationName,
    ) -> Result<()> {
        let Some(limit) = deletes.limit else { return Ok(()) };
        let allow = "if that is right, load once with --allow-deletes";
        if keys == 0 && self.rows > 0 {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the source gives no keys at all, so that all {} rows of `{relation}` would be deleted; {allow}",
                    self.rows
                ),
            ));
        }
        if self.missing as f64 > self.rows as f64 * limit / 100.0 {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "{} of the {} rows of `{relation}` are not at the source any more, and `deletes` lets \
                     {limit}% go at once; {allow}, or raise the `limit` of `deletes`",
                    self.missing, self.rows
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::Int64Array;
    use serde_json::json;

    use super::*;

    fn batch(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        let ids = Int64Array::from_iter_values(ids);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids)]).unwrap()
    }

    #[test]
    fn each_key_is_in_one_part() {
        let all = batch(0..1000);
        let mut keys = SourceKeys::new(&all.schema(), &["id".to_owned()]).unwrap();
        keys.add(&batch(5..10)).unwrap();
        keys.restart().unwrap();
        keys.add(&all).unwrap();
        assert_eq!((keys.count(), keys.parts()), (1000, 1));
        assert_eq!(keys.part(0).unwrap().len(), 1000);
        let hashes: Vec<u128> = keys.hashes(&all).unwrap().into_iter().flatten().collect();
        for parts in [1, 2, 3, 7] {
            let mut counts = vec![0; parts as usize];
            hashes.iter().for_each(|hash| counts[part_of(*hash, parts) as usize] += 1);
            assert_eq!(counts.iter().sum::<u64>(), 1000);
            assert!(counts.iter().all(|count| *count > 500 / parts), "{counts:?}");
        }
    }

    #[test]
    fn what_is_not_at_the_source_goes_in_any_number_of_parts() {
        let table = batch(0..100);
        let mut keys = SourceKeys::new(&table.schema(), &["id".to_owned()]).unwrap();
        keys.add(&batch((0..120).filter(|id| id % 10 != 3))).unwrap();
        let hashes = keys.part(0).unwrap();
        for parts in [1, 4] {
            let mut missing = Missing::new(table.schema(), &Deletes::default());
            let mut gone = Vec::new();
            for part in 0..parts {
                let found = missing.take(&table, &keys, &hashes, (part, parts)).unwrap();
                if let Some(rows) = found {
                    assert!(rows.column(1).as_boolean().iter().all(|gone| gone == Some(true)));
                    let ids = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>();
                    gone.extend(ids.values().iter().copied());
                }
            }
            gone.sort_unstable();
            assert_eq!(gone, (0..10).map(|ten| ten * 10 + 3).collect::<Vec<_>>());
            assert_eq!((missing.rows, missing.missing), (100, 10));
            let relation = RelationName::new("raw", "t");
            let check = |limit, keys| {
                missing.check(&Deletes { limit, ..Deletes::default() }, keys, &relation)
            };
            assert!(check(Some(10.0), 108).is_ok());
            let error = check(Some(9.0), 108).unwrap_err();
            assert!(
                error.message().contains("10 of the 100 rows")
                    && error.message().contains("--allow-deletes")
            );
            assert!(check(Some(100.0), 0).is_err());
            assert!(check(None, 0).is_ok());
        }
    }

    #[test]
    fn keys_are_compared_as_often_as_declared() {
        let daily = Deletes { every: Some(Duration::from_secs(86_400)), ..Deletes::default() };
        let day = 86_400_000_000;
        assert!(is_due(&daily, None, day));
        assert!(!is_due(&daily, Some(day), 2 * day - 1));
        assert!(is_due(&daily, Some(day), 2 * day));
        assert!(is_due(&Deletes::default(), Some(day), day));
        let position = with_compared_at(Position(json!({"value": 1})), Some(5));
        assert_eq!(compared_at(Some(&position)), Some(5));
    }
}
