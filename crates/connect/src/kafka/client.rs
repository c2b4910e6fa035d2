//! What is asked of brokers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::admin::{
    AdminClient, AlterConsumerGroupOffsetsOptions, ConfigResource, CreateTopicsOptions,
    DescribeConfigsOptions, DescribeTopicsOptions, ListOffsetsOptions, ListTopicsOptions, NewTopic,
    OffsetSpec, TopicPartition,
};
use krafka::error::{ErrorCode, KrafkaError};
use krafka::producer::TransactionalProducer;
use krafka::{Compression, Kafka, consumer::Consumer, consumer::IsolationLevel};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};

use super::config::KafkaConfig;
use super::plan::{Bounds, Topic};
use super::position::Groups;
use crate::stream::blocking;

/// A connection to a cluster.
pub(super) struct Client {
    kafka: Kafka,
    admin: AdminClient,
    timeout: Duration,
    cancel: Cancellation,
}

/// How often a request is made again.
const TRIES: u32 = 6;

/// How long a transaction may be open: what brokers allow unless they are told otherwise.
const TRANSACTION: Duration = Duration::from_secs(900);

impl Client {
    /// # Errors
    /// Kind `Unavailable` when no broker answers in time, `Denied` when the login is refused.
    pub(super) async fn connect(
        config: &Arc<KafkaConfig>,
        project: &Path,
        cancel: &Cancellation,
    ) -> Result<Client> {
        let (own, project) = (Arc::clone(config), project.to_owned());
        let security = blocking(move || own.security(&project)).await?;
        let timeout = config.timeout();
        let connect = || {
            Kafka::builder(config.servers())
                .client_id(config.client_id())
                .security(security.clone())
                .connect_timeout(timeout.min(Duration::from_secs(10)))
                .request_timeout(timeout)
                .allow_auto_create_topics(false)
                .connect()
        };
        let kafka = again(timeout, cancel, connect)
            .await
            .map_err(|error| failure(error, "Kafka").with("bootstrap_servers", config.servers()))?;
        let admin = kafka.admin().default_api_timeout(timeout);
        Ok(Client { kafka, admin, timeout, cancel: cancel.clone() })
    }

    /// How long a broker may take to answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The names of all topics but the broker's own.
    pub(super) async fn topics(&self) -> Result<Vec<String>> {
        let list = || self.admin.list_topics(ListTopicsOptions::default());
        again(self.timeout, &self.cancel, list)
            .await
            .map_err(|error| failure(error, "the list of topics"))
    }

