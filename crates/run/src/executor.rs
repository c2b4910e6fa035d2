//! Doing the work: one task a node, each waiting for what it reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use serde_json::Value;
use tidemill_core::{
    BatchResults, Cancellation, CheckId, Description, Error, ErrorKind, Event, NodeOutcome,
    NodeStatus, Overlay, PublishChange, PublishMeta, Published, PublishedRelation, QueryContext,
    RelationKind, RelationName, Result, SchemaChange, Snapshot, TableVersion, UniqueId,
};
use tidemill_plan::gates::Assignment;
use tidemill_plan::{CheckRecord, Decision, Fingerprint, Graph, Record, Work, WorkKind, WorkNode};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::checks::Checked;
use crate::context::query_context;
use crate::model::{self, Built};
use crate::publisher::Publisher;
use crate::stopwatch::Stopwatch;
use crate::unit::{Phase, Product, Unit};
use crate::unit_test::UnitTested;
use crate::{
    CheckOutcome, Doers, HookTime, LoadRequest, PublishMode, RenderRequest, Rendered, RunOptions,
    RunSummary, StatementSession, WriteLocks,
};
use crate::{hooks, materialized_view};

/// Does all of the work.
///
/// # Errors
/// Only when the run could not begin (the lake cannot be read). What fails in a node is in the
/// summary.
pub async fn execute(
    work: Work,
    doers: Doers,
    options: RunOptions,
    cancel: Cancellation,
) -> Result<RunSummary> {
    let started = Instant::now();
    // What a process before us left half-way is finished first, so that we build on it.
    let snapshot = doers.store.publish(Vec::new(), &options.run).await?.snapshot;
    let foreign: BTreeSet<RelationName> =
        doers.store.foreign_heads(&snapshot).await?.into_iter().collect();
    doers.events.emit(Event::RunStarted { run: options.run.clone(), nodes: work.nodes.len() });
    let (publisher, publishing) =
        Publisher::start(doers.store.clone(), options.run.clone(), snapshot);
    let shared = Arc::new(Shared::new(work, doers, options, cancel, publisher, foreign));

    let mut tasks = tokio::task::JoinSet::new();
    for id in shared.work.nodes.keys() {
        tasks.spawn(run_node(shared.clone(), id.clone()));
    }
    tasks.spawn(crate::checks::run_standalone(shared.clone()));
    tasks.spawn(crate::unit_test::run_standalone(shared.clone()));
    let mut defects = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            defects.push(error.to_string());
            shared.cancel.cancel();
        }
    }
    let elapsed = started.elapsed();
    shared.doers.events.emit(Event::RunFinished { run: shared.options.run.clone(), elapsed });
    let cancelled = shared.cancelled_by_user();
    let mut results = std::mem::take(
        &mut *shared.results.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
    );
    results.elapsed = elapsed;
    results.cancelled = cancelled;
    drop(shared);
    let _ = publishing.await;
    if let Some(defect) = defects.into_iter().next() {
        return Err(
            Error::new(ErrorKind::Internal, "a task of the run has panicked").because(defect)
        );
    }
    Ok(results)
}

/// What every task of a run shares.
pub(crate) struct Shared {
    pub(crate) work: Work,
    pub(crate) doers: Doers,
    pub(crate) options: RunOptions,
    pub(crate) cancel: Cancellation,
    pub(crate) assignment: Assignment,
    publisher: Arc<Publisher>,
    permits: Semaphore,
    order: Graph,
    units: BTreeMap<UniqueId, Arc<Unit>>,
    phases: BTreeMap<UniqueId, watch::Sender<Phase>>,
    foreign: BTreeSet<RelationName>,
    results: Mutex<RunSummary>,
    stopped: Mutex<Option<UniqueId>>,
    ends: Mutex<BTreeMap<UniqueId, End>>,
    /// Sessions of nodes that are built and not published yet.
    sessions: Mutex<BTreeMap<UniqueId, Arc<StatementSession>>>,
    locks: Arc<WriteLocks>,
    late: Mutex<BTreeMap<UniqueId, BTreeSet<UniqueId>>>,
    /// The checks that each node sees to: those that it is the first gate of.
    own_checks: BTreeMap<UniqueId, Vec<CheckId>>,
    /// The checks that stand alone and have nodes wait for them, by such a node.
    checks_before: BTreeMap<UniqueId, Vec<CheckId>>,
    /// The nodes whose relation has this name, in any schema.
    named: HashMap<String, Vec<UniqueId>>,
}

