//! The primary key of a model, as dbt infers it for its manifest.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifest::{Manifest, Node, TestKind};

/// The columns, in order: those of a primary key constraint; else those with tests for both
/// uniqueness and NULL; else those with a test for uniqueness, the enabled ones first.
pub(crate) fn of(manifest: &Manifest, node: &Node) -> Vec<String> {
    if let Some(key) = of_constraints(node) {
        return key;
    }
    let mut unique = [BTreeSet::new(), BTreeSet::new()];
    let mut not_null = BTreeSet::new();
    let disabled = manifest.disabled.iter().chain(&manifest.idle).map(|test| (test, false));
    let tests = manifest.tests_of(&node.unique_id).map(|test| (test, true)).chain(disabled);
    for (test, enabled) in tests {
        let Some(TestKind::Generic(generic)) = test.test.as_ref().map(|test| &test.kind) else {
            continue;
        };
        if generic.attached.as_ref() != Some(&node.unique_id) {
            continue;
        }
        let columns: Vec<String> =
            match (&generic.column, generic.arguments.get("combination_of_columns")) {
                (Some(column), _) => vec![column.clone()],
                (None, Some(Value::Array(columns))) => {
                    columns.iter().filter_map(|column| column.as_str().map(str::to_owned)).collect()
                }
                _ => continue,
            };
        match generic.name.as_str() {
            "unique" | "unique_combination_of_columns" => {
                unique[usize::from(!enabled)].extend(columns);
            }
            "not_null" => not_null.extend(columns),
            _ => {}
        }
    }
    let [enabled, disabled] = unique;
    let both: Vec<String> = not_null
        .into_iter()
        .filter(|column| enabled.contains(column) || disabled.contains(column))
        .collect();
    match (both.is_empty(), enabled.is_empty()) {
        (false, _) => both,
        (true, false) => enabled.into_iter().collect(),
        (true, true) => disabled.into_iter().collect(),
    }
}

fn of_constraints(node: &Node) -> Option<Vec<String>> {
    let is_key =
        |constraint: &Value| constraint.get("type").and_then(Value::as_str) == Some("primary_key");
    if let Some(constraint) = node.constraints.iter().find(|constraint| is_key(constraint)) {
        let columns = constraint.get("columns").and_then(Value::as_array);
        let mut names: Vec<String> = columns
            .into_iter()
            .flatten()
            .filter_map(|column| column.as_str().map(str::to_owned))
            .collect();
        names.sort();
        return Some(names);
    }
    let column = node.columns.values().find(|column| column.constraints.iter().any(is_key))?;
    Some(vec![column.name.clone()])
}
