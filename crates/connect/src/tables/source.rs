//! The read of a table: which query, which columns, what of it is new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use tidemill_core::{
    Change, ChangeStream, Error, ErrorKind, Notice, Position, PublishedPositions, ReadPart,
    ReadRange, ReadRequest, ReadScope, RelationName, Result, ResultExt, STORED_TYPE, Sibling,
    Source, TableDescription,
};

use super::convert::{convert, declared_field, rejected};
use super::cursor::{CursorValue, Order, TablePosition, Ties, Tracker, Values};
use super::{
    Column, Database, LogRequest, LogSibling, Misfit, Part, PublishedLogs, Select, Session,
    TableSettings,
};
use crate::files::ORIGINAL_NAME;
use crate::files::column_names;
use crate::stream::{Sink, of_work};

/// The name under which the cursor is asked for a second time, as the database compares it.
const CURSOR: &str = "_tidemill_cursor";

/// A database as a source.
pub(crate) struct DatabaseSource<D> {
    database: Arc<D>,
    /// The connection's name, for messages.
    name: String,
}

impl<D: Database> DatabaseSource<D> {
    pub(crate) fn new(database: D, name: String) -> Self {
        DatabaseSource { database: Arc::new(database), name }
    }
}

#[async_trait]
impl<D: Database> Source for DatabaseSource<D> {
    async fn ping(&self) -> Result<()> {
        self.database.ping().await.map_err(|error| error.with("connection", &self.name))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        self.database.tables().await.map_err(|error| error.with("connection", &self.name))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let prepared = self.database.prepare().await;
        prepared.map_err(|error| error.with("connection", &self.name))?;
        let settings = TableSettings::parse(&self.database.table_settings(&request.settings)?)?;
        let position = match request.scope {
            ReadScope::Whole => TablePosition::default(),
            ReadScope::New | ReadScope::Changed | ReadScope::Log => {
                TablePosition::parse(request.position.as_ref())?
            }
        };
        let plan = Plan::new(&*self.database, settings, &request, position)?;
        let (database, name) = (self.database.clone(), self.name.clone());
        Ok(of_work(move |sink| async move {
            let (reached, begun) = (AtomicBool::new(false), AtomicBool::new(false));
            let connection = name.clone();
            let read = Read { plan, request, connection, sink, reached, begun };
            read.run(&*database).await.map_err(|error| error.with("connection", name))
        }))
    }

    fn only_columns(&self, settings: &Value, columns: &[String]) -> Option<Value> {
        let mut settings = settings.as_object()?.clone();
        for key in ["exclude", "lookback"] {
            settings.remove(key);
        }
        settings.insert("columns".to_owned(), columns.into());
        Some(Value::Object(settings))
    }

    fn parts(
        &self,
        settings: &Value,
        position: &Position,
        range: &ReadRange,
    ) -> Result<Vec<ReadPart>> {
        super::parts::parts(&*self.database, settings, position, range)
    }

    fn has_log(&self) -> bool {
        self.database.has_log()
    }

    async fn acknowledge(&self, position: &Position) -> Result<()> {
        self.acknowledge_beside(position, &Alone(position.clone())).await.map(drop)
    }

    async fn acknowledge_beside(
        &self,
        position: &Position,
        published: &dyn PublishedPositions,
    ) -> Result<Vec<Notice>> {
        let Some(log) = TablePosition::parse(Some(position))?.log else { return Ok(Vec::new()) };
        let told = self.database.acknowledge(&log, &PublishedLogs(published)).await;
        told.map_err(|error| error.with("connection", &self.name))
    }

    async fn abandon(&self, name: &str, settings: &serde_json::Value) -> Result<()> {
        let Some(table) = table_of(&*self.database, name, settings) else { return Ok(()) };
        let done = self.database.abandon(&table).await;
        done.map_err(|error| error.with("connection", &self.name))
    }
}

/// One table is all that there is.
struct Alone(Position);

#[async_trait]
impl PublishedPositions for Alone {
    async fn positions(&self) -> Result<Vec<(RelationName, Position)>> {
        Ok(vec![(RelationName::new("", ""), self.0.clone())])
    }
}

