//! The embedded engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use tidemill_core::{
    BatchStream, Description, Engine, Error, ErrorKind, Measure, Measurement, QueryContext,
    RelationName, Result, Statement, TableVersion,
};
use tokio::sync::mpsc;

use crate::EngineOptions;
use crate::choices::ChoicePlanner;
use crate::correlated::Correlated;
use crate::days::Days;
use crate::describe::moving;
use crate::dialect::positional::PLACE;
use crate::error::from_datafusion;
use crate::files::FileTables;
use crate::guard::CountWindows;
use crate::kept_orders::KeptOrders;
use crate::meaning::Meaning;
use crate::moments::Moments;
use crate::output::plain_schema;
use crate::planner::{OpenTable, Planner, Table};
use crate::prepared::Prepared;
use crate::running::Run;
use crate::semi_join::DistinctSemiJoin;
use crate::sort_merge::SortMergeJoins;
use crate::tables::TableProviders;
use crate::truths::Truths;
use crate::view_plans::ViewPlans;
use crate::{functions, operators};

/// Threads have room for the deepest plan that the parser lets through. Only what is used is real
/// memory.
const STACK: usize = 128 * 1024 * 1024;
/// Batches that wait between the engine and who reads the result.
const BATCHES_AHEAD: usize = 2;
/// Memory for each run of a merge.
const MERGED_RUN: usize = 8 << 20;
/// Opened tables that are remembered. A published version never changes, so they never go stale.
const OPEN_TABLES: usize = 4096;

/// The engine in this process: DataFusion over one lake.
///
/// Cloning is cheap; clones share memory, threads and opened tables.
#[derive(Clone)]
pub struct EmbeddedEngine {
    pub(crate) core: Arc<Core>,
    tables: Arc<Tables>,
    prepared: Arc<Prepared>,
    /// Clones share it.
    views: Arc<ViewPlans>,
}