    /// Topics as they are now. One that is not there is an error of kind `NotFound`.
    pub(super) async fn describe(&self, names: &[String], committed: bool) -> Result<Vec<Topic>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut topics = Vec::with_capacity(names.len());
        for name in names {
            let describe = || async {
                let options = DescribeTopicsOptions::default();
                let mut found = self.admin.describe_topics([name.as_str()], options).await?;
                found.remove(name).unwrap_or_else(|| Err(KrafkaError::unknown_topic(name)))
            };
            let described = again(self.timeout, &self.cancel, describe)
                .await
                .map_err(|error| failure(error, "the topic").with("topic", name))?;
            let id = described.topic_id.iter().any(|byte| *byte != 0).then(|| {
                let hex = described.topic_id.iter().map(|byte| format!("{byte:02x}"));
                hex.collect::<String>()
            });
            let none = Bounds { earliest: 0, end: 0, high: 0 };
            let partitions = described.partitions.iter().map(|found| (found.partition, none));
            topics.push(Topic { name: name.clone(), id, bounds: partitions.collect() });
        }
        let partitions: Vec<TopicPartition> = topics
            .iter()
            .flat_map(|topic| {
                topic.bounds.keys().map(|partition| TopicPartition::new(&topic.name, *partition))
            })
            .collect();
        // The end last: what is there then was there when the oldest one was asked for, or is newer.
        let earliest = self.offsets(&partitions, OffsetSpec::Earliest, false).await?;
        let end = match committed {
            true => Some(self.offsets(&partitions, OffsetSpec::Latest, true).await?),
            false => None,
        };
        let high = self.offsets(&partitions, OffsetSpec::Latest, false).await?;
        for topic in &mut topics {
            for (partition, bounds) in &mut topic.bounds {
                let key = (topic.name.clone(), *partition);
                let of = |found: &BTreeMap<(String, i32), i64>| found.get(&key).copied();
                bounds.earliest = of(&earliest).unwrap_or_default();
                bounds.high = of(&high).unwrap_or(bounds.earliest);
                bounds.end = end.as_ref().and_then(of).unwrap_or(bounds.high);
            }
        }
        Ok(topics)
    }

    /// The oldest offsets of partitions.
    pub(super) async fn earliest(
        &self,
        partitions: &[(String, i32)],
    ) -> Result<BTreeMap<(String, i32), i64>> {
        let partitions: Vec<TopicPartition> = partitions
            .iter()
            .map(|(topic, partition)| TopicPartition::new(topic, *partition))
            .collect();
        self.offsets(&partitions, OffsetSpec::Earliest, false).await
    }

    /// The first offsets whose messages are not older; partitions without such are left out.
    pub(super) async fn at(
        &self,
        topics: &[Topic],
        micros: i64,
    ) -> Result<BTreeMap<(String, i32), i64>> {
        let partitions: Vec<(&str, i32)> = topics
            .iter()
            .flat_map(|topic| {
                topic.bounds.keys().map(|partition| (topic.name.as_str(), *partition))
            })
            .collect();
        let millis = micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0);
        let consumer = self.consumer(false).await?;
        let ask = || async {
            let mut offsets = BTreeMap::new();
            let found = consumer.offsets_for_times(&partitions, millis.max(0)).await;
            for (partition, offset) in found {
                // -1: no message is as new.
                offsets.extend(Some((partition, offset?)).filter(|(_, offset)| *offset >= 0));
            }
            Ok(offsets)
        };
        again(self.timeout, &self.cancel, ask)
            .await
            .map_err(|error| failure(error, "the offsets of a time"))
    }

    async fn offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        committed: bool,
    ) -> Result<BTreeMap<(String, i32), i64>> {
        let ask = || async {
            let specs = partitions.iter().map(|partition| (partition.clone(), spec));
            let options = ListOffsetsOptions::default().read_committed(committed);
            let mut offsets = BTreeMap::new();
            for (partition, found) in self.admin.list_offsets(specs, options).await? {
                let key = (partition.topic().to_owned(), partition.partition());
                offsets.insert(key, found?.offset);
            }
            Ok(offsets)
        };
        again(self.timeout, &self.cancel, ask)
            .await
            .map_err(|error| failure(error, "the offsets of a partition"))
    }

    /// What gives messages. It is in no group.
    pub(super) async fn consumer(&self, committed: bool) -> Result<Consumer> {
        let isolation = match committed {
            true => IsolationLevel::ReadCommitted,
            false => IsolationLevel::ReadUncommitted,
        };
        self.kafka
            .consumer_without_group()
            .auto_offset_reset(krafka::consumer::AutoOffsetReset::None)
            .enable_auto_commit(false)
            .isolation_level(isolation)
            .max_poll_records(8192)
            .max_buffered_records(16_384)
            .fetch_max_bytes(32 << 20)
            .max_partition_fetch_bytes(4 << 20)
            .metrics_push(false)
            .build()
            .await
            .map_err(|error| failure(error, "Kafka"))
    }

    /// What writes messages in transactions. An earlier one of this name cannot write any more, and what it left open
    /// is decided.
    pub(super) async fn producer(&self, name: &str) -> Result<TransactionalProducer> {
        let make = || {
            self.kafka
                .producer()
                .compression(Compression::Zstd)
                .linger(Duration::from_millis(20))
                .batch_size(256 << 10)
                .transaction_timeout(TRANSACTION)
                .metrics_push(false)
                .build_transactional(name)
        };
        again(self.timeout, &self.cancel, make)
            .await
            .map_err(|error| failure(error, "a transaction").with("transactional_id", name))
    }

    /// Makes a topic of one partition that keeps the last message of each key, if there is none.
    pub(super) async fn has_compacted(&self, name: &str) -> Result<()> {
        match self.describe(&[name.to_owned()], false).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            there => return there.map(drop),
        }
        let make = || async {
            let mut topic = NewTopic::new(name, 1, -1)?;
            topic.configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
            let made = self.admin.create_topics([topic], CreateTopicsOptions::default()).await?;
            for (_, made) in made {
                match made {
                    // Another delivery was first.
                    Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. }) => {}
                    made => made?,
                }
            }
            Ok(())
        };
        again(self.timeout, &self.cancel, make).await.map_err(|error| {
            failure(error, "the topic with the records of deliveries").with("topic", name).with(
                "help",
                "make it yourself, with one partition and `cleanup.policy=compact`, or let the user create topics",
            )
        })
    }

    /// Whether a topic keeps the last message of each key; `None` where the broker does not say it.
    pub(super) async fn is_compacted(&self, topic: &str) -> Option<bool> {
        let resource = ConfigResource::topic(topic);
        let options = DescribeConfigsOptions::default();
        let mut told = self.admin.describe_configs([resource.clone()], options).await.ok()?;
        let entries = told.remove(&resource)?.ok()?;
        let policy = entries.into_iter().find(|entry| entry.name == "cleanup.policy")?.value?;
        Some(policy.contains("compact"))
    }

    /// Writes offsets to a consumer group.
    pub(super) async fn commit(&self, groups: Groups) -> Result<()> {
        let commit = || async {
            let offsets = groups.offsets.iter();
            let offsets = offsets.map(|(topic, partition, offset)| {
                (TopicPartition::new(topic, *partition), *offset)
            });
            let options = AlterConsumerGroupOffsetsOptions::default();
            let group = groups.group.as_str();
            for told in self
                .admin
                .alter_consumer_group_offsets(group, offsets, options)
                .await?
                .into_values()
            {
                told?;
            }
            Ok(())
        };
        again(self.timeout, &self.cancel, commit).await.map_err(|error| {
            failure(error, "the offsets of the group").with("group", &groups.group)
        })
    }
}

