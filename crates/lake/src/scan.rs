//! How rows are filtered while data files are read.
//!
//! The Parquet reader can evaluate a filter before it decodes the other columns. That pays where
//! those are long texts; for numbers the bookkeeping of which rows are still wanted costs more than
//! decoding them all. So a scan of short columns decodes a batch whole, filters it while it is in
//! the processor's cache, and leaves files, row groups and pages that cannot match to the reader's
//! statistics, as always.

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{BatchCoalescer, prep_null_mask_filter};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::can_expr_be_pushed_down_with_schemas;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileSource, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExprs, Projector};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{
    EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, conjunction,
};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStore;

/// The data files of a table.
#[derive(Clone)]
pub(crate) struct LakeSource {
    /// Reads the table's columns as they are, without a filter.
    parquet: ParquetSource,
    /// Over the table's columns.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Over the table's columns, all of them at first.
    projection: ProjectionExprs,
    batch_size: usize,
}

impl LakeSource {
    /// `parquet` has the table's schema, and neither a filter nor a projection.
    pub(crate) fn new(parquet: ParquetSource) -> Self {
        let schema = parquet.table_schema().table_schema().clone();
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let projection = ProjectionExprs::from_indices(&all, &schema);
        LakeSource { parquet, filter: None, projection, batch_size: BATCH_ROWS }
    }

    /// The reader with this projection of the table's columns, and with our filter.
    fn reader(&self, projection: &ProjectionExprs, filter_rows: bool) -> Result<ParquetSource> {
        let projected = self.parquet.try_pushdown_projection(projection)?;
        let projected = projected.as_ref().and_then(|source| source.downcast_ref());
        let projected: &ParquetSource = projected
            .ok_or_else(|| DataFusionError::Internal("a projection is not taken".to_owned()))?;
        let mut reader = projected.clone();
        if let Some(filter) = &self.filter {
            reader = reader.with_predicate(filter.clone());
        }
        Ok(reader.with_pushdown_filters(filter_rows))
    }

    /// Whether columns that the filter does not need are worth sparing for the rows that go.
    fn decodes_late(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let filtered: BTreeSet<usize> = collect_columns(filter).iter().map(Column::index).collect();
        let schema = self.parquet.table_schema().table_schema();
        self.projection
            .column_indices()
            .iter()
            .any(|index| !filtered.contains(index) && is_long(schema.field(*index).data_type()))
    }
}

/// Types whose values have no fixed width.
fn is_long(data_type: &DataType) -> bool {
    !(data_type.is_primitive() || matches!(data_type, DataType::Boolean))
}

