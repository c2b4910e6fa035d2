//! Members of tar archives, which have to be gone through from the start.

use std::collections::HashMap;
use std::io::{self, BufReader, BufWriter, Read, Write};

use tempfile::NamedTempFile;
use xxhash_rust::xxh3::Xxh3;

use super::{Members, shown, too_large};
use crate::files::input::{Input, TextEncoding};
use crate::files::place::Place;

/// Where a member is in the file that all are copied to.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) hash: String,
}

/// Copies the members that are wanted to one file. Of two with one path the later one counts.
pub(super) fn unpacked(
    place: &Place,
    name: &str,
    members: &Members,
) -> io::Result<(NamedTempFile, HashMap<String, Entry>)> {
    let input =
        Input::open(place, name, None, TextEncoding::Utf8, false).map_err(io::Error::other)?;
    let limited = Limited { reader: BufReader::with_capacity(256 << 10, input), read: 0, members };
    let mut archive = ::tar::Archive::new(limited);
    let mut file = NamedTempFile::new()?;
    let mut out = BufWriter::with_capacity(256 << 10, file.as_file_mut());
    let mut found = HashMap::new();
    let mut start = 0;
    let mut buffer = vec![0; 128 << 10];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()) {
            continue;
        }
        let path = shown(&String::from_utf8_lossy(&entry.path_bytes()));
        if !members.wants(&path) {
            continue;
        }
        let mut hasher = Xxh3::new();
        let mut size = 0;
        loop {
            let read = entry.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            size += read as u64;
            // A sparse file has more bytes than were read of the archive.
            if start + size > members.limit {
                return Err(too_large(members.limit));
            }
            hasher.update(&buffer[..read]);
            out.write_all(&buffer[..read])?;
        }
        if size < entry.size() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ends within its member `{path}`"),
            ));
        }
        let hash = format!("{:032x}", hasher.digest128());
        found.insert(path, Entry { start, size, hash });
        start += size;
    }
    out.flush()?;
    drop(out);
    Ok((file, found))
}

/// The bytes of the archive without its compression, up to the limit.
struct Limited<'a, R> {
    reader: R,
    read: u64,
    members: &'a Members,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read += read as u64;
        // Headers and padding of members are not counted exactly.
        if self.read / 2 > self.members.limit.max(1 << 20) {
            return Err(too_large(self.members.limit));
        }
        Ok(read)
    }
}
