//! What reads deliver.

mod adbc;
mod archives;
mod avro;
mod behaviour;
mod blob;
mod csv;
mod delivery;
mod delta;
mod exactly_once;
mod excel;
mod fixed;
mod iceberg;
mod json;
mod mongo;
mod mongo_server;
mod mysql;
mod mysql_log;
mod odbc;
mod parquet;
mod postgres;
mod property;
mod reading;
mod singer;
mod sqlite;
mod xml;
