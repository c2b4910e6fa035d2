//! The read of an endpoint: what of it is new, and its rows from the file that it was fetched to.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use chrono::DateTime;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidemill_core::{
    Change, ConnectContext, Error, ErrorKind, Notice, Position, ReadRequest, ReadScope, Result,
    ResultExt, Source,
};
use tokio::runtime::Handle;

use super::client::Client;
use super::fetch::{self, FILE};
use super::settings::{EndpointSettings, Incremental, Place, RestConfig};
use crate::files::{column_names, of_folder};
use crate::stream::Sink;
use crate::tables::{CursorValue, Lookback, Order, TablePosition, Ties, Tracker, Values, rejected};

/// How far an endpoint was read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RestPosition {
    #[serde(flatten)]
    cursor: TablePosition,
    /// What was seen in each column, as the files' reader writes it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    types: Value,
}

/// What is read.
pub(super) struct Plan {
    settings: EndpointSettings,
    request: ReadRequest,
    position: RestPosition,
    /// The endpoint's path, for messages and positions.
    path: String,
    cursor: Option<String>,
}

/// Runs blocking work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Internal, "the reader failed").because(error)),
    }
}

impl Plan {
    pub(super) fn new(config: &RestConfig, request: ReadRequest) -> Result<Plan> {
        let settings = EndpointSettings::parse(&request.settings)?;
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        let path = settings.path.clone().unwrap_or_else(|| request.name.clone());
        let cursor = request.cursor.clone().filter(|_| request.scope != ReadScope::Whole);
        if cursor.is_none() {
            if request.scope == ReadScope::New {
                return wrong(
                    "`mode: append` of an endpoint needs a `cursor`, the column that tells what is new; \
                     without one use `mode: full`, or `merge` with a `primary_key`",
                );
            }
            if settings.incremental.is_some() && request.scope == ReadScope::Changed {
                return wrong(
                    "`incremental` needs a `cursor`: the column whose largest value is asked from",
                );
            }
        }
        if settings.lookback.is_some() && (cursor.is_none() || request.scope == ReadScope::New) {
            return wrong("`lookback` needs a `cursor` and `mode: merge`");
        }
        let position = match (&request.position, request.scope) {
            (None, _) | (_, ReadScope::Whole) => RestPosition::default(),
            (Some(position), _) => serde_json::from_value(position.0.clone()).or_error(
                ErrorKind::Data,
                "the position of the last load is not one of a REST API",
            )?,
        };
        let from = format!("{}{path}", config.url);
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
        Ok(Plan { settings, request, position, path: from, cursor })
    }

    /// What the API is asked for, by its parameter.
    fn since(&self) -> Result<Option<(String, Value, Place)>> {
        let Some(incremental) = &self.settings.incremental else { return Ok(None) };
        let value = match &self.position.cursor.value {
            None => incremental.start.clone(),
            Some(value) => {
                let value = match self.settings.lookback {
                    Some(lookback) => value.behind(lookback)?,
                    None => value.clone(),
                };
                let value = if incremental.exclusive { step_back(&value)? } else { value };
                Some(written(&value, incremental)?)
            }
        };
        Ok(value.map(|value| (incremental.param.clone(), value, incremental.place)))
    }

