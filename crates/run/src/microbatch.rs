//! Microbatch models: each batch is a query of its own, and what they give is published at once.
//!
//! Several batches are staged beside each other under names that nobody sees, so that one that fails
//! leaves the others whole; then their rows take the place of what the table has in these spans, or,
//! with a `unique_key`, of the rows with the same key.

use std::sync::Arc;

use futures::StreamExt;
use tidemill_core::{
    BatchResults, Description, Error, ErrorKind, OverlayEntry, QueryContext, RelationKind,
    RelationName, Result, Snapshot, Staged, WriteMode,
};
use tidemill_plan::{
    Batch, Decision, Increment, MaterializationConfig, MicrobatchConfig, Record, WorkNode,
};

use crate::executor::Shared;
use crate::model::{
    Built, decide_model, finish, input_versions, spelling, stage_increment, under_contract,
};
use crate::program::with_asked;
use crate::unit::{Product, Unit};
use crate::{ProgramOutput, RenderRequest, Rendered, Rule};

/// What one batch came to.
struct Done {
    batch: Batch,
    sql: String,
    staged: Option<Arc<Staged>>,
    rules: Vec<Rule>,
    reads: Vec<RelationName>,
    volatile: Vec<String>,
    current_date: bool,
}

/// Decides about a microbatch model and, if it has to be, builds its due batches.
pub(crate) async fn build(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    micro: &MicrobatchConfig,
    unit: &Unit,
    snapshot: &Snapshot,
) -> Result<Built> {
    let published = snapshot.get(&node.relation);
    let table_exists =
        published.is_some_and(|published| matches!(published.kind, RelationKind::Table { .. }));
    let full_refresh = node.full_refresh.unwrap_or(shared.options.full_refresh);
    let incremental = table_exists && !full_refresh;
    let options = &shared.options;
    let asked = options.batches.get(&node.id);
    let due =
        micro.batches(incremental, options.now, options.event_time_start, options.event_time_end);
    let batches = asked.cloned().unwrap_or(due);
    let Some(newest) = batches.last().copied() else {
        return Err(Error::new(
            ErrorKind::Config,
            "no batch lies between the given times; see `begin`, --event-time-start and --event-time-end",
        ));
    };
    let context = shared.context(snapshot.clone(), unit.overlay());
    let rendered = shared.render(&node.id, &request(&context, incremental, newest))?;
    let decision = match (asked, options.event_time_start.or(options.event_time_end)) {
        (None, None) => decide_model(shared, node, true, &rendered, &context, false),
        _ => Decision::Increment { reason: "these batches were asked for".to_owned() },
    };
    if decision == Decision::Reuse {
        let reads = Record::of(snapshot, &node.relation)
            .map(|record| record.inputs.into_keys().collect())
            .unwrap_or_default();
        let product = Product::Same { record: None, unchanged: false, position: None };
        return Ok(Built {
            product,
            decision,
            rows: None,
            reads,
            batches: None,
            rules: Vec::new(),
        });
    }

    let alone = batches.len() == 1;
    let places = match micro.concurrent {
        Some(false) => 1,
        None if rendered.asked_lake => 1,
        _ => options.threads.max(1),
    };
    let task = |batch: &Batch| {
        one(shared, node, micro, &context, incremental, *batch, config.program, alone)
    };
    // As in dbt: the first is done by itself, and where it fails no other is tried.
    let (first, others) = batches.split_at(1);
    let mut outcomes: Vec<Result<Done>> =
        futures::stream::iter(first.iter().map(task)).buffered(1).collect().await;
    if outcomes.iter().all(Result::is_ok) {
        let tasks: Vec<_> = others.iter().map(task).collect();
        outcomes.extend(futures::stream::iter(tasks).buffered(places).collect::<Vec<_>>().await);
    }
    let mut done = Vec::new();
    let mut failed: Vec<(Batch, Error)> = Vec::new();
    for (batch, outcome) in batches.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => done.push(outcome),
            Err(error) => failed.push((*batch, error)),
        }
    }
    let cancelled = failed.iter().position(|(_, error)| error.kind() == ErrorKind::Cancelled);
    if let Some(at) = cancelled.or((done.is_empty() && !failed.is_empty()).then_some(0)) {
        discard(shared, &done).await;
        let (batch, error) = failed.swap_remove(at);
        return Err(error.with("batch", micro.batch_size.id(batch.from)));
    }
    let built = together(shared, node, config, micro, &context, incremental, &done, decision).await;
    discard(shared, &done).await;
    let mut built = built?;
    let spans = |batches: &mut dyn Iterator<Item = &Batch>| -> Vec<[String; 2]> {
        batches.map(Batch::iso).collect()
    };
    built.batches = Some(BatchResults {
        successful: spans(&mut done.iter().map(|done| &done.batch)),
        failed: spans(&mut failed.iter().map(|(batch, _)| batch)),
        message: failed.first().map(|(batch, error)| {
            format!(
                "{} of {} batches failed, the first of them {}: {}",
                failed.len(),
                batches.len(),
                micro.batch_size.id(batch.from),
                error.report()
            )
        }),
    });
    Ok(built)
}

