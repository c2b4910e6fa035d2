//! A registry of schemas, as Confluent's speaks: each message in Avro says the number of its schema, and the
//! registry what it is.
//!
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{Cancellation, Error, ErrorKind, Result, Secret, SecretRef};
use tidemill_objects::guarded_agent;
use tokio::runtime::Handle;
use ureq::Agent;
use url::Url;

use crate::files::avro::readable;

/// Where the schemas are, and how the client says who it is.
#[derive(Debug, Clone)]
pub(crate) struct RegistryConfig {
    url: String,
    user: Option<String>,
    password: Option<SecretRef>,
    token: Option<SecretRef>,
    allow_plaintext_password: bool,
}

impl<'de> Deserialize<'de> for RegistryConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            url: String,
            user: Option<String>,
            password: Option<SecretRef>,
            token: Option<SecretRef>,
            #[serde(default)]
            allow_plaintext_password: bool,
        }
        use serde::de::Error as _;
        let wrong = |error| D::Error::custom(format!("`schema_registry`: {error}"));
        let written = match Value::deserialize(deserializer)? {
            Value::String(url) => Written {
                url,
                user: None,
                password: None,
                token: None,
                allow_plaintext_password: false,
            },
            other => serde_json::from_value(other).map_err(wrong)?,
        };
        Ok(RegistryConfig {
            url: written.url,
            user: written.user,
            password: written.password,
            token: written.token,
            allow_plaintext_password: written.allow_plaintext_password,
        })
    }
}

impl RegistryConfig {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// Kind `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        let url = self.address()?;
        let login = self.password.is_some() || self.token.is_some();
        if url.scheme() == "http" && login && !self.allow_plaintext_password {
            return wrong(
                "the login of `schema_registry` would be sent over http, where anybody on the way can read it; use \
                 an address with https, or say `allow_plaintext_password: true` there",
            );
        }
        if self.user.is_some() != self.password.is_some() {
            return wrong("`schema_registry` needs `user` and `password` together");
        }
        if self.token.is_some() && self.user.is_some() {
            return wrong("`schema_registry` takes a `token`, or `user` and `password`");
        }
        Ok(())
    }

    fn address(&self) -> Result<Url> {
        let mut url = Url::parse(&self.url).map_err(|error| {
            let message = "`url` of `schema_registry` is not an address";
            Error::new(ErrorKind::Config, message).with("url", &self.url).because(error)
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
            let message =
                "`url` of `schema_registry` must begin with https:// or http:// and have no `?`";
            return Err(Error::new(ErrorKind::Config, message).with("url", &self.url));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(url)
    }
}

/// What a number stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Registered {
    /// A schema of Avro, as the reader of records takes it.
    Avro(Value),
    /// Nothing that can be read, and why.
    Unreadable(String),
}

/// The one who asks.
pub(super) struct Registry {
    agent: Agent,
    base: Url,
    login: Option<Secret>,
    handle: Handle,
    cancel: Cancellation,
}

/// Schemas never change: by the registry's address and their number.
static KNOWN: LazyLock<Mutex<HashMap<(String, u32), Registered>>> = LazyLock::new(Mutex::default);

/// How often a request is made again.
const TRIES: u32 = 5;

/// The largest schema.
const LARGEST: u64 = 16 << 20;

/// How deep references go.
const DEEPEST: usize = 32;

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

impl Registry {
    /// With its secrets; nothing is asked yet.
    pub(super) fn new(
        config: &RegistryConfig,
        project: &Path,
        handle: Handle,
        cancel: Cancellation,
    ) -> Result<Registry> {
        let login = match (&config.user, &config.password, &config.token) {
            (Some(user), Some(password), _) => {
                let password = password.resolve(project)?;
                let login = STANDARD.encode(format!("{user}:{}", password.expose()));
                Some(Secret::new(format!("Basic {login}")))
            }
            (_, _, Some(token)) => {
                Some(Secret::new(format!("Bearer {}", token.resolve(project)?.expose())))
            }
            _ => None,
        };
        Ok(Registry {
            agent: guarded_agent(true, Duration::from_secs(30)),
            base: config.address()?,
            login,
            handle,
            cancel,
        })
    }

    /// The schemas of these numbers. Blocks.
    ///
    /// # Errors
    /// Kind `Unavailable` when the registry does not answer, `Denied` when it refuses the login.
    pub(super) fn schemas(
        &self,
        numbers: impl Iterator<Item = u32>,
    ) -> Result<BTreeMap<u32, Registered>> {
        let mut found = BTreeMap::new();
        for number in numbers {
            let key = (self.base.to_string(), number);
            let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let schema = match known {
                Some(schema) => schema,
                None => {
                    let schema = self.schema(number)?;
                    // One that is not there yet may come.
                    if matches!(schema, Registered::Avro(_)) {
                        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
                        known.insert(key, schema.clone());
                    }
                    schema
                }
            };
            found.insert(number, schema);
        }
        Ok(found)
    }

