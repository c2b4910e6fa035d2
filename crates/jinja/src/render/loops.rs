//! `for`, and the `loop` variable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::expressions::evaluate;
use super::statements::{assign, body, truth};
use super::{Flow, Output, Scope, grow};
use crate::error::{Error, ErrorKind};
use crate::function::Args;
use crate::object::Object;
use crate::state::State;
use crate::syntax::ast::For;
use crate::value::{Value, ValueIter, discard};

pub(super) fn run(
    each: &Arc<For>,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
    out: &mut Output,
) -> Result<(), Error> {
    let items = evaluate(&each.items, scope, state)?;
    turns(each, &items, 0, scope, state, out)
}

fn turns(
    each: &Arc<For>,
    items: &Value,
    depth: usize,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
    out: &mut Output,
) -> Result<(), Error> {
    let mut iter = items.iter().map_err(|error| error.locate(&state.source, each.items.loc))?;
    if each.condition.is_some() {
        iter = select(each, iter, scope, state)?;
    }
    let mut item = iter.next();
    if item.is_none() {
        // What is set in the `else` part stays in it.
        body(&each.otherwise, &Scope::new(Some(scope.clone())), state, out)?;
        return Ok(());
    }
    let context = each.uses_loop.then(|| {
        let again = each.recursive.then(|| (each.clone(), scope.clone()));
        Arc::new(Loop { depth, again, turn: Mutex::new(Turn::default()) })
    });
    let mut within = Scope::new(Some(scope.clone()));
    let loop_name: Arc<str> = "loop".into();
    let mut index = 0;
    while let Some(current) = item {
        state.tick()?;
        item = iter.next();
        let remaining = iter.remaining() + usize::from(item.is_some());
        if !within.reset() {
            within = Scope::new(Some(scope.clone()));
        }
        if let Some(context) = &context {
            context.advance(index, remaining, &current, item.as_ref());
            within.set(&loop_name, Value::Object(context.clone()));
        }
        assign(&each.target, current, &within)?;
        if body(&each.body, &within, state, out)? == Flow::Break {
            break;
        }
        // A list that grew while its last item was handled has a next item after all.
        if item.is_none() {
            item = iter.next();
        }
        index += 1;
    }
    Ok(())
}

/// The items that pass the loop's own `if`.
fn select(
    each: &Arc<For>,
    iter: ValueIter,
    scope: &Arc<Scope>,
    state: &mut State<'_>,
) -> Result<ValueIter, Error> {
    let Some(condition) = &each.condition else { return Ok(iter) };
    let mut kept = Vec::new();
    let mut within = Scope::new(Some(scope.clone()));
    for item in iter {
        state.tick()?;
        if !within.reset() {
            within = Scope::new(Some(scope.clone()));
        }
        assign(&each.target, item.clone(), &within)?;
        if truth(&evaluate(condition, &within, state)?)? {
            kept.push(item);
        }
    }
    Ok(ValueIter::fixed(kept))
}

/// The `loop` variable.
pub(crate) struct Loop {
    depth: usize,
    /// What `loop(items)` of a recursive loop runs: the loop and the scope around it.
    again: Option<(Arc<For>, Arc<Scope>)>,
    turn: Mutex<Turn>,
}

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repr())
    }
}

#[derive(Debug, Default)]
struct Turn {
    index: usize,
    remaining: usize,
    current: Option<Value>,
    previous: Option<Value>,
    next: Option<Value>,
    changed: Option<Vec<Value>>,
}

impl Loop {
    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, index: usize, remaining: usize, current: &Value, next: Option<&Value>) {
        let mut turn = self.lock();
        turn.index = index;
        turn.remaining = remaining;
        turn.previous = turn.current.take();
        turn.current = Some(current.clone());
        turn.next = next.cloned();
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let turn = self.turn.get_mut().unwrap_or_else(PoisonError::into_inner);
        let items = [turn.current.take(), turn.previous.take(), turn.next.take()];
        discard(items.into_iter().flatten().chain(turn.changed.take().into_iter().flatten()));
    }
}

impl Object for Loop {
    fn type_name(&self) -> &str {
        "LoopContext"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        let turn = self.lock();
        Some(match name {
            "index" => Value::from(turn.index + 1),
            "index0" => Value::from(turn.index),
            "revindex" => Value::from(turn.remaining + 1),
            "revindex0" => Value::from(turn.remaining),
            "first" => Value::Bool(turn.index == 0),
            "last" => Value::Bool(turn.remaining == 0),
            "length" => Value::from(turn.index + 1 + turn.remaining),
            "depth" => Value::from(self.depth + 1),
            "depth0" => Value::from(self.depth),
            "previtem" => turn.previous.clone().unwrap_or_else(|| {
                Value::Undefined(crate::Undefined::with_message("there is no previous item"))
            }),
            "nextitem" => turn.next.clone().unwrap_or_else(|| {
                Value::Undefined(crate::Undefined::with_message("there is no next item"))
            }),
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        &["cycle", "changed"]
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        match name {
            "cycle" => {
                let values = args.positional();
                if values.is_empty() {
                    return Some(Err(Error::type_error("no items for cycling given")));
                }
                let index = self.lock().index;
                Some(Ok(values[index % values.len()].clone()))
            }
            "changed" => {
                let values = args.positional().to_vec();
                let before = self.lock().changed.replace(values.clone());
                Some(Ok(Value::Bool(before != Some(values))))
            }
            _ => None,
        }
    }

    fn len(&self) -> Option<usize> {
        let turn = self.lock();
        Some(turn.index + 1 + turn.remaining)
    }

    fn is_callable(&self) -> bool {
        true
    }

    fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        let Some((each, scope)) = &self.again else {
            return Err(Error::type_error(
                "The loop must have the 'recursive' marker to be called recursively.",
            ));
        };
        let [items] = args.bind("loop", ["iterable"], 1)?;
        if self.depth >= state.budget().recursion {
            return Err(Error::new(
                ErrorKind::Budget,
                format!("the loop calls itself more than {} deep", self.depth),
            ));
        }
        let mut out = Output::text();
        let items = items.unwrap_or(Value::None);
        grow(|| turns(each, &items, self.depth + 1, scope, state, &mut out))?;
        Ok(Value::from(out.into_text()))
    }

    fn repr(&self) -> String {
        let turn = self.lock();
        format!("<LoopContext {}/{}>", turn.index + 1, turn.index + 1 + turn.remaining)
    }
}
