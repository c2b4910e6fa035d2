//! Any database that there is an ADBC driver for: its rows come as Arrow.

mod link;
mod listing;
mod types;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{ConnectContext, Connector, ReadScope, Result, SecretRef, Sink, Source};
use tidemill_drivers::adbc::Driver;

use super::options::{OptionValue, Options};
use super::{DriverSink, Opens, Place};
use crate::tables::{DatabaseSource, TableSettings};
use link::AdbcLink;

/// The connector for ADBC; its kind is `adbc`.
#[derive(Debug)]
pub struct AdbcConnector;

/// The settings of a connection of type `adbc`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdbcConfig {
    /// The driver: the path of its library or of a manifest, or a name.
    driver: String,
    /// The function that it begins with, where that is not one of the usual ones.
    #[serde(default)]
    entrypoint: Option<String>,
    /// The address of the database.
    #[serde(default)]
    uri: Option<OptionValue>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<SecretRef>,
    /// Options of the driver, as its documentation has them.
    #[serde(default)]
    options: Options,
}

#[async_trait]
impl Connector for AdbcConnector {
    const KIND: &'static str = "adbc";
    type Config = AdbcConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(config: AdbcConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let server = Server { config: Arc::new(config), project: context.project };
        Ok(Arc::new(DatabaseSource::new(Place::new(server), context.name)))
    }

    fn sink(config: AdbcConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let server = Server { config: Arc::new(config), project: context.project };
        Ok(Arc::new(DriverSink::new(server, context.name)))
    }

    fn check_table(settings: &Value) -> Result<()> {
        TableSettings::parse(settings).map(drop)
    }
}

/// What is connected to.
#[derive(Clone)]
struct Server {
    config: Arc<AdbcConfig>,
    project: PathBuf,
}

impl Opens for Server {
    type Link = AdbcLink;

    fn open(&self) -> Result<AdbcLink> {
        let AdbcConfig { driver, entrypoint, uri, user, password, options } = &*self.config;
        let driver = Driver::load(driver, entrypoint.as_deref(), &self.project)?;
        let mut given = Vec::new();
        if let Some(uri) = uri {
            given.push(("uri".to_owned(), uri.resolve(&self.project)?));
        }
        if let Some(user) = user {
            given.push(("username".to_owned(), user.clone()));
        }
        if let Some(password) = password {
            let password = password.resolve(&self.project)?;
            given.push(("password".to_owned(), password.expose().to_owned()));
        }
        for (key, value) in options {
            given.push((key.clone(), value.resolve(&self.project)?));
        }
        AdbcLink::open(driver.connect(&given)?)
    }
}
