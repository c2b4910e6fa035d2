//! The lake from the outside.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests stand for the engine, which builds the sessions"
)]

mod copies;
mod files;
mod interop;
mod kill;
mod model;
mod oracle;
mod spans;
mod support;
mod tables;
mod upkeep;
mod writers;
