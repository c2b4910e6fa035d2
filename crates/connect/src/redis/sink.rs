//! Redis as a sink: each row is an entry of a stream.
//!
//! Some rows at a time are added in one transaction with the record of how many there are, a field of the hash
//! `tidemill_deliveries`. A delivery that broke off goes on behind them: the rows of a state come in one order, and
//! a hash of what was sent says whether they really do.

use std::sync::Arc;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use futures::StreamExt;
use redis::{Cmd, Value};
use serde::Deserialize;
use tidemill_core::{
    BatchStream, ConnectContext, Delivered, Delivery, Error, ErrorKind, Result, Sink,
};
use xxhash_rust::xxh3::Xxh3;

use super::client::{Client, bytes, connect};
use crate::failpoint::failpoint;
use crate::queue::delivered::{DeliveryRecord, RECORDS};
use crate::queue::outgoing::{ANYTHING, Headers, Names, Outgoing, Outgoings, check_mode, parse_to};
use crate::server::Server;

/// How many entries are added at once.
const AT_ONCE: usize = 1_000;

/// How many bytes of them, about.
const BYTES: usize = 4 << 20;

/// A Redis that rows are sent to.
#[derive(Debug, Clone)]
pub(super) struct RedisSink {
    pub(super) server: Arc<Server>,
    pub(super) database: i64,
    pub(super) context: ConnectContext,
}

/// Where to, in an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    /// The key of the stream.
    stream: String,
    /// The field that is the row in JSON.
    #[serde(default = "value")]
    field: String,
    /// Further fields.
    #[serde(default)]
    headers: Headers,
    /// The order in which rows are sent, which who asks for them knows.
    #[serde(default, rename = "order_by")]
    _order_by: Names,
}

fn value() -> String {
    "value".to_owned()
}

impl To {
    fn of(delivery: &Delivery) -> Result<To> {
        check_mode(delivery, "Redis")?;
        let to: To = parse_to(&delivery.to, "to: {connection: …, stream: orders}")?;
        if to.stream.contains(['{', '}']) || to.stream == RECORDS {
            let message = "`stream` is the name of one stream, without columns";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(to)
    }
}

#[async_trait]
impl Sink for RedisSink {
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool> {
        let asked = async {
            let to = To::of(delivery)?;
            let mut client = connect(&self.server, self.database, &delivery.cancel).await?;
            let record = recorded(&mut client, delivery).await?;
            Ok(record.is_some_and(|record| record.holds(delivery, &to.stream)))
        };
        asked.await.map_err(|error| self.named(error))
    }

    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered> {
        let delivered = async {
            let to = To::of(delivery)?;
            let client = connect(&self.server, self.database, &delivery.cancel).await?;
            let schema = rows.schema.clone();
            let sending = Sending::begin(client, delivery, &to, &schema).await?;
            match sending {
                None => Ok(Delivered { nothing_new: true, ..Delivered::default() }),
                Some(sending) => sending.all(rows).await,
            }
        };
        delivered.await.map_err(|error| self.named(error))
    }
}

impl RedisSink {
    fn named(&self, error: Error) -> Error {
        self.server.named(error).with("connection", &self.context.name)
    }
}

/// The record of the last delivery of the export.
async fn recorded(client: &mut Client, delivery: &Delivery) -> Result<Option<DeliveryRecord>> {
    let asked = client.ask(redis::cmd("HGET").arg(RECORDS).arg(&delivery.export)).await?;
    match asked {
        Value::Nil => Ok(None),
        found => Ok(DeliveryRecord::parse(&bytes(found)?)),
    }
}

/// A delivery under way.
struct Sending<'a> {
    client: Client,
    delivery: &'a Delivery,
    to: &'a To,
    outgoings: Outgoings,
    /// What was sent before it broke off: how many rows, and their hash.
    before: Option<(u64, String)>,
    /// Of the rows so far.
    hash: Xxh3,
    delivered: Delivered,
}

