//! The settings of a connection, and the text that connects.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, Secret, SecretRef};

use crate::drivers::options::Options;

/// The settings of a connection of type `odbc`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OdbcConfig {
    /// The driver: its name in `odbcinst.ini`, or the path of its library.
    #[serde(default)]
    driver: Option<String>,
    /// Or a data source of `odbc.ini`.
    #[serde(default)]
    dsn: Option<String>,
    /// Or the whole connection string.
    #[serde(default)]
    connection_string: Option<SecretRef>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<SecretRef>,
    /// Further keys of the connection string, as the driver has them.
    #[serde(default)]
    options: Options,
    /// The library of the manager, where it is not found.
    #[serde(default)]
    pub(super) manager: Option<PathBuf>,
    /// Seconds until a server that does not answer is given up, as far as the driver counts them.
    #[serde(default = "timeout")]
    pub(super) connect_timeout: usize,
}

fn timeout() -> usize {
    10
}

impl OdbcConfig {
    /// Whether it says what to connect to.
    pub(super) fn check(&self) -> Result<()> {
        let said = [self.driver.is_some(), self.dsn.is_some(), self.connection_string.is_some()];
        match said.iter().filter(|said| **said).count() {
            1 => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Config,
                "a connection of type `odbc` needs one of `driver`, `dsn` and `connection_string`",
            )
            .with("help", "driver: PostgreSQL Unicode, as `odbcinst -q -d` lists it")),
        }
    }

    /// The connection string; fetches secrets.
    pub(super) fn string(&self, project: &Path) -> Result<Secret> {
        let mut text = String::new();
        let mut add = |key: &str, value: &str| {
            text.push_str(key);
            text.push('=');
            text.push_str(&escaped(value));
            text.push(';');
        };
        if let Some(driver) = &self.driver {
            add("Driver", driver);
        }
        if let Some(dsn) = &self.dsn {
            add("DSN", dsn);
        }
        if let Some(user) = &self.user {
            add("UID", user);
        }
        if let Some(password) = &self.password {
            add("PWD", password.resolve(project)?.expose());
        }
        for (key, value) in &self.options {
            add(key, &value.resolve(project)?);
        }
        if let Some(whole) = &self.connection_string {
            let whole = whole.resolve(project)?;
            let whole = whole.expose().trim_end_matches(';');
            // Messages of drivers repeat parts of it.
            for part in whole.split(';') {
                if let Some((key, value)) = part.split_once('=')
                    && matches!(key.trim().to_ascii_lowercase().as_str(), "pwd" | "password")
                {
                    drop(Secret::new(value.trim_matches(['{', '}'])));
                }
            }
            text.insert_str(0, &format!("{whole};"));
        }
        Ok(Secret::new(text))
    }
}

/// A value in braces where it has characters that mean something in a connection string.
fn escaped(value: &str) -> String {
    let special = |c: char| "[]{}(),;?*=!@".contains(c);
    match value.contains(special) || value.starts_with(' ') || value.ends_with(' ') {
        true => format!("{{{}}}", value.replace('}', "}}")),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> OdbcConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn settings_are_a_connection_string() {
        let config = parse(json!({
            "driver": "PostgreSQL Unicode", "user": "me", "password": "a;b}c",
            "options": {"Server": "db", "Port": 5432, "ReadOnly": true}
        }));
        config.check().unwrap();
        let text = config.string(Path::new("")).unwrap();
        assert_eq!(
            text.expose(),
            "Driver=PostgreSQL Unicode;UID=me;PWD={a;b}}c};Port=5432;ReadOnly=true;Server=db;"
        );
        let whole = parse(json!({"connection_string": "DSN=x;UID=me;", "password": "secret"}));
        assert_eq!(whole.string(Path::new("")).unwrap().expose(), "DSN=x;UID=me;PWD=secret;");
    }

    #[test]
    fn one_thing_says_where_to() {
        for value in [json!({}), json!({"driver": "a", "dsn": "b"})] {
            let error = parse(value).check().unwrap_err();
            assert!(error.message().contains("one of `driver`, `dsn`"), "{error}");
        }
    }
}
