//! The constraints of a contract as the DDL that macros of materializations ask the adapter for.

use serde_json::{Map, Value as Json};
use tidemill_jinja::{Args, Error, Value};

use super::relation::quoted;

/// The kinds of constraints that dbt knows.
const KINDS: [&str; 6] = ["check", "not_null", "unique", "primary_key", "foreign_key", "custom"];

/// `adapter.render_raw_columns_constraints(raw_columns=model['columns'])`: for each column its name,
/// type and constraints.
pub(super) fn of_columns(args: &Args) -> Result<Value, Error> {
    let [columns] = args.bind("render_raw_columns_constraints", ["raw_columns"], 1)?;
    let Json::Object(columns) = json_of("render_raw_columns_constraints", columns)? else {
        return Err(Error::type_error(
            "adapter.render_raw_columns_constraints needs a mapping of columns",
        ));
    };
    let mut lines = Vec::new();
    for column in columns.values() {
        let name = text(column, "name").unwrap_or_default();
        let shown = match column.get("quote").and_then(Json::as_bool) {
            Some(true) => quoted(&name),
            _ => name.clone(),
        };
        let Some(data_type) = text(column, "data_type") else {
            return Err(Error::user(format!("the column `{name}` has no data_type")));
        };
        let mut parts = vec![format!("{shown} {data_type}")];
        for constraint in list(column.get("constraints")) {
            parts.extend(of_column(constraint)?);
        }
        lines.push(Value::from(parts.join(" ")));
    }
    Ok(Value::list(lines))
}

/// `adapter.render_raw_model_constraints(raw_constraints=model['constraints'])`.
pub(super) fn of_model(args: &Args) -> Result<Value, Error> {
    let [constraints] = args.bind("render_raw_model_constraints", ["raw_constraints"], 1)?;
    let constraints = json_of("render_raw_model_constraints", constraints)?;
    let mut lines = Vec::new();
    for constraint in list(Some(&constraints)) {
        lines.extend(of_table(constraint)?.map(Value::from));
    }
    Ok(Value::list(lines))
}

fn json_of(method: &str, value: Option<Value>) -> Result<Json, Error> {
    value.unwrap_or(Value::None).to_json().map_err(|error| {
        Error::type_error(format!("adapter.{method} cannot read its argument: {}", error.message()))
    })
}

fn list(value: Option<&Json>) -> &[Json] {
    value.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Json, key: &str) -> Option<String> {
    match value.get(key)? {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A constraint of a known kind, its kind and its expression.
fn parsed(constraint: &Json) -> Result<(&Map<String, Json>, &str, String), Error> {
    let wrong = || {
        Error::user(format!("not a constraint: {constraint}"))
            .with_hint(format!("`type` is one of {}", KINDS.join(", ")))
    };
    let fields = constraint.as_object().ok_or_else(wrong)?;
    let kind = fields.get("type").and_then(Json::as_str).ok_or_else(wrong)?;
    if !KINDS.contains(&kind) {
        return Err(wrong());
    }
    Ok((fields, kind, text(constraint, "expression").unwrap_or_default()))
}

fn names(fields: &Map<String, Json>, key: &str) -> Vec<String> {
    list(fields.get(key)).iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// `other (a, b)`, when the constraint names both.
fn referenced(fields: &Map<String, Json>) -> Option<String> {
    let to = fields.get("to").and_then(Json::as_str).filter(|to| !to.is_empty())?;
    let columns = names(fields, "to_columns");
    (!columns.is_empty()).then(|| format!("{to} ({})", columns.join(", ")))
}

fn of_column(constraint: &Json) -> Result<Option<String>, Error> {
    let (fields, kind, expression) = parsed(constraint)?;
    let given = !expression.is_empty();
    let line = match kind {
        "check" => given.then(|| format!("check ({expression})")),
        "not_null" => Some(format!("not null {expression}")),
        "unique" => Some(format!("unique {expression}")),
        "primary_key" => Some(format!("primary key {expression}")),
        "foreign_key" => match referenced(fields) {
            Some(other) => Some(format!("references {other}")),
            None => given.then(|| format!("references {expression}")),
        },
        _ => given.then_some(expression),
    };
    Ok(line.map(|line| line.trim().to_owned()))
}

fn of_table(constraint: &Json) -> Result<Option<String>, Error> {
    let (fields, kind, expression) = parsed(constraint)?;
    let given = !expression.is_empty();
    let name = match fields.get("name").and_then(Json::as_str).filter(|name| !name.is_empty()) {
        Some(name) => format!("constraint {name} "),
        None => String::new(),
    };
    let columns = names(fields, "columns").join(", ");
    let spaced = if given { format!(" {expression}") } else { String::new() };
    Ok(match kind {
        "check" => given.then(|| format!("{name}check ({expression})")),
        "unique" => Some(format!("{name}unique{spaced} ({columns})")),
        "primary_key" => Some(format!("{name}primary key{spaced} ({columns})")),
        "foreign_key" => {
            let other = referenced(fields).or_else(|| given.then(|| expression.clone()));
            other.map(|other| format!("{name}foreign key ({columns}) references {other}"))
        }
        "custom" => given.then(|| format!("{name}{expression}")),
        // As in dbt: NULLs are refused by columns.
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What dbt's base adapter writes (`render_column_constraint`, `render_model_constraint`).
    #[test]
    fn constraints_are_written_as_dbt_writes_them() {
        let columns = [
            (json!({"type": "check", "expression": "id > 0"}), Some("check (id > 0)")),
            (json!({"type": "check"}), None),
            (json!({"type": "not_null"}), Some("not null")),
            (
                json!({"type": "unique", "expression": "nulls distinct"}),
                Some("unique nulls distinct"),
            ),
            (json!({"type": "primary_key"}), Some("primary key")),
            (
                json!({"type": "foreign_key", "to": "main.t", "to_columns": ["a", "b"]}),
                Some("references main.t (a, b)"),
            ),
            (json!({"type": "foreign_key", "expression": "t (a)"}), Some("references t (a)")),
            (json!({"type": "custom", "expression": "tag x"}), Some("tag x")),
        ];
        for (constraint, expected) in columns {
            assert_eq!(of_column(&constraint).unwrap().as_deref(), expected, "{constraint}");
        }
        let tables = [
            (
                json!({"type": "check", "name": "positive", "expression": "id > 0"}),
                Some("constraint positive check (id > 0)"),
            ),
            (json!({"type": "unique", "columns": ["a", "b"]}), Some("unique (a, b)")),
            (json!({"type": "primary_key", "columns": ["a"]}), Some("primary key (a)")),
            (
                json!({"type": "foreign_key", "columns": ["a"], "to": "t", "to_columns": ["x"]}),
                Some("foreign key (a) references t (x)"),
            ),
            (json!({"type": "not_null", "columns": ["a"]}), None),
        ];
        for (constraint, expected) in tables {
            assert_eq!(of_table(&constraint).unwrap().as_deref(), expected, "{constraint}");
        }
        assert!(of_column(&json!({"type": "notnull"})).is_err());
    }
}
