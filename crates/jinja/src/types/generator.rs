//! One-shot iterators: what `map`, `select`, `zip` and their like give.

use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::function::Args;
use crate::object::Object;
use crate::state::State;
use crate::value::{Value, discard};

/// Python's generators and iterators: true, without length, used up by going through them.
#[derive(Debug)]
pub(crate) struct Generator {
    type_name: &'static str,
    items: Mutex<std::collections::VecDeque<Value>>,
}

impl Generator {
    pub(crate) fn value(type_name: &'static str, items: Vec<Value>) -> Value {
        Value::object(Self { type_name, items: Mutex::new(items.into()) })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        discard(self.items.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..));
    }
}

impl Object for Generator {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *items).into())
    }

    /// As in Python, what is looked at is used up, and no more: up to the item that is found.
    fn contains(&self, needle: &Value) -> Option<bool> {
        loop {
            let item = self.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match item {
                Some(item) if item == *needle => return Some(true),
                Some(_) => {}
                None => return Some(false),
            }
        }
    }

    fn is_iterable(&self) -> bool {
        true
    }

    fn is_true(&self) -> bool {
        true
    }

    fn methods(&self) -> &'static [&'static str] {
        &["__next__"]
    }

    fn call_method(
        &self,
        name: &str,
        _args: &Args,
        _state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        (name == "__next__").then(|| {
            let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            items.pop_front().ok_or_else(|| Error::runtime("StopIteration"))
        })
    }
}
