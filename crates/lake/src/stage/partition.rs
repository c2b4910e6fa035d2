//! Rows of many partitions, brought into the order of their partitions. Only some files are written
//! at a time; the rows of all further partitions wait in a sort, which spills to disk, and are then
//! written one partition after the other. So neither open files nor writers grow with the number of
//! partitions, and no partition gets more files than it needs.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::StreamExt;
use tidemill_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use crate::lake::lock;

/// A sort of rows by partition, and within one by the order in which they came. Fed and read on a
/// blocking thread.
pub(crate) struct PartitionSort {
    runtime: tokio::runtime::Handle,
    schema: SchemaRef,
    /// Dropped when all rows are in.
    sender: Option<mpsc::Sender<RecordBatch>>,
    sorted: mpsc::Receiver<std::result::Result<RecordBatch, DataFusionError>>,
    task: tokio::task::AbortHandle,
}

/// The name of the column behind the table's own, with each row's number.
const NUMBER: &str = "__row_number";

impl PartitionSort {
    /// For rows of a table that is partitioned by these columns.
    pub(crate) fn new(
        runtime: &tokio::runtime::Handle,
        environment: Arc<RuntimeEnv>,
        table: &Schema,
        partition: &[usize],
    ) -> Result<Self> {
        let number = Arc::new(Field::new(NUMBER, DataType::Int64, false));
        let fields: Vec<_> = table.fields().iter().cloned().chain([number]).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let order = partition.iter().copied().chain([table.fields().len()]).map(|index| {
            let column = Arc::new(Column::new(schema.field(index).name(), index));
            PhysicalSortExpr::new(column, SortOptions::default())
        });
        let order = LexOrdering::new(order)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a sort needs columns"))?;
        let (sender, receiver) = mpsc::channel(1);
        let rows = Arc::new(Rows { schema: schema.clone(), receiver: Mutex::new(Some(receiver)) });
        let input = StreamingTableExec::try_new(schema.clone(), vec![rows], None, [], false, None)
            .map_err(failed)?;
        let context = Arc::new(TaskContext::default().with_runtime(environment));
        let mut stream =
            SortExec::new(order, Arc::new(input)).execute(0, context).map_err(failed)?;
        let (give, sorted) = mpsc::channel(1);
        let task = runtime.spawn(async move {
            while let Some(batch) = stream.next().await {
                if give.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Ok(PartitionSort {
            runtime: runtime.clone(),
            schema,
            sender: Some(sender),
            sorted,
            task: task.abort_handle(),
        })
    }

    /// Takes rows of the table, with their numbers in the stream.
    pub(crate) fn add(&mut self, rows: &RecordBatch, numbers: Vec<i64>) -> Result<()> {
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
        let columns = rows.columns().iter().cloned().chain([numbers]).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| failed(error.into()))?;
        let sent = match &self.sender {
            Some(sender) => self.runtime.block_on(sender.send(batch)).is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // It ended before its input did, and says why.
        self.next()?;
        Err(Error::new(ErrorKind::Internal, "a sort ended before its rows did"))
    }

    /// The next rows in order, with their numbers behind the table's columns; `None` at the end.
    /// After the first call no more rows can be added.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.sender = None;
        self.runtime.block_on(self.sorted.recv()).transpose().map_err(failed)
    }
}

impl Drop for PartitionSort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn failed(error: DataFusionError) -> Error {
    let kind = match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Resources,
        DataFusionError::IoError(_) => ErrorKind::Io,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, "rows cannot be sorted by partition").because(error)
}

/// The rows that were handed in.
#[derive(Debug)]
struct Rows {
    schema: SchemaRef,
    receiver: Mutex<Option<mpsc::Receiver<RecordBatch>>>,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let receiver = lock(&self.receiver).take();
        let batches = futures::stream::unfold(receiver, |receiver| async move {
            let mut receiver = receiver?;
            let batch = receiver.recv().await?;
            Some((Ok(batch), Some(receiver)))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}
