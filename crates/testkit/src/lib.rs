//! Doubles for tests.
//!
//! **Takes** nothing. **Gives** in-memory implementations of the contracts of
//! [`tidemill_core`], a real PostgreSQL ([`PostgresServer`]), MariaDB ([`MariaDbServer`]), a stand-in for MongoDB ([`MongoServer`]), Redis ([`RedisServer`]), RabbitMQ ([`RabbitMqServer`]), MQTT broker
//! ([`MqttServer`]) servers of queues ([`QueueServer`]), of Flight SQL ([`FlightServer`]), SFTP ([`SshServer`]) and FTP ([`FtpServer`]), a way to a server on which connections break ([`Cutter`]), and the drivers of databases that are there ([`odbc_driver`], [`adbc_driver`]). **Promises** to keep the contract's
//! meaning, in the simplest way that can be read at a glance; nothing here is for use outside of tests.
//!
//! ```
//! use tidemill_testkit::MemoryStore;
//!
//! let store = MemoryStore::new();
//! assert!(store.rows(&tidemill_core::RelationName::new("shop", "orders")).is_none());
//! ```

mod brokers;
mod client;
mod cutter;
mod drivers;
mod flight;
mod ftp;
mod mariadb;
mod memory_store;
mod mongo;
mod postgres;
mod queues;
mod ssh;

pub use brokers::{MqttServer, RabbitMqServer, RedisServer};
pub use cutter::Cutter;
pub use drivers::{adbc_driver, odbc_driver};
pub use flight::FlightServer;
pub use ftp::FtpServer;
pub use mariadb::MariaDbServer;
pub use memory_store::MemoryStore;
pub use mongo::{MongoServer, MongoState};
pub use mongodb::bson;
pub use postgres::PostgresServer;
pub use queues::{QueueServer, free_port, queue_python};
pub use ssh::SshServer;
