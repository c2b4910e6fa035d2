//! The executor's renderer: over the project's templates, the checks, and the lake that templates
//! may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::Schema;
use futures::StreamExt;
use serde_json::Value;
use tidemill_check::TestDefinition;
use tidemill_core::{
    BatchStream, Check, CheckId, Diagnostics, Engine, Error, ErrorKind, Measure, Measurement,
    OverlayEntry, PublishedRelation, QueryContext, RelationKind, RelationName, Result, SqlDialect,
    StatementOutcome, UniqueId, Verdict, VerdictStatus,
};
use tidemill_plan::{Fingerprint, SEMANTICS};
use tidemill_project::{
    CatalogColumn, Executed, Hook, Message, Node, Project, QueryTable, RelationType, RenderState,
    ResourceType, SampleWindow, SnapshotConfig, TestKind, TestSpec, Warehouse, normalize_sql,
};
use tidemill_run::{
    Contracted, HookTime, RenderRequest, Rendered, Renderer, StatementSession, UnitTestCase,
    split_statements,
};

use crate::dbt_events;
use crate::defer::Deferred;
use crate::external;
use crate::introspection::NotAsked;
use crate::output::Output;
use crate::session::Session;
use crate::types;
use crate::warnings::WarningRules;

/// What a test's settings say of it; its query and its arguments are still to come.
pub(crate) fn definition_of(id: &CheckId, node: &Node, test: &TestSpec) -> TestDefinition {
    TestDefinition {
        severity: test.severity,
        warn_if: test.warn_if.clone(),
        error_if: test.error_if.clone(),
        fail_calc: test.fail_calc.clone(),
        limit: test.limit,
        ..TestDefinition::new(id.clone(), node.name.clone())
    }
}

/// Renders nodes of one project and keeps what it compiled.
pub(crate) struct ProjectRenderer {
    pub(crate) project: Arc<Project>,
    pub(crate) engine: Arc<dyn Engine>,
    output: Output,
    root: PathBuf,
    folder: PathBuf,
    write_files: bool,
    silent: bool,
    /// Whether tests are run, and not compiled alone.
    runs_tests: bool,
    /// Whether a template has asked for rows.
    asked: Arc<AtomicBool>,
    command: String,
    invocation: String,
    started: chrono::DateTime<chrono::Utc>,
    pub(crate) runtime: tokio::runtime::Handle,
    compiled: Mutex<BTreeMap<UniqueId, String>>,
    compiling: Mutex<BTreeMap<UniqueId, Duration>>,
    executed: Mutex<BTreeSet<UniqueId>>,
    deferred: Deferred,
    selected: Arc<[UniqueId]>,
    empty: bool,
    sample: Option<SampleWindow>,
    print: bool,
    introspect: bool,
    rules: Arc<WarningRules>,
}

impl ProjectRenderer {
    /// Compiled SQL goes to `<folder>/compiled/<project>/…`, as dbt writes it.
    pub(crate) fn new(session: &Session, engine: Arc<dyn Engine>, folder: PathBuf) -> Self {
        ProjectRenderer {
            project: session.project.clone(),
            engine,
            output: session.output,
            root: session.root.clone(),
            folder,
            write_files: true,
            silent: false,
            runs_tests: matches!(session.command.as_str(), "build" | "test"),
            asked: Arc::default(),
            command: session.command.clone(),
            invocation: session.run.to_string(),
            started: session.started,
            runtime: tokio::runtime::Handle::current(),
            compiled: Mutex::default(),
            compiling: Mutex::default(),
            executed: Mutex::default(),
            deferred: Deferred::default(),
            selected: Arc::from([]),
            empty: false,
            sample: None,
            print: session.global.flags.on("print"),
            introspect: true,
            rules: session.rules.clone(),
        }
    }

    /// The project's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The id of the run.
    pub(crate) fn invocation(&self) -> &str {
        &self.invocation
    }

    /// Reads these nodes from another environment.
    pub(crate) fn deferring(mut self, deferred: Deferred) -> Self {
        self.deferred = deferred;
        self
    }

