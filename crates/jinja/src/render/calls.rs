//! Calls of macros, functions, methods and objects.

use std::sync::Arc;

use super::expressions::{attribute, evaluate, own_attribute};
use super::{Output, Scope, grow, native, statements};
use crate::error::{Error, ErrorKind, Frame};
use crate::function::Args;
use crate::macros::Macro;
use crate::source::Span;
use crate::state::State;
use crate::syntax::ast::{Call, CallArgs, Expr, ExprKind};
use crate::types;
use crate::value::{Tuple, Undefined, Value};

pub(super) fn arguments(
    args: &CallArgs,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<Args, Error> {
    let mut values = Vec::with_capacity(args.positional.len());
    for expr in &args.positional {
        values.push(evaluate(expr, scope, state)?);
    }
    let mut keyword = Vec::with_capacity(args.keyword.len());
    for (name, expr) in &args.keyword {
        keyword.push((name.clone(), evaluate(expr, scope, state)?));
    }
    let mut bound = Args::new(values, keyword);
    if let Some(spread) = &args.spread {
        let value = evaluate(spread, scope, state)?;
        let items = value.items().map_err(|_| {
            Error::type_error(format!(
                "argument after * must be an iterable, not {}",
                value.type_name()
            ))
        })?;
        state.charge_items(items.len())?;
        items.into_iter().for_each(|item| bound.push(item));
    }
    if let Some(spread) = &args.keyword_spread {
        let value = evaluate(spread, scope, state)?;
        let Some(dict) = types::dict::from_mapping(&value, state) else {
            return Err(Error::type_error(format!(
                "argument after ** must be a mapping, not {}",
                value.type_name()
            )));
        };
        for (key, value) in dict.entries() {
            let Value::Str(name) = key else {
                return Err(Error::type_error("keywords must be strings"));
            };
            bound.push_keyword(name.as_arc().clone(), value)?;
        }
    }
    Ok(bound)
}

pub(super) fn call_with_caller(
    expr: &Expr,
    caller: Value,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let ExprKind::Call(inner) = &expr.kind else {
        return Err(Error::type_error("a `call` block needs a call"));
    };
    call(inner, Some(caller), scope, state).map_err(|error| error.locate(&state.source, expr.loc))
}

pub(super) fn call(
    call: &Call,
    caller: Option<Value>,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    // `value.method(...)` without making the method a value first.
    if let ExprKind::Attribute(owner, name) = &call.callee.kind {
        let owner = evaluate(owner, scope, state)?;
        let mut args = arguments(&call.args, scope, state)?;
        if let Some(caller) = caller {
            args.push_keyword("caller".into(), caller)?;
        }
        state.call_site = Some((state.source.clone(), call.callee.loc));
        return call_method(&owner, name, &args, state);
    }
    let callee = evaluate(&call.callee, scope, state)?;
    let mut args = arguments(&call.args, scope, state)?;
    if let Some(caller) = caller {
        args.push_keyword("caller".into(), caller)?;
    }
    state.call_site = Some((state.source.clone(), call.callee.loc));
    call_value(&callee, &args, state)
}

/// Calls `owner.name(...)`.
pub(super) fn call_method(
    owner: &Value,
    name: &str,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    match owner {
        Value::Object(object) => {
            if let Some(result) = native(|| object.call_method(name, args, state)) {
                return result;
            }
        }
        Value::Undefined(undefined) => return Err(undefined.error()),
        _ => {
            if let Some(result) = types::call_method(owner, name, args, state) {
                return result;
            }
        }
    }
    let callee = attribute(owner, name, state)?;
    if callee.is_undefined() {
        let hint = types::nearest_method(owner, name);
        let error = Error::undefined(match owner {
            Value::None => format!("'None' has no attribute '{name}'"),
            other => format!("'{}' has no attribute '{name}'", other.described_type()),
        });
        return Err(match hint {
            Some(known) => error.with_hint(format!("did you mean `{known}`?")),
            None => error,
        });
    }
    call_value(&callee, args, state)
}

/// Calls a value.
pub(super) fn call_value(
    callee: &Value,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    match callee {
        Value::Function(function) => native(|| function.call(args, state)),
        Value::Macro(called) => call_macro(called, args, state),
        Value::Method(method) => call_method(method.receiver(), method.name(), args, state),
        Value::Object(object) => native(|| object.call(args, state)),
        Value::Undefined(undefined) => Err(undefined.error()),
        other => Err(Error::type_error(format!("'{}' object is not callable", other.type_name()))),
    }
}

/// Calls a macro: its text, or what it `return`s.
pub(super) fn call_macro(
    called: &Arc<Macro>,
    args: &Args,
    state: &mut State<'_>,
) -> Result<Value, Error> {
    let limit = state.budget().recursion;
    if state.frames.len() >= limit {
        return Err(Error::new(
            ErrorKind::Budget,
            format!("macros call each other more than {limit} deep"),
        )
        .with_hint(format!("does the macro `{}` call itself without end?", called.name())));
    }
    if !called.is_caller() {
        state.host().called(called, state);
    }
    let site = state.call_site.take();
    state.frames.push(Frame {
        name: called.def.name.clone(),
        package: called.package.clone(),
        call: None,
    });
    let source = std::mem::replace(&mut state.source, called.def.source.clone());
    let package = std::mem::replace(&mut state.package, called.package.clone());
    let result = grow(|| run(called, args, state));
    state.source = source;
    state.package = package;
    let frame = state.frames.pop();
    match result {
        Err(mut error) if error.is_return() && !called.is_caller() => {
            Ok(error.take_returned().unwrap_or(Value::None))
        }
        Err(mut error) => {
            if let (Some(mut frame), false) = (frame, error.is_return()) {
                frame.call = site.map(|(source, loc)| Span::at(&source, loc));
                error.push_frame(frame);
            }
            Err(error)
        }
        ok => ok,
    }
}

fn run(called: &Arc<Macro>, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
    let def = &called.def;
    let scope = Scope::new(called.around.clone());
    bind(called, args, &scope, state)?;
    let mut out = Output::text();
    statements::body(&def.body, &scope, state, &mut out)?;
    Ok(Value::from(out.into_text()))
}

/// Jinja2's rules: positional, then keyword, then defaults; what is left goes to `varargs` and
/// `kwargs` if the macro names them, and is an error otherwise.
fn bind(
    called: &Macro,
    args: &Args,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<(), Error> {
    let def = &called.def;
    let mut used = 0;
    for (index, parameter) in def.parameters.iter().enumerate() {
        let positional = args.positional().get(index);
        let keyword = args.get_keyword(&parameter.name);
        let value = match (positional, keyword) {
            (Some(_), Some(_)) => {
                return Err(Error::type_error(format!(
                    "macro '{}' got multiple values for argument '{}'",
                    def.name, parameter.name
                )));
            }
            (Some(value), None) => value.clone(),
            (None, Some(value)) => {
                used += 1;
                value.clone()
            }
            (None, None) => match &parameter.default {
                // A default sees the parameters before it.
                Some(default) => evaluate(default, scope, state)?,
                None => Value::Undefined(Undefined::with_message(format!(
                    "parameter '{}' was not provided",
                    parameter.name
                ))),
            },
        };
        scope.set(&parameter.name, value);
    }
    let named = |name: &str| def.parameters.iter().any(|parameter| &*parameter.name == name);
    let known = |name: &str| named(name) || (def.uses_caller && name == "caller");
    if def.uses_caller && !named("caller") {
        let caller = match args.get_keyword("caller") {
            Some(caller) => {
                used += 1;
                caller.clone()
            }
            None => Value::Undefined(Undefined::with_message("No caller defined")),
        };
        scope.set(&"caller".into(), caller);
    }
    let extra = args.positional().get(def.parameters.len()..).unwrap_or_default();
    if def.uses_varargs {
        scope.set(&"varargs".into(), Value::Tuple(Tuple::new(extra.to_vec())));
    } else if !extra.is_empty() {
        return Err(Error::type_error(format!(
            "macro '{}' takes not more than {} argument(s)",
            def.name,
            def.parameters.len()
        )));
    }
    if def.uses_kwargs {
        let rest = args.keyword().iter().filter(|(name, _)| !known(name));
        scope.set(
            &"kwargs".into(),
            Value::dict(rest.map(|(name, value)| (name.clone(), value.clone()))),
        );
    } else if used < args.keyword().len() {
        let unknown = args.keyword().iter().map(|(name, _)| name).find(|name| !known(name));
        if let Some(name) = unknown {
            if &**name == "caller" {
                return Err(Error::type_error(format!(
                    "macro '{}' was invoked with two values for the special caller argument. \
                     This is most likely a bug.",
                    def.name
                ))
                .with_hint(
                    "the macro does not use `caller()`, so it cannot be given a `call` block",
                ));
            }
            return Err(Error::type_error(format!(
                "macro '{}' takes no keyword argument '{name}'",
                def.name
            )));
        }
    }
    Ok(())
}

impl Macro {
    /// Calls the macro within a render.
    pub fn call(self: &Arc<Self>, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        call_macro(self, args, state)
    }
}

impl Value {
    /// Calls this value within a render: a macro gives its text or what it returns.
    pub fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        call_value(self, args, state)
    }

    /// Calls `self.name(...)` within a render.
    pub fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Result<Value, Error> {
        call_method(self, name, args, state)
    }

    /// `self.name` as a template reads it; undefined when there is nothing.
    pub fn get_attr(&self, name: &str, state: &mut State<'_>) -> Result<Value, Error> {
        attribute(self, name, state)
    }

    /// `self[key]` as a template reads it; undefined when there is nothing.
    pub fn get_item(&self, key: &Value, state: &mut State<'_>) -> Result<Value, Error> {
        super::expressions::item(self, key, state)
    }

    /// Python's `getattr` without falling back to items.
    pub(crate) fn own_attr(&self, name: &str, state: &mut State<'_>) -> Option<Value> {
        own_attribute(self, name, state)
    }
}
