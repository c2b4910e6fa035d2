//! What reads deliver.

mod csv;
mod exactly_once;
mod json;
mod parquet;
mod property;
mod reading;
mod singer;
mod sqlite;
