//! Files of servers that have folders: SFTP, FTP and WebHDFS.
//!
//! A server is asked through [`FileServer`], one request or one part of a file at a time, over a few
//! connections that are kept. [`Tree`] makes an object store of it, so that everything that reads and
//! writes files works as it does elsewhere: requests are repeated, a read goes on at the byte where the
//! connection broke, and a file that is written gets its name when it is whole.
//!
//! Such servers have no versions of files. A file is known by its size and the time of its last change,
//! both of which are looked at whenever it is opened: what is read is one version, or the read fails.

pub(super) mod ftp;
pub(super) mod sftp;
pub(super) mod webhdfs;

mod pool;
mod tree;
mod upload;
mod walk;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use tidemill_core::{Error, ErrorKind, Result};

pub(super) use tree::Tree;
pub(super) use walk::{Choice, Wanted};

/// What a server says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) is_folder: bool,
    pub(super) size: u64,
    pub(super) modified: DateTime<Utc>,
}

impl Look {
    /// Stands for the version of a file: a weak one, as it says nothing about the bytes.
    pub(super) fn version(&self) -> String {
        format!("{WEAK}\"{}-{}\"", self.size, self.modified.timestamp_micros())
    }

    /// The file that this stands for.
    fn of_version(version: &str) -> Option<Look> {
        let text = version.strip_prefix(WEAK)?.strip_prefix('"')?.strip_suffix('"')?;
        let (size, modified) = text.split_once('-')?;
        let modified = DateTime::from_timestamp_micros(modified.parse().ok()?)?;
        Some(Look { is_folder: false, size: size.parse().ok()?, modified })
    }
}

/// What a version begins with that does not stand for the bytes of a file.
const WEAK: &str = "W/";

/// Whether a file whose version is this may have the content of before.
pub(super) fn is_weak(version: Option<&str>) -> bool {
    version.is_some_and(|version| version.starts_with(WEAK))
}

/// A name in a folder, and what is there.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) look: Look,
    /// Whether a file looks exactly so, or has to be looked at once more.
    pub(super) is_exact: bool,
}

/// The names of a folder, some at a time.
#[async_trait]
pub(super) trait Folder: Send {
    /// The next names; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Named>>>;
}

/// The names of a folder, all at once.
struct Names(Option<Vec<Named>>);

impl Names {
    fn of(names: Vec<Named>) -> Names {
        Names(Some(names))
    }
}

#[async_trait]
impl Folder for Names {
    async fn next(&mut self) -> Result<Option<Vec<Named>>> {
        Ok(self.0.take())
    }
}

/// The requests that a server of files answers. Each is made once: what has the kind `Unavailable` may be
/// made again. Paths are whole, as the server knows them.
#[async_trait]
pub(super) trait FileServer: std::fmt::Debug + Send + Sync + 'static {
    /// What is there, links followed; `None` where there is nothing.
    async fn look(&self, path: &str) -> Result<Option<Look>>;

    /// The names in a folder, links followed.
    ///
    /// # Errors
    /// Kind `NotFound` where there is no folder.
    async fn folder(&self, path: &str) -> Result<Box<dyn Folder>>;

    /// Adds the bytes of this range, as far as the file has them. On an error what was added is part of
    /// the file.
    ///
    /// # Errors
    /// Kind `Conflict` when the file does not look as expected.
    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Look,
        into: &mut BytesMut,
    ) -> Result<()>;

    /// Makes an empty file, also in place of another.
    async fn create(&self, path: &str) -> Result<()>;

    /// Writes bytes at this place of a file, which ends there or behind; the same bytes may have been written
    /// before.
    async fn write(&self, path: &str, at: u64, bytes: &Bytes) -> Result<()>;

    /// Makes what was written durable, as far as the server can.
    async fn sync(&self, path: &str) -> Result<()>;

    /// Gives a file another name, in place of the file that has it: at any moment there is the one or
    /// the other.
    ///
    /// # Errors
    /// Kind `Unsupported` where the server cannot do that.
    async fn replace(&self, from: &str, to: &str) -> Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// Kind `NotFound` where there is none.
    async fn remove(&self, path: &str) -> Result<()>;

    /// Makes a folder; one that is there is fine.
    async fn make_folder(&self, path: &str) -> Result<()>;
}

/// How often a request is made, with a growing pause between.
const TRIES: u32 = 5;

/// How long to wait after so many tries.
fn pause(tries: u32) -> Duration {
    Duration::from_millis(200 * 3u64.pow(tries.saturating_sub(1).min(5)))
}

/// Makes a request again while it may help.
async fn repeated<T, F>(mut request: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match request().await {
            Err(error) if error.kind() == ErrorKind::Unavailable && tries < TRIES => {
                tracing::debug!(error = %error, tries, "a request to a server of files is repeated");
                tokio::time::sleep(pause(tries)).await;
            }
            result => return result,
        }
    }
}

/// The file does not look as it did.
fn changed(path: &str) -> Error {
    Error::new(ErrorKind::Conflict, "the file was changed while it was read").with("file", path)
}

/// A connection for a source or a sink: what its settings may say beside the login.
#[derive(Debug, Clone, Copy)]
struct Manners {
    /// How many connections are open at a time.
    connections: usize,
    /// How long to wait for an answer.
    timeout: Duration,
}

impl Manners {
    fn new(connections: Option<usize>, timeout: Option<&str>) -> Result<Manners> {
        let wrong = |message: &str| Error::new(ErrorKind::Config, message);
        let connections = connections.unwrap_or(4);
        if !(1..=64).contains(&connections) {
            return Err(wrong("`max_connections` must be a whole number from 1 to 64"));
        }
        let timeout = match timeout {
            None => Duration::from_secs(60),
            Some(text) => super::settings::duration(text)
                .filter(|time| !time.is_zero())
                .ok_or_else(|| wrong("`timeout` is a duration such as `60s`"))?,
        };
        Ok(Manners { connections, timeout })
    }
}

/// The tree of a server below a folder, with the name that messages call it by.
fn tree(server: impl FileServer, name: String, root: Option<&str>) -> Tree {
    Tree::new(Arc::new(server), name, root.unwrap_or_default())
}
