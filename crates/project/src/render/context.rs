//! The names of a template of the project: what a render may call, and the record of what it
//! did.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use tidemill_core::{SqlDialect, UniqueId};
use tidemill_jinja::{Host, Span, State, Value};

use super::functions;
use super::reads::Reads;
use super::relation::Relation;
use super::state::{Message, RenderState, UnitTestState};
use crate::macros;
use crate::manifest::{Manifest, RefCall, SourceCall};
use crate::resolve::RefIndex;
use crate::world::World;

/// What a template belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) unique_id: UniqueId,
    pub(crate) name: String,
    pub(crate) package: Arc<str>,
    /// `this`; none for a hook of the whole run.
    pub(crate) relation: Option<Relation>,
    /// The effective configuration (at parse time: what is known of it).
    pub(crate) config: Arc<Map<String, Json>>,
    /// `model`
    pub(crate) model: Model,
    pub(crate) depends_on: Arc<[UniqueId]>,
}

/// `model` of a template: few ask for it, and it is large, so it is made when it is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Model {
    /// Nothing is known of it (a hook of the run, a query of the command line).
    Empty,
    /// As far as it is known while the project is read.
    Draft(Json),
    /// A node of the manifest.
    Node(Arc<Manifest>, UniqueId),
}

impl Model {
    /// What the template sees.
    pub(crate) fn value(&self) -> Value {
        match self {
            Model::Empty => Value::from(&Json::Object(Map::new())),
            Model::Draft(json) => Value::from(json),
            Model::Node(manifest, id) => match manifest.nodes.get(id) {
                Some(node) => Value::from(&crate::artifact::node_json(node)),
                None => Value::from(&Json::Object(Map::new())),
            },
        }
    }
}

/// Whether names are only noted or really resolved.
pub(crate) enum Phase {
    /// `ref`, `source` and `config` are noted; `execute` is false.
    Parse,
    /// Everything is resolved.
    Run(Box<Run>),
}

/// What a real render resolves names with.
pub(crate) struct Run {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) index: Arc<RefIndex>,
    pub(crate) state: RenderState,
    /// Operations and hooks may not refer to inlined models.
    pub(crate) operation: bool,
}

/// A noted `ref()` with its place.
#[derive(Debug, Clone)]
pub(crate) struct Noted<T> {
    pub(crate) call: T,
    pub(crate) span: Option<Span>,
}

/// The macros that a render has named (unique ids).
#[derive(Debug, Clone, Default)]
pub(crate) struct NotedMacros {
    /// Those that the text itself calls, in their order: what dbt keeps of a node.
    pub(crate) direct: Vec<String>,
    /// All, also those that macros call.
    pub(crate) reached: BTreeSet<String>,
}

/// What a render did.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) reads: Reads,
    pub(crate) results: HashMap<String, Value>,
    pub(crate) messages: Vec<Message>,
    pub(crate) warnings: Vec<(String, Option<Span>)>,
    pub(crate) refs: Vec<Noted<RefCall>>,
    pub(crate) sources: Vec<Noted<SourceCall>>,
    pub(crate) configs: Vec<Noted<Map<String, Json>>>,
    pub(crate) macros: NotedMacros,
    /// `write(…)`: the statement of a materialization.
    pub(crate) written: Option<String>,
    /// Inlined models, in the order of their `ref`.
    pub(crate) inlined: Vec<UniqueId>,
    /// Nodes that the parse pass did not see.
    pub(crate) late: Vec<UniqueId>,
    /// What the template has put into its `context`.
    pub(crate) added: HashMap<String, Value>,
}

/// One render: shared by everything that its template calls.
pub(crate) struct Context {
    pub(crate) world: Arc<World>,
    pub(crate) subject: Subject,
    pub(crate) phase: Phase,
    /// Names that only this render has.
    pub(crate) locals: HashMap<String, Value>,
    record: Mutex<Record>,
}

impl Context {
    pub(crate) fn new(world: &Arc<World>, subject: Subject, phase: Phase) -> Self {
        Context {
            world: world.clone(),
            subject,
            phase,
            locals: HashMap::new(),
            record: Mutex::new(Record::default()),
        }
    }

    /// The SQL that the node is written in, where it is not the engine's own.
    pub(crate) fn dialect(&self) -> Option<SqlDialect> {
        let config = &self.subject.config;
        let written = config
            .get("dialect")
            .filter(|value| !value.is_null())
            .or_else(|| config.get("meta")?.get("dialect"))?;
        SqlDialect::parse(written.as_str()?)
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        // A panic elsewhere does not make the record wrong: entries are only added.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_record(&self) -> Record {
        std::mem::take(&mut *self.record())
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Run(run) => Some(run),
            Phase::Parse => None,
        }
    }

    /// What a unit test says of this render.
    pub(crate) fn unit_test(&self) -> Option<&Arc<UnitTestState>> {
        self.run()?.state.unit_test.as_ref()
    }

    /// The macro that a unit test puts in place of the one of this name.
    pub(crate) fn overridden(&self, name: &str) -> Option<Value> {
        let value = Value::from(self.unit_test()?.overrides.macros.get(name)?);
        Some(Value::function("override", move |_, _| Ok(value.clone())))
    }

    /// Notes a read of `flags`.
    pub(crate) fn flag(&self, name: &str) -> Option<Json> {
        let set = self.world.settings.flags.get(&name.to_ascii_lowercase());
        let value = match (name, self.run()) {
            ("FULL_REFRESH", run) => run.is_some_and(|run| run.state.full_refresh).into(),
            ("STORE_FAILURES", run) => run.is_some_and(|run| run.state.store_failures).into(),
            ("EMPTY", run) => run.is_some_and(|run| run.state.empty).into(),
            ("WHICH" | "RPC_METHOD", Some(run)) => run.state.command.as_str().into(),
            ("WHICH" | "RPC_METHOD", None) => "build".into(),
            (_, _) if set.is_some_and(|value| !value.is_null()) => set.cloned().unwrap_or_default(),
            ("INTROSPECT" | "POPULATE_CACHE" | "PRINT" | "WRITE_JSON", _) => true.into(),
            (
                "DEBUG"
                | "FAIL_FAST"
                | "QUIET"
                | "USE_COLORS"
                | "WARN_ERROR"
                | "DEFER"
                | "FAVOR_STATE"
                | "PARTIAL_PARSE"
                | "CACHE_SELECTED_ONLY",
                _,
            ) => false.into(),
            ("INDIRECT_SELECTION", _) => "eager".into(),
            ("LOG_FORMAT", _) => "default".into(),
            _ => set?.clone(),
        };
        self.record().reads.flags.insert(name.to_owned(), value.clone());
        Some(value)
    }
}

