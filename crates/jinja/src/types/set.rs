//! Sets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::function::Args;
use crate::object::Object;
use crate::state::State;
use crate::value::Key;
use crate::value::{Dict, Items, Value};

/// A mutable set; printed and gone through in the order of insertion (Python has none).
#[derive(Default)]
pub struct Set(Mutex<Items>);

impl Set {
    /// A set of these values; an error when one is not hashable.
    pub fn from_values(values: impl IntoIterator<Item = Value>) -> Result<Self, Error> {
        let mut items = Items::new();
        for value in values {
            items.insert(Key::new(value)?);
        }
        Ok(Self(Mutex::new(items)))
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values.
    pub fn values(&self) -> Vec<Value> {
        self.lock().iter().map(|key| key.0.clone()).collect()
    }

    fn has(&self, value: &Value) -> bool {
        Key::new(value.clone()).is_ok_and(|key| self.lock().contains(&key))
    }

    fn made(values: impl IntoIterator<Item = Value>) -> Result<Value, Error> {
        Self::from_values(values).map(Value::object)
    }

    pub(crate) fn difference(&self, other: &Value) -> Result<Value, Error> {
        let other = Self::from_values(other.items()?)?;
        Self::made(self.values().into_iter().filter(|value| !other.has(value)))
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repr())
    }
}

const METHODS: &[&str] = &[
    "add",
    "clear",
    "copy",
    "difference",
    "difference_update",
    "discard",
    "intersection",
    "intersection_update",
    "isdisjoint",
    "issubset",
    "issuperset",
    "pop",
    "remove",
    "symmetric_difference",
    "union",
    "update",
];

impl Object for Set {
    fn type_name(&self) -> &str {
        "set"
    }

    fn methods(&self) -> &'static [&'static str] {
        METHODS
    }

    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        METHODS.contains(&name).then(|| self.method(name, args, state))
    }

    fn iterate(&self) -> Option<Vec<Value>> {
        Some(self.values())
    }

    fn is_iterable(&self) -> bool {
        true
    }

    fn len(&self) -> Option<usize> {
        Some(self.lock().len())
    }

    fn contains(&self, value: &Value) -> Option<bool> {
        Some(self.has(value))
    }

    fn equals(&self, other: &Value) -> bool {
        other.downcast::<Set>().is_some_and(|other| {
            let values = self.values();
            values.len() == other.lock().len() && values.iter().all(|value| other.has(value))
        })
    }

    fn operate(
        &self,
        symbol: &str,
        other: &Value,
        reflected: bool,
    ) -> Option<Result<Value, Error>> {
        if symbol != "-" || reflected {
            return None;
        }
        other.downcast::<Set>()?;
        Some(self.difference(other))
    }

    fn is_hashable(&self) -> bool {
        false
    }

    fn repr(&self) -> String {
        let values = self.values();
        if values.is_empty() {
            return "set()".to_string();
        }
        let inner: Vec<String> = values.iter().map(Value::repr).collect();
        format!("{{{}}}", inner.join(", "))
    }
}

impl Set {
    fn method(&self, name: &str, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        let one = || -> Result<Value, Error> {
            let [value] = args.bind(name, ["value"], 1)?;
            Ok(value.unwrap_or(Value::None))
        };
        let mut others = Vec::new();
        if matches!(
            name,
            "difference"
                | "difference_update"
                | "intersection"
                | "intersection_update"
                | "isdisjoint"
                | "issubset"
                | "issuperset"
                | "symmetric_difference"
                | "union"
                | "update"
        ) {
            for other in args.positional() {
                let items = other.items()?;
                state.charge_items(items.len())?;
                others.push(Self::from_values(items)?);
            }
        }
        let mine = self.values();
        let in_all = |value: &Value| others.iter().all(|other| other.has(value));
        let in_none = |value: &Value| !others.iter().any(|other| other.has(value));
        let replace = |items: Vec<Value>| -> Result<Value, Error> {
            let items = Self::from_values(items)?;
            let items = std::mem::take(&mut *items.lock());
            let before = std::mem::replace(&mut *self.lock(), items);
            drop(before);
            Ok(Value::None)
        };
        let joined =
            || mine.iter().cloned().chain(others.iter().flat_map(Set::values)).collect::<Vec<_>>();
        match name {
            "add" => {
                let key = Key::new(one()?)?;
                self.lock().insert(key);
                Ok(Value::None)
            }
            "discard" | "remove" => {
                let value = one()?;
                let key = Key::new(value.clone())?;
                let found = self.lock().shift_remove(&key);
                if !found && name == "remove" {
                    return Err(Error::runtime(format!("KeyError: {}", value.repr())));
                }
                Ok(Value::None)
            }
            "pop" => {
                let first = self.lock().shift_remove_index(0);
                first
                    .map(|key| key.0)
                    .ok_or_else(|| Error::runtime("KeyError: 'pop from an empty set'"))
            }
            "clear" => replace(Vec::new()),
            "copy" => Self::made(mine),
            "union" => Self::made(joined()),
            "update" => replace(joined()),
            "difference" => Self::made(mine.into_iter().filter(in_none)),
            "difference_update" => replace(mine.into_iter().filter(in_none).collect()),
            "intersection" => Self::made(mine.into_iter().filter(in_all)),
            "intersection_update" => replace(mine.into_iter().filter(in_all).collect()),
            "isdisjoint" => Ok(Value::Bool(mine.iter().all(in_none))),
            "issubset" => Ok(Value::Bool(mine.iter().all(in_all))),
            "issuperset" => Ok(Value::Bool(
                others.iter().all(|other| other.values().iter().all(|v| self.has(v))),
            )),
            "symmetric_difference" => {
                let theirs = others.iter().flat_map(Set::values).filter(|value| !self.has(value));
                Self::made(mine.iter().filter(|value| in_none(value)).cloned().chain(theirs))
            }
            _ => Err(Error::undefined(format!("'set object' has no attribute '{name}'"))),
        }
    }
}

/// The keys of a dict as a set.
impl From<&Dict> for Set {
    fn from(dict: &Dict) -> Self {
        let items = dict.lock().keys().cloned().collect();
        Self(Mutex::new(items))
    }
}