    /// Templates see that these are selected.
    pub(crate) fn selected(mut self, selected: &BTreeSet<UniqueId>) -> Self {
        self.selected = selected.iter().cloned().collect();
        self
    }

    /// `--empty`: reads no rows.
    pub(crate) fn empty(mut self, empty: bool) -> Self {
        self.empty = empty;
        self
    }

    /// `--no-introspect`: templates ask for nothing.
    pub(crate) fn introspecting(mut self, introspect: bool) -> Self {
        self.introspect = introspect;
        self
    }

    /// Writes no files.
    pub(crate) fn read_only(mut self) -> Self {
        self.write_files = false;
        self
    }

    /// Writes no files and passes on nothing that templates say.
    pub(crate) fn silent(mut self) -> Self {
        self.silent = true;
        self.read_only()
    }

    /// Notes that a data test is rendered, which dbt's macros do of which none is called here.
    pub(crate) fn note_test(&self, id: &CheckId) {
        self.project.note_test(id, self.runs_tests);
    }

    /// Whether a template has asked for rows since this was asked last.
    pub(crate) fn has_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// `--sample`: reads only rows of a span of time.
    pub(crate) fn sampling(mut self, sample: Option<SampleWindow>) -> Self {
        self.sample = sample;
        self
    }

    /// The SQL of everything that was rendered.
    pub(crate) fn compiled(&self) -> BTreeMap<UniqueId, String> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the templates took that were rendered.
    pub(crate) fn compiling(&self) -> BTreeMap<UniqueId, Duration> {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the SQL that was executed for a node to `<folder>/run/<project>/…`, as dbt does.
    pub(crate) fn executed(&self, node: &Node, sql: &str) -> Result<()> {
        if !self.write_files {
            return Ok(());
        }
        write_changed(&written_path(&self.folder.join("run"), node), sql)?;
        let mut executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        executed.insert(node.unique_id.clone());
        Ok(())
    }

    /// The nodes whose executed SQL was written.
    pub(crate) fn all_executed(&self) -> BTreeSet<UniqueId> {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state that templates see.
    pub(crate) fn state(&self, request: &RenderRequest) -> RenderState {
        let lake = LakeForTemplates {
            engine: self.engine.clone(),
            context: request.context.clone(),
            statements: request.statements.clone(),
            runtime: self.runtime.clone(),
            asked: self.asked.clone(),
        };
        self.state_over(Arc::new(lake), request.full_refresh)
    }

    /// The state that templates see which ask this warehouse.
    pub(crate) fn state_over(
        &self,
        warehouse: Arc<dyn Warehouse>,
        full_refresh: bool,
    ) -> RenderState {
        let warehouse = match self.introspect {
            true => warehouse,
            false => Arc::new(NotAsked(warehouse)),
        };
        RenderState {
            full_refresh,
            empty: self.empty,
            sample: self.sample,
            deferred: self.deferred.clone(),
            selected: self.selected.clone(),
            ..RenderState::new(warehouse, &self.command, &self.invocation, self.started)
        }
    }

    /// Renders a hook of the whole run, with its id, and performs it: how its statements went.
    ///
    /// # Errors
    /// When it cannot be rendered, which is a mistake of the project and no result of the run.
    pub(crate) fn run_hook(
        &self,
        (what, hook): (&UniqueId, &Hook),
        request: &RenderRequest,
        names: Arc<serde_json::Map<String, Value>>,
    ) -> Result<Result<()>> {
        let Some(statements) = &request.statements else {
            return Err(Error::new(ErrorKind::Internal, "hooks need a session"));
        };
        let state = RenderState { names, ..self.state(request) };
        let rendered = self
            .project
            .render_run_hook(hook, &state)
            .map_err(|error| self.failed(what.as_str(), &state, error))?;
        self.tell(what.as_str(), &rendered);
        let adapted = self.project.adapted(&rendered.sql, &state);
        Ok(adapted.and_then(|sql| self.wait(statements.run(&sql))))
    }

    /// Calls a macro, whose statements are performed. What it gives is not run.
    pub(crate) fn run_macro(
        &self,
        name: &str,
        arguments: &serde_json::Map<String, Value>,
        request: &RenderRequest,
    ) -> Result<()> {
        let state = self.state(request);
        let rendered = self
            .project
            .run_macro(name, arguments, &state)
            .map_err(|error| self.failed(name, &state, error))?;
        self.tell(name, &rendered);
        Ok(())
    }

    pub(crate) fn node(&self, id: &UniqueId) -> Result<&Node> {
        self.project.manifest().node(id).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the node is not in the project").with("node", id)
        })
    }

