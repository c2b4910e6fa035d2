//! The requests of SFTP (version 3, as OpenSSH speaks it).

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use futures::stream::{self, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use tidemill_core::{Error, ErrorKind, Result};

use super::super::pool::{Lease, Pool};
use super::super::walk::join;
use super::super::{FileServer, Folder, Look, Manners, Named, changed};
use super::session::{Address, POSIX_RENAME, Session, told};

/// What every server gives in one answer.
const CHUNK: u64 = 32 << 10;

/// How many answers are waited for at a time.
const AHEAD: usize = 16;

/// A server, by some connections.
pub(super) struct SftpServer {
    address: Arc<Address>,
    manners: Manners,
    pool: Pool<Session>,
}

impl std::fmt::Debug for SftpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SftpServer").field("host", &self.address.host).finish_non_exhaustive()
    }
}

/// What of the rights of a file is its kind.
const KIND: u32 = 0o170_000;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// What attributes say. A server that tells no kind tells of a file.
fn look_of(attributes: &FileAttributes) -> Look {
    let kind = attributes.permissions.unwrap_or_default() & KIND;
    let seconds = i64::from(attributes.mtime.unwrap_or_default());
    Look {
        is_folder: kind == FOLDER,
        size: attributes.size.unwrap_or_default(),
        modified: DateTime::from_timestamp(seconds, 0).unwrap_or_default(),
    }
}

fn is_link(attributes: &FileAttributes) -> bool {
    attributes.permissions.is_some_and(|mode| mode & KIND == LINK)
}

/// Neither a file nor a folder: a pipe, a device.
fn is_other(attributes: &FileAttributes) -> bool {
    let known = |mode: u32| matches!(mode & KIND, 0 | FOLDER | FILE | LINK);
    attributes.permissions.is_some_and(|mode| !known(mode))
}

impl SftpServer {
    pub(super) fn new(address: Address, manners: Manners) -> SftpServer {
        let pool = Pool::new(manners.connections);
        SftpServer { address: Arc::new(address), manners, pool }
    }

    async fn lease(&self) -> Result<Lease<Session>> {
        let connect = || Session::open(self.address.clone(), self.manners.timeout);
        self.pool.lease(Session::lives, connect).await
    }

    /// What a request gave. The connection is kept unless it broke.
    fn settle<T>(&self, lease: Lease<Session>, reply: Result<T>) -> Result<T> {
        self.release(lease, reply.as_ref().err());
        reply
    }

    fn release(&self, lease: Lease<Session>, error: Option<&Error>) {
        match error {
            Some(error) if error.kind() == ErrorKind::Unavailable => self.pool.forget(),
            _ => lease.keep(),
        }
    }
}

