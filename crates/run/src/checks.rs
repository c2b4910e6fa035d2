//! Running the checks of a node before it is published, and checks that stand alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tidemill_core::{
    Check, CheckId, Error, ErrorKind, Event, Measure, Overlay, PublishChange, PublishMeta,
    QueryContext, RelationKind, RelationName, Result, Snapshot, StageRequest, UniqueId, Verdict,
    VerdictStatus, WriteMode,
};
use tidemill_plan::{CheckRecord, InputVersion, Inputs, Record, WorkCheck, WorkNode, hash_text};

use crate::executor::{Shared, check_name, in_place, is_table};
use crate::model::{Built, input_versions};
use crate::unit::{Phase, Product, Unit};
use crate::{CheckOutcome, RenderRequest, StatementSession};

/// What the checks of a node came to.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// An error-severity check failed: the node is not published.
    pub(crate) gated: bool,
    /// A check warned.
    pub(crate) warned: bool,
    /// The failures, for the result line.
    pub(crate) message: Option<String>,
}

/// A check with what it was made from.
struct Prepared<'a> {
    work: &'a WorkCheck,
    check: Result<Box<dyn Check>>,
    measures: Vec<Measure>,
    definition: String,
    /// What its template has executed: tables of its own that it reads.
    session: Arc<StatementSession>,
}

impl Prepared<'_> {
    /// What it is measured over, where its template has made something.
    fn own_context(&self) -> Option<QueryContext> {
        self.session.wrote().then(|| self.session.context())
    }
}

impl Shared {
    /// Runs every check that this node is the first gate of, over the state that would be visible.
    /// Given the checks `without` something to read (it has failed), outcomes are kept and told,
    /// and those checks are skipped.
    pub(crate) async fn run_checks(
        &self,
        node: &WorkNode,
        unit: &Unit,
        built: &mut Built,
        without: Option<&BTreeSet<CheckId>>,
    ) -> Result<Checked> {
        let checks: Vec<&WorkCheck> = self
            .own_checks(&node.id)
            .iter()
            .filter(|check| !without.is_some_and(|without| without.contains(*check)))
            .filter_map(|check| self.work.checks.get(check))
            .collect();
        if let Some(without) = without {
            self.checked(skipped(without));
        }
        if checks.is_empty() {
            return Ok(Checked::default());
        }
        let snapshot = self.snapshot();
        let context = self.context(snapshot.clone(), unit.overlay());
        let recorded = match &built.product {
            Product::Same { .. } if self.options.reuse_verdicts => {
                Record::of(&snapshot, &node.relation)
                    .map(|record| record.checks)
                    .unwrap_or_default()
            }
            _ => BTreeMap::new(),
        };
        let own_inputs = match &built.product {
            Product::View { .. } => input_versions(&built.reads, &context, false),
            Product::Same { .. } if !is_table(&snapshot, &node.relation) => {
                data_inputs(&snapshot, &node.relation, &context)
            }
            _ => Inputs::new(),
        };
        let (outcomes, records) = self
            .check_relation(
                &node.relation,
                Some(&node.id),
                &checks,
                &context,
                &recorded,
                &own_inputs,
            )
            .await?;
        let changed_records = records != recorded;
        match built.product.record_mut() {
            Some(record) => record.checks.extend(records),
            None if changed_records => {
                if let Product::Same { record, .. } = &mut built.product
                    && let Some(mut now) = Record::of(&snapshot, &node.relation)
                {
                    now.checks.extend(records);
                    *record = Some(now);
                }
            }
            None => {}
        }
        let checked = summarize(self, &outcomes);
        if without.is_some() {
            self.checked(outcomes);
        }
        Ok(checked)
    }

