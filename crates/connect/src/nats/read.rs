//! The read of a stream, up to the end that was there when it began.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::RetentionPolicy;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use tidemill_core::{
    Cancellation, ConnectContext, Error, ErrorKind, ReadRequest, ReadScope, Result,
};

use super::LAYOUT;
use super::config::{Client, NatsConfig, StreamSettings, failure};
use super::position::{From, NatsPosition, Stream, decide};
use crate::queue::{
    Message, Offset, QueueContext, QueueSettings, Reading, Spool, more_messages, own_settings,
};
use crate::stream::{Sink, blocking};

/// How many messages are asked for at a time,
const BATCH: usize = 4096;

/// and of how many bytes. One message has 64 MiB at most.
const BATCH_BYTES: usize = 72 << 20;

/// How long the server may be silent within a batch.
const SILENCE: Duration = Duration::from_secs(5);

/// A read whose settings are checked.
pub(super) struct Read {
    reading: Reading,
    own: StreamSettings,
    name: String,
}

impl Read {
    pub(super) fn new(
        config: &NatsConfig,
        context: &ConnectContext,
        request: ReadRequest,
    ) -> Result<Read> {
        let (common, own) = QueueSettings::take(&request.settings)?;
        let own: StreamSettings = own_settings(own)?;
        own.check(&common)?;
        let name = own.stream.clone().unwrap_or_else(|| request.name.clone());
        let context = QueueContext { project: context.project.clone(), object: name.clone() };
        let reading = Reading::new(LAYOUT, common, request, context)?
            .with_registry(config.schema_registry.clone());
        Ok(Read { reading, own, name })
    }

    pub(super) fn cancel(&self) -> &Cancellation {
        &self.reading.request().cancel
    }

