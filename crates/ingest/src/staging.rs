//! A stage that is fed batch by batch.

use std::future::Future;
use std::pin::Pin;

use arrow::array::RecordBatch;
use tidemill_core::{Error, ErrorKind, Result, StageRequest, Staged, TableStore};
use tokio::sync::mpsc;

/// How many batches wait for the writer.
const WAITING: usize = 1;

/// A stage under way. It only gets on while somebody waits for [`Staging::send`],
/// [`Staging::failed`] or [`Staging::finish`].
pub(crate) struct Staging<'a> {
    sender: mpsc::Sender<Result<RecordBatch>>,
    task: Pin<Box<dyn Future<Output = Result<Staged>> + Send + 'a>>,
}

impl<'a> Staging<'a> {
    /// Begins a stage; `request` makes it from the receiver's stream.
    pub(crate) fn begin(
        store: &'a dyn TableStore,
        request: impl FnOnce(mpsc::Receiver<Result<RecordBatch>>) -> StageRequest,
    ) -> Staging<'a> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let request = request(receiver);
        Staging { sender, task: Box::pin(store.stage(request)) }
    }

    /// Hands a batch to the writer.
    pub(crate) async fn send(&mut self, batch: Result<RecordBatch>) -> Result<()> {
        tokio::select! {
            biased;
            permit = self.sender.reserve() => match permit {
                Ok(permit) => {
                    permit.send(batch);
                    Ok(())
                }
                // The writer dropped the stream: it has failed, and says why.
                Err(_) => Err(ended((&mut self.task).await)),
            },
            result = &mut self.task => Err(ended(result)),
        }
    }

    /// Waits until the stage fails; meanwhile the writer works.
    pub(crate) async fn failed(&mut self) -> Error {
        ended((&mut self.task).await)
    }

    /// No more batches.
    pub(crate) async fn finish(self) -> Result<Staged> {
        drop(self.sender);
        self.task.await
    }

    /// Gives the stage up; the store removes what it wrote.
    pub(crate) async fn abandon(mut self, store: &dyn TableStore) {
        let reason = Error::new(ErrorKind::Cancelled, "the load begins again");
        if self.send(Err(reason)).await.is_err() {
            return;
        }
        drop(self.sender);
        if let Ok(staged) = self.task.await
            && let Err(error) = store.discard(&staged).await
        {
            tracing::warn!(%error, "a stage that was given up could not be discarded");
        }
    }
}

fn ended(result: Result<Staged>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => Error::new(ErrorKind::Internal, "the store ended a stage before its rows did"),
    }
}
