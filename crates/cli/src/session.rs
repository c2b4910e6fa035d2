//! One invocation: the project, the lake and the engine, wired.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tidemill_core::{
    At, Cancellation, Diagnostic, Diagnostics, EntryNumber, Overlay, Principal, QueryContext,
    RunId, Snapshot, TableStore, UniqueId,
};
use tidemill_engine::{EmbeddedEngine, EngineOptions};
use tidemill_lake::{Lake, LakeOptions};
use tidemill_project::{
    IndirectSelection, LoadOptions, Manifest, Node, PreviousState, Project, ResourceType,
    Selection, VersionCheck,
};
use tidemill_run::{RenderRequest, StatementSession};

use crate::args::{Global, SelectionArgs};
use crate::flags::Flags;
use crate::lakes::Lakes;
use crate::output::Output;
use crate::query_files::QueryFiles;
use crate::warnings::WarningRules;

/// A loaded project and what the user asked for.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) global: Global,
    pub(crate) project: Arc<Project>,
    /// The folder of the project.
    pub(crate) root: PathBuf,
    /// The id of this invocation.
    pub(crate) run: RunId,
    /// The command, as dbt names it.
    pub(crate) command: String,
    /// When it started.
    pub(crate) started: chrono::DateTime<chrono::Utc>,
    /// Set by Ctrl-C.
    pub(crate) cancel: Cancellation,
    /// Which warnings are errors.
    pub(crate) rules: Arc<WarningRules>,
    /// Logs of tables whose changes are kept are read by tasks of their own (`ingest --follow`).
    pub(crate) follows: bool,
    /// Sources whose systems could not be reached in their last load.
    pub(crate) away: Away,
    /// The sources that this process loads, where that is more than one run does (`ingest --follow`).
    pub(crate) followed: Arc<BTreeSet<UniqueId>>,
    /// As many rows may go as were deleted at their source (`ingest --allow-deletes`).
    pub(crate) allows_deletes: bool,
    /// Loads read this part of a range again (`ingest backfill`).
    pub(crate) backfill: Option<Arc<tidemill_ingest::Backfill>>,
}

/// Sources whose systems could not be reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Away(Arc<std::sync::Mutex<BTreeSet<UniqueId>>>);

impl Away {
    /// Notes how the last load of a source ended.
    pub(crate) fn note(&self, id: &UniqueId, is_away: bool) {
        let mut away = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match is_away {
            true => away.insert(id.clone()),
            false => away.remove(id),
        };
    }

    pub(crate) fn has(&self, id: &UniqueId) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(id)
    }
}

/// The lake and the engine over it.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) lake: Arc<Lake>,
    /// The lake; with `--defer` to another lake that one's relations beside its own.
    pub(crate) store: Arc<dyn TableStore>,
    pub(crate) engine: Arc<EmbeddedEngine>,
    /// What queries read of files; to be closed in the end.
    pub(crate) files: Arc<QueryFiles>,
}

impl Session {
    /// Finds and loads the project; prints its warnings.
    ///
    /// # Errors
    /// Diagnostics of everything that is wrong with it.
    pub(crate) fn open(
        global: &Global,
        command: &str,
        output: Output,
        cancel: Cancellation,
    ) -> Result<Session> {
        Self::open_parts(global, command, output, cancel, false)
    }

    /// The project's settings, profile and lake alone: what is wrong with a model does not keep
    /// anybody from the lake.
    pub(crate) fn open_settings(
        global: &Global,
        command: &str,
        output: Output,
        cancel: Cancellation,
    ) -> Result<Session> {
        Self::open_parts(global, command, output, cancel, true)
    }

    fn open_parts(
        global: &Global,
        command: &str,
        output: Output,
        cancel: Cancellation,
        settings_only: bool,
    ) -> Result<Session> {
        let (session, warnings) = Self::read_parts(global, command, output, cancel, settings_only)?;
        // Without its models, what the settings say about them cannot be judged.
        if !settings_only {
            session.rules.tell(&warnings, output)?;
            crate::dbt_events::found(&session);
        }
        Ok(session)
    }

    /// The project, and what there is to say about it.
    pub(crate) fn read(
        global: &Global,
        command: &str,
        output: Output,
        cancel: Cancellation,
    ) -> Result<(Session, Diagnostics)> {
        Self::read_parts(global, command, output, cancel, false)
    }

