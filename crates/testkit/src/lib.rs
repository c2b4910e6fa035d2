//! Doubles for tests.
//!
//! **Takes** nothing. **Gives** in-memory implementations of the contracts of
//! [`tidemill_core`], and a real PostgreSQL ([`PostgresServer`]) and MariaDB ([`MariaDbServer`]), an SFTP server ([`SshServer`]), FTP servers ([`FtpServer`]), a way to a server on which connections break ([`Cutter`]), and the drivers of databases that are there ([`odbc_driver`], [`adbc_driver`]). **Promises** to keep the contract's
//! meaning, in the simplest way that can be read at a glance; nothing here is for use outside of tests.
//!
//! ```
//! use tidemill_testkit::MemoryStore;
//!
//! let store = MemoryStore::new();
//! assert!(store.rows(&tidemill_core::RelationName::new("shop", "orders")).is_none());
//! ```

mod client;
mod cutter;
mod drivers;
mod ftp;
mod mariadb;
mod memory_store;
mod postgres;
mod ssh;

pub use cutter::Cutter;
pub use drivers::{adbc_driver, odbc_driver};
pub use ftp::FtpServer;
pub use mariadb::MariaDbServer;
pub use memory_store::MemoryStore;
pub use postgres::PostgresServer;
pub use ssh::SshServer;
