//! `insert`, `update` and `delete`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Insert, ObjectName, ObjectNamePart,
    Query, SetExpr, TableObject, TableWithJoins, Update, UpdateTableFromKind, visit_expressions,
};
use tidemill_core::arrow_schema::Field;
use tidemill_core::{Error, ErrorKind, RelationName, Result, RewriteByFile, Statement};

use super::by_file::Files;
use super::target::{Names, Target, assigned, column_of, quoted, quoted_relation};
use super::unsupported;
use crate::dialect::layout::like_text;
use crate::engine::EmbeddedEngine;
use crate::syntax::conjuncts;

pub(crate) async fn insert(
    engine: &EmbeddedEngine,
    names: &Names<'_>,
    insert: Insert,
) -> Result<Statement> {
    let TableObject::TableName(name) = &insert.table else {
        return Err(unsupported("an insert into what is not a table", ""));
    };
    let refused = [
        (insert.on.is_some(), "`on conflict`", "use `merge`"),
        (insert.returning.is_some(), "`returning`", "select the rows afterwards"),
        (insert.output.is_some(), "`output`", "select the rows afterwards"),
        (
            insert.overwrite,
            "`insert overwrite`",
            "truncate the table first, or use `create or replace table`",
        ),
        (
            insert.or.is_some() || insert.ignore || insert.replace_into,
            "`or replace`",
            "use `merge`",
        ),
        (insert.partitioned.is_some(), "`partition (…)`", "give the values as columns"),
        (
            insert.multi_table_insert_type.is_some(),
            "an insert into several tables",
            "write one for each",
        ),
        (!insert.assignments.is_empty(), "`insert … set`", "use `values`"),
    ];
    if let Some((_, what, instead)) = refused.into_iter().find(|(given, ..)| *given) {
        return Err(unsupported(what, instead));
    }
    let Some(source) = &insert.source else {
        return Err(unsupported("`default values`", "give the values"));
    };
    let relation = names.relation(name)?;
    let schema = names.table(&relation)?;
    let query = rows_with_queries(source).unwrap_or_else(|| source.to_string());
    let found = engine.columns(&like_text(names.text, &query), names.context).await?.fields().len();
    let columns: Vec<String> = if insert.columns.is_empty() {
        if found > schema.fields().len() {
            return Err(Error::new(
                ErrorKind::Query,
                format!(
                    "the insert has {found} columns, but `{relation}` has {}",
                    schema.fields().len()
                ),
            ));
        }
        schema.fields().iter().take(found).map(|field| field.name().clone()).collect()
    } else {
        let mut columns = Vec::new();
        for column in &insert.columns {
            let Some(ObjectNamePart::Identifier(ident)) = column.0.last() else {
                return Err(unsupported(&format!("the column `{column}`"), ""));
            };
            let column = column_of(&schema, ident, &relation)?;
            if columns.contains(&column) {
                return Err(Error::new(
                    ErrorKind::Query,
                    format!("the column `{column}` is named twice"),
                ));
            }
            columns.push(column);
        }
        if columns.len() != found {
            return Err(Error::new(
                ErrorKind::Query,
                format!("{} columns are named, but {found} values are given", columns.len()),
            ));
        }
        columns
    };
    let list: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let name = quoted(field.name());
            match columns.iter().position(|column| column == field.name()) {
                Some(index) => {
                    let value = format!("\"__new\".\"c{index}\"");
                    format!("{} as {name}", assigned(&value, field.data_type()))
                }
                None => format!("{} as {name}", nothing(&relation, field)),
            }
        })
        .collect();
    let places: Vec<String> = (0..found).map(|index| format!("\"c{index}\"")).collect();
    let rows =
        format!("select {} from ({query}) as \"__new\"({})", list.join(", "), places.join(", "));
    Ok(Statement::Insert { relation, rows })
}

/// NULL in the type of a column.
fn nothing(relation: &RelationName, field: &Field) -> String {
    match field.data_type().is_nested() {
        false => assigned("null", field.data_type()),
        // Such a type has no name in SQL: it is that of the column.
        true => {
            format!(
                "(select {} from {} where false)",
                quoted(field.name()),
                quoted_relation(relation)
            )
        }
    }
}

