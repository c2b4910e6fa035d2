//! Kafka as a sink: the rows of a state become messages of a topic, in one transaction with the record of the delivery.
//!
//! The record is a message of the topic `tidemill_deliveries`, whose key is the export's name. The producer of an
//! export has a name of its own, so that a delivery that broke off cannot go on, and what it left open is taken back
//! before the next one begins. Consumers that read what is committed see each row once, whatever is killed when.
//!
//! With a key the topic is a table, as compaction sees it: what is there is read first, and what differs is sent; a
//! row that went is a message without a body.

mod table;

use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use krafka::Record;
use krafka::producer::{TransactionState, TransactionalProducer};
use serde::Deserialize;
use tidemill_core::{
    BatchStream, Cancellation, ConnectContext, Delivered, Delivery, DeliveryMode, Error, ErrorKind,
    Result, Sink,
};

use super::client::{Client, failure};
use super::config::KafkaConfig;
use crate::delivery::{check_key, settle};
use crate::failpoint::failpoint;
use crate::queue::delivered::{DeliveryRecord, RECORDS};
use crate::queue::outgoing::{
    ANYTHING, Headers, Keys, Names, Outgoing, Outgoings, parse_to, plain_name,
};
use table::{Table, messages};

/// A Kafka that rows are sent to.
#[derive(Debug, Clone)]
pub(super) struct KafkaSink {
    pub(super) config: Arc<KafkaConfig>,
    pub(super) context: ConnectContext,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    topic: String,
    /// The columns of the message's key.
    #[serde(default)]
    key: Names,
    #[serde(default)]
    headers: Headers,
    /// The order in which rows are sent, which who asks for them knows.
    #[serde(default, rename = "order_by")]
    _order_by: Names,
}

impl To {
    fn of(delivery: &Delivery) -> Result<To> {
        let to: To = parse_to(&delivery.to, "to: {connection: …, topic: name, key: [column]}")?;
        if !to.key.0.is_empty() && !delivery.mode.key().is_empty() {
            let message = "`key` of `to` is for exports without a `primary_key`, which is the key of the messages";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(to)
    }
}

/// The producer's name: one delivery of an export at once.
fn producer_name(delivery: &Delivery) -> String {
    format!("tidemill-{}", plain_name(&delivery.export))
}

#[async_trait]
impl Sink for KafkaSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let to = To::of(delivery)?;
            let client = self.client(&delivery.cancel).await?;
            let record = recorded(&client, delivery).await?;
            Ok(record.is_some_and(|record| record.holds(delivery, &to.topic)))
        };
        asked.await.map_err(|error| self.named(error))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let to = To::of(delivery)?;
            let client = self.client(&delivery.cancel).await?;
            let target = client.describe(std::slice::from_ref(&to.topic), false).await;
            target.map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    error.with("help", "make it first, with as many partitions as it needs")
                }
                _ => error,
            })?;
            client.has_compacted(RECORDS).await?;
            let producer = client.producer(&producer_name(delivery)).await?;
            let sent = tokio::select! {
                sent = send(&client, &producer, delivery, &to, rows) => sent,
                () = delivery.cancel.cancelled() => {
                    Err(Error::new(ErrorKind::Cancelled, "cancelled"))
                }
            };
            let delivered = match sent {
                Ok(delivered) if delivered.nothing_new => {
                    close(producer).await;
                    return Ok(delivered);
                }
                Ok(delivered) => delivered,
                Err(error) => {
                    take_back(producer).await;
                    return Err(error);
                }
            };
            // From here on it is not stopped: the end is soon and has to be known.
            match commit(&producer).await {
                Ok(()) => {
                    close(producer).await;
                    Ok(delivered)
                }
                Err(error) if producer.state() == TransactionState::Open => {
                    take_back(producer).await;
                    Err(error)
                }
                Err(error) => {
                    drop(producer);
                    self.settle(delivery, error).await.map(|()| delivered)
                }
            }
        };
        delivered.await.map_err(|error| self.named(error))
    }
}

impl KafkaSink {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }

    async fn client(&self, cancel: &Cancellation) -> Result<Client> {
        Client::connect(&self.config, &self.context.project, cancel).await
    }

    /// The answer to a commit did not come: another producer of the name has it decided, and the record tells how.
    async fn settle(&self, delivery: &Delivery, lost: Error) -> Result<()> {
        let asked = || {
            let asked = async move {
                let client = self.client(&Cancellation::new()).await?;
                close(client.producer(&producer_name(delivery)).await?).await;
                let record = recorded(&client, delivery).await?;
                Ok(record.is_some_and(|record| record.is_of_run(delivery)))
            };
            asked.boxed()
        };
        settle("Kafka", lost, asked).await
    }
}

