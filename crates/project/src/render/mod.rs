//! Rendering: from a node of the manifest to SQL, with a record of everything that was read.

mod adapter;
mod constraints;
pub(crate) mod context;
mod database;
pub(crate) mod errors;
mod functions;
mod index;
pub(crate) mod inject;
mod materialize;
mod reads;
pub(crate) mod relation;
mod results;
mod state;
mod table;
mod warehouse;
mod written;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidemill_core::{Diagnostic, Diagnostics, RelationName, UniqueId};
use tidemill_jinja::{Args, Budget, Options, Source, State, Template, Value};

pub use materialize::Materialized;
pub use reads::{QueryRead, Reads};
pub use state::{Message, RenderState, Rendered, SampleWindow, UnitTestState, Unsaid};
pub use warehouse::{
    CatalogColumn, Executed, NoWarehouse, QueryTable, RelationType, Sink, Warehouse,
};

use crate::manifest::{GenericTest, Node, TestKind};
use crate::project::Project;
use crate::settings::Hook;
use context::{Context, ContextHost, Model, Phase, Record, Run, Subject};
use inject::Inlined;
use relation::Relation;
use written::Written;

/// The arguments of a generic test, rendered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestArguments {
    /// Plain values; a `ref(...)` is the SQL of its relation.
    pub values: Map<String, Json>,
    /// Those arguments that are relations of the lake, by name.
    pub relations: BTreeMap<String, RelationName>,
    /// What rendering them read.
    pub reads: Reads,
    /// Ephemeral models among them: these are no relations, so the test has to run as SQL
    /// ([`Project::render_node`]).
    pub inlined: Vec<UniqueId>,
}

impl Project {
    /// Renders a model or analysis to its query, a data test to the query of its failing rows.
    /// Models that it inlines are in it. `--empty`, `is_incremental()` and all else that the run
    /// decides come from the state.
    pub fn render_node(&self, id: &UniqueId, state: &RenderState) -> Result<Rendered, Diagnostics> {
        let node = self.find(id)?;
        let rendered = match &node.test {
            Some(test) => match &test.kind {
                TestKind::Generic(generic) => self.render_generic(node, generic, state),
                TestKind::Singular => self.render_text(node, state),
            },
            None => self.render_text(node, state),
        }?;
        // What a unit test puts in the place of a macro says nothing about the model.
        if state.unit_test.is_none() {
            self.world().late.note(node, &rendered.macros);
        }
        Ok(rendered)
    }

    /// The arguments of a generic test with every `ref`, `var` and expression in them rendered.
    /// Empty for other nodes.
    pub fn test_arguments(
        &self,
        id: &UniqueId,
        state: &RenderState,
    ) -> Result<TestArguments, Diagnostics> {
        let node = self.find(id)?;
        let Some(TestKind::Generic(generic)) = node.test.as_ref().map(|test| &test.kind) else {
            return Ok(TestArguments::default());
        };
        let context = Arc::new(self.context_of(node, state));
        let host = ContextHost { context: context.clone() };
        let mut arguments = TestArguments::default();
        for (name, value) in &generic.arguments {
            let value = test_value(value, &host, &node.package_name)
                .map_err(|error| errors::diagnostics(&error, &described(node)))?;
            if let Some(relation) = value.downcast::<Relation>().and_then(Relation::name) {
                arguments.relations.insert(name.clone(), relation);
            }
            let json = match value.to_json() {
                Ok(json) => json,
                Err(_) => Json::String(value.to_string()),
            };
            arguments.values.insert(name.clone(), json);
        }
        let record = context.take_record();
        arguments.reads = record.reads;
        arguments.inlined = record.inlined;
        Ok(arguments)
    }

    /// Renders a hook of a node.
    pub fn render_hook(
        &self,
        id: &UniqueId,
        hook: &Hook,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let node = self.find(id)?;
        let context = Arc::new(self.context_of(node, state));
        let name = format!("{} (hook)", node.original_file_path);
        self.render_in(&context, Source::new(name, hook.sql.as_str()), &described(node))
    }

    /// The statements of a hook or an operation in the SQL that runs here, where the project was made
    /// for another system.
    ///
    /// # Errors
    /// What cannot be put into that SQL.
    pub fn adapted(&self, sql: &str, state: &RenderState) -> tidemill_core::Result<String> {
        self.world().adapted(sql, &*state.warehouse)
    }

