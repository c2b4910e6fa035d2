//! One task a node, each waiting for what it reads and for the checks before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tidemill_core::{
    BatchResults, Cancellation, CheckId, Error, ErrorKind, Event, NodeOutcome, NodeStatus, Result,
    UniqueId,
};
use tidemill_plan::gates::Holds;
use tidemill_plan::{Graph, Work, WorkNode};
use tokio::sync::{Semaphore, watch};

use super::{DatabaseDoers, build, checks};
use crate::{CheckOutcome, RunOptions, RunSummary};

/// How far a node or a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Done,
    Failed,
}

/// What every task of a run shares.
pub(super) struct Shared {
    pub(super) work: Work,
    pub(super) doers: DatabaseDoers,
    pub(super) options: RunOptions,
    pub(super) cancel: Cancellation,
    permits: Semaphore,
    order: Graph,
    phases: BTreeMap<UniqueId, watch::Sender<Phase>>,
    /// The checks that each node runs before it commits.
    own: BTreeMap<UniqueId, Vec<CheckId>>,
    /// The checks that run by themselves, with what they wait for.
    alone: BTreeMap<CheckId, BTreeSet<UniqueId>>,
    results: Mutex<RunSummary>,
    stopped: Mutex<bool>,
}

/// Everything that a node reads, directly or through others.
fn ancestors(graph: &Graph, node: &UniqueId) -> BTreeSet<UniqueId> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&UniqueId> = graph.parents(node).collect();
    while let Some(next) = open.pop() {
        if found.insert(next.clone()) {
            open.extend(graph.parents(next));
        }
    }
    found
}

/// Does all of the work.
///
/// # Errors
/// When the database cannot be reached. What fails in a node is in the summary.
pub async fn execute_in_database(
    work: Work,
    doers: DatabaseDoers,
    options: RunOptions,
    cancel: Cancellation,
) -> Result<RunSummary> {
    let started = Instant::now();
    doers.events.emit(Event::RunStarted { run: options.run.clone(), nodes: work.nodes.len() });
    let shared = Arc::new(Shared::new(work, doers, options, cancel));
    let mut tasks = tokio::task::JoinSet::new();
    for id in shared.work.nodes.keys() {
        tasks.spawn(run_node(shared.clone(), id.clone()));
    }
    for check in shared.alone.keys() {
        tasks.spawn(run_check(shared.clone(), check.clone()));
    }
    for test in shared.work.unit_tests.values() {
        if !shared.work.nodes.contains_key(&test.model) {
            tasks.spawn(run_unit_test(shared.clone(), test.id.clone()));
        }
    }
    let mut defect = None;
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            defect = Some(error);
            shared.cancel.cancel();
        }
    }
    let elapsed = started.elapsed();
    shared.doers.events.emit(Event::RunFinished { run: shared.options.run.clone(), elapsed });
    if let Some(defect) = defect {
        return Err(
            Error::new(ErrorKind::Internal, "a task of the run has panicked").because(defect)
        );
    }
    let mut results = std::mem::take(&mut *shared.results());
    results.elapsed = elapsed;
    results.cancelled = shared.cancel.is_cancelled()
        && !*shared.stopped.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(results)
}

impl Shared {
    fn new(work: Work, doers: DatabaseDoers, options: RunOptions, cancel: Cancellation) -> Self {
        let building: BTreeSet<UniqueId> = work.nodes.keys().cloned().collect();
        let mut own: BTreeMap<UniqueId, Vec<CheckId>> = BTreeMap::new();
        let mut alone = BTreeMap::new();
        let mut known: BTreeMap<UniqueId, BTreeSet<UniqueId>> = BTreeMap::new();
        for check in work.checks.values() {
            let built: BTreeSet<UniqueId> = check.reads.intersection(&building).cloned().collect();
            for node in &built {
                if !known.contains_key(node) {
                    known.insert(node.clone(), ancestors(&work.graph, node));
                }
            }
            // The one that is built last, if there is such.
            let last = built.iter().filter(|_| check.holds != Holds::Never).find(|node| {
                built.iter().all(|other| other == *node || known[*node].contains(other))
            });
            match last {
                Some(node) => own.entry(node.clone()).or_default().push(check.id.clone()),
                None => {
                    alone.insert(check.id.clone(), built);
                }
            }
        }
        let phases = building
            .iter()
            .chain(alone.keys())
            .map(|id| (id.clone(), watch::Sender::new(Phase::Open)))
            .collect();
        Shared {
            order: work.graph.contracted(&building),
            permits: Semaphore::new(options.threads),
            phases,
            own,
            alone,
            results: Mutex::default(),
            stopped: Mutex::default(),
            work,
            doers,
            options,
            cancel,
        }
    }

