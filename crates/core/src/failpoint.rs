//! Places where a test can stop, break or hold the process. Compiled only with debug assertions; each
//! crate that has such places lists their names.
//!
//! `TIDEMILL_FAILPOINT=name[=abort|error|pause:<file>][@nth]` arms one of them: at its n-th passing
//! (default the first) the process aborts, the step returns an error, or it waits until the named
//! file exists.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, ErrorKind, Result};

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
///
/// # Errors
/// Kind `Io`, where a test wants the step to fail.
pub fn pass(name: &'static str) -> Result<()> {
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
