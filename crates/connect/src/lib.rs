//! Connectors: the external systems that rows come from and go to.
//!
//! Files on disk, on object stores and behind HTTP ([`files`]), PostgreSQL ([`postgres`], which runs models too), MySQL and MariaDB ([`mysql`]), SQLite
//! ([`sqlite`]), SQL Server ([`sqlserver`]), any database by its ODBC or ADBC driver ([`OdbcConnector`], [`AdbcConnector`]), MongoDB ([`mongo`]), REST APIs ([`rest`]), Kafka
//! ([`kafka`]), NATS ([`nats`]), RabbitMQ ([`rabbitmq`]), MQTT ([`mqtt`]), Redis ([`redis`]) and Singer taps ([`singer`]); what tables of databases have in common stands in [`tables`].
//!
//! **Takes** the settings of a connection and of a table. **Gives** a
//! [`Source`](tidemill_core::Source) whose read is a stream of changes, and, where the system can be
//! written to, a [`Sink`](tidemill_core::Sink). **Promises** that a read is
//! delivered whole or ends with an error, that what cannot be read is reported row by row and never
//! left out silently, and that memory does not grow with the size of what is read; and that a
//! delivery is there whole, with the record of it, or not at all.
//!
//! ```
//! use serde_json::json;
//! use tidemill_core::ConnectContext;
//!
//! let settings = json!({"path": "shop.db"}).as_object().cloned().unwrap_or_default();
//! let sqlite = tidemill_connect::kind("sqlite")?;
//! let source = sqlite.connect(settings, ConnectContext::default())?;
//! // source.read(request) gives the rows of the table that the request's settings name.
//! # Ok::<(), tidemill_core::Error>(())
//! ```

mod delivery;
mod drivers;
mod failpoint;
pub mod files;
mod insert;
mod json_rows;
mod json_text;
pub mod kafka;
pub mod mongo;
pub mod mqtt;
pub mod mysql;
pub mod nats;
pub mod postgres;
mod queue;
pub mod rabbitmq;
mod records;
pub mod redis;
mod registry;
pub mod rest;
mod server;
pub mod singer;
pub mod sqlite;
pub mod sqlserver;
mod stream;
pub mod tables;
mod tls;

pub use drivers::adbc::{AdbcConfig, AdbcConnector};
pub use drivers::odbc::{OdbcConfig, OdbcConnector};
pub use failpoint::{COLUMNS_ADDED as COLUMNS_ADDED_FAILPOINT, FAILPOINTS as EXPORT_FAILPOINTS};
pub use files::{column_names, unquoted_header};
pub use registry::{KINDS, Kind, kind};
