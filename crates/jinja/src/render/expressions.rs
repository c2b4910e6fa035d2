//! Expressions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::statements::truth;
use super::{Scope, calls, grow};
use crate::error::Error;
use crate::filters;
use crate::function::{Args, BoundMethod};
use crate::functions;
use crate::macros::Macro;
use crate::predicates;
use crate::state::State;
use crate::syntax::ast::{CallArgs, CompareOp, Expr, ExprKind, FilterCall};
use crate::types;
use crate::value::{
    Dict, List, Tuple, Undefined, Value, binary, compare, negate, positive, push_str,
};

pub(super) fn evaluate(
    expr: &Expr,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    state.tick()?;
    match &expr.kind {
        ExprKind::Const(value) => Ok(value.clone()),
        ExprKind::Name(name) => Ok(lookup(name, scope, state)),
        _ => grow(|| compound(expr, scope, state))
            .map_err(|error| error.locate(&state.source, expr.loc)),
    }
}

/// Locals, then the host, then what this crate has.
pub(super) fn lookup(name: &Arc<str>, scope: &Arc<Scope>, state: &State<'_>) -> Value {
    scope
        .get(name)
        .or_else(|| state.lookup(name))
        .or_else(|| functions::builtin(name))
        .unwrap_or_else(|| Value::Undefined(Undefined::named(name.clone())))
}

fn compound(expr: &Expr, scope: &Arc<Scope>, state: &mut State<'_>) -> Result<Value, Error> {
    Ok(match &expr.kind {
        ExprKind::Const(value) => value.clone(),
        ExprKind::Name(name) => lookup(name, scope, state),
        ExprKind::List(items) => Value::List(List::new(all(items, scope, state)?)),
        ExprKind::Tuple(items) => Value::Tuple(Tuple::new(all(items, scope, state)?)),
        ExprKind::Dict(entries) => {
            let dict = Dict::new();
            for (key, value) in entries {
                let key = evaluate(key, scope, state)?;
                let value = evaluate(value, scope, state)?;
                dict.insert(key, value)?;
            }
            Value::Dict(dict)
        }
        ExprKind::Concat(parts) => {
            let mut text = String::new();
            for part in parts {
                let value = evaluate(part, scope, state)?;
                push_str(&mut text, &value);
            }
            state.charge_text(text.len())?;
            Value::from(text)
        }
        ExprKind::Binary(op, left, right) => {
            let left = evaluate(left, scope, state)?;
            let right = evaluate(right, scope, state)?;
            binary(*op, &left, &right, state)?
        }
        ExprKind::Negative(inner) => negate(&evaluate(inner, scope, state)?)?,
        ExprKind::Positive(inner) => positive(&evaluate(inner, scope, state)?)?,
        ExprKind::Not(inner) => Value::Bool(!truth(&evaluate(inner, scope, state)?)?),
        ExprKind::And(left, right) => {
            let left = evaluate(left, scope, state)?;
            if truth(&left)? { evaluate(right, scope, state)? } else { left }
        }
        ExprKind::Or(left, right) => {
            let left = evaluate(left, scope, state)?;
            if truth(&left)? { left } else { evaluate(right, scope, state)? }
        }
        ExprKind::Compare(first, rest) => {
            let mut left = evaluate(first, scope, state)?;
            for (op, right) in rest {
                let right = evaluate(right, scope, state)?;
                if !holds(*op, &left, &right)? {
                    return Ok(Value::Bool(false));
                }
                left = right;
            }
            Value::Bool(true)
        }
        ExprKind::Condition { test, then, otherwise } => {
            if truth(&evaluate(test, scope, state)?)? {
                evaluate(then, scope, state)?
            } else {
                match otherwise {
                    Some(otherwise) => evaluate(otherwise, scope, state)?,
                    None => Value::Undefined(Undefined::with_message(
                        "the inline if-expression evaluated to false and no else section was \
                         defined.",
                    )),
                }
            }
        }
        ExprKind::Attribute(owner, name) => {
            let owner = evaluate(owner, scope, state)?;
            attribute(&owner, name, state)?
        }
        ExprKind::Item(owner, key) => {
            let owner = evaluate(owner, scope, state)?;
            let key = evaluate(key, scope, state)?;
            item(&owner, &key, state)?
        }
        ExprKind::Slice(owner, bounds) => {
            let owner = evaluate(owner, scope, state)?;
            let mut values = [Value::None, Value::None, Value::None];
            for (slot, bound) in values.iter_mut().zip(bounds.iter()) {
                if let Some(bound) = bound {
                    *slot = evaluate(bound, scope, state)?;
                }
            }
            if let Value::Undefined(undefined) = &owner {
                return Err(undefined.error());
            }
            let [start, stop, step] = &values;
            if let Some(length) = owner.len() {
                state.charge(length as u64 / 16)?;
            }
            match owner.slice(start, stop, step)? {
                Some(part) => part,
                None => match &owner {
                    Value::Object(object) if object.is_sequence() => {
                        let items = Value::list(object.iterate().unwrap_or_default());
                        items.slice(start, stop, step)?.unwrap_or(Value::None)
                    }
                    other => Value::Undefined(Undefined::with_message(format!(
                        "{} cannot be sliced",
                        other.described_type()
                    ))),
                },
            }
        }
        ExprKind::Call(call) => calls::call(call, None, scope, state)?,
        ExprKind::Filter(value, filter) => {
            let value = evaluate(value, scope, state)?;
            apply_filter(filter, value, scope, state)?
        }
        ExprKind::Test { value, test, negated } => {
            let value = evaluate(value, scope, state)?;
            let Some(predicate) = predicates::find(&test.name) else {
                return Err(predicates::unknown(&test.name).locate(&state.source, test.loc));
            };
            let args = calls::arguments(&test.args, scope, state)?;
            Value::Bool(predicate(&value, &args, state)? != *negated)
        }
    })
}

