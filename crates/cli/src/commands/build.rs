//! `build`, `run`, `test`, `seed` and `ingest`: the same executor on different nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use tidemill_core::{
    At, Maintenance, NodeOutcome, NodeStatus, RelationName, TableStore, UniqueId, VerdictStatus,
};
use tidemill_plan::{Batch, Scope, Work, WorkNode, work};
use tidemill_project::{Export, SampleWindow};
use tidemill_run::{Doers, PublishMode, RunOptions, RunSummary, execute};

use crate::args::{Build, Format, Publish, SelectionArgs, Test};
use crate::artifacts::{self, LastRun};
use crate::commands::clone::CopyRenderer;
use crate::dbt_events::Follower;
use crate::defer;
use crate::exports;
use crate::loader::ProjectLoader;
use crate::programs::PythonPrograms;
use crate::progress::Progress;
use crate::renderer::ProjectRenderer;
use crate::run_hooks::{self, When};
use crate::session::{Session, Stores};

/// How long the maintenance after a build may take.
const MAINTENANCE_BUDGET: Duration = Duration::from_secs(10);

/// What one invocation of the executor does.
pub(crate) struct Invocation<'a> {
    /// dbt's name of the command.
    pub(crate) command: &'a str,
    pub(crate) scope: Scope,
    pub(crate) selection: &'a SelectionArgs,
    /// Only these of the selected nodes (`retry`).
    pub(crate) only: Option<BTreeSet<UniqueId>>,
    pub(crate) full_refresh: bool,
    pub(crate) fail_fast: bool,
    pub(crate) no_reuse: bool,
    pub(crate) publish: Publish,
    pub(crate) store_failures: bool,
    pub(crate) adopt: bool,
    /// `--event-time-start` and `--event-time-end`.
    pub(crate) event_times: [Option<i64>; 2],
    /// Microbatch models of which only these batches are built (`retry`).
    pub(crate) batches: BTreeMap<UniqueId, Vec<Batch>>,
    /// Read no rows.
    pub(crate) empty: bool,
    /// Read only rows of this span of time.
    pub(crate) sample: Option<&'a str>,
    /// Print the first rows of seeds.
    pub(crate) show: bool,
    /// `--export-saved-queries`
    pub(crate) exports: bool,
    /// `clone`: where each node is copied from.
    pub(crate) sources: Option<Arc<BTreeMap<UniqueId, RelationName>>>,
}

impl<'a> Invocation<'a> {
    /// A command without further flags.
    pub(crate) fn plain(command: &'a str, scope: Scope, selection: &'a SelectionArgs) -> Self {
        Invocation {
            command,
            scope,
            selection,
            only: None,
            full_refresh: false,
            fail_fast: false,
            no_reuse: false,
            publish: Publish::Model,
            store_failures: false,
            adopt: false,
            event_times: [None, None],
            batches: BTreeMap::new(),
            empty: false,
            sample: None,
            show: false,
            exports: false,
            sources: None,
        }
    }

    /// From the flags of `build` and its relatives.
    pub(crate) fn of_build(command: &'a str, scope: Scope, args: &'a Build) -> Self {
        Invocation {
            full_refresh: args.full_refresh,
            no_reuse: args.no_reuse,
            publish: args.publish,
            store_failures: args.store_failures,
            adopt: args.adopt,
            event_times: [args.event_time_start, args.event_time_end],
            empty: args.empty && !args.no_empty,
            sample: args.sample.as_deref(),
            show: args.show,
            exports: args.saved_queries.export_saved_queries
                && !args.saved_queries.no_export_saved_queries,
            ..Self::plain(command, scope, &args.selection)
        }
    }

    /// From the flags of `test`.
    pub(crate) fn of_test(args: &'a Test) -> Self {
        Invocation {
            no_reuse: args.no_reuse,
            store_failures: args.store_failures,
            ..Self::plain("test", Scope::TEST, &args.selection)
        }
    }

    /// The arguments as `run_results.json` keeps them, so that `retry` can repeat them.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "which": self.command,
            "select": self.selection.all(),
            "exclude": self.selection.exclude,
            "selector": self.selection.selector,
            "exclude_resource_types": self.selection.exclude_resource_type,
            "resource_types": self.selection.resource_type,
            "full_refresh": self.full_refresh,
            "fail_fast": self.fail_fast,
            "no_reuse": self.no_reuse,
            "publish": if self.publish == Publish::Run { "run" } else { "model" },
            "store_failures": self.store_failures,
            "adopt": self.adopt,
            "event_time_start": self.event_times[0],
            "event_time_end": self.event_times[1],
            "empty": self.empty,
            "sample": self.sample,
        })
    }
}