/// Does it again while that can help, with pauses that grow, up to this time.
async fn again<T, F>(
    limit: Duration,
    cancel: &Cancellation,
    mut work: impl FnMut() -> F,
) -> std::result::Result<T, KrafkaError>
where
    F: Future<Output = std::result::Result<T, KrafkaError>>,
{
    let end = Instant::now() + limit;
    let mut tries = 0;
    loop {
        tries += 1;
        let left = end.saturating_duration_since(Instant::now());
        let done = match tokio::time::timeout(left, work()).await {
            Ok(done) => done,
            Err(_) => Err(KrafkaError::timeout("the broker")),
        };
        match done {
            // One that was made a moment ago may not be known everywhere.
            Err(error) if is_missing(&error) && tries > 1 => return Err(error),
            Err(error) if error.is_retriable() && tries < TRIES => {
                let whole = 200 << tries.min(5);
                let pause = Duration::from_millis(fastrand::u64(whole / 2..=whole));
                if Instant::now() + pause >= end {
                    return Err(error);
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = cancel.cancelled() => return Err(error),
                }
            }
            done => return done,
        }
    }
}

/// Whether what was asked for is not there.
fn is_missing(error: &KrafkaError) -> bool {
    use ErrorCode::{UnknownTopicId, UnknownTopicOrPartition};
    matches!(
        error,
        KrafkaError::UnknownTopic { .. }
            | KrafkaError::Broker { code: UnknownTopicOrPartition | UnknownTopicId, .. }
    )
}

/// A failure of the library as ours. `what` was asked for.
pub(super) fn failure(error: KrafkaError, what: &str) -> Error {
    use ErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, SaslAuthenticationFailed,
        TopicAuthorizationFailed, TransactionalIdAuthorizationFailed,
    };
    let (kind, message) = match &error {
        error if is_missing(error) => (ErrorKind::NotFound, format!("{what} is not there")),
        KrafkaError::Network(_) | KrafkaError::Timeout { .. } => {
            (ErrorKind::Unavailable, format!("{what} cannot be reached: no broker answers"))
        }
        KrafkaError::Auth { .. } => (
            ErrorKind::Denied,
            "the broker refuses the login, or its certificate is not trusted".into(),
        ),
        KrafkaError::Config { .. } => {
            (ErrorKind::Config, "a connection cannot be made of these settings".into())
        }
        KrafkaError::Broker { code, .. } => match code {
            TopicAuthorizationFailed
            | GroupAuthorizationFailed
            | ClusterAuthorizationFailed
            | TransactionalIdAuthorizationFailed
            | SaslAuthenticationFailed => {
                (ErrorKind::Denied, format!("the broker does not let this user have {what}"))
            }
            code if code.is_retriable() => {
                (ErrorKind::Unavailable, format!("the broker cannot give {what} now"))
            }
            _ => (ErrorKind::Io, format!("the broker does not give {what}")),
        },
        KrafkaError::Fenced { .. } => (
            ErrorKind::Unavailable,
            format!("{what} was taken over by another delivery of the same export"),
        ),
        KrafkaError::Protocol { .. } | KrafkaError::Compression { .. } => (
            ErrorKind::Data,
            format!("{what} cannot be read: the broker sent what is not understood"),
        ),
        _ => (ErrorKind::Io, format!("{what} cannot be had")),
    };
    Error::new(kind, message).because(error)
}
