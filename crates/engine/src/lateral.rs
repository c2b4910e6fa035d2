//! `lateral` without a relation of its own: `cross join lateral (select a.x + 1 as y)`,
//! `cross join unnest(a.list)`, `lateral (values (a.x), (a.y))`, `lateral (select a.x union all select a.y)`.
//!
//! Such a query computes its rows from one row of the left side. The optimizer knows laterals only
//! as joins with a relation, so here the steps of the query are put on top of the left side: each
//! keeps the columns of the left side and adds its own, under names that nothing else has.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, NullHandling, RecursionUnnestOption, Result, UnnestOptions,
};
use datafusion::logical_expr::{
    Case, Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Union, Unnest, Values,
    cast, lit,
};

/// Replaces all such joins of a plan.
pub(crate) fn settle_laterals(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(join) if lateral(join).is_some());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(plan);
    }
    let mut names = 0;
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
        Ok(match inlined(join, &mut names)? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(node),
        })
    })?;
    Ok(plan.data)
}

/// The lateral query on the right side of a join.
pub(crate) fn lateral(join: &Join) -> Option<&LogicalPlan> {
    let mut right = join.right.as_ref();
    while let LogicalPlan::SubqueryAlias(alias) = right {
        right = &alias.input;
    }
    match right {
        LogicalPlan::Subquery(subquery) => Some(&subquery.subquery),
        _ => None,
    }
}

fn inlined(join: &Join, names: &mut usize) -> Result<Option<LogicalPlan>> {
    let Some(query) = lateral(join) else { return Ok(None) };
    let trivial =
        join.on.is_empty() && join.filter.as_ref().is_none_or(|filter| *filter == lit(true));
    let outer = match join.join_type {
        JoinType::Inner => false,
        // The condition could leave a row of the left side without one of the right.
        JoinType::Left if trivial => true,
        _ => return Ok(None),
    };
    let mut extension =
        Extension { left: join.left.as_ref(), outer, unnested: false, branch: None, names };
    let Some((mut plan, columns)) = extension.extend(query)? else { return Ok(None) };
    let right = join.right.schema();
    if columns.len() != right.fields().len() {
        return Ok(None);
    }
    if !trivial {
        let mut conditions: Vec<Expr> =
            join.on.iter().map(|(left, right)| left.clone().eq(right.clone())).collect();
        conditions.extend(join.filter.clone());
        for condition in conditions {
            let condition = condition
                .transform_up(|expr| match expr {
                    Expr::Column(column) => Ok(match right.maybe_index_of_column(&column) {
                        Some(index) => Transformed::yes(Expr::Column(columns[index].clone())),
                        None => Transformed::no(Expr::Column(column)),
                    }),
                    other => Ok(Transformed::no(other)),
                })?
                .data;
            plan = LogicalPlanBuilder::from(plan).filter(condition)?.build()?;
        }
    }
    let mut exprs = all_of(join.left.schema());
    exprs.extend(right.iter().zip(columns).map(|((qualifier, field), column)| {
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    }));
    Ok(Some(projection(plan, exprs)?))
}

pub(crate) fn projection(input: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
}

pub(crate) fn all_of(schema: &DFSchema) -> Vec<Expr> {
    schema.iter().map(|field| Expr::Column(Column::from(field))).collect()
}

/// The plan so far, and which of its columns are those of the query.
type Extended = Option<(LogicalPlan, Vec<Column>)>;

struct Extension<'a> {
    left: &'a LogicalPlan,
    /// Rows of the left side stay when the query has none for them.
    outer: bool,
    unnested: bool,
    /// Which rows of the left side are those of this branch of a union.
    branch: Option<Expr>,
    names: &'a mut usize,
}

