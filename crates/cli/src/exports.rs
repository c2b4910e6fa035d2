//! What goes out to other systems: after a build, and by `tidemill export`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tidemill_core::{
    At, Delivered, Delivery, DeliveryMode, Engine, Error, ErrorKind, Event, EventSink, NewColumns,
    NodeOutcome, NodeStatus, PublishedRelation, RelationKind, RelationName, Result, Sink, Snapshot,
    TableStore, UniqueId,
};
use tidemill_plan::{Decision, Record, StepAction, Work, schema_hash};
use tidemill_project::{Export, Node, TestKind};
use tidemill_run::RunSummary;

use crate::commands::build::Invocation;
use crate::loader;
use crate::output::count;
use crate::progress::Progress;
use crate::session::{Session, Stores};

/// How often a delivery is tried where trying again can help.
const ATTEMPTS: u32 = 3;

/// The exports that a command is about.
pub(crate) fn of_work<'a>(
    session: &'a Session,
    invocation: &Invocation<'_>,
    work: &Work,
) -> Vec<&'a Export> {
    if invocation.command != "build" {
        return Vec::new();
    }
    let again = |id: &UniqueId| invocation.only.as_ref().is_some_and(|only| only.contains(id));
    let exports = session.manifest().exports.values();
    exports
        .filter(|export| work.nodes.contains_key(&export.node) || again(&export.unique_id))
        .collect()
}

/// Delivers what a build published. A build that read only some rows delivers nothing.
pub(crate) async fn after_build(
    session: &Session,
    stores: &Stores,
    invocation: &Invocation<'_>,
    exports: &[&Export],
    summary: &RunSummary,
    progress: &Progress,
) -> Vec<NodeOutcome> {
    if exports.is_empty() || summary.cancelled {
        return Vec::new();
    }
    if invocation.empty || invocation.sample.is_some() {
        progress.emit(Event::Notice {
            node: None,
            code: "not-exported".to_owned(),
            message: "nothing is exported, as --empty and --sample read only some rows".to_owned(),
        });
        return Vec::new();
    }
    let failed: BTreeSet<&UniqueId> = summary
        .nodes
        .iter()
        .filter(|node| {
            matches!(
                node.status,
                NodeStatus::Fail | NodeStatus::Error | NodeStatus::Skipped | NodeStatus::Cancelled
            )
        })
        .map(|node| &node.node)
        .collect();
    let (skipped, going): (Vec<&Export>, Vec<&Export>) =
        exports.iter().copied().partition(|export| failed.contains(&export.node));
    let mut outcomes = Vec::new();
    for export in skipped {
        let name = export.node.as_str().rsplit('.').next().unwrap_or_default();
        let outcome = NodeOutcome {
            status: NodeStatus::Skipped,
            message: Some(format!("{name} was not published by this run")),
            ..outcome(export)
        };
        progress.emit(Event::NodeFinished(outcome.clone()));
        outcomes.push(outcome);
    }
    outcomes.extend(deliver(session, stores, &going, false, progress).await);
    outcomes
}

fn outcome(export: &Export) -> NodeOutcome {
    NodeOutcome {
        node: export.unique_id.clone(),
        name: export.name.clone(),
        kind: "export".to_owned(),
        status: NodeStatus::Ok,
        elapsed: Duration::ZERO,
        rows: None,
        version: None,
        message: None,
        batches: None,
    }
}

/// Delivers these, and tells of each. Those to one system come one after the other, systems side by
/// side.
pub(crate) async fn deliver(
    session: &Session,
    stores: &Stores,
    exports: &[&Export],
    again: bool,
    progress: &Progress,
) -> Vec<NodeOutcome> {
    let mut systems: BTreeMap<Option<&str>, Vec<&Export>> = BTreeMap::new();
    for export in exports {
        systems.entry(export.connection.as_deref()).or_default().push(export);
    }
    let all = systems.into_values().map(|exports| async move {
        let mut outcomes = Vec::with_capacity(exports.len());
        for export in exports {
            let began = Instant::now();
            progress.emit(Event::NodeStarted {
                node: export.unique_id.clone(),
                kind: "export".to_owned(),
            });
            let done = retried(session, stores, export, again).await;
            let mut outcome = outcome(export);
            outcome.elapsed = began.elapsed();
            match done {
                Ok(delivered) if delivered.nothing_new => outcome.status = NodeStatus::Reused,
                Ok(delivered) => {
                    outcome.rows = Some(delivered.rows);
                    outcome.message = told(export, &delivered);
                }
                Err(error) => {
                    outcome.status = match error.kind() {
                        ErrorKind::Cancelled => NodeStatus::Cancelled,
                        _ => NodeStatus::Error,
                    };
                    outcome.message = Some(error.report());
                }
            }
            progress.emit(Event::NodeFinished(outcome.clone()));
            outcomes.push(outcome);
        }
        outcomes
    });
    join_all(all).await.into_iter().flatten().collect()
}

