//! The settings of a connection, and how it is made.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tidemill_core::{Error, ErrorKind, Result, ResultExt, SecretRef};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::error::failure;

/// How often a server may send to another address.
const ROUTES: usize = 3;

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// All of it, or there is none.
    #[default]
    Required,
    /// Before anything else is said (TDS 8.0).
    Strict,
    /// The login alone.
    Login,
}

/// The settings of a connection of type `sqlserver`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlServerConfig {
    /// The server.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// Who reads, by a login of SQL Server.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretRef>,
    /// Or: a token of Microsoft Entra.
    pub token: Option<SecretRef>,
    /// The database.
    pub database: String,
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub encrypt: Encryption,
    /// Certificates of authorities (PEM), instead of the system's.
    pub ca: Option<PathBuf>,
    /// Whether any certificate of the server is taken: whoever is between can read along.
    #[serde(default)]
    pub trust_server_certificate: bool,
    /// Whether a replica that is only read will do.
    #[serde(default)]
    pub read_only: bool,
    /// Seconds until a server that does not answer is given up.
    #[serde(default = "timeout")]
    pub connect_timeout: u64,
}

fn port() -> u16 {
    1433
}

fn timeout() -> u64 {
    10
}

/// A connection.
pub(super) type Connection = Client<Stream>;

impl SqlServerConfig {
    /// # Errors
    /// Kind `Config`.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        match (&self.user, &self.password, &self.token) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => {}
            _ => return wrong("a login is `user` with `password`, or `token`"),
        }
        if self.trust_server_certificate && self.ca.is_some() {
            return wrong("`trust_server_certificate` and `ca` exclude each other");
        }
        if self.database.is_empty() || self.host.is_empty() {
            return wrong("`host` and `database` name a server and its database");
        }
        Ok(())
    }

    /// The server, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    /// As the client takes it; fetches secrets.
    fn client(&self, project: &Path) -> Result<Config> {
        let mut config = Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.database(&self.database);
        config.application_name("tidemill");
        config.readonly(self.read_only);
        config.encryption(match self.encrypt {
            Encryption::Required => EncryptionLevel::Required,
            Encryption::Strict => EncryptionLevel::Strict,
            Encryption::Login => EncryptionLevel::Off,
        });
        if self.trust_server_certificate {
            config.trust_cert();
        }
        if let Some(file) = &self.ca {
            config.trust_cert_ca(project.join(file).to_string_lossy());
        }
        config.authentication(match (&self.user, &self.password, &self.token) {
            (Some(user), Some(password), _) => {
                AuthMethod::sql_server(user, password.resolve(project)?.expose())
            }
            (_, _, Some(token)) => AuthMethod::aad_token(token.resolve(project)?.expose()),
            _ => AuthMethod::None,
        });
        Ok(config)
    }

    /// A connection.
    ///
    /// # Errors
    /// Kind `Config` when a secret is not to be had, else that of the server's answer.
    pub(super) async fn connect(&self, project: &Path) -> Result<Connection> {
        let (settings, project) = (self.clone(), project.to_owned());
        let config = tokio::task::spawn_blocking(move || settings.client(&project)).await;
        let config = config.or_error(ErrorKind::Internal, "a secret was not fetched")??;
        let named = |error: Error| error.with("database", self.place());
        let time = Duration::from_secs(self.connect_timeout);
        let slow = || named(Error::new(ErrorKind::Unavailable, "the server does not answer"));
        match tokio::time::timeout(time, routed(config)).await {
            Ok(connected) => connected.map_err(named),
            Err(_) => Err(slow()),
        }
    }
}

/// A connection, where the server sends for it.
async fn routed(mut config: Config) -> Result<Connection> {
    for _ in 0..ROUTES {
        let unreachable = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "the server cannot be reached").because(error)
        };
        let stream = TcpStream::connect(config.get_addr()).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match Client::connect(config.clone(), Stream(stream)).await {
            Ok(client) => return Ok(client),
            Err(tiberius::error::Error::Routing { host, port }) => {
                config.host(host);
                config.port(port);
            }
            Err(failed) => return Err(failure(failed, "")),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the server sends from one address to another"))
}

/// A connection of Tokio's as the client reads and writes it.
pub(super) struct Stream(TcpStream);

impl futures::io::AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let mut buffer = ReadBuf::new(bytes);
        let read = Pin::new(&mut self.0).poll_read(context, &mut buffer);
        read.map(|result| result.map(|()| buffer.filled().len()))
    }
}

impl futures::io::AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(written: Value) -> Result<SqlServerConfig> {
        let config: SqlServerConfig = serde_json::from_value(written)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn connections_are_encrypted_unless_it_is_said() {
        let written =
            json!({"host": "db", "user": "u", "password": "pw-hidden-7", "database": "d"});
        let config = parse(written.clone()).unwrap();
        assert_eq!((config.encrypt, config.port), (Encryption::Required, 1433));
        assert!(!config.trust_server_certificate);
        assert_eq!(config.place(), "db:1433/d");
        assert!(!format!("{config:?}").contains("pw-hidden-7"));
        config.client(Path::new(".")).unwrap();
        for (key, value, part) in [
            ("token", json!("t"), "`token`"),
            ("database", json!(""), "`database`"),
            ("encrypt", json!("off"), "off"),
            ("pasword", json!("x"), "pasword"),
        ] {
            let mut wrong = written.clone();
            wrong[key] = value;
            let error = parse(wrong).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
        let both = json!({"host": "db", "token": "t", "database": "d", "ca": "x", "trust_server_certificate": true});
        assert!(parse(both).unwrap_err().message().contains("`ca`"));
    }
}
