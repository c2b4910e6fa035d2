//! Objects: values that a host (or this crate) implements in Rust.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use crate::error::Error;
use crate::function::Args;
use crate::state::State;
use crate::value::Value;

/// A value with its own behaviour: a relation, an adapter, `target`, a date, ...
///
/// Every method has a default; an object that only has attributes implements
/// [`type_name`](Object::type_name) and [`get_attr`](Object::get_attr).
#[allow(clippy::len_without_is_empty, reason = "`is_true` is Python's question")]
pub trait Object: Any + Send + Sync + Debug {
    /// Python's name of the type, as error messages show it.
    fn type_name(&self) -> &str;

    /// `object.name`, and `object['name']` when [`get_item`](Object::get_item) has nothing.
    fn get_attr(&self, name: &str, state: &State<'_>) -> Option<Value> {
        let _ = (name, state);
        None
    }

    /// `object[key]`.
    fn get_item(&self, key: &Value, state: &State<'_>) -> Option<Value> {
        let _ = (key, state);
        None
    }

    /// `{% set object.name = value %}` on a `namespace`; others refuse.
    fn set_attr(&self, name: &str, value: Value) -> Result<(), Error> {
        let _ = (name, value);
        Err(Error::type_error("cannot assign attribute on non-namespace object"))
    }

    /// `object(...)`.
    fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        let _ = (args, state);
        Err(Error::type_error(format!("'{}' object is not callable", self.type_name())))
    }

    /// `object.name(...)`; `None` when the object has no such method (an attribute that can be
    /// called is then looked for).
    fn call_method(
        &self,
        name: &str,
        args: &Args,
        state: &mut State<'_>,
    ) -> Option<Result<Value, Error>> {
        let _ = (name, args, state);
        None
    }

    /// Names of the methods of [`call_method`](Object::call_method), so that `object.name`
    /// without a call, `is callable` and hints work.
    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    /// `{{ object }}`.
    fn render(&self) -> String {
        self.repr()
    }

    /// The object inside of a printed list or dict.
    fn repr(&self) -> String {
        format!("<{} object>", self.type_name())
    }

    /// The items of `{% for item in object %}`; `None` when it cannot be iterated.
    fn iterate(&self) -> Option<Vec<Value>> {
        None
    }

    /// Whether [`iterate`](Object::iterate) gives items; to be overridden where iterating has an
    /// effect (a generator is used up).
    fn is_iterable(&self) -> bool {
        self.iterate().is_some()
    }

    /// Length; `None` when it has none.
    fn len(&self) -> Option<usize> {
        None
    }

    /// Truthiness: by length, else true.
    fn is_true(&self) -> bool {
        self.len() != Some(0)
    }

    /// Whether it can be called.
    fn is_callable(&self) -> bool {
        false
    }

    /// Whether it counts as a mapping (`is mapping`, `**object`, `dict(object)`).
    fn is_mapping(&self) -> bool {
        false
    }

    /// Whether it counts as a sequence (`is sequence`).
    fn is_sequence(&self) -> bool {
        false
    }

    /// `value in object`; `None`: look through [`iterate`](Object::iterate).
    fn contains(&self, value: &Value) -> Option<bool> {
        let _ = value;
        None
    }

    /// Equality with another value; the very same object is always equal.
    fn equals(&self, other: &Value) -> bool {
        let _ = other;
        false
    }

    /// Order; `None` when there is none between the two, `Some(None)` when neither is smaller.
    fn compare(&self, other: &Value) -> Option<Option<Ordering>> {
        let _ = other;
        None
    }

    /// `object <op> other` (or `other <op> object` when `reflected`) for `+ - * / // % **`;
    /// `None` when not supported.
    fn operate(
        &self,
        symbol: &str,
        other: &Value,
        reflected: bool,
    ) -> Option<Result<Value, Error>> {
        let _ = (symbol, other, reflected);
        None
    }

    /// Text that equal objects share, for use as a dict key. Without it all objects of a dict
    /// fall in one bucket: right, but slow.
    fn hash_text(&self) -> Option<String> {
        None
    }

    /// Whether it may be a dict key.
    fn is_hashable(&self) -> bool {
        true
    }

    /// What `tojson` writes; `None`: "not JSON serializable".
    fn to_json(&self) -> Option<Value> {
        None
    }

    /// Python's `format(object, spec)`; `None`: as a string.
    fn format(&self, spec: &str) -> Option<Result<String, Error>> {
        let _ = spec;
        None
    }
}

impl From<Arc<dyn Object>> for Value {
    fn from(object: Arc<dyn Object>) -> Self {
        Value::Object(object)
    }
}
