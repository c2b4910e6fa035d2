//! From an error to what the user reads and the exit code.

use tidemill_core::{Diagnostics, Error, ErrorKind};

/// The text of an error: diagnostics as they are, ours with causes, others with their chain.
pub(crate) fn text(error: &anyhow::Error) -> String {
    if let Some(diagnostics) = error.downcast_ref::<Diagnostics>() {
        return diagnostics.to_string();
    }
    if let Some(ours) = error.downcast_ref::<Error>() {
        return format!("error: {}", ours.report());
    }
    format!("error: {error:#}")
}

/// dbt's exit codes: 1 when something in the user's data or SQL failed, 2 when what was asked could
/// not be done.
pub(crate) fn exit_code(error: &anyhow::Error) -> i32 {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Cancelled) => 130,
        Some(kind) => kind.exit_code(),
        None => 2,
    }
}