    /// Renders a statement of `on-run-start` or `on-run-end`.
    pub fn render_run_hook(
        &self,
        hook: &Hook,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let package =
            if hook.package.is_empty() { &self.manifest().settings.name } else { &hook.package };
        self.render_loose(&hook.sql, package, "a hook of the run", state)
    }

    /// Renders a query of the command line (`show --inline`, `compile --inline`): `ref` and all
    /// else work as in a model of the root project.
    pub fn render_inline(&self, sql: &str, state: &RenderState) -> Result<Rendered, Diagnostics> {
        let package = &self.manifest().settings.name;
        let mut rendered = self.render_loose(sql, package, "the query", state)?;
        let adapted = self.adapted(&rendered.sql, state).map_err(|error| {
            Diagnostics::from_iter([Diagnostic::error("dialect", error.report())])
        })?;
        rendered.translated = (adapted != rendered.sql).then_some(adapted);
        Ok(rendered)
    }

    /// Renders a text as if it stood in a node: the rows of a unit test.
    pub fn render_for(
        &self,
        id: &UniqueId,
        text: &str,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let node = self.find(id)?;
        let context = Arc::new(self.context_of(node, state));
        let name = format!("{} (rows of a unit test)", node.original_file_path);
        let template = Template::parse(&Source::new(name, text));
        self.render_with(&context, template, &described(node), Written::of(node, self.world()))
    }

    /// Renders the `loaded_at_query` of a source table: `this` and `model` are the table.
    pub fn render_source_query(
        &self,
        id: &UniqueId,
        sql: &str,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let Some(source) = self.manifest().source(id) else { return Ok(Rendered::default()) };
        let mut context = self.loose_context(&source.package_name, state);
        context.subject.relation = Some(Relation::new(
            self.world().style(),
            &source.database,
            &source.schema,
            &source.identifier,
        ));
        if let Some(model) = crate::artifact::resource_json(self.manifest(), id) {
            context.subject.model = Model::Draft(model);
        }
        let what = format!("`loaded_at_query` of source `{}.{}`", source.source_name, source.name);
        let file = source.original_file_path.as_str();
        self.render_in(&Arc::new(context), Source::new(file, sql), &what)
    }

    /// Calls a macro by its name (`generate`, `my_package.generate`) with these arguments; the
    /// text is what it gives. `run-operation`.
    pub fn run_macro(
        &self,
        name: &str,
        arguments: &Map<String, Json>,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let found = self.find_macro(name)?;
        let context = Arc::new(self.loose_context(&self.manifest().settings.name, state));
        let host = ContextHost { context: context.clone() };
        let mut running = State::new(&host, found.package().clone(), Budget::of_runs());
        let args = Args::new(
            [],
            arguments.iter().map(|(key, value)| (Arc::from(key.as_str()), Value::from(value))),
        );
        let value = found
            .call(&args, &mut running)
            .map_err(|error| errors::diagnostics(&error, &format!("macro `{name}`")))?;
        Ok(finish(context.take_record(), value.to_string()))
    }

    /// The id of the macro of a name (`generate`, `my_package.generate`).
    ///
    /// # Errors
    /// When there is none: what is near.
    pub fn macro_id(&self, name: &str) -> Result<UniqueId, Diagnostics> {
        let found = self.find_macro(name)?;
        Ok(UniqueId::new(format!("macro.{}.{}", found.package(), found.name())))
    }

    fn find_macro(&self, name: &str) -> Result<Arc<tidemill_jinja::Macro>, Diagnostics> {
        let root = &self.manifest().settings.name;
        let known = &self.world().macros;
        let (package, bare) = match name.split_once('.') {
            Some((package, bare)) => (Some(package), bare),
            None => (None, name),
        };
        let found = match package {
            Some(package) => known.in_package(package, bare),
            None => known.by_name(bare, root, root),
        };
        found.ok_or_else(|| {
            let names: Vec<Arc<str>> = known.all().map(|(_, found)| found.name().clone()).collect();
            let diagnostic =
                Diagnostic::error("unknown-macro", format!("there is no macro `{name}`"));
            let near = crate::suggest::nearest(bare, names.iter().map(|name| &**name));
            Diagnostics::from_iter([match near {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic,
            }])
        })
    }

