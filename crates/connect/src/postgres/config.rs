//! How to reach a PostgreSQL: the fields of a dbt profile.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result, Secret};

/// When the connection is encrypted, and what is verified, as libpq means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never.
    Disable,
    /// When the server wants it; nothing is verified.
    Allow,
    /// When the server can; nothing is verified.
    #[default]
    Prefer,
    /// Always; nothing is verified unless a root certificate is given.
    Require,
    /// Always, and the certificate is signed by a root that is known.
    VerifyCa,
    /// Always, and the certificate is also for this host.
    VerifyFull,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }
}

/// The settings of a connection, under the names that dbt-postgres gives them.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `host`: a name, an address, or the folder of a Unix socket.
    pub host: String,
    /// `port`; 5432 without one.
    pub port: u16,
    /// `user`
    pub user: String,
    /// `password` or `pass`
    pub password: Option<Secret>,
    /// `dbname` or `database`
    pub database: String,
    /// `sslmode`
    pub ssl_mode: SslMode,
    /// `sslrootcert`: a file of certificates that are trusted.
    pub ssl_root_cert: Option<PathBuf>,
    /// `sslcert`: the client's certificate.
    pub ssl_cert: Option<PathBuf>,
    /// `sslkey`: its key.
    pub ssl_key: Option<PathBuf>,
    /// `connect_timeout`, in seconds; 10 without one.
    pub connect_timeout: Duration,
    /// `keepalives_idle`, in seconds; the system's without one.
    pub keepalives_idle: Option<Duration>,
    /// `search_path`
    pub search_path: Option<String>,
    /// `role`: taken with `set role` on every connection.
    pub role: Option<String>,
    /// `retries`: how often a connection is tried again; 1 without it.
    pub retries: u32,
    /// `application_name`; `tidemill` without one.
    pub application_name: String,
    /// `lock_timeout`: how long a statement waits for a lock, in PostgreSQL's words (`5s`). Ours.
    pub lock_timeout: Option<String>,
    /// `statement_timeout`: how long a statement may take, in PostgreSQL's words. Ours.
    pub statement_timeout: Option<String>,
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .finish_non_exhaustive()
    }
}

/// Fields that dbt knows and that mean nothing to the connection.
const ELSEWHERE: &[&str] = &["type", "schema", "threads", "database", "dbname", "pass"];

/// Every field that is read.
const KNOWN: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "keepalives_idle",
    "search_path",
    "role",
    "retries",
    "application_name",
    "lock_timeout",
    "statement_timeout",
];

