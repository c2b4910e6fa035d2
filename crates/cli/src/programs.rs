//! Python models, wired: which interpreter runs a node's code and with what settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tidemill_core::{Engine, Error, ErrorKind, QueryContext, Result, UniqueId};
use tidemill_project::{Node, Project};
use tidemill_python::{Code, Interpreter, Output, start};
use tidemill_run::{Program, ProgramOutput, Programs};

use crate::session::Session;

/// Runs the Python models of a project.
pub(crate) struct PythonPrograms {
    project: Arc<Project>,
    root: PathBuf,
    engine: Arc<dyn Engine>,
}

impl PythonPrograms {
    /// What the models ask runs in this engine.
    pub(crate) fn new(session: &Session, engine: Arc<dyn Engine>) -> Self {
        PythonPrograms { project: session.project.clone(), root: session.root.clone(), engine }
    }
}

/// A setting of Tidemill's own: under its name, or in `meta`.
fn setting<'n>(node: &'n Node, key: &str) -> Option<&'n Value> {
    let own = node.config.get(key).filter(|value| !value.is_null());
    own.or_else(|| node.config.meta.get(key))
}

/// The interpreter that a node runs with.
pub(crate) fn interpreter(node: &Node, root: &std::path::Path) -> Interpreter {
    Interpreter::find(setting(node, "python").and_then(Value::as_str), root)
}

fn dataframe(node: &Node) -> Result<Option<String>> {
    let Some(found) = setting(node, "dataframe") else { return Ok(None) };
    match found.as_str() {
        Some(word @ ("pandas" | "polars" | "pyarrow")) => Ok(Some(word.to_owned())),
        Some("relation") => Ok(None),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("`dataframe: {found}` is not known; use pandas, polars, pyarrow or relation"),
        )
        .with("file", &node.original_file_path)),
    }
}

fn timeout(node: &Node) -> Result<Option<Duration>> {
    let Some(found) = setting(node, "timeout") else { return Ok(None) };
    match found.as_f64().map(Duration::try_from_secs_f64) {
        Some(Ok(timeout)) if !timeout.is_zero() => Ok(Some(timeout)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("`timeout: {found}` is not a number of seconds"),
        )
        .with("file", &node.original_file_path)),
    }
}

#[async_trait]
impl Programs for PythonPrograms {
    async fn run(&self, id: &UniqueId, code: &str, context: &QueryContext) -> Result<Program> {
        let node = self.project.manifest().node(id).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the node is not in the project").with("node", id)
        })?;
        let code = Code {
            text: code.to_owned(),
            file: node.position.file.to_string_lossy().into_owned(),
            name: node.name.clone(),
            folder: self.root.clone(),
            dataframe: dataframe(node)?,
            timeout: timeout(node)?,
        };
        let interpreter = interpreter(node, &self.root);
        let running = start(code, interpreter, self.engine.clone(), context.clone()).await?;
        Ok(Program {
            output: match running.output {
                Output::Query(sql) => ProgramOutput::Query(sql),
                Output::Rows(rows) => ProgramOutput::Rows(rows),
            },
            asked: running.asked,
        })
    }
}
