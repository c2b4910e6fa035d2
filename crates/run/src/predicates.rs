//! Increments with conditions of their own (`incremental_predicates`): which rows of the table may be
//! touched, beside those with the same key.
//!
//! What dbt writes as `merge` or as `delete` and `insert` is one query here, over the table and the
//! new rows (which are staged first, as dbt's temporary table): it gives the rows that take the place
//! of others. Only the files that hold such rows are written again ([`crate::by_file`]).

use std::sync::Arc;

use futures::StreamExt;
use tidemill_core::arrow_schema::Schema;
use tidemill_core::{
    Error, ErrorKind, FILE, OverlayEntry, PublishedRelation, QueryContext, RelationName, Result,
    RewriteByFile, Staged, WriteMode, display_value,
};
use tidemill_plan::{Increment, MaterializationConfig, WorkNode};

use crate::by_file;
use crate::executor::Shared;

/// Whether an increment is done here.
pub(crate) fn applies(config: &MaterializationConfig, increment: &Increment) -> bool {
    let extras = config.merge.any();
    match increment {
        Increment::Merge { .. } => extras || !config.predicates.is_empty(),
        Increment::DeleteInsert { .. } => !config.predicates.is_empty(),
        _ => false,
    }
}

/// Stages an increment whose new rows are given by a query in the table's columns (`columns`: their
/// names, those that are new last).
#[expect(clippy::too_many_arguments, reason = "everything that one increment is made of")]
pub(crate) async fn stage(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    increment: &Increment,
    sql: &str,
    columns: &[String],
    published: &PublishedRelation,
    context: &QueryContext,
) -> Result<Staged> {
    let relation = &node.relation;
    let hidden = RelationName::new(relation.schema(), format!("{}__dbt_tmp", relation.name()));
    let rows = shared.doers.engine.query(sql, context).await?;
    let place = WorkNode { relation: hidden, comments: Vec::new(), ..node.clone() };
    let new = shared.stage(&place, WriteMode::Replace, &[], rows, &context.snapshot).await?;
    let new = Arc::new(new);
    let staged = async {
        let entry = OverlayEntry::Staged(new.clone());
        let overlay = context.overlay.with(new.relation.clone(), entry);
        let context = QueryContext { overlay, ..context.clone() };
        let statement = Statement {
            target: relation.quoted(),
            source: new.relation.quoted(),
            schema: &published.schema,
            columns,
            config,
        };
        if let Increment::Merge { key, .. } = increment {
            refuse_twice(shared, &statement, &statement.spelled(key), &context).await?;
        }
        let engine = &*shared.doers.engine;
        let change = statement.by_file(increment, relation)?;
        let store = &*shared.doers.store;
        let (mode, rows) =
            match by_file::touched(engine, store, relation, &change, &context).await? {
                Some(touched) => (
                    WriteMode::ReplaceFiles { files: touched.files },
                    engine.query(&change.rows, &touched.context).await?,
                ),
                None => {
                    let query = statement.query(increment, &statement.target)?;
                    (WriteMode::Replace, engine.query(&query, &context).await?)
                }
            };
        shared.stage(node, mode, &config.partition_by, rows, &context.snapshot).await
    }
    .await;
    if let Err(error) = shared.doers.store.discard(&new).await {
        tracing::warn!(relation = %new.relation, error = %error, "discard failed");
    }
    staged
}

/// Two new rows for one row of the table are an error, as in SQL's merge.
async fn refuse_twice(
    shared: &Shared,
    statement: &Statement<'_>,
    key: &[String],
    context: &QueryContext,
) -> Result<()> {
    let keys = key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let known = key.iter().map(|name| format!("{} is not null", quoted(name))).collect::<Vec<_>>();
    let sql = format!(
        "select {keys} from {} where {} group by {keys} having count(*) > 1 limit 5",
        statement.source,
        known.join(" and ")
    );
    let mut rows = shared.doers.engine.query(&sql, context).await?;
    let mut examples = Vec::new();
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let values: Vec<String> =
                batch.columns().iter().map(|column| display_value(column, row)).collect();
            examples.push(values.join(", "));
        }
    }
    if examples.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Data,
        format!("several new rows have the same key ({})", key.join(", ")),
    )
    .with("for example", examples.join("; "))
    .with("hint", "keep one of them, or use the strategy delete+insert"))
}

/// The statement's parts.
struct Statement<'s> {
    target: String,
    source: String,
    schema: &'s Schema,
    columns: &'s [String],
    config: &'s MaterializationConfig,
}

/// How new rows find those of the table.
struct Joined {
    /// The new rows, as they stand in a `from` clause.
    source: String,
    /// The condition by which a new row has one in the table.
    on: String,
    /// The same for those that take the place of one.
    acts: String,
}