#[async_trait]
impl FileServer for SftpServer {
    async fn look(&self, path: &str) -> Result<Option<Look>> {
        let lease = self.lease().await?;
        let reply = lease.sftp.stat(path).await.map_err(|error| told(error, path));
        match self.settle(lease, reply) {
            Ok(found) => Ok(Some(look_of(&found.attrs)).filter(|_| !is_other(&found.attrs))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn folder(&self, path: &str) -> Result<Box<dyn Folder>> {
        let lease = self.lease().await?;
        let opened = lease.sftp.opendir(path).await;
        let error = match opened {
            Ok(handle) => {
                let (path, handle) = (path.to_owned(), handle.handle);
                return Ok(Box::new(SftpFolder { path, handle, lease: Some(lease) }));
            }
            Err(error) => told(error, path),
        };
        self.release(lease, Some(&error));
        // Not every server has a word for what is no folder.
        let is_folder = |look: Option<Look>| look.is_some_and(|look| look.is_folder);
        if error.kind() == ErrorKind::Io && !is_folder(self.look(path).await?) {
            return Err(
                Error::new(ErrorKind::NotFound, "there is no such folder").with("folder", path)
            );
        }
        Err(error)
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Look,
        into: &mut BytesMut,
    ) -> Result<()> {
        let lease = self.lease().await?;
        let reply = lease.asked(read(&lease, path, range, expected, into)).await;
        self.settle(lease, reply)
    }

    async fn create(&self, path: &str) -> Result<()> {
        let lease = self.lease().await?;
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let reply = async {
            let file = lease.sftp.open(path, flags, FileAttributes::empty()).await?;
            lease.sftp.close(file.handle).await.map(drop)
        };
        let reply = reply.await.map_err(|error| told(error, path));
        self.settle(lease, reply)
    }

    async fn write(&self, path: &str, at: u64, bytes: &Bytes) -> Result<()> {
        let lease = self.lease().await?;
        let written =
            async { write(&lease, path, at, bytes).await.map_err(|error| told(error, path)) };
        let reply = lease.asked(written).await;
        self.settle(lease, reply)
    }

    async fn sync(&self, path: &str) -> Result<()> {
        let lease = self.lease().await?;
        let sftp = &lease.sftp;
        let reply = async {
            if !lease.syncs {
                return Ok(());
            }
            let file = sftp.open(path, OpenFlags::WRITE, FileAttributes::empty()).await?.handle;
            let synced = sftp.fsync(file.as_str()).await;
            sftp.close(file).await?;
            synced.map(drop)
        };
        let reply = reply.await.map_err(|error| told(error, path));
        self.settle(lease, reply)
    }

    async fn replace(&self, from: &str, to: &str) -> Result<()> {
        let lease = self.lease().await?;
        let reply = rename(&lease, from, to).await.map_err(|error| told(error, from));
        match self.settle(lease, reply) {
            Err(error) if error.kind() == ErrorKind::Io && self.look(to).await?.is_some() => {
                Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the server cannot replace a file in one step: it has no `{POSIX_RENAME}`"
                    ),
                )
                .with("file", to)
                .because(error))
            }
            reply => reply,
        }
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let lease = self.lease().await?;
        let reply = lease.sftp.remove(path).await.map(drop).map_err(|error| told(error, path));
        self.settle(lease, reply)
    }

    async fn make_folder(&self, path: &str) -> Result<()> {
        let lease = self.lease().await?;
        let reply = lease.sftp.mkdir(path, FileAttributes::empty()).await;
        let reply = reply.map(drop).map_err(|error| told(error, path));
        match self.settle(lease, reply) {
            // It is there, or was made just now.
            Err(error) if error.kind() == ErrorKind::Io => match self.look(path).await? {
                Some(look) if look.is_folder => Ok(()),
                _ => Err(error),
            },
            reply => reply,
        }
    }
}

/// Writes by one connection.
async fn write(session: &Session, path: &str, at: u64, bytes: &Bytes) -> Result<(), SftpError> {
    let sftp = &session.sftp;
    let file = sftp.open(path, OpenFlags::WRITE, FileAttributes::empty()).await?.handle;
    let file = file.as_str();
    let starts = (0..bytes.len()).step_by(CHUNK as usize);
    let mut written = stream::iter(starts)
        .map(|from| {
            let chunk = bytes[from..(from + CHUNK as usize).min(bytes.len())].to_vec();
            sftp.write(file, at + from as u64, chunk)
        })
        .buffered(AHEAD);
    let mut result = Ok(());
    while let Some(chunk) = written.next().await {
        if let Err(error) = chunk {
            result = Err(error);
            break;
        }
    }
    drop(written);
    let closed = sftp.close(file).await;
    result?;
    closed.map(drop)
}

async fn rename(session: &Session, from: &str, to: &str) -> Result<(), SftpError> {
    if !session.replaces {
        return session.sftp.rename(from, to).await.map(drop);
    }
    let mut names = Vec::with_capacity(from.len() + to.len() + 8);
    for name in [from, to] {
        names.extend_from_slice(&(name.len() as u32).to_be_bytes());
        names.extend_from_slice(name.as_bytes());
    }
    match session.sftp.extended(POSIX_RENAME, names).await? {
        Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
        Packet::Status(status) => Err(status.into()),
        _ => Err(SftpError::UnexpectedPacket),
    }
}

