//! Places where a test can stop, break or hold a delivery (`tidemill_core::failpoint`).

/// Every failpoint of a delivery, in the order it passes them. Tests iterate over this list.
pub const FAILPOINTS: &[&str] = &[
    "export.begun",
    "export.copied",
    "export.changed",
    "export.before-commit",
    "export.after-commit",
];

/// That of a delivery that adds columns to a table.
pub const COLUMNS_ADDED: &str = "export.columns-added";

/// Passes a failpoint. Without debug assertions it is nothing.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::pass($name)?;
    };
}
pub(crate) use failpoint;

/// Does what the armed failpoint says, if it is this one.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &'static str) -> tidemill_core::Result<()> {
    let is_known = FAILPOINTS.contains(&name) || name == COLUMNS_ADDED;
    debug_assert!(is_known, "failpoint `{name}` is not in the list");
    tidemill_core::failpoint::pass(name)
}
