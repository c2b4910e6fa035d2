//! Mistakes in the user's project, shown where they are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether a diagnostic stops the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiagnosticLevel {
    /// It stops the command.
    Error,
    /// It does not.
    Warning,
}

/// A place in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePosition {
    /// The file, relative to the project.
    pub file: PathBuf,
    /// The file's whole text.
    pub text: Arc<str>,
    /// Where the marked part starts, in bytes of `text`.
    pub start: usize,
    /// Where it ends (exclusive), in bytes of `text`.
    pub end: usize,
}

impl SourcePosition {
    /// The 1-based line and column (in characters) of the start.
    pub fn line_column(&self) -> (usize, usize) {
        let start = floor_boundary(&self.text, self.start);
        let before = &self.text[..start];
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[line_start..].chars().count() + 1)
    }
}

/// One mistake: a stable code, a sentence, where it is, what is wrong there, and how to fix it.
///
/// Its `Display` is what a person reads, readable without colour:
///
/// ```text
/// error[unknown-ref]: model `orders` refers to `stg_order`, which does not exist
///   --> models/marts/orders.sql:7:14
///    |
///  7 | from {{ ref('stg_order') }}
///    |              ^^^^^^^^^ no model, seed or snapshot has this name
/// hint: did you mean `stg_orders`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub level: DiagnosticLevel,
    /// A stable name in kebab case.
    pub code: &'static str,
    /// The sentence.
    pub message: String,
    /// Where, if it is about a place.
    pub position: Option<SourcePosition>,
    /// What is wrong at that place, printed beside the caret.
    pub label: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A mistake that stops the command.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            level: DiagnosticLevel::Error,
            code,
            message: message.into(),
            position: None,
            label: None,
            hint: None,
        }
    }

    /// Something to look at that does not stop the command.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { level: DiagnosticLevel::Warning, ..Self::error(code, message) }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, position: SourcePosition) -> Self {
        self.position = Some(position);
        self
    }

    /// Says where when only the file is known.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.position = Some(SourcePosition {
            file: file.as_ref().to_owned(),
            text: Arc::from(""),
            start: 0,
            end: 0,
        });
        self
    }

    /// Says what is wrong at that place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says how to fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            DiagnosticLevel::Error => "error",
            DiagnosticLevel::Warning => "warning",
        };
        write!(f, "{level}[{}]: {}", self.code, self.message)?;
        if let Some(position) = &self.position {
            if position.text.is_empty() {
                write!(f, "\n  --> {}", position.file.display())?;
                if let Some(label) = &self.label {
                    write!(f, ": {label}")?;
                }
            } else {
                self.write_excerpt(f, position)?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl Diagnostic {
    fn write_excerpt(&self, f: &mut fmt::Formatter<'_>, position: &SourcePosition) -> fmt::Result {
        let (line, column) = position.line_column();
        let text = &position.text;
        let start = floor_boundary(text, position.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let excerpt = text[line_start..line_end].trim_end_matches('\r');
        let end = floor_boundary(text, position.end).clamp(start, line_end);
        let carets = text[start..end].chars().count().max(1);
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let indent: String =
            text[line_start..start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n {gutter}--> {}:{line}:{column}", position.file.display())?;
        write!(
            f,
            "\n {gutter} |\n {number} | {excerpt}\n {gutter} | {indent}{}",
            "^".repeat(carets)
        )?;
        if let Some(label) = &self.label {
            write!(f, " {label}")?;
        }
        Ok(())
    }
}

/// Several diagnostics, collected so that the user sees them at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all of another collection.
    pub fn append(&mut self, mut other: Diagnostics) {
        self.0.append(&mut other.0);
    }

    /// Whether one of them stops the command.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.level == DiagnosticLevel::Error)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(iter: I) -> Self {
        Diagnostics(iter.into_iter().collect())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_marked_part() {
        let text: Arc<str> = Arc::from("select *\nfrom {{ ref('stg_order') }}\n");
        let start = text.find("stg_order").unwrap();
        let diagnostic = Diagnostic::error("unknown-ref", "model `orders` refers to `stg_order`")
            .at(SourcePosition { file: "models/orders.sql".into(), start, end: start + 9, text })
            .label("no model has this name")
            .hint("did you mean `stg_orders`?");
        let expected = "error[unknown-ref]: model `orders` refers to `stg_order`\n  --> models/orders.sql:2:14\n   |\n 2 | from {{ ref('stg_order') }}\n   |              ^^^^^^^^^ no model has this name\nhint: did you mean `stg_orders`?";
        assert_eq!(diagnostic.to_string(), expected);
    }

    #[test]
    fn a_position_outside_the_text_or_inside_a_character_does_not_panic() {
        let text: Arc<str> = Arc::from("é");
        for start in 0..5 {
            let position =
                SourcePosition { file: "x".into(), text: text.clone(), start, end: start + 1 };
            assert!(Diagnostic::error("x", "y").at(position).to_string().contains("x:1:"));
        }
    }
}
