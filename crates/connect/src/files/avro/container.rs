//! An object container file, given on without its compression.
//!
//! Blocks are decompressed here and not by the reader of records, so that what a block may ask of
//! memory is bounded, every codec of the specification is known, and the schema can be made one
//! that the reader takes: a record, with UUIDs that are written as text as the text they are.
//!
//! Source: Apache Avro 1.12, "Object Container Files".

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use serde_json::Value;

use super::schema::readable;

const MAGIC: &[u8; 4] = b"Obj\x01";

/// The largest header, and the largest block before and after it is decompressed.
const MAX_HEADER: u64 = 16 << 20;
const MAX_BLOCK: u64 = 256 << 20;

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
    Bzip2,
    Xz,
}

/// A container file as one without compression.
pub(super) struct Container<'a, R> {
    source: R,
    codec: Codec,
    sync: [u8; 16],
    /// Bytes that are given on: the header, then block by block.
    out: Vec<u8>,
    at: usize,
    /// A block that comes after `out`.
    next: Option<Vec<u8>>,
    packed: Vec<u8>,
    promised: &'a Cell<u64>,
    record_bytes: u64,
    /// What the header says, by its keys.
    metadata: HashMap<String, Vec<u8>>,
}

pub(super) fn damaged(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

impl<'a, R: BufRead> Container<'a, R> {
    /// Reads the header and the first block.
    pub(super) fn open(source: R, promised: &'a Cell<u64>) -> io::Result<Container<'a, R>> {
        let mut container = Container::start(source, promised)?;
        container.out = header(&container.schema()?, &container.sync);
        container.next = container.block()?;
        Ok(container)
    }

    /// Reads the header alone.
    pub(super) fn start(mut source: R, promised: &'a Cell<u64>) -> io::Result<Container<'a, R>> {
        let mut magic = [0; 4];
        source.read_exact(&mut magic).map_err(|_| damaged("it does not begin as one"))?;
        if magic != *MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let mut metadata = HashMap::new();
        let mut left = MAX_HEADER;
        loop {
            let mut count = long(&mut source)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut source)?;
                count = count.checked_neg().ok_or_else(|| damaged("its header is damaged"))?;
            }
            for _ in 0..count {
                let key = bytes(&mut source, &mut left)?;
                let value = bytes(&mut source, &mut left)?;
                metadata.insert(String::from_utf8_lossy(&key).into_owned(), value);
            }
        }
        let mut sync = [0; 16];
        source.read_exact(&mut sync)?;
        let codec = match metadata.get("avro.codec").map(Vec::as_slice) {
            None | Some(b"null" | b"") => Codec::Null,
            Some(b"deflate") => Codec::Deflate,
            Some(b"snappy") => Codec::Snappy,
            Some(b"zstandard") => Codec::Zstandard,
            Some(b"bzip2") => Codec::Bzip2,
            Some(b"xz") => Codec::Xz,
            Some(other) => {
                let name = String::from_utf8_lossy(other);
                return Err(damaged(format!("its codec `{name}` is not known")));
            }
        };
        Ok(Container {
            source,
            codec,
            sync,
            out: Vec::new(),
            at: 0,
            next: None,
            packed: Vec::new(),
            promised,
            record_bytes: 0,
            metadata,
        })
    }

    /// What the header says, by its keys.
    pub(super) fn metadata(&self) -> &HashMap<String, Vec<u8>> {
        &self.metadata
    }

    /// The schema, with every name resolved, as a record.
    pub(super) fn schema(&self) -> io::Result<Value> {
        let schema = self.metadata.get("avro.schema");
        let schema = schema.ok_or_else(|| damaged("its header has no schema"))?;
        let schema: Value = serde_json::from_slice(schema).map_err(io::Error::other)?;
        readable(&schema, &[]).map_err(damaged)
    }

    /// How many bytes a record of the first block has on average.
    pub(super) fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// The next block without its compression, with its frame.
    fn block(&mut self) -> io::Result<Option<Vec<u8>>> {
        let sync = self.sync;
        let Some((count, body)) = self.body()? else { return Ok(None) };
        let mut out = Vec::with_capacity(body.len() + 40);
        write_long(&mut out, count as i64);
        write_long(&mut out, body.len() as i64);
        out.extend_from_slice(&body);
        out.extend_from_slice(&sync);
        Ok(Some(out))
    }

    /// The records of the next block as bytes, and how many there are.
    pub(super) fn body(&mut self) -> io::Result<Option<(u64, Cow<'_, [u8]>)>> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let size = |size: i64| {
            u64::try_from(size).map_err(|_| damaged("a block says that its size is negative"))
        };
        let count = size(long(&mut self.source)?)?;
        let length = size(long(&mut self.source)?)?;
        if length > MAX_BLOCK {
            return Err(damaged(format!("a block says that it has {length} bytes")));
        }
        self.packed.clear();
        self.source.by_ref().take(length).read_to_end(&mut self.packed)?;
        let mut sync = [0; 16];
        if self.packed.len() as u64 != length || self.source.read_exact(&mut sync).is_err() {
            return Err(damaged("the file ends within a block"));
        }
        if sync != self.sync {
            return Err(damaged("a block does not end with the mark of the file"));
        }
        let body = match unpacked(self.codec, &self.packed)? {
            Some(body) => Cow::Owned(body),
            None => Cow::Borrowed(self.packed.as_slice()),
        };
        self.promised.set(self.promised.get().saturating_add(count));
        if self.record_bytes == 0 && count > 0 {
            self.record_bytes = (body.len() as u64 / count).max(1);
        }
        Ok(Some((count, body)))
    }
}

