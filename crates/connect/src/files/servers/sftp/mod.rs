//! Files of an SFTP server.

mod host_key;
mod login;
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
use host_key::{HostKeys, KnownHosts};
use login::Login;
use server::SftpServer;
use session::Address;

/// The connector for SFTP; its kind is `sftp`.
#[derive(Debug)]
pub struct SftpConnector;

/// The settings of a connection to an SFTP server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftpConfig {
    /// The server.
    pub host: String,
    /// Its port. Default 22.
    pub port: Option<u16>,
    /// The name of the login.
    pub user: String,
    /// Its password.
    pub password: Option<SecretRef>,
    /// The file of a private key, relative to the project.
    pub private_key_file: Option<PathBuf>,
    /// A private key itself.
    pub private_key: Option<SecretRef>,
    /// What the private key is encrypted with.
    pub passphrase: Option<SecretRef>,
    /// Whether the keys of the SSH agent are used.
    #[serde(default)]
    pub agent: bool,
    /// The key of the server: its fingerprint (`SHA256:...`) or the public key itself; or several.
    pub host_key: Option<OneOrMany>,
    /// The file of known servers, relative to the project. Default: those of `ssh`.
    pub known_hosts: Option<PathBuf>,
    /// The folder that locations are relative to. Default: that of the login.
    pub root: Option<String>,
    /// How many connections are open at a time. Default 4.
    pub max_connections: Option<usize>,
    /// How long to wait for an answer. Default `60s`.
    pub timeout: Option<String>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl SftpConfig {
    fn root(self, context: &ConnectContext) -> Result<Root> {
        let port = self.port.unwrap_or(22);
        let manners = Manners::new(self.max_connections, self.timeout.as_deref())?;
        if self.host.is_empty() || self.host.contains(['/', '@', ' ']) {
            let why = "`host` is the name of a server, without `sftp://`, user and path";
            return Err(Error::new(ErrorKind::Config, why).with("host", &self.host));
        }
        let keys = match self.host_key {
            Some(keys) => HostKeys::given(&keys)?,
            None => HostKeys::known(KnownHosts::of(&self.known_hosts, &context.project)),
        };
        let login = Login::new(
            self.user,
            self.password,
            (self.private_key_file, self.private_key, self.passphrase),
            self.agent,
            &context.project,
        )?;
        let name = match self.port {
            Some(port) => format!("sftp://{}:{port}", self.host),
            None => format!("sftp://{}", self.host),
        };
        let address = Address { host: self.host, port, keys, login };
        let server = SftpServer::new(address, manners);
        Ok(Root::Tree(super::tree(server, name, self.root.as_deref())))
    }
}

#[async_trait]
impl Connector for SftpConnector {
    const KIND: &'static str = "sftp";
    type Config = SftpConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: SftpConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(&context)? }))
    }

    fn sink(config: SftpConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FilesSink::new(config.root(&context)?)?))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}
