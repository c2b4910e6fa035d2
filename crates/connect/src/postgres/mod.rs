//! PostgreSQL: what speaks its protocol. The engine face ([`Postgres`]) runs models inside of the
//! database, the source face ([`PostgresConnector`]) reads its tables, the sink face writes them; the pieces that they share are
//! modules of their own: the connection's settings ([`PostgresConfig`]), TLS as libpq means it, errors by their SQLSTATE, types
//! ([`ColumnType`]) and the decoding of its binary format to Arrow ([`Decoder`]), which queries and
//! `COPY … (format binary)` share.
//!
//! **Takes** the fields of a dbt profile of type `postgres`. **Gives** sessions
//! ([`tidemill_core::DatabaseSession`]). **Promises** that every error carries PostgreSQL's SQLSTATE
//! and, where it gives one, the place in the statement; that a password is never shown; and that a
//! session which fails in a transaction leaves nothing behind.
//!
//! ```no_run
//! use tidemill_connect::postgres::{Postgres, PostgresConfig};
//! use tidemill_core::{Cancellation, Database};
//!
//! # async fn example(settings: serde_json::Map<String, serde_json::Value>) -> tidemill_core::Result<()> {
//! let database = Postgres::new(PostgresConfig::from_settings(&settings)?)?;
//! let session = database.session(&Cancellation::new()).await?;
//! println!("{:?}", session.run("select 1 as one").await?.batches);
//! # Ok(())
//! # }
//! ```

mod catalog;
mod config;
mod copy;
mod decode;
mod error;
mod numeric;
mod pool;
mod session;
pub(crate) mod sink;
mod source;
mod statements;
mod text;
mod tls;
mod types;

pub use config::{PostgresConfig, SslMode};
pub use decode::Decoder;
pub use pool::Postgres;
pub use source::{PostgresConnector, PostgresSettings};
pub use statements::{Statement, split};
pub use types::{ColumnType, Encoding, Reading};