    /// The name of the common table expression that holds the rows of an input of a unit test, where
    /// models run in a database.
    pub fn unit_test_name(&self, id: &UniqueId) -> String {
        format!("__dbt__cte__{}", functions::unit_test_name(self.manifest(), id))
    }

    fn find(&self, id: &UniqueId) -> Result<&Node, Diagnostics> {
        self.manifest().nodes.get(id).ok_or_else(|| {
            [Diagnostic::error("unknown-node", format!("there is no node `{id}`"))]
                .into_iter()
                .collect()
        })
    }

    /// The context of a node's render.
    fn context_of(&self, node: &Node, state: &RenderState) -> Context {
        Context::new(self.world(), self.subject(node), self.phase(state, false))
    }

    /// What a node's template sees of the node.
    fn subject(&self, node: &Node) -> Subject {
        Subject {
            unique_id: node.unique_id.clone(),
            name: node.name.clone(),
            package: Arc::from(node.package_name.as_str()),
            relation: Some(Relation::new(
                self.world().style(),
                &node.database,
                &node.schema,
                &node.alias,
            )),
            config: Arc::new(node.config.all.clone()),
            model: Model::Node(self.shared_manifest().clone(), node.unique_id.clone()),
            depends_on: node.depends_on.iter().cloned().collect(),
        }
    }

    fn phase(&self, state: &RenderState, operation: bool) -> Phase {
        Phase::Run(Box::new(Run {
            manifest: self.shared_manifest().clone(),
            index: self.index().clone(),
            state: state.clone(),
            operation,
        }))
    }

    fn loose_context(&self, package: &str, state: &RenderState) -> Context {
        let manifest = self.manifest();
        let subject = Subject {
            unique_id: UniqueId::new(format!("operation.{package}.inline")),
            name: "inline".to_owned(),
            package: Arc::from(package),
            relation: None,
            config: Arc::default(),
            model: Model::Empty,
            depends_on: manifest.nodes.keys().chain(manifest.sources.keys()).cloned().collect(),
        };
        Context::new(self.world(), subject, self.phase(state, false))
    }

    fn render_loose(
        &self,
        sql: &str,
        package: &str,
        what: &str,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let context = Arc::new(self.loose_context(package, state));
        self.render_in(&context, Source::new("query.sql", sql), what)
    }

    fn render_text(&self, node: &Node, state: &RenderState) -> Result<Rendered, Diagnostics> {
        if node.language == "python" {
            return self.render_python(node, state);
        }
        let context = Arc::new(self.context_of(node, state));
        self.render_with(
            &context,
            self.parsed(node),
            &described(node),
            Written::of(node, self.world()),
        )
    }

    /// The code of a Python model with what its macros put below it. Ephemeral models that it reads
    /// stand in it as queries.
    fn render_python(&self, node: &Node, state: &RenderState) -> Result<Rendered, Diagnostics> {
        let context = Arc::new(self.context_of(node, state));
        let source = Source::new("<dbt>/python.sql", "{{ py_script_postfix(model) }}");
        let host = ContextHost { context: context.clone() };
        let options = Options::for_package(context.subject.package.clone());
        let mut below = Template::parse(&source)
            .and_then(|template| template.render(&host, &options))
            .map_err(|error| errors::diagnostics(&error, &described(node)))?;
        let record = context.take_record();
        let direct = record.inlined.clone();
        let mut rendered = finish(record, String::new());
        for id in direct {
            let name = format!("__dbt__cte__{}", self.find(&id)?.name);
            context.record().inlined.push(id);
            let query = self.complete(&context, format!("select * from {name}"), None)?;
            let whole = Json::String(format!("(\n{}\n) as {name}", query.running()));
            below = below.replace(&format!("\"{name}\""), &whole.to_string());
            rendered.reads.merge(query.reads);
            rendered.inlined.extend(query.inlined);
        }
        rendered.sql = format!("{}\n\n{below}", node.raw_code);
        Ok(rendered)
    }

    /// The template of a node.
    fn parsed(&self, node: &Node) -> Result<Template, tidemill_jinja::Error> {
        match self.template(&node.unique_id) {
            Some(template) => Ok(template.clone()),
            None => Template::parse(&Source::new(shown_file(node), node.raw_code.clone())),
        }
    }

    /// Renders a text and inlines the models that it refers to.
    fn render_in(
        &self,
        context: &Arc<Context>,
        source: Arc<Source>,
        what: &str,
    ) -> Result<Rendered, Diagnostics> {
        self.render_with(context, Template::parse(&source), what, None)
    }