/// The work that an invocation selects.
pub(crate) fn selected_work(session: &Session, invocation: &Invocation<'_>) -> Result<Work> {
    let mut selected = session.select(invocation.selection)?;
    if let Some(only) = &invocation.only {
        selected.retain(|id| only.contains(id));
    }
    session.refuse_unsupported(&selected, invocation.scope)?;
    crate::loader::validate(session.manifest(), &selected)?;
    Ok(work(session.manifest(), &selected, invocation.scope, invocation.store_failures))
}

/// Loads these sources with their checks; how each ended.
pub(crate) async fn loads(
    session: &Session,
    mut invocation: Invocation<'_>,
    mut only: BTreeSet<UniqueId>,
) -> Result<Vec<NodeOutcome>> {
    only.extend(session.manifest().tests().map(|test| test.unique_id.clone()));
    invocation.only = Some(only);
    let work = selected_work(session, &invocation)?;
    let stores = session.stores().await?;
    let summary = run_work(session, &stores, &invocation, work).await;
    stores.files.close().await;
    Ok(summary?.nodes)
}

/// Whether a node failed, or its checks did.
pub(crate) fn is_failure(outcome: &NodeOutcome) -> bool {
    matches!(outcome.status, NodeStatus::Fail | NodeStatus::Error)
}

/// Runs, tells, and writes the artifacts. Gives dbt's exit code.
pub(crate) async fn run(session: &Session, invocation: &Invocation<'_>) -> Result<i32> {
    if invocation.show && !matches!(invocation.command, "build" | "seed") {
        bail!(
            "--show prints the rows of seeds, which `{}` does not load; use `show --select`",
            invocation.command
        );
    }
    if let [Some(start), Some(end)] = invocation.event_times
        && start >= end
    {
        bail!("--event-time-start has to be before --event-time-end");
    }
    if invocation.exports {
        // dbt Core takes the flag and exports nothing.
        bail!(
            "--export-saved-queries: the metrics of saved queries are not computed here, so there is \
             nothing to export; write the query as a model, or leave the flag out"
        );
    }
    let work = selected_work(session, invocation)?;
    let exports = exports::of_work(session, invocation, &work);
    let nothing = work.nodes.is_empty() && work.checks.is_empty() && work.unit_tests.is_empty();
    if nothing && exports.is_empty() {
        did_nothing(session, invocation)?;
        session.nothing_to_do()?;
        return Ok(0);
    }
    if let Some(database) = crate::database::of(session)? {
        if !exports.is_empty() {
            session
                .output
                .say("exports read a lake, and this target is a database: nothing goes out");
        }
        let summary =
            crate::database::run_work(session, database.clone(), invocation, work).await?;
        if invocation.show {
            crate::database::show_seeds(session, &database, &loaded_seeds(session, &summary))
                .await?;
        }
        return exit_code(session, &summary);
    }
    let stores = session.stores().await?;
    let summary = run_work(session, &stores, invocation, work).await;
    if let Ok(summary) = &summary
        && invocation.show
    {
        show_seeds(session, &stores, &loaded_seeds(session, summary)).await?;
    }
    stores.files.close().await;
    exit_code(session, &summary?)
}

/// As in dbt, the artifacts say of a command that selects nothing that it did nothing.
fn did_nothing(session: &Session, invocation: &Invocation<'_>) -> Result<()> {
    if !session.global.flags.on("write_json") {
        return Ok(());
    }
    let results = artifacts::run_results(
        session.manifest(),
        &RunSummary::default(),
        &[],
        &BTreeMap::new(),
        &session.arguments(&invocation.to_json()),
        &session.run.to_string(),
        &artifacts::timestamp(session.started),
    );
    artifacts::write(&session.target_path(), "run_results.json", &results)?;
    session.write_manifest(&session.target_path(), BTreeMap::new())
}

/// 1 when something failed.
///
/// # Errors
/// When a check warns, and that is told as a warning in the end which is an error: dbt ends so too,
/// after everything was written.
fn exit_code(session: &Session, summary: &RunSummary) -> Result<i32> {
    let warned = |check: &&tidemill_run::CheckOutcome| {
        check.verdict.status == VerdictStatus::Warn && !check.skipped
    };
    let told_as = ["result-warning", "result-warning-message"];
    if told_as.iter().any(|code| session.rules.is_error(code))
        && let Some(check) = summary.checks.iter().find(warned)
    {
        bail!(
            "`{}` warns, which is told again in the end: name `RunResultWarning` and \
             `RunResultWarningMessage` in `warn` of --warn-error-options, too",
            check.verdict.check
        );
    }
    Ok(i32::from(summary.failed()))
}

