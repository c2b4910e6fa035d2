//! The project's own files, each read into what it says.

pub(crate) mod connections;
pub(crate) mod exports;
mod keys;
pub(crate) mod profiles;
pub(crate) mod project_file;
pub(crate) mod project_shape;
pub(crate) mod properties;
pub(crate) mod unit_tests;
pub(crate) mod walk;

use std::path::Path;

use tidemill_core::{Diagnostic, Diagnostics};

use crate::file::SourceFile;
use crate::suggest::nearest;
use crate::yaml::{self, Yaml};

/// Reads a text file. `shown` is the path for messages.
pub(crate) fn read_file(path: &Path, shown: &Path) -> Result<SourceFile, Box<Diagnostic>> {
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => {
                let text = match text.strip_prefix('\u{feff}') {
                    Some(rest) => rest.to_owned(),
                    None => text,
                };
                Ok(SourceFile::new(shown, text))
            }
            Err(_) => Err(Box::new(
                Diagnostic::error(
                    "not-utf8",
                    format!("`{}` is not UTF-8 text", crate::file::shown(shown)),
                )
                .in_file(shown)
                .hint("save the file as UTF-8"),
            )),
        },
        Err(error) => Err(Box::new(
            Diagnostic::error(
                "unreadable-file",
                format!("`{}` cannot be read: {error}", crate::file::shown(shown)),
            )
            .in_file(shown),
        )),
    }
}

/// Parses a YAML file whose root must be a mapping; nothing at all counts as an empty one.
pub(crate) fn read_mapping(file: &SourceFile, diagnostics: &mut Diagnostics) -> Option<Yaml> {
    let parsed = yaml::parse_stripped(file);
    let failed = parsed.diagnostics.has_errors();
    diagnostics.append(parsed.diagnostics);
    if failed {
        return None;
    }
    if parsed.root.is_null() {
        return Some(Yaml { kind: yaml::Kind::Map(Vec::new()), start: 0, end: 0 });
    }
    if !parsed.root.is_map() {
        diagnostics.push(
            Diagnostic::error("yaml-shape", format!("`{}` must be a mapping", file.shown()))
                .at(parsed.root.position(file))
                .label(format!("this is {}", parsed.root.described())),
        );
        return None;
    }
    Some(parsed.root)
}

/// What an unknown key does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Models, tables, columns and what dbt lets others write at: a warning.
    Warn,
    /// Our files and, as in dbt, `dbt_project.yml` and what in property files has keys of its own
    /// alone (sources, exposures, groups, freshness, …): an error.
    Refuse,
}

/// Reports keys that nobody reads, with the nearest known one.
pub(crate) fn check_keys(
    yaml: &Yaml,
    what: &str,
    known: &[&str],
    unknown: Unknown,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) {
    for entry in yaml.entries() {
        if known.contains(&entry.key.as_str()) {
            continue;
        }
        let message = format!("{what} has no key `{}`", entry.key);
        let diagnostic = match unknown {
            Unknown::Warn => Diagnostic::warning("unknown-key", message),
            Unknown::Refuse => Diagnostic::error("unknown-key", message),
        };
        let diagnostic = diagnostic.at(entry.position(file));
        let diagnostic = match (nearest(&entry.key, known.iter().copied()), unknown) {
            (Some(name), Unknown::Warn) => {
                diagnostic.label("nobody reads this").hint(format!("did you mean `{name}`?"))
            }
            (Some(name), Unknown::Refuse) => diagnostic.hint(format!("did you mean `{name}`?")),
            (None, Unknown::Warn) => diagnostic.label("nobody reads this"),
            (None, Unknown::Refuse) => diagnostic.hint(format!("known keys: {}", known.join(", "))),
        };
        diagnostics.push(diagnostic);
    }
}

/// The text of a key, or a report when it is something else.
pub(crate) fn text_of(
    yaml: &Yaml,
    key: &str,
    what: &str,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let value = yaml.get(key)?;
    if value.is_null() {
        return None;
    }
    match value.scalar_text() {
        Some(text) => Some(text),
        None => {
            wrong_shape(value, &format!("`{key}` of {what} must be text"), file, diagnostics);
            None
        }
    }
}

/// The texts of a key: one text or a list of them.
pub(crate) fn texts_of(
    yaml: &Yaml,
    key: &str,
    what: &str,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<String>> {
    let value = yaml.get(key)?;
    if value.is_null() {
        return None;
    }
    if let Some(text) = value.scalar_text() {
        return Some(vec![text]);
    }
    let mut texts = Vec::new();
    for item in value.items() {
        match item.scalar_text() {
            Some(text) => texts.push(text),
            None => {
                wrong_shape(item, &format!("`{key}` of {what} must hold texts"), file, diagnostics)
            }
        }
    }
    if !value.is_list() {
        wrong_shape(value, &format!("`{key}` of {what} must be a list"), file, diagnostics);
        return None;
    }
    Some(texts)
}

/// Reports a value of the wrong shape.
pub(crate) fn wrong_shape(
    value: &Yaml,
    message: &str,
    file: &SourceFile,
    diagnostics: &mut Diagnostics,
) {
    diagnostics.push(
        Diagnostic::error("yaml-shape", message)
            .at(value.position(file))
            .label(format!("this is {}", value.described())),
    );
}
