//! A parsed template: rendering it, and what can be known without rendering.

use std::sync::Arc;

use crate::budget::Budget;
use crate::error::Error;
use crate::host::Host;
use crate::macros::Macro;
use crate::native;
use crate::render;
use crate::source::{Loc, Source, Span};
use crate::state::State;
use crate::syntax::ast::{Body, Expr, MacroDef, MacroKind, Node, NodeKind};
use crate::syntax::parser;
use crate::value::Value;

/// A parsed template. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Template {
    inner: Arc<Inner>,
}

struct Inner {
    source: Arc<Source>,
    body: Body,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Template").field(&self.inner.source.name()).finish()
    }
}

/// What a block defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefinitionKind {
    /// `{% macro name(...) %}`
    Macro,
    /// `{% test name(...) %}` or `{% data_test name(...) %}`
    Test,
    /// `{% materialization name, adapter='x' %}`
    Materialization,
    /// `{% snapshot name %}`
    Snapshot,
    /// `{% docs name %}`
    Docs,
}

/// One parameter of a macro.
#[derive(Clone, Debug)]
pub struct ParameterInfo {
    /// Its name.
    pub name: Arc<str>,
    /// The text of its default, as written.
    pub default: Option<String>,
}

/// A block that defines something.
#[derive(Clone)]
pub struct Definition {
    /// What it defines.
    pub kind: DefinitionKind,
    /// The name as written in the tag.
    pub name: Arc<str>,
    /// The name it is found by: `test_x` for a test, `materialization_x_default` (or its adapter)
    /// for a materialization, else the name.
    pub full_name: Arc<str>,
    /// The adapter of a materialization.
    pub adapter: Option<Arc<str>>,
    /// `supported_languages` of a materialization (default: sql).
    pub languages: Vec<Arc<str>>,
    /// The parameters of a macro or test.
    pub parameters: Vec<ParameterInfo>,
    /// The whole block with its tags.
    pub span: Span,
    /// The name in the tag.
    pub name_span: Span,
    /// What stands between the tags.
    pub body_span: Span,
    def: Option<Arc<MacroDef>>,
}

impl Definition {
    /// The text between the tags, as written.
    pub fn body(&self) -> &str {
        self.body_span.text()
    }

    /// The whole block as written (dbt's `macro_sql`).
    pub fn text(&self) -> &str {
        self.span.text()
    }

    pub(crate) fn def(&self) -> Option<&MacroDef> {
        self.def.as_deref()
    }

    /// The callable macro, for a macro, test or materialization of `package`.
    pub fn to_macro(&self, package: impl Into<Arc<str>>) -> Option<Arc<Macro>> {
        self.def.as_ref().map(|def| Arc::new(Macro::new(def.clone(), package.into(), None)))
    }

    /// [`Definition::to_macro`] as a value.
    pub fn to_value(&self, package: impl Into<Arc<str>>) -> Option<Value> {
        self.to_macro(package).map(Value::Macro)
    }

    /// The body as a template of its own (a snapshot's query), with places in this file.
    pub fn body_template(&self) -> Result<Template, Error> {
        Template::parse_part(self.body_span.source(), self.body_span.start(), self.body_span.end())
    }
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}

/// How to render.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The package the template belongs to: [`State::package`] outside of macros.
    pub package: Arc<str>,
    /// What the render may use.
    pub budget: Budget,
}

impl Options {
    /// Default budget, for a template of `package`.
    pub fn for_package(package: impl Into<Arc<str>>) -> Self {
        Self { package: package.into(), budget: Budget::default() }
    }

    /// The same with the limits of what runs while models are built.
    #[must_use]
    pub fn of_runs(self) -> Self {
        Self { budget: Budget::of_runs(), ..self }
    }
}

