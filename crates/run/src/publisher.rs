//! Publishes of many nodes that are ready together share one catalog entry.

use std::sync::{Arc, RwLock};

use tidemill_core::{
    Error, ErrorKind, PublishChange, Published, Result, RunId, Snapshot, TableStore,
};
use tokio::sync::{mpsc, oneshot};

/// Takes changes from many tasks and publishes what has come in as one entry, while what comes in
/// meanwhile waits for the next.
pub(crate) struct Publisher {
    sender: mpsc::Sender<Request>,
    snapshot: Arc<RwLock<Snapshot>>,
}

struct Request {
    changes: Vec<PublishChange>,
    reply: oneshot::Sender<Result<Published>>,
}

/// More changes than this are not put into one entry, so that one entry stays small enough to be
/// read quickly.
const MOST_CHANGES: usize = 1_000;

impl Publisher {
    /// Starts the task. It ends when the publisher is dropped and its last request is answered.
    pub(crate) fn start(
        store: Arc<dyn TableStore>,
        run: RunId,
        snapshot: Snapshot,
    ) -> (Publisher, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(256);
        let snapshot = Arc::new(RwLock::new(snapshot));
        let task = tokio::spawn(serve(store, run, snapshot.clone(), receiver));
        (Publisher { sender, snapshot }, task)
    }

    /// The state after the last publish that this process knows of.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match self.snapshot.read() {
            Ok(snapshot) => snapshot.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Takes a newer state that somebody else published.
    pub(crate) fn remember(&self, snapshot: &Snapshot) {
        keep_newer(&self.snapshot, snapshot);
    }

    /// Publishes these changes together, in one entry with whatever else is ready.
    pub(crate) async fn publish(&self, changes: Vec<PublishChange>) -> Result<Published> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| Error::new(ErrorKind::Internal, "the publisher has ended");
        self.sender.send(Request { changes, reply }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

fn keep_newer(held: &RwLock<Snapshot>, snapshot: &Snapshot) {
    let mut held = held.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    if snapshot.entry > held.entry {
        *held = snapshot.clone();
    }
}

async fn serve(
    store: Arc<dyn TableStore>,
    run: RunId,
    snapshot: Arc<RwLock<Snapshot>>,
    mut receiver: mpsc::Receiver<Request>,
) {
    let remember = |published: &Published| keep_newer(&snapshot, &published.snapshot);
    while let Some(first) = receiver.recv().await {
        let mut requests = vec![first];
        let mut count = requests[0].changes.len();
        while count < MOST_CHANGES
            && let Ok(request) = receiver.try_recv()
        {
            count += request.changes.len();
            requests.push(request);
        }
        let changes = requests.iter().flat_map(|request| request.changes.iter().cloned()).collect();
        match store.publish(changes, &run).await {
            Ok(published) => {
                remember(&published);
                for request in requests {
                    // A node that was cancelled meanwhile does not listen any more.
                    let _ = request.reply.send(Ok(published.clone()));
                }
            }
            // Nothing is known: everybody must hear it, nobody may try again.
            Err(error) if requests.len() == 1 || error.kind() == ErrorKind::Unknown => {
                let text = error.report();
                let mut first = Some(error);
                for request in requests {
                    let error = first.take().unwrap_or_else(|| {
                        Error::new(ErrorKind::Unknown, format!("published together with: {text}"))
                    });
                    let _ = request.reply.send(Err(error));
                }
            }
            // One of them is in the way of the others: each alone.
            Err(_) => {
                for request in requests {
                    let result = store.publish(request.changes, &run).await;
                    if let Ok(published) = &result {
                        remember(published);
                    }
                    let _ = request.reply.send(result);
                }
            }
        }
    }
}

impl crate::executor::Shared {
    /// Publishes for a task of the run.
    pub(crate) async fn publish(&self, changes: Vec<PublishChange>) -> Result<Published> {
        self.publisher().publish(changes).await
    }
}
