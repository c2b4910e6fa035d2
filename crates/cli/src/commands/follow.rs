//! `tidemill ingest --follow`: loads again and again, until Ctrl-C.
//!
//! The log of a table whose changes are kept (`changes: true`) is read every moment, by a task of its own, and
//! what is new is published in its table of changes. The tables themselves are loaded when they are as old
//! as their `lag` allows, by the executor as by `ingest`, meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tidemill_core::{
    At, Cancellation, Error, ErrorKind, Maintenance, NodeOutcome, NodeStatus, Position, RunId,
    Snapshot, TableStore, UniqueId,
};
use tidemill_ingest::changes;
use tidemill_plan::Scope;

use crate::args::Build;
use crate::commands::build::{self, Invocation, is_failure};
use crate::commands::ingest_reject;
use crate::loader::ProjectLoader;
use crate::output::{Output, plural};
use crate::session::Session;

/// How old a table may be whose source does not say it.
const LAG: Duration = Duration::from_secs(60);

/// A load or a log that fails so often in a row is given up.
const ATTEMPTS: u32 = 5;

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often the database is told how far its log is kept here.
const TOLD_EVERY: Duration = Duration::from_secs(10);

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
    session.followed = Arc::new(lags.keys().cloned().collect());
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
            reject: Reject::of(&session),
        };
        lanes.spawn(lane.run());
    }
    let mut failed = rounds(&mut session, args, &lags, &kept).await?;
    while let Some(lane) = lanes.join_next().await {
        failed |= !lane.unwrap_or(false);
    }
    Ok(i32::from(failed))
}

/// Loads what is due, until cancelled or until no table is left; whether a load failed that was not made good
/// since.
async fn rounds(
    session: &mut Session,
    args: &Build,
    lags: &BTreeMap<UniqueId, Duration>,
    kept: &BTreeSet<UniqueId>,
) -> Result<bool> {
    let store = session.stores().await?.lake;
    let reject = Reject::of(session);
    let mut next: BTreeMap<UniqueId, Instant> =
        lags.keys().map(|id| (id.clone(), Instant::now())).collect();
    let mut attempts = Attempts::default();
    let (mut failed, mut stopped) = (false, false);
    while !session.cancel.is_cancelled() && !next.is_empty() {
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
        let invocation = Invocation::of_build("ingest", Scope::INGEST, args);
        match build::loads(session, invocation, due).await {
            Ok(outcomes) => {
                failed = outcomes.iter().any(is_failure);
                for outcome in attempts.given_up(&outcomes, |id| session.away.has(id)) {
                    next.remove(&outcome.node);
                    stopped = true;
                    let reason = outcome.message.as_deref().unwrap_or_default();
                    session.output.err(reject.table(&outcome.node, &snapshot, reason));
                    let loader = ProjectLoader::new(session, store.clone());
                    if let Err(error) = loader.abandon(&outcome.node).await {
                        tracing::warn!(%error, table = %outcome.node, "what its source keeps was not let go");
                    }
                }
            }
            Err(error) => {
                failed = true;
                session.output.err(crate::failure::text(&error));
            }
        }
    }
    Ok(failed || stopped)
}

/// How often in a row loads of each table failed.
#[derive(Debug, Default)]
struct Attempts(BTreeMap<UniqueId, u32>);

impl Attempts {
    /// Counts, and gives those that failed too often by now. One whose system is away is waited for.
    fn given_up<'o>(
        &mut self,
        outcomes: &'o [NodeOutcome],
        is_away: impl Fn(&UniqueId) -> bool,
    ) -> Vec<&'o NodeOutcome> {
        let mut given_up = Vec::new();
        for outcome in outcomes {
            if !is_failure(outcome) {
                if outcome.status != NodeStatus::Cancelled {
                    self.0.remove(&outcome.node);
                }
            } else if !is_away(&outcome.node) {
                let count = self.0.entry(outcome.node.clone()).or_default();
                *count += 1;
                if *count >= ATTEMPTS {
                    given_up.push(outcome);
                }
            }
        }
        given_up
    }
}

/// Who says how a batch is set aside.
#[derive(Clone)]
struct Reject {
    global: crate::args::Global,
    project: Arc<tidemill_project::Project>,
}

impl Reject {
    fn of(session: &Session) -> Reject {
        Reject { global: session.global.clone(), project: session.project.clone() }
    }

    fn command(&self, id: &UniqueId, position: Option<&Position>, reason: &str) -> String {
        let manifest = self.project.manifest();
        ingest_reject::command(&self.global, manifest, id, position, reason)
    }

    /// What is said of a table that is not loaded any more.
    fn table(&self, id: &UniqueId, snapshot: &Snapshot, reason: &str) -> String {
        let relation = self.project.manifest().source(id).map(|source| source.relation());
        let position = relation.and_then(|relation| snapshot.get(&relation)?.position.clone());
        let position = position.as_ref();
        format!(
            "{id}: it is not loaded any more, after {ATTEMPTS} attempts; the others go on. What could not be \
             loaded is what is new {}.{} Mend it, or move it to the rejected rows, and start again:\n  {}",
            ingest_reject::begins(position),
            kept(position),
            self.command(id, position, reason)
        )
    }