/// The tables that are followed beside one, as their database knows them.
fn siblings<D: Database>(database: &D, request: &ReadRequest) -> Vec<LogSibling> {
    let sibling = |sibling: &Sibling| {
        let table = table_of(database, &sibling.name, &sibling.settings)?;
        let position = TablePosition::parse(sibling.position.as_ref()).ok()?;
        Some(LogSibling {
            settings: sibling.settings.clone(),
            position: position.log,
            is_read: sibling.is_read,
            table,
        })
    };
    // What is wrong with another one is said when that is read.
    request.siblings.iter().filter_map(sibling).collect()
}

/// The table that is read by these settings, in quotes; none for a query.
fn table_of<D: Database>(database: &D, name: &str, settings: &serde_json::Value) -> Option<String> {
    let settings = TableSettings::parse(&database.table_settings(settings).ok()?).ok()?;
    match (&settings.table, &settings.query) {
        (Some(table), _) => Some(database.table(table)),
        (None, None) => Some(database.quote(name)),
        (None, Some(_)) => None,
    }
}

/// What is asked for.
struct Plan {
    settings: TableSettings,
    /// What stands behind `from`.
    from: String,
    /// How the table is called in messages and positions.
    table: String,
    position: TablePosition,
    cursor: Option<String>,
}

impl Plan {
    fn new<D: Database>(
        database: &D,
        settings: TableSettings,
        request: &ReadRequest,
        position: TablePosition,
    ) -> Result<Plan> {
        let (from, table) = match (&settings.table, &settings.query) {
            (Some(table), _) => (database.table(table), table.clone()),
            (None, Some(query)) => {
                let query = query.trim().trim_end_matches(';');
                (database.subquery(query), query.to_owned())
            }
            (None, None) => (database.quote(&request.name), request.name.clone()),
        };
        let cursor = request.cursor.clone().filter(|_| request.scope != ReadScope::Whole);
        if request.scope == ReadScope::Log && position.log.is_none() && request.position.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "the last load did not follow the log of changes, so that its position says nothing \
                 about this one; load the table again with --full-refresh",
            ));
        }
        if cursor.is_none() && request.scope == ReadScope::New {
            return Err(Error::new(
                ErrorKind::Config,
                "`mode: append` of a table needs a `cursor`, the column that tells what is new (an \
                 id that grows, the time of the change); without one use `mode: full`, or `merge` \
                 with a `primary_key`",
            ));
        }
        if settings.lookback.is_some() {
            if cursor.is_none() {
                let message = "`lookback` needs a `cursor` and `mode: merge`";
                return Err(Error::new(ErrorKind::Config, message));
            }
            if request.scope == ReadScope::New {
                return Err(Error::new(
                    ErrorKind::Config,
                    "`lookback` reads rows again, which `mode: append` would double; use `mode: \
                     merge` with a `primary_key`",
                ));
            }
        }
        if (position.value.is_some() || position.log.is_some()) && position.from != table {
            return Err(Error::new(
                ErrorKind::Config,
                "the last load read another table or query, so that its position says nothing about \
                 this one; load it again with --full-refresh",
            )
            .with("last", &position.from)
            .with("now", &table));
        }
        Ok(Plan { settings, from, table, position, cursor })
    }

    /// What is read of the table.
    fn select<D: Database>(&self, database: &D, request: &ReadRequest) -> Result<Select> {
        let mut conditions = Vec::new();
        if let Some(condition) = &self.settings.condition {
            conditions.push(format!("({condition}\n)"));
        }
        if let (Some(cursor), Some(value)) = (&self.position.column, &self.position.value) {
            let value = match self.settings.lookback {
                Some(lookback) => value.behind(lookback)?,
                None => value.clone(),
            };
            let column = database.quote(cursor);
            let newer = format!("{column} >= {}", database.literal(&value));
            conditions.push(match request.scope {
                // Rows without a value are never newer: a merge takes them each time, an append
                // refuses them.
                ReadScope::Changed | ReadScope::New => format!("({newer} or {column} is null)"),
                ReadScope::Whole | ReadScope::Log => newer,
            });
        }
        let table = self.settings.query.is_none().then(|| self.from.clone());
        Ok(Select { from: self.from.clone(), table, conditions })
    }

    /// The columns that are wanted of those that there are.
    fn choose(&self, columns: &[Column], request: &ReadRequest) -> Result<Vec<Column>> {
        let names = Names::new(columns);
        let known = |setting: &str, name: &str| {
            names.find(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("`{setting}` names `{name}`, which the table does not have"),
                )
                .with("table", &self.table)
                .with("columns", names.written.join(", "))
            })
        };
        let all = |setting: &str, written: &[String]| {
            written.iter().map(|name| known(setting, name)).collect::<Result<Vec<usize>>>()
        };
        let excluded = all("exclude", &self.settings.exclude)?;
        let chosen = match &self.settings.columns {
            Some(written) => all("columns", written)?,
            None => (0..columns.len()).filter(|at| !excluded.contains(at)).collect(),
        };
        let cursor = all("cursor", self.cursor.as_slice())?;
        let key = all("primary_key", &request.primary_key)?;
        if let Some(at) = cursor.iter().chain(&key).find(|at| !chosen.contains(at)) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`{}` is in the key or the cursor of the load and must be among its `columns`",
                    columns[*at].name
                ),
            ));
        }
        if chosen.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no column is left of the table")
                .with("table", &self.table));
        }
        Ok(chosen.into_iter().map(|at| columns[at].clone()).collect())
    }

    /// The cursor's column among these.
    fn cursor_column(&self, columns: &[Column]) -> Result<Option<Column>> {
        let Some(written) = &self.cursor else { return Ok(None) };
        let column = Names::new(columns).find(written).map(|at| columns[at].clone());
        let last = self.position.column.as_deref();
        if self.position.value.is_some() && last != column.as_ref().map(|c| c.name.as_str()) {
            return Err(Error::new(
                ErrorKind::Config,
                "the last load had another `cursor`, so that its position says nothing about this \
                 one; load the table again with --full-refresh",
            )
            .with("last", last.unwrap_or("none"))
            .with("now", written));
        }
        Ok(column)
    }
}

