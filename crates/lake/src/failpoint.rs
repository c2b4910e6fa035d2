//! Places where a test can stop, break or hold the process. Compiled only with debug assertions.
//!
//! `TIDEMILL_FAILPOINT=name[=abort|error|pause:<file>][@nth]` arms one of them: at its n-th passing
//! (default the first) the process aborts, the step returns an error, or it waits until the named
//! file exists.

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

#[cfg(debug_assertions)]
pub(crate) use armed::pass;

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tidemill_core::{Error, ErrorKind, Result};

    enum Action {
        Abort,
        Error,
        Pause(std::path::PathBuf),
    }

    struct Armed {
        name: String,
        action: Action,
        nth: u64,
        passed: AtomicU64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("TIDEMILL_FAILPOINT").ok()?;
                let (rest, nth) = match text.rsplit_once('@') {
                    Some((rest, nth)) => (rest.to_owned(), nth.parse().ok()?),
                    None => (text, 1),
                };
                let (name, action) = match rest.split_once('=') {
                    None => (rest.as_str(), Action::Abort),
                    Some((name, "abort")) => (name, Action::Abort),
                    Some((name, "error")) => (name, Action::Error),
                    Some((name, action)) => {
                        (name, Action::Pause(action.strip_prefix("pause:")?.into()))
                    }
                };
                Some(Armed { name: name.to_owned(), action, nth, passed: AtomicU64::new(0) })
            })
            .as_ref()
    }

    /// Does what the armed failpoint says, if it is this one.
    pub(crate) fn pass(name: &'static str) -> Result<()> {
        debug_assert!(super::FAILPOINTS.contains(&name), "failpoint `{name}` is not in the list");
        let Some(armed) = armed().filter(|armed| armed.name == name) else { return Ok(()) };
        if armed.passed.fetch_add(1, Ordering::SeqCst) + 1 != armed.nth {
            return Ok(());
        }
        match &armed.action {
            Action::Abort => std::process::abort(),
            Action::Error => Err(Error::new(ErrorKind::Io, "failpoint").with("failpoint", name)),
            Action::Pause(file) => {
                // Tells the test that the process stands here.
                let reached = file.with_extension("reached");
                let _ = std::fs::write(reached, name);
                #[allow(clippy::disallowed_methods, reason = "a test holds this process here")]
                while !file.exists() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Ok(())
            }
        }
    }
}
