//! The project's templates over sessions of a database.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidemill_core::{
    Cancellation, Check, CheckId, DatabaseSession, Error, ErrorKind, Measure, Result, UniqueId,
};
use tidemill_project::{DBT_VERSION, Hook, RenderState, ResourceType};
use tidemill_run::{
    DatabaseBuild, DatabaseCheck, DatabaseRenderer, DatabaseRequest, DatabaseUnitTest,
};

use super::seeds::Seed;
use super::templates::{DatabaseForTemplates, NodeText};
use crate::renderer::{ProjectRenderer, Strict, compiled_path, definition_of, template_error};

/// Renders for a database.
pub(crate) struct InDatabase {
    pub(super) renderer: Arc<ProjectRenderer>,
    pub(super) root: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) cancel: Cancellation,
    pub(super) strict: bool,
}

impl InDatabase {
    pub(super) fn new(
        session: &crate::session::Session,
        renderer: Arc<ProjectRenderer>,
    ) -> Arc<Self> {
        Arc::new(InDatabase {
            renderer,
            root: session.root.clone(),
            folder: session.target_path(),
            cancel: session.cancel.clone(),
            strict: session.rules.is_error("test-warning"),
        })
    }

    fn warehouse(&self, session: &Arc<dyn DatabaseSession>) -> DatabaseForTemplates {
        DatabaseForTemplates::new(session.clone(), self.renderer.runtime.clone())
    }

    /// The state of a template that only asks.
    pub(crate) fn state(&self, request: &DatabaseRequest) -> RenderState {
        self.state_over(self.warehouse(&request.session), request)
    }

    fn state_over(
        &self,
        warehouse: DatabaseForTemplates,
        request: &DatabaseRequest,
    ) -> RenderState {
        self.state_of(Arc::new(warehouse), request)
    }

    fn state_of(
        &self,
        warehouse: Arc<DatabaseForTemplates>,
        request: &DatabaseRequest,
    ) -> RenderState {
        let mut state = self.renderer.state_over(warehouse, request.full_refresh);
        if let Some((node, relation)) = &request.stand_in {
            let mut deferred = (*state.deferred).clone();
            deferred.insert(node.clone(), relation.clone());
            state.deferred = Arc::new(deferred);
        }
        state
    }

    fn batched(
        &self,
        id: &UniqueId,
        mut state: RenderState,
        request: &DatabaseRequest,
    ) -> RenderState {
        if let Ok(node) = self.renderer.node(id)
            && let Some(micro) = &node.config.microbatch
        {
            let now = state.now.timestamp_micros();
            let newest = || micro.batches(true, now, None, None).pop();
            state.batch = request.batch.or_else(newest).map(|batch| (batch, micro.batch_size));
        }
        state
    }

    fn text(&self, id: &UniqueId, compiled: &str) -> Option<NodeText> {
        let node = self.renderer.node(id).ok()?;
        let path = compiled_path(&self.folder, node);
        let shown = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
        Some(NodeText {
            compiled: compiled.to_owned(),
            compiled_file: shown,
            file: node.original_file_path.clone(),
            raw: node.raw_code.to_string(),
        })
    }

    /// Renders a hook of the whole run and performs it: how its statements went.
    ///
    /// # Errors
    /// When it cannot be rendered, which is a mistake of the project and no result of the run.
    pub(super) fn run_hook(
        &self,
        (what, hook): (&UniqueId, &Hook),
        request: &DatabaseRequest,
        names: Arc<Map<String, Value>>,
    ) -> Result<Result<()>> {
        let state = RenderState { names, ..self.state(request) };
        let rendered = self
            .renderer
            .project
            .render_run_hook(hook, &state)
            .map_err(|error| self.renderer.failed(what.as_str(), &state, error))?;
        self.renderer.tell(what.as_str(), &rendered);
        if rendered.sql.trim().is_empty() {
            return Ok(Ok(()));
        }
        let run = request.session.run(&rendered.sql);
        Ok(tokio::task::block_in_place(|| self.renderer.runtime.block_on(run)).map(drop))
    }

    /// Calls a macro.
    pub(super) fn run_macro(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
        request: &DatabaseRequest,
    ) -> Result<()> {
        let warehouse = Arc::new(self.warehouse(&request.session));
        let state = self.state_of(warehouse.clone(), request);
        let rendered =
            self.renderer.project.run_macro(name, arguments, &state).map_err(|error| {
                let failed = self.renderer.failed(name, &state, error);
                warehouse.take_failure().unwrap_or(failed)
            })?;
        self.renderer.tell(name, &rendered);
        Ok(())
    }
}

