//! `tidemill plan`: what a build would do, and why, by the functions that the build itself uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use tidemill_core::{RelationName, UniqueId};
use tidemill_plan::{
    Decision, NodeState, Record, ReuseOptions, Step, StepAction, Work, WorkKind, WorkNode, decide,
};
use tidemill_run::{LoadRequest, Loader, RenderRequest, Renderer};

use crate::args::Format;
use crate::artifacts::LastRun;
use crate::commands::build::{Invocation, selected_work};
use crate::exports;
use crate::loader::ProjectLoader;
use crate::output::{Mood, plural};
use crate::renderer::ProjectRenderer;
use crate::session::{Session, Stores};

pub(crate) async fn run(session: &Session, invocation: &Invocation<'_>) -> Result<i32> {
    let work = selected_work(session, invocation)?;
    let stores = session.stores().await?;
    let steps = steps(session, &stores, invocation, &work).await?;
    if session.global.format == Some(Format::Json) {
        for step in &steps {
            session.output.data(serde_json::to_value(step)?);
        }
        return Ok(0);
    }
    let width = steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for step in &steps {
        let (word, mood, text) = describe(step);
        *counts.entry(word).or_default() += 1;
        let checks = match step.checks.len() {
            0 => String::new(),
            number => format!("  [{}]", plural(number as u64, "check", "checks")),
        };
        let line = format!(
            "  {}  {:width$}  {:<11}  {text}{checks}",
            session.output.paint(mood, &format!("{word:<9}")),
            step.name,
            step.kind,
        );
        session.output.data(line.trim_end());
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(word, number)| match *word {
            "maybe" => format!("{number} to build if what they read changes"),
            word => format!("{number} to {word}"),
        })
        .collect();
    session.output.say(if steps.is_empty() {
        "nothing is selected".to_owned()
    } else {
        parts.join(", ")
    });
    Ok(0)
}

fn describe(step: &Step) -> (&'static str, Mood, String) {
    match &step.action {
        StepAction::Ingest { files, reason } => {
            let shown: Vec<&str> = files.iter().take(3).map(String::as_str).collect();
            let more = if files.len() > 3 {
                format!(" and {} more", files.len() - 3)
            } else {
                String::new()
            };
            let list = if shown.is_empty() {
                String::new()
            } else {
                format!(" {}{more}", shown.join(", "))
            };
            ("load", Mood::Good, format!("{reason}{list}"))
        }
        StepAction::Node(Decision::Reuse) => ("reuse", Mood::Quiet, String::new()),
        StepAction::Node(Decision::Build { reason }) => ("build", Mood::Good, reason.clone()),
        StepAction::Node(Decision::Increment { reason }) => {
            ("increment", Mood::Good, reason.clone())
        }
        StepAction::Node(Decision::RebuildIfInputsChange { inputs }) => {
            let names: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            ("maybe", Mood::Warning, format!("if the rows of {} change", names.join(", ")))
        }
        StepAction::Test => ("test", Mood::Good, String::new()),
        StepAction::Export { reason } => ("export", Mood::Good, reason.clone()),
    }
}