impl Drop for Context {
    /// A render that went well has taken its record: what is left was said by one that failed.
    fn drop(&mut self) {
        let record = self.record.get_mut().unwrap_or_else(PoisonError::into_inner);
        let messages = std::mem::take(&mut record.messages);
        if !messages.is_empty()
            && let Phase::Run(run) = &self.phase
        {
            run.state.unsaid.add(messages);
        }
    }
}

/// The host of a render.
pub(crate) struct ContextHost {
    pub(crate) context: Arc<Context>,
}

impl Host for ContextHost {
    fn lookup(&self, name: &str, state: &State<'_>) -> Option<Value> {
        let context = &self.context;
        if let Some(value) = context.locals.get(name) {
            return Some(value.clone());
        }
        if let Some(value) = context.overridden(name) {
            return Some(value);
        }
        let own = &context.subject.package;
        let known = &context.world.macros;
        if let Some(found) = known.of_node(name, own) {
            note_macro(context, &found);
            return Some(macros::value(found));
        }
        if let Some(value) = functions::lookup(context, name) {
            return Some(match MACROS_OF_DBT.contains(&name) {
                true => noted_function(context, name, value),
                false => value,
            });
        }
        if let Some(found) = known.of_projects(name, own, state.package()) {
            note_macro(context, &found);
            return Some(macros::value(found));
        }
        if let Some(found) = known.by_name(name, own, state.package()) {
            note_macro(context, &found);
            return Some(macros::value(found));
        }
        known.is_namespace(name).then(|| functions::namespace(context, name))
    }

    fn called(&self, called: &Arc<tidemill_jinja::Macro>, state: &State<'_>) {
        let context = &self.context;
        let known = context.world.macros.in_package(called.package(), called.name());
        if known.is_some_and(|known| Arc::ptr_eq(&known, called)) {
            note_call(context, id_of(called), state);
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.context.record().reads.clock = true;
        match self.context.run() {
            Some(run) => run.state.now,
            None => Utc::now(),
        }
    }

    fn local_offset_seconds(&self) -> i32 {
        use chrono::Offset as _;
        let Ok(zone) = self.context.world.settings.timezone.parse::<chrono_tz::Tz>() else {
            return 0;
        };
        let now = self.context.run().map_or_else(Utc::now, |run| run.state.now);
        now.with_timezone(&zone).offset().fix().local_minus_utc()
    }

    fn random(&self, below: usize) -> usize {
        self.context.record().reads.random = true;
        let nanos = u64::try_from(Utc::now().timestamp_nanos_opt().unwrap_or(0)).unwrap_or(0);
        let mixed = nanos.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        if below == 0 { 0 } else { (mixed % below as u64) as usize }
    }
}

/// What is a function here and a macro in dbt.
const MACROS_OF_DBT: [&str; 5] =
    ["is_incremental", "run_query", "statement", "should_full_refresh", "load_relation"];

/// Notes that a macro is named: what it says counts for what names it, called or not.
pub(crate) fn note_macro(context: &Context, found: &tidemill_jinja::Macro) {
    if matches!(context.phase, Phase::Parse) {
        context.record().macros.reached.insert(id_of(found));
    }
}

fn id_of(found: &tidemill_jinja::Macro) -> String {
    format!("macro.{}.{}", found.package(), found.name())
}

/// Notes a call. Those that the text itself makes are kept in the order in which they begin, so a
/// macro in the arguments of another comes before it; what a macro calls is that macro's own. A
/// macro of the text itself is part of the text.
fn note_call(context: &Context, id: String, state: &State<'_>) {
    let known = &context.world.macros;
    let is_known = |frame: &tidemill_jinja::Frame| {
        frame.name.as_ref() != "caller" && known.in_package(&frame.package, &frame.name).is_some()
    };
    let mut record = context.record();
    if !state.frames().iter().any(is_known) && !record.macros.direct.contains(&id) {
        record.macros.direct.push(id.clone());
    }
    record.macros.reached.insert(id);
}

/// A function that stands for a macro of dbt: its calls are noted like those of a macro.
fn noted_function(context: &Arc<Context>, name: &str, function: Value) -> Value {
    let id = format!("macro.{}.{name}", macros::INTERNAL);
    let context = context.clone();
    Value::function(name, move |args, state| {
        note_call(&context, id.clone(), state);
        function.call(args, state)
    })
}
