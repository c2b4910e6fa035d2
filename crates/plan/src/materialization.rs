//! How a model's rows reach its relation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, NullKeys, Result};
use tidemill_project::{
    MicrobatchConfig, SnapshotConfig, SnapshotStrategy, unknown_materialization,
};

/// What a model asks for, as its configuration has it.
#[derive(Debug, Clone, Default)]
pub struct MaterializationConfig {
    /// `view`, `table`, `incremental`, `materialized_view`, `ephemeral`, `seed`, `snapshot`.
    pub materialized: String,
    /// `append`, `merge`, `delete+insert`, `insert_overwrite`; `None` is dbt's default.
    pub strategy: Option<String>,
    /// Key columns.
    pub unique_key: Vec<String>,
    /// Columns that Delta partitions by.
    pub partition_by: Vec<String>,
    /// Only these columns of matching rows are updated by a merge.
    pub merge_update_columns: Vec<String>,
    /// All but these columns of matching rows are updated by a merge.
    pub merge_exclude_columns: Vec<String>,
    /// Further conditions on the rows of the table that an increment may touch.
    pub predicates: Vec<String>,
    /// What a merge does besides.
    pub merge: MergeExtras,
    /// `apply`, `continue` or `fail`: when a materialized view is configured otherwise than before.
    pub on_configuration_change: OnConfigurationChange,
    /// `ignore`, `append_new_columns`, `sync_all_columns`, `fail`.
    pub on_schema_change: Option<String>,
    /// `insert` or `fail`: rows of an increment with a NULL in their key; `None` is `insert`.
    pub null_keys: Option<String>,
    /// The batches of a microbatch model.
    pub microbatch: Option<Box<MicrobatchConfig>>,
    /// How a snapshot is kept.
    pub snapshot: Option<Box<SnapshotConfig>>,
    /// The macro of the snapshot's strategy, by its id.
    pub snapshot_macro: Option<String>,
    /// The materialization is written in Jinja.
    pub custom: bool,
    /// Its rows come from a program (a Python model), not from a query.
    pub program: bool,
    /// The macro of the incremental strategy, when the project has one of its own.
    pub strategy_macro: Option<String>,
}

/// Settings of a merge that dbt's DuckDB adapter has, in SQL over `DBT_INTERNAL_SOURCE` and
/// `DBT_INTERNAL_DEST`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeExtras {
    /// Only rows for which this holds are updated; others stay as they are.
    pub update_condition: Option<String>,
    /// Only new rows for which this holds are added.
    pub insert_condition: Option<String>,
    /// Columns that get the value of an expression.
    pub update_set: BTreeMap<String, String>,
}

impl MergeExtras {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.update_condition.is_some()
            || self.insert_condition.is_some()
            || !self.update_set.is_empty()
    }
}

/// What happens when a materialized view is configured otherwise than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConfigurationChange {
    /// It is built with the new configuration.
    #[default]
    Apply,
    /// It stays as it is, with a warning.
    Continue,
    /// It is an error.
    Fail,
}

/// How a model is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WritePlan {
    /// Its query is published as a view.
    View,
    /// Its rows become the whole table.
    Replace,
    /// Its rows are added to, or replace some of, what is there.
    Increment(Increment),
    /// What has changed in its rows is added to their history.
    Snapshot(Box<SnapshotConfig>),
    /// A macro of the project does it (`{% materialization … %}`).
    Macro,
}

/// How the rows of an incremental model meet the rows that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Increment {
    /// They are added.
    Append,
    /// Rows with the same key are updated, others added.
    Merge {
        /// The key.
        key: Vec<String>,
        /// Columns that are updated; `None` for all.
        update: Option<Vec<String>>,
        /// Columns that are not updated.
        exclude: Vec<String>,
        /// What happens to rows with a NULL in their key.
        null_keys: NullKeys,
    },
    /// Rows whose key occurs among the new ones are deleted first.
    DeleteInsert {
        /// The key.
        key: Vec<String>,
        /// What happens to rows with a NULL in their key.
        null_keys: NullKeys,
    },
    /// Rows whose time lies in these spans are replaced.
    ReplaceRanges {
        /// The column with the time.
        column: String,
        /// From and to (not included), in microseconds since 1970.
        ranges: Vec<(i64, i64)>,
    },
    /// A macro of the project says how (`get_incremental_NAME_sql`).
    Macro {
        /// Its name.
        name: String,
    },
    /// Partitions that occur among the new rows are replaced.
    ReplacePartitions {
        /// The partition's columns.
        columns: Vec<String>,
    },
}

