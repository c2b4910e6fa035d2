//! Streams: what came behind the last offset that is published.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use lapin::Consumer;
use lapin::options::BasicAckOptions;
use lapin::types::AMQPValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use super::client::{Client, connect_once, failure, is_a_queue, refuses_offset};
use super::message::{message, offset};
use super::settings::RabbitTable;
use crate::queue::{OnLost, Reading, Spool, Start, more_messages, other_stream};
use crate::server::{Server, patiently};
use crate::stream::Sink;

/// How many messages wait in memory at most; half of them are asked for at a time.
const WINDOW: u16 = 500;

/// How long is waited for messages that the server says are there.
const PATIENCE: Duration = Duration::from_secs(10);

/// And for one that may not be there.
const CERTAINTY: Duration = Duration::from_secs(1);

/// No message for so long: that was the last one.
const QUIET: Duration = Duration::from_millis(300);

/// How far a stream was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StreamPosition {
    stream: String,
    /// The offset of the first message that was not read.
    next: i64,
}

/// What is in a stream: from one offset up to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct There {
    first: i64,
    end: i64,
}

/// Where to begin, and what has to be said.
#[derive(Debug, PartialEq)]
struct Begin {
    from: Origin,
    notice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Offset(i64),
    /// Seconds since 1970.
    Time(u64),
}

/// Reads what is new up to the message that is the last one now.
pub(super) async fn read(
    server: &Server,
    table: &RabbitTable,
    stream: &str,
    reading: Reading,
    sink: &Sink,
) -> Result<()> {
    let last = position(&reading, stream)?;
    let cancel = reading.request().cancel.clone();
    let there = patiently(&cancel, || there(server, stream)).await?;
    let begin = begin(&reading.settings().start, last, there, stream, table.on_lost)?;
    if let Some(notice) = &begin.notice {
        reading.notice(sink, "lost-messages", notice).await?;
    }
    let (spool, next) =
        patiently(&cancel, || fetch(server, stream, &reading, begin.from, there.end)).await?;
    if next < there.end {
        let left = u64::try_from(there.end - next).unwrap_or(0);
        more_messages(&reading, spool.count(), left, sink).await?;
    }
    let position = StreamPosition { stream: stream.to_owned(), next };
    let failed = "a position could not be written";
    let position = serde_json::to_value(position).or_error(ErrorKind::Internal, failed)?;
    let Value::Object(position) = position else {
        return Err(Error::new(ErrorKind::Internal, failed));
    };
    reading.deliver(spool.finish()?, position, sink).await
}

/// Where the last load ended.
fn position(reading: &Reading, stream: &str) -> Result<Option<i64>> {
    let Some(last) = reading.last() else { return Ok(None) };
    let last: &Map<String, Value> = last;
    let position: StreamPosition = serde_json::from_value(Value::Object(last.clone())).or_error(
        ErrorKind::Data,
        "the position of the last load is not one of a stream of RabbitMQ",
    )?;
    if position.stream != stream {
        return Err(other_stream(&position.stream, stream));
    }
    Ok(Some(position.next))
}

/// What is in it: the first message says where it begins, and those of its last part where it ends. The number of
/// messages that the server says is some seconds old.
async fn there(server: &Server, stream: &str) -> Result<There> {
    let client = connect_once(server).await?;
    let looked = look(&client, stream).await;
    client.close().await;
    looked
}

async fn look(client: &Client, stream: &str) -> Result<There> {
    let patience = match client.count(stream).await? {
        0 => CERTAINTY,
        _ => PATIENCE,
    };
    let word = |word: &str| Some(AMQPValue::LongString(word.into()));
    let mut consumer = client.consume(stream, 1, word("first")).await.map_err(|error| {
        match refuses_offset(&error) {
            true => is_a_queue(stream),
            false => error,
        }
    })?;
    let Some((first, _)) = next_offset(&mut consumer, patience).await? else {
        if patience == CERTAINTY {
            return Ok(There { first: 0, end: 0 });
        }
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the stream has messages, and RabbitMQ does not deliver them",
        ));
    };
    let mut consumer = client.consume(stream, WINDOW, word("last")).await?;
    let mut there = There { first, end: first + 1 };
    let began = Instant::now();
    let (mut patience, mut waiting) = (PATIENCE, 0);
    while let Some((offset, tag)) = next_offset(&mut consumer, patience).await? {
        there.end = there.end.max(offset + 1);
        patience = QUIET;
        waiting += 1;
        if waiting >= WINDOW / 2 {
            go_on(client, tag).await?;
            waiting = 0;
        }
        // Others may write faster than we read.
        if began.elapsed() > CERTAINTY {
            break;
        }
    }
    Ok(there)
}

/// The offset and the tag of the message that comes next, if one does.
async fn next_offset(consumer: &mut Consumer, patience: Duration) -> Result<Option<(i64, u64)>> {
    match tokio::time::timeout(patience, consumer.next()).await {
        Err(_) | Ok(None) => Ok(None),
        Ok(Some(delivery)) => {
            let delivery = delivery.map_err(failure)?;
            let offset = offset(&delivery).ok_or_else(without_offset)?;
            Ok(Some((offset, delivery.delivery_tag)))
        }
    }
}

/// Asks for more. Nothing goes from a stream by that.
async fn go_on(client: &Client, tag: u64) -> Result<()> {
    let options = BasicAckOptions { multiple: true };
    client.channel.basic_ack(tag, options).await.map_err(failure)
}

fn without_offset() -> Error {
    Error::new(ErrorKind::Data, "a message of the stream has no offset")
}