/// What became of the rows, where they met others.
fn told(export: &Export, delivered: &Delivered) -> Option<String> {
    if export.mode == "full" {
        return None;
    }
    let mut parts = vec![format!("{} inserted", count(delivered.inserted))];
    if export.mode == "merge" {
        parts.push(format!("{} updated", count(delivered.updated)));
    }
    if export.deletes {
        parts.push(format!("{} deleted", count(delivered.deleted)));
    }
    Some(parts.join(", "))
}

async fn retried(
    session: &Session,
    stores: &Stores,
    export: &Export,
    again: bool,
) -> Result<Delivered> {
    let mut attempt = 1;
    loop {
        match one(session, stores, export, again).await {
            Err(error) if error.kind().is_retryable() && attempt < ATTEMPTS => {
                tracing::warn!(export = %export.name, attempt, error = %error, "a delivery is tried again");
                attempt += 1;
                let pause = tokio::time::sleep(Duration::from_millis(500) * attempt);
                tokio::select! {
                    () = pause => {}
                    () = session.cancel.cancelled() => return Err(error),
                }
            }
            done => return done,
        }
    }
}

async fn one(
    session: &Session,
    stores: &Stores,
    export: &Export,
    again: bool,
) -> Result<Delivered> {
    let snapshot = stores.lake.snapshot(At::Now).await?;
    let lake = stores.lake.id().await?;
    let (sink, delivery) = prepared(session, export, &snapshot, &lake, again)?;
    if sink.is_delivered(&delivery).await? {
        return Ok(Delivered { nothing_new: true, ..Delivered::default() });
    }
    let relation = &delivery.relation;
    let published = snapshot.get(relation);
    let mut sql = format!("select * from {}", relation.quoted());
    let by = order(export, published.map(std::convert::AsRef::as_ref))?;
    if !by.is_empty() {
        sql.push_str(&format!(" order by {}", by.join(", ")));
    }
    let rows = stores.engine.query(&sql, &session.context(snapshot.clone())).await?;
    sink.deliver(&delivery, rows).await
}

/// The columns by which rows are sorted on their way.
fn order(export: &Export, published: Option<&PublishedRelation>) -> Result<Vec<String>> {
    let Some(schema) = published.map(|found| &found.schema) else { return Ok(Vec::new()) };
    let named = |key: &str| match export.to.get(key) {
        Some(serde_json::Value::Array(names)) => names.iter().collect(),
        Some(name) => vec![name],
        None => Vec::new(),
    };
    let texts = |names: Vec<&serde_json::Value>| -> Vec<String> {
        names.into_iter().filter_map(|name| name.as_str()).map(str::to_owned).collect()
    };
    // Rows of one partition come together, so that one file is written at once.
    let mut by = texts(named("partition_by"));
    by.retain(|name| schema.index_of(name).is_ok());
    let wanted = texts(named("order_by"));
    if let Some(missing) = wanted.iter().find(|name| schema.index_of(name).is_err()) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("`order_by` names the column `{missing}`, which the model does not have"),
        )
        .with("export", &export.name));
    }
    by.extend(wanted);
    if export.sends_messages() {
        // The messages of a state come in the same order again, so that what was sent is known.
        let sortable = schema.fields().iter().filter(|field| !field.data_type().is_nested());
        let others: Vec<String> = sortable.map(|field| field.name().clone()).collect();
        by.extend(others.into_iter().filter(|name| !by.contains(name)).collect::<Vec<_>>());
    }
    Ok(by.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect())
}

/// The delivery of what is published now, where it may go out.
fn prepared(
    session: &Session,
    export: &Export,
    snapshot: &Snapshot,
    lake: &str,
    again: bool,
) -> Result<(std::sync::Arc<dyn Sink>, Delivery)> {
    let manifest = session.manifest();
    let node = manifest.node(&export.node).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "the node of an export is not in the project")
    })?;
    let relation = node.relation();
    let Some(published) = snapshot.get(&relation) else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "`{}` is not published; build it first: tidemill build --select {}",
                node.name, node.name
            ),
        ));
    };
    checked(session, node, snapshot)?;
    let key = export.primary_key.clone();
    let delivery = Delivery {
        export: export.name.clone(),
        to: export.to.clone(),
        mode: match export.mode.as_str() {
            "append" => DeliveryMode::Append { key },
            "merge" => DeliveryMode::Merge { key, deletes: export.deletes },
            _ => DeliveryMode::Full,
        },
        new_columns: match export.adds_columns {
            true => NewColumns::Add,
            false => NewColumns::Refuse,
        },
        state: state(published, snapshot, lake),
        relation,
        again,
        run: session.run.clone(),
        cancel: session.cancel.child(),
    };
    let sink = loader::sink(manifest, export.connection.as_deref(), &session.root)?;
    Ok((sink, delivery))
}

