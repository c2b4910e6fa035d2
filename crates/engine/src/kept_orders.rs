//! The order of a query within another one: `select * from (select … order by x) limit 10`, and
//! `select string_agg(name, ', ') from (select … order by name)`.
//!
//! PostgreSQL sorts such rows and goes on with them as they come, and people rely on it. Here an order stays where
//! it can be seen: in the rows of the whole query, before a limit, a window without an order of its own,
//! `distinct on`, and aggregates that take their rows as they come; these get the place of each row as their
//! order. Where nothing sees it the rows are not sorted.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprFunctionExt, Filter, Limit, LogicalPlan, Projection,
    Sort, SubqueryAlias, Window,
};
use datafusion::optimizer::AnalyzerRule;

use crate::lateral::{all_of, projection};

/// Runs before all others: they see fewer steps.
#[derive(Debug)]
pub(crate) struct KeptOrders;

impl AnalyzerRule for KeptOrders {
    fn name(&self) -> &str {
        "kept_orders"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let sorted = plan.apply_with_subqueries(|node| {
            Ok(match node {
                LogicalPlan::Sort(_) => TreeNodeRecursion::Stop,
                _ => TreeNodeRecursion::Continue,
            })
        })?;
        match sorted {
            TreeNodeRecursion::Stop => Ok(settled(plan, true)?.data),
            _ => Ok(plan),
        }
    }
}

/// The plan without orders that nobody sees; `seen` says whether that of its own rows is.
fn settled(plan: LogicalPlan, seen: bool) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Sort(sort) = &plan
        && sort.fetch.is_none()
        && !seen
    {
        let input = settled(sort.input.as_ref().clone(), false)?;
        return Ok(Transformed::yes(input.data));
    }
    let within = match &plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_) => seen,
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Window(window) => seen || window.window_expr.iter().any(counts_rows),
        LogicalPlan::Aggregate(step) => step.aggr_expr.iter().any(takes_rows_as_they_come),
        LogicalPlan::Distinct(Distinct::On(step)) => step.sort_expr.is_none(),
        _ => false,
    };
    let plan = plan
        .map_children(|child| settled(child, within))?
        .transform_sibling(|plan| plan.map_subqueries(|query| settled(query, false)))?;
    if !within {
        return Ok(plan);
    }
    plan.transform_data(|plan| {
        let ordered = match &plan {
            LogicalPlan::Aggregate(step) => aggregate(step)?,
            LogicalPlan::Window(step) if step.window_expr.iter().any(counts_rows) => {
                window(step, seen)?
            }
            LogicalPlan::Distinct(Distinct::On(step)) => distinct(step)?,
            _ => None,
        };
        Ok(ordered.map_or_else(|| Transformed::no(plan), Transformed::yes))
    })
}

/// Whether a window function looks at the rows in the order in which they come.
fn counts_rows(expr: &Expr) -> bool {
    match expr.clone().unalias() {
        Expr::WindowFunction(call) => {
            call.params.order_by.is_empty() && call.params.partition_by.is_empty()
        }
        _ => false,
    }
}

/// Whether the value of an aggregate depends on the order of its rows, and it has none of its own.
fn takes_rows_as_they_come(expr: &Expr) -> bool {
    match expr.clone().unalias() {
        Expr::AggregateFunction(call) => {
            call.params.order_by.is_empty()
                && !call.params.distinct
                && ["array_agg", "string_agg", "first_value", "last_value"]
                    .contains(&call.func.name())
        }
        _ => false,
    }
}

/// Whether an aggregate has an order: one `select` sorts its rows once.
fn has_order(expr: &Expr) -> bool {
    match expr.clone().unalias() {
        Expr::AggregateFunction(call) => !call.params.order_by.is_empty(),
        _ => false,
    }
}

/// The place of a row among those of the sorted query.
const PLACE: &str = "__tidemill_sorted_place";

