//! One connection to an SFTP server.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle, Handler};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelMsg, Preferred};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config as SftpConfig, RawSftpSession};
use russh_sftp::protocol::StatusCode;
use tidemill_core::{Error, ErrorKind, Result};

use super::host_key::HostKeys;
use super::login::Login;

/// The server, and who we are there.
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) keys: HostKeys,
    pub(super) login: Login,
}

/// A connection that is logged in.
pub(super) struct Session {
    ssh: Handle<Client>,
    pub(super) sftp: RawSftpSession,
    /// Whether the server gives a file another name in place of the file that has it.
    pub(super) replaces: bool,
    /// Whether the server syncs.
    pub(super) syncs: bool,
}

/// How often it is looked whether a connection is still there.
const GLANCE: Duration = Duration::from_secs(1);

/// How much of a channel may be under way.
const WINDOW: u32 = 4 << 20;

/// Looks at the key of the server.
pub(super) struct Client {
    address: Arc<Address>,
}

/// An error of the connection, or our word on the key of the server.
#[derive(Debug)]
pub(super) enum Failure {
    Connection(russh::Error),
    Refused(Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Failure::Connection(error)
    }
}

impl Handler for Client {
    type Error = Failure;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, Failure> {
        let Address { host, port, keys, .. } = &*self.address;
        match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                keys.check(host, *port, key).map(|()| true).map_err(Failure::Refused)
            }
            // None is asked for.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }
}

impl Address {
    fn unreachable(&self, why: &str) -> Error {
        Error::new(ErrorKind::Unavailable, why.to_owned())
            .with("server", format!("{}:{}", self.host, self.port))
    }
}

impl Session {
    /// Connects, looks at the key of the server, and logs in.
    ///
    /// # Errors
    /// Kind `Denied` when the server is not the one that is meant, or does not accept the login;
    /// `Unavailable` when it does not answer.
    pub(super) async fn open(address: Arc<Address>, timeout: Duration) -> Result<Session> {
        match tokio::time::timeout(timeout, Session::connect(address.clone(), timeout)).await {
            Ok(session) => session,
            Err(_) => Err(address.unreachable("the server does not answer in time")),
        }
    }

    async fn connect(address: Arc<Address>, timeout: Duration) -> Result<Session> {
        let key = address.keys.order(&address.host, address.port, &Preferred::DEFAULT.key);
        let config = client::Config {
            window_size: WINDOW,
            preferred: Preferred { key: Cow::Owned(key), ..Preferred::DEFAULT },
            keepalive_interval: Some(Duration::from_secs(15)),
            nodelay: true,
            ..client::Config::default()
        };
        let client = Client { address: address.clone() };
        let server = (address.host.as_str(), address.port);
        let mut ssh = match client::connect(Arc::new(config), server, client).await {
            Ok(ssh) => ssh,
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Connection(error)) => {
                return Err(match error {
                    russh::Error::NoCommonAlgo { .. } => Error::new(
                        ErrorKind::Unsupported,
                        "the server and we have no algorithm in common",
                    )
                    .with("server", format!("{}:{}", address.host, address.port)),
                    _ => address.unreachable("the server cannot be reached"),
                }
                .because(error));
            }
        };
        address
            .login
            .prove(&mut ssh)
            .await
            .map_err(|error| error.with("server", format!("{}:{}", address.host, address.port)))?;
        let broke = |error: russh::Error| {
            address
                .unreachable("the connection broke before files could be asked for")
                .because(error)
        };
        let mut channel = ssh.channel_open_session().await.map_err(broke)?;
        channel.request_subsystem(true, "sftp").await.map_err(broke)?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure) => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the server has no SFTP for this login",
                    )
                    .with("server", format!("{}:{}", address.host, address.port)));
                }
                Some(_) => {}
                None => return Err(address.unreachable("the server ended the connection")),
            }
        }
        let config =
            SftpConfig { request_timeout_secs: timeout.as_secs().max(1), ..SftpConfig::default() };
        let sftp = RawSftpSession::new_with_config(channel.into_stream(), config);
        let version = sftp.init().await.map_err(|error| {
            address.unreachable("the server does not speak SFTP").because(error)
        })?;
        let knows = |name: &str| version.extensions.contains_key(name);
        let (replaces, syncs) = (knows(POSIX_RENAME), knows(russh_sftp::extensions::FSYNC));
        Ok(Session { ssh, sftp, replaces, syncs })
    }

    pub(super) fn lives(&self) -> bool {
        !self.ssh.is_closed()
    }

    /// What requests give, or an error soon after the connection ended: one that is made at that very moment
    /// would wait for its answer as long as for any.
    pub(super) async fn asked<T>(&self, requests: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(requests);
        loop {
            match tokio::time::timeout(GLANCE, &mut requests).await {
                Ok(reply) => return reply,
                Err(_) if self.lives() => {}
                Err(_) => return Err(Error::new(ErrorKind::Unavailable, "the connection broke")),
            }
        }
    }
}

/// Gives a file another name as `rename` of POSIX does.
pub(super) const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// What an error of a request means.
pub(super) fn told(error: SftpError, path: &str) -> Error {
    let (kind, what) = match &error {
        SftpError::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => (ErrorKind::NotFound, "there is no such file"),
            StatusCode::PermissionDenied => (ErrorKind::Denied, "the server does not allow it"),
            StatusCode::OpUnsupported => {
                (ErrorKind::Unsupported, "the server does not know the request")
            }
            StatusCode::NoConnection | StatusCode::ConnectionLost => {
                (ErrorKind::Unavailable, "the connection broke")
            }
            _ => (ErrorKind::Io, "the server does not do it"),
        },
        SftpError::Timeout => (ErrorKind::Unavailable, "the server does not answer in time"),
        SftpError::Limited(_) => (ErrorKind::Io, "the server does not do it"),
        // All else is of a stream that ended, or of packets out of place: another connection may do.
        _ => (ErrorKind::Unavailable, "the connection broke"),
    };
    Error::new(kind, what).with("file", path).because(error)
}
