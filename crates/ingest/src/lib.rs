//! The load: from a source to staged data.
//!
//! **Takes** a [`Source`](tidemill_core::Source), the settings of a table and the store (which, where a log of
//! changes leaves values out, is asked for published rows by their key). **Gives**
//! staged tables (the rows, and those that could not be read in `<table>__rejected`) and the
//! position that they stand for. **Promises** that nothing is visible until the caller publishes
//! staged data and position in one entry, and that after an error nothing is left to publish:
//! the next load starts from the position that is published. ([`changes::append`] publishes itself.)
//!
//! ```
//! use tidemill_core::ReadScope;
//! use tidemill_ingest::{LoadMode, LoadSettings};
//!
//! let written = serde_json::json!({"location": "data/*.csv", "mode": "append"});
//! let (settings, for_the_source) = LoadSettings::parse(&written, ReadScope::New)?;
//! assert_eq!(settings.mode, LoadMode::Append);
//! assert_eq!(for_the_source, serde_json::json!({"location": "data/*.csv"}));
//! # Ok::<(), tidemill_core::Error>(())
//! ```

mod backfill;
mod batch;
pub mod changes;
mod contract;
mod deletes;
mod keys;
mod load;
mod log;
mod rejects;
mod settings;
mod staging;

pub use backfill::{Backfill, backfill_id, backfilled, backfills_relation};
pub use batch::batch_id;
pub use load::{LoadSpec, Loaded, Merged, ObserverFactory, backfill, load, reject};
pub use rejects::rejected_relation;
pub use settings::{Deletes, LoadMode, LoadSettings, MaxRejects, Policy, SchemaContract};
