//! One connection to an FTP server.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use chrono::DateTime;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use suppaftp::tokio::{
    AsyncRustlsConnector, AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream,
};
use suppaftp::tokio_rustls::TlsConnector;
use suppaftp::types::FileType;
use suppaftp::{FtpError, Mode, Status};
use tidemill_core::{Error, ErrorKind, Result, ResultExt, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::walk::join;
use super::super::{Look, Named};
use super::listing;

/// The server, and who we are there.
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// A file that is being read.
pub(super) type Download = TransferStream<AsyncRustlsStream>;

/// A connection that is logged in.
pub(super) struct Session {
    ftp: AsyncRustlsFtpStream,
    /// The folder of the login.
    home: String,
    /// Whether the server lists for programs.
    tells_facts: bool,
    timeout: Duration,
    lives: bool,
}

/// Who may have signed the certificate of a server.
pub(super) fn trust(file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(file) => {
            let failed = |error| {
                Error::new(ErrorKind::Config, "`tls_ca` cannot be read")
                    .with("file", file.display())
                    .because(error)
            };
            let certificates: Vec<CertificateDer<'static>> =
                CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(failed)?;
            roots.add_parsable_certificates(certificates);
        }
    }
    if roots.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            "there is no root certificate to verify the server with; set `tls_ca`",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .or_error(ErrorKind::Internal, "TLS cannot be set up")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Address {
    fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, what.to_owned()).with("server", format!("{}:{}", self.host, self.port))
    }
}

