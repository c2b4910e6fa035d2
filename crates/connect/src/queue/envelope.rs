//! Messages in a file, one behind the other, and back.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{Message, Offset};

/// A message of a spool.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Envelope {
    /// Without its value where that stands in a file of its own.
    pub(super) message: Message,
    /// It has no body.
    pub(super) tombstone: bool,
    /// Why it cannot be read, and its start as text, if that was seen when it came.
    pub(super) refused: Option<(String, String)>,
    /// The number of its line in the file of values, counted from 1.
    pub(super) line: Option<i64>,
    /// Which message of the spool it is, counted from 1. Known to who reads.
    pub(super) number: i64,
}

impl Envelope {
    /// Where it stood, as a rejected row says it: the place, and a number in it.
    pub(super) fn place(&self) -> (String, i64) {
        let Message { topic, partition, offset, .. } = &self.message;
        let place = match partition {
            Some(partition) => format!("{topic}[{partition}]"),
            None => topic.to_string(),
        };
        match offset {
            Offset::None => (place, self.number),
            Offset::Number(offset) => (place, *offset),
            Offset::Text(name) => (format!("{place}@{name}"), self.number),
        }
    }
}

const KEY: u8 = 1;
const VALUE: u8 = 2;
const TOMBSTONE: u8 = 4;
const REFUSED: u8 = 8;
const TIME: u8 = 16;
const PARTITION: u8 = 32;

