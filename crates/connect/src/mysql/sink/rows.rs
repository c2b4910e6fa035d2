//! How the rows of a delivery come in.

use arrow::datatypes::{FieldRef, Schema};
use futures::StreamExt;
use mysql_async::prelude::Queryable;
use tidemill_core::{BatchStream, Delivered, DeliveryMode, Error, ErrorKind, Result};

use super::columns::{add, definition, exact};
use super::target::Target;
use super::{End, Writer, of_rows};
use crate::delivery::{check_key, explained, wrong_keys};
use crate::failpoint::failpoint;
use crate::insert::{Constants, Statements};
use crate::mysql::error::failure;
use crate::mysql::quoted;

/// The table that rows come into before they are brought into a target that stays.
const STAGE: &str = "`tidemill_stage`";

/// How large a statement is, at most.
const STATEMENT: usize = 1 << 20;

impl Writer<'_> {
    /// Brings the rows in: into the next table, or in a transaction that is open then.
    pub(super) async fn write(&mut self, rows: BatchStream) -> Result<(Delivered, End)> {
        let schema = rows.schema.clone();
        let names = self.names.clone();
        let mode = self.delivery.mode.clone();
        check_key(self.delivery, &schema)?;
        let Some(mut target) = Target::find(&mut self.connection, &names).await? else {
            return self.next(rows, &[]).await;
        };
        let added = target.check(&schema, self.delivery, &names)?;
        let required = target.required(&schema);
        let written = if mode == DeliveryMode::Full && target.kept_by.is_none() {
            self.next(rows, &added).await
        } else {
            target.check_engine(&names)?;
            if !added.is_empty() {
                // That is a transaction of its own; what is added stays, without values, when the rest fails.
                self.add_columns(&names.target, &added).await?;
                target = Target::find(&mut self.connection, &names).await?.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("{} is gone", names.target))
                })?;
            }
            self.write_to(&target, rows).await
        };
        written.map_err(|error| explained(error, &names.target, &required))
    }

    /// Brings the rows into a table that stays, in a transaction that is open then.
    async fn write_to(&mut self, target: &Target, rows: BatchStream) -> Result<(Delivered, End)> {
        let schema = rows.schema.clone();
        let names = self.names.clone();
        let mode = self.delivery.mode.clone();
        let key = mode.key();
        if let Some(why) = target.kept_by {
            tracing::debug!(why, "rows are deleted and inserted, as the table itself stays");
        }
        if key.is_empty() {
            self.run("start transaction").await?;
            let mut delivered = Delivered::default();
            if mode == DeliveryMode::Full {
                delivered.deleted = self.count(&format!("delete from {}", names.target)).await?;
            }
            delivered.rows = self.insert(&names.target, rows).await?;
            delivered.inserted = delivered.rows;
            failpoint!("export.copied");
            return Ok((delivered, End::Commit));
        }
        let definitions: Vec<String> = schema
            .fields()
            .iter()
            .filter_map(|field| Some(target.column(field.name())?.definition()))
            .collect();
        let by = list(key);
        let sql = format!(
            "create temporary table {STAGE} ({}, index tidemill_key ({by})) engine = InnoDB",
            definitions.join(", ")
        );
        self.connection.query_drop(&sql).await.map_err(|error| failure(error, &sql))?;
        self.run("start transaction").await?;
        let mut delivered =
            Delivered { rows: self.insert(STAGE, rows).await?, ..Delivered::default() };
        failpoint!("export.copied");
        self.check_keys(STAGE, key).await?;
        self.merge(target, &schema, &mut delivered).await?;
        Ok((delivered, End::Commit))
    }

    /// Brings the rows of the stage in.
    async fn merge(
        &mut self,
        target: &Target,
        schema: &Schema,
        delivered: &mut Delivered,
    ) -> Result<()> {
        let (names, mode) = (self.names.clone(), self.delivery.mode.clone());
        let key = mode.key();
        let same: Vec<String> =
            key.iter().map(|name| format!("s.{0} = t.{0}", quoted(name))).collect();
        let same = same.join(" and ");
        let first = quoted(key.first().map_or("", String::as_str));
        if let DeliveryMode::Merge { deletes: true, .. } = mode {
            let sql = format!(
                "delete t from {} as t left join {STAGE} as s on {same} where s.{first} is null",
                names.target
            );
            delivered.deleted = self.count(&sql).await?;
        }
        let all: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let others: Vec<&str> =
            all.iter().copied().filter(|name| !key.iter().any(|key| key == name)).collect();
        if matches!(mode, DeliveryMode::Merge { .. }) && !others.is_empty() {
            let set: Vec<String> =
                others.iter().map(|name| format!("t.{0} = s.{0}", quoted(name))).collect();
            // What a collation takes for equal is not.
            let equal = others.iter().map(|name| match target.column(name) {
                Some(column) if column.is_text() => {
                    format!("cast(t.{0} as binary) <=> cast(s.{0} as binary)", quoted(name))
                }
                _ => format!("t.{0} <=> s.{0}", quoted(name)),
            });
            let sql = format!(
                "update {} as t join {STAGE} as s on {same} set {} where not ({})",
                names.target,
                set.join(", "),
                equal.collect::<Vec<_>>().join(" and ")
            );
            delivered.updated = self.count(&sql).await?;
        }
        let columns = all.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let of_stage = all.iter().map(|name| format!("s.{}", quoted(name))).collect::<Vec<_>>();
        let sql = format!(
            "insert into {0} ({columns}) select {1} from {STAGE} as s left join {0} as t on {same} where t.{first} is null",
            names.target,
            of_stage.join(", ")
        );
        delivered.inserted = self.count(&sql).await?;
        Ok(())
    }

    /// Writes the rows to a table that takes the target's place.
    async fn next(&mut self, rows: BatchStream, added: &[FieldRef]) -> Result<(Delivered, End)> {
        let names = self.names.clone();
        let there = self.exists(&names.target).await?;
        let key = self.delivery.mode.key().to_vec();
        let sql = match there {
            true => format!("create table {} like {}", names.next, names.target),
            false => {
                let definitions: Vec<String> = rows
                    .schema
                    .fields()
                    .iter()
                    .map(|field| definition(field, &key))
                    .collect::<Result<_>>()?;
                format!(
                    "create table {} ({}) engine = InnoDB character set utf8mb4 collate {}",
                    names.next,
                    definitions.join(", "),
                    exact(self.maria)
                )
            }
        };
        self.run(&sql).await?;
        if !added.is_empty() {
            self.add_columns(&names.next, added).await?;
        }
        self.run("start transaction").await?;
        let written = self.insert(&names.next, rows).await?;
        failpoint!("export.copied");
        if !key.is_empty() {
            self.check_keys(&names.next, &key).await?;
            self.run("commit").await?;
            self.run(&format!("alter table {} add primary key ({})", names.next, list(&key)))
                .await?;
        }
        let delivered = Delivered { rows: written, inserted: written, ..Delivered::default() };
        Ok((delivered, End::Swap { there }))
    }

    async fn add_columns(&mut self, table: &str, added: &[FieldRef]) -> Result<()> {
        let sql = add(table, added, Some(exact(self.maria)))?;
        self.run(&sql).await?;
        failpoint!("export.columns-added");
        Ok(())
    }

    /// Adds the rows to a table; gives their number.
    async fn insert(&mut self, table: &str, mut rows: BatchStream) -> Result<u64> {
        let sql = "select @@max_allowed_packet";
        let limit: Option<u64> =
            self.connection.query_first(sql).await.map_err(|error| failure(error, sql))?;
        let limit = usize::try_from(limit.unwrap_or(0) / 2).unwrap_or(STATEMENT).min(STATEMENT);
        let columns: Vec<String> =
            rows.schema.fields().iter().map(|field| quoted(field.name())).collect();
        let key = self.delivery.mode.key();
        let mut statements = Statements::new(Constants::Escaped, table, &columns, key, limit);
        let mut count = 0;
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            for sql in statements.of(&batch)? {
                self.connection.query_drop(sql).await.map_err(of_rows)?;
            }
            count += batch.num_rows() as u64;
        }
        Ok(count)
    }

    /// A key that is NULL or comes twice is an error before anything is changed.
    async fn check_keys(&mut self, table: &str, key: &[String]) -> Result<()> {
        let quoted: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        let nulls: Vec<String> = quoted.iter().map(|name| format!("{name} is null")).collect();
        let sql = format!("select count(*) from {table} where {}", nulls.join(" or "));
        let nulls: Option<u64> =
            self.connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        let list = quoted.join(", ");
        let sql = format!(
            "select concat_ws(', ', {list}) from {table} group by {list} having count(*) > 1 limit 1"
        );
        let twice: Option<String> =
            self.connection.query_first(&sql).await.map_err(|error| failure(error, &sql))?;
        wrong_keys(nulls.unwrap_or(0), twice, key, self.delivery)
    }
}

/// Names in quotes.
fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}
