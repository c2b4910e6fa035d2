//! Going through the items of a value.

use super::{List, Value};
use crate::error::Error;

/// An iterator over a value's items. A list is read as it is at each step, so items appended
/// while it is gone through are seen, as in Python.
pub struct ValueIter(Kind);

enum Kind {
    Live(List, usize),
    Fixed(std::vec::IntoIter<Value>),
}

impl ValueIter {
    pub(crate) fn fixed(items: Vec<Value>) -> Self {
        Self(Kind::Fixed(items.into_iter()))
    }

    /// How many items are left, as far as is known now.
    pub(crate) fn remaining(&self) -> usize {
        match &self.0 {
            Kind::Live(list, at) => list.len().saturating_sub(*at),
            Kind::Fixed(items) => items.len(),
        }
    }
}

impl Iterator for ValueIter {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        match &mut self.0 {
            Kind::Live(list, at) => {
                let item = list.get(*at)?;
                *at += 1;
                Some(item)
            }
            Kind::Fixed(items) => items.next(),
        }
    }
}

impl Value {
    /// Goes through the items: of a list, tuple, dict (keys), string (characters) or object.
    /// Undefined has none; anything else is Python's `TypeError`.
    pub fn iter(&self) -> Result<ValueIter, Error> {
        Ok(match self {
            Value::List(list) => ValueIter(Kind::Live(list.clone(), 0)),
            other => ValueIter::fixed(other.items()?),
        })
    }

    /// The items as a vector; see [`Value::iter`].
    pub fn items(&self) -> Result<Vec<Value>, Error> {
        Ok(match self {
            Value::Undefined(_) => Vec::new(),
            Value::List(list) => list.to_vec(),
            Value::Tuple(items) => items.to_vec(),
            Value::Dict(dict) => dict.keys(),
            Value::Str(text) => {
                let mut buffer = [0; 4];
                text.chars().map(|c| Value::str(c.encode_utf8(&mut buffer))).collect()
            }
            Value::Object(object) => match object.iterate() {
                Some(items) => items,
                None => return Err(not_iterable(self)),
            },
            other => return Err(not_iterable(other)),
        })
    }

    /// Whether [`Value::iter`] works.
    pub fn is_iterable(&self) -> bool {
        match self {
            Value::Undefined(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Dict(_)
            | Value::Str(_) => true,
            Value::Object(object) => object.is_iterable(),
            _ => false,
        }
    }
}

fn not_iterable(value: &Value) -> Error {
    Error::type_error(format!("'{}' object is not iterable", value.type_name()))
}
