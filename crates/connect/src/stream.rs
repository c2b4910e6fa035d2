//! The stream of a read whose work is done by a task of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures::stream::BoxStream;
use tidemill_core::{Change, ChangeStream, Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How many changes may wait for the one who listens. Each may be a batch of some megabytes.
const WAITING_CHANGES: usize = 1;

/// What the task sends, and an error if it panics: that must not look like the end. The task ends by
/// itself when the stream is dropped, as it can send no more.
fn of_task(mut receiver: mpsc::Receiver<Result<Change>>, task: JoinHandle<()>) -> ChangeStream {
    let mut task = Some(task);
    Box::pin(futures::stream::poll_fn(move |context| {
        match receiver.poll_recv(context) {
            Poll::Ready(None) => {}
            other => return other,
        }
        let Some(running) = &mut task else { return Poll::Ready(None) };
        match Pin::new(running).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => {
                task = None;
                Poll::Ready(ended.err().map(|error| {
                    Err(Error::new(ErrorKind::Internal, "the reader failed").because(error))
                }))
            }
        }
    }))
}

/// Runs `work` as a task; what it gives to the sink is the stream, and so is its error.
pub(crate) fn of_work<F>(work: impl FnOnce(Sink) -> F) -> ChangeStream
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING_CHANGES);
    let work = work(Sink(sender.clone()));
    let task = tokio::spawn(async move {
        if let Err(error) = work.await {
            // Who listens no more needs no error.
            let _ = sender.send(Err(error)).await;
        }
    });
    of_task(receiver, task)
}

/// Runs blocking work beside the runtime; what it gives to the function is the stream, and so is its error.
pub(crate) fn of_blocking(
    work: impl FnOnce(&mut dyn FnMut(Change) -> Result<()>) -> Result<()> + Send + 'static,
) -> ChangeStream {
    let (sender, receiver) = mpsc::channel(WAITING_CHANGES);
    let task = tokio::task::spawn_blocking(move || {
        let mut emit = |change: Change| {
            sender
                .blocking_send(Ok(change))
                .map_err(|_| Error::new(ErrorKind::Cancelled, "nobody reads any more"))
        };
        if let Err(error) = work(&mut emit) {
            // Who listens no more needs no error.
            let _ = sender.blocking_send(Err(error));
        }
    });
    of_task(receiver, task)
}

/// Where a task puts its changes.
pub(crate) struct Sink(mpsc::Sender<Result<Change>>);

impl Sink {
    /// # Errors
    /// Kind `Cancelled` when nobody listens any more.
    pub(crate) async fn send(&self, change: Change) -> Result<()> {
        self.0
            .send(Ok(change))
            .await
            .map_err(|_| Error::new(ErrorKind::Cancelled, "nobody reads any more"))
    }
}

/// Runs blocking work beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Internal, "the reader failed").because(error)),
    }
}

/// What work beside the stream sends, which goes on while its parts are waited for; its error is the end.
pub(crate) fn of_parts<'a, T: Send + 'a>(
    work: impl Future<Output = Result<()>> + Send + 'a,
    mut receiver: mpsc::Receiver<T>,
) -> BoxStream<'a, Result<T>> {
    let mut running = Some(Box::pin(work));
    Box::pin(futures::stream::poll_fn(move |context| {
        let ended = match &mut running {
            Some(work) => match work.as_mut().poll(context) {
                Poll::Pending => None,
                Poll::Ready(result) => Some(result),
            },
            None => Some(Ok(())),
        };
        match receiver.poll_recv(context) {
            Poll::Ready(Some(part)) => {
                if let Some(result) = ended {
                    running = None;
                    // Sent before it failed: the rows are worth nothing then.
                    if let Err(error) = result {
                        receiver.close();
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Poll::Ready(Some(Ok(part)))
            }
            Poll::Ready(None) => match ended {
                Some(result) => {
                    running = None;
                    Poll::Ready(result.err().map(Err))
                }
                None => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }))
}
