//! Files that queries name: each is loaded once, as a source is, into a table that nobody publishes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::Field;
use async_trait::async_trait;
use serde_json::Value;
use tidemill_connect::files::{FilesConfig, FilesConnector};
use tidemill_core::{
    ConnectContext, Connector, Error, ErrorKind, QueryContext, ReadScope, RelationName, Result,
    Staged, TableStore,
};
use tidemill_engine::{FileRequest, FileTables};
use tidemill_ingest::{LoadSettings, LoadSpec};
use tokio::sync::OnceCell;

use crate::types;

/// The schema in which such tables would be.
const SCHEMA: &str = "_tidemill_files";

/// Tables made of the files that this process has read.
pub(crate) struct QueryFiles {
    store: Arc<dyn TableStore>,
    root: PathBuf,
    read: Mutex<HashMap<String, Arc<OnceCell<Arc<Staged>>>>>,
}

impl QueryFiles {
    /// For the files of a project, kept in this store.
    pub(crate) fn new(store: Arc<dyn TableStore>, root: PathBuf) -> Self {
        QueryFiles { store, root, read: Mutex::default() }
    }

    async fn load(&self, request: &FileRequest, context: &QueryContext) -> Result<Arc<Staged>> {
        let (settings, source_settings) =
            LoadSettings::parse(&Value::Object(request.settings.clone()), ReadScope::Whole)
                .map_err(|error| error.with("files", &request.text))?;
        let declared: Vec<Field> = request
            .columns
            .iter()
            .map(|(name, text)| match types::parse(text) {
                Some(data_type) => Ok(Field::new(name, data_type, true)),
                None => Err(Error::new(ErrorKind::Query, format!("`{text}` is not a known type"))
                    .with("files", &request.text)
                    .with("column", name)),
            })
            .collect::<Result<_>>()?;
        let place = ConnectContext { project: self.root.clone(), name: "files".to_owned() };
        let source = FilesConnector::connect(FilesConfig::default(), place)?;
        let number = self.read.lock().unwrap_or_else(PoisonError::into_inner).len();
        let spec = LoadSpec {
            relation: RelationName::new(SCHEMA, format!("{}_{number}", context.run)),
            name: request.text.clone(),
            settings,
            source_settings,
            declared,
            base: context.snapshot.clone(),
            siblings: Vec::new(),
            full_refresh: true,
            comments: Vec::new(),
            observers: None,
            progress: None,
            run: context.run.clone(),
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            cancel: context.cancel.clone(),
        };
        let loaded = tidemill_ingest::load(&*source, &spec, &*self.store)
            .await
            .map_err(|error| error.with("files", &request.text))?;
        let staged = loaded.staged.into_iter().find(|staged| staged.relation == spec.relation);
        staged.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there are no such files, or they have no columns")
                .with("files", &request.text)
        })
    }

    /// Takes away what was read.
    pub(crate) async fn close(&self) {
        let cells: Vec<_> = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *read).into_values().collect()
        };
        for staged in cells.iter().filter_map(|cell| cell.get()) {
            if let Err(error) = self.store.discard(staged).await {
                tracing::warn!(relation = %staged.relation, error = %error, "discard failed");
            }
        }
    }
}

#[async_trait]
impl FileTables for QueryFiles {
    async fn open(&self, request: &FileRequest, context: &QueryContext) -> Result<Arc<Staged>> {
        let key = format!("{:?} {:?}", request.settings, request.columns);
        let cell = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.entry(key).or_default().clone()
        };
        cell.get_or_try_init(|| self.load(request, context)).await.cloned()
    }
}
