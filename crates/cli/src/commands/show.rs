//! `tidemill show`: the first rows of a model's query, or of one given inline.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use futures::StreamExt;
use tidemill_core::{At, BatchStream, Engine, UniqueId};
use tidemill_project::ResourceType;
use tidemill_run::{ProgramOutput, Programs, RenderRequest, Renderer};

use crate::args::Show;
use crate::commands::preview::{self, Subject};
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
    let began = Instant::now();
    let mut queries: Vec<(Subject, Shown)> = Vec::new();
    let mut inline = None;
    if let Some(text) = &args.inline_direct {
        inline = Some(text.clone());
        queries.push((Subject::inline(session), Shown::Query(text.clone())));
    } else if let Some(text) = &args.inline {
        let state = renderer.state(&request);
        let (project, text) = (session.project.clone(), text.clone());
        let rendered =
            tokio::task::spawn_blocking(move || project.render_inline(&text, &state)).await??;
        queries.push((Subject::inline(session), Shown::Query(rendered.running().to_owned())));
        inline = Some(rendered.sql);
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
                    queries.extend(sql.map(|sql| (Subject::node(node), Shown::Query(sql))));
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
                    queries.push((Subject::node(node), shown));
                }
                ResourceType::Seed => {
                    let sql = format!("select * from {}", node.relation().quoted());
                    queries.push((Subject::node(node), Shown::Query(sql)));
                }
                _ => {}
            }
        }
        if queries.is_empty() {
            bail!("the selection names no model, seed, snapshot, test or analysis");
        }
    }
    let mut outcomes = Vec::new();
    for (subject, shown) in queries {
        let limit = u64::try_from(args.limit).ok();
        let rows = match shown {
            Shown::Query(sql) => {
                let sql = match limit {
                    Some(limit) => format!(
                        "select * from (\n{}\n) as shown limit {limit}",
                        sql.trim().trim_end_matches(';')
                    ),
                    None => sql,
                };
                stores.engine.query(&sql, &context).await?
            }
            Shown::Rows(rows) => match limit {
                Some(limit) => first(rows, limit),
                None => rows,
            },
        };
        preview::rows(session, args, &subject, rows, &context.cancel).await?;
        outcomes.push(subject.outcome(session, began.elapsed()));
    }
    let mut compiled = renderer.compiled();
    compiled.extend(inline.map(|sql| (Subject::inline(session).id, sql)));
    let arguments = preview::arguments_of_show(args);
    preview::write_results(session, outcomes, began.elapsed(), compiled, &arguments)?;
    Ok(0)
}

/// The nodes that are to be shown; `None` when there are none, which is told.
pub(crate) fn selected(session: &Session, args: &Show) -> Result<Option<Vec<UniqueId>>> {
    let asked = &args.selection;
    if asked.select.is_empty() && asked.models.is_empty() && asked.selector.is_none() {
        bail!("name a model with --select, or give a query with --inline");
    }
    let selected = session.select(asked)?;
    if selected.is_empty() {
        session.nothing_to_do()?;
        return Ok(None);
    }
    let is_shown = |id: &UniqueId| {
        let node = session.manifest().node(id);
        node.is_some_and(|node| preview::can_be_shown(node.resource_type))
    };
    let selected: Vec<UniqueId> = selected.into_iter().filter(is_shown).collect();
    Ok(Some(preview::named(session, asked, &selected).unwrap_or(selected)))
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
