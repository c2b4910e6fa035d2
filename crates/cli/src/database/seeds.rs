//! Seeds for a database: the file is read as dbt reads it, and its rows go in by `COPY`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use futures::StreamExt;
use indexmap::IndexMap;
use serde_json::Value;
use tidemill_connect::files::{FilesConfig, FilesConnector, ORIGINAL_NAME};
use tidemill_core::{
    BatchStream, Cancellation, Change, ConnectContext, Connector, Error, ErrorKind, ReadRequest,
    ReadScope, Result, ResultExt, Until,
};
use tidemill_project::{CatalogColumn, Node};

use crate::agate::{Guess, Kind};
use crate::loader::seed_settings;

/// Rows that are kept between looking at a file and loading it.
const KEPT: usize = 32 << 20;

/// The file of a seed.
pub(super) struct Seed {
    settings: Value,
    /// Types that the project gives, by the column's name.
    given: IndexMap<String, String>,
    /// Names are not quoted, so that PostgreSQL makes them lower case.
    folds: bool,
    root: PathBuf,
    file: String,
    cancel: Cancellation,
    read: tokio::sync::OnceCell<Read>,
}

/// What a first look at the file found.
struct Read {
    /// Its columns; every value is a text.
    schema: SchemaRef,
    /// Its rows, unless they are many.
    batches: Option<Vec<RecordBatch>>,
    /// The type of each column.
    kinds: Vec<Kind>,
}

impl Seed {
    pub(super) fn new(node: &Node, root: PathBuf, cancel: Cancellation) -> Result<Self> {
        Ok(Seed {
            settings: seed_settings(node, &root)?,
            given: node.config.column_types.clone(),
            folds: node.config.get("quote_columns") == Some(&Value::Bool(false)),
            root,
            file: node.original_file_path.clone(),
            cancel,
            read: tokio::sync::OnceCell::new(),
        })
    }

    /// The name of a column of the table.
    fn name_of(&self, field: &Arc<Field>) -> String {
        let name = header(field);
        let inner = tidemill_connect::unquoted_header(&name);
        if inner != name {
            return inner.to_owned();
        }
        let plain = name.trim().chars().all(|c| c.is_alphanumeric() || c == '_');
        if self.folds && plain { name.trim().to_lowercase() } else { name }
    }

    /// What the project declares of a column, by the name that stands in the file (as in dbt).
    fn given(&self, field: &Arc<Field>) -> Option<&String> {
        let name = header(field);
        let known = |name: &str| self.given.get(name);
        known(&name).or_else(|| known(tidemill_connect::unquoted_header(&name)))
    }

    /// The columns of its table: types as dbt-postgres infers them, or as the project gives them.
    pub(super) async fn columns(&self) -> Result<Vec<CatalogColumn>> {
        let read = self.look().await?;
        Ok(read
            .schema
            .fields()
            .iter()
            .zip(&read.kinds)
            .map(|(field, kind)| {
                let name = self.name_of(field);
                let data_type = match self.given(field) {
                    Some(given) => given.clone(),
                    None => kind.sql().to_owned(),
                };
                CatalogColumn { name, data_type }
            })
            .collect())
    }