async fn steps(
    session: &Session,
    stores: &Stores,
    invocation: &Invocation<'_>,
    work: &Work,
) -> Result<Vec<Step>> {
    let folder = session.target_path();
    let snapshot = stores.snapshot(tidemill_core::At::Now).await?;
    let building: BTreeSet<UniqueId> = work.nodes.keys().cloned().collect();
    let deferred = crate::defer::deferred(session, &work.selected, &building, |own| {
        snapshot.get(own).is_some()
    })?;
    let renderer = Arc::new(
        ProjectRenderer::new(session, stores.engine.clone(), folder.join("plan"))
            .read_only()
            .deferring(deferred)
            .selected(&work.selected)
            .empty(invocation.empty)
            .sampling(crate::commands::build::sample(session, invocation)?),
    );
    let loader = ProjectLoader::new(session, stores.lake.clone());
    let foreign: BTreeSet<RelationName> =
        stores.store.foreign_heads(&snapshot).await?.into_iter().collect();
    let failed: BTreeSet<UniqueId> =
        LastRun::read(&folder).map(|last| last.failed().cloned().collect()).unwrap_or_default();
    let zone: chrono_tz::Tz =
        session.manifest().settings.timezone.parse().unwrap_or(chrono_tz::UTC);
    let current_date = session.started.with_timezone(&zone).date_naive().to_string();
    let assignment = work.assignment(false);
    let mut pending: BTreeSet<RelationName> = BTreeSet::new();
    let mut steps = Vec::new();
    for id in session.manifest().topological() {
        let Some(node) = work.nodes.get(&id) else { continue };
        let action = match &node.kind {
            WorkKind::Source | WorkKind::Seed if foreign.contains(&node.relation) => {
                StepAction::Node(Decision::Build {
                    reason: "another engine wrote to the table: it is checked and taken over"
                        .to_owned(),
                })
            }
            WorkKind::Source | WorkKind::Seed => {
                let request = LoadRequest {
                    context: session.context(snapshot.clone()),
                    full: invocation.full_refresh,
                    events: Arc::new(Silent),
                };
                match loader.pending(&id, &request).await? {
                    Some(files) => StepAction::Ingest {
                        // Only the first is looked for: to know all would be to read them.
                        reason: match files.is_empty() {
                            true => "the file changed".to_owned(),
                            false => "new rows, the first of them from".to_owned(),
                        },
                        files,
                    },
                    None if loader.fingerprint(&id)? != recorded(&snapshot, node)
                        && matches!(node.kind, WorkKind::Seed) =>
                    {
                        StepAction::Ingest {
                            files: Vec::new(),
                            reason: "settings changed".to_owned(),
                        }
                    }
                    None => StepAction::Node(Decision::Reuse),
                }
            }
            WorkKind::External => StepAction::Node(Decision::Reuse),
            WorkKind::Model(config) => {
                let full_refresh = node.full_refresh.unwrap_or(invocation.full_refresh);
                let incremental = config.keeps_history();
                let request = RenderRequest {
                    statements: None,
                    incremental: config.materialized == "incremental"
                        && !full_refresh
                        && snapshot.get(&node.relation).is_some(),
                    full_refresh,
                    context: session.context(snapshot.clone()),
                    batch: config.microbatch.as_ref().and_then(|micro| {
                        let there = snapshot.get(&node.relation).is_some() && !full_refresh;
                        micro.batches(there, session.now(), None, None).pop()
                    }),
                };
                let rendered = {
                    let (renderer, id) = (renderer.clone(), id.clone());
                    tokio::task::spawn_blocking(move || renderer.render(&id, &request)).await?
                };
                let mut waiting: Vec<RelationName> = Record::of(&snapshot, &node.relation)
                    .map(|record| {
                        record.inputs.into_keys().filter(|name| pending.contains(name)).collect()
                    })
                    .unwrap_or_default();
                match rendered {
                    Err(error) => StepAction::Node(Decision::Build { reason: error.report() }),
                    Ok(rendered) => {
                        if rendered.asked_lake {
                            let parents =
                                work.graph.parents(&id).filter_map(|id| work.nodes.get(id));
                            for parent in parents.map(|parent| &parent.relation) {
                                if pending.contains(parent) && !waiting.contains(parent) {
                                    waiting.push(parent.clone());
                                }
                            }
                        }
                        let state = NodeState {
                            relation: &node.relation,
                            fingerprint: &rendered.fingerprint,
                            snapshot: &snapshot,
                            incremental,
                            never: if failed.contains(&id) {
                                Some("its last run failed".to_owned())
                            } else {
                                node.never_reuse.clone().or(rendered.again)
                            },
                            pending_inputs: &waiting,
                        };
                        let options = ReuseOptions {
                            no_reuse: invocation.no_reuse,
                            full_refresh,
                            current_date: current_date.clone(),
                            ignore_volatile: node.ignore_volatile,
                            foreign: foreign.contains(&node.relation),
                        };
                        StepAction::Node(decide(&state, &options))
                    }
                }
            }
        };
        if !matches!(action, StepAction::Node(Decision::Reuse)) {
            pending.insert(node.relation.clone());
        }
        let checks = assignment
            .checks
            .iter()
            .filter(|(_, gate)| gate.gates.first() == Some(&id))
            .map(|(check, _)| check.clone())
            .collect();
        steps.push(Step {
            node: id.clone(),
            name: node.name.clone(),
            kind: node.kind_name().to_owned(),
            relation: Some(node.relation.clone()),
            action,
            checks,
        });
    }
    for (check, gate) in &assignment.checks {
        if gate.gates.is_empty()
            && let Some(found) = work.checks.get(check)
        {
            steps.push(Step {
                node: check.clone(),
                name: found.name.clone(),
                kind: "test".to_owned(),
                relation: None,
                action: StepAction::Test,
                checks: Vec::new(),
            });
        }
    }
    for export in exports::of_work(session, invocation, work) {
        steps.push(Step {
            node: export.unique_id.clone(),
            name: export.name.clone(),
            kind: "export".to_owned(),
            relation: None,
            action: exports::action(session, stores, export, &pending).await,
            checks: Vec::new(),
        });
    }
    Ok(steps)
}

fn recorded(snapshot: &tidemill_core::Snapshot, node: &WorkNode) -> tidemill_plan::Fingerprint {
    Record::of(snapshot, &node.relation).map(|record| record.fingerprint).unwrap_or_default()
}

/// Nobody listens to a plan.
struct Silent;

impl tidemill_core::EventSink for Silent {
    fn emit(&self, _: tidemill_core::Event) {}
}
