//! One entry of the manifest to one page.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::read::{entries, field, fields, items, readable, string, text, texts};
use crate::markdown;
use crate::site::{Column, Field, Page, Statistics, TestFacts};

/// Settings that tell a reader how a node is built, where they are set.
const TELLING: [&str; 22] = [
    "incremental_strategy",
    "unique_key",
    "on_schema_change",
    "partition_by",
    "cluster_by",
    "strategy",
    "updated_at",
    "check_cols",
    "hard_deletes",
    "event_time",
    "batch_size",
    "lookback",
    "begin",
    "where",
    "limit",
    "fail_calc",
    "warn_if",
    "error_if",
    "store_failures",
    "delimiter",
    "dialect",
    "file_format",
];

pub(super) fn page(
    value: &Value,
    manifest: &Value,
    catalog: Option<&Value>,
    places: &HashMap<&str, usize>,
) -> Page {
    let kind = text(value, "resource_type");
    let config = &value["config"];
    let depends_on = &value["depends_on"];
    let known = |ids: &[Value]| -> Vec<usize> {
        let mut seen = HashSet::new();
        ids.iter()
            .filter_map(|id| places.get(id.as_str()?).copied())
            .filter(|place| seen.insert(*place))
            .collect()
    };
    let mut page = Page {
        id: string(value, "unique_id"),
        kind: kind.to_owned(),
        name: name(value, kind),
        package: string(value, "package_name"),
        path: string(value, "original_file_path"),
        folder: folder(value, kind),
        schema: string(value, "schema"),
        relation: relation(value, kind),
        materialized: if matches!(kind, "model" | "snapshot") {
            string(config, "materialized")
        } else {
            String::new()
        },
        description: markdown::html(text(value, "description")),
        tags: tags(value, config),
        owner: owner(value, manifest),
        group: string(value, "group"),
        access: Some(text(value, "access"))
            .filter(|access| *access != "protected")
            .unwrap_or_default()
            .to_owned(),
        version: value.get("version").map(readable).unwrap_or_default(),
        color: color(text(&value["docs"], "node_color")),
        language: string(value, "language"),
        raw: raw(value, kind),
        compiled: string(value, "compiled_code"),
        reads: known(items(depends_on, "nodes")),
        macros: known(items(depends_on, "macros")),
        columns: columns(value, catalog),
        statistics: catalog.map(statistics).unwrap_or_default(),
        ..Page::default()
    };
    page.fields = facts(value, kind, config, &page);
    if kind == "test" {
        page.label = label(value);
        page.test = Some(TestFacts {
            name: string(&value["test_metadata"], "name"),
            of: tested(value, places),
            column: string(value, "column_name"),
            severity: text(config, "severity").to_ascii_lowercase(),
        });
    }
    if kind == "unit_test" {
        let of = page.reads.first().copied();
        page.test = Some(TestFacts { name: "unit test".into(), of, ..TestFacts::default() });
    }
    if kind == "macro" {
        page.columns = arguments(value);
    }
    page
}

/// Puts each test on the page and the column that it tests.
pub(super) fn attach_tests(pages: &mut [Page]) {
    let tests: Vec<(usize, TestFacts, Vec<usize>)> = pages
        .iter()
        .enumerate()
        .filter_map(|(place, page)| Some((place, page.test.clone()?, page.reads.clone())))
        .collect();
    for (place, facts, reads) in tests {
        // A singular test belongs to all that it reads.
        let owners = facts.of.map_or(reads, |of| vec![of]);
        for owner in owners {
            let Some(page) = pages.get_mut(owner) else { continue };
            page.tests.push(place);
            if facts.column.is_empty() {
                continue;
            }
            let name = unquoted(&facts.column);
            if let Some(column) = page.columns.iter_mut().find(|column| same(&column.name, name)) {
                column.tests.push(place);
            }
        }
    }
}

/// Whether two names of columns mean the same one; catalogs of some databases are in capitals.
pub(super) fn same(a: &str, b: &str) -> bool {
    a == b || a.eq_ignore_ascii_case(b)
}

/// A name without the quotes of a database.
pub(super) fn unquoted(name: &str) -> &str {
    name.trim().trim_matches(['"', '`', '[', ']'])
}

