//! Increments with conditions of their own (`incremental_predicates`): which rows of the table may be
//! touched, beside those with the same key.
//!
//! What dbt writes as `merge` or as `delete` and `insert` is one query here, over the table and the
//! new rows (which are staged first, as dbt's temporary table): it gives the rows that take the place
//! of others. Where a condition bounds a time of the table by a constant, only the rows of that time
//! are read and written again; all other files stay as they are.

use std::sync::Arc;

use futures::StreamExt;
use tidemill_core::arrow_schema::{DataType, Schema};
use tidemill_core::{
    Error, ErrorKind, OverlayEntry, PublishedRelation, QueryContext, RelationName, Result, Staged,
    WriteMode, display_value,
};
use tidemill_plan::{Increment, MaterializationConfig, WorkNode};

use crate::executor::Shared;

const DAY: i64 = 86_400_000_000;

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
        let bounds = bounds(shared, &statement, &context).await;
        let query = statement.query(increment, bounds.as_ref())?;
        let mode = match bounds {
            Some(bounds) => WriteMode::ReplaceRanges {
                column: bounds.column,
                ranges: vec![(bounds.from, bounds.to)],
            },
            None => WriteMode::Replace,
        };
        let rows = shared.doers.engine.query(&query, &context).await?;
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

/// The span of a column of the table outside of which no condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bounds {
    column: String,
    /// The condition in SQL.
    condition: String,
    from: i64,
    to: i64,
}

/// The statement's parts.
struct Statement<'s> {
    target: String,
    source: String,
    schema: &'s Schema,
    columns: &'s [String],
    config: &'s MaterializationConfig,
}