impl FileSource for LakeSource {
    fn create_file_opener(
        &self,
        _: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        _: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        Err(DataFusionError::Internal("data files are read in morsels".to_owned()))
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let Some(filter) = &self.filter else {
            let reader = self.reader(&self.projection, false)?;
            return reader.create_morselizer(store, config, partition);
        };
        let sparing = self.reader(&self.projection, true)?;
        let sparing = sparing.create_morselizer(store.clone(), config, partition)?;
        if self.decodes_late(filter) {
            return Ok(sparing);
        }
        let schema = self.parquet.table_schema().table_schema();
        let projected = self.projection.column_indices();
        let mut needed: BTreeSet<usize> = projected.iter().copied().collect();
        needed.extend(collect_columns(filter).iter().map(Column::index));
        let needed: Vec<usize> = needed.into_iter().collect();
        let reader = self.reader(&ProjectionExprs::from_indices(&needed, schema), false)?;
        let place = |among: &[usize]| {
            let among = among.to_vec();
            move |expr: Arc<dyn PhysicalExpr>| {
                expr.transform_up(|expr| {
                    let Some(column) = expr.downcast_ref::<Column>() else {
                        return Ok(Transformed::no(expr));
                    };
                    let at = among.binary_search(&column.index()).map_err(|_| {
                        DataFusionError::Internal(format!("`{}` is not read", column.name()))
                    })?;
                    Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as _))
                })
                .data()
            }
        };
        let kept_schema = Arc::new(schema.project(&projected)?);
        let work = Work {
            filter: place(&needed)(filter.clone())?,
            kept: projected
                .iter()
                .map(|index| needed.binary_search(index).unwrap_or_default())
                .collect(),
            projector: self
                .projection
                .clone()
                .try_map_exprs(place(&projected))?
                .make_projector(&kept_schema)?,
            kept_schema,
            batch_size: self.batch_size,
            rows: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
        };
        // The limit counts rows that pass.
        let mut config = config.clone();
        config.limit = None;
        let inner = reader.create_morselizer(store, &config, partition)?;
        Ok(Box::new(Filtering { inner, sparing, work: Arc::new(work) }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let sized = self.parquet.with_batch_size(batch_size);
        let mut source = LakeSource { batch_size, ..self.clone() };
        if let Some(parquet) = sized.downcast_ref::<ParquetSource>() {
            source.parquet = parquet.clone();
        }
        Arc::new(source)
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.filter.clone()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.parquet.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, out: &mut Formatter) -> fmt::Result {
        match self.reader(&self.projection, true) {
            Ok(reader) => reader.fmt_extra(format, out),
            Err(_) => Ok(()),
        }
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let schema = self.parquet.table_schema().table_schema();
        let taken: Vec<bool> = filters
            .iter()
            .map(|filter| can_expr_be_pushed_down_with_schemas(filter, schema))
            .collect();
        let results = taken.iter().map(|taken| match taken {
            true => PushedDown::Yes,
            false => PushedDown::No,
        });
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(results.collect());
        if !taken.contains(&true) {
            return Ok(answer);
        }
        let mut source = self.clone();
        let new = filters.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(f, _)| f);
        source.filter = Some(conjunction(self.filter.clone().into_iter().chain(new)));
        Ok(answer.with_updated_node(Arc::new(source)))
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let ours = |inner: Arc<dyn FileSource>| -> Arc<dyn FileSource> {
            match inner.downcast_ref::<ParquetSource>() {
                Some(parquet) => Arc::new(LakeSource { parquet: parquet.clone(), ..self.clone() }),
                None => inner,
            }
        };
        Ok(match self.parquet.try_pushdown_sort(order, properties)? {
            SortOrderPushdownResult::Exact { inner } => {
                SortOrderPushdownResult::Exact { inner: ours(inner) }
            }
            SortOrderPushdownResult::Inexact { inner } => {
                SortOrderPushdownResult::Inexact { inner: ours(inner) }
            }
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let projection = self.projection.try_merge(projection)?;
        Ok(Some(Arc::new(LakeSource { projection, ..self.clone() })))
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.reader(&self.projection, true)?.apply_expressions(visit)
    }
}

const BATCH_ROWS: usize = 8192;
/// Fewer than one row in this many is hardly any.
const FEW: usize = 500;

/// What happens to each batch.
struct Work {
    /// Over the columns that are read.
    filter: Arc<dyn PhysicalExpr>,
    /// Where the columns are that the projection needs.
    kept: Vec<usize>,
    kept_schema: SchemaRef,
    /// Over the columns that are kept.
    projector: Projector,
    batch_size: usize,
    /// Rows that were filtered, and those of them that passed.
    rows: AtomicUsize,
    passed: AtomicUsize,
}

impl Work {
    /// Whether so few rows pass that it pays to look for them before decoding the rest.
    fn hardly_any(&self) -> bool {
        let rows = self.rows.load(Ordering::Relaxed);
        rows >= 8 * BATCH_ROWS && self.passed.load(Ordering::Relaxed) < rows / FEW
    }

    fn passing(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let passing = self.filter.evaluate(batch)?.into_array(batch.num_rows())?;
        let passing = as_boolean_array(&passing)?;
        Ok(match passing.null_count() {
            0 => passing.clone(),
            _ => prep_null_mask_filter(passing),
        })
    }

    fn filtered(
        self: Arc<Self>,
        batches: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let kept = BatchCoalescer::new(self.kept_schema.clone(), self.batch_size)
            .with_biggest_coalesce_batch_size(Some(self.batch_size / 2));
        let state = (batches, kept, self, false);
        futures::stream::try_unfold(state, |(mut batches, mut kept, work, mut done)| async move {
            loop {
                if let Some(batch) = kept.next_completed_batch() {
                    let batch = work.projector.project_batch(&batch)?;
                    return Ok(Some((batch, (batches, kept, work, done))));
                }
                if done {
                    return Ok(None);
                }
                let Some(batch) = batches.next().await.transpose()? else {
                    done = true;
                    kept.finish_buffered_batch()?;
                    continue;
                };
                let passing = work.passing(&batch)?;
                let rows = passing.true_count();
                work.rows.fetch_add(batch.num_rows(), Ordering::Relaxed);
                work.passed.fetch_add(rows, Ordering::Relaxed);
                if rows == 0 {
                    continue;
                }
                if work.kept.is_empty() {
                    // Rows are counted, nothing else is asked for.
                    let options = RecordBatchOptions::new().with_row_count(Some(rows));
                    let schema = work.kept_schema.clone();
                    let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options)?;
                    let batch = work.projector.project_batch(&batch)?;
                    return Ok(Some((batch, (batches, kept, work, done))));
                }
                let columns = work.kept.iter().map(|at| batch.column(*at).clone()).collect();
                let batch = RecordBatch::try_new(work.kept_schema.clone(), columns)?;
                if rows == batch.num_rows() {
                    kept.push_batch(batch)?;
                } else {
                    kept.push_batch_with_filter(batch, &passing)?;
                }
            }
        })
        .boxed()
    }
}

