//! ADBC: databases through drivers that give rows as Arrow.
//!
//! A driver is a library of its own; it is found by its path, or by a name that a manifest has
//! ([`Driver::load`]).

mod abi;
mod arrow;
mod driver;
mod find;

pub use driver::{Canceller, Connection, Driver, Rows};
