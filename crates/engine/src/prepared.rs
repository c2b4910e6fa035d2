//! Queries that were described and will most likely run next.
//!
//! A model is described before it is built, in the same context: its columns decide how it is
//! staged. What planning came to then is kept for a moment, so that it is not done twice.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::logical_expr::LogicalPlan;
use tidemill_core::QueryContext;

/// More than that are never between their description and their run in a project's build.
const KEPT: usize = 16;

/// Analysed plans by text and context.
#[derive(Default)]
pub(crate) struct Prepared(Mutex<Vec<Entry>>);

struct Entry {
    sql: String,
    context: QueryContext,
    plan: LogicalPlan,
}

impl Prepared {
    /// Keeps the analysed plan of a text; the oldest goes when there are too many.
    pub(crate) fn keep(&self, sql: &str, context: &QueryContext, plan: LogicalPlan) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(Entry { sql: sql.to_owned(), context: context.clone(), plan });
    }

    /// The plan of this text, if it was described in a context that sees the same.
    pub(crate) fn take(&self, sql: &str, context: &QueryContext) -> Option<LogicalPlan> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|entry| entry.sql == sql && same(&entry.context, context));
        place.map(|place| kept.swap_remove(place).plan)
    }
}

/// Whether two contexts see the same data in the same way. Both are alive, so a pointer stands for
/// what it points to.
fn same(left: &QueryContext, right: &QueryContext) -> bool {
    Arc::ptr_eq(&left.snapshot.relations, &right.snapshot.relations)
        && Arc::ptr_eq(&left.overlay.0, &right.overlay.0)
        && left.principal == right.principal
        && left.default_schema == right.default_schema
        && left.timezone == right.timezone
        && left.now == right.now
}