    /// Fetches, then reads what was fetched.
    pub(super) async fn run(
        self,
        config: &Arc<RestConfig>,
        context: &ConnectContext,
        handle: Handle,
        sink: Sink,
    ) -> Result<()> {
        let since = self.since()?;
        let (config, context) = (config.clone(), context.clone());
        let (settings, name) = (self.settings.clone(), self.request.name.clone());
        let cancel = self.request.cancel.clone();
        let (spooled, said) = blocking(move || {
            let client = Client::new(&config, &context, handle)?;
            let paging = config.paging.as_ref();
            let spooled = fetch::fetch(&client, &settings, &name, paging, since, &cancel)?;
            Ok((spooled, client.said()))
        })
        .await?;
        for message in said {
            let (code, object) = ("refresh-token".to_owned(), None);
            sink.send(Change::Notice(Notice { code, message, object })).await?;
        }
        let mut shape = Shape::new(&self);
        if spooled.records == 0 {
            // The columns stay what they are; a table that is replaced has no rows.
            sink.send(Change::Schema(self.columns())).await?;
            return sink.send(shape.position(&self, Value::Null)?).await;
        }
        let files = of_folder(spooled.folder.path().to_owned());
        let mut changes = files.read(self.of_file()).await?;
        let mut types = Value::Null;
        while let Some(change) = changes.next().await {
            match change? {
                Change::Schema(schema) => {
                    shape.columns(&self, &schema)?;
                    sink.send(Change::Schema(schema)).await?;
                }
                // Files have no log.
                Change::Truncated => {}
                Change::Restart(schema) => {
                    shape = Shape::new(&self);
                    shape.columns(&self, &schema)?;
                    sink.send(Change::Restart(schema)).await?;
                }
                Change::Rows(batch) => {
                    let (rows, bad) = shape.take(&self, batch)?;
                    if let Some(bad) = bad {
                        sink.send(Change::Rejected(bad)).await?;
                    }
                    if rows.num_rows() > 0 {
                        sink.send(Change::Rows(rows)).await?;
                    }
                }
                Change::Rejected(batch) => {
                    sink.send(Change::Rejected(named(&batch, &self.path)?)).await?;
                }
                Change::Position(position) => types = position.0,
                Change::Notice(notice) => {
                    // A record may lack what others have.
                    if notice.code == "missing-column" {
                        continue;
                    }
                    let object = notice.object.map(|object| match object == FILE {
                        true => self.path.clone(),
                        false => object,
                    });
                    let message = notice.message.replace(FILE, &self.path);
                    sink.send(Change::Notice(Notice { object, message, ..notice })).await?;
                }
                Change::Replaces { .. } => {
                    return Err(Error::new(ErrorKind::Internal, "a fetched file replaces another"));
                }
            }
        }
        sink.send(shape.position(&self, types)?).await
    }

    /// The columns of a table that gets no rows.
    fn columns(&self) -> SchemaRef {
        let declared = || Arc::new(Schema::new(self.request.declared.clone()));
        self.request.known.clone().unwrap_or_else(declared)
    }

    /// The read of the file that everything was fetched to.
    fn of_file(&self) -> ReadRequest {
        let mut settings = Map::new();
        settings.insert("location".to_owned(), json!(FILE));
        settings.insert("format".to_owned(), json!("ndjson"));
        settings.insert("source_file_column".to_owned(), json!(false));
        settings.insert("source_row_column".to_owned(), json!(false));
        let further = [
            ("date_format", self.settings.date_format.as_ref().map(|text| json!(text))),
            ("timestamp_format", self.settings.timestamp_format.as_ref().map(|text| json!(text))),
            ("max_record_bytes", self.settings.max_record_bytes.clone()),
        ];
        for (name, value) in further {
            settings.extend(value.map(|value| (name.to_owned(), value)));
        }
        let whole = self.request.scope == ReadScope::Whole;
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
            ..self.request.clone()
        }
    }
}

/// What is known while rows go by.
struct Shape {
    tracker: Option<(usize, Tracker)>,
    /// The number of the next row.
    row: i64,
}

impl Shape {
    fn new(_plan: &Plan) -> Shape {
        Shape { tracker: None, row: 1 }
    }

