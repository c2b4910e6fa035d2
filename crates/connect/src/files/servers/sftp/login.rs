//! Who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};
use tidemill_core::{Error, ErrorKind, Result, Secret, SecretRef};

/// A name, and what proves it.
pub(super) struct Login {
    user: String,
    key: Option<Arc<PrivateKey>>,
    agent: bool,
    password: Option<Secret>,
}

/// A private key: its file or itself, and what it is encrypted with.
type KeySettings = (Option<PathBuf>, Option<SecretRef>, Option<SecretRef>);

/// What became of an attempt.
enum Attempt {
    Done,
    /// What the server would take instead, or besides when it says so.
    Refused {
        takes: Vec<MethodKind>,
        accepted: bool,
    },
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection broke at the login").because(error)
}

impl From<AuthResult> for Attempt {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Attempt::Done,
            AuthResult::Failure { remaining_methods, partial_success } => {
                Attempt::Refused { takes: remaining_methods.to_vec(), accepted: partial_success }
            }
        }
    }
}

impl Login {
    /// Reads the secrets that the settings refer to.
    pub(super) fn new(
        user: String,
        password: Option<SecretRef>,
        (file, key, passphrase): KeySettings,
        agent: bool,
        project: &Path,
    ) -> Result<Login> {
        let passphrase = passphrase.map(|secret| secret.resolve(project)).transpose()?;
        let text = match (file, key) {
            (Some(_), Some(_)) => {
                return Err(wrong("a login has one key: `private_key_file` or `private_key`"));
            }
            (Some(file), None) => {
                let file = project.join(file);
                Some(std::fs::read_to_string(&file).map(Secret::new).map_err(|error| {
                    wrong("the file of the private key cannot be read")
                        .with("file", file.display())
                        .because(error)
                })?)
            }
            (None, key) => key.map(|secret| secret.resolve(project)).transpose()?,
        };
        let key = text.map(|text| private_key(&text, passphrase.as_ref())).transpose()?;
        let password = password.map(|secret| secret.resolve(project)).transpose()?;
        if key.is_none() && password.is_none() && !agent {
            return Err(wrong(
                "a login needs `password`, `private_key_file`, `private_key`, or `agent: true`",
            ));
        }
        Ok(Login { user, key: key.map(Arc::new), agent, password })
    }

    /// Logs in.
    ///
    /// # Errors
    /// Kind `Denied` when the server does not accept it, `Unavailable` when the connection broke.
    pub(super) async fn prove<H: Handler>(&self, ssh: &mut Handle<H>) -> Result<()> {
        let mut takes = Vec::new();
        let mut tried = Vec::new();
        if let Some(key) = &self.key {
            tried.push("the private key");
            let hash = ssh.best_supported_rsa_hash().await.map_err(lost)?.flatten();
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            let result = ssh.authenticate_publickey(&self.user, key).await.map_err(lost)?;
            match self.seen(result.into(), ssh)? {
                None => return Ok(()),
                Some(methods) => takes = methods,
            }
        }
        if self.agent {
            tried.push("the keys of the SSH agent");
            match self.by_agent(ssh).await? {
                None => return Ok(()),
                Some(methods) => takes = methods,
            }
        }
        if let Some(password) = &self.password {
            tried.push("the password");
            let only_asks = takes.contains(&MethodKind::KeyboardInteractive)
                && !takes.contains(&MethodKind::Password);
            if !only_asks {
                let result = ssh.authenticate_password(&self.user, password.expose()).await;
                match self.seen(result.map_err(lost)?.into(), ssh)? {
                    None => return Ok(()),
                    Some(methods) => takes = methods,
                }
            }
            // Servers are about that take passwords only as the answer to a question.
            if takes.contains(&MethodKind::KeyboardInteractive)
                && !takes.contains(&MethodKind::Password)
                && self.by_answers(password, ssh).await?
            {
                return Ok(());
            }
        }
        let mut error = Error::new(
            ErrorKind::Denied,
            format!("the server does not accept {} of `{}`", tried.join(", nor "), self.user),
        );
        if !takes.is_empty() {
            let names: Vec<&str> = takes.iter().map(Into::into).collect();
            error = error.with("it takes", names.join(", "));
        }
        Err(error)
    }