/// What does not depend on the lake.
pub(crate) struct Core {
    pub(crate) options: EngineOptions,
    pub(crate) memory_limit: usize,
    pub(crate) threads: usize,
    environment: Arc<RuntimeEnv>,
    template: SessionState,
    // `None` only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Core {
    fn drop(&mut self) {
        // A runtime must not wait for its threads when the last engine goes inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Tables {
    providers: Arc<dyn TableProviders>,
    files: Option<Arc<dyn FileTables>>,
    open: Mutex<HashMap<Opened, Arc<dyn TableProvider>>>,
}

/// A published table: its name, folder and version.
type Opened = (RelationName, String, TableVersion);

impl EmbeddedEngine {
    /// An engine without tables; [`EmbeddedEngine::with_tables`] gives it some.
    pub fn new(options: EngineOptions) -> Result<Self> {
        let memory_limit = options.resolved_memory();
        let threads = options.resolved_threads();
        let environment = environment(&options, memory_limit)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("tidemill-engine")
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Resources, "the engine's threads cannot be started")
                    .because(error)
            })?;
        let template = template(&options, memory_limit, threads, environment.clone())?;
        let core =
            Core { options, memory_limit, threads, environment, template, runtime: Some(runtime) };
        Ok(EmbeddedEngine {
            core: Arc::new(core),
            tables: Arc::new(Tables::new(Arc::new(NoTables))),
            prepared: Arc::default(),
            views: Arc::default(),
        })
    }

    /// The same engine over these tables.
    #[must_use]
    pub fn with_tables(&self, tables: Arc<dyn TableProviders>) -> Self {
        EmbeddedEngine {
            core: self.core.clone(),
            tables: Arc::new(Tables::new(tables)),
            prepared: Arc::default(),
            views: Arc::default(),
        }
    }

    /// The same engine, whose queries may name files.
    #[must_use]
    pub fn with_files(&self, files: Arc<dyn FileTables>) -> Self {
        let providers = self.tables.providers.clone();
        EmbeddedEngine {
            core: self.core.clone(),
            tables: Arc::new(Tables { providers, files: Some(files), open: Mutex::default() }),
            prepared: Arc::default(),
            views: Arc::default(),
        }
    }

    /// The process's memory pool, spill files and caches: the lake uses the same.
    pub fn runtime(&self) -> Arc<RuntimeEnv> {
        self.core.environment.clone()
    }

    /// What every session has: the functions among it.
    pub(crate) fn template(&self) -> &SessionState {
        &self.core.template
    }

    /// How many partitions a plan has.
    pub fn threads(&self) -> usize {
        self.core.threads
    }

    /// Runs a future on the engine's threads and waits for it. Dropping the wait stops it.
    pub(crate) async fn on_own_threads<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = AbortOnDrop(self.core.handle()?.spawn(future));
        task.wait().await?
    }

    /// The session of one query.
    pub(crate) fn session(&self, context: &QueryContext) -> Result<SessionState> {
        let mut state = self.core.template.clone();
        let now = DateTime::from_timestamp_micros(context.now).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the time of the query is out of range")
                .with("microseconds", context.now)
        })?;
        state.execution_props_mut().query_execution_start_time = Some(now);
        let zone = match context.timezone.as_str() {
            "" => self.core.options.timezone.as_str(),
            zone => zone,
        };
        if state.config_options().execution.time_zone.as_deref() != Some(zone) {
            if zone.parse::<chrono_tz::Tz>().is_err() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`{zone}` is not a time zone; use an IANA name such as `Europe/Paris`"),
                ));
            }
            state.config_mut().options_mut().execution.time_zone = Some(zone.to_owned());
        }
        // Functions that run ask for the zone here, and not in the session.
        let options = state.config_options().clone();
        state.execution_props_mut().config_options = Some(options);
        Ok(state)
    }

    /// Plans a text in a session.
    pub(crate) async fn plan(
        &self,
        sql: &str,
        state: &SessionState,
        context: &QueryContext,
    ) -> Result<Planned> {
        let options = &self.core.options;
        let mut planner = Planner::new(state, context, &*self.tables, options, &self.views);
        let plan = planner.plan(sql).await?;
        let Planner { relations, direct, files, .. } = planner;
        Ok(Planned {
            plan,
            files: files.into_iter().collect(),
            relations: relations.into_iter().collect(),
            direct: direct.into_iter().collect(),
        })
    }

    pub(crate) fn fail(&self, error: datafusion::common::DataFusionError) -> Error {
        from_datafusion(error, Some(self.core.memory_limit))
    }

    async fn describe_here(&self, sql: &str, context: &QueryContext) -> Result<Description> {
        let state = self.session(context)?;
        let planned = self.plan(sql, &state, context).await?;
        let moving = moving(&planned.plan)?;
        let analyzed = self.analyzed(planned.plan, &state)?;
        let schema = self.outside(analyzed.schema().as_arrow());
        crate::repeated::refuse_repeated(&schema)?;
        self.prepared.keep(sql, context, analyzed);
        Ok(Description {
            schema,
            relations: planned.relations,
            direct_relations: planned.direct,
            // What a file holds has no version.
            volatile_functions: moving.volatile.into_iter().chain(planned.files).collect(),
            current_date: moving.current_date,
            repeatable: moving.repeatable,
        })
    }

    /// The columns of a query as they leave the engine.
    fn outside(&self, schema: &Schema) -> SchemaRef {
        match self.core.options.for_duckdb {
            true => plain_schema(&crate::repeated::numbered(schema)),
            false => plain_schema(schema),
        }
    }

    /// The columns of a query.
    pub(crate) async fn columns(&self, sql: &str, context: &QueryContext) -> Result<SchemaRef> {
        Ok(self.describe_here(sql, context).await?.schema)
    }

    /// Plans and starts a query; batches go to the channel that is returned.
    async fn start(&self, sql: &str, context: &QueryContext) -> Result<Started> {
        let mut state = self.session(context)?;
        let logical = match self.prepared.take(sql, context) {
            Some(analyzed) => analyzed,
            None => self.analyzed(self.plan(sql, &state, context).await?.plan, &state)?,
        };
        if is_small(&logical) || counts_places(&logical) {
            state.config_mut().options_mut().execution.target_partitions = 1;
        }
        let plan = self.physical_of_analyzed(&logical, &state).await?;
        let schema = self.outside(&plan.schema());
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let run = Run { engine: self.clone(), state, logical, schema: schema.clone(), sender };
        let cancel = context.cancel.clone();
        let task = self.core.handle()?.spawn(async move {
            let sender = run.sender.clone();
            let result = tokio::select! {
                () = cancel.cancelled() => Err(cancelled()),
                result = run.finish(plan) => result,
            };
            if let Err(error) = result {
                // The reader may be gone, which is its right.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Started { schema, batches, task: AbortOnDrop(task) })
    }

    pub(crate) async fn physical(
        &self,
        plan: &LogicalPlan,
        state: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        state.create_physical_plan(plan).await.map_err(|error| self.fail(error))
    }

    /// Gives a plan its types and PostgreSQL's meaning. `explain` does that itself, to show it.
    fn analyzed(&self, plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
        if matches!(plan, LogicalPlan::Explain(_)) {
            return Ok(plan);
        }
        state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(|error| self.fail(error))
    }

    /// What [`EmbeddedEngine::physical`] makes of a plan that is analysed already.
    pub(crate) async fn physical_of_analyzed(
        &self,
        plan: &LogicalPlan,
        state: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if matches!(plan, LogicalPlan::Explain(_)) {
            return self.physical(plan, state).await;
        }
        let optimized = state
            .optimizer()
            .optimize(plan.clone(), state, |_, _| {})
            .map_err(|error| self.fail(error))?;
        let planner = state.query_planner();
        planner.create_physical_plan(&optimized, state).await.map_err(|error| self.fail(error))
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

impl Core {
    pub(crate) fn handle(&self) -> Result<&tokio::runtime::Handle> {
        self.runtime
            .as_ref()
            .map(tokio::runtime::Runtime::handle)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the engine is shutting down"))
    }
}

/// A logical plan and what it reads.
pub(crate) struct Planned {
    pub(crate) plan: LogicalPlan,
    pub(crate) relations: Vec<RelationName>,
    pub(crate) direct: Vec<RelationName>,
    /// Files that it reads.
    pub(crate) files: Vec<String>,
}

struct Started {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch>>,
    task: AbortOnDrop<()>,
}

impl Started {
    fn into_stream(self) -> BatchStream {
        let schema = self.schema.clone();
        let batches = futures::stream::unfold(Some(self), |started| async {
            let mut started = started?;
            match started.batches.recv().await {
                Some(Ok(batch)) => Some((Ok(batch), Some(started))),
                Some(Err(error)) => Some((Err(error), None)),
                // The channel closes at the end, and when the task panicked.
                None => match started.task.wait().await {
                    Ok(()) => None,
                    Err(error) => Some((Err(error), None)),
                },
            }
        });
        BatchStream::new(schema, batches)
    }
}

/// What is read in fewer rows than this is not worth spreading over threads: planning, tasks and
/// their hand-overs would cost more than the work.
pub(crate) const FEW_ROWS: usize = 50_000;

/// Whether all that a plan reads is known to be a few rows.
pub(crate) fn is_small(plan: &LogicalPlan) -> bool {
    let mut rows = Some(0_usize);
    // The closure gives no error.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let table = source_as_provider(&scan.source).ok();
            let known = match &table {
                // What a recursive query found last, of what it reads.
                Some(table) if is_work_table(table.as_ref()) => Some(0),
                Some(table) => table
                    .statistics()
                    .and_then(|statistics| statistics.num_rows.get_value().copied()),
                None => None,
            };
            rows = rows.zip(known).map(|(sum, known)| sum.saturating_add(known));
        }
        Ok(match rows {
            Some(rows) if rows <= FEW_ROWS => TreeNodeRecursion::Continue,
            _ => TreeNodeRecursion::Stop,
        })
    });
    rows.is_some_and(|rows| rows <= FEW_ROWS)
}

fn is_work_table(table: &dyn TableProvider) -> bool {
    (table as &dyn std::any::Any).is::<CteWorkTable>()
}

/// Whether rows are told apart by their place in the order in which they are read.
fn counts_places(plan: &LogicalPlan) -> bool {
    plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::Projection(projection)
            if projection.schema.fields().iter().any(|field| field.name().starts_with(PLACE))))
    })
    // The closure gives no error.
    .unwrap_or(false)
}

