//! What reads deliver.

mod behaviour;
mod csv;
mod delivery;
mod exactly_once;
mod json;
mod mysql;
mod parquet;
mod postgres;
mod property;
mod reading;
mod singer;
mod sqlite;
