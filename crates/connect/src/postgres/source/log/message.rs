//! Messages of the output plugin `pgoutput`, protocol version 1 (PostgreSQL's documentation, "Logical
//! Replication Message Formats").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tidemill_core::{Error, ErrorKind, Result};

/// The first moment of the year 2000, in microseconds since 1970.
const MICROS_OF_2000: i64 = 946_684_800_000_000;

/// A place in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Lsn(pub(super) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (high, low) = text.split_once('/')?;
            let part = |text| u32::from_str_radix(text, 16).ok();
            Some(Lsn((u64::from(part(high)?) << 32) | u64::from(part(low)?)))
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Data, format!("`{text}` is not a place in a write-ahead log"))
        })
    }
}

impl TryFrom<String> for Lsn {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> String {
        lsn.to_string()
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Null,
    /// It is stored apart and did not change, so that the log does not have it.
    Unchanged,
    /// In text format.
    Text(&'a [u8]),
}

/// The values of a row, in the order of the columns of its relation.
pub(super) type Tuple<'a> = Vec<Field<'a>>;

/// A row as it was.
#[derive(Debug, PartialEq)]
pub(super) enum Old<'a> {
    /// The columns of its key; others are NULL.
    Key(Tuple<'a>),
    /// All its columns (`replica identity full`).
    Row(Tuple<'a>),
}

impl<'a> Old<'a> {
    pub(super) fn fields(&self) -> &Tuple<'a> {
        match self {
            Old::Key(fields) | Old::Row(fields) => fields,
        }
    }
}

/// A relation, by its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) id: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    /// A transaction, by the place of its commit, its time in microseconds since 1970, and its number.
    Begin {
        commit: Lsn,
        at: i64,
        transaction: u32,
    },
    /// Its end, and the place behind it.
    Commit {
        end: Lsn,
    },
    Relation(Relation),
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        old: Option<Old<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        old: Old<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// What has no rows: types, origins, messages.
    Other,
}

/// Reads a message.
pub(super) fn parse(bytes: &[u8]) -> Result<Message<'_>> {
    let mut reader = Reader { bytes, at: 0 };
    reader.message().ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a message of the log of changes cannot be read")
    })
}

/// The relation that a message of a row, or of the columns of one, is about.
pub(super) fn relation_of(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [b'R' | b'I' | b'U' | b'D', number @ ..] => {
            Some(u32::from_be_bytes(number.get(..4)?.try_into().ok()?))
        }
        _ => None,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes(self.take(2)?.try_into().ok()?)))
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn lsn(&mut self) -> Option<Lsn> {
        Some(Lsn(u64::from_be_bytes(self.take(8)?.try_into().ok()?)))
    }

    fn text(&mut self) -> Option<String> {
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Some(text)
    }

    fn tuple(&mut self) -> Option<Tuple<'a>> {
        let count = self.short()?;
        (0..count)
            .map(|_| {
                Some(match self.byte()? {
                    b'n' => Field::Null,
                    b'u' => Field::Unchanged,
                    b't' => {
                        let length = usize::try_from(self.word()?).ok()?;
                        Field::Text(self.take(length)?)
                    }
                    _ => return None,
                })
            })
            .collect()
    }

    fn old(&mut self, kind: u8) -> Option<Old<'a>> {
        match kind {
            b'K' => self.tuple().map(Old::Key),
            b'O' => self.tuple().map(Old::Row),
            _ => None,
        }
    }

    fn message(&mut self) -> Option<Message<'a>> {
        Some(match self.byte()? {
            b'B' => {
                let commit = self.lsn()?;
                let since_2000 = i64::from_be_bytes(self.take(8)?.try_into().ok()?);
                let at = since_2000.saturating_add(MICROS_OF_2000);
                Message::Begin { commit, at, transaction: self.word()? }
            }
            b'C' => {
                self.take(1 + 8)?;
                Message::Commit { end: self.lsn()? }
            }
            b'R' => {
                let (id, schema, name) = (self.word()?, self.text()?, self.text()?);
                self.byte()?;
                let count = self.short()?;
                let mut column = || {
                    self.byte()?;
                    let name = self.text()?;
                    self.take(8)?;
                    Some(name)
                };
                let columns = (0..count).map(|_| column()).collect::<Option<_>>()?;
                Message::Relation(Relation { id, schema, name, columns })
            }
            b'I' => {
                let relation = self.word()?;
                match self.byte()? {
                    b'N' => Message::Insert { relation, new: self.tuple()? },
                    _ => return None,
                }
            }
            b'U' => {
                let relation = self.word()?;
                let mut kind = self.byte()?;
                let mut old = None;
                if kind != b'N' {
                    old = Some(self.old(kind)?);
                    kind = self.byte()?;
                }
                match kind {
                    b'N' => Message::Update { relation, old, new: self.tuple()? },
                    _ => return None,
                }
            }
            b'D' => {
                let relation = self.word()?;
                let kind = self.byte()?;
                Message::Delete { relation, old: self.old(kind)? }
            }
            b'T' => {
                let count = self.word()?;
                self.byte()?;
                let relations = (0..count).map(|_| self.word()).collect::<Option<_>>()?;
                Message::Truncate { relations }
            }
            _ => Message::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn, Lsn(0x16_B374_D848));
        assert_eq!(lsn.to_string(), "16/B374D848");
        assert!("16".parse::<Lsn>().is_err());
    }

    #[test]
    fn messages_are_read_and_broken_ones_refused() {
        let mut update = vec![b'U', 0, 0, 0, 7, b'K', 0, 1, b't', 0, 0, 0, 1, b'1'];
        update.extend([b'N', 0, 2, b't', 0, 0, 0, 1, b'2', b'u']);
        let Message::Update { relation, old, new } = parse(&update).unwrap() else { panic!() };
        assert_eq!((relation_of(&update), relation_of(b"C")), (Some(7), None));
        assert_eq!((relation, old), (7, Some(Old::Key(vec![Field::Text(b"1")]))));
        assert_eq!(new, [Field::Text(b"2"), Field::Unchanged]);
        for length in 0..update.len() {
            assert!(parse(&update[..length]).is_err(), "{length}");
        }
        let mut relation = vec![b'R', 0, 0, 0, 7];
        relation.extend(b"public\0orders\0d\0\x01\x01id\0");
        relation.extend([0, 0, 0, 23, 255, 255, 255, 255]);
        let Message::Relation(read) = parse(&relation).unwrap() else { panic!() };
        assert_eq!(
            (read.schema.as_str(), read.columns.as_slice()),
            ("public", ["id".to_owned()].as_slice())
        );
        assert_eq!(parse(b"Y...").unwrap(), Message::Other);
    }
}
