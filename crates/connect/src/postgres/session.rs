//! One session: statements as they come, their rows as Arrow.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use tidemill_core::{
    Answer, BatchStream, Cancellation, DatabaseColumn, DatabaseRelation, DatabaseSession, Error,
    ErrorKind, RelationName, Result,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Connection, RowStream, SimpleQueryMessage};

use super::pool::Shared;
use super::statements::{Statement, split};
use super::types::{ColumnType, Encoding, Reading};
use super::{Decoder, PostgresConfig, catalog, copy, error};

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// How long a request to cancel may take.
pub(super) const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// A connection and the task that drives it.
pub(super) struct Connected {
    pub(super) client: Client,
    driver: tokio::task::JoinHandle<()>,
    /// Something in it is not as in a new one.
    dirty: AtomicBool,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connected {
    pub(super) fn new<S, T>(client: Client, connection: Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection has ended");
            }
        });
        Connected { client, driver, dirty: AtomicBool::new(false) }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// What every new connection begins with.
    pub(super) async fn prepare(&self, config: &PostgresConfig) -> Result<()> {
        let Some(role) = &config.role else { return Ok(()) };
        let role = role.replace('"', "\"\"");
        self.client
            .batch_execute(&format!("set role \"{role}\""))
            .await
            .map_err(|failed| error::of_statement(failed, "", 0))
    }

    /// Makes it as good as new.
    pub(super) async fn clean(&self, config: &PostgresConfig) -> Result<()> {
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let clean = "close all; reset all; discard temp; select pg_advisory_unlock_all()";
        self.client
            .batch_execute(clean)
            .await
            .map_err(|failed| error::of_statement(failed, clean, 0))?;
        self.prepare(config).await
    }
}

/// One session of the pool. Dropped, it gives its connection back, unless a transaction is open.
pub(super) struct Session {
    connected: Option<Connected>,
    shared: Arc<Shared>,
    cancel: Cancellation,
    in_transaction: AtomicBool,
    comment: Mutex<(Option<String>, bool)>,
    /// One thing after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connected) = self.connected.take() else { return };
        if !self.in_transaction() && !connected.is_closed() && !self.cancel.is_cancelled() {
            self.shared.give_back(connected);
        }
    }
}

