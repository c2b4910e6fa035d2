//! Statements.

use std::sync::Arc;

use super::expressions::{apply_filter, evaluate};
use super::{Flow, Output, Scope, calls, grow, loops};
use crate::error::Error;
use crate::macros::Macro;
use crate::state::State;
use crate::syntax::ast::{Body, FilterCall, Node, NodeKind, Target};
use crate::value::Value;

pub(super) fn body(
    nodes: &[Node],
    scope: &Arc<Scope>,
    state: &mut State<'_>,
    out: &mut Output,
) -> Result<Flow, Error> {
    for node in nodes {
        state.tick()?;
        let flow = match &node.kind {
            NodeKind::Text(text) => {
                out.write(text, state)
                    .map_err(|error| error.locate(&state.source.clone(), node.loc))?;
                continue;
            }
            NodeKind::Emit(expr) => {
                let value = evaluate(expr, scope, state)?;
                out.emit(&value, state)
                    .map_err(|error| error.locate(&state.source.clone(), node.loc))?;
                continue;
            }
            _ => grow(|| statement(node, scope, state, out)),
        };
        match flow {
            Ok(Flow::Next) => {}
            Ok(other) => return Ok(other),
            Err(error) => return Err(error.locate(&state.source, node.loc)),
        }
    }
    Ok(Flow::Next)
}

fn statement(
    node: &Node,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
    out: &mut Output,
) -> Result<Flow, Error> {
    match &node.kind {
        NodeKind::Text(text) => out.write(text, state)?,
        NodeKind::Emit(expr) => {
            let value = evaluate(expr, scope, state)?;
            out.emit(&value, state)?;
        }
        NodeKind::Print(exprs) => {
            for expr in exprs {
                let value = evaluate(expr, scope, state)?;
                out.emit(&value, state)?;
            }
        }
        NodeKind::If { branches, otherwise } => {
            for (test, inner) in branches {
                if truth(&evaluate(test, scope, state)?)? {
                    return body(inner, scope, state, out);
                }
            }
            return body(otherwise, scope, state, out);
        }
        NodeKind::For(each) => loops::run(each, scope, state, out)?,
        NodeKind::Set { target, value } => {
            let value = evaluate(value, scope, state)?;
            assign(target, value, scope)?;
        }
        NodeKind::SetBlock { target, filters, body: inner } => {
            let text = capture(inner, scope, state)?;
            let value = filtered(filters, Value::from(text), scope, state)?;
            assign(target, value, scope)?;
        }
        NodeKind::With { bindings, body: inner } => {
            let within = Scope::new(Some(scope.clone()));
            for (target, value) in bindings {
                // Values do not see the names bound beside them.
                let value = evaluate(value, scope, state)?;
                assign(target, value, &within)?;
            }
            return body(inner, &within, state, out);
        }
        NodeKind::Scoped(inner) => {
            let within = Scope::new(Some(scope.clone()));
            return body(inner, &within, state, out);
        }
        NodeKind::Macro(def) => scope.define(def, &state.package),
        NodeKind::CallBlock { call, caller } => {
            let caller = Value::Macro(Arc::new(Macro::new(
                caller.clone(),
                state.package.clone(),
                Some(scope.clone()),
            )));
            let value = calls::call_with_caller(call, caller, scope, state)?;
            out.emit(&value, state)?;
        }
        NodeKind::FilterBlock { filters, body: inner } => {
            let text = capture(inner, scope, state)?;
            let value = filtered(filters, Value::from(text), scope, state)?;
            out.emit(&value, state)?;
        }
        NodeKind::Do(expr) => {
            evaluate(expr, scope, state)?;
        }
        NodeKind::Break => return Ok(Flow::Break),
        NodeKind::Continue => return Ok(Flow::Continue),
        NodeKind::Definition(_) => {}
    }
    Ok(Flow::Next)
}

/// Truthiness in a condition; objects that refuse it are the host's business.
pub(super) fn truth(value: &Value) -> Result<bool, Error> {
    Ok(value.is_true())
}

fn capture(inner: &Body, scope: &Arc<Scope>, state: &mut State<'_>) -> Result<String, Error> {
    let within = Scope::new(Some(scope.clone()));
    let mut captured = Output::text();
    body(inner, &within, state, &mut captured)?;
    Ok(captured.into_text())
}

fn filtered(
    filters: &[FilterCall],
    mut value: Value,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    for filter in filters {
        value = apply_filter(filter, value, scope, state)?;
    }
    Ok(value)
}

pub(super) fn assign(target: &Target, value: Value, scope: &Arc<Scope>) -> Result<(), Error> {
    match target {
        Target::Name(name) => scope.set(name, value),
        Target::Attribute(name, attribute) => match scope.get(name) {
            Some(Value::Object(object)) => object.set_attr(attribute, value)?,
            Some(_) => {
                return Err(Error::type_error("cannot assign attribute on non-namespace object")
                    .with_hint(format!(
                        "make it with `{{% set {name} = namespace({attribute}=...) %}}`"
                    )));
            }
            None => return Err(Error::undefined(format!("'{name}' is undefined"))),
        },
        Target::Tuple(targets) => {
            let Ok(items) = value.items() else {
                return Err(Error::type_error(format!(
                    "cannot unpack non-iterable {} object",
                    value.type_name()
                )));
            };
            if items.len() > targets.len() {
                return Err(Error::runtime(format!(
                    "too many values to unpack (expected {})",
                    targets.len()
                )));
            }
            if items.len() < targets.len() {
                return Err(Error::runtime(format!(
                    "not enough values to unpack (expected {}, got {})",
                    targets.len(),
                    items.len()
                )));
            }
            for (target, item) in targets.iter().zip(items) {
                assign(target, item, scope)?;
            }
        }
    }
    Ok(())
}
