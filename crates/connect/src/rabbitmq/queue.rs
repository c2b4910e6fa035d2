//! Queues: what is in it now, up to a limit, without acknowledging it.
//!
//! Messages are fetched by one consumer after the other, each of which is given a few: what is delivered and
//! not looked at yet waits in memory, and the number of messages that a consumer is given cannot be raised.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use serde_json::{Map, json};
use tidemill_core::{ConnectContext, Error, ErrorKind, ReadScope, Result};

use super::client::{Client, connect_once, failure, is_a_stream};
use super::message::{mark, message, offset, size};
use super::settings::RabbitTable;
use crate::queue::{
    Acknowledged, Batch, Reading, Spool, Unsettled, held, more_messages, now, refuse_refresh,
};
use crate::server::{Server, patiently};
use crate::stream::Sink;

/// The most messages of one load: the server keeps them in mind until they are acknowledged, and the position
/// a few bytes of each.
const MOST: u64 = 100_000;

/// The most messages of a load that only looks.
const LOOKED_AT: u64 = 10_000;

/// How many messages a consumer is given at first and at most, and how many bytes they should have.
const FIRST: u16 = 50;
const LARGEST: u16 = 2_000;
const IN_MEMORY: usize = 8 << 20;

/// A queue.
pub(super) struct Place<'a> {
    pub(super) server: &'a Server,
    pub(super) context: &'a ConnectContext,
    pub(super) queue: &'a str,
}

/// What was fetched.
struct Fetched {
    client: Client,
    spool: Spool,
    batch: Batch,
    unsettled: Unsettled,
    /// The last message that is in the batch.
    last: u64,
    /// How many messages were there that were not taken.
    left: u64,
}

/// Reads what is in a queue.
pub(super) async fn read(
    place: &Place<'_>,
    table: &RabbitTable,
    reading: Reading,
    sink: &Sink,
) -> Result<()> {
    let request = reading.request();
    refuse_refresh(request, "a queue")?;
    let looks = request.scope == ReadScope::Whole;
    let object = format!("{} {}", place.queue, request.name);
    let note = Acknowledged::new(&place.context.project, &place.context.name, &object);
    let key = format!("{} {} {object}", place.context.project.display(), place.context.name);
    held::release(&key).await;
    let unsettled = Unsettled::read(reading.last(), &note, now())?;
    let fetch = |unsettled: &Unsettled| {
        let unsettled = unsettled.clone();
        let reading = &reading;
        patiently(&request.cancel, move || fetch(place, table, reading, unsettled.clone()))
    };
    let mut fetched = fetch(&unsettled).await?;
    if fetched.unsettled.is_torn() {
        // Only some of those that come all together: they are others that are equal.
        fetched.client.close().await;
        let mut unsettled = unsettled;
        unsettled.forget_plain();
        fetched = fetch(&unsettled).await?;
    }
    let Fetched { client, spool, batch, unsettled, last, left } = fetched;
    if looks || batch.len() == 0 {
        client.close().await;
        let mut position = Map::from_iter([("queue".to_owned(), json!(place.queue))]);
        if !looks {
            unsettled.write(&batch, now(), &mut position)?;
        }
        return reading.deliver(spool.finish()?, position, sink).await;
    }
    if left > 0 {
        more_messages(&reading, spool.count(), left, sink).await?;
    }
    let mut position = Map::from_iter([("queue".to_owned(), json!(place.queue))]);
    unsettled.write(&batch, now(), &mut position)?;
    held::hold(batch.id, key.clone(), Box::new(Delivered { client, last }), note);
    let delivered = reading.deliver(spool.finish()?, position, sink).await;
    if delivered.is_err() {
        held::release(&key).await;
    }
    delivered
}

/// A channel with messages that are not acknowledged.
struct Delivered {
    client: Client,
    /// The last one; those before it are meant as well.
    last: u64,
}

#[async_trait]
impl held::InHand for Delivered {
    async fn acknowledge(&self) -> Result<()> {
        let options = BasicAckOptions { multiple: true };
        self.client.channel.basic_ack(self.last, options).await.map_err(failure)?;
        // The answer to this comes behind what was said before.
        self.client.close_channel().await
    }

    async fn end(self: Box<Self>) {
        self.client.close().await;
    }
}