/// What happens when an incremental model's columns are not those of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaChange {
    /// New columns are left out; a missing one is an error.
    #[default]
    Ignore,
    /// New columns are added; columns that are gone stay, with NULL in new rows.
    AppendNewColumns,
    /// New columns are added and columns that are gone are removed.
    SyncAllColumns,
    /// Any difference is an error.
    Fail,
}

impl MaterializationConfig {
    /// Whether a run keeps what its table has and works on that.
    pub fn keeps_history(&self) -> bool {
        matches!(self.materialized.as_str(), "incremental" | "snapshot")
    }

    /// How to write, given whether the relation is there as a table and whether to start again.
    ///
    /// # Errors
    /// `Config` when the configuration contradicts itself or names what does not exist.
    pub fn write_plan(&self, table_exists: bool, full_refresh: bool) -> Result<WritePlan> {
        if self.custom {
            return Ok(WritePlan::Macro);
        }
        match self.materialized.as_str() {
            "view" | "materialized_view" if self.program => Err(Error::new(
                ErrorKind::Config,
                format!("a Python model cannot be materialized as `{}`", self.materialized),
            )
            .with("hint", "use table or incremental")),
            "view" => Ok(WritePlan::View),
            "table" | "materialized_view" => Ok(WritePlan::Replace),
            "snapshot" => match &self.snapshot {
                Some(config)
                    if self.snapshot_macro.is_none()
                        && let SnapshotStrategy::Macro { name } = &config.strategy =>
                {
                    let (package, name) = name.split_once('.').unwrap_or(("", name));
                    let place = match package {
                        "" => String::new(),
                        package => format!(" in the package `{package}`"),
                    };
                    Err(Error::new(
                        ErrorKind::Config,
                        format!("the snapshot strategy `{name}` is not known"),
                    )
                    .with(
                        "hint",
                        format!(
                            "use `timestamp` or `check`, or write a macro `snapshot_{name}_strategy`{place}"
                        ),
                    ))
                }
                Some(config) => Ok(WritePlan::Snapshot(config.clone())),
                None => Err(Error::new(ErrorKind::Internal, "a snapshot without its settings")),
            },
            "incremental" => {
                self.on_schema_change()?;
                // As in dbt, a strategy is looked for when it is needed.
                match table_exists && !full_refresh {
                    true => Ok(WritePlan::Increment(self.increment()?)),
                    false => Ok(WritePlan::Replace),
                }
            }
            other => {
                let (message, hint) = unknown_materialization(other);
                Err(Error::new(ErrorKind::Config, message).with("hint", hint))
            }
        }
    }

