//! A table by its files: which file each row is in, and the replacement of some files as a whole
//! ([`WriteMode::ReplaceFiles`](tidemill_core::WriteMode::ReplaceFiles)). It is how `update`,
//! `delete` and `merge` leave alone what they do not change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use serde_json::json;
use tidemill_core::{
    Error, ErrorKind, FILE, RelationKind, RelationName, Result, Snapshot, StageRequest, Staged,
};

use super::rewrite::Rewrite;
use super::sink::{Done, feed};
use super::{Base, Change, Existing, Kind, Plan, Status, hash, staged_existing, staged_table};
use crate::delta::{LiveFile, TableState};
use crate::lake::Inner;

/// What a file of a table is called in [`FILE`]: its number, in the order of the paths. Paths are long
/// for a value that stands in each row.
pub(crate) fn file_name(number: usize) -> String {
    number.to_string()
}

/// The rows of a published table, of all files or of some; see
/// [`TableStore::by_file`](tidemill_core::TableStore::by_file).
pub(crate) async fn by_file(
    inner: &Arc<Inner>,
    relation: &RelationName,
    snapshot: &Snapshot,
    only: Option<&BTreeSet<String>>,
) -> Result<Option<Staged>> {
    let Some(published) = snapshot.get(relation) else { return Ok(None) };
    // A column of that name is somebody's own.
    if !matches!(published.kind, RelationKind::Table { .. })
        || published.schema.field_with_name(FILE).is_ok()
    {
        return Ok(None);
    }
    let table = inner.published_table(published).await?;
    let preview = match only {
        None => table,
        Some(files) => {
            let mut part = TableState::clone(&table);
            let mut number = 0;
            part.files.retain(|_, _| {
                let name = file_name(number);
                number += 1;
                files.contains(&name)
            });
            Arc::new(part)
        }
    };
    let base = Base {
        table: Some(preview.clone()),
        data_entry: Some(published.data_entry),
        position: None,
        hash: None,
        location: preview.table.clone(),
    };
    let names_files = only.is_none();
    let mut staged = staged_existing(
        relation,
        &base,
        Existing {
            kind: Kind::Exact,
            operation: "read",
            preview,
            added: Vec::new(),
            removed: Vec::new(),
            restored: None,
            relocates: false,
            hash: None,
            file_column: names_files.then_some(FILE),
        },
    );
    staged_table(&staged)?.set_status(Status::Discarded);
    if names_files {
        let mut fields: Vec<Arc<Field>> = staged.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(FILE, DataType::Utf8, false)));
        staged.schema = Arc::new(Schema::new(fields));
    }
    Ok(Some(staged))
}

impl Plan {
    /// New rows in place of those of some files.
    pub(super) async fn replace_files(
        self,
        inner: &Arc<Inner>,
        files: Vec<String>,
        request: StageRequest,
    ) -> Result<Staged> {
        let Some(table) = self.base.table.clone() else {
            return Err(Error::new(ErrorKind::Conflict, "the table is not there any more"));
        };
        let names: HashMap<String, &String> = (0..)
            .zip(table.files.keys())
            .map(|(number, path): (usize, &String)| (file_name(number), path))
            .collect();
        let gone = files
            .iter()
            .map(|name| {
                names.get(name).copied().ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "a file to be replaced is not the table's")
                        .with("file", name)
                })
            })
            .collect::<Result<BTreeSet<&String>>>()?;
        let base_hash = self.base.hash.as_deref().and_then(hash::from_text);
        let mut sink = self.sink(inner, base_hash.is_some())?;
        sink.observers = request.observers;
        let mut done = feed(request.rows, sink).await?;
        let mut begun = done.files.clone();
        let others = || table.files.values().filter(|file| !gone.contains(&file.add.path));
        let rest = async {
            // Other columns need all files to be written again.
            if self.evolution.rewrite {
                let rewrite = Rewrite::new(table.clone(), self.evolution.schema.clone());
                let stream = rewrite.stream(inner, others().cloned().collect());
                let Done { files, written, .. } = feed(stream, self.sink(inner, false)?).await?;
                begun.extend(files);
                done.written.extend(written);
            }
            match (base_hash, done.hash) {
                (Some(base), Some(new)) if !self.evolution.rewrite => {
                    let went = table.files.values().filter(|file| gone.contains(&file.add.path));
                    let went = hash_of(inner, &table, went.cloned().collect()).await?;
                    Ok(went.map(|went| base.wrapping_sub(went).wrapping_add(new)))
                }
                _ => Ok(None),
            }
        }
        .await;
        let hash = match rest {
            Ok(hash) => hash,
            Err(error) => {
                let _ = inner.storage.delete_all(begun).await;
                return Err(error);
            }
        };
        let removed: Vec<String> = match self.evolution.rewrite {
            true => table.files.keys().cloned().collect(),
            false => gone.into_iter().cloned().collect(),
        };
        let rows_changed = removed.iter().filter_map(|path| table.files.get(path)?.rows()).sum();
        self.staged(Change {
            // What is added was decided by what is there: nobody may come between, even when no
            // file goes.
            kind: Kind::Exact,
            operation: "replace files",
            parameters: json!({"files": files.len()}),
            added: done.written.into_iter().map(|written| written.add).collect(),
            removed,
            files: begun,
            rows_written: done.rows,
            rows_changed,
            null_keys: 0,
            hash,
            observed: done.observed,
        })
    }
}

/// The order-free hash of the rows of files.
async fn hash_of(
    inner: &Arc<Inner>,
    table: &Arc<TableState>,
    files: Vec<Arc<LiveFile>>,
) -> Result<Option<u128>> {
    let mut rows = Rewrite::new(table.clone(), table.schema.clone()).stream(inner, files);
    let mut sum = Some(0u128);
    while let Some(batch) = rows.batches.next().await {
        let more = hash::sum_of(&batch?);
        sum = sum.zip(more).map(|(sum, more)| sum.wrapping_add(more));
    }
    Ok(sum)
}
