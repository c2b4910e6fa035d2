//! MQTT 3.1.1: messages of topics, as a client with a session of its own that the broker keeps.
//!
//! The broker keeps what is published while the client is away, from the first time it subscribed, and a message until it
//! is acknowledged, which happens once it is published here. What the broker sends again it says to be a
//! duplicate, under the same packet identifier: so it is known (`queue/unsettled.rs`).

mod read;
mod session;
mod settings;
mod sink;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, Sink, Source, TableDescription,
};

pub use crate::server::ServerConfig as MqttConfig;

use crate::queue::{QueueContext, Reading, held};
use crate::server::{Scheme, Server};
use crate::stream::of_work;
use session::Session;
use settings::{LAYOUT, MqttTable};
use sink::MqttSink;

const SCHEMES: &[Scheme] = &[
    Scheme { name: "mqtt", port: 1883, tls: false },
    Scheme { name: "mqtts", port: 8883, tls: true },
];

/// The connector for MQTT; its kind is `mqtt`.
#[derive(Debug)]
pub struct MqttConnector;

#[async_trait]
impl Connector for MqttConnector {
    const KIND: &'static str = "mqtt";
    type Config = MqttConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "topic";

    fn connect(config: MqttConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let server = server_of(config, &context)?;
        Ok(Arc::new(MqttSource { server, context }))
    }

    fn sink(config: MqttConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let server = server_of(config, &context)?;
        Ok(Arc::new(MqttSink { server, context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        MqttTable::parse(settings).map(drop)
    }
}

fn server_of(config: MqttConfig, context: &ConnectContext) -> Result<Arc<Server>> {
    let server = Server::new(config, context, SCHEMES)?;
    if server.path.as_deref().is_some_and(|path| !path.is_empty()) {
        let message =
            "`url` of an MQTT broker ends with the host and its port; `topic` stands at the table";
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(Arc::new(server))
}

#[derive(Debug, Clone)]
struct MqttSource {
    server: Arc<Server>,
    context: ConnectContext,
}

impl MqttSource {
    fn named(&self, error: Error) -> Error {
        self.server.named(error).with("connection", &self.context.name)
    }
}

#[async_trait]
impl Source for MqttSource {
    async fn ping(&self) -> Result<()> {
        let ping = async {
            let session = Session::look(&self.server, &Cancellation::new()).await?;
            session.end().await;
            Ok(())
        };
        ping.await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let message = "an MQTT broker does not say which topics there are: write a source table for each (`topic` \
                       under `ingest:`, see docs/connections.md); `connection preview NAME '#'` shows what is retained";
        Err(self.named(Error::new(ErrorKind::Unsupported, message)))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let (common, table) = MqttTable::parse(&request.settings)?;
        let topics = table.topics(&request.name)?;
        let project = self.context.project.clone();
        let context = QueueContext { project, object: topics.join(", ") };
        let reading = Reading::new(LAYOUT, common, request, context)?;
        let source = self.clone();
        Ok(of_work(move |sink| async move {
            let place = read::Place { server: &source.server, context: &source.context };
            let read = read::read(&place, &table, topics, reading, &sink).await;
            read.map_err(|error| source.named(error))
        }))
    }

    async fn acknowledge(&self, position: &Position) -> Result<()> {
        held::acknowledge(&position.0).await.map_err(|error| self.named(error))
    }
}