/// Columns by the database's name, or by ours.
struct Names<'a> {
    written: Vec<&'a str>,
    ours: Vec<String>,
}

impl<'a> Names<'a> {
    fn new(columns: &'a [Column]) -> Self {
        let written: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        Names { ours: column_names(&written), written }
    }

    fn find(&self, name: &str) -> Option<usize> {
        let written = self.written.iter().position(|written| *written == name);
        written.or_else(|| self.ours.iter().position(|ours| ours == name))
    }
}

/// The names, as the database has them, of those that are written by its names or by ours; one that there
/// is not is left out.
pub(crate) fn column_of<'a>(
    columns: impl Iterator<Item = &'a str>,
    written: &[String],
) -> Vec<String> {
    let columns: Vec<&str> = columns.collect();
    let ours = column_names(&columns);
    let find = |name: &String| {
        let there = columns.iter().position(|column| column == name);
        there.or_else(|| ours.iter().position(|ours| ours == name)).map(|at| columns[at].to_owned())
    };
    written.iter().filter_map(find).collect()
}

/// One read.
struct Read {
    plan: Plan,
    request: ReadRequest,
    /// The connection's name.
    connection: String,
    sink: Sink,
    /// The database was reached.
    reached: AtomicBool,
    /// Columns were sent: what comes now stands in the place of what came before.
    begun: AtomicBool,
}