/// `values (1, (select …))` as a `select` for each row: the engine computes rows of `values` before
/// anything is read.
fn rows_with_queries(source: &Query) -> Option<String> {
    let SetExpr::Values(values) = source.body.as_ref() else { return None };
    let reads = |expr: &Expr| {
        visit_expressions(expr, |inner| match inner {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    };
    if source.with.is_some() || !values.rows.iter().any(|row| row.iter().any(reads)) {
        return None;
    }
    let selects = values.rows.iter().map(|row| {
        let places = row.iter().enumerate();
        let list = places.map(|(place, value)| format!("{} as \"c{place}\"", value_of(value)));
        format!("select {}", list.collect::<Vec<_>>().join(", "))
    });
    Some(selects.collect::<Vec<_>>().join(" union all "))
}

/// Assignments by column, as SQL.
pub(crate) fn assignments(
    target: &Target,
    assignments: &[Assignment],
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let mut add = |name: &ObjectName, value: &Expr| {
        let column = target.column(name)?;
        if values.insert(column.clone(), value_of(value)).is_some() {
            return Err(Error::new(
                ErrorKind::Query,
                format!("the column `{column}` is assigned twice"),
            ));
        }
        Ok(())
    };
    for Assignment { target: place, value } in assignments {
        match (place, value) {
            (AssignmentTarget::ColumnName(name), value) => add(name, value)?,
            (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                if names.len() == values.len() =>
            {
                for (name, value) in names.iter().zip(values) {
                    add(name, value)?;
                }
            }
            _ => {
                return Err(unsupported(
                    "the assignment of a subquery to several columns",
                    "assign each column by itself, or use `update … from`",
                ));
            }
        }
    }
    Ok(values)
}

/// `default` is NULL: columns have no other.
pub(crate) fn value_of(value: &Expr) -> String {
    match value {
        Expr::Identifier(ident)
            if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
        {
            "null".to_owned()
        }
        other => other.to_string(),
    }
}

pub(crate) fn update(names: &Names<'_>, update: Update) -> Result<Statement> {
    let refused = [
        (
            update.returning.is_some() || update.output.is_some(),
            "`returning`",
            "select the rows afterwards",
        ),
        (update.or.is_some(), "`or`", ""),
        (update.limit.is_some(), "`limit`", "say in `where` which rows are meant"),
        (!update.table.joins.is_empty(), "a join in place of the table", "use `update … from`"),
    ];
    if let Some((_, what, instead)) = refused.into_iter().find(|(given, ..)| *given) {
        return Err(unsupported(what, instead));
    }
    let target = names.target(&update.table.relation)?;
    let values = assignments(&target, &update.assignments)?;
    let changed = target.select(|column| values.get(column).cloned());
    let all = target.all();
    let from = &target.from;
    let condition = update.selection.as_ref().map_or_else(|| "true".to_owned(), Expr::to_string);
    let others = match &update.from {
        Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => {
            Some(listed(tables))
        }
        None => None,
    };
    let files = Files::of(&target);
    let (rows, concerned, once, by_file) = match (others, &update.selection) {
        (Some(others), _) => {
            let pairs = |from: &str| format!("from {from}, {others} where {condition}");
            let some = format!("exists (select 1 from {others} where {condition})");
            let meant = |from: &str| format!("select count(*) from {from} where {some}");
            let rows = |from: &str| {
                format!(
                    "select {changed} {} union all select {all} from {from} where not {some}",
                    pairs(from)
                )
            };
            let count = format!("select count(*) {}", pairs(from));
            let by_file = RewriteByFile {
                touched: vec![files.count(&pairs(&files.from_all))],
                added: None,
                once: Some(meant(&files.from_part)),
                rows: rows(&files.from_part),
                all: files.all,
                part: files.part,
            };
            (rows(from), count.clone(), Some((count, meant(from))), Some(by_file))
        }
        (None, Some(condition)) => {
            let (meant, others) = sides(condition);
            let rows = |from: &str| {
                format!(
                    "select {changed} from {from} where {meant} \
                     union all select {all} from {from} where {others}"
                )
            };
            let by_file = RewriteByFile {
                touched: vec![files.count(&format!("from {} where {meant}", files.from_all))],
                added: None,
                once: None,
                rows: rows(&files.from_part),
                all: files.all,
                part: files.part,
            };
            let count = format!("select count(*) from {from} where {meant}");
            (rows(from), count, None, Some(by_file))
        }
        (None, None) => {
            let count = format!("select count(*) from {from}");
            (format!("select {changed} from {from}"), count, None, None)
        }
    };
    Ok(Statement::Rewrite {
        tag: "UPDATE".to_owned(),
        relation: target.relation,
        rows,
        concerned: Some(concerned),
        once,
        by_file: by_file.map(Box::new),
    })
}

fn listed(tables: &[TableWithJoins]) -> String {
    tables.iter().map(TableWithJoins::to_string).collect::<Vec<_>>().join(", ")
}

pub(crate) fn delete(names: &Names<'_>, delete: Delete) -> Result<Statement> {
    let refused = [
        (
            delete.returning.is_some() || delete.output.is_some(),
            "`returning`",
            "select the rows first",
        ),
        (delete.limit.is_some(), "`limit`", "say in `where` which rows are meant"),
        (!delete.tables.is_empty(), "a delete from several tables", "write one for each"),
    ];
    if let Some((_, what, instead)) = refused.into_iter().find(|(given, ..)| *given) {
        return Err(unsupported(what, instead));
    }
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [TableWithJoins { relation, joins }] = tables.as_slice() else {
        return Err(unsupported("a delete from several tables", "write one for each"));
    };
    if !joins.is_empty() {
        return Err(unsupported("a join in place of the table", "use `delete … using`"));
    }
    let target = names.target(relation)?;
    let (all, from) = (target.all(), &target.from);
    let tag = "DELETE".to_owned();
    let Some(condition) = &delete.selection else {
        if delete.using.is_none() {
            return Ok(Statement::Rewrite {
                tag,
                rows: format!("select {all} from {from} where false"),
                concerned: Some(format!("select count(*) from {from}")),
                relation: target.relation,
                once: None,
                by_file: None,
            });
        }
        return Err(Error::new(ErrorKind::Query, "`delete … using` needs a `where`"));
    };
    let (kept, gone) = match &delete.using {
        Some(tables) => {
            let some = format!("exists (select 1 from {} where {condition})", listed(tables));
            (format!("not {some}"), some)
        }
        None => {
            let (meant, others) = sides(condition);
            (others, meant)
        }
    };
    let files = Files::of(&target);
    let by_file = RewriteByFile {
        touched: vec![files.count(&format!("from {} where {gone}", files.from_all))],
        added: None,
        once: None,
        rows: format!("select {all} from {} where {kept}", files.from_part),
        all: files.all,
        part: files.part,
    };
    Ok(Statement::Rewrite {
        tag,
        rows: format!("select {all} from {from} where {kept}"),
        concerned: Some(format!("select count(*) from {from} where {gone}")),
        relation: target.relation,
        once: None,
        by_file: Some(Box::new(by_file)),
    })
}

/// The condition of the rows that are meant, and that of all others. What a join can do is not
/// looked up row by row.
fn sides(condition: &Expr) -> (String, String) {
    match semi_join(condition) {
        Some(some) => (some.clone(), format!("not {some}")),
        None => (condition.to_string(), format!("({condition}) is not true")),
    }
}

/// `a in (select …) and rest` as `exists (…)`, whose opposite is a join too.
fn semi_join(condition: &Expr) -> Option<String> {
    let mut terms = Vec::new();
    conjuncts(condition, &mut terms);
    let place = terms
        .iter()
        .position(|term| matches!(bare(term), Expr::InSubquery { negated: false, .. }))?;
    let Expr::InSubquery { expr, subquery, .. } = bare(terms.remove(place)) else { return None };
    let keys: Vec<&Expr> = match bare(expr) {
        Expr::Tuple(keys) => keys.iter().collect(),
        key => vec![key],
    };
    let places: Vec<String> = (0..keys.len()).map(|index| format!("\"__key{index}\"")).collect();
    let mut equal: Vec<String> = keys
        .iter()
        .zip(&places)
        .map(|(key, place)| format!("\"__keys\".{place} = ({key})"))
        .collect();
    equal.extend(terms.iter().map(|term| format!("({term})")));
    Some(format!(
        "exists (select 1 from ({subquery}) as \"__keys\"({}) where {})",
        places.join(", "),
        equal.join(" and ")
    ))
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        other => other,
    }
}