    /// Its columns and rows, every value as a text that the database reads.
    pub(super) async fn rows(&self) -> Result<(Vec<String>, BatchStream)> {
        let read = self.look().await?;
        let names = read.schema.fields().iter().map(|field| self.name_of(field)).collect();
        let (schema, kinds) = (read.schema.clone(), read.kinds.clone());
        let written = {
            let schema = schema.clone();
            move |batch: &RecordBatch| written(batch, &schema, &kinds)
        };
        if let Some(batches) = &read.batches {
            let batches = batches.iter().map(written).collect::<Result<Vec<_>>>()?;
            return Ok((names, BatchStream::from_batches(schema, batches)));
        }
        let declared = read.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let changes = self.changes(declared).await?;
        let rows = changes.filter_map(move |change| {
            let row = match change {
                Ok(Change::Rows(batch)) => Some(written(&batch)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            };
            std::future::ready(row)
        });
        Ok((names, BatchStream::new(schema, rows)))
    }

    async fn changes(&self, declared: Vec<Field>) -> Result<tidemill_core::ChangeStream> {
        let context = ConnectContext { project: self.root.clone(), ..ConnectContext::default() };
        let source = FilesConnector::connect(FilesConfig::default(), context)?;
        let request = ReadRequest {
            name: self.file.clone(),
            cursor: None,
            primary_key: Vec::new(),
            settings: self.settings.clone(),
            declared,
            known: None,
            position: None,
            superseded: None,
            siblings: Vec::new(),
            every_change: false,
            scope: ReadScope::Whole,
            until: Until::CaughtUp,
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            cancel: self.cancel.clone(),
        };
        source.read(request).await
    }

    async fn look(&self) -> Result<&Read> {
        self.read
            .get_or_try_init(|| async {
                self.look_once().await.map_err(|error| error.with("file", &self.file))
            })
            .await
    }

    async fn look_once(&self) -> Result<Read> {
        // The names that the reader gives are not yet known; a first line tells them.
        let declared = self.declared().await?;
        let mut changes = self.changes(declared).await?;
        let mut schema: Option<SchemaRef> = None;
        let (mut batches, mut size) = (Some(Vec::new()), 0);
        let mut guesses = Vec::new();
        while let Some(change) = changes.next().await {
            match change? {
                Change::Schema(found) | Change::Restart(found) => {
                    guesses = vec![Guess::NONE; found.fields().len()];
                    (batches, size) = (Some(Vec::new()), 0);
                    schema = Some(found);
                }
                Change::Rows(batch) => {
                    for (guess, column) in guesses.iter_mut().zip(batch.columns()) {
                        let texts = column.as_string_opt::<i32>().into_iter();
                        texts
                            .flat_map(|texts| texts.iter().flatten())
                            .for_each(|text| guess.add(text));
                    }
                    size += batch.get_array_memory_size();
                    if size > KEPT {
                        batches = None;
                    }
                    if let Some(batches) = &mut batches {
                        batches.push(batch);
                    }
                }
                Change::Rejected(batch) => {
                    let reason = batch
                        .column_by_name("reason")
                        .map(|column| tidemill_core::display_value(column, 0))
                        .unwrap_or_default();
                    return Err(Error::new(
                        ErrorKind::Data,
                        format!("a row of the seed cannot be read: {reason}"),
                    ));
                }
                _ => {}
            }
        }
        let Some(schema) = schema else {
            return Err(Error::new(ErrorKind::Data, "the seed has no header"));
        };
        let kinds = schema
            .fields()
            .iter()
            .zip(guesses)
            .map(|(field, guess)| match self.given(field) {
                Some(_) => Kind::Text,
                None => guess.kind(),
            })
            .collect();
        Ok(Read { schema, batches, kinds })
    }

    /// All columns are read as texts.
    async fn declared(&self) -> Result<Vec<Field>> {
        let mut changes = self.changes(Vec::new()).await?;
        while let Some(change) = changes.next().await {
            if let Change::Schema(found) | Change::Restart(found) = change? {
                let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
                return Ok(found.fields().iter().map(text).collect());
            }
        }
        Ok(Vec::new())
    }
}

/// The texts of a batch as the database reads them.
fn written(batch: &RecordBatch, schema: &SchemaRef, kinds: &[Kind]) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(kinds)
        .map(|(column, kind)| -> ArrayRef {
            match column.as_string_opt::<i32>() {
                Some(texts) => Arc::new(
                    texts
                        .iter()
                        .map(|text| text.and_then(|text| kind.value(text)))
                        .collect::<StringArray>(),
                ),
                None => column.clone(),
            }
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns)
        .or_error(ErrorKind::Internal, "the rows of a seed do not make a batch")
}

/// The header as it is written.
fn header(field: &Arc<Field>) -> String {
    field.metadata().get(ORIGINAL_NAME).unwrap_or_else(|| field.name()).trim().to_owned()
}