/// A task that ends when nobody waits for it any more.
pub(crate) struct AbortOnDrop<T>(pub(crate) tokio::task::JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    pub(crate) async fn wait(mut self) -> Result<T> {
        (&mut self.0).await.map_err(|error| {
            if error.is_cancelled() {
                return cancelled();
            }
            let reason = match error.into_panic().downcast::<String>() {
                Ok(text) => *text,
                Err(other) => other
                    .downcast::<&'static str>()
                    .map_or_else(|_| "no reason given".to_owned(), |text| (*text).to_owned()),
            };
            Error::new(ErrorKind::Internal, format!("the engine failed: {reason}"))
        })
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tables {
    fn new(providers: Arc<dyn TableProviders>) -> Self {
        Tables { providers, files: None, open: Mutex::default() }
    }
}

#[async_trait]
impl OpenTable for Tables {
    async fn open(&self, table: Table<'_>) -> Result<Arc<dyn TableProvider>> {
        let relation = match table {
            Table::Staged(staged) => return self.providers.staged(staged).await,
            Table::Files(request, context) => {
                let Some(files) = &self.files else {
                    return Err(Error::new(ErrorKind::Unsupported, "files cannot be read here")
                        .with("files", &request.text));
                };
                let staged = files.open(request, context).await?;
                return self.providers.staged(&staged).await;
            }
            Table::Published(relation) => relation,
        };
        let tidemill_core::RelationKind::Table { location, version } = &relation.kind else {
            return self.providers.published(relation).await;
        };
        let key = (relation.name.clone(), location.clone(), *version);
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(provider) = known {
            return Ok(provider);
        }
        let provider = self.providers.published(relation).await?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_TABLES {
            open.clear();
        }
        open.insert(key, provider.clone());
        Ok(provider)
    }
}

/// An engine that has no lake yet.
struct NoTables;

#[async_trait]
impl TableProviders for NoTables {
    async fn published(
        &self,
        relation: &tidemill_core::PublishedRelation,
    ) -> Result<Arc<dyn TableProvider>> {
        Err(Error::new(ErrorKind::Internal, "this engine has no lake")
            .with("relation", &relation.name))
    }

    async fn staged(&self, staged: &tidemill_core::Staged) -> Result<Arc<dyn TableProvider>> {
        Err(Error::new(ErrorKind::Internal, "this engine has no lake")
            .with("relation", &staged.relation))
    }
}

fn environment(options: &EngineOptions, memory_limit: usize) -> Result<Arc<RuntimeEnv>> {
    let spill = DiskManagerBuilder::default()
        .with_mode(match &options.spill_dir {
            Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        })
        // A merge keeps a batch of each run that it reads and rows of each beside it.
        .with_max_spill_merge_fan_in((memory_limit / MERGED_RUN).clamp(4, 64))
        .with_max_temp_directory_size(options.resolved_spill_limit());
    if let Some(directory) = &options.spill_dir {
        std::fs::create_dir_all(directory).map_err(|error| {
            Error::new(ErrorKind::Config, "the directory for spilled data cannot be made")
                .with("directory", directory.display())
                .because(error)
        })?;
    }
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory_limit)))
        .with_disk_manager_builder(spill)
        .build_arc()
        .map_err(|error| from_datafusion(error, None))
}