    /// The checks that a node runs before it commits.
    pub(super) fn own_checks(&self, node: &UniqueId) -> &[CheckId] {
        self.own.get(node).map_or(&[], Vec::as_slice)
    }

    fn results(&self) -> MutexGuard<'_, RunSummary> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, id: &UniqueId, phase: Phase) {
        if let Some(sender) = self.phases.get(id) {
            sender.send_replace(phase);
        }
    }

    async fn wait(&self, id: &UniqueId) -> Phase {
        let Some(sender) = self.phases.get(id) else { return Phase::Done };
        let mut receiver = sender.subscribe();
        match receiver.wait_for(|phase| *phase != Phase::Open).await {
            Ok(phase) => *phase,
            Err(_) => Phase::Failed,
        }
    }

    /// The first that has failed of what a node needs.
    async fn wait_for_needed(&self, node: &UniqueId) -> Option<UniqueId> {
        for parent in self.order.parents(node) {
            if self.wait(parent).await == Phase::Failed && !self.goes_on(parent) {
                return Some(parent.clone());
            }
        }
        // As in dbt: checks over nothing but what is upstream stand before a node.
        let upstream = ancestors(&self.work.graph, node);
        for check in self.alone.keys() {
            let before = self
                .work
                .checks
                .get(check)
                .filter(|check| !check.reads.is_empty())
                .is_some_and(|check| check.reads.iter().all(|read| upstream.contains(read)));
            if before && self.wait(check).await == Phase::Failed {
                return Some(check.clone());
            }
        }
        None
    }

    /// Whether what reads this node is built although the node itself has failed.
    fn goes_on(&self, node: &UniqueId) -> bool {
        let failed = |outcome: &NodeOutcome| {
            outcome.node == *node && matches!(outcome.status, NodeStatus::Error | NodeStatus::Fail)
        };
        self.work.nodes.get(node).is_some_and(|node| node.goes_on)
            && self.results().nodes.iter().any(failed)
    }

    fn stop_if_fail_fast(&self) {
        if self.options.fail_fast && !self.cancel.is_cancelled() {
            *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.cancel.cancel();
        }
    }

    /// Keeps the outcomes of checks, and tells whether one stops its node.
    pub(super) fn checked(&self, outcomes: Vec<CheckOutcome>) -> bool {
        let gated =
            outcomes.iter().any(|outcome| !outcome.skipped && outcome.verdict.status.gates());
        self.results().add_checks(outcomes);
        if gated {
            self.stop_if_fail_fast();
        }
        gated
    }

    pub(super) fn check_name(&self, check: &CheckId) -> String {
        match self.work.checks.get(check) {
            Some(check) => check.name.clone(),
            None => check.to_string(),
        }
    }

    fn finish(&self, node: &WorkNode, end: End) {
        let phase = match end.status {
            NodeStatus::Ok | NodeStatus::Warn => Phase::Done,
            _ => Phase::Failed,
        };
        let outcome_status = end.status.clone();
        let outcome = NodeOutcome {
            node: node.id.clone(),
            name: node.name.clone(),
            kind: node.kind_name().to_owned(),
            status: end.status,
            elapsed: end.elapsed,
            rows: end.rows,
            version: None,
            message: end.message,
            batches: end.batches,
        };
        self.doers.events.emit(Event::NodeFinished(outcome.clone()));
        let mut results = self.results();
        results.ended.insert(node.id.clone(), SystemTime::now());
        results.nodes.push(outcome);
        drop(results);
        if matches!(outcome_status, NodeStatus::Fail | NodeStatus::Error) {
            self.stop_if_fail_fast();
        }
        self.advance(&node.id, phase);
    }
}

