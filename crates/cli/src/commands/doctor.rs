//! `tidemill doctor`: what of a dbt project works here, what not, where, and what to do. Nothing of
//! the project or of a lake is changed: seeds are loaded into a temporary one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tidemill_core::{At, Cancellation, Diagnostics, NodeStatus, TableStore};
use tidemill_plan::Scope;
use tidemill_project::ResourceType;
use tidemill_run::{Doers, RunOptions, execute};

use crate::args::{Doctor, Format, Global};
use crate::doctor::{
    Level, Place, Report, of_diagnostics, of_dialect, of_nodes, of_project_file, survey,
};
use crate::loader::ProjectLoader;
use crate::output::{Mood, Output, plural};
use crate::renderer::ProjectRenderer;
use crate::session::{Session, Stores};

/// Larger seeds are not loaded to look at what reads them.
const MOST_SEED_BYTES: u64 = 16 << 20;

/// Looks at the project. Gives 1 when something keeps a build from working.
pub(crate) fn run(
    runtime: &tokio::runtime::Runtime,
    global: &Global,
    args: &Doctor,
    output: Output,
    cancel: &Cancellation,
) -> Result<i32> {
    let began = Instant::now();
    let mut report = Report::default();
    let scratch = Scratch::new()?;
    let mut global = global.clone();
    let as_json = args.output == Some(Format::Json) || global.format == Some(Format::Json);
    profile(&global, output, cancel, &mut report);
    let (own, in_database) = place_of_models(&global, output, cancel);
    if !own && !in_database && global.target_lake.is_none() {
        global.target_lake = Some(scratch.0.join("lake").display().to_string());
    }
    let session = match Session::read(&global, "doctor", output, cancel.clone()) {
        Ok((session, warnings)) => {
            of_diagnostics(&mut report, &warnings);
            session
        }
        Err(error) => {
            let Some(diagnostics) = error.downcast_ref::<Diagnostics>() else { return Err(error) };
            of_diagnostics(&mut report, diagnostics);
            let project = json!({"parsed": false});
            if as_json {
                output.data(report.json(project));
            } else {
                report.print(&output, args.all);
                output.data("");
                let missing =
                    diagnostics.iter().any(|found| found.code == "packages-not-installed");
                output.data(match missing {
                    true => "the project cannot be read without its packages: run `tidemill deps` and ask again",
                    false => "the project cannot be read, so its models were not looked at: correct these and ask again",
                });
            }
            return Ok(1);
        }
    };
    of_project_file(&mut report, &session);
    of_nodes(&mut report, &session);
    if in_database {
        let blockers = report.count(Level::Blocker);
        if as_json {
            let name = &session.manifest().settings.name;
            output.data(report.json(json!({"parsed": true, "name": name, "in_database": true})));
            return Ok(i32::from(blockers > 0));
        }
        output.data(format!(
            "{}: the models run inside the database of the profile, which judges their SQL",
            session.manifest().settings.name
        ));
        report.print(&output, args.all);
        output.data("");
        output.data(
            "`tidemill debug` connects to it; `tidemill doctor --target-lake=./lake` says what of the \
             project works on a lake",
        );
        return Ok(i32::from(blockers > 0));
    }
    let found = runtime.block_on(async {
        let stores = session.stores().await?;
        if !own {
            load_seeds(&session, &stores, &scratch.0, &mut report).await?;
        }
        let context = session.context(stores.snapshot(At::Now).await?);
        let renderer =
            ProjectRenderer::new(&session, stores.engine.clone(), scratch.0.join("target"))
                .silent();
        let engine = stores.engine.clone();
        anyhow::Ok(survey(&session, Arc::new(renderer), engine, context, &mut report).await?)
    })?;
    of_dialect(&mut report, &session);
    let manifest = session.manifest();
    let number = |kind: ResourceType| {
        manifest.nodes.values().filter(|node| node.resource_type == kind).count() as u64
    };
    let (models, tests) = (number(ResourceType::Model), number(ResourceType::Test));
    let blockers = report.count(Level::Blocker);
    if as_json {
        output.data(report.json(json!({
            "parsed": true,
            "name": manifest.settings.name,
            "models": models,
            "tests": tests,
            "planned": found.planned,
            "by_syntax": found.by_syntax,
            "not_judged": found.not_judged,
            "sources_missing": found.sources_missing,
        })));
        return Ok(i32::from(blockers > 0));
    }
    output.data(format!(
        "{}: {}, {}, looked at in {:.1}s",
        manifest.settings.name,
        plural(models, "model", "models"),
        plural(tests, "test", "tests"),
        began.elapsed().as_secs_f64()
    ));
    output.data(format!(
        "  {} planned over empty tables",
        plural(found.planned as u64, "query was", "queries were")
    ));
    if found.by_syntax > 0 {
        output.data(format!(
            "  {} looked at for syntax and functions alone: columns are not known{}",
            plural(found.by_syntax as u64, "query was", "queries were"),
            match found.sources_missing {
                0 => String::new(),
                missing => format!(
                    ", since {} no table here",
                    plural(missing as u64, "source table has", "source tables have")
                ),
            }
        ));
    }
    if found.not_judged > 0 {
        output.data(format!(
            "  {} not judged: a template asks for data that is not here",
            plural(found.not_judged as u64, "node is", "nodes are")
        ));
    }
    report.print(&output, args.all);
    output.data("");
    let next = match (blockers, own) {
        (0, true) => "nothing blocks a build: `tidemill build`".to_owned(),
        (0, false) => "nothing blocks a build: `tidemill build --target-lake ./lake` (or give the \
                       profile an output of type tidemill)"
            .to_owned(),
        (number, _) => format!(
            "{} a build; `--exclude` leaves models out meanwhile",
            plural(number as u64, "finding blocks", "findings block")
        ),
    };
    let mood = if blockers == 0 { Mood::Good } else { Mood::Bad };
    output.data(output.paint(mood, &next));
    Ok(i32::from(blockers > 0))
}

