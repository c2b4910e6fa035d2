//! The interpreter: walks the tree.

mod calls;
mod expressions;
mod loops;
mod output;
mod scope;
mod statements;

use std::sync::Arc;

pub(crate) use expressions::{attribute, path};
pub(crate) use output::Output;
pub(crate) use scope::Scope;

use crate::error::Error;
use crate::source::Source;
use crate::state::State;
use crate::syntax::ast::{Body, Expr};
use crate::value::Value;

/// What a statement says about the loop around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

/// Stack that has to be left before a step into the tree; more is added on the heap if not.
const RED_ZONE: usize = 192 << 10;
const STACK_SEGMENT: usize = 2 << 20;

pub(crate) fn grow<R>(work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(RED_ZONE, STACK_SEGMENT, work)
}

/// Runs a function of the host or an object, with half a MiB of stack at least.
pub(crate) fn native<R>(work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(512 << 10, 2 * STACK_SEGMENT, work)
}

pub(crate) fn template(
    body: &Body,
    source: &Arc<Source>,
    state: &mut State<'_>,
) -> Result<String, Error> {
    let mut out = Output::text();
    run(body, source, state, &mut out)?;
    Ok(out.into_text())
}

pub(crate) fn run(
    body: &Body,
    source: &Arc<Source>,
    state: &mut State<'_>,
    out: &mut Output,
) -> Result<(), Error> {
    let outer = std::mem::replace(&mut state.source, source.clone());
    let scope = Scope::new(None);
    let result = grow(|| statements::body(body, &scope, state, out));
    state.source = outer;
    result.map(|_| ())
}

pub(crate) fn expression(expr: &Expr, state: &mut State<'_>) -> Result<Value, Error> {
    let scope = Scope::new(None);
    grow(|| expressions::evaluate(expr, &scope, state))
}
