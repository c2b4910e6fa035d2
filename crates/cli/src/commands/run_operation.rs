//! `tidemill run-operation`: calls a macro, whose statements may write.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tidemill_core::{NodeOutcome, NodeStatus, UniqueId};
use tidemill_run::RunSummary;

use crate::args::RunOperation;
use crate::artifacts;
use crate::failure;
use crate::renderer::ProjectRenderer;
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &RunOperation) -> Result<i32> {
    let arguments = arguments(args.args.as_deref())?;
    let found = args.macro_name.as_ref().map(|name| session.project.macro_id(name)).transpose()?;
    let folder = session.target_path();
    let began = Instant::now();
    let outcome = match (crate::database::of(session)?, &args.sql) {
        (Some(database), Some(sql)) => {
            crate::database::operation_sql(session, database, sql).await?
        }
        (Some(database), None) => {
            crate::database::operation(session, database, args, &arguments).await?
        }
        (None, _) => on_the_lake(session, args, &arguments).await?,
    };

    // dbt's name of an operation without a macro.
    let id = found.unwrap_or_else(|| {
        UniqueId::new(format!("sql_operation.{}.inline_query", session.manifest().settings.name))
    });
    let summary = RunSummary {
        nodes: vec![NodeOutcome {
            name: id.as_str().rsplit('.').next().unwrap_or_default().to_owned(),
            node: id,
            kind: "operation".to_owned(),
            status: if outcome.is_ok() { NodeStatus::Ok } else { NodeStatus::Error },
            elapsed: began.elapsed(),
            rows: None,
            version: None,
            batches: None,
            message: outcome.as_ref().err().map(tidemill_core::Error::report),
        }],
        elapsed: began.elapsed(),
        ..RunSummary::default()
    };
    if session.global.flags.on("write_json") {
        let own = json!({
            "which": "run-operation", "macro": args.macro_name, "args": arguments, "sql": args.sql,
        });
        let results = artifacts::run_results(
            session.manifest(),
            &summary,
            &[],
            &Default::default(),
            &session.arguments(&own),
            &session.run.to_string(),
            &artifacts::timestamp(session.started),
        );
        artifacts::write(&folder, "run_results.json", &results)?;
        session.write_manifest(&folder, Default::default())?;
    }
    // As in dbt, an operation that fails is a failure, whatever the reason.
    match outcome {
        Ok(_) => Ok(0),
        Err(error) => {
            session.output.err(failure::text(&error.into()));
            Ok(1)
        }
    }
}

async fn on_the_lake(
    session: &Session,
    args: &RunOperation,
    arguments: &Map<String, Value>,
) -> Result<tidemill_core::Result<()>> {
    let stores = session.stores().await?;
    let folder = session.target_path();
    let renderer =
        Arc::new(ProjectRenderer::new(session, stores.engine.clone(), folder).read_only());
    let (statements, request) = session.writing(&stores).await?;
    if let Some(text) = &args.sql {
        let (project, text) = (session.project.clone(), text.clone());
        let state = renderer.state(&request);
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        renderer.tell("the statements", &rendered);
        let sql = rendered.translated.as_deref().unwrap_or(&rendered.sql);
        let outcome = statements.run(sql).await;
        statements.close().await;
        return Ok(outcome);
    }
    let (name, given) = (args.macro_name.clone().unwrap_or_default(), arguments.clone());
    let outcome =
        tokio::task::spawn_blocking(move || renderer.run_macro(&name, &given, &request)).await?;
    statements.close().await;
    Ok(outcome)
}

/// The macro's arguments, as YAML or JSON.
fn arguments(text: Option<&str>) -> Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    tidemill_project::parse_vars(text)
        .context("--args takes the macro's arguments as YAML or JSON: '{name: value}'")
}
