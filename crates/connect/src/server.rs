//! Servers of queues and stores that are named by an address: where they are, who logs in, and how often
//! they are asked.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tidemill_core::{
    Cancellation, ConnectContext, Error, ErrorKind, Result, ResultExt, Secret, SecretRef,
};
use url::Url;

use crate::rest::Span;
use crate::stream::blocking;

/// How often a server is asked that does not answer.
const TRIES: u32 = 5;

/// The longest pause before the second try; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The settings of a connection to a server that an address names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where it is: `rediss://host:6379/0`, `amqps://host/vhost`, `mqtts://host`.
    url: String,
    /// Who logs in.
    user: Option<String>,
    /// With what.
    password: Option<SecretRef>,
    /// Certificates of authorities that the server's is verified with, in place of the system's.
    ca: Option<PathBuf>,
    /// The certificate that we show, and its key.
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    /// How long a server may take to answer. Default `10s`.
    timeout: Option<Span>,
    /// A password may go to another machine without encryption.
    #[serde(default)]
    allow_plaintext_password: bool,
}

/// How an address may begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// A server, resolved. No secret is fetched yet.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// What stands behind the host, decoded and without its slash.
    pub(crate) path: Option<String>,
    pub(crate) timeout: Duration,
    /// For messages.
    pub(crate) place: String,
    config: ServerConfig,
    project: PathBuf,
}

/// What a server is shown.
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// Certificates of authorities, in PEM.
    pub(crate) authorities: Option<Vec<u8>>,
    /// A certificate and its key, in PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Server {
    /// # Errors
    /// Kind `Config`, or `Unsupported` for an address of another kind of server.
    pub(crate) fn new(
        config: ServerConfig,
        context: &ConnectContext,
        schemes: &[Scheme],
    ) -> Result<Server> {
        let wrong = |message: String| Error::new(ErrorKind::Config, message);
        let example = schemes.first().map_or("", |scheme| scheme.name);
        let url = Url::parse(&config.url).map_err(|error| {
            wrong(format!("`url` is no address; write {example}://host")).because(error)
        })?;
        let Some(scheme) = schemes.iter().find(|scheme| scheme.name == url.scheme()) else {
            let known: Vec<String> =
                schemes.iter().map(|scheme| format!("{}://", scheme.name)).collect();
            return Err(wrong(format!(
                "`url` begins with `{}://`; known: {}",
                url.scheme(),
                known.join(", ")
            )));
        };
        if url.password().is_some() {
            return Err(wrong(
                "`url` has a password in it; write `password: {env: …}` beside it".to_owned(),
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("`url` ends with the host, its port and a path".to_owned()));
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || host.contains(',') {
            return Err(wrong(format!("`url` must name one host: {example}://host")));
        }
        let mut config = config;
        if !url.username().is_empty() {
            if config.user.is_some() {
                return Err(wrong("`url` has a user, and so does `user`".to_owned()));
            }
            config.user = Some(decoded(url.username())?);
        }
        if config.client_cert.is_some() != config.client_key.is_some() {
            return Err(wrong("`client_cert` and `client_key` go together".to_owned()));
        }
        let secure = schemes.iter().find(|scheme| scheme.tls).map_or("", |scheme| scheme.name);
        if !scheme.tls && (config.ca.is_some() || config.client_cert.is_some()) {
            return Err(wrong(format!(
                "`ca` and `client_cert` need an encrypted connection: {secure}://"
            )));
        }
        if !scheme.tls
            && config.password.is_some()
            && !config.allow_plaintext_password
            && !is_here(&host)
        {
            return Err(wrong(format!(
                "the password would go to {host} without encryption; use {secure}://, or say \
                 `allow_plaintext_password: true` if the network between is yours alone"
            )));
        }
        let port = url.port().unwrap_or(scheme.port);
        let path = url.path().strip_prefix('/').map(decoded).transpose()?;
        Ok(Server {
            place: format!("{}://{}:{port}", scheme.name, url.host_str().unwrap_or_default()),
            host,
            port,
            tls: scheme.tls,
            path,
            timeout: config.timeout.map_or(Duration::from_secs(10), |span| span.0),
            config,
            project: context.project.clone(),
        })
    }

    /// Fetches the secrets and reads the certificates.
    ///
    /// # Errors
    /// Kind `Config` when one is not to be had.
    pub(crate) async fn login(&self) -> Result<Login> {
        let (config, project) = (self.config.clone(), self.project.clone());
        blocking(move || {
            let password = config.password.as_ref().map(|password| password.resolve(&project));
            let file = |name: &'static str, file: &Option<PathBuf>| match file {
                None => Ok(None),
                Some(file) => read(name, &project, file).map(Some),
            };
            let certificate = file("client_cert", &config.client_cert)?;
            let key = file("client_key", &config.client_key)?;
            Ok(Login {
                user: config.user.clone(),
                password: password.transpose()?,
                authorities: file("ca", &config.ca)?,
                identity: certificate.zip(key),
            })
        })
        .await
    }

    /// Adds where it happened.
    pub(crate) fn named(&self, error: Error) -> Error {
        match error.context().iter().any(|(name, _)| *name == "server") {
            true => error,
            false => error.with("server", &self.place),
        }
    }
}

