//! One criterion: `@`, `2+`, `tag:nightly`, `+1`.

/// The methods that are known.
pub(super) const METHODS: &[&str] = &[
    "fqn",
    "path",
    "file",
    "tag",
    "source",
    "config",
    "resource_type",
    "test_type",
    "test_name",
    "package",
    "group",
    "access",
    "exposure",
    "version",
    "unit_test",
];

/// dbt's methods that need what is not there yet.
const LATER: &[&str] =
    &["state", "result", "source_status", "metric", "semantic_model", "saved_query", "selector"];

/// A parsed criterion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Criterion {
    pub(super) method: String,
    /// The parts after the method's dot: `config.meta.owner`.
    pub(super) arguments: Vec<String>,
    pub(super) value: String,
    /// `@`
    pub(super) childrens_parents: bool,
    /// `+x`, `2+x`: how many steps; `None` within: all.
    pub(super) parents: Option<Option<usize>>,
    /// `x+`, `x+2`
    pub(super) children: Option<Option<usize>>,
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
    if childrens_parents && children.is_some() {
        return Err("`@` in front and `+` behind do not go together".to_owned());
    }
    let (method, value) = match rest.split_once(':') {
        Some((method, value)) if is_method(method) => (Some(method), value),
        _ => (None, rest),
    };
    if value.is_empty() {
        return Err("there is no value to look for".to_owned());
    }
    let (method, arguments) = match method {
        Some(method) => {
            let mut parts = method.split('.').map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.collect())
        }
        None => (default_method(value).to_owned(), Vec::new()),
    };
    if !METHODS.contains(&method.as_str()) {
        return Err(if LATER.contains(&method.as_str()) {
            format!("the method `{method}` is not supported yet")
        } else {
            match crate::suggest::nearest(&method, METHODS.iter().copied()) {
                Some(near) => format!("`{method}` is not a method; did you mean `{near}`?"),
                None => format!("`{method}` is not a method; known ones: {}", METHODS.join(", ")),
            }
        });
    }
    Ok(Criterion {
        method,
        arguments,
        value: value.to_owned(),
        childrens_parents,
        parents,
        children,
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
            childrens_parents: false,
            parents: None,
            children: None,
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
            ("state:modified", "not supported yet"),
            ("+", "no value"),
            ("tag:", "no value"),
        ] {
            assert!(parse(text).unwrap_err().contains(expected), "{text}: {:?}", parse(text));
        }
    }
}