impl Read {
    /// Reads, from the beginning again when the database is lost meanwhile.
    async fn run<D: Database>(self, database: &D) -> Result<()> {
        let mut lost = None;
        let mut waits = database.patience().iter();
        loop {
            let error = match self.attempt(database, lost.as_ref()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // A system that cannot be reached at all is not waited for.
            if !error.kind().is_retryable() || !self.reached.load(Ordering::Relaxed) {
                return Err(error);
            }
            let Some(wait) = waits.next() else { return Err(error) };
            tracing::warn!(error = %error, table = self.plan.table, "the read begins again");
            tokio::select! {
                () = tokio::time::sleep(*wait) => {}
                () = self.request.cancel.cancelled() => {}
            }
            self.request.cancel.check()?;
            lost = Some(error);
        }
    }

    async fn attempt<D: Database>(&self, database: &D, lost: Option<&Error>) -> Result<()> {
        let Read { plan, request, sink, .. } = self;
        let superseded = TablePosition::parse(request.superseded.as_ref()).unwrap_or_default().log;
        let siblings = siblings(database, request);
        let mut session = match request.scope {
            ReadScope::Log => {
                database
                    .log_session(LogRequest {
                        connection: &self.connection,
                        siblings: &siblings,
                        settings: &request.settings,
                        key: &request.primary_key,
                        position: plan.position.log.as_ref(),
                        superseded: superseded.as_ref(),
                        every_change: request.every_change,
                        cancel: &request.cancel,
                        streams: request.parallelism,
                    })
                    .await?
            }
            _ => database.session(&request.cancel, request.parallelism).await?,
        };
        self.reached.store(true, Ordering::Relaxed);
        let select = plan.select(database, request)?;
        let described = session.columns(&select).await?;
        let notices = session.notices();
        let mut columns = plan.choose(&described, request)?;
        let cursor = match plan.cursor_column(&columns)? {
            Some(column) => Some(self.cursor(database, session.as_mut(), column, &select).await?),
            None => None,
        };
        self.take_declared(&mut columns, session.as_ref(), cursor.as_ref());
        if let Some(cursor) = &cursor
            && cursor.order == Order::Database
        {
            let known: Vec<&CursorValue> =
                cursor.largest.iter().chain(&plan.position.value).collect();
            columns.push(Column {
                name: CURSOR.to_owned(),
                data_type: DataType::Utf8,
                stored_type: None,
                order: Order::Database,
                expression: Some(database.as_cursor(&database.quote(&cursor.name), &known)),
            });
        }
        let mut shape = Shape::new(&columns, cursor.as_ref(), self)?;
        let schema = shape.schema.clone();
        sink.send(match self.begun.swap(true, Ordering::Relaxed) {
            false => Change::Schema(schema),
            true => Change::Restart(schema),
        })
        .await?;
        if let Some(lost) = lost {
            self.notice("read-again", format!("it was read again from the beginning: {lost}"))
                .await?;
        }
        for notice in notices {
            sink.send(Change::Notice(notice)).await?;
        }
        if request.scope != ReadScope::Log {
            let before = [&request.position, &request.superseded].into_iter().flatten();
            let log = before.filter_map(|before| TablePosition::parse(Some(before)).ok()?.log);
            for left in log.filter_map(|log| database.left_of_log(&log)) {
                self.notice("left-slot", left).await?;
            }
        }
        let mut parts = session.rows(&select, &columns, plan.settings.batch_rows).await?;
        let (mut row, mut without_cursor) = (1, 0u64);
        let mut truncated = false;
        while let Some(part) = parts.next().await {
            request.cancel.check()?;
            match part? {
                Part::Restart(columns) => {
                    (row, without_cursor) = (1, 0);
                    shape = Shape::new(&columns, cursor.as_ref(), self)?;
                    sink.send(Change::Restart(shape.schema.clone())).await?;
                    if truncated {
                        sink.send(Change::Truncated).await?;
                    }
                }
                Part::Truncated => {
                    truncated = true;
                    sink.send(Change::Truncated).await?;
                }
                Part::Rows(batch, misfits) => {
                    let rows = batch.num_rows();
                    let taken = shape.take(batch, misfits, row, self)?;
                    row += i64::try_from(rows).unwrap_or(i64::MAX);
                    without_cursor += taken.without_cursor;
                    for rejected in taken.rejected {
                        sink.send(Change::Rejected(rejected)).await?;
                    }
                    if taken.rows.num_rows() > 0 {
                        sink.send(Change::Rows(taken.rows)).await?;
                    }
                }
            }
        }
        drop(parts);
        if without_cursor > 0 && request.scope == ReadScope::Changed {
            let name = plan.cursor.as_deref().unwrap_or_default();
            self.notice(
                "null-cursor",
                format!(
                    "{without_cursor} rows have no value in the cursor `{name}`; they are read with \
                     every load"
                ),
            )
            .await?;
        }
        let position = match shape.tracker {
            Some(tracker) => tracker.finish(),
            None => TablePosition {
                from: plan.table.clone(),
                log: session.log_position(),
                ..TablePosition::default()
            },
        };
        sink.send(Change::Position(position.to_position()?)).await
    }

    async fn notice(&self, code: &str, message: String) -> Result<()> {
        let object = Some(self.plan.table.clone());
        self.sink.send(Change::Notice(Notice { code: code.to_owned(), message, object })).await
    }

    /// Columns whose declared type the database can give itself are read as that.
    fn take_declared(
        &self,
        columns: &mut [Column],
        session: &dyn Session,
        cursor: Option<&Cursor>,
    ) {
        let written: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        for (at, name) in column_names(&written).iter().enumerate() {
            let declared = self.request.declared.iter().find(|field| field.name() == name);
            let compared = cursor.is_some_and(|cursor| {
                cursor.order == Order::Value && cursor.name == columns[at].name
            });
            if let Some(declared) = declared
                && !compared
                && session.gives(&columns[at], declared.data_type())
            {
                columns[at].data_type = declared.data_type().clone();
            }
        }
    }

    /// The cursor's column, and its largest value where only the database can say it.
    async fn cursor<D: Database>(
        &self,
        database: &D,
        session: &mut dyn Session,
        column: Column,
        select: &Select,
    ) -> Result<Cursor> {
        let Column { name, order, .. } = column;
        let largest = match order {
            Order::Value => None,
            Order::Database => {
                let before = self.plan.position.value.as_ref();
                let sql = database.largest(&database.quote(&name), select, before);
                session.value(&sql).await?.map(CursorValue::Text)
            }
        };
        let before = self.plan.position.value.as_ref();
        let moved = match order {
            Order::Value => matches!(before, Some(CursorValue::Text(_))),
            Order::Database => before.is_some_and(|value| !matches!(value, CursorValue::Text(_))),
        };
        if moved {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the values of the cursor `{name}` are of another kind than in the last load, and \
                     cannot be compared with its position; load the table again with --full-refresh"
                ),
            )
            .with("table", &self.plan.table));
        }
        // Nothing is newer: the position stays.
        let largest = match (order, largest) {
            (Order::Database, None) => self.plan.position.value.clone(),
            (_, largest) => largest,
        };
        Ok(Cursor { name, order, largest })
    }
}

