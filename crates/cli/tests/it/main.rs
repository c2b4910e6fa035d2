//! The binary on small real projects.

mod access;
mod adapter;
mod builds;
mod checks;
mod commands;
mod connections;
mod contracts;
mod crashes;
mod dialects;
mod docs;
mod flags;
mod freshness;
mod hooks;
mod incremental;
mod loads;
mod microbatch;
mod mistakes;
mod packages_of_others;
mod postgres;
mod python_models;
mod sandbox;
mod snapshots;
mod state;
mod statements;
mod unit_tests;
