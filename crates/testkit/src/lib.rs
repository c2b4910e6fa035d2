//! Doubles for tests.
//!
//! **Takes** nothing. **Gives** in-memory implementations of the contracts of
//! [`tidemill_core`], a real PostgreSQL ([`PostgresServer`]), MariaDB ([`MariaDbServer`]), Redis ([`RedisServer`]), RabbitMQ ([`RabbitMqServer`]), MQTT broker
//! ([`MqttServer`]) and servers of queues ([`QueueServer`]), and the drivers of databases that are there ([`odbc_driver`], [`adbc_driver`]). **Promises** to keep the contract's
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
mod drivers;
mod mariadb;
mod memory_store;
mod postgres;
mod queues;

pub use brokers::{MqttServer, RabbitMqServer, RedisServer};
pub use drivers::{adbc_driver, odbc_driver};
pub use mariadb::MariaDbServer;
pub use memory_store::MemoryStore;
pub use postgres::PostgresServer;
pub use queues::{QueueServer, free_port, queue_python};