    /// Reads, and gives rows and position.
    pub(super) async fn run(&self, client: &Client, sink: &Sink) -> Result<()> {
        let handle = client.context.get_stream(&self.name).await.map_err(|error| {
            use async_nats::jetstream::ErrorCode;
            use async_nats::jetstream::context::GetStreamErrorKind;
            match error.kind() {
                GetStreamErrorKind::JetStream(cause)
                    if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Error::new(ErrorKind::NotFound, format!("there is no stream `{}`", self.name))
                }
                _ => failure(error, "the stream cannot be looked at").with("stream", &self.name),
            }
        })?;
        let info = handle.cached_info();
        if info.config.retention == RetentionPolicy::WorkQueue {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the stream gives each message to one reader and forgets it (`workqueue`), so that it has no position; \
                 have a stream with `limits` that sources it, and read that",
            )
            .with("stream", &self.name));
        }
        let stream = Stream {
            name: self.name.clone(),
            created: info.created.unix_timestamp_nanos().to_string(),
            first: info.state.first_sequence.max(1),
            last: info.state.last_sequence,
        };
        let subjects = self.own.subjects();
        let last = self.reading.last().map(NatsPosition::parse).transpose()?;
        let start = &self.reading.settings().start;
        let (from, notices) = decide(&stream, &subjects, last.as_ref(), start, self.own.on_lost)?;
        for (code, sentence) in notices {
            self.reading.notice(sink, code, sentence).await?;
        }
        let mut position = NatsPosition {
            stream: stream.name.clone(),
            created: stream.created.clone(),
            subjects: subjects.clone(),
            next: stream.last + 1,
            start: None,
        };
        if self.reading.request().scope == ReadScope::Whole {
            position.start = Some(stream.first);
            let published = self.reading.published().map(NatsPosition::parse);
            if published
                .is_some_and(|published| published.is_ok_and(|published| published == position))
            {
                return Ok(());
            }
        }
        let spool = self.reading.spool()?;
        let nothing = matches!(from, From::Sequence(next) if next > stream.last);
        let (spool, stopped) = match nothing {
            true => (spool, None),
            false => self.fetch(client, &handle, &stream, from, spool).await?,
        };
        if let Some(next) = stopped {
            position.next = next;
            more_messages(&self.reading, spool.count(), stream.last + 1 - next, sink).await?;
        }
        let spooled = blocking(move || spool.finish()).await?;
        self.reading.deliver(spooled, position.to_map()?, sink).await
    }

    /// Fetches up to the end of the stream; if the spool was full before, where it stopped.
    async fn fetch(
        &self,
        client: &Client,
        handle: &jetstream::stream::Stream,
        stream: &Stream,
        from: From,
        mut spool: Spool,
    ) -> Result<(Spool, Option<u64>)> {
        let mut from = from;
        let mut progress = Instant::now();
        loop {
            self.cancel().check()?;
            // A consumer gives each message once: where one was lost on the way, a new one goes on.
            let ended = self.follow(handle, stream, &mut from, spool).await;
            let (rest, ended) = ended?;
            spool = rest;
            match ended {
                Ended::Done => return Ok((spool, None)),
                Ended::Full(next) => {
                    return Ok((spool, Some(next).filter(|next| *next <= stream.last)));
                }
                Ended::Broken { moved, error } => {
                    if moved {
                        progress = Instant::now();
                    }
                    if progress.elapsed() >= client.timeout {
                        return Err(error.with("stream", &stream.name));
                    }
                    tracing::debug!(%error, "a consumer is made again");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(fastrand::u64(200..800))) => {}
                        () = self.cancel().cancelled() => {}
                    }
                }
            }
        }
    }

    /// Reads by one consumer as far as it goes.
    async fn follow(
        &self,
        handle: &jetstream::stream::Stream,
        stream: &Stream,
        from: &mut From,
        mut spool: Spool,
    ) -> Result<(Spool, Ended)> {
        let broken = |moved, error| Ended::Broken { moved, error };
        let consumer: PullConsumer = match handle.create_consumer(self.consumer(*from)?).await {
            Ok(consumer) => consumer,
            Err(error) => {
                let error = failure(error, "the messages of the stream cannot be had");
                return Ok((spool, broken(false, error)));
            }
        };
        let name = consumer.cached_info().name.clone();
        let mut expected = 1;
        let mut moved = false;
        let ended = loop {
            self.cancel().check()?;
            let mut messages = Vec::new();
            let fetched = self.batch(&consumer, stream, &mut expected, &mut messages).await;
            let given = messages.len();
            let (pushed, next);
            (spool, pushed, next) = blocking(move || {
                let (mut pushed, mut next) = (0, None);
                for (sequence, message) in messages {
                    if spool.is_full() {
                        break;
                    }
                    spool.push(message)?;
                    pushed += 1;
                    next = Some(sequence + 1);
                }
                Ok((spool, pushed, next))
            })
            .await?;
            if let Some(next) = next {
                *from = From::Sequence(next);
                moved = true;
            }
            if spool.is_full() && (pushed < given || !matches!(fetched, Ok(Batch::End))) {
                match *from {
                    From::Sequence(next) => break Ended::Full(next),
                    From::Time(_) => break Ended::Done,
                }
            }
            match fetched {
                Ok(Batch::More) => {}
                Ok(Batch::End) => break Ended::Done,
                Ok(Batch::Empty) => match consumer.get_info().await {
                    Ok(info) if info.num_pending == 0 => break Ended::Done,
                    Ok(_) => {
                        let message = "the server says that there are messages, and gives none";
                        break broken(moved, Error::new(ErrorKind::Unavailable, message));
                    }
                    Err(error) => {
                        break broken(moved, failure(error, "the server does not answer"));
                    }
                },
                Err(error) => break broken(moved, error),
            }
        };
        // The server forgets it by itself, too.
        let _ = tokio::time::timeout(Duration::from_secs(1), handle.delete_consumer(&name)).await;
        Ok((spool, ended))
    }

    /// A consumer that keeps nothing, and that the server forgets.
    fn consumer(&self, from: From) -> Result<Config> {
        let deliver_policy = match from {
            From::Sequence(start_sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) }
            }
            From::Time(micros) => {
                let time = async_nats::datetime::from_nanos(i128::from(micros) * 1000);
                let time = time.map_err(|error| {
                    Error::new(ErrorKind::Config, "`start` is no time that NATS knows")
                        .because(error)
                })?;
                DeliverPolicy::ByStartTime { start_time: time }
            }
        };
        let mut subjects = self.own.subjects();
        let filter_subject = match subjects.len() {
            1 => subjects.pop().unwrap_or_default(),
            _ => String::new(),
        };
        Ok(Config {
            description: Some("tidemill reads the stream".to_owned()),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject,
            filter_subjects: subjects,
            inactive_threshold: Duration::from_secs(60),
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        })
    }

    /// The messages of one request.
    async fn batch(
        &self,
        consumer: &PullConsumer,
        stream: &Stream,
        expected: &mut u64,
        messages: &mut Vec<(u64, Message)>,
    ) -> Result<Batch> {
        let silent = || {
            let message = format!("the server gave no messages for {} s", SILENCE.as_secs());
            Error::new(ErrorKind::Unavailable, message)
        };
        let asked = consumer.fetch().max_messages(BATCH).max_bytes(BATCH_BYTES).messages();
        let mut batch = match tokio::time::timeout(SILENCE, asked).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(error)) => {
                return Err(failure(error, "the messages of the stream cannot be had"));
            }
            Err(_) => return Err(silent()),
        };
        loop {
            let next = match tokio::time::timeout(SILENCE, batch.next()).await {
                Ok(next) => next,
                Err(_) => return Err(silent()),
            };
            let message = match next {
                None if messages.is_empty() => return Ok(Batch::Empty),
                None => return Ok(Batch::More),
                // The server ends a batch that reached its bytes in this way, too.
                Some(Err(_)) if !messages.is_empty() => return Ok(Batch::More),
                Some(Err(error)) => {
                    return Err(failure(error, "the messages of the stream cannot be had"));
                }
                Some(Ok(message)) => message,
            };
            let info = message.info().map_err(|error| {
                Error::new(ErrorKind::Data, "a message does not say where it stands").because(error)
            })?;
            if info.consumer_sequence != *expected {
                let message = "a message was lost on the way";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            *expected += 1;
            let (sequence, pending) = (info.stream_sequence, info.pending);
            if sequence > stream.last {
                return Ok(Batch::End);
            }
            let published = info.published.unix_timestamp_nanos().div_euclid(1000);
            messages.push((sequence, of(message.message, sequence, published, &stream.name)));
            if sequence == stream.last || pending == 0 {
                return Ok(Batch::End);
            }
        }
    }
}

