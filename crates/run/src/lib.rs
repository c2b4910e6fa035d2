//! The one executor: it does what `plan` decides.
//!
//! **Takes** [`tidemill_plan::Work`] (nodes, checks, graph), the [`Doers`] (engine, store, renderer,
//! loader, listener) and [`RunOptions`]. **Gives** a [`RunSummary`]. **Promises**: a node runs as
//! soon as what it reads is published; nothing whose error-severity check fails is published, and
//! the last good version stays; a failure skips what depends on it and nothing else; cancelling
//! leaves nothing half-done; publishes that are ready together share one catalog entry.
//!
//! ```no_run
//! # async fn example(work: tidemill_plan::Work, doers: tidemill_run::Doers) -> tidemill_core::Result<()> {
//! use tidemill_core::{Cancellation, RunId};
//! use tidemill_run::{RunOptions, execute};
//!
//! let summary = execute(work, doers, RunOptions::new(RunId::new("r1"), 4), Cancellation::new()).await?;
//! println!("{} nodes, failed: {}", summary.nodes.len(), summary.failed());
//! # Ok(())
//! # }
//! ```

mod by_file;
mod by_macro;
mod checks;
mod context;
mod contract;
mod database;
mod executor;
mod hooks;
mod materialized_view;
mod microbatch;
mod model;
mod options;
mod ports;
mod predicates;
mod program;
mod publisher;
mod rows;
mod snapshot;
mod statements;
mod stopwatch;
mod unit;
mod unit_test;

pub use contract::{Contracted, Rule, RuleKind};
pub use database::{
    DatabaseBuild, DatabaseCheck, DatabaseDoers, DatabaseRenderer, DatabaseRequest,
    DatabaseUnitTest, Gate, SeedRows, execute_in_database,
};
pub use executor::execute;
pub use options::{CheckOutcome, PublishMode, RunOptions, RunSummary};
pub use ports::{
    Doers, HookTime, LoadRequest, Loaded, Loader, NoPrograms, Program, ProgramOutput, Programs,
    RenderRequest, Rendered, Renderer, UnitTestCase,
};
pub use statements::{PublishListener, StatementSession, WriteLocks, split_statements};
