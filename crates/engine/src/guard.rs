//! Operators that change no row and know what happens beneath them: whether the hash joins of a
//! plan have their tables in memory, and how much a window function holds.

use std::fmt::{self, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    replace_children_if_necessary,
};
use futures::{Stream, StreamExt};

/// The name under which the input of a window function is accounted for.
pub(crate) const WINDOW: &str = "WindowInput";

/// How many streams of hash joins still wait for the build side: a join asks for the first row of
/// its other side when its table is complete.
#[derive(Debug, Default)]
pub(crate) struct Builds(AtomicUsize);

impl Builds {
    /// The plan with each hash join watched. A plan of which no part can give rows while another
    /// still builds comes back as it is.
    pub(crate) fn watch(
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<(Arc<dyn ExecutionPlan>, Arc<Builds>)> {
        let builds = Arc::new(Builds::default());
        if !has_parts(&plan)? {
            return Ok((plan, builds));
        }
        let plan = plan.transform_up(|node| {
            if !node.is::<HashJoinExec>() {
                return Ok(Transformed::no(node));
            }
            let mut children: Vec<_> = node.children().into_iter().cloned().collect();
            let partitions = children[1].properties().partitioning.partition_count();
            builds.0.fetch_add(partitions, Ordering::Relaxed);
            children[1] =
                Arc::new(Guard { input: children[1].clone(), duty: Duty::Watch(builds.clone()) });
            Ok(Transformed::yes(replace_children_if_necessary(node, children)?))
        });
        Ok((plan.data()?, builds))
    }

    /// Whether every table is complete, or will not be needed.
    pub(crate) fn done(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// Whether parts of the plan can give rows while others have not begun.
pub(crate) fn has_parts(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut parts = false;
    plan.apply(|node| {
        parts |= node.children().len() > 1 && !joins(node);
        Ok(if parts { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(parts)
}

fn joins(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
}

/// Accounts for what window functions hold. The operator keeps its whole input and reserves no
/// memory for it.
#[derive(Debug, Default)]
pub(crate) struct CountWindows;

impl PhysicalOptimizerRule for CountWindows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<WindowAggExec>() {
                return Ok(Transformed::no(node));
            }
            let children = node.children().into_iter().cloned();
            let children =
                children.map(|input| Arc::new(Guard { input, duty: Duty::Count }) as _).collect();
            Ok(Transformed::yes(replace_children_if_necessary(node, children)?))
        })
        .data()
    }

    fn name(&self) -> &str {
        "count_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[derive(Debug, Clone)]
enum Duty {
    Watch(Arc<Builds>),
    Count,
}

#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    duty: Duty,
}

impl DisplayAs for Guard {
    fn fmt_as(&self, _: DisplayFormatType, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.name())
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &str {
        match self.duty {
            Duty::Watch(_) => "ProbeSide",
            Duty::Count => WINDOW,
        }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Guard { input, duty: self.duty.clone() })),
            Err(_) => datafusion::common::internal_err!("a guard has one input"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let duty = match &self.duty {
            Duty::Watch(builds) => StreamDuty::Watch(builds.clone()),
            Duty::Count => {
                let consumer = MemoryConsumer::new(format!("{WINDOW}[{partition}]"));
                StreamDuty::Count(consumer.register(context.memory_pool()))
            }
        };
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Guarded { input, duty }))
    }
}

enum StreamDuty {
    Watch(Arc<Builds>),
    Count(MemoryReservation),
    Released,
}

struct Guarded {
    input: SendableRecordBatchStream,
    duty: StreamDuty,
}

impl Guarded {
    fn release(&mut self) {
        if let StreamDuty::Watch(builds) = &self.duty {
            builds.0.fetch_sub(1, Ordering::Release);
            self.duty = StreamDuty::Released;
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.release();
    }
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.release();
        let next = std::task::ready!(self.input.poll_next_unpin(context));
        if let (Some(Ok(batch)), StreamDuty::Count(reservation)) = (&next, &self.duty) {
            reservation.try_grow(batch.get_array_memory_size())?;
        }
        Poll::Ready(next)
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