    /// What is said of a log that is not read any more.
    fn log(&self, id: &UniqueId, snapshot: &Snapshot, reason: &str) -> String {
        let relation = self.project.manifest().source(id).map(|source| source.relation());
        let position = relation.and_then(|relation| changes::source_position(snapshot, &relation));
        let position = position.as_ref();
        format!(
            "{id}: its log is not read any more, after {ATTEMPTS} attempts; the others go on. It was read \
             up to here: {}.{} Mend it, or move what cannot be read of it to the rejected rows, and start \
             again:\n  {}",
            position.map_or_else(|| "nowhere yet".to_owned(), Position::to_string),
            kept(position),
            self.command(id, position, reason)
        )
    }
}

/// What a table that is not read any more costs its database, where that keeps its log for it.
fn kept(position: Option<&Position>) -> String {
    let slot = position.and_then(|position| position.0.pointer("/log/slot")?.as_str());
    slot.map_or_else(String::new, |slot| {
        format!(" The server keeps its log from there on, by the replication slot `{slot}`.")
    })
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
    reject: Reject,
}

impl Lane {
    /// Until cancelled, or until it fails too often; whether it did not.
    async fn run(self) -> bool {
        let mut failures = 0;
        let mut added = 0;
        let mut told: (Option<Position>, Instant) = (None, Instant::now());
        let mut met: Option<Instant> = None;
        while !self.cancel.is_cancelled() {
            let began = Instant::now();
            let meets = met.is_none_or(|met| met.elapsed() >= TOLD_EVERY);
            if meets {
                met = Some(began);
            }
            let wait = match self.once(meets).await {
                Ok((changes, position)) => {
                    if told.0 != position && (told.0.is_none() || told.1.elapsed() >= TOLD_EVERY) {
                        self.tell(position.as_ref()).await;
                        told = (position, Instant::now());
                    }
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
                        let snapshot = self.store.snapshot(At::Now).await;
                        let snapshot = snapshot.unwrap_or_else(|_| Snapshot::empty());
                        self.output.err(self.reject.log(&self.id, &snapshot, error.message()));
                        return false;
                    }
                    LONGEST_WAIT.min(Duration::from_secs(1 << failures.min(6)))
                }
            };
            pause(&self.cancel, wait).await;
        }
        true
    }

    /// Tells the database that what it keeps up to here may go. It is told again later in any case.
    async fn tell(&self, position: Option<&Position>) {
        let Some(position) = position else { return };
        let told = match self.loader.source(&self.id) {
            Ok(source) => self.loader.tell(&*source, position).await,
            Err(error) => Err(error),
        };
        match told {
            Ok(notices) => {
                for notice in notices {
                    self.output.say(format!("note: {}: {}", self.id, notice.message));
                }
            }
            Err(error) => {
                tracing::warn!(%error, table = %self.id, "the end of the log was not told");
            }
        }
    }

    /// Publishes what is new in the log; how many changes, and how far it is read. Where the other tables of the source
    /// stand is asked now and then.
    async fn once(&self, meets: bool) -> Result<(u64, Option<Position>), Error> {
        let snapshot = self.store.snapshot(At::Now).await?;
        let run = RunId::new(uuid::Uuid::now_v7().to_string());
        let (source, mut spec) = self.loader.log_of(&self.id, snapshot, run, &self.cancel)?;
        if meets {
            spec.siblings = self.loader.siblings(&self.id, &spec);
        }
        if !changes::is_begun(&spec.base, &spec.relation) {
            return Ok((0, None));
        }
        let appended = changes::append(&*source, &spec, Some(&self.id), &*self.store).await?;
        for notice in &appended.notices {
            self.output.say(format!("note: {}: {}", self.id, notice.message));
        }
        Ok((appended.changes, appended.position))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(node: &str, status: NodeStatus) -> NodeOutcome {
        NodeOutcome {
            node: UniqueId::new(node),
            name: node.to_owned(),
            kind: "ingest".to_owned(),
            status,
            elapsed: Duration::ZERO,
            rows: None,
            version: None,
            message: None,
            batches: None,
        }
    }

    #[test]
    fn a_table_is_given_up_when_it_fails_five_times_in_a_row() {
        use NodeStatus::{Error, Fail, Ok};
        let mut attempts = Attempts::default();
        let mut round = |a: NodeStatus, b: NodeStatus, away: bool| -> Vec<String> {
            let outcomes = [outcome("a", a), outcome("b", b)];
            let given_up = attempts.given_up(&outcomes, |id| away && id.as_str() == "b");
            given_up.iter().map(|outcome| outcome.node.to_string()).collect()
        };
        for _ in 0..4 {
            assert_eq!(round(Fail, Ok, false), [""; 0]);
        }
        // What is good once is begun anew, and a system that is away is waited for.
        assert_eq!(round(Ok, Error, true), [""; 0]);
        for _ in 0..4 {
            assert_eq!(round(Fail, Error, true), [""; 0]);
        }
        assert_eq!(round(Error, Error, true), ["a"]);
    }
}