impl Extension<'_> {
    /// The left side with the columns of this step; `None` when it is not of one row alone.
    fn extend(&mut self, node: &LogicalPlan) -> Result<Extended> {
        match node {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
                Ok(Some((self.left.clone(), Vec::new())))
            }
            LogicalPlan::SubqueryAlias(alias) => self.extend(&alias.input),
            LogicalPlan::Subquery(subquery) => self.extend(&subquery.subquery),
            // The rows of a join have no order.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.extend(&sort.input),
            LogicalPlan::Projection(projection) => self.project(projection),
            LogicalPlan::Filter(filter) if !self.outer => {
                let Some((plan, columns)) = self.extend(&filter.input)? else { return Ok(None) };
                let Some(mut condition) =
                    self.rewritten(&filter.predicate, filter.input.schema(), &columns)?
                else {
                    return Ok(None);
                };
                // The rows of other branches stay.
                if let Some(branch) = &self.branch {
                    condition = branch.clone().is_not_true().or(condition);
                }
                let plan = LogicalPlanBuilder::from(plan).filter(condition)?.build()?;
                Ok(Some((plan, columns)))
            }
            // It would give rows to other branches.
            LogicalPlan::Unnest(unnest) if self.branch.is_none() => self.unnest(unnest),
            LogicalPlan::Values(values) if self.branch.is_none() => self.values(values),
            LogicalPlan::Union(union) if self.branch.is_none() => self.union(union),
            _ => Ok(None),
        }
    }

    fn project(&mut self, step: &Projection) -> Result<Extended> {
        let Some((plan, columns)) = self.extend(&step.input)? else { return Ok(None) };
        let mut exprs = all_of(self.left.schema());
        let mut given = Vec::with_capacity(step.expr.len());
        for expr in &step.expr {
            let Some(rewritten) = self.rewritten(expr, step.input.schema(), &columns)? else {
                return Ok(None);
            };
            let rewritten = rewritten.unalias();
            // What is not made of the query's own columns would not be NULL where it has no row.
            if self.outer && self.unnested && !passes_nulls(&rewritten, &columns) {
                return Ok(None);
            }
            let name = self.name();
            exprs.push(rewritten.alias(&name));
            given.push(Column::from_name(name));
        }
        Ok(Some((projection(plan, exprs)?, given)))
    }

    fn unnest(&mut self, step: &Unnest) -> Result<Extended> {
        if !step.struct_type_columns.is_empty() {
            return Ok(None);
        }
        let Some((plan, columns)) = self.extend(&step.input)? else { return Ok(None) };
        let input = step.input.schema();
        let place = |column: &Column| -> Result<Column> {
            Ok(columns[input.index_of_column(column)?].clone())
        };
        let handling =
            if self.outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
        let mut options = UnnestOptions::new().with_null_handling(handling);
        let mut given = Vec::with_capacity(step.schema.fields().len());
        for (qualifier, field) in step.schema.iter() {
            let column = Column::new(qualifier.cloned(), field.name());
            let made = step.list_type_columns.iter().find(|(_, made)| made.output_column == column);
            match made {
                Some((index, made)) => {
                    let output = Column::from_name(self.name());
                    options = options.with_recursions(RecursionUnnestOption {
                        input_column: columns[*index].clone(),
                        output_column: output.clone(),
                        depth: made.depth,
                    });
                    given.push(output);
                }
                None => given.push(place(&column)?),
            }
        }
        let lists = step.exec_columns.iter().map(place).collect::<Result<Vec<Column>>>()?;
        let plan =
            LogicalPlanBuilder::from(plan).unnest_columns_with_options(lists, options)?.build()?;
        self.unnested = true;
        Ok(Some((plan, given)))
    }

    /// One row for each of the list: its number, and then what it holds.
    fn values(&mut self, step: &Values) -> Result<Extended> {
        let (plan, number) = self.numbered(step.values.len())?;
        let mut rows = Vec::with_capacity(step.values.len());
        for row in &step.values {
            let mut values = Vec::with_capacity(row.len());
            for value in row {
                let Some(value) = self.rewritten(value, &DFSchema::empty(), &[])? else {
                    return Ok(None);
                };
                values.push(value);
            }
            rows.push(values);
        }
        self.chosen(plan, &number, &rows, &step.schema)
    }

    /// One row for each branch of `union all`, in the same way. A branch is made of one row, and may
    /// leave it out.
    fn union(&mut self, step: &Union) -> Result<Extended> {
        let mut inputs = Vec::new();
        branches(step, &mut inputs);
        let (mut plan, number) = self.numbered(inputs.len())?;
        let mut rows = Vec::with_capacity(inputs.len());
        for (branch, input) in (0_i64..).zip(inputs) {
            // A list of one row is that row.
            if let LogicalPlan::Values(values) = input
                && let [row] = values.values.as_slice()
            {
                let row = row.iter().map(|value| self.rewritten(value, &DFSchema::empty(), &[]));
                let Some(row) = row.collect::<Result<Option<Vec<Expr>>>>()? else {
                    return Ok(None);
                };
                rows.push(row);
                continue;
            }
            let own = number.clone().eq(lit(branch));
            let mut extension = Extension {
                left: &plan,
                outer: self.outer,
                unnested: false,
                branch: Some(own),
                names: &mut *self.names,
            };
            let Some((extended, columns)) = extension.extend(input)? else { return Ok(None) };
            plan = extended;
            rows.push(columns.into_iter().map(Expr::Column).collect());
        }
        self.chosen(plan, &number, &rows, &step.schema)
    }

    /// The left side with each of its rows as often as this, and the column that numbers them.
    fn numbered(&mut self, count: usize) -> Result<(LogicalPlan, Expr)> {
        let numbers = (0_i64..).take(count).map(|number| vec![lit(number)]).collect();
        let number = self.name();
        let rows = LogicalPlanBuilder::values(numbers)?
            .project(vec![Expr::Column(Column::from_name("column1")).alias(&number)])?
            .build()?;
        let plan = LogicalPlanBuilder::from(self.left.clone()).cross_join(rows)?.build()?;
        Ok((plan, Expr::Column(Column::from_name(number))))
    }

    /// Of these rows of values that which has the number.
    fn chosen(
        &mut self,
        plan: LogicalPlan,
        number: &Expr,
        rows: &[Vec<Expr>],
        schema: &DFSchema,
    ) -> Result<Extended> {
        let mut exprs = all_of(self.left.schema());
        let mut given = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let value = |values: &Vec<Expr>| {
                values.get(index).map(|value| cast(value.clone(), field.data_type().clone()))
            };
            let Some((last, others)) = rows.split_last() else { return Ok(None) };
            let Some(mut chosen) = value(last) else { return Ok(None) };
            // One list of cases: nested ones take the planner time that grows with each level.
            let mut cases = Vec::with_capacity(others.len());
            for (row, values) in (0_i64..).zip(others) {
                let Some(value) = value(values) else { return Ok(None) };
                cases.push((Box::new(lit(row)), Box::new(value)));
            }
            if !cases.is_empty() {
                let (expr, otherwise) = (Box::new(number.clone()), Box::new(chosen));
                chosen = Expr::Case(Case::new(Some(expr), cases, Some(otherwise)));
            }
            let value = chosen;
            let name = self.name();
            exprs.push(value.alias(&name));
            given.push(Column::from_name(name));
        }
        Ok(Some((projection(plan, exprs)?, given)))
    }

    /// The expression over the plan so far; `None` when it holds a query that reads columns of
    /// this one.
    fn rewritten(&self, expr: &Expr, input: &DFSchema, columns: &[Column]) -> Result<Option<Expr>> {
        let mut inner = false;
        expr.apply(|part| {
            inner |= matches!(
                part,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
            );
            Ok(TreeNodeRecursion::Continue)
        })?;
        if inner && !columns.is_empty() {
            return Ok(None);
        }
        let left = self.left.schema();
        let rewritten = expr.clone().transform_up(|part| {
            Ok(match part {
                Expr::OuterReferenceColumn(_, column) if left.has_column(&column) => {
                    Transformed::yes(Expr::Column(column))
                }
                Expr::Column(column) => {
                    let index = input.index_of_column(&column)?;
                    let Some(known) = columns.get(index) else {
                        return Err(DataFusionError::Internal(format!(
                            "the column {column} of a lateral query is not known"
                        )));
                    };
                    Transformed::yes(Expr::Column(known.clone()))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(Some(rewritten.data))
    }

    /// A name that no column of the user's has.
    fn name(&mut self) -> String {
        *self.names += 1;
        format!("tidemill lateral {}", self.names)
    }
}

/// The branches of a union and of the unions in it.
fn branches<'p>(union: &'p Union, all: &mut Vec<&'p LogicalPlan>) {
    for input in &union.inputs {
        match input.as_ref() {
            LogicalPlan::Union(inner) => branches(inner, all),
            other => all.push(other),
        }
    }
}

/// Whether the expression is NULL when the columns are.
fn passes_nulls(expr: &Expr, columns: &[Column]) -> bool {
    match expr {
        Expr::Column(column) => columns.contains(column),
        Expr::Alias(alias) => passes_nulls(&alias.expr, columns),
        Expr::Cast(cast) => passes_nulls(&cast.expr, columns),
        Expr::TryCast(cast) => passes_nulls(&cast.expr, columns),
        Expr::ScalarFunction(call) => {
            STRICT.contains(&call.name())
                && call.args.first().is_some_and(|first| passes_nulls(first, columns))
        }
        _ => false,
    }
}

/// Functions that are NULL where their first argument is.
const STRICT: [&str; 12] = [
    crate::functions::WHOLE,
    "get_field",
    "tidemill_json_part",
    "tidemill_jsonb",
    "tidemill_walked_text",
    "json_get",
    "json_extract_path_text",
    "json_extract_path",
    "json_path",
    "lower",
    "trim",
    "upper",
];
