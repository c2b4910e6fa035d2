//! What is known of a table without reading it, and what that proves.
//!
//! The store keeps exact row counts, NULL counts and bounds of every file. A column that cannot be
//! NULL, or whose bounds lie within an accepted range, needs no scan.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, Statistics};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use tidemill_core::{Measure, QueryContext, RelationName, Result};

use super::duplicates::DenseColumn;
use super::keys::{integer_bits, integer_of};
use crate::EmbeddedEngine;

/// Below this many rows a scan is quicker than a proof.
const WORTH_PROVING: u64 = 20_000;

/// A table's statistics.
pub(crate) struct Facts {
    schema: SchemaRef,
    statistics: Arc<Statistics>,
}

impl Facts {
    /// What is known of a table; `None` for a view.
    pub(crate) async fn of(
        engine: &EmbeddedEngine,
        relation: &RelationName,
        state: &SessionState,
        context: &QueryContext,
    ) -> Result<Option<Self>> {
        use tidemill_core::{OverlayEntry, RelationKind};
        let is_table = match context.overlay.0.get(relation) {
            Some(entry) => matches!(entry, OverlayEntry::Staged(_)),
            None => context
                .snapshot
                .get(relation)
                .is_some_and(|found| matches!(found.kind, RelationKind::Table { .. })),
        };
        if !is_table {
            return Ok(None);
        }
        let sql = format!("select * from {}", relation.quoted());
        let planned = engine.plan(&sql, state, context).await?;
        if let Some(facts) = Self::of_table(&planned.plan) {
            return Ok(Some(facts));
        }
        let plan = engine.physical(&planned.plan, state).await?;
        Ok(Self::of_plan(&plan))
    }

    /// What the table itself knows, without a physical plan.
    fn of_table(plan: &LogicalPlan) -> Option<Self> {
        let mut table = None;
        plan.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                table = source_as_provider(&scan.source).ok();
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .ok()?;
        let table = table?;
        let statistics = table.statistics()?;
        let schema = table.schema();
        let same = |(left, right): (&FieldRef, &FieldRef)| left.name() == right.name();
        let all = schema.fields().len() == plan.schema().fields().len()
            && schema.fields().iter().zip(plan.schema().fields()).all(same)
            && statistics.column_statistics.len() == schema.fields().len();
        all.then(|| Facts { schema, statistics: Arc::new(statistics) })
    }

    /// What is known of a plan's result.
    pub(crate) fn of_plan(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let statistics =
            StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
        Some(Facts { schema: plan.schema(), statistics })
    }

    /// How many rows, if that is exact.
    pub(crate) fn rows(&self) -> Option<u64> {
        match self.statistics.num_rows {
            Precision::Exact(rows) => Some(rows as u64),
            _ => None,
        }
    }

    /// The number of rows as far as it is known, for estimates.
    pub(crate) fn about_rows(&self) -> u64 {
        self.statistics.num_rows.get_value().map_or(0, |rows| *rows as u64)
    }

    fn column(&self, expression: &str) -> Option<usize> {
        let text = expression.trim();
        let name = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(quoted) if !quoted.contains('"') => quoted.to_owned(),
            Some(_) => return None,
            None => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if !text.chars().all(plain) || text.starts_with(|c: char| c.is_ascii_digit()) {
                    return None;
                }
                text.to_ascii_lowercase()
            }
        };
        self.schema.index_of(&name).ok()
    }

    /// The bounds of an expression that is a column of whole numbers.
    pub(crate) fn dense(&self, expression: &str) -> Option<DenseColumn> {
        self.dense_at(self.column(expression)?)
    }

    /// The bounds of a column of whole numbers.
    pub(crate) fn dense_at(&self, column: usize) -> Option<DenseColumn> {
        integer_bits(self.schema.field(column).data_type())?;
        let known = self.statistics.column_statistics.get(column)?;
        let exact = |value: &Precision<ScalarValue>| match value {
            Precision::Exact(value) => integer_of(value),
            _ => None,
        };
        let (least, most) = (exact(&known.min_value)?, exact(&known.max_value)?);
        let values = (most.checked_sub(least)? as u64).checked_add(1)?;
        Some(DenseColumn { least, values })
    }

    /// The measure's value, if the statistics prove it.
    pub(crate) async fn prove(
        &self,
        engine: &EmbeddedEngine,
        relation: &RelationName,
        measure: &Measure,
        state: &SessionState,
        context: &QueryContext,
    ) -> Option<u64> {
        let rows = self.rows()?;
        match measure {
            Measure::Rows { filter: None } => return Some(rows),
            Measure::Nulls { expression, filter } => {
                let column = self.column(expression)?;
                let known = self.statistics.column_statistics.get(column)?;
                let Precision::Exact(nulls) = known.null_count else { return None };
                return (nulls == 0 || filter.is_none()).then_some(nulls as u64);
            }
            _ => {}
        }
        if rows < WORTH_PROVING {
            return None;
        }
        match measure {
            Measure::CountIf { predicate, filter } => {
                let filter = filter.iter().map(|filter| format!(" and ({filter}\n)"));
                let condition = format!("({predicate}\n){}", filter.collect::<String>());
                let impossible = self.cannot_hold(engine, relation, &condition, state, context);
                impossible.await.then_some(0)
            }
            Measure::Unaccepted { expression, accepted, .. } => {
                let bounds = self.dense_at(self.column(expression)?)?;
                let field = self.schema.field(self.column(expression)?);
                if bounds.values > accepted.len() as u64 || !field.data_type().is_integer() {
                    return None;
                }
                let values: Vec<i64> =
                    accepted.iter().filter_map(|text| text.trim().parse().ok()).collect();
                (0..bounds.values as i64)
                    .all(|offset| values.contains(&(bounds.least + offset)))
                    .then_some(0)
            }
            _ => None,
        }
    }

    /// Whether no row can satisfy the condition. `false` says nothing.
    async fn cannot_hold(
        &self,
        engine: &EmbeddedEngine,
        relation: &RelationName,
        condition: &str,
        state: &SessionState,
        context: &QueryContext,
    ) -> bool {
        let sql = format!("select 1 as one from {} where {condition}", relation.quoted());
        // A condition that does not plan is reported when it is measured.
        let Ok(planned) = engine.plan(&sql, state, context).await else { return false };
        let Ok(optimized) = state.optimize(&planned.plan) else { return false };
        let mut conditions = Vec::new();
        let mut node = &optimized;
        let scan = loop {
            node = match node {
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Filter(filter) => {
                    conditions.push(filter.predicate.clone());
                    &filter.input
                }
                LogicalPlan::TableScan(scan) => {
                    conditions.extend(scan.filters.iter().cloned());
                    break scan;
                }
                // The optimizer itself found that nothing satisfies it.
                LogicalPlan::EmptyRelation(empty) => return !empty.produce_one_row,
                _ => return false,
            };
        };
        let proof = || {
            let schema = scan.source.schema();
            let named =
                DFSchema::try_from_qualified_schema(scan.table_name.clone(), &schema).ok()?;
            let condition: Expr = conjunction(conditions)?;
            let condition = state.create_physical_expr(condition, &named).ok()?;
            let predicate =
                PruningPredicateBuilder::new().with_file_schema(schema).build(condition)?;
            let statistics =
                PrunableStatistics::new(vec![self.statistics.clone()], self.schema.clone());
            Some(predicate.prune(&statistics).ok()? == [false])
        };
        proof().unwrap_or(false)
    }
}