impl PostgresConfig {
    /// Reads the fields of a profile's output.
    ///
    /// # Errors
    /// `Config`, naming the field, when one is missing, unknown or of another shape.
    pub fn from_settings(settings: &Map<String, Value>) -> Result<Self> {
        let fields = Fields(settings);
        for key in settings.keys() {
            if !KNOWN.contains(&key.as_str()) && !ELSEWHERE.contains(&key.as_str()) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("`{key}` is not a field of a profile of type `postgres`"),
                )
                .with("known", KNOWN.join(", ")));
            }
        }
        let ssl_mode = match fields.text("sslmode")? {
            None => SslMode::default(),
            Some(text) => SslMode::parse(&text).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!(
                        "`sslmode: {text}` is not known; use disable, allow, prefer, require, verify-ca or verify-full"
                    ),
                )
            })?,
        };
        let number = |name: &'static str| fields.number(name);
        let port = match number("port")? {
            None => 5432,
            Some(port) => u16::try_from(port).map_err(|_| {
                Error::new(ErrorKind::Config, format!("`port: {port}` is not a port"))
            })?,
        };
        let keepalives = number("keepalives_idle")?.filter(|seconds| *seconds > 0);
        Ok(PostgresConfig {
            host: fields.required("host")?,
            port,
            user: fields.required("user")?,
            password: fields.text("password")?.or(fields.text("pass")?).map(Secret::new),
            database: match fields.text("dbname")?.or(fields.text("database")?) {
                Some(name) => name,
                None => return Err(missing("dbname")),
            },
            ssl_mode,
            ssl_root_cert: fields.path("sslrootcert")?,
            ssl_cert: fields.path("sslcert")?,
            ssl_key: fields.path("sslkey")?,
            connect_timeout: Duration::from_secs(number("connect_timeout")?.unwrap_or(10)),
            keepalives_idle: keepalives.map(Duration::from_secs),
            search_path: fields.text("search_path")?,
            role: fields.text("role")?,
            retries: u32::try_from(number("retries")?.unwrap_or(1)).unwrap_or(u32::MAX),
            application_name: fields
                .text("application_name")?
                .unwrap_or_else(|| "tidemill".to_owned()),
            lock_timeout: fields.text("lock_timeout")?,
            statement_timeout: fields.text("statement_timeout")?,
        })
    }

    /// The settings as the client takes them.
    pub(super) fn client(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .connect_timeout(self.connect_timeout)
            .application_name(&self.application_name)
            .ssl_mode(match self.ssl_mode {
                SslMode::Disable | SslMode::Allow => tokio_postgres::config::SslMode::Disable,
                SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
                _ => tokio_postgres::config::SslMode::Require,
            });
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if let Some(idle) = self.keepalives_idle {
            config.keepalives_idle(idle);
        }
        let options: Vec<String> = [
            ("search_path", &self.search_path),
            ("lock_timeout", &self.lock_timeout),
            ("statement_timeout", &self.statement_timeout),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("-c {name}={}", escaped(value.as_deref()?))))
        .collect();
        if !options.is_empty() {
            config.options(options.join(" "));
        }
        config
    }

    /// `user@host:port/database`, for messages.
    pub fn place(&self) -> String {
        format!("{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// A value of the `options` of a connection, in which blanks separate.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::Config, format!("a profile of type `postgres` needs `{name}`"))
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, name: &'static str) -> Result<Option<String>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(value)) => Ok(Some(value.to_string())),
            Some(_) => Err(Error::new(ErrorKind::Config, format!("`{name}` must be a text"))),
        }
    }

    fn required(&self, name: &'static str) -> Result<String> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    fn path(&self, name: &'static str) -> Result<Option<PathBuf>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        Ok(Some(match text.strip_prefix("~/").zip(std::env::home_dir()) {
            Some((rest, home)) => home.join(rest),
            None => PathBuf::from(text),
        }))
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Error::new(ErrorKind::Config, format!("`{name}: {text}` must be a whole number"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_fields_of_a_profile_are_read() {
        let config = PostgresConfig::from_settings(&settings(
            r#"{"type": "postgres", "host": "db", "user": "u", "pass": "p", "port": "5433",
                "dbname": "d", "schema": "s", "threads": 4, "sslmode": "verify-full",
                "search_path": "a, b", "keepalives_idle": 0, "role": null}"#,
        ))
        .unwrap();
        assert_eq!(config.place(), "u@db:5433/d");
        assert_eq!(config.ssl_mode, SslMode::VerifyFull);
        assert_eq!((config.keepalives_idle, config.role.clone()), (None, None));
        assert_eq!(config.client().get_options(), Some("-c search_path=a,\\ b"));
        assert!(!format!("{config:?}").contains("\"p\""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (r#"{"host": "db", "user": "u"}"#, "needs `dbname`"),
            (r#"{"user": "u", "dbname": "d"}"#, "needs `host`"),
            (r#"{"host": "db", "user": "u", "dbname": "d", "port": "x"}"#, "`port: x`"),
            (r#"{"host": "db", "user": "u", "dbname": "d", "sslmode": "on"}"#, "`sslmode: on`"),
            (r#"{"host": "db", "user": "u", "dbname": "d", "sslroot": "x"}"#, "`sslroot`"),
        ] {
            let error = PostgresConfig::from_settings(&settings(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
