//! The read of topics: every partition up to the end that was there when it began.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::consumer::Consumer;
use krafka::error::KrafkaError;
use krafka::{CloseOptions, ConsumerRecord};
use tidemill_core::{
    Cancellation, ConnectContext, Error, ErrorKind, ReadRequest, ReadScope, Result,
};

use super::LAYOUT;
use super::client::{Client, failure};
use super::config::{Isolation, KafkaConfig, TopicSettings, Wanted};
use super::plan::{Plan, Rules, decide, lost_sentence};
use super::position::KafkaPosition;
use crate::queue::{
    Message, Offset, QueueContext, QueueSettings, Reading, Spool, Start, more_messages,
    own_settings,
};
use crate::stream::{Sink, blocking};

/// How long a poll waits for messages.
const POLL: Duration = Duration::from_millis(500);

/// A read whose settings are checked.
pub(super) struct Read {
    reading: Reading,
    own: TopicSettings,
    wanted: Wanted,
}

impl Read {
    pub(super) fn new(
        config: &KafkaConfig,
        context: &ConnectContext,
        request: ReadRequest,
    ) -> Result<Read> {
        let (common, own) = QueueSettings::take(&request.settings)?;
        let own: TopicSettings = own_settings(own)?;
        let wanted = own.wanted(&request.name)?;
        let context =
            QueueContext { project: context.project.clone(), object: wanted.written.clone() };
        let reading = Reading::new(LAYOUT, common, request, context)?
            .with_registry(config.schema_registry.clone());
        Ok(Read { reading, own, wanted })
    }

    pub(super) fn cancel(&self) -> &Cancellation {
        &self.reading.request().cancel
    }

    fn committed(&self) -> bool {
        self.own.isolation == Isolation::ReadCommitted
    }

    /// Reads, and gives rows and position.
    pub(super) async fn run(&self, client: &Client, sink: &Sink) -> Result<()> {
        let plan = self.plan(client).await?;
        for (code, sentence) in &plan.notices {
            self.reading.notice(sink, code, sentence.as_str()).await?;
        }
        let whole = self.reading.request().scope == ReadScope::Whole;
        let end = self.end(&plan, whole);
        if whole
            && let Some(published) = self.reading.published()
            && KafkaPosition::parse(published).is_ok_and(|published| published == end)
        {
            return Ok(());
        }
        let mut fetch = Fetch::new(&plan);
        let mut spool = self.reading.spool()?;
        if !fetch.open.is_empty() {
            let consumer = client.consumer(self.committed()).await?;
            let fetched = self.fetch(client, &consumer, &mut fetch, spool).await;
            // Brokers forget it sooner so; that they hear of it does not matter.
            let soon = CloseOptions::new().timeout(Duration::from_secs(1));
            let _ = consumer.close_with(soon).await;
            spool = fetched?;
        }
        for sentence in &fetch.lost {
            self.reading.notice(sink, "lost-messages", sentence.as_str()).await?;
        }
        let mut position = end;
        let mut left = 0;
        for ((topic, partition), open) in &fetch.open {
            position.set(topic, *partition, open.next);
            left += open.end - open.next;
        }
        for ((topic, partition), next) in &fetch.done {
            position.set(topic, *partition, *next);
        }
        if left > 0 {
            let left = u64::try_from(left).unwrap_or_default();
            more_messages(&self.reading, spool.count(), left, sink).await?;
        }
        let spooled = blocking(move || spool.finish()).await?;
        self.reading.deliver(spooled, position.to_map()?, sink).await
    }

