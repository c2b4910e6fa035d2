//! `exists (…)` and `in (…)` outside of `where`, and `in` where NULL is told from false.
//!
//! The planner joins such subqueries only where they are conditions of a filter, and gives false
//! there where `x in (…)` is unknown. Elsewhere they become counts, which it can compute anywhere;
//! where unknown counts, all three answers are spelled out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::visit_expressions;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, GroupByExpr, Ident, LimitClause, Query,
    Select, SelectItem, SetExpr, Statement, TableAlias, TableAliasColumnDef, TableFactor,
    TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::syntax::{binary, call, change_outside_queries, equals, nested, number, simple_name};

/// Looks through a whole statement.
pub(crate) fn settle_subqueries(statement: &mut Statement) {
    // Nothing is refused here.
    let _ = VisitMut::visit(statement, &mut Subqueries);
}

struct Subqueries;

impl VisitorMut for Subqueries {
    type Break = std::convert::Infallible;

    /// Innermost first: what was rewritten is not looked at again.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                count_within(expr);
            }
        }
        let conditions = [&mut select.selection, &mut select.having, &mut select.qualify];
        for condition in conditions.into_iter().flatten() {
            settle_condition(condition, true);
        }
        if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
            columns.iter_mut().for_each(count_within);
        }
        ControlFlow::Continue(())
    }
}

/// A condition of which unknown is as good as false. `conjunct` says that it must be true by itself.
fn settle_condition(expr: &mut Expr, conjunct: bool) {
    match expr {
        Expr::Nested(inner) => settle_condition(inner, conjunct),
        Expr::BinaryOp { op, left, right }
            if matches!(op, BinaryOperator::And | BinaryOperator::Or) =>
        {
            let conjunct = conjunct && *op == BinaryOperator::And;
            settle_condition(left, conjunct);
            settle_condition(right, conjunct);
        }
        Expr::Exists { .. } => {}
        Expr::InSubquery { negated, .. } if conjunct || !*negated => {}
        Expr::UnaryOp { op: UnaryOperator::Not, expr: inner } if conjunct && is_in(inner) => {}
        Expr::UnaryOp { op: UnaryOperator::Not, expr: inner }
            if matches!(**inner, Expr::Exists { .. }) => {}
        other => rewrite_within(other, false),
    }
}

fn is_in(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_in(inner),
        other => matches!(other, Expr::InSubquery { .. }),
    }
}

fn count_within(expr: &mut Expr) {
    rewrite_within(expr, true);
}

/// Rewrites every `in` of the expression, and with `counted` every `exists`; not those of inner
/// queries.
fn rewrite_within(expr: &mut Expr, counted: bool) {
    change_outside_queries(expr, |expr| match expr {
        Expr::InSubquery { expr: value, subquery, negated } => {
            *expr = three_valued(value, subquery, *negated, counted);
        }
        Expr::Exists { subquery, negated } if counted => {
            *expr = exists(subquery.as_ref().clone(), *negated, true);
        }
        _ => {}
    });
}

/// Names that no user's query has.
const ROWS: &str = "tidemill in";
const VALUE: &str = "tidemill value";

/// `value in (subquery)`: true, false or unknown.
fn three_valued(value: &Expr, subquery: &Query, negated: bool, counted: bool) -> Expr {
    let column = || {
        let quoted = |name: &str| Ident::with_quote('"', name);
        Expr::CompoundIdentifier(vec![quoted(ROWS), quoted(VALUE)])
    };
    let with = |condition: Expr| {
        exists(rows_of(subquery.clone(), vec![VALUE], Some(condition)), false, counted)
    };
    let branch = |condition: Expr, result: Expr| CaseWhen { condition, result };
    let unknown = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(Value::Null.with_empty_span())),
        data_type: DataType::Boolean,
        array: false,
        format: None,
    };
    let boolean = |value: bool| Expr::Value(Value::Boolean(value).with_empty_span());
    let no_value = binary(
        Expr::IsNull(Box::new(nested(value.clone()))),
        BinaryOperator::And,
        exists(subquery.clone(), false, counted),
    );
    let answer = nested(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![
            branch(with(equals(column(), value.clone())), boolean(true)),
            branch(
                binary(no_value, BinaryOperator::Or, with(Expr::IsNull(Box::new(column())))),
                unknown,
            ),
        ],
        else_result: Some(Box::new(boolean(false))),
    });
    match negated {
        true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(answer) }),
        false => answer,
    }
}

