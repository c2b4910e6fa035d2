//! What a snapshot asks for, read from its merged configuration.

use serde_json::{Map, Value};

use crate::config::ConfigProblem;

/// How a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// How a change is seen.
    pub strategy: SnapshotStrategy,
    /// The key: names of columns, or SQL expressions over them.
    pub unique_key: Vec<String>,
    /// What happens when a row is gone from the source.
    pub hard_deletes: HardDeletes,
    /// The SQL expression that stands in `dbt_valid_to` of rows that hold still, instead of NULL.
    pub valid_to_current: Option<String>,
    /// The names of the columns that the snapshot adds.
    pub columns: SnapshotColumns,
}

/// How a change is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotStrategy {
    /// A row has changed when its time is later than the one that is known.
    Timestamp {
        /// The column (or SQL expression) with the time.
        updated_at: String,
    },
    /// A row has changed when one of these columns has.
    Check {
        /// The columns; `None`: all of the query.
        columns: Option<Vec<String>>,
        /// The SQL expression of the time of a change; `None`: the time of the run.
        updated_at: Option<String>,
    },
    /// A macro of the project says how (`snapshot_NAME_strategy`).
    Macro {
        /// The name that the configuration has, which may begin with a package: `mine`, `pack.mine`.
        name: String,
    },
    /// What a macro said.
    Expressions(SnapshotExpressions),
}

/// A snapshot strategy as SQL expressions, as macros of strategies give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotExpressions {
    /// The time of a row of the source, over the columns of the query.
    pub updated_at: String,
    /// Whether the row of the source, `source_data`, differs from the one that is kept,
    /// `snapshotted_data`.
    pub row_changed: String,
    /// The id of a state of a row, over the columns of the query.
    pub scd_id: String,
    /// The time of the run.
    pub now: String,
    /// The id of a row that stands for a deletion, over the columns of the snapshot.
    pub deletion_id: String,
}

/// What happens when a row is gone from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HardDeletes {
    /// Nothing.
    #[default]
    Ignore,
    /// It ends.
    Invalidate,
    /// It ends, and a row is added that says that it is deleted.
    NewRecord,
}

/// The names of the columns that a snapshot adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotColumns {
    /// From when a row held.
    pub valid_from: String,
    /// Until when it held.
    pub valid_to: String,
    /// The id of this state of the row.
    pub scd_id: String,
    /// The time of the source's row.
    pub updated_at: String,
    /// `True` in rows that stand for a deletion.
    pub is_deleted: String,
}

impl Default for SnapshotColumns {
    fn default() -> Self {
        SnapshotColumns {
            valid_from: "dbt_valid_from".to_owned(),
            valid_to: "dbt_valid_to".to_owned(),
            scd_id: "dbt_scd_id".to_owned(),
            updated_at: "dbt_updated_at".to_owned(),
            is_deleted: "dbt_is_deleted".to_owned(),
        }
    }
}

