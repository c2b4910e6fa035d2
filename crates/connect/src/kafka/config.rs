//! The settings of a connection to Kafka, and of its tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use krafka::auth::{AuthConfig, TlsConfig};
use serde::Deserialize;
use tidemill_core::{Error, ErrorKind, Result, ResultExt, SecretRef};

use crate::queue::{OnLost, RegistryConfig, Servers, check_encryption};
use crate::rest::Span;
use crate::tls::system_roots;

/// The settings of a connection of type `kafka`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers that the others are learned from: `host:port`, several by commas or as a list.
    #[serde(alias = "brokers")]
    bootstrap_servers: Servers,
    /// Whether the connection is encrypted, and the broker's certificate checked.
    #[serde(default)]
    tls: bool,
    /// The certificates of authorities, instead of the system's: a file in PEM.
    ca: Option<PathBuf>,
    /// The certificate of this client: a file in PEM.
    client_cert: Option<PathBuf>,
    /// Its key.
    client_key: Option<PathBuf>,
    /// How the client says who it is.
    #[serde(default)]
    sasl: Sasl,
    /// The user, for SASL.
    user: Option<String>,
    /// The password, for SASL.
    password: Option<SecretRef>,
    /// Whether a password may be sent that anybody on the way can read (`sasl: plain` without `tls`).
    #[serde(default)]
    allow_plaintext_password: bool,
    /// The name that this client has in the broker's logs.
    #[serde(default = "client_id")]
    client_id: String,
    /// How long brokers may take to answer, all tries together. Default `30s`.
    timeout: Option<Span>,
    /// Where the schemas of messages in Avro are.
    pub(super) schema_registry: Option<RegistryConfig>,
}

/// How a client says who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sasl {
    #[default]
    None,
    Plain,
    #[serde(rename = "scram-sha-256", alias = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512", alias = "SCRAM-SHA-512")]
    ScramSha512,
}

fn client_id() -> String {
    "tidemill".to_owned()
}

impl KafkaConfig {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// Kind `Config`.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if self.servers().is_empty() {
            return wrong("`bootstrap_servers` is empty; it names brokers as `host:port`");
        }
        check_encryption(
            self.tls,
            self.ca.is_some(),
            self.client_cert.is_some(),
            self.client_key.is_some(),
        )?;
        match (self.sasl, &self.user, &self.password) {
            (Sasl::None, None, None) => {}
            (Sasl::None, ..) => {
                return wrong(
                    "`user` and `password` need `sasl`: `plain`, `scram-sha-256` or `scram-sha-512`",
                );
            }
            (_, Some(_), Some(_)) => {}
            _ => return wrong("`sasl` needs a `user` and a `password`"),
        }
        if self.sasl == Sasl::Plain && !self.tls && !self.allow_plaintext_password {
            return wrong(
                "`sasl: plain` without `tls` sends the password so that anybody on the way can read it; use \
                 `tls: true` or `scram-sha-512`, or say `allow_plaintext_password: true`",
            );
        }
        if let Some(registry) = &self.schema_registry {
            registry.check()?;
        }
        Ok(())
    }

    /// The brokers, by commas.
    pub(super) fn servers(&self) -> String {
        self.bootstrap_servers.list().join(",")
    }

    /// The name of this client.
    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// How long brokers may take to answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.map_or(Duration::from_secs(30), |span| span.0.max(Duration::from_secs(1)))
    }

    /// How the client is known and what is encrypted; fetches the password. Blocks.
    ///
    /// # Errors
    /// Kind `Config` for files and secrets that cannot be had.
    pub(super) fn security(&self, project: &Path) -> Result<AuthConfig> {
        let login = match (&self.user, &self.password) {
            (Some(user), Some(password)) => Some((user.clone(), password.resolve(project)?)),
            _ => None,
        };
        let auth = match (self.sasl, login) {
            (Sasl::Plain, Some((user, password))) => {
                AuthConfig::sasl_plain(user, password.expose())
            }
            (Sasl::ScramSha256, Some((user, password))) => {
                AuthConfig::sasl_scram_sha256(user, password.expose())
            }
            (Sasl::ScramSha512, Some((user, password))) => {
                AuthConfig::sasl_scram_sha512(user, password.expose())
            }
            _ if self.tls => return Ok(AuthConfig::ssl(self.tls_config(project)?)),
            _ => return Ok(AuthConfig::plaintext()),
        };
        Ok(match self.tls {
            true => auth.with_tls(self.tls_config(project)?),
            false => auth,
        })
    }

    fn tls_config(&self, project: &Path) -> Result<TlsConfig> {
        let read = |setting: &'static str, file: &Path| {
            std::fs::read(project.join(file)).map_err(|error| {
                Error::new(ErrorKind::Config, format!("`{setting}` cannot be read"))
                    .with("file", file.display())
                    .because(error)
            })
        };
        let authorities = match &self.ca {
            Some(file) => read("ca", file)?,
            None => system_roots("ca")?,
        };
        let tls = TlsConfig::new().with_ca_cert_pem(authorities);
        match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) =
                    (read("client_cert", certificate)?, read("client_key", key)?);
                Ok(tls.with_client_cert_pem(certificate, key))
            }
            _ => Ok(tls),
        }
    }
}

