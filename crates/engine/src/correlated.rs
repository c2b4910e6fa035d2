//! Subqueries that count or add up over rows which an inequality with the outer row chooses:
//! `(select count(*) from t o where o.customer = t.customer and o.at < t.at)`.
//!
//! DataFusion joins subqueries whose rows have equal keys, and refuses these. Here the different keys of the
//! outer rows are joined with the inner rows, grouped, and joined to the outer rows again. A key without inner
//! rows has what the aggregate gives for none: NULL, or 0 for a count.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

/// Runs before types are made to agree.
#[derive(Debug)]
pub(crate) struct Correlated;

impl AnalyzerRule for Correlated {
    fn name(&self) -> &str {
        "correlated"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut number = 0;
        plan.transform_up_with_subqueries(|node| rewrite_node(node, &mut number))
            .map(|done| done.data)
    }
}

fn rewrite_node(node: LogicalPlan, number: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let (input, is_filter) = match &node {
        LogicalPlan::Projection(projection) => (projection.input.clone(), false),
        LogicalPlan::Filter(filter) => (filter.input.clone(), true),
        _ => return Ok(Transformed::no(node)),
    };
    let names = NamePreserver::new(&node);
    let mut joined = input.as_ref().clone();
    let mut expressions = Vec::new();
    let mut changed = false;
    for expr in node.expressions() {
        let name = names.save(&expr);
        let done = expr.transform_down(|expr| {
            let Expr::ScalarSubquery(subquery) = &expr else { return Ok(Transformed::no(expr)) };
            let Some(chosen) = Chosen::of(subquery, &input) else {
                return Ok(Transformed::no(expr));
            };
            *number += 1;
            let (with, value) = chosen.join(joined.clone(), &input, *number)?;
            joined = with;
            Ok(Transformed::yes(value))
        })?;
        changed |= done.transformed;
        expressions.push(if done.transformed { name.restore(done.data) } else { done.data });
    }
    if !changed {
        return Ok(Transformed::no(node));
    }
    let joined = Arc::new(joined);
    let Some(predicate) = expressions.first().cloned().filter(|_| is_filter) else {
        let projection = Projection::try_new(expressions, joined)?;
        return Ok(Transformed::yes(LogicalPlan::Projection(projection)));
    };
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, joined)?);
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    Ok(Transformed::yes(LogicalPlanBuilder::from(filter).project(columns)?.build()?))
}

/// A subquery that is done here.
struct Chosen<'s> {
    result: &'s Expr,
    aggregate: &'s Aggregate,
    filter: &'s Filter,
    /// Columns of the outer rows.
    outer: Vec<Column>,
}

