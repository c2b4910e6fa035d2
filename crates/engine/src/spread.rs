//! A query that is computed for each row of another one, as one query for all of them.
//!
//! The optimizer joins such queries where a filter alone looks at the outer row. Here every step of the query
//! is done for all outer rows at once: the different values that it reads of them, the *keys*, are joined with
//! what it reads, and each step keeps them. Aggregates are grouped by the keys, windows are divided by them, and
//! a limit counts the rows of each.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprFunctionExt, ExprSchemable, FetchType, Filter, Join,
    Limit, LogicalPlan, LogicalPlanBuilder, Projection, SkipType, Sort, SubqueryAlias, Union,
    Values, Window, cast, lit, when,
};

use crate::lateral::{all_of, lateral, projection};

/// The columns of the outer rows that a query reads, and their different values.
pub(crate) struct Keys {
    outer: Vec<Column>,
    /// What they are called beside the query's own columns: nothing else is called so.
    names: Vec<String>,
    rows: LogicalPlan,
}

/// The columns of outer rows that a query names. Those of queries within its expressions and of lateral queries
/// within it are theirs.
pub(crate) fn outer_columns(plan: &LogicalPlan) -> Vec<Column> {
    let mut found = Vec::new();
    collect(plan, &mut found);
    found
}

fn collect(plan: &LogicalPlan, found: &mut Vec<Column>) {
    // The closure gives no error.
    let _ = plan.apply_expressions(|expr| {
        expr.apply(|part| {
            if let Expr::OuterReferenceColumn(_, column) = part
                && !found.contains(column)
            {
                found.push(column.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    match plan {
        LogicalPlan::Join(join) if lateral(join).is_some() => collect(&join.left, found),
        other => other.inputs().into_iter().for_each(|input| collect(input, found)),
    }
}

/// What gives at least the values of these columns that the plan gives: joins that only add columns to rows are
/// left out.
fn source<'p>(plan: &'p LogicalPlan, columns: &[Column]) -> (&'p LogicalPlan, Vec<Column>) {
    let (mut plan, mut columns) = (plan, columns.to_vec());
    loop {
        let (input, named) = match plan {
            LogicalPlan::Projection(step) => {
                let named = columns.iter().map(|column| {
                    let place = step.schema.maybe_index_of_column(column)?;
                    match step.expr[place].clone().unalias() {
                        Expr::Column(column) => Some(column),
                        _ => None,
                    }
                });
                (&step.input, named.collect::<Option<Vec<_>>>())
            }
            LogicalPlan::SubqueryAlias(step) => {
                let named = columns.iter().map(|column| {
                    let place = step.schema.maybe_index_of_column(column)?;
                    Some(Column::from(step.input.schema().qualified_field(place)))
                });
                (&step.input, named.collect::<Option<Vec<_>>>())
            }
            LogicalPlan::Join(step)
                if matches!(step.join_type, JoinType::Left | JoinType::Inner)
                    && columns.iter().all(|column| step.left.schema().has_column(column)) =>
            {
                (&step.left, Some(columns.clone()))
            }
            _ => return (plan, columns),
        };
        let Some(named) = named else { return (plan, columns) };
        (plan, columns) = (input, named);
    }
}

/// Whether something in the plan has another value each time.
pub(crate) fn moves(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(node.expressions().iter().any(Expr::is_volatile)))
        // The closure gives no error.
        .unwrap_or(true)
}

impl Keys {
    /// The keys of a query over these outer rows; `number` tells them from others. `None` where the rows are
    /// others each time that they are computed.
    pub(crate) fn of(
        query: &LogicalPlan,
        rows: &LogicalPlan,
        number: usize,
    ) -> Result<Option<Self>> {
        let mut outer = outer_columns(query);
        outer.retain(|column| rows.schema().has_column(column));
        let names: Vec<String> =
            (0..outer.len()).map(|place| format!("__tidemill_key_{number}_{place}")).collect();
        if outer.is_empty() {
            return Ok(Some(Keys { outer, names, rows: LogicalPlan::default() }));
        }
        let (source, columns) = source(rows, &outer);
        if moves(source) {
            return Ok(None);
        }
        let named = columns.into_iter().zip(&names);
        let named = named.map(|(column, name)| Expr::Column(column).alias(name));
        let rows = LogicalPlanBuilder::from(source.clone()).project(named)?.distinct()?.build()?;
        Ok(Some(Keys { outer, names, rows }))
    }

    /// Outer rows with those of a spread query that go with each.
    pub(crate) fn join(
        &self,
        rows: LogicalPlan,
        spread: LogicalPlan,
        join_type: JoinType,
        filter: Option<Expr>,
    ) -> Result<LogicalPlan> {
        let rows = LogicalPlanBuilder::from(rows);
        if self.outer.is_empty() {
            return rows.join_on(spread, join_type, [filter.unwrap_or(lit(true))])?.build();
        }
        let keys = self.names.iter().map(Column::from_name).collect();
        let same = (self.outer.clone(), keys);
        rows.join_detailed(spread, join_type, same, filter, NullEquality::NullEqualsNull)?.build()
    }

    /// The keys, as columns of a spread query.
    pub(crate) fn columns(&self) -> Vec<Expr> {
        self.names.iter().map(|name| Expr::Column(Column::from_name(name))).collect()
    }

    /// Whether a step or one below it reads the outer rows.
    fn read_by(&self, plan: &LogicalPlan) -> bool {
        outer_columns(plan).iter().any(|column| self.outer.contains(column))
    }

    /// The expression over the keys.
    fn replaced(&self, expr: &Expr) -> Result<Expr> {
        let replaced = expr.clone().transform_up(|part| {
            let place = match &part {
                Expr::OuterReferenceColumn(_, column) => {
                    self.outer.iter().position(|known| known == column)
                }
                _ => None,
            };
            Ok(match place {
                Some(place) => {
                    Transformed::yes(Expr::Column(Column::from_name(&self.names[place])))
                }
                None => Transformed::no(part),
            })
        })?;
        Ok(replaced.data)
    }

    /// The same for results, which keep their names.
    fn results(&self, exprs: &[Expr]) -> Result<Vec<Expr>> {
        let names = NamePreserver::new_for_projection();
        exprs.iter().map(|expr| Ok(names.save(expr).restore(self.replaced(expr)?))).collect()
    }

    fn sorted(&self, order: &[SortExpr]) -> Result<Vec<SortExpr>> {
        let one = |column: &SortExpr| {
            Ok(SortExpr::new(self.replaced(&column.expr)?, column.asc, column.nulls_first))
        };
        order.iter().map(one).collect()
    }

    /// The keys and then these.
    fn with(&self, exprs: Vec<Expr>) -> Vec<Expr> {
        let mut all = self.columns();
        all.extend(exprs);
        all
    }

    /// The query for all keys: its columns behind those of the keys. `None` where a step of it cannot be done
    /// so.
    pub(crate) fn spread(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if self.outer.is_empty() {
            return Ok(Some(plan.clone()));
        }
        if !self.read_by(plan) {
            let one_row =
                matches!(plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row);
            return Ok(Some(match one_row {
                true => self.rows.clone(),
                false => {
                    LogicalPlanBuilder::from(self.rows.clone()).cross_join(plan.clone())?.build()?
                }
            }));
        }
        match plan {
            LogicalPlan::Projection(step) => {
                let Some(input) = self.spread(&step.input)? else { return Ok(None) };
                projection(input, self.with(self.results(&step.expr)?)).map(Some)
            }
            LogicalPlan::Filter(step) => {
                let Some(input) = self.spread(&step.input)? else { return Ok(None) };
                let filter = Filter::try_new(self.replaced(&step.predicate)?, Arc::new(input))?;
                Ok(Some(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::SubqueryAlias(step) => self.renamed(step),
            // A lateral query that stands first.
            LogicalPlan::Subquery(step) => self.spread(&step.subquery),
            LogicalPlan::Aggregate(step) => self.aggregate(step),
            LogicalPlan::Window(step) => self.window(step),
            LogicalPlan::Sort(step) => match step.fetch {
                Some(count) => self.first(&step.input, &step.expr, 0, Some(count)),
                None => {
                    let Some(input) = self.spread(&step.input)? else { return Ok(None) };
                    let expr = self.sorted(&step.expr)?;
                    let sort = Sort { expr, input: Arc::new(input), fetch: None };
                    Ok(Some(LogicalPlan::Sort(sort)))
                }
            },
            LogicalPlan::Limit(step) => self.limit(step),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(input) = self.spread(input)? else { return Ok(None) };
                LogicalPlanBuilder::from(input).distinct()?.build().map(Some)
            }
            LogicalPlan::Distinct(Distinct::On(step)) => {
                let Some(input) = self.spread(&step.input)? else { return Ok(None) };
                let on: Result<Vec<Expr>> =
                    step.on_expr.iter().map(|expr| self.replaced(expr)).collect();
                let order = match &step.sort_expr {
                    None => None,
                    Some(order) => {
                        let keys = self.columns().into_iter();
                        let mut all: Vec<SortExpr> =
                            keys.map(|key| SortExpr::new(key, true, false)).collect();
                        all.extend(self.sorted(order)?);
                        Some(all)
                    }
                };
                let select = self.with(self.results(&step.select_expr)?);
                let distinct = DistinctOn::try_new(self.with(on?), select, order, Arc::new(input))?;
                Ok(Some(LogicalPlan::Distinct(Distinct::On(distinct))))
            }
            LogicalPlan::Union(step) => self.union(step),
            LogicalPlan::Join(step) => self.joined(step),
            LogicalPlan::Unnest(step) => {
                let Some(input) = self.spread(&step.input)? else { return Ok(None) };
                LogicalPlanBuilder::from(input)
                    .unnest_columns_with_options(step.exec_columns.clone(), step.options.clone())?
                    .build()
                    .map(Some)
            }
            LogicalPlan::Values(step) => self.values(step),
            _ => Ok(None),
        }
    }

    fn renamed(&self, step: &SubqueryAlias) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.spread(&step.input)? else { return Ok(None) };
        // Not as columns that are called anew, with the name that they had: where a field of one is read, the
        // optimizer has both beside one another.
        let own = |name: &String| format!("{name}_of");
        let mut inner: Vec<Expr> = self
            .names
            .iter()
            .map(|name| Expr::Column(Column::from_name(name)).alias(own(name)))
            .collect();
        inner.extend(all_of(step.input.schema()));
        let inner = projection(input, inner)?;
        let aliased = SubqueryAlias::try_new(Arc::new(inner), step.alias.clone())?;
        let key = |name: &String| {
            Expr::Column(Column::new(Some(step.alias.clone()), own(name))).alias(name)
        };
        let mut columns: Vec<Expr> = self.names.iter().map(key).collect();
        columns.extend(all_of(&step.schema));
        projection(LogicalPlan::SubqueryAlias(aliased), columns).map(Some)
    }

    fn aggregate(&self, step: &Aggregate) -> Result<Option<LogicalPlan>> {
        if step.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Ok(None);
        }
        let Some(input) = self.spread(&step.input)? else { return Ok(None) };
        let input = Arc::new(input);
        let aggregates = self.results(&step.aggr_expr)?;
        let groups = self.with(self.results(&step.group_expr)?);
        let grouped = Aggregate::try_new(input.clone(), groups, aggregates)?;
        if !step.group_expr.is_empty() {
            return Ok(Some(LogicalPlan::Aggregate(grouped)));
        }
        // A key without rows has what the aggregates give for none.
        let again = |name: &str| format!("{name}_found");
        let values = grouped.schema.columns().into_iter().skip(self.names.len());
        let value = |place: usize| format!("{}_value_{place}", self.names[0]);
        let mut found: Vec<Expr> = self
            .names
            .iter()
            .map(|name| Expr::Column(Column::from_name(name)).alias(again(name)))
            .collect();
        found.extend(
            values.enumerate().map(|(place, column)| Expr::Column(column).alias(value(place))),
        );
        let found = projection(LogicalPlan::Aggregate(grouped), found)?;
        let keys: Vec<Column> = self.names.iter().map(Column::from_name).collect();
        let others: Vec<Column> =
            self.names.iter().map(|name| Column::from_name(again(name))).collect();
        let joined = LogicalPlanBuilder::from(self.rows.clone())
            .join_detailed(
                found,
                JoinType::Left,
                (keys, others),
                None,
                NullEquality::NullEqualsNull,
            )?
            .build()?;
        let results = step.schema.iter().zip(&step.aggr_expr).enumerate();
        let results = results.map(|(place, ((relation, field), aggregate))| {
            let column = Expr::Column(Column::from_name(value(place)));
            let of_none = match aggregate.clone().unalias() {
                Expr::AggregateFunction(call) => {
                    let data_type = self.replaced(aggregate)?.get_type(input.schema())?;
                    Some(call.func.default_value(&data_type)?).filter(|value| !value.is_null())
                }
                _ => None,
            };
            let value = match of_none {
                Some(none) => when(column.clone().is_null(), lit(none)).otherwise(column)?,
                None => column,
            };
            Ok(value.alias_qualified(relation.cloned(), field.name()))
        });
        let results = results.collect::<Result<Vec<Expr>>>()?;
        projection(joined, self.with(results)).map(Some)
    }

    fn window(&self, step: &Window) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.spread(&step.input)? else { return Ok(None) };
        let divided = step.window_expr.iter().map(|expr| {
            let replaced = self.replaced(&expr.clone().unalias())?;
            let divided = replaced.transform_up(|part| {
                Ok(match part {
                    Expr::WindowFunction(mut call) => {
                        call.params.partition_by.extend(self.columns());
                        Transformed::yes(Expr::WindowFunction(call))
                    }
                    other => Transformed::no(other),
                })
            })?;
            Ok(divided.data)
        });
        let divided = divided.collect::<Result<Vec<Expr>>>()?;
        let before = input.schema().fields().len();
        let window = Window::try_new(divided, Arc::new(input))?;
        let computed = window.schema.columns().into_iter().skip(before);
        let mut columns = all_of(step.input.schema());
        let named = step.schema.iter().skip(columns.len());
        columns.extend(named.zip(computed).map(|((relation, field), column)| {
            Expr::Column(column).alias_qualified(relation.cloned(), field.name())
        }));
        projection(LogicalPlan::Window(window), self.with(columns)).map(Some)
    }

    fn limit(&self, step: &Limit) -> Result<Option<LogicalPlan>> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (step.get_skip_type()?, step.get_fetch_type()?)
        else {
            return Ok(None);
        };
        let below = |input: &Arc<LogicalPlan>| {
            Arc::new(LogicalPlan::Limit(Limit { input: input.clone(), ..step.clone() }))
        };
        match step.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                self.first(&sort.input, &sort.expr, skip, fetch)
            }
            // They give a row for each row: the order stands below them.
            LogicalPlan::Projection(inner) if is_sorted(&inner.input) => {
                let inner = Projection::try_new_with_schema(
                    inner.expr.clone(),
                    below(&inner.input),
                    inner.schema.clone(),
                )?;
                self.spread(&LogicalPlan::Projection(inner))
            }
            LogicalPlan::SubqueryAlias(inner) if is_sorted(&inner.input) => {
                let inner = SubqueryAlias::try_new(below(&inner.input), inner.alias.clone())?;
                self.spread(&LogicalPlan::SubqueryAlias(inner))
            }
            _ => self.first(&step.input, &[], skip, fetch),
        }
    }

    /// These rows of each key, in an order.
    fn first(
        &self,
        input: &LogicalPlan,
        order: &[SortExpr],
        skip: usize,
        count: Option<usize>,
    ) -> Result<Option<LogicalPlan>> {
        let Some(spread) = self.spread(input)? else { return Ok(None) };
        let mut number = row_number().partition_by(self.columns());
        if !order.is_empty() {
            number = number.order_by(self.sorted(order)?);
        }
        let before = spread.schema().fields().len();
        let numbered = Window::try_new(vec![number.build()?], Arc::new(spread))?;
        let number = Expr::Column(numbered.schema.columns().swap_remove(before));
        let mut wanted = number.clone().gt(lit(skip as u64));
        if let Some(count) = count {
            wanted = wanted.and(number.lt_eq(lit(skip.saturating_add(count) as u64)));
        }
        let chosen = Filter::try_new(wanted, Arc::new(LogicalPlan::Window(numbered)))?;
        projection(LogicalPlan::Filter(chosen), self.with(all_of(input.schema()))).map(Some)
    }

    fn union(&self, step: &Union) -> Result<Option<LogicalPlan>> {
        let mut branches = Vec::with_capacity(step.inputs.len());
        for input in &step.inputs {
            let Some(branch) = self.spread(input)? else { return Ok(None) };
            branches.push(Arc::new(branch));
        }
        let union = Union::try_new_with_loose_types(branches)?;
        let columns = union.schema.columns().into_iter().skip(self.names.len());
        let columns = columns.zip(step.schema.iter()).map(|(column, (relation, field))| {
            Expr::Column(column).alias_qualified(relation.cloned(), field.name())
        });
        let columns = self.with(columns.collect());
        projection(LogicalPlan::Union(union), columns).map(Some)
    }

    fn joined(&self, step: &Join) -> Result<Option<LogicalPlan>> {
        let left = self.read_by(&step.left);
        let right = lateral(step).is_none() && self.read_by(&step.right);
        // It takes no other condition.
        if step.null_aware && right {
            return Ok(None);
        }
        // Which side's rows stay without one of the other: it must have the keys.
        let (left, right) = match step.join_type {
            JoinType::Inner => (left || !right, right),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (true, right),
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => (left, true),
            JoinType::Full => (true, true),
            JoinType::LeftMark | JoinType::RightMark => return Ok(None),
        };
        let side = |plan: &Arc<LogicalPlan>, spread: bool| match spread {
            true => self.spread(plan),
            false => Ok(Some(plan.as_ref().clone())),
        };
        let Some(left_side) = side(&step.left, left)? else { return Ok(None) };
        let Some(mut right_side) = side(&step.right, right)? else { return Ok(None) };
        let other = |name: &str| format!("{name}_right");
        let key = |name: &str| Expr::Column(Column::from_name(name));
        let mut conditions: Vec<Expr> = Vec::new();
        if left && right {
            let mut columns: Vec<Expr> =
                self.names.iter().map(|name| key(name).alias(other(name))).collect();
            columns.extend(all_of(step.right.schema()));
            right_side = projection(right_side, columns)?;
            conditions.extend(self.names.iter().map(|name| same(key(name), key(&other(name)))));
        }
        if let Some(filter) = &step.filter {
            conditions.push(self.replaced(filter)?);
        }
        let on: Result<Vec<(Expr, Expr)>> = step
            .on
            .iter()
            .map(|(one, two)| Ok((self.replaced(one)?, self.replaced(two)?)))
            .collect();
        let on = on?;
        let filter = conditions.into_iter().reduce(Expr::and);
        let joined = LogicalPlan::Join(Join::try_new(
            Arc::new(left_side),
            Arc::new(right_side),
            on,
            filter,
            step.join_type,
            step.join_constraint,
            step.null_equality,
            step.null_aware,
        )?);
        let keys = self.names.iter().map(|name| match (left, right) {
            (true, true) => match step.join_type {
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => {
                    Ok(key(&other(name)).alias(name))
                }
                JoinType::Full => {
                    let mut either = when(key(name).is_null(), key(&other(name)));
                    Ok(either.otherwise(key(name))?.alias(name))
                }
                _ => Ok(key(name)),
            },
            _ => Ok(key(name)),
        });
        let mut columns = keys.collect::<Result<Vec<Expr>>>()?;
        columns.extend(all_of(&step.schema));
        projection(joined, columns).map(Some)
    }

    /// A list of rows as a union of them.
    fn values(&self, step: &Values) -> Result<Option<LogicalPlan>> {
        let row = |values: &Vec<Expr>| {
            let named = values.iter().zip(step.schema.fields()).map(|(value, field)| {
                cast(value.clone(), field.data_type().clone()).alias(field.name())
            });
            LogicalPlanBuilder::empty(true).project(named)?.build()
        };
        let mut rows = step.values.iter().map(row).collect::<Result<Vec<LogicalPlan>>>()?;
        let all = match rows.len() {
            1 => rows.swap_remove(0),
            _ => {
                let rows = rows.into_iter().map(Arc::new).collect();
                LogicalPlan::Union(Union::try_new_with_loose_types(rows)?)
            }
        };
        self.spread(&all)
    }
}

/// Whether two keys are the same, or both NULL.
pub(crate) fn same(one: Expr, two: Expr) -> Expr {
    Expr::BinaryExpr(datafusion::logical_expr::BinaryExpr::new(
        Box::new(one),
        datafusion::logical_expr::Operator::IsNotDistinctFrom,
        Box::new(two),
    ))
}

fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(sort) => sort.fetch.is_none(),
        LogicalPlan::Projection(inner) => is_sorted(&inner.input),
        LogicalPlan::SubqueryAlias(inner) => is_sorted(&inner.input),
        _ => false,
    }
}