    /// Puts verdicts into the record that a node is going to publish, or, when it publishes nothing,
    /// into the one that it has, if they are new there.
    pub(crate) fn remember(
        &self,
        node: &WorkNode,
        product: &mut Product,
        records: &BTreeMap<CheckId, CheckRecord>,
    ) {
        if records.is_empty() {
            return;
        }
        if let Some(record) = product.record_mut() {
            record.checks.extend(records.clone());
        } else if let Product::Same { record, .. } = product
            && let Some(mut now) = Record::of(&self.snapshot(), &node.relation)
            && records.iter().any(|(check, verdict)| now.checks.get(check) != Some(verdict))
        {
            now.checks.extend(records.clone());
            *record = Some(now);
        }
    }

    /// Runs checks of one relation in as few scans as can be.
    async fn check_relation(
        &self,
        relation: &RelationName,
        node: Option<&UniqueId>,
        checks: &[&WorkCheck],
        context: &QueryContext,
        recorded: &BTreeMap<CheckId, CheckRecord>,
        own_inputs: &Inputs,
    ) -> Result<(Vec<CheckOutcome>, BTreeMap<CheckId, CheckRecord>)> {
        let prepared = self.prepare(checks, context);
        let sessions: Vec<Arc<StatementSession>> =
            prepared.iter().map(|prepared| prepared.session.clone()).collect();
        let judged =
            self.judge_prepared(relation, node, prepared, context, recorded, own_inputs).await;
        // What the templates made goes, however it ended.
        for session in sessions {
            session.close().await;
        }
        judged
    }

    /// The verdicts of checks whose templates have run.
    async fn judge_prepared(
        &self,
        relation: &RelationName,
        node: Option<&UniqueId>,
        prepared: Vec<Prepared<'_>>,
        context: &QueryContext,
        recorded: &BTreeMap<CheckId, CheckRecord>,
        own_inputs: &Inputs,
    ) -> Result<(Vec<CheckOutcome>, BTreeMap<CheckId, CheckRecord>)> {
        let mut outcomes = Vec::new();
        let mut records = BTreeMap::new();
        let mut open = Vec::new();
        for prepared in prepared {
            let known = recorded.get(&prepared.work.id).filter(|record| {
                // What a template executed is no part of the definition.
                prepared.check.is_ok()
                    && !prepared.session.wrote()
                    && record.still_holds(&prepared.definition, &context.snapshot)
                    && !record.inputs.keys().any(|name| context.overlay.0.contains_key(name))
            });
            let Some(record) = known else {
                open.push(prepared);
                continue;
            };
            records.insert(prepared.work.id.clone(), record.clone());
            let verdict = Verdict {
                check: prepared.work.id.clone(),
                status: record.status,
                failures: record.failures,
                message: record.message.clone(),
            };
            self.tell(node, &verdict, true, Vec::new(), std::time::Duration::ZERO);
            outcomes.push(CheckOutcome {
                verdict,
                reused: true,
                skipped: false,
                elapsed: std::time::Duration::ZERO,
            });
        }
        if open.is_empty() {
            return Ok((outcomes, records));
        }
        let mut by_relation: BTreeMap<(RelationName, Option<CheckId>), Vec<Prepared<'_>>> =
            BTreeMap::new();
        for prepared in open {
            let measured = prepared.work.relation.clone().unwrap_or_else(|| relation.clone());
            // A check with tables of its own is not measured together with others.
            let own = prepared.session.wrote().then(|| prepared.work.id.clone());
            by_relation.entry((measured, own)).or_default().push(prepared);
        }
        let mut measured = Vec::new();
        for ((relation, _), open) in by_relation {
            let own = open.first().and_then(Prepared::own_context);
            let context = own.as_ref().unwrap_or(context);
            let started = Instant::now();
            let measures: Vec<Measure> =
                open.iter().flat_map(|prepared| prepared.measures.iter().cloned()).collect();
            let mut results = if measures.is_empty() {
                Vec::new().into_iter()
            } else {
                self.doers.engine.measure(&relation, &measures, context).await?.into_iter()
            };
            let elapsed = started.elapsed();
            for prepared in open {
                let taken: Result<Vec<_>> =
                    results.by_ref().take(prepared.measures.len()).collect();
                measured.push((prepared, taken, elapsed));
            }
        }
        for (prepared, taken, elapsed) in measured {
            let own = prepared.own_context();
            let context = own.as_ref().unwrap_or(context);
            let verdict = match (&prepared.check, taken) {
                (Ok(check), Ok(measurements)) => check.judge(&measurements),
                (Err(error), _) => broken(&prepared.work.id, error),
                (Ok(_), Err(error)) if error.kind() == ErrorKind::Cancelled => return Err(error),
                (Ok(_), Err(error)) => broken(&prepared.work.id, &error),
            };
            let mut sample = Vec::new();
            if let Ok(check) = &prepared.check {
                if matches!(verdict.status, VerdictStatus::Fail | VerdictStatus::Warn) {
                    sample = self.sample(&**check, context).await;
                }
                if let Some(target) = &prepared.work.store_failures {
                    self.store_failures(&**check, target, node, context).await;
                }
            }
            if verdict.status != VerdictStatus::Error && !prepared.session.wrote() {
                let mut inputs = own_inputs.clone();
                inputs.extend(
                    self.other_inputs(
                        prepared.work,
                        &**match &prepared.check {
                            Ok(check) => check,
                            Err(_) => continue,
                        },
                        relation,
                        context,
                    )
                    .await,
                );
                records.insert(
                    prepared.work.id.clone(),
                    CheckRecord {
                        definition: prepared.definition,
                        inputs,
                        status: verdict.status,
                        failures: verdict.failures,
                        message: verdict.message.clone(),
                    },
                );
            }
            self.tell(node, &verdict, false, sample, elapsed);
            outcomes.push(CheckOutcome { verdict, reused: false, skipped: false, elapsed });
        }
        Ok((outcomes, records))
    }

