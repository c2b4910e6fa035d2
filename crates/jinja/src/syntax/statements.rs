//! The grammar of statements.

use std::sync::Arc;

use super::ast::{
    BlockDef, Body, ExprKind, For, MacroDef, MacroKind, Node, NodeKind, Parameter, Target,
};
use super::lexer::Token;
use super::parser::{Parser, Result};
use crate::nearest::nearest;
use crate::source::Loc;
use crate::value::Value;

/// Blocks within one another.
const BLOCK_NESTING: usize = 100;

const TAGS: &[&str] = &[
    "for",
    "endfor",
    "if",
    "elif",
    "else",
    "endif",
    "set",
    "endset",
    "with",
    "endwith",
    "macro",
    "endmacro",
    "test",
    "endtest",
    "data_test",
    "enddata_test",
    "materialization",
    "endmaterialization",
    "snapshot",
    "endsnapshot",
    "docs",
    "enddocs",
    "call",
    "endcall",
    "filter",
    "endfilter",
    "do",
    "break",
    "continue",
    "print",
    "raw",
    "endraw",
    "block",
    "endblock",
];

impl<'s> Parser<'s> {
    /// Statements up to one of `ends` (not consumed; its block-begin is). `opening` is the tag
    /// that has to be closed.
    pub(super) fn body(&mut self, ends: &[&str], opening: Option<(&str, Loc)>) -> Result<Body> {
        self.blocks += 1;
        if self.blocks > BLOCK_NESTING {
            return Err(
                self.fail(format!("blocks are nested more than {BLOCK_NESTING} deep"), self.loc())
            );
        }
        let body = stacker::maybe_grow(128 << 10, 1 << 20, || self.body_inner(ends, opening));
        self.blocks -= 1;
        body
    }

    pub(super) fn body_inner(
        &mut self,
        ends: &[&str],
        opening: Option<(&str, Loc)>,
    ) -> Result<Body> {
        let mut body = Vec::new();
        loop {
            match self.current() {
                Token::End => {
                    let Some((name, loc)) = opening else { return Ok(body) };
                    let wanted = ends.last().copied().unwrap_or("end");
                    return Err(self
                        .fail(format!("this `{name}` block is not closed"), loc)
                        .with_hint(format!("add `{{% {wanted} %}}`")));
                }
                Token::Data(_) => {
                    if let (Token::Data(text), loc) = self.advance() {
                        body.push(Node { kind: NodeKind::Text(text.into()), loc });
                    }
                }
                Token::VariableBegin => {
                    let start = self.advance().1;
                    let expr = self.tuple(true, &[], false)?;
                    let end = self.expect(&Token::VariableEnd)?;
                    body.push(Node { kind: NodeKind::Emit(expr), loc: start.to(end) });
                }
                Token::BlockBegin => {
                    let start = self.advance().1;
                    let Token::Name(name) = *self.current() else {
                        return Err(self.unexpected("the name of a tag"));
                    };
                    if ends.contains(&name) {
                        return Ok(body);
                    }
                    let kind = self.statement(name, start, opening, ends)?;
                    let end = self.expect(&Token::BlockEnd)?;
                    body.push(Node { kind, loc: start.to(end) });
                }
                _ => return Err(self.unexpected("text or a tag")),
            }
        }
    }

    /// A body closed by the last of `ends`, which is consumed up to (not with) its block end.
    pub(super) fn block(&mut self, name: &str, start: Loc, ends: &[&str]) -> Result<Body> {
        self.skip_operator(":");
        self.expect(&Token::BlockEnd)?;
        self.body(ends, Some((name, start)))
    }

