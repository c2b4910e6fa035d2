//! The settings of a load: what stands under `ingest:` and is not the source's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, ReadScope, Result};

/// How the rows of a load meet what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadMode {
    /// What is new is added. Of files: each exactly once.
    #[default]
    Append,
    /// The whole set replaces the table whenever anything changed.
    Full,
    /// Rows with the same `primary_key` are replaced, others added.
    Merge,
    /// The log of changes of the source is followed: rows are added, replaced and removed as there.
    Cdc,
}

impl LoadMode {
    /// What of the source is read.
    pub fn scope(self) -> ReadScope {
        match self {
            LoadMode::Append => ReadScope::New,
            LoadMode::Full => ReadScope::Whole,
            LoadMode::Merge => ReadScope::Changed,
            LoadMode::Cdc => ReadScope::Log,
        }
    }
}

/// What happens when the source is not as the table is. (dlt's words.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The table follows.
    #[default]
    Evolve,
    /// The load fails, and says what is new.
    Freeze,
    /// What is new is left out: a column with a notice, a value as a rejected row.
    #[serde(alias = "ignore")]
    Discard,
}

/// What happens when the columns of the source are not those of the table. One word says it of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchemaContract {
    /// Columns that the table does not have.
    pub columns: Policy,
    /// Types and values that do not fit the type of the column.
    #[serde(alias = "data_type")]
    pub types: Policy,
}

impl From<Policy> for SchemaContract {
    fn from(policy: Policy) -> Self {
        SchemaContract { columns: policy, types: policy }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenContract {
    Both(Policy),
    Each(SchemaContract),
}

/// How many rows may be rejected before the load fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejects {
    /// So many.
    Count(u64),
    /// So many of a hundred rows that were read.
    Percent(f64),
    /// None, and nobody can allow any: the file is part of the project (a seed).
    Never,
}

impl Default for MaxRejects {
    fn default() -> Self {
        MaxRejects::Count(0)
    }
}

impl std::fmt::Display for MaxRejects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MaxRejects::Count(count) => write!(f, "{count}"),
            MaxRejects::Percent(percent) => write!(f, "{percent}%"),
            MaxRejects::Never => write!(f, "0"),
        }
    }
}

/// How rows are found that were deleted at the source: their keys are compared with those of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletes {
    /// How often. Default: with every load.
    pub every: Option<Duration>,
    /// How many of a hundred rows may go at once; none: all.
    pub limit: Option<f64>,
    /// The column that says that a row was deleted. Default: the row goes.
    pub flag: Option<String>,
}

impl Default for Deletes {
    fn default() -> Self {
        Deletes { every: None, limit: Some(20.0), flag: None }
    }
}

/// The settings of a load.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadSettings {
    /// How rows meet what is there. Default: append.
    pub mode: LoadMode,
    /// The columns that tell rows apart, for [`LoadMode::Merge`] and [`LoadMode::Cdc`].
    pub primary_key: Vec<String>,
    /// Of two new rows with one key the one with the larger value here stays; without it, and
    /// where it is equal, the one that was read later.
    pub cursor: Option<String>,
    /// What happens when columns change.
    pub schema_contract: SchemaContract,
    /// How many rows may be rejected. Default: none.
    pub max_rejects: MaxRejects,
    /// Every change is kept in a table of changes ([`crate::changes`]), for [`LoadMode::Cdc`].
    pub changes: bool,
    /// Rows that were deleted at the source are found by their keys, for [`LoadMode::Merge`].
    pub deletes: Option<Deletes>,
    /// How long changes are kept that are applied. Default: for ever.
    pub keep: Option<Duration>,
    /// How far the table may be behind while it is followed. Default: a minute.
    pub lag: Option<Duration>,
}

