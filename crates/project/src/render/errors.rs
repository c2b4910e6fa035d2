//! Errors of templates, shown in the user's files.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};
use tidemill_jinja::{Error, ErrorKind, Span};

use crate::macros::is_builtin_file;

/// A place in a template.
pub(crate) fn position(span: &Span) -> SourcePosition {
    SourcePosition {
        file: PathBuf::from(span.source().name()),
        text: Arc::from(span.source().text()),
        start: span.start(),
        end: span.end().max(span.start()),
    }
}

/// An error of a template as a diagnostic: at the innermost place in a file of the user, with the
/// macros that were running. `what` names the template: "model `orders`".
pub(crate) fn diagnostic(error: &Error, what: &str) -> Diagnostic {
    let is_users = |span: &&Span| !is_builtin_file(span.source().name()) && is_file(span);
    let place = error
        .span()
        .filter(is_users)
        .or_else(|| error.stack().iter().filter_map(|frame| frame.call.as_ref()).find(is_users));
    let code = match error.kind() {
        ErrorKind::Syntax => "jinja-syntax",
        ErrorKind::Undefined => "jinja-undefined",
        ErrorKind::Budget => "jinja-limit",
        ErrorKind::User => "compilation",
        _ => "jinja",
    };
    let mut message = format!("{what}: {}", error.message());
    for frame in error.stack().iter().take(12) {
        let name = match &*frame.package {
            "" => frame.name.to_string(),
            package => format!("{package}.{}", frame.name),
        };
        message.push_str(&format!("\n  in macro `{name}`"));
        if let Some(call) = frame.call.as_ref().filter(|call| is_file(call)) {
            message.push_str(&format!(", called at {call}"));
        }
    }
    let mut diagnostic = Diagnostic::error(code, message);
    if let Some(span) = place {
        diagnostic = diagnostic.at(position(span));
    }
    if let Some(hint) = error.hint() {
        diagnostic = diagnostic.hint(hint);
    }
    diagnostic
}

fn is_file(span: &Span) -> bool {
    let name = span.source().name();
    name.contains('.') || name.contains('/')
}

/// One error as diagnostics.
pub(crate) fn diagnostics(error: &Error, what: &str) -> Diagnostics {
    [diagnostic(error, what)].into_iter().collect()
}
