//! Subqueries and lateral queries that read columns of the outer row in a way in which DataFusion cannot join
//! them: `(select count(*) from t o where o.at < t.at)`, `left join lateral (select … order by … limit 1)`.
//!
//! DataFusion joins queries whose rows a filter chooses, and aggregates of rows with equal keys. The others are
//! spread over the outer rows (see [`crate::spread`]) and joined by what they read of these.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue, Spans};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{AggregateFunction, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, FetchType, Filter, Join, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, SkipType, Sort, Window, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use crate::lateral::{all_of, lateral, projection};
use crate::spread::{Keys, outer_columns};

/// Runs before types are made to agree.
#[derive(Debug)]
pub(crate) struct Correlated;

impl AnalyzerRule for Correlated {
    fn name(&self) -> &str {
        "correlated"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut rewriter = Rewriter { number: 0 };
        plan.transform_up_with_subqueries(|node| rewriter.node(node)).map(|done| done.data)
    }
}

pub(crate) struct Rewriter {
    /// How many were spread so far.
    number: usize,
}

impl Rewriter {
    /// The number of the next thing that needs a name of its own.
    pub(crate) fn next(&mut self) -> usize {
        self.number += 1;
        self.number
    }

    /// A node whose inputs and subqueries are done.
    pub(crate) fn node(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        match &node {
            LogicalPlan::Projection(step) => {
                let done = self.computed(&step.expr, &step.input, false)?;
                let Some((input, exprs)) = done else { return Ok(Transformed::no(node)) };
                projection(input, exprs).map(Transformed::yes)
            }
            LogicalPlan::Filter(step) => {
                let predicate = std::slice::from_ref(&step.predicate);
                let done = self.computed(predicate, &step.input, true)?;
                let Some((input, mut exprs)) = done else { return Ok(Transformed::no(node)) };
                let filter = Filter::try_new(exprs.swap_remove(0), Arc::new(input))?;
                projection(LogicalPlan::Filter(filter), all_of(step.input.schema()))
                    .map(Transformed::yes)
            }
            LogicalPlan::Aggregate(step) => {
                let groups = step.group_expr.len();
                let exprs: Vec<Expr> =
                    step.group_expr.iter().chain(&step.aggr_expr).cloned().collect();
                let Some((input, mut exprs)) = self.apart(exprs, &step.input)? else {
                    return Ok(Transformed::no(node));
                };
                let aggregates = exprs.split_off(groups);
                let aggregate = Aggregate::try_new(Arc::new(input), exprs, aggregates)?;
                Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
            }
            LogicalPlan::Window(step) => {
                let exprs: Vec<Expr> =
                    step.window_expr.iter().map(|expr| expr.clone().unalias()).collect();
                let Some((input, exprs)) = self.apart(exprs, &step.input)? else {
                    return Ok(Transformed::no(node));
                };
                let exprs = exprs.into_iter().map(Expr::unalias).collect();
                let before = input.schema().fields().len();
                let window = Window::try_new(exprs, Arc::new(input))?;
                let mut columns = all_of(step.input.schema());
                let named = step.schema.iter().skip(columns.len());
                let computed = window.schema.columns().into_iter().skip(before);
                columns.extend(named.zip(computed).map(|((relation, field), column)| {
                    Expr::Column(column).alias_qualified(relation.cloned(), field.name())
                }));
                projection(LogicalPlan::Window(window), columns).map(Transformed::yes)
            }
            LogicalPlan::Sort(step) => {
                let exprs = step.expr.iter().map(|column| column.expr.clone()).collect();
                let Some((input, exprs)) = self.apart(exprs, &step.input)? else {
                    return Ok(Transformed::no(node));
                };
                let mut order = step.expr.clone();
                for (column, expr) in order.iter_mut().zip(exprs) {
                    column.expr = expr.unalias();
                }
                let sort = Sort { expr: order, input: Arc::new(input), fetch: step.fetch };
                projection(LogicalPlan::Sort(sort), all_of(step.input.schema()))
                    .map(Transformed::yes)
            }
            LogicalPlan::Join(join) => {
                let done = match self.lateral(join)? {
                    Some(plan) => Some(plan),
                    None => self.conditioned(join)?,
                };
                Ok(done.map_or_else(|| Transformed::no(node), Transformed::yes))
            }
            _ => Ok(Transformed::no(node)),
        }
    }