impl Shared {
    fn new(
        work: Work,
        doers: Doers,
        options: RunOptions,
        cancel: Cancellation,
        publisher: Publisher,
        foreign: BTreeSet<RelationName>,
    ) -> Self {
        let ids: BTreeSet<UniqueId> = work.nodes.keys().cloned().collect();
        let assignment = work.assignment(options.publish == PublishMode::Run);
        let mut own_checks: BTreeMap<UniqueId, Vec<CheckId>> = BTreeMap::new();
        let mut checks_before: BTreeMap<UniqueId, Vec<CheckId>> = BTreeMap::new();
        for (check, gate) in &assignment.checks {
            if let Some(first) = gate.gates.first() {
                own_checks.entry(first.clone()).or_default().push(check.clone());
            }
            for node in &gate.stands_before {
                checks_before.entry(node.clone()).or_default().push(check.clone());
            }
        }
        let alone = assignment.checks.iter().filter(|(_, gate)| !gate.stands_before.is_empty());
        let waited_for = ids.iter().chain(alone.map(|(check, _)| check));
        let mut named: HashMap<String, Vec<UniqueId>> = HashMap::new();
        for node in work.nodes.values() {
            named.entry(node.relation.name().to_owned()).or_default().push(node.id.clone());
        }
        // What comes with a table that is loaded has the table's name and an end.
        for (relation, owner) in &work.owners {
            if let Some(node) = work.nodes.get(owner).filter(|node| node.relation != *relation) {
                named.entry(relation.name().to_owned()).or_default().push(node.id.clone());
            }
        }
        let units = match options.publish {
            PublishMode::Run => {
                let unit = Arc::new(Unit::new(ids.clone()));
                ids.iter().map(|id| (id.clone(), unit.clone())).collect()
            }
            PublishMode::Model => {
                let mut units: BTreeMap<UniqueId, Arc<Unit>> = BTreeMap::new();
                for id in &ids {
                    if !units.contains_key(id) {
                        let unit = Arc::new(Unit::new(assignment.group_of(id)));
                        for member in &unit.members {
                            units.insert(member.clone(), unit.clone());
                        }
                    }
                }
                units
            }
        };
        Shared {
            phases: waited_for.map(|id| (id.clone(), watch::Sender::new(Phase::Pending))).collect(),
            order: work.graph.contracted(&ids),
            permits: Semaphore::new(options.threads),
            results: Mutex::default(),
            stopped: Mutex::default(),
            ends: Mutex::default(),
            sessions: Mutex::default(),
            locks: Arc::default(),
            late: Mutex::default(),
            work,
            doers,
            options,
            cancel,
            assignment,
            publisher: Arc::new(publisher),
            units,
            foreign,
            own_checks,
            checks_before,
            named,
        }
    }

    /// The checks that this node is the first gate of.
    pub(crate) fn own_checks(&self, node: &UniqueId) -> &[CheckId] {
        self.own_checks.get(node).map_or(&[], Vec::as_slice)
    }