fn request(context: &QueryContext, incremental: bool, batch: Batch) -> RenderRequest {
    RenderRequest {
        incremental,
        full_refresh: false,
        context: context.clone(),
        batch: Some(batch),
        statements: None,
    }
}

/// Plans one batch and, unless it is the only one, stages it under a name of its own.
#[expect(clippy::too_many_arguments, reason = "everything that one batch is made of")]
async fn one(
    shared: &Shared,
    node: &WorkNode,
    micro: &MicrobatchConfig,
    context: &QueryContext,
    incremental: bool,
    batch: Batch,
    program: bool,
    alone: bool,
) -> Result<Done> {
    let rendered = shared.render(&node.id, &request(context, incremental, batch))?;
    let name = format!("{}__batch_{}", node.relation.name(), micro.batch_size.id(batch.from));
    let place = WorkNode {
        relation: RelationName::new(node.relation.schema(), name),
        comments: Vec::new(),
        ..node.clone()
    };
    if program {
        return of_program(shared, node, &place, context, batch, rendered, alone).await;
    }
    let description = shared.doers.engine.describe(&rendered.sql, context).await?;
    shared.refuse_unbuilt(node, &description)?;
    let (rendered, description, rules) =
        under_contract(shared, node, rendered, description, context).await?;
    let staged =
        if alone { None } else { Some(rows_of(shared, &place, &rendered, context).await?) };
    Ok(done(node, batch, rendered, description, rules, staged))
}

/// One batch of a Python model. Rows that it gives itself are staged before anything is said of them.
async fn of_program(
    shared: &Shared,
    node: &WorkNode,
    place: &WorkNode,
    context: &QueryContext,
    batch: Batch,
    rendered: Rendered,
    alone: bool,
) -> Result<Done> {
    let program = shared.doers.programs.run(&node.id, &rendered.sql, context).await?;
    let (sql, given) = match program.output {
        ProgramOutput::Query(sql) => (sql, None),
        ProgramOutput::Rows(rows) => {
            let name = format!("{}__rows", place.relation.name());
            let relation = RelationName::new(node.relation.schema(), name);
            let place = WorkNode { relation, ..place.clone() };
            let staged =
                shared.stage(&place, WriteMode::Replace, &[], rows, &context.snapshot).await?;
            (format!("select * from {}", place.relation.quoted()), Some(Arc::new(staged)))
        }
    };
    let mut overlay = context.overlay.clone();
    if let Some(staged) = &given {
        overlay = overlay.with(staged.relation.clone(), OverlayEntry::Staged(staged.clone()));
    }
    let over = QueryContext { overlay, ..context.clone() };
    let made = async {
        let plain = Rendered { sql: sql.clone(), ..rendered };
        let description = shared.doers.engine.describe(&plain.sql, &over).await?;
        let mut description = with_asked(shared, node, description, &program.asked)?;
        if let Some(staged) = &given {
            description.relations.retain(|name| *name != staged.relation);
            description.direct_relations.retain(|name| *name != staged.relation);
        }
        shared.refuse_unbuilt(node, &description)?;
        let (rendered, description, rules) =
            under_contract(shared, node, plain, description, &over).await?;
        // What is given as it is wanted is not written again.
        let staged = match &given {
            Some(staged) if rendered.sql == sql => Some(staged.clone()),
            None if alone => None,
            _ => Some(rows_of(shared, place, &rendered, &over).await?),
        };
        Ok(done(node, batch, rendered, description, rules, staged))
    }
    .await;
    if let Some(staged) = given
        && !made.as_ref().is_ok_and(|made: &Done| {
            made.staged.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &staged))
        })
        && let Err(error) = shared.doers.store.discard(&staged).await
    {
        tracing::warn!(relation = %staged.relation, error = %error, "discard failed");
    }
    made
}

/// Stages the rows of a batch.
async fn rows_of(
    shared: &Shared,
    place: &WorkNode,
    rendered: &Rendered,
    context: &QueryContext,
) -> Result<Arc<Staged>> {
    let rows = shared.doers.engine.query(&rendered.sql, context).await?;
    let staged = shared.stage(place, WriteMode::Replace, &[], rows, &context.snapshot).await?;
    Ok(Arc::new(staged))
}

fn done(
    node: &WorkNode,
    batch: Batch,
    rendered: Rendered,
    description: Description,
    rules: Vec<Rule>,
    staged: Option<Arc<Staged>>,
) -> Done {
    let relations = description.relations.into_iter();
    Done {
        batch,
        staged,
        rules,
        reads: relations.filter(|name| *name != node.relation).collect(),
        volatile: description.volatile_functions.into_iter().chain(rendered.volatile).collect(),
        current_date: description.current_date,
        sql: rendered.sql,
    }
}

async fn discard(shared: &Shared, done: &[Done]) {
    for staged in done.iter().filter_map(|done| done.staged.as_ref()) {
        if let Err(error) = shared.doers.store.discard(staged).await {
            tracing::warn!(relation = %staged.relation, error = %error, "discard failed");
        }
    }
}