fn aggregate(step: &Aggregate) -> Result<Option<LogicalPlan>> {
    if step.aggr_expr.iter().any(has_order) {
        return Ok(None);
    }
    let Some(input) = numbered(&step.input)? else { return Ok(None) };
    let order = vec![by_place(&input)];
    let names = NamePreserver::new_for_projection();
    let ordered = step.aggr_expr.iter().map(|expr| {
        let name = names.save(expr);
        let done = expr.clone().transform_down(|part| {
            Ok(match part {
                Expr::AggregateFunction(mut call) => {
                    let call_again = Expr::AggregateFunction(call.clone());
                    match takes_rows_as_they_come(&call_again) {
                        true => {
                            call.params.order_by = order.clone();
                            Transformed::new(
                                Expr::AggregateFunction(call),
                                true,
                                TreeNodeRecursion::Jump,
                            )
                        }
                        false => Transformed::no(call_again),
                    }
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(name.restore(done.data))
    });
    let ordered = ordered.collect::<Result<Vec<Expr>>>()?;
    let aggregate = Aggregate::try_new(Arc::new(input), step.group_expr.clone(), ordered)?;
    Ok(Some(LogicalPlan::Aggregate(aggregate)))
}

/// Windows without an order get the rows in that of the query below them.
fn window(step: &Window, seen: bool) -> Result<Option<LogicalPlan>> {
    let Some(input) = numbered(&step.input)? else { return Ok(None) };
    let place = by_place(&input);
    let before = input.schema().fields().len();
    let ordered = step.window_expr.iter().map(|expr| {
        let counts = counts_rows(expr);
        match expr.clone().unalias() {
            // Its frame stays what it was: all rows.
            Expr::WindowFunction(mut call) if counts => {
                call.params.order_by = vec![place.clone()];
                Expr::WindowFunction(call)
            }
            other => other,
        }
    });
    let window = Window::try_new(ordered.collect(), Arc::new(input))?;
    let mut columns = all_of(step.input.schema());
    let named = step.schema.iter().skip(columns.len());
    let computed = window.schema.columns().into_iter().skip(before);
    columns.extend(named.zip(computed).map(|((relation, field), column)| {
        Expr::Column(column).alias_qualified(relation.cloned(), field.name())
    }));
    let window = LogicalPlan::Window(window);
    let rows = match seen {
        true => LogicalPlan::Sort(Sort { expr: vec![place], input: Arc::new(window), fetch: None }),
        false => window,
    };
    projection(rows, columns).map(Some)
}

/// The first row of each, as the rows come.
fn distinct(step: &DistinctOn) -> Result<Option<LogicalPlan>> {
    let Some(input) = numbered(&step.input)? else { return Ok(None) };
    let mut order: Vec<SortExpr> =
        step.on_expr.iter().map(|expr| SortExpr::new(expr.clone(), true, false)).collect();
    order.push(by_place(&input));
    let (on, select) = (step.on_expr.clone(), step.select_expr.clone());
    let distinct = DistinctOn::try_new(on, select, Some(order), Arc::new(input))?;
    Ok(Some(LogicalPlan::Distinct(Distinct::On(distinct))))
}

fn by_place(rows: &LogicalPlan) -> SortExpr {
    SortExpr::new(Expr::Column(place_of(rows)), true, false)
}

/// The column of places.
fn place_of(rows: &LogicalPlan) -> Column {
    let columns = rows.schema().columns().into_iter();
    let mut found = columns.filter(|column| column.name == PLACE);
    found.next().unwrap_or_else(|| Column::from_name(PLACE))
}

/// The rows of a sorted query, each with its place beside it. `None` where they are not sorted.
fn numbered(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Sort(sort) => {
            // Only the first rows: they have to be chosen before.
            let rows = match sort.fetch {
                Some(_) => plan.clone(),
                None => sort.input.as_ref().clone(),
            };
            Some(with_places(rows, sort)?)
        }
        LogicalPlan::Limit(step) => match step.input.as_ref() {
            LogicalPlan::Sort(sort) => Some(with_places(plan.clone(), sort)?),
            input => {
                let Some(input) = numbered(input)? else { return Ok(None) };
                Some(LogicalPlan::Limit(Limit { input: Arc::new(input), ..step.clone() }))
            }
        },
        LogicalPlan::Projection(step) => {
            let Some(input) = numbered(&step.input)? else { return Ok(None) };
            let mut columns = step.expr.clone();
            columns.push(Expr::Column(place_of(&input)));
            Some(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
        }
        LogicalPlan::SubqueryAlias(step) => {
            let Some(input) = numbered(&step.input)? else { return Ok(None) };
            let renamed = SubqueryAlias::try_new(Arc::new(input), step.alias.clone())?;
            Some(LogicalPlan::SubqueryAlias(renamed))
        }
        LogicalPlan::Filter(step) => {
            let Some(input) = numbered(&step.input)? else { return Ok(None) };
            let filter = Filter::try_new(step.predicate.clone(), Arc::new(input))?;
            Some(LogicalPlan::Filter(filter))
        }
        _ => None,
    })
}

fn with_places(rows: LogicalPlan, sort: &Sort) -> Result<LogicalPlan> {
    let mut columns = all_of(rows.schema());
    let own = columns.len();
    let number = row_number().order_by(sort.expr.clone()).build()?;
    let window = Window::try_new(vec![number], Arc::new(rows))?;
    columns.extend(
        window
            .schema
            .columns()
            .into_iter()
            .skip(own)
            .map(|column| Expr::Column(column).alias(PLACE)),
    );
    let numbered = Projection::try_new(columns, Arc::new(LogicalPlan::Window(window)))?;
    Ok(LogicalPlan::Projection(numbered))
}