/// The cursor of a read.
struct Cursor {
    name: String,
    order: Order,
    largest: Option<CursorValue>,
}

/// How the database's batches become ours.
struct Shape {
    /// Names as we write them, and types as declared.
    schema: SchemaRef,
    /// The same with the types of the database.
    raw: SchemaRef,
    /// Where the cursor's values stand, and how they compare.
    cursor: Option<(usize, Order, String)>,
    /// Whether the last column is the cursor a second time.
    extra: bool,
    tracker: Option<Tracker>,
}

/// What came of a batch.
struct Taken {
    rows: RecordBatch,
    rejected: Vec<RecordBatch>,
    without_cursor: u64,
}

impl Shape {
    fn new(columns: &[Column], cursor: Option<&Cursor>, read: &Read) -> Result<Shape> {
        let extra = columns.last().is_some_and(|column| column.name == CURSOR);
        let ours = &columns[..columns.len() - usize::from(extra)];
        let written: Vec<&str> = ours.iter().map(|column| column.name.as_str()).collect();
        let names = column_names(&written);
        let mut raw = Vec::with_capacity(ours.len());
        let mut declared = Vec::with_capacity(ours.len());
        for (column, name) in ours.iter().zip(&names) {
            let original = (*name != column.name).then(|| (ORIGINAL_NAME, column.name.clone()));
            let stored_type = column.stored_type.map(|kind| (STORED_TYPE, kind.to_owned()));
            let said = original.into_iter().chain(stored_type);
            let field = Field::new(name, column.data_type.clone(), true)
                .with_metadata(said.map(|(key, value)| (key.to_owned(), value)).collect());
            declared.push(declared_field(&field, &read.request.declared)?);
            raw.push(field);
        }
        let (plan, request) = (&read.plan, &read.request);
        let cursor_at = cursor.map(|cursor| {
            let at = match extra {
                true => ours.len(),
                false => written.iter().position(|name| *name == cursor.name).unwrap_or(0),
            };
            (at, cursor.order, cursor.name.clone())
        });
        let tracker = cursor.map(|cursor| {
            let ties = match request.scope {
                ReadScope::New => Ties::Exact,
                _ if plan.settings.lookback.is_some() => Ties::Forgotten,
                _ => Ties::Saving,
            };
            // A key tells rows apart; that nothing of a row changed only all of its columns do.
            let key: &[String] = if ties == Ties::Exact { &request.primary_key } else { &[] };
            Tracker::new(
                plan.position.clone(),
                &plan.table,
                &cursor.name,
                &names,
                key,
                ties,
                cursor.largest.clone(),
            )
        });
        Ok(Shape {
            schema: Arc::new(Schema::new(declared)),
            raw: Arc::new(Schema::new(raw)),
            cursor: cursor_at,
            extra,
            tracker,
        })
    }

