//! The read of records that were fetched: what of them is new, and their rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidemill_core::{
    Change, Error, ErrorKind, Notice, Position, ReadRequest, ReadScope, Result, ResultExt, Source,
    changes,
};

use super::spool::{FILE, Kinds, Spooled};
use crate::files::{column_names, of_folder};
use crate::stream::{Sink, blocking};
use crate::tables::{CursorValue, Lookback, Order, TablePosition, Ties, Tracker, Values, rejected};

/// How far something was read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RecordsPosition {
    #[serde(flatten)]
    cursor: TablePosition,
    /// What was seen in each column, as the files' reader writes it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    types: Value,
    /// What the cursor's values are where they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
}

/// The column with the number of a record's line, where that is asked for.
const LINE: &str = "__tidemill_line";

/// What who fetched records knows of them.
#[derive(Default)]
pub(crate) struct Found<'a> {
    /// The largest value of a cursor that has no order here.
    pub(crate) largest: Option<CursorValue>,
    /// What the cursor's values are.
    pub(crate) kind: Option<&'a str>,
    /// The place in the log of changes that the next read begins at.
    pub(crate) log: Option<Value>,
    /// All rows of before go.
    pub(crate) truncates: bool,
}

/// What is read.
pub(crate) struct Plan {
    scope: ReadScope,
    position: RecordsPosition,
    /// What is read, for messages and positions.
    from: String,
    cursor: Option<String>,
    lookback: Option<Lookback>,
    /// Settings of the reader of files.
    reader: Map<String, Value>,
}