/// Where to begin, by the last position and what is there.
fn begin(
    start: &Start,
    last: Option<i64>,
    there: There,
    stream: &str,
    on_lost: OnLost,
) -> Result<Begin> {
    let at = |offset: i64, notice: Option<String>| Begin { from: Origin::Offset(offset), notice };
    let Some(next) = last else {
        return match start {
            Start::Earliest => Ok(at(there.first, None)),
            Start::Latest => Ok(at(there.end, None)),
            Start::Offset(offset) => Ok(at((*offset).clamp(there.first, there.end), None)),
            Start::At(micros) => {
                let seconds = u64::try_from(micros.div_euclid(1_000_000)).unwrap_or(0);
                Ok(Begin { from: Origin::Time(seconds), notice: None })
            }
            Start::Offsets(_) => Err(Error::new(
                ErrorKind::Config,
                "`start` of a stream is `earliest`, `latest`, a time or an offset: it has no partitions",
            )),
        };
    };
    let message = if next > there.end {
        format!(
            "the stream `{stream}` is not the one that was read up to offset {next}: it ends at {}; it was \
             deleted and made anew",
            there.end
        )
    } else if next < there.first && there.end > there.first {
        let lost = match there.first - next {
            1 => "1 message was".to_owned(),
            lost => format!("{lost} messages were"),
        };
        format!(
            "{lost} removed from the stream `{stream}` by its retention before they could be read: the last \
             load ended at offset {next}, and the first one that is there has {}",
            there.first
        )
    } else {
        return Ok(at(next, None));
    };
    on_lost.take(message).map(|notice| at(there.first, Some(notice)))
}

/// Puts the messages up to before `end` into a spool; the offset behind the last one.
async fn fetch(
    server: &Server,
    stream: &str,
    reading: &Reading,
    from: Origin,
    end: i64,
) -> Result<(Spool, i64)> {
    let mut spool = reading.spool()?;
    let mut next = match from {
        Origin::Offset(offset) => offset,
        Origin::Time(_) => -1,
    };
    if next >= end {
        return Ok((spool, next));
    }
    let offset = match from {
        Origin::Offset(offset) => AMQPValue::LongLongInt(offset),
        Origin::Time(seconds) => AMQPValue::Timestamp(seconds),
    };
    let client = connect_once(server).await?;
    let fetched = take(&client, stream, reading, offset, end, &mut spool, &mut next).await;
    client.close().await;
    fetched?;
    // Of a time behind the last message nothing comes, and what comes later is new.
    Ok((spool, if next < 0 { end } else { next }))
}

async fn take(
    client: &Client,
    stream: &str,
    reading: &Reading,
    from: AMQPValue,
    end: i64,
    spool: &mut Spool,
    next: &mut i64,
) -> Result<()> {
    let topic: Arc<str> = stream.into();
    let cancel = &reading.request().cancel;
    let mut consumer = client.consume(stream, WINDOW, Some(from)).await?;
    let mut waiting = 0;
    while *next < end && !spool.is_full() {
        let delivery = tokio::select! {
            delivery = tokio::time::timeout(PATIENCE, consumer.next()) => delivery,
            () = cancel.cancelled() => return cancel.check(),
        };
        let delivery = match delivery {
            // What the server counted is not there, or not any more.
            Err(_) => return Ok(()),
            Ok(None) => {
                return Err(Error::new(ErrorKind::Unavailable, "RabbitMQ ended the delivery"));
            }
            Ok(Some(delivery)) => delivery.map_err(failure)?,
        };
        let offset = offset(&delivery).ok_or_else(without_offset)?;
        if offset >= end {
            *next = end;
            return Ok(());
        }
        let tag = delivery.delivery_tag;
        // A stream may give the whole part of the log in which an offset stands.
        if offset >= *next {
            spool.push(message(&topic, delivery, Some(offset)))?;
            *next = offset + 1;
        }
        waiting += 1;
        if waiting >= WINDOW / 2 {
            go_on(client, tag).await?;
            waiting = 0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(start: Start, last: Option<i64>, there: (i64, i64), on_lost: OnLost) -> Result<Begin> {
        begin(&start, last, There { first: there.0, end: there.1 }, "s", on_lost)
    }

    fn from(start: Start, last: Option<i64>, there: (i64, i64)) -> Origin {
        of(start, last, there, OnLost::Error).unwrap().from
    }

    #[test]
    fn a_read_begins_where_the_last_one_ended() {
        assert_eq!(from(Start::Earliest, None, (5, 9)), Origin::Offset(5));
        assert_eq!(from(Start::Latest, None, (5, 9)), Origin::Offset(9));
        assert_eq!(from(Start::Offset(7), None, (5, 9)), Origin::Offset(7));
        assert_eq!(from(Start::Offset(2), None, (5, 9)), Origin::Offset(5));
        assert_eq!(from(Start::At(3_000_000), None, (5, 9)), Origin::Time(3));
        assert_eq!(from(Start::Latest, Some(6), (5, 9)), Origin::Offset(6));
        assert_eq!(from(Start::Earliest, Some(9), (5, 9)), Origin::Offset(9));
        assert_eq!(from(Start::Earliest, Some(0), (0, 0)), Origin::Offset(0));
    }

    #[test]
    fn what_is_lost_is_said() {
        let lost = |last, there| of(Start::Earliest, Some(last), there, OnLost::Error).unwrap_err();
        assert!(lost(3, (5, 9)).message().starts_with("2 messages were removed"));
        assert!(lost(10, (0, 4)).message().contains("made anew"));
        for (last, there) in [(3, (5, 9)), (10, (0, 4))] {
            let begin = of(Start::Earliest, Some(last), there, OnLost::Earliest).unwrap();
            assert_eq!(begin.from, Origin::Offset(there.0));
            assert!(begin.notice.is_some());
        }
    }
}
