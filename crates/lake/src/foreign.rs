//! Other engines that write to our tables: noticing it, and taking their version over.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use tidemill_core::{
    Error, ErrorKind, RelationKind, RelationName, Result, RunId, Snapshot, Staged,
};

use crate::delta::{commit_info, newest_version, read_commit};
use crate::lake::Inner;
use crate::stage::{Base, Existing, Kind, staged_existing};
use crate::storage::REQUESTS;

/// Tables with a version beyond the published one that is not ours.
pub(crate) async fn foreign_heads(inner: &Inner, snapshot: &Snapshot) -> Result<Vec<RelationName>> {
    let tables = snapshot.relations.values().filter_map(|relation| match &relation.kind {
        RelationKind::Table { location, version } => {
            Some((relation.name.clone(), Path::from(location.as_str()), version.0 + 1))
        }
        RelationKind::View { .. } => None,
    });
    let looks: Vec<BoxFuture<'_, Result<Option<RelationName>>>> = tables
        .map(|(name, table, next)| {
            async move {
                // One look when there is none.
                let Some(actions) = read_commit(&inner.storage, &table, next).await? else {
                    return Ok(None);
                };
                let ours = commit_info(&actions).tidemill_commit.is_some();
                Ok((!ours).then_some(name))
            }
            .boxed()
        })
        .collect();
    let found: Vec<Option<RelationName>> =
        futures::stream::iter(looks).buffered(REQUESTS).try_collect().await?;
    let mut found: Vec<RelationName> = found.into_iter().flatten().collect();
    found.sort();
    Ok(found)
}

/// Stages the newest version of a table as it is.
pub(crate) async fn adopt(
    inner: &Arc<Inner>,
    relation: &RelationName,
    snapshot: &Snapshot,
    _run: &RunId,
) -> Result<Staged> {
    let published = snapshot.get(relation).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "the lake has no such table").with("relation", relation)
    })?;
    let before = inner.published_table(published).await?;
    let newest = newest_version(&inner.storage, &before.table, before.version).await?;
    let preview = inner.table(&before.table, newest).await?;
    let base = Base {
        location: before.table.clone(),
        table: Some(before),
        data_entry: Some(published.data_entry),
        position: published.position.clone(),
        hash: None,
    };
    Ok(staged_existing(
        relation,
        &base,
        Existing {
            kind: Kind::Adopt,
            operation: "adopt",
            preview,
            added: Vec::new(),
            removed: Vec::new(),
            restored: None,
            relocates: false,
            hash: None,
            file_column: None,
        },
    ))
}
