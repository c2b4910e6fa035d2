//! `tidemill compile`: the SQL of models, without running it.

use std::sync::Arc;

use anyhow::Result;
use tidemill_core::At;
use tidemill_project::ResourceType;
use tidemill_run::{RenderRequest, Renderer};

use crate::args::Compile;
use crate::output::plural;
use crate::renderer::ProjectRenderer;
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &Compile) -> Result<i32> {
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let folder = session.target_path();
    let renderer = Arc::new(ProjectRenderer::new(session, stores.engine.clone(), folder.clone()));
    let context = session.context(snapshot.clone());
    if let Some(text) = &args.inline {
        let request =
            RenderRequest { incremental: false, full_refresh: args.full_refresh, context };
        let state = renderer.state(&request);
        let (project, text) = (session.project.clone(), text.clone());
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        session.output.data(rendered.sql.trim());
        return Ok(0);
    }
    let selected = session.select(&args.selection)?;
    let manifest = session.manifest();
    let mut failed = 0;
    let mut compiled = Vec::new();
    for id in manifest.topological() {
        let Some(node) = manifest.node(&id).filter(|_| selected.contains(&id)) else { continue };
        let request = RenderRequest {
            incremental: node.config.materialized.as_str() == "incremental"
                && !args.full_refresh
                && snapshot.get(&node.relation()).is_some(),
            full_refresh: args.full_refresh,
            context: context.clone(),
        };
        let worker = renderer.clone();
        let (kind, id) = (node.resource_type, node.unique_id.clone());
        let result = tokio::task::spawn_blocking(move || match kind {
            ResourceType::Model | ResourceType::Analysis => worker.render(&id, &request).map(drop),
            ResourceType::Test => worker.check(&id, &request).map(drop),
            _ => Ok(()),
        })
        .await?;
        match result {
            Ok(()) => compiled.push(node.unique_id.clone()),
            Err(error) => {
                failed += 1;
                session.output.err(format!("error: {}: {}", node.name, error.report()));
            }
        }
    }
    let texts = renderer.compiled();
    // As in dbt, the SQL of one model is printed.
    if let [only] = compiled.as_slice()
        && let Some(text) = texts.get(only)
    {
        session.output.data(text.trim());
    }
    session.write_manifest(&folder, texts.clone())?;
    session.output.say(format!(
        "compiled {} to {}",
        plural(texts.len() as u64, "node", "nodes"),
        folder.join("compiled").display()
    ));
    Ok(i32::from(failed > 0))
}
