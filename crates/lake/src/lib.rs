//! The lake: Delta tables and views with one published state.
//!
//! **Takes** rows as Arrow batches and says how they meet what is there. **Gives** tables that
//! readers see whole: as a snapshot of the whole lake, now or as of an earlier entry, time or run,
//! as DataFusion table providers, and row by row by a key. **Promises**: nothing is visible before it is published, a
//! publish is visible as a whole or not at all, whatever happens to the process and to the machine;
//! what was acknowledged survives a power cut; other engines read every table as plain Delta Lake.
//! On failure nothing published changes, and what was staged is deleted by the caller's `discard` or
//! by the next maintenance.
//!
//! ```
//! # use std::sync::Arc;
//! # use arrow::array::{Int64Array, RecordBatch};
//! # use tidemill_core::*;
//! # use tidemill_lake::{Lake, LakeOptions};
//! # #[tokio::main] async fn main() -> Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let batch = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap();
//! let lake = Lake::open(folder.path().to_str().unwrap(), LakeOptions::new(Default::default())).await?;
//! let orders = RelationName::new("shop", "orders");
//! let staged = lake.stage(StageRequest {
//!     relation: orders.clone(), mode: WriteMode::Append, partition_by: None,
//!     rows: BatchStream::from_batches(batch.schema(), vec![batch]),
//!     base: lake.snapshot(At::Now).await?, comments: vec![], observers: vec![], run: "r1".into(),
//! }).await?;
//! lake.publish(vec![PublishChange::Table(Arc::new(staged), PublishMeta::default())], &"r1".into()).await?;
//! assert_eq!(lake.snapshot(At::Now).await?.get(&orders).unwrap().rows, Some(2));
//! # Ok(()) }
//! ```

mod catalog;
mod delta;
mod failpoint;
mod foreign;
mod lake;
mod local;
mod maintain;
mod provider;
mod publish;
mod reader;
mod scan;
mod stage;
mod storage;
mod travel;

pub use failpoint::FAILPOINTS;
pub use lake::{Lake, LakeOptions};
pub use local::SyncCounts;
pub use provider::EXTENSION_TYPE;
pub use stage::Compression;
pub use travel::{Difference, EntrySummary, HistoryEntry, Orphan, Repair};

/// Now, in microseconds since 1970.
fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Now, in milliseconds since 1970.
fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
