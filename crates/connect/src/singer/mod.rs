//! Singer taps: programs that read some system and write its rows as JSON lines.
//!
//! A source table is one stream of a tap. The tap is asked what it has (`--discover`), the stream is
//! chosen in its catalog, and it runs with the state of the last published load; the state that it
//! ends with is the position of this one, published in the same commit as the rows.
//!
//! <https://github.com/singer-io/getting-started/blob/master/docs/SPEC.md>

mod catalog;
mod process;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, ResultExt, SecretRef, Source, TableDescription, is_secret_key,
};

use crate::stream::of_blocking;
use catalog::Catalog;
use process::Tap;

/// The connector for Singer taps; its kind is `singer`.
#[derive(Debug)]
pub struct SingerConnector;

/// The settings of a connection to a tap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingerConfig {
    /// The tap: a program, or a list of a program and its arguments. Run in the project's folder.
    pub command: Words,
    /// The tap's own settings: its `config.json`. Secrets in it are references.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// More environment variables for it.
    #[serde(default)]
    pub env: BTreeMap<String, SecretRef>,
}

/// A command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// Separated by blanks.
    Text(String),
    /// One by one.
    List(Vec<String>),
}

impl Words {
    fn words(&self) -> Vec<String> {
        match self {
            Words::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Words::List(words) => words.clone(),
        }
    }
}

/// What stands under `ingest:` of a table that is a stream of a tap.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// The stream. Default: the source table's name.
    pub stream: Option<String>,
    /// Only these columns.
    pub columns: Option<Vec<String>>,
    /// All columns but these.
    pub exclude: Vec<String>,
    /// `INCREMENTAL`, `FULL_TABLE`, `LOG_BASED`: for taps that leave it to their users.
    pub replication_method: Option<String>,
    /// The column of an incremental replication, for taps that leave it to their users.
    pub replication_key: Option<String>,
}

impl StreamSettings {
    /// Reads and checks what is written.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub fn parse(written: &Value) -> Result<StreamSettings> {
        let settings: StreamSettings = serde_json::from_value(written.clone())
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        if settings.columns.is_some() && !settings.exclude.is_empty() {
            let message = "`columns` and `exclude` exclude each other";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(settings)
    }
}

#[async_trait]
impl Connector for SingerConnector {
    const KIND: &'static str = "singer";
    type Config = SingerConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "stream";

    fn connect(config: SingerConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(SingerSource {
            config: Arc::new(config),
            project: context.project,
            name: context.name,
        }))
    }

    fn check_table(settings: &Value) -> Result<()> {
        StreamSettings::parse(settings).map(drop)
    }
}

#[derive(Debug, Clone)]
struct SingerSource {
    config: Arc<SingerConfig>,
    project: PathBuf,
    name: String,
}

/// The files that a tap is started with. They go with this.
struct Files {
    folder: TempDir,
}

impl Files {
    /// With the tap's settings, secrets and all: the folder is its owner's alone.
    fn new(config: &SingerConfig, project: &Path) -> Result<Files> {
        let folder = TempDir::with_prefix("tidemill-singer-")
            .or_error(ErrorKind::Io, "a folder for the tap's files could not be made")?;
        let files = Files { folder };
        files.write("config.json", &resolved(&Value::Object(config.config.clone()), project)?)?;
        Ok(files)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, value: &Value) -> Result<()> {
        std::fs::write(self.folder.path().join(name), value.to_string())
            .or_error(ErrorKind::Io, "a file for the tap could not be written")
    }
}

/// The settings with their secrets.
fn resolved(value: &Value, project: &Path) -> Result<Value> {
    Ok(match value {
        Value::Object(map) => {
            let mut resolved_map = Map::new();
            for (key, value) in map {
                let secret = is_secret_key(key) && !value.is_boolean() && !value.is_null();
                let value = if secret {
                    let reference: SecretRef =
                        serde_json::from_value(value.clone()).map_err(|error| {
                            Error::new(ErrorKind::Config, format!("`{key}`: {error}"))
                        })?;
                    Value::from(reference.resolve(project)?.expose())
                } else {
                    resolved(value, project)?
                };
                resolved_map.insert(key.clone(), value);
            }
            Value::Object(resolved_map)
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| resolved(item, project)).collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

impl SingerSource {
    fn discover(&self, files: &Files, cancel: &Cancellation) -> Result<Catalog> {
        let config = files.path("config.json");
        let arguments = ["--config", config.as_str(), "--discover"];
        let tap = Tap::start(&self.config, &arguments, &self.project, cancel)?;
        Catalog::parse(&tap.text()?)
    }

    async fn catalog(&self) -> Result<Catalog> {
        let source = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let files = Files::new(&source.config, &source.project)?;
            source.discover(&files, &Cancellation::new())
        });
        match asked.await {
            Ok(catalog) => catalog.map_err(|error| error.with("connection", &self.name)),
            Err(error) => Err(Error::new(ErrorKind::Internal, "the tap failed").because(error)),
        }
    }
}

#[async_trait]
impl Source for SingerSource {
    async fn ping(&self) -> Result<()> {
        self.catalog().await.map(drop)
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        Ok(self.catalog().await?.tables())
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let settings = StreamSettings::parse(&request.settings)?;
        let source = self.clone();
        Ok(of_blocking(move |emit| {
            let read = source.run(&settings, &request, emit);
            read.map_err(|error| error.with("connection", &source.name))
        }))
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}
