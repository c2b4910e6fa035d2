//! Operators with PostgreSQL's meaning where DataFusion has another: a date plus an interval is a
//! timestamp.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans our operators and leaves the others.
pub(crate) fn planner() -> Arc<dyn ExprPlanner> {
    Arc::new(Operators)
}

#[derive(Debug)]
struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if matches!(expr.op, BinaryOperator::Plus | BinaryOperator::Minus) {
            // The right side first: in a long chain it is short, and the left side is the chain. An
            // operand whose type is not known yet (a subquery's outer column) is left alone.
            match expr.right.get_type(schema) {
                Ok(DataType::Interval(_)) => {
                    if expr.left.get_type(schema).is_ok_and(|left| left == DataType::Date32) {
                        expr.left = to_timestamp(expr.left);
                    }
                }
                Ok(DataType::Date32) if expr.op == BinaryOperator::Plus => {
                    let left = expr.left.get_type(schema);
                    if matches!(left, Ok(DataType::Interval(_))) {
                        expr.right = to_timestamp(expr.right);
                    }
                }
                _ => {}
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn to_timestamp(date: Expr) -> Expr {
    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None))
}
