//! One row under construction: from the events within its element to a JSON object.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart};
use quick_xml::name::QName;

use super::Namespaces;
use crate::files::header::snake_case;
use crate::files::infer::{Formats, Seen};
use crate::files::json_line::{Lines, write_key, write_text};
use crate::files::settings::{NameStyle, Resolved};
use crate::files::types::{Shape, Types};

/// How deep elements may be nested.
pub(super) const DEEPEST: usize = 120;

/// The name of text that stands beside attributes or elements.
pub(super) const TEXT: &str = "_text";

/// How names are made.
pub(super) struct Style<'a> {
    attribute_prefix: &'a str,
    namespaces: Namespaces,
    names: NameStyle,
    formats: Formats,
}

impl<'a> Style<'a> {
    pub(super) fn new(settings: &'a Resolved) -> Self {
        let written = &settings.written;
        Style {
            attribute_prefix: written.attribute_prefix.as_deref().unwrap_or_default(),
            namespaces: written.namespaces,
            names: written.names,
            formats: Formats::default(),
        }
    }

    /// The name of an element.
    pub(super) fn name(&self, name: QName<'_>) -> String {
        match self.namespaces {
            Namespaces::Drop => name.local_name().as_ref().to_owned(),
            Namespaces::Keep => name.as_ref().to_owned(),
        }
    }

    fn shape<'t>(&self, types: Option<&'t Types>, key: &str) -> Option<&'t Shape> {
        let types = types?;
        match self.names {
            NameStyle::AsWritten | NameStyle::DuckDb if !key.is_empty() => types.get(key),
            _ => types.get(&snake_case(key, 0)),
        }
    }
}

/// An element with what it has.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<(String, Vec<Element>)>,
    text: String,
    nil: bool,
}

impl Element {
    fn is_plain(&self) -> bool {
        self.attributes.is_empty() && self.children.is_empty()
    }
}

/// A row under construction.
pub(super) struct Builder {
    /// The elements that are open.
    open: Vec<Element>,
    /// How many elements are open that are left out.
    skipped: usize,
    root: Option<Element>,
    problem: Option<String>,
}

impl Builder {
    pub(super) fn new(style: &Style<'_>, start: &BytesStart<'_>) -> Builder {
        let mut builder = Builder { open: Vec::new(), skipped: 0, root: None, problem: None };
        builder.start(style, start);
        builder
    }

    pub(super) fn start(&mut self, style: &Style<'_>, start: &BytesStart<'_>) {
        if self.problem.is_some() {
            // What follows is not kept; where the row ends has to be known.
            self.skipped += 1;
            return;
        }
        let mut element = Element { name: style.name(start.name()), ..Element::default() };
        for attribute in start.attributes() {
            let (key, value) = match attribute {
                Ok(attribute) => {
                    (attribute.key, attribute.normalized_value(XmlVersion::Explicit1_0))
                }
                Err(error) => {
                    self.problem = Some(format!("`<{}>`: {error}", element.name));
                    break;
                }
            };
            let Ok(value) = value else {
                self.problem = Some(format!(
                    "attribute `{}` of `<{}>` refers to an entity, which is not expanded",
                    key.as_ref(),
                    element.name
                ));
                break;
            };
            let local = key.local_name();
            // Where names come from, not what is said.
            if key.as_ref() == "xmlns" || key.prefix().is_some_and(|it| it.as_ref() == "xmlns") {
                continue;
            }
            let of_schema = key.prefix().is_some_and(|prefix| prefix.as_ref() == "xsi");
            if of_schema && local.as_ref() == "nil" {
                element.nil = matches!(value.trim(), "true" | "1");
                continue;
            }
            if of_schema {
                continue;
            }
            let name = format!("{}{}", style.attribute_prefix, style.name(key));
            element.attributes.push((name, value.into_owned()));
        }
        self.open.push(element);
        if self.open.len() > DEEPEST {
            self.problem = Some(format!("nested deeper than {DEEPEST} levels"));
        }
    }

