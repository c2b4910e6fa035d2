//! RabbitMQ as a sink: each row is a message of a queue or an exchange, which the server confirms.
//!
//! When all are confirmed the record of the delivery is written, the one message of a queue of its own. A delivery that
//! broke off is made again as a whole: what was sent comes twice, with the same `message_id`.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use serde::Deserialize;
use tidemill_core::{
    BatchStream, ConnectContext, Delivered, Delivery, Error, ErrorKind, Result, Sink,
};

use super::client::{Client, connect, failure, short};
use crate::failpoint::failpoint;
use crate::queue::delivered::{DeliveryRecord, RECORDS};
use crate::queue::outgoing::{
    ANYTHING, Headers, Names, Outgoing, Outgoings, check_mode, parse_to, plain_name,
};
use crate::server::Server;

/// How many messages wait for the server's word.
const WAITING: usize = 512;

const EXAMPLE: &str = "to: {connection: …, queue: name}, or {connection: …, exchange: name, routing_key: orders.{region}}";

/// A RabbitMQ that rows are sent to.
#[derive(Debug, Clone)]
pub(super) struct RabbitMqSink {
    pub(super) server: Arc<Server>,
    pub(super) context: ConnectContext,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    queue: Option<String>,
    exchange: Option<String>,
    /// With columns in braces.
    routing_key: Option<String>,
    #[serde(default)]
    headers: Headers,
    /// The order in which rows are sent, which who asks for them knows.
    #[serde(default, rename = "order_by")]
    _order_by: Names,
}

/// The place of messages.
struct Place {
    exchange: String,
    routing_key: String,
    headers: Headers,
    /// In words, for the record.
    target: String,
}

impl Place {
    fn of(delivery: &Delivery) -> Result<Place> {
        check_mode(delivery, "RabbitMQ")?;
        let To { queue, exchange, routing_key, headers, .. } = parse_to(&delivery.to, EXAMPLE)?;
        match (queue, exchange, routing_key) {
            // The exchange without a name has a route to each queue by its name.
            (Some(queue), None, None) if !queue.contains(['{', '}']) => Ok(Place {
                exchange: String::new(),
                target: format!("queue {queue}"),
                routing_key: queue,
                headers,
            }),
            (None, Some(exchange), routing_key) => {
                let routing_key = routing_key.unwrap_or_default();
                let target = format!("exchange {exchange} {routing_key}");
                Ok(Place { exchange, routing_key, headers, target })
            }
            _ => {
                let message = "messages go to a `queue`, or to an `exchange` by a `routing_key`";
                Err(Error::new(ErrorKind::Config, message).with("help", EXAMPLE))
            }
        }
    }
}

#[async_trait]
impl Sink for RabbitMqSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let place = Place::of(delivery)?;
            let mut client = connect(&self.server, &delivery.cancel).await?;
            let record = recorded(&mut client, delivery).await;
            client.close().await;
            Ok(record?.is_some_and(|record| record.holds(delivery, &place.target)))
        };
        asked.await.map_err(|error| self.named(error))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let place = Place::of(delivery)?;
            let mut client = connect(&self.server, &delivery.cancel).await?;
            let sent = tokio::select! {
                sent = send(&mut client, delivery, &place, rows) => sent,
                () = delivery.cancel.cancelled() => {
                    Err(Error::new(ErrorKind::Cancelled, "cancelled"))
                }
            };
            client.close().await;
            sent
        };
        delivered.await.map_err(|error| self.named(error))
    }
}

impl RabbitMqSink {
    fn named(&self, error: Error) -> Error {
        self.server.named(error).with("connection", &self.context.name)
    }
}

/// The queue whose one message is the record of an export.
fn record_queue(delivery: &Delivery) -> String {
    format!("{RECORDS}.{}", plain_name(&delivery.export))
}

/// The record of the last delivery of the export. It stays where it is.
async fn recorded(client: &mut Client, delivery: &Delivery) -> Result<Option<DeliveryRecord>> {
    let queue = record_queue(delivery);
    match client.count(&queue).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // One that has seen an error is of no use.
            client.renew_channel().await?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let got = client.channel.basic_get(short(&queue)?, BasicGetOptions::default()).await;
    let record = got.map_err(failure)?.and_then(|got| DeliveryRecord::parse(&got.delivery.data));
    // What is not acknowledged goes back.
    client.close_channel().await?;
    client.renew_channel().await?;
    Ok(record)
}

async fn send(
    client: &mut Client,
    delivery: &Delivery,
    place: &Place,
    rows: BatchStream,
) -> Result<Delivered> {
    if recorded(client, delivery).await?.is_some_and(|it| it.holds(delivery, &place.target)) {
        return Ok(Delivered { nothing_new: true, ..Delivered::default() });
    }
    failpoint!("export.begun");
    let written = ("routing_key", place.routing_key.as_str(), ANYTHING);
    let mut outgoings = Outgoings::new(delivery, &rows.schema, written, &[], &place.headers)?;
    client.channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failure)?;
    let mut delivered = Delivered::default();
    let mut waiting = VecDeque::new();
    let mut batches = rows.batches;
    while let Some(batch) = batches.next().await {
        for message in outgoings.of(&batch?)? {
            if waiting.len() >= WAITING
                && let Some(oldest) = waiting.pop_front()
            {
                heard(oldest).await?;
            }
            waiting.push_back(publish(client, &place.exchange, message).await?);
            delivered.rows += 1;
            if delivered.rows == 1 {
                failpoint!("export.copied");
            }
        }
    }
    for confirm in waiting {
        heard(confirm).await?;
    }
    delivered.inserted = delivered.rows;
    failpoint!("export.changed");
    let queue = record_queue(delivery);
    let mut only_one = FieldTable::default();
    only_one.insert("x-max-length".into(), AMQPValue::LongInt(1));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let made = client.channel.queue_declare(short(&queue)?, options, only_one).await;
    made.map_err(failure)?;
    failpoint!("export.before-commit");
    let record = Outgoing {
        place: queue,
        key: None,
        headers: Vec::new(),
        body: DeliveryRecord::of(delivery, &place.target, delivered.rows).bytes(),
        id: 0,
    };
    heard(publish(client, "", record).await?).await?;
    failpoint!("export.after-commit");
    Ok(delivered)
}

async fn publish(client: &Client, exchange: &str, message: Outgoing) -> Result<PublisherConfirm> {
    let mut headers = FieldTable::default();
    for (name, value) in message.headers {
        headers.insert(short(&name)?, AMQPValue::LongString(value.into()));
    }
    // Kept on disk.
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(format!("{:032x}", message.id).into())
        .with_headers(headers);
    // A message that no queue takes comes back.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = client
        .channel
        .basic_publish(short(exchange)?, short(&message.place)?, options, &message.body, properties)
        .await;
    sent.map_err(failure)
}

/// Waits for the server's word.
async fn heard(confirm: PublisherConfirm) -> Result<()> {
    match confirm.await.map_err(failure)? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(back)) => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "no queue takes messages with the routing key `{}` of the exchange `{}`",
                back.delivery.routing_key, back.delivery.exchange
            ),
        )
        .with("help", "make the queue first, or bind one to the exchange")),
        Confirmation::Nack(_) | Confirmation::NotRequested => Err(Error::new(
            ErrorKind::Unavailable,
            "RabbitMQ does not take a message now, as the queue is full or its leader is away",
        )),
    }
}
