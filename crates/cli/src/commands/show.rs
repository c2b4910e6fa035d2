//! `tidemill show`: the first rows of a model's query, or of one given inline.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, bail};
use futures::StreamExt;
use tidemill_core::{At, BatchStream, UniqueId};
use tidemill_project::ResourceType;
use tidemill_run::{ProgramOutput, Programs, RenderRequest, Renderer};

use crate::args::{Format, Show};
use crate::commands::sql::{query, write_rows};
use crate::programs::PythonPrograms;
use crate::renderer::ProjectRenderer;
use crate::session::Session;

pub(crate) async fn run(session: &Session, args: &Show) -> Result<i32> {
    if let Some(database) = crate::database::of(session)? {
        return crate::database::show(session, database, args).await;
    }
    let introspect = args.introspection.resolve()?;
    let stores = session.stores().await?;
    let snapshot = stores.snapshot(At::Now).await?;
    let renderer = ProjectRenderer::new(session, stores.engine.clone(), session.target_path());
    let none = Default::default();
    let deferred =
        crate::defer::deferred(session, &none, &none, |own| snapshot.get(own).is_some())?;
    let renderer = Arc::new(renderer.deferring(deferred).introspecting(introspect));
    let context = session.context(snapshot.clone());
    let request = RenderRequest {
        incremental: false,
        full_refresh: args.full_refresh,
        context: context.clone(),
        batch: None,
        statements: None,
    };
    let mut queries: Vec<(String, Shown)> = Vec::new();
    if let Some(text) = &args.inline_direct {
        queries.push(("inline".to_owned(), Shown::Query(text.clone())));
    } else if let Some(text) = &args.inline {
        let state = renderer.state(&request);
        let (project, text) = (session.project.clone(), text.clone());
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        queries.push(("inline".to_owned(), Shown::Query(rendered.running().to_owned())));
    } else {
        let Some(selected) = selected(session, args)? else { return Ok(0) };
        for id in selected {
            let Some(node) = session.manifest().node(&id) else { continue };
            match node.resource_type {
                ResourceType::Test => {
                    let (worker, asked, request) = (renderer.clone(), id.clone(), request.clone());
                    tokio::task::spawn_blocking(move || worker.check(&asked, &request).map(drop))
                        .await??;
                    let sql = renderer.compiled().remove(&id);
                    queries.extend(sql.map(|sql| (node.name.clone(), Shown::Query(sql))));
                }
                ResourceType::Model | ResourceType::Snapshot | ResourceType::Analysis => {
                    let worker = renderer.clone();
                    // As in dbt: of an incremental model that is there, what it would add.
                    let incremental = node.config.materialized.as_str() == "incremental"
                        && !args.full_refresh
                        && context.snapshot.get(&node.relation()).is_some();
                    let request = RenderRequest { incremental, ..request.clone() };
                    let rendered =
                        tokio::task::spawn_blocking(move || worker.render(&id, &request)).await??;
                    let shown = match node.language {
                        "sql" => Shown::Query(rendered.sql),
                        _ => {
                            let programs = PythonPrograms::new(session, stores.engine.clone());
                            let run = programs.run(&node.unique_id, &rendered.sql, &context);
                            match run.await?.output {
                                ProgramOutput::Query(sql) => Shown::Query(sql),
                                ProgramOutput::Rows(rows) => Shown::Rows(rows),
                            }
                        }
                    };
                    queries.push((node.name.clone(), shown));
                }
                ResourceType::Seed => {
                    let sql = format!("select * from {}", node.relation().quoted());
                    queries.push((node.name.clone(), Shown::Query(sql)));
                }
                _ => {}
            }
        }
        if queries.is_empty() {
            bail!("the selection names no model, seed, snapshot, test or analysis");
        }
    }
    let format = args.output.or(session.global.format).unwrap_or(Format::Text);
    for (name, shown) in queries {
        if format == Format::Text {
            session.output.say(format!("{name}:"));
        }
        let limit = u64::try_from(args.limit).ok();
        let mut out = std::io::BufWriter::new(std::io::stdout());
        match shown {
            Shown::Query(sql) => {
                let sql = match limit {
                    Some(limit) => format!(
                        "select * from (\n{}\n) as shown limit {limit}",
                        sql.trim().trim_end_matches(';')
                    ),
                    None => sql,
                };
                query(&stores, &sql, &context, format, &mut out).await?;
            }
            Shown::Rows(rows) => {
                let rows = match limit {
                    Some(limit) => first(rows, limit),
                    None => rows,
                };
                write_rows(rows, &context.cancel, format, &mut out).await?;
            }
        }
        out.flush()?;
    }
    Ok(0)
}

/// The nodes that are to be shown; `None` when there are none, which is told.
pub(crate) fn selected(session: &Session, args: &Show) -> Result<Option<BTreeSet<UniqueId>>> {
    let asked = &args.selection;
    if asked.select.is_empty() && asked.models.is_empty() && asked.selector.is_none() {
        bail!("name a model with --select, or give a query with --inline");
    }
    let selected = session.select(asked)?;
    if selected.is_empty() {
        session.nothing_to_do()?;
        return Ok(None);
    }
    Ok(Some(selected))
}

/// What is shown of a node.
enum Shown {
    /// The rows of its query.
    Query(String),
    /// The rows that its program gives.
    Rows(BatchStream),
}

/// The first rows alone.
fn first(rows: BatchStream, limit: u64) -> BatchStream {
    let left = usize::try_from(limit).unwrap_or(usize::MAX);
    let state = (rows.batches, left);
    let batches = futures::stream::unfold(state, |(mut batches, left)| async move {
        if left == 0 {
            return None;
        }
        let batch = match batches.next().await? {
            Ok(batch) => batch,
            Err(error) => return Some((Err(error), (batches, 0))),
        };
        let batch = batch.slice(0, left.min(batch.num_rows()));
        let left = left - batch.num_rows();
        Some((Ok(batch), (batches, left)))
    });
    BatchStream::new(rows.schema, batches)
}
