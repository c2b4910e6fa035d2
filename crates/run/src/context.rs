//! Query contexts of a run.

use tidemill_core::{Cancellation, Overlay, Principal, QueryContext, Snapshot};

use crate::RunOptions;

/// The context of a query of this run over this state.
pub(crate) fn query_context(
    options: &RunOptions,
    cancel: &Cancellation,
    snapshot: Snapshot,
    overlay: Overlay,
) -> QueryContext {
    QueryContext {
        snapshot,
        overlay,
        principal: Principal::Owner,
        run: options.run.clone(),
        cancel: cancel.clone(),
        default_schema: options.default_schema.clone(),
        timezone: options.timezone.clone(),
        now: options.now,
    }
}
