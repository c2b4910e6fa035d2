//! Keeping a snapshot: what has changed since the last run ends or is added, as one stage.

use tidemill_core::{
    Description, Error, ErrorKind, PublishedRelation, QueryContext, RelationKind, Result, Staged,
    WriteMode,
};
use tidemill_plan::{SnapshotConfig, WorkNode, change_query, first_query};

use crate::executor::{Shared, in_place};
use crate::{RenderRequest, Rendered};

/// Stages the first state of a snapshot, or what a further run changes of it.
#[expect(clippy::too_many_arguments, reason = "everything that one snapshot is made of")]
pub(crate) async fn stage(
    shared: &Shared,
    node: &WorkNode,
    config: &SnapshotConfig,
    strategy: Option<&str>,
    rendered: &Rendered,
    description: &Description,
    published: Option<&PublishedRelation>,
    context: &QueryContext,
) -> Result<Staged> {
    let engine = &shared.doers.engine;
    let base = &context.snapshot;
    let said = match strategy {
        None => None,
        Some(strategy) => {
            let request = RenderRequest {
                incremental: false,
                full_refresh: false,
                context: context.clone(),
                batch: None,
                statements: None,
            };
            let exists = published.is_some();
            Some(in_place(|| {
                let renderer = &shared.doers.renderer;
                renderer.snapshot_strategy(&node.id, strategy, &rendered.sql, exists, &request)
            })?)
        }
    };
    let config = said.as_ref().unwrap_or(config);
    let Some(published) = published else {
        let sql = first_query(config, &rendered.sql, &description.schema)?;
        let rows = engine.query(&sql, context).await?;
        return shared.stage(node, WriteMode::Replace, &[], rows, base).await;
    };
    if !matches!(published.kind, RelationKind::Table { .. }) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("the snapshot is kept in {}, which is a view", node.relation),
        )
        .with("hint", "give the snapshot another `alias` or `schema`, or drop the view"));
    }
    let query = change_query(
        config,
        &rendered.sql,
        &description.schema,
        &published.schema,
        &node.relation.quoted(),
    )?;
    let mode = WriteMode::History { key: query.key, until: config.columns.valid_to.clone() };
    let rows = engine.query(&query.sql, context).await?;
    shared.stage(node, mode, &[], rows, base).await
}