    /// The one that publishes.
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The newest published state that this run knows of.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.publisher.snapshot()
    }

    /// A query context over this state.
    pub(crate) fn context(&self, snapshot: Snapshot, overlay: Overlay) -> QueryContext {
        query_context(&self.options, &self.cancel, snapshot, overlay)
    }

    /// Waits until a node is that far; gives [`Phase::Failed`] if it will never be.
    pub(crate) async fn wait(&self, node: &UniqueId, phase: Phase) -> Phase {
        let Some(sender) = self.phases.get(node) else { return Phase::Done };
        let mut receiver = sender.subscribe();
        match receiver.wait_for(|now| *now >= phase).await {
            Ok(now) => *now,
            Err(_) => Phase::Failed,
        }
    }

    /// Whether there is nothing to wait for.
    fn has_come_to(&self, node: &UniqueId, phase: Phase) -> bool {
        self.phases.get(node).is_none_or(|sender| *sender.borrow() >= phase)
    }

    /// Tells those that wait for a node, or for a check that stands alone, how far it is.
    pub(crate) fn advance(&self, node: &UniqueId, phase: Phase) {
        if let Some(sender) = self.phases.get(node) {
            sender.send_replace(phase);
        }
    }

    /// One of the places for work. `None` when the run was cancelled.
    pub(crate) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            permit = self.permits.acquire() => permit.ok(),
            () = self.cancel.cancelled() => None,
        }
    }

    /// Renders a node.
    pub(crate) fn render(&self, node: &UniqueId, request: &RenderRequest) -> Result<Rendered> {
        in_place(|| self.doers.renderer.render(node, request))
    }

    /// Waits for nodes of this run that the SQL names without `ref()`, as far as its words tell, so
    /// that it reads what they are built to. A wait that would never end is left out.
    pub(crate) async fn wait_for_named(&self, node: &WorkNode, sql: &str) {
        let pending =
            |id: &UniqueId| self.phases.get(id).is_some_and(|phase| *phase.borrow() < Phase::Done);
        let words: BTreeSet<&str> = sql
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect();
        let others: BTreeSet<&UniqueId> =
            words.iter().filter_map(|word| self.named.get(*word)).flatten().collect();
        for other in others.into_iter().filter_map(|id| self.work.nodes.get(id)) {
            let schema = other.relation.schema();
            let named = words.contains(schema) || schema == self.options.default_schema;
            if other.id == node.id || !named || !pending(&other.id) {
                continue;
            }
            if self.units[&node.id].members.contains(&other.id)
                || !self.add_late(&node.id, &other.id)
            {
                continue;
            }
            // Somebody else may use the place meanwhile.
            self.permits.add_permits(1);
            tokio::select! {
                _ = self.wait(&other.id, Phase::Done) => {}
                () = self.cancel.cancelled() => {}
            }
            if let Ok(permit) = self.permits.acquire().await {
                permit.forget();
            }
        }
    }

    /// Notes that a node waits for another; `false` when that other waits for the node already.
    fn add_late(&self, node: &UniqueId, other: &UniqueId) -> bool {
        let mut late = self.late.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut open = vec![other.clone()];
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if next == *node {
                return false;
            }
            if seen.insert(next.clone()) {
                open.extend(self.order.parents(&next).cloned());
                open.extend(late.get(&next).into_iter().flatten().cloned());
                for gate in
                    self.assignment.checks.values().filter(|gate| {
                        gate.gates.contains(&next) || gate.stands_before.contains(&next)
                    })
                {
                    open.extend(gate.waits_for.iter().cloned());
                }
            }
        }
        late.entry(node.clone()).or_default().insert(other.clone());
        true
    }

    /// A query that reads what this run has not built yet would read an old state by accident.
    pub(crate) fn refuse_unbuilt(&self, node: &WorkNode, description: &Description) -> Result<()> {
        for relation in &description.direct_relations {
            let Some(owner) = self.work.owners.get(relation).filter(|owner| **owner != node.id)
            else {
                continue;
            };
            let waiting = self
                .phases
                .get(owner)
                .is_some_and(|phase| !matches!(*phase.borrow(), Phase::Done | Phase::Failed));
            if waiting && !self.work.graph.descendants(owner).contains(&node.id) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the query reads {relation} by name, which this run has not built yet and \
                         cannot wait for; use ref() or source(), so that it is built first"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Publishes a change of columns alone and gives the state after it.
    pub(crate) async fn change_columns(
        &self,
        node: &WorkNode,
        changes: &[SchemaChange],
        base: &Snapshot,
    ) -> Result<Snapshot> {
        let staged =
            self.doers.store.stage_schema(&node.relation, changes, base, &self.options.run).await?;
        let change = PublishChange::Table(Arc::new(staged), PublishMeta::default());
        Ok(self.publisher.publish(vec![change]).await?.snapshot)
    }

    fn results(&self) -> std::sync::MutexGuard<'_, RunSummary> {
        self.results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Keeps and tells the outcome of checks.
    pub(crate) fn checked(&self, outcomes: Vec<CheckOutcome>) {
        let gating = outcomes
            .iter()
            .find(|outcome| !outcome.skipped && outcome.verdict.status.gates())
            .map(|outcome| outcome.verdict.check.clone());
        self.results().add_checks(outcomes);
        if let Some(check) = gating {
            self.stop_if_fail_fast(&check);
        }
    }

    fn stop_if_fail_fast(&self, because: &UniqueId) {
        if self.options.fail_fast && !self.cancel.is_cancelled() {
            let mut stopped =
                self.stopped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            stopped.get_or_insert_with(|| because.clone());
            drop(stopped);
            self.cancel.cancel();
        }
    }

    fn cancelled_by_user(&self) -> bool {
        self.cancel.is_cancelled()
            && self.stopped.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_none()
    }

    /// A session for the statements around one node: what it publishes, the run sees.
    fn session(&self, unit: &Unit) -> StatementSession {
        self.session_over(self.context(self.snapshot(), unit.overlay()))
    }

    /// A session over what a query sees: what it publishes, the run sees.
    pub(crate) fn session_over(&self, context: QueryContext) -> StatementSession {
        let publisher = self.publisher.clone();
        StatementSession::new(self.doers.engine.clone(), self.doers.store.clone(), context)
            .listening(Arc::new(move |snapshot| publisher.remember(snapshot)))
            .sharing(self.locks.clone())
    }

    fn keep_session(&self, node: &UniqueId, session: Arc<StatementSession>, built: bool) {
        if built {
            let mut sessions =
                self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sessions.insert(node.clone(), session);
        }
    }

    /// The session of a node that is now published.
    pub(crate) fn take_session(&self, node: &UniqueId) -> Option<Arc<StatementSession>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sessions.remove(node)
    }

    /// Keeps how a node will have ended once its unit is published.
    fn pending_end(&self, id: &UniqueId, end: End) {
        let mut ends = self.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ends.insert(id.clone(), end);
    }

    fn take_pending_end(&self, id: &UniqueId) -> End {
        let mut ends = self.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ends.remove(id).unwrap_or_else(|| End::new(NodeStatus::Ok, Duration::ZERO, None))
    }

    /// Learns of what other processes have published.
    async fn refresh(&self) {
        match self.doers.snapshot().await {
            Ok(snapshot) => self.publisher.remember(&snapshot),
            Err(error) => tracing::warn!(error = %error, "the lake's state was not read again"),
        }
    }

    fn finish(&self, node: &WorkNode, end: End) {
        let status = end.status.clone();
        let phase = match status {
            NodeStatus::Ok
            | NodeStatus::Reused
            | NodeStatus::Unchanged
            | NodeStatus::Pass
            | NodeStatus::Warn => Phase::Done,
            _ => Phase::Failed,
        };
        let outcome = NodeOutcome {
            node: node.id.clone(),
            name: node.name.clone(),
            kind: node.kind_name().to_owned(),
            status: end.status,
            elapsed: end.elapsed,
            rows: end.rows,
            version: end.version,
            message: end.message,
            batches: end.batches,
        };
        let mut results = self.results();
        results.ended.insert(node.id.clone(), SystemTime::now());
        results.nodes.push(outcome.clone());
        drop(results);
        self.doers.events.emit(Event::NodeFinished(outcome));
        if matches!(status, NodeStatus::Fail | NodeStatus::Error) {
            self.stop_if_fail_fast(&node.id);
        }
        self.advance(&node.id, phase);
    }
}

