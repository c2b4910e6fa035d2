//! The functions and objects of a template's context.

use std::sync::Arc;

use serde_json::Value as Json;
use tidemill_core::{Error as CoreError, RelationName, UniqueId};
use tidemill_jinja::{Args, Error, ErrorKind, Object, State, Template, Value, modules};

use super::adapter::Adapter;
use super::context::{Context, Model, Noted, Phase, Run, note_macro};
use super::reads::QueryRead;
use super::relation::{Api, Relation};
use super::state::{Message, UnitTestState};
use super::table::Table;
use super::warehouse::{Executed, RelationType};
use crate::base::{DBT_VERSION, env_value, text_argument, var_value};
use crate::environment::SECRET_PREFIX;
use crate::manifest::{RefCall, SourceCall};
use crate::resolve::{Resolved, describe_missing_ref, describe_missing_source};

/// A name of the context.
pub(super) fn lookup(context: &Arc<Context>, name: &str) -> Option<Value> {
    let run = context.run();
    Some(match name {
        "ref" => function(context, "ref", reference),
        "source" => function(context, "source", source),
        "config" => Value::object(Config(context.clone())),
        "var" => Value::object(Var(context.clone())),
        "env_var" => function(context, "env_var", env_var),
        "this" => this(context).map(Relation::value).into(),
        "target" => Value::object(Target(context.clone())),
        "is_incremental" => function(context, "is_incremental", is_incremental),
        "execute" => Value::from(run.is_some()),
        "log" => function(context, "log", log),
        "print" => function(context, "print", print),
        "exceptions" => Value::object(Exceptions(context.clone())),
        "adapter" => Value::object(Adapter(context.clone())),
        "api" => Value::object(Api::Root(
            context.world.target.database.as_str().into(),
            context.world.style(),
        )),
        "load_result" => function(context, "load_result", load_result),
        "store_result" => function(context, "store_result", store_result),
        "store_raw_result" => function(context, "store_raw_result", store_raw_result),
        "run_started_at" => match run {
            Some(run) => {
                context.record().reads.run_started_at = true;
                modules::utc_datetime(run.state.run_started_at)
            }
            None => modules::utc_datetime(chrono::Utc::now()),
        },
        "invocation_id" => {
            context.record().reads.invocation_id = true;
            match run {
                Some(run) => Value::from(run.state.invocation_id.as_str()),
                None => Value::from(""),
            }
        }
        "flags" => Value::object(Flags(context.clone())),
        "invocation_args_dict" => Value::dict([
            ("which", Value::from(run.map_or("build", |run| run.state.command.as_str()))),
            ("vars", Value::from(&Json::Object(context.world.settings.cli_vars.clone()))),
            ("target", Value::from(context.world.target.name.as_str())),
        ]),
        "model" => model(context),
        "graph" => graph(context),
        "dbt_version" => Value::from(DBT_VERSION),
        "project_name" => Value::from(context.world.settings.name.as_str()),
        "database" => match &context.subject.relation {
            Some(relation) => relation.database.clone().into(),
            None => Value::from(context.world.target.database.as_str()),
        },
        "schema" => match &context.subject.relation {
            Some(relation) => relation.schema.clone().into(),
            None => Value::from(context.world.target.schema.as_str()),
        },
        "builtins" => Value::dict([
            ("ref", Value::object(Ref(context.clone()))),
            ("source", function(context, "source", source)),
            ("config", Value::object(Config(context.clone()))),
        ]),
        "fromyaml" => Value::function("fromyaml", |args, _| from_yaml(args)),
        "toyaml" => Value::function("toyaml", |args, _| to_yaml(args)),
        "render" => Value::function("render", |args, state| {
            let [text] = args.bind("render", ["string"], 1)?;
            // As in dbt, whatever it is: a relation is rendered as its text.
            let text = text.map(|text| text.to_string()).unwrap_or_default();
            Ok(Value::from(Template::from_text("render", &text)?.render_in(state)?))
        }),
        "write" => function(context, "write", |context, args, _| {
            let [payload] = args.bind("write", ["payload"], 1)?;
            context.record().written = payload.map(|payload| payload.to_string());
            Ok(Value::from(""))
        }),
        "debug" => Value::function("debug", |_, _| Ok(Value::from(""))),
        "try_or_compiler_error" => Value::function("try_or_compiler_error", |args, state| {
            let Some(callee) = args.positional().get(1) else { return Ok(Value::None) };
            callee.call(&args.skip(2), state)
        }),
        "thread_id" => Value::from("Thread-1"),
        "selected_resources" => match run {
            Some(run) => Value::list(run.state.selected.iter().map(|id| Value::from(id.as_str()))),
            None => Value::list([]),
        },
        "validation" => Value::object(Validation),
        "pre_hooks" => config_value(context, "pre-hook"),
        "post_hooks" => post_hooks(context),
        "sql" | "compiled_code" => Value::from(""),
        "defer_relation" => Value::None,
        "dbt_metadata_envs" | "env" => Value::dict::<&str>([]),
        "column" => Value::object(Api::Column),
        "submit_python_job" => unsupported("submit_python_job"),
        "adapter_macro" => unsupported("adapter_macro"),
        "context" => Value::object(Everything(context.clone())),
        other => {
            let value = run.and_then(|run| run.state.names.get(other)).map(Value::from)?;
            match other {
                "results" => super::results::results(&value),
                _ => value,
            }
        }
    })
}

