//! How far a stream was read, and where the next read begins.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_core::{Error, ErrorKind, Result, ResultExt};

use crate::queue::{OnLost, Start, other_stream};

/// How far a stream was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NatsPosition {
    pub(super) stream: String,
    /// When the stream was made (nanoseconds since 1970, as text): one that is made again is another.
    pub(super) created: String,
    /// The subjects that were read; all, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) subjects: Vec<String>,
    /// The sequence number of the next message.
    pub(super) next: u64,
    /// Where a table of all messages began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<u64>,
}

impl NatsPosition {
    /// # Errors
    /// Kind `Data` for what is no position of NATS.
    pub(super) fn parse(map: &Map<String, Value>) -> Result<NatsPosition> {
        serde_json::from_value(Value::Object(map.clone()))
            .or_error(ErrorKind::Data, "the position of the last load is not one of NATS")
    }

    pub(super) fn to_map(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(Error::new(ErrorKind::Internal, "a position could not be written")),
        }
    }
}

/// A stream as it is.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) created: String,
    /// The oldest sequence number that is there; behind the last one, if none is.
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// With this sequence number.
    Sequence(u64),
    /// With the first message that is not older: microseconds since 1970.
    Time(i64),
}

/// Decides where to begin, and what the user should know.
///
/// # Errors
/// Kind `Data` where messages are lost and that is not declared, `Config` for a position of something else.
pub(super) fn decide(
    stream: &Stream,
    subjects: &[String],
    last: Option<&NatsPosition>,
    start: &Start,
    on_lost: OnLost,
) -> Result<(From, Vec<(&'static str, String)>)> {
    let oldest = From::Sequence(stream.first);
    let Some(last) = last else {
        return Ok((
            match start {
                Start::Latest => From::Sequence(stream.last + 1),
                Start::At(micros) => From::Time(*micros),
                Start::Offset(sequence) => {
                    let sequence = u64::try_from(*sequence).unwrap_or(0);
                    if sequence > stream.last + 1 {
                        return Err(Error::new(
                            ErrorKind::Config,
                            format!(
                                "`start` is {sequence}, and `{}` ends at {}",
                                stream.name, stream.last
                            ),
                        ));
                    }
                    From::Sequence(sequence.max(stream.first))
                }
                Start::Earliest | Start::Offsets(_) => oldest,
            },
            Vec::new(),
        ));
    };
    if last.stream != stream.name || last.subjects != subjects {
        let shown = |name: &str, subjects: &[String]| match subjects {
            [] => name.to_owned(),
            subjects => format!("{name} ({})", subjects.join(", ")),
        };
        return Err(other_stream(
            &shown(&last.stream, &last.subjects),
            &shown(&stream.name, subjects),
        ));
    }
    let again = if last.created != stream.created {
        Some(format!("`{}` was deleted and made again", stream.name))
    } else if last.next > stream.last + 1 {
        Some(format!(
            "`{}` was read up to {} and ends at {} now",
            stream.name,
            last.next - 1,
            stream.last
        ))
    } else {
        None
    };
    if let Some(why) = again {
        return match on_lost {
            OnLost::Earliest => {
                let message =
                    format!("{why}: it is another stream now, which is read from its beginning");
                Ok((oldest, vec![("new-topic", message)]))
            }
            OnLost::Error => Err(Error::new(
                ErrorKind::Data,
                format!(
                    "{why}: this is not the stream that was read, so that the position says nothing about it; with \
                     `on_lost: earliest` the load adds what it has now, and --full-refresh makes the table of that alone"
                ),
            )),
        };
    }
    if last.next < stream.first {
        let sentence = format!(
            "up to {} messages of `{}` were deleted at the server before they were read (sequence numbers {} to {})",
            stream.first - last.next,
            stream.name,
            last.next,
            stream.first - 1
        );
        return Ok((oldest, vec![("lost-messages", on_lost.take(sentence)?)]));
    }
    Ok((From::Sequence(last.next), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(first: u64, last: u64) -> Stream {
        Stream { name: "events".to_owned(), created: "1".to_owned(), first, last }
    }

    fn position(next: u64) -> NatsPosition {
        let (stream, created) = ("events".to_owned(), "1".to_owned());
        NatsPosition { stream, created, next, ..NatsPosition::default() }
    }

    #[test]
    fn a_read_goes_on_where_the_last_one_ended() {
        let of = |stream: &Stream, last: Option<&NatsPosition>, start: &Start| {
            decide(stream, &[], last, start, OnLost::Error).map(|(from, _)| from)
        };
        let now = stream(5, 10);
        assert_eq!(of(&now, Some(&position(7)), &Start::Latest).unwrap(), From::Sequence(7));
        assert_eq!(of(&now, Some(&position(11)), &Start::Latest).unwrap(), From::Sequence(11));
        assert_eq!(of(&now, None, &Start::Earliest).unwrap(), From::Sequence(5));
        assert_eq!(of(&now, None, &Start::Latest).unwrap(), From::Sequence(11));
        assert_eq!(of(&now, None, &Start::Offset(2)).unwrap(), From::Sequence(5));
        assert_eq!(of(&now, None, &Start::At(3)).unwrap(), From::Time(3));
        assert!(of(&now, None, &Start::Offset(12)).is_err());
    }

    #[test]
    fn what_is_lost_is_said() {
        for (now, last, said) in [
            (stream(9, 10), position(5), "up to 4 messages"),
            (stream(1, 3), position(5), "was read up to 4 and ends at 3"),
            (Stream { created: "2".to_owned(), ..stream(1, 30) }, position(5), "made again"),
        ] {
            let of = |on_lost| decide(&now, &[], Some(&last), &Start::Earliest, on_lost);
            let error = of(OnLost::Error).unwrap_err();
            assert!(error.message().contains(said), "{error}");
            let (from, notices) = of(OnLost::Earliest).unwrap();
            assert_eq!((from, notices.len()), (From::Sequence(now.first), 1));
        }
        let subjects = ["a.>".to_owned()];
        let error = decide(
            &stream(1, 9),
            &subjects,
            Some(&position(5)),
            &Start::Earliest,
            OnLost::Earliest,
        );
        assert!(error.unwrap_err().message().contains("events (a.>)"));
    }
}