    fn prepare<'a>(&self, checks: &[&'a WorkCheck], context: &QueryContext) -> Vec<Prepared<'a>> {
        checks
            .iter()
            .map(|work| {
                let session = Arc::new(self.session_over(context.clone()));
                let request = RenderRequest {
                    statements: Some(session.clone()),
                    incremental: false,
                    full_refresh: self.options.full_refresh,
                    context: context.clone(),
                    batch: None,
                };
                let check = in_place(|| self.doers.renderer.check(&work.id, &request));
                let measures = check.as_ref().map(|check| check.measures()).unwrap_or_default();
                let definition = match &check {
                    Ok(check) => hash_text(&format!("{measures:?}\n{}", check.failing_rows())),
                    Err(_) => String::new(),
                };
                Prepared { work, check, measures, definition, session }
            })
            .collect()
    }

    /// The state of every other relation that a check reads.
    async fn other_inputs(
        &self,
        work: &WorkCheck,
        check: &dyn Check,
        relation: &RelationName,
        context: &QueryContext,
    ) -> Inputs {
        let only_own = work.relation.as_ref() == Some(relation)
            && check
                .measures()
                .iter()
                .all(|measure| !matches!(measure, Measure::Query { .. } | Measure::Orphans { .. }));
        if only_own {
            return Inputs::new();
        }
        match self.doers.engine.describe(&check.failing_rows(), context).await {
            Ok(description) => {
                let others: Vec<RelationName> =
                    description.relations.into_iter().filter(|name| name != relation).collect();
                let mut inputs = input_versions(&others, context, false);
                if !description.volatile_functions.is_empty() || description.current_date {
                    inputs.insert(relation.clone(), InputVersion::Unknown);
                }
                inputs
            }
            // Not known: such a verdict is never reused.
            Err(_) => Inputs::from([(relation.clone(), InputVersion::Unknown)]),
        }
    }

    fn tell(
        &self,
        node: Option<&UniqueId>,
        verdict: &Verdict,
        reused: bool,
        sample: Vec<String>,
        elapsed: std::time::Duration,
    ) {
        self.doers.events.emit(Event::Checked {
            node: node.cloned(),
            verdict: verdict.clone(),
            reused,
            sample,
            elapsed,
        });
    }

    /// The first failing rows, one line each.
    async fn sample(&self, check: &dyn Check, context: &QueryContext) -> Vec<String> {
        if self.options.sample_rows == 0 {
            return Vec::new();
        }
        let sql = format!(
            "select * from (\n{}\n) as failing_rows limit {}",
            check.failing_rows(),
            self.options.sample_rows
        );
        let Ok(mut stream) = self.doers.engine.query(&sql, context).await else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        while let Some(Ok(batch)) = stream.batches.next().await {
            lines.extend(crate::rows::lines(&batch));
        }
        lines
    }

    /// Keeps the failing rows in a table of their own, which is published whatever becomes of the
    /// node.
    async fn store_failures(
        &self,
        check: &dyn Check,
        target: &RelationName,
        node: Option<&UniqueId>,
        context: &QueryContext,
    ) {
        let store = async {
            let rows = self.doers.engine.query(&check.failing_rows(), context).await?;
            let staged = self
                .doers
                .store
                .stage(StageRequest {
                    relation: target.clone(),
                    mode: WriteMode::Replace,
                    partition_by: None,
                    rows,
                    base: self.snapshot(),
                    comments: Vec::new(),
                    observers: Vec::new(),
                    run: self.options.run.clone(),
                })
                .await?;
            let meta =
                PublishMeta { unique_id: Some(check.id().clone()), ..PublishMeta::default() };
            self.publish(vec![PublishChange::Table(Arc::new(staged), meta)]).await
        };
        if let Err(error) = store.await {
            self.doers.events.emit(Event::Notice {
                node: node.cloned(),
                code: "failures-not-stored".to_owned(),
                message: format!(
                    "the failing rows of {} were not stored: {}",
                    check.id(),
                    error.report()
                ),
            });
        }
    }
}