    fn render_with(
        &self,
        context: &Arc<Context>,
        template: Result<Template, tidemill_jinja::Error>,
        what: &str,
        written: Option<Written>,
    ) -> Result<Rendered, Diagnostics> {
        let host = ContextHost { context: context.clone() };
        let options = Options::for_package(context.subject.package.clone()).of_runs();
        let text = template
            .and_then(|template| template.render(&host, &options))
            .map_err(|error| errors::diagnostics(&error, what))?;
        self.complete(context, text, written)
    }

    /// Translates a rendered text and adds the models that it inlines.
    fn complete(
        &self,
        context: &Arc<Context>,
        text: String,
        written: Option<Written>,
    ) -> Result<Rendered, Diagnostics> {
        let record = context.take_record();
        let direct = record.inlined.clone();
        let mut rendered = finish(record, text);
        let Some(run) = context.run() else { return Ok(rendered) };
        if let Some(written) = written {
            rendered.translated = written.translated(&rendered.sql, &run.state)?;
        }
        if direct.is_empty() {
            return Ok(rendered);
        }
        let mut inlining = Inlining {
            project: self,
            state: &run.state,
            done: HashSet::new(),
            expressions: Vec::new(),
            rendered: &mut rendered,
        };
        for id in &direct {
            inlining.add(id, &mut Vec::new())?;
        }
        let (expressions, inlined) = (inlining.expressions, inlining.done);
        let order: Vec<UniqueId> = expressions
            .iter()
            .map(|(id, _)| id.clone())
            .filter(|id| inlined.contains(id))
            .collect();
        let translated = rendered.translated.is_some()
            || expressions.iter().any(|(_, expression)| expression.translated.is_some());
        let expressions: Vec<Inlined> =
            expressions.into_iter().map(|(_, expression)| expression).collect();
        if translated {
            let running: Vec<Inlined> =
                expressions.iter().map(|part| part.clone().running()).collect();
            rendered.translated = Some(inject::inject(rendered.running(), &running));
        }
        rendered.sql = inject::inject(&rendered.sql, &expressions);
        rendered.inlined = order;
        Ok(rendered)
    }

    fn render_generic(
        &self,
        node: &Node,
        generic: &GenericTest,
        state: &RenderState,
    ) -> Result<Rendered, Diagnostics> {
        let context = Arc::new(self.context_of(node, state));
        let text = call_test(&context, node, generic)
            .map_err(|error| errors::diagnostics(&error, &described(node)))?;
        let mut rendered = self.complete(&context, text, Written::of(node, self.world()))?;
        rendered.sql = rendered.sql.trim().to_owned();
        Ok(rendered)
    }
}

/// Calls the macro of a generic test; the text is its query.
pub(crate) fn call_test(
    context: &Arc<Context>,
    node: &Node,
    generic: &GenericTest,
) -> Result<String, tidemill_jinja::Error> {
    let known = &context.world.macros;
    let package = &node.package_name;
    let Some((found, _)) = known.test(generic.namespace.as_deref(), &generic.name, package) else {
        return Err(tidemill_jinja::Error::user(format!(
            "there is no generic test `{}`",
            generic.full_name()
        )));
    };
    let host = ContextHost { context: context.clone() };
    let mut arguments: Vec<(Arc<str>, Value)> = Vec::new();
    let model = test_value(
        &Json::String(crate::data_test::model_argument(&generic.target)),
        &host,
        package,
    )?;
    arguments.push((Arc::from("model"), model));
    if let Some(column) = &generic.column {
        arguments.push((Arc::from("column_name"), Value::from(column.as_str())));
    }
    for (name, value) in &generic.arguments {
        arguments.push((Arc::from(name.as_str()), test_value(value, &host, package)?));
    }
    let budget = match context.phase {
        Phase::Parse => Budget::default(),
        Phase::Run(_) => Budget::of_runs(),
    };
    let mut running = State::new(&host, package.as_str(), budget);
    Ok(found.call(&Args::new([], arguments), &mut running)?.to_string())
}

