//! `unit_tests:` of property YAML, as written: nothing is resolved yet.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};

use super::{Unknown, check_keys, text_of, texts_of, wrong_shape};
use crate::config::Layer;
use crate::file::SourceFile;
use crate::yaml::Yaml;

/// A unit test as declared.
#[derive(Debug, Clone)]
pub(crate) struct UnitTestDef {
    pub(crate) name: String,
    /// The model that it tests; a version may follow: `orders v2`.
    pub(crate) model: String,
    pub(crate) description: String,
    pub(crate) given: Vec<GivenDef>,
    pub(crate) expect: RowsDef,
    pub(crate) macros: Map<String, Value>,
    pub(crate) vars: Map<String, Value>,
    pub(crate) env_vars: Map<String, Value>,
    /// Only these versions of the model.
    pub(crate) include: Option<Vec<String>>,
    /// All but these versions of the model.
    pub(crate) exclude: Option<Vec<String>>,
    pub(crate) config: Layer,
    pub(crate) position: SourcePosition,
}

/// One input.
#[derive(Debug, Clone)]
pub(crate) struct GivenDef {
    /// `ref('x')`, `source('a', 'b')` or `this`.
    pub(crate) input: String,
    pub(crate) rows: RowsDef,
    pub(crate) position: SourcePosition,
}

/// Rows in one of three forms.
#[derive(Debug, Clone)]
pub(crate) struct RowsDef {
    /// `dict`, `csv` or `sql`.
    pub(crate) format: String,
    pub(crate) rows: Option<Value>,
    /// The name of a file under `tests/fixtures`.
    pub(crate) fixture: Option<String>,
    pub(crate) position: SourcePosition,
}

const KEYS: &[&str] = &[
    "name",
    "model",
    "description",
    "given",
    "expect",
    "overrides",
    "versions",
    "config",
    "meta",
    "tags",
];

/// Reads one entry of `unit_tests:`.
pub(crate) fn read(
    item: &Yaml,
    file: &Arc<SourceFile>,
    diagnostics: &mut Diagnostics,
) -> Option<UnitTestDef> {
    if !item.is_map() {
        wrong_shape(item, "a unit test must be a mapping", file, diagnostics);
        return None;
    }
    let missing = |key: &str, diagnostics: &mut Diagnostics| {
        diagnostics.push(
            Diagnostic::error("yaml-shape", format!("a unit test has no `{key}`"))
                .at(item.position(file)),
        );
    };
    let Some(name) = text_of(item, "name", "a unit test", file, diagnostics) else {
        missing("name", diagnostics);
        return None;
    };
    let what = format!("unit test `{name}`");
    check_keys(item, &what, KEYS, Unknown::Refuse, file, diagnostics);
    let position = item.get("name").map_or_else(|| item.position(file), |at| at.position(file));
    let Some(model) = text_of(item, "model", &what, file, diagnostics) else {
        missing("model", diagnostics);
        return None;
    };
    let mut given = Vec::new();
    match item.get("given") {
        None => missing("given", diagnostics),
        Some(list) if list.is_list() || list.is_null() => {
            for input in list.items() {
                let of = format!("an input of {what}");
                let Some(text) = text_of(input, "input", &of, file, diagnostics) else {
                    wrong_shape(input, &format!("{of} needs `input`"), file, diagnostics);
                    continue;
                };
                let keys = &["input", "format", "rows", "fixture"];
                check_keys(input, &of, keys, Unknown::Refuse, file, diagnostics);
                given.push(GivenDef {
                    input: text,
                    rows: rows(input, &of, file, diagnostics),
                    position: input
                        .get("input")
                        .map_or_else(|| input.position(file), |at| at.position(file)),
                });
            }
        }
        Some(other) => {
            wrong_shape(other, &format!("`given` of {what} must be a list"), file, diagnostics);
        }
    }
    let Some(expect) = item.get("expect") else {
        missing("expect", diagnostics);
        return None;
    };
    let expect = rows(expect, &format!("`expect` of {what}"), file, diagnostics);
    let overrides = |key: &str| {
        item.get("overrides")
            .and_then(|overrides| overrides.get(key))
            .map(Yaml::to_map)
            .unwrap_or_default()
    };
    let versions = item.get("versions");
    let mut listed =
        |key: &str| versions.and_then(|versions| texts_of(versions, key, &what, file, diagnostics));
    let (include, exclude) = (listed("include"), listed("exclude"));
    let mut config = Layer::default();
    for key in ["tags", "meta"] {
        if let Some(value) = item.get(key).filter(|value| !value.is_null()) {
            config.set(key, value.to_json(), Some(value.position(file)));
        }
    }
    for entry in item.get("config").map(Yaml::entries).unwrap_or_default() {
        config.set(&entry.key, entry.value.to_json(), Some(entry.value.position(file)));
    }
    Some(UnitTestDef {
        description: text_of(item, "description", &what, file, diagnostics).unwrap_or_default(),
        macros: overrides("macros"),
        vars: overrides("vars"),
        env_vars: overrides("env_vars"),
        name,
        model,
        given,
        expect,
        include,
        exclude,
        config,
        position,
    })
}

fn rows(item: &Yaml, what: &str, file: &Arc<SourceFile>, diagnostics: &mut Diagnostics) -> RowsDef {
    let format = text_of(item, "format", what, file, diagnostics);
    if let Some(format) = format.as_deref()
        && !matches!(format, "dict" | "csv" | "sql")
    {
        diagnostics.push(
            Diagnostic::error("unit-test", format!("{what}: there is no format `{format}`"))
                .at(item.position(file))
                .hint("use dict, csv or sql"),
        );
    }
    RowsDef {
        format: format.unwrap_or_else(|| "dict".to_owned()),
        rows: item.get("rows").filter(|rows| !rows.is_null()).map(Yaml::to_json),
        fixture: text_of(item, "fixture", what, file, diagnostics),
        position: item.position(file),
    }
}