    /// What to do when the columns differ.
    ///
    /// # Errors
    /// `Config` for a word that dbt does not know.
    pub fn on_schema_change(&self) -> Result<OnSchemaChange> {
        match self.on_schema_change.as_deref() {
            None | Some("ignore") => Ok(OnSchemaChange::Ignore),
            Some("append_new_columns") => Ok(OnSchemaChange::AppendNewColumns),
            Some("sync_all_columns") => Ok(OnSchemaChange::SyncAllColumns),
            Some("fail") => Ok(OnSchemaChange::Fail),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`on_schema_change: {other}` is not known; use ignore, append_new_columns, sync_all_columns or fail"
                ),
            )),
        }
    }

    /// As in dbt, rows with a NULL key are added in every run; they are counted and told, and a model
    /// may refuse them.
    fn null_keys(&self) -> Result<NullKeys> {
        match self.null_keys.as_deref() {
            None | Some("insert") => Ok(NullKeys::Insert),
            Some("fail") => Ok(NullKeys::Fail),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!("`meta.null_keys: {other}` is not known; use insert or fail"),
            )),
        }
    }

    /// How the rows of a microbatch model's batches meet its table: they take the place of the rows of
    /// their time, or, with a `unique_key`, of those with the same key, as dbt has it in PostgreSQL.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Config`] when the key is to change some columns only.
    pub fn of_batches(&self, event_time: &str, spans: Vec<(i64, i64)>) -> Result<Increment> {
        if self.unique_key.is_empty() {
            return Ok(Increment::ReplaceRanges { column: event_time.to_owned(), ranges: spans });
        }
        if !self.merge_update_columns.is_empty()
            || !self.merge_exclude_columns.is_empty()
            || self.merge.any()
        {
            return Err(Error::new(
                ErrorKind::Config,
                "a microbatch model with a `unique_key` replaces whole rows: leave out the settings \
                 `merge_…`, or use `incremental_strategy: merge`",
            ));
        }
        Ok(Increment::Merge {
            key: self.unique_key.clone(),
            update: None,
            exclude: Vec::new(),
            null_keys: self.null_keys()?,
        })
    }

    fn increment(&self) -> Result<Increment> {
        if let Some(name) = &self.strategy_macro {
            return Ok(Increment::Macro { name: name.clone() });
        }
        match self.strategy.as_deref() {
            // dbt's default, as its PostgreSQL and DuckDB adapters have it.
            None | Some("default") if self.unique_key.is_empty() => Ok(Increment::Append),
            None | Some("default") => Ok(Increment::DeleteInsert {
                key: self.unique_key.clone(),
                null_keys: self.null_keys()?,
            }),
            Some("append") => Ok(Increment::Append),
            // Without a key, dbt's statements add every row.
            Some("merge" | "delete+insert") if self.unique_key.is_empty() => Ok(Increment::Append),
            Some("merge") => {
                if !self.merge_update_columns.is_empty() && !self.merge_exclude_columns.is_empty() {
                    return Err(Error::new(
                        ErrorKind::Config,
                        "`merge_update_columns` and `merge_exclude_columns` cannot be given together",
                    ));
                }
                Ok(Increment::Merge {
                    key: self.unique_key.clone(),
                    update: (!self.merge_update_columns.is_empty())
                        .then(|| self.merge_update_columns.clone()),
                    exclude: self.merge_exclude_columns.clone(),
                    null_keys: self.null_keys()?,
                })
            }
            Some("delete+insert") => Ok(Increment::DeleteInsert {
                key: self.unique_key.clone(),
                null_keys: self.null_keys()?,
            }),
            Some("microbatch") => {
                Err(Error::new(ErrorKind::Internal, "a microbatch model without its settings"))
            }
            Some("insert_overwrite") => {
                if self.partition_by.is_empty() {
                    return Err(Error::new(
                        ErrorKind::Config,
                        "`incremental_strategy: insert_overwrite` needs `partition_by`",
                    ));
                }
                Ok(Increment::ReplacePartitions { columns: self.partition_by.clone() })
            }
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "`incremental_strategy: {other}` is not supported; use append, merge, delete+insert, insert_overwrite or microbatch"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(strategy: Option<&str>, key: &[&str]) -> MaterializationConfig {
        MaterializationConfig {
            materialized: "incremental".to_owned(),
            strategy: strategy.map(str::to_owned),
            unique_key: key.iter().map(|key| (*key).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_strategy_follows_dbt() {
        let key = vec!["id".to_owned()];
        let cases = [
            (config(None, &[]), Ok(Increment::Append)),
            (
                config(None, &["id"]),
                Ok(Increment::DeleteInsert { key: key.clone(), null_keys: NullKeys::Insert }),
            ),
            (
                config(Some("merge"), &["id"]),
                Ok(Increment::Merge {
                    key: key.clone(),
                    update: None,
                    exclude: vec![],
                    null_keys: NullKeys::Insert,
                }),
            ),
            (
                MaterializationConfig {
                    null_keys: Some("fail".to_owned()),
                    ..config(Some("delete+insert"), &["id"])
                },
                Ok(Increment::DeleteInsert { key, null_keys: NullKeys::Fail }),
            ),
            (
                MaterializationConfig {
                    null_keys: Some("ignore".to_owned()),
                    ..config(Some("merge"), &["id"])
                },
                Err("use insert or fail"),
            ),
            (config(Some("delete+insert"), &[]), Ok(Increment::Append)),
            (config(Some("insert_overwrite"), &[]), Err("needs `partition_by`")),
            (config(Some("microbatch"), &[]), Err("without its settings")),
            (config(Some("mine"), &[]), Err("is not supported")),
        ];
        for (config, expected) in cases {
            match (config.write_plan(true, false), expected) {
                (Ok(WritePlan::Increment(found)), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, expected) => panic!("{found:?} is not {expected:?}"),
            }
        }
    }

    #[test]
    fn the_first_build_and_a_full_refresh_replace() {
        let config = config(None, &["id"]);
        for (exists, full_refresh) in [(false, false), (true, true)] {
            assert_eq!(config.write_plan(exists, full_refresh).unwrap(), WritePlan::Replace);
        }
    }
}
