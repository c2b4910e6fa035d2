//! Streams: what came after the last entry that is published.

use std::sync::Arc;

use bytes::Bytes;
use redis::Value;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::client::{Client, bytes, elements, number, object, odd, pairs, size, text};
use super::settings::RedisTable;
use crate::queue::{Message, Offset, OnLost, Reading, Spool, Start, more_messages, other_stream};
use crate::stream::Sink;

/// How many entries are asked for at first, and at most.
const FIRST_PAGE: usize = 100;
const LARGEST_PAGE: usize = 10_000;

/// A reply should not be larger than this.
const PAGE_BYTES: usize = 4 << 20;

/// The id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    milliseconds: u64,
    sequence: u64,
}

impl Id {
    const ZERO: Id = Id { milliseconds: 0, sequence: 0 };

    fn parse(written: &str) -> Option<Id> {
        let (milliseconds, sequence) = written.split_once('-')?;
        Some(Id { milliseconds: milliseconds.parse().ok()?, sequence: sequence.parse().ok()? })
    }

    fn of(value: &Value) -> Result<Id> {
        let written = text(value).unwrap_or_default();
        Id::parse(&written).ok_or_else(|| odd("the id of an entry", value))
    }

    /// The smallest one behind it; `None` behind the largest.
    fn next(self) -> Option<Id> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(Id { sequence, ..self }),
            None => {
                let milliseconds = self.milliseconds.checked_add(1)?;
                Some(Id { milliseconds, sequence: 0 })
            }
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

/// How far a stream was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StreamPosition {
    stream: String,
    /// The last entry.
    id: String,
    /// How many entries were ever added to the stream up to that one, where Redis counts them (from 7.0 on).
    added: Option<u64>,
}

/// What Redis says of a stream.
struct About {
    length: u64,
    last: Id,
    first: Option<Id>,
    added: Option<u64>,
}

impl About {
    async fn of(client: &mut Client, stream: &str) -> Result<About> {
        let answer = client.ask(redis::cmd("XINFO").arg("STREAM").arg(stream)).await?;
        let mut about = About { length: 0, last: Id::ZERO, first: None, added: None };
        for (name, value) in pairs(answer)? {
            let count = || number(&value).and_then(|count| u64::try_from(count).ok());
            match name.as_slice() {
                b"length" => about.length = count().unwrap_or_default(),
                b"last-generated-id" => about.last = Id::of(&value)?,
                b"entries-added" => about.added = count(),
                b"first-entry" => {
                    about.first = elements(value)?.first().map(Id::of).transpose()?;
                }
                _ => {}
            }
        }
        Ok(about)
    }
}

/// Where a read begins, and what is known of it.
#[derive(Debug, PartialEq)]
struct Begin {
    after: Id,
    /// How many entries were added up to there.
    added: Option<u64>,
    /// Whether everything since then has to be there.
    complete: bool,
    /// What has to be said.
    notice: Option<String>,
}

/// Reads what is new up to the entry that is the last one now.
pub(super) async fn read(
    client: &mut Client,
    table: &RedisTable,
    stream: &str,
    reading: Reading,
    sink: &Sink,
) -> Result<()> {
    let about = About::of(client, stream).await?;
    let begin = begin(&reading, stream, &about, table.on_lost)?;
    if let Some(notice) = &begin.notice {
        reading.notice(sink, "lost-messages", notice).await?;
    }
    let mut spool = reading.spool()?;
    let fetched =
        fetch(client, table, stream, &reading, &mut spool, begin.after, about.last).await?;
    let count = spool.count();
    let (last, added) = match fetched {
        // Not to the end: that many more were added.
        Some(last) => (last, begin.added.map(|added| added + count)),
        None => (about.last.max(begin.after), about.added),
    };
    if fetched.is_none()
        && begin.complete
        && let Some(lost) = lost(begin.added, about.added, count)
    {
        let what = match lost {
            1 => "1 entry was".to_owned(),
            lost => format!("{lost} entries were"),
        };
        let message = format!(
            "{what} trimmed or deleted from `{stream}` before they could be read: they stood behind entry {}, \
             where the last load ended",
            begin.after
        );
        reading.notice(sink, "lost-messages", table.on_lost.take(message)?).await?;
    }
    if fetched.is_some() {
        let left = about.length.saturating_sub(count);
        more_messages(&reading, count, left, sink).await?;
    }
    let position = StreamPosition { stream: stream.to_owned(), id: last.to_string(), added };
    reading.deliver(spool.finish()?, map(&position)?, sink).await
}