/// What an error of a request means.
fn told(error: FtpError, path: &str) -> Error {
    let (kind, what) = match &error {
        FtpError::UnexpectedResponse(response) => match response.status {
            // The server ends the connection, or has none to spare.
            Status::NotAvailable
            | Status::CannotOpenDataConnection
            | Status::TransferAborted
            | Status::RequestFileActionIgnored
            | Status::ActionAborted => (ErrorKind::Unavailable, "the server does not do it now"),
            Status::NotLoggedIn | Status::StoringNeedAccount => {
                (ErrorKind::Denied, "the server does not allow it")
            }
            Status::BadCommand | Status::NotImplemented => {
                (ErrorKind::Unsupported, "the server does not know the request")
            }
            Status::FileUnavailable => (ErrorKind::NotFound, "the server does not give the file"),
            _ => (ErrorKind::Io, "the server does not do it"),
        },
        FtpError::SecureError(_) => (ErrorKind::Denied, "TLS is refused"),
        _ => (ErrorKind::Unavailable, "the connection broke"),
    };
    Error::new(kind, what).with("file", path).because(error)
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Kind `Denied` when the server is not the one of its certificate, or does not accept the login;
    /// `Unavailable` when it does not answer.
    pub(super) async fn open(address: Arc<Address>, timeout: Duration) -> Result<Session> {
        match tokio::time::timeout(timeout, Session::connect(&address, timeout)).await {
            Ok(session) => session,
            Err(_) => {
                Err(address.error(ErrorKind::Unavailable, "the server does not answer in time"))
            }
        }
    }

    async fn connect(address: &Address, timeout: Duration) -> Result<Session> {
        let unreachable = |error: FtpError| {
            address.error(ErrorKind::Unavailable, "the server cannot be reached").because(error)
        };
        let server = (address.host.as_str(), address.port);
        let stream = TcpStream::connect(server)
            .await
            .map_err(|error| unreachable(FtpError::ConnectionError(error)))?;
        let is_version_6 = stream.peer_addr().is_ok_and(|peer| peer.is_ipv6());
        let ftp = AsyncRustlsFtpStream::connect_with_stream(stream).await;
        let mut ftp = ftp.map_err(unreachable)?;
        if let Some(tls) = &address.tls {
            let connector = AsyncRustlsConnector::from(TlsConnector::from(tls.clone()));
            ftp = ftp.into_secure(connector, &address.host).await.map_err(|error| match error {
                FtpError::SecureError(why) => address
                    .error(ErrorKind::Denied, "the server is not the one of its certificate")
                    .with("hint", "is `host` the name in it, and who signed it trusted (`tls_ca`)?")
                    .because(why),
                FtpError::UnexpectedResponse(_) => address
                    .error(ErrorKind::Unsupported, "the server has no TLS")
                    .with("hint", "`tls: none` goes without, for everybody on the way to read")
                    .because(error),
                error => unreachable(error),
            })?;
        }
        let password = address.password.as_ref().map_or("anonymous@", Secret::expose);
        ftp.login(address.user.as_str(), password).await.map_err(|error| match error {
            FtpError::UnexpectedResponse(_) => address
                .error(
                    ErrorKind::Denied,
                    &format!("the server does not accept the password of `{}`", address.user),
                )
                .because(error),
            error => unreachable(error),
        })?;
        let broke = |error| told(error, "");
        ftp.transfer_type(FileType::Binary).await.map_err(broke)?;
        let features = ftp.feat().await.unwrap_or_default();
        let has = |name: &str| features.keys().any(|known| known.eq_ignore_ascii_case(name));
        if has("UTF8") {
            // Servers that speak nothing else refuse it.
            let _ = ftp.opts("UTF8", Some("ON")).await;
        }
        let home = ftp.pwd().await.map_err(broke)?;
        // The port of an answer, at the address that is known to be the server's.
        ftp.set_passive_nat_workaround(true);
        if is_version_6 {
            ftp.set_mode(Mode::ExtendedPassive);
        }
        let tells_facts = has("MLST") || has("MLSD");
        Ok(Session { ftp, home, tells_facts, timeout, lives: true })
    }

    /// Whether it can be used again.
    pub(super) fn lives(&self) -> bool {
        self.lives
    }

    /// A path from the root of the server on: what is relative is so to the folder of the login.
    fn whole(&self, path: &str) -> String {
        match path {
            "." => self.home.clone(),
            path if path.starts_with('/') => path.to_owned(),
            path => join(&self.home, path),
        }
    }

    /// What came of a request. A connection that broke is not used again.
    fn seen<T>(&mut self, reply: Result<T>) -> Result<T> {
        if matches!(&reply, Err(error) if error.kind() == ErrorKind::Unavailable) {
            self.lives = false;
        }
        reply
    }

    /// What is there; `None` where there is nothing.
    pub(super) async fn look(&mut self, path: &str) -> Result<Option<Look>> {
        let (whole, timeout) = (self.whole(path), self.timeout);
        if self.tells_facts {
            let reply = limited(timeout, path, self.ftp.mlst(Some(whole.as_str()))).await;
            return match self.seen(reply) {
                Ok(line) => Ok(listing::facts(&line).map(|named| named.look)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        let size = limited(timeout, path, self.ftp.size(whole.as_str())).await;
        if let Ok(size) = self.seen(size) {
            let reply = limited(timeout, path, self.ftp.mdtm(whole.as_str())).await;
            let modified = self.seen(reply)?.and_utc();
            return Ok(Some(Look { is_folder: false, size: size as u64, modified }));
        }
        if !self.lives {
            return Err(
                Error::new(ErrorKind::Unavailable, "the connection broke").with("file", path)
            );
        }
        let reply = limited(timeout, path, self.ftp.cwd(whole.as_str())).await;
        Ok(self.seen(reply).is_ok().then(|| Look {
            is_folder: true,
            size: 0,
            modified: DateTime::default(),
        }))
    }

    /// The names in a folder.
    pub(super) async fn folder(&mut self, path: &str) -> Result<Vec<Named>> {
        let (whole, timeout) = (self.whole(path), self.timeout);
        if self.tells_facts {
            let reply = limited(timeout, path, self.ftp.mlsd(Some(whole.as_str()))).await;
            let lines = self.seen(reply)?;
            return Ok(lines.iter().filter_map(|line| listing::facts(line)).collect());
        }
        // Options look like names that begin with a hyphen, and what is listed may be a file.
        let reply = limited(timeout, path, self.ftp.cwd(whole.as_str())).await;
        self.seen(reply)?;
        let reply = limited(timeout, path, self.ftp.list(None)).await;
        let lines = self.seen(reply)?;
        Ok(lines.iter().filter_map(|line| listing::long(line)).collect())
    }

    /// Begins to read a file at this place.
    pub(super) async fn download(&mut self, path: &str, from: u64) -> Result<Download> {
        let (whole, timeout) = (self.whole(path), self.timeout);
        let from =
            usize::try_from(from).or_error(ErrorKind::Unsupported, "the file is too large")?;
        let ftp = &mut self.ftp;
        let request = async {
            ftp.resume_transfer(from).await?;
            ftp.retr_as_stream(whole.as_str()).await
        };
        let reply = limited(timeout, path, request).await;
        self.seen(reply)
    }

    /// Adds bytes of a file until there are so many, or it ends.
    pub(super) async fn receive(
        &mut self,
        path: &str,
        stream: &mut Download,
        length: u64,
        into: &mut BytesMut,
    ) -> Result<u64> {
        let mut left = length;
        while left > 0 {
            into.reserve(CHUNK);
            let mut some = (&mut *stream).take(left.min(CHUNK as u64));
            let read = async { some.read_buf(into).await.map_err(FtpError::ConnectionError) };
            let reply = limited(self.timeout, path, read).await;
            match self.seen(reply)? {
                0 => break,
                read => left -= read as u64,
            }
        }
        Ok(length - left)
    }

    /// The server says that all of a file was sent.
    pub(super) async fn ended(&mut self, path: &str, stream: Download) -> Result<()> {
        let reply = limited(self.timeout, path, stream.finish()).await;
        self.seen(reply)
    }

    /// Writes a file anew, or adds to it.
    pub(super) async fn upload(&mut self, path: &str, bytes: &[u8], adds: bool) -> Result<()> {
        let (whole, timeout) = (self.whole(path), self.timeout);
        let ftp = &mut self.ftp;
        let begin = async {
            match adds {
                true => ftp.append_with_stream(whole.as_str()).await,
                false => ftp.put_with_stream(whole.as_str()).await,
            }
        };
        let reply = limited(timeout, path, begin).await;
        let mut stream = self.seen(reply)?;
        for chunk in bytes.chunks(CHUNK) {
            let write = async { stream.write_all(chunk).await.map_err(FtpError::ConnectionError) };
            let reply = limited(timeout, path, write).await;
            self.seen(reply)?;
        }
        let reply = limited(timeout, path, stream.finish()).await;
        self.seen(reply)
    }

    pub(super) async fn size(&mut self, path: &str) -> Result<u64> {
        let whole = self.whole(path);
        let reply = limited(self.timeout, path, self.ftp.size(whole.as_str())).await;
        self.seen(reply).map(|size| size as u64)
    }

    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let (whole, target) = (self.whole(from), self.whole(to));
        let reply = limited(self.timeout, from, self.ftp.rename(whole, target)).await;
        self.seen(reply)
    }

    pub(super) async fn remove(&mut self, path: &str) -> Result<()> {
        let whole = self.whole(path);
        let reply = limited(self.timeout, path, self.ftp.rm(whole)).await;
        self.seen(reply)
    }

    pub(super) async fn make_folder(&mut self, path: &str) -> Result<()> {
        let whole = self.whole(path);
        let reply = limited(self.timeout, path, self.ftp.mkdir(whole)).await;
        self.seen(reply)
    }
}

/// How much is asked of a stream at once.
const CHUNK: usize = 256 << 10;

/// What a request gives, in time.
async fn limited<T>(
    timeout: Duration,
    path: &str,
    request: impl Future<Output = suppaftp::FtpResult<T>>,
) -> Result<T> {
    match tokio::time::timeout(timeout, request).await {
        Ok(reply) => reply.map_err(|error| told(error, path)),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "the server does not answer in time")
            .with("file", path)),
    }
}
