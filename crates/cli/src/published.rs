//! How far the tables of the lake are read of their sources, as sources are told.

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{At, Position, PublishedPositions, RelationName, Result, TableStore};
use tidemill_ingest::changes;

/// The lake as it is when it is asked: tables that no project has any more, and what another process has published
/// meanwhile, count as well.
pub(crate) struct OfLake(pub(crate) Arc<dyn TableStore>);

#[async_trait]
impl PublishedPositions for OfLake {
    async fn positions(&self) -> Result<Vec<(RelationName, Position)>> {
        let snapshot = self.0.snapshot(At::Now).await?;
        let names = snapshot.relations.keys();
        Ok(names
            .filter_map(|name| Some((name.clone(), changes::source_position(&snapshot, name)?)))
            .collect())
    }
}
