//! Texts of many rows: `listagg(distinct x, ',') within group (order by x)`, `listagg(…) over (…)`,
//! `string_agg(x, ',' order by x limit 3)`.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments,
    OrderByExpr,
};
use tidemill_core::Result;

use super::refused;
use super::rules::closed;
use crate::syntax::{
    argument, binary, call, number, object_name, plain_arguments, simple_name, text,
};

/// Such a call by an array; `None` where the engine's own does it.
pub(super) fn aggregate(function: &Function) -> Result<Option<Expr>> {
    let Some(name) = simple_name(function) else { return Ok(None) };
    if !matches!(name.as_str(), "listagg" | "string_agg") {
        return Ok(None);
    }
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    let Some(arguments) = plain_arguments(function) else { return Ok(None) };
    let (value, separator) = match arguments.as_slice() {
        [value] if name == "listagg" => (value, text("")),
        [value] => (value, text(",")),
        [value, separator] => (value, separator.clone()),
        _ => return Ok(None),
    };
    let mut order = function.within_group.clone();
    let mut limit = None;
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(given) => order.extend(given.iter().cloned()),
            FunctionArgumentClause::Limit(count) => limit = Some(count.clone()),
            _ => {}
        }
    }
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    let over = function.over.is_some();
    // What is ordered by itself is not ordered by its text.
    let by_itself = matches!(order.as_slice(), [one] if one.expr == *value);
    if !(limit.is_some() || distinct && by_itself || over && !order.is_empty()) {
        return Ok(None);
    }
    let mut items = function.clone();
    items.name = object_name("array_agg");
    items.within_group = Vec::new();
    items.null_treatment = None;
    let present = Expr::IsNotNull(Box::new(closed(value.clone())));
    items.filter = Some(Box::new(match items.filter.take() {
        Some(given) => binary(closed(*given), BinaryOperator::And, present),
        None => present,
    }));
    let windowed = over && !order.is_empty();
    if let FunctionArguments::List(list) = &mut items.args {
        list.args = vec![argument(value.clone())];
        list.clauses = Vec::new();
        if !windowed && !order.is_empty() {
            list.clauses.push(FunctionArgumentClause::OrderBy(order.clone()));
        }
    }
    let mut items = Expr::Function(items);
    if windowed {
        if !by_itself || limit.is_some() {
            return Err(refused(
                &format!("`{name}` in the order of another value with `over`"),
                "aggregate in a subquery with `group by`, and join it",
            ));
        }
        items = sorted(items, &order);
    }
    if let Some(limit) = limit {
        items = call("array_slice", vec![items, number(1), limit]);
    }
    Ok(Some(call("array_to_string", vec![items, separator])))
}

fn sorted(items: Expr, order: &[OrderByExpr]) -> Expr {
    let descending = order.first().is_some_and(|column| column.options.asc == Some(false));
    let direction = if descending { "DESC" } else { "ASC" };
    // There are no NULLs among them.
    call("array_sort", vec![items, text(direction), text("NULLS LAST")])
}
