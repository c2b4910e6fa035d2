//! Doubles for tests.
//!
//! **Takes** nothing. **Gives** in-memory implementations of the contracts of
//! [`tidemill_core`], and a real PostgreSQL ([`PostgresServer`]) and MariaDB ([`MariaDbServer`]). **Promises** to keep the contract's
//! meaning, in the simplest way that can be read at a glance; nothing here is for use outside of tests.
//!
//! ```
//! use tidemill_testkit::MemoryStore;
//!
//! let store = MemoryStore::new();
//! assert!(store.rows(&tidemill_core::RelationName::new("shop", "orders")).is_none());
//! ```

mod client;
mod mariadb;
mod memory_store;
mod postgres;

pub use mariadb::MariaDbServer;
pub use memory_store::MemoryStore;
pub use postgres::PostgresServer;
