//! The vocabulary and the contracts of Tidemill.
//!
//! **Takes** nothing. **Gives** the names, errors, diagnostics and secrets that every crate
//! speaks with, and one file for each contract (ARCHITECTURE, "Contracts"). **Promises** to stay
//! small: an edit here rebuilds everything, so behaviour lives in the crates that implement the
//! contracts.
//!
//! ```
//! use tidemill_core::{Error, ErrorKind, RelationName};
//!
//! let orders = RelationName::new("shop", "orders");
//! let error = Error::new(ErrorKind::NotFound, "no such table").with("relation", &orders);
//! assert_eq!(error.to_string(), "no such table (relation: shop.orders)");
//! assert_eq!(error.kind().exit_code(), 1);
//! ```

pub use arrow::array as arrow_array;
pub use arrow::datatypes as arrow_schema;

mod cancel;
mod check;
mod context;
mod database;
mod diagnostic;
mod display;
mod engine;
mod error;
mod event;
#[cfg(debug_assertions)]
pub mod failpoint;
mod name;
mod secret;
mod sink;
mod snapshot;
mod source;
mod sql_dialect;
mod sql_type;
mod statement;
mod table_store;

pub use cancel::Cancellation;
pub use check::{
    Bound, Check, CheckId, Measure, Measurement, Reference, Severity, Threshold, Verdict,
    VerdictStatus,
};
pub use context::{Overlay, OverlayEntry, Principal, QueryContext};
pub use database::{Answer, Database, DatabaseColumn, DatabaseRelation, DatabaseSession};
pub use diagnostic::{Diagnostic, DiagnosticLevel, Diagnostics, SourcePosition};
pub use display::{display_value, row_as_json};
pub use engine::{BatchStream, Description, Engine, Observer, StatementOutcome};
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use event::{BatchResults, Event, EventSink, NodeOutcome, NodeStatus};
pub use name::{ColumnName, CommitId, EntryNumber, RelationName, RunId, TableVersion, UniqueId};
pub use secret::{Secret, SecretRef, is_secret_key, scrub};
pub use sink::{Delivered, Delivery, DeliveryMode, NewColumns, Sink};
pub use snapshot::{At, PublishedRelation, RelationKind, Snapshot};
pub use source::{
    Change, ChangeStream, ConnectContext, Connector, Notice, Position, PublishedPositions,
    ReadPart, ReadRange, ReadRequest, ReadScope, Sibling, Source, TableDescription, Until,
};
pub use sql_dialect::SqlDialect;
pub use sql_type::{JSON, JSONB, STORED_TYPE, sql_type};
pub use statement::{RewriteByFile, Statement};
pub use table_store::{
    ColumnChange, Dropped, Duplicates, FILE, Maintenance, MaintenanceReport, NullKeys,
    PublishChange, PublishMeta, Published, SchemaChange, StageRequest, Staged, TableStore,
    WriteMode, changes, history,
};
