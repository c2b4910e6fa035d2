//! Connections to object stores: the same files, below a bucket.
//!
//! What a connection does not say comes from the environment, as the provider's own tools take it
//! (see [`tidemill_objects`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tidemill_core::{
    ConnectContext, Connector, Error, ErrorKind, ReadScope, Result, Secret, SecretRef, Sink, Source,
};
use tidemill_objects::StoreOptions;
use url::Url;

use super::sink::FilesSink;
use super::{FilesSource, Root, TableSettings};

/// Collects options by name; what is not set is left out.
struct Options<'a> {
    options: StoreOptions,
    project: &'a Path,
}

impl<'a> Options<'a> {
    fn new(further: BTreeMap<String, String>, project: &'a Path) -> Self {
        Options { options: further.into_iter().collect(), project }
    }

    fn text(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.options.set(key, value);
        }
    }

    fn flag(&mut self, key: &str, value: Option<bool>) {
        self.text(key, value.map(|value| value.to_string()));
    }

    fn secret(&mut self, key: &str, value: Option<SecretRef>) -> Result<()> {
        if let Some(value) = value {
            self.options.set(key, value.resolve(self.project)?.expose());
        }
        Ok(())
    }
}

fn root(
    scheme: &str,
    bucket: &str,
    prefix: Option<String>,
    options: &StoreOptions,
) -> Result<Root> {
    let prefix = prefix.unwrap_or_default();
    let address = format!("{scheme}://{bucket}/{}", prefix.trim_matches('/'));
    tidemill_objects::open(&address, options).map(Root::Store)
}

/// The connector for S3 and what is compatible; its kind is `s3`.
#[derive(Debug)]
pub struct S3Connector;

/// The settings of a connection to S3.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// What the names of objects begin with.
    pub prefix: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The address of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The id of the key.
    pub access_key_id: Option<String>,
    /// The secret of the key.
    pub secret_access_key: Option<SecretRef>,
    /// The token of a session.
    pub session_token: Option<SecretRef>,
    /// A profile of the AWS command line.
    pub profile: Option<String>,
    /// Whether requests are not signed: a public bucket.
    pub anonymous: Option<bool>,
    /// Whether the bucket is part of the host's name.
    pub virtual_hosted_style: Option<bool>,
    /// Whether an endpoint that is not on this machine may speak plain HTTP.
    pub allow_http: Option<bool>,
    /// Further options, as `object_store` calls them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl S3Config {
    fn root(self, context: &ConnectContext) -> Result<Root> {
        let config = self;
        let mut options = Options::new(config.options, &context.project);
        options.text("region", config.region);
        options.text("endpoint", config.endpoint);
        options.text("access_key_id", config.access_key_id);
        options.secret("secret_access_key", config.secret_access_key)?;
        options.secret("session_token", config.session_token)?;
        options.text("profile", config.profile);
        options.flag("skip_signature", config.anonymous);
        options.flag("virtual_hosted_style_request", config.virtual_hosted_style);
        options.flag("aws_allow_http", config.allow_http);
        root("s3", &config.bucket, config.prefix, &options.options)
    }
}

#[async_trait]
impl Connector for S3Connector {
    const KIND: &'static str = "s3";
    type Config = S3Config;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: S3Config, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(&context)? }))
    }

    fn sink(config: S3Config, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FilesSink::new(config.root(&context)?)?))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}

/// The connector for Google Cloud Storage; its kind is `gcs`.
#[derive(Debug)]
pub struct GcsConnector;

/// The settings of a connection to Google Cloud Storage.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket.
    pub bucket: String,
    /// What the names of objects begin with.
    pub prefix: Option<String>,
    /// The file of a service account's key, relative to the project.
    pub service_account_file: Option<String>,
    /// The key of a service account, as JSON.
    pub service_account_key: Option<SecretRef>,
    /// The address of a server that is not Google's.
    pub endpoint: Option<String>,
    /// Whether requests are not signed: a public bucket.
    pub anonymous: Option<bool>,
    /// Further options, as `object_store` calls them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl GcsConfig {
    fn root(self, context: &ConnectContext) -> Result<Root> {
        let config = self;
        let mut options = Options::new(config.options, &context.project);
        let file = config.service_account_file.map(|file| context.project.join(file));
        options.text("service_account", file.map(|file| file.to_string_lossy().into_owned()));
        options.secret("service_account_key", config.service_account_key)?;
        options.text("base_url", config.endpoint);
        options.flag("skip_signature", config.anonymous);
        root("gs", &config.bucket, config.prefix, &options.options)
    }
}