impl<R: BufRead> Read for Container<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Container<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.out.len() {
            self.at = 0;
            self.out = match self.next.take() {
                Some(block) => block,
                None => self.block()?.unwrap_or_default(),
            };
        }
        Ok(&self.out[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.out.len());
    }
}

/// A block without its compression; `None` where it has none.
fn unpacked(codec: Codec, packed: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let limited = |reader: &mut dyn Read| -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::with_capacity((packed.len() * 3).min(16 << 20));
        reader.take(MAX_BLOCK + 1).read_to_end(&mut out)?;
        if out.len() as u64 > MAX_BLOCK {
            return Err(damaged(format!("a block has more than {MAX_BLOCK} bytes")));
        }
        Ok(Some(out))
    };
    match codec {
        Codec::Null => Ok(None),
        Codec::Deflate => limited(&mut flate2::read::DeflateDecoder::new(packed)),
        Codec::Zstandard => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(27)?;
            limited(&mut decoder)
        }
        Codec::Bzip2 => limited(&mut bzip2::read::MultiBzDecoder::new(packed)),
        Codec::Xz => {
            let memory = u32::try_from(MAX_BLOCK >> 10).unwrap_or(u32::MAX);
            limited(&mut lzma_rust2::XzReader::new_mem_limit(packed, true, memory))
        }
        Codec::Snappy => {
            let Some((body, checksum)) = packed.split_last_chunk::<4>() else {
                return Err(damaged("a block is too short"));
            };
            let length = snap::raw::decompress_len(body).map_err(io::Error::other)?;
            if length as u64 > MAX_BLOCK {
                return Err(damaged(format!("a block has more than {MAX_BLOCK} bytes")));
            }
            let out = snap::raw::Decoder::new().decompress_vec(body).map_err(io::Error::other)?;
            let mut crc = flate2::Crc::new();
            crc.update(&out);
            if crc.sum() != u32::from_be_bytes(*checksum) {
                return Err(damaged("the checksum of a block is wrong"));
            }
            Ok(Some(out))
        }
    }
}

/// A file of these records, which stand one behind the other, under a schema that the reader takes.
pub(crate) fn file_of(schema: &Value, records: usize, bytes: &[u8]) -> Vec<u8> {
    const SYNC: [u8; 16] = *b"tidemill records";
    let mut out = header(schema, &SYNC);
    write_long(&mut out, records as i64);
    write_long(&mut out, bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(&SYNC);
    out
}

/// A header without compression.
fn header(schema: &Value, sync: &[u8; 16]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    write_long(&mut out, 1);
    for part in ["avro.schema".as_bytes(), schema.to_string().as_bytes()] {
        write_long(&mut out, part.len() as i64);
        out.extend_from_slice(part);
    }
    write_long(&mut out, 0);
    out.extend_from_slice(sync);
    out
}

/// A number in variable length.
pub(super) fn long(source: &mut impl BufRead) -> io::Result<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        source.read_exact(&mut byte).map_err(|_| damaged("the file ends within a number"))?;
        value |= u64::from(byte[0] & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte[0] & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(damaged("a number is too long"))
}

fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(source: &mut impl BufRead, left: &mut u64) -> io::Result<Vec<u8>> {
    let length = u64::try_from(long(source)?).ok().filter(|length| length <= left);
    let length = length.ok_or_else(|| damaged("its header is damaged"))?;
    *left -= length;
    let mut bytes = Vec::new();
    source.by_ref().take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(damaged("the file ends within its header")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, -1, 63, 64, -65, 1 << 40, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_long(&mut out, value);
            assert_eq!(long(&mut out.as_slice()).unwrap(), value);
        }
        assert!(long(&mut [0x80u8; 11].as_slice()).is_err());
    }

    #[test]
    fn what_a_block_says_of_itself_is_not_believed() {
        let open = |tail: &[i64]| {
            let mut file = header(&json!("int"), &[7; 16]);
            tail.iter().for_each(|number| write_long(&mut file, *number));
            let promised = Cell::new(0);
            Container::open(file.as_slice(), &promised).err().map(|error| error.to_string())
        };
        assert_eq!(open(&[]), None);
        assert_eq!(
            open(&[1, i64::MAX]).unwrap(),
            format!("a block says that it has {} bytes", i64::MAX)
        );
        assert_eq!(open(&[1, 100, 5]).unwrap(), "the file ends within a block");
        assert_eq!(open(&[-1, 1]).unwrap(), "a block says that its size is negative");
    }
}
