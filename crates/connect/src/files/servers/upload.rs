//! A file that is being written to a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload, PutResult, Result as StoreResult, UploadPart};
use tidemill_core::{Error, ErrorKind, Result};
use tokio::sync::watch;

use super::tree::told;
use super::{FileServer, repeated};

/// A file under a name of its own, which becomes another when it is whole. Its parts are written in their
/// order, each again where a connection breaks.
pub(super) struct Upload {
    server: Arc<dyn FileServer>,
    temporary: Arc<str>,
    target: String,
    /// How much was given to it.
    size: u64,
    /// How much of it is there; none when that failed.
    written: watch::Sender<Option<u64>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn new(server: Arc<dyn FileServer>, temporary: String, target: String) -> Upload {
        let written = watch::channel(Some(0)).0;
        Upload { server, temporary: temporary.into(), target, size: 0, written }
    }

    async fn finish(&self) -> Result<()> {
        let (server, temporary) = (&self.server, &*self.temporary);
        if *self.written.borrow() != Some(self.size) {
            return Err(Error::new(ErrorKind::Io, "a part of the file was not written"));
        }
        repeated(|| server.sync(temporary)).await?;
        let look = repeated(|| server.look(temporary)).await?;
        let there = look.map(|look| look.size);
        if there != Some(self.size) {
            let message = format!(
                "the server has {} of the {} bytes that were written",
                there.unwrap_or_default(),
                self.size
            );
            return Err(Error::new(ErrorKind::Io, message).with("file", &self.target));
        }
        let tries = AtomicU32::new(0);
        let replace = || async {
            let again = tries.fetch_add(1, Ordering::Relaxed) > 0;
            match server.replace(temporary, &self.target).await {
                // Nobody else knows the name: it was done, and the answer was lost.
                Err(error) if again && error.kind() == ErrorKind::NotFound => {
                    let there = server.look(&self.target).await?.map(|look| look.size);
                    if there == Some(self.size) { Ok(()) } else { Err(error) }
                }
                replaced => replaced,
            }
        };
        repeated(replace).await
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (server, temporary) = (self.server.clone(), self.temporary.clone());
        let (target, written) = (self.target.clone(), self.written.clone());
        let at = self.size;
        self.size += data.content_length() as u64;
        Box::pin(async move {
            let failed = |error| told(error, &target);
            // Its turn comes when all before it are there.
            let mut turn = written.subscribe();
            let is_turn = {
                let before = turn.wait_for(|there| there.is_none_or(|there| there == at)).await;
                matches!(before.as_deref(), Ok(Some(_)))
            };
            if !is_turn {
                let error =
                    Error::new(ErrorKind::Io, "an earlier part of the file was not written");
                return Err(failed(error));
            }
            let bytes = Bytes::from(data);
            let put = repeated(|| server.write(&temporary, at, &bytes)).await;
            written.send_replace(put.is_ok().then_some(at + bytes.len() as u64));
            put.map_err(failed)
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        self.finish().await.map_err(|error| told(error, &self.target))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> StoreResult<()> {
        match repeated(|| self.server.remove(&self.temporary)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(told(error, &self.target)),
            _ => Ok(()),
        }
    }
}
