//! Aggregates of one `select` that want their rows in different orders.
//!
//! The planner sorts the rows once for all of them, and refuses orders that disagree. Where a
//! `select` has several, those that differ from the first collect their values with the keys and
//! sort them at the end.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, GroupByExpr, OrderByExpr, OrderByOptions, Query, Select, SelectItem,
    SetExpr, Statement, VisitMut, VisitorMut,
};

use crate::syntax::{
    argument, call, change_outside_queries, number, plain_arguments, simple_name, text,
};

/// Looks through a whole statement.
pub(crate) fn settle_orders(statement: &mut Statement) {
    // Nothing is refused here.
    let _ = VisitMut::visit(statement, &mut Orders);
}

struct Orders;

impl VisitorMut for Orders {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            settle(select);
        }
        ControlFlow::Continue(())
    }
}

fn each(select: &mut Select, change: &mut dyn FnMut(&mut Expr)) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            change_outside_queries(expr, &mut *change);
        }
    }
    for condition in [&mut select.having, &mut select.qualify].into_iter().flatten() {
        change_outside_queries(condition, &mut *change);
    }
}

/// The order in which an aggregate wants its rows.
fn order_of(expr: &Expr) -> Option<(&Function, &[OrderByExpr])> {
    let Expr::Function(function) = expr else { return None };
    if function.over.is_some() {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(order) => Some((function, order.as_slice())),
        _ => None,
    })
}

/// PostgreSQL finds different values by sorting them, and so they come out.
fn sort_distinct(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let collects = matches!(simple_name(function).as_deref(), Some("array_agg" | "string_agg"));
    let FunctionArguments::List(list) = &mut function.args else { return };
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    if !collects || !distinct || function.over.is_some() || !list.clauses.is_empty() {
        return;
    }
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) = list.args.first() {
        let options = OrderByOptions { asc: None, nulls_first: Some(false) };
        let key = OrderByExpr { expr: value.clone(), options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![key]));
    }
}

fn settle(select: &mut Select) {
    if matches!(&select.group_by, GroupByExpr::All(_)) && select.projection.is_empty() {
        return;
    }
    each(select, &mut sort_distinct);
    let mut orders: Vec<String> = Vec::new();
    each(select, &mut |expr| {
        if let Some((_, order)) = order_of(expr) {
            let written = shown(order);
            if !orders.contains(&written) {
                orders.push(written);
            }
        }
    });
    if orders.len() < 2 {
        return;
    }
    let first = orders.swap_remove(0);
    each(select, &mut |expr| {
        let Some((function, order)) = order_of(expr) else { return };
        if shown(order) != first
            && let Some(sorted) = sorted_later(function, order)
        {
            *expr = sorted;
        }
    });
}

fn shown(order: &[OrderByExpr]) -> String {
    order.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The same aggregate over an array that is sorted when all rows were seen.
fn sorted_later(function: &Function, order: &[OrderByExpr]) -> Option<Expr> {
    let name = simple_name(function)?;
    if !matches!(name.as_str(), "array_agg" | "string_agg" | "first_value" | "last_value") {
        return None;
    }
    let arguments = plain_arguments(function)?;
    let value = arguments.first()?.clone();
    let mut kinds = String::new();
    let mut fields = vec![text("v"), value];
    for (place, key) in order.iter().enumerate() {
        let descending = key.options.asc == Some(false);
        kinds.push(if descending { 'd' } else { 'a' });
        kinds.push(if key.options.nulls_first.unwrap_or(descending) { 'f' } else { 'l' });
        fields.push(text(&format!("k{place}")));
        fields.push(key.expr.clone());
    }
    let mut collected = function.clone();
    collected.name = crate::syntax::object_name("array_agg");
    if let FunctionArguments::List(list) = &mut collected.args {
        list.args = vec![argument(call("named_struct", fields))];
        list.clauses.retain(|clause| !matches!(clause, FunctionArgumentClause::OrderBy(_)));
    }
    let list = call("tidemill_sorted", vec![Expr::Function(collected), text(&kinds)]);
    Some(match name.as_str() {
        "array_agg" => list,
        "string_agg" => {
            let separator = arguments.get(1)?.clone();
            call("tidemill_joined", vec![list, separator])
        }
        "first_value" => call("array_element", vec![list, number(1)]),
        _ => call("array_element", vec![list.clone(), call("array_length", vec![list])]),
    })
}
