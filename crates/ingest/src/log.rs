//! Rows of a log of changes: what of them goes, and values that the log leaves out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, interleave, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use tidemill_core::{Error, ErrorKind, Result, ResultExt, changes};

use crate::contract::Conform;

/// The columns of a batch that are not the table's.
pub(crate) struct Control(RecordBatch);

/// The table's columns of a batch, and the others, if there are any.
pub(crate) fn split(batch: &RecordBatch) -> Result<(RecordBatch, Option<Control>)> {
    let schema = batch.schema();
    let (control, own): (Vec<usize>, Vec<usize>) =
        (0..schema.fields().len()).partition(|at| changes::is_control(schema.field(*at).name()));
    if control.is_empty() {
        return Ok((batch.clone(), None));
    }
    let project = |columns: &[usize]| {
        batch.project(columns).or_error(ErrorKind::Internal, "columns cannot be left out")
    };
    Ok((project(&own)?, Some(Control(project(&control)?))))
}

/// The columns and the one that says what goes.
pub(crate) fn schema_with_gone(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(changes::GONE, DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}

/// The rows and what of them goes: nothing, where nothing is said.
pub(crate) fn with_gone(rows: &RecordBatch, control: Option<&Control>) -> Result<RecordBatch> {
    let gone = control.and_then(|control| control.0.column_by_name(changes::GONE).cloned());
    let gone = gone.unwrap_or_else(|| Arc::new(BooleanArray::from(vec![false; rows.num_rows()])));
    let mut columns = rows.columns().to_vec();
    columns.push(gone);
    RecordBatch::try_new(schema_with_gone(&rows.schema()), columns)
        .or_error(ErrorKind::Internal, "rows of a log cannot be put together")
}

/// How many rows go.
pub(crate) fn count_gone(rows: &RecordBatch) -> u64 {
    let gone = rows.column_by_name(changes::GONE).and_then(|column| column.as_boolean_opt());
    gone.map_or(0, |gone| gone.true_count() as u64)
}

impl Control {
    /// What is said in one of these columns.
    pub(crate) fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.0.column_by_name(name)
    }

    /// What is said of the other rows.
    pub(crate) fn without(&self, rows: &[(usize, String)]) -> Result<Control> {
        without(&self.0, rows).map(Control)
    }

    /// The values that are left out, if any are.
    pub(crate) fn kept(&self, columns: &Conform) -> Result<Option<Kept>> {
        let Some(list) = self.0.column_by_name(changes::KEPT) else { return Ok(None) };
        let list = list.as_list_opt::<i32>().cloned().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a log does not say which values it leaves out")
        })?;
        let rows = UInt32Array::from_iter_values(
            (0..list.len())
                .filter(|row| list.is_valid(*row) && list.value_length(*row) > 0)
                .filter_map(|row| u32::try_from(row).ok()),
        );
        if rows.is_empty() {
            return Ok(None);
        }
        // The numbers are those of the source's columns.
        let places = columns.places();
        Ok(Some(Kept { rows, list, control: self.0.clone(), places }))
    }
}

/// Values that the log leaves out, as they stay as they were.
pub(crate) struct Kept {
    /// Rows that have such.
    rows: UInt32Array,
    list: ListArray,
    control: RecordBatch,
    /// The number of the table's column for each of the source's.
    places: Vec<Option<usize>>,
}

impl Kept {
    /// The table's columns of a row whose values are left out.
    fn of(&self, row: u32) -> Vec<usize> {
        let numbers = self.list.value(row as usize);
        let numbers = numbers.as_primitive::<Int32Type>();
        let place = |number: &i32| *self.places.get(usize::try_from(*number).ok()?)?;
        numbers.values().iter().filter_map(place).collect()
    }

    /// The keys by which the rows as they were are found.
    pub(crate) fn keys(&self, key: &[String], rows: &RecordBatch) -> Result<RecordBatch> {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (number, name) in key.iter().enumerate() {
            let own = rows.column_by_name(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("there is no column `{name}` (`primary_key`)"),
                )
            })?;
            let before = self.control.column_by_name(&changes::key(number)).unwrap_or(own);
            let before = arrow::compute::cast(before, own.data_type())
                .or_error(ErrorKind::Internal, "a key has another type than its column")?;
            fields.push(Field::new(name, own.data_type().clone(), true));
            columns.push(before);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .or_error(ErrorKind::Internal, "keys cannot be put together")?;
        take_record_batch(&batch, &self.rows).or_error(ErrorKind::Internal, "keys cannot be taken")
    }

    /// The columns of which values are left out.
    pub(crate) fn names(&self, rows: &RecordBatch) -> Vec<String> {
        self.columns().into_iter().map(|at| rows.schema().field(at).name().clone()).collect()
    }

    fn columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> =
            self.rows.values().iter().flat_map(|row| self.of(*row)).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The rows with the values of those that were found, and those whose row was not found.
    pub(crate) fn fill(
        &self,
        rows: RecordBatch,
        found: &RecordBatch,
        places: &[Option<usize>],
    ) -> Result<(RecordBatch, Vec<(usize, String)>)> {
        let mut lost = Vec::new();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        for at in self.columns() {
            let mut from: Vec<(usize, usize)> = (0..rows.num_rows()).map(|row| (0, row)).collect();
            for (number, row) in self.rows.values().iter().enumerate() {
                if !self.of(*row).contains(&at) {
                    continue;
                }
                let name = rows.schema().field(at).name().clone();
                match places.get(number).copied().flatten() {
                    Some(place) => from[*row as usize] = (1, place),
                    None => lost.push((
                        *row as usize,
                        format!("`{name}` stays as it was, and the table does not have the row"),
                    )),
                }
            }
            let name = rows.schema().field(at).name().clone();
            let Some(old) = found.column_by_name(&name) else { continue };
            let old = arrow::compute::cast(old, columns[at].data_type())
                .or_error(ErrorKind::Data, "a value cannot be read as its column's type")?;
            columns[at] = interleave(&[columns[at].as_ref(), old.as_ref()], &from)
                .or_error(ErrorKind::Internal, "values cannot be put together")?;
        }
        lost.sort();
        lost.dedup_by_key(|(row, _)| *row);
        let rows = RecordBatch::try_new(rows.schema(), columns)
            .or_error(ErrorKind::Internal, "rows of a log cannot be put together")?;
        Ok((rows, lost))
    }
}

/// The batch without these rows.
pub(crate) fn without(batch: &RecordBatch, rows: &[(usize, String)]) -> Result<RecordBatch> {
    let mut keep = vec![true; batch.num_rows()];
    rows.iter().for_each(|(row, _)| keep[*row] = false);
    filter_record_batch(batch, &BooleanArray::from(keep))
        .or_error(ErrorKind::Internal, "cannot leave rows out")
}
