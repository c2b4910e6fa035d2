//! `tidemill compile`: the SQL of models, without running it.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use tidemill_core::{At, QueryContext, UniqueId};
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
        let request = RenderRequest {
            incremental: false,
            full_refresh: args.full_refresh,
            context,
            batch: None,
            statements: None,
        };
        let state = renderer.state(&request);
        let (project, text) = (session.project.clone(), text.clone());
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        session.output.data(rendered.sql.trim());
        return Ok(0);
    }
    let selected = session.select(&args.selection)?;
    let done = all(session, &renderer, &context, &selected, args.full_refresh).await?;
    let (compiled, failed) = (done.compiled, done.failed);
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

/// What [`all`] has done.
pub(crate) struct Compiled {
    /// The nodes that were rendered.
    pub(crate) compiled: Vec<UniqueId>,
    /// How many could not be; each was told.
    pub(crate) failed: usize,
}

/// Renders every model, snapshot, analysis and test that is selected; the renderer keeps their SQL.
pub(crate) async fn all(
    session: &Session,
    renderer: &Arc<ProjectRenderer>,
    context: &QueryContext,
    selected: &BTreeSet<UniqueId>,
    full_refresh: bool,
) -> Result<Compiled> {
    let manifest = session.manifest();
    let mut done = Compiled { compiled: Vec::new(), failed: 0 };
    for id in manifest.topological() {
        let Some(node) = manifest.node(&id).filter(|_| selected.contains(&id)) else { continue };
        let request = RenderRequest {
            statements: None,
            incremental: node.config.materialized.as_str() == "incremental"
                && !full_refresh
                && context.snapshot.get(&node.relation()).is_some(),
            full_refresh,
            context: context.clone(),
            batch: None,
        };
        let worker = renderer.clone();
        let (kind, id) = (node.resource_type, node.unique_id.clone());
        let result = tokio::task::spawn_blocking(move || match kind {
            ResourceType::Model | ResourceType::Analysis | ResourceType::Snapshot => {
                worker.render(&id, &request).map(drop)
            }
            ResourceType::UnitTest => worker.unit_test(&id, &request).map(drop),
            ResourceType::Test => worker.check(&id, &request).map(drop),
            _ => Ok(()),
        })
        .await?;
        match result {
            Ok(()) => done.compiled.push(node.unique_id.clone()),
            Err(error) => {
                done.failed += 1;
                session.output.err(format!("error: {}: {}", node.name, error.report()));
            }
        }
    }
    Ok(done)
}
