//! ODBC: databases through the drivers that the machine has, by the manager that knows them.
//!
//! The manager (`libodbc`, of unixODBC) is loaded when the first connection is made. Texts go and come in
//! UTF-16, whatever the locale is.

mod connection;
mod functions;
mod handle;
mod manager;
mod rows;

pub use connection::{Canceller, Connection, Description, Listed, info};
pub use manager::Manager;
pub use rows::{Kind, Rows, Value};

/// Numbers of the types of columns (`SQL_…`).
pub mod types {
    #![allow(missing_docs)]
    pub const CHAR: i16 = 1;
    pub const NUMERIC: i16 = 2;
    pub const DECIMAL: i16 = 3;
    pub const INTEGER: i16 = 4;
    pub const SMALLINT: i16 = 5;
    pub const FLOAT: i16 = 6;
    pub const REAL: i16 = 7;
    pub const DOUBLE: i16 = 8;
    pub const VARCHAR: i16 = 12;
    pub const DATE: i16 = 91;
    pub const TIME: i16 = 92;
    pub const TIMESTAMP: i16 = 93;
    pub const LONGVARCHAR: i16 = -1;
    pub const BINARY: i16 = -2;
    pub const VARBINARY: i16 = -3;
    pub const LONGVARBINARY: i16 = -4;
    pub const BIGINT: i16 = -5;
    pub const TINYINT: i16 = -6;
    pub const BIT: i16 = -7;
    pub const WCHAR: i16 = -8;
    pub const WVARCHAR: i16 = -9;
    pub const WLONGVARCHAR: i16 = -10;
    pub const GUID: i16 = -11;
}
