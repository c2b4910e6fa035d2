//! What is written under `ingest:` of a table that comes from RabbitMQ.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use crate::queue::{Meta, MetaKind, OnLost, QueueSettings, own_settings};
use crate::rest::Span;

/// The settings of such a table that other queues do not have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RabbitTable {
    /// A queue. Default: the name of the source table.
    queue: Option<String>,
    /// A stream (`x-queue-type: stream`).
    stream: Option<String>,
    /// How long is waited for a message that should be there.
    idle: Option<Span>,
    /// Of a stream: what happens when messages went before they were read.
    pub(super) on_lost: OnLost,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// Messages that go once they are acknowledged.
    Queue(String),
    /// Messages that stay, each with an offset.
    Stream(String),
}

/// What is known of a message of a queue.
const QUEUE: &[Meta] = &[
    Meta { name: "queue", kind: MetaKind::Topic },
    Meta { name: "timestamp", kind: MetaKind::Timestamp },
    Meta { name: "headers", kind: MetaKind::Headers },
    Meta { name: "exchange", kind: MetaKind::FurtherText(0) },
    Meta { name: "routing_key", kind: MetaKind::FurtherText(1) },
    Meta { name: "message_id", kind: MetaKind::FurtherText(2) },
    Meta { name: "correlation_id", kind: MetaKind::FurtherText(3) },
    Meta { name: "content_type", kind: MetaKind::FurtherText(4) },
    Meta { name: "type", kind: MetaKind::FurtherText(5) },
    Meta { name: "app_id", kind: MetaKind::FurtherText(6) },
];

/// And of one of a stream.
const STREAM: &[Meta] = &[
    Meta { name: "stream", kind: MetaKind::Topic },
    Meta { name: "offset", kind: MetaKind::Offset },
    QUEUE[1],
    QUEUE[2],
    QUEUE[3],
    QUEUE[4],
    QUEUE[5],
    QUEUE[6],
    QUEUE[7],
    QUEUE[8],
    QUEUE[9],
];

impl Object {
    pub(super) fn name(&self) -> &str {
        match self {
            Object::Queue(name) | Object::Stream(name) => name,
        }
    }

    pub(super) fn layout(&self) -> &'static [Meta] {
        match self {
            Object::Queue(_) => QUEUE,
            Object::Stream(_) => STREAM,
        }
    }
}

impl RabbitTable {
    /// # Errors
    /// Kind `Config`; the message names the setting in backticks.
    pub(super) fn parse(written: &Value) -> Result<(QueueSettings, RabbitTable)> {
        let (common, own) = QueueSettings::take(written)?;
        let table: RabbitTable = own_settings(own)?;
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message.to_owned()));
        if table.queue.is_some() && table.stream.is_some() {
            return wrong("`queue` and `stream` are two tables: write one of them");
        }
        if table.stream.is_none() && table.on_lost != OnLost::Error {
            return wrong("`on_lost` goes with a `stream`");
        }
        if table.stream.is_none() && written.get("start").is_some_and(|start| !start.is_null()) {
            return wrong("`start` goes with a `stream`: a queue gives what is in it");
        }
        Ok((common, table))
    }

    pub(super) fn object(&self, name: &str) -> Object {
        match (&self.stream, &self.queue) {
            (Some(stream), _) => Object::Stream(stream.clone()),
            (None, queue) => Object::Queue(queue.clone().unwrap_or_else(|| name.to_owned())),
        }
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle.map_or(Duration::from_secs(2), |span| span.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_a_queue_or_a_stream() {
        let object = |written| RabbitTable::parse(&written).unwrap().1.object("orders");
        assert_eq!(object(json!({})), Object::Queue("orders".to_owned()));
        assert_eq!(object(json!({"queue": "q"})), Object::Queue("q".to_owned()));
        assert_eq!(object(json!({"stream": "s"})), Object::Stream("s".to_owned()));
        for (written, named) in [
            (json!({"stream": "a", "queue": "b"}), "`queue` and `stream`"),
            (json!({"on_lost": "earliest"}), "`on_lost`"),
            (json!({"start": "latest"}), "`start`"),
            (json!({"idle": "soon"}), "`soon`"),
            (json!({"prefetch": 3}), "`prefetch`"),
        ] {
            let error = RabbitTable::parse(&written).unwrap_err();
            assert!(error.message().contains(named), "{written}: {error}");
        }
    }
}
