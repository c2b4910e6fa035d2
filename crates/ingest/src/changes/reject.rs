//! Sets changes aside that cannot be applied to their table.

use futures::StreamExt;
use serde_json::json;
use tidemill_core::{
    Position, PublishChange, PublishMeta, Result, StageRequest, Staged, TableStore, WriteMode,
};

use super::{NUMBER, State, changes_relation, fresh};
use crate::load::LoadSpec;
use crate::rejects::{self, Tally, rejected_relation};
use crate::staging::Staging;

/// Changes that are set aside. Nothing of it is visible yet.
#[derive(Debug)]
pub struct Refused {
    /// The rejected rows.
    pub staged: Staged,
    /// The position of the table that leaves the changes behind.
    pub position: Position,
    /// The view of the table and its changes, which leaves them out from now on.
    pub view: Option<PublishChange>,
    /// How many changes these are.
    pub rows: u64,
}

/// Stages the changes that are not applied to the table yet as rejected rows, with this reason; they stay in
/// the table of changes. `None`: all are applied.
///
/// # Errors
/// Of the store. After an error nothing is staged.
pub async fn reject(
    spec: &LoadSpec,
    reason: &str,
    meta: PublishMeta,
    store: &dyn TableStore,
) -> Result<Option<Refused>> {
    let State::Follows { log, applied } = State::of(&spec.base, &spec.relation)? else {
        return Ok(None);
    };
    let changes = changes_relation(&spec.relation);
    let Some(found) = spec.base.get(&changes).filter(|_| log.last > applied) else {
        return Ok(None);
    };
    let mut rows = store.rows_after(&changes, &spec.base, NUMBER, applied).await?;
    let mut stage = Staging::begin(store, rejects::schema(), |rows| StageRequest {
        relation: rejected_relation(&spec.relation),
        mode: WriteMode::Append,
        partition_by: None,
        rows,
        base: spec.base.clone(),
        comments: Vec::new(),
        observers: Vec::new(),
        run: spec.run.clone(),
    });
    let mut tally = Tally::default();
    let from = changes.name().to_owned();
    let mut sent = async || {
        while let Some(batch) = rows.batches.next().await {
            spec.cancel.check()?;
            let rejected = rejects::of_batch(&batch?, reason, (&from, tally.rejected))?;
            stage.send(Ok(tally.note(&rejected, &spec.run)?)).await?;
        }
        Ok(())
    };
    if let Err(error) = sent().await {
        stage.abandon(store).await;
        return Err(error);
    }
    Ok(Some(Refused {
        staged: stage.finish().await?,
        position: Position(json!({"changes_applied": log.last})),
        view: fresh::change(spec, &found.schema, log.last, meta),
        rows: tally.rejected,
    }))
}