    fn read_parts(
        global: &Global,
        command: &str,
        output: Output,
        cancel: Cancellation,
        settings_only: bool,
    ) -> Result<(Session, Diagnostics)> {
        let (rules, said) = WarningRules::of(&global.flags)?;
        indirect(&global.flags)?;
        let root = project_dir(global.project_dir.as_deref())?;
        let vars = match &global.vars {
            Some(text) => tidemill_project::parse_vars(text)?,
            None => serde_json::Map::new(),
        };
        let options = LoadOptions {
            profiles_dir: global.profiles_dir.clone(),
            profile: global.profile.clone(),
            target: global.target.clone(),
            vars,
            threads: if global.flags.on("single_threaded") { Some(1) } else { global.threads },
            target_lake: global.target_lake.clone(),
            target_path: global.target_path.as_ref().map(|path| path.display().to_string()),
            settings_only,
            flags: global.flags.all().map(|(key, value)| (key.clone(), value.clone())).collect(),
            version_check: Some(version_check(&global.flags)),
            env: None,
        };
        let (project, mut warnings) = Project::load(&root, &options)?;
        warnings.append(said);
        let session = Session {
            output,
            global: global.clone(),
            project: Arc::new(project),
            root,
            run: RunId::new(output.events.unwrap_or_else(uuid::Uuid::now_v7).to_string()),
            command: command.to_owned(),
            started: chrono::Utc::now(),
            cancel,
            rules: Arc::new(rules),
            follows: false,
            away: Away::default(),
            followed: Arc::default(),
            allows_deletes: false,
            backfill: None,
        };
        Ok((session, warnings))
    }

    /// The resolved graph.
    pub(crate) fn manifest(&self) -> &Manifest {
        self.project.manifest()
    }

    /// Where artifacts and compiled SQL go.
    pub(crate) fn target_path(&self) -> PathBuf {
        self.root.join(&self.manifest().settings.target_path)
    }

    /// Opens the lake and the engine.
    pub(crate) async fn stores(&self) -> Result<Stores> {
        if self.manifest().target.runs_in.is_some() {
            return Err(crate::database::no_lake(self));
        }
        let target = &self.manifest().target;
        let memory = match &self.global.memory {
            Some(text) => {
                Some(crate::units::bytes(text).map_err(|error| anyhow!("--memory: {error}"))?)
            }
            None => target.memory,
        };
        let engine = EmbeddedEngine::new(EngineOptions {
            memory_limit: memory,
            timezone: self.manifest().settings.timezone.clone(),
            databases: databases(self.manifest()),
            user: user(target),
            for_duckdb: target.is_for_duckdb(),
            ..EngineOptions::default()
        })?;
        let mut options = LakeOptions::new(engine.runtime());
        options.store = target.storage_options.0.iter().map(|(key, value)| (key, value)).collect();
        let lake = Arc::new(Lake::open(&target.lake, options.clone()).await?);
        let files = Arc::new(QueryFiles::new(lake.clone(), self.root.clone()));
        let (store, engine): (Arc<dyn TableStore>, _) = match crate::defer::other_lake(self) {
            None => (lake.clone(), engine.with_tables(lake.clone())),
            Some(other) => {
                let lakes = Lakes::open(lake.clone(), &other, options).await.map_err(|error| {
                    let location = tidemill_core::scrub(&other.location);
                    anyhow!("the lake of the other environment, `{location}`: {}", error.report())
                })?;
                let lakes = Arc::new(lakes);
                (lakes.clone(), engine.with_tables(lakes))
            }
        };
        let engine = Arc::new(engine.with_files(files.clone()));
        Ok(Stores { lake, store, engine, files })
    }

    /// Milliseconds since 1970 do not do: microseconds.
    pub(crate) fn now(&self) -> i64 {
        self.started.timestamp_micros()
    }

    /// A session for statements, over this state.
    pub(crate) fn statements(&self, stores: &Stores, snapshot: Snapshot) -> StatementSession {
        let context = self.context(snapshot);
        StatementSession::new(stores.engine.clone(), stores.store.clone(), context)
    }

