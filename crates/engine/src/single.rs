//! Subqueries as values that the planner refuses: one that must have one row at most, `array(select
//! …)`, `(a, b) in (select …)`, `x = any (select …)`, and queries in `values`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, LimitClause, OrderBy, OrderByExpr, OrderByKind, Query, SelectItem,
    SetExpr, SetOperator, SetQuantifier, Statement, TableAlias, TableAliasColumnDef, TableFactor,
    TableWithJoins, Value, Values, VisitMut, VisitorMut, visit_expressions,
};
use tidemill_core::{Error, Result};

use crate::names::{folded, relation_name};
use crate::subqueries::{counts_rows, is_grouped};
use crate::syntax::{argument, array_of, binary, call, equals, nested, select_from, simple_name};

/// Looks through a whole statement.
pub(crate) fn settle_single_values(statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Single) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Single;

impl VisitorMut for Single {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        values_as_selects(&mut query.body);
        ControlFlow::Continue(())
    }

    /// Before what is in it, whose query would be taken for one value.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let replaced = match expr {
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                let query = query_of(right);
                query.map(|subquery| Expr::InSubquery {
                    expr: left.clone(),
                    subquery: Box::new(subquery),
                    negated: false,
                })
            }
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
                query_of(right).map(|subquery| Expr::InSubquery {
                    expr: left.clone(),
                    subquery: Box::new(subquery),
                    negated: true,
                })
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                query_of(right).map(|query| compared(left, compare_op, query, false))
            }
            Expr::AllOp { left, compare_op, right } => {
                query_of(right).map(|query| compared(left, compare_op, query, true))
            }
            _ => None,
        };
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let replaced = match expr {
            Expr::Subquery(query) => one_row(query).map(|query| Expr::Subquery(Box::new(query))),
            Expr::Function(function) => match array_of_query(function) {
                Ok(replaced) => replaced,
                Err(error) => return ControlFlow::Break(error),
            },
            Expr::InSubquery { expr: value, subquery, negated } => {
                tuple_in(value, subquery, *negated)
            }
            _ => None,
        };
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
        ControlFlow::Continue(())
    }
}

fn query_of(expr: &Expr) -> Option<Query> {
    match expr {
        Expr::Subquery(query) => Some(query.as_ref().clone()),
        Expr::Nested(inner) => query_of(inner),
        _ => None,
    }
}

/// The order of a query of one column: `order by 1` is the value itself.
fn ordered_by(order: Vec<OrderByExpr>, value: &Expr) -> Vec<OrderByExpr> {
    let is_place = |expr: &Expr| matches!(expr, Expr::Value(number) if matches!(number.value, Value::Number(..)));
    let order = order.into_iter().map(|mut column| {
        if is_place(&column.expr) {
            column.expr = value.clone();
        }
        column
    });
    order.collect()
}

/// A query of plain rows as an aggregate of them: with `limit 1` its first value, else its only one.
/// Only where it names a column of an outer query: the planner knows the others.
fn one_row(query: &Query) -> Option<Query> {
    if query.with.is_some() || query.fetch.is_some() || !query.locks.is_empty() {
        return None;
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    if is_grouped(select)
        || select.from.is_empty()
        || select.having.is_some()
        || select.qualify.is_some()
        || select.distinct.is_some()
    {
        return None;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    if counts_rows(value) || !is_correlated(query) {
        return None;
    }
    let order = match &query.order_by {
        None => Vec::new(),
        Some(OrderBy { kind: OrderByKind::Expressions(columns), .. }) => columns.clone(),
        Some(_) => return None,
    };
    let order = ordered_by(order, value);
    let aggregate = match &query.limit_clause {
        None => call("tidemill_single", vec![value.clone()]),
        Some(LimitClause::LimitOffset {
            limit: Some(Expr::Value(limit)),
            offset: None,
            limit_by,
        }) if limit_by.is_empty()
            && matches!(&limit.value, Value::Number(count, _) if count == "1") =>
        {
            ordered("first_value", value.clone(), order)
        }
        Some(_) => return None,
    };
    let mut query = query.clone();
    query.order_by = None;
    query.limit_clause = None;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(aggregate)];
    }
    Some(query)
}

/// `name(value order by …)`.
fn ordered(name: &str, value: Expr, order: Vec<OrderByExpr>) -> Expr {
    let clauses = match order.is_empty() {
        true => Vec::new(),
        false => vec![FunctionArgumentClause::OrderBy(order)],
    };
    let Expr::Function(function) = call(name, Vec::new()) else { return value };
    Expr::Function(Function {
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument(value)],
            clauses,
        }),
        ..function
    })
}

