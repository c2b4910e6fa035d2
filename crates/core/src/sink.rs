//! Writing to an external system: one contract for databases and files.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::{BatchStream, Cancellation, RelationName, Result, RunId};

/// What happens to what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The rows take the place of all that is there.
    Full,
    /// Rows whose key is not there yet are added; the others stay as they are. Without a key all rows
    /// of each state are added.
    Append {
        /// The columns that tell rows apart, if any do.
        key: Vec<String>,
    },
    /// Rows take the place of those with their key, others are added.
    Merge {
        /// The columns that tell rows apart.
        key: Vec<String>,
        /// Rows that are there and do not come go.
        deletes: bool,
    },
}

impl DeliveryMode {
    /// What a record of a delivery says of it: another mode is another delivery.
    pub fn record(&self) -> String {
        match self {
            DeliveryMode::Full => "full".to_owned(),
            DeliveryMode::Append { key } if key.is_empty() => "append".to_owned(),
            DeliveryMode::Append { key } => format!("append by {}", key.join(", ")),
            DeliveryMode::Merge { key, deletes: false } => format!("merge by {}", key.join(", ")),
            DeliveryMode::Merge { key, .. } => format!("merge and delete by {}", key.join(", ")),
        }
    }

    /// The columns that tell rows apart; none for [`DeliveryMode::Full`].
    pub fn key(&self) -> &[String] {
        match self {
            DeliveryMode::Full => &[],
            DeliveryMode::Append { key } | DeliveryMode::Merge { key, .. } => key,
        }
    }
}

/// What happens when the rows have a column that the table over there does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewColumns {
    /// The delivery fails and names it; nothing is changed.
    #[default]
    Refuse,
    /// It is added, NULL in rows that do not come. No other column is changed by that.
    Add,
}

/// One state of a relation, on its way to a table of another system.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What the project calls it: deliveries of one name come one after the other.
    pub export: String,
    /// Where to in the other system, as the export says it: the table or the path, and settings of
    /// the kind of system.
    pub to: Map<String, Value>,
    /// What happens to what is there.
    pub mode: DeliveryMode,
    /// What happens to columns that the table does not have.
    pub new_columns: NewColumns,
    /// The relation.
    pub relation: RelationName,
    /// Names its state: two states with one name have the same rows.
    pub state: String,
    /// Deliver it although it was delivered before.
    pub again: bool,
    /// The run.
    pub run: RunId,
    /// Stops the delivery.
    pub cancel: Cancellation,
}

/// What a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// This state was delivered before: nothing was done.
    pub nothing_new: bool,
    /// Rows that came.
    pub rows: u64,
    /// Rows that were added.
    pub inserted: u64,
    /// Rows that took the place of another.
    pub updated: u64,
    /// Rows that went.
    pub deleted: u64,
}

/// An external system that rows can be written to.
///
/// Delivery: exactly once. The rows and the record of the delivery are committed together over there;
/// a delivery whose end is not known is made again, and finds the record or nothing.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether this state was delivered in this way. Nothing is changed.
    ///
    /// # Errors
    /// Of the system, and kind `Config` when `to` of the delivery is not what the system takes.
    async fn is_delivered(&self, delivery: &Delivery) -> Result<bool>;

    /// Delivers the rows. Readers over there see all of them or none.
    ///
    /// # Errors
    /// Of the system and of the stream; nothing was changed then, unless the error is of kind
    /// `Unknown`: the end of the delivery could not be read. To make it again is safe, too.
    async fn deliver(&self, delivery: &Delivery, rows: BatchStream) -> Result<Delivered>;
}
