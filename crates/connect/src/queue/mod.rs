//! What message queues have in common as sources of rows.
//!
//! A read takes the messages from a position up to the end that was there when it began. The connector
//! fetches them in order and puts each into a [`Spool`], a compressed file on disk, so that memory does
//! not grow with the backlog, a message is fetched once however often its columns have to be widened,
//! and the queue is not held open while rows are written. [`Reading::deliver`] then gives the rows of
//! the spool and the position that the connector says, in one publish.
//!
//! The body of a message becomes columns by its `format`: JSON by the rules of NDJSON files, Avro by its
//! schemas, CSV, or one column of text or bytes. Beside them stand columns of what the queue knows of a
//! message ([`Meta`]). A message that cannot be read becomes a rejected row with its place in the queue.
//!
//! A connector does this:
//!
//! ```text
//! let (common, own) = QueueSettings::take(&request.settings)?;   // check_table does this, too
//! let reading = Reading::new(LAYOUT, common, request, context)?; // reading.last(): the last position
//! let mut spool = reading.spool()?;
//! while !spool.is_full() { spool.push(message)?; }               // up to the end, in order
//! reading.deliver(spool.finish()?, position, &sink).await?;      // rows, then the position
//! ```
//!
//! A read without end does the last three lines again and again, one position after the other.

mod avro;
mod datum;
pub(crate) mod delivered;
mod envelope;
pub(crate) mod held;
mod json;
mod lost;
mod metadata;
pub(crate) mod outgoing;
mod plain;
mod read;
mod registry;
mod rows;
mod servers;
mod settings;
mod spool;
mod unsettled;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

pub(crate) use lost::{OnLost, more_messages, other_stream};
pub(crate) use metadata::{Meta, MetaKind};
pub(crate) use read::{QueueContext, Reading, check, few_messages};
pub(crate) use registry::RegistryConfig;
pub(crate) use servers::{Servers, check_encryption};
pub(crate) use settings::{QueueSettings, Start, own_settings};
pub(crate) use spool::Spool;
pub(crate) use unsettled::{Acknowledged, Batch, Mark, Unsettled, now, refuse_refresh};

/// A message as the queue gave it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Message {
    /// The topic, subject, stream or queue. Clones share the text.
    pub(crate) topic: Arc<str>,
    /// The part of the topic, where it has parts.
    pub(crate) partition: Option<i32>,
    /// Where it stands there.
    pub(crate) offset: Offset,
    /// When it was sent: microseconds since 1970.
    pub(crate) timestamp: Option<i64>,
    /// Its key, where messages have one.
    pub(crate) key: Option<Bytes>,
    /// Its body; `None` is a tombstone, which is not an empty body.
    pub(crate) value: Option<Bytes>,
    /// Its headers, in their order. A name may occur again.
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
    /// The values of the further columns of [`MetaKind`], by their numbers: null, a text, a whole number
    /// or a truth value.
    pub(crate) further: Vec<Value>,
}

/// Where a message stands in its part of the queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Offset {
    /// Nowhere: the queue does not number its messages.
    #[default]
    None,
    /// By a number.
    Number(i64),
    /// By a name (an entry of a Redis stream: `1526919030474-55`).
    Text(String),
}
