//! Values as Python has them: what templates compute with.

mod arithmetic;
mod collections;
mod compare;
mod convert;
mod iterate;
mod repr;
mod string;
mod trash;

use std::sync::Arc;

pub use collections::{Dict, List, Tuple};
pub use iterate::ValueIter;
pub use string::Str;

pub(crate) use arithmetic::{BinaryOp, binary, negate, positive, repeat_text};
pub(crate) use collections::{Items, Key};
pub(crate) use compare::{compare, sort_with_keys};
pub(crate) use convert::json_key;
pub(crate) use repr::{float_repr, push_str, repr, string_repr};
pub(crate) use string::Marker;
pub(crate) use trash::discard;

use crate::error::Error;
use crate::function::{BoundMethod, Function};
use crate::macros::Macro;
use crate::object::Object;

/// A value. Cheap to clone; lists and dicts are shared and mutable, as in Python.
#[derive(Clone)]
pub enum Value {
    /// Something that does not exist: renders empty, and is an error to look into.
    Undefined(Undefined),
    /// Python's `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number. Arithmetic beyond 128 bits is an error.
    Int(i128),
    /// A floating point number.
    Float(f64),
    /// Text.
    Str(Str),
    /// A mutable, shared list.
    List(List),
    /// A tuple.
    Tuple(Tuple),
    /// A mutable, shared dict in insertion order.
    Dict(Dict),
    /// A macro.
    Macro(Arc<Macro>),
    /// A native function.
    Function(Arc<Function>),
    /// A method of a value, not called yet.
    Method(Arc<BoundMethod>),
    /// Anything else: a host's object, or one of this crate's (dates, sets, namespaces, ...).
    Object(Arc<dyn Object>),
}

/// What is known about a missing value, for its error.
#[derive(Clone, Debug, Default)]
pub struct Undefined(Option<Arc<UndefinedInner>>);

#[derive(Debug)]
struct UndefinedInner {
    name: Option<Arc<str>>,
    message: Option<String>,
}

impl Undefined {
    /// A missing name: `'name' is undefined`.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self(Some(Arc::new(UndefinedInner { name: Some(name.into()), message: None })))
    }

    /// A missing value with its own message.
    pub fn with_message(message: impl Into<String>) -> Self {
        Self(Some(Arc::new(UndefinedInner { name: None, message: Some(message.into()) })))
    }

    /// A missing attribute or item of `owner`.
    pub(crate) fn attribute(owner: &Value, name: &str) -> Self {
        let message = match owner {
            Value::Undefined(undefined) => return undefined.clone(),
            Value::None => format!("'None' has no attribute {}", string_repr(name)),
            other => format!("'{}' has no attribute {}", other.described_type(), string_repr(name)),
        };
        Self(Some(Arc::new(UndefinedInner { name: Some(name.into()), message: Some(message) })))
    }

    pub(crate) fn element(owner: &Value, key: &Value) -> Self {
        if let Value::Str(name) = key {
            return Self::attribute(owner, name);
        }
        Self::with_message(format!("{} has no element {}", owner.described_type(), repr(key)))
    }

    /// The name that was looked up, if it was a name.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().and_then(|inner| inner.name.as_deref())
    }

    /// The message of the error that using this value gives.
    pub fn message(&self) -> String {
        match self.0.as_deref() {
            Some(UndefinedInner { message: Some(message), .. }) => message.clone(),
            Some(UndefinedInner { name: Some(name), .. }) => {
                format!("{} is undefined", string_repr(name))
            }
            _ => "the value is undefined".to_string(),
        }
    }

    /// The error that using this value gives.
    pub fn error(&self) -> Error {
        Error::undefined(self.message())
    }
}

impl Value {
    /// The undefined value without a name.
    pub const UNDEFINED: Value = Value::Undefined(Undefined(None));

    /// A string.
    pub fn str(text: impl AsRef<str>) -> Self {
        Value::Str(Str::new(text.as_ref()))
    }

