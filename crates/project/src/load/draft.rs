//! Nodes as their files alone tell of them: what each refers to and how it configures itself.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tidemill_core::{Diagnostic, DiagnosticLevel, Diagnostics, SourcePosition, UniqueId};
use tidemill_jinja::{
    DefinitionKind, ErrorKind, Options, Source, Span, StaticCall, StaticCalls, Template, Value,
};

use super::files::{FileKind, ParsedFile};
use crate::config::{Layer, NodeConfig};
use crate::manifest::{RefCall, ResourceType, SourceCall};
use crate::read::project_file::Package;
use crate::read::walk::{folders, stem};
use crate::render::context::{Context, ContextHost, Model, Noted, NotedMacros, Phase, Subject};
use crate::render::errors;
use crate::render::relation::Relation;
use crate::world::World;

/// A node before its configuration is known.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) kind: ResourceType,
    pub(super) name: String,
    pub(super) package: Arc<Package>,
    pub(super) original: String,
    pub(super) relative: String,
    pub(super) fqn: Vec<String>,
    pub(super) raw_code: Arc<str>,
    pub(super) language: &'static str,
    pub(super) checksum: String,
    pub(super) refs: Vec<(RefCall, Option<SourcePosition>)>,
    pub(super) sources: Vec<(SourceCall, Option<SourcePosition>)>,
    pub(super) config: Layer,
    /// The same before levels are merged, under the names that `config()` has.
    pub(super) said: Map<String, Json>,
    pub(super) macros: NotedMacros,
    pub(super) simple: bool,
    pub(super) template: Option<Template>,
    pub(super) position: SourcePosition,
    pub(super) version: Option<String>,
    pub(super) latest_version: Option<String>,
}

impl Draft {
    /// What its `config()` calls say, with the text of expressions instead of their values: what
    /// another environment or another var changes is no change of the node.
    pub(super) fn written_config(&self) -> Map<String, Json> {
        // What is no text is written as Python writes it.
        let text = |value: &Json| match value {
            Json::String(_) => value.clone(),
            other => tidemill_jinja::Value::from(other).to_string().into(),
        };
        let said = if self.said.is_empty() { &self.config.values } else { &self.said };
        if self.is_read_off() {
            return said.clone();
        }
        let mut all: Map<String, Json> =
            said.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        let template = self.template.as_ref();
        let Some(template) =
            template.filter(|_| !self.simple && self.kind != ResourceType::Snapshot)
        else {
            return all;
        };
        let calls = template.static_calls();
        for call in calls.calls.iter().filter(|call| &*call.function == "config") {
            for arg in call.args.iter().filter(|arg| arg.value.is_none()) {
                if let Some(name) = &arg.name {
                    all.insert(name.to_string(), arg.span.text().trim().into());
                }
            }
        }
        all
    }

    /// Whether dbt reads the values of `config()` off the text, too, and so keeps them as they are:
    /// of a model whose values are texts, `True` and `False`, and lists and mappings of them.
    fn is_read_off(&self) -> bool {
        fn plain(value: &Json) -> bool {
            match value {
                Json::String(_) | Json::Bool(_) => true,
                Json::Array(items) => items.iter().all(plain),
                Json::Object(map) => map.values().all(plain),
                Json::Null | Json::Number(_) => false,
            }
        }
        let template = self.template.as_ref();
        let Some(template) = template.filter(|_| self.simple && self.kind == ResourceType::Model)
        else {
            return false;
        };
        let calls = template.static_calls();
        let configs = calls.calls.iter().filter(|call| &*call.function == "config");
        configs.flat_map(|call| &call.args).all(|arg| {
            let value = arg.value.as_ref().and_then(|value| value.to_json().ok());
            let text = arg.span.text();
            // `true` is a word of Jinja, and not of the text that is read.
            let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            arg.name.is_some()
                && value.is_some_and(|value| plain(&value))
                && !words.any(|word| matches!(word, "true" | "false"))
        })
    }

    /// Takes what one `config()` call says.
    fn configure(&mut self, layer: &Layer) {
        self.config.apply(layer);
        for (key, value) in &layer.values {
            self.said.insert(key.replace('-', "_"), value.clone());
        }
    }
}

