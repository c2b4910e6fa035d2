//! The project's lake with another one beside it, whose relations can be read (`--defer` to an
//! environment that has a lake of its own).
//!
//! A relation of the other lake stands in every state under a name of its own
//! ([`RelationName::of_lake`]); nothing there is ever changed. What is seen of it is its state when
//! the command began.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::arrow_array::RecordBatch;
use tidemill_core::{
    At, BatchStream, Maintenance, MaintenanceReport, PublishChange, Published, PublishedRelation,
    RelationName, Result, RunId, SchemaChange, Snapshot, StageRequest, Staged, TableStore,
};
use tidemill_engine::{TableProvider, TableProviders};
use tidemill_lake::{Lake, LakeOptions};

/// Where another lake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherLake {
    /// What it is called in names of relations.
    pub(crate) name: String,
    /// A folder, or a URL.
    pub(crate) location: String,
}

impl OtherLake {
    /// The lake at this place, named after it.
    pub(crate) fn at(location: &str) -> Self {
        let last = location.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
        let plain = |c: char| if c.is_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        OtherLake { name: last.chars().map(plain).collect(), location: location.to_owned() }
    }
}

/// Two lakes: one that is written and read, and one that is read.
pub(crate) struct Lakes {
    own: Arc<Lake>,
    other: Lake,
    name: String,
    beside: Snapshot,
}

impl Lakes {
    /// Opens the other lake.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(crate) async fn open(
        own: Arc<Lake>,
        other: &OtherLake,
        options: LakeOptions,
    ) -> Result<Self> {
        let options = LakeOptions { create: false, ..options };
        let lake = Lake::open(&other.location, options).await?;
        let beside = lake.snapshot(At::Now).await?;
        Ok(Lakes { own, other: lake, name: other.name.clone(), beside })
    }

    /// A state of the own lake with the other one's relations.
    fn with_other(&self, mut snapshot: Snapshot) -> Snapshot {
        let relations = Arc::make_mut(&mut snapshot.relations);
        for (name, relation) in self.beside.relations.iter() {
            let name = name.of_lake(&self.name);
            let relation = PublishedRelation { name: name.clone(), ..(**relation).clone() };
            relations.insert(name, Arc::new(relation));
        }
        snapshot
    }

    /// A state without what is another lake's.
    fn own(&self, snapshot: &Snapshot) -> Snapshot {
        let mut own = snapshot.clone();
        Arc::make_mut(&mut own.relations).retain(|name, _| name.elsewhere().is_none());
        own
    }
}

#[async_trait]
impl TableProviders for Lakes {
    async fn published(&self, relation: &PublishedRelation) -> Result<Arc<dyn TableProvider>> {
        match relation.name.elsewhere() {
            Some((_, name)) => {
                let there = PublishedRelation { name, ..relation.clone() };
                TableProviders::published(&self.other, &there).await
            }
            None => TableProviders::published(&*self.own, relation).await,
        }
    }

    async fn staged(&self, staged: &Staged) -> Result<Arc<dyn TableProvider>> {
        TableProviders::staged(&*self.own, staged).await
    }
}

#[async_trait]
impl TableStore for Lakes {
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        Ok(self.with_other(self.own.snapshot(at).await?))
    }

    async fn stage(&self, request: StageRequest) -> Result<Staged> {
        self.own.stage(request).await
    }

    async fn stage_schema(
        &self,
        relation: &RelationName,
        changes: &[SchemaChange],
        base: &Snapshot,
        run: &RunId,
    ) -> Result<Staged> {
        self.own.stage_schema(relation, changes, base, run).await
    }

    async fn by_file(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Option<Staged>> {
        match relation.elsewhere() {
            Some(_) => Ok(None),
            None => self.own.by_file(relation, base, only).await,
        }
    }

    async fn rows_of_keys(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        keys: &RecordBatch,
        columns: &[String],
    ) -> Result<(RecordBatch, Vec<Option<usize>>)> {
        self.own.rows_of_keys(relation, base, keys, columns).await
    }

    async fn rows_after(
        &self,
        relation: &RelationName,
        base: &Snapshot,
        column: &str,
        after: i64,
    ) -> Result<BatchStream> {
        self.own.rows_after(relation, base, column, after).await
    }

    async fn publish(&self, changes: Vec<PublishChange>, run: &RunId) -> Result<Published> {
        let published = self.own.publish(changes, run).await?;
        Ok(Published { snapshot: self.with_other(published.snapshot), ..published })
    }

    async fn discard(&self, staged: &Staged) -> Result<()> {
        self.own.discard(staged).await
    }

    async fn foreign_heads(&self, base: &Snapshot) -> Result<Vec<RelationName>> {
        self.own.foreign_heads(&self.own(base)).await
    }

    async fn adopt(&self, relation: &RelationName, base: &Snapshot, run: &RunId) -> Result<Staged> {
        self.own.adopt(relation, base, run).await
    }

    async fn maintain(&self, rule: &Maintenance) -> Result<MaintenanceReport> {
        self.own.maintain(rule).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_is_called_after_its_place() {
        let name = |location: &str| OtherLake::at(location).name;
        assert_eq!(name("/srv/prod lake/"), "prod_lake");
        assert_eq!(name("s3://bucket/lakes/prod"), "prod");
        assert_eq!(name("../shop.lake"), "shop_lake");
    }
}