    /// What macros need that may write: a session for their statements, over the newest state.
    pub(crate) async fn writing(
        &self,
        stores: &Stores,
    ) -> Result<(Arc<StatementSession>, RenderRequest)> {
        let statements = Arc::new(self.statements(stores, stores.snapshot(At::Now).await?));
        let context = statements.context();
        let request = RenderRequest {
            incremental: false,
            full_refresh: false,
            context,
            batch: None,
            statements: Some(statements.clone()),
        };
        Ok((statements, request))
    }

    /// A context for a query of the owner over this state.
    pub(crate) fn context(&self, snapshot: Snapshot) -> QueryContext {
        QueryContext {
            snapshot,
            overlay: Overlay::none(),
            principal: Principal::Owner,
            run: self.run.clone(),
            cancel: self.cancel.clone(),
            default_schema: self.manifest().target.schema.clone(),
            timezone: self.manifest().settings.timezone.clone(),
            now: self.now(),
        }
    }

    /// Nodes that are read and cannot be run yet, one line each.
    pub(crate) fn unsupported_nodes(&self) -> Vec<String> {
        let in_database = self.manifest().target.runs_in.is_some();
        self.manifest()
            .nodes
            .values()
            .filter_map(|node| unsupported(self.manifest(), node, in_database))
            .collect()
    }

    /// Refuses work that would silently leave something out.
    pub(crate) fn refuse_unsupported(
        &self,
        selected: &BTreeSet<UniqueId>,
        scope: tidemill_plan::Scope,
    ) -> Result<()> {
        if !scope.models && !scope.snapshots {
            return Ok(());
        }
        let manifest = self.manifest();
        let in_database = manifest.target.runs_in.is_some();
        // A model in Python fails by itself, as in dbt; the others are built.
        let lines: Vec<String> = selected
            .iter()
            .filter_map(|id| manifest.node(id))
            .filter(|node| !(in_database && node.language == "python"))
            .filter_map(|node| unsupported(manifest, node, in_database))
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        Err(tidemill_core::Error::new(
            tidemill_core::ErrorKind::Unsupported,
            format!(
                "this selection needs what is not supported yet; leave it out with --exclude, or take it out of the project:\n  {}",
                lines.join("\n  ")
            ),
        )
        .into())
    }

    /// Writes `manifest.json`.
    pub(crate) fn write_manifest(
        &self,
        folder: &Path,
        compiled: std::collections::BTreeMap<UniqueId, String>,
    ) -> Result<()> {
        self.write_manifest_after(folder, compiled, BTreeSet::new())
    }

    /// Writes `manifest.json` after a run, of which some SQL was written.
    pub(crate) fn write_manifest_after(
        &self,
        folder: &Path,
        compiled: std::collections::BTreeMap<UniqueId, String>,
        executed: BTreeSet<UniqueId>,
    ) -> Result<()> {
        let meta = tidemill_project::ManifestMeta {
            generated_at: crate::artifacts::timestamp(chrono::Utc::now()),
            invocation_id: self.run.to_string(),
            invocation_started_at: Some(crate::artifacts::timestamp(self.started)),
            compiled: compiled.into_iter().collect(),
            executed: executed.into_iter().collect(),
            late_macros: self.project.late_macros(),
            env: crate::defer::with_lake(self, crate::artifacts::custom_env()),
        };
        crate::artifacts::write_with(folder, "manifest.json", |out| {
            tidemill_project::write_manifest(self.manifest(), &meta, out)
        })?;
        let semantic = tidemill_project::semantic_manifest(self.manifest());
        crate::artifacts::write(folder, "semantic_manifest.json", &semantic)
    }

    /// The arguments of this command with all flags, as `run_results.json` keeps them.
    pub(crate) fn arguments(&self, own: &serde_json::Value) -> serde_json::Value {
        let mut all: serde_json::Map<String, serde_json::Value> =
            self.global.flags.all().map(|(name, value)| (name.clone(), value.clone())).collect();
        all.insert("vars".to_owned(), self.manifest().settings.cli_vars.clone().into());
        all.insert("target".to_owned(), self.global.target.clone().into());
        all.insert("profile".to_owned(), self.global.profile.clone().into());
        all.insert("threads".to_owned(), self.global.threads.into());
        all.insert("target_lake".to_owned(), self.global.target_lake.clone().into());
        let text: Vec<String> = std::env::args().skip(1).collect();
        all.insert("invocation_command".to_owned(), format!("tidemill {}", text.join(" ")).into());
        if let serde_json::Value::Object(own) = own {
            all.extend(own.clone());
        }
        all.into()
    }