/// Reads a snapshot's configuration; `None` when something it needs is missing or wrong, which the
/// problems tell.
pub(crate) fn read(
    all: &Map<String, Value>,
    unique_key: &[String],
    problems: &mut Vec<ConfigProblem>,
) -> Option<SnapshotConfig> {
    let before = problems.len();
    let mut wrong = |key: &str, message: String, hint: Option<&str>| {
        problems.push(ConfigProblem {
            key: key.to_owned(),
            message,
            hint: hint.map(str::to_owned),
            is_error: true,
        });
    };
    let given = |key: &str| all.get(key).filter(|value| !value.is_null());
    let text = |key: &str| {
        given(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    if text("materialized").is_some_and(|materialized| materialized != "snapshot") {
        wrong(
            "materialized",
            "a snapshot's `materialized` is `snapshot`".to_owned(),
            Some("take the setting out"),
        );
    }
    // A macro may know the key by itself.
    let by_macro = text("strategy").is_some_and(|name| name != "timestamp" && name != "check");
    if unique_key.is_empty() && given("unique_key").is_none() && !by_macro {
        wrong(
            "unique_key",
            "a snapshot needs `unique_key`".to_owned(),
            Some("write the column, or the list of columns, that tells its rows apart"),
        );
    }
    let updated_at = text("updated_at");
    let strategy = match text("strategy").as_deref() {
        Some("timestamp") => {
            if given("check_cols").is_some() {
                wrong(
                    "check_cols",
                    "`check_cols` belongs to the strategy `check`, and this one is `timestamp`"
                        .to_owned(),
                    Some("take `check_cols` out, or write `strategy: check`"),
                );
            }
            if updated_at.is_none() {
                wrong(
                    "strategy",
                    "the strategy `timestamp` needs `updated_at`".to_owned(),
                    Some("name the column with the time of a row's last change"),
                );
            }
            updated_at.map(|updated_at| SnapshotStrategy::Timestamp { updated_at })
        }
        Some("check") => {
            let columns = match given("check_cols") {
                Some(Value::String(text)) if text == "all" => Some(None),
                Some(Value::Array(items)) if !items.is_empty() => {
                    let names: Option<Vec<String>> =
                        items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                    names.map(Some)
                }
                _ => None,
            };
            if columns.is_none() {
                wrong(
                    "check_cols",
                    "the strategy `check` needs `check_cols`: `all` or a list of columns"
                        .to_owned(),
                    None,
                );
            }
            columns.map(|columns| SnapshotStrategy::Check { columns, updated_at })
        }
        // Whether there is such a macro is known when the project is read.
        Some(other) => Some(SnapshotStrategy::Macro { name: other.to_owned() }),
        None => {
            wrong(
                "strategy",
                "a snapshot needs `strategy`".to_owned(),
                Some("use `timestamp`, `check` or a macro `snapshot_NAME_strategy`"),
            );
            None
        }
    };
    let invalidates = match given("invalidate_hard_deletes") {
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::String(text)) => Some(text.eq_ignore_ascii_case("true")),
        _ => None,
    };
    let hard_deletes = text("hard_deletes");
    if invalidates.is_some() && hard_deletes.is_some() {
        wrong(
            "hard_deletes",
            "`hard_deletes` and `invalidate_hard_deletes` cannot be set together".to_owned(),
            Some("keep `hard_deletes`"),
        );
    }
    let hard_deletes = match (hard_deletes.as_deref(), invalidates) {
        (Some("invalidate"), _) | (None, Some(true)) => HardDeletes::Invalidate,
        (Some("new_record"), _) => HardDeletes::NewRecord,
        (None | Some("ignore"), _) => HardDeletes::Ignore,
        (Some(other), _) => {
            wrong(
                "hard_deletes",
                format!("`hard_deletes: {other}` is not known"),
                Some("use `ignore`, `invalidate` or `new_record`"),
            );
            HardDeletes::Ignore
        }
    };
    let mut columns = SnapshotColumns::default();
    match given("snapshot_meta_column_names") {
        None => {}
        Some(Value::Object(names)) => {
            for (key, name) in names {
                let place = match key.as_str() {
                    "dbt_valid_from" => &mut columns.valid_from,
                    "dbt_valid_to" => &mut columns.valid_to,
                    "dbt_scd_id" => &mut columns.scd_id,
                    "dbt_updated_at" => &mut columns.updated_at,
                    "dbt_is_deleted" => &mut columns.is_deleted,
                    other => {
                        wrong(
                            "snapshot_meta_column_names",
                            format!("a snapshot has no column `{other}` to name"),
                            Some(
                                "it has dbt_valid_from, dbt_valid_to, dbt_scd_id, dbt_updated_at and dbt_is_deleted",
                            ),
                        );
                        continue;
                    }
                };
                match name {
                    Value::String(name) if !name.is_empty() => name.clone_into(place),
                    Value::Null => {}
                    other => wrong(
                        "snapshot_meta_column_names",
                        format!("the name of `{key}` must be text, not `{other}`"),
                        None,
                    ),
                }
            }
        }
        Some(other) => wrong(
            "snapshot_meta_column_names",
            format!("`snapshot_meta_column_names` needs a mapping, not `{other}`"),
            None,
        ),
    }
    let valid_to_current = text("dbt_valid_to_current");
    if problems.len() > before {
        return None;
    }
    Some(SnapshotConfig {
        strategy: strategy?,
        unique_key: unique_key.to_vec(),
        hard_deletes,
        valid_to_current,
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(value: Value) -> Vec<String> {
        let key: Vec<String> = value
            .get("unique_key")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .into_iter()
            .collect();
        let Value::Object(all) = value else { panic!("not a mapping") };
        let mut problems = Vec::new();
        let found = read(&all, &key, &mut problems);
        assert_eq!(found.is_none(), !problems.is_empty());
        problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn what_dbt_refuses_is_refused() {
        let cases = [
            (json!({"unique_key": "id", "strategy": "timestamp", "updated_at": "t"}), ""),
            (json!({"unique_key": "id", "strategy": "check", "check_cols": "all"}), ""),
            (json!({"strategy": "check", "check_cols": ["a"]}), "needs `unique_key`"),
            (json!({"unique_key": "id"}), "needs `strategy`"),
            (json!({"unique_key": "id", "strategy": "timestamp"}), "needs `updated_at`"),
            (json!({"unique_key": "id", "strategy": "check"}), "needs `check_cols`"),
            (
                json!({"unique_key": "id", "strategy": "check", "check_cols": "a"}),
                "`all` or a list",
            ),
            (
                json!({"unique_key": "id", "strategy": "timestamp", "updated_at": "t", "check_cols": "all"}),
                "belongs to the strategy `check`",
            ),
            (json!({"unique_key": "id", "strategy": "mine"}), ""),
            (
                json!({"unique_key": "id", "strategy": "check", "check_cols": "all",
                       "hard_deletes": "ignore", "invalidate_hard_deletes": true}),
                "cannot be set together",
            ),
            (
                json!({"unique_key": "id", "strategy": "check", "check_cols": "all", "hard_deletes": "drop"}),
                "`hard_deletes: drop` is not known",
            ),
            (
                json!({"unique_key": "id", "strategy": "check", "check_cols": "all",
                       "snapshot_meta_column_names": {"valid_to": "x"}}),
                "has no column `valid_to`",
            ),
        ];
        for (value, expected) in cases {
            let found = problems(value.clone());
            match expected {
                "" => assert!(found.is_empty(), "{value}: {found:?}"),
                text => assert!(
                    found.len() == 1 && found[0].contains(text),
                    "{value}: {found:?} does not say {text}"
                ),
            }
        }
    }
}