/// Everything that all sessions share, built once: cloning it is what makes a session cheap.
fn template(
    options: &EngineOptions,
    memory_limit: usize,
    threads: usize,
    environment: Arc<RuntimeEnv>,
) -> Result<SessionState> {
    // A sort keeps this much for the merge of what it spilled, and there may be several in a plan.
    let merge_memory = (memory_limit / (16 * threads)).clamp(64 << 10, 10 << 20);
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        .with_target_partitions(threads)
        .with_sort_spill_reservation_bytes(merge_memory);
    let settings = config.options_mut();
    settings.execution.time_zone = Some(options.timezone.clone());
    settings.sql_parser.parse_float_as_decimal = true;
    // Which orders are needed is decided when the whole plan is there (see `kept_orders`).
    settings.sql_parser.enable_subquery_sort_elimination = false;
    settings.execution.parquet.pushdown_filters = true;
    // A column that cannot be NULL may be one that could, in the plan that runs: that is no error.
    settings.execution.skip_physical_aggregate_schema_check = true;
    // A table that fits into a processor's caches many times over is still cheaper to build once
    // than to send both sides of the join through an exchange.
    settings.optimizer.hash_join_single_partition_threshold = (memory_limit / 16).min(256 << 20);
    settings.optimizer.hash_join_single_partition_threshold_rows = 4 << 20;
    let mut analyzers: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(KeptOrders),
        Arc::new(Correlated),
        Arc::new(Moments),
        Arc::new(Truths { for_duckdb: options.for_duckdb }),
    ];
    analyzers.extend(Analyzer::new().rules);
    analyzers.push(Arc::new(Meaning { late: options.for_duckdb }));
    let mut rules = PhysicalOptimizer::new().rules;
    rules.insert(0, Arc::new(SortMergeJoins));
    rules.push(Arc::new(CountWindows));
    // Our operators are asked before DataFusion's, our functions stand in front of its.
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment)
        .with_expr_planners(vec![operators::planner(options.for_duckdb)])
        .with_relation_planners(crate::elements::planners())
        .with_query_planner(Arc::new(ChoicePlanner))
        .with_default_features()
        .with_analyzer_rules(analyzers)
        .with_optimizer_rule(Arc::new(DistinctSemiJoin))
        .with_optimizer_rule(Arc::new(Days))
        .with_physical_optimizer_rules(rules)
        .build();
    let fail = |error| from_datafusion(error, None);
    for function in functions::scalars() {
        state.register_udf(Arc::new(function)).map_err(fail)?;
    }
    for function in functions::aggregates() {
        state.register_udaf(Arc::new(function)).map_err(fail)?;
    }
    state.register_higher_order_function(Arc::new(functions::reduce())).map_err(fail)?;
    Ok(state)
}