    fn render_node(
        &self,
        node: &Node,
        request: &RenderRequest,
    ) -> Result<tidemill_project::Rendered> {
        let mut state = self.state(request);
        if let Some(micro) = &node.config.microbatch {
            // Without a batch of its own (`compile`, `show`) it is rendered for the newest one.
            let newest = || micro.batches(true, request.context.now, None, None).pop();
            state.batch = request.batch.or_else(newest).map(|batch| (batch, micro.batch_size));
        }
        self.render_over(node, &state)
    }

    /// Renders a node in this state, and keeps its SQL.
    pub(crate) fn render_over(
        &self,
        node: &Node,
        state: &RenderState,
    ) -> Result<tidemill_project::Rendered> {
        let began = Instant::now();
        let rendered = self
            .project
            .render_node(&node.unique_id, state)
            .map_err(|error| self.failed(node.unique_id.as_str(), state, error))?;
        self.compiling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.unique_id.clone(), began.elapsed());
        self.tell(node.unique_id.as_str(), &rendered);
        if let Some(warning) = rendered.warnings.iter().next()
            && self.rules.is_error("template")
        {
            return Err(Error::new(ErrorKind::Config, warning.message.clone()));
        }
        self.keep(node, &rendered.sql)?;
        self.running(node, rendered)
    }

    /// What was rendered with the SQL that runs, which is written beside what was compiled where the
    /// two differ: `<folder>/translated/<project>/…`.
    pub(crate) fn running(
        &self,
        node: &Node,
        mut rendered: tidemill_project::Rendered,
    ) -> Result<tidemill_project::Rendered> {
        let Some(translated) = rendered.translated.take() else { return Ok(rendered) };
        if self.write_files {
            let path = written_path(&self.folder.join("translated"), node);
            write_changed(&path, &translated)?;
        }
        tracing::debug!(node = node.unique_id.as_str(), sql = translated, "translated");
        rendered.sql = translated;
        Ok(rendered)
    }

    /// Waits for statements, as templates wait for theirs.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| self.runtime.block_on(answer))
    }

    /// Says what a template said.
    pub(crate) fn tell(&self, what: &str, rendered: &tidemill_project::Rendered) {
        if self.silent {
            return;
        }
        for message in &rendered.messages {
            match message {
                Message::Info(text) if self.output.events.is_none() => self.output.say(text),
                Message::Info(text) => {
                    tracing::info!(target: crate::log::SAID, "{text}");
                    let manifest = self.project.manifest();
                    self.output.event(|| dbt_events::said(manifest, what, text, true));
                }
                Message::Print(text) if self.print => self.output.data(text),
                Message::Print(text) | Message::Debug(text) => {
                    tracing::debug!(what, text, "template");
                    let manifest = self.project.manifest();
                    self.output.event(|| dbt_events::said(manifest, what, text, false));
                }
            }
        }
        for warning in rendered.warnings.iter() {
            if !self.rules.is_silent("template") {
                self.output.say(warning);
            }
        }
    }

    /// The error of a template that failed; says what it said before.
    pub(crate) fn failed(
        &self,
        what: &str,
        state: &RenderState,
        diagnostics: Diagnostics,
    ) -> Error {
        let messages = state.unsaid.take();
        self.tell(what, &tidemill_project::Rendered { messages, ..Default::default() });
        template_error(diagnostics)
    }

    pub(crate) fn keep(&self, node: &Node, sql: &str) -> Result<()> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = compiled.insert(node.unique_id.clone(), sql.to_owned());
        drop(compiled);
        if !self.write_files || known.as_deref() == Some(sql) {
            return Ok(());
        }
        write_changed(&compiled_path(&self.folder, node), sql)
    }

    fn fingerprint(&self, node: &Node, rendered: &tidemill_project::Rendered) -> Fingerprint {
        let config = &node.config;
        let relevant = serde_json::json!({
            "materialized": config.materialized.as_str(),
            "unique_key": config.unique_key,
            "incremental_strategy": config.incremental_strategy,
            "on_schema_change": config.get("on_schema_change"),
            "merge_update_columns": config.merge_update_columns,
            "merge_exclude_columns": config.merge_exclude_columns,
            "partition_by": config.partition_by,
        });
        // Most models have none of these.
        let of_merge: serde_json::Map<String, Value> = [
            "incremental_predicates",
            "predicates",
            "merge_update_condition",
            "merge_insert_condition",
            "merge_update_set_expressions",
        ]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), config.get(key)?.clone())))
        .filter(|(_, value)| !value.is_null())
        .collect();
        // White space and what looks like a comment in SQL means something in a program.
        let code = match node.language {
            "sql" => normalize_sql(&rendered.sql),
            _ => rendered.sql.clone(),
        };
        let mut fingerprint = Fingerprint::new()
            .with("SQL", &code)
            .with("configuration", &relevant.to_string())
            .with("semantics", &SEMANTICS.to_string())
            .with("timezone", &self.project.manifest().settings.timezone);
        let manifest = self.project.manifest();
        // One that is presumed means something else by the same text, too.
        let presumed = manifest.target.is_for_duckdb().then_some(SqlDialect::DuckDb);
        if let Some(dialect) = config.dialect.or(presumed) {
            fingerprint = fingerprint.with("dialect", dialect.as_str());
        }
        // Where its file goes, and how it is written.
        if let Some(to) = manifest.external_files.get(&node.unique_id) {
            fingerprint = fingerprint.with("file", &Value::Object(to.clone()).to_string());
        }
        if !of_merge.is_empty() {
            fingerprint = fingerprint.with("merge", &Value::Object(of_merge).to_string());
        }
        if let Some(contract) = &node.contract {
            fingerprint = fingerprint.with("contract", &format!("{contract:?}"));
        }
        if let Some(snapshot) = &config.snapshot {
            fingerprint = fingerprint.with("snapshot settings", &format!("{snapshot:?}"));
        }
        // Hooks that need not run again as long as they are what they were.
        let hooks: Vec<&str> =
            config.pre_hooks.iter().chain(&config.post_hooks).map(|hook| &*hook.sql).collect();
        if !hooks.is_empty() {
            fingerprint = fingerprint.with("hooks", &serde_json::json!(hooks).to_string());
        }
        let comments: Vec<_> = node
            .columns
            .values()
            .filter(|column| !column.description.is_empty())
            .map(|column| (&column.name, &column.description))
            .collect();
        if !config.grants.is_empty() {
            fingerprint = fingerprint.with("grants", &serde_json::json!(config.grants).to_string());
        }
        let persisted = config.get("persist_docs").and_then(|docs| docs.get("relation"));
        if persisted == Some(&Value::Bool(true)) && !node.description.is_empty() {
            fingerprint = fingerprint.with("description", &node.description);
        }
        if !comments.is_empty() {
            fingerprint =
                fingerprint.with("column descriptions", &serde_json::json!(comments).to_string());
        }
        fingerprint
    }
}

