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
mod json;
mod mysql;
mod mysql_log;
mod odbc;
mod orc;
mod parquet;
mod postgres;
mod property;
mod reading;
mod sftp;
mod singer;
mod sqlite;
mod xml;
