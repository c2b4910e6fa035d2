//! What a template says without being rendered: literal calls of `ref`, `source`, `config` and
//! `var`, and the macros it may call.

use std::sync::Arc;

use crate::source::{Source, Span};
use crate::syntax::ast::{Call, CallArgs, Expr, ExprKind, FilterCall, Node, NodeKind};
use crate::template::{Definition, Template};
use crate::value::{Dict, Value};

/// An argument of a [`StaticCall`].
#[derive(Clone, Debug)]
pub struct StaticArg {
    /// The keyword, for a keyword argument.
    pub name: Option<Arc<str>>,
    /// The value, where it is a literal (lists and dicts of literals included).
    pub value: Option<Value>,
    /// Its place.
    pub span: Span,
}

/// A call of `ref`, `source`, `config` or `var` found without rendering.
#[derive(Clone, Debug)]
pub struct StaticCall {
    /// `ref`, `source`, `config` or `var`.
    pub function: Arc<str>,
    /// The arguments in their order.
    pub args: Vec<StaticArg>,
    /// The whole call.
    pub span: Span,
    /// Whether all arguments are literals.
    pub literal: bool,
    /// Whether it stands inside of a condition, loop or macro, so may not happen.
    pub conditional: bool,
}

impl StaticCall {
    /// The literal positional arguments that are strings, if all positional ones are.
    pub fn strings(&self) -> Option<Vec<&str>> {
        self.args
            .iter()
            .filter(|arg| arg.name.is_none())
            .map(|arg| arg.value.as_ref().and_then(Value::as_str))
            .collect()
    }

    /// A literal keyword argument.
    pub fn keyword(&self, name: &str) -> Option<&Value> {
        self.args
            .iter()
            .find(|arg| arg.name.as_deref() == Some(name))
            .and_then(|arg| arg.value.as_ref())
    }
}

/// The result of [`Template::static_calls`].
#[derive(Clone, Debug)]
pub struct StaticCalls {
    /// The calls in the order of the text.
    pub calls: Vec<StaticCall>,
    /// Whether these calls, all literal and unconditional, are everything that the template
    /// does: rendering it for its dependencies and configuration would find nothing more.
    pub simple: bool,
}

/// A macro that a template may call.
#[derive(Clone, Debug, PartialEq)]
pub struct MacroCall {
    /// The package of `package.name(...)`, or the namespace of `adapter.dispatch`.
    pub package: Option<Arc<str>>,
    /// The name.
    pub name: Arc<str>,
    /// Whether it is called through `adapter.dispatch('name', ...)`.
    pub dispatched: bool,
    /// The callee's place.
    pub span: Span,
}

impl Template {
    /// Literal calls of `ref`, `source`, `config` and `var`.
    pub fn static_calls(&self) -> StaticCalls {
        let mut walk = Walk {
            source: self.source(),
            calls: Vec::new(),
            macros: None,
            simple: true,
            conditional: 0,
        };
        walk.body(self.nodes());
        StaticCalls { calls: walk.calls, simple: walk.simple }
    }

    /// Names that are called and could be macros: `name(...)`, `package.name(...)` and
    /// `adapter.dispatch('name', 'package')`.
    pub fn macro_calls(&self) -> Vec<MacroCall> {
        let mut walk = Walk {
            source: self.source(),
            calls: Vec::new(),
            macros: Some(Vec::new()),
            simple: true,
            conditional: 0,
        };
        walk.body(self.nodes());
        walk.macros.unwrap_or_default()
    }
}

impl Definition {
    /// Names that a macro, test or materialization calls, as [`Template::macro_calls`] gives them.
    pub fn macro_calls(&self) -> Vec<MacroCall> {
        let Some(def) = self.def() else { return Vec::new() };
        let mut walk = Walk {
            source: self.span.source(),
            calls: Vec::new(),
            macros: Some(Vec::new()),
            simple: true,
            conditional: 0,
        };
        def.parameters.iter().filter_map(|p| p.default.as_ref()).for_each(|e| walk.expr(e));
        walk.body(&def.body);
        walk.macros.unwrap_or_default()
    }
}

struct Walk<'t> {
    source: &'t Arc<Source>,
    calls: Vec<StaticCall>,
    macros: Option<Vec<MacroCall>>,
    simple: bool,
    conditional: usize,
}

const STATIC: [&str; 4] = ["ref", "source", "config", "var"];