/// Writes a file. An unchanged one keeps its time, so that nothing that watches it wakes up.
fn write_changed(path: &std::path::Path, sql: &str) -> Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == sql.as_bytes()) {
        return Ok(());
    }
    let write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, sql)
    };
    write().map_err(|error: std::io::Error| {
        Error::new(ErrorKind::Io, "the compiled SQL cannot be written")
            .with("file", path.display())
            .because(error)
    })
}

/// Where the SQL of a node is written, as in dbt.
pub(crate) fn compiled_path(folder: &std::path::Path, node: &Node) -> PathBuf {
    written_path(&folder.join("compiled"), node)
}

fn written_path(folder: &std::path::Path, node: &Node) -> PathBuf {
    let path = folder.join(&node.package_name).join(&node.original_file_path);
    // A generic test has its own file in a folder named like its YAML file.
    match &node.test {
        Some(test) if matches!(test.kind, TestKind::Generic(_)) => path.join(&node.path),
        // A file may hold several snapshots.
        _ if matches!(node.resource_type, ResourceType::Snapshot | ResourceType::UnitTest) => {
            path.join(format!("{}.sql", node.name))
        }
        _ => path,
    }
}

fn failed(what: &str, diagnostics: Diagnostics) -> Error {
    Error::new(ErrorKind::Config, format!("{what}\n{diagnostics}"))
}

