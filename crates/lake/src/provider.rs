//! A table as DataFusion scans it: data files pruned by partition values and file statistics, read
//! by its Parquet source, with exact statistics for the optimizer.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileGroupPartitioner, FileScanConfigBuilder, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use tidemill_core::{Error, ErrorKind, PublishedRelation, Result, STORED_TYPE, Staged};

use crate::Lake;
use crate::delta::{LiveFile, TableState};
use crate::scan::LakeSource;
use crate::stage::{file_name, file_schema, staged_table};

/// Files below this are not worth a thread of their own.
const SPLIT_BYTES: usize = 4 << 20;

impl Lake {
    /// A published table as DataFusion scans it. It stands for the published version and never
    /// changes.
    pub async fn provider(&self, relation: &PublishedRelation) -> Result<Arc<dyn TableProvider>> {
        let state = self.inner.published_table(relation).await?;
        Ok(Arc::new(LakeTable::new(self, state, None)?))
    }

    /// What a table would be if this were published.
    pub fn provider_staged(&self, staged: &Staged) -> Result<Arc<dyn TableProvider>> {
        let staged = staged_table(staged)?;
        Ok(Arc::new(LakeTable::new(self, staged.preview.clone(), staged.file_column)?))
    }
}

/// One table at one version.
#[derive(Debug)]
struct LakeTable {
    url: ObjectStoreUrl,
    state: Arc<TableState>,
    file_column: Option<&'static str>,
    /// The columns as they are scanned, in the table's order.
    schema: SchemaRef,
    /// The same with the partition columns last, as the files are read.
    scan_schema: TableSchema,
    /// Where each column of `schema` is in `scan_schema`.
    positions: Vec<usize>,
    files: OnceLock<Arc<Vec<ScanFile>>>,
}

#[derive(Debug, Clone)]
struct ScanFile {
    file: PartitionedFile,
    statistics: Arc<Statistics>,
    bounds: Arc<HashMap<String, Known>>,
    rows: Option<u64>,
}

/// The name of an extension type of Arrow: what [`STORED_TYPE`] says is this within a query, where a cast
/// takes it away.
pub const EXTENSION_TYPE: &str = "ARROW:extension:name";

/// A column as a query sees it.
fn of_query(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    if let Some(name) = metadata.remove(STORED_TYPE) {
        metadata.insert(EXTENSION_TYPE.to_owned(), name);
    }
    field.clone().with_metadata(metadata)
}

/// What is known of a column of a file: least and greatest value, and the number of NULLs.
type Known = (Option<ScalarValue>, Option<ScalarValue>, Option<u64>);

