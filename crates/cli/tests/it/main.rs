//! The binary on small real projects.

mod builds;
mod checks;
mod commands;
mod crashes;
mod docs;
mod incremental;
mod loads;
mod mistakes;
mod sandbox;
mod snapshots;
mod unit_tests;
