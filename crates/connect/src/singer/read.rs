//! The messages of a tap.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_core::{
    Change, Error, ErrorKind, Notice, Position, ReadRequest, ReadScope, Result, ResultExt,
};

use super::catalog::{Columns, Selected};
use super::process::Tap;
use super::{Files, SingerSource, StreamSettings};
use crate::json_rows::JsonColumns;
use crate::tables::declared_field;

/// Where the last load ended.
#[derive(Debug, Serialize, Deserialize)]
struct SingerPosition {
    stream: String,
    state: Value,
}

/// Takes a change.
pub(super) type Emit<'a> = dyn FnMut(Change) -> Result<()> + 'a;

impl SingerSource {
    /// Runs the tap for one stream.
    pub(super) fn run(
        &self,
        settings: &StreamSettings,
        request: &ReadRequest,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let files = Files::new(&self.config, &self.project)?;
        let wanted = settings.stream.as_deref().unwrap_or(&request.name);
        let selected = self.discover(&files, &request.cancel)?.select(wanted, settings)?;
        files.write("catalog.json", &selected.catalog)?;
        let (config, catalog) = (files.path("config.json"), files.path("catalog.json"));
        // Older taps call the catalog `properties`; the newer name is read by both of today's
        // libraries.
        let mut arguments = vec!["--config", config.as_str(), "--catalog", catalog.as_str()];
        let state = files.path("state.json");
        if let Some(last) = last_state(request, &selected.id)? {
            files.write("state.json", &last)?;
            arguments.extend(["--state", state.as_str()]);
        }
        let mut tap = Tap::start(&self.config, &arguments, &self.project, &request.cancel)?;
        let mut reading = Reading {
            settings,
            request,
            selected: &selected,
            columns: None,
            schema: Value::Null,
            state: None,
            others: 0,
        };
        let mut line = Vec::new();
        while tap.line(&mut line)? {
            if !line.trim_ascii().is_empty() {
                reading.take(&line, emit)?;
            }
        }
        tap.end()?;
        reading.finish(emit)
    }
}

/// The state to go on from.
fn last_state(request: &ReadRequest, stream: &str) -> Result<Option<Value>> {
    let Some(position) = request.position.as_ref().filter(|_| request.scope != ReadScope::Whole)
    else {
        return Ok(None);
    };
    let last: SingerPosition = serde_json::from_value(position.0.clone())
        .or_error(ErrorKind::Data, "the position of the last load is not one of a Singer tap")?;
    if last.stream != stream {
        return Err(Error::new(
            ErrorKind::Config,
            "the last load read another stream, so that its state says nothing about this one; load \
             the table again with --full-refresh",
        )
        .with("last", last.stream)
        .with("now", stream));
    }
    Ok(Some(last.state).filter(|state| !state.is_null()))
}

struct Reading<'a> {
    settings: &'a StreamSettings,
    request: &'a ReadRequest,
    selected: &'a Selected,
    columns: Option<JsonColumns>,
    /// The schema that the columns were made from.
    schema: Value,
    state: Option<Value>,
    /// Records of streams that nobody asked for.
    others: u64,
}

impl Reading<'_> {
    fn take(&mut self, line: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        let mut message: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
            let shown: String = String::from_utf8_lossy(line).chars().take(200).collect();
            Error::new(ErrorKind::Data, "the tap wrote a line that is no Singer message")
                .with("line", shown.trim_end())
                .because(error)
        })?;
        let ours = match &message.get("stream") {
            Some(Value::String(stream)) => self.selected.names.contains(stream),
            _ => false,
        };
        match message.get("type").and_then(Value::as_str) {
            Some("SCHEMA") if ours => {
                let key = message
                    .get("key_properties")
                    .and_then(Value::as_array)
                    .map(|key| {
                        key.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
                    })
                    .unwrap_or_default();
                let schema = message.remove("schema").unwrap_or_default();
                self.set_schema(schema, &key, emit)
            }
            Some("RECORD") if ours => {
                let Some(columns) = &mut self.columns else {
                    return Err(Error::new(
                        ErrorKind::Data,
                        "the tap wrote a record before the schema of its stream",
                    ));
                };
                match message.get("record") {
                    Some(Value::Object(record)) => columns.push(record),
                    _ => {
                        return Err(Error::new(
                            ErrorKind::Data,
                            "the tap wrote a record that is no object",
                        ));
                    }
                }
                if columns.is_full() { self.flush(emit) } else { Ok(()) }
            }
            Some("RECORD") => {
                self.others += 1;
                Ok(())
            }
            Some("STATE") => {
                self.state = message.remove("value");
                Ok(())
            }
            Some("BATCH") => Err(Error::new(
                ErrorKind::Unsupported,
                "the tap writes its rows as files (BATCH messages), which are not read; take \
                 `batch_config` out of its `config`",
            )),
            // SCHEMA of another stream, ACTIVATE_VERSION, and what taps say beyond the standard.
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Data, "the tap wrote a message without a `type`")),
        }
    }

    fn set_schema(&mut self, schema: Value, key: &[String], emit: &mut Emit<'_>) -> Result<()> {
        let schema = self.settings.chosen(schema);
        if self.columns.is_some() {
            if schema == self.schema {
                return Ok(());
            }
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the tap changed the columns of its stream in the middle of a read",
            ));
        }
        let columns = Columns::of(&schema, key)?;
        let mut fields = Vec::new();
        for field in columns.schema.fields() {
            fields.push(declared_field(field, &self.request.declared)?);
        }
        let target = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
        self.columns = Some(JsonColumns::new(columns.keys, target.clone()));
        self.schema = schema;
        emit(Change::Schema(target))
    }

    fn flush(&mut self, emit: &mut Emit<'_>) -> Result<()> {
        let Some(columns) = &mut self.columns else { return Ok(()) };
        let (rows, rejected) = columns.finish(&self.selected.id)?;
        if let Some(rejected) = rejected {
            emit(Change::Rejected(rejected))?;
        }
        if let Some(rows) = rows {
            emit(Change::Rows(rows))?;
        }
        Ok(())
    }

    fn finish(mut self, emit: &mut Emit<'_>) -> Result<()> {
        self.flush(emit)?;
        let stream = self.selected.id.clone();
        if self.columns.is_none() {
            return Err(Error::new(
                ErrorKind::Data,
                "the tap ended without a word about its stream",
            )
            .with("stream", stream));
        }
        let last = self.request.position.as_ref().and_then(|position| position.0.get("state"));
        let state = self.state.or_else(|| last.cloned()).unwrap_or_default();
        if self.request.scope == ReadScope::New && !knows(&state, &self.selected.names) {
            return Err(Error::new(
                ErrorKind::Config,
                "the tap keeps no bookmark for this stream, so that `mode: append` would add all of its \
                 rows with every load; use `mode: full`, or `merge` with a `primary_key`",
            )
            .with("stream", stream));
        }
        if self.others > 0 {
            emit(Change::Notice(Notice {
                code: "other-streams".to_owned(),
                message: format!(
                    "the tap wrote {} records of streams that were not asked for",
                    self.others
                ),
                object: Some(stream.clone()),
            }))?;
        }
        let position = serde_json::to_value(SingerPosition { stream, state })
            .or_error(ErrorKind::Internal, "a position could not be written")?;
        emit(Change::Position(Position(position)))
    }
}

/// Whether the state says how far a stream was read.
fn knows(state: &Value, names: &[String]) -> bool {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    let bookmarks = state.get("bookmarks").unwrap_or(state);
    names.iter().any(|name| bookmarks.get(name).is_some_and(said))
}
