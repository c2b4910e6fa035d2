//! What a read of files delivers.

mod csv;
mod exactly_once;
mod json;
mod parquet;
mod property;
mod reading;
