//! Every model rendered and planned over empty tables, in the order of the graph.
//!
//! What is built is stood for by an empty relation of its columns. A source that has no table here
//! has unknown columns; so has everything that reads it. Of such a model the syntax and the functions
//! are looked at, which need no columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use tidemill_core::{
    Engine, Error, ErrorKind, Overlay, OverlayEntry, QueryContext, RelationName, Result, UniqueId,
};
use tidemill_engine::EmbeddedEngine;
use tidemill_project::{Hook, Node, ResourceType};
use tidemill_run::{RenderRequest, Renderer, split_statements};

use super::settings::place_of;
use super::{Level, Place, Report};
use crate::renderer::ProjectRenderer;
use crate::session::Session;

/// What was looked at, and how closely.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Nodes whose query was planned.
    pub(crate) planned: usize,
    /// Nodes of which only the syntax and functions were looked at.
    pub(crate) by_syntax: usize,
    /// Nodes whose template asks for data that is not here.
    pub(crate) not_judged: usize,
    /// Source tables without a table here.
    pub(crate) sources_missing: usize,
}

struct Surveyor<'s> {
    session: &'s Session,
    renderer: Arc<ProjectRenderer>,
    engine: Arc<EmbeddedEngine>,
    context: QueryContext,
    /// Nodes and sources whose columns are not known.
    unknown: BTreeSet<UniqueId>,
    overlay: BTreeMap<RelationName, OverlayEntry>,
    survey: Survey,
}

/// Looks at all that is enabled.
pub(crate) async fn survey(
    session: &Session,
    renderer: Arc<ProjectRenderer>,
    engine: Arc<EmbeddedEngine>,
    context: QueryContext,
    report: &mut Report,
) -> Result<Survey> {
    let mut surveyor = Surveyor {
        session,
        renderer,
        engine,
        context,
        unknown: BTreeSet::new(),
        overlay: BTreeMap::new(),
        survey: Survey::default(),
    };
    let manifest = session.manifest();
    for source in manifest.sources.values() {
        if surveyor.context.snapshot.get(&source.relation()).is_none() {
            surveyor.unknown.insert(source.unique_id.clone());
            surveyor.survey.sources_missing += 1;
        }
    }
    for id in manifest.topological() {
        let Some(node) = manifest.node(&id) else { continue };
        session.cancel.check()?;
        match node.resource_type {
            ResourceType::Model | ResourceType::Snapshot | ResourceType::Analysis => {
                surveyor.model(node, report).await?;
            }
            ResourceType::Seed if surveyor.context.snapshot.get(&node.relation()).is_none() => {
                surveyor.unknown.insert(id.clone());
            }
            ResourceType::Test => surveyor.test(node, report).await?,
            _ => {}
        }
        surveyor.hooks_of(node, report).await;
    }
    surveyor.hooks_of_runs(report).await;
    Ok(surveyor.survey)
}