    async fn plan(&self, client: &Client) -> Result<Plan> {
        let all = match self.wanted.has_patterns() {
            true => client.topics().await?,
            false => Vec::new(),
        };
        let names = self.wanted.among(&all);
        let last = self.reading.last().map(KafkaPosition::parse).transpose()?;
        if names.is_empty() && last.is_none() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no topic fits `{}`", self.wanted.written),
            ));
        }
        let topics = client.describe(&names, self.committed()).await?;
        let start = &self.reading.settings().start;
        let at = match (start, &last) {
            (Start::At(micros), None) => client.at(&topics, *micros).await?,
            _ => BTreeMap::new(),
        };
        decide(&topics, last.as_ref(), &Rules { start, at: &at, on_lost: self.own.on_lost })
    }

    /// The position when everything is read.
    fn end(&self, plan: &Plan, whole: bool) -> KafkaPosition {
        let mut end = plan.position.clone();
        end.group.clone_from(&self.own.group);
        for range in &plan.ranges {
            end.set(&range.topic, range.partition, range.end);
        }
        if whole {
            for (name, topic) in &mut end.topics {
                let own = plan.ranges.iter().filter(|range| range.topic == *name);
                topic.starts = own.map(|range| (range.partition, range.from)).collect();
            }
        }
        end
    }

    /// Fetches until all is there or the spool is full.
    async fn fetch(
        &self,
        client: &Client,
        consumer: &Consumer,
        fetch: &mut Fetch,
        mut spool: Spool,
    ) -> Result<Spool> {
        fetch.assign(consumer).await?;
        let mut progress = Instant::now();
        while !fetch.open.is_empty() && !spool.is_full() {
            self.cancel().check()?;
            let polled = tokio::select! {
                polled = consumer.poll(POLL) => polled,
                () = self.cancel().cancelled() => continue,
            };
            let records = match polled {
                Ok(records) => records,
                Err(KrafkaError::NoOffset { partitions }) => {
                    self.lost(client, consumer, fetch, &partitions).await?;
                    progress = Instant::now();
                    continue;
                }
                Err(error) if error.is_retriable() && progress.elapsed() < client.timeout() => {
                    tracing::debug!(%error, "a fetch is made again");
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(100..300))).await;
                    continue;
                }
                Err(error) => return Err(failure(error, "the messages")),
            };
            let (messages, places) = fetch.messages(records)?;
            let given = messages.len();
            let pushed;
            (spool, pushed) = blocking(move || {
                let mut pushed = 0;
                for message in messages {
                    if spool.is_full() {
                        break;
                    }
                    spool.push(message)?;
                    pushed += 1;
                }
                Ok((spool, pushed))
            })
            .await?;
            fetch.took(&places[..pushed]);
            // Messages that found no room come again; the consumer's own position is behind them.
            let moved = pushed == given && fetch.follow(consumer).await;
            if moved || pushed > 0 {
                progress = Instant::now();
            } else if progress.elapsed() >= client.timeout() {
                return Err(fetch.stalled(client.timeout()));
            }
        }
        Ok(spool)
    }

    /// The broker says that it does not have an offset.
    async fn lost(
        &self,
        client: &Client,
        consumer: &Consumer,
        fetch: &mut Fetch,
        partitions: &[(String, i32)],
    ) -> Result<()> {
        let earliest = client.earliest(partitions).await?;
        let mut lost = Vec::new();
        for (key, earliest) in &earliest {
            let Some(open) = fetch.open.get(&(Arc::from(key.0.as_str()), key.1)) else { continue };
            if open.next >= *earliest {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "`{}[{}]` does not have the offset {} any more, though its oldest one is {earliest}: the topic \
                         was made again, or lost its end; load again",
                        key.0, key.1, open.next
                    ),
                ));
            }
            lost.push((key.0.as_str(), key.1, open.next, *earliest));
        }
        if lost.is_empty() {
            let message = "the broker says of no partition which of its offsets is missing";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let sentence = self.own.on_lost.take(lost_sentence(&lost))?;
        for (topic, partition, _, earliest) in lost {
            consumer
                .seek(topic, partition, earliest)
                .await
                .map_err(|error| failure(error, "the messages"))?;
            fetch.skip((Arc::from(topic), partition), earliest);
        }
        fetch.lost.push(sentence);
        Ok(())
    }
}

type Key = (Arc<str>, i32);

/// Where messages stand.
type Places = Vec<(Key, i64)>;

/// A partition that is being read.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// The first offset that is not in the spool.
    next: i64,
    end: i64,
}

/// How far partitions are fetched.
#[derive(Debug, Default)]
struct Fetch {
    open: HashMap<Key, Open>,
    /// Where those end that are through.
    done: HashMap<Key, i64>,
    /// Sentences about messages that are gone.
    lost: Vec<String>,
}

