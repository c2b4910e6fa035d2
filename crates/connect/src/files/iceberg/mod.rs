//! Iceberg tables of others as sources, by the specification (versions 1 to 3).
//!
//! The position is the table's snapshot. A first load reads the files that the snapshot has; the next one
//! the files that were added since, in `append` and `merge`. What is only rewritten (`replace`) is not
//! read again. Rows that were changed or deleted make an `append` stop with a sentence; `merge` takes
//! the new rows, and `full` the table as it is: the same as of a Delta table.
//!
//! Columns are found by the numbers of their fields, so that a file has them whatever they were called
//! when it was written (`project.rs`); deleted rows are left out by their places and by their values
//! (`deletes.rs`, `vector.rs`, `keys.rs`).

mod catalog;
mod connector;
mod deletes;
mod file;
mod keys;
mod literal;
mod manifest;
mod metadata;
mod place;
mod project;
mod read;
mod schema;
mod vector;

pub use connector::{IcebergConfig, IcebergConnector};
pub(crate) use file::IcebergFile;
pub(crate) use metadata::Which;
pub(super) use place::is_metadata;
pub(crate) use read::run;

use serde::{Deserialize, Serialize};

/// Up to where a table was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IcebergPosition {
    /// Which table, whatever stands at its place.
    table: String,
    /// None of a table that had no rows yet.
    snapshot: Option<i64>,
}
