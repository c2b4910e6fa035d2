//! The read of topics: what the broker has kept, until nothing comes for a while.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use rumqttc::{Publish, QoS};
use serde_json::{Map, Value, json};
use tidemill_core::{ConnectContext, Error, ErrorKind, ReadScope, Result};

use super::session::Session;
use super::settings::MqttTable;
use crate::queue::{
    Acknowledged, Batch, Mark, Message, Reading, Spool, Unsettled, held, now, refuse_refresh,
};
use crate::server::{Server, patiently};
use crate::stream::Sink;

/// The most messages of a load: packets that are not acknowledged have different numbers of 16 bits.
const MOST: usize = 60_000;

/// The most messages of a load that only looks.
const LOOKED_AT: u64 = 100_000;

/// Where topics are read.
pub(super) struct Place<'a> {
    pub(super) server: &'a Server,
    pub(super) context: &'a ConnectContext,
}

/// Reads what has come.
pub(super) async fn read(
    place: &Place<'_>,
    table: &MqttTable,
    topics: Vec<String>,
    reading: Reading,
    sink: &Sink,
) -> Result<()> {
    if reading.request().scope == ReadScope::Whole {
        return look(place, table, &topics, reading, sink).await;
    }
    refuse_refresh(reading.request(), "a broker")?;
    let id = table.client_id(&place.context.name, &place.server.place, &reading.request().name);
    let note = Acknowledged::new(&place.context.project, &place.context.name, &id);
    let key = format!("{} {id}", place.server.place);
    held::release(&key).await;
    let unsettled = Unsettled::read(reading.last(), &note, now())?;
    let cancel = reading.request().cancel.clone();
    let fetched = patiently(&cancel, || {
        let fetch = Fetch { place, table, topics: &topics, reading: &reading, id: &id };
        fetch.run(unsettled.clone())
    });
    let Fetched { session, spool, batch, packets, unsettled, notice, is_full } = fetched.await?;
    if let Some(notice) = notice {
        reading.notice(sink, "lost-messages", notice).await?;
    }
    if is_full {
        let loaded = spool.count();
        let message =
            format!("{loaded} messages are loaded, and more may be left for the next load");
        reading.notice(sink, "more-messages", message).await?;
    }
    let mut position = position(&topics);
    unsettled.write(&batch, now(), &mut position)?;
    if packets.is_empty() {
        session.end().await;
        return reading.deliver(spool.finish()?, position, sink).await;
    }
    held::hold(batch.id, key.clone(), Box::new(Received { session, packets }), note);
    let delivered = reading.deliver(spool.finish()?, position, sink).await;
    if delivered.is_err() {
        held::release(&key).await;
    }
    delivered
}

fn position(topics: &[String]) -> Map<String, Value> {
    Map::from_iter([("topics".to_owned(), json!(topics))])
}

/// A session with messages that are not acknowledged.
struct Received {
    session: Session,
    packets: Vec<(u16, QoS)>,
}

#[async_trait]
impl held::InHand for Received {
    async fn acknowledge(&self) -> Result<()> {
        self.session.acknowledge(&self.packets).await
    }

    async fn end(self: Box<Self>) {
        self.session.end().await;
    }
}

/// Reads what the broker retains, and what is published meanwhile, by a session that it forgets.
async fn look(
    place: &Place<'_>,
    table: &MqttTable,
    topics: &[String],
    reading: Reading,
    sink: &Sink,
) -> Result<()> {
    let cancel = &reading.request().cancel;
    let mut session = Session::look(place.server, cancel).await?;
    session.subscribe(topics, table.qos()).await?;
    let mut spool = reading.spool()?;
    let mut names = Names::default();
    while spool.count() < LOOKED_AT {
        cancel.check()?;
        let Some(message) = session.next(table.idle()).await? else { break };
        spool.push(names.message(message)?)?;
    }
    session.end().await;
    reading.deliver(spool.finish()?, position(topics), sink).await
}

/// What was fetched.
struct Fetched {
    session: Session,
    spool: Spool,
    batch: Batch,
    packets: Vec<(u16, QoS)>,
    unsettled: Unsettled,
    notice: Option<String>,
    /// It ended before the messages did.
    is_full: bool,
}

struct Fetch<'a> {
    place: &'a Place<'a>,
    table: &'a MqttTable,
    topics: &'a [String],
    reading: &'a Reading,
    id: &'a str,
}

