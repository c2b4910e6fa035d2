//! Data tests as property YAML declares them: names and ids exactly as dbt makes them.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value as Json};
use tidemill_core::{Diagnostic, Severity};
use tidemill_jinja::{Host, Options, Value};

use crate::config::{ConfigProblem, Layer, NodeConfig};
use crate::file::SourceFile;
use crate::manifest::{TestKind, TestSpec, TestTarget};
use crate::read::properties::{TestDef, unquoted};
use crate::yaml::render::{has_jinja, render_text, text_error};
use crate::yaml::{Kind, Yaml};

/// Keys beside the arguments that configure a test.
const CONFIG_KEYS: &[&str] = &[
    "severity",
    "tags",
    "enabled",
    "where",
    "limit",
    "warn_if",
    "error_if",
    "fail_calc",
    "store_failures",
    "store_failures_as",
    "meta",
    "database",
    "schema",
    "alias",
];

/// A declared test, understood.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// Without `model`; `column_name` is among them for its place.
    pub(crate) arguments: Map<String, Json>,
    pub(crate) config: Layer,
    pub(crate) description: String,
    /// The node's name: of the user, or made from the arguments.
    pub(crate) full_name: String,
    /// The same, at most 63 characters long.
    pub(crate) short_name: String,
    /// The end of the unique id.
    pub(crate) hash: String,
    pub(crate) position: tidemill_core::SourcePosition,
}

/// Where a test is declared.
pub(crate) struct Place<'a> {
    pub(crate) target: &'a TestTarget,
    /// The column, quoted where it is quoted in SQL.
    pub(crate) column: Option<&'a str>,
    pub(crate) file: &'a SourceFile,
    pub(crate) host: &'a dyn Host,
    /// dbt's flag `require_generic_test_arguments_property`.
    pub(crate) nested_arguments: bool,
}

/// Understands a declaration.
pub(crate) fn declared(def: &TestDef, place: &Place<'_>) -> Result<Declared, Box<Diagnostic>> {
    let yaml = &def.yaml;
    let wrong = |at: &Yaml, message: &str| {
        Box::new(
            Diagnostic::error("test-shape", message)
                .at(at.position(place.file))
                .hint("write `- not_null` or `- accepted_values: {arguments: {values: [...]}}`"),
        )
    };
    let (name, name_at, body): (String, _, Option<&Yaml>) = match &yaml.kind {
        Kind::Text(name) => (name.clone(), unquoted(yaml, place.file), None),
        Kind::Map(entries) => match yaml.get("test_name") {
            Some(value) => match value.as_text() {
                Some(name) => (name.to_owned(), unquoted(value, place.file), Some(yaml)),
                None => return Err(wrong(value, "`test_name` must be the name of a test")),
            },
            None => match entries.as_slice() {
                [entry] => (entry.key.clone(), entry.position(place.file), Some(&entry.value)),
                _ => return Err(wrong(yaml, "a test has one key: its name")),
            },
        },
        _ => return Err(wrong(yaml, "a test must be a name or a mapping")),
    };
    let mut arguments = match body.map(|body| &body.kind) {
        None | Some(Kind::Null) => Map::new(),
        Some(Kind::Map(_)) => body.map(Yaml::to_map).unwrap_or_default(),
        Some(_) => {
            return Err(wrong(body.unwrap_or(yaml), "the arguments of a test must be a mapping"));
        }
    };
    arguments.shift_remove("test_name");
    if let Some(column) = place.column {
        // As in dbt: behind what stands beside `arguments`, before what stands in it.
        arguments.insert("column_name".to_owned(), column.into());
    }
    if place.nested_arguments
        && let Some(Json::Object(nested)) = arguments.shift_remove("arguments")
    {
        arguments.extend(nested);
    }
    if arguments.contains_key("model") {
        return Err(wrong(yaml, "`model` is not an argument: the test's place says which one"));
    }
    let mut written = match arguments.shift_remove("config") {
        Some(Json::Object(config)) => config,
        Some(Json::Null) | None => Map::new(),
        Some(_) => return Err(wrong(yaml, "the `config` of a test must be a mapping")),
    };
    let mut config = Layer::default();
    for key in CONFIG_KEYS {
        let top = arguments.shift_remove(*key).filter(is_given);
        let nested = written.shift_remove(*key);
        if top.is_some() && nested.as_ref().is_some_and(is_given) {
            return Err(wrong(yaml, &format!("`{key}` stands both beside and under `config`")));
        }
        if let Some(value) = top.or(nested).filter(|value| !value.is_null()) {
            config.set(key, rendered(value, place, yaml)?, Some(yaml.position(place.file)));
        }
    }
    for (key, value) in written {
        config.set(&key, rendered(value, place, yaml)?, Some(yaml.position(place.file)));
    }
    let description = match arguments.shift_remove("description") {
        Some(Json::String(text)) => text,
        _ => String::new(),
    };
    let own_name = match arguments.shift_remove("name") {
        Some(Json::String(name)) => Some(name),
        Some(Json::Null) | None => None,
        Some(_) => return Err(wrong(yaml, "the `name` of a test must be text")),
    };
    let (namespace, bare) = match name.split_once('.') {
        Some((namespace, bare)) => (Some(namespace.to_owned()), bare.to_owned()),
        None => (None, name.clone()),
    };
    let (full_name, short_name) = match own_name {
        Some(name) => (name.clone(), name),
        None => synthesized(namespace.as_deref(), &bare, &arguments, place),
    };
    let hash = hash(&full_name, namespace.as_deref(), &bare, &arguments, place);
    Ok(Declared {
        namespace,
        name: bare,
        arguments,
        config,
        description,
        full_name,
        short_name,
        hash,
        position: name_at,
    })
}