    pub(super) fn statement(
        &mut self,
        name: &'s str,
        start: Loc,
        opening: Option<(&str, Loc)>,
        ends: &[&str],
    ) -> Result<NodeKind> {
        let loc = self.advance().1;
        match name {
            "for" => self.parse_for(start),
            "if" => self.parse_if(start),
            "set" => self.parse_set(start),
            "with" => self.parse_with(start),
            "macro" => self.parse_macro(start),
            "test" | "data_test" => self.parse_test(name, start),
            "materialization" => self.parse_materialization(start),
            "snapshot" => self.parse_snapshot(start),
            "docs" => self.parse_docs(start),
            "call" => self.parse_call_block(start),
            "filter" => self.parse_filter_block(start),
            "do" => Ok(NodeKind::Do(self.tuple(true, &[], false)?)),
            "print" => {
                let mut exprs = Vec::new();
                while *self.current() != Token::BlockEnd {
                    if !exprs.is_empty() {
                        self.expect_operator(",")?;
                    }
                    exprs.push(self.expression()?);
                }
                Ok(NodeKind::Print(exprs))
            }
            "break" | "continue" => {
                if self.inside_for == 0 {
                    return Err(self.fail(format!("'{name}' outside of a loop"), loc));
                }
                Ok(if name == "break" { NodeKind::Break } else { NodeKind::Continue })
            }
            "block" => {
                let (label, _) = self.expect_name()?;
                self.skip_name("scoped");
                self.skip_name("required");
                let body = self.block("block", start, &["endblock"])?;
                self.advance();
                self.skip_name(label);
                Ok(NodeKind::Scoped(body))
            }
            "autoescape" => {
                self.expression()?;
                let body = self.block("autoescape", start, &["endautoescape"])?;
                self.advance();
                Ok(NodeKind::Scoped(body))
            }
            "extends" | "include" | "import" | "from" => Err(self
                .fail(format!("`{name}` is not available: templates cannot load other files"), loc)
                .with_hint("macros of the project and its packages can be called by name")),
            "else" | "elif" => {
                let error = self.fail(format!("`{name}` without an `if` or `for` around it"), loc);
                Err(error)
            }
            // dbt reads nothing but the macros of such a file.
            _ if self.library
                && opening.is_none()
                && !name.starts_with("end")
                && nearest(name, TAGS).is_none() =>
            {
                while !matches!(self.current(), Token::BlockEnd | Token::End) {
                    self.advance();
                }
                Ok(NodeKind::Text("".into()))
            }
            _ => {
                let mut error = self.fail(format!("unknown tag '{name}'"), loc);
                if let Some((open, place)) = opening {
                    let wanted = ends.last().copied().unwrap_or("end");
                    let line = self.source.position(place.start as usize).line;
                    if name.starts_with("end") {
                        error = self.fail(
                            format!(
                                "unexpected '{name}': the `{open}` of line {line} has to be closed \
                                 first with '{wanted}'"
                            ),
                            loc,
                        );
                    }
                } else if name.starts_with("end") {
                    error = self.fail(format!("'{name}' closes nothing"), loc);
                }
                if let Some(known) = nearest(name, TAGS) {
                    error = error.with_hint(format!("did you mean `{known}`?"));
                }
                Err(error)
            }
        }
    }

    pub(super) fn parse_for(&mut self, start: Loc) -> Result<NodeKind> {
        let loops = self.loops;
        let target = self.target(&["in"], false)?;
        if !self.skip_name("in") {
            return Err(self.unexpected("'in'"));
        }
        let items = self.tuple(false, &["recursive"], false)?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.inside_for += 1;
        let body = self.block("for", start, &["else", "endfor"]);
        self.inside_for -= 1;
        let body = body?;
        let uses_loop = self.loops > loops || recursive;
        let otherwise = if self.advance().0 == Token::Name("else") {
            let otherwise = self.block("for", start, &["endfor"])?;
            self.advance();
            otherwise
        } else {
            Vec::new()
        };
        Ok(NodeKind::For(Arc::new(For {
            target,
            items,
            condition,
            recursive,
            body,
            otherwise,
            uses_loop,
        })))
    }

    pub(super) fn parse_if(&mut self, start: Loc) -> Result<NodeKind> {
        self.soft += 1;
        let result = self.parse_if_inner(start);
        self.soft -= 1;
        result
    }