/// `model`, with its `batch` while one is built.
fn model(context: &Arc<Context>) -> Value {
    let value = context.subject.model.value();
    let batch = context.run().and_then(|run| run.state.batch);
    let strategy = context.subject.config.get("incremental_strategy").and_then(Json::as_str);
    if batch.is_none() && strategy != Some("microbatch") {
        return value;
    }
    let time = |micros: i64| {
        modules::utc_datetime(chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default())
    };
    let Ok(Json::Object(map)) = value.to_json() else { return value };
    let batch = batch.map_or(Value::None, |(batch, size)| {
        Value::dict([
            ("id", Value::from(size.id(batch.from).as_str())),
            ("event_time_start", time(batch.from)),
            ("event_time_end", time(batch.to)),
        ])
    });
    let fields = map.iter().map(|(key, value)| (key.as_str(), Value::from(value)));
    Value::dict(fields.chain([("batch", batch)]))
}

fn function(
    context: &Arc<Context>,
    name: &'static str,
    body: fn(&Arc<Context>, &Args, &mut State<'_>) -> Result<Value, Error>,
) -> Value {
    let context = context.clone();
    Value::function(name, move |args, state| body(&context, args, state))
}

fn unsupported(name: &'static str) -> Value {
    Value::function(name, move |_, _| Err(Error::user(format!("`{name}` is not supported"))))
}

/// A core error on its way through a template.
pub(super) fn carried(error: CoreError) -> Error {
    Error::host(ErrorKind::Runtime, Carried(error))
}

/// A core error that a template met.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) CoreError);

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.report())
    }
}

impl std::error::Error for Carried {}

fn ref_call(args: &Args) -> Result<RefCall, Error> {
    let text = |value: &Value| text_argument("ref", Some(value));
    let (package, name) = match args.positional() {
        [name] => (None, text(name)?),
        [package, name] => (Some(text(package)?), text(name)?),
        other => {
            return Err(Error::user(format!(
                "ref() takes one or two positional arguments, not {}",
                other.len()
            )));
        }
    };
    let mut version = None;
    for (key, value) in args.keyword() {
        match &**key {
            "v" | "version" if value.is_none() => {}
            "v" | "version" => version = Some(value.to_string()),
            other => {
                return Err(Error::user(format!("ref() has no argument `{other}`")));
            }
        }
    }
    Ok(RefCall { package, name, version, span: None })
}

fn reference(context: &Arc<Context>, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let call = ref_call(args)?;
    let run = match &context.phase {
        Phase::Run(run) => run,
        Phase::Parse => {
            context.record().refs.push(Noted { call, span: state.call_span() });
            return Ok(placeholder(context));
        }
    };
    let id = match run.index.reference(&call, &context.subject.package) {
        Resolved::Found(id) => id,
        missing => {
            let (message, hint) = describe_missing_ref(&run.manifest, &run.index, &call, &missing);
            let error = Error::user(message);
            return Err(match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            });
        }
    };
    let Some(node) = run.manifest.nodes.get(&id) else { return Ok(Value::None) };
    let style = context.world.style();
    if let Some(test) = &run.state.unit_test {
        refuse_without_rows(test, &id, || format!("ref('{}')", node.name))?;
        if style.in_database {
            let name = unit_test_name(&run.manifest, &id);
            return Ok(Relation::cte(style, &node.database, &node.schema, &name).value());
        }
        return Ok(Relation::new(style, &node.database, &node.schema, &node.alias).value());
    }
    if !context.subject.depends_on.contains(&id) && id != context.subject.unique_id {
        let mut record = context.record();
        if !record.late.contains(&id) {
            record.late.push(id.clone());
        }
    }
    if node.is_ephemeral() {
        if run.operation {
            return Err(Error::user(format!(
                "an operation cannot refer to the ephemeral model `{}`",
                node.name
            )));
        }
        let mut record = context.record();
        if !record.inlined.contains(&id) {
            record.inlined.push(id.clone());
        }
        return Ok(Relation::cte(style, &node.database, &node.schema, &node.name).value());
    }
    let mut relation = match run.state.deferred.get(&id) {
        Some(other) => Relation::new(style, &node.database, other.schema(), other.name()),
        None => Relation::new(style, &node.database, &node.schema, &node.alias),
    };
    relation.limit = run.state.empty.then_some(0);
    if id != context.subject.unique_id {
        relation.filter = batch_filter(run, &relation, node.config.event_time.as_deref())?;
    }
    let sampled = sampled(context, run, node.config.event_time.as_deref());
    relation.filter = relation.filter.take().or(sampled);
    Ok(relation.value())
}

