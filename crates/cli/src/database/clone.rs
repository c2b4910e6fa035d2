//! `tidemill clone` in a database: views of the other environment's relations, as dbt-postgres makes
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use tidemill_core::{Database, DatabaseSession, NodeStatus, RelationName, UniqueId};
use tidemill_run::RunSummary;

use crate::artifacts;
use crate::commands::clone::tell_left_out;
use crate::commands::compile::outcome;
use crate::defer;
use crate::session::Session;

/// Makes a view for each selected node of the other environment that is not here; `full_refresh`
/// replaces what is here.
pub(crate) async fn clone(
    session: &Session,
    database: Arc<dyn Database>,
    selected: &BTreeSet<UniqueId>,
    full_refresh: bool,
) -> Result<i32> {
    let started = Instant::now();
    let state = defer::state(session)?;
    let manifest = session.manifest();
    let connection = database.session(&session.cancel).await?;
    let mut summary = RunSummary::default();
    let (mut there, mut unknown) = (0, 0);
    for node in manifest.nodes.values() {
        if !selected.contains(&node.unique_id) || !node.is_relational() {
            continue;
        }
        let Some(other) = defer::other_relation(manifest, &state, None, &node.unique_id)? else {
            unknown += 1;
            continue;
        };
        let own = node.relation();
        let existing = connection.relation(&own).await?;
        if other == own || (existing.is_some() && !full_refresh) {
            there += 1;
            continue;
        }
        let begun = Instant::now();
        let made = replace(&connection, &own, &other).await;
        if made.is_err() {
            connection.rollback().await?;
        }
        let message = made.as_ref().err().map(tidemill_core::Error::report);
        match &message {
            None => session.output.say(format!("  ok     {}  view of {other}", node.name)),
            Some(message) => session.output.err(format!("  error  {}  {message}", node.name)),
        }
        let status = if made.is_ok() { NodeStatus::Ok } else { NodeStatus::Error };
        summary.nodes.push(outcome(node, status, begun.elapsed(), message));
    }
    tell_left_out(session, there, unknown);
    summary.elapsed = started.elapsed();
    if session.global.flags.on("write_json") {
        let folder = session.target_path();
        let results = artifacts::run_results(
            manifest,
            &summary,
            &[],
            &Default::default(),
            &session.arguments(&json!({"which": "clone", "full_refresh": full_refresh})),
            &session.run.to_string(),
            &artifacts::timestamp(session.started),
        );
        artifacts::write(&folder, "run_results.json", &results)?;
        session.write_manifest(&folder, Default::default())?;
    }
    Ok(i32::from(summary.failed()))
}

/// Puts a view of another relation in the place of what has the name.
async fn replace(
    connection: &Arc<dyn DatabaseSession>,
    own: &RelationName,
    other: &RelationName,
) -> tidemill_core::Result<()> {
    use tidemill_core::DatabaseRelation::{MaterializedView, Table, View};
    let schema = own.schema().replace('"', "\"\"");
    connection.begin().await?;
    connection.run(&format!("create schema if not exists \"{schema}\"")).await?;
    if let Some(kind) = connection.relation(own).await? {
        let kind = match kind {
            Table => "table",
            View => "view",
            MaterializedView => "materialized view",
        };
        connection.run(&format!("drop {kind} {} cascade", own.quoted())).await?;
    }
    connection
        .run(&format!("create view {} as select * from {}", own.quoted(), other.quoted()))
        .await?;
    connection.commit().await
}
