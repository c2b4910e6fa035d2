//! Object stores by address, and the HTTP clients.
//!
//! **Takes** an address (`s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` and their
//! other spellings) and options by name. **Gives** a store whose root is that prefix ([`open`]), what
//! its errors mean to the reader ([`explain`]), and the clients for what is not a store
//! ([`web_agent`]; [`guarded_agent`], which goes to private addresses only where it may). **Promises** that opening asks nothing of the network, that a request is repeated
//! for half a minute at most, and that no secret is shown.
//!
//! Credentials come, in this order, from the options that are given, the environment (`AWS_…`,
//! `GOOGLE_…`, `AZURE_…`), the profile files of the AWS command line, and the role of the machine
//! (instance, container, web identity). What the options are called is what `object_store` and
//! delta-rs call them (`aws_region`, `google_service_account`, `azure_storage_account_key`), with
//! or without their first word.
//!
//! ```
//! use tidemill_objects::{StoreOptions, open};
//!
//! let options: StoreOptions = [("region", "eu-west-1"), ("skip_signature", "true")].into_iter().collect();
//! let lake = open("s3://acme-lake/shop/", &options)?;
//! assert_eq!(lake.name, "s3://acme-lake/shop");
//! # Ok::<(), tidemill_core::Error>(())
//! ```

mod address;
mod failure;
mod options;
mod profile;
mod web;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use tidemill_core::{Error, ErrorKind, Result};

pub use address::{Address, Service, is_address};
pub use failure::{explain, kind_of};
pub use options::StoreOptions;
pub use web::{guarded_agent, is_public, web_agent};

/// A store that was opened; its root is the prefix of the address.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// What it is called in messages: the address, without the slash at its end.
    pub name: String,
}

/// Makes the store of an address. Nothing remote is touched: whether it can be reached, and whether
/// the credentials are right, shows with the first request.
///
/// # Errors
/// Kind `Config`: the address or an option cannot be read, a profile is missing or of a kind that
/// cannot be used; kind `Unsupported`: there is no such service.
pub fn open(address: &str, options: &StoreOptions) -> Result<Opened> {
    let address = Address::parse(address)?;
    let name = address.to_string();
    let store: Arc<dyn ObjectStore> = match address.service {
        Service::S3 => Arc::new(s3(&address, options)?),
        Service::Google => Arc::new(google(&address, options)?),
        Service::Azure => Arc::new(azure(&address, options)?),
    };
    let prefix = Path::from(address.prefix.as_str());
    let store = match prefix.as_ref() {
        "" => store,
        _ => Arc::new(PrefixStore::new(store, prefix)),
    };
    Ok(Opened { store, name })
}

/// A request is repeated for half a minute before it fails: a store that is busy, or a network that
/// comes back, within a load; and an error soon enough when there is nothing at the address.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 8,
        retry_timeout: Duration::from_secs(30),
    }
}

fn wrong(address: &Address, error: object_store::Error) -> Error {
    Error::new(ErrorKind::Config, "the object store cannot be used with these settings")
        .with("store", address)
        .because(error)
}

fn s3(address: &Address, options: &StoreOptions) -> Result<object_store::aws::AmazonS3> {
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(&address.bucket).with_retry(retries());
    if is_patient(options, "aws_timeout") {
        builder =
            builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), PATIENCE);
    }
    let mut chosen = None;
    for (key, value) in options.iter() {
        if key == "profile" || key == "aws_profile" {
            chosen = Some(value.to_owned());
            continue;
        }
        let key: AmazonS3ConfigKey = key.parse().map_err(|_| options::unknown(key, "S3"))?;
        builder = builder.with_config(key, value);
    }
    let set = |builder: &AmazonS3Builder, key| {
        builder.get_config_value(&key).is_some_and(|value| !value.is_empty())
    };
    let has_keys = set(&builder, AmazonS3ConfigKey::AccessKeyId)
        || set(&builder, AmazonS3ConfigKey::WebIdentityTokenFile)
        || set(&builder, AmazonS3ConfigKey::ContainerCredentialsRelativeUri)
        || set(&builder, AmazonS3ConfigKey::ContainerCredentialsFullUri)
        || builder.get_config_value(&AmazonS3ConfigKey::SkipSignature).as_deref() == Some("true");
    if let Some(profile) = profile::find(chosen.as_deref(), has_keys)? {
        if !set(&builder, AmazonS3ConfigKey::Region)
            && !set(&builder, AmazonS3ConfigKey::DefaultRegion)
            && let Some(region) = &profile.region
        {
            builder = builder.with_region(region);
        }
        if !set(&builder, AmazonS3ConfigKey::Endpoint)
            && !set(&builder, AmazonS3ConfigKey::S3Endpoint)
            && let Some(endpoint) = &profile.endpoint
        {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(credentials) = profile.credentials {
            builder = builder.with_credentials(credentials);
        }
    }
    // A store beside us speaks plain HTTP; across a network that has to be said.
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    if endpoint.as_deref().is_some_and(address::is_loopback) {
        builder = builder.with_allow_http(true);
    }
    builder.build().map_err(|error| wrong(address, error))
}

fn google(
    address: &Address,
    options: &StoreOptions,
) -> Result<object_store::gcp::GoogleCloudStorage> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&address.bucket)
        .with_retry(retries());
    if is_patient(options, "google_timeout") {
        builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), PATIENCE);
    }
    let mut base = environment("GOOGLE_")
        .into_iter()
        .find(|(key, _)| key == "google_base_url")
        .map(|(_, value)| value);
    for (key, value) in options.iter() {
        let known: GoogleConfigKey = key.parse().map_err(|_| options::unknown(key, "GCS"))?;
        if known == GoogleConfigKey::BaseUrl {
            base = Some(value.to_owned());
        }
        builder = builder.with_config(known, value);
    }
    if base.as_deref().is_some_and(address::is_loopback) {
        builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), "true");
    }
    builder.build().map_err(|error| wrong(address, error))
}

fn azure(address: &Address, options: &StoreOptions) -> Result<object_store::azure::MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(&address.bucket)
        .with_retry(retries());
    if is_patient(options, "azure_timeout") {
        builder = builder.with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), PATIENCE);
    }
    if let Some(account) = &address.account {
        builder = builder.with_account(account);
    }
    for (key, value) in options.iter() {
        let key: AzureConfigKey = key.parse().map_err(|_| options::unknown(key, "Azure"))?;
        builder = builder.with_config(key, value);
    }
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    if endpoint.as_deref().is_some_and(address::is_loopback) {
        builder = builder.with_allow_http(true);
    }
    builder.build().map_err(|error| wrong(address, error))
}

/// How long one request may take: a part of a file over a slow line.
const PATIENCE: &str = "120 seconds";

/// Whether nobody says how long a request may take.
fn is_patient(options: &StoreOptions, variable: &str) -> bool {
    !options.has("timeout")
        && !options.has(variable)
        && std::env::var_os(variable.to_ascii_uppercase()).is_none()
}

/// The variables that begin so, in lower case.
fn environment(start: &str) -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(key, value)| {
            let key = key.to_str()?;
            let value = value.to_str()?;
            key.starts_with(start).then(|| (key.to_ascii_lowercase(), value.to_owned()))
        })
        .collect()
}