/// Python's truth, as dbt asks it here.
fn is_given(value: &Json) -> bool {
    Value::from(value).is_true()
}

fn rendered(value: Json, place: &Place<'_>, yaml: &Yaml) -> Result<Json, Box<Diagnostic>> {
    match &value {
        Json::String(text) if has_jinja(text) => render_text(text, place.host, &Options::default())
            .map_err(|error| Box::new(text_error(&error, yaml, place.file))),
        _ => Ok(value),
    }
}

/// All arguments of the macro, in the order of the names.
fn macro_arguments(
    arguments: &Map<String, Json>,
    place: &Place<'_>,
    with_model: bool,
) -> Vec<(String, Json)> {
    let mut all: Vec<(String, Json)> =
        arguments.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(column) = place.column {
        all.retain(|(name, _)| name != "column_name");
        all.push(("column_name".to_owned(), column.into()));
    }
    if with_model {
        all.push(("model".to_owned(), model_argument(place.target).into()));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The `model` argument: what the test is declared on, filtered by `where`.
pub(crate) fn model_argument(target: &TestTarget) -> String {
    match target {
        TestTarget::Ref { name, version: Some(version) } => {
            format!("{{{{ get_where_subquery(ref('{name}', version='{version}')) }}}}")
        }
        TestTarget::Ref { name, version: None } => {
            format!("{{{{ get_where_subquery(ref('{name}')) }}}}")
        }
        TestTarget::Source { source, table } => {
            format!("{{{{ get_where_subquery(source('{source}', '{table}')) }}}}")
        }
    }
}

/// dbt's `synthesize_generic_test_names`: the full name, and one of fewer than 64 characters.
fn synthesized(
    namespace: Option<&str>,
    name: &str,
    arguments: &Map<String, Json>,
    place: &Place<'_>,
) -> (String, String) {
    let (prefix, on) = match place.target {
        TestTarget::Ref { name, version: Some(version) } => ("", format!("{name}_v{version}")),
        TestTarget::Ref { name, version: None } => ("", name.clone()),
        TestTarget::Source { source, table } => ("source_", format!("{source}_{table}")),
    };
    let kind = match namespace {
        Some(namespace) => format!("{namespace}_{prefix}{name}"),
        None => format!("{prefix}{name}"),
    };
    let mut flat: Vec<String> = Vec::new();
    let python = |value: &Json| Value::from(value).to_string();
    for (_, value) in macro_arguments(arguments, place, false) {
        match &value {
            Json::Array(items) => flat.extend(items.iter().map(python)),
            Json::Object(map) => flat.extend(map.values().map(python)),
            other => flat.push(python(other)),
        }
    }
    let clean: Vec<String> = flat.iter().map(|text| cleaned(text)).collect();
    let identifier = format!("{kind}_{on}");
    let full = format!("{identifier}_{}", clean.join("__"));
    if full.chars().count() < 64 {
        return (full.clone(), full);
    }
    let start: String = identifier.chars().take(30).collect();
    let short = format!("{start}_{}", md5_hex(&full));
    (full, short)
}

/// `re.sub("[^0-9a-zA-Z_]+", "_", text)`
fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut replaced = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
            replaced = false;
        } else if !replaced {
            out.push('_');
            replaced = true;
        }
    }
    out
}

/// The last ten digits of an MD5 over name and Python's text of the test's metadata.
fn hash(
    full_name: &str,
    namespace: Option<&str>,
    name: &str,
    arguments: &Map<String, Json>,
    place: &Place<'_>,
) -> String {
    let kwargs: Vec<(String, Value)> = macro_arguments(arguments, place, true)
        .into_iter()
        .map(|(name, value)| (name, hashable(&value)))
        .collect();
    let metadata = Value::dict([
        ("kwargs", Value::dict(kwargs)),
        ("name", Value::from(name)),
        ("namespace", Value::from(namespace.unwrap_or("None"))),
    ]);
    let digest = md5_hex(&format!("{full_name}{}", metadata.repr()));
    digest[digest.len() - 10..].to_owned()
}

