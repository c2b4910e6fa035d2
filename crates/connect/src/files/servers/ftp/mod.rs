//! Files of an FTP server, over TLS.

mod listing;
mod reading;
mod server;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use tidemill_core::{
    ConnectContext, Connector, Error, ErrorKind, ReadScope, Result, SecretRef, Sink, Source,
};

use super::Manners;
use crate::files::sink::FilesSink;
use crate::files::{FilesSource, Root, TableSettings};
use server::FtpServer;
use session::{Address, trust};

/// The connector for FTP; its kind is `ftp`.
#[derive(Debug)]
pub struct FtpConnector;

/// The settings of a connection to an FTP server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FtpConfig {
    /// The server.
    pub host: String,
    /// Its port. Default 21.
    pub port: Option<u16>,
    /// The name of the login. Default `anonymous`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
    /// How the connection is encrypted. Default `explicit`.
    #[serde(default)]
    pub tls: FtpTls,
    /// The file of the certificates that may have signed the server's, relative to the project. Default:
    /// those that the system trusts.
    pub tls_ca: Option<PathBuf>,
    /// Whether a password may cross a network without encryption (`tls: none`).
    #[serde(default)]
    pub allow_plain_password: bool,
    /// The folder that locations are relative to. Default: that of the login.
    pub root: Option<String>,
    /// How many connections are open at a time. Default 4.
    pub max_connections: Option<usize>,
    /// How long to wait for an answer. Default `60s`.
    pub timeout: Option<String>,
}

/// How an FTP connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FtpTls {
    /// By `AUTH TLS`, before the login; files as well.
    #[default]
    Explicit,
    /// From the first byte on, usually on port 990.
    Implicit,
    /// Not.
    None,
}

impl FtpConfig {
    fn root(self, context: &ConnectContext) -> Result<Root> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, why);
        let manners = Manners::new(self.max_connections, self.timeout.as_deref())?;
        if self.host.is_empty() || self.host.contains(['/', '@', ' ']) {
            return Err(wrong("`host` is the name of a server, without `ftp://`, user and path")
                .with("host", &self.host));
        }
        let is_here = matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let (user, password) = match (self.user, self.password) {
            (Some(user), Some(password)) => (user, Some(password.resolve(&context.project)?)),
            (Some(user), None) if user == "anonymous" => (user, None),
            (None, None) => ("anonymous".to_owned(), None),
            _ => return Err(wrong("a login is `user` with `password`")),
        };
        match self.tls {
            FtpTls::Implicit => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "TLS from the first byte on (`tls: implicit`) is not spoken here",
                )
                .with(
                    "hint",
                    "servers that have it nearly always take `tls: explicit`, on port 21",
                ));
            }
            FtpTls::None if password.is_some() && !is_here && !self.allow_plain_password => {
                return Err(wrong(
                    "without TLS the password crosses the network for everybody to read",
                )
                .with(
                    "hint",
                    "use `tls: explicit`; or write `allow_plain_password: true` if that is meant",
                ));
            }
            FtpTls::None if self.tls_ca.is_some() => {
                return Err(wrong("`tls_ca` is for a connection with TLS"));
            }
            FtpTls::None | FtpTls::Explicit => {}
        }
        let tls = match self.tls {
            FtpTls::None => None,
            _ => {
                let file = self.tls_ca.map(|file| context.project.join(file));
                Some(trust(file.as_deref())?)
            }
        };
        let name = match self.port {
            Some(port) => format!("ftp://{}:{port}", self.host),
            None => format!("ftp://{}", self.host),
        };
        let port = self.port.unwrap_or(21);
        let address = Address { host: self.host, port, user, password, tls };
        let server = FtpServer::new(address, manners);
        Ok(Root::Tree(super::tree(server, name, self.root.as_deref())))
    }
}

#[async_trait]
impl Connector for FtpConnector {
    const KIND: &'static str = "ftp";
    type Config = FtpConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: FtpConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(&context)? }))
    }

    fn sink(config: FtpConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FilesSink::new(config.root(&context)?)?))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}