/// How many of the entries that were added are not there.
fn lost(before: Option<u64>, now: Option<u64>, came: u64) -> Option<u64> {
    let lost = now?.checked_sub(before?)?.checked_sub(came)?;
    (lost > 0).then_some(lost)
}

/// A position as it is kept.
fn map(position: &StreamPosition) -> Result<Map<String, serde_json::Value>> {
    match serde_json::to_value(position).or_error(ErrorKind::Internal, "a position is odd")? {
        serde_json::Value::Object(map) => Ok(map),
        _ => Err(Error::new(ErrorKind::Internal, "a position is odd")),
    }
}

/// Where to begin, by the last position and what is there.
fn begin(reading: &Reading, stream: &str, about: &About, on_lost: OnLost) -> Result<Begin> {
    // What is there is what was added last, if nothing was deleted between.
    let before_first = about.added.map(|added| added.saturating_sub(about.length));
    let from_start = |notice: Option<String>| Begin {
        after: Id::ZERO,
        added: before_first,
        complete: false,
        notice,
    };
    let Some(last) = reading.last() else {
        let behind = |after: Id, added| Begin { after, added, complete: false, notice: None };
        return match &reading.settings().start {
            Start::Earliest => Ok(from_start(None)),
            Start::Latest => Ok(behind(about.last, about.added)),
            Start::At(micros) => {
                let milliseconds = u64::try_from(micros.div_euclid(1000)).unwrap_or(0);
                let before = match milliseconds.checked_sub(1) {
                    Some(milliseconds) => Id { milliseconds, sequence: u64::MAX },
                    None => Id::ZERO,
                };
                Ok(behind(before, None))
            }
            Start::Offset(_) | Start::Offsets(_) => Err(Error::new(
                ErrorKind::Config,
                "`start` of a Redis stream is `earliest`, `latest` or a time",
            )),
        };
    };
    let position: StreamPosition = serde_json::from_value(serde_json::Value::Object(last.clone()))
        .or_error(ErrorKind::Data, "the position of the last load is not one of a Redis stream")?;
    if position.stream != stream {
        return Err(other_stream(&position.stream, stream));
    }
    let after = Id::parse(&position.id)
        .ok_or_else(|| Error::new(ErrorKind::Data, "the position of the last load has no entry"))?;
    let fewer = matches!((position.added, about.added), (Some(then), Some(now)) if now < then);
    if about.last < after || fewer {
        let message = format!(
            "`{stream}` is another stream than the one that was read up to entry {after}: it was deleted and \
             made anew, or an older state of Redis was restored"
        );
        return on_lost.take(message).map(|notice| from_start(Some(notice)));
    }
    // Before 7.0 Redis does not count: when the last entry that was read is gone, so may be others behind it.
    let uncertain = position.added.is_none() || about.added.is_none();
    let trimmed = match about.first {
        Some(first) => after.next().is_some_and(|next| first > next) && after != Id::ZERO,
        None => about.last > after,
    };
    if uncertain && trimmed {
        let message = format!(
            "`{stream}` was trimmed up to behind entry {after}, where the last load ended, and this Redis does \
             not say whether entries behind it went, too"
        );
        let notice = Some(on_lost.take(message)?);
        return Ok(Begin { after, added: None, complete: false, notice });
    }
    Ok(Begin { after, added: position.added, complete: true, notice: None })
}