#[async_trait]
impl Engine for EmbeddedEngine {
    async fn describe(&self, sql: &str, context: &QueryContext) -> Result<Description> {
        context.cancel.check()?;
        let (engine, sql, context) = (self.clone(), sql.to_owned(), context.clone());
        self.on_own_threads(async move { engine.describe_here(&sql, &context).await }).await
    }

    async fn statement(&self, sql: &str, context: &QueryContext) -> Result<Statement> {
        context.cancel.check()?;
        let (engine, sql, context) = (self.clone(), sql.to_owned(), context.clone());
        self.on_own_threads(
            async move { crate::statement::statement(&engine, &sql, &context).await },
        )
        .await
    }

    async fn query(&self, sql: &str, context: &QueryContext) -> Result<BatchStream> {
        context.cancel.check()?;
        let (engine, sql, context) = (self.clone(), sql.to_owned(), context.clone());
        let started =
            self.on_own_threads(async move { engine.start(&sql, &context).await }).await?;
        Ok(started.into_stream())
    }

    async fn measure(
        &self,
        relation: &RelationName,
        measures: &[Measure],
        context: &QueryContext,
    ) -> Result<Vec<Result<Measurement>>> {
        context.cancel.check()?;
        let (engine, relation) = (self.clone(), relation.clone());
        let (measures, context) = (measures.to_vec(), context.clone());
        self.on_own_threads(async move {
            crate::measure::measure(&engine, &relation, &measures, &context).await
        })
        .await
    }
}