fn name(value: &Value, kind: &str) -> String {
    if kind == "source" {
        return format!("{}.{}", text(value, "source_name"), text(value, "name"));
    }
    let name = text(value, "name");
    match value.get("version").map(readable) {
        Some(version) if !version.is_empty() => format!("{name}.v{version}"),
        _ => name.to_owned(),
    }
}

/// The folders below `models/` and its like; a source stands in one of its own name.
fn folder(value: &Value, kind: &str) -> Vec<String> {
    let path = text(value, "original_file_path").replace('\\', "/");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    parts.pop();
    if kind == "source" {
        return vec![string(value, "source_name")];
    }
    if !parts.is_empty() {
        parts.remove(0);
    }
    parts
}

fn relation(value: &Value, kind: &str) -> String {
    if !matches!(kind, "model" | "seed" | "snapshot" | "source") {
        return String::new();
    }
    text(value, "relation_name").replace(['"', '`'], "")
}

fn raw(value: &Value, kind: &str) -> String {
    match kind {
        "macro" => string(value, "macro_sql").trim().to_owned(),
        "seed" => String::new(),
        // What a generic test has there is the call that dbt wrote for it.
        "test" if !value["test_metadata"].is_null() => String::new(),
        _ => string(value, "raw_code"),
    }
}

fn tags(value: &Value, config: &Value) -> Vec<String> {
    let own = texts(value.get("tags"));
    if own.is_empty() { texts(config.get("tags")) } else { own }
}

/// The owner of an exposure, of the group, or as `meta` says it.
fn owner(value: &Value, manifest: &Value) -> String {
    let person = |owner: &Value| {
        let email = texts(owner.get("email")).join(", ");
        match (text(owner, "name"), email.as_str()) {
            ("", email) => email.to_owned(),
            (name, "") => name.to_owned(),
            (name, email) => format!("{name} ({email})"),
        }
    };
    if value["owner"].is_object() {
        return person(&value["owner"]);
    }
    let meta = value.get("meta").and_then(|meta| meta.get("owner"));
    if let Some(owner) = meta.or_else(|| value["config"]["meta"].get("owner")) {
        return if owner.is_object() { person(owner) } else { readable(owner) };
    }
    let group = text(value, "group");
    if group.is_empty() {
        return String::new();
    }
    entries(manifest, "groups")
        .find(|(_, entry)| text(entry, "name") == group)
        .map(|(_, entry)| person(&entry["owner"]))
        .unwrap_or_default()
}

/// `#` and 3, 6 or 8 hexadecimal digits, or nothing.
fn color(text: &str) -> String {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let fits = matches!(digits.len(), 3 | 6 | 8) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if fits { text.to_owned() } else { String::new() }
}

fn facts(value: &Value, kind: &str, config: &Value, page: &Page) -> Vec<Field> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() && value != "{}" && value != "[]" {
            facts.push(field(name, value));
        }
    };
    if config["contract"]["enforced"] == Value::Bool(true) {
        add("contract", "enforced".to_owned());
    }
    for name in TELLING {
        let setting = config.get(name).unwrap_or(&Value::Null);
        // Tests carry dbt's defaults in full.
        let usual = kind == "test" && matches!(setting.as_str(), Some("!= 0" | "count(*)"))
            || kind == "model"
                && page.materialized != "incremental"
                && setting.as_str() == Some("ignore")
            || kind != "model" && name == "on_schema_change"
            || name == "lookback" && config["batch_size"].is_null();
        if !usual {
            add(name, readable(setting));
        }
    }
    for constraint in items(value, "constraints") {
        add("constraint", constraint_text(constraint));
    }
    if kind == "test" {
        for (name, argument) in entries(&value["test_metadata"], "kwargs") {
            if name != "model" && name != "column_name" {
                add(name, readable(argument));
            }
        }
    }
    match kind {
        "source" => {
            add("source", readable(&value["source_description"]));
            add("loader", readable(&value["loader"]));
            add("loaded at", readable(&value["loaded_at_field"]));
            for (name, rule) in entries(value, "freshness") {
                if rule.get("count").is_some_and(|count| !count.is_null()) {
                    let rule = format!("{} {}", readable(&rule["count"]), text(rule, "period"));
                    add(&name.replace('_', " "), rule);
                }
            }
            for (_, rule) in entries(value, "external").filter(|(name, _)| *name == "location") {
                add("location", readable(rule));
            }
        }
        "exposure" => {
            add("kind", readable(&value["type"]));
            add("maturity", readable(&value["maturity"]));
            add("url", readable(&value["url"]));
            add("label", readable(&value["label"]));
        }
        "metric" => {
            add("label", readable(&value["label"]));
            add("kind", readable(&value["type"]));
            add("filter", readable(&value["filter"]));
            add("type parameters", readable(&value["type_params"]));
        }
        "semantic_model" => {
            for part in ["entities", "dimensions", "measures"] {
                let names: Vec<&str> =
                    items(value, part).iter().map(|item| text(item, "name")).collect();
                add(part, names.join(", "));
            }
        }
        "unit_test" => {
            for part in ["given", "expect", "overrides"] {
                add(part, readable(&value[part]));
            }
        }
        _ => {}
    }
    add("deprecated from", readable(&value["deprecation_date"]));
    let meta =
        value.get("meta").filter(|meta| meta.as_object().is_some_and(|meta| !meta.is_empty()));
    facts.extend(
        fields(meta.or_else(|| config.get("meta")))
            .into_iter()
            .filter(|field| field.name != "owner"),
    );
    facts
}

