//! Choices within choices (`case` in `case`, `coalesce` in `coalesce`), planned in a time that grows with their
//! number.
//!
//! DataFusion writes the parts of a `case` a second time, for rows that have only its columns, and so again for
//! each `case` that it stands in: of twenty within one another, as views over views come to, a million are made.
//! So after a few levels a choice is closed: it becomes a function of the columns that it reads, and what it
//! stands in copies those columns alone. A `coalesce` whose first value is large becomes one too, over that value
//! and the columns of what is computed in its place, which is still computed for the rows that need it and for no
//! others.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, when,
};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use crate::functions::is_spared;
use crate::meaning::{rewrite_expressions, seen_by};

/// So many choices may stand in one another before they are closed.
const OPEN: usize = 2;

/// DataFusion's planner, over a plan whose deep choices are closed.
#[derive(Debug)]
pub(crate) struct ChoicePlanner;

#[async_trait]
impl QueryPlanner for ChoicePlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        if !has_deep_choices(plan)? {
            return planner.create_physical_plan(plan, session).await;
        }
        let properties = session.execution_props();
        let closed =
            plan.clone().transform_up_with_subqueries(|node| close_in(node, properties))?.data;
        planner.create_physical_plan(&closed, session).await
    }
}

fn has_deep_choices(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= depth(expr)? > OPEN || expr.exists(|part| Ok(is_spared(part)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// How many choices stand in one another.
fn depth(expr: &Expr) -> Result<usize> {
    let mut deepest = 0;
    expr.apply_children(|part| {
        deepest = deepest.max(depth(part)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(deepest + usize::from(matches!(expr, Expr::Case(_))))
}

fn close_in(node: LogicalPlan, properties: &ExecutionProps) -> Result<Transformed<LogicalPlan>> {
    let schema = seen_by(&node)?;
    rewrite_expressions(node, |expr| {
        if is_spared(&expr) {
            return spared(expr, &schema, properties);
        }
        match matches!(expr, Expr::Case(_)) && depth(&expr)? > OPEN {
            true => close(expr, None, &schema, properties),
            false => Ok(Transformed::no(expr)),
        }
    })
}

/// A `coalesce` that was not taken apart.
fn spared(expr: Expr, schema: &DFSchema, properties: &ExecutionProps) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    let mut values = call.args.iter().rev().cloned();
    let Some(mut chosen) = values.next() else { return Ok(Transformed::no(expr)) };
    for value in values {
        let kept = Expr::Column(Column::from_name(VALUE));
        let choice = when(kept.clone().is_not_null(), kept).otherwise(chosen)?;
        let closed = close(choice, Some(value), schema, properties)?;
        if !closed.transformed {
            return Ok(Transformed::no(expr));
        }
        chosen = closed.data;
    }
    Ok(Transformed::yes(chosen))
}

/// What the first value of a `coalesce` is called in a choice.
const VALUE: &str = "__tidemill_value";

/// The choice as a function of the columns that it reads, and of `value`, which it calls [`VALUE`]. Comes back as
/// it is where something in it belongs to the query around it.
fn close(
    choice: Expr,
    value: Option<Expr>,
    schema: &DFSchema,
    properties: &ExecutionProps,
) -> Result<Transformed<Expr>> {
    if !is_closable(&choice) {
        return Ok(Transformed::no(choice));
    }
    let mut arguments: Vec<Expr> = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    if let Some(value) = value {
        let field = value.to_field(schema)?.1;
        fields.push(field.as_ref().clone().with_name(VALUE).with_nullable(true));
        arguments.push(value);
    }
    let first = arguments.len();
    let body = choice.transform_up(|part| {
        let Expr::Column(column) = part else { return Ok(Transformed::no(part)) };
        if first > 0 && column.relation.is_none() && column.name == VALUE {
            return Ok(Transformed::no(Expr::Column(column)));
        }
        let column = Expr::Column(column);
        let known = arguments.iter().skip(first).position(|known| *known == column);
        let place = match known {
            Some(place) => first + place,
            None => {
                let field = column.to_field(schema)?.1;
                let name = format!("c{}", fields.len());
                fields.push(field.as_ref().clone().with_name(name).with_nullable(true));
                arguments.push(column);
                arguments.len() - 1
            }
        };
        Ok(Transformed::yes(Expr::Column(Column::from_name(format!("c{place}")))))
    })?;
    let body = body.data;
    let inside = Arc::new(Schema::new(fields));
    let columns = DFSchema::try_from(inside.as_ref().clone())?;
    let field = body.to_field(&columns)?.1;
    let body =
        create_physical_expr(&body, &columns, properties, &PhysicalPlanningContext::default())?;
    let closed =
        Closed { body, inside, field, signature: Signature::variadic_any(Volatility::Immutable) };
    let function = Arc::new(ScalarUDF::new_from_impl(closed));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
}

/// Whether nothing in an expression belongs to the query around it, and its value is the same each time.
pub(crate) fn is_closable(expr: &Expr) -> bool {
    let belongs = |part: &Expr| {
        matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::GroupingSet(_)
                | Expr::Unnest(_)
                | Expr::Placeholder(_)
                | Expr::Lambda(_)
                | Expr::LambdaVariable(_)
        )
    };
    // The closure gives no error.
    !expr.is_volatile() && !expr.exists(|part| Ok(belongs(part))).unwrap_or(true)
}

/// A choice that is computed from its arguments.
#[derive(Debug)]
struct Closed {
    body: Arc<dyn PhysicalExpr>,
    /// What the body calls the arguments.
    inside: SchemaRef,
    field: FieldRef,
    signature: Signature,
}

impl PartialEq for Closed {
    fn eq(&self, other: &Self) -> bool {
        self.body.as_ref() == other.body.as_ref() && self.inside == other.inside
    }
}

impl Eq for Closed {}

impl Hash for Closed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.body.hash(state);
        self.inside.hash(state);
    }
}

impl ScalarUDFImpl for Closed {
    fn name(&self) -> &str {
        "tidemill_choice"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(self.field.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ScalarFunctionArgs { args, number_rows, .. } = args;
        let columns = args.iter().map(|value| value.to_array(number_rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(number_rows));
        let rows = RecordBatch::try_new_with_options(self.inside.clone(), columns, &options)?;
        self.body.evaluate(&rows)
    }
}
