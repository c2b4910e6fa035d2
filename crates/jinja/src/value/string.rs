//! Text values.

use std::ops::Deref;
use std::sync::Arc;

/// Immutable text.
///
/// Dereferences to `str`. In the native environment a string may carry the mark of one of dbt's
/// filters `as_text`, `as_bool`, `as_number`, `as_native`; any other operation loses it.
#[derive(Clone)]
pub struct Str {
    text: Arc<str>,
    pub(crate) marker: Marker,
}

/// What dbt's native filters ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Marker {
    #[default]
    None,
    Text,
    Native,
    Bool,
    Number,
}

impl Str {
    /// Wraps a text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), marker: Marker::None }
    }

    pub(crate) fn marked(text: impl Into<Arc<str>>, marker: Marker) -> Self {
        Self { text: text.into(), marker }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The shared text.
    pub fn as_arc(&self) -> &Arc<str> {
        &self.text
    }

    /// Number of characters.
    pub fn char_count(&self) -> usize {
        if self.text.is_ascii() { self.text.len() } else { self.text.chars().count() }
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<Arc<str>> for Str {
    fn from(text: Arc<str>) -> Self {
        Self::new(text)
    }
}
