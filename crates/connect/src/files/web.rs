//! Files of an HTTP server: read by ranges where the server has them, so that a connection that breaks is
//! taken up again, and only as one version where it names versions.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use tidemill_core::{Error, ErrorKind, Result};
use tidemill_objects::web_agent;
use tokio::runtime::Handle;
use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::listing::{FileEntry, Stamp};
use super::place::Place;

/// How much is asked for at a time.
const PART: u64 = 8 << 20;

/// How often a request is repeated, with a growing pause.
const TRIES: u32 = 5;

/// Headers that go with every request: names and values. Values may be secrets.
pub(crate) type Headers = Arc<Vec<(String, String)>>;

/// A file of a server, as it was when it was looked at.
pub(crate) struct Web {
    url: String,
    headers: Headers,
    size: u64,
    /// `ETag`, or else `Last-Modified`.
    version: Option<String>,
    modified: i64,
    ranges: bool,
    handle: Handle,
    /// The whole file on disk, where ranges do not do.
    copy: Mutex<Option<Arc<tempfile::NamedTempFile>>>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web")
            .field("url", &self.url)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The file at this address, by this name; `None` when there is none.
pub(crate) fn look(
    url: &str,
    name: &str,
    headers: &Headers,
    handle: &Handle,
) -> Result<Option<FileEntry>> {
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            std::io::ErrorKind::InvalidInput => ErrorKind::Config,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, "cannot look at the file").with("file", name).because(error)
    };
    let ask = |method: &str, range: Option<&str>| request(method, url, headers, range, handle);
    let head = ask("HEAD", None).map_err(failed)?;
    // Some servers know GET alone.
    let reply = match head.status().as_u16() {
        400 | 403 | 405 | 501 => ask("GET", Some("bytes=0-0")).map_err(failed)?,
        _ => head,
    };
    match reply.status().as_u16() {
        200 | 206 => {}
        404 | 410 => return Ok(None),
        status => return Err(failed(refusal(status))),
    }
    let of = reply.headers();
    let ranged = reply.status().as_u16() == 206;
    let whole = match text(of, "content-range") {
        Some(range) => range.rsplit('/').next().and_then(|size| size.parse().ok()),
        None => text(of, "content-length").and_then(|size| size.parse().ok()),
    };
    let modified = text(of, "last-modified")
        .and_then(|time| DateTime::parse_from_rfc2822(time).ok())
        .and_then(|time| time.timestamp_nanos_opt());
    let version = text(of, "etag").or_else(|| text(of, "last-modified")).map(str::to_owned);
    let now = || chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default();
    let mut web = Web {
        url: url.to_owned(),
        headers: headers.clone(),
        size: whole.unwrap_or_default(),
        // Nobody can say whether such a file is as it was: its content tells.
        modified: modified.unwrap_or_else(|| if version.is_some() { 0 } else { now() }),
        version,
        ranges: ranged || text(of, "accept-ranges") == Some("bytes"),
        handle: handle.clone(),
        copy: Mutex::new(None),
    };
    if whole.is_none() {
        let copy = web.copied().map_err(failed)?;
        web.size = copy.as_file().metadata().map_err(failed)?.len();
    }
    Ok(Some(FileEntry {
        name: name.to_owned(),
        stamp: web.stamp(),
        place: Place::Web(Arc::new(web)),
    }))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// What a status means that is not the file.
fn refusal(status: u16) -> std::io::Error {
    let (kind, why) = match status {
        401 => (std::io::ErrorKind::PermissionDenied, "the server wants a login"),
        403 => (std::io::ErrorKind::PermissionDenied, "the server does not allow it"),
        404 | 410 => (std::io::ErrorKind::NotFound, "the file is gone"),
        _ => (std::io::ErrorKind::ConnectionAborted, "the server does not give the file"),
    };
    std::io::Error::new(kind, format!("{why} (status {status})"))
}

/// One request, repeated where that may help.
fn request(
    method: &str,
    url: &str,
    headers: &Headers,
    range: Option<&str>,
    handle: &Handle,
) -> std::io::Result<Response<Body>> {
    let mut tries = 0;
    loop {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(url)
            .header("accept-encoding", "identity");
        for (name, value) in headers.iter() {
            request = request.header(name, value);
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let request = request
            .body(())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        let reply = web_agent().run(request);
        tries += 1;
        let again = match &reply {
            Ok(reply) => matches!(reply.status().as_u16(), 429 | 500 | 502 | 503 | 504),
            Err(error) => passes(error),
        };
        if !again || tries >= TRIES {
            return reply.map_err(|error| {
                std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error)
            });
        }
        // What the server asks for, and no less than a pause that grows.
        let asked = reply
            .ok()
            .and_then(|reply| text(reply.headers(), "retry-after")?.parse().ok())
            .map_or(Duration::ZERO, |seconds: u64| Duration::from_secs(seconds.min(60)));
        let least = Duration::from_millis(200 * 3u64.pow(tries - 1));
        handle.block_on(tokio::time::sleep(asked.max(least)));
    }
}

