//! Projects on disk, and a lake that answers from a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill_core::{Diagnostics, RelationName, Result};
use tidemill_project::{
    CatalogColumn, Environment, LoadOptions, Project, QueryTable, RelationType, RenderState,
    Warehouse,
};

/// A committed project.
pub(crate) fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects").join(name)
}

/// A project in a folder of its own.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// Files by path; `dbt_project.yml` is added when it is not among them.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        if !files.iter().any(|(path, _)| *path == "dbt_project.yml") {
            folder.write("dbt_project.yml", "name: shop\n");
        }
        for (path, text) in files {
            folder.write(path, text);
        }
        folder
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn load(&self) -> Result<(Project, Diagnostics), Diagnostics> {
        Project::load(self.path(), &options())
    }

    /// The project; a panic with the diagnostics when it does not load.
    pub(crate) fn project(&self) -> Project {
        match self.load() {
            Ok((project, _)) => project,
            Err(diagnostics) => panic!("{diagnostics}"),
        }
    }

    /// Everything that loading says, as text.
    pub(crate) fn said(&self) -> String {
        match self.load() {
            Ok((_, diagnostics)) => diagnostics.to_string(),
            Err(diagnostics) => diagnostics.to_string(),
        }
    }
}

/// Options that do not look at this machine.
pub(crate) fn options() -> LoadOptions {
    LoadOptions { env: Some(Environment::of([("REGION", "eu")])), ..LoadOptions::default() }
}

/// A lake that answers from a table and notes the queries.
#[derive(Default)]
pub(crate) struct Lake {
    pub(crate) relations: BTreeMap<RelationName, (RelationType, Vec<CatalogColumn>)>,
    pub(crate) answers: BTreeMap<String, QueryTable>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Lake {
    pub(crate) fn with(mut self, name: &str, kind: RelationType, columns: &[(&str, &str)]) -> Self {
        let columns = columns
            .iter()
            .map(|(name, kind)| CatalogColumn { name: (*name).into(), data_type: (*kind).into() })
            .collect();
        self.relations.insert(RelationName::parse(name).unwrap(), (kind, columns));
        self
    }

    pub(crate) fn answering(mut self, sql: &str, columns: &[(&str, &str)], rows: Value) -> Self {
        let table = json!({
            "columns": columns.iter().map(|(name, kind)| json!({"name": name, "data_type": kind})).collect::<Vec<_>>(),
            "rows": rows,
        });
        self.answers.insert(sql.to_owned(), serde_json::from_value(table).unwrap());
        self
    }

    pub(crate) fn state(self) -> RenderState {
        let started = "2026-01-02T03:04:05Z".parse().unwrap();
        RenderState::new(Arc::new(self), "build", "run-1", started)
    }
}

impl Warehouse for Lake {
    fn relation(&self, name: &RelationName) -> Result<Option<RelationType>> {
        Ok(self.relations.get(name).map(|(kind, _)| *kind))
    }

    fn columns(&self, name: &RelationName) -> Result<Option<Vec<CatalogColumn>>> {
        Ok(self.relations.get(name).map(|(_, columns)| columns.clone()))
    }

    fn relations(&self, schema: &str) -> Result<Vec<(RelationName, RelationType)>> {
        Ok(self
            .relations
            .iter()
            .filter(|(name, _)| name.schema() == schema)
            .map(|(name, (kind, _))| (name.clone(), *kind))
            .collect())
    }

    fn query(&self, sql: &str) -> Result<QueryTable> {
        self.asked.lock().unwrap().push(sql.to_owned());
        let key = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        self.answers.get(&key).cloned().ok_or_else(|| {
            tidemill_core::Error::new(
                tidemill_core::ErrorKind::Query,
                format!("no answer to `{key}`"),
            )
        })
    }
}
