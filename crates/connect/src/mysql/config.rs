//! The settings of a connection, and how it is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_async::{Conn, DriverError, Opts, OptsBuilder, SslOpts};
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, SecretRef};

use super::error::failure;

/// Whether the connection is encrypted, and what is checked of the server (the words of MySQL's own
/// client).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SslMode {
    /// It is not.
    Disabled,
    /// If the server can.
    #[default]
    Preferred,
    /// It is, whoever the server is.
    Required,
    /// The server's certificate is signed by a known authority.
    VerifyCa,
    /// And it is that of this host.
    VerifyIdentity,
}

/// The settings of a connection of type `mysql`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MySqlConfig {
    #[serde(default = "localhost")]
    host: String,
    #[serde(default = "port")]
    port: u16,
    /// A socket of this machine, in place of host and port.
    #[serde(default)]
    socket: Option<PathBuf>,
    user: String,
    #[serde(default)]
    password: Option<SecretRef>,
    /// The database that names of tables without one mean.
    #[serde(default, alias = "dbname")]
    pub(super) database: Option<String>,
    #[serde(default)]
    ssl_mode: SslMode,
    /// Certificates of authorities, instead of the system's.
    #[serde(default)]
    ssl_ca: Option<PathBuf>,
    /// Seconds until a server that does not answer is given up.
    #[serde(default = "timeout")]
    connect_timeout: u64,
    /// How many connections read a large table; more than one need a lock of it for a moment.
    #[serde(default = "one")]
    pub(super) read_connections: usize,
}

fn one() -> usize {
    1
}

fn localhost() -> String {
    "127.0.0.1".to_owned()
}

fn port() -> u16 {
    3306
}

fn timeout() -> u64 {
    10
}

/// What every connection begins with. Values of `timestamp` are in UTC, texts are escaped as we write
/// them, and the server waits for us while we write.
const SETTINGS: &str = "set session time_zone = '+00:00', sql_mode = replace(@@sql_mode, \
     'NO_BACKSLASH_ESCAPES', ''), net_write_timeout = 3600, net_read_timeout = 3600";

impl MySqlConfig {
    /// The server, for messages.
    pub(super) fn place(&self) -> String {
        let database = self.database.as_deref().unwrap_or_default();
        match &self.socket {
            Some(socket) => format!("{}@{}/{database}", self.user, socket.display()),
            None => format!("{}@{}:{}/{database}", self.user, self.host, self.port),
        }
    }

    /// A connection; fetches the password.
    ///
    /// # Errors
    /// Kind `Config` when a secret is not to be had, else that of the server's answer.
    pub(super) async fn connect(&self, project: &Path) -> Result<Conn> {
        let (config, project) = (self.clone(), project.to_owned());
        let options = tokio::task::spawn_blocking(move || config.options(&project)).await;
        let options = options.or_error(ErrorKind::Internal, "a secret was not fetched")??;
        let failed = |error| failure(error, "").with("database", self.place());
        let encrypted = match (self.ssl_mode, &self.socket) {
            (SslMode::Disabled, _) | (SslMode::Preferred, Some(_)) => None,
            (_, Some(_)) => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "`ssl_mode` has no meaning with a `socket`, which is not encrypted",
                ));
            }
            _ => Some(self.tls(&options.1)?),
        };
        let time = Duration::from_secs(self.connect_timeout);
        let connect = |ssl: Option<SslOpts>| async {
            let options: Opts = options.0.clone().ssl_opts(ssl).into();
            match tokio::time::timeout(time, Conn::new(options)).await {
                Ok(connected) => connected,
                Err(_) => Err(mysql_async::Error::Io(
                    std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
                )),
            }
        };
        let connected = match connect(encrypted.clone()).await {
            Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer))
                if self.ssl_mode == SslMode::Preferred =>
            {
                connect(None).await
            }
            connected => connected,
        };
        let mut connected = connected.map_err(failed)?;
        use mysql_async::prelude::Queryable;
        connected.query_drop(SETTINGS).await.map_err(|error| failure(error, SETTINGS))?;
        Ok(connected)
    }

    /// The options without encryption, and the certificates of authorities.
    fn options(&self, project: &Path) -> Result<(OptsBuilder, Vec<Vec<u8>>)> {
        let password = self.password.as_ref().map(|password| password.resolve(project));
        let password = password.transpose()?;
        let socket = self.socket.as_ref().map(|socket| project.join(socket).display().to_string());
        let options = OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(password.map(|password| password.expose().to_owned()))
            .db_name(self.database.clone())
            .prefer_socket(false)
            .socket(socket)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            // An event of the log may be as large as the server lets it be.
            .max_allowed_packet(Some(1 << 30))
            .stmt_cache_size(0);
        let mut authorities = Vec::new();
        if matches!(self.ssl_mode, SslMode::VerifyCa | SslMode::VerifyIdentity) {
            match &self.ssl_ca {
                Some(file) => {
                    let path = project.join(file);
                    authorities.push(std::fs::read(&path).map_err(|error| {
                        Error::new(ErrorKind::Config, "`ssl_ca` cannot be read")
                            .with("file", file.display())
                            .because(error)
                    })?);
                }
                None => {
                    let known = rustls_native_certs::load_native_certs().certs;
                    authorities.extend(known.into_iter().map(|one| one.as_ref().to_vec()));
                }
            }
        }
        Ok((options, authorities))
    }

    fn tls(&self, authorities: &[Vec<u8>]) -> Result<SslOpts> {
        let verifies = matches!(self.ssl_mode, SslMode::VerifyCa | SslMode::VerifyIdentity);
        if verifies && authorities.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "there is no root certificate to verify the server with; set `ssl_ca`",
            ));
        }
        Ok(SslOpts::default()
            // Only those that the system or the project trusts; where nothing is verified, any will do.
            .with_disable_built_in_roots(verifies)
            .with_root_certs(authorities.iter().cloned().map(Into::into).collect())
            .with_danger_accept_invalid_certs(!verifies)
            .with_danger_skip_domain_validation(self.ssl_mode != SslMode::VerifyIdentity))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_have_the_words_of_mysql() {
        let parse = |value| serde_json::from_value::<MySqlConfig>(value);
        let config =
            parse(json!({"user": "me", "database": "shop", "ssl_mode": "verify_ca"})).unwrap();
        assert_eq!(config.place(), "me@127.0.0.1:3306/shop");
        assert_eq!(config.ssl_mode, SslMode::VerifyCa);
        assert!(parse(json!({"database": "shop"})).is_err());
        assert!(parse(json!({"user": "me", "pasword": {"env": "X"}})).is_err());
    }
}