/// How a node ended.
pub(super) struct End {
    pub(super) status: NodeStatus,
    pub(super) elapsed: Duration,
    pub(super) rows: Option<u64>,
    pub(super) message: Option<String>,
    pub(super) batches: Option<BatchResults>,
}

impl End {
    pub(super) fn new(status: NodeStatus, elapsed: Duration, message: Option<String>) -> Self {
        End { status, elapsed, rows: None, message, batches: None }
    }

    pub(super) fn of_error(error: &Error, elapsed: Duration) -> Self {
        match error.kind() {
            ErrorKind::Cancelled => End::new(NodeStatus::Cancelled, elapsed, None),
            _ => End::new(NodeStatus::Error, elapsed, Some(error.report())),
        }
    }
}

async fn run_node(shared: Arc<Shared>, id: UniqueId) {
    let Some(node) = shared.work.nodes.get(&id) else { return };
    let skip = |message: String| {
        let outcomes = checks::skipped(shared.own_checks(&id));
        shared.checked(outcomes);
        shared.finish(node, End::new(NodeStatus::Skipped, Duration::ZERO, Some(message)));
    };
    if let Some(failed) = shared.wait_for_needed(&id).await {
        skip(format!("{failed} has failed"));
        return;
    }
    let permit = tokio::select! {
        permit = shared.permits.acquire() => permit.ok(),
        () = shared.cancel.cancelled() => None,
    };
    if permit.is_none() || shared.cancel.is_cancelled() {
        let outcomes = checks::skipped(shared.own_checks(&id));
        shared.checked(outcomes);
        shared.finish(node, End::new(NodeStatus::Cancelled, Duration::ZERO, None));
        return;
    }
    match checks::unit_tests_of(&shared, &id).await {
        Ok(None) => {}
        Ok(Some(failed)) => {
            skip(format!("its unit test {failed} did not pass"));
            return;
        }
        Err(error) => {
            shared.finish(node, End::of_error(&error, Duration::ZERO));
            return;
        }
    }
    let started = Instant::now();
    shared
        .doers
        .events
        .emit(Event::NodeStarted { node: id.clone(), kind: node.kind_name().to_owned() });
    let end = match build::node(&shared, node).await {
        Ok(end) => End { elapsed: started.elapsed(), ..end },
        Err(error) => {
            let outcomes = checks::skipped(shared.own_checks(&id));
            shared.checked(outcomes);
            End::of_error(&error, started.elapsed())
        }
    };
    shared.finish(node, end);
}

/// A check that belongs to no single node of this run.
async fn run_check(shared: Arc<Shared>, id: CheckId) {
    let mut failed = false;
    for node in &shared.alone[&id] {
        failed |= shared.wait(node).await == Phase::Failed;
    }
    let permit = tokio::select! {
        permit = shared.permits.acquire() => permit.ok(),
        () = shared.cancel.cancelled() => None,
    };
    let outcomes = if failed || permit.is_none() {
        checks::skipped(std::slice::from_ref(&id))
    } else {
        checks::alone(&shared, &id).await
    };
    let skipped = outcomes.iter().any(|outcome| outcome.skipped);
    let gated = shared.checked(outcomes);
    shared.advance(&id, if gated || skipped { Phase::Failed } else { Phase::Done });
}

async fn run_unit_test(shared: Arc<Shared>, id: CheckId) {
    let Some(test) = shared.work.unit_tests.get(&id) else { return };
    let parents: Vec<UniqueId> = shared.work.graph.parents(&test.model).cloned().collect();
    for parent in parents {
        shared.wait(&parent).await;
    }
    let Ok(_permit) = shared.permits.acquire().await else { return };
    if !shared.cancel.is_cancelled() {
        let _ = checks::unit_tests(&shared, &[test]).await;
    }
}
