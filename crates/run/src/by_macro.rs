//! Models that a macro of the project writes: materializations in Jinja, and incremental strategies.
//!
//! Their statements are performed as they come, except for those that write to the model's own
//! relation: these are kept back, so that its checks see it and it is published like any other. A
//! materialization that renames other relations to it publishes it by that, as in dbt.

use std::sync::Arc;

use tidemill_core::arrow_schema::Schema;
use tidemill_core::{Description, OverlayEntry, QueryContext, RelationName, Result};
use tidemill_plan::{Decision, Fingerprint, Record, WorkNode};

use crate::executor::Shared;
use crate::model::{Built, input_versions, under_contract};
use crate::unit::Product;
use crate::{RenderRequest, Rendered, Rule, StatementSession};

/// Calls the macro of a node's materialization.
pub(crate) async fn materialize(
    shared: &Shared,
    node: &WorkNode,
    full_refresh: bool,
    rendered: &Rendered,
    decision: Decision,
    statements: &Arc<StatementSession>,
) -> Result<Built> {
    let context = statements.context();
    let (rendered, description, rules) = contracted(shared, node, rendered, &context).await?;
    let reads: Vec<RelationName> = description
        .iter()
        .flat_map(|description| &description.relations)
        .filter(|name| **name != node.relation)
        .cloned()
        .collect();
    let record = Record {
        format: Record::FORMAT,
        fingerprint: rendered.fingerprint.clone(),
        inputs: input_versions(&reads, &context, false),
        volatile: match &description {
            Some(description) => description.volatile_functions.clone(),
            None => vec!["what its materialization reads".to_owned()],
        },
        ..Record::default()
    };
    statements.keep_back(&node.relation);
    let request = RenderRequest {
        incremental: false,
        full_refresh,
        context,
        batch: None,
        statements: Some(statements.clone()),
    };
    let made = shared.doers.renderer.materialize(&node.id, &rendered.sql, &request);
    let product = product(shared, node, record, statements).await;
    if let Err(error) = made {
        product?.discard(&*shared.doers.store).await;
        return Err(error);
    }
    let product = kept_to(shared, node, product?, &rules, statements).await?;
    Ok(Built { product, decision, rows: None, reads, batches: None, rules })
}

/// The query, as the contract of the node wants it. What a materialization is written for need not
/// be a query, but under a contract it has to be one.
async fn contracted(
    shared: &Shared,
    node: &WorkNode,
    rendered: &Rendered,
    context: &QueryContext,
) -> Result<(Rendered, Option<Description>, Vec<Rule>)> {
    let error = match shared.doers.engine.describe(&rendered.sql, context).await {
        Ok(description) => {
            let rendered = rendered.clone();
            let found = under_contract(shared, node, rendered, description, context).await?;
            return Ok((found.0, Some(found.1), found.2));
        }
        Err(error) => error,
    };
    let request = RenderRequest {
        incremental: false,
        full_refresh: false,
        context: context.clone(),
        batch: None,
        statements: None,
    };
    let nothing = Schema::empty();
    match shared.doers.renderer.contract(&node.id, &rendered.sql, &nothing, &request) {
        Ok(None) => Ok((rendered.clone(), None, Vec::new())),
        _ => Err(error),
    }
}

/// Measures the constraints on what a macro made. A relation that it renamed to the node's is
/// published already; then the node fails all the same.
async fn kept_to(
    shared: &Shared,
    node: &WorkNode,
    product: Product,
    rules: &[Rule],
    statements: &StatementSession,
) -> Result<Product> {
    let context = statements.context();
    let kept = match &product {
        Product::Table { staged, .. } => shared.keep_to(node, rules, Some(staged), &context).await,
        Product::Same { record: Some(_), .. } => {
            shared.keep_to(node, rules, None, &context).await.map_err(|error| {
                error.with(
                    "hint",
                    "the materialization has published these rows by itself; one that writes to \
                     `this` is held back until they are checked",
                )
            })
        }
        _ => Ok(()),
    };
    if let Err(error) = kept {
        product.discard(&*shared.doers.store).await;
        return Err(error);
    }
    Ok(product)
}

/// Hands the new rows to the macro of a strategy.
pub(crate) async fn increment(
    shared: &Shared,
    node: &WorkNode,
    strategy: &str,
    rendered: &Rendered,
    record: impl Fn(Fingerprint) -> Record,
    rules: &[Rule],
    statements: &Arc<StatementSession>,
) -> Result<Product> {
    let relation = &node.relation;
    let rows = RelationName::new(relation.schema(), format!("{}__dbt_tmp", relation.name()));
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let create = format!(
        "create or replace temporary table {}.{} as {}",
        quoted(rows.schema()),
        quoted(rows.name()),
        rendered.sql
    );
    statements.run(&create).await?;
    let request = RenderRequest {
        incremental: true,
        full_refresh: false,
        context: statements.context(),
        batch: None,
        statements: Some(statements.clone()),
    };
    let sql = shared.doers.renderer.increment(&node.id, strategy, &rows, &request)?;
    statements.keep_back(relation);
    let done = statements.run(&sql).await;
    let product = product(shared, node, record(rendered.fingerprint.clone()), statements).await;
    if let Err(error) = done {
        product?.discard(&*shared.doers.store).await;
        return Err(error);
    }
    kept_to(shared, node, product?, rules, statements).await
}

/// What the statements made of the node's own relation.
async fn product(
    shared: &Shared,
    node: &WorkNode,
    record: Record,
    statements: &StatementSession,
) -> Result<Product> {
    Ok(match statements.release() {
        Some(OverlayEntry::Staged(staged)) => {
            Product::Table { staged, extra: Vec::new(), views: Vec::new(), position: None, record }
        }
        Some(OverlayEntry::View(sql)) => {
            let schema = shared.doers.engine.describe(&sql, &statements.context()).await?.schema;
            Product::View { sql, schema, record }
        }
        _ => {
            // It made its relation by itself, or another one.
            let there = statements.context().snapshot.get(&node.relation).is_some();
            Product::Same { record: there.then_some(record), unchanged: false, position: None }
        }
    })
}