/// Diagnostics of a template, as the cause of our error.
pub(crate) fn template_error(diagnostics: Diagnostics) -> Error {
    let translating = diagnostics.iter().all(|diagnostic| diagnostic.code == "dialect");
    let what = if translating {
        "the SQL could not be translated"
    } else {
        "the template could not be rendered"
    };
    failed(what, diagnostics)
}

impl Renderer for ProjectRenderer {
    fn render(&self, id: &UniqueId, request: &RenderRequest) -> Result<Rendered> {
        let node = self.node(id)?;
        let rendered = self.render_node(node, request)?;
        if rendered.sql.trim().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the model renders to nothing")
                .with("file", &node.original_file_path));
        }
        let mut fingerprint = self.fingerprint(node, &rendered);
        if let Some(batch) = &request.batch {
            fingerprint = fingerprint.with("newest batch", &batch.iso().join(" "));
        }
        let volatile = volatile_reads(&rendered.reads);
        let reads = &rendered.reads;
        let asked_lake = !(reads.queries.is_empty()
            && reads.columns.is_empty()
            && reads.relations.is_empty()
            && reads.schemas.is_empty());
        let has_file = self.project.manifest().external_files.contains_key(id);
        let again = match has_file {
            true => self.wait(external::lost(self, node, &request.context)),
            false => None,
        };
        Ok(Rendered { sql: rendered.sql, fingerprint, volatile, asked_lake, again })
    }

    fn contract(
        &self,
        id: &UniqueId,
        sql: &str,
        schema: &Schema,
        request: &RenderRequest,
    ) -> Result<Option<Contracted>> {
        let node = self.node(id)?;
        match &node.contract {
            Some(contract) => self.contracted(node, contract, sql, schema, request).map(Some),
            None => Ok(None),
        }
    }

    fn unit_test(&self, id: &CheckId, request: &RenderRequest) -> Result<UnitTestCase> {
        let node = self.node(id)?;
        let Some(spec) = &node.unit_test else {
            return Err(
                Error::new(ErrorKind::Internal, "the node is not a unit test").with("node", id)
            );
        };
        self.unit_test_case(node, spec, request)
    }

    fn hooks(&self, id: &UniqueId, time: HookTime, request: &RenderRequest) -> Result<()> {
        let node = self.node(id)?;
        let Some(statements) = &request.statements else {
            return Err(Error::new(ErrorKind::Internal, "hooks need a session"));
        };
        let config = &node.config;
        if time == HookTime::AfterPublish
            && let Some(to) = self.project.manifest().external_files.get(id)
        {
            self.wait(external::write(self, node, to, &request.context))?;
        }
        let hooks: Vec<(&str, &Hook)> = match time {
            // Those outside of the transaction come first.
            HookTime::Before => {
                let (inside, outside): (Vec<_>, Vec<_>) =
                    config.pre_hooks.iter().partition(|hook| hook.transaction);
                outside.into_iter().chain(inside).map(|hook| ("pre-hook", hook)).collect()
            }
            HookTime::After | HookTime::AfterPublish => config
                .post_hooks
                .iter()
                .filter(|hook| hook.transaction == (time == HookTime::After))
                .map(|hook| ("post-hook", hook))
                .collect(),
        };
        for (what, hook) in hooks {
            let state = self.state(request);
            let rendered = self
                .project
                .render_hook(id, hook, &state)
                .map_err(|error| self.failed(node.unique_id.as_str(), &state, error))
                .and_then(|rendered| {
                    self.tell(node.unique_id.as_str(), &rendered);
                    let sql = self.project.adapted(&rendered.sql, &state)?;
                    self.wait(statements.run(&sql))
                });
            rendered.map_err(|error| {
                let first = hook.sql.trim().lines().next().unwrap_or_default();
                Error::new(error.kind(), format!("a {what} failed: {}", error.message()))
                    .with("hook", first)
                    .because(error)
            })?;
        }
        Ok(())
    }

    fn materialize(
        &self,
        id: &UniqueId,
        sql: &str,
        request: &RenderRequest,
    ) -> Result<Vec<RelationName>> {
        let (rendered, relations) = self
            .project
            .materialize(id, sql, &self.state(request))
            .map_err(|error| failed("the materialization failed", error))?;
        self.tell(id.as_str(), &rendered);
        Ok(relations)
    }

    fn increment(
        &self,
        id: &UniqueId,
        strategy: &str,
        rows: &RelationName,
        request: &RenderRequest,
    ) -> Result<String> {
        let rendered = self
            .project
            .increment(id, strategy, rows, &self.state(request))
            .map_err(|error| failed("the incremental strategy failed", error))?;
        self.tell(id.as_str(), &rendered);
        Ok(rendered.sql)
    }

    fn snapshot_strategy(
        &self,
        id: &UniqueId,
        strategy: &str,
        sql: &str,
        exists: bool,
        request: &RenderRequest,
    ) -> Result<SnapshotConfig> {
        let (config, rendered) = self
            .project
            .snapshot_strategy(id, strategy, sql, exists, &self.state(request))
            .map_err(|error| failed("the snapshot strategy failed", error))?;
        self.tell(id.as_str(), &rendered);
        Ok(config)
    }

    fn check(&self, id: &CheckId, request: &RenderRequest) -> Result<Box<dyn Check>> {
        let node = self.node(id)?;
        let Some(test) = node.test.as_ref().filter(|_| node.resource_type == ResourceType::Test)
        else {
            return Err(Error::new(ErrorKind::Internal, "the node is not a test").with("node", id));
        };
        let mut definition =
            TestDefinition { filter: test.where_.clone(), ..definition_of(id, node, test) };
        let manifest = self.project.manifest();
        let native = match &test.kind {
            TestKind::Generic(generic)
                if generic.well_known
                    && tidemill_check::is_native(generic.namespace.as_deref(), &generic.name) =>
            {
                Some(generic)
            }
            _ => None,
        };
        let attached = native.and_then(|generic| generic.attached.as_ref());
        // What has no table of its own is part of the query.
        let is_there = |id: &UniqueId| {
            !manifest.node(id).is_some_and(Node::is_ephemeral)
                && manifest.source(id).is_none_or(|it| it.external_location().is_none())
        };
        let relation = attached
            .filter(|id| is_there(id) && manifest.parents_of(&node.unique_id).iter().all(is_there))
            .and_then(|id| match self.deferred.get(id) {
                Some(other) => Some(other.clone()),
                None => manifest.relation_of(id),
            });
        let known = match (native, relation) {
            (Some(generic), Some(relation)) => {
                let state = self.state(request);
                let arguments = self.project.test_arguments(id, &state).map_err(template_error)?;
                let known = TestDefinition {
                    namespace: generic.namespace.clone(),
                    name: generic.name.clone(),
                    arguments: arguments.values,
                    column: generic.column.clone(),
                    relation,
                    ..definition.clone()
                };
                Some(known).filter(|known| !tidemill_check::needs_sql(known))
            }
            _ => None,
        };
        match known {
            Some(known) => definition = known,
            None => {
                let rendered = self.render_node(node, request)?;
                if let Some(Value::String(calc)) = rendered.config.get("fail_calc") {
                    definition.fail_calc = calc.clone();
                }
                // The query is filtered already.
                definition.filter = None;
                definition.sql = Some(rendered.sql);
            }
        }
        self.note_test(id);
        let check = tidemill_check::check(&definition)?;
        if definition.sql.is_none() {
            self.keep(node, &check.failing_rows())?;
        }
        Ok(if self.rules.is_error("test-warning") { Box::new(Strict(check)) } else { check })
    }
}