/// Whether an error may be gone with the next request.
fn passes(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed)
}

impl Web {
    pub(crate) fn stamp(&self) -> Stamp {
        let version = self.version.as_deref().unwrap_or_default();
        let inode = xxhash_rust::xxh3::xxh3_64(version.as_bytes());
        Stamp { size: self.size, modified: self.modified, inode }
    }

    /// What it looks like now.
    pub(crate) fn stamp_now(&self) -> std::io::Result<Stamp> {
        match look(&self.url, &self.url, &self.headers, &self.handle) {
            Ok(Some(entry)) => Ok(entry.stamp),
            Ok(None) => Err(refusal(404)),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    fn check(&self, reply: &Response<Body>) -> std::io::Result<()> {
        let of = reply.headers();
        let version = text(of, "etag").or_else(|| text(of, "last-modified"));
        if self.version.is_some() && version != self.version.as_deref() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::ResourceBusy,
                "the file was replaced while it was read",
            ));
        }
        Ok(())
    }

    fn part(&self, from: u64, length: u64) -> std::io::Result<Vec<u8>> {
        let end = from.saturating_add(length).min(self.size);
        let mut data = Vec::new();
        let mut tries = 0;
        while from + (data.len() as u64) < end {
            let range = format!("bytes={}-{}", from + data.len() as u64, end - 1);
            let reply = request("GET", &self.url, &self.headers, Some(&range), &self.handle)?;
            if reply.status().as_u16() != 206 {
                return Err(refusal(reply.status().as_u16()));
            }
            self.check(&reply)?;
            let missing = end - from - data.len() as u64;
            let read = reply.into_body().into_reader().take(missing).read_to_end(&mut data);
            if let Err(error) = read {
                tries += 1;
                if tries >= TRIES {
                    return Err(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error));
                }
            }
        }
        Ok(data)
    }

    /// The bytes from the start on.
    pub(crate) fn open(self: &Arc<Self>) -> std::io::Result<Box<dyn Read + Send>> {
        if self.ranges && self.copy().is_none() {
            return Ok(Box::new(Parts { web: self.clone(), data: Vec::new(), at: 0, next: 0 }));
        }
        Ok(Box::new(self.on_disk()?))
    }

    /// Some bytes from a place on.
    pub(crate) fn probe(&self, from: u64, length: usize) -> Option<Vec<u8>> {
        if self.ranges && self.copy().is_none() {
            return self.part(from, length as u64).ok();
        }
        let mut file = self.on_disk().ok()?;
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut data = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut data).ok()?;
        Some(data)
    }

    /// The whole file as one on disk, which goes with the load.
    pub(crate) fn on_disk(&self) -> std::io::Result<std::fs::File> {
        std::fs::File::open(self.copied()?.path())
    }

    fn copy(&self) -> Option<Arc<tempfile::NamedTempFile>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn copied(&self) -> std::io::Result<Arc<tempfile::NamedTempFile>> {
        if let Some(copy) = self.copy() {
            return Ok(copy);
        }
        let mut file = tempfile::NamedTempFile::new()?;
        if self.ranges && self.size > 0 {
            let mut from = 0;
            while from < self.size {
                let part = self.part(from, PART)?;
                file.write_all(&part)?;
                from += part.len() as u64;
            }
        } else {
            let reply = request("GET", &self.url, &self.headers, None, &self.handle)?;
            if reply.status().as_u16() != 200 {
                return Err(refusal(reply.status().as_u16()));
            }
            self.check(&reply)?;
            let promised =
                text(reply.headers(), "content-length").and_then(|size| size.parse().ok());
            let copied = std::io::copy(&mut reply.into_body().into_reader(), &mut file).map_err(
                |error| std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error),
            )?;
            if promised.is_some_and(|promised: u64| promised != copied) {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionAborted,
                    "the server sent less than it promised",
                ));
            }
        }
        file.flush()?;
        let file = Arc::new(file);
        *self.copy.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.clone());
        Ok(file)
    }
}

/// A file, part by part.
struct Parts {
    web: Arc<Web>,
    data: Vec<u8>,
    at: usize,
    next: u64,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.data.len() {
            if self.next >= self.web.size {
                return Ok(0);
            }
            // The first part is a sample's.
            let length = if self.next == 0 { PART / 8 } else { PART };
            self.data = self.web.part(self.next, length)?;
            self.next += self.data.len() as u64;
            self.at = 0;
        }
        let length = buffer.len().min(self.data.len() - self.at);
        buffer[..length].copy_from_slice(&self.data[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
