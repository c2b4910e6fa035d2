//! Operators with PostgreSQL's meaning where DataFusion has another: a date plus an interval is a
//! timestamp, and a quotient of decimals keeps its digits. Also `->` and `->>` on JSON in text.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::functions::divide;

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
            let is_date = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Date32));
            let is_interval =
                |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Interval(_)));
            if is_interval(&expr.right) {
                if is_date(&expr.left) {
                    expr.left = to_timestamp(expr.left);
                }
            } else if expr.op == BinaryOperator::Plus
                && is_date(&expr.right)
                && is_interval(&expr.left)
            {
                expr.right = to_timestamp(expr.right);
            }
        }
        if expr.op == BinaryOperator::Divide {
            let decimal = |data_type: &DataType| {
                matches!(
                    data_type,
                    DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..)
                )
            };
            if let Ok(right) = expr.right.get_type(schema)
                && (decimal(&right) || right.is_integer())
                && let Ok(left) = expr.left.get_type(schema)
                && (decimal(&left) || left.is_integer())
                && (decimal(&left) || decimal(&right))
            {
                return Ok(PlannerResult::Planned(divide(expr.left, expr.right)));
            }
        }
        let json = match expr.op {
            BinaryOperator::Arrow => Some("json_get"),
            BinaryOperator::LongArrow => Some("json_extract_path_text"),
            _ => None,
        };
        if let Some(name) = json {
            return Ok(PlannerResult::Planned(json_call(name, expr.left, expr.right)?));
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// A call of one of our JSON functions.
fn json_call(name: &str, value: Expr, key: Expr) -> Result<Expr> {
    let function = crate::functions::scalars().into_iter().find(|function| function.name() == name);
    let Some(function) = function else { return internal_err!("{name} is not a function") };
    let key = cast(key, DataType::Utf8View);
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![value, key])))
}

fn to_timestamp(date: Expr) -> Expr {
    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None))
}
