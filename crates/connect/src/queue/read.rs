//! The read of a queue's table: what holds for all formats.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value};
use tidemill_core::{Change, Error, ErrorKind, Notice, Position, ReadRequest, ReadScope, Result};

use super::metadata::{self, Meta, MetaColumn};
use super::registry::RegistryConfig;
use super::rows::{Rows, Taken, rejected};
use super::settings::{Format, KeyFormat, QueueSettings, Tombstones};
use super::spool::{Spool, Spooled};
use super::{avro, json, plain};
use crate::stream::Sink;

/// Under this name a position says what was seen in each column, beside what the connector says.
const TYPES: &str = "types";

/// Where a queue is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueContext {
    /// The folder that relative paths start at.
    pub(crate) project: PathBuf,
    /// What a message calls the table: the topic, for one.
    pub(crate) object: String,
}

/// A read whose settings are checked.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(super) settings: Arc<QueueSettings>,
    pub(super) request: ReadRequest,
    pub(super) context: QueueContext,
    pub(super) metadata: Arc<Vec<MetaColumn>>,
    pub(super) registry: Option<RegistryConfig>,
}

impl Reading {
    /// # Errors
    /// Kind `Config` for settings that do not go together or that the queue does not have.
    pub(crate) fn new(
        layout: &[Meta],
        settings: QueueSettings,
        request: ReadRequest,
        context: QueueContext,
    ) -> Result<Reading> {
        let metadata = Arc::new(columns(layout, &settings)?);
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if settings.tombstones == Tombstones::Delete && request.scope != ReadScope::Changed {
            return wrong(
                "`tombstones: delete` removes rows by their key, and goes with `mode: merge`",
            );
        }
        if settings.tombstones == Tombstones::Delete && request.cursor.is_some() {
            return wrong(
                "of a queue the order of its messages says which one is the last; leave `cursor` out with \
                 `tombstones: delete`",
            );
        }
        let whole = request.scope == ReadScope::Whole;
        if whole && (settings.max_messages.is_some() || settings.max_bytes.is_some()) {
            return wrong(
                "`mode: full` takes all messages with every load; `max_messages` and `max_bytes` go with \
                 `append` and `merge`",
            );
        }
        Ok(Reading { settings: Arc::new(settings), request, context, metadata, registry: None })
    }

    /// With the registry of schemas that the connection has.
    pub(crate) fn with_registry(self, registry: Option<RegistryConfig>) -> Reading {
        Reading { registry, ..self }
    }

    /// What the connector said last of where it was, if this read goes on from there.
    pub(crate) fn last(&self) -> Option<&Map<String, Value>> {
        let position = self.request.position.as_ref()?;
        position.0.as_object().filter(|_| self.request.scope != ReadScope::Whole)
    }

    /// What the connector said of the load before, whether or not this read goes on from there.
    pub(crate) fn published(&self) -> Option<&Map<String, Value>> {
        self.request.position.as_ref()?.0.as_object()
    }

