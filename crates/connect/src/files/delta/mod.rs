//! Delta tables of others as sources.
//!
//! The position is the table's version. A first load reads the files that the version has; the next one
//! the files that were added since, in `append` and `merge`. What is only rewritten (`OPTIMIZE`) is
//! not read again. Rows that were changed or deleted make an `append` stop with a sentence, as it
//! could not tell what became of them; `merge` takes the new rows, and `full` the table as it is.

mod log;
mod read;
mod schema;

pub(crate) use read::{DeltaFile, run};
pub(super) use schema::types_of;

use serde::{Deserialize, Serialize};

/// Up to where a table was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeltaPosition {
    /// Which table, whatever stands at its place.
    id: String,
    version: u64,
}