/// Reads by one connection.
async fn read(
    session: &Session,
    path: &str,
    range: Range<u64>,
    expected: &Look,
    into: &mut BytesMut,
) -> Result<()> {
    let failed = |error| told(error, path);
    let opened = session.sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await;
    let file = match opened.map_err(failed) {
        Ok(file) => file.handle,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(changed(path)),
        Err(error) => return Err(error),
    };
    let result = read_open(session, path, &file, range, expected, into).await;
    match &result {
        Err(error) if error.kind() == ErrorKind::Unavailable => {}
        _ => drop(session.sftp.close(file).await.map_err(failed)?),
    }
    result
}

/// Reads an open file, which is looked at before and after.
async fn read_open(
    session: &Session,
    path: &str,
    file: &str,
    range: Range<u64>,
    expected: &Look,
    into: &mut BytesMut,
) -> Result<()> {
    let failed = |error| told(error, path);
    let before = session.sftp.fstat(file).await.map_err(failed)?;
    if look_of(&before.attrs) != *expected {
        return Err(changed(path));
    }
    let starts = (range.start..range.end).step_by(CHUNK as usize);
    let mut chunks = stream::iter(starts)
        .map(|from| chunk(session, file, from, (from + CHUNK).min(range.end)))
        .buffered(AHEAD);
    let mut at = range.start;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(failed)?;
        at += chunk.len() as u64;
        into.extend_from_slice(&chunk);
        if at < range.end && !(at - range.start).is_multiple_of(CHUNK) {
            return Err(changed(path));
        }
    }
    drop(chunks);
    let after = session.sftp.fstat(file).await.map_err(failed)?;
    if look_of(&after.attrs) != *expected {
        return Err(changed(path));
    }
    Ok(())
}

/// Some bytes of an open file, asked for until all are there or the file ends.
async fn chunk(session: &Session, file: &str, from: u64, to: u64) -> Result<Vec<u8>, SftpError> {
    let mut data: Vec<u8> = Vec::new();
    loop {
        let at = from + data.len() as u64;
        if at >= to {
            return Ok(data);
        }
        match session.sftp.read(file, at, (to - at) as u32).await {
            Ok(more) if more.data.is_empty() => return Ok(data),
            Ok(more) if data.is_empty() => data = more.data,
            Ok(more) => data.extend_from_slice(&more.data),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => {
                return Ok(data);
            }
            Err(error) => return Err(error),
        }
        // More than was asked for.
        data.truncate((to - from) as usize);
    }
}

/// A folder that is open on a connection.
struct SftpFolder {
    path: String,
    handle: String,
    lease: Option<Lease<Session>>,
}

impl SftpFolder {
    async fn more(&self, session: &Session) -> Result<Option<Vec<Named>>> {
        let failed = |error| told(error, &self.path);
        let names = match session.sftp.readdir(self.handle.as_str()).await {
            Ok(names) => names.files,
            Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => {
                session.sftp.close(self.handle.as_str()).await.map_err(failed)?;
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::with_capacity(names.len());
        for file in names {
            if matches!(file.filename.as_str(), "." | "..") {
                continue;
            }
            let mut attributes = match is_link(&file.attrs) {
                false => file.attrs,
                true => match session.sftp.stat(join(&self.path, &file.filename)).await {
                    Ok(target) => target.attrs,
                    // A link to nowhere, or to where we may not look.
                    Err(SftpError::Status(_)) => continue,
                    Err(error) => return Err(failed(error)),
                },
            };
            if attributes.permissions.is_none() && file.longname.starts_with('d') {
                // A server that tells people alone.
                attributes.permissions = Some(FOLDER);
            }
            if !is_other(&attributes) {
                let look = look_of(&attributes);
                found.push(Named { name: file.filename, look, is_exact: true });
            }
        }
        Ok(Some(found))
    }
}

#[async_trait]
impl Folder for SftpFolder {
    async fn next(&mut self) -> Result<Option<Vec<Named>>> {
        let Some(lease) = self.lease.take() else { return Ok(None) };
        let more = self.more(&lease).await;
        match &more {
            Ok(Some(_)) => self.lease = Some(lease),
            Ok(None) => lease.keep(),
            Err(_) => {}
        }
        more
    }
}
