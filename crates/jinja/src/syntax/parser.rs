//! Tokens to a tree: Jinja2's grammar with dbt's tags.

use std::sync::Arc;

use super::ast::{
    BlockDef, Body, Call, CallArgs, CompareOp, Expr, ExprKind, FilterCall, For, MacroDef,
    MacroKind, Node, NodeKind, Parameter, Target,
};
use super::lexer::{Token, tokenize};
use crate::error::{Error, ErrorKind};
use crate::filters;
use crate::nearest::nearest;
use crate::predicates;
use crate::source::{Loc, Source, Span};
use crate::value::{BinaryOp, Value};

/// Parentheses, brackets and inner expressions within one another.
const NESTING: usize = 150;
/// Blocks within one another.
const BLOCK_NESTING: usize = 100;
/// Height of an expression's tree, long chains of operators included.
const HEIGHT: u16 = 1000;

type Result<T> = std::result::Result<T, Error>;

pub(crate) fn parse(source: &Arc<Source>, start: usize, end: usize) -> Result<Body> {
    let tokens = tokenize(source, start, end)?;
    let mut parser = Parser::new(source, tokens);
    let body = parser.body(&[], None)?;
    Ok(body)
}

/// Parses a text that is one expression and nothing else.
pub(crate) fn parse_expression(source: &Arc<Source>) -> Result<Expr> {
    let wrapped = Source::new(source.name(), format!("{{{{{}\n}}}}", source.text()));
    let tokens = tokenize(&wrapped, 0, wrapped.text().len())?;
    // The two braces in front are no part of the user's text.
    let tokens: Vec<_> = tokens
        .into_iter()
        .map(|(token, loc)| {
            (token, Loc { start: loc.start.saturating_sub(2), end: loc.end.saturating_sub(2) })
        })
        .collect();
    let mut parser = Parser::new(source, tokens);
    parser.expect(&Token::VariableBegin)?;
    let expr = parser.tuple(true, &[], false)?;
    parser.expect(&Token::VariableEnd)?;
    parser.expect(&Token::End)?;
    Ok(expr)
}

struct Parser<'s> {
    source: &'s Arc<Source>,
    tokens: Vec<(Token<'s>, Loc)>,
    at: usize,
    depth: usize,
    blocks: usize,
    /// Within a condition unknown filters are left for the render to report, as in Jinja2.
    soft: usize,
    // Counts of names met so far, to know what a body uses.
    loops: usize,
    callers: usize,
    varargs: usize,
    kwargs: usize,
    /// `for` bodies around, for `break` and `continue`.
    inside_for: usize,
}