impl Walk<'_> {
    fn body(&mut self, body: &[Node]) {
        for node in body {
            match &node.kind {
                NodeKind::Text(_) => {}
                NodeKind::Emit(expr) => match &expr.kind {
                    ExprKind::Call(call) if is_static(call) => self.expr(expr),
                    _ => {
                        self.simple = false;
                        self.expr(expr);
                    }
                },
                NodeKind::Definition(block) => {
                    self.simple = false;
                    if block.is_snapshot {
                        self.body(&block.body);
                    }
                }
                other => {
                    self.simple = false;
                    self.statement(other);
                }
            }
        }
    }

    fn inner(&mut self, body: &[Node]) {
        self.conditional += 1;
        self.body(body);
        self.conditional -= 1;
    }

    fn statement(&mut self, kind: &NodeKind) {
        match kind {
            NodeKind::Text(_)
            | NodeKind::Emit(_)
            | NodeKind::Break
            | NodeKind::Continue
            | NodeKind::Definition(_) => {}
            NodeKind::Print(exprs) => exprs.iter().for_each(|expr| self.expr(expr)),
            NodeKind::Do(expr) => self.expr(expr),
            NodeKind::If { branches, otherwise } => {
                for (test, body) in branches {
                    self.expr(test);
                    self.inner(body);
                }
                self.inner(otherwise);
            }
            NodeKind::For(each) => {
                self.expr(&each.items);
                self.conditional += 1;
                each.condition.iter().for_each(|expr| self.expr(expr));
                self.conditional -= 1;
                self.inner(&each.body);
                self.inner(&each.otherwise);
            }
            NodeKind::Set { value, .. } => self.expr(value),
            NodeKind::SetBlock { filters, body, .. } | NodeKind::FilterBlock { filters, body } => {
                filters.iter().for_each(|filter| self.filter(filter));
                self.body(body);
            }
            NodeKind::With { bindings, body } => {
                bindings.iter().for_each(|(_, value)| self.expr(value));
                self.body(body);
            }
            NodeKind::Scoped(body) => self.body(body),
            NodeKind::Macro(def) => {
                self.conditional += 1;
                def.parameters.iter().filter_map(|p| p.default.as_ref()).for_each(|e| self.expr(e));
                self.body(&def.body);
                self.conditional -= 1;
            }
            NodeKind::CallBlock { call, caller } => {
                self.expr(call);
                self.inner(&caller.body);
            }
        }
    }

    fn filter(&mut self, filter: &FilterCall) {
        filter.args.exprs().for_each(|expr| self.expr(expr));
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Call(call) => {
                if is_static(call) {
                    self.static_call(call, expr);
                }
                self.macro_call(call);
                self.expr(&call.callee);
                call.args.exprs().for_each(|expr| self.expr(expr));
            }
            ExprKind::And(first, second) | ExprKind::Or(first, second) => {
                self.expr(first);
                self.conditional += 1;
                self.expr(second);
                self.conditional -= 1;
            }
            ExprKind::Condition { test, then, otherwise } => {
                self.expr(test);
                self.conditional += 1;
                self.expr(then);
                otherwise.iter().for_each(|expr| self.expr(expr));
                self.conditional -= 1;
            }
            other => other.each_child(&mut |child| self.expr(child)),
        }
    }

    fn static_call(&mut self, call: &Call, expr: &Expr) {
        let ExprKind::Name(function) = &call.callee.kind else { return };
        let spread = call.args.spread.is_some() || call.args.keyword_spread.is_some();
        let argument = |name: Option<Arc<str>>, value: &Expr| StaticArg {
            name,
            value: literal(value),
            span: Span::at(self.source, value.loc),
        };
        let args: Vec<StaticArg> = call
            .args
            .positional
            .iter()
            .map(|value| argument(None, value))
            .chain(
                call.args.keyword.iter().map(|(name, value)| argument(Some(name.clone()), value)),
            )
            .collect();
        let literal = !spread && args.iter().all(|arg| arg.value.is_some());
        if !literal {
            self.simple = false;
        }
        self.calls.push(StaticCall {
            function: function.clone(),
            args,
            span: Span::at(self.source, expr.loc),
            literal,
            conditional: self.conditional > 0,
        });
    }

    fn macro_call(&mut self, call: &Call) {
        let Some(macros) = &mut self.macros else { return };
        let span = Span::at(self.source, call.callee.loc);
        match &call.callee.kind {
            ExprKind::Name(name) => macros.push(MacroCall {
                package: None,
                name: name.clone(),
                dispatched: false,
                span,
            }),
            ExprKind::Attribute(owner, name) => {
                let ExprKind::Name(owner) = &owner.kind else { return };
                if &**owner == "adapter" && &**name == "dispatch" {
                    let text = |index: usize, keyword: &str| argument(&call.args, index, keyword);
                    if let Some(target) = text(0, "macro_name") {
                        macros.push(MacroCall {
                            package: text(1, "macro_namespace"),
                            name: target,
                            dispatched: true,
                            span,
                        });
                    }
                } else {
                    macros.push(MacroCall {
                        package: Some(owner.clone()),
                        name: name.clone(),
                        dispatched: false,
                        span,
                    });
                }
            }
            _ => {}
        }
    }
}

/// A literal string argument, by position or keyword.
fn argument(args: &CallArgs, index: usize, keyword: &str) -> Option<Arc<str>> {
    let expr = args.positional.get(index).or_else(|| {
        args.keyword.iter().find(|(name, _)| &**name == keyword).map(|(_, value)| value)
    })?;
    match &expr.kind {
        ExprKind::Const(Value::Str(text)) => Some(text.as_arc().clone()),
        _ => None,
    }
}

fn is_static(call: &Call) -> bool {
    matches!(&call.callee.kind, ExprKind::Name(name) if STATIC.contains(&&**name))
}

/// The value of an expression made of literals.
fn literal(expr: &Expr) -> Option<Value> {
    Some(match &expr.kind {
        ExprKind::Const(value) => value.clone(),
        ExprKind::List(items) => {
            Value::list(items.iter().map(literal).collect::<Option<Vec<_>>>()?)
        }
        ExprKind::Tuple(items) => {
            Value::tuple(items.iter().map(literal).collect::<Option<Vec<_>>>()?)
        }
        ExprKind::Dict(entries) => {
            let dict = Dict::new();
            for (key, value) in entries {
                dict.insert(literal(key)?, literal(value)?).ok()?;
            }
            Value::Dict(dict)
        }
        ExprKind::Negative(inner) => crate::value::negate(&literal(inner)?).ok()?,
        ExprKind::Positive(inner) => crate::value::positive(&literal(inner)?).ok()?,
        _ => return None,
    })
}