impl Statement<'_> {
    /// The change file by file.
    fn by_file(&self, increment: &Increment, relation: &RelationName) -> Result<RewriteByFile> {
        let (all, part) = RewriteByFile::names(relation);
        let Joined { source, acts, .. } = self.joined(increment)?;
        let file = quoted(FILE);
        Ok(RewriteByFile {
            touched: vec![format!(
                "select dbt_internal_dest.{file} as \"file\", count(*) as \"rows\" \
                 from {} as dbt_internal_dest inner join {source} on {acts} group by 1",
                all.quoted()
            )],
            added: None,
            once: None,
            rows: self.query(increment, &part.quoted())?,
            all,
            part,
        })
    }

    /// The query of all rows that are written in place of those of `table`, which is the target or a
    /// part of it, and of those that are added.
    fn query(&self, increment: &Increment, table: &str) -> Result<String> {
        let Joined { source, on, acts } = self.joined(increment)?;
        let (old, new) = (self.old(), self.of("dbt_internal_source"));
        let stay = format!(
            "select {old} from {table} as dbt_internal_dest left anti join {source} on {acts}"
        );
        let Increment::Merge { key, update, exclude, .. } = increment else {
            return Ok(format!(
                "{stay}\nunion all select {new} from {} as dbt_internal_source",
                self.source
            ));
        };
        let changed = self.changed(&self.spelled(key), update.as_deref(), exclude)?;
        let inserted = match &self.config.merge.insert_condition {
            Some(condition) => format!(" where ({condition})"),
            None => String::new(),
        };
        Ok(format!(
            "{stay}\n\
             union all select {changed} from {table} as dbt_internal_dest inner join {source} on {acts}\n\
             union all select {new} from {source} left anti join {} as dbt_internal_dest on {on}{inserted}",
            self.target
        ))
    }

    /// How new rows find those of the table (`dbt_internal_dest`).
    fn joined(&self, increment: &Increment) -> Result<Joined> {
        let on = |keys: Vec<String>| {
            let predicates = self.config.predicates.iter().map(|text| format!("({text})"));
            keys.into_iter().chain(predicates).collect::<Vec<_>>().join(" and ")
        };
        match increment {
            Increment::DeleteInsert { key, .. } => {
                // The conditions see the table's columns alone.
                let (keys, equal): (Vec<String>, Vec<String>) = (0..)
                    .zip(self.spelled(key))
                    .map(|(number, name): (u32, String)| {
                        let name = quoted(&name);
                        (
                            format!("{name} as __key_{number}"),
                            format!("dbt_internal_dest.{name} = __key_{number}"),
                        )
                    })
                    .unzip();
                let source = format!(
                    "(select distinct {} from {}) as dbt_internal_keys",
                    keys.join(", "),
                    self.source
                );
                let on = on(equal);
                Ok(Joined { source, acts: on.clone(), on })
            }
            Increment::Merge { key, .. } => {
                let equal = self.spelled(key).into_iter().map(|name| {
                    let name = quoted(&name);
                    format!("dbt_internal_dest.{name} = dbt_internal_source.{name}")
                });
                let on = on(equal.collect());
                let acts = match &self.config.merge.update_condition {
                    Some(condition) => format!("{on} and ({condition})"),
                    None => on.clone(),
                };
                let source = format!("{} as dbt_internal_source", self.source);
                Ok(Joined { source, on, acts })
            }
            other => Err(Error::new(ErrorKind::Internal, format!("{other:?} has no conditions"))),
        }
    }

    /// The key as the columns are spelled, whatever the case in the configuration.
    fn spelled(&self, key: &[String]) -> Vec<String> {
        let spelling = |name: &String| {
            let same = |column: &&String| column.eq_ignore_ascii_case(name);
            self.columns.iter().find(same).unwrap_or(name).clone()
        };
        key.iter().map(spelling).collect()
    }

    fn in_table(&self, name: &str) -> bool {
        self.schema.field_with_name(name).is_ok()
    }

    fn of(&self, alias: &str) -> String {
        let columns = self.columns.iter().map(|name| format!("{alias}.{}", quoted(name)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// A row of the table as it is; columns that it has not yet are NULL.
    fn old(&self) -> String {
        let columns = self.columns.iter().map(|name| match self.in_table(name) {
            true => format!("dbt_internal_dest.{}", quoted(name)),
            false => format!("null as {}", quoted(name)),
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    /// A row of the table with what the new row brings.
    fn changed(
        &self,
        key: &[String],
        update: Option<&[String]>,
        exclude: &[String],
    ) -> Result<String> {
        let among = |names: &[String], name: &str| {
            names.iter().any(|other| other.eq_ignore_ascii_case(name))
        };
        let set = &self.config.merge.update_set;
        for name in set.keys().chain(update.unwrap_or_default()) {
            if !among(self.columns, name) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("a merge cannot update the column `{name}`, which is not there"),
                ));
            }
        }
        let columns = self.columns.iter().map(|name| {
            let quoted = quoted(name);
            let expression = set.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            let taken = match update {
                Some(update) => among(update, name),
                None => !among(exclude, name),
            };
            match expression {
                Some((_, expression)) => format!("({expression}) as {quoted}"),
                None if among(key, name) || !self.in_table(name) || taken => {
                    format!("dbt_internal_source.{quoted}")
                }
                None => format!("dbt_internal_dest.{quoted}"),
            }
        });
        Ok(columns.collect::<Vec<_>>().join(", "))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
