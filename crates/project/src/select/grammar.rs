//! One criterion: `@`, `2+`, `tag:nightly`, `+1`.

use serde_json::{Map, Value};

use super::IndirectSelection;

/// dbt's methods.
pub(super) const METHODS: &[&str] = &[
    "fqn",
    "tag",
    "group",
    "access",
    "source",
    "path",
    "file",
    "package",
    "config",
    "test_name",
    "test_type",
    "resource_type",
    "state",
    "exposure",
    "metric",
    "result",
    "source_status",
    "version",
    "semantic_model",
    "saved_query",
    "unit_test",
    "selector",
];

/// A parsed criterion.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Criterion {
    pub(super) method: String,
    /// The parts after the method's dot: `config.meta.owner`.
    pub(super) arguments: Vec<String>,
    /// The value as text.
    pub(super) value: String,
    /// The value as it was written: YAML knows more than text.
    pub(super) given: Value,
    /// `@`
    pub(super) childrens_parents: bool,
    /// `+x`, `2+x`: how many steps; `None` within: all.
    pub(super) parents: Option<Option<usize>>,
    /// `x+`, `x+2`
    pub(super) children: Option<Option<usize>>,
    /// Which tests come along, when it says so itself.
    pub(super) indirect: Option<IndirectSelection>,
}

/// Reads a criterion; else what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Criterion, String> {
    let mut rest = text;
    let childrens_parents = match rest.strip_prefix('@') {
        Some(after) => {
            rest = after;
            true
        }
        None => false,
    };
    let mut parents = None;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if let Some(after) = rest[digits..].strip_prefix('+') {
        parents = Some(depth(&rest[..digits])?);
        rest = after;
    }
    let mut children = None;
    let before = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    if let Some(value) = before.strip_suffix('+') {
        children = Some(depth(&rest[before.len()..])?);
        rest = value;
    }
    let (method, value) = match rest.split_once(':') {
        Some((method, value)) if is_method(method) => (Some(method), value),
        _ => (None, rest),
    };
    if value.is_empty() {
        return Err("there is no value to look for".to_owned());
    }
    let (method, arguments) = match method {
        Some(method) => split_method(method)?,
        None => (default_method(value).to_owned(), Vec::new()),
    };
    let criterion = Criterion {
        method,
        arguments,
        value: value.to_owned(),
        given: Value::from(value),
        childrens_parents,
        parents,
        children,
        indirect: None,
    };
    criterion.checked()
}

impl Criterion {
    /// Refuses what cannot be meant.
    pub(super) fn checked(self) -> Result<Self, String> {
        if self.childrens_parents && self.children.is_some() {
            return Err("`@` in front and `+` behind do not go together".to_owned());
        }
        Ok(self)
    }

    /// dbt's written-out form of a criterion, as the manifest keeps selectors.
    pub(super) fn written_out(&self) -> Value {
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| {
            map.insert(key.to_owned(), value);
        };
        if self.childrens_parents {
            set("childrens_parents", true.into());
        }
        if let Some(depth) = self.parents {
            set("parents", true.into());
            if let Some(depth) = depth {
                set("parents_depth", depth.to_string().into());
            }
        }
        let method: Vec<&str> = std::iter::once(self.method.as_str())
            .chain(self.arguments.iter().map(String::as_str))
            .collect();
        set("method", method.join(".").into());
        set("value", self.given.clone());
        if let Some(depth) = self.children {
            set("children", true.into());
            if let Some(depth) = depth {
                set("children_depth", depth.to_string().into());
            }
        }
        Value::Object(map)
    }
}

/// A method and the parts behind its dot; else that there is no such method.
pub(super) fn split_method(text: &str) -> Result<(String, Vec<String>), String> {
    let mut parts = text.split('.').map(str::to_owned);
    let method = parts.next().unwrap_or_default();
    if METHODS.contains(&method.as_str()) {
        return Ok((method, parts.collect()));
    }
    Err(match crate::suggest::nearest(&method, METHODS.iter().copied()) {
        Some(near) => format!("`{method}` is not a method; did you mean `{near}`?"),
        None => format!("`{method}` is not a method; known ones: {}", METHODS.join(", ")),
    })
}

fn depth(digits: &str) -> Result<Option<usize>, String> {
    if digits.is_empty() {
        return Ok(None);
    }
    digits.parse().map(Some).map_err(|_| format!("`{digits}` is not a number of steps"))
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

fn default_method(value: &str) -> &'static str {
    let lower = value.to_ascii_lowercase();
    if value.contains('/') {
        "path"
    } else if [".sql", ".py", ".csv"].iter().any(|end| lower.ends_with(end)) {
        "file"
    } else {
        "fqn"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_are_read_as_dbt_reads_them() {
        let plain = |method: &str, value: &str| Criterion {
            method: method.into(),
            arguments: Vec::new(),
            value: value.into(),
            given: value.into(),
            childrens_parents: false,
            parents: None,
            children: None,
            indirect: None,
        };
        for (text, expected) in [
            ("orders", plain("fqn", "orders")),
            ("models/staging", plain("path", "models/staging")),
            ("orders.sql", plain("file", "orders.sql")),
            ("tag:nightly", plain("tag", "nightly")),
            ("+orders", Criterion { parents: Some(None), ..plain("fqn", "orders") }),
            (
                "2+orders+1",
                Criterion {
                    parents: Some(Some(2)),
                    children: Some(Some(1)),
                    ..plain("fqn", "orders")
                },
            ),
            ("@tag:x", Criterion { childrens_parents: true, ..plain("tag", "x") }),
            ("orders2", plain("fqn", "orders2")),
            (
                "config.meta.owner:me",
                Criterion {
                    arguments: vec!["meta".into(), "owner".into()],
                    ..plain("config", "me")
                },
            ),
            (
                "1+source:shop.orders+",
                Criterion {
                    parents: Some(Some(1)),
                    children: Some(None),
                    ..plain("source", "shop.orders")
                },
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("@orders+", "do not go together"),
            ("tags:x", "did you mean `tag`?"),
            ("stat:modified", "did you mean `state`?"),
            ("+", "no value"),
            ("tag:", "no value"),
        ] {
            assert!(parse(text).unwrap_err().contains(expected), "{text}: {:?}", parse(text));
        }
    }
}
