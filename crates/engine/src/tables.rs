//! Where the rows of a relation come from: the lake, or memory in tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use tidemill_core::{
    EntryNumber, Error, ErrorKind, PublishedRelation, RelationKind, RelationName, Result, RunId,
    Snapshot, Staged, TableVersion,
};
use tidemill_lake::Lake;

/// Gives DataFusion's view of a table of the lake.
#[async_trait]
pub trait TableProviders: Send + Sync {
    /// A published table at the version that the relation names.
    async fn published(&self, relation: &PublishedRelation) -> Result<Arc<dyn TableProvider>>;

    /// The table that would be visible if this were published.
    async fn staged(&self, staged: &Staged) -> Result<Arc<dyn TableProvider>>;
}

#[async_trait]
impl TableProviders for Lake {
    async fn published(&self, relation: &PublishedRelation) -> Result<Arc<dyn TableProvider>> {
        self.provider(relation).await
    }

    async fn staged(&self, staged: &Staged) -> Result<Arc<dyn TableProvider>> {
        self.provider_staged(staged)
    }
}

/// Tables in memory, for tests and for an engine without a lake.
#[derive(Debug, Default)]
pub struct MemoryTables(Mutex<BTreeMap<RelationName, Arc<PublishedRelation>>>, Batches);

type Batches = Mutex<BTreeMap<RelationName, (SchemaRef, Vec<RecordBatch>)>>;

impl MemoryTables {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a table.
    pub fn insert(&self, name: RelationName, schema: SchemaRef, batches: Vec<RecordBatch>) {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let version = match before.map(|before| before.kind.clone()) {
            Some(RelationKind::Table { version, .. }) => TableVersion(version.0 + 1),
            _ => TableVersion(0),
        };
        let location = format!("{}/{}", name.schema(), name.name());
        let kind = RelationKind::Table { location, version };
        self.publish(name.clone(), kind, schema.clone(), Some(rows));
        self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (schema, batches));
    }

    /// Adds or replaces a view.
    pub fn insert_view(&self, name: RelationName, schema: SchemaRef, sql: &str) {
        self.publish(name, RelationKind::View { sql: sql.to_owned() }, schema, None);
    }

    /// All of it as a published state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            entry: EntryNumber(1),
            time: 0,
            relations: Arc::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// A staged table whose rows are these.
    pub fn stage(name: RelationName, schema: SchemaRef, batches: Vec<RecordBatch>) -> Staged {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        Staged {
            relation: name,
            schema: schema.clone(),
            rows: Some(rows),
            bytes: None,
            rows_written: rows,
            rows_changed: 0,
            null_keys: 0,
            hash: None,
            column_changes: Vec::new(),
            repartitioned: false,
            observed: Vec::new(),
            inner: Arc::new((schema, batches)),
        }
    }

    fn publish(
        &self,
        name: RelationName,
        kind: RelationKind,
        schema: SchemaRef,
        rows: Option<u64>,
    ) {
        let relation = PublishedRelation {
            name: name.clone(),
            kind,
            schema,
            entry: EntryNumber(1),
            data_entry: EntryNumber(1),
            time: 0,
            unique_id: None,
            run: RunId::new("memory"),
            rows,
            bytes: None,
            hash: None,
            position: None,
            record: None,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(relation));
    }
}

fn memory_table(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
    let table = MemTable::try_new(schema, vec![batches])
        .map_err(|error| crate::error::from_datafusion(error, None))?;
    Ok(Arc::new(table))
}

#[async_trait]
impl TableProviders for MemoryTables {
    async fn published(&self, relation: &PublishedRelation) -> Result<Arc<dyn TableProvider>> {
        let found =
            self.1.lock().unwrap_or_else(PoisonError::into_inner).get(&relation.name).cloned();
        let (schema, batches) = found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no such table in memory")
                .with("relation", &relation.name)
        })?;
        memory_table(schema, batches)
    }

    async fn staged(&self, staged: &Staged) -> Result<Arc<dyn TableProvider>> {
        let rows = staged.inner.downcast_ref::<(SchemaRef, Vec<RecordBatch>)>();
        let (schema, batches) = rows.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "these rows were staged by another store")
                .with("relation", &staged.relation)
        })?;
        memory_table(schema.clone(), batches.clone())
    }
}
