//! Changes of rows that write again only the files that hold them: a first pass counts the rows that
//! are meant by their files, and the change is made over the rows of these files alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use tidemill_core::arrow_array::{Array, AsArray, RecordBatch, types::Int64Type};
use tidemill_core::arrow_schema::DataType;
use tidemill_core::{
    Engine, Error, ErrorKind, OverlayEntry, QueryContext, RelationName, Result, RewriteByFile,
    TableStore, display_value,
};

/// Which files hold rows that change.
pub(crate) struct Touched {
    /// As [`tidemill_core::FILE`] names them.
    pub(crate) files: Vec<String>,
    /// How many rows each of the queries means.
    pub(crate) counts: Vec<u64>,
    /// What the queries of the change are run in.
    pub(crate) context: QueryContext,
}

/// Finds the files. `None` when it has to be decided over the whole table: the store knows no files,
/// the queries may mean other rows when they are run again, or they are wrong, which the whole
/// statement says in the user's own names.
///
/// # Errors
/// Those of the queries when they are run.
pub(crate) async fn touched(
    engine: &dyn Engine,
    store: &dyn TableStore,
    relation: &RelationName,
    change: &RewriteByFile,
    context: &QueryContext,
) -> Result<Option<Touched>> {
    let Some(all) = store.by_file(relation, &context.snapshot, None).await? else {
        return Ok(None);
    };
    let seeing_all = shown(context, &change.all, all);
    for query in &change.touched {
        match engine.describe(query, &seeing_all).await {
            Ok(description) if description.repeatable => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(_) => return Ok(None),
        }
    }
    let mut files = BTreeSet::new();
    let mut counts = Vec::new();
    for query in &change.touched {
        let mut rows = engine.query(query, &seeing_all).await?;
        let mut count = 0;
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            files.extend((0..batch.num_rows()).map(|row| display_value(batch.column(0), row)));
            count += numbers(&batch, 1)?.iter().sum::<u64>();
        }
        counts.push(count);
    }
    let Some(part) = store.by_file(relation, &context.snapshot, Some(&files)).await? else {
        return Ok(None);
    };
    let context = shown(context, &change.part, part);
    Ok(Some(Touched { files: files.into_iter().collect(), counts, context }))
}

fn shown(
    context: &QueryContext,
    name: &RelationName,
    staged: tidemill_core::Staged,
) -> QueryContext {
    let entry = OverlayEntry::Staged(Arc::new(staged));
    QueryContext { overlay: context.overlay.with(name.clone(), entry), ..context.clone() }
}

/// The column of counts with this number.
fn numbers(batch: &RecordBatch, column: usize) -> Result<Vec<u64>> {
    let column = batch.column(column);
    if *column.data_type() != DataType::Int64 {
        return Err(Error::new(ErrorKind::Internal, "a count is no number"));
    }
    let numbers = column.as_primitive::<Int64Type>();
    Ok(numbers.iter().map(|number| u64::try_from(number.unwrap_or(0)).unwrap_or(0)).collect())
}