    /// Finds the cursor among the columns.
    fn columns(&mut self, plan: &Plan, schema: &SchemaRef) -> Result<()> {
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
        let ties = match plan.request.scope {
            ReadScope::New => Ties::Exact,
            _ if plan.settings.lookback.is_some() => Ties::Forgotten,
            _ => Ties::Saving,
        };
        // A key tells rows apart; that nothing of a row changed only all of its columns do.
        let key: &[String] = if ties == Ties::Exact { &plan.request.primary_key } else { &[] };
        let before = plan.position.cursor.clone();
        let tracker = Tracker::new(before, &plan.path, cursor, &names, key, ties, None);
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
        if column.null_count() == column.len() && plan.request.scope == ReadScope::Changed {
            return Ok((batch, None));
        }
        let values = Values::new(column, Order::Value, name).map_err(|error| match column.data_type() {
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
        if plan.request.scope == ReadScope::New {
            let before = plan.position.cursor.value.as_ref();
            for (row, keep) in keep.iter_mut().enumerate() {
                if values.array().is_null(row) {
                    bad.push((row, format!("the cursor `{name}` is NULL")));
                    *keep = false;
                } else if before.is_some_and(|before| values.get(row) < *before) {
                    // The API gave more than it was asked for: these were read before.
                    *keep = false;
                }
            }
        }
        let refused = match bad.is_empty() {
            true => None,
            false => Some(rejected(&batch, &bad, &plan.path, first)?),
        };
        let rows = filter_record_batch(&batch, &BooleanArray::from(keep))
            .or_error(ErrorKind::Internal, "rows that are not wanted could not be left out")?;
        Ok((rows, refused))
    }

    /// Where the next read begins.
    fn position(&mut self, plan: &Plan, types: Value) -> Result<Change> {
        let cursor = match self.tracker.take() {
            Some((_, tracker)) => tracker.finish(),
            None => TablePosition { from: plan.path.clone(), ..plan.position.cursor.clone() },
        };
        let types = if types.is_null() { plan.position.types.clone() } else { types };
        serde_json::to_value(RestPosition { cursor, types })
            .map(|value| Change::Position(Position(value)))
            .or_error(ErrorKind::Internal, "a position could not be written")
    }
}

/// Rejected rows with the endpoint in the place of the file.
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

/// A value that is smaller by what the format of a parameter can show.
fn step_back(value: &CursorValue) -> Result<CursorValue> {
    match value {
        CursorValue::Integer(_) | CursorValue::Decimal(..) | CursorValue::Date(_) => {
            value.behind(Lookback::Number(1))
        }
        _ => value.behind(Lookback::Time(1_000_000)),
    }
}

/// The value as the API wants it.
fn written(value: &CursorValue, incremental: &Incremental) -> Result<Value> {
    let format = incremental.format.as_deref();
    let micros = match value {
        CursorValue::Integer(number) => return Ok(json!(number)),
        CursorValue::Text(text) => return Ok(json!(text)),
        CursorValue::Decimal(number, scale) => {
            let scale = usize::try_from(*scale).unwrap_or(0);
            let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            let sign = if *number < 0 { "-" } else { "" };
            let point = if scale > 0 { "." } else { "" };
            return Ok(json!(format!("{sign}{whole}{point}{part}")));
        }
        CursorValue::Date(days) => i64::from(*days) * 86_400_000_000,
        CursorValue::Timestamp(micros) | CursorValue::Instant(micros) => *micros,
    };
    let time = DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::new(ErrorKind::Data, "the largest value of the cursor is no time"))?;
    let is_date = matches!(value, CursorValue::Date(_));
    Ok(match format {
        Some("date") => json!(time.format("%Y-%m-%d").to_string()),
        Some("unix") => json!(time.timestamp()),
        Some("unix_ms") => json!(time.timestamp_millis()),
        None | Some("iso8601") if is_date => json!(time.format("%Y-%m-%d").to_string()),
        None | Some("iso8601") => {
            let zone = if matches!(value, CursorValue::Instant(_)) { "Z" } else { "" };
            let part = match micros.rem_euclid(1_000_000) {
                0 => "",
                part if part % 1000 == 0 => "%.3f",
                _ => "%.6f",
            };
            json!(format!("{}{zone}", time.format(&format!("%Y-%m-%dT%H:%M:%S{part}"))))
        }
        Some(pattern) => {
            use std::fmt::Write as _;
            let mut text = String::new();
            if !pattern.contains('%') || write!(text, "{}", time.format(pattern)).is_err() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "`format: {pattern}` of `incremental` is none of iso8601, date, unix, unix_ms and no \
                         pattern such as `%Y-%m-%d`"
                    ),
                ));
            }
            json!(text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_api_wants_them() {
        let of = |format: &str| Incremental {
            param: "since".to_owned(),
            format: Some(format.to_owned()),
            start: None,
            exclusive: false,
            place: Place::Query,
        };
        let instant = CursorValue::Instant(1_704_067_200_123_000);
        for (value, format, expected) in [
            (instant.clone(), "iso8601", json!("2024-01-01T00:00:00.123Z")),
            (
                CursorValue::Timestamp(1_704_067_200_000_000),
                "iso8601",
                json!("2024-01-01T00:00:00"),
            ),
            (CursorValue::Date(19_723), "iso8601", json!("2024-01-01")),
            (CursorValue::Date(19_723), "unix", json!(1_704_067_200)),
            (instant.clone(), "date", json!("2024-01-01")),
            (instant.clone(), "unix_ms", json!(1_704_067_200_123_i64)),
            (instant.clone(), "%d.%m.%Y", json!("01.01.2024")),
            (CursorValue::Integer(-3), "iso8601", json!(-3)),
            (CursorValue::Decimal(-5, 2), "iso8601", json!("-0.05")),
        ] {
            assert_eq!(written(&value, &of(format)).unwrap(), expected, "{format}");
        }
        assert!(written(&instant, &of("rfc")).is_err());
        assert!(written(&instant, &of("%Q")).is_err());
        assert_eq!(
            step_back(&CursorValue::Instant(5_000_000)).unwrap(),
            CursorValue::Instant(4_000_000)
        );
    }
}
