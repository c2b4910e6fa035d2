//! Seeds for a database: the file is read as dbt reads it, and its rows go in by `COPY`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use futures::StreamExt;
use indexmap::IndexMap;
use serde_json::Value;
use tidemill_connect::files::{FilesConfig, FilesConnector, ORIGINAL_NAME};
use tidemill_core::{
    BatchStream, Cancellation, Change, Connector, Error, ErrorKind, ReadRequest, ReadScope, Result,
    Until,
};
use tidemill_project::{CatalogColumn, Node};

use crate::loader::seed_settings;

/// Rows that are kept between looking at a file and loading it.
const KEPT: usize = 32 << 20;

/// The file of a seed.
pub(super) struct Seed {
    settings: Value,
    /// Types that the project gives, by the column's name.
    given: IndexMap<String, String>,
    root: PathBuf,
    file: String,
    cancel: Cancellation,
    read: tokio::sync::OnceCell<Read>,
}

/// What a first look at the file found.
struct Read {
    schema: SchemaRef,
    /// Its rows, unless they are many.
    batches: Option<Vec<RecordBatch>>,
    /// What is known of the values of each column.
    values: Vec<Values>,
}

/// What the values of a column have in common.
#[derive(Debug, Clone, Copy)]
struct Values {
    /// A whole number that an `integer` has no room for.
    wide: bool,
    /// Texts that are all times, or all days, as Python reads them: `2020-2-3 8:05:00`.
    times: bool,
    days: bool,
    /// There is one.
    any: bool,
}

impl Values {
    const NONE: Values = Values { wide: false, times: true, days: true, any: false };

    fn add(&mut self, column: &ArrayRef) {
        if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
            self.wide |= numbers.iter().flatten().any(|number| i32::try_from(number).is_err());
        }
        let Some(texts) = column.as_string_opt::<i32>() else { return };
        for text in texts.iter().flatten() {
            self.any = true;
            if self.times {
                self.times = is_time(text);
            }
            if self.days {
                self.days = is_day(text);
            }
            if !self.times && !self.days {
                return;
            }
        }
    }
}

/// `%Y-%m-%d`, in which Python takes one digit for two.
fn is_day(text: &str) -> bool {
    chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() && !text.contains('+')
}

/// `%Y-%m-%d %H:%M:%S`
fn is_time(text: &str) -> bool {
    chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").is_ok() && !text.contains('+')
}

impl Seed {
    pub(super) fn new(node: &Node, root: PathBuf, cancel: Cancellation) -> Result<Self> {
        Ok(Seed {
            settings: seed_settings(node, &root)?,
            given: node.config.column_types.clone(),
            root,
            file: node.original_file_path.clone(),
            cancel,
            read: tokio::sync::OnceCell::new(),
        })
    }

    fn given(&self, name: &str) -> Option<&String> {
        self.given
            .iter()
            .find(|(key, _)| key.as_str() == name || key.eq_ignore_ascii_case(name))
            .map(|(_, data_type)| data_type)
    }

    /// The columns of its table: types as dbt-postgres infers them, or as the project gives them.
    pub(super) async fn columns(&self) -> Result<Vec<CatalogColumn>> {
        let read = self.look().await?;
        Ok(read
            .schema
            .fields()
            .iter()
            .zip(&read.values)
            .map(|(field, values)| {
                let name = name_of(field);
                let data_type = match self.given(&name) {
                    Some(given) => given.clone(),
                    None => inferred(field.data_type(), *values).to_owned(),
                };
                CatalogColumn { name, data_type }
            })
            .collect())
    }

    /// Its columns and rows.
    pub(super) async fn rows(&self) -> Result<(Vec<String>, BatchStream)> {
        let read = self.look().await?;
        let names = read.schema.fields().iter().map(|field| name_of(field)).collect();
        if let Some(batches) = &read.batches {
            return Ok((names, BatchStream::from_batches(read.schema.clone(), batches.clone())));
        }
        let declared: Vec<Field> =
            read.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let changes = self.changes(declared).await?;
        let rows = changes.filter_map(|change| async move {
            match change {
                Ok(Change::Rows(batch)) => Some(Ok(batch)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        });
        Ok((names, BatchStream::new(read.schema.clone(), rows)))
    }

    async fn changes(&self, declared: Vec<Field>) -> Result<tidemill_core::ChangeStream> {
        let source = FilesConnector::connect(FilesConfig::default(), self.root.clone())?;
        let request = ReadRequest {
            settings: self.settings.clone(),
            declared,
            known: None,
            position: None,
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
        let mut values = Vec::new();
        while let Some(change) = changes.next().await {
            match change? {
                Change::Schema(found) | Change::Restart(found) => {
                    values = vec![Values::NONE; found.fields().len()];
                    (batches, size) = (Some(Vec::new()), 0);
                    schema = Some(found);
                }
                Change::Rows(batch) => {
                    for (values, column) in values.iter_mut().zip(batch.columns()) {
                        values.add(column);
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
        Ok(Read { schema, batches, values })
    }

    /// Columns with a given type are read as texts, which the database turns into that type.
    async fn declared(&self) -> Result<Vec<Field>> {
        if self.given.is_empty() {
            return Ok(Vec::new());
        }
        let mut changes = self.changes(Vec::new()).await?;
        while let Some(change) = changes.next().await {
            if let Change::Schema(found) | Change::Restart(found) = change? {
                return Ok(found
                    .fields()
                    .iter()
                    .filter(|field| self.given(&name_of(field)).is_some())
                    .map(|field| Field::new(field.name(), DataType::Utf8, true))
                    .collect());
            }
        }
        Ok(Vec::new())
    }
}

/// The header as it is written.
fn name_of(field: &Arc<Field>) -> String {
    field.metadata().get(ORIGINAL_NAME).unwrap_or_else(|| field.name()).trim().to_owned()
}

/// The type that dbt-postgres gives a column, `bigint` where its `integer` has no room.
fn inferred(data_type: &DataType, values: Values) -> &'static str {
    match data_type {
        DataType::Boolean => "boolean",
        DataType::Int64 if values.wide => "bigint",
        kind if kind.is_integer() => "integer",
        kind if kind.is_floating() => "double precision",
        DataType::Decimal128(..) | DataType::Decimal256(..) => "double precision",
        DataType::Date32 => "date",
        // Nothing but NULL: the first type that agate tries.
        DataType::Utf8 | DataType::Null if !values.any => "integer",
        DataType::Utf8 if values.days => "date",
        DataType::Utf8 if values.times => "timestamp without time zone",
        DataType::Timestamp(..) => "timestamp without time zone",
        DataType::Time64(_) | DataType::Time32(_) => "time without time zone",
        _ => "text",
    }
}