    /// What the selection flags select; all that is enabled without any.
    pub(crate) fn select(&self, args: &SelectionArgs) -> Result<BTreeSet<UniqueId>> {
        self.select_with(self.selection(args)?)
    }

    /// The flags as a selection.
    pub(crate) fn selection(&self, args: &SelectionArgs) -> Result<Selection> {
        Ok(Selection {
            select: args.all(),
            exclude: args.exclude.clone(),
            selector: args.selector.clone(),
            resource_types: resource_types(&args.resource_type)?,
            exclude_resource_types: resource_types(&args.exclude_resource_type)?,
            indirect: indirect(&self.global.flags)?,
            previous: match args.asks_for_state() {
                true => self.previous("state")?,
                // As in dbt: a folder that is not there hurts nobody who does not read it.
                false => self.previous("state").unwrap_or_default(),
            },
            with_empty: false,
        })
    }

    /// Tells that the selection has nothing in it.
    ///
    /// # Errors
    /// When that is an error.
    pub(crate) fn nothing_to_do(&self) -> Result<()> {
        let warning = Diagnostic::warning("nothing-to-do", "nothing is selected");
        self.rules.tell(&Diagnostics::from_iter([warning]), self.output)
    }

    /// What a selection selects.
    pub(crate) fn select_with(&self, selection: Selection) -> Result<BTreeSet<UniqueId>> {
        let (selected, warnings) = tidemill_project::select(self.manifest(), &selection)?;
        self.rules.tell(&warnings, self.output)?;
        Ok(selected)
    }

    /// The artifacts that `--state` or `--defer-state` names; relative to the project, as in dbt.
    pub(crate) fn previous(&self, flag: &str) -> Result<Option<Arc<PreviousState>>> {
        let Some(folder) = self.global.flags.text(flag) else { return Ok(None) };
        let folder = self.root.join(folder);
        if !folder.is_dir() {
            return Err(anyhow!(
                "--{}: there is no folder `{}`",
                flag.replace('_', "-"),
                folder.display()
            ));
        }
        match PreviousState::read(&folder, &self.target_path()) {
            Ok(state) => Ok(Some(Arc::new(state))),
            Err(diagnostic) => {
                let mut diagnostics = tidemill_core::Diagnostics::new();
                diagnostics.push(*diagnostic);
                Err(diagnostics.into())
            }
        }
    }
}

impl SelectionArgs {
    /// `--select` and its older name.
    pub(crate) fn all(&self) -> Vec<String> {
        self.select.iter().chain(&self.models).cloned().collect()
    }

    /// Whether the selection may ask how an earlier run ended, or what the project was then.
    fn asks_for_state(&self) -> bool {
        let asks = |text: &String| {
            ["state:", "result:", "source_status:", "selector:"]
                .iter()
                .any(|word| text.contains(word))
        };
        self.selector.is_some() || self.all().iter().chain(&self.exclude).any(asks)
    }
}

/// Which tests come along with what is selected.
fn indirect(flags: &Flags) -> Result<IndirectSelection> {
    let word = flags.text("indirect_selection").unwrap_or("eager");
    IndirectSelection::parse(word).ok_or_else(|| {
        anyhow!("`indirect_selection: {word}`: use eager, cautious, buildable or empty")
    })
}

/// Resource types by their names; `all` and `default` leave the choice to the command.
fn resource_types(words: &[String]) -> Result<Vec<ResourceType>> {
    let mut types = Vec::new();
    for word in words.iter().flat_map(|words| words.split_whitespace()) {
        match (word, ResourceType::parse(word)) {
            ("all" | "default", _) => return Ok(Vec::new()),
            (_, Some(kind)) => types.push(kind),
            ("function", None) => {}
            (_, None) => {
                return Err(anyhow!(
                    "`{word}` is not a resource type; use model, seed, snapshot, source, test, unit_test, \
                     analysis, exposure, metric, semantic_model or saved_query"
                ));
            }
        }
    }
    Ok(types)
}