/// Names the state of a relation: its columns, and its rows by their hash where that is known, else by
/// the entry that brought them.
pub(crate) fn state(published: &PublishedRelation, snapshot: &Snapshot, lake: &str) -> String {
    let columns = schema_hash(
        published
            .schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), field.data_type().to_string())),
    );
    let mut rows = Vec::new();
    rows_of(published, snapshot, lake, &mut BTreeSet::new(), &mut rows);
    let rows = match rows.as_slice() {
        [one] => one.clone(),
        many => schema_hash(many.iter().map(|one| (one.as_str(), String::new()))),
    };
    format!("rows {rows}, columns {columns}")
}

/// What the rows of a relation follow from: those of a view from its definition and from the tables
/// that it reads.
fn rows_of(
    published: &PublishedRelation,
    snapshot: &Snapshot,
    lake: &str,
    seen: &mut BTreeSet<RelationName>,
    rows: &mut Vec<String>,
) {
    if !seen.insert(published.name.clone()) {
        return;
    }
    let entry = || format!("of entry {} of lake {lake}", published.data_entry);
    if let RelationKind::Table { .. } = published.kind {
        rows.push(published.hash.clone().unwrap_or_else(entry));
        return;
    }
    rows.push(format!("view {}", entry()));
    let record = Record::of(snapshot, &published.name)
        .filter(|record| record.volatile.is_empty() && record.current_date.is_none());
    let Some(record) = record else {
        // Nothing tells when its rows change: every state of the lake may be another one.
        rows.push(format!("all of entry {}", snapshot.entry));
        return;
    };
    for input in record.inputs.keys() {
        match snapshot.get(input) {
            Some(published) => rows_of(published, snapshot, lake, seen, rows),
            None => rows.push(format!("no {input}")),
        }
    }
}

/// What goes out has passed its tests as it is.
fn checked(session: &Session, node: &Node, snapshot: &Snapshot) -> Result<()> {
    let manifest = session.manifest();
    let refused = |test: &str, why: &str| {
        Error::new(
            ErrorKind::Data,
            format!(
                "the test `{test}` {why} what is published of `{}`, so that it does not go out",
                node.name
            ),
        )
        .with("help", format!("tidemill build --select {}", node.name))
    };
    for test in manifest.nodes.values() {
        let is_of_node = match test.test.as_ref().map(|spec| &spec.kind) {
            Some(TestKind::Generic(generic)) => generic.attached.as_ref() == Some(&node.unique_id),
            Some(TestKind::Singular) => test.depends_on.contains(&node.unique_id),
            None => false,
        };
        if !is_of_node {
            continue;
        }
        // A test over several models is remembered by the last of them.
        let known: Vec<bool> = test
            .depends_on
            .iter()
            .filter_map(|id| manifest.node(id))
            .filter_map(|read| Record::of(snapshot, &read.relation()))
            .filter_map(|record| record.checks.get(&test.unique_id).cloned())
            .filter(|check| check.still_holds(&check.definition, snapshot))
            .map(|check| check.status.gates())
            .collect();
        if known.contains(&true) {
            return Err(refused(&test.name, "fails on"));
        }
        if known.is_empty() {
            return Err(refused(&test.name, "was not run on"));
        }
    }
    Ok(())
}

/// Whether there is something to deliver of what is published now.
pub(crate) async fn is_pending(
    session: &Session,
    stores: &Stores,
    export: &Export,
) -> Result<bool> {
    let snapshot = stores.lake.snapshot(At::Now).await?;
    let lake = stores.lake.id().await?;
    let (sink, delivery) = prepared(session, export, &snapshot, &lake, false)?;
    Ok(!sink.is_delivered(&delivery).await?)
}

/// What a build will do with an export. `pending` are the relations that it will or may change.
pub(crate) async fn action(
    session: &Session,
    stores: &Stores,
    export: &Export,
    pending: &BTreeSet<RelationName>,
) -> StepAction {
    let node = session.manifest().node(&export.node);
    let (mode, to) = (&export.mode, place(export));
    if let Some(node) = node.filter(|node| pending.contains(&node.relation())) {
        let reason = format!("{mode} to {to}, once {} is published", node.name);
        return StepAction::Export { reason };
    }
    match is_pending(session, stores, export).await {
        Ok(false) => StepAction::Node(Decision::Reuse),
        Ok(true) => StepAction::Export { reason: format!("{mode} to {to}") },
        Err(error) => StepAction::Export { reason: format!("{mode} to {to}: {}", error.report()) },
    }
}

/// Where it goes, in words.
pub(crate) fn place(export: &Export) -> String {
    let place = Export::place(&export.to).unwrap_or_default();
    match &export.connection {
        Some(connection) => format!("{place} of {connection}"),
        None => place.to_owned(),
    }
}