#[async_trait]
impl Connector for GcsConnector {
    const KIND: &'static str = "gcs";
    type Config = GcsConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: GcsConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(&context)? }))
    }

    fn sink(config: GcsConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FilesSink::new(config.root(&context)?)?))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}

/// The connector for Azure Blob Storage and Data Lake Storage; its kind is `azure`.
#[derive(Debug)]
pub struct AzureConnector;

/// The settings of a connection to Azure.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    /// The storage account.
    pub account: Option<String>,
    /// The container (file system).
    pub container: String,
    /// What the names of objects begin with.
    pub prefix: Option<String>,
    /// A key of the account.
    pub account_key: Option<SecretRef>,
    /// A shared access signature.
    pub sas: Option<SecretRef>,
    /// The application that logs in.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<SecretRef>,
    /// Its tenant.
    pub tenant_id: Option<String>,
    /// Whether the login of the `az` command is used.
    pub use_azure_cli: Option<bool>,
    /// The address of a server that is not Azure's.
    pub endpoint: Option<String>,
    /// Whether requests are not signed: a public container.
    pub anonymous: Option<bool>,
    /// Further options, as `object_store` calls them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl AzureConfig {
    fn root(self, context: &ConnectContext) -> Result<Root> {
        let config = self;
        let mut options = Options::new(config.options, &context.project);
        options.text("account_name", config.account);
        options.secret("account_key", config.account_key)?;
        options.secret("sas_token", config.sas)?;
        options.text("client_id", config.client_id);
        options.secret("client_secret", config.client_secret)?;
        options.text("tenant_id", config.tenant_id);
        options.flag("use_azure_cli", config.use_azure_cli);
        options.text("endpoint", config.endpoint);
        options.flag("skip_signature", config.anonymous);
        root("az", &config.container, config.prefix, &options.options)
    }
}

#[async_trait]
impl Connector for AzureConnector {
    const KIND: &'static str = "azure";
    type Config = AzureConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: AzureConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FilesSource { root: config.root(&context)? }))
    }

    fn sink(config: AzureConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FilesSink::new(config.root(&context)?)?))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}

/// The connector for files of an HTTP server; its kind is `http`.
#[derive(Debug)]
pub struct HttpConnector;

/// The settings of a connection to an HTTP server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// What the addresses of files begin with.
    pub url: String,
    /// The name of a login.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
    /// A token, sent as `Authorization: Bearer`.
    pub token: Option<SecretRef>,
    /// Further headers; values that hold secrets are references.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
}

#[async_trait]
impl Connector for HttpConnector {
    const KIND: &'static str = "http";
    type Config = HttpConfig;

    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "location";

    fn connect(config: HttpConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, why).with("url", &config.url);
        let mut base = Url::parse(&config.url)
            .map_err(|error| wrong("`url` is not an address").because(error))?;
        if !matches!(base.scheme(), "http" | "https") || base.query().is_some() {
            return Err(wrong("`url` must begin with https:// or http:// and have no `?`"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut headers = Vec::new();
        for (name, value) in config.headers {
            headers.push((name, value.resolve(&context.project)?.expose().to_owned()));
        }
        match (config.user, config.password, config.token) {
            (None, None, None) => {}
            (Some(user), Some(password), None) => {
                let password = password.resolve(&context.project)?;
                let login = STANDARD.encode(format!("{user}:{}", password.expose()));
                Secret::new(login.as_str());
                headers.push(("authorization".to_owned(), format!("Basic {login}")));
            }
            (None, None, Some(token)) => {
                let token = token.resolve(&context.project)?;
                headers.push(("authorization".to_owned(), format!("Bearer {}", token.expose())));
            }
            _ => {
                let why = "a login is `user` with `password`, or `token`";
                return Err(Error::new(ErrorKind::Config, why));
            }
        }
        let root = Root::Web { base, headers: Arc::new(headers) };
        Ok(Arc::new(FilesSource { root }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        TableSettings::check(settings)
    }
}
