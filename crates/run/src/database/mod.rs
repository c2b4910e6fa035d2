//! Running nodes inside of a database that runs SQL itself.
//!
//! The database materializes: the SQL of every step comes from macros, as in dbt, so that what a
//! project overrides is honoured. This executor keeps the order, the transactions and the checks.
//!
//! **Transactions.** A node has a session of its own. Its checks that read nothing else of this run
//! that could still change (itself, what is upstream of it, what others made) run in that session
//! before it commits: on the candidate that is about to take the relation's place, or, where rows
//! are changed in place, on the changed relation, which nobody else sees yet. If an error-severity
//! check fails, the session is rolled back: the relation stays what it was, and what depends on it is
//! skipped. A check that reads several relations of the run, none of which is upstream of the others,
//! runs when all of them are committed; if it fails, what is downstream of all of them is skipped.
//!
//! **Nothing is reused.** What a database holds can change behind our back at any time, so that there
//! is no data version to compare; every selected node is built.

mod build;
mod checks;
mod executor;
mod ports;

pub use executor::execute_in_database;
pub use ports::{
    DatabaseBuild, DatabaseCheck, DatabaseDoers, DatabaseRenderer, DatabaseRequest,
    DatabaseUnitTest, Gate, SeedRows,
};