/// The expression of `(select expression)`: a query that reads nothing has one row. The planner
/// knows such a query only where it names no column of the outer one. What it reads may be queries
/// of that kind, too: `(with a as (select t.x as y) select y + 1 from a)`.
pub(crate) fn value_of(query: &Query) -> Option<Expr> {
    match crate::one_row::of(query)?.as_slice() {
        [(_, value)] => Some(value.clone()),
        _ => None,
    }
}

/// Whether rows are grouped.
pub(crate) fn is_grouped(select: &Select) -> bool {
    match &select.group_by {
        GroupByExpr::Expressions(columns, modifiers) => {
            !columns.is_empty() || !modifiers.is_empty()
        }
        GroupByExpr::All(_) => true,
    }
}

/// Whether an expression is made of all rows of its query, or gives rows.
pub(crate) fn counts_rows(expr: &Expr) -> bool {
    visit_expressions(expr, |expr| match expr {
        Expr::Function(function)
            if function.over.is_some()
                || !function.within_group.is_empty()
                || simple_name(function).is_some_and(|name| COUNTS_ROWS.contains(&&*name)) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Functions whose value depends on the rows of their query, or that give rows.
const COUNTS_ROWS: [&str; 70] = [
    "any_value",
    "approx_count_distinct",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "arg_max",
    "arg_min",
    "argmax",
    "argmin",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "booland_agg",
    "boolor_agg",
    "collect_list",
    "collect_set",
    "corr",
    "count",
    "count_if",
    "countif",
    "covar_pop",
    "covar_samp",
    "every",
    "first_value",
    "generate_series",
    "group_concat",
    "grouping",
    "json_agg",
    "json_array_elements",
    "json_array_elements_text",
    "json_object_agg",
    "json_object_keys",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_object_agg",
    "jsonb_object_keys",
    "last_value",
    "listagg",
    "logical_and",
    "logical_or",
    "max",
    "max_by",
    "median",
    "min",
    "min_by",
    "mode",
    "nth_value",
    "percentile_cont",
    "percentile_disc",
    "regexp_split_to_table",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "string_to_table",
    "sum",
    "tidemill_single",
    "unnest",
    "var_pop",
    "var_samp",
    "variance",
    "variance_pop",
];

fn exists(subquery: Query, negated: bool, counted: bool) -> Expr {
    if !counted {
        return Expr::Exists { subquery: Box::new(subquery), negated };
    }
    let mut counting = subquery;
    if let Some(LimitClause::LimitOffset { limit: Some(Expr::Value(limit)), offset: None, .. }) =
        &counting.limit_clause
        && matches!(&limit.value, Value::Number(count, _) if count != "0")
    {
        counting.limit_clause = None;
    }
    let simple = match counting.body.as_mut() {
        SetExpr::Select(select) if is_plain(select) => Some(select),
        _ => None,
    };
    let simple = simple.filter(|_| counting.limit_clause.is_none() && counting.with.is_none());
    let count = || SelectItem::UnnamedExpr(call("count", vec![number(1)]));
    match simple {
        Some(select) => {
            select.projection = vec![count()];
            select.distinct = None;
            counting.order_by = None;
        }
        None => {
            counting = rows_of(counting, Vec::new(), None);
            if let SetExpr::Select(select) = counting.body.as_mut() {
                select.projection = vec![count()];
            }
        }
    }
    let op = if negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    nested(binary(Expr::Subquery(Box::new(counting)), op, number(0)))
}

/// Whether a select gives one row for each row that it reads.
fn is_plain(select: &Select) -> bool {
    let calls = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            visit_expressions(expr, |expr| match expr {
                Expr::Function(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
            .is_break()
        }
        _ => false,
    });
    !is_grouped(select) && !calls && select.having.is_none() && select.qualify.is_none()
}

/// `select 1 from (subquery) as t(columns) where condition`.
fn rows_of(subquery: Query, columns: Vec<&str>, condition: Option<Expr>) -> Query {
    let alias = TableAlias {
        explicit: true,
        name: Ident::with_quote('"', ROWS),
        columns: columns
            .into_iter()
            .map(|name| TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None })
            .collect(),
        at: None,
    };
    let from = TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(subquery),
            alias: Some(alias),
            sample: None,
        },
        joins: Vec::new(),
    };
    crate::syntax::select_from(vec![SelectItem::UnnamedExpr(number(1))], vec![from], condition)
}