impl Plan {
    /// What is asked for, of what is called `from`.
    ///
    /// # Errors
    /// Kind `Config` when settings do not go together, or the last load was one of something else.
    pub(crate) fn new(
        from: String,
        lookback: Option<Lookback>,
        reader: Map<String, Value>,
        request: &ReadRequest,
    ) -> Result<Plan> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        let cursor = request.cursor.clone().filter(|_| request.scope != ReadScope::Whole);
        if cursor.is_none() && request.scope == ReadScope::New {
            return wrong(
                "`mode: append` needs a `cursor`, the column that tells what is new; without one use \
                 `mode: full`, or `merge` with a `primary_key`",
            );
        }
        if lookback.is_some() && (cursor.is_none() || request.scope == ReadScope::New) {
            return wrong("`lookback` needs a `cursor` and `mode: merge`");
        }
        let position = match (&request.position, request.scope) {
            (None, _) | (_, ReadScope::Whole) => RecordsPosition::default(),
            (Some(position), _) => serde_json::from_value(position.0.clone()).or_error(
                ErrorKind::Data,
                "the position of the last load is not one of this kind of connection",
            )?,
        };
        let known = &position.cursor;
        if known.value.is_some() && (known.from != from || known.column != cursor) {
            return Err(Error::new(
                ErrorKind::Config,
                "the last load had another path or `cursor`, so that its position says nothing about this \
                 one; load it again with --full-refresh",
            )
            .with("last", format!("{} by {}", known.from, known.column.as_deref().unwrap_or("none")))
            .with("now", format!("{from} by {}", cursor.as_deref().unwrap_or("none"))));
        }
        if request.scope == ReadScope::Log && request.position.is_some() {
            if known.log.is_none() {
                return wrong(
                    "the last load did not follow the log of changes, so that its position says nothing about this one; load \
                     it again with --full-refresh",
                );
            }
            if known.from != from {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the last load followed `{}`, whose position says nothing about `{from}`; load it again with \
                         --full-refresh",
                        known.from
                    ),
                ));
            }
        }
        Ok(Plan { scope: request.scope, position, from, cursor, lookback, reader })
    }

    /// The column that tells what is new.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The value that is read from on; none in a first load.
    ///
    /// # Errors
    /// Kind `Config` when the `lookback` is no distance of such values.
    pub(crate) fn since(&self) -> Result<Option<CursorValue>> {
        let Some(value) = &self.position.cursor.value else { return Ok(None) };
        match self.lookback {
            Some(lookback) => value.behind(lookback).map(Some),
            None => Ok(Some(value.clone())),
        }
    }

    /// The place in the log of changes at which the last load ended.
    pub(crate) fn log(&self) -> Option<&Value> {
        self.position.cursor.log.as_ref()
    }

    /// What the cursor's values were in the last load.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.position.kind.as_deref()
    }

    /// Gives the rows of what was fetched, and the position at its end.
    ///
    /// # Errors
    /// Those of the reader of files.
    pub(crate) async fn run(
        self,
        spooled: Spooled,
        request: ReadRequest,
        found: Found<'_>,
        sink: &Sink,
    ) -> Result<()> {
        let kind = found.kind.map(str::to_owned).or(self.position.kind.clone());
        let Found { largest, log, truncates, .. } = found;
        let mut shape = Shape { tracker: None, row: 1, largest, kind, log };
        let mut control = Control::new(&spooled, &request)?;
        if spooled.records == 0 {
            // The columns stay what they are; a table that is replaced has no rows.
            let declared = || Arc::new(Schema::new(request.declared.clone()));
            let columns = request.known.clone().unwrap_or_else(declared);
            sink.send(Change::Schema(columns)).await?;
            if truncates {
                sink.send(Change::Truncated).await?;
            }
            for notice in spooled.notices {
                sink.send(Change::Notice(notice)).await?;
            }
            return sink.send(shape.position(&self, Value::Null)?).await;
        }
        let files = of_folder(spooled.folder.path().to_owned());
        let mut changes = files.read(self.of_file(&request, control.is_some())).await?;
        let mut types = Value::Null;
        while let Some(change) = changes.next().await {
            match change? {
                Change::Schema(schema) => {
                    let schema = without_line(&schema, control.is_some());
                    shape.columns(&self, &request, &schema)?;
                    sink.send(Change::Schema(schema)).await?;
                    if truncates {
                        sink.send(Change::Truncated).await?;
                    }
                }
                // Files have no log.
                Change::Truncated => {}
                Change::Restart(schema) => {
                    let schema = without_line(&schema, control.is_some());
                    control = Control::new(&spooled, &request)?;
                    shape.row = 1;
                    shape.columns(&self, &request, &schema)?;
                    sink.send(Change::Restart(schema)).await?;
                    if truncates {
                        sink.send(Change::Truncated).await?;
                    }
                }
                Change::Rows(mut batch) => {
                    if let Some(mut said) = control.take() {
                        (said, batch) = blocking(move || {
                            let batch = said.add(&batch)?;
                            Ok((said, batch))
                        })
                        .await?;
                        control = Some(said);
                    }
                    let (rows, bad) = shape.take(&self, batch)?;
                    if let Some(bad) = bad {
                        sink.send(Change::Rejected(bad)).await?;
                    }
                    if rows.num_rows() > 0 {
                        sink.send(Change::Rows(rows)).await?;
                    }
                }
                Change::Rejected(batch) => {
                    sink.send(Change::Rejected(named(&batch, &self.from)?)).await?;
                }
                Change::Position(position) => types = position.0,
                Change::Notice(notice) => {
                    // A record may lack what others have.
                    if notice.code == "missing-column" {
                        continue;
                    }
                    let object = notice.object.map(|object| match object == FILE {
                        true => self.from.clone(),
                        false => object,
                    });
                    let message = notice.message.replace(FILE, &self.from);
                    sink.send(Change::Notice(Notice { object, message, ..notice })).await?;
                }
                Change::Replaces { .. } => {
                    return Err(Error::new(ErrorKind::Internal, "a fetched file replaces another"));
                }
            }
        }
        for notice in spooled.notices {
            sink.send(Change::Notice(notice)).await?;
        }
        sink.send(shape.position(&self, types)?).await
    }

    /// The read of the file that everything was fetched to.
    fn of_file(&self, request: &ReadRequest, with_lines: bool) -> ReadRequest {
        let mut settings = self.reader.clone();
        for (key, value) in [
            ("location", json!(FILE)),
            ("format", json!("ndjson")),
            ("source_file_column", json!(false)),
            ("source_row_column", if with_lines { json!(LINE) } else { json!(false) }),
        ] {
            settings.insert(key.to_owned(), value);
        }
        let whole = self.scope == ReadScope::Whole;
        // What was seen before holds on; the file is a new one.
        let mut before = self.position.types.clone();
        if let Some(files) = before.get_mut("files") {
            *files = json!({});
        }
        ReadRequest {
            settings: Value::Object(settings),
            position: (!whole && before.is_object()).then_some(Position(before)),
            superseded: None,
            every_change: false,
            scope: if whole { ReadScope::Whole } else { ReadScope::New },
            ..request.clone()
        }
    }
}

