//! `tidemill ingest --follow`: loads again and again, until Ctrl-C.
//!
//! The log of a table whose changes are kept (`changes: true`) is read every moment, by a task of its own, and
//! what is new is published in its table of changes. The tables themselves are loaded when they are as old
//! as their `lag` allows, by the executor as by `ingest`, meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tidemill_core::{At, Cancellation, Error, ErrorKind, Maintenance, RunId, TableStore, UniqueId};
use tidemill_ingest::changes;
use tidemill_plan::Scope;

use crate::args::Build;
use crate::commands::build::{self, Invocation};
use crate::loader::ProjectLoader;
use crate::output::{Output, plural};
use crate::session::Session;

/// How old a table may be whose source does not say it.
const LAG: Duration = Duration::from_secs(60);

/// A log that fails so often in a row is not read any more.
const ATTEMPTS: u32 = 5;

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Files of a table of changes are joined after so many were added.
const JOIN_AFTER: u32 = 16;

/// Follows the selected sources.
pub(crate) async fn run(mut session: Session, args: &Build, every: Duration) -> Result<i32> {
    if args.full_refresh {
        bail!("--follow goes on from what is loaded; run `ingest --full-refresh` first");
    }
    let invocation = Invocation::of_build("ingest", Scope::INGEST, args);
    let work = build::selected_work(&session, &invocation)?;
    let loader = ProjectLoader::new(&session, session.stores().await?.lake);
    let mut lags = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for id in work.nodes.keys() {
        let settings = loader.settings(id)?;
        lags.insert(id.clone(), settings.lag.unwrap_or(LAG));
        if settings.changes {
            kept.insert(id.clone());
        }
    }
    if lags.is_empty() {
        session.output.say("nothing is selected");
        return Ok(0);
    }
    session.follows = true;
    session.output.say(format!(
        "following {}, {} of them by a table of changes; Ctrl-C ends",
        plural(lags.len() as u64, "table", "tables"),
        kept.len()
    ));
    let mut lanes = tokio::task::JoinSet::new();
    for id in &kept {
        let store = session.stores().await?.lake;
        let lane = Lane {
            id: id.clone(),
            loader: ProjectLoader::new(&session, store.clone()),
            store,
            every,
            cancel: session.cancel.clone(),
            output: session.output,
        };
        lanes.spawn(lane.run());
    }
    let mut failed = rounds(&mut session, args, &lags, &kept).await?;
    while let Some(lane) = lanes.join_next().await {
        failed |= !lane.unwrap_or(false);
    }
    Ok(i32::from(failed))
}

/// Loads what is due, until cancelled; whether a load failed that was not made good since.
async fn rounds(
    session: &mut Session,
    args: &Build,
    lags: &BTreeMap<UniqueId, Duration>,
    kept: &BTreeSet<UniqueId>,
) -> Result<bool> {
    let store = session.stores().await?.lake;
    let mut next: BTreeMap<UniqueId, Instant> =
        lags.keys().map(|id| (id.clone(), Instant::now())).collect();
    let mut failed = false;
    while !session.cancel.is_cancelled() {
        let now = Instant::now();
        let mut due: BTreeSet<UniqueId> =
            next.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        if due.is_empty() {
            let wait = next.values().min().map_or(LAG, |at| at.saturating_duration_since(now));
            pause(&session.cancel, wait).await;
            continue;
        }
        for id in &due {
            next.insert(id.clone(), now + lags[id]);
        }
        // A table whose changes are all applied has nothing to load.
        let snapshot = store.snapshot(At::Now).await?;
        let manifest = session.project.clone();
        due.retain(|id| {
            let relation = manifest.manifest().source(id).map(|source| source.relation());
            !kept.contains(id)
                || relation.is_none_or(|relation| {
                    !changes::is_begun(&snapshot, &relation)
                        || changes::is_behind(&snapshot, &relation)
                })
        });
        if due.is_empty() {
            continue;
        }
        session.run = RunId::new(uuid::Uuid::now_v7().to_string());
        session.started = chrono::Utc::now();
        let mut invocation = Invocation::of_build("ingest", Scope::INGEST, args);
        invocation.only = Some(due);
        match build::run(session, &invocation).await {
            Ok(code) => failed = code != 0,
            Err(error) => {
                failed = true;
                session.output.err(crate::failure::text(&error));
            }
        }
    }
    Ok(failed)
}

async fn pause(cancel: &Cancellation, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = cancel.cancelled() => {}
    }
}

/// The log of one table.
struct Lane {
    id: UniqueId,
    loader: ProjectLoader,
    store: Arc<tidemill_lake::Lake>,
    every: Duration,
    cancel: Cancellation,
    output: Output,
}

impl Lane {
    /// Until cancelled, or until it fails too often; whether it did not.
    async fn run(self) -> bool {
        let mut failures = 0;
        let mut added = 0;
        while !self.cancel.is_cancelled() {
            let began = Instant::now();
            let wait = match self.once().await {
                Ok(changes) => {
                    if failures > 0 {
                        self.output.say(format!("{}: its log is read again", self.id));
                    }
                    failures = 0;
                    added += u32::from(changes > 0);
                    if added >= JOIN_AFTER {
                        added = 0;
                        self.join().await;
                    }
                    self.every.saturating_sub(began.elapsed())
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => break,
                // Somebody else published; the same changes come again.
                Err(error) if error.kind() == ErrorKind::Conflict => Duration::ZERO,
                Err(error) => {
                    failures += 1;
                    self.output.err(format!("{}: {}", self.id, error.report()));
                    let lasting = !error.kind().is_retryable();
                    if lasting && failures >= ATTEMPTS {
                        self.output.err(format!(
                            "{}: its log is not read any more, after {ATTEMPTS} attempts; the others go on",
                            self.id
                        ));
                        return false;
                    }
                    LONGEST_WAIT.min(Duration::from_secs(1 << failures.min(6)))
                }
            };
            pause(&self.cancel, wait).await;
        }
        true
    }

    /// Publishes what is new in the log; how many changes.
    async fn once(&self) -> Result<u64, Error> {
        let snapshot = self.store.snapshot(At::Now).await?;
        let run = RunId::new(uuid::Uuid::now_v7().to_string());
        let (source, spec) = self.loader.log_of(&self.id, snapshot, run, &self.cancel)?;
        if !changes::is_begun(&spec.base, &spec.relation) {
            return Ok(0);
        }
        let appended = changes::append(&*source, &spec, Some(&self.id), &*self.store).await?;
        for notice in &appended.notices {
            self.output.say(format!("note: {}: {}", self.id, notice.message));
        }
        Ok(appended.changes)
    }

    async fn join(&self) {
        let Ok(relation) = self.loader.relation(&self.id) else { return };
        let rule = Maintenance {
            only: vec![changes::changes_relation(&relation)],
            vacuum: false,
            ..Maintenance::default()
        };
        if let Err(error) = self.store.maintain(&rule).await {
            self.output.say(format!("note: {}: maintenance: {}", self.id, error.report()));
        }
    }
}