/// The rows of several batches as if each had been merged after the one before it: of a key that
/// occurs in several the rows of the latest stay. A key with a NULL equals no other.
fn latest_of_each_key(batches: &[String], columns: &[String], key: &[String]) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let numbered: Vec<String> = (0..)
        .zip(batches)
        .map(|(number, batch): (u32, &String)| {
            format!("select *, {number} as __tidemill_batch from ({batch}) as batch_{number}")
        })
        .collect();
    let keys: Vec<String> = key.iter().map(quoted).collect();
    let each = |form: &dyn Fn(&String) -> String, between: &str| {
        keys.iter().map(form).collect::<Vec<_>>().join(between)
    };
    format!(
        "with batches as (\n{batches}\n), latest as (\n\
         select {keys}, max(__tidemill_batch) as __tidemill_batch from batches \
         where {known} group by {keys}\n)\n\
         select {columns} from batches left anti join latest on {same} \
         and batches.__tidemill_batch < latest.__tidemill_batch",
        batches = numbered.join("\nunion all\n"),
        keys = keys.join(", "),
        known = each(&|name: &String| format!("{name} is not null"), " and "),
        same = each(&|name: &String| format!("batches.{name} = latest.{name}"), " and "),
        columns = columns
            .iter()
            .map(|name| format!("batches.{}", quoted(name)))
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// Stages the rows of all batches that worked out.
#[expect(clippy::too_many_arguments, reason = "everything that one build is made of")]
async fn together(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    micro: &MicrobatchConfig,
    context: &QueryContext,
    incremental: bool,
    done: &[Done],
    decision: Decision,
) -> Result<Built> {
    let snapshot = &context.snapshot;
    let published = snapshot.get(&node.relation);
    let mut overlay = context.overlay.clone();
    let mut parts = Vec::new();
    for one in done {
        match &one.staged {
            None => parts.push(one.sql.clone()),
            Some(staged) => {
                let entry = OverlayEntry::Staged(staged.clone());
                overlay = overlay.with(staged.relation.clone(), entry);
                parts.push(format!("select * from {}", staged.relation.quoted()));
            }
        }
    }
    let over = QueryContext { overlay, ..context.clone() };
    let spans = done.iter().map(|done| (done.batch.from, done.batch.to)).collect();
    let increment = config.of_batches(&micro.event_time, spans)?;
    let sql = match &increment {
        Increment::Merge { key, .. } if parts.len() > 1 => {
            let first = shared.doers.engine.describe(&parts[0], &over).await?.schema;
            let columns: Vec<String> =
                first.fields().iter().map(|field| field.name().clone()).collect();
            let key: Vec<String> = key.iter().map(|name| spelling(name, &columns)).collect();
            latest_of_each_key(&parts, &columns, &key)
        }
        _ => parts.join("\nunion all\n"),
    };
    let description = shared.doers.engine.describe(&sql, &over).await?;
    let newest = done.last().map(|done| done.batch).unwrap_or(Batch { from: 0, to: 0 });
    let staged = match published.filter(|_| incremental) {
        Some(published) => {
            let rendered = Rendered {
                sql,
                fingerprint: Default::default(),
                volatile: Vec::new(),
                asked_lake: false,
                again: None,
            };
            stage_increment(
                shared,
                node,
                config,
                &increment,
                &rendered,
                &description,
                published,
                &over,
            )
            .await?
        }
        None => {
            let rows = shared.doers.engine.query(&sql, &over).await?;
            shared.stage(node, WriteMode::Replace, &config.partition_by, rows, snapshot).await?
        }
    };
    let staged = Arc::new(staged);
    let rules = done.first().map(|done| done.rules.as_slice()).unwrap_or_default();
    if let Err(error) = shared.keep_to(node, rules, Some(&staged), context).await {
        if let Err(error) = shared.doers.store.discard(&staged).await {
            tracing::warn!(relation = %node.relation, error = %error, "discard failed");
        }
        return Err(error);
    }
    // What the newest batch renders to next time, now that the table is there.
    let entry = OverlayEntry::Staged(staged.clone());
    let next = QueryContext {
        overlay: context.overlay.with(node.relation.clone(), entry),
        ..context.clone()
    };
    let fingerprint =
        shared.render(&node.id, &request(&next, true, newest)).map(|next| next.fingerprint);
    let mut reads: Vec<RelationName> = Vec::new();
    let mut record = Record {
        format: Record::FORMAT,
        fingerprint: fingerprint.unwrap_or_default(),
        ..Record::default()
    };
    for one in done {
        for relation in &one.reads {
            if !reads.contains(relation) {
                reads.push(relation.clone());
            }
        }
        for function in &one.volatile {
            if !record.volatile.contains(function) {
                record.volatile.push(function.clone());
            }
        }
        if one.current_date {
            record.current_date = Some(shared.options.current_date.clone());
        }
    }
    record.inputs = input_versions(&reads, context, false);
    let built = finish(shared, staged, published, record, decision, reads).await;
    Ok(Built { rules: rules.to_vec(), ..built })
}