/// Reads files in pieces of which each is filtered.
struct Filtering {
    inner: Box<dyn Morselizer>,
    /// Reads files sparing the rows that go, for filters that let hardly anything through.
    sparing: Box<dyn Morselizer>,
    work: Arc<Work>,
}

impl Debug for Filtering {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

impl Morselizer for Filtering {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        if self.work.hardly_any() {
            return self.sparing.plan_file(file);
        }
        Ok(Box::new(FilteringPlan { inner: self.inner.plan_file(file)?, work: self.work.clone() }))
    }
}

struct FilteringPlan {
    inner: Box<dyn MorselPlanner>,
    work: Arc<Work>,
}

impl Debug for FilteringPlan {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

impl MorselPlanner for FilteringPlan {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let FilteringPlan { inner, work } = *self;
        let Some(mut plan) = inner.plan()? else { return Ok(None) };
        let planner = |inner: Box<dyn MorselPlanner>, work: &Arc<Work>| {
            Box::new(FilteringPlan { inner, work: work.clone() }) as Box<dyn MorselPlanner>
        };
        let morsels = plan
            .take_morsels()
            .into_iter()
            .map(|inner| Box::new(FilteredMorsel { inner, work: work.clone() }) as Box<dyn Morsel>);
        let mut ours = MorselPlan::new().with_morsels(morsels.collect());
        let ready = plan.take_ready_planners();
        ours = ours.with_planners(ready.into_iter().map(|inner| planner(inner, &work)).collect());
        if let Some(pending) = plan.take_pending_planner() {
            ours.set_pending_planner(async move { Ok(planner(pending.await?, &work)) });
        }
        Ok(Some(ours))
    }
}

struct FilteredMorsel {
    inner: Box<dyn Morsel>,
    work: Arc<Work>,
}

impl Debug for FilteredMorsel {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

impl Morsel for FilteredMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        self.work.filtered(self.inner.into_stream())
    }
}