/// `primary key (a, b)`, `foreign key (a) references x (b)`, `check (a > 0)`.
fn constraint_text(constraint: &Value) -> String {
    let mut words = text(constraint, "type").replace('_', " ");
    let columns = texts(constraint.get("columns"));
    if !columns.is_empty() {
        words.push_str(&format!(" ({})", columns.join(", ")));
    }
    let to = text(constraint, "to");
    if !to.is_empty() {
        words.push_str(&format!(" references {}", to.replace('"', "")));
        let to_columns = texts(constraint.get("to_columns"));
        if !to_columns.is_empty() {
            words.push_str(&format!(" ({})", to_columns.join(", ")));
        }
    }
    let expression = text(constraint, "expression");
    if !expression.is_empty() {
        let open = if text(constraint, "type") == "check" {
            format!(" ({expression})")
        } else {
            format!(" {expression}")
        };
        words.push_str(&open);
    }
    words
}

/// Documented columns with what the catalog knows, in the table's order where it is known.
fn columns(value: &Value, catalog: Option<&Value>) -> Vec<Column> {
    let documented: Vec<Column> = entries(value, "columns")
        .map(|(name, column)| Column {
            name: Some(text(column, "name"))
                .filter(|name| !name.is_empty())
                .unwrap_or(name)
                .to_owned(),
            data_type: string(column, "data_type"),
            description: markdown::html(text(column, "description")),
            tags: tags(column, &column["config"]),
            fields: fields(
                column
                    .get("meta")
                    .filter(|meta| meta.as_object().is_some_and(|meta| !meta.is_empty()))
                    .or_else(|| column["config"].get("meta")),
            ),
            constraints: items(column, "constraints").iter().map(constraint_text).collect(),
            ..Column::default()
        })
        .collect();
    let Some(catalog) = catalog else { return documented };
    let mut found: Vec<(i64, Column)> = entries(catalog, "columns")
        .map(|(name, column)| {
            let index = column.get("index").and_then(Value::as_i64).unwrap_or(i64::MAX);
            let known = Column {
                name: name.clone(),
                data_type: string(column, "type"),
                description: markdown::html(text(column, "comment")),
                ..Column::default()
            };
            (index, known)
        })
        .collect();
    found.sort_by_key(|(index, _)| *index);
    let mut documented: Vec<Option<Column>> = documented.into_iter().map(Some).collect();
    let mut columns: Vec<Column> = found
        .into_iter()
        .map(|(_, known)| {
            let written = documented
                .iter_mut()
                .find(|column| {
                    column.as_ref().is_some_and(|column| same(&column.name, &known.name))
                })
                .and_then(Option::take);
            match written {
                Some(mut column) => {
                    column.data_type = known.data_type;
                    if column.description.is_empty() {
                        column.description = known.description;
                    }
                    column
                }
                None => known,
            }
        })
        .collect();
    let known_to_catalog = !columns.is_empty();
    columns.extend(
        documented
            .into_iter()
            .flatten()
            .map(|column| Column { missing: known_to_catalog, ..column }),
    );
    columns
}

