//! Models that run inside of a PostgreSQL: the same commands on a real server. Expected relations,
//! rows and verdicts are those of dbt-core 1.11 with dbt-postgres 1.11, unless a test says otherwise.

mod commands;
mod guarantees;
mod materializations;
mod server;
