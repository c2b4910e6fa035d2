//! Lists, tuples and dicts.
//!
//! Lists and dicts are shared and mutable. Each operation holds its lock only while it touches
//! the vector or map itself, never while it compares or prints what is in it, so a list that
//! contains itself cannot deadlock.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::{Equivalent, IndexMap};

use super::Value;
use super::compare::{check_hashable, hash_str};
use super::trash::discard;
use crate::error::Error;

struct ListCell {
    items: Mutex<Vec<Value>>,
}

impl Drop for ListCell {
    fn drop(&mut self) {
        let items = self.items.get_mut().unwrap_or_else(PoisonError::into_inner);
        discard(items.drain(..));
    }
}

/// A mutable, shared list.
#[derive(Clone)]
pub struct List(Arc<ListCell>);

impl List {
    /// A list of these items.
    pub fn new(items: Vec<Value>) -> Self {
        Self(Arc::new(ListCell { items: Mutex::new(items) }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The item at an index from 0.
    pub fn get(&self, index: usize) -> Option<Value> {
        self.lock().get(index).cloned()
    }

    /// Appends.
    pub fn push(&self, value: Value) {
        self.lock().push(value);
    }

    /// A copy of the references.
    pub fn to_vec(&self) -> Vec<Value> {
        self.lock().clone()
    }

    /// Whether both are the same list (not only equal ones).
    pub fn same_as(&self, other: &List) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

struct TupleCell {
    items: Vec<Value>,
}

impl Drop for TupleCell {
    fn drop(&mut self) {
        discard(self.items.drain(..));
    }
}

/// An immutable sequence.
#[derive(Clone)]
pub struct Tuple(Arc<TupleCell>);

impl Tuple {
    /// A tuple of these items.
    pub fn new(items: Vec<Value>) -> Self {
        Self(Arc::new(TupleCell { items }))
    }

    /// The items.
    pub fn items(&self) -> &[Value] {
        &self.0.items
    }

    /// Whether both are the same tuple.
    pub fn same_as(&self, other: &Tuple) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl std::ops::Deref for Tuple {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0.items
    }
}

/// A value that was found hashable.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) Value);

impl Key {
    pub(crate) fn new(value: Value) -> Result<Self, Error> {
        check_hashable(&value)?;
        Ok(Self(value))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        super::compare::hash_value(&self.0, state);
    }
}

/// A string key that is looked up without making a value.
struct Name<'a>(&'a str);

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_str(self.0, state);
    }
}

impl Equivalent<Key> for Name<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        key.0.as_str() == Some(self.0)
    }
}

pub(crate) type Entries = IndexMap<Key, Value>;

struct DictCell {
    entries: Mutex<Entries>,
}

impl Drop for DictCell {
    fn drop(&mut self) {
        let entries = self.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
        discard(entries.drain(..).flat_map(|(key, value)| [key.0, value]));
    }
}

/// A mutable, shared dict in insertion order.
#[derive(Clone)]
pub struct Dict(Arc<DictCell>);

impl Default for Dict {
    fn default() -> Self {
        Self::new()
    }
}

impl Dict {
    /// An empty dict.
    pub fn new() -> Self {
        Self::from_entries(Entries::new())
    }

    pub(crate) fn from_entries(entries: Entries) -> Self {
        Self(Arc::new(DictCell { entries: Mutex::new(entries) }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The value of a string key.
    pub fn get_str(&self, key: &str) -> Option<Value> {
        self.lock().get(&Name(key)).cloned()
    }

    /// Sets a string key.
    pub fn insert_str(&self, key: &str, value: Value) {
        let mut entries = self.lock();
        if let Some(slot) = entries.get_mut(&Name(key)) {
            *slot = value;
        } else {
            entries.insert(Key(Value::str(key)), value);
        }
    }

    /// The value of a key; an error when the key cannot be one.
    pub fn get(&self, key: &Value) -> Result<Option<Value>, Error> {
        if let Value::Str(name) = key {
            return Ok(self.get_str(name));
        }
        let key = Key::new(key.clone())?;
        Ok(self.lock().get(&key).cloned())
    }

    /// Sets a key; an error when the key cannot be one (a list, a dict).
    pub fn insert(&self, key: Value, value: Value) -> Result<(), Error> {
        let key = Key::new(key)?;
        self.lock().insert(key, value);
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&self, key: &Value) -> Result<Option<Value>, Error> {
        let key = Key::new(key.clone())?;
        Ok(self.lock().shift_remove(&key))
    }

    /// Whether a key exists.
    pub fn contains(&self, key: &Value) -> Result<bool, Error> {
        if let Value::Str(name) = key {
            return Ok(self.lock().contains_key(&Name(name)));
        }
        let key = Key::new(key.clone())?;
        Ok(self.lock().contains_key(&key))
    }

    /// The keys in order.
    pub fn keys(&self) -> Vec<Value> {
        self.lock().keys().map(|key| key.0.clone()).collect()
    }

    /// The values in order.
    pub fn values(&self) -> Vec<Value> {
        self.lock().values().cloned().collect()
    }

    /// Keys and values in order.
    pub fn entries(&self) -> Vec<(Value, Value)> {
        self.lock().iter().map(|(key, value)| (key.0.clone(), value.clone())).collect()
    }

    /// A new dict with the same entries.
    #[must_use]
    pub fn copy(&self) -> Dict {
        Self::from_entries(self.lock().clone())
    }

    /// Whether both are the same dict (not only equal ones).
    pub fn same_as(&self, other: &Dict) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// Ordered, distinct values: the content of a set.
pub(crate) type Items = indexmap::IndexSet<Key>;