    /// A new list.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Value::List(List::new(items.into_iter().collect()))
    }

    /// A tuple.
    pub fn tuple(items: impl IntoIterator<Item = Value>) -> Self {
        Value::Tuple(Tuple::new(items.into_iter().collect()))
    }

    /// A new dict with string keys.
    pub fn dict<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        let dict = Dict::new();
        for (key, value) in entries {
            dict.insert_str(key.as_ref(), value);
        }
        Value::Dict(dict)
    }

    /// An object.
    pub fn object(object: impl Object + 'static) -> Self {
        Value::Object(Arc::new(object))
    }

    /// A native function: `Value::function("name", |args, state| ...)`.
    pub fn function(
        name: impl Into<Arc<str>>,
        body: impl Fn(&crate::function::Args, &mut crate::state::State<'_>) -> Result<Value, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Value::Function(Arc::new(Function::new(name, body)))
    }

    /// Whether this is undefined.
    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// Whether this is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean of a bool value (no truthiness: see [`Value::is_true`]).
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// An integer that fits (bools count as 0 and 1, as in Python).
    pub fn as_i64(&self) -> Option<i64> {
        self.as_int().and_then(|number| i64::try_from(number).ok())
    }

    /// An integer or a bool.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Bool(flag) => Some(i128::from(*flag)),
            _ => None,
        }
    }

    /// A number as floating point.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            Value::Int(number) => Some(*number as f64),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    /// The list.
    pub fn as_list(&self) -> Option<&List> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The dict.
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The object, if it is a `T`.
    pub fn downcast<T: Object + 'static>(&self) -> Option<&T> {
        match self {
            Value::Object(object) => {
                let any: &dyn std::any::Any = object.as_ref();
                any.downcast_ref::<T>()
            }
            _ => None,
        }
    }

    /// The items of a list or tuple (a copy of the references), else `None`.
    pub fn to_items(&self) -> Option<Vec<Value>> {
        match self {
            Value::List(list) => Some(list.to_vec()),
            Value::Tuple(tuple) => Some(tuple.to_vec()),
            _ => None,
        }
    }

    /// Python's truthiness.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(flag) => *flag,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Tuple(tuple) => !tuple.is_empty(),
            Value::Dict(dict) => !dict.is_empty(),
            Value::Macro(_) | Value::Function(_) | Value::Method(_) => true,
            Value::Object(object) => object.is_true(),
        }
    }

    /// Python's name of this value's type.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Macro(_) => "Macro",
            Value::Function(_) => "function",
            Value::Method(_) => "builtin_function_or_method",
            Value::Object(object) => object.type_name(),
        }
    }

    pub(crate) fn described_type(&self) -> String {
        match self {
            Value::None => "None".to_string(),
            other => format!("{} object", other.type_name()),
        }
    }

    /// Number of items or characters; `None` when the value has no length.
    pub fn len(&self) -> Option<usize> {
        match self {
            Value::Undefined(_) => Some(0),
            Value::Str(text) => Some(text.char_count()),
            Value::List(list) => Some(list.len()),
            Value::Tuple(tuple) => Some(tuple.len()),
            Value::Dict(dict) => Some(dict.len()),
            Value::Object(object) => object.len(),
            _ => None,
        }
    }

    /// Whether the value has a length and it is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether the value can be called.
    pub fn is_callable(&self) -> bool {
        match self {
            Value::Macro(_) | Value::Function(_) | Value::Method(_) => true,
            // Jinja's Undefined has a `__call__`, so Python calls it callable.
            Value::Undefined(_) => true,
            Value::Object(object) => object.is_callable(),
            _ => false,
        }
    }

    /// Whether two values are the very same (`is sameas`): identity for what is shared,
    /// equality for what is not.
    pub fn same_as(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
            (Value::List(a), Value::List(b)) => a.same_as(b),
            (Value::Tuple(a), Value::Tuple(b)) => a.same_as(b),
            (Value::Dict(a), Value::Dict(b)) => a.same_as(b),
            (Value::Macro(a), Value::Macro(b)) => a.same_as(b),
            (Value::Function(a), Value::Function(b)) => Arc::ptr_eq(a, b),
            (Value::Object(a), Value::Object(b)) => {
                std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
            }
            _ => false,
        }
    }

    /// Python's `repr()`.
    pub fn repr(&self) -> String {
        repr(self)
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&repr(self))
    }
}

/// Python's `str()`: what `{{ value }}` writes.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Str(text) => f.write_str(text),
            other => {
                let mut out = String::new();
                push_str(&mut out, other);
                f.write_str(&out)
            }
        }
    }
}