/// A folder that goes with the command.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidemill-doctor-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What keeps the profile from being used as it is.
fn profile(global: &Global, output: Output, cancel: &Cancellation, report: &mut Report) {
    let Err(error) = Session::open_settings(global, "doctor", output, cancel.clone()) else {
        return;
    };
    let Some(diagnostics) = error.downcast_ref::<Diagnostics>() else { return };
    for diagnostic in diagnostics.iter() {
        let place = diagnostic.position.as_ref().map(|position| {
            let line = (!position.text.is_empty()).then(|| position.line_column().0);
            Place::new(position.file.to_string_lossy(), line)
        });
        // With a lake of its own the project needs no profile.
        let level = match diagnostic.code {
            "foreign-target" | "no-profiles" | "unknown-profile" | "unknown-target" => {
                Level::Difference
            }
            _ => continue,
        };
        let fix = "run with --target-lake ./lake, or give the profile an output of type tidemill";
        report.add(level, diagnostic.code, diagnostic.message.clone(), Some(fix), place);
    }
}

/// Whether the project's own lake is there, whose tables tell the columns of sources; and whether its
/// models run inside a database instead.
fn place_of_models(global: &Global, output: Output, cancel: &Cancellation) -> (bool, bool) {
    let Ok(session) = Session::open_settings(global, "doctor", output, cancel.clone()) else {
        return (false, false);
    };
    let target = &session.manifest().target;
    (Path::new(&target.lake).join("_tidemill").is_dir(), target.runs_in.is_some())
}

/// Loads seeds into the temporary lake, for their columns.
async fn load_seeds(
    session: &Session,
    stores: &Stores,
    scratch: &Path,
    report: &mut Report,
) -> Result<()> {
    let manifest = session.manifest();
    let seeds = manifest.nodes.values().filter(|node| {
        let file = node.root_path.join(&node.original_file_path);
        node.resource_type == ResourceType::Seed
            && std::fs::metadata(file).is_ok_and(|file| file.len() <= MOST_SEED_BYTES)
    });
    let selected = seeds.map(|node| node.unique_id.clone()).collect();
    let mut work = tidemill_plan::work(manifest, &selected, Scope::SEED, false);
    if work.nodes.is_empty() {
        return Ok(());
    }
    // Hooks would do something.
    for node in work.nodes.values_mut() {
        node.hooks = Default::default();
    }
    let renderer = ProjectRenderer::new(session, stores.engine.clone(), scratch.join("target"));
    let doers = Doers {
        engine: stores.engine.clone(),
        store: stores.lake.clone() as Arc<dyn TableStore>,
        renderer: Arc::new(renderer.silent()),
        loader: Arc::new(ProjectLoader::new(session, stores.lake.clone())),
        programs: Arc::new(tidemill_run::NoPrograms),
        events: Arc::new(Silent),
    };
    let options = RunOptions {
        default_schema: manifest.target.schema.clone(),
        now: session.now(),
        timezone: manifest.settings.timezone.clone(),
        ..RunOptions::new(session.run.clone(), manifest.target.threads)
    };
    let summary = execute(work, doers, options, session.cancel.clone()).await?;
    for outcome in summary.nodes.iter().filter(|outcome| outcome.status == NodeStatus::Error) {
        let Some(node) = manifest.node(&outcome.node) else { continue };
        let message = outcome.message.as_deref().unwrap_or("the seed cannot be loaded");
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let place = Place::new(node.position.file.to_string_lossy(), None);
        report.add(Level::Blocker, "seed", message, None, Some(place));
    }
    Ok(())
}

/// Nobody listens.
struct Silent;

impl tidemill_core::EventSink for Silent {
    fn emit(&self, _: tidemill_core::Event) {}
}
