//! Values that a log leaves out, as they stay as they were.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use futures::StreamExt;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::append::Append;
use super::{DELETE, KIND, NUMBER, column};
use crate::log::Kept;

impl Append<'_> {
    /// The rows with the values that the log leaves out: from the newest change of the row that is not
    /// applied yet, else from the table.
    pub(super) async fn fill(
        &mut self,
        rows: RecordBatch,
        kept: &Kept,
    ) -> Result<(RecordBatch, Vec<(usize, String)>)> {
        let keys = kept.keys(&self.spec.settings.primary_key, &rows)?;
        let names = kept.names(&rows);
        let schema = rows.schema();
        let mut places = vec![None; keys.num_rows()];
        let mut parts = Vec::new();
        let mut count = 0;
        let emptied = self.log.emptied > self.applied;
        if self.there.is_some() && self.log.last > self.applied {
            let newest = self.newest(&keys).await?;
            for (place, newest) in places.iter_mut().zip(newest) {
                let Some((_, row)) = newest else { continue };
                // Nothing is there of a row that was deleted.
                *place = Some(row.map(|row| {
                    parts.push(row);
                    count += 1;
                    count - 1
                }));
            }
        }
        let mut found = concat_as(&schema, &names, &parts)?;
        if !emptied && places.iter().any(Option::is_none) {
            let table = self.spec.base.get(&self.spec.relation);
            let known = |name: &String| {
                table.is_some_and(|table| table.schema.field_with_name(name).is_ok())
            };
            let names: Vec<String> = names.iter().filter(|name| known(name)).cloned().collect();
            let (of_table, at) = self
                .store
                .rows_of_keys(&self.spec.relation, &self.spec.base, &keys, &names)
                .await
                .map_err(|error| error.with("table", &self.spec.relation))?;
            for (place, at) in places.iter_mut().zip(at) {
                if place.is_none() {
                    *place = Some(at.map(|at| at + count));
                }
            }
            parts.push(of_table);
            found = concat_as(&schema, &kept.names(&rows), &parts)?;
        }
        let places: Vec<Option<usize>> = places.into_iter().map(Option::flatten).collect();
        kept.fill(rows, &found, &places)
    }

    /// Of each key the newest change that is not applied yet: its number, and the row, unless it was
    /// deleted.
    async fn newest(
        &mut self,
        keys: &RecordBatch,
    ) -> Result<Vec<Option<(i64, Option<RecordBatch>)>>> {
        let failed = "keys cannot be compared";
        let key = keys.schema();
        let fields = key.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter =
            RowConverter::new(fields.collect()).or_error(ErrorKind::Unsupported, failed)?;
        let wanted =
            converter.convert_columns(keys.columns()).or_error(ErrorKind::Internal, failed)?;
        let wanted: Vec<OwnedRow> = wanted.iter().map(|row| row.owned()).collect();
        let mut newest: HashMap<OwnedRow, Option<(i64, Option<RecordBatch>)>> =
            wanted.iter().map(|row| (row.clone(), None)).collect();
        let after = self.applied.max(self.log.emptied);
        let mut rows = self.store.rows_after(&self.changes, &self.spec.base, NUMBER, after).await?;
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            let numbers: &Int64Array = column(&batch, NUMBER)?;
            let kinds: &StringArray = column(&batch, KIND)?;
            let columns = key
                .fields()
                .iter()
                .map(|field| {
                    let column = batch.column_by_name(field.name()).ok_or_else(|| {
                        Error::new(ErrorKind::Data, "a table of changes has no key")
                    })?;
                    arrow::compute::cast(column, field.data_type())
                        .or_error(ErrorKind::Internal, failed)
                })
                .collect::<Result<Vec<_>>>()?;
            let found =
                converter.convert_columns(&columns).or_error(ErrorKind::Internal, failed)?;
            for (at, row) in found.iter().enumerate() {
                let Some(known) = newest.get_mut(&row.owned()) else { continue };
                let number = numbers.value(at);
                if known.as_ref().is_none_or(|(before, _)| *before < number) {
                    let there = kinds.value(at) != DELETE;
                    *known = Some((number, there.then(|| batch.slice(at, 1))));
                }
            }
        }
        Ok(wanted.iter().map(|row| newest.get(row).cloned().flatten()).collect())
    }
}

/// These columns of the batches, with the types of a schema; NULL where one does not have them.
fn concat_as(schema: &SchemaRef, names: &[String], parts: &[RecordBatch]) -> Result<RecordBatch> {
    let failed = "rows cannot be joined";
    let fields: Vec<_> = names
        .iter()
        .filter_map(|name| schema.field_with_name(name).ok())
        .map(|field| field.clone().with_nullable(true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let parts = parts
        .iter()
        .map(|part| {
            let columns = schema
                .fields()
                .iter()
                .map(|field| match part.column_by_name(field.name()) {
                    Some(column) => arrow::compute::cast(column, field.data_type())
                        .or_error(ErrorKind::Data, "a value cannot be read as its column's type"),
                    None => Ok(new_null_array(field.data_type(), part.num_rows())),
                })
                .collect::<Result<Vec<_>>>()?;
            RecordBatch::try_new(schema.clone(), columns).or_error(ErrorKind::Internal, failed)
        })
        .collect::<Result<Vec<_>>>()?;
    concat_batches(&schema, &parts).or_error(ErrorKind::Internal, failed)
}
