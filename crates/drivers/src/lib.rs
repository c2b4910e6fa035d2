//! Drivers of databases: libraries in C that are found when they are wanted.
//!
//! **Takes** the name of a library and what it is to connect to. **Gives** connections whose functions are
//! safe to call: those of the ODBC manager of the machine ([`odbc`]), and those of drivers of ADBC ([`adbc`]). **Promises** that the program builds
//! and starts without any of these libraries, that one that is missing is named together with every place where
//! it was looked for, and that no value that a driver gives is cut without a word.
//!
//! This is the one place that calls code in C by hand. What a driver does inside is its own: it runs in this
//! process, with all its rights.
//!
//! ```no_run
//! use tidemill_drivers::odbc::Manager;
//!
//! let manager = Manager::load(None)?;
//! let connection = manager.connect("Driver={SQLite3};Database=shop.db", 10)?;
//! assert_eq!(connection.texts("select 1")?, [[Some("1".to_owned())]]);
//! # Ok::<(), tidemill_core::Error>(())
//! ```

pub mod adbc;
mod library;
pub mod odbc;