/// The nodes of a file.
pub(super) fn drafts(
    file: &ParsedFile,
    world: &Arc<World>,
    diagnostics: &mut Diagnostics,
) -> Vec<Draft> {
    let kind = match file.job.kind {
        FileKind::Model | FileKind::PythonModel => ResourceType::Model,
        FileKind::Seed => ResourceType::Seed,
        FileKind::SingularTest => ResourceType::Test,
        FileKind::Analysis => ResourceType::Analysis,
        _ => ResourceType::Snapshot,
    };
    let found = &file.job.found;
    let package = &file.job.package;
    let name = stem(&found.relative).to_owned();
    let mut fqn = vec![package.name.clone()];
    if kind == ResourceType::Analysis {
        fqn.push("analysis".to_owned());
    }
    fqn.extend(folders(&found.relative).map(str::to_owned));
    let draft = Draft {
        kind,
        name: name.clone(),
        package: package.clone(),
        original: found.original.clone(),
        relative: match kind {
            ResourceType::Analysis => format!("analysis/{}", found.relative),
            _ => found.relative.clone(),
        },
        fqn: fqn.clone(),
        raw_code: file.file.text.clone(),
        language: if file.job.kind == FileKind::PythonModel { "python" } else { "sql" },
        checksum: file.checksum.clone(),
        refs: Vec::new(),
        sources: Vec::new(),
        config: Layer::default(),
        said: Map::new(),
        macros: NotedMacros::default(),
        simple: false,
        template: file.template.clone(),
        position: file.file.position(0, 0),
        version: None,
        latest_version: None,
    };
    match file.job.kind {
        FileKind::Snapshot => {
            fqn.push(name);
            let mut drafts = Vec::new();
            for definition in &file.definitions {
                if definition.kind != DefinitionKind::Snapshot {
                    continue;
                }
                let mut draft = Draft {
                    name: definition.name.to_string(),
                    raw_code: Arc::from(definition.body()),
                    position: errors::position(&definition.name_span),
                    ..draft.clone()
                };
                draft.fqn = fqn.clone();
                draft.fqn.push(draft.name.clone());
                if let Ok(template) = definition.body_template() {
                    let calls = template.static_calls();
                    note_calls(&mut draft, &template, &calls, world, diagnostics);
                }
                drafts.push(draft);
            }
            drafts
        }
        FileKind::Model | FileKind::SingularTest | FileKind::Analysis => {
            let mut draft = draft;
            draft.fqn.push(name);
            let (Some(template), Some(calls)) = (&file.template, &file.calls) else {
                return Vec::new();
            };
            note_calls(&mut draft, template, calls, world, diagnostics);
            vec![draft]
        }
        FileKind::PythonModel => {
            let Some(model) = super::python::read(&file.file, diagnostics) else {
                return Vec::new();
            };
            let mut draft = draft;
            draft.fqn.push(name);
            draft.refs = model.refs.into_iter().map(|(call, place)| (call, Some(place))).collect();
            draft.sources =
                model.sources.into_iter().map(|(call, place)| (call, Some(place))).collect();
            draft.config = model.config;
            draft.position = file.file.position(model.function.0, model.function.1);
            vec![draft]
        }
        _ => {
            let mut draft = draft;
            draft.fqn.push(name);
            draft.raw_code = Arc::from("");
            draft.simple = true;
            vec![draft]
        }
    }
}

/// What a template refers to and how it configures itself: read off when that is all it does,
/// else by rendering it with `execute` false.
fn note_calls(
    draft: &mut Draft,
    template: &Template,
    calls: &StaticCalls,
    world: &Arc<World>,
    diagnostics: &mut Diagnostics,
) {
    if calls.simple && read_off(draft, calls) {
        draft.simple = true;
        return;
    }
    draft.refs.clear();
    draft.sources.clear();
    draft.config = Layer::default();
    draft.said.clear();
    let context = parse_context(draft, Arc::default(), world);
    let host = ContextHost { context: context.clone() };
    let rendered = template.render(&host, &Options::for_package(draft.package.name.as_str()));
    // As in dbt, a name that nothing has (a macro of a package that is not installed, say) fails the
    // node when it is built, and no other. A mistake within a macro is one of the project.
    let mut unfinished = false;
    if let Err(error) = rendered {
        let what = format!("{} `{}`", draft.kind, draft.name);
        let mut found = errors::diagnostic(&error, &what);
        if error.kind() == ErrorKind::Undefined && error.stack().is_empty() {
            unfinished = true;
            found.level = DiagnosticLevel::Warning;
            found.hint.get_or_insert_with(|| UNDEFINED.to_owned());
        }
        diagnostics.push(found);
    }
    let record = context.take_record();
    note_refs(draft, record.refs, |noted| {
        (literal_place(noted, &noted.call.name), own_span(&noted.span, template))
    });
    note_sources(draft, record.sources, |noted| {
        (literal_place(noted, &noted.call.table), own_span(&noted.span, template))
    });
    let written = config_places(calls);
    if unfinished {
        note_written(draft, calls);
    }
    for noted in record.configs {
        let mut layer = Layer::default();
        for (key, value) in noted.call {
            let place = written.get(key.as_str()).cloned().or_else(|| {
                noted.span.as_ref().filter(|span| is_users(span)).map(errors::position)
            });
            layer.set(&key, value, place);
        }
        draft.configure(&layer);
    }
    draft.macros = record.macros;
}