fn hashable(value: &Json) -> Value {
    match value {
        Json::Array(items) => Value::list(items.iter().map(hashable)),
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            Value::dict(keys.into_iter().map(|key| (key, hashable(&map[key]))))
        }
        other => Value::from(Value::from(other).to_string()),
    }
}

fn md5_hex(text: &str) -> String {
    use md5::{Digest, Md5};
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(32);
    for byte in Md5::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether text is one call of a function that test arguments may name without braces.
pub(crate) fn looks_like_call(text: &str) -> bool {
    static CALL: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^\s*(env_var|ref|var|source|doc)\s*\(.+\)\s*$").ok());
    CALL.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// How a test is judged, from its effective configuration.
pub(crate) fn spec(kind: TestKind, config: &NodeConfig) -> (TestSpec, Vec<ConfigProblem>) {
    let mut problems = Vec::new();
    let mut wrong = |key: &str, message: String| {
        problems.push(ConfigProblem { key: key.to_owned(), message, hint: None, is_error: true });
    };
    let text = |key: &str| match config.get(key)? {
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let severity = match text("severity").unwrap_or_default().to_ascii_lowercase().as_str() {
        "warn" => Severity::Warn,
        "error" | "" => Severity::Error,
        other => {
            wrong("severity", format!("a severity is `error` or `warn`, not `{other}`"));
            Severity::Error
        }
    };
    let limit = match config.get("limit") {
        None => None,
        Some(value) => match value.as_u64() {
            Some(limit) => Some(limit),
            None => {
                wrong("limit", format!("`limit` must be a whole number, not `{value}`"));
                None
            }
        },
    };
    let store_failures = match config.get("store_failures") {
        None => None,
        Some(Json::Bool(flag)) => Some(*flag),
        Some(value) => {
            wrong("store_failures", format!("`store_failures` is true or false, not `{value}`"));
            None
        }
    };
    let store_failures_as = text("store_failures_as");
    if let Some(kind) = &store_failures_as
        && !matches!(kind.as_str(), "table" | "view" | "ephemeral")
    {
        wrong(
            "store_failures_as",
            format!("`store_failures_as` is `table`, `view` or `ephemeral`, not `{kind}`"),
        );
    }
    let not_zero = || "!= 0".to_owned();
    let spec = TestSpec {
        kind,
        severity,
        warn_if: text("warn_if").unwrap_or_else(not_zero),
        error_if: text("error_if").unwrap_or_else(not_zero),
        fail_calc: text("fail_calc").unwrap_or_else(|| "count(*)".to_owned()),
        where_: text("where").filter(|text| !text.trim().is_empty()),
        limit,
        store_failures: match store_failures_as.as_deref() {
            Some("ephemeral") => Some(false),
            Some(_) => Some(true),
            None => store_failures,
        },
        store_failures_as,
    };
    (spec, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn name_and_hash(
        test: &str,
        target: TestTarget,
        column: Option<&str>,
    ) -> (String, String, String) {
        let file = SourceFile::new("models/x.yml", test);
        let parsed = yaml::parse(&file);
        let place = Place {
            target: &target,
            column,
            file: &file,
            host: &tidemill_jinja::NoHost,
            nested_arguments: true,
        };
        let declared = declared(&TestDef { yaml: parsed.root }, &place).unwrap();
        (declared.full_name, declared.short_name, declared.hash)
    }

    #[test]
    fn names_are_made_as_dbt_makes_them() {
        let model = || TestTarget::Ref { name: "orders".into(), version: None };
        let (full, short, _) = name_and_hash("not_null", model(), Some("id"));
        assert_eq!((full.as_str(), short.as_str()), ("not_null_orders_id", "not_null_orders_id"));
        let (full, short, _) = name_and_hash(
            "accepted_values: {values: [true, 1.5, 'a b', null], quote: false}",
            model(),
            Some("status"),
        );
        assert_eq!(full, "accepted_values_orders_status__False__True__1_5__a_b__None");
        assert_eq!(short, full);
        let (full, short, _) = name_and_hash(
            "dbt_utils.unique_combination_of_columns: {combination_of_columns: [first_column, second_column, third_column]}",
            TestTarget::Source { source: "shop".into(), table: "orders".into() },
            None,
        );
        assert_eq!(
            full,
            "dbt_utils_source_unique_combination_of_columns_shop_orders_first_column__second_column__third_column"
        );
        assert!(
            short.starts_with("dbt_utils_source_unique_combin_") && short.len() == 63,
            "{short}"
        );
    }

    #[test]
    fn text_that_is_one_call_is_recognised() {
        for (text, expected) in [
            ("ref('x')", true),
            (" source('a', 'b') ", true),
            ("var('x')", true),
            ("reference('x')", false),
            ("ref('x') + 1", false),
            ("x", false),
        ] {
            assert_eq!(looks_like_call(text), expected, "{text}");
        }
    }
}
