//! The settings of a connection: those of a profile, an address, and how many connections are made.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result, Secret, SecretRef};

use xxhash_rust::xxh3::xxh3_128;

use crate::postgres::PostgresConfig;

/// How many connections all loads of a process make to one database at once, without a setting.
const CONNECTIONS: usize = 8;

/// The settings of a connection of type `postgres`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct PostgresSettings {
    /// `url`: `postgres://user@host:5432/database?sslmode=require`, in place of single settings.
    url: Option<SecretRef>,
    /// `password`
    password: Option<SecretRef>,
    /// `max_connections`
    pub(super) connections: usize,
    /// The rest, as dbt-postgres calls it.
    fields: Map<String, Value>,
    /// Tells these settings from others.
    pub(super) identity: u128,
}

impl TryFrom<Map<String, Value>> for PostgresSettings {
    type Error = Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self> {
        let identity = xxh3_128(Value::Object(fields.clone()).to_string().as_bytes());
        let secret = |key: &str, value: Option<Value>| -> Result<Option<SecretRef>> {
            let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
            serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Error::new(ErrorKind::Config, format!("`{key}`: {error}")))
        };
        for (key, instead) in [
            ("pass", "`password`"),
            ("schema", "`table: schema.name` of each table, or `search_path`"),
            ("threads", "`max_connections`"),
        ] {
            if fields.contains_key(key) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`{key}` is not a setting of a connection; use {instead}"),
                ));
            }
        }
        let connections = match fields.remove("max_connections") {
            None | Some(Value::Null) => CONNECTIONS,
            Some(value) => value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=1000).contains(number))
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Config,
                        "`max_connections` must be a whole number from 1 on",
                    )
                })?,
        };
        let settings = PostgresSettings {
            url: secret("url", fields.remove("url"))?,
            password: secret("password", fields.remove("password"))?,
            connections,
            fields,
            identity,
        };
        // What can be said without fetching a secret is said at once.
        match &settings.url {
            None => PostgresConfig::from_settings(&settings.fields).map(drop)?,
            Some(SecretRef::Value(url)) => settings.with_url(url.expose()).map(drop)?,
            Some(_) => {}
        }
        Ok(settings)
    }
}

impl PostgresSettings {
    /// How to connect; fetches the secrets.
    ///
    /// # Errors
    /// Kind `Config` when a secret is not to be had or a setting is wrong.
    pub(super) fn config(&self, project: &Path) -> Result<PostgresConfig> {
        let mut config = match &self.url {
            None => PostgresConfig::from_settings(&self.fields)?,
            Some(url) => self.with_url(url.resolve(project)?.expose())?,
        };
        if let Some(password) = &self.password {
            config.password = Some(password.resolve(project)?);
        }
        let files = [&mut config.ssl_root_cert, &mut config.ssl_cert, &mut config.ssl_key];
        for file in files.into_iter().flatten() {
            if file.as_os_str() != "system" {
                *file = project.join(&*file);
            }
        }
        Ok(config)
    }

    /// The settings with those of an address.
    fn with_url(&self, url: &str) -> Result<PostgresConfig> {
        let address = parse(url)?;
        let mut fields = self.fields.clone();
        for (key, value) in address.fields {
            if fields.insert(key.clone(), value).is_some() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`{key}` is a setting, and `url` has it too"),
                ));
            }
        }
        let mut config = PostgresConfig::from_settings(&fields)?;
        config.password = address.password;
        Ok(config)
    }
}

/// What an address says.
struct Address {
    fields: Map<String, Value>,
    password: Option<Secret>,
}

/// Reads `postgres://user:password@host:port/database?setting=value`.
fn parse(url: &str) -> Result<Address> {
    let wrong = |what: &str| {
        // The text may hold a password, so that it is not shown.
        Error::new(
            ErrorKind::Config,
            format!("`url` {what}; write postgres://user@host:5432/database?sslmode=require"),
        )
    };
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or_else(|| wrong("does not begin with postgres://"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let decoded = |text: &str| decode(text).ok_or_else(|| wrong("has a broken % escape"));
    let password = password
        .map(|password| {
            drop(Secret::new(password));
            decoded(password).map(Secret::new)
        })
        .transpose()?;
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| wrong("has a broken host"))?;
            (host, port.strip_prefix(':'))
        }
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    if host.contains(',') {
        return Err(wrong("names several hosts, and one can be used"));
    }
    let mut fields = Map::new();
    let mut add = |key: &str, text: &str| -> Result<()> {
        if !text.is_empty() {
            fields.insert(key.to_owned(), Value::String(decoded(text)?));
        }
        Ok(())
    };
    add("user", user)?;
    add("host", host)?;
    add("port", port.unwrap_or_default())?;
    add("dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| wrong("has a setting without `=`"))?;
        if key == "password" {
            return Err(wrong("has a password among its settings"));
        }
        add(key, value)?;
    }
    Ok(Address { fields, password })
}

/// The text without its % escapes.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Result<PostgresSettings, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn an_address_is_the_same_as_single_settings() {
        let project = std::env::temp_dir();
        for (written, place) in [
            (json!({"host": "db", "user": "me", "dbname": "shop"}), "me@db:5432/shop"),
            (json!({"url": "postgres://me@db:5433/shop"}), "me@db:5433/shop"),
            (
                json!({"url": "postgresql://m%40e:a%3Ab@[::1]/shop?connect_timeout=3"}),
                "m@e@::1:5432/shop",
            ),
            (
                json!({"url": "postgres://me@/shop?host=/run/postgresql"}),
                "me@/run/postgresql:5432/shop",
            ),
            (json!({"url": "postgres://db/shop", "user": "me"}), "me@db:5432/shop"),
        ] {
            let config = settings(written).unwrap().config(&project).unwrap();
            assert_eq!(config.place(), place);
        }
        let given = settings(json!({"url": "postgres://me:a%3Ab@db/shop"})).unwrap();
        let password = given.config(&project).unwrap().password.unwrap();
        assert_eq!(password.expose(), "a:b");
    }

    #[test]
    fn what_is_wrong_is_named_without_the_address() {
        for (written, says) in [
            (json!({"user": "me"}), "needs `host`"),
            (json!({"url": "mysql://me:hidden-1@db/shop"}), "does not begin with postgres://"),
            (json!({"url": "postgres://me:hidden-1@db/shop", "user": "x"}), "`user`"),
            (json!({"url": "postgres://me:hidden-1@db/shop?sslmod=x"}), "`sslmod`"),
            (json!({"url": "postgres://me:hidden-1@a,b/shop"}), "several hosts"),
            (json!({"url": "postgres://me:hidden-%zz@db/shop"}), "% escape"),
            (json!({"host": "db", "user": "u", "dbname": "d", "schema": "s"}), "search_path"),
            (json!({"host": "db", "user": "u", "dbname": "d", "max_connections": 0}), "from 1 on"),
            (json!({"host": "db", "user": "u", "dbname": "d", "password": 1.5}), "`password`"),
        ] {
            let Err(error) = settings(written) else { panic!("{says}") };
            let error = error.to_string();
            assert!(error.contains(says) && !error.contains("hidden-1"), "{error}");
        }
    }
}