/// A node's context while the project is read.
fn parse_context(
    draft: &Draft,
    config: Arc<Map<String, Json>>,
    world: &Arc<World>,
) -> Arc<Context> {
    let target = &world.target;
    let unique_id = UniqueId::new(format!("{}.{}.{}", draft.kind, draft.package.name, draft.name));
    let model = json!({
        "name": draft.name, "alias": draft.name, "database": target.database,
        "schema": target.schema, "unique_id": unique_id, "package_name": draft.package.name,
        "resource_type": draft.kind.as_str(), "path": draft.relative,
        "original_file_path": draft.original, "fqn": draft.fqn, "raw_code": &*draft.raw_code,
        "config": &*config, "tags": [], "meta": {}, "description": "", "columns": {},
        "refs": [], "sources": [], "depends_on": {"nodes": [], "macros": []},
        "language": draft.language, "version": null, "batch": null,
    });
    let subject = Subject {
        unique_id,
        name: draft.name.clone(),
        package: Arc::from(draft.package.name.as_str()),
        relation: Some(Relation::new(world.style(), &target.database, &target.schema, &draft.name)),
        config,
        model: Model::Draft(model),
        depends_on: Arc::from([]),
    };
    Arc::new(Context::new(world, subject, Phase::Parse))
}

/// Where a reference is written, and where in the node's own template.
type Written = (Option<SourcePosition>, Option<(usize, usize)>);

fn note_refs(
    draft: &mut Draft,
    found: Vec<Noted<RefCall>>,
    written: impl Fn(&Noted<RefCall>) -> Written,
) {
    for noted in found {
        let (place, span) = written(&noted);
        draft.refs.push((RefCall { span, ..noted.call }, place));
    }
}

fn note_sources(
    draft: &mut Draft,
    found: Vec<Noted<SourceCall>>,
    written: impl Fn(&Noted<SourceCall>) -> Written,
) {
    for noted in found {
        let (place, span) = written(&noted);
        let call = SourceCall { span, ..noted.call };
        let known = |known: &SourceCall| known.source == call.source && known.table == call.table;
        if !draft.sources.iter().any(|(other, _)| known(other)) {
            draft.sources.push((call, place));
        }
    }
}

/// Takes what the node's hooks refer to, and the macros that they call: as in dbt, what a hook reads is built
/// before the node. A hook that cannot be rendered now (it may need what a query gives) fails when it runs.
pub(super) fn note_hooks(
    draft: &mut Draft,
    config: &NodeConfig,
    world: &Arc<World>,
    diagnostics: &mut Diagnostics,
) {
    let hooks = config.pre_hooks.iter().chain(&config.post_hooks);
    let templates = hooks.filter(|hook| hook.sql.contains("{{") || hook.sql.contains("{%"));
    let mut context = None;
    for hook in templates {
        let source = Source::new(draft.original.as_str(), hook.sql.as_str());
        let Ok(template) = Template::parse(&source) else { continue };
        let context = context
            .get_or_insert_with(|| parse_context(draft, Arc::new(config.all.clone()), world));
        let host = ContextHost { context: context.clone() };
        let _ = template.render(&host, &Options::for_package(draft.package.name.as_str()));
        let record = context.take_record();
        let place = hook.position.clone().unwrap_or_else(|| draft.position.clone());
        if draft.kind != ResourceType::Seed {
            note_refs(draft, record.refs, |_| (Some(place.clone()), None));
            note_sources(draft, record.sources, |_| (Some(place.clone()), None));
        } else if !record.refs.is_empty() || !record.sources.is_empty() {
            diagnostics.push(
                Diagnostic::error(
                    "seed-hook",
                    format!(
                        "a hook of the seed `{}` calls `ref` or `source`, itself or in a macro: seeds \
                         are there before all else, so they cannot depend on other nodes",
                        draft.name
                    ),
                )
                .at(place)
                .hint("put it into a hook of a model that reads the seed, or into `on-run-end`"),
            );
        }
        for id in record.macros.direct {
            if !draft.macros.direct.contains(&id) {
                draft.macros.direct.push(id);
            }
        }
        draft.macros.reached.extend(record.macros.reached);
    }
}

const UNDEFINED: &str = "it fails when it is built; check the spelling, or install the package of a macro with \
                         `tidemill deps`";

/// Takes the literal calls of a template that could not be rendered to its end.
fn note_written(draft: &mut Draft, calls: &StaticCalls) {
    for call in calls.calls.iter().filter(|call| call.literal && !call.conditional) {
        read_off(draft, &StaticCalls { calls: vec![call.clone()], simple: false });
    }
}

