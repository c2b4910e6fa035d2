//! Messages that are read and not acknowledged yet.
//!
//! An acknowledgement is heard on the connection that delivered the message alone. So that stays open from
//! the end of the read until the rows are published, or until they are read again, or for a while.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tidemill_core::{Error, ErrorKind, Result};

use super::unsettled::{Acknowledged, Unsettled};

/// How long they are held. Servers take back what is not acknowledged for half an hour.
const HELD: Duration = Duration::from_secs(25 * 60);

/// A connection with messages that are not acknowledged.
#[async_trait]
pub(crate) trait InHand: Send + Sync {
    /// Acknowledges all of them, and returns when the server has heard it.
    async fn acknowledge(&self) -> Result<()>;

    /// Ends the connection. What is not acknowledged goes back.
    async fn end(self: Box<Self>);
}

/// Messages that wait.
struct Held {
    /// What tells the table from others.
    table: String,
    in_hand: Box<dyn InHand>,
    note: Acknowledged,
}

/// By their batch.
static WAITING: LazyLock<Mutex<HashMap<String, Held>>> = LazyLock::new(Mutex::default);

fn waiting() -> MutexGuard<'static, HashMap<String, Held>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the messages of a batch until they are acknowledged.
pub(crate) fn hold(batch: String, table: String, in_hand: Box<dyn InHand>, note: Acknowledged) {
    waiting().insert(batch.clone(), Held { table, in_hand, note });
    tokio::spawn(async move {
        tokio::time::sleep(HELD).await;
        let held = waiting().remove(&batch);
        if let Some(held) = held {
            tracing::warn!(table = held.table, "messages were not published for long and go back");
            held.in_hand.end().await;
        }
    });
}

/// Gives back what was read of a table and not published.
pub(crate) async fn release(table: &str) {
    let held: Vec<Held> = {
        let mut waiting = waiting();
        let of_table = waiting.iter().filter(|(_, held)| held.table == table);
        let batches: Vec<String> = of_table.map(|(batch, _)| batch.clone()).collect();
        batches.iter().filter_map(|batch| waiting.remove(batch)).collect()
    };
    for held in held {
        held.in_hand.end().await;
    }
}

/// Acknowledges the messages of the batch that the position was published with, if they are in hand. If not,
/// they come again, and are known then.
///
/// # Errors
/// Kind `Unavailable`, when the server did not hear it.
pub(crate) async fn acknowledge(position: &Value) -> Result<()> {
    let Some(batch) = Unsettled::last_id(position) else { return Ok(()) };
    let held = waiting().remove(batch);
    let Some(held) = held else { return Ok(()) };
    let told = held.in_hand.acknowledge().await;
    held.in_hand.end().await;
    match told {
        Ok(()) => {
            held.note.add(batch);
            Ok(())
        }
        Err(error) => Err(Error::new(
            ErrorKind::Unavailable,
            "the server did not hear that messages are published; they come again, and are left out then",
        )
        .because(error)),
    }
}
