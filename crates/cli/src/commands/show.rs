//! `tidemill show`: the first rows of a model's query, or of one given inline.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, bail};
use tidemill_core::At;
use tidemill_project::ResourceType;
use tidemill_run::{RenderRequest, Renderer};

use crate::args::{Format, Show};
use crate::commands::sql::query;
use crate::renderer::ProjectRenderer;
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &Show) -> Result<i32> {
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let renderer = ProjectRenderer::new(session, stores.engine.clone(), session.target_path());
    let none = Default::default();
    let deferred = crate::defer::deferred(session, &snapshot, &none, &none)?;
    let renderer = Arc::new(renderer.deferring(deferred));
    let context = session.context(snapshot.clone());
    let request = RenderRequest {
        incremental: false,
        full_refresh: false,
        context: context.clone(),
        batch: None,
        statements: None,
    };
    let mut queries: Vec<(String, String)> = Vec::new();
    if let Some(text) = &args.inline {
        let state = renderer.state(&request);
        let (project, text) = (session.project.clone(), text.clone());
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        queries.push(("inline".to_owned(), rendered.sql));
    } else {
        let asked = &args.selection;
        if asked.select.is_empty() && asked.models.is_empty() && asked.selector.is_none() {
            bail!("name a model with --select, or give a query with --inline");
        }
        for id in session.select(asked)? {
            let Some(node) = session.manifest().node(&id) else { continue };
            match node.resource_type {
                ResourceType::Model | ResourceType::Snapshot => {
                    let (worker, request) = (renderer.clone(), request.clone());
                    let rendered =
                        tokio::task::spawn_blocking(move || worker.render(&id, &request)).await??;
                    queries.push((node.name.clone(), rendered.sql));
                }
                ResourceType::Seed => {
                    let sql = format!("select * from {}", node.relation().quoted());
                    queries.push((node.name.clone(), sql));
                }
                _ => {}
            }
        }
        if queries.is_empty() {
            bail!("the selection names no model, seed or snapshot");
        }
    }
    let format = args.output.or(session.global.format).unwrap_or(Format::Text);
    for (name, sql) in queries {
        if format == Format::Text {
            session.output.say(format!("{name}:"));
        }
        let sql = match u64::try_from(args.limit) {
            Ok(limit) => format!(
                "select * from (\n{}\n) as shown limit {limit}",
                sql.trim().trim_end_matches(';')
            ),
            Err(_) => sql,
        };
        let mut out = std::io::BufWriter::new(std::io::stdout());
        query(&stores, &sql, &context, format, &mut out).await?;
        out.flush()?;
    }
    Ok(0)
}
