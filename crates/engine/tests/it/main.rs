//! The engine as its callers see it.

mod dialects;
mod lake;
mod memory;
mod queries;
mod slt;
mod support;