impl Session {
    pub(super) fn new(connected: Connected, shared: Arc<Shared>, cancel: Cancellation) -> Self {
        Session {
            connected: Some(connected),
            shared,
            cancel,
            in_transaction: AtomicBool::new(false),
            comment: Mutex::new((None, false)),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    fn connected(&self) -> Result<&Connected> {
        self.connected
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the session was given back"))
    }

    pub(super) fn client(&self) -> Result<&Client> {
        Ok(&self.connected()?.client)
    }

    /// Waits for an answer. When the run is cancelled, the database is told to stop.
    pub(super) async fn wait<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.cancel.check()?;
        tokio::select! {
            answer = answer => answer,
            () = self.cancel.cancelled() => {
                let token = self.client()?.cancel_token();
                let told = token.cancel_query(self.shared.tls.clone());
                let _ = tokio::time::timeout(CANCEL_WAIT, told).await;
                Err(Error::new(ErrorKind::Cancelled, "cancelled"))
            }
        }
    }

    /// The text with the comment, and how many characters stand before it.
    fn commented(&self, sql: &str) -> (String, usize) {
        let comment = self.comment.lock().unwrap_or_else(PoisonError::into_inner);
        match &*comment {
            (None, _) => (sql.to_owned(), 0),
            (Some(comment), true) => {
                (format!("{}\n/* {comment} */", sql.trim_end().trim_end_matches(';')), 0)
            }
            (Some(comment), false) => {
                let before = format!("/* {comment} */\n");
                let shift = before.chars().count();
                (before + sql, shift)
            }
        }
    }

    /// Notes what statements do to the session.
    fn note(&self, statements: &[Statement<'_>]) {
        for statement in statements {
            if statement.begins() {
                self.in_transaction.store(true, Ordering::Relaxed);
            } else if statement.ends() {
                self.in_transaction.store(false, Ordering::Relaxed);
            }
            if !statement.leaves_session()
                && let Ok(connected) = self.connected()
            {
                connected.dirty.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Runs statements whose rows nobody wants; gives the rows concerned by the last.
    async fn run_plain(&self, sql: &str) -> Result<Option<u64>> {
        let (text, shift) = self.commented(sql);
        let messages = self
            .client()?
            .simple_query(&text)
            .await
            .map_err(|failed| error::of_statement(failed, sql, shift))?;
        Ok(messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        }))
    }

    /// The columns of a statement, and the statement that gives them decodable.
    async fn prepare(
        &self,
        statement: &Statement<'_>,
    ) -> Result<(tokio_postgres::Statement, Vec<(String, ColumnType)>, usize)> {
        let (text, shift) = self.commented(statement.text);
        let client = self.client()?;
        let failed = |failed| error::of_statement(failed, statement.text, shift);
        let prepared = client.prepare(&text).await.map_err(failed)?;
        let columns = columns_of(&prepared);
        if !columns.iter().any(|(_, column)| column.encoding == Encoding::AsText) {
            return Ok((prepared, columns, shift));
        }
        if !statement.is_query() {
            let of: Vec<&str> = columns
                .iter()
                .filter(|(_, column)| column.encoding == Encoding::AsText)
                .map(|(name, _)| name.as_str())
                .collect();
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the statement gives columns of types that are not read",
            )
            .with("columns", of.join(", "))
            .with("hint", "cast them to text"));
        }
        // PostgreSQL writes these values as text itself.
        let (aliases, selected): (Vec<String>, Vec<String>) = columns
            .iter()
            .enumerate()
            .map(|(number, (name, column))| {
                let alias = format!("c{number}");
                let name = catalog::quoted(name);
                let selected = match column.encoding {
                    Encoding::AsText => format!("{alias}::text as {name}"),
                    _ => format!("{alias} as {name}"),
                };
                (alias, selected)
            })
            .unzip();
        let (text, shift) = self.commented(&format!(
            "select {} from (\n{}\n) as shown({})",
            selected.join(", "),
            statement.text,
            aliases.join(", ")
        ));
        let prepared = client
            .prepare(&text)
            .await
            .map_err(|failed| error::of_statement(failed, &text, shift))?;
        Ok((prepared, columns, shift))
    }

    async fn rows(
        &self,
        statement: &Statement<'_>,
    ) -> Result<(RowStream, Vec<(String, ColumnType)>)> {
        let (prepared, columns, shift) = self.prepare(statement).await?;
        let none: [&(dyn ToSql + Sync); 0] = [];
        let rows = self
            .client()?
            .query_raw(&prepared, none)
            .await
            .map_err(|failed| error::of_statement(failed, statement.text, shift))?;
        Ok((rows, columns))
    }

    /// Runs one statement that may give rows.
    async fn run_asking(&self, statement: &Statement<'_>) -> Result<Answer> {
        let (rows, columns) = self.rows(statement).await?;
        let mut rows = Box::pin(rows);
        let schema = schema_of(&columns);
        let mut batches = Vec::new();
        if !columns.is_empty() {
            let mut stream = batches_of(rows, columns.clone(), schema, statement.text.to_owned());
            while let Some(batch) = stream.next().await {
                batches.push(batch?);
            }
            let count = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            return Ok(Answer {
                tag: tag(statement),
                rows: Some(count),
                columns: described(&columns),
                batches,
            });
        }
        while let Some(row) = rows.next().await {
            row.map_err(|failed| error::of_statement(failed, statement.text, 0))?;
        }
        Ok(Answer { tag: tag(statement), rows: rows.rows_affected(), ..Answer::default() })
    }

    async fn run_all(&self, sql: &str) -> Result<Answer> {
        let statements = split(sql);
        let Some(last) = statements.last() else { return Ok(Answer::default()) };
        if !last.may_give_rows() {
            let outcome = self.run_plain(sql).await;
            if outcome.is_ok() {
                self.note(&statements);
            }
            let rows = outcome?.filter(|_| counts(last));
            return Ok(Answer { tag: tag(last), rows, ..Answer::default() });
        }
        let before = &statements[..statements.len() - 1];
        let controls = statements.iter().any(|statement| statement.begins() || statement.ends());
        let together = !before.is_empty() && !self.in_transaction() && !controls;
        if together {
            self.run_plain("begin").await?;
        }
        let outcome = async {
            if let Some(behind) = before.last() {
                let end = behind.start + behind.text.chars().count();
                let text: String = sql.chars().take(end).collect();
                self.run_plain(&text).await?;
                self.note(before);
            }
            self.run_asking(last).await.map_err(|failed| moved(failed, last.start))
        }
        .await;
        if together {
            self.run_plain(if outcome.is_ok() { "commit" } else { "rollback" }).await?;
        }
        self.note(&statements[statements.len() - 1..]);
        outcome
    }
}

/// The place of an error in the whole text.
fn moved(failed: Error, by: usize) -> Error {
    if by == 0 {
        return failed;
    }
    let position = failed
        .context()
        .iter()
        .find(|(name, _)| *name == "position")
        .and_then(|(_, value)| value.parse::<usize>().ok());
    let Some(position) = position else { return failed };
    let mut again = Error::new(failed.kind(), failed.message());
    for (name, value) in failed.context() {
        again = match *name {
            "position" => again.with("position", position + by),
            name => again.with(name, value),
        };
    }
    again
}

/// A statement on the lock that stands for a relation.
fn claim(function: &str, relation: &RelationName) -> String {
    let name = format!("tidemill {relation}").replace('\'', "''");
    format!("select {function}(hashtextextended('{name}', 0))")
}

/// Whether a statement's count of rows means something.
fn counts(statement: &Statement<'_>) -> bool {
    let words = ["insert", "update", "delete", "merge", "copy", "select", "refresh"];
    statement.word.is_any(&words) || is_table_as(statement)
}

fn is_table_as(statement: &Statement<'_>) -> bool {
    statement.word.is_any(&["create"]) && {
        let mut words = statement
            .text
            .split_whitespace()
            .skip_while(|word| !word.eq_ignore_ascii_case("create"))
            .map(str::to_ascii_lowercase);
        let kind = words.find(|word| {
            !matches!(
                word.as_str(),
                "create"
                    | "temporary"
                    | "temp"
                    | "unlogged"
                    | "global"
                    | "local"
                    | "if"
                    | "not"
                    | "exists"
            )
        });
        kind.as_deref() == Some("table")
            && statement.text.split_whitespace().any(|word| word.eq_ignore_ascii_case("as"))
    }
}

/// PostgreSQL's word for what a statement did.
fn tag(statement: &Statement<'_>) -> String {
    let first = statement.word.upper();
    match first.as_str() {
        "WITH" | "VALUES" | "TABLE" | "" => "SELECT".to_owned(),
        "CREATE" if is_table_as(statement) => "SELECT".to_owned(),
        "CREATE" | "DROP" | "ALTER" => {
            const LEFT_OUT: &[&str] =
                &["OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "GLOBAL", "LOCAL"];
            let second = statement
                .text
                .split_whitespace()
                .map(str::to_ascii_uppercase)
                .skip_while(|word| *word != first)
                .skip(1)
                .find(|word| !LEFT_OUT.contains(&word.as_str()));
            match second.as_deref() {
                Some("MATERIALIZED") => format!("{first} MATERIALIZED VIEW"),
                Some(second) if second.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                    format!("{first} {second}")
                }
                _ => first,
            }
        }
        _ => first,
    }
}

fn columns_of(prepared: &tokio_postgres::Statement) -> Vec<(String, ColumnType)> {
    prepared
        .columns()
        .iter()
        .map(|column| {
            let kind = ColumnType::of(column.type_(), column.type_modifier(), Reading::Exact);
            (column.name().to_owned(), kind)
        })
        .collect()
}

fn described(columns: &[(String, ColumnType)]) -> Vec<DatabaseColumn> {
    columns
        .iter()
        .map(|(name, column)| DatabaseColumn {
            name: name.clone(),
            data_type: column.name.clone(),
            comment: None,
        })
        .collect()
}

fn schema_of(columns: &[(String, ColumnType)]) -> SchemaRef {
    let fields: Vec<_> = columns.iter().map(|(name, column)| column.field(name)).collect();
    Arc::new(Schema::new(fields))
}

/// A value in its binary form, of whatever type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The rows as batches.
fn batches_of(
    rows: impl futures::Stream<Item = std::result::Result<tokio_postgres::Row, tokio_postgres::Error>>
    + Send
    + 'static,
    columns: Vec<(String, ColumnType)>,
    schema: SchemaRef,
    sql: String,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send + Unpin + 'static {
    let chunks = rows.map_err(move |failed| error::of_statement(failed, &sql, 0));
    Box::pin(chunks.try_chunks(BATCH_ROWS).map(move |chunk| {
        let rows = chunk.map_err(|failed| failed.1)?;
        let mut decoders: Vec<Decoder> =
            columns.iter().map(|(_, column)| Decoder::new(&column.encoding)).collect();
        for row in &rows {
            for (index, decoder) in decoders.iter_mut().enumerate() {
                let value: Option<Raw<'_>> =
                    row.try_get(index).map_err(|failed| error::of_statement(failed, "", 0))?;
                decoder
                    .push(value.map(|raw| raw.0))
                    .map_err(|failed| failed.with("column", &columns[index].0))?;
            }
        }
        let arrays = decoders.iter_mut().map(Decoder::finish).collect();
        RecordBatch::try_new(schema.clone(), arrays).map_err(|failed| {
            Error::new(ErrorKind::Internal, "rows do not make a batch").because(failed)
        })
    }))
}

#[async_trait]
impl DatabaseSession for Session {
    async fn run(&self, sql: &str) -> Result<Answer> {
        let _turn = self.turn.lock().await;
        self.wait(self.run_all(sql)).await
    }

