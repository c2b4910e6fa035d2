//! A file is read as one stream, as the protocol has it: parts that are asked for in their order, some ahead,
//! come from one download, and only a jump begins another.

use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;
use tidemill_core::{ErrorKind, Result};
use tokio::sync::{Mutex, Notify};

use super::super::pool::Lease;
use super::super::{Look, changed};
use super::session::{Download, Session};

/// A download that stands somewhere in a file.
struct Reading {
    path: String,
    at: u64,
    stream: Download,
    lease: Lease<Session>,
}

/// The download that is open, if one is.
#[derive(Default)]
pub(super) struct Slot {
    reading: Mutex<Option<Reading>>,
    moved: Notify,
}

/// How far ahead parts are asked for.
const AHEAD: u64 = 32 << 20;

/// How long the parts before are waited for.
const TURN: Duration = Duration::from_secs(2);

impl Slot {
    /// Ends a download. Its connection is kept.
    pub(super) async fn clear(&self) {
        if let Some(Reading { stream, lease, .. }) = self.reading.lock().await.take() {
            // The next request takes the server's word on it.
            drop(stream);
            lease.keep();
        }
    }

    /// Adds a part of a file, as far as the file goes. `lease` gives a connection where a download has to
    /// be begun.
    pub(super) async fn read<F: Future<Output = Result<Lease<Session>>>>(
        &self,
        path: &str,
        from: u64,
        length: u64,
        expected: &Look,
        into: &mut BytesMut,
        lease: impl FnOnce() -> F,
    ) -> Result<()> {
        let mut slot = self.turn(path, from).await;
        let fits = slot.as_ref().is_some_and(|open| open.path == path && open.at == from);
        let mut open = match slot.take() {
            Some(open) if fits => open,
            other => {
                let mut lease = match other {
                    Some(Reading { stream, lease, .. }) => {
                        drop(stream);
                        lease
                    }
                    None => lease().await?,
                };
                let now = lease.look(path).await?;
                if now.as_ref() != Some(expected) {
                    lease.keep();
                    return Err(changed(path));
                }
                let stream = lease.download(path, from).await?;
                Reading { path: path.to_owned(), at: from, stream, lease }
            }
        };
        let before = into.len();
        let received = open.lease.receive(path, &mut open.stream, length, into).await;
        open.at += (into.len() - before) as u64;
        let received = received?;
        if received < length || open.at >= expected.size {
            let Reading { stream, mut lease, .. } = open;
            let ended = lease.ended(path, stream).await;
            if received == length {
                ended?;
            }
            let now = lease.look(path).await?;
            lease.keep();
            if now.as_ref() != Some(expected) {
                return Err(changed(path));
            }
            if received < length {
                // It looks the same, so that it was the connection that ended.
                return Err(tidemill_core::Error::new(
                    ErrorKind::Unavailable,
                    "the server ended the file early",
                )
                .with("file", path));
            }
        } else {
            *slot = Some(open);
        }
        drop(slot);
        self.moved.notify_waiters();
        Ok(())
    }

    /// Waits until the parts before were read, should somebody do that.
    async fn turn(&self, path: &str, from: u64) -> tokio::sync::MutexGuard<'_, Option<Reading>> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let slot = self.reading.lock().await;
            let comes = slot
                .as_ref()
                .is_some_and(|open| open.path == path && open.at < from && from - open.at <= AHEAD);
            if !comes {
                return slot;
            }
            drop(slot);
            if tokio::time::timeout(TURN, moved).await.is_err() {
                return self.reading.lock().await;
            }
        }
    }
}
