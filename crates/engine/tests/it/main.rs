//! The engine as its callers see it.

mod queries;
mod slt;
mod support;
