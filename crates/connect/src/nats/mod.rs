//! Streams of NATS JetStream.
//!
//! A source table is a stream, or what of it has certain subjects. A read takes the messages from the
//! position, a sequence number of the stream, up to the last one that was there when it began. It uses a
//! consumer of its own that the server forgets; nothing is acknowledged, and nothing goes from the stream.

mod config;
mod position;
mod read;
mod sink;

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, Position, ReadRequest, ReadScope,
    Result, Sink, Source, TableDescription,
};

pub use config::NatsConfig;

use crate::queue::{Meta, MetaKind, QueueSettings, few_messages, own_settings};
use crate::stream::of_work;
use config::{Client, StreamSettings, failure};
use sink::NatsSink;

/// The connector for NATS JetStream; its kind is `nats`.
#[derive(Debug)]
pub struct NatsConnector;

/// What NATS knows of a message.
const LAYOUT: &[Meta] = &[
    Meta { name: "stream", kind: MetaKind::FurtherText(0) },
    Meta { name: "subject", kind: MetaKind::Topic },
    Meta { name: "sequence", kind: MetaKind::Offset },
    Meta { name: "timestamp", kind: MetaKind::Timestamp },
    Meta { name: "headers", kind: MetaKind::Headers },
];

#[async_trait]
impl Connector for NatsConnector {
    const KIND: &'static str = "nats";
    type Config = NatsConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "stream";

    fn connect(config: NatsConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        config.check()?;
        Ok(Arc::new(NatsSource { config: Arc::new(config), context }))
    }

    fn sink(config: NatsConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        config.check()?;
        Ok(Arc::new(NatsSink { config: Arc::new(config), context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        let (common, own) = QueueSettings::take(settings)?;
        crate::queue::check(LAYOUT, &common)?;
        own_settings::<StreamSettings>(own)?.check(&common)
    }
}

#[derive(Debug, Clone)]
struct NatsSource {
    config: Arc<NatsConfig>,
    context: ConnectContext,
}

impl NatsSource {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }

    async fn client(&self, cancel: &Cancellation) -> Result<Client> {
        Client::connect(&self.config, &self.context.project, cancel).await
    }

    async fn account(&self) -> Result<()> {
        let client = self.client(&Cancellation::new()).await?;
        let account = client.context.query_account().await;
        account.map(drop).map_err(|error| failure(error, "the server gives no JetStream"))
    }

    async fn streams(&self) -> Result<Vec<TableDescription>> {
        let client = self.client(&Cancellation::new()).await?;
        let streams = client.context.streams().map_ok(|stream| TableDescription {
            name: stream.config.name.clone(),
            schema: None,
            rows: Some(stream.state.messages),
            estimated: false,
            primary_key: Vec::new(),
        });
        let mut streams: Vec<TableDescription> = streams
            .try_collect()
            .await
            .map_err(|error| failure(error, "the streams cannot be listed"))?;
        streams.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(streams)
    }
}

#[async_trait]
impl Source for NatsSource {
    async fn ping(&self) -> Result<()> {
        self.account().await.map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        self.streams().await.map_err(|error| self.named(error))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let read = read::Read::new(&self.config, &self.context, request)
            .map_err(|error| self.named(error))?;
        let source = self.clone();
        Ok(of_work(move |sink| async move {
            let client = source.client(read.cancel()).await.map_err(|error| source.named(error))?;
            read.run(&client, &sink).await.map_err(|error| source.named(error))
        }))
    }

    fn few(&self, request: ReadRequest, rows: usize) -> ReadRequest {
        few_messages(request, rows)
    }

    fn gives_changes(&self, _settings: &serde_json::Value) -> bool {
        true
    }

    async fn acknowledge(&self, _position: &Position) -> Result<()> {
        Ok(())
    }
}