/// The condition of `--sample` on what a model or snapshot reads, when that says which column is its
/// time.
fn sampled(context: &Context, run: &Run, event_time: Option<&str>) -> Option<String> {
    let id = context.subject.unique_id.as_str();
    let reads = id.starts_with("model.") || id.starts_with("snapshot.");
    Some(run.state.sample.filter(|_| reads)?.condition(event_time?))
}

fn source(context: &Arc<Context>, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let [source, table] = match args.positional() {
        [source, table] => [source, table].map(|value| text_argument("source", Some(value))),
        other => {
            return Err(Error::user(format!(
                "source() takes two arguments, the source and the table, not {}",
                other.len()
            )));
        }
    };
    let call = SourceCall { source: source?, table: table?, span: None };
    let run = match &context.phase {
        Phase::Run(run) => run,
        Phase::Parse => {
            context.record().sources.push(Noted { call, span: state.call_span() });
            return Ok(placeholder(context));
        }
    };
    let id = match run.index.source(&call, &context.subject.package) {
        Resolved::Found(id) => id,
        missing => {
            let (message, hint) = describe_missing_source(&run.manifest, &call, &missing);
            let error = Error::user(message);
            return Err(match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            });
        }
    };
    let Some(table) = run.manifest.sources.get(&id) else { return Ok(Value::None) };
    if let Some(test) = &run.state.unit_test {
        refuse_without_rows(test, &id, || {
            format!("source('{}', '{}')", table.source_name, table.name)
        })?;
        let style = context.world.style();
        if style.in_database {
            let name = unit_test_name(&run.manifest, &id);
            return Ok(Relation::cte(style, &table.database, &table.schema, &name).value());
        }
    }
    if !context.subject.depends_on.contains(&id) {
        let mut record = context.record();
        if !record.late.contains(&id) {
            record.late.push(id.clone());
        }
    }
    let mut relation =
        Relation::new(context.world.style(), &table.database, &table.schema, &table.identifier);
    if !relation.in_database {
        relation.files = table.external_location();
    }
    relation.limit = run.state.empty.then_some(0);
    let event_time = table.config.get("event_time").and_then(Json::as_str);
    relation.filter = batch_filter(run, &relation, event_time)?;
    let sampled = sampled(context, run, event_time);
    relation.filter = relation.filter.take().or(sampled);
    Ok(relation.value())
}