impl Login {
    /// How the server is verified, and what it is shown.
    ///
    /// # Errors
    /// Kind `Config` for certificates that cannot be read.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>> {
        let wrong = "the certificates of the connection cannot be used";
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.or_error(ErrorKind::Config, wrong)?;
                    roots.add(certificate).or_error(ErrorKind::Config, wrong)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .or_error(ErrorKind::Internal, wrong)?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .or_error(ErrorKind::Config, wrong)?;
                let key = PrivateKeyDer::from_pem_slice(key).or_error(ErrorKind::Config, wrong)?;
                builder.with_client_auth_cert(chain, key).or_error(ErrorKind::Config, wrong)?
            }
        };
        Ok(Arc::new(config))
    }
}

/// Has libraries that choose no cryptography of their own use ours.
pub(crate) fn choose_cryptography() {
    // An error says that somebody chose before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn read(name: &str, project: &Path, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(project.join(file)).map_err(|error| {
        Error::new(ErrorKind::Config, format!("`{name}` cannot be read"))
            .with("file", file.display())
            .because(error)
    })
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A part of an address, without its percent signs.
fn decoded(text: &str) -> Result<String> {
    let wrong = || {
        Error::new(ErrorKind::Config, format!("`url`: `{text}` is not written as addresses are"))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(wrong)?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Does it again when the server does not answer, after a pause that grows, a few times.
///
/// # Errors
/// Of the last try.
pub(crate) async fn patiently<T, F>(cancel: &Cancellation, attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    again_after(FIRST_PAUSE, cancel, attempt).await
}

async fn again_after<T, F>(
    first_pause: Duration,
    cancel: &Cancellation,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut tries = 0;
    loop {
        cancel.check()?;
        tries += 1;
        match attempt().await {
            Err(error) if error.kind() == ErrorKind::Unavailable && tries < TRIES => {
                tracing::debug!(%error, tries, "the server does not answer");
                tokio::select! {
                    () = tokio::time::sleep(pause(first_pause, tries)) => {}
                    () = cancel.cancelled() => {}
                }
            }
            result => return result,
        }
    }
}

/// Somewhere between a half and the whole of what grows, so that many do not come at once.
fn pause(first: Duration, tries: u32) -> Duration {
    let whole = first.saturating_mul(1 << tries.saturating_sub(1).min(10));
    whole.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::{Value, json};

    use super::*;

    const SCHEMES: &[Scheme] = &[
        Scheme { name: "redis", port: 6379, tls: false },
        Scheme { name: "rediss", port: 6380, tls: true },
    ];

    fn server(written: Value) -> Result<Server> {
        let config = serde_json::from_value(written).unwrap();
        Server::new(config, &ConnectContext::default(), SCHEMES)
    }

    #[test]
    fn an_address_says_where_and_how() {
        let of = |url: &str| server(json!({ "url": url })).unwrap();
        let plain = of("redis://me@example.org/3");
        assert_eq!((plain.host.as_str(), plain.port, plain.tls), ("example.org", 6379, false));
        assert_eq!((plain.path.as_deref(), plain.config.user.as_deref()), (Some("3"), Some("me")));
        let secure = of("rediss://[::1]:7000/a%2Fb");
        assert_eq!((secure.host.as_str(), secure.port, secure.tls), ("::1", 7000, true));
        assert_eq!(secure.path.as_deref(), Some("a/b"));
        assert_eq!(of("redis://h").path, None);
        assert_eq!(of("redis://h/").path.as_deref(), Some(""));
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (written, named) in [
            (json!({"url": "http://h"}), "redis://, rediss://"),
            (json!({"url": "redis://me:secret@h"}), "password"),
            (json!({"url": "redis://"}), "one host"),
            (json!({"url": "redis://a@h", "user": "b"}), "`user`"),
            (json!({"url": "redis://h?x=1"}), "`url`"),
            (json!({"url": "rediss://h", "client_key": "k"}), "`client_cert`"),
            (json!({"url": "redis://h", "ca": "k"}), "rediss://"),
            (
                json!({"url": "redis://h", "password": {"env": "X"}}),
                "`allow_plaintext_password: true`",
            ),
            (json!({"url": "redis://h/%zz"}), "`%zz`"),
        ] {
            let error = server(written.clone()).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
        for url in ["redis://127.0.0.1", "redis://[::1]", "redis://localhost", "rediss://h"] {
            assert!(server(json!({"url": url, "password": {"env": "X"}})).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_asked_a_few_times() {
        let asked = AtomicU32::new(0);
        let answers = |kind: ErrorKind, good: u32| {
            asked.store(0, Ordering::Relaxed);
            let asked = &asked;
            move || async move {
                match asked.fetch_add(1, Ordering::Relaxed) + 1 {
                    count if count >= good => Ok(count),
                    _ => Err(Error::new(kind, "away")),
                }
            }
        };
        let cancel = Cancellation::new();
        let came = again_after(Duration::ZERO, &cancel, answers(ErrorKind::Unavailable, 3)).await;
        assert_eq!(came.unwrap(), 3);
        let never = again_after(Duration::ZERO, &cancel, answers(ErrorKind::Unavailable, 99)).await;
        assert_eq!(never.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(asked.load(Ordering::Relaxed), TRIES);
        let denied = again_after(Duration::ZERO, &cancel, answers(ErrorKind::Denied, 99)).await;
        assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