    /// Expressions whose subqueries stand beside the rows, as columns of them. `None` where nothing is done.
    fn computed(
        &mut self,
        exprs: &[Expr],
        rows: &LogicalPlan,
        is_filter: bool,
    ) -> Result<Option<(LogicalPlan, Vec<Expr>)>> {
        let names = match is_filter {
            true => None,
            false => Some(NamePreserver::new_for_projection()),
        };
        let mut joined = rows.clone();
        let mut changed = false;
        let mut computed = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let done = expr.clone().transform_down(|part| {
                if is_filter && joins_itself(&part, rows.schema()) {
                    return Ok(Transformed::no(part));
                }
                let part = denied(part);
                // The subqueries that it is made of are looked at next.
                if let Some(counted) = counted(&part, rows.schema())? {
                    return Ok(Transformed::yes(counted));
                }
                let Expr::ScalarSubquery(subquery) = &part else {
                    return Ok(Transformed::no(part));
                };
                let query = &subquery.subquery;
                let known = !subquery.outer_ref_columns.is_empty();
                if outer_columns(query).is_empty() || known && is_simple_value(query, rows.schema())
                {
                    return Ok(Transformed::no(part));
                }
                Ok(match self.value(query, rows, &joined)? {
                    Some((with, value)) => {
                        joined = with;
                        Transformed::yes(value)
                    }
                    None => Transformed::no(part),
                })
            })?;
            changed |= done.transformed;
            computed.push(match (&names, done.transformed) {
                (Some(names), true) => names.save(expr).restore(done.data),
                _ => done.data,
            });
        }
        Ok(changed.then_some((joined, computed)))
    }

    /// Expressions of a node that knows no subqueries, over rows beside which these stand.
    fn apart(
        &mut self,
        exprs: Vec<Expr>,
        rows: &LogicalPlan,
    ) -> Result<Option<(LogicalPlan, Vec<Expr>)>> {
        let names = NamePreserver::new_for_projection();
        let mut beside = all_of(rows.schema());
        let own = beside.len();
        let mut over = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let name = names.save(&expr);
            let done = expr.transform_down(|part| {
                if !stands_apart(&part) {
                    return Ok(Transformed::no(part));
                }
                let name = format!("__tidemill_subquery_{}", self.next());
                beside.push(part.alias(&name));
                Ok(Transformed::yes(Expr::Column(Column::from_name(name))))
            })?;
            over.push(match done.transformed {
                true => name.restore(done.data),
                false => done.data,
            });
        }
        if beside.len() == own {
            return Ok(None);
        }
        let beside = Projection::try_new(beside, Arc::new(rows.clone()))?;
        let beside = self.node(LogicalPlan::Projection(beside))?.data;
        Ok(Some((beside, over)))
    }

    /// Rows with the value of a subquery beside them, and that value. `None` where it cannot be spread.
    fn value(
        &mut self,
        query: &LogicalPlan,
        rows: &LogicalPlan,
        joined: &LogicalPlan,
    ) -> Result<Option<(LogicalPlan, Expr)>> {
        let number = self.next();
        let Some(keys) = Keys::of(query, rows, number)? else { return Ok(None) };
        let Some(mut spread) = keys.spread(query)? else { return Ok(None) };
        let column = spread.schema().columns().pop();
        let Some(column) = column.map(Expr::Column) else { return Ok(None) };
        let name = format!("__tidemill_value_{number}");
        let value = match has_one_row(query) {
            true => column,
            false => {
                let single = Expr::AggregateFunction(single(column)?);
                let grouped = Aggregate::try_new(Arc::new(spread), keys.columns(), vec![single])?;
                spread = LogicalPlan::Aggregate(grouped);
                match spread.schema().columns().pop() {
                    Some(column) => Expr::Column(column),
                    None => return Ok(None),
                }
            }
        };
        let mut columns = keys.columns();
        columns.push(value.alias(&name));
        let spread = projection(spread, columns)?;
        let with = keys.join(joined.clone(), spread, JoinType::Left, None)?;
        Ok(Some((with, Expr::Column(Column::from_name(name)))))
    }

    /// A join with a query that is done for each row of the left side.
    fn lateral(&mut self, join: &Join) -> Result<Option<LogicalPlan>> {
        let Some(query) = lateral(join) else { return Ok(None) };
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Ok(None);
        }
        let left = join.left.schema();
        if outer_columns(query).is_empty()
            || is_filtered(query, left, false)
            || is_simple_value(query, left)
        {
            return Ok(None);
        }
        let number = self.next();
        let Some(keys) = Keys::of(query, &join.left, number)? else { return Ok(None) };
        let Some(spread) = keys.spread(query)? else { return Ok(None) };
        let given = spread.schema().columns();
        let given = given.into_iter().skip(keys.columns().len());
        let mut columns = keys.columns();
        columns.extend(given.zip(join.right.schema().iter()).map(|(column, (relation, field))| {
            Expr::Column(column).alias_qualified(relation.cloned(), field.name())
        }));
        let spread = projection(spread, columns)?;
        let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let filter = on.chain(join.filter.clone()).reduce(Expr::and);
        let joined = keys.join(join.left.as_ref().clone(), spread, join.join_type, filter)?;
        projection(joined, all_of(&join.schema)).map(Some)
    }
}

/// Whether an expression is a subquery that only a projection or a filter can have.
pub(crate) fn stands_apart(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(subquery) => !outer_columns(&subquery.subquery).is_empty(),
        Expr::Exists(_) | Expr::InSubquery(_) => true,
        _ => false,
    }
}

