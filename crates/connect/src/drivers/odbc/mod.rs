//! Any database that the machine has an ODBC driver for.
//!
//! The manager of ODBC and the driver are found when the first connection is made. All values come with their
//! whole length: those whose size is known in blocks of rows, others piece by piece.

mod config;
mod link;
mod rows;
mod types;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tidemill_core::{ConnectContext, Connector, ReadScope, Result, Sink, Source};

use super::{DriverSink, Opens, Place};
use crate::tables::{DatabaseSource, TableSettings};
pub use config::OdbcConfig;
use link::OdbcLink;

/// The connector for ODBC; its kind is `odbc`.
#[derive(Debug)]
pub struct OdbcConnector;

#[async_trait]
impl Connector for OdbcConnector {
    const KIND: &'static str = "odbc";
    type Config = OdbcConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::Whole;
    const OBJECT: &'static str = "table";

    fn connect(config: OdbcConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        config.check()?;
        let server = Server { config: Arc::new(config), project: context.project };
        Ok(Arc::new(DatabaseSource::new(Place::new(server), context.name)))
    }

    fn sink(config: OdbcConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        config.check()?;
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
    config: Arc<OdbcConfig>,
    project: PathBuf,
}

impl Opens for Server {
    type Link = OdbcLink;

    fn open(&self) -> Result<OdbcLink> {
        OdbcLink::open(&self.config, &self.project)
    }
}
