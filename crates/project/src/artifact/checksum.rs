//! Checksums as dbt makes them: SHA-256 of what Python writes of its objects.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::constraint;
use crate::manifest::{Column, Node};

/// Of a contract: names, types and constraints of the columns, and, where the table enforces them, the
/// constraints of the model. `None` where no contract is enforced.
pub(super) fn of_contract(node: &Node) -> Option<String> {
    if !node.config.contract_enforced {
        return None;
    }
    let mut columns: Vec<&Column> = node.columns.values().collect();
    columns.sort_by_key(|column| &column.name);
    let mut text = String::new();
    for column in columns {
        let data_type = column.data_type.as_deref().unwrap_or("None");
        let constraints = list(&column.constraints, |one| constraint_object(one, false));
        let _ = write!(text, "|{}{data_type}{constraints}", column.name);
    }
    let materialized = node.config.get("materialized").and_then(Value::as_str).unwrap_or("view");
    if matches!(materialized, "table" | "incremental") {
        text.push_str(materialized);
        text.push_str(&list(&node.constraints, |one| constraint_object(one, true)));
    }
    Some(sha256(&text))
}

/// Of a unit test: its model and what it says in `given`, `expect`, `overrides` and `versions`, in the
/// form that the manifest has them.
pub(super) fn of_unit_test(model: &str, written: &Value) -> String {
    let part = |key: &str| written.get(key).filter(|value| !value.is_null());
    let versions = part("versions").map_or_else(
        || "None".to_owned(),
        |value| object("UnitTestNodeVersions", value, &[("include", "None"), ("exclude", "None")]),
    );
    let overrides = part("overrides").map_or_else(
        || "None".to_owned(),
        |value| {
            let fields = [("macros", "{}"), ("vars", "{}"), ("env_vars", "{}")];
            object("UnitTestOverrides", value, &fields)
        },
    );
    let inputs = part("given").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let given = list(inputs, |one| fixture("UnitTestInputFixture", one));
    let expect = part("expect")
        .map_or_else(|| "None".to_owned(), |value| fixture("UnitTestOutputFixture", value));
    let mut text = format!("{model}-{versions}-{given}-{expect}-{overrides}");
    for input in inputs.iter().filter(|input| input["fixture"].is_string()) {
        let _ = write!(text, "-{}", python(&input["rows"], false));
    }
    sha256(&text)
}

fn list(items: &[Value], item: impl Fn(&Value) -> String) -> String {
    let items: Vec<String> = items.iter().map(item).collect();
    format!("[{}]", items.join(", "))
}

fn constraint_object(written: &Value, of_model: bool) -> String {
    let full = constraint(written, of_model);
    let kind = full["type"].as_str().unwrap_or_default();
    let name = if of_model { "ModelLevelConstraint" } else { "ColumnLevelConstraint" };
    let mut text = format!("{name}(type=<ConstraintType.{kind}: '{kind}'>");
    let fields = ["name", "expression", "warn_unenforced", "warn_unsupported", "to", "to_columns"];
    for key in fields.into_iter().chain(of_model.then_some("columns")) {
        let _ = write!(text, ", {key}={}", python(&full[key], true));
    }
    text + ")"
}

fn fixture(name: &str, value: &Value) -> String {
    let format = value["format"].as_str().unwrap_or("dict");
    let member = match format {
        "csv" => "CSV",
        "sql" => "SQL",
        _ => "Dict",
    };
    let input = match value.get("input") {
        Some(input) => format!("input={}, ", python(input, true)),
        None => String::new(),
    };
    let (rows, file) = (python(&value["rows"], true), python(&value["fixture"], true));
    format!(
        "{name}({input}rows={rows}, format=<UnitTestFormat.{member}: '{format}'>, fixture={file})"
    )
}

/// An object of Python with its fields, and what they are when they are not said.
fn object(name: &str, value: &Value, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, default)| match value.get(*key).filter(|value| !value.is_null()) {
            Some(value) => format!("{key}={}", python(value, true)),
            None => format!("{key}={default}"),
        })
        .collect();
    format!("{name}({})", fields.join(", "))
}

/// A value as Python writes it, texts in quotes where they are part of something.
fn python(value: &Value, within: bool) -> String {
    if !within {
        return tidemill_jinja::Value::from(value).to_string();
    }
    let list = tidemill_jinja::Value::list(vec![tidemill_jinja::Value::from(value)]).to_string();
    list.get(1..list.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn sha256(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
