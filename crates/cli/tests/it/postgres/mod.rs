//! Models that run inside of a PostgreSQL, loads from one, and exports to one: the same commands on a real server. Expected relations,
//! rows and verdicts are those of dbt-core 1.11 with dbt-postgres 1.11, unless a test says otherwise.

mod change_table;
mod changes;
mod commands;
mod exports;
mod guarantees;
mod loads;
mod materializations;
mod server;
mod slots;