/// How a node ended.
struct End {
    status: NodeStatus,
    elapsed: Duration,
    rows: Option<u64>,
    version: Option<TableVersion>,
    message: Option<String>,
    batches: Option<BatchResults>,
}

impl End {
    fn new(status: NodeStatus, elapsed: Duration, message: Option<String>) -> Self {
        End { status, elapsed, rows: None, version: None, message, batches: None }
    }
}

/// Runs a template where it is asked for: nearly all are done before another thread would have
/// woken up for them. One that asks the lake tells the runtime that it waits. A panic is an error of
/// this template alone.
pub(crate) fn in_place<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(Error::new(ErrorKind::Internal, format!("a template has panicked: {reason}")))
    })
}

/// What a node has come to when its checks have passed.
struct Ready {
    product: Product,
    status: NodeStatus,
    rows: Option<u64>,
    message: Option<String>,
    batches: Option<BatchResults>,
}

async fn run_node(shared: Arc<Shared>, id: UniqueId) {
    let Some(node) = shared.work.nodes.get(&id) else { return };
    let unit = shared.units[&id].clone();
    let started = Instant::now();

    if let Some(failed) = wait_for_parents(&shared, &id, &unit).await {
        let message = format!("{failed} has failed");
        leave(&shared, node, &unit, End::new(NodeStatus::Skipped, Duration::ZERO, Some(message)))
            .await;
        return;
    }
    let tested = match test_units(&shared, node, &unit).await {
        Ok(tested) => tested,
        Err(end) => {
            leave(&shared, node, &unit, end).await;
            return;
        }
    };
    // A conflict with another writer is worked through once more from the new state.
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Some(permit) = shared.permit().await else {
            leave(&shared, node, &unit, End::new(NodeStatus::Cancelled, started.elapsed(), None))
                .await;
            return;
        };
        if attempts == 1 {
            shared
                .doers
                .events
                .emit(Event::NodeStarted { node: id.clone(), kind: node.kind_name().to_owned() });
        }
        let mut watch = Stopwatch::started();
        let built = tokio::select! {
            built = build_node(&shared, node, &unit) => built,
            () = shared.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        };
        let mut built = match built {
            Ok(built) => built,
            Err(error) => {
                let status = match error.kind() {
                    ErrorKind::Cancelled => NodeStatus::Cancelled,
                    _ => NodeStatus::Error,
                };
                drop(permit);
                let end = End::new(status, watch.elapsed(), Some(error.report()));
                leave(&shared, node, &unit, end).await;
                return;
            }
        };
        shared.remember(node, &mut built.product, &tested.records);
        unit.show(&node.relation, &built.product);
        shared.advance(&id, Phase::Staged);

        let checked = check_node(&shared, node, &unit, &mut built, permit, &mut watch).await;
        let (gated, warned, message) = match checked {
            Ok(checked) => (checked.gated, checked.warned, checked.message),
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                built.product.discard(&*shared.doers.store).await;
                unit.hide(&node.relation);
                leave(&shared, node, &unit, End::new(NodeStatus::Cancelled, watch.elapsed(), None))
                    .await;
                return;
            }
            Err(error) => (true, false, Some(error.report())),
        };
        if gated {
            record_failed_verdicts(&shared, node, &built).await;
            built.product.discard(&*shared.doers.store).await;
            unit.hide(&node.relation);
            let mut end = End::new(NodeStatus::Fail, watch.elapsed(), message);
            end.rows = built.rows;
            leave(&shared, node, &unit, end).await;
            return;
        }
        shared.advance(&id, Phase::Passed);
        let broken = built.batches.as_ref().and_then(|batches| batches.message.clone());
        let status = match (&built.product, &built.decision) {
            // What worked out is published, and the rest is told and can be retried.
            _ if broken.is_some() => NodeStatus::Error,
            (Product::Same { .. }, Decision::Reuse) => NodeStatus::Reused,
            (Product::Same { unchanged: true, .. }, _) => NodeStatus::Unchanged,
            _ if warned => NodeStatus::Warn,
            _ => NodeStatus::Ok,
        };
        let message = broken.or(message).or_else(|| match &built.decision {
            Decision::Build { reason } | Decision::Increment { reason } => Some(reason.clone()),
            _ => None,
        });
        let ready = Ready {
            product: built.product,
            status,
            rows: built.rows,
            message,
            batches: built.batches,
        };
        match publish_unit(&shared, node, &unit, ready, watch.elapsed()).await {
            Some(error)
                if error.kind() == ErrorKind::Conflict
                    && attempts < 2
                    && unit.members.len() == 1 =>
            {
                tracing::info!(node = %id, error = %error, "conflict; building again");
                unit.hide(&node.relation);
                continue;
            }
            Some(error) => {
                let end = End::new(NodeStatus::Error, watch.elapsed(), Some(error.report()));
                shared.finish(node, end);
            }
            None => {}
        }
        return;
    }
}