/// A check whose warnings are failures (`--warn-error`).
pub(crate) struct Strict(pub(crate) Box<dyn Check>);

impl Check for Strict {
    fn id(&self) -> &CheckId {
        self.0.id()
    }

    fn measures(&self) -> Vec<Measure> {
        self.0.measures()
    }

    fn judge(&self, measurements: &[Measurement]) -> Verdict {
        let mut verdict = self.0.judge(measurements);
        if verdict.status == VerdictStatus::Warn {
            verdict.status = VerdictStatus::Fail;
        }
        verdict
    }

    fn failing_rows(&self) -> String {
        self.0.failing_rows()
    }
}

/// What a template read that is different each time.
fn volatile_reads(reads: &tidemill_project::Reads) -> Vec<String> {
    [
        (reads.run_started_at, "run_started_at"),
        (reads.invocation_id, "invocation_id"),
        (reads.clock, "the clock in its template"),
        (reads.random, "random in its template"),
    ]
    .into_iter()
    .filter(|(read, _)| *read)
    .map(|(_, name)| name.to_owned())
    .collect()
}

/// The lake as templates may ask it.
struct LakeForTemplates {
    engine: Arc<dyn Engine>,
    context: QueryContext,
    /// Where templates may write.
    statements: Option<Arc<StatementSession>>,
    runtime: tokio::runtime::Handle,
    asked: Arc<AtomicBool>,
}