impl Surveyor<'_> {
    fn request(&self, incremental: bool) -> RenderRequest {
        let overlay = Overlay(Arc::new(self.overlay.clone()));
        RenderRequest {
            incremental,
            full_refresh: false,
            context: QueryContext { overlay, ..self.context.clone() },
            batch: None,
            statements: None,
        }
    }

    fn reads_unknown(&self, node: &Node) -> bool {
        let parents = self.session.manifest().parents_of(&node.unique_id);
        parents.iter().any(|parent| self.unknown.contains(parent))
    }

    async fn model(&mut self, node: &Node, report: &mut Report) -> Result<()> {
        let unknown = self.reads_unknown(node);
        self.renderer.has_asked();
        if node.language != "sql" {
            self.unknown.insert(node.unique_id.clone());
            return Ok(());
        }
        let request = self.request(false);
        let (renderer, id, asked) =
            (self.renderer.clone(), node.unique_id.clone(), request.clone());
        let rendered = blocking(move || renderer.render(&id, &asked)).await;
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                self.template(node, unknown, &error, report);
                self.unknown.insert(node.unique_id.clone());
                return Ok(());
            }
        };
        let schema = self.query(node, &rendered.sql, unknown, &request.context, report).await;
        match schema {
            Some(schema) if node.is_relational() => {
                self.overlay.insert(node.relation(), OverlayEntry::View(empty(&schema)));
            }
            Some(_) => {}
            None => {
                self.unknown.insert(node.unique_id.clone());
            }
        }
        Ok(())
    }

    async fn test(&mut self, node: &Node, report: &mut Report) -> Result<()> {
        let unknown = self.reads_unknown(node);
        self.renderer.has_asked();
        let request = self.request(false);
        let (renderer, id, asked) =
            (self.renderer.clone(), node.unique_id.clone(), request.clone());
        let check = blocking(move || Ok(renderer.check(&id, &asked)?.failing_rows())).await;
        match check {
            Ok(sql) => {
                self.query(node, &sql, unknown, &request.context, report).await;
            }
            Err(error) => self.template(node, unknown, &error, report),
        }
        Ok(())
    }

    /// A template that fails: with data that is not here it may be right.
    fn template(&mut self, node: &Node, unknown: bool, error: &Error, report: &mut Report) {
        let asked = self.renderer.has_asked();
        if asked || (unknown && error.kind() != ErrorKind::Unsupported) {
            self.survey.not_judged += 1;
            return;
        }
        let text = error.message();
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let first = lines.find(|line| line.starts_with("error")).unwrap_or(text);
        let hint = text.lines().find_map(|line| line.strip_prefix("hint: "));
        let line = text.lines().find_map(|line| {
            let at = line.trim_start().strip_prefix("--> ")?;
            let mut parts = at.rsplitn(3, ':');
            let (_, line, file) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Place::new(file, line.parse().ok()))
        });
        let message = first.split_once("]: ").map_or(first, |(_, message)| message);
        let place = line.unwrap_or_else(|| place_of(node));
        report.add(Level::Blocker, "template", message, hint, Some(place));
    }

    /// Looks at a query; its columns where they can be known.
    async fn query(
        &mut self,
        node: &Node,
        sql: &str,
        unknown: bool,
        context: &QueryContext,
        report: &mut Report,
    ) -> Option<Arc<Schema>> {
        let (engine, text) = (self.engine.clone(), sql.to_owned());
        let missing = blocking(move || engine.missing_functions(&text)).await;
        let place = || Some(place_of(node));
        // An analysis is compiled and never run.
        let level = match node.resource_type {
            ResourceType::Analysis => Level::Note,
            _ => Level::Blocker,
        };
        match missing {
            Err(error) => {
                self.survey.by_syntax += 1;
                let (message, fix) = worded(&error);
                report.add(level, "sql", message, fix, place());
                return None;
            }
            Ok(missing) if !missing.is_empty() => {
                self.survey.by_syntax += 1;
                for name in missing {
                    let message = format!("the function `{name}` is not there");
                    report.add(level, "function", message, None, place());
                }
                return None;
            }
            Ok(_) => {}
        }
        if unknown {
            self.survey.by_syntax += 1;
            return None;
        }
        match self.engine.describe(sql, context).await {
            Ok(description) => {
                self.survey.planned += 1;
                Some(description.schema)
            }
            // It reads by name what is not built here.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.survey.by_syntax += 1;
                let (message, _) = worded(&error);
                let fix =
                    "refer to it with ref() or source(); if others make it, it must be in the lake";
                report.add(Level::Note, "relation", message, Some(fix), place());
                None
            }
            Err(error) => {
                self.survey.planned += 1;
                let (message, fix) = worded(&error);
                report.add(level, "sql", message, fix, place());
                None
            }
        }
    }

    async fn hooks_of(&mut self, node: &Node, report: &mut Report) {
        let state = self.renderer.state(&self.request(false));
        for hook in node.config.pre_hooks.iter().chain(&node.config.post_hooks) {
            let rendered = self.session.project.render_hook(&node.unique_id, hook, &state);
            if let Ok(rendered) = rendered {
                self.statements(&rendered.sql, place_of(node), report).await;
            }
        }
    }

    async fn hooks_of_runs(&mut self, report: &mut Report) {
        let state = self.renderer.state(&self.request(false));
        let manifest = self.session.manifest();
        let hooks: Vec<Hook> =
            manifest.on_run_start.iter().chain(&manifest.on_run_end).cloned().collect();
        for hook in &hooks {
            if let Ok(rendered) = self.session.project.render_run_hook(hook, &state) {
                let place = Place::new("dbt_project.yml", None);
                self.statements(&rendered.sql, place, report).await;
            }
        }
    }

    /// Statements that are refused whatever the lake holds.
    async fn statements(&self, sql: &str, place: Place, report: &mut Report) {
        let context = self.request(false).context;
        for statement in split_statements(sql) {
            let Err(error) = self.engine.statement(statement, &context).await else { continue };
            let syntax = error.message().starts_with("syntax error");
            if syntax || error.kind() == ErrorKind::Unsupported {
                let (message, fix) = worded(&error);
                let message = format!("a hook: {message}");
                report.add(Level::Blocker, "hook", message, fix, Some(place.clone()));
            }
        }
    }
}

/// A message without places in the rendered text, so that the same one elsewhere is the same.
fn worded(error: &Error) -> (String, Option<&str>) {
    let hint = error.context().iter().find(|(key, _)| *key == "hint").map(|(_, hint)| &**hint);
    (error.message().to_owned(), hint)
}

/// A query without rows that has these columns.
fn empty(schema: &Schema) -> String {
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = field.data_type().to_string().replace('\'', "''");
            format!("arrow_cast(null, '{data_type}') as \"{}\"", field.name().replace('"', "\"\""))
        })
        .collect();
    format!("select {} where false", columns.join(", "))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "a task has failed").because(error))
    })
}
