//! RabbitMQ: queues, whose messages are acknowledged once they are published, and streams, which are read on
//! from an offset.
//!
//! Nothing is declared there, bound or deleted. A message of a queue is there until it is acknowledged, on
//! the channel that delivered it; so that channel stays open from the read until
//! [`Source::acknowledge`] (`queue/held.rs`). If that does not come, the messages come again, and the position knows
//! them (`queue/unsettled.rs`).

mod client;
mod message;
mod queue;
mod settings;
mod sink;
mod stream;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, ErrorKind, Position, ReadRequest,
    ReadScope, Result, Sink, Source, TableDescription,
};

pub use crate::server::ServerConfig as RabbitMqConfig;

use crate::queue::{QueueContext, Reading, held};
use crate::server::{Scheme, Server};
use crate::stream::of_work;
use settings::{Object, RabbitTable};
use sink::RabbitMqSink;

const SCHEMES: &[Scheme] = &[
    Scheme { name: "amqp", port: 5672, tls: false },
    Scheme { name: "amqps", port: 5671, tls: true },
];

/// The connector for RabbitMQ; its kind is `rabbitmq`.
#[derive(Debug)]
pub struct RabbitMqConnector;

#[async_trait]
impl Connector for RabbitMqConnector {
    const KIND: &'static str = "rabbitmq";
    type Config = RabbitMqConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "queue";

    fn connect(config: RabbitMqConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        let server = Arc::new(Server::new(config, &context, SCHEMES)?);
        Ok(Arc::new(RabbitMqSource { server, context }))
    }

    fn sink(config: RabbitMqConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        let server = Arc::new(Server::new(config, &context, SCHEMES)?);
        Ok(Arc::new(RabbitMqSink { server, context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        RabbitTable::parse(settings).map(drop)
    }
}

#[derive(Debug, Clone)]
struct RabbitMqSource {
    server: Arc<Server>,
    context: ConnectContext,
}

impl RabbitMqSource {
    fn named(&self, error: Error) -> Error {
        self.server.named(error).with("connection", &self.context.name)
    }
}

#[async_trait]
impl Source for RabbitMqSource {
    async fn ping(&self) -> Result<()> {
        let ping = async {
            let client = client::connect(&self.server, &Cancellation::new()).await?;
            client.close().await;
            Ok(())
        };
        ping.await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        let message = "RabbitMQ does not tell its clients which queues there are: write a source table for each \
                       (`queue` or `stream` under `ingest:`, see docs/connections.md)";
        Err(self.named(Error::new(ErrorKind::Unsupported, message)))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let (common, table) = RabbitTable::parse(&request.settings)?;
        let object = table.object(&request.name);
        let source = self.clone();
        Ok(of_work(move |sink| async move {
            let read = async {
                let object = match request.scope {
                    ReadScope::Whole => {
                        client::resolve(&source.server, object, &request.cancel).await?
                    }
                    _ => object,
                };
                let project = source.context.project.clone();
                let context = QueueContext { project, object: object.name().to_owned() };
                let reading = Reading::new(object.layout(), common, request, context)?;
                match &object {
                    Object::Queue(name) => {
                        let place = queue::Place {
                            server: &source.server,
                            context: &source.context,
                            queue: name,
                        };
                        queue::read(&place, &table, reading, &sink).await
                    }
                    Object::Stream(name) => {
                        stream::read(&source.server, &table, name, reading, &sink).await
                    }
                }
            };
            read.await.map_err(|error| source.named(error))
        }))
    }

    async fn acknowledge(&self, position: &Position) -> Result<()> {
        held::acknowledge(&position.0).await.map_err(|error| self.named(error))
    }
}
