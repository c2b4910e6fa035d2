//! A query that runs, and what happens when it does not fit into memory.
//!
//! A hash join holds one of its sides in memory. When that does not fit the query is planned again
//! with sort-merge joins, which spill, and, when sorts do not fit beside each other, once more in
//! one partition with small batches. That is sound as long as nobody has seen a row of the failed
//! attempt, so the first rows are held back until every hash join has its table (and, with sort-merge
//! joins in parts of a union, until the end, as far as memory reaches). What fails after rows were
//! given out is the end of the query.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tidemill_core::Result;
use tokio::sync::mpsc;

use crate::EmbeddedEngine;
use crate::error::is_memory;
use crate::guard::{Builds, has_parts};
use crate::output::plain_batch;

/// Rows of a batch in the last attempt: a merge holds a batch of each of its runs.
const SMALL_BATCH: usize = 1024;
/// The name under which the rows that are held back are accounted for.
pub(crate) const HELD_BACK: &str = "HeldBack";

/// How a query is planned: from the quickest way to the one that needs the least memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Quickest,
    SortMerge,
    OnePartition,
}

impl Way {
    fn next(self, has_hash_join: bool) -> Option<Way> {
        match self {
            Way::Quickest if has_hash_join => Some(Way::SortMerge),
            Way::Quickest | Way::SortMerge => Some(Way::OnePartition),
            Way::OnePartition => None,
        }
    }
}

/// A running query.
pub(crate) struct Run {
    pub(crate) engine: EmbeddedEngine,
    pub(crate) state: SessionState,
    /// Analysed.
    pub(crate) logical: LogicalPlan,
    pub(crate) schema: SchemaRef,
    pub(crate) sender: mpsc::Sender<Result<RecordBatch>>,
}

impl Run {
    /// Runs to the end, however many attempts that takes.
    pub(crate) async fn finish(mut self, plan: Arc<dyn ExecutionPlan>) -> Result<()> {
        let hashes = has_hash_join(&plan);
        let mut way = Way::Quickest;
        let mut plan = plan;
        loop {
            let Stopped { error, yielded } = match self.attempt(plan, way).await {
                Ok(()) => return Ok(()),
                Err(stopped) => stopped,
            };
            let next = way.next(hashes).filter(|_| !yielded && is_memory(&error));
            let Some(next) = next else { return Err(self.engine.fail(error)) };
            tracing::info!(way = ?next, "a query did not fit into memory and is planned again");
            way = next;
            self.plan_for(way);
            plan = self.engine.physical_of_analyzed(&self.logical, &self.state).await?;
        }
    }

    fn plan_for(&mut self, way: Way) {
        let config = self.state.config_mut();
        config.options_mut().optimizer.prefer_hash_join = way == Way::Quickest;
        if way == Way::OnePartition {
            *config = config.clone().with_target_partitions(1).with_batch_size(SMALL_BATCH);
        }
    }

    async fn attempt(&self, plan: Arc<dyn ExecutionPlan>, way: Way) -> Result<(), Stopped> {
        let mut yielded = false;
        let before = |error| Stopped { error, yielded: false };
        let (plan, builds) = match way {
            Way::Quickest => Builds::watch(plan).map_err(before)?,
            _ => (plan, Arc::default()),
        };
        // Its sorts may fail at any time, and there is one more way.
        let to_the_end = way == Way::SortMerge && has_parts(&plan).map_err(before)?;
        let held_memory =
            MemoryConsumer::new(HELD_BACK).register(&self.state.runtime_env().memory_pool);
        let mut held: VecDeque<RecordBatch> = VecDeque::new();
        let mut stream = execute_stream(plan, self.state.task_ctx()).map_err(before)?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| Stopped { error, yielded })?;
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = plain_batch(batch, &self.schema).map_err(|error| Stopped {
                error: DataFusionError::External(Box::new(error)),
                yielded,
            })?;
            if !yielded && (to_the_end || !builds.done()) {
                held_memory.try_grow(batch.get_array_memory_size()).map_err(before)?;
                held.push_back(batch);
                continue;
            }
            yielded = true;
            held_memory.resize(0);
            while let Some(batch) = held.pop_front() {
                if self.sender.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
            if self.sender.send(Ok(batch)).await.is_err() {
                // Nobody reads any more.
                return Ok(());
            }
        }
        drop(stream);
        for batch in held {
            if self.sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

struct Stopped {
    error: DataFusionError,
    yielded: bool,
}

fn has_hash_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut found = false;
    // The closure gives no error.
    let _ = plan.apply(|node| {
        found |= node.is::<HashJoinExec>();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