impl Template {
    /// Parses a template; the error has the place.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Error> {
        Self::parse_part(source, 0, source.text().len())
    }

    /// Parses a file of macros: an unknown tag between them is left out, as in dbt, unless it looks like
    /// a misspelled one.
    pub fn parse_library(source: &Arc<Source>) -> Result<Self, Error> {
        if u32::try_from(source.text().len()).is_err() {
            return Err(Error::new(crate::ErrorKind::Syntax, "the template is larger than 4 GiB"));
        }
        let body = parser::parse_library(source)?;
        Ok(Self { inner: Arc::new(Inner { source: source.clone(), body }) })
    }

    /// Parses a text that has no file.
    pub fn from_text(name: &str, text: &str) -> Result<Self, Error> {
        Self::parse(&Source::new(name, text))
    }

    /// Parses the bytes `start..end` of a source; places are those of the whole source.
    pub fn parse_part(source: &Arc<Source>, start: usize, end: usize) -> Result<Self, Error> {
        let text = source.text();
        if u32::try_from(text.len()).is_err() {
            return Err(Error::new(crate::ErrorKind::Syntax, "the template is larger than 4 GiB"));
        }
        if !(start <= end && text.is_char_boundary(start) && text.is_char_boundary(end)) {
            return Err(Error::runtime("the part does not lie within the text"));
        }
        let body = parser::parse(source, start, end)?;
        Ok(Self { inner: Arc::new(Inner { source: source.clone(), body }) })
    }

    /// The source.
    pub fn source(&self) -> &Arc<Source> {
        &self.inner.source
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.inner.body
    }

    /// Renders to text.
    pub fn render(&self, host: &dyn Host, options: &Options) -> Result<String, Error> {
        let mut state = State::with_source(
            host,
            options.package.clone(),
            options.budget,
            self.inner.source.clone(),
        );
        self.render_in(&mut state)
    }

    /// Renders within a running render: its host, package, macro stack and budget.
    pub fn render_in(&self, state: &mut State<'_>) -> Result<String, Error> {
        render::template(&self.inner.body, &self.inner.source, state).map_err(Error::settle)
    }

    /// Renders as dbt's native environment does for values in YAML: a template that is one
    /// expression keeps the type of its value; several parts become text. A string value stays a
    /// string (no guessing), unless it went through one of the filters `as_bool`, `as_number`,
    /// `as_native`.
    pub fn eval_native(&self, host: &dyn Host, options: &Options) -> Result<Value, Error> {
        let mut state = State::with_source(
            host,
            options.package.clone(),
            options.budget,
            self.inner.source.clone(),
        );
        state.native = true;
        native::evaluate(&self.inner.body, &self.inner.source, &mut state).map_err(Error::settle)
    }

    /// The template's text when there is nothing in it to render.
    pub fn as_plain_text(&self) -> Option<&str> {
        match self.nodes() {
            [] => Some(""),
            [Node { kind: NodeKind::Text(text), .. }] => Some(text),
            _ => None,
        }
    }

    /// Macros, tests, materializations, snapshots and docs blocks, in their order. Blocks inside
    /// of `if` and the like are found too, macros inside of macros are not.
    pub fn definitions(&self) -> Vec<Definition> {
        let mut found = Vec::new();
        collect(&self.inner.body, &self.inner.source, &mut found);
        found
    }
}

fn collect(body: &[Node], source: &Arc<Source>, found: &mut Vec<Definition>) {
    for node in body {
        match &node.kind {
            NodeKind::Macro(def) => found.push(of_macro(def)),
            NodeKind::Definition(block) => {
                let kind =
                    if block.is_snapshot { DefinitionKind::Snapshot } else { DefinitionKind::Docs };
                found.push(Definition {
                    kind,
                    name: block.name.clone(),
                    full_name: block.name.clone(),
                    adapter: None,
                    languages: Vec::new(),
                    parameters: Vec::new(),
                    span: Span::at(source, block.loc),
                    name_span: Span::at(source, block.name_loc),
                    body_span: Span::at(source, block.body_loc),
                    def: None,
                });
                if block.is_snapshot {
                    collect(&block.body, source, found);
                }
            }
            NodeKind::If { branches, otherwise } => {
                for (_, body) in branches {
                    collect(body, source, found);
                }
                collect(otherwise, source, found);
            }
            NodeKind::For(each) => {
                collect(&each.body, source, found);
                collect(&each.otherwise, source, found);
            }
            NodeKind::SetBlock { body, .. }
            | NodeKind::With { body, .. }
            | NodeKind::Scoped(body)
            | NodeKind::FilterBlock { body, .. } => collect(body, source, found),
            _ => {}
        }
    }
}

