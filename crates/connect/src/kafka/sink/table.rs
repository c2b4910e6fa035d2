//! A topic as a table: the last message of each key.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use krafka::ConsumerRecord;
use tidemill_core::{Cancellation, Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::kafka::client::{Client, failure};

/// How long one fetch waits for messages.
const POLL: Duration = Duration::from_millis(500);

/// Gives all messages of a topic that are committed, up to the end that there is now.
///
/// # Errors
/// Kind `NotFound` without the topic.
pub(super) async fn messages(
    client: &Client,
    topic: &str,
    cancel: &Cancellation,
    mut take: impl FnMut(ConsumerRecord),
) -> Result<()> {
    let described = client.describe(&[topic.to_owned()], true).await?;
    let bounds = described.into_iter().flat_map(|topic| topic.bounds);
    let mut open: BTreeMap<i32, (i64, i64)> = bounds
        .filter(|(_, bounds)| bounds.earliest < bounds.end)
        .map(|(partition, bounds)| (partition, (bounds.earliest, bounds.end)))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let consumer = client.consumer(true).await?;
    let failed = |error| failure(error, "the messages").with("topic", topic);
    consumer.assign(topic, open.keys().copied().collect()).await.map_err(failed)?;
    for (partition, (from, _)) in &open {
        consumer.seek(topic, *partition, *from).await.map_err(failed)?;
    }
    let mut progress = Instant::now();
    while !open.is_empty() {
        cancel.check()?;
        match consumer.poll(POLL).await {
            Ok(records) => {
                for record in records {
                    let wanted = open.get(&record.partition);
                    if wanted.is_some_and(|(_, end)| record.offset < *end) {
                        take(record);
                    }
                }
            }
            Err(error) if error.is_retriable() && progress.elapsed() < client.timeout() => {
                tracing::debug!(%error, "a fetch is made again");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(100..300))).await;
            }
            Err(error) => return Err(failed(error)),
        }
        let mut moved = false;
        let mut through = Vec::new();
        for (partition, (at, end)) in &mut open {
            let now = consumer.position(topic, *partition).await.unwrap_or(*at);
            moved |= now > *at;
            *at = now.max(*at);
            if *at >= *end {
                through.push(*partition);
            }
        }
        for partition in through {
            open.remove(&partition);
            consumer.pause(topic, &[partition]).await;
        }
        if moved {
            progress = Instant::now();
        } else if !open.is_empty() && progress.elapsed() >= client.timeout() {
            let message = format!("no broker gave the messages of `{topic}` in time");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    }
    Ok(())
}

/// The last message of each key, without those that have no body.
pub(super) struct Table(HashMap<Bytes, Last>);

struct Last {
    body: u128,
    /// A row has the key.
    met: bool,
}

impl Table {
    /// Reads what is there.
    ///
    /// # Errors
    /// Kind `Config` for a topic that does not keep the last message of each key: what it drops would be sent again.
    pub(super) async fn read(client: &Client, topic: &str, cancel: &Cancellation) -> Result<Table> {
        if client.is_compacted(topic).await == Some(false) {
            let message = format!(
                "the topic `{topic}` drops old messages, and a `primary_key` needs one that keeps the last message of each \
                 key"
            );
            return Err(Error::new(ErrorKind::Config, message)
                .with("help", "set `cleanup.policy=compact` of the topic"));
        }
        let mut table = HashMap::new();
        messages(client, topic, cancel, |message| {
            let Some(key) = message.key else { return };
            match message.value {
                // A copy, as the message is a part of a large answer.
                Some(body) => {
                    let last = Last { body: xxh3_128(&body), met: false };
                    match table.get_mut(&key) {
                        Some(there) => *there = last,
                        None => drop(table.insert(Bytes::copy_from_slice(&key), last)),
                    }
                }
                None => drop(table.remove(&key)),
            }
        })
        .await?;
        Ok(Table(table))
    }

    /// A row has this key: whether it is new there, and whether the same is there.
    pub(super) fn meets(&mut self, key: &Bytes, body: &Bytes) -> (bool, bool) {
        match self.0.get_mut(key) {
            None => (true, false),
            Some(last) => {
                last.met = true;
                (false, last.body == xxh3_128(body))
            }
        }
    }

    /// The keys that no row has.
    pub(super) fn left(self) -> impl Iterator<Item = Bytes> {
        self.0.into_iter().filter(|(_, last)| !last.met).map(|(key, _)| key)
    }
}
