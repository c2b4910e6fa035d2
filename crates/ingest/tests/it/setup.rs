//! A project folder, a lake in memory, and loads from the one into the other.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Field;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;
use tempfile::TempDir;
use tidemill_connect::files::{FilesConfig, FilesConnector};
use tidemill_core::{
    At, Cancellation, ConnectContext, Connector, PublishChange, PublishMeta, ReadScope,
    RelationName, Result, RunId, Source, TableStore,
};
use tidemill_ingest::{LoadSettings, LoadSpec, Loaded, load};
use tidemill_testkit::MemoryStore;

pub(crate) struct Setup {
    folder: TempDir,
    pub(crate) store: MemoryStore,
    source: Arc<dyn Source>,
    runtime: tokio::runtime::Runtime,
    pub(crate) declared: Vec<Field>,
}

impl Setup {
    pub(crate) fn new(files: &[(&str, &str)]) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let context = ConnectContext { project: folder.path().into(), name: String::new() };
        let source = FilesConnector::connect(FilesConfig::default(), context).unwrap();
        let setup = Setup {
            folder,
            store: MemoryStore::new(),
            source,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            declared: Vec::new(),
        };
        for (name, content) in files {
            setup.write(name, content);
        }
        setup
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    pub(crate) fn relation() -> RelationName {
        RelationName::new("raw", "t")
    }

    pub(crate) fn spec(&self, settings: &Value) -> Result<LoadSpec> {
        let (settings, source_settings) = LoadSettings::parse(settings, ReadScope::New)?;
        Ok(LoadSpec {
            relation: Self::relation(),
            name: "t".to_owned(),
            settings,
            source_settings,
            declared: self.declared.clone(),
            base: self.runtime.block_on(self.store.snapshot(At::Now)).unwrap(),
            siblings: Vec::new(),
            full_refresh: false,
            comments: Vec::new(),
            observers: None,
            progress: None,
            run: RunId::new("run-1"),
            parallelism: 1,
            cancel: Cancellation::new(),
        })
    }

    /// Loads without publishing.
    pub(crate) fn stage(&self, spec: &LoadSpec) -> Result<Loaded> {
        self.runtime.block_on(load(self.source.as_ref(), spec, &self.store))
    }

    /// Loads and publishes, as the executor does.
    pub(crate) fn load(&self, settings: Value) -> Result<Loaded> {
        let spec = self.spec(&settings)?;
        self.load_spec(&spec)
    }

    pub(crate) fn load_spec(&self, spec: &LoadSpec) -> Result<Loaded> {
        let loaded = self.stage(spec)?;
        let position = loaded.position.clone();
        let mut changes: Vec<PublishChange> = loaded
            .staged
            .iter()
            .map(|staged| {
                let position = position.clone().filter(|_| staged.relation == Self::relation());
                PublishChange::Table(
                    Arc::clone(staged),
                    PublishMeta { position, ..PublishMeta::default() },
                )
            })
            .collect();
        if changes.is_empty() && position.is_some() {
            changes.push(PublishChange::Record {
                relation: Self::relation(),
                meta: PublishMeta { position, ..PublishMeta::default() },
            });
        }
        if !changes.is_empty() {
            self.runtime.block_on(self.store.publish(changes, &spec.run))?;
        }
        Ok(loaded)
    }

    /// The published rows as text (`∅` is NULL), without our columns.
    pub(crate) fn table(&self) -> Vec<Vec<String>> {
        self.rows(&Self::relation())
    }

    pub(crate) fn rejected(&self) -> Vec<Vec<String>> {
        self.rows(&tidemill_ingest::rejected_relation(&Self::relation()))
    }

    fn rows(&self, relation: &RelationName) -> Vec<Vec<String>> {
        let Some(batch) = self.store.rows(relation) else { return Vec::new() };
        let options = FormatOptions::default().with_null("∅");
        let schema = batch.schema();
        let formatters: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .filter(|(_, field)| {
                relation != &Self::relation() || !field.name().starts_with("_source")
            })
            .map(|(column, _)| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        (0..batch.num_rows())
            .map(|row| formatters.iter().map(|column| column.value(row).to_string()).collect())
            .collect()
    }

    pub(crate) fn columns(&self) -> Vec<String> {
        let Some(batch) = self.store.rows(&Self::relation()) else { return Vec::new() };
        let schema = batch.schema();
        let fields = schema.fields().iter();
        fields
            .filter(|field| !field.name().starts_with("_source"))
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect()
    }
}

pub(crate) fn codes(loaded: &Loaded) -> Vec<&str> {
    loaded.notices.iter().map(|notice| notice.code.as_str()).collect()
}