    pub(super) fn parse_if_inner(&mut self, start: Loc) -> Result<NodeKind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[], false)?;
            let body = self.block("if", start, &["elif", "else", "endif"])?;
            branches.push((test, body));
            match self.advance().0 {
                Token::Name("elif") => {}
                Token::Name("else") => {
                    let otherwise = self.block("if", start, &["endif"])?;
                    self.advance();
                    return Ok(NodeKind::If { branches, otherwise });
                }
                _ => return Ok(NodeKind::If { branches, otherwise: Vec::new() }),
            }
        }
    }

    pub(super) fn parse_set(&mut self, start: Loc) -> Result<NodeKind> {
        let target = self.target(&[], true)?;
        if self.skip_operator("=") {
            let value = self.tuple(true, &[], false)?;
            return Ok(NodeKind::Set { target, value });
        }
        let filters = self.filter_chain(false)?;
        let body = self.block("set", start, &["endset"])?;
        self.advance();
        Ok(NodeKind::SetBlock { target, filters, body })
    }

    pub(super) fn parse_with(&mut self, start: Loc) -> Result<NodeKind> {
        let mut bindings = Vec::new();
        while *self.current() != Token::BlockEnd && !self.is_operator(":") {
            if !bindings.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_operator("=")?;
            bindings.push((target, self.expression()?));
        }
        let body = self.block("with", start, &["endwith"])?;
        self.advance();
        Ok(NodeKind::With { bindings, body })
    }

    pub(super) fn signature(&mut self) -> Result<Vec<Parameter>> {
        let mut parameters: Vec<Parameter> = Vec::new();
        self.expect_operator("(")?;
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
                // Jinja2 refuses a trailing comma here; it is harmless.
                if self.is_operator(")") {
                    break;
                }
            }
            let (name, loc) = self.expect_name()?;
            self.assignable(name, loc)?;
            let default = if self.skip_operator("=") {
                Some(self.expression()?)
            } else if parameters.iter().any(|parameter| parameter.default.is_some()) {
                return Err(self.fail("non-default argument follows default argument", loc));
            } else if name == "caller" {
                return Err(self
                    .fail("the special parameter `caller` must be given a default", loc)
                    .with_hint("write `caller=none`, or leave it out and call `caller()`"));
            } else {
                None
            };
            parameters.push(Parameter { name: name.into(), default });
        }
        self.expect_operator(")")?;
        Ok(parameters)
    }

    pub(super) fn assignable(&self, name: &str, loc: Loc) -> Result<()> {
        if matches!(name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(self.fail(format!("can't assign to '{name}'"), loc));
        }
        Ok(())
    }

    /// The body of a macro-like block with what it uses of `caller`, `varargs`, `kwargs`.
    #[allow(clippy::too_many_arguments, reason = "one call for each kind of block")]
    pub(super) fn macro_block(
        &mut self,
        kind: MacroKind,
        tag: &str,
        ends: &[&str],
        start: Loc,
        declared: &str,
        name: Arc<str>,
        name_loc: Loc,
        parameters: Vec<Parameter>,
    ) -> Result<MacroDef> {
        let (callers, varargs, kwargs) = (self.callers, self.varargs, self.kwargs);
        let inside_for = std::mem::take(&mut self.inside_for);
        let body = self.block(tag, start, ends);
        self.inside_for = inside_for;
        let body = body?;
        // The current token is the name of the closing tag, behind its block begin.
        let body_end = self.last().start as usize;
        let close = self.advance().1;
        let end = if *self.current() == Token::BlockEnd { self.loc() } else { close };
        let body_start = self.body_start(start);
        Ok(MacroDef {
            kind,
            name,
            declared: declared.into(),
            adapter: None,
            languages: Vec::new(),
            parameters,
            body,
            uses_caller: self.callers > callers,
            uses_varargs: self.varargs > varargs,
            uses_kwargs: self.kwargs > kwargs,
            source: self.source.clone(),
            name_loc,
            loc: start.to(end),
            body_loc: Loc::new(body_start.min(body_end), body_end),
        })
    }

    /// Where the body of a block that opened at `start` begins: behind the first block end.
    pub(super) fn body_start(&self, start: Loc) -> usize {
        let first = self.tokens.partition_point(|(_, loc)| loc.start < start.start);
        // Consumed tokens have been replaced by BlockEnd; the closing one is found by its text.
        self.tokens[first..]
            .iter()
            .map(|(_, loc)| *loc)
            .find(|loc| {
                let text = &self.source.text()[loc.start as usize..(loc.end as usize)];
                text.ends_with("%}") && text.len() <= 3
            })
            .map_or(start.end as usize, |loc| loc.end as usize)
    }

    pub(super) fn parse_macro(&mut self, start: Loc) -> Result<NodeKind> {
        let (name, name_loc) = self.expect_name()?;
        self.assignable(name, name_loc)?;
        let parameters = self.signature()?;
        let def = self.macro_block(
            MacroKind::Macro,
            "macro",
            &["endmacro"],
            start,
            name,
            name.into(),
            name_loc,
            parameters,
        )?;
        // Jinja2 does not take a name here, dbt projects have it now and then.
        self.skip_name(name);
        Ok(NodeKind::Macro(Arc::new(def)))
    }

    pub(super) fn parse_test(&mut self, tag: &str, start: Loc) -> Result<NodeKind> {
        let (name, name_loc) = self.expect_name()?;
        let parameters = self.signature()?;
        let def = self.macro_block(
            MacroKind::Test,
            tag,
            &["enddata_test", "endtest"],
            start,
            name,
            format!("test_{name}").into(),
            name_loc,
            parameters,
        )?;
        Ok(NodeKind::Macro(Arc::new(def)))
    }

    pub(super) fn parse_materialization(&mut self, start: Loc) -> Result<NodeKind> {
        let (name, name_loc) = self.expect_name()?;
        let mut adapter: Arc<str> = "default".into();
        let mut languages: Vec<Arc<str>> = vec!["sql".into()];
        while self.skip_operator(",") {
            let (option, loc) = self.expect_name()?;
            match option {
                "default" => {}
                "adapter" => {
                    self.expect_operator("=")?;
                    let value = self.expression()?;
                    let ExprKind::Const(Value::Str(text)) = &value.kind else {
                        return Err(self.fail("`adapter` takes the name as a string", value.loc));
                    };
                    adapter = text.as_arc().clone();
                }
                "supported_languages" => {
                    self.expect_operator("=")?;
                    let value = self.expression()?;
                    let names = match &value.kind {
                        ExprKind::List(items) | ExprKind::Tuple(items) => items
                            .iter()
                            .map(|item| match &item.kind {
                                ExprKind::Const(Value::Str(text)) => Some(text.as_arc().clone()),
                                _ => None,
                            })
                            .collect::<Option<Vec<_>>>(),
                        _ => None,
                    };
                    languages = names.ok_or_else(|| {
                        self.fail("`supported_languages` takes a list of strings", value.loc)
                    })?;
                }
                other => {
                    return Err(self
                        .fail(
                            format!("materialization '{name}' received unknown argument '{other}'"),
                            loc,
                        )
                        .with_hint("known are `default`, `adapter` and `supported_languages`"));
                }
            }
        }
        let full = format!("materialization_{name}_{adapter}").into();
        let mut def = self.macro_block(
            MacroKind::Materialization,
            "materialization",
            &["endmaterialization"],
            start,
            name,
            full,
            name_loc,
            Vec::new(),
        )?;
        def.adapter = Some(adapter);
        def.languages = languages;
        Ok(NodeKind::Macro(Arc::new(def)))
    }

    pub(super) fn parse_snapshot(&mut self, start: Loc) -> Result<NodeKind> {
        let (name, name_loc) = self.expect_name()?;
        let body = self.block("snapshot", start, &["endsnapshot"])?;
        let body_end = self.last().start as usize;
        let close = self.advance().1;
        let end = if *self.current() == Token::BlockEnd { self.loc() } else { close };
        let body_start = self.body_start(start).min(body_end);
        Ok(NodeKind::Definition(Box::new(BlockDef {
            is_snapshot: true,
            name: name.into(),
            name_loc,
            loc: start.to(end),
            body_loc: Loc::new(body_start, body_end),
            body,
        })))
    }

    pub(super) fn parse_docs(&mut self, start: Loc) -> Result<NodeKind> {
        let (name, name_loc) = self.expect_name()?;
        self.expect(&Token::BlockEnd)?;
        let (_, body_loc) = self.advance();
        self.expect(&Token::BlockBegin)?;
        let close = self.advance().1;
        Ok(NodeKind::Definition(Box::new(BlockDef {
            is_snapshot: false,
            name: name.into(),
            name_loc,
            loc: start.to(close),
            body_loc,
            body: Vec::new(),
        })))
    }

    pub(super) fn parse_call_block(&mut self, start: Loc) -> Result<NodeKind> {
        let parameters = if self.is_operator("(") { self.signature()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(call.kind, ExprKind::Call(_)) {
            return Err(self.fail("a `call` block needs a call", call.loc));
        }
        let loc = call.loc;
        let caller = self.macro_block(
            MacroKind::Caller,
            "call",
            &["endcall"],
            start,
            "caller",
            "caller".into(),
            loc,
            parameters,
        )?;
        Ok(NodeKind::CallBlock { call, caller: Arc::new(caller) })
    }

    pub(super) fn parse_filter_block(&mut self, start: Loc) -> Result<NodeKind> {
        let filters = self.filter_chain(true)?;
        let body = self.block("filter", start, &["endfilter"])?;
        self.advance();
        Ok(NodeKind::FilterBlock { filters, body })
    }

    pub(super) fn target(&mut self, ends: &[&str], namespaces: bool) -> Result<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            targets.push(self.single_target(namespaces)?);
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        if is_tuple {
            return Ok(Target::Tuple(targets));
        }
        targets.pop().ok_or_else(|| self.unexpected("a name to assign to"))
    }

    pub(super) fn single_target(&mut self, namespaces: bool) -> Result<Target> {
        if self.is_operator("(") || self.is_operator("[") {
            let close = if self.is_operator("(") { ")" } else { "]" };
            self.nest()?;
            self.advance();
            let target = self.target(&[], namespaces)?;
            self.depth -= 1;
            self.expect_operator(if close == ")" { ")" } else { "]" })?;
            return Ok(target);
        }
        let (name, loc) = match self.current() {
            Token::Name(_) => self.expect_name()?,
            other => {
                let message = format!("can't assign to '{}'", other.describe());
                return Err(self.fail(message, self.loc()));
            }
        };
        self.assignable(name, loc)?;
        if namespaces && self.skip_operator(".") {
            let (attribute, _) = self.expect_name()?;
            return Ok(Target::Attribute(name.into(), attribute.into()));
        }
        if namespaces && self.is_operator("[") {
            return Err(self
                .fail("an item cannot be assigned with `set`", loc)
                .with_hint(format!("use `{{% do {name}.update({{key: value}}) %}}`")));
        }
        if name == "loop" {
            self.loops += 1;
        }
        Ok(Target::Name(name.into()))
    }
}