/// The record of the last delivery of the export.
async fn recorded(client: &Client, delivery: &Delivery) -> Result<Option<DeliveryRecord>> {
    let mut last = None;
    let read = messages(client, RECORDS, &delivery.cancel, |message| {
        if message.key.as_deref() == Some(delivery.export.as_bytes()) {
            last = message.value.as_deref().and_then(DeliveryRecord::parse);
        }
    });
    match read.await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(|()| last),
    }
}

async fn commit(producer: &TransactionalProducer) -> Result<()> {
    failpoint!("export.before-commit");
    producer.commit().await.map_err(|error| failure(error, "the commit"))?;
    failpoint!("export.after-commit");
    Ok(())
}

async fn close(producer: TransactionalProducer) {
    if let Err(error) = producer.close().await {
        tracing::debug!(%error, "a producer was not closed");
    }
}

/// What was sent is not seen. If the broker does not hear of it, the next producer of the name, or the time that a
/// transaction may take, does the same.
async fn take_back(producer: TransactionalProducer) {
    if producer.state() == TransactionState::Open
        && let Err(error) = producer.abort().await
    {
        tracing::debug!(%error, "a transaction was not taken back");
    }
    close(producer).await;
}

/// Sends everything but the commit.
async fn send(
    client: &Client,
    producer: &TransactionalProducer,
    delivery: &Delivery,
    to: &To,
    rows: BatchStream,
) -> Result<Delivered> {
    let record = recorded(client, delivery).await?;
    if record.is_some_and(|record| record.holds(delivery, &to.topic)) {
        return Ok(Delivered { nothing_new: true, ..Delivered::default() });
    }
    failpoint!("export.begun");
    check_key(delivery, &rows.schema)?;
    let key = match delivery.mode.key() {
        [] => &to.key.0,
        key => key,
    };
    let place = ("topic", to.topic.as_str(), ANYTHING);
    if to.topic.contains(['{', '}']) {
        let message = "`topic` is the name of one topic, without columns";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let mut outgoings = Outgoings::new(delivery, &rows.schema, place, key, &to.headers)?;
    let mut table = match delivery.mode.key() {
        [] => None,
        _ => Some(Table::read(client, &to.topic, &delivery.cancel).await?),
    };
    let mut keys = Keys::default();
    let mut delivered = Delivered::default();
    producer.begin().map_err(|error| failure(error, "a transaction"))?;
    let mut batches = rows.batches;
    while let Some(batch) = batches.next().await {
        let outgoing = outgoings.of(&batch?)?;
        delivered.rows += outgoing.len() as u64;
        for message in outgoing {
            let Some(table) = &mut table else {
                delivered.inserted += 1;
                enqueue(producer, record_of(&to.topic, message)).await?;
                continue;
            };
            let key = keys.take(&message, delivery)?;
            let (is_new, is_same) = table.meets(&key, &message.body);
            let is_sent = match delivery.mode {
                DeliveryMode::Merge { .. } => !is_same,
                _ => is_new,
            };
            if is_sent {
                delivered.inserted += u64::from(is_new);
                delivered.updated += u64::from(!is_new);
                enqueue(producer, record_of(&to.topic, message)).await?;
            }
        }
    }
    failpoint!("export.copied");
    if let (DeliveryMode::Merge { deletes: true, .. }, Some(table)) = (&delivery.mode, table) {
        for key in table.left() {
            delivered.deleted += 1;
            enqueue(producer, Record::tombstone(to.topic.as_str(), key)).await?;
        }
    }
    failpoint!("export.changed");
    let record = DeliveryRecord::of(delivery, &to.topic, delivered.rows);
    let record = Record::new(RECORDS, record.bytes()).key(delivery.export.clone());
    enqueue(producer, record).await?;
    producer.flush().await.map_err(|error| failure(error, "the messages"))?;
    Ok(delivered)
}

fn record_of(topic: &str, message: Outgoing) -> Record {
    let mut record = Record::new(topic, message.body);
    if let Some(key) = message.key {
        record = record.key(key);
    }
    for (name, value) in message.headers {
        record = record.header(name, value);
    }
    record
}

/// It is sent with others; whether all of them were, the commit says.
async fn enqueue(producer: &TransactionalProducer, record: Record) -> Result<()> {
    let queued = producer.enqueue(record).await;
    queued.map(drop).map_err(|error| failure(error, "a message"))
}