/// What is known while rows go by.
struct Shape {
    tracker: Option<(usize, Tracker)>,
    /// The number of the next row.
    row: i64,
    /// The largest value of the cursor, where that is not found by its values.
    largest: Option<CursorValue>,
    /// What its values are.
    kind: Option<String>,
    /// The place in the log of changes.
    log: Option<Value>,
}

/// The columns that say what happened to rows of a log of changes.
struct Control {
    kinds: Kinds,
    every_change: bool,
}

impl Control {
    /// Of a spool of changes; of another one nothing is said.
    fn new(spooled: &Spooled, request: &ReadRequest) -> Result<Option<Control>> {
        let every_change = request.every_change;
        Ok(spooled.kinds()?.map(|kinds| Control { kinds, every_change }))
    }

    /// The rows with these columns in place of the number of their line.
    fn add(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let lines =
            batch.columns().last().and_then(|column| column.as_primitive_opt::<Int64Type>());
        let Some(lines) = lines else {
            return Err(Error::new(ErrorKind::Internal, "rows came without their lines"));
        };
        let mut kinds = Vec::with_capacity(lines.len());
        for line in lines.values() {
            kinds.push(self.kinds.of_line(*line)?);
        }
        let gone = kinds.iter().map(|kind| Some(kind.what == changes::DELETE));
        let gone: ArrayRef = Arc::new(gone.collect::<BooleanArray>());
        let mut own = vec![(changes::GONE, gone)];
        if self.every_change {
            let times: TimestampMicrosecondArray = kinds.iter().map(|kind| kind.at).collect();
            let kinds = Int8Array::from_iter_values(kinds.iter().map(|kind| kind.what));
            own.push((changes::KIND, Arc::new(kinds)));
            own.push((changes::AT, Arc::new(times.with_timezone("UTC"))));
        }
        let width = batch.num_columns() - 1;
        let mut fields: Vec<Arc<Field>> = batch.schema().fields()[..width].to_vec();
        let mut columns: Vec<ArrayRef> = batch.columns()[..width].to_vec();
        for (name, column) in own {
            fields.push(Arc::new(Field::new(
                name,
                column.data_type().clone(),
                name == changes::AT,
            )));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .or_error(ErrorKind::Internal, "changes cannot be put together")
    }
}

/// The columns without that of lines, which is the last one.
fn without_line(schema: &SchemaRef, has_line: bool) -> SchemaRef {
    match (has_line, schema.fields().split_last()) {
        (true, Some((_, own))) => Arc::new(Schema::new(own.to_vec())),
        _ => Arc::clone(schema),
    }
}

impl Shape {
    /// Finds the cursor among the columns.
    fn columns(&mut self, plan: &Plan, request: &ReadRequest, schema: &SchemaRef) -> Result<()> {
        let Some(cursor) = &plan.cursor else { return Ok(()) };
        let ours = column_names(&[cursor.as_str()]);
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let at = names.iter().position(|name| name == cursor || ours.first() == Some(name));
        let Some(at) = at else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("`cursor` names `{cursor}`, which the records do not have"),
            )
            .with("columns", names.join(", ")));
        };
        let ties = match plan.scope {
            ReadScope::New => Ties::Exact,
            _ if plan.lookback.is_some() => Ties::Forgotten,
            _ => Ties::Saving,
        };
        // A key tells rows apart; that nothing of a row changed only all of its columns do.
        let key: &[String] = if ties == Ties::Exact { &request.primary_key } else { &[] };
        let (before, given) = (plan.position.cursor.clone(), self.largest.clone());
        let tracker = Tracker::new(before, &plan.from, cursor, &names, key, ties, given);
        self.tracker = Some((at, tracker));
        Ok(())
    }

    /// The rows of a batch that are new, and those that cannot be told to be.
    fn take(
        &mut self,
        plan: &Plan,
        batch: RecordBatch,
    ) -> Result<(RecordBatch, Option<RecordBatch>)> {
        let first = self.row;
        self.row += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        let Some((at, tracker)) = &mut self.tracker else { return Ok((batch, None)) };
        let column = batch.column(*at);
        let name = plan.cursor.as_deref().unwrap_or_default();
        if column.null_count() == column.len() && plan.scope == ReadScope::Changed {
            return Ok((batch, None));
        }
        // Of nothing but NULL any order will do.
        let by_us = self.largest.is_none() && column.null_count() < column.len();
        let order = if by_us { Order::Value } else { Order::Database };
        let values = Values::new(column, order, name).map_err(|error| match column.data_type() {
            kind if kind.is_string() => Error::new(
                ErrorKind::Config,
                format!(
                    "the values of `cursor: {name}` are text, whose order says nothing about time; say how they \
                     are written (`timestamp_format`, `date_format`), or use another cursor"
                ),
            ),
            _ => error,
        })?;
        let mut keep: Vec<bool> = match tracker.take(&batch, &values)? {
            Some(keep) => keep.values().iter().collect(),
            None => vec![true; batch.num_rows()],
        };
        let mut bad = Vec::new();
        if plan.scope == ReadScope::New {
            let before = plan.position.cursor.value.as_ref();
            for (row, keep) in keep.iter_mut().enumerate() {
                if values.array().is_null(row) {
                    bad.push((row, format!("the cursor `{name}` is NULL")));
                    *keep = false;
                } else if before.is_some_and(|before| values.get(row) < *before) {
                    // More was given than was asked for: these were read before.
                    *keep = false;
                }
            }
        }
        let refused = match bad.is_empty() {
            true => None,
            false => Some(rejected(&batch, &bad, &plan.from, first)?),
        };
        let rows = filter_record_batch(&batch, &BooleanArray::from(keep))
            .or_error(ErrorKind::Internal, "rows that are not wanted could not be left out")?;
        Ok((rows, refused))
    }

    /// Where the next read begins.
    fn position(&mut self, plan: &Plan, types: Value) -> Result<Change> {
        let mut cursor = match self.tracker.take() {
            Some((_, tracker)) => tracker.finish(),
            None => TablePosition { from: plan.from.clone(), ..plan.position.cursor.clone() },
        };
        let types = if types.is_null() { plan.position.types.clone() } else { types };
        cursor.log = self.log.take();
        serde_json::to_value(RecordsPosition { cursor, types, kind: self.kind.take() })
            .map(|value| Change::Position(Position(value)))
            .or_error(ErrorKind::Internal, "a position could not be written")
    }
}

/// Rejected rows with what they are of in the place of the file.
fn named(batch: &RecordBatch, path: &str) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    if let Some(column) = columns.first_mut()
        && column.as_string_opt::<i32>().is_some()
    {
        *column =
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(path, batch.num_rows())));
    }
    RecordBatch::try_new(batch.schema(), columns)
        .or_error(ErrorKind::Internal, "a batch of rejected rows is malformed")
}