/// Puts the entries behind `after`, up to `end`, into the spool. Gives the last one if the spool was full
/// before the end.
async fn fetch(
    client: &mut Client,
    table: &RedisTable,
    stream: &str,
    reading: &Reading,
    spool: &mut Spool,
    mut after: Id,
    end: Id,
) -> Result<Option<Id>> {
    let topic: Arc<str> = stream.into();
    let mut page = FIRST_PAGE;
    while after < end {
        reading.request().cancel.check()?;
        let Some(from) = after.next() else { break };
        let mut command = redis::cmd("XRANGE");
        command.arg(stream).arg(from.to_string()).arg(end.to_string()).arg("COUNT").arg(page);
        let answer = client.ask(&command).await?;
        let bytes = size(&answer);
        let entries = elements(answer)?;
        let came = entries.len();
        for entry in entries {
            let mut parts = elements(entry)?.into_iter();
            let (Some(id), Some(fields)) = (parts.next(), parts.next()) else { continue };
            let id = Id::of(&id)?;
            spool.push(message(&topic, id, fields, table.field.as_deref())?)?;
            after = id;
            if spool.is_full() && after < end {
                return Ok(Some(after));
            }
        }
        if came < page {
            break;
        }
        page = match bytes {
            bytes if bytes > PAGE_BYTES => (page / 2).max(1),
            bytes if bytes < PAGE_BYTES / 4 => (page * 2).min(LARGEST_PAGE),
            _ => page,
        };
    }
    Ok(None)
}

/// An entry as a message.
fn message(topic: &Arc<str>, id: Id, fields: Value, body: Option<&str>) -> Result<Message> {
    let mut found = Vec::new();
    for (name, value) in pairs(fields)? {
        found.push((name, bytes(value)?));
    }
    let mut message = Message {
        topic: Arc::clone(topic),
        offset: Offset::Text(id.to_string()),
        timestamp: i64::try_from(id.milliseconds).ok().and_then(|time| time.checked_mul(1000)),
        ..Message::default()
    };
    match body {
        None => message.value = Some(object(&found).into()),
        Some(body) => {
            for (name, value) in found {
                if name == body.as_bytes() && message.value.is_none() {
                    message.value = Some(value.into());
                } else {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    message.headers.push((name, Some(Bytes::from(value))));
                }
            }
        }
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(milliseconds: u64, sequence: u64) -> Id {
        Id { milliseconds, sequence }
    }

    #[test]
    fn ids_are_ordered_as_numbers() {
        assert_eq!(Id::parse("1526919030474-55"), Some(id(1_526_919_030_474, 55)));
        assert!(Id::parse("9-10") > Id::parse("9-9"));
        assert!(Id::parse("10-0") > Id::parse("9-9"));
        assert_eq!(id(7, u64::MAX).next(), Some(id(8, 0)));
        assert_eq!(id(u64::MAX, u64::MAX).next(), None);
        assert_eq!(Id::parse("7"), None);
        assert_eq!(id(7, 1).to_string(), "7-1");
    }

    #[test]
    fn entries_that_went_are_counted() {
        assert_eq!(lost(Some(10), Some(15), 5), None);
        assert_eq!(lost(Some(10), Some(15), 3), Some(2));
        assert_eq!(lost(None, Some(15), 3), None);
        assert_eq!(lost(Some(10), None, 3), None);
        // More came than were added: entries were deleted that had been read.
        assert_eq!(lost(Some(10), Some(12), 3), None);
    }

    #[test]
    fn a_field_may_be_the_body() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = || Value::Array(vec![text("data"), text("{}"), text("k"), text("v")]);
        let topic: Arc<str> = "s".into();
        let whole = message(&topic, id(1, 0), fields(), None).unwrap();
        assert_eq!(whole.value.unwrap(), r#"{"data":"{}","k":"v"}"#);
        assert_eq!(whole.timestamp, Some(1000));
        let body = message(&topic, id(1, 0), fields(), Some("data")).unwrap();
        assert_eq!(body.value.unwrap(), "{}");
        assert_eq!(body.headers, [("k".to_owned(), Some(Bytes::from_static(b"v")))]);
        // An entry without the field is a message without a body.
        assert_eq!(message(&topic, id(1, 0), fields(), Some("x")).unwrap().value, None);
    }
}
