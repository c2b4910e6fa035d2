//! MQTT as a sink: each row is a message of a topic, which the broker acknowledges.
//!
//! When all are acknowledged the record of the delivery is written, a message that the broker retains. A delivery that
//! broke off is made again as a whole: what was sent comes twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use rumqttc::{PublishNotice, QoS};
use serde::Deserialize;
use tidemill_core::{
    BatchStream, ConnectContext, Delivered, Delivery, Error, ErrorKind, Result, Sink,
};

use super::session::Session;
use crate::failpoint::failpoint;
use crate::queue::delivered::{DeliveryRecord, RECORDS};
use crate::queue::outgoing::{Headers, Names, Outgoings, check_mode, parse_to, plain_name};
use crate::server::Server;

/// How many messages wait for the broker's word.
const WAITING: usize = 100;

/// How long a record that is there may take after the broker has said that nothing else comes.
const RECORD: Duration = Duration::from_millis(200);

/// What a word of a topic may not have.
const FORBIDDEN: &[char] = &['/', '+', '#', '\0'];

/// A broker that rows are sent to.
#[derive(Debug, Clone)]
pub(super) struct MqttSink {
    pub(super) server: Arc<Server>,
    pub(super) context: ConnectContext,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    /// With columns in braces.
    topic: String,
    /// Whether the broker keeps the last message of each topic for those who come later.
    #[serde(default)]
    retain: bool,
    /// 1, or 2.
    #[serde(default = "once")]
    qos: u8,
    /// The order in which rows are sent, which who asks for them knows.
    #[serde(default, rename = "order_by")]
    _order_by: Names,
}

fn once() -> u8 {
    1
}

impl To {
    fn of(delivery: &Delivery) -> Result<To> {
        check_mode(delivery, "MQTT")?;
        let to: To = parse_to(&delivery.to, "to: {connection: …, topic: plant/{line}/state}")?;
        if to.topic.contains(['+', '#']) {
            let message = "`topic` is where messages go, without `+` and `#`";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(to)
    }

    fn quality(&self) -> Result<QoS> {
        match self.qos {
            1 => Ok(QoS::AtLeastOnce),
            2 => Ok(QoS::ExactlyOnce),
            _ => Err(Error::new(
                ErrorKind::Config,
                "`qos` is 1 or 2; of a message with 0 nobody knows whether it came",
            )),
        }
    }
}

/// The topic of the record of an export.
fn record_topic(delivery: &Delivery) -> String {
    format!("{RECORDS}/{}", plain_name(&delivery.export))
}

#[async_trait]
impl Sink for MqttSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let to = To::of(delivery)?;
            let mut session = Session::look(&self.server, &delivery.cancel).await?;
            let record = recorded(&mut session, delivery).await;
            session.end().await;
            Ok(record?.is_some_and(|record| record.holds(delivery, &to.topic)))
        };
        asked.await.map_err(|error| self.named(error))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let to = To::of(delivery)?;
            let mut session = Session::look(&self.server, &delivery.cancel).await?;
            let sent = tokio::select! {
                sent = send(&mut session, delivery, &to, rows) => sent,
                () = delivery.cancel.cancelled() => {
                    Err(Error::new(ErrorKind::Cancelled, "cancelled"))
                }
            };
            session.end().await;
            sent
        };
        delivered.await.map_err(|error| self.named(error))
    }
}

impl MqttSink {
    fn named(&self, error: Error) -> Error {
        self.server.named(error).with("connection", &self.context.name)
    }
}

/// The record of the last delivery of the export, if the broker has retained one.
async fn recorded(session: &mut Session, delivery: &Delivery) -> Result<Option<DeliveryRecord>> {
    let topic = record_topic(delivery);
    session.subscribe(std::slice::from_ref(&topic), QoS::AtLeastOnce).await?;
    // The answer comes behind what is retained.
    session.unsubscribe(std::slice::from_ref(&topic)).await?;
    while let Some(message) = session.next(RECORD).await? {
        if message.topic == topic.as_bytes() {
            return Ok(DeliveryRecord::parse(&message.payload));
        }
    }
    Ok(None)
}

async fn send(
    session: &mut Session,
    delivery: &Delivery,
    to: &To,
    rows: BatchStream,
) -> Result<Delivered> {
    let quality = to.quality()?;
    if recorded(session, delivery).await?.is_some_and(|it| it.holds(delivery, &to.topic)) {
        return Ok(Delivered { nothing_new: true, ..Delivered::default() });
    }
    failpoint!("export.begun");
    let place = ("topic", to.topic.as_str(), FORBIDDEN);
    let mut outgoings = Outgoings::new(delivery, &rows.schema, place, &[], &Headers::default())?;
    let mut delivered = Delivered::default();
    let mut waiting: VecDeque<PublishNotice> = VecDeque::new();
    let mut batches = rows.batches;
    while let Some(batch) = batches.next().await {
        for message in outgoings.of(&batch?)? {
            if waiting.len() >= WAITING
                && let Some(oldest) = waiting.pop_front()
            {
                session.heard(oldest).await?;
            }
            let sent = session.publish(message.place, message.body, quality, to.retain).await?;
            waiting.push_back(sent);
            delivered.rows += 1;
            if delivered.rows == 1 {
                failpoint!("export.copied");
            }
        }
    }
    for notice in waiting {
        session.heard(notice).await?;
    }
    delivered.inserted = delivered.rows;
    failpoint!("export.changed");
    let record = DeliveryRecord::of(delivery, &to.topic, delivered.rows).bytes();
    failpoint!("export.before-commit");
    let written = session.publish(record_topic(delivery), record, QoS::AtLeastOnce, true).await?;
    session.heard(written).await?;
    failpoint!("export.after-commit");
    Ok(delivered)
}
