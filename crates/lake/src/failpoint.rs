//! Places where a test can stop, break or hold the process (`tidemill_core::failpoint`).

/// Every failpoint, in the order a publish passes them. Tests iterate over this list.
pub const FAILPOINTS: &[&str] = &[
    "stage.before-file",
    "stage.after-file",
    "stage.before-finish",
    "publish.before-sync",
    "publish.before-position",
    "publish.after-position",
    "publish.before-intent",
    "publish.after-intent",
    "publish.before-commit",
    "publish.after-commit",
    "publish.before-entry",
    "publish.after-entry",
    "publish.before-checkpoint",
    "publish.after-checkpoint",
    "publish.before-acknowledge",
    "catalog.before-checkpoint",
    "catalog.after-checkpoint",
    "compact.before-publish",
    "compact.after-publish",
    "vacuum.before-fence",
    "vacuum.before-delete",
    "vacuum.after-delete",
    "cleanup.before-delete",
];

/// Passes a failpoint; see the module. Without debug assertions it is nothing.
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
    debug_assert!(FAILPOINTS.contains(&name), "failpoint `{name}` is not in the list");
    tidemill_core::failpoint::pass(name)
}
