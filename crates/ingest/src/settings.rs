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

/// What happens when the columns of the source are not those of the table. (dlt's name and words.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaContract {
    /// New columns are added, types widen.
    #[default]
    Evolve,
    /// A new column fails the load; a value that does not fit its column is a rejected row.
    Freeze,
    /// New columns are left out and reported; a value that does not fit its column is a rejected
    /// row.
    Discard,
}

/// How many rows may be rejected before the load fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejects {
    /// So many.
    Count(u64),
    /// So many of a hundred rows that were read.
    Percent(f64),
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
        }
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
        if let Some(contract) =
            take(&mut rest, "schema_contract", "`evolve`, `freeze` or `discard`")?
        {
            settings.schema_contract = contract;
        }
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
        assert_eq!(settings.schema_contract, SchemaContract::Freeze);
        assert_eq!(settings.max_rejects, MaxRejects::Percent(0.5));
        assert_eq!(rest, json!({"location": "a.csv"}));
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (written, name) in [
            (json!({"mode": "upsert"}), "`mode`"),
            (json!({"mode": "merge"}), "`primary_key`"),
            (json!({"max_rejects": "many"}), "`max_rejects`"),
            (json!({"max_rejects": -1}), "`max_rejects`"),
            (json!({"schema_contract": "melt"}), "`schema_contract`"),
            (json!("a.csv"), "`ingest`"),
        ] {
            let error = LoadSettings::parse(&written, ReadScope::New).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(name), "{error}");
        }
    }
}
