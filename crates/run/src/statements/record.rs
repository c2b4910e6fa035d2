//! What is recorded beside rows: descriptions of a view's columns, and who may do what.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_core::arrow_schema::{Schema, SchemaRef};
use tidemill_core::{PublishedRelation, SchemaChange};

/// Whether nothing but descriptions changes.
pub(super) fn only_comments(changes: &[SchemaChange]) -> bool {
    changes.iter().all(|change| matches!(change, SchemaChange::Comment { .. }))
}

/// The columns of a view with the descriptions of its node.
pub(crate) fn commented(schema: &SchemaRef, comments: &[(String, String)]) -> SchemaRef {
    let changes: Vec<SchemaChange> = schema
        .fields()
        .iter()
        .filter_map(|field| {
            let (_, text) =
                comments.iter().find(|(name, _)| name.eq_ignore_ascii_case(field.name()))?;
            let column = Some(field.name().clone());
            Some(SchemaChange::Comment { column, text: Some(text.clone()) })
        })
        .collect();
    described(schema, &changes)
}

/// A record with the description that a relation itself is given; `None` where it is given none.
pub(super) fn described_whole(
    record: Option<&serde_json::Value>,
    changes: &[SchemaChange],
) -> Option<serde_json::Value> {
    let text = changes.iter().rev().find_map(|change| match change {
        SchemaChange::Comment { column: None, text } => Some(text),
        _ => None,
    })?;
    let mut record = record.and_then(serde_json::Value::as_object).cloned().unwrap_or_default();
    match text {
        Some(text) => record.insert(PublishedRelation::DESCRIPTION.to_owned(), text.clone().into()),
        None => record.remove(PublishedRelation::DESCRIPTION),
    };
    Some(record.into())
}

/// The columns of a view with other descriptions.
pub(super) fn described(schema: &SchemaRef, changes: &[SchemaChange]) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut metadata = field.metadata().clone();
            for change in changes {
                if let SchemaChange::Comment { column: Some(column), text } = change
                    && column == field.name()
                {
                    match text {
                        Some(text) => metadata.insert("comment".to_owned(), text.clone()),
                        None => metadata.remove("comment"),
                    };
                }
            }
            (**field).clone().with_metadata(metadata)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A record with privileges given or taken: `{"grants": {"select": ["bi"]}}` beside whatever else
/// it holds.
pub(super) fn granted(
    record: Option<serde_json::Value>,
    revoke: bool,
    privileges: &[String],
    grantees: &[String],
) -> serde_json::Value {
    use serde_json::{Map, Value};
    let mut record = match record {
        Some(Value::Object(record)) => record,
        _ => Map::new(),
    };
    let mut grants = match record.remove("grants") {
        Some(Value::Object(grants)) => grants,
        _ => Map::new(),
    };
    let known: Vec<String> = if revoke && privileges.iter().any(|privilege| privilege == "all") {
        grants.keys().cloned().collect()
    } else {
        privileges.to_vec()
    };
    for privilege in known {
        let mut names: BTreeSet<String> = grants
            .get(&privilege)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        for grantee in grantees {
            if revoke {
                names.remove(grantee);
            } else {
                names.insert(grantee.clone());
            }
        }
        if names.is_empty() {
            grants.remove(&privilege);
        } else {
            grants.insert(privilege, names.into_iter().collect());
        }
    }
    if !grants.is_empty() {
        record.insert("grants".to_owned(), Value::Object(grants));
    }
    Value::Object(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_added_and_taken_beside_the_rest_of_the_record() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let record = Some(serde_json::json!({"format": 1}));
        let record = granted(record, false, &names(&["select"]), &names(&["bi", "ops"]));
        assert_eq!(record, serde_json::json!({"format": 1, "grants": {"select": ["bi", "ops"]}}));
        let record = granted(Some(record), true, &names(&["all"]), &names(&["ops"]));
        assert_eq!(record, serde_json::json!({"format": 1, "grants": {"select": ["bi"]}}));
        let record = granted(Some(record), true, &names(&["select"]), &names(&["bi"]));
        assert_eq!(record, serde_json::json!({"format": 1}));
    }
}
