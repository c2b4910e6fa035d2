//! Checks: the data tests of a project as numbers to measure and judgements of them.
//!
//! **Takes** plain definitions of tests ([`TestDefinition`]: a test's name, its arguments, the
//! relation it stands on, severity and thresholds; Jinja is rendered already). **Gives**
//! [`tidemill_core::Check`]s: which [`tidemill_core::Measure`]s the engine must take, the verdict
//! that follows from them, and a query for the failing rows. **Promises** that counts and verdicts
//! are those of dbt for the same test (NULLs included), that a native test and its SQL agree, and
//! that an unusable argument is an error that names it.
//!
//! dbt's four tests and the widely used ones of `dbt_utils` and `dbt_expectations` are known by
//! name ([`is_native`]) and become measures that one scan can take together. Any other test comes
//! as the SQL of its failing rows and is counted by a query of its own.
//!
//! ```
//! use tidemill_check::{TestDefinition, check};
//! use tidemill_core::{Measurement, RelationName, VerdictStatus};
//!
//! let mut test = TestDefinition::new("test.shop.not_null_orders_id", "not_null");
//! test.relation = RelationName::new("main", "orders");
//! test.column = Some("id".into());
//! let check = check(&test).unwrap();
//! assert_eq!(check.measures().len(), 1);
//! let verdict = check.judge(&[Measurement::Count(3)]);
//! assert_eq!(verdict.status, VerdictStatus::Fail);
//! assert_eq!(verdict.message.as_deref(), Some("Got 3 results, configured to fail if != 0"));
//! ```

mod arguments;
mod definition;
mod judge;
mod native;

pub use definition::TestDefinition;
pub use native::{check, checks_for, is_native, needs_sql};
