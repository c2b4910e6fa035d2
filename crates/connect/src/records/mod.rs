//! Records that are fetched to disk before they are rows: those of REST APIs and of MongoDB.
//!
//! They go to a compressed file as JSON, one a line, with every digit that was sent, and are read from
//! there as NDJSON files are. So types, nested values and rejected rows are those of files.

mod raw;
mod read;
mod spool;

pub(crate) use raw::{Document, Raw, records};
pub(crate) use read::{Found, Plan};
pub(crate) use spool::{Kind, Spool, Spooled, of_parents, rows};
