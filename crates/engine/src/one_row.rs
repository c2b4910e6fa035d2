//! Queries that have one row whatever the data is: those that read nothing, and those that read such
//! queries alone.
//!
//! ```sql
//! with a as (select t.x as y, 1 as z) select y + z as s from a
//! select t.x + 1 as s
//! ```

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectNamePart, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor,
    visit_expressions,
};
use std::ops::ControlFlow;

use crate::names::folded;
use crate::subqueries::{counts_rows, is_grouped};
use crate::syntax::{change_outside_queries, nested};

/// The columns of a row and their names.
type Row = Vec<(String, Expr)>;

/// How deeply such queries may read each other.
const DEEPEST: usize = 32;

/// The one row of a query; nothing where it may have another number of them.
pub(crate) fn of(query: &Query) -> Option<Row> {
    row(query, &[], 0)
}

fn row(query: &Query, outer: &[(String, Row)], depth: usize) -> Option<Row> {
    if depth > DEEPEST
        || query.order_by.is_some()
        || query.limit_clause.is_some()
        || query.fetch.is_some()
    {
        return None;
    }
    let mut known = outer.to_vec();
    if let Some(with) = &query.with {
        if with.recursive {
            return None;
        }
        for table in &with.cte_tables {
            let row = renamed(row(&table.query, &known, depth + 1)?, &table.alias)?;
            known.push((folded(&table.alias.name), row));
        }
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let plain = select.selection.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.distinct.is_none()
        && select.lateral_views.is_empty()
        && !is_grouped(select);
    if !plain {
        return None;
    }
    let reads = sources(select, &known, depth)?;
    let mut columns = Row::with_capacity(select.projection.len());
    for item in &select.projection {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, folded(alias)),
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(name)) => (expr, folded(name)),
            SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(parts)) => {
                (expr, folded(parts.last()?))
            }
            SelectItem::UnnamedExpr(expr) => (expr, String::new()),
            SelectItem::Wildcard(options)
                if options.to_string().is_empty() && !reads.is_empty() =>
            {
                columns.extend(reads.iter().flat_map(|(_, row)| row.iter().cloned()));
                continue;
            }
            _ => return None,
        };
        if counts_rows(expr) {
            return None;
        }
        columns.push((name, put_in(expr, &reads, !known.is_empty())?));
    }
    Some(columns)
}

/// What a query reads, by the names that it gives.
fn sources(select: &Select, known: &[(String, Row)], depth: usize) -> Option<Vec<(String, Row)>> {
    let mut reads = Vec::with_capacity(select.from.len());
    for table in &select.from {
        if !table.joins.is_empty() {
            return None;
        }
        reads.push(match &table.relation {
            TableFactor::Table { name, alias, args: None, .. } => {
                let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
                let wanted = folded(name);
                let (_, row) = known.iter().rev().find(|(name, _)| *name == wanted)?;
                match alias {
                    Some(alias) => (folded(&alias.name), renamed(row.clone(), alias)?),
                    None => (wanted, row.clone()),
                }
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let row = row(subquery, known, depth + 1)?;
                match alias {
                    Some(alias) => (folded(&alias.name), renamed(row, alias)?),
                    None => (String::new(), row),
                }
            }
            _ => return None,
        });
    }
    Some(reads)
}

fn renamed(mut row: Row, alias: &TableAlias) -> Option<Row> {
    if alias.columns.len() > row.len() {
        return None;
    }
    for ((name, _), column) in row.iter_mut().zip(&alias.columns) {
        *name = folded(&column.name);
    }
    Some(row)
}

/// The expression with the values of the columns that it names. Others are those of an outer query.
/// `named`: there are such that a query within the expression may name.
fn put_in(expr: &Expr, reads: &[(String, Row)], named: bool) -> Option<Expr> {
    if reads.is_empty() && !named {
        return Some(expr.clone());
    }
    // Names in queries of its own may mean other columns.
    let asks = visit_expressions(expr, |part| match part {
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if asks.is_break() {
        return None;
    }
    let find = |relation: Option<&Ident>, column: &Ident| {
        let (relation, column) = (relation.map(folded), folded(column));
        reads
            .iter()
            .filter(|(name, _)| relation.as_ref().is_none_or(|relation| relation == name))
            .flat_map(|(_, row)| row)
            .find(|(name, _)| *name == column)
            .map(|(_, value)| nested(value.clone()))
    };
    let mut expr = expr.clone();
    change_outside_queries(&mut expr, |part| {
        let value = match &*part {
            Expr::Identifier(name) => find(None, name),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [relation, name] => find(Some(relation), name),
                _ => None,
            },
            _ => None,
        };
        if let Some(value) = value {
            *part = value;
        }
    });
    Some(expr)
}
