//! The binary on small real projects.

mod access;
mod builds;
mod checks;
mod commands;
mod contracts;
mod crashes;
mod docs;
mod hooks;
mod incremental;
mod loads;
mod microbatch;
mod mistakes;
mod sandbox;
mod snapshots;
mod statements;
mod unit_tests;
