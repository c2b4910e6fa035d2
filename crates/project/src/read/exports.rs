//! `exports.yml`: models that go out to other systems. Our own file: unknown keys are refused.

use std::path::Path;

use serde_json::{Map, Value};
use tidemill_core::{Diagnostic, Diagnostics, SourcePosition};
use tidemill_jinja::{Host, Options};

use super::{Unknown, check_keys, read_file, read_mapping, text_of, texts_of, wrong_shape};
use crate::manifest::Export;
use crate::yaml::Yaml;
use crate::yaml::render::render_tree;

const FILE_NAME: &str = "exports.yml";

/// The keys of an export.
const KEYS: [&str; 9] = [
    "name",
    "description",
    "from",
    "to",
    "mode",
    "primary_key",
    "deletes",
    "schema_contract",
    "enabled",
];

/// The keys of its `to`; the kind of system says which of them it takes.
const TO_KEYS: [&str; 24] = [
    "connection",
    "table",
    "path",
    "topic",
    "subject",
    "exchange",
    "queue",
    "stream",
    "routing_key",
    "key",
    "headers",
    "field",
    "retain",
    "qos",
    "order_by",
    "format",
    "compression",
    "delimiter",
    "header",
    "null",
    "partition_by",
    "max_rows",
    "sheet",
    "inexact",
];

/// An export as it is written.
#[derive(Debug, Clone)]
pub(crate) struct ExportDef {
    pub(crate) name: String,
    /// `ref('model')`
    pub(crate) from: String,
    /// None for files of this machine.
    pub(crate) connection: Option<String>,
    /// The other keys of `to`.
    pub(crate) to: Map<String, Value>,
    pub(crate) mode: String,
    pub(crate) primary_key: Vec<String>,
    pub(crate) deletes: bool,
    /// Whether a column that the table over there does not have is added to it.
    pub(crate) adds_columns: bool,
    pub(crate) position: SourcePosition,
}

/// Reads the file of a project, if there is one.
pub(crate) fn read(
    project_dir: &Path,
    host: &dyn Host,
    diagnostics: &mut Diagnostics,
) -> Vec<ExportDef> {
    let mut exports: Vec<ExportDef> = Vec::new();
    let path = project_dir.join(FILE_NAME);
    if !path.is_file() {
        return exports;
    }
    let file = match read_file(&path, Path::new(FILE_NAME)) {
        Ok(file) => file,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            return exports;
        }
    };
    let Some(root) = read_mapping(&file, diagnostics) else { return exports };
    check_keys(&root, FILE_NAME, &["version", "exports"], Unknown::Refuse, &file, diagnostics);
    let Some(list) = root.get("exports").filter(|list| !list.is_null()) else { return exports };
    if list.items().is_empty() {
        wrong_shape(list, "`exports` must be a list", &file, diagnostics);
    }
    for item in list.items() {
        let position = item.position(&file);
        // What is rendered has to be values; `ref` is looked at later.
        let rendered = render_tree(
            item,
            &file,
            host,
            &Options::default(),
            &|path| path.first() == Some(&"from"),
            diagnostics,
        );
        check_keys(&rendered, "an export", &KEYS, Unknown::Refuse, &file, diagnostics);
        let mut text = |yaml: &Yaml, key: &str| text_of(yaml, key, "an export", &file, diagnostics);
        let from = text(item, "from");
        let named = text(&rendered, "name");
        let mode = text(&rendered, "mode").unwrap_or_else(|| "full".to_owned());
        let to = rendered.get("to");
        let connection = to.filter(|to| to.get("connection").is_some());
        let connection = connection.and_then(|to| text(to, "connection"));
        if let Some(to) = to {
            check_keys(to, "`to` of an export", &TO_KEYS, Unknown::Refuse, &file, diagnostics);
        }
        let Value::Object(mut to) = to.map(Yaml::to_json).unwrap_or_default() else {
            diagnostics.push(incomplete(position));
            continue;
        };
        to.remove("connection");
        let place = Export::place(&to).map(str::to_owned);
        let (Some(from), Some(place)) = (from, place) else {
            diagnostics.push(incomplete(position));
            continue;
        };
        let primary_key =
            texts_of(&rendered, "primary_key", "an export", &file, diagnostics).unwrap_or_default();
        let deletes = rendered.get("deletes").and_then(|value| value.to_json().as_bool());
        let wrong = match mode.as_str() {
            "merge" if primary_key.is_empty() => Some(
                "`mode: merge` needs a `primary_key`: the columns that tell rows apart".to_owned(),
            ),
            "full" if !primary_key.is_empty() => {
                Some("`primary_key` is for `mode: append` and `merge`".to_owned())
            }
            "full" | "append" if deletes == Some(true) => {
                Some("`deletes` is for `mode: merge`".to_owned())
            }
            "full" | "append" | "merge" => None,
            "upsert" => Some("`mode: upsert` is called `merge` here".to_owned()),
            other => Some(format!("`mode: {other}` is not known; use full, append or merge")),
        };
        let contract = rendered.get("schema_contract").map(Yaml::to_json).unwrap_or_default();
        let (adds_columns, wrong) = match (wrong, adds_columns(&contract, to.contains_key("table")))
        {
            (None, Ok(adds_columns)) => (adds_columns, None),
            (wrong, contract) => (false, wrong.or(contract.err())),
        };
        if let Some(wrong) = wrong {
            diagnostics.push(Diagnostic::error("export", wrong).at(position));
            continue;
        }
        if rendered.get("enabled").and_then(|value| value.to_json().as_bool()) == Some(false) {
            continue;
        }
        let name = named.unwrap_or_else(|| match &connection {
            Some(connection) => format!("{connection}.{place}"),
            None => place.clone(),
        });
        let deletes = deletes.unwrap_or(false);
        let def = ExportDef {
            name,
            from,
            connection,
            to,
            mode,
            primary_key,
            deletes,
            adds_columns,
            position,
        };
        match exports.iter().find_map(|other| clash(other, &def)) {
            Some(diagnostic) => diagnostics.push(diagnostic),
            None => exports.push(def),
        }
    }
    exports
}

