//! A table as a copy of another one of the lake: its data files stand in both folders, and no row is
//! read or written. On local disk a copy is a second name of the same file, where the file system has
//! such names; in an object store the store copies by itself. Data files never change, and each table's
//! maintenance deletes its own names alone, so neither table can harm the other.

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde_json::json;
use tidemill_core::{RelationKind, RelationName, Result, Snapshot, Staged};

use super::{Base, Change, Kind, Plan, columns, hash};
use crate::delta::{Add, TableState};
use crate::lake::Inner;
use crate::storage::REQUESTS;

/// Stages `relation` with the rows of `source`; see
/// [`TableStore::stage_copy`](tidemill_core::TableStore::stage_copy).
pub(crate) async fn stage_copy(
    inner: &std::sync::Arc<Inner>,
    relation: &RelationName,
    source: &RelationName,
    partition_by: &[String],
    snapshot: &Snapshot,
    comments: &[(String, String)],
) -> Result<Option<Staged>> {
    let Some(published) = snapshot.get(source) else { return Ok(None) };
    if !matches!(published.kind, RelationKind::Table { .. }) {
        return Ok(None);
    }
    let table = inner.published_table(published).await?;
    // What another engine wrote in a way of its own is read row by row.
    let is_plain = table.protocol.check_writable(&table.metadata).is_ok()
        && table.files.values().all(|file| file.add.deletion_vector.is_none());
    if !is_plain || table.metadata.partition_columns != partition_by {
        return Ok(None);
    }
    let base = Base::of(inner, relation, snapshot).await?;
    let schema = columns::stored_schema(&table.schema, comments)?;
    let changes = match &base.table {
        Some(before) => columns::differences(&before.schema, &schema),
        None => Vec::new(),
    };
    let evolution = columns::Evolution { schema, changes, rewrite: false };
    let kind = if base.table.is_some() { Kind::Replace } else { Kind::Append };
    let folder = base.table.is_none().then(|| base.location.clone());
    let mut plan = Plan::new(inner, relation, base, evolution, partition_by.to_vec()).await?;
    plan.describe(comments);
    let copies = copies_of(&table, &plan)?;
    let (begun, rows) = (copies.iter().map(|copy| copy.to.clone()).collect(), table.rows());
    let change = Change {
        kind,
        operation: "clone",
        parameters: json!({"source": source.to_string(), "sourceVersion": table.version}),
        added: copies.iter().map(|copy| copy.add.clone()).collect(),
        removed: Vec::new(),
        files: begun,
        rows_written: rows.unwrap_or_default(),
        rows_changed: 0,
        null_keys: 0,
        hash: published.hash.as_deref().and_then(hash::from_text),
        observed: Vec::new(),
    };
    let files = change.files.clone();
    let staged = match copy_all(inner, &copies).await {
        Ok(()) => plan.staged(change),
        Err(error) => Err(error),
    };
    match staged {
        Ok(staged) => Ok(Some(staged)),
        Err(error) => {
            // What is left of it, maintenance takes.
            let _ = inner.storage.delete_all(files).await;
            if let Some(folder) = folder {
                inner.storage.remove_empty_folders(&folder).await;
            }
            Err(error)
        }
    }
}

/// One data file, and where it is to stand as well.
struct Copy {
    from: Path,
    to: Path,
    add: Add,
}

/// The files of a table under names of the new one, in the same folders of partitions.
fn copies_of(table: &TableState, plan: &Plan) -> Result<Vec<Copy>> {
    let stage = &uuid::Uuid::new_v4().simple().to_string()[..12];
    let time = crate::now_millis();
    let copied = table.files.values().enumerate().map(|(number, file)| {
        let add = &file.add;
        let (folder, name) = match add.path.rsplit_once('/') {
            Some((folder, name)) => (format!("{folder}/"), name),
            None => (String::new(), add.path.as_str()),
        };
        let extension = if name.ends_with(".snappy.parquet") {
            "snappy.parquet"
        } else if name.ends_with(".zstd.parquet") {
            "zstd.parquet"
        } else {
            "parquet"
        };
        let path = format!("{folder}part-{number:05}-{}-{stage}.{extension}", plan.writer);
        let add = Add { path, modification_time: time, data_change: true, ..add.clone() };
        let (from, to) = (file.add.location(&table.table)?, add.location(&plan.base.location)?);
        Ok(Copy { from, to, add })
    });
    copied.collect()
}

async fn copy_all(inner: &Inner, copies: &[Copy]) -> Result<()> {
    let running = copies.iter().map(|copy| inner.storage.copy(&copy.from, &copy.to));
    // Collected, so that the future of each file is of one type.
    let running: Vec<_> = running.collect();
    futures::stream::iter(running).buffer_unordered(REQUESTS).try_collect::<()>().await
}
