//! The settings of a connection to NATS and of its tables, and how it is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::Context;
use serde::Deserialize;
use tidemill_core::{Cancellation, Error, ErrorKind, Result, SecretRef};

use crate::queue::{OnLost, QueueSettings, RegistryConfig, Servers, Start, check_encryption};
use crate::rest::Span;
use crate::stream::blocking;
use crate::tls::client_config;

/// The settings of a connection of type `nats`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// The servers: `host:port`, several by commas or as a list.
    servers: Servers,
    /// Whether the connection is encrypted, and the server's certificate checked.
    #[serde(default)]
    tls: bool,
    /// The certificates of authorities, instead of the system's: a file in PEM.
    ca: Option<PathBuf>,
    /// The certificate of this client: a file in PEM.
    client_cert: Option<PathBuf>,
    /// Its key.
    client_key: Option<PathBuf>,
    /// The user.
    user: Option<String>,
    /// The password of the user.
    password: Option<SecretRef>,
    /// A token.
    token: Option<SecretRef>,
    /// The seed of an NKey (`SU…`), which is never sent.
    nkey: Option<SecretRef>,
    /// Credentials as `nsc` writes them: a token and the seed of its key.
    credentials: Option<SecretRef>,
    /// Whether a password or token may be sent that anybody on the way can read (without `tls`).
    #[serde(default)]
    allow_plaintext_password: bool,
    /// The domain of JetStream, where the server has several.
    domain: Option<String>,
    /// How long the server may take to answer, all tries together. Default `30s`.
    timeout: Option<Span>,
    /// Where the schemas of messages in Avro are.
    pub(super) schema_registry: Option<RegistryConfig>,
}

impl NatsConfig {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// Kind `Config`.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if self.servers().is_empty() {
            return wrong("`servers` is empty; it names servers as `host:port`");
        }
        if self.servers().iter().any(|server| server.contains('@')) {
            return wrong("`servers` has a login; write it as `user` and `password`, or `token`");
        }
        check_encryption(
            self.tls,
            self.ca.is_some(),
            self.client_cert.is_some(),
            self.client_key.is_some(),
        )?;
        if self.user.is_some() != self.password.is_some() {
            return wrong("`user` and `password` have to be given together");
        }
        let logins = [&self.password, &self.token, &self.nkey, &self.credentials];
        if logins.into_iter().flatten().count() > 1 {
            return wrong(
                "one of `user`, `token`, `nkey` and `credentials` says who it is, not several",
            );
        }
        let readable = self.password.is_some() || self.token.is_some();
        if readable && !self.tls && !self.allow_plaintext_password {
            return wrong(
                "without `tls` the password or token is sent so that anybody on the way can read it; use `tls: true`, \
                 `nkey` or `credentials`, or say `allow_plaintext_password: true`",
            );
        }
        match &self.schema_registry {
            Some(registry) => registry.check(),
            None => Ok(()),
        }
    }

    fn servers(&self) -> Vec<String> {
        self.servers.list().into_iter().map(str::to_owned).collect()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout.map_or(Duration::from_secs(30), |span| span.0.max(Duration::from_secs(1)))
    }

    /// Fetches the secrets. Blocks.
    fn options(&self, project: &Path) -> Result<ConnectOptions> {
        let secret = |reference: &Option<SecretRef>| {
            reference.as_ref().map(|reference| reference.resolve(project)).transpose()
        };
        let mut options = ConnectOptions::new().name("tidemill").require_tls(self.tls);
        if let (Some(user), Some(password)) = (&self.user, secret(&self.password)?) {
            options = options.user_and_password(user.clone(), password.expose().to_owned());
        }
        if let Some(token) = secret(&self.token)? {
            options = options.token(token.expose().to_owned());
        }
        if let Some(seed) = secret(&self.nkey)? {
            options = options.nkey(seed.expose().to_owned());
        }
        if let Some(credentials) = secret(&self.credentials)? {
            options = options.credentials(credentials.expose()).map_err(|error| {
                let message = "`credentials` are not what `nsc` writes: a token and a seed";
                Error::new(ErrorKind::Config, message).because(error)
            })?;
        }
        if self.tls {
            let ca = self.ca.as_ref().map(|file| project.join(file));
            let identity = self.client_cert.as_ref().zip(self.client_key.as_ref());
            let identity = identity.map(|(file, key)| (project.join(file), project.join(key)));
            let identity = identity.as_ref().map(|(file, key)| (file.as_path(), key.as_path()));
            options = options.tls_client_config(client_config(ca.as_deref(), identity)?);
        }
        Ok(options)
    }
}

