//! NATS JetStream as a sink: each row is a message of a stream, and the server says that it has it.
//!
//! A message has an identifier that follows from the row, its place and the state. The stream leaves out what it got
//! within its `duplicate_window`: a delivery that broke off and is made again within that time doubles nothing. When
//! all are there the record is written, a message of the stream `tidemill_deliveries`.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{
    GetStreamErrorKind, PublishAckFuture, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_trait::async_trait;
use futures::StreamExt;
use serde::Deserialize;
use tidemill_core::{
    BatchStream, ConnectContext, Delivered, Delivery, Error, ErrorKind, Result, Sink,
};

use super::config::{Client, NatsConfig, failure};
use crate::failpoint::failpoint;
use crate::queue::delivered::{DeliveryRecord, RECORDS};
use crate::queue::outgoing::{
    Headers, Names, Outgoing, Outgoings, check_mode, parse_to, plain_name,
};

/// How many messages wait for the server's word.
const WAITING: usize = 256;

/// What a word of a subject may not have.
const FORBIDDEN: &[char] = &['.', '*', '>', ' ', '\t', '\r', '\n'];

/// A NATS that rows are sent to.
#[derive(Debug, Clone)]
pub(super) struct NatsSink {
    pub(super) config: Arc<NatsConfig>,
    pub(super) context: ConnectContext,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    /// With columns in braces.
    subject: String,
    #[serde(default)]
    headers: Headers,
    /// The order in which rows are sent, which who asks for them knows.
    #[serde(default, rename = "order_by")]
    _order_by: Names,
}

impl To {
    fn of(delivery: &Delivery) -> Result<To> {
        check_mode(delivery, "NATS")?;
        parse_to(&delivery.to, "to: {connection: …, subject: orders.{region}}")
    }
}

/// Where the record of an export is.
fn record_subject(delivery: &Delivery) -> String {
    format!("{RECORDS}.{}", plain_name(&delivery.export))
}

#[async_trait]
impl Sink for NatsSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let to = To::of(delivery)?;
            let client = self.client(delivery).await?;
            Ok(recorded(&client, delivery).await?.is_some_and(|it| it.holds(delivery, &to.subject)))
        };
        asked.await.map_err(|error| self.named(error))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let to = To::of(delivery)?;
            let client = self.client(delivery).await?;
            tokio::select! {
                sent = send(&client, delivery, &to, rows) => sent,
                () = delivery.cancel.cancelled() => {
                    Err(Error::new(ErrorKind::Cancelled, "cancelled"))
                }
            }
        };
        delivered.await.map_err(|error| self.named(error))
    }
}

impl NatsSink {
    fn named(&self, error: Error) -> Error {
        error.with("connection", &self.context.name)
    }

    async fn client(&self, delivery: &Delivery) -> Result<Client> {
        Client::connect(&self.config, &self.context.project, &delivery.cancel).await
    }
}

/// The record of the last delivery of the export.
async fn recorded(client: &Client, delivery: &Delivery) -> Result<Option<DeliveryRecord>> {
    let what = "the records of deliveries cannot be read";
    let records = match client.context.get_stream(RECORDS).await {
        Ok(records) => records,
        Err(error) => {
            return match error.kind() {
                GetStreamErrorKind::JetStream(said)
                    if said.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(failure(error, what)),
            };
        }
    };
    match records.get_last_raw_message_by_subject(&record_subject(delivery)).await {
        Ok(message) => Ok(DeliveryRecord::parse(&message.payload)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failure(error, what)),
    }
}

async fn send(
    client: &Client,
    delivery: &Delivery,
    to: &To,
    rows: BatchStream,
) -> Result<Delivered> {
    let config = stream::Config {
        name: RECORDS.to_owned(),
        subjects: vec![format!("{RECORDS}.*")],
        max_messages_per_subject: 1,
        description: Some("what Tidemill delivered".to_owned()),
        ..stream::Config::default()
    };
    let made = client.context.get_or_create_stream(config).await;
    made.map_err(|error| {
        failure(error, "the stream with the records of deliveries cannot be made")
    })?;
    if recorded(client, delivery).await?.is_some_and(|it| it.holds(delivery, &to.subject)) {
        return Ok(Delivered { nothing_new: true, ..Delivered::default() });
    }
    failpoint!("export.begun");
    let place = ("subject", to.subject.as_str(), FORBIDDEN);
    let mut outgoings = Outgoings::new(delivery, &rows.schema, place, &[], &to.headers)?;
    let mut delivered = Delivered::default();
    let mut waiting: VecDeque<PublishAckFuture> = VecDeque::new();
    let mut batches = rows.batches;
    while let Some(batch) = batches.next().await {
        for message in outgoings.of(&batch?)? {
            if waiting.len() >= WAITING
                && let Some(oldest) = waiting.pop_front()
            {
                delivered.inserted += heard(oldest, &to.subject).await?;
            }
            delivered.rows += 1;
            waiting.push_back(publish(&client.context, message).await?);
            if delivered.rows == 1 {
                failpoint!("export.copied");
            }
        }
    }
    for ack in waiting {
        delivered.inserted += heard(ack, &to.subject).await?;
    }
    failpoint!("export.changed");
    let record = DeliveryRecord::of(delivery, &to.subject, delivered.rows);
    failpoint!("export.before-commit");
    let written = client.context.publish(record_subject(delivery), record.bytes()).await;
    let ack = written.map_err(|error| refused(error, RECORDS))?;
    heard(ack, RECORDS).await?;
    failpoint!("export.after-commit");
    Ok(delivered)
}

async fn publish(context: &jetstream::Context, message: Outgoing) -> Result<PublishAckFuture> {
    let mut headers = HeaderMap::new();
    for (name, value) in &message.headers {
        let is_header =
            !name.is_empty() && name.bytes().all(|b| (33..127).contains(&b) && b != b':');
        if !is_header || value.contains(['\r', '\n']) {
            let message = format!("the header `{name}` has characters that NATS has no room for");
            return Err(Error::new(ErrorKind::Data, message));
        }
        headers.append(name.as_str(), value.as_str());
    }
    let publish = PublishMessage::build().payload(message.body).headers(headers);
    let publish = publish.message_id(format!("{:032x}", message.id));
    let sent = context.send_publish(message.place.clone(), publish).await;
    sent.map_err(|error| refused(error, &message.place))
}

/// Waits for the server's word; 1 for a message that is new there.
async fn heard(ack: PublishAckFuture, subject: &str) -> Result<u64> {
    let ack = ack.into_future().await.map_err(|error| refused(error, subject))?;
    Ok(u64::from(!ack.duplicate))
}

fn refused(error: PublishError, subject: &str) -> Error {
    let (kind, message) = match error.kind() {
        PublishErrorKind::StreamNotFound => {
            (ErrorKind::NotFound, "no stream of JetStream takes the subject")
        }
        PublishErrorKind::MaxPayloadExceeded => {
            (ErrorKind::Data, "a message is larger than the server takes (`max_payload`)")
        }
        _ => (ErrorKind::Unavailable, "the server does not say that it has a message"),
    };
    Error::new(kind, message).with("subject", subject).because(error)
}