/// The state of a relation's data: of a view, that of its definition and of everything it reads.
fn data_inputs(snapshot: &Snapshot, relation: &RelationName, context: &QueryContext) -> Inputs {
    let mut names = vec![relation.clone()];
    if snapshot
        .get(relation)
        .is_some_and(|published| matches!(published.kind, RelationKind::View { .. }))
        && let Some(record) = Record::of(snapshot, relation)
    {
        names.extend(record.inputs.into_keys());
    }
    // The view itself counts through what it reads: writing its record again is no change.
    names.remove(0);
    input_versions(&names, context, false)
}

/// Outcomes of checks that were not tried, because something that they read has failed.
fn skipped<'a>(checks: impl IntoIterator<Item = &'a CheckId>) -> Vec<CheckOutcome> {
    let not_tried = |check: &CheckId| CheckOutcome {
        verdict: Verdict {
            check: check.clone(),
            status: VerdictStatus::Error,
            failures: 0.0,
            message: None,
        },
        reused: false,
        skipped: true,
        elapsed: std::time::Duration::ZERO,
    };
    checks.into_iter().map(not_tried).collect()
}

fn broken(check: &CheckId, error: &Error) -> Verdict {
    Verdict {
        check: check.clone(),
        status: VerdictStatus::Error,
        failures: 0.0,
        message: Some(error.report()),
    }
}

fn summarize(shared: &Shared, outcomes: &[CheckOutcome]) -> Checked {
    let mut checked = Checked::default();
    let mut lines = Vec::new();
    for outcome in outcomes {
        match outcome.verdict.status {
            VerdictStatus::Pass => continue,
            VerdictStatus::Warn => checked.warned = true,
            VerdictStatus::Fail | VerdictStatus::Error => checked.gated = true,
        }
        let name = check_name(shared, &outcome.verdict.check);
        let message = outcome.verdict.message.as_deref().unwrap_or("failed");
        lines.push((outcome.verdict.status.gates(), format!("{name}: {message}")));
    }
    // What stops the publication comes first.
    lines.sort_by_key(|(gates, _)| !gates);
    let shown: Vec<String> = lines
        .into_iter()
        .filter(|(gates, _)| *gates || !checked.gated)
        .map(|(_, line)| line)
        .collect();
    checked.message = (!shown.is_empty()).then(|| shown.join("; "));
    checked
}

