//! Connectors: the external systems that rows come from.
//!
//! **Takes** the settings of a connection and of a table. **Gives** a
//! [`Source`](tidemill_core::Source) whose read is a stream of changes. **Promises** that a read is
//! delivered whole or ends with an error, that what cannot be read is reported row by row and never
//! left out silently, and that memory does not grow with the size of what is read.
//!
//! ```
//! use tidemill_connect::files::{FilesConfig, FilesConnector};
//! use tidemill_core::Connector;
//!
//! let source = FilesConnector::connect(FilesConfig::default(), "my_project".into())?;
//! // source.read(request) gives the rows of the files that the request's settings name.
//! # Ok::<(), tidemill_core::Error>(())
//! ```

pub mod files;
