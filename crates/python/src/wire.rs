//! What goes through the pipes: frames of a letter, a length and that many bytes.

use std::io::{self, Read, Write};

/// A larger frame is no frame: somebody else wrote to the pipe.
const MOST_BYTES: u32 = 1 << 31;

/// What the program sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Run a query under a number of the program's choice.
    Query(String),
    /// The next batch of a query.
    Next(u32),
    /// No more of a query.
    Close(u32),
    /// The result is the rows of this query.
    ResultQuery(String),
    /// Some of the result's rows, as a stream of Arrow's; the first perhaps without rows.
    Rows(Vec<u8>),
    /// All rows were sent.
    Done,
    /// The program cannot go on: JSON with what happened.
    Failed(String),
}

/// Answers to requests.
pub(crate) mod answer {
    /// The program's code and settings, at the very beginning.
    pub(crate) const BEGIN: u8 = b'I';
    /// The query's number and schema.
    pub(crate) const SCHEMA: u8 = b'S';
    /// One batch.
    pub(crate) const BATCH: u8 = b'B';
    /// The end of the query.
    pub(crate) const END: u8 = b'Z';
    /// Why there is no more.
    pub(crate) const ERROR: u8 = b'E';
}

/// Reads a frame; `None` at the end.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Request>> {
    let mut head = [0; 5];
    match from.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut head[1..])?,
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if length > MOST_BYTES {
        return Err(invalid("a frame is too long"));
    }
    let mut bytes = Vec::new();
    let found = from.take(u64::from(length)).read_to_end(&mut bytes)?;
    if found as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = |bytes| String::from_utf8(bytes).map_err(|_| invalid("a frame is not text"));
    let number = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().map_err(|_| invalid("a frame is no number"))?;
        Ok::<_, io::Error>(u32::from_le_bytes(bytes))
    };
    Ok(Some(match head[0] {
        b'Q' => Request::Query(text(bytes)?),
        b'N' => Request::Next(number(&bytes)?),
        b'C' => Request::Close(number(&bytes)?),
        b'R' => Request::ResultQuery(text(bytes)?),
        b'O' => Request::Rows(bytes),
        b'X' => Request::Done,
        b'F' => Request::Failed(text(bytes)?),
        _ => return Err(invalid("an unknown frame")),
    }))
}

/// Writes a frame.
pub(crate) fn write(to: &mut impl Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| invalid("a frame is too long"))?;
    to.write_all(&[kind])?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_whole_or_refused() {
        let mut bytes = Vec::new();
        write(&mut bytes, b'Q', b"select 1").unwrap();
        write(&mut bytes, b'N', &7u32.to_le_bytes()).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(read(&mut from).unwrap(), Some(Request::Query("select 1".to_owned())));
        assert_eq!(read(&mut from).unwrap(), Some(Request::Next(7)));
        assert_eq!(read(&mut from).unwrap(), None);
        assert!(read(&mut &bytes[..6]).is_err());
        assert!(read(&mut b"hello world".as_slice()).is_err());
    }
}