/// How many rows `--show` prints of a seed.
pub(crate) const SHOWN_ROWS: u64 = 10;

/// The seeds that are there after a run, with their relations.
fn loaded_seeds(session: &Session, summary: &RunSummary) -> Vec<(String, RelationName)> {
    use tidemill_project::ResourceType::Seed;
    let there = |outcome: &&NodeOutcome| {
        matches!(
            outcome.status,
            NodeStatus::Ok | NodeStatus::Unchanged | NodeStatus::Reused | NodeStatus::Warn
        )
    };
    let loaded = summary.nodes.iter().filter(there);
    loaded
        .filter_map(|outcome| session.manifest().node(&outcome.node))
        .filter(|node| node.resource_type == Seed)
        .map(|node| (node.name.clone(), node.relation()))
        .collect()
}

/// `--show`: the first rows of seeds.
async fn show_seeds(
    session: &Session,
    stores: &Stores,
    seeds: &[(String, RelationName)],
) -> Result<()> {
    let context = session.context(stores.snapshot(At::Now).await?);
    for (name, relation) in seeds {
        session.output.say(format!("{name}:"));
        let sql = format!("select * from {} limit {SHOWN_ROWS}", relation.quoted());
        let mut out = std::io::BufWriter::new(std::io::stdout());
        crate::commands::sql::query(stores, &sql, &context, shown_format(session), &mut out)
            .await?;
        std::io::Write::flush(&mut out)?;
    }
    Ok(())
}

/// The form of the rows that `--show` prints.
pub(crate) fn shown_format(session: &Session) -> Format {
    match session.global.format {
        Some(Format::Csv) => Format::Csv,
        Some(Format::Json) => Format::Json,
        _ => Format::Text,
    }
}

/// Who tells of a run, and what it has besides nodes: checks, and what it only counts.
pub(crate) fn progress(
    session: &Session,
    invocation: &Invocation<'_>,
    work: &Work,
    exports: &[&Export],
) -> (Arc<Progress>, Vec<UniqueId>) {
    let folder = &session.target_path();
    let nodes = work.nodes.values().map(|node: &WorkNode| (node.id.clone(), node.name.clone()));
    let named_exports =
        exports.iter().map(|export| (export.unique_id.clone(), export.name.clone()));
    let names: BTreeMap<UniqueId, String> = nodes.chain(named_exports.clone()).collect();
    let checks = work
        .checks
        .values()
        .map(|check| (check.id.clone(), check.name.clone()))
        .chain(work.unit_tests.values().map(|test| (test.id.clone(), test.name.clone())))
        .collect();
    let compiled = names
        .keys()
        .filter_map(|id| session.manifest().node(id))
        .filter(|node| node.resource_type != tidemill_project::ResourceType::Seed)
        .map(|node| {
            let path = crate::renderer::compiled_path(folder, node);
            let shown = path.strip_prefix(&session.root).unwrap_or(&path).display().to_string();
            (node.unique_id.clone(), shown)
        })
        .collect();
    let idle = idle(session, invocation, work);
    let checks_of = work.checks.keys().chain(work.unit_tests.keys()).cloned();
    let planned = checks_of.chain(idle.iter().cloned()).collect();
    let follower = session
        .output
        .events
        .map(|_| Follower::new(session, work, named_exports, &idle, invocation.full_refresh));
    let progress = Progress::new(session.output, names, checks, compiled).followed(follower);
    (Arc::new(progress), planned)
}

/// What dbt's `build` counts and does nothing for: saved queries and exposures.
fn idle(session: &Session, invocation: &Invocation<'_>, work: &Work) -> Vec<UniqueId> {
    if invocation.command != "build" {
        return Vec::new();
    }
    let manifest = session.manifest();
    let is_idle = |id: &UniqueId| {
        manifest.exposures.contains_key(id) || id.as_str().starts_with("saved_query.")
    };
    work.selected.iter().filter(|id| is_idle(id)).cloned().collect()
}