/// The condition that cuts what a batch reads to the batch. Like dbt, times without a zone are
/// taken as UTC.
fn batch_filter(
    run: &Run,
    relation: &Relation,
    event_time: Option<&str>,
) -> Result<Option<String>, Error> {
    let (Some((batch, _)), Some(column)) = (&run.state.batch, event_time) else {
        return Ok(None);
    };
    let columns = match relation.name() {
        Some(name) => run.state.warehouse.columns(&name).map_err(carried)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let zoned = columns.iter().any(|found| {
        found.name.eq_ignore_ascii_case(column.trim_matches('"'))
            && found.data_type == "timestamp with time zone"
    });
    let literal = |time: &String| match zoned {
        true => format!("timestamptz '{time}'"),
        false => format!("timestamp '{}'", time.trim_end_matches("+00:00")),
    };
    let [from, to] = batch.literals();
    Ok(Some(format!("{column} >= {} and {column} < {}", literal(&from), literal(&to))))
}

/// The name that the rows of an input of a unit test have in a database, without the prefix of an
/// inlined model.
pub(crate) fn unit_test_name(manifest: &crate::manifest::Manifest, id: &UniqueId) -> String {
    match (manifest.nodes.get(id), manifest.sources.get(id)) {
        (Some(node), _) => node.name.clone(),
        (None, Some(source)) => format!("{}__{}", source.source_name, source.name),
        (None, None) => id.as_str().replace('.', "__"),
    }
}

/// `this`: in a unit test that gives rows for the model itself, these.
fn this(context: &Context) -> Option<Relation> {
    let relation = context.subject.relation.clone()?;
    let id = &context.subject.unique_id;
    match (context.unit_test(), context.run()) {
        (Some(test), Some(run)) if relation.in_database && test.inputs.contains(id) => {
            let name = unit_test_name(&run.manifest, id);
            Some(Relation { is_cte: true, identifier: Some(name), ..relation })
        }
        _ => Some(relation),
    }
}

/// A unit test reads nothing but what it makes up.
fn refuse_without_rows(
    test: &UnitTestState,
    id: &UniqueId,
    call: impl Fn() -> String,
) -> Result<(), Error> {
    if test.inputs.contains(id) {
        return Ok(());
    }
    let call = call();
    Err(Error::user(format!("the unit test `{}` gives no rows for `{call}`", test.name))
        .with_hint(format!("add `- input: {call}` to its `given`")))
}

/// What `ref` gives while nothing is known yet.
fn placeholder(context: &Context) -> Value {
    match &context.subject.relation {
        Some(relation) => relation.clone().value(),
        None => {
            let target = &context.world.target;
            Relation::new(context.world.style(), &target.database, &target.schema, "unknown")
                .value()
        }
    }
}

fn env_var(context: &Arc<Context>, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [name, default] = args.bind("env_var", ["var", "default"], 1)?;
    let name = text_argument("env_var", name.as_ref())?;
    if let Some(value) = context.unit_test().and_then(|test| test.overrides.env_vars.get(&name)) {
        return Ok(Value::from(value));
    }
    let value = env_value(&context.world.environment, &name, default.as_ref(), false);
    let read = context.world.environment.get(&name).map(|value| {
        if name.starts_with(SECRET_PREFIX) {
            blake3::hash(value.as_bytes()).to_hex().to_string()
        } else {
            value.to_owned()
        }
    });
    context.record().reads.env.insert(name, read);
    value
}

fn is_incremental(
    context: &Arc<Context>,
    args: &Args,
    _state: &mut State<'_>,
) -> Result<Value, Error> {
    args.bind::<0>("is_incremental", [], 0)?;
    let Some(run) = context.run() else { return Ok(Value::from(false)) };
    let config = &context.subject.config;
    let materialized = config.get("materialized").and_then(Json::as_str);
    let mut incremental = false;
    if materialized == Some("incremental") {
        let full_refresh =
            config.get("full_refresh").and_then(Json::as_bool).unwrap_or(run.state.full_refresh);
        let name = context.subject.relation.as_ref().and_then(Relation::name);
        if let (false, Some(name)) = (full_refresh, name) {
            incremental = relation_type(context, run, &name, false)? == Some(RelationType::Table);
        }
    }
    context.record().reads.is_incremental = Some(incremental);
    Ok(Value::from(incremental))
}

/// Whether a relation exists; `noted`: as a read of its own.
pub(super) fn relation_type(
    context: &Context,
    run: &Run,
    name: &RelationName,
    noted: bool,
) -> Result<Option<RelationType>, Error> {
    let found = run.state.warehouse.relation(name).map_err(carried)?;
    if noted {
        context.record().reads.relations.insert(name.to_string(), found);
    }
    Ok(found)
}

/// Runs statements that may write. What is only asked is noted; what is written makes the render
/// one that cannot be left out.
pub(super) fn execute(
    context: &Context,
    run: &Run,
    sql: &str,
) -> Result<(Executed, Arc<Table>), Error> {
    let sql = &super::relation::with_aliases(sql);
    let warehouse = &*run.state.warehouse;
    let adapted = context.world.adapted(sql, warehouse);
    let executed = adapted.and_then(|sql| warehouse.execute(&sql)).map_err(carried)?;
    if executed.is_write() {
        context.record().reads.writes = true;
    } else {
        let text = serde_json::to_string(&executed.table).unwrap_or_default();
        context.record().reads.queries.push(QueryRead {
            sql: sql.to_string(),
            result: blake3::hash(text.as_bytes()).to_hex().to_string(),
        });
    }
    let table = Table::new(&executed.table);
    Ok((executed, table))
}

fn log(context: &Arc<Context>, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [message, info] = args.bind("log", ["msg", "info"], 1)?;
    let text = message.unwrap_or(Value::None).to_string();
    let message = if info.is_some_and(|info| info.is_true()) {
        Message::Info(text)
    } else {
        Message::Debug(text)
    };
    context.record().messages.push(message);
    Ok(Value::from(""))
}

fn print(context: &Arc<Context>, args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
    let [message] = args.bind("print", ["msg"], 1)?;
    let text = message.unwrap_or(Value::None).to_string();
    context.record().messages.push(Message::Print(text));
    Ok(Value::from(""))
}

fn load_result(context: &Arc<Context>, args: &Args, _: &mut State<'_>) -> Result<Value, Error> {
    let [name] = args.bind("load_result", ["name"], 1)?;
    let name = text_argument("load_result", name.as_ref())?;
    Ok(context.record().results.get(&name).cloned().unwrap_or(Value::None))
}

fn store_result(context: &Arc<Context>, args: &Args, _: &mut State<'_>) -> Result<Value, Error> {
    let [name, response, table] =
        args.bind("store_result", ["name", "response", "agate_table"], 2)?;
    store(context, name.as_ref(), response.unwrap_or(Value::None), table)
}

fn store_raw_result(
    context: &Arc<Context>,
    args: &Args,
    _: &mut State<'_>,
) -> Result<Value, Error> {
    let [name, message, code, rows_affected, table] = args.bind(
        "store_raw_result",
        ["name", "message", "code", "rows_affected", "agate_table"],
        1,
    )?;
    let response = super::adapter::response(
        message.unwrap_or(Value::None),
        code.unwrap_or(Value::None),
        rows_affected.unwrap_or(Value::None),
    );
    store(context, name.as_ref(), response, table)
}

fn store(
    context: &Context,
    name: Option<&Value>,
    response: Value,
    table: Option<Value>,
) -> Result<Value, Error> {
    let name = text_argument("store_result", name)?;
    let table = table.unwrap_or(Value::None);
    let data = super::table::data_of(&table);
    let result = Value::dict([("response", response), ("data", data), ("table", table)]);
    context.record().results.insert(name, result);
    Ok(Value::from(""))
}

/// The hooks that are written, and the one that makes the view of a latest version.
fn post_hooks(context: &Context) -> Value {
    let written = config_value(context, "post-hook");
    let Model::Node(manifest, id) = &context.subject.model else { return written };
    let hooks = manifest.node(id).map(|node| node.config.post_hooks.as_slice());
    let Some(pointer) = hooks.into_iter().flatten().find(|hook| hook.is_pointer()) else {
        return written;
    };
    let pointer = Value::dict([
        ("sql", Value::from(pointer.sql.as_str())),
        ("transaction", Value::from(false)),
        ("index", Value::None),
    ]);
    Value::list(written.to_items().unwrap_or_default().into_iter().chain([pointer]))
}

fn config_value(context: &Context, key: &str) -> Value {
    context.subject.config.get(key).map(Value::from).unwrap_or(Value::list([]))
}

fn graph(context: &Context) -> Value {
    let Some(run) = context.run() else {
        return Value::from(&serde_json::json!({
            "nodes": {}, "sources": {}, "exposures": {}, "metrics": {}, "groups": {},
            "semantic_models": {}, "saved_queries": {}
        }));
    };
    let (graph, hash) = context.world.late.graph(&run.manifest);
    context.record().reads.graph = Some(hash);
    graph
}

fn from_yaml(args: &Args) -> Result<Value, Error> {
    let [value, default] = args.bind("fromyaml", ["value", "default"], 1)?;
    let text = text_argument("fromyaml", value.as_ref())?;
    let parsed = crate::yaml::parse(&crate::file::SourceFile::new("fromyaml", text));
    if parsed.diagnostics.has_errors() {
        return Ok(default.unwrap_or(Value::None));
    }
    Ok(Value::from(&parsed.root.to_json()))
}

fn to_yaml(args: &Args) -> Result<Value, Error> {
    let [value, default, sort_keys] = args.bind("toyaml", ["value", "default", "sort_keys"], 1)?;
    match value.unwrap_or(Value::None).to_json() {
        Ok(json) => {
            let sort = sort_keys.is_some_and(|sort| sort.is_true());
            Ok(Value::from(crate::yaml::write(&json, sort)))
        }
        Err(_) => Ok(default.unwrap_or(Value::None)),
    }
}

/// `dbt_utils` before a dot.
pub(super) fn namespace(context: &Arc<Context>, package: &str) -> Value {
    Value::object(Namespace { context: context.clone(), package: package.to_owned() })
}

macro_rules! object_debug {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
object_debug!(Namespace, Config, Var, Target, Flags, Exceptions, Everything, Ref);

/// `builtins.ref`, whose `config` packages ask for the versions of what is installed.
struct Ref(Arc<Context>);

impl Object for Ref {
    fn type_name(&self) -> &str {
        "RuntimeRefResolver"
    }

    fn is_callable(&self) -> bool {
        true
    }

    fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        reference(&self.0, args, state)
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        if name != "config" {
            return None;
        }
        let world = &self.0.world;
        let project = |name: &String, version: &Option<String>| {
            Value::dict([
                ("project_name", Value::from(name.as_str())),
                ("version", version.clone().into()),
            ])
        };
        let dependencies =
            world.versions.iter().map(|(name, version)| (name.as_str(), project(name, version)));
        let settings = &world.settings;
        Some(Value::dict([
            ("project_name", Value::from(settings.name.as_str())),
            ("version", settings.version.clone().into()),
            ("profile_name", Value::from(world.target.profile_name.as_str())),
            ("target_name", Value::from(world.target.name.as_str())),
            ("threads", Value::from(world.target.threads)),
            ("project_root", Value::from(settings.root.to_string_lossy().as_ref())),
            ("target_path", Value::from(settings.target_path.as_str())),
            ("dependencies", Value::dict(dependencies)),
            ("vars", super::results::object(Value::from(&Json::Object(settings.vars.clone())))),
            ("cli_vars", Value::from(&Json::Object(settings.cli_vars.clone()))),
        ]))
    }
}

struct Namespace {
    context: Arc<Context>,
    package: String,
}

impl Object for Namespace {
    fn type_name(&self) -> &str {
        "MacroNamespace"
    }

    fn get_attr(&self, name: &str, state: &State<'_>) -> Option<Value> {
        let known = &self.context.world.macros;
        if let Some(value) = self.context.overridden(&format!("{}.{name}", self.package)) {
            return Some(value);
        }
        if let Some(found) = known.in_package(&self.package, name) {
            note_macro(&self.context, &found);
            return Some(Value::Macro(found));
        }
        if self.package == crate::macros::INTERNAL {
            return match name {
                "is_incremental" | "ref" | "source" => lookup(&self.context, name),
                _ => None,
            };
        }
        // The error is better than "undefined is not callable".
        let names = known.names_in(&self.package);
        let near = crate::suggest::nearest(name, names.iter().map(|name| &**name));
        let message = match near {
            Some(near) => format!(
                "the package `{}` has no macro `{name}`; did you mean `{near}`?",
                self.package
            ),
            None => format!("the package `{}` has no macro `{name}`", self.package),
        };
        let _ = state;
        Some(Value::Undefined(tidemill_jinja::Undefined::with_message(message)))
    }

    // A dict in dbt.
    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let known = &self.context.world.macros;
        if known.in_package(&self.package, name).is_some() {
            return None;
        }
        let names = || self.iterate().unwrap_or_default();
        match name {
            "get" => {
                let key = args.get(0, "key").map(Value::to_string).unwrap_or_default();
                let default = args.get(1, "default").cloned().unwrap_or(Value::None);
                let found = known.in_package(&self.package, &key).is_some();
                let value = found.then(|| self.get_attr(&key, state)).flatten();
                Some(Ok(value.unwrap_or(default)))
            }
            "keys" => Some(Ok(Value::from(names()))),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["get", "keys"]
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        let names = self.context.world.macros.names_in(&self.package);
        Some(names.iter().map(|name| Value::from(&**name)).collect())
    }

    fn is_mapping(&self) -> bool {
        true
    }
}

struct Config(Arc<Context>);

impl Config {
    fn value(&self, name: &str) -> Option<Value> {
        let config = &self.0.subject.config;
        let name = crate::config::canonical_key(name);
        config.get(name).filter(|value| !value.is_null()).map(Value::from)
    }

    fn meta(&self, name: &str) -> Option<Value> {
        self.0.subject.config.get("meta")?.get(name).map(Value::from)
    }
}

impl Object for Config {
    fn type_name(&self) -> &str {
        "Config"
    }

    fn is_callable(&self) -> bool {
        true
    }

    fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        let values = match (args.positional(), args.keyword()) {
            ([one], []) => one.to_json(),
            ([], _) => Value::Dict(args.keyword_dict()).to_json(),
            _ => {
                return Err(Error::user("config() takes either named values or one mapping"));
            }
        };
        let values = values.map_err(|error| {
            Error::type_error(format!("a value of config() cannot be kept: {}", error.message()))
        })?;
        let Json::Object(values) = values else {
            return Err(Error::user("config() takes either named values or one mapping"));
        };
        self.0.record().configs.push(Noted { call: values, span: state.call_span() });
        Ok(Value::from(""))
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let parsing = self.0.run().is_none();
        let key = args.get(0, "name").map(Value::to_string).unwrap_or_default();
        let default = || args.get(1, "default").cloned().unwrap_or(Value::None);
        let missing = |key: &str| {
            Error::user(format!(
                "the config key `{key}` is required by `{}`, but not set",
                self.0.subject.name
            ))
        };
        Some(match name {
            // As in dbt, nothing is known yet while the project is parsed.
            "get" | "require" | "meta_get" | "meta_require" if parsing => Ok(Value::from("")),
            "get" => Ok(self.value(&key).unwrap_or_else(default)),
            "require" => self.value(&key).ok_or_else(|| missing(&key)),
            "meta_get" => Ok(self.meta(&key).unwrap_or_else(default)),
            "meta_require" => self.meta(&key).ok_or_else(|| missing(&key)),
            "set" => Ok(Value::from("")),
            "persist_relation_docs" | "persist_column_docs" => {
                let part = if name == "persist_relation_docs" { "relation" } else { "columns" };
                let docs = self.0.subject.config.get("persist_docs");
                let set = docs.and_then(|docs| docs.get(part)).and_then(Json::as_bool);
                Ok(Value::from(set.unwrap_or(false)))
            }
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &[
            "get",
            "require",
            "meta_get",
            "meta_require",
            "set",
            "persist_relation_docs",
            "persist_column_docs",
        ]
    }
}

struct Var(Arc<Context>);

impl Object for Var {
    fn type_name(&self) -> &str {
        "Var"
    }

    fn is_callable(&self) -> bool {
        true
    }

    fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        let [name, default] = args.bind("var", ["var", "default"], 1)?;
        let name = text_argument("var", name.as_ref())?;
        if let Some(value) = self.0.unit_test().and_then(|test| test.overrides.vars.get(&name)) {
            return Ok(Value::from(value));
        }
        let vars = self.0.world.vars_of(&self.0.subject.package);
        let read = vars.get(&name).cloned();
        // As in dbt, nothing is missing while the project is parsed: the node may be disabled.
        if read.is_none() && default.is_none() && self.0.run().is_none() {
            return Ok(Value::None);
        }
        self.0.record().reads.vars.insert(name.clone(), read.unwrap_or(Json::Null));
        let user = format!(" by `{}`", self.0.subject.name);
        var_value(&vars, &name, default.as_ref(), &user, state)
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "has_var").then(|| {
            let name = text_argument("has_var", args.get(0, "var"))?;
            let vars = self.0.world.vars_of(&self.0.subject.package);
            let value = vars.get(&name).cloned();
            let has = value.is_some();
            self.0.record().reads.vars.insert(name, value.unwrap_or(Json::Null));
            Ok(Value::from(has))
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &["has_var"]
    }
}

struct Target(Arc<Context>);

impl Target {
    fn field(&self, name: &str) -> Option<Value> {
        let value = self.0.world.target_map().shift_remove(name);
        self.0.record().reads.target.insert(name.to_owned(), value.clone().unwrap_or(Json::Null));
        value.as_ref().map(Value::from)
    }

    fn all(&self) -> Value {
        let map = self.0.world.target_map();
        let mut record = self.0.record();
        record.reads.target.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
        Value::from(&Json::Object(map))
    }
}

impl Object for Target {
    fn type_name(&self) -> &str {
        "dict"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        match name {
            "get" | "items" | "keys" | "values" => None,
            _ => self.field(name),
        }
    }

    fn get_item(&self, key: &Value, _state: &State<'_>) -> Option<Value> {
        self.field(key.as_str()?)
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "get" => {
                let key = args.get(0, "key").map(Value::to_string).unwrap_or_default();
                let default = args.get(1, "default").cloned().unwrap_or(Value::None);
                Some(Ok(self.field(&key).unwrap_or(default)))
            }
            "items" | "keys" | "values" => Some(self.all().call_method(name, args, state)),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["get", "items", "keys", "values"]
    }

    fn repr(&self) -> String {
        self.all().repr()
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        self.all().as_dict().map(|dict| dict.keys())
    }

    fn is_mapping(&self) -> bool {
        true
    }

    fn to_json(&self) -> Option<Value> {
        Some(self.all())
    }
}

struct Flags(Arc<Context>);

impl Object for Flags {
    fn type_name(&self) -> &str {
        "Flags"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.0.flag(name).as_ref().map(Value::from)
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "get").then(|| {
            let key = args.get(0, "key").map(Value::to_string).unwrap_or_default();
            let default = args.get(1, "default").cloned().unwrap_or(Value::None);
            Ok(self.0.flag(&key.to_ascii_uppercase()).as_ref().map(Value::from).unwrap_or(default))
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &["get"]
    }
}

struct Exceptions(Arc<Context>);

impl Object for Exceptions {
    fn type_name(&self) -> &str {
        "exceptions"
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let text = |index: usize, key: &str| {
            args.get(index, key).map(Value::to_string).unwrap_or_default()
        };
        Some(match name {
            "warn" => {
                let span = state.call_span();
                self.0.record().warnings.push((text(0, "msg"), span));
                Ok(Value::from(""))
            }
            "warn_snapshot_timestamp_data_types" => Ok(Value::from("")),
            "missing_config" => Err(Error::user(format!(
                "`{}` needs the config key `{}`",
                self.0.subject.name,
                text(1, "name")
            ))),
            "missing_materialization" => Err(Error::user(format!(
                "there is no materialization `{}`",
                self.0
                    .subject
                    .config
                    .get("materialized")
                    .and_then(Json::as_str)
                    .unwrap_or_default()
            ))),
            "missing_relation" => {
                Err(Error::user(format!("the relation {} was not found", text(0, "relation"))))
            }
            "relation_wrong_type" => Err(Error::user(format!(
                "{} is not a {}",
                text(0, "relation"),
                text(1, "expected_type")
            ))),
            "column_type_missing" => Err(Error::user(format!(
                "these columns need a data_type: {}",
                text(0, "column_names")
            ))),
            _ if name.starts_with("raise_") => {
                let message = text(0, "msg");
                Err(Error::user(if message.is_empty() {
                    name.trim_start_matches("raise_").replace('_', " ")
                } else {
                    message
                }))
            }
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &[
            "warn",
            "missing_config",
            "missing_materialization",
            "missing_relation",
            "relation_wrong_type",
            "column_type_missing",
            "warn_snapshot_timestamp_data_types",
            "raise_compiler_error",
            "raise_not_implemented",
            "raise_database_error",
            "raise_contract_error",
            "raise_fail_fast_error",
            "raise_dependency_error",
            "raise_dep_not_found",
            "raise_ambiguous_alias",
            "raise_ambiguous_catalog_match",
            "raise_cache_inconsistent",
            "raise_dataclass_not_dict",
            "raise_duplicate_patch_name",
            "raise_duplicate_resource_name",
            "raise_invalid_property_yml_version",
        ]
    }
}

/// `context['name']`
struct Everything(Arc<Context>);

impl Everything {
    fn added(&self, name: &str) -> Option<Value> {
        self.0.record().added.get(name).cloned()
    }
}

impl Object for Everything {
    fn type_name(&self) -> &str {
        "dict"
    }

    fn get_attr(&self, name: &str, state: &State<'_>) -> Option<Value> {
        self.added(name).or_else(|| state.lookup(name))
    }

    fn get_item(&self, key: &Value, state: &State<'_>) -> Option<Value> {
        self.get_attr(key.as_str()?, state)
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "get" => {
                let key = args.get(0, "key").map(Value::to_string).unwrap_or_default();
                let default = args.get(1, "default").cloned().unwrap_or(Value::None);
                Some(Ok(self.get_attr(&key, state).unwrap_or(default)))
            }
            // What a package keeps there for the rest of the template.
            "update" => {
                let mut record = self.0.record();
                if let Some(dict) = args.get(0, "values").and_then(Value::as_dict) {
                    for (key, value) in dict.entries() {
                        record.added.insert(key.to_string(), value);
                    }
                }
                for (key, value) in args.keyword() {
                    record.added.insert(key.to_string(), value.clone());
                }
                Some(Ok(Value::None))
            }
            _ => None,
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        &["get", "update"]
    }

    fn contains(&self, value: &Value) -> Option<bool> {
        let name = value.as_str()?;
        let (own, known) = (&self.0.subject.package, &self.0.world.macros);
        Some(
            self.0.locals.contains_key(name)
                || lookup(&self.0, name).is_some()
                || known.by_name(name, own, own).is_some()
                || known.is_namespace(name),
        )
    }

    fn is_mapping(&self) -> bool {
        true
    }
}

/// `validation.any[...]`
#[derive(Debug)]
struct Validation;

impl Object for Validation {
    fn type_name(&self) -> &str {
        "validation"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        (name == "any").then(|| Value::object(Validation))
    }

    fn get_item(&self, _key: &Value, _state: &State<'_>) -> Option<Value> {
        Some(Value::None)
    }

    fn call(&self, _args: &Args, _state: &mut State<'_>) -> Result<Value, Error> {
        Ok(Value::None)
    }

    fn is_callable(&self) -> bool {
        true
    }
}
