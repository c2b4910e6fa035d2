//! Members of zip archives, found by the directory at the end.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use super::{Members, shown, too_large};
use crate::files::place::Place;

/// Where a member is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where its own header begins.
    header: u64,
    packed: u64,
    pub(super) size: u64,
    pub(super) checksum: u32,
    method: CompressionMethod,
    encrypted: bool,
}

/// The members that are wanted, by their paths.
pub(super) fn directory(place: &Place, members: &Members) -> io::Result<HashMap<String, Entry>> {
    let reader = BufReader::with_capacity(64 << 10, place.open_anywhere()?);
    let archive = ZipArchive::new(reader).map_err(io::Error::other)?;
    let mut found = HashMap::new();
    let mut total = 0u64;
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(io::Error::other)?;
        let path = shown(&entry.name().map_err(io::Error::other)?);
        if !entry.is_file() || !members.wants(&path) {
            continue;
        }
        total = total.saturating_add(entry.size());
        found.insert(
            path,
            Entry {
                header: entry.header_start(),
                packed: entry.compressed_size(),
                size: entry.size(),
                checksum: entry.crc32(),
                method: entry.compression(),
                encrypted: entry.encrypted(),
            },
        );
    }
    if total > members.limit {
        return Err(too_large(members.limit));
    }
    Ok(found)
}

fn damaged(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The bytes of a member.
pub(super) fn open(place: &Place, entry: &Entry) -> io::Result<Box<dyn Read + Send>> {
    if entry.encrypted {
        return Err(damaged("it is encrypted, which is not read"));
    }
    let mut file = place.open_anywhere()?;
    file.seek(SeekFrom::Start(entry.header))?;
    let mut header = [0; 30];
    file.read_exact(&mut header)?;
    if header[..4] != *b"PK\x03\x04" {
        return Err(damaged("the archive's directory leads to no member"));
    }
    let length = |at: usize| i64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    file.seek(SeekFrom::Current(length(26) + length(28)))?;
    let packed = BufReader::with_capacity(128 << 10, file.take(entry.packed));
    let reader: Box<dyn Read + Send> = match entry.method {
        CompressionMethod::STORE => Box::new(packed),
        CompressionMethod::DEFLATE => Box::new(flate2::bufread::DeflateDecoder::new(packed)),
        CompressionMethod::BZIP2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        CompressionMethod::ZSTD => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
        CompressionMethod::XZ => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(packed, false, 256 << 10))
        }
        method => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is compressed by a method that is not read ({method})"),
            ));
        }
    };
    let crc = flate2::Crc::new();
    Ok(Box::new(Checked { reader, left: entry.size, checksum: entry.checksum, crc }))
}

/// What is read has the size and the checksum that the directory says, or the read fails.
struct Checked {
    reader: Box<dyn Read + Send>,
    left: u64,
    checksum: u32,
    crc: flate2::Crc,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            if self.left > 0 {
                return Err(damaged("the member is shorter than the archive's directory says"));
            }
            if self.crc.sum() != self.checksum {
                return Err(damaged("the checksum of the member is wrong"));
            }
        }
        self.left = (self.left.checked_sub(read as u64))
            .ok_or_else(|| damaged("the member is longer than the archive's directory says"))?;
        self.crc.update(&buffer[..read]);
        Ok(read)
    }
}