/// Runs the work on open stores.
pub(crate) async fn run_work(
    session: &Session,
    stores: &Stores,
    invocation: &Invocation<'_>,
    work: Work,
) -> Result<RunSummary> {
    let folder = session.target_path();
    let exports = exports::of_work(session, invocation, &work);
    let (progress, planned) = progress(session, invocation, &work, &exports);
    let snapshot = stores.snapshot(At::Now).await?;
    let building: BTreeSet<UniqueId> = work.nodes.keys().cloned().collect();
    let deferred =
        defer::deferred(session, &work.selected, &building, |own| snapshot.get(own).is_some())?;
    defer::tell_missing(session, &deferred, &building, |other| snapshot.get(other).is_some());
    let mut work = work;
    for check in work.checks.values_mut() {
        let owner = check.relation.as_ref().and_then(|relation| work.owners.get(relation));
        if let Some(other) = owner.and_then(|owner| deferred.get(owner)) {
            check.relation = Some(other.clone());
        }
    }
    let renderer = Arc::new(
        ProjectRenderer::new(session, stores.engine.clone(), folder.clone())
            .deferring(deferred)
            .selected(&work.selected)
            .empty(invocation.empty)
            .sampling(sample(session, invocation)?),
    );
    let doers = Doers {
        engine: stores.engine.clone(),
        store: stores.store.clone(),
        renderer: match &invocation.sources {
            Some(sources) => Arc::new(CopyRenderer { sources: sources.clone() }),
            None => renderer.clone(),
        },
        loader: Arc::new(
            ProjectLoader::new(session, stores.lake.clone()).beside(work.nodes.keys()),
        ),
        programs: Arc::new(PythonPrograms::new(session, stores.engine.clone())),
        events: progress.clone(),
    };
    // As in dbt, a clone runs no hooks.
    let hooked = invocation.sources.is_none();
    let start = if hooked {
        run_hooks::run(session, stores, &renderer, When::Start, Map::new()).await?
    } else {
        Vec::new()
    };
    let start_failed = start.iter().any(|hook| hook.status == NodeStatus::Error);
    let mut summary = if start_failed && skips_after_failed_start(session) {
        skipped(&work)
    } else {
        execute(work, doers, options(session, invocation, &folder), session.cancel.child()).await?
    };
    summary.compiling = renderer.compiling();
    if session.rules.is_error("test-warning") {
        // A verdict that is known from an earlier run was judged without the flag.
        for check in &mut summary.checks {
            if check.verdict.status == VerdictStatus::Warn {
                check.verdict.status = VerdictStatus::Fail;
            }
        }
    }
    let delivering = std::time::Instant::now();
    let exported =
        exports::after_build(session, stores, invocation, &exports, &summary, &progress).await;
    summary.elapsed += delivering.elapsed();
    let mut arguments = session.arguments(&invocation.to_json());
    if let Some(window) = sample(session, invocation)? {
        // What it was, not what it would be in a later command.
        arguments["sample"] = crate::sample::text(&window).into();
    }
    let invocation_id = session.run.to_string();
    let started = artifacts::timestamp(session.started);
    let results = |summary: &RunSummary| {
        artifacts::run_results(
            session.manifest(),
            summary,
            &planned,
            &renderer.compiled(),
            &arguments,
            &invocation_id,
            &started,
        )
    };
    progress.rest(|| results(&summary));
    // One of many rounds is not worth a line when there was nothing to do.
    let is_nothing = session.follows && progress.was_idle();
    match is_nothing {
        true => progress.clear(),
        false => progress.finish(summary.elapsed, summary.cancelled),
    }
    let has_end = hooked && !session.manifest().on_run_end.is_empty();
    let end = if has_end && !summary.cancelled {
        let names = run_hooks::end_names(session, &summary, &results(&summary));
        run_hooks::run(session, stores, &renderer, When::End, names).await
    } else {
        Ok(Vec::new())
    };
    let (end, broken) = run_hooks::of_the_end(end);
    executed_sql(session, &renderer, &summary, invocation.full_refresh)?;
    summary.nodes.splice(0..0, start);
    summary.nodes.extend(end);
    summary.nodes.extend(exported);
    let results = results(&summary);
    if session.global.flags.on("write_json") {
        artifacts::write(&folder, "run_results.json", &results)?;
        session.write_manifest_after(&folder, renderer.compiled(), renderer.all_executed())?;
    }
    if !is_nothing {
        progress.end(|| results, summary.elapsed, summary.cancelled);
    }

    let published = summary.nodes.iter().any(|node| node.version.is_some());
    if published && !summary.cancelled {
        maintain(session, stores).await;
    }
    broken.map_or(Ok(summary), Err)
}