    fn schema(&self, number: u32) -> Result<Registered> {
        let Some(answer) = self.get(&["schemas", "ids", &number.to_string()])? else {
            return Ok(Registered::Unreadable(format!(
                "the schema registry has no schema {number}"
            )));
        };
        match answer.kind.as_deref() {
            None | Some("AVRO") => {}
            Some(other) => {
                return Ok(Registered::Unreadable(format!(
                    "schema {number} is of type {other}, and not of Avro"
                )));
            }
        }
        let mut referred = Vec::new();
        self.referred(&answer.references, &mut referred, 0)?;
        let parse = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|error| {
                let message = format!("schema {number} of the registry is not JSON");
                Error::new(ErrorKind::Data, message).because(error)
            })
        };
        let referred: Vec<Value> =
            referred.iter().map(|text| parse(text)).collect::<Result<_>>()?;
        let schema = parse(&answer.schema)?;
        Ok(match readable(&schema, &referred) {
            Ok(schema) => Registered::Avro(schema),
            Err(reason) => {
                Registered::Unreadable(format!("schema {number} cannot be read: {reason}"))
            }
        })
    }

    /// What a schema refers to, what others need first.
    fn referred(
        &self,
        references: &[Reference],
        found: &mut Vec<String>,
        depth: usize,
    ) -> Result<()> {
        for reference in references {
            let Reference { subject, version } = reference;
            if depth > DEEPEST {
                let message = "schemas of the registry refer to each other without end";
                return Err(Error::new(ErrorKind::Data, message).with("subject", subject));
            }
            let path = ["subjects", subject, "versions", &version.to_string()];
            let answer = self.get(&path)?.ok_or_else(|| {
                let message = "the schema registry does not have what a schema refers to";
                Error::new(ErrorKind::Data, message)
                    .with("subject", subject)
                    .with("version", version)
            })?;
            self.referred(&answer.references, found, depth + 1)?;
            if !found.contains(&answer.schema) {
                found.push(answer.schema);
            }
        }
        Ok(())
    }

    /// `None` for what is not there.
    fn get(&self, path: &[&str]) -> Result<Option<Answer>> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            self.cancel.check()?;
            let error = match self.ask(&url) {
                Ok((404, _)) => return Ok(None),
                Ok((401 | 403, _)) => {
                    let message = "the schema registry refuses the login";
                    return Err(Error::new(ErrorKind::Denied, message).with("url", &url));
                }
                Ok((status @ 200..300, body)) => {
                    return serde_json::from_slice(&body).map(Some).map_err(|error| {
                        let message = "the answer of the schema registry is not understood";
                        Error::new(ErrorKind::Data, message)
                            .with("url", &url)
                            .with("status", status)
                            .because(error)
                    });
                }
                Ok((status, _)) => {
                    let message = format!("the schema registry answers with status {status}");
                    let error = Error::new(ErrorKind::Unavailable, message).with("url", &url);
                    if status < 500 && status != 429 {
                        return Err(error);
                    }
                    error
                }
                Err(error) => error,
            };
            if tries >= TRIES {
                return Err(error);
            }
            let whole = 200 << tries;
            let pause = Duration::from_millis(fastrand::u64(whole / 2..=whole));
            self.handle.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.cancel.cancelled() => {}
                }
            });
        }
    }

    fn ask(&self, url: &Url) -> Result<(u16, Vec<u8>)> {
        let unreachable = |error: ureq::Error| {
            Error::new(ErrorKind::Unavailable, "the schema registry cannot be reached")
                .with("url", url)
                .because(error)
        };
        let mut request = self
            .agent
            .get(url.as_str())
            .header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(login) = &self.login {
            request = request.header("authorization", login.expose());
        }
        let mut answer = request.call().map_err(unreachable)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        let reader = answer.body_mut().with_config().limit(LARGEST).reader();
        reader
            .take(LARGEST)
            .read_to_end(&mut body)
            .map_err(|error| unreachable(ureq::Error::Io(error)))?;
        Ok((status, body))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_login_goes_over_https_unless_declared() {
        let of = |written: Value| {
            let config: RegistryConfig = serde_json::from_value(written)
                .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
            config.check()
        };
        assert!(of(json!("http://registry:8081")).is_ok());
        let login = json!({"url": "http://registry", "user": "me", "password": {"env": "X"}});
        let error = of(login.clone()).unwrap_err();
        assert!(error.message().contains("allow_plaintext_password"), "{error}");
        let mut declared = login.clone();
        declared["allow_plaintext_password"] = json!(true);
        assert!(of(declared).is_ok());
        let mut https = login;
        https["url"] = json!("https://registry/api");
        assert!(of(https).is_ok());
        for wrong in [
            json!("registry:8081"),
            json!({"url": "https://r", "user": "me"}),
            json!({"url": "https://r", "token": "secret", "user": "a", "password": {"env": "X"}}),
            json!({"url": "https://r", "usr": "me"}),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