impl Statement<'_> {
    /// The query of all rows that are written.
    fn query(&self, increment: &Increment, bounds: Option<&Bounds>) -> Result<String> {
        let target = match bounds {
            Some(bounds) => {
                format!("(select * from {} where {})", self.target, bounds.condition)
            }
            None => self.target.clone(),
        };
        let (target, source) = (
            format!("{target} as dbt_internal_dest"),
            format!("{} as dbt_internal_source", self.source),
        );
        let source_columns = self.of("dbt_internal_source");
        let predicates: Vec<String> =
            self.config.predicates.iter().map(|text| format!("({text})")).collect();
        let on = |keys: Vec<String>| {
            keys.into_iter().chain(predicates.clone()).collect::<Vec<_>>().join(" and ")
        };
        match increment {
            Increment::DeleteInsert { key, .. } => {
                let key = self.spelled(key);
                // The conditions see the table's columns alone.
                let keys: Vec<String> = key
                    .iter()
                    .enumerate()
                    .map(|(number, name)| format!("{} as __key_{number}", quoted(name)))
                    .collect();
                let keys = keys.join(", ");
                let equal = key
                    .iter()
                    .enumerate()
                    .map(|(number, name)| {
                        format!("dbt_internal_dest.{} = __key_{number}", quoted(name))
                    })
                    .collect();
                Ok(format!(
                    "select {old} from {target} left anti join (select distinct {keys} from {source}) as dbt_internal_keys on {on}\n\
                     union all select {source_columns} from {source}",
                    old = self.old(),
                    on = on(equal),
                ))
            }
            Increment::Merge { key, update, exclude, .. } => {
                let key = &self.spelled(key);
                let equal = key
                    .iter()
                    .map(|name| {
                        let name = quoted(name);
                        format!("dbt_internal_dest.{name} = dbt_internal_source.{name}")
                    })
                    .collect();
                let on = on(equal);
                let merge = &self.config.merge;
                let acts = match &merge.update_condition {
                    Some(condition) => format!("{on} and ({condition})"),
                    None => on.clone(),
                };
                let inserted = match &merge.insert_condition {
                    Some(condition) => format!(" where ({condition})"),
                    None => String::new(),
                };
                Ok(format!(
                    "select {old} from {target} left anti join {source} on {acts}\n\
                     union all select {changed} from {target} inner join {source} on {acts}\n\
                     union all select {source_columns} from {source} left anti join {target} on {on}{inserted}",
                    old = self.old(),
                    changed = self.changed(key, update.as_deref(), exclude)?,
                ))
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

/// A condition of the form `column >= constant` (or `>`, `<`, `<=`) as its three parts.
fn comparison(predicate: &str) -> Option<(&str, &str, &str)> {
    let text = predicate.trim();
    let at = text.find(['<', '>', '='])?;
    let operator = [">=", "<=", ">", "<"].into_iter().find(|mark| text[at..].starts_with(mark))?;
    let mut column = text[..at].trim();
    for alias in ["dbt_internal_dest.", "dbt_internal_target."] {
        if column.get(..alias.len()).is_some_and(|found| found.eq_ignore_ascii_case(alias)) {
            column = &column[alias.len()..];
        }
    }
    let column = column.trim_matches('"');
    let plain = !column.is_empty() && column.chars().all(|c| c.is_alphanumeric() || c == '_');
    let constant = text[at + operator.len()..].trim();
    (plain && !constant.starts_with(['>', '='])).then_some((column, operator, constant))
}

/// The bounds that the conditions set to a date or timestamp of the table. What is not understood
/// bounds nothing.
async fn bounds(
    shared: &Shared,
    statement: &Statement<'_>,
    context: &QueryContext,
) -> Option<Bounds> {
    let mut found: Option<Bounds> = None;
    for predicate in &statement.config.predicates {
        let Some((name, operator, constant)) = comparison(predicate) else { continue };
        let Some(field) =
            statement.schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name))
        else {
            continue;
        };
        if !matches!(field.data_type(), DataType::Date32 | DataType::Timestamp(..))
            || found.as_ref().is_some_and(|found| found.column != *field.name())
        {
            continue;
        }
        let Some(value) = constant_of(shared, constant, field.data_type(), context).await else {
            continue;
        };
        let bounds = found.get_or_insert_with(|| Bounds {
            column: field.name().clone(),
            condition: String::new(),
            from: i64::MIN / 2 / DAY * DAY,
            to: i64::MAX / 2 / DAY * DAY,
        });
        // A day more on each side costs little, and zones and fractions do not matter.
        match operator {
            ">" | ">=" => bounds.from = bounds.from.max((value.div_euclid(DAY) - 1) * DAY),
            _ => bounds.to = bounds.to.min((value.div_euclid(DAY) + 2) * DAY),
        }
    }
    let mut bounds = found.filter(|bounds| bounds.from < bounds.to)?;
    let field = statement.schema.field_with_name(&bounds.column).ok()?;
    let literal = |micros: i64| match field.data_type() {
        DataType::Date32 => format!("arrow_cast(arrow_cast({}, 'Int32'), 'Date32')", micros / DAY),
        other => format!("arrow_cast({micros}, '{other}')"),
    };
    let name = quoted(&bounds.column);
    let mut parts = Vec::new();
    if bounds.from > i64::MIN / 4 {
        parts.push(format!("{name} >= {}", literal(bounds.from)));
    }
    if bounds.to < i64::MAX / 4 {
        parts.push(format!("{name} < {}", literal(bounds.to)));
    }
    bounds.condition = parts.join(" and ");
    Some(bounds)
}

/// The value of an expression without columns, in microseconds since 1970.
async fn constant_of(
    shared: &Shared,
    expression: &str,
    data_type: &DataType,
    context: &QueryContext,
) -> Option<i64> {
    let to = match data_type {
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        _ => "timestamp",
    };
    let sql = format!("select extract(epoch from ({expression}\n)::{to}) as bound");
    // An expression over the lake is no constant of the text.
    let description = shared.doers.engine.describe(&sql, context).await.ok()?;
    if !description.relations.is_empty() {
        return None;
    }
    let mut rows = shared.doers.engine.query(&sql, context).await.ok()?;
    let batch = rows.batches.next().await?.ok()?;
    if batch.num_rows() != 1 || batch.num_columns() != 1 || batch.column(0).is_null(0) {
        return None;
    }
    let seconds: f64 = display_value(batch.column(0), 0).parse().ok()?;
    let micros = (seconds * 1e6).round() as i64;
    (micros.unsigned_abs() < i64::MAX as u64 / 8).then_some(micros)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_with_a_constant_is_seen() {
        for (text, expected) in [
            ("DBT_INTERNAL_DEST.at >= '2024-01-01'", Some(("at", ">=", "'2024-01-01'"))),
            ("\"at\" > current_date - 3", Some(("at", ">", "current_date - 3"))),
            ("at <= x or y", Some(("at", "<=", "x or y"))),
            ("DBT_INTERNAL_SOURCE.at > '2024-01-01'", None),
            ("date_trunc('day', at) > '2024-01-01'", None),
            ("at <> '2024-01-01'", None),
            ("at = '2024-01-01'", None),
            ("at is null", None),
        ] {
            assert_eq!(comparison(text), expected, "{text}");
        }
    }
}
