//! dbt's `modules`: `datetime`, `pytz`, `re` and `itertools`, written in Rust.

mod date;
mod datetime;
mod delta;
mod itertools;
mod matcher;
mod pattern;
mod re;
mod strftime;
mod strptime;
mod time;
mod zone;

use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

pub use datetime::{date_value, datetime_value, utc_datetime};

use crate::error::Error;
use crate::function::Args;
use crate::object::Object;
use crate::state::State;
use crate::value::Value;

type Body = fn(&Args, &mut State<'_>) -> Result<Value, Error>;

/// A module: names that do not change.
pub(crate) struct Module {
    name: &'static str,
    members: IndexMap<&'static str, Value>,
}

impl Module {
    fn new(name: &'static str) -> Self {
        Self { name, members: IndexMap::new() }
    }

    fn function(mut self, name: &'static str, body: Body) -> Self {
        self.members.insert(name, Value::function(name, body));
        self
    }

    fn value(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name, value.into());
        self
    }

    fn done(self) -> Value {
        Value::object(self)
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repr())
    }
}

impl Object for Module {
    fn type_name(&self) -> &str {
        "module"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.members.get(name).cloned()
    }

    fn repr(&self) -> String {
        format!("<module '{}'>", self.name)
    }
}

/// A class: called to make a value, with functions and constants of its own.
pub(crate) struct Class {
    name: &'static str,
    make: Body,
    members: IndexMap<&'static str, Value>,
}

impl Class {
    fn new(name: &'static str, make: Body) -> Self {
        Self { name, make, members: IndexMap::new() }
    }

    fn function(mut self, name: &'static str, body: Body) -> Self {
        self.members.insert(name, Value::function(name, body));
        self
    }

    fn value(mut self, name: &'static str, value: Value) -> Self {
        self.members.insert(name, value);
        self
    }

    fn done(self) -> Value {
        Value::Object(Arc::new(self))
    }
}

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repr())
    }
}

impl Object for Class {
    fn type_name(&self) -> &str {
        "type"
    }

    fn get_attr(&self, name: &str, _state: &State<'_>) -> Option<Value> {
        self.members.get(name).cloned()
    }

    fn is_callable(&self) -> bool {
        true
    }

    fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        (self.make)(args, state)
    }

    fn repr(&self) -> String {
        format!("<class '{}'>", self.name)
    }
}

/// The value of the name `modules`.
pub fn value() -> Value {
    static MODULES: OnceLock<Value> = OnceLock::new();
    MODULES
        .get_or_init(|| {
            Module::new("modules")
                .value("datetime", datetime::module())
                .value("pytz", zone::module())
                .value("re", re::module())
                .value("itertools", itertools::module())
                .done()
        })
        .clone()
}
