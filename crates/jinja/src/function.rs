//! Native functions and the arguments of a call.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::state::State;
use crate::value::{Dict, Value};

type Body = dyn Fn(&Args, &mut State<'_>) -> Result<Value, Error> + Send + Sync;

/// A function written in Rust; made with [`Value::function`].
pub struct Function {
    name: Arc<str>,
    body: Box<Body>,
}

impl Function {
    /// Wraps a closure. `name` is what messages show.
    pub fn new(
        name: impl Into<Arc<str>>,
        body: impl Fn(&Args, &mut State<'_>) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), body: Box::new(body) }
    }

    /// The name that messages show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls it.
    pub fn call(&self, args: &Args, state: &mut State<'_>) -> Result<Value, Error> {
        (self.body)(args, state)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.name)
    }
}

/// `value.method` before it is called.
pub struct BoundMethod {
    receiver: Value,
    name: Arc<str>,
}

impl BoundMethod {
    pub(crate) fn new(receiver: Value, name: impl Into<Arc<str>>) -> Self {
        Self { receiver, name: name.into() }
    }

    /// The value it belongs to.
    pub fn receiver(&self) -> &Value {
        &self.receiver
    }

    /// The method's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The arguments of a call, keyword arguments in their order.
#[derive(Clone, Default, Debug)]
pub struct Args {
    positional: Vec<Value>,
    keyword: Vec<(Arc<str>, Value)>,
}

impl Args {
    /// No arguments.
    pub fn none() -> Self {
        Self::default()
    }

    /// Positional arguments only.
    pub fn positional_only(positional: impl IntoIterator<Item = Value>) -> Self {
        Self { positional: positional.into_iter().collect(), keyword: Vec::new() }
    }

    /// Positional and keyword arguments.
    pub fn new(
        positional: impl IntoIterator<Item = Value>,
        keyword: impl IntoIterator<Item = (Arc<str>, Value)>,
    ) -> Self {
        Self {
            positional: positional.into_iter().collect(),
            keyword: keyword.into_iter().collect(),
        }
    }

    /// Adds a keyword argument.
    #[must_use]
    pub fn with(mut self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        self.keyword.push((name.into(), value.into()));
        self
    }

    pub(crate) fn push(&mut self, value: Value) {
        self.positional.push(value);
    }

    pub(crate) fn push_keyword(&mut self, name: Arc<str>, value: Value) -> Result<(), Error> {
        if self.keyword.iter().any(|(known, _)| *known == name) {
            return Err(Error::type_error(format!(
                "got multiple values for keyword argument '{name}'"
            )));
        }
        self.keyword.push((name, value));
        Ok(())
    }

    /// The positional arguments.
    pub fn positional(&self) -> &[Value] {
        &self.positional
    }

    /// The keyword arguments.
    pub fn keyword(&self) -> &[(Arc<str>, Value)] {
        &self.keyword
    }

    /// The value of a keyword argument.
    pub fn get_keyword(&self, name: &str) -> Option<&Value> {
        self.keyword.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }

    /// The argument that stands at `index` or is called `name`.
    pub fn get(&self, index: usize, name: &str) -> Option<&Value> {
        self.positional.get(index).or_else(|| self.get_keyword(name))
    }

    /// Keyword arguments as a dict.
    pub fn keyword_dict(&self) -> Dict {
        let dict = Dict::new();
        for (name, value) in &self.keyword {
            dict.insert_str(name, value.clone());
        }
        dict
    }

    /// The arguments without the first positional one.
    #[must_use]
    pub fn skip(&self, count: usize) -> Args {
        Args {
            positional: self.positional.iter().skip(count).cloned().collect(),
            keyword: self.keyword.clone(),
        }
    }

    /// Binds the arguments to parameters as Python does, with its error texts.
    ///
    /// `parameters` lists the names; the first `required` must be given. The result has one
    /// entry for each parameter; `None` where it was left out.
    pub fn bind<const N: usize>(
        &self,
        function: &str,
        parameters: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N], Error> {
        if self.positional.len() > N {
            return Err(Error::type_error(format!(
                "{function}() takes {} positional argument{} but {} {} given",
                if required < N { format!("from {required} to {N}") } else { N.to_string() },
                if N == 1 { "" } else { "s" },
                self.positional.len(),
                if self.positional.len() == 1 { "was" } else { "were" },
            )));
        }
        let mut bound: [Option<Value>; N] = std::array::from_fn(|_| None);
        for (slot, value) in bound.iter_mut().zip(&self.positional) {
            *slot = Some(value.clone());
        }
        for (name, value) in &self.keyword {
            let Some(index) = parameters.iter().position(|parameter| *parameter == &**name) else {
                return Err(Error::type_error(format!(
                    "{function}() got an unexpected keyword argument '{name}'"
                )));
            };
            if bound[index].is_some() {
                return Err(Error::type_error(format!(
                    "{function}() got multiple values for argument '{name}'"
                )));
            }
            bound[index] = Some(value.clone());
        }
        let missing: Vec<String> = (0..required.min(N))
            .filter(|index| bound[*index].is_none())
            .map(|index| format!("'{}'", parameters[index]))
            .collect();
        if !missing.is_empty() {
            return Err(Error::type_error(format!(
                "{function}() missing {} required positional argument{}: {}",
                missing.len(),
                if missing.len() == 1 { "" } else { "s" },
                missing.join(" and "),
            )));
        }
        Ok(bound)
    }
}

/// Reads an argument as text; Python's error otherwise.
pub(crate) fn expect_str<'a>(value: &'a Value, function: &str) -> Result<&'a str, Error> {
    match value {
        Value::Str(text) => Ok(text),
        Value::Undefined(undefined) => Err(undefined.error()),
        other => Err(Error::type_error(format!(
            "{function}() argument must be str, not {}",
            other.type_name()
        ))),
    }
}

/// Reads an argument as an integer; Python's error otherwise.
pub(crate) fn expect_int(value: &Value) -> Result<i128, Error> {
    match value {
        Value::Undefined(undefined) => Err(undefined.error()),
        other => other.as_int().ok_or_else(|| {
            Error::type_error(format!(
                "'{}' object cannot be interpreted as an integer",
                other.type_name()
            ))
        }),
    }
}