/// How `require-dbt-version` is judged.
pub(crate) fn version_check(flags: &Flags) -> VersionCheck {
    VersionCheck { contains: is_within, enforced: flags.on("version_check") }
}

/// Whether a version lies within all of these bounds; why not, when one of them is none.
fn is_within(version: &str, bounds: &[String]) -> Result<bool, String> {
    let range = tidemill_packages::Range::parse(bounds.iter().map(String::as_str))
        .map_err(|error| error.report())?;
    Ok(range.best([version], true).is_some())
}

/// The folder with `dbt_project.yml`: the given one, or the working folder or the nearest above it.
pub(crate) fn project_dir(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return std::path::absolute(given)
            .with_context(|| format!("cannot find {}", given.display()));
    }
    let here = std::env::current_dir().context("the working folder cannot be read")?;
    let found = here.ancestors().find(|folder| folder.join("dbt_project.yml").is_file());
    Ok(found.unwrap_or(&here).to_owned())
}

/// Reads an entry number, a time or a run id.
pub(crate) fn parse_at(text: &str) -> Result<At> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        return Ok(At::Entry(EntryNumber(number)));
    }
    if uuid::Uuid::parse_str(text).is_ok() {
        return Ok(At::Run(RunId::new(text)));
    }
    if let Some(time) = parse_time(text) {
        return Ok(At::Time(time));
    }
    Err(anyhow!(
        "`{text}` is not an entry number (17), a time (2026-01-31T12:00:00Z) or a run id; \
         `tidemill lake history` lists them"
    ))
}

fn parse_time(text: &str) -> Option<i64> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    for format in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) =
            chrono::NaiveDateTime::parse_from_str(text.trim_end_matches(" UTC"), format)
        {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    // The end of that day.
    Some(date.succ_opt()?.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros() - 1)
}

impl Stores {
    /// A published state.
    pub(crate) async fn snapshot(&self, at: At) -> Result<Snapshot> {
        Ok(self.store.snapshot(at).await?)
    }
}

/// Why a node cannot be run yet, if so.
fn unsupported(manifest: &Manifest, node: &Node, in_database: bool) -> Option<String> {
    let place = &node.original_file_path;
    if !matches!(
        node.resource_type,
        ResourceType::Model | ResourceType::Seed | ResourceType::Snapshot
    ) {
        return None;
    }
    if let Some(found) = manifest.unheeded_snapshot_macro(node) {
        return Some(format!(
            "{place}: the project's macro `{}` ({}), which snapshots here do not call: a strategy of its own \
             (`snapshot_NAME_strategy`) and a whole materialization `snapshot` are",
            found.name, found.original_file_path
        ));
    }
    if in_database {
        let python = node.language == "python";
        return python
            .then(|| format!("{place}: a model in Python, which PostgreSQL does not run"));
    }
    let config = &node.config;
    if config.materialized.as_str() == "incremental" && !config.incremental_predicates.is_empty() {
        let strategy = config.incremental_strategy.as_deref();
        if let Some(strategy @ ("insert_overwrite" | "microbatch")) = strategy {
            return Some(format!("{place}: incremental_predicates with the strategy {strategy}"));
        }
        if config.null_keys().as_deref() == Some("fail") {
            return Some(format!("{place}: incremental_predicates with `meta.null_keys: fail`"));
        }
    }
    ["merge_clauses", "merge_on_using_columns", "merge_returning_columns"]
        .into_iter()
        .find(|key| config.get(key).is_some_and(|value| !is_nothing(value)))
        .map(|key| format!("{place}: {key}"))
}

fn is_nothing(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The names by which the lake may be called: the target's first, then those that nodes and sources
/// name.
/// Who asks: the output's user, as in a database.
fn user(target: &tidemill_project::Target) -> String {
    let named = target.extra.get("user").and_then(|user| user.as_str());
    let usual = if target.is_for_duckdb() { "duckdb" } else { "tidemill" };
    named.unwrap_or(usual).to_owned()
}

fn databases(manifest: &tidemill_project::Manifest) -> Vec<String> {
    let mut names = vec![manifest.target.database.clone(), "tidemill".into(), "lake".into()];
    let nodes = manifest.nodes.values().map(|node| &node.database);
    for name in nodes.chain(manifest.sources.values().map(|source| &source.database)) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