/// Runs the unit tests of a node; how the node ends when one of them does not pass.
async fn test_units(
    shared: &Shared,
    node: &WorkNode,
    unit: &Unit,
) -> std::result::Result<UnitTested, End> {
    let tests: Vec<_> =
        shared.work.unit_tests.values().filter(|test| test.model == node.id).collect();
    if tests.is_empty() {
        return Ok(UnitTested::default());
    }
    let stopped = || End::new(NodeStatus::Cancelled, Duration::ZERO, None);
    let Some(_permit) = shared.permit().await else { return Err(stopped()) };
    let snapshot = shared.snapshot();
    let recorded =
        Record::of(&snapshot, &node.relation).map(|record| record.checks).unwrap_or_default();
    let context = shared.context(snapshot, unit.overlay());
    let tested = tokio::select! {
        tested = shared.run_unit_tests(&tests, &context, &recorded) => tested,
        () = shared.cancel.cancelled() => return Err(stopped()),
    };
    match tested {
        Ok(tested) => match &tested.failed {
            Some(name) => {
                let message = format!("its unit test {name} did not pass");
                Err(End::new(NodeStatus::Skipped, Duration::ZERO, Some(message)))
            }
            None => Ok(tested),
        },
        Err(_) => Err(stopped()),
    }
}

/// The first parent that will not be published, if there is one.
async fn wait_for_parents(shared: &Shared, id: &UniqueId, unit: &Unit) -> Option<UniqueId> {
    for parent in shared.order.parents(id) {
        let phase = if unit.members.contains(parent) {
            match shared.options.publish {
                PublishMode::Run if !shared.in_one_cycle(id, parent) => Phase::Passed,
                _ => Phase::Staged,
            }
        } else {
            Phase::Done
        };
        if shared.wait(parent, phase).await == Phase::Failed && !shared.goes_on(parent) {
            return Some(parent.clone());
        }
    }
    for check in shared.checks_before.get(id).into_iter().flatten() {
        if shared.wait(check, Phase::Done).await == Phase::Failed {
            return Some(check.clone());
        }
    }
    None
}

impl Shared {
    /// Whether what reads this node is built although the node itself has failed: when the project
    /// says so, and there is something to read.
    fn goes_on(&self, node: &UniqueId) -> bool {
        self.work.nodes.get(node).is_some_and(|node| node.goes_on) && self.failed_itself(node)
    }

    fn failed_itself(&self, node: &UniqueId) -> bool {
        self.results().nodes.iter().any(|outcome| {
            outcome.node == *node && matches!(outcome.status, NodeStatus::Error | NodeStatus::Fail)
        })
    }

    /// Whether it can be read though its own checks have failed: others fill it, and they have.
    fn is_there_anyway(&self, node: &UniqueId) -> bool {
        self.work.nodes.get(node).is_some_and(|node| matches!(node.kind, WorkKind::External))
    }

    fn in_one_cycle(&self, left: &UniqueId, right: &UniqueId) -> bool {
        self.assignment.groups.iter().any(|group| group.contains(left) && group.contains(right))
    }
}

async fn build_node(shared: &Arc<Shared>, node: &WorkNode, unit: &Unit) -> Result<Built> {
    if shared.foreign.contains(&node.relation) {
        adopt(shared, node, unit).await?;
    }
    let statements = Arc::new(shared.session(unit));
    let built = async {
        let mut built = build_kind(shared, node, unit, &statements).await?;
        if built.decision != Decision::Reuse {
            hooks::after(shared, node, &mut built, &statements).await?;
        }
        Ok(built)
    }
    .await;
    match built {
        Ok(built) => {
            shared.keep_session(&node.id, statements, built.decision != Decision::Reuse);
            Ok(built)
        }
        Err(error) => {
            statements.close().await;
            Err(error)
        }
    }
}

async fn build_kind(
    shared: &Shared,
    node: &WorkNode,
    unit: &Unit,
    statements: &Arc<StatementSession>,
) -> Result<Built> {
    let snapshot = shared.snapshot();
    match &node.kind {
        WorkKind::Model(config) => {
            model::build(shared, node, config, unit, &snapshot, statements).await
        }
        WorkKind::Source => load(shared, node, &snapshot).await,
        WorkKind::Seed => {
            shared.run_hooks(node, HookTime::Before, statements)?;
            load(shared, node, &statements.context().snapshot).await
        }
        WorkKind::External => Ok(Built {
            product: Product::Same { record: None, unchanged: false, position: None },
            decision: Decision::Reuse,
            rows: None,
            reads: Vec::new(),
            batches: None,
            rules: Vec::new(),
        }),
    }
}

