//! The lake from the outside.

mod support;
mod tables;
