//! Topics of Apache Kafka, and of what speaks its protocol.
//!
//! A source table is a topic, several, or all whose names fit a pattern. A read takes every partition from
//! the position up to the end that was there when it began; with `isolation: read_committed` that is the end
//! of the last transaction that is decided. The position is kept with the rows, and not in a consumer
//! group: what is published and what was read cannot differ. What is decided stands in `plan.rs`, what is done in
//! `read.rs`.

mod client;
mod config;
mod plan;
mod position;
mod read;
mod sink;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_core::{
    Cancellation, ChangeStream, ConnectContext, Connector, Error, Position, ReadRequest, ReadScope,
    Result, Sink, Source, TableDescription,
};

pub use config::KafkaConfig;

use crate::queue::{Meta, MetaKind, QueueSettings, few_messages, own_settings};
use crate::stream::of_work;
use client::Client;
use config::TopicSettings;
use plan::Topic;
use position::Groups;
use sink::KafkaSink;

/// The connector for Kafka; its kind is `kafka`.
#[derive(Debug)]
pub struct KafkaConnector;

/// What Kafka knows of a message.
const LAYOUT: &[Meta] = &[
    Meta { name: "topic", kind: MetaKind::Topic },
    Meta { name: "partition", kind: MetaKind::Partition },
    Meta { name: "offset", kind: MetaKind::Offset },
    Meta { name: "timestamp", kind: MetaKind::Timestamp },
    Meta { name: "key", kind: MetaKind::Key },
    Meta { name: "headers", kind: MetaKind::Headers },
];

#[async_trait]
impl Connector for KafkaConnector {
    const KIND: &'static str = "kafka";
    type Config = KafkaConfig;
    const DEFAULT_SCOPE: ReadScope = ReadScope::New;
    const OBJECT: &'static str = "topic";

    fn connect(config: KafkaConfig, context: ConnectContext) -> Result<Arc<dyn Source>> {
        config.check()?;
        Ok(Arc::new(KafkaSource { config: Arc::new(config), context }))
    }

    fn sink(config: KafkaConfig, context: ConnectContext) -> Result<Arc<dyn Sink>> {
        config.check()?;
        Ok(Arc::new(KafkaSink { config: Arc::new(config), context }))
    }

    fn check_table(settings: &serde_json::Value) -> Result<()> {
        let (common, own) = QueueSettings::take(settings)?;
        crate::queue::check(LAYOUT, &common)?;
        own_settings::<TopicSettings>(own)?.check()
    }
}

#[derive(Debug, Clone)]
struct KafkaSource {
    config: Arc<KafkaConfig>,
    context: ConnectContext,
}

impl KafkaSource {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }

    async fn client(&self, cancel: &Cancellation) -> Result<Client> {
        Client::connect(&self.config, &self.context.project, cancel).await
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.client(&Cancellation::new()).await?.topics().await
    }

    async fn described(&self) -> Result<Vec<TableDescription>> {
        let client = self.client(&Cancellation::new()).await?;
        let topics = client.describe(&client.topics().await?, true).await?;
        let description = |topic: Topic| TableDescription {
            rows: Some(topic.bounds.values().map(|bounds| bounds.messages()).sum()),
            name: topic.name,
            schema: None,
            // Marks of transactions have offsets, too.
            estimated: true,
            primary_key: Vec::new(),
        };
        Ok(topics.into_iter().map(description).collect())
    }

    async fn told(&self, groups: Groups) -> Result<()> {
        self.client(&Cancellation::new()).await?.commit(groups).await
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn ping(&self) -> Result<()> {
        self.list().await.map(drop).map_err(|error| self.named(error))
    }

    async fn tables(&self) -> Result<Vec<TableDescription>> {
        self.described().await.map_err(|error| self.named(error))
    }

    async fn read(&self, request: ReadRequest) -> Result<ChangeStream> {
        let plan = read::Read::new(&self.config, &self.context, request)
            .map_err(|error| self.named(error))?;
        let source = self.clone();
        Ok(of_work(move |sink| async move {
            let client = source.client(plan.cancel()).await.map_err(|error| source.named(error))?;
            plan.run(&client, &sink).await.map_err(|error| source.named(error))
        }))
    }

    fn few(&self, request: ReadRequest, rows: usize) -> ReadRequest {
        few_messages(request, rows)
    }

    fn gives_changes(&self, _settings: &serde_json::Value) -> bool {
        true
    }

    async fn acknowledge(&self, position: &Position) -> Result<()> {
        match position::groups(position) {
            Some(groups) => self.told(groups).await.map_err(|error| self.named(error)),
            None => Ok(()),
        }
    }
}
