//! Programs of models, run by the user's own Python.
//!
//! **Takes** the code of a model (its own, with the object `dbt` below it), an interpreter
//! ([`Interpreter::find`]), and an [`Engine`](tidemill_core::Engine) with a context for what the
//! code asks. **Gives** its rows as a stream of Arrow batches, or the query that it returned
//! ([`Output`]). **Promises**: nothing is written to disk; batches go through pipes in both
//! directions, a few at a time; an exception is an error that names the model's file and line; when
//! the rows are dropped (an error elsewhere, Ctrl-C, a time limit) the program and what it started
//! are ended.
//!
//! ```no_run
//! # async fn example(
//! #     engine: std::sync::Arc<dyn tidemill_core::Engine>,
//! #     context: tidemill_core::QueryContext,
//! # ) -> tidemill_core::Result<()> {
//! use tidemill_python::{Code, Interpreter, start};
//!
//! let interpreter = Interpreter::find(None, std::path::Path::new("."));
//! let code = Code { file: "models/sizes.py".to_owned(), ..Code::default() };
//! let running = start(code, interpreter, engine, context).await?;
//! # Ok(())
//! # }
//! ```

mod interpreter;
mod program;
mod rows;
mod wire;

pub use interpreter::Interpreter;
pub use program::{Code, Output, Running, start};