/// Fetches the messages, from the first one. A connection that is lost gives all of them back.
async fn fetch(
    place: &Place<'_>,
    table: &RabbitTable,
    reading: &Reading,
    unsettled: Unsettled,
) -> Result<Fetched> {
    let client = connect_once(place.server).await?;
    let mut fetch = Fetch {
        reading,
        table,
        fetched: Fetched {
            spool: reading.spool()?,
            batch: Batch::new(),
            unsettled,
            last: 0,
            left: 0,
            client,
        },
        topic: place.queue.into(),
        queue: place.queue,
        bytes: 0,
        most: match reading.request().scope {
            ReadScope::Whole => LOOKED_AT,
            _ => MOST,
        },
    };
    match fetch.run().await {
        Ok(()) => Ok(fetch.fetched),
        Err(error) => {
            fetch.fetched.client.close().await;
            Err(error)
        }
    }
}

struct Fetch<'a> {
    reading: &'a Reading,
    table: &'a RabbitTable,
    fetched: Fetched,
    topic: Arc<str>,
    queue: &'a str,
    bytes: usize,
    most: u64,
}

impl Fetch<'_> {
    fn count(&self) -> u64 {
        self.fetched.batch.len() as u64
    }

    /// Whether there is nothing more to fetch, of so many messages that were there at the start.
    fn is_done(&self, there: u64) -> bool {
        if self.fetched.spool.is_full() || self.count() >= self.most {
            return true;
        }
        // The rest of a batch of which a part came is on its way.
        self.count() >= there && !self.fetched.unsettled.is_torn()
    }

    async fn run(&mut self) -> Result<()> {
        let there = self.fetched.client.count(self.queue).await?;
        if there > 0 {
            let mut prefetch = FIRST;
            while !self.is_done(there) {
                self.reading.request().cancel.check()?;
                if !self.consume(prefetch, there).await? {
                    break;
                }
                let average = (self.bytes / self.fetched.batch.len().max(1)).max(1);
                let fitting = u16::try_from(IN_MEMORY / average).unwrap_or(LARGEST);
                prefetch = fitting.clamp(1, LARGEST);
            }
        }
        if there > 0 && self.count() == 0 && self.fetched.client.is_stream(self.queue).await? {
            return Err(is_a_stream(self.queue));
        }
        self.fetched.left = there.saturating_sub(self.count());
        if !self.fetched.spool.is_full() && self.count() < self.most {
            // Somebody else took them.
            self.fetched.left = 0;
        }
        Ok(())
    }

    /// Takes what one consumer is given; whether there may be more.
    async fn consume(&mut self, prefetch: u16, there: u64) -> Result<bool> {
        let idle = self.table.idle();
        let mut consumer = self.fetched.client.consume(self.queue, prefetch, None).await?;
        let mut came = 0;
        let mut more = true;
        while came < prefetch && !self.is_done(there) {
            let cancel = &self.reading.request().cancel;
            let next = tokio::select! {
                next = tokio::time::timeout(idle, consumer.next()) => next,
                () = cancel.cancelled() => return cancel.check().map(|()| false),
            };
            match next {
                // Nothing came for long.
                Err(_) => {
                    more = false;
                    break;
                }
                Ok(None) => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "RabbitMQ ended the delivery: the queue was deleted, or moves to another server",
                    ));
                }
                Ok(Some(delivery)) => {
                    came += 1;
                    self.take(delivery.map_err(failure)?)?;
                }
            }
        }
        self.end(consumer, there).await?;
        Ok(more)
    }

    /// Takes what is delivered until the server hears that no more is wanted. What is more than that goes back
    /// with the end of the channel.
    async fn end(&mut self, mut consumer: Consumer, there: u64) -> Result<()> {
        let channel = &self.fetched.client.channel;
        channel.basic_cancel(consumer.tag(), Default::default()).await.map_err(failure)?;
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery.map_err(failure)?;
            if self.is_done(there) {
                break;
            }
            self.take(delivery)?;
        }
        Ok(())
    }

    fn take(&mut self, delivery: Delivery) -> Result<()> {
        if offset(&delivery).is_some() {
            return Err(is_a_stream(self.queue));
        }
        let mark = mark(&delivery);
        self.bytes += size(&delivery);
        self.fetched.last = delivery.delivery_tag;
        self.fetched.batch.add(mark);
        if delivery.redelivered && self.fetched.unsettled.recognise(mark) {
            return Ok(());
        }
        self.fetched.spool.push(message(&self.topic, delivery, None))
    }
}