async fn load(shared: &Shared, node: &WorkNode, snapshot: &Snapshot) -> Result<Built> {
    let fingerprint = shared.doers.loader.fingerprint(&node.id)?;
    let recorded = Record::of(snapshot, &node.relation);
    let same_settings = recorded.as_ref().is_some_and(|record| record.fingerprint == fingerprint);
    // A seed whose settings changed is loaded again; a source keeps what it has, because its files
    // may be gone, and applies new settings to what comes.
    let full = shared.options.full_refresh
        || (matches!(node.kind, WorkKind::Seed)
            && (!same_settings || shared.options.no_reuse || node.never_reuse.is_some()));
    let request = LoadRequest {
        context: shared.context(snapshot.clone(), Overlay::none()),
        full,
        events: shared.doers.events.clone(),
    };
    let loaded = shared.doers.loader.load(&node.id, &request).await?;
    for notice in &loaded.notices {
        shared.doers.events.emit(Event::Notice {
            node: Some(node.id.clone()),
            code: notice.code.clone(),
            message: notice.message.clone(),
        });
    }
    let record = Record { format: Record::FORMAT, fingerprint, ..Record::default() };
    let mut staged = loaded.staged.into_iter();
    let Some(main) = staged.next() else {
        let there = snapshot.get(&node.relation).is_some();
        let record = (there && (!same_settings || loaded.position.is_some())).then(|| Record {
            checks: recorded.map(|record| record.checks).unwrap_or_default(),
            ..record
        });
        let position = loaded.position.filter(|_| there);
        return Ok(Built {
            product: Product::Same { record, unchanged: false, position },
            decision: Decision::Reuse,
            rows: None,
            reads: Vec::new(),
            batches: None,
            rules: Vec::new(),
        });
    };
    let reason = loaded.summary.unwrap_or_else(|| "new data".to_owned());
    let extra: Vec<_> = staged.collect();
    let published = snapshot.get(&node.relation);
    let unchanged = extra.is_empty()
        && published.is_some_and(|published| model::is_same(&main, published, false));
    let mut product = Product::Table {
        staged: main,
        extra,
        views: loaded.views,
        position: loaded.position.clone(),
        record,
    };
    if unchanged {
        // A whole table was read again and is what it was: readers keep their version.
        product.discard(&*shared.doers.store).await;
        let checks = recorded.map(|record| record.checks).unwrap_or_default();
        if let Product::Table { record, position, .. } = product {
            let record = Some(Record { unchanged: true, checks, ..record });
            product = Product::Same { record, unchanged: true, position };
        }
    }
    Ok(Built {
        rows: Some(loaded.rows),
        product,
        decision: Decision::Build { reason },
        reads: Vec::new(),
        batches: None,
        rules: Vec::new(),
    })
}

/// Takes over what another engine committed to the node's table, if the node's checks allow it.
async fn adopt(shared: &Shared, node: &WorkNode, unit: &Unit) -> Result<()> {
    let snapshot = shared.snapshot();
    let store = &shared.doers.store;
    let staged = Arc::new(store.adopt(&node.relation, &snapshot, &shared.options.run).await?);
    let fingerprint = Fingerprint::new();
    let record = Record { format: Record::FORMAT, fingerprint, ..Record::default() };
    let product = Product::Table {
        staged: staged.clone(),
        extra: Vec::new(),
        views: Vec::new(),
        position: None,
        record,
    };
    unit.show(&node.relation, &product);
    let mut built = Built {
        product,
        decision: Decision::Build { reason: "another engine wrote to the table".to_owned() },
        rows: None,
        reads: Vec::new(),
        batches: None,
        rules: Vec::new(),
    };
    let checked = shared.run_checks(node, unit, &mut built, None).await;
    unit.hide(&node.relation);
    let checked = checked?;
    if checked.gated && !shared.options.adopt {
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "another engine wrote to {} and what it wrote does not pass the checks, so readers keep \
                 the version before it; take it with --adopt, or undo it with `tidemill lake restore`{}",
                node.relation,
                checked.message.map(|message| format!(": {message}")).unwrap_or_default()
            ),
        ));
    }
    let record = Record { format: Record::FORMAT, adopted: true, ..Record::default() };
    let meta = PublishMeta {
        unique_id: Some(node.id.clone()),
        record: Some(over_published(&record, node, &snapshot)),
        ..PublishMeta::default()
    };
    shared.publisher.publish(vec![PublishChange::Table(staged, meta)]).await?;
    shared.doers.events.emit(Event::Notice {
        node: Some(node.id.clone()),
        code: "adopted".to_owned(),
        message: format!("took over what another engine wrote to {}", node.relation),
    });
    Ok(())
}

/// Runs the checks of a node that is built. It keeps the place among the threads that it was built
/// in, so that it is published before others begin, and gives the place up only while a check waits
/// for tables of other nodes.
async fn check_node<'a>(
    shared: &'a Shared,
    node: &WorkNode,
    unit: &Unit,
    built: &mut Built,
    place: SemaphorePermit<'a>,
    watch: &mut Stopwatch,
) -> Result<Checked> {
    let cancelled = || Error::new(ErrorKind::Cancelled, "cancelled");
    let mut place = Some(place);
    let mut without = BTreeSet::new();
    for check in shared.own_checks(&node.id) {
        let Some(gate) = shared.assignment.checks.get(check) else { continue };
        for other in gate.waits_for.iter().chain(&gate.gates).filter(|other| **other != node.id) {
            let phase = if unit.members.contains(other) { Phase::Staged } else { Phase::Done };
            if !shared.has_come_to(other, phase) {
                tracing::debug!(check = %check, waits_for = %other, "waiting");
                place = None;
                watch.pause();
            }
            tokio::select! {
                phase = shared.wait(other, phase) => {
                    if phase == Phase::Failed && !shared.is_there_anyway(other) {
                        without.insert(check.clone());
                    }
                }
                () = shared.cancel.cancelled() => return Err(cancelled()),
            }
        }
    }
    let _place = match place {
        Some(place) => place,
        None => shared.permit().await.ok_or_else(cancelled)?,
    };
    watch.resume();
    tokio::select! {
        checked = shared.run_checks(node, unit, built, Some(&without)) => checked,
        () = shared.cancel.cancelled() => Err(cancelled()),
    }
}