/// How a consumer ended.
enum Ended {
    /// With the last message that is wanted.
    Done,
    /// As the spool is full; the sequence number of the next message.
    Full(u64),
    /// Before that.
    Broken { moved: bool, error: Error },
}

/// How a request for messages ended.
enum Batch {
    /// There may be more.
    More,
    /// There was nothing.
    Empty,
    /// With the last message that is wanted.
    End,
}

/// A message as all queues have it. What a bucket of keys and values has in place of one that was deleted is
/// a tombstone.
fn of(message: async_nats::Message, sequence: u64, published: i128, stream: &str) -> Message {
    let mut headers = Vec::new();
    for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
        for value in values {
            let value = Bytes::copy_from_slice(value.as_str().as_bytes());
            headers.push((name.to_string(), Some(value)));
        }
    }
    headers.sort_by(|left, right| left.0.cmp(&right.0));
    let deleted = headers.iter().any(|(name, value)| {
        name == "KV-Operation" && matches!(value.as_deref(), Some(b"DEL" | b"PURGE"))
    });
    Message {
        topic: message.subject.as_str().into(),
        partition: None,
        offset: Offset::Number(i64::try_from(sequence).unwrap_or(i64::MAX)),
        timestamp: i64::try_from(published).ok(),
        key: None,
        value: Some(message.payload).filter(|_| !deleted),
        headers,
        further: vec![Value::from(stream)],
    }
}