fn arguments(value: &Value) -> Vec<Column> {
    items(value, "arguments")
        .iter()
        .map(|argument| Column {
            name: string(argument, "name"),
            data_type: string(argument, "type"),
            description: markdown::html(text(argument, "description")),
            ..Column::default()
        })
        .collect()
}

fn statistics(catalog: &Value) -> Statistics {
    let mut statistics = Statistics::default();
    for (id, entry) in entries(catalog, "stats") {
        let value = &entry["value"];
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        if id == "has_stats" || value.is_null() || entry["include"] == Value::Bool(false) {
            continue;
        }
        match id.as_str() {
            "row_count" | "num_rows" | "rows" => statistics.rows = number,
            "bytes" | "num_bytes" | "size" => statistics.bytes = number,
            _ => {
                let label = Some(text(entry, "label")).filter(|label| !label.is_empty());
                statistics.more.push(field(label.unwrap_or(id), readable(value)));
            }
        }
    }
    statistics
}

fn tested(value: &Value, places: &HashMap<&str, usize>) -> Option<usize> {
    let attached = text(value, "attached_node");
    if let Some(place) = places.get(attached) {
        return Some(*place);
    }
    // Older manifests, and tests of sources, name it last among what is read.
    if value["test_metadata"].is_null() {
        return None;
    }
    items(&value["depends_on"], "nodes")
        .iter()
        .rev()
        .find_map(|id| places.get(id.as_str()?).copied())
}

/// A generic test in few words: `carrier_code is in dim_carrier.carrier_code`; nothing for one with a
/// name of its own.
fn label(value: &Value) -> String {
    let metadata = &value["test_metadata"];
    if metadata.is_null() {
        return String::new();
    }
    // A name that a person gave says more.
    let own = text(value, "name");
    let kind = match text(metadata, "namespace") {
        "" => text(metadata, "name").to_owned(),
        namespace => format!("{namespace}_{}", text(metadata, "name")),
    };
    if !own.strip_prefix("source_").unwrap_or(own).starts_with(&kind) && !own.starts_with(&kind) {
        return String::new();
    }
    let column = text(value, "column_name");
    let arguments = &metadata["kwargs"];
    let argument = |name: &str| arguments.get(name).map(readable).unwrap_or_default();
    let words = match text(metadata, "name") {
        "not_null" => "is never NULL".to_owned(),
        "unique" => "is unique".to_owned(),
        "accepted_values" => format!("is one of {}", argument("values")),
        "relationships" => format!("is in {}.{}", referred(&argument("to")), argument("field")),
        "unique_combination_of_columns" => {
            return format!("{} are unique together", argument("combination_of_columns"));
        }
        "expression_is_true" => argument("expression"),
        "accepted_range" => match (argument("min_value"), argument("max_value")) {
            (low, high) if high.is_empty() => format!("is at least {low}"),
            (low, high) if low.is_empty() => format!("is at most {high}"),
            (low, high) => format!("is between {low} and {high}"),
        },
        name => {
            let shown: Vec<String> = entries(metadata, "kwargs")
                .filter(|(name, value)| {
                    !matches!(name.as_str(), "model" | "column_name") && !value.is_null()
                })
                .map(|(name, value)| format!("{name}: {}", readable(value)))
                .collect();
            let name = match name.strip_prefix("expect_column_values_to_") {
                Some(rest) => format!("must {}", rest.replace('_', " ")),
                None => name.replace('_', " "),
            };
            let shown = shown.join("; ");
            let long = shown.chars().count() > 60;
            if shown.is_empty() || long { name } else { format!("{name} ({shown})") }
        }
    };
    format!("{column} {words}").trim().to_owned()
}

/// `ref('dim_date')` as `dim_date`.
fn referred(call: &str) -> String {
    let mut quoted: Vec<&str> = call.split(['\'', '"']).skip(1).step_by(2).collect();
    if quoted.is_empty() {
        return call.to_owned();
    }
    if call.trim_start().starts_with("ref") {
        quoted.drain(..quoted.len() - 1);
    }
    quoted.join(".")
}