/// Checks that gate nothing in this run: they read what is published, once everything that they
/// read and this run builds has ended. Those that read the same are run together. One that has
/// nothing to read, because that failed, is skipped.
pub(crate) async fn run_standalone(shared: Arc<Shared>) {
    let mut groups: BTreeMap<Together, Vec<&WorkCheck>> = BTreeMap::new();
    for (id, gate) in &shared.assignment.checks {
        let Some(check) = shared.work.checks.get(id).filter(|_| gate.gates.is_empty()) else {
            continue;
        };
        let declared = check.declared_by.first();
        let relation = check.relation.clone().or_else(|| {
            let owned = shared.work.owners.iter().find(|(_, owner)| Some(*owner) == declared);
            owned.map(|(relation, _)| relation.clone())
        });
        let owner = declared.filter(|node| shared.work.nodes.contains_key(*node)).cloned();
        let together = Together { waits_for: gate.waits_for.clone(), relation, owner };
        groups.entry(together).or_default().push(check);
    }
    let tasks = groups.into_iter().map(|(together, checks)| {
        let shared = &shared;
        async move {
            let outcomes = run_together(shared, &together, &checks).await;
            let passed: BTreeSet<CheckId> = outcomes
                .iter()
                .filter(|outcome| !outcome.skipped && !outcome.verdict.status.gates())
                .map(|outcome| outcome.verdict.check.clone())
                .collect();
            shared.checked(outcomes);
            for check in checks {
                let passed = passed.contains(&check.id);
                shared.advance(&check.id, if passed { Phase::Done } else { Phase::Failed });
            }
        }
    });
    futures::future::join_all(tasks).await;
}

/// What checks that are run together have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Together {
    waits_for: BTreeSet<UniqueId>,
    relation: Option<RelationName>,
    /// The node of this run whose record keeps the verdicts.
    owner: Option<UniqueId>,
}

/// Runs checks that stand alone. None of them comes back when the run is cancelled.
async fn run_together(
    shared: &Shared,
    together: &Together,
    checks: &[&WorkCheck],
) -> Vec<CheckOutcome> {
    tokio::select! {
        there = crate::executor::wait_all(shared, &together.waits_for, Phase::Done) => {
            if !there {
                return skipped(checks.iter().map(|check| &check.id));
            }
        }
        () = shared.cancel.cancelled() => return Vec::new(),
    }
    let Some(_permit) = shared.permit().await else { return Vec::new() };
    let snapshot = shared.snapshot();
    let context = shared.context(snapshot.clone(), Overlay::none());
    let relation = together.relation.clone().unwrap_or_else(|| RelationName::new("main", "none"));
    let owner = together.owner.as_ref().and_then(|owner| shared.work.nodes.get(owner));
    let recorded = owner
        .filter(|_| shared.options.reuse_verdicts)
        .and_then(|owner| Record::of(&snapshot, &owner.relation))
        .map(|record| record.checks)
        .unwrap_or_default();
    let own_inputs = match owner {
        Some(owner) if !is_table(&snapshot, &owner.relation) => {
            data_inputs(&snapshot, &owner.relation, &context)
        }
        _ => Inputs::new(),
    };
    let run = shared.check_relation(&relation, None, checks, &context, &recorded, &own_inputs);
    let result = tokio::select! {
        result = run => result,
        () = shared.cancel.cancelled() => return Vec::new(),
    };
    match result {
        Ok((outcomes, records)) => {
            if let Some(owner) = owner
                && records.iter().any(|(check, verdict)| recorded.get(check) != Some(verdict))
            {
                shared.record_verdicts(owner, records).await;
            }
            outcomes
        }
        Err(error) => checks
            .iter()
            .map(|check| {
                let verdict = broken(&check.id, &error);
                shared.tell(None, &verdict, false, Vec::new(), std::time::Duration::ZERO);
                CheckOutcome {
                    verdict,
                    reused: false,
                    skipped: false,
                    elapsed: std::time::Duration::ZERO,
                }
            })
            .collect(),
    }
}
