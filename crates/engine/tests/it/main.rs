//! The engine as its callers see it.

mod lake;
mod memory;
mod queries;
mod slt;
mod support;