    async fn query(&self, sql: &str) -> Result<BatchStream> {
        let _turn = self.turn.lock().await;
        self.wait(async {
            let statements = split(sql);
            let [statement] = statements.as_slice() else {
                return Err(Error::new(ErrorKind::Query, "one query is needed here"));
            };
            let (rows, columns) = self.rows(statement).await?;
            let schema = schema_of(&columns);
            let batches = batches_of(rows, columns, schema.clone(), statement.text.to_owned());
            Ok(BatchStream::new(schema, batches))
        })
        .await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<DatabaseColumn>> {
        let _turn = self.turn.lock().await;
        self.wait(async {
            let prepared = self
                .client()?
                .prepare(sql)
                .await
                .map_err(|failed| error::of_statement(failed, sql, 0))?;
            Ok(described(&columns_of(&prepared)))
        })
        .await
    }

    async fn begin(&self) -> Result<()> {
        if self.in_transaction() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        self.wait(self.run_plain("begin")).await?;
        self.in_transaction.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn commit(&self) -> Result<()> {
        if !self.in_transaction() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        self.wait(self.run_plain("commit")).await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn rollback(&self) -> Result<()> {
        if !self.in_transaction() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        // Also of a run that was cancelled.
        let rolled_back = self.run_plain("rollback");
        match tokio::time::timeout(CANCEL_WAIT, rolled_back).await {
            Ok(outcome) => outcome?,
            // The connection is not given back, which ends the transaction.
            Err(_) => return Ok(()),
        };
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn claim(&self, relation: &RelationName) -> Result<()> {
        let _turn = self.turn.lock().await;
        let sql = claim("pg_advisory_lock", relation);
        self.wait(self.run_plain(&sql)).await.map(drop)
    }

    async fn release(&self, relation: &RelationName) -> Result<()> {
        let _turn = self.turn.lock().await;
        let sql = claim("pg_advisory_unlock", relation);
        let released = self.run_plain(&sql);
        match tokio::time::timeout(CANCEL_WAIT, released).await {
            Ok(outcome) => outcome.map(drop),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the connection does not answer")),
        }
    }

    fn in_transaction(&self) -> bool {
        self.in_transaction.load(Ordering::Relaxed)
    }

    fn comment(&self, text: Option<String>, after: bool) {
        let text = text.map(|text| text.replace("*/", "* /"));
        *self.comment.lock().unwrap_or_else(PoisonError::into_inner) = (text, after);
    }

    async fn relation(&self, relation: &RelationName) -> Result<Option<DatabaseRelation>> {
        let _turn = self.turn.lock().await;
        self.wait(catalog::relation(self.client()?, relation)).await
    }

    async fn relations(&self, schema: &str) -> Result<Vec<(RelationName, DatabaseRelation)>> {
        let _turn = self.turn.lock().await;
        self.wait(catalog::relations(self.client()?, schema)).await
    }

    async fn schemas(&self) -> Result<Vec<String>> {
        let _turn = self.turn.lock().await;
        self.wait(catalog::schemas(self.client()?)).await
    }

    async fn columns(&self, relation: &RelationName) -> Result<Option<Vec<DatabaseColumn>>> {
        let _turn = self.turn.lock().await;
        self.wait(catalog::columns(self.client()?, relation)).await
    }

    async fn load(
        &self,
        relation: &RelationName,
        columns: &[String],
        rows: BatchStream,
    ) -> Result<u64> {
        let _turn = self.turn.lock().await;
        self.wait(copy::load(self.client()?, relation, columns, rows)).await
    }
}
