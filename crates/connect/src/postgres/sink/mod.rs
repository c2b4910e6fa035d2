//! PostgreSQL as a sink: a state of a relation becomes rows of a table, in one transaction.
//!
//! The rows come by `COPY` into a table beside the target, keys are looked at there, and one statement
//! for each kind of change brings them in, or the table takes the target's place. The record of the
//! delivery is a row of `tidemill_deliveries` in the target's schema, written in the same
//! transaction: when the answer to the commit is lost, that row tells what became of it.

pub(crate) mod columns;
mod statements;
mod swap;
pub(crate) mod target;
mod write;

use std::future::Future;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use async_trait::async_trait;
use futures::FutureExt;
use serde::Deserialize;
use tidemill_core::{
    BatchStream, Delivered, Delivery, DeliveryMode, Error, ErrorKind, Result, Sink,
};
use tokio_postgres::Client;

use super::pool::Postgres;
use super::session::Connected;
use super::source::Place;
use super::{catalog, error};
use crate::delivery::{check_key, explained, settle};
use crate::failpoint::failpoint;
pub(crate) use columns::Form;
use statements::{Names, STAGE, Written};
use target::Target;
use write::Column;
pub(crate) use write::array_text;

/// A PostgreSQL that rows are written to.
pub(super) struct PostgresSink {
    pub(super) place: Place,
    /// The connection's name, for messages.
    pub(super) name: String,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    table: String,
}

/// Texts mean the same whatever the database's settings are.
const BEGIN: &str = "begin; set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'; \
    set local intervalstyle = 'postgres'; set local idle_in_transaction_session_timeout = 0";

/// The connection of one delivery.
struct Writer {
    postgres: Arc<Postgres>,
    connected: Connected,
    delivery: Delivery,
}

#[async_trait]
impl Sink for PostgresSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let writer = self.writer(delivery).await?;
            writer.stopped_by_cancel(writer.is_delivered()).await
        };
        asked.await.map_err(|error| error.with("connection", &self.name))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let writer = self.writer(delivery).await?;
            let (delivered, names) = writer.stopped_by_cancel(writer.work(rows)).await?;
            let Some(names) = names else { return Ok(delivered) };
            // From here on it is not stopped: the end is soon and has to be known.
            match writer.commit().await {
                Ok(()) => Ok(delivered),
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Io) => {
                    drop(writer);
                    self.settle(delivery, &names, error).await.map(|()| delivered)
                }
                Err(error) => Err(error),
            }
        };
        delivered.await.map_err(|error| error.with("connection", &self.name))
    }
}

impl PostgresSink {
    async fn writer(&self, delivery: &Delivery) -> Result<Writer> {
        let postgres = Arc::new(self.place.open().await?);
        let connected = postgres.connection().await?;
        Ok(Writer { postgres, connected, delivery: delivery.clone() })
    }

    /// The answer to a commit did not come: the record tells whether it was done. Its lock is held by
    /// the old session until that has ended, so that what is read then stays true.
    async fn settle(&self, delivery: &Delivery, names: &Names, lost: Error) -> Result<()> {
        settle("PostgreSQL", lost, || self.has_record(delivery, names).boxed()).await
    }

    /// Whether the record of this very run is there.
    async fn has_record(&self, delivery: &Delivery, names: &Names) -> Result<bool> {
        let writer = self.writer(delivery).await?;
        writer.run("begin").await?;
        writer.lock(names).await?;
        let sql = format!(
            "select 'delivered' from {} where export = $1 and state = $2 and run = $3",
            names.records
        );
        let run = delivery.run.to_string();
        let found = writer.text(&sql, &[&delivery.export, &delivery.state, &run]).await?;
        writer.run("rollback").await?;
        Ok(found.is_some())
    }
}

