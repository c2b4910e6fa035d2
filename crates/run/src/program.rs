//! Models that are programs (Python): their code runs outside, and what it gives is written like the
//! rows of a query.
//!
//! Rows that become the whole table go straight into it. Where they meet what is there (an
//! increment) or a contract, they are staged first under a name that nobody sees, and a query over
//! that is written.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::arrow_schema::Schema;
use tidemill_core::{
    BatchStream, Description, Error, ErrorKind, OverlayEntry, QueryContext, RelationName, Result,
    Staged, WriteMode,
};
use tidemill_plan::{
    Decision, Fingerprint, Increment, MaterializationConfig, Record, WorkNode, WritePlan,
};

use crate::executor::{Shared, in_place};
use crate::model::{Built, Query, finish, input_versions, next_fingerprint, under_contract, write};
use crate::{Contracted, ProgramOutput, RenderRequest, Rendered, StatementSession};

/// Runs the program of a model and stages what it gives.
pub(crate) async fn build(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    plan: WritePlan,
    rendered: Rendered,
    decision: Decision,
    statements: &Arc<StatementSession>,
) -> Result<Built> {
    if let WritePlan::Increment(Increment::Macro { name }) = &plan {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "an incremental strategy that is a macro cannot be used by a Python model",
        )
        .with("strategy", name));
    }
    let context = statements.context();
    let program = shared.doers.programs.run(&node.id, &rendered.sql, &context).await?;
    let asked = program.asked;
    match program.output {
        ProgramOutput::Query(sql) => {
            let rendered = Rendered { sql, ..rendered };
            let description = shared.doers.engine.describe(&rendered.sql, &context).await?;
            shared.refuse_unbuilt(node, &description)?;
            let (rendered, description, rules) =
                under_contract(shared, node, rendered, description, &context).await?;
            let description = with_asked(shared, node, description, &asked)?;
            let query = Query { rendered, description, rules, context };
            write(shared, node, config, plan, query, decision, statements).await
        }
        ProgramOutput::Rows(rows) => {
            let hidden = hidden(node);
            let sql = format!("select * from {}", hidden.quoted());
            let contract = contract(shared, node, &sql, &rows.schema, &context)?;
            if plan == WritePlan::Replace && contract.is_none() {
                return replace(shared, node, config, rows, rendered, decision, &context, &asked)
                    .await;
            }
            let place = WorkNode { relation: hidden, comments: Vec::new(), ..node.clone() };
            let staged =
                shared.stage(&place, WriteMode::Replace, &[], rows, &context.snapshot).await?;
            let staged = Arc::new(staged);
            let written = async {
                let entry = OverlayEntry::Staged(staged.clone());
                let overlay = context.overlay.with(staged.relation.clone(), entry);
                let context = QueryContext { overlay, ..context.clone() };
                let (sql, rules) = match contract {
                    Some(contract) => (contract.sql, contract.constraints),
                    None => (sql, Vec::new()),
                };
                let description = shared.doers.engine.describe(&sql, &context).await?;
                let mut description = with_asked(shared, node, description, &asked)?;
                description.relations.retain(|name| *name != staged.relation);
                let rendered = Rendered { sql, ..rendered };
                let query = Query { rendered, description, rules, context };
                write(shared, node, config, plan, query, decision, statements).await
            }
            .await;
            discard(shared, &staged).await;
            written
        }
    }
}

/// Where rows stand that are not the table's yet.
fn hidden(node: &WorkNode) -> RelationName {
    RelationName::new(node.relation.schema(), format!("{}__python_rows", node.relation.name()))
}

fn contract(
    shared: &Shared,
    node: &WorkNode,
    sql: &str,
    schema: &Schema,
    context: &QueryContext,
) -> Result<Option<Contracted>> {
    let request = RenderRequest {
        incremental: false,
        full_refresh: false,
        context: context.clone(),
        batch: None,
        statements: None,
    };
    in_place(|| shared.doers.renderer.contract(&node.id, sql, schema, &request))
}

/// The rows become the whole table while the program gives them.
#[expect(clippy::too_many_arguments, reason = "everything that one build is made of")]
async fn replace(
    shared: &Shared,
    node: &WorkNode,
    config: &MaterializationConfig,
    rows: BatchStream,
    rendered: Rendered,
    decision: Decision,
    context: &QueryContext,
    asked: &Mutex<Vec<Description>>,
) -> Result<Built> {
    let nothing = Description {
        schema: rows.schema.clone(),
        relations: Vec::new(),
        direct_relations: Vec::new(),
        volatile_functions: Vec::new(),
        current_date: false,
        repeatable: false,
    };
    let snapshot = &context.snapshot;
    let staged =
        shared.stage(node, WriteMode::Replace, &config.partition_by, rows, snapshot).await?;
    let staged = Arc::new(staged);
    // Everything that it asks has been asked only now.
    let description = match with_asked(shared, node, nothing, asked) {
        Ok(description) => description,
        Err(error) => {
            discard(shared, &staged).await;
            return Err(error);
        }
    };
    let reads: Vec<RelationName> =
        description.relations.iter().filter(|name| **name != node.relation).cloned().collect();
    let fingerprint: Fingerprint = match config.keeps_history() {
        true => next_fingerprint(shared, node, config, context, &staged),
        false => rendered.fingerprint.clone(),
    };
    let record = Record {
        format: Record::FORMAT,
        fingerprint,
        inputs: input_versions(&reads, context, false),
        volatile: description.volatile_functions.into_iter().chain(rendered.volatile).collect(),
        current_date: description.current_date.then(|| shared.options.current_date.clone()),
        ..Record::default()
    };
    let published = snapshot.get(&node.relation);
    Ok(finish(shared, staged, published, record, decision, reads).await)
}

async fn discard(shared: &Shared, staged: &Staged) {
    if let Err(error) = shared.doers.store.discard(staged).await {
        tracing::warn!(relation = %staged.relation, error = %error, "discard failed");
    }
}

/// The description with what the program has asked besides.
pub(crate) fn with_asked(
    shared: &Shared,
    node: &WorkNode,
    mut description: Description,
    asked: &Mutex<Vec<Description>>,
) -> Result<Description> {
    let asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
    let mut known: BTreeSet<RelationName> = description.relations.iter().cloned().collect();
    for query in asked {
        shared.refuse_unbuilt(node, &query)?;
        for relation in query.relations {
            if known.insert(relation.clone()) {
                description.relations.push(relation);
            }
        }
        for function in query.volatile_functions {
            if !description.volatile_functions.contains(&function) {
                description.volatile_functions.push(function);
            }
        }
        description.current_date |= query.current_date;
    }
    Ok(description)
}