/// Whether a query names a relation that it does not read itself.
fn is_correlated(query: &Query) -> bool {
    let mut known: HashSet<String> = HashSet::new();
    let mut text = query.clone();
    struct Relations<'a>(&'a mut HashSet<String>);
    impl VisitorMut for Relations<'_> {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            self.0.extend(relation_name(factor).as_ref().map(folded));
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = VisitMut::visit(&mut text, &mut Relations(&mut known));
    visit_expressions(query, |expr| match expr {
        Expr::CompoundIdentifier(parts)
            if parts.first().is_some_and(|first| !known.contains(&folded(first))) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// `array(select x …)`: the values in their order; an empty array when there are none.
fn array_of_query(function: &Function) -> Result<Option<Expr>> {
    let FunctionArguments::Subquery(query) = &function.args else { return Ok(None) };
    if simple_name(function).as_deref() != Some("array") {
        return Ok(None);
    }
    let mut query = query.as_ref().clone();
    let order = match query.order_by.take() {
        None => Vec::new(),
        Some(OrderBy { kind: OrderByKind::Expressions(columns), .. }) => columns,
        Some(other) => {
            query.order_by = Some(other);
            Vec::new()
        }
    };
    let limited = query.limit_clause.is_some() || query.fetch.is_some();
    let plain = match query.body.as_ref() {
        SetExpr::Select(select) => {
            select.distinct.is_none() && !is_grouped(select) && select.having.is_none() && !limited
        }
        _ => false,
    };
    let one = match query.body.as_ref() {
        SetExpr::Select(select) => match select.projection.as_slice() {
            [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => {
                Some(expr.clone())
            }
            _ => None,
        },
        _ => None,
    };
    let collected = match one.filter(|value| plain && !counts_rows(value)) {
        Some(value) => {
            let order = ordered_by(order, &value);
            if let SetExpr::Select(select) = query.body.as_mut() {
                select.projection =
                    vec![SelectItem::UnnamedExpr(ordered("array_agg", value, order))];
            }
            query
        }
        None => {
            if !order.is_empty() {
                query.order_by =
                    Some(OrderBy { kind: OrderByKind::Expressions(order), interpolate: None });
            }
            let item = Ident::with_quote('"', "tidemill item");
            let from = derived(query, "tidemill items", std::slice::from_ref(&item));
            let value = Expr::Identifier(item);
            select_from(
                vec![SelectItem::UnnamedExpr(ordered("array_agg", value, Vec::new()))],
                vec![from],
                None,
            )
        }
    };
    let collected = Expr::Subquery(Box::new(collected));
    Ok(Some(call("coalesce", vec![collected, array_of(Vec::new())])))
}

fn derived(query: Query, name: &str, columns: &[Ident]) -> TableWithJoins {
    let column = |name: &Ident| TableAliasColumnDef { name: name.clone(), data_type: None };
    TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', name),
                columns: columns.iter().map(column).collect(),
                at: None,
            }),
            sample: None,
        },
        joins: Vec::new(),
    }
}

/// `x > any (select …)` and `x >= all (select …)` as `exists`.
fn compared(value: &Expr, op: &BinaryOperator, query: Query, all: bool) -> Expr {
    let (rows, column) = ("tidemill rows", Ident::with_quote('"', "tidemill value"));
    let from = derived(query, rows, std::slice::from_ref(&column));
    let other = Expr::CompoundIdentifier(vec![Ident::with_quote('"', rows), column]);
    let holds = binary(value.clone(), op.clone(), other);
    let condition = if all { Expr::IsNotTrue(Box::new(nested(holds))) } else { holds };
    let one = SelectItem::UnnamedExpr(crate::syntax::number(1));
    Expr::Exists {
        subquery: Box::new(select_from(vec![one], vec![from], Some(condition))),
        negated: all,
    }
}

/// `(a, b) in (select …)` as `exists`. Negated, an unknown comparison keeps a row out as a true one
/// does.
fn tuple_in(value: &Expr, subquery: &Query, negated: bool) -> Option<Expr> {
    let Expr::Tuple(parts) = value else { return None };
    let columns: Vec<Ident> = (1..=parts.len())
        .map(|number| Ident::with_quote('"', format!("tidemill value {number}")))
        .collect();
    let rows = "tidemill rows";
    let conditions = parts.iter().zip(&columns).map(|(part, column)| {
        let column = Expr::CompoundIdentifier(vec![Ident::with_quote('"', rows), column.clone()]);
        let same = equals(column.clone(), part.clone());
        match negated {
            false => same,
            true => {
                let unknown = binary(
                    Expr::IsNull(Box::new(nested(column))),
                    BinaryOperator::Or,
                    Expr::IsNull(Box::new(nested(part.clone()))),
                );
                binary(same, BinaryOperator::Or, unknown)
            }
        }
    });
    let condition = conditions.reduce(|all, next| binary(all, BinaryOperator::And, next))?;
    let from = derived(subquery.clone(), rows, &columns);
    let one = SelectItem::UnnamedExpr(crate::syntax::number(1));
    let query = select_from(vec![one], vec![from], Some(condition));
    Some(Expr::Exists { subquery: Box::new(query), negated })
}

/// `values (1, (select …))` as selects: the planner computes no query in a list of values.
fn values_as_selects(body: &mut SetExpr) {
    let SetExpr::Values(Values { rows, .. }) = body else { return };
    let queries = rows.iter().flat_map(|row| &row.content).any(|expr| {
        visit_expressions(expr, |expr| match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    });
    if !queries {
        return;
    }
    let selects = rows.iter().map(|row| {
        let items =
            row.content.iter().enumerate().map(|(number, expr)| SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::new(format!("column{}", number + 1)),
            });
        *select_from(items.collect(), Vec::new(), None).body
    });
    let all = selects.reduce(|left, right| SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(left),
        right: Box::new(right),
    });
    if let Some(all) = all {
        *body = all;
    }
}
