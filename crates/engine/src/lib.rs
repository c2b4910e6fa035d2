//! The embedded query engine: DataFusion over one snapshot of the lake.
//!
//! **Takes** SQL text and a [`tidemill_core::QueryContext`] (which published state, with which
//! differences, in whose name, at which time). **Gives** Arrow batches in plain types,
//! descriptions of queries, and measurements for checks. **Promises** that a query only reads; that
//! it sees one published state; that all queries together stay within the memory and disk they
//! were given, spilling where an operator can and failing with the limit's name where it cannot;
//! that dropping a result stops its query; and that an error says which column, relation or
//! function is meant and, where it is known, at which line and column of the text.
//!
//! SQL has PostgreSQL's meaning, with the spellings that other systems have for the same things
//! (`rewrite`, `functions`) and PostgreSQL's operators and casts in the place of DataFusion's
//! (`meaning`). A clause that would be left out of account is refused (`clauses`). Known
//! differences: `avg` of integers is a double and `sum` of bigints a bigint (an error where it does
//! not fit); a `numeric` without a scale has ten decimals; `timestamp with time zone` columns are
//! shown in UTC; a `lateral` subquery may be joined `inner`, `left` and `cross` only; regular
//! expressions are those of the `regex` crate (no look-around, no back references).
//!
//! ```
//! # use std::sync::Arc;
//! # use tidemill_core::{Cancellation, Engine, Overlay, Principal, QueryContext, RunId, Snapshot};
//! # use tidemill_engine::{EmbeddedEngine, EngineOptions};
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! let engine = EmbeddedEngine::new(EngineOptions::default()).unwrap();
//! let context = QueryContext {
//!     snapshot: Snapshot::empty(),
//!     overlay: Overlay::none(),
//!     principal: Principal::Owner,
//!     run: RunId::new("example"),
//!     cancel: Cancellation::new(),
//!     default_schema: "main".into(),
//!     timezone: "UTC".into(),
//!     now: 0,
//! };
//! let description = runtime.block_on(engine.describe("select 0.1 + 0.2 as sum", &context)).unwrap();
//! assert_eq!(description.schema.field(0).name(), "sum");
//! ```

mod aggregates;
mod aliases;
mod catalog;
mod choices;
mod clauses;
mod columns;
mod correlated;
mod cte;
mod days;
mod describe;
mod dialect;
mod duckdb;
mod elements;
mod engine;
mod error;
mod files;
mod functions;
mod grammar;
mod guard;
mod hive;
mod join_conditions;
mod json_type;
mod json_values;
mod kept_orders;
mod lateral;
mod literals;
mod meaning;
mod measure;
mod moments;
mod names;
mod offsets;
mod one_row;
mod operators;
mod options;
mod orders;
mod outer_fields;
mod output;
mod parse;
mod periods;
mod pivot;
mod planner;
mod precedence;
mod prepared;
mod protect;
mod ranges;
mod repeated;
mod rewrite;
mod rows_from;
mod running;
mod scopes;
mod semi_join;
mod set_operations;
mod single;
mod sort_merge;
mod spelling;
mod spread;
mod stars;
mod statement;
mod subqueries;
mod summaries;
mod survey;
mod syntax;
mod tables;
mod truths;
mod types;
mod unlisted;
mod using;
mod value_lists;
mod view_plans;
mod whole_rows;
mod windows;
mod wording;

pub use datafusion::catalog::TableProvider;
pub use dialect::{adapt, translate};
pub use engine::EmbeddedEngine;
pub use files::{FileRequest, FileTables};
pub use options::EngineOptions;
pub use tables::{MemoryTables, TableProviders};
