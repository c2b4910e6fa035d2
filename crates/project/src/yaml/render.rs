//! Jinja inside of YAML values: dbt's native environment, at the place of each value.

use serde_json::Value;
use tidemill_core::{Diagnostic, Diagnostics};
use tidemill_jinja::{Host, Options, Template};

use super::{Entry, Kind, Yaml};
use crate::file::SourceFile;

/// Whether a text can hold Jinja at all.
pub(crate) fn has_jinja(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(2).any(|pair| matches!(pair, b"{{" | b"{%" | b"{#" | b"}}" | b"%}" | b"#}"))
}

/// Renders the texts of a tree. `skip` is asked with the path of keys (items of lists count as
/// `[]`) and keeps what is rendered later as it is. A value that fails is reported and stays.
pub(crate) fn render_tree(
    yaml: &Yaml,
    file: &SourceFile,
    host: &dyn Host,
    options: &Options,
    skip: &dyn Fn(&[&str]) -> bool,
    diagnostics: &mut Diagnostics,
) -> Yaml {
    let mut renderer = Renderer { file, host, options, skip, diagnostics };
    let mut path = Vec::new();
    renderer.render(yaml, &mut path)
}

struct Renderer<'a> {
    file: &'a SourceFile,
    host: &'a dyn Host,
    options: &'a Options,
    skip: &'a dyn Fn(&[&str]) -> bool,
    diagnostics: &'a mut Diagnostics,
}

impl Renderer<'_> {
    fn render<'y>(&mut self, yaml: &'y Yaml, path: &mut Vec<&'y str>) -> Yaml {
        let kind = match &yaml.kind {
            Kind::Text(text) if has_jinja(text) && !(self.skip)(path) => {
                match render_text(text, self.host, self.options) {
                    Ok(value) => return from_json(&value, yaml.start, yaml.end),
                    Err(error) => {
                        self.diagnostics.push(text_error(&error, yaml, self.file));
                        return yaml.clone();
                    }
                }
            }
            // As of every template, one line break at the end is none.
            Kind::Text(text) if text.ends_with('\n') && !(self.skip)(path) => {
                Kind::Text(text[..text.len() - 1].into())
            }
            Kind::List(items) => {
                path.push("[]");
                let items = items.iter().map(|item| self.render(item, path)).collect();
                path.pop();
                Kind::List(items)
            }
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|entry| {
                        path.push(&entry.key);
                        let value = self.render(&entry.value, path);
                        path.pop();
                        Entry { value, ..entry.clone() }
                    })
                    .collect(),
            ),
            other => other.clone(),
        };
        Yaml { kind, ..*yaml }
    }
}

/// Renders one text natively.
pub(crate) fn render_text(
    text: &str,
    host: &dyn Host,
    options: &Options,
) -> Result<Value, tidemill_jinja::Error> {
    let template = Template::from_text("value", text)?;
    template.eval_native(host, options)?.to_json()
}

/// An error of a value, shown at the value.
pub(crate) fn text_error(
    error: &tidemill_jinja::Error,
    yaml: &Yaml,
    file: &SourceFile,
) -> Diagnostic {
    let diagnostic = Diagnostic::error("jinja", error.message().to_owned())
        .at(file.position(yaml.start, yaml.end))
        .label("while this value was rendered");
    match error.hint() {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// A tree whose every value stands at one place.
pub(crate) fn from_json(value: &Value, start: usize, end: usize) -> Yaml {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(flag) => Kind::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Kind::Int(number),
            None => Kind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Kind::Text(text.clone()),
        Value::Array(items) => {
            Kind::List(items.iter().map(|item| from_json(item, start, end)).collect())
        }
        Value::Object(map) => Kind::Map(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    key_start: start,
                    key_end: end,
                    value: from_json(value, start, end),
                })
                .collect(),
        ),
    };
    Yaml { kind, start, end }
}