impl LakeTable {
    /// With a column for the name of each row's file, which is to the scan one that the table is
    /// partitioned by.
    fn new(lake: &Lake, state: Arc<TableState>, file_column: Option<&'static str>) -> Result<Self> {
        let views = lake.inner.options.view_types;
        let name = file_column.map(|name| Arc::new(Field::new(name, DataType::Utf8, false)));
        let fields = state.schema.fields().iter().chain(&name);
        let fields: Vec<Field> = fields
            .map(|field| {
                // Functions of such types take them as views, and a cast would hide the name.
                let named = field.metadata().contains_key(STORED_TYPE);
                let field = of_query(field);
                match views || named {
                    true => {
                        let data_type = view_type(field.data_type());
                        field.with_data_type(data_type)
                    }
                    false => field,
                }
            })
            .collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let mut partition = state.metadata.partition_columns.clone();
        partition.extend(file_column.map(str::to_owned));
        let partition_fields = partition
            .iter()
            .map(|name| {
                schema.fields().iter().find(|field| field.name() == name).cloned().ok_or_else(
                    || {
                        Error::new(ErrorKind::Data, "a partition column is not in the schema")
                            .with("column", name)
                    },
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let scan_schema = TableSchema::builder(file_schema(&schema, &partition))
            .with_table_partition_cols(partition_fields)
            .build();
        let positions = schema
            .fields()
            .iter()
            .map(|field| {
                scan_schema.table_schema().index_of(field.name()).map_err(|error| {
                    Error::new(ErrorKind::Internal, "a column is lost in the scan").because(error)
                })
            })
            .collect::<Result<Vec<usize>>>()?;
        Ok(LakeTable {
            url: lake.inner.storage.url().clone(),
            state,
            file_column,
            schema,
            scan_schema,
            positions,
            files: OnceLock::new(),
        })
    }

    /// Every file with what is known of it.
    fn files(&self) -> DataFusionResult<Arc<Vec<ScanFile>>> {
        if let Some(files) = self.files.get() {
            return Ok(files.clone());
        }
        let files = self
            .state
            .files
            .values()
            .enumerate()
            .map(|(number, file)| self.scan_file(number, file))
            .collect::<DataFusionResult<Vec<_>>>()?;
        Ok(self.files.get_or_init(|| Arc::new(files)).clone())
    }

    fn scan_file(&self, number: usize, file: &LiveFile) -> DataFusionResult<ScanFile> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let known = file.statistics(&self.state.schema);
        let rows = known.rows;
        let mut bounds = HashMap::new();
        let mut columns = Vec::new();
        for field in self.scan_schema.file_schema().fields() {
            let mut column = ColumnStatistics::new_unknown();
            if let Some(known) = known.columns.get(field.name()) {
                let fit = |value: &Option<ScalarValue>| {
                    value.as_ref().and_then(|value| value.cast_to(field.data_type()).ok())
                };
                let (min, max) = (fit(&known.min), fit(&known.max));
                let precise = |value: &Option<ScalarValue>| match value {
                    Some(value) if known.exact => Precision::Exact(value.clone()),
                    Some(value) => Precision::Inexact(value.clone()),
                    None => Precision::Absent,
                };
                column.min_value = precise(&min);
                column.max_value = precise(&max);
                if let Some(nulls) = known.nulls {
                    column.null_count = Precision::Exact(nulls as usize);
                }
                bounds.insert(field.name().clone(), (min, max, known.nulls));
            }
            columns.push(column);
        }
        let mut values = Vec::new();
        for field in self.scan_schema.table_partition_cols() {
            let value = if self.file_column == Some(field.name()) {
                ScalarValue::from(file_name(number))
            } else {
                let plain = self.state.schema.field_with_name(field.name())?.data_type();
                file.partition_value(field.name(), plain).map_err(external)?
            };
            let value = value.cast_to(field.data_type())?;
            let nulls = rows.map(|rows| if value.is_null() { rows } else { 0 });
            let mut column = ColumnStatistics::new_unknown();
            if let Some(nulls) = nulls {
                column.null_count = Precision::Exact(nulls as usize);
            }
            let bound = (!value.is_null()).then(|| value.clone());
            if let Some(bound) = &bound {
                column.min_value = Precision::Exact(bound.clone());
                column.max_value = Precision::Exact(bound.clone());
            }
            bounds.insert(field.name().clone(), (bound.clone(), bound, nulls));
            columns.push(column);
            values.push(value);
        }
        let statistics = Arc::new(Statistics {
            num_rows: rows.map_or(Precision::Absent, |rows| Precision::Exact(rows as usize)),
            total_byte_size: Precision::Inexact(file.add.size as usize),
            column_statistics: columns,
        });
        let mut scanned = PartitionedFile::new_from_meta(object_store::ObjectMeta {
            location: file.location.clone(),
            last_modified: chrono::DateTime::from_timestamp_millis(file.add.modification_time)
                .unwrap_or_default(),
            size: file.add.size.unsigned_abs(),
            e_tag: None,
            version: None,
        })
        .with_partition_values(values);
        // Not by the setter: it knows no NULL among partition values.
        scanned.statistics = Some(statistics.clone());
        Ok(ScanFile { file: scanned, statistics, bounds: Arc::new(bounds), rows })
    }

    /// The files that can hold rows for which the filters are true.
    fn prune(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        files: &[ScanFile],
    ) -> DataFusionResult<Vec<ScanFile>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(files.to_vec()) };
        let schema = DFSchema::try_from(self.schema.clone())?;
        let Ok(predicate) = state.create_physical_expr(filter, &schema) else {
            return Ok(files.to_vec());
        };
        let Some(predicate) =
            PruningPredicateBuilder::new().with_file_schema(self.schema.clone()).build(predicate)
        else {
            return Ok(files.to_vec());
        };
        let kept = predicate.prune(&KnownBounds { files, schema: &self.schema })?;
        Ok(files.iter().zip(kept).filter(|(_, keep)| *keep).map(|(file, _)| file.clone()).collect())
    }
}