    /// Ends an element; true when it was the row's.
    pub(super) fn end(&mut self) -> bool {
        if self.skipped > 0 {
            self.skipped -= 1;
            return false;
        }
        let Some(element) = self.open.pop() else { return true };
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(element);
            return true;
        };
        if parent.attributes.iter().any(|(name, _)| *name == element.name) {
            self.problem.get_or_insert_with(|| {
                format!(
                    "`{}` is an attribute and an element of `<{}>`; tell them apart by \
                     `attribute_prefix`",
                    element.name, parent.name
                )
            });
            return false;
        }
        match parent.children.iter_mut().find(|(name, _)| *name == element.name) {
            Some((_, elements)) => elements.push(element),
            None => parent.children.push((element.name.clone(), vec![element])),
        }
        false
    }

    pub(super) fn text(&mut self, text: &str) {
        if self.problem.is_none()
            && let Some(element) = self.open.last_mut()
        {
            element.text.push_str(text);
        }
    }

    pub(super) fn reference(&mut self, reference: &BytesRef<'_>) {
        let name: &str = reference;
        let character = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => reference.resolve_char_ref().ok().flatten(),
        };
        match character {
            Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
            None => {
                self.problem.get_or_insert_with(|| {
                    format!("it refers to the entity `&{name};`, which is not expanded")
                });
            }
        }
    }

    pub(super) fn too_long(&mut self, limit: u64) {
        if self.problem.is_none() {
            self.problem = Some(format!("a row longer than {limit} bytes (`max_record_bytes`)"));
        }
        // What was kept of it is only shown.
        self.open.iter_mut().for_each(|element| {
            element.children.clear();
            element.text = String::new();
        });
    }

    /// Writes the row. False when nobody listens any more.
    pub(super) fn write(
        self,
        style: &Style<'_>,
        types: Option<&Types>,
        lines: &mut Lines<'_, '_>,
    ) -> bool {
        let root = self.root.unwrap_or_default();
        write_object(lines.record(), &root, style, types);
        match self.problem {
            Some(reason) => lines.reject(reason),
            None => lines.end(),
        }
    }
}

fn write_object(out: &mut Vec<u8>, element: &Element, style: &Style<'_>, types: Option<&Types>) {
    out.push(b'{');
    for (name, value) in &element.attributes {
        write_key(out, name);
        write_scalar(out, value, style);
    }
    for (name, elements) in &element.children {
        write_key(out, name);
        let shape = style.shape(types, name);
        let is_list = shape.is_some_and(|shape| shape.seen == Seen::LIST);
        let item = if is_list { shape.and_then(|shape| shape.item.as_deref()) } else { shape };
        match elements.as_slice() {
            [one] if !is_list => write_value(out, one, style, item),
            many => {
                out.push(b'[');
                for (index, one) in many.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_value(out, one, style, item);
                }
                out.push(b']');
            }
        }
    }
    let text = element.text.trim();
    if !text.is_empty() {
        write_key(out, TEXT);
        write_scalar(out, text, style);
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, element: &Element, style: &Style<'_>, shape: Option<&Shape>) {
    let text = element.text.trim();
    let is_struct = shape.is_some_and(|shape| shape.seen == Seen::STRUCT);
    if element.nil || (element.is_plain() && text.is_empty()) {
        out.extend_from_slice(b"null");
    } else if !element.is_plain() || is_struct {
        write_object(out, element, style, shape.map(|shape| &shape.fields));
    } else {
        write_scalar(out, text, style);
    }
}

/// A number or truth value where the text is one exactly, else the text.
fn write_scalar(out: &mut Vec<u8>, text: &str, style: &Style<'_>) {
    let bare = match text {
        "true" | "false" => true,
        _ => {
            let kind = Seen::classify(text.as_bytes(), &style.formats);
            matches!(kind, Seen::INTEGER | Seen::BIG_INTEGER | Seen::DOUBLE) && is_json_number(text)
        }
    };
    match bare {
        true => out.extend_from_slice(text.as_bytes()),
        false => write_text(out, text),
    }
}

fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let starts = unsigned.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    // No blanks, and digits behind the point.
    starts
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && !unsigned.ends_with('.')
        && !unsigned.contains(".e")
        && !unsigned.contains(".E")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_has() {
        for text in ["0", "-1", "1.50", "1e5", "12345678901234567890", "1.5E-3"] {
            assert!(is_json_number(text), "{text}");
        }
        for text in [".5", "5.", "1.e5", "NaN", "", "-", "1 2", "+1"] {
            assert!(!is_json_number(text), "{text}");
        }
    }
}