impl Fetch {
    fn new(plan: &Plan) -> Fetch {
        let unread = plan.ranges.iter().filter(|range| range.from < range.end);
        let open = unread.map(|range| {
            let open = Open { next: range.from, end: range.end };
            ((Arc::from(range.topic.as_str()), range.partition), open)
        });
        Fetch { open: open.collect(), ..Fetch::default() }
    }

    async fn assign(&self, consumer: &Consumer) -> Result<()> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.open.keys() {
            topics.entry(topic).or_default().push(*partition);
        }
        for (topic, partitions) in topics {
            let assigned = consumer.assign(topic, partitions).await;
            assigned.map_err(|error| failure(error, "the topic").with("topic", topic))?;
        }
        for ((topic, partition), open) in &self.open {
            let sought = consumer.seek(topic, *partition, open.next).await;
            sought.map_err(|error| failure(error, "the messages"))?;
        }
        Ok(())
    }

    /// The messages among records that are wanted, and where each stands.
    fn messages(&self, records: Vec<ConsumerRecord>) -> Result<(Vec<Message>, Places)> {
        let mut messages = Vec::with_capacity(records.len());
        let mut places: Places = Vec::with_capacity(records.len());
        let mut next: HashMap<Key, i64> = HashMap::new();
        for record in records {
            let key = (Arc::clone(&record.topic), record.partition);
            let Some(open) = self.open.get(&key) else { continue };
            // What came after the read began belongs to the next one.
            if record.offset >= open.end {
                continue;
            }
            let expected = next.entry(key.clone()).or_insert(open.next);
            if record.offset < *expected {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "`{}[{}]` went back from offset {} to {} while it was read: its end was lost at the broker; \
                         load again",
                        key.0, key.1, *expected, record.offset
                    ),
                ));
            }
            *expected = record.offset + 1;
            messages.push(Message {
                topic: record.topic,
                partition: Some(record.partition),
                offset: Offset::Number(record.offset),
                timestamp: (record.timestamp >= 0).then(|| record.timestamp.saturating_mul(1000)),
                key: record.key,
                value: record.value,
                headers: record.headers,
                further: Vec::new(),
            });
            places.push((key, record.offset));
        }
        Ok((messages, places))
    }

    /// These are in the spool.
    fn took(&mut self, places: &[(Key, i64)]) {
        for (key, offset) in places {
            if let Some(open) = self.open.get_mut(key) {
                open.next = offset + 1;
            }
        }
    }

    /// Goes on over offsets that have no message: marks of transactions, messages of aborted ones, what
    /// compaction removed. Says whether it went on.
    async fn follow(&mut self, consumer: &Consumer) -> bool {
        let mut moved = false;
        let mut through = Vec::new();
        for (key, open) in &mut self.open {
            let at = consumer.position(&key.0, key.1).await.unwrap_or(open.next);
            moved |= at > open.next;
            open.next = open.next.max(at.min(open.end));
            if open.next >= open.end {
                // What is buffered behind the end goes: it would keep the room of others.
                let _ = consumer.seek(&key.0, key.1, open.next).await;
                consumer.pause(&key.0, &[key.1]).await;
                through.push(key.clone());
            }
        }
        for key in through {
            if let Some(open) = self.open.remove(&key) {
                self.done.insert(key, open.next);
            }
        }
        moved
    }

    /// Goes on at an offset, as what is before it is gone.
    fn skip(&mut self, key: Key, to: i64) {
        let Some(open) = self.open.get_mut(&key) else { return };
        open.next = to;
        if open.next >= open.end {
            self.open.remove(&key);
            self.done.insert(key, to);
        }
    }

    fn stalled(&self, time: Duration) -> Error {
        let mut waiting: Vec<String> = self
            .open
            .iter()
            .map(|((topic, partition), open)| {
                format!("`{topic}[{partition}]` (at {} of {})", open.next, open.end)
            })
            .collect();
        waiting.sort();
        waiting.truncate(3);
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "no broker gave messages for {} s; waiting for {}",
                time.as_secs(),
                waiting.join(", ")
            ),
        )
    }
}
