//! Logins: headers, parameters, and tokens that are asked for.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidemill_core::{Error, ErrorKind, Result, Secret, SecretRef};
use url::Url;

use super::settings::{AuthSettings, ClientAuth, KeyPlace, Oauth2};
use super::sign::Signer;

/// Who asks, with secrets.
pub(super) enum Auth {
    None,
    Header(String, String),
    Query(String, String),
    Token(Box<Grant>),
    Signed(Box<Signer>),
}

/// How a token is asked for, and the one that is there.
pub(super) struct Grant {
    pub(super) url: Url,
    pub(super) headers: Vec<(String, String)>,
    /// But for the refresh token.
    form: String,
    pub(super) refresh: Option<RefreshToken>,
    pub(super) token: Mutex<Option<(Secret, Option<Instant>)>>,
}

impl Auth {
    pub(super) fn new(settings: &AuthSettings, project: &Path) -> Result<Auth> {
        let bearer = |token: &SecretRef| {
            let token = token.resolve(project)?;
            Ok(Auth::Header("authorization".to_owned(), format!("Bearer {}", token.expose())))
        };
        match settings {
            AuthSettings::None => Ok(Auth::None),
            AuthSettings::Bearer { token } => bearer(token),
            AuthSettings::Basic { user, password } => {
                let password = match password {
                    Some(password) => password.resolve(project)?.expose().to_owned(),
                    None => String::new(),
                };
                Ok(Auth::Header("authorization".to_owned(), basic(user, &password)))
            }
            AuthSettings::ApiKey { name, api_key, place } => {
                let key = api_key.resolve(project)?.expose().to_owned();
                Ok(match place {
                    KeyPlace::Header => Auth::Header(name.clone(), key),
                    KeyPlace::Query => Auth::Query(name.clone(), key),
                })
            }
            AuthSettings::AwsSigv4(aws) => Ok(Auth::Signed(Box::new(Signer::new(aws, project)?))),
            AuthSettings::Oauth2(oauth) => Ok(Auth::Token(Box::new(Grant::new(oauth, project)?))),
        }
    }

    /// Forgets a token that the API does not take; whether there may be a new one.
    pub(super) fn renew(&self) -> bool {
        let Auth::Token(grant) = self else { return false };
        grant.token.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

fn basic(user: &str, password: &str) -> String {
    let login = STANDARD.encode(format!("{user}:{password}"));
    if !password.is_empty() {
        // Another form of the secret.
        drop(Secret::new(login.as_str()));
    }
    format!("Basic {login}")
}

impl Grant {
    fn new(oauth: &Oauth2, project: &Path) -> Result<Grant> {
        let url = Url::parse(&oauth.token_url).map_err(|error| {
            Error::new(ErrorKind::Config, "`token_url` is not an address").because(error)
        })?;
        let secret =
            oauth.client_secret.as_ref().map(|secret| secret.resolve(project)).transpose()?;
        let refresh = oauth.refresh_token.as_ref().map(|reference| RefreshToken {
            reference: reference.clone(),
            project: project.to_owned(),
            newest: Mutex::new(None),
        });
        let mut fields = Vec::new();
        let mut headers =
            vec![("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        let password = secret.as_ref().map_or("", Secret::expose);
        match oauth.client_auth {
            ClientAuth::Body => {
                fields.push(("client_id", oauth.client_id.as_str()));
                if secret.is_some() {
                    fields.push(("client_secret", password));
                }
            }
            ClientAuth::Basic => {
                headers.push(("authorization".to_owned(), basic(&oauth.client_id, password)));
            }
        }
        fields.extend(oauth.scope.as_deref().map(|scope| ("scope", scope)));
        fields.extend(oauth.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        Ok(Grant { url, headers, form: form.finish(), refresh, token: Mutex::new(None) })
    }

    /// What a token is asked for with, by this refresh token or without one.
    pub(super) fn form(&self, refresh: Option<&Secret>) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        match refresh {
            Some(token) => form
                .append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", token.expose()),
            None => form.append_pair("grant_type", "client_credentials"),
        };
        match self.form.is_empty() {
            true => form.finish(),
            false => format!("{}&{}", form.finish(), self.form),
        }
    }
}

/// A refresh token, which an API may replace whenever it is used (RFC 6749, 6).
pub(super) struct RefreshToken {
    reference: SecretRef,
    project: PathBuf,
    /// What replaced it in this process.
    newest: Mutex<Option<Secret>>,
}

/// The refresh token that is used now.
pub(super) struct Held {
    pub(super) token: Secret,
    /// The folder of its file, locked: nobody else uses the token before its successor is kept.
    _lock: Option<File>,
}

impl RefreshToken {
    /// The token to use now.
    ///
    /// # Errors
    /// Kind `Config` when it is not to be had.
    pub(super) fn take(&self) -> Result<Held> {
        let lock = self.file().and_then(|path| {
            let folder = File::open(path.parent()?).ok()?;
            folder.lock().ok()?;
            Some(folder)
        });
        // A file has what other runs were given, too.
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let token = match newest {
            Some(token) if self.file().is_none() => token,
            _ => self.reference.resolve(&self.project)?,
        };
        Ok(Held { token, _lock: lock })
    }

    /// Its file, if it has one, where that really is.
    fn file(&self) -> Option<PathBuf> {
        match &self.reference {
            SecretRef::File(path) => std::fs::canonicalize(self.project.join(path)).ok(),
            _ => None,
        }
    }

    /// Writes the token into its file, in place of the one of before: one or the other is there, whatever happens.
    fn write(path: &Path, token: &Secret) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut next = tempfile::NamedTempFile::new_in(folder)?;
        next.write_all(token.expose().as_bytes())?;
        next.write_all(b"\n")?;
        next.as_file().set_permissions(std::fs::metadata(path)?.permissions())?;
        next.as_file().sync_all()?;
        next.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }
}

impl Held {
    /// The API gave another one in its place. It is kept in the file that it came from; of one that came from
    /// elsewhere this process alone knows. What the user should know of it.
    pub(super) fn replaced(self, source: &RefreshToken, new: Secret) -> Option<String> {
        if new.expose() == self.token.expose() {
            return None;
        }
        let kept = source.file().map(|path| RefreshToken::write(&path, &new));
        *source.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        let lost = "if it takes the old one back, the next run cannot log in";
        match kept {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(format!(
                "the API gave a new refresh token, which cannot be written to its file ({error}): {lost}"
            )),
            None => Some(format!(
                "the API gave a new refresh token: {lost}; keep the token in a file (`refresh_token: {{file: \
                 path}}`), where it is replaced"
            )),
        }
    }
}