impl Writer {
    async fn stopped_by_cancel<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.delivery.cancel.check()?;
        tokio::select! {
            done = work => done,
            () = self.delivery.cancel.cancelled() => {
                self.postgres.stop(&self.connected).await;
                Err(Error::new(ErrorKind::Cancelled, "cancelled"))
            }
        }
    }

    fn client(&self) -> &Client {
        &self.connected.client
    }

    async fn run(&self, sql: &str) -> Result<()> {
        self.client().batch_execute(sql).await.map_err(|failed| error::of_statement(failed, sql, 0))
    }

    async fn count(&self, sql: &str) -> Result<u64> {
        self.client()
            .execute_typed(sql, &[])
            .await
            .map_err(|failed| error::of_statement(failed, sql, 0))
    }

    /// The first text of a query with texts as parameters.
    async fn text(&self, sql: &str, given: &[&str]) -> Result<Option<String>> {
        let rows = catalog::ask(self.client(), sql, given).await?;
        match rows.first() {
            Some(row) => row.try_get(0).map_err(error::of_connection),
            None => Ok(None),
        }
    }

    /// Whether there is a relation of this name.
    async fn exists(&self, name: &str) -> Result<bool> {
        let found = self.text("select pg_catalog.to_regclass($1)::text", &[name]).await?;
        Ok(found.is_some())
    }

    async fn names(&self) -> Result<Names> {
        let to = serde_json::Value::Object(self.delivery.to.clone());
        let To { table } = serde_json::from_value(to).map_err(|wrong| {
            Error::new(ErrorKind::Config, format!("`to` of the export: {wrong}"))
                .with("help", "to: {connection: …, table: schema.name}")
        })?;
        let parts = super::source::name_parts(&table);
        let (schema, table) = match parts.as_slice() {
            [table] => {
                let schema = self.text("select current_schema()::text", &[]).await?;
                let missing = || {
                    Error::new(ErrorKind::Config, "the connection has no schema to write to")
                        .with("help", "write the table with its schema: `table: schema.name`")
                };
                (schema.ok_or_else(missing)?, table.clone())
            }
            [schema, table] => (schema.clone(), table.clone()),
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`{table}` is not a table; write `schema.name`"),
                ));
            }
        };
        Ok(Names::new(&schema, &table))
    }

    /// One delivery of an export at once, until the end of the transaction; the next one sees its
    /// record.
    async fn lock(&self, names: &Names) -> Result<()> {
        let lock = "select pg_advisory_xact_lock(hashtextextended('tidemill ' || $1, 0))::text";
        self.text(lock, &[&format!("{} {}", names.records, self.delivery.export)]).await?;
        Ok(())
    }

    async fn is_delivered(&self) -> Result<bool> {
        let names = self.names().await?;
        if self.delivery.again || !self.exists(&names.records).await? {
            return Ok(false);
        }
        let Delivery { export, relation, state, mode, .. } = &self.delivery;
        let sql = format!(
            "select 'delivered' from {} where export = $1 and relation = $2 and state = $3 and \
             mode = $4 and target = $5",
            names.records
        );
        let (relation, mode) = (relation.to_string(), mode.record());
        let same = [export, &relation, state, &mode, &names.target];
        let found = self.text(&sql, &same.map(String::as_str)).await?;
        // What somebody dropped is delivered again.
        Ok(found.is_some() && self.exists(&names.target).await?)
    }

    /// Does everything but the commit; there are names where something is to be committed.
    async fn work(&self, rows: BatchStream) -> Result<(Delivered, Option<Names>)> {
        let names = self.names().await?;
        self.run(BEGIN).await?;
        if !self.exists(&names.records).await? {
            let lock = "select pg_advisory_xact_lock(hashtextextended('tidemill ' || $1, 0))::text";
            self.text(lock, &[&names.records]).await?;
            self.run(&names.make_records()).await?;
        }
        self.lock(&names).await?;
        if self.is_delivered().await? {
            self.run("rollback").await?;
            return Ok((Delivered { nothing_new: true, ..Delivered::default() }, None));
        }
        failpoint!("export.begun");
        let delivered = self.write(&names, rows).await?;
        failpoint!("export.changed");
        let Delivery { export, relation, state, mode, run, .. } = &self.delivery;
        let (relation, mode) = (relation.to_string(), mode.record());
        let (rows, run) = (delivered.rows.to_string(), run.to_string());
        let given = [export, &relation, state, &mode, &names.target, &rows, &run];
        self.text(&names.record(), &given.map(String::as_str)).await?;
        failpoint!("export.before-commit");
        Ok((delivered, Some(names)))
    }

    async fn commit(&self) -> Result<()> {
        self.run("commit").await?;
        failpoint!("export.after-commit");
        Ok(())
    }

    /// Brings the rows in.
    async fn write(&self, names: &Names, rows: BatchStream) -> Result<Delivered> {
        let schema = rows.schema.clone();
        check_key(&self.delivery, &schema)?;
        let target = Target::find(self.client(), names).await?;
        let added = match &target {
            Some(target) => target.check(&schema, &self.delivery, names)?,
            None => Vec::new(),
        };
        let written = self.write_to(names, target.as_ref(), &added, rows).await;
        written.map_err(|error| match &target {
            Some(target) => explained(error, &names.target, &target.required(&schema)),
            None => error,
        })
    }

    /// The same, into a target that is known; `added` are the columns that it does not have yet.
    async fn write_to(
        &self,
        names: &Names,
        target: Option<&Target>,
        added: &[FieldRef],
        rows: BatchStream,
    ) -> Result<Delivered> {
        let schema = rows.schema.clone();
        let key = self.delivery.mode.key();
        let in_target = |name: &str| target.and_then(|target| target.column(name));
        let columns: Vec<Column> = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                form: Form::of(field.data_type(), in_target(field.name())),
            })
            .collect();
        let swaps = self.delivery.mode == DeliveryMode::Full
            && target.is_none_or(|target| target.kept_by.is_none());
        if swaps {
            return self.swap(names, target.is_some(), added, &columns, rows).await;
        }
        if let Some(why) = target.and_then(|target| target.kept_by.as_deref()) {
            tracing::debug!(why, "rows are deleted and inserted, as the table itself stays");
        }
        self.run(&statements::stage(names, target.is_some(), &schema, added)?).await?;
        let mut delivered = Delivered {
            rows: write::copy(self.client(), STAGE, &columns, key, rows).await?,
            ..Delivered::default()
        };
        failpoint!("export.copied");
        if !key.is_empty() {
            self.check_keys(key).await?;
            self.run(&format!("analyze {STAGE}")).await?;
        }
        if target.is_none() {
            self.run(&statements::create(&names.target, key, &schema)?).await?;
        }
        if !added.is_empty() {
            // Not earlier, as nobody reads the table from here on until the commit.
            self.run(&columns::add(&names.target, added)?).await?;
            failpoint!("export.columns-added");
        }
        let by_text = |name: &str| {
            in_target(name)
                .is_some_and(|column| matches!(column.base.as_str(), "json" | "xml" | "citext"))
        };
        let columns: Vec<Written> = columns
            .into_iter()
            .map(|column| Written { by_text: by_text(&column.name), name: column.name })
            .collect();
        match &self.delivery.mode {
            DeliveryMode::Full => {
                // Readers see what was there until the end.
                delivered.deleted = self.count(&format!("delete from {}", names.target)).await?;
                delivered.inserted = self.count(&statements::insert(names, &columns, "")).await?;
            }
            DeliveryMode::Append { key } => {
                let conflict = statements::on_conflict(key, &[]);
                let sql = statements::insert(names, &columns, &conflict);
                delivered.inserted = self.count(&sql).await?;
            }
            DeliveryMode::Merge { key, deletes } => {
                if *deletes {
                    delivered.deleted = self.count(&statements::delete(names, key)).await?;
                }
                let changed = statements::count_changed(names, key, &columns);
                let changed = self.text(&changed, &[]).await?;
                delivered.updated = changed.and_then(|text| text.parse().ok()).unwrap_or(0);
                let conflict = statements::on_conflict(key, &columns);
                let sql = statements::insert(names, &columns, &conflict);
                delivered.inserted = self.count(&sql).await?.saturating_sub(delivered.updated);
            }
        }
        Ok(delivered)
    }

    /// Writes the rows to a table that takes the target's place.
    async fn swap(
        &self,
        names: &Names,
        there: bool,
        added: &[FieldRef],
        columns: &[Column],
        rows: BatchStream,
    ) -> Result<Delivered> {
        let next = names.next();
        if there {
            self.run(&swap::begin(names)).await?;
            if !added.is_empty() {
                self.run(&columns::add(&next, added)?).await?;
                failpoint!("export.columns-added");
            }
        } else {
            self.run(&format!("drop table if exists {next}")).await?;
            self.run(&statements::create(&next, &[], &rows.schema)?).await?;
        }
        let rows = write::copy(self.client(), &next, columns, &[], rows).await?;
        failpoint!("export.copied");
        if there {
            for sql in swap::end(self.client(), names).await? {
                self.run(&sql).await?;
            }
        } else {
            self.run(&names.rename()).await?;
        }
        Ok(Delivered { rows, inserted: rows, ..Delivered::default() })
    }

    /// A key that is NULL or comes twice is an error before anything is changed.
    async fn check_keys(&self, key: &[String]) -> Result<()> {
        let quoted: Vec<String> = key.iter().map(|name| catalog::quoted(name)).collect();
        let nulls: Vec<String> = quoted.iter().map(|name| format!("{name} is null")).collect();
        let sql = format!("select count(*)::text from {STAGE} where {}", nulls.join(" or "));
        let nulls = self.text(&sql, &[]).await?.unwrap_or_default();
        let list = quoted.join(", ");
        let sql = format!(
            "select row({list})::text from {STAGE} group by {list} having count(*) > 1 limit 1"
        );
        let twice = self.text(&sql, &[]).await?;
        let wrong = match (nulls.as_str(), twice) {
            ("0", None) => return Ok(()),
            ("0", Some(key)) => format!("the key {key} comes more than once"),
            ("1", _) => "1 row has NULL in its key".to_owned(),
            (rows, _) => format!("{rows} rows have NULL in their key"),
        };
        Err(Error::new(ErrorKind::Data, wrong)
            .with("primary_key", key.join(", "))
            .with("relation", &self.delivery.relation))
    }
}