    /// `None` when that is the login, else what the server takes.
    fn seen<H: Handler>(
        &self,
        attempt: Attempt,
        ssh: &Handle<H>,
    ) -> Result<Option<Vec<MethodKind>>> {
        match attempt {
            Attempt::Done => Ok(None),
            Attempt::Refused { takes, accepted } => {
                if takes.is_empty() && !accepted && ssh.is_closed() {
                    return Err(self.ended());
                }
                Ok(Some(takes))
            }
        }
    }

    /// The connection ended without a word. What was meant is not known; a password is not sent again, as it
    /// may have been a wrong one, and a login that is refused too often is locked.
    fn ended(&self) -> Error {
        match self.password {
            Some(_) => Error::new(
                ErrorKind::Denied,
                format!(
                    "the server does not accept the password of `{}`, or the connection broke: it \
                     ended at the login",
                    self.user
                ),
            ),
            None => {
                Error::new(ErrorKind::Unavailable, "the server ended the connection at the login")
            }
        }
    }

    /// Answers every question that is not shown with the password.
    async fn by_answers<H: Handler>(&self, password: &Secret, ssh: &mut Handle<H>) -> Result<bool> {
        let mut reply = ssh
            .authenticate_keyboard_interactive_start(&self.user, None::<String>)
            .await
            .map_err(lost)?;
        // A server that asks on and on is not answered.
        for _ in 0..8 {
            let prompts = match reply {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
            };
            let answers = prompts.iter().map(|prompt| match prompt.echo {
                true => String::new(),
                false => password.expose().to_owned(),
            });
            reply = ssh
                .authenticate_keyboard_interactive_respond(answers.collect())
                .await
                .map_err(lost)?;
        }
        Ok(false)
    }

    #[cfg(unix)]
    async fn by_agent<H: Handler>(&self, ssh: &mut Handle<H>) -> Result<Option<Vec<MethodKind>>> {
        use russh::keys::agent::AgentIdentity;
        use russh::keys::agent::client::AgentClient;

        let failed = |error: russh::keys::Error| {
            Error::new(ErrorKind::Config, "the SSH agent cannot be asked")
                .with("hint", "`agent: true` needs an agent, and its address in SSH_AUTH_SOCK")
                .because(error)
        };
        let mut agent = AgentClient::connect_env().await.map_err(failed)?;
        let mut takes = Vec::new();
        let hash = ssh.best_supported_rsa_hash().await.map_err(lost)?.flatten();
        for identity in agent.request_identities().await.map_err(failed)? {
            let AgentIdentity::PublicKey { key, .. } = identity else { continue };
            let hash = hash.filter(|_| key.algorithm().is_rsa());
            // A key that the agent does not sign with is not the one.
            let Ok(result) =
                ssh.authenticate_publickey_with(&self.user, key, hash, &mut agent).await
            else {
                continue;
            };
            match self.seen(result.into(), ssh)? {
                None => return Ok(None),
                Some(methods) => takes = methods,
            }
        }
        Ok(Some(takes))
    }

    #[cfg(not(unix))]
    async fn by_agent<H: Handler>(&self, _: &mut Handle<H>) -> Result<Option<Vec<MethodKind>>> {
        Err(wrong("`agent: true` is for Unix; use `private_key_file`"))
    }
}

fn private_key(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey> {
    decode_secret_key(text.expose(), passphrase.map(Secret::expose)).map_err(|error| {
        let encrypted = matches!(error, russh::keys::Error::KeyIsEncrypted);
        let error = wrong("the private key cannot be read").because(error);
        match (encrypted, passphrase) {
            (true, None) => error.with("hint", "it is encrypted: refer to its `passphrase`"),
            (_, Some(_)) => error.with("hint", "is `passphrase` right?"),
            _ => error.with("hint", "it is a key of OpenSSH, PEM or PuTTY, as ssh-keygen makes it"),
        }
    })
}