impl LoadSettings {
    /// Takes the load's settings out of what is written under `ingest:`; the rest is the source's.
    /// `connection` is looked at by whoever chose the source, whose `default` says what is loaded
    /// where no mode is written.
    pub fn parse(written: &Value, default: ReadScope) -> Result<(LoadSettings, Value)> {
        let Some(object) = written.as_object() else {
            return Err(Error::new(ErrorKind::Config, "`ingest` must be a mapping"));
        };
        let mut rest = object.clone();
        rest.remove("connection");
        let mut settings = LoadSettings {
            mode: match default {
                ReadScope::New => LoadMode::Append,
                ReadScope::Changed => LoadMode::Merge,
                ReadScope::Log => LoadMode::Cdc,
                ReadScope::Whole => LoadMode::Full,
            },
            ..LoadSettings::default()
        };
        if let Some(mode) = take(&mut rest, "mode", "`append`, `full`, `merge` or `cdc`")? {
            settings.mode = mode;
        }
        if let Some(key) = take(&mut rest, "primary_key", "a column or a list of columns")? {
            settings.primary_key = match key {
                OneOrMany::One(column) => vec![column],
                OneOrMany::Many(columns) => columns,
            };
        }
        settings.cursor = take(&mut rest, "cursor", "a column")?;
        let contract = "`evolve`, `freeze` or `discard`, or `{columns: …, types: …}` of these";
        settings.schema_contract = match take(&mut rest, "schema_contract", contract)? {
            Some(WrittenContract::Both(policy)) => policy.into(),
            Some(WrittenContract::Each(contract)) => contract,
            None => SchemaContract::default(),
        };
        if let Some(limit) = rest.remove("max_rejects").filter(|limit| !limit.is_null()) {
            settings.max_rejects = max_rejects(&limit).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("`max_rejects` must be a number such as `10` or `0.5%`, not `{limit}`"),
                )
            })?;
        }
        settings.changes = take(&mut rest, "changes", "`true` or `false`")?.unwrap_or_default();
        if settings.changes && settings.mode != LoadMode::Cdc {
            return Err(Error::new(
                ErrorKind::Config,
                "`changes` keeps the changes of a log, and goes with `mode: cdc`",
            ));
        }
        settings.lag = time(&mut rest, "lag", "`30s` or `1 minute`")?;
        settings.keep = time(&mut rest, "keep", "`30d` or `12h`")?;
        if settings.keep.is_some() && !settings.changes {
            return Err(Error::new(
                ErrorKind::Config,
                "`keep` says how long changes are kept, and goes with `changes: true`",
            ));
        }
        if let Some(written) = rest.remove("deletes").filter(|written| !written.is_null()) {
            settings.deletes = Some(deletes(&written)?);
            if settings.mode != LoadMode::Merge {
                return Err(Error::new(
                    ErrorKind::Config,
                    "`deletes` finds rows that were deleted at the source, and goes with `mode: merge`",
                ));
            }
        }
        let keyed = match settings.mode {
            LoadMode::Merge => Some("merge"),
            LoadMode::Cdc => Some("cdc"),
            LoadMode::Append | LoadMode::Full => None,
        };
        if let Some(mode) = keyed.filter(|_| settings.primary_key.is_empty()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("`mode: {mode}` needs a `primary_key`: the columns that tell rows apart"),
            ));
        }
        if settings.mode == LoadMode::Cdc && settings.cursor.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "`mode: cdc` needs no `cursor`: the log of changes has an order of its own",
            ));
        }
        Ok((settings, Value::Object(rest)))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn take<T: serde::de::DeserializeOwned>(
    rest: &mut Map<String, Value>,
    key: &str,
    expected: &str,
) -> Result<Option<T>> {
    let Some(value) = rest.remove(key).filter(|value| !value.is_null()) else { return Ok(None) };
    serde_json::from_value(value.clone()).map(Some).map_err(|error| {
        Error::new(ErrorKind::Config, format!("`{key}` must be {expected}, not `{value}`"))
            .because(error)
    })
}

