//! Building one node in a session of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_core::{
    BatchResults, CheckId, DatabaseSession, Error, ErrorKind, NodeStatus, RelationName, Result,
    UniqueId, VerdictStatus,
};
use tidemill_plan::{Batch, MicrobatchConfig, WorkKind, WorkNode};

use super::checks::{self, Judged};
use super::executor::{End, Shared};
use super::{DatabaseBuild, DatabaseRequest, Gate};
use crate::CheckOutcome;
use crate::executor::in_place;

/// A source that others fill: there is nothing to build, and its tests say whether it can be read.
async fn source(shared: &Arc<Shared>, node: &WorkNode) -> End {
    let mut failed = None;
    for check in shared.own_checks(&node.id) {
        let outcomes = checks::alone(shared, check).await;
        let message = outcomes.iter().find_map(|outcome| outcome.verdict.message.clone());
        if shared.checked(outcomes) && failed.is_none() {
            let message = message.unwrap_or_default();
            failed = Some(format!("{}: {message}", shared.check_name(check)));
        }
    }
    let status = if failed.is_some() { NodeStatus::Fail } else { NodeStatus::Ok };
    End::new(status, Duration::ZERO, failed)
}

/// Builds a node and, when its checks pass, commits it.
pub(super) async fn node(shared: &Arc<Shared>, node: &WorkNode) -> Result<End> {
    if matches!(node.kind, WorkKind::External) {
        return Ok(source(shared, node).await);
    }
    let session = shared.doers.database.session(&shared.cancel).await?;
    session.claim(&node.relation).await?;
    let end = claimed(shared, node, &session).await;
    if let Err(error) = session.release(&node.relation).await {
        tracing::debug!(error = %error, "a claim ends with its session");
    }
    end
}

async fn claimed(
    shared: &Arc<Shared>,
    node: &WorkNode,
    session: &Arc<dyn DatabaseSession>,
) -> Result<End> {
    let (comment, after) = shared.doers.renderer.comment(&node.id);
    session.comment(comment, after);
    let gate = Arc::new(NodeGate {
        shared: shared.clone(),
        node: node.id.clone(),
        hooks_after: node.hooks.after,
        session: session.clone(),
        runtime: tokio::runtime::Handle::current(),
        judged: Mutex::default(),
        failed: AtomicBool::new(false),
        held: AtomicBool::new(false),
    });
    let request = DatabaseRequest {
        full_refresh: node.full_refresh.unwrap_or(shared.options.full_refresh),
        gate: Some(gate.clone()),
        ..DatabaseRequest::new(session.clone())
    };
    let micro = match &node.kind {
        WorkKind::Model(config) => config.microbatch.clone().filter(|_| !config.custom),
        _ => None,
    };
    let (worker, id, kind) = (shared.clone(), node.id.clone(), node.kind.clone());
    let (relation, used) = (node.relation.clone(), gate.clone());
    let built = tokio::task::spawn_blocking(move || {
        in_place(|| {
            let built = match &micro {
                Some(micro) => batches(&worker, &id, &relation, micro, &request, &used)?,
                None => {
                    let sql = match kind {
                        WorkKind::Model(_) => worker.doers.renderer.compile(&id, &request)?,
                        _ => String::new(),
                    };
                    (worker.doers.renderer.materialize(&id, &sql, &request)?, None)
                }
            };
            // What the macro has not committed itself, and a candidate it never spoke of.
            used.commit()?;
            Ok(built)
        })
    })
    .await
    .unwrap_or_else(|panic| {
        Err(Error::new(ErrorKind::Internal, "a node's task has panicked").because(panic))
    });
    if built.is_err() {
        // The first error counts, whatever the connection says to this.
        if let Err(error) = session.rollback().await {
            tracing::debug!(error = %error, "rollback");
        }
    }
    let judged = gate.take_judged();
    let gated = gate.failed.load(Ordering::Relaxed);
    drop(gate);
    let mut outcomes: Vec<CheckOutcome> = Vec::new();
    let (mut warned, mut lines) = (false, Vec::new());
    for (id, judged) in judged {
        let status = judged.outcome.verdict.status;
        warned |= status == VerdictStatus::Warn;
        if status != VerdictStatus::Pass {
            let message = judged.outcome.verdict.message.as_deref().unwrap_or("failed");
            lines.push((status.gates(), format!("{}: {message}", shared.check_name(&id))));
        }
        checks::store(shared, session, &id, &judged, built.is_ok()).await;
        outcomes.push(judged.outcome);
    }
    let ran: Vec<CheckId> = outcomes.iter().map(|outcome| outcome.verdict.check.clone()).collect();
    if gated || built.is_ok() {
        let left: Vec<CheckId> = shared
            .own_checks(&node.id)
            .iter()
            .filter(|check| !ran.contains(check))
            .cloned()
            .collect();
        outcomes.extend(checks::skipped(&left));
    }
    shared.checked(outcomes);
    lines.sort_by_key(|(gates, _)| !gates);
    let message = || {
        let shown: Vec<String> = lines
            .iter()
            .filter(|(gates, _)| *gates || !gated)
            .map(|(_, line)| line.clone())
            .collect();
        (!shown.is_empty()).then(|| shown.join("; "))
    };
    if gated {
        return Ok(End::new(NodeStatus::Fail, Duration::ZERO, message()));
    }
    let (build, batches) = built?;
    let failed = batches.as_ref().and_then(|batches: &BatchResults| batches.message.clone());
    let status = match (&failed, warned) {
        (Some(_), _) => NodeStatus::Error,
        (None, true) => NodeStatus::Warn,
        (None, false) => NodeStatus::Ok,
    };
    Ok(End {
        rows: build.rows,
        batches,
        ..End::new(status, Duration::ZERO, failed.or_else(message))
    })
}