    /// A place for the messages of this read.
    pub(crate) fn spool(&self) -> Result<Spool> {
        Spool::new(&self.settings, self.request.scope != ReadScope::Whole)
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// What was asked for.
    pub(crate) fn request(&self) -> &ReadRequest {
        &self.request
    }

    /// Gives the rows of the messages, and then the position.
    ///
    /// # Errors
    /// Kind `Config` for columns that cannot be as they are declared; kind `Cancelled` when nobody listens.
    pub(crate) async fn deliver(
        &self,
        spooled: Spooled,
        mut position: Map<String, Value>,
        sink: &Sink,
    ) -> Result<()> {
        let before = self.last().and_then(|last| last.get(TYPES)).cloned();
        let types = match spooled.count() {
            0 => {
                sink.send(Change::Schema(self.columns_of_nothing()?)).await?;
                before
            }
            _ if self.has_avro() => avro::deliver(self, spooled, sink).await?,
            _ => match self.settings.format {
                Format::Json | Format::Csv => json::deliver(self, spooled, before, sink).await?,
                _ => plain::deliver(self, spooled, sink).await?,
            },
        };
        if let Some(types) = types {
            position.insert(TYPES.to_owned(), types);
        }
        sink.send(Change::Position(Position(Value::Object(position)))).await
    }

    /// Says something of the table.
    pub(crate) async fn notice(
        &self,
        sink: &Sink,
        code: &str,
        message: impl Into<String>,
    ) -> Result<()> {
        sink.send(Change::Notice(Notice {
            code: code.to_owned(),
            message: message.into(),
            object: Some(self.context.object.clone()),
        }))
        .await
    }

    /// Whether bodies or keys are in Avro.
    fn has_avro(&self) -> bool {
        self.settings.format == Format::Avro || self.settings.key_format == KeyFormat::Avro
    }

    /// Whether a message without a body removes a row.
    pub(super) fn deletes(&self) -> bool {
        self.settings.tombstones == Tombstones::Delete
    }

    /// The columns of rows with these bodies.
    pub(super) fn rows(&self, body: &[Arc<Field>]) -> Result<Rows> {
        Rows::new(body, &self.metadata, &self.request.declared, self.deletes())
    }

    /// The columns of the table that are not ours.
    pub(super) fn known_body(&self) -> Option<SchemaRef> {
        let known =
            self.request.known.as_ref().filter(|_| self.request.scope != ReadScope::Whole)?;
        let fields = known.fields().iter().filter(|field| !self.is_metadata(field.name()));
        Some(Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>())))
    }

    /// Whether a column is one of those that the queue knows.
    pub(super) fn is_metadata(&self, column: &str) -> bool {
        self.metadata.iter().any(|meta| meta.name == column)
    }

    /// The columns of a table that gets no rows: a table is there from the first load on, so that the
    /// position has a place.
    fn columns_of_nothing(&self) -> Result<SchemaRef> {
        if let Some(known) = &self.request.known {
            return Ok(Arc::clone(known));
        }
        let body: Vec<Arc<Field>> = match self.settings.format {
            Format::Text | Format::Bytes => vec![Arc::new(self.value_field())],
            _ => {
                let declared = self.request.declared.iter();
                let own = declared.filter(|field| !self.is_metadata(field.name()));
                own.map(|field| Arc::new(field.clone())).collect()
            }
        };
        Ok(self.rows(&body)?.schema)
    }

    /// The column of bodies that are one value.
    pub(super) fn value_field(&self) -> Field {
        let name = self.settings.value_column.as_deref().unwrap_or("value");
        let data_type = match self.settings.format {
            Format::Bytes => DataType::Binary,
            _ => DataType::Utf8,
        };
        Field::new(name, data_type, true)
    }
}

/// Whether settings are right, for [`tidemill_core::Connector::check_table`].
///
/// # Errors
/// Kind `Config`.
pub(crate) fn check(layout: &[Meta], settings: &QueueSettings) -> Result<()> {
    columns(layout, settings).map(drop)
}

fn columns(layout: &[Meta], settings: &QueueSettings) -> Result<Vec<MetaColumn>> {
    let columns = metadata::columns(layout, settings)?;
    if columns.is_empty() && !matches!(settings.format, Format::Text | Format::Bytes) {
        // A message whose body has no field is a row all the same, and a table has columns before the first
        // message came.
        return Err(Error::new(
            ErrorKind::Config,
            "`metadata` needs at least one column with this `format`: a message may have no fields, and is a row",
        ));
    }
    Ok(columns)
}

/// The same read with so many messages at most, of a new table.
pub(crate) fn few_messages(mut request: ReadRequest, messages: usize) -> ReadRequest {
    if let Some(settings) = request.settings.as_object_mut() {
        settings.insert("max_messages".to_owned(), messages.into());
    }
    ReadRequest { scope: ReadScope::New, position: None, ..request }
}

/// Gives what a batch of messages came to.
pub(super) async fn send(taken: Taken, sink: &Sink) -> Result<()> {
    if let Some(bad) = rejected(&taken.refused)? {
        sink.send(Change::Rejected(bad)).await?;
    }
    match taken.rows {
        Some(rows) => sink.send(Change::Rows(rows)).await,
        None => Ok(()),
    }
}