impl DatabaseRenderer for InDatabase {
    fn compile(&self, id: &UniqueId, request: &DatabaseRequest) -> Result<String> {
        let node = self.renderer.node(id)?;
        if node.language == "python" {
            return Err(Error::new(ErrorKind::Unsupported, "PostgreSQL runs no model in Python")
                .with("file", &node.original_file_path));
        }
        let warehouse = Arc::new(self.warehouse(&request.session));
        let state = self.batched(id, self.state_of(warehouse.clone(), request), request);
        let rendered = self
            .renderer
            .render_over(node, &state)
            .map_err(|error| warehouse.take_failure().unwrap_or(error))?;
        if rendered.sql.trim().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the model renders to nothing")
                .with("file", &node.original_file_path));
        }
        Ok(rendered.sql)
    }

    fn materialize(
        &self,
        id: &UniqueId,
        sql: &str,
        request: &DatabaseRequest,
    ) -> Result<DatabaseBuild> {
        let node = self.renderer.node(id)?;
        let seed = match node.resource_type {
            ResourceType::Seed => {
                Some(Arc::new(Seed::new(node, self.root.clone(), self.cancel.clone())?))
            }
            _ => None,
        };
        let warehouse = Arc::new(DatabaseForTemplates {
            text: self.text(id, sql),
            gate: request.gate.clone(),
            materializes: true,
            seed,
            ..self.warehouse(&request.session)
        });
        let state = self.batched(id, self.state_of(warehouse.clone(), request), request);
        let made = self
            .renderer
            .project
            .materialize_in_database(id, sql.trim().trim_end_matches(';'), &state)
            .map_err(|error| {
                let failed = self.renderer.failed(id.as_str(), &state, error);
                warehouse.take_failure().unwrap_or(failed)
            })?;
        self.renderer.tell(id.as_str(), &made.rendered);
        if let Some(main) = &made.rendered.main
            && node.resource_type != ResourceType::Seed
        {
            self.renderer.executed(node, main)?;
        }
        Ok(DatabaseBuild { relations: made.relations, rows: made.rows, message: made.message })
    }

    fn check(&self, id: &CheckId, request: &DatabaseRequest) -> Result<DatabaseCheck> {
        let node = self.renderer.node(id)?;
        let Some(test) = node.test.as_ref().filter(|_| node.resource_type == ResourceType::Test)
        else {
            return Err(Error::new(ErrorKind::Internal, "the node is not a test").with("node", id));
        };
        let warehouse = Arc::new(self.warehouse(&request.session));
        let state = self.state_of(warehouse.clone(), request);
        let rendered = match &request.stand_in {
            None => self.renderer.render_over(node, &state),
            Some((owner, candidate)) => {
                self.renderer.project.render_node(id, &state).map_err(template_error).and_then(
                    |rendered| {
                        // The text that is kept names the relation, and not its candidate.
                        let own = self.renderer.node(owner)?.relation();
                        let quoted = |name: &str| format!("\"{name}\"");
                        let text =
                            rendered.sql.replace(&quoted(candidate.name()), &quoted(own.name()));
                        self.renderer.keep(node, &text)?;
                        Ok(rendered)
                    },
                )
            }
        };
        let rendered = rendered.map_err(|error| warehouse.take_failure().unwrap_or(error))?;
        let mut definition = definition_of(id, node, test);
        if let Some(Value::String(calc)) = rendered.config.get("fail_calc") {
            definition.fail_calc = calc.clone();
        }
        definition.sql = Some(rendered.sql);
        self.renderer.note_test(id);
        let check = tidemill_check::check(&definition)?;
        let count = check.measures().into_iter().find_map(|measure| match measure {
            Measure::Query { sql } => Some(sql),
            _ => None,
        });
        let Some(count) = count else {
            return Err(Error::new(ErrorKind::Internal, "a test that is not a query"));
        };
        let as_view = node.config.get("store_failures_as").and_then(Value::as_str) == Some("view");
        let check: Box<dyn Check> = if self.strict { Box::new(Strict(check)) } else { check };
        Ok(DatabaseCheck { check, count, as_view })
    }

    fn unit_test(&self, id: &CheckId, request: &DatabaseRequest) -> Result<DatabaseUnitTest> {
        self.unit_test_queries(id, request)
    }

    fn comment(&self, id: &UniqueId) -> (Option<String>, bool) {
        let manifest = self.renderer.project.manifest();
        let target = &manifest.target;
        let (own, after) = match &manifest.settings.query_comment {
            None => (None, false),
            Some(Value::Object(fields)) => {
                let append = fields.get("append").and_then(Value::as_bool).unwrap_or(false);
                (fields.get("comment").cloned(), append)
            }
            Some(text) => (Some(text.clone()), false),
        };
        match own {
            None => {}
            Some(Value::String(text)) if !text.trim().is_empty() => {
                return (self.own_comment(id, &text), after);
            }
            // Switched off.
            Some(_) => return (None, false),
        }
        let text = json!({
            "app": "dbt",
            "dbt_version": DBT_VERSION,
            "profile_name": target.profile_name,
            "target_name": target.name,
            "node_id": id,
        });
        (Some(tidemill_project::python_json(&text)), after)
    }
}

impl InDatabase {
    /// The comment that `query-comment` of the project makes of a node; none where its template
    /// gives none or fails.
    fn own_comment(&self, id: &UniqueId, text: &str) -> Option<String> {
        let project = &self.renderer.project;
        let node = project.manifest().node(id).map(tidemill_project::node_json);
        let names = Map::from_iter([
            ("node".to_owned(), node.unwrap_or(Value::Null)),
            ("connection_name".to_owned(), Value::from(id.as_str())),
        ]);
        let state = RenderState { names: Arc::new(names), ..RenderState::offline("build") };
        let rendered = project.render_inline(text, &state);
        match rendered {
            Ok(rendered) => Some(rendered.sql.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(error) => {
                tracing::warn!(error = %error, "query-comment");
                None
            }
        }
    }
}
