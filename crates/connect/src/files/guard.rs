//! A library that stops where it finds what it does not expect.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// An error of whatever kind.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

thread_local! {
    /// Whether what stops this thread is met, and not worth a word.
    static MET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a step of the library. Where it stops, that is an error; what it was about to do is not to be
/// used any more.
pub(super) fn guarded<T>(step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !MET.with(Cell::get) {
                usual(panic);
            }
        }));
    });
    let before = MET.with(|met| met.replace(true));
    let ended = catch_unwind(AssertUnwindSafe(step));
    MET.with(|met| met.set(before));
    ended.unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(format!("the reader stopped: {reason}").into())
    })
}

/// The same, of a step with errors of its own.
pub(super) fn tried<T, E: Into<Failure>>(
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, Failure> {
    guarded(|| step().map_err(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_stops_is_an_error() {
        let stopped: Result<(), Failure> = guarded(|| panic!("at row {}", 7));
        assert_eq!(stopped.unwrap_err().to_string(), "the reader stopped: at row 7");
        assert_eq!(guarded(|| Ok(1)).unwrap(), 1);
    }
}