/// `compare`, or a mapping that says more.
fn deletes(written: &Value) -> Result<Deletes> {
    if written.as_str() == Some("compare") {
        return Ok(Deletes::default());
    }
    let wrong = || {
        Error::new(
            ErrorKind::Config,
            format!(
                "`deletes` must be `compare`, or a mapping of `every`, `limit` and `flag`, not `{written}`"
            ),
        )
    };
    let mut rest = written.as_object().ok_or_else(wrong)?.clone();
    let every = time(&mut rest, "every", "`1d` or `12h`")?;
    let limit = match rest.remove("limit") {
        None => Deletes::default().limit,
        Some(limit) => match max_rejects(&limit) {
            Some(MaxRejects::Percent(percent)) => Some(percent),
            _ => return Err(wrong()),
        },
    };
    let flag = take(&mut rest, "flag", "the name of a column")?;
    if !rest.is_empty() {
        return Err(wrong());
    }
    Ok(Deletes { every, limit, flag })
}

/// A setting that is a time.
fn time(rest: &mut Map<String, Value>, key: &str, such_as: &str) -> Result<Option<Duration>> {
    let Some(text) = take::<String>(rest, key, &format!("a time such as {such_as}"))? else {
        return Ok(None);
    };
    humantime::parse_duration(&text).map(Some).map_err(|error| {
        let message = format!("`{key}` must be a time such as {such_as}: {error}");
        Error::new(ErrorKind::Config, message)
    })
}

fn max_rejects(value: &Value) -> Option<MaxRejects> {
    match value {
        Value::Number(number) => number.as_u64().map(MaxRejects::Count),
        Value::String(text) => match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(MaxRejects::Percent(percent))
            }
            None => text.trim().parse().ok().map(MaxRejects::Count),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_split() {
        let written = json!({
            "connection": "drops", "location": "a.csv", "mode": "merge", "primary_key": "id",
            "cursor": "updated_at", "schema_contract": "freeze", "max_rejects": "0.5%",
        });
        let (settings, rest) = LoadSettings::parse(&written, ReadScope::New).unwrap();
        assert_eq!(settings.mode, LoadMode::Merge);
        assert_eq!(settings.primary_key, ["id"]);
        assert_eq!(settings.cursor.as_deref(), Some("updated_at"));
        assert_eq!(settings.schema_contract, Policy::Freeze.into());
        assert_eq!(settings.max_rejects, MaxRejects::Percent(0.5));
        assert_eq!(rest, json!({"location": "a.csv"}));
    }

    #[test]
    fn a_contract_is_of_columns_and_types() {
        let of = |written| {
            let written = json!({"schema_contract": written});
            LoadSettings::parse(&written, ReadScope::New).map(|(found, _)| found.schema_contract)
        };
        assert_eq!(of(json!("ignore")).unwrap(), Policy::Discard.into());
        let columns = SchemaContract { columns: Policy::Freeze, types: Policy::Evolve };
        assert_eq!(of(json!({"columns": "freeze"})).unwrap(), columns);
        let both = json!({"columns": "freeze", "data_type": "discard"});
        let types = SchemaContract { types: Policy::Discard, ..columns };
        assert_eq!(of(both).unwrap(), types);
        assert!(of(json!({"colums": "freeze"})).is_err());
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (written, name) in [
            (json!({"mode": "upsert"}), "`mode`"),
            (json!({"mode": "merge"}), "`primary_key`"),
            (json!({"max_rejects": "many"}), "`max_rejects`"),
            (json!({"max_rejects": -1}), "`max_rejects`"),
            (json!({"schema_contract": "melt"}), "`schema_contract`"),
            (json!({"deletes": "compare"}), "`deletes`"),
            (json!({"mode": "merge", "primary_key": "a", "deletes": {"limit": 5}}), "`deletes`"),
            (json!({"mode": "merge", "primary_key": "a", "deletes": {"evry": "1d"}}), "`deletes`"),
            (json!({"mode": "merge", "primary_key": "a", "deletes": {"every": "x"}}), "`every`"),
            (json!("a.csv"), "`ingest`"),
        ] {
            let error = LoadSettings::parse(&written, ReadScope::New).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(name), "{error}");
        }
    }
}