impl<'s> Chosen<'s> {
    /// One value of aggregates without groups, over rows that a filter chooses, which alone looks at the
    /// outer row, and not only for equal keys.
    fn of(subquery: &'s Subquery, input: &LogicalPlan) -> Option<Self> {
        let LogicalPlan::Projection(projection) = subquery.subquery.as_ref() else { return None };
        let [result] = projection.expr.as_slice() else { return None };
        let LogicalPlan::Aggregate(aggregate) = projection.input.as_ref() else { return None };
        let LogicalPlan::Filter(filter) = aggregate.input.as_ref() else { return None };
        let elsewhere = looks_out(&filter.input)
            || !aggregate.group_expr.is_empty()
            || std::iter::once(result).chain(&aggregate.aggr_expr).any(Expr::contains_outer);
        let conditions = split_conjunction(&filter.predicate);
        let mut with_outer = conditions.iter().filter(|condition| condition.contains_outer());
        if elsewhere || with_outer.all(|condition| is_equality(condition)) {
            return None;
        }
        let mut outer: Vec<Column> = Vec::new();
        let visited = filter.predicate.apply(|expr| {
            if let Expr::OuterReferenceColumn(_, column) = expr
                && !outer.contains(column)
            {
                outer.push(column.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let known = outer.iter().all(|column| input.schema().has_column(column));
        (visited.is_ok() && known).then_some(Chosen { result, aggregate, filter, outer })
    }

    /// The rows with the subquery's value beside them, and that value.
    fn join(
        &self,
        rows: LogicalPlan,
        input: &LogicalPlan,
        number: usize,
    ) -> Result<(LogicalPlan, Expr)> {
        let (outer_name, inner_name) =
            (format!("__tidemill_outer_{number}"), format!("__tidemill_chosen_{number}"));
        let key = |relation: &str, place: usize| {
            Expr::Column(Column::new(Some(relation.to_owned()), format!("key_{place}")))
        };
        let keys = self.outer.iter().enumerate();
        let different =
            LogicalPlanBuilder::from(input.clone())
                .project(keys.clone().map(|(place, column)| {
                    Expr::Column(column.clone()).alias(format!("key_{place}"))
                }))?
                .distinct()?
                .alias(outer_name.as_str())?
                .build()?;
        let predicate = self.filter.predicate.clone().transform_up(|expr| {
            let place = match &expr {
                Expr::OuterReferenceColumn(_, column) => {
                    self.outer.iter().position(|known| known == column)
                }
                _ => None,
            };
            Ok(match place {
                Some(place) => Transformed::yes(key(&outer_name, place)),
                None => Transformed::no(expr),
            })
        })?;
        let grouped = LogicalPlanBuilder::from(different)
            .join_on(self.filter.input.as_ref().clone(), JoinType::Inner, [predicate.data])?
            .aggregate(
                keys.clone().map(|(place, _)| key(&outer_name, place)),
                self.aggregate.aggr_expr.clone(),
            )?
            .build()?;
        let columns = grouped.schema().columns();
        let named = columns.into_iter().enumerate().map(|(place, column)| {
            let name = match place < self.outer.len() {
                true => format!("key_{place}"),
                false => format!("value_{}", place - self.outer.len()),
            };
            Expr::Column(column).alias(name)
        });
        let chosen = LogicalPlanBuilder::from(grouped)
            .project(named)?
            .alias(inner_name.as_str())?
            .build()?;
        let same = keys.map(|(place, column)| {
            Expr::BinaryExpr(BinaryExpr::new(
                Box::new(Expr::Column(column.clone())),
                Operator::IsNotDistinctFrom,
                Box::new(key(&inner_name, place)),
            ))
        });
        let joined =
            LogicalPlanBuilder::from(rows).join_on(chosen, JoinType::Left, same)?.build()?;
        Ok((joined, self.value(&inner_name)?))
    }

    /// The subquery's value, of the columns that have been joined.
    fn value(&self, relation: &str) -> Result<Expr> {
        let found = self.aggregate.schema.columns();
        let value = self.result.clone().unalias().transform_up(|expr| {
            let place = match &expr {
                Expr::Column(column) => found.iter().position(|known| known == column),
                _ => None,
            };
            let Some(place) = place else { return Ok(Transformed::no(expr)) };
            let column = Column::new(Some(relation.to_owned()), format!("value_{place}"));
            let column = Expr::Column(column);
            let of_none =
                match self.aggregate.aggr_expr.get(place).map(|expr| expr.clone().unalias()) {
                    Some(Expr::AggregateFunction(call)) => {
                        let data_type = Expr::AggregateFunction(call.clone())
                            .get_type(self.aggregate.input.schema())?;
                        Some(call.func.default_value(&data_type)?).filter(|value| !value.is_null())
                    }
                    _ => None,
                };
            Ok(Transformed::yes(match of_none {
                Some(none) => when(column.clone().is_null(), lit(none)).otherwise(column)?,
                None => column,
            }))
        })?;
        Ok(value.data)
    }
}

/// Whether a plan asks for columns of rows outside of it.
fn looks_out(plan: &LogicalPlan) -> bool {
    let found = plan.exists(|node| Ok(node.expressions().iter().any(Expr::contains_outer)));
    found.unwrap_or(true)
}

/// `inner = outer`, which DataFusion joins by.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return false;
    };
    left.contains_outer() != right.contains_outer()
}
