//! `in (select …)`, `exists` and their negations compare with different keys, not with rows.
//!
//! A semi or anti join visits every pair of rows with equal keys. Where both sides have few
//! different keys (the usual `_source_file not in (select _source_file from {{ this }})`) that is
//! quadratic. Grouping the inner side by its keys first leaves one row a key.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Groups the inner side of semi and anti joins by its keys.
#[derive(Debug, Default)]
pub(crate) struct DistinctSemiJoin;

impl OptimizerRule for DistinctSemiJoin {
    fn name(&self) -> &'static str {
        "distinct_semi_join"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else { return Ok(Transformed::no(plan)) };
        let keys: Vec<Expr> = join.on.iter().map(|(_, inner)| inner.clone()).collect();
        let applies = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
            // A further condition looks at other columns of the inner rows.
            && join.filter.is_none()
            && !keys.is_empty()
            && !keys.iter().any(Expr::is_volatile)
            && !is_grouped(&join.right);
        if !applies {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let mut group: Vec<Expr> = Vec::with_capacity(keys.len());
        for key in &keys {
            if !group.contains(key) {
                group.push(key.clone());
            }
        }
        let inner = LogicalPlanBuilder::from(Arc::unwrap_or_clone(join.right))
            .aggregate(group.clone(), Vec::<Expr>::new())?
            .build()?;
        // The keys are columns now, also those that were expressions.
        let columns = inner.schema().columns();
        for ((_, inner_key), key) in join.on.iter_mut().zip(&keys) {
            if let Some(at) = group.iter().position(|found| found == key) {
                *inner_key = Expr::Column(columns[at].clone());
            }
        }
        join.right = Arc::new(inner);
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }
}

/// Whether the rows are groups already.
fn is_grouped(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::Projection(projection) => is_grouped(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_grouped(&alias.input),
        LogicalPlan::Filter(filter) => is_grouped(&filter.input),
        _ => false,
    }
}