/// A check on data that is published already (the node is reused) and that fails is remembered, so
/// that it is not run again on the same data.
async fn record_failed_verdicts(shared: &Shared, node: &WorkNode, built: &Built) {
    if let Product::Same { record: Some(record), .. } = &built.product
        && shared.snapshot().get(&node.relation).is_some()
    {
        let change = PublishChange::Record {
            relation: node.relation.clone(),
            meta: PublishMeta {
                unique_id: Some(node.id.clone()),
                record: Some(over_published(record, node, &shared.snapshot())),
                ..PublishMeta::default()
            },
        };
        if let Err(error) = shared.publisher.publish(vec![change]).await {
            tracing::warn!(node = %node.id, error = %error, "verdicts were not recorded");
        }
    }
}

impl Shared {
    /// Keeps verdicts on a node that is published, so that they need not be found again on the same
    /// data.
    pub(crate) async fn record_verdicts(
        &self,
        node: &WorkNode,
        verdicts: BTreeMap<CheckId, CheckRecord>,
    ) {
        let snapshot = self.snapshot();
        let Some(mut record) = Record::of(&snapshot, &node.relation) else { return };
        record.checks.extend(verdicts);
        let change = PublishChange::Record {
            relation: node.relation.clone(),
            meta: PublishMeta {
                unique_id: Some(node.id.clone()),
                record: Some(over_published(&record, node, &snapshot)),
                ..PublishMeta::default()
            },
        };
        if let Err(error) = self.publisher.publish(vec![change]).await {
            tracing::warn!(node = %node.id, error = %error, "verdicts were not recorded");
        }
    }
}

/// A node that will not be published leaves its unit; the last one to arrive sees to the others.
async fn leave(shared: &Shared, node: &WorkNode, unit: &Unit, end: End) {
    shared.finish(node, end);
    if let Some((products, _)) = unit.arrive(&node.id, None) {
        give_up(shared, products, &node.id).await;
    }
}

async fn give_up(shared: &Shared, products: Vec<(UniqueId, Product)>, because: &UniqueId) {
    for (id, product) in products {
        product.discard(&*shared.doers.store).await;
        if let Some(node) = shared.work.nodes.get(&id) {
            let reused = matches!(product, Product::Same { unchanged: false, .. });
            let end = if reused {
                End::new(NodeStatus::Reused, Duration::ZERO, None)
            } else {
                let message =
                    format!("not published: it is published together with {because}, which failed");
                End::new(NodeStatus::Skipped, Duration::ZERO, Some(message))
            };
            shared.finish(node, end);
        }
    }
}

/// Publishes a unit when its last member arrives. Gives the error back only to a node that is alone
/// in its unit.
async fn publish_unit(
    shared: &Shared,
    node: &WorkNode,
    unit: &Unit,
    ready: Ready,
    elapsed: Duration,
) -> Option<Error> {
    let mut end = End::new(ready.status, elapsed, ready.message);
    end.rows = ready.rows;
    end.batches = ready.batches;
    shared.pending_end(&node.id, end);
    let (products, all) = unit.arrive(&node.id, Some(ready.product))?;
    if !all {
        let failed = unit
            .members
            .iter()
            .find(|member| !products.iter().any(|(id, _)| id == *member))
            .cloned()
            .unwrap_or_else(|| node.id.clone());
        give_up(shared, products, &failed).await;
        return None;
    }
    let mut changes = Vec::new();
    let snapshot = shared.snapshot();
    for (id, product) in &products {
        let Some(node) = shared.work.nodes.get(id) else { continue };
        changes.extend(changes_of(node, product, &snapshot));
    }
    let published = if changes.is_empty() {
        Ok(None)
    } else {
        shared.publisher.publish(changes).await.map(Some)
    };
    match published {
        Ok(published) => {
            for (id, product) in products {
                acknowledge(shared, &id, &product).await;
                if let Some(node) = shared.work.nodes.get(&id) {
                    let mut end = shared.take_pending_end(&id);
                    end.version = version_of(published.as_ref(), node);
                    if let Some(reason) = split_of(published.as_ref(), node) {
                        end = End::new(NodeStatus::Error, end.elapsed, Some(reason));
                    } else if let Err(error) = hooks::after_publish(shared, node).await {
                        let message = format!("published, but {}", error.report());
                        end = End::new(NodeStatus::Error, end.elapsed, Some(message));
                    }
                    shared.finish(node, end);
                }
            }
            if let Some(published) = published {
                for warning in published.warnings {
                    shared.doers.events.emit(Event::Notice {
                        node: Some(node.id.clone()),
                        code: "after-publish".to_owned(),
                        message: warning,
                    });
                }
            }
            None
        }
        Err(error) => {
            for (id, product) in products {
                if error.kind() != ErrorKind::Unknown {
                    product.discard(&*shared.doers.store).await;
                }
                if id != node.id
                    && let Some(other) = shared.work.nodes.get(&id)
                {
                    let end = End::new(NodeStatus::Error, Duration::ZERO, Some(error.report()));
                    shared.finish(other, end);
                }
            }
            if unit.members.len() == 1 {
                shared.refresh().await
            }
            Some(error)
        }
    }
}

/// Why this relation was left out of a publish that another engine came between.
fn split_of(published: Option<&Published>, node: &WorkNode) -> Option<String> {
    let (_, reason) = published?.split.iter().find(|(relation, _)| *relation == node.relation)?;
    Some(format!("the publish was split: {reason}"))
}