/// What stands under `ingest:` of a table of Kafka, beside what all queues have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TopicSettings {
    /// The topic, several, or patterns (`orders-*`). Default: the source table's name.
    topic: Option<Topics>,
    /// Which messages of transactions are read.
    pub(super) isolation: Isolation,
    /// What happens when messages that were not read are gone.
    pub(super) on_lost: OnLost,
    /// The consumer group to which the position is written after each load, for those who watch its lag.
    /// What is read does not depend on it.
    pub(super) group: Option<String>,
}

/// One name or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Topics {
    One(String),
    Many(Vec<String>),
}

/// Which messages of transactions are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Isolation {
    /// Those of transactions that were committed.
    #[default]
    ReadCommitted,
    /// All, also of transactions that were aborted or are open.
    ReadUncommitted,
}

impl TopicSettings {
    /// # Errors
    /// Kind `Config`.
    pub(super) fn check(&self) -> Result<()> {
        self.wanted("table").map(drop)
    }

    /// Which topics are wanted, for a table of this name.
    pub(super) fn wanted(&self, table: &str) -> Result<Wanted> {
        let names = match &self.topic {
            None => vec![table.to_owned()],
            Some(Topics::One(name)) => vec![name.clone()],
            Some(Topics::Many(names)) => names.clone(),
        };
        if names.is_empty() || names.iter().any(|name| name.trim().is_empty()) {
            return Err(Error::new(ErrorKind::Config, "`topic` is empty"));
        }
        Wanted::new(names)
    }
}

/// The topics of a table.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// As they are written.
    pub(super) written: String,
    names: Vec<String>,
    patterns: Option<GlobSet>,
}

impl Wanted {
    fn new(written: Vec<String>) -> Result<Wanted> {
        let is_pattern = |name: &String| name.contains(['*', '?', '{', '[']);
        let text = written.join(", ");
        let (patterns, names): (Vec<String>, Vec<String>) =
            written.into_iter().partition(is_pattern);
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            let wrong = "a pattern in `topic` cannot be read";
            set.add(GlobBuilder::new(pattern).build().or_error(ErrorKind::Config, wrong)?);
        }
        let set =
            set.build().or_error(ErrorKind::Config, "the patterns in `topic` are too large")?;
        let patterns = if patterns.is_empty() { None } else { Some(set) };
        Ok(Wanted { written: text, names, patterns })
    }

    /// Whether the topics have to be listed first.
    pub(super) fn has_patterns(&self) -> bool {
        self.patterns.is_some()
    }

    /// The topics by their names, and those of all that fit a pattern. Topics of the broker's own (`__…`) fit
    /// none.
    pub(super) fn among(&self, all: &[String]) -> Vec<String> {
        let mut found = self.names.clone();
        if let Some(patterns) = &self.patterns {
            let fits = all.iter().filter(|name| !name.starts_with("__") && patterns.is_match(name));
            found.extend(fits.cloned());
        }
        found.sort();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(written: Value) -> Result<KafkaConfig> {
        let config: KafkaConfig = serde_json::from_value(written)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_password_that_anybody_can_read_has_to_be_declared() {
        let written = |more: Value| {
            let mut written = json!({
                "bootstrap_servers": ["a:9092", "b:9092"], "sasl": "plain", "user": "me",
                "password": {"env": "X"},
            });
            written.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            config(written)
        };
        let error = written(json!({})).unwrap_err();
        assert!(error.message().contains("allow_plaintext_password"), "{error}");
        assert_eq!(written(json!({"tls": true})).unwrap().servers(), "a:9092,b:9092");
        assert!(written(json!({"allow_plaintext_password": true})).is_ok());
        assert!(written(json!({"sasl": "scram-sha-512"})).is_ok());
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        for (written, named) in [
            (json!({"bootstrap_servers": ""}), "`bootstrap_servers`"),
            (json!({"bootstrap_servers": "a:1", "ca": "ca.pem"}), "`tls: true`"),
            (json!({"bootstrap_servers": "a:1", "tls": true, "client_cert": "c"}), "`client_key`"),
            (json!({"bootstrap_servers": "a:1", "user": "me"}), "`sasl`"),
            (json!({"bootstrap_servers": "a:1", "sasl": "plain", "user": "me"}), "`password`"),
            (json!({"bootstrap_servers": "a:1", "sasl": "gssapi"}), "gssapi"),
            (json!({"bootstrap_servers": "a:1", "grupo": "x"}), "grupo"),
        ] {
            let error = config(written.clone()).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
    }

    #[test]
    fn topics_are_named_or_fit_a_pattern() {
        let wanted = |topic: Value| {
            let settings: TopicSettings = serde_json::from_value(json!({"topic": topic})).unwrap();
            settings.wanted("orders")
        };
        let all = ["__consumer_offsets", "orders-de", "orders-fr", "other"].map(str::to_owned);
        assert_eq!(TopicSettings::default().wanted("orders").unwrap().among(&all), ["orders"]);
        let pattern = wanted(json!("orders-*")).unwrap();
        assert!(pattern.has_patterns());
        assert_eq!(pattern.among(&all), ["orders-de", "orders-fr"]);
        assert_eq!(wanted(json!(["other", "*-de"])).unwrap().among(&all), ["orders-de", "other"]);
        assert_eq!(wanted(json!("*")).unwrap().among(&all).len(), 3);
        assert!(wanted(json!([])).is_err());
    }
}
