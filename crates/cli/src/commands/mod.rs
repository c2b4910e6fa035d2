//! One file for each command.

pub(crate) mod build;
pub(crate) mod clean;
pub(crate) mod clone;
pub(crate) mod compile;
pub(crate) mod connection;
pub(crate) mod debug;
pub(crate) mod deps;
pub(crate) mod docs;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod follow;
pub(crate) mod freshness;
pub(crate) mod ingest_backfill;
pub(crate) mod ingest_init;
pub(crate) mod ingest_plan;
pub(crate) mod ingest_reject;
pub(crate) mod init;
pub(crate) mod lake;
pub(crate) mod ls;
pub(crate) mod plan;
pub(crate) mod retry;
pub(crate) mod run_operation;
pub(crate) mod show;
pub(crate) mod site;
pub(crate) mod sql;
pub(crate) mod watch;