impl LakeForTemplates {
    /// Waits for the engine. Templates run on the runtime's own threads, which have other work: it
    /// goes to another thread meanwhile.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| self.runtime.block_on(answer))
    }

    /// What templates see: what their own statements did, too.
    fn seen(&self) -> QueryContext {
        match &self.statements {
            Some(statements) => statements.context(),
            None => self.context.clone(),
        }
    }
}

/// More rows than this do not belong into a template.
const MOST_ROWS: usize = 1_000_000;

impl Warehouse for LakeForTemplates {
    fn relation(&self, name: &RelationName) -> Result<Option<RelationType>> {
        let context = self.seen();
        if let Some(entry) = context.overlay.0.get(name) {
            return Ok(match entry {
                OverlayEntry::Staged(_) => Some(RelationType::Table),
                OverlayEntry::View(_) => Some(RelationType::View),
                OverlayEntry::Absent => None,
            });
        }
        Ok(context.snapshot.get(name).map(|relation| kind(relation)))
    }

    fn columns(&self, name: &RelationName) -> Result<Option<Vec<CatalogColumn>>> {
        let context = self.seen();
        let schema = match context.overlay.0.get(name) {
            Some(OverlayEntry::Staged(staged)) => staged.schema.clone(),
            Some(OverlayEntry::View(sql)) => self.wait(self.engine.describe(sql, &context))?.schema,
            Some(OverlayEntry::Absent) => return Ok(None),
            None => match context.snapshot.get(name) {
                Some(relation) => relation.schema.clone(),
                None => return Ok(None),
            },
        };
        Ok(Some(columns(&schema)))
    }

    fn relations(&self, schema: &str) -> Result<Vec<(RelationName, RelationType)>> {
        let context = self.seen();
        let mut found: BTreeMap<RelationName, RelationType> = context
            .snapshot
            .relations
            .values()
            .filter(|relation| relation.name.schema() == schema)
            .map(|relation| (relation.name.clone(), kind(relation)))
            .collect();
        if let Some(statements) = &self.statements
            && statements.wrote()
        {
            for (name, entry) in
                context.overlay.0.iter().filter(|(name, _)| name.schema() == schema)
            {
                match entry {
                    OverlayEntry::Staged(_) => found.insert(name.clone(), RelationType::Table),
                    OverlayEntry::View(_) => found.insert(name.clone(), RelationType::View),
                    OverlayEntry::Absent => found.remove(name),
                };
            }
        }
        Ok(found.into_iter().collect())
    }

