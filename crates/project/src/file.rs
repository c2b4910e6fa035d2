//! A text file of the project.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::SourcePosition;

/// A file's text under the path that messages show.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The path, relative to the project, with forward slashes.
    pub path: PathBuf,
    /// The whole text.
    pub text: Arc<str>,
}

impl SourceFile {
    /// A text with a name.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        SourceFile { path: path.into(), text: text.into() }
    }

    /// The path as messages show it.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }

    /// A place in it.
    pub fn position(&self, start: usize, end: usize) -> SourcePosition {
        SourcePosition { file: self.path.clone(), text: self.text.clone(), start, end }
    }
}

/// A path with forward slashes.
pub(crate) fn shown(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}
