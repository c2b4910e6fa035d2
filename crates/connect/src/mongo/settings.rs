//! What is written of a MongoDB: at its connection, and under `ingest:` of a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::bson::Document;
use mongodb::options::{ClientOptions, Credential, Tls, TlsOptions};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidemill_core::{Error, ErrorKind, Result, ResultExt, SecretRef};

use crate::tables::{Lookback, OnLoss};

/// The settings of a connection to a MongoDB.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongoConfig {
    /// `mongodb://host:27017/?replicaSet=rs0` or `mongodb+srv://cluster.example.net`.
    pub url: SecretRef,
    /// The database that has the collections.
    pub database: String,
    /// Who reads.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretRef>,
    /// The database that knows the user. Default `admin`.
    pub auth_database: Option<String>,
    /// Whether the connection is encrypted; default: what the address says.
    pub tls: Option<bool>,
    /// Certificates of authorities, instead of those of Mozilla.
    pub tls_ca: Option<PathBuf>,
    /// Seconds until a server that does not answer is given up.
    #[serde(default = "timeout")]
    pub connect_timeout: u64,
}

fn timeout() -> u64 {
    10
}

impl MongoConfig {
    /// # Errors
    /// Kind `Config`.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if self.password.is_some() && self.user.is_none() {
            return wrong("`password` needs a `user`");
        }
        if self.database.is_empty() {
            return wrong("`database` names the database that has the collections");
        }
        if self.tls == Some(false) && self.tls_ca.is_some() {
            return wrong("`tls_ca` has no meaning with `tls: false`");
        }
        match &self.url {
            SecretRef::Value(url) if !is_address(url.expose()) => {
                wrong("`url` must begin with mongodb:// or mongodb+srv://")
            }
            _ => Ok(()),
        }
    }

    /// How the server is reached; fetches secrets.
    pub(super) async fn options(&self, project: &Path) -> Result<ClientOptions> {
        let (config, project) = (self.clone(), project.to_owned());
        let secrets = tokio::task::spawn_blocking(move || {
            let password = config.password.as_ref().map(|it| it.resolve(&project)).transpose()?;
            Ok::<_, Error>((config.url.resolve(&project)?, password, project))
        });
        let (url, password, project) =
            secrets.await.or_error(ErrorKind::Internal, "a secret was not fetched")??;
        let wrong = "`url` is not the address of a MongoDB";
        if !is_address(url.expose()) {
            return Err(Error::new(ErrorKind::Config, wrong));
        }
        // The message of the driver may show the address, and a password in it.
        let mut options = ClientOptions::parse(url.expose()).await.map_err(|error| {
            let said = tidemill_core::scrub(&error.to_string()).into_owned();
            Error::new(ErrorKind::Config, wrong).with("reason", said)
        })?;
        options.app_name = Some("tidemill".to_owned());
        let time = Duration::from_secs(self.connect_timeout);
        options.connect_timeout = Some(time);
        options.server_selection_timeout = Some(time);
        if let Some(user) = &self.user {
            let source = self.auth_database.clone();
            let password = password.map(|password| password.expose().to_owned());
            let mut credential = options.credential.take().unwrap_or_default();
            credential.username = Some(user.clone());
            credential.password = password;
            credential.source = source.or(credential.source).or(Some("admin".to_owned()));
            options.credential = Some(credential);
        } else if let Some(Credential { source, .. }) = &mut options.credential {
            *source = self.auth_database.clone().or(source.take());
        }
        let tls = |options: TlsOptions| {
            let mut options = options;
            if let Some(file) = &self.tls_ca {
                options.ca_file_path = Some(project.join(file));
            }
            Tls::Enabled(options)
        };
        options.tls = match (self.tls, options.tls.take()) {
            (Some(false), _) => Some(Tls::Disabled),
            (Some(true), Some(Tls::Enabled(written))) | (None, Some(Tls::Enabled(written))) => {
                Some(tls(written))
            }
            (Some(true), _) => Some(tls(TlsOptions::default())),
            (None, _) if self.tls_ca.is_some() => Some(tls(TlsOptions::default())),
            (None, other) => other,
        };
        Ok(options)
    }
}

fn is_address(url: &str) -> bool {
    url.starts_with("mongodb://") || url.starts_with("mongodb+srv://")
}

/// What stands under `ingest:` of a table that comes from a collection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectionSettings {
    /// The collection or view. Default: the source table's name.
    pub collection: Option<String>,
    /// Which documents, in MongoDB's query language as JSON (`{$date: …}`, `{$oid: …}` as in Extended
    /// JSON).
    pub filter: Option<Map<String, Value>>,
    /// Which fields, as MongoDB has it: `{name: 1, "address.city": 1}` or `{picture: 0}`.
    pub projection: Option<Map<String, Value>>,
    /// A list within each document: its elements are the rows.
    pub expand: Option<String>,
    /// More columns: `record.FIELD` of the document that was expanded (without `expand`: of the document
    /// itself, for what is nested).
    pub include: BTreeMap<String, String>,
    /// How far behind the largest value of the cursor is read again. With `mode: merge`.
    pub lookback: Option<Lookback>,
    /// How many documents the server sends at a time. Default: as it likes, at most 16 MB.
    pub batch_rows: Option<u32>,
    /// Whether all documents are read from one state of the data: `false` for a collection that takes
    /// longer than the server keeps such a state. Default: where the server can.
    pub snapshot: Option<bool>,
    /// What is done when changes are lost, with `mode: cdc`; the name is that of PostgreSQL's.
    pub on_slot_loss: OnLoss,
    /// How dates are written in texts (`strftime`), in place of `YYYY-MM-DD`.
    pub date_format: Option<String>,
    /// How times are written in texts (`strftime`), in place of ISO 8601.
    pub timestamp_format: Option<String>,
    /// The longest document that is read, as JSON: `64MiB`.
    pub max_record_bytes: Option<Value>,
}