/// Builds the due batches of a microbatch model, each on top of the other, in one transaction. One
/// that fails takes nothing of the others with it.
fn batches(
    shared: &Arc<Shared>,
    id: &UniqueId,
    relation: &RelationName,
    micro: &MicrobatchConfig,
    request: &DatabaseRequest,
    gate: &Arc<NodeGate>,
) -> Result<(DatabaseBuild, Option<BatchResults>)> {
    let wait = |answer| tokio::runtime::Handle::current().block_on(answer);
    let session = &request.session;
    let there = wait(session.relation(relation))? == Some(tidemill_core::DatabaseRelation::Table);
    let options = &shared.options;
    let incremental = there && !request.full_refresh;
    let asked = options.batches.get(id).cloned();
    let due = asked.unwrap_or_else(|| {
        micro.batches(incremental, options.now, options.event_time_start, options.event_time_end)
    });
    if due.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            "no batch lies between the given times; see `begin`, --event-time-start and --event-time-end",
        ));
    }
    gate.held.store(true, Ordering::Relaxed);
    session_run(session, "begin")?;
    let mut results = BatchResults::default();
    let mut failed: Vec<(Batch, Error)> = Vec::new();
    let mut done = DatabaseBuild::default();
    for (number, batch) in due.iter().enumerate() {
        let request = DatabaseRequest {
            batch: Some(*batch),
            // The table is begun again with the first batch alone.
            full_refresh: request.full_refresh && number == 0,
            ..request.clone()
        };
        session_run(session, "savepoint tidemill_batch")?;
        let renderer = &shared.doers.renderer;
        let built =
            renderer.compile(id, &request).and_then(|sql| renderer.materialize(id, &sql, &request));
        match built {
            Ok(built) => {
                session_run(session, "release savepoint tidemill_batch")?;
                results.successful.push(batch.iso());
                done.rows = match (done.rows, built.rows) {
                    (Some(before), Some(rows)) => Some(before + rows),
                    (before, rows) => before.or(rows),
                };
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) if number == 0 => return Err(error),
            Err(error) => {
                session_run(session, "rollback to savepoint tidemill_batch")?;
                results.failed.push(batch.iso());
                failed.push((*batch, error));
            }
        }
    }
    gate.held.store(false, Ordering::Relaxed);
    results.message = failed.first().map(|(batch, error)| {
        format!(
            "{} of {} batches failed, the first of them {}: {}",
            failed.len(),
            due.len(),
            micro.batch_size.id(batch.from),
            error.report()
        )
    });
    Ok((done, Some(results)))
}

fn session_run(session: &Arc<dyn DatabaseSession>, sql: &str) -> Result<()> {
    tokio::runtime::Handle::current().block_on(session.run(sql)).map(drop)
}

/// The checks of one node, before others see what was built.
struct NodeGate {
    shared: Arc<Shared>,
    node: UniqueId,
    hooks_after: bool,
    session: Arc<dyn DatabaseSession>,
    runtime: tokio::runtime::Handle,
    judged: Mutex<BTreeMap<CheckId, Judged>>,
    failed: AtomicBool,
    /// Nothing is committed yet, whoever asks.
    held: AtomicBool,
}

impl NodeGate {
    fn take_judged(&self) -> BTreeMap<CheckId, Judged> {
        std::mem::take(&mut *self.judged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs the checks that have not run yet.
    fn judge(&self, candidate: Option<&RelationName>) -> Result<()> {
        let request = DatabaseRequest {
            full_refresh: self.shared.options.full_refresh,
            stand_in: candidate.map(|name| (self.node.clone(), name.clone())),
            ..DatabaseRequest::new(self.session.clone())
        };
        for check in self.shared.own_checks(&self.node) {
            let known =
                self.judged.lock().unwrap_or_else(PoisonError::into_inner).contains_key(check);
            if known {
                continue;
            }
            let run = checks::judge(&self.shared, check, Some(&self.node), &request);
            let Some(judged) = self.runtime.block_on(run)? else { continue };
            if judged.outcome.verdict.status.gates() {
                self.failed.store(true, Ordering::Relaxed);
            }
            self.judged
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(check.clone(), judged);
        }
        match self.failed.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Data, "a check of the node has failed")),
            false => Ok(()),
        }
    }
}

impl Gate for NodeGate {
    fn candidate(&self, relation: &RelationName) -> Result<()> {
        // A hook may change what is checked.
        if self.hooks_after || self.held.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.judge(Some(relation))
    }

    fn commit(&self) -> Result<()> {
        if self.held.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.judge(None)?;
        self.runtime.block_on(self.session.commit())
    }
}