fn all(items: &[Expr], scope: &Arc<Scope>, state: &mut State<'_>) -> Result<Vec<Value>, Error> {
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.push(evaluate(item, scope, state)?);
    }
    Ok(values)
}

fn holds(op: CompareOp, left: &Value, right: &Value) -> Result<bool, Error> {
    let order = |symbol| compare(left, right, symbol);
    Ok(match op {
        CompareOp::Equal => left == right,
        CompareOp::NotEqual => left != right,
        CompareOp::Less => order("<")? == Some(Ordering::Less),
        CompareOp::LessEqual => {
            matches!(order("<=")?, Some(Ordering::Less | Ordering::Equal))
        }
        CompareOp::Greater => order(">")? == Some(Ordering::Greater),
        CompareOp::GreaterEqual => {
            matches!(order(">=")?, Some(Ordering::Greater | Ordering::Equal))
        }
        CompareOp::In => right.contains(left)?,
        CompareOp::NotIn => !right.contains(left)?,
    })
}

pub(super) fn apply_filter(
    filter: &FilterCall,
    value: Value,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let Some(function) = filters::find(&filter.name) else {
        return Err(filters::unknown(&filter.name).locate(&state.source, filter.loc));
    };
    let args = if filter.args.is_empty() {
        Args::none()
    } else {
        calls::arguments(&filter.args, scope, state)?
    };
    function(&value, &args, state)
}

impl CallArgs {
    pub(crate) fn is_empty(&self) -> bool {
        self.positional.is_empty()
            && self.keyword.is_empty()
            && self.spread.is_none()
            && self.keyword_spread.is_none()
    }
}

/// Names that the sandbox keeps from templates.
fn is_unsafe(name: &str) -> bool {
    name.starts_with("__") && name.ends_with("__")
}

/// `owner.name`.
pub(crate) fn attribute(owner: &Value, name: &str, state: &mut State<'_>) -> Result<Value, Error> {
    if let Some(found) = own_attribute(owner, name, state) {
        return Ok(found);
    }
    match owner {
        Value::Undefined(undefined) => Err(undefined.error()),
        Value::Dict(dict) => Ok(dict
            .get_str(name)
            .unwrap_or_else(|| Value::Undefined(Undefined::attribute(owner, name)))),
        Value::Object(object) => {
            Ok(object.get_item(&Value::str(name), state).unwrap_or_else(|| missing(owner, name)))
        }
        _ => Ok(missing(owner, name)),
    }
}

fn missing(owner: &Value, name: &str) -> Value {
    if is_unsafe(name) {
        return Value::Undefined(Undefined::with_message(format!(
            "access to attribute '{name}' of '{}' object is unsafe.",
            owner.type_name()
        )));
    }
    Value::Undefined(Undefined::attribute(owner, name))
}

/// What Python's `getattr` finds: attributes and methods, not items.
pub(crate) fn own_attribute(owner: &Value, name: &str, state: &mut State<'_>) -> Option<Value> {
    match owner {
        Value::Object(object) => object.get_attr(name, state).or_else(|| {
            object
                .methods()
                .contains(&name)
                .then(|| Value::Method(Arc::new(BoundMethod::new(owner.clone(), name))))
        }),
        Value::Macro(called) => macro_attribute(called, name),
        _ if types::has_method(owner, name) => {
            Some(Value::Method(Arc::new(BoundMethod::new(owner.clone(), name))))
        }
        _ => types::attribute(owner, name),
    }
}

fn macro_attribute(called: &Macro, name: &str) -> Option<Value> {
    let (caller, varargs, kwargs) = called.catches();
    Some(match name {
        "name" => Value::from(called.name().clone()),
        "arguments" => Value::tuple(called.parameters().map(|name| Value::from(name.clone()))),
        "caller" => Value::Bool(caller),
        "catch_varargs" => Value::Bool(varargs),
        "catch_kwargs" => Value::Bool(kwargs),
        _ => return None,
    })
}

/// `owner[key]`.
pub(crate) fn item(owner: &Value, key: &Value, state: &mut State<'_>) -> Result<Value, Error> {
    match owner {
        Value::Undefined(undefined) => return Err(undefined.error()),
        Value::Object(object) => {
            if let Some(found) = object.get_item(key, state) {
                return Ok(found);
            }
        }
        _ => {
            if let Some(found) = owner.subscript(key)? {
                return Ok(found);
            }
        }
    }
    if let Value::Str(name) = key
        && let Some(found) = own_attribute(owner, name, state)
    {
        return Ok(found);
    }
    Ok(match key {
        Value::Str(name) => missing(owner, name),
        _ => Value::Undefined(Undefined::element(owner, key)),
    })
}

/// `getattr(value, name)` for a chain of names and indices, as the filters `map`, `sort`,
/// `groupby` and others take it.
pub(crate) fn path(owner: &Value, parts: &[Value], state: &mut State<'_>) -> Result<Value, Error> {
    let mut value = owner.clone();
    for part in parts {
        // An undefined link stays undefined only at the end of the path.
        value = item(&value, part, state)?;
    }
    Ok(value)
}