/// What `schema_contract` says of columns that the table over there does not have: whether they are added.
fn adds_columns(written: &Value, has_table: bool) -> Result<bool, String> {
    let policy = match written {
        Value::Null => return Ok(false),
        _ if !has_table => {
            return Err("`schema_contract` of an export is about columns of a `table`".to_owned());
        }
        Value::String(policy) if policy == "evolve" => {
            return Err("an export changes no type of a column that is there, so that `schema_contract: evolve` cannot be \
                        held; write `schema_contract: {columns: evolve}`"
                .to_owned());
        }
        Value::String(policy) => policy.as_str(),
        Value::Object(parts)
            if parts.keys().all(|key| key == "columns" || key == "types")
                && parts.get("types").is_none_or(|types| types == "freeze") =>
        {
            parts.get("columns").map_or(Some("freeze"), Value::as_str).unwrap_or_default()
        }
        _ => "",
    };
    match policy {
        "evolve" => Ok(true),
        "freeze" => Ok(false),
        _ => Err("`schema_contract` of an export is `freeze` (the default) or `{columns: evolve}`, which adds columns"
            .to_owned()),
    }
}

fn incomplete(position: SourcePosition) -> Diagnostic {
    let message = "an export needs `from` and `to`, with a `table`, a `path`, or a place of a queue (`topic`, `subject`, …)";
    Diagnostic::error("export", message)
        .at(position)
        .hint("from: ref('customers')\n    to: {connection: crm, table: customers}")
}

/// Whether the place has rows, and not messages.
fn has_rows(to: &Map<String, Value>) -> bool {
    ["table", "path"].iter().any(|key| to.contains_key(*key))
}

/// What is wrong with an export beside another one.
fn clash(other: &ExportDef, def: &ExportDef) -> Option<Diagnostic> {
    if other.name == def.name {
        let message = format!("there are two exports `{}`", def.name);
        let diagnostic = Diagnostic::error("export", message).at(def.position.clone());
        return Some(diagnostic.hint("give one a `name` of its own"));
    }
    let place = |def: &ExportDef| {
        let keys = Export::PLACES.map(|key| def.to.get(key).cloned());
        (def.connection.clone(), keys)
    };
    // In a queue they only add to what is there.
    let replaces = |def: &ExportDef| def.mode == "full" && has_rows(&def.to);
    let alone = |def: &ExportDef| replaces(def) || def.deletes;
    if place(other) != place(def) || !(alone(other) || alone(def)) {
        return None;
    }
    let message = format!(
        "the exports `{}` and `{}` go to the same place, and one would take out what the other brought",
        other.name, def.name
    );
    let diagnostic = Diagnostic::error("export", message).at(def.position.clone());
    Some(diagnostic.hint("bring the rows together in a model"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_added_where_that_is_said() {
        for (written, adds) in [
            (Value::Null, false),
            (json!("freeze"), false),
            (json!({"columns": "freeze"}), false),
            (json!({"columns": "evolve"}), true),
            (json!({"columns": "evolve", "types": "freeze"}), true),
            (json!({"types": "freeze"}), false),
        ] {
            assert_eq!(adds_columns(&written, true), Ok(adds), "{written}");
        }
        for (written, has_table, says) in [
            (json!("evolve"), true, "{columns: evolve}"),
            (json!("discard"), true, "is `freeze`"),
            (json!({"columns": "evolve", "types": "evolve"}), true, "is `freeze`"),
            (json!({"rows": "evolve"}), true, "is `freeze`"),
            (json!({"columns": "evolve"}), false, "of a `table`"),
        ] {
            let wrong = adds_columns(&written, has_table).unwrap_err();
            assert!(wrong.contains(says), "{written}: {wrong}");
        }
    }
}