/// An argument of a test: text with Jinja is rendered, and so is text that looks like one call of
/// `ref`, `source`, `var`, `env_var` or `doc`.
pub(crate) fn test_value(
    value: &Json,
    host: &ContextHost,
    package: &str,
) -> Result<Value, tidemill_jinja::Error> {
    match value {
        Json::String(text) => {
            let call = crate::data_test::looks_like_call(text);
            if !call && !crate::yaml::render::has_jinja(text) {
                return Ok(Value::from(text.as_str()));
            }
            let text = if call { format!("{{{{ {text} }}}}") } else { text.clone() };
            let template = Template::from_text("test argument", &text)?;
            template.eval_native(host, &Options::for_package(package))
        }
        Json::Array(items) => {
            let items: Result<Vec<Value>, _> =
                items.iter().map(|item| test_value(item, host, package)).collect();
            Ok(Value::list(items?))
        }
        Json::Object(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map {
                entries.push((key.as_str(), test_value(value, host, package)?));
            }
            Ok(Value::dict(entries))
        }
        other => Ok(Value::from(other)),
    }
}

/// Models that are inlined into one query, each once, those that others refer to first.
struct Inlining<'a> {
    project: &'a Project,
    state: &'a RenderState,
    done: HashSet<UniqueId>,
    expressions: Vec<(UniqueId, Inlined)>,
    rendered: &'a mut Rendered,
}

impl Inlining<'_> {
    fn add(&mut self, id: &UniqueId, path: &mut Vec<UniqueId>) -> Result<(), Diagnostics> {
        if self.done.contains(id) {
            return Ok(());
        }
        let node = self.project.find(id)?;
        if path.contains(id) {
            return Err([Diagnostic::error(
                "cycle",
                format!("the ephemeral model `{}` refers to itself", node.name),
            )
            .at(node.position.clone())]
            .into_iter()
            .collect());
        }
        path.push(id.clone());
        let context = Arc::new(self.project.context_of(node, self.state));
        let host = ContextHost { context: context.clone() };
        let text = self
            .project
            .parsed(node)
            .and_then(|template| {
                let options = Options::for_package(node.package_name.as_str()).of_runs();
                template.render(&host, &options)
            })
            .map_err(|error| errors::diagnostics(&error, &described(node)))?;
        let record = context.take_record();
        let nested = record.inlined.clone();
        let part = finish(record, text);
        self.project.world().late.note(node, &part.macros);
        for nested in &nested {
            self.add(nested, path)?;
        }
        path.pop();
        self.rendered.reads.merge(part.reads);
        self.rendered.late.extend(part.late);
        self.rendered.messages.extend(part.messages);
        self.rendered.warnings.append(part.warnings);
        let name = format!("__dbt__cte__{}", node.name);
        let translated = match Written::of(node, self.project.world()) {
            Some(written) => written.translated(&part.sql, self.state)?,
            None => None,
        };
        self.expressions.push((id.clone(), Inlined { name, sql: part.sql, translated }));
        self.done.insert(id.clone());
        Ok(())
    }
}

/// A query with these common table expressions (name and query) in front of its own.
pub fn with_expressions(sql: &str, expressions: &[(String, String)]) -> String {
    let expressions: Vec<Inlined> = expressions
        .iter()
        .map(|(name, sql)| Inlined { name: name.clone(), sql: sql.clone(), translated: None })
        .collect();
    inject::inject(sql, &expressions)
}

fn finish(record: Record, sql: String) -> Rendered {
    let mut config = Map::new();
    for call in record.configs {
        config.extend(call.call);
    }
    let sql = match relation::with_aliases(&sql) {
        std::borrow::Cow::Owned(sql) => sql,
        std::borrow::Cow::Borrowed(_) => sql,
    };
    Rendered {
        sql,
        translated: None,
        reads: record.reads,
        late: record.late,
        inlined: Vec::new(),
        macros: record.macros.direct,
        messages: record.messages,
        main: record.written,
        warnings: record
            .warnings
            .into_iter()
            .map(|(message, span)| {
                let warning = Diagnostic::warning("template", message);
                match span {
                    Some(span) if !crate::macros::is_builtin_file(span.source().name()) => {
                        warning.at(errors::position(&span))
                    }
                    _ => warning,
                }
            })
            .collect(),
        config,
    }
}

/// "model `orders`"
pub(crate) fn described(node: &Node) -> String {
    format!("{} `{}`", node.resource_type, node.name)
}

fn shown_file(node: &Node) -> String {
    crate::file::shown(&node.position.file)
}