fn of_macro(def: &Arc<MacroDef>) -> Definition {
    let kind = match def.kind {
        MacroKind::Test => DefinitionKind::Test,
        MacroKind::Materialization => DefinitionKind::Materialization,
        MacroKind::Macro | MacroKind::Caller => DefinitionKind::Macro,
    };
    let parameters = def
        .parameters
        .iter()
        .map(|parameter| ParameterInfo {
            name: parameter.name.clone(),
            default: parameter
                .default
                .as_ref()
                .map(|default| Span::at(&def.source, default.loc).text().to_string()),
        })
        .collect();
    Definition {
        kind,
        name: def.declared.clone(),
        full_name: def.name.clone(),
        adapter: def.adapter.clone(),
        languages: def.languages.clone(),
        parameters,
        span: Span::at(&def.source, def.loc),
        name_span: Span::at(&def.source, def.name_loc),
        body_span: Span::at(&def.source, def.body_loc),
        def: Some(def.clone()),
    }
}

/// A single expression, without delimiters around it.
#[derive(Clone)]
pub struct Expression {
    source: Arc<Source>,
    expr: Arc<Expr>,
}

impl Expression {
    /// Parses the text of an expression.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Error> {
        let expr = parser::parse_expression(source)?;
        Ok(Self { source: source.clone(), expr: Arc::new(expr) })
    }

    /// Its value.
    pub fn evaluate(&self, host: &dyn Host, options: &Options) -> Result<Value, Error> {
        let mut state =
            State::with_source(host, options.package.clone(), options.budget, self.source.clone());
        render::expression(&self.expr, &mut state).map_err(Error::settle)
    }

    /// The place of the whole expression.
    pub fn span(&self) -> Span {
        let Loc { start, end } = self.expr.loc;
        Span::new(self.source.clone(), start as usize, end as usize)
    }
}

/// The docs blocks of a Markdown file. Nothing else of the text is read as a template, except
/// that comments and raw blocks hide what is in them.
pub fn docs_blocks(source: &Arc<Source>) -> Result<Vec<Definition>, Error> {
    let text = source.text();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find('{') {
        let start = at + offset;
        let rest = &text[start..];
        if rest.starts_with("{#") {
            at = rest.find("#}").map_or(text.len(), |end| start + end + 2);
            continue;
        }
        let Some((name, end)) = opening_tag(text, start) else {
            at = start + 1;
            continue;
        };
        if name == "raw" {
            at = text[end..].find("endraw").map_or(text.len(), |offset| end + offset);
            continue;
        }
        if name != "docs" {
            at = start + 2;
            continue;
        }
        // Up to and with its closing tag, it is parsed like any template.
        let close = text[end..]
            .match_indices("{%")
            .map(|(offset, _)| end + offset)
            .find_map(|tag| opening_tag(text, tag).filter(|(name, _)| *name == "enddocs"))
            .map_or(text.len(), |(_, end)| end);
        let block = Template::parse_part(source, start, close)?;
        found.extend(block.definitions());
        at = close;
    }
    Ok(found)
}

/// The name of the block tag at `start` and where the tag ends.
fn opening_tag(text: &str, start: usize) -> Option<(&str, usize)> {
    let rest = text[start..].strip_prefix("{%")?;
    let inner = rest.trim_start_matches(['-', '+']).trim_start();
    let length = inner.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(inner.len());
    let end = inner.find("%}")? + 2;
    let offset = text.len() - inner.len();
    Some((&inner[..length], offset + end))
}