fn version_of(published: Option<&Published>, node: &WorkNode) -> Option<TableVersion> {
    published?
        .versions
        .iter()
        .find(|(relation, _)| *relation == node.relation)
        .map(|(_, version)| *version)
}

/// The record with who may do what and what the relation is: what the project says, else, for a
/// table that goes on, what was said before.
fn with_grants(node: &WorkNode, product: &Product, record: &Record, snapshot: &Snapshot) -> Value {
    let mut json = record.to_json();
    let goes_on = matches!(product, Product::Same { .. })
        || matches!(&node.kind, WorkKind::Model(config) if config.materialized == "incremental")
        || matches!(node.kind, WorkKind::Source);
    let before = |name: &str| {
        let published = snapshot.get(&node.relation).filter(|_| goes_on)?;
        published.record.as_deref()?.get(name).cloned()
    };
    let grants = (!node.grants.is_empty()).then(|| serde_json::json!(node.grants));
    let description = node.comments.iter().find(|(column, _)| column.is_empty());
    let description = description.map(|(_, text)| Value::from(text.as_str()));
    if let Some(fields) = json.as_object_mut() {
        let said = [("grants", grants), (PublishedRelation::DESCRIPTION, description)];
        for (name, value) in said {
            let value = value.or_else(|| before(name));
            fields.extend(value.map(|value| (name.to_owned(), value)));
        }
        let view = materialized_view::recorded(node);
        fields.extend(view.map(|view| (materialized_view::FIELD.to_owned(), view)));
    }
    json
}

/// A record of a relation that stays as it is published: who may do what, and what else is recorded
/// beside, stays with it.
fn over_published(record: &Record, node: &WorkNode, snapshot: &Snapshot) -> Value {
    let mut json = record.to_json();
    let published = snapshot.get(&node.relation).and_then(|found| found.record.clone());
    if let (Some(fields), Some(Value::Object(before))) =
        (json.as_object_mut(), published.as_deref())
    {
        for name in ["grants", PublishedRelation::DESCRIPTION, materialized_view::FIELD] {
            fields.extend(before.get(name).map(|value| (name.to_owned(), value.clone())));
        }
    }
    json
}

fn changes_of(node: &WorkNode, product: &Product, snapshot: &Snapshot) -> Vec<PublishChange> {
    let meta = |record: &Record| PublishMeta {
        unique_id: Some(node.id.clone()),
        record: Some(with_grants(node, product, record, snapshot)),
        ..PublishMeta::default()
    };
    match product {
        Product::Same { record: None, .. } => Vec::new(),
        Product::Same { record: Some(record), position, .. } => {
            let meta = PublishMeta { position: position.clone(), ..meta(record) };
            vec![PublishChange::Record { relation: node.relation.clone(), meta }]
        }
        Product::View { sql, schema, record } => vec![PublishChange::View {
            relation: node.relation.clone(),
            sql: sql.clone(),
            schema: schema.clone(),
            meta: meta(record),
        }],
        Product::Table { staged, extra, views, position, record } => {
            let main = PublishMeta { position: position.clone(), ..meta(record) };
            let mut changes = vec![PublishChange::Table(staged.clone(), main)];
            for staged in extra {
                let meta =
                    PublishMeta { unique_id: Some(node.id.clone()), ..PublishMeta::default() };
                changes.push(PublishChange::Table(staged.clone(), meta));
            }
            for view in views {
                let mut view = view.clone();
                if let PublishChange::View { meta, .. } = &mut view {
                    meta.unique_id = Some(node.id.clone());
                }
                changes.push(view);
            }
            changes
        }
    }
}

/// Sources lag and never lead: they hear of a position only after it is published, and a failure
/// to tell them is repeated by the next run.
async fn acknowledge(shared: &Shared, id: &UniqueId, product: &Product) {
    let (Product::Table { position: Some(position), .. }
    | Product::Same { position: Some(position), .. }) = product
    else {
        return;
    };
    let tell = |code: String, message: String| {
        shared.doers.events.emit(Event::Notice { node: Some(id.clone()), code, message });
    };
    match shared.doers.loader.acknowledge(id, position).await {
        Ok(notices) => notices.into_iter().for_each(|notice| tell(notice.code, notice.message)),
        Err(error) => tell("not-acknowledged".to_owned(), error.report()),
    }
}

/// Whether the published form is a table.
pub(crate) fn is_table(snapshot: &Snapshot, relation: &RelationName) -> bool {
    snapshot
        .get(relation)
        .is_some_and(|published| matches!(published.kind, RelationKind::Table { .. }))
}

/// Waits for all of them; whether each of them can be read.
pub(crate) async fn wait_all(shared: &Shared, nodes: &BTreeSet<UniqueId>, phase: Phase) -> bool {
    let waits = nodes.iter().map(async |node| {
        shared.wait(node, phase).await != Phase::Failed || shared.is_there_anyway(node)
    });
    join_all(waits).await.into_iter().all(|there| there)
}

/// The check's id as text, for a message.
pub(crate) fn check_name(shared: &Shared, check: &CheckId) -> String {
    shared.work.checks.get(check).map_or_else(|| check.to_string(), |check| check.name.clone())
}