impl<'a> Sending<'a> {
    /// None where the state is there.
    async fn begin(
        mut client: Client,
        delivery: &'a Delivery,
        to: &'a To,
        schema: &Schema,
    ) -> Result<Option<Sending<'a>>> {
        let kind = client.type_of(to.stream.as_bytes()).await?;
        if !matches!(kind.as_str(), "stream" | "none") {
            let message = format!("`{}` is a {kind} in Redis, not a stream", to.stream);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let record = recorded(&mut client, delivery).await?;
        if record.as_ref().is_some_and(|record| record.holds(delivery, &to.stream)) {
            return Ok(None);
        }
        failpoint!("export.begun");
        let before = record
            .filter(|record| record.is_about(delivery, &to.stream))
            .and_then(|record| Some((record.rows, record.sent?)));
        let place = ("stream", to.stream.as_str(), ANYTHING);
        let outgoings = Outgoings::new(delivery, schema, place, &[], &to.headers)?;
        let (hash, delivered) = (Xxh3::new(), Delivered::default());
        Ok(Some(Sending { client, delivery, to, outgoings, before, hash, delivered }))
    }

    async fn all(mut self, rows: BatchStream) -> Result<Delivered> {
        let mut batches = rows.batches;
        let (mut open, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = batches.next().await {
            for message in self.outgoings.of(&batch?)? {
                self.hash.update(&message.body);
                self.hash.update(b"\n");
                self.delivered.rows += 1;
                if let Some((sent, hash)) = &self.before {
                    if self.delivered.rows < *sent {
                        continue;
                    }
                    if self.delivered.rows == *sent {
                        if *hash != self.hash() {
                            return self.start_again().await;
                        }
                        self.before = None;
                        continue;
                    }
                }
                bytes += message.body.len();
                open.push(message);
                if open.len() >= AT_ONCE || bytes >= BYTES {
                    self.add(std::mem::take(&mut open), false).await?;
                    bytes = 0;
                    failpoint!("export.copied");
                }
            }
        }
        if self.before.is_some() {
            return self.start_again().await;
        }
        failpoint!("export.copied");
        failpoint!("export.changed");
        failpoint!("export.before-commit");
        self.add(open, true).await?;
        failpoint!("export.after-commit");
        Ok(self.delivered)
    }

    /// Tells the rows so far from others.
    fn hash(&self) -> String {
        format!("{:032x}", self.hash.digest128())
    }

    /// The rows that were sent are not those that come now, so that nobody knows which are missing: none is left out.
    async fn start_again(mut self) -> Result<Delivered> {
        self.client.ask(redis::cmd("HDEL").arg(RECORDS).arg(&self.delivery.export)).await?;
        let message = "a part of the rows was sent before, in another order than now; all of them are sent again";
        Err(Error::new(ErrorKind::Unavailable, message).with("stream", &self.to.stream))
    }

    /// Adds entries, and says so in the record.
    async fn add(&mut self, open: Vec<Outgoing>, whole: bool) -> Result<()> {
        self.delivery.cancel.check()?;
        let mut commands: Vec<Cmd> = Vec::with_capacity(open.len() + 1);
        for message in &open {
            let mut add = redis::cmd("XADD");
            add.arg(&self.to.stream).arg("*").arg(&self.to.field).arg(&message.body[..]);
            for (name, value) in &message.headers {
                add.arg(name).arg(value);
            }
            commands.push(add);
        }
        let mut record = DeliveryRecord::of(self.delivery, &self.to.stream, self.delivered.rows);
        record.sent = (!whole).then(|| self.hash());
        let mut write = redis::cmd("HSET");
        write.arg(RECORDS).arg(&self.delivery.export).arg(&record.bytes()[..]);
        commands.push(write);
        self.client.together(commands).await?;
        self.delivered.inserted += open.len() as u64;
        Ok(())
    }
}