impl CollectionSettings {
    /// Reads and checks what is written.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub fn parse(written: &Value) -> Result<CollectionSettings> {
        let wrong = |message: String| Error::new(ErrorKind::Config, message);
        let settings: CollectionSettings = match written {
            Value::Null => CollectionSettings::default(),
            written => {
                serde_json::from_value(written.clone()).map_err(|error| wrong(error.to_string()))?
            }
        };
        for (column, from) in &settings.include {
            if from.split_once('.').is_none_or(|(of, _)| of != "record") {
                return Err(wrong(format!(
                    "`include`: `{column}` must be `record.FIELD`, not `{from}`"
                )));
            }
        }
        if settings.batch_rows == Some(0) {
            return Err(wrong("`batch_rows` must be at least 1".to_owned()));
        }
        settings.document("filter", &settings.filter)?;
        settings.document("projection", &settings.projection)?;
        Ok(settings)
    }

    /// A setting as MongoDB takes it.
    pub(super) fn document(
        &self,
        setting: &str,
        written: &Option<Map<String, Value>>,
    ) -> Result<Document> {
        let written = Value::Object(written.clone().unwrap_or_default());
        serde_json::from_value(written).map_err(|error| {
            Error::new(ErrorKind::Config, format!("`{setting}` is not a document of MongoDB"))
                .because(error)
        })
    }

    /// The settings of the reader of what was fetched.
    pub(super) fn reader(&self) -> Map<String, Value> {
        let mut reader = Map::new();
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        for (key, value) in [
            ("date_format", text(&self.date_format)),
            ("timestamp_format", text(&self.timestamp_format)),
            ("max_record_bytes", self.max_record_bytes.clone().or(Some(json!("64MiB")))),
        ] {
            reader.extend(value.map(|value| (key.to_owned(), value)));
        }
        reader
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, DateTime, oid::ObjectId};

    use super::*;

    #[test]
    fn filters_are_extended_json() {
        let settings = CollectionSettings::parse(&json!({"filter": {
            "at": {"$gte": {"$date": "2024-01-01T00:00:00Z"}}, "n": {"$in": [1, 2.5]},
            "_id": {"$oid": "6566fa1d2f1e4b0001a1b2c3"}}}))
        .unwrap();
        let filter = settings.document("filter", &settings.filter).unwrap();
        let at = filter.get_document("at").unwrap().get("$gte");
        assert_eq!(at, Some(&Bson::DateTime(DateTime::from_millis(1_704_067_200_000))));
        let id = ObjectId::parse_str("6566fa1d2f1e4b0001a1b2c3").unwrap();
        assert_eq!(filter.get("_id"), Some(&Bson::ObjectId(id)));
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (written, name) in [
            (json!({"colection": "a"}), "`colection`"),
            (json!({"include": {"a": "parent.b"}}), "`include`"),
            (json!({"batch_rows": 0}), "`batch_rows`"),
            (json!({"filter": {"_id": {"$oid": "short"}}}), "`filter`"),
        ] {
            let error = CollectionSettings::parse(&written).unwrap_err();
            assert!(error.message().contains(name), "{}", error.report());
        }
    }

    #[test]
    fn connections() {
        let parse = |written: Value| serde_json::from_value::<MongoConfig>(written).unwrap();
        let check = |written: Value| parse(written).check();
        check(json!({"url": "mongodb://db:27017", "database": "shop"})).unwrap();
        check(json!({"url": {"env": "MONGO_URL"}, "database": "shop"})).unwrap();
        for (written, name) in [
            (json!({"url": "db:27017", "database": "shop"}), "`url`"),
            (json!({"url": "mongodb://db", "database": ""}), "`database`"),
            (json!({"url": "mongodb://db", "database": "x", "password": "a"}), "`user`"),
        ] {
            let error = check(written).unwrap_err();
            assert!(error.message().contains(name), "{}", error.report());
        }
    }

    #[test]
    fn secrets_of_addresses_are_not_shown() {
        let config: MongoConfig = serde_json::from_value(
            json!({"url": "mongodb://me:very-hidden-9@db/?replicaSet=", "database": "x"}),
        )
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(config.options(Path::new("."))).err().map(|it| it.report());
        assert!(!error.unwrap_or_default().contains("very-hidden-9"));
        assert!(!format!("{config:?}").contains("very-hidden-9"));
    }

    #[test]
    fn a_login_is_of_the_settings() {
        let config: MongoConfig = serde_json::from_value(json!({
            "url": "mongodb://a:1,b:2/?replicaSet=rs", "database": "shop", "user": "me", "password": "p w",
            "tls": true, "connect_timeout": 3}))
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = runtime.block_on(config.options(Path::new("."))).unwrap();
        let credential = options.credential.unwrap();
        assert_eq!(credential.username.as_deref(), Some("me"));
        assert_eq!(credential.source.as_deref(), Some("admin"));
        assert!(matches!(options.tls, Some(Tls::Enabled(_))));
        assert_eq!(options.hosts.len(), 2);
    }
}
