//! A stage that is fed batch by batch.

use std::future::Future;
use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tidemill_core::{
    BatchStream, Cancellation, Change, ChangeStream, Error, ErrorKind, Result, StageRequest,
    Staged, TableStore,
};
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
    /// Begins a stage of rows with these columns; `request` makes it from their stream.
    pub(crate) fn begin(
        store: &'a dyn TableStore,
        schema: SchemaRef,
        request: impl FnOnce(BatchStream) -> StageRequest,
    ) -> Staging<'a> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let batches = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        let request = request(BatchStream::new(schema, batches));
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
    async fn failed(&mut self) -> Error {
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

/// The next change of a read, while two stages work.
///
/// # Errors
/// Of the source and of the stages; kind `Cancelled`.
pub(crate) async fn next_change(
    changes: &mut ChangeStream,
    cancel: &Cancellation,
    one: &mut Option<Staging<'_>>,
    other: &mut Option<Staging<'_>>,
) -> Result<Option<Change>> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        change = changes.next() => change.transpose(),
        error = failed(one) => Err(error),
        error = failed(other) => Err(error),
    }
}

/// Lets a stage work; ends only when it fails.
async fn failed(stage: &mut Option<Staging<'_>>) -> Error {
    match stage {
        Some(stage) => stage.failed().await,
        None => std::future::pending().await,
    }
}

fn ended(result: Result<Staged>) -> Error {
    match result {
        Err(error) => error,
        Ok(_) => Error::new(ErrorKind::Internal, "the store ended a stage before its rows did"),
    }
}