/// `exists` and `in` by how many rows there are.
fn counted(expr: &Expr, rows: &DFSchema) -> Result<Option<Expr>> {
    let any = |query: LogicalPlanBuilder| -> Result<Expr> {
        let counted = query
            .aggregate(Vec::<Expr>::new(), [count(lit(1_i64)).alias("rows")])?
            .project([Expr::Column(Column::from_name("rows"))])?
            .build()?;
        let outer_ref_columns = counted.all_out_ref_exprs();
        let subquery =
            Subquery { subquery: Arc::new(counted), outer_ref_columns, spans: Spans::new() };
        Ok(Expr::ScalarSubquery(subquery).gt(lit(0_i64)))
    };
    let either = |value: Expr, negated: bool| if negated { !value } else { value };
    match expr {
        Expr::Exists(exists) => {
            let found = any(exists.subquery.subquery.as_ref().clone().into())?;
            Ok(Some(either(found, exists.negated)))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let query = || LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            let Some(column) = subquery.subquery.schema().columns().pop() else { return Ok(None) };
            let column = Expr::Column(column);
            // Columns of the row that is compared are those of an outer row to the query.
            let wanted = expr.as_ref().clone().transform_up(|part| {
                Ok(match part {
                    Expr::Column(column) => {
                        let (_, field) = rows.qualified_field_from_column(&column)?;
                        Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column))
                    }
                    other => Transformed::no(other),
                })
            })?;
            let same = any(query().filter(column.clone().eq(wanted.data))?)?;
            let of_null = expr.as_ref().clone().is_null().and(any(query())?);
            let unknown = of_null.or(any(query().filter(column.is_null())?)?);
            let answer = when(same, lit(true))
                .when(unknown, lit(ScalarValue::Boolean(None)))
                .otherwise(lit(false))?;
            Ok(Some(either(answer, *negated)))
        }
        _ => Ok(None),
    }
}

/// `not x in (…)` as `x not in (…)`, where the query reads the outer row.
fn denied(expr: Expr) -> Expr {
    match expr {
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(mut within)
                if !outer_columns(&within.subquery.subquery).is_empty() =>
            {
                within.negated = !within.negated;
                Expr::InSubquery(within)
            }
            other => Expr::Not(Box::new(other)),
        },
        other => other,
    }
}

/// The aggregate that refuses a second row.
fn single(value: Expr) -> Result<AggregateFunction> {
    let function = crate::functions::single();
    Ok(AggregateFunction::new_udf(Arc::new(function), vec![value], false, None, Vec::new(), None))
}

/// Whether a query cannot have a second row for one of what it reads outside.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Limit(limit) => is_at_most(limit, 1) || has_one_row(&limit.input),
        LogicalPlan::Sort(sort) => sort.fetch == Some(1) || has_one_row(&sort.input),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().all(has_one_row),
        _ => false,
    }
}

fn is_at_most(limit: &Limit, rows: usize) -> bool {
    matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(count))) if count <= rows)
}

/// Whether DataFusion makes a join of this condition: its rows are chosen by a filter.
fn joins_itself(expr: &Expr, rows: &DFSchema) -> bool {
    match expr {
        Expr::Exists(exists) => is_filtered(&exists.subquery.subquery, rows, true),
        Expr::InSubquery(within) => {
            let query = &within.subquery.subquery;
            // Negated, a NULL of any row would count for all of them.
            outer_columns(query).is_empty() || !within.negated && is_filtered(query, rows, false)
        }
        // Looked at as what it denies.
        Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(within)
            if outer_columns(&within.subquery.subquery).is_empty()),
        _ => false,
    }
}

/// Rows of a query that does not look outside, chosen by a filter that does. Where it only matters whether there
/// are any (`exists`), they may be made different, sorted and counted.
fn is_filtered(plan: &LogicalPlan, rows: &DFSchema, exists: bool) -> bool {
    match plan {
        LogicalPlan::Projection(step) => {
            !step.expr.iter().any(Expr::contains_outer) && is_filtered(&step.input, rows, exists)
        }
        LogicalPlan::Limit(step) if exists => {
            matches!(step.get_skip_type(), Ok(SkipType::Literal(0)))
                && !is_at_most(step, 0)
                && is_filtered(&step.input, rows, exists)
        }
        LogicalPlan::Filter(step) => {
            outer_columns(&step.input).is_empty()
                && outer_columns(plan).iter().all(|column| rows.has_column(column))
        }
        other => exists && outer_columns(other).is_empty(),
    }
}

/// One value of aggregates over rows that have equal keys.
fn is_simple_value(plan: &LogicalPlan, rows: &DFSchema) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    let LogicalPlan::Aggregate(aggregate) = projection.input.as_ref() else { return false };
    let LogicalPlan::Filter(filter) = aggregate.input.as_ref() else { return false };
    let elsewhere = !aggregate.group_expr.is_empty()
        || projection.expr.iter().chain(&aggregate.aggr_expr).any(Expr::contains_outer);
    let conditions = split_conjunction(&filter.predicate);
    let mut with_outer = conditions.iter().filter(|condition| condition.contains_outer());
    !elsewhere
        && with_outer.all(|condition| is_equality(condition))
        && is_filtered(&aggregate.input, rows, false)
}

/// `inner = outer`, which DataFusion joins by.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return false;
    };
    left.contains_outer() != right.contains_outer()
}