/// A connection to a server.
pub(super) struct Client {
    pub(super) context: Context,
    pub(super) timeout: Duration,
}

/// How often a connection is tried.
const TRIES: u32 = 6;

impl Client {
    /// # Errors
    /// Kind `Unavailable` when no server answers in time, `Denied` when the login is refused.
    pub(super) async fn connect(
        config: &Arc<NatsConfig>,
        project: &Path,
        cancel: &Cancellation,
    ) -> Result<Client> {
        use async_nats::ConnectErrorKind as Kind;

        let timeout = config.timeout();
        let end = Instant::now() + timeout;
        let servers = config.servers();
        let mut tries = 0;
        let client = loop {
            tries += 1;
            let (own, project) = (Arc::clone(config), project.to_owned());
            let options = blocking(move || own.options(&project)).await?;
            let limit = timeout.min(Duration::from_secs(10));
            let error = match options.connection_timeout(limit).connect(servers.as_slice()).await {
                Ok(client) => break client,
                Err(error) => error,
            };
            let pause = Duration::from_millis(fastrand::u64((100 << tries)..=(200 << tries)));
            let again = matches!(error.kind(), Kind::Io | Kind::TimedOut | Kind::Dns);
            if !again || tries >= TRIES || Instant::now() + pause >= end {
                let (kind, message) = match error.kind() {
                    Kind::AuthorizationViolation | Kind::Authentication => {
                        (ErrorKind::Denied, "the server refuses the login")
                    }
                    Kind::ServerParse => (ErrorKind::Config, "`servers` has what is no address"),
                    Kind::Tls => (ErrorKind::Denied, "the connection cannot be encrypted"),
                    _ => (ErrorKind::Unavailable, "no server of NATS answers"),
                };
                return Err(Error::new(kind, message)
                    .with("servers", servers.join(", "))
                    .because(error));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => cancel.check()?,
            }
        };
        let mut context = match &config.domain {
            Some(domain) => async_nats::jetstream::with_domain(client, domain),
            None => async_nats::jetstream::new(client),
        };
        context.set_timeout(timeout);
        Ok(Client { context, timeout })
    }
}

/// What the library says, as a failure of this kind of source.
pub(super) fn failure(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    message: &str,
) -> Error {
    Error::new(ErrorKind::Unavailable, message).because(error)
}

/// What stands under `ingest:` of a table of NATS, beside what all queues have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamSettings {
    /// The stream. Default: the source table's name.
    pub(super) stream: Option<String>,
    /// Only messages with this subject, or one of these. `*` is one word and `>` all that follow.
    subject: Option<Subjects>,
    /// What happens when messages that were not read are gone.
    pub(super) on_lost: OnLost,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Subjects {
    One(String),
    Many(Vec<String>),
}

impl StreamSettings {
    /// # Errors
    /// Kind `Config`.
    pub(super) fn check(&self, common: &QueueSettings) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if self.subjects().iter().any(|subject| subject.trim().is_empty()) {
            return wrong("`subject` is empty");
        }
        if matches!(common.start, Start::Offsets(_)) {
            return wrong("a stream of NATS has no partitions; `start` is one sequence number");
        }
        Ok(())
    }

    /// The subjects that are wanted; all, if none is named.
    pub(super) fn subjects(&self) -> Vec<String> {
        match &self.subject {
            None => Vec::new(),
            Some(Subjects::One(subject)) => vec![subject.clone()],
            Some(Subjects::Many(subjects)) => subjects.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(written: Value) -> Result<NatsConfig> {
        let config: NatsConfig = serde_json::from_value(written)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let secret = json!({"env": "X"});
        assert_eq!(config(json!({"servers": "a:1, b:2"})).unwrap().servers(), ["a:1", "b:2"]);
        assert!(config(json!({"servers": ["a:1"], "nkey": secret})).is_ok());
        assert!(config(json!({"servers": "a", "token": secret, "tls": true})).is_ok());
        for (written, named) in [
            (json!({"servers": []}), "`servers`"),
            (json!({"servers": "nats://me:pw@a"}), "login"),
            (json!({"servers": "a", "token": secret}), "allow_plaintext_password"),
            (json!({"servers": "a", "user": "me", "password": secret}), "allow_plaintext_password"),
            (json!({"servers": "a", "user": "me"}), "`password`"),
            (json!({"servers": "a", "ca": "ca.pem"}), "`tls: true`"),
            (json!({"servers": "a", "nkey": secret, "credentials": secret}), "not several"),
            (json!({"server": "a"}), "server"),
        ] {
            let error = config(written.clone()).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
    }
}