fn view_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other.clone(),
    }
}

/// Adds up what is known of the files.
fn summary(files: &[ScanFile], columns: usize) -> Statistics {
    let mut total = Statistics {
        num_rows: Precision::Exact(0),
        total_byte_size: Precision::Exact(0),
        column_statistics: Vec::with_capacity(columns),
    };
    for file in files {
        total.num_rows = total.num_rows.add(&file.statistics.num_rows);
        total.total_byte_size = total.total_byte_size.add(&file.statistics.total_byte_size);
    }
    for index in 0..columns {
        let mut sum = ColumnStatistics::new_unknown();
        sum.null_count = Precision::Exact(0);
        let mut first = true;
        for file in files {
            let one = &file.statistics.column_statistics[index];
            sum.null_count = sum.null_count.add(&one.null_count);
            // A file of NULLs alone has no bounds and changes none.
            let only_nulls = matches!(
                (&one.null_count, &file.statistics.num_rows),
                (Precision::Exact(nulls), Precision::Exact(rows)) if nulls == rows
            );
            if only_nulls && one.min_value == Precision::Absent {
                continue;
            }
            if first {
                sum.min_value = one.min_value.clone();
                sum.max_value = one.max_value.clone();
                first = false;
            } else {
                sum.min_value = sum.min_value.min(&one.min_value);
                sum.max_value = sum.max_value.max(&one.max_value);
            }
        }
        total.column_statistics.push(sum);
    }
    total
}

/// The statistics of files, as DataFusion's pruning asks for them.
struct KnownBounds<'a> {
    files: &'a [ScanFile],
    schema: &'a SchemaRef,
}

impl KnownBounds<'_> {
    fn values(
        &self,
        column: &Column,
        pick: impl Fn(&Known) -> Option<ScalarValue>,
    ) -> Option<ArrayRef> {
        let data_type = self.schema.field_with_name(column.name()).ok()?.data_type();
        let null = ScalarValue::try_from(data_type).ok()?;
        let values = self.files.iter().map(|file| {
            file.bounds.get(column.name()).and_then(&pick).unwrap_or_else(|| null.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for KnownBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.0.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |bounds| bounds.1.clone())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts: UInt64Array = self
            .files
            .iter()
            .map(|file| file.bounds.get(column.name()).and_then(|bounds| bounds.2))
            .collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = self.files.iter().map(|file| file.rows).collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let files = self.prune(state, filters, &self.files()?)?;
        let columns: Vec<usize> = match projection {
            Some(projection) => projection.iter().map(|index| self.positions[*index]).collect(),
            None => self.positions.clone(),
        };
        if files.is_empty() {
            let schema = match projection {
                Some(projection) => Arc::new(self.schema.project(projection)?),
                None => self.schema.clone(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let statistics = summary(&files, self.scan_schema.table_schema().fields().len());
        let all = FileGroup::new(files.iter().map(|file| file.file.clone()).collect());
        let groups = FileGroupPartitioner::new()
            .with_target_partitions(state.config().target_partitions())
            .with_repartition_file_min_size(SPLIT_BYTES)
            .repartition_file_groups(std::slice::from_ref(&all))
            .unwrap_or_else(|| vec![all]);
        let store = state.runtime_env().object_store(&self.url)?;
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(self.scan_schema.clone())
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store, cache,
            )));
        let config =
            FileScanConfigBuilder::new(self.url.clone(), Arc::new(LakeSource::new(source)))
                .with_file_groups(groups)
                .with_statistics(statistics)
                .with_projection_indices(Some(columns))?
                .with_limit(limit)
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // Files are pruned here; the rows are filtered above, or in the Parquet reader when the
        // session pushes filters down.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let files = self.files().ok()?;
        let scan = summary(&files, self.scan_schema.table_schema().fields().len());
        Some(Statistics {
            num_rows: scan.num_rows,
            total_byte_size: scan.total_byte_size,
            column_statistics: self
                .positions
                .iter()
                .map(|index| scan.column_statistics[*index].clone())
                .collect(),
        })
    }
}
