//! The kinds of connections that there are: a new connector is one line here.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_core::{ConnectContext, Connector, Error, ErrorKind, ReadScope, Result, Sink, Source};

use crate::drivers::adbc::AdbcConnector;
use crate::drivers::odbc::OdbcConnector;
use crate::files::{
    AzureConnector, FilesConnector, FtpConnector, GcsConnector, HttpConnector, IcebergConnector,
    S3Connector, SftpConnector, WebHdfsConnector,
};
use crate::kafka::KafkaConnector;
use crate::mongo::MongoConnector;
use crate::mqtt::MqttConnector;
use crate::mysql::MySqlConnector;
use crate::nats::NatsConnector;
use crate::postgres::PostgresConnector;
use crate::rabbitmq::RabbitMqConnector;
use crate::redis::RedisConnector;
use crate::rest::RestConnector;
use crate::singer::SingerConnector;
use crate::sqlite::SqliteConnector;
use crate::sqlserver::SqlServerConnector;

/// All kinds, in the order in which they are named to people.
pub const KINDS: &[&dyn Kind] = &[
    &Of::<FilesConnector>::NEW,
    &Of::<S3Connector>::NEW,
    &Of::<GcsConnector>::NEW,
    &Of::<AzureConnector>::NEW,
    &Of::<HttpConnector>::NEW,
    &Of::<SftpConnector>::NEW,
    &Of::<FtpConnector>::NEW,
    &Of::<WebHdfsConnector>::NEW,
    &Of::<PostgresConnector>::NEW,
    &Of::<MySqlConnector>::NEW,
    &Of::<SqliteConnector>::NEW,
    &Of::<SqlServerConnector>::NEW,
    &Of::<OdbcConnector>::NEW,
    &Of::<AdbcConnector>::NEW,
    &Of::<KafkaConnector>::NEW,
    &Of::<NatsConnector>::NEW,
    &Of::<RabbitMqConnector>::NEW,
    &Of::<MqttConnector>::NEW,
    &Of::<RedisConnector>::NEW,
    &Of::<IcebergConnector>::NEW,
    &Of::<MongoConnector>::NEW,
    &Of::<RestConnector>::NEW,
    &Of::<SingerConnector>::NEW,
];

/// A kind of connection, whatever the type of its settings.
pub trait Kind: Sync {
    /// The word after `type:`.
    fn name(&self) -> &'static str;

    /// What a table is loaded with when its settings say no `mode`.
    fn default_scope(&self) -> ReadScope;

    /// The setting of a table that names what is read.
    fn object(&self) -> &'static str;

    /// Whether the settings of a connection are right, without asking the system.
    ///
    /// # Errors
    /// Kind `Config`.
    fn check(&self, settings: Map<String, Value>) -> Result<()>;

    /// Whether the settings of a table are right, as far as that can be said without asking the
    /// system.
    ///
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    fn check_table(&self, settings: &Value) -> Result<()>;

    /// Makes the source; nothing remote is touched.
    ///
    /// # Errors
    /// Kind `Config`.
    fn connect(
        &self,
        settings: Map<String, Value>,
        context: ConnectContext,
    ) -> Result<Arc<dyn Source>>;

    /// Makes the sink; nothing remote is touched.
    ///
    /// # Errors
    /// Kind `Config`, or `Unsupported` where rows can only be read.
    fn sink(&self, settings: Map<String, Value>, context: ConnectContext) -> Result<Arc<dyn Sink>>;
}

/// The kind of this name.
///
/// # Errors
/// Kind `Unsupported`, with the kinds that there are.
pub fn kind(name: &str) -> Result<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
        Error::new(
            ErrorKind::Unsupported,
            format!("there are no connections of type `{name}`; known: {}", known.join(", ")),
        )
    })
}

/// A connector without the type of its settings.
struct Of<C>(std::marker::PhantomData<fn() -> C>);

impl<C> Of<C> {
    const NEW: Self = Of(std::marker::PhantomData);
}

impl<C: Connector> Of<C> {
    fn config(settings: Map<String, Value>) -> Result<C::Config> {
        serde_json::from_value(Value::Object(settings)).map_err(|error| {
            // The message names the setting; the value may be a secret and is never shown.
            Error::new(ErrorKind::Config, tidemill_core::scrub(&error.to_string()).into_owned())
        })
    }
}

impl<C: Connector> Kind for Of<C> {
    fn name(&self) -> &'static str {
        C::KIND
    }

    fn default_scope(&self) -> ReadScope {
        C::DEFAULT_SCOPE
    }

    fn object(&self) -> &'static str {
        C::OBJECT
    }

    fn check(&self, settings: Map<String, Value>) -> Result<()> {
        Self::config(settings).map(drop)
    }

    fn check_table(&self, settings: &Value) -> Result<()> {
        C::check_table(settings)
    }

    fn connect(
        &self,
        settings: Map<String, Value>,
        context: ConnectContext,
    ) -> Result<Arc<dyn Source>> {
        let name = context.name.clone();
        Self::config(settings)
            .and_then(|config| C::connect(config, context))
            .map_err(|error| error.with("connection", name))
    }

    fn sink(&self, settings: Map<String, Value>, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let name = context.name.clone();
        Self::config(settings)
            .and_then(|config| C::sink(config, context))
            .map_err(|error| error.with("connection", name))
    }
}