/// Takes everything from the literal calls; false when one of them is not understood.
fn read_off(draft: &mut Draft, calls: &StaticCalls) -> bool {
    for call in &calls.calls {
        match &*call.function {
            "ref" => {
                let Some((call, place)) = static_ref(call) else { return false };
                draft.refs.push((call, Some(place)));
            }
            "source" => {
                let Some([source, table]) =
                    call.strings().and_then(|strings| <[&str; 2]>::try_from(strings).ok())
                else {
                    return false;
                };
                if call.args.len() != 2 {
                    return false;
                }
                let found = SourceCall {
                    source: source.to_owned(),
                    table: table.to_owned(),
                    span: Some((call.span.start(), call.span.end())),
                };
                let known =
                    |known: &SourceCall| known.source == found.source && known.table == found.table;
                if !draft.sources.iter().any(|(other, _)| known(other)) {
                    let place = unquoted_place(&call.args[1].span);
                    draft.sources.push((found, Some(place)));
                }
            }
            "config" => {
                let Some(layer) = static_config(call) else { return false };
                draft.configure(&layer);
            }
            _ => {}
        }
    }
    true
}

fn static_ref(call: &StaticCall) -> Option<(RefCall, SourcePosition)> {
    let strings = call.strings()?;
    let (package, name) = match strings.as_slice() {
        [name] => (None, *name),
        [package, name] => (Some((*package).to_owned()), *name),
        _ => return None,
    };
    let mut version = None;
    for arg in call.args.iter().filter(|arg| arg.name.is_some()) {
        match (arg.name.as_deref(), &arg.value) {
            (Some("v" | "version"), Some(Value::None)) => {}
            (Some("v" | "version"), Some(value)) => version = Some(value.to_string()),
            _ => return None,
        }
    }
    let at = call.args.iter().rfind(|arg| arg.name.is_none())?;
    let place = unquoted_place(&at.span);
    let span = Some((call.span.start(), call.span.end()));
    Some((RefCall { package, name: name.to_owned(), version, span }, place))
}

fn static_config(call: &StaticCall) -> Option<Layer> {
    let mut layer = Layer::default();
    for arg in &call.args {
        let value = arg.value.as_ref()?.to_json().ok()?;
        match (&arg.name, value) {
            (Some(name), value) => layer.set(name, value, Some(errors::position(&arg.span))),
            (None, Json::Object(map)) if call.args.len() == 1 => {
                for (key, value) in map {
                    layer.set(&key, value, Some(errors::position(&arg.span)));
                }
            }
            _ => return None,
        }
    }
    Some(layer)
}

/// Where the values of literal `config` arguments stand.
fn config_places(calls: &StaticCalls) -> HashMap<String, SourcePosition> {
    let mut places = HashMap::new();
    for call in calls.calls.iter().filter(|call| &*call.function == "config") {
        for arg in &call.args {
            if let Some(name) = &arg.name {
                places.insert(name.to_string(), errors::position(&arg.span));
            }
        }
    }
    places
}

/// The place of a text without its quotes.
fn unquoted_place(span: &Span) -> SourcePosition {
    let mut place = errors::position(span);
    if span.text().len() >= 2 && span.text().starts_with(['\'', '"']) {
        place.start += 1;
        place.end -= 1;
    }
    place
}

/// The place of a name within the call that was noted, where it is written there; else the call.
fn literal_place<T>(noted: &Noted<T>, name: &str) -> Option<SourcePosition> {
    let span = noted.span.as_ref().filter(|span| is_users(span))?;
    let (start, end) = call_range(span);
    let text = &span.source().text()[start..end];
    let mut place = errors::position(span);
    (place.start, place.end) = (start, end);
    for quote in ['\'', '"'] {
        if let Some(at) = text.find(&format!("{quote}{name}{quote}")) {
            place.start = start + at + 1;
            place.end = place.start + name.len();
        }
    }
    Some(place)
}

/// The bytes of a call with its arguments, of which the callee's place is known.
fn call_range(span: &Span) -> (usize, usize) {
    let text = span.source().text();
    let rest = &text[span.start()..];
    let end = match rest.find(')') {
        Some(at) => span.start() + at + 1,
        None => span.end(),
    };
    (span.start(), end.max(span.end()))
}

fn is_users(span: &Span) -> bool {
    !crate::macros::is_builtin_file(span.source().name())
}

fn own_span(span: &Option<Span>, template: &Template) -> Option<(usize, usize)> {
    let span = span.as_ref()?;
    Arc::ptr_eq(span.source(), template.source()).then(|| call_range(span))
}