    fn schemas(&self) -> Result<Vec<String>> {
        let context = self.seen();
        let names = context.snapshot.relations.keys().map(|name| name.schema().to_owned());
        let mut schemas: Vec<String> = names.collect();
        // The relations are in order of their schemas.
        schemas.dedup();
        Ok(schemas)
    }

    fn query(&self, sql: &str) -> Result<QueryTable> {
        self.asked.store(true, Ordering::Relaxed);
        self.wait(async { read_all(self.engine.query(sql, &self.seen()).await?).await })
    }

    fn translate(&self, sql: &str, dialect: SqlDialect) -> Result<String> {
        tidemill_engine::translate(sql, dialect)
    }

    fn adapt(&self, sql: &str, dialect: SqlDialect) -> Result<String> {
        match split_statements(sql).as_slice() {
            [] | [_] => tidemill_engine::adapt(sql, dialect),
            several => {
                let adapted = several.iter().map(|one| tidemill_engine::adapt(one, dialect));
                Ok(adapted.collect::<Result<Vec<String>>>()?.join(";\n"))
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<Executed> {
        self.asked.store(true, Ordering::Relaxed);
        let Some(statements) = &self.statements else {
            return Ok(Executed::of_rows(self.query(sql)?));
        };
        self.wait(async {
            Ok(match statements.execute_all(sql).await? {
                None => Executed::of_rows(QueryTable::default()),
                Some(StatementOutcome::Rows(rows)) => Executed::of_rows(read_all(rows).await?),
                Some(StatementOutcome::Done { tag, rows }) => {
                    Executed { table: QueryTable::default(), code: tag, rows_affected: rows }
                }
            })
        })
    }
}

async fn read_all(mut stream: BatchStream) -> Result<QueryTable> {
    let columns = columns(&stream.schema);
    let mut rows = Vec::new();
    while let Some(batch) = stream.batches.next().await {
        let batch = batch?;
        if rows.len() + batch.num_rows() > MOST_ROWS {
            return Err(Error::new(
                ErrorKind::Resources,
                format!("a query of a template gives more than {MOST_ROWS} rows"),
            ));
        }
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| scalar(column, row)).collect());
        }
    }
    Ok(QueryTable { columns, rows })
}

fn kind(relation: &PublishedRelation) -> RelationType {
    match relation.kind {
        RelationKind::Table { .. } if is_materialized_view(relation) => {
            RelationType::MaterializedView
        }
        RelationKind::Table { .. } => RelationType::Table,
        RelationKind::View { .. } => RelationType::View,
    }
}

/// Whether a table was published as a materialized view.
pub(crate) fn is_materialized_view(relation: &PublishedRelation) -> bool {
    relation.record.as_deref().is_some_and(|record| record.get("materialized_view").is_some())
}

fn columns(schema: &arrow::datatypes::Schema) -> Vec<CatalogColumn> {
    schema
        .fields()
        .iter()
        .map(|field| CatalogColumn {
            name: field.name().clone(),
            data_type: types::name(field.data_type()),
        })
        .collect()
}

pub(crate) fn scalar(column: &arrow::array::ArrayRef, row: usize) -> Value {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Float64Type, Int64Type};
    if column.is_null(row) {
        return Value::Null;
    }
    let cast = |to: DataType| arrow::compute::cast(&column.slice(row, 1), &to).ok();
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        kind if kind.is_integer() => match cast(DataType::Int64) {
            Some(value) => Value::from(value.as_primitive::<Int64Type>().value(0)),
            None => Value::String(tidemill_core::display_value(column, row)),
        },
        kind if kind.is_floating() => match cast(DataType::Float64) {
            Some(value) => Value::from(value.as_primitive::<Float64Type>().value(0)),
            None => Value::Null,
        },
        _ => Value::String(tidemill_core::display_value(column, row)),
    }
}
