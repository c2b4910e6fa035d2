//! One error type for every library crate.

use std::fmt;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is. One place maps a kind to what follows from it: whether a retry can
/// help ([`ErrorKind::is_retryable`]) and which exit code the process ends with
/// ([`ErrorKind::exit_code`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting, flag or file of the project is wrong; nothing was done.
    Config,
    /// Something that was named does not exist.
    NotFound,
    /// Something that must not exist yet does.
    AlreadyExists,
    /// Somebody else changed the same thing first; doing it again from the new state can succeed.
    Conflict,
    /// The data is not what it must be: a value that does not cast, a duplicate key, a failed check.
    Data,
    /// The SQL text is wrong: syntax, unknown column, type mismatch.
    Query,
    /// The feature is not supported; the message says what to do instead.
    Unsupported,
    /// A permission or policy refuses it.
    Denied,
    /// A limit was reached: memory, disk, time, a budget.
    Resources,
    /// The operating system or a store failed; the state is known.
    Io,
    /// A remote system does not answer now.
    Unavailable,
    /// It is not known whether a commit happened. Stop, report, delete nothing.
    Unknown,
    /// The user cancelled.
    Cancelled,
    /// A defect of Tidemill.
    Internal,
}

impl ErrorKind {
    /// Whether the same request can succeed when it is made again.
    pub fn is_retryable(self) -> bool {
        matches!(self, ErrorKind::Conflict | ErrorKind::Unavailable)
    }

    /// dbt's exit codes: 1 when something in the user's project or data failed, 2 when what was
    /// asked could not be done.
    pub fn exit_code(self) -> i32 {
        match self {
            ErrorKind::Config | ErrorKind::Internal | ErrorKind::Unknown | ErrorKind::Denied => 2,
            _ => 1,
        }
    }
}

/// A failure: its kind, a sentence for the reader, values as context, and the cause. The cause is
/// attached and never pasted into the message.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// An error with a lowercase sentence without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                context: Vec::new(),
                source: None,
            }),
        }
    }

    /// Adds a named value: a file, a relation, a line.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.inner.context.push((name, value.to_string()));
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The sentence alone, without context and cause.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The named values, in the order they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.inner.context
    }

    /// The sentence, its context and every cause, each on its own line: what a person reads.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.contains(&line) {
                text.push_str("\n  caused by: ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        if self.inner.context.is_empty() {
            return Ok(());
        }
        f.write_str(" (")?;
        for (index, (name, value)) in self.inner.context.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}: {value}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// Turns a foreign error into ours where it happens.
pub trait ResultExt<T> {
    /// Wraps the error as the cause of a new one of this kind.
    fn or_error(self, kind: ErrorKind, message: impl Into<String>) -> Result<T>;
}

impl<T, E> ResultExt<T> for std::result::Result<T, E>
where
    E: Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
{
    fn or_error(self, kind: ErrorKind, message: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::new(kind, message).because(error))
    }
}
