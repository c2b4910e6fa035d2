//! Applies changes that are kept to their table.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use serde_json::json;
use tidemill_core::{
    Error, ErrorKind, Position, Result, ResultExt, StageRequest, TableStore, WriteMode,
};

use super::{DELETE, KIND, NUMBER, State, changes_relation, column, without_own};
use crate::contract::{Conform, conform};
use crate::keys::Keys;
use crate::load::{LoadSpec, Loaded};
use crate::log;
use crate::staging::Staging;

/// Stages the table with the changes that are not applied to it yet. Nothing of it is visible before the
/// caller publishes it, with its position.
///
/// # Errors
/// Of the store. After an error nothing is staged.
pub async fn apply(spec: &LoadSpec, store: &dyn TableStore) -> Result<Loaded> {
    let nothing = Loaded { nothing_new: true, ..Loaded::default() };
    let State::Follows { log, applied } = State::of(&spec.base, &spec.relation)? else {
        return Ok(nothing);
    };
    let changes = changes_relation(&spec.relation);
    let (Some(table), Some(found)) = (spec.base.get(&spec.relation), spec.base.get(&changes))
    else {
        return Ok(nothing);
    };
    let position = Position(json!({"changes_applied": log.last}));
    if log.last == applied {
        let position = Some(position).filter(|position| table.position.as_ref() != Some(position));
        return Ok(Loaded { position, ..nothing });
    }
    let own = without_own(&found.schema);
    let columns = conform(&own, Some(&table.schema), spec.settings.schema_contract)
        .map_err(|error| error.with("table", &spec.relation))?;
    let mut rows = store.rows_after(&changes, &spec.base, NUMBER, applied.max(log.emptied)).await?;
    let key = spec.settings.primary_key.clone();
    let observers = match &spec.observers {
        Some(make) => make(&columns.schema)?,
        None => Vec::new(),
    };
    let schema = log::schema_with_gone(&columns.schema);
    let mut stage = Staging::begin(store, schema, |rows| StageRequest {
        relation: spec.relation.clone(),
        mode: WriteMode::Changes { key: key.clone(), truncates: log.emptied > applied },
        partition_by: None,
        rows,
        base: spec.base.clone(),
        comments: spec.comments.clone(),
        observers,
        run: spec.run.clone(),
    });
    let mut count = 0;
    let mut sent = async || {
        let mut newest = Newest::new(&columns, &key)?;
        while let Some(batch) = rows.batches.next().await {
            spec.cancel.check()?;
            let batch = batch?;
            count += batch.num_rows() as u64;
            let batch = newest.rows(&batch)?;
            if batch.num_rows() > 0 {
                stage.send(Ok(batch)).await?;
            }
            if let Some(progress) = &spec.progress {
                progress(count);
            }
        }
        Ok::<(), Error>(())
    };
    if let Err(error) = sent().await {
        stage.abandon(store).await;
        return Err(error);
    }
    let staged = stage.finish().await?;
    let mut notices = columns.type_notices(&table.schema, &staged.schema);
    notices.extend(columns.notices.iter().cloned());
    Ok(Loaded {
        staged: vec![Arc::new(staged)],
        position: Some(position),
        notices,
        rows: count,
        ..Loaded::default()
    })
}

/// Of the changes of each key the newest ones, whatever order they come in: what is older than one that
/// came before is left out.
struct Newest<'a> {
    columns: &'a Conform,
    keys: Keys,
}

impl<'a> Newest<'a> {
    fn new(columns: &'a Conform, key: &[String]) -> Result<Self> {
        let mut fields: Vec<Arc<Field>> = columns.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(NUMBER, DataType::Int64, false)));
        let keys = Keys::new(&Arc::new(Schema::new(fields)), key, Some(NUMBER))?;
        Ok(Newest { columns, keys })
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let failed = "changes cannot be put together";
        let numbers: &Int64Array = column(batch, NUMBER)?;
        let kinds: &StringArray = column(batch, KIND)?;
        let gone: BooleanArray = kinds.iter().map(|kind| Some(kind == Some(DELETE))).collect();
        let own: Vec<usize> = (0..batch.num_columns())
            .filter(|at| !super::is_own(batch.schema().field(*at).name()))
            .collect();
        let own = batch.project(&own).or_error(ErrorKind::Internal, failed)?;
        let rows = self.columns.apply(&own)?;
        let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(NUMBER, DataType::Int64, false)));
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(numbers.clone()));
        fields.push(Arc::new(Field::new("gone", DataType::Boolean, false)));
        columns.push(Arc::new(gone));
        let all = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .or_error(ErrorKind::Internal, failed)?;
        let (kept, bad) = self.keys.check(&all)?;
        if !bad.is_empty() {
            return Err(Error::new(ErrorKind::Data, "a change has no key"));
        }
        let mut columns: Vec<usize> = (0..kept.num_columns()).collect();
        columns.remove(kept.num_columns() - 2);
        let kept = kept.project(&columns).or_error(ErrorKind::Internal, failed)?;
        RecordBatch::try_new(log::schema_with_gone(&self.columns.schema), kept.columns().to_vec())
            .or_error(ErrorKind::Internal, failed)
    }
}
