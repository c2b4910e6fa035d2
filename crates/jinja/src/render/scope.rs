//! Local variables.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::macros::Macro;
use crate::syntax::ast::MacroDef;
use crate::value::{Value, discard};

/// The variables of one block (a template, a macro call, one turn of a loop, ...), within the
/// scopes around it.
pub(crate) struct Scope {
    slots: Mutex<Vec<(Arc<str>, Slot)>>,
    around: Option<Arc<Scope>>,
}

enum Slot {
    Value(Value),
    /// A macro defined here. Kept apart from its surroundings until it is looked up: a macro
    /// value holds its scope, and a scope that held such values would never be freed.
    Macro(Arc<MacroDef>, Arc<str>),
}

impl Drop for Scope {
    fn drop(&mut self) {
        let slots = self.slots.get_mut().unwrap_or_else(PoisonError::into_inner);
        discard(slots.drain(..).filter_map(|(_, slot)| match slot {
            Slot::Value(value) => Some(value),
            Slot::Macro(..) => None,
        }));
    }
}

impl Scope {
    pub(crate) fn new(around: Option<Arc<Scope>>) -> Arc<Self> {
        Arc::new(Self { slots: Mutex::new(Vec::new()), around })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<str>, Slot)>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(self: &Arc<Self>, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            for (known, slot) in scope.lock().iter() {
                if &**known == name {
                    return Some(match slot {
                        Slot::Value(value) => value.clone(),
                        Slot::Macro(def, package) => Value::Macro(Arc::new(Macro::new(
                            def.clone(),
                            package.clone(),
                            Some(scope.clone()),
                        ))),
                    });
                }
            }
            scope = scope.around.as_ref()?;
        }
    }

    pub(crate) fn set(&self, name: &Arc<str>, value: Value) {
        self.put(name, Slot::Value(value));
    }

    pub(crate) fn define(&self, def: &Arc<MacroDef>, package: &Arc<str>) {
        self.put(&def.name, Slot::Macro(def.clone(), package.clone()));
    }

    fn put(&self, name: &Arc<str>, slot: Slot) {
        let mut slots = self.lock();
        let replaced = match slots.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => Some(std::mem::replace(known, slot)),
            None => {
                slots.push((name.clone(), slot));
                None
            }
        };
        // Dropping a value may free objects of the host: not under the lock.
        drop(slots);
        drop(replaced);
    }

    /// Whether nobody else holds this scope, so that it can be emptied and used again.
    pub(crate) fn reset(self: &mut Arc<Self>) -> bool {
        match Arc::get_mut(self) {
            Some(scope) => {
                scope.slots.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
                true
            }
            None => false,
        }
    }
}