/// Writes what was executed: as a statement that does the same, where there is one, and the query of
/// rows that went into a table or history in another way.
fn executed_sql(
    session: &Session,
    renderer: &ProjectRenderer,
    summary: &RunSummary,
    full_refresh: bool,
) -> Result<()> {
    let (manifest, compiled) = (session.manifest(), renderer.compiled());
    for outcome in &summary.nodes {
        let done = matches!(
            outcome.status,
            NodeStatus::Ok | NodeStatus::Unchanged | NodeStatus::Warn | NodeStatus::Fail
        );
        let (Some(node), Some(sql)) = (manifest.node(&outcome.node), compiled.get(&outcome.node))
        else {
            continue;
        };
        if !done {
            continue;
        }
        let relation = artifacts::relation_name(&node.database, &node.schema, &node.alias);
        let is_first = full_refresh || outcome.version.is_none_or(|version| version.0 == 0);
        let sql = sql.trim();
        let text = match (outcome.kind.as_str(), is_first) {
            _ if node.language != "sql" => sql.to_owned(),
            ("view", _) => format!("create view {relation} as (\n{sql}\n)\n"),
            ("incremental" | "snapshot", false) => {
                let strategy = node.config.incremental_strategy.as_deref().unwrap_or("its changes");
                format!("-- into {relation}: {strategy}\n{sql}\n")
            }
            _ => format!("create table {relation} as (\n{sql}\n)\n"),
        };
        renderer.executed(node, &text)?;
    }
    for check in summary.checks.iter().filter(|check| !check.reused && !check.skipped) {
        let id = &check.verdict.check;
        if let (Some(node), Some(sql)) = (manifest.node(id), compiled.get(id)) {
            renderer.executed(node, &format!("{}\n", sql.trim()))?;
        }
    }
    Ok(())
}

/// dbt's flag of the same name: whether a failed `on-run-start` keeps everything from running.
pub(crate) fn skips_after_failed_start(session: &Session) -> bool {
    let flags = &session.manifest().settings.flags;
    flags.get("skip_nodes_if_on_run_start_fails").and_then(Value::as_bool).unwrap_or(true)
}

/// A run in which nothing is tried.
pub(crate) fn skipped(work: &Work) -> RunSummary {
    let nodes = work.nodes.values().map(|node| NodeOutcome {
        node: node.id.clone(),
        name: node.name.clone(),
        kind: node.kind_name().to_owned(),
        status: NodeStatus::Skipped,
        elapsed: Duration::ZERO,
        rows: None,
        version: None,
        batches: None,
        message: Some("on-run-start failed".to_owned()),
    });
    RunSummary { nodes: nodes.collect(), ..RunSummary::default() }
}

/// What `--sample` says.
pub(crate) fn sample(
    session: &Session,
    invocation: &Invocation<'_>,
) -> Result<Option<SampleWindow>> {
    invocation.sample.map(|text| crate::sample::parse(text, session.started)).transpose()
}

/// Compaction and vacuum by the default rule. What goes wrong is told and spoils nothing.
async fn maintain(session: &Session, stores: &Stores) {
    crate::expire::changes(session, stores).await;
    // Those that are added to meanwhile are joined by whoever adds to them.
    let except = match session.follows {
        true => session.manifest().sources.values().map(|source| source.relation()).collect(),
        false => Vec::new(),
    };
    let except = except.iter().map(tidemill_ingest::changes::changes_relation).collect();
    let rule = Maintenance { budget: MAINTENANCE_BUDGET, except, ..Maintenance::default() };
    match stores.lake.maintain(&rule).await {
        Ok(report) => {
            for warning in report.warnings {
                session.output.say(format!("note: maintenance: {warning}"));
            }
        }
        Err(error) => session.output.say(format!("note: maintenance: {}", error.report())),
    }
}

pub(crate) fn options(
    session: &Session,
    invocation: &Invocation<'_>,
    folder: &std::path::Path,
) -> RunOptions {
    let manifest = session.manifest();
    let timezone = manifest.settings.timezone.clone();
    let zone: chrono_tz::Tz = timezone.parse().unwrap_or(chrono_tz::UTC);
    let failed_before =
        LastRun::read(folder).map(|last| last.failed().cloned().collect()).unwrap_or_default();
    RunOptions {
        full_refresh: invocation.full_refresh,
        no_reuse: invocation.no_reuse,
        fail_fast: invocation.fail_fast || session.global.flags.on("fail_fast"),
        publish: match invocation.publish {
            Publish::Model => PublishMode::Model,
            Publish::Run => PublishMode::Run,
        },
        adopt: invocation.adopt,
        failed_before,
        event_time_start: invocation.event_times[0],
        event_time_end: invocation.event_times[1],
        batches: invocation.batches.clone(),
        default_schema: manifest.target.schema.clone(),
        now: session.now(),
        current_date: session.started.with_timezone(&zone).date_naive().to_string(),
        timezone,
        ..RunOptions::new(session.run.clone(), manifest.target.threads)
    }
}
