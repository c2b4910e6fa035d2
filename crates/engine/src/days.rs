//! Conditions on the day of a timestamp.
//!
//! `cast(ts as date) >= date '2024-01-01'` becomes `ts >= timestamp '2024-01-01'`, so that files and groups
//! of rows are left out by their statistics. What cannot become that is cast in a way that is not looked
//! into when rows are estimated: DataFusion 55 takes the days back to timestamps there without regard to
//! the bounds it began with, and a table of few days ends as `Selectivity is out of limit`
//! (`shrink_boundaries`; the `propagate_constraints` of its `CastExpr` does not intersect).

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, TryCast, lit,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::meaning::seen_by;

/// Compares timestamps where their days are compared with a given one.
#[derive(Debug, Default)]
pub(crate) struct Days;

impl OptimizerRule for Days {
    fn name(&self) -> &'static str {
        "days"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::TableScan(_)) {
            return Ok(Transformed::no(plan));
        }
        let schema = seen_by(&plan)?;
        plan.map_expressions(|expr| {
            let compared = expr.transform_down(|part| compared(part, &schema))?;
            compared.transform_data(|expr| expr.transform_up(|part| Ok(hidden(part, &schema))))
        })
    }
}

/// `cast(ts as date) < day` as a comparison of the timestamp.
fn compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let (cast, op, day) = match (left.as_ref(), right.as_ref()) {
        (cast, Expr::Literal(ScalarValue::Date32(Some(day)), _)) => (cast, Some(*op), *day),
        (Expr::Literal(ScalarValue::Date32(Some(day)), _), cast) => (cast, op.swap(), *day),
        _ => return Ok(Transformed::no(expr)),
    };
    let (Some(op), Some((inner, unit, zone))) = (op, day_of(cast, schema)) else {
        return Ok(Transformed::no(expr));
    };
    let midnight = |day: i32| Some(lit(midnight(day, unit, zone.clone())?));
    let (Some(begin), Some(end)) = (midnight(day), day.checked_add(1).and_then(midnight)) else {
        return Ok(Transformed::no(expr));
    };
    let rewritten = match op {
        // Twice, so that it is to be cheap.
        Operator::Eq | Operator::NotEq if !matches!(inner, Expr::Column(_)) => {
            return Ok(Transformed::no(expr));
        }
        Operator::Eq => inner.clone().gt_eq(begin).and(inner.clone().lt(end)),
        Operator::NotEq => inner.clone().lt(begin).or(inner.clone().gt_eq(end)),
        Operator::Lt => inner.clone().lt(begin),
        Operator::LtEq => inner.clone().lt(end),
        Operator::Gt => inner.clone().gt_eq(end),
        Operator::GtEq => inner.clone().gt_eq(begin),
        _ => return Ok(Transformed::no(expr)),
    };
    Ok(Transformed::yes(rewritten))
}

/// A timestamp's day that is compared otherwise, cast so that the estimate of rows does not look into it.
/// The cast cannot fail, so that both ways of casting mean the same.
fn hidden(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::Cast(cast) if day_of(&Expr::Cast(cast.clone()), schema).is_some() => {
            Transformed::yes(Expr::TryCast(TryCast::new(cast.expr, DataType::Date32)))
        }
        other => Transformed::no(other),
    }
}

/// The timestamp whose day this is, without a time zone or in that of UTC, where days begin at midnight
/// of the number itself.
fn day_of<'a>(expr: &'a Expr, schema: &DFSchema) -> Option<(&'a Expr, TimeUnit, Option<Arc<str>>)> {
    let (inner, target) = match expr {
        Expr::Cast(Cast { expr, field }) => (expr, field.data_type()),
        _ => return None,
    };
    if *target != DataType::Date32 {
        return None;
    }
    match inner.get_type(schema).ok()? {
        DataType::Timestamp(unit, zone)
            if zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00")) =>
        {
            Some((inner, unit, zone))
        }
        _ => None,
    }
}

/// The first moment of a day, if the unit reaches that far.
fn midnight(day: i32, unit: TimeUnit, zone: Option<Arc<str>>) -> Option<ScalarValue> {
    let seconds = i64::from(day) * 86_400;
    Some(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(seconds), zone),
        TimeUnit::Millisecond => {
            ScalarValue::TimestampMillisecond(Some(seconds.checked_mul(1_000)?), zone)
        }
        TimeUnit::Microsecond => {
            ScalarValue::TimestampMicrosecond(Some(seconds.checked_mul(1_000_000)?), zone)
        }
        TimeUnit::Nanosecond => {
            ScalarValue::TimestampNanosecond(Some(seconds.checked_mul(1_000_000_000)?), zone)
        }
    })
}