impl<'s> Parser<'s> {
    fn new(source: &'s Arc<Source>, tokens: Vec<(Token<'s>, Loc)>) -> Self {
        Self {
            source,
            tokens,
            at: 0,
            depth: 0,
            blocks: 0,
            soft: 0,
            loops: 0,
            callers: 0,
            varargs: 0,
            kwargs: 0,
            inside_for: 0,
        }
    }

    fn current(&self) -> &Token<'s> {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn ahead(&self) -> &Token<'s> {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    fn loc(&self) -> Loc {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    /// The place of the token before the current one.
    fn last(&self) -> Loc {
        self.tokens[self.at.saturating_sub(1)].1
    }

    fn advance(&mut self) -> (Token<'s>, Loc) {
        let index = self.at.min(self.tokens.len() - 1);
        self.at += 1;
        let loc = self.tokens[index].1;
        if index + 1 == self.tokens.len() {
            return (Token::End, loc);
        }
        (std::mem::replace(&mut self.tokens[index].0, Token::BlockEnd), loc)
    }

    fn fail(&self, message: impl Into<String>, loc: Loc) -> Error {
        Error::new(ErrorKind::Syntax, message).with_span(Span::at(self.source, loc))
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = self.current().describe();
        if *self.current() == Token::End {
            return self.fail(format!("unexpected end of template, expected {wanted}"), self.loc());
        }
        self.fail(format!("expected {wanted}, got '{found}'"), self.loc())
    }

    fn is_operator(&self, symbol: &str) -> bool {
        matches!(self.current(), Token::Operator(found) if *found == symbol)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.current(), Token::Name(found) if *found == name)
    }

    fn skip_operator(&mut self, symbol: &str) -> bool {
        let found = self.is_operator(symbol);
        self.at += usize::from(found);
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token<'static>) -> Result<Loc> {
        if self.current() == token {
            return Ok(self.advance().1);
        }
        Err(self.unexpected(&format!("'{}'", token.describe())))
    }

    fn expect_operator(&mut self, symbol: &'static str) -> Result<Loc> {
        self.expect(&Token::Operator(symbol))
    }

    fn expect_name(&mut self) -> Result<(&'s str, Loc)> {
        if let Token::Name(name) = *self.current() {
            let loc = self.advance().1;
            return Ok((name, loc));
        }
        Err(self.unexpected("a name"))
    }

    // ---- statements ----

    /// Statements up to one of `ends` (not consumed; its block-begin is). `opening` is the tag
    /// that has to be closed.
    fn body(&mut self, ends: &[&str], opening: Option<(&str, Loc)>) -> Result<Body> {
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

    fn body_inner(&mut self, ends: &[&str], opening: Option<(&str, Loc)>) -> Result<Body> {
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
    fn block(&mut self, name: &str, start: Loc, ends: &[&str]) -> Result<Body> {
        self.skip_operator(":");
        self.expect(&Token::BlockEnd)?;
        self.body(ends, Some((name, start)))
    }

    fn statement(
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

    fn parse_for(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_if(&mut self, start: Loc) -> Result<NodeKind> {
        self.soft += 1;
        let result = self.parse_if_inner(start);
        self.soft -= 1;
        result
    }

    fn parse_if_inner(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_set(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_with(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn signature(&mut self) -> Result<Vec<Parameter>> {
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
            } else {
                None
            };
            parameters.push(Parameter { name: name.into(), default });
        }
        self.expect_operator(")")?;
        Ok(parameters)
    }

    fn assignable(&self, name: &str, loc: Loc) -> Result<()> {
        if matches!(name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(self.fail(format!("can't assign to '{name}'"), loc));
        }
        Ok(())
    }

    /// The body of a macro-like block with what it uses of `caller`, `varargs`, `kwargs`.
    #[allow(clippy::too_many_arguments, reason = "one call for each kind of block")]
    fn macro_block(
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
    fn body_start(&self, start: Loc) -> usize {
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

    fn parse_macro(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_test(&mut self, tag: &str, start: Loc) -> Result<NodeKind> {
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

    fn parse_materialization(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_snapshot(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_docs(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_call_block(&mut self, start: Loc) -> Result<NodeKind> {
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

    fn parse_filter_block(&mut self, start: Loc) -> Result<NodeKind> {
        let filters = self.filter_chain(true)?;
        let body = self.block("filter", start, &["endfilter"])?;
        self.advance();
        Ok(NodeKind::FilterBlock { filters, body })
    }

    // ---- assignment targets ----

    fn target(&mut self, ends: &[&str], namespaces: bool) -> Result<Target> {
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

    fn single_target(&mut self, namespaces: bool) -> Result<Target> {
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

    // ---- expressions ----

    fn nest(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > NESTING {
            return Err(
                self.fail(format!("the expression is nested more than {NESTING} deep"), self.loc())
            );
        }
        Ok(())
    }

    fn make(&self, kind: ExprKind, loc: Loc) -> Result<Expr> {
        let expr = Expr::new(kind, loc);
        if expr.height > HEIGHT {
            return Err(self.fail("the expression is too long; split it up", loc));
        }
        Ok(expr)
    }

    fn is_tuple_end(&self, ends: &[&str]) -> bool {
        match self.current() {
            Token::VariableEnd | Token::BlockEnd | Token::End => true,
            Token::Operator(symbol) => matches!(*symbol, ")" | "=" | ":"),
            Token::Name(name) => ends.contains(name),
            _ => false,
        }
    }

    fn tuple(&mut self, conditional: bool, ends: &[&str], parenthesized: bool) -> Result<Expr> {
        let start = self.loc();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            items.push(if conditional { self.expression()? } else { self.unconditional()? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(item) = items.pop() {
                return Ok(item);
            }
            if !parenthesized {
                return Err(self.unexpected("an expression"));
            }
        }
        let loc = start.to(self.last());
        self.make(ExprKind::Tuple(items), loc)
    }

    fn unconditional(&mut self) -> Result<Expr> {
        self.nest()?;
        let expr = stacker::maybe_grow(128 << 10, 1 << 20, || self.or());
        self.depth -= 1;
        expr
    }

    fn expression(&mut self) -> Result<Expr> {
        self.nest()?;
        let expr = stacker::maybe_grow(128 << 10, 1 << 20, || self.conditional());
        self.depth -= 1;
        expr
    }

    fn conditional(&mut self) -> Result<Expr> {
        let mut expr = self.or()?;
        while self.skip_name("if") {
            self.soft += 1;
            let test = self.or()?;
            let otherwise =
                if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            self.soft -= 1;
            let loc = expr.loc.to(self.last());
            expr = self.make(
                ExprKind::Condition { test: Box::new(test), then: Box::new(expr), otherwise },
                loc,
            )?;
        }
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            let loc = left.loc.to(right.loc);
            left = self.make(ExprKind::Or(Box::new(left), Box::new(right)), loc)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            let loc = left.loc.to(right.loc);
            left = self.make(ExprKind::And(Box::new(left), Box::new(right)), loc)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if !self.is_name("not") {
            return self.comparison();
        }
        let start = self.advance().1;
        self.nest()?;
        let inner = stacker::maybe_grow(128 << 10, 1 << 20, || self.not())?;
        self.depth -= 1;
        let loc = start.to(inner.loc);
        self.make(ExprKind::Not(Box::new(inner)), loc)
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.current() {
                Token::Operator("==") => CompareOp::Equal,
                Token::Operator("!=") => CompareOp::NotEqual,
                Token::Operator("<") => CompareOp::Less,
                Token::Operator("<=") => CompareOp::LessEqual,
                Token::Operator(">") => CompareOp::Greater,
                Token::Operator(">=") => CompareOp::GreaterEqual,
                Token::Name("in") => CompareOp::In,
                Token::Name("not") if *self.ahead() == Token::Name("in") => {
                    self.advance();
                    CompareOp::NotIn
                }
                _ => break,
            };
            self.advance();
            rest.push((operator, self.sum()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let loc = first.loc.to(self.last());
        self.make(ExprKind::Compare(Box::new(first), rest), loc)
    }

    fn sum(&mut self) -> Result<Expr> {
        let mut left = self.concatenation()?;
        loop {
            let op = match self.current() {
                Token::Operator("+") => BinaryOp::Add,
                Token::Operator("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.concatenation()?;
            left = self.binary(op, left, right)?;
        }
    }

    fn binary(&mut self, op: BinaryOp, left: Expr, right: Expr) -> Result<Expr> {
        let loc = left.loc.to(right.loc);
        self.make(ExprKind::Binary(op, Box::new(left), Box::new(right)), loc)
    }

    fn concatenation(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_operator("~") {
            return Ok(first);
        }
        let start = first.loc;
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        let loc = start.to(self.last());
        self.make(ExprKind::Concat(parts), loc)
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.power()?;
        loop {
            let op = match self.current() {
                Token::Operator("*") => BinaryOp::Mul,
                Token::Operator("/") => BinaryOp::Div,
                Token::Operator("//") => BinaryOp::FloorDiv,
                Token::Operator("%") => BinaryOp::Mod,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.power()?;
            left = self.binary(op, left, right)?;
        }
    }

    /// Left to right, as Jinja2 parses it (Python itself goes right to left).
    fn power(&mut self) -> Result<Expr> {
        let mut left = self.unary(true)?;
        while self.skip_operator("**") {
            let right = self.unary(true)?;
            left = self.binary(BinaryOp::Pow, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expr> {
        let negative = self.is_operator("-");
        let mut expr = if negative || self.is_operator("+") {
            let start = self.advance().1;
            self.nest()?;
            let inner = stacker::maybe_grow(128 << 10, 1 << 20, || self.unary(false))?;
            self.depth -= 1;
            let loc = start.to(inner.loc);
            let inner = Box::new(inner);
            let kind = if negative { ExprKind::Negative(inner) } else { ExprKind::Positive(inner) };
            self.make(kind, loc)?
        } else {
            self.primary()?
        };
        expr = self.postfix(expr)?;
        if with_filters {
            expr = self.filters_and_tests(expr)?;
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr> {
        let loc = self.loc();
        let kind = match self.current() {
            Token::Name(_) => {
                let (name, _) = self.expect_name()?;
                match name {
                    "true" | "True" => ExprKind::Const(Value::Bool(true)),
                    "false" | "False" => ExprKind::Const(Value::Bool(false)),
                    "none" | "None" => ExprKind::Const(Value::None),
                    _ => {
                        match name {
                            "loop" => self.loops += 1,
                            "caller" => self.callers += 1,
                            "varargs" => self.varargs += 1,
                            "kwargs" => self.kwargs += 1,
                            _ => {}
                        }
                        ExprKind::Name(name.into())
                    }
                }
            }
            Token::Text(_) => {
                let mut text = String::new();
                while let Token::Text(_) = self.current() {
                    if let (Token::Text(part), _) = self.advance() {
                        if text.is_empty() {
                            text = part;
                        } else {
                            text.push_str(&part);
                        }
                    }
                }
                ExprKind::Const(Value::from(text))
            }
            Token::Int(number) => {
                let number = *number;
                self.advance();
                ExprKind::Const(Value::Int(number))
            }
            Token::Float(number) => {
                let number = *number;
                self.advance();
                ExprKind::Const(Value::Float(number))
            }
            Token::Operator("(") => {
                self.advance();
                let inner = self.tuple(true, &[], true)?;
                self.expect_operator(")")?;
                let mut inner = inner;
                inner.loc = loc.to(self.last());
                return Ok(inner);
            }
            Token::Operator("[") => {
                self.advance();
                let mut items = Vec::new();
                while !self.is_operator("]") {
                    if !items.is_empty() {
                        self.expect_operator(",")?;
                        if self.is_operator("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                self.expect_operator("]")?;
                ExprKind::List(items)
            }
            Token::Operator("{") => {
                self.advance();
                let mut entries = Vec::new();
                while !self.is_operator("}") {
                    if !entries.is_empty() {
                        self.expect_operator(",")?;
                        if self.is_operator("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_operator(":")?;
                    entries.push((key, self.expression()?));
                }
                self.expect_operator("}")?;
                ExprKind::Dict(entries)
            }
            Token::End => return Err(self.unexpected("an expression")),
            other => {
                let message = format!("unexpected '{}'", other.describe());
                return Err(self.fail(message, loc));
            }
        };
        let loc = loc.to(self.last());
        self.make(kind, loc)
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            match self.current() {
                Token::Operator("." | "[") => expr = self.subscript(expr)?,
                Token::Operator("(") => expr = self.call(expr)?,
                _ => return Ok(expr),
            }
        }
    }

    fn filters_and_tests(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            match self.current() {
                Token::Operator("|") => {
                    self.advance();
                    let filter = self.filter_call()?;
                    let loc = expr.loc.to(self.last());
                    expr = self.make(ExprKind::Filter(Box::new(expr), Box::new(filter)), loc)?;
                }
                Token::Name("is") => expr = self.test(expr)?,
                Token::Operator("(") => expr = self.call(expr)?,
                _ => return Ok(expr),
            }
        }
    }

    fn dotted_name(&mut self) -> Result<(Arc<str>, Loc)> {
        let (name, mut loc) = self.expect_name()?;
        if !self.is_operator(".") {
            return Ok((name.into(), loc));
        }
        let mut full = name.to_string();
        while self.skip_operator(".") {
            let (part, end) = self.expect_name()?;
            full.push('.');
            full.push_str(part);
            loc = loc.to(end);
        }
        Ok((full.into(), loc))
    }

    fn filter_call(&mut self) -> Result<FilterCall> {
        let (name, loc) = self.dotted_name()?;
        if self.soft == 0 && filters::find(&name).is_none() {
            return Err(filters::unknown(&name).with_span(Span::at(self.source, loc)));
        }
        let args = if self.is_operator("(") { self.call_args()? } else { CallArgs::default() };
        Ok(FilterCall { name, args, loc })
    }

    fn filter_chain(&mut self, starts_bare: bool) -> Result<Vec<FilterCall>> {
        let mut filters = Vec::new();
        if starts_bare {
            filters.push(self.filter_call()?);
        }
        while self.skip_operator("|") {
            filters.push(self.filter_call()?);
        }
        Ok(filters)
    }

    fn test(&mut self, value: Expr) -> Result<Expr> {
        self.advance();
        let negated = self.skip_name("not");
        let (name, loc) = self.dotted_name()?;
        if self.soft == 0 && predicates::find(&name).is_none() {
            return Err(predicates::unknown(&name).with_span(Span::at(self.source, loc)));
        }
        let args = match self.current() {
            Token::Operator("(") => self.call_args()?,
            Token::Name("is") => {
                return Err(self.fail("You cannot chain multiple tests with is", self.loc()));
            }
            Token::Name("else" | "or" | "and" | "if" | "in" | "not") => CallArgs::default(),
            Token::Name(_)
            | Token::Text(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::Operator("[" | "{") => {
                let argument = self.primary()?;
                let argument = self.postfix(argument)?;
                CallArgs { positional: vec![argument], ..CallArgs::default() }
            }
            _ => CallArgs::default(),
        };
        let place = value.loc.to(self.last());
        let test = Box::new(FilterCall { name, args, loc });
        self.make(ExprKind::Test { value: Box::new(value), test, negated }, place)
    }

    fn subscript(&mut self, expr: Expr) -> Result<Expr> {
        if self.skip_operator(".") {
            let loc = self.loc();
            let kind = match self.current() {
                Token::Name(_) => {
                    let (name, _) = self.expect_name()?;
                    ExprKind::Attribute(Box::new(expr), name.into())
                }
                Token::Int(index) => {
                    let index = Value::Int(*index);
                    self.advance();
                    let key = Expr::new(ExprKind::Const(index), loc);
                    ExprKind::Item(Box::new(expr), Box::new(key))
                }
                _ => return Err(self.unexpected("a name or number")),
            };
            let start = match &kind {
                ExprKind::Attribute(inner, _) | ExprKind::Item(inner, _) => inner.loc,
                _ => loc,
            };
            return self.make(kind, start.to(loc));
        }
        self.expect_operator("[")?;
        let start = expr.loc;
        let mut keys = Vec::new();
        let mut slice = None;
        while !self.is_operator("]") {
            if !keys.is_empty() || slice.is_some() {
                self.expect_operator(",")?;
            }
            let first = if self.is_operator(":") { None } else { Some(self.expression()?) };
            if !self.skip_operator(":") {
                keys.extend(first);
                continue;
            }
            let part = |parser: &mut Self| -> Result<Option<Expr>> {
                let ends =
                    parser.is_operator(":") || parser.is_operator("]") || parser.is_operator(",");
                if ends { Ok(None) } else { parser.expression().map(Some) }
            };
            let stop = part(self)?;
            let step = if self.skip_operator(":") { part(self)? } else { None };
            slice = Some(Box::new([first, stop, step]));
        }
        let end = self.expect_operator("]")?;
        let loc = start.to(end);
        let owner = Box::new(expr);
        let kind = match (slice, keys.len()) {
            (Some(bounds), 0) => ExprKind::Slice(owner, bounds),
            (None, 1) => match keys.pop() {
                Some(key) => ExprKind::Item(owner, Box::new(key)),
                None => return Err(self.fail("expected subscript expression", loc)),
            },
            (None, 0) => return Err(self.fail("expected an expression in `[]`", loc)),
            (None, _) => {
                let key = self.make(ExprKind::Tuple(keys), loc)?;
                ExprKind::Item(owner, Box::new(key))
            }
            _ => return Err(self.fail("a slice of several dimensions is not supported", loc)),
        };
        self.make(kind, loc)
    }

    fn call(&mut self, callee: Expr) -> Result<Expr> {
        let args = self.call_args()?;
        let loc = callee.loc.to(self.last());
        self.make(ExprKind::Call(Box::new(Call { callee, args })), loc)
    }

    fn call_args(&mut self) -> Result<CallArgs> {
        let open = self.expect_operator("(")?;
        let mut args = CallArgs::default();
        let mut first = true;
        while !self.is_operator(")") {
            if !first {
                self.expect_operator(",")?;
                if self.is_operator(")") {
                    break;
                }
            }
            first = false;
            let invalid = "invalid syntax for function call expression";
            if self.is_operator("*") {
                if args.spread.is_some() || args.keyword_spread.is_some() {
                    return Err(self.fail(invalid, open));
                }
                self.advance();
                args.spread = Some(Box::new(self.expression()?));
            } else if self.is_operator("**") {
                if args.keyword_spread.is_some() {
                    return Err(self.fail(invalid, open));
                }
                self.advance();
                args.keyword_spread = Some(Box::new(self.expression()?));
            } else if let Token::Name(name) = *self.current()
                && *self.ahead() == Token::Operator("=")
            {
                let loc = self.loc();
                if args.keyword_spread.is_some() {
                    return Err(self.fail(invalid, open));
                }
                if args.keyword.iter().any(|(known, _)| &**known == name) {
                    return Err(self.fail(format!("keyword argument repeated: {name}"), loc));
                }
                self.advance();
                self.advance();
                let value = self.expression()?;
                args.keyword.push((name.into(), value));
            } else {
                if args.spread.is_some()
                    || args.keyword_spread.is_some()
                    || !args.keyword.is_empty()
                {
                    return Err(self
                        .fail(invalid, self.loc())
                        .with_hint("positional arguments come before keyword arguments"));
                }
                args.positional.push(self.expression()?);
            }
        }
        self.expect_operator(")")?;
        Ok(args)
    }
}

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
