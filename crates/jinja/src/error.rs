//! What goes wrong in a template: one error type with place, macro stack and hint.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::source::{Loc, Source, Span};
use crate::value::Value;

/// What kind of mistake an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is not a template.
    Syntax,
    /// A name or attribute that does not exist was used.
    Undefined,
    /// A value of the wrong type (Python's `TypeError`).
    Type,
    /// Any other failure while rendering (Python's `ValueError`, `KeyError`, ...).
    Runtime,
    /// A limit of the [`Budget`](crate::Budget) was reached.
    Budget,
    /// Raised on purpose by the template or the host (`exceptions.raise_compiler_error`, ...).
    User,
    /// `return(value)` on its way to the macro that ends; seen by no caller of this crate.
    #[doc(hidden)]
    Return,
}

/// One call on the way to an error, innermost first.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Name of the macro that was running.
    pub name: Arc<str>,
    /// Package the macro belongs to (may be empty).
    pub package: Arc<str>,
    /// Where the macro was called.
    pub call: Option<Span>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    span: Option<Span>,
    stack: Vec<Frame>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    returned: Option<Value>,
}

/// An error of parsing or rendering. Small to move: its parts are boxed.
pub struct Error(Box<Inner>);

impl Error {
    /// An error without a place; the interpreter adds the place of the innermost expression.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            span: None,
            stack: Vec::new(),
            hint: None,
            source: None,
            returned: None,
        }))
    }

    /// A [`ErrorKind::Type`] error.
    pub fn type_error(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Type, message)
    }

    /// A [`ErrorKind::Runtime`] error.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Runtime, message)
    }

    /// A [`ErrorKind::Undefined`] error.
    pub fn undefined(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Undefined, message)
    }

    /// A [`ErrorKind::User`] error: raised on purpose.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    /// A host's own error travelling through the template; see [`Error::payload`].
    pub fn host(kind: ErrorKind, payload: impl StdError + Send + Sync + 'static) -> Self {
        let mut error = Self::new(kind, payload.to_string());
        error.0.source = Some(Box::new(payload));
        error
    }

    pub(crate) fn returning(value: Value) -> Self {
        let mut error = Self::new(ErrorKind::Return, "return() was called outside of a macro");
        error.0.returned = Some(value);
        error
    }

    pub(crate) fn take_returned(&mut self) -> Option<Value> {
        self.0.returned.take()
    }

    pub(crate) fn is_return(&self) -> bool {
        self.0.kind == ErrorKind::Return
    }

    /// Turns a `return()` that no macro caught into an ordinary error.
    pub(crate) fn settle(mut self) -> Self {
        if self.is_return() {
            self.0.kind = ErrorKind::Runtime;
            self.0.returned = None;
            self.0.hint =
                Some("only a macro can return; write the value out with `{{ ... }}`".into());
        }
        self
    }

    /// Adds a hint that can be acted on.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the place.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.0.span = Some(span);
        self
    }

    /// Attaches a host's payload without changing the message.
    #[must_use]
    pub fn with_payload(mut self, payload: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(payload));
        self
    }

    pub(crate) fn locate(mut self, source: &Arc<Source>, loc: Loc) -> Self {
        if self.0.span.is_none() && !self.is_return() {
            self.0.span = Some(Span::at(source, loc));
        }
        self
    }

    pub(crate) fn push_frame(&mut self, frame: Frame) {
        // A runaway recursion repeats the same frames: the first ones tell the story.
        if self.0.stack.len() < 50 {
            self.0.stack.push(frame);
        }
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, without place or hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it happened, where known.
    pub fn span(&self) -> Option<&Span> {
        self.0.span.as_ref()
    }

    /// The macros that were running, innermost first.
    pub fn stack(&self) -> &[Frame] {
        &self.0.stack
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The host's own error, if this carries one of type `T`.
    pub fn payload<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.source.as_ref().and_then(|source| source.downcast_ref::<T>())
    }

    /// Takes the host's own error out.
    pub fn into_payload(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.0.source
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("span", &self.0.span)
            .field("hint", &self.0.hint)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(span) = &self.0.span {
            write!(f, " ({span})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
