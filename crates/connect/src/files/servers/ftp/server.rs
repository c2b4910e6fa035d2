//! The requests of FTP.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tidemill_core::{Error, ErrorKind, Result};

use super::super::pool::{Lease, Pool};
use super::super::{FileServer, Folder, Look, Manners, Names};
use super::reading::Slot;
use super::session::{Address, Session};

/// A server, by some connections.
pub(super) struct FtpServer {
    address: Arc<Address>,
    manners: Manners,
    pool: Pool<Session>,
    slot: Slot,
}

impl std::fmt::Debug for FtpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FtpServer").field("host", &self.address.host).finish_non_exhaustive()
    }
}

impl FtpServer {
    pub(super) fn new(address: Address, manners: Manners) -> FtpServer {
        let pool = Pool::new(manners.connections);
        FtpServer { address: Arc::new(address), manners, pool, slot: Slot::default() }
    }

    /// A connection for a request.
    async fn lease(&self) -> Result<Lease<Session>> {
        if self.manners.connections == 1 {
            // The only one may be in the middle of a file.
            self.slot.clear().await;
        }
        self.connected().await
    }

    async fn connected(&self) -> Result<Lease<Session>> {
        let connect = || Session::open(self.address.clone(), self.manners.timeout);
        self.pool.lease(Session::lives, connect).await
    }

    /// Keeps a connection that did not break.
    fn settle<T>(&self, lease: Lease<Session>, reply: Result<T>) -> Result<T> {
        match lease.lives() {
            true => lease.keep(),
            false => self.pool.forget(),
        }
        reply
    }
}

#[async_trait]
impl FileServer for FtpServer {
    async fn look(&self, path: &str) -> Result<Option<Look>> {
        let mut lease = self.lease().await?;
        let reply = lease.look(path).await;
        self.settle(lease, reply)
    }

    async fn folder(&self, path: &str) -> Result<Box<dyn Folder>> {
        let mut lease = self.lease().await?;
        let mut reply = lease.folder(path).await;
        // Servers have several words for what is not there.
        if matches!(&reply, Err(error) if error.kind() == ErrorKind::Io)
            && let Ok(None) = lease.look(path).await
        {
            reply = Err(
                Error::new(ErrorKind::NotFound, "there is no such folder").with("folder", path)
            );
        }
        let names = self.settle(lease, reply)?;
        Ok(Box::new(Names::of(names)))
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Look,
        into: &mut BytesMut,
    ) -> Result<()> {
        let length = range.end - range.start;
        let read =
            self.slot.read(path, range.start, length, expected, into, || self.connected()).await;
        if matches!(&read, Err(error) if error.kind() == ErrorKind::Unavailable) {
            self.pool.forget();
        }
        read
    }

    async fn create(&self, path: &str) -> Result<()> {
        let mut lease = self.lease().await?;
        let reply = lease.upload(path, &[], false).await;
        self.settle(lease, reply)
    }

    async fn write(&self, path: &str, at: u64, bytes: &Bytes) -> Result<()> {
        let mut lease = self.lease().await?;
        let reply = write(&mut lease, path, at, bytes).await;
        self.settle(lease, reply)
    }

    /// There is no such request.
    async fn sync(&self, _path: &str) -> Result<()> {
        Ok(())
    }

    async fn replace(&self, from: &str, to: &str) -> Result<()> {
        let mut lease = self.lease().await?;
        let mut reply = lease.rename(from, to).await;
        if let Err(error) = reply {
            let both = lease.lives()
                && matches!(lease.look(from).await, Ok(Some(_)))
                && matches!(lease.look(to).await, Ok(Some(_)));
            reply = Err(match both {
                true => Error::new(
                    ErrorKind::Unsupported,
                    "the server does not give a file the name of one that is there",
                )
                .with("file", to)
                .because(error),
                false => error,
            });
        }
        self.settle(lease, reply)
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let mut lease = self.lease().await?;
        let mut reply = lease.remove(path).await;
        // The answer is the same where there is no file, and where it may not be taken away.
        if matches!(&reply, Err(error) if error.kind() == ErrorKind::NotFound)
            && let Ok(Some(_)) = lease.look(path).await
        {
            reply = Err(Error::new(ErrorKind::Denied, "the server does not take the file away")
                .with("file", path));
        }
        self.settle(lease, reply)
    }

    async fn make_folder(&self, path: &str) -> Result<()> {
        let mut lease = self.lease().await?;
        let mut reply = lease.make_folder(path).await;
        if reply.is_err()
            && lease.lives()
            && let Ok(Some(Look { is_folder: true, .. })) = lease.look(path).await
        {
            reply = Ok(());
        }
        self.settle(lease, reply)
    }
}

/// Writes behind what is there. What was written before of these bytes is not written again.
async fn write(session: &mut Session, path: &str, at: u64, bytes: &Bytes) -> Result<()> {
    if at == 0 {
        return session.upload(path, bytes, false).await;
    }
    let there = session.size(path).await?;
    let end = at + bytes.len() as u64;
    let rest = there
        .checked_sub(at)
        .filter(|_| there <= end)
        .and_then(|had| bytes.get(usize::try_from(had).ok()?..));
    match rest {
        Some([]) => Ok(()),
        Some(rest) => session.upload(path, rest, true).await,
        None => Err(Error::new(
            ErrorKind::Io,
            format!("the server has {there} bytes of a file of which {at} were written"),
        )
        .with("file", path)),
    }
}
