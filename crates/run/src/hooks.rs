//! Hooks of a node: before it is built, on what is staged, and once it is published.
//!
//! A hook inside of the node's transaction (dbt's default) sees and changes the staged state, so
//! that checks see what it made and nothing is visible when one of them fails. What it writes
//! elsewhere is published at once. Grants and descriptions of the node itself wait for its publish.

use std::sync::Arc;

use tidemill_core::{OverlayEntry, Result};
use tidemill_plan::WorkNode;

use crate::executor::Shared;
use crate::model::Built;
use crate::unit::Product;
use crate::{HookTime, RenderRequest, StatementSession};

impl Shared {
    /// Renders and performs the hooks of a node for this time.
    pub(crate) fn run_hooks(
        &self,
        node: &WorkNode,
        time: HookTime,
        statements: &Arc<StatementSession>,
    ) -> Result<()> {
        let wanted = match time {
            HookTime::Before => node.hooks.before,
            HookTime::After => node.hooks.after,
            HookTime::AfterPublish => node.hooks.after_publish,
        };
        if !wanted {
            return Ok(());
        }
        let request = RenderRequest {
            incremental: false,
            full_refresh: node.full_refresh.unwrap_or(self.options.full_refresh),
            context: statements.context(),
            batch: None,
            statements: Some(statements.clone()),
        };
        self.doers.renderer.hooks(&node.id, time, &request)
    }
}

/// The hooks that work on what is staged. The product is then what they made of it, which keeps to
/// the constraints of its contract like what they began with.
pub(crate) async fn after(
    shared: &Shared,
    node: &WorkNode,
    built: &mut Built,
    statements: &Arc<StatementSession>,
) -> Result<()> {
    if !node.hooks.after {
        return Ok(());
    }
    let Built { product, rules, .. } = built;
    match product {
        Product::Table { staged, .. } => {
            statements.hold(&node.relation, OverlayEntry::Staged(staged.clone()));
        }
        Product::View { sql, .. } => {
            statements.hold(&node.relation, OverlayEntry::View(sql.clone()));
        }
        Product::Same { .. } => {}
    }
    let mut outcome = shared.run_hooks(node, HookTime::After, statements);
    // The session discards what it replaces: the last of it is the product now.
    if let (Some(OverlayEntry::Staged(made)), Product::Table { staged, .. }) =
        (statements.release(), &mut *product)
    {
        let changed = !Arc::ptr_eq(staged, &made);
        *staged = made;
        if outcome.is_ok() && changed {
            let context = statements.context();
            outcome = shared.keep_to(node, rules, Some(staged), &context).await;
        }
    }
    if outcome.is_err() {
        product.discard(&*shared.doers.store).await;
    }
    outcome
}

/// What has to wait until a node is published; the end of its session.
pub(crate) async fn after_publish(shared: &Shared, node: &WorkNode) -> Result<()> {
    let Some(statements) = shared.take_session(&node.id) else { return Ok(()) };
    statements.renew(shared.snapshot(), shared.cancel.clone());
    let outcome = async {
        statements.perform_later().await?;
        shared.run_hooks(node, HookTime::AfterPublish, &statements)
    }
    .await;
    statements.close().await;
    outcome
}