impl Fetch<'_> {
    async fn run(self, unsettled: Unsettled) -> Result<Fetched> {
        let session = Session::connect(self.place.server, self.id, false).await?;
        let mut fetched = Fetched {
            session,
            spool: self.reading.spool()?,
            batch: Batch::new(),
            packets: Vec::new(),
            unsettled,
            notice: None,
            is_full: false,
        };
        match self.take(&mut fetched).await {
            Ok(()) => {
                fetched.session.stop_listening();
                Ok(fetched)
            }
            Err(error) => {
                fetched.session.end().await;
                Err(error)
            }
        }
    }

    async fn take(&self, fetched: &mut Fetched) -> Result<()> {
        self.subscribe(fetched).await?;
        let cancel = &self.reading.request().cancel;
        let mut names = Names::default();
        let mut known = HashSet::new();
        while fetched.packets.len() < MOST && !fetched.spool.is_full() {
            let next = tokio::select! {
                next = fetched.session.next(self.table.idle()) => next?,
                () = cancel.cancelled() => return cancel.check(),
            };
            let Some(message) = next else { return Ok(()) };
            if message.qos != QoS::AtMostOnce {
                // The broker may send one again on the same connection.
                if !known.insert(message.pkid) {
                    continue;
                }
                let mark = mark(&message);
                fetched.packets.push((message.pkid, message.qos));
                fetched.batch.add(mark);
                if message.dup && fetched.unsettled.recognise(mark) {
                    continue;
                }
            }
            if message.retain && !self.table.retained {
                continue;
            }
            fetched.spool.push(names.message(message)?)?;
        }
        fetched.is_full = true;
        Ok(())
    }

    /// Sees to it that the session has the subscriptions of the table. A subscription that is there is left
    /// alone: to ask for it again brings what is retained again.
    async fn subscribe(&self, fetched: &mut Fetched) -> Result<()> {
        let last =
            self.reading.last().and_then(|last| last.get("topics")).and_then(Value::as_array);
        let before: Option<Vec<String>> =
            last.map(|topics| topics.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        if let Some(before) = &before
            && fetched.session.is_known
        {
            let among = |topics: &[String], others: &[String]| -> Vec<String> {
                topics.iter().filter(|topic| !others.contains(topic)).cloned().collect()
            };
            fetched.session.unsubscribe(&among(before, self.topics)).await?;
            return fetched.session.subscribe(&among(self.topics, before), self.table.qos()).await;
        }
        if before.is_some() {
            let sentence = format!(
                "the broker does not know the session `{}` any more: what was published since the last load, \
                 and not loaded, is gone",
                self.id
            );
            match self.table.on_lost.take(sentence) {
                Ok(notice) => fetched.notice = Some(notice),
                Err(error) => {
                    // The next load has to see it, too.
                    self.forget().await;
                    return Err(error);
                }
            }
        }
        fetched.session.subscribe(self.topics, self.table.qos()).await
    }

    /// Has the broker forget the session that was made by connecting.
    async fn forget(&self) {
        match Session::connect(self.place.server, self.id, true).await {
            Ok(session) => session.end().await,
            Err(error) => tracing::debug!(%error, "a session could not be forgotten"),
        }
    }
}

/// What a message is known by when it is sent again: with the packet identifier of the first time.
fn mark(message: &Publish) -> Mark {
    let packet = message.pkid.to_le_bytes();
    Mark::of(true, [packet.as_slice(), &message.topic[..], &message.payload[..]])
}

/// Names of topics, each of them once in memory.
#[derive(Default)]
struct Names(HashMap<Vec<u8>, Arc<str>>);

impl Names {
    /// A packet as a message. When it was published MQTT does not say; the time is that at which it came.
    fn message(&mut self, packet: Publish) -> Result<Message> {
        let topic = match self.0.get(&packet.topic[..]) {
            Some(topic) => Arc::clone(topic),
            None => {
                let name = std::str::from_utf8(&packet.topic).map_err(|error| {
                    Error::new(ErrorKind::Data, "a topic is not UTF-8").because(error)
                })?;
                if self.0.len() >= 10_000 {
                    self.0.clear();
                }
                let topic: Arc<str> = name.into();
                self.0.insert(packet.topic.to_vec(), Arc::clone(&topic));
                topic
            }
        };
        Ok(Message {
            topic,
            timestamp: Some(chrono::Utc::now().timestamp_micros()),
            value: Some(packet.payload),
            further: vec![json!(packet.qos as u8), json!(packet.retain)],
            ..Message::default()
        })
    }
}