/// Puts messages into a file.
pub(super) struct Writer<W> {
    out: W,
    topic: Arc<str>,
    line: i64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Writer { out, topic: Arc::default(), line: 0 }
    }

    pub(super) fn write(&mut self, envelope: &Envelope) -> io::Result<()> {
        let message = &envelope.message;
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = flag(message.key.is_some(), KEY)
            | flag(message.value.is_some(), VALUE)
            | flag(envelope.tombstone, TOMBSTONE)
            | flag(envelope.refused.is_some(), REFUSED)
            | flag(message.timestamp.is_some(), TIME)
            | flag(message.partition.is_some(), PARTITION);
        self.out.write_all(&[flags])?;
        // A topic is written where it changes.
        if message.topic == self.topic {
            self.number(-1)?;
        } else {
            self.bytes(message.topic.as_bytes())?;
            self.topic = Arc::clone(&message.topic);
        }
        if let Some(partition) = message.partition {
            self.number(i64::from(partition))?;
        }
        match &message.offset {
            Offset::None => self.out.write_all(&[0])?,
            Offset::Number(offset) => {
                self.out.write_all(&[1])?;
                self.number(*offset)?;
            }
            Offset::Text(name) => {
                self.out.write_all(&[2])?;
                self.bytes(name.as_bytes())?;
            }
        }
        if let Some(time) = message.timestamp {
            self.number(time)?;
        }
        for part in [&message.key, &message.value].into_iter().flatten() {
            self.bytes(part)?;
        }
        self.number(message.headers.len() as i64)?;
        for (name, value) in &message.headers {
            self.bytes(name.as_bytes())?;
            match value {
                Some(value) => self.bytes(value)?,
                None => self.number(-1)?,
            }
        }
        let further = match message.further.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&message.further)?,
        };
        self.bytes(further.as_bytes())?;
        if let Some((reason, raw)) = &envelope.refused {
            self.bytes(reason.as_bytes())?;
            self.bytes(raw.as_bytes())?;
        }
        // Lines are counted on; 0 says that there is none.
        let line = envelope.line.unwrap_or(self.line);
        self.number(line - self.line)?;
        self.line = line;
        Ok(())
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn number(&mut self, number: i64) -> io::Result<()> {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        let mut bytes = [0; 10];
        let mut length = 0;
        loop {
            bytes[length] = (rest & 0x7F) as u8 | if rest > 0x7F { 0x80 } else { 0 };
            length += 1;
            rest >>= 7;
            if rest == 0 {
                return self.out.write_all(&bytes[..length]);
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.number(bytes.len() as i64)?;
        self.out.write_all(bytes)
    }
}

/// Gives the messages of such a file in their order.
pub(super) struct Reader<R> {
    input: R,
    topic: Arc<str>,
    line: i64,
    number: i64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Reader { input, topic: Arc::default(), line: 0, number: 0 }
    }

    /// The next one; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Envelope>> {
        let mut flags = [0];
        if self.input.read(&mut flags)? == 0 {
            return Ok(None);
        }
        let has = |flag: u8| flags[0] & flag != 0;
        if let Some(topic) = self.bytes()? {
            self.topic = text(topic)?.into();
        }
        let mut message = Message { topic: Arc::clone(&self.topic), ..Message::default() };
        if has(PARTITION) {
            message.partition = Some(i32::try_from(self.number()?).map_err(io::Error::other)?);
        }
        let mut kind = [0];
        self.input.read_exact(&mut kind)?;
        message.offset = match kind[0] {
            0 => Offset::None,
            1 => Offset::Number(self.number()?),
            _ => Offset::Text(text(self.bytes()?.unwrap_or_default())?),
        };
        if has(TIME) {
            message.timestamp = Some(self.number()?);
        }
        if has(KEY) {
            message.key = self.bytes()?.map(Bytes::from);
        }
        if has(VALUE) {
            message.value = self.bytes()?.map(Bytes::from);
        }
        for _ in 0..self.number()? {
            let name = text(self.bytes()?.unwrap_or_default())?;
            message.headers.push((name, self.bytes()?.map(Bytes::from)));
        }
        let further = self.bytes()?.unwrap_or_default();
        if !further.is_empty() {
            message.further = serde_json::from_slice::<Vec<Value>>(&further)?;
        }
        let refused = match has(REFUSED) {
            true => {
                let reason = text(self.bytes()?.unwrap_or_default())?;
                Some((reason, text(self.bytes()?.unwrap_or_default())?))
            }
            false => None,
        };
        let further = self.number()?;
        self.line += further;
        let line = (further != 0).then_some(self.line);
        self.number += 1;
        let tombstone = has(TOMBSTONE);
        Ok(Some(Envelope { message, tombstone, refused, line, number: self.number }))
    }

    fn number(&mut self) -> io::Result<i64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.input.read_exact(&mut byte)?;
            value |= u64::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a number of the spool is too long"))
    }

    /// `None` where it was said that there are none.
    fn bytes(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Ok(length) = usize::try_from(self.number()?) else { return Ok(None) };
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_come_back() {
        let message = |topic: &str, offset: Offset| Message {
            topic: topic.into(),
            partition: Some(3),
            offset,
            timestamp: Some(-1),
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"")),
            headers: vec![
                ("a".to_owned(), Some(Bytes::from_static(b"\xff"))),
                ("a".to_owned(), None),
            ],
            further: vec![json!(null), json!("x"), json!(7), json!(true)],
        };
        let written = [
            Envelope {
                message: message("orders", Offset::Number(i64::MAX)),
                line: Some(1),
                ..Envelope::default()
            },
            Envelope {
                message: Message { value: None, ..message("orders", Offset::Number(i64::MIN)) },
                tombstone: true,
                line: None,
                ..Envelope::default()
            },
            Envelope {
                message: message("größe", Offset::Text("1-0".to_owned())),
                refused: Some(("not JSON".to_owned(), "{".to_owned())),
                ..Envelope::default()
            },
            Envelope { line: Some(2), ..Envelope::default() },
        ];
        let mut writer = Writer::new(Vec::new());
        for envelope in &written {
            writer.write(envelope).unwrap();
        }
        let bytes = writer.into_inner();
        let mut reader = Reader::new(bytes.as_slice());
        for (envelope, number) in written.into_iter().zip(1..) {
            assert_eq!(reader.next().unwrap(), Some(Envelope { number, ..envelope }));
        }
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_place_is_where_the_message_stood() {
        let place = |partition, offset| {
            let message = Message { topic: "t".into(), partition, offset, ..Message::default() };
            Envelope { message, number: 9, ..Envelope::default() }.place()
        };
        assert_eq!(place(Some(2), Offset::Number(5)), ("t[2]".to_owned(), 5));
        assert_eq!(place(None, Offset::Text("1-0".to_owned())), ("t@1-0".to_owned(), 9));
        assert_eq!(place(None, Offset::None), ("t".to_owned(), 9));
    }
}