    fn take(
        &mut self,
        batch: RecordBatch,
        misfits: Vec<Misfit>,
        first_row: i64,
        read: &Read,
    ) -> Result<Taken> {
        let values = match &self.cursor {
            Some((at, order, name)) => Some(Values::new(batch.column(*at), *order, name)?),
            None => None,
        };
        let ours = batch.num_columns() - usize::from(self.extra);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        // What a log says of its rows goes with them.
        let of_batch = batch.schema();
        let control = &of_batch.fields()[self.raw.fields().len().min(ours)..ours];
        let with_control = |schema: &SchemaRef| match control.is_empty() {
            true => schema.clone(),
            false => Arc::new(Schema::new(
                schema.fields().iter().chain(control).cloned().collect::<Vec<_>>(),
            )),
        };
        let (raw, schema) = (with_control(&self.raw), with_control(&self.schema));
        let batch =
            RecordBatch::try_new_with_options(raw, batch.columns()[..ours].to_vec(), &options)
                .or_error(
                    ErrorKind::Internal,
                    "a batch does not have the columns that were described",
                )?;
        let mut keep = None;
        let mut without_cursor = 0;
        let mut bad: BTreeMap<usize, String> = BTreeMap::new();
        if let (Some(values), Some(tracker)) = (&values, &mut self.tracker) {
            keep = tracker.take(&batch, values)?;
            without_cursor = values.array().null_count() as u64;
            if let Some((_, _, name)) = &self.cursor
                && without_cursor > 0
                && read.request.scope == ReadScope::New
            {
                let rows = (0..batch.num_rows()).filter(|row| values.array().is_null(*row));
                bad.extend(rows.map(|row| (row, format!("the cursor `{name}` is NULL"))));
            }
        }
        for Misfit { row, reason } in misfits {
            // One that was read before was rejected before.
            if keep.as_ref().is_none_or(|keep| keep.value(row)) {
                bad.insert(row, reason);
            }
        }
        let mut refused = Vec::new();
        let mut kept = batch;
        if !bad.is_empty() {
            let rows: Vec<(usize, String)> = bad.into_iter().collect();
            refused.push(rejected(&kept, &rows, &read.plan.table, first_row)?);
            let mut good: Vec<bool> = match &keep {
                Some(keep) => keep.values().iter().collect(),
                None => vec![true; kept.num_rows()],
            };
            for (row, _) in rows {
                good[row] = false;
            }
            keep = Some(BooleanArray::from(good));
        }
        if let Some(keep) = &keep {
            kept = filter_record_batch(&kept, keep)
                .or_error(ErrorKind::Internal, "rows that are not wanted could not be left out")?;
        }
        let (rows, bad) = convert(&kept, &schema, &read.plan.table, first_row)?;
        refused.extend(bad);
        Ok(Taken { rows, rejected: refused, without_cursor })
    }
}
